//! The partition table's second copy belongs at the end of the disk (UEFI 2.10, 5.3). An image that was written to a larger
//! disk has it where the image ended, and the kernel's tools then see no room behind it.
//!
//! Only the places of the copies are changed, never a partition. The new second copy is whole on disk before the first
//! one names it; a power cut in between leaves the table as it was.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const SECTOR_BYTES: u64 = 512;
const SIGNATURE: &[u8] = b"EFI PART";
const HEADER_BYTES: usize = 92;
/// Where fields of the header lie.
const CRC_PLACE: usize = 16;
const HERE_PLACE: usize = 24;
const OTHER_PLACE: usize = 32;
const LAST_USABLE_PLACE: usize = 48;
const ENTRIES_PLACE: usize = 72;
const ENTRY_COUNT_PLACE: usize = 80;
const ENTRY_BYTES_PLACE: usize = 84;
const ENTRIES_CRC_PLACE: usize = 88;
/// The one size of the array of entries that tables have in practice: 128 of 128 bytes.
const ENTRIES_BYTES: usize = 128 * 128;
const ENTRIES_SECTORS: u64 = 32;

/// Moves the second copy of the table to the end of `disk`, if it is not there. `true` when it was moved. A table that is
/// damaged, or of another form than those of our images, is left as it is.
pub(crate) fn stretch(disk: &Path) -> io::Result<bool> {
    let file = OpenOptions::new().read(true).write(true).open(disk)?;
    let sectors = length(&file)? / SECTOR_BYTES;
    let Some(first) = read_first(&file)? else {
        return Ok(false);
    };
    let last = sectors.saturating_sub(1);
    if number(&first, OTHER_PLACE) >= Some(last) {
        return Ok(false);
    }
    let mut entries = vec![0; ENTRIES_BYTES];
    file.read_exact_at(&mut entries, 2 * SECTOR_BYTES)?;
    if small_number(&first, ENTRIES_CRC_PLACE) != Some(crc32(&entries)) {
        return Ok(false);
    }
    let entries_at = last.saturating_sub(ENTRIES_SECTORS);
    let usable = entries_at.saturating_sub(1);
    let second = header(&first, last, 1, usable, entries_at);
    let first = header(&first, 1, last, usable, 2);
    file.write_all_at(&entries, entries_at * SECTOR_BYTES)?;
    file.write_all_at(&second, last * SECTOR_BYTES)?;
    file.sync_all()?;
    file.write_all_at(&first, SECTOR_BYTES)?;
    file.sync_all()?;
    Ok(true)
}

/// Length of a file or device.
fn length(file: &File) -> io::Result<u64> {
    use std::io::{Seek, SeekFrom};
    let mut file = file;
    file.seek(SeekFrom::End(0))
}

/// The first header, when it is whole and of our form.
fn read_first(file: &File) -> io::Result<Option<Vec<u8>>> {
    let mut header = vec![0; HEADER_BYTES];
    file.read_exact_at(&mut header, SECTOR_BYTES)?;
    let mut unsigned = header.clone();
    put(&mut unsigned, CRC_PLACE, &[0; 4]);
    let is_ours = header.starts_with(SIGNATURE)
        && small_number(&header, 12) == u32::try_from(HEADER_BYTES).ok()
        && small_number(&header, CRC_PLACE) == Some(crc32(&unsigned))
        && number(&header, HERE_PLACE) == Some(1)
        && number(&header, ENTRIES_PLACE) == Some(2)
        && small_number(&header, ENTRY_COUNT_PLACE) == Some(128)
        && small_number(&header, ENTRY_BYTES_PLACE) == Some(128);
    Ok(is_ours.then_some(header))
}

