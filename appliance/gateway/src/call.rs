//! From a request to a [`Call`]: who calls, from where, in which language, and the body within its bounds.
//!
//! Credentials are judged before a byte of the body is read, so that strangers cannot make the box hold anything.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{self, HeaderMap};
use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use jingui_messages::Language;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::keys::{KeyHolder, Keys};
use crate::refusals::Refusal;
use crate::routes::{Activity, Route, Who};
use crate::sessions::{Session, Sessions, token_in};

/// Longest pause between two pieces of a body.
pub const BODY_IDLE_TIME_MAX: Duration = Duration::from_secs(30);
/// Longest time for a whole body.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(300);
/// Bytes of bodies that are held at once, over all requests.
pub const BODIES_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Bytes of a refused body that are still read, so that its client gets to read the refusal.
pub const DISCARDED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest time for that.
pub const DISCARD_TIME_MAX: Duration = Duration::from_secs(5);
/// The same for a caller without valid credentials.
pub const STRANGER_DISCARDED_BYTES_MAX: usize = 64 * 1024;

/// Header that only the console's own pages set: another site's page cannot without asking first.
pub const CONSOLE_HEADER: &str = "x-jingui-console";

const FETCH_SITE_HEADER: &str = "sec-fetch-site";

/// Time bounds of a body. [`Default`] gives the constants of this module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyLimits {
    /// [`BODY_IDLE_TIME_MAX`].
    pub idle_time: Duration,
    /// [`BODY_TIME_MAX`].
    pub time: Duration,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self {
            idle_time: BODY_IDLE_TIME_MAX,
            time: BODY_TIME_MAX,
        }
    }
}

/// One request whose caller was judged and whose body was read.
#[derive(Debug)]
pub struct Call {
    /// Id given to the client.
    pub request_id: String,
    /// Address of the client.
    pub source: IpAddr,
    /// Language of the client.
    pub language: Language,
    /// Who calls.
    pub caller: Caller,
    /// Token of the session, where there is one.
    pub token: Option<String>,
    /// The path's parameter, decoded.
    pub parameter: Option<String>,
    /// The body.
    pub body: Bytes,
    /// Holds the body's share of [`BODIES_BYTES_MAX`].
    pub share: Option<OwnedSemaphorePermit>,
}

/// Who calls. Credentials of one kind never make another kind of caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Anybody.
    Anybody,
    /// Holder of an API key.
    Key(KeyHolder),
    /// A person at the console.
    Person(Session),
}

/// Judges the caller of a route.
///
/// # Errors
/// `KeyMissing`, `Key`, `SessionMissing` or `Forged`.
pub fn judge(
    route: &Route,
    headers: &HeaderMap,
    keys: &Keys,
    sessions: &Sessions,
) -> Result<(Caller, Option<String>), Refusal> {
    match route.who {
        Who::Public => Ok((Caller::Anybody, None)),
        Who::Console => {
            refuse_forged(headers)?;
            Ok((Caller::Anybody, session_token(headers)))
        }
        Who::Key => {
            let key = api_key(headers).ok_or(Refusal::KeyMissing)?;
            Ok((Caller::Key(keys.check(&key)?), None))
        }
        Who::Session => {
            let token = session_token(headers).ok_or(Refusal::SessionMissing)?;
            let is_act = route.activity == Activity::Person;
            let session = sessions.find(&token, is_act).ok_or(Refusal::SessionMissing)?;
            if route.method.changes_something() {
                refuse_forged(headers)?;
            }
            Ok((Caller::Person(session), Some(token)))
        }
    }
}

/// `Authorization: Bearer` or `x-api-key`. Never a query: addresses end in logs.
fn api_key(headers: &HeaderMap) -> Option<String> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    let plain = || {
        headers
            .get("x-api-key")
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    bearer
        .or_else(plain)
        .filter(|key| !key.is_empty())
        .map(str::to_owned)
}

fn session_token(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .find_map(|value| token_in(value.to_str().ok()?))
        .map(str::to_owned)
}

/// A state-changing call must carry the console's header and must not come from another site. Browsers of our floor
/// send `Sec-Fetch-Site`; where it is absent the caller is no browser, and the header and the cookie's `SameSite` hold.
fn refuse_forged(headers: &HeaderMap) -> Result<(), Refusal> {
    let is_console = headers.get(CONSOLE_HEADER).is_some_and(|value| value == "1");
    let is_same_site = headers
        .get(FETCH_SITE_HEADER)
        .is_none_or(|value| value == "same-origin");
    if is_console && is_same_site {
        Ok(())
    } else {
        Err(Refusal::Forged)
    }
}

