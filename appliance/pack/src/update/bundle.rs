//! The way of a bundle from a folder that anybody may have written to bytes that were checked.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use jingui_trust::image_key::{ImagePublicKey, Purpose};
use jingui_trust::log_key::SIGNATURE_BYTES;
use jingui_trust::{Sha256, Sha256Stream};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat};

use super::manifest::{Architecture, File, FileRole, MANIFEST_BYTES_MAX, Manifest};
use super::refusal::UpdateRefusal;
use super::version::ImageVersion;
use super::{FOLDER_NAME, MANIFEST_NAME, SIGNATURE_NAME};
use crate::folder::Sink;
use crate::path::{PackPath, shown};
use crate::release::SecurityVersion;

/// Bytes that are read at once.
const PIECE_BYTES: usize = 1 << 20;
/// Most entries of a bundle's folder that are looked at: all that a bundle can have, and one too many.
const ENTRY_COUNT_MAX: usize = FileRole::ALL.len() + 3;

/// A bundle of which nothing is known but the bytes of its manifest and signature.
#[derive(Debug)]
pub struct Offered {
    folder: OwnedFd,
    manifest: Vec<u8>,
    signature: [u8; SIGNATURE_BYTES],
}

/// A bundle whose manifest a trusted key signed, and whose files are open, regular and of the stated sizes.
#[derive(Debug)]
pub struct Authentic {
    manifest: Manifest,
    manifest_bytes: Vec<u8>,
    signature: [u8; SIGNATURE_BYTES],
    signed_by: Sha256,
    files: Vec<fs::File>,
}

/// The machine that a bundle is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its architecture.
    pub architecture: Architecture,
    /// The image that runs and that the new one is to follow; `None` where none has to be followed.
    pub running: Option<ImageVersion>,
    /// Least security version that it accepts.
    pub floor: SecurityVersion,
}

/// A bundle that is for this machine. Its bytes are not checked yet.
#[derive(Debug)]
pub struct Fitting(Authentic);

/// A bundle all of whose bytes were as signed when they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What it is.
    pub manifest: Manifest,
    /// Hint of the key that signed it.
    pub signed_by: Sha256,
}

/// A file of a bundle, open, and what the manifest says of it.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The descriptor. Its position is never used: all reads name their offset.
    pub file: &'a fs::File,
    /// What its bytes must be.
    pub signed: &'a File,
}

impl Offered {
    /// Opens the bundle in `folder`, which is a bundle's folder or has one named `jingui-update`.
    ///
    /// # Errors
    /// [`UpdateRefusal::Absent`], [`UpdateRefusal::ManifestTooBig`], [`UpdateRefusal::SignatureMalformed`],
    /// [`UpdateRefusal::Missing`], [`UpdateRefusal::Special`] and the failures of reading.
    pub fn open(folder: BorrowedFd<'_>) -> Result<Self, UpdateRefusal> {
        let folder = match openat(folder, FOLDER_NAME, folder_flags(), Mode::empty()) {
            Ok(inner) => inner,
            Err(_) => openat(folder, c".", folder_flags(), Mode::empty()).map_err(unreadable_folder)?,
        };
        let (manifest, found) = match open_file(folder.as_fd(), MANIFEST_NAME) {
            Err(UpdateRefusal::Missing { .. }) => return Err(UpdateRefusal::Absent),
            other => other?,
        };
        if found > MANIFEST_BYTES_MAX {
            return Err(UpdateRefusal::ManifestTooBig {
                found,
                max: MANIFEST_BYTES_MAX,
            });
        }
        let manifest = read_bounded(manifest, MANIFEST_NAME, MANIFEST_BYTES_MAX)?;
        let (signature, found) = open_file(folder.as_fd(), SIGNATURE_NAME)?;
        let signature = read_bounded(signature, SIGNATURE_NAME, MANIFEST_BYTES_MAX)?;
        let signature = signature
            .as_slice()
            .try_into()
            .map_err(|_| UpdateRefusal::SignatureMalformed { found })?;
        Ok(Self {
            folder,
            manifest,
            signature,
        })
    }

