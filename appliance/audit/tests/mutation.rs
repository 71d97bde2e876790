//! Every way to spoil a log that we could think of, and the class of the verdict that each must get.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use jingui_audit::proof::prove;
use jingui_audit::tile::{
    Kind, TILE_WIDTH, TileName, join_hashes, names, push_entry, split_entries, split_hashes,
};
use jingui_audit::tree::{leaf_hash, root_of};
use jingui_audit::verdict::{Place, VerifyFailure};
use jingui_audit::{ReadStorage, Signer, Verdict, verify};
use jingui_trust::log_key::LogKey;

use support::{Disk, draft, drafts, grow, log_of, vkey};

fn verdict(disk: &Disk, since: Option<&[u8]>) -> Verdict {
    match verify(disk, &vkey(), since) {
        Err(VerifyFailure::Bad(verdict)) => verdict,
        Err(VerifyFailure::Unreadable { path, .. }) => panic!("{path} cannot be read"),
        Ok(report) => panic!("accepted: {report:?}"),
    }
}

/// All entries of a log, in order.
fn entries(disk: &Disk, size: u64) -> Vec<Vec<u8>> {
    let bundles = names(size).filter(|name| name.kind == Kind::Entries);
    let bundles = bundles.map(|name| disk.file(&name.to_string()));
    bundles
        .flat_map(|bundle| {
            split_entries(&bundle)
                .unwrap()
                .iter()
                .map(|e| e.to_vec())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Writes bundles of these entries, under the names that a log of that many has; the tiles as well, if asked.
fn rewrite(disk: &Disk, entries: &[Vec<u8>], with_tiles: bool) {
    let size = entries.len() as u64;
    for (index, chunk) in (0..).zip(entries.chunks(256)) {
        let mut bundle = Vec::new();
        chunk
            .iter()
            .for_each(|entry| assert!(push_entry(&mut bundle, entry)));
        let width = u16::try_from(chunk.len()).unwrap();
        disk.put(
            &TileName {
                kind: Kind::Entries,
                index,
                width,
            }
            .to_string(),
            bundle,
        );
    }
    if !with_tiles {
        return;
    }
    let mut hashes: Vec<_> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    for level in 0..jingui_audit::tile::level_count(size) {
        for (index, chunk) in (0..).zip(hashes.chunks(256)) {
            let width = u16::try_from(chunk.len()).unwrap();
            disk.put(
                &TileName {
                    kind: Kind::Hashes(level),
                    index,
                    width,
                }
                .to_string(),
                join_hashes(chunk),
            );
        }
        hashes = hashes.chunks_exact(256).map(root_of).collect();
    }
}

#[test]
fn an_untouched_log_of_any_size_is_intact() {
    for size in [0, 1, 2, 5, 255, 256, 257, 300, 512, 600] {
        let disk = log_of(size);
        let report = verify(&disk, &vkey(), None).unwrap();
        assert_eq!((report.checkpoint.size, report.since_size), (size, None));
    }
}

#[test]
fn each_flipped_byte_of_a_tile_or_bundle_is_called_altered() {
    for (size, step) in [(1, 1), (5, 1), (300, 1811), (600, 6007)] {
        let disk = log_of(size);
        for name in names(size) {
            let (path, good) = (name.to_string(), disk.file(&name.to_string()));
            for position in (0..good.len()).step_by(step) {
                for mask in [0x01, 0x80] {
                    let mut bad = good.clone();
                    bad[position] ^= mask;
                    disk.put(&path, bad);
                    let verdict = verdict(&disk, None);
                    assert_eq!(verdict.class(), "altered", "{path} byte {position}: {verdict}");
                }
            }
            disk.put(&path, good);
        }
        assert!(verify(&disk, &vkey(), None).is_ok());
    }
}

#[test]
fn each_flipped_bit_of_the_checkpoint_is_called_bad_signature_or_malformed() {
    let disk = log_of(5);
    let good = disk.file("checkpoint");
    let text_end = good.windows(2).position(|pair| pair == b"\n\n").unwrap();
    for position in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[position] ^= 1 << bit;
            disk.put("checkpoint", bad.clone());
            let class = verdict(&disk, None).class();
            assert!(
                ["bad-signature", "malformed"].contains(&class),
                "byte {position} bit {bit}: {class}"
            );
            let is_text =
                bad[position].is_ascii() && !bad[position].is_ascii_control() && good[position] != b'\n';
            if position < text_end && is_text {
                assert_eq!(class, "bad-signature", "byte {position} bit {bit}");
            }
        }
    }
}

#[test]
fn an_altered_leaf_or_tile_is_named() {
    let disk = log_of(300);
    let good = disk.snapshot();
    let mut all = entries(&disk, 300);
    let position = all[270]
        .windows(8)
        .position(|part| part == b"\"actor\":")
        .unwrap();
    all[270][position + 10] ^= 1;
    rewrite(&disk, &all, false);
    assert_eq!(
        verdict(&disk, None),
        Verdict::Altered {
            place: Place::Leaf(270)
        }
    );
    for path in ["tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1"] {
        let disk = good.snapshot();
        let mut tile = disk.file(path);
        tile[31] ^= 1;
        disk.put(path, tile);
        assert_eq!(
            verdict(&disk, None),
            Verdict::Altered {
                place: Place::File(path.to_owned())
            }
        );
    }
}

#[test]
fn each_deleted_file_is_called_missing_and_named() {
    for size in [1, 5, 256, 300, 600] {
        let disk = log_of(size);
        let paths = names(size)
            .map(|name| name.to_string())
            .chain(["checkpoint".to_owned()]);
        for path in paths {
            let bytes = disk.delete(&path);
            assert_eq!(
                verdict(&disk, None),
                Verdict::Missing {
                    place: Place::File(path.clone())
                },
                "{size}"
            );
            disk.put(&path, bytes);
        }
    }
}

#[test]
fn a_deleted_leaf_is_called_missing_and_named() {
    for index in [0, 1, 100, 254, 256, 280, 298] {
        let disk = log_of(300);
        let mut all = entries(&disk, 300);
        all.remove(index);
        // Only its own bundle is closed up: the later ones are left as they are.
        let end = if index < 256 { 255 } else { 299 };
        let mut bundle = Vec::new();
        all[index / 256 * 256..end]
            .iter()
            .for_each(|entry| assert!(push_entry(&mut bundle, entry)));
        let path = if index < 256 {
            "tile/entries/000"
        } else {
            "tile/entries/001.p/44"
        };
        disk.put(path, bundle);
        assert_eq!(
            verdict(&disk, None),
            Verdict::Missing {
                place: Place::Leaf(index as u64)
            },
            "{index}"
        );
    }
}

#[test]
fn a_deleted_leaf_is_missing_also_when_every_later_file_is_made_to_fit() {
    let disk = log_of(600);
    let mut all = entries(&disk, 600);
    all.remove(100);
    all.push(draft(1).numbered(599).unwrap().to_bytes());
    rewrite(&disk, &all, true);
    assert_eq!(
        verdict(&disk, None),
        Verdict::Missing {
            place: Place::Leaf(100)
        }
    );
}

#[test]
fn swapped_or_duplicated_leaves_are_called_altered() {
    for with_tiles in [false, true] {
        for (left, right) in [(0, 1), (3, 200), (10, 290), (298, 299)] {
            let disk = log_of(300);
            let mut all = entries(&disk, 300);
            all.swap(left, right);
            rewrite(&disk, &all, with_tiles);
            let expected = Verdict::Altered {
                place: Place::Leaf(left as u64),
            };
            assert_eq!(verdict(&disk, None), expected, "{left} {right} {with_tiles}");
            let disk = log_of(300);
            let mut all = entries(&disk, 300);
            all[right] = all[left].clone();
            rewrite(&disk, &all, with_tiles);
            let expected = Verdict::Altered {
                place: Place::Leaf(right as u64),
            };
            assert_eq!(verdict(&disk, None), expected, "{left} over {right} {with_tiles}");
        }
    }
}

#[test]
fn an_inserted_leaf_is_called_altered() {
    let disk = log_of(5);
    let mut bundle = disk.file("tile/entries/000.p/5");
    assert!(push_entry(&mut bundle, &draft(5).numbered(5).unwrap().to_bytes()));
    disk.put("tile/entries/000.p/5", bundle);
    assert_eq!(verdict(&disk, None).class(), "altered");
    let disk = log_of(5);
    let mut all = entries(&disk, 5);
    all.insert(2, all[2].clone());
    let mut bundle = Vec::new();
    all.iter()
        .for_each(|entry| assert!(push_entry(&mut bundle, entry)));
    disk.put("tile/entries/000.p/5", bundle);
    assert_eq!(verdict(&disk, None).class(), "altered");
}

#[test]
fn the_last_leaves_dropped_are_called_truncated() {
    for (size, dropped) in [(5, 1), (5, 4), (300, 1), (300, 43), (256, 1), (600, 88)] {
        // From the newest bundle alone.
        let disk = log_of(size);
        let keep = usize::try_from(size - dropped).unwrap();
        let all = entries(&disk, size);
        let last = names(size)
            .filter(|name| name.kind == Kind::Entries)
            .last()
            .unwrap();
        let first = usize::try_from(last.index * TILE_WIDTH).unwrap();
        let mut bundle = Vec::new();
        all[first..keep]
            .iter()
            .for_each(|entry| assert!(push_entry(&mut bundle, entry)));
        disk.put(&last.to_string(), bundle.clone());
        let expected = Verdict::Truncated {
            found: size - dropped,
            signed: size,
        };
        if size % TILE_WIDTH != 0 {
            assert_eq!(verdict(&disk, None), expected, "{size}-{dropped}");
        } else {
            let place = Place::Leaf(size - dropped);
            assert_eq!(
                verdict(&disk, None),
                Verdict::Missing { place },
                "{size}-{dropped}: a full bundle is short"
            );
        }
        // From bundle and tile alike.
        let tile = TileName {
            kind: Kind::Hashes(0),
            ..last
        };
        let hashes = split_hashes(&disk.file(&tile.to_string()), tile.width).unwrap();
        disk.put(&tile.to_string(), join_hashes(&hashes[..keep - first]));
        let class = verdict(&disk, None).class();
        assert_eq!(
            class,
            if size % TILE_WIDTH == 0 {
                "missing"
            } else {
                "truncated"
            },
            "{size}-{dropped}"
        );
    }
}

#[test]
fn whole_bundles_dropped_at_the_end_are_called_truncated() {
    let disk = log_of(900);
    for name in names(900).filter(|name| name.index >= 2 && name.kind <= Kind::Hashes(0)) {
        disk.delete(&name.to_string());
    }
    assert_eq!(
        verdict(&disk, None),
        Verdict::Truncated {
            found: 512,
            signed: 900
        }
    );
    // With a later one still there, what is gone is a hole.
    let disk = log_of(900);
    disk.delete("tile/entries/001");
    disk.delete("tile/0/001");
    let place = Place::File("tile/entries/001".to_owned());
    assert_eq!(verdict(&disk, None), Verdict::Missing { place });
}

#[test]
fn an_older_log_is_called_truncated_when_the_newer_checkpoint_was_kept() {
    for (old_size, new_size) in [(5, 6), (0, 1), (250, 300), (256, 257), (300, 900)] {
        let disk = log_of(old_size);
        let old = disk.snapshot();
        let (mut writer, _) = disk.open().unwrap();
        grow(&mut writer, new_size);
        let kept = disk.file("checkpoint");
        assert!(verify(&old, &vkey(), None).is_ok());
        let expected = Verdict::Truncated {
            found: old_size,
            signed: new_size,
        };
        assert_eq!(verdict(&old, Some(&kept)), expected);
        // The other way round all is well.
        let report = verify(&disk, &vkey(), Some(&old.file("checkpoint"))).unwrap();
        assert_eq!(report.since_size, Some(old_size));
    }
}

#[test]
fn two_branches_are_called_forked() {
    for (common, ours, theirs) in [(3, 4, 4), (3, 10, 4), (250, 300, 260), (0, 3, 2), (300, 900, 600)] {
        let disk = log_of(common);
        let other = disk.snapshot();
        let (mut writer, _) = disk.open().unwrap();
        grow(&mut writer, ours);
        let (mut writer, _) = other.open().unwrap();
        writer.append(drafts(10_000..10_001)).unwrap();
        grow(&mut writer, theirs);
        let verdict = verdict(&disk, Some(&other.file("checkpoint")));
        assert_eq!(verdict.class(), "forked", "{common} {ours} {theirs}: {verdict}");
    }
}

#[test]
fn a_wrong_key_always_fails() {
    for (name, seed) in [
        (support::ORIGIN, 8),
        ("appliance.example/JG-0002/audit/1", 7),
        ("x", 9),
    ] {
        let other = Signer::new(name, LogKey::from_seed(&[seed; 32]).unwrap()).unwrap();
        for size in [0, 1, 300] {
            let failure = verify(&log_of(size), other.vkey(), None).unwrap_err();
            assert_eq!(failure.code(), "audit.bad-signature", "{name}");
        }
    }
}

#[test]
fn an_earlier_checkpoint_that_is_not_the_keys_is_refused() {
    let disk = log_of(5);
    let other = Signer::new(support::ORIGIN, LogKey::from_seed(&[8; 32]).unwrap()).unwrap();
    let forged = verify(&disk, &vkey(), None).unwrap().checkpoint.sign(&other);
    assert!(matches!(
        verdict(&disk, Some(&forged)),
        Verdict::BadSignature {
            place: Place::Since,
            ..
        }
    ));
    assert!(matches!(
        verdict(&disk, Some(b"5\n")),
        Verdict::Malformed {
            place: Place::Since,
            ..
        }
    ));
}

#[test]
fn a_copy_taken_while_the_log_grew_is_intact() {
    let disk = log_of(250);
    let old = disk.file("checkpoint");
    let (mut writer, _) = disk.open().unwrap();
    grow(&mut writer, 700);
    disk.put("checkpoint", old);
    // The partial tiles of 250 are gone, the full ones have taken their place.
    assert!(!disk.files().contains_key("tile/0/000.p/250"));
    assert_eq!(verify(&disk, &vkey(), None).unwrap().checkpoint.size, 250);
    assert_eq!(prove(&disk, &vkey(), 249).unwrap().proof.index, 249);
}

#[test]
fn a_file_that_cannot_be_read_gives_no_verdict() {
    struct Broken(Disk, String);
    impl ReadStorage for Broken {
        fn read(&self, path: &str, bytes_max: usize) -> std::io::Result<Option<Vec<u8>>> {
            if path == self.1 {
                Err(std::io::Error::other("broken"))
            } else {
                self.0.read(path, bytes_max)
            }
        }
    }
    let disk = log_of(300);
    for path in disk.files().into_keys() {
        let broken = Broken(disk.clone(), path.clone());
        let failure = verify(&broken, &vkey(), None).unwrap_err();
        assert_eq!(failure.code(), "audit.unreadable", "{path}");
        assert_eq!(failure.facts(), [("place", path)]);
    }
}

#[test]
fn a_file_far_too_long_is_not_read_whole() {
    struct Counting(Disk, std::cell::Cell<usize>);
    impl ReadStorage for Counting {
        fn read(&self, path: &str, bytes_max: usize) -> std::io::Result<Option<Vec<u8>>> {
            self.1.set(self.1.get().max(bytes_max));
            self.0.read(path, bytes_max)
        }
    }
    let disk = log_of(5);
    for path in disk.files().into_keys() {
        let good = disk.file(&path);
        disk.put(&path, [good.clone(), vec![0; 20 << 20]].concat());
        let counting = Counting(disk.clone(), std::cell::Cell::new(0));
        assert!(verify(&counting, &vkey(), None).is_err(), "{path}");
        assert!(counting.1.get() < 17 << 20, "{path}");
        disk.put(&path, good);
    }
}

#[test]
fn proofs_hold_for_every_leaf_and_for_no_other() {
    for size in [1, 2, 3, 5, 256, 257, 300] {
        let disk = log_of(size);
        for index in (0..size).step_by(if size > 10 { 37 } else { 1 }) {
            let evidence = prove(&disk, &vkey(), index).unwrap();
            assert_eq!(evidence.leaf, draft(index).numbered(index).unwrap().to_bytes());
            assert_eq!(evidence.proof.verify(&evidence.leaf, &vkey()).unwrap().size, size);
            let mut leaf = evidence.leaf.clone();
            leaf[20] ^= 1;
            let refusal = evidence.proof.verify(&leaf, &vkey()).unwrap_err();
            assert_eq!(refusal.code(), "audit.proof.not-included");
            let mut other = evidence.proof.clone();
            other.index += 1;
            assert_eq!(
                other.verify(&evidence.leaf, &vkey()).unwrap_err().code(),
                "audit.proof.not-included"
            );
            let mut other = evidence.proof.clone();
            other.checkpoint = other
                .checkpoint
                .replace(&format!("\n{size}\n"), &format!("\n{}\n", size + 1));
            assert_eq!(
                other.verify(&evidence.leaf, &vkey()).unwrap_err().code(),
                "audit.proof.bad-signature"
            );
        }
        assert_eq!(
            prove(&disk, &vkey(), size).unwrap_err().code(),
            "audit.proof.no-such-leaf"
        );
    }
    let disk = log_of(300);
    let mut tile = disk.file("tile/0/000");
    tile[0] ^= 1;
    disk.put("tile/0/000", tile);
    assert_eq!(prove(&disk, &vkey(), 7).unwrap_err().code(), "audit.altered");
}
