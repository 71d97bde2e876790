//! Life of a process of ours: started, watched by its heartbeat, ended when it is silent, started again.
//!
//! [`Lifecycle::advance`] is the whole table: it takes what happened and the time, and says what to do. It starts
//! and kills nothing itself, so tests drive it in virtual time.

use std::collections::VecDeque;

use crate::clock::Millis;

/// Pause before a process is started again for the second time in a row; doubles with each failure after. The first
/// time there is none: people wait, and once is no pattern.
pub(crate) const BACKOFF_FIRST_MS: u64 = 100;
/// Longest pause before a process is started again.
pub(crate) const BACKOFF_MAX_MS: u64 = 10_000;
/// A process that served that long is healthy: the next failure counts as the first.
pub(crate) const HEALTHY_MS: u64 = 60_000;
/// Failures in a row that make the box degraded. It is started again all the same.
pub(crate) const STRIKES: u32 = 3;
/// How long a killed process may take to disappear before we complain; the kernel owes us that exit.
const DYING_MS: u64 = 10_000;

/// Time limits of one kind of process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// From launch to its first sign of life.
    pub(crate) start_ms: u64,
    /// Between two heartbeats while it serves.
    pub(crate) beat_ms: u64,
    /// From the order to end until it is killed.
    pub(crate) drain_ms: u64,
}

/// What happened to the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Happening {
    /// It is wanted from now on.
    Wanted,
    /// It is not wanted any more, but the box goes on.
    Unwanted,
    /// [`Order::Launch`] was carried out.
    Launched,
    /// [`Order::Launch`] failed.
    NotLaunched,
    /// It starts and is getting on; it has that many milliseconds for its next sign.
    Progress { within_ms: u64 },
    /// It serves.
    Serves,
    /// A heartbeat.
    Beat,
    /// It broke a rule and has to die: silent, stuck, babbling.
    Broke(Why),
    /// It is gone.
    Exited(Why),
    /// Another one answers from now on: it finishes what it has within that time and ends.
    Retire { within_ms: u64 },
    /// The box stops.
    Drain,
    /// Time passed.
    Tick,
}

/// What the supervisor has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// Start it; tell with [`Happening::Launched`] or [`Happening::NotLaunched`].
    Launch,
    /// Kill it; [`Happening::Exited`] follows.
    Kill,
    /// Ask it to end within the limit.
    Drain { within_ms: u64 },
    /// It died although it was wanted: tell its clients, record it.
    Mourn { why: Why, pause_ms: u64 },
}

/// Why a process died or has to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// It ended by itself or by a signal that we did not send.
    Crashed,
    /// No heartbeat, or busy without a step.
    Hung,
    /// It did not come up in time.
    StartTimedOut,
    /// It could not be started.
    NotStarted,
    /// It said what is no message, or closed the conversation.
    BrokenConversation,
    /// It does not read what we send.
    StuckOutbox,
    /// It told that it failed, with its code.
    Failed(String),
    /// We ended it on purpose.
    Ended,
}

impl Why {
    /// Last part of the stable code, for example `hung` of `engine.hung`; a process's own code is taken whole.
    pub(crate) fn code(&self, role: &str) -> String {
        let last = match self {
            Self::Crashed => "crashed",
            Self::Hung => "hung",
            Self::StartTimedOut => "start-timed-out",
            Self::NotStarted => "not-started",
            Self::BrokenConversation => "broken-conversation",
            Self::StuckOutbox => "stuck-outbox",
            Self::Failed(code) => return code.clone(),
            Self::Ended => "ended",
        };
        format!("{role}.{last}")
    }
}

/// Where the process is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not wanted, not there.
    Absent,
    /// Not there; will be started at that time.
    Pausing { until: Millis },
    /// The order to launch is out.
    Launching,
    /// There; must show a sign of life until then.
    Starting { deadline: Millis },
    /// Serves since then; must beat until then.
    Serving { since: Millis, deadline: Millis },
    /// Asked to end; will be killed at that time.
    Draining { deadline: Millis },
    /// Killed; its exit has not been seen yet.
    Dying { why: Why, deadline: Millis },
}

