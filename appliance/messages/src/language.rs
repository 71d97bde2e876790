//! Which language a caller reads.

/// A language of the product. Chinese is the first: callers who say nothing get it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Language {
    /// Simplified Chinese.
    #[default]
    Chinese,
    /// English; also for callers who read neither.
    English,
}

/// Most entries of an `Accept-Language` that are looked at.
const ENTRY_COUNT_MAX: usize = 32;

impl Language {
    /// Both languages, Chinese first.
    pub const ALL: [Self; 2] = [Self::Chinese, Self::English];

    /// Tag as in `Content-Language`, `lang` and the catalogue.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Chinese => "zh-CN",
            Self::English => "en",
        }
    }

    /// The language an `Accept-Language` header prefers (RFC 9110 section 12.5.4).
    ///
    /// Empty, `*` or unreadable: Chinese. Only other languages: English.
    pub fn from_accept_language(header: &str) -> Self {
        let mut best: Option<(f32, Self)> = None;
        let mut names_others = false;
        for entry in header.split(',').take(ENTRY_COUNT_MAX) {
            let (tag, parameters) = entry.split_once(';').unwrap_or((entry, ""));
            let quality = quality_of(parameters);
            if quality <= 0.0 {
                continue;
            }
            match Self::of_tag(tag.trim()) {
                // Of equals the first one holds.
                Some(language) if best.is_none_or(|(other, _)| quality > other) => {
                    best = Some((quality, language))
                }
                Some(_) => {}
                None => {
                    names_others |= tag
                        .trim()
                        .starts_with(|letter: char| letter.is_ascii_alphabetic())
                }
            }
        }
        match best {
            Some((_, language)) => language,
            None if names_others => Self::English,
            None => Self::Chinese,
        }
    }

    /// The language of a locale name as in `LANG` or `LC_ALL` (`zh_CN.UTF-8`, `en_US`). `C`, `POSIX` and other
    /// languages are English, since a terminal with such a locale may not show Chinese; an empty name is Chinese.
    pub fn from_locale(name: &str) -> Self {
        if name.is_empty() {
            return Self::default();
        }
        let tag = name
            .split(['.', '@'])
            .next()
            .unwrap_or_default()
            .replace('_', "-");
        Self::of_tag(&tag).unwrap_or(Self::English)
    }

    fn of_tag(tag: &str) -> Option<Self> {
        let primary = tag.split('-').next().unwrap_or_default();
        match primary.to_ascii_lowercase().as_str() {
            "zh" => Some(Self::Chinese),
            "en" => Some(Self::English),
            _ => None,
        }
    }
}

/// `q=` of an entry; 1 when absent, 0 when unreadable.
fn quality_of(parameters: &str) -> f32 {
    let quality = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    match quality {
        None => 1.0,
        Some(value) => value
            .parse::<f32>()
            .ok()
            .filter(|quality| (0.0..=1.0).contains(quality))
            .unwrap_or(0.0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_preferred_language_of_a_header_is_found() {
        use Language::{Chinese, English};
        let cases = [
            ("", Chinese),
            ("*", Chinese),
            ("zh-CN,zh;q=0.9,en;q=0.8", Chinese),
            ("en-US,en;q=0.9,zh;q=0.8", English),
            ("en;q=0.5, zh-Hans-CN;q=0.7", Chinese),
            ("ZH", Chinese),
            ("de,fr;q=0.5", English),
            ("de, zh;q=0.1", Chinese),
            ("en;q=0", Chinese),
            ("en;q=0, zh", Chinese),
            ("zh;q=x, en;q=0.1", English),
            ("en;q=1.5", Chinese),
            (";;;,,=", Chinese),
        ];
        for (header, language) in cases {
            assert_eq!(Language::from_accept_language(header), language, "{header:?}");
        }
    }

    #[test]
    fn the_language_of_a_locale_is_found() {
        use Language::{Chinese, English};
        let cases = [
            ("", Chinese),
            ("zh_CN.UTF-8", Chinese),
            ("zh_TW", Chinese),
            ("en_US.UTF-8", English),
            ("C.UTF-8", English),
            ("POSIX", English),
            ("de_DE@euro", English),
        ];
        for (name, language) in cases {
            assert_eq!(Language::from_locale(name), language, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_the_reader_panic(header in ".{0,80}") {
            let _ = (Language::from_accept_language(&header), Language::from_locale(&header));
        }
    }
}
