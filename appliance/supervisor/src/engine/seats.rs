//! The engines that can be there at once: one that serves, one that is tried to take its place, one that drains.
//!
//! ```text
//!              verified, loaded, asked the golden prompts
//! (import) ──► candidate ─────────────── right ──────────► serving ── next one is right ──► retiring ──► gone
//!                  │                                          ▲
//!                  └── refused, crashed, wrong: gone          └── first model, or no room for two: serves from the start;
//!                                                                 when it is wrong, the one before comes back
//! ```

use jingui_audit::event::Event as LeafEvent;
use jingui_ipc::engine::Order as EngineOrder;
use jingui_ipc::status::{Process as ProcessStatus, Progress};
use jingui_jail::Walls;
use jingui_trust::Sha256;

use crate::clock::Millis;
use crate::event::Generation;
use crate::lifecycle::Lifecycle;
use crate::models::LoadedModel;
use crate::plan::{self, Plan, Share};
use crate::process::Process;

use super::LIMITS;
use super::pulse::Pulse;

/// Which of the engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seat {
    /// Answers people, or is to.
    Serving,
    /// Is tried to take the place of the one that serves.
    Candidate,
    /// Finishes what it has; its successor answers.
    Retiring,
}

impl Seat {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Serving, Self::Candidate, Self::Retiring];
}

/// How far an engine is on the way to answering people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Trial {
    /// Nobody was told of it, or those who were are gone.
    #[default]
    Untold,
    /// The gateway asks it the golden prompts, under that number, until then.
    Asked { number: u64, deadline: Millis },
    /// It may answer as soon as its leaf is on disk and the gateway is told.
    Passed,
    /// It answers people.
    Answering,
}

impl Trial {
    /// The gateway is gone, or must not use it: what was passed stays passed, what was asked is asked again.
    pub(crate) const fn after_gateway(self) -> Self {
        match self {
            Self::Untold | Self::Asked { .. } => Self::Untold,
            Self::Passed | Self::Answering => Self::Passed,
        }
    }
}

/// A stable code with the facts of its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    /// The code.
    pub(crate) code: String,
    /// Name and value.
    pub(crate) facts: Vec<(String, String)>,
}

impl Reason {
    /// A code without facts.
    pub(crate) fn new(code: &str) -> Self {
        Self {
            code: code.to_owned(),
            facts: Vec::new(),
        }
    }
}

/// What a serving engine reported of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServingAs {
    pub(crate) stream_context_tokens: u32,
    pub(crate) stream_count: u32,
}

/// One engine as the supervisor sees it.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) life: Lifecycle,
    pub(crate) generation: Generation,
    /// What it runs, or is to run.
    pub(crate) package: Option<Sha256>,
    pub(crate) process: Option<Process>,
    pub(crate) landlock_abi: u32,
    pub(crate) last_why: Option<String>,
    /// Why it is not started again: its package was refused.
    pub(crate) refusal: Option<Reason>,
    pub(crate) trial: Trial,
    /// The package whose golden prompts were answered rightly on this seat since the supervisor started.
    golden_package: Option<Sha256>,
    pub(crate) model: Option<LoadedModel>,
    pub(crate) plan: Option<Plan>,
    pub(crate) serving: Option<ServingAs>,
    pub(crate) progress: Option<Progress>,
    pub(crate) pulse: Pulse,
    thread_count: Option<u32>,
}

impl Engine {
    /// Nobody yet, for that package.
    pub(crate) fn new(package: Option<Sha256>) -> Self {
        Self {
            life: Lifecycle::new(LIMITS),
            generation: Generation(0),
            package,
            process: None,
            landlock_abi: 0,
            last_why: None,
            refusal: None,
            trial: Trial::Untold,
            golden_package: None,
            model: None,
            plan: None,
            serving: None,
            progress: None,
            pulse: Pulse::default(),
            thread_count: None,
        }
    }

