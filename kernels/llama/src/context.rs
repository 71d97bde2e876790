//! A context: the KV cache of some sequences, and the computing on it.

use std::ffi::c_void;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use llama_cpp_sys_2 as sys;

use crate::backend::{hold_logs, initialise};
use crate::batch::{Batch, Limits};
use crate::model::Model;
use crate::threads::ThreadPool;

/// Most sequences of one context (`LLAMA_MAX_SEQ`).
const SEQUENCE_COUNT_MAX: u32 = 256;
/// Most threads (`GGML_MAX_N_THREADS`).
const THREAD_COUNT_MAX: u32 = 512;
/// Most KV cells of one context: 2^26 is more memory than any machine of today has, and far from overflow in C++.
const CONTEXT_TOKENS_MAX: u32 = 1 << 26;

/// Status of `llama_decode` after the abort callback said so.
const ABORTED: i32 = 2;

/// What to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContextShape {
    /// KV cells shared by all sequences. llama.cpp rounds up to a multiple of 256.
    pub context_tokens: u32,
    /// Sequences, numbered from 0; as many rows of one batch may want logits.
    pub sequence_count: u32,
    /// Most rows of one batch.
    pub batch_tokens: u32,
    /// Threads that compute, the calling one counted.
    pub thread_count: u32,
}

/// Why there is no context.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ContextError {
    /// A number of the shape is zero or beyond what llama.cpp can do.
    #[error("a context of shape {0:?} cannot be made")]
    Shape(ContextShape),
    /// llama.cpp could not make it, as a rule for want of memory; its reason went to the log.
    #[error("llama.cpp could not make the context")]
    Refused,
    /// The threads could not be started.
    #[error("the compute threads could not be started")]
    Threads,
}

/// How a batch that is no failure ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// All rows are computed; logits are ready.
    Computed,
    /// The KV cache has no room; nothing changed.
    NoRoom,
    /// The [`AbortFlag`] was raised. Some first rows may be computed: [`Context::last_position`] tells for each sequence.
    Aborted,
}

/// How a batch failed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The batch was made by another context.
    #[error("the batch belongs to a context of another shape")]
    ForeignBatch,
    /// The batch has no rows.
    #[error("the batch has no rows")]
    Empty,
    /// llama.cpp found the rows inconsistent (for example a gap in the positions of a sequence); nothing changed.
    #[error("llama.cpp refused the batch")]
    Refused,
    /// Computing failed. What the sequences of the batch hold is unknown; remove them.
    #[error("computing failed with status {0}")]
    Failed(i32),
}

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

/// Why a sequence could not be changed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SequenceError {
    /// The context was made for fewer sequences.
    #[error("sequence {0} does not exist")]
    NoSuchSequence(u32),
    /// The memory of this model cannot forget a part of a sequence.
    #[error("a part of sequence {0} cannot be removed")]
    NotRemovable(u32),
}

/// Stops a running [`Context::decode`] from another thread, and shows that it moves.
///
/// llama.cpp looks at it before each node of the graph, some hundred times in a step. CPU only: a graph on an
/// accelerator runs to its end.
#[derive(Debug, Clone, Default)]
pub struct AbortFlag(Arc<AbortState>);

#[derive(Debug, Default)]
struct AbortState {
    is_raised: AtomicBool,
    node_count: AtomicU64,
}

impl AbortFlag {
    /// Makes the running decode, or the next one, end as [`Decoded::Aborted`].
    pub fn raise(&self) {
        self.0.is_raised.store(true, Ordering::Release);
    }

    /// Lets decodes run again.
    pub fn lower(&self) {
        self.0.is_raised.store(false, Ordering::Release);
    }

    /// Whether decodes end at once.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.is_raised.load(Ordering::Acquire)
    }

    /// Graph nodes begun since the context was made. Grows while a decode makes progress.
    #[must_use]
    pub fn node_count(&self) -> u64 {
        self.0.node_count.load(Ordering::Relaxed)
    }
}

/// The KV cache of some sequences over one model, and the computing on it. Owned by one thread at a time.
pub struct Context {
    // Order matters: the context is freed first (in `drop`), then what it points to.
    raw: NonNull<sys::llama_context>,
    memory: sys::llama_memory_t,
    limits: Limits,
    outputs: Vec<bool>,
    _threads: ThreadPool,
    abort: AbortFlag,
    model: Arc<Model>,
}

// SAFETY: a `llama_context` has no ties to the thread that made it; `Context` is not `Sync` and all computing takes
// `&mut self`, so one thread at a time uses it.
unsafe impl Send for Context {}

