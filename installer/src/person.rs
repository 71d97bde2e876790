//! Who stands at the machine: lines out, lines in, on every console that the kernel names.
//!
//! Plain lines instead of a painted screen: they work on a serial line, on a monitor without a driver of its own, and in
//! a log that somebody reads later. A monitor's text console has no Chinese letters, so it is spoken to in English.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use jingui_messages::{Language, explain, phrase};

use crate::survey::Roots;

/// Most consoles that are spoken to.
const CONSOLES_MAX: usize = 8;
/// Longest line that is taken.
const LINE_BYTES_MAX: usize = 256;

/// One thing that is said, in both languages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    chinese: String,
    english: String,
}

/// Somebody who reads and answers.
pub trait Person {
    /// Says a line from now on in that language only.
    fn speak(&mut self, language: Language);

    /// Says something.
    fn say(&mut self, said: &Said);

    /// Says how far something is, in place of what was said so before.
    fn progress(&mut self, said: &Said);

    /// Asks, and waits for a line.
    ///
    /// # Errors
    /// When there is nobody to answer.
    fn ask(&mut self, question: &Said) -> io::Result<String>;
}

impl Said {
    /// A phrase of the catalogue.
    #[must_use]
    pub fn phrase<V: AsRef<str>>(key: &str, facts: &[(&str, V)]) -> Self {
        let text = |language| phrase(key, language, facts).unwrap_or_else(|| key.to_owned());
        Self {
            chinese: text(Language::Chinese),
            english: text(Language::English),
        }
    }

    /// A phrase that scripts wait for: its key stands behind it.
    #[must_use]
    pub fn milestone<V: AsRef<str>>(key: &str, facts: &[(&str, V)]) -> Self {
        let said = Self::phrase(key, facts);
        Self {
            chinese: format!("{} [{key}]", said.chinese),
            english: format!("{} [{key}]", said.english),
        }
    }

    /// What a code means: what happened, why, what to do, and the code.
    #[must_use]
    pub fn code<N: AsRef<str>, V: AsRef<str>>(code: &str, facts: &[(N, V)]) -> Self {
        let text = |language| {
            let words = explain(code, language, facts);
            format!("{} {} {} [{code}]", words.what, words.why, words.remedy)
        };
        Self {
            chinese: text(Language::Chinese),
            english: text(Language::English),
        }
    }

    /// What happened only, for a place in a list.
    #[must_use]
    pub fn what(code: &str) -> Self {
        let none: [(&str, &str); 0] = [];
        Self {
            chinese: explain(code, Language::Chinese, &none).what,
            english: explain(code, Language::English, &none).what,
        }
    }

    /// The same in both languages.
    #[must_use]
    pub fn plain(text: &str) -> Self {
        Self {
            chinese: text.to_owned(),
            english: text.to_owned(),
        }
    }

    /// One after the other.
    #[must_use]
    pub fn then(&self, other: &Self) -> Self {
        Self {
            chinese: format!("{}{}", self.chinese, other.chinese),
            english: format!("{}{}", self.english, other.english),
        }
    }

    /// The text in that language, or in both.
    #[must_use]
    pub fn text(&self, language: Option<Language>) -> String {
        match language {
            Some(Language::Chinese) => self.chinese.clone(),
            Some(Language::English) => self.english.clone(),
            None if self.chinese == self.english => self.english.clone(),
            None => format!("{} / {}", self.chinese, self.english),
        }
    }
}

/// Every console of the machine.
#[derive(Debug)]
pub struct Consoles {
    consoles: Vec<Console>,
    lines: Receiver<String>,
    language: Option<Language>,
}

#[derive(Debug)]
struct Console {
    to: File,
    is_monitor: bool,
    /// Characters of the progress that is shown, to be written over.
    shown: usize,
}

impl Consoles {
    /// Those that the kernel writes to.
    ///
    /// # Errors
    /// When none can be opened.
    pub fn open(roots: &Roots) -> io::Result<Self> {
        let active = fs::read_to_string(roots.sys.join("class/tty/console/active"))?;
        let (sender, lines) = channel();
        let mut consoles = Vec::new();
        for name in active.split_whitespace().take(CONSOLES_MAX) {
            let opened = OpenOptions::new()
                .read(true)
                .write(true)
                .open(roots.dev.join(name));
            let Ok(to) = opened else { continue };
            listen(to.try_clone()?, sender.clone())?;
            let number = name.strip_prefix("tty").unwrap_or_default();
            consoles.push(Console {
                to,
                is_monitor: !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()),
                shown: 0,
            });
        }
        if consoles.is_empty() {
            return Err(io::Error::other("no console can be opened"));
        }
        Ok(Self {
            consoles,
            lines,
            language: None,
        })
    }

    /// Standard input and output, for trying it out.
    ///
    /// # Errors
    /// When they cannot be duplicated, or no thread can be made.
    pub fn standard() -> io::Result<Self> {
        let (sender, lines) = channel();
        let input = File::from(std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned()?);
        listen(input, sender)?;
        let to = File::from(std::os::fd::AsFd::as_fd(&io::stdout()).try_clone_to_owned()?);
        let console = Console {
            to,
            is_monitor: false,
            shown: 0,
        };
        Ok(Self {
            consoles: vec![console],
            lines,
            language: None,
        })
    }

    fn write(&mut self, said: &Said, end: &str) {
        for console in &mut self.consoles {
            let language = if console.is_monitor {
                Some(Language::English)
            } else {
                self.language
            };
            let text = said.text(language);
            let width = text.chars().count();
            // A console that is gone is not missed: the others are.
            let rest = " ".repeat(console.shown.saturating_sub(width));
            let start = if console.shown > 0 { "\r" } else { "" };
            let _ = console
                .to
                .write_all(format!("{start}{text}{rest}{end}").as_bytes());
            let _ = console.to.flush();
            console.shown = if end.is_empty() { width } else { 0 };
        }
    }
}

impl Person for Consoles {
    fn speak(&mut self, language: Language) {
        self.language = Some(language);
    }

    fn say(&mut self, said: &Said) {
        self.write(said, "\r\n");
    }

    fn progress(&mut self, said: &Said) {
        self.write(said, "");
    }

    fn ask(&mut self, question: &Said) -> io::Result<String> {
        // What was typed before the question is no answer to it.
        while self.lines.try_recv().is_ok() {}
        self.write(&question.then(&Said::plain(" ")), "\r\n> ");
        self.lines
            .recv()
            .map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))
    }
}

fn listen(from: File, lines: Sender<String>) -> io::Result<()> {
    thread::Builder::new().name("console".to_owned()).spawn(move || {
        let mut reader = BufReader::new(from);
        loop {
            let mut line = Vec::new();
            let bounded = &mut io::Read::take(&mut reader, LINE_BYTES_MAX as u64);
            match bounded.read_until(b'\n', &mut line) {
                Ok(count) if count > 0 => {}
                _ => return,
            }
            let text = String::from_utf8_lossy(&line).trim().to_owned();
            if lines.send(text).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}
