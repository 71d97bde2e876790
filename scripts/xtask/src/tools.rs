//! Foreign programs that build and tests need, and how they come to this machine.
//!
//! Debian packages through apt-get (as root only; everybody else gets the command to hand to an administrator), Python
//! packages and programs of crates.io below `target/tools`. Quiet when nothing is missing.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use crate::say;

/// A Debian package and the file or program by which its presence is seen.
struct Package {
    name: &'static str,
    sign: Sign,
}

enum Sign {
    /// A program on the search path.
    Program(&'static str),
    /// The package manager's own word, for libraries.
    Installed,
}

const fn program(name: &'static str, program: &'static str) -> Package {
    Package {
        name,
        sign: Sign::Program(program),
    }
}

const fn library(name: &'static str) -> Package {
    Package {
        name,
        sign: Sign::Installed,
    }
}

/// What compiling needs: llama.cpp is C++ built by CMake, and its Rust bindings are read off by libclang.
const FOR_BUILD: &[Package] = &[
    program("cmake", "cmake"),
    program("g++", "g++"),
    program("make", "make"),
    program("clang", "clang"),
    library("libclang-dev"),
    program("pkg-config", "pkg-config"),
];

/// What tests need beyond the build: a browser, foreign judges in Python and of disks, network tools.
const FOR_TESTS: &[Package] = &[
    program("chromium", "chromium"),
    library("fonts-noto-cjk"),
    program("curl", "curl"),
    program("openssl", "openssl"),
    program("python3", "python3"),
    library("python3-venv"),
    program("iproute2", "ip"),
    program("strace", "strace"),
    program("util-linux", "setpriv"),
    // A TPM in software, and the kernel's own word on fs-verity.
    program("swtpm", "swtpm"),
    program("fsverity", "fsverity"),
    program("fdisk", "sfdisk"),
    program("dosfstools", "fsck.vfat"),
    program("mtools", "mcopy"),
    program("e2fsprogs", "mkfs.ext4"),
    // The image's firewall, tried with real packets.
    program("nftables", "nft"),
];

/// What building and booting the sealed image needs. The rest is in a builder root of its own.
const FOR_IMAGE: &[Package] = &[
    program("qemu-system-x86", "qemu-system-x86_64"),
    library("ovmf"),
    program("swtpm", "swtpm"),
    program("swtpm-tools", "swtpm_setup"),
    program("mmdebstrap", "mmdebstrap"),
    program("erofs-utils", "fsck.erofs"),
    program("cryptsetup-bin", "veritysetup"),
    program("sbsigntool", "sbverify"),
    program("dosfstools", "mkfs.vfat"),
    program("mtools", "mcopy"),
    program("gdisk", "sgdisk"),
    program("fdisk", "sfdisk"),
    program("openssl", "openssl"),
    program("e2fsprogs", "debugfs"),
    program("zstd", "zstd"),
    program("binutils", "objcopy"),
    program("util-linux", "unshare"),
    program("python3", "python3"),
    library("python3-venv"),
    library("debian-archive-keyring"),
];

/// What the generator of bench models needs.
const FOR_BENCH: &[Package] = &[program("python3", "python3"), library("python3-venv")];

/// Node.js below this version cannot build the console; Debian 12 carries 18.20.
const NODE_VERSION_MIN: (u32, u32) = (18, 13);

/// Installs what compiling needs.
pub(crate) fn ensure_for_build() -> anyhow::Result<()> {
    ensure_packages(FOR_BUILD)
}

/// Installs what tests need beyond the build.
pub(crate) fn ensure_for_tests() -> anyhow::Result<()> {
    ensure_packages(FOR_TESTS)
}

/// Installs what building and booting the sealed image needs.
pub(crate) fn ensure_for_image() -> anyhow::Result<()> {
    ensure_packages(FOR_IMAGE)
}

/// Installs what the comparison with a peer needs beyond the build.
pub(crate) fn ensure_for_bench() -> anyhow::Result<()> {
    ensure_packages(FOR_BENCH)
}

fn ensure_packages(wanted: &[Package]) -> anyhow::Result<()> {
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|it| !is_present(it))
        .map(|it| it.name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "packages are missing and only root may install them. Ask an administrator for: apt-get install {list}"
        );
    }
    ensure!(
        find_program("apt-get").is_some(),
        "this machine has no apt-get. Install by its own means: {list}"
    );
    say(&format!("installing {list}"));
    quietly(Command::new("apt-get").args(["update", "-qq"]))?;
    quietly(
        Command::new("apt-get")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(&missing)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

fn is_present(package: &Package) -> bool {
    match package.sign {
        Sign::Program(program) => find_program(program).is_some(),
        Sign::Installed => Command::new("dpkg-query")
            .args(["-W", "-f", "${db:Status-Status}", package.name])
            .output()
            .is_ok_and(|it| it.stdout == b"installed"),
    }
}

/// First file of that name on the search path.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|it| it.is_file())
}

/// `npm` in that folder. Installs Node.js first when the machine has none.
pub(crate) fn npm(folder: &Path) -> anyhow::Result<Command> {
    ensure_node()?;
    Ok(in_folder("npm", folder))
}

