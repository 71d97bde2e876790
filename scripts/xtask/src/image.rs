//! `scripts/image`: the sealed image and the USB installer, from Debian's packages and our programs.
//!
//! ```text
//! target/image/
//!   jingui_V.raw              a disk for tests and `--boot`: ESP, root, verity
//!   jingui_V.root.raw, .verity.raw, .efi, jingui-install_V.efi
//!   jingui_V.update/          what an installed box takes: manifest, signature, the three files above
//!   jingui_V.stick.raw        what a site engineer writes to a stick
//!   sbom.cdx.json, files.txt, licenses/, image.json
//!   keys/                     development keys, made on first use
//!   builder/, cache/, packages/, cargo/, work/     made once, safe to delete
//! ```
//!
//! mkosi runs in a Debian 13 root of its own, since the machine's Debian 12 carries an older one. Everything that differs
//! from build to build is said on its command line; what stays is below `image/`.

mod boot;
mod builder;
mod contents;
mod keys;
mod listing;
mod sbom;
mod sources;
mod stick;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::json;

use crate::tools::{self, quietly};
use crate::vendor::Vendor;
use crate::{build, say, tree};

use builder::Builder;
use contents::{Contents, Profile};
use keys::Keys;

pub(crate) use boot::virt_fw_vars;

/// Options of `scripts/image`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Start what was built in QEMU: Secure Boot, an emulated TPM, the serial line on this terminal.
    #[arg(long)]
    boot: bool,
    /// With --boot: host port through which the box is reached.
    #[arg(long, value_name = "N", default_value_t = 8443)]
    port: u16,
    /// With --boot: start what is there, without building.
    #[arg(long)]
    no_build: bool,
    /// Build for delivery: keys by --keys, no demo model, from a commit without changes.
    #[arg(long, requires = "keys")]
    delivery: bool,
    /// Folder with PK, KEK, db and pcr as NAME.crt and NAME.key, image.pem and image.key; a NAME.uri in place of NAME.key
    /// names a key in a token (PKCS#11).
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// Version of the image; that of the source tree if left out.
    #[arg(long, value_name = "V")]
    version: Option<String>,
    /// Security version: an installed box takes none that is below its floor.
    #[arg(long, value_name = "N", default_value_t = 1)]
    security_version: u64,
    /// Write everything there.
    #[arg(long, value_name = "DIR", default_value = "target/image")]
    out: PathBuf,
    /// Put no stick together.
    #[arg(long)]
    no_stick: bool,
}

/// One build.
#[derive(Debug)]
pub(crate) struct Image {
    /// Top of the source tree.
    pub(crate) tree: PathBuf,
    /// Where results go.
    pub(crate) out: PathBuf,
    /// Where what is made once lies, whatever `out` is.
    pub(crate) workshop: PathBuf,
    /// Version of the image.
    pub(crate) version: String,
    /// Security version of the image.
    pub(crate) security_version: u64,
    /// What kind of image.
    pub(crate) profile: Profile,
}

impl Image {
    /// A result of that name and ending: `jingui_V.ENDING`.
    pub(crate) fn file(&self, ending: &str) -> PathBuf {
        self.out.join(format!("jingui_{}.{ending}", self.version))
    }
}

/// Builds, boots, or both.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let tree = tree()?;
    let workshop = tree.join("target/image");
    std::fs::create_dir_all(&workshop)?;
    std::fs::create_dir_all(&options.out)?;
    let image = Image {
        out: options.out.canonicalize()?,
        workshop,
        version: match &options.version {
            Some(version) => checked_version(version)?,
            None => env!("CARGO_PKG_VERSION").to_owned(),
        },
        security_version: options.security_version,
        profile: if options.delivery {
            Profile::Delivery
        } else {
            Profile::Development
        },
        tree,
    };
    tools::ensure_for_image()?;
    if !options.no_build {
        make(&image, options)?;
    }
    if options.boot {
        return boot::run(&image, options.port);
    }
    Ok(ExitCode::SUCCESS)
}

/// A version goes into labels of partitions (36 characters) and into names that systemd compares.
fn checked_version(version: &str) -> anyhow::Result<String> {
    const VERSION_BYTES_MAX: usize = 16;
    ensure!(
        !version.is_empty()
            && version.len() <= VERSION_BYTES_MAX
            && version.bytes().all(|it| it.is_ascii_digit() || it == b'.')
            && version.starts_with(|it: char| it.is_ascii_digit()),
        "{version} is no version: digits and dots, {VERSION_BYTES_MAX} characters at most"
    );
    Ok(version.to_owned())
}

fn make(image: &Image, options: &Options) -> anyhow::Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "only root can build the image: it makes file systems with other owners' files"
    );
    let started = Instant::now();
    let keys = match (&options.keys, image.profile) {
        (Some(folder), Profile::Delivery) => Keys::for_delivery(folder)?,
        (Some(folder), Profile::Development) => Keys::read(folder)?,
        (None, _) => Keys::development(&image.workshop.join("keys"))?,
    };
    let source = Source::of(&image.tree)?;
    ensure!(
        image.profile == Profile::Development || source.is_clean,
        "a build for delivery is made of a commit: the tree has changes"
    );
    let programs = build::image_programs(&image.tree, &image.workshop.join("cargo"))?;
    let builder = Builder::ensure(&image.workshop)?;
    let vendor = Vendor::ensure(&image.tree, &programs)?;
    let staged = Contents {
        image,
        programs: &programs,
        keys: &keys,
        vendor: &vendor,
        commit: &source.commit,
    }
    .stage()?;
    let made = Instant::now();
    say("building the image (the first time fetches Debian's packages)");
    mkosi(image, &builder, &keys, &staged, source.time)?;
    say(&format!("image built in {} s", made.elapsed().as_secs()));
    let root_hash = collect(image, &source)?;
    let bundle = stick::update(image, &keys, &root_hash)?;
    stick::make_disk(image, &builder, &root_hash)?;
    if !options.no_stick {
        stick::make(image, &builder, &keys, &programs, &bundle, &root_hash)?;
    }
    say(&format!(
        "{} is there after {} s",
        image.file("raw").display(),
        started.elapsed().as_secs()
    ));
    Ok(())
}

