//! The jailed process: confines itself as its profile says, says `ready`, and does one task. It speaks on
//! descriptor 3; the engine's weights or the gateway's listener are 4, the gateway's folder is 5, the engine's disk tier
//! is 6, and 7 is a file that an engine could write if its filter let it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::ptr;
use std::sync::mpsc;
use std::time::Duration;

use jingui_jail::{Confinement, Profile};
use libc::{c_int, c_long};

const CONTROL: RawFd = 3;
const LISTENER: RawFd = 4;
const WEIGHTS: RawFd = 4;
const STATE: RawFd = 5;
/// The file of the disk tier in the engine; the seccomp list names this number.
const TIER: RawFd = 6;
/// A file that may be written and is not the disk tier: standard error of a box whose log goes to a file.
const ANOTHER: RawFd = 7;

pub(crate) type Attempt = (&'static str, fn() -> io::Result<()>);

pub(crate) fn run(arguments: &mut dyn Iterator<Item = String>) -> ExitCode {
    let (profile, task) = (arguments.next().unwrap(), arguments.next().unwrap());
    let confinement = match profile.as_str() {
        "engine" => Some(jingui_jail::confine(Profile::Engine).expect("the engine confines itself")),
        "gateway" => {
            let profile = Profile::Gateway { state_fd: STATE };
            Some(jingui_jail::confine(profile).expect("the gateway confines itself"))
        }
        _ => None,
    };
    // SAFETY: the test gave a socket under this number, and nothing else here owns it.
    let mut control = UnixStream::from(unsafe { OwnedFd::from_raw_fd(CONTROL) });
    control.write_all(b"ready").unwrap();
    let said = perform(&task, &mut control, confinement.as_ref());
    control.write_all(said.as_bytes()).unwrap();
    ExitCode::SUCCESS
}

fn perform(task: &str, control: &mut UnixStream, confinement: Option<&Confinement>) -> String {
    let attempts = [HOSTILE, REFUSED, REFUSED_TO_GATEWAY, REFUSED_TO_ENGINE].concat();
    if let Some((_, attempt)) = attempts.iter().find(|(name, _)| *name == task) {
        return match attempt() {
            Ok(()) => "succeeded".into(),
            Err(error) => format!("refused {error}"),
        };
    }
    match task {
        "wait" => wait(control),
        "wait-with-threads" => {
            let (_hold, held) = mpsc::channel::<()>();
            std::thread::spawn(move || held.recv());
            wait(control)
        }
        "engine-work" => engine_work(control),
        "gateway-work" => gateway_work(confinement),
        "reach-the-host" => reach_the_host(control),
        "climb-out-of-the-folder" => climb_out(),
        "list-descriptors" => list_descriptors(),
        "who" => who(),
        "exit-7" => std::process::exit(7),
        "panic" => {
            std::panic::set_hook(Box::new(|_| {}));
            panic!("as asked")
        }
        "abort" => std::process::abort(),
        "open-passwd" => match File::open("/etc/passwd") {
            Ok(_) => "passwd open".into(),
            Err(_) => "passwd refused".into(),
        },
        "keep-own-file" => {
            let folder = confinement.and_then(|c| c.state.clone()).unwrap();
            fs::write(folder.join("kept"), "kept").map_or_else(|e| e.to_string(), |()| "own file kept".into())
        }
        other => panic!("no such task: {other}"),
    }
}

fn wait(control: &mut UnixStream) -> String {
    let _ = control.read(&mut [0; 8]);
    String::new()
}

/// A raw call, so that no library stands between the attempt and the kernel.
fn call(number: c_long, arguments: [c_long; 6]) -> io::Result<()> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: each use passes numbers, null, or texts that live as long as the program; whatever the kernel does with
    // the rest, it must refuse. Memory of this process is only read.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn text(text: &'static std::ffi::CStr) -> c_long {
    text.as_ptr() as c_long
}

/// Addresses of the host's loopback, port 80, as connect(2) takes them.
static LOOPBACK: libc::sockaddr_in = libc::sockaddr_in {
    sin_family: libc::AF_INET as u16,
    sin_port: 80u16.to_be(),
    sin_addr: libc::in_addr {
        s_addr: u32::from_ne_bytes([127, 0, 0, 1]),
    },
    sin_zero: [0; 8],
};

fn loopback() -> [c_long; 2] {
    [
        (&raw const LOOPBACK) as c_long,
        size_of::<libc::sockaddr_in>() as c_long,
    ]
}

