//! The claims, and how a jailed process is started for one.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use jingui_jail::{Child, ExitReason, Identity, Launch, LaunchError, Namespace, Step, Strictness};

use crate::probe::{HOSTILE, REFUSED, REFUSED_TO_ENGINE, REFUSED_TO_GATEWAY};

/// Longest wait for a jailed process. Never reached when all is well.
const PATIENCE: Duration = Duration::from_secs(30);

/// User and group that stand for the gateway's in these tests.
const JAILED_USER: u32 = 61001;

/// A supplementary group that root may have, and a jailed process must not.
const ROOTS_GROUP: u32 = 4;

pub(crate) const CLAIMS: &[(&str, fn())] = &[
    ("hostile_calls_end_the_process", hostile_calls_end_the_process),
    ("other_calls_are_refused", other_calls_are_refused),
    (
        "the_gateway_sees_no_file_but_its_own",
        the_gateway_sees_no_file_but_its_own,
    ),
    (
        "an_engine_changes_no_file_but_its_tier",
        an_engine_changes_no_file_but_its_tier,
    ),
    ("what_an_engine_needs_works", what_an_engine_needs_works),
    ("what_a_gateway_needs_works", what_a_gateway_needs_works),
    (
        "all_walls_stand_when_measured_from_outside",
        all_walls_stand_when_measured_from_outside,
    ),
    (
        "walls_that_do_not_stand_are_measured_as_missing",
        walls_that_do_not_stand_are_measured_as_missing,
    ),
    (
        "namespaces_alone_keep_the_host_out_of_reach",
        namespaces_alone_keep_the_host_out_of_reach,
    ),
    (
        "a_folder_that_was_given_leads_nowhere_else",
        a_folder_that_was_given_leads_nowhere_else,
    ),
    ("only_what_was_given_is_open", only_what_was_given_is_open),
    (
        "the_environment_is_empty_and_the_process_is_the_first",
        the_environment_is_empty_and_the_process_is_the_first,
    ),
    ("ends_are_told_apart", ends_are_told_apart),
    ("a_dropped_child_is_gone", a_dropped_child_is_gone),
    ("a_child_dies_with_its_parent", a_child_dies_with_its_parent),
    (
        "what_cannot_be_executed_is_told_with_its_step",
        what_cannot_be_executed_is_told_with_its_step,
    ),
    (
        "a_program_in_a_closed_folder_can_be_jailed",
        a_program_in_a_closed_folder_can_be_jailed,
    ),
    (
        "a_program_that_was_not_launched_does_not_confine_itself",
        a_program_that_was_not_launched_does_not_confine_itself,
    ),
    (
        "only_root_can_give_another_identity",
        only_root_can_give_another_identity,
    ),
    (
        "refused_namespaces_stop_a_strict_start",
        refused_namespaces_stop_a_strict_start,
    ),
    (
        "without_user_namespaces_the_rest_still_stands",
        without_user_namespaces_the_rest_still_stands,
    ),
    (
        "in_a_chroot_all_but_the_user_namespace_still_stands",
        in_a_chroot_all_but_the_user_namespace_still_stands,
    ),
    (
        "without_any_namespace_landlock_and_filter_still_stand",
        without_any_namespace_landlock_and_filter_still_stand,
    ),
];

pub(crate) fn is_root() -> bool {
    // SAFETY: always succeeds, no memory is passed.
    unsafe { libc::geteuid() == 0 }
}

/// A jailed probe with what its profile gets, and our side of it.
pub(crate) struct Jail {
    pub(crate) child: Child,
    pub(crate) control: UnixStream,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) state: PathBuf,
    _above: tempfile::TempDir,
    _listener: TcpListener,
}

impl Jail {
    pub(crate) fn start(profile: &str, task: &str) -> Self {
        Self::try_start(profile, task, Strictness::Require).expect("the probe starts")
    }

    pub(crate) fn try_start(profile: &str, task: &str, strictness: Strictness) -> Result<Self, LaunchError> {
        let (control, theirs) = UnixStream::pair().unwrap();
        control.set_read_timeout(Some(PATIENCE)).unwrap();
        Self::start_on(profile, task, strictness, theirs.into(), control)
    }

