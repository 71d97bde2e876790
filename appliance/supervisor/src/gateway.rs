//! The gateway: its life, what it may ask, and what it is told.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use jingui_audit::event::{Event as LeafEvent, Worker};
use jingui_ipc::gateway::{Answer, Ask, Configuration, LISTENER_FD, STATE_FD, ToGateway, ToSupervisor};
use jingui_jail::Walls;

use crate::acts::{Asker, Wish, refused};
use crate::certificates;
use crate::clock::{Millis, UnixSeconds};
use crate::engine::Seat;
use crate::event::{Event, Generation, WorkerRole};
use crate::leaves::{Actor, WORD_BYTES_MAX};
use crate::lifecycle::{Happening, Lifecycle, Limits, Order, Why};
use crate::process::{Process, Start, StartFailure, give_gateway_folder};
use crate::supervisor::{Afterwards, Letter, Supervisor};

/// Time limits of the gateway.
pub(crate) const LIMITS: Limits = Limits {
    start_ms: 30_000,
    beat_ms: 5_000,
    drain_ms: 5_000,
};

/// The gateway as the supervisor sees it.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) life: Lifecycle,
    pub(crate) generation: Generation,
    pub(crate) process: Option<Process>,
    pub(crate) landlock_abi: u32,
    /// Code of its last death, for health.
    pub(crate) last_why: Option<String>,
    /// When it has to be given a new certificate.
    renew_at: Option<UnixSeconds>,
    /// Names and addresses in its certificate.
    names: BTreeSet<String>,
}

impl Gateway {
    /// Nobody yet.
    pub(crate) const fn new() -> Self {
        Self {
            life: Lifecycle::new(LIMITS),
            generation: Generation(0),
            process: None,
            landlock_abi: 0,
            last_why: None,
            renew_at: None,
            names: BTreeSet::new(),
        }
    }

    /// Whether it takes tasks.
    pub(crate) const fn is_serving(&self) -> bool {
        self.life.is_serving()
    }

    /// The walls round it, as they are now.
    pub(crate) fn walls(&self) -> Option<Walls> {
        self.process
            .as_ref()
            .map(|process| jingui_jail::measure(process.pid()))
    }
}

impl Supervisor {
    /// Something happened to the gateway: act on it.
    pub(crate) fn gateway_happens(&mut self, happening: Happening) {
        self.gateway_happens_at(happening, self.clock.now());
    }

    /// As [`Supervisor::gateway_happens`], judged as of that moment.
    pub(crate) fn gateway_happens_at(&mut self, happening: Happening, now: Millis) {
        let mut orders = self.gateway.life.advance(happening, now);
        while let Some(order) = orders.pop_front() {
            let next = match order {
                Order::Launch => Some(self.launch_gateway()),
                Order::Kill => {
                    self.kill_gateway();
                    None
                }
                Order::Drain { within_ms } => {
                    self.post_gateway(
                        &ToGateway::Drain {
                            deadline_ms: within_ms,
                        },
                        Vec::new(),
                    );
                    None
                }
                Order::Mourn { why, pause_ms } => {
                    self.mourn_gateway(&why, pause_ms);
                    None
                }
            };
            if let Some(next) = next {
                orders.extend(self.gateway.life.advance(next, self.clock.now()));
            }
        }
    }

    fn launch_gateway(&mut self) -> Happening {
        match self.start_gateway() {
            Ok(()) => Happening::Launched,
            Err(failure) => {
                crate::say_failure("the gateway could not be started", &failure);
                Happening::NotLaunched
            }
        }
    }

    fn start_gateway(&mut self) -> Result<(), StartFailure> {
        self.gateway.generation.0 += 1;
        self.gateway.landlock_abi = 0;
        let configuration = self.gateway_configuration()?;
        let state: OwnedFd = give_gateway_folder(&self.state.gateway())?.into();
        let listener = self.listener.try_clone()?;
        let start = Start {
            role: WorkerRole::Gateway,
            generation: self.gateway.generation,
            descriptors: vec![(listener.into(), LISTENER_FD), (state, STATE_FD)],
        };
        let said = |generation, message: ToSupervisor| Event::GatewaySaid(generation, Box::new(message));
        let process = Process::start(&self.programs, start, &self.events, said)?;
        crate::say(format_args!("gateway started, pid {}", process.pid()));
        self.gateway.process = Some(process);
        self.post_gateway(&ToGateway::Configure(Box::new(configuration)), Vec::new());
        Ok(())
    }

    /// A gateway whose certificate is near its end is started again with a new one.
    pub(crate) fn watch_certificate(&mut self) {
        let is_due = self.gateway.renew_at.is_some_and(|at| at <= self.clock.unix());
        if is_due && self.gateway.is_serving() {
            crate::say(format_args!("the certificate is renewed"));
            self.gateway_happens(Happening::Broke(Why::Ended));
        }
    }

    /// A gateway whose certificate does not name an address of the box is started again with one that does.
    pub(crate) fn follow_addresses(&mut self) {
        let names = self.listener_names();
        if self.gateway.is_serving() && !names.is_subset(&self.gateway.names) {
            crate::say(format_args!(
                "the box has other addresses: the certificate names them from now on"
            ));
            self.gateway_happens(Happening::Broke(Why::Ended));
        }
    }

    fn listener_names(&self) -> BTreeSet<String> {
        let mut names = certificates::names(self.address.ip());
        names.extend(self.network.fixed_addresses());
        names
    }

