//! The way of a package: `Candidate` → `Authentic` → `Verified` → `Sound`, on one set of open descriptors.
//!
//! | Holding a | proves | does not prove |
//! |---|---|---|
//! | [`Candidate`] | every entry is a regular file with an acceptable name | anything about its bytes |
//! | [`Authentic`] | a trusted key signed a list of exactly these names, its `release.json` is here, and the release is not older than the floor | anything about the bytes of the other files |
//! | [`Verified`] | a trusted key signed exactly these files, and their bytes, read through the descriptors held here, had the signed digests; the release is not older than the floor | that the weights are well formed |
//! | [`Sound`] | also: the weights pass the pre-check and are what `release.json` says | that the model answers well |
//!
//! **The bytes that were verified are the bytes that are used.** Two ways lead to a `Verified`:
//! [`Candidate::verify`] digests the files where they lie and keeps their descriptors, for weights that are already
//! in the store, which only the supervisor can write: it hands the same descriptor to the engine, which maps it.
//! Where the supervisor kept the [`Chunks`] of the weights from the time when they were digested whole, their bytes are
//! compared with those instead, on all cores; every byte is read and digested either way. Where the kernel's fs-verity
//! holds the weights, and measured the file that these chunks belong to, no byte is read now: the kernel checks each block
//! whenever it is used, for as long as the descriptor lives.
//! [`Candidate::import`] is for folders of others (a stick can answer each read with other bytes): it digests each
//! piece in memory and writes that same piece to the copy, so the copy holds exactly the digested bytes; the
//! `Verified` that it gives holds the *copies*, so that the pre-check too reads what is stored and not the stick.
//!
//! Order of work: signature first, over the statement alone; then `release.json` and the version floor, so that an
//! old package is refused in a moment; then the weights.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::thread;

use jingui_trust::store::TrustStore;
use jingui_trust::{Sha256, Sha256Stream};

use crate::bundle::{BUNDLE_BYTES_MAX, Bundle, pre_authentication};
use crate::chunks::{Chunks, Making};
use crate::folder::{OpenFile, Sink, open_all};
use crate::gguf::{GgufFacts, ReadAt, inspect};
use crate::path::PackPath;
use crate::refusal::Refusal;
use crate::release::{ModelName, RELEASE_BYTES_MAX, RELEASE_NAME, Release, ReleaseFile, SecurityVersion};
use crate::statement::Statement;
use crate::{SIDECAR_NAME, SIGNATURE_NAME};

/// Bytes read, digested and written at once.
const PIECE_BYTES: usize = 1 << 20;

/// Told how far digesting is: bytes done, bytes in all.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Least security version that is accepted for a model, if one is set.
pub type Floor<'a> = &'a dyn Fn(&ModelName) -> Option<SecurityVersion>;

/// All files below a folder, opened. Nothing about their bytes is known.
#[derive(Debug)]
pub struct Candidate {
    files: BTreeMap<PackPath, OpenFile>,
    signature: Option<OpenFile>,
    sidecar: Option<OpenFile>,
}

/// A package whose list of files a trusted key signed, not older than the floor. Its files were not read yet, but for
/// `release.json`.
#[derive(Debug)]
pub struct Authentic {
    files: BTreeMap<PackPath, OpenFile>,
    sidecar: Option<OpenFile>,
    signature_bytes: Vec<u8>,
    statement: Statement,
    release: Release,
    signed_by: Sha256,
}

/// A package that a trusted key signed, whole and not older than the floor.
#[derive(Debug)]
pub struct Verified {
    files: BTreeMap<PackPath, OpenFile>,
    statement: Statement,
    release: Release,
    signed_by: Sha256,
    chunks: Option<Chunks>,
    is_weights_sealed: bool,
}

/// A verified package whose weights passed the pre-check and are what the release says.
#[derive(Debug)]
pub struct Sound {
    verified: Verified,
    weights: PackPath,
    facts: GgufFacts,
}

impl Candidate {
    /// Opens all that lies below `folder`.
    ///
    /// # Errors
    /// As [`open_all`].
    pub fn open(folder: BorrowedFd<'_>) -> Result<Self, Refusal> {
        let mut files = open_all(folder)?;
        let mut take = |name: &str| PackPath::parse(name).ok().and_then(|path| files.remove(&path));
        let (signature, sidecar) = (take(SIGNATURE_NAME), take(SIDECAR_NAME));
        Ok(Self {
            files,
            signature,
            sidecar,
        })
    }

