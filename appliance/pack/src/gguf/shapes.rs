//! Which tensors each architecture has, and their shapes, as the vendored loader creates them.
//!
//! The loader refuses most mismatches itself; it is asked nothing here, because a file that reaches it has passed
//! signature and this table, and what the table does not name (a tensor that it would only count) stays out.

use super::architecture::{Architecture, Sizes};

/// A dimension in terms of the declared sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    Fixed(u64),
    Embedding,
    TwoEmbeddings,
    Streams,
    Vocabulary,
    FeedForward,
    TwoFeedForwards,
    /// All query heads side by side.
    Queries,
    Keys,
    Values,
    QueriesKeysValues,
    KeyLength,
    QueryRank,
    KvRank,
    KvRankAndRope,
    LatentQueries,
    LatentKeyWithoutRope,
    LatentValue,
    LatentValues,
    Heads,
    Experts,
    ExpertFeedForward,
    TwoExpertFeedForwards,
    SharedFeedForward,
    IndexerLength,
    IndexerHeads,
    IndexerQueries,
    IndexerPool,
    LinearHead,
    LinearHeads,
    Convolution,
    /// Mixing weights of the residual streams.
    StreamMix,
}

impl Sizes {
    /// The dimension as a number. Bounds of the sizes keep each product below 2^40.
    pub(super) const fn get(&self, size: Size) -> u64 {
        match size {
            Size::Fixed(count) => count,
            Embedding => self.embedding,
            Size::TwoEmbeddings => 2 * self.embedding,
            Size::Streams => self.streams * self.embedding,
            Vocabulary => self.vocabulary,
            FeedForward => self.feed_forward,
            TwoFeedForwards => 2 * self.feed_forward,
            Size::Queries => self.head_count * self.key_length,
            Size::Keys => self.kv_head_count * self.key_length,
            Size::Values => self.kv_head_count * self.value_length,
            Size::QueriesKeysValues => {
                (self.head_count + self.kv_head_count) * self.key_length
                    + self.kv_head_count * self.value_length
            }
            Size::KeyLength => self.key_length,
            Size::QueryRank => self.query_rank,
            Size::KvRank => self.kv_rank,
            Size::KvRankAndRope => self.kv_rank + self.rope_dimensions,
            Size::LatentQueries => self.head_count * self.key_length_latent,
            Size::LatentKeyWithoutRope => self.key_length_latent.saturating_sub(self.rope_dimensions),
            Size::LatentValue => self.value_length_latent,
            Size::LatentValues => self.head_count * self.value_length_latent,
            Size::Heads => self.head_count,
            Size::Experts => self.expert_count,
            Size::ExpertFeedForward => self.expert_feed_forward,
            Size::TwoExpertFeedForwards => 2 * self.expert_feed_forward,
            Size::SharedFeedForward => self.shared_expert_count * self.expert_feed_forward,
            Size::IndexerLength => self.indexer_length,
            Size::IndexerHeads => self.indexer_heads,
            Size::IndexerQueries => self.indexer_heads * self.indexer_length,
            Size::IndexerPool => self.indexer_pool,
            Size::LinearHead => self.linear_head,
            Size::LinearHeads => self.head_count * self.linear_head,
            Size::Convolution => self.convolution,
            Size::StreamMix => (2 + self.streams) * self.streams,
        }
    }
}

/// Layers that have a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layers {
    Every,
    /// Layers with an undivided feed-forward part.
    Dense,
    /// Layers whose feed-forward part is made of experts.
    Expert,
    /// As [`Layers::Expert`], where the release has shared experts.
    SharedExpert,
    /// All but the prediction layers.
    Trunk,
    Prediction,
    /// Layers with full attention.
    Attention,
    /// Layers with linear attention.
    Linear,
}

/// Whether the tensor must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Must,
    May,
    /// Must, unless the layer has the named tensor.
    Unless(&'static str),
}

/// One tensor of an architecture; in layers the name follows `blk.<layer>.`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) layers: Layers,
    pub(super) need: Need,
    pub(super) shape: &'static [Size],
}

