//! People's acts, from the question to the answer: proof, authority, deed, record, answer.
//!
//! An act is a chain of stages; each ends in an event that brings it to the next. The record comes before the
//! answer, and where the deed can be undone by nobody (a new account, an imported model) before the deed too: a
//! crash in between leaves a record of something that was not acknowledged, never a deed without its record.

mod ceremony;
mod factory;
mod told;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use jingui_audit::event::{AccountKind, Event as LeafEvent, Factors};
use jingui_audit::leaf::Draft;
use jingui_ipc::control::{Fault, FaultKind, NewUser, Proof, Reply, Role, SetUp};
use jingui_ipc::gateway::{Produced, Task, ToGateway};

use crate::clock::Millis;
use crate::event::{ActId, ConnectionId, Generation};
use crate::identity;
use crate::leaves::Actor;
use crate::models::{Choice, ImportJob, ImportRefusal, ImportResult, Staged};
use crate::people::{self, Act as Authority, CheckedPassword, LOCK_S, Person, ProofRefusal, authorise};
use crate::supervisor::{Afterwards, Supervisor};
use crate::work::Job;

use ceremony::{Ceremony, SetupLock};
pub(crate) use factory::Factory;
pub(crate) use told::{Told, letter, not_allowed, refused, unavailable};

/// Acts that may be under way at once.
pub(crate) const ACTS_MAX: usize = 64;
/// Longest label of an API key, in bytes.
pub(crate) const LABEL_BYTES_MAX: usize = 128;
/// People who can approve one act.
const PROOFS_MAX: usize = 4;
/// How long the gateway may take for a task of its tables.
const TASK_MS: u64 = 10_000;
/// What is under way.
#[derive(Debug, Default)]
pub(crate) struct Acts {
    next: u64,
    running: BTreeMap<ActId, Act>,
    setup_lock: SetupLock,
}

/// Who asked, and where the answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// The gateway, under a number of its choice.
    Gateway(Generation, u64),
    /// A tool on the control socket.
    Control(ConnectionId),
    /// A local screen, under a number of its choice.
    Screen(ConnectionId, u64),
    /// Nobody: the box takes in what came with it.
    Factory,
}

/// An act that is under way.
#[derive(Debug)]
struct Act {
    asker: Asker,
    source: String,
    stage: Stage,
}

/// What a person wants.
#[derive(Debug)]
pub(crate) enum Wish {
    /// A session.
    LogIn,
    /// A model in the store.
    Import { folder: OwnedFd, activate: bool },
    /// An API key.
    CreateKey { label: String },
    /// An ordinary user.
    CreateUser { user: NewUser },
    /// A copy of the log.
    ExportAudit,
    /// A copy of the log on a stick.
    CarryEvidence,
    /// The factory's state.
    Reset,
    /// A new image in the other slot.
    ApplyUpdate { folder: OwnedFd },
}

/// Where an act is.
#[derive(Debug)]
enum Stage {
    /// Passwords are being computed.
    Proving(Wish),
    /// The gateway was asked to do its part.
    Tasking {
        person: Person,
        task: GatewayTask,
        deadline: Millis,
    },
    /// A bundle with a new image is being checked, or copied for whoever approved.
    Staging { approver: Option<Person> },
    /// A new image is being written into the other slot.
    Writing { approver: Person, leaf_index: u64 },
    /// The log is being copied to a stick.
    Carrying { person: Person, leaf_index: u64 },
    /// The package is being checked and copied.
    Importing { approvers: Vec<Person>, activate: bool },
    /// The ceremony's passwords are being hashed.
    Enrolling(Box<SetUp>),
    /// The gateway does its part of the ceremony.
    Ceremony {
        ceremony: Box<Ceremony>,
        deadline: Millis,
    },
}

/// What the gateway was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GatewayTask {
    Key,
    User,
}

