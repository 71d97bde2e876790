//! A judge of JSON against the part of JSON Schema that the benchmark uses, so that neither side judges itself.

use serde_json::{Value, json};

/// What the answers of P14 must look like: every kind of value, each bounded, so that a random model comes to an end.
pub(super) fn invoice() -> Value {
    json!({
        "type": "object",
        "properties": {
            "customer": {"type": "string", "minLength": 1, "maxLength": 24},
            "status": {"enum": ["draft", "sent", "paid", "overdue"]},
            "number": {"type": "integer", "minimum": 0, "maximum": 99999},
            "is_export": {"type": "boolean"},
            "lines": {
                "type": "array",
                "minItems": 2,
                "maxItems": 4,
                "items": {
                    "type": "object",
                    "properties": {
                        "article": {"type": "string", "minLength": 1, "maxLength": 16},
                        "count": {"type": "integer", "minimum": 1, "maximum": 999}
                    },
                    "required": ["article", "count"],
                    "additionalProperties": false
                }
            }
        },
        "required": ["customer", "status", "number", "is_export", "lines"],
        "additionalProperties": false
    })
}

/// Why a value does not fit; `None` when it does. A keyword that is not known here fits nothing.
pub(super) fn fault(value: &Value, schema: &Value) -> Option<String> {
    let Some(rules) = schema.as_object() else {
        return Some("the schema is no object".to_owned());
    };
    rules.iter().find_map(|(keyword, rule)| {
        let fits = match keyword.as_str() {
            "type" => has_type(value, rule),
            "enum" => rule.as_array().is_some_and(|all| all.contains(value)),
            "minimum" => number(value)
                .zip(number(rule))
                .is_none_or(|(it, least)| it >= least),
            "maximum" => number(value)
                .zip(number(rule))
                .is_none_or(|(it, most)| it <= most),
            "minLength" => characters(value)
                .zip(rule.as_u64())
                .is_none_or(|(it, least)| it >= least),
            "maxLength" => characters(value)
                .zip(rule.as_u64())
                .is_none_or(|(it, most)| it <= most),
            "minItems" => entries(value)
                .zip(rule.as_u64())
                .is_none_or(|(it, least)| it >= least),
            "maxItems" => entries(value)
                .zip(rule.as_u64())
                .is_none_or(|(it, most)| it <= most),
            "required" => has_all(value, rule),
            "additionalProperties" => rule.as_bool() == Some(false) && has_no_others(value, schema),
            "items" => return value.as_array()?.iter().find_map(|it| fault(it, rule)),
            "properties" => {
                let given = value.as_object()?;
                return rule
                    .as_object()?
                    .iter()
                    .find_map(|(name, rule)| fault(given.get(name)?, rule));
            }
            _ => false,
        };
        (!fits).then(|| format!("{keyword}: {value}"))
    })
}

fn has_type(value: &Value, name: &Value) -> bool {
    match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        _ => false,
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64()
}

fn characters(value: &Value) -> Option<u64> {
    u64::try_from(value.as_str()?.chars().count()).ok()
}

fn entries(value: &Value) -> Option<u64> {
    u64::try_from(value.as_array()?.len()).ok()
}

fn has_all(value: &Value, names: &Value) -> bool {
    let Some(given) = value.as_object() else {
        return true;
    };
    let mut names = names.as_array().into_iter().flatten();
    names.all(|name| name.as_str().is_some_and(|name| given.contains_key(name)))
}

fn has_no_others(value: &Value, schema: &Value) -> bool {
    let Some(given) = value.as_object() else {
        return true;
    };
    let known = schema.get("properties").and_then(Value::as_object);
    given
        .keys()
        .all(|name| known.is_some_and(|known| known.contains_key(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Value {
        json!({
            "customer": "Café 17", "status": "paid", "number": 7, "is_export": false,
            "lines": [{"article": "w12", "count": 1}, {"article": "w13", "count": 999}]
        })
    }

    #[test]
    fn a_good_answer_fits() {
        assert_eq!(fault(&good(), &invoice()), None);
    }

    #[test]
    fn each_defect_is_seen() {
        for (pointer, bad) in [
            ("/customer", json!("")),
            ("/customer", json!("x".repeat(25))),
            ("/status", json!("lost")),
            ("/number", json!(100_000)),
            ("/number", json!(1.5)),
            ("/is_export", json!("no")),
            ("/lines", json!([{"article": "a", "count": 1}])),
            ("/lines/0", json!({"article": "a"})),
            ("/lines/0", json!({"article": "a", "count": 1, "price": 2})),
            ("/lines/1/count", json!(0)),
        ] {
            let mut answer = good();
            *answer.pointer_mut(pointer).unwrap() = bad;
            assert!(fault(&answer, &invoice()).is_some(), "{pointer}");
        }
        assert!(fault(&json!([]), &invoice()).is_some());
        assert!(
            fault(&json!(1), &json!({"multipleOf": 2})).is_some(),
            "unknown keyword"
        );
    }
}