const fn must(layers: Layers, name: &'static str, shape: &'static [Size]) -> Rule {
    Rule {
        name,
        layers,
        need: Need::Must,
        shape,
    }
}

const fn may(layers: Layers, name: &'static str, shape: &'static [Size]) -> Rule {
    Rule {
        name,
        layers,
        need: Need::May,
        shape,
    }
}

const fn unless(other: &'static str, layers: Layers, name: &'static str, shape: &'static [Size]) -> Rule {
    Rule {
        name,
        layers,
        need: Need::Unless(other),
        shape,
    }
}

use Layers::{Attention, Dense, Every, Expert, Linear, Prediction, SharedExpert, Trunk};
use Size::{Embedding, FeedForward, TwoFeedForwards, Vocabulary};

const FUSED: &str = "attn_qkv.weight";
const FUSED_EXPERTS: &str = "ffn_gate_up_exps.weight";

/// Tensors outside the layers. Without `output` the embedding serves for it, except in GLM-5.3.
pub(super) const WHOLE_MODEL: &[Rule] = &[
    must(Every, "token_embd.weight", &[Embedding, Vocabulary]),
    must(Every, "output_norm.weight", &[Embedding]),
    may(Every, "output.weight", &[Embedding, Vocabulary]),
];

const PLAIN_ATTENTION: &[Rule] = &[
    must(Every, "attn_norm.weight", &[Embedding]),
    may(Every, FUSED, &[Embedding, Size::QueriesKeysValues]),
    may(Every, "attn_qkv.bias", &[Size::QueriesKeysValues]),
    unless(FUSED, Every, "attn_q.weight", &[Embedding, Size::Queries]),
    unless(FUSED, Every, "attn_k.weight", &[Embedding, Size::Keys]),
    unless(FUSED, Every, "attn_v.weight", &[Embedding, Size::Values]),
    may(Every, "attn_q.bias", &[Size::Queries]),
    may(Every, "attn_k.bias", &[Size::Keys]),
    may(Every, "attn_v.bias", &[Size::Values]),
    must(Every, "attn_output.weight", &[Size::Queries, Embedding]),
];

const FUSED_FEED_FORWARD: &[Rule] = &[
    must(Every, "ffn_norm.weight", &[Embedding]),
    must(Every, "ffn_up.weight", &[Embedding, TwoFeedForwards]),
    must(Every, "ffn_down.weight", &[FeedForward, Embedding]),
];

const GLM4_NORMS: &[Rule] = &[
    must(Every, "post_attention_norm.weight", &[Embedding]),
    must(Every, "post_ffw_norm.weight", &[Embedding]),
];

const GLM4_MOE_NORMS: &[Rule] = &[
    must(Every, "post_attention_norm.weight", &[Embedding]),
    may(Every, "attn_q_norm.weight", &[Size::KeyLength]),
    may(Every, "attn_k_norm.weight", &[Size::KeyLength]),
    must(Expert, "exp_probs_b.bias", &[Size::Experts]),
];

const DENSE_OR_EXPERTS: &[Rule] = &[
    must(Dense, "ffn_gate.weight", &[Embedding, FeedForward]),
    must(Dense, "ffn_down.weight", &[FeedForward, Embedding]),
    must(Dense, "ffn_up.weight", &[Embedding, FeedForward]),
    must(Expert, "ffn_gate_inp.weight", &[Embedding, Size::Experts]),
    must(
        Expert,
        "ffn_down_exps.weight",
        &[Size::ExpertFeedForward, Embedding, Size::Experts],
    ),
    must(
        SharedExpert,
        "ffn_gate_shexp.weight",
        &[Embedding, Size::SharedFeedForward],
    ),
    must(
        SharedExpert,
        "ffn_down_shexp.weight",
        &[Size::SharedFeedForward, Embedding],
    ),
    must(
        SharedExpert,
        "ffn_up_shexp.weight",
        &[Embedding, Size::SharedFeedForward],
    ),
];

