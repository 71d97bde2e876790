//! Boot entries: the files in `EFI/Linux` of the ESP, their names, and how one is put there.
//!
//! systemd-boot counts tries in the name: `jingui_2+3.efi` becomes `jingui_2+2-1.efi` when it is started, and
//! `jingui_2.efi` when the start was found good. It starts the newest entry that has tries left or is good; one without
//! tries comes last (systemd-boot(7), "Boot counting").

use std::cmp::Ordering;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};

use jingui_pack::update::{ImageVersion, Source};
use jingui_trust::{Sha256, Sha256Stream};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, PosixFadviseAdvice, openat, posix_fadvise, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::fat::{Fat, FatFault};
use crate::layout::SLOT_PREFIX;

/// The folder of boot entries on the ESP.
pub const ENTRIES_FOLDER: &str = "EFI/Linux";
/// Tries of a new entry.
pub const TRIES: u32 = 3;
const SUFFIX: &str = ".efi";
/// What a new entry is called until it is whole. Not `.efi`: nobody starts it.
const UNFINISHED_NAME: &str = "jingui-entry.new";
const PIECE_BYTES: usize = 1 << 20;
/// Most names in the folder that are looked at.
const NAMES_MAX: usize = 256;

/// A boot entry of ours, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootEntry {
    /// Version of the system that it starts.
    pub version: ImageVersion,
    /// Tries left; `None` once it was found good.
    pub tries_left: Option<u32>,
}

impl BootEntry {
    /// Reads a name; `None` when it is none of ours.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let stem = name.strip_prefix(SLOT_PREFIX)?.strip_suffix(SUFFIX)?;
        let (version, counters) = match stem.split_once('+') {
            None => (stem, None),
            Some((version, counters)) => (version, Some(counters)),
        };
        let tries_left = match counters {
            None => None,
            Some(counters) => {
                let (left, done) = counters.split_once('-').unwrap_or((counters, "0"));
                done.parse::<u32>().ok()?;
                Some(left.parse().ok()?)
            }
        };
        Some(Self {
            version: ImageVersion::parse(version).ok()?,
            tries_left,
        })
    }

    /// The name of an entry that was found good.
    #[must_use]
    pub fn good_name(version: &ImageVersion) -> String {
        format!("{SLOT_PREFIX}{version}{SUFFIX}")
    }

    /// The name of a new entry, with all its tries.
    #[must_use]
    pub fn new_name(version: &ImageVersion) -> String {
        format!("{SLOT_PREFIX}{version}+{TRIES}{SUFFIX}")
    }

    /// Whether it was tried as often as it may be, and never found good.
    #[must_use]
    pub const fn is_bad(&self) -> bool {
        matches!(self.tries_left, Some(0))
    }

    fn order(&self, other: &Self) -> Ordering {
        other
            .is_bad()
            .cmp(&self.is_bad())
            .then_with(|| self.version.cmp(&other.version))
    }

    /// The entry that systemd-boot would start, among these names.
    #[must_use]
    pub fn chosen<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let entries = names.into_iter().filter_map(Self::parse);
        entries.max_by(Self::order)
    }
}

