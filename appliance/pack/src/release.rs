//! `release.json`: what the vendor says about a release. Signed, because it is one of the package's files.
//!
//! A strict schema: unknown fields, wrong types and values outside their bounds are refused, and what it says about
//! the weights is compared with the weights.

use std::collections::BTreeMap;
use std::fmt;

use jingui_trust::Sha256;
use serde::{Deserialize, Serialize};

use crate::gguf::GgufFacts;
use crate::path::PackPath;
use crate::refusal::Refusal;

/// Name of the file in the package.
pub const RELEASE_NAME: &str = "release.json";

/// Longest `release.json`.
pub const RELEASE_BYTES_MAX: u64 = 1 << 20;

/// Most golden prompts.
pub const GOLDEN_PROMPT_COUNT_MAX: usize = 64;

/// Largest security version: the largest whole number that every JSON reader keeps exactly.
pub const SECURITY_VERSION_MAX: u64 = (1 << 53) - 1;

/// Longest text in any field that is shown in a line.
const LINE_BYTES_MAX: usize = 200;

/// The facts of a release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Name under which clients ask for the model.
    pub name: ModelName,
    /// Version for people, for example `4.7.0`.
    pub version: Version,
    /// Number against rollback: a box that accepted one never accepts a lower one for the same name.
    pub security_version: SecurityVersion,
    /// Oldest appliance that serves it.
    pub min_appliance: Version,
    /// The weights, by file. Exactly one file in this version of the schema. Empty only in a source folder:
    /// signing fills it in.
    #[serde(default)]
    pub files: BTreeMap<PackPath, ReleaseFile>,
    /// Licence, as an SPDX expression or the name of a text in the package.
    pub licence: String,
    /// Filing number of the generative service (备案号), empty if the release has none.
    pub filing_number: String,
    /// Model code of four characters for the label of generated content (GB 45438).
    pub label_code: LabelCode,
    /// Prompts with the answers that the release gives, greedy: they are asked before it serves.
    pub golden_prompts: Vec<GoldenPrompt>,
}

/// What a release says about its weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseFile {
    /// Bytes.
    pub size: u64,
    /// Digest of the bytes.
    pub sha256: Sha256,
    /// `general.architecture`.
    #[serde(rename = "arch")]
    pub architecture: String,
    /// Quantisation, for example `F16`.
    #[serde(rename = "quant")]
    pub quantisation: String,
    /// Trained context in tokens.
    pub context: u32,
    /// [`GgufFacts::tokenizer_digest`].
    pub tokenizer_digest: Sha256,
    /// [`GgufFacts::chat_template_digest`].
    pub chat_template_digest: Sha256,
}

/// A question whose answer is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenPrompt {
    /// Messages as in the chat API.
    pub messages: Vec<serde_json::Value>,
    /// Tools as in the chat API.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<serde_json::Value>,
    /// Whether the model may think before it answers.
    #[serde(default)]
    pub enable_thinking: bool,
    /// What it must answer.
    pub expected: GoldenAnswer,
}

/// The answer to a [`GoldenPrompt`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenAnswer {
    /// Text of the answer.
    pub content: String,
    /// Text of the thinking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// Calls of tools, each `{"name": ..., "arguments": {...}}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<serde_json::Value>,
}

/// Name of a model in the API: 1 to 64 characters of `a-z 0-9 . _ -`, the first a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelName(String);

/// Version for people: three numbers, for example `1.0.0`, and optionally a suffix of `a-z 0-9 .` after `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    text: String,
    numbers: [u32; 3],
}

/// Number against rollback, at most [`SECURITY_VERSION_MAX`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct SecurityVersion(u64);

/// Four characters of `A-Z 0-9`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabelCode(String);

/// A value of a release that is not of its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotOfItsForm(&'static str);

