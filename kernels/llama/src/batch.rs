//! Rows to be computed in one call: a token at a place of a sequence each.

use std::fmt;

use llama_cpp_sys_2 as sys;

use crate::rows::Rows;
use crate::vocab::Token;

/// Why a row was not taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BatchError {
    /// The batch is full.
    #[error("the batch holds {0} rows")]
    Full(usize),
    /// As many rows as the context has output places for want logits already.
    #[error("the batch holds {0} rows with logits")]
    OutputsFull(usize),
    /// The context was made for fewer sequences.
    #[error("sequence {0} does not exist")]
    NoSuchSequence(u32),
    /// The place is beyond the context.
    #[error("position {0} is beyond the context")]
    BeyondContext(u32),
    /// The token is of a larger vocabulary.
    #[error("token {0} is not in the vocabulary")]
    NoSuchToken(u32),
}

/// What a context allows in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) row_count_max: usize,
    pub(crate) output_count_max: usize,
    pub(crate) sequence_count: u32,
    pub(crate) context_tokens: u32,
    pub(crate) vocab_size: u32,
}

/// Rows for one [`crate::Context::decode`], each checked when it is pushed.
pub struct Batch {
    limits: Limits,
    rows: Rows,
    output_count: usize,
}

impl Batch {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            rows: Rows::with_capacity(limits.row_count_max),
            output_count: 0,
        }
    }

    /// Adds `token` at `position` of `sequence`; returns its row, which names its logits when `wants_logits`.
    ///
    /// # Errors
    /// Every [`BatchError`]; the batch is as before.
    pub fn push(
        &mut self,
        token: Token,
        position: u32,
        sequence: u32,
        wants_logits: bool,
    ) -> Result<usize, BatchError> {
        let limits = self.limits;
        if self.len() >= limits.row_count_max {
            return Err(BatchError::Full(limits.row_count_max));
        }
        if wants_logits && self.output_count >= limits.output_count_max {
            return Err(BatchError::OutputsFull(limits.output_count_max));
        }
        if token.id() >= limits.vocab_size {
            return Err(BatchError::NoSuchToken(token.id()));
        }
        let sequence_id = (sequence < limits.sequence_count)
            .then(|| sys::llama_seq_id::try_from(sequence).ok())
            .flatten()
            .ok_or(BatchError::NoSuchSequence(sequence))?;
        let place = (position < limits.context_tokens)
            .then(|| sys::llama_pos::try_from(position).ok())
            .flatten()
            .ok_or(BatchError::BeyondContext(position))?;
        self.rows.push(token.raw(), place, sequence_id, wants_logits);
        self.output_count += usize::from(wants_logits);
        Ok(self.len() - 1)
    }

    /// Rows in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Most rows that it takes.
    #[must_use]
    pub fn row_count_max(&self) -> usize {
        self.limits.row_count_max
    }

    /// Removes all rows.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.output_count = 0;
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn rows_with_logits(&self) -> impl Iterator<Item = bool> + '_ {
        self.rows.outputs()
    }

    /// Token, position and sequence of each row.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (sys::llama_token, u32, usize)> + '_ {
        self.rows.iter().map(|(token, position, sequence)| {
            // Both were made from unsigned numbers in `push`.
            let position = u32::try_from(position).unwrap_or(0);
            (token, position, usize::try_from(sequence).unwrap_or(0))
        })
    }

    /// The batch in llama.cpp's form. Its pointers are good until `self` changes.
    pub(crate) fn as_raw(&mut self) -> sys::llama_batch {
        self.rows.as_raw()
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("rows", &self.len())
            .field("outputs", &self.output_count)
            .finish_non_exhaustive()
    }
}
