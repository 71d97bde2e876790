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

mod edge;
mod failure;
mod tail;

use crate::checkpoint::{CHECKPOINT_BYTES_MAX, Checkpoint};
use crate::leaf::Draft;
use crate::note::{Signer, VerifierKey};
use crate::storage::{CHECKPOINT_PATH, GuardStore, Storage};
use crate::tile::{Kind, StoredTree, TileFailure, TileName};
use crate::tree::{empty_root, root_at};
use edge::{Edge, File};
use tail::{Tail, read_tail_bundle, widest};

pub use failure::{AppendFailure, OpenFailure, WriteFailure};

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
