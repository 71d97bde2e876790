//! From an order and a descriptor to a context that computes.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use jingui_ipc::engine::Load;
use jingui_llama::{BatchError, Context, ContextError, ContextShape, Decoded, LoadError, Model, Purpose};

use crate::codes;
use crate::tier::{Shape, Tiers};

/// Most rows of one step.
pub const BATCH_TOKENS: u32 = 512;
/// Most streams at once: half of what llama.cpp has sequences for; the other half is for cached prefixes.
pub const STREAM_COUNT_MAX: u32 = 128;
/// Sequences that hold cached prefixes when all streams run.
pub const CACHED_SEQUENCE_COUNT: u32 = 64;
/// Rows of a step that may want logits beyond one for each stream: guesses to be judged.
pub const DRAFT_ROWS: u32 = 32;
/// The sequence through which blocks go to the tiers and come back.
const SCRATCH_SEQUENCE_COUNT: u32 = 1;

/// Most threads that ggml takes; a larger machine is used in part.
const THREAD_COUNT_MAX: u32 = 512;

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum LoadFailure {
    /// The file behind the descriptor is not the one that was signed.
    #[error("the weights have {found} bytes, the signature covers {signed}")]
    Size {
        /// Bytes as signed.
        signed: u64,
        /// Bytes on the descriptor.
        found: u64,
    },
    /// The descriptor cannot be examined.
    #[error("the weights cannot be examined")]
    Unreadable(#[source] std::io::Error),
    /// llama.cpp does not take the weights.
    #[error("the model was not loaded")]
    Model(#[source] LoadError),
    /// Streams, context or threads are out of range.
    #[error(
        "{stream_count} streams of {stream_context_tokens} tokens on {thread_count} threads are out of range"
    )]
    Shape {
        /// Streams asked for.
        stream_count: u32,
        /// Tokens of each asked for.
        stream_context_tokens: u32,
        /// Threads asked for.
        thread_count: u32,
    },
    /// The context was not made.
    #[error("the context was not made")]
    Context(#[source] ContextError),
    /// The trial step failed; llama.cpp's reason is in the log.
    #[error("the first token could not be computed")]
    Trial,
}

impl LoadFailure {
    /// Never changes once released: manual, console and scripts rely on it.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Size { .. } => codes::LOAD_SIZE,
            Self::Unreadable(_) | Self::Model(LoadError::Descriptor(_)) => codes::LOAD_UNREADABLE,
            Self::Model(LoadError::NotADecoder) => codes::LOAD_UNSUPPORTED,
            Self::Model(LoadError::Refused | LoadError::Stopped) => codes::LOAD_REFUSED,
            Self::Shape { .. } | Self::Context(ContextError::Shape(_)) => codes::LOAD_SHAPE,
            Self::Context(ContextError::Refused | ContextError::Threads) => codes::LOAD_MEMORY,
            Self::Trial => codes::LOAD_COMPUTE,
        }
    }
}

/// A context that has computed one token, with the shape that was really made.
#[derive(Debug)]
pub struct Loaded {
    /// The context.
    pub context: Context,
    /// Streams at once.
    pub stream_count: u32,
    /// Context of one stream in tokens; never longer than the model was trained for.
    pub stream_context_tokens: u32,
    /// Sequences for streams and cached prefixes. The one behind them is the scratch sequence.
    pub pool_sequences: u32,
    /// Rows of a step that may want logits.
    pub output_rows: u32,
    /// Threads that compute.
    pub thread_count: u32,
    /// The tiers of the prefix cache behind the pool.
    pub tiers: Tiers,
    /// What blocks of these tiers depend on besides tokens.
    pub state_shape: Shape,
}