fn new_namespace(flag: c_int) -> io::Result<()> {
    call(
        libc::SYS_clone,
        [c_long::from(flag | libc::SIGCHLD), 0, 0, 0, 0, 0],
    )
    .map(|()| end_copies())
}

/// After a fork that should have been refused: the copy must not speak for the probe.
fn end_copies() {
    if std::process::id() != 1 {
        std::process::exit(0);
    }
}

fn socket(family: c_int, kind: c_int) -> io::Result<()> {
    call(libc::SYS_socket, [family.into(), kind.into(), 0, 0, 0, 0])
}

/// What only a captured process tries: the kernel ends it.
pub(crate) const HOSTILE: &[Attempt] = &[
    ("socket-inet", || socket(libc::AF_INET, libc::SOCK_STREAM)),
    ("socket-inet6", || socket(libc::AF_INET6, libc::SOCK_DGRAM)),
    ("socket-packet", || socket(libc::AF_PACKET, libc::SOCK_RAW)),
    ("socket-netlink", || socket(libc::AF_NETLINK, libc::SOCK_RAW)),
    ("socket-vsock", || socket(libc::AF_VSOCK, libc::SOCK_STREAM)),
    ("socket-unix", || socket(libc::AF_UNIX, libc::SOCK_STREAM)),
    ("connect", || {
        let [address, length] = loopback();
        call(libc::SYS_connect, [LISTENER.into(), address, length, 0, 0, 0])
    }),
    ("bind", || {
        let [address, length] = loopback();
        call(libc::SYS_bind, [LISTENER.into(), address, length, 0, 0, 0])
    }),
    ("listen", || {
        call(libc::SYS_listen, [LISTENER.into(), 1, 0, 0, 0, 0])
    }),
    ("dial-with-the-listener", dial_with_the_listener),
    ("dial-with-fast-open", || {
        let [address, length] = loopback();
        let flags = c_long::from(libc::MSG_FASTOPEN);
        call(
            libc::SYS_sendto,
            [LISTENER.into(), text(c"x"), 1, flags, address, length],
        )
    }),
    ("execve", || {
        call(libc::SYS_execve, [text(c"/bin/true"), 0, 0, 0, 0, 0])
    }),
    ("execveat", || {
        call(
            libc::SYS_execveat,
            [WEIGHTS.into(), text(c""), 0, 0, libc::AT_EMPTY_PATH.into(), 0],
        )
    }),
    ("ptrace", || {
        call(libc::SYS_ptrace, [libc::PTRACE_TRACEME.into(), 0, 0, 0, 0, 0])
    }),
    ("process-vm-readv", || {
        call(libc::SYS_process_vm_readv, [1, 0, 0, 0, 0, 0])
    }),
    ("mount", || {
        call(libc::SYS_mount, [text(c"x"), text(c"/"), text(c"tmpfs"), 0, 0, 0])
    }),
    ("umount", || {
        call(
            libc::SYS_umount2,
            [text(c"/"), libc::MNT_DETACH.into(), 0, 0, 0, 0],
        )
    }),
    ("pivot-root", || {
        call(libc::SYS_pivot_root, [text(c"."), text(c"."), 0, 0, 0, 0])
    }),
    ("chroot", || call(libc::SYS_chroot, [text(c"/"), 0, 0, 0, 0, 0])),
    ("open-tree", || {
        call(
            libc::SYS_open_tree,
            [libc::AT_FDCWD.into(), text(c"/"), 1, 0, 0, 0],
        )
    }),
    ("open-by-handle", || {
        call(libc::SYS_open_by_handle_at, [STATE.into(), 0, 0, 0, 0, 0])
    }),
    ("unshare-user", || {
        call(libc::SYS_unshare, [libc::CLONE_NEWUSER.into(), 0, 0, 0, 0, 0])
    }),
    ("setns", || call(libc::SYS_setns, [CONTROL.into(), 0, 0, 0, 0, 0])),
    ("clone-user", || new_namespace(libc::CLONE_NEWUSER)),
    ("clone-net", || new_namespace(libc::CLONE_NEWNET)),
    ("clone-mount", || new_namespace(libc::CLONE_NEWNS)),
    ("clone-pid", || new_namespace(libc::CLONE_NEWPID)),
    ("bpf", || call(libc::SYS_bpf, [0, 0, 0, 0, 0, 0])),
    ("perf", || call(libc::SYS_perf_event_open, [0, 0, 0, 0, 0, 0])),
    ("userfaultfd", || call(libc::SYS_userfaultfd, [0, 0, 0, 0, 0, 0])),
    ("io-uring", || call(libc::SYS_io_uring_setup, [1, 0, 0, 0, 0, 0])),
    ("keyctl", || call(libc::SYS_keyctl, [0, 0, 0, 0, 0, 0])),
    ("add-key", || call(libc::SYS_add_key, [0, 0, 0, 0, 0, 0])),
    ("init-module", || call(libc::SYS_init_module, [0, 0, 0, 0, 0, 0])),
    ("kexec", || call(libc::SYS_kexec_load, [0, 0, 0, 0, 0, 0])),
    ("reboot", || call(libc::SYS_reboot, [0, 0, 0, 0, 0, 0])),
    ("pidfd-getfd", || {
        call(libc::SYS_pidfd_getfd, [CONTROL.into(), 0, 0, 0, 0, 0])
    }),
];

