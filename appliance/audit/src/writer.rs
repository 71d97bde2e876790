//! The one place that makes a log grow.
//!
//! Owned by one thread of one process. Keeps the right edge only: the open tile of each level and the open entry
//! bundle, so an append costs `O(log n)` whatever the size of the log.
//!
//! **Order of writing**, each step durable before the next: entry bundles, tiles of level 0, tiles above, the guard
//! (size and root that are about to be signed, in a second place), the checkpoint. Only then is a batch
//! acknowledged. What a crash leaves after each step, and what opening makes of it:
//!
//! | Crash after | On disk | Opening |
//! |---|---|---|
//! | bundles, tiles | entries beyond the checkpoint | takes them in, signs |
//! | guard | the same, and the guard is ahead of the checkpoint | takes them in, finds the guard's root again, signs |
//! | checkpoint | all of it | nothing to do |
//!
//! The guard is never behind a checkpoint that others could have seen, so an older log that is put back is refused
//! unless its entries lead to the guard's root again. No crash leads to a refusal: entries are durable before the
//! guard names them.
//!
//! After any failed write the writer stops for good: what is on disk is unknown then, and only opening again,
//! which looks, may go on.

use std::io;

use jingui_trust::Sha256;

use crate::checkpoint::{CHECKPOINT_BYTES_MAX, Checkpoint, CheckpointRefusal};
use crate::leaf::{Draft, Leaf, LeafRefusal};
use crate::note::{Signer, VerifierKey};
use crate::storage::{CHECKPOINT_PATH, GuardStore, Storage};
use crate::tile::{
    BUNDLE_BYTES_MAX, Kind, StoredTree, TILE_WIDTH, TileFailure, TileName, hash_count, join_hashes,
    level_count, open_tile, push_entry, read_hashes, read_or_full, split_entries,
};
use crate::tree::{Frontier, empty_root, leaf_hash, root_at, root_of};
use crate::verdict::Place;

/// Most leaves in one batch.
pub const BATCH_LEAVES_MAX: usize = 256;

/// Makes one log grow.
#[derive(Debug)]
pub struct Writer<S: Storage, G: GuardStore> {
    storage: S,
    guard: G,
    signer: Signer,
    edge: Edge,
    signed: Checkpoint,
    /// Set while a batch is being written; stays set when that fails.
    is_stopped: bool,
}

/// What opening found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// There was no log before: the first leaf has to be `genesis`.
    pub is_new: bool,
    /// Leaves in the checkpoint that was found.
    pub checkpoint_size: u64,
    /// Leaves beyond it that were taken in. Not 0: write `audit.recovered`.
    pub recovered_count: u64,
}

/// A batch that is inside a signed checkpoint on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Index of its first leaf; the others follow.
    pub first_index: u64,
    /// The checkpoint that covers it.
    pub checkpoint: Checkpoint,
}

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

impl<S: Storage, G: GuardStore> Writer<S, G> {
    /// Opens the log in `storage`, or starts one when there was none, and brings it to a signed checkpoint that
    /// covers every entry on disk.
    ///
    /// # Errors
    /// [`OpenFailure`].
    pub fn open(storage: S, guard: G, signer: Signer) -> Result<(Self, Opened), OpenFailure> {
        let guarded = load_guard(&guard, signer.vkey())?;
        let note = read_checkpoint(&storage)?;
        let is_empty =
            |guarded: &Option<Checkpoint>| guarded.as_ref().is_none_or(|guarded| guarded.size == 0);
        match (note, guarded) {
            (None, guarded) if is_empty(&guarded) && !has_entries(&storage)? => {
                Self::start(storage, guard, signer)
            }
            (None, _) => Err(TileFailure::Missing {
                path: CHECKPOINT_PATH.to_owned(),
            }
            .into()),
            (Some(_), None) => Err(OpenFailure::GuardMissing),
            (Some(note), Some(guarded)) => {
                let found = Checkpoint::open(&note, signer.vkey()).map_err(OpenFailure::Checkpoint)?;
                Self::resume(storage, guard, signer, found, guarded)
            }
        }
    }

