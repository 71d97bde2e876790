//! The key/value part: read once, forward, keeping only what the later rules ask for.
//!
//! Kept are scalars, short texts, the chat template, and arrays of at most [`NUMBERS_MAX`] numbers. The vocabulary
//! is digested and checked while it streams by (`vocabulary.rs`); every other array is walked and dropped.

use std::collections::BTreeMap;

use super::read::{HeaderReader, STRING_BYTES_MAX};
use super::refusal::GgufRefusal;
use super::vocabulary::Vocabulary;

/// Most keys. Releases have some sixty.
pub const KEY_COUNT_MAX: u64 = 512;

/// Longest key.
pub const KEY_BYTES_MAX: u64 = 128;

/// Most elements of an array. The largest GLM merge list has about 320,000.
pub const ARRAY_COUNT_MAX: u64 = 1 << 21;

/// Most numbers kept of an array: one for each layer of the deepest model.
pub(super) const NUMBERS_MAX: u64 = 512;

/// Longest chat template.
pub const CHAT_TEMPLATE_BYTES_MAX: u64 = 256 * 1024;

/// Longest other text that is kept.
const TEXT_BYTES_KEPT: usize = 256;

/// Key of the chat template.
pub(super) const CHAT_TEMPLATE_KEY: &str = "tokenizer.chat_template";

/// Type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueKind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    Array,
    U64,
    I64,
    F64,
}

impl ValueKind {
    fn by_id(id: u32) -> Option<Self> {
        Some(match id {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            8 => Self::Text,
            9 => Self::Array,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => return None,
        })
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::Text => "string",
            Self::Array => "array",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        }
    }

    /// Least bytes that a value takes in the file.
    const fn least_bytes(self) -> u64 {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::Text | Self::U64 | Self::I64 | Self::F64 => 8,
            Self::Array => 12,
        }
    }
}

/// A number as it stands in the file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Whole(i128),
    Float(f64),
    Bool(bool),
}

/// What is kept of a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Scalar {
        kind: ValueKind,
        number: Number,
    },
    /// `None`: too long to be of use to us.
    Text(Option<String>),
    /// `None`: texts, or more than [`NUMBERS_MAX`].
    Array {
        element: ValueKind,
        numbers: Option<Vec<Number>>,
    },
}

impl Value {
    const fn kind_name(&self) -> &'static str {
        match self {
            Self::Scalar { kind, .. } => kind.name(),
            Self::Text(_) => "string",
            Self::Array { .. } => "array",
        }
    }
}

/// All keys, and the vocabulary.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    values: BTreeMap<String, Value>,
    pub(super) vocabulary: Vocabulary,
}

impl Metadata {
    pub(super) fn read(reader: &mut HeaderReader<'_>, key_count: u64) -> Result<Self, GgufRefusal> {
        let mut metadata = Self::default();
        let mut text = String::new();
        for _ in 0..key_count {
            let key = read_key(reader, &mut text)?;
            if metadata.values.contains_key(&key) {
                return Err(GgufRefusal::KeyRepeated { key });
            }
            let value = metadata.read_value(reader, &key, &mut text)?;
            metadata.values.insert(key, value);
        }
        Ok(metadata)
    }

    fn read_value(
        &mut self,
        reader: &mut HeaderReader<'_>,
        key: &str,
        text: &mut String,
    ) -> Result<Value, GgufRefusal> {
        let kind = read_kind(reader, key)?;
        match kind {
            ValueKind::Text => read_text(reader, key, text),
            ValueKind::Array => self.read_array(reader, key, text),
            _ => Ok(Value::Scalar {
                kind,
                number: read_number(reader, key, kind)?,
            }),
        }
    }