    /// A start of it begins: nothing of the start before holds any more.
    pub(crate) fn begin(&mut self, generation: Generation) {
        self.generation = generation;
        self.landlock_abi = 0;
        self.refusal = None;
        self.trial = Trial::Untold;
        self.plan = None;
        self.serving = None;
        self.pulse = Pulse::default();
        self.thread_count = None;
        self.note_progress("verifying", 0);
    }

    /// Notes how far its start is.
    pub(crate) fn note_progress(&mut self, stage: &str, permille: u16) {
        self.progress = Some(Progress {
            stage: stage.to_owned(),
            permille,
        });
    }

    /// Whether its weights are still being hashed.
    pub(crate) const fn model_is_unknown(&self) -> bool {
        self.plan.is_none()
    }

    /// Whether it answers people.
    pub(crate) const fn is_answering(&self) -> bool {
        self.life.is_serving() && matches!(self.trial, Trial::Answering)
    }

    /// Whether it gave the signed answers before it served; `None` when its release has none.
    pub(crate) fn is_golden(&self) -> Option<bool> {
        let has_golden = self.model.as_ref().is_some_and(|model| !model.golden.is_empty());
        has_golden.then(|| self.is_answering())
    }

    /// Whether the kernel checks each block of its weights; `None` while nothing is loaded.
    pub(crate) fn is_sealed(&self) -> Option<bool> {
        self.model.as_ref().map(|model| model.is_sealed)
    }

    /// Notes that its golden prompts were answered rightly.
    pub(crate) fn note_golden(&mut self) {
        self.golden_package = self.package;
    }

    /// Whether its golden prompts have to be asked. Not after a crash: what was verified again are the same bytes, and
    /// people wait for their answers to go on.
    pub(crate) fn is_to_be_asked(&self) -> bool {
        self.model.as_ref().is_some_and(|model| !model.golden.is_empty())
            && self.golden_package != self.package
    }

    /// The walls round it, as they are now.
    pub(crate) fn walls(&self) -> Option<Walls> {
        self.process
            .as_ref()
            .map(|process| jingui_jail::measure(process.pid()))
    }

    /// When it has to have made a step, or answered its golden prompts.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        if !self.life.is_serving() {
            return None;
        }
        let golden = match self.trial {
            Trial::Asked { deadline, .. } => Some(deadline),
            _ => None,
        };
        [self.pulse.deadline(), golden].into_iter().flatten().min()
    }

    /// Its line in the status.
    pub(crate) fn status(&self, title: Option<String>) -> ProcessStatus {
        ProcessStatus {
            role: "engine".to_owned(),
            pid: self.process.as_ref().map(Process::pid),
            phase: self.life.word().to_owned(),
            restart_count: self.life.restart_count(),
            step_count: Some(self.pulse.step_count()),
            model: title,
            progress: self
                .progress
                .clone()
                .filter(|_| !self.is_answering() && !self.life.is_over()),
        }
    }

    /// The leaf of its load, with what it made of it if it did.
    pub(crate) fn load_event(&self) -> Option<LeafEvent> {
        let model = self.model.as_ref()?;
        Some(LeafEvent::ModelLoad {
            package: model.package,
            weights: model.weights_digest,
            name: model.facts.name.clone(),
            stream_count: self.serving.map(|it| u64::from(it.stream_count)),
            stream_context_tokens: self.serving.map(|it| u64::from(it.stream_context_tokens)),
        })
    }

    /// Bytes that it claims beside what the kernel says is taken.
    fn claimed_bytes(&self) -> u64 {
        match (&self.plan, &self.process) {
            (Some(plan), Some(process)) => plan::claim(plan.parts.total(), plan::held_bytes(process.pid())),
            _ => 0,
        }
    }

    /// Tells it with how many threads to compute, when that is another number than it has.
    fn take_threads(&mut self, count: u32) {
        let is_there = self.life.is_serving() || self.serving.is_some();
        if !is_there || self.thread_count == Some(count) {
            return;
        }
        if let Some(process) = &self.process {
            self.thread_count = Some(count);
            // One that does not read is found by the next order that matters.
            let _ = process.post(&EngineOrder::Threads { count }, Vec::new());
        }
    }

    /// Notes the threads that its order to load names.
    pub(crate) const fn note_threads(&mut self, count: u32) {
        self.thread_count = Some(count);
    }
}

