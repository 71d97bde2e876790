//! A disk as bytes at offsets: what tables, file systems and slots are written through.
//!
//! A trait, so that the same code is tried on disks that fail, forget and lose power at each single write.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

/// Bytes of a sector. Disks with native sectors of 4096 bytes are refused by the survey.
pub const SECTOR_BYTES: usize = 512;

/// Bytes at offsets. Nothing is durable before [`Disk::sync`] returned.
pub trait Disk {
    /// Bytes of the disk.
    fn bytes(&self) -> u64;

    /// Fills `bytes` from `offset` on.
    ///
    /// # Errors
    /// When the device fails, or the place lies outside of it.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// As for reading.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes durable what was written so far.
    ///
    /// # Errors
    /// When the device fails: what was written is unknown then, and the caller must not go on.
    fn sync(&self) -> io::Result<()>;

    /// Forgets what memory holds of the disk, so that the next read asks the device itself. Call it after
    /// [`Disk::sync`].
    ///
    /// # Errors
    /// When the system refuses.
    fn forget(&self) -> io::Result<()>;
}

/// A block device, or a file in its place.
#[derive(Debug)]
pub struct FileDisk {
    file: File,
    bytes: u64,
}

impl FileDisk {
    /// The disk behind an open descriptor.
    ///
    /// # Errors
    /// When its size cannot be found out.
    pub fn new(file: File) -> io::Result<Self> {
        // Device nodes have no length of their own; their end is where seeking says it is.
        let bytes = io::Seek::seek(&mut &file, io::SeekFrom::End(0))?;
        Ok(Self { file, bytes })
    }

    /// The descriptor.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.file
    }
}

impl Disk for FileDisk {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        check_inside(self.bytes, bytes.len(), offset)?;
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn forget(&self) -> io::Result<()> {
        posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).map_err(io::Error::from)
    }
}

/// Refuses a place outside of the disk: a file in a disk's place would grow.
pub(crate) fn check_inside(disk_bytes: u64, count: usize, offset: u64) -> io::Result<()> {
    let end = u64::try_from(count)
        .ok()
        .and_then(|count| offset.checked_add(count));
    if end.is_some_and(|end| end <= disk_bytes) {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}
