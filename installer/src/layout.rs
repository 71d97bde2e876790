//! What lies where on a disk of ours, and which of its two slots is which.

use jingui_pack::update::{Architecture, FileRole, ImageVersion, Manifest};

use crate::disk::SECTOR_BYTES;
use crate::gpt::{ALIGNMENT_SECTORS, Guid, Partition, Table, kind};

/// Label of the EFI system partition.
pub const ESP_LABEL: &str = "jingui-esp";
/// Label of the encrypted state.
pub const STATE_LABEL: &str = "jingui-state";
/// Label of the model store.
pub const MODELS_LABEL: &str = "jingui-models";
/// Label of a slot that holds nothing.
pub const EMPTY_LABEL: &str = "_empty";
/// Label of the one partition of a disk whose installation did not come to its end.
pub const UNFINISHED_LABEL: &str = "jingui-unfinished";
/// Begins the label of a slot that is in use; the version follows.
pub const SLOT_PREFIX: &str = "jingui_";
/// Ends the label of the hash tree's partition.
pub const VERITY_SUFFIX: &str = "_verity";
/// Bytes that a disk must have: system, state and a small model. Below, the box would have no room to work.
pub const DISK_BYTES_MIN: u64 = 8 << 30;

/// "Mount read-only" of the Discoverable Partitions Specification, as systemd-repart sets it for verity.
const READ_ONLY: u64 = 1 << 60;

/// Bytes of the parts of a new disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// EFI system partition.
    pub esp: u64,
    /// Root of each slot.
    pub root: u64,
    /// Hash tree of each slot.
    pub verity: u64,
}

impl Default for Sizes {
    /// Room for three boot entries, and for the largest root and tree that a manifest may name.
    fn default() -> Self {
        Self {
            esp: 256 << 20,
            root: FileRole::Root.bytes_max(),
            verity: FileRole::Verity.bytes_max(),
        }
    }
}

/// One of the two places for a system: the positions of its partitions in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Position of the root.
    pub root: usize,
    /// Position of its hash tree.
    pub verity: usize,
    /// Version that its label names; `None` for an empty one.
    pub version: Option<ImageVersion>,
}

/// Types of root and tree on that architecture.
#[must_use]
pub const fn kinds(architecture: Architecture) -> (Guid, Guid) {
    match architecture {
        Architecture::X8664 => (kind::ROOT_X86_64, kind::VERITY_X86_64),
        Architecture::Arm64 => (kind::ROOT_ARM64, kind::VERITY_ARM64),
    }
}

/// The slots of a disk of ours: the first root goes with the first tree, the second with the second.
#[must_use]
pub fn slots(table: &Table, architecture: Architecture) -> Vec<Slot> {
    let (root_kind, verity_kind) = kinds(architecture);
    let is_ours = |label: &str| label == EMPTY_LABEL || label.starts_with(SLOT_PREFIX);
    let of_kind = |wanted: Guid| {
        let found = table
            .iter()
            .filter(move |(_, it)| it.kind == wanted && is_ours(&it.label));
        found.map(|(index, _)| index)
    };
    of_kind(root_kind)
        .zip(of_kind(verity_kind))
        .map(|(root, verity)| Slot {
            root,
            verity,
            version: table.at(root).and_then(|it| slot_version(&it.label)),
        })
        .collect()
}

/// The version that the label of a root names.
#[must_use]
pub fn slot_version(label: &str) -> Option<ImageVersion> {
    ImageVersion::parse(label.strip_prefix(SLOT_PREFIX)?).ok()
}

/// The EFI system partition.
#[must_use]
pub fn esp(table: &Table) -> Option<&Partition> {
    let mut found = table.iter().map(|(_, it)| it).filter(|it| it.kind == kind::ESP);
    found.next().filter(|_| found.next().is_none())
}

/// Whether a whole system of ours is on the disk.
#[must_use]
pub fn is_ours(table: &Table, architecture: Architecture) -> bool {
    esp(table).is_some()
        && slots(table, architecture)
            .iter()
            .any(|slot| slot.version.is_some())
}

/// Whether an installation of ours was begun on the disk and did not come to its end.
#[must_use]
pub fn is_unfinished(table: &Table) -> bool {
    table.iter().any(|(_, it)| it.label == UNFINISHED_LABEL)
}

/// Takes a slot out of use: until it has its names back, nothing finds it.
///
/// # Errors
/// When the system gives no randomness.
pub fn empty(table: &mut Table, slot: &Slot) -> std::io::Result<()> {
    for index in [slot.root, slot.verity] {
        if let Some(partition) = table.at_mut(index) {
            partition.label = EMPTY_LABEL.to_owned();
            partition.id = Guid::random()?;
        }
    }
    Ok(())
}

