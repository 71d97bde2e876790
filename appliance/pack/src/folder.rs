//! Opening what lies below a directory descriptor, and writing copies below another.
//!
//! The one exception to the rule that pure crates open no file: supervisor and command line must walk a package in
//! exactly the same way, so the walk lives here. It is handed a descriptor and opens single checked names below it,
//! never a path: `openat` with `O_NOFOLLOW` and `O_CLOEXEC`, then `fstat` on what was really opened. A link, a
//! device, or an entry that is exchanged between look and open is refused, and no name can lead out of the folder.
//!
//! What it does not hold off: somebody who may write the folder can change a file's *bytes* at any time. Therefore
//! bytes are digested through the descriptors opened here, and trusted only as far as they were digested.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::path::{FOLDER_DEPTH_MAX, NameFault, PackPath, check_name, shown};
use crate::refusal::Refusal;

/// Most entries of a package, folders included.
pub const ENTRY_COUNT_MAX: usize = 256;

/// A regular file of a package, opened for reading.
#[derive(Debug)]
pub struct OpenFile {
    /// The descriptor. Its position is never used: all reads name their offset.
    pub file: File,
    /// Size when it was opened.
    pub byte_count: u64,
}

/// Where an import puts its copies.
pub trait Sink {
    /// Makes a new empty file, readable and writable, for the copy of `path`.
    ///
    /// # Errors
    /// When it cannot be made, or is there already.
    fn create(&mut self, path: &PackPath) -> io::Result<File>;

    /// Called once after the last file was written and synced, to make the names durable as well.
    ///
    /// # Errors
    /// When that fails; the import then fails as a whole.
    fn finish(&mut self) -> io::Result<()>;
}

/// Opens every regular file below `folder`, in code point order of the paths.
///
/// # Errors
/// [`Refusal::Name`], [`Refusal::Symlink`], [`Refusal::Special`], [`Refusal::TooManyFiles`], [`Refusal::TooDeep`],
/// [`Refusal::CaseTwins`]; [`Refusal::FolderUnreadable`] and [`Refusal::Unreadable`] when the device fails.
pub fn open_all(folder: BorrowedFd<'_>) -> Result<BTreeMap<PackPath, OpenFile>, Refusal> {
    let mut walk = Walk {
        files: BTreeMap::new(),
        entry_count: 0,
    };
    let own = openat(folder, c".", folder_flags(), Mode::empty()).map_err(unreadable_folder)?;
    walk.enter(own, "", 0)?;
    crate::statement::check_twins(walk.files.keys())?;
    Ok(walk.files)
}

struct Walk {
    files: BTreeMap<PackPath, OpenFile>,
    entry_count: usize,
}

impl Walk {
    /// Opens what is in `folder`, which is at most [`FOLDER_DEPTH_MAX`] folders deep, so recursion is bounded.
    fn enter(&mut self, folder: OwnedFd, prefix: &str, depth: usize) -> Result<(), Refusal> {
        for name in self.list(&folder)? {
            let text = std::str::from_utf8(&name).map_err(|_| Refusal::Name {
                name: shown(&name),
                fault: NameFault::Character,
            })?;
            let path = PackPath::parse(&format!("{prefix}{text}")).map_err(|fault| Refusal::Name {
                name: shown(&name),
                fault,
            })?;
            let seen = fstatat(&folder, text, AtFlags::AT_SYMLINK_NOFOLLOW)
                .map_err(|errno| unreadable(&path, errno))?;
            match kind_of(&seen) {
                SFlag::S_IFDIR if depth >= FOLDER_DEPTH_MAX => {
                    return Err(Refusal::TooDeep {
                        folder: path.to_string(),
                        max: FOLDER_DEPTH_MAX,
                    });
                }
                SFlag::S_IFDIR => {
                    let inner = openat(&folder, text, folder_flags(), Mode::empty())
                        .map_err(|errno| not_opened(&path, errno))?;
                    self.enter(inner, &format!("{path}/"), depth + 1)?;
                }
                SFlag::S_IFREG => {
                    let file = open_file(&folder, text, &path, &seen)?;
                    self.files.insert(path, file);
                }
                SFlag::S_IFLNK => return Err(Refusal::Symlink { file: path }),
                _ => return Err(Refusal::Special { file: path }),
            }
        }
        Ok(())
    }

