//! Tiles and entry bundles of c2sp.org/tlog-tiles: their names, their bytes, and reading subtrees from them.
//!
//! A tile of level `L` holds up to 256 hashes, each the root of `256^L` leaves; an entry bundle holds up to 256
//! entries. Paths differ from those of Go's checksum database (`tile/8/0/…`).

use std::fmt;
use std::io;

use jingui_trust::Sha256;

use crate::storage::ReadStorage;
use crate::tree::{Nodes, root_of};

/// Hashes in a full tile, entries in a full bundle.
pub const TILE_WIDTH: u64 = 256;
/// Bytes of a hash.
pub const HASH_BYTES: usize = 32;
/// Bytes of a full tile.
pub const TILE_BYTES_MAX: usize = TILE_WIDTH as usize * HASH_BYTES;
/// Longest entry that a bundle can hold.
pub const ENTRY_BYTES_MAX: usize = u16::MAX as usize;
/// Bytes of the largest possible bundle.
pub const BUNDLE_BYTES_MAX: usize = TILE_WIDTH as usize * (2 + ENTRY_BYTES_MAX);
/// Highest level of a tile.
pub const LEVEL_MAX: u8 = 63;

const LEVEL_BITS: u32 = TILE_WIDTH.trailing_zeros();

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Entries.
    Entries,
    /// Hashes of that level.
    Hashes(u8),
}

/// Name of a tile or bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TileName {
    /// What it holds.
    pub kind: Kind,
    /// Which one of its level.
    pub index: u64,
    /// How many hashes or entries it holds: 1 to 256.
    pub width: u16,
}

impl TileName {
    /// The full tile of the same place.
    #[must_use]
    pub const fn full(self) -> Self {
        Self {
            width: TILE_WIDTH as u16,
            ..self
        }
    }

    /// Whether it can still be replaced by a wider one.
    #[must_use]
    pub const fn is_partial(self) -> bool {
        (self.width as u64) < TILE_WIDTH
    }

    /// Folder of the partial tiles of this place.
    #[must_use]
    pub fn partial_folder(self) -> String {
        format!("{}.p", self.full())
    }

    /// Reads a path. `None` unless it is written exactly as [`fmt::Display`] writes it.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let kind = match kind {
            "entries" => Kind::Entries,
            level => Kind::Hashes(level.parse().ok().filter(|level| *level <= LEVEL_MAX)?),
        };
        let (groups, width) = match rest.split_once(".p/") {
            Some((groups, width)) => (groups, width.parse().ok()?),
            None => (rest, TILE_WIDTH as u16),
        };
        let mut index: u64 = 0;
        for group in groups.split('/') {
            let digits: u64 = group.strip_prefix('x').unwrap_or(group).parse().ok()?;
            index = index.checked_mul(1000)?.checked_add(digits)?;
        }
        let name = Self { kind, index, width };
        (width > 0 && u64::from(width) <= TILE_WIDTH && name.to_string() == path).then_some(name)
    }
}

impl fmt::Display for TileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Entries => f.write_str("tile/entries/")?,
            Kind::Hashes(level) => write!(f, "tile/{level}/")?,
        }
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for (position, group) in groups.iter().enumerate().rev() {
            match position {
                0 => write!(f, "{group:03}")?,
                _ => write!(f, "x{group:03}/")?,
            }
        }
        if self.is_partial() {
            write!(f, ".p/{}", self.width)
        } else {
            Ok(())
        }
    }
}

/// Hashes of that level in a tree of `size` leaves. 0 for levels above the tree.
#[must_use]
pub const fn hash_count(level: u8, size: u64) -> u64 {
    match size.checked_shr(LEVEL_BITS * level as u32) {
        Some(count) => count,
        None => 0,
    }
}

/// Levels that have tiles in a tree of `size` leaves.
#[must_use]
pub fn level_count(size: u64) -> u8 {
    let mut level = 0;
    while hash_count(level, size) > 0 {
        level += 1;
    }
    level
}

