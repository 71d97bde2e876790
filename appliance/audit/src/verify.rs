//! The whole log, recomputed from its entries, and the verdict.
//!
//! Streams bundle by bundle: memory does not grow with the log. Trusts the verifier key alone. A clean report
//! proves that every leaf is in the one tree whose root the key signed, that every tile is what that tree makes
//! it, and, with an earlier checkpoint, that nothing before it was changed or taken away. It cannot prove that
//! nothing was cut off since the newest checkpoint that somebody kept: for that, keep one (`since`).
//!
//! Reading follows the entries, not the tiles: a tile that disagrees is remembered, and the signed root decides at
//! the end whether the tile or the entry was changed.

use jingui_trust::Sha256;

use crate::checkpoint::{CHECKPOINT_BYTES_MAX, Checkpoint};
use crate::leaf::{LEAF_BYTES_MAX, Leaf, LeafRefusal};
use crate::note::VerifierKey;
use crate::storage::{CHECKPOINT_PATH, ReadStorage};
use crate::tile::{
    BUNDLE_BYTES_MAX, HASH_BYTES, Kind, TILE_BYTES_MAX, TILE_WIDTH, TileFailure, TileName, hash_count,
    open_tile, read_or_full, split_entries, split_hashes,
};
use crate::tree::{Frontier, leaf_hash, root_of};
use crate::verdict::{Place, Verdict, VerifyFailure};

/// What a clean log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The signed checkpoint that all of it was checked against.
    pub checkpoint: Checkpoint,
    /// Size of the earlier checkpoint of which this log is a continuation.
    pub since_size: Option<u64>,
    /// Bytes of the leaves.
    pub leaf_bytes: u64,
}

/// Verifies a log. `since` is the text of an earlier signed checkpoint that somebody kept.
///
/// # Errors
/// [`VerifyFailure`].
pub fn verify<R: ReadStorage + ?Sized>(
    storage: &R,
    vkey: &VerifierKey,
    since: Option<&[u8]>,
) -> Result<Report, VerifyFailure> {
    verify_with(
        storage,
        vkey,
        since,
        |index, bytes| Leaf::parse_at(index, bytes).map(|_| ()),
        &mut |_| {},
    )
}

/// As [`verify`], telling after each bundle how many leaves were checked.
///
/// # Errors
/// [`VerifyFailure`].
pub fn verify_with_progress<R: ReadStorage + ?Sized>(
    storage: &R,
    vkey: &VerifierKey,
    since: Option<&[u8]>,
    mut progress: impl FnMut(u64),
) -> Result<Report, VerifyFailure> {
    verify_with(
        storage,
        vkey,
        since,
        |index, bytes| Leaf::parse_at(index, bytes).map(|_| ()),
        &mut progress,
    )
}

/// As [`verify`], with another idea of what a leaf is: published test vectors hold no leaves of ours.
pub(crate) fn verify_with<R: ReadStorage + ?Sized>(
    storage: &R,
    vkey: &VerifierKey,
    since: Option<&[u8]>,
    check_leaf: impl Fn(u64, &[u8]) -> Result<(), LeafRefusal>,
    progress: &mut dyn FnMut(u64),
) -> Result<Report, VerifyFailure> {
    let note = read(storage, CHECKPOINT_PATH, CHECKPOINT_BYTES_MAX)?.ok_or_else(|| Verdict::Missing {
        place: Place::File(CHECKPOINT_PATH.to_owned()),
    })?;
    let checkpoint = open(&note, vkey, Place::File(CHECKPOINT_PATH.to_owned()))?;
    let since = since.map(|note| open(note, vkey, Place::Since)).transpose()?;
    if let Some(since) = &since {
        compare_sizes(&checkpoint, since)?;
    }
    let mut walk = Walk::new(storage, checkpoint, since);
    while walk.frontier.size() < walk.checkpoint.size {
        walk.bundle(&check_leaf)?;
        progress(walk.frontier.size());
    }
    walk.finish()
}

/// What two signed checkpoints say about each other without any tile.
fn compare_sizes(here: &Checkpoint, earlier: &Checkpoint) -> Result<(), Verdict> {
    if earlier.size > here.size {
        return Err(Verdict::Truncated {
            found: here.size,
            signed: earlier.size,
        });
    }
    if earlier.size == here.size && earlier.root != here.root {
        return Err(Verdict::Forked {
            size: here.size,
            earlier: earlier.root,
            here: here.root,
        });
    }
    Ok(())
}