/// One process's life.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    limits: Limits,
    phase: Phase,
    is_wanted: bool,
    failure_count: u32,
    restart_count: u32,
}

impl Lifecycle {
    /// A process that nobody wants yet.
    pub(crate) const fn new(limits: Limits) -> Self {
        Self {
            limits,
            phase: Phase::Absent,
            is_wanted: false,
            failure_count: 0,
            restart_count: 0,
        }
    }

    /// Where it is.
    #[cfg(test)]
    pub(crate) const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Whether it serves now.
    pub(crate) const fn is_serving(&self) -> bool {
        matches!(self.phase, Phase::Serving { .. })
    }

    /// Whether it is there and may be asked to end.
    pub(crate) const fn is_serving_or_starting(&self) -> bool {
        matches!(
            self.phase,
            Phase::Serving { .. } | Phase::Starting { .. } | Phase::Launching | Phase::Pausing { .. }
        )
    }

    /// Whether it is launched and has not served yet.
    pub(crate) const fn is_starting(&self) -> bool {
        matches!(self.phase, Phase::Starting { .. })
    }

    /// Whether it will not be started again by itself.
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Absent)
    }

    /// Whether the order to launch is out.
    pub(crate) const fn is_launching(&self) -> bool {
        matches!(self.phase, Phase::Launching)
    }

    /// Whether there is no process and none is being started.
    pub(crate) const fn is_absent(&self) -> bool {
        matches!(self.phase, Phase::Absent | Phase::Pausing { .. })
    }

    /// Whether it failed so often in a row that the box is degraded.
    pub(crate) const fn is_struck(&self) -> bool {
        self.failure_count >= STRIKES
    }

    /// How often it was started again.
    pub(crate) const fn restart_count(&self) -> u32 {
        self.restart_count
    }

    /// One word for people.
    pub(crate) const fn word(&self) -> &'static str {
        match self.phase {
            Phase::Absent | Phase::Draining { .. } => "stopped",
            Phase::Pausing { .. } | Phase::Dying { .. } => "restarting",
            Phase::Launching | Phase::Starting { .. } => "starting",
            Phase::Serving { .. } => "serving",
        }
    }

    /// When [`Happening::Tick`] has something to do next.
    pub(crate) const fn deadline(&self) -> Option<Millis> {
        match self.phase {
            Phase::Absent | Phase::Launching => None,
            Phase::Pausing { until } => Some(until),
            Phase::Starting { deadline }
            | Phase::Serving { deadline, .. }
            | Phase::Draining { deadline }
            | Phase::Dying { deadline, .. } => Some(deadline),
        }
    }

    /// Takes what happened and gives what to do, in order.
    pub(crate) fn advance(&mut self, happening: Happening, now: Millis) -> VecDeque<Order> {
        match happening {
            Happening::Wanted => self.want(),
            Happening::Unwanted => self.unwant(now),
            Happening::Launched => self.enter_starting(self.limits.start_ms, now),
            Happening::NotLaunched => self.bury(Why::NotStarted, now),
            Happening::Progress { within_ms } => self.progress(within_ms, now),
            Happening::Serves => self.serve(now),
            Happening::Beat => self.beat(now),
            Happening::Broke(why) => self.kill(why, now),
            Happening::Exited(why) => self.exited(why, now),
            Happening::Retire { within_ms } => self.drain(within_ms, now),
            Happening::Drain => self.drain(self.limits.drain_ms, now),
            Happening::Tick => self.tick(now),
        }
    }

    fn want(&mut self) -> VecDeque<Order> {
        self.is_wanted = true;
        match self.phase {
            Phase::Absent => self.launch(),
            _ => VecDeque::new(),
        }
    }

    fn unwant(&mut self, now: Millis) -> VecDeque<Order> {
        self.is_wanted = false;
        match self.phase {
            Phase::Pausing { .. } => {
                self.phase = Phase::Absent;
                VecDeque::new()
            }
            _ => self.kill(Why::Ended, now),
        }
    }

    fn launch(&mut self) -> VecDeque<Order> {
        self.phase = Phase::Launching;
        [Order::Launch].into()
    }

    fn enter_starting(&mut self, within_ms: u64, now: Millis) -> VecDeque<Order> {
        assert!(
            matches!(self.phase, Phase::Launching),
            "launched without an order"
        );
        self.phase = Phase::Starting {
            deadline: now.after(within_ms),
        };
        if self.is_wanted {
            VecDeque::new()
        } else {
            self.kill(Why::Ended, now)
        }
    }

    fn progress(&mut self, within_ms: u64, now: Millis) -> VecDeque<Order> {
        if let Phase::Starting { deadline } = &mut self.phase {
            *deadline = now.after(within_ms);
        }
        VecDeque::new()
    }

    fn serve(&mut self, now: Millis) -> VecDeque<Order> {
        if matches!(self.phase, Phase::Starting { .. }) {
            self.phase = Phase::Serving {
                since: now,
                deadline: now.after(self.limits.beat_ms),
            };
        }
        VecDeque::new()
    }

    fn beat(&mut self, now: Millis) -> VecDeque<Order> {
        let beat_ms = self.limits.beat_ms;
        if let Phase::Serving { deadline, .. } = &mut self.phase {
            *deadline = now.after(beat_ms);
        }
        VecDeque::new()
    }

    fn kill(&mut self, why: Why, now: Millis) -> VecDeque<Order> {
        match self.phase {
            Phase::Absent | Phase::Pausing { .. } | Phase::Launching | Phase::Dying { .. } => VecDeque::new(),
            Phase::Starting { .. } | Phase::Serving { .. } | Phase::Draining { .. } => {
                self.note_health(now);
                self.phase = Phase::Dying {
                    why,
                    deadline: now.after(DYING_MS),
                };
                [Order::Kill].into()
            }
        }
    }

    fn exited(&mut self, why: Why, now: Millis) -> VecDeque<Order> {
        let why = match &self.phase {
            // We killed it: why we did is the truth, not the signal it died of.
            Phase::Dying { why, .. } => why.clone(),
            Phase::Draining { .. } => Why::Ended,
            Phase::Absent | Phase::Pausing { .. } | Phase::Launching => return VecDeque::new(),
            Phase::Starting { .. } | Phase::Serving { .. } => why,
        };
        self.note_health(now);
        self.bury(why, now)
    }

    /// The process is gone: start it again after a pause, or leave it.
    fn bury(&mut self, why: Why, now: Millis) -> VecDeque<Order> {
        if !self.is_wanted {
            self.phase = Phase::Absent;
            return VecDeque::new();
        }
        if why == Why::Ended {
            return self.launch();
        }
        self.failure_count = self.failure_count.saturating_add(1);
        self.restart_count = self.restart_count.saturating_add(1);
        let pause_ms = pause_ms(self.failure_count);
        self.phase = Phase::Pausing {
            until: now.after(pause_ms),
        };
        [Order::Mourn { why, pause_ms }].into()
    }

    fn note_health(&mut self, now: Millis) {
        if let Phase::Serving { since, .. } = self.phase
            && now >= since.after(HEALTHY_MS)
        {
            self.failure_count = 0;
        }
    }

    fn drain(&mut self, within_ms: u64, now: Millis) -> VecDeque<Order> {
        self.is_wanted = false;
        match self.phase {
            Phase::Serving { .. } => {
                self.phase = Phase::Draining {
                    deadline: now.after(within_ms),
                };
                [Order::Drain { within_ms }].into()
            }
            _ => self.unwant(now),
        }
    }

    fn tick(&mut self, now: Millis) -> VecDeque<Order> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return VecDeque::new();
        }
        match self.phase {
            Phase::Absent | Phase::Launching => VecDeque::new(),
            Phase::Pausing { .. } => self.launch(),
            Phase::Starting { .. } => self.kill(Why::StartTimedOut, now),
            Phase::Serving { .. } => self.kill(Why::Hung, now),
            Phase::Draining { .. } => self.kill(Why::Ended, now),
            Phase::Dying { ref why, .. } => {
                let why = why.clone();
                self.phase = Phase::Dying {
                    why,
                    deadline: now.after(DYING_MS),
                };
                [Order::Kill].into()
            }
        }
    }
}

