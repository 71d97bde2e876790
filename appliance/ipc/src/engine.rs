//! The engine worker: orders from the supervisor, requests from the gateway.

use serde::{Deserialize, Serialize};

/// Descriptor of the socket to the supervisor in the engine.
pub const SUPERVISOR_FD: i32 = 3;
/// Descriptor of the verified weights in the engine, read-only.
pub const WEIGHTS_FD: i32 = 4;
/// Descriptor of the file that holds the disk tier of the prefix cache, read and write. Only there when
/// [`Load::disk_tier`] says so.
pub const DISK_TIER_FD: i32 = 6;

/// From the supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Order {
    /// First message; once. The engine is already behind its walls when it reads it.
    Load(Load),
    /// The attached descriptor is the engine's end of a new socket to the gateway. It replaces the one before:
    /// streams of that one are cancelled. Comes after [`Report::Serving`], and again when a gateway was restarted.
    Gateway,
    /// Finish running and waiting streams within that time, then exit.
    Drain {
        /// Milliseconds from now.
        deadline_ms: u64,
    },
    /// Compute with that many threads from the next step on.
    Threads {
        /// Threads for computing, at least one.
        count: u32,
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
    /// KV cells of the pool that running streams and cached prefixes share; at least one stream's context.
    pub kv_tokens: u32,
    /// Bytes that the host tier of the prefix cache may take; 0 for none.
    pub host_tier_bytes: u64,
    /// The disk tier of the prefix cache; `None` for none.
    pub disk_tier: Option<DiskTier>,
}

impl Load {
    /// A pool in which every stream has its full context, without host and disk tiers.
    #[must_use]
    pub const fn new(
        weights_bytes: u64,
        thread_count: u32,
        stream_count: u32,
        stream_context_tokens: u32,
    ) -> Self {
        Self {
            weights_bytes,
            thread_count,
            stream_count,
            stream_context_tokens,
            kv_tokens: stream_context_tokens.saturating_mul(stream_count),
            host_tier_bytes: 0,
            disk_tier: None,
        }
    }
}

/// The disk tier of the prefix cache: what the supervisor gives a worker and its successors after a crash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskTier {
    /// Most bytes of the file behind [`DISK_TIER_FD`].
    pub bytes_max: u64,
    /// Digest of the weights as signed. What was computed with other weights is not served, though the file may have it.
    pub weights_sha256: [u8; 32],
    /// Key under which everything in the file is sealed. Drawn at each start of the supervisor and kept in memory only.
    pub key: TierKey,
}

/// A 256-bit key that is never printed and wipes itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TierKey(pub [u8; 32]);

impl std::fmt::Debug for TierKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(key)")
    }
}

impl Drop for TierKey {
    fn drop(&mut self) {
        self.0.fill(0);
        std::hint::black_box(&self.0);
    }
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
        /// Memory as really taken.
        memory: Memory,
    },
    /// Step heartbeat, at least once a second. A busy engine counts steps; one that is busy and does not is hung.
    Beat {
        /// Steps made since start.
        step_count: u64,
        /// Streams that run or wait.
        work_count: u32,
        /// What was done since the start.
        figures: Figures,
    },
    /// Loading failed; the engine exits.
    Failed {
        /// Stable code, for example `engine.load.refused`.
        code: String,
    },
}

/// Where a serving engine's memory is, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Weights, mapped or repacked.
    pub weights_bytes: u64,
    /// KV pool.
    pub kv_bytes: u64,
    /// Compute buffers and logits.
    pub compute_bytes: u64,
}

/// Counters of an engine since its start, and what it holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Streams that run.
    pub running_count: u32,
    /// Streams that wait for admission.
    pub waiting_count: u32,
    /// KV cells that streams and cached prefixes hold.
    pub kv_used_tokens: u32,
    /// Tokens of all prompts that were admitted.
    pub prompt_tokens: u64,
    /// Of these, tokens that were not computed because the prefix cache had them.
    pub cached_tokens: u64,
    /// Tokens made.
    pub completion_tokens: u64,
    /// Tokens guessed by speculation.
    pub drafted_tokens: u64,
    /// Of these, tokens that were right.
    pub accepted_tokens: u64,
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
    /// On whose account it runs: fair shares are between tenants, and prefixes are shared inside one only.
    pub tenant: Tenant,
    /// How urgent it is.
    pub class: Class,
    /// Tokens of the answer that were made before, by an engine that is gone. They count as made, are not sent again,
    /// and the stream goes on after them as if it had made them itself.
    pub resume: Vec<u32>,
    /// How the prefix cache serves it.
    pub cache: CacheUse,
    /// Computed alone, in chunks of fixed borders and without speculation, so that the same request gives the same
    /// bytes on the same machine whatever else runs.
    pub is_strict: bool,
    /// What the answer must look like.
    pub constraint: Option<Constraint>,
}

impl Generate {
    /// A greedy, interactive stream of nobody's in particular, without limits or constraint.
    #[must_use]
    pub fn new(stream: u64, prompt: Vec<Segment>) -> Self {
        Self {
            stream,
            prompt,
            completion_tokens_max: None,
            sampling: Sampling::GREEDY,
            logprobs: None,
            tenant: Tenant::default(),
            class: Class::Interactive,
            resume: Vec::new(),
            cache: CacheUse::Use,
            is_strict: false,
            constraint: None,
        }
    }
}

/// Names a tenant to the engine: opaque, derived by the gateway, never shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tenant(pub [u8; 16]);

/// How urgent a stream is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Class {
    /// Somebody waits for it.
    #[default]
    Interactive,
    /// It may take as long as it takes, and gives way.
    Batch,
}

/// How the prefix cache serves a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheUse {
    /// Nothing is taken from it and nothing is left in it.
    Off,
    /// What is there is used, and what was computed is left until it gives way to others.
    #[default]
    Use,
    /// As `Use`, and the prompt's prefix gives way last.
    Pin,
}

/// What an answer must look like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraint {
    /// With [`after`](Self::after): the answer opens the free text itself, by this name (`<think>`) and at its very
    /// beginning, or does without it. `None`: the prompt has opened it.
    pub opened_by: Option<String>,
    /// Name of the special token after which the constraint begins (`</think>`); free text before it. `None`: at once.
    pub after: Option<String>,
    /// The language of the answer.
    pub grammar: Grammar,
}

/// A language, in the forms that llguidance takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

impl Sampling {
    /// Always the likeliest token.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_p: 1.0,
        top_k: 0,
        min_p: 0.0,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        seed: None,
        logit_bias: Vec::new(),
    };
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
    /// The stream waits for admission. Sent when that begins, and while it lasts at most once a second.
    Queued {
        /// Which stream.
        stream: u64,
        /// Streams that are admitted before it, as things stand.
        ahead_count: u32,
        /// Milliseconds until its first token, as estimated from measured speed.
        estimate_ms: u64,
    },
    /// The stream was admitted: its share of the KV pool is reserved until it ends.
    Started {
        /// Which stream.
        stream: u64,
        /// Tokens of the prompt that the prefix cache had.
        cached_tokens: u32,
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
        /// Tokens made, the end token counted, and with them those of [`Generate::resume`].
        completion_tokens: u32,
        /// Tokens of the prompt that the prefix cache had.
        cached_tokens: u32,
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
    /// More streams wait than the engine holds, of all or of this tenant.
    Overloaded {
        /// Milliseconds after which there will be room, as estimated from measured speed.
        retry_after_ms: u64,
    },
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
