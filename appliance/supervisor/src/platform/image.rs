//! The image under us: its verity root, what its signed command line says, what its signer published; and the volume
//! that the state lies on.

use std::fs;
use std::path::Path;

use jingui_trust::Sha256;
use serde::Deserialize;

use super::{line, read};

const RELEASE_PATH: &str = "usr/share/jingui/release.json";
const RELEASE_BYTES_MAX: u64 = 64 * 1024;
const OS_RELEASE_PATH: &str = "usr/lib/os-release";
const MOUNTS_BYTES_MAX: u64 = 1024 * 1024;
/// How the kernel names what dm-verity and dm-crypt made.
const VERITY_PREFIX: &str = "CRYPT-VERITY-";
const LUKS_PREFIX: &str = "CRYPT-LUKS2-";
/// Name of the verity root, as systemd makes it.
const ROOT_NAME: &str = "root";

/// What the image's signer published, inside the root that the signature covers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Release {
    pub(super) product: String,
    pub(super) image_version: String,
    pub(super) security_version: u64,
    pub(super) profile: String,
    #[serde(default)]
    pub(super) source: String,
}

/// The image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    root: Option<Volume>,
    /// Root hash of the verity device that is mounted, by the kernel.
    pub(super) root_hash: Option<Sha256>,
    /// Root hash in the command line, which the image's signature covers.
    pub(super) signed_root_hash: Option<Sha256>,
    /// Version in the running system's own name.
    pub(super) running_version: Option<String>,
    /// What its signer published.
    pub(super) published: Option<Release>,
}

/// A mounted file system and the device below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Volume {
    /// `dm/uuid` of the device; `None` when it is no device-mapper one.
    mapper_uuid: Option<String>,
}

impl Image {
    /// Reads what there is below `root`.
    pub(super) fn measure(root: &Path) -> Self {
        let release = read(&root.join(RELEASE_PATH), RELEASE_BYTES_MAX);
        let published = release.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self {
            root: Volume::mounted_at(root, Path::new("/")),
            root_hash: verity_table(root).as_deref().and_then(root_hash_of_table),
            signed_root_hash: signed_root_hash(root),
            running_version: os_release(root, "IMAGE_VERSION"),
            published,
        }
    }

    /// Whether the root is the verity device of the signed command line.
    pub(super) fn is_sealed(&self) -> bool {
        let is_verity = self.root.as_ref().is_some_and(|root| root.is(VERITY_PREFIX));
        is_verity && self.root_hash.is_some() && self.root_hash == self.signed_root_hash
    }
}

impl Volume {
    /// What is mounted at `folder`, as the processes below `root` see it.
    pub(super) fn mounted_at(root: &Path, folder: &Path) -> Option<Self> {
        let mounts = read(&root.join("proc/self/mountinfo"), MOUNTS_BYTES_MAX).ok()?;
        let mounts = String::from_utf8(mounts).ok()?;
        let folder = folder.to_str()?;
        // The last one lies on top of the others (proc(5)).
        let device = mounts.lines().rev().find_map(|line| {
            let mut fields = line.split(' ').skip(2);
            let (device, _, place) = (fields.next()?, fields.next()?, fields.next()?);
            (place == folder).then_some(device)
        })?;
        let is_number = device.chars().all(|sign| sign.is_ascii_digit() || sign == ':');
        is_number.then(|| Self {
            mapper_uuid: line(&root.join("sys/dev/block").join(device).join("dm/uuid")),
        })
    }

    /// Whether the device is one that dm-crypt opened.
    pub(super) fn is_encrypted(&self) -> bool {
        self.is(LUKS_PREFIX)
    }

    fn is(&self, prefix: &str) -> bool {
        self.mapper_uuid
            .as_ref()
            .is_some_and(|uuid| uuid.starts_with(prefix))
    }
}

/// Table of the root's verity device. In tests a file stands for the kernel's answer.
fn verity_table(root: &Path) -> Option<String> {
    let control = root.join("dev/mapper/control");
    if fs::metadata(&control).ok()?.is_file() {
        return line(&control);
    }
    jingui_jail::mapper_table(&control, ROOT_NAME)
        .inspect_err(|error| crate::say(format_args!("the verity device cannot be asked: {error}")))
        .ok()
}

/// `<version> <data device> <hash device> <data block> <hash block> <blocks> <start> <algorithm> <digest> <salt>`
/// (kernel, admin-guide/device-mapper/verity).
fn root_hash_of_table(table: &str) -> Option<Sha256> {
    const ALGORITHM: usize = 7;
    let mut fields = table.split_ascii_whitespace().skip(ALGORITHM);
    match (fields.next(), fields.next()) {
        (Some("sha256"), Some(digest)) => digest.parse().ok(),
        _ => None,
    }
}

fn signed_root_hash(root: &Path) -> Option<Sha256> {
    let words = line(&root.join("proc/cmdline"))?;
    let mut hashes = words
        .split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix("roothash="));
    // Two would be somebody's doing: then none counts.
    match (hashes.next(), hashes.next()) {
        (Some(hash), None) => hash.parse().ok(),
        _ => None,
    }
}

fn os_release(root: &Path, name: &str) -> Option<String> {
    let text = String::from_utf8(read(&root.join(OS_RELEASE_PATH), RELEASE_BYTES_MAX).ok()?).ok()?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?
        .trim_matches('"')
        .to_owned();
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn the_root_hash_is_the_ninth_word_of_the_table() {
        let table = format!("1 254:2 254:3 4096 4096 31000 1 sha256 {HASH} 00ff 1 panic_on_corruption");
        assert_eq!(root_hash_of_table(&table), HASH.parse().ok());
        for bad in [
            String::new(),
            table.replace("sha256", "sha1"),
            table.replace(HASH, &HASH[1..]),
            "1 254:2 254:3 4096 4096 31000 1 sha256".to_owned(),
        ] {
            assert_eq!(root_hash_of_table(&bad), None, "{bad}");
        }
    }
}
