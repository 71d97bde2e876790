//! Every file of the image with the package it came from, read off the finished root and initrd, not off the recipe.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::Image;
use crate::tools::quietly;

/// What came from no package of Debian's: our programs and the files below `image/`.
const OURS: &str = "jingui";
/// Made by tools while the image is built: indexes of modules and hardware, the loader's cache, users.
const MADE: &str = "made";
/// Header of one entry of a cpio archive of kind `newc` (`Documentation/driver-api/early-userspace/buffer-format.rst`).
const CPIO_HEADER_BYTES: usize = 110;
const CPIO_MAGIC: &[u8] = b"070701";

/// One file of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Where it is, from the root or the initrd.
    pub(crate) path: String,
    /// Octal mode with the kind of file.
    pub(crate) mode: u32,
    /// Bytes of a plain file.
    pub(crate) bytes: u64,
    /// Whose it is.
    pub(crate) package: String,
}

/// All files of root and initrd.
#[derive(Debug)]
pub(crate) struct Listing {
    root: Vec<Entry>,
    initrd: Vec<Entry>,
}

/// An installed package, as `dpkg` knew it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    /// Name.
    pub(crate) name: String,
    /// Version.
    pub(crate) version: String,
    /// Architecture, or `all`.
    pub(crate) architecture: String,
    /// Source package and its version, where they differ.
    pub(crate) source: Option<String>,
}

/// Reads root and initrd of a finished image. `dpkg` is the package manager's folder as it was before it was removed.
pub(crate) fn read(image: &Image, dpkg: &Path) -> anyhow::Result<Listing> {
    let owners = owners(&dpkg.join("info"))?;
    let folder = image.workshop.join("work/root");
    let _ = std::fs::remove_dir_all(&folder);
    quietly(
        Command::new("fsck.erofs")
            .arg(format!("--extract={}", folder.display()))
            .arg(image.file("root.raw")),
    )?;
    let mut root = Vec::new();
    walk(&folder, &folder, &mut root)?;
    let _ = std::fs::remove_dir_all(&folder);
    let initrd = read_initrd(image)?;
    let named = |entries: Vec<Entry>| -> Vec<Entry> {
        let mut entries: Vec<Entry> = entries
            .into_iter()
            .map(|it| Entry {
                package: owner_of(&it.path, &owners),
                ..it
            })
            .collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        entries
    };
    Ok(Listing {
        root: named(root),
        initrd: named(initrd),
    })
}

impl Listing {
    /// `WHERE MODE BYTES PACKAGE PATH`, one line for each file and link; folders are left out.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (place, entries) in [("root", &self.root), ("initrd", &self.initrd)] {
            for it in entries {
                text += &format!(
                    "{place} {:06o} {} {} {}\n",
                    it.mode, it.bytes, it.package, it.path
                );
            }
        }
        text
    }

    /// Files and links.
    pub(crate) fn len(&self) -> usize {
        self.root.len() + self.initrd.len()
    }

    /// Packages of which at least one file is in the image.
    pub(crate) fn packages(&self, status: &Path) -> anyhow::Result<Vec<Package>> {
        let text =
            std::fs::read_to_string(status).with_context(|| format!("{} is missing", status.display()))?;
        let mut packages = parse_status(&text);
        packages.retain(|package| {
            let mut entries = self.root.iter().chain(&self.initrd);
            entries.any(|it| it.package == package.name)
        });
        Ok(packages)
    }
}

/// `info/PACKAGE[:ARCHITECTURE].list`: the paths of each package.
fn owners(info: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut owners = BTreeMap::new();
    for entry in std::fs::read_dir(info).with_context(|| format!("{} is missing", info.display()))? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|it| it.to_str()?.strip_suffix(".list")) else {
            continue;
        };
        let package = name.split(':').next().unwrap_or(name).to_owned();
        for line in std::fs::read_to_string(&path)?.lines() {
            owners.insert(below_usr(line), package.clone());
        }
    }
    Ok(owners)
}

/// Debian's lists know `/bin` and `/lib`; in the image these are links to folders below `/usr`.
fn below_usr(path: &str) -> String {
    let is_merged = ["/bin/", "/sbin/", "/lib/", "/lib64/"]
        .iter()
        .any(|it| path.starts_with(it));
    if is_merged {
        format!("/usr{path}")
    } else {
        path.to_owned()
    }
}

