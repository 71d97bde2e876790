//! The vocabulary, checked while it streams by.
//!
//! Upstream indexes scores and types by token without asking how many there are, takes byte tokens apart by
//! position, and aborts the process when two tokens have one text. So all of that is refused here. Of each token
//! 18 bytes are kept: half a digest of its text, its form and its type.

use jingui_trust::{Sha256, Sha256Stream};

use super::metadata::{Metadata, Number, Value, ValueKind, read_number};
use super::read::{HeaderReader, STRING_BYTES_MAX};
use super::refusal::GgufRefusal;

/// Most tokens. GLM-5 has 154,880.
pub const TOKEN_COUNT_MAX: u64 = 1 << 19;

/// Longest token. The longest of GLM is a run of 128 spaces.
pub const TOKEN_BYTES_MAX: u64 = 4096;

const TOKENS: &str = "tokenizer.ggml.tokens";
const TOKEN_TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
const MERGES: &str = "tokenizer.ggml.merges";

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";

/// `LLAMA_TOKEN_TYPE_BYTE`.
const BYTE: u8 = 6;

/// Tokenizers of GLM models: model, pre-tokenizer, and whether texts fall back to byte tokens.
const TOKENIZERS: &[(&str, &str, bool)] = &[
    ("gpt2", "chatglm-bpe", false),
    ("gpt2", "glm4", false),
    ("gpt2", "glm5", false),
    ("llama", "default", true),
];

/// What is kept of the vocabulary's four arrays.
#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    tokens: Option<Tokens>,
    types: Option<(Vec<u8>, Sha256)>,
    scores: Option<(u64, Sha256)>,
    merges: Option<Sha256>,
}

#[derive(Debug)]
struct Tokens {
    /// Half of the SHA-256 of each text.
    halves: Vec<u128>,
    byte_values: Vec<Option<u8>>,
    digest: Sha256,
}

impl Tokens {
    fn count(&self) -> u64 {
        u64::try_from(self.halves.len()).unwrap_or(u64::MAX)
    }
}

/// Facts of a vocabulary that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VocabularyFacts {
    pub(super) model: String,
    pub(super) pre: String,
    pub(super) token_count: u64,
    pub(super) digest: Sha256,
}

impl Vocabulary {
    /// Whether [`Vocabulary::read`] is to read the array of `key`. Its digest starts at its element type.
    pub(super) fn wants(key: &str) -> bool {
        [TOKENS, TOKEN_TYPES, SCORES, MERGES].contains(&key)
    }

    /// Reads the elements of an array that [`Vocabulary::wants`].
    pub(super) fn read(
        &mut self,
        reader: &mut HeaderReader<'_>,
        key: &str,
        element: ValueKind,
        count: u64,
        text: &mut String,
    ) -> Result<(), GgufRefusal> {
        match key {
            TOKENS => self.tokens = Some(read_tokens(reader, element, count, text)?),
            TOKEN_TYPES => self.types = Some(read_types(reader, element, count)?),
            SCORES => self.scores = Some(read_scores(reader, element, count)?),
            _ => self.merges = Some(read_merges(reader, element, count, text)?),
        }
        Ok(())
    }

    /// Checks the arrays against each other and against the tokenizer's keys.
    pub(super) fn check(metadata: &Metadata) -> Result<VocabularyFacts, GgufRefusal> {
        let vocabulary = &metadata.vocabulary;
        let model = required_text(metadata, MODEL)?;
        let pre = metadata.text(PRE)?.unwrap_or("default");
        let Some((.., has_byte_fallback)) = TOKENIZERS.iter().find(|(m, p, _)| *m == model && *p == pre)
        else {
            return Err(GgufRefusal::Tokenizer);
        };
        let tokens = vocabulary
            .tokens
            .as_ref()
            .ok_or_else(|| missing_array(metadata, TOKENS))?;
        vocabulary.check_lengths(tokens.count())?;
        vocabulary.check_scores_and_types_are_arrays(metadata)?;
        check_unique(tokens)?;
        vocabulary.check_byte_tokens(tokens)?;
        if *has_byte_fallback {
            check_byte_fallback(tokens)?;
        } else if vocabulary.merges.is_none() {
            return Err(missing_array(metadata, MERGES));
        }
        check_special_tokens(metadata, tokens.count())?;
        Ok(VocabularyFacts {
            model: model.to_owned(),
            pre: pre.to_owned(),
            token_count: tokens.count(),
            digest: vocabulary.digest(model, pre),
        })
    }

