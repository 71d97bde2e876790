//! The embedded catalogue.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::language::Language;
use crate::placeholders::fill;

/// Areas of codes, each with its file: name and text.
pub const AREAS: &[(&str, &str)] = &[
    ("api", include_str!("../catalogue/api.json")),
    ("audit", include_str!("../catalogue/audit.json")),
    ("auth", include_str!("../catalogue/auth.json")),
    ("chat", include_str!("../catalogue/chat.json")),
    ("engine", include_str!("../catalogue/engine.json")),
    ("guarantee", include_str!("../catalogue/guarantee.json")),
    ("install", include_str!("../catalogue/install.json")),
    ("model", include_str!("../catalogue/model.json")),
    ("platform", include_str!("../catalogue/platform.json")),
    ("storage", include_str!("../catalogue/storage.json")),
    ("network", include_str!("../catalogue/network.json")),
    ("system", include_str!("../catalogue/system.json")),
    ("update", include_str!("../catalogue/update.json")),
];

/// Areas of phrases, each with its file: name and text.
pub const PHRASE_AREAS: &[(&str, &str)] = &[
    ("cli", include_str!("../catalogue/cli.json")),
    ("console", include_str!("../catalogue/console.json")),
    ("screen", include_str!("../catalogue/screen.json")),
    ("installer", include_str!("../catalogue/installer.json")),
];

/// What happened, why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What happened, in a sentence.
    pub what: String,
    /// Why.
    pub why: String,
    /// What to do.
    pub remedy: String,
}

/// Words for a code. Facts fill the placeholders.
///
/// A code without an entry gets words that say so and lead to the manual: a person is never left with nothing, and
/// nothing is made up. The tests see to it that this does not happen for codes of this version.
pub fn explain<N: AsRef<str>, V: AsRef<str>>(
    code: &str,
    language: Language,
    facts: &[(N, V)],
) -> Explanation {
    match CATALOGUE.codes.get(code).map(|entry| entry.of(language)) {
        Some(words) => Explanation {
            what: fill(&words.what, facts),
            why: fill(&words.why, facts),
            remedy: fill(&words.remedy, facts),
        },
        None => unknown(code, language),
    }
}

/// A phrase of the console or the command line; `None` if there is none of that key.
pub fn phrase<N: AsRef<str>, V: AsRef<str>>(
    key: &str,
    language: Language,
    facts: &[(N, V)],
) -> Option<String> {
    CATALOGUE
        .phrases
        .get(key)
        .map(|entry| fill(entry.of(language), facts))
}

/// Whether a code has an entry.
pub fn is_known(code: &str) -> bool {
    CATALOGUE.codes.contains_key(code)
}

/// All codes with entries, sorted.
pub fn codes() -> impl Iterator<Item = &'static str> {
    CATALOGUE.codes.keys().map(String::as_str)
}

