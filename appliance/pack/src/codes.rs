//! The stable codes of this crate, in one list that the words are checked against.

/// Every code that [`crate::Refusal::code`] and [`crate::gguf::GgufRefusal::code`] can give.
pub const CODES: &[&str] = &[
    "model.folder.unreadable",
    "model.folder.too-many",
    "model.folder.too-deep",
    "model.name.not-allowed",
    "model.name.case-twins",
    "model.entry.symlink",
    "model.entry.special",
    "model.file.unreadable",
    "model.file.unwritable",
    "model.file.altered",
    "model.file.extra",
    "model.file.missing",
    "model.signature.missing",
    "model.signature.too-big",
    "model.signature.malformed",
    "model.signature.several",
    "model.signature.unknown-key",
    "model.signature.wrong",
    "model.signature.not-made",
    "model.statement.payload-type",
    "model.statement.malformed",
    "model.statement.predicate",
    "model.statement.serialization",
    "model.statement.ignore-path",
    "model.statement.root",
    "model.release.missing",
    "model.release.too-big",
    "model.release.malformed",
    "model.release.value",
    "model.release.disagrees",
    "model.release.appliance-too-old",
    "model.version.rolled-back",
    "model.gguf.unreadable",
    "model.gguf.truncated",
    "model.gguf.magic",
    "model.gguf.version",
    "model.gguf.key-count",
    "model.gguf.tensor-count",
    "model.gguf.header-size",
    "model.gguf.string-length",
    "model.gguf.string-text",
    "model.gguf.key-name",
    "model.gguf.key-repeated",
    "model.gguf.value-type",
    "model.gguf.array-nesting",
    "model.gguf.array-count",
    "model.gguf.bool-value",
    "model.gguf.alignment",
    "model.gguf.key-missing",
    "model.gguf.key-type",
    "model.gguf.key-range",
    "model.gguf.float-range",
    "model.gguf.architecture",
    "model.gguf.split",
    "model.gguf.head-sharing",
    "model.gguf.head-size",
    "model.gguf.experts",
    "model.gguf.tokenizer",
    "model.gguf.token-array-type",
    "model.gguf.token-array-count",
    "model.gguf.token-repeated",
    "model.gguf.token-type",
    "model.gguf.byte-token",
    "model.gguf.byte-token-count",
    "model.gguf.merge",
    "model.gguf.special-token",
    "model.gguf.tensor-name",
    "model.gguf.tensor-repeated",
    "model.gguf.dimension-count",
    "model.gguf.dimension",
    "model.gguf.tensor-size",
    "model.gguf.tensor-type",
    "model.gguf.vector-type",
    "model.gguf.row-size",
    "model.gguf.offset-alignment",
    "model.gguf.tensor-overlap",
    "model.gguf.tensor-gap",
    "model.gguf.tensor-extent",
    "model.gguf.trailing-bytes",
    "model.gguf.tensor-unknown",
    "model.gguf.tensor-shape",
    "model.gguf.tensor-missing",
];

#[cfg(test)]
mod tests {
    use super::CODES;

    /// Codes are literals in the two `code` functions; the list is held against those sources.
    #[test]
    fn the_list_holds_exactly_the_codes_of_both_refusals() {
        let sources = [include_str!("refusal.rs"), include_str!("gguf/refusal.rs")];
        let mut found: Vec<&str> = sources
            .iter()
            .flat_map(|source| source.split('"'))
            .filter(|text| text.starts_with("model.") && !text.ends_with('.') && !text.contains(' '))
            .collect();
        found.sort_unstable();
        let mut listed = CODES.to_vec();
        listed.sort_unstable();
        assert_eq!(found, listed);
    }

    /// The words have an entry for each code in each language, and none for codes that are gone.
    #[test]
    fn each_code_has_its_words_in_both_languages() {
        let words = include_str!("../../messages/catalogue/model.json");
        let words: serde_json::Map<String, serde_json::Value> = serde_json::from_str(words).unwrap();
        for code in CODES {
            for language in ["zh-CN", "en"] {
                for part in ["what", "why", "do"] {
                    let text = words
                        .get(*code)
                        .and_then(|entry| entry.get(language)?.get(part)?.as_str());
                    assert!(
                        text.is_some_and(|text| !text.trim().is_empty()),
                        "{code} {language} {part}"
                    );
                }
            }
        }
        for code in words.keys() {
            assert!(CODES.contains(&code.as_str()), "{code} is no code of this crate");
        }
    }
}
