//! The loop: takes events in batches, acts between them, and lets answers leave after the checkpoint that covers
//! what they speak of.
//!
//! One thread owns all state. It waits for nobody but the disk: processes, people and long work send events.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use jingui_audit::event::{Event as LeafEvent, ShutdownReason};
use jingui_audit::leaf::Draft;
use jingui_audit::writer::{BATCH_LEAVES_MAX, Opened};
use jingui_ipc::control::{Fault, Private, Reply, SetUpDone};
use jingui_ipc::gateway::{Answer, ToGateway};

use crate::acts::{Acts, Asker, Factory, unavailable};
use crate::audit_log::{AuditLog, LogFailure};
use crate::certificates::Certificates;
use crate::clock::{Clock, Millis};
use crate::control::Connections;
use crate::durable;
use crate::engine::{Engines, Seat};
use crate::event::{ConnectionId, EVENTS_MAX, Event, Generation, WorkerRole};
use crate::gateway::Gateway;
use crate::heartbeat::Heartbeat;
use crate::identity::Identity;
use crate::leaves::{Actor, Scribe};
use crate::lifecycle::Happening;
use crate::models::{ModelStore, Staged};
use crate::network::Network;
use crate::network::settings::Sound;
use crate::outbox::Outbox;
use crate::people::{Enrolled, People, Person};
use crate::places::Places;
use crate::plan::Wishes;
use crate::platform::Platform;
use crate::process::Programs;
use crate::screen::{Ending, Screens};
use crate::state::StateFolder;
use crate::tiers::Tiers;
use crate::update::Updates;
use crate::work::PasswordDesk;

/// Leaves that one event can make at most; a batch is closed while that many still fit.
const LEAVES_PER_EVENT_MAX: usize = 16;
/// How often a stopped log is tried again.
const LOG_RETRY_MS: u64 = 5_000;
/// Longest sleep of the loop.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// Everything the supervisor owns.
pub(crate) struct Supervisor {
    pub(crate) state: StateFolder,
    pub(crate) clock: Clock,
    pub(crate) scribe: Scribe,
    pub(crate) identity: Identity,
    pub(crate) certificates: Certificates,
    pub(crate) log: AuditLog,
    pub(crate) people: People,
    pub(crate) models: ModelStore,
    pub(crate) programs: Programs,
    pub(crate) listener: TcpListener,
    pub(crate) address: SocketAddr,
    pub(crate) events: SyncSender<Event>,
    pub(crate) passwords: PasswordDesk,
    pub(crate) setup_code: Option<Private>,
    pub(crate) acts: Acts,
    pub(crate) platform: Platform,
    pub(crate) factory: Factory,
    pub(crate) gateway: Gateway,
    pub(crate) engines: Engines,
    pub(crate) tiers: Tiers,
    pub(crate) wishes: Wishes,
    /// Surroundings of the box; `None` on a developer's machine.
    pub(crate) places: Option<Places>,
    pub(crate) network: Network,
    pub(crate) screens: Screens,
    /// What follows when everything has stopped.
    pub(crate) ending: Ending,
    pub(crate) updates: Updates,
    pub(crate) connections: Connections,
    pub(crate) course: Course,
    pub(crate) afterwards: Vec<Afterwards>,
    pub(crate) log_retry_at: Option<Millis>,
    pub(crate) heartbeat: Heartbeat,
}

/// Whether the box runs or stops.
#[derive(Debug, Default)]
pub(crate) enum Course {
    /// It runs.
    #[default]
    Running,
    /// It stops: first the gateway, whose last requests need the engine and the log, then the engine.
    Stopping {
        /// Why.
        reason: ShutdownReason,
        /// Tools that wait to hear that it stopped.
        askers: Vec<ConnectionId>,
    },
}

