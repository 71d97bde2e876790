//! The six namespaces that every jailed process gets of its own (namespaces(7)).

use std::fmt;

use libc::c_int;

use crate::sys;

/// A kind of namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Namespace {
    /// Its user 0 is an unprivileged user of the host.
    User,
    /// No interface but a loopback that is down.
    Network,
    /// Its own tree of files.
    Mount,
    /// Sees no process but itself, as process 1.
    Pid,
    /// No shared memory or queue of the host.
    Ipc,
    /// Does not see the host's name.
    Uts,
}

impl Namespace {
    /// All of them; the user namespace first, since it gives the right to make the others.
    pub const ALL: [Self; 6] = [
        Self::User,
        Self::Mount,
        Self::Network,
        Self::Pid,
        Self::Ipc,
        Self::Uts,
    ];

    /// Its file name in `/proc/<pid>/ns/`.
    pub(crate) const fn file_name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Network => "net",
            Self::Mount => "mnt",
            Self::Pid => "pid",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
        }
    }

    const fn flag(self) -> c_int {
        match self {
            Self::User => libc::CLONE_NEWUSER,
            Self::Network => libc::CLONE_NEWNET,
            Self::Mount => libc::CLONE_NEWNS,
            Self::Pid => libc::CLONE_NEWPID,
            Self::Ipc => libc::CLONE_NEWIPC,
            Self::Uts => libc::CLONE_NEWUTS,
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user-namespace",
            Self::Network => "network-namespace",
            Self::Mount => "mount-namespace",
            Self::Pid => "pid-namespace",
            Self::Ipc => "ipc-namespace",
            Self::Uts => "uts-namespace",
        })
    }
}

/// The largest set of namespaces that this machine lets the caller make together, found by making them.
///
/// Starts up to eight processes that end at once. Empty when the kernel, a container or a limit refuses all.
#[must_use]
pub fn available_namespaces() -> Vec<Namespace> {
    if can_make(&Namespace::ALL) {
        return Namespace::ALL.to_vec();
    }
    let mut chosen = Vec::new();
    for namespace in Namespace::ALL {
        chosen.push(namespace);
        if !can_make(&chosen) {
            chosen.pop();
        }
    }
    chosen
}

/// Flags for clone(2).
pub(crate) fn clone_flags(namespaces: &[Namespace]) -> c_int {
    namespaces
        .iter()
        .fold(0, |flags, namespace| flags | namespace.flag())
}

fn can_make(namespaces: &[Namespace]) -> bool {
    sys::can_clone(clone_flags(namespaces))
}