    /// As [`Jail::try_start`], on a socket that is there already.
    pub(crate) fn start_on(
        profile: &str,
        task: &str,
        strictness: Strictness,
        theirs: OwnedFd,
        control: UnixStream,
    ) -> Result<Self, LaunchError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (above, state) = own_folder();
        let mut launch = probe_launch(&[profile, task]);
        launch.strictness = strictness;
        launch.descriptors = vec![(theirs, 3)];
        match profile {
            "engine" => {
                let places = [(weights(), 4), (writable(), 6), (writable(), 7)];
                launch.descriptors.extend(places);
            }
            _ => {
                launch.descriptors.push((listener.try_clone().unwrap().into(), 4));
                launch.descriptors.push((File::open(&state).unwrap().into(), 5));
            }
        }
        let address = listener.local_addr().unwrap();
        let child = jingui_jail::launch(launch)?;
        Ok(Self {
            child,
            control,
            address,
            state,
            _above: above,
            _listener: listener,
        })
    }

    /// All that the probe says until it ends, and how it ended.
    pub(crate) fn hear(mut self) -> (String, ExitReason) {
        let mut said = String::new();
        let heard = self.control.read_to_string(&mut said);
        heard.unwrap_or_else(|error| panic!("the probe hangs after {said:?}: {error}"));
        (said, self.child.wait())
    }

    /// Waits for the word that the probe says when it is ready.
    pub(crate) fn hear_ready(&mut self) {
        let mut word = [0; 5];
        self.control
            .read_exact(&mut word)
            .expect("the probe becomes ready");
        assert_eq!(&word, b"ready");
    }

    fn let_go(&mut self) {
        self.control.write_all(b"go").unwrap();
    }
}

fn probe_launch(arguments: &[&str]) -> Launch {
    let program = OwnedFd::from(File::open("/proc/self/exe").unwrap());
    let identity = Identity::best(JAILED_USER, JAILED_USER);
    let mut launch = Launch::new(program, CString::new(crate::PROBE).unwrap(), identity);
    launch.arguments = arguments
        .iter()
        .map(|text| CString::new(*text).unwrap())
        .collect();
    launch
}

/// A state folder: (the folder above it, the folder). It belongs to the jailed user, and the one above to a user who
/// shares it with nobody: so it is when root runs the box from somebody's home.
fn own_folder() -> (tempfile::TempDir, PathBuf) {
    let above = tempfile::tempdir().unwrap();
    let state = above.path().join("state");
    fs::create_dir(&state).unwrap();
    for folder in [above.path(), &state] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
    }
    if is_root() {
        std::os::unix::fs::chown(&state, Some(JAILED_USER), Some(JAILED_USER)).unwrap();
        let other = crate::ORDINARY_USER;
        std::os::unix::fs::chown(above.path(), Some(other), Some(other)).unwrap();
    }
    (above, state)
}

/// Weights as the supervisor hands them over: a descriptor that can only read.
fn weights() -> OwnedFd {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&[7; 8192]).unwrap();
    File::open(file.path()).unwrap().into()
}

fn writable() -> OwnedFd {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[7; 8192]).unwrap();
    file.rewind().unwrap();
    file.into()
}

fn hostile_calls_end_the_process() {
    for profile in ["engine", "gateway"] {
        for (name, _) in HOSTILE {
            let (said, reason) = Jail::start(profile, name).hear();
            assert_eq!(said, "ready", "{profile} survived {name}");
            assert!(reason.is_forbidden_call(), "{profile} after {name}: {reason:?}");
        }
    }
}

fn other_calls_are_refused() {
    for profile in ["engine", "gateway"] {
        for (name, _) in REFUSED {
            let (said, reason) = Jail::start(profile, name).hear();
            assert!(said.starts_with("readyrefused "), "{profile}: {name}: {said}");
            assert_eq!(reason, ExitReason::Exited(0), "{profile} after {name}");
        }
    }
}

fn the_gateway_sees_no_file_but_its_own() {
    for (name, _) in REFUSED_TO_GATEWAY {
        let (said, reason) = Jail::start("gateway", name).hear();
        assert!(said.starts_with("readyrefused "), "{name}: {said}");
        assert_eq!(reason, ExitReason::Exited(0), "{name}");
    }
}

