//! What a sound file says about itself, for planning, release facts and people.

use jingui_trust::Sha256;

use super::architecture::{Architecture, Sizes};
use super::metadata::{CHAT_TEMPLATE_KEY, Metadata, Number, Value};
use super::refusal::GgufRefusal;
use super::tensors::TensorSums;
use super::vocabulary::VocabularyFacts;

/// Bytes of one number in an f16 cache.
const F16_BYTES: u64 = 2;

/// Facts of a file that passed the pre-check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufFacts {
    /// Size of the file.
    pub byte_count: u64,
    /// Bytes before the tensor data.
    pub header_bytes: u64,
    /// Architecture; only those of GLM pass.
    pub architecture: Architecture,
    /// `general.name`, empty if there is none. Text from the file, without control characters and marks that turn
    /// the reading direction, so that it cannot redraw the terminal it is shown on.
    pub name: String,
    /// Layers, prediction layers included.
    pub layer_count: u32,
    /// Prediction (MTP) layers among them.
    pub prediction_layer_count: u32,
    /// Attention heads.
    pub head_count: u32,
    /// Key/value heads.
    pub kv_head_count: u32,
    /// Length of the embedding.
    pub embedding_length: u32,
    /// Width of the dense feed-forward part.
    pub feed_forward_length: u32,
    /// Numbers of a key as cached, for each key/value head.
    pub key_length: u32,
    /// Numbers of a value, for each key/value head.
    pub value_length: u32,
    /// Trained context in tokens.
    pub context_tokens: u32,
    /// Bytes of KV cache for one token at f16, over all layers that have one.
    pub kv_bytes_per_token: u64,
    /// Parameters: elements of all tensors.
    pub parameter_count: u64,
    /// Tensor types with their number of tensors, most frequent first.
    pub tensor_types: Vec<(&'static str, u32)>,
    /// Quantisation as releases name it, for example `F16` or `Q4_K_M`. Never claims another base type than that
    /// of most parameters.
    pub quantisation: String,
    /// `tokenizer.ggml.model`.
    pub tokenizer_model: String,
    /// `tokenizer.ggml.pre`.
    pub tokenizer_pre: String,
    /// Digest over the tokenizer's names, tokens, types, scores and merges.
    pub tokenizer_digest: Sha256,
    /// Tokens in the vocabulary.
    pub token_count: u32,
    /// Special tokens: name without `tokenizer.ggml.` and `_token_id`, for example `eos`, and id.
    pub special_tokens: Vec<(String, u32)>,
    /// Chat template, if the file has one. Text from the file: render it only within limits.
    pub chat_template: Option<String>,
    /// Digest of the chat template's bytes; of no bytes if there is none.
    pub chat_template_digest: Sha256,
}

impl GgufFacts {
    pub(super) fn gather(
        byte_count: u64,
        header_bytes: u64,
        metadata: &Metadata,
        sizes: &Sizes,
        vocabulary: VocabularyFacts,
        sums: &TensorSums,
    ) -> Result<Self, GgufRefusal> {
        let chat_template = metadata.text(CHAT_TEMPLATE_KEY)?.map(str::to_owned);
        let mut tensor_types: Vec<_> = sums
            .types
            .iter()
            .map(|(name, (count, _))| (*name, *count))
            .collect();
        tensor_types.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
        Ok(Self {
            byte_count,
            header_bytes,
            architecture: sizes.architecture,
            name: harmless(metadata.text("general.name")?.unwrap_or_default()),
            layer_count: narrow(sizes.layer_count),
            prediction_layer_count: narrow(sizes.prediction_count),
            head_count: narrow(sizes.head_count),
            kv_head_count: narrow(sizes.kv_head_count),
            embedding_length: narrow(sizes.embedding),
            feed_forward_length: narrow(sizes.feed_forward),
            key_length: narrow(sizes.key_length),
            value_length: narrow(sizes.value_length),
            context_tokens: narrow(sizes.context),
            kv_bytes_per_token: kv_bytes_per_token(metadata, sizes),
            parameter_count: sums.parameter_count,
            tensor_types,
            quantisation: quantisation(metadata, sums),
            tokenizer_model: vocabulary.model,
            tokenizer_pre: vocabulary.pre,
            tokenizer_digest: vocabulary.digest,
            token_count: narrow(vocabulary.token_count),
            special_tokens: special_tokens(metadata),
            chat_template_digest: Sha256::of(chat_template.as_deref().unwrap_or_default().as_bytes()),
            chat_template,
        })
    }