    /// Checks the signature, then reads the manifest, then opens exactly the files that it names.
    ///
    /// # Errors
    /// [`UpdateRefusal::SignatureWrong`], those of [`Manifest::parse`], [`UpdateRefusal::Missing`],
    /// [`UpdateRefusal::Extra`], [`UpdateRefusal::Special`], [`UpdateRefusal::Size`] and the failures of reading.
    pub fn authenticate(self, keys: &[ImagePublicKey]) -> Result<Authentic, UpdateRefusal> {
        let signer = keys
            .iter()
            .find(|key| key.verify(Purpose::UpdateManifest, &self.manifest, &self.signature))
            .ok_or(UpdateRefusal::SignatureWrong)?;
        let manifest = Manifest::parse(&self.manifest)?;
        refuse_extra(self.folder.as_fd(), &manifest)?;
        let mut files = Vec::new();
        for file in &manifest.files {
            let name = file.name.as_str();
            let (opened, found) = open_file(self.folder.as_fd(), name)?;
            if found != file.bytes {
                return Err(UpdateRefusal::Size {
                    file: name.to_owned(),
                    signed: file.bytes,
                    found,
                });
            }
            files.push(opened);
        }
        Ok(Authentic {
            manifest,
            manifest_bytes: self.manifest,
            signature: self.signature,
            signed_by: signer.hint(),
            files,
        })
    }
}

impl Authentic {
    /// What the manifest says.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Hint of the key that signed it.
    #[must_use]
    pub const fn signed_by(&self) -> Sha256 {
        self.signed_by
    }

    /// Whether it is for `machine`.
    ///
    /// # Errors
    /// [`UpdateRefusal::Architecture`], [`UpdateRefusal::RolledBack`], [`UpdateRefusal::NotNewer`].
    pub fn fit(self, machine: &Machine) -> Result<Fitting, UpdateRefusal> {
        let manifest = &self.manifest;
        if manifest.architecture != machine.architecture {
            return Err(UpdateRefusal::Architecture {
                found: manifest.architecture.word(),
                needed: machine.architecture.word(),
            });
        }
        if manifest.security_version < machine.floor {
            return Err(UpdateRefusal::RolledBack {
                offered: manifest.security_version,
                floor: machine.floor,
            });
        }
        match &machine.running {
            Some(running) if manifest.image_version <= *running => Err(UpdateRefusal::NotNewer {
                offered: manifest.image_version.clone(),
                running: running.clone(),
            }),
            _ => Ok(Fitting(self)),
        }
    }
}

impl Fitting {
    /// What the manifest says.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// Hint of the key that signed it.
    #[must_use]
    pub const fn signed_by(&self) -> Sha256 {
        self.0.signed_by
    }

    /// The file of that role, if the bundle has one. Whoever uses its bytes digests them himself.
    #[must_use]
    pub fn source(&self, role: FileRole) -> Option<Source<'_>> {
        self.sources().find(|source| source.signed.role == role)
    }

    /// Digests all files. `progress` is told bytes done and bytes in all.
    ///
    /// # Errors
    /// [`UpdateRefusal::Size`], [`UpdateRefusal::Altered`] and the failures of reading.
    pub fn verify(self, progress: &mut dyn FnMut(u64, u64)) -> Result<Verified, UpdateRefusal> {
        self.digest_all(progress, &mut |_| Ok(None))?;
        Ok(self.verified())
    }

    /// Copies the whole bundle into `sink` and digests what it copies: afterwards the copy is as signed, whatever the
    /// folder says later. A refused copy may leave files behind; they are the caller's to remove.
    ///
    /// # Errors
    /// As [`Self::verify`], and [`UpdateRefusal::Unwritable`].
    pub fn copy(
        self,
        sink: &mut dyn Sink,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Verified, UpdateRefusal> {
        self.digest_all(progress, &mut |file: &File| {
            sink.create(&file.name)
                .map(Some)
                .map_err(|source| unwritable(file.name.as_str(), source))
        })?;
        let texts = [
            (MANIFEST_NAME, self.0.manifest_bytes.as_slice()),
            (SIGNATURE_NAME, &self.0.signature),
        ];
        for (name, bytes) in texts {
            let write = |sink: &mut dyn Sink| -> io::Result<()> {
                let path = PackPath::parse(name).map_err(|_| io::ErrorKind::InvalidInput)?;
                let mut file = sink.create(&path)?;
                file.write_all(bytes)?;
                file.sync_all()
            };
            write(sink).map_err(|source| unwritable(name, source))?;
        }
        sink.finish()
            .map_err(|source| unwritable(MANIFEST_NAME, source))?;
        Ok(self.verified())
    }

    fn sources(&self) -> impl Iterator<Item = Source<'_>> {
        let pairs = self.0.files.iter().zip(&self.0.manifest.files);
        pairs.map(|(file, signed)| Source { file, signed })
    }

    fn digest_all(
        &self,
        progress: &mut dyn FnMut(u64, u64),
        copy: &mut dyn FnMut(&File) -> Result<Option<fs::File>, UpdateRefusal>,
    ) -> Result<(), UpdateRefusal> {
        let total = self.0.manifest.byte_count();
        let mut done = 0;
        for source in self.sources() {
            let mut to = copy(source.signed)?;
            source.read(&mut |piece| {
                if let Some(to) = &mut to {
                    to.write_all(piece)
                        .map_err(|error| unwritable(source.name(), error))?;
                }
                done += u64::try_from(piece.len()).unwrap_or(u64::MAX);
                progress(done, total);
                Ok(())
            })?;
            if let Some(to) = to {
                to.sync_all().map_err(|error| unwritable(source.name(), error))?;
            }
        }
        Ok(())
    }

    fn verified(self) -> Verified {
        Verified {
            manifest: self.0.manifest,
            signed_by: self.0.signed_by,
        }
    }
}

