//! The architectures that may reach C++, and the sizes each declares.
//!
//! Ranges are wide enough for every released GLM and its next size up, and inside the bounds that upstream asserts
//! (512 layers, 1,024 experts); the relations are those on which its loader and graphs rely without asking.

use super::metadata::Metadata;
use super::refusal::GgufRefusal;

/// Most layers. GLM-4.5 has 93.
pub const LAYER_COUNT_MAX: u64 = 256;
/// Longest trained context. GLM-5.2 has 1,048,576.
pub const CONTEXT_TOKENS_MAX: u64 = 1 << 22;
/// Widest embedding. GLM-5 has 6,144.
pub const EMBEDDING_MAX: u64 = 1 << 16;
/// Most attention heads. GLM-4.5 has 96.
pub const HEAD_COUNT_MAX: u64 = 512;
/// Largest head, compressed ones of latent attention included (576).
pub const HEAD_SIZE_MAX: u64 = 4096;
/// Widest feed-forward part.
pub const FEED_FORWARD_MAX: u64 = 1 << 18;
/// Most experts, as upstream asserts.
pub const EXPERT_COUNT_MAX: u64 = 1024;

/// A GLM architecture, named as in `general.architecture`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// ChatGLM3, GLM-4-9B of 2024, GLM-Edge.
    ChatGlm,
    /// GLM-4-0414, GLM-Z1, GLM-OCR.
    Glm4,
    /// GLM-4.5 to 4.7.
    Glm4Moe,
    /// GLM-4.7-Flash.
    Deepseek2,
    /// GLM-5 to 5.2.
    GlmDsa,
    /// GLM-5.3-Flash.
    Glm5Next,
}

impl Architecture {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::ChatGlm,
        Self::Glm4,
        Self::Glm4Moe,
        Self::Deepseek2,
        Self::GlmDsa,
        Self::Glm5Next,
    ];

    /// Name in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChatGlm => "chatglm",
            Self::Glm4 => "glm4",
            Self::Glm4Moe => "glm4moe",
            Self::Deepseek2 => "deepseek2",
            Self::GlmDsa => "glm-dsa",
            Self::Glm5Next => "glm5-next",
        }
    }

    /// Whether keys and values are kept compressed (MLA).
    #[must_use]
    pub const fn is_latent(self) -> bool {
        matches!(self, Self::Deepseek2 | Self::GlmDsa | Self::Glm5Next)
    }

    /// Whether feed-forward parts are made of experts.
    #[must_use]
    pub const fn has_experts(self) -> bool {
        !matches!(self, Self::ChatGlm | Self::Glm4)
    }

    const fn has_indexer(self) -> bool {
        matches!(self, Self::GlmDsa | Self::Glm5Next)
    }
}

/// Sizes that a file declares, checked against each other. A size that the architecture does not have is 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) architecture: Architecture,
    /// Layers, prediction layers included.
    pub(super) layer_count: u64,
    /// Prediction (MTP) layers at the end.
    pub(super) prediction_count: u64,
    pub(super) context: u64,
    pub(super) embedding: u64,
    pub(super) vocabulary: u64,
    pub(super) feed_forward: u64,
    pub(super) head_count: u64,
    /// Key/value heads of the attention layers.
    pub(super) kv_head_count: u64,
    /// Layers without a KV cache (linear attention), by index.
    pub(super) is_linear: Vec<bool>,
    pub(super) key_length: u64,
    pub(super) value_length: u64,
    pub(super) rope_dimensions: u64,
    pub(super) query_rank: u64,
    pub(super) kv_rank: u64,
    pub(super) key_length_latent: u64,
    pub(super) value_length_latent: u64,
    pub(super) dense_count: u64,
    pub(super) expert_count: u64,
    pub(super) expert_feed_forward: u64,
    pub(super) shared_expert_count: u64,
    pub(super) indexer_heads: u64,
    pub(super) indexer_length: u64,
    pub(super) indexer_pool: u64,
    pub(super) linear_head: u64,
    pub(super) convolution: u64,
    pub(super) streams: u64,
}

