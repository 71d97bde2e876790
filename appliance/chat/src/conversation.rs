//! One request for an answer, in no client family's words. What it holds was checked by the parser that made it.

use crate::json::Json;

/// A request for an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    /// Model the client asked for.
    pub model: String,
    /// At least one message, oldest first.
    pub messages: Vec<Message>,
    /// Functions the model may call.
    pub tools: Vec<Tool>,
    /// Whether it may call them in this turn, or must.
    pub tool_choice: ToolChoice,
    /// Whether it may make several calls in one turn; if not, the turn ends with the first call.
    pub parallel_tool_calls: bool,
    /// What the answer's text must look like. [`crate::glm::constraint`] makes of it, and of the tools, what the
    /// engine holds the model to.
    pub response_format: ResponseFormat,
    /// Whether it thinks before it answers.
    pub thinking: Thinking,
    /// Whether reasoning of earlier turns is dropped from the prompt; `None` leaves it to the template.
    pub clear_thinking: Option<bool>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Most tokens to make, reasoning included; `None` for as many as the context holds.
    pub completion_tokens_max: Option<u32>,
    /// Texts that end the answer and are not part of it; at most [`crate::openai::STOP_COUNT_MAX`].
    pub stop: Vec<String>,
    /// `Some(n)`: report the log probability of each token and of the `n` likeliest (0 to 20).
    pub logprobs: Option<u8>,
    /// `Some` when the answer is to be streamed.
    pub stream: Option<StreamOptions>,
    /// How the prefix cache serves it.
    pub cache: CacheUse,
    /// How urgent it is.
    pub class: Class,
    /// Computed alone and in a fixed order, so that the same request gives the same bytes whatever else runs.
    pub is_strict: bool,
}

/// How a stream is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamOptions {
    /// Send token counts in a last chunk of their own.
    pub include_usage: bool,
}

/// Whether the model may call tools in this turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// It may not. The tools are not shown to it either.
    None,
    /// It must call at least one; there is at least one.
    Required,
    /// It must call that function, which is one of the tools.
    Function(String),
}

/// What the text of an answer must look like.
#[derive(Debug, Clone, PartialEq)]
pub enum ResponseFormat {
    /// Anything.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that fits a schema, which was checked against [`crate::schema`].
    JsonSchema {
        /// Name of the schema: letters, digits, `_`, `-`, 1 to 64 bytes.
        name: String,
        /// The schema.
        schema: Json,
        /// Whether the client asked for it strictly. The answer fits either way; a strict schema is held to the
        /// narrower rules of that interface when it is read.
        is_strict: bool,
    },
    /// Text that matches this regular expression as a whole.
    Regex(String),
    /// Text of the language of this context-free grammar, in llguidance's variant of Lark's syntax.
    Lark(String),
}

/// How the prefix cache serves a conversation; the engine's own form has the same variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheUse {
    /// Nothing is taken from it and nothing is left in it (`cache_prompt: false`).
    Off,
    /// What is there is used, and what was computed is left until it gives way to others.
    #[default]
    Use,
    /// As `Use`, and the prompt's prefix gives way last (`prompt_cache_retention: "24h"`).
    Pin,
}

/// How urgent a conversation is; the engine's own form has the same variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Class {
    /// Somebody waits for it.
    #[default]
    Interactive,
    /// It may take as long as it takes, and gives way (`service_tier: "flex"`).
    Batch,
}

/// Whether the model thinks before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thinking {
    /// The client said nothing: the model's template decides, which for the GLM models means that it thinks when
    /// it finds it worth while.
    TemplateDefault,
    /// Asked for.
    On,
    /// Asked not to.
    Off,
}

/// How tokens are chosen; the engine's own form has the same fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 to 2; 0 is greedy.
    pub temperature: f32,
    /// Nucleus, 0 to 1; 1 is off.
    pub top_p: f32,
    /// Likeliest tokens kept; 0 is off.
    pub top_k: u32,
    /// Least probability relative to the likeliest, 0 to 1; 0 is off.
    pub min_p: f32,
    /// −2 to 2, 0 is off.
    pub presence_penalty: f32,
    /// −2 to 2, 0 is off.
    pub frequency_penalty: f32,
    /// Seed; `None` lets the engine draw one.
    pub seed: Option<u64>,
    /// Token id and what is added to its logit, −100 to 100. Ids rise strictly.
    pub logit_bias: Vec<(u32, f32)>,
}

impl Default for Sampling {
    /// The defaults of the OpenAI interface.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: None,
            logit_bias: Vec::new(),
        }
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What was said; parts of a message are joined without anything between. `None` when the client gave none.
    pub content: Option<String>,
    /// Reasoning of an earlier answer.
    pub reasoning: Option<String>,
    /// Calls that an earlier answer made.
    pub tool_calls: Vec<ToolCall>,
    /// Which call a tool's message answers.
    pub tool_call_id: Option<String>,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The operator of the application; the client word `developer` means the same.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A tool's result.
    Tool,
}

impl Role {
    /// The word that templates and clients use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// A function that the model may call.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Name of the function: letters, digits, `_`, `-`, `.`, 1 to 64 bytes.
    pub name: String,
    /// The JSON schema of its arguments; `None` when the client gave none.
    pub parameters: Option<Json>,
    /// Whether the arguments must fit the schema, which was then checked against [`crate::schema`].
    pub is_strict: bool,
    /// The whole entry as the client wrote it, for the template.
    pub entry: Json,
}

/// A call that an earlier answer made.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// Id given to the client.
    pub id: String,
    /// Name of the function.
    pub name: String,
    /// Arguments, always an object: templates need a mapping, while clients send its JSON text.
    pub arguments: Json,
}
