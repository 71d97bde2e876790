//! Sticks: finding the one that is plugged in, mounting it, and leaving it clean.
//!
//! A stick is a removable disk, or one that hangs on USB. The disk that the box runs from is never one, and neither is a
//! disk that holds partitions of ours, save the installer's payload, which is only read. With more than one to choose
//! from nobody guesses: the person is asked to leave one. What is on a stick is hostile: it is mounted without devices,
//! programs or set-user-id, and never longer than one act.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use jingui_ipc::storage::{REPORT_BYTES_MAX, Report};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::durable;
use crate::places::Places;

/// File systems that a stick may have, in the order in which they are tried.
const FILE_SYSTEMS: [&str; 3] = ["vfat", "exfat", "ext4"];
/// Devices that are looked at.
const DEVICES_MAX: usize = 256;
/// Partitions of ours begin so.
const OUR_LABEL: &str = "jingui";
/// The one of ours that is a stick's content.
const PAYLOAD_LABEL: &str = "jingui-payload";
/// Longest attribute that is read, in bytes.
const ATTRIBUTE_BYTES_MAX: u64 = 4096;

/// The EFI system partition of the disk that the box runs from.
const ESP_LABEL: &str = "jingui-esp";
/// Names the place where it is mounted.
const ESP_ACT: &str = "esp";

/// What a stick is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Reading from it.
    Read,
    /// Writing to it.
    Write,
}

/// Why no stick can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StickRefusal {
    /// There is none.
    #[error("no stick is plugged in")]
    None,
    /// There are more than one.
    #[error("{0} partitions on sticks are plugged in")]
    Several(usize),
    /// What is wanted is not on it.
    #[error("the stick has no folder {0}")]
    Content(String),
    /// None of our file systems is on it, or it is damaged.
    #[error("the stick {0} cannot be mounted")]
    Unreadable(String, #[source] io::Error),
}

impl StickRefusal {
    /// Stable code.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::None => "usb.stick.none",
            Self::Several(_) => "usb.stick.several",
            Self::Content(_) => "usb.stick.content",
            Self::Unreadable(..) => "usb.stick.unreadable",
        }
    }

    /// Facts for the words.
    pub(crate) fn facts(&self) -> Vec<(String, String)> {
        match self {
            Self::None => Vec::new(),
            Self::Several(count) => vec![("count".to_owned(), count.to_string())],
            Self::Content(folder) => vec![("folder".to_owned(), folder.clone())],
            Self::Unreadable(name, _) => vec![("device".to_owned(), name.clone())],
        }
    }
}

/// A mounted stick. Unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Stick {
    folder: PathBuf,
    /// Kernel's name of the partition, for example `sdb1`.
    pub(crate) name: String,
    is_mounted: bool,
}

impl Stick {
    /// Finds the only stick and mounts it for the act of that name. May take as long as a bad stick takes.
    ///
    /// # Errors
    /// Any [`StickRefusal`].
    pub(crate) fn mount(places: &Places, act: &str, purpose: Purpose) -> Result<Self, StickRefusal> {
        let mut found = candidates(&places.blocks(), purpose);
        let name = match (found.pop(), found.len()) {
            (None, _) => return Err(StickRefusal::None),
            (Some(name), 0) => name,
            (Some(_), more) => return Err(StickRefusal::Several(more + 1)),
        };
        Self::mount_named(places, act, purpose, name)
    }

    fn mount_named(places: &Places, act: &str, purpose: Purpose, name: String) -> Result<Self, StickRefusal> {
        let folder = places.stick(act);
        let unreadable = |error| StickRefusal::Unreadable(name.clone(), error);
        fs::create_dir_all(&folder).map_err(unreadable)?;
        // Left by a supervisor that died over it.
        let _ = umount2(&folder, MntFlags::MNT_DETACH);
        mount_any(&places.device(&name), &folder, purpose).map_err(unreadable)?;
        Ok(Self {
            folder,
            name,
            is_mounted: true,
        })
    }

    /// Where its content is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The EFI system partition of the disk that the box runs from, for reading; `None` when nobody knows that disk.
    ///
    /// # Errors
    /// [`StickRefusal::Unreadable`].
    pub(crate) fn mount_esp(places: &Places) -> Result<Option<Self>, StickRefusal> {
        let Some(name) = esp(places) else {
            return Ok(None);
        };
        Self::mount_named(places, ESP_ACT, Purpose::Read, name).map(Some)
    }

