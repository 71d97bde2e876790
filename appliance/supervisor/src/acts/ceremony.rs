//! The first-boot ceremony: code, three people, then a first key and a first user by the gateway; then all leaves,
//! and only then the accounts.

use std::collections::VecDeque;

use jingui_audit::event::{AccountKind, Event as LeafEvent};
use jingui_ipc::control::{Fault, NewAccount, Private, Role, SetUp, SetUpDone};
use jingui_ipc::gateway::{Task, ToGateway};
use jingui_ipc::storage::RECOVERY_KEY_BYTES_MAX;

use super::{Act, Asker, Stage, TASK_MS, Told, check_label, not_allowed, refused, unavailable};
use crate::clock::Millis;
use crate::durable;
use crate::event::ActId;
use crate::identity;
use crate::leaves::Actor;
use crate::people::{self, AccountRefusal, Enrolled, Enrolment, Person};
use crate::places::Places;
use crate::supervisor::{Afterwards, Supervisor};
use crate::work::Job;

/// Wrong ceremony codes in a row after which the ceremony waits.
const SETUP_FAILURES_MAX: u32 = 5;
/// How long it waits.
const SETUP_LOCK_MS: u64 = 60_000;

/// The ceremony while the gateway works through its tasks.
#[derive(Debug)]
pub(super) struct Ceremony {
    enrolled: Enrolled,
    security: Person,
    tasks: VecDeque<Task>,
    /// Public part and whole of the first key, once made.
    pub(super) key: Option<(String, Private)>,
    /// Account id of the first user, once made.
    pub(super) user: Option<String>,
}

/// Wrong ceremony codes and the pause after too many of them.
#[derive(Debug, Default)]
pub(super) struct SetupLock {
    failure_count: u32,
    closed_until: Option<Millis>,
}

impl SetupLock {
    fn is_closed(&self, now: Millis) -> bool {
        self.closed_until.is_some_and(|until| now < until)
    }

    /// A right code.
    fn open(&mut self) {
        self.failure_count = 0;
    }

    /// A wrong code; gives how many there were in a row, this one included.
    fn count_failure(&mut self, now: Millis) -> u32 {
        self.failure_count += 1;
        let count = self.failure_count;
        if count >= SETUP_FAILURES_MAX {
            self.failure_count = 0;
            self.closed_until = Some(now.after(SETUP_LOCK_MS));
        }
        count
    }
}

impl Supervisor {
    /// First stage of the ceremony.
    pub(crate) fn begin_set_up(&mut self, asker: Asker, source: &str, set_up: SetUp) {
        let enrolment = match self.check_set_up(source, &set_up) {
            Ok(enrolment) => enrolment,
            Err(fault) => return self.tell(asker, Told::Refused(fault)),
        };
        let now = self.clock.unix();
        let act = self
            .acts
            .insert(asker, source, Stage::Enrolling(Box::new(set_up)));
        if self.passwords.post(Job::Enrol(act, enrolment, now)).is_err() {
            self.end_act(act, Told::Refused(unavailable("system.busy")));
        }
    }

    fn check_set_up(&mut self, source: &str, set_up: &SetUp) -> Result<Enrolment, Fault> {
        self.check_can_act()?;
        let shown = match &self.setup_code {
            Some(code) if !self.people.is_set_up() => code.clone(),
            _ => return Err(refused("auth.setup.done", Vec::new())),
        };
        let now = self.clock.now();
        if self.acts.setup_lock.is_closed(now) {
            return Err(not_allowed("auth.setup.locked"));
        }
        if !identity::is_setup_code(&shown.0, &set_up.setup_code.0) {
            return Err(self.refuse_setup_code(source));
        }
        self.acts.setup_lock.open();
        if self.acts.is_ceremony_running() {
            return Err(unavailable("system.busy"));
        }
        if let Some(label) = &set_up.first_key_label {
            check_label(label)?;
        }
        let needs_gateway = set_up.first_key_label.is_some() || set_up.first_user.is_some();
        if needs_gateway && !self.gateway.is_serving() {
            return Err(unavailable("system.gateway.absent"));
        }
        let broken = |refusal: AccountRefusal| refused(refusal.code(), refusal.facts());
        if let Some(user) = &set_up.first_user {
            people::check_new_user(user).map_err(broken)?;
            let is_admin =
                |account: &NewAccount| account.username.to_lowercase() == user.username.to_lowercase();
            if set_up.accounts.iter().any(is_admin) {
                let username = user.username.clone();
                return Err(broken(AccountRefusal::SamePerson { username }));
            }
        }
        Enrolment::check(set_up.accounts.clone(), self.clock.unix()).map_err(broken)
    }