/// Reads keys under the architecture's name.
struct Keys<'a> {
    metadata: &'a Metadata,
    prefix: &'static str,
}

impl Keys<'_> {
    fn name(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.prefix)
    }

    fn required(&self, suffix: &str, min: u64, max: u64) -> Result<u64, GgufRefusal> {
        self.metadata.required_u32(&self.name(suffix), min, max)
    }

    fn optional(&self, suffix: &str, min: u64, max: u64) -> Result<Option<u64>, GgufRefusal> {
        self.metadata.u32(&self.name(suffix), min, max)
    }

    fn per_layer(
        &self,
        suffix: &str,
        layers: u64,
        min: u64,
        max: u64,
    ) -> Result<Option<Vec<u64>>, GgufRefusal> {
        self.metadata.per_layer(&self.name(suffix), layers, min, max)
    }

    /// One number for all layers. Where `min` is 0, layers may also have 0, for those that lack the part.
    fn same(&self, suffix: &str, layers: u64, min: u64, max: u64) -> Result<Option<u64>, GgufRefusal> {
        let Some(each) = self.per_layer(suffix, layers, min, max)? else {
            return Ok(None);
        };
        let most = each.iter().copied().max().unwrap_or_default();
        match each.into_iter().find(|found| *found != most && *found != 0) {
            None => Ok(Some(most)),
            Some(found) => Err(GgufRefusal::KeyRange {
                key: self.name(suffix),
                found,
                min: most,
                max: most,
            }),
        }
    }

    fn required_same(&self, suffix: &str, layers: u64, min: u64, max: u64) -> Result<u64, GgufRefusal> {
        self.same(suffix, layers, min, max)?
            .ok_or_else(|| GgufRefusal::KeyMissing {
                key: self.name(suffix),
            })
    }

    fn head_size(&self, suffix: &str, found: u64, needed: impl Into<String>) -> GgufRefusal {
        GgufRefusal::HeadSize {
            key: self.name(suffix),
            found,
            needed: needed.into(),
        }
    }

    fn experts(&self, suffix: &str, found: u64, needed: impl Into<String>) -> GgufRefusal {
        GgufRefusal::Experts {
            key: self.name(suffix),
            found,
            needed: needed.into(),
        }
    }
}

impl Sizes {
    /// Reads and checks the sizes; `token_count` is the length of the token list.
    pub(super) fn read(metadata: &Metadata, token_count: u64) -> Result<Self, GgufRefusal> {
        let architecture = read_architecture(metadata)?;
        let keys = Keys {
            metadata,
            prefix: architecture.name(),
        };
        let layer_count = keys.required("block_count", 1, LAYER_COUNT_MAX)?;
        let prediction_max = if architecture == Architecture::ChatGlm {
            0
        } else {
            layer_count - 1
        };
        let prediction_count = keys
            .optional("nextn_predict_layers", 0, prediction_max)?
            .unwrap_or(0);
        let context = keys.required("context_length", 1, CONTEXT_TOKENS_MAX)?;
        let embedding = keys.required("embedding_length", 1, EMBEDDING_MAX)?;
        keys.optional("vocab_size", token_count, token_count)?;
        let mut sizes = Self {
            architecture,
            layer_count,
            prediction_count,
            context,
            embedding,
            vocabulary: token_count,
            feed_forward: 0,
            head_count: keys.required_same("attention.head_count", layer_count, 1, HEAD_COUNT_MAX)?,
            kv_head_count: 0,
            is_linear: Vec::new(),
            key_length: 0,
            value_length: 0,
            rope_dimensions: 0,
            query_rank: 0,
            kv_rank: 0,
            key_length_latent: 0,
            value_length_latent: 0,
            dense_count: 0,
            expert_count: 0,
            expert_feed_forward: 0,
            shared_expert_count: 0,
            indexer_heads: 0,
            indexer_length: 0,
            indexer_pool: 0,
            linear_head: 0,
            convolution: 0,
            streams: 0,
        };
        sizes.read_heads(&keys)?;
        sizes.read_rotary(&keys)?;
        if architecture.is_latent() {
            sizes.read_latent(&keys)?;
        }
        sizes.read_feed_forward(&keys)?;
        if architecture.has_indexer() {
            sizes.read_indexer(&keys)?;
        }
        if architecture == Architecture::Glm5Next {
            sizes.read_hybrid(&keys)?;
        }
        check_other_keys(&keys)?;
        Ok(sizes)
    }

