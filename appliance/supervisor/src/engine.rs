//! The engines: verified, started, loaded, asked the golden prompts, watched by their steps.
//!
//! Each start begins with the package being verified again, and its weights hashed on the very descriptor that the
//! engine will map. That takes long for a large model, so it happens on a work thread, and meanwhile the engine is
//! started and stands behind its walls; it gets the order to load when its weights turn out to be the signed ones, and
//! is ended when they do not. `seats.rs` says which engines there are, `switch.rs` how one takes another's place.

mod pulse;
mod seats;
mod switch;

use std::fs::File;
use std::num::NonZeroU32;

use jingui_ipc::engine::{DISK_TIER_FD, DiskTier, Order as EngineOrder, Report, WEIGHTS_FD};
use jingui_ipc::gateway::{Engine as ServingEngine, Produced, Task, ToGateway};
use jingui_trust::Sha256;

use crate::clock::Millis;
use crate::event::{Event, Generation, WorkerRole};
use crate::leaves::Actor;
use crate::lifecycle::{Happening, Limits, Order, Why};
use crate::models::{LoadResult, LoadedModel, Seal};
use crate::plan::{self, Plan, PlanRefusal, Room};
use crate::process::{Process, Start, StartFailure};
use crate::supervisor::{Afterwards, Supervisor};

use seats::ServingAs;
pub(crate) use seats::{Engines, Reason, Seat, Trial};

/// Time limits of an engine.
pub(crate) const LIMITS: Limits = Limits {
    start_ms: 30_000,
    beat_ms: 5_000,
    drain_ms: 3_000,
};
/// How long verifying or loading may go without getting on.
pub(crate) const LOADING_MS: u64 = 120_000;
/// How long the gateway may take for one golden prompt; it gives up before that by itself.
pub(crate) const GOLDEN_PROMPT_MS: u64 = 150_000;
/// How long an engine that was replaced may take to finish what it has.
pub(crate) const RETIRE_MS: u64 = 600_000;

impl Supervisor {
    /// Something happened to an engine: act on it.
    pub(crate) fn engine_happens(&mut self, seat: Seat, happening: Happening) {
        self.engine_happens_at(seat, happening, self.clock.now());
    }

    /// As [`Supervisor::engine_happens`], judged as of that moment.
    pub(crate) fn engine_happens_at(&mut self, seat: Seat, happening: Happening, now: Millis) {
        let Some(engine) = self.engines.get_mut(seat) else {
            return;
        };
        let mut orders = engine.life.advance(happening, now);
        while let Some(order) = orders.pop_front() {
            match order {
                Order::Launch => {
                    if let Some(happening) = self.verify_for_launch(seat) {
                        let now = self.clock.now();
                        if let Some(engine) = self.engines.get_mut(seat) {
                            orders.extend(engine.life.advance(happening, now));
                        }
                    }
                }
                Order::Kill => {
                    if let Some(process) = self.engines.get(seat).and_then(|it| it.process.as_ref()) {
                        process.kill();
                    }
                }
                Order::Drain { within_ms } => {
                    let order = EngineOrder::Drain {
                        deadline_ms: within_ms,
                    };
                    self.post_engine(seat, &order, Vec::new());
                }
                Order::Mourn { why, pause_ms } => self.on_engine_death(seat, &why, pause_ms),
            }
        }
        self.settle_seats();
    }

    /// First part of a start: the package is verified on a work thread.
    fn verify_for_launch(&mut self, seat: Seat) -> Option<Happening> {
        let generation = self.engines.next_generation();
        let engine = self.engines.get_mut(seat)?;
        engine.begin(generation);
        let Some(package) = engine.package else {
            return Some(Happening::NotLaunched);
        };
        // An engine that died may have died of a block that the kernel would not give: then every block is read.
        let seal = if engine.life.restart_count() == 0 {
            Seal::Trusted
        } else {
            Seal::Doubted
        };
        self.models.set_state(package, "loading");
        match self.models.start_load(package, generation, seal, &self.events) {
            Ok(()) => None,
            Err(error) => {
                crate::say(format_args!("the model could not be opened: {error}"));
                Some(Happening::NotLaunched)
            }
        }
    }

    /// Second part: whose weights these are is known, so the engine is started beside the hashing.
    pub(crate) fn on_weights_opened(&mut self, generation: Generation, weights: File) {
        let Some(seat) = self.seat_launching(generation) else {
            return;
        };
        let happening = match self.start_engine(seat, generation, weights) {
            Ok(()) => Happening::Launched,
            Err(failure) => {
                crate::say_failure("the engine could not be started", &failure);
                Happening::NotLaunched
            }
        };
        self.engine_happens(seat, happening);
    }

