//! Fault tables: each step of the writer × {failed, failed but happened, crashed after, crashed before}.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use jingui_audit::leaf::Leaf;
use jingui_audit::proof::prove;
use jingui_audit::tile::{Kind, StoredTree, TILE_WIDTH, TileName, join_hashes, push_entry};
use jingui_audit::tree::{leaf_hash, node_hash, root_at, root_of};
use jingui_audit::writer::AppendFailure;
use jingui_audit::{Checkpoint, verify};
use jingui_trust::Sha256;
use proptest::prelude::*;

use support::{Disk, FAULTS, Fault, draft, drafts, grow, log_of, signer, vkey};

fn signed_size(disk: &Disk) -> u64 {
    Checkpoint::open(&disk.file("checkpoint"), &vkey()).unwrap().size
}

/// Leaves on disk, whether signed or not.
fn size_on_disk(disk: &Disk) -> u64 {
    let bundles = disk.files().into_keys().filter_map(|path| TileName::parse(&path));
    let bundles = bundles.filter(|name| name.kind == Kind::Entries);
    bundles
        .map(|name| name.index * TILE_WIDTH + u64::from(name.width))
        .max()
        .unwrap_or_default()
}

#[test]
fn steps_of_an_append_come_in_the_promised_order() {
    let disk = log_of(254);
    let (mut writer, _) = disk.open().unwrap();
    disk.take_trace();
    writer.append(drafts(254..258)).unwrap();
    assert_eq!(
        disk.take_trace(),
        [
            "tile/entries/000",
            "tile/entries/001.p/2",
            "tile/0/000",
            "tile/0/001.p/2",
            "tile/1/000.p/1",
            "guard",
            "checkpoint",
            "remove tile/entries/000.p",
            "remove tile/0/000.p",
        ]
    );
}

/// What must hold after one step of appending 2 records to a log of 3 went wrong.
struct Row {
    step: &'static str,
    fault: Fault,
    is_acknowledged: bool,
    signed_on_disk: u64,
    size_after_restart: u64,
}

const fn row(
    step: &'static str,
    fault: Fault,
    is_acknowledged: bool,
    signed_on_disk: u64,
    size_after_restart: u64,
) -> Row {
    Row {
        step,
        fault,
        is_acknowledged,
        signed_on_disk,
        size_after_restart,
    }
}

use Fault::{CrashedAfter, CrashedBefore, Failed, FailedButHappened};

/// Acknowledged? Signed on disk? Leaves after restart?
const TABLE: [Row; 16] = [
    row("tile/entries/000.p/5", Failed, false, 3, 3),
    row("tile/entries/000.p/5", FailedButHappened, false, 3, 5),
    row("tile/entries/000.p/5", CrashedAfter, false, 3, 5),
    row("tile/entries/000.p/5", CrashedBefore, false, 3, 3),
    row("tile/0/000.p/5", Failed, false, 3, 5),
    row("tile/0/000.p/5", FailedButHappened, false, 3, 5),
    row("tile/0/000.p/5", CrashedAfter, false, 3, 5),
    row("tile/0/000.p/5", CrashedBefore, false, 3, 5),
    row("guard", Failed, false, 3, 5),
    row("guard", FailedButHappened, false, 3, 5),
    row("guard", CrashedAfter, false, 3, 5),
    row("guard", CrashedBefore, false, 3, 5),
    row("checkpoint", Failed, false, 3, 5),
    row("checkpoint", FailedButHappened, false, 5, 5),
    row("checkpoint", CrashedAfter, false, 5, 5),
    row("checkpoint", CrashedBefore, false, 3, 5),
];

