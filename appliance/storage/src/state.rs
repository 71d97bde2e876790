//! Opening the state: by the TPM, by a key stick, by a person. The person is asked as long as it takes; nothing is
//! made anew because nobody has the key.

use std::path::Path;
use std::time::Duration;

use jingui_ipc::storage::OpenedBy;
use jingui_trust::Secret;

use crate::console::Person;
use crate::failure::Failure;
use crate::keys::{self, NewKey, Opened};
use crate::machine::{Machine, Tool};

/// How long somebody has to begin an answer when the image is on trial after an update: then it counts as one that
/// does not start, and the machine restarts.
pub(crate) const TRIAL_PATIENCE: Duration = Duration::from_secs(60);
/// Fewest signs of a new passphrase.
pub(crate) const PASSPHRASE_SIGNS_MIN: usize = 12;
/// The boot loader tells of a counted try by this variable, below the root folder (systemd-boot, `BOOT_LOADER_INTERFACE`).
const TRIAL: &str = "sys/firmware/efi/efivars/LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
const SYSTEMCTL: &str = "/usr/bin/systemctl";

/// Words that are no key.
const RESTART: &str = "restart";
const POWER_OFF: &str = "off";

/// The machine restarts or is switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leaving;

/// The key for a state that is about to be made: the TPM's, a key stick's, or a passphrase that is typed twice.
pub(crate) fn new_key(machine: &mut dyn Machine, person: &mut dyn Person) -> Result<Option<NewKey>, Failure> {
    if keys::has_tpm(machine) {
        keys::require_pcr_key(machine)?;
        return Ok(Some(NewKey::Tpm));
    }
    if let Some(key) = keys::new_key_of_stick(machine) {
        return Ok(Some(NewKey::Typed(key)));
    }
    let least = PASSPHRASE_SIGNS_MIN.to_string();
    loop {
        let facts = [("least", least.as_str())];
        let mut typed = Vec::new();
        for _ in 0..2 {
            match ask(machine, person, "storage.state.passphrase-new", &facts)? {
                Ok(line) => typed.push(line),
                Err(Leaving) => return Ok(None),
            }
        }
        if let [first, second] = typed.as_slice()
            && first.expose() == second.expose()
            && first.expose().chars().count() >= PASSPHRASE_SIGNS_MIN
        {
            let (_, key) = keys::typed_key(first);
            return Ok(Some(NewKey::Typed(key)));
        }
    }
}

/// Opens the state.
pub(crate) fn open(
    machine: &mut dyn Machine,
    person: &mut dyn Person,
    device: &Path,
) -> Result<Result<Opened, Leaving>, Failure> {
    let header = keys::read_header(machine, device)?;
    if header.has_tpm_key && keys::has_tpm(machine) && keys::open_by_tpm(machine, device)? {
        return Ok(Ok(Opened {
            by: OpenedBy::Tpm,
            key: None,
            is_tpm_passed_over: false,
        }));
    }
    if !header.has_tpm_key
        && let Some(key) = keys::key_of_stick(machine)
        && keys::open_by_key(machine, device, &key)?
    {
        return Ok(Ok(Opened {
            by: OpenedBy::KeyStick,
            key: Some(key),
            is_tpm_passed_over: false,
        }));
    }
    open_by_person(machine, person, device, header.has_tpm_key)
}

fn open_by_person(
    machine: &mut dyn Machine,
    person: &mut dyn Person,
    device: &Path,
    is_tpm_passed_over: bool,
) -> Result<Result<Opened, Leaving>, Failure> {
    let mut code = if is_tpm_passed_over {
        "storage.state.locked"
    } else {
        "storage.state.passphrase"
    };
    crate::say(format_args!("{code}"));
    loop {
        let line = match ask(machine, person, code, &[])? {
            Ok(line) => line,
            Err(Leaving) => return Ok(Err(Leaving)),
        };
        let (by, key) = keys::typed_key(&line);
        if keys::open_by_key(machine, device, &key)? {
            return Ok(Ok(Opened {
                by,
                key: Some(key),
                is_tpm_passed_over,
            }));
        }
        code = "storage.state.passphrase-wrong";
    }
}

/// Shows what is wrong until somebody restarts the machine or switches it off.
pub(crate) fn wait_for_leave(
    machine: &mut dyn Machine,
    person: &mut dyn Person,
    code: &str,
) -> Result<(), Failure> {
    while ask(machine, person, code, &[])?.is_ok() {}
    Ok(())
}

/// A line that is no order to restart or switch off.
fn ask(
    machine: &mut dyn Machine,
    person: &mut dyn Person,
    code: &str,
    facts: &[(&str, &str)],
) -> Result<Result<Secret<String>, Leaving>, Failure> {
    let is_trial = machine.path(TRIAL).exists();
    let patience = is_trial.then_some(TRIAL_PATIENCE);
    loop {
        person.tell(code, facts);
        let line = person.ask(patience).map_err(|source| Failure::ToolFailed {
            program: "console",
            source,
        })?;
        let order = match line.as_ref().map(|line| line.expose().as_str()) {
            None | Some(RESTART) => "reboot",
            Some(POWER_OFF) => "poweroff",
            Some("") => continue,
            Some(_) => match line {
                Some(line) => return Ok(Ok(line)),
                None => continue,
            },
        };
        keys::run(machine, Tool::new(SYSTEMCTL, ["--no-block", order]))?;
        return Ok(Err(Leaving));
    }
}