impl ModelName {
    /// Checks `text`.
    ///
    /// # Errors
    /// When it is not of the form.
    pub fn parse(text: &str) -> Result<Self, NotOfItsForm> {
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let starts_well = text.bytes().next().is_some_and(is_word);
        let is_clean = text
            .bytes()
            .all(|byte| is_word(byte) || matches!(byte, b'.' | b'_' | b'-'));
        if starts_well && is_clean && text.len() <= 64 {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotOfItsForm("a model name is 1 to 64 of a-z 0-9 . _ -"))
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Version {
    /// Checks `text`.
    ///
    /// # Errors
    /// When it is not of the form.
    pub fn parse(text: &str) -> Result<Self, NotOfItsForm> {
        const FAULT: NotOfItsForm =
            NotOfItsForm("a version is three numbers with dots, and a suffix after -");
        let (numbers_text, suffix) = match text.split_once('-') {
            Some((numbers, suffix)) => (numbers, Some(suffix)),
            None => (text, None),
        };
        if suffix.is_some_and(|suffix| {
            suffix.is_empty()
                || !suffix
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'.')
        }) || text.len() > 32
        {
            return Err(FAULT);
        }
        let mut numbers = [0_u32; 3];
        let mut parts = numbers_text.split('.');
        for number in &mut numbers {
            let part = parts.next().ok_or(FAULT)?;
            *number = part.parse().map_err(|_| FAULT)?;
            if number.to_string() != part {
                return Err(FAULT);
            }
        }
        if parts.next().is_some() {
            Err(FAULT)
        } else {
            Ok(Self {
                text: text.to_owned(),
                numbers,
            })
        }
    }

    /// The version as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this version is `other` or a later one. Suffixes do not count.
    #[must_use]
    pub fn is_at_least(&self, other: &Self) -> bool {
        self.numbers >= other.numbers
    }
}

impl SecurityVersion {
    /// The largest one.
    pub const LARGEST: Self = Self(SECURITY_VERSION_MAX);

    /// A number; `None` beyond [`SECURITY_VERSION_MAX`].
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        if number > SECURITY_VERSION_MAX {
            None
        } else {
            Some(Self(number))
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl LabelCode {
    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Release {
    /// Reads `release.json` as it stands in a package, or in a source folder with no [`Release::files`] yet.
    ///
    /// # Errors
    /// [`Refusal::ReleaseMalformed`], [`Refusal::ReleaseValue`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let release: Self = serde_json::from_slice(bytes).map_err(|source| Refusal::ReleaseMalformed {
            line: source.line(),
            column: source.column(),
            source,
        })?;
        let lines = [
            ("licence", &release.licence),
            ("filing_number", &release.filing_number),
        ];
        for (field, text) in lines {
            if text.len() > LINE_BYTES_MAX || text.chars().any(char::is_control) {
                return Err(Refusal::ReleaseValue { field });
            }
        }
        if release.licence.trim().is_empty() {
            return Err(Refusal::ReleaseValue { field: "licence" });
        }
        if release.files.len() > 1 {
            return Err(Refusal::ReleaseValue { field: "files" });
        }
        let prompts = &release.golden_prompts;
        if prompts.len() > GOLDEN_PROMPT_COUNT_MAX || prompts.iter().any(|prompt| prompt.messages.is_empty())
        {
            return Err(Refusal::ReleaseValue {
                field: "golden_prompts",
            });
        }
        Ok(release)
    }

    /// The file as written by us: indented JSON with a final newline.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Maps with text keys and plain values always serialise.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// The one weights file.
    ///
    /// # Errors
    /// [`Refusal::ReleaseValue`] when there is none, as in a source folder.
    pub fn weights(&self) -> Result<(&PackPath, &ReleaseFile), Refusal> {
        self.files
            .first_key_value()
            .ok_or(Refusal::ReleaseValue { field: "files" })
    }

    /// Refuses a release that needs a newer appliance than `current`.
    ///
    /// # Errors
    /// [`Refusal::ApplianceTooOld`].
    pub fn check_appliance(&self, current: &Version) -> Result<(), Refusal> {
        if current.is_at_least(&self.min_appliance) {
            Ok(())
        } else {
            Err(Refusal::ApplianceTooOld {
                needed: self.min_appliance.to_string(),
                current: current.to_string(),
            })
        }
    }
}

impl ReleaseFile {
    /// What is true of weights with these facts and this digest.
    #[must_use]
    pub fn describe(facts: &GgufFacts, sha256: Sha256) -> Self {
        Self {
            size: facts.byte_count,
            sha256,
            architecture: facts.architecture.name().to_owned(),
            quantisation: facts.quantisation.clone(),
            context: facts.context_tokens,
            tokenizer_digest: facts.tokenizer_digest,
            chat_template_digest: facts.chat_template_digest,
        }
    }