/// Which commit the tree stands at.
struct Source {
    /// Empty outside a repository.
    commit: String,
    /// Seconds since 1970 at which it was made; every time in the image is this one.
    time: u64,
    /// Nothing differs from the commit.
    is_clean: bool,
}

impl Source {
    fn of(tree: &Path) -> anyhow::Result<Self> {
        /// For a tree without a history: the time at which the image's recipe was first written.
        const TIME_WITHOUT_COMMIT: u64 = 1_760_000_000;
        let git = |arguments: &[&str]| -> Option<String> {
            let output = Command::new("git")
                .current_dir(tree)
                .args(arguments)
                .output()
                .ok()?;
            output
                .status
                .success()
                .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let Some(commit) = git(&["rev-parse", "HEAD"]) else {
            return Ok(Self {
                commit: String::new(),
                time: TIME_WITHOUT_COMMIT,
                is_clean: false,
            });
        };
        let time = git(&["log", "-1", "--format=%ct"]).context("git tells no time of the commit")?;
        Ok(Self {
            commit,
            time: time.parse()?,
            is_clean: git(&["status", "--porcelain"]).is_some_and(|it| it.is_empty()),
        })
    }
}

fn mkosi(image: &Image, builder: &Builder, keys: &Keys, staged: &Path, time: u64) -> anyhow::Result<()> {
    let made = image.workshop.join("work/made");
    for folder in [&made, &image.workshop.join("work/space")] {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder)?;
    }
    let sandbox = sources::write(&image.workshop.join("work/sandbox"))?;
    let mut command = builder.command(&image.tree)?;
    command
        .arg("mkosi")
        .arg("--directory")
        .arg(image.tree.join("image"));
    for (option, value) in [
        ("--output-directory", made.clone()),
        ("--cache-directory", image.workshop.join("cache")),
        ("--package-cache-dir", image.workshop.join("packages")),
        ("--workspace-directory", image.workshop.join("work/space")),
        ("--sandbox-tree", sandbox),
        ("--extra-tree", staged.to_owned()),
    ] {
        std::fs::create_dir_all(&value)?;
        command.arg(option).arg(value);
    }
    command.args(["--image-version", &image.version]);
    command.args(["--source-date-epoch", &time.to_string()]);
    keys.to_mkosi(&mut command);
    quietly(command.args(["--force", "build"]))
}

/// Names the results and reads off them what is inside. Gives the root hash.
fn collect(image: &Image, source: &Source) -> anyhow::Result<String> {
    let made = image.workshop.join("work/made");
    let base = format!("jingui_{}", image.version);
    for (from, to) in [
        (format!("{base}.root.raw"), image.file("root.raw")),
        (format!("{base}.verity.raw"), image.file("verity.raw")),
        (format!("{base}.efi"), image.file("efi")),
    ] {
        tools::move_file(&made.join(from), &to)?;
    }
    let root_hash = root_hash(image)?;
    let licenses = image.out.join("licenses");
    let _ = std::fs::remove_dir_all(&licenses);
    quietly(
        Command::new("cp")
            .arg("-R")
            .arg(made.join("licenses"))
            .arg(&licenses),
    )?;
    let listing = listing::read(image, &made.join("dpkg"))?;
    std::fs::write(image.out.join("files.txt"), listing.text())?;
    let packages = listing.packages(&made.join("dpkg/status"))?;
    let bill = sbom::write(image, &packages, source.time)?;
    std::fs::write(
        image.out.join("sbom.cdx.json"),
        serde_json::to_string_pretty(&bill)? + "\n",
    )?;
    let facts = json!({
        "product": "jingui",
        "image_version": image.version,
        "security_version": image.security_version,
        "profile": image.profile.name(),
        "source": source.commit,
        "root_hash": root_hash,
        "bytes": {
            "root": std::fs::metadata(image.file("root.raw"))?.len(),
            "verity": std::fs::metadata(image.file("verity.raw"))?.len(),
            "uki": std::fs::metadata(image.file("efi"))?.len(),
        },
        "packages": packages.len(),
        "files": listing.len(),
    });
    std::fs::write(
        image.out.join("image.json"),
        serde_json::to_string_pretty(&facts)? + "\n",
    )?;
    Ok(root_hash)
}

/// The root hash, out of the signed command line.
fn root_hash(image: &Image) -> anyhow::Result<String> {
    let line = std::fs::read_to_string(listing::section(image, ".cmdline")?)?;
    let hash = line
        .split_whitespace()
        .find_map(|it| it.strip_prefix("roothash="));
    Ok(hash.context("the boot entry carries no root hash")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_fit_labels_and_names() {
        for version in ["0.1.0", "2026.11.1", "1"] {
            checked_version(version).unwrap();
        }
        for version in ["", "v1", "1_2", "1+3", "1/2", ".1", "1.2.3.4.5.6.7.8.9"] {
            checked_version(version).unwrap_err();
        }
    }
}