impl Acts {
    /// Nothing under way.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// When the first act that waits for the gateway gives up.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        self.running.values().filter_map(|act| act.stage.deadline()).min()
    }

    /// A number for a question to the gateway that is no act of a person.
    pub(crate) const fn next_number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    fn insert(&mut self, asker: Asker, source: &str, stage: Stage) -> ActId {
        let id = ActId(self.next);
        self.next += 1;
        self.running.insert(
            id,
            Act {
                asker,
                source: source.to_owned(),
                stage,
            },
        );
        id
    }

    fn is_ceremony_running(&self) -> bool {
        self.running
            .values()
            .any(|act| matches!(act.stage, Stage::Enrolling(_) | Stage::Ceremony { .. }))
    }

    /// The log is being copied to a stick for that person.
    pub(crate) fn begin_carrying(
        &mut self,
        asker: Asker,
        source: &str,
        person: Person,
        leaf_index: u64,
    ) -> ActId {
        self.insert(asker, source, Stage::Carrying { person, leaf_index })
    }

    /// The copy ended: who asked, who approved, and the leaf that says so.
    pub(crate) fn end_carrying(&mut self, id: ActId) -> Option<(Asker, Person, u64)> {
        match self.running.remove(&id)? {
            Act {
                asker,
                stage: Stage::Carrying { person, leaf_index },
                ..
            } => Some((asker, person, leaf_index)),
            other => {
                self.running.insert(id, other);
                None
            }
        }
    }

    /// A bundle is being checked, or copied for whoever approved.
    pub(crate) fn begin_staging(&mut self, asker: Asker, source: &str, approver: Option<Person>) -> ActId {
        self.insert(asker, source, Stage::Staging { approver })
    }

    /// The check or the copy ended: who asked, from where, and who approved.
    pub(crate) fn end_staging(&mut self, id: ActId) -> Option<(Asker, String, Option<Person>)> {
        match self.running.remove(&id)? {
            Act {
                asker,
                source,
                stage: Stage::Staging { approver },
            } => Some((asker, source, approver)),
            other => {
                self.running.insert(id, other);
                None
            }
        }
    }

    /// A new image is being written, whose leaf is recorded.
    pub(crate) fn begin_writing(
        &mut self,
        asker: Asker,
        source: &str,
        approver: Person,
        leaf_index: u64,
    ) -> ActId {
        self.insert(asker, source, Stage::Writing { approver, leaf_index })
    }

    /// The writing ended: who asked, from where, who approved, and the leaf.
    pub(crate) fn end_writing(&mut self, id: ActId) -> Option<(Asker, String, Person, u64)> {
        match self.running.remove(&id)? {
            Act {
                asker,
                source,
                stage: Stage::Writing { approver, leaf_index },
            } => Some((asker, source, approver, leaf_index)),
            other => {
                self.running.insert(id, other);
                None
            }
        }
    }

    fn is_carrying(&self) -> bool {
        self.running.values().any(|act| match &act.stage {
            Stage::Carrying { .. } => true,
            Stage::Proving(wish) => matches!(wish, Wish::CarryEvidence),
            _ => false,
        })
    }

    fn is_import_running(&self) -> bool {
        self.running.values().any(|act| match &act.stage {
            Stage::Importing { .. } => true,
            Stage::Proving(wish) => matches!(wish, Wish::Import { .. }),
            _ => false,
        })
    }
}

impl Stage {
    const fn deadline(&self) -> Option<Millis> {
        match self {
            Self::Tasking { deadline, .. } | Self::Ceremony { deadline, .. } => Some(*deadline),
            Self::Proving(_)
            | Self::Importing { .. }
            | Self::Enrolling(_)
            | Self::Carrying { .. }
            | Self::Staging { .. }
            | Self::Writing { .. } => None,
        }
    }
}

impl Wish {
    const fn authority(&self) -> Option<Authority> {
        match self {
            Self::LogIn => None,
            Self::Import { .. } => Some(Authority::ImportModel),
            Self::CreateKey { .. } | Self::CreateUser { .. } => Some(Authority::ManageAccounts),
            Self::ExportAudit | Self::CarryEvidence => Some(Authority::ExportAudit),
            Self::Reset => Some(Authority::Reset),
            Self::ApplyUpdate { .. } => Some(Authority::ApplyUpdate),
        }
    }

    fn check(&self) -> Result<(), Fault> {
        match self {
            Self::CreateKey { label } => check_label(label),
            Self::CreateUser { user } => {
                people::check_new_user(user).map_err(|refusal| refused(refusal.code(), refusal.facts()))
            }
            Self::LogIn
            | Self::Import { .. }
            | Self::ExportAudit
            | Self::CarryEvidence
            | Self::Reset
            | Self::ApplyUpdate { .. } => Ok(()),
        }
    }
}