    fn start(storage: S, guard: G, signer: Signer) -> Result<(Self, Opened), OpenFailure> {
        let signed = Checkpoint {
            origin: signer.vkey().name().to_owned(),
            size: 0,
            root: empty_root(),
        };
        let mut writer = Self {
            storage,
            guard,
            signer,
            edge: Edge::default(),
            signed: signed.clone(),
            is_stopped: false,
        };
        // A guard from a start that was cut off holds the same bytes.
        writer.put_in_place(signed)?;
        Ok((
            writer,
            Opened {
                is_new: true,
                checkpoint_size: 0,
                recovered_count: 0,
            },
        ))
    }

    fn resume(
        storage: S,
        guard: G,
        signer: Signer,
        found: Checkpoint,
        guarded: Checkpoint,
    ) -> Result<(Self, Opened), OpenFailure> {
        let edge = Edge::read(&storage, &found)?;
        let tail = Tail::survey(&storage, &edge, &guarded)?;
        check_guard(&storage, &found, &guarded, &tail)?;
        let recovered_count = tail.end - found.size;
        let opened = Opened {
            is_new: found.size == 0 && tail.end == 0,
            checkpoint_size: found.size,
            recovered_count,
        };
        let mut writer = Self {
            storage,
            guard,
            signer,
            edge,
            signed: guarded,
            is_stopped: false,
        };
        let files = writer.take_in(tail.end)?;
        if recovered_count > 0 || writer.signed != found {
            writer.publish()?;
        }
        writer.remove_outgrown(&files);
        Ok((writer, opened))
    }

    /// Numbers the records, writes them, and returns once they are inside a signed checkpoint on disk.
    ///
    /// # Errors
    /// [`AppendFailure`]. After [`AppendFailure::Write`] the writer is stopped for good.
    pub fn append(&mut self, drafts: Vec<Draft>) -> Result<Appended, AppendFailure> {
        let mut entries = Vec::with_capacity(drafts.len());
        for (index, (position, draft)) in (self.edge.size()..).zip(drafts.into_iter().enumerate()) {
            let leaf = draft
                .numbered(index)
                .map_err(|source| AppendFailure::Leaf { position, source })?;
            entries.push(leaf.to_bytes());
        }
        self.append_entries(&entries)
    }

    /// As [`Writer::append`], for entries that are no leaves of ours: published test vectors.
    pub(crate) fn append_entries(&mut self, entries: &[Vec<u8>]) -> Result<Appended, AppendFailure> {
        if self.is_stopped {
            return Err(AppendFailure::Stopped);
        }
        if entries.len() > BATCH_LEAVES_MAX {
            return Err(AppendFailure::TooMany { count: entries.len() });
        }
        let first_index = self.edge.size();
        if !entries.is_empty() {
            self.is_stopped = true;
            let files = self.edge.extend(entries.iter().map(Vec::as_slice));
            self.write(&files)?;
            self.publish()?;
            self.remove_outgrown(&files.iter().map(|file| file.name).collect::<Vec<_>>());
            self.is_stopped = false;
        }
        Ok(Appended {
            first_index,
            checkpoint: self.signed.clone(),
        })
    }

    /// Leaves so far. All of them are inside [`Writer::checkpoint`].
    #[must_use]
    pub fn size(&self) -> u64 {
        self.signed.size
    }

