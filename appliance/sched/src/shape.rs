//! What there is to share out, and the constants of the policy.

use crate::Micros;

/// How long a step may take while an interactive stream waits for its next token: it bounds the gap between two tokens.
pub const BUSY_STEP_TARGET_US: Micros = 150_000;
/// Rows of a step that attention computes in one piece on a CPU (ggml's `GGML_FA_TILE_Q`): it pays for a whole piece even
/// where few rows of it are used, and below one falls back to a row at a time. Measured on a prompt of 4k: steps of 33
/// rows take twice as long for the whole of it as steps of 64.
pub const TILE_ROWS: usize = 64;
/// How long a step may take if that is what its first piece needs.
pub const TILE_STEP_MAX_US: Micros = 450_000;
/// How long a step may take while prompts alone are computed: a request that comes in waits for the step's end.
pub const ALONE_STEP_TARGET_US: Micros = 300_000;
/// How long a step may take while there is one stream only: large steps are the cheapest.
pub const LONE_STEP_TARGET_US: Micros = 600_000;
/// Rows for prompts in each step that has any to compute, whatever the cost model says, so that prefill never starves.
pub const CHUNK_TOKENS_MIN: usize = 32;
/// A stream that has not moved for so long goes before shorter and more urgent ones.
pub const AGING_US: Micros = 5_000_000;
/// Rows of one chunk of a strict stream's prompt; its borders are multiples of it, whatever else runs.
pub const STRICT_CHUNK_TOKENS: usize = 64;
/// Tokens of a block of the host and disk tiers.
pub const TIER_BLOCK_TOKENS: usize = 128;
/// How long a stream waits for its blocks from the tiers before it computes them.
pub const TIER_PATIENCE_US: Micros = 2_000_000;
/// A cached prefix that nobody has asked for in so long leaves the pool for the tiers: attention looks at each cell in
/// use for each row, whoever it belongs to. (24k cells of others cost a lone stream a quarter of its speed, and the
/// beginning of a prompt nearly half, with nine layers of 1,024.)
pub const IDLE_US: Micros = 30_000_000;
/// Blocks handed to the tiers between two steps.
pub const SAVE_BLOCKS_PER_STEP: usize = 1;

/// Least gain in tokens for which a sequence is shared.
pub(crate) const SHARE_TOKENS_MIN: usize = 8;
/// Least gain in tokens for which a stream waits until another has computed its prefix.
pub(crate) const PARK_TOKENS_MIN: usize = 32;
/// Tokens of an answer for which room is reserved at first; more is reserved as the answer grows.
pub(crate) const COMPLETION_RESERVE_TOKENS: usize = 512;
/// By so many tokens a reservation grows.
pub(crate) const RESERVE_GROWTH_TOKENS: usize = 128;
/// A batch stream's prompt gets a chunk at least in each so many steps.
pub(crate) const BATCH_TURN_STEPS: u64 = 8;
/// What a row that makes a token weighs in a tenant's account; a row of a prompt weighs 1.
pub(crate) const DECODE_WEIGHT: u64 = 2;
/// By so many weighted rows a tenant has had more than another before its prompts give way to the other's tokens.
pub(crate) const AHEAD_ROWS: u64 = 512;
/// They get the time that making tokens takes, divided by this: a third of all.
pub(crate) const AHEAD_SHARE: Micros = 2;
/// A waiting stream for which there is no room may be passed by smaller ones for so long.
pub(crate) const PASSED_OVER_US: Micros = 10_000_000;
/// Most often that a waiting stream is told of its place.
pub(crate) const NOTICE_INTERVAL_US: Micros = 1_000_000;
/// Nodes of the tree above which neighbours are merged even if used differently.
pub(crate) const NODE_COUNT_MAX: usize = 4096;

/// What there is to share out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Most streams that run at once.
    pub running_max: usize,
    /// Sequences of the pool, numbered from 0: for running streams and for cached prefixes.
    pub sequence_count: u32,
    /// KV cells of the pool; at least one stream's context.
    pub kv_cells: usize,
    /// Most rows of a step.
    pub batch_rows: usize,
    /// Most rows of a step that give logits.
    pub output_rows: usize,
    /// Most tokens of one stream, prompt and answer.
    pub context_tokens: usize,
    /// Most streams that wait.
    pub waiting_max: usize,
    /// Most streams of one tenant that wait.
    pub waiting_per_tenant_max: usize,
    /// Whether there are tiers that take computed blocks.
    pub has_tiers: bool,
    /// Whether idle prefixes leave the pool after [`IDLE_US`]: when the tiers hold as much as the pool.
    pub idle_leaves: bool,
}

impl Shape {
    /// The shape with every number brought to where the scheduler can keep its promises.
    #[must_use]
    pub(crate) fn sound(self) -> Self {
        let running_max = self.running_max.max(1);
        Self {
            running_max,
            sequence_count: self
                .sequence_count
                .max(u32::try_from(running_max).unwrap_or(u32::MAX)),
            kv_cells: self.kv_cells.max(self.context_tokens),
            batch_rows: self.batch_rows.max(running_max),
            output_rows: self.output_rows.max(running_max),
            ..self
        }
    }
}