/// `node` in that folder. Installs Node.js first when the machine has none.
pub(crate) fn node(folder: &Path) -> anyhow::Result<Command> {
    ensure_node()?;
    Ok(in_folder("node", folder))
}

/// Packages of `package-lock.json`, unless they are there.
pub(crate) fn install_npm(folder: &Path) -> anyhow::Result<()> {
    let installed =
        std::fs::metadata(folder.join("node_modules/.package-lock.json")).and_then(|it| it.modified());
    let locked = std::fs::metadata(folder.join("package-lock.json")).and_then(|it| it.modified())?;
    if installed.is_ok_and(|it| it >= locked) {
        return Ok(());
    }
    quietly(npm(folder)?.args(["ci", "--silent", "--no-audit", "--no-fund"]))
}

fn in_folder(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    command
}

fn ensure_node() -> anyhow::Result<()> {
    ensure_packages(&[program("nodejs", "node"), program("npm", "npm")])?;
    let version = node_version(OsStr::new("node")).context("node tells no version")?;
    let (major, minor) = NODE_VERSION_MIN;
    ensure!(
        version >= NODE_VERSION_MIN,
        "this machine's Node.js is older than {major}.{minor}: install a newer one"
    );
    Ok(())
}

fn node_version(program: &OsStr) -> Option<(u32, u32)> {
    let output = Command::new(program)
        .arg("--version")
        .stderr(Stdio::null())
        .output()
        .ok()?;
    parse_node_version(&String::from_utf8(output.stdout).ok()?)
}

fn parse_node_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().strip_prefix('v')?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// A Python with the packages of `requirements.txt`, below `target/tools/python`. Gives its interpreter.
pub(crate) fn ensure_python(tree: &Path, requirements: &Path) -> anyhow::Result<PathBuf> {
    ensure_python_of(tree, "python", requirements)
}

/// The same below `target/tools/NAME`: one folder holds the packages of one list.
pub(crate) fn ensure_python_of(tree: &Path, name: &str, requirements: &Path) -> anyhow::Result<PathBuf> {
    let folder = tree.join("target/tools").join(name);
    let interpreter = folder.join("bin/python");
    let wanted =
        std::fs::read(requirements).with_context(|| format!("{} is missing", requirements.display()))?;
    let stamp = folder.join("requirements.stamp");
    if std::fs::read(&stamp).is_ok_and(|it| it == wanted) {
        return Ok(interpreter);
    }
    say("fetching Python packages below target/tools");
    quietly(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&folder),
    )?;
    quietly(
        Command::new(&interpreter)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "-r",
            ])
            .arg(requirements),
    )?;
    std::fs::write(&stamp, wanted)?;
    Ok(interpreter)
}

/// A Rust program of crates.io, built below `target/tools/cargo`. Gives its path.
pub(crate) fn ensure_cargo_program(tree: &Path, name: &str, version: &str) -> anyhow::Result<PathBuf> {
    let root = tree.join("target/tools/cargo");
    let program = root.join("bin").join(name);
    let found = Command::new(&program).arg("--version").output();
    if found.is_ok_and(|it| String::from_utf8_lossy(&it.stdout).trim().ends_with(version)) {
        return Ok(program);
    }
    say(&format!(
        "building {name} {version} below target/tools (once, some minutes)"
    ));
    quietly(
        Command::new("cargo")
            .args(["install", "--quiet", "--locked", "--debug", "--root"])
            .arg(&root)
            .args(["--version", version, name])
            // Not the product's flags: a tool need not be compiled for this very CPU.
            .env_remove("RUSTFLAGS")
            .env("CARGO_TARGET_DIR", tree.join("target/tools/cargo-build")),
    )?;
    // Its build folder is larger than the rest of the tree and of no further use.
    let _ = std::fs::remove_dir_all(tree.join("target/tools/cargo-build"));
    Ok(program)
}

/// Moves a file, also to another file system.
pub(crate) fn move_file(from: &Path, to: &Path) -> anyhow::Result<()> {
    quietly(Command::new("mv").arg("-f").arg(from).arg(to))
}

/// Runs a command with its words kept back, and shows them if it fails.
pub(crate) fn quietly(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{name} cannot be started"))?;
    if output.status.success() {
        return Ok(());
    }
    let words = [output.stdout, output.stderr].concat();
    bail!(
        "{name} failed ({}):\n{}",
        output.status,
        String::from_utf8_lossy(&words).trim_end()
    )
}

/// Runs a command that speaks to the person, and fails when it fails.
pub(crate) fn aloud(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("{name} cannot be started"))?;
    ensure!(status.success(), "{name} failed ({status})");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_versions_are_read() {
        for (text, version) in [
            ("v20.19.1\n", Some((20, 19))),
            ("v18.20.4", Some((18, 20))),
            ("20.1", None),
            ("v", None),
            ("", None),
        ] {
            assert_eq!(parse_node_version(text), version, "{text}");
        }
        assert!((18, 12) < NODE_VERSION_MIN && (22, 0) > NODE_VERSION_MIN);
    }

    #[test]
    fn a_failing_command_shows_its_words() {
        let error = quietly(Command::new("sh").args(["-c", "echo why; exit 3"])).unwrap_err();
        assert!(error.to_string().contains("why"), "{error}");
    }
}
