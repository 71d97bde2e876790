//! What chat templates expect of Python: an environment like the one of `transformers`
//! (`ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)` with its own `tojson`).
//!
//! There is nothing in it that reaches the host: no clock (`strftime_now`), no loader of further templates, no
//! `debug`. Work, output and nesting are bounded.

use std::fmt::Write as _;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, StringInput, ValueKind, from_args};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, Value, escape_formatter};

/// Work of one rendering, in units of the engine: an instruction, or 64 bytes made or read. Templates scale with the
/// conversation, so this much is given, and [`FUEL_PER_ITEM`] and [`FUEL_PER_BYTE_SHIFT`] on top.
pub(crate) const FUEL_BASE: u64 = 300_000;
/// Work for each message, call and tool. The GLM templates need less than 200.
pub(crate) const FUEL_PER_ITEM: u64 = 1_000;
/// Half a unit for each byte of text: every byte may be copied or searched 32 times.
pub(crate) const FUEL_PER_BYTE_SHIFT: u32 = 1;
/// Deepest calls of macros and loops.
pub(crate) const RECURSION_MAX: usize = 100;
/// Deepest nesting that `tojson` writes.
const JSON_DEPTH_MAX: u32 = 128;

/// Planes 15 and 16, where stand-ins for people's characters are taken from ([`crate::provenance`]).
pub(crate) const PRIVATE_PLANES: std::ops::RangeInclusive<char> = '\u{F0000}'..='\u{10FFFD}';

/// What `raise_exception` was called with.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Raised(pub(crate) String);

/// An environment for one template.
pub(crate) fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?,
    );
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_recursion_limit(RECURSION_MAX);
    environment.set_formatter(format_value);
    environment.set_unknown_method_callback(method);
    environment.remove_global("debug");
    environment.add_filter("tojson", to_json);
    environment.add_filter("trim", |text: StringInput<'_>, letters: Option<String>| {
        strip(text.as_str(), letters.as_deref(), Ends::Both)
    });
    environment.add_function("raise_exception", raise_exception);
    Ok(environment)
}

/// Methods of Python's strings, lists and dictionaries.
fn method(state: &mut State<'_, '_>, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    let ends = match name {
        "strip" => Ends::Both,
        "lstrip" => Ends::Left,
        "rstrip" => Ends::Right,
        _ => return minijinja_contrib::pycompat::unknown_method_callback(state, value, name, arguments),
    };
    let Some(text) = value.as_str() else {
        return Err(Error::from(ErrorKind::UnknownMethod));
    };
    let (letters,): (Option<&str>,) = from_args(arguments)?;
    Ok(Value::from(strip(text, letters, ends)))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    Left,
    Right,
    Both,
}

/// `str.strip` and its halves. Python counts four separators as white space that Unicode does not.
fn strip(text: &str, letters: Option<&str>, ends: Ends) -> String {
    let is_space = |letter: char| letter.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&letter);
    let is_stripped = |letter: char| letters.map_or(is_space(letter), |letters| letters.contains(letter));
    let text = if ends == Ends::Right {
        text
    } else {
        text.trim_start_matches(is_stripped)
    };
    let text = if ends == Ends::Left {
        text
    } else {
        text.trim_end_matches(is_stripped)
    };
    text.to_owned()
}

/// What a template says when it refuses, cut to a length that fits an error message.
fn raise_exception(message: String) -> Result<Value, Error> {
    const LETTERS_MAX: usize = 300;
    let message = message.chars().take(LETTERS_MAX).collect();
    Err(Error::new(ErrorKind::InvalidOperation, "the template refuses").with_source(Raised(message)))
}

/// Python's words where they differ from the engine's own.
fn format_value(output: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let word = match value.kind() {
        ValueKind::None => "None".to_owned(),
        ValueKind::Bool if value.is_true() => "True".to_owned(),
        ValueKind::Bool => "False".to_owned(),
        ValueKind::Number if !value.is_integer() => float_repr(f64::try_from(value.clone())?),
        _ => return escape_formatter(output, state, value),
    };
    output
        .write_str(&word)
        .map_err(|_| Error::from(ErrorKind::WriteFailure))
}

