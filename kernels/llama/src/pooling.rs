//! Models that answer with numbers: an embedding for each text, or a score for each pair of texts.

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use llama_cpp_sys_2 as sys;

use crate::backend::initialise;
use crate::context::ContextError;
use crate::model::Model;
use crate::rows::Rows;
use crate::threads::ThreadPool;
use crate::vocab::Token;

/// What a model is for, by the metadata of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Making text, token by token.
    Text,
    /// A vector for each text.
    Embedding,
    /// A score for each text, as a rule a question and a document in one.
    Rerank,
}

/// How the vectors of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The vector of the first token.
    First,
    /// The vector of the last token.
    Last,
    /// The output of a classification head.
    Rank,
}

/// What to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PooledShape {
    /// Most tokens of all texts of one call.
    pub batch_tokens: u32,
    /// Most texts of one call.
    pub text_count: u32,
    /// Threads that compute, the calling one counted.
    pub thread_count: u32,
}

/// Why texts were not computed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PooledError {
    /// More texts than the shape has.
    #[error("{0} texts are too many")]
    TooManyTexts(usize),
    /// More tokens than the shape has, or a text longer than the model was trained for.
    #[error("{0} tokens are too many")]
    TooLong(usize),
    /// A text has no tokens.
    #[error("a text has no tokens")]
    Empty,
    /// The token is of a larger vocabulary.
    #[error("token {0} is not in the vocabulary")]
    NoSuchToken(u32),
    /// Computing failed.
    #[error("computing failed with status {0}")]
    Failed(i32),
    /// llama.cpp gave no result for a text.
    #[error("there is no result for text {0}")]
    Missing(usize),
}

/// Most sequences of one context (`LLAMA_MAX_SEQ`).
const TEXT_COUNT_MAX: u32 = 256;
/// Most tokens of one call.
const BATCH_TOKENS_MAX: u32 = 1 << 20;

/// Computes embeddings or scores over one model. Keeps nothing between calls. Owned by one thread at a time.
pub struct PooledContext {
    // The context is freed first (in `drop`), then what it points to.
    raw: NonNull<sys::llama_context>,
    shape: PooledShape,
    pooling: Pooling,
    width: usize,
    threads: ThreadPool,
    model: Arc<Model>,
}

// SAFETY: a `llama_context` has no ties to the thread that made it, and all use takes `&mut self`.
unsafe impl Send for PooledContext {}

impl PooledContext {
    /// Reserves memory for `shape` over `model`.
    ///
    /// # Errors
    /// [`ContextError::Refused`] also for a model that is for text or does not say how to pool. No variant names this
    /// shape, so one out of range is `Refused` as well.
    pub fn new(model: Arc<Model>, shape: PooledShape) -> Result<Self, ContextError> {
        initialise();
        let is_possible = (1..=TEXT_COUNT_MAX).contains(&shape.text_count)
            && (shape.text_count..=BATCH_TOKENS_MAX).contains(&shape.batch_tokens);
        if !is_possible || model.purpose() == Purpose::Text {
            return Err(ContextError::Refused);
        }
        let threads = ThreadPool::new(shape.thread_count).ok_or(ContextError::Threads)?;
        let thread_count = i32::try_from(shape.thread_count).map_err(|_| ContextError::Threads)?;
        // SAFETY: fills a plain struct with defaults; no preconditions.
        let mut params = unsafe { sys::llama_context_default_params() };
        params.n_ctx = shape.batch_tokens;
        params.n_batch = shape.batch_tokens;
        // A text that attends in both directions must be computed in one piece.
        params.n_ubatch = shape.batch_tokens;
        params.n_seq_max = shape.text_count;
        params.n_threads = thread_count;
        params.n_threads_batch = thread_count;
        params.embeddings = true;
        if model.purpose() == Purpose::Rerank {
            params.pooling_type = sys::LLAMA_POOLING_TYPE_RANK;
        }
        params.kv_unified = true;
        params.no_perf = true;
        // SAFETY: the model is alive and kept so by `model`; `params` hold defaults and checked numbers.
        let raw = unsafe { sys::llama_init_from_model(model.raw(), params) };
        let raw = NonNull::new(raw).ok_or(ContextError::Refused)?;
        // SAFETY: context and pool are alive, and the pool is freed after the context.
        unsafe { sys::llama_attach_threadpool(raw.as_ptr(), threads.raw(), std::ptr::null_mut()) };
        // SAFETY: the context is alive.
        let pooling = pooling_of(unsafe { sys::llama_pooling_type(raw.as_ptr()) });
        let mut context = Self {
            raw,
            shape,
            pooling: Pooling::Mean,
            width: 0,
            threads,
            model,
        };
        context.pooling = pooling.ok_or(ContextError::Refused)?;
        context.width = context.model.pooled_width(context.pooling);
        if context.width == 0 {
            return Err(ContextError::Refused);
        }
        Ok(context)
    }

