//! Errors as API clients see them: the conditions of the HTTP interface, and why a body is refused.

use serde::Serialize;

use crate::json::JsonError;

/// A condition that ends a request with an error. One list for all families of clients; this is the OpenAI face.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Condition {
    /// No key was sent.
    MissingApiKey,
    /// The key is not known, or its check code is wrong.
    InvalidApiKey,
    /// The token is no longer valid.
    TokenExpired,
    /// The key or its account is switched off.
    AccountDeactivated,
    /// The budget is used up.
    InsufficientQuota,
    /// A parameter has no allowed value.
    InvalidValue,
    /// A parameter asks for what this product or this model does not do.
    UnsupportedValue,
    /// No model of that name serves.
    ModelNotFound,
    /// The model does not do this kind of call.
    UnsupportedEndpoint,
    /// The key may not use this.
    PermissionDenied,
    /// There is no such path.
    UnknownUrl,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The body is of a media type that is not read.
    UnsupportedMediaType,
    /// The same request id is already being answered.
    Conflict,
    /// Prompt and answer do not fit the context.
    ContextLengthExceeded,
    /// A rule for content forbids it.
    ContentPolicyViolation,
    /// Too many requests at once or in a minute.
    RateLimitExceeded,
    /// The queue is full.
    Overloaded,
    /// No model serves yet.
    ModelLoading,
    /// The engine of the model is being restarted.
    EngineRestarting,
    /// The answer cannot be recorded in the audit log, so none is given.
    AuditUnavailable,
    /// The body is larger than allowed.
    RequestTooLarge,
    /// The client took too long to send its request.
    RequestTimeout,
    /// The box failed.
    ServerError,
}

impl Condition {
    /// Status, `code` and `type` of the OpenAI interface.
    const fn row(self) -> (u16, &'static str, &'static str) {
        const REQUEST: &str = "invalid_request_error";
        const AUTHENTICATION: &str = "authentication_error";
        const PERMISSION: &str = "permission_error";
        const RATE: &str = "rate_limit_error";
        const SERVER: &str = "server_error";
        match self {
            Self::MissingApiKey => (401, "missing_api_key", AUTHENTICATION),
            Self::InvalidApiKey => (401, "invalid_api_key", AUTHENTICATION),
            Self::TokenExpired => (401, "token_expired", AUTHENTICATION),
            Self::AccountDeactivated => (403, "account_deactivated", PERMISSION),
            Self::InsufficientQuota => (429, "insufficient_quota", RATE),
            Self::InvalidValue => (400, "invalid_value", REQUEST),
            Self::UnsupportedValue => (400, "unsupported_value", REQUEST),
            Self::ModelNotFound => (404, "model_not_found", REQUEST),
            Self::UnsupportedEndpoint => (400, "unsupported_endpoint", REQUEST),
            Self::PermissionDenied => (403, "permission_denied", PERMISSION),
            Self::UnknownUrl => (404, "unknown_url", REQUEST),
            Self::MethodNotAllowed => (405, "method_not_allowed", REQUEST),
            Self::UnsupportedMediaType => (415, "unsupported_media_type", REQUEST),
            Self::Conflict => (409, "conflict", REQUEST),
            Self::ContextLengthExceeded => (400, "context_length_exceeded", REQUEST),
            Self::ContentPolicyViolation => (400, "content_policy_violation", REQUEST),
            Self::RateLimitExceeded => (429, "rate_limit_exceeded", RATE),
            Self::Overloaded => (503, "overloaded", SERVER),
            Self::ModelLoading => (503, "model_loading", SERVER),
            Self::EngineRestarting => (503, "engine_restarting", SERVER),
            Self::AuditUnavailable => (503, "audit_unavailable", SERVER),
            Self::RequestTooLarge => (413, "request_too_large", REQUEST),
            Self::RequestTimeout => (408, "request_timeout", REQUEST),
            Self::ServerError => (500, "server_error", SERVER),
        }
    }

    /// HTTP status.
    pub const fn status(self) -> u16 {
        self.row().0
    }

    /// `error.code`.
    pub const fn code(self) -> &'static str {
        self.row().1
    }

    /// `error.type`.
    pub const fn kind(self) -> &'static str {
        self.row().2
    }
}

/// The error object of the OpenAI interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorBody {
    /// What kind of error.
    pub condition: Condition,
    /// For people.
    pub message: String,
    /// Path of the parameter at fault, for example `messages[0].content`.
    pub param: Option<String>,
}