impl Source<'_> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.signed.name.as_str()
    }

    /// Reads the whole file in pieces, each handed to `take`, and compares number and digest of the bytes in the end:
    /// what `take` did with them counts only when this succeeds.
    ///
    /// # Errors
    /// [`UpdateRefusal::Size`], [`UpdateRefusal::Altered`], [`UpdateRefusal::Unreadable`], and what `take` says.
    pub fn read<E: From<UpdateRefusal>>(
        &self,
        take: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut digest = Sha256Stream::new();
        let mut buffer = vec![0; PIECE_BYTES];
        let mut done = 0;
        loop {
            let count = match self.file.read_at(&mut buffer, done) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other.map_err(|source| UpdateRefusal::Unreadable {
                    file: self.name().to_owned(),
                    source,
                })?,
            };
            done += u64::try_from(count).unwrap_or(u64::MAX);
            if count == 0 || done > self.signed.bytes {
                break;
            }
            let piece = buffer.get(..count).unwrap_or_default();
            digest.update(piece);
            take(piece)?;
        }
        if done != self.signed.bytes {
            return Err(UpdateRefusal::Size {
                file: self.name().to_owned(),
                signed: self.signed.bytes,
                found: done,
            }
            .into());
        }
        let found = digest.finish();
        if found != self.signed.sha256 {
            return Err(UpdateRefusal::Altered {
                file: self.name().to_owned(),
                signed: self.signed.sha256,
                found,
            }
            .into());
        }
        Ok(())
    }
}

/// Nothing may lie beside the files of the manifest: what nobody signed is nobody's business to carry along.
fn refuse_extra(folder: BorrowedFd<'_>, manifest: &Manifest) -> Result<(), UpdateRefusal> {
    let listed = openat(folder, c".", folder_flags(), Mode::empty()).map_err(unreadable_folder)?;
    let mut stream = Dir::from_fd(listed).map_err(unreadable_folder)?;
    for (index, entry) in stream.iter().enumerate() {
        let entry = entry.map_err(unreadable_folder)?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let is_named = manifest
            .files
            .iter()
            .any(|file| file.name.as_str().as_bytes() == name)
            || [MANIFEST_NAME, SIGNATURE_NAME]
                .iter()
                .any(|ours| ours.as_bytes() == name);
        // Two more for `.` and `..`.
        if !is_named || index >= ENTRY_COUNT_MAX + 2 {
            return Err(UpdateRefusal::Extra { file: shown(name) });
        }
    }
    Ok(())
}

/// Opens one name below `folder` as the regular file it has to be; gives its size too.
pub(super) fn open_file(folder: BorrowedFd<'_>, name: &str) -> Result<(fs::File, u64), UpdateRefusal> {
    // O_NONBLOCK: opening a pipe must not wait for a writer.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let special = || UpdateRefusal::Special {
        file: name.to_owned(),
    };
    let unreadable = |errno: Errno| UpdateRefusal::Unreadable {
        file: name.to_owned(),
        source: errno.into(),
    };
    let opened = openat(folder, name, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::ENOENT => UpdateRefusal::Missing {
            file: name.to_owned(),
        },
        Errno::ELOOP | Errno::ENXIO => special(),
        other => unreadable(other),
    })?;
    let stat = fstat(&opened).map_err(unreadable)?;
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    if kind != SFlag::S_IFREG {
        return Err(special());
    }
    Ok((fs::File::from(opened), u64::try_from(stat.st_size).unwrap_or(0)))
}

fn read_bounded(file: fs::File, name: &str, bytes_max: u64) -> Result<Vec<u8>, UpdateRefusal> {
    let mut bytes = Vec::new();
    match file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(source) => Err(UpdateRefusal::Unreadable {
            file: name.to_owned(),
            source,
        }),
    }
}

pub(super) fn unwritable(file: &str, source: io::Error) -> UpdateRefusal {
    UpdateRefusal::Unwritable {
        file: file.to_owned(),
        source,
    }
}

fn folder_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

fn unreadable_folder(errno: Errno) -> UpdateRefusal {
    UpdateRefusal::FolderUnreadable { source: errno.into() }
}
