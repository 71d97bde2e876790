//! How a model takes the place of another without a dropped request, and how the one before comes back.
//!
//! Beside: the candidate is verified, loaded and asked the golden prompts while the other serves; then its leaf, the
//! choice on disk, [`ToGateway::Promote`], and the other drains. Where memory holds only one, the one that serves drains
//! first and the new one is tried in its seat. Either way the choice on disk changes when the new one has passed and not
//! before, so that a crash, a wrong answer or a pulled plug on the way finds the old one chosen.

use jingui_audit::event::Event as LeafEvent;
use jingui_ipc::gateway::ToGateway;
use jingui_trust::Sha256;

use crate::event::Generation;
use crate::leaves::Actor;
use crate::lifecycle::{Happening, Why};
use crate::supervisor::Supervisor;

use super::seats::Engine;
use super::{RETIRE_MS, Reason, Seat, Trial};

impl Supervisor {
    /// The package is the choice on disk: load it in the serving seat.
    pub(crate) fn serve(&mut self, package: Sha256) {
        self.engines.failed = None;
        self.engines.serving.package = Some(package);
        self.engines.serving.refusal = None;
        if self.engines.serving.life.is_absent() {
            self.engine_happens(Seat::Serving, Happening::Wanted);
        } else {
            self.engine_happens(Seat::Serving, Happening::Broke(Why::Ended));
        }
    }

    /// An admin wants another package to be served.
    pub(crate) fn switch_to(&mut self, package: Sha256) {
        self.engines.failed = None;
        if !self.engines.is_calm() {
            // One at a time; a candidate that nobody wants any more makes room.
            self.engines.next = Some(package);
            if self.engines.candidate.is_some() {
                self.abandon(Seat::Candidate);
            }
            return;
        }
        if self.engines.serving.is_answering() {
            crate::say(format_args!("a candidate is loaded beside the model that serves"));
            self.engines.candidate = Some(Engine::new(Some(package)));
            self.engine_happens(Seat::Candidate, Happening::Wanted);
        } else {
            // Nobody is served that could be dropped.
            self.engines.fallback = self
                .engines
                .serving
                .package
                .filter(|_| self.engines.serving.refusal.is_none());
            self.seat_instead(package);
        }
    }

    /// Memory does not hold both: the one that serves drains, then the new one takes its seat.
    pub(super) fn take_over_instead(&mut self, package: Sha256) {
        crate::say(format_args!(
            "memory does not hold both models: the one that serves ends first"
        ));
        self.engines.takes_over = Some(package);
        self.abandon(Seat::Candidate);
    }

    fn seat_instead(&mut self, package: Sha256) {
        self.engines.serving.package = Some(package);
        self.engines.serving.refusal = None;
        let is_over = self.engines.serving.life.is_over();
        if is_over {
            self.engine_happens(Seat::Serving, Happening::Wanted);
        } else {
            self.abandon(Seat::Serving);
            self.engine_happens(Seat::Serving, Happening::Wanted);
        }
    }

    /// The leaf of a passed engine is on disk: it answers from now on.
    pub(crate) fn promote(&mut self, generation: Generation) {
        let Some(seat) = self.engines.seat_of(generation) else {
            return;
        };
        let is_ready = self
            .engines
            .get(seat)
            .is_some_and(|engine| engine.trial == Trial::Passed && engine.life.is_serving());
        if !is_ready || !self.gateway.is_serving() || self.is_stopping() {
            return;
        }
        let Some(package) = self.engines.get(seat).and_then(|engine| engine.package) else {
            return;
        };
        if self.models.active() != Some(package)
            && let Err(error) = self.models.activate(package)
        {
            crate::say(format_args!("the choice of model could not be written: {error}"));
            self.record_failed_load(seat, "system.state.unwritable");
            return self.reject(seat, Reason::new("system.state.unwritable"));
        }
        self.engines.fallback = None;
        if let Some(engine) = self.engines.get_mut(seat) {
            engine.trial = Trial::Answering;
            engine.progress = None;
        }
        self.models.set_state(package, "serving");
        let title = self.models.title(package).unwrap_or_default();
        crate::say(format_args!("engine serves {title}"));
        let promote = ToGateway::Promote {
            package_digest: package.to_string(),
        };
        self.post_gateway(&promote, Vec::new());
        if seat == Seat::Candidate {
            self.engines.promote_candidate();
            let retire = Happening::Retire { within_ms: RETIRE_MS };
            self.engine_happens(Seat::Retiring, retire);
        }
        self.share_threads();
    }