    /// Layers that a pass over the text runs through.
    pub(super) const fn trunk_count(&self) -> u64 {
        self.layer_count - self.prediction_count
    }

    fn read_heads(&mut self, keys: &Keys<'_>) -> Result<(), GgufRefusal> {
        let least = u64::from(self.architecture != Architecture::Glm5Next);
        let each = keys.per_layer("attention.head_count_kv", self.layer_count, least, HEAD_COUNT_MAX)?;
        self.kv_head_count = match &each {
            None => self.head_count,
            Some(_) => {
                keys.required_same("attention.head_count_kv", self.layer_count, least, HEAD_COUNT_MAX)?
            }
        };
        self.is_linear = each
            .unwrap_or_default()
            .into_iter()
            .map(|count| count == 0)
            .collect();
        let (heads, kv_heads) = (self.head_count, self.kv_head_count);
        if kv_heads == 0 || heads % kv_heads != 0 {
            return Err(GgufRefusal::HeadSharing { heads, kv_heads });
        }
        let quotient = self.embedding / heads;
        for (suffix, is_key) in [("attention.key_length", true), ("attention.value_length", false)] {
            let length = match keys.optional(suffix, 1, HEAD_SIZE_MAX)? {
                Some(length) => length,
                None if self.embedding.is_multiple_of(heads) => quotient.max(1),
                None => {
                    return Err(keys.head_size("embedding_length", self.embedding, format!("{heads}n")));
                }
            };
            *(if is_key {
                &mut self.key_length
            } else {
                &mut self.value_length
            }) = length;
        }
        // The plain graphs assert that keys and values have one size.
        if !self.architecture.is_latent() && self.key_length != self.value_length {
            return Err(keys.head_size(
                "attention.value_length",
                self.value_length,
                self.key_length.to_string(),
            ));
        }
        // ChatGLM's output projection is square.
        if self.architecture == Architecture::ChatGlm && self.key_length * heads != self.embedding {
            return Err(keys.head_size("attention.key_length", self.key_length, quotient.to_string()));
        }
        Ok(())
    }

    fn read_rotary(&mut self, keys: &Keys<'_>) -> Result<(), GgufRefusal> {
        const KEY: &str = "rope.dimension_count";
        let found = keys.optional(KEY, 0, HEAD_SIZE_MAX)?.unwrap_or(self.key_length);
        self.rope_dimensions = found;
        if found % 2 != 0 {
            return Err(keys.head_size(KEY, found, "2n"));
        }
        if found > self.key_length {
            return Err(keys.head_size(KEY, found, format!("<= {}", self.key_length)));
        }
        if found == 0 && self.architecture != Architecture::Glm5Next {
            return Err(keys.head_size(KEY, found, ">= 2"));
        }
        if let Some(sections) = keys.per_layer("rope.dimension_sections", 4, 0, HEAD_SIZE_MAX)? {
            let sum: u64 = sections.iter().sum();
            if sum * 2 > self.key_length {
                return Err(keys.head_size(
                    "rope.dimension_sections",
                    sum,
                    format!("<= {}", self.key_length / 2),
                ));
            }
        }
        Ok(())
    }

