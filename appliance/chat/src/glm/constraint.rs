//! What a request asks of an answer, as a language in the model's own dialect.
//!
//! The engine chooses only tokens that keep the answer inside it, so a form is guaranteed and not hoped for. Reasoning
//! comes first and is free; it is set apart by its tags ([`Constraint::opened_by`], [`Constraint::after`]).

use crate::conversation::{Conversation, ResponseFormat};
use crate::json::Json;
use crate::template::Opening;

use super::{END_THINK, THINK};

/// What an answer must look like. The engine's own form has the same fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    /// With `after`: the answer opens the free text itself, by this name and at its very beginning, or does without it.
    /// `None`: the prompt has opened it.
    pub opened_by: Option<String>,
    /// Name of the token after which the language begins; free text before it. `None`: it begins at once.
    pub after: Option<String>,
    /// The language.
    pub grammar: Grammar,
}

/// A language. The engine's own form has the same variants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grammar {
    /// Any JSON object.
    JsonObject,
    /// JSON that fits this JSON Schema.
    JsonSchema(String),
    /// Text that matches this regular expression as a whole.
    Regex(String),
    /// A context-free grammar in llguidance's variant of Lark's syntax.
    Lark(String),
}

/// What the engine holds the model to, when its prompt ended as `opening` says; `None` for free text.
pub fn constraint(conversation: &Conversation, opening: Opening) -> Option<Constraint> {
    let grammar = match &conversation.response_format {
        ResponseFormat::Text => return None,
        ResponseFormat::JsonObject => Grammar::JsonObject,
        ResponseFormat::JsonSchema { schema, .. } => Grammar::JsonSchema(json_text(schema)),
        ResponseFormat::Regex(pattern) => Grammar::Regex(pattern.clone()),
        ResponseFormat::Lark(definition) => Grammar::Lark(definition.clone()),
    };
    let (opened_by, after) = match opening {
        Opening::Closed => (None, None),
        Opening::Thinking => (None, Some(END_THINK.to_owned())),
        Opening::Undecided => (Some(THINK.to_owned()), Some(END_THINK.to_owned())),
    };
    Some(Constraint {
        opened_by,
        after,
        grammar,
    })
}

/// Values of this type are strings, numbers and lists of them: writing them cannot fail.
fn json_text(value: &Json) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
