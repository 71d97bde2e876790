use super::*;
use crate::disk::FileDisk;
use crate::testing::{Fault, FaultyDisk, PowerCut};
use std::path::{Path, PathBuf};
use std::process::Command;

const VOLUME_BYTES: u64 = 40 << 20;
const OFFSET: u64 = 1 << 20;

fn contents(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| (index % 253) as u8).collect()
}

fn put(fat: &mut Fat<'_>, path: &str, bytes: &[u8]) -> Result<(), FatFault> {
    let mut at = 0;
    fat.write_file(path, bytes.len() as u64, &mut |piece| {
        piece.copy_from_slice(&bytes[at..at + piece.len()]);
        at += piece.len();
        Ok(())
    })
}

fn get(fat: &Fat<'_>, path: &str) -> Result<Vec<u8>, FatFault> {
    let mut bytes = Vec::new();
    fat.read_file(path, &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(bytes)
}

fn volume(disk: &dyn Disk) -> Fat<'_> {
    format(disk, OFFSET, VOLUME_BYTES, 0x1234_5678).unwrap();
    let mut fat = Fat::open(disk, OFFSET, VOLUME_BYTES).unwrap();
    fat.make_folder("EFI/Linux").unwrap();
    fat.make_folder("loader").unwrap();
    put(&mut fat, "EFI/Linux/jingui_1.efi", &contents(300_001)).unwrap();
    put(&mut fat, "loader/loader.conf", b"timeout 0\n").unwrap();
    fat
}

fn names(fat: &Fat<'_>, path: &str) -> Vec<String> {
    fat.list(path)
        .unwrap()
        .into_iter()
        .map(|entry| entry.name)
        .collect()
}

fn bare_file(folder: &Path) -> (PathBuf, FileDisk) {
    let path = folder.join("volume");
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    file.set_len(VOLUME_BYTES).unwrap();
    (path, FileDisk::new(file).unwrap())
}

fn tool(program: &str, words: &[&str], path: &Path) -> Vec<u8> {
    let output = Command::new(program).args(words).arg(path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program}: {text} {output:?}");
    output.stdout
}

#[test]
fn what_was_written_reads_back() {
    let disk = FaultyDisk::new(OFFSET + VOLUME_BYTES);
    let mut fat = volume(&disk);
    put(&mut fat, "empty", b"").unwrap();
    let fat = Fat::open(&disk, OFFSET, VOLUME_BYTES).unwrap();
    assert_eq!(get(&fat, "efi/linux/JINGUI_1.EFI").unwrap(), contents(300_001));
    assert_eq!(get(&fat, "loader/loader.conf").unwrap(), b"timeout 0\n");
    assert_eq!(get(&fat, "empty").unwrap(), b"");
    assert_eq!(names(&fat, ""), ["EFI", "loader", "empty"]);
    assert_eq!(names(&fat, "EFI/Linux"), ["jingui_1.efi"]);
}

#[test]
fn a_file_that_is_removed_gives_its_room_back() {
    let disk = FaultyDisk::new(OFFSET + VOLUME_BYTES);
    let mut fat = volume(&disk);
    let before = fat.free_bytes();
    put(&mut fat, "EFI/Linux/jingui_2+3.efi", &contents(70_000)).unwrap();
    assert!(fat.free_bytes() < before);
    assert!(matches!(
        put(&mut fat, "EFI/Linux/JINGUI_2+3.EFI", b"x"),
        Err(FatFault::Exists(_))
    ));
    fat.remove_file("EFI/Linux/jingui_2+3.efi").unwrap();
    let fat = Fat::open(&disk, OFFSET, VOLUME_BYTES).unwrap();
    assert_eq!(fat.free_bytes(), before);
    assert_eq!(names(&fat, "EFI/Linux"), ["jingui_1.efi"]);
    assert!(matches!(
        get(&fat, "EFI/Linux/jingui_2+3.efi"),
        Err(FatFault::Absent(_))
    ));
}