/// Gives a slot the names of a bundle, by which boot loader and initial RAM disk find it.
pub fn name(table: &mut Table, slot: &Slot, manifest: &Manifest) {
    let (root_id, verity_id) = Guid::of_roothash(&manifest.roothash);
    let version = &manifest.image_version;
    let names = [
        (slot.root, root_id, format!("{SLOT_PREFIX}{version}")),
        (
            slot.verity,
            verity_id,
            format!("{SLOT_PREFIX}{version}{VERITY_SUFFIX}"),
        ),
    ];
    for (index, id, label) in names {
        if let Some(partition) = table.at_mut(index) {
            (partition.id, partition.label) = (id, label);
            partition.attributes |= READ_ONLY;
        }
    }
}

/// The table of a new disk: ESP, slot A, slot B. State and models are made by the first start, behind them. `None` when
/// the disk is too small.
///
/// # Errors
/// When the system gives no randomness.
pub fn fresh(disk_bytes: u64, sizes: Sizes, architecture: Architecture) -> std::io::Result<Option<Table>> {
    let (root_kind, verity_kind) = kinds(architecture);
    let (mut next, end) = Table::usable(disk_bytes / SECTOR_BYTES as u64);
    let mut table = Table::new()?;
    let parts = [
        (kind::ESP, sizes.esp, ESP_LABEL, 0),
        (root_kind, sizes.root, EMPTY_LABEL, READ_ONLY),
        (verity_kind, sizes.verity, EMPTY_LABEL, READ_ONLY),
        (root_kind, sizes.root, EMPTY_LABEL, READ_ONLY),
        (verity_kind, sizes.verity, EMPTY_LABEL, READ_ONLY),
    ];
    for (kind, bytes, label, attributes) in parts {
        let sectors = bytes / SECTOR_BYTES as u64;
        table.partitions.push(Some(Partition {
            kind,
            id: Guid::random()?,
            first: next,
            sectors,
            attributes,
            label: label.to_owned(),
        }));
        next = (next + sectors).next_multiple_of(ALIGNMENT_SECTORS);
    }
    Ok((next <= end).then_some(table))
}

/// The table of a disk while `finished` is being made: one partition that says so, over everything behind the ESP. The
/// ESP belongs to no partition then, so no firmware starts from it.
///
/// # Errors
/// When the system gives no randomness.
pub fn unfinished(disk_bytes: u64, finished: &Table) -> std::io::Result<Table> {
    let (_, end) = Table::usable(disk_bytes / SECTOR_BYTES as u64);
    let first = finished.at(1).map_or(ALIGNMENT_SECTORS, |root| root.first);
    let mut table = Table::new()?;
    table.partitions.push(Some(Partition {
        kind: kind::LINUX,
        id: Guid::random()?,
        first,
        sectors: end.saturating_sub(first),
        attributes: 0,
        label: UNFINISHED_LABEL.to_owned(),
    }));
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FaultyDisk;

    #[test]
    fn a_new_disk_has_the_parts_that_the_first_start_counts_on() {
        let table = fresh(DISK_BYTES_MIN, Sizes::default(), Architecture::X8664)
            .unwrap()
            .unwrap();
        let labels: Vec<&str> = table.iter().map(|(_, it)| it.label.as_str()).collect();
        assert_eq!(
            labels,
            [ESP_LABEL, EMPTY_LABEL, EMPTY_LABEL, EMPTY_LABEL, EMPTY_LABEL]
        );
        let slots = slots(&table, Architecture::X8664);
        assert_eq!(slots.len(), 2);
        assert_eq!((slots[0].root, slots[0].verity), (1, 2));
        assert_eq!((slots[1].root, slots[1].verity), (3, 4));
        assert!(!is_ours(&table, Architecture::X8664), "both slots are empty");
        assert!(esp(&table).is_some());
        let disk = FaultyDisk::new(DISK_BYTES_MIN);
        table.write(&disk).unwrap();
        assert!(
            fresh(800 << 20, Sizes::default(), Architecture::X8664)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn an_unfinished_disk_says_so_and_has_no_esp() {
        let finished = fresh(DISK_BYTES_MIN, Sizes::default(), Architecture::Arm64)
            .unwrap()
            .unwrap();
        let table = unfinished(DISK_BYTES_MIN, &finished).unwrap();
        assert!(is_unfinished(&table) && !is_unfinished(&finished));
        assert!(esp(&table).is_none());
        let esp = finished.at(0).unwrap();
        assert!(table.at(0).unwrap().first >= esp.first + esp.sectors);
        table.write(&FaultyDisk::new(DISK_BYTES_MIN)).unwrap();
    }
}
