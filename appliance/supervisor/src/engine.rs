//! The engine: verified, started, loaded, watched by its steps.
//!
//! Each start begins with the package being verified again, and its weights hashed on the very descriptor that the
//! engine will map. That takes long for a large model, so it happens on a work thread; the engine is started when it
//! comes back sound.

use jingui_audit::event::{Event as LeafEvent, Worker};
use jingui_ipc::engine::{Order as EngineOrder, Report, WEIGHTS_FD};
use jingui_ipc::gateway::Engine as ServingEngine;
use jingui_jail::Walls;

use crate::clock::Millis;
use crate::event::{Event, Generation, WorkerRole};
use crate::leaves::Actor;
use crate::lifecycle::{Happening, Lifecycle, Limits, Order, Why};
use crate::models::{LoadResult, LoadedModel};
use crate::plan;
use crate::process::{Process, Start, StartFailure};
use crate::supervisor::{Afterwards, Supervisor};

/// Time limits of the engine.
pub(crate) const LIMITS: Limits = Limits {
    start_ms: 30_000,
    beat_ms: 5_000,
    drain_ms: 3_000,
};
/// How long loading may go without getting on.
pub(crate) const LOADING_MS: u64 = 120_000;
/// How long a busy engine may go without a step.
pub(crate) const STEP_MS: u64 = 30_000;
/// The engine as the supervisor sees it.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) life: Lifecycle,
    pub(crate) generation: Generation,
    pub(crate) process: Option<Process>,
    pub(crate) landlock_abi: u32,
    pub(crate) last_why: Option<String>,
    /// Whether the gateway was told of this start of it: only then anybody is answered.
    pub(crate) is_introduced: bool,
    /// Why the active model is not loaded: it was refused.
    pub(crate) refusal: Option<String>,
    model: Option<LoadedModel>,
    serving: Option<ServingAs>,
    pulse: Pulse,
}

/// What the serving engine reported.
#[derive(Debug, Clone, Copy)]
struct ServingAs {
    stream_context_tokens: u32,
    stream_count: u32,
}

/// Step heartbeat of a serving engine: one that is busy and makes no step is hung.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    step_count: u64,
    stuck_since: Option<Millis>,
}

impl Engine {
    /// Nobody yet.
    pub(crate) fn new() -> Self {
        Self {
            life: Lifecycle::new(LIMITS),
            generation: Generation(0),
            process: None,
            landlock_abi: 0,
            last_why: None,
            is_introduced: false,
            refusal: None,
            model: None,
            serving: None,
            pulse: Pulse::default(),
        }
    }

    /// Digest of the package that is loaded, or being loaded.
    pub(crate) fn package_digest(&self) -> Option<String> {
        self.model
            .as_ref()
            .map(|model| model.facts.package_digest.clone())
    }

    /// Steps made since its start.
    pub(crate) const fn step_count(&self) -> u64 {
        self.pulse.step_count
    }

    /// The walls round it, as they are now.
    pub(crate) fn walls(&self) -> Option<Walls> {
        self.process
            .as_ref()
            .map(|process| jingui_jail::measure(process.pid()))
    }

    /// When it has to have made a step, or be found hung.
    pub(crate) fn step_deadline(&self) -> Option<Millis> {
        self.pulse.deadline().filter(|_| self.life.is_serving())
    }
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

    /// When it is hung unless a step comes.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        self.stuck_since.map(|since| since.after(STEP_MS))
    }
}

impl Supervisor {
    /// The active model is another one, or there is one at last: load it.
    pub(crate) fn serve_active_model(&mut self) {
        self.engine.refusal = None;
        if let Some(model) = self.engine.model.take() {
            let (package, name) = (model.package, model.facts.name);
            let event = LeafEvent::ModelUnload { package, name };
            let draft = self.scribe.done(Actor::device(), event, &package.to_string());
            let _ = self.record(draft);
            let why = "engine.ended".to_owned();
            let gone = jingui_ipc::gateway::ToGateway::EngineGone {
                package_digest: package.to_string(),
                why,
            };
            self.post_gateway(&gone, Vec::new());
        }
        if self.models.active().is_none() {
            return;
        }
        if self.engine.life.is_absent() {
            self.engine_happens(Happening::Wanted);
        } else {
            self.engine_happens(Happening::Broke(Why::Ended));
        }
    }

    /// Something happened to the engine: act on it.
    pub(crate) fn engine_happens(&mut self, happening: Happening) {
        self.engine_happens_at(happening, self.clock.now());
    }

