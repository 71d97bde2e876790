//! The engine worker: orders from the supervisor, requests from the gateway.

use serde::{Deserialize, Serialize};

/// Descriptor of the socket to the supervisor in the engine.
pub const SUPERVISOR_FD: i32 = 3;
/// Descriptor of the verified weights in the engine, read-only.
pub const WEIGHTS_FD: i32 = 4;

/// From the supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Order {
    /// First message; once. The engine is already behind its walls when it reads it.
    Load(Load),
    /// The attached descriptor is the engine's end of a new socket to the gateway. It replaces the one before:
    /// streams of that one are cancelled. Comes after [`Report::Serving`], and again when a gateway was restarted.
    Gateway,
    /// Finish running streams within that time, then exit.
    Drain {
        /// Milliseconds from now.
        deadline_ms: u64,
    },
}

/// How to load the weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Bytes of the weights file, as signed.
    pub weights_bytes: u64,
    /// Threads for computing.
    pub thread_count: u32,
    /// Streams that run at once.
    pub stream_count: u32,
    /// Context of one stream in tokens.
    pub stream_context_tokens: u32,
}

/// To the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The walls stand; loading begins.
    Confined {
        /// Landlock ABI that is in force, 0 for none; the other walls are measured from outside.
        landlock_abi: u32,
    },
    /// How far loading is, 0 to 1000.
    Loading {
        /// Thousandths.
        permille: u16,
    },
    /// Streams can run.
    Serving {
        /// Context of one stream in tokens, as really made.
        stream_context_tokens: u32,
        /// Streams that run at once.
        stream_count: u32,
    },
    /// Step heartbeat, at least once a second. A busy engine counts steps; one that is busy and does not is hung.
    Beat {
        /// Steps made since start.
        step_count: u64,
        /// Streams that run or wait.
        work_count: u32,
    },
    /// Loading failed; the engine exits.
    Failed {
        /// Stable code, for example `engine.load.refused`.
        code: String,
    },
}

/// From the gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToEngine {
    /// Start a stream.
    Generate(Box<Generate>),
    /// End a stream; its place is free at the next step. Answered by [`FromEngine::Done`].
    Cancel {
        /// Which stream.
        stream: u64,
    },
}

/// One stream to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generate {
    /// Chosen by the gateway, unique for the life of the connection.
    pub stream: u64,
    /// The prompt in order.
    pub prompt: Vec<Segment>,
    /// Most tokens to make; `None` for as many as the context holds.
    pub completion_tokens_max: Option<u32>,
    /// How to choose tokens.
    pub sampling: Sampling,
    /// `Some(n)`: report the log probability of each token and of the `n` likeliest (0 to 20).
    pub logprobs: Option<u8>,
}

/// A piece of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Segment {
    /// From the template: names of special tokens in it become those tokens.
    Scaffold(String),
    /// From people, tools or documents: names of special tokens in it stay plain text.
    Text(String),
}

/// How tokens are chosen. Values were checked by the gateway; the engine clamps them again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: f32,
    /// Nucleus, 0 to 1; 1 is off.
    pub top_p: f32,
    /// Likeliest tokens kept; 0 is off.
    pub top_k: u32,
    /// Least probability relative to the likeliest; 0 is off.
    pub min_p: f32,
    /// −2 to 2, 0 is off.
    pub presence_penalty: f32,
    /// −2 to 2, 0 is off.
    pub frequency_penalty: f32,
    /// Seed; `None` draws one.
    pub seed: Option<u64>,
    /// Added to the logit of a token: token id and bias, −100 to 100.
    pub logit_bias: Vec<(u32, f32)>,
}

/// To the gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromEngine {
    /// The stream was taken; its prompt has that many tokens.
    Accepted {
        /// Which stream.
        stream: u64,
        /// Tokens of the prompt.
        prompt_tokens: u32,
    },
    /// One token. Pieces may end inside a UTF-8 character.
    Token(Box<Token>),
    /// The stream ended; nothing more comes for it.
    Done {
        /// Which stream.
        stream: u64,
        /// Why.
        finish: Finish,
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Tokens made, the end token counted.
        completion_tokens: u32,
    },
}

/// One token of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Token {
    /// Which stream.
    pub stream: u64,
    /// Id in the vocabulary.
    pub id: u32,
    /// Its bytes; special tokens are spelled out, the end token is empty.
    pub bytes: Vec<u8>,
    /// When asked for.
    pub logprobs: Option<Logprobs>,
}

/// Log probabilities at one place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Logprobs {
    /// Natural logarithm of the chosen token's probability before sampling filters.
    pub chosen: f32,
    /// The likeliest tokens: bytes and natural logarithm, likeliest first.
    pub top: Vec<(Vec<u8>, f32)>,
}

/// Why a stream ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finish {
    /// The model ended its turn.
    Stop,
    /// The most tokens asked for were made, or the context is full.
    Length,
    /// The gateway cancelled it.
    Cancelled,
    /// The prompt does not fit.
    TooLong {
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Tokens that fit, at least one for the answer.
        context_tokens: u32,
    },
    /// More streams wait than the engine holds.
    Overloaded,
    /// The request itself is wrong (for example an empty prompt).
    Refused {
        /// Stable code.
        code: String,
    },
    /// Computing failed.
    Failed {
        /// Stable code.
        code: String,
    },
}