/// The open, partial tile of a level in a tree of `size` leaves, if there is one.
#[must_use]
pub fn open_tile(kind: Kind, size: u64) -> Option<TileName> {
    let count = match kind {
        Kind::Entries => size,
        Kind::Hashes(level) => hash_count(level, size),
    };
    let width = u16::try_from(count % TILE_WIDTH).unwrap_or_default();
    (width > 0).then_some(TileName {
        kind,
        index: count / TILE_WIDTH,
        width,
    })
}

/// Every file that a tree of `size` leaves needs, bundles first, then tiles by level.
pub fn names(size: u64) -> impl Iterator<Item = TileName> {
    let kinds = std::iter::once(Kind::Entries).chain((0..level_count(size)).map(Kind::Hashes));
    kinds.flat_map(move |kind| {
        let count = match kind {
            Kind::Entries => size,
            Kind::Hashes(level) => hash_count(level, size),
        };
        let full = (0..count / TILE_WIDTH).map(move |index| TileName {
            kind,
            index,
            width: TILE_WIDTH as u16,
        });
        full.chain(open_tile(kind, size))
    })
}

/// Bytes of a tile.
#[must_use]
pub fn join_hashes(hashes: &[Sha256]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// Hashes of a tile. `None` when the length is not that of `width` hashes.
#[must_use]
pub fn split_hashes(bytes: &[u8], width: u16) -> Option<Vec<Sha256>> {
    if bytes.len() != usize::from(width) * HASH_BYTES {
        return None;
    }
    let (hashes, _) = bytes.as_chunks::<HASH_BYTES>();
    Some(hashes.iter().map(|hash| Sha256::from_bytes(*hash)).collect())
}

/// Adds an entry to the bytes of a bundle. `false`, and nothing added, when it is longer than a bundle can hold.
#[must_use]
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> bool {
    let Ok(length) = u16::try_from(entry.len()) else {
        return false;
    };
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    true
}

/// Entries of a bundle. `None` when a length leads past the end or there are more than 256.
#[must_use]
pub fn split_entries(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        bytes = rest;
    }
    (entries.len() as u64 <= TILE_WIDTH).then_some(entries)
}

/// Why a tile could not be used.
#[derive(Debug, thiserror::Error)]
pub enum TileFailure {
    /// There is no such file.
    #[error("{path} is missing")]
    Missing {
        /// Which.
        path: String,
    },
    /// It has the wrong length.
    #[error("{path} has the wrong length")]
    WrongLength {
        /// Which.
        path: String,
    },
    /// It cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl TileFailure {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Missing { path } | Self::WrongLength { path } | Self::Unreadable { path, .. } => path,
        }
    }
}

/// Reads a tile or bundle of the tree's current size, or, when its partial form is gone, the full one that took its
/// place since (a copy made of a growing log). Says whether it was the full one instead.
pub(crate) fn read_or_full<R: ReadStorage + ?Sized>(
    storage: &R,
    name: TileName,
    bytes_max: usize,
) -> Result<(Vec<u8>, bool), TileFailure> {
    for candidate in [name, name.full()] {
        let path = candidate.to_string();
        match storage.read(&path, bytes_max) {
            Ok(Some(bytes)) => return Ok((bytes, candidate != name)),
            Ok(None) => {}
            Err(source) => return Err(TileFailure::Unreadable { path, source }),
        }
    }
    Err(TileFailure::Missing {
        path: name.to_string(),
    })
}

/// A tile as it was at a checkpoint, however much the log has grown since: when a partial one has been outgrown, the
/// first part of the full one. `None` when neither is there or the full one is too short.
///
/// # Errors
/// When a file is there but cannot be read.
pub fn read_as_of<R: ReadStorage + ?Sized>(storage: &R, name: TileName) -> io::Result<Option<Vec<u8>>> {
    if let Some(bytes) = storage.read(&name.to_string(), BUNDLE_BYTES_MAX)? {
        return Ok(Some(bytes));
    }
    let full = storage.read(&name.full().to_string(), BUNDLE_BYTES_MAX)?;
    Ok(full.and_then(|full| shorten(name, &full)))
}

