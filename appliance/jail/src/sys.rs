//! System calls that the standard library does not offer, each behind a safe function.
//!
//! What runs between clone and exec is in `launch/entry.rs` instead, since other rules hold there.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use libc::{c_int, c_long, c_uint, c_ulong};

/// Version 3 of the header of capset(2): two words of 32 capabilities.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Turns the −1 of the C library into its error.
pub(crate) fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// As [`check`] for `syscall`.
pub(crate) fn check_long(result: c_long) -> io::Result<c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// A duplicate at the lowest free number from `lowest` on, closed on exec.
pub(crate) fn duplicate_from(fd: BorrowedFd<'_>, lowest: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: asks for a new descriptor; no memory is passed.
    let raw = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) })?;
    // SAFETY: `raw` was just made and is owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// A pipe, both ends closed on exec: (reader, writer).
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: `ends` has room for the two numbers the call writes.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    let [reader, writer] = ends;
    // SAFETY: just made, owned by nobody else.
    let reader = unsafe { OwnedFd::from_raw_fd(reader) };
    // SAFETY: just made, owned by nobody else.
    let writer = unsafe { OwnedFd::from_raw_fd(writer) };
    Ok((reader, writer))
}

/// What kind of file a descriptor is, and which: (mode, device, inode).
pub(crate) fn file_identity(fd: BorrowedFd<'_>) -> io::Result<(libc::mode_t, libc::dev_t, libc::ino_t)> {
    let mut facts = std::mem::MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: `facts` has room for one `stat`.
    check(unsafe { libc::fstat(fd.as_raw_fd(), facts.as_mut_ptr()) })?;
    // SAFETY: zeroed is a value of this struct of integers, and the call has filled it.
    let facts = unsafe { facts.assume_init() };
    Ok((facts.st_mode, facts.st_dev, facts.st_ino))
}

/// User id in force.
pub(crate) fn effective_uid() -> u32 {
    // SAFETY: always succeeds, no memory is passed.
    unsafe { libc::geteuid() }
}

/// Group id in force.
pub(crate) fn effective_gid() -> u32 {
    // SAFETY: always succeeds, no memory is passed.
    unsafe { libc::getegid() }
}

/// Whether a process with these namespaces can be made. It is made, ends at once and is reaped.
pub(crate) fn can_clone(namespace_flags: c_int) -> bool {
    // SAFETY: without `CLONE_VM` this is fork(2): the child gets a copy of all memory and continues on its copy of
    // this stack; it makes one raw system call and ends.
    let pid = unsafe { libc::syscall(libc::SYS_clone, c_long::from(namespace_flags), 0, 0, 0, 0) };
    if pid == 0 {
        // SAFETY: ends the child at once; no destructor or exit handler of the copied memory runs.
        unsafe { libc::_exit(0) };
    }
    let Ok(pid) = libc::pid_t::try_from(pid) else {
        return false;
    };
    if pid < 0 {
        return false;
    }
    let mut status = 0;
    loop {
        // SAFETY: `status` has room for the one integer; `__WALL` since the child has no exit signal.
        let reaped = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
        if reaped == pid || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return true;
        }
    }
}

/// prctl(2) of a setting that takes plain numbers.
pub(crate) fn control(option: c_int, first: c_ulong, second: c_ulong) -> io::Result<c_int> {
    // SAFETY: only used with options whose arguments are numbers; the unused ones are zero as the kernel demands.
    check(unsafe { libc::prctl(option, first, second, 0 as c_ulong, 0 as c_ulong) })
}

/// Names the calling thread; the kernel cuts after 15 bytes.
pub(crate) fn set_thread_name(name: &CStr) -> io::Result<()> {
    // SAFETY: `name` ends with a zero byte and is only read.
    check(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) }).map(drop)
}

/// Succeeds only while the process has one thread.
pub(crate) fn require_one_thread() -> io::Result<()> {
    // SAFETY: no memory is passed. For a process of one thread the flag changes nothing; else the call fails.
    check(unsafe { libc::unshare(libc::CLONE_THREAD) }).map(drop)
}

/// mount(2).
pub(crate) fn mount(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: c_ulong,
    options: Option<&CStr>,
) -> io::Result<()> {
    let or_null = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: each pointer is null or a text that ends with a zero byte and outlives the call.
    check(unsafe {
        libc::mount(
            or_null(source),
            target.as_ptr(),
            or_null(kind),
            flags,
            or_null(options).cast(),
        )
    })
    .map(drop)
}

/// A detached mount of an open folder, closed on exec. Needs `CAP_SYS_ADMIN` over the mount namespace that the
/// folder was opened in, and no right to walk to it.
pub(crate) fn detached_copy(folder: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH.unsigned_abs();
    // SAFETY: the text ends with a zero byte and outlives the call.
    let raw =
        check_long(unsafe { libc::syscall(libc::SYS_open_tree, folder.as_raw_fd(), c"".as_ptr(), flags) })?;
    let raw = RawFd::try_from(raw).map_err(io::Error::other)?;
    // SAFETY: `raw` was just made and is owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Attaches the detached mount behind `tree` at `target`.
pub(crate) fn attach_mount(tree: BorrowedFd<'_>, target: &CStr) -> io::Result<()> {
    // SAFETY: both texts end with a zero byte and outlive the call.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        )
    })
    .map(drop)
}

