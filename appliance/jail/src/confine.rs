//! What a process does to itself first thing in `main`, while it still is harmless: it gives up files, capabilities
//! and system calls. Nothing of it can be taken back.
//!
//! Order matters: mounting needs capabilities, landlock and seccomp need a process that cannot gain privileges, and
//! the filter comes last since it forbids all the rest.

mod capabilities;
mod files;
mod root;
pub(crate) mod seccomp;

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::inherited;
use crate::launch::{LAUNCHED_VARIABLE, Strictness};
use crate::namespace::Namespace;
use crate::sys;

/// Which process this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Serves accepted connections and keeps its tables in a folder of its own.
    Gateway {
        /// Descriptor of that folder, as given to [`crate::launch`]. It is used up.
        state_fd: RawFd,
    },
    /// Computes. No file and no socket but those it is handed.
    Engine,
}

/// What stands after [`confine`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    /// Landlock ABI that is in force; 0 for none. The other walls are measured from outside.
    pub landlock_abi: u32,
    /// The gateway's folder, which is its current folder too: `/state`, or another path on a machine that gave no
    /// root of its own.
    pub state: Option<PathBuf>,
    /// Why the process has no root of its own; `None` when it has one. Only on machines that refuse it.
    pub root_refused: Option<String>,
}

/// Why a process could not confine itself. It must end; some walls may stand already.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The process was not started by [`crate::launch`]: it would take down the mounts of the host.
    #[error("this program runs only under its supervisor")]
    NotLaunched,
    /// Walls built now would not hold for the threads that exist already.
    #[error("a process with more than one thread cannot be confined")]
    Threads(#[source] io::Error),
    /// The gateway's folder was not given, or cannot be entered.
    #[error("the folder of its own cannot be entered")]
    Folder(#[source] io::Error),
    /// The root could not be made.
    #[error("the root of its own failed at {step}")]
    Root {
        /// The step that failed.
        step: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Capabilities could not be given up.
    #[error("capabilities could not be given up")]
    Capabilities(#[source] io::Error),
    /// The process could not be barred from dumps or new privileges.
    #[error("dumps or new privileges could not be forbidden")]
    Control(#[source] io::Error),
    /// The kernel has no landlock.
    #[error("this kernel has no landlock")]
    LandlockMissing,
    /// The kernel refused the landlock rules.
    #[error("landlock was refused")]
    Landlock(#[source] landlock::RulesetError),
    /// The kernel refused the filter of system calls.
    #[error("the filter of system calls was refused")]
    Filter(#[source] seccompiler::Error),
}

impl ConfineError {
    /// Stable code, one of [`crate::CODES`].
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::LandlockMissing => "system.jail.landlock-missing",
            _ => "system.jail.confine-failed",
        }
    }
}

/// Confines the calling process for good, as its profile says.
///
/// Call it first thing in `main`, before any thread, with a process that [`crate::launch`] started. Afterwards the
/// process has an empty read-only root (the gateway: its folder as `/state`, in which it is), no capability, no core
/// dump, and only the system calls of `seccomp/*.json`. It cannot open what it did not hold, so nothing can be loaded
/// later: no time zone, no locale, no shared library. Executable memory cannot be made.
///
/// # Errors
/// Any [`ConfineError`]; the process must end then.
pub fn confine(profile: Profile) -> Result<Confinement, ConfineError> {
    sys::require_one_thread().map_err(ConfineError::Threads)?;
    let launched = Launched::take().ok_or(ConfineError::NotLaunched)?;
    name_process();
    let mut state_fd = match profile {
        Profile::Gateway { state_fd } => Some(inherited(state_fd).map_err(ConfineError::Folder)?),
        Profile::Engine => None,
    };
    let root_refused = launched.allow(root::replace(launched.has(Namespace::Mount), &mut state_fd))?;
    let state = match (profile, &state_fd) {
        (Profile::Engine, _) => None,
        (Profile::Gateway { .. }, None) => Some(PathBuf::from(root::STATE_PATH)),
        (Profile::Gateway { .. }, Some(folder)) => Some(root::enter(folder).map_err(ConfineError::Folder)?),
    };
    capabilities::drop_all(launched.strictness).map_err(ConfineError::Capabilities)?;
    forbid_dumps_and_privileges().map_err(ConfineError::Control)?;
    let landlock_abi = files::restrict(state.as_deref())?;
    if landlock_abi == 0 && launched.strictness == Strictness::Require {
        return Err(ConfineError::LandlockMissing);
    }
    seccomp::install(profile).map_err(ConfineError::Filter)?;
    Ok(Confinement {
        landlock_abi,
        state,
        root_refused,
    })
}

/// Takes every file from a process that systemd started behind its own walls, for good: what is open stays open.
///
/// For the local screen, which needs its terminal and a socket. Call it before any thread. Returns the landlock ABI that
/// is in force, 0 when the kernel has none: then the unit's walls stand alone.
///
/// # Errors
/// When the process has threads already, or the kernel refuses.
pub fn shut_in() -> Result<u32, ConfineError> {
    sys::require_one_thread().map_err(ConfineError::Threads)?;
    forbid_dumps_and_privileges().map_err(ConfineError::Control)?;
    files::restrict(None)
}

/// What [`crate::launch`] told this process.
struct Launched {
    strictness: Strictness,
    namespaces: Vec<Namespace>,
}

impl Launched {
    /// Reads the variable and takes it out of the environment.
    fn take() -> Option<Self> {
        let told = std::env::var_os(LAUNCHED_VARIABLE)?;
        // SAFETY: the process has one thread (checked by the only caller), so nobody reads the environment now.
        unsafe { std::env::remove_var(LAUNCHED_VARIABLE) };
        Self::parse(&told)
    }

    fn parse(told: &OsString) -> Option<Self> {
        let mut words = told.to_str()?.split(' ');
        let first = words.next()?;
        let strictness = [Strictness::Require, Strictness::AllowMissing]
            .into_iter()
            .find(|s| s.word() == first)?;
        let namespaces = words
            .map(|word| Namespace::ALL.into_iter().find(|n| n.to_string() == word))
            .collect::<Option<Vec<_>>>()?;
        Some(Self {
            strictness,
            namespaces,
        })
    }

    fn has(&self, namespace: Namespace) -> bool {
        self.namespaces.contains(&namespace)
    }

    /// Where walls may be missing, a failure becomes its text.
    fn allow(&self, result: Result<(), ConfineError>) -> Result<Option<String>, ConfineError> {
        match (result, self.strictness) {
            (Ok(()), _) => Ok(None),
            (Err(ConfineError::Root { step, source }), Strictness::AllowMissing) => {
                Ok(Some(format!("{step}: {source}")))
            }
            (Err(error), _) => Err(error),
        }
    }
}

/// Started by descriptor, the process would appear as a number in lists.
fn name_process() {
    let program = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&program)
        .file_name()
        .unwrap_or_default()
        .as_bytes()
        .to_vec();
    if let Ok(name) = CString::new(OsString::from_vec(name).into_vec()) {
        // Only a help for people: nothing depends on it.
        let _ = sys::set_thread_name(&name);
    }
}

fn forbid_dumps_and_privileges() -> io::Result<()> {
    // Also against dumps that are piped to a program, which ignore the limit of 0 (core(5)), and against tracing by
    // other processes of the same user.
    sys::control(libc::PR_SET_DUMPABLE, 0, 0)?;
    sys::control(libc::PR_SET_NO_NEW_PRIVS, 1, 0)?;
    assert_eq!(
        sys::control(libc::PR_GET_DUMPABLE, 0, 0)?,
        0,
        "the kernel said it is not dumpable"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_not_launched_is_refused() {
        // The test process has threads, which is refused before anything else is looked at.
        assert!(matches!(
            confine(Profile::Engine),
            Err(ConfineError::Threads(_) | ConfineError::NotLaunched)
        ));
    }

    #[test]
    fn only_the_launcher_s_own_words_are_understood() {
        let parse = |told: &str| Launched::parse(&OsString::from(told));
        let all = parse("require user-namespace mount-namespace").unwrap();
        assert!(all.has(Namespace::User) && all.has(Namespace::Mount) && !all.has(Namespace::Pid));
        assert_eq!(
            parse("allow-missing").unwrap().strictness,
            Strictness::AllowMissing
        );
        for wrong in ["", "Require", "require ", "require time-namespace"] {
            assert!(parse(wrong).is_none(), "{wrong:?}");
        }
    }
}
