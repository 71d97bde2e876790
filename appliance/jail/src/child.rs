//! A process that [`crate::launch`] started, held by its pidfd: the number cannot come to mean another process.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::namespace::Namespace;
use crate::sys;

/// A started process. Dropping it kills the process and waits for its end, so that nobody is left behind.
#[derive(Debug)]
pub struct Child {
    pid: u32,
    pidfd: OwnedFd,
    refused: Vec<Namespace>,
    ended: Option<ExitReason>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// It exited with that code.
    Exited(i32),
    /// That signal ended it.
    Signalled(i32),
    /// Somebody else reaped it, so nobody knows (the caller ignores `SIGCHLD`, or waited for any child).
    Unknown,
}

impl ExitReason {
    /// Whether the seccomp filter ended it: it tried what only a captured process tries.
    #[must_use]
    pub const fn is_forbidden_call(self) -> bool {
        matches!(self, Self::Signalled(libc::SIGSYS))
    }
}

impl Child {
    pub(crate) fn new(pid: u32, pidfd: OwnedFd, refused: Vec<Namespace>) -> Self {
        Self {
            pid,
            pidfd,
            refused,
            ended: None,
        }
    }

    /// Process id in the caller's namespace.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Becomes readable when the process has ended; for poll(2).
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Namespaces that the machine refused. Empty unless [`crate::Strictness::AllowMissing`] was asked for.
    #[must_use]
    pub fn refused_namespaces(&self) -> &[Namespace] {
        &self.refused
    }

    /// Ends the process now, and every thread of it. Does nothing when it has ended.
    pub fn kill(&self) {
        // The only failure with an own, unreaped child and a valid signal is that it is gone.
        let _ = sys::signal(self.pidfd.as_fd(), libc::SIGKILL);
    }

    /// Waits until the process has ended.
    pub fn wait(&mut self) -> ExitReason {
        if let Some(reason) = self.ended {
            return reason;
        }
        let reason = sys::reap(self.pidfd.as_fd(), true).map_or(ExitReason::Unknown, reason_of);
        self.ended = Some(reason);
        reason
    }

    /// How the process ended, or `None` while it lives. Does not block.
    pub fn try_wait(&mut self) -> Option<ExitReason> {
        if self.ended.is_none() {
            self.ended = match sys::reap(self.pidfd.as_fd(), false) {
                Ok(None) => None,
                Ok(some) => Some(reason_of(some)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
                Err(_) => Some(ExitReason::Unknown),
            };
        }
        self.ended
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.try_wait().is_none() {
            self.kill();
            self.wait();
        }
    }
}

fn reason_of(end: Option<(i32, i32)>) -> ExitReason {
    match end {
        Some((libc::CLD_EXITED, code)) => ExitReason::Exited(code),
        Some((libc::CLD_KILLED | libc::CLD_DUMPED, signal)) => ExitReason::Signalled(signal),
        _ => ExitReason::Unknown,
    }
}
