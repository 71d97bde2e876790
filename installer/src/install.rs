//! One disk, from what was chosen to a proven system.
//!
//! A new disk: first its table says "unfinished", and the EFI system partition belongs to no partition. Then root, tree
//! and the ESP are written and read back. The last step is the one write that puts the real table in force. A disk with
//! an older system: its other slot is written ([`crate::slot`]), and the last step is the boot entry; what was to be
//! erased is erased after that.

use std::io;

use jingui_pack::update::{Architecture, FileRole, Fitting, ImageVersion};
use jingui_trust::{Sha256, Sha256Stream};

use crate::disk::Disk;
use crate::entries::{self, BootEntry, BootFolder, ENTRIES_FOLDER, EspFault};
use crate::fat::{self, Fat};
use crate::gpt::{Guid, Table};
use crate::layout::{self, Sizes};
use crate::slot::{self, Kept, Meter, Progress, Stage, WriteFault};

/// Settings of the boot loader: no menu, no editor, nothing of the firmware's.
const LOADER_SETTINGS: &[u8] = b"timeout 0\neditor no\nauto-entries no\nauto-firmware no\n";
/// Where the first network of a new system is read from.
const NETWORK_PATH: &str = "jingui/network.toml";
/// Bytes at the front of an encrypted state that hold its keys (LUKS2: two headers and the key slots).
const KEYS_BYTES: u64 = 32 << 20;
const PIECE_BYTES: usize = 1 << 20;

/// What to make.
#[derive(Debug)]
pub struct Job<'a> {
    /// What is written.
    pub bundle: &'a Fitting,
    /// Sizes of a new disk's parts.
    pub sizes: Sizes,
    /// `network.toml` for the first start; none leaves the network to the local screen.
    pub network: Option<String>,
}

/// What happens to the data of an older system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// It stays: accounts, keys, models, audit log.
    Keep,
    /// It is destroyed: its keys are overwritten, its partitions vanish from the table.
    Erase,
}

/// What stands on the disk, read from it after everything was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Version that starts.
    pub version: ImageVersion,
    /// Root hash that its boot entry carries.
    pub roothash: Sha256,
    /// Bytes that were read and are as signed.
    pub bytes: u64,
}

/// Makes a new disk.
///
/// # Errors
/// Any [`WriteFault`]. From the first write on to the last the disk says that it is unfinished, and starts nothing.
pub fn fresh(disk: &dyn Disk, job: &Job<'_>, tell: &mut dyn FnMut(Progress)) -> Result<(), WriteFault> {
    let manifest = job.bundle.manifest();
    let loader = job.bundle.source(FileRole::Loader).ok_or(WriteFault::NoLoader)?;
    let finished = layout::fresh(disk.bytes(), job.sizes, manifest.architecture)?;
    let mut finished = finished.ok_or(WriteFault::TooSmall {
        what: "disk",
        needed: layout::DISK_BYTES_MIN,
        found: disk.bytes(),
    })?;
    let target = layout::slots(&finished, manifest.architecture)
        .into_iter()
        .next()
        .ok_or(WriteFault::NoSlot)?;
    slot::check_sizes(&finished, &target, manifest)?;
    layout::unfinished(disk.bytes(), &finished)?.write(disk)?;
    let mut meter = Meter::new(manifest, tell);
    slot::write_pair(disk, &finished, &target, job.bundle, &mut meter)?;
    let esp = finished.at(0).ok_or(WriteFault::NoSlot)?.clone();
    let id = jingui_trust::random::bytes().map_err(|_| io::Error::other("no randomness"))?;
    fat::format(disk, esp.offset(), esp.bytes(), u32::from_le_bytes(id)).map_err(EspFault::from)?;
    let mut volume = Fat::open(disk, esp.offset(), esp.bytes()).map_err(EspFault::from)?;
    write_text(&mut volume, "loader/loader.conf", LOADER_SETTINGS)?;
    if let Some(network) = &job.network {
        write_text(&mut volume, NETWORK_PATH, network.as_bytes())?;
    }
    for path in loader_paths(manifest.architecture) {
        make_folder_of(&mut volume, path)?;
        entries::put_file(&mut volume, path, loader)?;
    }
    let entry = slot::source(job.bundle, FileRole::Uki)?;
    volume.put(&BootEntry::good_name(&manifest.image_version), entry)?;
    meter.end();
    layout::name(&mut finished, &target, manifest);
    finished.write(disk)?;
    disk.forget()?;
    if Table::read(disk)? == finished {
        Ok(())
    } else {
        Err(WriteFault::Unlike { what: "table" })
    }
}

