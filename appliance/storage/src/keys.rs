//! Keys of the encrypted state: from the TPM, from a key stick, or from a person; and the recovery key.
//!
//! A key is passed on through a pipe or a file of mode 0600 on volatile storage that is gone afterwards, never on a
//! command line.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jingui_ipc::storage::{OpenedBy, RECOVERY_KEY_PATH, STATE_MAPPER_NAME};
use jingui_trust::{Secret, random};
use serde::Deserialize;

use crate::failure::Failure;
use crate::machine::{Access, Ended, Machine, Tool};
use crate::partitions::{PCR_KEY, tpm_arguments};

const CRYPTSETUP: &str = "/usr/sbin/cryptsetup";
const SYSTEMD_CRYPTSETUP: &str = "/usr/bin/systemd-cryptsetup";
const CRYPTENROLL: &str = "/usr/bin/systemd-cryptenroll";

/// File system label of a key stick.
const STICK_DEVICE: &str = "dev/disk/by-label/JINGUI-KEY";
const STICK_FOLDER: &str = "run/jingui/key-stick";
const STICK_FILE: &str = "jingui-state.key";
const STICK_KEY_BYTES: usize = 64;
const STICK_KEY_BYTES_MAX: u64 = 4096;
const KEY_FILE: &str = "run/jingui/key";
const TPM_DEVICE: &str = "dev/tpmrm0";
const TPM_VERSION: &str = "sys/class/tpm/tpm0/tpm_version_major";
const SECURE_BOOT: &str = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// Signs in which systemd writes a recovery key (modified hexadecimal, the same on every keyboard), and how many.
const RECOVERY_SIGNS: &str = "cbdefghijklnrtuv";
const RECOVERY_SIGN_COUNT: usize = 64;
const RECOVERY_GROUP_SIGNS: usize = 8;

/// Key of a state that is about to be made.
#[derive(Debug)]
pub(crate) enum NewKey {
    /// The TPM makes and keeps it.
    Tpm,
    /// Bytes of a key stick, or a person's passphrase.
    Typed(Secret<Vec<u8>>),
}

/// A state that is open.
#[derive(Debug)]
pub(crate) struct Opened {
    /// By what.
    pub(crate) by: OpenedBy,
    /// The key, where it is not the TPM's.
    pub(crate) key: Option<Secret<Vec<u8>>>,
    /// Whether a TPM should have opened it and did not.
    pub(crate) is_tpm_passed_over: bool,
}

/// What the header of a state says about its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Whether a TPM holds a key.
    pub(crate) has_tpm_key: bool,
}

#[derive(Deserialize)]
struct Metadata {
    tokens: std::collections::BTreeMap<String, Token>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(rename = "type")]
    kind: String,
}

/// A key in a file that goes with the value.
#[derive(Debug)]
pub(crate) struct KeyFile(PathBuf);

impl KeyFile {
    /// Writes it.
    pub(crate) fn write(machine: &dyn Machine, key: &Secret<Vec<u8>>) -> Result<Self, Failure> {
        let path = machine.path(KEY_FILE);
        write_private(&path, key.expose()).map_err(|source| Failure::ToolFailed {
            program: CRYPTENROLL,
            source,
        })?;
        Ok(Self(path))
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        // Volatile storage of root alone; it goes with the power at the latest.
        let _ = fs::remove_file(&self.0);
    }
}

/// Whether this machine has a TPM 2.0.
pub(crate) fn has_tpm(machine: &dyn Machine) -> bool {
    let version = fs::read_to_string(machine.path(TPM_VERSION)).unwrap_or_default();
    version.trim() == "2" && machine.path(TPM_DEVICE).exists()
}

/// Refuses to bind a state to measurements that nobody signed: the first update would lock it.
pub(crate) fn require_pcr_key(machine: &dyn Machine) -> Result<(), Failure> {
    if machine.path(PCR_KEY).is_file() {
        Ok(())
    } else {
        Err(Failure::PcrKeyMissing)
    }
}

