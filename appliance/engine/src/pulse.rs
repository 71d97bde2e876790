//! The heartbeat: what the step thread publishes and the supervisor's thread reports.
//!
//! Busy is not dead: progress counts finished steps and, inside a step, the graph nodes that llama.cpp has begun, so
//! that one long step on a slow machine still moves. A step thread that hangs, in our code or inside a node, moves
//! neither, while the work count stays above zero: that is what the supervisor kills for.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use jingui_ipc::engine::Figures;
use jingui_llama::AbortFlag;

/// Shared by the step thread, the readers and the supervisor's thread.
#[derive(Debug, Clone)]
pub struct Pulse(Arc<State>);

#[derive(Debug)]
struct State {
    step_count: AtomicU64,
    work_count: AtomicU32,
    abort: AbortFlag,
    /// Of the context for strict streams, once there is one.
    strict: OnceLock<AbortFlag>,
    figures: Shown,
}

/// Figures as the step thread left them last; each is right, together they may be of two steps.
#[derive(Debug, Default)]
struct Shown {
    running_count: AtomicU32,
    waiting_count: AtomicU32,
    kv_used_tokens: AtomicU32,
    prompt_tokens: AtomicU64,
    cached_tokens: AtomicU64,
    completion_tokens: AtomicU64,
    drafted_tokens: AtomicU64,
    accepted_tokens: AtomicU64,
}

impl Pulse {
    /// A pulse of an engine whose context counts graph nodes in `abort`.
    #[must_use]
    pub fn new(abort: AbortFlag) -> Self {
        Self(Arc::new(State {
            step_count: AtomicU64::new(0),
            work_count: AtomicU32::new(0),
            abort,
            strict: OnceLock::new(),
            figures: Shown::default(),
        }))
    }

    /// The step thread made a step.
    pub fn step(&self) {
        self.0.step_count.fetch_add(1, Ordering::Relaxed);
    }

    /// Grows while the step thread makes progress.
    #[must_use]
    pub fn progress(&self) -> u64 {
        self.0
            .step_count
            .load(Ordering::Relaxed)
            .wrapping_add(self.0.abort.node_count())
            .wrapping_add(self.0.strict.get().map_or(0, AbortFlag::node_count))
    }

    /// Counts the graph nodes of a second context, too.
    pub fn also(&self, strict: AbortFlag) {
        let _there_is_one_such_context = self.0.strict.set(strict);
    }

    /// The step thread says what was done so far.
    pub fn publish(&self, figures: Figures) {
        let shown = &self.0.figures;
        shown
            .running_count
            .store(figures.running_count, Ordering::Relaxed);
        shown
            .waiting_count
            .store(figures.waiting_count, Ordering::Relaxed);
        shown
            .kv_used_tokens
            .store(figures.kv_used_tokens, Ordering::Relaxed);
        shown
            .prompt_tokens
            .store(figures.prompt_tokens, Ordering::Relaxed);
        shown
            .cached_tokens
            .store(figures.cached_tokens, Ordering::Relaxed);
        shown
            .completion_tokens
            .store(figures.completion_tokens, Ordering::Relaxed);
        shown
            .drafted_tokens
            .store(figures.drafted_tokens, Ordering::Relaxed);
        shown
            .accepted_tokens
            .store(figures.accepted_tokens, Ordering::Relaxed);
    }

    /// What was said last.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let shown = &self.0.figures;
        Figures {
            running_count: shown.running_count.load(Ordering::Relaxed),
            waiting_count: shown.waiting_count.load(Ordering::Relaxed),
            kv_used_tokens: shown.kv_used_tokens.load(Ordering::Relaxed),
            prompt_tokens: shown.prompt_tokens.load(Ordering::Relaxed),
            cached_tokens: shown.cached_tokens.load(Ordering::Relaxed),
            completion_tokens: shown.completion_tokens.load(Ordering::Relaxed),
            drafted_tokens: shown.drafted_tokens.load(Ordering::Relaxed),
            accepted_tokens: shown.accepted_tokens.load(Ordering::Relaxed),
        }
    }

    /// A stream was handed to the step thread. Counted by the giver, so that a step thread which never picks it up
    /// shows as busy.
    pub fn begin_work(&self) {
        self.0.work_count.fetch_add(1, Ordering::AcqRel);
    }

    /// A stream ended.
    pub fn end_work(&self) {
        let before = self.0.work_count.fetch_sub(1, Ordering::AcqRel);
        assert!(before > 0, "each end belongs to one begin");
    }

    /// Streams that run or wait.
    #[must_use]
    pub fn work_count(&self) -> u32 {
        self.0.work_count.load(Ordering::Acquire)
    }
}
