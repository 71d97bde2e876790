//! An empty stick, and the evidence that the box writes on it when the auditor stands at its local screen.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use jingui_e2e::output_of;
use jingui_machine::{Machine, Site};

use crate::visitor::Person;

const STICK_BYTES: u64 = 64 << 20;
const SECTORS: &str = "129024";
const PAGE_PATIENCE: Duration = Duration::from_secs(60);
const EXPORT_PATIENCE: Duration = Duration::from_secs(180);
const ENTER: &str = "\r";

/// A stick with one FAT32 partition.
pub(crate) fn make_stick(site: &Site) -> anyhow::Result<PathBuf> {
    let stick = site.disk("stick.raw", None, STICK_BYTES)?;
    output_of(
        Command::new("sgdisk")
            .args([
                "--new=1:2048:131038",
                "--typecode=1:0700",
                "--change-name=1:EVIDENCE",
            ])
            .arg(&stick),
    )?;
    output_of(
        Command::new("mformat")
            .args(["-F", "-T", SECTORS, "-i"])
            .arg(partition(&stick))
            .arg("::"),
    )?;
    Ok(stick)
}

fn partition(stick: &Path) -> String {
    format!("{}@@1M", stick.display())
}

/// The auditor at the local screen: menu, evidence, preview, proof.
pub(crate) fn export_evidence(machine: &mut Machine, auditor: &Person) -> anyhow::Result<()> {
    machine.serial.send(ENTER)?;
    await_words(machine, "Recovery menu", PAGE_PATIENCE)?;
    machine.serial.send("5")?;
    await_words(machine, "Enter go on", PAGE_PATIENCE)?;
    machine.serial.send(ENTER)?;
    await_words(machine, "Account name", PAGE_PATIENCE)?;
    for line in [auditor.username, auditor.password, &auditor.code()?] {
        machine.serial.send(line)?;
        machine.serial.send(ENTER)?;
    }
    await_words(machine, "The evidence is written and read back", EXPORT_PATIENCE)
}

/// Waits until these words stand on the page.
pub(crate) fn await_words(machine: &Machine, words: &str, patience: Duration) -> anyhow::Result<()> {
    machine.serial.find_on_page(words, patience, |page| {
        page.iter().any(|it| it.contains(words)).then_some(())
    })
}

/// The evidence on the stick: its folder with the log, copied beside the site's files, and the key that checks it.
pub(crate) fn evidence_from(site: &Site, stick: &Path) -> anyhow::Result<(PathBuf, String)> {
    let copy = site.file("evidence");
    std::fs::create_dir_all(&copy)?;
    output_of(
        Command::new("mcopy")
            .args(["-s", "-n", "-i", &partition(stick), "::/jingui-evidence"])
            .arg(&copy),
    )?;
    let checkpoint = find(&copy, "checkpoint")?.context("the stick holds no checkpoint")?;
    let folder = checkpoint.parent().context("a file without a folder")?.to_owned();
    let key = find(&copy, "vkey")?.context("the stick holds no verifier key")?;
    let key = std::fs::read_to_string(key)?.trim().to_owned();
    ensure!(!key.is_empty(), "the verifier key is empty");
    Ok((folder, key))
}

/// First file below `folder` whose name contains `word`.
fn find(folder: &Path, word: &str) -> anyhow::Result<Option<PathBuf>> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if let Some(found) = find(&path, word)? {
                return Ok(Some(found));
            }
        } else if path
            .file_name()
            .is_some_and(|it| it.to_string_lossy().contains(word))
        {
            return Ok(Some(path));
        }
    }
    Ok(None)
}
