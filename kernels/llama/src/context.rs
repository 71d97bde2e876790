//! A context: the KV cache of some sequences, and the computing on it.

use std::ffi::c_void;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use llama_cpp_sys_2 as sys;

use crate::backend::{hold_logs, initialise};
use crate::batch::{Batch, Limits};
use crate::memory::{Memory, measure};
use crate::model::Model;
use crate::outputs::OutputRows;
use crate::pooling::Purpose;
use crate::threads::{THREAD_COUNT_MAX, ThreadPool};

/// Most sequences of one context (`LLAMA_MAX_SEQ`).
const SEQUENCE_COUNT_MAX: u32 = 256;
/// Most KV cells of one context: 2^26 is more memory than any machine of today has, and far from overflow in C++.
const CONTEXT_TOKENS_MAX: u32 = 1 << 26;

/// Status of `llama_decode` after the abort callback said so.
const ABORTED: i32 = 2;

/// What to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContextShape {
    /// KV cells shared by all sequences. llama.cpp rounds up to a multiple of 256.
    pub context_tokens: u32,
    /// Sequences, numbered from 0. llama.cpp also reserves a row of logits for each.
    pub sequence_count: u32,
    /// Most rows of one batch.
    pub batch_tokens: u32,
    /// Most rows of one batch that want logits: one per stream, and one per drafted token.
    pub output_rows: u32,
    /// Threads that compute, the calling one counted.
    pub thread_count: u32,
}

/// Why there is no context.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ContextError {
    /// A number of the shape is zero or beyond what llama.cpp can do.
    #[error("a context of shape {0:?} cannot be made")]
    Shape(ContextShape),
    /// llama.cpp could not make it, as a rule for want of memory; its reason went to the log. Or the model is not for
    /// what the context does ([`Model::purpose`]).
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
    pub(crate) raw: NonNull<sys::llama_context>,
    pub(crate) memory: sys::llama_memory_t,
    pub(crate) limits: Limits,
    pub(crate) outputs: OutputRows,
    pub(crate) reserved: Memory,
    threads: Arc<ThreadPool>,
    abort: AbortFlag,
    pub(crate) model: Arc<Model>,
}

// SAFETY: a `llama_context` has no ties to the thread that made it; `Context` is not `Sync` and all computing takes
// `&mut self`, so one thread at a time uses it. The thread pool that contexts may share is locked while one computes.
unsafe impl Send for Context {}

impl Context {
    /// Reserves the memory for `shape` over `model`.
    ///
    /// The KV cache is one pool for all sequences ("unified"), in f16. Logits are reserved for `output_rows` rows
    /// instead of for a whole batch, which saves hundreds of megabytes with a large vocabulary.
    ///
    /// # Errors
    /// Every [`ContextError`].
    pub fn new(model: Arc<Model>, shape: ContextShape) -> Result<Self, ContextError> {
        shape.check()?;
        let threads = ThreadPool::new(shape.thread_count).ok_or(ContextError::Threads)?;
        Self::with_threads(model, shape, Arc::new(threads))
    }

    /// A second context over the same model that computes with the same threads, one of the two at a time.
    ///
    /// Made for answers that must come out the same bit for bit whatever else the machine does. On a CPU these decide
    /// the bits (found in ggml's kernels and measured, `tests/strict.rs`), so a reproducible answer fixes them:
    ///
    /// 1. *The weights, this build, and the kind of CPU*: kernels are chosen by instruction set.
    /// 2. *`thread_count`*. A row computed alone over 512 cells or more has its attention split among the threads,
    ///    each with a part of the cells. Below that the count does not matter.
    /// 3. *Rows of each call to `decode`*: the same prompt in the same chunks, then one token at a time with nothing
    ///    beside it, and logits asked for the same rows. Matrix products take other ways for one row than for several,
    ///    and attention for fewer than 64 rows than for 64 or more. (Chunks of 64 and of 128 do agree, up to a
    ///    ragged end of the prompt: fixed chunks that are multiples of 64 are a good choice.)
    /// 4. *Cells*: the answer's sequence is alone in the context and begins at its first cell. [`Context::clear`], or
    ///    forgetting the only sequence, makes it so; what the memory held before has no influence. Another sequence in
    ///    the cache, even one at rest, moves the cells, and with them the tiles of 64 and the split of 2.
    /// 5. *The end of the context*: cells are scanned up to a multiple of 256 or to the end of the cache, so
    ///    `context_tokens` should stay the same. Sequence number, `batch_tokens` (if no chunk is cut), `output_rows`
    ///    and the rest of `context_tokens` do not matter.
    ///
    /// A prefix may come from [`Context::save`] or [`Context::save_range`] if it was computed under the same
    /// conditions and is restored into a cleared context, in order: the bits go on as if it had been computed. What
    /// runs in other contexts at the same time has no influence; the two take turns, a whole `decode` each.
    ///
    /// # Errors
    /// Every [`ContextError`]; `thread_count` must not be above that of the first context.
    pub fn beside(&self, shape: ContextShape) -> Result<Self, ContextError> {
        if shape.thread_count > self.threads.thread_count() {
            return Err(ContextError::Shape(shape));
        }
        Self::with_threads(self.model.clone(), shape, self.threads.clone())
    }

