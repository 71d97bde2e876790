//! The memory plan: what a model takes on this machine, before anything is loaded.
//!
//! Pure: it is told what the pre-check found in the weights, what the machine has, and what somebody who measures wants;
//! it gives a [`Plan`] that fits, or a [`PlanRefusal`] in numbers. One number is chosen, the cells of the KV pool; all
//! else follows from it. The pool is shared: a stream may be as long as the pool, since the engine admits a request only
//! with its whole share of cells reserved, so many short streams or few long ones run in the same memory.
//!
//! | part | is |
//! |---|---|
//! | weights | the file: read into memory, most of it in the layout that this processor computes fastest |
//! | KV pool | cells times bytes of a cell |
//! | compute | logits of the rows that may want them, twice (graph and output), intermediate results of the widest step, the mask of one step over the pool |
//! | strict lane | a context for one stream with its own cells and compute buffers: made when first asked for, counted always |
//! | host tier | prefixes that left the pool; a share of what is left |

use std::num::NonZeroU32;

use jingui_ipc::engine::{DiskTier, Load};
use jingui_pack::GgufFacts;

/// Streams that run at once.
pub(crate) const STREAMS_MAX: u32 = 8;
/// What eight streams use of the pool before a longer context is thought of: 8,192 tokens each.
pub(crate) const STREAM_TOKENS: u32 = 8_192;
/// Least context worth serving, in tokens.
pub(crate) const CONTEXT_TOKENS_MIN: u32 = 512;
/// llama.cpp rounds the cells of a pool up to a multiple of this.
const CELLS_STEP: u32 = 256;

/// Rows of one step of the engine (`BATCH_TOKENS` there).
const BATCH_TOKENS: u64 = 512;
/// Sequences that the engine has beside those of streams: cached prefixes and one for moving; a row of logits is
/// reserved for each.
const CACHED_SEQUENCES: u64 = 65;
/// Bytes of the mask of one row over one cell, in f16 as flash attention takes it.
const MASK_CELL_BYTES: u64 = 2;
/// What ggml takes beside all that: graphs, thread pools, the vocabulary.
const FIXED_BYTES: u64 = 64 << 20;
/// Bytes of a number in a compute buffer.
const F32_BYTES: u64 = 4;

/// Left for the system, gateway and supervisor: a sixteenth of the machine, within these.
const RESERVE_SHARE: u64 = 16;
const RESERVE_BYTES_MIN: u64 = 256 << 20;
const RESERVE_BYTES_MAX: u64 = 4 << 30;
/// Of what is left after the smallest pool, the pool may take three quarters; the host tier gets half of the rest. The
/// engine fills it as prefixes leave the pool.
const POOL_SHARE: (u64, u64) = (3, 4);
const HOST_TIER_SHARE: u64 = 2;
/// Most bytes of the host tier.
const HOST_TIER_BYTES_MAX: u64 = 16 << 30;
/// The disk tier takes that part of the free disk, within these; below the least there is none.
const DISK_TIER_SHARE: u64 = 4;
const DISK_TIER_BYTES_MIN: u64 = 64 << 20;
const DISK_TIER_BYTES_MAX: u64 = 16 << 30;

/// What somebody who measures wants; what is not said is planned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// Threads for computing.
    pub(crate) thread_count: Option<NonZeroU32>,
    /// Streams that run at once.
    pub(crate) stream_count: Option<NonZeroU32>,
    /// Context of one stream in tokens.
    pub(crate) stream_context_tokens: Option<NonZeroU32>,
    /// KV cells of the pool.
    pub(crate) kv_tokens: Option<NonZeroU32>,
}

/// Sizes of a model, as the pre-check found them in its verified weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Bytes of the file.
    pub(crate) weights_bytes: u64,
    /// Bytes of one cell of the KV pool.
    pub(crate) cell_bytes: u64,
    /// Trained context in tokens.
    pub(crate) context_tokens: u32,
    /// Tokens of the vocabulary.
    pub(crate) vocabulary: u32,
    /// Width of the embedding.
    pub(crate) embedding: u32,
    /// Width of the feed-forward part.
    pub(crate) feed_forward: u32,
}