    fn check_lengths(&self, tokens: u64) -> Result<(), GgufRefusal> {
        let types = self
            .types
            .as_ref()
            .map(|(types, _)| u64::try_from(types.len()).unwrap_or(u64::MAX));
        let scores = self.scores.as_ref().map(|(count, _)| *count);
        for (key, found) in [(TOKEN_TYPES, types), (SCORES, scores)] {
            if let Some(found) = found
                && found != tokens
            {
                return Err(GgufRefusal::TokenArrayCount { key, found, tokens });
            }
        }
        Ok(())
    }

    /// A key of an array's name with another value would be taken for an array by nobody but the C++.
    fn check_scores_and_types_are_arrays(&self, metadata: &Metadata) -> Result<(), GgufRefusal> {
        for (key, is_read) in [
            (TOKEN_TYPES, self.types.is_some()),
            (SCORES, self.scores.is_some()),
            (MERGES, self.merges.is_some()),
        ] {
            if !is_read && metadata.value(key).is_some() {
                return Err(missing_array(metadata, key));
            }
        }
        Ok(())
    }

    fn check_byte_tokens(&self, tokens: &Tokens) -> Result<(), GgufRefusal> {
        let Some((types, _)) = &self.types else {
            return Ok(());
        };
        let wrong = types
            .iter()
            .zip(&tokens.byte_values)
            .position(|(kind, value)| *kind == BYTE && value.is_none());
        wrong.map_or(Ok(()), |index| {
            Err(GgufRefusal::ByteToken { index: to_u64(index) })
        })
    }

    /// SHA-256 over lines `name value`, in this order, each ending in a newline: `model`, `pre`, then for each
    /// array that is there `tokens`, `token_type`, `scores`, `merges` with the SHA-256 of the array as it stands
    /// in the file, from its element type on.
    fn digest(&self, model: &str, pre: &str) -> Sha256 {
        let mut stream = Sha256Stream::new();
        let mut line = |name: &str, value: &str| stream.update(format!("{name} {value}\n").as_bytes());
        line("model", model);
        line("pre", pre);
        for (name, digest) in [
            ("tokens", self.tokens.as_ref().map(|tokens| tokens.digest)),
            ("token_type", self.types.as_ref().map(|(_, digest)| *digest)),
            ("scores", self.scores.as_ref().map(|(_, digest)| *digest)),
            ("merges", self.merges),
        ] {
            if let Some(digest) = digest {
                line(name, &digest.to_string());
            }
        }
        stream.finish()
    }
}

fn read_tokens(
    reader: &mut HeaderReader<'_>,
    element: ValueKind,
    count: u64,
    text: &mut String,
) -> Result<Tokens, GgufRefusal> {
    expect_element(TOKENS, element, &[ValueKind::Text], "string")?;
    if count == 0 || count > TOKEN_COUNT_MAX {
        return Err(GgufRefusal::ArrayCount {
            key: TOKENS.to_owned(),
            count,
            max: TOKEN_COUNT_MAX,
        });
    }
    let (mut halves, mut byte_values) = (Vec::new(), Vec::new());
    for index in 0..count {
        reader.string(text, TOKEN_BYTES_MAX)?;
        if text.is_empty() {
            // Upstream gives an empty token this text; it must not be another token's.
            *text = format!("[EMPTY_{index}]");
        }
        halves.push(half(&Sha256::of(text.as_bytes())));
        byte_values.push(byte_value(text));
    }
    Ok(Tokens {
        halves,
        byte_values,
        digest: reader.finish_digest(),
    })
}

fn read_types(
    reader: &mut HeaderReader<'_>,
    element: ValueKind,
    count: u64,
) -> Result<(Vec<u8>, Sha256), GgufRefusal> {
    expect_element(TOKEN_TYPES, element, &[ValueKind::I32], "i32")?;
    if count > TOKEN_COUNT_MAX {
        return Err(GgufRefusal::ArrayCount {
            key: TOKEN_TYPES.to_owned(),
            count,
            max: TOKEN_COUNT_MAX,
        });
    }
    let mut types = Vec::new();
    for index in 0..count {
        let Number::Whole(found) = read_number(reader, TOKEN_TYPES, element)? else {
            continue;
        };
        // LLAMA_TOKEN_TYPE: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte.
        match u8::try_from(found) {
            Ok(kind @ 1..=BYTE) => types.push(kind),
            _ => {
                return Err(GgufRefusal::TokenType {
                    index,
                    found: i64::try_from(found).unwrap_or(i64::MAX),
                });
            }
        }
    }
    Ok((types, reader.finish_digest()))
}

