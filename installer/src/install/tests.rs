use super::*;
use crate::entries::BootEntry;
use crate::testing::bundle::{Bundle, SIZES, bundle};
use crate::testing::{Fault, FaultyDisk, PowerCut};

const DISK_BYTES: u64 = 64 << 20;
const ARCHITECTURE: Architecture = Architecture::X8664;

fn job(fitting: &Fitting) -> Job<'_> {
    Job {
        bundle: fitting,
        sizes: SIZES,
        network: Some("[[interface]]\n".to_owned()),
    }
}

fn install_fresh(disk: &FaultyDisk, bundle: &Bundle) -> Result<(), WriteFault> {
    fresh(disk, &job(&bundle.open()), &mut |_| ())
}

fn install_beside(disk: &FaultyDisk, bundle: &Bundle, data: Data) -> Result<(), WriteFault> {
    beside(disk, &job(&bundle.open()), data, &mut |_| ())
}

/// What the firmware and the boot loader would do with the disk: the version that starts, whose entry, root and names
/// are whole; `None` when nothing starts.
fn starts(disk: &FaultyDisk, bundles: &[&Bundle]) -> Option<ImageVersion> {
    let table = Table::read(disk).ok()?;
    let esp = layout::esp(&table)?;
    let volume = Fat::open(disk, esp.offset(), esp.bytes()).ok()?;
    volume
        .read_file("EFI/BOOT/BOOTX64.EFI", &mut |piece| {
            assert_eq!(piece, b"the loader");
            Ok(())
        })
        .ok()?;
    let names: Vec<String> = volume
        .list(ENTRIES_FOLDER)
        .ok()?
        .into_iter()
        .map(|it| it.name)
        .collect();
    let chosen = BootEntry::chosen(names.iter().map(String::as_str))?;
    let bundle = bundles
        .iter()
        .find(|bundle| bundle.open().manifest().image_version == chosen.version)
        .unwrap();
    let proved = prove(disk, &bundle.open(), &mut |_| ());
    assert!(
        proved.is_ok(),
        "{} starts and is not whole: {proved:?}",
        chosen.version
    );
    Some(chosen.version)
}

fn version(text: &str) -> ImageVersion {
    ImageVersion::parse(text).unwrap()
}

/// Bytes of the slot that is named for that version, the whole of both partitions.
fn slot_bytes(disk: &FaultyDisk, of: &str) -> Vec<u8> {
    let table = Table::read(disk).unwrap();
    let slot = layout::slots(&table, ARCHITECTURE)
        .into_iter()
        .find(|slot| slot.version == Some(version(of)))
        .unwrap();
    let mut bytes = Vec::new();
    for index in [slot.root, slot.verity] {
        let partition = table.at(index).unwrap();
        let mut part = vec![0; usize::try_from(partition.bytes()).unwrap()];
        disk.read_at(&mut part, partition.offset()).unwrap();
        bytes.extend(part);
    }
    bytes
}

fn with_state(disk: &FaultyDisk) {
    let mut table = Table::read(disk).unwrap();
    let last = table.at(4).unwrap();
    for (label, first) in [
        (layout::STATE_LABEL, last.first + last.sectors),
        (layout::MODELS_LABEL, last.first + last.sectors + 2048),
    ] {
        table.partitions.push(Some(crate::gpt::Partition {
            kind: crate::gpt::kind::LINUX,
            id: Guid::random().unwrap(),
            first: first.next_multiple_of(2048),
            sectors: 2048,
            attributes: 0,
            label: label.to_owned(),
        }));
        let at = first.next_multiple_of(2048) * 512;
        disk.write_at(b"LUKS and what it keeps", at).unwrap();
    }
    table.write(disk).unwrap();
}

