//! The one table of routes: path, who may, limits, audit rule, handler.
//!
//! Everything that answers under `/v1`, `/api` or at a fixed path is in [`ROUTES`]; what is not is the console's
//! files. The OpenAPI document is made from the same table, so a route cannot exist without being described.

use crate::openapi::{Body, Describe, describe};
use crate::schema;

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
}

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
            answer: Body::JsonOrStream(describe::<schema::ChatCompletion>, describe::<schema::ChatChunk>),
            refusals: &[400, 404, 413, 503],
        },
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
            answer: Body::Json(describe::<schema::ModelList>),
            refusals: &[],
        },
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
            answer: Body::Json(describe::<schema::Model>),
            refusals: &[404],
        },
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
            answer: Body::Json(describe::<schema::Session>),
            refusals: &[],
        },
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
            answer: Body::Json(describe::<schema::Session>),
            refusals: &[400, 401, 413, 429, 503],
        },
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
            answer: Body::Nothing,
            refusals: &[503],
        },
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
            answer: Body::Json(describe::<schema::SetUpState>),
            refusals: &[503],
        },
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
            answer: Body::Json(describe::<schema::SetUpDone>),
            refusals: &[400, 403, 413, 503],
        },
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
            answer: Body::Json(describe::<schema::Status>),
            refusals: &[503],
        },
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
            answer: Body::Json(describe::<schema::InstalledModels>),
            refusals: &[503],
        },
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
            answer: Body::JsonOrStream(describe::<schema::ChatCompletion>, describe::<schema::ChatChunk>),
            refusals: &[400, 404, 413, 503],
        },
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
            answer: Body::Text("text/plain"),
            refusals: &[],
        },
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
            answer: Body::Text("text/plain"),
            refusals: &[503],
        },
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
            answer: Body::Text("application/x-pem-file"),
            refusals: &[],
        },
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
            answer: Body::Text("application/json"),
            refusals: &[],
        },
    },
];
