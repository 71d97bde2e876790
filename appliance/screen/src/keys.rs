//! Bytes from a terminal as keys.
//!
//! A terminal sends arrows as escape sequences, and a lone Escape as their first byte: which it was shows when nothing
//! follows for a moment ([`Reader::end_of_burst`]). Bytes that are no key of ours are thrown away, whatever they are.

/// Longest escape sequence that is waited for, in bytes.
const SEQUENCE_BYTES_MAX: usize = 16;
const ESCAPE: u8 = 0x1b;

/// A key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Arrow left.
    Left,
    /// Arrow right.
    Right,
    /// Enter.
    Enter,
    /// Escape.
    Escape,
    /// Backspace or Delete.
    Back,
    /// Tab.
    Tab,
    /// Control and L: everything is drawn again.
    Redraw,
    /// A printable ASCII letter, digit or sign. Names, codes and passwords of the box need no others here.
    Sign(char),
    /// Where the cursor stands, as the terminal says when asked: row and column from 1.
    Cursor(u16, u16),
}

/// Cuts bytes into keys.
#[derive(Debug, Default)]
pub struct Reader {
    sequence: Vec<u8>,
}

impl Reader {
    /// Takes bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Key> {
        bytes.iter().filter_map(|byte| self.take(*byte)).collect()
    }

    /// Nothing followed for a moment: an escape byte was the key.
    pub fn end_of_burst(&mut self) -> Option<Key> {
        let is_lone = self.sequence == [ESCAPE];
        self.sequence.clear();
        is_lone.then_some(Key::Escape)
    }

    /// Whether a sequence waits for its rest.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.sequence.is_empty()
    }

    fn take(&mut self, byte: u8) -> Option<Key> {
        if self.sequence.is_empty() {
            return match byte {
                ESCAPE => {
                    self.sequence.push(byte);
                    None
                }
                b'\r' | b'\n' => Some(Key::Enter),
                b'\t' => Some(Key::Tab),
                0x7f | 0x08 => Some(Key::Back),
                0x0c => Some(Key::Redraw),
                0x20..=0x7e => Some(Key::Sign(char::from(byte))),
                _ => None,
            };
        }
        if byte == ESCAPE {
            // The one before was a key of its own, or the start of what never came.
            let is_lone = self.sequence == [ESCAPE];
            self.sequence = vec![ESCAPE];
            return is_lone.then_some(Key::Escape);
        }
        self.sequence.push(byte);
        self.end_sequence(byte)
    }

    /// A sequence ends with a letter or `~`; after `ESC [` and `ESC O` only.
    fn end_sequence(&mut self, byte: u8) -> Option<Key> {
        let is_begun = matches!(self.sequence.get(1), Some(b'[' | b'O'));
        let is_ended = self.sequence.len() > 2 && (0x40..=0x7e).contains(&byte);
        if is_begun && !is_ended && self.sequence.len() < SEQUENCE_BYTES_MAX {
            return None;
        }
        let sequence = std::mem::take(&mut self.sequence);
        match sequence.get(2..).unwrap_or_default() {
            [b'A'] => Some(Key::Up),
            [b'B'] => Some(Key::Down),
            [b'C'] => Some(Key::Right),
            [b'D'] => Some(Key::Left),
            [b'3', b'~'] => Some(Key::Back),
            [place @ .., b'R'] => cursor(place),
            _ => None,
        }
    }
}

fn cursor(place: &[u8]) -> Option<Key> {
    let (row, column) = std::str::from_utf8(place).ok()?.split_once(';')?;
    Some(Key::Cursor(row.parse().ok()?, column.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_are_read_as_terminals_send_them() {
        let keys = |bytes: &[u8]| Reader::default().push(bytes);
        assert_eq!(
            keys(b"\x1b[A\x1b[B\x1b[C\x1b[D\x1bOA"),
            [Key::Up, Key::Down, Key::Right, Key::Left, Key::Up]
        );
        assert_eq!(
            keys(b"aZ~\r\n\t\x7f\x08\x0c"),
            [
                Key::Sign('a'),
                Key::Sign('Z'),
                Key::Sign('~'),
                Key::Enter,
                Key::Enter,
                Key::Tab,
                Key::Back,
                Key::Back,
                Key::Redraw
            ]
        );
        assert_eq!(keys(b"\x1b[24;3R\x1b[3~"), [Key::Cursor(24, 3), Key::Back]);
        assert_eq!(keys(b"\x1b[1;5A\x1b[15~\x1b[Zx"), [Key::Sign('x')]);
        assert_eq!(keys(b"\xe4\xb8\xad\x00\x07"), []);
    }

    #[test]
    fn a_lone_escape_is_a_key_when_nothing_follows() {
        let mut reader = Reader::default();
        assert_eq!(reader.push(b"\x1b"), []);
        assert!(reader.is_waiting());
        assert_eq!(reader.end_of_burst(), Some(Key::Escape));
        assert_eq!(reader.push(b"\x1b\x1b[A"), [Key::Escape, Key::Up]);
        assert_eq!(reader.push(b"\x1b["), []);
        assert_eq!(reader.end_of_burst(), None);
        assert_eq!(reader.push(b"x"), [Key::Sign('x')]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic_or_keep_much(bytes: Vec<u8>) {
            let mut reader = Reader::default();
            let whole = reader.push(&bytes);
            prop_assert!(reader.sequence.len() < SEQUENCE_BYTES_MAX);
            let mut again = Reader::default();
            let pieces: Vec<Key> = bytes.chunks(3).flat_map(|piece| again.push(piece)).collect();
            prop_assert_eq!(whole, pieces);
        }
    }
}