    /// As [`Supervisor::engine_happens`], judged as of that moment.
    pub(crate) fn engine_happens_at(&mut self, happening: Happening, now: Millis) {
        let mut orders = self.engine.life.advance(happening, now);
        while let Some(order) = orders.pop_front() {
            match order {
                Order::Launch => {
                    if let Some(happening) = self.verify_for_launch() {
                        orders.extend(self.engine.life.advance(happening, self.clock.now()));
                    }
                }
                Order::Kill => {
                    if let Some(process) = &self.engine.process {
                        process.kill();
                    }
                }
                Order::Drain { within_ms } => self.post_engine(
                    &EngineOrder::Drain {
                        deadline_ms: within_ms,
                    },
                    Vec::new(),
                ),
                Order::Mourn { why, pause_ms } => self.mourn_engine(&why, pause_ms),
            }
        }
    }

    /// First half of a start: the package is verified on a work thread.
    fn verify_for_launch(&mut self) -> Option<Happening> {
        self.engine.generation.0 += 1;
        self.engine.landlock_abi = 0;
        self.engine.serving = None;
        self.engine.is_introduced = false;
        self.engine.pulse = Pulse::default();
        if let Some(package) = self.models.active() {
            self.models.set_state(package, "loading");
        }
        match self.models.start_load(self.engine.generation, &self.events) {
            Ok(()) => None,
            Err(error) => {
                crate::say(format_args!("the active model could not be opened: {error}"));
                Some(Happening::NotLaunched)
            }
        }
    }

    /// Second half of a start: the package came back sound, or refused.
    pub(crate) fn on_verified(&mut self, generation: Generation, result: LoadResult) {
        if generation != self.engine.generation || self.engine.process.is_some() {
            return;
        }
        let is_still_active = match &result {
            Ok(model) => self.models.active() == Some(model.package),
            Err(refusal) => self.models.active() == Some(refusal.package),
        };
        if !is_still_active || self.is_stopping() {
            // Another model became active meanwhile: start over with it; or the box stops: nothing is wanted.
            if self.is_stopping() {
                self.engine_happens(Happening::Unwanted);
            }
            return self.abandon_launch();
        }
        match result {
            Ok(model) => {
                let draft =
                    self.scribe
                        .done(Actor::device(), model.verify_event(), &model.package.to_string());
                let _ = self.record(draft);
                let happening = match self.launch_engine(model) {
                    Ok(()) => Happening::Launched,
                    Err(failure) => {
                        crate::say_failure("the engine could not be started", &failure);
                        Happening::NotLaunched
                    }
                };
                self.engine_happens(happening);
            }
            Err(refusal) => {
                let draft = refusal.draft(&self.scribe);
                let _ = self.record(draft);
                crate::say(format_args!("the active model is refused: {}", refusal.code()));
                self.models.set_state(refusal.package, "failed");
                self.engine.refusal = Some(refusal.code().to_owned());
                if !refusal.is_failure() {
                    self.engine_happens(Happening::Unwanted);
                }
                self.engine_happens(Happening::NotLaunched);
            }
        }
    }

    fn abandon_launch(&mut self) {
        // Unwanted and not launched: absent. Wanted: launches again at once, without a strike.
        let is_wanted = !self.is_stopping();
        self.engine_happens(Happening::Unwanted);
        self.engine_happens(Happening::NotLaunched);
        if is_wanted {
            self.engine_happens(Happening::Wanted);
        }
    }

    fn launch_engine(&mut self, model: LoadedModel) -> Result<(), StartFailure> {
        let weights = model.weights.try_clone()?;
        let start = Start {
            role: WorkerRole::Engine,
            generation: self.engine.generation,
            descriptors: vec![(weights.into(), WEIGHTS_FD)],
        };
        let process = Process::start(&self.programs, start, &self.events, Event::EngineSaid)?;
        crate::say(format_args!(
            "engine started for {}, pid {}",
            model.facts.name,
            process.pid()
        ));
        self.models.set_state(model.package, "loading");
        let load = plan::load(
            &model.facts,
            plan::memory_bytes(),
            plan::thread_count(),
            self.wishes,
        );
        self.engine.refusal = None;
        self.engine.process = Some(process);
        self.engine.model = Some(model);
        self.post_engine(&EngineOrder::Load(load), Vec::new());
        Ok(())
    }

