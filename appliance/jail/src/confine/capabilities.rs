//! Giving up capabilities (capabilities(7)), and the ways to get them back.

use std::io;

use libc::c_ulong;

use crate::launch::Strictness;
use crate::sys;

/// Highest number that the two words of capset(2) can hold.
const CAPABILITY_MAX: c_ulong = 63;

/// User 0 is nobody special, a change of user changes nothing, ambient capabilities cannot be raised; each with its
/// lock, and the lock on keeping capabilities (`SECBIT_*` of linux/securebits.h).
const SECURE_BITS: c_ulong = 0b1110_1111;

/// Empties all five sets of the calling thread.
///
/// Without a user namespace an ordinary user has no capability from the start and may not empty the bounding set,
/// which is no way to get one either once new privileges are forbidden.
pub(super) fn drop_all(strictness: Strictness) -> io::Result<()> {
    let emptied = empty_bounding_set().and_then(|()| {
        sys::control(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as c_ulong, 0)?;
        sys::control(libc::PR_SET_SECUREBITS, SECURE_BITS, 0).map(drop)
    });
    match (emptied, strictness) {
        (Err(error), Strictness::Require) => return Err(error),
        (Err(_), Strictness::AllowMissing) | (Ok(()), _) => {}
    }
    sys::clear_capabilities()
}

fn empty_bounding_set() -> io::Result<()> {
    for capability in 0..=CAPABILITY_MAX {
        match sys::control(libc::PR_CAPBSET_DROP, capability, 0) {
            Ok(_) => {}
            // One past the last that this kernel knows.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && capability > 0 => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