#[test]
fn a_folder_grows_when_it_is_full_and_a_full_volume_says_so() {
    let disk = FaultyDisk::new(OFFSET + VOLUME_BYTES);
    let mut fat = volume(&disk);
    for number in 0..60 {
        put(
            &mut fat,
            &format!("EFI/Linux/a-rather-long-name-{number}.efi"),
            b"x",
        )
        .unwrap();
    }
    let mut fat = Fat::open(&disk, OFFSET, VOLUME_BYTES).unwrap();
    assert_eq!(names(&fat, "EFI/Linux").len(), 61);
    assert_eq!(get(&fat, "EFI/Linux/a-rather-long-name-59.efi").unwrap(), b"x");
    let too_much = contents(usize::try_from(fat.free_bytes()).unwrap() + 1);
    assert!(matches!(put(&mut fat, "big", &too_much), Err(FatFault::Full)));
    put(&mut fat, "big", &too_much[..too_much.len() - 1]).unwrap();
    assert_eq!(fat.free_bytes(), 0);
}

#[test]
fn foreign_tools_read_what_we_wrote_and_find_nothing_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let (path, disk) = bare_file(folder.path());
    format(&disk, 0, VOLUME_BYTES, 7).unwrap();
    let mut fat = Fat::open(&disk, 0, VOLUME_BYTES).unwrap();
    fat.make_folder("EFI/Linux").unwrap();
    put(&mut fat, "EFI/Linux/jingui_1.2.3+3.efi", &contents(1_500_000)).unwrap();
    put(&mut fat, "EFI/Linux/jingui_1.2.4+3.efi", &contents(10)).unwrap();
    put(&mut fat, "EFI/Linux/gone.efi", &contents(5_000)).unwrap();
    fat.remove_file("EFI/Linux/gone.efi").unwrap();
    tool("fsck.vfat", &["-n"], &path);
    let copied = Command::new("mcopy")
        .arg("-i")
        .arg(&path)
        .args(["::EFI/Linux/jingui_1.2.3+3.efi", "-"])
        .output()
        .unwrap();
    assert!(copied.status.success(), "{copied:?}");
    assert_eq!(copied.stdout, contents(1_500_000));
}

#[test]
fn a_volume_of_a_foreign_tool_is_read_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let (path, disk) = bare_file(folder.path());
    tool("mkfs.vfat", &["-F", "32"], &path);
    let mut fat = Fat::open(&disk, 0, VOLUME_BYTES).unwrap();
    fat.make_folder("EFI/Linux").unwrap();
    put(&mut fat, "EFI/Linux/jingui_2+3.efi", &contents(99_999)).unwrap();
    tool("fsck.vfat", &["-n"], &path);
    let fat = Fat::open(&disk, 0, VOLUME_BYTES).unwrap();
    assert_eq!(get(&fat, "EFI/Linux/jingui_2+3.efi").unwrap(), contents(99_999));
}

#[test]
fn at_any_fault_a_new_file_is_whole_or_absent_and_the_others_are_as_they_were() {
    let plain = FaultyDisk::new(OFFSET + VOLUME_BYTES);
    drop(volume(&plain));
    let new = contents(5_000);
    let write = |disk: &FaultyDisk| -> Result<(), FatFault> {
        let mut fat = Fat::open(disk, OFFSET, VOLUME_BYTES)?;
        put(&mut fat, "EFI/Linux/jingui_2+3.efi", &new)
    };
    let trial = plain.copy();
    write(&trial).unwrap();
    let steps = trial.step_count();
    assert!(steps > 5, "{steps}");
    for step in 0..steps {
        for fault in [Fault::Fails, Fault::PowerCut, Fault::CrashAfter] {
            for kept in PowerCut::ALL {
                let disk = plain.copy();
                disk.break_at_step(step, fault);
                let acknowledged = write(&disk).is_ok();
                let after = disk.after_power_cut(kept);
                let fat = Fat::open(&after, OFFSET, VOLUME_BYTES).unwrap();
                let what = format!("step {step}, {fault:?}, {kept:?}");
                assert_eq!(
                    get(&fat, "EFI/Linux/jingui_1.efi").unwrap(),
                    contents(300_001),
                    "{what}"
                );
                assert_eq!(get(&fat, "loader/loader.conf").unwrap(), b"timeout 0\n", "{what}");
                match get(&fat, "EFI/Linux/jingui_2+3.efi") {
                    Ok(found) => assert_eq!(found, new, "{what}"),
                    Err(FatFault::Absent(_)) => assert!(!acknowledged, "{what}"),
                    Err(other) => panic!("{what}: {other}"),
                }
            }
        }
    }
}