/// The `tojson` of `transformers`: `json.dumps(x, ensure_ascii=False, indent=None, separators=None,
/// sort_keys=False)`, without the HTML escapes of Jinja's own.
fn to_json(state: &State<'_, '_>, value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let (item, key) = match separators.as_deref() {
        Some([item, key]) => (item.clone(), key.clone()),
        Some(_) => {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                "separators must be two strings",
            ));
        }
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
    };
    let writer = JsonWriter {
        is_ascii_only: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sorts_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        indent,
        item,
        key,
    };
    options.assert_all_used()?;
    let mut json = String::new();
    writer.write(state, &mut json, value, 0)?;
    Ok(Value::from(json))
}

struct JsonWriter {
    is_ascii_only: bool,
    sorts_keys: bool,
    indent: Option<usize>,
    item: String,
    key: String,
}

impl JsonWriter {
    fn write(
        &self,
        state: &State<'_, '_>,
        json: &mut String,
        value: &Value,
        depth: u32,
    ) -> Result<(), Error> {
        if depth > JSON_DEPTH_MAX {
            return Err(Error::new(
                ErrorKind::BadSerialization,
                "nested too deep for JSON",
            ));
        }
        state.consume_fuel(1)?;
        match value.kind() {
            ValueKind::None => json.push_str("null"),
            ValueKind::Bool => json.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if value.is_integer() => json.push_str(&value.to_string()),
            ValueKind::Number => json.push_str(&float_repr(f64::try_from(value.clone())?)),
            ValueKind::String => self.write_text(state, json, value.as_str().unwrap_or_default())?,
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.checked().collect::<Result<_, _>>()?;
                self.write_all(json, '[', ']', items, depth, |writer, json, item| {
                    writer.write(state, json, &item, depth + 1)
                })?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.checked().collect::<Result<_, _>>()?;
                if self.sorts_keys {
                    keys.sort();
                }
                self.write_all(json, '{', '}', keys, depth, |writer, json, key| {
                    let name = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                    writer.write_text(state, json, &name)?;
                    json.push_str(&writer.key);
                    writer.write(state, json, &value.get_item(&key)?, depth + 1)
                })?;
            }
            _ => {
                return Err(Error::new(
                    ErrorKind::BadSerialization,
                    "not serializable as JSON",
                ));
            }
        }
        Ok(())
    }

    fn write_all(
        &self,
        json: &mut String,
        open: char,
        close: char,
        items: Vec<Value>,
        depth: u32,
        mut write: impl FnMut(&Self, &mut String, Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let is_empty = items.is_empty();
        json.push(open);
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                json.push_str(&self.item);
            }
            self.break_line(json, depth + 1);
            write(self, json, item)?;
        }
        if !is_empty {
            self.break_line(json, depth);
        }
        json.push(close);
        Ok(())
    }

    fn break_line(&self, json: &mut String, depth: u32) {
        if let Some(indent) = self.indent {
            json.push('\n');
            // Bounded: deeper than `JSON_DEPTH_MAX` is refused, and an indent of more than a line is of no use.
            json.extend(std::iter::repeat_n(' ', indent.min(80) * depth as usize));
        }
    }

    fn write_text(&self, state: &State<'_, '_>, json: &mut String, text: &str) -> Result<(), Error> {
        state.consume_fuel((text.len() / 64) as u64)?;
        json.push('"');
        for character in text.chars() {
            self.write_character(json, character);
        }
        json.push('"');
        Ok(())
    }

    fn write_character(&self, json: &mut String, character: char) {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            '\u{0}'..'\u{20}' => escape(json, u16::try_from(u32::from(character)).unwrap_or_default()),
            // Python leaves 0x7F alone, and stand-ins must stay what they are.
            _ if self.is_ascii_only && !character.is_ascii() && !PRIVATE_PLANES.contains(&character) => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    escape(json, *unit);
                }
            }
            other => json.push(other),
        }
    }
}

fn escape(json: &mut String, unit: u16) {
    // Writing to a string cannot fail.
    let _ = write!(json, "\\u{unit:04x}");
}

/// `repr(float)` of Python: the shortest digits that give the number back, with an exponent below 1e-4 and from
/// 1e16 on.
pub(crate) fn float_repr(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if number != 0.0 && !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => format!("{number:?}"),
    }
}