fn owner_of(path: &str, owners: &BTreeMap<String, String>) -> String {
    if let Some(package) = owners.get(path) {
        return package.clone();
    }
    let is_ours = path.contains("jingui");
    (if is_ours { OURS } else { MADE }).to_owned()
}

fn walk(top: &Path, folder: &Path, entries: &mut Vec<Entry>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let facts = entry.metadata()?;
        if facts.is_dir() {
            walk(top, &entry.path(), entries)?;
            continue;
        }
        let path = entry.path();
        entries.push(Entry {
            path: format!("/{}", path.strip_prefix(top)?.display()),
            mode: facts.permissions().mode(),
            bytes: if facts.is_file() { facts.len() } else { 0 },
            package: String::new(),
        });
    }
    Ok(())
}

/// The initrd's files, out of the signed kernel image.
fn read_initrd(image: &Image) -> anyhow::Result<Vec<Entry>> {
    let packed = section(image, ".initrd")?;
    std::fs::write(&packed, without_padding(&std::fs::read(&packed)?)?)?;
    let output = Command::new("zstd")
        .args(["--decompress", "--stdout", "--quiet"])
        .arg(&packed)
        .stdin(Stdio::null())
        .output()?;
    ensure!(
        output.status.success(),
        "the initrd cannot be unpacked: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    parse_cpio(&output.stdout)
}

/// The zstd frames of an initrd, without the zeros between them that the kernel skips and `zstd` does not (RFC 8878
/// section 3.1).
fn without_padding(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut frames = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        if rest.first() == Some(&0) {
            at += 1;
            continue;
        }
        let length =
            frame_bytes(rest).with_context(|| format!("no zstd frame at byte {at} of the initrd"))?;
        frames.extend_from_slice(rest.get(..length).context("a frame is cut off")?);
        at += length;
    }
    Ok(frames)
}

fn frame_bytes(frame: &[u8]) -> Option<usize> {
    const MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
    if !frame.starts_with(MAGIC) {
        return None;
    }
    let descriptor = usize::from(*frame.get(4)?);
    let is_single_segment = descriptor & 0x20 != 0;
    let size_bytes = match descriptor >> 6 {
        0 => usize::from(is_single_segment),
        power => 1 << power,
    };
    let dictionary_bytes = [0, 1, 2, 4].get(descriptor & 3)?;
    let mut at = 5 + usize::from(!is_single_segment) + dictionary_bytes + size_bytes;
    loop {
        let header: [u8; 3] = frame.get(at..at + 3)?.try_into().ok()?;
        let [low, middle, high] = header.map(usize::from);
        let header = low | middle << 8 | high << 16;
        // A block of one repeated byte holds that byte only.
        let block_bytes = if header >> 1 & 3 == 1 { 1 } else { header >> 3 };
        at += 3 + block_bytes;
        if header & 1 == 1 {
            break;
        }
    }
    let checksum_bytes = if descriptor & 4 == 0 { 0 } else { 4 };
    Some(at + checksum_bytes)
}

/// One section of the signed kernel image, in a file.
pub(crate) fn section(image: &Image, name: &str) -> anyhow::Result<PathBuf> {
    let file = image.workshop.join("work").join(name.trim_start_matches('.'));
    quietly(
        Command::new("objcopy")
            .args(["--output-target=binary", &format!("--only-section={name}")])
            .arg(image.file("efi"))
            .arg(&file),
    )?;
    Ok(file)
}

