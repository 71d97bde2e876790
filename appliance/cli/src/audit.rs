//! `jingui audit`: verify, export, prove.
//!
//! An export is recorded before it is made: the supervisor writes the `export.audit` leaf, then this tool copies the
//! files up to one fixed checkpoint, the checkpoint last, so that a copy that was cut off has none. When the log is
//! stopped nothing can be recorded; the export is made all the same and says so, since that is when it is needed
//! most. When no supervisor runs, nobody checks the auditor's proof: then there is no export (exit 4), and the
//! folder `audit/` itself can be carried away.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use jingui_audit::checkpoint::CHECKPOINT_BYTES_MAX;
use jingui_audit::storage::{CHECKPOINT_PATH, ReadStorage};
use jingui_audit::tile::{TileName, names, read_as_of};
use jingui_audit::verify::verify_with_progress;
use jingui_audit::{Checkpoint, Report, VerifierKey, proof as evidence};
use jingui_ipc::control::{Reply, Request, Role};
use serde_json::json;

use crate::control::{Control, unexpected};
use crate::failure::{Exit, Failure};
use crate::screen::{NO_FACTS, Screen};
use crate::{files, login};

const VKEY_BYTES_MAX: u64 = 4096;
const FOLDER_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// A log in a folder.
struct LogFolder(PathBuf);

impl ReadStorage for LogFolder {
    fn read(&self, path: &str, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.0.join(path)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }
}

/// `audit verify DIR --vkey VKEY [--since CHECKPOINT]`.
pub(crate) fn verify(
    screen: &Screen,
    folder: &Path,
    vkey: &str,
    since: Option<&Path>,
) -> Result<Exit, Failure> {
    let vkey = read_vkey(vkey)?;
    files::open_folder(folder)?;
    let bytes_max = u64::try_from(CHECKPOINT_BYTES_MAX).unwrap_or(u64::MAX);
    let since = since.map(|path| files::read(path, bytes_max)).transpose()?;
    let report = check(&LogFolder(folder.to_owned()), &vkey, since.as_deref())?;
    let (size, root) = (report.checkpoint.size.to_string(), root_of(&report.checkpoint));
    let json = json!({
        "verdict": "intact", "origin": report.checkpoint.origin, "size": report.checkpoint.size, "root": root,
        "since_size": report.since_size, "leaf_bytes": report.leaf_bytes,
    });
    let mut lines = vec![screen.words("cli.audit.intact", &[("size", &size), ("root", &root)])];
    if let Some(since) = report.since_size {
        lines.push(screen.words("cli.audit.continues", &[("size", since.to_string())]));
    }
    screen.answer(&json, &lines);
    Ok(Exit::Done)
}

/// `audit export --to DIR`.
pub(crate) fn export(
    screen: &Screen,
    state: &Path,
    to: &Path,
    login: Option<&Path>,
) -> Result<Exit, Failure> {
    if !files::is_empty(to)? {
        return Err(Failure::new(Exit::Refused, "system.export.not-empty").with("folder", to.display()));
    }
    let mut control = Control::connect(state)?;
    let leaf_index = match record_export(screen, &mut control, login) {
        Ok(index) => Some(index),
        Err(failure) if failure.code == "audit.unwritable" => {
            screen.remark("cli.audit.unrecorded", NO_FACTS);
            None
        }
        Err(failure) => return Err(failure),
    };
    let Reply::Status(status) = control.ask_simply(&Request::Status)? else {
        return Err(unexpected());
    };
    let vkey = parse_vkey(&status.audit.vkey)?;
    let log = LogFolder(state.join("audit"));
    let checkpoint = copy(&log, &vkey, to)?;
    // What was copied is what an auditor takes home: checked as he will check it.
    check(&LogFolder(to.to_owned()), &vkey, None)?;
    let (size, root) = (checkpoint.size.to_string(), root_of(&checkpoint));
    let json = json!({
        "to": to.display().to_string(), "size": checkpoint.size, "root": root, "leaf_index": leaf_index,
        "vkey": vkey.to_string(),
    });
    let vkey = vkey.to_string();
    let folder = to.display().to_string();
    let facts = [
        ("size", size.as_str()),
        ("folder", &folder),
        ("root", &root),
        ("vkey", &vkey),
    ];
    screen.answer(&json, &[screen.words("cli.audit.exported", &facts)]);
    Ok(Exit::Done)
}

