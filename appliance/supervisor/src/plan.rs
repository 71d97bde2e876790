//! The memory plan: how a model is loaded on this machine.

use std::num::NonZeroU32;

use jingui_ipc::engine::Load;
use jingui_ipc::status::ModelFacts;

/// Streams that run at once, if memory allows.
pub(crate) const STREAMS_MAX: u32 = 8;
/// Context of one stream in tokens, if memory and model allow.
pub(crate) const STREAM_TOKENS_MAX: u32 = 8_192;
/// Least context worth serving, in tokens.
const STREAM_TOKENS_MIN: u32 = 512;
/// The caches may take that part of the memory.
const CACHE_SHARE: u64 = 4;

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

/// How to load a model on this machine: as many streams and as much context as a quarter of the memory holds.
pub(crate) fn load(facts: &ModelFacts, memory_bytes: u64, thread_count: u32, wishes: Wishes) -> Load {
    let mut stream_count = STREAMS_MAX;
    let mut tokens = facts.context_tokens.clamp(1, STREAM_TOKENS_MAX);
    let cache_bytes = |streams: u32, tokens: u32| {
        facts
            .kv_bytes_per_token
            .saturating_mul(u64::from(streams))
            .saturating_mul(u64::from(tokens))
    };
    let budget = memory_bytes / CACHE_SHARE;
    while cache_bytes(stream_count, tokens) > budget && (stream_count > 1 || tokens / 2 >= STREAM_TOKENS_MIN)
    {
        if stream_count > 1 {
            stream_count /= 2
        } else {
            tokens /= 2
        }
    }
    let stream_count = wishes.stream_count.map_or(stream_count, NonZeroU32::get);
    let tokens = wishes.stream_context_tokens.map_or(tokens, NonZeroU32::get);
    let thread_count = wishes.thread_count.map_or(thread_count, NonZeroU32::get);
    let mut load = Load::new(facts.weights_bytes, thread_count, stream_count, tokens);
    if let Some(kv_tokens) = wishes.kv_tokens {
        load.kv_tokens = kv_tokens.get().max(tokens);
    }
    load
}

/// Threads that can run at once.
pub(crate) fn thread_count() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX))
}

/// Memory that could be had now; without an answer of the kernel, little.
pub(crate) fn memory_bytes() -> u64 {
    const UNKNOWN_BYTES: u64 = 4 * 1024 * 1024 * 1024;
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.map_or(UNKNOWN_BYTES, |kilobytes| kilobytes.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::tests::facts;

    #[test]
    fn the_plan_fits_the_caches_into_a_quarter_of_the_memory() {
        let mut facts = facts();
        facts.context_tokens = 131_072;
        facts.kv_bytes_per_token = 1024 * 1024;
        let gib = 1024 * 1024 * 1024;
        for (memory, streams, tokens) in [
            (1_000 * gib, 8, 8_192),
            (64 * gib, 2, 8_192),
            (16 * gib, 1, 4_096),
            (0, 1, 512),
        ] {
            let load = load(&facts, memory, 2, Wishes::default());
            assert_eq!(
                (load.stream_count, load.stream_context_tokens),
                (streams, tokens),
                "{memory}"
            );
        }
        facts.context_tokens = 2_048;
        assert_eq!(
            load(&facts, 1_000 * gib, 2, Wishes::default()).stream_context_tokens,
            2_048
        );
    }
}
