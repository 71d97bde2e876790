//! What each role may do, and which acts need two people.

use std::collections::BTreeSet;

use jingui_ipc::control::Role;

use super::Person;

/// An act that needs people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Import a model: a system and a security admin, four eyes.
    ImportModel,
    /// Make an API key or an ordinary user: the security admin.
    ManageAccounts,
    /// Export the log: the auditor.
    ExportAudit,
    /// Go back to the factory's state: the system admin.
    Reset,
    /// Write a new image into the other slot: the system admin, who runs the box. What may be written a key of the
    /// image's maker decides, and the way back is always there, so there is no second person.
    ApplyUpdate,
}

/// Why people may not do an act together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ActRefusal {
    /// A role is missing among the people who proved themselves.
    #[error("{needed} must approve")]
    RoleMissing {
        /// The missing role.
        needed: &'static str,
    },
    /// More people proved themselves than the act needs, or one proved himself twice.
    #[error("one person stands for two")]
    SamePerson,
}

impl ActRefusal {
    /// Stable code.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::RoleMissing { .. } => "auth.role.missing",
            Self::SamePerson => "auth.act.same-person",
        }
    }

    /// Facts for the words.
    pub(crate) fn facts(&self) -> Vec<(String, String)> {
        match self {
            Self::RoleMissing { needed } => vec![("role".to_owned(), (*needed).to_owned())],
            Self::SamePerson => Vec::new(),
        }
    }
}

/// Whether these people may do that act together: exactly the roles it needs, each by another person.
pub(crate) fn authorise(act: Act, people: &[Person]) -> Result<(), ActRefusal> {
    let needed = act.roles();
    for role in needed {
        if !people.iter().any(|person| person.role == *role) {
            return Err(ActRefusal::RoleMissing {
                needed: role_name(*role),
            });
        }
    }
    let ids: BTreeSet<&str> = people.iter().map(|person| person.id.as_str()).collect();
    if ids.len() != people.len() || people.len() != needed.len() {
        return Err(ActRefusal::SamePerson);
    }
    Ok(())
}

impl Act {
    const fn roles(self) -> &'static [Role] {
        match self {
            Self::ImportModel => &[Role::System, Role::Security],
            Self::ManageAccounts => &[Role::Security],
            Self::ExportAudit => &[Role::Audit],
            Self::ApplyUpdate => &[Role::System],
            Self::Reset => &[Role::System],
        }
    }
}

/// Name of a role in leaves and facts.
pub(crate) const fn role_name(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::Security => "security",
        Role::Audit => "audit",
        Role::User => "user",
    }
}