/// Reads a body of at most `bytes_max` bytes, with its share of all bodies.
///
/// # Errors
/// `BodyTooLarge`, `BodyTooSlow`, `BodyCutOff` or `Overloaded`.
pub async fn read_body(
    parts: &Parts,
    body: &mut Body,
    bytes_max: usize,
    limits: &BodyLimits,
    all: &Arc<Semaphore>,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Refusal> {
    let too_large = || Refusal::BodyTooLarge { bytes_max };
    if announced_length(&parts.headers).is_some_and(|length| length > bytes_max) {
        return Err(too_large());
    }
    let end = Instant::now() + limits.time;
    let mut bytes = BytesMut::new();
    let mut share: Option<OwnedSemaphorePermit> = None;
    loop {
        let piece_end = end.min(Instant::now() + limits.idle_time);
        let frame = match tokio::time::timeout_at(piece_end, body.frame()).await {
            Err(_) => return Err(Refusal::BodyTooSlow),
            Ok(None) => return Ok((bytes.freeze(), share)),
            Ok(Some(Err(_))) => return Err(Refusal::BodyCutOff),
            Ok(Some(Ok(frame))) => frame,
        };
        // Trailers say nothing that is needed.
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > bytes_max {
            return Err(too_large());
        }
        let length = u32::try_from(data.len()).map_err(|_| too_large())?;
        let more = Arc::clone(all)
            .try_acquire_many_owned(length)
            .map_err(|_| Refusal::Overloaded)?;
        match &mut share {
            Some(share) => share.merge(more),
            None => share = Some(more),
        }
        bytes.extend_from_slice(&data);
    }
}

/// Reads on and forgets what it reads, within bounds: a client that is still sending would otherwise see its
/// connection break before it sees the answer. Not for a client that waits for `100 Continue`: it sends nothing yet.
pub async fn discard(headers: &HeaderMap, mut body: Body, bytes_max: usize) {
    if headers.contains_key(header::EXPECT)
        || announced_length(headers).is_some_and(|length| length > bytes_max)
    {
        return;
    }
    let mut left = bytes_max;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(length) else {
                return;
            };
            left = rest;
        }
    };
    // Out of time: the answer goes out all the same.
    let _ = tokio::time::timeout(DISCARD_TIME_MAX, reading).await;
}

fn announced_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::http::Request;

    use super::*;

    async fn read(
        pieces: &[usize],
        bytes_max: usize,
        all: &Arc<Semaphore>,
    ) -> Result<(usize, Option<OwnedSemaphorePermit>), Refusal> {
        let pieces: Vec<Bytes> = pieces
            .iter()
            .map(|length| Bytes::from(vec![b'x'; *length]))
            .collect();
        let stream = futures_util::stream::iter(pieces.into_iter().map(Ok::<_, Infallible>));
        let (parts, mut body) = Request::new(Body::from_stream(stream)).into_parts();
        let read = read_body(&parts, &mut body, bytes_max, &BodyLimits::default(), all).await;
        read.map(|(bytes, share)| (bytes.len(), share))
    }

    #[tokio::test]
    async fn bodies_share_their_bytes_and_give_them_back() {
        let all = Arc::new(Semaphore::new(10));
        let (length, share) = read(&[4, 3], 10, &all).await.unwrap();
        assert_eq!((length, all.available_permits()), (7, 3));
        assert_eq!(read(&[4], 10, &all).await.unwrap_err(), Refusal::Overloaded);
        let (_, rest) = read(&[3], 10, &all).await.unwrap();
        assert_eq!(all.available_permits(), 0);
        drop((share, rest));
        assert_eq!(all.available_permits(), 10);
    }

    #[tokio::test]
    async fn a_refused_body_holds_nothing() {
        let all = Arc::new(Semaphore::new(100));
        assert_eq!(read(&[5, 5], 10, &all).await.unwrap().0, 10);
        assert_eq!(
            read(&[5, 6], 10, &all).await.unwrap_err(),
            Refusal::BodyTooLarge { bytes_max: 10 }
        );
        assert_eq!(all.available_permits(), 100);
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn only_the_consoles_own_pages_pass_the_forgery_check() {
        assert_eq!(refuse_forged(&headers(&[(CONSOLE_HEADER, "1")])), Ok(()));
        assert_eq!(
            refuse_forged(&headers(&[
                (CONSOLE_HEADER, "1"),
                (FETCH_SITE_HEADER, "same-origin")
            ])),
            Ok(())
        );
        for pairs in [
            &[][..],
            &[(CONSOLE_HEADER, "true")],
            &[(FETCH_SITE_HEADER, "same-origin")],
            &[(CONSOLE_HEADER, "1"), (FETCH_SITE_HEADER, "cross-site")],
            &[(CONSOLE_HEADER, "1"), (FETCH_SITE_HEADER, "same-site")],
            &[(CONSOLE_HEADER, "1"), (FETCH_SITE_HEADER, "none")],
        ] {
            assert_eq!(refuse_forged(&headers(pairs)), Err(Refusal::Forged), "{pairs:?}");
        }
    }

    #[test]
    fn keys_are_taken_from_two_headers_and_no_other_scheme() {
        let key = |pairs: &[(&'static str, &'static str)]| api_key(&headers(pairs));
        assert_eq!(key(&[("authorization", "Bearer a.b")]).as_deref(), Some("a.b"));
        assert_eq!(key(&[("authorization", "BEARER  a.b ")]).as_deref(), Some("a.b"));
        assert_eq!(key(&[("x-api-key", "a.b")]).as_deref(), Some("a.b"));
        assert_eq!(
            key(&[("authorization", "Basic a.b"), ("x-api-key", "c.d")]).as_deref(),
            Some("c.d")
        );
        for pairs in [
            &[][..],
            &[("authorization", "Bearer")],
            &[("authorization", "Bearer  ")],
            &[("x-api-key", "")],
        ] {
            assert_eq!(key(pairs), None, "{pairs:?}");
        }
    }
}
