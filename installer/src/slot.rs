//! Writing a bundle into the slot that is not in use.
//!
//! The order is the promise: until the last step, the boot entry, everything that the other slot starts from is as it
//! was. (1) Boot entries of the slot that will be overwritten go. (2) Its names go: nothing finds it. (3) Root and tree
//! are written, digested while they are read, synced, read back from the device. (4) The slot gets its new names.
//! (5) The boot entry appears, whole. A crash after any step leaves the old system to start, and at most an empty slot.

use std::io;

use jingui_pack::update::{FileRole, Fitting, ImageVersion, Manifest, Source, UpdateRefusal};
use jingui_trust::{Sha256, Sha256Stream};

use crate::disk::Disk;
use crate::entries::{BootEntry, BootFolder, EspFault};
use crate::fat::FatFault;
use crate::gpt::{Guid, Partition, Table, TableFault};
use crate::layout::{self, Slot};

const PIECE_BYTES: usize = 1 << 20;

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Bytes done of all stages.
    pub done: u64,
    /// Bytes of all stages.
    pub total: u64,
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Writing what is read from the bundle.
    Writing,
    /// Reading back what was written.
    Comparing,
}

/// Why nothing new was made startable. What was startable before still is.
#[derive(Debug, thiserror::Error)]
pub enum WriteFault {
    /// The bundle is bad, or cannot be read.
    #[error(transparent)]
    Bundle(#[from] UpdateRefusal),
    /// The disk cannot be read or written.
    #[error("the disk failed")]
    Disk(#[from] io::Error),
    /// The disk has no table of ours.
    #[error(transparent)]
    Table(#[from] TableFault),
    /// The EFI system partition cannot be read or written.
    #[error(transparent)]
    Esp(#[from] EspFault),
    /// The disk gives back other bytes than were written.
    #[error("{what} reads back differently")]
    Unlike {
        /// Which part.
        what: &'static str,
    },
    /// There is no slot that may be overwritten.
    #[error("the disk has no slot that is not in use")]
    NoSlot,
    /// A part does not fit its place.
    #[error("{what} needs {needed} bytes, its place has {found}")]
    TooSmall {
        /// Which part.
        what: &'static str,
        /// Bytes needed.
        needed: u64,
        /// Bytes there.
        found: u64,
    },
    /// This very system is in the slot that is kept.
    #[error("version {version} is installed already")]
    Present {
        /// Its version.
        version: ImageVersion,
    },
    /// The bundle has no boot loader, which a new disk needs.
    #[error("the bundle has no boot loader")]
    NoLoader,
}

impl WriteFault {
    /// Every code of this type that is not one of a bundle.
    pub const CODES: &'static [&'static str] = &[
        "install.disk.failed",
        "install.table.absent",
        "install.esp.unusable",
        "install.esp.full",
        "install.readback.differs",
        "install.slot.none",
        "install.slot.too-small",
        "install.version.present",
        "install.loader.missing",
    ];

    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Bundle(refusal) => refusal.code(),
            Self::Disk(_) | Self::Table(TableFault::Disk(_)) => "install.disk.failed",
            Self::Table(_) => "install.table.absent",
            Self::Esp(EspFault::Fat(FatFault::Full)) => "install.esp.full",
            Self::Esp(EspFault::Unlike | EspFault::Fat(FatFault::Unlike)) | Self::Unlike { .. } => {
                "install.readback.differs"
            }
            Self::Esp(_) => "install.esp.unusable",
            Self::NoSlot => "install.slot.none",
            Self::TooSmall { .. } => "install.slot.too-small",
            Self::Present { .. } => "install.version.present",
            Self::NoLoader => "install.loader.missing",
        }
    }

    /// Facts for the words.
    #[must_use]
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Bundle(refusal) => refusal.facts(),
            Self::Disk(source) | Self::Table(TableFault::Disk(source)) | Self::Esp(EspFault::Io(source)) => {
                vec![("cause", source.kind().to_string())]
            }
            Self::Esp(fault) => vec![("cause", fault.to_string())],
            Self::Unlike { what } => vec![("part", (*what).to_owned())],
            Self::TooSmall { what, needed, found } => vec![
                ("part", (*what).to_owned()),
                ("needed", needed.to_string()),
                ("found", found.to_string()),
            ],
            Self::Present { version } => vec![("version", version.to_string())],
            Self::Table(_) | Self::NoSlot | Self::NoLoader => Vec::new(),
        }
    }
}

/// How the slot in use is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// The one whose root has this root hash: that of the running system.
    Running(Sha256),
    /// The one that the boot loader would start.
    Chosen(ImageVersion),
}

/// Writes the bundle into the slot that is not kept, and its boot entry.
///
/// # Errors
/// Any [`WriteFault`]; what is kept still starts.
pub fn write_other_slot(
    disk: &dyn Disk,
    boot: &mut dyn BootFolder,
    bundle: &Fitting,
    kept: &Kept,
    tell: &mut dyn FnMut(Progress),
) -> Result<(), WriteFault> {
    let mut table = Table::read(disk)?;
    let manifest = bundle.manifest();
    let (kept, target) = choose(&table, manifest, kept)?;
    check_sizes(&table, &target, manifest)?;
    remove_other_entries(boot, &kept)?;
    layout::empty(&mut table, &target)?;
    table.write(disk)?;
    let mut meter = Meter::new(manifest, tell);
    write_pair(disk, &table, &target, bundle, &mut meter)?;
    layout::name(&mut table, &target, manifest);
    table.write(disk)?;
    disk.forget()?;
    if Table::read(disk)? != table {
        return Err(WriteFault::Unlike { what: "table" });
    }
    let entry = source(bundle, FileRole::Uki)?;
    boot.put(&BootEntry::new_name(&manifest.image_version), entry)?;
    meter.end();
    Ok(())
}

