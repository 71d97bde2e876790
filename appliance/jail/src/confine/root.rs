//! An empty root: a temporary file system without files, sealed read-only, in place of the host's tree.
//!
//! Only in a mount namespace of the process's own, since the host's mounts are taken down in it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use libc::c_ulong;

use crate::confine::ConfineError;
use crate::sys;

/// Where the gateway finds its folder.
pub(super) const STATE_PATH: &str = "/state";

/// Where the new root is mounted until it becomes the root. Any folder that exists everywhere would do.
const STAGE: &std::ffi::CStr = c"/tmp";

/// A root holds at most one folder; it is sealed read-only after that was made.
const OPTIONS: &std::ffi::CStr = c"mode=0755,size=64k,nr_inodes=8";

const SEALED: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;

/// Replaces the root. `state` is a detached mount, which becomes [`STATE_PATH`] and is closed; on an error it is
/// still there, and some mounts of this namespace may be changed.
pub(super) fn replace(has_own_mounts: bool, state: &mut Option<OwnedFd>) -> Result<(), ConfineError> {
    let step = |step: &'static str| move |source: io::Error| ConfineError::Root { step, source };
    if !has_own_mounts {
        return Err(step("asking for a mount namespace")(
            io::ErrorKind::PermissionDenied.into(),
        ));
    }
    make_mounts_private().map_err(step("making mounts private"))?;
    let flags: c_ulong = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    sys::mount(Some(c"jail"), STAGE, Some(c"tmpfs"), flags, Some(OPTIONS))
        .map_err(step("mounting the root"))?;
    std::env::set_current_dir(stage()).map_err(step("entering the root"))?;
    if let Some(tree) = state.as_ref() {
        fs::create_dir("state").map_err(step("making the folder's place"))?;
        sys::attach_mount(tree.as_fd(), c"state").map_err(step("attaching the folder"))?;
        sys::add_mount_attributes(c"state", SEALED).map_err(step("sealing the folder"))?;
    }
    sys::pivot_root_here().map_err(step("changing the root"))?;
    sys::detach_mount(c".").map_err(step("detaching the host's root"))?;
    std::env::set_current_dir("/").map_err(step("entering the new root"))?;
    if state.is_some() {
        // SQLite puts temporary files into the current folder when it finds no other.
        std::env::set_current_dir(STATE_PATH).map_err(step("entering the folder"))?;
    }
    sys::add_mount_attributes(c"/", SEALED | libc::MOUNT_ATTR_RDONLY).map_err(step("sealing the root"))?;
    *state = None;
    Ok(())
}

/// Before anything is mounted, so that nothing shows in the host.
fn make_mounts_private() -> io::Result<()> {
    let make = || sys::mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE, None);
    match make() {
        // The root is a folder that somebody chose by chroot(2), and no mount: nothing can be said of "its" mounts,
        // and it could not be changed below. The namespace's own root is one.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            sys::enter_mount_namespace(File::open("/proc/self/ns/mnt")?.as_fd())?;
            make()
        }
        other => other,
    }
}

/// Goes into the gateway's folder on a machine that gives no root, and returns its path.
///
/// With the right to do so the folder becomes the root: the jailed user may not be able to walk to it.
pub(super) fn enter(folder: &OwnedFd) -> io::Result<PathBuf> {
    sys::change_folder(folder.as_fd())?;
    if sys::make_current_folder_the_root().is_ok() {
        return Ok(PathBuf::from("/"));
    }
    fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd()))
}

fn stage() -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(STAGE.to_bytes()))
}
