//! The body of a checkpoint (c2sp.org/tlog-checkpoint): which log, how many leaves, which root.
//!
//! Our profile has no extension lines, and reads none.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jingui_trust::Sha256;

use crate::note::{Note, NoteRefusal, Signer, VerifierKey};

/// Longest checkpoint file that is read: three lines and a few dozen signatures.
pub const CHECKPOINT_BYTES_MAX: usize = crate::note::NOTE_BYTES_MAX;

/// A state of a log. By itself it proves nothing; [`Checkpoint::open`] gives one that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log; the name of the key that signs it.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// Root of the tree of these leaves.
    pub root: Sha256,
}

/// Why bytes are no checkpoint of the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointRefusal {
    /// It is no signed note, or is not signed by the key.
    #[error(transparent)]
    Note(#[from] NoteRefusal),
    /// The text does not have exactly the three lines.
    #[error("the text is not the three lines of a checkpoint")]
    Body,
    /// It is a checkpoint of another log.
    #[error("the checkpoint is of {found}")]
    Origin {
        /// Whose it is.
        found: String,
    },
}

impl CheckpointRefusal {
    /// Whether it is the signature, and not the form, that is wrong.
    #[must_use]
    pub fn is_bad_signature(&self) -> bool {
        matches!(self, Self::Note(refusal) if refusal.is_bad_signature())
    }
}

impl Checkpoint {
    /// Reads the three lines.
    ///
    /// # Errors
    /// [`CheckpointRefusal::Body`].
    pub fn parse(text: &str) -> Result<Self, CheckpointRefusal> {
        Self::parse_lines(text)
            .filter(|found| found.to_string() == text)
            .ok_or(CheckpointRefusal::Body)
    }

    /// The lines, not yet known to be written in the one right way.
    fn parse_lines(text: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let root: [u8; 32] = STANDARD.decode(root).ok()?.try_into().ok()?;
        if origin.is_empty() {
            return None;
        }
        Some(Self {
            origin: origin.to_owned(),
            size: size.parse().ok()?,
            root: Sha256::from_bytes(root),
        })
    }

    /// Reads a signed checkpoint; holding the result proves that the key signed it, under its own name.
    ///
    /// # Errors
    /// [`CheckpointRefusal`].
    pub fn open(note: &[u8], vkey: &VerifierKey) -> Result<Self, CheckpointRefusal> {
        let note = Note::parse(note)?;
        note.verify(std::slice::from_ref(vkey))?;
        let checkpoint = Self::parse(&note.text)?;
        if checkpoint.origin != vkey.name() {
            return Err(CheckpointRefusal::Origin {
                found: checkpoint.origin,
            });
        }
        Ok(checkpoint)
    }

    /// Bytes of the signed note.
    #[must_use]
    pub fn sign(&self, signer: &Signer) -> Vec<u8> {
        let mut note = Note {
            text: self.to_string(),
            signatures: Vec::new(),
        };
        note.sign(signer);
        note.to_string().into_bytes()
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}\n{}\n{}",
            self.origin,
            self.size,
            STANDARD.encode(self.root.as_bytes())
        )
    }
}