fn header(like: &[u8], here: u64, other: u64, last_usable: u64, entries_at: u64) -> Vec<u8> {
    let mut header = like.to_vec();
    put(&mut header, HERE_PLACE, &here.to_le_bytes());
    put(&mut header, OTHER_PLACE, &other.to_le_bytes());
    put(&mut header, LAST_USABLE_PLACE, &last_usable.to_le_bytes());
    put(&mut header, ENTRIES_PLACE, &entries_at.to_le_bytes());
    put(&mut header, CRC_PLACE, &[0; 4]);
    let crc = crc32(&header);
    put(&mut header, CRC_PLACE, &crc.to_le_bytes());
    header
}

fn number(bytes: &[u8], place: usize) -> Option<u64> {
    let bytes = bytes.get(place..place.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

fn small_number(bytes: &[u8], place: usize) -> Option<u32> {
    let bytes = bytes.get(place..place.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn put(bytes: &mut [u8], place: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(place..place + value.len()) {
        place.copy_from_slice(value);
    }
}

/// CRC-32 as UEFI has it (ISO 3309).
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    const SMALL: u64 = 8 << 20;
    const LARGE: u64 = 32 << 20;

    /// A disk with one partition by the tool that distributions use, grown afterwards.
    fn grown(folder: &Path) -> std::path::PathBuf {
        let disk = folder.join("disk");
        File::create(&disk).unwrap().set_len(SMALL).unwrap();
        let mut sfdisk = Command::new("sfdisk")
            .args(["--quiet", "--no-reread"])
            .arg(&disk)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let text = b"label: gpt\nstart=2048, size=4096, name=jingui_1\n";
        io::Write::write_all(&mut sfdisk.stdin.take().unwrap(), text).unwrap();
        assert!(sfdisk.wait().unwrap().success());
        OpenOptions::new()
            .write(true)
            .open(&disk)
            .unwrap()
            .set_len(LARGE)
            .unwrap();
        disk
    }

    fn judge(disk: &Path) -> (String, String) {
        let run = |arguments: &[&str]| {
            let output = Command::new("sfdisk").args(arguments).arg(disk).output().unwrap();
            let text = [output.stdout, output.stderr].concat();
            String::from_utf8_lossy(&text).into_owned()
        };
        (run(&["--verify"]), run(&["--dump"]))
    }

    #[test]
    fn the_second_copy_moves_to_the_end_and_no_partition_changes() {
        let folder = tempfile::tempdir().unwrap();
        let disk = grown(folder.path());
        let (before, partitions) = judge(&disk);
        assert!(before.contains("not on the end"), "{before}");
        assert!(stretch(&disk).unwrap());
        let (after, _) = judge(&disk);
        assert!(
            !after.contains("not on the end") && !after.contains("corrupt"),
            "{after}"
        );
        let (_, now) = judge(&disk);
        let part = |text: &str| {
            let line = text.lines().find(|line| line.contains("jingui_1"));
            line.map(ToOwned::to_owned)
        };
        assert_eq!(part(&now), part(&partitions));
        let usable = format!("last-lba: {}", LARGE / 512 - 34);
        assert!(now.contains(&usable), "{now}");
        assert!(!stretch(&disk).unwrap(), "once");
    }

    #[test]
    fn either_copy_alone_is_whole_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let disk = grown(folder.path());
        stretch(&disk).unwrap();
        let file = OpenOptions::new().write(true).open(&disk).unwrap();
        file.write_all_at(&[0; 512], 512).unwrap();
        let (_, dump) = judge(&disk);
        assert!(dump.contains("jingui_1"), "by the second copy: {dump}");
    }

    #[test]
    fn a_damaged_table_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        for place in [512, 512 + 50, 1024 + 3] {
            let disk = grown(folder.path());
            let file = OpenOptions::new().read(true).write(true).open(&disk).unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, place).unwrap();
            file.write_all_at(&[byte[0] ^ 1], place).unwrap();
            let before = std::fs::read(&disk).unwrap();
            assert!(!stretch(&disk).unwrap(), "{place}");
            assert_eq!(std::fs::read(&disk).unwrap(), before);
        }
    }

    #[test]
    fn the_checksum_is_the_published_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
