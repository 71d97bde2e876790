//! Turns what happened into drafts of leaves: fills in time, boot and actor. Content never gets here.

use jingui_audit::event::{Event, Factors, Family, Finish};
use jingui_audit::leaf::{BootId, Commitments, Draft, Outcome, Role, TimeSource, Timestamp};
use jingui_ipc::control;
use jingui_ipc::gateway::{self, Record};
use jingui_trust::Sha256;

use crate::clock::Clock;
use crate::people::Person;

/// Longest actor, session, source, request id or code that the gateway may put into a leaf, in bytes.
pub(crate) const WORD_BYTES_MAX: usize = 256;

/// Name of the box itself as an actor.
const SUPERVISOR: &str = "supervisor";
/// Whoever stands at the local screen.
const PRESENT: &str = "present";

/// Fills in what all leaves of this boot have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scribe {
    clock: Clock,
    boot: BootId,
}

/// Who did it, and from where.
#[derive(Debug, Clone)]
pub(crate) struct Actor {
    /// Account id, or the name of one of our processes, or empty for somebody unknown.
    pub(crate) id: String,
    /// Role at that moment.
    pub(crate) role: Role,
    /// Session id or empty.
    pub(crate) session: String,
    /// Address of the person's machine, `local` for a tool on the box, empty for the box itself.
    pub(crate) source: String,
}

/// The gateway's record does not fit a leaf: too long, or with a word outside its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record does not fit a leaf")]
pub(crate) struct RecordRefusal;

impl Actor {
    /// The box itself.
    pub(crate) fn device() -> Self {
        Self {
            id: SUPERVISOR.to_owned(),
            role: Role::Device,
            session: String::new(),
            source: String::new(),
        }
    }

    /// A person whose proof was right.
    pub(crate) fn person(person: &Person, source: &str) -> Self {
        let (id, role) = (person.id.clone(), leaf_role(person.role));
        Self {
            id,
            role,
            session: String::new(),
            source: source.to_owned(),
        }
    }

    /// Whoever stands at the local screen: presence was all that was asked of him.
    pub(crate) fn present() -> Self {
        Self {
            id: PRESENT.to_owned(),
            role: Role::Nobody,
            session: String::new(),
            source: crate::screen::SOURCE.to_owned(),
        }
    }

    /// Somebody who did not prove who he is. A typed name is not recorded: people type passwords there.
    pub(crate) fn nobody(source: &str) -> Self {
        Self {
            id: String::new(),
            role: Role::Nobody,
            session: String::new(),
            source: source.to_owned(),
        }
    }

    /// The same actor in a session.
    pub(crate) fn in_session(self, session: &str) -> Self {
        Self {
            session: session.to_owned(),
            ..self
        }
    }
}

impl Scribe {
    /// A scribe for this boot.
    pub(crate) const fn new(clock: Clock, boot: BootId) -> Self {
        Self { clock, boot }
    }

    /// Something that was done.
    pub(crate) fn done(&self, actor: Actor, event: Event, object: &str) -> Draft {
        self.draft(actor, event, object, Outcome::Ok, "")
    }

    /// Something that was not allowed, by the rule of that code.
    pub(crate) fn denied(&self, actor: Actor, event: Event, object: &str, why: &str) -> Draft {
        self.draft(actor, event, object, Outcome::Deny, why)
    }

    /// Something that failed.
    pub(crate) fn failed(&self, actor: Actor, event: Event, object: &str, why: &str) -> Draft {
        self.draft(actor, event, object, Outcome::Error, why)
    }

    /// The leaf of an event that the gateway reported.
    pub(crate) fn reported(&self, record: Record) -> Result<Draft, RecordRefusal> {
        let words = [&record.actor, &record.session, &record.source, &record.why];
        if words.iter().any(|word| word.len() > WORD_BYTES_MAX) {
            return Err(RecordRefusal);
        }
        let outcome = match record.outcome {
            gateway::Outcome::Ok => Outcome::Ok,
            gateway::Outcome::Deny => Outcome::Deny,
            gateway::Outcome::Error => Outcome::Error,
        };
        let role = match record.role {
            Some(role) => leaf_role(role),
            None if record.actor.is_empty() => Role::Nobody,
            None => Role::Key,
        };
        let (event, object, commitments) = reported_event(record.event, outcome)?;
        let actor = Actor {
            id: record.actor,
            role,
            session: record.session,
            source: record.source,
        };
        let mut draft = self.draft(actor, event, &object, outcome, &record.why);
        draft.commitments = commitments;
        Ok(draft)
    }

    fn draft(&self, actor: Actor, event: Event, object: &str, outcome: Outcome, why: &str) -> Draft {
        Draft {
            time: Timestamp::from_unix_ms(self.clock.unix_ms()),
            time_source: TimeSource::Rtc,
            boot: self.boot,
            mono_ms: self.clock.now().0,
            actor: actor.id,
            role: actor.role,
            session: actor.session,
            source: actor.source,
            event,
            object: object.to_owned(),
            outcome,
            why: why.to_owned(),
            commitments: Commitments::default(),
        }
    }
}

/// A role as leaves name it.
pub(crate) const fn leaf_role(role: control::Role) -> Role {
    match role {
        control::Role::System => Role::System,
        control::Role::Security => Role::Security,
        control::Role::Audit => Role::Audit,
        control::Role::User => Role::User,
    }
}

