//! A plain validator for the keywords that the tests draw. It shares no code with what makes the answers.

use serde_json::{Map, Value};

/// What is wrong with `value`, if anything. `root` holds the definitions.
pub(crate) fn fault(value: &Value, schema: &Value, root: &Value) -> Option<String> {
    let schema = match schema {
        Value::Bool(true) => return None,
        Value::Bool(false) => return Some(format!("{value} may not be there")),
        other => other.as_object().expect("a schema is an object"),
    };
    schema
        .iter()
        .find_map(|(keyword, rule)| {
            broken(keyword, rule, value, schema, root).then(|| format!("{value} breaks {keyword}: {rule}"))
        })
        .or_else(|| inside(value, schema, root))
}

fn broken(keyword: &str, rule: &Value, value: &Value, schema: &Map<String, Value>, root: &Value) -> bool {
    let fits = |schema: &Value| fault(value, schema, root).is_none();
    let number = value.as_f64();
    let bound = rule.as_f64().unwrap_or(0.0);
    let text = value.as_str();
    let length = text.map(|text| text.chars().count() as f64);
    let count = value.as_array().map(|items| items.len() as f64);
    match keyword {
        "type" => match rule {
            Value::Array(names) => !names.iter().any(|name| is_of(value, name.as_str().unwrap())),
            name => !is_of(value, name.as_str().unwrap()),
        },
        "enum" => !rule.as_array().unwrap().iter().any(|listed| equal(listed, value)),
        "const" => !equal(rule, value),
        "anyOf" => !rule.as_array().unwrap().iter().any(fits),
        "$ref" => !fits(
            root.pointer(rule.as_str().unwrap().trim_start_matches('#'))
                .unwrap(),
        ),
        "minimum" => number.is_some_and(|number| number < bound),
        "maximum" => number.is_some_and(|number| number > bound),
        "exclusiveMinimum" => number.is_some_and(|number| number <= bound),
        "exclusiveMaximum" => number.is_some_and(|number| number >= bound),
        "multipleOf" => number.is_some_and(|number| (number / bound).fract() != 0.0),
        "minLength" => length.is_some_and(|length| length < bound),
        "maxLength" => length.is_some_and(|length| length > bound),
        "minItems" => count.is_some_and(|count| count < bound),
        "maxItems" => count.is_some_and(|count| count > bound),
        "pattern" => text.is_some_and(|text| !matches_pattern(rule.as_str().unwrap(), text)),
        "format" => text.is_some_and(|text| !is_of_format(rule.as_str().unwrap(), text)),
        "required" => value.as_object().is_some_and(|fields| {
            rule.as_array()
                .unwrap()
                .iter()
                .any(|name| !fields.contains_key(name.as_str().unwrap()))
        }),
        "properties" | "additionalProperties" | "items" | "prefixItems" | "$defs" => {
            let _looked_at_inside = schema;
            false
        }
        other => panic!("the judge does not know {other}"),
    }
}

fn inside(value: &Value, schema: &Map<String, Value>, root: &Value) -> Option<String> {
    match value {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let own = schema.get("properties").and_then(|all| all.get(name));
            own.or(schema.get("additionalProperties"))
                .and_then(|schema| fault(value, schema, root))
        }),
        Value::Array(items) => items.iter().enumerate().find_map(|(index, value)| {
            let own = schema.get("prefixItems").and_then(|all| all.get(index));
            own.or(schema.get("items"))
                .and_then(|schema| fault(value, schema, root))
        }),
        _ => None,
    }
}

fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        other => panic!("{other} is no type"),
    }
}

/// 7 and 7.0 are one number.
fn equal(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// The patterns that are drawn, each said in another way.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    match pattern {
        "^[a-c]{2,4}$" => (2..=4).contains(&text.len()) && text.bytes().all(|byte| b"abc".contains(&byte)),
        "\\d" => text.bytes().any(|byte| byte.is_ascii_digit()),
        "^x|y$" => text.starts_with('x') || text.ends_with('y'),
        "^(foo|bar)+$" => {
            !text.is_empty()
                && text.len().is_multiple_of(3)
                && text
                    .as_bytes()
                    .chunks(3)
                    .all(|part| part == b"foo" || part == b"bar")
        }
        other => panic!("the judge does not know {other}"),
    }
}

fn is_of_format(format: &str, text: &str) -> bool {
    let is_date = |text: &str| {
        let parts: Vec<&str> = text.split('-').collect();
        let number = |index: usize| parts.get(index).and_then(|part| part.parse::<u32>().ok());
        parts.iter().map(|part| part.len()).eq([4, 2, 2])
            && number(0).is_some()
            && number(1).is_some_and(|month| (1..=12).contains(&month))
            && number(2).is_some_and(|day| (1..=31).contains(&day))
    };
    match format {
        "date" => is_date(text),
        "date-time" => {
            text.get(..10).is_some_and(is_date) && text.get(10..11).is_some_and(|t| t == "T" || t == "t")
        }
        "uuid" => {
            text.split('-').map(str::len).eq([8, 4, 4, 4, 12])
                && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
        }
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "email" => text
            .split_once('@')
            .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty()),
        other => panic!("the judge does not know {other}"),
    }
}

#[test]
fn the_judge_tells_right_from_wrong() {
    let schema = serde_json::json!({
        "type": "object", "required": ["a"], "additionalProperties": false,
        "properties": {"a": {"type": "array", "items": {"type": "integer", "minimum": 3}, "maxItems": 2}},
    });
    let is_right = |text: &str| fault(&serde_json::from_str(text).unwrap(), &schema, &schema).is_none();
    assert!(is_right(r#"{"a":[3,4.0]}"#));
    for wrong in [
        r#"{}"#,
        r#"[]"#,
        r#"{"a":[2]}"#,
        r#"{"a":[3.5]}"#,
        r#"{"a":[3,3,3]}"#,
        r#"{"a":[],"b":1}"#,
    ] {
        assert!(!is_right(wrong), "{wrong}");
    }
}
