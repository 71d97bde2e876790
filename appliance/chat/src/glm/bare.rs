//! Schemas of strings as terminals of a grammar: this dialect writes strings without quotes and escapes.
//!
//! What the parser makes of bare text is the measure ([`super::arguments::kind_of`]): where the schema allows a string
//! alone, the text is the value; where it allows other types too, text that reads as one of them is that; where it
//! allows no string that the parser sees, everything is JSON.

use crate::error::Refusal;
use crate::json::Json;

use super::arguments::{ValueKind, kind_of};
use super::constraint::literal;

/// How the values of one property are written.
pub(super) struct Bare {
    /// Terminals for bare text.
    pub(super) terminals: Vec<String>,
    /// The schema of what is written as JSON, if anything is.
    pub(super) rest: Option<Json>,
}

/// Formats that can be said of bare text.
const FORMATS: &[(&str, &str)] = &[
    ("date", DATE),
    ("time", TIME),
    ("date-time", DATE_TIME),
    (
        "uuid",
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    ),
    (
        "email",
        "[a-zA-Z0-9_+-]{1,64}(\\.[a-zA-Z0-9_+-]{1,64}){0,3}@[a-z0-9]{1,60}(\\.[a-z0-9]{1,60}){1,4}",
    ),
    (
        "ipv4",
        "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(\\.(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])){3}",
    ),
    (
        "hostname",
        "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?){0,4}",
    ),
];
const DATE: &str = "[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))";
const TIME: &str =
    "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])";
const DATE_TIME: &str = "[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])";

/// How values of `property` are written.
///
/// # Errors
/// [`Refusal::SchemaKeyword`] for what cannot be said of bare text.
pub(super) fn terminals(property: &Json, path: &str) -> Result<Bare, Refusal> {
    let wrapped = Json::Object(vec![(
        "properties".to_owned(),
        Json::Object(vec![("value".to_owned(), property.clone())]),
    )]);
    match kind_of(Some(&wrapped), "value") {
        ValueKind::Json => Ok(Bare {
            terminals: Vec::new(),
            rest: Some(property.clone()),
        }),
        ValueKind::Text => Ok(Bare {
            terminals: of_branches(property, path)?,
            rest: None,
        }),
        ValueKind::TextOr(_) => mixed(property, path),
    }
}

/// A string or something else: a list of types, or branches each of which is one or the other.
fn mixed(property: &Json, path: &str) -> Result<Bare, Refusal> {
    if let Some(Json::List(types)) = property.field("type") {
        let (string, rest): (Vec<_>, Vec<_>) =
            types.iter().partition(|name| name.as_text() == Some("string"));
        let (strings, others) = split_listed(property);
        let of = |types: Vec<&Json>, listed: Option<Vec<Json>>| {
            let mut schema = with_field(property, "type", Json::List(types.into_iter().cloned().collect()));
            if let Some(listed) = listed {
                schema = with_field(&schema, "enum", Json::List(listed));
            }
            schema
        };
        let is_listed = property.field("enum").is_some();
        if property
            .field("anyOf")
            .or(property.field("oneOf"))
            .or(property.field("allOf"))
            .is_some()
        {
            return Err(keyword(path, "anyOf beside a list of types"));
        }
        let mut terminals = Vec::new();
        if !is_listed || !strings.is_empty() {
            terminals.push(unlike_json(
                &of_string(&of(string, is_listed.then_some(strings)), path)?,
                is_listed,
            ));
        }
        let rest = (!is_listed || !others.is_empty()).then(|| of(rest, is_listed.then_some(others)));
        return Ok(Bare { terminals, rest });
    }
    if property.field("type").is_none() && property.field("enum").is_some() {
        let (strings, others) = split_listed(property);
        let terminal = of_string(&with_field(property, "enum", Json::List(strings)), path)?;
        return Ok(Bare {
            terminals: vec![unlike_json(&terminal, true)],
            rest: Some(with_field(property, "enum", Json::List(others))),
        });
    }
    let Some(branches) = property.field("anyOf").and_then(Json::as_list) else {
        return Err(keyword(path, "oneOf or allOf with strings and other types"));
    };
    let has_siblings = matches!(property, Json::Object(fields)
        if fields.iter().any(|(name, _)| name != "anyOf" && !crate::schema::describes(name)));
    if has_siblings {
        return Err(keyword(path, "anyOf beside other keywords"));
    }
    let mut terminals = Vec::new();
    let mut rest = Vec::new();
    for (index, branch) in branches.iter().enumerate() {
        let bare = self::terminals(branch, &format!("{path}.anyOf[{index}]"))?;
        terminals.extend(bare.terminals.iter().map(|terminal| unlike_json(terminal, false)));
        rest.extend(bare.rest);
    }
    Ok(Bare {
        terminals,
        rest: (!rest.is_empty()).then(|| Json::Object(vec![("anyOf".to_owned(), Json::List(rest))])),
    })
}

/// Branches that are all strings.
fn of_branches(property: &Json, path: &str) -> Result<Vec<String>, Refusal> {
    match property
        .field("anyOf")
        .or(property.field("oneOf"))
        .and_then(Json::as_list)
    {
        None if property.field("allOf").is_some() => Err(keyword(path, "allOf with strings")),
        None => Ok(vec![of_string(property, path)?]),
        Some(_) if property.field("type").is_some() => Err(keyword(path, "anyOf beside type")),
        Some(branches) => branches
            .iter()
            .enumerate()
            .map(|(index, branch)| of_branches(branch, &format!("{path}.anyOf[{index}]")))
            .collect::<Result<Vec<_>, _>>()
            .map(|terminals| terminals.concat()),
    }
}