    fn with_threads(
        model: Arc<Model>,
        shape: ContextShape,
        threads: Arc<ThreadPool>,
    ) -> Result<Self, ContextError> {
        initialise();
        shape.check()?;
        if model.purpose() != Purpose::Text {
            return Err(ContextError::Refused);
        }
        let thread_count = i32::try_from(shape.thread_count).map_err(|_| ContextError::Shape(shape))?;
        let abort = AbortFlag::default();
        let params = params_of(shape, thread_count, &abort);
        let (raw, reserved) = measure(|| {
            // SAFETY: the model is alive and kept so by `model`; `params` hold defaults, checked numbers, and a
            // callback whose data lives in `abort`, which outlives the context.
            unsafe { sys::llama_init_from_model(model.raw(), params) }
        });
        let raw = NonNull::new(raw).ok_or(ContextError::Refused)?;
        // SAFETY: context and pool are alive, and the pool is freed after the context. Null: one pool for both uses.
        unsafe { sys::llama_attach_threadpool(raw.as_ptr(), threads.raw(), std::ptr::null_mut()) };
        // SAFETY: the context is alive; its memory lives as long as itself.
        let memory = unsafe { sys::llama_get_memory(raw.as_ptr()) };
        let limits = limits_of(raw, &model, shape);
        let context = Self {
            raw,
            memory,
            limits,
            outputs: OutputRows::default(),
            reserved: Memory {
                weights: model.tensor_bytes(),
                ..reserved
            },
            threads,
            abort,
            model,
        };
        if context.memory.is_null() {
            Err(ContextError::Refused)
        } else {
            Ok(context)
        }
    }

    /// Computes with `thread_count` threads from now on, the calling one counted.
    ///
    /// Up to the size of the pool this costs nothing and the rest of the pool sleeps. Beyond it, this context gets a
    /// larger pool of its own; contexts that shared the old one keep that.
    ///
    /// # Errors
    /// [`ContextError::Threads`] for none, too many, or when they cannot be started; all is as before.
    pub fn set_threads(&mut self, thread_count: u32) -> Result<(), ContextError> {
        let count = (1..=THREAD_COUNT_MAX)
            .contains(&thread_count)
            .then(|| i32::try_from(thread_count).ok())
            .flatten()
            .ok_or(ContextError::Threads)?;
        if thread_count > self.threads.thread_count() {
            let larger = Arc::new(ThreadPool::new(thread_count).ok_or(ContextError::Threads)?);
            // SAFETY: context and pool are alive, nothing computes, and the pool is freed after the context.
            unsafe { sys::llama_attach_threadpool(self.raw.as_ptr(), larger.raw(), std::ptr::null_mut()) };
            // The old pool goes only now, when the context no longer points to it.
            self.threads = larger;
        }
        // SAFETY: the context is alive and computes nothing; both counts are in range.
        unsafe { sys::llama_set_n_threads(self.raw.as_ptr(), count, count) };
        Ok(())
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

    pub(crate) fn threads(&self) -> &Arc<ThreadPool> {
        &self.threads
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
        let turn = self.threads.turn();
        let compute = || {
            // SAFETY: `self.raw` is freed only in `Drop`, and `&mut self` excludes any other call on it. The batch is
            // borrowed until return; row count, tokens, sequences and outputs were checked in `Batch::push` against
            // the limits of this context, which is what llama.cpp would abort on.
            unsafe { sys::llama_decode(self.raw.as_ptr(), raw_batch) }
        };
        let status = hold_logs(compute, |status| *status != ABORTED);
        drop(turn);
        match status {
            0 => {
                self.take_outputs(batch);
                Ok(Decoded::Computed)
            }
            1 => Ok(Decoded::NoRoom),
            ABORTED => Ok(Decoded::Aborted),
            -1 => Err(DecodeError::Refused),
            other => Err(DecodeError::Failed(other)),
        }
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

impl ContextShape {
    /// Whether llama.cpp can make it; beyond these bounds it aborts or overflows.
    fn check(self) -> Result<(), ContextError> {
        let is_possible = (1..=CONTEXT_TOKENS_MAX).contains(&self.context_tokens)
            && (1..=SEQUENCE_COUNT_MAX).contains(&self.sequence_count)
            && (self.sequence_count..=CONTEXT_TOKENS_MAX).contains(&self.batch_tokens)
            && (1..=self.batch_tokens).contains(&self.output_rows)
            && (1..=THREAD_COUNT_MAX).contains(&self.thread_count);
        is_possible.then_some(()).ok_or(ContextError::Shape(self))
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
    params.n_outputs_max = shape.output_rows.max(shape.sequence_count);
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
        output_count_max: usize::try_from(shape.output_rows).unwrap_or(0),
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
