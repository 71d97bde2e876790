//! A small GGUF writer for tests: whole files from parts that a test can bend one by one.
//!
//! Bending is the point, so nothing here checks anything. Data is not written: [`Sparse`] answers zeros for it, so
//! a file of the size of a real model costs only its header.

use std::cell::Cell;
use std::io;

use super::architecture::Architecture;
use super::architecture::Sizes;
use super::metadata::Metadata;
use super::read::{HeaderReader, ReadAt};
use super::shapes::{Need, WHOLE_MODEL};
use super::types::TensorType;

/// A value with its type number.
#[derive(Clone)]
pub(crate) struct Field(pub(crate) u32, pub(crate) Vec<u8>);

pub(crate) fn u32(value: u32) -> Field {
    Field(4, value.to_le_bytes().to_vec())
}

pub(crate) fn i32(value: i32) -> Field {
    Field(5, value.to_le_bytes().to_vec())
}

pub(crate) fn f32(value: f32) -> Field {
    Field(6, value.to_le_bytes().to_vec())
}

pub(crate) fn bool(value: u8) -> Field {
    Field(7, vec![value])
}

pub(crate) fn text(value: &str) -> Field {
    Field(8, string(value.as_bytes()))
}

pub(crate) fn array(element: u32, count: u64, elements: Vec<u8>) -> Field {
    let mut bytes = element.to_le_bytes().to_vec();
    bytes.extend(count.to_le_bytes());
    bytes.extend(elements);
    Field(9, bytes)
}

pub(crate) fn texts<T: AsRef<[u8]>>(values: &[T]) -> Field {
    array(
        8,
        values.len() as u64,
        values.iter().flat_map(|value| string(value.as_ref())).collect(),
    )
}

pub(crate) fn i32s(values: &[i32]) -> Field {
    array(
        5,
        values.len() as u64,
        values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    )
}

pub(crate) fn u32s(values: &[u32]) -> Field {
    array(
        4,
        values.len() as u64,
        values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    )
}

pub(crate) fn f32s(values: &[f32]) -> Field {
    array(
        6,
        values.len() as u64,
        values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    )
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = (bytes.len() as u64).to_le_bytes().to_vec();
    out.extend(bytes);
    out
}

/// One entry of the tensor table.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) shape: Vec<u64>,
    pub(crate) tensor_type: u32,
    /// `None`: where it belongs.
    pub(crate) offset: Option<u64>,
}

/// A file in parts.
#[derive(Clone)]
pub(crate) struct Builder {
    pub(crate) magic: [u8; 4],
    pub(crate) version: u32,
    pub(crate) tensor_count: Option<u64>,
    pub(crate) key_count: Option<u64>,
    pub(crate) keys: Vec<(Vec<u8>, Field)>,
    pub(crate) tensors: Vec<Entry>,
    pub(crate) alignment: u64,
    /// Bytes by which the file is longer (or, negative, shorter) than its tensors need.
    pub(crate) excess: i64,
}

