//! The update bundle of an image, a disk with it installed, and the stick that installs it on an empty machine.
//!
//! The stick boots the same root under the same verity by a boot entry of its own, whose signed command line says
//! `jingui.mode=install`. What it installs is the bundle in its last partition, byte for byte.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use jingui_pack::update::{Architecture, FOLDER_NAME, Facts, FileRole, ImageVersion, build};
use jingui_pack::{PackPath, SecurityVersion};
use jingui_trust::Sha256;
use jingui_trust::image_key::ImageKey;

use super::Image;
use super::builder::Builder;
use super::contents::Profile;
use super::keys::Keys;
use super::listing::section;
use crate::tools::quietly;
use crate::vendor::Vendor;

const LOADER: &str = "systemd-bootx64.efi";
/// What tells an installer's boot apart, in the signed command line.
const INSTALL_WORD: &str = "jingui.mode=install";
/// Fixed, so that identifiers are the same in every build.
const SEED: &str = "5c0be6a4-2d1b-4a4e-9a49-0d6f1f9b0c27";
const LOADER_CONF: &str = "timeout 0\neditor no\nauto-firmware no\nauto-entries no\n";

/// Writes `jingui_V.update/`: what `jingui update` takes. Gives the folder.
pub(crate) fn update(image: &Image, keys: &Keys, root_hash: &str) -> anyhow::Result<PathBuf> {
    let folder = image.file("update");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    let base = format!("jingui_{}", image.version);
    let files = [
        (FileRole::Root, format!("{base}.root.raw")),
        (FileRole::Verity, format!("{base}.verity.raw")),
        (FileRole::Uki, format!("{base}.efi")),
        (FileRole::Loader, LOADER.to_owned()),
    ];
    for (role, name) in &files {
        let from = if *role == FileRole::Loader {
            loader(image)?
        } else {
            image.out.join(name)
        };
        std::fs::copy(&from, folder.join(name)).with_context(|| format!("{} is missing", from.display()))?;
    }
    let key = ImageKey::from_pem(&std::fs::read_to_string(keys.image_private())?)?;
    let facts = Facts {
        image_version: ImageVersion::parse(&image.version).context("not a version of an image")?,
        security_version: SecurityVersion::try_from(image.security_version)?,
        architecture: Architecture::X8664,
        roothash: sha256(root_hash)?,
        files: files
            .iter()
            .map(|(role, name)| Ok((*role, PackPath::parse(name)?)))
            .collect::<anyhow::Result<_>>()?,
        site_keys: Vec::new(),
    };
    build(File::open(&folder)?.as_fd(), &facts, &key)?;
    Ok(folder)
}

