//! What the kernel says of a device-mapper device: its table (linux/dm-ioctl.h).
//!
//! For the verity root: the root hash that is in force stands there and nowhere in `/sys`.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// `_IOWR(0xfd, 12, struct dm_ioctl)`: `DM_TABLE_STATUS`.
const TABLE_STATUS: u32 = 0xc138_fd0c;
/// The table instead of the status.
const STATUS_TABLE_FLAG: u32 = 1 << 4;
const BUFFER_FULL_FLAG: u32 = 1 << 8;
/// `struct dm_ioctl`, and where its fields lie.
const HEAD_BYTES: usize = 312;
const VERSION_PLACE: usize = 0;
const DATA_SIZE_PLACE: usize = 12;
const DATA_START_PLACE: usize = 16;
const TARGET_COUNT_PLACE: usize = 20;
const FLAGS_PLACE: usize = 28;
const NAME_PLACE: usize = 48;
const NAME_BYTES: usize = 128;
/// `struct dm_target_spec`.
const TARGET_BYTES: usize = 40;
/// Room for a table of one target.
const BUFFER_BYTES: usize = 4096;
/// Oldest interface that has what is needed; the kernel answers with its own.
const INTERFACE: [u32; 3] = [4, 0, 0];

/// Parameters of the one target of a device, as `dmsetup table` shows them behind start, length and kind. Needs
/// `CAP_SYS_ADMIN`.
///
/// # Errors
/// `NotFound` when there is no such device, `InvalidData` when it has not exactly one target, else what ioctl(2) says.
pub fn mapper_table(control: &Path, name: &str) -> io::Result<String> {
    let mut buffer = question(name)?;
    let control = OpenOptions::new().read(true).write(true).open(control)?;
    // SAFETY: the buffer is as long as its own field says, and the call writes inside that length only.
    let result = unsafe {
        libc::ioctl(
            control.as_raw_fd(),
            TABLE_STATUS as libc::Ioctl,
            buffer.as_mut_ptr(),
        )
    };
    match crate::sys::check(result) {
        Ok(_) => answer(&buffer).ok_or_else(|| io::ErrorKind::InvalidData.into()),
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Err(io::ErrorKind::NotFound.into()),
        Err(error) => Err(error),
    }
}

fn question(name: &str) -> io::Result<Vec<u8>> {
    // One byte of the field stays zero and ends the name.
    if name.is_empty() || name.len() >= NAME_BYTES || name.contains('\0') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut buffer = vec![0; BUFFER_BYTES];
    for (index, number) in INTERFACE.into_iter().enumerate() {
        put(&mut buffer, VERSION_PLACE + 4 * index, &number.to_ne_bytes());
    }
    let size = u32::try_from(BUFFER_BYTES).unwrap_or_default();
    put(&mut buffer, DATA_SIZE_PLACE, &size.to_ne_bytes());
    let start = u32::try_from(HEAD_BYTES).unwrap_or_default();
    put(&mut buffer, DATA_START_PLACE, &start.to_ne_bytes());
    put(&mut buffer, FLAGS_PLACE, &STATUS_TABLE_FLAG.to_ne_bytes());
    put(&mut buffer, NAME_PLACE, name.as_bytes());
    Ok(buffer)
}

fn answer(buffer: &[u8]) -> Option<String> {
    if number(buffer, TARGET_COUNT_PLACE)? != 1 || number(buffer, FLAGS_PLACE)? & BUFFER_FULL_FLAG != 0 {
        return None;
    }
    let start = usize::try_from(number(buffer, DATA_START_PLACE)?).ok()?;
    let text = buffer.get(start.checked_add(TARGET_BYTES)?..)?;
    let end = text.iter().position(|byte| *byte == 0)?;
    String::from_utf8(text.get(..end)?.to_vec()).ok()
}

fn number(buffer: &[u8], place: usize) -> Option<u32> {
    let bytes = buffer.get(place..place.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn put(buffer: &mut [u8], place: usize, bytes: &[u8]) {
    if let Some(place) = buffer.get_mut(place..place + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answered(count: u32, flags: u32, start: u32, text: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0; BUFFER_BYTES];
        put(&mut buffer, TARGET_COUNT_PLACE, &count.to_ne_bytes());
        put(&mut buffer, FLAGS_PLACE, &flags.to_ne_bytes());
        put(&mut buffer, DATA_START_PLACE, &start.to_ne_bytes());
        put(&mut buffer, 312 + TARGET_BYTES, text);
        buffer
    }

    #[test]
    fn the_number_is_that_of_the_kernels_header() {
        let size = u32::try_from(HEAD_BYTES).unwrap();
        assert_eq!(3 << 30 | size << 16 | 0xfd << 8 | 12, TABLE_STATUS);
    }

    #[test]
    fn the_table_of_one_target_is_read_and_anything_else_is_none() {
        let table = "1 254:2 254:3 4096 4096 31000 1 sha256 aa bb";
        assert_eq!(
            answer(&answered(1, 0, 312, table.as_bytes())).as_deref(),
            Some(table)
        );
        assert_eq!(answer(&answered(0, 0, 312, table.as_bytes())), None);
        assert_eq!(answer(&answered(2, 0, 312, table.as_bytes())), None);
        assert_eq!(
            answer(&answered(1, BUFFER_FULL_FLAG, 312, table.as_bytes())),
            None
        );
        assert_eq!(answer(&answered(1, 0, u32::MAX, table.as_bytes())), None);
        assert_eq!(
            answer(&answered(1, 0, 312, &[7; BUFFER_BYTES - 312 - TARGET_BYTES])),
            None,
            "no end"
        );
    }

    #[test]
    fn a_name_fits_its_field_or_is_refused() {
        assert!(question(&"n".repeat(NAME_BYTES - 1)).is_ok());
        for name in [String::new(), "n".repeat(NAME_BYTES), "a\0b".to_owned()] {
            assert!(question(&name).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_us_panic(bytes in prop::collection::vec(any::<u8>(), 0..800)) {
            let _ = answer(&bytes);
        }
    }
}