    /// The newest signed checkpoint.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.signed
    }

    /// Key with which others check the log.
    #[must_use]
    pub const fn vkey(&self) -> &VerifierKey {
        self.signer.vkey()
    }

    /// Whether [`Writer::append`] can succeed: no write has failed.
    #[must_use]
    pub const fn is_writable(&self) -> bool {
        !self.is_stopped
    }

    /// The files, for reading.
    #[must_use]
    pub const fn storage(&self) -> &S {
        &self.storage
    }

    /// Writes the tiles of the entries up to `end`, which are on disk already beyond the checkpoint.
    fn take_in(&mut self, end: u64) -> Result<Vec<TileName>, OpenFailure> {
        let mut names = Vec::new();
        while self.edge.size() < end {
            let Some(bundle) = read_tail_bundle(&self.storage, &self.edge.frontier)? else {
                return Err(OpenFailure::RolledBack {
                    signed: end,
                    found: self.edge.size(),
                });
            };
            // The bundle is written again: after a crash it may be visible and yet not durable.
            let files = self.edge.extend(bundle.fresh());
            self.write(&files)?;
            names.extend(files.iter().map(|file| file.name));
        }
        Ok(names)
    }

    fn write(&mut self, files: &[File]) -> Result<(), WriteFailure> {
        for file in files {
            self.write_file(&file.name.to_string(), &file.bytes)?;
        }
        Ok(())
    }

    fn write_file(&mut self, path: &str, bytes: &[u8]) -> Result<(), WriteFailure> {
        self.storage
            .write_durably(path, bytes)
            .map_err(|source| WriteFailure::File {
                path: path.to_owned(),
                source,
            })
    }

    /// Signs the present state and puts the checkpoint in place, the guard first.
    fn publish(&mut self) -> Result<(), WriteFailure> {
        let next = Checkpoint {
            origin: self.signed.origin.clone(),
            size: self.edge.size(),
            root: self.edge.frontier.root(),
        };
        let is_the_same = next.size == self.signed.size && next.root == self.signed.root;
        assert!(
            next.size > self.signed.size || is_the_same,
            "a log never shrinks, and never signs two roots"
        );
        let stored = self
            .guard
            .load()
            .map_err(|source| WriteFailure::Guard { source })?;
        if stored != Some(self.signed.to_string().into_bytes()) {
            return Err(WriteFailure::GuardChanged);
        }
        self.put_in_place(next)
    }

    /// The guard, then the checkpoint. Only [`Writer::publish`] and the start of a new log may call it.
    fn put_in_place(&mut self, next: Checkpoint) -> Result<(), WriteFailure> {
        let body = next.to_string().into_bytes();
        self.guard
            .store(&body)
            .map_err(|source| WriteFailure::Guard { source })?;
        self.write_file(CHECKPOINT_PATH, &next.sign(&self.signer))?;
        self.signed = next;
        Ok(())
    }

    /// Removes the partial tiles that full ones have replaced.
    fn remove_outgrown(&mut self, written: &[TileName]) {
        for name in written.iter().filter(|name| !name.is_partial()) {
            // What stays behind is waste and not wrong: the full tile is there as well.
            let _ = self.storage.remove_folder(&name.partial_folder());
        }
    }
}

/// A file to be written.
#[derive(Debug)]
struct File {
    name: TileName,
    bytes: Vec<u8>,
}

/// The right edge of the log: what an append needs.
#[derive(Debug, Default)]
struct Edge {
    frontier: Frontier,
    /// Hashes in the open tile of each level.
    open_tiles: Vec<Vec<Sha256>>,
    /// Bytes of the open entry bundle.
    open_bundle: Vec<u8>,
}

impl Edge {
    const fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Reads the edge of the log at a signed checkpoint, and checks that it gives the signed root.
    fn read<S: Storage>(storage: &S, checkpoint: &Checkpoint) -> Result<Self, OpenFailure> {
        let mut edge = Self::default();
        for level in 0..level_count(checkpoint.size) {
            edge.open_tiles
                .push(match open_tile(Kind::Hashes(level), checkpoint.size) {
                    Some(name) => read_hashes(storage, name)?,
                    None => Vec::new(),
                });
        }
        for (level, hashes) in edge.open_tiles.iter().enumerate().rev() {
            for hash in hashes {
                edge.frontier
                    .push_subtree(*hash, u32::try_from(level).unwrap_or(u32::MAX) * 8);
            }
        }
        if edge.frontier.root() != checkpoint.root {
            return Err(OpenFailure::Altered {
                path: CHECKPOINT_PATH.to_owned(),
            });
        }
        if let Some(name) = open_tile(Kind::Entries, checkpoint.size) {
            edge.open_bundle = read_open_bundle(storage, name, edge.open_tiles.first())?;
        }
        Ok(edge)
    }