fn an_engine_changes_no_file_but_its_tier() {
    for (name, _) in REFUSED_TO_ENGINE {
        let (said, reason) = Jail::start("engine", name).hear();
        assert!(said.starts_with("readyrefused "), "{name}: {said}");
        assert_eq!(reason, ExitReason::Exited(0), "{name}");
    }
}

fn what_an_engine_needs_works() {
    let mut jail = Jail::start("engine", "engine-work");
    jail.hear_ready();
    let (ours, theirs) = UnixStream::pair().unwrap();
    jingui_jail::send_descriptors(jail.control.as_fd(), b"g", &[theirs.as_fd()]).unwrap();
    drop(theirs);
    let mut greeting = String::new();
    (&ours).read_to_string(&mut greeting).unwrap();
    let (said, reason) = jail.hear();
    assert_eq!((said.as_str(), reason), ("done", ExitReason::Exited(0)));
    assert_eq!(greeting, "hello over a descriptor that was received");
}

fn what_a_gateway_needs_works() {
    let mut jail = Jail::start("gateway", "gateway-work");
    jail.hear_ready();
    let mut connection = TcpStream::connect(jail.address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection.write_all(b"ping").unwrap();
    let mut answer = [0; 4];
    connection.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"pong");
    let mut said = String::new();
    jail.control.read_to_string(&mut said).unwrap();
    assert_eq!(
        (said.as_str(), jail.child.wait()),
        ("done", ExitReason::Exited(0))
    );
    assert_eq!(fs::read(jail.state.join("kept")).unwrap(), b"across the wall");
    assert!(!jail.state.join("journal").exists());
}

fn check_guarantees(child: &Child, missing: &[&str]) {
    let walls = jingui_jail::measure(child.pid());
    let found: Vec<&str> = walls
        .guarantees(1)
        .into_iter()
        .filter(|(_, in_force)| !in_force)
        .map(|(name, _)| name)
        .collect();
    assert_eq!(found, missing, "{walls:?}");
}

fn all_walls_stand_when_measured_from_outside() {
    if is_root() {
        // SAFETY: one group is announced and passed, and only read.
        assert_eq!(unsafe { libc::setgroups(1, [ROOTS_GROUP].as_ptr()) }, 0);
    }
    for profile in ["engine", "gateway"] {
        let mut jail = Jail::start(profile, "wait-with-threads");
        jail.hear_ready();
        assert!(jail.child.refused_namespaces().is_empty());
        // An ordinary user has no other user to give.
        check_guarantees(&jail.child, if is_root() { &[] } else { &["own-user"] });
        if is_root() {
            assert_eq!(jingui_jail::measure(jail.child.pid()).host_uid, Some(JAILED_USER));
            let status = fs::read_to_string(format!("/proc/{}/status", jail.child.pid())).unwrap();
            assert!(
                status.contains("\nGroups:\t \n"),
                "groups of root are left: {status}"
            );
            let ours = fs::read_to_string("/proc/thread-self/status").unwrap();
            assert!(
                ours.contains(&format!("\nGroups:\t{ROOTS_GROUP} \n")),
                "ours are not: {ours}"
            );
        }
        jail.let_go();
        assert_eq!(jail.hear().1, ExitReason::Exited(0));
    }
}

fn walls_that_do_not_stand_are_measured_as_missing() {
    let mut jail = Jail::start("unconfined", "wait");
    jail.hear_ready();
    let missing: &[&str] = if is_root() {
        &["empty-root", "no-capabilities", "seccomp"]
    } else {
        &["empty-root", "own-user", "no-capabilities", "seccomp"]
    };
    check_guarantees(&jail.child, missing);
    jail.let_go();
    jail.hear();
}