    /// Tokenizer in one word, for example `gpt2/glm4`.
    #[must_use]
    pub fn tokenizer(&self) -> String {
        format!("{}/{}", self.tokenizer_model, self.tokenizer_pre)
    }
}

fn harmless(text: &str) -> String {
    let is_harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|c| {
            if is_harmful(c) {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// Every number that comes here is bounded far below 2^32 by the rules.
fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Plain attention caches keys and values of each key/value head. Latent attention caches the compressed key alone;
/// an indexer adds its own key. Linear layers and prediction layers cache nothing by token.
fn kv_bytes_per_token(metadata: &Metadata, sizes: &Sizes) -> u64 {
    let layers = (0..sizes.trunk_count())
        .filter(|layer| sizes.has(super::shapes::Layers::Attention, *layer))
        .count();
    let layers = u64::try_from(layers).unwrap_or(u64::MAX);
    if !sizes.architecture.is_latent() {
        return layers * sizes.kv_head_count * (sizes.key_length + sizes.value_length) * F16_BYTES;
    }
    let indexers = match metadata.value(&format!("{}.attention.indexer.types", sizes.architecture.name())) {
        Some(Value::Array {
            numbers: Some(numbers),
            ..
        }) => {
            let full = numbers
                .iter()
                .filter(|number| !matches!(number, Number::Whole(0) | Number::Bool(false)));
            u64::try_from(full.count()).unwrap_or(layers).min(layers)
        }
        _ => layers,
    };
    (layers * sizes.kv_head_count * sizes.key_length + indexers * sizes.indexer_length) * F16_BYTES
}

fn special_tokens(metadata: &Metadata) -> Vec<(String, u32)> {
    metadata
        .iter()
        .filter_map(|(key, value)| {
            let name = key.strip_prefix("tokenizer.ggml.")?.strip_suffix("_token_id")?;
            match value {
                Value::Scalar {
                    number: Number::Whole(id),
                    ..
                } => Some((name.to_owned(), u32::try_from(*id).ok()?)),
                _ => None,
            }
        })
        .collect()
}

/// Names of `general.file_type` (llama.h, `LLAMA_FTYPE_MOSTLY_*`).
const FILE_TYPES: &[(i128, &str)] = &[
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (7, "Q8_0"),
    (8, "Q5_0"),
    (9, "Q5_1"),
    (10, "Q2_K"),
    (11, "Q3_K_S"),
    (12, "Q3_K_M"),
    (13, "Q3_K_L"),
    (14, "Q4_K_S"),
    (15, "Q4_K_M"),
    (16, "Q5_K_S"),
    (17, "Q5_K_M"),
    (18, "Q6_K"),
    (21, "Q2_K_S"),
    (32, "BF16"),
];

fn quantisation(metadata: &Metadata, sums: &TensorSums) -> String {
    let base = sums
        .types
        .iter()
        .max_by_key(|(_, (_, elements))| *elements)
        .map_or("F32", |(name, _)| *name);
    let declared = match metadata.value("general.file_type") {
        Some(Value::Scalar {
            number: Number::Whole(id),
            ..
        }) => FILE_TYPES
            .iter()
            .find(|(known, _)| known == id)
            .map(|(_, name)| *name),
        _ => None,
    };
    declared
        .filter(|name| name.starts_with(base))
        .unwrap_or(base)
        .to_owned()
}