/// All engines, and what is wanted with them.
#[derive(Debug)]
pub(crate) struct Engines {
    last: Generation,
    pub(crate) serving: Engine,
    pub(crate) candidate: Option<Engine>,
    pub(crate) retiring: Option<Engine>,
    /// A package that waits until the seats are free.
    pub(crate) next: Option<Sha256>,
    /// There was no room for two: when the one that serves has drained, this one takes its seat.
    pub(crate) takes_over: Option<Sha256>,
    /// The package that comes back when the one in the serving seat turns out wrong.
    pub(crate) fallback: Option<Sha256>,
    /// Why the last switch to another package failed.
    pub(crate) failed: Option<Reason>,
}

impl Engines {
    /// None there; the first is for that package.
    pub(crate) fn new(active: Option<Sha256>) -> Self {
        Self {
            last: Generation(0),
            serving: Engine::new(active),
            candidate: None,
            retiring: None,
            next: None,
            takes_over: None,
            fallback: None,
            failed: None,
        }
    }

    /// Number of the next start of any of them.
    pub(crate) const fn next_generation(&mut self) -> Generation {
        self.last.0 += 1;
        self.last
    }

    /// Who sits there.
    pub(crate) const fn get(&self, seat: Seat) -> Option<&Engine> {
        match seat {
            Seat::Serving => Some(&self.serving),
            Seat::Candidate => self.candidate.as_ref(),
            Seat::Retiring => self.retiring.as_ref(),
        }
    }

    /// Who sits there.
    pub(crate) const fn get_mut(&mut self, seat: Seat) -> Option<&mut Engine> {
        match seat {
            Seat::Serving => Some(&mut self.serving),
            Seat::Candidate => self.candidate.as_mut(),
            Seat::Retiring => self.retiring.as_mut(),
        }
    }