    /// A folder on it, held open; the stick is out of reach for everybody else from now on, and unmounted when the folder
    /// is closed.
    ///
    /// # Errors
    /// [`StickRefusal::Content`] when there is no such folder.
    pub(crate) fn hold(self, folder: &str) -> Result<OwnedFd, StickRefusal> {
        let path = self.folder.join(folder);
        let is_folder = path.symlink_metadata().is_ok_and(|it| it.is_dir());
        if !is_folder {
            return Err(StickRefusal::Content(folder.to_owned()));
        }
        let opened = fs::File::open(path);
        // Dropping it takes the mount away from its place; the open folder keeps it.
        opened
            .map(OwnedFd::from)
            .map_err(|error| StickRefusal::Unreadable(self.name.clone(), error))
    }

    /// Unmounts it; afterwards everything written is on it and it may be pulled out.
    ///
    /// # Errors
    /// When the kernel refuses: then nobody may say that it is safe to pull it.
    pub(crate) fn release(mut self) -> io::Result<()> {
        self.is_mounted = false;
        umount2(&self.folder, MntFlags::empty()).map_err(io::Error::from)
    }
}

impl Drop for Stick {
    fn drop(&mut self) {
        if self.is_mounted {
            // Whoever drops it has failed already and says so; a lazy unmount leaves nothing reachable.
            let _ = umount2(&self.folder, MntFlags::MNT_DETACH);
        }
    }
}

fn mount_any(device: &Path, folder: &Path, purpose: Purpose) -> io::Result<()> {
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
    if purpose == Purpose::Read {
        flags |= MsFlags::MS_RDONLY;
    }
    let mut last = io::Error::from(io::ErrorKind::Unsupported);
    for file_system in FILE_SYSTEMS {
        match mount(Some(device), folder, Some(file_system), flags, None::<&str>) {
            Ok(()) => return Ok(()),
            Err(errno) => last = errno.into(),
        }
    }
    Err(last)
}

/// Name of the ESP on the disk that `jingui-storage` found the running image on.
fn esp(places: &Places) -> Option<String> {
    let report = durable::read(&places.storage_report(), REPORT_BYTES_MAX).ok()??;
    let report: Report = serde_json::from_slice(&report).ok()?;
    let disk = places.blocks().join(report.disk).canonicalize().ok()?;
    let entries = fs::read_dir(&disk).ok()?.flatten().take(DEVICES_MAX);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut devices = names.filter_map(|name| Device::read(&places.blocks(), &name));
    devices
        .find(|device| device.is_partition && device.disk == disk && device.label == ESP_LABEL)
        .map(|device| device.name)
}

/// Names of the partitions on sticks, and of sticks without partitions.
fn candidates(blocks: &Path, purpose: Purpose) -> Vec<String> {
    let entries = fs::read_dir(blocks).into_iter().flatten().flatten();
    let names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .take(DEVICES_MAX)
        .collect();
    let devices: Vec<Device> = names
        .iter()
        .filter_map(|name| Device::read(blocks, name))
        .collect();
    let mut found: Vec<String> = devices
        .iter()
        .filter(|device| device.is_on_stick && device.sector_count > 0)
        .filter(|device| is_content(device, &devices, purpose))
        .map(|device| device.name.clone())
        .collect();
    found.sort_unstable();
    found
}

fn is_content(device: &Device, all: &[Device], purpose: Purpose) -> bool {
    let beside = |other: &&Device| other.disk == device.disk && other.is_partition;
    let has_ours = all
        .iter()
        .filter(beside)
        .any(|other| other.label.starts_with(OUR_LABEL));
    match (device.is_partition, has_ours) {
        (true, false) => true,
        (true, true) => purpose == Purpose::Read && device.label == PAYLOAD_LABEL,
        (false, _) => !all.iter().any(|other| beside(&other)),
    }
}

/// A block device as the kernel shows it.
#[derive(Debug)]
struct Device {
    name: String,
    /// Folder of its disk.
    disk: PathBuf,
    is_partition: bool,
    is_on_stick: bool,
    label: String,
    sector_count: u64,
}