    /// Adds entries; gives the files to be written, in order.
    fn extend<'e>(&mut self, entries: impl Iterator<Item = &'e [u8]>) -> Vec<File> {
        let mut bundles = Vec::new();
        let mut tiles = Vec::new();
        for entry in entries {
            let index = self.size() / TILE_WIDTH;
            let hash = leaf_hash(entry);
            self.frontier.push(hash);
            let fits = push_entry(&mut self.open_bundle, entry);
            assert!(fits, "leaves are far shorter than a bundle's entries may be");
            if self.size().is_multiple_of(TILE_WIDTH) {
                let name = TileName {
                    kind: Kind::Entries,
                    index,
                    width: 1,
                }
                .full();
                bundles.push(File {
                    name,
                    bytes: std::mem::take(&mut self.open_bundle),
                });
            }
            self.push_hash(hash, &mut tiles);
        }
        if let Some(name) = open_tile(Kind::Entries, self.size()) {
            bundles.push(File {
                name,
                bytes: self.open_bundle.clone(),
            });
        }
        let changed_levels = tiles
            .iter()
            .map(|file| file.name.kind)
            .max()
            .map_or(0, |kind| match kind {
                Kind::Hashes(level) => usize::from(level) + 1,
                Kind::Entries => 0,
            });
        for (level, hashes) in (0u8..).zip(&self.open_tiles).take(changed_levels + 1) {
            if let Some(name) = open_tile(Kind::Hashes(level), self.size()) {
                tiles.push(File {
                    name,
                    bytes: join_hashes(hashes),
                });
            }
        }
        tiles.sort_by_key(|file| file.name);
        bundles.extend(tiles);
        bundles
    }

    /// Adds a leaf's hash to the open tiles, upwards through each tile that it fills.
    fn push_hash(&mut self, mut hash: Sha256, filled: &mut Vec<File>) {
        for level in 0u8.. {
            let position = usize::from(level);
            if self.open_tiles.len() == position {
                self.open_tiles.push(Vec::new());
            }
            let Some(open) = self.open_tiles.get_mut(position) else {
                return;
            };
            open.push(hash);
            if (open.len() as u64) < TILE_WIDTH {
                return;
            }
            let hashes = std::mem::take(open);
            let index = hash_count(level, self.frontier.size()) / TILE_WIDTH - 1;
            let name = TileName {
                kind: Kind::Hashes(level),
                index,
                width: 1,
            }
            .full();
            filled.push(File {
                name,
                bytes: join_hashes(&hashes),
            });
            hash = root_of(&hashes);
        }
    }
}

/// The open bundle's bytes, checked against the open tile of level 0.
fn read_open_bundle<S: Storage>(
    storage: &S,
    name: TileName,
    hashes: Option<&Vec<Sha256>>,
) -> Result<Vec<u8>, OpenFailure> {
    let (bytes, _) = read_or_full(storage, name, BUNDLE_BYTES_MAX)?;
    let altered = || OpenFailure::Altered {
        path: name.to_string(),
    };
    let entries = split_entries(&bytes).ok_or_else(altered)?;
    let entries = entries.get(..usize::from(name.width)).ok_or_else(altered)?;
    let found: Vec<Sha256> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    if Some(&found) != hashes {
        return Err(altered());
    }
    let mut open = Vec::new();
    for entry in entries {
        let _fits = push_entry(&mut open, entry);
    }
    Ok(open)
}

/// A bundle with entries beyond the edge.
struct TailBundle {
    bytes: Vec<u8>,
    /// Entries in it that the edge has already.
    known_count: usize,
}

impl TailBundle {
    /// Entries beyond the edge.
    fn fresh(&self) -> impl Iterator<Item = &[u8]> {
        split_entries(&self.bytes)
            .unwrap_or_default()
            .into_iter()
            .skip(self.known_count)
    }
}

/// The widest bundle on disk that goes beyond the edge, if there is one.
fn read_tail_bundle<S: Storage>(storage: &S, frontier: &Frontier) -> Result<Option<TailBundle>, OpenFailure> {
    let place = TileName {
        kind: Kind::Entries,
        index: frontier.size() / TILE_WIDTH,
        width: 1,
    };
    let known_count = frontier.size() % TILE_WIDTH;
    let Some(name) = widest(storage, place)?.filter(|name| u64::from(name.width) > known_count) else {
        return Ok(None);
    };
    let path = name.to_string();
    let bytes = match storage.read(&path, BUNDLE_BYTES_MAX) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Err(TileFailure::Missing { path }.into()),
        Err(source) => return Err(TileFailure::Unreadable { path, source }.into()),
    };
    let is_whole = split_entries(&bytes).is_some_and(|entries| entries.len() == usize::from(name.width));
    if !is_whole {
        return Err(OpenFailure::Altered { path });
    }
    Ok(Some(TailBundle {
        bytes,
        known_count: usize::try_from(known_count).unwrap_or_default(),
    }))
}

