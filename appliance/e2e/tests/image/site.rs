//! The image as it was built, and machines with it on their disks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use jingui_e2e::tree;
use jingui_machine::{Boot, Machine, Port, SecureBoot, Site, put_file};
use serde_json::Value;
use tempfile::TempDir;

/// Room for both slots, state and models; the file is sparse.
pub(crate) const DISK_BYTES: u64 = 4 << 30;
/// Longest wait from power on to the first page. Emulated, beside others, on two cores.
pub(crate) const BOOT_PATIENCE: Duration = Duration::from_secs(420);
/// Longest wait for the firmware to take a boot entry or refuse it.
pub(crate) const FIRMWARE_PATIENCE: Duration = Duration::from_secs(120);
const SERVICE_PORT: u16 = 8443;
const NETWORK: &str = "[[interface]]\nmac = \"52:54:00:4a:47:01\"\nmethod = \"static\"\naddress = \"10.0.2.15/24\"\n\
                       gateway = \"10.0.2.2\"\n";

/// What `scripts/image` made.
#[derive(Debug)]
pub(crate) struct Built {
    /// The folder.
    pub(crate) folder: PathBuf,
    /// `image.json`.
    pub(crate) facts: Value,
    variables: PathBuf,
}

impl Built {
    pub(crate) fn find() -> anyhow::Result<Self> {
        let folder = tree().join("target/image");
        let facts = folder.join("image.json");
        let text = std::fs::read(&facts).context("start these tests with: scripts/test image")?;
        let variables =
            std::env::var_os("JINGUI_VIRT_FW_VARS").context("start these tests with: scripts/test image")?;
        Ok(Self {
            facts: serde_json::from_slice(&text)?,
            folder,
            variables: variables.into(),
        })
    }

    pub(crate) fn version(&self) -> anyhow::Result<&str> {
        self.facts
            .get("image_version")
            .and_then(Value::as_str)
            .context("image.json names no version")
    }

    /// `jingui_V.ENDING`.
    pub(crate) fn file(&self, ending: &str) -> anyhow::Result<PathBuf> {
        Ok(self.folder.join(format!("jingui_{}.{ending}", self.version()?)))
    }

    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.folder.join("keys").join(name)
    }

    pub(crate) fn secure_boot(&self) -> SecureBoot {
        SecureBoot::Keys {
            pk: self.key("PK.crt"),
            kek: self.key("KEK.crt"),
            db: self.key("db.crt"),
        }
    }

    /// A machine that trusts the image's keys.
    pub(crate) fn place(&self) -> anyhow::Result<Place> {
        let folder = tempfile::Builder::new()
            .prefix("jingui-image-")
            .tempdir_in(self.folder.join("work"))?;
        let site = Site::new(folder.path(), &self.secure_boot(), &self.variables)?;
        Ok(Place {
            site,
            variables: self.variables.clone(),
            _folder: folder,
        })
    }

    /// The same with the image installed and the first network beside it.
    pub(crate) fn installed(&self) -> anyhow::Result<(Place, PathBuf)> {
        let place = self.place()?;
        let disk = place
            .site
            .disk("disk.raw", Some(&self.file("raw")?), DISK_BYTES)?;
        put_file(&disk, "jingui/network.toml", NETWORK.as_bytes())?;
        Ok((place, disk))
    }
}

/// A machine without its power, gone with the test.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) site: Site,
    variables: PathBuf,
    _folder: TempDir,
}

impl Place {
    /// Somebody at the firmware's setup screen.
    pub(crate) fn set_secure_boot(&self, secure_boot: &SecureBoot) -> anyhow::Result<()> {
        self.site.set_secure_boot(secure_boot, &self.variables)
    }

    /// Power on, with the service's port forwarded and every frame kept in `lan.pcap`.
    pub(crate) fn start(&self, disk: &Path) -> anyhow::Result<Machine> {
        Machine::start(&self.site, &on_the_lan(disk))
    }
}

/// From this disk, on a cable with this host.
pub(crate) fn on_the_lan(disk: &Path) -> Boot {
    let mut boot = Boot::from_disk(disk.to_owned());
    boot.port = Some(Port {
        host: 0,
        guest: SERVICE_PORT,
    });
    boot.capture = Some("lan.pcap".to_owned());
    boot
}
