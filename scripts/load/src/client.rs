//! An HTTP client that notes when each piece of a streamed answer arrived.
//!
//! One connection per request, opened before the clock starts: people's clients keep theirs open. Times are
//! monotone and taken where the bytes come out of hyper, before anything is parsed.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::ask::Ask;

/// Longest that an answer may take as a whole. Nothing measured here comes near it.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(420);

/// How to reach one server.
#[derive(Clone)]
pub(crate) struct Client {
    address: SocketAddr,
    tls: Option<TlsConnector>,
    key: Option<String>,
    model: String,
}

impl Client {
    /// A server that speaks HTTP without TLS and asks for no key.
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self {
            address,
            tls: None,
            key: None,
            model: "default".to_owned(),
        }
    }

    /// A box: TLS under its own certificate authority, and an API key.
    pub(crate) fn secure(
        address: SocketAddr,
        authority: &Path,
        key: &str,
        model: &str,
    ) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority)?)?;
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            address,
            tls: Some(TlsConnector::from(Arc::new(config))),
            key: Some(key.to_owned()),
            model: model.to_owned(),
        })
    }

    /// The same box on another tenant's account.
    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self {
            key: Some(key.to_owned()),
            ..self.clone()
        }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Opens a connection for one request.
    pub(crate) async fn open(&self) -> anyhow::Result<Link> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let (sender, task) = match &self.tls {
            None => shake_hands(TokioIo::new(tcp)).await?,
            Some(tls) => {
                let name = ServerName::IpAddress(self.address.ip().into());
                shake_hands(TokioIo::new(tls.connect(name, tcp).await?)).await?
            }
        };
        Ok(Link {
            client: self.clone(),
            sender,
            task,
        })
    }

    /// Asks over a fresh connection and waits for the whole answer.
    pub(crate) async fn ask(&self, ask: &Ask) -> anyhow::Result<Answer> {
        self.open().await?.ask(ask, None).await
    }

    /// Asks over a fresh connection, and lets the caller watch the answer come.
    pub(crate) async fn begin(&self, ask: &Ask) -> anyhow::Result<Running> {
        let link = self.open().await?;
        let ask = ask.clone();
        let (watcher, marks) = unbounded_channel();
        Ok(Running {
            marks,
            task: tokio::spawn(async move { link.ask(&ask, Some(watcher)).await }),
        })
    }

    /// Status and body of a `GET`.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
        self.open().await?.send("GET", path, Bytes::new()).await
    }

    /// Body of a `POST` of JSON that must succeed.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let (status, body) = self
            .open()
            .await?
            .send("POST", path, Bytes::from(serde_json::to_vec(body)?))
            .await?;
        ensure!(status.is_success(), "{path}: {status}: {}", lossy(&body));
        Ok(serde_json::from_slice(&body)?)
    }
}

async fn shake_hands<T>(io: TokioIo<T>) -> anyhow::Result<(SendRequest<Full<Bytes>>, JoinHandle<()>)>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(io).await?;
    // How a connection ends is seen by whoever waits for its answer.
    let task = tokio::spawn(async move { drop(connection.await) });
    Ok((sender, task))
}

/// An answer that is coming. Dropping it closes its connection.
pub(crate) struct Running {
    marks: UnboundedReceiver<Instant>,
    task: JoinHandle<anyhow::Result<Answer>>,
}

impl Running {
    /// When the next piece of text came; `None` after the last one.
    pub(crate) async fn next(&mut self) -> Option<Instant> {
        self.marks.recv().await
    }

    /// Whether a piece of text is there already that nobody looked at.
    pub(crate) fn has_more(&self) -> bool {
        !self.marks.is_empty()
    }

    /// The whole answer.
    pub(crate) async fn finish(mut self) -> anyhow::Result<Answer> {
        (&mut self.task).await?
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An open connection. Dropping it closes the socket at once, as a closed browser tab does.
pub(crate) struct Link {
    client: Client,
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    fn request(&self, method: &str, path: &str, body: Bytes) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.client.address.to_string())
            .header("content-type", "application/json");
        if let Some(key) = &self.client.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        Ok(request.body(Full::new(body))?)
    }

    async fn send(mut self, method: &str, path: &str, body: Bytes) -> anyhow::Result<(StatusCode, Bytes)> {
        let request = self.request(method, path, body)?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    /// Sends the question and follows the answer to its end. The arrival of each piece of text is also told to
    /// `watcher` at once.
    ///
    /// Fails when no complete answer comes: refused, broken off, or too late.
    pub(crate) async fn ask(
        mut self,
        ask: &Ask,
        watcher: Option<UnboundedSender<Instant>>,
    ) -> anyhow::Result<Answer> {
        let body = Bytes::from(serde_json::to_vec(&ask.body(&self.client.model))?);
        let request = self.request("POST", "/v1/chat/completions", body)?;
        let followed = self.follow(request, watcher);
        tokio::time::timeout(ANSWER_TIME_MAX, followed)
            .await
            .context("the answer took too long")?
    }

    async fn follow(
        &mut self,
        request: Request<Full<Bytes>>,
        watcher: Option<UnboundedSender<Instant>>,
    ) -> anyhow::Result<Answer> {
        let sent = Instant::now();
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let mut body = response.into_body();
        if !status.is_success() {
            let words = body.collect().await?.to_bytes();
            bail!("{status}: {}", lossy(&words));
        }
        let mut answer = Answer::begun(sent);
        let mut pending = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let at = Instant::now();
            let Ok(data) = frame?.into_data() else { continue };
            pending.extend_from_slice(&data);
            while let Some(end) = pending.windows(2).position(|it| it == b"\n\n") {
                let event = pending.split_to(end + 2);
                if answer.take(&event, at)?
                    && let Some(watcher) = &watcher
                {
                    // Nobody watches any more: the answer goes on all the same.
                    let _ = watcher.send(at);
                }
            }
        }
        answer.ended = Instant::now();
        ensure!(answer.finish.is_some(), "the answer was broken off");
        Ok(answer)
    }
}

