//! `jingui-installer` as our child: writes the other slot, reads the boot entries. It speaks in lines of JSON.
//!
//! It gets the private copy of the bundle as its standard input, a descriptor of the folder, and finds disk and ESP by
//! itself: the ones that the running system came from. It has a deadline, and is killed when that passes.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, channel};
use std::thread;
use std::time::{Duration, Instant};

use jingui_ipc::control::{Fault, FaultKind};
use jingui_pack::update::{ImageVersion, Verified};
use serde::Deserialize;

use super::stage::Staged;
use crate::acts::unavailable;
use crate::event::{ActId, Event};

/// How long writing may take: 400 MiB written and read at 2 MB/s, and then as long again.
const WRITE_DEADLINE: Duration = Duration::from_secs(900);
/// How long looking at the boot entries may take.
const LOOK_DEADLINE: Duration = Duration::from_secs(30);
/// Most bytes of output that are read.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;

/// The other slot holds this image, read back, and its boot entry is in place.
#[derive(Debug)]
pub(crate) struct Written(pub(super) Verified);

/// The boot entries of the running system's ESP.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entries {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    version: ImageVersion,
    tries_left: Option<u32>,
}

/// What the child says in a line.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Line {
    Progress(u64, u64),
    Done(bool),
    Refused {
        code: String,
        facts: Vec<(String, String)>,
    },
    Entries(Vec<Entry>),
}

/// Why the child did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChildFailure {
    /// It is not there, or could not be started.
    #[error("the installer could not be started")]
    NotStarted(#[source] std::io::Error),
    /// It took too long.
    #[error("the installer took too long")]
    Late,
    /// It ended without saying that it was done.
    #[error("the installer ended without a word")]
    Silent,
    /// It said why not.
    #[error("the installer says {code}")]
    Refused {
        /// Its code.
        code: String,
        /// Facts for the words.
        facts: Vec<(String, String)>,
    },
    /// Our own fault.
    #[error("the work on the update panicked")]
    Bug,
}

impl ChildFailure {
    /// Stable code.
    pub(crate) fn code(&self) -> String {
        match self {
            Self::NotStarted(_) => "update.writer.not-started".to_owned(),
            Self::Late => "update.writer.late".to_owned(),
            Self::Silent => "update.writer.ended".to_owned(),
            Self::Refused { code, .. } => code.clone(),
            Self::Bug => "system.bug".to_owned(),
        }
    }

    /// What the person is told.
    pub(super) fn fault(&self) -> Fault {
        match self {
            Self::Refused { code, facts } => Fault {
                kind: FaultKind::Unavailable,
                code: code.clone(),
                facts: facts.clone(),
            },
            _ => unavailable(&self.code()),
        }
    }
}

impl Entries {
    /// Whether there is an entry of that version that is not counted any more.
    pub(super) fn is_good(&self, version: &ImageVersion) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.version == *version && entry.tries_left.is_none())
    }
}

/// Writes the bundle into the other slot.
pub(super) fn write_slot(
    installer: &Path,
    staged: Staged,
    act: ActId,
    events: &SyncSender<Event>,
) -> Result<Written, ChildFailure> {
    let folder = staged.folder().map_err(ChildFailure::NotStarted)?;
    let mut command = Command::new(installer);
    command.arg("write-slot").stdin(Stdio::from(folder));
    let mut is_done = false;
    run(command, WRITE_DEADLINE, |line| {
        match line {
            Line::Progress(done, total) => drop(events.send(Event::UpdateProgress(act, done, total))),
            Line::Done(done) => is_done = done,
            Line::Refused { code, facts } => return Err(ChildFailure::Refused { code, facts }),
            Line::Entries(_) => {}
        }
        Ok(())
    })?;
    if is_done {
        Ok(Written(staged.verified().clone()))
    } else {
        Err(ChildFailure::Silent)
    }
}

/// Reads the boot entries.
pub(super) fn entries(installer: &Path) -> Result<Entries, ChildFailure> {
    let mut command = Command::new(installer);
    command.arg("entries").stdin(Stdio::null());
    let mut found = None;
    run(command, LOOK_DEADLINE, |line| {
        match line {
            Line::Entries(entries) => found = Some(Entries { entries }),
            Line::Refused { code, facts } => return Err(ChildFailure::Refused { code, facts }),
            Line::Progress(..) | Line::Done(_) => {}
        }
        Ok(())
    })?;
    found.ok_or(ChildFailure::Silent)
}

/// Runs the child to its end and hands on each line; kills it at the deadline, or when a line ends the matter.
pub(super) fn run(
    mut command: Command,
    deadline: Duration,
    mut take: impl FnMut(Line) -> Result<(), ChildFailure>,
) -> Result<(), ChildFailure> {
    let mut child = command
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(ChildFailure::NotStarted)?;
    let output = child.stdout.take().ok_or(ChildFailure::Silent)?;
    let (lines, inbox) = channel();
    let reader = move || {
        let output = BufReader::new(output.take(OUTPUT_BYTES_MAX)).lines();
        output.map_while(Result::ok).all(|line| lines.send(line).is_ok());
    };
    let spawned = thread::Builder::new()
        .name("from-installer".to_owned())
        .spawn(reader);
    if let Err(error) = spawned {
        end(&mut child);
        return Err(ChildFailure::NotStarted(error));
    }
    let end_at = Instant::now() + deadline;
    loop {
        let left = end_at.saturating_duration_since(Instant::now());
        let taken = match inbox.recv_timeout(left) {
            Ok(line) => match serde_json::from_str(&line) {
                Ok(line) => take(line),
                Err(_) => Err(ChildFailure::Silent),
            },
            Err(RecvTimeoutError::Timeout) => Err(ChildFailure::Late),
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if let Err(failure) = taken {
            end(&mut child);
            return Err(failure);
        }
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        _ => Err(ChildFailure::Silent),
    }
}

/// Kills and reaps; one that has ended already is only reaped.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