/// The one socket of the host's network that a gateway holds: shut down for reading, a listener becomes a fresh
/// socket, which a fast open could connect to anywhere.
fn dial_with_the_listener() -> io::Result<()> {
    // In the engine the descriptor is a file; the call must be refused by its flag alone.
    let _ = call(
        libc::SYS_shutdown,
        [LISTENER.into(), libc::SHUT_RD.into(), 0, 0, 0, 0],
    );
    // SAFETY: an all-zero `msghdr` is an empty message.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = (&raw const LOOPBACK).cast_mut().cast();
    message.msg_namelen = u32::try_from(size_of::<libc::sockaddr_in>()).unwrap();
    let flags = c_long::from(libc::MSG_FASTOPEN);
    call(
        libc::SYS_sendmsg,
        [LISTENER.into(), (&raw const message) as c_long, flags, 0, 0, 0],
    )
}

/// What does not exist in a jail; the process goes on.
pub(crate) const REFUSED: &[Attempt] = &[
    ("fork", || {
        call(libc::SYS_clone, [libc::SIGCHLD.into(), 0, 0, 0, 0, 0]).map(|()| end_copies())
    }),
    ("clone3", || call(libc::SYS_clone3, [0, 0, 0, 0, 0, 0])),
    ("kill", || call(libc::SYS_kill, [1, 0, 0, 0, 0, 0])),
    ("kill-all", || call(libc::SYS_kill, [-1, 9, 0, 0, 0, 0])),
    ("tgkill-another", || call(libc::SYS_tgkill, [2, 2, 0, 0, 0, 0])),
    ("pidfd-open", || call(libc::SYS_pidfd_open, [1, 0, 0, 0, 0, 0])),
    ("memfd", || {
        call(libc::SYS_memfd_create, [text(c"x"), 0, 0, 0, 0, 0])
    }),
    ("shmget", || call(libc::SYS_shmget, [0, 4096, 0o600, 0, 0, 0])),
    ("map-executable", || {
        map(libc::PROT_READ | libc::PROT_EXEC).map(drop)
    }),
    ("map-writable-executable", || {
        map(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC).map(drop)
    }),
    ("make-executable", || {
        let place = map(libc::PROT_READ | libc::PROT_WRITE)?;
        call(
            libc::SYS_mprotect,
            [place, 4096, (libc::PROT_READ | libc::PROT_EXEC).into(), 0, 0, 0],
        )
    }),
    ("become-dumpable", || {
        call(libc::SYS_prctl, [libc::PR_SET_DUMPABLE.into(), 1, 0, 0, 0, 0])
    }),
    ("outlive-the-parent", || {
        call(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG.into(), 0, 0, 0, 0, 0])
    }),
    ("raise-the-core-limit", || {
        let unlimited = [u64::MAX; 2];
        let place = unlimited.as_ptr() as c_long;
        call(
            libc::SYS_prlimit64,
            [0, libc::RLIMIT_CORE as c_long, place, 0, 0, 0],
        )
    }),
    ("setuid", || {
        call(libc::SYS_setuid, [JAILED_NOBODY, 0, 0, 0, 0, 0])
    }),
    ("setgroups", || call(libc::SYS_setgroups, [0, 0, 0, 0, 0, 0])),
    ("capset", || call(libc::SYS_capset, [0, 0, 0, 0, 0, 0])),
    ("new-filter", || call(libc::SYS_seccomp, [1, 0, 0, 0, 0, 0])),
    ("new-landlock", || {
        call(libc::SYS_landlock_create_ruleset, [0, 0, 0, 0, 0, 0])
    }),
    ("terminal-input", || {
        call(libc::SYS_ioctl, [0, libc::TIOCSTI as c_long, 0, 0, 0, 0])
    }),
    ("own-the-signals-of-a-file", || {
        call(
            libc::SYS_fcntl,
            [CONTROL.into(), libc::F_SETOWN.into(), -1, 0, 0, 0],
        )
    }),
    ("mark-packets", || {
        let level = c_long::from(libc::SOL_SOCKET);
        call(
            libc::SYS_setsockopt,
            [CONTROL.into(), level, libc::SO_MARK.into(), 0, 0, 0],
        )
    }),
    ("enable-fast-open", || {
        let level = c_long::from(libc::IPPROTO_TCP);
        call(
            libc::SYS_setsockopt,
            [LISTENER.into(), level, libc::TCP_FASTOPEN.into(), 0, 0, 0],
        )
    }),
    ("send-to-an-address", || {
        let [address, length] = loopback();
        call(
            libc::SYS_sendto,
            [CONTROL.into(), text(c"x"), 1, 0, address, length],
        )
    }),
    ("socketpair-inet", || {
        call(
            libc::SYS_socketpair,
            [libc::AF_INET.into(), libc::SOCK_STREAM.into(), 0, 0, 0, 0],
        )
    }),
    ("open-with-how", || {
        call(
            libc::SYS_openat2,
            [libc::AT_FDCWD.into(), text(c"/etc/passwd"), 0, 0, 0, 0],
        )
    }),
    ("make-a-device", || {
        call(
            libc::SYS_mknodat,
            [libc::AT_FDCWD.into(), text(c"/x"), 0o20666, 259, 0, 0],
        )
    }),
    ("link", || {
        let here = c_long::from(libc::AT_FDCWD);
        call(libc::SYS_linkat, [here, text(c"/x"), here, text(c"/y"), 0, 0])
    }),
    // The same system calls by the numbers of another ABI, which a list of numbers would miss.
    #[cfg(target_arch = "x86_64")]
    ("socket-by-x32", || {
        let number = libc::SYS_socket | 0x4000_0000;
        call(
            number,
            [libc::AF_INET.into(), libc::SOCK_STREAM.into(), 0, 0, 0, 0],
        )
    }),
    ("read-passwd", || File::open("/etc/passwd").map(drop)),
    ("read-own-process", || File::open("/proc/self/maps").map(drop)),
    ("write-to-the-root", || File::create("/x").map(drop)),
];

