//! Between clone and exec, in the new process.
//!
//! The caller may have had other threads: any lock of the copied memory may be held for ever. So nothing here
//! allocates, locks, panics or calls a function of the C library that does more than its system call; in particular
//! setresuid(2) goes raw, since the C library's would wait for threads that do not exist here.

use std::convert::Infallible;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

use libc::{c_int, c_long, c_uint, c_ulong};

use crate::launch::plan::{Folder, Place, Plan};
use crate::launch::{Identity, Limits, Step};

/// Exit code of a process that did not reach its program; the caller gets the reason by the pipe instead.
const NOT_EXECUTED: c_int = 127;

/// Name of the machine as a jailed process sees it.
const HOST_NAME: &[u8] = b"jail";

/// Highest signal number of Linux.
const SIGNAL_MAX: c_int = 64;

/// Nothing that a process makes is for others.
const UMASK: libc::mode_t = 0o077;

/// Where it failed, and the error number.
struct Failure {
    step: Step,
    number: c_int,
}

/// Takes the new process to its program. Never returns.
pub(super) fn enter(plan: &Plan) -> ! {
    let Err(failure) = steps(plan);
    let mut report = [0; 8];
    let (step, number) = report.split_at_mut(4);
    step.copy_from_slice(&(failure.step as u32).to_le_bytes());
    number.copy_from_slice(&failure.number.to_le_bytes());
    // SAFETY: writes eight bytes of this stack; a failure cannot be told to anybody.
    unsafe { libc::write(plan.report.as_raw_fd(), report.as_ptr().cast(), report.len()) };
    // SAFETY: ends the process without running destructors of the copied memory.
    unsafe { libc::_exit(NOT_EXECUTED) }
}

/// What [`enter`] wrote: `None` when the pipe was closed by exec.
pub(super) fn read_report(bytes: &[u8]) -> Option<(Step, io::Error)> {
    let (step, rest) = bytes.split_first_chunk::<4>()?;
    let (number, _) = rest.split_first_chunk::<4>()?;
    let step = Step::ALL
        .into_iter()
        .find(|s| *s as u32 == u32::from_le_bytes(*step))?;
    Some((step, io::Error::from_raw_os_error(i32::from_le_bytes(*number))))
}

fn steps(plan: &Plan) -> Result<Infallible, Failure> {
    close_others(plan)?;
    wait_for_go(plan);
    attach_folders(plan)?;
    take_identity(plan)?;
    // SAFETY: no memory is passed.
    check(Step::NewSession, unsafe { libc::setsid() })?;
    die_with_parent(plan)?;
    set_limits(&plan.limits, plan.has_user_namespace)?;
    if plan.has_uts_namespace {
        name_host()?;
    }
    // SAFETY: no memory is passed; always succeeds.
    unsafe { libc::umask(UMASK) };
    // SAFETY: the text ends with a zero byte. The folder is left for good by `confine`.
    check(Step::Descriptors, unsafe { libc::chdir(c"/".as_ptr()) })?;
    place_descriptors(&plan.places)?;
    control(Step::NoNewPrivileges, libc::PR_SET_NO_NEW_PRIVS, 1, 0)?;
    reset_signals()?;
    execute(plan)
}

fn close_others(plan: &Plan) -> Result<(), Failure> {
    for (first, last) in &plan.closed {
        // SAFETY: no memory is passed; only numbers that this plan does not use are closed.
        let result = unsafe { libc::syscall(libc::SYS_close_range, *first, *last, 0 as c_uint) };
        check_long(Step::CloseOthers, result)?;
    }
    Ok(())
}

/// Waits until the caller has written the maps. When it gave up or died, the pipe ends and so does this process.
fn wait_for_go(plan: &Plan) {
    let mut byte = 0u8;
    loop {
        // SAFETY: reads one byte into this stack.
        let count = unsafe { libc::read(plan.go.as_raw_fd(), (&raw mut byte).cast(), 1) };
        match count {
            1 => return,
            -1 if errno() == libc::EINTR => {}
            // SAFETY: ends the process without running destructors of the copied memory.
            _ => unsafe { libc::_exit(NOT_EXECUTED) },
        }
    }
}

/// Replaces each folder that the caller had no right to detach by a detached mount of it: this process has the right
/// to mount in its own namespace, and still is the caller's user towards files.
fn attach_folders(plan: &Plan) -> Result<(), Failure> {
    for place in &plan.places {
        if let Some(folder) = &place.folder {
            detach_copy(folder, place.source.as_raw_fd())?;
        }
    }
    Ok(())
}