fn state_at(disk: &FaultyDisk) -> Option<Vec<u8>> {
    let table = Table::read(disk).unwrap();
    let (_, state) = table.iter().find(|(_, it)| it.label == layout::STATE_LABEL)?;
    let mut bytes = vec![0; 22];
    disk.read_at(&mut bytes, state.offset()).unwrap();
    Some(bytes)
}

#[test]
fn a_new_disk_starts_what_was_installed() {
    let one = bundle("1");
    let disk = FaultyDisk::new(DISK_BYTES);
    install_fresh(&disk, &one).unwrap();
    assert_eq!(starts(&disk, &[&one]), Some(version("1")));
    let table = Table::read(&disk).unwrap();
    let labels: Vec<&str> = table.iter().map(|(_, it)| it.label.as_str()).collect();
    assert_eq!(
        labels,
        ["jingui-esp", "jingui_1", "jingui_1_verity", "_empty", "_empty"]
    );
    let esp = layout::esp(&table).unwrap();
    let volume = Fat::open(&disk, esp.offset(), esp.bytes()).unwrap();
    let mut network = Vec::new();
    volume
        .read_file("jingui/network.toml", &mut |piece| {
            network.extend_from_slice(piece);
            Ok(())
        })
        .unwrap();
    assert_eq!(network, b"[[interface]]\n");
    assert!(volume.exists("EFI/systemd/systemd-bootx64.efi").unwrap());
    assert!(
        volume.exists("EFI/Linux/jingui_1.efi").unwrap(),
        "without a counter: there is nothing to go back to"
    );
}

#[test]
fn at_any_fault_a_new_disk_is_unfinished_and_starts_nothing_or_is_whole() {
    let one = bundle("1");
    let trial = FaultyDisk::new(DISK_BYTES);
    install_fresh(&trial, &one).unwrap();
    let steps = trial.step_count();
    let mut whole_count = 0;
    for step in 0..steps {
        for fault in [Fault::Fails, Fault::PowerCut, Fault::CrashAfter] {
            for kept in PowerCut::ALL {
                let disk = FaultyDisk::new(DISK_BYTES);
                disk.break_at_step(step, fault);
                let acknowledged = install_fresh(&disk, &one).is_ok();
                let after = disk.after_power_cut(kept);
                let what = format!("step {step} of {steps}, {fault:?}, {kept:?}");
                match starts(&after, &[&one]) {
                    Some(_) => whole_count += 1,
                    None => {
                        assert!(!acknowledged, "{what}");
                        match Table::read(&after) {
                            Ok(table) => assert!(layout::is_unfinished(&table), "{what}: {table:?}"),
                            // Before the first table was whole the disk was untouched.
                            Err(_) => assert!(step < 5, "{what}"),
                        }
                    }
                }
            }
        }
    }
    assert!(whole_count > 0, "the last steps leave a whole disk");
}

#[test]
fn an_unfinished_disk_is_simply_installed_again() {
    let one = bundle("1");
    let disk = FaultyDisk::new(DISK_BYTES);
    disk.break_at_step(12, Fault::PowerCut);
    install_fresh(&disk, &one).unwrap_err();
    let after = disk.after_power_cut(PowerCut::Everything);
    assert_eq!(starts(&after, &[&one]), None);
    install_fresh(&after, &one).unwrap();
    assert_eq!(starts(&after, &[&one]), Some(version("1")));
}

#[test]
fn an_older_system_stays_beside_the_new_one_with_its_data() {
    let (one, two) = (bundle("1"), bundle("2"));
    let disk = FaultyDisk::new(DISK_BYTES);
    install_fresh(&disk, &one).unwrap();
    with_state(&disk);
    let before = slot_bytes(&disk, "1");
    install_beside(&disk, &two, Data::Keep).unwrap();
    assert_eq!(starts(&disk, &[&one, &two]), Some(version("2")));
    assert_eq!(slot_bytes(&disk, "1"), before);
    assert_eq!(state_at(&disk).unwrap(), b"LUKS and what it keeps");
    let table = Table::read(&disk).unwrap();
    let esp = layout::esp(&table).unwrap();
    let volume = Fat::open(&disk, esp.offset(), esp.bytes()).unwrap();
    let names: Vec<String> = volume
        .list(ENTRIES_FOLDER)
        .unwrap()
        .into_iter()
        .map(|it| it.name)
        .collect();
    assert_eq!(names, ["jingui_1.efi", "jingui_2+3.efi"]);
}

