//! A value that does not print and wipes itself.

use std::fmt;

use zeroize::Zeroize;

/// Holds a secret. `Debug` shows nothing of it, and its memory is overwritten when it goes.
///
/// Copies that the value itself made earlier (a growing `String`, for example) are out of reach: fill it once.
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes charge of `value`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value. The name is meant to be seen in review.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize + Clone> Clone for Secret<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::new("open sesame".to_owned());
        assert_eq!(format!("{secret:?}"), "(secret)");
        assert_eq!(secret.expose(), "open sesame");
    }
}
