//! Names inside a package.
//!
//! One conservative set of characters for file systems, JSON, terminals and people: no byte of it has a second
//! form under case folding other than its own ASCII case, and none under Unicode normalisation, so two names that
//! any system would hold for one are twins by ASCII case alone.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest path in bytes.
pub const PATH_BYTES_MAX: usize = 200;

/// Most folders above a file, and so the depth of a package.
pub const FOLDER_DEPTH_MAX: usize = 4;

/// A relative path inside a package: 1 to 5 names joined by `/`. Each name is made of ASCII letters, digits and
/// `. _ - +` and does not begin with a dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PackPath(String);

/// Why a text is no [`PackPath`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// Nothing between two slashes, or nothing at all.
    #[error("an empty name")]
    Empty,
    /// Begins with `/`.
    #[error("an absolute path")]
    Absolute,
    /// `.` or `..`.
    #[error("a step to this or the upper folder")]
    Step,
    /// Begins with a dot.
    #[error("a hidden name")]
    Hidden,
    /// `\`.
    #[error("a backslash")]
    Backslash,
    /// NUL or another control character.
    #[error("a control character")]
    Control,
    /// Any other character outside the set.
    #[error("a character outside A-Z a-z 0-9 . _ - +")]
    Character,
    /// More than [`PATH_BYTES_MAX`] bytes.
    #[error("a path that is too long")]
    TooLong,
    /// More than [`FOLDER_DEPTH_MAX`] folders.
    #[error("a path that is too deep")]
    TooDeep,
}

impl NameFault {
    /// One word for messages and scripts.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Absolute => "absolute",
            Self::Step => "step",
            Self::Hidden => "hidden",
            Self::Backslash => "backslash",
            Self::Control => "control",
            Self::Character => "character",
            Self::TooLong => "too-long",
            Self::TooDeep => "too-deep",
        }
    }
}

impl PackPath {
    /// Checks `text`.
    ///
    /// # Errors
    /// The first fault found.
    pub fn parse(text: &str) -> Result<Self, NameFault> {
        if text.starts_with('/') {
            return Err(NameFault::Absolute);
        }
        if text.len() > PATH_BYTES_MAX {
            return Err(NameFault::TooLong);
        }
        text.split('/').try_for_each(|name| check_name(name.as_bytes()))?;
        if text.split('/').count() > FOLDER_DEPTH_MAX + 1 {
            return Err(NameFault::TooDeep);
        }
        Ok(Self(text.to_owned()))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names, folders first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// What two names share that some file system holds for one.
    #[must_use]
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl fmt::Display for PackPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for PackPath {
    type Error = NameFault;

    fn try_from(text: String) -> Result<Self, NameFault> {
        Self::parse(&text)
    }
}

impl From<PackPath> for String {
    fn from(path: PackPath) -> Self {
        path.0
    }
}

/// Checks one name of a path, as bytes since a folder may hold any.
pub(crate) fn check_name(name: &[u8]) -> Result<(), NameFault> {
    match name {
        [] => return Err(NameFault::Empty),
        b"." | b".." => return Err(NameFault::Step),
        _ => {}
    }
    for byte in name {
        match byte {
            b'\\' => return Err(NameFault::Backslash),
            0..=0x1f | 0x7f => return Err(NameFault::Control),
            b'.' | b'_' | b'-' | b'+' => {}
            _ if byte.is_ascii_alphanumeric() => {}
            _ => return Err(NameFault::Character),
        }
    }
    if name.starts_with(b".") {
        Err(NameFault::Hidden)
    } else {
        Ok(())
    }
}

/// A name that failed, fit for messages: printable ASCII, shortened.
pub(crate) fn shown(name: &[u8]) -> String {
    let text = name.escape_ascii().to_string();
    if text.len() <= 80 {
        text
    } else {
        format!("{}...", text.get(..77).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn good_names_pass() {
        for good in [
            "release.json",
            "glm-4.5-Q4_K_M.gguf",
            "docs/safety+report.pdf",
            "a/b/c/d/e",
        ] {
            assert_eq!(PackPath::parse(good).map(String::from), Ok(good.to_owned()));
        }
    }

    #[test]
    fn each_bad_name_has_its_fault() {
        for (bad, fault) in [
            ("", NameFault::Empty),
            ("a//b", NameFault::Empty),
            ("a/", NameFault::Empty),
            ("/etc/passwd", NameFault::Absolute),
            ("../up", NameFault::Step),
            ("a/../b", NameFault::Step),
            ("./a", NameFault::Step),
            ("..", NameFault::Step),
            (".git/config", NameFault::Hidden),
            ("a\\b", NameFault::Backslash),
            ("a\0", NameFault::Control),
            ("a\nb", NameFault::Control),
            ("a\u{7f}", NameFault::Control),
            ("a b", NameFault::Character),
            ("模型.gguf", NameFault::Character),
            ("e\u{301}.txt", NameFault::Character),
            ("a:b", NameFault::Character),
            ("a/b/c/d/e/f", NameFault::TooDeep),
        ] {
            assert_eq!(PackPath::parse(bad), Err(fault), "{bad:?}");
        }
        assert!(PackPath::parse(&"a".repeat(PATH_BYTES_MAX)).is_ok());
        assert_eq!(
            PackPath::parse(&"a".repeat(PATH_BYTES_MAX + 1)),
            Err(NameFault::TooLong)
        );
    }

    proptest! {
        #[test]
        fn what_passes_stays_below_its_folder(text in any::<String>()) {
            if let Ok(path) = PackPath::parse(&text) {
                prop_assert!(path.names().all(|name| !name.is_empty() && name != ".." && name != "."));
                prop_assert!(path.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }

        #[test]
        fn a_shown_name_is_short_and_printable(name: Vec<u8>) {
            let shown = shown(&name);
            prop_assert!(shown.len() <= 80 && shown.bytes().all(|byte| (b' '..0x7f).contains(&byte)));
        }
    }
}