/// Files that a gateway may ask for and must not get.
pub(crate) const REFUSED_TO_GATEWAY: &[Attempt] = &[
    ("read-past-the-folder", || {
        File::open("/state/../etc/passwd").map(drop)
    }),
    ("read-the-device", || File::open("/dev/null").map(drop)),
    ("list-the-root", || fs::read_dir("/").map(drop)),
    ("list-process", || fs::read_dir("/proc").map(drop)),
    ("make-a-folder-in-the-root", || fs::create_dir("/x")),
    ("link-symbolically", || {
        std::os::unix::fs::symlink("/etc/passwd", "/state/link")
    }),
    ("move-out-of-the-folder", || {
        fs::write("/state/mine", "x")?;
        fs::rename("/state/mine", "/mine")
    }),
    ("execute-own-file", || {
        fs::write("/state/program", "x")?;
        let file = File::open("/state/program")?;
        let protection = c_long::from(libc::PROT_READ | libc::PROT_EXEC);
        let private = c_long::from(libc::MAP_PRIVATE);
        call(
            libc::SYS_mmap,
            [0, 4096, protection, private, file.as_raw_fd().into(), 0],
        )
    }),
    ("use-the-folder-descriptor", || {
        call(
            libc::SYS_openat,
            [STATE.into(), text(c"."), libc::O_RDONLY.into(), 0, 0, 0],
        )
    }),
];