fn namespaces_alone_keep_the_host_out_of_reach() {
    let name = format!("jingui-jail-test-{}", std::process::id());
    let abstract_socket = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    abstract_socket.set_nonblocking(true).unwrap();
    let host = TcpListener::bind("127.0.0.1:0").unwrap();
    host.set_nonblocking(true).unwrap();
    let mut jail = Jail::start("unconfined", "reach-the-host");
    jail.hear_ready();
    let port = host.local_addr().unwrap().port();
    writeln!(jail.control, "{port} {name} {}", std::process::id()).unwrap();
    let (said, reason) = jail.hear();
    let refused = format!(
        "tcp {} abstract {} kill {}",
        libc::ENETUNREACH,
        libc::ECONNREFUSED,
        libc::ESRCH
    );
    assert_eq!((said, reason), (refused, ExitReason::Exited(0)));
    assert_eq!(host.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(
        abstract_socket.accept().unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
}

fn a_folder_that_was_given_leads_nowhere_else() {
    let (said, reason) = Jail::start("unconfined", "climb-out-of-the-folder").hear();
    assert_eq!(
        (said.as_str(), reason),
        ("readysame folder", ExitReason::Exited(0))
    );
}

fn only_what_was_given_is_open() {
    // Open in this process, and not closed on exec: as careless as can be.
    let stray = File::open("/proc/self/exe").unwrap();
    // SAFETY: asks for a new descriptor; no memory is passed.
    let copy = unsafe { libc::fcntl(stray.as_raw_fd(), libc::F_DUPFD, 40) };
    assert!(copy >= 40);
    let mut launch = probe_launch(&["unconfined", "list-descriptors"]);
    let (mut control, theirs) = UnixStream::pair().unwrap();
    // Given under numbers that are other descriptors' own here, crosswise.
    let pair = [OwnedFd::from(theirs), weights()];
    let numbers: [RawFd; 2] = [3, 200];
    launch.descriptors = pair.into_iter().zip(numbers).collect();
    launch.stderr = Some(OwnedFd::from(
        File::options().write(true).open("/dev/null").unwrap(),
    ));
    let mut child = jingui_jail::launch(launch).unwrap();
    let mut said = String::new();
    control.read_to_string(&mut said).unwrap();
    child.wait();
    // SAFETY: closes the copy made above, which nothing else uses.
    unsafe { libc::close(copy) };
    assert_eq!(said, "ready0 1 2 3 200");
}

fn the_environment_is_empty_and_the_process_is_the_first() {
    let (said, reason) = Jail::start("engine", "who").hear();
    let expected = "readyenvironment 0 pid 1 parent 0 uid 0 gid 0 host jail core 0 0";
    assert_eq!((said.as_str(), reason), (expected, ExitReason::Exited(0)));
}

fn ends_are_told_apart() {
    assert_eq!(Jail::start("engine", "exit-7").hear().1, ExitReason::Exited(7));
    assert_eq!(Jail::start("engine", "panic").hear().1, ExitReason::Exited(101));
    // Process 1 cannot be ended by its own SIGABRT; the C library then makes a fault, by kind of processor.
    let aborted = Jail::start("engine", "abort").hear().1;
    assert!(
        matches!(
            aborted,
            ExitReason::Signalled(libc::SIGABRT | libc::SIGSEGV | libc::SIGTRAP | libc::SIGILL)
        ),
        "{aborted:?}"
    );
    let mut jail = Jail::start("engine", "wait");
    jail.hear_ready();
    assert_eq!(jail.child.try_wait(), None);
    jail.child.kill();
    assert_eq!(jail.child.wait(), ExitReason::Signalled(libc::SIGKILL));
    assert_eq!(jail.child.try_wait(), Some(ExitReason::Signalled(libc::SIGKILL)));
    jail.child.kill();
}

fn a_dropped_child_is_gone() {
    let mut jail = Jail::start("gateway", "wait");
    jail.hear_ready();
    let folder = format!("/proc/{}", jail.child.pid());
    assert!(fs::exists(&folder).unwrap());
    drop(jail);
    assert!(!fs::exists(&folder).unwrap());
}

/// Runs this program as a supervisor: its standard input is the socket by which it, or its child, speaks.
/// The folder is for its temporary files, which it cannot remove when it is killed.
fn start_parent(task: &str) -> (Parent, UnixStream, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    let parent = Command::new("/proc/self/exe")
        .arg0(crate::PARENT)
        .arg(task)
        .env("TMPDIR", folder.path())
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .unwrap();
    (Parent(parent), ours, folder)
}

/// Does not outlive a claim that fails.
struct Parent(std::process::Child);

impl Drop for Parent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn a_child_dies_with_its_parent() {
    for profile in ["engine", "gateway", "unconfined", "without-user"] {
        let (mut parent, mut ours, _folder) = start_parent(&format!("hold-{profile}"));
        let mut word = [0; 5];
        ours.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"ready");
        parent.0.kill().unwrap();
        parent.0.wait().unwrap();
        // The child held the last copy of the other end and waits for ever: the end comes by its death alone.
        let mut rest = Vec::new();
        ours.read_to_end(&mut rest).expect("the child is gone");
    }
}

fn what_cannot_be_executed_is_told_with_its_step() {
    let mut text = tempfile::tempfile().unwrap();
    text.write_all(b"no program").unwrap();
    let launch = Launch::new(text.into(), c"x".into(), Identity::best(JAILED_USER, JAILED_USER));
    match jingui_jail::launch(launch) {
        Err(error @ LaunchError::Entry { step: Step::Exec, .. }) => {
            assert_eq!(error.code(), "system.jail.launch-failed");
        }
        other => panic!("{other:?}"),
    }
}

fn a_program_in_a_closed_folder_can_be_jailed() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("program");
    fs::copy("/proc/self/exe", &place).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    let program = File::open(&place).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o000)).unwrap();
    let mut launch = probe_launch(&["engine", "exit-7"]);
    launch.program = program.into();
    let (_ours, theirs) = UnixStream::pair().unwrap();
    launch.descriptors = vec![(theirs.into(), 3)];
    let reason = jingui_jail::launch(launch).unwrap().wait();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(reason, ExitReason::Exited(7));
}

