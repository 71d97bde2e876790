//! The update of a running box: the ESP is a folder that the kernel has mounted.

use std::fs::{self, File};
use std::path::Path;

use jingui_pack::update::Architecture;

use super::*;
use crate::entries::MountedFolder;
use crate::gpt::Guid;
use crate::testing::bundle::{Bundle, SIZES, bundle};
use crate::testing::{Fault, FaultyDisk, PowerCut};

const DISK_BYTES: u64 = 64 << 20;
const ARCHITECTURE: Architecture = Architecture::X8664;

/// What happens to the folder of boot entries at its nth change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FolderFault {
    None,
    /// The change fails.
    Fails(usize),
    /// The change is done, and the program killed right after.
    CrashAfter(usize),
}

struct Folder {
    inner: MountedFolder,
    changes: usize,
    fault: FolderFault,
}

impl Folder {
    fn change(
        &mut self,
        act: impl FnOnce(&mut MountedFolder) -> Result<(), EspFault>,
    ) -> Result<(), EspFault> {
        let change = self.changes;
        self.changes += 1;
        let killed = || EspFault::Io(io::Error::other("killed"));
        match self.fault {
            FolderFault::Fails(at) if at == change => Err(killed()),
            FolderFault::CrashAfter(at) if at == change => act(&mut self.inner).and(Err(killed())),
            _ => act(&mut self.inner),
        }
    }
}

impl BootFolder for Folder {
    fn names(&self) -> Result<Vec<String>, EspFault> {
        self.inner.names()
    }

    fn remove(&mut self, name: &str) -> Result<(), EspFault> {
        self.change(|inner| inner.remove(name))
    }

    fn put(&mut self, name: &str, source: Source<'_>) -> Result<(), EspFault> {
        self.change(|inner| inner.put(name, source))
    }
}

/// A box that runs version 1 in slot A, with an old version 0 in slot B, and its mounted ESP.
struct Running {
    disk: FaultyDisk,
    esp: tempfile::TempDir,
    one: Bundle,
    two: Bundle,
}

fn running() -> Running {
    let (one, two) = (bundle("1"), bundle("2"));
    let disk = FaultyDisk::new(DISK_BYTES);
    let mut table = layout::fresh(DISK_BYTES, SIZES, ARCHITECTURE).unwrap().unwrap();
    let slots = layout::slots(&table, ARCHITECTURE);
    let fitting = one.open();
    let mut ignored = |_: Progress| ();
    let mut meter = Meter::new(fitting.manifest(), &mut ignored);
    write_pair(&disk, &table, &slots[0], &fitting, &mut meter).unwrap();
    layout::name(&mut table, &slots[0], fitting.manifest());
    table.at_mut(slots[1].root).unwrap().label = "jingui_0".to_owned();
    table.write(&disk).unwrap();
    let esp = tempfile::tempdir().unwrap();
    fs::write(esp.path().join("jingui_1.efi"), &one.uki).unwrap();
    fs::write(esp.path().join("jingui_0.efi"), b"an older one").unwrap();
    fs::write(esp.path().join("somebody-else.efi"), b"not ours").unwrap();
    Running {
        disk: disk.copy(),
        esp,
        one,
        two,
    }
}

impl Running {
    fn kept(&self) -> Kept {
        Kept::Running(self.one.open().manifest().roothash)
    }

    fn update(&self, disk: &FaultyDisk, esp: &Path, fault: FolderFault) -> Result<(), WriteFault> {
        let mut folder = Folder {
            inner: MountedFolder::new(File::open(esp).unwrap().into()),
            changes: 0,
            fault,
        };
        write_other_slot(disk, &mut folder, &self.two.open(), &self.kept(), &mut |_| ())
    }