    fn seat_launching(&self, generation: Generation) -> Option<Seat> {
        let seat = self.engines.seat_of(generation)?;
        self.engines
            .get(seat)
            .is_some_and(|engine| engine.life.is_launching())
            .then_some(seat)
    }

    fn start_engine(
        &mut self,
        seat: Seat,
        generation: Generation,
        weights: File,
    ) -> Result<(), StartFailure> {
        let Some(package) = self.engines.get(seat).and_then(|engine| engine.package) else {
            return Err(StartFailure::Wiring(std::io::ErrorKind::NotFound.into()));
        };
        let (tier, _) = self.tiers.file(package)?;
        let start = Start {
            role: WorkerRole::Engine,
            generation,
            descriptors: vec![(weights.into(), WEIGHTS_FD), (tier.into(), DISK_TIER_FD)],
        };
        let process = Process::start(&self.programs, start, &self.events, Event::EngineSaid)?;
        let title = self.models.title(package).unwrap_or_default();
        crate::say(format_args!("engine started for {title}, pid {}", process.pid()));
        if let Some(engine) = self.engines.get_mut(seat) {
            engine.process = Some(process);
        }
        Ok(())
    }

    /// How far the hashing is.
    pub(crate) fn on_verifying(&mut self, generation: Generation, done: u64, total: u64) {
        let Some(seat) = self.engines.seat_of(generation) else {
            return;
        };
        if let Some(engine) = self.engines.get_mut(seat)
            && engine.model_is_unknown()
        {
            engine.note_progress("verifying", permille(done, total));
        }
        self.engine_happens(
            seat,
            Happening::Progress {
                within_ms: LOADING_MS,
            },
        );
    }

    /// Third part: the package came back sound, or refused.
    pub(crate) fn on_verified(&mut self, generation: Generation, result: LoadResult) {
        let Some(seat) = self.engines.seat_of(generation) else {
            return;
        };
        if self.is_stopping() {
            return self.abandon(seat);
        }
        match result {
            Ok(model) => {
                let (event, object) = (model.verify_event(), model.package.to_string());
                let draft = self.scribe.done(Actor::device(), event, &object);
                let _ = self.record(draft);
                self.load_engine(seat, model);
            }
            Err(refusal) => {
                let draft = refusal.draft(&self.scribe);
                let _ = self.record(draft);
                crate::say(format_args!("the model is refused: {}", refusal.code()));
                let reason = Reason::new(refusal.code());
                if refusal.is_failure() && seat == Seat::Serving && self.engines.fallback.is_none() {
                    // The device may come back: tried again, and named meanwhile.
                    self.fail_start(seat, reason);
                } else {
                    self.reject(seat, reason);
                }
            }
        }
    }

    fn fail_start(&mut self, seat: Seat, reason: Reason) {
        let Some(engine) = self.engines.get_mut(seat) else {
            return;
        };
        if let Some(package) = engine.package {
            self.models.set_state(package, "failed");
        }
        let is_launching = engine.life.is_launching();
        engine.refusal = Some(reason.clone());
        let happening = if is_launching {
            Happening::NotLaunched
        } else {
            Happening::Broke(Why::Failed(reason.code))
        };
        self.engine_happens(seat, happening);
    }

    /// Ends the start or the life of an engine for good.
    fn abandon(&mut self, seat: Seat) {
        let is_launching = self
            .engines
            .get(seat)
            .is_some_and(|engine| engine.life.is_launching());
        self.engine_happens(seat, Happening::Unwanted);
        if is_launching {
            self.engine_happens(seat, Happening::NotLaunched);
        }
    }

    /// Fourth part: what the model takes is planned, and the engine is told to load it.
    fn load_engine(&mut self, seat: Seat, model: LoadedModel) {
        let Some(engine) = self.engines.get(seat) else {
            return;
        };
        if engine.life.is_launching() {
            return self.engine_happens(seat, Happening::NotLaunched);
        }
        if engine.process.is_none() || !engine.life.is_starting() {
            // It died meanwhile, and is started again by its life.
            return;
        }
        let (package, needs) = (model.package, model.needs);
        let planned = self.plan_for(seat, package, &needs);
        if let Some(engine) = self.engines.get_mut(seat) {
            engine.model = Some(model);
        }
        match planned {
            Ok(plan) => self.order_load(seat, package, plan),
            Err(None) => self.take_over_instead(package),
            Err(Some(refusal)) => {
                crate::say(format_args!("the model does not fit: {refusal}"));
                let reason = Reason {
                    code: refusal.code().to_owned(),
                    facts: refusal.facts(),
                };
                self.record_failed_load(seat, &reason.code);
                self.reject(seat, reason);
            }
        }
    }