    /// Names in `folder`, checked, in order.
    fn list(&mut self, folder: &OwnedFd) -> Result<Vec<Vec<u8>>, Refusal> {
        let duplicate = openat(folder, c".", folder_flags(), Mode::empty()).map_err(unreadable_folder)?;
        let mut stream = Dir::from_fd(duplicate).map_err(unreadable_folder)?;
        let mut names = Vec::new();
        for entry in stream.iter() {
            let entry = entry.map_err(unreadable_folder)?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            self.entry_count += 1;
            if self.entry_count > ENTRY_COUNT_MAX {
                return Err(Refusal::TooManyFiles { max: ENTRY_COUNT_MAX });
            }
            check_name(name).map_err(|fault| Refusal::Name {
                name: shown(name),
                fault,
            })?;
            names.push(name.to_vec());
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// Opens one name and makes sure that it is the regular file that was looked at.
fn open_file(folder: &OwnedFd, name: &str, path: &PackPath, seen: &FileStat) -> Result<OpenFile, Refusal> {
    // O_NONBLOCK: should a pipe have taken the file's place, opening it must not wait for a writer.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let descriptor = openat(folder, name, flags, Mode::empty()).map_err(|errno| not_opened(path, errno))?;
    let opened = fstat(&descriptor).map_err(|errno| unreadable(path, errno))?;
    let is_the_same = opened.st_dev == seen.st_dev && opened.st_ino == seen.st_ino;
    if kind_of(&opened) != SFlag::S_IFREG || !is_the_same {
        return Err(Refusal::Special { file: path.clone() });
    }
    let byte_count = u64::try_from(opened.st_size).unwrap_or(0);
    Ok(OpenFile {
        file: File::from(descriptor),
        byte_count,
    })
}

fn kind_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

fn folder_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

fn unreadable_folder(errno: Errno) -> Refusal {
    Refusal::FolderUnreadable { source: errno.into() }
}

fn unreadable(path: &PackPath, errno: Errno) -> Refusal {
    Refusal::Unreadable {
        file: path.clone(),
        source: errno.into(),
    }
}

/// `O_NOFOLLOW` answers ELOOP for a link, and `O_DIRECTORY` ENOTDIR: the entry was exchanged after the look.
fn not_opened(path: &PackPath, errno: Errno) -> Refusal {
    match errno {
        Errno::ELOOP => Refusal::Symlink { file: path.clone() },
        Errno::ENOTDIR | Errno::ENXIO => Refusal::Special { file: path.clone() },
        _ => unreadable(path, errno),
    }
}

/// A [`Sink`] that writes below a directory descriptor, which should be a new, empty folder of ours.
#[derive(Debug)]
pub struct FolderSink {
    folder: OwnedFd,
    inner_folders: Vec<File>,
}

impl FolderSink {
    /// Writes below `folder`.
    ///
    /// # Errors
    /// When `folder` is no directory that can be opened again.
    pub fn new(folder: BorrowedFd<'_>) -> io::Result<Self> {
        let folder = openat(folder, c".", folder_flags(), Mode::empty())?;
        Ok(Self {
            folder,
            inner_folders: Vec::new(),
        })
    }
}

impl Sink for FolderSink {
    fn create(&mut self, path: &PackPath) -> io::Result<File> {
        let mut folder = self.folder.try_clone()?;
        let mut names = path.names().peekable();
        while let Some(name) = names.next() {
            if names.peek().is_none() {
                let flags =
                    OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                return Ok(File::from(openat(&folder, name, flags, read_only_for_others())?));
            }
            match mkdirat(&folder, name, Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            folder = openat(&folder, name, folder_flags(), Mode::empty())?;
            self.inner_folders.push(File::from(folder.try_clone()?));
        }
        Err(io::ErrorKind::InvalidInput.into())
    }

    fn finish(&mut self) -> io::Result<()> {
        for folder in self.inner_folders.iter().rev() {
            folder.sync_all()?;
        }
        File::from(self.folder.try_clone()?).sync_all()
    }
}

fn read_only_for_others() -> Mode {
    Mode::from_bits_truncate(0o644)
}

/// What [`replace`] writes to before it renames.
fn rest_of(path: &PackPath) -> String {
    format!("{path}.new")
}

/// Removes what a [`replace`] of `path` that was cut off by a crash left behind.
///
/// # Errors
/// [`Refusal::Unwritable`] when there is something that cannot be removed.
pub fn remove_rest(folder: BorrowedFd<'_>, path: &PackPath) -> Result<(), Refusal> {
    match unlinkat(folder, rest_of(path).as_str(), UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(Refusal::Unwritable {
            file: path.clone(),
            source: errno.into(),
        }),
    }
}

/// Puts `bytes` under the name `path` at the top of `folder`, in one step: whoever looks sees the old file or the
/// whole new one. Both file and name are on disk when it returns.
///
/// # Errors
/// [`Refusal::Unwritable`]; the old file then stands. After a crash see [`remove_rest`].
pub fn replace(folder: BorrowedFd<'_>, path: &PackPath, bytes: &[u8]) -> Result<(), Refusal> {
    let write = || -> io::Result<()> {
        let rest = rest_of(path);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(folder, rest.as_str(), flags, read_only_for_others())?);
        file.write_all(bytes)?;
        file.sync_all()?;
        renameat(folder, rest.as_str(), folder, path.as_str())?;
        File::from(openat(folder.as_fd(), c".", folder_flags(), Mode::empty())?).sync_all()
    };
    write().map_err(|source| Refusal::Unwritable {
        file: path.clone(),
        source,
    })
}