/// What is done after the next checkpoint, or not at all when the log cannot be written.
#[derive(Debug)]
pub(crate) enum Afterwards {
    /// Tell somebody.
    Send(Letter),
    /// Put a model into the store whose leaf is recorded.
    Store {
        asker: Asker,
        staged: Box<Staged>,
        activate: bool,
        leaf_index: u64,
    },
    /// Put the three admins in force.
    Install {
        asker: Asker,
        enrolled: Box<Enrolled>,
        done: SetUpDone,
    },
    /// Put settings of the network in force whose leaf is recorded.
    SetNetwork {
        asker: Asker,
        sound: Box<Sound>,
        leaf_index: u64,
    },
    /// Copy the log to a stick, whose leaf is recorded.
    CarryEvidence {
        asker: Asker,
        person: Person,
        leaf_index: u64,
    },
    /// Write a new image whose leaf is recorded.
    WriteUpdate {
        asker: Asker,
        source: String,
        approver: Person,
        staged: Box<crate::update::Staged>,
        leaf_index: u64,
    },
    /// Note that an image is good whose leaf is recorded.
    Bless,
    /// Stop in order, for what follows.
    Power {
        asker: Asker,
        ending: Ending,
        leaf_index: u64,
    },
    /// Tell gateway and engines of each other.
    Introduce,
    /// Let an engine answer people whose leaf is recorded.
    Promote(Generation),
}

/// An answer and where it goes.
#[derive(Debug)]
pub(crate) enum Letter {
    /// To nobody.
    Nobody,
    /// To the gateway.
    Answer {
        generation: Generation,
        number: u64,
        answer: Box<Answer>,
    },
    /// To a local screen.
    Screen {
        connection: ConnectionId,
        number: u64,
        reply: Box<jingui_ipc::screen::Reply>,
    },
    /// To a person's tool.
    Reply {
        connection: ConnectionId,
        reply: Box<Reply>,
    },
}

impl Supervisor {
    /// First leaves of this boot, then the processes. With a stopped log the box comes up to say so: acts and
    /// inference stay refused until the log is back.
    pub(crate) fn start(&mut self) {
        let opened = self.open_log();
        let draft = self.boot_draft();
        let recorded = opened.and_then(|opened| self.record_opening(&opened, false));
        let recorded = recorded
            .and(self.log.record(draft).map(drop))
            .and_then(|()| self.log.commit());
        if recorded.is_err() {
            self.on_log_stopped();
        }
        self.judge_update();
        self.bring_up_network();
        if let Some(code) = self.platform.refusal() {
            // Whoever stands there sees why; nobody on the LAN is answered by an image that this machine has left behind.
            crate::say(format_args!("this image does not serve: {code}"));
            return;
        }
        self.take_in_factory();
        self.gateway_happens(Happening::Wanted);
        if self.models.active().is_some() {
            self.engine_happens(Seat::Serving, Happening::Wanted);
        }
    }

    /// The leaf of this start: refused when the image must not serve.
    fn boot_draft(&self) -> Draft {
        let event = self.platform.boot_event();
        match self.platform.refusal() {
            None => self.scribe.done(Actor::device(), event, ""),
            Some(code) => self.scribe.denied(Actor::device(), event, "", code),
        }
    }

    /// Runs until the box has stopped in order.
    pub(crate) fn run(mut self, inbox: &Receiver<Event>) {
        self.heartbeat.ready();
        while !self.is_over() {
            self.turn(inbox);
        }
        self.end();
    }