    /// An engine is no good: it ends, and nothing else does. In the serving seat the one before comes back, if there is
    /// one.
    pub(super) fn reject(&mut self, seat: Seat, reason: Reason) {
        crate::say(format_args!("the engine is rejected: {}", reason.code));
        self.retract(seat, &reason.code);
        let Some(engine) = self.engines.get_mut(seat) else {
            return;
        };
        engine.trial = Trial::Untold;
        if let Some(package) = engine.package {
            self.models.set_state(package, "failed");
        }
        match (seat, self.engines.fallback.take()) {
            (Seat::Serving, Some(back)) => {
                self.engines.failed = Some(reason);
                self.seat_instead(back);
            }
            (Seat::Serving, None) => {
                self.engines.serving.refusal = Some(reason);
                self.abandon(Seat::Serving);
            }
            (_, fallback) => {
                self.engines.fallback = fallback;
                self.engines.failed = Some(reason);
                self.abandon(seat);
            }
        }
    }

    /// Seats whose engine is gone for good are cleared, and what waited for them goes on.
    pub(super) fn settle_seats(&mut self) {
        if self.engines.candidate.as_ref().is_some_and(is_gone) {
            let gone = self.engines.candidate.take();
            self.forget_tier(gone.and_then(|engine| engine.package));
            self.share_threads();
        }
        if self.engines.retiring.as_ref().is_some_and(is_gone) {
            let gone = self.engines.retiring.take();
            self.on_retired(gone.as_ref());
        }
        if self.is_stopping() {
            return;
        }
        if self.engines.takes_over.is_some() && self.engines.candidate.is_none() {
            self.vacate();
        }
        if self.engines.is_calm()
            && let Some(next) = self.engines.next.take()
        {
            self.switch_to(next);
        }
    }

    /// The serving seat is emptied for a package that does not fit beside it.
    fn vacate(&mut self) {
        if self.engines.serving.life.is_serving() {
            let drain = Happening::Retire { within_ms: RETIRE_MS };
            self.engine_happens(Seat::Serving, drain);
            return;
        }
        if !is_gone(&self.engines.serving) {
            return;
        }
        let Some(package) = self.engines.takes_over.take() else {
            return;
        };
        self.retract(Seat::Serving, "engine.ended");
        self.record_unload(Seat::Serving);
        self.engines.fallback = self.engines.serving.package;
        self.seat_instead(package);
    }

    /// The engine that was replaced has finished.
    fn on_retired(&mut self, engine: Option<&Engine>) {
        let Some(model) = engine.and_then(|engine| engine.model.as_ref()) else {
            return;
        };
        let (package, name) = (model.package, model.facts.name.clone());
        crate::say(format_args!("the engine before has ended"));
        self.models.set_state(package, "stored");
        self.record_unloaded(package, name);
        let gone = ToGateway::EngineGone {
            package_digest: package.to_string(),
            why: "engine.ended".to_owned(),
        };
        self.post_gateway(&gone, Vec::new());
        self.forget_tier(Some(package));
        self.share_threads();
    }

    fn record_unload(&mut self, seat: Seat) {
        let model = self.engines.get(seat).and_then(|engine| engine.model.as_ref());
        if let Some((package, name)) = model.map(|model| (model.package, model.facts.name.clone())) {
            self.models.set_state(package, "stored");
            self.record_unloaded(package, name);
        }
    }

    fn record_unloaded(&mut self, package: Sha256, name: String) {
        let event = LeafEvent::ModelUnload { package, name };
        let draft = self.scribe.done(Actor::device(), event, &package.to_string());
        let _ = self.record(draft);
    }

    fn forget_tier(&mut self, package: Option<Sha256>) {
        if let Some(package) = package.filter(|package| !self.engines.needs(*package)) {
            self.tiers.forget(package);
        }
    }

    pub(super) fn share_threads(&mut self) {
        let all = self.all_threads();
        self.engines.share_threads(all);
    }
}

fn is_gone(engine: &Engine) -> bool {
    engine.life.is_over() && engine.process.is_none()
}