#[test]
fn at_any_fault_a_file_that_is_removed_is_whole_or_absent() {
    let plain = FaultyDisk::new(OFFSET + VOLUME_BYTES);
    drop(volume(&plain));
    let remove = |disk: &FaultyDisk| -> Result<(), FatFault> {
        Fat::open(disk, OFFSET, VOLUME_BYTES)?.remove_file("EFI/Linux/jingui_1.efi")
    };
    let trial = plain.copy();
    remove(&trial).unwrap();
    for step in 0..trial.step_count() {
        for kept in PowerCut::ALL {
            let disk = plain.copy();
            disk.break_at_step(step, Fault::PowerCut);
            remove(&disk).unwrap_err();
            let after = disk.after_power_cut(kept);
            let fat = Fat::open(&after, OFFSET, VOLUME_BYTES).unwrap();
            match get(&fat, "EFI/Linux/jingui_1.efi") {
                Ok(found) => assert_eq!(found, contents(300_001), "step {step}, {kept:?}"),
                Err(FatFault::Absent(_)) => {}
                Err(other) => panic!("step {step}, {kept:?}: {other}"),
            }
        }
    }
}

#[test]
fn what_is_no_fat32_volume_is_called_foreign() {
    let disk = FaultyDisk::new(OFFSET + VOLUME_BYTES);
    assert!(matches!(
        Fat::open(&disk, OFFSET, VOLUME_BYTES),
        Err(FatFault::Foreign)
    ));
    drop(volume(&disk));
    assert!(matches!(
        Fat::open(&disk, OFFSET, VOLUME_BYTES - 512),
        Err(FatFault::Foreign)
    ));
    assert!(matches!(format(&disk, OFFSET, 30 << 20, 1), Err(FatFault::Full)));
}

proptest::proptest! {
    /// A volume is somebody else's bytes: whatever stands in it, reading ends, and ends without a panic.
    #[test]
    fn no_damage_makes_it_panic(damage in proptest::collection::vec((0_u64..600_000, proptest::num::u8::ANY), 1..200)) {
        let disk = FaultyDisk::new(OFFSET + VOLUME_BYTES);
        drop(volume(&disk));
        for (at, byte) in damage {
            disk.write_at(&[byte], OFFSET + at).unwrap();
        }
        if let Ok(mut fat) = Fat::open(&disk, OFFSET, VOLUME_BYTES) {
            let _ = fat.list("EFI/Linux");
            let _ = get(&fat, "EFI/Linux/jingui_1.efi");
            let _ = put(&mut fat, "EFI/Linux/new.efi", b"x");
            let _ = fat.remove_file("EFI/Linux/jingui_1.efi");
        }
    }

    #[test]
    fn a_name_is_read_back_as_it_was_written(name in "[A-Za-z0-9][A-Za-z0-9._+-]{0,40}[A-Za-z0-9]") {
        let slots = Slots::of(&name, &[]).unwrap();
        let found = if slots.long.is_empty() { name::of_short(&slots.short) } else { name::join(&slots.long, &slots.short).unwrap() };
        proptest::prop_assert_eq!(found, name);
    }
}