/// By path, since the caller's descriptor belongs to the caller's mount namespace, from which nothing can be copied
/// here; device and inode show that the path still leads to the folder that was opened.
fn detach_copy(folder: &Folder, number: c_int) -> Result<(), Failure> {
    let flags = c_long::from(libc::OPEN_TREE_CLONE) | c_long::from(libc::OPEN_TREE_CLOEXEC);
    // SAFETY: the path ends with a zero byte and outlives the call.
    let tree = unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            libc::AT_FDCWD,
            folder.path.as_ptr(),
            flags as c_uint,
        )
    };
    check_long(Step::AttachFolder, tree)?;
    let tree = tree as c_int;
    let mut facts = std::mem::MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: `facts` has room for one `stat`.
    check(Step::AttachFolder, unsafe {
        libc::fstat(tree, facts.as_mut_ptr())
    })?;
    // SAFETY: zeroed is a value of this struct of integers, and the call has filled it.
    let facts = unsafe { facts.assume_init() };
    if (facts.st_dev, facts.st_ino) != (folder.device, folder.inode) {
        return Err(Failure {
            step: Step::AttachFolder,
            number: libc::ESTALE,
        });
    }
    // SAFETY: both numbers are open descriptors of this process.
    check(Step::AttachFolder, unsafe {
        libc::dup3(tree, number, libc::O_CLOEXEC)
    })
}

fn take_identity(plan: &Plan) -> Result<(), Failure> {
    let (uid, gid) = match (plan.has_user_namespace, plan.identity) {
        (true, _) => (0, 0),
        (false, Identity::Mapped { uid, gid }) => (uid, gid),
        (false, Identity::Own) => return Ok(()),
    };
    if !plan.has_user_namespace {
        // Root without a user namespace: keep capabilities over the change, for `keep_rights_for_confine`.
        control(Step::TakeIdentity, libc::PR_SET_KEEPCAPS, 1, 0)?;
    }
    // SAFETY: no memory is passed.
    check_long(Step::TakeIdentity, unsafe {
        libc::syscall(libc::SYS_setresgid, gid, gid, gid)
    })?;
    // SAFETY: no memory is passed.
    check_long(Step::TakeIdentity, unsafe {
        libc::syscall(libc::SYS_setresuid, uid, uid, uid)
    })?;
    if !plan.has_user_namespace {
        keep_rights_for_confine()?;
    }
    Ok(())
}

/// Root without a user namespace: carries only what `confine` needs over exec, as far as the caller has it; `confine`
/// drops it.
fn keep_rights_for_confine() -> Result<(), Failure> {
    /// `CAP_SETPCAP`, `CAP_SYS_CHROOT` and `CAP_SYS_ADMIN` of capabilities(7); all in the first word of a set.
    const WANTED: [u32; 3] = [8, 18, 21];
    let header = [0x2008_0522u32, 0];
    let mut sets = [0u32; 6];
    // SAFETY: header and sets have the layout and size of version 3 of capget(2).
    let result = unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) };
    check_long(Step::KeepRights, result)?;
    let [_, permitted, ..] = sets;
    let kept = WANTED
        .iter()
        .fold(0, |mask, capability| mask | (permitted & (1 << capability)));
    let sets = [kept, kept, kept, 0, 0, 0];
    // SAFETY: header and sets have the layout and size of version 3 of capset(2).
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
    check_long(Step::KeepRights, result)?;
    for capability in WANTED {
        if kept & (1 << capability) != 0 {
            let raise = libc::PR_CAP_AMBIENT_RAISE as c_ulong;
            control(
                Step::KeepRights,
                libc::PR_CAP_AMBIENT,
                raise,
                c_ulong::from(capability),
            )?;
        }
    }
    Ok(())
}

