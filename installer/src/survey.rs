//! The disks of the machine as the kernel shows them below `/sys`, and which of them may be written.
//!
//! A disk is told by model, serial and size; its name (`sda`) is the kernel's and may change. What was chosen is opened
//! once, for this process alone (`O_EXCL`: the kernel refuses a disk that is mounted or part of something), and on the
//! open descriptor number, serial, size and sequence number are compared with what the person saw.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jingui_pack::update::Architecture;
use nix::fcntl::OFlag;
use nix::sys::stat::{major, minor};

use crate::disk::{Disk, FileDisk, SECTOR_BYTES};
use crate::gpt::{Table, TableFault};
use crate::layout;

/// Most disks that are looked at.
const DISKS_MAX: usize = 256;
/// Longest attribute that is read.
const ATTRIBUTE_BYTES_MAX: usize = 4096;
/// Letters of a serial by which a person confirms a disk, when they are enough to tell it from the others.
const HANDLE_CHARACTERS: usize = 4;
/// Bytes read at three places of a disk, to see that it answers.
const PROBE_BYTES: usize = 1 << 20;
/// Names of devices that are no disks of their own.
const NO_DISKS: &[&str] = &["loop", "ram", "dm-", "md", "zram", "sr", "fd", "nbd"];

/// Where the machine is looked at.
#[derive(Debug, Clone)]
pub struct Roots {
    /// `/sys`.
    pub sys: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
    /// `/proc`.
    pub proc: PathBuf,
    /// `major:minor` of an open device.
    pub number: fn(&File) -> io::Result<String>,
}

/// A disk of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The kernel's name, for example `sda`.
    pub name: String,
    /// `major:minor`.
    pub number: String,
    /// Vendor and model, as the disk says.
    pub model: String,
    /// Serial, as the disk says; empty for one that has none.
    pub serial: String,
    /// Bytes.
    pub bytes: u64,
    /// The kernel's count of disks that came and went; 0 where it does not count.
    pub sequence: u64,
    /// Why it may not be written.
    pub unfit: Option<Unfit>,
    /// What is on it, as far as its partition table says.
    pub content: Content,
    /// What the person types to confirm it.
    pub handle: String,
}

/// Why a disk may not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// The installer itself runs from it.
    Medium,
    /// It can be pulled out.
    Removable,
    /// It says that it cannot be written.
    ReadOnly,
    /// Something uses it.
    InUse,
    /// It is too small.
    TooSmall,
    /// Its sectors are not of 512 bytes.
    Sectors,
    /// It, or the kernel, says that it fails, or it cannot be read.
    Failing,
}

/// What is on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// No partition table.
    Nothing,
    /// A system of ours.
    Ours,
    /// An installation that did not come to its end.
    Unfinished,
    /// Something else.
    Foreign,
}

/// Why a chosen disk was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenFault {
    /// Something uses it.
    #[error("the disk is in use")]
    InUse,
    /// It is not the disk that was chosen.
    #[error("the disk is not the one that was chosen")]
    Changed,
    /// It cannot be opened or looked at.
    #[error("the disk cannot be opened")]
    Failed(#[from] io::Error),
}

impl Unfit {
    /// Every value.
    pub const ALL: [Self; 7] = [
        Self::Medium,
        Self::Removable,
        Self::ReadOnly,
        Self::InUse,
        Self::TooSmall,
        Self::Sectors,
        Self::Failing,
    ];

    /// Stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Medium => "install.disk.medium",
            Self::Removable => "install.disk.removable",
            Self::ReadOnly => "install.disk.read-only",
            Self::InUse => "install.disk.in-use",
            Self::TooSmall => "install.disk.too-small",
            Self::Sectors => "install.disk.sectors",
            Self::Failing => "install.disk.failing",
        }
    }
}

impl Content {
    /// Key of its words.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Nothing => "installer.content.nothing",
            Self::Ours => "installer.content.ours",
            Self::Unfinished => "installer.content.unfinished",
            Self::Foreign => "installer.content.foreign",
        }
    }
}

impl OpenFault {
    /// Every code of [`Self::code`].
    pub const CODES: &'static [&'static str] = &[
        "install.disk.in-use",
        "install.disk.changed",
        "install.disk.failed",
    ];

    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InUse => "install.disk.in-use",
            Self::Changed => "install.disk.changed",
            Self::Failed(_) => "install.disk.failed",
        }
    }
}

