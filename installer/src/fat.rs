//! The EFI system partition as the firmware reads it: FAT32 (Microsoft, "FAT: General Overview of On-Disk Format",
//! 1.03; UEFI specification 2.10, section 13.3), with long names.
//!
//! Written without the kernel's driver, since the order of writes is what an interrupted installation is judged by: a
//! file's bytes, then its chain in both tables, then its entry in the folder, each synced before the next. The entry is
//! the last sector written, so a file is there whole or not at all. Removing goes the other way round.
//!
//! Only what an ESP needs: FAT32 with sectors of 512 bytes, no attributes, no times. What is on a disk was written by
//! somebody else, so every number read is checked and every chain is bounded.

mod name;

use std::io;

use jingui_trust::Sha256Stream;

use crate::disk::{Disk, SECTOR_BYTES};
use name::Slots;

const ENTRY_BYTES: usize = 32;
const RESERVED_SECTORS: u64 = 32;
const FAT_COUNT: u64 = 2;
const BACKUP_BOOT_SECTOR: u64 = 6;
/// Fewest clusters by which everybody takes a volume for FAT32.
const CLUSTERS_MIN: u64 = 65_525;
/// Largest volume that is looked at: tables of 4 MiB.
const CLUSTERS_MAX: u64 = 1 << 20;
const END_OF_CHAIN: u32 = 0x0fff_ffff;
const CHAIN_MASK: u32 = 0x0fff_ffff;
const CHAIN_END_MIN: u32 = 0x0fff_fff8;
const ATTRIBUTE_FOLDER: u8 = 0x10;
const ATTRIBUTE_LABEL: u8 = 0x08;
const ATTRIBUTE_LONG_NAME: u8 = 0x0f;
const DELETED: u8 = 0xe5;
/// Largest folder that is looked at.
const FOLDER_BYTES_MAX: usize = 1 << 20;
/// Bytes of a file that are moved at once.
const PIECE_BYTES: usize = 1 << 20;

/// A mounted volume.
pub struct Fat<'a> {
    disk: &'a dyn Disk,
    /// First byte of the volume on the disk.
    offset: u64,
    /// First sector of the first table.
    table_sector: u64,
    sectors_per_table: u64,
    /// First sector of cluster 2.
    data_sector: u64,
    sectors_per_cluster: u64,
    root: u32,
    /// Where the number of free clusters is told, until it is said to be unknown.
    info_sector: std::cell::Cell<Option<u64>>,
    /// The table: next cluster by cluster.
    chain: Vec<u32>,
}

/// Something in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Bytes of the file; 0 for a folder.
    pub bytes: u64,
    cluster: u32,
    /// Its slots in the folder: first, and one after the last.
    slots: (usize, usize),
    short: [u8; 11],
}

/// Why a volume cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FatFault {
    /// There is no FAT32 volume of the supported form.
    #[error("there is no FAT32 volume")]
    Foreign,
    /// It contradicts itself.
    #[error("the volume is damaged")]
    Damaged,
    /// No room for a file.
    #[error("the volume has no room")]
    Full,
    /// Nothing of that name, or something else than was asked for.
    #[error("{0} is not there")]
    Absent(String),
    /// There is something of that name.
    #[error("{0} is there already")]
    Exists(String),
    /// A name that cannot be written.
    #[error("{0} is no name")]
    Name(String),
    /// What was read back is not what was written.
    #[error("what was written reads back differently")]
    Unlike,
    /// The disk failed, or what should be copied could not be read.
    #[error("reading or writing failed")]
    Disk(#[from] io::Error),
}

impl std::fmt::Debug for Fat<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fat")
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

