//! `jingui-screen [--socket PATH]`, with its standard input and output on the terminal.

use std::io::{self, BufWriter, Read, Stdout, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use jingui_ipc::screen::{SOCKET_PATH, ToSupervisor};
use jingui_messages::Language;
use jingui_screen::app::{App, Happening, Order};
use jingui_screen::draw::draw;
use jingui_screen::keys::{Key, Reader};
use jingui_screen::link::{self, Heard};
use jingui_screen::terminal::{Plain, Raw};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ratatui::Terminal;

const EXIT_USAGE: u8 = 64;
const EXIT_UNAVAILABLE: u8 = 4;
/// Events that may wait for the page.
const EVENTS_MAX: usize = 64;
/// How often the page looks by itself whether something is due.
const TICK: Duration = Duration::from_millis(250);
/// How often everything is drawn again: a monitor was plugged in, or the kernel wrote over the page.
const REDRAW: Duration = Duration::from_secs(30);
/// How long the rest of an escape sequence may take.
const BURST: u16 = 50;
/// How long a terminal may take to say where its cursor is.
const PROBE_MS: u16 = 300;
/// Bytes that are read at once.
const READ_BYTES: usize = 256;

/// Something for the page.
enum Event {
    Key(Key),
    Heard(Heard),
    /// The terminal is gone.
    End,
}

fn main() -> ExitCode {
    let socket = match socket_of(std::env::args_os().skip(1)) {
        Some(socket) => socket,
        None => {
            eprintln!("usage: jingui-screen [--socket PATH]");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match run(socket) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("screen: {error:#}");
            ExitCode::from(EXIT_UNAVAILABLE)
        }
    }
}

fn socket_of(mut words: impl Iterator<Item = std::ffi::OsString>) -> Option<PathBuf> {
    match (words.next(), words.next(), words.next()) {
        (None, ..) => Some(PathBuf::from(SOCKET_PATH)),
        (Some(name), Some(path), None) if name == "--socket" => Some(path.into()),
        _ => None,
    }
}

fn run(socket: PathBuf) -> anyhow::Result<()> {
    // First of all, while there is one thread: no file can be opened any more. A kernel without landlock leaves the
    // walls of the unit.
    jingui_jail::shut_in().context("walls")?;
    let terminal = io::stdout().as_fd().try_clone_to_owned().context("terminal")?;
    let raw = Raw::enter(terminal).context("terminal")?;
    let mut reader = Reader::default();
    let can_show_chinese = can_show_chinese(&mut reader).context("terminal")?;
    let language = if can_show_chinese {
        Language::Chinese
    } else {
        Language::English
    };
    let (events, inbox) = sync_channel(EVENTS_MAX);
    link::start(socket, events.clone(), Event::Heard).context("threads")?;
    thread::Builder::new()
        .name("keys".to_owned())
        .spawn(move || read_keys(reader, &events))
        .context("threads")?;
    let mut screen = Screen::new(raw, App::new(language, can_show_chinese))?;
    screen.run(&inbox)
}

/// Whether this terminal shows Chinese. The kernel's text console has no such letters. Any other is asked: one that takes
/// a Chinese letter for one of two columns knows it. One that says nothing, such as a line that nobody is at, does not.
fn can_show_chinese(reader: &mut Reader) -> io::Result<bool> {
    if std::env::var_os("TERM").is_some_and(|name| name == "linux") {
        return Ok(false);
    }
    let mut out = io::stdout();
    out.write_all("\x1b%G\r中\x1b[6n".as_bytes())?;
    out.flush()?;
    let deadline = Instant::now() + Duration::from_millis(PROBE_MS.into());
    let mut answer = false;
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        let left = u16::try_from(left.as_millis()).unwrap_or(PROBE_MS).max(1);
        let Some(bytes) = read_within(PollTimeout::from(left))? else {
            break;
        };
        let keys = reader.push(&bytes);
        // Whatever else was typed meanwhile was typed before there was a page.
        if let Some(Key::Cursor(_, column)) = keys.iter().find(|key| matches!(key, Key::Cursor(..))) {
            answer = *column == 3;
            break;
        }
    }
    out.write_all(b"\r\x1b[K")?;
    out.flush()?;
    Ok(answer)
}

