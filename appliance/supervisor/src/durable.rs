//! Files that are whole or absent, also after a pulled plug: temporary file, fsync, rename, fsync of the folder.
//!
//! A failed fsync is never retried: the caller must treat the write as unknown and read the file again.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Files that only the supervisor's user may read.
pub(crate) const PRIVATE_FILE: u32 = 0o600;
/// Files that everybody on the machine may read.
pub(crate) const PUBLIC_FILE: u32 = 0o644;
/// Folders that only the supervisor's user may enter.
pub(crate) const PRIVATE_FOLDER: u32 = 0o700;
/// Folders that everybody on the machine may enter.
pub(crate) const PUBLIC_FOLDER: u32 = 0o755;

/// Replaces `path` by a file with these bytes and that mode. When it returns, both survive a power cut.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = temporary_path(path)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)?;
    // An old temporary file, or the umask, may have left another mode.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, path)?;
    sync_folder(parent(path)?)
}

/// As [`write`], but leaves a file alone that holds these bytes already: a full disk does not matter then.
pub(crate) fn write_if_changed(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    match read(path, length) {
        Ok(Some(found)) if found == bytes => Ok(()),
        _ => write(path, bytes, mode),
    }
}

/// Removes a file if it is there, durably.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder(parent(path)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes a folder if it is missing, gives it that mode, and makes its name durable.
pub(crate) fn folder(path: &Path, mode: u32) -> io::Result<()> {
    if !path.is_dir() {
        DirBuilder::new().recursive(true).mode(mode).create(path)?;
        sync_folder(parent(path)?)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Reads a file of at most `bytes_max` bytes; `None` when it is not there.
pub(crate) fn read(path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if file.metadata()?.len() > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "the file is longer than anything we wrote",
        ));
    }
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, bytes_max), &mut bytes)?;
    Ok(Some(bytes))
}

fn parent(path: &Path) -> io::Result<&Path> {
    path.parent()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a path without a folder"))
}

fn temporary_path(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a path without a name"))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(".new");
    Ok(parent(path)?.join(temporary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_has_its_bytes_and_its_mode_and_no_temporary_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(
            folder.path().join(".a.new"),
            b"left by a crash, longer than the new bytes",
        )
        .unwrap();
        write(&path, b"one", PUBLIC_FILE).unwrap();
        write(&path, b"two", PRIVATE_FILE).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            PRIVATE_FILE
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_right_already_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write(&path, b"one", PUBLIC_FILE).unwrap();
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        write_if_changed(&path, b"one", PUBLIC_FILE).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
        for other in [&b"two"[..], b"on", b"ones"] {
            write_if_changed(&path, other, PUBLIC_FILE).unwrap();
            assert_eq!(fs::read(&path).unwrap(), other);
        }
    }

    #[test]
    fn a_file_longer_than_the_bound_is_refused_and_one_at_the_bound_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, [7; 10]).unwrap();
        assert_eq!(read(&path, 10).unwrap().unwrap().len(), 10);
        assert_eq!(read(&path, 9).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(read(&folder.path().join("b"), 9).unwrap().is_none());
    }
}
