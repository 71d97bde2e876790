//! The disk that the running image came from, as the kernel shows it below `/sys`. No other disk is ever looked at.
//!
//! The root file system lies on a dm-verity device; its two slaves are partitions of one disk. Partitions of that disk
//! are found by the label in its own table, so that a stick with the same labels cannot come between.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Label of the encrypted state.
pub(crate) const STATE_LABEL: &str = "jingui-state";
/// Label of the model store.
pub(crate) const MODELS_LABEL: &str = "jingui-models";

/// How the kernel names what dm-verity made.
const VERITY_UUID_PREFIX: &str = "CRYPT-VERITY-";
/// Most partitions of the disk that are looked at (a GPT has 128).
const PARTITIONS_MAX: usize = 256;

/// The disk of the running image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disk {
    /// Its name, for example `vda`.
    pub(crate) name: String,
    root: PathBuf,
}

impl Disk {
    /// Finds it below `root`, the root folder of the machine.
    pub(crate) fn find(root: &Path) -> Result<Self, Failure> {
        let name = find_name(root).map_err(Failure::DiskUnknown)?;
        Ok(Self {
            name,
            root: root.to_owned(),
        })
    }

    /// Its device.
    pub(crate) fn device(&self) -> PathBuf {
        self.root.join("dev").join(&self.name)
    }

    /// Device of the partition with that label, if there is exactly one.
    pub(crate) fn partition(&self, label: &str) -> Result<Option<PathBuf>, Failure> {
        let mut found = self.partitions().map_err(Failure::DiskUnknown)?;
        found.retain(|(_, found)| found == label);
        let first = found.pop();
        match (first, found.is_empty()) {
            (None, _) => Ok(None),
            (Some((name, _)), true) => Ok(Some(self.root.join("dev").join(name))),
            (Some(_), false) => Err(Failure::PartitionTwice {
                label: label.to_owned(),
            }),
        }
    }

    /// Labels of all partitions.
    pub(crate) fn labels(&self) -> Result<Vec<String>, Failure> {
        let partitions = self.partitions().map_err(Failure::DiskUnknown)?;
        Ok(partitions.into_iter().map(|(_, label)| label).collect())
    }

    /// Name and label of each partition.
    fn partitions(&self) -> io::Result<Vec<(String, String)>> {
        let folder = self.root.join("sys/class/block").join(&self.name);
        let mut partitions = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if !path.join("partition").is_file() {
                continue;
            }
            if partitions.len() == PARTITIONS_MAX {
                return Err(io::Error::other("the disk has too many partitions"));
            }
            let label = property(&path, "PARTNAME")?.unwrap_or_default();
            partitions.push((name_of(&path)?, label));
        }
        partitions.sort();
        Ok(partitions)
    }
}

fn find_name(root: &Path) -> io::Result<String> {
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo"))?;
    let device = root_device(&mounts).ok_or_else(|| io::Error::other("nothing is mounted as root"))?;
    let device = fs::canonicalize(root.join("sys/dev/block").join(device))?;
    let uuid = fs::read_to_string(device.join("dm/uuid"))?;
    if !uuid.starts_with(VERITY_UUID_PREFIX) {
        return Err(io::Error::other("the root file system is not on dm-verity"));
    }
    let mut disks = Vec::new();
    for slave in fs::read_dir(device.join("slaves"))? {
        let slave = fs::canonicalize(slave?.path())?;
        if !slave.join("partition").is_file() {
            return Err(io::Error::other("the root file system is not on a partition"));
        }
        disks.push(name_of(slave.parent().unwrap_or(&slave))?);
    }
    disks.sort();
    disks.dedup();
    match (disks.pop(), disks.is_empty()) {
        (Some(disk), true) => Ok(disk),
        _ => Err(io::Error::other("the root file system is not on one disk")),
    }
}

/// `major:minor` of what is mounted as `/`, the last one when there are several (proc(5), mountinfo).
fn root_device(mounts: &str) -> Option<&str> {
    let mut device = None;
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(2);
        if let (Some(number), Some(_), Some("/")) = (fields.next(), fields.next(), fields.next()) {
            device = Some(number);
        }
    }
    device.filter(|number| number.chars().all(|sign| sign.is_ascii_digit() || sign == ':'))
}

fn property(device: &Path, name: &str) -> io::Result<Option<String>> {
    let text = fs::read_to_string(device.join("uevent"))?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    Ok(value.map(ToOwned::to_owned))
}

fn name_of(path: &Path) -> io::Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(ToOwned::to_owned)
        .ok_or_else(|| io::Error::other("a device has no name"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fake::FakeMachine;

    #[test]
    fn the_disk_is_the_one_that_the_verity_root_lies_on_and_no_other() {
        let mut machine = FakeMachine::with_disk("vdb", &["jingui-esp", "jingui_1", "jingui_1_verity"]);
        machine.add_disk("sda", &["jingui-state", "jingui-models"]);
        let disk = Disk::find(machine.root_folder()).unwrap();
        assert_eq!(disk.name, "vdb");
        assert_eq!(
            disk.partition(STATE_LABEL).unwrap(),
            None,
            "another disk's is none"
        );
        assert_eq!(
            disk.partition("jingui_1").unwrap(),
            Some(machine.root_folder().join("dev/vdb2"))
        );
    }

    #[test]
    fn two_partitions_of_one_label_are_refused() {
        let machine = FakeMachine::with_disk(
            "vda",
            &["jingui_1", "jingui_1_verity", "jingui-state", "jingui-state"],
        );
        let disk = Disk::find(machine.root_folder()).unwrap();
        let failure = disk.partition(STATE_LABEL).unwrap_err();
        assert_eq!(failure.code(), "storage.partition.twice");
    }

    #[test]
    fn a_root_that_is_not_on_verity_or_not_on_one_disk_has_no_disk() {
        let machine = FakeMachine::with_disk("vda", &["jingui_1", "jingui_1_verity"]);
        fs::write(
            machine.root_folder().join("sys/devices/dm-0/dm/uuid"),
            "CRYPT-LUKS2-1",
        )
        .unwrap();
        assert_eq!(
            Disk::find(machine.root_folder()).unwrap_err().code(),
            "storage.disk.unknown"
        );
        let mut machine = FakeMachine::with_disk("vda", &["jingui_1", "jingui_1_verity"]);
        machine.add_disk("vdb", &["x"]);
        machine.add_slave("vdb", "vdb1");
        assert_eq!(
            Disk::find(machine.root_folder()).unwrap_err().code(),
            "storage.disk.unknown"
        );
        let bare = tempfile::tempdir().unwrap();
        assert_eq!(
            Disk::find(bare.path()).unwrap_err().code(),
            "storage.disk.unknown"
        );
    }

    #[test]
    fn the_last_mount_on_the_root_counts() {
        let mounts = "1 1 0:2 / / rw - rootfs none rw\n26 1 253:0 / / ro,relatime - erofs /dev/mapper/root ro\n\
                      27 26 0:5 / /dev rw - devtmpfs udev rw\n";
        assert_eq!(root_device(mounts), Some("253:0"));
        assert_eq!(root_device("1 1 ../x / / rw - rootfs none rw\n"), None);
        assert_eq!(root_device(""), None);
    }
}
