//! Builds the product: the console by npm, then the four programs by cargo in the one release profile.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::Context;

use crate::say;
use crate::tools::{self, aloud, quietly};

/// The programs of the box, built together so that they always match.
const PROGRAMS: &[&str] = &[
    "jingui-supervisor",
    "jingui-gateway",
    "jingui-engine",
    "jingui-cli",
];

/// The programs of the sealed image.
const IMAGE_PROGRAMS: &[&str] = &[
    "jingui-supervisor",
    "jingui-gateway",
    "jingui-engine",
    "jingui-cli",
    "jingui-screen",
    "jingui-storage",
    "jingui-installer",
];
/// What an image may assume of its machine: AVX2, FMA and F16C (<https://gitlab.com/x86-psABIs/x86-64-ABI>, level 3).
/// `scripts/run` builds for the machine it stands on; an image is for machines that it has not seen.
const IMAGE_FLAGS: &str = "-C target-cpu=x86-64-v3";

/// What the console is made of, below the top of the tree.
const CONSOLE_SOURCES: &[&str] = &[
    "appliance/console",
    "appliance/messages/catalogue",
    "appliance/gateway/openapi.json",
];
/// Folders below them that are made, not written.
const CONSOLE_MADE: &[&str] = &["node_modules", "dist"];

/// Builds everything that `scripts/run` starts. Gives the folder with the programs.
pub(crate) fn product(tree: &Path) -> anyhow::Result<PathBuf> {
    tools::ensure_for_build()?;
    console(tree)?;
    let programs = tree.join("target/release");
    if !programs.join("jingui-engine").exists() {
        say("building (the first time compiles llama.cpp: about 5 minutes on 2 cores)");
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked"]).current_dir(tree);
    for program in PROGRAMS {
        cargo.args(["--package", program]);
    }
    if !std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        cargo.arg("--quiet");
    }
    aloud(&mut cargo)?;
    Ok(programs)
}

/// Builds the image's programs in that target folder. Gives the folder with the programs.
pub(crate) fn image_programs(tree: &Path, target: &Path) -> anyhow::Result<PathBuf> {
    tools::ensure_for_build()?;
    console(tree)?;
    let programs = target.join("release");
    if !programs.join("jingui-engine").exists() {
        say("building the image's programs (the first time compiles llama.cpp: about 8 minutes on 2 cores)");
    }
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--release", "--locked", "--quiet", "--target-dir"])
        .arg(target)
        .env("RUSTFLAGS", IMAGE_FLAGS)
        .current_dir(tree);
    for program in IMAGE_PROGRAMS {
        cargo.args(["--package", program]);
    }
    aloud(&mut cargo)?;
    Ok(programs)
}

/// Builds the console's files into `appliance/console/dist`, if anything they are made of is newer.
pub(crate) fn console(tree: &Path) -> anyhow::Result<()> {
    let folder = tree.join("appliance/console");
    let made = folder.join("dist/index.html");
    let made_at = std::fs::metadata(&made).and_then(|it| it.modified()).ok();
    let mut newest = SystemTime::UNIX_EPOCH;
    for source in CONSOLE_SOURCES {
        newest = newest.max(newest_below(&tree.join(source))?);
    }
    if made_at.is_some_and(|it| it >= newest) {
        return Ok(());
    }
    say("building the console");
    tools::install_npm(&folder)?;
    quietly(tools::npm(&folder)?.args(["run", "--silent", "build"]))
}

/// Time of the last change to a written file at or below `path`. Folders do not count: making `dist` touches them.
fn newest_below(path: &Path) -> anyhow::Result<SystemTime> {
    let facts = std::fs::metadata(path).with_context(|| format!("{} is missing", path.display()))?;
    if !facts.is_dir() {
        return Ok(facts.modified()?);
    }
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let is_made = CONSOLE_MADE.iter().any(|it| entry.file_name() == *it);
        if !is_made {
            newest = newest.max(newest_below(&entry.path())?);
        }
    }
    Ok(newest)
}