fn a_program_that_was_not_launched_does_not_confine_itself() {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let (mut parent, mut ours, _folder) = start_parent("confine-itself");
    let mut said = String::new();
    ours.read_to_string(&mut said).unwrap();
    parent.0.wait().unwrap();
    assert_eq!(said, "not launched");
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts);
}

fn only_root_can_give_another_identity() {
    let mut launch = probe_launch(&["engine", "exit-7"]);
    launch.identity = Identity::Mapped {
        uid: JAILED_USER,
        gid: JAILED_USER,
    };
    let (_ours, theirs) = UnixStream::pair().unwrap();
    launch.descriptors = vec![(theirs.into(), 3)];
    match (is_root(), jingui_jail::launch(launch)) {
        (true, Ok(mut child)) => assert_eq!(child.wait(), ExitReason::Exited(7)),
        (false, Err(LaunchError::Identity(_))) => {}
        (_, other) => panic!("{other:?}"),
    }
}

fn hear_parent(task: &str) -> String {
    let (mut parent, mut ours, _folder) = start_parent(task);
    let mut said = String::new();
    ours.read_to_string(&mut said).unwrap();
    assert!(parent.0.wait().unwrap().success(), "{task}: {said}");
    said
}

fn refused_namespaces_stop_a_strict_start() {
    // Only root may make the others without a user namespace.
    let refused = if is_root() {
        vec![Namespace::User]
    } else {
        Namespace::ALL.to_vec()
    };
    assert_eq!(hear_parent("strict-without-user"), format!("refused {refused:?}"));
}

fn without_user_namespaces_the_rest_still_stands() {
    // Only root may make the others then; an ordinary user is left with none.
    if is_root() {
        assert_eq!(
            hear_parent("degraded-without-user"),
            "refused [User] missing [\"user-namespace\"]"
        );
    }
}

fn in_a_chroot_all_but_the_user_namespace_still_stands() {
    // The kernel gives no user namespace to whoever is in a chroot, and only root can make one.
    if is_root() {
        let expected = "refused [User] missing [\"user-namespace\"] passwd refused own file kept";
        assert_eq!(hear_parent("degraded-in-a-chroot"), expected);
    }
}

fn without_any_namespace_landlock_and_filter_still_stand() {
    let said = hear_parent("degraded-without-all");
    let namespaces = [
        "user-namespace",
        "network-namespace",
        "mount-namespace",
        "pid-namespace",
        "ipc-namespace",
        "empty-root",
    ];
    for name in namespaces {
        assert!(said.contains(name), "{name} is not reported: {said}");
    }
    for name in ["no-new-privileges", "seccomp", "landlock", "no-core-dumps"] {
        assert!(!said.contains(&format!("{name:?}")), "{name} is missing: {said}");
    }
    assert!(said.contains("passwd refused"), "{said}");
    assert!(said.contains("own file kept"), "{said}");
    assert!(said.contains("connect forbidden"), "{said}");
}