#[test]
fn the_fault_table_of_an_append_holds() {
    for (position, row) in TABLE.iter().enumerate() {
        let name = format!("{} {:?}", row.step, row.fault);
        let disk = log_of(3);
        let (mut writer, _) = disk.open().unwrap();
        disk.take_trace();
        disk.arm(position / FAULTS.len(), row.fault);
        assert_eq!(writer.append(drafts(3..5)).is_ok(), row.is_acknowledged, "{name}");
        assert!(!writer.is_writable(), "{name}");
        assert_eq!(signed_size(&disk), row.signed_on_disk, "{name}");
        disk.restart();
        let (writer, opened) = disk.open().unwrap();
        assert_eq!(writer.size(), row.size_after_restart, "{name}");
        assert_eq!(opened.checkpoint_size, row.signed_on_disk, "{name}");
        assert_eq!(
            opened.recovered_count,
            row.size_after_restart - row.signed_on_disk,
            "{name}"
        );
        assert_eq!(
            verify(&disk, &vkey(), None).unwrap().checkpoint.size,
            row.size_after_restart,
            "{name}"
        );
    }
}

/// Appends `count` to a log of `start` with every step going wrong in every way.
fn sweep(before: &Disk, start: u64, count: u64) {
    let old = before.file("checkpoint");
    let steps = {
        let disk = before.snapshot();
        let (mut writer, _) = disk.open().unwrap();
        let from = disk.step_count();
        writer.append(drafts(start..start + count)).unwrap();
        disk.step_count() - from
    };
    for step in 0..steps {
        for fault in FAULTS {
            let name = format!("{start}+{count}, step {step}, {fault:?}");
            let disk = before.snapshot();
            let (mut writer, _) = disk.open().unwrap();
            disk.arm(step, fault);
            let result = writer.append(drafts(start..start + count));
            disk.restart();
            if result.is_err() {
                assert!(
                    matches!(
                        writer.append(drafts(start..start + 1)),
                        Err(AppendFailure::Stopped)
                    ),
                    "{name}"
                );
            }
            // A copy taken now is intact, and continues what was there.
            verify(&disk, &vkey(), Some(&old)).unwrap_or_else(|failure| panic!("{name}: {failure}"));
            let on_disk = size_on_disk(&disk);
            let (mut writer, _) = disk.open().unwrap_or_else(|failure| panic!("{name}: {failure}"));
            assert_eq!(writer.size(), on_disk, "{name}: entries found are never dropped");
            assert!(
                result.is_err() || writer.size() == start + count,
                "{name}: acknowledged and lost"
            );
            assert!((start..=start + count).contains(&writer.size()), "{name}");
            let size = writer.size();
            writer.append(vec![draft(size)]).unwrap();
            let report =
                verify(&disk, &vkey(), Some(&old)).unwrap_or_else(|failure| panic!("{name}: {failure}"));
            assert_eq!(report.checkpoint.size, size + 1, "{name}");
        }
    }
}

#[test]
fn no_fault_at_any_step_loses_an_acknowledged_leaf_or_bricks_the_log() {
    for (start, count) in [
        (0, 1),
        (1, 1),
        (3, 5),
        (254, 1),
        (255, 1),
        (255, 2),
        (256, 1),
        (250, 20),
        (511, 3),
        (200, 256),
    ] {
        sweep(&log_of(start), start, count);
    }
}

#[test]
fn a_fault_while_starting_a_log_or_recovering_one_is_survived() {
    for step in 0..2 {
        for fault in FAULTS {
            let disk = Disk::default();
            disk.arm(step, fault);
            assert!(disk.open().is_err(), "{step} {fault:?}");
            disk.restart();
            let (_, opened) = disk.open().unwrap();
            assert!(opened.is_new, "{step} {fault:?}");
        }
    }
    for (start, count) in [(3, 2), (254, 4)] {
        let crashed = log_of(start);
        let (mut writer, _) = crashed.open().unwrap();
        crashed.arm(if start == 3 { 0 } else { 1 }, CrashedAfter);
        writer.append(drafts(start..start + count)).unwrap_err();
        crashed.restart();
        let steps = {
            let disk = crashed.snapshot();
            disk.open().unwrap();
            disk.step_count()
        };
        assert!(steps >= 4);
        for step in 0..steps {
            for fault in FAULTS {
                let disk = crashed.snapshot();
                disk.arm(step, fault);
                let first = disk.open();
                disk.restart();
                let (writer, _) = disk
                    .open()
                    .unwrap_or_else(|failure| panic!("{step} {fault:?}: {failure}"));
                assert_eq!(writer.size(), start + count);
                assert!(first.is_err() || step + 4 >= steps, "{step} {fault:?}");
                verify(&disk, &vkey(), None).unwrap();
            }
        }
    }
}