impl Builder {
    /// The smallest sound file of an architecture: two layers (three with a prediction layer), 40 tokens.
    pub(crate) fn smallest(architecture: Architecture) -> Self {
        let mut file = Self::without_tensors();
        let name = architecture.name();
        let mut set = |suffix: &str, field: Field| file.set(&format!("{name}.{suffix}"), field);
        set("block_count", u32(2));
        set("context_length", u32(64));
        set("embedding_length", u32(32));
        set("feed_forward_length", u32(64));
        set("attention.head_count", u32(2));
        set("attention.head_count_kv", u32(1));
        set("attention.layer_norm_rms_epsilon", f32(1e-5));
        set("rope.dimension_count", u32(8));
        if architecture.has_experts() {
            set("expert_count", u32(4));
            set("expert_used_count", u32(2));
            set("expert_feed_forward_length", u32(32));
            set("expert_shared_count", u32(1));
            set("leading_dense_block_count", u32(1));
        }
        if architecture.is_latent() {
            set("attention.key_length", u32(24));
            set("attention.value_length", u32(16));
            set("attention.q_lora_rank", u32(16));
            set("attention.kv_lora_rank", u32(16));
            set("attention.key_length_mla", u32(16));
            set("attention.value_length_mla", u32(16));
        }
        if matches!(architecture, Architecture::GlmDsa | Architecture::Glm5Next) {
            set("attention.indexer.head_count", u32(2));
            set("attention.indexer.key_length", u32(16));
            set("attention.indexer.top_k", u32(32));
        }
        if architecture == Architecture::Glm5Next {
            set("attention.head_count_kv", i32s(&[0, 1]));
            set("attention.indexer.kpool", u32(4));
            set("ssm.conv_kernel", u32(4));
            set("kda.head_dim", u32(16));
            set("hyper_connection.count", u32(4));
            set("hyper_connection.sinkhorn_iterations", u32(8));
        }
        if !matches!(architecture, Architecture::ChatGlm | Architecture::Glm5Next) {
            set("block_count", u32(3));
            set("nextn_predict_layers", u32(1));
        }
        file.set("general.architecture", text(name));
        file.add_tensors_of_the_rules();
        file
    }

    /// The smallest dense GLM-4, which most tests bend.
    pub(crate) fn glm4() -> Self {
        Self::smallest(Architecture::Glm4)
    }

    fn without_tensors() -> Self {
        let mut file = Self {
            magic: *b"GGUF",
            version: 3,
            tensor_count: None,
            key_count: None,
            keys: Vec::new(),
            tensors: Vec::new(),
            alignment: 32,
            excess: 0,
        };
        file.set("general.architecture", text("glm4"));
        file.set("tokenizer.ggml.model", text("gpt2"));
        file.set("tokenizer.ggml.pre", text("glm4"));
        file.set("tokenizer.ggml.merges", texts(&["a b", "ab c"]));
        file.set("tokenizer.ggml.eos_token_id", u32(1));
        file.set("tokenizer.ggml.add_bos_token", bool(0));
        file.set("tokenizer.chat_template", text("[gMASK]<sop>{{ messages }}"));
        file.set_tokens(40);
        file
    }

    /// A vocabulary of `count` different tokens.
    pub(crate) fn set_tokens(&mut self, count: usize) {
        let tokens: Vec<String> = (0..count).map(|index| format!("t{index}")).collect();
        self.set("tokenizer.ggml.tokens", texts(&tokens));
        self.set("tokenizer.ggml.token_type", i32s(&vec![1; count]));
        self.set("tokenizer.ggml.scores", f32s(&vec![0.0; count]));
    }

    /// Adds or replaces a key.
    pub(crate) fn set(&mut self, key: &str, field: Field) {
        match self.keys.iter_mut().find(|(name, _)| name == key.as_bytes()) {
            Some((_, old)) => *old = field,
            None => self.keys.push((key.as_bytes().to_vec(), field)),
        }
    }

    pub(crate) fn remove(&mut self, key: &str) {
        self.keys.retain(|(name, _)| name != key.as_bytes());
    }

    pub(crate) fn tensor(&mut self, name: &str) -> &mut Entry {
        self.tensors
            .iter_mut()
            .find(|entry| entry.name == name.as_bytes())
            .unwrap()
    }

    /// Replaces all tensors by those that the rules demand or allow for the sizes that the keys declare.
    pub(crate) fn add_tensors_of_the_rules(&mut self) {
        let bytes = self.header_bytes();
        let slice = bytes.as_slice();
        let mut reader = HeaderReader::new(&slice);
        reader.skip(24).unwrap();
        let metadata = Metadata::read(&mut reader, self.keys.len() as u64).unwrap();
        let vocabulary = super::Vocabulary::check(&metadata).unwrap();
        let sizes = Sizes::read(&metadata, vocabulary.token_count).unwrap();
        self.tensors.clear();
        for rule in WHOLE_MODEL {
            self.add(
                rule.name.to_owned(),
                rule.shape.iter().map(|size| sizes.get(*size)).collect(),
            );
        }
        for layer in 0..sizes.layer_count {
            for rule in sizes
                .architecture
                .layer_rules()
                .filter(|rule| sizes.has(rule.layers, layer))
            {
                // Of two ways to write the same weights, the divided one.
                let is_fused = rule.name.contains("qkv") || rule.name.contains("gate_up");
                if rule.need != Need::May || !is_fused {
                    let shape = rule.shape.iter().map(|size| sizes.get(*size)).collect();
                    self.add(format!("blk.{layer}.{}", rule.name), shape);
                }
            }
        }
    }