    fn read_latent(&mut self, keys: &Keys<'_>) -> Result<(), GgufRefusal> {
        self.query_rank = keys.required("attention.q_lora_rank", 1, EMBEDDING_MAX)?;
        self.kv_rank = keys.required("attention.kv_lora_rank", 1, HEAD_SIZE_MAX)?;
        self.key_length_latent = keys.required("attention.key_length_mla", 1, HEAD_SIZE_MAX)?;
        self.value_length_latent = keys.required("attention.value_length_mla", 1, HEAD_SIZE_MAX)?;
        if self.kv_head_count != 1 {
            return Err(GgufRefusal::HeadSharing {
                heads: self.head_count,
                kv_heads: self.kv_head_count,
            });
        }
        let rope = self.rope_dimensions;
        if self.key_length_latent <= rope {
            let needed = format!("> {rope}");
            return Err(keys.head_size("attention.key_length_mla", self.key_length_latent, needed));
        }
        if self.key_length != self.kv_rank + rope {
            let needed = (self.kv_rank + rope).to_string();
            return Err(keys.head_size("attention.key_length", self.key_length, needed));
        }
        Ok(())
    }

    fn read_feed_forward(&mut self, keys: &Keys<'_>) -> Result<(), GgufRefusal> {
        self.feed_forward =
            keys.required_same("feed_forward_length", self.layer_count, 0, FEED_FORWARD_MAX)?;
        if self.feed_forward == 0 {
            let key = keys.name("feed_forward_length");
            return Err(GgufRefusal::KeyRange {
                key,
                found: 0,
                min: 1,
                max: FEED_FORWARD_MAX,
            });
        }
        let count = keys.optional("expert_count", 0, EXPERT_COUNT_MAX)?.unwrap_or(0);
        let used = keys
            .same("expert_used_count", self.layer_count, 0, EXPERT_COUNT_MAX)?
            .unwrap_or(0);
        let groups = keys
            .optional("expert_group_count", 0, EXPERT_COUNT_MAX)?
            .unwrap_or(0);
        let groups_used = keys
            .optional("expert_group_used_count", 0, EXPERT_COUNT_MAX)?
            .unwrap_or(0);
        if !self.architecture.has_experts() {
            return match [
                ("expert_count", count),
                ("expert_used_count", used),
                ("expert_group_count", groups),
            ]
            .into_iter()
            .find(|(_, found)| *found != 0)
            {
                None => Ok(()),
                Some((suffix, found)) => Err(keys.experts(suffix, found, "0")),
            };
        }
        if count == 0 {
            return Err(keys.experts("expert_count", 0, ">= 1"));
        }
        if used == 0 || used > count {
            return Err(keys.experts("expert_used_count", used, format!("1..={count}")));
        }
        if groups > 1 && (groups >= count || count % groups != 0) {
            return Err(keys.experts("expert_group_count", groups, format!("{count}/n, n > 1")));
        }
        if groups == 1 && count == 1 {
            return Err(keys.experts("expert_group_count", groups, "0"));
        }
        if groups > 1 && (groups_used == 0 || groups_used >= groups) {
            return Err(keys.experts(
                "expert_group_used_count",
                groups_used,
                format!("1..={}", groups - 1),
            ));
        }
        self.expert_count = count;
        self.expert_feed_forward = keys.required_same(
            "expert_feed_forward_length",
            self.layer_count,
            0,
            FEED_FORWARD_MAX,
        )?;
        if self.expert_feed_forward == 0 {
            return Err(keys.experts("expert_feed_forward_length", 0, ">= 1"));
        }
        let least_shared = u64::from(self.architecture.is_latent());
        self.shared_expert_count = keys.required("expert_shared_count", least_shared, EXPERT_COUNT_MAX)?;
        self.dense_count = keys
            .optional("leading_dense_block_count", 0, self.layer_count)?
            .unwrap_or(0);
        // Upstream knows none (0), softmax (1) and sigmoid (2).
        keys.optional("expert_gating_func", 0, 2)?;
        Ok(())
    }

