//! Blocks of prompts between the KV pool and the tiers.
//!
//! A block goes to the tiers between two steps, a copy of its keys and values at a time, and comes back the same way for
//! a stream that waits for it. Nothing here waits for a disk: what is not there yet is asked for again.

use std::collections::BTreeMap;

use jingui_llama::Context;
use jingui_sched::{CostModel, Restored, SequenceId, StreamKey, TIER_BLOCK_TOKENS, TenantId, Token};

use crate::stream::count_of;
use crate::tier::{BLOCK_TOKENS, Fetch, Next, Prefix, Shape, Tiers, Worth};

const _: () = assert!(BLOCK_TOKENS == TIER_BLOCK_TOKENS, "both sides cut alike");

/// The tiers, and who waits for what of them.
#[derive(Debug)]
pub(super) struct Blocks {
    tiers: Tiers,
    shape: Shape,
    scratch: SequenceId,
    wanted: BTreeMap<StreamKey, Wanted>,
}

/// What the tiers have of a stream's prompt.
#[derive(Debug)]
struct Wanted {
    prefix: Prefix,
    block_count: usize,
    fetch: Option<Fetch>,
}

impl Blocks {
    pub(super) fn new(tiers: Tiers, shape: Shape, scratch: SequenceId) -> Self {
        Self {
            tiers,
            shape,
            scratch,
            wanted: BTreeMap::new(),
        }
    }

    pub(super) fn is_any(&self) -> bool {
        self.tiers.is_any()
    }

    /// Looks up the prompt of a new stream of which `hot_tokens` are in the pool. Returns the tokens that the tiers
    /// have, and begins to read what the pool lacks.
    pub(super) fn look_up(
        &mut self,
        stream: StreamKey,
        tenant: TenantId,
        tokens: &[Token],
        hot_tokens: usize,
    ) -> usize {
        if !self.is_any() {
            return 0;
        }
        // The last token must be computed.
        let known = tokens.get(..tokens.len().saturating_sub(1)).unwrap_or_default();
        let prefix = Prefix::new(self.shape, tenant, known);
        let block_count = self.tiers.longest(&prefix);
        if block_count == 0 {
            return 0;
        }
        let hot_blocks = hot_tokens / BLOCK_TOKENS;
        self.tiers.touch(&prefix, hot_blocks.min(block_count));
        let fetch = (hot_blocks < block_count).then(|| self.tiers.fetch(&prefix, hot_blocks..block_count));
        self.wanted.insert(
            stream,
            Wanted {
                prefix,
                block_count,
                fetch,
            },
        );
        block_count * BLOCK_TOKENS
    }

    /// Nothing more is wanted for a stream.
    pub(super) fn give_up(&mut self, stream: StreamKey) {
        self.wanted.remove(&stream);
    }

    /// Puts a block behind what `sequence` holds, if it is here.
    pub(super) fn restore(
        &mut self,
        context: &mut Context,
        stream: StreamKey,
        sequence: SequenceId,
        block: usize,
    ) -> Restored {
        let Some(wanted) = self.wanted.get_mut(&stream) else {
            return Restored::Lost;
        };
        let fetch = match &mut wanted.fetch {
            Some(fetch) if fetch.next_index() == block => fetch,
            // The pool has more, or less, than when it was asked for.
            other => other.insert(self.tiers.fetch(&wanted.prefix, block..wanted.block_count)),
        };
        match self.tiers.next(fetch) {
            Next::Ready(bytes) if bytes.index() == block => {
                let first = count_of(block * BLOCK_TOKENS);
                let range = first..first + count_of(BLOCK_TOKENS);
                match context.restore_range(self.scratch, sequence, range, &bytes) {
                    Ok(()) => Restored::Done,
                    Err(_) => Restored::Lost,
                }
            }
            Next::Wait => Restored::Pending,
            Next::Ready(_) | Next::End => Restored::Lost,
        }
    }

    /// Hands a computed block to the tiers. What cannot be saved, or is not taken, is computed again some day.
    pub(super) fn save(
        &mut self,
        context: &mut Context,
        tenant: TenantId,
        tokens: &[Token],
        sequence: SequenceId,
        block: usize,
        worth: Worth,
    ) {
        let prefix = Prefix::new(self.shape, tenant, tokens);
        if !self.tiers.wants(&prefix, block) {
            return;
        }
        let first = count_of(block * BLOCK_TOKENS);
        let mut bytes = self.tiers.buffer();
        let range = first..first + count_of(BLOCK_TOKENS);
        if context
            .save_range(sequence, range, self.scratch, &mut bytes)
            .is_ok()
        {
            let _may_be_dropped = self.tiers.store(&prefix, block, bytes, worth);
        }
    }
}

/// What a block is worth to the tiers.
pub(super) fn worth(cost: &CostModel, block: usize, is_pinned: bool) -> Worth {
    let micros = cost.prefill(block * BLOCK_TOKENS, BLOCK_TOKENS);
    Worth {
        cost_us: u32::try_from(micros).unwrap_or(u32::MAX),
        is_pinned,
    }
}