/// Makes an empty volume of `bytes` at `offset` of the disk, synced. `id` is its serial number.
///
/// # Errors
/// [`FatFault::Full`] for a place too small for FAT32, [`FatFault::Disk`].
pub fn format(disk: &dyn Disk, offset: u64, bytes: u64, id: u32) -> Result<(), FatFault> {
    let sectors = bytes / SECTOR_BYTES as u64;
    let (sectors_per_cluster, sectors_per_table) = [8, 4, 2, 1]
        .into_iter()
        .find_map(|per_cluster| {
            let clusters = sectors.saturating_sub(RESERVED_SECTORS) / per_cluster;
            let per_table = ((clusters + 2) * 4).div_ceil(SECTOR_BYTES as u64);
            let data = sectors.checked_sub(RESERVED_SECTORS + FAT_COUNT * per_table)?;
            (data / per_cluster >= CLUSTERS_MIN).then_some((per_cluster, per_table))
        })
        .ok_or(FatFault::Full)?;
    let write = |sector: u64, bytes: &[u8]| disk.write_at(bytes, offset + sector * SECTOR_BYTES as u64);
    let data_sector = RESERVED_SECTORS + FAT_COUNT * sectors_per_table;
    let nothing = vec![0; PIECE_BYTES];
    let mut sector = 0;
    let end = data_sector + sectors_per_cluster;
    while sector < end {
        let count = (end - sector).min((PIECE_BYTES / SECTOR_BYTES) as u64);
        let piece = nothing.get(..count as usize * SECTOR_BYTES).unwrap_or_default();
        write(sector, piece)?;
        sector += count;
    }
    let mut head = [0_u8; SECTOR_BYTES];
    let first = [0x0fff_fff8_u32, END_OF_CHAIN, END_OF_CHAIN];
    for (place, value) in head.chunks_mut(4).zip(first) {
        place.copy_from_slice(&value.to_le_bytes());
    }
    for table in 0..FAT_COUNT {
        write(RESERVED_SECTORS + table * sectors_per_table, &head)?;
    }
    let boot = boot_sector(sectors, sectors_per_cluster, sectors_per_table, id);
    let info = info_sector();
    for base in [BACKUP_BOOT_SECTOR, 0] {
        write(base + 1, &info)?;
        write(base, &boot)?;
    }
    Ok(disk.sync()?)
}

fn boot_sector(sectors: u64, sectors_per_cluster: u64, sectors_per_table: u64, id: u32) -> Vec<u8> {
    let mut bytes = vec![0xeb, 0x58, 0x90];
    bytes.extend_from_slice(b"JINGUI  ");
    bytes.extend_from_slice(&(SECTOR_BYTES as u16).to_le_bytes());
    bytes.push(sectors_per_cluster as u8);
    bytes.extend_from_slice(&(RESERVED_SECTORS as u16).to_le_bytes());
    bytes.push(FAT_COUNT as u8);
    bytes.extend_from_slice(&[0, 0, 0, 0, 0xf8, 0, 0]);
    // Sectors per track and heads matter to nobody; nothing is before the volume that it would know of.
    bytes.extend_from_slice(&[63, 0, 255, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&u32::try_from(sectors).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(sectors_per_table).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 0]);
    bytes.extend_from_slice(&2_u32.to_le_bytes());
    bytes.extend_from_slice(&[1, 0]);
    bytes.extend_from_slice(&(BACKUP_BOOT_SECTOR as u16).to_le_bytes());
    bytes.extend_from_slice(&[0; 12]);
    bytes.extend_from_slice(&[0x80, 0, 0x29]);
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes.extend_from_slice(b"NO NAME    FAT32   ");
    bytes.resize(510, 0);
    bytes.extend_from_slice(&[0x55, 0xaa]);
    bytes
}

/// The number of free clusters is said to be unknown: readers count for themselves.
fn info_sector() -> Vec<u8> {
    let mut bytes = b"RRaA".to_vec();
    bytes.resize(484, 0);
    bytes.extend_from_slice(b"rrAa");
    bytes.extend_from_slice(&[0xff; 8]);
    bytes.resize(508, 0);
    bytes.extend_from_slice(&[0, 0, 0x55, 0xaa]);
    bytes
}

