//! What can go wrong, as people and scripts learn it: a stable code, facts, and an exit code.

use jingui_ipc::control::{Fault, FaultKind};

/// Exit codes. Scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// The thing that was checked is bad.
    Bad,
    /// The input is refused.
    Refused,
    /// The person may not.
    NotAllowed,
    /// Not possible now.
    Unavailable,
    /// The command line is not understood.
    Usage,
}

impl Exit {
    /// The number.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Bad => 1,
            Self::Refused => 2,
            Self::NotAllowed => 3,
            Self::Unavailable => 4,
            Self::Usage => 64,
        }
    }
}

/// A command that was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// How the program ends.
    pub(crate) exit: Exit,
    /// Stable code; `messages` has its words.
    pub(crate) code: String,
    /// Facts for the words.
    pub(crate) facts: Vec<(String, String)>,
}

impl Failure {
    /// A failure with that code.
    pub(crate) fn new(exit: Exit, code: &str) -> Self {
        Self {
            exit,
            code: code.to_owned(),
            facts: Vec::new(),
        }
    }

    /// Adds a fact.
    pub(crate) fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.facts.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds facts.
    pub(crate) fn with_all(mut self, facts: Vec<(&'static str, String)>) -> Self {
        self.facts
            .extend(facts.into_iter().map(|(name, value)| (name.to_owned(), value)));
        self
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let exit = match fault.kind {
            FaultKind::Refused => Exit::Refused,
            FaultKind::NotAllowed => Exit::NotAllowed,
            FaultKind::Unavailable => Exit::Unavailable,
        };
        Self {
            exit,
            code: fault.code,
            facts: fault.facts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_that_scripts_rely_on() {
        let codes = [
            Exit::Done,
            Exit::Bad,
            Exit::Refused,
            Exit::NotAllowed,
            Exit::Unavailable,
            Exit::Usage,
        ];
        assert_eq!(codes.map(Exit::code), [0, 1, 2, 3, 4, 64]);
    }

    /// Texts in the sources that look like codes or phrases, so that none is without words.
    #[test]
    fn every_code_and_phrase_in_the_sources_has_words() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        for entry in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap();
            for quoted in text.split('"').skip(1).step_by(2) {
                let is_word = quoted
                    .chars()
                    .all(|sign| sign.is_ascii_lowercase() || matches!(sign, '.' | '-'));
                let is_of = |area: &str| quoted.starts_with(area) && is_word;
                if is_of("cli.") {
                    let none: &[(&str, &str)] = &[];
                    let found = jingui_messages::phrase(quoted, jingui_messages::Language::English, none);
                    assert!(found.is_some(), "{quoted}");
                } else if is_of("system.") || is_of("auth.") || is_of("audit.") || is_of("model.") {
                    assert!(jingui_messages::is_known(quoted), "{quoted}");
                }
            }
        }
    }
}
