//! Programs that share no code with ours judge our files: `signed_note` and `tlog_tiles` (Cloudflare, BSD-3).

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use jingui_audit::proof::prove;
use jingui_audit::tile::{Kind, StoredTree, TileName, names, split_entries};
use jingui_audit::tree::prove_consistency;
use jingui_audit::verify;
use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{
    Hash, Tile, TileHashReader, TileReader, check_record, check_tree, prove_record, record_hash, tree_hash,
};

use support::{Disk, draft, drafts, vkey};

/// Reads C2SP paths for the foreign tile reader, whose own paths are those of Go's checksum database.
struct Files<'a>(&'a Disk);

impl TileReader for Files<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        Ok(tiles.iter().map(|tile| self.0.file(&path_of(tile))).collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

fn path_of(tile: &Tile) -> String {
    let kind = Kind::Hashes(tile.level());
    TileName {
        kind,
        index: tile.level_index(),
        width: u16::try_from(tile.width()).unwrap(),
    }
    .to_string()
}

/// Has the foreign programs check the whole log; gives the size and root that they found signed.
fn judge(disk: &Disk) -> (u64, Hash) {
    let verifier = StandardVerifier::new(&vkey().to_string()).unwrap();
    let note = Note::from_bytes(&disk.file("checkpoint")).unwrap();
    let (good, unknown) = note.verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
    assert_eq!((good.len(), unknown.len()), (1, 0));
    let checkpoint = tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap();
    assert_eq!(checkpoint.origin(), support::ORIGIN);
    (checkpoint.size(), *checkpoint.hash())
}

/// Each leaf's hash in the foreign reader's authenticated tiles is that of the entry in our bundle.
fn judge_entries(disk: &Disk, size: u64, root: Hash) {
    let files = Files(disk);
    let reader = TileHashReader::new(size, root, &files);
    if size > 0 {
        assert_eq!(tree_hash(size, &reader).unwrap(), root);
    }
    let mut index = 0;
    for name in names(size).filter(|name| name.kind == Kind::Entries) {
        let bundle = disk.file(&name.to_string());
        for entry in split_entries(&bundle).unwrap() {
            let proof = prove_record(size, index, &reader).unwrap();
            check_record(&proof, size, root, index, record_hash(entry)).unwrap();
            index += 1;
        }
    }
    assert_eq!(index, size);
}

#[test]
fn every_size_from_0_to_1100_is_accepted_with_all_its_files_and_no_others() {
    let disk = Disk::default();
    let (mut writer, _) = disk.open().unwrap();
    for size in 0..=1100 {
        if size > 0 {
            writer.append(vec![draft(size - 1)]).unwrap();
        }
        let (found, root) = judge(&disk);
        assert_eq!(found, size);
        // Every leaf again at each size would take minutes; at these sizes the tiles differ in kind.
        if size % 97 == 0 || (254..=258).contains(&size) || (510..=514).contains(&size) || size >= 1099 {
            judge_entries(&disk, size, root);
            assert_eq!(
                verify(&disk, &vkey(), None).unwrap().checkpoint.root.as_bytes(),
                &root.0
            );
        } else if size > 0 {
            let files = Files(&disk);
            assert_eq!(
                tree_hash(size, &TileHashReader::new(size, root, &files)).unwrap(),
                root
            );
        }
    }
    // Published one by one, so every partial width is there until its tile is full, and none after.
    let mut expected: Vec<String> = vec!["checkpoint".to_owned()];
    for name in names(1100) {
        for width in if name.is_partial() {
            1..=name.width
        } else {
            name.width..=name.width
        } {
            expected.push(TileName { width, ..name }.to_string());
        }
    }
    expected.sort();
    assert_eq!(disk.files().into_keys().collect::<Vec<_>>(), expected);
}

#[test]
fn our_proofs_convince_the_foreign_checkers() {
    let disk = Disk::default();
    let (mut writer, _) = disk.open().unwrap();
    let mut roots = Vec::new();
    for size in [1, 2, 3, 7, 8, 200, 256, 257, 300, 513] {
        while writer.size() < size {
            writer
                .append(drafts(writer.size()..size.min(writer.size() + 256)))
                .unwrap();
        }
        let (_, root) = judge(&disk);
        for (old, old_root) in &roots {
            let proof = prove_consistency(&StoredTree::new(&disk, size), *old, size).unwrap();
            let proof = proof.iter().map(|hash| Hash(*hash.as_bytes())).collect();
            check_tree(&proof, size, root, *old, *old_root).unwrap();
        }
        for index in (0..size).filter(|index| size < 10 || index % 13 == 0 || index + 1 == size) {
            let evidence = prove(&disk, &vkey(), index).unwrap();
            let proof = evidence
                .proof
                .hashes
                .iter()
                .map(|hash| Hash(*hash.as_bytes()))
                .collect();
            check_record(&proof, size, root, index, record_hash(&evidence.leaf)).unwrap();
        }
        roots.push((size, root));
    }
}

#[test]
fn a_changed_checkpoint_is_refused_by_them_too() {
    let disk = support::log_of(3);
    let text = String::from_utf8(disk.file("checkpoint"))
        .unwrap()
        .replace("\n3\n", "\n4\n");
    let note = Note::from_bytes(text.as_bytes()).unwrap();
    let verifier = StandardVerifier::new(&vkey().to_string()).unwrap();
    assert!(note.verify(&VerifierList::new(vec![Box::new(verifier)])).is_err());
}
