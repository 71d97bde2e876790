//! Drafts by the model's own next-token layer (NextN, multi-token prediction), for many sequences at once.
//!
//! The layer takes a token and the hidden state of the position before it, and gives the token after. Its keys and
//! values are a small cache beside the main one, with the same sequence numbers. The hidden states come out of the main
//! context by two functions that llama.cpp exports from C++ (`llama-ext.h`); all else is its C API.

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use llama_cpp_sys_2 as sys;

use crate::batch::Batch;
use crate::context::{Context, ContextShape};
use crate::model::Model;
use crate::rows::Rows;
use crate::threads::ThreadPool;
use crate::vocab::Token;

// Declared in `llama-ext.h` for C++; their names are as the Itanium ABI mangles them, which all our targets use. A change
// in the pinned version is an error of the linker.
unsafe extern "C" {
    /// `void llama_set_embeddings_nextn(llama_context *, bool value, bool masked)`
    #[link_name = "_Z26llama_set_embeddings_nextnP13llama_contextbb"]
    fn set_hidden_states(context: *mut sys::llama_context, is_on: bool, is_masked: bool);
    /// `float * llama_get_embeddings_nextn_ith(llama_context *, int32_t)`
    #[link_name = "_Z30llama_get_embeddings_nextn_ithP13llama_contexti"]
    fn hidden_state(context: *mut sys::llama_context, row: i32) -> *mut f32;
}

/// Most rows of one batch of the layer.
const BATCH_TOKENS_MAX: u32 = 1 << 20;

/// Why nothing was drafted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DraftError {
    /// The model has no next-token layer, or it was loaded without.
    #[error("the model has no next-token layer")]
    NoLayer,
    /// llama.cpp could not make the context of the layer.
    #[error("llama.cpp could not make the context of the next-token layer")]
    Refused,
    /// The batch, the sequence or the position does not fit what was computed.
    #[error("the next-token layer has not followed this sequence")]
    OutOfStep,
    /// Computing failed.
    #[error("the next-token layer failed with status {0}")]
    Failed(i32),
}

/// What one sequence wants drafted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DraftRequest {
    /// The sequence.
    pub sequence: u32,
    /// Its newest token, chosen but not yet computed by the main context.
    pub last: Token,
    /// Where that token stands.
    pub position: u32,
}

/// Hidden states of the newest rows of one sequence: what comes back when a part of them is taken back.
#[derive(Debug, Default)]
struct Tail {
    /// Position of the first state.
    first: u32,
    /// States, one after another.
    states: Vec<f32>,
}

/// The next-token layer of a model, beside one [`Context`].
pub struct MtpDrafter {
    // The context is freed first (in `drop`), then what it points to.
    raw: NonNull<sys::llama_context>,
    memory: sys::llama_memory_t,
    width: usize,
    row_count_max: usize,
    tails: Vec<Tail>,
    threads: Arc<ThreadPool>,
    model: Arc<Model>,
}

// SAFETY: a `llama_context` has no ties to the thread that made it, and all use takes `&mut self`.
unsafe impl Send for MtpDrafter {}

