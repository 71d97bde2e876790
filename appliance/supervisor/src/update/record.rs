//! What is remembered of the last update, across the restart that starts it.

use std::fs;
use std::io;
use std::path::Path;

use jingui_ipc::update::UpdatePhase;
use jingui_pack::SecurityVersion;
use jingui_pack::update::ImageVersion;
use jingui_trust::Sha256;
use serde::{Deserialize, Serialize};

use crate::durable;

const RECORD_BYTES_MAX: u64 = 64 * 1024;
/// The kernel's name for this start of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The last update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// Its version.
    pub(super) version: ImageVersion,
    /// Its number against rollback.
    pub(super) security_version: SecurityVersion,
    /// Its root hash.
    pub(super) roothash: Sha256,
    /// The version that ran when it was applied.
    pub(super) from: ImageVersion,
    /// Which start of the machine that was.
    pub(super) boot: String,
    /// What became of it, as far as we knew.
    pub(super) phase: UpdatePhase,
}

impl Record {
    /// The record, if there is one. One that cannot be understood is none: it only tells, it decides nothing.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let bytes = durable::read(path, RECORD_BYTES_MAX)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        durable::write(path, &serde_json::to_vec_pretty(self)?, durable::PRIVATE_FILE)
    }

    /// What became of the update, now that `running` runs in the start `boot` of the machine.
    ///
    /// A supervisor that was only restarted, or crashed, sees the start in which the update was applied: nothing was
    /// tried yet then. An interrupted writing left no boot entry behind, so the old image is no fall-back after it.
    pub(super) fn judge(&self, running: &ImageVersion, boot: &str) -> UpdatePhase {
        let is_new = *running == self.version;
        match self.phase {
            UpdatePhase::Blessed if is_new => UpdatePhase::Blessed,
            // It was good once, and the box went back all the same (a person, or a damaged slot).
            UpdatePhase::Blessed if *running == self.from => UpdatePhase::FellBack,
            _ if is_new => UpdatePhase::OnTrial,
            UpdatePhase::Written if self.boot == boot => UpdatePhase::Written,
            UpdatePhase::Written | UpdatePhase::OnTrial | UpdatePhase::FellBack if *running == self.from => {
                UpdatePhase::FellBack
            }
            _ => UpdatePhase::None,
        }
    }
}

/// This start of the machine.
pub(super) fn boot_now() -> io::Result<String> {
    Ok(fs::read_to_string(BOOT_ID)?.trim().to_owned())
}