/// One schema of a string.
fn of_string(schema: &Json, path: &str) -> Result<String, Refusal> {
    if let Some(reference) = schema.field("$ref") {
        return Err(keyword(
            path,
            &format!("$ref: {}", reference.as_text().unwrap_or_default()),
        ));
    }
    let listed: Option<Vec<&Json>> = match (
        schema.field("const"),
        schema.field("enum").and_then(Json::as_list),
    ) {
        (Some(one), _) => Some(vec![one]),
        (None, Some(list)) => Some(list.iter().collect()),
        (None, None) => None,
    };
    let mut parts = Vec::new();
    if let Some(listed) = listed {
        let words: Vec<String> = listed
            .into_iter()
            .filter_map(Json::as_text)
            .filter(|word| !word.contains('<'))
            .map(literal)
            .collect();
        if words.is_empty() {
            return Err(keyword(path, "enum without a string that can be written"));
        }
        parts.push(format!("({})", words.join(" | ")));
    }
    let count = |name: &str| match schema.field(name) {
        Some(Json::Integer(count)) => Some(*count),
        _ => None,
    };
    match (count("minLength"), count("maxLength")) {
        (None, None) => {}
        (least, most) => parts.push(format!(
            "/(?s:.{{{},{}}})/",
            least.unwrap_or(0),
            most.map(|most| most.to_string()).unwrap_or_default()
        )),
    }
    if let Some(format) = schema.field("format").and_then(Json::as_text) {
        let (_, pattern) = FORMATS
            .iter()
            .find(|(name, _)| *name == format)
            .ok_or_else(|| keyword(path, &format!("format: {format}")))?;
        parts.push(format!("/{}/", pattern.replace('/', "\\/")));
    }
    if let Some(pattern) = schema.field("pattern").and_then(Json::as_text) {
        parts.push(searched(pattern).ok_or_else(|| keyword(path, "pattern with anchors inside"))?);
    }
    if parts.is_empty() {
        // The first closing tag ends it, so it needs no more.
        return Ok("/(?s:.*)/".to_owned());
    }
    // No closing tag inside. Said of its first letter, since negation can cost without bound to compile.
    parts.push("/[^<]*/".to_owned());
    Ok(parts.join(" & "))
}

/// Text that the parser cannot take for a number, a list or an object: it begins as none of them does. `null` and `true`
/// are what they say, which the schema allows where it lists their types. Nor does it begin with the closing tag.
fn unlike_json(terminal: &str, is_listed: bool) -> String {
    if is_listed {
        return terminal.to_owned();
    }
    format!("({terminal}) & /(?s:[^\\s0-9\\-\\[{{\"<].*)/")
}

/// A pattern that is searched for, as one that matches the whole. `None` when it has anchors elsewhere than at its ends.
fn searched(pattern: &str) -> Option<String> {
    let (begins, rest) = match pattern.strip_prefix('^') {
        Some(rest) => ("", rest),
        None => ("(?s:.*)", pattern),
    };
    let is_anchored = rest.ends_with('$') && !rest.trim_end_matches('$').ends_with('\\');
    let (body, ends) = match rest.strip_suffix('$').filter(|_| is_anchored) {
        Some(body) => (body, ""),
        None => (rest, "(?s:.*)"),
    };
    let mut translated = String::new();
    let mut characters = body.chars();
    let (mut in_class, mut depth) = (false, 0usize);
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next()? {
                'd' => translated.push_str("[0-9]"),
                'D' => translated.push_str("[^0-9]"),
                'w' => translated.push_str("[0-9a-zA-Z_]"),
                'W' => translated.push_str("[^0-9a-zA-Z_]"),
                // Borders of words look around, which no such grammar does.
                'b' | 'B' if !in_class => return None,
                other => translated.extend(['\\', other]),
            },
            '/' => translated.push_str("\\/"),
            '~' => translated.push_str("\\x7e"),
            '\n' => translated.push_str("\\n"),
            '^' | '$' if !in_class => return None,
            // An anchor would belong to one side only.
            '|' if !in_class && depth == 0 && (begins.is_empty() || ends.is_empty()) => return None,
            other => {
                match other {
                    '[' => in_class = true,
                    ']' => in_class = false,
                    '(' if !in_class => depth += 1,
                    ')' if !in_class => depth = depth.saturating_sub(1),
                    _ => {}
                }
                translated.push(other);
                if other == '[' && characters.as_str().starts_with('^') {
                    characters.next();
                    translated.push('^');
                }
            }
        }
    }
    Some(format!("/{begins}(?:{translated}){ends}/"))
}

/// Strings and others of an `enum` that mixes them.
fn split_listed(schema: &Json) -> (Vec<Json>, Vec<Json>) {
    let listed = schema.field("enum").and_then(Json::as_list).unwrap_or_default();
    let (mut strings, others): (Vec<Json>, Vec<Json>) = listed
        .iter()
        .cloned()
        .partition(|value| value.as_text().is_some());
    // Words that read as JSON could not be told from the others.
    strings.retain(|word| {
        word.as_text()
            .is_some_and(|word| Json::parse(word.trim().as_bytes()).is_err())
    });
    (strings, others)
}

fn with_field(schema: &Json, name: &str, value: Json) -> Json {
    let Json::Object(fields) = schema else {
        return schema.clone();
    };
    let kept = fields.iter().filter(|(key, _)| key != name).cloned();
    Json::Object(kept.chain([(name.to_owned(), value)]).collect())
}

fn keyword(path: &str, keyword: &str) -> Refusal {
    Refusal::SchemaKeyword {
        param: path.to_owned(),
        keyword: keyword.to_owned(),
    }
}