impl Device {
    fn read(blocks: &Path, name: &str) -> Option<Self> {
        let folder = blocks.join(name).canonicalize().ok()?;
        let is_partition = folder.join("partition").exists();
        let disk = if is_partition {
            folder.parent()?.to_owned()
        } else {
            folder.clone()
        };
        // Loop devices, device mapper and memory have no device behind them.
        let is_real = disk.join("device").exists();
        let is_removable = text(&disk.join("removable")).is_some_and(|it| it == "1");
        let hangs_on_usb = disk
            .components()
            .any(|part| part.as_os_str().to_string_lossy().starts_with("usb"));
        let event = text(&folder.join("uevent")).unwrap_or_default();
        let label = event.lines().find_map(|line| line.strip_prefix("PARTNAME="));
        Some(Self {
            name: name.to_owned(),
            is_partition,
            is_on_stick: is_real && (is_removable || hangs_on_usb),
            label: label.unwrap_or_default().to_owned(),
            sector_count: text(&folder.join("size"))?.parse().ok()?,
            disk,
        })
    }
}

fn text(path: &Path) -> Option<String> {
    let file = fs::File::open(path).ok()?;
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(file, ATTRIBUTE_BYTES_MAX), &mut text).ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A machine's block devices: `disk` below that bus, with partitions of these labels.
    fn plug(root: &Path, bus: &str, disk: &str, removable: bool, labels: &[&str]) {
        let folder = root.join("devices").join(bus).join("block").join(disk);
        fs::create_dir_all(folder.join("device")).unwrap();
        fs::write(folder.join("removable"), if removable { "1\n" } else { "0\n" }).unwrap();
        fs::write(folder.join("size"), "4096\n").unwrap();
        let blocks = root.join("class");
        fs::create_dir_all(&blocks).unwrap();
        symlink(&folder, blocks.join(disk)).unwrap();
        for (index, label) in labels.iter().enumerate() {
            let name = format!("{disk}{}", index + 1);
            let partition = folder.join(&name);
            fs::create_dir_all(&partition).unwrap();
            fs::write(partition.join("partition"), format!("{}\n", index + 1)).unwrap();
            fs::write(partition.join("size"), "2048\n").unwrap();
            fs::write(
                partition.join("uevent"),
                format!("DEVTYPE=partition\nPARTNAME={label}\n"),
            )
            .unwrap();
            symlink(&partition, blocks.join(&name)).unwrap();
        }
    }

    fn found(root: &Path, purpose: Purpose) -> Vec<String> {
        candidates(&root.join("class"), purpose)
    }

    #[test]
    fn only_partitions_of_sticks_are_found_and_a_stick_without_any_counts_whole() {
        let root = tempfile::tempdir().unwrap();
        plug(
            root.path(),
            "pci0/ata1",
            "sda",
            false,
            &["jingui-esp", "jingui-state"],
        );
        plug(root.path(), "pci0/nvme", "nvme0n1", false, &["data"]);
        assert!(found(root.path(), Purpose::Write).is_empty());
        plug(root.path(), "pci0/usb1/1-1", "sdb", false, &["KINGSTON"]);
        assert_eq!(found(root.path(), Purpose::Write), ["sdb1"]);
        plug(root.path(), "pci0/ata2", "sdc", true, &[]);
        assert_eq!(found(root.path(), Purpose::Write), ["sdb1", "sdc"]);
    }

    #[test]
    fn a_disk_of_ours_is_never_written_and_only_its_payload_is_read() {
        let root = tempfile::tempdir().unwrap();
        let labels = ["jingui-esp", "jingui_1", "jingui-payload", "data"];
        plug(root.path(), "pci0/usb1/1-1", "sdb", true, &labels);
        assert!(found(root.path(), Purpose::Write).is_empty());
        assert_eq!(found(root.path(), Purpose::Read), ["sdb3"]);
    }

    #[test]
    fn loop_devices_and_empty_readers_are_no_sticks() {
        let root = tempfile::tempdir().unwrap();
        plug(root.path(), "pci0/usb1/1-1", "sdb", true, &[]);
        let folder = root.path().join("devices/pci0/usb1/1-1/block/sdb");
        fs::write(folder.join("size"), "0\n").unwrap();
        assert!(found(root.path(), Purpose::Write).is_empty());
        fs::write(folder.join("size"), "8\n").unwrap();
        fs::remove_dir(folder.join("device")).unwrap();
        assert!(found(root.path(), Purpose::Write).is_empty());
    }
}