fn open(note: &[u8], vkey: &VerifierKey, place: Place) -> Result<Checkpoint, Verdict> {
    Checkpoint::open(note, vkey).map_err(|source| {
        if source.is_bad_signature() {
            Verdict::BadSignature { place, source }
        } else {
            Verdict::Malformed {
                place,
                source: source.into(),
            }
        }
    })
}

fn read<R: ReadStorage + ?Sized>(
    storage: &R,
    path: &str,
    bytes_max: usize,
) -> Result<Option<Vec<u8>>, VerifyFailure> {
    storage
        .read(path, bytes_max)
        .map_err(|source| VerifyFailure::Unreadable {
            path: path.to_owned(),
            source,
        })
}

/// Something that does not fit, seen on the way; the signed root decides at the end what it was.
struct Suspicion {
    /// When the entries lead to the signed root: then something else is wrong.
    if_entries_hold: Verdict,
    /// When they do not.
    if_entries_fail: Verdict,
    /// Index that was skipped, if a leaf says that it is a later one.
    skipped: Option<u64>,
}

/// One pass over the log.
struct Walk<'a, R: ReadStorage + ?Sized> {
    storage: &'a R,
    checkpoint: Checkpoint,
    since: Option<Checkpoint>,
    /// The tree as the entries make it.
    frontier: Frontier,
    /// Hashes of the open tile of each level, as the entries make them.
    open_tiles: Vec<Vec<Sha256>>,
    root_at_since: Option<Sha256>,
    leaf_bytes: u64,
    suspicion: Option<Suspicion>,
}

impl<'a, R: ReadStorage + ?Sized> Walk<'a, R> {
    fn new(storage: &'a R, checkpoint: Checkpoint, since: Option<Checkpoint>) -> Self {
        let mut walk = Self {
            storage,
            checkpoint,
            since,
            frontier: Frontier::default(),
            open_tiles: Vec::new(),
            root_at_since: None,
            leaf_bytes: 0,
            suspicion: None,
        };
        walk.note_since();
        walk
    }

    fn note_since(&mut self) {
        if self
            .since
            .as_ref()
            .is_some_and(|since| since.size == self.frontier.size())
        {
            self.root_at_since = Some(self.frontier.root());
        }
    }

    /// The next bundle, its tile of level 0, and each tile that it fills.
    fn bundle(
        &mut self,
        check_leaf: &impl Fn(u64, &[u8]) -> Result<(), LeafRefusal>,
    ) -> Result<(), VerifyFailure> {
        let first = self.frontier.size();
        let name = place_at(Kind::Entries, first / TILE_WIDTH, self.checkpoint.size);
        let tile = self.read_tile(TileName {
            kind: Kind::Hashes(0),
            ..name
        })?;
        let bytes = match read_or_full(self.storage, name, BUNDLE_BYTES_MAX) {
            Ok(found) => Some(found),
            Err(TileFailure::Unreadable { path, source }) => {
                return Err(VerifyFailure::Unreadable { path, source });
            }
            Err(_) => None,
        };
        let ((bytes, is_full_instead), tile) = match (bytes, tile) {
            (Some(found), Some(tile)) => (found, tile),
            (None, Some(_)) => return Err(self.decide(missing(name))),
            (Some(_), None) => {
                return Err(self.decide(missing(TileName {
                    kind: Kind::Hashes(0),
                    ..name
                })));
            }
            (None, None) => return Err(self.judge_end(name)?),
        };
        let (entries, hashes) = self.entries(name, &bytes, is_full_instead, &tile)?;
        self.suspect_tile(name, &hashes, &tile);
        for (index, (entry, hash)) in (first..).zip(entries.into_iter().zip(hashes)) {
            self.leaf_bytes += entry.len() as u64;
            self.suspect_leaf(index, check_leaf(index, entry));
            self.frontier.push(hash);
            self.note_since();
            self.push_hash(hash)?;
        }
        Ok(())
    }