/// What an engine must not do to files that it holds.
pub(crate) const REFUSED_TO_ENGINE: &[Attempt] = &[
    ("write-the-weights", || write_at(WEIGHTS)),
    ("write-the-weights-in-order", || {
        call(libc::SYS_write, [WEIGHTS.into(), text(c"x"), 1, 0, 0, 0])
    }),
    ("cut-the-weights", || {
        call(libc::SYS_ftruncate, [WEIGHTS.into(), 0, 0, 0, 0, 0])
    }),
    ("punch-the-weights", || {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        call(libc::SYS_fallocate, [WEIGHTS.into(), mode.into(), 0, 4096, 0, 0])
    }),
    ("map-the-weights-for-writing", || {
        let protection = c_long::from(libc::PROT_READ | libc::PROT_WRITE);
        let shared = c_long::from(libc::MAP_SHARED);
        call(libc::SYS_mmap, [0, 4096, protection, shared, WEIGHTS.into(), 0])
    }),
    ("write-another-file-in-place", || write_at(ANOTHER)),
    ("cut-another-file", || {
        call(libc::SYS_ftruncate, [ANOTHER.into(), 0, 0, 0, 0, 0])
    }),
    ("grow-another-file", || {
        call(libc::SYS_fallocate, [ANOTHER.into(), 0, 0, 1 << 20, 0, 0])
    }),
    ("sync-another-file", || {
        call(libc::SYS_fdatasync, [ANOTHER.into(), 0, 0, 0, 0, 0])
    }),
    ("sync-all", || call(libc::SYS_sync, [0; 6])),
    ("open-the-tier-again", || {
        let path = text(c"/proc/self/fd/6");
        call(
            libc::SYS_openat,
            [libc::AT_FDCWD.into(), path, libc::O_RDWR.into(), 0, 0, 0],
        )
    }),
    ("name-the-tier", || {
        let (from, to) = (text(c""), text(c"/tier"));
        let flags = c_long::from(libc::AT_EMPTY_PATH);
        call(
            libc::SYS_linkat,
            [TIER.into(), from, libc::AT_FDCWD.into(), to, flags, 0],
        )
    }),
    ("give-the-tier-to-everybody", || {
        call(libc::SYS_fchmod, [TIER.into(), 0o666, 0, 0, 0, 0])
    }),
    ("lock-the-tier", || {
        call(libc::SYS_flock, [TIER.into(), libc::LOCK_EX.into(), 0, 0, 0, 0])
    }),
];

fn write_at(descriptor: RawFd) -> io::Result<()> {
    call(libc::SYS_pwrite64, [descriptor.into(), text(c"x"), 1, 0, 0, 0])
}

const JAILED_NOBODY: c_long = 65534;

fn map(protection: c_int) -> io::Result<c_long> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: asks for new memory at a place of the kernel's choice.
    let place = unsafe { libc::mmap(ptr::null_mut(), 4096, protection, flags, -1, 0) };
    if place == libc::MAP_FAILED {
        Err(io::Error::last_os_error())
    } else {
        Ok(place as c_long)
    }
}