    /// Bytes of all files, so that room can be made for a copy.
    #[must_use]
    pub fn byte_count(&self) -> u64 {
        let own = self.files.values().chain(&self.signature).chain(&self.sidecar);
        own.fold(0, |sum, file| sum.saturating_add(file.byte_count))
    }

    /// Names of the files apart from signatures.
    pub fn paths(&self) -> impl Iterator<Item = &PackPath> {
        self.files.keys()
    }

    pub(crate) const fn has_sidecar(&self) -> bool {
        self.sidecar.is_some()
    }

    pub(crate) const fn files(&self) -> &BTreeMap<PackPath, OpenFile> {
        &self.files
    }

    /// Checks the package where it lies. For folders that only we can write; for others use [`Candidate::import`].
    ///
    /// # Errors
    /// What is wrong with signature, files, release or version; [`Refusal::is_failure`] when the device failed.
    pub fn verify(
        self,
        trust: &TrustStore,
        floor: Floor<'_>,
        progress: Progress<'_>,
    ) -> Result<Verified, Refusal> {
        self.authenticate(trust, floor)?.verify(None, progress)
    }

    /// Checks the package and copies it while it is digested, signature files too. The result holds the copies.
    /// When it fails, what was written so far stays in the sink and is of no use.
    ///
    /// # Errors
    /// As [`Candidate::verify`], and [`Refusal::Unwritable`].
    pub fn import(
        self,
        trust: &TrustStore,
        floor: Floor<'_>,
        sink: &mut dyn Sink,
        progress: Progress<'_>,
    ) -> Result<Verified, Refusal> {
        self.authenticate(trust, floor)?
            .digest_all(None, None, progress, Some(sink))
    }

    /// Checks the signature, the names and the release, and reads nothing else: who signed what is known in a moment.
    ///
    /// # Errors
    /// What is wrong with signature, names, release or version; [`Refusal::is_failure`] when the device failed.
    pub fn authenticate(mut self, trust: &TrustStore, floor: Floor<'_>) -> Result<Authentic, Refusal> {
        let signature_bytes = self.read_signature()?;
        let bundle = Bundle::parse(&signature_bytes)?;
        let statement = verify_statement(&bundle, trust)?;
        self.check_names(&statement)?;
        let release = self.read_release(&statement)?;
        check_floor(&release, floor)?;
        Ok(Authentic {
            files: self.files,
            sidecar: self.sidecar,
            signature_bytes,
            statement,
            release,
            signed_by: bundle.hint,
        })
    }

    fn read_signature(&mut self) -> Result<Vec<u8>, Refusal> {
        let file = self.signature.take().ok_or(Refusal::Unsigned)?;
        if file.byte_count > BUNDLE_BYTES_MAX {
            return Err(Refusal::SignatureTooBig {
                found: file.byte_count,
                max: BUNDLE_BYTES_MAX,
            });
        }
        read_whole(&name(SIGNATURE_NAME)?, &file)
    }

    /// The folder holds the files of the statement, and no others.
    fn check_names(&self, statement: &Statement) -> Result<(), Refusal> {
        if let Some(file) = statement
            .files()
            .keys()
            .find(|path| !self.files.contains_key(path))
        {
            return Err(Refusal::Missing { file: file.clone() });
        }
        if let Some(file) = self
            .files
            .keys()
            .find(|path| !statement.files().contains_key(path))
        {
            return Err(Refusal::Extra { file: file.clone() });
        }
        if self.sidecar.is_some() && !statement.ignores_sidecar() {
            return Err(Refusal::Extra {
                file: name(SIDECAR_NAME)?,
            });
        }
        Ok(())
    }

    /// `release.json`, read once, and the bytes that were read compared with the signed digest.
    fn read_release(&self, statement: &Statement) -> Result<Release, Refusal> {
        let path = name(RELEASE_NAME)?;
        let (Some(file), Some(signed)) = (self.files.get(&path), statement.files().get(&path).copied())
        else {
            return Err(Refusal::ReleaseMissing);
        };
        if file.byte_count > RELEASE_BYTES_MAX {
            return Err(Refusal::ReleaseTooBig {
                found: file.byte_count,
                max: RELEASE_BYTES_MAX,
            });
        }
        let bytes = read_whole(&path, file)?;
        let found = Sha256::of(&bytes);
        if found != signed {
            return Err(Refusal::Altered {
                file: path,
                signed,
                found,
            });
        }
        Release::parse(&bytes)
    }
}