impl Context {
    /// A drafter by the model's next-token layer, and from now on hidden states of each computed row (memory: the width
    /// of the model times the rows of a batch).
    ///
    /// # Errors
    /// [`DraftError::NoLayer`] and [`DraftError::Refused`].
    pub fn mtp_drafter(&mut self, shape: ContextShape) -> Result<MtpDrafter, DraftError> {
        if !self.model().has_next_token_layer() {
            return Err(DraftError::NoLayer);
        }
        let threads = self.threads().clone();
        if shape.thread_count > threads.thread_count()
            || !(self.sequence_count()..=BATCH_TOKENS_MAX).contains(&shape.batch_tokens)
        {
            return Err(DraftError::Refused);
        }
        let count = i32::try_from(shape.thread_count).map_err(|_| DraftError::Refused)?;
        // SAFETY: fills a plain struct with defaults; no preconditions.
        let mut params = unsafe { sys::llama_context_default_params() };
        params.n_ctx = self.context_tokens();
        params.n_batch = shape.batch_tokens;
        params.n_ubatch = shape.batch_tokens;
        params.n_seq_max = self.sequence_count();
        params.n_outputs_max = self.sequence_count();
        params.n_threads = count;
        params.n_threads_batch = count;
        params.kv_unified = true;
        params.no_perf = true;
        params.ctx_type = sys::LLAMA_CONTEXT_TYPE_MTP;
        // SAFETY: model and main context are alive; the model has the layer that this kind of context demands.
        let raw = unsafe { sys::llama_init_from_model(self.model().raw(), params) };
        let raw = NonNull::new(raw).ok_or(DraftError::Refused)?;
        // SAFETY: context and pool are alive; the pool is kept by `threads`.
        unsafe { sys::llama_attach_threadpool(raw.as_ptr(), threads.raw(), std::ptr::null_mut()) };
        // SAFETY: the context is alive.
        let memory = unsafe { sys::llama_get_memory(raw.as_ptr()) };
        // SAFETY: the main context is alive and computes nothing; it gives states of all rows from now on.
        unsafe { set_hidden_states(self.raw.as_ptr(), true, false) };
        // SAFETY: as above, of the layer's context: states of rows that ask for logits.
        unsafe { set_hidden_states(raw.as_ptr(), true, true) };
        // SAFETY: the model lives as long as the context.
        let width = unsafe { sys::llama_model_n_embd_out(self.model().raw()) };
        let drafter = MtpDrafter {
            raw,
            memory,
            width: usize::try_from(width).unwrap_or(0),
            row_count_max: usize::try_from(shape.batch_tokens).unwrap_or(0),
            tails: (0..self.sequence_count()).map(|_| Tail::default()).collect(),
            threads,
            model: self.model().clone(),
        };
        if drafter.memory.is_null() || drafter.width == 0 {
            return Err(DraftError::Refused);
        }
        Ok(drafter)
    }
}

impl MtpDrafter {
    /// Follows what `main` has just computed from `batch`: to be called after each decode of it, before the next.
    ///
    /// Rows of one sequence must stand together and in order.
    ///
    /// # Errors
    /// [`DraftError::OutOfStep`] for a batch that `main` did not compute last or that does not go on where the layer
    /// stands, and [`DraftError::Failed`].
    pub fn follow(&mut self, main: &Context, batch: &Batch) -> Result<(), DraftError> {
        if !main.has_computed(batch) || batch.len() > self.row_count_max {
            return Err(DraftError::OutOfStep);
        }
        let rows: Vec<(sys::llama_token, u32, usize)> = batch.rows().collect();
        let mut states = Vec::with_capacity(rows.len().saturating_mul(self.width));
        for row in 0..rows.len() {
            let index = i32::try_from(row).map_err(|_| DraftError::OutOfStep)?;
            // SAFETY: the main context is alive and has computed that many rows; a missing row gives null.
            let state = unsafe { hidden_state(main.raw.as_ptr(), index) };
            let state = NonNull::new(state).ok_or(DraftError::OutOfStep)?;
            // SAFETY: `width` floats stay there until the main context computes again; they are copied at once.
            states.extend_from_slice(unsafe { std::slice::from_raw_parts(state.as_ptr(), self.width) });
        }
        // Each token is paired with the state of the position before it: of the row above, or kept from last time.
        let mut inputs = Rows::default();
        let mut above: Option<(usize, usize)> = None;
        for (row, (token, position, sequence)) in rows.iter().enumerate() {
            let before = match above {
                Some((above_row, above_sequence)) if above_sequence == *sequence => {
                    state_of(&states, self.width, above_row)
                }
                _ => self.state_before(*sequence, *position),
            };
            let before = before.ok_or(DraftError::OutOfStep)?.to_vec();
            push(&mut inputs, *token, *position, *sequence, false, &before);
            above = Some((row, *sequence));
        }
        self.compute(&mut inputs)?;
        let mut begun: Option<usize> = None;
        for (row, (_, position, sequence)) in rows.iter().enumerate() {
            let Some(tail) = self.tails.get_mut(*sequence) else {
                return Err(DraftError::OutOfStep);
            };
            if begun != Some(*sequence) {
                tail.first = *position;
                tail.states.clear();
                begun = Some(*sequence);
            }
            if let Some(state) = state_of(&states, self.width, row) {
                tail.states.extend_from_slice(state);
            }
        }
        Ok(())
    }

