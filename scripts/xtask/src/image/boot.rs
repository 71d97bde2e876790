//! `scripts/image --boot`: the image in QEMU, as a site would meet it on its first day.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use jingui_machine::{Boot, Machine, Port, SecureBoot, Site, accelerator, put_file};

use super::Image;
use super::keys::Keys;
use crate::say;
use crate::tools;

/// Python packages for the firmware's variables.
const REQUIREMENTS: &str = "image/requirements.txt";
/// Room for both slots, state and models; the file is sparse.
pub(crate) const DISK_BYTES: u64 = 8 << 30;
/// The network of QEMU's own: the guest's address in it is fixed.
const NETWORK: &str = r#"[[interface]]
mac = "52:54:00:4a:47:01"
method = "static"
address = "10.0.2.15/24"
gateway = "10.0.2.2"
"#;
const SERVICE_PORT: u16 = 8443;

/// Starts it in the foreground with a new disk and a new TPM.
pub(crate) fn run(image: &Image, port: u16) -> anyhow::Result<ExitCode> {
    let raw = image.file("raw");
    ensure!(raw.exists(), "{} is not there: build it first", raw.display());
    let variables = virt_fw_vars(&image.tree)?;
    let keys = Keys::read(&image.workshop.join("keys"))?;
    let folder = image.workshop.join("boot");
    let _ = std::fs::remove_dir_all(&folder);
    let secure_boot = SecureBoot::Keys {
        pk: keys.certificate("PK"),
        kek: keys.certificate("KEK"),
        db: keys.certificate("db"),
    };
    let site = Site::new(&folder, &secure_boot, &variables)?;
    let disk = site.disk("disk.raw", Some(&raw), DISK_BYTES)?;
    put_file(&disk, "jingui/network.toml", NETWORK.as_bytes())?;
    let mut boot = Boot::from_disk(disk);
    boot.port = Some(Port {
        host: port,
        guest: SERVICE_PORT,
    });
    boot.capture = Some("lan.pcap".to_owned());
    say(&format!(
        "starting with {}: https://127.0.0.1:{port} is the box; the terminal is its serial line; Ctrl-A X pulls the plug",
        accelerator()
    ));
    let status = Machine::in_foreground(&site, &boot)?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The program that writes the firmware's variables, installed if it is missing.
pub(crate) fn virt_fw_vars(tree: &Path) -> anyhow::Result<PathBuf> {
    let python = tools::ensure_python_of(tree, "image", &tree.join(REQUIREMENTS))?;
    let folder = python.parent().context("an interpreter without a folder")?;
    Ok(folder.join("virt-fw-vars"))
}