impl Supervisor {
    /// First stage of an act that needs proofs.
    pub(crate) fn begin_act(&mut self, asker: Asker, source: &str, wish: Wish, proofs: Vec<Proof>) {
        let begun = self
            .check_act(&wish, &proofs)
            .and_then(|()| self.begin_proofs(proofs, source));
        let checks = match begun {
            Ok(checks) => checks,
            Err(fault) => return self.tell(asker, Told::Refused(fault)),
        };
        let act = self.acts.insert(asker, source, Stage::Proving(wish));
        if self.passwords.post(Job::Prove(act, checks)).is_err() {
            self.end_act(act, Told::Refused(unavailable("system.busy")));
        }
    }

    fn check_act(&self, wish: &Wish, proofs: &[Proof]) -> Result<(), Fault> {
        self.check_can_act()?;
        if !self.people.is_set_up() {
            return Err(unavailable("auth.setup.missing"));
        }
        if matches!(wish, Wish::Import { .. }) && self.acts.is_import_running() {
            return Err(unavailable("system.import.busy"));
        }
        if matches!(wish, Wish::CarryEvidence) && self.acts.is_carrying() {
            return Err(unavailable("usb.stick.busy"));
        }
        if proofs.is_empty() || proofs.len() > PROOFS_MAX {
            return Err(refused("system.request.malformed", Vec::new()));
        }
        wish.check()
    }

    pub(crate) fn check_can_act(&self) -> Result<(), Fault> {
        if self.is_stopping() {
            return Err(unavailable("system.stopping"));
        }
        if !self.log.is_writable() {
            return Err(unavailable("audit.unwritable"));
        }
        if self.acts.running.len() >= ACTS_MAX {
            return Err(unavailable("system.busy"));
        }
        Ok(())
    }

    fn begin_proofs(
        &mut self,
        proofs: Vec<Proof>,
        source: &str,
    ) -> Result<Vec<people::PasswordCheck>, Fault> {
        let now = self.clock.unix();
        let mut checks = Vec::new();
        for proof in proofs {
            let username = proof.username.clone();
            match self.people.begin(proof, now) {
                Ok(check) => checks.push(check),
                Err(refusal) => return Err(self.record_refused_proof(&username, &refusal, source)),
            }
        }
        Ok(checks)
    }

    /// The passwords of an act were computed: judge the proofs, then the people's authority, then do it.
    pub(crate) fn on_proved(&mut self, id: ActId, checked: &[CheckedPassword]) {
        let Some(act) = self.acts.running.remove(&id) else {
            return;
        };
        let Act {
            asker,
            source,
            stage: Stage::Proving(wish),
        } = act
        else {
            return;
        };
        let judged = checked
            .iter()
            .map(|one| self.judge_proof(one, &source))
            .collect::<Result<Vec<_>, _>>();
        let people = match judged {
            Ok(people) => people,
            Err(fault) => return self.tell(asker, Told::Refused(fault)),
        };
        if let Some(authority) = wish.authority()
            && let Err(refusal) = authorise(authority, &people)
        {
            self.record_denied_act(&wish, &people, refusal.code(), &source);
            let fault = Fault {
                kind: FaultKind::NotAllowed,
                code: refusal.code().to_owned(),
                facts: refusal.facts(),
            };
            return self.tell(asker, Told::Refused(fault));
        }
        self.carry_out(asker, source, wish, people);
    }

    fn judge_proof(&mut self, checked: &CheckedPassword, source: &str) -> Result<Person, Fault> {
        match self.people.finish(checked, self.clock.unix()) {
            Ok(person) => Ok(person),
            Err(refusal) => Err(self.record_refused_proof(checked.username(), &refusal, source)),
        }
    }

    /// Every refused proof is a leaf, and a lock is another.
    fn record_refused_proof(&mut self, username: &str, refusal: &ProofRefusal, source: &str) -> Fault {
        let person = self.people.named(username);
        let object = person.map(|person| person.id).unwrap_or_default();
        let failure_count = match refusal {
            ProofRefusal::Wrong { failure_count, .. } => failure_count.map(u64::from),
            _ => None,
        };
        let event = LeafEvent::AuthFail { failure_count };
        let draft = self
            .scribe
            .denied(Actor::nobody(source), event, &object, refusal.code());
        let mut fault = Fault {
            kind: FaultKind::NotAllowed,
            code: refusal.code().to_owned(),
            facts: refusal.facts(),
        };
        if matches!(refusal, ProofRefusal::Unwritable) {
            fault.kind = FaultKind::Unavailable;
        }
        let recorded = self.record(draft);
        if matches!(refusal, ProofRefusal::Wrong { locks: true, .. }) {
            let event = LeafEvent::AuthLock { seconds: LOCK_S };
            let draft = self.scribe.done(Actor::device(), event, &object);
            if let Err(unrecorded) = self.record(draft) {
                return unrecorded;
            }
        }
        recorded.map_or_else(|unrecorded| unrecorded, |_| fault)
    }

