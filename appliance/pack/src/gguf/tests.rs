//! The rules of the pre-check, one bent file for each, and what must hold for every file.

use proptest::prelude::*;

use super::build::{Builder, Field, Sparse, array, bool, f32, f32s, i32, i32s, text, texts, u32, u32s};
use super::read::READ_BYTES;
use super::*;

/// The public canary: a real file by a real converter.
const CANARY: &[u8] = include_bytes!("../../../../image/models/glm4-canary/glm4-canary-f16.gguf");

fn bent(bend: impl FnOnce(&mut Builder)) -> Sparse {
    let mut file = Builder::glm4();
    bend(&mut file);
    file.build()
}

fn rule_of(file: &dyn ReadAt) -> &'static str {
    match inspect(file) {
        Ok(_) => "sound",
        Err(refusal) => {
            assert_words_find_their_facts(refusal.code(), &refusal.facts());
            refusal.rule()
        }
    }
}

/// No person may meet a text with a hole in it: each `{name}` of the code's words is one of the facts.
#[track_caller]
fn assert_words_find_their_facts(code: &str, facts: &[(&'static str, String)]) {
    static WORDS: std::sync::LazyLock<serde_json::Value> = std::sync::LazyLock::new(|| {
        serde_json::from_str(include_str!("../../../messages/catalogue/model.json")).unwrap()
    });
    for text in WORDS[code]["en"]
        .as_object()
        .unwrap()
        .values()
        .filter_map(serde_json::Value::as_str)
    {
        for piece in text.split('{').skip(1) {
            let (name, _) = piece.split_once('}').unwrap();
            assert!(
                facts.iter().any(|(fact, _)| *fact == name),
                "{code} has no fact {name}: {facts:?}"
            );
        }
    }
}

/// Name of the defect, rule that must catch it, and how to make it from a sound file.
type Bent = (&'static str, &'static str, fn(&mut Builder));

#[track_caller]
fn check(cases: &[Bent]) {
    for (defect, rule, bend) in cases {
        assert_eq!(rule_of(&bent(bend)), *rule, "{defect}");
    }
}

#[test]
fn the_smallest_file_of_each_architecture_is_sound() {
    for architecture in Architecture::ALL {
        let facts = inspect(&Builder::smallest(*architecture).build()).unwrap();
        assert_eq!(facts.architecture, *architecture);
        assert_eq!(facts.token_count, 40);
    }
}

/// One file for each class of bug that was found in public in GGUF loaders (NVD numbers and upstream issues).
#[test]
fn each_public_bug_class_is_refused_by_its_rule() {
    check(&[
        (
            "CVE-2024-21802: more dimensions than four",
            "dimension-count",
            |file| {
                file.tensor("output_norm.weight").shape = vec![32, 1, 1, 1, 1];
            },
        ),
        (
            "CVE-2024-21825: a string longer than the file",
            "string-length",
            |file| {
                file.set("general.name", Field(8, u64::MAX.to_le_bytes().to_vec()));
            },
        ),
        (
            "CVE-2024-21825: a string that ends after the file",
            "truncated",
            |file| {
                file.set("general.name", Field(8, (1_u64 << 19).to_le_bytes().to_vec()));
            },
        ),
        (
            "CVE-2024-21836: a tensor count that overflows an allocation",
            "tensor-count",
            |file| {
                file.tensor_count = Some(u64::MAX / 8);
            },
        ),
        (
            "CVE-2024-23496: an array count that overflows an allocation",
            "array-count",
            |file| {
                file.set("general.tags", array(10, u64::MAX / 8 + 1, Vec::new()));
            },
        ),
        (
            "CVE-2024-23496: an array that ends after the file",
            "truncated",
            |file| {
                file.set("general.tags", array(10, 1 << 20, Vec::new()));
            },
        ),
        (
            "CVE-2024-23605: a key count that overflows an allocation",
            "key-count",
            |file| {
                file.key_count = Some(u64::MAX / 8);
            },
        ),
        (
            "CVE-2024-25664 to 25668: an unknown value type",
            "value-type",
            |file| {
                file.set("general.name", Field(13, vec![0; 8]));
            },
        ),
        (
            "CVE-2024-25664 to 25668: an unknown element type",
            "value-type",
            |file| {
                file.set("general.tags", array(77, 0, Vec::new()));
            },
        ),
        (
            "CVE-2025-49847: a token longer than any buffer",
            "string-length",
            |file| {
                file.set(
                    "tokenizer.ggml.tokens",
                    texts(&["a".repeat(TOKEN_BYTES_MAX as usize + 1)]),
                );
            },
        ),
        (
            "CVE-2025-52566: more tokens than a signed count holds",
            "array-count",
            |file| {
                file.set("tokenizer.ggml.tokens", array(8, 1 << 31, Vec::new()));
            },
        ),
        (
            "CVE-2025-53630: sizes that sum beyond 64 bits",
            "tensor-extent",
            |file| {
                file.tensor("output_norm.weight").shape = vec![1 << 61];
            },
        ),
        (
            "CVE-2026-27940: a size that wraps when it is padded",
            "tensor-size",
            |file| {
                let entry = file.tensor("output_norm.weight");
                (entry.shape, entry.offset) = (vec![(i64::MAX / 4) as u64], Some(u64::MAX - 31));
            },
        ),
        (
            "CVE-2026-7482: a tensor longer than the file",
            "tensor-extent",
            |file| {
                file.tensor("token_embd.weight").shape = vec![32, 1 << 30];
                for entry in file.tensors.iter_mut().skip(1) {
                    entry.offset = Some(64 << 30);
                }
                file.excess = -(64 << 30);
            },
        ),
        (
            "upstream 27203: dimensions (2^63-1, 2, 1, 1)",
            "tensor-size",
            |file| {
                file.tensor("token_embd.weight").shape = vec![i64::MAX as u64, 2, 1, 1];
            },
        ),
        (
            "upstream 26318: the padding allocator wraps",
            "tensor-size",
            |file| {
                file.tensor("token_embd.weight").offset = Some(u64::MAX - 31);
            },
        ),
        ("upstream 26318: alignment as i32", "key-type", |file| {
            file.set("general.alignment", i32(32));
        }),
        ("upstream 25969, 27226: byte token <0x-1>", "byte-token", |file| {
            let mut tokens: Vec<String> = (0..40).map(|index| format!("t{index}")).collect();
            tokens[7] = "<0x-1>".to_owned();
            let mut types = vec![1; 40];
            types[7] = 6;
            file.set("tokenizer.ggml.tokens", texts(&tokens));
            file.set("tokenizer.ggml.token_type", i32s(&types));
        }),
        (
            "upstream 20735: fewer scores than tokens",
            "token-array-count",
            |file| {
                file.set("tokenizer.ggml.scores", f32s(&[0.0; 39]));
            },
        ),
        (
            "upstream 20735: fewer types than tokens",
            "token-array-count",
            |file| {
                file.set("tokenizer.ggml.token_type", i32s(&[1; 39]));
            },
        ),
        (
            "upstream 24888: scores of another element type",
            "token-array-type",
            |file| {
                file.set("tokenizer.ggml.scores", array(0, 40, vec![0; 40]));
            },
        ),
        (
            "upstream 24888: types of another element type",
            "token-array-type",
            |file| {
                file.set("tokenizer.ggml.token_type", array(0, 40, vec![1; 40]));
            },
        ),
        (
            "upstream 24888: tokens that are numbers",
            "token-array-type",
            |file| {
                file.set("tokenizer.ggml.tokens", i32s(&[1; 40]));
            },
        ),
        ("upstream 25821: more than 512 blocks", "key-range", |file| {
            file.set("glm4.block_count", u32(513));
        }),
        (
            "two tokens of one text abort the process",
            "token-repeated",
            |file| {
                file.set("tokenizer.ggml.tokens", texts(&["same"; 40]));
            },
        ),
    ]);
}

#[test]
fn each_rule_of_the_container_has_its_name() {
    check(&[
        ("another magic", "magic", |file| file.magic = *b"GGML"),
        ("version 2", "version", |file| file.version = 2),
        ("another byte order", "version", |file| {
            file.version = 3_u32.swap_bytes()
        }),
        ("no tensors", "tensor-count", |file| file.tensors.clear()),
        ("one tensor too many", "tensor-count", |file| {
            file.tensor_count = Some(TENSOR_COUNT_MAX + 1)
        }),
        ("one key too many", "key-count", |file| {
            file.key_count = Some(KEY_COUNT_MAX + 1)
        }),
        ("counts beyond the file", "truncated", |file| {
            file.tensor_count = Some(TENSOR_COUNT_MAX)
        }),
        ("an empty key", "key-name", |file| {
            file.keys.push((Vec::new(), u32(1)))
        }),
        ("a key with a space", "key-name", |file| {
            file.keys.push((b"a key".to_vec(), u32(1)))
        }),
        ("a key in Chinese", "key-name", |file| {
            file.keys.push(("键".as_bytes().to_vec(), u32(1)))
        }),
        ("a key with NUL", "string-text", |file| {
            file.keys.push((b"general.name\0".to_vec(), u32(1)))
        }),
        ("a key of 129 bytes", "string-length", |file| {
            file.keys.push((vec![b'a'; 129], u32(1)))
        }),
        ("a key twice", "key-repeated", |file| {
            file.keys.push((b"general.architecture".to_vec(), text("glm4")))
        }),
        ("a text that is no UTF-8", "string-text", |file| {
            file.set("general.name", texts_raw(&[0xff]))
        }),
        ("an array of arrays", "array-nesting", |file| {
            file.set("general.tags", array(9, 1, vec![0; 12]))
        }),
        ("a boolean of 2", "bool-value", |file| {
            file.set("glm4.attention.causal", bool(2))
        }),
        ("alignment 0", "alignment", |file| {
            file.set("general.alignment", u32(0))
        }),
        ("alignment 4", "alignment", |file| {
            file.set("general.alignment", u32(4))
        }),
        ("alignment 48", "alignment", |file| {
            file.set("general.alignment", u32(48))
        }),
        ("alignment 8192", "alignment", |file| {
            file.set("general.alignment", u32(8192))
        }),
        ("a part of several", "split", |file| {
            file.set("split.count", Field(2, vec![3, 0]))
        }),
        ("an unknown tensor type", "tensor-type", |file| {
            file.tensor("output.weight").tensor_type = 99
        }),
        ("a removed tensor type", "tensor-type", |file| {
            file.tensor("output.weight").tensor_type = 4
        }),
        ("a tensor of integers", "tensor-type", |file| {
            file.tensor("output.weight").tensor_type = 26
        }),
        ("a tensor without dimensions", "dimension-count", |file| {
            file.tensor("output.weight").shape.clear()
        }),
        ("a dimension of 0", "dimension", |file| {
            file.tensor("output.weight").shape = vec![32, 0]
        }),
        ("a negative dimension", "dimension", |file| {
            file.tensor("output.weight").shape = vec![u64::MAX, 1]
        }),
        ("rows of half blocks", "row-size", |file| {
            file.tensor("output.weight").tensor_type = 12
        }),
        ("a tensor name twice", "tensor-repeated", |file| {
            let entry = file.tensors[1].clone();
            file.tensors.push(entry);
        }),
        ("a tensor name of 64 bytes", "string-length", |file| {
            file.tensor("output.weight").name = vec![b'a'; TENSOR_NAME_BYTES_MAX as usize + 1];
        }),
        ("a tensor name with a line feed", "tensor-name", |file| {
            file.tensor("output.weight").name = b"output.weight\n".to_vec();
        }),
        ("data off the alignment", "offset-alignment", |file| {
            file.tensor("output.weight").offset = Some(1);
        }),
        ("data over other data", "tensor-overlap", |file| {
            file.tensor("output_norm.weight").offset = Some(0);
        }),
        ("a hole between data", "tensor-gap", |file| {
            file.tensor("token_embd.weight").offset = Some(32);
        }),
        ("data that ends after the file", "tensor-extent", |file| {
            file.excess = -33
        }),
        ("bytes after the data", "trailing-bytes", |file| file.excess = 1),
    ]);
}

fn texts_raw(bytes: &[u8]) -> Field {
    let mut value = (bytes.len() as u64).to_le_bytes().to_vec();
    value.extend(bytes);
    Field(8, value)
}

#[test]
fn each_rule_of_the_model_has_its_name() {
    check(&[
        ("no architecture", "key-missing", |file| {
            file.remove("general.architecture")
        }),
        ("another architecture", "architecture", |file| {
            file.set("general.architecture", text("llama"))
        }),
        ("an unprintable architecture", "architecture", |file| {
            file.set("general.architecture", text("a\nb"))
        }),
        ("architecture as a number", "key-type", |file| {
            file.set("general.architecture", u32(1))
        }),
        ("no layers", "key-missing", |file| file.remove("glm4.block_count")),
        ("layers as u64", "key-type", |file| {
            file.set("glm4.block_count", Field(10, vec![2, 0, 0, 0, 0, 0, 0, 0]))
        }),
        ("no layer at all", "key-range", |file| {
            file.set("glm4.block_count", u32(0))
        }),
        ("only prediction layers", "key-range", |file| {
            file.set("glm4.nextn_predict_layers", u32(3))
        }),
        ("no context", "key-range", |file| {
            file.set("glm4.context_length", u32(0))
        }),
        ("a context beyond the range", "key-range", |file| {
            file.set("glm4.context_length", u32(u32::MAX))
        }),
        ("no heads", "key-range", |file| {
            file.set("glm4.attention.head_count", u32(0))
        }),
        ("no key/value heads", "key-range", |file| {
            file.set("glm4.attention.head_count_kv", u32(0))
        }),
        ("heads that cannot be shared out", "head-sharing", |file| {
            file.set("glm4.attention.head_count", u32(4));
            file.set("glm4.attention.head_count_kv", u32(3));
        }),
        ("heads for another number of layers", "key-type", |file| {
            file.set("glm4.attention.head_count", u32s(&[2, 2]));
        }),
        ("negative heads", "key-range", |file| {
            file.set("glm4.attention.head_count", i32s(&[2, -2, 2]))
        }),
        ("heads that differ from layer to layer", "key-range", |file| {
            file.set("glm4.attention.head_count", u32s(&[2, 1, 2]));
        }),
        ("an embedding that heads do not divide", "head-size", |file| {
            file.set("glm4.embedding_length", u32(33))
        }),
        ("keys longer than values", "head-size", |file| {
            file.set("glm4.attention.key_length", u32(8))
        }),
        ("an odd rotary size", "head-size", |file| {
            file.set("glm4.rope.dimension_count", u32(7))
        }),
        ("a rotary size beyond the head", "head-size", |file| {
            file.set("glm4.rope.dimension_count", u32(18))
        }),
        ("no rotary dimensions", "head-size", |file| {
            file.set("glm4.rope.dimension_count", u32(0))
        }),
        ("rotary sections beyond the head", "head-size", |file| {
            file.set("glm4.rope.dimension_sections", i32s(&[4, 4, 4, 0]));
        }),
        ("no feed-forward size", "key-missing", |file| {
            file.remove("glm4.feed_forward_length")
        }),
        ("a feed-forward size of 0", "key-range", |file| {
            file.set("glm4.feed_forward_length", u32(0))
        }),
        ("experts in a dense model", "experts", |file| {
            file.set("glm4.expert_count", u32(4))
        }),
        ("no epsilon", "key-missing", |file| {
            file.remove("glm4.attention.layer_norm_rms_epsilon")
        }),
        ("an epsilon of NaN", "float-range", |file| {
            file.set("glm4.attention.layer_norm_rms_epsilon", f32(f32::NAN));
        }),
        ("an epsilon of 0", "float-range", |file| {
            file.set("glm4.attention.layer_norm_rms_epsilon", f32(0.0))
        }),
        ("an endless rotary base", "float-range", |file| {
            file.set("glm4.rope.freq_base", f32(f32::INFINITY))
        }),
        ("an unknown rotary scaling", "key-type", |file| {
            file.set("glm4.rope.scaling.type", text("su"))
        }),
        ("a flag as a number", "key-type", |file| {
            file.set("tokenizer.ggml.add_bos_token", u32(1))
        }),
        ("another vocabulary size", "key-range", |file| {
            file.set("glm4.vocab_size", u32(41))
        }),
        ("an unknown tokenizer", "tokenizer", |file| {
            file.set("tokenizer.ggml.model", text("bert"))
        }),
        ("an unknown pre-tokenizer", "tokenizer", |file| {
            file.set("tokenizer.ggml.pre", text("llama3"))
        }),
        ("no tokens", "key-missing", |file| {
            file.remove("tokenizer.ggml.tokens")
        }),
        ("an empty vocabulary", "array-count", |file| file.set_tokens(0)),
        ("tokens as one text", "token-array-type", |file| {
            file.set("tokenizer.ggml.tokens", text("abc"))
        }),
        ("scores as one number", "token-array-type", |file| {
            file.set("tokenizer.ggml.scores", f32(1.0))
        }),
        ("no merges", "key-missing", |file| {
            file.remove("tokenizer.ggml.merges")
        }),
        ("a merge without a space", "merge", |file| {
            file.set("tokenizer.ggml.merges", texts(&["ab"]))
        }),
        ("a merge of a lone space", "merge", |file| {
            file.set("tokenizer.ggml.merges", texts(&[" "]))
        }),
        ("a merge with nothing after", "merge", |file| {
            file.set("tokenizer.ggml.merges", texts(&["a "]))
        }),
        ("an unknown token type", "token-type", |file| {
            let mut types = vec![1; 40];
            types[3] = 7;
            file.set("tokenizer.ggml.token_type", i32s(&types));
        }),
        ("a special token outside", "special-token", |file| {
            file.set("tokenizer.ggml.eos_token_id", u32(40))
        }),
        ("a special token as i32", "key-type", |file| {
            file.set("tokenizer.ggml.eot_token_id", i32(-1))
        }),
        (
            "an empty token that is called like another",
            "token-repeated",
            |file| {
                let mut tokens: Vec<String> = (0..40).map(|index| format!("t{index}")).collect();
                (tokens[3], tokens[4]) = (String::new(), "[EMPTY_3]".to_owned());
                file.set("tokenizer.ggml.tokens", texts(&tokens));
            },
        ),
        ("a chat template beyond its bound", "string-length", |file| {
            file.set(
                "tokenizer.chat_template",
                text(&"a".repeat(CHAT_TEMPLATE_BYTES_MAX as usize + 1)),
            );
        }),
        ("a tensor of another architecture", "tensor-unknown", |file| {
            file.tensor("blk.0.attn_q.bias").name = b"blk.0.ffn_gate.weight".to_vec();
        }),
        (
            "a tensor of a layer that is not there",
            "tensor-unknown",
            |file| {
                file.tensor("blk.0.attn_q.bias").name = b"blk.3.attn_q.bias".to_vec();
            },
        ),
        ("a layer in another spelling", "tensor-unknown", |file| {
            file.tensor("blk.0.attn_q.bias").name = b"blk.00.attn_q.bias".to_vec();
        }),
        ("an embedding of another vocabulary", "tensor-shape", |file| {
            file.tensor("token_embd.weight").shape = vec![32, 41];
        }),
        ("a transposed matrix", "tensor-shape", |file| {
            file.tensor("blk.0.ffn_down.weight").shape = vec![32, 64];
        }),
        ("a norm in half precision", "vector-type", |file| {
            file.tensor("output_norm.weight").tensor_type = 1
        }),
        ("no embedding", "tensor-missing", |file| {
            file.tensors.retain(|entry| entry.name != b"token_embd.weight");
        }),
        ("a layer without values", "tensor-missing", |file| {
            file.tensors.retain(|entry| entry.name != b"blk.1.attn_v.weight");
        }),
    ]);
}

#[test]
fn each_rule_of_experts_and_latent_attention_has_its_name() {
    fn bend(architecture: Architecture, key: &str, field: Field) -> &'static str {
        let mut file = Builder::smallest(architecture);
        file.set(&format!("{}.{key}", architecture.name()), field);
        rule_of(&file.build())
    }
    for (key, field, rule) in [
        ("expert_count", u32(0), "experts"),
        ("expert_count", u32(1025), "key-range"),
        ("expert_used_count", u32(0), "experts"),
        ("expert_used_count", u32(5), "experts"),
        ("expert_group_count", u32(3), "experts"),
        ("expert_group_count", u32(4), "experts"),
        ("expert_group_count", u32(2), "experts"),
        ("expert_feed_forward_length", u32(0), "experts"),
        ("expert_gating_func", u32(3), "key-range"),
        ("leading_dense_block_count", u32(4), "key-range"),
    ] {
        assert_eq!(bend(Architecture::Glm4Moe, key, field), rule, "{key}");
    }
    for (key, field, rule) in [
        ("attention.head_count_kv", u32(2), "head-sharing"),
        ("attention.key_length", u32(25), "head-size"),
        ("attention.key_length_mla", u32(8), "head-size"),
        ("attention.indexer.key_length", u32(4), "head-size"),
        ("attention.kv_lora_rank", u32(0), "key-range"),
    ] {
        assert_eq!(bend(Architecture::GlmDsa, key, field), rule, "{key}");
    }
    for (key, field, rule) in [
        ("attention.indexer.kpool", u32(5), "head-size"),
        ("attention.indexer.kpool", u32(1), "key-range"),
        ("hyper_connection.count", u32(2), "key-range"),
        ("attention.head_count_kv", i32s(&[0, 0]), "head-sharing"),
    ] {
        assert_eq!(bend(Architecture::Glm5Next, key, field), rule, "{key}");
    }
    assert_eq!(
        bend(Architecture::ChatGlm, "nextn_predict_layers", u32(1)),
        "key-range"
    );
    let mut file = Builder::smallest(Architecture::Glm5Next);
    file.tensors.retain(|entry| entry.name != b"output.weight");
    assert_eq!(
        rule_of(&file.build()),
        "tensor-missing",
        "GLM-5.3 does not share embedding and output"
    );
}

#[test]
fn what_releases_really_do_is_sound() {
    check(&[
        ("one alignment up", "sound", |file| {
            file.alignment = 64;
            file.set("general.alignment", u32(64));
        }),
        ("no padding after the last tensor", "sound", |file| {
            end_in_half_an_alignment(file);
            file.excess = -128;
        }),
        ("padding after the last tensor", "sound", |file| {
            end_in_half_an_alignment(file)
        }),
        ("one byte less than the last tensor", "tensor-extent", |file| {
            end_in_half_an_alignment(file);
            file.excess = -129;
        }),
        ("one byte more than the padding", "trailing-bytes", |file| {
            end_in_half_an_alignment(file);
            file.excess = 1;
        }),
        ("prediction layers counted and left out", "sound", |file| {
            file.tensors.retain(|entry| !entry.name.starts_with(b"blk.2."));
        }),
        ("embedding that serves as output", "sound", |file| {
            file.tensors.retain(|entry| entry.name != b"output.weight");
        }),
        ("fused attention", "sound", |file| {
            file.tensors
                .retain(|entry| !entry.name.starts_with(b"blk.0.attn_"));
            file.add("blk.0.attn_norm.weight".to_owned(), vec![32]);
            file.add("blk.0.attn_qkv.weight".to_owned(), vec![32, 64]);
            file.add("blk.0.attn_output.weight".to_owned(), vec![32, 32]);
        }),
        ("trailing dimensions of one", "sound", |file| {
            file.tensor("output_norm.weight").shape = vec![32, 1, 1, 1];
        }),
        ("heads for each layer", "sound", |file| {
            file.set("glm4.attention.head_count_kv", i32s(&[1, 1, 1]));
        }),
        ("a split of one part", "sound", |file| {
            file.set("split.count", Field(2, vec![1, 0]))
        }),
        ("keys that we do not know", "sound", |file| {
            file.set("general.tags", texts(&["chat", "zh"]));
            file.set("general.quantized_by", text("somebody"));
            file.set("quantize.imatrix.entries_count", i32(3));
            file.set("tokenizer.ggml.numbers", f32s(&[0.5; 1000]));
        }),
    ]);
}

/// The last tensor has 128 bytes, and the alignment is 256.
fn end_in_half_an_alignment(file: &mut Builder) {
    file.alignment = 256;
    file.set("general.alignment", u32(256));
    let last = file
        .tensors
        .iter()
        .position(|entry| entry.name == b"output_norm.weight")
        .unwrap();
    let entry = file.tensors.remove(last);
    file.tensors.push(entry);
}

#[test]
fn a_name_cannot_redraw_the_terminal() {
    let facts = inspect(&bent(|file| {
        file.set("general.name", text("GLM \u{1b}[2J\u{202e}\r模型"))
    }))
    .unwrap();
    assert_eq!(facts.name, "GLM \u{fffd}[2J\u{fffd}\u{fffd}模型");
}

#[test]
fn a_vocabulary_with_byte_fallback_needs_all_256_bytes() {
    let with_bytes = |count: usize| {
        bent(|file| {
            let mut tokens: Vec<String> = (0..count).map(|byte| format!("<0x{byte:02X}>")).collect();
            let mut types = vec![6; count];
            tokens.extend((0..300 - count).map(|index| format!("t{index}")));
            types.resize(300, 1);
            file.set("tokenizer.ggml.model", text("llama"));
            file.set("tokenizer.ggml.pre", text("default"));
            file.set("tokenizer.ggml.tokens", texts(&tokens));
            file.set("tokenizer.ggml.token_type", i32s(&types));
            file.set("tokenizer.ggml.scores", f32s(&[0.0; 300]));
            file.tensor("token_embd.weight").shape = vec![32, 300];
            file.tensor("output.weight").shape = vec![32, 300];
            for name in [
                "blk.2.nextn.embed_tokens.weight",
                "blk.2.nextn.shared_head_head.weight",
            ] {
                file.tensor(name).shape = vec![32, 300];
            }
        })
    };
    assert_eq!(rule_of(&with_bytes(256)), "sound");
    assert_eq!(rule_of(&with_bytes(255)), "byte-token-count");
}

#[test]
fn byte_tokens_have_one_spelling() {
    for (spelling, rule) in [
        ("<0x4F>", "sound"),
        ("<0x4f>", "byte-token"),
        ("<0x4>", "byte-token"),
        ("<0x4FF>", "byte-token"),
        ("<0X4F>", "byte-token"),
        ("0x4F", "byte-token"),
        ("<0x4F> ", "byte-token"),
        ("<0x ->", "byte-token"),
    ] {
        let file = bent(|file| {
            let mut tokens: Vec<String> = (0..40).map(|index| format!("t{index}")).collect();
            tokens[0] = spelling.to_owned();
            let mut types = vec![1; 40];
            types[0] = 6;
            file.set("tokenizer.ggml.tokens", texts(&tokens));
            file.set("tokenizer.ggml.token_type", i32s(&types));
        });
        assert_eq!(rule_of(&file), rule, "{spelling}");
    }
}

#[test]
fn the_canary_is_sound_and_its_facts_are_right() {
    let facts = inspect(&CANARY).unwrap();
    assert_eq!(facts.byte_count, 7_985_440);
    assert_eq!(facts.header_bytes, 103_683);
    assert_eq!(facts.architecture, Architecture::Glm4);
    assert_eq!(facts.name, "Canary GLM-4 test model");
    assert_eq!((facts.layer_count, facts.prediction_layer_count), (4, 0));
    assert_eq!((facts.head_count, facts.kv_head_count), (8, 2));
    assert_eq!(
        (facts.embedding_length, facts.key_length, facts.value_length),
        (256, 32, 32)
    );
    assert_eq!(facts.context_tokens, 2048);
    // 4 layers x 2 heads x (32 + 32) numbers x 2 bytes.
    assert_eq!(facts.kv_bytes_per_token, 1024);
    assert_eq!(facts.parameter_count, 3_936_512);
    assert_eq!(facts.tensor_types, [("F16", 26), ("F32", 17)]);
    assert_eq!(facts.quantisation, "F16");
    assert_eq!(facts.tokenizer(), "gpt2/glm4");
    assert_eq!(facts.token_count, 3328);
    assert!(facts.special_tokens.contains(&("eos".to_owned(), 3308)));
    assert!(facts.special_tokens.contains(&("eot".to_owned(), 3315)));
    let template = facts.chat_template.unwrap();
    assert!(template.starts_with("[gMASK]<sop>"));
    assert_eq!(
        jingui_trust::Sha256::of(template.as_bytes()),
        facts.chat_template_digest
    );
}

/// Sizes of the real releases, for which the figures of KV bytes per token are known from their model cards.
#[test]
fn kv_bytes_per_token_are_those_of_the_released_models() {
    let figure = |architecture: Architecture, keys: &[(&str, u32)]| {
        let mut file = Builder::smallest(architecture);
        for (key, value) in keys {
            file.set(&format!("{}.{key}", architecture.name()), u32(*value));
        }
        file.add_tensors_of_the_rules();
        inspect(&file.build()).unwrap().kv_bytes_per_token
    };
    let plain = |layers: u32, prediction: u32, heads: u32, kv_heads: u32| {
        [
            ("block_count", layers),
            ("nextn_predict_layers", prediction),
            ("attention.head_count", heads),
            ("attention.head_count_kv", kv_heads),
            ("attention.key_length", 128),
            ("attention.value_length", 128),
            ("rope.dimension_count", 64),
        ]
    };
    assert_eq!(
        figure(Architecture::Glm4, &plain(40, 0, 32, 2)),
        40 << 10,
        "GLM-4-9B-0414"
    );
    assert_eq!(
        figure(Architecture::Glm4, &plain(61, 0, 48, 2)),
        61 << 10,
        "GLM-4-32B-0414"
    );
    assert_eq!(
        figure(Architecture::Glm4Moe, &plain(47, 1, 96, 8)),
        184 << 10,
        "GLM-4.5-Air"
    );
    assert_eq!(
        figure(Architecture::Glm4Moe, &plain(93, 1, 96, 8)),
        368 << 10,
        "GLM-4.5"
    );
    let latent = [
        ("block_count", 47),
        ("nextn_predict_layers", 0),
        ("attention.key_length", 576),
        ("attention.kv_lora_rank", 512),
        ("rope.dimension_count", 64),
        ("attention.key_length_mla", 256),
    ];
    assert_eq!(
        figure(Architecture::Deepseek2, &latent),
        47 * 576 * 2,
        "GLM-4.7-Flash"
    );
}

#[test]
fn a_label_never_claims_another_type_than_that_of_most_weights() {
    let quantisation = |file_type: u32| {
        inspect(&bent(|file| file.set("general.file_type", u32(file_type))))
            .unwrap()
            .quantisation
    };
    assert_eq!(quantisation(1), "F16");
    assert_eq!(quantisation(15), "F16", "the file says Q4_K_M and holds F16");
    assert_eq!(quantisation(4711), "F16");
}

#[test]
fn the_tokenizer_digest_changes_with_any_part_of_the_tokenizer() {
    let digest = |bend: fn(&mut Builder)| inspect(&bent(bend)).unwrap().tokenizer_digest;
    let sound = digest(|_| ());
    assert_eq!(digest(|file| file.set("general.name", text("other"))), sound);
    let bends: [fn(&mut Builder); 5] = [
        |file| file.set("tokenizer.ggml.pre", text("glm5")),
        |file| file.set("tokenizer.ggml.merges", texts(&["a b", "ab d"])),
        |file| file.set("tokenizer.ggml.scores", f32s(&[1.0; 40])),
        |file| file.set("tokenizer.ggml.token_type", i32s(&[3; 40])),
        |file| file.remove("tokenizer.ggml.scores"),
    ];
    for bend in bends {
        assert_ne!(digest(bend), sound);
    }
}

/// Time and memory are bounded by what is read: the header, by the buffer at a time, however long the file is.
#[test]
fn only_the_header_is_read_whatever_the_file_says() {
    // The layout of GLM-4.5 in full size: 355 billion parameters, 700 GB, 151,552 tokens.
    let mut file = Builder::smallest(Architecture::Glm4Moe);
    for (key, value) in [
        ("block_count", 93),
        ("embedding_length", 5120),
        ("feed_forward_length", 12_288),
        ("expert_feed_forward_length", 1536),
        ("expert_count", 160),
        ("expert_used_count", 8),
        ("leading_dense_block_count", 3),
        ("attention.head_count", 96),
        ("attention.head_count_kv", 8),
        ("attention.key_length", 128),
        ("attention.value_length", 128),
        ("rope.dimension_count", 64),
        ("context_length", 131_072),
    ] {
        file.set(&format!("glm4moe.{key}"), u32(value));
    }
    file.set_tokens(151_552);
    file.add_tensors_of_the_rules();
    let file = file.build();
    assert!(file.byte_count > 700_000_000_000, "{}", file.byte_count);
    let facts = inspect(&file).unwrap();
    assert!(
        (350e9..365e9).contains(&(facts.parameter_count as f64)),
        "{}",
        facts.parameter_count
    );
    assert!(file.read_bytes.get() <= facts.header_bytes + READ_BYTES as u64);
}

#[test]
fn a_header_beyond_its_bound_is_refused_without_reading_on() {
    let file = bent(|file| {
        for index in 0..70 {
            file.set(&format!("general.note{index}"), text(&"a".repeat(1 << 20)));
        }
    });
    assert_eq!(rule_of(&file), "header-size");
    assert!(file.read_bytes.get() <= HEADER_BYTES_MAX + READ_BYTES as u64);
}

#[test]
fn bounds_hold_at_the_limit() {
    assert_eq!(
        rule_of(&bent(|file| {
            let missing = KEY_COUNT_MAX as usize - file.keys.len();
            (0..missing).for_each(|index| file.set(&format!("general.k{index}"), bool(1)));
        })),
        "sound"
    );
    assert_eq!(
        rule_of(&bent(
            |file| file.set("general.name", text(&"a".repeat(STRING_BYTES_MAX as usize)))
        )),
        "sound"
    );
    assert_eq!(
        rule_of(&bent(|file| file.set(
            "general.name",
            text(&"a".repeat(STRING_BYTES_MAX as usize + 1))
        ))),
        "string-length"
    );
    let key = "a".repeat(KEY_BYTES_MAX as usize);
    assert_eq!(rule_of(&bent(|file| file.set(&key, u32(1)))), "sound");
}

#[test]
fn a_device_that_fails_is_not_a_bad_file() {
    struct Broken;
    impl ReadAt for Broken {
        fn read_at(&self, _: u64, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::TimedOut.into())
        }
        fn byte_count(&self) -> u64 {
            1 << 30
        }
    }
    assert_eq!(rule_of(&Broken), "unreadable");
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_truncated() {
    let mut file = Builder::glm4().build();
    file.byte_count += 1 << 20;
    struct Shrunk(Vec<u8>, u64);
    impl ReadAt for Shrunk {
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.as_slice().read_at(offset, buffer)
        }
        fn byte_count(&self) -> u64 {
            self.1
        }
    }
    let half = file.header[..file.header.len() / 2].to_vec();
    assert_eq!(rule_of(&Shrunk(half, file.byte_count)), "truncated");
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let whole = Builder::glm4().build().bytes();
    let header = Builder::glm4().header_bytes().len();
    for length in (0..header)
        .chain((header..whole.len()).step_by(97))
        .chain([whole.len() - 1])
    {
        assert_ne!(
            rule_of(&&whole[..length]),
            "sound",
            "{length} of {} bytes",
            whole.len()
        );
    }
    assert_eq!(rule_of(&whole.as_slice()), "sound");
}