/// Archives may follow one another, with zeros between.
fn parse_cpio(bytes: &[u8]) -> anyhow::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut at = 0;
    while let Some(header) = bytes.get(at..at + CPIO_HEADER_BYTES) {
        if header.first() == Some(&0) {
            at += 4;
            continue;
        }
        ensure!(
            header.starts_with(CPIO_MAGIC),
            "the initrd is no cpio archive at byte {at}"
        );
        let field = |index: usize| -> anyhow::Result<usize> {
            let start = 6 + index * 8;
            let digits = header.get(start..start + 8).context("a short header")?;
            Ok(usize::from_str_radix(std::str::from_utf8(digits)?, 16)?)
        };
        let (mode, size, name_bytes) = (field(1)?, field(6)?, field(11)?);
        let name_start = at + CPIO_HEADER_BYTES;
        let name = bytes
            .get(name_start..(name_start + name_bytes).saturating_sub(1))
            .context("the initrd ends within a name")?;
        let name = String::from_utf8_lossy(name).into_owned();
        let body_start = (name_start + name_bytes).next_multiple_of(4);
        at = (body_start + size).next_multiple_of(4);
        let is_folder = mode & 0o170_000 == 0o040_000;
        if name != "TRAILER!!!" && !is_folder {
            let is_plain = mode & 0o170_000 == 0o100_000;
            entries.push(Entry {
                path: format!("/{}", name.trim_start_matches("./").trim_start_matches('/')),
                mode: u32::try_from(mode)?,
                bytes: if is_plain { u64::try_from(size)? } else { 0 },
                package: String::new(),
            });
        }
    }
    Ok(entries)
}

/// The stanzas of `status` that say installed.
fn parse_status(text: &str) -> Vec<Package> {
    let mut packages = Vec::new();
    for stanza in text.split("\n\n") {
        let field = |name: &str| {
            stanza
                .lines()
                .find_map(|it| it.strip_prefix(name)?.strip_prefix(": "))
                .map(str::to_owned)
        };
        let is_installed = field("Status").is_some_and(|it| it.ends_with(" installed"));
        if let (true, Some(name), Some(version), Some(architecture)) = (
            is_installed,
            field("Package"),
            field("Version"),
            field("Architecture"),
        ) {
            packages.push(Package {
                name,
                version,
                architecture,
                source: field("Source"),
            });
        }
    }
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpio(name: &str, mode: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = CPIO_MAGIC.to_vec();
        let fields = [
            1,
            mode,
            0,
            0,
            1,
            0,
            u32::try_from(body.len()).unwrap(),
            0,
            0,
            0,
            0,
            u32::try_from(name.len() + 1).unwrap(),
            0,
        ];
        for field in fields {
            bytes.extend(format!("{field:08x}").bytes());
        }
        bytes.extend(name.bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn archives_that_follow_one_another_are_read_whole() {
        let bytes = [
            cpio("usr", 0o040_755, b""),
            cpio("usr/a", 0o100_644, b"12345"),
            cpio("TRAILER!!!", 0, b""),
            vec![0; 512],
            cpio("usr/b", 0o120_777, b"a"),
            cpio("TRAILER!!!", 0, b""),
        ]
        .concat();
        let entries = parse_cpio(&bytes).unwrap();
        let found: Vec<(&str, u64)> = entries.iter().map(|it| (it.path.as_str(), it.bytes)).collect();
        assert_eq!(found, [("/usr/a", 5), ("/usr/b", 0)]);
        let garbled = [&bytes[..], &[b'x'; CPIO_HEADER_BYTES]].concat();
        parse_cpio(&garbled).unwrap_err();
    }

    #[test]
    fn frames_are_found_between_zeros() {
        let pack = |text: &str| {
            let mut child = Command::new("zstd")
                .args(["--compress", "--stdout", "--quiet"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
            child.wait_with_output().unwrap().stdout
        };
        let (one, two) = (pack("one"), pack(&"two".repeat(100_000)));
        let padded = [&one[..], &[0; 7], &two, &[0; 3]].concat();
        assert_eq!(without_padding(&padded).unwrap(), [&one[..], &two].concat());
        without_padding(&padded[3..]).unwrap_err();
    }

    #[test]
    fn only_installed_packages_count() {
        let text = "Package: b\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2\nSource: s (1)\n\n\
                    Package: a\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n";
        let packages = parse_status(text);
        assert_eq!(packages.len(), 1);
        assert_eq!(packages[0].source.as_deref(), Some("s (1)"));
    }

    #[test]
    fn files_of_merged_folders_keep_their_package() {
        let owners = BTreeMap::from([(below_usr("/bin/mount"), "mount".to_owned())]);
        assert_eq!(owner_of("/usr/bin/mount", &owners), "mount");
        assert_eq!(owner_of("/usr/lib/jingui/jingui-engine", &owners), OURS);
        assert_eq!(owner_of("/etc/machine-id", &owners), MADE);
    }
}
