//! The state folder: where everything lies, who may read it, and that one supervisor alone uses it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jingui_ipc::control::Private;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::supervisor::Supervisor;
use crate::{durable, identity};

const SETUP_CODE_BYTES_MAX: u64 = 256;

/// Paths below the state folder, and the lock that makes them ours until the value is dropped.
#[derive(Debug)]
pub(crate) struct StateFolder {
    root: PathBuf,
    _lock: Flock<File>,
}

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateFailure {
    /// Another supervisor runs on it.
    #[error("another supervisor uses {0}")]
    InUse(PathBuf),
    /// The file system said no.
    #[error("{0} cannot be used")]
    Unusable(PathBuf, #[source] io::Error),
}

impl StateFailure {
    /// Stable code.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::InUse(_) => "system.state.in-use",
            Self::Unusable(..) => "system.state.unwritable",
        }
    }
}

impl StateFolder {
    /// Makes what is missing, sets permissions, takes the lock.
    pub(crate) fn open(root: &Path) -> Result<Self, StateFailure> {
        let unusable = |path: &Path| {
            let path = path.to_owned();
            move |error| StateFailure::Unusable(path, error)
        };
        durable::folder(root, durable::PUBLIC_FOLDER).map_err(unusable(root))?;
        let root = root.canonicalize().map_err(unusable(root))?;
        let lock = lock(&root)?;
        let state = Self { root, _lock: lock };
        for (path, mode) in state.folders() {
            durable::folder(&path, mode).map_err(unusable(&path))?;
        }
        Ok(state)
    }

    fn folders(&self) -> [(PathBuf, u32); 9] {
        [
            (self.audit(), durable::PUBLIC_FOLDER),
            (self.trust(), durable::PRIVATE_FOLDER),
            (self.vendors(), durable::PRIVATE_FOLDER),
            (self.people(), durable::PRIVATE_FOLDER),
            (self.models(), durable::PUBLIC_FOLDER),
            (self.incoming(), durable::PRIVATE_FOLDER),
            (self.gateway(), durable::PRIVATE_FOLDER),
            (self.chunks(), durable::PRIVATE_FOLDER),
            (self.cache(), durable::PRIVATE_FOLDER),
        ]
    }

    /// The folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Bundles of new images while they are applied.
    pub(crate) fn updates(&self) -> PathBuf {
        self.root.join("update")
    }

    /// The audit log in its public layout.
    pub(crate) fn audit(&self) -> PathBuf {
        self.root.join("audit")
    }

    /// Keys, serial, last signed tree.
    pub(crate) fn trust(&self) -> PathBuf {
        self.root.join("trust")
    }

    /// Public keys of the vendors whose models are accepted.
    pub(crate) fn vendors(&self) -> PathBuf {
        self.root.join("trust/vendors")
    }

    /// Accounts of the three admins.
    pub(crate) fn people(&self) -> PathBuf {
        self.root.join("people")
    }

    /// The model store.
    pub(crate) fn models(&self) -> PathBuf {
        self.root.join("models")
    }

    /// Models that are being copied. Empty whenever no import runs.
    pub(crate) fn incoming(&self) -> PathBuf {
        self.root.join("models/incoming")
    }

    /// The gateway's own folder.
    pub(crate) fn gateway(&self) -> PathBuf {
        self.root.join("gateway")
    }

    /// Chunk digests of the weights in the store.
    pub(crate) fn chunks(&self) -> PathBuf {
        self.root.join("trust/chunks")
    }

    /// Disk tiers of the engines' prefix caches. Worth nothing after the supervisor that made them.
    pub(crate) fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Where people's tools reach us.
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.root.join(jingui_ipc::control::SOCKET_NAME)
    }

    /// The port on which the gateway is reached, for scripts that asked for a free one.
    pub(crate) fn port(&self) -> PathBuf {
        self.root.join("port")
    }

    /// Writes what people and scripts look for: the port while the box runs, the device CA, the verifier key of the
    /// audit log. A full disk is no reason not to start: the box then comes up and says that its log is stopped.
    pub(crate) fn publish(&self, port: u16, ca_pem: &str, vkey: &str) {
        let files = [
            (self.port(), format!("{port}\n")),
            (self.root.join("ca.pem"), ca_pem.to_owned()),
            (self.trust().join("audit.vkey"), format!("{vkey}\n")),
        ];
        for (path, text) in files {
            if let Err(error) = durable::write_if_changed(&path, text.as_bytes(), durable::PUBLIC_FILE) {
                crate::say(format_args!("{} could not be written: {error}", path.display()));
            }
        }
    }

    /// The ceremony code while the ceremony is still to be done: made at the first start, shown on each start.
    pub(crate) fn setup_code_for(&self, is_set_up: bool) -> io::Result<Option<Private>> {
        let path = self.setup_code();
        if is_set_up {
            durable::remove(&path)?;
            return Ok(None);
        }
        let code = match durable::read(&path, SETUP_CODE_BYTES_MAX)? {
            Some(bytes) => String::from_utf8_lossy(&bytes).trim().to_owned(),
            None => identity::make_setup_code()?,
        };
        durable::write_if_changed(&path, format!("{code}\n").as_bytes(), durable::PRIVATE_FILE)?;
        println!("setup code: {code}");
        Ok(Some(Private(code)))
    }

    /// There while a supervisor runs, and after one that did not stop in order.
    pub(crate) fn running(&self) -> PathBuf {
        self.root.join("running")
    }

    /// Marks that a supervisor runs. `true` when the one before did not stop in order: a crash, or a pulled plug.
    pub(crate) fn mark_running(&self) -> io::Result<bool> {
        let was_unclean = self.running().exists();
        if !was_unclean {
            durable::write(&self.running(), b"", durable::PRIVATE_FILE)?;
        }
        Ok(was_unclean)
    }

    fn setup_code(&self) -> PathBuf {
        self.root.join("setup-code")
    }
}

impl Supervisor {
    /// The ceremony was done: its code is worth nothing any more.
    pub(crate) fn forget_setup_code(&mut self) {
        self.setup_code = None;
        if let Err(error) = durable::remove(&self.state.setup_code()) {
            // It opens nothing any more, and the next start removes it.
            crate::say(format_args!("the setup code stays behind: {error}"));
        }
    }
}

fn lock(root: &Path) -> Result<Flock<File>, StateFailure> {
    let path = root.join(".lock");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(durable::PRIVATE_FILE)
        .open(&path)
        .map_err(|error| StateFailure::Unusable(path.clone(), error))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => StateFailure::InUse(root.to_owned()),
        other => StateFailure::Unusable(path, other.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn two_supervisors_never_share_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateFolder::open(folder.path()).unwrap();
        let second = StateFolder::open(folder.path()).unwrap_err();
        assert!(matches!(second, StateFailure::InUse(_)), "{second:?}");
        drop(first);
        StateFolder::open(folder.path()).unwrap();
    }

    #[test]
    fn a_start_after_one_that_did_not_stop_in_order_is_known_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        assert!(!state.mark_running().unwrap());
        assert!(state.mark_running().unwrap(), "it was not removed");
        durable::remove(&state.running()).unwrap();
        assert!(!state.mark_running().unwrap());
    }

    #[test]
    fn secrets_lie_in_folders_that_only_the_supervisor_may_enter() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        for path in [
            state.trust(),
            state.vendors(),
            state.people(),
            state.incoming(),
            state.gateway(),
            state.chunks(),
            state.cache(),
        ] {
            assert_eq!(
                std::fs::metadata(&path).unwrap().permissions().mode() & 0o077,
                0,
                "{}",
                path.display()
            );
        }
    }
}