/// Adds mount attributes (`MOUNT_ATTR_*`) to the mount at `path`.
pub(crate) fn add_mount_attributes(path: &CStr, attributes: u64) -> io::Result<()> {
    let change = libc::mount_attr {
        attr_set: attributes,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: `path` ends with a zero byte; `change` is passed with its own size; both outlive the call.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            0 as c_uint,
            &raw const change,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

/// Makes the current folder the root, and puts the old root on top of it.
pub(crate) fn pivot_root_here() -> io::Result<()> {
    // SAFETY: both texts end with a zero byte and outlive the call.
    check_long(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) }).map(drop)
}

/// Enters a mount namespace, which also makes its root the process's root. Entering its own leaves a chroot(2).
pub(crate) fn enter_mount_namespace(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS) }).map(drop)
}

/// fchdir(2).
pub(crate) fn change_folder(folder: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::fchdir(folder.as_raw_fd()) }).map(drop)
}

/// chroot(2) to the current folder.
pub(crate) fn make_current_folder_the_root() -> io::Result<()> {
    // SAFETY: the text ends with a zero byte and outlives the call.
    check(unsafe { libc::chroot(c".".as_ptr()) }).map(drop)
}

/// Detaches the topmost mount at `path`.
pub(crate) fn detach_mount(path: &CStr) -> io::Result<()> {
    // SAFETY: `path` ends with a zero byte and outlives the call.
    check(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) }).map(drop)
}

/// Gives up every capability of the calling thread.
pub(crate) fn clear_capabilities() -> io::Result<()> {
    // Header: version and process (0 is the caller). Two words each of effective, permitted, inheritable.
    let header = [CAPABILITY_VERSION_3, 0];
    let none = [0u32; 6];
    // SAFETY: `header` and `none` have the layout and size of version 3, and outlive the call.
    check_long(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) }).map(drop)
}

/// Sends a signal to the process behind a pidfd.
pub(crate) fn signal(pidfd: BorrowedFd<'_>, signal: c_int) -> io::Result<()> {
    // SAFETY: the only pointer is null, which asks for the usual signal information.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            ptr::null::<libc::siginfo_t>(),
            0 as c_uint,
        )
    })
    .map(drop)
}

/// Reaps the child behind a pidfd: how it ended (`CLD_*`) and its status; `None` while it lives.
pub(crate) fn reap(pidfd: BorrowedFd<'_>, block: bool) -> io::Result<Option<(c_int, c_int)>> {
    let options = libc::WEXITED | if block { 0 } else { libc::WNOHANG };
    let id = libc::id_t::try_from(pidfd.as_raw_fd()).unwrap_or_default();
    loop {
        let mut facts = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: `facts` has room for one `siginfo_t`.
        let result = check(unsafe { libc::waitid(libc::P_PIDFD, id, facts.as_mut_ptr(), options) });
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        // SAFETY: zeroed is a value of this C struct, and the call may have filled it.
        let facts = unsafe { facts.assume_init() };
        // SAFETY: waitid fills the fields of a child's end; when nothing ended they are the zeros from above.
        let pid = unsafe { facts.si_pid() };
        if pid == 0 {
            return Ok(None);
        }
        // SAFETY: as above.
        let status = unsafe { facts.si_status() };
        return Ok(Some((facts.si_code, status)));
    }
}

/// All signals blocked in the calling thread until dropped, so that no handler runs in a half-made child.
pub(crate) struct SignalsBlocked {
    before: libc::sigset_t,
}

impl SignalsBlocked {
    pub(crate) fn new() -> io::Result<Self> {
        let mut all = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
        let mut before = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: `all` has room for one set.
        check(unsafe { libc::sigfillset(all.as_mut_ptr()) })?;
        // SAFETY: both sets live on this stack; the second is only written.
        let code = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
        if code != 0 {
            return Err(io::Error::from_raw_os_error(code));
        }
        // SAFETY: zeroed is a value of this set of bits, and the call has filled it.
        let before = unsafe { before.assume_init() };
        Ok(Self { before })
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: the set was filled by `new`; the old mask is not asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut()) };
    }
}

/// No supplementary groups in the calling thread until dropped: a child that may not call setgroups(2) would keep
/// those of root for good.
pub(crate) struct GroupsDropped {
    before: Vec<libc::gid_t>,
}

impl GroupsDropped {
    /// Fails without `CAP_SETGID`.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: a count of zero asks for the number of groups and writes nothing.
        let count = check(unsafe { libc::getgroups(0, ptr::null_mut()) })?;
        let mut before = vec![0; usize::try_from(count).unwrap_or_default()];
        // SAFETY: `before` has room for `count` groups.
        let count = check(unsafe { libc::getgroups(count, before.as_mut_ptr()) })?;
        before.truncate(usize::try_from(count).unwrap_or_default());
        set_thread_groups(&[])?;
        Ok(Self { before })
    }
}

impl Drop for GroupsDropped {
    fn drop(&mut self) {
        let restored = set_thread_groups(&self.before);
        assert!(
            restored.is_ok(),
            "groups that were just dropped can be taken back: {restored:?}"
        );
    }
}

/// The raw call, since the C library's changes every thread.
fn set_thread_groups(groups: &[libc::gid_t]) -> io::Result<()> {
    // SAFETY: the pointer covers as many groups as are announced, and is only read.
    check_long(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}