/// After the change of user, which resets this. A parent that died before it is seen by its end of the pipe, since
/// getppid(2) is 0 in a pid namespace of its own.
fn die_with_parent(plan: &Plan) -> Result<(), Failure> {
    control(
        Step::DieWithParent,
        libc::PR_SET_PDEATHSIG,
        libc::SIGKILL as c_ulong,
        0,
    )?;
    let mut state = libc::pollfd {
        fd: plan.go.as_raw_fd(),
        events: 0,
        revents: 0,
    };
    // SAFETY: one entry on this stack; a time-out of zero does not block.
    check(Step::DieWithParent, unsafe { libc::poll(&raw mut state, 1, 0) })?;
    if state.revents & libc::POLLHUP != 0 {
        return Err(Failure {
            step: Step::DieWithParent,
            number: libc::ESRCH,
        });
    }
    Ok(())
}

fn set_limits(limits: &Limits, has_user_namespace: bool) -> Result<(), Failure> {
    limit(libc::RLIMIT_CORE as c_uint, 0)?;
    limit(libc::RLIMIT_NOFILE as c_uint, limits.open_files_max)?;
    if has_user_namespace {
        limit(libc::RLIMIT_NPROC as c_uint, limits.threads_max)?;
    }
    Ok(())
}

/// Lowers a limit for good. One that is lower already stays.
fn limit(resource: c_uint, value: u64) -> Result<(), Failure> {
    let mut bounds = [0u64; 2];
    // SAFETY: `bounds` has the layout of `rlimit64`, soft then hard; no new limit is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            ptr::null::<u64>(),
            bounds.as_mut_ptr(),
        )
    };
    check_long(Step::Limits, result)?;
    let [_, hard] = bounds;
    let bounds = [value.min(hard); 2];
    // SAFETY: `bounds` has the layout of `rlimit64` and is only read; the old limit is not asked for.
    let result = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            bounds.as_ptr(),
            ptr::null_mut::<u64>(),
        )
    };
    check_long(Step::Limits, result)
}

fn name_host() -> Result<(), Failure> {
    // SAFETY: as many bytes as announced, only read.
    check(Step::HostName, unsafe {
        libc::sethostname(HOST_NAME.as_ptr().cast(), HOST_NAME.len())
    })?;
    // SAFETY: as above.
    check(Step::HostName, unsafe {
        libc::setdomainname(HOST_NAME.as_ptr().cast(), HOST_NAME.len())
    })
}

/// The sources lie above every target, and are closed on exec.
fn place_descriptors(places: &[Place]) -> Result<(), Failure> {
    for place in places {
        // SAFETY: no memory is passed; both numbers are this process's own.
        check(Step::Descriptors, unsafe {
            libc::dup2(place.source.as_raw_fd(), place.target)
        })?;
    }
    Ok(())
}

/// Handlers vanish with exec, but ignored and blocked signals would stay so.
fn reset_signals() -> Result<(), Failure> {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: zeroed is a value of this C struct: the default action, no flags, an empty mask.
    let action = unsafe { action.assume_init_mut() };
    for signal in 1..=SIGNAL_MAX {
        // SAFETY: `action` is only read. SIGKILL, SIGSTOP and the C library's own two are refused, which is right.
        unsafe { libc::sigaction(signal, action, ptr::null_mut()) };
    }
    // SAFETY: the mask is a plain set on this stack, only read.
    let result = unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const action.sa_mask, ptr::null_mut()) };
    check(Step::Signals, result)
}

fn execute(plan: &Plan) -> Result<Infallible, Failure> {
    // SAFETY: both lists end with a null pointer and hold texts that live in the plan.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            plan.program.as_raw_fd(),
            c"".as_ptr(),
            plan.arguments.as_ptr(),
            plan.environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Err(Failure {
        step: Step::Exec,
        number: errno(),
    })
}

fn control(step: Step, option: c_int, first: c_ulong, second: c_ulong) -> Result<(), Failure> {
    // SAFETY: only used with options whose arguments are numbers; the unused ones are zero as the kernel demands.
    check(step, unsafe {
        libc::prctl(option, first, second, 0 as c_ulong, 0 as c_ulong)
    })
}

fn check(step: Step, result: c_int) -> Result<(), Failure> {
    if result < 0 {
        Err(Failure {
            step,
            number: errno(),
        })
    } else {
        Ok(())
    }
}

fn check_long(step: Step, result: c_long) -> Result<(), Failure> {
    if result < 0 {
        Err(Failure {
            step,
            number: errno(),
        })
    } else {
        Ok(())
    }
}

/// Without `io::Error`, to be sure that nothing allocates.
fn errno() -> c_int {
    // SAFETY: always a valid pointer to this thread's number.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: as above; nothing else runs in this process.
    unsafe { *place }
}