const SPLIT_EXPERTS: &[Rule] = &[
    must(
        Expert,
        "ffn_gate_exps.weight",
        &[Embedding, Size::ExpertFeedForward, Size::Experts],
    ),
    must(
        Expert,
        "ffn_up_exps.weight",
        &[Embedding, Size::ExpertFeedForward, Size::Experts],
    ),
];

const FUSED_OR_SPLIT_EXPERTS: &[Rule] = &[
    may(
        Expert,
        FUSED_EXPERTS,
        &[Embedding, Size::TwoExpertFeedForwards, Size::Experts],
    ),
    unless(
        FUSED_EXPERTS,
        Expert,
        "ffn_gate_exps.weight",
        &[Embedding, Size::ExpertFeedForward, Size::Experts],
    ),
    unless(
        FUSED_EXPERTS,
        Expert,
        "ffn_up_exps.weight",
        &[Embedding, Size::ExpertFeedForward, Size::Experts],
    ),
];

const PREDICTION: &[Rule] = &[
    must(
        Prediction,
        "nextn.eh_proj.weight",
        &[Size::TwoEmbeddings, Embedding],
    ),
    must(Prediction, "nextn.enorm.weight", &[Embedding]),
    must(Prediction, "nextn.hnorm.weight", &[Embedding]),
    may(Prediction, "nextn.embed_tokens.weight", &[Embedding, Vocabulary]),
    may(
        Prediction,
        "nextn.shared_head_head.weight",
        &[Embedding, Vocabulary],
    ),
    may(Prediction, "nextn.shared_head_norm.weight", &[Embedding]),
];

const PRE_NORM: &[Rule] = &[
    must(Every, "attn_norm.weight", &[Embedding]),
    must(Every, "ffn_norm.weight", &[Embedding]),
];

const LATENT_ATTENTION: &[Rule] = &[
    must(Attention, "attn_q_a_norm.weight", &[Size::QueryRank]),
    must(Attention, "attn_kv_a_norm.weight", &[Size::KvRank]),
    must(Attention, "attn_q_a.weight", &[Embedding, Size::QueryRank]),
    must(
        Attention,
        "attn_q_b.weight",
        &[Size::QueryRank, Size::LatentQueries],
    ),
    must(
        Attention,
        "attn_kv_a_mqa.weight",
        &[Embedding, Size::KvRankAndRope],
    ),
    must(
        Attention,
        "attn_k_b.weight",
        &[Size::LatentKeyWithoutRope, Size::KvRank, Size::Heads],
    ),
    must(
        Attention,
        "attn_v_b.weight",
        &[Size::KvRank, Size::LatentValue, Size::Heads],
    ),
    must(Attention, "attn_output.weight", &[Size::LatentValues, Embedding]),
];

const OPTIONAL_EXPERT_BIAS: &[Rule] = &[may(Expert, "exp_probs_b.bias", &[Size::Experts])];
const EXPERT_BIAS: &[Rule] = &[must(Expert, "exp_probs_b.bias", &[Size::Experts])];

const INDEXER: &[Rule] = &[
    may(Attention, "indexer.k_norm.weight", &[Size::IndexerLength]),
    may(Attention, "indexer.k_norm.bias", &[Size::IndexerLength]),
    may(Attention, "indexer.proj.weight", &[Embedding, Size::IndexerHeads]),
    may(
        Attention,
        "indexer.attn_k.weight",
        &[Embedding, Size::IndexerLength],
    ),
    may(
        Attention,
        "indexer.attn_q_b.weight",
        &[Size::QueryRank, Size::IndexerQueries],
    ),
];