/// What the machine has now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// Memory in all.
    pub(crate) memory_bytes: u64,
    /// Memory that could be had now; page cache counts as free.
    pub(crate) available_bytes: u64,
    /// What an engine that runs beside was promised and does not hold yet, or holds as page cache that counts as free.
    pub(crate) beside_bytes: u64,
    /// Free disk for the disk tier.
    pub(crate) disk_bytes: u64,
}

/// How a model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Streams that run at once.
    pub(crate) stream_count: u32,
    /// Context of one stream in tokens.
    pub(crate) context_tokens: u32,
    /// KV cells of the pool.
    pub(crate) kv_tokens: u32,
    /// Bytes by what they are for.
    pub(crate) parts: Parts,
    /// Most bytes of the disk tier; 0 for none.
    pub(crate) disk_tier_bytes: u64,
}

/// Bytes of a plan by what they are for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Weights.
    pub(crate) weights: u64,
    /// KV pool.
    pub(crate) kv: u64,
    /// Compute buffers and logits.
    pub(crate) compute: u64,
    /// The strict lane: cells and compute buffers.
    pub(crate) strict: u64,
    /// Host tier.
    pub(crate) host_tier: u64,
}

/// There is not enough memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{needs_bytes} bytes are needed and {free_bytes} are free")]
pub(crate) struct PlanRefusal {
    /// Bytes of what was asked for, or of the smallest that is worth serving.
    pub(crate) needs_bytes: u64,
    /// Bytes that may be taken.
    pub(crate) free_bytes: u64,
    /// Longest context with which it would be loaded, if any.
    pub(crate) context_tokens: Option<u32>,
}

impl Needs {
    /// As the pre-check found them.
    pub(crate) const fn of(facts: &GgufFacts) -> Self {
        Self {
            weights_bytes: facts.byte_count,
            cell_bytes: facts.kv_bytes_per_token,
            context_tokens: facts.context_tokens,
            vocabulary: facts.token_count,
            embedding: facts.embedding_length,
            feed_forward: facts.feed_forward_length,
        }
    }

    fn compute_bytes(&self, rows: u64, output_rows: u64, cells: u64) -> u64 {
        let logits = output_rows
            .saturating_mul(u64::from(self.vocabulary))
            .saturating_mul(2 * F32_BYTES);
        // What lives at once in the widest layer: residual stream, its norm, queries, answer; gate and up.
        let width = u64::from(self.embedding)
            .saturating_mul(4)
            .saturating_add(u64::from(self.feed_forward).saturating_mul(2));
        let values = rows.saturating_mul(width).saturating_mul(F32_BYTES);
        let mask = rows.saturating_mul(cells).saturating_mul(MASK_CELL_BYTES);
        logits.saturating_add(values).saturating_add(mask)
    }

    /// What a pool of that many cells takes, and all that comes with it.
    fn parts(&self, stream_count: u32, kv_tokens: u32) -> Parts {
        let cells = u64::from(kv_tokens.div_ceil(CELLS_STEP)) * u64::from(CELLS_STEP);
        let own = u64::from(kv_tokens.min(self.context_tokens.max(1)));
        let output_rows = u64::from(stream_count).saturating_add(CACHED_SEQUENCES);
        Parts {
            weights: self.weights_bytes,
            kv: cells.saturating_mul(self.cell_bytes),
            compute: self
                .compute_bytes(BATCH_TOKENS, output_rows, cells)
                .saturating_add(FIXED_BYTES),
            strict: own
                .saturating_mul(self.cell_bytes)
                .saturating_add(self.compute_bytes(BATCH_TOKENS, 1, own)),
            host_tier: 0,
        }
    }
}

impl Parts {
    /// All of it.
    pub(crate) const fn total(&self) -> u64 {
        self.weights
            .saturating_add(self.kv)
            .saturating_add(self.compute)
            .saturating_add(self.strict)
            .saturating_add(self.host_tier)
    }
}

