//! The person at the machine: text and a line of answer on every console of the kernel (monitor and serial line).
//!
//! Only for what comes before the local screen: a state that does not open, a passphrase. What is typed is not shown.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use jingui_messages::{Language, explain};
use jingui_trust::Secret;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

/// Longest line that is read.
const LINE_BYTES_MAX: usize = 512;
/// Most consoles that are used.
const CONSOLES_MAX: usize = 8;

/// Somebody who may be there.
pub(crate) trait Person {
    /// Shows words for a code, in the languages that the console can show.
    fn tell(&mut self, code: &str, facts: &[(&str, &str)]);

    /// Waits for a line. `None` when nobody began to answer within `patience`.
    fn ask(&mut self, patience: Option<Duration>) -> io::Result<Option<Secret<String>>>;
}

/// All consoles of this machine.
#[derive(Debug)]
pub(crate) struct Consoles(Vec<Console>);

#[derive(Debug)]
struct Console {
    terminal: File,
    /// A serial line: its far end shows any script. The kernel's own text screen has no Chinese signs.
    is_serial: bool,
    before: Option<Termios>,
}

impl Consoles {
    /// Opens those that the kernel writes to.
    pub(crate) fn open(root: &Path) -> Self {
        let active = fs::read_to_string(root.join("sys/class/tty/console/active")).unwrap_or_default();
        let consoles = names(&active).take(CONSOLES_MAX).filter_map(|name| {
            Console::open(
                &root.join("dev").join(&name),
                name.starts_with("ttyS") || name.starts_with("ttyAMA"),
            )
        });
        Self(consoles.collect())
    }

    fn wait(&self, timeout: PollTimeout) -> io::Result<Option<usize>> {
        let mut watched: Vec<PollFd<'_>> = self
            .0
            .iter()
            .map(|console| PollFd::new(console.terminal.as_fd(), PollFlags::POLLIN))
            .collect();
        match poll(&mut watched, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(watched.iter().position(|one| one.any().unwrap_or_default()))
    }
}

/// Devices of the kernel's consoles: `tty0` stands for the screen in front, whose first one is ours.
fn names(active: &str) -> impl Iterator<Item = String> + '_ {
    let is_name = |name: &&str| name.chars().all(|sign| sign.is_ascii_alphanumeric());
    active.split_whitespace().filter(is_name).map(|name| match name {
        "tty0" => "tty1".to_owned(),
        other => other.to_owned(),
    })
}

impl Console {
    fn open(path: &Path, is_serial: bool) -> Option<Self> {
        let terminal = OpenOptions::new().read(true).write(true).open(path).ok()?;
        let before = tcgetattr(&terminal).ok();
        if let Some(before) = &before {
            let mut quiet = before.clone();
            quiet.local_flags.insert(LocalFlags::ICANON);
            quiet.local_flags.remove(LocalFlags::ECHO);
            // A console that cannot hide what is typed is better than none: somebody stands in front of it.
            let _ = tcsetattr(&terminal, SetArg::TCSADRAIN, &quiet);
        }
        Some(Self {
            terminal,
            is_serial,
            before,
        })
    }

    /// Writes; a console that nobody reads is not waited for.
    fn write(&mut self, text: &str) {
        let _ = self.terminal.write_all(text.as_bytes());
    }

    fn line(&mut self) -> io::Result<Secret<String>> {
        let mut bytes = vec![0; LINE_BYTES_MAX];
        let count = self.terminal.read(&mut bytes)?;
        bytes.truncate(count);
        let bytes = Secret::new(bytes);
        let text = String::from_utf8_lossy(bytes.expose());
        Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(&self.terminal, SetArg::TCSADRAIN, before);
        }
    }
}

impl Person for Consoles {
    fn tell(&mut self, code: &str, facts: &[(&str, &str)]) {
        for console in &mut self.0 {
            let languages: &[Language] = if console.is_serial {
                &[Language::Chinese, Language::English]
            } else {
                &[Language::English]
            };
            for language in languages {
                let words = explain(code, *language, facts);
                console.write(&format!(
                    "\r\n{}\r\n{}\r\n{}\r\n",
                    words.what, words.why, words.remedy
                ));
            }
            console.write(&format!("[{code}]\r\n> "));
        }
    }

    fn ask(&mut self, patience: Option<Duration>) -> io::Result<Option<Secret<String>>> {
        let deadline = patience.map(|patience| Instant::now() + patience);
        loop {
            let timeout = match deadline {
                None => PollTimeout::NONE,
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(None);
                    }
                    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
                }
            };
            if self.0.is_empty() && deadline.is_none() {
                return Err(io::Error::other("this machine has no console"));
            }
            let Some(index) = self.wait(timeout)? else {
                continue;
            };
            let Some(console) = self.0.get_mut(index) else {
                continue;
            };
            return match console.line() {
                // A console that hung up is not asked again.
                Err(_) => {
                    self.0.remove(index);
                    continue;
                }
                Ok(line) => {
                    console.write("\r\n");
                    Ok(Some(line))
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_screen_is_its_first_terminal_and_odd_names_are_no_device() {
        let found: Vec<String> = names("tty0 ttyS0 ../sda\n").collect();
        assert_eq!(found, ["tty1", "ttyS0"]);
        assert_eq!(names("").count(), 0);
    }
}