/// Reads the header of the state; cryptsetup repairs one of its two copies by itself.
pub(crate) fn read_header(machine: &mut dyn Machine, device: &Path) -> Result<Header, Failure> {
    let arguments = [
        "luksDump".as_ref(),
        "--dump-json-metadata".as_ref(),
        device.as_os_str(),
    ];
    let ended = run(machine, Tool::new(CRYPTSETUP, arguments))?;
    if !ended.is_success() {
        return Err(Failure::HeaderDamaged);
    }
    let metadata: Metadata = serde_json::from_slice(&ended.output).map_err(|_| Failure::HeaderDamaged)?;
    let has_tpm_key = metadata.tokens.values().any(|token| token.kind == "systemd-tpm2");
    Ok(Header { has_tpm_key })
}

/// Lets the TPM open the state. `false` when it refuses: another boot chain, another machine.
pub(crate) fn open_by_tpm(machine: &mut dyn Machine, device: &Path) -> Result<bool, Failure> {
    let arguments = [
        "attach".as_ref(),
        STATE_MAPPER_NAME.as_ref(),
        device.as_os_str(),
        "-".as_ref(),
        "tpm2-device=auto,headless=true".as_ref(),
    ];
    run(machine, Tool::new(SYSTEMD_CRYPTSETUP, arguments)).map(|ended| ended.is_success())
}

/// Opens the state with a key. `false` when it is a wrong one.
pub(crate) fn open_by_key(
    machine: &mut dyn Machine,
    device: &Path,
    key: &Secret<Vec<u8>>,
) -> Result<bool, Failure> {
    let arguments = [
        "open".as_ref(),
        "--type=luks2".as_ref(),
        "--key-file=-".as_ref(),
        device.as_os_str(),
        STATE_MAPPER_NAME.as_ref(),
    ];
    let tool = Tool::new(CRYPTSETUP, arguments).reading(key.clone());
    run(machine, tool).map(|ended| ended.is_success())
}

/// The key on a key stick, if one is plugged in and has one.
pub(crate) fn key_of_stick(machine: &mut dyn Machine) -> Option<Secret<Vec<u8>>> {
    on_stick(machine, Access::Read, |folder| {
        read_stick(&folder.join(STICK_FILE))
    })
}

/// The key on a key stick for a new state; made there when the stick has none.
pub(crate) fn new_key_of_stick(machine: &mut dyn Machine) -> Option<Secret<Vec<u8>>> {
    on_stick(machine, Access::Write, |folder| {
        let path = folder.join(STICK_FILE);
        if !path.exists() {
            let bytes: [u8; STICK_KEY_BYTES] = random::bytes().map_err(io::Error::other)?;
            write_private(&path, &bytes)?;
            fs::File::open(folder)?.sync_all()?;
        }
        read_stick(&path)
    })
}

fn on_stick(
    machine: &mut dyn Machine,
    access: Access,
    work: impl FnOnce(&Path) -> io::Result<Secret<Vec<u8>>>,
) -> Option<Secret<Vec<u8>>> {
    let device = machine.path(STICK_DEVICE);
    if !device.exists() {
        return None;
    }
    let folder = machine.path(STICK_FOLDER);
    let key = fs::create_dir_all(&folder)
        .and_then(|()| machine.mount(&device, &folder, "vfat", access))
        .and_then(|()| {
            let key = work(&folder);
            machine.unmount(&folder)?;
            key
        });
    key.inspect_err(|error| crate::say(format_args!("the key stick cannot be used: {error}")))
        .ok()
}

fn read_stick(path: &Path) -> io::Result<Secret<Vec<u8>>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(STICK_KEY_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    if bytes.is_empty() || u64::try_from(bytes.len()).is_ok_and(|count| count > STICK_KEY_BYTES_MAX) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Secret::new(bytes))
}

