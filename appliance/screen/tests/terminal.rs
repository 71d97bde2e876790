//! The real program on a real pseudo-terminal, with a scripted supervisor behind its socket: what a person reads is what a
//! small monitor of ours makes of the bytes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test program")]

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use jingui_ipc::Channel;
use jingui_ipc::screen::{Done, FromSupervisor, MESSAGE_BYTES_MAX, Picture, Reply, Request, ToSupervisor};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};

/// How long anything may take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// A terminal with the program on it.
struct Terminal {
    program: Child,
    master: File,
    monitor: Monitor,
    requests: Receiver<Request>,
    _folder: tempfile::TempDir,
}

/// One at a time: a program that is started while another's terminal is being made would hold it open.
static SPAWNING: Mutex<()> = Mutex::new(());

/// The program on a new pseudo-terminal, and the other end of that.
fn spawn(socket: &Path, kind: &str, (columns, rows): (u16, u16)) -> (Child, File) {
    let _alone = SPAWNING.lock().unwrap();
    let size = Winsize {
        ws_col: columns,
        ws_row: rows,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let pty = openpty(Some(&size), None).unwrap();
    // Duplicates are closed on exec, the ends themselves are not.
    let (master, slave) = (pty.master.try_clone().unwrap(), pty.slave.try_clone().unwrap());
    drop(pty);
    let end = || Stdio::from(slave.try_clone().unwrap());
    let program = Command::new(env!("CARGO_BIN_EXE_jingui-screen"))
        .arg("--socket")
        .arg(socket)
        .env("TERM", kind)
        .stdin(end())
        .stdout(end())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    (program, File::from(master))
}

impl Terminal {
    fn start(kind: &str, shows_chinese: bool, size: (u16, u16), picture: Picture) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("screen.sock");
        let requests = supervise(UnixListener::bind(&socket).unwrap(), picture);
        let (program, master) = spawn(&socket, kind, size);
        Self {
            program,
            master,
            monitor: Monitor::new(shows_chinese),
            requests,
            _folder: folder,
        }
    }

    /// Reads until the monitor shows that text.
    fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.monitor.text().contains(text) {
            assert!(
                Instant::now() < deadline,
                "never {text:?}:\n{}",
                self.monitor.text()
            );
            self.read();
        }
    }

    fn read(&mut self) {
        let mut watched = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut watched, PollTimeout::from(100_u16)).unwrap() == 0 {
            return;
        }
        let mut bytes = [0; 4096];
        // The other end is gone when this fails.
        let count = self.master.read(&mut bytes).unwrap_or(0);
        if self.monitor.take(&bytes[..count]) {
            self.master.write_all(b"\x1b[1;3R").unwrap();
        }
    }

    fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    fn asked(&self) -> Request {
        self.requests.recv_timeout(PATIENCE).unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// A supervisor that shows one picture and says yes to every act, which it passes on.
fn supervise(listener: UnixListener, picture: Picture) -> Receiver<Request> {
    let (acts, requests) = channel();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut channel = Channel::bounded(socket.unwrap(), MESSAGE_BYTES_MAX);
            while let Ok(ToSupervisor { number, request }) = channel.receive() {
                let reply = match &request {
                    Request::Look => Reply::Picture(Box::new(picture.clone())),
                    Request::LookAtNetwork => Reply::Network(support::network()),
                    _ => Reply::Done(Done {
                        leaf_index: 42,
                        facts: Vec::new(),
                    }),
                };
                if !matches!(request, Request::Look | Request::LookAtNetwork) {
                    acts.send(request).unwrap();
                }
                if channel.send(&FromSupervisor { number, reply }).is_err() {
                    break;
                }
            }
        }
    });
    requests
}

/// A monitor that knows the sequences that ours uses, and no other: any other fails the test.
struct Monitor {
    shows_chinese: bool,
    rows: Vec<Vec<char>>,
    at: (usize, usize),
    rest: Vec<u8>,
}

impl Monitor {
    fn new(shows_chinese: bool) -> Self {
        Self {
            shows_chinese,
            rows: Vec::new(),
            at: (0, 0),
            rest: Vec::new(),
        }
    }