/// A log of `size` leaves of which only the right edge is on disk: a writer needs no more. `size` is in the last
/// tile below 65536.
fn right_edge(size: u64) -> Disk {
    let disk = Disk::default();
    let below: Vec<Sha256> = (0..255u64).map(|index| leaf_hash(&index.to_be_bytes())).collect();
    let mut bundle = Vec::new();
    let mut hashes = Vec::new();
    for index in 255 * 256..size {
        let entry = draft(index).numbered(index).unwrap().to_bytes();
        hashes.push(leaf_hash(&entry));
        assert!(push_entry(&mut bundle, &entry));
    }
    let width = u16::try_from(hashes.len()).unwrap();
    disk.put(
        &TileName {
            kind: Kind::Entries,
            index: 255,
            width,
        }
        .to_string(),
        bundle,
    );
    disk.put(
        &TileName {
            kind: Kind::Hashes(0),
            index: 255,
            width,
        }
        .to_string(),
        join_hashes(&hashes),
    );
    disk.put("tile/1/000.p/255", join_hashes(&below));
    let root = root_at(&StoredTree::new(&disk, size), size).unwrap();
    let checkpoint = Checkpoint {
        origin: support::ORIGIN.to_owned(),
        size,
        root,
    };
    disk.put("checkpoint", checkpoint.sign(&signer()));
    disk.set_guard(Some(checkpoint.to_string().into_bytes()));
    disk
}

#[test]
fn no_fault_at_the_border_of_65536_loses_a_leaf() {
    let start = 65_530;
    let before = right_edge(start);
    let steps = {
        let disk = before.snapshot();
        let (mut writer, _) = disk.open().unwrap();
        let from = disk.step_count();
        writer.append(drafts(start..start + 10)).unwrap();
        assert!(disk.files().contains_key("tile/1/000"));
        assert!(disk.files().contains_key("tile/2/000.p/1"));
        assert!(!disk.files().contains_key("tile/1/000.p/255"));
        disk.step_count() - from
    };
    for step in 0..steps {
        for fault in FAULTS {
            let disk = before.snapshot();
            let (mut writer, _) = disk.open().unwrap();
            disk.arm(step, fault);
            let result = writer.append(drafts(start..start + 10));
            disk.restart();
            let (mut writer, _) = disk
                .open()
                .unwrap_or_else(|failure| panic!("{step} {fault:?}: {failure}"));
            assert!(result.is_err() || writer.size() == start + 10, "{step} {fault:?}");
            let missing = start + 10 - writer.size();
            writer
                .append(drafts(writer.size()..writer.size() + missing))
                .unwrap();
            assert_eq!(
                writer.checkpoint().root,
                root_at_the_border(&disk),
                "{step} {fault:?}"
            );
        }
    }
}

/// Root of 65540 leaves, from the tiles of level 1 and the two bundles at the border, in the plainest way.
fn root_at_the_border(disk: &Disk) -> Sha256 {
    let hash_of = |index: u64| leaf_hash(&draft(index).numbered(index).unwrap().to_bytes());
    let mut level_1: Vec<Sha256> = (0..255u64).map(|index| leaf_hash(&index.to_be_bytes())).collect();
    level_1.push(root_of(&(65_280..65_536).map(hash_of).collect::<Vec<_>>()));
    assert_eq!(disk.file("tile/1/000"), join_hashes(&level_1));
    assert_eq!(disk.file("tile/2/000.p/1"), join_hashes(&[root_of(&level_1)]));
    node_hash(
        &root_of(&level_1),
        &root_of(&(65_536..65_540).map(hash_of).collect::<Vec<_>>()),
    )
}

#[test]
fn an_older_log_put_back_is_refused() {
    let disk = log_of(300);
    let old = disk.snapshot();
    let (mut writer, _) = disk.open().unwrap();
    writer.append(drafts(300..310)).unwrap();
    old.set_guard(disk.guard());
    assert_eq!(old.open().err().unwrap().code(), "audit.rolled-back");
}

