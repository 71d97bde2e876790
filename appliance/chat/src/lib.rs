//! Chat in the words of clients and in the words of the model: both ways, streaming, pure.
//!
//! The way of one request, without a file, a clock or a random number:
//!
//! 1. [`openai::parse`]: bytes of a body → [`Conversation`], or a [`Refusal`] with a stable code;
//! 2. [`Template::render`]: `Conversation` → [`Prompt`], in which people's text and the template's scaffolding
//!    are told apart, so that `<|user|>` typed by a person never becomes the token of that name;
//! 3. [`glm::Parser`]: bytes of the model's tokens → [`Event`]s, the same whichever way the stream is cut;
//! 4. [`openai::StreamWriter`] or [`openai::Answer`]: events → server-sent events or one body.
//!
//! [`Conversation`] and [`Event`] are the only forms that know no family of clients: another family is one more
//! parser into the first and one more writer from the second.

pub mod conversation;
mod error;
pub mod event;
pub mod glm;
pub mod json;
pub mod openai;
mod provenance;
mod python;
pub mod schema;
mod template;

pub use conversation::{
    CacheUse, Class, Conversation, Message, ResponseFormat, Role, Tool, ToolCall, ToolChoice,
};
pub use error::{CODES, Condition, ErrorBody, Refusal};
pub use event::{Event, FinishReason, TokenLogprob, Usage};
pub use glm::constraint::{Constraint, Grammar};
pub use json::Json;
pub use template::{
    CONVERSATION_BYTES_MAX, Opening, PROMPT_BYTES_MAX, Prompt, Segment, TEMPLATE_BYTES_MAX, Template,
    TemplateError,
};
