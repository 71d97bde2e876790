//! Entries on disk beyond the checkpoint: what a crash leaves, and what opening takes in.

use jingui_trust::Sha256;

use crate::checkpoint::Checkpoint;
use crate::leaf::Leaf;
use crate::storage::Storage;
use crate::tile::{BUNDLE_BYTES_MAX, Kind, TILE_WIDTH, TileFailure, TileName, split_entries};
use crate::tree::{Frontier, leaf_hash};
use crate::writer::OpenFailure;
use crate::writer::edge::Edge;

/// A bundle with entries beyond the edge.
pub(super) struct TailBundle {
    bytes: Vec<u8>,
    /// Entries in it that the edge has already.
    known_count: usize,
}

impl TailBundle {
    /// Entries beyond the edge.
    pub(super) fn fresh(&self) -> impl Iterator<Item = &[u8]> {
        split_entries(&self.bytes)
            .unwrap_or_default()
            .into_iter()
            .skip(self.known_count)
    }
}

/// The widest bundle on disk that goes beyond the edge, if there is one.
pub(super) fn read_tail_bundle<S: Storage>(
    storage: &S,
    frontier: &Frontier,
) -> Result<Option<TailBundle>, OpenFailure> {
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
pub(super) fn widest<S: Storage>(storage: &S, place: TileName) -> Result<Option<TileName>, OpenFailure> {
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
pub(super) struct Tail {
    /// Leaves on disk, those in the checkpoint included.
    pub(super) end: u64,
    /// Root at the size that the guard names, when the tail passes it.
    pub(super) root_at_guard: Option<Sha256>,
}

impl Tail {
    /// Walks over the entries beyond the edge without keeping them, and refuses what is no leaf for its place.
    pub(super) fn survey<S: Storage>(
        storage: &S,
        edge: &Edge,
        guarded: &Checkpoint,
    ) -> Result<Self, OpenFailure> {
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