#[cfg(test)]
mod tests {
    use minijinja::context;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn floats_are_written_as_python_writes_them() {
        // Checked with Python 3.11: `repr(x)`.
        let cases = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (123456789.125, "123456789.125"),
            (5e-324, "5e-324"),
        ];
        for (number, text) in cases {
            assert_eq!(float_repr(number), text);
        }
    }

    proptest! {
        #[test]
        fn a_float_written_gives_the_same_number_back(number in any::<f64>()) {
            prop_assume!(number.is_finite());
            prop_assert_eq!(float_repr(number).parse::<f64>().unwrap().to_bits(), number.to_bits());
        }
    }

    fn render(source: &str, value: Value) -> Result<String, Error> {
        environment().unwrap().render_str(source, context! { x => value })
    }

    #[test]
    fn tojson_writes_what_transformers_writes() {
        let value = Value::from_pairs([
            (
                "b",
                Value::from(vec![
                    Value::from(1),
                    Value::from(2.0),
                    Value::from(()),
                    Value::from(true),
                ]),
            ),
            ("a", Value::from("<é>'&\"\\\n\u{1}\u{7f}")),
            ("e", Value::from_pairs::<[(&str, i32); 0], _, _>([])),
        ]);
        // Checked with Python 3.11: json.dumps with the same options.
        let cases = [
            (
                "{{ x | tojson }}",
                r#"{"b": [1, 2.0, null, true], "a": "<é>'&\"\\\n\u0001"#.to_owned() + "\u{7f}\", \"e\": {}}",
            ),
            (
                "{{ x.a | tojson(ensure_ascii=True) }}",
                r#""<\u00e9>'&\"\\\n\u0001"#.to_owned() + "\u{7f}\"",
            ),
            (
                "{{ x.b | tojson(indent=2) }}",
                "[\n  1,\n  2.0,\n  null,\n  true\n]".to_owned(),
            ),
            ("{{ x.e | tojson(indent=2) }}", "{}".to_owned()),
            (
                "{{ x.b | tojson(separators=(',', ':')) }}",
                "[1,2.0,null,true]".to_owned(),
            ),
            (
                "{{ {'z': 1, 'y': '😀'} | tojson(sort_keys=True, ensure_ascii=True) }}",
                r#"{"y": "\ud83d\ude00", "z": 1}"#.to_owned(),
            ),
        ];
        for (source, expected) in cases {
            assert_eq!(render(source, value.clone()).unwrap(), expected, "{source}");
        }
    }

    #[test]
    fn strip_and_trim_take_what_python_counts_as_white_space() {
        // Checked with Python 3.11.
        let text = "\u{1c}\u{3000} \u{85}a\u{200b} \u{1f}\n";
        let cases = [
            ("{{ x.strip() }}", "a\u{200b}"),
            ("{{ x | trim }}", "a\u{200b}"),
            ("{{ x.lstrip() }}", "a\u{200b} \u{1f}\n"),
            ("{{ x.rstrip() }}", "\u{1c}\u{3000} \u{85}a\u{200b}"),
            ("{{ x.strip().strip('a') }}", "\u{200b}"),
            ("{{ '--a-'.strip('-') }}{{ '--a-' | trim('-') }}", "aa"),
        ];
        for (source, stripped) in cases {
            assert_eq!(render(source, Value::from(text)).unwrap(), stripped, "{source}");
        }
    }

    #[test]
    fn json_is_written_down_to_the_bound_of_its_nesting() {
        let nested = |depth: u32| (0..depth).fold(Value::from(1), |inner, _| Value::from(vec![inner]));
        assert!(render("{{ x | tojson }}", nested(JSON_DEPTH_MAX)).is_ok());
        assert!(render("{{ x | tojson }}", nested(JSON_DEPTH_MAX + 1)).is_err());
    }

    #[test]
    fn values_print_as_in_python_and_the_host_is_out_of_reach() {
        assert_eq!(
            render("{{ none }} {{ true }} {{ x }} {{ y }}", Value::from(1.5)).unwrap(),
            "None True 1.5 "
        );
        for source in [
            "{{ strftime_now('%Y') }}",
            "{{ debug() }}",
            "{% include 'a' %}",
            "{{ x.__class__.y }}",
        ] {
            assert!(render(source, Value::from("a")).is_err(), "{source}");
        }
    }
}
