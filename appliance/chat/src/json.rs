//! JSON values that keep the order of keys, with the bounds of a public border.
//!
//! `serde_json` reads and writes the text. Its own value type sorts keys, while templates must show the client's
//! order, and it lets a small body unfold into very many values.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// Deepest nesting of lists and objects.
pub const DEPTH_MAX: u32 = 64;
/// Most values in one text: 32 bytes each, so that no body unfolds beyond some tens of megabytes.
pub const VALUE_COUNT_MAX: u32 = 1_000_000;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number without fraction and exponent that fits 64 bits, signed or not.
    Integer(i128),
    /// Any other number.
    Float(f64),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// An object in the order of its text. Keys are unique: of twins the last value holds, at the first one's place.
    Object(Vec<(String, Json)>),
}

/// Why a text is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// It is not JSON.
    #[error("not valid JSON at line {line}, column {column}")]
    Malformed {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// More values than [`VALUE_COUNT_MAX`].
    #[error("more than {VALUE_COUNT_MAX} values")]
    TooMany,
}

impl Json {
    /// Reads one JSON text and nothing after it.
    pub fn parse(text: &[u8]) -> Result<Self, JsonError> {
        let bounds = Bounds::default();
        let mut reader = serde_json::Deserializer::from_slice(text);
        let value = Seed {
            bounds: &bounds,
            depth: 0,
        }
        .deserialize(&mut reader);
        match value.and_then(|value| reader.end().map(|()| value)) {
            Ok(value) => Ok(value),
            Err(_) if bounds.too_deep.get() => Err(JsonError::TooDeep),
            Err(_) if bounds.too_many.get() => Err(JsonError::TooMany),
            Err(error) => Err(JsonError::Malformed {
                line: error.line(),
                column: error.column(),
            }),
        }
    }

    /// The value under a key of an object; `None` for other values too.
    pub fn field(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => fields
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text of a string.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items of a list.
    pub fn as_list(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }
}

#[derive(Default)]
struct Bounds {
    count: Cell<u32>,
    too_deep: Cell<bool>,
    too_many: Cell<bool>,
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    bounds: &'a Bounds,
    depth: u32,
}

impl Seed<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            self.bounds.too_deep.set(true);
            return Err(E::custom("too deep"));
        }
        Ok(Self {
            depth: self.depth + 1,
            ..self
        })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Json;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        if self.bounds.count.get() == VALUE_COUNT_MAX {
            self.bounds.too_many.set(true);
            return Err(serde::de::Error::custom("too many values"));
        }
        self.bounds.count.set(self.bounds.count.get() + 1);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Json;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let seed = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(seed)? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let seed = self.deeper()?;
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut fields: Vec<(String, Json)> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(seed)?;
            match places.get(&key).and_then(|place| fields.get_mut(*place)) {
                Some(twin) => twin.1 = value,
                None => {
                    places.insert(key.clone(), fields.len());
                    fields.push((key, value));
                }
            }
        }
        Ok(Json::Object(fields))
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Integer(value) => match u64::try_from(*value) {
                Ok(value) => serializer.serialize_u64(value),
                Err(_) => serializer.serialize_i128(*value),
            },
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(item)?;
                }
                list.end()
            }
            Self::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (key, value) in fields {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nested(depth: u32) -> Vec<u8> {
        let depth = depth as usize;
        [b"[".repeat(depth), b"]".repeat(depth)].concat()
    }

    #[test]
    fn keys_keep_the_order_of_the_text_and_of_twins_the_last_value_holds() {
        let value = Json::parse(br#"{"b": 1, "a": 2, "b": 3}"#).unwrap();
        assert_eq!(serde_json::to_string(&value).unwrap(), r#"{"b":3,"a":2}"#);
    }

    #[test]
    fn nesting_is_taken_at_the_limit_and_refused_one_past_it() {
        assert!(Json::parse(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(Json::parse(&nested(DEPTH_MAX + 1)), Err(JsonError::TooDeep));
        assert_eq!(Json::parse(&nested(100_000)), Err(JsonError::TooDeep));
    }

    #[test]
    fn values_are_taken_up_to_the_limit_and_refused_one_past_it() {
        let list = |count: u32| format!("[{}0]", "0,".repeat(count as usize - 1)).into_bytes();
        assert!(Json::parse(&list(VALUE_COUNT_MAX - 1)).is_ok());
        assert_eq!(Json::parse(&list(VALUE_COUNT_MAX)), Err(JsonError::TooMany));
    }

    #[test]
    fn what_is_not_json_is_told_with_its_place() {
        let malformed = |text: &[u8]| matches!(Json::parse(text), Err(JsonError::Malformed { .. }));
        for text in [
            &b""[..],
            b"{",
            b"{} {}",
            b"{\"a\":}",
            b"nul",
            b"\"\\ud800\"",
            b"\xff",
            b"[1,]",
            b"NaN",
            b"\xef\xbb\xbf{}",
        ] {
            assert!(malformed(text), "{text:?}");
        }
        assert_eq!(
            Json::parse(b"{\n  x"),
            Err(JsonError::Malformed { line: 2, column: 3 })
        );
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::Bool),
            any::<i64>().prop_map(|value| Json::Integer(value.into())),
            any::<u64>().prop_map(|value| Json::Integer(value.into())),
            ".*".prop_map(Json::Text),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Json::List),
                prop::collection::btree_map(".*", inner, 0..6)
                    .prop_map(|fields| Json::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_value_written_and_read_again_is_the_same(value in any_json()) {
            prop_assert_eq!(Json::parse(&serde_json::to_vec(&value).unwrap()), Ok(value));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Json::parse(&bytes);
        }
    }
}
