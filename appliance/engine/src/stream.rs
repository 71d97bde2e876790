//! One stream: a prompt and what the model makes of it.

use jingui_ipc::engine::{Finish, Sampling};
use jingui_llama::Token;

use crate::sampling::Sampler;

/// What the reader hands to the step thread: a prompt that fits, and how to go on from it.
#[derive(Debug)]
pub struct Request {
    /// Chosen by the gateway.
    pub stream: u64,
    /// The prompt; never empty, and shorter than the context.
    pub prompt: Vec<Token>,
    /// Most tokens to make.
    pub completion_tokens_max: Option<u32>,
    /// How to choose tokens.
    pub sampling: Sampling,
    /// Log probabilities wanted, and how many likeliest.
    pub logprobs: Option<u8>,
}

/// A stream that runs or waits.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: u64,
    /// The prompt and what was made since.
    tokens: Vec<Token>,
    prompt_count: usize,
    /// So many of `tokens` are in the KV cache.
    computed_count: usize,
    completion_count: u32,
    completion_max: u32,
    pub(crate) sampler: Sampler,
    pub(crate) logprobs: Option<u8>,
}

impl Stream {
    /// A stream that waits, with room for `context_tokens` in all.
    pub(crate) fn new(request: Request, context_tokens: u32, drawn_seed: u64) -> Self {
        let room = context_tokens.saturating_sub(count_of(request.prompt.len()));
        Self {
            id: request.stream,
            prompt_count: request.prompt.len(),
            tokens: request.prompt,
            computed_count: 0,
            completion_count: 0,
            completion_max: request.completion_tokens_max.map_or(room, |max| max.min(room)),
            sampler: Sampler::new(&request.sampling, drawn_seed),
            logprobs: request.logprobs,
        }
    }

    pub(crate) fn prompt_tokens(&self) -> u32 {
        count_of(self.prompt_count)
    }

    pub(crate) fn completion_tokens(&self) -> u32 {
        self.completion_count
    }

    /// Whether nothing may be made at all.
    pub(crate) fn wants_nothing(&self) -> bool {
        self.completion_max == 0
    }

    /// Whether the whole prompt is computed, so that one row per step carries it on.
    pub(crate) fn is_decoding(&self) -> bool {
        self.tokens.len() > self.prompt_count
    }

    /// The tokens to compute next, each with its position.
    pub(crate) fn pending(&self) -> impl ExactSizeIterator<Item = (u32, Token)> + '_ {
        let pending = self.tokens.get(self.computed_count..).unwrap_or_default();
        let first = count_of(self.computed_count);
        pending
            .iter()
            .enumerate()
            .map(move |(offset, token)| (first.saturating_add(count_of(offset)), *token))
    }

    /// So many positions are in the KV cache now.
    pub(crate) fn set_computed(&mut self, count: usize) {
        assert!(count <= self.tokens.len(), "only our tokens are computed");
        self.computed_count = count;
    }

    pub(crate) fn computed_count(&self) -> usize {
        self.computed_count
    }

    /// Takes a token that was chosen; `Some` when the stream ends with it. An end token is counted and not kept.
    pub(crate) fn take(&mut self, token: Token, is_end: bool) -> Option<Finish> {
        self.completion_count = self.completion_count.saturating_add(1);
        if is_end {
            return Some(Finish::Stop);
        }
        self.tokens.push(token);
        (self.completion_count >= self.completion_max).then_some(Finish::Length)
    }
}

fn count_of(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