/// Bytes of the terminal; `None` when none came in time, none at all at its end.
fn read_within(patience: PollTimeout) -> io::Result<Option<Vec<u8>>> {
    let input = io::stdin();
    let mut watched = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    if poll(&mut watched, patience)? == 0 {
        return Ok(None);
    }
    let mut bytes = vec![0; READ_BYTES];
    let count = input.lock().read(&mut bytes)?;
    bytes.truncate(count);
    Ok(Some(bytes))
}

fn read_keys(mut reader: Reader, events: &SyncSender<Event>) {
    loop {
        let patience = if reader.is_waiting() {
            PollTimeout::from(BURST)
        } else {
            PollTimeout::NONE
        };
        let keys = match read_within(patience) {
            Ok(Some(bytes)) if bytes.is_empty() => break,
            Ok(Some(bytes)) => reader.push(&bytes),
            Ok(None) => reader.end_of_burst().into_iter().collect(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Vec::new(),
            Err(_) => break,
        };
        for key in keys {
            if events.send(Event::Key(key)).is_err() {
                return;
            }
        }
    }
    let _ = events.send(Event::End);
}

/// The page and where it is drawn.
struct Screen {
    app: App,
    raw: Raw,
    size: (u16, u16),
    terminal: Terminal<Plain<BufWriter<Stdout>>>,
    questions: Option<SyncSender<ToSupervisor>>,
    drawn_whole_at: Instant,
}

impl Screen {
    fn new(raw: Raw, app: App) -> anyhow::Result<Self> {
        let size = raw.size();
        let mut terminal = Terminal::new(Plain::new(BufWriter::new(io::stdout()), size))?;
        terminal.clear()?;
        terminal.hide_cursor()?;
        Ok(Self {
            app,
            raw,
            size,
            terminal,
            questions: None,
            drawn_whole_at: Instant::now(),
        })
    }

    fn run(&mut self, inbox: &Receiver<Event>) -> anyhow::Result<()> {
        let mut ticked_at = Instant::now();
        loop {
            self.draw()?;
            let patience = TICK.saturating_sub(ticked_at.elapsed());
            let orders = match inbox.recv_timeout(patience) {
                Ok(Event::Key(key)) => self.app.take(Happening::Key(key)),
                Ok(Event::Heard(heard)) => self.hear(heard),
                Ok(Event::End) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    ticked_at = Instant::now();
                    self.app.take(Happening::Tick)
                }
            };
            self.carry_out(orders)?;
        }
        self.terminal.show_cursor()?;
        self.terminal.clear()?;
        Ok(())
    }

    fn hear(&mut self, heard: Heard) -> Vec<Order> {
        match heard {
            Heard::Connected(questions) => {
                self.questions = Some(questions);
                self.app.take(Happening::Connected)
            }
            Heard::Told(told) => self.app.take(Happening::Told(told)),
            Heard::Gone => {
                self.questions = None;
                self.app.take(Happening::Gone)
            }
        }
    }

    fn carry_out(&mut self, orders: Vec<Order>) -> anyhow::Result<()> {
        for order in orders {
            match order {
                Order::Redraw => self.redraw()?,
                Order::Ask(question) => {
                    // A queue that is full belongs to a supervisor that does not read: its end is told soon.
                    if let Some(questions) = &self.questions {
                        let _ = questions.try_send(question);
                    }
                }
            }
        }
        Ok(())
    }

    fn draw(&mut self) -> anyhow::Result<()> {
        let size = self.raw.size();
        if size != self.size {
            self.size = size;
            self.terminal.backend_mut().resize(size);
            self.redraw()?;
        } else if self.drawn_whole_at.elapsed() >= REDRAW {
            self.redraw()?;
        }
        let app = &self.app;
        self.terminal.draw(|frame| draw(app, frame))?;
        Ok(())
    }

    fn redraw(&mut self) -> anyhow::Result<()> {
        self.drawn_whole_at = Instant::now();
        self.terminal.clear()?;
        Ok(())
    }
}
