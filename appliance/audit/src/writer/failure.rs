//! Why a log could not be opened or appended to.

use std::io;

use crate::checkpoint::CheckpointRefusal;
use crate::leaf::LeafRefusal;
use crate::storage::CHECKPOINT_PATH;
use crate::tile::TileFailure;
use crate::verdict::Place;
use crate::writer::BATCH_LEAVES_MAX;

/// Why a log was not opened. Nothing of it was acknowledged or lost.
#[derive(Debug, thiserror::Error)]
pub enum OpenFailure {
    /// A file is missing, damaged or unreadable.
    #[error(transparent)]
    Tile(#[from] TileFailure),
    /// The checkpoint is not one that our key signed.
    #[error("the checkpoint is refused")]
    Checkpoint(#[source] CheckpointRefusal),
    /// The open tiles do not give the signed root, or the open bundle does not give the open tile.
    #[error("{path} does not fit the checkpoint")]
    Altered {
        /// The file at which it was seen.
        path: String,
    },
    /// An entry beyond the checkpoint is no leaf for its place.
    #[error("the entry at {index}, beyond the checkpoint, is no leaf")]
    BadTail {
        /// Which.
        index: u64,
        /// Why.
        source: LeafRefusal,
    },
    /// There is a checkpoint, but nothing in the second place.
    #[error("there is a log, but no record of what was last signed")]
    GuardMissing,
    /// What is in the second place is not what a writer of this log stores.
    #[error("the record of what was last signed is damaged")]
    GuardMalformed,
    /// More was signed than is here.
    #[error("{signed} leaves were signed, but only {found} are here")]
    RolledBack {
        /// Size that was last signed.
        signed: u64,
        /// Leaves on disk.
        found: u64,
    },
    /// What is here does not lead to what was signed.
    #[error("the {size} leaves here are not those that were signed")]
    Forked {
        /// Size that was last signed.
        size: u64,
    },
    /// Writing failed.
    #[error(transparent)]
    Write(#[from] WriteFailure),
}

impl OpenFailure {
    /// Never changes once released.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Tile(TileFailure::Missing { .. }) => "audit.missing",
            Self::Tile(TileFailure::Unreadable { .. }) => "audit.unreadable",
            Self::Tile(TileFailure::WrongLength { .. }) | Self::Altered { .. } => "audit.altered",
            Self::Checkpoint(refusal) if refusal.is_bad_signature() => "audit.bad-signature",
            Self::Checkpoint(_) | Self::BadTail { .. } => "audit.malformed",
            Self::GuardMissing => "audit.guard.missing",
            Self::GuardMalformed => "audit.guard.malformed",
            Self::RolledBack { .. } => "audit.rolled-back",
            Self::Forked { .. } => "audit.forked",
            Self::Write(failure) => failure.code(),
        }
    }

    /// Facts for the words of [`OpenFailure::code`].
    #[must_use]
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Tile(failure) => vec![("place", failure.path().to_owned())],
            Self::Checkpoint(_) => vec![("place", CHECKPOINT_PATH.to_owned())],
            Self::Altered { path } => vec![("place", path.clone())],
            Self::BadTail { index, .. } => vec![("place", Place::Leaf(*index).to_string())],
            Self::RolledBack { signed, found } => {
                vec![("signed", signed.to_string()), ("found", found.to_string())]
            }
            Self::Forked { size } => vec![("size", size.to_string())],
            Self::GuardMissing | Self::GuardMalformed | Self::Write(_) => Vec::new(),
        }
    }
}

/// A write that failed. The writer is stopped.
#[derive(Debug, thiserror::Error)]
pub enum WriteFailure {
    /// A file of the log.
    #[error("{path} could not be written")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The second place.
    #[error("the record of what is about to be signed could not be read or written")]
    Guard {
        /// Why.
        source: io::Error,
    },
    /// Somebody else wrote to the second place: a second writer runs, or an older state was put back.
    #[error("the record of what was last signed was changed by somebody else")]
    GuardChanged,
}

impl WriteFailure {
    /// Never changes once released.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::File { .. } | Self::Guard { .. } => "audit.write.failed",
            Self::GuardChanged => "audit.guard.changed",
        }
    }
}

/// Why a batch was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum AppendFailure {
    /// A record cannot be a leaf. Nothing was written; the writer goes on.
    #[error("record {position} of the batch is refused")]
    Leaf {
        /// Which of the batch, from 0.
        position: usize,
        /// Why.
        source: LeafRefusal,
    },
    /// More than [`BATCH_LEAVES_MAX`] records. Nothing was written; the writer goes on.
    #[error("a batch has at most {BATCH_LEAVES_MAX} records, not {count}")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// Writing failed: the batch may be on disk in part or in full. The writer is stopped.
    #[error(transparent)]
    Write(#[from] WriteFailure),
    /// An earlier write failed.
    #[error("the log is stopped since a write failed")]
    Stopped,
}

impl AppendFailure {
    /// Never changes once released.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Leaf { source, .. } => source.code(),
            Self::TooMany { .. } => "audit.batch.too-long",
            Self::Write(failure) => failure.code(),
            Self::Stopped => "audit.writer.stopped",
        }
    }
}
