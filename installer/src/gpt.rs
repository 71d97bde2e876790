//! The partition table of a disk: GUID Partition Table (UEFI specification 2.10, section 5.3), read strictly and
//! written so that at each moment one whole table is in force.
//!
//! Only what our disks need: sectors of 512 bytes, 128 entries. The order of [`Table::write`] is what the rest relies
//! on: the backup is written and synced before the primary is touched, so a power cut leaves the old table (primary
//! still whole) or the new one (primary torn, backup whole), never none.

use std::io;

use jingui_trust::Sha256;

use crate::disk::{Disk, SECTOR_BYTES};

/// Entries of every table of ours.
const ENTRY_COUNT: usize = 128;
const ENTRY_BYTES: usize = 128;
const ENTRIES_BYTES: usize = ENTRY_COUNT * ENTRY_BYTES;
const ENTRIES_SECTORS: u64 = (ENTRIES_BYTES / SECTOR_BYTES) as u64;
const HEADER_BYTES: u32 = 92;
const SIGNATURE: &[u8; 8] = b"EFI PART";
const REVISION: u32 = 0x0001_0000;
/// Longest label in UTF-16 units.
pub const LABEL_UNITS_MAX: usize = 36;
/// First sector that a partition of ours may use, and the multiple that each starts at: 1 MiB.
pub const ALIGNMENT_SECTORS: u64 = 2048;

/// A partition's type, or its own identity. In the order in which it is written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guid(pub [u8; 16]);

/// Types of partitions that we make or know (UAPI group, "Discoverable Partitions Specification").
pub mod kind {
    use super::Guid;

    /// EFI system partition, `c12a7328-f81f-11d2-ba4b-00a0c93ec93b`.
    pub const ESP: Guid = Guid(hex(0xc12a_7328_f81f_11d2_ba4b_00a0_c93e_c93b));
    /// Root of x86-64, `4f68bce3-e8cd-4db1-96e7-fbcaf984b709`.
    pub const ROOT_X86_64: Guid = Guid(hex(0x4f68_bce3_e8cd_4db1_96e7_fbca_f984_b709));
    /// Verity tree of a root of x86-64, `2c7357ed-ebd2-46d9-aec1-23d437ec2bf5`.
    pub const VERITY_X86_64: Guid = Guid(hex(0x2c73_57ed_ebd2_46d9_aec1_23d4_37ec_2bf5));
    /// Root of arm64, `b921b045-1df0-41c3-af44-4c6f280d3fae`.
    pub const ROOT_ARM64: Guid = Guid(hex(0xb921_b045_1df0_41c3_af44_4c6f_280d_3fae));
    /// Verity tree of a root of arm64, `df3300ce-d69f-4c92-978c-9bfb0f38d820`.
    pub const VERITY_ARM64: Guid = Guid(hex(0xdf33_00ce_d69f_4c92_978c_9bfb_0f38_d820));
    /// Any Linux data, `0fc63daf-8483-4772-8e79-3d69d8477de4`.
    pub const LINUX: Guid = Guid(hex(0x0fc6_3daf_8483_4772_8e79_3d69_d847_7de4));

    const fn hex(digits: u128) -> [u8; 16] {
        digits.to_be_bytes()
    }
}

impl Guid {
    /// A new random one (RFC 9562 version 4).
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn random() -> io::Result<Self> {
        let mut bytes: [u8; 16] =
            jingui_trust::random::bytes().map_err(|_| io::Error::other("no randomness"))?;
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Ok(Self(bytes))
    }

    /// The identities of root and verity partition that belong to a root hash: its first and its last half. The
    /// initial RAM disk looks for exactly these (systemd-veritysetup-generator(8)).
    #[must_use]
    pub fn of_roothash(roothash: &Sha256) -> (Self, Self) {
        let (mut root, mut verity) = ([0; 16], [0; 16]);
        let (first, last) = roothash.as_bytes().split_at(16);
        root.copy_from_slice(first);
        verity.copy_from_slice(last);
        (Self(root), Self(verity))
    }

    /// The first three fields are little-endian on disk.
    const fn on_disk(self) -> [u8; 16] {
        let b = self.0;
        [
            b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
            b[15],
        ]
    }

    const fn from_disk(bytes: [u8; 16]) -> Self {
        Self(Self(bytes).on_disk())
    }

    const fn is_zero(self) -> bool {
        u128::from_be_bytes(self.0) == 0
    }
}

impl std::fmt::Display for Guid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let dash = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its type.
    pub kind: Guid,
    /// Its identity.
    pub id: Guid,
    /// First sector.
    pub first: u64,
    /// Number of sectors.
    pub sectors: u64,
    /// Attribute bits, kept as they are found.
    pub attributes: u64,
    /// Its label.
    pub label: String,
}

/// The partition table of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Identity of the disk.
    pub id: Guid,
    /// The partitions by the position of their entry, 0 for the first (the kernel counts from 1).
    pub partitions: Vec<Option<Partition>>,
}