    /// One batch: what waits now, its checkpoint, its answers; then what is due.
    fn turn(&mut self, inbox: &Receiver<Event>) {
        match inbox.recv_timeout(self.sleep()) {
            Ok(event) => self.take(event),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        // Deadlines are judged as of this moment, after all that was said before it: a slow disk below makes nobody
        // late, and a flood of events puts deadlines off by one full queue at most.
        let looked_at = self.clock.now();
        for _ in 0..EVENTS_MAX {
            if self.log.pending_count() + LEAVES_PER_EVENT_MAX > BATCH_LEAVES_MAX {
                self.settle();
            }
            match inbox.try_recv() {
                Ok(event) => self.take(event),
                Err(_) => break,
            }
        }
        self.settle();
        self.tick(looked_at);
        self.settle();
        self.heartbeat.beat(self.clock.now());
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::GatewaySaid(generation, message) => self.on_gateway_said(generation, *message),
            Event::EngineSaid(generation, report) => self.on_engine_said(generation, report),
            Event::Silent(WorkerRole::Gateway, generation, why) if generation == self.gateway.generation => {
                self.gateway_happens(Happening::Broke(why));
            }
            Event::Silent(WorkerRole::Gateway, ..) => {}
            Event::Silent(WorkerRole::Engine, generation, why) => {
                if let Some(seat) = self.engines.seat_of(generation) {
                    self.engine_happens(seat, Happening::Broke(why));
                }
            }
            Event::Exited(WorkerRole::Gateway, generation) => self.on_gateway_exit(generation),
            Event::Exited(WorkerRole::Engine, generation) => self.on_engine_exit(generation),
            Event::Connected(connection, outbox) => self.connections.add(connection, outbox),
            Event::Disconnected(connection) => self.connections.remove(connection),
            Event::Asked(connection, request, descriptors) => {
                self.on_request(connection, *request, descriptors)
            }
            Event::Proved(act, checked) => self.on_proved(act, &checked),
            Event::Enrolled(act, enrolled) => self.on_enrolled(act, enrolled),
            Event::ImportProgress(act, done, total) => self.on_import_progress(act, done, total),
            Event::Imported(act, result) => self.on_imported(act, *result),
            Event::Opened(generation, weights) => self.on_weights_opened(generation, weights),
            Event::Verifying(generation, done, total) => self.on_verifying(generation, done, total),
            Event::Verified(generation, result) => self.on_verified(generation, *result),
            Event::ScreenConnected(connection, outbox) => self.on_screen_connected(connection, outbox),
            Event::ScreenAsked(connection, asked) => self.on_screen_asked(connection, *asked),
            Event::ScreenGone(connection) => self.on_screen_gone(connection),
            Event::ScreenProgress(act, progress) => self.on_screen_progress(act, progress),
            Event::UpdateStick(asker, proofs, folder) => self.on_update_stick(asker, proofs, folder),
            Event::Evidence(act, result) => self.on_evidence(act, *result),
            Event::UpdateChecked(act, result) => self.on_update_checked(act, *result),
            Event::UpdateStaged(act, result) => self.on_update_staged(act, *result),
            Event::UpdateProgress(act, done, total) => self.on_update_progress(act, done, total),
            Event::UpdateWritten(act, result) => self.on_update_written(act, *result),
            Event::BootEntries(result) => self.on_boot_entries(*result),
            Event::StopSignal => self.on_stop_signal(),
        }
    }

    /// Commits what was recorded and does what waited for it, until nothing waits.
    fn settle(&mut self) {
        while !self.afterwards.is_empty() || self.log.pending_count() > 0 {
            let afterwards = std::mem::take(&mut self.afterwards);
            let committed = self.log.commit();
            if committed.is_err() {
                self.on_log_stopped();
            }
            for one in afterwards {
                match (&committed, one) {
                    (Ok(()), one) => self.carry_on(one),
                    (Err(failure), one) => self.give_up(one, failure),
                }
            }
        }
    }

    fn carry_on(&mut self, one: Afterwards) {
        match one {
            Afterwards::Send(letter) => self.deliver(letter),
            Afterwards::Store {
                asker,
                staged,
                activate,
                leaf_index,
            } => {
                self.store_model(asker, *staged, activate, leaf_index);
            }
            Afterwards::Install {
                asker,
                enrolled,
                done,
            } => self.install_people(asker, *enrolled, done),
            Afterwards::SetNetwork {
                asker,
                sound,
                leaf_index,
            } => self.install_network(asker, &sound, leaf_index),
            Afterwards::CarryEvidence {
                asker,
                person,
                leaf_index,
            } => self.carry_evidence(asker, person, leaf_index),
            Afterwards::WriteUpdate {
                asker,
                source,
                approver,
                staged,
                leaf_index,
            } => self.write_update(asker, &source, approver, *staged, leaf_index),
            Afterwards::Bless => self.bless(),
            Afterwards::Power {
                asker,
                ending,
                leaf_index,
            } => self.end_power(asker, ending, leaf_index),
            Afterwards::Introduce => self.introduce(),
            Afterwards::Promote(generation) => self.promote(generation),
        }
    }