impl Roots {
    /// This machine.
    #[must_use]
    pub fn real() -> Self {
        Self {
            sys: PathBuf::from("/sys"),
            dev: PathBuf::from("/dev"),
            proc: PathBuf::from("/proc"),
            number: number_of,
        }
    }

    /// The disk that the running root lies on: behind dm-verity, or directly.
    ///
    /// # Errors
    /// When the kernel does not show it.
    pub fn medium(&self) -> io::Result<String> {
        let mounts = fs::read_to_string(self.proc.join("self/mountinfo"))?;
        let number = mounts
            .lines()
            .filter_map(|line| {
                let mut fields = line.split(' ').skip(2);
                let (number, _, place) = (fields.next()?, fields.next()?, fields.next()?);
                (place == "/").then_some(number)
            })
            .next_back()
            .ok_or_else(|| io::Error::other("nothing is mounted as root"))?;
        let device = fs::canonicalize(self.sys.join("dev/block").join(number))?;
        let slave = match fs::read_dir(device.join("slaves")) {
            Ok(mut slaves) => slaves.next().transpose()?.map(|entry| entry.path()),
            Err(_) => None,
        };
        let lowest = match slave {
            Some(slave) => fs::canonicalize(slave)?,
            None => device,
        };
        let disk = if lowest.join("partition").exists() {
            lowest.parent().unwrap_or(&lowest)
        } else {
            &lowest
        };
        Ok(file_name(disk))
    }

    /// The device of the running root, all of whose blocks dm-verity checks.
    ///
    /// # Errors
    /// When the kernel does not show it, or it is no dm-verity device.
    pub fn checked_root(&self) -> io::Result<PathBuf> {
        let mounts = fs::read_to_string(self.proc.join("self/mountinfo"))?;
        let root = mounts.lines().rev().find_map(|line| {
            let mut fields = line.split(' ').skip(2);
            let (number, _, place) = (fields.next()?, fields.next()?, fields.next()?);
            (place == "/").then(|| number.to_owned())
        });
        let number = root.ok_or_else(|| io::Error::other("nothing is mounted as root"))?;
        let device = fs::canonicalize(self.sys.join("dev/block").join(number))?;
        let uuid = attribute(&device, "dm/uuid");
        if !uuid.starts_with("CRYPT-VERITY-") {
            return Err(io::Error::other("the root file system is not on dm-verity"));
        }
        Ok(self.dev.join(file_name(&device)))
    }

    /// Device of the partition with that label on that disk, if there is exactly one.
    ///
    /// # Errors
    /// When the kernel does not show the disk.
    pub fn partition(&self, disk: &str, label: &str) -> io::Result<Option<PathBuf>> {
        let mut found = Vec::new();
        for path in self.partitions(disk)? {
            let event = attribute(&path, "uevent");
            let name = event.lines().find_map(|line| line.strip_prefix("PARTNAME="));
            if name == Some(label) {
                found.push(self.dev.join(file_name(&path)));
            }
        }
        let one = found.pop();
        Ok(one.filter(|_| found.is_empty()))
    }

    /// All disks, by name.
    ///
    /// # Errors
    /// When `/sys` cannot be read.
    pub fn disks(&self, medium: &str, architecture: Architecture) -> io::Result<Vec<Found>> {
        let used = self.used_numbers();
        let mut disks = Vec::new();
        for entry in fs::read_dir(self.sys.join("block"))?.take(DISKS_MAX) {
            let name = file_name(&entry?.path());
            if NO_DISKS.iter().any(|prefix| name.starts_with(prefix)) {
                continue;
            }
            if let Some(found) = self.look_at(&name, medium, &used, architecture) {
                disks.push(found);
            }
        }
        disks.sort_by(|one, other| one.name.cmp(&other.name));
        give_handles(&mut disks);
        Ok(disks)
    }

