//! The one table of routes: path, who may, limits, audit rule, handler.
//!
//! Everything that answers under `/v1`, `/api` or at a fixed path is in [`ROUTES`]; what is not is the console's
//! files. The OpenAPI document is made from the same table, so a route cannot exist without being described.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::RawPathParams;
use axum::http::header::{self, HeaderMap};
use axum::http::{Request, Response};
use axum::routing::{MethodFilter, MethodRouter};
use jingui_messages::Language;
use tower::ServiceExt;

use crate::answers::{Family, finish, refuse};
use crate::call::{
    Call, Caller, DISCARDED_BYTES_MAX, STRANGER_DISCARDED_BYTES_MAX, discard, judge, read_body,
};
use crate::gateway::Gateway;
use crate::openapi::{Answer, Describe, describe};
use crate::refusals::Refusal;
use crate::sessions::hex;
use crate::{chat, console, facts, schema, sign_in};

/// Longest body of a chat request in bytes.
pub const CHAT_BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Longest body of any other request in bytes.
pub const SMALL_BODY_BYTES_MAX: usize = 64 * 1024;

/// HTTP method of a route. `HEAD` is answered wherever `GET` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Read.
    Get,
    /// Act.
    Post,
    /// End.
    Delete,
}

impl Method {
    /// Whether a call with this method changes something.
    #[must_use]
    pub const fn changes_something(self) -> bool {
        !matches!(self, Self::Get)
    }

    const fn filter(self) -> MethodFilter {
        match self {
            // axum answers HEAD where it answers GET.
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

/// Who may call a route. Credentials of one kind never work for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Anybody who reaches the port.
    Public,
    /// Anybody at the console: no session yet, but the forgery check is made.
    Console,
    /// Holder of an API key.
    Key,
    /// A person with an open session, of any role.
    Session,
}

/// Which leaf a call leaves in the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditRule {
    /// None: nothing of value is read or changed.
    Nothing,
    /// Exactly one `infer.request` for each request that reached an engine.
    Inference,
    /// `auth.login` or `auth.fail`.
    SignIn,
    /// `auth.logout`.
    SignOut,
    /// The leaves of the ceremony, written by the supervisor.
    Ceremony,
}

/// Whether a call shows that a person is at the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// It keeps the session open.
    Person,
    /// Pages call it by themselves; it does not.
    Poll,
}

/// One route.
pub struct Route {
    /// Method.
    pub method: Method,
    /// Path; a name in braces stands for one segment.
    pub path: &'static str,
    /// Who may call it.
    pub who: Who,
    /// Longest body in bytes; 0 where none is read.
    pub body_bytes_max: usize,
    /// What it leaves in the audit log.
    pub audit: AuditRule,
    /// Whether it keeps a session open.
    pub activity: Activity,
    /// Its description.
    pub describe: Describe,
    /// What answers it.
    pub handler: Handler,
}

/// What answers a route. The caller was judged and the body read before.
pub type Handler =
    fn(Arc<Gateway>, Call) -> Pin<Box<dyn Future<Output = Result<Response<Body>, Refusal>> + Send>>;

