//! Disk tiers of the engines' prefix caches: one file and one key for each package, for as long as the supervisor lives.
//!
//! ```text
//! cache/<package digest>.kv       sealed by the engine; 0600 in a folder 0700 that no other process of ours can reach
//! ```
//!
//! The key is drawn here and is in memory only, so the content ends with the supervisor; files of an earlier life are
//! removed at the start. A worker that takes the place of a crashed one gets the same file and the same key.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use jingui_ipc::engine::TierKey;
use jingui_trust::{Sha256, random};
use nix::fcntl::OFlag;
use nix::sys::statvfs::statvfs;

use crate::durable;

/// Room that tiers leave for the audit log, the accounts and an import.
const RESERVE_BYTES: u64 = 1 << 30;

/// The folder and the keys.
#[derive(Debug)]
pub(crate) struct Tiers {
    folder: PathBuf,
    keys: BTreeMap<Sha256, TierKey>,
    /// What the first worker of a package was given.
    bytes_max: BTreeMap<Sha256, u64>,
}

impl Tiers {
    /// Empties the folder: nobody has the keys of what lies there.
    pub(crate) fn open(folder: PathBuf) -> io::Result<Self> {
        let tiers = Self {
            folder,
            keys: BTreeMap::new(),
            bytes_max: BTreeMap::new(),
        };
        tiers.empty()?;
        Ok(tiers)
    }

    /// The file of that package, to be handed to its engine, and its key. Empty the first time.
    pub(crate) fn file(&mut self, package: Sha256) -> io::Result<(File, TierKey)> {
        let known = self.keys.get(&package).cloned();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(known.is_none())
            .mode(durable::PRIVATE_FILE)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(self.path(package))?;
        let key = match known {
            Some(key) => key,
            None => {
                let key = TierKey(random::bytes().map_err(io::Error::other)?);
                self.keys.insert(package, key.clone());
                key
            }
        };
        Ok((file, key))
    }

    /// Most bytes of a package's file: what its first worker was given, since the file is laid out for that, and one that
    /// was given less would begin it anew.
    pub(crate) fn bytes_max(&mut self, package: Sha256, planned: u64) -> u64 {
        if planned == 0 {
            return 0;
        }
        *self.bytes_max.entry(package).or_insert(planned)
    }

    /// Bytes that tiers may take now: those of a package's own file count as free.
    pub(crate) fn room_bytes(&self, package: Sha256) -> u64 {
        let own = fs::metadata(self.path(package)).map_or(0, |file| file.len());
        let Ok(volume) = statvfs(&self.folder) else {
            return 0;
        };
        let free = volume.blocks_available().saturating_mul(volume.fragment_size());
        free.saturating_add(own).saturating_sub(RESERVE_BYTES)
    }

    /// The package runs no more: its file goes, and its key with it.
    pub(crate) fn forget(&mut self, package: Sha256) {
        self.bytes_max.remove(&package);
        if self.keys.remove(&package).is_some()
            && let Err(error) = fs::remove_file(self.path(package))
        {
            crate::say(format_args!("a disk tier stays behind: {error}"));
        }
    }

    /// The box stops: all files go.
    pub(crate) fn close(&mut self) {
        self.keys.clear();
        self.bytes_max.clear();
        if let Err(error) = self.empty() {
            // Without their keys they are noise, and the next start removes them.
            crate::say(format_args!("disk tiers stay behind: {error}"));
        }
    }

    fn empty(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            fs::remove_file(entry?.path())?;
        }
        Ok(())
    }

    fn path(&self, package: Sha256) -> PathBuf {
        self.folder.join(format!("{package}.kv"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_worker_that_takes_over_gets_the_same_file_and_key_and_a_new_supervisor_another() {
        let folder = tempfile::tempdir().unwrap();
        let package = Sha256::of(b"one");
        let mut tiers = Tiers::open(folder.path().to_owned()).unwrap();
        let (mut file, key) = tiers.file(package).unwrap();
        file.write_all(b"sealed").unwrap();
        let (mut again, same) = tiers.file(package).unwrap();
        let mut text = String::new();
        again.rewind().unwrap();
        again.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), &same), ("sealed", &key));
        let mode = fs::metadata(tiers.path(package)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            (tiers.bytes_max(package, 7), tiers.bytes_max(package, 5)),
            (7, 7),
            "the disk has less room now, and the file is laid out all the same"
        );
        let (_, other) = tiers.file(Sha256::of(b"other")).unwrap();
        assert_ne!(other, key, "each package has its own key");

        let mut next = Tiers::open(folder.path().to_owned()).unwrap();
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            0,
            "what was left is removed"
        );
        let (file, new) = next.file(package).unwrap();
        assert_ne!(new, key);
        assert_eq!(file.metadata().unwrap().len(), 0);
    }

    #[test]
    fn what_runs_no_more_leaves_no_file_and_comes_back_with_another_key() {
        let folder = tempfile::tempdir().unwrap();
        let package = Sha256::of(b"one");
        let mut tiers = Tiers::open(folder.path().to_owned()).unwrap();
        let (_, key) = tiers.file(package).unwrap();
        assert_eq!(tiers.bytes_max(package, 7), 7);
        tiers.forget(package);
        assert_eq!(tiers.bytes_max(package, 5), 5);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_ne!(tiers.file(package).unwrap().1, key);
        tiers.close();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