impl Authentic {
    /// Root digest of the signed statement.
    #[must_use]
    pub const fn digest(&self) -> Sha256 {
        self.statement.root()
    }

    /// What the vendor says about the release.
    #[must_use]
    pub const fn release(&self) -> &Release {
        &self.release
    }

    /// The weights, on the descriptor through which [`Authentic::verify`] will read them. Nothing is known of their
    /// bytes: not to be parsed before.
    ///
    /// # Errors
    /// [`Refusal::ReleaseValue`] when the release names none, [`Refusal::Missing`] when it names others.
    pub fn weights(&self) -> Result<&OpenFile, Refusal> {
        let (path, _) = self.release.weights()?;
        self.files
            .get(path)
            .ok_or_else(|| Refusal::Missing { file: path.clone() })
    }

    /// Reads and digests every file. `known` are the weights' chunks from a time when they were digested whole: where
    /// they fit, the weights are compared with them on all cores instead; where they do not fit the signed digest or
    /// the bytes, they count for nothing and the weights are digested whole.
    ///
    /// # Errors
    /// [`Refusal::Altered`]; [`Refusal::is_failure`] when the device failed.
    pub fn verify(self, known: Option<&Chunks>, progress: Progress<'_>) -> Result<Verified, Refusal> {
        self.digest_all(known, None, progress, None)
    }

    /// As [`Authentic::verify`], for weights that the kernel's fs-verity holds: `measured` is what it measured of the
    /// descriptor of [`Authentic::weights`]. Where that is what is known of them, their bytes are not read now.
    ///
    /// # Errors
    /// As [`Authentic::verify`].
    pub fn verify_sealed(
        self,
        known: Option<&Chunks>,
        measured: Sha256,
        progress: Progress<'_>,
    ) -> Result<Verified, Refusal> {
        self.digest_all(known, Some(measured), progress, None)
    }

    fn digest_all(
        self,
        known: Option<&Chunks>,
        measured: Option<Sha256>,
        progress: Progress<'_>,
        mut sink: Option<&mut dyn Sink>,
    ) -> Result<Verified, Refusal> {
        let weights = self.release.weights().ok().map(|(path, _)| path.clone());
        let total = self
            .files
            .values()
            .fold(0_u64, |sum, file| sum.saturating_add(file.byte_count));
        let mut done: u64 = 0;
        let mut advance = |bytes: u64| {
            done = done.saturating_add(bytes);
            progress(done.min(total), total);
        };
        let mut kept = BTreeMap::new();
        let mut chunks = None;
        let mut is_weights_sealed = false;
        for (path, source) in self.files {
            let Some(signed) = self.statement.files().get(&path).copied() else {
                return Err(Refusal::Extra { file: path });
            };
            let is_weights = weights.as_ref() == Some(&path);
            if is_weights && sink.is_none() && is_sealed(&source, signed, known, measured) {
                is_weights_sealed = true;
                advance(source.byte_count);
                kept.insert(path, source);
                continue;
            }
            if is_weights && sink.is_none() && is_known(&path, &source, signed, known, &mut advance)? {
                kept.insert(path, source);
                continue;
            }
            let copy = match sink.as_deref_mut() {
                Some(sink) => Some(create(sink, &path)?),
                None => None,
            };
            let mut making = is_weights.then(Making::default);
            let found = digest(&path, &source, copy.as_ref(), making.as_mut(), &mut advance)?;
            if found != signed {
                return Err(Refusal::Altered {
                    file: path,
                    signed,
                    found,
                });
            }
            chunks = making.map(|making| making.finish(found)).or(chunks);
            let file = match copy {
                Some(copy) => OpenFile {
                    byte_count: source.byte_count,
                    file: sync(&path, copy)?,
                },
                None => source,
            };
            kept.insert(path, file);
        }
        if let Some(sink) = sink {
            store_signatures(sink, &self.signature_bytes, self.sidecar.as_ref())?;
        }
        Ok(Verified {
            files: kept,
            statement: self.statement,
            release: self.release,
            signed_by: self.signed_by,
            chunks,
            is_weights_sealed,
        })
    }
}

impl Verified {
    /// What the vendor says about the release.
    #[must_use]
    pub const fn release(&self) -> &Release {
        &self.release
    }

