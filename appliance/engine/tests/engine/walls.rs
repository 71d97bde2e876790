//! The program as the supervisor starts it: what it does behind its walls, and that it does nothing without them.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use jingui_ipc::engine::{Order, Report, SUPERVISOR_FD, WEIGHTS_FD};
use jingui_ipc::{Channel, ChannelError};
use jingui_jail::{Child, ExitReason, Identity, Launch, Strictness};

use crate::harness::{Gateway, PATIENCE, cases, endless, model_path, order, request};

const PROGRAM: &str = env!("CARGO_BIN_EXE_jingui-engine");
/// A user that no machine uses.
const USER: u32 = 64_321;

struct Process {
    child: Child,
    supervisor: Channel,
}

impl Process {
    /// The engine behind all walls that this machine gives.
    fn start() -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let program = OwnedFd::from(File::open(PROGRAM).unwrap());
        let mut launch = Launch::new(
            program,
            CString::new("jingui-engine").unwrap(),
            Identity::best(USER, USER),
        );
        launch.descriptors = vec![
            (theirs.into(), SUPERVISOR_FD),
            (File::open(model_path()).unwrap().into(), WEIGHTS_FD),
        ];
        launch.strictness = Strictness::AllowMissing;
        let child = jingui_jail::launch(launch).unwrap();
        Self {
            child,
            supervisor: Channel::new(ours),
        }
    }

    fn report(&mut self) -> Report {
        self.supervisor.receive().unwrap()
    }

    fn serving(stream_count: u32) -> Self {
        let mut process = Self::start();
        assert!(matches!(process.report(), Report::Confined { .. }));
        process
            .supervisor
            .send(&Order::Load(order(stream_count, 2048)))
            .unwrap();
        loop {
            match process.report() {
                Report::Loading { .. } => {}
                Report::Serving { .. } => return process,
                other => panic!("{other:?}"),
            }
        }
    }

    fn connect(&mut self) -> Gateway {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        self.supervisor
            .send_with(&Order::Gateway, &[theirs.as_fd()])
            .unwrap();
        Gateway {
            channel: Channel::new(ours),
        }
    }
}

#[test]
fn behind_its_walls_the_program_answers_and_drains() {
    let mut process = Process::serving(4);
    let walls = format!("{:?}", jingui_jail::measure(process.child.pid()));
    let mut gateway = process.connect();
    for (stream, case) in (0..).zip(cases().into_iter().step_by(7)) {
        let answer = gateway.answer(request(stream, case.prompt));
        assert_eq!(answer.text(), case.reference_output, "{} behind {walls}", case.id);
    }
    // A second gateway, and with it new threads behind the filter of system calls.
    let mut again = process.connect();
    assert!(gateway.is_closed());
    let case = &cases()[0];
    assert_eq!(
        again.answer(request(1, case.prompt.clone())).text(),
        case.reference_output
    );
    process
        .supervisor
        .send(&Order::Drain { deadline_ms: 1000 })
        .unwrap();
    assert!(again.is_closed());
    assert_eq!(process.child.wait(), ExitReason::Exited(0), "{walls}");
}

#[test]
fn the_program_ends_when_its_supervisor_is_gone_even_in_the_middle_of_work() {
    let mut process = Process::serving(2);
    let mut gateway = process.connect();
    (0..4).for_each(|stream| gateway.generate(endless(stream)));
    gateway.first_token(1);
    let Process {
        mut child,
        supervisor,
    } = process;
    drop(supervisor);
    assert_eq!(child.wait(), ExitReason::Exited(1));
    assert!(gateway.is_closed());
}

#[test]
fn a_killed_engine_is_seen_by_both_sides_at_once() {
    let mut process = Process::serving(2);
    let mut gateway = process.connect();
    gateway.generate(endless(1));
    gateway.first_token(1);
    process.child.kill();
    assert!(gateway.is_closed());
    loop {
        match process.supervisor.receive::<Report>() {
            Ok(_) => {}
            Err(ChannelError::Closed | ChannelError::CutOff) => break,
            Err(ChannelError::Socket(error)) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                break;
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn without_walls_the_program_reads_no_order_and_says_so() {
    let output = Command::new(PROGRAM)
        .env_clear()
        .arg0("jingui-engine")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    assert!(!output.stderr.is_empty());
}