    fn refuse_setup_code(&mut self, source: &str) -> Fault {
        let failure_count = self.acts.setup_lock.count_failure(self.clock.now());
        let failure_count = Some(u64::from(failure_count));
        let event = LeafEvent::AuthFail { failure_count };
        let code = "auth.setup.code-wrong";
        let draft = self.scribe.denied(Actor::nobody(source), event, "setup", code);
        self.record(draft)
            .map_or_else(|unrecorded| unrecorded, |_| not_allowed(code))
    }

    /// The ceremony's passwords are hashed: let the gateway do its part, if there is one.
    pub(crate) fn on_enrolled(&mut self, id: ActId, enrolled: Result<Enrolled, AccountRefusal>) {
        let Some(act) = self.acts.running.remove(&id) else {
            return;
        };
        let Act {
            asker,
            source,
            stage: Stage::Enrolling(set_up),
        } = act
        else {
            return;
        };
        let enrolled = match enrolled {
            Ok(enrolled) => enrolled,
            Err(refusal) => {
                return self.tell(asker, Told::Refused(refused(refusal.code(), refusal.facts())));
            }
        };
        let Some(security) = enrolled
            .people()
            .into_iter()
            .find(|person| person.role == Role::Security)
        else {
            return self.tell(asker, Told::Refused(refused("auth.setup.roles", Vec::new())));
        };
        let mut tasks = VecDeque::new();
        // The key first: one that nobody was told of is harmless, a user who exists would block the next try.
        if let Some(label) = set_up.first_key_label.clone() {
            tasks.push_back(Task::CreateKey {
                label,
                owner: security.id.clone(),
            });
        }
        tasks.extend(set_up.first_user.clone().map(Task::CreateUser));
        let ceremony = Ceremony {
            enrolled,
            security,
            tasks,
            key: None,
            user: None,
        };
        self.go_on_with_ceremony(asker, source, ceremony);
    }

    pub(super) fn go_on_with_ceremony(&mut self, asker: Asker, source: String, mut ceremony: Ceremony) {
        let Some(task) = ceremony.tasks.pop_front() else {
            return self.finish_ceremony(asker, &source, ceremony);
        };
        if !self.gateway.is_serving() {
            return self.tell(asker, Told::Refused(unavailable("system.gateway.absent")));
        }
        let deadline = self.clock.now().after(TASK_MS);
        let stage = Stage::Ceremony {
            ceremony: Box::new(ceremony),
            deadline,
        };
        let act = self.acts.insert(asker, &source, stage);
        self.post_gateway(&ToGateway::Do { number: act.0, task }, Vec::new());
    }

    fn finish_ceremony(&mut self, asker: Asker, source: &str, ceremony: Ceremony) {
        match self.record_ceremony(source, &ceremony) {
            Ok(leaf_index) => {
                let first_key = ceremony.key.map(|(_, key)| key);
                let done = SetUpDone {
                    leaf_index,
                    first_key,
                    recovery_key: self.recovery_key(),
                };
                let enrolled = Box::new(ceremony.enrolled);
                self.after_commit(Afterwards::Install {
                    asker,
                    enrolled,
                    done,
                });
            }
            Err(fault) => self.tell(asker, Told::Refused(fault)),
        }
    }