    /// The plan for an engine in that seat; `Err(None)` when it fits, but not beside the one that serves.
    fn plan_for(
        &self,
        seat: Seat,
        package: Sha256,
        needs: &plan::Needs,
    ) -> Result<Plan, Option<PlanRefusal>> {
        let (memory_bytes, available_bytes) = plan::memory();
        let room = Room {
            memory_bytes,
            available_bytes,
            beside_bytes: self.engines.claimed_beside(seat),
            disk_bytes: self.tiers.room_bytes(package),
        };
        let planned = plan::plan(needs, &room, &self.wishes);
        if seat != Seat::Candidate {
            return planned.map_err(Some);
        }
        let alone = Room {
            available_bytes: available_bytes.saturating_add(self.engines.held_beside(seat)),
            beside_bytes: 0,
            ..room
        };
        match (planned, plan::plan(needs, &alone, &self.wishes)) {
            (_, Err(refusal)) => Err(Some(refusal)),
            (Ok(beside), Ok(alone)) if beside.is_worth_beside(&alone) => Ok(beside),
            (_, Ok(_)) => Err(None),
        }
    }

    fn order_load(&mut self, seat: Seat, package: Sha256, plan: Plan) {
        crate::say(format_args!("plan: {}", plan.describe()));
        let count = plan::threads(self.all_threads(), self.engines.share(seat));
        let tier = self.tiers.file(package).ok().filter(|_| plan.disk_tier_bytes > 0);
        let bytes_max = self.tiers.bytes_max(package, plan.disk_tier_bytes);
        let Some(engine) = self.engines.get_mut(seat) else {
            return;
        };
        engine.plan = Some(plan);
        engine.note_threads(count);
        engine.note_progress("loading", 0);
        let Some(model) = &engine.model else { return };
        let disk_tier = tier.map(|(_, key)| DiskTier {
            bytes_max,
            weights_sha256: *model.weights_digest.as_bytes(),
            key,
        });
        let load = plan.load(count, disk_tier);
        self.post_engine(seat, &EngineOrder::Load(load), Vec::new());
    }

    fn all_threads(&self) -> u32 {
        self.wishes
            .thread_count
            .map_or_else(plan::thread_count, NonZeroU32::get)
    }

    /// An engine died although it was wanted.
    fn on_engine_death(&mut self, seat: Seat, why: &Why, pause_ms: u64) {
        let code = why.code(WorkerRole::Engine.name());
        if seat == Seat::Candidate || self.engines.fallback.is_some() {
            if !matches!(why, Why::Failed(_)) {
                self.record_failed_load(seat, &code);
            }
            return self.reject(seat, Reason::new(&code));
        }
        self.retract(seat, &code);
        let restart_count = self.engines.serving.life.restart_count();
        self.mourn(
            jingui_audit::event::Worker::Engine,
            restart_count,
            &code,
            pause_ms,
        );
        self.engines.serving.last_why = Some(code);
    }

    /// An engine is gone: reap it.
    pub(crate) fn on_engine_exit(&mut self, generation: Generation) {
        let Some(seat) = self.engines.seat_of(generation) else {
            return;
        };
        let Some(engine) = self.engines.get_mut(seat) else {
            return;
        };
        // Dropping the process reaps it.
        if engine.process.take().is_none() {
            return;
        }
        engine.serving = None;
        if let (Some(package), Seat::Serving, None) = (engine.package, seat, &engine.refusal) {
            self.models.set_state(package, "loading");
        }
        self.engine_happens(seat, Happening::Exited(Why::Crashed));
    }