    fn record_denied_act(&mut self, wish: &Wish, people: &[Person], code: &str, source: &str) {
        let actor = people
            .first()
            .map_or_else(|| Actor::nobody(source), |first| Actor::person(first, source));
        let event = match wish {
            Wish::LogIn => return,
            Wish::Import { .. } => unverified(people),
            Wish::CreateKey { .. } => LeafEvent::KeyCreate {
                key: String::new(),
                owner: None,
            },
            Wish::CreateUser { .. } => LeafEvent::AccountCreate {
                account: String::new(),
                kind: AccountKind::User,
            },
            Wish::ExportAudit | Wish::CarryEvidence => self.export_event(),
            Wish::Reset => LeafEvent::FactoryReset {},
            Wish::ApplyUpdate { .. } => self.apply_event(None),
        };
        let draft = self.scribe.denied(actor, event, "", code);
        // When the log stopped in between, the refusal stands all the same.
        let _ = self.record(draft);
    }

    fn carry_out(&mut self, asker: Asker, source: String, wish: Wish, mut people: Vec<Person>) {
        let first = people.first().cloned();
        match (wish, first) {
            (Wish::LogIn, Some(person)) => self.log_in(asker, &source, person),
            (Wish::ExportAudit, Some(person)) => self.export_audit(asker, &source, &person),
            (Wish::CarryEvidence, Some(person)) => self.record_carrying(asker, &source, person),
            (Wish::Reset, Some(person)) => self.record_reset(asker, Actor::person(&person, &source)),
            (Wish::ApplyUpdate { folder }, Some(person)) => self.start_update(asker, &source, person, folder),
            (Wish::CreateKey { label }, Some(person)) => {
                let task = Task::CreateKey {
                    label,
                    owner: person.id.clone(),
                };
                self.ask_gateway(asker, &source, person, GatewayTask::Key, task);
            }
            (Wish::CreateUser { user }, Some(person)) => {
                self.ask_gateway(asker, &source, person, GatewayTask::User, Task::CreateUser(user));
            }
            (Wish::Import { folder, activate }, _) => {
                people.sort_by_key(|person| person.role != Role::System);
                self.start_import(asker, &source, people, folder, activate);
            }
            (_, None) => self.tell(
                asker,
                Told::Refused(refused("system.request.malformed", Vec::new())),
            ),
        }
    }

    fn log_in(&mut self, asker: Asker, source: &str, person: Person) {
        let session = match identity::random_hex::<16>() {
            Ok(session) => session,
            Err(_) => return self.tell(asker, Told::Refused(unavailable("system.randomness.missing"))),
        };
        let actor = Actor::person(&person, source).in_session(&session);
        let event = LeafEvent::AuthLogin {
            factors: Factors::PasswordTotp,
        };
        let draft = self.scribe.done(actor, event, &person.id);
        self.record_and_tell(asker, draft, |_| Told::Person { person, session });
    }

    fn export_audit(&mut self, asker: Asker, source: &str, person: &Person) {
        let draft = self
            .scribe
            .done(Actor::person(person, source), self.export_event(), "");
        self.record_and_tell(asker, draft, |leaf_index| Told::Done { leaf_index });
    }

    fn record_carrying(&mut self, asker: Asker, source: &str, person: Person) {
        let actor = Actor::person(&person, source);
        let draft = self.scribe.done(actor, self.export_event(), "usb");
        match self.record(draft) {
            Ok(leaf_index) => self.after_commit(Afterwards::CarryEvidence {
                asker,
                person,
                leaf_index,
            }),
            Err(fault) => self.tell(asker, Told::Refused(fault)),
        }
    }

