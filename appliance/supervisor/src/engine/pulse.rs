//! Whether a serving engine gets on: a busy one makes steps.

use crate::clock::Millis;

/// How long a busy engine may go without a step.
pub(crate) const STEP_MS: u64 = 30_000;

/// Step heartbeat of a serving engine: one that is busy and makes no step is hung.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    step_count: u64,
    stuck_since: Option<Millis>,
}

impl Pulse {
    /// Takes a heartbeat.
    pub(crate) fn beat(&mut self, step_count: u64, work_count: u32, now: Millis) {
        let is_stuck = work_count > 0 && step_count == self.step_count;
        self.step_count = step_count;
        self.stuck_since = if is_stuck {
            self.stuck_since.or(Some(now))
        } else {
            None
        };
    }

    /// Steps made since its start.
    pub(crate) const fn step_count(&self) -> u64 {
        self.step_count
    }

    /// When it is hung unless a step comes.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        self.stuck_since.map(|since| since.after(STEP_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_engine_without_a_step_is_hung_after_thirty_seconds() {
        let mut pulse = Pulse::default();
        pulse.beat(10, 2, Millis(0));
        assert_eq!(pulse.deadline(), None);
        pulse.beat(10, 2, Millis(1_000));
        pulse.beat(10, 2, Millis(2_000));
        assert_eq!(pulse.deadline(), Some(Millis(1_000 + STEP_MS)));
        pulse.beat(11, 2, Millis(3_000));
        assert_eq!(pulse.deadline(), None);
    }

    #[test]
    fn an_idle_engine_needs_no_steps() {
        let mut pulse = Pulse::default();
        for second in 0..100 {
            pulse.beat(10, 0, Millis(second * 1_000));
        }
        assert_eq!(pulse.deadline(), None);
    }
}