    /// An engine said something.
    pub(crate) fn on_engine_said(&mut self, generation: Generation, report: Report) {
        let Some(seat) = self.engines.seat_of(generation) else {
            return;
        };
        let now = self.clock.now();
        let Some(engine) = self.engines.get_mut(seat) else {
            return;
        };
        if engine.process.is_none() {
            return;
        }
        let getting_on = Happening::Progress {
            within_ms: LOADING_MS,
        };
        match report {
            Report::Confined { landlock_abi } => {
                engine.landlock_abi = landlock_abi;
                self.engine_happens(seat, getting_on);
            }
            Report::Loading { permille } => {
                engine.note_progress("loading", permille.min(1000));
                self.engine_happens(seat, getting_on);
            }
            Report::Serving {
                stream_context_tokens,
                stream_count,
                memory,
            } => {
                crate::say(format_args!(
                    "engine took {} MiB for weights, {} MiB for its pool, {} MiB to compute",
                    memory.weights_bytes >> 20,
                    memory.kv_bytes >> 20,
                    memory.compute_bytes >> 20,
                ));
                self.on_engine_serves(
                    seat,
                    ServingAs {
                        stream_context_tokens,
                        stream_count,
                    },
                );
            }
            Report::Beat {
                step_count,
                work_count,
                ..
            } => {
                engine.pulse.beat(step_count, work_count, now);
                self.engine_happens(seat, Happening::Beat);
            }
            Report::Failed { code } => self.on_load_failed(seat, code),
        }
    }

    fn on_engine_serves(&mut self, seat: Seat, serving: ServingAs) {
        let Some(engine) = self.engines.get_mut(seat) else {
            return;
        };
        if engine.life.is_serving() || engine.plan.is_none() {
            // Said once, and after the order; who says it otherwise is not our program.
            return self.engine_happens(seat, Happening::Broke(Why::BrokenConversation));
        }
        engine.serving = Some(serving);
        engine.note_progress("asking", 0);
        self.engine_happens(seat, Happening::Serves);
        self.share_threads();
        self.present(seat);
    }

    /// Tells gateway and engine of each other, with a fresh socket between them; then the golden prompts are asked, or
    /// nobody waits any longer. Nothing happens when one of them is not there or the log is stopped.
    pub(crate) fn present(&mut self, seat: Seat) {
        if !self.gateway.is_serving() || !self.log.is_writable() || self.is_stopping() {
            return;
        }
        let Some(engine) = self.engines.get(seat) else {
            return;
        };
        if !engine.life.is_serving() || seat == Seat::Retiring {
            return;
        }
        let (trial, generation) = (engine.trial, engine.generation);
        let Some(introduction) = introduction(engine) else {
            return;
        };
        let (to_gateway, to_engine) = match std::os::unix::net::UnixStream::pair() {
            Ok(pair) => pair,
            Err(error) => return crate::say(format_args!("no socket pair: {error}")),
        };
        self.post_engine(seat, &EngineOrder::Gateway, vec![to_engine.into()]);
        let introduction = ToGateway::Engine(Box::new(introduction));
        self.post_gateway(&introduction, vec![to_gateway.into()]);
        match trial {
            Trial::Untold | Trial::Asked { .. } => self.ask_golden(seat),
            Trial::Passed | Trial::Answering => self.after_commit(Afterwards::Promote(generation)),
        }
    }

    fn ask_golden(&mut self, seat: Seat) {
        let (number, now) = (self.acts.next_number(), self.clock.now());
        let Some(engine) = self.engines.get_mut(seat) else {
            return;
        };
        if !engine.is_to_be_asked() {
            return self.pass(seat);
        }
        let Some(model) = &engine.model else { return };
        let prompts = model.golden.clone();
        let count = u64::try_from(prompts.len()).unwrap_or(u64::MAX);
        engine.trial = Trial::Asked {
            number,
            deadline: now.after(GOLDEN_PROMPT_MS.saturating_mul(count)),
        };
        let task = Task::AskGolden {
            package_digest: model.package.to_string(),
            prompts,
        };
        self.post_gateway(&ToGateway::Do { number, task }, Vec::new());
    }

    /// The gateway asked the golden prompts, or could not.
    pub(crate) fn on_golden(&mut self, seat: Seat, outcome: &Result<Produced, jingui_ipc::control::Fault>) {
        let count = self
            .engines
            .get(seat)
            .and_then(|engine| engine.model.as_ref())
            .map_or(0, |model| model.golden.len());
        match outcome {
            Ok(Produced::Golden {
                asked_count,
                first_wrong_index: None,
            }) if usize::try_from(*asked_count) == Ok(count) => {
                if let Some(engine) = self.engines.get_mut(seat) {
                    engine.note_golden();
                }
                self.pass(seat);
            }
            Ok(Produced::Golden {
                first_wrong_index: Some(index),
                ..
            }) => {
                let reason = Reason {
                    code: "engine.golden.wrong".to_owned(),
                    facts: vec![
                        ("index".to_owned(), index.saturating_add(1).to_string()),
                        ("count".to_owned(), count.to_string()),
                    ],
                };
                crate::say(format_args!("golden prompt {index} was answered wrongly"));
                self.record_failed_load(seat, &reason.code);
                self.reject(seat, reason);
            }
            _ => self.golden_unanswered(seat),
        }
    }

