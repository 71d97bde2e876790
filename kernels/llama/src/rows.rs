//! Rows of a batch as llama.cpp wants them: parallel arrays, and pointers into them.
//!
//! Checks nothing: who fills it has made sure that tokens, positions and sequences exist.

use llama_cpp_sys_2 as sys;

/// Rows for one call. Grows and is emptied; keeps its memory.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    tokens: Vec<sys::llama_token>,
    /// A hidden state for each row, or none for any.
    states: Vec<f32>,
    positions: Vec<sys::llama_pos>,
    sequences: Vec<sys::llama_seq_id>,
    /// One for each row: it belongs to one sequence.
    sequence_counts: Vec<i32>,
    outputs: Vec<i8>,
    /// Filled by `as_raw` only: one for each row, and a null at the end.
    sequence_pointers: Vec<*mut sys::llama_seq_id>,
}

// SAFETY: the pointers lead into `sequences` of the same value, whose heap block moves with it, and nobody follows them
// but the call that `as_raw` was made for.
unsafe impl Send for Rows {}

impl Rows {
    /// Empty, with room for so many rows.
    pub(crate) fn with_capacity(rows: usize) -> Self {
        Self {
            tokens: Vec::with_capacity(rows),
            states: Vec::new(),
            positions: Vec::with_capacity(rows),
            sequences: Vec::with_capacity(rows),
            sequence_counts: Vec::with_capacity(rows),
            outputs: Vec::with_capacity(rows),
            sequence_pointers: Vec::with_capacity(rows.saturating_add(1)),
        }
    }

    /// Adds a row.
    pub(crate) fn push(
        &mut self,
        token: sys::llama_token,
        position: sys::llama_pos,
        sequence: sys::llama_seq_id,
        gives_output: bool,
    ) {
        self.tokens.push(token);
        self.positions.push(position);
        self.sequences.push(sequence);
        self.sequence_counts.push(1);
        self.outputs.push(i8::from(gives_output));
    }

    /// The hidden state of the row that was added last. Each row has one, or none has.
    pub(crate) fn push_state(&mut self, state: &[f32]) {
        self.states.extend_from_slice(state);
    }

    /// Rows in it.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Removes all rows.
    pub(crate) fn clear(&mut self) {
        self.tokens.clear();
        self.states.clear();
        self.positions.clear();
        self.sequences.clear();
        self.sequence_counts.clear();
        self.outputs.clear();
    }

    /// Whether each row gives output.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = bool> + '_ {
        self.outputs.iter().map(|wanted| *wanted != 0)
    }

    /// Token, position and sequence of each row.
    pub(crate) fn iter(
        &self,
    ) -> impl Iterator<Item = (sys::llama_token, sys::llama_pos, sys::llama_seq_id)> + '_ {
        let places = self.positions.iter().zip(&self.sequences);
        self.tokens
            .iter()
            .zip(places)
            .map(|(token, (position, sequence))| (*token, *position, *sequence))
    }

    /// The rows in llama.cpp's form. Its pointers are good until `self` changes.
    pub(crate) fn as_raw(&mut self) -> sys::llama_batch {
        self.sequence_pointers.clear();
        self.sequence_pointers
            .extend(self.sequences.iter_mut().map(|sequence| &raw mut *sequence));
        self.sequence_pointers.push(std::ptr::null_mut());
        let states = if self.states.is_empty() {
            std::ptr::null_mut()
        } else {
            self.states.as_mut_ptr()
        };
        sys::llama_batch {
            n_tokens: i32::try_from(self.tokens.len()).unwrap_or(0),
            token: self.tokens.as_mut_ptr(),
            embd: states,
            pos: self.positions.as_mut_ptr(),
            n_seq_id: self.sequence_counts.as_mut_ptr(),
            seq_id: self.sequence_pointers.as_mut_ptr(),
            logits: self.outputs.as_mut_ptr(),
        }
    }
}
