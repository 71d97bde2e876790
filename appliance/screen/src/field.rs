//! A line that a person types into.

use jingui_ipc::control::Private;
use jingui_ipc::screen::TEXT_BYTES_MAX;

use crate::keys::Key;

/// What was typed; wiped when it is dropped.
#[derive(Debug, Default)]
pub struct Field {
    typed: Private,
    is_secret: bool,
}

impl Field {
    /// An empty line.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty line that shows nothing of what is typed.
    #[must_use]
    pub fn secret() -> Self {
        Self {
            is_secret: true,
            ..Self::default()
        }
    }

    /// A line that holds something already.
    #[must_use]
    pub fn with(text: &str) -> Self {
        Self {
            typed: Private(text.to_owned()),
            is_secret: false,
        }
    }

    /// What was typed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.typed.0
    }

    /// What is shown of it.
    #[must_use]
    pub fn shown(&self) -> String {
        if self.is_secret {
            "*".repeat(self.typed.0.chars().count())
        } else {
            self.typed.0.clone()
        }
    }

    /// Takes a sign, or takes one away.
    pub fn take(&mut self, key: Key) {
        match key {
            Key::Sign(sign) if self.typed.0.len() < TEXT_BYTES_MAX => self.typed.0.push(sign),
            Key::Back => {
                self.typed.0.pop();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_bounded_and_a_secret_one_shows_stars() {
        let mut field = Field::secret();
        for _ in 0..=TEXT_BYTES_MAX {
            field.take(Key::Sign('x'));
        }
        assert_eq!(field.text().len(), TEXT_BYTES_MAX);
        assert!(field.shown().chars().all(|sign| sign == '*'));
        assert!(!format!("{field:?}").contains('x'));
        field.take(Key::Back);
        assert_eq!(field.text().len(), TEXT_BYTES_MAX - 1);
    }
}
