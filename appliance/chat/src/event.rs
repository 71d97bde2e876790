//! What comes out of an answer, piece by piece, in no client family's words.

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// More of the answer's text.
    Content(String),
    /// More of the reasoning. All of it comes before the first [`Event::Content`].
    Reasoning(String),
    /// The model calls a tool. Its arguments follow.
    ToolCallStart {
        /// 0 for the first call of the answer.
        index: u32,
        /// Function to call.
        name: String,
    },
    /// More of the JSON text of a call's arguments. Together the fragments of a call are one JSON object.
    ToolCallArguments {
        /// Which call.
        index: u32,
        /// Piece of JSON text, cut anywhere between characters.
        fragment: String,
    },
    /// Log probabilities of one token of the answer's text.
    Logprob(TokenLogprob),
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended its turn, or a stop text came.
    Stop,
    /// The most tokens were made or the context is full.
    Length,
    /// The turn ended with tool calls.
    ToolCalls,
}

impl FinishReason {
    /// The word of the OpenAI interface; the audit log uses the same.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
        }
    }
}

/// Tokens used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Of these, tokens that were not computed again.
    pub cached_tokens: u64,
    /// Tokens made, the end token counted.
    pub completion_tokens: u64,
    /// Of these, tokens of the reasoning.
    pub reasoning_tokens: u64,
}

/// Log probabilities at one place of the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// The chosen token.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// The likeliest tokens, likeliest first.
    pub top: Vec<(Vec<u8>, f32)>,
}
