//! The audit log on disk, and the batch of leaves that waits for its checkpoint.
//!
//! Owned by the loop's thread. Leaves are recorded one by one and get their index at once; [`AuditLog::commit`] puts
//! all of them into one signed checkpoint. Nobody is told that something was done before `commit` succeeded.
//!
//! When the log cannot be opened, or a write fails, it is stopped: nothing is recorded, acts and inference are
//! refused, until [`AuditLog::open`] has read the files again and found them sound.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jingui_audit::event::Event;
use jingui_audit::leaf::{Draft, Role};
use jingui_audit::storage::{GuardStore, ReadStorage, Storage};
use jingui_audit::tree::empty_root;
use jingui_audit::writer::{AppendFailure, BATCH_LEAVES_MAX, OpenFailure, Opened};
use jingui_audit::{Checkpoint, Signer, VerifierKey, Writer};

use crate::durable;

const UNWRITABLE: &str = "audit.unwritable";
const GUARD_BYTES_MAX: u64 = 4096;
/// Leaves of our own processes that are kept while the log is stopped; with fifteen minutes of restarts it is full.
pub(crate) const MISSED_MAX: usize = 128;

/// The log's folder.
#[derive(Debug)]
pub(crate) struct LogFolder(PathBuf);

impl LogFolder {
    /// The log in that folder, for reading.
    pub(crate) fn at(folder: &Path) -> Self {
        Self(folder.to_owned())
    }
}

/// The second place: what was last signed, in `trust/`.
#[derive(Debug)]
pub(crate) struct GuardFile(PathBuf);

/// The log and what waits for its next checkpoint.
#[derive(Debug)]
pub(crate) struct AuditLog {
    folder: PathBuf,
    guard: PathBuf,
    vkey: VerifierKey,
    /// The newest signed checkpoint that we know of.
    signed: Checkpoint,
    state: State,
    pending: Vec<Draft>,
    /// What our own processes did in the batch that failed; on disk or not, [`AuditLog::open`] finds out.
    in_doubt: Vec<Draft>,
    /// What our own processes did while the log was stopped, to be recorded when it is back.
    missed: Vec<Draft>,
}

/// Whether the log takes leaves.
#[derive(Debug)]
enum State {
    Open(Box<Writer<LogFolder, GuardFile>>),
    /// With the code that says why.
    Stopped(&'static str),
}

/// A leaf could not be recorded or committed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogFailure {
    /// The log is stopped since a write failed.
    #[error("the audit log cannot be written")]
    Unwritable,
    /// The record does not fit a leaf; nothing else is affected.
    #[error("the record does not fit a leaf")]
    Refused(#[source] jingui_audit::leaf::LeafRefusal),
    /// [`BATCH_LEAVES_MAX`] leaves wait already.
    #[error("too many leaves wait for a checkpoint")]
    Full,
}

impl LogFailure {
    /// Stable code.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Unwritable => UNWRITABLE,
            Self::Refused(refusal) => refusal.code(),
            Self::Full => "system.busy",
        }
    }
}

impl AuditLog {
    /// The log of that folder, not opened yet.
    pub(crate) fn closed(folder: &Path, trust: &Path, vkey: VerifierKey) -> Self {
        Self {
            folder: folder.to_owned(),
            guard: trust.join("audit.signed"),
            signed: Checkpoint {
                origin: vkey.name().to_owned(),
                size: 0,
                root: empty_root(),
            },
            vkey,
            state: State::Stopped(UNWRITABLE),
            pending: Vec::new(),
            in_doubt: Vec::new(),
            missed: Vec::new(),
        }
    }

    /// Opens the log, or starts one; takes in what a crash left behind. Also the way back after a failed write: what
    /// was pending and never acknowledged is given up, except what already reached the disk.
    pub(crate) fn open(&mut self, signer: Signer) -> Result<Opened, OpenFailure> {
        let storage = LogFolder(self.folder.clone());
        let (writer, opened) = match Writer::open(storage, GuardFile(self.guard.clone()), signer) {
            Ok(opened) => opened,
            Err(failure) => {
                // What write failed is of no use to people; that none succeeds is.
                let is_write = matches!(failure, OpenFailure::Write(_));
                self.state = State::Stopped(if is_write { UNWRITABLE } else { code_of(&failure) });
                return Err(failure);
            }
        };
        self.signed = writer.checkpoint().clone();
        self.state = State::Open(Box::new(writer));
        self.pending.clear();
        // A batch is on disk as a whole or not at all, as far as opening takes it in.
        let in_doubt = std::mem::take(&mut self.in_doubt);
        if opened.recovered_count == 0 {
            self.missed.splice(0..0, in_doubt);
            self.missed.truncate(MISSED_MAX);
        }
        Ok(opened)
    }