    /// Splits a bundle into as many entries as it must have, each with its hash.
    fn entries<'b>(
        &self,
        name: TileName,
        bytes: &'b [u8],
        is_full_instead: bool,
        tile: &Tile,
    ) -> Result<(Vec<&'b [u8]>, Vec<Sha256>), VerifyFailure> {
        let altered = Verdict::Altered {
            place: Place::File(name.to_string()),
        };
        let Some(mut entries) = split_entries(bytes) else {
            return Err(self.decide(altered));
        };
        let width = usize::from(name.width);
        if is_full_instead {
            entries.truncate(width);
        }
        let hashes: Vec<Sha256> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        if entries.len() == width {
            return Ok((entries, hashes));
        }
        let first = name.index * TILE_WIDTH;
        Err(
            self.decide(match (tile.first_difference(&hashes), entries.len() < width) {
                (Some((position, true)), _) => Verdict::Missing {
                    place: Place::Leaf(first + position),
                },
                (Some((position, false)), _) => Verdict::Altered {
                    place: Place::Leaf(first + position),
                },
                (None, true) => self.judge_short(first + entries.len() as u64),
                (None, false) => altered,
            }),
        )
    }

    /// The log ends, or a bundle ends, before its time.
    fn judge_short(&self, found: u64) -> Verdict {
        if found / TILE_WIDTH == self.checkpoint.size / TILE_WIDTH {
            Verdict::Truncated {
                found,
                signed: self.checkpoint.size,
            }
        } else {
            Verdict::Missing {
                place: Place::Leaf(found),
            }
        }
    }

    /// Neither bundle nor tile is there: is there anything after them?
    fn judge_end(&self, name: TileName) -> Result<VerifyFailure, VerifyFailure> {
        let last = self.checkpoint.size.saturating_sub(1) / TILE_WIDTH;
        for index in name.index + 1..=last {
            let later = place_at(Kind::Entries, index, self.checkpoint.size);
            if read(self.storage, &later.to_string(), 0)?.is_some() {
                return Ok(self.decide(missing(name)));
            }
        }
        let found = name.index * TILE_WIDTH;
        Ok(self.decide(Verdict::Truncated {
            found,
            signed: self.checkpoint.size,
        }))
    }

    /// A tile of the tree's size; `None` when it is not there.
    fn read_tile(&self, name: TileName) -> Result<Option<Tile>, VerifyFailure> {
        let (bytes, is_full_instead) = match read_or_full(self.storage, name, TILE_BYTES_MAX) {
            Ok(found) => found,
            Err(TileFailure::Unreadable { path, source }) => {
                return Err(VerifyFailure::Unreadable { path, source });
            }
            Err(_) => return Ok(None),
        };
        // A tile that ends early says the same as entries that end early; it is judged together with them.
        let width_max = if is_full_instead {
            name.full().width
        } else {
            name.width
        };
        let width = u16::try_from(bytes.len() / HASH_BYTES).unwrap_or(u16::MAX);
        let hashes = split_hashes(&bytes, width).filter(|_| width <= width_max);
        let Some(mut hashes) = hashes else {
            return Err(self.decide(Verdict::Altered {
                place: Place::File(name.to_string()),
            }));
        };
        hashes.truncate(usize::from(name.width));
        Ok(Some(Tile { hashes }))
    }

    /// Adds a hash that the entries make to the open tiles, and compares each tile that is complete now.
    fn push_hash(&mut self, mut hash: Sha256) -> Result<(), VerifyFailure> {
        for level in 0u8.. {
            let position = usize::from(level);
            if self.open_tiles.len() == position {
                self.open_tiles.push(Vec::new());
            }
            let Some(open) = self.open_tiles.get_mut(position) else {
                break;
            };
            open.push(hash);
            if (open.len() as u64) < TILE_WIDTH {
                break;
            }
            let made = std::mem::take(open);
            let index = hash_count(level, self.frontier.size()) / TILE_WIDTH - 1;
            self.compare_upper(place_at(Kind::Hashes(level), index, self.checkpoint.size), &made)?;
            hash = root_of(&made);
        }
        Ok(())
    }

    /// Compares a tile above level 0 with what the entries make; those of level 0 were compared leaf by leaf.
    fn compare_upper(&mut self, name: TileName, made: &[Sha256]) -> Result<(), VerifyFailure> {
        if name.kind == Kind::Hashes(0) {
            return Ok(());
        }
        let Some(tile) = self.read_tile(name)? else {
            return Err(self.decide(missing(name)));
        };
        if tile.hashes != made {
            self.suspect(Suspicion {
                if_entries_hold: Verdict::Altered {
                    place: Place::File(name.to_string()),
                },
                if_entries_fail: Verdict::Altered { place: Place::Tree },
                skipped: None,
            });
        }
        Ok(())
    }

    fn suspect_tile(&mut self, name: TileName, found: &[Sha256], tile: &Tile) {
        let tile_name = TileName {
            kind: Kind::Hashes(0),
            ..name
        };
        let Some((position, is_gone)) = tile.first_difference(found) else {
            if tile.hashes.len() != found.len() {
                let altered = Verdict::Altered {
                    place: Place::File(tile_name.to_string()),
                };
                self.suspect(Suspicion {
                    if_entries_hold: altered.clone(),
                    if_entries_fail: altered,
                    skipped: None,
                });
            }
            return;
        };
        let place = Place::Leaf(name.index * TILE_WIDTH + position);
        self.suspect(Suspicion {
            if_entries_hold: Verdict::Altered {
                place: Place::File(tile_name.to_string()),
            },
            if_entries_fail: if is_gone {
                Verdict::Missing { place }
            } else {
                Verdict::Altered { place }
            },
            skipped: None,
        });
    }

    fn suspect_leaf(&mut self, index: u64, result: Result<(), LeafRefusal>) {
        let Err(refusal) = result else { return };
        let place = Place::Leaf(index);
        let mut skipped = None;
        if let LeafRefusal::WrongIndex { found } = refusal {
            // The leaf that seemed to be missing stands elsewhere: leaves changed places.
            if let Some(first) = self
                .suspicion
                .as_mut()
                .filter(|first| first.skipped == Some(found))
            {
                first.if_entries_fail = Verdict::Altered {
                    place: Place::Leaf(found),
                };
                first.skipped = None;
            }
            skipped = (found > index).then_some(index);
        }
        let if_entries_fail = match skipped {
            Some(_) => Verdict::Missing { place: place.clone() },
            None => Verdict::Altered { place: place.clone() },
        };
        let if_entries_hold = Verdict::Malformed {
            place,
            source: refusal.into(),
        };
        self.suspect(Suspicion {
            if_entries_hold,
            if_entries_fail,
            skipped,
        });
    }

    /// Only the first one counts.
    fn suspect(&mut self, suspicion: Suspicion) {
        self.suspicion.get_or_insert(suspicion);
    }

    /// A verdict at a place where the entries end; an earlier suspicion goes first.
    fn decide(&self, verdict: Verdict) -> VerifyFailure {
        match &self.suspicion {
            Some(suspicion) => suspicion.if_entries_fail.clone().into(),
            None => verdict.into(),
        }
    }

    /// All entries are read: the open tiles, then the signed root, then the earlier checkpoint.
    fn finish(mut self) -> Result<Report, VerifyFailure> {
        for (level, made) in (0u8..).zip(std::mem::take(&mut self.open_tiles)) {
            if let Some(name) = open_tile(Kind::Hashes(level), self.checkpoint.size) {
                self.compare_upper(name, &made)?;
            }
        }
        let do_entries_hold = self.frontier.root() == self.checkpoint.root;
        match self.suspicion {
            Some(suspicion) if do_entries_hold => return Err(suspicion.if_entries_hold.into()),
            Some(suspicion) => return Err(suspicion.if_entries_fail.into()),
            None if !do_entries_hold => return Err(Verdict::Altered { place: Place::Tree }.into()),
            None => {}
        }
        if let (Some(since), Some(here)) = (&self.since, self.root_at_since)
            && since.root != here
        {
            return Err(Verdict::Forked {
                size: since.size,
                earlier: since.root,
                here,
            }
            .into());
        }
        Ok(Report {
            checkpoint: self.checkpoint,
            since_size: self.since.map(|since| since.size),
            leaf_bytes: self.leaf_bytes,
        })
    }
}

/// A tile as it is in the storage.
struct Tile {
    hashes: Vec<Sha256>,
}

impl Tile {
    /// First position at which the entries' hashes are not the tile's, and whether it looks as if one were gone.
    fn first_difference(&self, found: &[Sha256]) -> Option<(u64, bool)> {
        let position = self
            .hashes
            .iter()
            .zip(found)
            .position(|(expected, found)| expected != found)?;
        let expected = self.hashes.get(position);
        let is_elsewhere = found.iter().any(|hash| Some(hash) == expected);
        let is_gone = !is_elsewhere && self.hashes.get(position + 1) == found.get(position);
        Some((position as u64, is_gone))
    }
}

/// The tile of that place in a tree of `size` leaves.
fn place_at(kind: Kind, index: u64, size: u64) -> TileName {
    let name = TileName {
        kind,
        index,
        width: 1,
    }
    .full();
    open_tile(kind, size)
        .filter(|open| open.index == index)
        .unwrap_or(name)
}

fn missing(name: TileName) -> Verdict {
    Verdict::Missing {
        place: Place::File(name.to_string()),
    }
}

const _: () = assert!(LEAF_BYTES_MAX < crate::tile::ENTRY_BYTES_MAX);