#[test]
fn a_log_that_does_not_lead_to_the_last_signed_root_is_refused() {
    let disk = log_of(300);
    let fork = disk.snapshot();
    let (mut writer, _) = disk.open().unwrap();
    writer.append(drafts(300..310)).unwrap();
    let (mut other, _) = fork.open().unwrap();
    other.append(drafts(400..420)).unwrap();
    fork.set_guard(disk.guard());
    assert_eq!(fork.open().err().unwrap().code(), "audit.forked");
    // The same when the guard names the fork's own size.
    let mut wrong = other.checkpoint().clone();
    wrong.root = leaf_hash(b"other");
    fork.set_guard(Some(wrong.to_string().into()));
    assert_eq!(fork.open().err().unwrap().code(), "audit.forked");
}

#[test]
fn a_checkpoint_put_back_alone_is_healed_from_the_entries() {
    let disk = log_of(300);
    let old = disk.file("checkpoint");
    let (mut writer, _) = disk.open().unwrap();
    grow(&mut writer, 900);
    let newest = disk.file("checkpoint");
    disk.put("checkpoint", old);
    let (writer, opened) = disk.open().unwrap();
    assert_eq!((writer.size(), opened.recovered_count), (900, 600));
    assert_eq!(disk.file("checkpoint"), newest);
}

#[test]
fn a_guard_between_checkpoint_and_end_of_the_entries_is_checked_on_the_way() {
    let disk = log_of(300);
    let old = disk.file("checkpoint");
    let (mut writer, _) = disk.open().unwrap();
    grow(&mut writer, 310);
    disk.arm(0, CrashedAfter);
    writer.append(drafts(310..520)).unwrap_err();
    disk.restart();
    disk.put("checkpoint", old);
    let forged = disk.snapshot();
    let (writer, opened) = disk.open().unwrap();
    assert_eq!((writer.size(), opened.recovered_count), (512, 212));
    verify(&disk, &vkey(), None).unwrap();
    let mut other = writer.checkpoint().clone();
    (other.size, other.root) = (310, leaf_hash(b"other"));
    forged.set_guard(Some(other.to_string().into()));
    assert_eq!(forged.open().err().unwrap().code(), "audit.forked");
}

#[test]
fn a_lost_damaged_or_foreign_guard_is_refused_and_an_older_true_one_is_not() {
    let disk = log_of(5);
    let old = disk.guard();
    let (mut writer, _) = disk.open().unwrap();
    grow(&mut writer, 600);
    disk.set_guard(old);
    let (writer, _) = disk.open().unwrap();
    assert_eq!(disk.guard(), Some(writer.checkpoint().to_string().into_bytes()));
    disk.set_guard(None);
    assert_eq!(disk.open().err().unwrap().code(), "audit.guard.missing");
    disk.set_guard(Some(b"5".to_vec()));
    assert_eq!(disk.open().err().unwrap().code(), "audit.guard.malformed");
    disk.set_guard(Some(
        writer
            .checkpoint()
            .to_string()
            .replace("JG-0001", "JG-0002")
            .into(),
    ));
    assert_eq!(disk.open().err().unwrap().code(), "audit.guard.malformed");
}

#[test]
fn a_deleted_checkpoint_or_log_is_not_taken_for_a_new_one() {
    let disk = log_of(5);
    let guard = disk.guard();
    disk.delete("checkpoint");
    assert_eq!(disk.open().err().unwrap().code(), "audit.missing");
    disk.set_guard(None);
    assert_eq!(disk.open().err().unwrap().code(), "audit.missing");
    let empty = Disk::default();
    empty.set_guard(guard);
    assert_eq!(empty.open().err().unwrap().code(), "audit.missing");
}

#[test]
fn damage_at_the_right_edge_is_refused_on_opening() {
    for path in ["tile/0/001.p/44", "tile/entries/001.p/44", "tile/1/000.p/1"] {
        let disk = log_of(300);
        let mut bytes = disk.file(path);
        bytes[10] ^= 1;
        disk.put(path, bytes);
        assert_eq!(disk.open().err().unwrap().code(), "audit.altered", "{path}");
        disk.delete(path);
        assert_eq!(disk.open().err().unwrap().code(), "audit.missing", "{path}");
    }
}

