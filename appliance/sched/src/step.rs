//! What goes out to the device and what comes back.

use crate::{Load, Micros, SequenceId, StreamKey, TenantId, Token};

/// Which context computes a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lane {
    /// The pool that all streams share.
    #[default]
    Main,
    /// The context of strict streams: one at a time, sequence 0, emptied before a part that begins at position 0.
    Strict,
}

/// A change to the KV pool, without computing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KvOp {
    /// `to`, which is empty, shares the cells of the positions below `until` with `from`.
    Share {
        /// Holds them.
        from: SequenceId,
        /// Gets them.
        to: SequenceId,
        /// First position that is not shared.
        until: usize,
    },
    /// `sequence` lets go of positions from `from` on; 0 for all. Cells that no other sequence holds become free.
    Forget {
        /// Which.
        sequence: SequenceId,
        /// First position that goes.
        from: usize,
    },
    /// A block of the tiers is to be put behind what `sequence` holds. [`Step::restored`] of the outcome says what came of it.
    Restore {
        /// Whose prompt it is.
        stream: StreamKey,
        /// Where to.
        sequence: SequenceId,
        /// Which block of the prompt: positions from `block` × [`crate::TIER_BLOCK_TOKENS`] on.
        block: usize,
    },
    /// A computed block is to be handed to the tiers. It may be dropped when they are behind.
    Save {
        /// Whose it is.
        tenant: TenantId,
        /// All tokens up to the block's end.
        tokens: Vec<Token>,
        /// Holds it.
        sequence: SequenceId,
        /// Which block.
        block: usize,
        /// Whether it should go last there, too.
        is_pinned: bool,
    },
}

/// Rows of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Whose.
    pub stream: StreamKey,
    /// Where.
    pub sequence: SequenceId,
    /// Position of the first row.
    pub from: usize,
    /// Tokens of the rows, drafted ones last.
    pub tokens: Vec<Token>,
    /// So many rows at the end want logits; 0 while the prompt is not at its end.
    pub output_count: usize,
    /// So many tokens at the end are guesses; one less than `output_count` when there are any.
    pub draft_count: usize,
}

impl Part {
    /// What it costs.
    #[must_use]
    pub fn load(&self) -> Load {
        Load::rows(self.from, self.tokens.len(), self.output_count)
    }

    /// The guesses.
    #[must_use]
    pub fn draft(&self) -> &[Token] {
        self.tokens
            .get(self.tokens.len().saturating_sub(self.draft_count)..)
            .unwrap_or_default()
    }
}

/// A stream whose computing begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// Which.
    pub stream: StreamKey,
    /// Tokens of its prompt that need not be computed.
    pub cached_tokens: usize,
}

/// What to do next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// To be done first, in order.
    pub ops: Vec<KvOp>,
    /// Who computes.
    pub lane: Lane,
    /// To be computed in one go; may be empty.
    pub parts: Vec<Part>,
    /// Streams that begin with it.
    pub started: Vec<Started>,
}

impl Step {
    /// What computing it costs.
    #[must_use]
    pub fn load(&self) -> Load {
        load_of(&self.parts)
    }

    /// The stream that has more than half of the rows and none that gives a token: a step that is not worth ending
    /// when that stream is cancelled.
    #[must_use]
    pub fn dominant(&self) -> Option<StreamKey> {
        let rows = self.load().rows;
        self.parts
            .iter()
            .find(|part| part.tokens.len() * 2 > rows && part.tokens.len() > 1 + part.draft_count)
            .map(|part| part.stream)
    }
}

/// What computing these parts in one step costs.
pub(crate) fn load_of(parts: &[Part]) -> Load {
    parts
        .iter()
        .fold(Load::default(), |load, part| load.and(part.load()))
}

/// What became of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartOutcome {
    /// All rows were computed, and these tokens chosen: none without rows that want logits, else one and one more for
    /// each guess that was right. `is_over`: the stream ends here and takes no more of them.
    Computed {
        /// In order.
        chosen: Vec<Token>,
        /// Whether the stream ends.
        is_over: bool,
    },
    /// Nothing was computed, through nobody's fault; it comes again.
    Cut,
    /// Computing failed. The stream is tried again alone; if it was alone, it is to be removed by the caller.
    Failed,
}

/// What became of a [`KvOp::Restore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restored {
    /// The block is there.
    Done,
    /// It is on its way.
    Pending,
    /// It cannot be had; the stream computes.
    Lost,
}

/// What became of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How long computing took, for the cost model; `None` when it was cut or failed.
    pub measured: Option<Micros>,
    /// For each part, in order.
    pub parts: Vec<PartOutcome>,
    /// For each [`KvOp::Restore`], in order.
    pub restored: Vec<(StreamKey, Restored)>,
}

/// How many guesses have room, and what they would cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DraftRoom {
    /// Most guesses.
    pub most: usize,
    /// What the step computes without this stream's guesses.
    pub load: Load,
    /// Position of the first guess.
    pub from: usize,
    /// Streams that make tokens in the step.
    pub width: usize,
}

/// Guesses tokens of streams.
pub trait Drafts {
    /// The likely next tokens of `stream`, at most `room.most`; none when it does not pay.
    fn propose(&mut self, stream: StreamKey, room: &DraftRoom, cost: &crate::CostModel) -> Vec<Token>;
}

/// Guesses nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoDrafts;

impl Drafts for NoDrafts {
    fn propose(&mut self, _stream: StreamKey, _room: &DraftRoom, _cost: &crate::CostModel) -> Vec<Token> {
        Vec::new()
    }
}
