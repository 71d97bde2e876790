//! Words for people, in the language of the moment.

use jingui_ipc::control::Fault;
use jingui_messages::{Explanation, Language, explain, phrase};

use crate::text::clean;

/// The catalogue in one language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words(pub Language);

impl Words {
    /// A phrase of ours.
    #[must_use]
    pub fn of(self, key: &str) -> String {
        self.with(key, &[])
    }

    /// A phrase of ours with facts.
    #[must_use]
    pub fn with(self, key: &str, facts: &[(&str, &str)]) -> String {
        let facts: Vec<(&str, String)> = facts.iter().map(|(name, value)| (*name, clean(value))).collect();
        // A test walks all keys of the sources; a missing one shows as its name.
        phrase(key, self.0, &facts).unwrap_or_else(|| key.to_owned())
    }

    /// What a code means.
    #[must_use]
    pub fn explain(self, code: &str, facts: &[(String, String)]) -> Explanation {
        let facts: Vec<(String, String)> = facts
            .iter()
            .map(|(name, value)| (clean(name), clean(value)))
            .collect();
        explain(&clean(code), self.0, &facts)
    }

    /// What a refusal means.
    #[must_use]
    pub fn fault(self, fault: &Fault) -> Explanation {
        self.explain(&fault.code, &fault.facts)
    }
}
