//! Which JSON Schemas an answer can be held to.
//!
//! The engine compiles a schema to a grammar. A keyword that it does not enforce would be a promise broken in silence,
//! so every keyword is looked at here first: what is enforced passes, what only describes passes, and anything else is
//! refused by its name and place. The engine may still refuse what passes, for example a schema that nothing fits.

use crate::error::Refusal;
use crate::json::Json;

/// Longest schema, in bytes of compact JSON.
pub const SCHEMA_BYTES_MAX: usize = 128 * 1024;
/// Most subschemas in one schema.
pub const SUBSCHEMA_COUNT_MAX: usize = 1_024;
/// Deepest nesting of subschemas; references are not followed.
pub const SCHEMA_DEPTH_MAX: u32 = 32;
/// Most entries of all `enum`s of a schema together.
pub const ENUM_COUNT_MAX: usize = 2_048;
/// Greatest bound on lengths and counts (`minLength`, `maxItems`, …): each repetition costs states of the grammar.
pub const REPETITION_MAX: i128 = 10_000;

/// Keywords whose value is a number.
const NUMBERS: &[&str] = &[
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
];
/// Keywords whose value is a count.
const COUNTS: &[&str] = &[
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
];
/// Keywords whose value is one schema.
const SCHEMAS: &[&str] = &["items", "additionalItems", "additionalProperties"];
/// Keywords whose value is a list of schemas.
const LISTS: &[&str] = &["anyOf", "oneOf", "allOf", "prefixItems"];
/// Keywords whose value is an object of schemas.
const MAPS: &[&str] = &["properties", "patternProperties", "$defs", "definitions"];
/// Keywords that describe and do not bind.
const DESCRIPTIONS: &[&str] = &[
    "$schema",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "example",
    "deprecated",
    "readOnly",
    "writeOnly",
    "contentMediaType",
    "contentEncoding",
    "discriminator",
];
/// Formats of strings that are enforced.
const FORMATS: &[&str] = &[
    "date-time",
    "date",
    "time",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "uuid",
    "uri",
];
const TYPES: &[&str] = &[
    "null", "boolean", "integer", "number", "string", "array", "object",
];

/// Checks a schema that stands at `path` in the request.
///
/// # Errors
/// [`Refusal::SchemaKeyword`] for a keyword that is not enforced, [`Refusal::SchemaMalformed`] for one with a value it
/// cannot have, [`Refusal::WrongLength`] beyond the bounds of this module.
pub fn check(schema: &Json, path: &str) -> Result<(), Refusal> {
    let bytes = serde_json::to_string(schema).map_or(usize::MAX, |text| text.len());
    within(bytes, SCHEMA_BYTES_MAX, "bytes", path)?;
    let mut walk = Walk {
        root: schema,
        schema_count: 0,
        enum_count: 0,
    };
    walk.schema(schema, path, 0)
}

struct Walk<'a> {
    root: &'a Json,
    schema_count: usize,
    enum_count: usize,
}

