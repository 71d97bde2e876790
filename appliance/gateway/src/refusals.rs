//! Why a request is not served: one list, each with its stable code, its status and whether trying again helps.

use std::time::Duration;

use jingui_chat::{Condition, Refusal as ChatRefusal, TemplateError};
use jingui_ipc::control::{Fault, FaultKind};

use crate::engines::StartFailure;
use crate::keys::KeyRefusal;
use crate::routes::Method;

/// Pause that clients are told while something starts or restarts.
pub const RETRY_SOON: Duration = Duration::from_secs(2);
/// Pause that clients are told while a queue is full.
pub const RETRY_OVERLOADED: Duration = Duration::from_secs(1);
/// Longest pause that clients are told. SDKs sleep for as long as they are told, so no more is ever said.
pub const RETRY_TIME_MAX: Duration = Duration::from_secs(60);

/// Why a request is not served.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// No API key was sent.
    #[error("no API key was sent")]
    KeyMissing,
    /// The API key does not open.
    #[error(transparent)]
    Key(#[from] KeyRefusal),
    /// No session, or it has ended.
    #[error("there is no open session")]
    SessionMissing,
    /// The call did not come from the console's own pages.
    #[error("the call did not come from the console's own pages")]
    Forged,
    /// There is no such path.
    #[error("there is no such path")]
    UnknownPath,
    /// The path has other methods.
    #[error("the path has other methods")]
    WrongMethod {
        /// Methods that it has.
        allowed: Vec<Method>,
    },
    /// The body is too long.
    #[error("the body is longer than {bytes_max} bytes")]
    BodyTooLarge {
        /// Longest body in bytes.
        bytes_max: usize,
    },
    /// The body came too slowly.
    #[error("the body came too slowly")]
    BodyTooSlow,
    /// The body was cut off.
    #[error("the body was cut off")]
    BodyCutOff,
    /// The body is not the JSON that the route reads.
    #[error("the body is not the JSON of this call")]
    BodyMalformed,
    /// The body is no chat request.
    #[error(transparent)]
    Chat(#[from] ChatRefusal),
    /// The model's template cannot write this conversation.
    #[error("the model's template cannot write this conversation")]
    Template {
        /// Stable code.
        code: &'static str,
        /// Facts for the words.
        facts: Vec<(&'static str, String)>,
        /// What kind of error it is for a client.
        condition: Condition,
    },
    /// No model of that name.
    #[error("no model has the name {name:?}")]
    ModelUnknown {
        /// Name as asked for.
        name: String,
    },
    /// No model serves yet.
    #[error("no model serves yet")]
    ModelLoading,
    /// The model's engine is gone and comes back.
    #[error("the model's engine is being restarted")]
    EngineRestarting,
    /// The engine said nothing for too long.
    #[error("the engine said nothing for too long")]
    EngineSilent,
    /// The engine or the gateway holds as much as it can.
    #[error("too much is being done at once")]
    Overloaded,
    /// The engine's queue is full, of all or of this tenant.
    #[error("the engine's queue is full")]
    QueueFull {
        /// Time after which there will be room, as the engine estimates.
        retry_after: Duration,
    },
    /// The engine died twice while it worked on this request, the second time on it alone.
    #[error("the engine died twice while it worked on this request")]
    EngineKilled,
    /// Another package was promoted while this one's answer was being made.
    #[error("the model was replaced while it answered")]
    ModelReplaced,
    /// The engine could not compute the answer.
    #[error("the engine could not compute the answer: {code}")]
    EngineFailed {
        /// The engine's code.
        code: String,
    },
    /// The engine refused the request.
    #[error("the engine refused the request: {code}")]
    EngineRefused {
        /// The engine's code.
        code: String,
    },
    /// The engine refused the form that was asked of the answer.
    #[error("the form of the answer was refused: {code}")]
    Form {
        /// The engine's code; it has its own words.
        code: String,
        /// Parameter that asks for the form.
        param: &'static str,
    },
    /// The prompt does not fit.
    #[error("{prompt_tokens} tokens do not fit a context of {context_tokens}")]
    ContextTooLong {
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Tokens that fit.
        context_tokens: u32,
    },
    /// The client reads its answer too slowly.
    #[error("the client reads its answer too slowly")]
    ClientTooSlow,
    /// The audit log cannot be written, so nothing is answered.
    #[error("the audit log cannot be written")]
    AuditUnavailable,
    /// The supervisor did not answer.
    #[error("the supervisor did not answer")]
    SupervisorUnavailable,
    /// The gateway is stopping.
    #[error("the gateway is stopping")]
    Stopping,
    /// Too many wrong proofs from one address.
    #[error("too many wrong proofs from one address")]
    TooManyTries {
        /// Seconds until the next may be made.
        wait_s: u64,
    },
    /// The name is locked after wrong proofs.
    #[error("the name is locked")]
    Locked {
        /// Seconds until it opens.
        remaining_s: u64,
    },
    /// Name, password or code is wrong.
    #[error("name, password or code is wrong")]
    ProofWrong,
    /// The one-time code was used before.
    #[error("the code was used before")]
    CodeReplayed,
    /// The supervisor refused an act.
    #[error("the supervisor refused: {}", .0.code)]
    Fault(Fault),
    /// The gateway's own tables or randomness failed.
    #[error("the gateway failed: {code}")]
    Internal {
        /// Stable code.
        code: &'static str,
    },
}

impl From<&TemplateError> for Refusal {
    fn from(error: &TemplateError) -> Self {
        Self::Template {
            code: error.code(),
            facts: error.facts(),
            condition: error.condition(),
        }
    }
}

impl From<StartFailure> for Refusal {
    fn from(failure: StartFailure) -> Self {
        match failure {
            StartFailure::Gone => Self::EngineRestarting,
            StartFailure::Overloaded => Self::Overloaded,
            StartFailure::TooLong => Self::BodyTooLarge {
                bytes_max: crate::routes::CHAT_BODY_BYTES_MAX,
            },
        }
    }
}

/// Whether a client should try the same again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It will not help.
    Never,
    /// It may help after that time.
    After(Duration),
}

/// Every code that this crate gives out and owns.
pub const CODES: &[&str] = &[
    "api.audit.unavailable",
    "api.body.cut-off",
    "api.body.malformed",
    "api.body.too-large",
    "api.body.too-slow",
    "api.client.too-slow",
    "api.context.too-long",
    "api.engine.failed",
    "api.engine.killed",
    "api.engine.refused",
    "api.engine.restarting",
    "api.engine.silent",
    "api.key.label-malformed",
    "api.key.missing",
    "api.key.mistyped",
    "api.key.revoked",
    "api.key.too-many",
    "api.key.unknown",
    "api.method.wrong",
    "api.model.loading",
    "api.model.replaced",
    "api.model.unknown",
    "api.overloaded",
    "api.path.unknown",
    "api.queue.full",
    "api.request.forged",
    "api.session.missing",
    "api.sign-in.too-many",
    "api.stopping",
    "api.store.failed",
    "api.supervisor.unavailable",
    "api.user.exists",
    "api.user.too-many",
];

/// Codes of the engine that speak of the form asked of an answer begin with this.
const FORM_CODES: &str = "engine.constraint.";

impl Refusal {
    /// What the engine's refusal of a request means; `form_param` is the parameter that asks for a form.
    #[must_use]
    pub fn of_engine(code: String, form_param: &'static str) -> Self {
        if code.starts_with(FORM_CODES) {
            Self::Form {
                code,
                param: form_param,
            }
        } else {
            Self::EngineRefused { code }
        }
    }

    /// Never changes once released: manual, console and scripts rely on it.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::KeyMissing => "api.key.missing",
            Self::Key(KeyRefusal::Mistyped) => "api.key.mistyped",
            Self::Key(KeyRefusal::Unknown) => "api.key.unknown",
            Self::Key(KeyRefusal::Revoked) => "api.key.revoked",
            Self::SessionMissing => "api.session.missing",
            Self::Forged => "api.request.forged",
            Self::UnknownPath => "api.path.unknown",
            Self::WrongMethod { .. } => "api.method.wrong",
            Self::BodyTooLarge { .. } => "api.body.too-large",
            Self::BodyTooSlow => "api.body.too-slow",
            Self::BodyCutOff => "api.body.cut-off",
            Self::BodyMalformed => "api.body.malformed",
            Self::Chat(refusal) => refusal.code(),
            Self::Template { code, .. } | Self::Internal { code } => code,
            Self::ModelUnknown { .. } => "api.model.unknown",
            Self::ModelLoading => "api.model.loading",
            Self::EngineRestarting => "api.engine.restarting",
            Self::EngineSilent => "api.engine.silent",
            Self::Overloaded => "api.overloaded",
            Self::QueueFull { .. } => "api.queue.full",
            Self::EngineKilled => "api.engine.killed",
            Self::ModelReplaced => "api.model.replaced",
            Self::Form { code, .. } => code,
            Self::EngineFailed { .. } => "api.engine.failed",
            Self::EngineRefused { .. } => "api.engine.refused",
            Self::ContextTooLong { .. } => "api.context.too-long",
            Self::ClientTooSlow => "api.client.too-slow",
            Self::AuditUnavailable => "api.audit.unavailable",
            Self::SupervisorUnavailable => "api.supervisor.unavailable",
            Self::Stopping => "api.stopping",
            Self::TooManyTries { .. } => "api.sign-in.too-many",
            Self::Locked { .. } => "auth.account.locked",
            Self::ProofWrong => "auth.proof.wrong",
            Self::CodeReplayed => "auth.code.replayed",
            Self::Fault(fault) => &fault.code,
        }
    }

    /// HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::SessionMissing | Self::ProofWrong | Self::CodeReplayed => 401,
            Self::Forged | Self::Locked { .. } => 403,
            Self::TooManyTries { .. } => 429,
            Self::Fault(fault) => match fault.kind {
                FaultKind::Refused => 400,
                FaultKind::NotAllowed => 403,
                FaultKind::Unavailable => 503,
            },
            Self::SupervisorUnavailable | Self::Stopping => 503,
            other => other.condition().status(),
        }
    }

    /// The row of the OpenAI interface that fits.
    #[must_use]
    pub fn condition(&self) -> Condition {
        match self {
            Self::KeyMissing => Condition::MissingApiKey,
            Self::Key(_) => Condition::InvalidApiKey,
            Self::UnknownPath => Condition::UnknownUrl,
            Self::WrongMethod { .. } => Condition::MethodNotAllowed,
            Self::BodyTooLarge { .. } => Condition::RequestTooLarge,
            Self::BodyTooSlow => Condition::RequestTimeout,
            Self::BodyCutOff | Self::BodyMalformed | Self::EngineRefused { .. } | Self::Form { .. } => {
                Condition::InvalidValue
            }
            Self::Chat(refusal) => refusal.condition(),
            Self::Template { condition, .. } => *condition,
            Self::ModelUnknown { .. } => Condition::ModelNotFound,
            Self::ModelLoading => Condition::ModelLoading,
            Self::EngineRestarting | Self::ModelReplaced => Condition::EngineRestarting,
            Self::Overloaded | Self::Stopping | Self::SupervisorUnavailable => Condition::Overloaded,
            Self::ContextTooLong { .. } => Condition::ContextLengthExceeded,
            Self::AuditUnavailable => Condition::AuditUnavailable,
            Self::QueueFull { .. } | Self::TooManyTries { .. } | Self::Locked { .. } => {
                Condition::RateLimitExceeded
            }
            Self::SessionMissing
            | Self::Forged
            | Self::ProofWrong
            | Self::CodeReplayed
            | Self::Fault(_)
            | Self::EngineSilent
            | Self::EngineKilled
            | Self::EngineFailed { .. }
            | Self::ClientTooSlow
            | Self::Internal { .. } => Condition::ServerError,
        }
    }

    /// Whether trying again helps.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::ModelLoading
            | Self::EngineRestarting
            | Self::ModelReplaced
            | Self::SupervisorUnavailable
            | Self::AuditUnavailable
            | Self::Stopping => Retry::After(RETRY_SOON),
            Self::Overloaded => Retry::After(RETRY_OVERLOADED),
            Self::QueueFull { retry_after } => {
                Retry::After((*retry_after).clamp(RETRY_OVERLOADED, RETRY_TIME_MAX))
            }
            Self::TooManyTries { wait_s } if Duration::from_secs(*wait_s) <= RETRY_TIME_MAX => {
                Retry::After(Duration::from_secs(*wait_s))
            }
            Self::Fault(Fault {
                kind: FaultKind::Unavailable,
                ..
            }) => Retry::After(RETRY_SOON),
            _ => Retry::Never,
        }
    }

    /// Path of the parameter at fault.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::Chat(refusal) => refusal.param(),
            Self::ModelUnknown { .. } => Some("model"),
            Self::Form { param, .. } => Some(param),
            Self::ContextTooLong { .. } | Self::Template { .. } => Some("messages"),
            _ => None,
        }
    }

    /// Facts for the placeholders of the words.
    #[must_use]
    pub fn facts(&self) -> Vec<(String, String)> {
        let fact = |name: &str, value: &dyn ToString| (name.to_owned(), value.to_string());
        match self {
            Self::WrongMethod { allowed } => vec![fact("allowed", &allow(allowed))],
            Self::BodyTooLarge { bytes_max } => vec![fact("bytes_max", bytes_max)],
            Self::Chat(refusal) => owned(refusal.facts()),
            Self::Template { facts, .. } => owned(facts.clone()),
            Self::ModelUnknown { name } => vec![fact("model", name)],
            Self::EngineFailed { code } | Self::EngineRefused { code } => vec![fact("engine_code", code)],
            Self::ContextTooLong {
                prompt_tokens,
                context_tokens,
            } => {
                vec![
                    fact("prompt_tokens", prompt_tokens),
                    fact("context_tokens", context_tokens),
                ]
            }
            Self::QueueFull { retry_after } => {
                let wait = (*retry_after).clamp(RETRY_OVERLOADED, RETRY_TIME_MAX);
                vec![fact("wait_s", &whole_seconds(wait))]
            }
            Self::TooManyTries { wait_s } => vec![fact("wait_s", wait_s)],
            Self::Locked { remaining_s } => vec![fact("remaining_s", remaining_s)],
            Self::Fault(fault) => fault.facts.clone(),
            _ => Vec::new(),
        }
    }
}

/// Seconds, rounded up: who comes back after them does not come too early.
#[must_use]
pub fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Value of the `Allow` header. `HEAD` goes with `GET`.
#[must_use]
pub fn allow(methods: &[Method]) -> String {
    let words: Vec<&str> = methods
        .iter()
        .flat_map(|method| match method {
            Method::Get => &["GET", "HEAD"][..],
            Method::Post => &["POST"],
            Method::Delete => &["DELETE"],
        })
        .copied()
        .collect();
    words.join(", ")
}

fn owned(facts: Vec<(&'static str, String)>) -> Vec<(String, String)> {
    facts
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
