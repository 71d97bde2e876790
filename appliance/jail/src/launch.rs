//! Starting a process in namespaces of its own.
//!
//! The caller prepares everything (allocations, duplicates, texts) before the clone; `entry.rs` then runs between
//! clone and exec with raw system calls only, and reports the step that failed through a pipe that exec closes.
//!
//! ```text
//! caller                          new process
//! clone ────────────────────────► closes all but its own, waits
//! writes its uid and gid maps
//! one byte ─────────────────────► becomes 0, dies with its parent, takes its places, exec
//! reads: end of pipe, or step and error number
//! ```

mod entry;
mod plan;

use std::ffi::CString;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use libc::c_long;

use crate::child::Child;
use crate::namespace::{Namespace, available_namespaces, clone_flags};
use crate::sys;

use plan::{Ours, Plan};

/// Most descriptors given to a process, and one above the highest number one may get.
pub(crate) const DESCRIPTOR_NUMBER_MAX: RawFd = 255;

/// Variable by which [`launch`] tells [`crate::confine`] what was made; it is taken away there.
pub(crate) const LAUNCHED_VARIABLE: &str = "JINGUI_JAIL";

/// A process to be started.
#[derive(Debug)]
pub struct Launch {
    /// The program, opened (`O_PATH` is enough). Its folder may be out of reach for the new process; the file itself
    /// must be readable and executable for it. A native program: scripts cannot be started by descriptor.
    pub program: OwnedFd,
    /// Argument 0, by which people find it in lists of processes.
    pub name: CString,
    /// Arguments from 1 on.
    pub arguments: Vec<CString>,
    /// Whole environment, each `NAME=value`. One more is added for [`crate::confine`], which takes it away.
    pub environment: Vec<CString>,
    /// Descriptors with the number that each has in the new process, 3 to 254. A folder arrives as a mount of its
    /// own, from which `..` leads nowhere; it is used up by [`crate::confine`].
    pub descriptors: Vec<(OwnedFd, RawFd)>,
    /// Standard output; `None` for the caller's.
    pub stdout: Option<OwnedFd>,
    /// Standard error; `None` for the caller's.
    pub stderr: Option<OwnedFd>,
    /// Which user of the host it is.
    pub identity: Identity,
    /// Bounds on what it may use.
    pub limits: Limits,
    /// What to do when the machine refuses a namespace.
    pub strictness: Strictness,
}

impl Launch {
    /// A process with nothing but its program and name: no argument, variable or descriptor, all walls required.
    #[must_use]
    pub fn new(program: OwnedFd, name: CString, identity: Identity) -> Self {
        Self {
            program,
            name,
            arguments: Vec::new(),
            environment: Vec::new(),
            descriptors: Vec::new(),
            stdout: None,
            stderr: None,
            identity,
            limits: Limits::default(),
            strictness: Strictness::Require,
        }
    }
}

/// Which user of the host a process is. Inside it is user and group 0 either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// An unprivileged user and group that nothing else on the host uses. Only root can give it.
    Mapped {
        /// User id on the host, not 0.
        uid: u32,
        /// Group id on the host, not 0.
        gid: u32,
    },
    /// The caller's own user and group.
    Own,
}

impl Identity {
    /// [`Identity::Mapped`] when the caller is root, else [`Identity::Own`], the only one it can give.
    #[must_use]
    pub fn best(uid: u32, gid: u32) -> Self {
        if sys::effective_uid() == 0 {
            Self::Mapped { uid, gid }
        } else {
            Self::Own
        }
    }
}

/// Bounds of a process (setrlimit(2)). Core dumps are always off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// One above the highest descriptor number.
    pub open_files_max: u64,
    /// Threads; in force only with a user namespace, where nobody else counts.
    pub threads_max: u64,
}

impl Default for Limits {
    /// 4096 descriptors: a thousand connections with room for files. 512 threads: 256 cores and as many helpers.
    fn default() -> Self {
        Self {
            open_files_max: 4096,
            threads_max: 512,
        }
    }
}

/// What to do when the machine refuses a wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// Do not start.
    Require,
    /// Start without it: a developer's machine. [`crate::measure`] tells what is missing.
    AllowMissing,
}

/// The step between clone and exec that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs)] // The names say it; they appear in error texts only.
pub enum Step {
    CloseOthers = 1,
    AttachFolder,
    TakeIdentity,
    KeepRights,
    NewSession,
    DieWithParent,
    Limits,
    HostName,
    Descriptors,
    NoNewPrivileges,
    Signals,
    Exec,
}

impl Step {
    const ALL: [Self; 12] = [
        Self::CloseOthers,
        Self::AttachFolder,
        Self::TakeIdentity,
        Self::KeepRights,
        Self::NewSession,
        Self::DieWithParent,
        Self::Limits,
        Self::HostName,
        Self::Descriptors,
        Self::NoNewPrivileges,
        Self::Signals,
        Self::Exec,
    ];
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CloseOthers => "closing what it must not hold",
            Self::AttachFolder => "making a mount of its folder",
            Self::TakeIdentity => "becoming its user",
            Self::KeepRights => "keeping the rights to confine itself",
            Self::NewSession => "leaving the session",
            Self::DieWithParent => "binding its life to its parent's",
            Self::Limits => "setting its limits",
            Self::HostName => "setting its host name",
            Self::Descriptors => "placing its descriptors",
            Self::NoNewPrivileges => "giving up new privileges",
            Self::Signals => "resetting signals",
            Self::Exec => "executing the program",
        })
    }
}