impl Walk<'_> {
    fn schema(&mut self, schema: &Json, path: &str, depth: u32) -> Result<(), Refusal> {
        self.schema_count += 1;
        within(self.schema_count, SUBSCHEMA_COUNT_MAX, "subschemas", path)?;
        if depth > SCHEMA_DEPTH_MAX {
            return Err(malformed(path, "is nested too deeply"));
        }
        match schema {
            Json::Bool(_) => Ok(()),
            Json::Object(fields) => fields
                .iter()
                .try_for_each(|(keyword, value)| self.keyword(keyword, value, path, depth)),
            _ => Err(malformed(path, "must be an object, true or false")),
        }
    }

    fn keyword(&mut self, keyword: &str, value: &Json, parent: &str, depth: u32) -> Result<(), Refusal> {
        let path = format!("{parent}.{keyword}");
        match keyword {
            "type" => types(value, &path),
            "enum" => self.listed(value, &path),
            "const" => Ok(()),
            "$ref" => self.reference(value, &path),
            "pattern" => match value {
                Json::Text(_) => Ok(()),
                _ => Err(malformed(&path, "must be a string")),
            },
            "format" => match value {
                Json::Text(format) if FORMATS.contains(&format.as_str()) => Ok(()),
                Json::Text(format) => Err(Refusal::SchemaKeyword {
                    param: parent.to_owned(),
                    keyword: format!("format: {format}"),
                }),
                _ => Err(malformed(&path, "must be a string")),
            },
            "required" => match value {
                Json::List(names) if names.iter().all(|name| name.as_text().is_some()) => Ok(()),
                _ => Err(malformed(&path, "must be a list of strings")),
            },
            // The only value that asks for nothing.
            "uniqueItems" if *value == Json::Bool(false) => Ok(()),
            _ if NUMBERS.contains(&keyword) => match value {
                Json::Integer(_) | Json::Float(_) => Ok(()),
                _ => Err(malformed(&path, "must be a number")),
            },
            _ if COUNTS.contains(&keyword) => match value {
                Json::Integer(0..=REPETITION_MAX) => Ok(()),
                _ => Err(malformed(&path, "must be a whole number from 0 to 10000")),
            },
            _ if SCHEMAS.contains(&keyword) => self.schema(value, &path, depth + 1),
            _ if LISTS.contains(&keyword) => {
                let list = value
                    .as_list()
                    .filter(|list| !list.is_empty())
                    .ok_or_else(|| malformed(&path, "must be a list of schemas"))?;
                list.iter().enumerate().try_for_each(|(index, schema)| {
                    self.schema(schema, &format!("{path}[{index}]"), depth + 1)
                })
            }
            _ if MAPS.contains(&keyword) => match value {
                Json::Object(schemas) => schemas
                    .iter()
                    .try_for_each(|(name, schema)| self.schema(schema, &format!("{path}.{name}"), depth + 1)),
                _ => Err(malformed(&path, "must be an object of schemas")),
            },
            _ if describes(keyword) => Ok(()),
            _ => Err(Refusal::SchemaKeyword {
                param: parent.to_owned(),
                keyword: keyword.to_owned(),
            }),
        }
    }

    fn listed(&mut self, value: &Json, path: &str) -> Result<(), Refusal> {
        let list = value
            .as_list()
            .filter(|list| !list.is_empty())
            .ok_or_else(|| malformed(path, "must be a list that is not empty"))?;
        self.enum_count = self.enum_count.saturating_add(list.len());
        within(self.enum_count, ENUM_COUNT_MAX, "entries", path)
    }

    /// References stay inside the schema: to its whole, or to one of its definitions.
    fn reference(&self, value: &Json, path: &str) -> Result<(), Refusal> {
        let target = value
            .as_text()
            .ok_or_else(|| malformed(path, "must be a string"))?;
        let is_there = target == "#"
            || definition(target).is_some_and(|(group, name)| {
                self.root
                    .field(group)
                    .is_some_and(|all| all.field(name).is_some())
            });
        if is_there {
            Ok(())
        } else {
            Err(malformed(
                path,
                "must be \"#\" or lead to an entry of \"#/$defs\" or \"#/definitions\"",
            ))
        }
    }
}

/// Group and name of `#/$defs/name` and `#/definitions/name`; names that need escapes are not taken.
pub(crate) fn definition(reference: &str) -> Option<(&str, &str)> {
    let (group, name) = reference.strip_prefix("#/")?.split_once('/')?;
    let is_plain = !name.is_empty() && !name.contains(['/', '~', '%', '#']);
    (matches!(group, "$defs" | "definitions") && is_plain).then_some((group, name))
}

/// Whether a keyword describes and does not bind.
pub(crate) fn describes(keyword: &str) -> bool {
    // The compiler of schemas takes orders under this one.
    DESCRIPTIONS.contains(&keyword) || keyword.starts_with("x-") && keyword != "x-guidance"
}

fn types(value: &Json, path: &str) -> Result<(), Refusal> {
    let is_type = |value: &Json| value.as_text().is_some_and(|name| TYPES.contains(&name));
    let is_sound = match value {
        Json::Text(_) => is_type(value),
        Json::List(names) => !names.is_empty() && names.iter().all(is_type),
        _ => false,
    };
    if is_sound {
        Ok(())
    } else {
        Err(malformed(
            path,
            "must be the name of a JSON type or a list of them",
        ))
    }
}

fn malformed(path: &str, reason: &'static str) -> Refusal {
    Refusal::SchemaMalformed {
        param: path.to_owned(),
        reason,
    }
}

fn within(count: usize, maximum: usize, unit: &'static str, path: &str) -> Result<(), Refusal> {
    if count <= maximum {
        Ok(())
    } else {
        Err(Refusal::WrongLength {
            param: path.to_owned(),
            minimum: 0,
            maximum,
            unit,
        })
    }
}
