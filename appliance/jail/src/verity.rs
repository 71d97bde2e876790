//! fs-verity: a file that never changes again, each of whose blocks the kernel checks when it is read
//! (kernel documentation, filesystems/fsverity). A block that is not as it was gives an I/O error, to read(2) and as
//! `SIGBUS` to whoever mapped it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Bytes of a measurement: SHA-256.
pub const MEASUREMENT_BYTES: usize = 32;
const VERSION: u32 = 1;
/// `FS_VERITY_HASH_ALG_SHA256`.
const ALGORITHM_SHA256: u16 = 1;
const BLOCK_BYTES: u32 = 4096;
/// `_IOW('f', 133, struct fsverity_enable_arg)` and `_IOWR('f', 134, struct fsverity_digest)`.
const ENABLE: u32 = 0x4080_6685;
const MEASURE: u32 = 0xc004_6686;

/// `struct fsverity_enable_arg` of linux/fsverity.h.
#[repr(C)]
struct EnableArgument {
    version: u32,
    hash_algorithm: u32,
    block_size: u32,
    salt_size: u32,
    salt_ptr: u64,
    sig_size: u32,
    reserved1: u32,
    sig_ptr: u64,
    reserved2: [u64; 11],
}
const _: () = assert!(size_of::<EnableArgument>() == 128);

/// `struct fsverity_digest` of linux/fsverity.h with room for one SHA-256.
#[repr(C)]
struct Measurement {
    algorithm: u16,
    size: u16,
    digest: [u8; MEASUREMENT_BYTES],
}

/// Seals a file for good: SHA-256, blocks of 4096 bytes, no salt. The descriptor must be read-only, and nobody may have
/// the file open for writing. Reads the whole file; `Ok(false)` when the file system has no fs-verity.
///
/// # Errors
/// What ioctl(2) says, `ETXTBSY` for a file that somebody may still write.
pub fn seal_file(file: BorrowedFd<'_>) -> io::Result<bool> {
    let argument = EnableArgument {
        version: VERSION,
        hash_algorithm: u32::from(ALGORITHM_SHA256),
        block_size: BLOCK_BYTES,
        salt_size: 0,
        salt_ptr: 0,
        sig_size: 0,
        reserved1: 0,
        sig_ptr: 0,
        reserved2: [0; 11],
    };
    // SAFETY: the call reads one `fsverity_enable_arg`, which lives on this stack; its pointers are null with length 0.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), ENABLE as libc::Ioctl, &raw const argument) };
    match crate::sys::check(result) {
        Ok(_) => Ok(true),
        // A second order for the same file.
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(true),
        Err(error) if is_unsupported(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What the kernel measured of a sealed file; `None` when it is not sealed so. Reads none of its data: each block is
/// checked when it is used.
///
/// # Errors
/// What ioctl(2) says.
pub fn measure_file(file: BorrowedFd<'_>) -> io::Result<Option<[u8; MEASUREMENT_BYTES]>> {
    let mut measurement = Measurement {
        algorithm: 0,
        size: 32,
        digest: [0; MEASUREMENT_BYTES],
    };
    // SAFETY: the call writes at most `size` bytes of digest behind the two numbers, for which there is room.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), MEASURE as libc::Ioctl, &raw mut measurement) };
    match crate::sys::check(result) {
        Ok(_) if measurement.algorithm == ALGORITHM_SHA256 && measurement.size == 32 => {
            Ok(Some(measurement.digest))
        }
        Ok(_) => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ENODATA) || is_unsupported(&error) => Ok(None),
        // Another digest than ours, and longer.
        Err(error) if error.raw_os_error() == Some(libc::EOVERFLOW) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOTTY | libc::EOPNOTSUPP | libc::ENOSYS)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn the_numbers_are_those_of_the_kernels_header() {
        let request = |direction: u32, size: usize, number: u32| {
            direction << 30 | u32::try_from(size).unwrap() << 16 | u32::from(b'f') << 8 | number
        };
        assert_eq!(request(1, size_of::<EnableArgument>(), 133), ENABLE);
        assert_eq!(
            request(3, size_of::<Measurement>() - MEASUREMENT_BYTES, 134),
            MEASURE
        );
    }

    /// Where the file system has fs-verity, the file cannot be changed afterwards; where it has not, both say so.
    #[test]
    fn a_file_is_sealed_and_measured_or_the_file_system_cannot() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::File::create(&path)
            .unwrap()
            .write_all(b"weights")
            .unwrap();
        let file = std::fs::File::open(&path).unwrap();
        assert_eq!(measure_file(file.as_fd()).unwrap(), None);
        let is_sealed = seal_file(file.as_fd()).unwrap();
        assert_eq!(measure_file(file.as_fd()).unwrap().is_some(), is_sealed);
        assert_eq!(
            std::fs::OpenOptions::new().append(true).open(&path).is_err(),
            is_sealed
        );
    }

    #[test]
    fn what_is_no_file_is_not_sealed() {
        let (reader, _writer) = crate::sys::pipe().unwrap();
        assert!(!matches!(seal_file(reader.as_fd()), Ok(true)));
        assert!(!matches!(measure_file(reader.as_fd()), Ok(Some(_))));
    }
}