impl ErrorBody {
    /// `{"error":{"message","type","param","code"}}`.
    pub fn to_json(&self) -> String {
        let error = ErrorObject {
            message: &self.message,
            kind: self.condition.kind(),
            param: self.param.as_deref(),
            code: self.condition.code(),
        };
        // Strings and nothing else: writing them cannot fail.
        serde_json::to_string(&Envelope { error }).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: ErrorObject<'a>,
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'a str>,
    code: &'static str,
}

/// Why a request body is refused. The text is English and names what to do; [`Refusal::code`] leads to the same in
/// the caller's language.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The body is not JSON or goes beyond the bounds of JSON texts.
    #[error("The body could not be read: {0}. Send one JSON object in UTF-8.")]
    NotJson(JsonError),
    /// The body is JSON, but not an object.
    #[error("The body is not a JSON object. Send one JSON object.")]
    NotAnObject,
    /// A parameter that must be given is absent or null.
    #[error("'{param}' is missing. Send it.")]
    Missing {
        /// Path of the parameter.
        param: String,
    },
    /// A parameter is of another type.
    #[error("'{param}' must be {expected}.")]
    WrongType {
        /// Path of the parameter.
        param: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A number is out of range.
    #[error("'{param}' must be between {minimum} and {maximum}.")]
    OutOfRange {
        /// Path of the parameter.
        param: String,
        /// Least allowed number.
        minimum: f64,
        /// Greatest allowed number.
        maximum: f64,
    },
    /// A word is not one of the allowed ones.
    #[error("'{param}' must be one of: {allowed}.")]
    UnknownWord {
        /// Path of the parameter.
        param: String,
        /// The allowed words.
        allowed: &'static str,
    },
    /// A list or text is longer or shorter than allowed.
    #[error("'{param}' must have {minimum} to {maximum} {unit}.")]
    WrongLength {
        /// Path of the parameter.
        param: String,
        /// Fewest.
        minimum: usize,
        /// Most.
        maximum: usize,
        /// What is counted, for example `entries` or `bytes`.
        unit: &'static str,
    },
    /// A function's name has other characters than allowed.
    #[error("'{param}' may hold letters, digits, '_', '-' and '.' only.")]
    BadName {
        /// Path of the parameter.
        param: String,
    },
    /// A parameter needs another one.
    #[error("'{param}' needs {needs}.")]
    Needs {
        /// Path of the parameter.
        param: String,
        /// What it needs.
        needs: &'static str,
    },
    /// Arguments of an earlier call are not the JSON text of an object.
    #[error("'{param}' must be the JSON text of an object, as this interface gave it out.")]
    BadArguments {
        /// Path of the parameter.
        param: String,
    },
    /// A part of a message points to something that would have to be fetched.
    #[error(
        "'{param}' is an address. This appliance never fetches anything: send the content itself, as text."
    )]
    RemoteContent {
        /// Path of the parameter.
        param: String,
    },
    /// A part of a message is an image, sound, film or file.
    #[error("'{param}' is not text, and the model that serves reads text only. Send its content as text.")]
    NotText {
        /// Path of the parameter.
        param: String,
    },
    /// More than one answer is asked for.
    #[error("'n' must be 1. Send one request for each answer you want.")]
    SeveralAnswers,
    /// A kind of tool that does not exist here.
    #[error(
        "'{param}' must be \"function\": hosted tools do not exist on this appliance. Offer a function and run it yourself."
    )]
    HostedTool {
        /// Path of the parameter.
        param: String,
    },
    /// A form of the answer that cannot be kept beside calls to tools.
    #[error(
        "'{param}' cannot be \"regex\" or \"grammar\" while tools may be called. Set 'tool_choice' to \"none\", or use a JSON schema."
    )]
    ResponseFormat {
        /// Path of the parameter.
        param: String,
    },
    /// A schema with a keyword that cannot be enforced.
    #[error(
        "'{param}' uses the keyword '{keyword}', which cannot be enforced here. Leave it out, or say it in a description."
    )]
    SchemaKeyword {
        /// Path of the schema that has it.
        param: String,
        /// The keyword.
        keyword: String,
    },
    /// A schema with a value that its keyword cannot have.
    #[error("'{param}' {reason}.")]
    SchemaMalformed {
        /// Path of the value.
        param: String,
        /// What it must be.
        reason: &'static str,
    },
    /// An answer that is not text.
    #[error("'{param}' must be [\"text\"]: the model that serves writes text only.")]
    Modality {
        /// Path of the parameter.
        param: String,
    },
}

/// Every code of this crate's refusals and failures.
pub const CODES: &[&str] = &[
    "chat.request.not-json",
    "chat.request.not-an-object",
    "chat.parameter.missing",
    "chat.parameter.wrong-type",
    "chat.parameter.out-of-range",
    "chat.parameter.unknown-word",
    "chat.parameter.wrong-length",
    "chat.parameter.bad-name",
    "chat.parameter.needs",
    "chat.arguments.not-an-object",
    "chat.content.remote",
    "chat.content.not-text",
    "chat.unsupported.several-answers",
    "chat.unsupported.hosted-tool",
    "chat.unsupported.response-format",
    "chat.schema.keyword",
    "chat.schema.malformed",
    "chat.unsupported.modality",
    "chat.template.malformed",
    "chat.template.too-large",
    "chat.template.exhausted",
    "chat.template.refused",
    "chat.template.failed",
    "chat.template.entangled",
    "chat.template.crowded",
];