    fn look_at(
        &self,
        name: &str,
        medium: &str,
        used: &BTreeSet<String>,
        architecture: Architecture,
    ) -> Option<Found> {
        let path = fs::canonicalize(self.sys.join("block").join(name)).ok()?;
        let number = |attribute_name: &str| attribute(&path, attribute_name).parse::<u64>().ok();
        let bytes = number("size")?.saturating_mul(SECTOR_BYTES as u64);
        if bytes == 0 {
            return None;
        }
        let mut found = Found {
            name: name.to_owned(),
            number: attribute(&path, "dev"),
            model: model(&path),
            serial: serial(&path),
            bytes,
            sequence: number("diskseq").unwrap_or(0),
            unfit: None,
            content: Content::Nothing,
            handle: String::new(),
        };
        let state = attribute(&path, "device/state");
        found.unfit = if name == medium {
            Some(Unfit::Medium)
        } else if number("removable") == Some(1) {
            Some(Unfit::Removable)
        } else if number("ro") == Some(1) {
            Some(Unfit::ReadOnly)
        } else if self.is_used(name, &path, used) {
            Some(Unfit::InUse)
        } else if bytes < layout::DISK_BYTES_MIN {
            Some(Unfit::TooSmall)
        } else if number("queue/logical_block_size").is_some_and(|bytes| bytes != SECTOR_BYTES as u64) {
            Some(Unfit::Sectors)
        } else if !matches!(state.as_str(), "" | "running" | "live") {
            Some(Unfit::Failing)
        } else {
            None
        };
        if found.unfit.is_none() {
            match self.probe(&found, architecture) {
                Ok(content) => found.content = content,
                Err(_) => found.unfit = Some(Unfit::Failing),
            }
        }
        Some(found)
    }

    /// Reads at the beginning, in the middle and at the end: a disk that does not answer there is not asked to hold a
    /// system.
    fn probe(&self, found: &Found, architecture: Architecture) -> io::Result<Content> {
        let file = File::open(self.dev.join(&found.name))?;
        let mut bytes = vec![0; PROBE_BYTES];
        let end = found.bytes.saturating_sub(PROBE_BYTES as u64);
        for at in [0, end / 2, end] {
            file.read_exact_at(&mut bytes, at)?;
        }
        let disk = FileDisk::new(file)?;
        match Table::read(&disk) {
            Ok(table) if layout::is_unfinished(&table) => Ok(Content::Unfinished),
            Ok(table) if layout::is_ours(&table, architecture) => Ok(Content::Ours),
            Ok(_) => Ok(Content::Foreign),
            Err(TableFault::Disk(error)) => Err(error),
            Err(_) => Ok(content_without_table(&disk)?),
        }
    }

    fn partitions(&self, disk: &str) -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(self.sys.join("block").join(disk))? {
            let path = entry?.path();
            if path.join("partition").exists() {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }

    fn is_used(&self, name: &str, path: &Path, used: &BTreeSet<String>) -> bool {
        let mut devices = vec![path.to_owned()];
        devices.extend(self.partitions(name).unwrap_or_default());
        devices.iter().any(|device| {
            let has_holders = fs::read_dir(device.join("holders")).is_ok_and(|mut it| it.next().is_some());
            has_holders || used.contains(&attribute(device, "dev"))
        })
    }

    /// Devices that are mounted or swapped to.
    fn used_numbers(&self) -> BTreeSet<String> {
        let mounts = fs::read_to_string(self.proc.join("self/mountinfo")).unwrap_or_default();
        let mounted = mounts.lines().filter_map(|line| line.split(' ').nth(2));
        let swaps = fs::read_to_string(self.proc.join("swaps")).unwrap_or_default();
        let swapped = swaps.lines().skip(1).filter_map(|line| {
            let name = Path::new(line.split_whitespace().next()?).file_name()?;
            Some(attribute(&self.sys.join("class/block").join(name), "dev"))
        });
        mounted.map(ToOwned::to_owned).chain(swapped).collect()
    }

    /// Opens a disk for this process alone, and makes sure on the open descriptor that it is the one that was found.
    ///
    /// # Errors
    /// Any [`OpenFault`].
    pub fn open(&self, found: &Found) -> Result<FileDisk, OpenFault> {
        let flags = OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags.bits())
            .open(self.dev.join(&found.name));
        let file = opened.map_err(|error| match error.raw_os_error() {
            Some(code) if code == nix::errno::Errno::EBUSY as i32 => OpenFault::InUse,
            _ => OpenFault::Failed(error),
        })?;
        self.check(found, &file)?;
        Ok(FileDisk::new(file)?)
    }