    /// Leaves of the ceremony, each by the security admin in whose presence it happened; gives the last index.
    fn record_ceremony(&mut self, source: &str, ceremony: &Ceremony) -> Result<u64, Fault> {
        let people = ceremony.enrolled.people();
        let id_of = |role: Role| {
            people
                .iter()
                .find(|person| person.role == role)
                .map(|person| person.id.clone())
                .unwrap_or_default()
        };
        let event = LeafEvent::SetUp {
            system: id_of(Role::System),
            security: id_of(Role::Security),
            audit: id_of(Role::Audit),
        };
        let actor = || Actor::person(&ceremony.security, source);
        let mut drafts = vec![self.scribe.done(actor(), event, "")];
        for person in &people {
            let (account, kind) = (person.id.clone(), account_kind(person.role));
            drafts.push(
                self.scribe
                    .done(actor(), LeafEvent::AccountCreate { account, kind }, &person.id),
            );
        }
        if let Some((key, _)) = &ceremony.key {
            let event = LeafEvent::KeyCreate {
                key: key.clone(),
                owner: None,
            };
            drafts.push(self.scribe.done(actor(), event, key));
        }
        if let Some(user) = &ceremony.user {
            let event = LeafEvent::AccountCreate {
                account: user.clone(),
                kind: AccountKind::User,
            };
            drafts.push(self.scribe.done(actor(), event, user));
        }
        let mut last = 0;
        for draft in drafts {
            last = self.record(draft)?;
        }
        Ok(last)
    }

    /// The key that opens the state when the TPM would not: made before the ceremony, shown by it once.
    fn recovery_key(&self) -> Option<Private> {
        let path = self.places.as_ref()?.recovery_key();
        let bytes = durable::read(&path, RECOVERY_KEY_BYTES_MAX).ok()??;
        String::from_utf8(bytes).ok().map(Private)
    }

    /// Wiped as far as volatile storage can be: the ceremony has shown it, and nobody keeps it.
    fn forget_recovery_key(&self) {
        let Some(path) = self.places.as_ref().map(Places::recovery_key) else {
            return;
        };
        let wiped = std::fs::metadata(&path).and_then(|facts| {
            let length = usize::try_from(facts.len()).unwrap_or_default();
            std::fs::write(&path, vec![0; length])?;
            std::fs::remove_file(&path)
        });
        match wiped {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                crate::say(format_args!("the recovery key stays behind: {error}"));
            }
            _ => {}
        }
    }

    /// The leaves of the ceremony are in a checkpoint: the three admins are in force from now on.
    pub(crate) fn install_people(&mut self, asker: Asker, enrolled: Enrolled, done: SetUpDone) {
        if let Err(error) = self.people.install(enrolled) {
            crate::say(format_args!("the accounts could not be written: {error}"));
            return self.tell(asker, Told::Refused(unavailable("system.state.unwritable")));
        }
        self.forget_setup_code();
        self.forget_recovery_key();
        self.tell(asker, Told::SetUp(done));
        self.take_in_factory();
    }
}

const fn account_kind(role: Role) -> AccountKind {
    match role {
        Role::System => AccountKind::System,
        Role::Security => AccountKind::Security,
        Role::Audit => AccountKind::Audit,
        Role::User => AccountKind::User,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_wrong_codes_close_the_ceremony_for_a_minute() {
        let mut lock = SetupLock::default();
        for count in 1..=SETUP_FAILURES_MAX {
            assert!(!lock.is_closed(Millis(0)));
            assert_eq!(lock.count_failure(Millis(0)), count);
        }
        assert!(lock.is_closed(Millis(SETUP_LOCK_MS - 1)));
        assert!(!lock.is_closed(Millis(SETUP_LOCK_MS)));
        assert_eq!(lock.count_failure(Millis(SETUP_LOCK_MS)), 1);
    }

    #[test]
    fn a_right_code_forgives_the_wrong_ones_before_it() {
        let mut lock = SetupLock::default();
        lock.count_failure(Millis(0));
        lock.open();
        assert_eq!(lock.count_failure(Millis(0)), 1);
    }
}
