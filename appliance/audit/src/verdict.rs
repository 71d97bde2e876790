//! What is wrong with a log, and where.

use std::fmt;
use std::io;

use jingui_trust::Sha256;

use crate::checkpoint::CheckpointRefusal;
use crate::leaf::LeafRefusal;

/// Where something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file of the log, by its path.
    File(String),
    /// A leaf, by its index.
    Leaf(u64),
    /// The earlier checkpoint that was given.
    Since,
    /// The tree as a whole: each file fits the others, and none the signed root.
    Tree,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.write_str(path),
            Self::Leaf(index) => write!(f, "leaf {index}"),
            Self::Since => f.write_str("the earlier checkpoint"),
            Self::Tree => f.write_str("the tree"),
        }
    }
}

/// Why a log is not clean, with the first bad thing. Each variant is one class of the verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Verdict {
    /// What is here is not what was signed.
    #[error("altered: {place}")]
    Altered {
        /// Where.
        place: Place,
    },
    /// Something that was signed is not here, while later things are.
    #[error("missing: {place}")]
    Missing {
        /// What.
        place: Place,
    },
    /// The key signed two logs of which neither continues the other.
    #[error("forked: of {size} leaves, {earlier} was signed before, and here the root is {here}")]
    Forked {
        /// Size at which both are compared.
        size: u64,
        /// Root in the earlier checkpoint.
        earlier: Sha256,
        /// Root of the log that is here.
        here: Sha256,
    },
    /// The end of what was signed is not here.
    #[error("truncated: {found} of {signed} leaves are here")]
    Truncated {
        /// Leaves that are here.
        found: u64,
        /// Leaves that were signed.
        signed: u64,
    },
    /// The checkpoint is not one that the key signed.
    #[error("bad-signature: {place}")]
    BadSignature {
        /// Which.
        place: Place,
        /// In detail.
        source: CheckpointRefusal,
    },
    /// What was signed is not in the form of this log.
    #[error("malformed: {place}")]
    Malformed {
        /// Where.
        place: Place,
        /// In detail.
        source: Malformation,
    },
}

/// What is wrong with the form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformation {
    /// Of a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointRefusal),
    /// Of a leaf.
    #[error(transparent)]
    Leaf(#[from] LeafRefusal),
}

impl Verdict {
    /// The class as `jingui audit verify` prints it.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Altered { .. } => "altered",
            Self::Missing { .. } => "missing",
            Self::Forked { .. } => "forked",
            Self::Truncated { .. } => "truncated",
            Self::BadSignature { .. } => "bad-signature",
            Self::Malformed { .. } => "malformed",
        }
    }

    /// Never changes once released.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Altered { .. } => "audit.altered",
            Self::Missing { .. } => "audit.missing",
            Self::Forked { .. } => "audit.forked",
            Self::Truncated { .. } => "audit.truncated",
            Self::BadSignature { .. } => "audit.bad-signature",
            Self::Malformed { .. } => "audit.malformed",
        }
    }

    /// Facts for the words of [`Verdict::code`].
    #[must_use]
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Forked { size, .. } => vec![("size", size.to_string())],
            Self::Truncated { found, signed } => {
                vec![("found", found.to_string()), ("signed", signed.to_string())]
            }
            _ => vec![("place", self.place().to_string())],
        }
    }

    /// The first bad place; for a fork or a truncation, the leaf from which on the log is not the signed one.
    #[must_use]
    pub fn place(&self) -> Place {
        match self {
            Self::Altered { place } | Self::Missing { place } => place.clone(),
            Self::BadSignature { place, .. } | Self::Malformed { place, .. } => place.clone(),
            Self::Forked { .. } => Place::Since,
            Self::Truncated { found, .. } => Place::Leaf(*found),
        }
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum VerifyFailure {
    /// The log is bad.
    #[error(transparent)]
    Bad(#[from] Verdict),
    /// Nothing can be said: a file is there but cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl VerifyFailure {
    /// Never changes once released.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Bad(verdict) => verdict.code(),
            Self::Unreadable { .. } => "audit.unreadable",
        }
    }

    /// Facts for the words of [`VerifyFailure::code`].
    #[must_use]
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Bad(verdict) => verdict.facts(),
            Self::Unreadable { path, .. } => vec![("place", path.clone())],
        }
    }
}