    /// Compares with what is `true_one`.
    ///
    /// # Errors
    /// [`Refusal::ReleaseDisagrees`] with the first field that differs.
    pub fn check(&self, file: &PackPath, true_one: &Self) -> Result<(), Refusal> {
        let rows = [
            ("size", self.size.to_string(), true_one.size.to_string()),
            ("sha256", self.sha256.to_string(), true_one.sha256.to_string()),
            ("arch", self.architecture.clone(), true_one.architecture.clone()),
            ("quant", self.quantisation.clone(), true_one.quantisation.clone()),
            ("context", self.context.to_string(), true_one.context.to_string()),
            (
                "tokenizer_digest",
                self.tokenizer_digest.to_string(),
                true_one.tokenizer_digest.to_string(),
            ),
            (
                "chat_template_digest",
                self.chat_template_digest.to_string(),
                true_one.chat_template_digest.to_string(),
            ),
        ];
        match rows.into_iter().find(|(_, declared, found)| declared != found) {
            None => Ok(()),
            Some((field, declared, found)) => Err(Refusal::ReleaseDisagrees {
                file: file.clone(),
                field,
                declared: crate::path::shown(declared.as_bytes()),
                found,
            }),
        }
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for SecurityVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for ModelName {
    type Error = NotOfItsForm;

    fn try_from(text: String) -> Result<Self, NotOfItsForm> {
        Self::parse(&text)
    }
}

impl From<ModelName> for String {
    fn from(name: ModelName) -> Self {
        name.0
    }
}

impl TryFrom<String> for Version {
    type Error = NotOfItsForm;

    fn try_from(text: String) -> Result<Self, NotOfItsForm> {
        Self::parse(&text)
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.text
    }
}

impl TryFrom<u64> for SecurityVersion {
    type Error = NotOfItsForm;

    fn try_from(number: u64) -> Result<Self, NotOfItsForm> {
        Self::new(number).ok_or(NotOfItsForm("a security version is a number up to 2^53 - 1"))
    }
}

impl From<SecurityVersion> for u64 {
    fn from(version: SecurityVersion) -> Self {
        version.0
    }
}

impl TryFrom<String> for LabelCode {
    type Error = NotOfItsForm;

    fn try_from(text: String) -> Result<Self, NotOfItsForm> {
        let is_clean = text
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        if is_clean && text.len() == 4 {
            Ok(Self(text))
        } else {
            Err(NotOfItsForm("a label code is 4 of A-Z 0-9"))
        }
    }
}

impl From<LabelCode> for String {
    fn from(code: LabelCode) -> Self {
        code.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the demo model really ships.
    const DEMO: &[u8] = include_bytes!("../../../image/models/glm4-canary/release.json");

    #[test]
    fn the_demo_release_reads_back_as_itself() {
        let release = Release::parse(DEMO).unwrap();
        assert_eq!(release.name.as_str(), "glm4-canary");
        assert_eq!(release.weights().unwrap().1.size, 7_985_440);
        assert_eq!(Release::parse(&release.to_bytes()).unwrap(), release);
    }

    #[test]
    fn fields_keep_their_order_in_what_we_write() {
        let text = String::from_utf8(Release::parse(DEMO).unwrap().to_bytes()).unwrap();
        let places: Vec<usize> = [
            "\"name\"",
            "\"version\"",
            "\"files\"",
            "\"licence\"",
            "\"golden_prompts\"",
        ]
        .iter()
        .map(|field| text.find(field).unwrap())
        .collect();
        assert!(places.is_sorted());
        assert!(text.ends_with("}\n"));
    }

    #[test]
    fn a_field_that_stands_twice_is_refused() {
        let text = std::str::from_utf8(DEMO).unwrap();
        let twice = text.replacen(
            "\"security_version\": 1,",
            "\"security_version\": 1, \"security_version\": 9,",
            1,
        );
        assert_ne!(text, twice);
        assert_eq!(
            Release::parse(twice.as_bytes()).unwrap_err().code(),
            "model.release.malformed"
        );
    }

    #[test]
    fn versions_compare_by_number_and_not_by_text() {
        let version = |text: &str| Version::parse(text).unwrap();
        assert!(version("0.10.0").is_at_least(&version("0.9.9")));
        assert!(!version("0.9.9").is_at_least(&version("0.10.0")));
        assert!(version("1.0.0-rc.1").is_at_least(&version("1.0.0")));
        for bad in [
            "",
            "1",
            "1.0",
            "1.0.0.0",
            "1.0.x",
            "1.0.0-",
            "1.0.0-RC",
            "-1.0.0",
            "+1.0.0",
            "1.0.4294967296",
        ] {
            assert!(Version::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_and_numbers_hold_at_their_bounds() {
        assert!(ModelName::parse(&"a".repeat(64)).is_ok());
        assert!(ModelName::parse(&"a".repeat(65)).is_err());
        assert!(ModelName::parse("-glm").is_err());
        assert!(SecurityVersion::new(SECURITY_VERSION_MAX).is_some());
        assert!(SecurityVersion::new(SECURITY_VERSION_MAX + 1).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, position: prop::sample::Index, value: u8) {
            let _ = Release::parse(&bytes);
            let mut bent = DEMO.to_vec();
            let position = position.index(bent.len());
            bent[position] = value;
            let _ = Release::parse(&bent);
        }

        #[test]
        fn a_model_name_is_fit_for_a_path_and_an_address(text: String) {
            if let Ok(name) = ModelName::parse(&text) {
                prop_assert!(name.as_str().bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'));
                prop_assert!(!name.as_str().starts_with('.'));
            }
        }
    }
}
