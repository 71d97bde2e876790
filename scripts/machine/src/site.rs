//! What stays of a machine when its power goes: a folder with the firmware's variables, the TPM's state and disks.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// Owner of the signature lists, as the firmware stores it. Any will do; a fixed one keeps runs alike.
const OWNER: &str = "7f3a1c56-0b2e-4d0f-9c77-6a1d5b0e4c21";

/// Whose boot programs the firmware starts.
#[derive(Debug, Clone)]
pub enum SecureBoot {
    /// Those signed by these keys: files with the certificates of PK, KEK and db.
    Keys {
        /// Platform key.
        pk: PathBuf,
        /// Key exchange key.
        kek: PathBuf,
        /// Signs boot programs.
        db: PathBuf,
    },
    /// Anybody's.
    Off,
}

/// A machine without its power.
#[derive(Debug, Clone)]
pub struct Site {
    folder: PathBuf,
}

impl Site {
    /// A machine in its box: variables as asked for, a TPM that was never used, no disk. `virt_fw_vars` is the program of
    /// the Python package virt-firmware.
    pub fn new(folder: &Path, secure_boot: &SecureBoot, virt_fw_vars: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        // swtpm changes its folder.
        let site = Self {
            folder: folder.canonicalize()?,
        };
        site.set_secure_boot(secure_boot, virt_fw_vars)?;
        Ok(site)
    }

    /// A machine that was there before.
    pub fn existing(folder: &Path) -> anyhow::Result<Self> {
        let folder = folder.canonicalize()?;
        ensure!(
            folder.join("variables.fd").exists(),
            "{} holds no machine",
            folder.display()
        );
        Ok(Self { folder })
    }

    /// Writes the firmware's variables anew, as somebody at its setup screen would. The TPM stays as it is.
    pub fn set_secure_boot(&self, secure_boot: &SecureBoot, virt_fw_vars: &Path) -> anyhow::Result<()> {
        let SecureBoot::Keys { pk, kek, db } = secure_boot else {
            std::fs::copy(VARIABLES, self.variables())
                .with_context(|| format!("{VARIABLES} is missing: package ovmf"))?;
            return Ok(());
        };
        let output = Command::new(virt_fw_vars)
            .args(["-i", VARIABLES, "-o"])
            .arg(self.variables())
            .args(["--set-pk", OWNER])
            .arg(pk)
            .args(["--add-kek", OWNER])
            .arg(kek)
            .args(["--add-db", OWNER])
            .arg(db)
            .arg("--sb")
            .output()
            .with_context(|| format!("{} cannot be started", virt_fw_vars.display()))?;
        ensure!(
            output.status.success(),
            "virt-fw-vars failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file of that name in the folder.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn variables(&self) -> PathBuf {
        self.file("variables.fd")
    }

    /// An empty disk of that size, or a copy of `from` grown to it. Sparse. Gives its file.
    pub fn disk(&self, name: &str, from: Option<&Path>, bytes: u64) -> anyhow::Result<PathBuf> {
        let path = self.file(name);
        let _ = std::fs::remove_file(&path);
        if let Some(from) = from {
            let status = Command::new("cp")
                .args(["--sparse=always", "--reflink=auto"])
                .arg(from)
                .arg(&path)
                .status()?;
            ensure!(status.success(), "{} cannot be copied", from.display());
        }
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)?;
        if file.metadata()?.len() < bytes {
            file.set_len(bytes)?;
        }
        Ok(path)
    }
}