    pub(crate) fn export_event(&self) -> LeafEvent {
        let checkpoint = self.log.checkpoint();
        LeafEvent::ExportAudit {
            size: checkpoint.size,
            root: checkpoint.root,
        }
    }

    fn ask_gateway(&mut self, asker: Asker, source: &str, person: Person, kind: GatewayTask, task: Task) {
        if !self.gateway.is_serving() {
            return self.tell(asker, Told::Refused(unavailable("system.gateway.absent")));
        }
        let deadline = self.clock.now().after(TASK_MS);
        let act = self.acts.insert(
            asker,
            source,
            Stage::Tasking {
                person,
                task: kind,
                deadline,
            },
        );
        self.post_gateway(&ToGateway::Do { number: act.0, task }, Vec::new());
    }

    fn start_import(
        &mut self,
        asker: Asker,
        source: &str,
        approvers: Vec<Person>,
        folder: OwnedFd,
        activate: bool,
    ) {
        let act = self
            .acts
            .insert(asker, source, Stage::Importing { approvers, activate });
        let job = ImportJob {
            act,
            folder,
            is_new_only: false,
        };
        if self.models.start_import(job, self.clock, &self.events).is_err() {
            self.end_act(act, Told::Refused(unavailable("system.busy")));
        }
    }

    /// How far an import is, for a tool that shows it.
    pub(crate) fn on_import_progress(&mut self, id: ActId, done_bytes: u64, total_bytes: u64) {
        let asker = self.acts.running.get(&id).map(|act| act.asker);
        if let Some(Asker::Control(connection)) = asker {
            self.post_control(
                connection,
                &Reply::Progress {
                    done_bytes,
                    total_bytes,
                },
            );
        }
    }

    /// How far an act is that a screen waits for.
    pub(crate) fn on_screen_progress(&mut self, id: ActId, progress: jingui_ipc::screen::Progress) {
        let asker = self.acts.running.get(&id).map(|act| act.asker);
        if let Some(Asker::Screen(connection, number)) = asker {
            self.say_to_screen(connection, number, jingui_ipc::screen::Reply::Progress(progress));
        }
    }

    /// A package was checked and copied beside the store, or refused.
    pub(crate) fn on_imported(&mut self, id: ActId, result: ImportResult) {
        let Some(act) = self.acts.running.remove(&id) else {
            return;
        };
        if matches!(result, Err(ImportRefusal::Known)) {
            return self.on_factory_known(&act);
        }
        let Act {
            asker,
            source,
            stage: Stage::Importing { approvers, activate },
        } = act
        else {
            return;
        };
        let actor = match approvers.first() {
            Some(first) => Actor::person(first, &source),
            None => Actor::device(),
        };
        let ids = approvers.iter().map(|person| person.id.clone()).collect();
        match result {
            Ok(staged) => {
                let (event, object) = (staged.event(ids), staged.facts().package_digest.clone());
                let draft = self.scribe.done(actor, event, &object);
                match self.record(draft) {
                    Ok(leaf_index) => {
                        self.after_commit(Afterwards::Store {
                            asker,
                            staged: Box::new(staged),
                            activate,
                            leaf_index,
                        });
                    }
                    Err(fault) => self.tell(asker, Told::Refused(fault)),
                }
            }
            Err(refusal) => {
                let draft = refusal.draft(&self.scribe, actor, ids);
                let told = match self.record(draft) {
                    Ok(_) => refusal.fault(),
                    Err(unrecorded) => unrecorded,
                };
                self.tell(asker, Told::Refused(told));
            }
        }
    }

    /// The leaf of an import is in a checkpoint: put the model into the store.
    pub(crate) fn store_model(&mut self, asker: Asker, staged: Staged, activate: bool, leaf_index: u64) {
        match self.models.store(staged, activate) {
            Ok(stored) => {
                match stored.choice {
                    Choice::Keep => {}
                    Choice::Serve => self.serve(stored.package),
                    Choice::Switch => self.switch_to(stored.package),
                }
                self.tell(
                    asker,
                    Told::Imported {
                        model: Box::new(stored.facts),
                        leaf_index,
                    },
                );
            }
            Err(error) => {
                crate::say(format_args!("a model could not be stored: {error}"));
                self.tell(asker, Told::Refused(unavailable("system.state.unwritable")));
            }
        }
    }