    fn text(&self) -> String {
        let lines = self.rows.iter().map(|row| row.iter().collect::<String>());
        // The second column of a wide sign is not a sign.
        lines.collect::<Vec<_>>().join("\n").replace('\0', "")
    }

    /// Takes bytes; says whether it was asked where its cursor is and answers that.
    fn take(&mut self, bytes: &[u8]) -> bool {
        self.rest.extend_from_slice(bytes);
        let mut was_asked = false;
        while let Some(length) = self.step(&mut was_asked) {
            self.rest.drain(..length);
        }
        was_asked && self.shows_chinese
    }

    /// Takes one sign or sequence from the rest; gives its length, or `None` until there is more.
    fn step(&mut self, was_asked: &mut bool) -> Option<usize> {
        match *self.rest.first()? {
            0x1b => self.sequence(was_asked),
            b'\r' => {
                self.at.0 = 0;
                Some(1)
            }
            0x0f => Some(1),
            first => {
                let length = match first {
                    0..0x80 => 1,
                    0xc0..0xe0 => 2,
                    0xe0..0xf0 => 3,
                    _ => 4,
                };
                let bytes = self.rest.get(..length)?.to_vec();
                let sign = std::str::from_utf8(&bytes).unwrap().chars().next().unwrap();
                assert!(!sign.is_control(), "{sign:?} reached the terminal");
                self.put(sign);
                Some(length)
            }
        }
    }

    fn sequence(&mut self, was_asked: &mut bool) -> Option<usize> {
        if *self.rest.get(1)? == b'%' {
            return (self.rest.len() >= 3).then_some(3);
        }
        assert_eq!(self.rest[1], b'[', "{:?}", self.rest);
        let end = self
            .rest
            .iter()
            .skip(2)
            .position(|byte| byte.is_ascii_alphabetic())?
            + 2;
        let words = String::from_utf8(self.rest[2..end].to_vec()).unwrap();
        match (words.as_str(), self.rest[end]) {
            (_, b'H') => {
                let mut numbers = words.split(';').map(|word| word.parse::<usize>().unwrap_or(1));
                let row = numbers.next().unwrap_or(1);
                self.at = (numbers.next().unwrap_or(1) - 1, row - 1);
            }
            ("2", b'J') => self.rows.clear(),
            ("6", b'n') => *was_asked = true,
            ("", b'K') => {
                if let Some(row) = self.rows.get_mut(self.at.1) {
                    row.truncate(self.at.0);
                }
            }
            (_, b'm') | ("", b'r') | ("?25", b'l' | b'h') => {}
            other => panic!("an unknown sequence: {other:?}"),
        }
        Some(end + 1)
    }

    fn put(&mut self, sign: char) {
        let (x, y) = self.at;
        while self.rows.len() <= y {
            self.rows.push(Vec::new());
        }
        let row = &mut self.rows[y];
        let width = jingui_screen::text::width(&sign.to_string());
        while row.len() < x + width {
            row.push(' ');
        }
        // As terminals do: half of a wide sign is no sign.
        if row[x] == '\0' && x > 0 {
            row[x - 1] = ' ';
        }
        if let Some(next) = row.get_mut(x + width).filter(|next| **next == '\0') {
            *next = ' ';
        }
        row[x] = sign;
        if width == 2 {
            row[x + 1] = '\0';
        }
        self.at.0 += width;
    }
}

#[test]
fn a_person_at_the_monitor_reads_the_code_and_restarts_the_box() {
    let mut terminal = Terminal::start("linux", false, (80, 24), support::fresh());
    for text in ["7KQM-2XHB-R9CF-WT4P", "https://10.0.2.15:8443", "1017 1E25 2C33"] {
        terminal.wait_for(text);
    }
    terminal.press("\r");
    terminal.wait_for("Recovery menu");
    terminal.press("\x1b[B\r");
    terminal.wait_for("The box restarts.");
    terminal.press("\ryes\r");
    terminal.wait_for("Nothing was done.");
    terminal.press("restart\r");
    assert!(matches!(terminal.asked(), Request::Restart));
    terminal.wait_for("The box restarts now.");
    terminal.press("\x1b");
    terminal.wait_for("Recovery menu");
    terminal.press("\x1b");
    terminal.wait_for("The box");
}

