//! The tamper-evident audit log: leaf, tree, tiles, note, proof, writer, verdict.
//!
//! The log is a C2SP tiled Merkle log (tlog-tiles, signed-note, tlog-checkpoint, tlog-cosignature, tlog-proof) as
//! plain files; an export is a copy of them. This crate is pure: it opens no file, reads no clock and draws no
//! random number. Files are reached through [`ReadStorage`] and [`Storage`], so the same code runs in the
//! supervisor, in a tool on an auditor's machine and in a browser.
//!
//! | Module | Subject |
//! |---|---|
//! | [`tree`] | RFC 6962 hashes, roots, inclusion and consistency proofs |
//! | [`tile`] | names and bytes of tiles and entry bundles |
//! | [`note`], [`checkpoint`] | what is signed, and by whom |
//! | [`leaf`], [`event`] | one record: canonical JSON with a closed list of events |
//! | [`writer`] | the one place that makes a log grow |
//! | [`mod@verify`], [`verdict`] | the whole log recomputed from its entries, and what is wrong with it |
//! | [`proof`] | evidence for a single leaf |

pub mod checkpoint;
pub mod event;
pub mod leaf;
pub mod note;
pub mod proof;
pub mod storage;
pub mod tile;
pub mod tree;
pub mod verdict;
pub mod verify;
pub mod writer;

mod json;

#[cfg(test)]
extern crate self as jingui_audit;
#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod support;
#[cfg(test)]
mod vector;

pub use checkpoint::Checkpoint;
pub use event::Event;
pub use leaf::{Draft, Leaf};
pub use note::{Note, Signer, VerifierKey};
pub use proof::TlogProof;
pub use storage::{GuardStore, ReadStorage, Storage};
pub use verdict::{Verdict, VerifyFailure};
pub use verify::{Report, verify};
pub use writer::Writer;

/// Every stable code of this crate; the catalogue has words for each.
pub const CODES: &[&str] = &[
    "audit.altered",
    "audit.missing",
    "audit.forked",
    "audit.truncated",
    "audit.bad-signature",
    "audit.malformed",
    "audit.unreadable",
    "audit.vkey.malformed",
    "audit.proof.malformed",
    "audit.proof.bad-signature",
    "audit.proof.not-included",
    "audit.proof.no-such-leaf",
    "audit.leaf.too-long",
    "audit.leaf.refused",
    "audit.batch.too-long",
    "audit.writer.stopped",
    "audit.write.failed",
    "audit.guard.missing",
    "audit.guard.malformed",
    "audit.guard.changed",
    "audit.rolled-back",
];