    fn gateway_configuration(&mut self) -> std::io::Result<Configuration> {
        let names = self.listener_names();
        let listener = self.certificates.listener(&names, self.clock.unix())?;
        self.gateway.renew_at = Some(listener.renew_at);
        self.gateway.names = listener.names;
        Ok(Configuration {
            certificate_chain_pem: listener.chain_pem,
            certificate_key_pem: jingui_ipc::control::Private(listener.key_pem),
            ca_pem: self.certificates.ca_pem().to_owned(),
            key_root: self.identity.key_root,
            port: self.address.port(),
            serial: self.identity.serial.clone(),
        })
    }

    fn kill_gateway(&self) {
        if let Some(process) = &self.gateway.process {
            process.kill();
        }
    }

    fn mourn_gateway(&mut self, why: &Why, pause_ms: u64) {
        let code = why.code(WorkerRole::Gateway.name());
        self.mourn(
            Worker::Gateway,
            self.gateway.life.restart_count(),
            &code,
            pause_ms,
        );
        self.gateway.last_why = Some(code);
    }

    /// A death of a process that was wanted is a leaf.
    pub(crate) fn mourn(&mut self, worker: Worker, restart_count: u32, code: &str, back_off_ms: u64) {
        crate::say(format_args!(
            "{} died: {code}; starts again in {back_off_ms} ms",
            worker.as_str()
        ));
        let event = LeafEvent::WorkerRestart {
            worker,
            restart_count: u64::from(restart_count),
            back_off_ms,
        };
        let draft = self.scribe.failed(Actor::device(), event, worker.as_str(), code);
        // With a stopped log the process is started all the same: it has to be there when the log is back.
        let _ = self.record(draft);
    }

    /// The gateway is gone: reap it, let its acts fail.
    pub(crate) fn on_gateway_exit(&mut self, generation: Generation) {
        if generation != self.gateway.generation {
            return;
        }
        // Dropping the process reaps it.
        self.gateway.process = None;
        for seat in Seat::ALL {
            if let Some(engine) = self.engines.get_mut(seat) {
                engine.trial = engine.trial.after_gateway();
            }
        }
        self.give_up_tasks(self.clock.now(), true);
        self.gateway_happens(Happening::Exited(Why::Crashed));
    }

    /// The gateway said something.
    pub(crate) fn on_gateway_said(&mut self, generation: Generation, message: ToSupervisor) {
        if generation != self.gateway.generation || self.gateway.process.is_none() {
            return;
        }
        match message {
            ToSupervisor::Ready { landlock_abi } => self.on_gateway_ready(landlock_abi),
            ToSupervisor::Beat => self.gateway_happens(Happening::Beat),
            ToSupervisor::Ask { number, ask } => self.on_ask(Asker::Gateway(generation, number), ask),
            ToSupervisor::Outcome { number, outcome } => match self.engines.seat_asked(number) {
                Some(seat) => self.on_golden(seat, &outcome),
                None => self.on_outcome(number, outcome),
            },
        }
    }

    fn on_gateway_ready(&mut self, landlock_abi: u32) {
        if self.gateway.is_serving() {
            // Said once; who says it again is not our program.
            return self.gateway_happens(Happening::Broke(Why::BrokenConversation));
        }
        self.gateway.landlock_abi = landlock_abi;
        self.gateway_happens(Happening::Serves);
        crate::say(format_args!("gateway serves on {}", self.address));
        self.after_commit(Afterwards::Introduce);
    }

    fn on_ask(&mut self, asker: Asker, ask: Ask) {
        let Asker::Gateway(generation, number) = asker else {
            return;
        };
        let answer = |answer| Letter::Answer {
            generation,
            number,
            answer: Box::new(answer),
        };
        match ask {
            Ask::Status => {
                let status = Box::new(self.status());
                self.deliver(answer(Answer::Status(status)));
            }
            Ask::Models => {
                let models = self.model_facts();
                self.deliver(answer(Answer::Models(models)));
            }
            Ask::Authenticate { source, .. } | Ask::SetUp { source, .. } if source.len() > WORD_BYTES_MAX => {
                let fault = refused("system.record.malformed", Vec::new());
                self.deliver(answer(Answer::Refused(fault)));
            }
            Ask::Authenticate { proof, source } => {
                self.begin_act(asker, &source, Wish::LogIn, vec![proof]);
            }
            Ask::SetUp { set_up, source } => self.begin_set_up(asker, &source, set_up),
            Ask::Record(record) => {
                let recorded = match self.scribe.reported(record) {
                    Ok(draft) => self.record(draft),
                    Err(_) => Err(refused("system.record.malformed", Vec::new())),
                };
                let said = match recorded {
                    Ok(leaf_index) => Answer::Recorded { leaf_index },
                    Err(fault) => Answer::Refused(fault),
                };
                self.after_commit(Afterwards::Send(answer(said)));
            }
        }
    }

    /// Queues a message to the gateway; a gateway that does not read is ended.
    pub(crate) fn post_gateway(&mut self, message: &ToGateway, descriptors: Vec<OwnedFd>) {
        let Some(process) = &self.gateway.process else {
            return;
        };
        if process.post(message, descriptors).is_err() {
            self.gateway_happens(Happening::Broke(Why::StuckOutbox));
        }
    }

    /// Tells gateway and engines of each other; nothing when they are not there or the log is stopped.
    pub(crate) fn introduce(&mut self) {
        for seat in Seat::ALL {
            self.present(seat);
        }
    }

    /// Tells the gateway that no model answers now.
    pub(crate) fn retract_engines(&mut self, why: &str) {
        for seat in [Seat::Serving, Seat::Candidate] {
            self.retract(seat, why);
        }
    }
}