    /// The gateway did its part, or refused.
    pub(crate) fn on_outcome(&mut self, number: u64, outcome: Result<Produced, Fault>) {
        let Some(act) = self.acts.running.remove(&ActId(number)) else {
            return;
        };
        match (act.stage, outcome) {
            (Stage::Tasking { .. } | Stage::Ceremony { .. }, Err(fault)) => {
                self.tell(act.asker, Told::Refused(fault));
            }
            (Stage::Tasking { person, task, .. }, Ok(produced)) => {
                self.record_task(act.asker, &act.source, &person, task, produced);
            }
            (Stage::Ceremony { mut ceremony, .. }, Ok(produced)) => {
                match produced {
                    Produced::Key { key_id, key } => ceremony.key = Some((key_id, key)),
                    Produced::User { account_id } => ceremony.user = Some(account_id),
                    // Not asked for by a ceremony.
                    Produced::Golden { .. } => {}
                }
                self.go_on_with_ceremony(act.asker, act.source, *ceremony);
            }
            // A number that is ours but not of a task: the act goes on as if nothing was said.
            (stage, _) => {
                self.acts.running.insert(
                    ActId(number),
                    Act {
                        asker: act.asker,
                        source: act.source,
                        stage,
                    },
                );
            }
        }
    }

    fn record_task(
        &mut self,
        asker: Asker,
        source: &str,
        person: &Person,
        task: GatewayTask,
        produced: Produced,
    ) {
        let actor = Actor::person(person, source);
        match (task, produced) {
            (GatewayTask::Key, Produced::Key { key_id, key }) => {
                let event = LeafEvent::KeyCreate {
                    key: key_id.clone(),
                    owner: None,
                };
                let draft = self.scribe.done(actor, event, &key_id);
                self.record_and_tell(asker, draft, |leaf_index| Told::Key { key, leaf_index });
            }
            (GatewayTask::User, Produced::User { account_id }) => {
                let event = LeafEvent::AccountCreate {
                    account: account_id.clone(),
                    kind: AccountKind::User,
                };
                let draft = self.scribe.done(actor, event, &account_id);
                self.record_and_tell(asker, draft, |leaf_index| Told::Done { leaf_index });
            }
            _ => self.tell(asker, Told::Refused(unavailable("system.gateway.absent"))),
        }
    }

    /// Acts that wait for the gateway give up when it is gone or too late.
    pub(crate) fn give_up_tasks(&mut self, now: Millis, is_gateway_gone: bool) {
        let late: Vec<ActId> = self
            .acts
            .running
            .iter()
            .filter(|(_, act)| {
                act.stage
                    .deadline()
                    .is_some_and(|deadline| is_gateway_gone || deadline <= now)
            })
            .map(|(id, _)| *id)
            .collect();
        for act in late {
            self.end_act(act, Told::Refused(unavailable("system.gateway.absent")));
        }
    }

    pub(crate) fn end_act(&mut self, id: ActId, told: Told) {
        if let Some(act) = self.acts.running.remove(&id) {
            self.tell(act.asker, told);
        }
    }

    fn record_and_tell(&mut self, asker: Asker, draft: Draft, told: impl FnOnce(u64) -> Told) {
        match self.record(draft) {
            Ok(leaf_index) => self.tell(asker, told(leaf_index)),
            Err(fault) => self.tell(asker, Told::Refused(fault)),
        }
    }

    /// Queues an answer; it leaves after the next checkpoint, with all leaves recorded so far in it.
    pub(crate) fn tell(&mut self, asker: Asker, told: Told) {
        if asker == Asker::Factory {
            return self.on_factory_told(&told);
        }
        self.after_commit(Afterwards::Send(letter(asker, told)));
    }
}

fn check_label(label: &str) -> Result<(), Fault> {
    let is_label =
        !label.trim().is_empty() && label.len() <= LABEL_BYTES_MAX && !label.chars().any(char::is_control);
    if is_label {
        Ok(())
    } else {
        Err(refused("auth.key.label-malformed", Vec::new()))
    }
}

/// A package of which nothing is known yet.
fn unverified(approvers: &[Person]) -> LeafEvent {
    LeafEvent::ModelVerify {
        package: None,
        weights: None,
        name: None,
        version: None,
        security_version: None,
        signed_by: None,
        file: None,
        approvers: approvers.iter().map(|person| person.id.clone()).collect(),
    }
}
