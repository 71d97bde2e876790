//! The JSON of leaves: objects, lists, strings, non-negative integers and booleans, in the canonical form of
//! RFC 8785. Nothing else exists here, so a float, a null or a huge number cannot get into a leaf.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Integers stay below 2^53, so that every JSON reader keeps them whole (RFC 8785, appendix D).
pub(crate) const INTEGER_MAX: u64 = (1 << 53) - 1;
/// Deepest nesting of a leaf: the leaf, `det`, a list in it.
const DEPTH_MAX: usize = 4;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Json {
    Boolean(bool),
    Integer(u64),
    Text(String),
    List(Vec<Json>),
    Object(Object),
}

/// Names and values. Written in the order of names, whatever the order here.
pub(crate) type Object = Vec<(Cow<'static, str>, Json)>;

impl Json {
    /// Canonical bytes. Names of all our objects are ASCII, where order by bytes is RFC 8785's order by UTF-16.
    pub(crate) fn write(&self, out: &mut String) {
        match self {
            Self::Boolean(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Integer(value) => write_integer(*value, out),
            Self::Text(text) => write_text(text, out),
            Self::List(values) => {
                out.push('[');
                for (position, value) in values.iter().enumerate() {
                    if position > 0 {
                        out.push(',');
                    }
                    value.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                members.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
                out.push('{');
                for (position, (name, value)) in members.into_iter().enumerate() {
                    if position > 0 {
                        out.push(',');
                    }
                    write_text(name, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    /// Reads a text without blanks. What it accepts is not yet canonical: the caller writes it again and compares.
    /// On refusal, the byte at which reading stopped.
    pub(crate) fn parse(text: &str) -> Result<Self, usize> {
        let mut reader = Reader { text, position: 0 };
        match reader.value(DEPTH_MAX) {
            Some(value) if reader.rest().is_empty() => Ok(value),
            _ => Err(reader.position),
        }
    }
}

/// Lower-case hexadecimal digits: digests are most of what a leaf is made of, so no formatter is used.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| {
        char::from(if nibble < 10 {
            b'0' + nibble
        } else {
            b'a' + nibble - 10
        })
    };
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 0x0f)])
        .collect()
}

fn write_integer(value: u64, out: &mut String) {
    // Writing into a `String` cannot fail.
    let _ = write!(out, "{value}");
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
        let (plain, from) = rest.split_at(at);
        out.push_str(plain);
        let mut characters = from.chars();
        if let Some(c) = characters.next() {
            write_escape(c, out);
        }
        rest = characters.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

fn write_escape(c: char, out: &mut String) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\u{08}' => out.push_str("\\b"),
        '\u{09}' => out.push_str("\\t"),
        '\u{0a}' => out.push_str("\\n"),
        '\u{0c}' => out.push_str("\\f"),
        '\u{0d}' => out.push_str("\\r"),
        c => {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    /// Steps over `token` if it comes next.
    fn eat(&mut self, token: &str) -> bool {
        let is_next = self.rest().starts_with(token);
        if is_next {
            self.position += token.len();
        }
        is_next
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        match self.peek()? {
            b'{' => self.object(depth.checked_sub(1)?),
            b'[' => self.list(depth.checked_sub(1)?),
            b'"' => self.string().map(Json::Text),
            b'0'..=b'9' => self.integer(),
            b't' => self.eat("true").then_some(Json::Boolean(true)),
            b'f' => self.eat("false").then_some(Json::Boolean(false)),
            _ => None,
        }
    }

    fn object(&mut self, depth: usize) -> Option<Json> {
        let mut members = Object::new();
        self.position += 1;
        if self.eat("}") {
            return Some(Json::Object(members));
        }
        loop {
            let name = self.string()?;
            if !self.eat(":") {
                return None;
            }
            members.push((name.into(), self.value(depth)?));
            if self.eat("}") {
                return Some(Json::Object(members));
            }
            if !self.eat(",") {
                return None;
            }
        }
    }

    fn list(&mut self, depth: usize) -> Option<Json> {
        let mut values = Vec::new();
        self.position += 1;
        if self.eat("]") {
            return Some(Json::List(values));
        }
        loop {
            values.push(self.value(depth)?);
            if self.eat("]") {
                return Some(Json::List(values));
            }
            if !self.eat(",") {
                return None;
            }
        }
    }

    fn integer(&mut self) -> Option<Json> {
        let digit_count = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let value = self
            .rest()
            .get(..digit_count)?
            .parse()
            .ok()
            .filter(|value| *value <= INTEGER_MAX)?;
        self.position += digit_count;
        Some(Json::Integer(value))
    }

    fn string(&mut self) -> Option<String> {
        if !self.eat("\"") {
            return None;
        }
        let mut text = String::new();
        loop {
            let rest = self.rest();
            let plain = rest.find(['"', '\\'])?;
            text.push_str(rest.get(..plain)?);
            self.position += plain + 1;
            if rest.as_bytes().get(plain) == Some(&b'"') {
                return Some(text);
            }
            text.push(self.escaped()?);
        }
    }

    /// The character of an escape, whose backslash was read. Only the escapes that canonical JSON uses.
    fn escaped(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.position += 1;
        Some(match letter {
            b'"' => '"',
            b'\\' => '\\',
            b'b' => '\u{08}',
            b't' => '\u{09}',
            b'n' => '\u{0a}',
            b'f' => '\u{0c}',
            b'r' => '\u{0d}',
            b'u' => {
                let digits = self.rest().get(..4)?;
                self.position += 4;
                char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
            }
            _ => return None,
        })
    }
}
