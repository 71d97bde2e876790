//! How an act ended, and how that is told to whoever asked.

use jingui_ipc::control::{Fault, FaultKind, Private, Reply, SetUpDone};
use jingui_ipc::gateway::Answer;
use jingui_ipc::screen;
use jingui_ipc::status::ModelFacts;
use jingui_ipc::update::UpdateOffer;

use super::Asker;
use crate::people::Person;
use crate::supervisor::Letter;

/// How an act ended, for whoever asked.
#[derive(Debug)]
pub(crate) enum Told {
    Refused(Fault),
    Person {
        person: Person,
        session: String,
    },
    SetUp(SetUpDone),
    Done {
        leaf_index: u64,
    },
    Key {
        key: Private,
        leaf_index: u64,
    },
    Imported {
        model: Box<ModelFacts>,
        leaf_index: u64,
    },
    /// A bundle with a new image is good.
    UpdateOffer(Box<UpdateOffer>),
    /// A new image is in the other slot.
    UpdateWritten {
        offer: Box<UpdateOffer>,
        leaf_index: u64,
    },
    /// An act that the local screen or the ceremony asked for.
    Carried(screen::Done),
}

/// The end of an act, addressed.
pub(crate) fn letter(asker: Asker, told: Told) -> Letter {
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
        Asker::Factory => Letter::Nobody,
        Asker::Screen(connection, number) => crate::screen::letter(connection, number, at_screen(told)),
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
        Told::Done { leaf_index }
        | Told::Key { leaf_index, .. }
        | Told::Imported { leaf_index, .. }
        | Told::UpdateWritten { leaf_index, .. }
        | Told::Carried(screen::Done { leaf_index, .. }) => Answer::Recorded { leaf_index },
        // The gateway has no question to which this is the answer.
        Told::UpdateOffer(_) => Answer::Refused(refused("system.request.malformed", Vec::new())),
    }
}

fn reply(told: Told) -> Reply {
    match told {
        Told::Refused(fault) => Reply::Refused(fault),
        Told::SetUp(done) => Reply::SetUpDone(done),
        Told::Done { leaf_index } | Told::Carried(screen::Done { leaf_index, .. }) => {
            Reply::Done { leaf_index }
        }
        Told::Key { key, leaf_index } => Reply::Key { key, leaf_index },
        Told::Imported { model, leaf_index } => Reply::Imported { model, leaf_index },
        Told::UpdateOffer(offer) => Reply::UpdateOffer(offer),
        Told::UpdateWritten { offer, leaf_index } => Reply::UpdateWritten { offer, leaf_index },
        // Nobody logs in over the control socket.
        Told::Person { .. } => Reply::Refused(refused("system.request.malformed", Vec::new())),
    }
}

fn at_screen(told: Told) -> screen::Reply {
    match told {
        Told::Refused(fault) => screen::Reply::Refused(fault),
        Told::Carried(done) => screen::Reply::Done(done),
        Told::Done { leaf_index } => screen::Reply::Done(screen::Done {
            leaf_index,
            facts: Vec::new(),
        }),
        Told::UpdateOffer(offer) => screen::Reply::Update(offer),
        Told::UpdateWritten { offer, leaf_index } => screen::Reply::Done(screen::Done {
            leaf_index,
            facts: vec![("version".to_owned(), offer.version)],
        }),
        // Nobody asks for these at the screen; a key would be a secret on a monitor.
        Told::Person { .. } | Told::SetUp(_) | Told::Key { .. } | Told::Imported { .. } => {
            screen::Reply::Refused(refused("system.request.malformed", Vec::new()))
        }
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