fn shorten(name: TileName, full: &[u8]) -> Option<Vec<u8>> {
    let width = usize::from(name.width);
    match name.kind {
        Kind::Hashes(_) => full.get(..width * HASH_BYTES).map(<[u8]>::to_vec),
        Kind::Entries => {
            let mut bundle = Vec::new();
            let entries = split_entries(full)?;
            let is_whole = entries
                .get(..width)?
                .iter()
                .all(|entry| push_entry(&mut bundle, entry));
            is_whole.then_some(bundle)
        }
    }
}

/// The hashes of a tile of the tree's current size.
///
/// # Errors
/// [`TileFailure`].
pub fn read_hashes<R: ReadStorage + ?Sized>(storage: &R, name: TileName) -> Result<Vec<Sha256>, TileFailure> {
    let (bytes, is_full) = read_or_full(storage, name, TILE_BYTES_MAX)?;
    let width = if is_full { TILE_WIDTH as u16 } else { name.width };
    let mut hashes = split_hashes(&bytes, width).ok_or_else(|| TileFailure::WrongLength {
        path: name.to_string(),
    })?;
    hashes.truncate(usize::from(name.width));
    Ok(hashes)
}

/// A tree of that size, as held by the tiles in a storage.
///
/// The hashes are taken as they are: whoever needs them to be right compares what comes out with a signed root.
#[derive(Debug)]
pub struct StoredTree<'a, R: ReadStorage + ?Sized> {
    storage: &'a R,
    size: u64,
}

impl<'a, R: ReadStorage + ?Sized> StoredTree<'a, R> {
    /// The first `size` leaves of the log.
    #[must_use]
    pub const fn new(storage: &'a R, size: u64) -> Self {
        Self { storage, size }
    }
}

impl<R: ReadStorage + ?Sized> Nodes for StoredTree<'_, R> {
    type Error = TileFailure;

    fn node(&self, level: u32, index: u64) -> Result<Sha256, TileFailure> {
        let tile_level = u8::try_from(level / LEVEL_BITS).unwrap_or(LEVEL_MAX);
        let count_in_tile = 1u64 << (level % LEVEL_BITS);
        let first = index * count_in_tile;
        let tile_index = first / TILE_WIDTH;
        let width = hash_count(tile_level, self.size)
            .saturating_sub(tile_index * TILE_WIDTH)
            .min(TILE_WIDTH);
        let name = TileName {
            kind: Kind::Hashes(tile_level),
            index: tile_index,
            width: u16::try_from(width).unwrap_or_default(),
        };
        let hashes = read_hashes(self.storage, name)?;
        let start = usize::try_from(first % TILE_WIDTH).unwrap_or_default();
        let length = usize::try_from(count_in_tile).unwrap_or_default();
        match hashes.get(start..start + length) {
            Some(hashes) => Ok(root_of(hashes)),
            None => Err(TileFailure::Missing {
                path: name.to_string(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outgrown_partial_tile_is_cut_from_the_full_one() {
        let mut full = Vec::new();
        for entry in 0..=255_u8 {
            assert!(push_entry(&mut full, &[entry; 3]));
        }
        let entries = TileName {
            kind: Kind::Entries,
            index: 0,
            width: 2,
        };
        assert_eq!(shorten(entries, &full).unwrap(), [0, 3, 0, 0, 0, 0, 3, 1, 1, 1]);
        let hashes = TileName {
            kind: Kind::Hashes(0),
            index: 0,
            width: 1,
        };
        assert_eq!(shorten(hashes, &full).unwrap(), full[..HASH_BYTES]);
        assert_eq!(shorten(hashes, &full[..HASH_BYTES - 1]), None);
    }
}
