//! What the engine computes next: step plan, fairness, admission, prefix tree.
//!
//! Pure logic. It opens no file and reads no clock: time comes in as microseconds, work goes out as a [`Step`], and what
//! became of it comes back as an [`Outcome`]. The same calls in the same order give the same steps, so the code that
//! serves is the code that is simulated (`tests/simulation`).
//!
//! Who owns what: the scheduler knows every sequence of the KV pool, which tokens it holds and which cells it shares
//! ([`Tree`]); the caller owns the pool itself and does what [`KvOp`]s say, in order, before it computes the rows.
//!
//! What must never happen, whatever is submitted, cancelled or fails: a stream that was admitted lacks room; a tenant
//! reads a prefix of another; a stream waits for ever.

mod admission;
mod cost;
pub mod draft;
mod estimate;
mod plan;
mod scheduler;
mod shape;
mod step;
mod stream;
mod strict;
mod tenant;
mod tree;

pub use cost::{CostModel, Load};
pub use draft::Drafter;
pub use estimate::Notice;
pub use scheduler::{Figures, Scheduler};
pub use shape::{
    AGING_US, ALONE_STEP_TARGET_US, BUSY_STEP_TARGET_US, CHUNK_TOKENS_MIN, IDLE_US, LONE_STEP_TARGET_US,
    SAVE_BLOCKS_PER_STEP, STRICT_CHUNK_TOKENS, Shape, TIER_BLOCK_TOKENS, TIER_PATIENCE_US, TILE_ROWS,
    TILE_STEP_MAX_US,
};
pub use step::{
    DraftRoom, Drafts, KvOp, Lane, NoDrafts, Outcome, Part, PartOutcome, Restored, Started, Step,
};
pub use stream::{CacheUse, Class, Refusal, Submission};
pub use tree::{Match, Tree};

/// Microseconds of the caller's monotonic clock.
pub type Micros = u64;
/// Names a stream; chosen by the caller, unique among the streams that are there.
pub type StreamKey = u64;
/// Names a tenant.
pub type TenantId = [u8; 16];
/// A sequence of the KV pool.
pub type SequenceId = u32;
/// Id of a token in the vocabulary.
pub type Token = u32;

/// `a` of `b`s as a number to calculate with. Counts here are far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) fn real(count: usize) -> f64 {
    count as f64
}

/// Microseconds as a number to calculate with.
#[expect(
    clippy::cast_precision_loss,
    reason = "half a century of microseconds is below 2^52"
)]
pub(crate) fn real_us(micros: Micros) -> f64 {
    micros as f64
}

/// The other way, and never negative or out of range.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and a week after the clamp"
)]
pub(crate) fn micros(value: f64) -> Micros {
    const WEEK: f64 = 7.0 * 24.0 * 3600.0 * 1e6;
    if value.is_finite() {
        value.clamp(0.0, WEEK) as Micros
    } else {
        0
    }
}