#[test]
fn addresses_that_were_typed_arrive_as_addresses() {
    let mut terminal = Terminal::start("vt220", false, (80, 24), support::troubled());
    terminal.wait_for("None yet");
    terminal.press("\r1");
    terminal.wait_for("enp2s0");
    terminal.press("\x1b[B\r");
    terminal.wait_for("Interface enp2s0");
    terminal.press("\r10.0.3.15/24\r\r\r\r\r");
    terminal.wait_for("enp2s0 static 10.0.3.15/24");
    terminal.press("\rnetwork\r");
    match terminal.asked() {
        Request::SetNetwork(settings) => {
            let lines: Vec<String> = settings.interfaces.iter().map(ToString::to_string).collect();
            assert_eq!(
                lines,
                [
                    "enp1s0 static 10.0.2.15/24 via 10.0.2.2",
                    "enp2s0 static 10.0.3.15/24"
                ]
            );
        }
        other => panic!("{other:?}"),
    }
    terminal.wait_for("The network settings are in force.");
}

#[test]
fn a_terminal_that_shows_chinese_gets_chinese_and_a_large_one_is_filled() {
    let mut terminal = Terminal::start("xterm", true, (128, 48), support::fresh());
    terminal.wait_for("设备状态");
    terminal.wait_for("初始化口令");
    terminal.wait_for("Enter 菜单");
    assert!(
        terminal.monitor.rows[47]
            .iter()
            .collect::<String>()
            .contains("Enter")
    );
    terminal.press("l");
    terminal.wait_for("Setup code");
}

#[test]
fn whatever_is_typed_and_however_the_line_is_the_program_stays() {
    let mut terminal = Terminal::start("dumb", false, (0, 0), support::fresh());
    terminal.wait_for("Setup code");
    let hostile: Vec<u8> = (0..20_000_u32)
        .map(|number| u8::try_from(number.wrapping_mul(2_654_435_761) >> 24).unwrap())
        .filter(|byte| *byte != b'\r' && *byte != b'\n')
        .collect();
    for piece in hostile.chunks(512) {
        terminal.master.write_all(piece).unwrap();
        terminal.read();
    }
    // Wherever that led, Escape leads back.
    let deadline = Instant::now() + PATIENCE;
    while !terminal.monitor.text().contains("Setup code") {
        assert!(
            Instant::now() < deadline,
            "no way back:\n{}",
            terminal.monitor.text()
        );
        terminal.press("\x1b");
        thread::sleep(Duration::from_millis(100));
        terminal.press("\x0c");
        terminal.read();
    }
    assert!(terminal.program.try_wait().unwrap().is_none());
}

#[test]
fn the_program_can_open_no_file_and_gain_no_right() {
    let mut terminal = Terminal::start("linux", false, (80, 24), support::fresh());
    terminal.wait_for("Setup code");
    let status = std::fs::read_to_string(format!("/proc/{}/status", terminal.program.id())).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
}

#[test]
fn the_terminal_is_as_before_when_the_program_ends_and_the_program_ends_with_its_terminal() {
    let mut terminal = Terminal::start("linux", false, (80, 24), support::fresh());
    terminal.wait_for("Setup code");
    let gone: OwnedFd = std::mem::replace(&mut terminal.master, File::open("/dev/null").unwrap()).into();
    drop(gone);
    let deadline = Instant::now() + PATIENCE;
    while terminal.program.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "it outlives its terminal");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_supervisor_that_goes_and_comes_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("screen.sock");
    let (program, master) = spawn(&socket, "linux", (80, 24));
    let (_, requests) = channel();
    let mut terminal = Terminal {
        program,
        master,
        monitor: Monitor::new(false),
        requests,
        _folder: folder,
    };
    terminal.wait_for("Waiting for the supervisor");
    let listener = UnixListener::bind(&socket).unwrap();
    // One that says nonsense is left, and the next one is asked.
    let (mut babbler, _) = listener.accept().unwrap();
    babbler.write_all(&[0xff; 64]).unwrap();
    drop(babbler);
    terminal.requests = supervise(listener, support::fresh());
    terminal.wait_for("7KQM-2XHB-R9CF-WT4P");
}