    fn read_array(
        &mut self,
        reader: &mut HeaderReader<'_>,
        key: &str,
        text: &mut String,
    ) -> Result<Value, GgufRefusal> {
        if Vocabulary::wants(key) {
            reader.start_digest();
        }
        let element = read_kind(reader, key)?;
        if element == ValueKind::Array {
            return Err(GgufRefusal::ArrayNesting { key: key.to_owned() });
        }
        let count = reader.u64()?;
        if count > ARRAY_COUNT_MAX {
            return Err(GgufRefusal::ArrayCount {
                key: key.to_owned(),
                count,
                max: ARRAY_COUNT_MAX,
            });
        }
        let needed = count.saturating_mul(element.least_bytes());
        if needed > reader.remaining() {
            let (offset, left) = (reader.position(), reader.remaining());
            return Err(GgufRefusal::Truncated { offset, needed, left });
        }
        if Vocabulary::wants(key) {
            self.vocabulary.read(reader, key, element, count, text)?;
            return Ok(Value::Array {
                element,
                numbers: None,
            });
        }
        if element == ValueKind::Text {
            for _ in 0..count {
                reader.string(text, STRING_BYTES_MAX)?;
            }
            return Ok(Value::Array {
                element,
                numbers: None,
            });
        }
        if count > NUMBERS_MAX {
            reader.skip(needed)?;
            return Ok(Value::Array {
                element,
                numbers: None,
            });
        }
        let mut numbers = Vec::new();
        for _ in 0..count {
            numbers.push(read_number(reader, key, element)?);
        }
        Ok(Value::Array {
            element,
            numbers: Some(numbers),
        })
    }

    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// All keys with their values, sorted.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The text of `key`; a text that is too long to be kept counts as empty.
    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, GgufRefusal> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.as_deref().unwrap_or_default())),
            Some(other) => Err(wrong_type(key, "string", other)),
        }
    }

    /// The u32 of `key` within `min..=max`.
    pub(super) fn u32(&self, key: &str, min: u64, max: u64) -> Result<Option<u64>, GgufRefusal> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Scalar {
                kind: ValueKind::U32,
                number: Number::Whole(found),
            }) => in_range(key, *found, min, max).map(Some),
            Some(other) => Err(wrong_type(key, "u32", other)),
        }
    }

    pub(super) fn required_u32(&self, key: &str, min: u64, max: u64) -> Result<u64, GgufRefusal> {
        self.u32(key, min, max)?
            .ok_or_else(|| GgufRefusal::KeyMissing { key: key.to_owned() })
    }

    /// One number for each of `layer_count` layers: a u32 for all, or an array of u32 or i32 with one each.
    pub(super) fn per_layer(
        &self,
        key: &str,
        layer_count: u64,
        min: u64,
        max: u64,
    ) -> Result<Option<Vec<u64>>, GgufRefusal> {
        let layers = usize::try_from(layer_count).unwrap_or(usize::MAX);
        match self.values.get(key) {
            Some(Value::Array {
                element: ValueKind::U32 | ValueKind::I32,
                numbers: Some(numbers),
            }) if numbers.len() == layers => {
                let mut each = Vec::new();
                for number in numbers {
                    let Number::Whole(found) = number else { continue };
                    each.push(in_range(key, *found, min, max)?);
                }
                Ok(Some(each))
            }
            Some(other @ Value::Array { .. }) => Err(wrong_type(key, "u32|[u32; layers]", other)),
            _ => Ok(self.u32(key, min, max)?.map(|same| vec![same; layers])),
        }
    }

    /// Checks that `key`, if it is there, is a finite f32 within `min..=max`.
    pub(super) fn f32(&self, key: &str, min: f64, max: f64) -> Result<Option<f64>, GgufRefusal> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Scalar {
                kind: ValueKind::F32,
                number: Number::Float(found),
            }) => {
                if found.is_finite() && (min..=max).contains(found) {
                    Ok(Some(*found))
                } else {
                    Err(GgufRefusal::FloatRange { key: key.to_owned() })
                }
            }
            Some(other) => Err(wrong_type(key, "f32", other)),
        }
    }

    /// Checks that `key`, if it is there, is a boolean.
    pub(super) fn bool(&self, key: &str) -> Result<Option<bool>, GgufRefusal> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Scalar {
                number: Number::Bool(found),
                ..
            }) => Ok(Some(*found)),
            Some(other) => Err(wrong_type(key, "bool", other)),
        }
    }
}

