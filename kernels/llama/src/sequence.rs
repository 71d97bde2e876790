//! Sequences of the KV cache: sharing, forgetting, and where they stand.

use std::ops::Range;

use llama_cpp_sys_2 as sys;

use crate::context::Context;

/// Why a sequence could not be changed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SequenceError {
    /// The context was made for fewer sequences.
    #[error("sequence {0} does not exist")]
    NoSuchSequence(u32),
    /// The memory of this model cannot forget a part of a sequence.
    #[error("a part of sequence {0} cannot be removed")]
    NotRemovable(u32),
    /// The memory of this model (recurrent, hybrid or a sliding window) has no parts that could be shared or saved.
    #[error("sequence {0} cannot be taken in parts")]
    NotDivisible(u32),
    /// The target holds some of these positions already; two of one kind would both be attended to.
    #[error("sequence {0} holds some of these positions already")]
    Overlap(u32),
    /// The source does not hold all of these positions.
    #[error("sequence {0} does not hold all of these positions")]
    NotHeld(u32),
}

impl Context {
    /// Forgets positions `from` and later of `sequence`; 0 forgets all of it.
    ///
    /// # Errors
    /// [`SequenceError::NoSuchSequence`] and [`SequenceError::NotRemovable`].
    pub fn forget(&mut self, sequence: u32, from: u32) -> Result<(), SequenceError> {
        self.remove(sequence, position(from), -1)
    }

    /// Forgets the positions of `range` of `sequence`. Cells that another sequence shares stay for that one.
    ///
    /// A gap in the middle is no use to a plain model: llama.cpp takes the next row only after the last position.
    ///
    /// # Errors
    /// [`SequenceError::NoSuchSequence`] and [`SequenceError::NotRemovable`].
    pub fn forget_range(&mut self, sequence: u32, range: Range<u32>) -> Result<(), SequenceError> {
        self.sequence(sequence)?;
        if range.is_empty() {
            return Ok(());
        }
        self.remove(sequence, position(range.start), position(range.end))
    }

    /// Forgets all sequences. Costs no writing: old keys and values stay in the memory until cells are used again, and
    /// nothing can attend to them.
    pub fn clear(&mut self) {
        // SAFETY: the memory lives as long as the context, and nothing computes.
        unsafe { sys::llama_memory_clear(self.memory, false) };
    }

    /// Lets `to` share the positions below `until` of `from`; costs no memory in the unified cache.
    ///
    /// # Errors
    /// As [`Context::share_range`], but that `from` may hold fewer.
    pub fn share(&mut self, from: u32, to: u32, until: u32) -> Result<(), SequenceError> {
        self.sequence(to)?;
        let Some(last) = self.last_position(from)? else {
            return Ok(());
        };
        let first = self.first_position(from)?.unwrap_or(0);
        let end = until.min(last.saturating_add(1));
        if first >= end {
            return Ok(());
        }
        self.share_range(from, to, first..end)
    }

    /// Lets `to` share the positions of `range` of `from`; costs no memory in the unified cache, and time linear in
    /// its cells. `from` may be in use: what is computed is shared, what is not is not yet there to be asked for.
    ///
    /// # Errors
    /// Every [`SequenceError`] but `NotRemovable`; nothing changed.
    pub fn share_range(&mut self, from: u32, to: u32, range: Range<u32>) -> Result<(), SequenceError> {
        let source = self.sequence(from)?;
        let target = self.sequence(to)?;
        if from == to || range.is_empty() {
            return Ok(());
        }
        if !self.holds(from, &range)? {
            return Err(SequenceError::NotHeld(from));
        }
        if self.meets(to, &range)? {
            return Err(SequenceError::Overlap(to));
        }
        let is_whole = self.first_position(from)? == Some(range.start)
            && self.last_position(from)? == range.end.checked_sub(1);
        if !(is_whole || self.is_divisible()) {
            return Err(SequenceError::NotDivisible(from));
        }
        // SAFETY: the memory lives as long as the context, both sequences exist, and a partial copy is allowed since
        // the cache is unified and of a kind that has parts, both checked above.
        unsafe {
            sys::llama_memory_seq_cp(
                self.memory,
                source,
                target,
                position(range.start),
                position(range.end),
            );
        };
        Ok(())
    }

    /// Largest position that `sequence` holds, `None` when it is empty.
    ///
    /// # Errors
    /// [`SequenceError::NoSuchSequence`].
    pub fn last_position(&self, sequence: u32) -> Result<Option<u32>, SequenceError> {
        let id = self.sequence(sequence)?;
        // SAFETY: the memory lives as long as the context; the sequence exists.
        let position = unsafe { sys::llama_memory_seq_pos_max(self.memory, id) };
        Ok(u32::try_from(position).ok())
    }

    /// Smallest position that `sequence` holds, `None` when it is empty. Everything from it to the last is held, as
    /// long as [`Context::forget_range`] made no gap.
    ///
    /// # Errors
    /// [`SequenceError::NoSuchSequence`].
    pub fn first_position(&self, sequence: u32) -> Result<Option<u32>, SequenceError> {
        let id = self.sequence(sequence)?;
        // SAFETY: the memory lives as long as the context; the sequence exists.
        let position = unsafe { sys::llama_memory_seq_pos_min(self.memory, id) };
        Ok(u32::try_from(position).ok())
    }

    /// Whether positions could be shifted without computing anew (not with M-RoPE). No call here does it: a shifted
    /// value is not what a fresh run computes.
    #[must_use]
    pub fn can_shift(&self) -> bool {
        // SAFETY: the memory lives as long as the context.
        unsafe { sys::llama_memory_can_shift(self.memory) }
    }

    /// Whether parts of a sequence can be shared, removed and saved: plain keys and values, one cell per position.
    #[must_use]
    pub fn is_divisible(&self) -> bool {
        self.model.has_plain_memory()
    }

    fn remove(
        &mut self,
        sequence: u32,
        from: sys::llama_pos,
        until: sys::llama_pos,
    ) -> Result<(), SequenceError> {
        let id = self.sequence(sequence)?;
        // SAFETY: the memory lives as long as the context; the sequence exists; −1 is "to the end".
        let is_removed = unsafe { sys::llama_memory_seq_rm(self.memory, id, from, until) };
        if is_removed {
            Ok(())
        } else {
            Err(SequenceError::NotRemovable(sequence))
        }
    }

    /// Whether `sequence` reaches over all of `range`.
    pub(crate) fn holds(&self, sequence: u32, range: &Range<u32>) -> Result<bool, SequenceError> {
        let first = self.first_position(sequence)?;
        let last = self.last_position(sequence)?;
        Ok(first.is_some_and(|first| first <= range.start)
            && last.is_some_and(|last| last >= range.end.saturating_sub(1)))
    }

    /// Whether `sequence` may hold a position of `range`.
    pub(crate) fn meets(&self, sequence: u32, range: &Range<u32>) -> Result<bool, SequenceError> {
        let first = self.first_position(sequence)?;
        let last = self.last_position(sequence)?;
        Ok(first.is_some_and(|first| first < range.end) && last.is_some_and(|last| last >= range.start))
    }

    pub(crate) fn sequence(&self, sequence: u32) -> Result<sys::llama_seq_id, SequenceError> {
        (sequence < self.limits.sequence_count)
            .then(|| sys::llama_seq_id::try_from(sequence).ok())
            .flatten()
            .ok_or(SequenceError::NoSuchSequence(sequence))
    }
}

fn position(position: u32) -> sys::llama_pos {
    sys::llama_pos::try_from(position).unwrap_or(sys::llama_pos::MAX)
}
