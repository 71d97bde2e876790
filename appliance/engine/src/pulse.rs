//! The heartbeat: what the step thread publishes and the supervisor's thread reports.
//!
//! Busy is not dead: progress counts finished steps and, inside a step, the graph nodes that llama.cpp has begun, so
//! that one long step on a slow machine still moves. A step thread that hangs, in our code or inside a node, moves
//! neither, while the work count stays above zero: that is what the supervisor kills for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use jingui_llama::AbortFlag;

/// Shared by the step thread, the readers and the supervisor's thread.
#[derive(Debug, Clone)]
pub struct Pulse(Arc<State>);

#[derive(Debug)]
struct State {
    step_count: AtomicU64,
    work_count: AtomicU32,
    abort: AbortFlag,
}

impl Pulse {
    /// A pulse of an engine whose context counts graph nodes in `abort`.
    #[must_use]
    pub fn new(abort: AbortFlag) -> Self {
        Self(Arc::new(State {
            step_count: AtomicU64::new(0),
            work_count: AtomicU32::new(0),
            abort,
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