/// Why a disk has no table of ours.
#[derive(Debug, thiserror::Error)]
pub enum TableFault {
    /// Neither copy is a whole table.
    #[error("the disk has no whole partition table")]
    Absent,
    /// The disk cannot be read or written.
    #[error("the disk failed")]
    Disk(#[from] io::Error),
    /// The partitions do not fit the disk, or each other.
    #[error("the partitions do not fit")]
    Misfit,
}

impl Partition {
    /// First byte.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.first.saturating_mul(SECTOR_BYTES as u64)
    }

    /// Bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.sectors.saturating_mul(SECTOR_BYTES as u64)
    }
}

impl Table {
    /// A table without partitions.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            id: Guid::random()?,
            partitions: Vec::new(),
        })
    }

    /// The partitions with their positions.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Partition)> {
        let filled = self.partitions.iter().enumerate();
        filled.filter_map(|(index, entry)| Some((index, entry.as_ref()?)))
    }

    /// The partition at that position.
    #[must_use]
    pub fn at(&self, index: usize) -> Option<&Partition> {
        self.partitions.get(index)?.as_ref()
    }

    /// The partition at that position, to be changed.
    pub fn at_mut(&mut self, index: usize) -> Option<&mut Partition> {
        self.partitions.get_mut(index)?.as_mut()
    }

    /// Sectors of a disk that partitions may use: first, and one after the last.
    #[must_use]
    pub const fn usable(disk_sectors: u64) -> (u64, u64) {
        (
            ALIGNMENT_SECTORS,
            disk_sectors.saturating_sub(ENTRIES_SECTORS + 1),
        )
    }

    /// The table in force: the primary when it is whole, else the backup.
    ///
    /// # Errors
    /// [`TableFault::Absent`], [`TableFault::Disk`].
    pub fn read(disk: &dyn Disk) -> Result<Self, TableFault> {
        let sectors = disk.bytes() / SECTOR_BYTES as u64;
        if sectors < ALIGNMENT_SECTORS {
            return Err(TableFault::Absent);
        }
        if let Some(table) = read_copy(disk, 1)? {
            return Ok(table);
        }
        read_copy(disk, sectors - 1)?.ok_or(TableFault::Absent)
    }

    /// Writes the table: backup, sync, primary, sync. A disk without a protective MBR gets one first.
    ///
    /// # Errors
    /// [`TableFault::Misfit`] before anything is written, [`TableFault::Disk`].
    pub fn write(&self, disk: &dyn Disk) -> Result<(), TableFault> {
        let sectors = disk.bytes() / SECTOR_BYTES as u64;
        self.check(sectors)?;
        let entries = self.entries();
        let last = sectors - 1;
        let backup_entries = last - ENTRIES_SECTORS;
        write_sectors(disk, 0, &protective_mbr(sectors))?;
        write_sectors(disk, backup_entries, &entries)?;
        write_sectors(
            disk,
            last,
            &self.header(&entries, last, 1, backup_entries, sectors),
        )?;
        disk.sync()?;
        write_sectors(disk, 2, &entries)?;
        write_sectors(disk, 1, &self.header(&entries, 1, last, 2, sectors))?;
        disk.sync()?;
        Ok(())
    }

    fn check(&self, sectors: u64) -> Result<(), TableFault> {
        let (first, end) = Self::usable(sectors);
        if sectors < 2 * ALIGNMENT_SECTORS || self.partitions.len() > ENTRY_COUNT {
            return Err(TableFault::Misfit);
        }
        let mut places: Vec<(u64, u64)> = Vec::new();
        for (_, partition) in self.iter() {
            let after = partition
                .first
                .checked_add(partition.sectors)
                .ok_or(TableFault::Misfit)?;
            let is_good = partition.sectors > 0
                && partition.first >= first
                && after <= end
                && !partition.kind.is_zero()
                && partition.label.encode_utf16().count() <= LABEL_UNITS_MAX;
            if !is_good {
                return Err(TableFault::Misfit);
            }
            places.push((partition.first, after));
        }
        places.sort_unstable();
        let is_apart = places
            .iter()
            .zip(places.iter().skip(1))
            .all(|(one, next)| one.1 <= next.0);
        if is_apart { Ok(()) } else { Err(TableFault::Misfit) }
    }

    fn entries(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ENTRIES_BYTES);
        for entry in &self.partitions {
            let Some(partition) = entry else {
                bytes.extend_from_slice(&[0; ENTRY_BYTES]);
                continue;
            };
            bytes.extend_from_slice(&partition.kind.on_disk());
            bytes.extend_from_slice(&partition.id.on_disk());
            bytes.extend_from_slice(&partition.first.to_le_bytes());
            let last = partition.first + partition.sectors - 1;
            bytes.extend_from_slice(&last.to_le_bytes());
            bytes.extend_from_slice(&partition.attributes.to_le_bytes());
            let units = partition.label.encode_utf16().chain(std::iter::repeat(0));
            for unit in units.take(LABEL_UNITS_MAX) {
                bytes.extend_from_slice(&unit.to_le_bytes());
            }
        }
        bytes.resize(ENTRIES_BYTES, 0);
        bytes
    }

    fn header(&self, entries: &[u8], here: u64, other: u64, entries_at: u64, sectors: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SECTOR_BYTES);
        bytes.extend_from_slice(SIGNATURE);
        bytes.extend_from_slice(&REVISION.to_le_bytes());
        bytes.extend_from_slice(&HEADER_BYTES.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        for number in [here, other, 2 + ENTRIES_SECTORS, sectors - 2 - ENTRIES_SECTORS] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.id.on_disk());
        bytes.extend_from_slice(&entries_at.to_le_bytes());
        bytes.extend_from_slice(&(ENTRY_COUNT as u32).to_le_bytes());
        bytes.extend_from_slice(&(ENTRY_BYTES as u32).to_le_bytes());
        bytes.extend_from_slice(&crc32(entries).to_le_bytes());
        let sum = crc32(&bytes).to_le_bytes();
        bytes.splice(16..20, sum);
        bytes.resize(SECTOR_BYTES, 0);
        bytes
    }
}

