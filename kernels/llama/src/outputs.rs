//! Logits of the rows of one batch, several of them at once.

use std::fmt;
use std::ptr::NonNull;

use llama_cpp_sys_2 as sys;

use crate::batch::Batch;
use crate::context::Context;

/// Why there are no logits.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LogitsError {
    /// The last computed batch has no such row, or the row did not ask for logits.
    #[error("row {0} of the last batch has no logits")]
    NotAsked(usize),
    /// llama.cpp has none.
    #[error("llama.cpp has no logits for row {0}")]
    Missing(usize),
}

/// Where the logits of the batch computed last lie: rows that asked for them, in the order of the batch.
#[derive(Debug, Default)]
pub(crate) struct OutputRows {
    first: Option<NonNull<f32>>,
    /// For each row of the batch the place of its logits, `None` when it did not ask.
    places: Vec<Option<usize>>,
}

impl OutputRows {
    pub(crate) fn clear(&mut self) {
        self.first = None;
        self.places.clear();
    }
}

/// Logits of the batch computed last, readable from several threads while the context rests.
#[derive(Clone, Copy)]
pub struct Outputs<'a> {
    rows: &'a OutputRows,
    vocab_size: usize,
}

// SAFETY: a shared view of floats that nothing writes while the context is borrowed, which it is for `'a`.
unsafe impl Send for Outputs<'_> {}
// SAFETY: as above.
unsafe impl Sync for Outputs<'_> {}

impl<'a> Outputs<'a> {
    /// Logits of `row` of the batch, one per token of the vocabulary, in place.
    ///
    /// # Errors
    /// Every [`LogitsError`].
    pub fn row(&self, row: usize) -> Result<&'a [f32], LogitsError> {
        let place = self.rows.places.get(row).copied().flatten();
        let place = place.ok_or(LogitsError::NotAsked(row))?;
        let first = self.rows.first.ok_or(LogitsError::Missing(row))?;
        let offset = place
            .checked_mul(self.vocab_size)
            .ok_or(LogitsError::Missing(row))?;
        // SAFETY: llama.cpp holds `vocab_size` floats for each row that asked, one after another in the order of the
        // batch, and `place` counts those before this one.
        let logits = unsafe { first.as_ptr().add(offset) };
        // SAFETY: as above; they stay until the next call that computes, which the borrow of the context excludes.
        Ok(unsafe { std::slice::from_raw_parts(logits, self.vocab_size) })
    }
}

impl fmt::Debug for Outputs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outputs")
            .field("rows", &self.rows.places.len())
            .finish_non_exhaustive()
    }
}

impl Context {
    /// Logits of all rows of the batch computed last that asked for them.
    #[must_use]
    pub fn outputs(&self) -> Outputs<'_> {
        Outputs {
            rows: &self.outputs,
            vocab_size: usize::try_from(self.limits.vocab_size).unwrap_or(0),
        }
    }

    /// Logits of `row` of the batch computed last, one per token of the vocabulary, in place.
    ///
    /// # Errors
    /// Every [`LogitsError`].
    pub fn logits(&self, row: usize) -> Result<&[f32], LogitsError> {
        self.outputs().row(row)
    }

    /// Whether `batch` is, as far as its rows and wishes tell, the one computed last.
    pub(crate) fn has_computed(&self, batch: &Batch) -> bool {
        let places = &self.outputs.places;
        places.len() == batch.len()
            && places
                .iter()
                .zip(batch.rows_with_logits())
                .all(|(place, is_wanted)| place.is_some() == is_wanted)
    }

    /// Notes where the logits of `batch` lie, just after it was computed.
    pub(crate) fn take_outputs(&mut self, batch: &Batch) {
        // SAFETY: the context is alive and used by nobody else. The call waits for the computing, puts the rows in the
        // order of the batch, and returns null when there are none.
        let first = unsafe { sys::llama_get_logits(self.raw.as_ptr()) };
        self.outputs.first = NonNull::new(first);
        let mut count = 0;
        self.outputs.places.clear();
        self.outputs
            .places
            .extend(batch.rows_with_logits().map(|is_wanted| {
                let place = is_wanted.then_some(count);
                count += usize::from(is_wanted);
                place
            }));
    }
}
