//! Evidence for a single leaf: a `.tlog-proof` file (c2sp.org/tlog-proof).
//!
//! Together with the leaf's bytes and the log's verifier key it shows, without the log, that the leaf stands at its
//! index in a tree that the log's key signed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jingui_trust::Sha256;

use crate::checkpoint::{CHECKPOINT_BYTES_MAX, Checkpoint, CheckpointRefusal};
use crate::note::VerifierKey;
use crate::storage::{CHECKPOINT_PATH, ReadStorage};
use crate::tile::{
    BUNDLE_BYTES_MAX, Kind, StoredTree, TILE_WIDTH, TileFailure, TileName, read_or_full, split_entries,
};
use crate::tree::{PROOF_HASHES_MAX, is_included, leaf_hash, prove_inclusion};
use crate::verdict::Place;

/// First line of the file.
pub const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// Longest proof file that is read.
pub const PROOF_BYTES_MAX: usize = CHECKPOINT_BYTES_MAX + EXTRA_BYTES_MAX * 2 + 8 * 1024;
/// Longest extra data that is read.
pub const EXTRA_BYTES_MAX: usize = 64 * 1024;

/// A proof as written in the file. Holding one proves nothing: see [`TlogProof::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// Data of the maker that nothing vouches for. Never read facts from it.
    pub extra: Option<Vec<u8>>,
    /// Index of the leaf.
    pub index: u64,
    /// Inclusion proof, sibling of the leaf first.
    pub hashes: Vec<Sha256>,
    /// The signed checkpoint, as it is.
    pub checkpoint: String,
}

/// A leaf with the proof of its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Bytes of the leaf.
    pub leaf: Vec<u8>,
    /// Proof of its place.
    pub proof: TlogProof,
}

/// Why a proof does not show what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofRefusal {
    /// Not written as the specification says.
    #[error("not a tlog-proof")]
    Form,
    /// The checkpoint in it is not one that the key signed.
    #[error("the checkpoint in the proof is refused")]
    Checkpoint(#[source] CheckpointRefusal),
    /// The hashes do not lead from this leaf at this index to the signed root.
    #[error("the leaf is not at index {index} of the signed tree")]
    NotIncluded {
        /// Where it should be.
        index: u64,
    },
}

impl ProofRefusal {
    /// Never changes once released.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Checkpoint(refusal) if refusal.is_bad_signature() => "audit.proof.bad-signature",
            Self::Form | Self::Checkpoint(_) => "audit.proof.malformed",
            Self::NotIncluded { .. } => "audit.proof.not-included",
        }
    }

    /// Facts for the words of [`ProofRefusal::code`].
    #[must_use]
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::NotIncluded { index } => vec![("index", index.to_string())],
            Self::Form | Self::Checkpoint(_) => Vec::new(),
        }
    }
}

/// Why a proof could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ProofFailure {
    /// There is no checkpoint, or it is not one that the key signed.
    #[error("the log's checkpoint is refused")]
    Checkpoint(#[source] CheckpointRefusal),
    /// The tree is smaller.
    #[error("the log has {size} leaves; there is no leaf {index}")]
    NoSuchLeaf {
        /// Which was asked for.
        index: u64,
        /// How many there are.
        size: u64,
    },
    /// A file is missing, damaged or unreadable.
    #[error(transparent)]
    Tile(#[from] TileFailure),
    /// The files do not fit the checkpoint; verify the whole log for the reason.
    #[error("the files do not fit the checkpoint")]
    Altered,
}

impl ProofFailure {
    /// Never changes once released.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Checkpoint(refusal) if refusal.is_bad_signature() => "audit.bad-signature",
            Self::Checkpoint(_) => "audit.malformed",
            Self::NoSuchLeaf { .. } => "audit.proof.no-such-leaf",
            Self::Tile(TileFailure::Missing { .. }) => "audit.missing",
            Self::Tile(TileFailure::Unreadable { .. }) => "audit.unreadable",
            Self::Tile(TileFailure::WrongLength { .. }) | Self::Altered => "audit.altered",
        }
    }

    /// Facts for the words of [`ProofFailure::code`].
    #[must_use]
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::NoSuchLeaf { index, size } => {
                vec![("index", index.to_string()), ("size", size.to_string())]
            }
            Self::Tile(failure) => vec![("place", failure.path().to_owned())],
            Self::Checkpoint(_) => vec![("place", CHECKPOINT_PATH.to_owned())],
            Self::Altered => vec![("place", Place::Tree.to_string())],
        }
    }
}