    /// Whether leaves can be recorded.
    pub(crate) const fn is_writable(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Code that says why the log is stopped.
    pub(crate) const fn why_stopped(&self) -> Option<&'static str> {
        match self.state {
            State::Open(_) => None,
            State::Stopped(code) => Some(code),
        }
    }

    /// Adds a leaf to the batch and gives the index that it will have.
    pub(crate) fn record(&mut self, draft: Draft) -> Result<u64, LogFailure> {
        let State::Open(writer) = &self.state else {
            self.keep_missed(draft);
            return Err(LogFailure::Unwritable);
        };
        if self.pending.len() >= BATCH_LEAVES_MAX {
            return Err(LogFailure::Full);
        }
        let waiting = u64::try_from(self.pending.len()).unwrap_or(u64::MAX);
        let index = writer.size().saturating_add(waiting);
        // Checked here, so that one record that does not fit cannot spoil the batch of others.
        draft.clone().numbered(index).map_err(LogFailure::Refused)?;
        self.pending.push(draft);
        Ok(index)
    }

    /// Leaves that wait.
    pub(crate) fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// Puts all waiting leaves into a signed checkpoint on disk.
    ///
    /// # Errors
    /// [`LogFailure::Unwritable`]: none of them may be acknowledged, and the log is stopped.
    pub(crate) fn commit(&mut self) -> Result<(), LogFailure> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let State::Open(writer) = &mut self.state else {
            return Err(LogFailure::Unwritable);
        };
        let batch = std::mem::take(&mut self.pending);
        let own: Vec<Draft> = batch.iter().filter(|draft| is_kept(draft)).cloned().collect();
        match writer.append(batch) {
            Ok(appended) => {
                self.signed = appended.checkpoint;
                Ok(())
            }
            Err(failure) => {
                self.state = State::Stopped(UNWRITABLE);
                self.in_doubt = own;
                let (code, cause) = (failure.code(), cause_of(&failure));
                crate::say(format_args!("audit log stopped: {code}: {cause}"));
                Err(LogFailure::Unwritable)
            }
        }
    }

    /// What our own processes did while the log was stopped; to be recorded again.
    pub(crate) fn take_missed(&mut self) -> Vec<Draft> {
        std::mem::take(&mut self.missed)
    }

    /// People are told that their act was not done; a process that died has died, recorded or not.
    fn keep_missed(&mut self, draft: Draft) {
        if is_kept(&draft) && self.missed.len() < MISSED_MAX {
            self.missed.push(draft);
        }
    }

    /// The newest signed checkpoint.
    pub(crate) const fn checkpoint(&self) -> &Checkpoint {
        &self.signed
    }

    /// Verifier key in signed-note form.
    pub(crate) fn vkey(&self) -> String {
        self.vkey.to_string()
    }
}

/// What our own processes did is recorded late rather than never. The first leaf of a log is made anew each time.
fn is_kept(draft: &Draft) -> bool {
    draft.role == Role::Device && !matches!(draft.event, Event::Genesis { .. })
}

/// The code as a text that lives as long as the program: one of those that `audit` lists.
fn code_of(failure: &OpenFailure) -> &'static str {
    let code = failure.code();
    jingui_audit::CODES
        .iter()
        .copied()
        .find(|listed| *listed == code)
        .unwrap_or(UNWRITABLE)
}

fn cause_of(failure: &AppendFailure) -> String {
    let mut text = failure.to_string();
    let mut cause = std::error::Error::source(failure);
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

impl ReadStorage for LogFolder {
    fn read(&self, path: &str, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        let file = match fs::File::open(self.0.join(path)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, limit), &mut bytes)?;
        Ok(Some(bytes))
    }
}

