//! Checking a bundle, and copying it into private space, on a thread of its own.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use jingui_audit::event::Event as LeafEvent;
use jingui_audit::leaf::Draft;
use jingui_ipc::control::Fault;
use jingui_pack::FolderSink;
use jingui_pack::update::{Fitting, Machine, Offered, UpdateRefusal, Verified};
use jingui_trust::image_key::ImagePublicKey;
use nix::sys::statvfs::statvfs;

use super::bundle_fault;
use crate::acts::unavailable;
use crate::event::{ActId, Event};
use crate::leaves::{Actor, Scribe};
use crate::{durable, identity};

/// Most keys of the image that are looked at.
const KEYS_MAX: usize = 16;
const KEY_BYTES_MAX: u64 = 4096;
/// Room that an update leaves for the audit log and the accounts.
const RESERVE_BYTES: u64 = 256 << 20;
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// What a check or a copy needs.
#[derive(Debug)]
pub(crate) struct Staging {
    /// The folder, as opened by the person's tool.
    pub(super) folder: OwnedFd,
    /// What the bundle has to fit.
    pub(super) machine: Machine,
    /// Public keys that sign bundles.
    pub(super) keys: PathBuf,
    /// Where the private copy is made.
    pub(super) incoming: PathBuf,
}

/// A bundle whose private copy is whole, as signed and durable. The copy goes when the value does.
#[derive(Debug)]
pub(crate) struct Staged {
    copy: PathBuf,
    verified: Verified,
}

/// Why a bundle is not applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StageRefusal {
    /// It is bad, or cannot be read.
    #[error(transparent)]
    Bundle(#[from] UpdateRefusal),
    /// The keys of the image cannot be read.
    #[error("the keys of the image cannot be read")]
    Keys(#[source] io::Error),
    /// The state has no room for the copy.
    #[error("{needed} bytes are needed and {free} are free")]
    NoRoom {
        /// Bytes of the bundle.
        needed: u64,
        /// Bytes that may be used.
        free: u64,
    },
    /// The state cannot be written.
    #[error("the state cannot be written")]
    State(#[source] io::Error),
    /// Our own fault.
    #[error("the check of the bundle panicked")]
    Bug,
}

impl Staging {
    /// Checks the bundle; nothing is kept.
    pub(super) fn check(self, act: ActId, events: &SyncSender<Event>) -> Result<Verified, StageRefusal> {
        let fitting = self.fit()?;
        Ok(fitting.verify(&mut progress(act, events))?)
    }

    /// Checks the bundle while it is copied; nothing stays when it is refused.
    pub(super) fn copy(self, act: ActId, events: &SyncSender<Event>) -> Result<Staged, StageRefusal> {
        let fitting = self.fit()?;
        check_room(&self.incoming, fitting.manifest().byte_count())?;
        let name = identity::random_hex::<8>().map_err(StageRefusal::State)?;
        let copy = self.incoming.join(name);
        DirBuilder::new()
            .mode(durable::PRIVATE_FOLDER)
            .create(&copy)
            .map_err(StageRefusal::State)?;
        let folder = File::open(&copy).map_err(StageRefusal::State)?;
        let mut sink = FolderSink::new(folder.as_fd()).map_err(StageRefusal::State)?;
        let verified = fitting.copy(&mut sink, &mut progress(act, events));
        match verified {
            Ok(verified) => Ok(Staged { copy, verified }),
            Err(refusal) => {
                // What stays behind goes at the next start.
                let _ = fs::remove_dir_all(&copy);
                Err(refusal.into())
            }
        }
    }

    fn fit(&self) -> Result<Fitting, StageRefusal> {
        let keys = read_keys(&self.keys).map_err(StageRefusal::Keys)?;
        let offered = Offered::open(self.folder.as_fd())?;
        Ok(offered.authenticate(&keys)?.fit(&self.machine)?)
    }
}

impl Staged {
    /// What it is.
    pub(super) const fn verified(&self) -> &Verified {
        &self.verified
    }

    /// The folder of the copy.
    pub(super) fn folder(&self) -> io::Result<File> {
        File::open(&self.copy)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // What stays behind goes at the next start.
        let _ = fs::remove_dir_all(&self.copy);
    }
}

impl StageRefusal {
    /// Stable code.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::Bundle(refusal) => refusal.code(),
            Self::Keys(_) => "update.keys.unreadable",
            Self::NoRoom { .. } => "update.no-room",
            Self::State(_) => "system.state.unwritable",
            Self::Bug => "system.bug",
        }
    }

    /// What the person is told.
    pub(super) fn fault(&self) -> Fault {
        match self {
            Self::Bundle(refusal) => bundle_fault(refusal),
            Self::NoRoom { needed, free } => Fault {
                facts: vec![
                    ("needed".to_owned(), needed.to_string()),
                    ("free".to_owned(), free.to_string()),
                ],
                ..unavailable(self.code())
            },
            Self::Keys(_) | Self::State(_) | Self::Bug => unavailable(self.code()),
        }
    }

    /// The leaf of the refused bundle.
    pub(super) fn draft(&self, scribe: &Scribe, actor: Actor, event: LeafEvent) -> Draft {
        match self {
            Self::Bundle(refusal) if !refusal.is_failure() => scribe.denied(actor, event, "", self.code()),
            _ => scribe.failed(actor, event, "", self.code()),
        }
    }
}

/// Public keys of the image, one in each `*.pem`.
fn read_keys(folder: &Path) -> io::Result<Vec<ImagePublicKey>> {
    let mut keys = Vec::new();
    for entry in fs::read_dir(folder)?.take(KEYS_MAX) {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "pem") {
            continue;
        }
        let bytes = durable::read(&path, KEY_BYTES_MAX)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let key = ImagePublicKey::from_pem(&text);
        keys.push(key.map_err(|refusal| io::Error::new(io::ErrorKind::InvalidData, refusal))?);
    }
    Ok(keys)
}

fn check_room(incoming: &Path, needed: u64) -> Result<(), StageRefusal> {
    let volume = statvfs(incoming).map_err(|errno| StageRefusal::State(errno.into()))?;
    let free = volume
        .blocks_available()
        .saturating_mul(volume.fragment_size())
        .saturating_sub(RESERVE_BYTES);
    if needed > free {
        Err(StageRefusal::NoRoom { needed, free })
    } else {
        Ok(())
    }
}

/// Makes the folder of private copies, empty.
pub(super) fn empty(incoming: &Path) -> io::Result<()> {
    match fs::remove_dir_all(incoming) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    durable::folder(incoming, durable::PRIVATE_FOLDER)
}

/// Tells the loop now and then, and at the end.
fn progress(act: ActId, events: &SyncSender<Event>) -> impl FnMut(u64, u64) {
    let events = events.clone();
    let mut last: Option<Instant> = None;
    move |done, total| {
        let is_due = last.is_none_or(|last| last.elapsed() >= PROGRESS_EVERY) || done == total;
        if is_due {
            last = Some(Instant::now());
            // Nobody takes it when the box is stopping; the work then ends with it.
            let _ = events.send(Event::UpdateProgress(act, done, total));
        }
    }
}