/// `audit proof N --to FILE`.
pub(crate) fn proof(
    screen: &Screen,
    state: &Path,
    index: u64,
    to: &Path,
    log: Option<&Path>,
    vkey: Option<&str>,
) -> Result<Exit, Failure> {
    let vkey = match vkey {
        Some(vkey) => read_vkey(vkey)?,
        None => parse_vkey(&files::read_text(
            &state.join("trust/audit.vkey"),
            VKEY_BYTES_MAX,
        )?)?,
    };
    let log = LogFolder(log.map_or_else(|| state.join("audit"), Path::to_owned));
    let found = evidence::prove(&log, &vkey, index).map_err(|failure| {
        let exit = match failure.code() {
            "audit.proof.no-such-leaf" => Exit::Refused,
            "audit.unreadable" => Exit::Unavailable,
            _ => Exit::Bad,
        };
        Failure::new(exit, failure.code()).with_all(failure.facts())
    })?;
    files::write_new(to, found.proof.to_string().as_bytes(), FILE_MODE)?;
    let leaf = String::from_utf8_lossy(&found.leaf).into_owned();
    let (number, file) = (index.to_string(), to.display().to_string());
    let parsed: serde_json::Value = serde_json::from_str(&leaf).unwrap_or_default();
    let json = json!({ "index": index, "to": file, "leaf": parsed });
    let proved = screen.words("cli.audit.proved", &[("index", number.as_str()), ("file", &file)]);
    screen.answer(&json, &[proved, leaf]);
    Ok(Exit::Done)
}

fn record_export(screen: &Screen, control: &mut Control, login: Option<&Path>) -> Result<u64, Failure> {
    let reply = login::prove(screen, login, &[Role::Audit], |proofs| {
        match proofs.into_iter().next() {
            Some(proof) => control.ask_simply(&Request::ExportAudit { proof }),
            None => Err(unexpected()),
        }
    })?;
    match reply {
        Reply::Done { leaf_index } => Ok(leaf_index),
        _ => Err(unexpected()),
    }
}

/// Copies the log up to the checkpoint that is there now. It may grow meanwhile: what is copied is what that
/// checkpoint covers.
fn copy(log: &LogFolder, vkey: &VerifierKey, to: &Path) -> Result<Checkpoint, Failure> {
    let path = log.0.join(CHECKPOINT_PATH);
    let note = files::read(&path, u64::try_from(CHECKPOINT_BYTES_MAX).unwrap_or(u64::MAX))?;
    let checkpoint = Checkpoint::open(&note, vkey).map_err(|refusal| {
        let code = if refusal.is_bad_signature() {
            "audit.bad-signature"
        } else {
            "audit.malformed"
        };
        Failure::new(Exit::Bad, code).with("place", CHECKPOINT_PATH)
    })?;
    let mut folders = vec![to.to_owned()];
    files::make_folder(to, FOLDER_MODE)?;
    for name in names(checkpoint.size) {
        let target = to.join(name.to_string());
        if let Some(folder) = target.parent().filter(|folder| !folder.is_dir()) {
            files::make_folder(folder, FOLDER_MODE)?;
            folders.push(folder.to_owned());
        }
        files::write_new(&target, &read_tile(log, name)?, FILE_MODE)?;
    }
    for folder in folders.iter().rev() {
        files::sync_folder(folder).map_err(|error| files::unwritable(folder, &error))?;
    }
    files::write_new(&to.join(CHECKPOINT_PATH), &note, FILE_MODE)?;
    Ok(checkpoint)
}

fn read_tile(log: &LogFolder, name: TileName) -> Result<Vec<u8>, Failure> {
    let path = name.to_string();
    read_as_of(log, name)
        .map_err(|error| files::unreadable(&log.0.join(&path), &error))?
        .ok_or_else(|| Failure::new(Exit::Bad, "audit.missing").with("place", &path))
}

fn check(log: &LogFolder, vkey: &VerifierKey, since: Option<&[u8]>) -> Result<Report, Failure> {
    verify_with_progress(log, vkey, since, |_| ()).map_err(|failure| {
        let (exit, class) = match &failure {
            jingui_audit::verdict::VerifyFailure::Bad(verdict) => (Exit::Bad, Some(verdict.class())),
            jingui_audit::verdict::VerifyFailure::Unreadable { .. } => (Exit::Unavailable, None),
        };
        let told = Failure::new(exit, failure.code()).with_all(failure.facts());
        match class {
            Some(class) => told.with("verdict", class),
            None => told,
        }
    })
}

/// The key as text, or the file that holds it.
fn read_vkey(given: &str) -> Result<VerifierKey, Failure> {
    if given.contains('+') && !Path::new(given).exists() {
        return parse_vkey(given);
    }
    parse_vkey(&files::read_text(Path::new(given), VKEY_BYTES_MAX)?)
}

fn parse_vkey(text: &str) -> Result<VerifierKey, Failure> {
    text.trim()
        .parse()
        .map_err(|_| Failure::new(Exit::Refused, "audit.vkey.malformed"))
}

/// Second line of the checkpoint, as it is written there.
fn root_of(checkpoint: &Checkpoint) -> String {
    checkpoint
        .to_string()
        .lines()
        .nth(2)
        .unwrap_or_default()
        .to_owned()
}