#[test]
fn what_was_to_be_erased_is_erased() {
    let (one, two) = (bundle("1"), bundle("2"));
    let disk = FaultyDisk::new(DISK_BYTES);
    install_fresh(&disk, &one).unwrap();
    with_state(&disk);
    let table = Table::read(&disk).unwrap();
    let (_, state) = table
        .iter()
        .find(|(_, it)| it.label == layout::STATE_LABEL)
        .unwrap();
    let place = state.offset();
    install_beside(&disk, &two, Data::Erase).unwrap();
    assert_eq!(starts(&disk, &[&one, &two]), Some(version("2")));
    assert_eq!(state_at(&disk), None);
    let mut keys = [7; 22];
    disk.read_at(&mut keys, place).unwrap();
    assert_eq!(keys, [0; 22], "the keys are overwritten");
    assert!(
        Table::read(&disk)
            .unwrap()
            .iter()
            .all(|(_, it)| it.label != layout::MODELS_LABEL)
    );
}

#[test]
fn the_same_version_is_not_installed_twice_and_a_third_takes_the_oldest_slot() {
    let (one, two, three) = (bundle("1"), bundle("2"), bundle("3"));
    let disk = FaultyDisk::new(DISK_BYTES);
    install_fresh(&disk, &one).unwrap();
    let present = install_beside(&disk, &one, Data::Keep).unwrap_err();
    assert_eq!(present.code(), "install.version.present");
    install_beside(&disk, &two, Data::Keep).unwrap();
    let kept = slot_bytes(&disk, "2");
    install_beside(&disk, &three, Data::Keep).unwrap();
    assert_eq!(starts(&disk, &[&one, &two, &three]), Some(version("3")));
    assert_eq!(slot_bytes(&disk, "2"), kept);
}

/// The promise of an installation beside an older system, and of an update: at each write that fails, is the last before
/// a crash, or is cut by the power, the old system starts from the same bytes, or the new one is whole.
#[test]
fn at_any_fault_the_old_system_starts_unchanged_or_the_new_one_whole() {
    let (one, two) = (bundle("1"), bundle("2"));
    let plain = FaultyDisk::new(DISK_BYTES);
    install_fresh(&plain, &one).unwrap();
    with_state(&plain);
    let before = slot_bytes(&plain, "1");
    let trial = plain.copy();
    install_beside(&trial, &two, Data::Keep).unwrap();
    let steps = trial.step_count();
    let (mut old_count, mut new_count) = (0, 0);
    for step in 0..steps {
        for fault in [Fault::Fails, Fault::PowerCut, Fault::CrashAfter] {
            for kept in PowerCut::ALL {
                let disk = plain.copy();
                disk.break_at_step(step, fault);
                let acknowledged = install_beside(&disk, &two, Data::Keep).is_ok();
                let after = disk.after_power_cut(kept);
                let what = format!("step {step} of {steps}, {fault:?}, {kept:?}");
                let started =
                    starts(&after, &[&one, &two]).unwrap_or_else(|| panic!("{what}: nothing starts"));
                assert_eq!(slot_bytes(&after, "1"), before, "{what}");
                assert_eq!(state_at(&after).unwrap(), b"LUKS and what it keeps", "{what}");
                if started == version("2") {
                    new_count += 1;
                } else {
                    old_count += 1;
                    assert!(!acknowledged, "{what}");
                }
            }
        }
    }
    assert!(old_count > 100 && new_count > 0, "{old_count} {new_count}");
}