impl Context {
    /// Reserves the memory for `shape` over `model`.
    ///
    /// The KV cache is one pool for all sequences ("unified"), in f16. Logits are reserved for `sequence_count` rows
    /// instead of for a whole batch, which saves hundreds of megabytes with a large vocabulary.
    ///
    /// # Errors
    /// Every [`ContextError`].
    pub fn new(model: Arc<Model>, shape: ContextShape) -> Result<Self, ContextError> {
        initialise();
        let is_possible = (1..=CONTEXT_TOKENS_MAX).contains(&shape.context_tokens)
            && (1..=SEQUENCE_COUNT_MAX).contains(&shape.sequence_count)
            && (shape.sequence_count..=CONTEXT_TOKENS_MAX).contains(&shape.batch_tokens)
            && (1..=THREAD_COUNT_MAX).contains(&shape.thread_count);
        let thread_count = i32::try_from(shape.thread_count).unwrap_or(1);
        if !is_possible {
            return Err(ContextError::Shape(shape));
        }
        let abort = AbortFlag::default();
        let params = params_of(shape, thread_count, &abort);
        // SAFETY: the model is alive and kept so by `model`; `params` hold defaults, checked numbers, and a callback
        // whose data lives in `abort`, which outlives the context.
        let raw = unsafe { sys::llama_init_from_model(model.raw(), params) };
        let raw = NonNull::new(raw).ok_or(ContextError::Refused)?;
        let Some(threads) = ThreadPool::new(thread_count) else {
            // SAFETY: `raw` was just made and nobody else knows it.
            unsafe { sys::llama_free(raw.as_ptr()) };
            return Err(ContextError::Threads);
        };
        // SAFETY: context and pool are alive, and the pool is freed after the context. Null: one pool for both uses.
        unsafe { sys::llama_attach_threadpool(raw.as_ptr(), threads.raw(), std::ptr::null_mut()) };
        // SAFETY: the context is alive; its memory lives as long as itself.
        let memory = unsafe { sys::llama_get_memory(raw.as_ptr()) };
        let limits = limits_of(raw, &model, shape);
        let context = Self {
            raw,
            memory,
            limits,
            outputs: Vec::new(),
            _threads: threads,
            abort,
            model,
        };
        if context.memory.is_null() {
            Err(ContextError::Refused)
        } else {
            Ok(context)
        }
    }

    /// The model it computes.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// KV cells, as really made.
    #[must_use]
    pub fn context_tokens(&self) -> u32 {
        self.limits.context_tokens
    }

    /// Sequences.
    #[must_use]
    pub fn sequence_count(&self) -> u32 {
        self.limits.sequence_count
    }

    /// A handle that stops a decode from another thread.
    #[must_use]
    pub fn abort_flag(&self) -> AbortFlag {
        self.abort.clone()
    }

    /// An empty batch for this context.
    #[must_use]
    pub fn batch(&self) -> Batch {
        Batch::new(self.limits)
    }

    /// Computes the rows of `batch`; blocks until they are done.
    ///
    /// # Errors
    /// Every [`DecodeError`].
    pub fn decode(&mut self, batch: &mut Batch) -> Result<Decoded, DecodeError> {
        self.outputs.clear();
        if batch.limits() != self.limits {
            return Err(DecodeError::ForeignBatch);
        }
        if batch.is_empty() {
            return Err(DecodeError::Empty);
        }
        let raw_batch = batch.as_raw();
        let compute = || {
            // SAFETY: `self.raw` is freed only in `Drop`, and `&mut self` excludes any other call on it. The batch is
            // borrowed until return; row count, tokens, sequences and outputs were checked in `Batch::push` against
            // the limits of this context, which is what llama.cpp would abort on.
            unsafe { sys::llama_decode(self.raw.as_ptr(), raw_batch) }
        };
        let status = hold_logs(compute, |status| *status != ABORTED);
        match status {
            0 => {
                self.outputs.extend(batch.rows_with_logits());
                Ok(Decoded::Computed)
            }
            1 => Ok(Decoded::NoRoom),
            ABORTED => Ok(Decoded::Aborted),
            -1 => Err(DecodeError::Refused),
            other => Err(DecodeError::Failed(other)),
        }
    }

