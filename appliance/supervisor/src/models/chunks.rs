//! Chunk digests of the weights in the store: made in the pass that gave the signed digest, kept with a MAC under a key
//! that only the supervisor has, bound to the package, used at every later start.
//!
//! Without them, or when they are not ours any more, weights are digested whole, which one core does from front to back.

use std::io;
use std::path::{Path, PathBuf};

use jingui_pack::Chunks;
use jingui_trust::{Sha256, mac};
use serde::{Deserialize, Serialize};

use crate::durable;

/// Longest file that is read: 67 bytes for each chunk of 4 MiB, so weights of 4 TiB.
const FILE_BYTES_MAX: u64 = 72 << 20;
/// What the MAC is for, so that no other MAC under this key is taken for one.
const PURPOSE: &[u8] = b"jingui/chunks/v1\n";

/// Where the lists are, and the key of their MACs.
#[derive(Clone)]
pub(super) struct ChunkShelf {
    folder: PathBuf,
    key: [u8; 32],
}

/// A list as it is kept.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    chunks: Chunks,
    /// HMAC-SHA-256 over purpose, package and list.
    mac: Sha256,
}

impl std::fmt::Debug for ChunkShelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkShelf")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl ChunkShelf {
    pub(super) fn new(folder: &Path, key: [u8; 32]) -> Self {
        Self {
            folder: folder.to_owned(),
            key,
        }
    }

    /// The list of that package; `None` when there is none or it is not as we wrote it.
    pub(super) fn find(&self, package: Sha256) -> Option<Chunks> {
        let bytes = durable::read(&self.path(package), FILE_BYTES_MAX).ok()??;
        let kept: Kept = serde_json::from_slice(&bytes).ok()?;
        let signed = self.signed(package, &kept.chunks).ok()?;
        mac::verify_hmac_sha256(&self.key, &signed, kept.mac.as_bytes()).then_some(kept.chunks)
    }

    /// Keeps a list. It only saves time, so a disk that cannot take it is no reason to stop.
    pub(super) fn keep(&self, package: Sha256, chunks: &Chunks) {
        if let Err(error) = self.write(package, chunks) {
            crate::say(format_args!(
                "the chunk digests of {package} could not be kept: {error}"
            ));
        }
    }

    fn write(&self, package: Sha256, chunks: &Chunks) -> io::Result<()> {
        let mac = mac::hmac_sha256(&self.key, &self.signed(package, chunks)?);
        let kept = Kept {
            chunks: chunks.clone(),
            mac: Sha256::from_bytes(mac),
        };
        durable::write(
            &self.path(package),
            &serde_json::to_vec(&kept)?,
            durable::PRIVATE_FILE,
        )
    }

    fn signed(&self, package: Sha256, chunks: &Chunks) -> io::Result<Vec<u8>> {
        let mut signed = PURPOSE.to_vec();
        signed.extend_from_slice(package.as_bytes());
        serde_json::to_writer(&mut signed, chunks)?;
        Ok(signed)
    }

    fn path(&self, package: Sha256) -> PathBuf {
        self.folder.join(format!("{package}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jingui_trust::ChunkDigest;
    use std::fs;

    fn chunks() -> Chunks {
        Chunks {
            sha256: Sha256::of(b"weights"),
            byte_count: 7,
            digests: vec![ChunkDigest::of(b"weights")],
            fs_verity: None,
        }
    }

    #[test]
    fn a_list_is_found_again_by_its_package_and_key_only() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (Sha256::of(b"one"), Sha256::of(b"other"));
        let shelf = ChunkShelf::new(folder.path(), [1; 32]);
        assert_eq!(shelf.find(one), None);
        shelf.keep(one, &chunks());
        assert_eq!(shelf.find(one), Some(chunks()));
        fs::copy(shelf.path(one), shelf.path(other)).unwrap();
        assert_eq!(
            shelf.find(other),
            None,
            "the list of one package is none of another"
        );
        assert_eq!(
            ChunkShelf::new(folder.path(), [2; 32]).find(one),
            None,
            "another key"
        );
    }

    #[test]
    fn a_list_that_anybody_changed_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let package = Sha256::of(b"one");
        let shelf = ChunkShelf::new(folder.path(), [1; 32]);
        shelf.keep(package, &chunks());
        let good = fs::read(shelf.path(package)).unwrap();
        let text = String::from_utf8(good.clone()).unwrap();
        let forged = chunks().digests[0].to_string();
        let forged = text.replace(&forged, &ChunkDigest::of(b"forged").to_string());
        for bad in [
            forged.into_bytes(),
            text.replace(":7,", ":8,").into_bytes(),
            good[1..].to_vec(),
            Vec::new(),
        ] {
            fs::write(shelf.path(package), bad).unwrap();
            assert_eq!(shelf.find(package), None);
        }
        fs::write(shelf.path(package), good).unwrap();
        assert_eq!(shelf.find(package), Some(chunks()));
    }
}