    /// Adds a tensor: F32 for vectors, else F16.
    pub(crate) fn add(&mut self, name: String, shape: Vec<u64>) {
        let tensor_type = u32::from(shape.len() > 1);
        self.tensors.push(Entry {
            name: name.into_bytes(),
            shape,
            tensor_type,
            offset: None,
        });
    }

    /// All up to the tensor data, without padding.
    pub(crate) fn header_bytes(&self) -> Vec<u8> {
        let mut bytes = self.magic.to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(
            self.tensor_count
                .unwrap_or(self.tensors.len() as u64)
                .to_le_bytes(),
        );
        bytes.extend(self.key_count.unwrap_or(self.keys.len() as u64).to_le_bytes());
        for (key, Field(kind, value)) in &self.keys {
            bytes.extend(string(key));
            bytes.extend(kind.to_le_bytes());
            bytes.extend(value);
        }
        let mut free = 0_u64;
        for entry in &self.tensors {
            bytes.extend(string(&entry.name));
            bytes.extend((entry.shape.len() as u32).to_le_bytes());
            bytes.extend(entry.shape.iter().flat_map(|dimension| dimension.to_le_bytes()));
            bytes.extend(entry.tensor_type.to_le_bytes());
            bytes.extend(entry.offset.unwrap_or(free).to_le_bytes());
            free = free
                .wrapping_add(self.byte_count_of(entry))
                .next_multiple_of(self.alignment);
        }
        bytes
    }

    fn byte_count_of(&self, entry: &Entry) -> u64 {
        let elements = entry
            .shape
            .iter()
            .fold(1_u64, |product, dimension| product.wrapping_mul(*dimension));
        // What is wildly wrong takes no room, so that the file stays small.
        TensorType::by_id(entry.tensor_type)
            .and_then(|tensor_type| tensor_type.byte_count(elements))
            .filter(|bytes| *bytes < 1 << 50)
            .unwrap_or(0)
    }

    /// The file, whose data reads as zeros.
    pub(crate) fn build(&self) -> Sparse {
        let header = self.header_bytes();
        let data = self.tensors.iter().fold(0_u64, |free, entry| {
            (free + self.byte_count_of(entry)).next_multiple_of(self.alignment)
        });
        let byte_count = (header.len() as u64).next_multiple_of(self.alignment) + data;
        Sparse {
            header,
            byte_count: byte_count.saturating_add_signed(self.excess),
            read_bytes: Cell::new(0),
        }
    }
}

/// A file of which only the header is kept. Counts the bytes that are read.
#[derive(Clone)]
pub(crate) struct Sparse {
    pub(crate) header: Vec<u8>,
    pub(crate) byte_count: u64,
    pub(crate) read_bytes: Cell<u64>,
}

impl Sparse {
    /// The whole file in memory.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header.clone();
        bytes.resize(usize::try_from(self.byte_count).unwrap(), 0);
        bytes
    }
}

impl ReadAt for Sparse {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer
            .len()
            .min(usize::try_from(self.byte_count.saturating_sub(offset)).unwrap());
        let rest = self.header.get(offset as usize..).unwrap_or_default();
        let known = rest.len().min(count);
        buffer[..known].copy_from_slice(&rest[..known]);
        buffer[known..count].fill(0);
        self.read_bytes.set(self.read_bytes.get() + count as u64);
        Ok(count)
    }

    fn byte_count(&self) -> u64 {
        self.byte_count
    }
}