    fn read_indexer(&mut self, keys: &Keys<'_>) -> Result<(), GgufRefusal> {
        self.indexer_heads = keys.required("attention.indexer.head_count", 1, HEAD_COUNT_MAX)?;
        self.indexer_length = keys.required("attention.indexer.key_length", 1, HEAD_SIZE_MAX)?;
        keys.required("attention.indexer.top_k", 1, CONTEXT_TOKENS_MAX)?;
        if self.indexer_length < self.rope_dimensions {
            let needed = format!(">= {}", self.rope_dimensions);
            return Err(keys.head_size("attention.indexer.key_length", self.indexer_length, needed));
        }
        Ok(())
    }

    fn read_hybrid(&mut self, keys: &Keys<'_>) -> Result<(), GgufRefusal> {
        self.convolution = keys.required("ssm.conv_kernel", 1, 64)?;
        self.linear_head = keys.required("kda.head_dim", 1, HEAD_SIZE_MAX)?;
        self.indexer_pool = keys.required("attention.indexer.kpool", 2, 4096)?;
        let top = keys.required("attention.indexer.top_k", 1, CONTEXT_TOKENS_MAX)?;
        if top % self.indexer_pool != 0 {
            let needed = format!("{}n", self.indexer_pool);
            return Err(keys.head_size("attention.indexer.top_k", top, needed));
        }
        // Upstream asserts exactly four residual streams.
        self.streams = keys.required("hyper_connection.count", 4, 4)?;
        keys.required("hyper_connection.sinkhorn_iterations", 1, 1024)?;
        Ok(())
    }
}

fn read_architecture(metadata: &Metadata) -> Result<Architecture, GgufRefusal> {
    const KEY: &str = "general.architecture";
    let Some(found) = metadata.text(KEY)? else {
        return Err(GgufRefusal::KeyMissing { key: KEY.to_owned() });
    };
    Architecture::ALL
        .iter()
        .copied()
        .find(|architecture| architecture.name() == found)
        .ok_or_else(|| {
            let found = if super::metadata::is_name(found, 64) {
                found
            } else {
                "?"
            };
            GgufRefusal::Architecture {
                found: found.to_owned(),
            }
        })
}

/// Keys that upstream reads with a fixed type, or whose value it would assert.
fn check_other_keys(keys: &Keys<'_>) -> Result<(), GgufRefusal> {
    let metadata = keys.metadata;
    let epsilon = keys.name("attention.layer_norm_rms_epsilon");
    if metadata
        .f32(&epsilon, f64::from(f32::MIN_POSITIVE), 1.0)?
        .is_none()
    {
        return Err(GgufRefusal::KeyMissing { key: epsilon });
    }
    metadata.f32(&keys.name("rope.freq_base"), 1.0, 1e12)?;
    for suffix in [
        "rope.scaling.factor",
        "rope.scale_linear",
        "rope.scaling.attn_factor",
    ] {
        metadata.f32(&keys.name(suffix), 0.0, 1e6)?;
    }
    metadata.f32(&keys.name("expert_weights_scale"), 0.0, 1e6)?;
    keys.optional("rope.scaling.original_context_length", 1, CONTEXT_TOKENS_MAX)?;
    let scaling = keys.name("rope.scaling.type");
    if let Some(found) = metadata.text(&scaling)?
        && !["none", "linear", "yarn"].contains(&found)
    {
        return Err(GgufRefusal::KeyType {
            key: scaling,
            expected: "none|linear|yarn",
            found: "string",
        });
    }
    for suffix in [
        "expert_weights_norm",
        "attention.causal",
        "rope.scaling.finetuned",
    ] {
        metadata.bool(&keys.name(suffix))?;
    }
    for key in [
        "tokenizer.ggml.add_bos_token",
        "tokenizer.ggml.add_eos_token",
        "tokenizer.ggml.add_space_prefix",
    ] {
        metadata.bool(key)?;
    }
    Ok(())
}