/// Puts the system beside an older one of ours.
///
/// # Errors
/// Any [`WriteFault`]; until the last step of the slot the older system starts as before.
pub fn beside(
    disk: &dyn Disk,
    job: &Job<'_>,
    data: Data,
    tell: &mut dyn FnMut(Progress),
) -> Result<(), WriteFault> {
    let table = Table::read(disk)?;
    let esp = layout::esp(&table).ok_or(WriteFault::NoSlot)?;
    let mut volume = Fat::open(disk, esp.offset(), esp.bytes()).map_err(EspFault::from)?;
    let names = volume.names()?;
    let chosen = BootEntry::chosen(names.iter().map(String::as_str)).ok_or(WriteFault::NoSlot)?;
    if let (Some(network), Data::Erase) = (&job.network, data) {
        // The older system, which is set up, does not look at it.
        if volume.exists(NETWORK_PATH).map_err(EspFault::from)? {
            volume.remove_file(NETWORK_PATH).map_err(EspFault::from)?;
        }
        write_text(&mut volume, NETWORK_PATH, network.as_bytes())?;
    }
    slot::write_other_slot(disk, &mut volume, job.bundle, &Kept::Chosen(chosen.version), tell)?;
    match data {
        Data::Keep => Ok(()),
        Data::Erase => erase(disk),
    }
}

/// Destroys the state of the older system: what its keys were wrapped with is overwritten, then its partitions go.
fn erase(disk: &dyn Disk) -> Result<(), WriteFault> {
    let mut table = Table::read(disk)?;
    let zeros = vec![0; PIECE_BYTES];
    for (_, partition) in table.iter().filter(|(_, it)| it.label == layout::STATE_LABEL) {
        let end = partition.bytes().min(KEYS_BYTES);
        let mut at = 0;
        while at < end {
            let count = usize::try_from(end - at).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
            disk.write_at(zeros.get(..count).unwrap_or_default(), partition.offset() + at)?;
            at += count as u64;
        }
    }
    disk.sync()?;
    for entry in &mut table.partitions {
        let is_data = |label: &str| label == layout::STATE_LABEL || label == layout::MODELS_LABEL;
        if entry.as_ref().is_some_and(|it| is_data(&it.label)) {
            *entry = None;
        }
    }
    Ok(table.write(disk)?)
}

/// Reads from the disk, from its table on, that the system of the bundle is what it would start.
///
/// # Errors
/// [`WriteFault::Unlike`] with the part that differs, and the failures of reading.
pub fn prove(disk: &dyn Disk, bundle: &Fitting, tell: &mut dyn FnMut(Progress)) -> Result<Proof, WriteFault> {
    disk.forget()?;
    let manifest = bundle.manifest();
    let table = Table::read(disk)?;
    let (root_id, verity_id) = Guid::of_roothash(&manifest.roothash);
    let mut meter = Meter::new(manifest, tell);
    for (id, role) in [(root_id, FileRole::Root), (verity_id, FileRole::Verity)] {
        let mut found = table.iter().map(|(_, it)| it).filter(|it| it.id == id);
        let (Some(place), None) = (found.next(), found.next()) else {
            return Err(WriteFault::Unlike { what: "table" });
        };
        slot::compare(disk, place.offset(), slot::source(bundle, role)?, &mut meter)?;
    }
    let esp = layout::esp(&table).ok_or(WriteFault::Unlike { what: "table" })?;
    let volume = Fat::open(disk, esp.offset(), esp.bytes()).map_err(EspFault::from)?;
    let names = volume.names()?;
    let starts = BootEntry::chosen(names.iter().map(String::as_str));
    if starts.map(|entry| entry.version) != Some(manifest.image_version.clone()) {
        return Err(WriteFault::Unlike { what: "boot entry" });
    }
    let is_its =
        |name: &&String| BootEntry::parse(name).is_some_and(|entry| entry.version == manifest.image_version);
    let name = names.iter().find(is_its).cloned().unwrap_or_default();
    let entry = slot::source(bundle, FileRole::Uki)?;
    let mut digest = Sha256Stream::new();
    let take = &mut |piece: &[u8]| {
        digest.update(piece);
        meter.advance(Stage::Comparing, piece.len());
        Ok(())
    };
    volume
        .read_file(&format!("{ENTRIES_FOLDER}/{name}"), take)
        .map_err(EspFault::from)?;
    if digest.finish() != entry.signed.sha256 {
        return Err(WriteFault::Unlike { what: "boot entry" });
    }
    meter.end();
    let bytes = [FileRole::Root, FileRole::Verity, FileRole::Uki]
        .iter()
        .filter_map(|role| manifest.file(*role))
        .map(|file| file.bytes)
        .sum();
    Ok(Proof {
        version: manifest.image_version.clone(),
        roothash: manifest.roothash,
        bytes,
    })
}

/// Where firmware and tools look for the boot loader.
const fn loader_paths(architecture: Architecture) -> [&'static str; 2] {
    match architecture {
        Architecture::X8664 => ["EFI/systemd/systemd-bootx64.efi", "EFI/BOOT/BOOTX64.EFI"],
        Architecture::Arm64 => ["EFI/systemd/systemd-bootaa64.efi", "EFI/BOOT/BOOTAA64.EFI"],
    }
}

fn make_folder_of(volume: &mut Fat<'_>, path: &str) -> Result<(), EspFault> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    Ok(volume.make_folder(folder)?)
}

fn write_text(volume: &mut Fat<'_>, path: &str, bytes: &[u8]) -> Result<(), EspFault> {
    make_folder_of(volume, path)?;
    let mut rest = bytes;
    volume.write_file(path, bytes.len() as u64, &mut |piece| {
        io::Read::read_exact(&mut rest, piece)
    })?;
    Ok(())
}

#[cfg(test)]
mod tests;