    /// How this model pools.
    #[must_use]
    pub fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// Numbers for each text: the size of an embedding, or the classes of a head (one for a reranker).
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// The numbers of each text, as the model gives them: an embedding is not normalised, a score is no probability.
    ///
    /// Texts are complete as given, with the begin, end and separator tokens that the model wants.
    ///
    /// # Errors
    /// Every [`PooledError`].
    pub fn compute(&mut self, texts: &[&[Token]]) -> Result<Vec<Vec<f32>>, PooledError> {
        let mut rows = rows_of(texts, self.shape, &self.model)?;
        // SAFETY: the context is alive; null (a model without a KV cache) is asked for below.
        let memory = unsafe { sys::llama_get_memory(self.raw.as_ptr()) };
        if !memory.is_null() {
            // SAFETY: the memory lives as long as the context, and nothing computes.
            unsafe { sys::llama_memory_clear(memory, false) };
        }
        let batch = rows.as_raw();
        let turn = self.threads.turn();
        // SAFETY: the context is alive and used by nobody else. The batch is borrowed until return; tokens, sequences
        // and counts were checked against the shape in `rows_of`, which is what llama.cpp would abort on.
        let status = unsafe { sys::llama_decode(self.raw.as_ptr(), batch) };
        drop(turn);
        if status != 0 {
            return Err(PooledError::Failed(status));
        }
        // SAFETY: the context is alive. Waits until results are in place.
        unsafe { sys::llama_synchronize(self.raw.as_ptr()) };
        (0..texts.len()).map(|text| self.result(text)).collect()
    }

    fn result(&self, text: usize) -> Result<Vec<f32>, PooledError> {
        let sequence = sys::llama_seq_id::try_from(text).map_err(|_| PooledError::Missing(text))?;
        // SAFETY: the context is alive; a sequence without a result gives null.
        let first = unsafe { sys::llama_get_embeddings_seq(self.raw.as_ptr(), sequence) };
        let first = NonNull::new(first).ok_or(PooledError::Missing(text))?;
        // SAFETY: llama.cpp keeps `width` floats there until the next call that computes; they are copied at once.
        let numbers = unsafe { std::slice::from_raw_parts(first.as_ptr(), self.width) };
        Ok(numbers.to_vec())
    }
}

impl Drop for PooledContext {
    fn drop(&mut self) {
        // SAFETY: made in `new`, freed only here; pool and model are fields and outlive this call.
        unsafe { sys::llama_free(self.raw.as_ptr()) };
    }
}

impl fmt::Debug for PooledContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledContext")
            .field("shape", &self.shape)
            .field("pooling", &self.pooling)
            .finish_non_exhaustive()
    }
}

/// All texts as one batch: text `i` is sequence `i`, and each row gives output.
fn rows_of(texts: &[&[Token]], shape: PooledShape, model: &Model) -> Result<Rows, PooledError> {
    let text_count_max = usize::try_from(shape.text_count).unwrap_or(0);
    let token_count_max = usize::try_from(shape.batch_tokens).unwrap_or(0);
    let trained = usize::try_from(model.trained_context_tokens()).unwrap_or(0);
    if texts.len() > text_count_max {
        return Err(PooledError::TooManyTexts(texts.len()));
    }
    let count: usize = texts.iter().map(|text| text.len()).sum();
    if count > token_count_max {
        return Err(PooledError::TooLong(count));
    }
    if texts.is_empty() || texts.iter().any(|text| text.is_empty()) {
        return Err(PooledError::Empty);
    }
    if let Some(text) = texts.iter().find(|text| trained > 0 && text.len() > trained) {
        return Err(PooledError::TooLong(text.len()));
    }
    let mut rows = Rows::with_capacity(count);
    for (sequence, text) in (0..).zip(texts) {
        for (position, token) in (0..).zip(*text) {
            if token.id() >= model.vocab_size() {
                return Err(PooledError::NoSuchToken(token.id()));
            }
            rows.push(token.raw(), position, sequence, true);
        }
    }
    Ok(rows)
}

fn pooling_of(raw: sys::llama_pooling_type) -> Option<Pooling> {
    match raw {
        sys::LLAMA_POOLING_TYPE_MEAN => Some(Pooling::Mean),
        sys::LLAMA_POOLING_TYPE_CLS => Some(Pooling::First),
        sys::LLAMA_POOLING_TYPE_LAST => Some(Pooling::Last),
        sys::LLAMA_POOLING_TYPE_RANK => Some(Pooling::Rank),
        _ => None,
    }
}

impl Model {
    /// What the model is for: the file says how it pools, or that it attends in both directions, or neither.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        let architecture = self.metadata("general.architecture").unwrap_or_default();
        let is_causal = self.metadata(&format!("{architecture}.attention.causal"));
        match self.metadata(&format!("{architecture}.pooling_type")).as_deref() {
            // Values of `llama_pooling_type`.
            Some("4") => Purpose::Rerank,
            // Converters write no pooling for classifiers, but the names of their classes.
            None if self.has_classes() => Purpose::Rerank,
            Some("1" | "2" | "3") => Purpose::Embedding,
            _ if is_causal.as_deref() == Some("false") => Purpose::Embedding,
            _ => Purpose::Text,
        }
    }

    fn has_classes(&self) -> bool {
        // SAFETY: the model lives as long as `self`; without labels the call gives null.
        let label = unsafe { sys::llama_model_cls_label(self.raw(), 0) };
        !label.is_null()
    }

    fn pooled_width(&self, pooling: Pooling) -> usize {
        if pooling == Pooling::Rank {
            // SAFETY: the model lives as long as `self`, and has a classification head.
            let classes = unsafe { sys::llama_model_n_cls_out(self.raw()) };
            usize::try_from(classes).unwrap_or(0)
        } else {
            // SAFETY: the model lives as long as `self`.
            let size = unsafe { sys::llama_model_n_embd_out(self.raw()) };
            usize::try_from(size).unwrap_or(0)
        }
    }
}