#[test]
fn a_stick_that_is_pulled_out_leaves_an_unfinished_disk_or_the_old_system() {
    let (one, two) = (bundle("1"), bundle("2"));
    let shorten = |bundle: &Bundle, name: &str| {
        let fitting = bundle.open();
        let file = std::fs::File::options()
            .write(true)
            .open(bundle.folder.path().join(name))
            .unwrap();
        // As good as gone: what is left of it cannot be read to its end.
        file.set_len(5000).unwrap();
        fitting
    };
    let disk = FaultyDisk::new(DISK_BYTES);
    let fitting = shorten(&one, "root.raw");
    let fault = fresh(&disk, &job(&fitting), &mut |_| ()).unwrap_err();
    assert_eq!(fault.code(), "update.file.size");
    assert!(layout::is_unfinished(&Table::read(&disk).unwrap()));
    let old = bundle("0");
    let disk = FaultyDisk::new(DISK_BYTES);
    install_fresh(&disk, &old).unwrap();
    let fitting = shorten(&two, "jingui_2.efi");
    beside(&disk, &job(&fitting), Data::Erase, &mut |_| ()).unwrap_err();
    assert_eq!(starts(&disk, &[&old]), Some(version("0")));
}

#[test]
fn a_disk_that_does_not_keep_what_it_is_given_is_found_out() {
    let one = bundle("1");
    let disk = FaultyDisk::new(DISK_BYTES);
    disk.forget_writes_at(37 << 20);
    let fault = install_fresh(&disk, &one).unwrap_err();
    assert_eq!(fault.code(), "install.readback.differs");
    assert!(layout::is_unfinished(&Table::read(&disk).unwrap()));
}

#[test]
fn a_disk_that_is_too_small_is_not_touched() {
    let one = bundle("1");
    let disk = FaultyDisk::new(20 << 20);
    let fault = install_fresh(&disk, &one).unwrap_err();
    assert_eq!((fault.code(), disk.write_count()), ("install.slot.too-small", 0));
}

#[test]
fn a_proof_finds_each_byte_that_differs() {
    let one = bundle("1");
    let whole = FaultyDisk::new(DISK_BYTES);
    install_fresh(&whole, &one).unwrap();
    let table = Table::read(&whole).unwrap();
    for index in [1, 2] {
        let disk = whole.copy();
        let place = table.at(index).unwrap().offset() + 4097;
        let mut byte = [0];
        disk.read_at(&mut byte, place).unwrap();
        disk.write_at(&[byte[0] ^ 1], place).unwrap();
        let fault = prove(&disk, &one.open(), &mut |_| ()).unwrap_err();
        assert_eq!(fault.code(), "install.readback.differs", "partition {index}");
    }
    let disk = whole.copy();
    let esp = layout::esp(&table).unwrap();
    let mut volume = Fat::open(&disk, esp.offset(), esp.bytes()).unwrap();
    volume.remove_file("EFI/Linux/jingui_1.efi").unwrap();
    let mut rest = &one.root[..one.uki.len()];
    volume
        .write_file("EFI/Linux/jingui_1.efi", rest.len() as u64, &mut |piece| {
            io::Read::read_exact(&mut rest, piece)
        })
        .unwrap();
    let fault = prove(&disk, &one.open(), &mut |_| ()).unwrap_err();
    assert_eq!(fault.code(), "install.readback.differs", "another boot entry");
}

#[test]
fn progress_ends_at_the_end_and_never_goes_back() {
    let one = bundle("1");
    let disk = FaultyDisk::new(DISK_BYTES);
    let mut told = Vec::new();
    let fitting = one.open();
    fresh(&disk, &job(&fitting), &mut |progress| {
        told.push((progress.done, progress.total))
    })
    .unwrap();
    assert!(told.is_sorted());
    let total = fitting.manifest().byte_count() * 2;
    assert_eq!(told.last(), Some(&(total, total)));
}