/// Pause before the start that follows that many failures in a row.
pub(crate) fn pause_ms(failure_count: u32) -> u64 {
    let Some(doublings) = failure_count.checked_sub(2) else {
        return 0;
    };
    BACKOFF_FIRST_MS
        .saturating_mul(1 << doublings.min(BACKOFF_MAX_MS.ilog2()))
        .min(BACKOFF_MAX_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits {
        start_ms: 10_000,
        beat_ms: 5_000,
        drain_ms: 3_000,
    };

    fn serving(now: Millis) -> Lifecycle {
        let mut life = Lifecycle::new(LIMITS);
        assert_eq!(life.advance(Happening::Wanted, now), [Order::Launch]);
        assert!(life.advance(Happening::Launched, now).is_empty());
        assert!(life.advance(Happening::Serves, now).is_empty());
        life
    }

    #[test]
    fn a_silent_process_is_killed_at_five_seconds_and_not_before() {
        let mut life = serving(Millis(0));
        life.advance(Happening::Beat, Millis(1_000));
        assert!(life.advance(Happening::Tick, Millis(5_999)).is_empty());
        assert_eq!(life.advance(Happening::Tick, Millis(6_000)), [Order::Kill]);
        let mourn = Order::Mourn {
            why: Why::Hung,
            pause_ms: 0,
        };
        assert_eq!(
            life.advance(Happening::Exited(Why::Crashed), Millis(6_010)),
            [mourn]
        );
        // Once is no pattern: it starts again at once. Twice is.
        assert_eq!(life.advance(Happening::Tick, Millis(6_010)), [Order::Launch]);
        life.advance(Happening::Launched, Millis(6_010));
        life.advance(Happening::Exited(Why::Crashed), Millis(6_020));
        assert!(life.advance(Happening::Tick, Millis(6_119)).is_empty());
        assert_eq!(life.advance(Happening::Tick, Millis(6_120)), [Order::Launch]);
    }

    #[test]
    fn a_process_that_does_not_come_up_is_killed_unless_it_gets_on() {
        let mut life = Lifecycle::new(LIMITS);
        life.advance(Happening::Wanted, Millis(0));
        life.advance(Happening::Launched, Millis(0));
        life.advance(Happening::Progress { within_ms: 60_000 }, Millis(9_000));
        assert!(life.advance(Happening::Tick, Millis(68_999)).is_empty());
        assert_eq!(life.advance(Happening::Tick, Millis(69_000)), [Order::Kill]);
        let orders = life.advance(Happening::Exited(Why::Crashed), Millis(69_001));
        assert!(matches!(
            orders.front(),
            Some(Order::Mourn {
                why: Why::StartTimedOut,
                ..
            })
        ));
    }

    #[test]
    fn the_pause_doubles_to_ten_seconds() {
        let pauses: Vec<u64> = (1..=9).map(pause_ms).collect();
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000]);
        assert_eq!(pause_ms(u32::MAX), BACKOFF_MAX_MS);
    }

    #[test]
    fn three_failures_in_a_row_strike_and_a_healthy_minute_forgives() {
        let mut life = serving(Millis(0));
        for failure in 1..=STRIKES {
            life.advance(Happening::Exited(Why::Crashed), Millis(10));
            assert_eq!(life.is_struck(), failure == STRIKES);
            life.advance(Happening::Tick, Millis(100_000));
            life.advance(Happening::Launched, Millis(100_000));
            life.advance(Happening::Serves, Millis(100_000));
        }
        let late = Millis(100_000 + HEALTHY_MS);
        let orders = life.advance(Happening::Exited(Why::Crashed), late);
        assert_eq!(
            orders,
            [Order::Mourn {
                why: Why::Crashed,
                pause_ms: 0
            }]
        );
        assert!(!life.is_struck());
        assert_eq!(life.restart_count(), STRIKES + 1);
    }

    #[test]
    fn a_draining_process_is_killed_when_it_takes_too_long_and_is_not_started_again() {
        let mut life = serving(Millis(0));
        assert_eq!(
            life.advance(Happening::Drain, Millis(0)),
            [Order::Drain { within_ms: 3_000 }]
        );
        assert!(life.advance(Happening::Tick, Millis(2_999)).is_empty());
        assert_eq!(life.advance(Happening::Tick, Millis(3_000)), [Order::Kill]);
        assert!(
            life.advance(Happening::Exited(Why::Crashed), Millis(3_001))
                .is_empty()
        );
        assert!(life.is_absent());
        assert!(life.deadline().is_none());
    }

    #[test]
    fn a_replaced_process_has_its_own_time_to_finish() {
        let mut life = serving(Millis(0));
        let orders = life.advance(Happening::Retire { within_ms: 600_000 }, Millis(0));
        assert_eq!(orders, [Order::Drain { within_ms: 600_000 }]);
        assert!(life.advance(Happening::Tick, Millis(599_999)).is_empty());
        assert!(
            life.advance(Happening::Exited(Why::Crashed), Millis(599_999))
                .is_empty()
        );
        assert!(life.is_over());
    }

    #[test]
    fn a_process_ended_on_purpose_for_another_model_starts_at_once_without_a_strike() {
        let mut life = serving(Millis(0));
        assert_eq!(
            life.advance(Happening::Broke(Why::Ended), Millis(0)),
            [Order::Kill]
        );
        assert_eq!(
            life.advance(Happening::Exited(Why::Crashed), Millis(5)),
            [Order::Launch]
        );
        assert_eq!(life.restart_count(), 0);
    }

    /// What a badly behaved world may do at any moment.
    fn happenings() -> impl Strategy<Value = Vec<(u64, u8)>> {
        proptest::collection::vec((0_u64..8_000, 0_u8..10), 1..200)
    }

    proptest! {
        /// One process at most, whatever happens in whatever order; each death of a wanted process is answered by
        /// a start within the longest pause; nothing starts after the drain.
        #[test]
        fn any_world_is_survived(world in happenings()) {
            let mut life = Lifecycle::new(LIMITS);
            let mut now = Millis(0);
            let mut is_alive = false;
            let mut is_stopping = false;
            let mut orders = life.advance(Happening::Wanted, now);
            for (pause, choice) in world {
                while let Some(order) = orders.pop_front() {
                    match order {
                        Order::Launch => {
                            prop_assert!(!is_alive, "a second process");
                            prop_assert!(!is_stopping, "started after the drain");
                            let fails = choice == 9;
                            is_alive = !fails;
                            let told = if fails { Happening::NotLaunched } else { Happening::Launched };
                            orders.extend(life.advance(told, now));
                        }
                        Order::Kill => {
                            prop_assert!(is_alive, "killed what is not there");
                            is_alive = false;
                            orders.extend(life.advance(Happening::Exited(Why::Crashed), now));
                        }
                        Order::Drain { .. } | Order::Mourn { .. } => {}
                    }
                }
                now = now.after(pause);
                let happening = match choice {
                    0 | 1 => Happening::Beat,
                    2 if is_alive => Happening::Serves,
                    3 => Happening::Progress { within_ms: 1_000 },
                    4 => Happening::Broke(Why::BrokenConversation),
                    5 if is_alive => { is_alive = false; Happening::Exited(Why::Crashed) }
                    6 if now.0 > 600_000 => { is_stopping = true; Happening::Drain }
                    7 if now.0 > 500_000 => { is_stopping = true; Happening::Retire { within_ms: 60_000 } }
                    _ => Happening::Tick,
                };
                orders.extend(life.advance(happening, now));
                if !is_stopping && !is_alive && orders.is_empty() {
                    let deadline = life.deadline();
                    prop_assert!(deadline.is_some_and(|it| it <= now.after(BACKOFF_MAX_MS)), "{:?}", life.phase());
                }
            }
        }
    }
}