fn engine_work(control: &UnixStream) -> String {
    let mut buffer = [0; 8];
    let received = jingui_jail::receive_descriptors(control.as_fd(), &mut buffer, 4).unwrap();
    let socket = received.descriptors.into_iter().next().unwrap();
    let mut gateway = UnixStream::from(socket);
    gateway.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    assert_eq!(
        gateway.read(&mut [0; 1]).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    gateway.set_nonblocking(true).unwrap();
    gateway.set_nonblocking(false).unwrap();

    // Weights: facts, reading in place, mapping.
    // SAFETY: the test gave a file under this number, and nothing else here owns it.
    let mut weights = File::from(unsafe { OwnedFd::from_raw_fd(WEIGHTS) });
    assert_eq!(weights.metadata().unwrap().len(), 8192);
    assert_eq!(weights.seek(SeekFrom::End(0)).unwrap(), 8192);
    let mut byte = [0; 1];
    weights.read_exact_at(&mut byte, 8191).unwrap();
    assert_eq!(byte, [7]);
    // SAFETY: maps an open file for reading, at a place of the kernel's choice.
    let place = unsafe {
        libc::mmap(
            ptr::null_mut(),
            8192,
            libc::PROT_READ,
            libc::MAP_SHARED,
            weights.as_raw_fd(),
            0,
        )
    };
    assert_ne!(place, libc::MAP_FAILED);
    let middle = place.cast::<u8>().wrapping_add(4096);
    // SAFETY: the mapping above covers 8192 bytes.
    assert_eq!(unsafe { middle.read() }, 7);
    // SAFETY: advice on the mapping above changes no content.
    assert_eq!(unsafe { libc::madvise(place, 8192, libc::MADV_WILLNEED) }, 0);

    // The disk tier: reserved, written and read in place, made durable, cut.
    // SAFETY: the test gave a file under this number, and nothing else here owns it.
    let tier = File::from(unsafe { OwnedFd::from_raw_fd(TIER) });
    assert_eq!(
        call(libc::SYS_fallocate, [TIER.into(), 0, 0, 8192, 0, 0]).map_err(|e| e.kind()),
        Ok(())
    );
    tier.write_all_at(b"sealed", 4096).unwrap();
    tier.sync_data().unwrap();
    let mut sealed = [0; 6];
    tier.read_exact_at(&mut sealed, 4096).unwrap();
    assert_eq!(&sealed, b"sealed");
    tier.set_len(0).unwrap();
    assert_eq!(tier.metadata().unwrap().len(), 0);

    // Threads that compute, sleep and end, with much memory.
    let threads: Vec<_> = (0..16)
        .map(|n: u64| {
            let builder = std::thread::Builder::new().name(format!("worker {n}"));
            builder.spawn(move || {
                std::thread::sleep(Duration::from_millis(1));
                vec![n; 1 << 18].iter().sum::<u64>()
            })
        })
        .collect();
    let sums: u64 = threads
        .into_iter()
        .map(|thread| thread.unwrap().join().unwrap())
        .sum();
    assert_eq!(sums, (0..16).sum::<u64>() << 18);
    assert!(std::thread::available_parallelism().unwrap().get() >= 1);
    assert!(catch_a_panic());
    // A hash map draws its seed from the kernel.
    let map: std::collections::HashMap<_, _> = [(1, 2)].into();
    assert_eq!(map.get(&1), Some(&2));
    gateway
        .write_all(b"hello over a descriptor that was received")
        .unwrap();
    "done".into()
}

fn catch_a_panic() -> bool {
    std::panic::set_hook(Box::new(|_| {}));
    let caught = std::panic::catch_unwind(|| panic!("as asked")).is_err();
    let _ = std::panic::take_hook();
    caught
}

fn gateway_work(confinement: Option<&Confinement>) -> String {
    assert_eq!(confinement.unwrap().state, Some(PathBuf::from("/state")));
    assert_eq!(confinement.unwrap().root_refused, None);
    like_sqlite();
    like_an_event_loop();
    // SAFETY: the test gave a listener under this number, and nothing else here owns it.
    let listener = TcpListener::from(unsafe { OwnedFd::from_raw_fd(LISTENER) });
    let (mut connection, peer) = listener.accept().unwrap();
    assert!(peer.ip().is_loopback());
    assert_eq!(connection.peer_addr().unwrap(), peer);
    connection.set_nodelay(true).unwrap();
    let mut word = [0; 4];
    connection.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"ping");
    connection.write_all(b"pong").unwrap();
    connection.shutdown(std::net::Shutdown::Write).unwrap();
    let thread = std::thread::spawn(|| 7);
    assert_eq!(thread.join().unwrap(), 7);
    "done".into()
}

/// What SQLite does to a database with a write-ahead log: locks, writes in place, a shared mapping, a journal.
fn like_sqlite() {
    let options = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .clone()
    };
    let file = options().open("/state/kept").unwrap();
    let lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: `lock` is only read.
    let locked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const lock) };
    assert_eq!(locked, 0);
    file.set_len(8192).unwrap();
    // SAFETY: maps an open file, at a place of the kernel's choice.
    let place = unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        libc::mmap(
            ptr::null_mut(),
            8192,
            protection,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    assert_ne!(place, libc::MAP_FAILED);
    // SAFETY: the mapping above covers 8192 bytes.
    unsafe { place.cast::<u8>().write(b'x') };
    // SAFETY: unmaps exactly the mapping above.
    assert_eq!(unsafe { libc::munmap(place, 8192) }, 0);
    file.write_all_at(b"across the wall", 0).unwrap();
    file.set_len(15).unwrap();
    file.sync_all().unwrap();
    file.sync_data().unwrap();
    assert_eq!(fs::metadata("/state/kept").unwrap().len(), 15);
    let journal = options().open("/state/journal").unwrap();
    journal.sync_all().unwrap();
    drop(journal);
    File::open("/state").unwrap().sync_all().unwrap();
    fs::write("/state/new", "new").unwrap();
    fs::rename("/state/new", "/state/journal").unwrap();
    fs::remove_file("/state/journal").unwrap();
    fs::create_dir("/state/folder").unwrap();
    fs::remove_dir("/state/folder").unwrap();
    let names: Vec<_> = fs::read_dir("/state")
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["kept"]);
}