impl<'a> Fat<'a> {
    /// Opens the volume of at most `bytes` at `offset` of the disk.
    ///
    /// # Errors
    /// [`FatFault::Foreign`], [`FatFault::Disk`].
    pub fn open(disk: &'a dyn Disk, offset: u64, bytes: u64) -> Result<Self, FatFault> {
        let mut boot = [0; SECTOR_BYTES];
        disk.read_at(&mut boot, offset)?;
        let word = |at: usize| {
            boot.get(at..)
                .and_then(|it| it.first_chunk())
                .map(|it| u16::from_le_bytes(*it))
        };
        let long = |at: usize| {
            boot.get(at..)
                .and_then(|it| it.first_chunk())
                .map(|it| u32::from_le_bytes(*it))
        };
        let byte = |at: usize| boot.get(at).copied();
        let is_fat32 = word(510) == Some(0xaa55)
            && word(11) == Some(SECTOR_BYTES as u16)
            && byte(16) == Some(FAT_COUNT as u8)
            && word(17) == Some(0)
            && word(22) == Some(0)
            && word(42) == Some(0);
        let numbers = (byte(13), word(14), long(32), long(36), long(44));
        let (Some(per_cluster), Some(reserved), Some(sectors), Some(per_table), Some(root)) = numbers else {
            return Err(FatFault::Foreign);
        };
        let (per_cluster, reserved) = (u64::from(per_cluster), u64::from(reserved));
        let (sectors, sectors_per_table) = (u64::from(sectors), u64::from(per_table));
        let data_sector = reserved + FAT_COUNT * sectors_per_table;
        if !is_fat32
            || !per_cluster.is_power_of_two()
            || reserved == 0
            || sectors > bytes / SECTOR_BYTES as u64
            || sectors <= data_sector
        {
            return Err(FatFault::Foreign);
        }
        let clusters = (sectors - data_sector) / per_cluster;
        let entries = clusters + 2;
        if clusters > CLUSTERS_MAX || entries * 4 > sectors_per_table * SECTOR_BYTES as u64 {
            return Err(FatFault::Foreign);
        }
        let mut table = vec![0; (entries * 4).div_ceil(SECTOR_BYTES as u64) as usize * SECTOR_BYTES];
        disk.read_at(&mut table, offset + reserved * SECTOR_BYTES as u64)?;
        let chain: Vec<u32> = table
            .chunks_exact(4)
            .filter_map(|it| it.first_chunk())
            .map(|it| u32::from_le_bytes(*it))
            .take(entries as usize)
            .collect();
        let fat = Self {
            disk,
            offset,
            table_sector: reserved,
            sectors_per_table,
            data_sector,
            sectors_per_cluster: per_cluster,
            root: root & CHAIN_MASK,
            info_sector: std::cell::Cell::new(word(48).map(u64::from).filter(|it| *it > 0 && *it < reserved)),
            chain,
        };
        fat.clusters_from(fat.root)?;
        Ok(fat)
    }

    /// What is in the folder at `path` (`""` for the top).
    ///
    /// # Errors
    /// [`FatFault::Absent`], [`FatFault::Damaged`], [`FatFault::Disk`].
    pub fn list(&self, path: &str) -> Result<Vec<Entry>, FatFault> {
        Ok(self.folder(path)?.entries())
    }

    /// Whether there is a file or folder at `path`.
    ///
    /// # Errors
    /// [`FatFault::Damaged`], [`FatFault::Disk`].
    pub fn exists(&self, path: &str) -> Result<bool, FatFault> {
        match self.find(path) {
            Ok(_) => Ok(true),
            Err(FatFault::Absent(_)) => Ok(false),
            Err(other) => Err(other),
        }
    }