    fn mourn_engine(&mut self, why: &Why, pause_ms: u64) {
        let code = why.code(WorkerRole::Engine.name());
        self.retract_engine(&code);
        self.mourn(Worker::Engine, self.engine.life.restart_count(), &code, pause_ms);
        self.engine.last_why = Some(code);
    }

    /// The engine is gone: reap it.
    pub(crate) fn on_engine_exit(&mut self, generation: Generation) {
        if generation != self.engine.generation || self.engine.process.is_none() {
            return;
        }
        self.engine.process = None;
        self.engine.serving = None;
        if let Some(model) = &self.engine.model {
            self.models.set_state(model.package, "loading");
        }
        self.engine_happens(Happening::Exited(Why::Crashed));
    }

    /// The engine said something.
    pub(crate) fn on_engine_said(&mut self, generation: Generation, report: Report) {
        if generation != self.engine.generation || self.engine.process.is_none() {
            return;
        }
        match report {
            Report::Confined { landlock_abi } => {
                self.engine.landlock_abi = landlock_abi;
                self.engine_happens(Happening::Progress {
                    within_ms: LOADING_MS,
                });
            }
            Report::Loading { .. } => self.engine_happens(Happening::Progress {
                within_ms: LOADING_MS,
            }),
            Report::Serving {
                stream_context_tokens,
                stream_count,
                ..
            } => {
                self.on_engine_serves(ServingAs {
                    stream_context_tokens,
                    stream_count,
                });
            }
            Report::Beat {
                step_count,
                work_count,
                ..
            } => {
                self.engine.pulse.beat(step_count, work_count, self.clock.now());
                self.engine_happens(Happening::Beat);
            }
            Report::Failed { code } => self.on_load_failed(code),
        }
    }

    fn on_engine_serves(&mut self, serving: ServingAs) {
        if self.engine.life.is_serving() {
            // Said once; who says it again is not our program.
            return self.engine_happens(Happening::Broke(Why::BrokenConversation));
        }
        self.engine_happens(Happening::Serves);
        self.engine.serving = Some(serving);
        let Some(model) = &self.engine.model else { return };
        let package = model.package;
        crate::say(format_args!("engine serves {}", model.facts.name));
        let event = load_event(model, Some(serving));
        self.models.set_state(package, "serving");
        let draft = self.scribe.done(Actor::device(), event, &package.to_string());
        let _ = self.record(draft);
        // Nobody may ask the model before its leaf is on disk.
        self.after_commit(Afterwards::Introduce);
    }

    fn on_load_failed(&mut self, code: String) {
        let code = if code.len() > crate::leaves::WORD_BYTES_MAX {
            "engine.crashed".to_owned()
        } else {
            code
        };
        if let Some(model) = &self.engine.model {
            let draft = self.scribe.failed(
                Actor::device(),
                load_event(model, None),
                &model.package.to_string(),
                &code,
            );
            let _ = self.record(draft);
        }
        self.engine_happens(Happening::Broke(Why::Failed(code)));
    }

    /// A busy engine that made no step for too long is hung.
    pub(crate) fn watch_steps(&mut self, now: Millis) {
        if self
            .engine
            .step_deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.engine_happens(Happening::Broke(Why::Hung));
        }
    }

    /// What the gateway needs to know of the serving engine.
    pub(crate) fn serving_engine(&self) -> Option<ServingEngine> {
        let (model, serving) = (self.engine.model.as_ref()?, self.engine.serving?);
        let mut facts = model.facts.clone();
        "serving".clone_into(&mut facts.state);
        self.engine.life.is_serving().then(|| ServingEngine {
            model: facts,
            chat_template: model.chat_template.clone(),
            stream_context_tokens: serving.stream_context_tokens,
            stream_count: serving.stream_count,
        })
    }

    /// Queues an order to the engine; an engine that does not read is ended.
    pub(crate) fn post_engine(&mut self, order: &EngineOrder, descriptors: Vec<std::os::fd::OwnedFd>) {
        let Some(process) = &self.engine.process else {
            return;
        };
        if process.post(order, descriptors).is_err() {
            self.engine_happens(Happening::Broke(Why::StuckOutbox));
        }
    }
}

fn load_event(model: &LoadedModel, serving: Option<ServingAs>) -> LeafEvent {
    LeafEvent::ModelLoad {
        package: model.package,
        weights: model.weights_digest,
        name: model.facts.name.clone(),
        stream_count: serving.map(|it| u64::from(it.stream_count)),
        stream_context_tokens: serving.map(|it| u64::from(it.stream_context_tokens)),
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
