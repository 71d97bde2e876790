//! Answers as HTTP: refusals in the form of the caller's family, and the headers that every answer has.

use axum::body::Body;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use jingui_chat::ErrorBody;
use jingui_messages::{Language, explain};

use crate::refusals::{Refusal, Retry, allow, whole_seconds};
use crate::schema::Problem;

/// Name of the header that carries the request id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// Policy for everything that a browser may show: own scripts, own styles, nothing from another host, no frame.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; worker-src 'self'; manifest-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'; \
     require-trusted-types-for 'script'; trusted-types app";

const PERMISSIONS_POLICY: &str = "accelerometer=(), autoplay=(), camera=(), clipboard-read=(), display-capture=(), \
     encrypted-media=(), fullscreen=(), geolocation=(), gyroscope=(), hid=(), magnetometer=(), microphone=(), \
     midi=(), payment=(), picture-in-picture=(), publickey-credentials-get=(), screen-wake-lock=(), serial=(), \
     usb=(), xr-spatial-tracking=()";

const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (HeaderName::from_static("permissions-policy"), PERMISSIONS_POLICY),
];

/// In which form a caller gets refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `{"error":{…}}`.
    OpenAi,
    /// `application/problem+json`.
    Console,
}

/// The headers of every answer. What an answer says of its own caching stays.
pub fn finish(headers: &mut HeaderMap, request_id: &str) {
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
}

/// An answer with a body of that type.
pub fn text(status: StatusCode, media_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}

/// A JSON answer.
///
/// # Errors
/// Never for the types of this API: they hold strings, numbers and lists.
pub fn json(value: &impl serde::Serialize) -> Result<Response<Body>, Refusal> {
    let body = serde_json::to_vec(value).map_err(|_| Refusal::Internal {
        code: "api.store.failed",
    })?;
    Ok(text(StatusCode::OK, "application/json", body))
}

/// A refusal as an answer.
#[must_use]
pub fn refuse(refusal: &Refusal, family: Family, language: Language, request_id: &str) -> Response<Body> {
    let status = match family {
        Family::OpenAi => refusal.condition().status(),
        Family::Console => refusal.status(),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = match family {
        Family::OpenAi => text(
            status,
            "application/json",
            error_body(refusal, language).to_json(),
        ),
        Family::Console => {
            let problem = problem(refusal, language, status.as_u16(), request_id);
            text(
                status,
                "application/problem+json",
                serde_json::to_vec(&problem).unwrap_or_default(),
            )
        }
    };
    let headers = answer.headers_mut();
    if let Refusal::WrongMethod { allowed } = refusal
        && let Ok(value) = HeaderValue::from_str(&allow(allowed))
    {
        headers.insert(header::ALLOW, value);
    }
    if status == StatusCode::UNAUTHORIZED && family == Family::OpenAi {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    match refusal.retry() {
        Retry::Never => {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        Retry::After(time) => {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("true"));
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(time)));
            headers.insert(
                RETRY_AFTER_MS,
                HeaderValue::from(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            );
        }
    }
    answer
}

/// The error object of the OpenAI interface.
#[must_use]
pub fn error_body(refusal: &Refusal, language: Language) -> ErrorBody {
    let message = match (refusal, language) {
        // The parser's own text names the parameter and is what English clients know.
        (Refusal::Chat(refusal), Language::English) => refusal.to_string(),
        _ => {
            let words = explain(refusal.code(), language, &refusal.facts());
            let space = if language == Language::English { " " } else { "" };
            [words.what, words.why, words.remedy].join(space)
        }
    };
    ErrorBody {
        condition: refusal.condition(),
        message,
        param: refusal.param().map(str::to_owned),
    }
}

fn problem(refusal: &Refusal, language: Language, status: u16, request_id: &str) -> Problem {
    let words = explain(refusal.code(), language, &refusal.facts());
    Problem {
        kind: format!("about:blank#{}", refusal.code()),
        title: words.what,
        status,
        code: refusal.code().to_owned(),
        detail: words.why,
        remedy: words.remedy,
        request_id: request_id.to_owned(),
    }
}