fn reported_event(
    event: gateway::Event,
    outcome: Outcome,
) -> Result<(Event, String, Commitments), RecordRefusal> {
    let none = Commitments::default();
    Ok(match event {
        gateway::Event::UserLogin if outcome == Outcome::Ok => (
            Event::AuthLogin {
                factors: Factors::PasswordTotp,
            },
            String::new(),
            none,
        ),
        gateway::Event::UserLogin => (Event::AuthFail { failure_count: None }, String::new(), none),
        gateway::Event::Logout => (Event::AuthLogout {}, String::new(), none),
        gateway::Event::ConsoleError => (Event::ConsoleError {}, String::new(), none),
        gateway::Event::KeyCreated { key_id } => {
            let key_id = short(key_id)?;
            (
                Event::KeyCreate {
                    key: key_id.clone(),
                    owner: None,
                },
                key_id,
                none,
            )
        }
        gateway::Event::UserCreated { account_id } => {
            let account = short(account_id)?;
            let kind = jingui_audit::event::AccountKind::User;
            (
                Event::AccountCreate {
                    account: account.clone(),
                    kind,
                },
                account,
                none,
            )
        }
        gateway::Event::Inference(inference) => reported_inference(inference)?,
    })
}

fn reported_inference(inference: gateway::Inference) -> Result<(Event, String, Commitments), RecordRefusal> {
    let package: Sha256 = inference.package_digest.parse().map_err(|_| RecordRefusal)?;
    let commitments = Commitments {
        prompt: Some(Sha256::from_bytes(inference.prompt_commitment)),
        answer: Some(Sha256::from_bytes(inference.answer_commitment)),
    };
    let event = Event::InferRequest {
        request: short(inference.request_id)?,
        family: Family::from_word(&inference.family).ok_or(RecordRefusal)?,
        package,
        prompt_tokens: inference.prompt_tokens,
        completion_tokens: inference.completion_tokens,
        finish: Finish::from_word(&inference.finish).ok_or(RecordRefusal)?,
    };
    Ok((event, package.to_string(), commitments))
}

fn short(word: String) -> Result<String, RecordRefusal> {
    if word.len() > WORD_BYTES_MAX {
        Err(RecordRefusal)
    } else {
        Ok(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scribe() -> Scribe {
        Scribe::new(Clock::start(), BootId([7; 16]))
    }

    fn record(event: gateway::Event, outcome: gateway::Outcome) -> Record {
        Record {
            actor: "k-1".to_owned(),
            role: None,
            session: String::new(),
            source: "192.168.7.9".to_owned(),
            event,
            outcome,
            why: String::new(),
        }
    }

    fn inference() -> gateway::Inference {
        gateway::Inference {
            request_id: "r-1".to_owned(),
            family: "openai".to_owned(),
            package_digest: "11".repeat(32),
            prompt_tokens: 12,
            completion_tokens: 3,
            finish: "stop".to_owned(),
            prompt_commitment: [1; 32],
            answer_commitment: [2; 32],
        }
    }

    #[test]
    fn every_event_of_the_gateway_becomes_a_leaf() {
        let cases = [
            (gateway::Event::UserLogin, gateway::Outcome::Ok, "auth.login"),
            (gateway::Event::UserLogin, gateway::Outcome::Deny, "auth.fail"),
            (gateway::Event::Logout, gateway::Outcome::Ok, "auth.logout"),
            (
                gateway::Event::KeyCreated {
                    key_id: "k-2".to_owned(),
                },
                gateway::Outcome::Ok,
                "key.create",
            ),
            (
                gateway::Event::UserCreated {
                    account_id: "u-1".to_owned(),
                },
                gateway::Outcome::Ok,
                "account.create",
            ),
            (
                gateway::Event::Inference(inference()),
                gateway::Outcome::Ok,
                "infer.request",
            ),
            (
                gateway::Event::ConsoleError,
                gateway::Outcome::Error,
                "console.error",
            ),
        ];
        for (event, outcome, name) in cases {
            let leaf = scribe()
                .reported(record(event, outcome))
                .unwrap()
                .numbered(9)
                .unwrap();
            assert_eq!(leaf.draft.event.name(), name);
            assert_eq!(leaf.draft.role, Role::Key);
        }
    }

    #[test]
    fn an_inference_leaf_carries_both_commitments_and_no_content() {
        let event = gateway::Event::Inference(inference());
        let draft = scribe().reported(record(event, gateway::Outcome::Ok)).unwrap();
        assert_eq!(draft.commitments.prompt, Some(Sha256::from_bytes([1; 32])));
        assert_eq!(draft.commitments.answer, Some(Sha256::from_bytes([2; 32])));
    }

    #[test]
    fn words_outside_the_lists_and_words_too_long_are_refused() {
        let change = |change: fn(&mut gateway::Inference)| {
            let mut inference = inference();
            change(&mut inference);
            scribe().reported(record(gateway::Event::Inference(inference), gateway::Outcome::Ok))
        };
        assert!(change(|it| it.request_id = "r".repeat(WORD_BYTES_MAX)).is_ok());
        assert_eq!(
            change(|it| it.request_id = "r".repeat(WORD_BYTES_MAX + 1)),
            Err(RecordRefusal)
        );
        assert_eq!(change(|it| it.family = "telnet".to_owned()), Err(RecordRefusal));
        assert_eq!(change(|it| it.finish = "maybe".to_owned()), Err(RecordRefusal));
        assert_eq!(
            change(|it| it.package_digest = "11".to_owned()),
            Err(RecordRefusal)
        );
        let mut long = record(gateway::Event::Logout, gateway::Outcome::Ok);
        long.source = "x".repeat(WORD_BYTES_MAX + 1);
        assert_eq!(scribe().reported(long), Err(RecordRefusal));
    }
}
