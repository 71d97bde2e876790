//! What is in the image, read off the list that the build made of the finished root and initrd.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use jingui_e2e::tree;
use serde_json::Value;

use crate::site::Built;

/// Programs that would make a box out of a sealed box, by the last part of their path.
const FORBIDDEN: &[&str] = &[
    "sh",
    "bash",
    "dash",
    "perl",
    "python3",
    "awk",
    "mawk",
    "login",
    "su",
    "sudo",
    "sulogin",
    "agetty",
    "sshd",
    "ssh",
    "apt",
    "apt-get",
    "dpkg",
    "gcc",
    "cc",
    "ld",
    "make",
    "curl",
    "wget",
    "nc",
    "telnet",
    "gdb",
    "strace",
    "systemd-run",
    "busctl",
    "nsenter",
    "unshare",
    "pkexec",
];
/// Largest image without models: root, tree and boot entry.
const IMAGE_BYTES_MAX: u64 = 300 * 1000 * 1000;

struct Line {
    place: String,
    mode: u32,
    package: String,
    path: String,
}

fn lines() -> anyhow::Result<Vec<Line>> {
    let text = std::fs::read_to_string(Built::find()?.folder.join("files.txt"))?;
    text.lines()
        .map(|line| {
            let mut words = line.splitn(5, ' ').map(str::to_owned);
            let mut next = || {
                words
                    .next()
                    .with_context(|| format!("not a line of the list: {line}"))
            };
            let (place, mode, _bytes, package, path) = (next()?, next()?, next()?, next()?, next()?);
            Ok(Line {
                place,
                mode: u32::from_str_radix(&mode, 8)?,
                package,
                path,
            })
        })
        .collect()
}

#[test]
fn nobody_finds_a_shell_an_interpreter_or_a_package_manager() -> anyhow::Result<()> {
    for line in lines()? {
        let name = line.path.rsplit('/').next().unwrap_or_default();
        let is_program = line.mode & 0o111 != 0 && line.mode & 0o170_000 == 0o100_000;
        ensure!(
            !(is_program && FORBIDDEN.contains(&name)),
            "{} is in the {}",
            line.path,
            line.place
        );
        ensure!(
            line.mode & 0o6000 == 0,
            "{} takes on its owner's rights",
            line.path
        );
        ensure!(
            line.mode & 0o002 == 0 || line.mode & 0o170_000 == 0o120_000,
            "{} is writable by everybody",
            line.path
        );
    }
    Ok(())
}

/// Where the list of what may be there lies.
fn golden() -> PathBuf {
    tree().join("image/files.txt")
}

#[test]
fn nothing_new_slips_into_the_image() -> anyhow::Result<()> {
    let found: BTreeSet<String> = lines()?
        .iter()
        .map(|it| format!("{} {} {}", it.place, it.package, without_versions(&it.path)))
        .collect();
    let text: String = found.iter().map(|it| format!("{it}\n")).collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden(), text)?;
        return Ok(());
    }
    let allowed: BTreeSet<String> = std::fs::read_to_string(golden())?
        .lines()
        .map(str::to_owned)
        .collect();
    let new: Vec<&String> = found.difference(&allowed).collect();
    let gone: Vec<&String> = allowed.difference(&found).collect();
    ensure!(
        new.is_empty() && gone.is_empty(),
        "the image differs from image/files.txt (UPDATE_GOLDEN=1 writes it, a person reads the diff):\nnew {new:#?}\ngone {gone:#?}"
    );
    Ok(())
}

/// A path without what every update of Debian changes: the kernel's version, numbers behind `.so`.
fn without_versions(path: &str) -> String {
    let parts: Vec<String> = path
        .split('/')
        .map(|part| {
            if let Some((name, _)) = part.split_once(".so.") {
                return format!("{name}.so.N");
            }
            let is_kernel = part.starts_with(|it: char| it.is_ascii_digit()) && part.contains("+deb");
            if is_kernel {
                "KERNEL".to_owned()
            } else {
                part.to_owned()
            }
        })
        .collect();
    parts.join("/")
}

#[test]
fn the_image_is_small_and_its_bill_of_materials_is_whole() -> anyhow::Result<()> {
    let built = Built::find()?;
    let bytes = ["root", "verity", "uki"].iter().try_fold(0, |sum, part| {
        let pointer = format!("/bytes/{part}");
        let bytes = built.facts.pointer(&pointer).and_then(Value::as_u64);
        Some(sum + bytes?)
    });
    let bytes = bytes.context("image.json tells no sizes")?;
    ensure!(bytes <= IMAGE_BYTES_MAX, "the image has {bytes} bytes");
    let bill: Value = serde_json::from_slice(&std::fs::read(built.folder.join("sbom.cdx.json"))?)?;
    let names: BTreeSet<&str> = bill
        .get("components")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|it| it.get("name")?.as_str())
        .collect();
    for line in lines()? {
        let is_ours = matches!(line.package.as_str(), "jingui" | "made");
        ensure!(
            is_ours || names.contains(line.package.as_str()),
            "{} of {} is not in the bill of materials",
            line.path,
            line.package
        );
    }
    for name in ["jingui-supervisor", "ring", "systemd", "libc6"] {
        ensure!(names.contains(name), "{name} is not in the bill of materials");
    }
    Ok(())
}
