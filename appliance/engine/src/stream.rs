//! One stream as the engine sees it: how tokens are chosen and counted. Where its tokens stand in the KV cache is the
//! scheduler's business.

use jingui_ipc::engine::{CacheUse, Class, Finish, Tenant};
use jingui_sched::Submission;

use crate::choose::Chooser;

/// What the reader hands to the step thread: a prompt that fits, and how to go on from it.
#[derive(Debug)]
pub struct Request {
    /// Chosen by the gateway.
    pub stream: u64,
    /// The prompt, never empty, and behind it the tokens that were made before; shorter than the context.
    pub tokens: Vec<u32>,
    /// So many of them are the prompt.
    pub prompt_count: usize,
    /// Most tokens to make, those made before counted.
    pub completion_tokens_max: Option<u32>,
    /// Chooses tokens; knows those made before.
    pub chooser: Chooser,
    /// Whether its random choices are to come out the same again: then nothing is guessed for it, since rows that
    /// are computed together round differently.
    pub is_seeded: bool,
    /// On whose account.
    pub tenant: Tenant,
    /// How urgent.
    pub class: Class,
    /// How the prefix cache serves it.
    pub cache: CacheUse,
    /// Whether it is computed alone, in fixed chunks.
    pub is_strict: bool,
}

/// A stream that runs or waits.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) chooser: Chooser,
    pub(crate) prompt_count: u32,
    pub(crate) completion_count: u32,
    completion_max: u32,
    /// Tokens of the prompt that were not computed, once that is known.
    pub(crate) cached_count: u32,
    /// Whether the guesses of the running step are what its constraint dictates.
    pub(crate) is_forced: bool,
    pub(crate) is_seeded: bool,
}

impl Stream {
    /// A stream and what the scheduler is to know of it, with room for `context_tokens` in all.
    pub(crate) fn new(request: Request, context_tokens: u32) -> (Self, Submission) {
        let prompt_count = count_of(request.prompt_count);
        let completion_count = count_of(request.tokens.len()).saturating_sub(prompt_count);
        let room = context_tokens.saturating_sub(prompt_count);
        let completion_max = request.completion_tokens_max.map_or(room, |max| max.min(room));
        let stream = Self {
            chooser: request.chooser,
            prompt_count,
            completion_count,
            completion_max,
            cached_count: 0,
            is_forced: false,
            is_seeded: request.is_seeded,
        };
        let submission = Submission {
            stream: request.stream,
            tenant: request.tenant.0,
            class: match request.class {
                Class::Interactive => jingui_sched::Class::Interactive,
                Class::Batch => jingui_sched::Class::Batch,
            },
            cache: match request.cache {
                CacheUse::Off => jingui_sched::CacheUse::Off,
                CacheUse::Use => jingui_sched::CacheUse::Use,
                CacheUse::Pin => jingui_sched::CacheUse::Pin,
            },
            is_strict: request.is_strict,
            tokens: request.tokens,
            prompt_count: request.prompt_count,
            completion_max: usize::try_from(completion_max.saturating_sub(completion_count))
                .unwrap_or(usize::MAX),
            tier_tokens: 0,
        };
        (stream, submission)
    }

    /// Whether nothing more may be made.
    pub(crate) fn wants_nothing(&self) -> bool {
        self.completion_count >= self.completion_max
    }

    /// Counts a token that was chosen; `Some` when the stream ends with it. An end token is counted, too.
    pub(crate) fn take(&mut self, is_end: bool) -> Option<Finish> {
        self.completion_count = self.completion_count.saturating_add(1);
        if is_end {
            Some(Finish::Stop)
        } else {
            self.wants_nothing().then_some(Finish::Length)
        }
    }
}

pub(crate) fn count_of(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