    /// Up to `count` likeliest tokens after the newest of each sequence, in one computation per token for all of them.
    /// The layer forgets them again: what is taken comes back with [`MtpDrafter::follow`].
    ///
    /// # Errors
    /// [`DraftError::OutOfStep`] and [`DraftError::Failed`].
    pub fn draft(&mut self, requests: &[DraftRequest], count: usize) -> Result<Vec<Vec<u32>>, DraftError> {
        let mut drafts: Vec<Vec<u32>> = requests.iter().map(|_| Vec::new()).collect();
        if requests.is_empty() || requests.len() > self.tails.len() || requests.len() > self.row_count_max {
            return if requests.is_empty() {
                Ok(drafts)
            } else {
                Err(DraftError::OutOfStep)
            };
        }
        let mut next = Vec::with_capacity(requests.len());
        for request in requests {
            let sequence = usize::try_from(request.sequence).map_err(|_| DraftError::OutOfStep)?;
            let state = self.state_before(sequence, request.position);
            let state = state.ok_or(DraftError::OutOfStep)?.to_vec();
            next.push((request.last.raw(), request.position, sequence, state));
        }
        for _ in 0..count {
            let mut inputs = Rows::default();
            for (token, position, sequence, state) in &next {
                push(&mut inputs, *token, *position, *sequence, true, state);
            }
            self.compute(&mut inputs)?;
            for (row, (place, draft)) in next.iter_mut().zip(&mut drafts).enumerate() {
                let (token, state) = self.likeliest(row)?;
                draft.push(u32::try_from(token).map_err(|_| DraftError::OutOfStep)?);
                *place = (token, place.1.saturating_add(1), place.2, state);
            }
        }
        for request in requests {
            self.remove(request.sequence, request.position)?;
        }
        Ok(drafts)
    }

    /// Forgets positions `from` and later of `sequence`, as [`Context::forget`] does in the main context: after drafted
    /// tokens were refused, with the position of the first refused one. A sequence that goes on elsewhere than at its
    /// newest rows must be begun anew.
    ///
    /// # Errors
    /// [`DraftError::OutOfStep`] for a sequence that does not exist.
    pub fn forget(&mut self, sequence: u32, from: u32) -> Result<(), DraftError> {
        self.remove(sequence, from)?;
        let index = usize::try_from(sequence).map_err(|_| DraftError::OutOfStep)?;
        let width = self.width;
        let tail = self.tails.get_mut(index).ok_or(DraftError::OutOfStep)?;
        let kept = usize::try_from(from.saturating_sub(tail.first)).unwrap_or(0);
        tail.states.truncate(kept.saturating_mul(width));
        Ok(())
    }

    fn remove(&mut self, sequence: u32, from: u32) -> Result<(), DraftError> {
        let is_known = usize::try_from(sequence).is_ok_and(|index| index < self.tails.len());
        let id = sys::llama_seq_id::try_from(sequence).map_err(|_| DraftError::OutOfStep)?;
        let from = sys::llama_pos::try_from(from).unwrap_or(sys::llama_pos::MAX);
        if !is_known {
            return Err(DraftError::OutOfStep);
        }
        // SAFETY: the memory lives as long as the context; the sequence exists.
        let is_removed = unsafe { sys::llama_memory_seq_rm(self.memory, id, from, -1) };
        if is_removed {
            Ok(())
        } else {
            Err(DraftError::OutOfStep)
        }
    }

