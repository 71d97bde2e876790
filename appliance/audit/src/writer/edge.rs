//! The right edge of a log, and the files that an append makes of it.

use jingui_trust::Sha256;

use crate::checkpoint::Checkpoint;
use crate::storage::{CHECKPOINT_PATH, Storage};
use crate::tile::{
    BUNDLE_BYTES_MAX, Kind, TILE_WIDTH, TileName, hash_count, join_hashes, level_count, open_tile,
    push_entry, read_hashes, read_or_full, split_entries,
};
use crate::tree::{Frontier, leaf_hash, root_of};
use crate::writer::OpenFailure;

/// A file to be written.
#[derive(Debug)]
pub(super) struct File {
    pub(super) name: TileName,
    pub(super) bytes: Vec<u8>,
}

/// The right edge of the log: what an append needs.
#[derive(Debug, Default)]
pub(super) struct Edge {
    pub(super) frontier: Frontier,
    /// Hashes in the open tile of each level.
    open_tiles: Vec<Vec<Sha256>>,
    /// Bytes of the open entry bundle.
    pub(super) open_bundle: Vec<u8>,
}

impl Edge {
    pub(super) const fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Reads the edge of the log at a signed checkpoint, and checks that it gives the signed root.
    pub(super) fn read<S: Storage>(storage: &S, checkpoint: &Checkpoint) -> Result<Self, OpenFailure> {
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
    pub(super) fn extend<'e>(&mut self, entries: impl Iterator<Item = &'e [u8]>) -> Vec<File> {
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
