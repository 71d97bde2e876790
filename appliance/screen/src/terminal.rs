//! The terminal: a monitor's text console or a serial line. Plain sequences that every one of them knows (ECMA-48: cursor,
//! erase, eight colours, bold, reverse); nothing is asked of terminfo, nothing outlives the program.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::termios::{FlushArg, SetArg, Termios, cfmakeraw, tcflush, tcgetattr, tcsetattr};
use ratatui::backend::{Backend, ClearType, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};
use ratatui::style::{Color, Modifier};

use crate::text;

/// Size of a terminal that does not know its own, as serial lines do not.
pub const SIZE_DEFAULT: (u16, u16) = (80, 24);
/// Smallest size that is drawn; a smaller terminal gets a part of it.
pub const SIZE_MIN: (u16, u16) = (80, 24);
/// Largest size that is drawn: what a terminal says of itself is not believed beyond that.
pub const SIZE_MAX: (u16, u16) = (240, 100);

/// A terminal in raw mode; as it was before when dropped.
#[derive(Debug)]
pub struct Raw {
    terminal: OwnedFd,
    before: Termios,
}

impl Raw {
    /// Puts the terminal into raw mode: each key comes at once and is not shown.
    ///
    /// # Errors
    /// When it is no terminal.
    pub fn enter(terminal: OwnedFd) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(&terminal, SetArg::TCSANOW, &raw)?;
        // What was typed before the page was there was typed for somebody else.
        tcflush(&terminal, FlushArg::TCIFLUSH)?;
        Ok(Self { terminal, before })
    }

    /// Its size now, within the bounds.
    #[must_use]
    pub fn size(&self) -> (u16, u16) {
        let told = jingui_jail::terminal_size(self.terminal.as_fd()).ok().flatten();
        let (columns, rows) = told.unwrap_or(SIZE_DEFAULT);
        (
            columns.clamp(SIZE_MIN.0, SIZE_MAX.0),
            rows.clamp(SIZE_MIN.1, SIZE_MAX.1),
        )
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may be gone; then nobody misses its mode.
        let _ = tcsetattr(&self.terminal, SetArg::TCSANOW, &self.before);
    }
}

/// Where cells are drawn.
#[derive(Debug)]
pub struct Plain<W: Write> {
    out: W,
    size: (u16, u16),
    /// Where the next sign would land, if that is known.
    at: Option<(u16, u16)>,
    look: Option<Look>,
}

/// How signs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    foreground: Color,
    background: Color,
    modifier: Modifier,
}

impl<W: Write> Plain<W> {
    /// Draws to `out`.
    pub fn new(out: W, size: (u16, u16)) -> Self {
        Self {
            out,
            size,
            at: None,
            look: None,
        }
    }

    /// The terminal has another size from now on.
    pub fn resize(&mut self, size: (u16, u16)) {
        self.size = size;
    }

    fn go(&mut self, x: u16, y: u16) -> io::Result<()> {
        if self.at != Some((x, y)) {
            write!(self.out, "\x1b[{};{}H", u32::from(y) + 1, u32::from(x) + 1)?;
        }
        Ok(())
    }

    fn look(&mut self, look: Look) -> io::Result<()> {
        if self.look == Some(look) {
            return Ok(());
        }
        self.out.write_all(b"\x1b[0")?;
        if look.modifier.contains(Modifier::BOLD) {
            self.out.write_all(b";1")?;
        }
        if look.modifier.contains(Modifier::REVERSED) {
            self.out.write_all(b";7")?;
        }
        for (base, colour) in [(30, look.foreground), (40, look.background)] {
            if let Some(number) = number_of(colour) {
                write!(self.out, ";{}", base + number)?;
            }
        }
        self.out.write_all(b"m")?;
        self.look = Some(look);
        Ok(())
    }
}

/// Of the eight colours that the first colour terminals had; all others are the terminal's own.
const fn number_of(colour: Color) -> Option<u8> {
    match colour {
        Color::Black => Some(0),
        Color::Red => Some(1),
        Color::Green => Some(2),
        Color::Yellow => Some(3),
        Color::Blue => Some(4),
        Color::Magenta => Some(5),
        Color::Cyan => Some(6),
        Color::White => Some(7),
        _ => None,
    }
}

impl<W: Write> Backend for Plain<W> {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        for (x, y, cell) in content {
            self.go(x, y)?;
            self.look(Look {
                foreground: cell.fg,
                background: cell.bg,
                modifier: cell.modifier,
            })?;
            // The last wall: whatever a page let through, nothing but plain signs reaches the terminal.
            let sign = cell.symbol();
            let sign = if sign.chars().all(text::is_plain) {
                sign
            } else {
                "?"
            };
            self.out.write_all(sign.as_bytes())?;
            let end = usize::from(x) + text::width(sign);
            let end = u16::try_from(end).unwrap_or(u16::MAX);
            // At the last column terminals differ about where the cursor is.
            self.at = (end < self.size.0).then_some((end, y));
        }
        Ok(())
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        self.out.write_all(b"\x1b[?25l")
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        self.out.write_all(b"\x1b[?25h")
    }

    fn get_cursor_position(&mut self) -> io::Result<Position> {
        let (x, y) = self.at.unwrap_or_default();
        Ok(Position { x, y })
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        let Position { x, y } = position.into();
        self.at = None;
        self.go(x, y)?;
        self.at = Some((x, y));
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.at = None;
        self.look = None;
        // The character sets as well: a serial line may have left them anywhere. UTF-8 is asked for (ISO 2022).
        self.out.write_all(b"\x1b[0m\x1b%G\x0f\x1b[r\x1b[2J\x1b[H")
    }

    fn clear_region(&mut self, _region: ClearType) -> io::Result<()> {
        self.clear()
    }

    fn size(&self) -> io::Result<Size> {
        Ok(Size::new(self.size.0, self.size.1))
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize {
            columns_rows: self.size()?,
            pixels: Size::new(0, 0),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::widgets::Paragraph;

    fn drawn(text: &str) -> String {
        let mut terminal = Terminal::new(Plain::new(Vec::new(), (20, 2))).unwrap();
        terminal
            .draw(|frame| frame.render_widget(Paragraph::new(text), frame.area()))
            .unwrap();
        String::from_utf8(terminal.backend().out.clone()).unwrap()
    }

    #[test]
    fn neighbouring_signs_are_written_in_one_go() {
        let out = drawn("7KQM-2XHB");
        assert!(out.contains("7KQM-2XHB"), "{out:?}");
    }

    #[test]
    fn nothing_but_plain_signs_reaches_the_terminal() {
        let mut backend = Plain::new(Vec::new(), (20, 2));
        let mut cell = Cell::new("a");
        cell.set_symbol("\x1b]0;x\x07");
        backend.draw([(0, 0, &cell)].into_iter()).unwrap();
        let out = String::from_utf8(backend.out).unwrap();
        assert!(out.ends_with('?') && !out.contains("]0"), "{out:?}");
    }

    #[test]
    fn wide_signs_move_by_two_columns() {
        let out = drawn("金匮x");
        assert!(out.contains("金匮x"), "{out:?}");
    }
}