/// What a person typed as the key that it is: a recovery key without regard to dashes, spaces and case, anything else
/// as it stands.
pub(crate) fn typed_key(typed: &Secret<String>) -> (OpenedBy, Secret<Vec<u8>>) {
    match recovery_key(typed.expose()) {
        Some(key) => (OpenedBy::RecoveryKey, Secret::new(key.into_bytes())),
        None => (
            OpenedBy::Passphrase,
            Secret::new(typed.expose().as_bytes().to_vec()),
        ),
    }
}

/// A recovery key in the one form in which it is a key: eight groups of eight signs.
fn recovery_key(text: &str) -> Option<String> {
    let signs: Vec<char> = text
        .chars()
        .filter(|sign| !sign.is_whitespace() && *sign != '-')
        .map(|sign| sign.to_ascii_lowercase())
        .collect();
    let is_key =
        signs.len() == RECOVERY_SIGN_COUNT && signs.iter().all(|sign| RECOVERY_SIGNS.contains(*sign));
    let groups: Vec<String> = signs
        .chunks(RECOVERY_GROUP_SIGNS)
        .map(|group| group.iter().collect())
        .collect();
    is_key.then(|| groups.join("-"))
}

/// After a person opened what the TPM would not: binds the state to this machine as it is now, if that is worth
/// something. `false` when it was not done; the person is then asked again at the next start.
pub(crate) fn bind_anew(
    machine: &mut dyn Machine,
    device: &Path,
    key: &Secret<Vec<u8>>,
) -> Result<bool, Failure> {
    if !has_tpm(machine) || !is_secure_boot(machine) || require_pcr_key(machine).is_err() {
        return Ok(false);
    }
    let key_file = KeyFile::write(machine, key)?;
    let mut arguments = vec![
        format!("--unlock-key-file={}", key_file.path().display()),
        "--wipe-slot=tpm2".to_owned(),
    ];
    arguments.extend(tpm_arguments(machine));
    arguments.push(device.display().to_string());
    run(machine, Tool::new(CRYPTENROLL, arguments)).map(|ended| ended.is_success())
}

/// Makes a recovery key in place of any earlier one, and keeps it on volatile storage until the ceremony has shown it.
pub(crate) fn make_recovery_key(
    machine: &mut dyn Machine,
    device: &Path,
    opened: &Opened,
) -> Result<(), Failure> {
    let key_file = match &opened.key {
        Some(key) => Some(KeyFile::write(machine, key)?),
        None => None,
    };
    let unlock = match &key_file {
        Some(file) => format!("--unlock-key-file={}", file.path().display()),
        None => "--unlock-tpm2-device=auto".to_owned(),
    };
    let arguments = [
        "--recovery-key".to_owned(),
        "--wipe-slot=recovery".to_owned(),
        unlock,
        device.display().to_string(),
    ];
    let ended = run(machine, Tool::new(CRYPTENROLL, arguments))?;
    let shown = Secret::new(String::from_utf8(ended.output).unwrap_or_default());
    match recovery_key(shown.expose()) {
        Some(key) if matches!(ended.code, Some(0)) => {
            let key = Secret::new(key);
            write_private(&machine.path(RECOVERY_KEY_PATH), key.expose().as_bytes())
                .map_err(|_| Failure::RecoveryKeyFailed)
        }
        _ => Err(Failure::RecoveryKeyFailed),
    }
}

/// Whether the firmware says that Secure Boot is in force: a byte behind four of attributes.
fn is_secure_boot(machine: &dyn Machine) -> bool {
    fs::read(machine.path(SECURE_BOOT)).is_ok_and(|bytes| bytes.get(4) == Some(&1))
}

/// Runs a program.
pub(crate) fn run(machine: &mut dyn Machine, tool: Tool) -> Result<Ended, Failure> {
    let program = tool.program;
    machine
        .run(tool)
        .map_err(|source| Failure::ToolFailed { program, source })
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A file that is there may have another mode.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