#[test]
fn what_is_no_leaf_beyond_the_checkpoint_is_refused() {
    let disk = log_of(3);
    let mut bundle = disk.file("tile/entries/000.p/3");
    assert!(push_entry(&mut bundle, b"{\"seq\":3}"));
    disk.put("tile/entries/000.p/4", bundle);
    assert_eq!(disk.open().err().unwrap().code(), "audit.malformed");
    disk.put("tile/entries/000.p/4", *b"\x00\x05ab");
    assert_eq!(disk.open().err().unwrap().code(), "audit.altered");
}

#[test]
fn a_second_writer_on_the_same_log_is_stopped() {
    let disk = log_of(3);
    let (mut first, _) = disk.open().unwrap();
    let (mut second, _) = disk.open().unwrap();
    first.append(vec![draft(3)]).unwrap();
    assert_eq!(
        second.append(vec![draft(4)]).err().unwrap().code(),
        "audit.guard.changed"
    );
    assert_eq!(
        second.append(vec![draft(4)]).err().unwrap().code(),
        "audit.writer.stopped"
    );
}

#[test]
fn a_full_disk_stops_the_writer_and_evidence_can_still_be_made() {
    let disk = log_of(300);
    let (mut writer, _) = disk.open().unwrap();
    disk.set_read_only(true);
    assert_eq!(
        writer.append(vec![draft(300)]).err().unwrap().code(),
        "audit.write.failed"
    );
    assert!(!writer.is_writable());
    assert_eq!(writer.size(), 300);
    assert_eq!(
        prove(writer.storage(), writer.vkey(), 299).unwrap().proof.index,
        299
    );
    assert!(verify(writer.storage(), writer.vkey(), None).is_ok());
}

#[test]
fn a_refused_record_or_batch_changes_nothing_and_stops_nothing() {
    let disk = log_of(3);
    let before = disk.files();
    let (mut writer, _) = disk.open().unwrap();
    let mut long = draft(3);
    long.why = "x".repeat(16 * 1024);
    assert_eq!(
        writer.append(vec![draft(3), long]).err().unwrap().code(),
        "audit.leaf.too-long"
    );
    let mut large = draft(3);
    large.mono_ms = 1 << 53;
    assert_eq!(
        writer.append(vec![large]).err().unwrap().code(),
        "audit.leaf.refused"
    );
    assert_eq!(
        writer.append(drafts(3..260)).err().unwrap().code(),
        "audit.batch.too-long"
    );
    assert_eq!(writer.append(Vec::new()).unwrap().checkpoint.size, 3);
    assert_eq!(disk.files(), before);
    assert_eq!(writer.append(drafts(3..259)).unwrap().checkpoint.size, 259);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any run of appends, faults and restarts: what was acknowledged stays, at its index, with its content.
    #[test]
    fn any_history_of_faults_keeps_every_acknowledged_leaf(
        steps in proptest::collection::vec((1u64..=256, 0usize..14, 0usize..8), 1..14)
    ) {
        let disk = Disk::default();
        let mut number = 0;
        let mut acknowledged: Vec<(u64, u64)> = Vec::new();
        let mut opened = Some(disk.open().unwrap().0);
        for (count, step, fault) in steps {
            let mut writer = match opened.take() {
                Some(writer) => writer,
                None => disk.open().unwrap().0,
            };
            if let Some(fault) = FAULTS.get(fault) {
                disk.arm(step, *fault);
            }
            let numbers = number..number + count;
            number += count;
            if let Ok(appended) = writer.append(drafts(numbers.clone())) {
                acknowledged.extend((appended.first_index..).zip(numbers));
            }
            let can_go_on = writer.is_writable();
            disk.restart();
            opened = can_go_on.then_some(writer);
        }
        let (writer, _) = disk.open().unwrap();
        let report = verify(&disk, &vkey(), None).unwrap();
        prop_assert_eq!(report.checkpoint.size, writer.size());
        for (index, number) in acknowledged.into_iter().step_by(17) {
            let evidence = prove(&disk, &vkey(), index).unwrap();
            prop_assert_eq!(Leaf::parse_at(index, &evidence.leaf).unwrap().draft, draft(number));
        }
    }
}
