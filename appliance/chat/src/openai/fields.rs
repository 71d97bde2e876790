//! Reading typed fields of JSON objects, with the path of what is wrong.

use crate::error::Refusal;
use crate::json::Json;

/// An object of the request and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Fields<'v, 'p> {
    fields: &'v [(String, Json)],
    path: &'p str,
}

impl<'v, 'p> Fields<'v, 'p> {
    /// The body itself.
    pub(super) fn of_body(body: &'v Json) -> Result<Self, Refusal> {
        match body {
            Json::Object(fields) => Ok(Self { fields, path: "" }),
            _ => Err(Refusal::NotAnObject),
        }
    }

    /// An object inside the body.
    pub(super) fn of(value: &'v Json, path: &'p str) -> Result<Self, Refusal> {
        match value {
            Json::Object(fields) => Ok(Self { fields, path }),
            _ => Err(wrong_type(path.to_owned(), "an object")),
        }
    }

    /// Path of a field.
    pub(super) fn path(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// A field that was given; null counts as not given.
    pub(super) fn given(&self, name: &str) -> Option<&'v Json> {
        self.fields
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
            .filter(|value| **value != Json::Null)
    }

    /// A field that must be given.
    pub(super) fn needed(&self, name: &str) -> Result<&'v Json, Refusal> {
        self.given(name).ok_or_else(|| Refusal::Missing {
            param: self.path(name),
        })
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'v str>, Refusal> {
        self.typed(name, "a string", Json::as_text)
    }

    pub(super) fn needed_text(&self, name: &str) -> Result<&'v str, Refusal> {
        self.needed(name)?
            .as_text()
            .ok_or_else(|| wrong_type(self.path(name), "a string"))
    }

    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>, Refusal> {
        self.typed(name, "true or false", |value| match value {
            Json::Bool(value) => Some(*value),
            _ => None,
        })
    }

    pub(super) fn list(&self, name: &str) -> Result<Option<&'v [Json]>, Refusal> {
        self.typed(name, "a list", Json::as_list)
    }

    /// An object, with its own path for what is inside.
    pub(super) fn object(&self, name: &str) -> Result<Option<&'v [(String, Json)]>, Refusal> {
        self.typed(name, "an object", |value| match value {
            Json::Object(fields) => Some(fields.as_slice()),
            _ => None,
        })
    }

    /// A number in a closed range.
    pub(super) fn number(&self, name: &str, minimum: f64, maximum: f64) -> Result<Option<f64>, Refusal> {
        let number = self.typed(name, "a number", as_number)?;
        number
            .map(|number| in_range(number, minimum, maximum, || self.path(name)))
            .transpose()
    }

    /// A whole number in a closed range.
    pub(super) fn integer(&self, name: &str, minimum: i128, maximum: i128) -> Result<Option<i128>, Refusal> {
        let integer = self.typed(name, "a whole number", |value| match value {
            Json::Integer(value) => Some(*value),
            _ => None,
        })?;
        match integer {
            Some(integer) if integer < minimum || integer > maximum => Err(Refusal::OutOfRange {
                param: self.path(name),
                minimum: minimum as f64,
                maximum: maximum as f64,
            }),
            other => Ok(other),
        }
    }

    fn typed<T>(
        &self,
        name: &str,
        expected: &'static str,
        read: impl Fn(&'v Json) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        match self.given(name) {
            None => Ok(None),
            Some(value) => read(value)
                .map(Some)
                .ok_or_else(|| wrong_type(self.path(name), expected)),
        }
    }
}

pub(super) fn wrong_type(param: String, expected: &'static str) -> Refusal {
    Refusal::WrongType { param, expected }
}

/// The number, when it lies in the range. NaN cannot be written in JSON.
pub(super) fn in_range(
    number: f64,
    minimum: f64,
    maximum: f64,
    param: impl Fn() -> String,
) -> Result<f64, Refusal> {
    if number >= minimum && number <= maximum {
        Ok(number)
    } else {
        Err(Refusal::OutOfRange {
            param: param(),
            minimum,
            maximum,
        })
    }
}

pub(super) fn as_number(value: &Json) -> Option<f64> {
    match value {
        Json::Integer(value) => Some(*value as f64),
        Json::Float(value) => Some(*value),
        _ => None,
    }
}
