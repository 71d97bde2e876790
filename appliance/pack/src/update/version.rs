//! Version of an image: the one text that stands in partition labels, file names of boot entries and `os-release`.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest version. With `jingui_` before it and `_verity` behind it, it has to fit the 36 characters of a partition's
/// label (UEFI specification 2.10, table 5.6).
pub const IMAGE_VERSION_BYTES_MAX: usize = 22;

/// 1 to 22 characters of `0-9 a-z .`, the first a digit, no two dots in a row and none at the end.
///
/// Ordered as systemd-boot orders its entries (the comparison of the UAPI group's version format, for this set of
/// characters): that order decides which of two installed images is started, so it has to decide here what is newer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageVersion(String);

/// A text that is no version of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an image version is 1 to 22 of 0-9 a-z . and begins with a digit")]
pub struct NotAnImageVersion;

impl ImageVersion {
    /// Checks `text`.
    ///
    /// # Errors
    /// When it is not of the form.
    pub fn parse(text: &str) -> Result<Self, NotAnImageVersion> {
        let is_of_form = text.starts_with(|first: char| first.is_ascii_digit())
            && !text.ends_with('.')
            && !text.contains("..")
            && text.len() <= IMAGE_VERSION_BYTES_MAX
            && text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase() || byte == b'.');
        if is_of_form {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAnImageVersion)
        }
    }

    /// The version as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ord for ImageVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.0.as_bytes(), other.0.as_bytes())
            // Only leading zeros are left as a difference, which systemd-boot holds for equal.
            .then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for ImageVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ImageVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ImageVersion {
    type Error = NotAnImageVersion;

    fn try_from(text: String) -> Result<Self, NotAnImageVersion> {
        Self::parse(&text)
    }
}

impl From<ImageVersion> for String {
    fn from(version: ImageVersion) -> Self {
        version.0
    }
}

/// `strverscmp_improved` of systemd, for the characters of an [`ImageVersion`].
fn compare(one: &[u8], other: &[u8]) -> Ordering {
    let (mut one, mut other) = (one, other);
    loop {
        let (Some(first), Some(second)) = (one.first(), other.first()) else {
            return one.len().cmp(&other.len());
        };
        if *first == b'.' || *second == b'.' {
            match (*first != b'.').cmp(&(*second != b'.')) {
                Ordering::Equal => {
                    one = one.get(1..).unwrap_or_default();
                    other = other.get(1..).unwrap_or_default();
                    continue;
                }
                unequal => return unequal,
            }
        }
        let is_number = first.is_ascii_digit() || second.is_ascii_digit();
        let belongs = |byte: &u8| {
            if is_number {
                byte.is_ascii_digit()
            } else {
                byte.is_ascii_lowercase()
            }
        };
        let (left, left_rest) = split(one, belongs);
        let (right, right_rest) = split(other, belongs);
        let compared = if is_number {
            compare_numbers(left, right)
        } else {
            left.cmp(right)
        };
        match compared {
            Ordering::Equal => (one, other) = (left_rest, right_rest),
            unequal => return unequal,
        }
    }
}

fn split(bytes: &[u8], belongs: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    let end = bytes
        .iter()
        .position(|byte| !belongs(byte))
        .unwrap_or(bytes.len());
    bytes.split_at(end)
}

/// A missing number is older than any; leading zeros do not count.
fn compare_numbers(left: &[u8], right: &[u8]) -> Ordering {
    let significant = |digits: &[u8]| -> Vec<u8> {
        digits
            .iter()
            .copied()
            .skip_while(|digit| *digit == b'0')
            .collect()
    };
    let (left_digits, right_digits) = (significant(left), significant(right));
    (!left.is_empty())
        .cmp(&!right.is_empty())
        .then(left_digits.len().cmp(&right_digits.len()))
        .then_with(|| left_digits.cmp(&right_digits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> ImageVersion {
        ImageVersion::parse(text).unwrap()
    }

    #[test]
    fn versions_are_ordered_as_systemd_boot_orders_them() {
        // As `systemd-analyze compare-versions` says for each pair.
        let order = [
            "1", "1.0", "1.2", "1.10", "1.10.1", "1.10a", "1.10b", "2", "10", "10a", "123",
        ];
        for pair in order.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
        }
        assert_eq!(compare(b"1.01", b"1.1"), Ordering::Equal);
    }

    #[test]
    fn what_would_break_a_label_or_a_file_name_is_no_version() {
        for text in [
            "", "a1", ".1", "1.", "1..2", "1_2", "1-2", "1+2", "1/2", "1 2", "1A", "１",
        ] {
            assert_eq!(ImageVersion::parse(text), Err(NotAnImageVersion), "{text}");
        }
        assert!(ImageVersion::parse(&"1".repeat(IMAGE_VERSION_BYTES_MAX)).is_ok());
        assert!(ImageVersion::parse(&"1".repeat(IMAGE_VERSION_BYTES_MAX + 1)).is_err());
        assert_eq!("jingui__verity".len() + IMAGE_VERSION_BYTES_MAX, 36);
    }

    proptest! {
        #[test]
        fn the_order_is_total(one in "[0-9][0-9a-z]{0,4}(\\.[0-9a-z]{1,4}){0,2}", other in "[0-9][0-9a-z]{0,4}(\\.[0-9a-z]{1,4}){0,2}") {
            let (one, other) = (version(&one), version(&other));
            prop_assert_eq!(one.cmp(&other), other.cmp(&one).reverse());
            prop_assert_eq!(one.cmp(&other) == Ordering::Equal, one == other);
        }
    }
}