/// The widest file of a place: the full one, or the widest partial one.
fn widest<S: Storage>(storage: &S, place: TileName) -> Result<Option<TileName>, OpenFailure> {
    let full = place.full();
    let unreadable = |path: String| move |source| TileFailure::Unreadable { path, source };
    let is_full = storage
        .read(&full.to_string(), 0)
        .map_err(unreadable(full.to_string()))?
        .is_some();
    if is_full {
        return Ok(Some(full));
    }
    let folder = place.partial_folder();
    let files = storage.list(&folder).map_err(unreadable(folder.clone()))?;
    Ok(files
        .iter()
        .filter_map(|file| TileName::parse(&format!("{folder}/{file}")))
        .max())
}

/// What lies on disk beyond the checkpoint.
struct Tail {
    /// Leaves on disk, those in the checkpoint included.
    end: u64,
    /// Root at the size that the guard names, when the tail passes it.
    root_at_guard: Option<Sha256>,
}

impl Tail {
    /// Walks over the entries beyond the edge without keeping them, and refuses what is no leaf for its place.
    fn survey<S: Storage>(storage: &S, edge: &Edge, guarded: &Checkpoint) -> Result<Self, OpenFailure> {
        let mut frontier = edge.frontier.clone();
        let mut open_bundle = edge.open_bundle.clone();
        let mut root_at_guard = (frontier.size() == guarded.size).then(|| frontier.root());
        while let Some(bundle) = read_tail_bundle(storage, &frontier)? {
            if !bundle.bytes.starts_with(&open_bundle) {
                let name = TileName {
                    kind: Kind::Entries,
                    index: frontier.size() / TILE_WIDTH,
                    width: 1,
                };
                return Err(OpenFailure::Altered {
                    path: name.full().to_string(),
                });
            }
            for entry in bundle.fresh() {
                let index = frontier.size();
                Leaf::parse_at(index, entry).map_err(|source| OpenFailure::BadTail { index, source })?;
                frontier.push(leaf_hash(entry));
                if frontier.size() == guarded.size {
                    root_at_guard = Some(frontier.root());
                }
            }
            if !frontier.size().is_multiple_of(TILE_WIDTH) {
                break;
            }
            open_bundle.clear();
        }
        Ok(Self {
            end: frontier.size(),
            root_at_guard,
        })
    }
}

/// Refuses to go on when what was last signed is not a beginning of what is on disk.
fn check_guard<S: Storage>(
    storage: &S,
    found: &Checkpoint,
    guarded: &Checkpoint,
    tail: &Tail,
) -> Result<(), OpenFailure> {
    if guarded.size > tail.end {
        return Err(OpenFailure::RolledBack {
            signed: guarded.size,
            found: tail.end,
        });
    }
    let root = match tail.root_at_guard {
        Some(root) => root,
        // The guard is older than the checkpoint: itself put back, or from before a repair.
        None => root_at(&StoredTree::new(storage, found.size), guarded.size)?,
    };
    if root == guarded.root {
        Ok(())
    } else {
        Err(OpenFailure::Forked { size: guarded.size })
    }
}

fn load_guard<G: GuardStore>(guard: &G, vkey: &VerifierKey) -> Result<Option<Checkpoint>, OpenFailure> {
    let Some(bytes) = guard.load().map_err(|source| WriteFailure::Guard { source })? else {
        return Ok(None);
    };
    let guarded = std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| Checkpoint::parse(text).ok());
    match guarded {
        Some(guarded) if guarded.origin == vkey.name() => Ok(Some(guarded)),
        _ => Err(OpenFailure::GuardMalformed),
    }
}

fn read_checkpoint<S: Storage>(storage: &S) -> Result<Option<Vec<u8>>, OpenFailure> {
    storage
        .read(CHECKPOINT_PATH, CHECKPOINT_BYTES_MAX)
        .map_err(|source| {
            TileFailure::Unreadable {
                path: CHECKPOINT_PATH.to_owned(),
                source,
            }
            .into()
        })
}

/// Whether there is any entry although there is no checkpoint.
fn has_entries<S: Storage>(storage: &S) -> Result<bool, OpenFailure> {
    Ok(widest(
        storage,
        TileName {
            kind: Kind::Entries,
            index: 0,
            width: 1,
        },
    )?
    .is_some())
}