    /// Free bytes.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        let free = self.chain.iter().skip(2).filter(|next| **next & CHAIN_MASK == 0);
        free.count() as u64 * self.cluster_bytes()
    }

    /// Makes the folder at `path`, and those above it, where they are missing.
    ///
    /// # Errors
    /// Any [`FatFault`].
    pub fn make_folder(&mut self, path: &str) -> Result<(), FatFault> {
        if path.is_empty() || self.exists(path)? {
            return Ok(());
        }
        let (above, name) = split(path);
        self.make_folder(above)?;
        let parent = self.folder(above)?;
        let clusters = self.free_clusters(1)?;
        let own = clusters.first().copied().ok_or(FatFault::Full)?;
        let mut bytes = vec![0; self.cluster_bytes() as usize];
        // The folder above a folder at the top is written as cluster 0.
        let up = if above.is_empty() { 0 } else { parent.cluster };
        for (place, (name, cluster)) in bytes
            .chunks_mut(ENTRY_BYTES)
            .zip([(b".          ", own), (b"..         ", up)])
        {
            place.copy_from_slice(&short_entry(name, ATTRIBUTE_FOLDER, cluster, 0));
        }
        self.write_cluster(own, &bytes)?;
        self.disk.sync()?;
        self.link(&clusters)?;
        self.enter(above, name, ATTRIBUTE_FOLDER, own, 0)
    }

    /// Writes a new file of exactly `bytes` bytes at `path`; `fill` gives the next of them. Its entry is written last, after
    /// the bytes were read back from the device.
    ///
    /// # Errors
    /// [`FatFault::Exists`], [`FatFault::Full`], [`FatFault::Name`], [`FatFault::Unlike`] and those of reading the folder;
    /// what `fill` says.
    pub fn write_file(
        &mut self,
        path: &str,
        bytes: u64,
        fill: &mut dyn FnMut(&mut [u8]) -> io::Result<()>,
    ) -> Result<(), FatFault> {
        if self.exists(path)? {
            return Err(FatFault::Exists(path.to_owned()));
        }
        let size = u32::try_from(bytes).map_err(|_| FatFault::Full)?;
        let (above, name) = split(path);
        let clusters = self.free_clusters(bytes.div_ceil(self.cluster_bytes()))?;
        let runs = runs(&clusters, (PIECE_BYTES as u64 / self.cluster_bytes()).max(1));
        let mut digest = Sha256Stream::new();
        let mut left = bytes;
        for run in &runs {
            let room = run.1 * self.cluster_bytes();
            let count = left.min(room);
            let mut piece = vec![0; room as usize];
            fill(piece.get_mut(..count as usize).unwrap_or_default())?;
            digest.update(&piece);
            self.write_cluster(run.0, &piece)?;
            left -= count;
        }
        self.disk.sync()?;
        self.disk.forget()?;
        let mut read_back = Sha256Stream::new();
        for run in &runs {
            let mut piece = vec![0; (run.1 * self.cluster_bytes()) as usize];
            self.disk.read_at(&mut piece, self.place_of(run.0))?;
            read_back.update(&piece);
        }
        if read_back.finish() != digest.finish() {
            return Err(FatFault::Unlike);
        }
        self.link(&clusters)?;
        let first = clusters.first().copied().unwrap_or(0);
        self.enter(above, name, 0x20, first, size)
    }

    /// Reads the whole file at `path`, in pieces.
    ///
    /// # Errors
    /// [`FatFault::Absent`], [`FatFault::Damaged`], [`FatFault::Disk`]; what `take` says.
    pub fn read_file(
        &self,
        path: &str,
        take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), FatFault> {
        let entry = self.find(path)?;
        if entry.is_folder {
            return Err(FatFault::Absent(path.to_owned()));
        }
        let clusters = if entry.cluster == 0 {
            Vec::new()
        } else {
            self.clusters_from(entry.cluster)?
        };
        if (clusters.len() as u64) * self.cluster_bytes() < entry.bytes {
            return Err(FatFault::Damaged);
        }
        let mut left = entry.bytes;
        for run in runs(&clusters, (PIECE_BYTES as u64 / self.cluster_bytes()).max(1)) {
            let count = left.min(run.1 * self.cluster_bytes());
            let mut piece = vec![0; count as usize];
            self.disk.read_at(&mut piece, self.place_of(run.0))?;
            take(&piece)?;
            left -= count;
            if left == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Removes the file at `path`: its entry first, synced, then its chain.
    ///
    /// # Errors
    /// [`FatFault::Absent`], also for a folder; [`FatFault::Damaged`], [`FatFault::Disk`].
    pub fn remove_file(&mut self, path: &str) -> Result<(), FatFault> {
        let (above, name) = split(path);
        let mut folder = self.folder(above)?;
        let entry = folder
            .entry(name)
            .ok_or_else(|| FatFault::Absent(path.to_owned()))?;
        if entry.is_folder {
            return Err(FatFault::Absent(path.to_owned()));
        }
        // The short entry is the file; the others are its long name, and nothing without it.
        for slot in (entry.slots.0..entry.slots.1).rev() {
            if let Some(first) = folder.bytes.get_mut(slot * ENTRY_BYTES) {
                *first = DELETED;
            }
        }
        self.write_slots(&folder, entry.slots.0, entry.slots.1, true)?;
        self.disk.sync()?;
        if entry.cluster != 0 {
            let clusters = self.clusters_from(entry.cluster)?;
            for cluster in &clusters {
                self.set(*cluster, 0);
            }
            self.write_table(&clusters)?;
        }
        Ok(())
    }

    fn find(&self, path: &str) -> Result<Entry, FatFault> {
        let (above, name) = split(path);
        let folder = self.folder(above)?;
        folder
            .entry(name)
            .ok_or_else(|| FatFault::Absent(path.to_owned()))
    }

    fn folder(&self, path: &str) -> Result<Folder, FatFault> {
        let mut folder = self.read_folder(self.root)?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let entry = folder
                .entry(name)
                .filter(|entry| entry.is_folder && entry.cluster != 0)
                .ok_or_else(|| FatFault::Absent(path.to_owned()))?;
            folder = self.read_folder(entry.cluster)?;
        }
        Ok(folder)
    }

    fn read_folder(&self, cluster: u32) -> Result<Folder, FatFault> {
        let clusters = self.clusters_from(cluster)?;
        let cluster_bytes = self.cluster_bytes() as usize;
        if clusters.len() * cluster_bytes > FOLDER_BYTES_MAX {
            return Err(FatFault::Damaged);
        }
        let mut bytes = vec![0; clusters.len() * cluster_bytes];
        for (piece, cluster) in bytes.chunks_mut(cluster_bytes).zip(&clusters) {
            self.disk.read_at(piece, self.place_of(*cluster))?;
        }
        Ok(Folder {
            cluster,
            clusters,
            bytes,
        })
    }

    /// Puts an entry into the folder at `above`; its short form, which is what makes it one, is in the last sector
    /// that is written.
    fn enter(
        &mut self,
        above: &str,
        name: &str,
        attribute: u8,
        cluster: u32,
        size: u32,
    ) -> Result<(), FatFault> {
        let folder = self.folder(above)?;
        let taken: Vec<[u8; 11]> = folder.entries().iter().map(|entry| entry.short).collect();
        let slots = Slots::of(name, &taken).ok_or_else(|| FatFault::Name(name.to_owned()))?;
        let mut folder = self.with_room(folder, slots.count())?;
        let at = folder.free_slots(slots.count()).ok_or(FatFault::Full)?;
        let long = slots.long.iter().copied();
        let written = long.chain([short_entry(&slots.short, attribute, cluster, size)]);
        for (slot, bytes) in (at..).zip(written) {
            let place = folder.bytes.get_mut(slot * ENTRY_BYTES..).unwrap_or_default();
            if let Some(place) = place.get_mut(..ENTRY_BYTES) {
                place.copy_from_slice(&bytes);
            }
        }
        self.write_slots(&folder, at, at + slots.count(), false)?;
        Ok(self.disk.sync()?)
    }

    /// The folder, longer by a cluster if it has no room for that many slots.
    fn with_room(&mut self, folder: Folder, slots: usize) -> Result<Folder, FatFault> {
        if folder.free_slots(slots).is_some() {
            return Ok(folder);
        }
        let added = self.free_clusters(1)?;
        let new = added.first().copied().ok_or(FatFault::Full)?;
        self.write_cluster(new, &vec![0; self.cluster_bytes() as usize])?;
        self.disk.sync()?;
        self.set(new, END_OF_CHAIN);
        self.write_table(&added)?;
        let last = folder.clusters.last().copied().ok_or(FatFault::Damaged)?;
        self.set(last, new);
        self.write_table(&[last])?;
        self.read_folder(folder.cluster)
    }

    /// Writes the sectors of these slots in their order, or in the other one.
    fn write_slots(&self, folder: &Folder, from: usize, to: usize, backwards: bool) -> io::Result<()> {
        let per_sector = SECTOR_BYTES / ENTRY_BYTES;
        let mut sectors: Vec<usize> = (from / per_sector..=(to - 1) / per_sector).collect();
        if backwards {
            sectors.reverse();
        }
        for sector in sectors {
            let per_cluster = self.sectors_per_cluster as usize;
            let bytes = folder.bytes.get(sector * SECTOR_BYTES..).unwrap_or_default();
            let (Some(bytes), Some(cluster)) = (
                bytes.get(..SECTOR_BYTES),
                folder.clusters.get(sector / per_cluster),
            ) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            let within = (sector % per_cluster * SECTOR_BYTES) as u64;
            self.disk.write_at(bytes, self.place_of(*cluster) + within)?;
        }
        Ok(())
    }

    fn cluster_bytes(&self) -> u64 {
        self.sectors_per_cluster * SECTOR_BYTES as u64
    }

    fn place_of(&self, cluster: u32) -> u64 {
        let sector = self.data_sector + (u64::from(cluster).saturating_sub(2)) * self.sectors_per_cluster;
        self.offset + sector * SECTOR_BYTES as u64
    }

    fn write_cluster(&self, cluster: u32, bytes: &[u8]) -> io::Result<()> {
        self.disk.write_at(bytes, self.place_of(cluster))
    }

    /// The chain that begins at a cluster, bounded by the number of clusters there are.
    fn clusters_from(&self, first: u32) -> Result<Vec<u32>, FatFault> {
        let mut clusters = Vec::new();
        let mut next = first;
        while next < CHAIN_END_MIN {
            if next < 2 || clusters.len() >= self.chain.len() {
                return Err(FatFault::Damaged);
            }
            clusters.push(next);
            next = self.chain.get(next as usize).ok_or(FatFault::Damaged)? & CHAIN_MASK;
        }
        Ok(clusters)
    }

    fn free_clusters(&self, count: u64) -> Result<Vec<u32>, FatFault> {
        let free = self.chain.iter().enumerate().skip(2);
        let free = free.filter(|(_, next)| **next & CHAIN_MASK == 0);
        let found: Vec<u32> = free
            .filter_map(|(cluster, _)| u32::try_from(cluster).ok())
            .take(usize::try_from(count).unwrap_or(usize::MAX))
            .collect();
        if found.len() as u64 == count {
            Ok(found)
        } else {
            Err(FatFault::Full)
        }
    }

    /// Makes a chain of these clusters in both tables, synced.
    fn link(&mut self, clusters: &[u32]) -> io::Result<()> {
        let next = clusters.iter().skip(1).copied().chain([END_OF_CHAIN]);
        for (cluster, next) in clusters.iter().zip(next) {
            self.set(*cluster, next);
        }
        self.write_table(clusters)
    }

    /// The top four bits belong to nobody and stay.
    fn set(&mut self, cluster: u32, next: u32) {
        if let Some(place) = self.chain.get_mut(cluster as usize) {
            *place = *place & !CHAIN_MASK | next;
        }
    }

    /// The number of free clusters is a help for readers that they may not rely on; a wrong one confuses tools.
    fn forget_free_count(&self) -> io::Result<()> {
        if let Some(sector) = self.info_sector.take() {
            let place = self.offset + sector * SECTOR_BYTES as u64;
            self.disk.write_at(&info_sector(), place)?;
        }
        Ok(())
    }

    /// Writes the sectors of both tables in which these clusters are, synced.
    fn write_table(&self, clusters: &[u32]) -> io::Result<()> {
        self.forget_free_count()?;
        let per_sector = SECTOR_BYTES / 4;
        let sectors: std::collections::BTreeSet<usize> = clusters
            .iter()
            .map(|cluster| *cluster as usize / per_sector)
            .collect();
        for table in 0..FAT_COUNT {
            let base = self.table_sector + table * self.sectors_per_table;
            for sector in &sectors {
                let mut bytes: Vec<u8> = self
                    .chain
                    .iter()
                    .skip(sector * per_sector)
                    .take(per_sector)
                    .flat_map(|next| next.to_le_bytes())
                    .collect();
                bytes.resize(SECTOR_BYTES, 0);
                let place = (base + *sector as u64) * SECTOR_BYTES as u64;
                self.disk.write_at(&bytes, self.offset + place)?;
            }
        }
        self.disk.sync()
    }
}

