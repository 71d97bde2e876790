//! What can go wrong, each with a stable code. None of them ever leads to a state being made anew.

use std::io;

/// Every code of this program.
#[cfg(test)]
pub(crate) const CODES: &[&str] = &[
    "storage.disk.unknown",
    "storage.mount.failed",
    "storage.models.absent",
    "storage.models.damaged",
    "storage.partition.twice",
    "storage.partitions.failed",
    "storage.pcr-key.missing",
    "storage.recovery-key.failed",
    "storage.report.unwritable",
    "storage.state.absent",
    "storage.state.damaged",
    "storage.state.header-damaged",
    "storage.state.locked",
    "storage.state.passphrase",
    "storage.state.passphrase-new",
    "storage.state.passphrase-wrong",
    "storage.tool.failed",
];

/// Why the box has no state.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The disk of the running image cannot be told.
    #[error("the disk of the running image cannot be told")]
    DiskUnknown(#[source] io::Error),
    /// Two partitions of the disk have the same label.
    #[error("the disk has two partitions named {label}")]
    PartitionTwice {
        /// The label.
        label: String,
    },
    /// The partitions that were missing could not be made.
    #[error("partitions could not be made (systemd-repart: {code:?})")]
    PartitionsFailed {
        /// Exit code.
        code: Option<i32>,
    },
    /// There is no state, and none was made.
    #[error("there is no state partition")]
    StateAbsent,
    /// The running image has no signed measurements, so that nothing can be bound to them.
    #[error("the running image brings no key for its measurements")]
    PcrKeyMissing,
    /// The header of the encrypted state cannot be read.
    #[error("the header of the state cannot be read")]
    HeaderDamaged,
    /// The file system of the state cannot be repaired without loss.
    #[error("the file system of the state is damaged (e2fsck: {code:?})")]
    StateDamaged {
        /// Exit code.
        code: Option<i32>,
    },
    /// A file system could not be mounted.
    #[error("{what} could not be mounted")]
    MountFailed {
        /// Which.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No recovery key could be made.
    #[error("no recovery key could be made")]
    RecoveryKeyFailed,
    /// What was done cannot be written down for the supervisor.
    #[error("what was done cannot be written down")]
    ReportUnwritable(#[source] io::Error),
    /// A program that is needed could not be run.
    #[error("{program} could not be run")]
    ToolFailed {
        /// Which.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Failure {
    /// Stable code.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::DiskUnknown(_) => "storage.disk.unknown",
            Self::PartitionTwice { .. } => "storage.partition.twice",
            Self::PartitionsFailed { .. } => "storage.partitions.failed",
            Self::StateAbsent => "storage.state.absent",
            Self::PcrKeyMissing => "storage.pcr-key.missing",
            Self::HeaderDamaged => "storage.state.header-damaged",
            Self::StateDamaged { .. } => "storage.state.damaged",
            Self::MountFailed { .. } => "storage.mount.failed",
            Self::RecoveryKeyFailed => "storage.recovery-key.failed",
            Self::ReportUnwritable(_) => "storage.report.unwritable",
            Self::ToolFailed { .. } => "storage.tool.failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_words_in_both_languages() {
        let missing: Vec<_> = CODES
            .iter()
            .filter(|code| !jingui_messages::is_known(code))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
