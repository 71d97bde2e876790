//! A supervisor in another setting: one that dies, one on a machine that refuses namespaces. It speaks on its
//! standard input, which is a socket.

use std::ffi::CString;
use std::fmt::Write as _;
use std::io::Write;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use jingui_jail::{ConfineError, LaunchError, Profile, Strictness};

use crate::claims::Jail;

pub(crate) fn run(arguments: &mut dyn Iterator<Item = String>) -> ExitCode {
    // SAFETY: the test gave a socket as standard input; nothing here reads it otherwise.
    let mut socket = UnixStream::from(unsafe { OwnedFd::from_raw_fd(0) });
    match arguments.next().as_deref() {
        Some("hold-engine") => hold("engine", Strictness::Require, socket),
        Some("hold-gateway") => hold("gateway", Strictness::Require, socket),
        Some("hold-unconfined") => hold("unconfined", Strictness::Require, socket),
        Some("hold-without-user") => {
            refuse_namespaces(u64::from(libc::CLONE_NEWUSER.unsigned_abs()));
            hold("gateway", Strictness::AllowMissing, socket);
        }
        Some("confine-itself") => {
            let word = match jingui_jail::confine(Profile::Engine) {
                Err(ConfineError::NotLaunched) => "not launched",
                _ => "confined",
            };
            socket.write_all(word.as_bytes()).unwrap();
        }
        Some("strict-without-user") => {
            refuse_namespaces(u64::from(libc::CLONE_NEWUSER.unsigned_abs()));
            let said = match Jail::try_start("engine", "wait", Strictness::Require) {
                Err(LaunchError::NamespacesRefused { refused, .. }) => format!("refused {refused:?}"),
                other => format!("{:?}", other.map(|jail| jail.child)),
            };
            socket.write_all(said.as_bytes()).unwrap();
        }
        Some("degraded-without-user") => {
            refuse_namespaces(u64::from(libc::CLONE_NEWUSER.unsigned_abs()));
            let said = degraded("wait");
            socket.write_all(said.as_bytes()).unwrap();
        }
        Some("degraded-in-a-chroot") => {
            enter_chroot();
            let mut said = degraded("wait");
            for task in ["open-passwd", "keep-own-file"] {
                let _ = write!(said, " {}", heard(task));
            }
            socket.write_all(said.as_bytes()).unwrap();
        }
        Some("degraded-without-all") => {
            for flag in NAMESPACE_FLAGS {
                refuse_namespaces(u64::from(flag.unsigned_abs()));
            }
            let mut said = degraded("wait");
            for task in ["open-passwd", "keep-own-file"] {
                let _ = write!(said, " {}", heard(task));
            }
            let (_, reason) = Jail::try_start("gateway", "connect", Strictness::AllowMissing)
                .unwrap()
                .hear();
            if reason.is_forbidden_call() {
                said.push_str(" connect forbidden");
            }
            socket.write_all(said.as_bytes()).unwrap();
        }
        other => panic!("no such task: {other:?}"),
    }
    ExitCode::SUCCESS
}

const NAMESPACE_FLAGS: [i32; 6] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
];

/// Makes a chroot of the kind in which people build: a plain folder with the host's folders in it. The mounts are in
/// a namespace of this process's own and vanish with it.
fn enter_chroot() {
    // SAFETY: no memory is passed.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
    let mount = |source: &str, target: &str, flags| {
        let [source, target] = [source, target].map(|text| CString::new(text).unwrap());
        let none = std::ptr::null();
        // SAFETY: both texts end with a zero byte and outlive the call.
        let result = unsafe { libc::mount(source.as_ptr(), target.as_ptr(), none, flags, none.cast()) };
        assert_eq!(result, 0, "{target:?}: {}", std::io::Error::last_os_error());
    };
    mount("", "/", libc::MS_REC | libc::MS_PRIVATE);
    let root = std::env::temp_dir().join("chroot");
    for folder in ["usr", "lib", "lib64", "dev", "proc", "tmp"] {
        let place = root.join(folder);
        std::fs::create_dir_all(&place).unwrap();
        if std::fs::exists(format!("/{folder}")).unwrap() {
            mount(
                &format!("/{folder}"),
                place.to_str().unwrap(),
                libc::MS_BIND | libc::MS_REC,
            );
        }
    }
    std::fs::create_dir(root.join("etc")).unwrap();
    std::fs::write(root.join("etc/passwd"), "of the chroot").unwrap();
    std::os::unix::fs::chroot(&root).unwrap();
    std::env::set_current_dir("/").unwrap();
}

/// Starts a probe that holds the last copy of the socket, and waits to be killed.
fn hold(profile: &str, strictness: Strictness, socket: UnixStream) {
    let (unused, _) = UnixStream::pair().unwrap();
    let _jail = Jail::start_on(profile, "wait", strictness, socket.into(), unused).unwrap();
    loop {
        std::thread::park();
    }
}

/// Starts a gateway where walls may be missing, and says which are.
fn degraded(task: &str) -> String {
    let mut jail =
        Jail::try_start("gateway", task, Strictness::AllowMissing).expect("it starts all the same");
    jail.hear_ready();
    let walls = jingui_jail::measure(jail.child.pid());
    let missing: Vec<_> = walls
        .guarantees(1)
        .into_iter()
        .filter(|(_, in_force)| !in_force)
        .map(|(name, _)| name)
        .collect();
    format!(
        "refused {:?} missing {missing:?}",
        jail.child.refused_namespaces()
    )
}

fn heard(task: &str) -> String {
    let (said, _) = Jail::try_start("gateway", task, Strictness::AllowMissing)
        .unwrap()
        .hear();
    said.replacen("ready", "", 1)
}

/// Makes clone(2) with that flag fail with EPERM, as a container's own filter does.
fn refuse_namespaces(flag: u64) {
    use seccompiler::{
        SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    };
    let condition =
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(flag), flag).unwrap();
    let rules = [(libc::SYS_clone, vec![SeccompRule::new(vec![condition]).unwrap()])].into();
    let here = std::env::consts::ARCH.try_into().unwrap();
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, here).unwrap();
    let program: seccompiler::BpfProgram = filter.try_into().unwrap();
    // This also sets no_new_privs, which changes nothing here.
    seccompiler::apply_filter(&program).unwrap();
}