    /// A fresh ESP like the box's own.
    fn copy_of_esp(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(self.esp.path()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        copy
    }

    /// By inspection: version 1 starts as before; version 2 is complete, or has no entry.
    fn judge(&self, disk: &FaultyDisk, esp: &Path, what: &str) -> bool {
        let table = Table::read(disk).unwrap();
        let mut ignored = |_: Progress| ();
        let mut is_whole = |bundle: &Bundle| {
            let fitting = bundle.open();
            let (root_id, verity_id) = Guid::of_roothash(&fitting.manifest().roothash);
            let mut meter = Meter::new(fitting.manifest(), &mut ignored);
            [(root_id, FileRole::Root), (verity_id, FileRole::Verity)]
                .into_iter()
                .all(|(id, role)| {
                    let place = table.iter().find(|(_, it)| it.id == id);
                    place.is_some_and(|(_, place)| {
                        compare(disk, place.offset(), source(&fitting, role).unwrap(), &mut meter).is_ok()
                    })
                })
        };
        assert!(is_whole(&self.one), "{what}: the old root");
        assert_eq!(
            fs::read(esp.join("jingui_1.efi")).unwrap(),
            self.one.uki,
            "{what}: the old entry"
        );
        assert_eq!(
            fs::read(esp.join("somebody-else.efi")).unwrap(),
            b"not ours",
            "{what}"
        );
        match fs::read(esp.join("jingui_2+3.efi")) {
            Ok(entry) => {
                assert_eq!(entry, self.two.uki, "{what}: the new entry");
                assert!(is_whole(&self.two), "{what}: an entry whose root is not whole");
                true
            }
            Err(_) => false,
        }
    }
}

#[test]
fn an_update_takes_the_slot_that_is_not_in_use() {
    let running = running();
    running
        .update(&running.disk, running.esp.path(), FolderFault::None)
        .unwrap();
    assert!(running.judge(&running.disk, running.esp.path(), "done"));
    assert!(
        !running.esp.path().join("jingui_0.efi").exists(),
        "what it would start is overwritten"
    );
    let table = Table::read(&running.disk).unwrap();
    let labels: Vec<&str> = table.iter().map(|(_, it)| it.label.as_str()).collect();
    assert_eq!(
        labels,
        [
            "jingui-esp",
            "jingui_1",
            "jingui_1_verity",
            "jingui_2",
            "jingui_2_verity"
        ]
    );
    // Once more, after the entry was counted down: the same slot again, with all its tries.
    fs::rename(
        running.esp.path().join("jingui_2+3.efi"),
        running.esp.path().join("jingui_2+0-3.efi"),
    )
    .unwrap();
    running
        .update(&running.disk, running.esp.path(), FolderFault::None)
        .unwrap();
    assert!(running.judge(&running.disk, running.esp.path(), "again"));
    assert!(!running.esp.path().join("jingui_2+0-3.efi").exists());
}

#[test]
fn at_any_fault_of_the_disk_the_old_system_is_untouched_and_the_new_one_whole_or_absent() {
    let running = running();
    let trial = running.disk.copy();
    running
        .update(&trial, running.copy_of_esp().path(), FolderFault::None)
        .unwrap();
    let steps = trial.step_count();
    for step in 0..steps {
        for fault in [Fault::Fails, Fault::PowerCut, Fault::CrashAfter] {
            for kept in PowerCut::ALL {
                let (disk, esp) = (running.disk.copy(), running.copy_of_esp());
                disk.break_at_step(step, fault);
                let acknowledged = running.update(&disk, esp.path(), FolderFault::None).is_ok();
                let after = disk.after_power_cut(kept);
                let what = format!("step {step} of {steps}, {fault:?}, {kept:?}");
                assert_eq!(running.judge(&after, esp.path(), &what), acknowledged, "{what}");
            }
        }
    }
}

#[test]
fn at_any_fault_of_the_esp_the_old_system_is_untouched_and_the_new_one_whole_or_absent() {
    let running = running();
    let mut seen = Vec::new();
    for change in 0..3 {
        for fault in [FolderFault::Fails(change), FolderFault::CrashAfter(change)] {
            let (disk, esp) = (running.disk.copy(), running.copy_of_esp());
            let acknowledged = running.update(&disk, esp.path(), fault).is_ok();
            let is_new = running.judge(&disk, esp.path(), &format!("{fault:?}"));
            assert!(is_new || !acknowledged, "{fault:?}");
            seen.push((acknowledged, is_new));
        }
    }
    let killed_after_the_last = (false, true);
    assert!(
        seen.contains(&killed_after_the_last) && seen.contains(&(false, false)),
        "{seen:?}"
    );
    assert_eq!(seen.last(), Some(&(true, true)), "there are two changes");
}

#[test]
fn what_is_left_of_a_cut_off_entry_is_started_by_nobody_and_goes_at_the_next_try() {
    let running = running();
    let rest = running.esp.path().join("jingui-entry.new");
    fs::write(&rest, b"half of it").unwrap();
    assert_eq!(BootEntry::parse("jingui-entry.new"), None);
    running
        .update(&running.disk, running.esp.path(), FolderFault::None)
        .unwrap();
    assert!(!rest.exists());
}

#[test]
fn without_the_entry_of_what_runs_nothing_is_touched() {
    let running = running();
    fs::remove_file(running.esp.path().join("jingui_1.efi")).unwrap();
    let fault = running
        .update(&running.disk, running.esp.path(), FolderFault::None)
        .unwrap_err();
    assert_eq!(
        (fault.code(), running.disk.write_count()),
        ("install.slot.none", 0)
    );
    assert!(running.esp.path().join("jingui_0.efi").exists());
}

#[test]
fn a_running_system_that_is_not_on_the_disk_stops_everything() {
    let running = running();
    let mut folder = MountedFolder::new(File::open(running.esp.path()).unwrap().into());
    let kept = Kept::Running(Sha256::of(b"elsewhere"));
    let fault = write_other_slot(
        &running.disk,
        &mut folder,
        &running.two.open(),
        &kept,
        &mut |_| (),
    )
    .unwrap_err();
    assert_eq!(
        (fault.code(), running.disk.write_count()),
        ("install.slot.none", 0)
    );
    let same = write_other_slot(
        &running.disk,
        &mut folder,
        &running.one.open(),
        &running.kept(),
        &mut |_| (),
    );
    assert_eq!(same.unwrap_err().code(), "install.version.present");
}

#[test]
fn a_source_that_changed_since_it_was_checked_never_gets_an_entry() {
    let running = running();
    let fitting = running.two.open();
    let path = running.two.folder.path().join("jingui_2.efi");
    let mut bytes = fs::read(&path).unwrap();
    bytes[0] ^= 1;
    // In place, as somebody who may write the stick would.
    let file = File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
    let mut folder = MountedFolder::new(File::open(running.esp.path()).unwrap().into());
    write_other_slot(&running.disk, &mut folder, &fitting, &running.kept(), &mut |_| ()).unwrap_err();
    assert!(!running.judge(&running.disk, running.esp.path(), "changed"));
    let names = folder.names().unwrap();
    assert!(
        !names.iter().any(|name| name.starts_with("jingui_2")),
        "{names:?}"
    );
}