/// The slot that is kept and the one that is written.
fn choose(table: &Table, manifest: &Manifest, kept: &Kept) -> Result<(Slot, Slot), WriteFault> {
    let slots = layout::slots(table, manifest.architecture);
    let id_of = |slot: &Slot| table.at(slot.root).map(|root| root.id);
    let is_kept = |slot: &&Slot| match kept {
        Kept::Running(roothash) => id_of(slot) == Some(Guid::of_roothash(roothash).0),
        Kept::Chosen(version) => slot.version.as_ref() == Some(version),
    };
    // A slot whose label names no version cannot be told from the other one by its boot entry.
    let kept = slots
        .iter()
        .find(is_kept)
        .filter(|slot| slot.version.is_some())
        .ok_or(WriteFault::NoSlot)?;
    let new_id = Guid::of_roothash(&manifest.roothash).0;
    if id_of(kept) == Some(new_id) || kept.version.as_ref() == Some(&manifest.image_version) {
        return Err(WriteFault::Present {
            version: manifest.image_version.clone(),
        });
    }
    let target = slots
        .iter()
        .find(|slot| *slot != kept)
        .ok_or(WriteFault::NoSlot)?;
    Ok((kept.clone(), target.clone()))
}

pub(crate) fn check_sizes(table: &Table, slot: &Slot, manifest: &Manifest) -> Result<(), WriteFault> {
    for (index, role) in [(slot.root, FileRole::Root), (slot.verity, FileRole::Verity)] {
        let found = table.at(index).map_or(0, Partition::bytes);
        let needed = manifest.file(role).map_or(0, |file| file.bytes);
        if needed > found {
            return Err(WriteFault::TooSmall {
                what: role.word(),
                needed,
                found,
            });
        }
    }
    Ok(())
}

/// Entries of ours that start anything but the kept slot lose what they start from. Without an entry for the kept slot
/// nothing is touched: there would be nothing left to start.
fn remove_other_entries(boot: &mut dyn BootFolder, kept: &Slot) -> Result<(), WriteFault> {
    let starts_kept = |name: &&String| {
        BootEntry::parse(name).is_some_and(|entry| Some(&entry.version) == kept.version.as_ref())
    };
    let names = boot.names()?;
    if !names.iter().any(|name| starts_kept(&name)) {
        return Err(WriteFault::NoSlot);
    }
    for name in names.iter().filter(|name| !starts_kept(name)) {
        if BootEntry::parse(name).is_some() {
            boot.remove(name)?;
        }
    }
    Ok(())
}

/// Writes root and tree into their places, and compares.
pub(crate) fn write_pair(
    disk: &dyn Disk,
    table: &Table,
    slot: &Slot,
    bundle: &Fitting,
    meter: &mut Meter<'_>,
) -> Result<(), WriteFault> {
    let parts = [(slot.root, FileRole::Root), (slot.verity, FileRole::Verity)];
    for (index, role) in parts {
        let place = table.at(index).ok_or(WriteFault::NoSlot)?;
        let mut at = place.offset();
        source(bundle, role)?.read(&mut |piece| {
            disk.write_at(piece, at)?;
            at += piece.len() as u64;
            meter.advance(Stage::Writing, piece.len());
            Ok::<(), WriteFault>(())
        })?;
    }
    disk.sync()?;
    disk.forget()?;
    for (index, role) in parts {
        let place = table.at(index).ok_or(WriteFault::NoSlot)?;
        compare(disk, place.offset(), source(bundle, role)?, meter)?;
    }
    Ok(())
}

/// Reads a part back and compares it with what was signed.
pub(crate) fn compare(
    disk: &dyn Disk,
    offset: u64,
    source: Source<'_>,
    meter: &mut Meter<'_>,
) -> Result<(), WriteFault> {
    let mut digest = Sha256Stream::new();
    let mut buffer = vec![0; PIECE_BYTES];
    let mut done = 0;
    while done < source.signed.bytes {
        let count =
            usize::try_from(source.signed.bytes - done).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        let piece = buffer.get_mut(..count).unwrap_or_default();
        disk.read_at(piece, offset + done)?;
        digest.update(piece);
        done += count as u64;
        meter.advance(Stage::Comparing, count);
    }
    if digest.finish() == source.signed.sha256 {
        Ok(())
    } else {
        Err(WriteFault::Unlike {
            what: source.signed.role.word(),
        })
    }
}

/// The file of that role, which every manifest has.
pub(crate) fn source(bundle: &Fitting, role: FileRole) -> Result<Source<'_>, WriteFault> {
    let malformed = UpdateRefusal::ManifestMalformed {
        fault: "a file is missing",
    };
    bundle.source(role).ok_or(WriteFault::Bundle(malformed))
}

/// Counts bytes: each file is written and read back, and so counted twice.
pub(crate) struct Meter<'a> {
    tell: &'a mut dyn FnMut(Progress),
    done: u64,
    total: u64,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(manifest: &Manifest, tell: &'a mut dyn FnMut(Progress)) -> Self {
        Self {
            tell,
            done: 0,
            total: manifest.byte_count().saturating_mul(2),
        }
    }

    pub(crate) fn advance(&mut self, stage: Stage, count: usize) {
        self.done = self.done.saturating_add(count as u64).min(self.total);
        self.say(stage);
    }

    pub(crate) fn end(&mut self) {
        self.done = self.total;
        self.say(Stage::Comparing);
    }

    fn say(&mut self, stage: Stage) {
        (self.tell)(Progress {
            stage,
            done: self.done,
            total: self.total,
        });
    }
}

#[cfg(test)]
mod tests;