fn write_sectors(disk: &dyn Disk, sector: u64, bytes: &[u8]) -> io::Result<()> {
    disk.write_at(bytes, sector * SECTOR_BYTES as u64)
}

/// The table whose header is at sector `at`, if there is a whole one.
fn read_copy(disk: &dyn Disk, at: u64) -> io::Result<Option<Table>> {
    let mut sector = [0; SECTOR_BYTES];
    disk.read_at(&mut sector, at * SECTOR_BYTES as u64)?;
    let header = Fields(sector.get(..HEADER_BYTES as usize).unwrap_or_default());
    let mut summed = header.0.to_vec();
    summed.splice(16..20, [0; 4]);
    let is_header = header.0.starts_with(SIGNATURE)
        && header.u32(8) == Some(REVISION)
        && header.u32(12) == Some(HEADER_BYTES)
        && header.u32(16) == Some(crc32(&summed))
        && header.u64(24) == Some(at)
        && header.u32(80) == Some(ENTRY_COUNT as u32)
        && header.u32(84) == Some(ENTRY_BYTES as u32);
    let (Some(entries_at), Some(id), true) = (header.u64(72), header.guid(56), is_header) else {
        return Ok(None);
    };
    let sectors = disk.bytes() / SECTOR_BYTES as u64;
    if entries_at < 2 || entries_at > sectors.saturating_sub(ENTRIES_SECTORS) {
        return Ok(None);
    }
    let mut entries = vec![0; ENTRIES_BYTES];
    disk.read_at(&mut entries, entries_at * SECTOR_BYTES as u64)?;
    if header.u32(88) != Some(crc32(&entries)) {
        return Ok(None);
    }
    let mut partitions: Vec<Option<Partition>> = entries
        .chunks(ENTRY_BYTES)
        .map(|entry| parse_entry(&Fields(entry), sectors))
        .collect();
    while partitions.last().is_some_and(Option::is_none) {
        partitions.pop();
    }
    Ok(Some(Table { id, partitions }))
}

/// An entry that is empty, or lies outside of the disk, is none.
fn parse_entry(entry: &Fields<'_>, sectors: u64) -> Option<Partition> {
    let (kind, id) = (entry.guid(0)?, entry.guid(16)?);
    let (first, last) = (entry.u64(32)?, entry.u64(40)?);
    if kind.is_zero() || last < first || last >= sectors {
        return None;
    }
    let units: Vec<u16> = entry
        .0
        .get(56..)?
        .chunks_exact(2)
        .filter_map(|pair| Some(u16::from_le_bytes(*pair.first_chunk()?)))
        .take_while(|unit| *unit != 0)
        .collect();
    Some(Partition {
        kind,
        id,
        first,
        sectors: last - first + 1,
        attributes: entry.u64(48)?,
        label: String::from_utf16_lossy(&units),
    })
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u32(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(*self.0.get(at..)?.first_chunk()?))
    }

    fn u64(&self, at: usize) -> Option<u64> {
        Some(u64::from_le_bytes(*self.0.get(at..)?.first_chunk()?))
    }

    fn guid(&self, at: usize) -> Option<Guid> {
        Some(Guid::from_disk(*self.0.get(at..)?.first_chunk()?))
    }
}

/// One partition of type 0xee over the whole disk: tools that know no GPT leave the disk alone.
fn protective_mbr(sectors: u64) -> Vec<u8> {
    let mut bytes = vec![0; 446];
    bytes.extend_from_slice(&[0x00, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff]);
    bytes.extend_from_slice(&1_u32.to_le_bytes());
    let covered = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&covered.to_le_bytes());
    bytes.resize(510, 0);
    bytes.extend_from_slice(&[0x55, 0xaa]);
    bytes
}

/// CRC-32 of ISO 3309, as the UEFI specification asks for. A table is some kilobytes, so bit by bit is quick enough.
fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            let low = sum & 1;
            sum >>= 1;
            if low == 1 {
                sum ^= 0xedb8_8320;
            }
        }
    }
    !sum
}

#[cfg(test)]
mod tests;