    /// Whether the open device is the disk that was found.
    fn check(&self, found: &Found, file: &File) -> Result<(), OpenFault> {
        let number = (self.number)(file)?;
        let path = fs::canonicalize(self.sys.join("dev/block").join(&number))?;
        let same = number == found.number
            && file_name(&path) == found.name
            && serial(&path) == found.serial
            && attribute(&path, "size").parse::<u64>().ok() == Some(found.bytes / SECTOR_BYTES as u64)
            && attribute(&path, "diskseq").parse::<u64>().unwrap_or(0) == found.sequence;
        if same { Ok(()) } else { Err(OpenFault::Changed) }
    }

    /// Whether a disk of that name is there.
    #[must_use]
    pub fn is_there(&self, name: &str) -> bool {
        self.sys.join("block").join(name).exists()
    }
}

/// A disk that has no whole table is empty only when its first sectors are.
fn content_without_table(disk: &dyn Disk) -> io::Result<Content> {
    let mut head = [0; 64 * 1024];
    disk.read_at(&mut head, 0)?;
    let is_empty = head.iter().all(|byte| *byte == 0);
    Ok(if is_empty {
        Content::Nothing
    } else {
        Content::Foreign
    })
}

/// The last letters of the serial, when no other disk ends so; else the whole serial; for disks without one, or with
/// one that is not theirs alone, the kernel's name.
fn give_handles(disks: &mut [Found]) {
    let serials: Vec<String> = disks.iter().map(|disk| disk.serial.clone()).collect();
    for disk in disks {
        let short = tail(&disk.serial);
        let is_alone = |wanted: &dyn Fn(&str) -> bool| serials.iter().filter(|it| wanted(it)).count() == 1;
        disk.handle = if !short.is_empty() && is_alone(&|other| tail(other).eq_ignore_ascii_case(&short)) {
            short
        } else if !disk.serial.is_empty() && is_alone(&|other| other == disk.serial) {
            disk.serial.clone()
        } else {
            disk.name.clone()
        };
    }
}

fn tail(serial: &str) -> String {
    let skip = serial.chars().count().saturating_sub(HANDLE_CHARACTERS);
    serial.chars().skip(skip).collect()
}

/// Vendor and model; virtio has a number for the one and no other.
fn model(path: &Path) -> String {
    let names = ["device/vendor", "device/model"].map(|name| attribute(path, name));
    let words: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| !name.starts_with("0x"))
        .collect();
    words.join(" ").trim().to_owned()
}

/// Where NVMe, virtio and SCSI disks keep their serial.
fn serial(path: &Path) -> String {
    for name in ["device/serial", "serial"] {
        let found = attribute(path, name);
        if !found.is_empty() {
            return found;
        }
    }
    // SCSI, page 0x80 of the vital product data: four bytes of head, then the text.
    let page = read_bounded(&path.join("device/vpd_pg80"));
    printable(page.get(4..).unwrap_or_default())
}

fn attribute(path: &Path, name: &str) -> String {
    printable(&read_bounded(&path.join(name)))
}

fn read_bounded(path: &Path) -> Vec<u8> {
    let mut bytes = vec![0; ATTRIBUTE_BYTES_MAX];
    let count = File::open(path).and_then(|file| file.read_at(&mut bytes, 0));
    bytes.truncate(count.unwrap_or(0));
    bytes
}

/// What a disk says of itself goes to a terminal: nothing but visible ASCII, spaces and ends of lines.
fn printable(bytes: &[u8]) -> String {
    let is_shown = |byte: &u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\n');
    let text: String = bytes
        .iter()
        .copied()
        .filter(|byte| is_shown(byte))
        .map(char::from)
        .collect();
    text.trim().to_owned()
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn number_of(file: &File) -> io::Result<String> {
    let metadata = file.metadata()?;
    let is_block = std::os::unix::fs::FileTypeExt::is_block_device(&metadata.file_type());
    if is_block {
        Ok(format!("{}:{}", major(metadata.rdev()), minor(metadata.rdev())))
    } else {
        Err(io::Error::other("it is no block device"))
    }
}

#[cfg(test)]
pub(crate) mod tests;
