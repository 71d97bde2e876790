//! How large a terminal is.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

use crate::sys;

/// Columns and rows of the terminal behind a descriptor; `None` when it does not know, as serial lines do not.
///
/// # Errors
/// When it is no terminal.
pub fn terminal_size(terminal: impl AsFd) -> io::Result<Option<(u16, u16)>> {
    let mut size = MaybeUninit::<libc::winsize>::zeroed();
    let number = terminal.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed for the call, and `size` has room for what this request writes.
    sys::check(unsafe { libc::ioctl(number, libc::TIOCGWINSZ, size.as_mut_ptr()) })?;
    // SAFETY: zeroed, which is a value of the type, or written by the call.
    let size = unsafe { size.assume_init() };
    Ok((size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_terminal_has_no_size() {
        assert!(terminal_size(std::fs::File::open("/dev/null").unwrap()).is_err());
    }
}
