//! Calls of tools in the model's dialect, by the grammars that `jingui-chat` makes (its golden files).

use std::path::PathBuf;

use jingui_ipc::engine::Grammar;
use serde_json::{Map, Value, json};

use crate::judge::fault;
use crate::table::{answer, compile};

fn grammar(name: &str) -> Grammar {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../chat/tests/data/grammars");
    Grammar::Lark(std::fs::read_to_string(folder.join(name)).unwrap())
}

/// The schema from which the grammars of `weather` were made.
fn weather() -> Value {
    json!({"type": "object", "properties": {
        "city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 7},
        "unit": {"type": "string", "enum": ["C", "F"]}, "note": {"type": ["string", "null"]},
        "code": {"type": "string"}, "when": {"type": "string", "format": "date"},
        "place": {"type": "object", "properties": {"lat": {"type": "number"}}, "required": ["lat"], "additionalProperties": false},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3}},
        "required": ["city", "days", "unit", "note", "code", "when", "place", "tags"], "additionalProperties": false})
}

/// Keys of `weather` whose values are bare text.
const BARE: [&str; 5] = ["city", "unit", "note", "code", "when"];

/// A call, read in the plainest way: name and arguments. JSON values may hold the closing tag.
fn read_call(text: &str) -> (String, Map<String, Value>, &str) {
    let rest = text
        .trim_start_matches('\n')
        .strip_prefix("<tool_call>")
        .unwrap_or_else(|| panic!("{text}"));
    let name_length = rest.find(['\n', '<']).unwrap();
    let (name, mut rest) = rest.split_at(name_length);
    let mut arguments = Map::new();
    loop {
        rest = rest.trim_start_matches('\n');
        if let Some(rest) = rest.strip_prefix("</tool_call>") {
            return (name.to_owned(), arguments, rest);
        }
        let (key, after) = rest
            .strip_prefix("<arg_key>")
            .unwrap_or_else(|| panic!("no key at {rest:?} of {text:?}"))
            .split_once("</arg_key>")
            .unwrap();
        let value = after
            .trim_start_matches('\n')
            .strip_prefix("<arg_value>")
            .unwrap();
        let (value, after) = if name != "weather" || BARE.contains(&key) {
            let (text, after) = value.split_once("</arg_value>").unwrap();
            let is_null = key == "note" && text.trim() == "null";
            (if is_null { Value::Null } else { json!(text) }, after)
        } else {
            // The first closing tag behind whole JSON.
            value
                .match_indices("</arg_value>")
                .find_map(|(place, tag)| {
                    Some((
                        serde_json::from_str(&value[..place]).ok()?,
                        &value[place + tag.len()..],
                    ))
                })
                .unwrap_or_else(|| panic!("no JSON: {value}"))
        };
        arguments.insert(key.to_owned(), value);
        rest = after;
    }
}

fn check_call(name: &str, arguments: &Map<String, Value>) {
    match name {
        "weather" => {
            let value = Value::Object(arguments.clone());
            assert_eq!(fault(&value, &weather(), &weather()), None);
            let code = arguments["code"].as_str().unwrap();
            let (letters, digits) = code.split_once('~').unwrap();
            assert!(
                letters.len() == 2 && letters.bytes().all(|byte| byte.is_ascii_uppercase()),
                "{code}"
            );
            assert!(
                !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()),
                "{code}"
            );
        }
        "now" => assert!(arguments.is_empty()),
        "run.it" => {}
        other => panic!("{other} is no tool"),
    }
}

/// Answers of random logits, and how many ended by themselves.
fn ended(name: &str, check: impl Fn(&str)) -> usize {
    (0..40)
        .filter(|seed| {
            let made = answer(compile(grammar(name)), *seed, 900);
            if made.has_ended {
                check(std::str::from_utf8(&made.bytes).expect("a held answer is UTF-8"));
            }
            made.has_ended
        })
        .count()
}

#[test]
fn required_calls_are_calls_of_the_tools() {
    let count = ended("required.lark", |text| {
        let mut rest = text;
        while !rest.is_empty() {
            let (name, arguments, after) = read_call(rest);
            check_call(&name, &arguments);
            rest = after;
        }
    });
    assert!(count > 5, "{count}");
}

#[test]
fn a_named_function_is_called_once() {
    let count = ended("named.lark", |text| {
        let (name, arguments, rest) = read_call(text);
        assert_eq!((name.as_str(), rest), ("weather", ""));
        check_call(&name, &arguments);
    });
    assert!(count > 5, "{count}");
}

#[test]
fn free_text_may_end_in_strict_calls() {
    let count = ended("auto_strict.lark", |text| {
        if let Some(place) = text.find("<tool_call>") {
            let mut rest = &text[place..];
            while !rest.is_empty() {
                let (name, arguments, after) = read_call(rest);
                check_call(&name, &arguments);
                rest = after;
            }
        }
    });
    assert!(count > 5, "{count}");
}

#[test]
fn json_or_one_call_but_never_both() {
    let count = ended("auto_json.lark", |text| {
        if text.starts_with('<') {
            let (name, arguments, rest) = read_call(text);
            assert_eq!((name.as_str(), rest), ("now", ""));
            check_call(&name, &arguments);
        } else {
            assert!(serde_json::from_str::<Value>(text).unwrap().is_object(), "{text}");
        }
    });
    assert!(count > 5, "{count}");
}
