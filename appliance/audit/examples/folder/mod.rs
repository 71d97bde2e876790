//! A log in a folder, for the examples. The supervisor and the command line have their own.

// Each example uses a part of it.
#![allow(dead_code)]

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use jingui_audit::{GuardStore, ReadStorage, Storage};

/// A folder with a log in it.
#[derive(Clone)]
pub(crate) struct Folder {
    root: PathBuf,
    /// Whether writes are flushed to the medium; without it the figures are those of our own code.
    is_flushed: bool,
}

impl Folder {
    pub(crate) fn new(root: &Path, is_flushed: bool) -> Self {
        Self {
            root: root.to_owned(),
            is_flushed,
        }
    }
}

impl ReadStorage for Folder {
    fn read(&self, path: &str, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.root.join(path)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }
}

impl Storage for Folder {
    fn write_durably(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.root.join(path);
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder)?;
        let temporary = path.with_extension("tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        if self.is_flushed {
            file.sync_all()?;
        }
        fs::rename(&temporary, &path)?;
        if self.is_flushed {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        match fs::read_dir(self.root.join(folder)) {
            Ok(entries) => entries
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn remove_folder(&mut self, folder: &str) -> io::Result<()> {
        match fs::remove_dir_all(self.root.join(folder)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The second place: a file beside the log.
pub(crate) struct GuardFile(pub(crate) PathBuf);

impl GuardStore for GuardFile {
    fn load(&self) -> io::Result<Option<Vec<u8>>> {
        match fs::read(&self.0) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn store(&mut self, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.0.with_extension("tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.0)
    }
}