    /// Root digest of the signed statement: the name of the package in the store.
    #[must_use]
    pub const fn digest(&self) -> Sha256 {
        self.statement.root()
    }

    /// The signed list of files.
    #[must_use]
    pub const fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Hint of the key that signed.
    #[must_use]
    pub const fn signed_by(&self) -> Sha256 {
        self.signed_by
    }

    /// The files, on the descriptors through which their bytes were digested or, after an import, written.
    #[must_use]
    pub const fn files(&self) -> &BTreeMap<PackPath, OpenFile> {
        &self.files
    }

    /// The weights' chunks, when the weights were digested whole: what a later [`Authentic::verify`] may be given.
    #[must_use]
    pub const fn chunks(&self) -> Option<&Chunks> {
        self.chunks.as_ref()
    }

    /// Whether the kernel answers for the weights' bytes whenever they are used, and they were not read now.
    #[must_use]
    pub const fn is_weights_sealed(&self) -> bool {
        self.is_weights_sealed
    }

    /// Runs the pre-check on the weights and compares them with the release.
    ///
    /// # Errors
    /// [`Refusal::Gguf`], [`Refusal::ReleaseDisagrees`], [`Refusal::ReleaseValue`] when the release names no
    /// weights, [`Refusal::Missing`] when it names others.
    pub fn check_gguf(self) -> Result<Sound, Refusal> {
        let (weights, declared) = self.release.weights()?;
        let weights = weights.clone();
        let (Some(file), Some(sha256)) = (
            self.files.get(&weights),
            self.statement.files().get(&weights).copied(),
        ) else {
            return Err(Refusal::Missing { file: weights });
        };
        let facts = inspect(&file.file).map_err(|source| Refusal::Gguf {
            file: weights.clone(),
            source,
        })?;
        declared.check(&weights, &ReleaseFile::describe(&facts, sha256))?;
        Ok(Sound {
            verified: self,
            weights,
            facts,
        })
    }
}

impl Sound {
    /// What the vendor says about the release.
    #[must_use]
    pub const fn release(&self) -> &Release {
        self.verified.release()
    }

    /// Root digest of the signed statement: the name of the package in the store.
    #[must_use]
    pub const fn digest(&self) -> Sha256 {
        self.verified.digest()
    }

    /// Hint of the key that signed.
    #[must_use]
    pub const fn signed_by(&self) -> Sha256 {
        self.verified.signed_by()
    }

    /// The files.
    #[must_use]
    pub const fn files(&self) -> &BTreeMap<PackPath, OpenFile> {
        self.verified.files()
    }

    /// As [`Verified::chunks`].
    #[must_use]
    pub const fn chunks(&self) -> Option<&Chunks> {
        self.verified.chunks()
    }

    /// As [`Verified::is_weights_sealed`].
    #[must_use]
    pub const fn is_weights_sealed(&self) -> bool {
        self.verified.is_weights_sealed
    }

    /// Facts of the weights.
    #[must_use]
    pub const fn facts(&self) -> &GgufFacts {
        &self.facts
    }

    /// Name of the weights file.
    #[must_use]
    pub const fn weights_path(&self) -> &PackPath {
        &self.weights
    }

    /// Digest of the weights file.
    #[must_use]
    pub fn weights_digest(&self) -> Sha256 {
        // Present, or `check_gguf` would have refused.
        self.verified
            .statement
            .files()
            .get(&self.weights)
            .copied()
            .unwrap_or_else(|| Sha256::of(&[]))
    }

    /// The weights on the descriptor that was digested, to be mapped by the engine; the other files are closed.
    #[must_use]
    pub fn into_weights(mut self) -> Option<OpenFile> {
        self.verified.files.remove(&self.weights)
    }
}

fn verify_statement(bundle: &Bundle, trust: &TrustStore) -> Result<Statement, Refusal> {
    let hint = bundle.hint;
    let key = trust.find(&hint).ok_or(Refusal::UnknownKey { hint })?;
    if !key.verify(&pre_authentication(&bundle.payload), &bundle.signature) {
        return Err(Refusal::SignatureWrong { hint });
    }
    Statement::parse(&bundle.payload)
}

fn check_floor(release: &Release, floor: Floor<'_>) -> Result<(), Refusal> {
    match floor(&release.name) {
        Some(floor) if release.security_version < floor => Err(Refusal::RolledBack {
            model: release.name.clone(),
            offered: release.security_version,
            floor,
        }),
        _ => Ok(()),
    }
}

