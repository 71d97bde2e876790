//! The doors through which the log's files are reached. Programs implement them over a folder; tests over memory.
//!
//! Paths are relative, with `/`, and only those of [`crate::tile`] and [`CHECKPOINT_PATH`].

use std::io;

/// Name of the signed checkpoint in the log's folder.
pub const CHECKPOINT_PATH: &str = "checkpoint";

/// Something from which the files of a log can be read.
pub trait ReadStorage {
    /// Content of a file, or `None` when there is none of that name.
    ///
    /// Reads at most `bytes_max + 1` bytes: a longer file shows by its length, and costs no more memory.
    ///
    /// # Errors
    /// When the file is there but cannot be read.
    fn read(&self, path: &str, bytes_max: usize) -> io::Result<Option<Vec<u8>>>;
}

/// Something in which a log can grow.
pub trait Storage: ReadStorage {
    /// Puts a file in place so that it survives a power cut when this returns: temporary file, `fsync`, rename,
    /// `fsync` of the folder. Makes folders as needed. A reader sees the old content or the new, never a part.
    ///
    /// # Errors
    /// When any step fails. The file may have changed nonetheless; the writer stops for good and says so.
    fn write_durably(&mut self, path: &str, bytes: &[u8]) -> io::Result<()>;

    /// Names of the files directly in a folder, in any order; none when there is no such folder.
    ///
    /// # Errors
    /// When the folder is there but cannot be read.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Removes a folder of partial tiles and the files in it. Need not be durable; done already is no error.
    ///
    /// # Errors
    /// When files stay behind.
    fn remove_folder(&mut self, folder: &str) -> io::Result<()>;
}

/// The second place: what was last signed, kept apart from the log, so that an older log cannot come back unseen.
pub trait GuardStore {
    /// What was stored last, or `None` when nothing ever was.
    ///
    /// # Errors
    /// When it cannot be read.
    fn load(&self) -> io::Result<Option<Vec<u8>>>;

    /// Replaces it so that it survives a power cut when this returns.
    ///
    /// # Errors
    /// When any step fails; it may have been replaced nonetheless.
    fn store(&mut self, bytes: &[u8]) -> io::Result<()>;
}