impl Room {
    /// Bytes that a plan may take.
    pub(crate) fn free_bytes(&self) -> u64 {
        let reserve = (self.memory_bytes / RESERVE_SHARE).clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX);
        self.available_bytes
            .saturating_sub(reserve)
            .saturating_sub(self.beside_bytes)
    }
}

/// Plans a load.
///
/// # Errors
/// [`PlanRefusal`] when what is wished for, or the smallest context, does not fit.
pub(crate) fn plan(needs: &Needs, room: &Room, wishes: &Wishes) -> Result<Plan, PlanRefusal> {
    let free = room.free_bytes();
    let stream_count = wishes.stream_count.map_or(STREAMS_MAX, NonZeroU32::get);
    let trained = needs.context_tokens.max(1);
    let total = |tokens: u32| needs.parts(stream_count, tokens).total();
    let least = match (wishes.stream_context_tokens, wishes.kv_tokens) {
        (Some(context), pool) => context.get().min(trained).max(pool.map_or(0, NonZeroU32::get)),
        (None, Some(pool)) => pool.get(),
        (None, None) => trained.min(CONTEXT_TOKENS_MIN),
    };
    if total(least) > free {
        return Err(PlanRefusal {
            needs_bytes: total(least),
            free_bytes: free,
            context_tokens: largest(1, trained.min(least), |tokens| total(tokens) <= free)
                .filter(|tokens| *tokens >= trained.min(CONTEXT_TOKENS_MIN)),
        });
    }
    let most = trained.max(stream_count.saturating_mul(STREAM_TOKENS.min(trained)));
    let budget = part(free - total(least), POOL_SHARE).saturating_add(total(least));
    let kv_tokens = match wishes.kv_tokens {
        Some(_) => least,
        None => largest(least, most.max(least), |tokens| total(tokens) <= budget).unwrap_or(least),
    };
    let context_tokens = match wishes.stream_context_tokens {
        Some(context) => context.get().min(trained),
        None => kv_tokens.min(trained),
    };
    let mut parts = needs.parts(stream_count, kv_tokens);
    parts.host_tier = ((free - parts.total()) / HOST_TIER_SHARE).min(HOST_TIER_BYTES_MAX);
    let disk = (room.disk_bytes / DISK_TIER_SHARE).min(DISK_TIER_BYTES_MAX);
    Ok(Plan {
        stream_count,
        context_tokens,
        kv_tokens,
        parts,
        disk_tier_bytes: if disk < DISK_TIER_BYTES_MIN { 0 } else { disk },
    })
}