const HYBRID: &[Rule] = &[
    may(
        Attention,
        "indexer_compressor_gate.weight",
        &[Embedding, Size::IndexerLength],
    ),
    may(
        Attention,
        "indexer_compressor_ape.weight",
        &[Size::IndexerLength, Size::IndexerPool],
    ),
    must(Trunk, "hc_attn_fn.weight", &[Size::Streams, Size::StreamMix]),
    must(Trunk, "hc_attn_base.weight", &[Size::StreamMix]),
    must(Trunk, "hc_attn_scale.weight", &[Size::Fixed(3)]),
    must(Trunk, "hc_ffn_fn.weight", &[Size::Streams, Size::StreamMix]),
    must(Trunk, "hc_ffn_base.weight", &[Size::StreamMix]),
    must(Trunk, "hc_ffn_scale.weight", &[Size::Fixed(3)]),
    must(
        Linear,
        "ssm_conv1d_q.weight",
        &[Size::Convolution, Size::Fixed(1), Size::LinearHeads],
    ),
    must(
        Linear,
        "ssm_conv1d_k.weight",
        &[Size::Convolution, Size::Fixed(1), Size::LinearHeads],
    ),
    must(
        Linear,
        "ssm_conv1d_v.weight",
        &[Size::Convolution, Size::Fixed(1), Size::LinearHeads],
    ),
    must(Linear, "attn_q.weight", &[Embedding, Size::LinearHeads]),
    must(Linear, "attn_k.weight", &[Embedding, Size::LinearHeads]),
    must(Linear, "attn_v.weight", &[Embedding, Size::LinearHeads]),
    must(Linear, "ssm_f_a.weight", &[Embedding, Size::LinearHead]),
    must(Linear, "ssm_f_b.weight", &[Size::LinearHead, Size::LinearHeads]),
    must(Linear, "ssm_beta.weight", &[Embedding, Size::Heads]),
    must(Linear, "ssm_a", &[Size::Heads]),
    must(Linear, "ssm_dt.bias", &[Size::LinearHeads]),
    must(Linear, "ssm_g_a.weight", &[Embedding, Size::LinearHead]),
    must(Linear, "ssm_g_b.weight", &[Size::LinearHead, Size::LinearHeads]),
    must(Linear, "ssm_norm.weight", &[Size::LinearHead]),
    must(Linear, "attn_output.weight", &[Size::LinearHeads, Embedding]),
];

impl Architecture {
    /// Rules of one layer.
    pub(super) fn layer_rules(self) -> impl Iterator<Item = &'static Rule> {
        let groups: &'static [&'static [Rule]] = match self {
            Self::ChatGlm => &[PLAIN_ATTENTION, FUSED_FEED_FORWARD],
            Self::Glm4 => &[PLAIN_ATTENTION, FUSED_FEED_FORWARD, GLM4_NORMS, PREDICTION],
            // Its norm after attention is what the others call the norm before the feed-forward part.
            Self::Glm4Moe => &[
                PLAIN_ATTENTION,
                GLM4_MOE_NORMS,
                DENSE_OR_EXPERTS,
                SPLIT_EXPERTS,
                PREDICTION,
            ],
            Self::Deepseek2 => &[
                PRE_NORM,
                LATENT_ATTENTION,
                OPTIONAL_EXPERT_BIAS,
                DENSE_OR_EXPERTS,
                FUSED_OR_SPLIT_EXPERTS,
                PREDICTION,
            ],
            Self::GlmDsa => &[
                PRE_NORM,
                LATENT_ATTENTION,
                OPTIONAL_EXPERT_BIAS,
                INDEXER,
                DENSE_OR_EXPERTS,
                SPLIT_EXPERTS,
                PREDICTION,
            ],
            Self::Glm5Next => &[
                PRE_NORM,
                LATENT_ATTENTION,
                EXPERT_BIAS,
                INDEXER,
                HYBRID,
                DENSE_OR_EXPERTS,
                SPLIT_EXPERTS,
                PREDICTION,
            ],
        };
        groups.iter().copied().flatten()
    }
}

impl Sizes {
    /// Whether `layer` is one of `layers`.
    pub(super) fn has(&self, layers: Layers, layer: u64) -> bool {
        let is_linear = usize::try_from(layer)
            .ok()
            .and_then(|index| self.is_linear.get(index))
            .copied()
            == Some(true);
        let is_dense = layer < self.dense_count;
        match layers {
            Every => true,
            Dense => is_dense,
            Expert => !is_dense,
            SharedExpert => !is_dense && self.shared_expert_count > 0,
            Trunk => layer < self.trunk_count(),
            Prediction => layer >= self.trunk_count(),
            Attention => !is_linear,
            Linear => is_linear,
        }
    }
}
