//! What the image has beside Debian's packages and the files below `image/`: our programs, keys to believe, facts.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde_json::json;

use super::Image;
use super::keys::Keys;
use crate::tools::quietly;
use crate::vendor::Vendor;

/// Programs below `/usr/lib/jingui`.
const PROGRAMS: &[&str] = &[
    "jingui-supervisor",
    "jingui-gateway",
    "jingui-engine",
    "jingui-screen",
    "jingui-storage",
    "jingui-installer",
];
const PROGRAM_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// For whom an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Customers: only what its maker signed.
    Delivery,
    /// Those who build and test: development keys, and the demo model inside.
    Development,
}

impl Profile {
    /// As `release.json` says it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Development => "development",
        }
    }
}

/// The parts of one build.
pub(crate) struct Contents<'a> {
    /// The build.
    pub(crate) image: &'a Image,
    /// Folder with our programs.
    pub(crate) programs: &'a Path,
    /// Keys of the build.
    pub(crate) keys: &'a Keys,
    /// Vendor of the demo model.
    pub(crate) vendor: &'a Vendor,
    /// Commit of the tree.
    pub(crate) commit: &'a str,
}

impl Contents<'_> {
    /// Lays everything into a folder that mkosi copies over the root. Gives the folder.
    pub(crate) fn stage(&self) -> anyhow::Result<PathBuf> {
        let folder = self.image.workshop.join("work/extra");
        let _ = std::fs::remove_dir_all(&folder);
        for program in PROGRAMS {
            self.program(program, &folder.join("usr/lib/jingui").join(program))?;
        }
        self.program("jingui", &folder.join("usr/bin/jingui"))?;
        let share = folder.join("usr/share/jingui");
        place(&self.keys.image_public(), &share.join("image-keys/image.pem"))?;
        if self.image.profile == Profile::Development {
            place(&self.vendor.public, &share.join("vendors/development.pem"))?;
            let package = self.vendor.sign_demo_package(&self.image.tree, self.programs)?;
            place_all(&package, &share.join("packages/glm4-canary"))?;
        }
        // Keys of the vendors whose models a delivered box takes: public, in the tree.
        let vendors = self.image.tree.join("image/vendors");
        std::fs::create_dir_all(share.join("vendors"))?;
        std::fs::create_dir_all(share.join("packages"))?;
        if vendors.exists() {
            place_all(&vendors, &share.join("vendors"))?;
        }
        let release = json!({
            "product": "jingui",
            "image_version": self.image.version,
            "security_version": self.image.security_version,
            "profile": self.image.profile.name(),
            "source": self.commit,
        });
        let path = share.join("release.json");
        std::fs::write(&path, serde_json::to_string(&release)? + "\n")?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(FILE_MODE))?;
        Ok(folder)
    }

    /// A program without its line tables; those stay in `target/image/cargo` for whoever reads a crash.
    fn program(&self, name: &str, to: &Path) -> anyhow::Result<()> {
        make_parent(to)?;
        quietly(
            Command::new("strip")
                .arg("-o")
                .arg(to)
                .arg(self.programs.join(name)),
        )?;
        std::fs::set_permissions(to, PermissionsExt::from_mode(PROGRAM_MODE))?;
        Ok(())
    }
}

fn make_parent(path: &Path) -> anyhow::Result<()> {
    let parent = path.parent().context("a path without a folder")?;
    Ok(std::fs::create_dir_all(parent)?)
}

fn place(from: &Path, to: &Path) -> anyhow::Result<()> {
    make_parent(to)?;
    std::fs::copy(from, to).with_context(|| format!("{} cannot be copied", from.display()))?;
    std::fs::set_permissions(to, PermissionsExt::from_mode(FILE_MODE))?;
    Ok(())
}

/// The files of one folder, not of folders in it.
fn place_all(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            place(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
