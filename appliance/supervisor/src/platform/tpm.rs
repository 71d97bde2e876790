//! The TPM of this machine: measurements, clock, and the digest of what the firmware says it measured.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use jingui_trust::Sha256;
use jingui_trust::tpm::{Tpm, TpmClock, TpmFailure};

use super::read;

/// The kernel's resource manager; beside it, others can use the TPM too.
const DEVICE: &str = "dev/tpmrm0";
const EVENT_LOG: &str = "sys/kernel/security/tpm0/binary_bios_measurements";
const EVENT_LOG_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Firmware and its settings (0 to 3), boot loader and partition table (4, 5), Secure Boot's keys (7), the image and what
/// was handed to it (11 to 13).
const PCRS: [u8; 11] = [0, 1, 2, 3, 4, 5, 7, 11, 12, 13, 14];

/// A conversation with the device, or with the socket that stands for it in tests.
pub(super) type MachineTpm = Tpm<Line>;

/// What the TPM said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TpmFacts {
    pub(super) pcrs: Vec<(u8, Sha256)>,
    pub(super) clock: Option<TpmClock>,
    /// Digest of the event log by which the PCRs can be recomputed.
    pub(super) event_log: Option<Sha256>,
}

/// Where the TPM is spoken to.
#[derive(Debug)]
pub(super) enum Line {
    Device(fs::File),
    Socket(UnixStream),
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Device(file) => file.read(buffer),
            Self::Socket(socket) => socket.read(buffer),
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Device(file) => file.write(bytes),
            Self::Socket(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The TPM of the machine, if it has one that answers.
pub(super) fn open(root: &Path) -> Option<MachineTpm> {
    let path = root.join(DEVICE);
    let kind = fs::metadata(&path).ok()?.file_type();
    let line = if kind.is_socket() {
        UnixStream::connect(&path).map(Line::Socket)
    } else {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map(Line::Device)
    };
    line.inspect_err(|error| crate::say(format_args!("the TPM cannot be opened: {error}")))
        .ok()
        .map(Tpm::over)
}

impl TpmFacts {
    /// Asks for what there is; what a TPM refuses is missing.
    pub(super) fn measure(tpm: &mut MachineTpm, root: &Path) -> Self {
        Self {
            pcrs: told(tpm.pcrs(&PCRS)).unwrap_or_default(),
            clock: told(tpm.clock()),
            event_log: read(&root.join(EVENT_LOG), EVENT_LOG_BYTES_MAX)
                .ok()
                .map(|bytes| Sha256::of(&bytes)),
        }
    }
}

fn told<T>(answer: Result<T, TpmFailure>) -> Option<T> {
    answer
        .inspect_err(|failure| crate::say_failure(failure.code(), failure))
        .ok()
}