/// Largest number from `low` to `high` that fits, where everything below one that fits fits too.
fn largest(low: u32, high: u32, fits: impl Fn(u32) -> bool) -> Option<u32> {
    if !fits(low) {
        return None;
    }
    let (mut good, mut bad) = (low, high.saturating_add(1));
    if fits(high) {
        return Some(high);
    }
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if fits(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    // Round numbers are easier to say, and cells come in steps anyway.
    Some((good / CELLS_STEP * CELLS_STEP).max(low))
}

fn part(bytes: u64, (numerator, denominator): (u64, u64)) -> u64 {
    bytes / denominator * numerator
}

impl Plan {
    /// The order to the engine.
    pub(crate) fn load(&self, thread_count: u32, disk_tier: Option<DiskTier>) -> Load {
        let mut load = Load::new(
            self.parts.weights,
            thread_count,
            self.stream_count,
            self.context_tokens,
        );
        load.kv_tokens = self.kv_tokens;
        load.host_tier_bytes = self.parts.host_tier;
        load.disk_tier = disk_tier;
        load
    }

    /// Whether it is worth running for as long as the other engine drains and after: at least half the pool that the
    /// model would get alone.
    pub(crate) const fn is_worth_beside(&self, alone: &Self) -> bool {
        self.kv_tokens >= alone.kv_tokens / 2 && self.stream_count >= alone.stream_count
    }

    /// One line for whoever runs the box.
    pub(crate) fn describe(&self) -> String {
        format!(
            "{} streams of up to {} tokens in a pool of {}; weights {}, pool {}, computing {}, strict lane {}, host tier {}, disk tier {}",
            self.stream_count,
            self.context_tokens,
            self.kv_tokens,
            gibibytes(self.parts.weights, Round::Up),
            gibibytes(self.parts.kv, Round::Up),
            gibibytes(self.parts.compute, Round::Up),
            gibibytes(self.parts.strict, Round::Up),
            gibibytes(self.parts.host_tier, Round::Up),
            gibibytes(self.disk_tier_bytes, Round::Up),
        )
    }
}

impl PlanRefusal {
    /// Stable code.
    pub(crate) const fn code(&self) -> &'static str {
        match self.context_tokens {
            Some(_) => "engine.plan.memory",
            None => "engine.plan.weights",
        }
    }

    /// Facts for the words: what is needed rounded up, what is free rounded down, so that they never look equal.
    pub(crate) fn facts(&self) -> Vec<(String, String)> {
        let mut facts = vec![
            ("needs".to_owned(), gibibytes(self.needs_bytes, Round::Up)),
            ("free".to_owned(), gibibytes(self.free_bytes, Round::Down)),
        ];
        if let Some(context) = self.context_tokens {
            facts.push(("context".to_owned(), context.to_string()));
        }
        facts
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    Up,
    Down,
}

/// For example `21.3 GiB`.
fn gibibytes(bytes: u64, round: Round) -> String {
    const TENTH: u64 = (1 << 30) / 10;
    let tenths = match round {
        Round::Up => bytes.div_ceil(TENTH),
        Round::Down => bytes / TENTH,
    };
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

/// Bytes that an engine which runs beside still claims: what it was promised less what it holds as memory of its own.
/// Mapped weights count as free to the kernel, and a tier that is not full yet is free.
pub(crate) const fn claim(planned_bytes: u64, held_bytes: u64) -> u64 {
    planned_bytes.saturating_sub(held_bytes)
}

/// Who computes with how many threads, of all that there are. A candidate that only answers golden prompts takes a
/// quarter from the one that serves people; one that drains shares evenly with its successor. Nobody has none.
pub(crate) fn threads(all: u32, seat: Share) -> u32 {
    let all = all.max(1);
    let quarter = (all / 4).max(1);
    let half = (all / 2).max(1);
    match seat {
        Share::Alone => all,
        Share::BesideCandidate => all.saturating_sub(quarter).max(1),
        Share::Candidate => quarter,
        Share::BesideRetiring => all.saturating_sub(half).max(1),
        Share::Retiring => half,
    }
}

/// Beside whom an engine computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// Nobody.
    Alone,
    /// It serves people while a candidate is tried.
    BesideCandidate,
    /// It is tried.
    Candidate,
    /// It serves people while the one before drains.
    BesideRetiring,
    /// It drains.
    Retiring,
}

/// Threads for computing, where nobody says otherwise: one less than can run at once. ggml's threads spin while they wait
/// for each other, so one that shares its processor with the gateway holds all of them up (docs/performance.md).
pub(crate) fn thread_count() -> u32 {
    let all = std::thread::available_parallelism()
        .map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX));
    all.saturating_sub(1).max(1)
}

/// Memory in all and memory that could be had now; without an answer of the kernel, little.
pub(crate) fn memory() -> (u64, u64) {
    const UNKNOWN_BYTES: u64 = 4 << 30;
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let of = |name| field(&text, name).unwrap_or(UNKNOWN_BYTES);
    (of("MemTotal:"), of("MemAvailable:"))
}

/// Memory of its own that a process holds: not what it maps of files.
pub(crate) fn held_bytes(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    field(&text, "RssAnon:").unwrap_or(0)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kilobytes.saturating_mul(1024))
}

#[cfg(test)]
mod tests;
