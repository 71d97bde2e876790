//! The vendor of a developer's machine, who signs the demo model and the models of benchmarks.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::tools::quietly;

const DEMO_PACKAGE: &str = "image/models/glm4-canary";

/// The development vendor: a key pair below `target/`, made on first use and never shipped.
pub(crate) struct Vendor {
    private: PathBuf,
    /// The public key, PEM.
    pub(crate) public: PathBuf,
}

impl Vendor {
    /// The key pair, made if there is none.
    pub(crate) fn ensure(tree: &Path, programs: &Path) -> anyhow::Result<Self> {
        let folder = tree.join("target/development");
        let vendor = Self {
            private: folder.join("vendor.key"),
            public: folder.join("vendor.pem"),
        };
        if !vendor.public.exists() {
            std::fs::create_dir_all(&folder)?;
            quietly(
                Command::new(programs.join("jingui"))
                    .args(["model", "keygen", "--out"])
                    .arg(&folder),
            )?;
        }
        Ok(vendor)
    }

    /// A signed copy of the demo model; its source in the tree stays unsigned.
    pub(crate) fn sign_demo_package(&self, tree: &Path, programs: &Path) -> anyhow::Result<PathBuf> {
        let source = tree.join(DEMO_PACKAGE);
        let package = tree.join("target/development/glm4-canary");
        let signature = package.join("model.sig");
        if is_newer_than_all(&signature, &source)? && is_newer_than(&signature, &self.public)? {
            return Ok(package);
        }
        if package.exists() {
            std::fs::remove_dir_all(&package)?;
        }
        std::fs::create_dir_all(&package)?;
        for entry in std::fs::read_dir(&source)? {
            let entry = entry?;
            std::fs::copy(entry.path(), package.join(entry.file_name()))?;
        }
        self.sign(programs, &package)?;
        Ok(package)
    }

    /// Signs the package in `folder`.
    pub(crate) fn sign(&self, programs: &Path, folder: &Path) -> anyhow::Result<()> {
        quietly(
            Command::new(programs.join("jingui"))
                .args(["model", "sign"])
                .arg(folder)
                .arg("--key")
                .arg(&self.private),
        )
    }

    /// Puts the public key where the supervisor looks for the vendors it accepts, as the image build would.
    pub(crate) fn trust_in(&self, state: &Path) -> anyhow::Result<()> {
        let folder = state.join("trust/vendors");
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        std::fs::copy(&self.public, folder.join("development.pem"))?;
        Ok(())
    }
}

/// Whether `file` is there and no older than `other`.
pub(crate) fn is_newer_than(file: &Path, other: &Path) -> anyhow::Result<bool> {
    let Ok(facts) = std::fs::metadata(file) else {
        return Ok(false);
    };
    Ok(facts.modified()? >= std::fs::metadata(other)?.modified()?)
}

fn is_newer_than_all(file: &Path, folder: &Path) -> anyhow::Result<bool> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("{} is missing", folder.display()))? {
        if !is_newer_than(file, &entry?.path())? {
            return Ok(false);
        }
    }
    Ok(true)
}