/// A folder as it is on disk.
struct Folder {
    cluster: u32,
    clusters: Vec<u32>,
    bytes: Vec<u8>,
}

impl Folder {
    /// Names compare without case of ASCII letters, as firmware compares them.
    fn entry(&self, name: &str) -> Option<Entry> {
        self.entries()
            .into_iter()
            .find(|entry| entry.name.eq_ignore_ascii_case(name))
    }

    fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut long: Vec<[u8; ENTRY_BYTES]> = Vec::new();
        for (slot, bytes) in self.bytes.chunks_exact(ENTRY_BYTES).enumerate() {
            let Ok(bytes) = <[u8; ENTRY_BYTES]>::try_from(bytes) else {
                break;
            };
            match (bytes[0], bytes[11]) {
                (0, _) => break,
                (DELETED, _) => long.clear(),
                (_, ATTRIBUTE_LONG_NAME) => long.push(bytes),
                (_, attribute) if attribute & ATTRIBUTE_LABEL != 0 => long.clear(),
                (b'.', _) => long.clear(),
                _ => {
                    entries.push(entry_of(slot, &bytes, &long));
                    long.clear();
                }
            }
        }
        entries
    }

    /// First of that many unused slots in a row.
    fn free_slots(&self, count: usize) -> Option<usize> {
        let mut run = 0;
        let mut is_after_end = false;
        for (slot, bytes) in self.bytes.chunks_exact(ENTRY_BYTES).enumerate() {
            let first = bytes.first().copied().unwrap_or(0);
            is_after_end = is_after_end || first == 0;
            run = if is_after_end || first == DELETED {
                run + 1
            } else {
                0
            };
            if run == count {
                return Some(slot + 1 - count);
            }
        }
        None
    }
}