/// Maps the weights, reserves the context and computes one token.
///
/// The KV pool is reserved here, and the scheduler admits a stream only when its share of it is free.
/// `progress` gets 0 to 1 and may return `false` to stop.
///
/// # Errors
/// Every [`LoadFailure`].
pub fn load(
    order: &Load,
    weights: OwnedFd,
    disk: Option<OwnedFd>,
    progress: impl FnMut(f32) -> bool,
) -> Result<Loaded, LoadFailure> {
    let weights = File::from(weights);
    let found = weights.metadata().map_err(LoadFailure::Unreadable)?.len();
    if found != order.weights_bytes {
        return Err(LoadFailure::Size {
            signed: order.weights_bytes,
            found,
        });
    }
    let out_of_range = LoadFailure::Shape {
        stream_count: order.stream_count,
        stream_context_tokens: order.stream_context_tokens,
        thread_count: order.thread_count,
    };
    if !(1..=STREAM_COUNT_MAX).contains(&order.stream_count) || order.stream_context_tokens == 0 {
        return Err(out_of_range);
    }
    let model = Arc::new(Model::load(weights.into(), progress).map_err(LoadFailure::Model)?);
    if model.purpose() != Purpose::Text {
        return Err(LoadFailure::Model(LoadError::NotADecoder));
    }
    let trained = model.trained_context_tokens();
    let stream_context_tokens = if trained == 0 {
        order.stream_context_tokens
    } else {
        order.stream_context_tokens.min(trained)
    };
    let Some(context_tokens) = pool_tokens(order, stream_context_tokens) else {
        return Err(out_of_range);
    };
    let pool_sequences = order.stream_count + CACHED_SEQUENCE_COUNT;
    let sequence_count = pool_sequences + SCRATCH_SEQUENCE_COUNT;
    let thread_count = order.thread_count.min(THREAD_COUNT_MAX);
    // llama.cpp asks for a row for each sequence; rows that are never used take no memory.
    let output_rows = (order.stream_count + DRAFT_ROWS).max(sequence_count);
    let shape = ContextShape {
        context_tokens,
        sequence_count,
        batch_tokens: BATCH_TOKENS,
        output_rows,
        thread_count,
    };
    let mut context = Context::new(model, shape).map_err(LoadFailure::Context)?;
    compute_one_token(&mut context)?;
    // Without a disk tier no block outlives this worker and its weights.
    let weights_digest = order
        .disk_tier
        .as_ref()
        .map_or([0; 32], |tier| tier.weights_sha256);
    let state_shape = Shape::of(&[
        &weights_digest,
        &order.weights_bytes.to_le_bytes(),
        env!("CARGO_PKG_VERSION").as_bytes(),
        jingui_llama::system_facts().as_bytes(),
    ]);
    let disk = disk.map(File::from).zip(order.disk_tier.as_ref());
    let tiers = Tiers::open(state_shape, order.host_tier_bytes, disk);
    Ok(Loaded {
        context,
        stream_count: order.stream_count,
        stream_context_tokens,
        pool_sequences,
        output_rows,
        thread_count,
        tiers,
        state_shape,
    })
}

/// Cells of the KV pool: as ordered, at least one stream's context, and less in the same measure when the context
/// became shorter than ordered.
fn pool_tokens(order: &Load, stream_context_tokens: u32) -> Option<u32> {
    let ordered = u64::from(order.kv_tokens) * u64::from(stream_context_tokens);
    let tokens = ordered.checked_div(u64::from(order.stream_context_tokens))?;
    Some(u32::try_from(tokens).ok()?.max(stream_context_tokens))
}

/// Pages in the weights' hot parts and shows that this machine can compute this model, before anybody waits for it.
fn compute_one_token(context: &mut Context) -> Result<(), LoadFailure> {
    let token = context.model().token(0).ok_or(LoadFailure::Trial)?;
    let mut batch = context.batch();
    let row = batch
        .push(token, 0, 0, true)
        .map_err(|_: BatchError| LoadFailure::Trial)?;
    if context.decode(&mut batch) != Ok(Decoded::Computed) {
        return Err(LoadFailure::Trial);
    }
    let is_sound = context
        .logits(row)
        .is_ok_and(|logits| logits.iter().any(|logit| logit.is_finite()));
    if !is_sound || context.forget(0, 0).is_err() {
        return Err(LoadFailure::Trial);
    }
    Ok(())
}
