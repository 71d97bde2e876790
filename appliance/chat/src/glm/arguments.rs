//! Arguments of calls: bare text to JSON, by the tool's schema.

use std::collections::BTreeSet;

use crate::json::Json;

/// How deep `anyOf`, `oneOf` and `allOf` are followed.
const SCHEMA_DEPTH_MAX: u32 = 4;

/// What the schema says of an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ValueKind {
    /// A string: the bare text is the value.
    Text,
    /// A string or one of these types.
    TextOr(BTreeSet<String>),
    /// Another type, or unknown: JSON, and what is not JSON is a string.
    Json,
}

impl ValueKind {
    /// The JSON text of a value that is not plainly a string.
    pub(super) fn to_json(&self, text: &str) -> String {
        let trimmed = text.trim();
        let is_json = Json::parse(trimmed.as_bytes()).is_ok_and(|value| match self {
            Self::Text => false,
            Self::TextOr(types) => types.iter().any(|name| is_of(&value, name)),
            Self::Json => true,
        });
        if is_json {
            return trimmed.to_owned();
        }
        let mut json = String::new();
        string_into(&mut json, text);
        json
    }
}

fn is_of(value: &Json, name: &str) -> bool {
    match value {
        Json::Null => name == "null",
        Json::Bool(_) => name == "boolean",
        Json::Integer(_) => name == "integer" || name == "number",
        Json::Float(_) => name == "number",
        Json::Text(_) => false,
        Json::List(_) => name == "array",
        Json::Object(_) => name == "object",
    }
}

/// What a tool's schema says of one of its arguments.
pub(super) fn kind_of(parameters: Option<&Json>, key: &str) -> ValueKind {
    let property = parameters
        .and_then(|schema| schema.field("properties"))
        .and_then(|all| all.field(key));
    let mut types = BTreeSet::new();
    if let Some(property) = property {
        types_into(&mut types, property, SCHEMA_DEPTH_MAX);
    }
    let has_text = types.remove("string");
    match (has_text, types.is_empty()) {
        (true, true) => ValueKind::Text,
        (true, false) => ValueKind::TextOr(types),
        (false, _) => ValueKind::Json,
    }
}

fn types_into(types: &mut BTreeSet<String>, schema: &Json, depth: u32) {
    match schema.field("type") {
        Some(Json::Text(name)) => {
            types.insert(name.clone());
        }
        Some(Json::List(names)) => types.extend(names.iter().filter_map(Json::as_text).map(str::to_owned)),
        _ => {
            let listed = schema.field("enum").and_then(Json::as_list).unwrap_or_default();
            types.extend(
                listed
                    .iter()
                    .chain(schema.field("const"))
                    .map(|value| type_name(value).to_owned()),
            );
        }
    }
    let Some(depth) = depth.checked_sub(1) else { return };
    for word in ["anyOf", "oneOf", "allOf"] {
        for branch in schema.field(word).and_then(Json::as_list).unwrap_or_default() {
            types_into(types, branch, depth);
        }
    }
}

fn type_name(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Integer(_) => "integer",
        Json::Float(_) => "number",
        Json::Text(_) => "string",
        Json::List(_) => "array",
        Json::Object(_) => "object",
    }
}

/// A JSON string.
pub(super) fn string_into(json: &mut String, text: &str) {
    json.push('"');
    escape_into(json, text);
    json.push('"');
}

/// The inside of a JSON string. Character by character, so that pieces can be joined.
pub(super) fn escape_into(json: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{0}'..'\u{20}' => json.push_str(&format!("\\u{:04x}", u32::from(character))),
            other => json.push(other),
        }
    }
}
