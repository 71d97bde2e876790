//! Files of the person who calls: read within bounds, written so that they survive a power cut.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::failure::{Exit, Failure};

/// Reads a file of at most `bytes_max` bytes.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?
            .take(bytes_max.saturating_add(1))
            .read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    };
    read().map_err(|error| unreadable(path, &error))
}

/// Reads a text of at most `bytes_max` bytes.
pub(crate) fn read_text(path: &Path, bytes_max: u64) -> Result<String, Failure> {
    let bytes = read(path, bytes_max)?;
    String::from_utf8(bytes).map_err(|_| unreadable(path, &io::ErrorKind::InvalidData.into()))
}

/// Opens a folder, so that it can be handed on.
pub(crate) fn open_folder(path: &Path) -> Result<File, Failure> {
    let opened = File::open(path).and_then(|file| {
        if file.metadata()?.is_dir() {
            Ok(file)
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    });
    opened.map_err(|error| unreadable(path, &error))
}

/// Writes a new file durably; refuses to replace one.
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        sync_folder(parent(path))
    };
    write().map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::new(Exit::Refused, "system.file.exists").with("file", path.display())
        }
        _ => unwritable(path, &error),
    })
}

/// Writes `STEM.key` and `STEM.pem` into a folder that is made if need be. Gives the paths of both.
pub(crate) fn write_key_pair(
    folder: &Path,
    stem: &str,
    private: &str,
    public: &str,
) -> Result<(String, String), Failure> {
    const FOLDER_MODE: u32 = 0o700;
    const PRIVATE_MODE: u32 = 0o600;
    const PUBLIC_MODE: u32 = 0o644;
    make_folder(folder, FOLDER_MODE)?;
    let (key, pem) = (
        folder.join(format!("{stem}.key")),
        folder.join(format!("{stem}.pem")),
    );
    // Both or none: a public key that is there already belongs to another pair.
    if pem.exists() {
        return Err(Failure::new(Exit::Refused, "system.file.exists").with("file", pem.display()));
    }
    write_new(&key, private.as_bytes(), PRIVATE_MODE)?;
    write_new(&pem, public.as_bytes(), PUBLIC_MODE)?;
    Ok((key.display().to_string(), pem.display().to_string()))
}

/// Makes a folder and those above it.
pub(crate) fn make_folder(path: &Path, mode: u32) -> Result<(), Failure> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|error| unwritable(path, &error))
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Whether there is nothing at that path, or an empty folder.
pub(crate) fn is_empty(path: &Path) -> Result<bool, Failure> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// The input cannot be read.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Refused, "system.file.unreadable")
        .with("file", path.display())
        .with("cause", error.kind())
}

/// The output cannot be written.
pub(crate) fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Unavailable, "system.file.unwritable")
        .with("file", path.display())
        .with("cause", error.kind())
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_never_replaces_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vendor.key");
        write_new(&path, b"one", 0o600).unwrap();
        assert_eq!(
            write_new(&path, b"two", 0o600).unwrap_err().code,
            "system.file.exists"
        );
        assert_eq!(fs::read(&path).unwrap(), b"one");
    }

    #[test]
    fn a_file_at_the_bound_is_read_and_one_byte_more_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, [1; 8]).unwrap();
        assert_eq!(read(&path, 8).unwrap().len(), 8);
        assert_eq!(read(&path, 7).unwrap_err().code, "system.file.unreadable");
    }

    #[test]
    fn only_an_empty_or_absent_folder_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        assert!(is_empty(folder.path()).unwrap());
        assert!(is_empty(&folder.path().join("absent")).unwrap());
        fs::write(folder.path().join("a"), b"").unwrap();
        assert!(!is_empty(folder.path()).unwrap());
        assert!(!is_empty(&folder.path().join("a")).unwrap());
    }
}