/// All routes.
pub const ROUTES: &[Route] = &[
    Route {
        method: Method::Post,
        path: "/v1/chat/completions",
        who: Who::Key,
        body_bytes_max: CHAT_BODY_BYTES_MAX,
        audit: AuditRule::Inference,
        activity: Activity::Person,
        describe: Describe {
            id: "createChatCompletion",
            summary: "Answer a conversation, whole or as a stream",
            request: Some(describe::<schema::ChatRequest>),
            answer: Answer::JsonOrStream(describe::<schema::ChatCompletion>, describe::<schema::ChatChunk>),
            refusals: &[400, 404, 413, 429, 503],
        },
        handler: |gateway, call| Box::pin(chat::complete(gateway, call)),
    },
    Route {
        method: Method::Get,
        path: "/v1/models",
        who: Who::Key,
        body_bytes_max: 0,
        audit: AuditRule::Nothing,
        activity: Activity::Person,
        describe: Describe {
            id: "listModels",
            summary: "Models that can be asked now",
            request: None,
            answer: Answer::Json(describe::<schema::ModelList>),
            refusals: &[],
        },
        handler: |gateway, call| Box::pin(facts::models(gateway, call)),
    },
    Route {
        method: Method::Get,
        path: "/v1/models/{id}",
        who: Who::Key,
        body_bytes_max: 0,
        audit: AuditRule::Nothing,
        activity: Activity::Person,
        describe: Describe {
            id: "getModel",
            summary: "One model that can be asked now",
            request: None,
            answer: Answer::Json(describe::<schema::Model>),
            refusals: &[404],
        },
        handler: |gateway, call| Box::pin(facts::model(gateway, call)),
    },
    Route {
        method: Method::Get,
        path: "/api/session",
        who: Who::Session,
        body_bytes_max: 0,
        audit: AuditRule::Nothing,
        activity: Activity::Poll,
        describe: Describe {
            id: "getSession",
            summary: "Who is signed in",
            request: None,
            answer: Answer::Json(describe::<schema::Session>),
            refusals: &[],
        },
        handler: |gateway, call| Box::pin(sign_in::session(gateway, call)),
    },
    Route {
        method: Method::Post,
        path: "/api/session",
        who: Who::Console,
        body_bytes_max: SMALL_BODY_BYTES_MAX,
        audit: AuditRule::SignIn,
        activity: Activity::Person,
        describe: Describe {
            id: "signIn",
            summary: "Sign in with password and second factor",
            request: Some(describe::<schema::SignIn>),
            answer: Answer::Json(describe::<schema::Session>),
            refusals: &[400, 401, 413, 429, 503],
        },
        handler: |gateway, call| Box::pin(sign_in::sign_in(gateway, call)),
    },
    Route {
        method: Method::Delete,
        path: "/api/session",
        who: Who::Session,
        body_bytes_max: 0,
        audit: AuditRule::SignOut,
        activity: Activity::Person,
        describe: Describe {
            id: "signOut",
            summary: "Sign out",
            request: None,
            answer: Answer::Nothing,
            refusals: &[503],
        },
        handler: |gateway, call| Box::pin(sign_in::sign_out(gateway, call)),
    },
    Route {
        method: Method::Get,
        path: "/api/setup",
        who: Who::Public,
        body_bytes_max: 0,
        audit: AuditRule::Nothing,
        activity: Activity::Poll,
        describe: Describe {
            id: "getSetUp",
            summary: "Whether the first-boot ceremony was done",
            request: None,
            answer: Answer::Json(describe::<schema::SetUpState>),
            refusals: &[503],
        },
        handler: |gateway, call| Box::pin(sign_in::set_up_state(gateway, call)),
    },
    Route {
        method: Method::Post,
        path: "/api/setup",
        who: Who::Console,
        body_bytes_max: SMALL_BODY_BYTES_MAX,
        audit: AuditRule::Ceremony,
        activity: Activity::Person,
        describe: Describe {
            id: "setUp",
            summary: "Do the first-boot ceremony",
            request: Some(describe::<schema::SetUp>),
            answer: Answer::Json(describe::<schema::SetUpDone>),
            refusals: &[400, 403, 413, 503],
        },
        handler: |gateway, call| Box::pin(sign_in::set_up(gateway, call)),
    },
    Route {
        method: Method::Get,
        path: "/api/status",
        who: Who::Session,
        body_bytes_max: 0,
        audit: AuditRule::Nothing,
        activity: Activity::Poll,
        describe: Describe {
            id: "getStatus",
            summary: "Health, processes and guarantees",
            request: None,
            answer: Answer::Json(describe::<schema::Status>),
            refusals: &[503],
        },
        handler: |gateway, call| Box::pin(facts::status(gateway, call)),
    },
    Route {
        method: Method::Get,
        path: "/api/models",
        who: Who::Session,
        body_bytes_max: 0,
        audit: AuditRule::Nothing,
        activity: Activity::Person,
        describe: Describe {
            id: "listInstalledModels",
            summary: "Installed models and their facts",
            request: None,
            answer: Answer::Json(describe::<schema::InstalledModels>),
            refusals: &[503],
        },
        handler: |gateway, call| Box::pin(facts::installed(gateway, call)),
    },
    Route {
        method: Method::Post,
        path: "/api/chat",
        who: Who::Session,
        body_bytes_max: CHAT_BODY_BYTES_MAX,
        audit: AuditRule::Inference,
        activity: Activity::Person,
        describe: Describe {
            id: "chat",
            summary: "Answer a conversation at the console",
            request: Some(describe::<schema::ChatRequest>),
            answer: Answer::JsonOrStream(describe::<schema::ChatCompletion>, describe::<schema::ChatChunk>),
            refusals: &[400, 404, 413, 429, 503],
        },
        handler: |gateway, call| Box::pin(chat::complete(gateway, call)),
    },
    Route {
        method: Method::Get,
        path: "/healthz",
        who: Who::Public,
        body_bytes_max: 0,
        audit: AuditRule::Nothing,
        activity: Activity::Poll,
        describe: Describe {
            id: "isAlive",
            summary: "200 while this process lives",
            request: None,
            answer: Answer::Text("text/plain"),
            refusals: &[],
        },
        handler: |gateway, call| Box::pin(facts::is_alive(gateway, call)),
    },
    Route {
        method: Method::Get,
        path: "/readyz",
        who: Who::Public,
        body_bytes_max: 0,
        audit: AuditRule::Nothing,
        activity: Activity::Poll,
        describe: Describe {
            id: "isReady",
            summary: "200 when a model serves and the audit log can be written",
            request: None,
            answer: Answer::Text("text/plain"),
            refusals: &[503],
        },
        handler: |gateway, call| Box::pin(facts::is_ready(gateway, call)),
    },
    Route {
        method: Method::Get,
        path: "/ca.pem",
        who: Who::Public,
        body_bytes_max: 0,
        audit: AuditRule::Nothing,
        activity: Activity::Poll,
        describe: Describe {
            id: "getCa",
            summary: "Certificate of the device's own authority",
            request: None,
            answer: Answer::Text("application/x-pem-file"),
            refusals: &[],
        },
        handler: |gateway, call| Box::pin(facts::ca(gateway, call)),
    },
    Route {
        method: Method::Get,
        path: "/openapi.json",
        who: Who::Public,
        body_bytes_max: 0,
        audit: AuditRule::Nothing,
        activity: Activity::Poll,
        describe: Describe {
            id: "getOpenApi",
            summary: "This document",
            request: None,
            answer: Answer::Text("application/json"),
            refusals: &[],
        },
        handler: |gateway, call| Box::pin(facts::description(gateway, call)),
    },
];

