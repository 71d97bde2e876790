//! Everything that starts the box is changed once, and the box is never what answers then.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use jingui_e2e::output_of;
use jingui_machine::{Machine, SecureBoot, get_file, put_file};

use crate::site::{BOOT_PATIENCE, Built, FIRMWARE_PATIENCE, Place, on_the_lan};
use crate::stick::await_words;
use crate::visitor::{Visitor, first_page};

const LOADERS: [&str; 2] = ["EFI/BOOT/BOOTX64.EFI", "EFI/systemd/systemd-bootx64.efi"];
/// Where slot A begins on a disk of ours: behind the first MiB and the ESP.
const ROOT_START: u64 = 257 << 20;
const TREE_START: u64 = ROOT_START + (400 << 20);
/// What the firmware says when nothing on the disk is signed by a key it knows.
const FIRMWARE_REFUSES: &str = "Access Denied";
/// What the loader says when the firmware refuses its entry.
const LOADER_REFUSES: &str = "Access denied";

/// Boots a disk of which one file of the ESP was changed, and waits for the refusal.
fn is_refused(
    what: &str,
    files: &[String],
    refusal: &str,
    change: impl Fn(&Path, Vec<u8>) -> anyhow::Result<Vec<u8>>,
) -> anyhow::Result<()> {
    let built = Built::find()?;
    let (place, disk) = built.installed()?;
    for file in files {
        let bytes = get_file(&disk, file)?;
        put_file(&disk, file, &change(place.site.folder(), bytes)?)?;
    }
    let mut machine = place.start(&disk)?;
    machine
        .serial
        .expect(refusal, FIRMWARE_PATIENCE)
        .with_context(|| what.to_owned())?;
    eprintln!("{what}: refused after {} s", machine.age().as_secs());
    Ok(())
}

fn flip(bytes: &mut [u8], at: usize) -> anyhow::Result<()> {
    let byte = bytes.get_mut(at).context("nothing there to be flipped")?;
    *byte ^= 1;
    Ok(())
}

fn entry(built: &Built) -> anyhow::Result<Vec<String>> {
    Ok(vec![format!("EFI/Linux/jingui_{}.efi", built.version()?)])
}

fn loaders() -> Vec<String> {
    LOADERS.map(str::to_owned).to_vec()
}

#[test]
fn a_flipped_byte_in_the_boot_entry_or_the_loader_is_refused() -> anyhow::Result<()> {
    let middle = |_: &Path, mut bytes: Vec<u8>| {
        let at = bytes.len() / 2;
        flip(&mut bytes, at)?;
        Ok(bytes)
    };
    is_refused("entry, one bit", &entry(&Built::find()?)?, LOADER_REFUSES, middle)?;
    is_refused("loader, one bit", &loaders(), FIRMWARE_REFUSES, middle)
}

#[test]
fn a_changed_command_line_is_refused() -> anyhow::Result<()> {
    is_refused(
        "command line",
        &entry(&Built::find()?)?,
        LOADER_REFUSES,
        |_, mut bytes| {
            let word = b"lockdown=confidentiality";
            let at = bytes
                .windows(word.len())
                .position(|it| it == word)
                .context("no command line in the entry")?;
            flip(&mut bytes, at)?;
            Ok(bytes)
        },
    )
}

#[test]
fn what_nobody_or_somebody_else_signed_is_refused() -> anyhow::Result<()> {
    let unsigned = |folder: &Path, bytes: Vec<u8>| {
        let file = folder.join("program.efi");
        std::fs::write(&file, bytes)?;
        output_of(Command::new("sbattach").arg("--remove").arg(&file))?;
        Ok(std::fs::read(&file)?)
    };
    let foreign = |folder: &Path, bytes: Vec<u8>| {
        let bytes = unsigned(folder, bytes)?;
        let (file, key, certificate) = (
            folder.join("program.efi"),
            folder.join("x.key"),
            folder.join("x.crt"),
        );
        std::fs::write(&file, bytes)?;
        output_of(
            Command::new("openssl")
                .args([
                    "req",
                    "-x509",
                    "-newkey",
                    "rsa:2048",
                    "-noenc",
                    "-subj",
                    "/CN=Somebody else",
                ])
                .arg("-keyout")
                .arg(&key)
                .arg("-out")
                .arg(&certificate),
        )?;
        let mut sign = Command::new("sbsign");
        sign.arg("--key").arg(&key).arg("--cert").arg(&certificate);
        output_of(sign.arg("--output").arg(&file).arg(&file))?;
        Ok(std::fs::read(&file)?)
    };
    let entry = entry(&Built::find()?)?;
    is_refused("entry, unsigned", &entry, LOADER_REFUSES, unsigned)?;
    is_refused("entry, foreign key", &entry, LOADER_REFUSES, foreign)?;
    is_refused("loader, unsigned", &loaders(), FIRMWARE_REFUSES, unsigned)?;
    is_refused("loader, foreign key", &loaders(), FIRMWARE_REFUSES, foreign)
}