/// A whole answer and when its pieces came.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// When the question was sent.
    pub(crate) sent: Instant,
    /// When each piece of text came.
    pub(crate) marks: Vec<Instant>,
    /// When the last byte came.
    pub(crate) ended: Instant,
    /// All text.
    pub(crate) text: String,
    /// Why it ended: `stop` or `length`.
    pub(crate) finish: Option<String>,
    /// Tokens of the prompt.
    pub(crate) prompt_tokens: u64,
    /// Of these, tokens that were computed for this answer.
    pub(crate) computed_tokens: u64,
    /// Tokens made.
    pub(crate) completion_tokens: u64,
}

impl Answer {
    fn begun(sent: Instant) -> Self {
        Self {
            sent,
            marks: Vec::new(),
            ended: sent,
            text: String::new(),
            finish: None,
            prompt_tokens: 0,
            computed_tokens: 0,
            completion_tokens: 0,
        }
    }

    /// Takes one event of the stream. Says whether it held text.
    fn take(&mut self, event: &[u8], at: Instant) -> anyhow::Result<bool> {
        let mut has_text = false;
        for line in event.split(|it| *it == b'\n') {
            let Some(data) = line.strip_prefix(b"data: ") else {
                // Comments and other fields of the protocol.
                continue;
            };
            if data == b"[DONE]" {
                continue;
            }
            let chunk: Chunk =
                serde_json::from_slice(data).with_context(|| format!("not understood: {}", lossy(data)))?;
            if let Some(error) = chunk.error {
                bail!("the answer ended in an error: {error}");
            }
            for choice in chunk.choices {
                let text = choice.delta.content.unwrap_or_default();
                has_text |= !text.is_empty();
                self.text.push_str(&text);
                self.finish = choice.finish_reason.or(self.finish.take());
            }
            if let Some(usage) = chunk.usage {
                let cached = usage.prompt_tokens_details.map_or(0, |it| it.cached_tokens);
                self.prompt_tokens = usage.prompt_tokens;
                self.completion_tokens = usage.completion_tokens;
                self.computed_tokens = usage.prompt_tokens.saturating_sub(cached);
            }
            if let Some(timings) = chunk.timings {
                // The peer's own count of what it computed.
                self.computed_tokens = timings.prompt_n;
            }
        }
        if has_text {
            self.marks.push(at);
        }
        Ok(has_text)
    }

    /// Seconds from the question to the first piece of text.
    pub(crate) fn first_token_seconds(&self) -> anyhow::Result<f64> {
        let first = self.marks.first().context("an answer held no text")?;
        Ok((*first - self.sent).as_secs_f64())
    }

    /// Seconds from the question to the end.
    pub(crate) fn seconds(&self) -> f64 {
        (self.ended - self.sent).as_secs_f64()
    }

    /// Tokens per second from the first to the last.
    pub(crate) fn decode_rate(&self) -> anyhow::Result<f64> {
        let (Some(first), Some(last)) = (self.marks.first(), self.marks.last()) else {
            bail!("an answer held no text")
        };
        let tokens = u32::try_from(self.completion_tokens.saturating_sub(1))?;
        Ok(f64::from(tokens) / (*last - *first).as_secs_f64().max(1e-9))
    }
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
    timings: Option<Timings>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: u64,
}

#[derive(Deserialize)]
struct Timings {
    prompt_n: u64,
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer_of(events: &[&str]) -> anyhow::Result<Answer> {
        let mut answer = Answer::begun(Instant::now());
        for event in events {
            answer.take(event.as_bytes(), Instant::now())?;
        }
        Ok(answer)
    }

    #[test]
    fn an_answer_of_ours_is_understood() {
        let answer = answer_of(&[
            ": ahead=3 estimate_ms=1200\n\n",
            "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"},\"finish_reason\":null}],\"usage\":null}\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n",
            "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\n",
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":1,\"prompt_tokens_details\":{\"cached_tokens\":16}}}\n\n",
            "data: [DONE]\n\n",
        ])
        .unwrap();
        assert_eq!((answer.text.as_str(), answer.marks.len()), ("a", 1));
        assert_eq!(answer.finish.as_deref(), Some("length"));
        assert_eq!((answer.prompt_tokens, answer.computed_tokens), (20, 4));
    }

    #[test]
    fn the_peers_own_count_of_computed_tokens_wins() {
        let answer = answer_of(&[
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":48,\"completion_tokens\":4},\"timings\":{\"prompt_n\":7}}\n\n",
        ])
        .unwrap();
        assert_eq!(answer.computed_tokens, 7);
    }

    #[test]
    fn an_error_inside_a_stream_is_a_failure() {
        assert!(answer_of(&["data: {\"error\":{\"message\":\"no slot\"}}\n\n"]).is_err());
        assert!(answer_of(&["data: {broken\n\n"]).is_err());
    }
}