    /// The log could not be written: nothing that waited for it is done, and whoever asked is told so.
    fn give_up(&mut self, one: Afterwards, failure: &LogFailure) {
        let fault = unavailable(failure.code());
        match one {
            Afterwards::Send(Letter::Answer {
                generation, number, ..
            }) => {
                let answer = Box::new(Answer::Refused(fault));
                self.deliver(Letter::Answer {
                    generation,
                    number,
                    answer,
                });
            }
            Afterwards::Send(Letter::Nobody) => {}
            Afterwards::Send(Letter::Reply { connection, .. }) => {
                self.deliver(Letter::Reply {
                    connection,
                    reply: Box::new(Reply::Refused(fault)),
                });
            }
            Afterwards::Send(Letter::Screen {
                connection, number, ..
            }) => {
                self.say_to_screen(connection, number, jingui_ipc::screen::Reply::Refused(fault));
            }
            Afterwards::Store { asker, .. }
            | Afterwards::Install { asker, .. }
            | Afterwards::SetNetwork { asker, .. }
            | Afterwards::CarryEvidence { asker, .. }
            | Afterwards::Power { asker, .. } => {
                self.tell(asker, crate::acts::Told::Refused(fault));
            }
            Afterwards::WriteUpdate { asker, .. } => self.give_update_up(asker, fault),
            Afterwards::Bless => self.look_again_at_trial(),
            // When the log is back, all are introduced again.
            Afterwards::Introduce | Afterwards::Promote(_) => {}
        }
    }

    /// Sends a letter now. A receiver that is gone gets nothing.
    pub(crate) fn deliver(&mut self, letter: Letter) {
        match letter {
            Letter::Answer {
                generation,
                number,
                answer,
            } if generation == self.gateway.generation => {
                self.post_gateway(
                    &ToGateway::Answer {
                        number,
                        answer: *answer,
                    },
                    Vec::new(),
                );
            }
            Letter::Answer { .. } | Letter::Nobody => {}
            Letter::Reply { connection, reply } => self.post_control(connection, &reply),
            Letter::Screen {
                connection,
                number,
                reply,
            } => self.say_to_screen(connection, number, *reply),
        }
    }

    /// Queues what has to wait for the next checkpoint.
    pub(crate) fn after_commit(&mut self, one: Afterwards) {
        self.afterwards.push(one);
    }

    /// Adds a leaf to the batch; the fault is what to tell when it cannot be.
    pub(crate) fn record(&mut self, draft: Draft) -> Result<u64, Fault> {
        self.log
            .record(draft)
            .map_err(|failure| unavailable(failure.code()))
    }

    fn open_log(&mut self) -> Result<Opened, LogFailure> {
        let signer = self.identity.signer().map_err(|_| LogFailure::Unwritable)?;
        self.log.open(signer).map_err(|failure| {
            crate::say_failure(failure.code(), &failure);
            LogFailure::Unwritable
        })
    }

    /// First leaf after opening: genesis of a new log; else, when something was recovered or the log was stopped,
    /// the fact that it was.
    fn record_opening(&mut self, opened: &Opened, was_stopped: bool) -> Result<(), LogFailure> {
        let event = if opened.is_new {
            self.genesis()
        } else if opened.recovered_count > 0 || was_stopped {
            LeafEvent::AuditRecovered {
                checkpoint_size: opened.checkpoint_size,
                recovered_count: opened.recovered_count,
            }
        } else {
            return Ok(());
        };
        let draft = self.scribe.done(Actor::device(), event, "");
        self.log.record(draft).map(drop)
    }

    fn record_missed(&mut self, missed: Vec<Draft>) -> Result<(), LogFailure> {
        missed
            .into_iter()
            .try_for_each(|draft| self.log.record(draft).map(drop))
    }

    fn genesis(&self) -> LeafEvent {
        LeafEvent::Genesis {
            serial: self.identity.serial.clone(),
            log_vkey: self.log.vkey(),
            witness_vkeys: Vec::new(),
            image: self.platform.root_hash(),
            tpm_ek: None,
            sm2_certificate: None,
        }
    }

    fn sleep(&self) -> Duration {
        let now = self.clock.now();
        let deadlines = [
            self.gateway.life.deadline(),
            self.acts.deadline(),
            self.log_retry_at,
            self.network.watch_at,
            self.updates.next_look(),
            self.heartbeat.next_at(),
        ];
        let engines = self
            .engines
            .iter()
            .flat_map(|engine| [engine.life.deadline(), engine.deadline()]);
        let next = deadlines.into_iter().chain(engines).flatten().min();
        next.map_or(SLEEP_MAX, |next| now.until(next).min(SLEEP_MAX))
    }