/// Puts the stick together.
pub(crate) fn make(
    image: &Image,
    builder: &Builder,
    keys: &Keys,
    programs: &Path,
    bundle: &Path,
    root_hash: &str,
) -> anyhow::Result<()> {
    let work = image.workshop.join("work/stick");
    let _ = std::fs::remove_dir_all(&work);
    let (esp, payload, definitions) = (work.join("esp"), work.join("payload"), work.join("definitions"));
    for folder in [
        &esp.join("EFI/BOOT"),
        &esp.join("EFI/Linux"),
        &esp.join("loader"),
        &payload,
        &definitions,
    ] {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::copy(loader(image)?, esp.join("EFI/BOOT/BOOTX64.EFI"))?;
    std::fs::write(esp.join("loader/loader.conf"), LOADER_CONF)?;
    let entry = install_entry(image, builder, keys)?;
    std::fs::copy(
        &entry,
        esp.join("EFI/Linux")
            .join(format!("jingui-install_{}.efi", image.version)),
    )?;
    quietly(
        Command::new("cp")
            .arg("-R")
            .arg(bundle)
            .arg(payload.join(FOLDER_NAME)),
    )?;
    let packages = payload.join("packages");
    std::fs::create_dir_all(&packages)?;
    if image.profile == Profile::Development {
        let vendor = Vendor::ensure(&image.tree, programs)?;
        let package = vendor.sign_demo_package(&image.tree, programs)?;
        quietly(
            Command::new("cp")
                .arg("-R")
                .arg(package)
                .arg(packages.join("glm4-canary")),
        )?;
    }
    let mut parts = parts_of(
        image,
        &esp,
        root_hash,
        "SizeMinBytes=128M\nSizeMaxBytes=128M\n",
        ["", ""],
    )?;
    parts.push(format!(
        "Type=linux-generic\nLabel=jingui-payload\nFormat=ext4\nCopyFiles={}:/\nMinimize=guess\n",
        payload.display()
    ));
    repart(image, builder, &definitions, &parts, &image.file("stick.raw"))
}

/// `jingui_V.raw`: a disk as the installer leaves it, with slot A in full size and nothing behind it.
pub(crate) fn make_disk(image: &Image, builder: &Builder, root_hash: &str) -> anyhow::Result<()> {
    let work = image.workshop.join("work/disk");
    let _ = std::fs::remove_dir_all(&work);
    let (esp, definitions) = (work.join("esp"), work.join("definitions"));
    for folder in [
        &esp.join("EFI/BOOT"),
        &esp.join("EFI/systemd"),
        &esp.join("EFI/Linux"),
        &esp.join("loader"),
        &definitions,
    ] {
        std::fs::create_dir_all(folder)?;
    }
    let loader = loader(image)?;
    std::fs::copy(&loader, esp.join("EFI/BOOT/BOOTX64.EFI"))?;
    std::fs::copy(&loader, esp.join("EFI/systemd").join(LOADER))?;
    std::fs::write(esp.join("loader/loader.conf"), LOADER_CONF)?;
    std::fs::copy(
        image.file("efi"),
        esp.join(format!("EFI/Linux/jingui_{}.efi", image.version)),
    )?;
    let slots = [
        "SizeMinBytes=400M\nSizeMaxBytes=400M\n",
        "SizeMinBytes=16M\nSizeMaxBytes=16M\n",
    ];
    let parts = parts_of(
        image,
        &esp,
        root_hash,
        "SizeMinBytes=256M\nSizeMaxBytes=256M\n",
        slots,
    )?;
    repart(image, builder, &definitions, &parts, &image.file("raw"))
}

/// ESP, root and tree. The latter two carry the identifiers that the root hash gives (Discoverable Partitions
/// Specification), by which the initrd finds them.
fn parts_of(
    image: &Image,
    esp: &Path,
    root_hash: &str,
    esp_size: &str,
    [root_size, tree_size]: [&str; 2],
) -> anyhow::Result<Vec<String>> {
    let (root_id, tree_id) = partition_ids(root_hash)?;
    let version = &image.version;
    Ok(vec![
        format!(
            "Type=esp\nFormat=vfat\nLabel=jingui-esp\nCopyFiles={}:/\n{esp_size}",
            esp.display()
        ),
        format!(
            "Type=root\nLabel=jingui_{version}\nUUID={root_id}\nCopyBlocks={}\nReadOnly=yes\n{root_size}",
            image.file("root.raw").display()
        ),
        format!(
            "Type=root-verity\nLabel=jingui_{version}_verity\nUUID={tree_id}\nCopyBlocks={}\nReadOnly=yes\n{tree_size}",
            image.file("verity.raw").display()
        ),
    ])
}

/// Makes a disk image of these partitions.
fn repart(
    image: &Image,
    builder: &Builder,
    definitions: &Path,
    parts: &[String],
    to: &Path,
) -> anyhow::Result<()> {
    for (index, part) in parts.iter().enumerate() {
        std::fs::write(
            definitions.join(format!("{index:02}.conf")),
            format!("[Partition]\n{part}"),
        )?;
    }
    let made = image.workshop.join("work/disk.raw");
    let _ = std::fs::remove_file(&made);
    let mut repart = builder.command(&image.tree)?;
    repart
        .args([
            "systemd-repart",
            "--dry-run=no",
            "--empty=create",
            "--size=auto",
            "--offline=yes",
            "--sector-size=512",
            "--no-pager",
        ])
        .arg(format!("--definitions={}", definitions.display()))
        .arg(format!("--seed={SEED}"))
        .arg(&made);
    quietly(&mut repart)?;
    crate::tools::move_file(&made, to)
}

/// First and last half of the root hash as identifiers of root and tree.
fn partition_ids(root_hash: &str) -> anyhow::Result<(String, String)> {
    ensure!(
        root_hash.len() == 64 && root_hash.bytes().all(|it| it.is_ascii_hexdigit()),
        "{root_hash} is no root hash"
    );
    let (first, last) = root_hash.split_at(32);
    let id = |digits: &str| {
        let mut id = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if matches!(index, 8 | 12 | 16 | 20) {
                id.push('-');
            }
            id.push(digit);
        }
        id
    };
    Ok((id(first), id(last)))
}

/// The boot entry of the stick: kernel, initrd and command line of the image's own, and one word more.
fn install_entry(image: &Image, builder: &Builder, keys: &Keys) -> anyhow::Result<PathBuf> {
    let line = std::fs::read_to_string(section(image, ".cmdline")?)?;
    let line = format!("{} {INSTALL_WORD}", line.trim_end_matches('\0').trim());
    let release = std::fs::read_to_string(section(image, ".uname")?)?;
    let made = image.workshop.join("work/install.efi");
    let mut ukify = builder.command(&image.tree)?;
    ukify.args(["ukify", "build"]);
    ukify.arg("--linux").arg(section(image, ".linux")?);
    ukify.arg("--initrd").arg(section(image, ".initrd")?);
    ukify
        .arg("--os-release")
        .arg(format!("@{}", section(image, ".osrel")?.display()));
    ukify.args(["--cmdline", &line, "--uname", release.trim_end_matches('\0')]);
    keys.to_ukify(&mut ukify, &image.workshop.join("work"))?;
    ukify.arg("--output").arg(&made);
    quietly(&mut ukify)?;
    let result = image.out.join(format!("jingui-install_{}.efi", image.version));
    crate::tools::move_file(&made, &result)?;
    Ok(result)
}

/// The signed boot loader, out of the image's ESP.
fn loader(image: &Image) -> anyhow::Result<PathBuf> {
    /// Where repart puts the first partition.
    const ESP_OFFSET: &str = "@@1M";
    let file = image.workshop.join("work").join(LOADER);
    let _ = std::fs::remove_file(&file);
    quietly(
        Command::new("mcopy")
            .arg("-i")
            .arg(format!(
                "{}{ESP_OFFSET}",
                image
                    .workshop
                    .join("work/made")
                    .join(format!("jingui_{}.raw", image.version))
                    .display()
            ))
            .arg("::/EFI/BOOT/BOOTX64.EFI")
            .arg(&file),
    )?;
    Ok(file)
}

fn sha256(digits: &str) -> anyhow::Result<Sha256> {
    Ok(serde_json::from_value(serde_json::Value::String(
        digits.to_owned(),
    ))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_carry_the_halves_of_the_root_hash() {
        let hash = "00112233445566778899aabbccddeeff0123456789abcdeffedcba9876543210";
        assert_eq!(
            partition_ids(hash).unwrap(),
            (
                "00112233-4455-6677-8899-aabbccddeeff".to_owned(),
                "01234567-89ab-cdef-fedc-ba9876543210".to_owned()
            )
        );
        partition_ids("00").unwrap_err();
    }
}