    /// The state of the position before `position`; zeros before the first.
    fn state_before(&self, sequence: usize, position: u32) -> Option<&[f32]> {
        let tail = self.tails.get(sequence)?;
        if position == 0 {
            return Some(ZEROS.get(..self.width).unwrap_or(&[])).filter(|zeros| zeros.len() == self.width);
        }
        let index = position.checked_sub(1)?.checked_sub(tail.first)?;
        state_of(&tail.states, self.width, usize::try_from(index).ok()?)
    }

    fn compute(&mut self, inputs: &mut Rows) -> Result<(), DraftError> {
        let batch = inputs.as_raw();
        let turn = self.threads.turn();
        // SAFETY: the context is alive and used by nobody else. The batch is borrowed until return; its tokens are of
        // this vocabulary, its sequences exist, its rows fit, and each has a state of the model's width.
        let status = unsafe { sys::llama_decode(self.raw.as_ptr(), batch) };
        drop(turn);
        if status == 0 {
            Ok(())
        } else {
            Err(DraftError::Failed(status))
        }
    }

    /// The likeliest token of `row`, and the state that goes with it.
    fn likeliest(&mut self, row: usize) -> Result<(sys::llama_token, Vec<f32>), DraftError> {
        let index = i32::try_from(row).map_err(|_| DraftError::OutOfStep)?;
        // SAFETY: the context is alive and has computed this row with logits; a missing row gives null.
        let logits = unsafe { sys::llama_get_logits_ith(self.raw.as_ptr(), index) };
        let logits = NonNull::new(logits).ok_or(DraftError::OutOfStep)?;
        let size = usize::try_from(self.model.vocab_size()).map_err(|_| DraftError::OutOfStep)?;
        // SAFETY: llama.cpp keeps one float per token there until the next call that computes.
        let logits = unsafe { std::slice::from_raw_parts(logits.as_ptr(), size) };
        let best = logits
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(b.1))
            .map(|(token, _)| token);
        let token = best.and_then(|token| sys::llama_token::try_from(token).ok());
        // SAFETY: as for the logits; a missing row gives null.
        let state = unsafe { hidden_state(self.raw.as_ptr(), index) };
        let state = NonNull::new(state).ok_or(DraftError::OutOfStep)?;
        // SAFETY: `width` floats stay there until the next call that computes; they are copied at once.
        let state = unsafe { std::slice::from_raw_parts(state.as_ptr(), self.width) };
        Ok((token.ok_or(DraftError::OutOfStep)?, state.to_vec()))
    }
}

/// What the first position is paired with. The widest model of today has 8192.
static ZEROS: [f32; 16384] = [0.0; 16384];

fn state_of(states: &[f32], width: usize, index: usize) -> Option<&[f32]> {
    let from = index.checked_mul(width)?;
    states.get(from..from.checked_add(width)?)
}

impl Drop for MtpDrafter {
    fn drop(&mut self) {
        // SAFETY: made in `mtp_drafter`, freed only here; pool and model are fields and outlive this call.
        unsafe { sys::llama_free(self.raw.as_ptr()) };
    }
}

impl fmt::Debug for MtpDrafter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MtpDrafter")
            .field("width", &self.width)
            .finish_non_exhaustive()
    }
}

/// Adds a row with its state. Position and sequence were checked when the batch or the request was made.
fn push(
    inputs: &mut Rows,
    token: sys::llama_token,
    position: u32,
    sequence: usize,
    gives_output: bool,
    state: &[f32],
) {
    let position = sys::llama_pos::try_from(position).unwrap_or(sys::llama_pos::MAX);
    let sequence = sys::llama_seq_id::try_from(sequence).unwrap_or(0);
    inputs.push(token, position, sequence, gives_output);
    inputs.push_state(state);
}