/// Why the ESP could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum EspFault {
    /// Written without the kernel's driver.
    #[error(transparent)]
    Fat(#[from] FatFault),
    /// Written through the kernel.
    #[error("the EFI system partition cannot be read or written")]
    Io(#[from] io::Error),
    /// What was read back is not what was written.
    #[error("the boot entry reads back differently")]
    Unlike,
}

/// The folder of boot entries, however it is reached.
pub trait BootFolder {
    /// Names in it.
    ///
    /// # Errors
    /// Any [`EspFault`].
    fn names(&self) -> Result<Vec<String>, EspFault>;

    /// Removes an entry, durably.
    ///
    /// # Errors
    /// Any [`EspFault`].
    fn remove(&mut self, name: &str) -> Result<(), EspFault>;

    /// Puts an entry there: under its name it is whole, read back and durable, or it is not there.
    ///
    /// # Errors
    /// Any [`EspFault`]; [`EspFault::Io`] of the kind `InvalidData` when the source is not as signed.
    fn put(&mut self, name: &str, source: Source<'_>) -> Result<(), EspFault>;
}

impl BootFolder for Fat<'_> {
    fn names(&self) -> Result<Vec<String>, EspFault> {
        let entries = self.list(ENTRIES_FOLDER)?;
        Ok(entries
            .into_iter()
            .map(|entry| entry.name)
            .take(NAMES_MAX)
            .collect())
    }

    fn remove(&mut self, name: &str) -> Result<(), EspFault> {
        Ok(self.remove_file(&format!("{ENTRIES_FOLDER}/{name}"))?)
    }

    fn put(&mut self, name: &str, source: Source<'_>) -> Result<(), EspFault> {
        self.make_folder(ENTRIES_FOLDER)?;
        put_file(self, &format!("{ENTRIES_FOLDER}/{name}"), source)
    }
}

/// Copies a file of a bundle onto the volume, where it is found only when it is as signed.
pub(crate) fn put_file(fat: &mut Fat<'_>, path: &str, source: Source<'_>) -> Result<(), EspFault> {
    let mut pull = Pull::new(source);
    fat.write_file(path, source.signed.bytes, &mut |piece| pull.fill(piece))?;
    Ok(())
}

/// The folder of boot entries on an ESP that the kernel has mounted.
#[derive(Debug)]
pub struct MountedFolder(OwnedFd);

impl MountedFolder {
    /// The folder behind that descriptor.
    #[must_use]
    pub const fn new(folder: OwnedFd) -> Self {
        Self(folder)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.0, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        File::from(openat(&self.0, c".", flags, Mode::empty())?).sync_all()
    }
}

impl BootFolder for MountedFolder {
    fn names(&self) -> Result<Vec<String>, EspFault> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let own = openat(&self.0, c".", flags, Mode::empty()).map_err(io::Error::from)?;
        let mut listed = Dir::from_fd(own).map_err(io::Error::from)?;
        let mut names = Vec::new();
        for entry in listed.iter().take(NAMES_MAX) {
            let entry = entry.map_err(io::Error::from)?;
            if let Ok(name) = entry.file_name().to_str() {
                names.push(name.to_owned());
            }
        }
        names.retain(|name| name != "." && name != "..");
        Ok(names)
    }

    fn remove(&mut self, name: &str) -> Result<(), EspFault> {
        self.unlink(name)?;
        Ok(self.sync()?)
    }

    fn put(&mut self, name: &str, source: Source<'_>) -> Result<(), EspFault> {
        self.unlink(UNFINISHED_NAME)?;
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let opened = openat(&self.0, UNFINISHED_NAME, flags, mode).map_err(io::Error::from)?;
        let mut file = File::from(opened);
        let mut pull = Pull::new(source);
        let mut buffer = vec![0; PIECE_BYTES];
        while let Some(piece) = buffer.get_mut(..pull.next_piece()).filter(|it| !it.is_empty()) {
            pull.fill(piece)?;
            file.write_all(piece)?;
        }
        file.sync_all()?;
        posix_fadvise(file.as_fd(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
            .map_err(io::Error::from)?;
        if digest_of(&mut file)? != source.signed.sha256 {
            return Err(EspFault::Unlike);
        }
        drop(file);
        renameat(&self.0, UNFINISHED_NAME, &self.0, name).map_err(io::Error::from)?;
        Ok(self.sync()?)
    }
}

fn digest_of(file: &mut File) -> io::Result<Sha256> {
    file.rewind()?;
    let mut digest = Sha256Stream::new();
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(digest.finish());
        }
        digest.update(buffer.get(..count).unwrap_or_default());
    }
}

/// A file of a bundle, taken piece by piece; the last piece comes only when all were as signed.
#[derive(Debug)]
pub(crate) struct Pull<'a> {
    source: Source<'a>,
    at: u64,
    digest: Sha256Stream,
}

impl<'a> Pull<'a> {
    pub(crate) fn new(source: Source<'a>) -> Self {
        Self {
            source,
            at: 0,
            digest: Sha256Stream::new(),
        }
    }

    /// Bytes of the next piece; 0 at the end.
    pub(crate) fn next_piece(&self) -> usize {
        let left = self.source.signed.bytes.saturating_sub(self.at);
        usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES))
    }

    /// Fills `piece` with the next bytes.
    pub(crate) fn fill(&mut self, piece: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self.source.file, piece, self.at)?;
        self.digest.update(piece);
        self.at += u64::try_from(piece.len()).unwrap_or(u64::MAX);
        if self.at < self.source.signed.bytes || self.digest.clone().finish() == self.source.signed.sha256 {
            Ok(())
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the file is not as signed",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_systemd_boot_writes_them() {
        let read = |name: &str| {
            let entry = BootEntry::parse(name)?;
            Some((entry.version.to_string(), entry.tries_left))
        };
        for (name, version, tries) in [
            ("jingui_1.efi", "1", None),
            ("jingui_1.2.3+3.efi", "1.2.3", Some(3)),
            ("jingui_2+2-1.efi", "2", Some(2)),
            ("jingui_2+0-3.efi", "2", Some(0)),
        ] {
            assert_eq!(read(name), Some((version.to_owned(), tries)), "{name}");
        }
        for name in [
            "jingui_.efi",
            "jingui_1",
            "other_1.efi",
            "jingui_1+x.efi",
            "jingui_1+3-x.efi",
            "jingui-entry.new",
        ] {
            assert_eq!(read(name), None, "{name}");
        }
        let version = ImageVersion::parse("1.2").unwrap();
        assert_eq!(BootEntry::new_name(&version), "jingui_1.2+3.efi");
        assert_eq!(BootEntry::good_name(&version), "jingui_1.2.efi");
    }

    #[test]
    fn the_newest_that_is_not_bad_is_started() {
        for (names, chosen) in [
            (&["jingui_1.efi", "jingui_2+3.efi"][..], "2"),
            (&["jingui_2.efi", "jingui_10.efi"], "10"),
            (&["jingui_1.efi", "jingui_2+0-3.efi"], "1"),
            (&["jingui_1+0-3.efi", "jingui_2+0-3.efi"], "2"),
            (&["other.efi", "jingui_1+1-2.efi"], "1"),
        ] {
            let found = BootEntry::chosen(names.iter().copied()).unwrap();
            assert_eq!(found.version.as_str(), chosen, "{names:?}");
        }
        assert_eq!(BootEntry::chosen(["x"]), None);
    }
}