    fn golden_unanswered(&mut self, seat: Seat) {
        const CODE: &str = "engine.golden.unanswered";
        self.record_failed_load(seat, CODE);
        self.engine_happens(seat, Happening::Broke(Why::Failed(CODE.to_owned())));
    }

    /// It may answer people once its leaf is on disk.
    fn pass(&mut self, seat: Seat) {
        let Some(engine) = self.engines.get_mut(seat) else {
            return;
        };
        let (Some(event), Some(package)) = (engine.load_event(), engine.package) else {
            return;
        };
        let generation = engine.generation;
        engine.trial = Trial::Passed;
        let draft = self.scribe.done(Actor::device(), event, &package.to_string());
        if self.record(draft).is_ok() {
            self.after_commit(Afterwards::Promote(generation));
        } else if let Some(engine) = self.engines.get_mut(seat) {
            engine.trial = Trial::Untold;
        }
    }

    fn on_load_failed(&mut self, seat: Seat, code: String) {
        let code = if code.len() > crate::leaves::WORD_BYTES_MAX {
            "engine.crashed".to_owned()
        } else {
            code
        };
        self.record_failed_load(seat, &code);
        self.engine_happens(seat, Happening::Broke(Why::Failed(code)));
    }

    fn record_failed_load(&mut self, seat: Seat, code: &str) {
        let Some(engine) = self.engines.get_mut(seat) else {
            return;
        };
        engine.serving = None;
        if let (Some(event), Some(package)) = (engine.load_event(), engine.package) {
            let draft = self
                .scribe
                .failed(Actor::device(), event, &package.to_string(), code);
            let _ = self.record(draft);
        }
    }

    /// Engines that make no step, and gateways that do not finish asking.
    pub(crate) fn watch_engines(&mut self, now: Millis) {
        for seat in Seat::ALL {
            let Some(engine) = self.engines.get(seat) else {
                continue;
            };
            if engine.deadline().is_none_or(|deadline| now < deadline) {
                continue;
            }
            match engine.trial {
                Trial::Asked { deadline, .. } if deadline <= now => self.golden_unanswered(seat),
                _ => self.engine_happens(seat, Happening::Broke(Why::Hung)),
            }
        }
    }

    /// Queues an order to an engine; one that does not read is ended.
    pub(crate) fn post_engine(
        &mut self,
        seat: Seat,
        order: &EngineOrder,
        descriptors: Vec<std::os::fd::OwnedFd>,
    ) {
        let Some(process) = self.engines.get(seat).and_then(|it| it.process.as_ref()) else {
            return;
        };
        if process.post(order, descriptors).is_err() {
            self.engine_happens(seat, Happening::Broke(Why::StuckOutbox));
        }
    }

    /// Tells the gateway that an engine does not answer now.
    pub(crate) fn retract(&mut self, seat: Seat, why: &str) {
        let Some(engine) = self.engines.get_mut(seat) else {
            return;
        };
        let was_told = engine.trial != Trial::Untold;
        engine.trial = engine.trial.after_gateway();
        let Some(package) = engine.package.filter(|_| was_told) else {
            return;
        };
        let gone = ToGateway::EngineGone {
            package_digest: package.to_string(),
            why: why.to_owned(),
        };
        self.post_gateway(&gone, Vec::new());
    }

    /// What the gateway needs to know of the engine that answers.
    pub(crate) fn serving_engine(&self) -> Option<ServingEngine> {
        let engine = &self.engines.serving;
        engine.is_answering().then(|| introduction(engine)).flatten()
    }
}

/// What the gateway needs to know of an engine.
fn introduction(engine: &seats::Engine) -> Option<ServingEngine> {
    let (model, serving) = (engine.model.as_ref()?, engine.serving?);
    let mut facts = model.facts.clone();
    "serving".clone_into(&mut facts.state);
    Some(ServingEngine {
        model: facts,
        chat_template: model.chat_template.clone(),
        stream_context_tokens: serving.stream_context_tokens,
        stream_count: serving.stream_count,
    })
}

fn permille(done: u64, total: u64) -> u16 {
    let permille = u128::from(done) * 1000 / u128::from(total.max(1));
    u16::try_from(permille.min(1000)).unwrap_or(1000)
}