    /// All that are there.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Engine> {
        Seat::ALL.into_iter().filter_map(|seat| self.get(seat))
    }

    /// Where the engine of that start sits; `None` when it is not there any more.
    pub(crate) fn seat_of(&self, generation: Generation) -> Option<Seat> {
        Seat::ALL.into_iter().find(|seat| {
            self.get(*seat)
                .is_some_and(|engine| engine.generation == generation)
        })
    }

    /// Where the engine sits that is asked golden prompts under that number.
    pub(crate) fn seat_asked(&self, number: u64) -> Option<Seat> {
        Seat::ALL.into_iter().find(|seat| {
            self.get(*seat).is_some_and(
                |engine| matches!(engine.trial, Trial::Asked { number: asked, .. } if asked == number),
            )
        })
    }

    /// Whether nothing is under way but serving.
    pub(crate) const fn is_calm(&self) -> bool {
        self.candidate.is_none()
            && self.retiring.is_none()
            && self.takes_over.is_none()
            && self.fallback.is_none()
    }

    /// Whether that package is in use or wanted, so that its disk tier stays.
    pub(crate) fn needs(&self, package: Sha256) -> bool {
        self.iter().any(|engine| engine.package == Some(package)) || self.fallback == Some(package)
    }

    /// Bytes that the others claim.
    pub(crate) fn claimed_beside(&self, seat: Seat) -> u64 {
        Seat::ALL
            .into_iter()
            .filter(|other| *other != seat)
            .filter_map(|other| self.get(other))
            .fold(0, |sum, engine| sum.saturating_add(engine.claimed_bytes()))
    }

    /// Bytes that the others hold as memory of their own.
    pub(crate) fn held_beside(&self, seat: Seat) -> u64 {
        Seat::ALL
            .into_iter()
            .filter(|other| *other != seat)
            .filter_map(|other| self.get(other)?.process.as_ref())
            .fold(0, |sum, process| {
                sum.saturating_add(plan::held_bytes(process.pid()))
            })
    }

    /// Beside whom an engine in that seat computes.
    pub(crate) fn share(&self, seat: Seat) -> Share {
        let is_tried = self.candidate.as_ref().is_some_and(|it| it.life.is_serving());
        match seat {
            Seat::Serving if is_tried => Share::BesideCandidate,
            Seat::Serving if self.retiring.is_some() => Share::BesideRetiring,
            Seat::Serving => Share::Alone,
            Seat::Candidate => Share::Candidate,
            Seat::Retiring => Share::Retiring,
        }
    }

    /// Splits the threads of the machine among those who compute.
    pub(crate) fn share_threads(&mut self, all: u32) {
        for seat in Seat::ALL {
            let count = plan::threads(all, self.share(seat));
            if let Some(engine) = self.get_mut(seat) {
                engine.take_threads(count);
            }
        }
    }

    /// The candidate answers from now on, and the one that served drains.
    pub(crate) fn promote_candidate(&mut self) {
        if let Some(candidate) = self.candidate.take() {
            self.retiring = Some(std::mem::replace(&mut self.serving, candidate));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(generation: u64, text: &[u8]) -> Engine {
        let mut engine = Engine::new(Some(Sha256::of(text)));
        engine.begin(Generation(generation));
        engine
    }

    #[test]
    fn a_promoted_candidate_keeps_its_start_and_the_one_before_drains() {
        let mut engines = Engines::new(Some(Sha256::of(b"old")));
        engines.serving = engine(1, b"old");
        engines.candidate = Some(engine(2, b"new"));
        assert!(!engines.is_calm());
        engines.promote_candidate();
        assert_eq!(engines.seat_of(Generation(2)), Some(Seat::Serving));
        assert_eq!(engines.seat_of(Generation(1)), Some(Seat::Retiring));
        assert_eq!(engines.seat_of(Generation(3)), None);
        assert!(engines.candidate.is_none() && !engines.is_calm());
        assert!(engines.needs(Sha256::of(b"old")) && engines.needs(Sha256::of(b"new")));
        engines.retiring = None;
        assert!(engines.is_calm() && !engines.needs(Sha256::of(b"old")));
    }

    #[test]
    fn golden_prompts_are_asked_again_of_a_new_gateway_and_what_passed_stays_passed() {
        let asked = Trial::Asked {
            number: 7,
            deadline: Millis(1),
        };
        for (before, after) in [
            (Trial::Untold, Trial::Untold),
            (asked, Trial::Untold),
            (Trial::Passed, Trial::Passed),
            (Trial::Answering, Trial::Passed),
        ] {
            assert_eq!(before.after_gateway(), after);
        }
        let mut engines = Engines::new(None);
        engines.candidate = Some(engine(2, b"new"));
        engines.candidate.as_mut().unwrap().trial = asked;
        assert_eq!(engines.seat_asked(7), Some(Seat::Candidate));
        assert_eq!(engines.seat_asked(8), None);
    }

    #[test]
    fn a_worker_that_takes_over_after_a_crash_is_not_asked_again_and_another_package_is() {
        let mut engine = engine(1, b"one");
        engine.note_golden();
        engine.begin(Generation(2));
        assert_eq!(engine.golden_package, Some(Sha256::of(b"one")));
        engine.package = Some(Sha256::of(b"two"));
        assert_ne!(engine.golden_package, engine.package);
    }

    #[test]
    fn generations_are_never_given_twice() {
        let mut engines = Engines::new(None);
        let first = engines.next_generation();
        assert!(engines.next_generation() > first);
    }

    #[test]
    fn an_engine_computes_alone_until_a_candidate_is_tried_or_another_drains() {
        let mut engines = Engines::new(None);
        assert_eq!(engines.share(Seat::Serving), Share::Alone);
        engines.candidate = Some(engine(2, b"new"));
        assert_eq!(
            engines.share(Seat::Serving),
            Share::Alone,
            "one that loads computes nothing"
        );
        engines.promote_candidate();
        assert_eq!(engines.share(Seat::Serving), Share::BesideRetiring);
        assert_eq!(engines.share(Seat::Retiring), Share::Retiring);
    }
}