/// What tokio does at its start and for each connection.
fn like_an_event_loop() {
    // SAFETY: asks for a new descriptor; no memory is passed.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    assert!(epoll >= 0);
    let (mut reader, mut writer) = UnixStream::pair().unwrap();
    let mut event = libc::epoll_event {
        events: libc::EPOLLIN as u32,
        u64: 9,
    };
    // SAFETY: `event` is only read.
    let added = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, reader.as_raw_fd(), &raw mut event) };
    assert_eq!(added, 0);
    writer.write_all(b"!").unwrap();
    // SAFETY: `event` has room for the one event that is asked for.
    let ready = unsafe { libc::epoll_wait(epoll, &raw mut event, 1, 10_000) };
    assert_eq!((ready, { event.u64 }), (1, 9));
    reader.read_exact(&mut [0; 1]).unwrap();
    // SAFETY: asks for a new descriptor; no memory is passed.
    assert!(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) } >= 0);
}

/// Without any filter: the namespaces alone.
fn reach_the_host(control: &mut UnixStream) -> String {
    let mut line = String::new();
    while !line.ends_with('\n') {
        let mut byte = [0; 1];
        control.read_exact(&mut byte).unwrap();
        line.push(char::from(byte[0]));
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |error: io::Error| error.raw_os_error().unwrap_or(-1);
    let tcp =
        std::net::TcpStream::connect(("127.0.0.1", words[0].parse().unwrap())).map_or_else(number, |_| 0);
    let address = SocketAddr::from_abstract_name(words[1]).unwrap();
    let abstract_socket = UnixStream::connect_addr(&address).map_or_else(number, |_| 0);
    let pid: c_long = words[2].parse().unwrap();
    let kill = call(libc::SYS_kill, [pid, 0, 0, 0, 0, 0]).map_or_else(number, |()| 0);
    format!("tcp {tcp} abstract {abstract_socket} kill {kill}")
}

/// Without any filter: from the folder's descriptor, `..` is the folder itself.
fn climb_out() -> String {
    let open = |path: &'static std::ffi::CStr| {
        // SAFETY: the path ends with a zero byte.
        let fd = unsafe { libc::openat(STATE, path.as_ptr(), libc::O_RDONLY) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made, owned by nobody else.
        Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
    };
    let here = open(c".").unwrap().metadata().unwrap();
    let above = open(c"../../..").unwrap().metadata().unwrap();
    if open(c"../../../etc/passwd").is_ok() || (here.dev(), here.ino()) != (above.dev(), above.ino()) {
        return "another folder".into();
    }
    "same folder".into()
}

fn list_descriptors() -> String {
    let open: Vec<String> = (0..4096)
        // SAFETY: asks a flag; a number that is not open is an error.
        .filter(|number| unsafe { libc::fcntl(*number, libc::F_GETFD) } >= 0)
        .map(|number: RawFd| number.to_string())
        .collect();
    open.join(" ")
}

fn who() -> String {
    let mut names = std::mem::MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: `names` has room for one `utsname`.
    assert_eq!(unsafe { libc::uname(names.as_mut_ptr()) }, 0);
    // SAFETY: zeroed is a value of this struct of characters, and the call has filled it.
    let names = unsafe { names.assume_init() };
    let host: String = names
        .nodename
        .iter()
        .map(|c| *c as u8 as char)
        .take_while(|c| *c != '\0')
        .collect();
    let mut core = libc::rlimit {
        rlim_cur: 1,
        rlim_max: 1,
    };
    // SAFETY: `core` has room for one limit.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_CORE, &raw mut core) }, 0);
    // SAFETY: always succeeds, no memory is passed.
    let (uid, gid) = (unsafe { libc::getuid() }, {
        // SAFETY: always succeeds, no memory is passed.
        unsafe { libc::getgid() }
    });
    format!(
        "environment {} pid {} parent {} uid {uid} gid {gid} host {host} core {} {}",
        std::env::vars_os().count(),
        std::process::id(),
        std::os::unix::process::parent_id(),
        core.rlim_cur,
        core.rlim_max,
    )
}
