//! The builder root: a Debian 13 in a folder, with mkosi and the programs that it calls. Made once.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use super::sources::{Mirror, RELEASE, transport_settings};
use crate::say;
use crate::tools::quietly;

/// What the builder root holds. Its keys change between versions, so mkosi is checked below.
const PACKAGES: &[&str] = &[
    "mkosi",
    "systemd-repart",
    "systemd-ukify",
    "systemd-boot",
    "systemd-boot-efi",
    "systemd-boot-tools",
    "systemd-cryptsetup",
    "apt",
    "binutils",
    "bubblewrap",
    "ca-certificates",
    "cpio",
    "cryptsetup-bin",
    "debian-archive-keyring",
    "dosfstools",
    "e2fsprogs",
    "erofs-utils",
    "kmod",
    "mtools",
    "openssl",
    "python3-cryptography",
    "python3-pefile",
    "sbsigntool",
    "uidmap",
    "zstd",
];
/// The recipe below `image/` is written for this one.
const MKOSI_VERSION: &str = "25.3";
/// A change of this text makes the root anew.
const STAMP: &str = "stamp";
const ENTER: &str = include_str!("enter.sh");

/// The builder root.
#[derive(Debug)]
pub(crate) struct Builder {
    root: PathBuf,
    workshop: PathBuf,
    enter: PathBuf,
}

impl Builder {
    /// The root below that folder, made if there is none.
    pub(crate) fn ensure(workshop: &Path) -> anyhow::Result<Self> {
        let builder = Self {
            root: workshop.join("builder"),
            enter: workshop.join("work/enter.sh"),
            workshop: workshop.to_owned(),
        };
        std::fs::create_dir_all(workshop.join("work"))?;
        std::fs::write(&builder.enter, ENTER)?;
        let stamp = workshop.join("builder.").with_extension(STAMP);
        let wanted = format!("{RELEASE} {}", PACKAGES.join(","));
        if !std::fs::read_to_string(&stamp).is_ok_and(|it| it == wanted) {
            builder.make()?;
            std::fs::write(&stamp, wanted)?;
        }
        Ok(builder)
    }

    fn make(&self) -> anyhow::Result<()> {
        say("making the builder root (once, about 2 minutes)");
        if self.root.exists() {
            quietly(
                Command::new("rm")
                    .args(["-rf", "--one-file-system"])
                    .arg(&self.root),
            )?;
        }
        let mirror = Mirror::of_this_machine()?;
        let mut command = Command::new("unshare");
        // In a mount namespace of its own: what it mounts below the root is gone with it.
        command.args([
            "--mount",
            "mmdebstrap",
            "--quiet",
            "--variant=apt",
            "--mode=root",
            "--format=directory",
        ]);
        for (_, text) in transport_settings()? {
            for line in text.lines().filter(|it| it.trim_start().starts_with("Acquire::")) {
                command.arg(format!("--aptopt={}", line.trim().trim_end_matches(';')));
            }
        }
        command.arg(format!("--include={}", PACKAGES.join(",")));
        command.arg(RELEASE).arg(&self.root);
        command.arg(format!("deb {} {RELEASE} main", mirror.main));
        command.arg(format!("deb {} {RELEASE}-security main", mirror.security));
        quietly(&mut command)?;
        let output = Command::new("chroot")
            .arg(&self.root)
            .args(["mkosi", "--version"])
            .output()?;
        let found = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            found.trim().ends_with(MKOSI_VERSION),
            "the recipe is written for mkosi {MKOSI_VERSION}; {RELEASE} has {}",
            found.trim()
        );
        Ok(())
    }

    /// The start of a command inside: the source tree read-only, the workshop writable, both at their paths outside.
    pub(crate) fn command(&self, tree: &Path) -> anyhow::Result<Command> {
        let place = self
            .workshop
            .strip_prefix("/")
            .context("the workshop's path is not absolute")?;
        std::fs::create_dir_all(self.root.join(place))?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh"]);
        command
            .arg(&self.enter)
            .arg(&self.root)
            .arg(tree)
            .arg(&self.workshop);
        command.args([
            "env",
            "-i",
            "HOME=/root",
            "LANG=C.UTF-8",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        ]);
        Ok(command)
    }
}