fn read_scores(
    reader: &mut HeaderReader<'_>,
    element: ValueKind,
    count: u64,
) -> Result<(u64, Sha256), GgufRefusal> {
    expect_element(SCORES, element, &[ValueKind::F32], "f32")?;
    reader.skip(count.saturating_mul(4))?;
    Ok((count, reader.finish_digest()))
}

fn read_merges(
    reader: &mut HeaderReader<'_>,
    element: ValueKind,
    count: u64,
    text: &mut String,
) -> Result<Sha256, GgufRefusal> {
    expect_element(MERGES, element, &[ValueKind::Text], "string")?;
    for index in 0..count {
        reader.string(text, STRING_BYTES_MAX)?;
        // Upstream cuts at the first space after the first byte; a merge it cannot cut becomes a pair of nothing.
        let cut = text.as_bytes().iter().skip(1).position(|byte| *byte == b' ');
        if cut.is_none_or(|before| before + 2 >= text.len()) {
            return Err(GgufRefusal::Merge { index });
        }
    }
    Ok(reader.finish_digest())
}

fn expect_element(
    key: &'static str,
    found: ValueKind,
    accepted: &[ValueKind],
    expected: &'static str,
) -> Result<(), GgufRefusal> {
    if accepted.contains(&found) {
        Ok(())
    } else {
        Err(GgufRefusal::TokenArrayType {
            key,
            expected,
            found: found.name(),
        })
    }
}

/// The byte that a token of the form `<0x4F>` stands for.
fn byte_value(text: &str) -> Option<u8> {
    let [b'<', b'0', b'x', high, low, b'>'] = *text.as_bytes() else {
        return None;
    };
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    };
    Some(digit(high)? << 4 | digit(low)?)
}

fn half(digest: &Sha256) -> u128 {
    digest
        .as_bytes()
        .first_chunk::<16>()
        .map_or(0, |bytes| u128::from_be_bytes(*bytes))
}

fn check_unique(tokens: &Tokens) -> Result<(), GgufRefusal> {
    let mut sorted = tokens.halves.clone();
    sorted.sort_unstable();
    let count = sorted.len();
    sorted.dedup();
    if sorted.len() == count {
        Ok(())
    } else {
        Err(GgufRefusal::TokenRepeated)
    }
}

fn check_byte_fallback(tokens: &Tokens) -> Result<(), GgufRefusal> {
    let mut values: Vec<u8> = tokens.byte_values.iter().copied().flatten().collect();
    values.sort_unstable();
    values.dedup();
    if values.len() == 256 {
        Ok(())
    } else {
        Err(GgufRefusal::ByteTokenCount {
            found: to_u64(values.len()),
        })
    }
}

/// Each `tokenizer.ggml.*_token_id` is a u32 inside the vocabulary.
fn check_special_tokens(metadata: &Metadata, tokens: u64) -> Result<(), GgufRefusal> {
    let keys: Vec<&str> = metadata
        .iter()
        .map(|(key, _)| key)
        .filter(|key| key.starts_with("tokenizer.ggml.") && key.ends_with("_token_id"))
        .collect();
    for key in keys {
        if let Some(found) = metadata.u32(key, 0, u64::MAX)?
            && found >= tokens
        {
            return Err(GgufRefusal::SpecialToken {
                key: key.to_owned(),
                found,
                tokens,
            });
        }
    }
    Ok(())
}

fn required_text<'a>(metadata: &'a Metadata, key: &str) -> Result<&'a str, GgufRefusal> {
    metadata
        .text(key)?
        .ok_or_else(|| GgufRefusal::KeyMissing { key: key.to_owned() })
}

fn missing_array(metadata: &Metadata, key: &'static str) -> GgufRefusal {
    match metadata.value(key) {
        None => GgufRefusal::KeyMissing { key: key.to_owned() },
        Some(Value::Scalar { kind, .. }) => GgufRefusal::TokenArrayType {
            key,
            expected: "array",
            found: kind.name(),
        },
        Some(_) => GgufRefusal::TokenArrayType {
            key,
            expected: "array",
            found: "string",
        },
    }
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