/// Why a process was not started. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A number of a descriptor is below 3, above 254 or given twice.
    #[error("descriptor number {0} cannot be given")]
    DescriptorNumber(RawFd),
    /// A mapped identity of 0 would be no wall.
    #[error("user and group 0 of the host cannot be given to a jailed process")]
    PrivilegedIdentity,
    /// The program, a descriptor or a pipe could not be made ready.
    #[error("the start could not be prepared")]
    Prepare(#[source] io::Error),
    /// The machine refuses namespaces, and all were required.
    #[error("this machine refuses namespaces: {}", list(.refused))]
    NamespacesRefused {
        /// Which, when made together; empty when each works at the second try.
        refused: Vec<Namespace>,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The new process could not be made, for another reason than namespaces.
    #[error("no new process could be made")]
    Clone(#[source] io::Error),
    /// The identity could not be given.
    #[error("the user of the new process could not be mapped")]
    Identity(#[source] io::Error),
    /// The new process failed on its way to the program.
    #[error("the new process failed at {step}")]
    Entry {
        /// Where.
        step: Step,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl LaunchError {
    /// Stable code, one of [`crate::CODES`].
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::DescriptorNumber(_) | Self::PrivilegedIdentity => "system.jail.launch-invalid",
            Self::NamespacesRefused { .. } => "system.jail.namespaces-refused",
            Self::Prepare(_) | Self::Clone(_) | Self::Identity(_) | Self::Entry { .. } => {
                "system.jail.launch-failed"
            }
        }
    }
}

fn list(namespaces: &[Namespace]) -> String {
    namespaces
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Starts a process in new user, mount, network, pid, ipc and uts namespaces.
///
/// It is leader of a session of its own, is killed when the calling *thread* ends (so call this on a thread that
/// lives as long as the process, in the supervisor its main thread), cannot gain privileges or dump core, and holds
/// no descriptor but those of `launch`. It is not confined yet: [`crate::confine`] does the rest.
///
/// Blocks until the program is executed or has failed to be, which takes a few milliseconds. A process that
/// somebody kills on its way there is returned as a [`Child`] that has ended.
///
/// # Errors
/// Any [`LaunchError`]; nothing of the process is left then.
pub fn launch(launch: Launch) -> Result<Child, LaunchError> {
    let namespaces = match launch.strictness {
        Strictness::Require => Namespace::ALL.to_vec(),
        Strictness::AllowMissing => available_namespaces(),
    };
    let identity = launch.identity;
    let (plan, ours) = Plan::prepare(launch, &namespaces)?;
    let mut child = clone_into(&plan, &namespaces, identity)?;
    drop(plan);
    match see_it_off(&child, ours, &namespaces, identity) {
        Ok(()) => Ok(child),
        Err(error) => {
            child.kill();
            child.wait();
            Err(error)
        }
    }
}

/// Makes the process; in it, never returns.
fn clone_into(plan: &Plan, namespaces: &[Namespace], identity: Identity) -> Result<Child, LaunchError> {
    let _signals = sys::SignalsBlocked::new().map_err(LaunchError::Prepare)?;
    let _groups = match identity {
        Identity::Mapped { .. } => Some(sys::GroupsDropped::new().map_err(LaunchError::Identity)?),
        Identity::Own => None,
    };
    let flags = clone_flags(namespaces) | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd: RawFd = -1;
    // clone(2), since container runtimes answer clone3(2) with ENOSYS; this order of arguments (flags, stack, parent
    // tid, two zeros) is right on x86_64 and aarch64. SAFETY: without `CLONE_VM` this is fork(2): the child works on
    // its copy of memory and stack, calls `entry::enter` only, which keeps to raw system calls, and never returns.
    let pid = unsafe { libc::syscall(libc::SYS_clone, c_long::from(flags), 0, &raw mut pidfd, 0, 0) };
    if pid == 0 {
        entry::enter(plan);
    }
    if pid < 0 {
        let source = io::Error::last_os_error();
        let available = available_namespaces();
        let refused: Vec<_> = Namespace::ALL
            .into_iter()
            .filter(|n| !available.contains(n))
            .collect();
        return Err(match source.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOMEM) => LaunchError::Clone(source),
            _ => LaunchError::NamespacesRefused { refused, source },
        });
    }
    // SAFETY: the kernel wrote the new descriptor there, and nobody else owns it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let refused = Namespace::ALL
        .into_iter()
        .filter(|n| !namespaces.contains(n))
        .collect();
    Ok(Child::new(u32::try_from(pid).unwrap_or_default(), pidfd, refused))
}

/// Gives the waiting process its identity, lets it go, and hears whether it reached the program.
fn see_it_off(
    child: &Child,
    mut ours: Ours,
    namespaces: &[Namespace],
    identity: Identity,
) -> Result<(), LaunchError> {
    if namespaces.contains(&Namespace::User) {
        map_identity(child.pid(), identity).map_err(LaunchError::Identity)?;
    }
    // A process that died already is heard of below.
    let _ = ours.go.write_all(b"g");
    let mut report = Vec::new();
    ours.report
        .read_to_end(&mut report)
        .map_err(LaunchError::Prepare)?;
    drop(ours.go);
    match entry::read_report(&report) {
        None => Ok(()),
        Some((step, source)) => Err(LaunchError::Entry { step, source }),
    }
}

/// Writes the maps of a new user namespace: its user and group 0 are one user and group of the host.
fn map_identity(pid: u32, identity: Identity) -> io::Result<()> {
    let (uid, gid) = match identity {
        Identity::Mapped { uid, gid } => (uid, gid),
        Identity::Own => (sys::effective_uid(), sys::effective_gid()),
    };
    // Before the group map: without it an ordinary user may not write one (user_namespaces(7)).
    fs::write(format!("/proc/{pid}/setgroups"), "deny")?;
    fs::write(format!("/proc/{pid}/gid_map"), format!("0 {gid} 1"))?;
    fs::write(format!("/proc/{pid}/uid_map"), format!("0 {uid} 1"))
}