impl Refusal {
    /// Never changes once released: manual, console and scripts rely on it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotJson(_) => "chat.request.not-json",
            Self::NotAnObject => "chat.request.not-an-object",
            Self::Missing { .. } => "chat.parameter.missing",
            Self::WrongType { .. } => "chat.parameter.wrong-type",
            Self::OutOfRange { .. } => "chat.parameter.out-of-range",
            Self::UnknownWord { .. } => "chat.parameter.unknown-word",
            Self::WrongLength { .. } => "chat.parameter.wrong-length",
            Self::BadName { .. } => "chat.parameter.bad-name",
            Self::Needs { .. } => "chat.parameter.needs",
            Self::BadArguments { .. } => "chat.arguments.not-an-object",
            Self::RemoteContent { .. } => "chat.content.remote",
            Self::NotText { .. } => "chat.content.not-text",
            Self::SeveralAnswers => "chat.unsupported.several-answers",
            Self::HostedTool { .. } => "chat.unsupported.hosted-tool",
            Self::ResponseFormat { .. } => "chat.unsupported.response-format",
            Self::SchemaKeyword { .. } => "chat.schema.keyword",
            Self::SchemaMalformed { .. } => "chat.schema.malformed",
            Self::Modality { .. } => "chat.unsupported.modality",
        }
    }

    /// What kind of error this is for a client.
    pub const fn condition(&self) -> Condition {
        match self {
            Self::NotText { .. }
            | Self::SeveralAnswers
            | Self::HostedTool { .. }
            | Self::ResponseFormat { .. }
            | Self::SchemaKeyword { .. }
            | Self::Modality { .. } => Condition::UnsupportedValue,
            _ => Condition::InvalidValue,
        }
    }

    /// Path of the parameter at fault.
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::NotJson(_) | Self::NotAnObject => None,
            Self::SeveralAnswers => Some("n"),
            Self::Missing { param }
            | Self::WrongType { param, .. }
            | Self::OutOfRange { param, .. }
            | Self::UnknownWord { param, .. }
            | Self::WrongLength { param, .. }
            | Self::BadName { param }
            | Self::Needs { param, .. }
            | Self::BadArguments { param }
            | Self::RemoteContent { param }
            | Self::NotText { param }
            | Self::HostedTool { param }
            | Self::ResponseFormat { param }
            | Self::SchemaKeyword { param, .. }
            | Self::SchemaMalformed { param, .. }
            | Self::Modality { param } => Some(param),
        }
    }

    /// Values for the placeholders of the messages in `messages/catalogue/chat.json`.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = vec![("param", self.param().unwrap_or_default().to_owned())];
        match self {
            Self::NotJson(why) => facts.push(("reason", why.to_string())),
            Self::WrongType { expected, .. } => facts.push(("expected", (*expected).to_owned())),
            Self::OutOfRange { minimum, maximum, .. } => {
                facts.push(("minimum", minimum.to_string()));
                facts.push(("maximum", maximum.to_string()));
            }
            Self::UnknownWord { allowed, .. } => facts.push(("allowed", (*allowed).to_owned())),
            Self::WrongLength {
                minimum,
                maximum,
                unit,
                ..
            } => {
                facts.push(("minimum", minimum.to_string()));
                facts.push(("maximum", maximum.to_string()));
                facts.push(("unit", (*unit).to_owned()));
            }
            Self::Needs { needs, .. } => facts.push(("needs", (*needs).to_owned())),
            Self::SchemaKeyword { keyword, .. } => facts.push(("keyword", keyword.clone())),
            Self::SchemaMalformed { reason, .. } => facts.push(("reason", (*reason).to_owned())),
            _ => {}
        }
        facts
    }

    /// The error object for the client.
    pub fn to_body(&self) -> ErrorBody {
        ErrorBody {
            condition: self.condition(),
            message: self.to_string(),
            param: self.param().map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_object_has_the_four_fields_of_the_interface() {
        let refusal = Refusal::Missing {
            param: "messages[2].role".to_owned(),
        };
        assert_eq!(
            refusal.to_body().to_json(),
            r#"{"error":{"message":"'messages[2].role' is missing. Send it.","type":"invalid_request_error","param":"messages[2].role","code":"invalid_value"}}"#
        );
        let body = ErrorBody {
            condition: Condition::ModelLoading,
            message: "m".to_owned(),
            param: None,
        };
        assert_eq!(
            body.to_json(),
            r#"{"error":{"message":"m","type":"server_error","param":null,"code":"model_loading"}}"#
        );
    }

    #[test]
    fn codes_are_listed_once() {
        let mut codes = CODES.to_vec();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), CODES.len());
    }
}
