//! Destroying the state on a person's order (`jingui-storage erase`): back to the factory's state without writing to
//! every block. All keys of the state lie in its first 16 MiB; without them the rest is noise.
//!
//! A mark comes first, so that a power cut leaves either a state that opens or one that is known to be destroyed; the
//! next start sees the mark, finishes, and makes a new state. The running box goes on until it is restarted.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Where all keys of a LUKS2 volume lie: both headers and the area of key slots, as systemd-repart and cryptsetup lay
/// them out.
const KEY_AREA_BYTES: usize = 16 * 1024 * 1024;
/// First bytes of a state that was destroyed.
const MARK: [u8; 16] = *b"JINGUI-ERASED-1\n";
const PIECE_BYTES: usize = 1024 * 1024;

/// Whether the state on this device was destroyed on a person's order. A device that cannot be read was not.
pub(crate) fn is_erased(device: &Path) -> bool {
    let mut found = [0; MARK.len()];
    File::open(device)
        .and_then(|mut file| file.read_exact(&mut found))
        .is_ok()
        && found == MARK
}

/// Destroys all keys of the state on this device. When it returns, nobody can open it any more.
pub(crate) fn erase(device: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(device)?;
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&MARK)?;
    file.sync_all()?;
    let zeros = vec![0; PIECE_BYTES];
    let mut left = KEY_AREA_BYTES
        .min(usize::try_from(length).unwrap_or(usize::MAX))
        .saturating_sub(MARK.len());
    while left > 0 {
        let piece = zeros.get(..left.min(PIECE_BYTES)).unwrap_or(&zeros);
        file.write_all(piece)?;
        left = left.saturating_sub(piece.len());
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_key_area_is_left_and_the_data_behind_it_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("device");
        std::fs::write(&device, vec![7; KEY_AREA_BYTES + 4096]).unwrap();
        assert!(!is_erased(&device));
        erase(&device).unwrap();
        assert!(is_erased(&device));
        let bytes = std::fs::read(&device).unwrap();
        assert!(bytes[MARK.len()..KEY_AREA_BYTES].iter().all(|byte| *byte == 0));
        assert_eq!(bytes[KEY_AREA_BYTES..], [7; 4096]);
    }

    #[test]
    fn a_short_or_missing_device_is_not_erased() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_erased(&folder.path().join("none")));
        std::fs::write(folder.path().join("short"), b"JINGUI").unwrap();
        assert!(!is_erased(&folder.path().join("short")));
    }
}