impl TlogProof {
    /// Reads a proof file.
    ///
    /// # Errors
    /// [`ProofRefusal::Form`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofRefusal> {
        Self::parse_lines(bytes)
            .filter(|proof| proof.to_string().as_bytes() == bytes)
            .ok_or(ProofRefusal::Form)
    }

    /// The parts, not yet known to be written in the one right way.
    fn parse_lines(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > PROOF_BYTES_MAX {
            return None;
        }
        let (head, checkpoint) = std::str::from_utf8(bytes).ok()?.split_once("\n\n")?;
        let mut lines = head
            .strip_prefix(HEADER)?
            .strip_prefix('\n')?
            .split('\n')
            .peekable();
        let extra = match lines.peek()?.strip_prefix("extra ") {
            Some(text) => {
                lines.next();
                Some(
                    STANDARD
                        .decode(text)
                        .ok()
                        .filter(|extra| extra.len() <= EXTRA_BYTES_MAX)?,
                )
            }
            None => None,
        };
        let index = lines.next()?.strip_prefix("index ")?.parse().ok()?;
        let mut hashes = Vec::new();
        for line in lines {
            if hashes.len() >= PROOF_HASHES_MAX {
                return None;
            }
            let hash: [u8; 32] = STANDARD.decode(line).ok()?.try_into().ok()?;
            hashes.push(Sha256::from_bytes(hash));
        }
        Some(Self {
            extra,
            index,
            hashes,
            checkpoint: checkpoint.to_owned(),
        })
    }

    /// Checks that `leaf` stands at the proof's index in a tree that the key signed; gives that tree's checkpoint.
    ///
    /// Proves nothing about the leaf's meaning: read it with [`crate::Leaf::parse_at`].
    ///
    /// # Errors
    /// [`ProofRefusal`].
    pub fn verify(&self, leaf: &[u8], vkey: &VerifierKey) -> Result<Checkpoint, ProofRefusal> {
        let checkpoint =
            Checkpoint::open(self.checkpoint.as_bytes(), vkey).map_err(ProofRefusal::Checkpoint)?;
        if is_included(
            self.index,
            checkpoint.size,
            &leaf_hash(leaf),
            &self.hashes,
            &checkpoint.root,
        ) {
            Ok(checkpoint)
        } else {
            Err(ProofRefusal::NotIncluded { index: self.index })
        }
    }
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.hashes {
            writeln!(f, "{}", STANDARD.encode(hash.as_bytes()))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

/// Makes the evidence for the leaf at `index` from a log's files. What is returned was verified.
///
/// # Errors
/// [`ProofFailure`].
pub fn prove<R: ReadStorage + ?Sized>(
    storage: &R,
    vkey: &VerifierKey,
    index: u64,
) -> Result<Evidence, ProofFailure> {
    let unreadable = |source| TileFailure::Unreadable {
        path: CHECKPOINT_PATH.to_owned(),
        source,
    };
    let note = storage
        .read(CHECKPOINT_PATH, CHECKPOINT_BYTES_MAX)
        .map_err(unreadable)?;
    let note = note.ok_or_else(|| TileFailure::Missing {
        path: CHECKPOINT_PATH.to_owned(),
    })?;
    let checkpoint = Checkpoint::open(&note, vkey).map_err(ProofFailure::Checkpoint)?;
    if index >= checkpoint.size {
        return Err(ProofFailure::NoSuchLeaf {
            index,
            size: checkpoint.size,
        });
    }
    let leaf = read_leaf(storage, index, checkpoint.size)?;
    let hashes = prove_inclusion(&StoredTree::new(storage, checkpoint.size), index, checkpoint.size)?;
    let checkpoint = String::from_utf8(note).map_err(|_| ProofFailure::Altered)?;
    let proof = TlogProof {
        extra: None,
        index,
        hashes,
        checkpoint,
    };
    match proof.verify(&leaf, vkey) {
        Ok(_) => Ok(Evidence { leaf, proof }),
        Err(_) => Err(ProofFailure::Altered),
    }
}

/// Bytes of the leaf at `index` in a log of `size` leaves, taken as they are.
fn read_leaf<R: ReadStorage + ?Sized>(storage: &R, index: u64, size: u64) -> Result<Vec<u8>, ProofFailure> {
    let bundle_index = index / TILE_WIDTH;
    let width = (size - bundle_index * TILE_WIDTH).min(TILE_WIDTH);
    let name = TileName {
        kind: Kind::Entries,
        index: bundle_index,
        width: u16::try_from(width).unwrap_or_default(),
    };
    let (bytes, _) = read_or_full(storage, name, BUNDLE_BYTES_MAX)?;
    let entries = split_entries(&bytes).ok_or(ProofFailure::Altered)?;
    let position = usize::try_from(index % TILE_WIDTH).unwrap_or_default();
    entries
        .get(position)
        .map(|entry| entry.to_vec())
        .ok_or(ProofFailure::Altered)
}