/// The table as something that answers requests.
#[derive(Clone)]
pub struct Routes {
    router: Router,
}

/// What the accept loop knows of a request beside its bytes.
#[derive(Debug, Clone)]
struct Origin {
    request_id: String,
    source: IpAddr,
}

impl Routes {
    /// Builds the router from [`ROUTES`].
    #[must_use]
    pub fn new(gateway: Arc<Gateway>) -> Self {
        let mut router = Router::new();
        let mut paths: Vec<&'static str> = ROUTES.iter().map(|route| route.path).collect();
        paths.dedup();
        for path in paths {
            router = router.route(path, methods_of(path, &gateway));
        }
        Self {
            router: router.fallback(elsewhere),
        }
    }

    /// Answers a request from that address. Every answer gets its id and the headers that all have.
    pub async fn answer_from(&self, mut request: Request<Body>, source: IpAddr) -> Response<Body> {
        // Without randomness the id is not unique, which only makes a log harder to read.
        let request_id = format!(
            "req_{}",
            hex(&jingui_trust::random::bytes::<12>().unwrap_or_default())
        );
        request.extensions_mut().insert(Origin {
            request_id: request_id.clone(),
            source,
        });
        let Ok(mut answer) = self.router.clone().oneshot(request).await;
        finish(answer.headers_mut(), &request_id);
        answer
    }
}

