//! Makes, opens and mounts the state and the model store of the sealed image, once, before the supervisor starts.
//!
//! Runs as root in the image only: `jingui-storage` without arguments at each start, `jingui-storage erase` on a
//! person's order to destroy the state ([`erase`]). It touches the disk that the running image came from and no other
//! ([`disk`]), makes only what is not there ([`partitions`]), and never makes a state anew because it does not open:
//! whoever stands at the machine is told why and asked for the recovery key ([`console`]).

mod console;
mod disk;
mod erase;
mod failure;
mod keys;
mod machine;
mod mounts;
mod partitions;
mod state;
mod table;

use std::fmt;
use std::fs;
use std::process::ExitCode;

use jingui_ipc::storage::{REPORT_PATH, Report};

use crate::console::{Consoles, Person};
use crate::disk::{Disk, MODELS_LABEL, STATE_LABEL};
use crate::failure::Failure;
use crate::machine::{Machine, RealMachine};
use crate::partitions::Missing;
use crate::state::Leaving;

/// Exit code of a command line that is not understood.
const EXIT_USAGE: u8 = 64;
/// Exit code when the state could not be made ready.
const EXIT_UNAVAILABLE: u8 = 4;
/// The accounts are there as soon as the ceremony was held, below the root folder.
const ACCOUNTS: &str = "var/lib/jingui/people/accounts.json";

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let mut machine = RealMachine;
    match words.as_slice() {
        [] => start(&mut machine),
        [word] if word == "erase" => match erase_state(&machine) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                say_failure(&failure);
                ExitCode::from(EXIT_UNAVAILABLE)
            }
        },
        _ => {
            say(format_args!("usage: jingui-storage [erase]"));
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// One start. What went wrong is shown on the consoles until somebody restarts the machine; a try of a fresh update
/// gives up by itself, so that the older image comes back.
fn start(machine: &mut dyn Machine) -> ExitCode {
    let mut person = Consoles::open(machine.root());
    let failure = match make_ready(machine, &mut person) {
        Ok(Some(report)) => {
            say(format_args!(
                "the state is open ({:?}), made: {:?}",
                report.opened_by, report.made
            ));
            return ExitCode::SUCCESS;
        }
        Ok(None) => return ExitCode::from(EXIT_UNAVAILABLE),
        Err(failure) => failure,
    };
    say_failure(&failure);
    let asked = state::wait_for_leave(machine, &mut person, failure.code());
    if let Err(unasked) = asked {
        say_failure(&unasked);
    }
    ExitCode::from(EXIT_UNAVAILABLE)
}

/// Everything, in order. `None` when somebody asked to restart or switch off instead.
fn make_ready(machine: &mut dyn Machine, person: &mut dyn Person) -> Result<Option<Report>, Failure> {
    let disk = Disk::find(machine.root())?;
    if mounts::is_mounted(machine) {
        say(format_args!("the state is mounted already"));
        return Ok(None);
    }
    make_folder(machine)?;
    let missing = Missing::on(&disk)?;
    if missing.needs_state() {
        let Some(key) = state::new_key(machine, person)? else {
            return Ok(None);
        };
        partitions::make(machine, &disk, &missing, Some(&key))?;
    } else {
        partitions::make(machine, &disk, &missing, None)?;
    }
    let device = disk.partition(STATE_LABEL)?.ok_or(Failure::StateAbsent)?;
    let opened = match state::open(machine, person, &device)? {
        Ok(opened) => opened,
        Err(Leaving) => return Ok(None),
    };
    let is_bound_anew = match &opened.key {
        Some(key) if opened.is_tpm_passed_over => keys::bind_anew(machine, &device, key)?,
        _ => false,
    };
    let mapped = machine
        .path("dev/mapper")
        .join(jingui_ipc::storage::STATE_MAPPER_NAME);
    mounts::mount_state(machine, &mapped)?;
    if !machine.path(ACCOUNTS).exists() {
        keys::make_recovery_key(machine, &device, &opened)?;
    }
    let models_fault = match disk.partition(MODELS_LABEL)? {
        Some(models) => mounts::mount_models(machine, &models)?,
        None => Some("storage.models.absent"),
    };
    let report = Report {
        disk: disk.name,
        made: missing.labels,
        opened_by: opened.by,
        is_bound_anew,
        models_fault: models_fault.map(ToOwned::to_owned),
    };
    write_report(machine, &report)?;
    Ok(Some(report))
}

fn make_folder(machine: &dyn Machine) -> Result<(), Failure> {
    let path = machine.path(REPORT_PATH);
    let folder = path.parent().unwrap_or(&path);
    fs::create_dir_all(folder).map_err(Failure::ReportUnwritable)
}

fn write_report(machine: &dyn Machine, report: &Report) -> Result<(), Failure> {
    let text = serde_json::to_vec_pretty(report).map_err(|error| Failure::ReportUnwritable(error.into()))?;
    let path = machine.path(REPORT_PATH);
    let written = path.with_extension("new");
    fs::write(&written, text)
        .and_then(|()| fs::rename(&written, &path))
        .map_err(Failure::ReportUnwritable)
}

fn erase_state(machine: &dyn Machine) -> Result<(), Failure> {
    let disk = Disk::find(machine.root())?;
    let device = disk.partition(STATE_LABEL)?.ok_or(Failure::StateAbsent)?;
    erase::erase(&device).map_err(|source| Failure::ToolFailed {
        program: "erase",
        source,
    })
}

/// One line for the journal. Never a key.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    eprintln!("storage: {line}");
}

fn say_failure(failure: &Failure) {
    let mut text = failure.to_string();
    let mut cause = std::error::Error::source(failure);
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    say(format_args!("{}: {text}", failure.code()));
}

#[cfg(test)]
mod tests;