    /// Logits of `row` of the batch computed last, one per token of the vocabulary, in place.
    ///
    /// # Errors
    /// Every [`LogitsError`].
    pub fn logits(&mut self, row: usize) -> Result<&[f32], LogitsError> {
        let index = i32::try_from(row).map_err(|_| LogitsError::NotAsked(row))?;
        if self.outputs.get(row) != Some(&true) {
            return Err(LogitsError::NotAsked(row));
        }
        // SAFETY: the context is alive and used by nobody else; the row was computed with logits, as checked above.
        let logits = unsafe { sys::llama_get_logits_ith(self.raw.as_ptr(), index) };
        let logits = NonNull::new(logits).ok_or(LogitsError::Missing(row))?;
        let length = usize::try_from(self.limits.vocab_size).map_err(|_| LogitsError::Missing(row))?;
        // SAFETY: llama.cpp keeps `vocab_size` floats there until the next call on the context, which the borrow of
        // `self` excludes.
        Ok(unsafe { std::slice::from_raw_parts(logits.as_ptr(), length) })
    }

    /// Forgets positions `from` and later of `sequence`; 0 forgets all of it.
    ///
    /// # Errors
    /// Every [`SequenceError`].
    pub fn forget(&mut self, sequence: u32, from: u32) -> Result<(), SequenceError> {
        let id = self.sequence(sequence)?;
        let from = sys::llama_pos::try_from(from).unwrap_or(sys::llama_pos::MAX);
        // SAFETY: the memory lives as long as the context; the sequence exists; −1 is "to the end".
        let is_removed = unsafe { sys::llama_memory_seq_rm(self.memory, id, from, -1) };
        if is_removed {
            Ok(())
        } else {
            Err(SequenceError::NotRemovable(sequence))
        }
    }

    /// Lets `to` share the positions below `until` of `from`; costs no memory in the unified cache.
    ///
    /// # Errors
    /// [`SequenceError::NoSuchSequence`].
    pub fn share(&mut self, from: u32, to: u32, until: u32) -> Result<(), SequenceError> {
        let source = self.sequence(from)?;
        let target = self.sequence(to)?;
        let until = sys::llama_pos::try_from(until).unwrap_or(sys::llama_pos::MAX);
        // SAFETY: the memory lives as long as the context, both sequences exist, and a partial copy is allowed since
        // the cache is unified.
        unsafe { sys::llama_memory_seq_cp(self.memory, source, target, 0, until) };
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

    fn sequence(&self, sequence: u32) -> Result<sys::llama_seq_id, SequenceError> {
        (sequence < self.limits.sequence_count)
            .then(|| sys::llama_seq_id::try_from(sequence).ok())
            .flatten()
            .ok_or(SequenceError::NoSuchSequence(sequence))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made in `new`, freed only here; pool, abort state and model are fields and outlive this call.
        unsafe { sys::llama_free(self.raw.as_ptr()) };
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

fn params_of(shape: ContextShape, thread_count: i32, abort: &AbortFlag) -> sys::llama_context_params {
    // SAFETY: fills a plain struct with defaults; no preconditions.
    let mut params = unsafe { sys::llama_context_default_params() };
    params.n_ctx = shape.context_tokens;
    params.n_batch = shape.batch_tokens;
    params.n_ubatch = shape.batch_tokens;
    params.n_seq_max = shape.sequence_count;
    // llama.cpp asserts that there are at least as many output places as sequences.
    params.n_outputs_max = shape.sequence_count;
    params.n_threads = thread_count;
    params.n_threads_batch = thread_count;
    params.kv_unified = true;
    params.no_perf = true;
    params.abort_callback = Some(on_node);
    params.abort_callback_data = Arc::as_ptr(&abort.0).cast_mut().cast();
    params
}

fn limits_of(raw: NonNull<sys::llama_context>, model: &Model, shape: ContextShape) -> Limits {
    // SAFETY: the context is alive.
    let row_count_max = unsafe { sys::llama_n_batch(raw.as_ptr()) };
    // SAFETY: as above.
    let context_tokens = unsafe { sys::llama_n_ctx(raw.as_ptr()) };
    Limits {
        row_count_max: usize::try_from(row_count_max).unwrap_or(0),
        output_count_max: usize::try_from(shape.sequence_count).unwrap_or(0),
        sequence_count: shape.sequence_count,
        context_tokens,
        vocab_size: model.vocab_size(),
    }
}

/// Called by llama.cpp before each node; `true` ends the computing.
unsafe extern "C" fn on_node(user: *mut c_void) -> bool {
    // SAFETY: `user` is the `AbortState` of the context that computes, kept alive by its `AbortFlag`; it holds atomics
    // only, so a shared reference is sound from any thread.
    let state = unsafe { &*user.cast::<AbortState>() };
    state.node_count.fetch_add(1, Ordering::Relaxed);
    state.is_raised.load(Ordering::Acquire)
}
