//! What `jingui-storage` did before the supervisor started: a small JSON file on volatile storage, and the recovery key.
//!
//! Both processes are root's in the image; nobody else can write there. The supervisor takes from it how the state was
//! opened; that a device is encrypted or mounted it measures itself.

use serde::{Deserialize, Serialize};

/// The report, below the root folder.
pub const REPORT_PATH: &str = "run/jingui/storage.json";
/// The recovery key until the ceremony has shown it, below the root folder. Mode 0600, on volatile storage.
pub const RECOVERY_KEY_PATH: &str = "run/jingui/recovery-key";
/// Longest report that is read.
pub const REPORT_BYTES_MAX: u64 = 64 * 1024;
/// Longest recovery key that is read.
pub const RECOVERY_KEY_BYTES_MAX: u64 = 1024;
/// Name of the opened state below `/dev/mapper`.
pub const STATE_MAPPER_NAME: &str = "jingui-state";

/// What was done at this boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The disk that the verity root lies on, for example `vda`.
    pub disk: String,
    /// Labels of the partitions that were made at this boot.
    pub made: Vec<String>,
    /// How the state was opened.
    pub opened_by: OpenedBy,
    /// Whether the TPM's part of the key was made anew, since the old one did not open.
    pub is_bound_anew: bool,
    /// Stable code of what is wrong with the model store; the box runs without it then.
    pub models_fault: Option<String>,
}

/// What opened the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpenedBy {
    /// The TPM, for this firmware state and a signed image.
    Tpm,
    /// A recovery key that a person typed: the TPM refused.
    RecoveryKey,
    /// A passphrase that a person typed; this machine has no TPM.
    Passphrase,
    /// A file on a key stick; this machine has no TPM.
    KeyStick,
}
