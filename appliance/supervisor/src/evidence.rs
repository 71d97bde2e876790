//! Evidence onto a stick: the log in its public layout and the key that checks it, copied and read back.
//!
//! The `export.audit` leaf is in the checkpoint that is copied. A copy that was cut off has no checkpoint; one that ends is
//! unmounted, mounted again without the right to write, and verified as the auditor will verify it at home.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;

use jingui_audit::checkpoint::CHECKPOINT_BYTES_MAX;
use jingui_audit::storage::{CHECKPOINT_PATH, ReadStorage};
use jingui_audit::tile::{names, read_as_of};
use jingui_audit::verify::verify_with_progress;
use jingui_audit::{Checkpoint, VerifierKey};
use jingui_ipc::screen::{Progress, Stage};

use crate::audit_log::LogFolder;
use crate::durable;
use crate::event::{ActId, Event};
use crate::places::Places;
use crate::usb::{Purpose, Stick, StickRefusal};

/// Folder on the stick; one folder for each export in it.
const FOLDER_NAME: &str = "jingui-evidence";
/// Names the place where the stick is mounted.
const ACT: &str = "evidence";
/// Files between two notes of progress.
const FILES_PER_PROGRESS: u64 = 64;

/// What is copied, and what for.
#[derive(Debug)]
pub(crate) struct EvidenceJob {
    /// The act that waits for it.
    pub(crate) act: ActId,
    /// Where the stick is looked for.
    pub(crate) places: Places,
    /// The log.
    pub(crate) log: PathBuf,
    /// Checks the log.
    pub(crate) vkey: String,
    /// Serial of the box, for the folder's name.
    pub(crate) serial: String,
}

/// Evidence that lies on a stick, read back and found intact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exported {
    /// Folder on the stick.
    pub(crate) folder: String,
    /// Leaves in it.
    pub(crate) size: u64,
}

/// Why no evidence is on the stick. What was written of it has no checkpoint and convinces nobody.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EvidenceFailure {
    /// No stick, or not one.
    #[error(transparent)]
    Stick(#[from] StickRefusal),
    /// The log could not be read, or does not verify.
    #[error("the log cannot be copied")]
    Log(#[source] io::Error),
    /// The stick could not be written: full, worn out, pulled out.
    #[error("the stick cannot be written")]
    Write(#[source] io::Error),
    /// What was read back is not what was written.
    #[error("the stick gives back something else")]
    ReadBack(#[source] jingui_audit::VerifyFailure),
    /// The job ended by a bug of ours.
    #[error("the copy ended by a bug")]
    Bug,
}

impl EvidenceFailure {
    /// Stable code.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Stick(refusal) => refusal.code(),
            Self::Log(_) => "evidence.log.unreadable",
            Self::Write(_) => "evidence.stick.unwritable",
            Self::ReadBack(_) => "evidence.stick.altered",
            Self::Bug => "system.bug",
        }
    }

    /// Facts for the words.
    pub(crate) fn facts(&self) -> Vec<(String, String)> {
        match self {
            Self::Stick(refusal) => refusal.facts(),
            Self::Log(_) | Self::Write(_) | Self::ReadBack(_) | Self::Bug => Vec::new(),
        }
    }
}

impl EvidenceJob {
    /// Starts the copy on a thread of its own.
    pub(crate) fn start(self, events: &SyncSender<Event>) -> io::Result<()> {
        let act = self.act;
        let job = move |events: &SyncSender<Event>| Event::Evidence(act, Box::new(self.run(events)));
        crate::work::spawn("evidence", events, job, move || {
            Event::Evidence(act, Box::new(Err(EvidenceFailure::Bug)))
        })
    }

    fn run(&self, events: &SyncSender<Event>) -> Result<Exported, EvidenceFailure> {
        let tell = |stage, done_bytes, total_bytes| {
            let progress = Progress {
                stage,
                done_bytes,
                total_bytes,
            };
            // The loop has gone when nobody takes the event.
            let _ = events.send(Event::ScreenProgress(self.act, progress));
        };
        let stick = Stick::mount(&self.places, ACT, Purpose::Write)?;
        let (folder, checkpoint) = self.copy(stick.folder(), &mut |done, total| {
            tell(Stage::Copying, done, total)
        })?;
        stick.release().map_err(EvidenceFailure::Write)?;
        let stick = Stick::mount(&self.places, ACT, Purpose::Read)?;
        tell(Stage::Verifying, 0, checkpoint.size);
        let copy = LogFolder::at(&stick.folder().join(&folder));
        verify_with_progress(&copy, &self.key()?, None, &mut |done| {
            tell(Stage::Verifying, done, checkpoint.size);
        })
        .map_err(EvidenceFailure::ReadBack)?;
        stick.release().map_err(EvidenceFailure::Write)?;
        Ok(Exported {
            folder,
            size: checkpoint.size,
        })
    }

    fn key(&self) -> Result<VerifierKey, EvidenceFailure> {
        let malformed = |_| EvidenceFailure::Log(io::ErrorKind::InvalidData.into());
        self.vkey.parse().map_err(malformed)
    }

    /// Copies the log up to the checkpoint that is there now, the checkpoint last. Gives the folder's name.
    fn copy(
        &self,
        stick: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(String, Checkpoint), EvidenceFailure> {
        let unreadable = EvidenceFailure::Log;
        let absent = || unreadable(io::ErrorKind::NotFound.into());
        let log = LogFolder::at(&self.log);
        let note = log
            .read(CHECKPOINT_PATH, CHECKPOINT_BYTES_MAX)
            .map_err(unreadable)?
            .ok_or_else(absent)?;
        let checkpoint =
            Checkpoint::open(&note, &self.key()?).map_err(|error| unreadable(io::Error::other(error)))?;
        let folder = format!("{FOLDER_NAME}/{}-{}", self.serial, checkpoint.size);
        let target = Target::make(&stick.join(&folder)).map_err(EvidenceFailure::Write)?;
        let total = u64::try_from(names(checkpoint.size).count()).unwrap_or(u64::MAX);
        for (done, name) in (0..).zip(names(checkpoint.size)) {
            if done % FILES_PER_PROGRESS == 0 {
                progress(done, total);
            }
            let bytes = read_as_of(&log, name).map_err(unreadable)?.ok_or_else(absent)?;
            target
                .write(&name.to_string(), &bytes)
                .map_err(EvidenceFailure::Write)?;
        }
        let vkey = format!("{}\n", self.vkey);
        target
            .write_beside("vkey", vkey.as_bytes())
            .and_then(|()| target.write(CHECKPOINT_PATH, &note))
            .map_err(EvidenceFailure::Write)?;
        progress(total, total);
        Ok((folder, checkpoint))
    }
}

/// A new folder on the stick.
struct Target(PathBuf);

impl Target {
    /// Makes it; one that is there already holds somebody's evidence and is left alone.
    fn make(path: &Path) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::create_dir(path)?;
        Ok(Self(path.to_owned()))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        write_new(&self.0.join(name), bytes)
    }

    /// A file beside the folder, so that the folder is the log and nothing else.
    fn write_beside(&self, ending: &str, bytes: &[u8]) -> io::Result<()> {
        let mut name = self.0.clone().into_os_string();
        name.push(".");
        name.push(ending);
        write_new(Path::new(&name), bytes)
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(parent)?;
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    durable::sync_folder(parent)
}
