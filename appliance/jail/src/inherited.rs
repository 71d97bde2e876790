//! Descriptors that a process was started with.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Takes the descriptor `number` that this process inherited at its start.
///
/// It is told from one that the process opened itself by its close-on-exec flag: an inherited one lacks it, all that
/// Rust opens has it. The flag is set here, so a descriptor is taken once.
///
/// # Errors
/// `NotFound` when the number is not open, was taken before, or was opened by this process.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: asks for a flag; any number is allowed.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 || flags & libc::FD_CLOEXEC != 0 {
        return Err(io::ErrorKind::NotFound.into());
    }
    // SAFETY: sets a flag of an open descriptor.
    if unsafe { libc::fcntl(number, libc::F_SETFD, flags | libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, and nobody in this process owns it: it was there before `main` and, as its flag
    // showed, was not taken yet.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::{AsRawFd, IntoRawFd};

    #[test]
    fn a_descriptor_without_the_flag_is_taken_once() {
        let number = File::open("/dev/null").unwrap().into_raw_fd();
        // SAFETY: clears a flag of the descriptor just given up, as exec would leave it.
        assert_eq!(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }, 0);
        let taken = inherited(number).unwrap();
        assert_eq!(taken.as_raw_fd(), number);
        assert_eq!(inherited(number).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_the_process_opened_itself_or_is_not_open_is_not_given() {
        let own = File::open("/dev/null").unwrap();
        for number in [own.as_raw_fd(), -1, 1_000_000] {
            assert_eq!(inherited(number).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }
}
