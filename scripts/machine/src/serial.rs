//! The serial line: all that came is kept, and waiting for words ends early when the machine is gone.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::screen::Screen;

/// Most bytes of one line that are kept. A console that repeats itself for ever fills no memory.
const KEPT_BYTES_MAX: usize = 16 << 20;
const CHUNK_BYTES: usize = 4096;
/// How much of the end a failure shows.
const SHOWN_BYTES: usize = 2000;

/// The serial line of a running machine.
#[derive(Debug)]
pub struct Serial {
    socket: UnixStream,
    heard: Arc<Line>,
    /// How far [`Serial::expect`] has read.
    read_bytes: usize,
}

#[derive(Debug, Default)]
struct Line {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    is_closed: bool,
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Serial {
    /// Connects to QEMU's end of the line.
    pub(crate) fn connect(socket: &Path) -> anyhow::Result<Self> {
        let socket = UnixStream::connect(socket).context("the serial line")?;
        let mut reading = socket.try_clone()?;
        let heard = Arc::new(Line::default());
        let line = Arc::clone(&heard);
        std::thread::spawn(move || {
            let mut chunk = [0; CHUNK_BYTES];
            while let Ok(count @ 1..) = reading.read(&mut chunk) {
                let mut state = line.lock();
                if state.bytes.len() < KEPT_BYTES_MAX {
                    state
                        .bytes
                        .extend_from_slice(chunk.get(..count).unwrap_or_default());
                }
                line.changed.notify_all();
            }
            line.lock().is_closed = true;
            line.changed.notify_all();
        });
        Ok(Self {
            socket,
            heard,
            read_bytes: 0,
        })
    }

    /// Waits until one of `words` comes after what was expected before. Gives its place in the list.
    pub fn expect_any(&mut self, words: &[&str], patience: Duration) -> anyhow::Result<usize> {
        let deadline = Instant::now() + patience;
        let mut state = self.heard.lock();
        loop {
            let unread = state.bytes.get(self.read_bytes..).unwrap_or_default();
            let first = words
                .iter()
                .enumerate()
                .filter_map(|(index, it)| Some((find(unread, it.as_bytes())? + it.len(), index)))
                .min();
            if let Some((end, index)) = first {
                self.read_bytes += end;
                return Ok(index);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.is_closed {
                let why = if state.is_closed {
                    "the machine is off"
                } else {
                    "too late"
                };
                let from = state.bytes.len().saturating_sub(SHOWN_BYTES);
                let end = String::from_utf8_lossy(state.bytes.get(from..).unwrap_or_default()).into_owned();
                drop(state);
                bail!(
                    "none of {words:?} came ({why}); the line ended with:\n{}",
                    plain(&end)
                );
            }
            state = self
                .heard
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits for these words.
    pub fn expect(&mut self, words: &str, patience: Duration) -> anyhow::Result<()> {
        self.expect_any(&[words], patience).map(|_| ())
    }

    /// Types on the line.
    pub fn send(&mut self, keys: &str) -> anyhow::Result<()> {
        self.socket.write_all(keys.as_bytes()).context("the serial line")
    }

    /// The lines that a terminal on the line shows now.
    #[must_use]
    pub fn page(&self) -> Vec<String> {
        Screen::after(&self.text())
    }

    /// Waits until the page is such that `find` finds something on it.
    pub fn find_on_page<T>(
        &self,
        what: &str,
        patience: Duration,
        find: impl Fn(&[String]) -> Option<T>,
    ) -> anyhow::Result<T> {
        const POLL: Duration = Duration::from_millis(500);
        let deadline = Instant::now() + patience;
        loop {
            let page = self.page();
            if let Some(found) = find(&page) {
                return Ok(found);
            }
            let is_closed = self.heard.lock().is_closed;
            if Instant::now() > deadline || is_closed {
                let why = if is_closed {
                    "the machine is off"
                } else {
                    "too late"
                };
                bail!("{what} is not on the page ({why}):\n{}", page.join("\n").trim());
            }
            std::thread::sleep(POLL);
        }
    }

    /// All that came so far.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().bytes).into_owned()
    }
}

fn find(bytes: &[u8], words: &[u8]) -> Option<usize> {
    bytes.windows(words.len()).position(|it| it == words)
}

/// Without the control sequences of a terminal, for a failure's text.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => {
                if characters.next() == Some('[') {
                    characters.find(|it| ('@'..='~').contains(it));
                }
            }
            '\n' => plain.push('\n'),
            it if it.is_control() => {}
            it => plain.push(it),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn words_are_found_once_each_and_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("line");
        let listener = UnixListener::bind(&path).unwrap();
        let mut serial = Serial::connect(&path).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        far.write_all(b"one two \x1b[1mone").unwrap();
        let patience = Duration::from_secs(5);
        assert_eq!(serial.expect_any(&["two", "one"], patience).unwrap(), 1);
        serial.expect("one", patience).unwrap();
        drop(far);
        let error = serial.expect("one", patience).unwrap_err().to_string();
        assert!(error.contains("off") && error.ends_with("one two one"), "{error}");
    }
}