/// Boots a disk with one byte of a partition flipped; the root must not come up.
fn never_comes_up(what: &str, at: u64) -> anyhow::Result<()> {
    let built = Built::find()?;
    let (place, disk) = built.installed()?;
    flip_on_disk(&disk, at)?;
    let mut machine = place.start(&disk)?;
    machine
        .serial
        .expect("verity", BOOT_PATIENCE)
        .with_context(|| what.to_owned())?;
    eprintln!("{what}: seen after {} s", machine.age().as_secs());
    ensure!(
        !machine.serial.text().contains("10.0.2.15"),
        "{what}: it came up all the same"
    );
    Ok(())
}

fn flip_on_disk(disk: &Path, at: u64) -> anyhow::Result<()> {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(disk)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    flip(&mut byte, 0)?;
    file.write_all_at(&byte, at)?;
    Ok(())
}

#[test]
fn a_flipped_byte_in_the_root_or_its_tree_stops_the_start() -> anyhow::Result<()> {
    /// Of an erofs: the superblock.
    const SUPERBLOCK: u64 = 1024;
    /// Of a verity tree: the first block behind its own superblock, under which all others hang.
    const TOP_BLOCK: u64 = 4096;
    never_comes_up("root, one bit", ROOT_START + SUPERBLOCK + 16)?;
    never_comes_up("tree, one bit", TREE_START + TOP_BLOCK + 16)
}

/// A machine whose state was made under Secure Boot with its TPM.
fn with_state() -> anyhow::Result<(Place, std::path::PathBuf)> {
    let built = Built::find()?;
    let (place, disk) = built.installed()?;
    let machine = place.start(&disk)?;
    let page = first_page(&machine)?;
    let visitor = Visitor::set_up(&machine, place.site.folder(), &page)?;
    visitor.wait_ready()?;
    machine.cut_power();
    Ok((place, disk))
}

/// The next start shows these words and serves nobody.
fn stays_shut(what: &str, machine: &Machine, words: &str) -> anyhow::Result<()> {
    await_words(machine, words, BOOT_PATIENCE).with_context(|| what.to_owned())?;
    // Whatever it does from here on, it does not begin to serve.
    std::thread::sleep(Duration::from_secs(10));
    let address = machine.address()?;
    let served = Command::new("curl")
        .args(["--silent", "--insecure", "--max-time", "5"])
        .arg(format!("https://{address}/healthz"))
        .output()?;
    ensure!(!served.status.success(), "{what}: the box serves all the same");
    eprintln!("{what}: shut after {} s", machine.age().as_secs());
    Ok(())
}

#[test]
fn the_state_opens_for_this_machine_started_by_us_and_for_nobody_else() -> anyhow::Result<()> {
    const LOCKED: &str = "The encrypted state does not open";
    let built = Built::find()?;
    let (place, disk) = with_state()?;

    let mut elsewhere = on_the_lan(&disk);
    elsewhere.tpm = Some("another-tpm".to_owned());
    let machine = Machine::start(&place.site, &elsewhere)?;
    stays_shut("another TPM", &machine, LOCKED)?;
    machine.cut_power();

    place.set_secure_boot(&SecureBoot::Off)?;
    let machine = place.start(&disk)?;
    stays_shut("Secure Boot off", &machine, LOCKED)?;
    machine.cut_power();

    place.set_secure_boot(&built.secure_boot())?;
    let machine = place.start(&disk)?;
    let page = first_page(&machine)?;
    ensure!(page.setup_code.is_none(), "the ceremony was forgotten");
    machine.cut_power();

    // Both copies of the header: the second one begins at 16 KiB.
    let state = partition_start(&disk, "jingui-state")?;
    for copy in [0, 0x4000] {
        flip_on_disk(&disk, state + copy)?;
    }
    let machine = place.start(&disk)?;
    stays_shut(
        "state's header",
        &machine,
        "The header of the encrypted state is damaged",
    )
}

/// Where the partition with that label begins.
fn partition_start(disk: &Path, label: &str) -> anyhow::Result<u64> {
    const SECTOR_BYTES: u64 = 512;
    let text = output_of(Command::new("sfdisk").arg("--json").arg(disk))?;
    let table: serde_json::Value = serde_json::from_str(&text)?;
    let parts = table
        .pointer("/partitiontable/partitions")
        .and_then(|it| it.as_array());
    let start = parts
        .into_iter()
        .flatten()
        .find(|it| it.get("name").is_some_and(|it| it == label))
        .and_then(|it| it.get("start")?.as_u64());
    Ok(start.with_context(|| format!("no partition is called {label}"))? * SECTOR_BYTES)
}