#[test]
fn the_canary_cut_off_in_its_header_is_refused() {
    for length in (0..103_683)
        .step_by(1009)
        .chain([103_682, CANARY.len() - 1, CANARY.len() - 1024])
    {
        assert_ne!(rule_of(&&CANARY[..length]), "sound", "{length}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_judged_without_a_panic(bytes: Vec<u8>) {
        prop_assert_ne!(rule_of(&bytes.as_slice()), "sound");
    }

    #[test]
    fn any_changed_byte_is_judged_without_a_panic(position: prop::sample::Index, value: u8) {
        let mut file = Builder::glm4().build();
        let position = position.index(file.header.len());
        file.header[position] = value;
        let _ = inspect(&file);
    }

    #[test]
    fn any_changed_number_is_judged_without_a_panic(position: prop::sample::Index, value: u64) {
        let mut file = Builder::smallest(Architecture::Glm5Next).build();
        let position = position.index(file.header.len() - 8);
        file.header[position..position + 8].copy_from_slice(&value.to_le_bytes());
        let _ = inspect(&file);
    }

    #[test]
    fn what_the_builder_declares_is_what_the_facts_say(
        layers in 1_u32..6,
        kv_heads in 1_u32..4,
        sharing in 1_u32..4,
        half_head in 1_u32..40,
        feed_forward in 1_u32..100,
        tokens in 2_usize..200,
        context in 1_u32..100_000,
    ) {
        let mut file = Builder::glm4();
        let heads = kv_heads * sharing;
        for (key, value) in [
            ("block_count", layers),
            ("nextn_predict_layers", 0),
            ("attention.head_count", heads),
            ("attention.head_count_kv", kv_heads),
            ("embedding_length", heads * half_head * 2),
            ("rope.dimension_count", half_head.div_ceil(2) * 2),
            ("feed_forward_length", feed_forward),
            ("context_length", context),
        ] {
            file.set(&format!("glm4.{key}"), u32(value));
        }
        file.set_tokens(tokens);
        file.add_tensors_of_the_rules();
        let facts = inspect(&file.build()).unwrap();
        prop_assert_eq!(facts.layer_count, layers);
        prop_assert_eq!(facts.head_count, heads);
        prop_assert_eq!(facts.kv_head_count, kv_heads);
        prop_assert_eq!(facts.context_tokens, context);
        prop_assert_eq!(facts.token_count as usize, tokens);
        prop_assert_eq!(facts.key_length, half_head * 2);
        let per_token = u64::from(layers * kv_heads * half_head * 2 * 2 * 2);
        prop_assert_eq!(facts.kv_bytes_per_token, per_token);
    }
}
