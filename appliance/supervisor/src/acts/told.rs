//! How an act ended, and how that is told to whoever asked.

use jingui_ipc::control::{Fault, FaultKind, Private, Reply, SetUpDone};
use jingui_ipc::gateway::Answer;
use jingui_ipc::status::ModelFacts;

use super::Asker;
use crate::people::Person;
use crate::supervisor::Letter;

/// How an act ended, for whoever asked.
#[derive(Debug)]
pub(crate) enum Told {
    Refused(Fault),
    Person { person: Person, session: String },
    SetUp(SetUpDone),
    Done { leaf_index: u64 },
    Key { key: Private, leaf_index: u64 },
    Imported { model: Box<ModelFacts>, leaf_index: u64 },
}

/// The end of an act, addressed.
pub(super) fn letter(asker: Asker, told: Told) -> Letter {
    match asker {
        Asker::Gateway(generation, number) => Letter::Answer {
            generation,
            number,
            answer: Box::new(answer(told)),
        },
        Asker::Control(connection) => Letter::Reply {
            connection,
            reply: Box::new(reply(told)),
        },
    }
}

fn answer(told: Told) -> Answer {
    match told {
        Told::Refused(fault) => Answer::Refused(fault),
        Told::Person {
            person: Person { id, username, role },
            session,
        } => Answer::Person {
            account_id: id,
            username,
            role,
            session,
        },
        Told::SetUp(done) => Answer::SetUpDone(done),
        Told::Done { leaf_index } | Told::Key { leaf_index, .. } | Told::Imported { leaf_index, .. } => {
            Answer::Recorded { leaf_index }
        }
    }
}

fn reply(told: Told) -> Reply {
    match told {
        Told::Refused(fault) => Reply::Refused(fault),
        Told::SetUp(done) => Reply::SetUpDone(done),
        Told::Done { leaf_index } => Reply::Done { leaf_index },
        Told::Key { key, leaf_index } => Reply::Key { key, leaf_index },
        Told::Imported { model, leaf_index } => Reply::Imported { model, leaf_index },
        // Nobody logs in over the control socket.
        Told::Person { .. } => Reply::Refused(refused("system.request.malformed", Vec::new())),
    }
}

/// The input is bad.
pub(crate) fn refused(code: &str, facts: Vec<(String, String)>) -> Fault {
    Fault {
        kind: FaultKind::Refused,
        code: code.to_owned(),
        facts,
    }
}

/// The person may not.
pub(crate) fn not_allowed(code: &str) -> Fault {
    Fault {
        kind: FaultKind::NotAllowed,
        code: code.to_owned(),
        facts: Vec::new(),
    }
}

/// Not possible now.
pub(crate) fn unavailable(code: &str) -> Fault {
    Fault {
        kind: FaultKind::Unavailable,
        code: code.to_owned(),
        facts: Vec::new(),
    }
}