fn methods_of(path: &'static str, gateway: &Arc<Gateway>) -> MethodRouter {
    let mut methods = MethodRouter::new();
    for route in ROUTES.iter().filter(|route| route.path == path) {
        let gateway = Arc::clone(gateway);
        methods = methods.on(
            route.method.filter(),
            move |parameters: RawPathParams, request: Request<Body>| {
                let parameter = parameters.iter().next().map(|(_, value)| value.to_owned());
                run(route, Arc::clone(&gateway), parameter, request)
            },
        );
    }
    methods.fallback(move |request: Request<Body>| async move {
        let allowed = ROUTES
            .iter()
            .filter(|route| route.path == path)
            .map(|route| route.method)
            .collect();
        refused(&Refusal::WrongMethod { allowed }, path, &request)
    })
}

/// One request to a route: caller, body, handler, in this order.
async fn run(
    route: &'static Route,
    gateway: Arc<Gateway>,
    parameter: Option<String>,
    request: Request<Body>,
) -> Response<Body> {
    let (parts, mut body) = request.into_parts();
    let language = language_of(&parts.headers, route.path);
    let Some(Origin { request_id, source }) = parts.extensions.get::<Origin>().cloned() else {
        return Response::new(Body::empty());
    };
    let refused = |refusal: &Refusal| refuse(refusal, family_of(route.path), language, &request_id);
    let (caller, token) = match judge(route, &parts.headers, &gateway.keys, &gateway.sessions) {
        Ok(judged) => judged,
        Err(refusal) => {
            discard(&parts.headers, body, STRANGER_DISCARDED_BYTES_MAX).await;
            return refused(&refusal);
        }
    };
    let (limits, bodies) = (&gateway.limits.body, &gateway.bodies);
    let read = match route.body_bytes_max {
        0 => Ok((bytes::Bytes::new(), None)),
        bytes_max => read_body(&parts, &mut body, bytes_max, limits, bodies).await,
    };
    let (content, share) = match read {
        Ok(read) => read,
        Err(refusal) => {
            let is_known = caller != Caller::Anybody;
            discard(
                &parts.headers,
                body,
                if is_known {
                    DISCARDED_BYTES_MAX
                } else {
                    STRANGER_DISCARDED_BYTES_MAX
                },
            )
            .await;
            return refused(&refusal);
        }
    };
    let call = Call {
        request_id: request_id.clone(),
        source,
        language,
        caller,
        token,
        parameter,
        body: content,
        share,
    };
    match (route.handler)(gateway, call).await {
        Ok(answer) => answer,
        Err(refusal) => refused(&refusal),
    }
}

/// What is no route: an unknown call of an API, or a file or page of the console.
async fn elsewhere(request: Request<Body>) -> Response<Body> {
    let path = request.uri().path();
    if is_under(path, "/v1") || is_under(path, "/api") {
        return refused(&Refusal::UnknownPath, path, &request);
    }
    if !matches!(
        *request.method(),
        axum::http::Method::GET | axum::http::Method::HEAD
    ) {
        return refused(
            &Refusal::WrongMethod {
                allowed: vec![Method::Get],
            },
            path,
            &request,
        );
    }
    console::file(path, request.headers()).unwrap_or_else(|| refused(&Refusal::UnknownPath, path, &request))
}

fn refused(refusal: &Refusal, path: &str, request: &Request<Body>) -> Response<Body> {
    let request_id = request
        .extensions()
        .get::<Origin>()
        .map(|origin| origin.request_id.as_str())
        .unwrap_or_default();
    refuse(
        refusal,
        family_of(path),
        language_of(request.headers(), path),
        request_id,
    )
}

fn family_of(path: &str) -> Family {
    if is_under(path, "/api") {
        Family::Console
    } else {
        Family::OpenAi
    }
}

fn is_under(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Language of the caller. Programs that say nothing get English, people Chinese.
fn language_of(headers: &HeaderMap, path: &str) -> Language {
    let wished = headers
        .get(header::ACCEPT_LANGUAGE)
        .and_then(|value| value.to_str().ok());
    match (wished, family_of(path)) {
        (Some(wished), _) => Language::from_accept_language(wished),
        (None, Family::OpenAi) => Language::English,
        (None, Family::Console) => Language::Chinese,
    }
}