/// A name of ours as a path.
pub(crate) fn name(text: &'static str) -> Result<PackPath, Refusal> {
    PackPath::parse(text).map_err(|fault| Refusal::Name {
        name: text.to_owned(),
        fault,
    })
}

pub(crate) fn read_whole(path: &PackPath, file: &OpenFile) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    let mut take = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    read_pieces(path, file, &mut take)?;
    Ok(bytes)
}

/// Whether the kernel's measurement says that the file is the one whose chunks are known.
fn is_sealed(file: &OpenFile, signed: Sha256, known: Option<&Chunks>, measured: Option<Sha256>) -> bool {
    match (known.filter(|chunks| chunks.sha256 == signed), measured) {
        (Some(chunks), Some(measured)) => chunks.match_measured(&file.file, &measured),
        _ => false,
    }
}

/// Whether the file is the one whose chunks are known.
fn is_known(
    path: &PackPath,
    file: &OpenFile,
    signed: Sha256,
    known: Option<&Chunks>,
    advance: &mut dyn FnMut(u64),
) -> Result<bool, Refusal> {
    let Some(chunks) = known.filter(|chunks| chunks.sha256 == signed) else {
        return Ok(false);
    };
    let threads = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    chunks
        .match_file(&file.file, threads, advance)
        .map_err(|source| Refusal::Unreadable {
            file: path.clone(),
            source,
        })
}

/// Digest of the file's bytes; each piece also goes to `copy` and into the list of chunks, from the same memory.
pub(crate) fn digest(
    path: &PackPath,
    file: &OpenFile,
    copy: Option<&File>,
    mut making: Option<&mut Making>,
    advance: &mut dyn FnMut(u64),
) -> Result<Sha256, Refusal> {
    let mut stream = Sha256Stream::new();
    let mut take = |piece: &[u8]| {
        stream.update(piece);
        if let Some(making) = making.as_deref_mut() {
            making.update(piece);
        }
        if let Some(mut copy) = copy {
            copy.write_all(piece).map_err(|source| Refusal::Unwritable {
                file: path.clone(),
                source,
            })?;
        }
        advance(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        Ok(())
    };
    read_pieces(path, file, &mut take)?;
    Ok(stream.finish())
}

/// Reads to the end of the file, at most one byte beyond the size it had when it was opened: a file that grows is
/// then already another one, and one that never ends cannot fill a disk.
fn read_pieces(
    path: &PackPath,
    file: &OpenFile,
    take: &mut dyn FnMut(&[u8]) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut buffer = vec![0; PIECE_BYTES];
    let mut offset = 0;
    while offset <= file.byte_count {
        let limit = usize::try_from(file.byte_count - offset + 1)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let room = buffer.get_mut(..limit).unwrap_or_default();
        let count = match ReadAt::read_at(&file.file, offset, room) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => {
                return Err(Refusal::Unreadable {
                    file: path.clone(),
                    source,
                });
            }
        };
        take(room.get(..count).unwrap_or_default())?;
        offset = offset.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }
    Ok(())
}

fn create(sink: &mut dyn Sink, path: &PackPath) -> Result<File, Refusal> {
    sink.create(path).map_err(|source| Refusal::Unwritable {
        file: path.clone(),
        source,
    })
}

fn sync(path: &PackPath, file: File) -> Result<File, Refusal> {
    file.sync_all().map_err(|source| Refusal::Unwritable {
        file: path.clone(),
        source,
    })?;
    Ok(file)
}

/// Puts the signature that was checked beside the copies, and a sidecar as it is, since nobody relies on it here.
fn store_signatures(sink: &mut dyn Sink, bundle: &[u8], sidecar: Option<&OpenFile>) -> Result<(), Refusal> {
    let path = name(SIGNATURE_NAME)?;
    let mut file = create(sink, &path)?;
    file.write_all(bundle).map_err(|source| Refusal::Unwritable {
        file: path.clone(),
        source,
    })?;
    sync(&path, file)?;
    let path = name(SIDECAR_NAME)?;
    if let Some(sidecar) = sidecar {
        let file = create(sink, &path)?;
        digest(&path, sidecar, Some(&file), None, &mut |_| ())?;
        sync(&path, file)?;
    }
    sink.finish()
        .map_err(|source| Refusal::Unwritable { file: path, source })
}
