use super::*;
use crate::testing::{FaultyDisk, PowerCut};

const SECTORS: u64 = 32 * 1024;

fn partition(label: &str, first: u64, sectors: u64) -> Partition {
    Partition {
        kind: kind::LINUX,
        id: Guid::random().unwrap(),
        first,
        sectors,
        attributes: 1 << 60,
        label: label.to_owned(),
    }
}

fn table() -> Table {
    Table {
        id: Guid::random().unwrap(),
        partitions: vec![
            Some(partition("jingui-esp", 2048, 2048)),
            None,
            Some(partition("jingui_1.2", 8192, 100)),
        ],
    }
}

#[test]
fn a_table_reads_back_from_each_of_its_copies() {
    let disk = FaultyDisk::new(SECTORS * 512);
    let table = table();
    table.write(&disk).unwrap();
    assert_eq!(Table::read(&disk).unwrap(), table);
    disk.write_at(&[0; 512], 512).unwrap();
    assert_eq!(Table::read(&disk).unwrap(), table, "from the backup");
    disk.write_at(&[0; 512], (SECTORS - 1) * 512).unwrap();
    assert!(matches!(Table::read(&disk), Err(TableFault::Absent)));
}

#[test]
fn foreign_tools_read_our_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    file.set_len(SECTORS * 512).unwrap();
    let table = table();
    table.write(&crate::disk::FileDisk::new(file).unwrap()).unwrap();
    let output = std::process::Command::new("sfdisk")
        .arg("--json")
        .arg(&path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "a complaint: {output:?}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = &json["partitiontable"];
    assert_eq!(found["label"], "gpt");
    assert_eq!(found["id"].as_str().unwrap().to_lowercase(), table.id.to_string());
    let third = &found["partitions"][1];
    assert_eq!(third["name"], "jingui_1.2");
    assert_eq!(third["start"], 8192);
    assert_eq!(third["size"], 100);
    assert_eq!(
        third["type"].as_str().unwrap().to_lowercase(),
        kind::LINUX.to_string()
    );
    assert_eq!(
        third["uuid"].as_str().unwrap().to_lowercase(),
        table.partitions[2].as_ref().unwrap().id.to_string()
    );
}

#[test]
fn a_power_cut_at_any_write_leaves_the_old_table_or_the_new_one() {
    let (old, new) = (table(), table());
    let write_count = {
        let disk = FaultyDisk::new(SECTORS * 512);
        old.write(&disk).unwrap();
        let before = disk.write_count();
        new.write(&disk).unwrap();
        disk.write_count() - before
    };
    for at in 0..write_count {
        for kept in PowerCut::ALL {
            let disk = FaultyDisk::new(SECTORS * 512);
            old.write(&disk).unwrap();
            disk.cut_power_at_write(at);
            new.write(&disk).unwrap_err();
            let after = disk.after_power_cut(kept);
            let found = Table::read(&after).unwrap();
            assert!(found == old || found == new, "write {at}, {kept:?}");
        }
    }
}

#[test]
fn partitions_that_overlap_or_leave_the_disk_are_not_written() {
    let disk = FaultyDisk::new(SECTORS * 512);
    let one = |label: &str, first, sectors| Some(partition(label, first, sectors));
    for partitions in [
        vec![one("a", 2048, 10), one("b", 2057, 10)],
        vec![one("a", 2047, 10)],
        vec![one("a", SECTORS - 34, 2)],
        vec![one("a", 2048, 0)],
        vec![one("a", u64::MAX, 2)],
        vec![one(&"x".repeat(LABEL_UNITS_MAX + 1), 2048, 8)],
        vec![None; ENTRY_COUNT + 1],
    ] {
        let table = Table {
            partitions,
            ..table()
        };
        assert!(matches!(table.write(&disk), Err(TableFault::Misfit)));
    }
    assert_eq!(disk.write_count(), 0);
    let fits = vec![one("a", 2048, 10), one("b", 2058, 10), one("c", SECTORS - 35, 2)];
    let table = Table {
        partitions: fits,
        ..table()
    };
    table.write(&disk).unwrap();
}

#[test]
fn the_published_check_value_of_crc_32_holds() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

proptest::proptest! {
    #[test]
    fn no_bytes_on_a_disk_make_it_panic(seed: [u8; 32], at in 512_usize..20_000, byte: u8) {
        let disk = FaultyDisk::new(SECTORS * 512);
        table().write(&disk).unwrap();
        disk.write_at(&seed, at as u64).unwrap();
        disk.write_at(&[byte], 512 + u64::from(byte) % 92).unwrap();
        let _ = Table::read(&disk);
    }

    /// Entries whose sums are right and whose fields are anything.
    #[test]
    fn no_entry_makes_it_panic(entry in proptest::collection::vec(proptest::num::u8::ANY, ENTRY_BYTES)) {
        let _ = parse_entry(&Fields(&entry), SECTORS);
    }
}