fn unknown(code: &str, language: Language) -> Explanation {
    let (what, why, remedy) = match language {
        Language::Chinese => (
            format!("发生了代码为 {code} 的情况。"),
            "这个版本没有为它准备说明。".to_owned(),
            "请在手册中查找这个代码；如果没有，请把代码和发生的时间告诉系统管理员。".to_owned(),
        ),
        Language::English => (
            format!("Something with the code {code} happened."),
            "This version has no words for it.".to_owned(),
            "Look the code up in the manual. If it is not there, tell the system admin the code and the time.".to_owned(),
        ),
    };
    Explanation { what, why, remedy }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Both<T> {
    #[serde(rename = "zh-CN")]
    chinese: T,
    #[serde(rename = "en")]
    english: T,
}

impl<T> Both<T> {
    fn of(&self, language: Language) -> &T {
        match language {
            Language::Chinese => &self.chinese,
            Language::English => &self.english,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    what: String,
    why: String,
    #[serde(rename = "do")]
    remedy: String,
}

struct Catalogue {
    codes: BTreeMap<String, Both<Words>>,
    phrases: BTreeMap<String, Both<String>>,
}

/// A file that cannot be read counts as empty here: its codes get the general words, and a test fails.
static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| Catalogue {
    codes: AREAS
        .iter()
        .flat_map(|(_, text)| read::<Words>(text).unwrap_or_default())
        .collect(),
    phrases: PHRASE_AREAS
        .iter()
        .flat_map(|(_, text)| read::<String>(text).unwrap_or_default())
        .collect(),
});

fn read<T: for<'a> Deserialize<'a>>(text: &str) -> serde_json::Result<BTreeMap<String, Both<T>>> {
    serde_json::from_str(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt;

    use serde::de::{IgnoredAny, MapAccess, Visitor};

    use crate::placeholders::placeholders;

    use super::*;

    /// Keys of a JSON object as they stand, twins included.
    struct Keys(Vec<String>);

    impl<'de> Deserialize<'de> for Keys {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct KeysVisitor;
            impl<'de> Visitor<'de> for KeysVisitor {
                type Value = Keys;
                fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                    formatter.write_str("an object")
                }
                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                    let mut keys = Vec::new();
                    while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
                        keys.push(key);
                    }
                    Ok(Keys(keys))
                }
            }
            deserializer.deserialize_map(KeysVisitor)
        }
    }

    #[test]
    fn every_file_can_be_read_and_has_both_languages() {
        for (area, text) in AREAS {
            if let Err(error) = read::<Words>(text) {
                panic!("catalogue/{area}.json: {error}");
            }
        }
        for (area, text) in PHRASE_AREAS {
            if let Err(error) = read::<String>(text) {
                panic!("catalogue/{area}.json: {error}");
            }
        }
    }

    #[test]
    fn no_key_occurs_twice_among_codes_or_among_phrases() {
        for areas in [AREAS, PHRASE_AREAS] {
            let mut seen = BTreeSet::new();
            for (area, text) in areas {
                let Keys(keys) = serde_json::from_str(text).unwrap();
                for key in keys {
                    assert!(
                        seen.insert(key.clone()),
                        "catalogue/{area}.json: {key} occurs twice"
                    );
                }
            }
        }
    }

    #[test]
    fn every_entry_says_the_same_in_both_languages() {
        for (code, entry) in &CATALOGUE.codes {
            let parts = |words: &'static Words| [&words.what, &words.why, &words.remedy].map(String::as_str);
            let (chinese, english) = (parts(&entry.chinese), parts(&entry.english));
            let all = |texts: [&'static str; 3]| -> BTreeSet<&str> {
                texts.into_iter().flat_map(placeholders).collect()
            };
            assert_eq!(all(chinese), all(english), "placeholders of {code}");
            for text in chinese.into_iter().chain(english) {
                assert!(!text.trim().is_empty(), "empty text in {code}");
            }
        }
        for (key, entry) in &CATALOGUE.phrases {
            assert_eq!(
                placeholders(&entry.chinese),
                placeholders(&entry.english),
                "placeholders of {key}"
            );
            assert!(
                !entry.chinese.trim().is_empty() && !entry.english.trim().is_empty(),
                "empty text in {key}"
            );
        }
    }

    #[test]
    fn each_language_is_written_in_its_own_script() {
        let is_chinese = |text: &str| {
            text.chars()
                .any(|letter| ('\u{4e00}'..='\u{9fff}').contains(&letter))
        };
        for (code, entry) in &CATALOGUE.codes {
            assert!(is_chinese(&entry.chinese.what), "{code} is not Chinese");
            assert!(!is_chinese(&entry.english.what), "{code} is not English");
        }
    }

    #[test]
    fn the_files_on_disk_are_the_files_that_are_embedded() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("catalogue");
        let on_disk: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let embedded = AREAS
            .iter()
            .chain(PHRASE_AREAS)
            .map(|(area, _)| format!("{area}.json"))
            .collect();
        assert_eq!(on_disk, embedded);
    }

    #[test]
    fn a_code_is_explained_with_its_facts_in_the_language_asked_for() {
        let facts = [("param", "messages[0].role")];
        let english = explain("chat.parameter.missing", Language::English, &facts);
        let chinese = explain("chat.parameter.missing", Language::Chinese, &facts);
        assert!(english.what.contains("messages[0].role") && chinese.what.contains("messages[0].role"));
        assert_ne!(english, chinese);
    }

    #[test]
    fn a_code_without_an_entry_gets_honest_words_that_name_it() {
        for language in Language::ALL {
            let words = explain::<&str, &str>("no.such.code", language, &[]);
            assert!(words.what.contains("no.such.code"));
            assert!(!words.why.is_empty() && !words.remedy.is_empty());
        }
        assert!(!is_known("no.such.code"));
        assert_eq!(
            phrase::<&str, &str>("no.such.phrase", Language::English, &[]),
            None
        );
    }
}
