//! One stream: its tokens, how far it is, what it may still take.

use crate::shape::{COMPLETION_RESERVE_TOKENS, TIER_BLOCK_TOKENS};
use crate::{Micros, SequenceId, StreamKey, TenantId, Token};

/// How urgent a stream is. The order is that of urgency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Somebody waits for it.
    #[default]
    Interactive,
    /// It gives way, and still moves.
    Batch,
}

/// How the prefix tree serves a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CacheUse {
    /// Not at all.
    Off,
    /// Takes what is there and leaves what it computed.
    #[default]
    Use,
    /// The same, and what it leaves goes last.
    Pin,
}

/// A stream that asks to be computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// Its name.
    pub stream: StreamKey,
    /// On whose account.
    pub tenant: TenantId,
    /// How urgent.
    pub class: Class,
    /// How it uses the prefix tree; strict streams do not.
    pub cache: CacheUse,
    /// Whether it is computed alone in fixed chunks.
    pub is_strict: bool,
    /// The prompt, and behind it tokens that were made before. Not empty, and shorter than the context.
    pub tokens: Vec<Token>,
    /// So many of them are the prompt.
    pub prompt_count: usize,
    /// Most tokens to be made from here on; at least one.
    pub completion_max: usize,
    /// Tokens at the beginning that the tiers hold, in whole blocks.
    pub tier_tokens: usize,
}

/// Why a stream was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is a stream of that name.
    #[error("stream {0} exists")]
    Duplicate(StreamKey),
    /// As many wait as may, of all or of this tenant.
    #[error("too many streams wait; room in about {retry_after_us} us")]
    Overloaded {
        /// When there will be room.
        retry_after_us: Micros,
    },
    /// It has no tokens, or does not fit into a context even alone.
    #[error("the stream cannot be computed")]
    Impossible,
}

/// Where a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not admitted.
    Waiting,
    /// Admitted; what it may share is to be looked up before it computes.
    Looking,
    /// Another computes its prefix; from there on it may share.
    Parked { on: StreamKey, until: usize },
    /// Its blocks come from the tiers, since then.
    Restoring { since: Micros },
    /// Computes its prompt.
    Prefill,
    /// Makes tokens.
    Decode,
}

#[derive(Debug, Clone)]
pub(crate) struct Stream {
    pub(crate) key: StreamKey,
    pub(crate) tenant: TenantId,
    pub(crate) class: Class,
    pub(crate) cache: CacheUse,
    pub(crate) is_strict: bool,
    pub(crate) tokens: Vec<Token>,
    pub(crate) prompt_count: usize,
    /// Tokens that it can have in all.
    pub(crate) tokens_max: usize,
    pub(crate) phase: Phase,
    /// While it runs.
    pub(crate) sequence: Option<SequenceId>,
    /// Tokens whose cells its sequence holds.
    pub(crate) computed: usize,
    /// Cells that are kept for it, those it holds counted.
    pub(crate) reserved: usize,
    /// Whether it was swapped out: from then on it is admitted with all that it may need and stays.
    pub(crate) was_swapped_out: bool,
    /// Tokens of its prompt that it did not compute; fixed when it starts.
    pub(crate) cached: Option<usize>,
    pub(crate) tier_tokens: usize,
    /// Blocks that were handed to the tiers.
    pub(crate) saved_blocks: usize,
    pub(crate) arrived_at: Micros,
    /// Order of arrival; those swapped out keep theirs.
    pub(crate) number: u64,
    /// When it was admitted, or computed last.
    pub(crate) moved_at: Micros,
    pub(crate) told_at: Option<Micros>,
    pub(crate) told: Option<(usize, Micros)>,
}

impl Stream {
    pub(crate) fn new(submission: Submission, context_tokens: usize, now: Micros, number: u64) -> Self {
        let tokens_max = submission
            .tokens
            .len()
            .saturating_add(submission.completion_max)
            .min(context_tokens.max(submission.tokens.len()));
        Self {
            key: submission.stream,
            tenant: submission.tenant,
            class: submission.class,
            cache: if submission.is_strict {
                CacheUse::Off
            } else {
                submission.cache
            },
            is_strict: submission.is_strict,
            prompt_count: submission.prompt_count.min(submission.tokens.len()),
            tokens: submission.tokens,
            tokens_max,
            phase: Phase::Waiting,
            sequence: None,
            computed: 0,
            reserved: 0,
            was_swapped_out: false,
            cached: None,
            tier_tokens: submission.tier_tokens / TIER_BLOCK_TOKENS * TIER_BLOCK_TOKENS,
            saved_blocks: 0,
            arrived_at: now,
            number,
            moved_at: now,
            told_at: None,
            told: None,
        }
    }

    pub(crate) fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    pub(crate) fn is_running(&self) -> bool {
        self.phase != Phase::Waiting
    }

    pub(crate) fn is_decoding(&self) -> bool {
        self.phase == Phase::Decode
    }

    /// Tokens that another may already have computed: the last one must be computed to give logits.
    pub(crate) fn shareable(&self) -> &[Token] {
        self.tokens
            .get(..self.tokens.len().saturating_sub(1))
            .unwrap_or_default()
    }

    /// Cells that it can ever hold: the last token is chosen and not computed.
    pub(crate) fn cells_max(&self) -> usize {
        self.tokens_max.saturating_sub(1).max(self.tokens.len())
    }

    /// Cells that are to be kept for it when it is admitted.
    pub(crate) fn cells_at_admission(&self) -> usize {
        if self.was_swapped_out || self.cache == CacheUse::Off {
            self.cells_max()
        } else {
            (self.tokens.len() + COMPLETION_RESERVE_TOKENS).min(self.cells_max())
        }
    }
}