impl Storage for LogFolder {
    fn write_durably(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.0.join(path);
        if let Some(folder) = path.parent().filter(|folder| !folder.is_dir()) {
            make_folders(&self.0, folder)?;
        }
        durable::write(&path, bytes, durable::PUBLIC_FILE)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.0.join(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            // Temporary files of a write that was cut off begin with a dot.
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_file() && !name.starts_with('.') {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn remove_folder(&mut self, folder: &str) -> io::Result<()> {
        match fs::remove_dir_all(self.0.join(folder)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl GuardStore for GuardFile {
    fn load(&self) -> io::Result<Option<Vec<u8>>> {
        durable::read(&self.0, GUARD_BYTES_MAX)
    }

    fn store(&mut self, bytes: &[u8]) -> io::Result<()> {
        durable::write(&self.0, bytes, durable::PRIVATE_FILE)
    }
}

/// Makes the folders between `root`, which must be there, and `folder`, each name durable before the next.
fn make_folders(root: &Path, folder: &Path) -> io::Result<()> {
    if folder == root || folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        make_folders(root, parent)?;
    }
    durable::folder(folder, durable::PUBLIC_FOLDER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::identity::Identity;
    use crate::leaves::{Actor, Scribe};
    use jingui_audit::event::Event;
    use jingui_audit::leaf::BootId;

    struct Machine {
        folder: tempfile::TempDir,
        identity: Identity,
        scribe: Scribe,
    }

    impl Machine {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("audit")).unwrap();
            fs::create_dir(folder.path().join("trust")).unwrap();
            let identity = Identity::open(&folder.path().join("trust")).unwrap();
            Self {
                folder,
                identity,
                scribe: Scribe::new(Clock::start(), BootId([1; 16])),
            }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn closed(&self) -> AuditLog {
            let vkey = self.identity.signer().unwrap().vkey().clone();
            AuditLog::closed(&self.path("audit"), &self.path("trust"), vkey)
        }

        fn open(&self) -> (AuditLog, Opened) {
            let mut log = self.closed();
            let opened = log.open(self.identity.signer().unwrap()).unwrap();
            (log, opened)
        }

        fn draft(&self) -> Draft {
            self.scribe.done(Actor::device(), Event::ConsoleError {}, "")
        }
    }

    #[test]
    fn leaves_get_their_index_at_once_and_are_found_after_a_restart() {
        let machine = Machine::new();
        let (mut log, opened) = machine.open();
        assert!(opened.is_new);
        assert_eq!(log.record(machine.draft()).unwrap(), 0);
        assert_eq!(log.record(machine.draft()).unwrap(), 1);
        assert_eq!(log.checkpoint().size, 0, "nothing is signed before the commit");
        log.commit().unwrap();
        assert_eq!(log.checkpoint().size, 2);
        drop(log);
        let (mut log, opened) = machine.open();
        assert!(!opened.is_new && opened.recovered_count == 0);
        assert_eq!(log.record(machine.draft()).unwrap(), 2);
    }

    #[test]
    fn a_full_batch_takes_exactly_the_bound() {
        let machine = Machine::new();
        let (mut log, _) = machine.open();
        for _ in 0..BATCH_LEAVES_MAX {
            log.record(machine.draft()).unwrap();
        }
        assert!(matches!(log.record(machine.draft()), Err(LogFailure::Full)));
        log.commit().unwrap();
        assert_eq!(log.checkpoint().size, 256);
    }

    #[test]
    fn a_log_that_cannot_be_written_stops_and_goes_on_after_the_cause_is_gone() {
        let machine = Machine::new();
        let (mut log, _) = machine.open();
        log.record(machine.draft()).unwrap();
        log.commit().unwrap();
        // A file where the folder was: also root cannot write below it.
        fs::rename(machine.path("audit"), machine.path("away")).unwrap();
        fs::write(machine.path("audit"), b"").unwrap();
        log.record(machine.draft()).unwrap();
        assert!(matches!(log.commit(), Err(LogFailure::Unwritable)));
        assert!(!log.is_writable());
        assert!(matches!(log.record(machine.draft()), Err(LogFailure::Unwritable)));
        assert!(log.open(machine.identity.signer().unwrap()).is_err());
        assert!(!log.is_writable());
        fs::remove_file(machine.path("audit")).unwrap();
        fs::rename(machine.path("away"), machine.path("audit")).unwrap();
        log.open(machine.identity.signer().unwrap()).unwrap();
        assert!(log.is_writable());
        assert_eq!(
            log.take_missed().len(),
            2,
            "what the box itself did is recorded when the log is back"
        );
        log.record(machine.draft()).unwrap();
        log.commit().unwrap();
        assert_eq!(log.checkpoint().size, 2);
    }

    #[test]
    fn an_older_log_that_is_put_back_is_refused() {
        let machine = Machine::new();
        let (mut log, _) = machine.open();
        log.record(machine.draft()).unwrap();
        log.commit().unwrap();
        let old = fs::read(machine.path("audit/checkpoint")).unwrap();
        log.record(machine.draft()).unwrap();
        log.commit().unwrap();
        drop(log);
        fs::remove_dir_all(machine.path("audit/tile/entries/000.p/2")).ok();
        fs::remove_file(machine.path("audit/tile/entries/000.p/2")).ok();
        fs::write(machine.path("audit/checkpoint"), old).unwrap();
        let mut log = machine.closed();
        log.open(machine.identity.signer().unwrap()).unwrap_err();
        assert!(!log.is_writable());
        assert_eq!(log.why_stopped(), Some("audit.rolled-back"));
    }
}