    fn tick(&mut self, now: Millis) {
        self.gateway_happens_at(Happening::Tick, now);
        for seat in Seat::ALL {
            self.engine_happens_at(seat, Happening::Tick, now);
        }
        self.watch_engines(now);
        self.watch_certificate();
        self.watch_addresses(now);
        self.look_at_trial(now);
        self.announce_health();
        self.give_up_tasks(now, false);
        self.retry_log();
        self.take_in_factory();
        self.go_on_stopping();
    }

    fn on_log_stopped(&mut self) {
        self.log_retry_at = Some(self.clock.now().after(LOG_RETRY_MS));
        self.retract_engines("audit.unwritable");
    }

    /// Reads a stopped log again; it is back only when a first leaf went through.
    fn retry_log(&mut self) {
        let now = self.clock.now();
        if self.log_retry_at.is_none_or(|at| now < at) {
            return;
        }
        self.log_retry_at = None;
        let proved = self.open_log().and_then(|opened| {
            let missed = self.log.take_missed();
            self.record_opening(&opened, true)?;
            self.record_missed(missed)?;
            self.log.commit()
        });
        match proved {
            Ok(()) => {
                crate::say(format_args!("the audit log can be written again"));
                self.introduce();
            }
            Err(_) => self.log_retry_at = Some(self.clock.now().after(LOG_RETRY_MS)),
        }
    }

    /// Whether the box is being stopped.
    pub(crate) const fn is_stopping(&self) -> bool {
        matches!(self.course, Course::Stopping { .. })
    }

    fn on_stop_signal(&mut self) {
        if self.is_stopping() {
            // Asked twice: no more patience.
            self.gateway_happens(Happening::Broke(crate::lifecycle::Why::Ended));
            for seat in Seat::ALL {
                self.engine_happens(seat, Happening::Broke(crate::lifecycle::Why::Ended));
            }
        } else {
            self.stop(ShutdownReason::Signal);
        }
    }

    /// Begins to stop the box in order.
    pub(crate) fn stop(&mut self, reason: ShutdownReason) {
        crate::say(format_args!("stopping"));
        self.course = Course::Stopping {
            reason,
            askers: Vec::new(),
        };
        self.gateway_happens(Happening::Drain);
    }

    fn go_on_stopping(&mut self) {
        if !self.is_stopping() || self.gateway.process.is_some() {
            return;
        }
        // Nobody asks any more: one that drains for its successor's sake has nothing left to finish.
        self.engine_happens(Seat::Retiring, Happening::Broke(crate::lifecycle::Why::Ended));
        for seat in [Seat::Serving, Seat::Candidate] {
            let engine = self.engines.get(seat);
            if engine.is_some_and(|engine| engine.life.is_serving_or_starting()) {
                self.engine_happens(seat, Happening::Drain);
            }
        }
    }

    fn is_over(&self) -> bool {
        self.is_stopping()
            && self.gateway.process.is_none()
            && self.engines.iter().all(|engine| engine.process.is_none())
    }

    /// Last leaf, last words, and no socket left behind.
    fn end(mut self) {
        let Course::Stopping { reason, askers } = std::mem::take(&mut self.course) else {
            return;
        };
        let event = LeafEvent::Shutdown {
            reason,
            uptime_ms: self.clock.now().0,
        };
        let draft = self.scribe.done(Actor::device(), event, "");
        let recorded = self
            .log
            .record(draft)
            .and_then(|leaf_index| self.log.commit().map(|()| leaf_index));
        let reply = match recorded {
            Ok(leaf_index) => Reply::Done { leaf_index },
            Err(failure) => Reply::Refused(unavailable(failure.code())),
        };
        for asker in askers {
            self.post_control(asker, &reply);
        }
        self.carry_out_reset();
        for outbox in self.connections.take().into_iter().chain(self.screens.take()) {
            Outbox::finish(outbox);
        }
        self.tiers.close();
        for path in [
            self.state.control_socket(),
            self.state.port(),
            self.state.running(),
        ] {
            if let Err(error) = durable::remove(&path) {
                crate::say(format_args!("{} stays behind: {error}", path.display()));
            }
        }
        if let Some(places) = &self.places {
            self.ending.carry_out(places);
        }
        crate::say(format_args!("stopped"));
    }
}