fn entry_of(slot: usize, bytes: &[u8; ENTRY_BYTES], long: &[[u8; ENTRY_BYTES]]) -> Entry {
    let word = |at: usize| {
        let pair = bytes.get(at..).and_then(|it| it.first_chunk());
        u32::from(pair.map_or(0, |it| u16::from_le_bytes(*it)))
    };
    let mut short = [0; 11];
    short.copy_from_slice(bytes.first_chunk::<11>().unwrap_or(&[0; 11]));
    let long_name = name::join(long, &short);
    let is_folder = bytes[11] & ATTRIBUTE_FOLDER != 0;
    let slot_count = if long_name.is_some() { long.len() } else { 0 };
    Entry {
        name: long_name.unwrap_or_else(|| name::of_short(&short)),
        is_folder,
        bytes: if is_folder {
            0
        } else {
            u64::from(word(28) | word(30) << 16)
        },
        cluster: (word(20) << 16 | word(26)) & CHAIN_MASK,
        slots: (slot - slot_count, slot + 1),
        short,
    }
}

fn short_entry(name: &[u8; 11], attribute: u8, cluster: u32, size: u32) -> [u8; ENTRY_BYTES] {
    let mut bytes = [0; ENTRY_BYTES];
    let (cluster, size) = (cluster.to_le_bytes(), size.to_le_bytes());
    // 1 January 1980: there may be no clock.
    let date = [0x21, 0x00];
    let fields: [(usize, &[u8]); 7] = [
        (0, name),
        (11, &[attribute]),
        (16, &date),
        (20, &[cluster[2], cluster[3]]),
        (24, &date),
        (26, &[cluster[0], cluster[1]]),
        (28, &size),
    ];
    for (at, field) in fields {
        for (place, byte) in bytes.iter_mut().skip(at).zip(field) {
            *place = *byte;
        }
    }
    bytes
}

/// Runs of clusters that follow each other, none longer than `max`: first and count.
fn runs(clusters: &[u32], max: u64) -> Vec<(u32, u64)> {
    let mut runs: Vec<(u32, u64)> = Vec::new();
    for cluster in clusters {
        match runs.last_mut() {
            Some((first, count)) if u64::from(*first) + *count == u64::from(*cluster) && *count < max => {
                *count += 1;
            }
            _ => runs.push((*cluster, 1)),
        }
    }
    runs
}

/// The folder and the name of a path.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests;