/// Whether `text` is a name that may be shown and compared: 1 to `max` printable ASCII characters without space.
pub(super) fn is_name(text: &str, max: u64) -> bool {
    let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
    (1..=max).contains(&length) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn read_key(reader: &mut HeaderReader<'_>, text: &mut String) -> Result<String, GgufRefusal> {
    let offset = reader.position();
    reader.string(text, KEY_BYTES_MAX)?;
    if is_name(text, KEY_BYTES_MAX) {
        Ok(text.clone())
    } else {
        Err(GgufRefusal::KeyName { offset })
    }
}

fn read_kind(reader: &mut HeaderReader<'_>, key: &str) -> Result<ValueKind, GgufRefusal> {
    let found = reader.u32()?;
    ValueKind::by_id(found).ok_or_else(|| GgufRefusal::ValueType {
        key: key.to_owned(),
        found,
    })
}

fn read_text(reader: &mut HeaderReader<'_>, key: &str, text: &mut String) -> Result<Value, GgufRefusal> {
    let is_template = key == CHAT_TEMPLATE_KEY;
    reader.string(
        text,
        if is_template {
            CHAT_TEMPLATE_BYTES_MAX
        } else {
            STRING_BYTES_MAX
        },
    )?;
    Ok(Value::Text(
        (is_template || text.len() <= TEXT_BYTES_KEPT).then(|| text.clone()),
    ))
}

pub(super) fn read_number(
    reader: &mut HeaderReader<'_>,
    key: &str,
    kind: ValueKind,
) -> Result<Number, GgufRefusal> {
    Ok(match kind {
        ValueKind::U8 => Number::Whole(reader.u8()?.into()),
        ValueKind::I8 => Number::Whole(reader.u8()?.cast_signed().into()),
        ValueKind::U16 => Number::Whole(reader.u16()?.into()),
        ValueKind::I16 => Number::Whole(reader.u16()?.cast_signed().into()),
        ValueKind::U32 => Number::Whole(reader.u32()?.into()),
        ValueKind::I32 => Number::Whole(reader.u32()?.cast_signed().into()),
        ValueKind::U64 => Number::Whole(reader.u64()?.into()),
        ValueKind::I64 => Number::Whole(reader.u64()?.cast_signed().into()),
        ValueKind::F32 => Number::Float(f32::from_bits(reader.u32()?).into()),
        ValueKind::F64 => Number::Float(f64::from_bits(reader.u64()?)),
        ValueKind::Bool => match reader.u8()? {
            0 => Number::Bool(false),
            1 => Number::Bool(true),
            found => {
                return Err(GgufRefusal::BoolValue {
                    key: key.to_owned(),
                    found,
                });
            }
        },
        // Callers handle these two; a value of neither form cannot come here.
        ValueKind::Text | ValueKind::Array => return Err(GgufRefusal::ArrayNesting { key: key.to_owned() }),
    })
}

fn wrong_type(key: &str, expected: &'static str, found: &Value) -> GgufRefusal {
    GgufRefusal::KeyType {
        key: key.to_owned(),
        expected,
        found: found.kind_name(),
    }
}

fn in_range(key: &str, found: i128, min: u64, max: u64) -> Result<u64, GgufRefusal> {
    let number = u64::try_from(found).unwrap_or(u64::MAX);
    if (min..=max).contains(&number) {
        Ok(number)
    } else {
        Err(GgufRefusal::KeyRange {
            key: key.to_owned(),
            found: number,
            min,
            max,
        })
    }
}
