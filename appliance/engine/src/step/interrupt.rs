//! Ending a step from another thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use jingui_llama::AbortFlag;

/// Which stream takes most of the running step, for a reader that wants to cut it short.
#[derive(Debug, Clone)]
pub struct Interrupt {
    abort: AbortFlag,
    /// Of the context for strict streams, once there is one.
    strict: Arc<OnceLock<AbortFlag>>,
    /// The stream's number plus one; 0 for none.
    dominant: Arc<AtomicU64>,
}

impl Interrupt {
    /// An interrupt for the context behind `abort`.
    #[must_use]
    pub fn new(abort: AbortFlag) -> Self {
        Self {
            abort,
            strict: Arc::new(OnceLock::new()),
            dominant: Arc::new(AtomicU64::new(0)),
        }
    }

    /// Ends the running step if most of what it computes is the prompt of `stream`. To be called after the command to
    /// cancel was sent. A step that is cut short is repeated without the stream, so others lose less than a step.
    pub fn cut_short(&self, stream: u64) {
        if self.dominant.load(Ordering::Acquire) == stream.wrapping_add(1) {
            self.cut_short_all();
        }
    }

    /// Ends the running step, whatever it computes.
    pub fn cut_short_all(&self) {
        self.abort.raise();
        if let Some(strict) = self.strict.get() {
            strict.raise();
        }
    }

    /// Lets steps run again.
    pub(super) fn lower(&self) {
        self.abort.lower();
        if let Some(strict) = self.strict.get() {
            strict.lower();
        }
    }

    /// Ends steps of that context, too.
    pub(super) fn also(&self, strict: AbortFlag) {
        let _there_is_one_such_context = self.strict.set(strict);
    }

    pub(super) fn set_dominant(&self, stream: Option<u64>) {
        self.dominant.store(
            stream.map_or(0, |stream| stream.wrapping_add(1)),
            Ordering::Release,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stream_that_takes_most_of_a_step_can_cut_it_short() {
        let abort = AbortFlag::default();
        let interrupt = Interrupt::new(abort.clone());
        let is_cut = |dominant: Option<u64>, stream: u64| {
            abort.lower();
            interrupt.set_dominant(dominant);
            interrupt.cut_short(stream);
            abort.is_raised()
        };
        assert!(is_cut(Some(5), 5));
        assert!(is_cut(Some(0), 0));
        assert!(!is_cut(Some(5), 6));
        assert!(!is_cut(None, 0));
        assert!(!is_cut(None, 5));
        abort.lower();
        interrupt.cut_short_all();
        assert!(abort.is_raised());
    }

    #[test]
    fn both_contexts_are_ended_and_let_go_together() {
        let (main, strict) = (AbortFlag::default(), AbortFlag::default());
        let interrupt = Interrupt::new(main.clone());
        interrupt.also(strict.clone());
        interrupt.cut_short_all();
        assert!(main.is_raised() && strict.is_raised());
        interrupt.lower();
        assert!(!main.is_raised() && !strict.is_raised());
    }
}
