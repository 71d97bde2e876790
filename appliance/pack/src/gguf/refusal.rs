//! Why a GGUF file is refused: one variant and one stable code for each rule of the pre-check.
//!
//! Names that come from the file (keys, tensor names) were checked to be short printable ASCII before they get in
//! here; other text of the file is never quoted.

use std::io;

/// A rule that the file breaks. `model.gguf.<rule>` is its stable code.
#[derive(Debug, thiserror::Error)]
pub enum GgufRefusal {
    /// The device failed; the file may be good.
    #[error("the file cannot be read at byte {offset}")]
    Unreadable {
        /// Where.
        offset: u64,
        /// What the device said.
        #[source]
        source: io::Error,
    },
    /// A length or count promises more bytes than the file has.
    #[error("at byte {offset}, {needed} bytes are promised and {left} are left")]
    Truncated {
        /// Where.
        offset: u64,
        /// Bytes that should follow.
        needed: u64,
        /// Bytes that do.
        left: u64,
    },
    /// The file does not begin with `GGUF`.
    #[error("the file does not begin with GGUF")]
    Magic,
    /// Another version of the format.
    #[error("format version {found}, only 3 is accepted")]
    Version {
        /// The version.
        found: u32,
    },
    /// Too many keys.
    #[error("{found} keys, at most {max} are accepted")]
    KeyCount {
        /// As in the file.
        found: u64,
        /// The bound.
        max: u64,
    },
    /// Too many tensors, or none.
    #[error("{found} tensors, 1 to {max} are accepted")]
    TensorCount {
        /// As in the file.
        found: u64,
        /// The bound.
        max: u64,
    },
    /// The part before the tensor data is too long.
    #[error("the header is longer than {max} bytes")]
    HeaderSize {
        /// The bound.
        max: u64,
    },
    /// A string is too long.
    #[error("the string at byte {offset} has {length} bytes, at most {max} are accepted")]
    StringLength {
        /// Where.
        offset: u64,
        /// As in the file.
        length: u64,
        /// The bound at this place.
        max: u64,
    },
    /// A string is no UTF-8 or holds NUL.
    #[error("the string at byte {offset} is not UTF-8 without NUL")]
    StringText {
        /// Where.
        offset: u64,
    },
    /// A key is empty, too long or not printable ASCII.
    #[error("the key at byte {offset} is no key name")]
    KeyName {
        /// Where.
        offset: u64,
    },
    /// A key stands twice.
    #[error("key {key} stands twice")]
    KeyRepeated {
        /// The key.
        key: String,
    },
    /// A value has a type number that the format does not know.
    #[error("{key} has the unknown value type {found}")]
    ValueType {
        /// The key.
        key: String,
        /// The number.
        found: u32,
    },
    /// An array of arrays.
    #[error("{key} is an array of arrays")]
    ArrayNesting {
        /// The key.
        key: String,
    },
    /// An array is too long, or empty where it may not be.
    #[error("{key} has {count} elements, at most {max} are accepted")]
    ArrayCount {
        /// The key.
        key: String,
        /// As in the file.
        count: u64,
        /// The bound.
        max: u64,
    },
    /// A boolean that is neither 0 nor 1.
    #[error("{key} is a boolean of value {found}")]
    BoolValue {
        /// The key.
        key: String,
        /// The byte.
        found: u8,
    },
    /// The alignment is no power of two within bounds.
    #[error("alignment {found} is not a power of two from {min} to {max}")]
    Alignment {
        /// As in the file.
        found: u64,
        /// Smallest accepted.
        min: u64,
        /// Largest accepted.
        max: u64,
    },
    /// A required key is missing.
    #[error("key {key} is missing")]
    KeyMissing {
        /// The key.
        key: String,
    },
    /// A key has a value of another type than it must have.
    #[error("{key} is {found}, it must be {expected}")]
    KeyType {
        /// The key.
        key: String,
        /// The type it must have.
        expected: &'static str,
        /// The type it has.
        found: &'static str,
    },
    /// A number outside the range that GLM models have.
    #[error("{key} is {found}, accepted is {min} to {max}")]
    KeyRange {
        /// The key.
        key: String,
        /// As in the file.
        found: u64,
        /// Smallest accepted.
        min: u64,
        /// Largest accepted.
        max: u64,
    },
    /// A float that is not finite or outside its range.
    #[error("{key} is no number in its range")]
    FloatRange {
        /// The key.
        key: String,
    },
    /// The architecture is not on the list.
    #[error("architecture {found} is not on the list")]
    Architecture {
        /// As in the file, if it is short printable ASCII; else `?`.
        found: String,
    },
    /// The file is a part of a model in several files.
    #[error("the file is one of {count} parts")]
    Split {
        /// Number of parts.
        count: u64,
    },
    /// The query heads cannot be shared out over the key/value heads.
    #[error("{heads} heads cannot be shared out over {kv_heads} key/value heads")]
    HeadSharing {
        /// Query heads.
        heads: u64,
        /// Key/value heads.
        kv_heads: u64,
    },
    /// Sizes of heads, ranks and rotary dimensions do not fit each other.
    #[error("{key} is {found}, the other sizes need {needed}")]
    HeadSize {
        /// The key at fault.
        key: String,
        /// As in the file.
        found: u64,
        /// What would fit, as a formula: `<= 128`, `2n`, `1..=4`.
        needed: String,
    },
    /// Numbers of experts do not fit each other.
    #[error("{key} is {found}, the other expert counts need {needed}")]
    Experts {
        /// The key at fault.
        key: String,
        /// As in the file.
        found: u64,
        /// What would fit.
        needed: String,
    },
    /// The tokenizer is not one that GLM models use.
    #[error("the tokenizer is not one that GLM models use")]
    Tokenizer,
    /// Tokens, scores or token types have the wrong element type.
    #[error("{key} is an array of {found}, it must be one of {expected}")]
    TokenArrayType {
        /// The key.
        key: &'static str,
        /// Element type it must have.
        expected: &'static str,
        /// Element type it has.
        found: &'static str,
    },
    /// Scores or token types are not as many as the tokens.
    #[error("{key} has {found} elements, there are {tokens} tokens")]
    TokenArrayCount {
        /// The key.
        key: &'static str,
        /// Its elements.
        found: u64,
        /// Elements of the token list.
        tokens: u64,
    },
    /// Two tokens have the same text; the C++ loader would abort the process.
    #[error("a token text stands twice")]
    TokenRepeated,
    /// A token has an unknown type.
    #[error("token {index} has the unknown type {found}")]
    TokenType {
        /// The token.
        index: u64,
        /// Its type.
        found: i64,
    },
    /// A byte token that is not exactly `<0x..>` with two upper-case hexadecimal digits.
    #[error("token {index} is a byte token of another form than <0x00> to <0xFF>")]
    ByteToken {
        /// The token.
        index: u64,
    },
    /// A vocabulary that falls back to bytes lacks some of the 256 byte tokens.
    #[error("{found} of 256 byte tokens are there")]
    ByteTokenCount {
        /// How many there are.
        found: u64,
    },
    /// A merge is not two texts with a space between.
    #[error("merge {index} is not a pair")]
    Merge {
        /// The merge.
        index: u64,
    },
    /// A special token is not in the vocabulary.
    #[error("{key} is {found}, there are {tokens} tokens")]
    SpecialToken {
        /// The key.
        key: String,
        /// As in the file.
        found: u64,
        /// Elements of the token list.
        tokens: u64,
    },
    /// A tensor name is empty, too long or not printable ASCII.
    #[error("the tensor name at byte {offset} is no tensor name")]
    TensorName {
        /// Where.
        offset: u64,
    },
    /// A tensor name stands twice.
    #[error("tensor {name} stands twice")]
    TensorRepeated {
        /// The tensor.
        name: String,
    },
    /// A tensor with no dimension or more than four.
    #[error("{name} has {found} dimensions, 1 to 4 are accepted")]
    DimensionCount {
        /// The tensor.
        name: String,
        /// As in the file.
        found: u32,
    },
    /// A dimension of zero, or beyond 63 bits.
    #[error("dimension {index} of {name} is {found}")]
    Dimension {
        /// The tensor.
        name: String,
        /// From 0.
        index: usize,
        /// As in the file.
        found: u64,
    },
    /// The dimensions multiply beyond 63 bits, or the bytes do.
    #[error("the size of {name} overflows")]
    TensorSize {
        /// The tensor.
        name: String,
    },
    /// A tensor type that is unknown or may not stand in a package.
    #[error("{name} has the tensor type {found}, which is not accepted")]
    TensorType {
        /// The tensor.
        name: String,
        /// As in the file.
        found: u32,
    },
    /// A vector that is not F32, with which the C++ would abort the process.
    #[error("{name} is a vector of {found}, it must be F32")]
    VectorType {
        /// The tensor.
        name: String,
        /// Its type.
        found: &'static str,
    },
    /// A row that is not a whole number of blocks.
    #[error("{name} has rows of {row}, blocks have {block} elements")]
    RowSize {
        /// The tensor.
        name: String,
        /// Elements of a row.
        row: u64,
        /// Elements of a block.
        block: u64,
    },
    /// Data that does not start on the alignment.
    #[error("{name} starts at {offset}, the alignment is {alignment}")]
    OffsetAlignment {
        /// The tensor.
        name: String,
        /// In the data part.
        offset: u64,
        /// Of the file.
        alignment: u64,
    },
    /// Data that lies over the data of the tensor before.
    #[error("{name} starts at {offset}, the tensor before ends at {free}")]
    TensorOverlap {
        /// The tensor.
        name: String,
        /// In the data part.
        offset: u64,
        /// First free byte.
        free: u64,
    },
    /// Data that leaves a hole after the tensor before, in which anything could hide.
    #[error("{name} starts at {offset}, it must start at {free}")]
    TensorGap {
        /// The tensor.
        name: String,
        /// In the data part.
        offset: u64,
        /// First free byte.
        free: u64,
    },
    /// Data that ends after the file.
    #[error("{name} ends at {end} of {available} bytes of data")]
    TensorExtent {
        /// The tensor.
        name: String,
        /// In the data part.
        end: u64,
        /// Bytes in the data part.
        available: u64,
    },
    /// Bytes after the last tensor.
    #[error("{count} bytes follow the last tensor")]
    TrailingBytes {
        /// How many.
        count: u64,
    },
    /// A tensor that this architecture does not have.
    #[error("{name} is no tensor of this architecture")]
    TensorUnknown {
        /// The tensor.
        name: String,
    },
    /// A tensor of another shape than the metadata demand.
    #[error("{name} is {found}, the metadata demand {expected}")]
    TensorShape {
        /// The tensor.
        name: String,
        /// For example `256 x 3328`.
        expected: String,
        /// As in the file.
        found: String,
    },
    /// A tensor that this architecture needs.
    #[error("{name} is missing")]
    TensorMissing {
        /// The tensor.
        name: String,
    },
}

impl GgufRefusal {
    /// Stable code. Never changes once released: manual, console and scripts rely on it.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "model.gguf.unreadable",
            Self::Truncated { .. } => "model.gguf.truncated",
            Self::Magic => "model.gguf.magic",
            Self::Version { .. } => "model.gguf.version",
            Self::KeyCount { .. } => "model.gguf.key-count",
            Self::TensorCount { .. } => "model.gguf.tensor-count",
            Self::HeaderSize { .. } => "model.gguf.header-size",
            Self::StringLength { .. } => "model.gguf.string-length",
            Self::StringText { .. } => "model.gguf.string-text",
            Self::KeyName { .. } => "model.gguf.key-name",
            Self::KeyRepeated { .. } => "model.gguf.key-repeated",
            Self::ValueType { .. } => "model.gguf.value-type",
            Self::ArrayNesting { .. } => "model.gguf.array-nesting",
            Self::ArrayCount { .. } => "model.gguf.array-count",
            Self::BoolValue { .. } => "model.gguf.bool-value",
            Self::Alignment { .. } => "model.gguf.alignment",
            Self::KeyMissing { .. } => "model.gguf.key-missing",
            Self::KeyType { .. } => "model.gguf.key-type",
            Self::KeyRange { .. } => "model.gguf.key-range",
            Self::FloatRange { .. } => "model.gguf.float-range",
            Self::Architecture { .. } => "model.gguf.architecture",
            Self::Split { .. } => "model.gguf.split",
            Self::HeadSharing { .. } => "model.gguf.head-sharing",
            Self::HeadSize { .. } => "model.gguf.head-size",
            Self::Experts { .. } => "model.gguf.experts",
            Self::Tokenizer => "model.gguf.tokenizer",
            Self::TokenArrayType { .. } => "model.gguf.token-array-type",
            Self::TokenArrayCount { .. } => "model.gguf.token-array-count",
            Self::TokenRepeated => "model.gguf.token-repeated",
            Self::TokenType { .. } => "model.gguf.token-type",
            Self::ByteToken { .. } => "model.gguf.byte-token",
            Self::ByteTokenCount { .. } => "model.gguf.byte-token-count",
            Self::Merge { .. } => "model.gguf.merge",
            Self::SpecialToken { .. } => "model.gguf.special-token",
            Self::TensorName { .. } => "model.gguf.tensor-name",
            Self::TensorRepeated { .. } => "model.gguf.tensor-repeated",
            Self::DimensionCount { .. } => "model.gguf.dimension-count",
            Self::Dimension { .. } => "model.gguf.dimension",
            Self::TensorSize { .. } => "model.gguf.tensor-size",
            Self::TensorType { .. } => "model.gguf.tensor-type",
            Self::VectorType { .. } => "model.gguf.vector-type",
            Self::RowSize { .. } => "model.gguf.row-size",
            Self::OffsetAlignment { .. } => "model.gguf.offset-alignment",
            Self::TensorOverlap { .. } => "model.gguf.tensor-overlap",
            Self::TensorGap { .. } => "model.gguf.tensor-gap",
            Self::TensorExtent { .. } => "model.gguf.tensor-extent",
            Self::TrailingBytes { .. } => "model.gguf.trailing-bytes",
            Self::TensorUnknown { .. } => "model.gguf.tensor-unknown",
            Self::TensorShape { .. } => "model.gguf.tensor-shape",
            Self::TensorMissing { .. } => "model.gguf.tensor-missing",
        }
    }

    /// The rule alone: the last part of the code.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        self.code().trim_start_matches("model.gguf.")
    }

    /// Facts for the words of the code: name and value. None of them is content.
    #[must_use]
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        /// Pairs of a name and anything that prints.
        macro_rules! facts {
            ($($name:ident: $value:expr),* $(,)?) => { vec![$((stringify!($name), $value.to_string())),*] };
        }
        match self {
            Self::Unreadable { offset, source } => facts![offset: offset, cause: source.kind()],
            Self::Truncated { offset, needed, left } => facts![offset: offset, needed: needed, left: left],
            Self::Magic | Self::Tokenizer | Self::TokenRepeated => Vec::new(),
            Self::Version { found } => facts![found: found],
            Self::KeyCount { found, max } | Self::TensorCount { found, max } => {
                facts![found: found, max: max]
            }
            Self::HeaderSize { max } => facts![max: max],
            Self::StringLength { offset, length, max } => facts![offset: offset, found: length, max: max],
            Self::StringText { offset } | Self::KeyName { offset } | Self::TensorName { offset } => {
                facts![offset: offset]
            }
            Self::KeyRepeated { key }
            | Self::ArrayNesting { key }
            | Self::KeyMissing { key }
            | Self::FloatRange { key } => {
                facts![key: key]
            }
            Self::ValueType { key, found } => facts![key: key, found: found],
            Self::BoolValue { key, found } => facts![key: key, found: found],
            Self::ArrayCount { key, count, max } => facts![key: key, found: count, max: max],
            Self::Alignment { found, min, max } => facts![found: found, min: min, max: max],
            Self::KeyType { key, expected, found } => facts![key: key, expected: expected, found: found],
            Self::TokenArrayType { key, expected, found } => {
                facts![key: key, expected: expected, found: found]
            }
            Self::KeyRange { key, found, min, max } => facts![key: key, found: found, min: min, max: max],
            Self::Architecture { found } => facts![found: found],
            Self::Split { count } => facts![found: count],
            Self::HeadSharing { heads, kv_heads } => facts![heads: heads, kv_heads: kv_heads],
            Self::HeadSize { key, found, needed } | Self::Experts { key, found, needed } => {
                facts![key: key, found: found, expected: needed]
            }
            Self::TokenArrayCount { key, found, tokens } => facts![key: key, found: found, tokens: tokens],
            Self::TokenType { index, found } => facts![index: index, found: found],
            Self::ByteToken { index } | Self::Merge { index } => facts![index: index],
            Self::ByteTokenCount { found } => facts![found: found],
            Self::SpecialToken { key, found, tokens } => facts![key: key, found: found, tokens: tokens],
            Self::TensorRepeated { name }
            | Self::TensorSize { name }
            | Self::TensorUnknown { name }
            | Self::TensorMissing { name } => {
                facts![tensor: name]
            }
            Self::DimensionCount { name, found } | Self::TensorType { name, found } => {
                facts![tensor: name, found: found]
            }
            Self::Dimension { name, index, found } => facts![tensor: name, index: index, found: found],
            Self::VectorType { name, found } => facts![tensor: name, found: found],
            Self::RowSize { name, row, block } => facts![tensor: name, row: row, block: block],
            Self::OffsetAlignment {
                name,
                offset,
                alignment,
            } => {
                facts![tensor: name, offset: offset, alignment: alignment]
            }
            Self::TensorOverlap { name, offset, free } | Self::TensorGap { name, offset, free } => {
                facts![tensor: name, offset: offset, free: free]
            }
            Self::TensorExtent { name, end, available } => {
                facts![tensor: name, end: end, available: available]
            }
            Self::TrailingBytes { count } => facts![found: count],
            Self::TensorShape {
                name,
                expected,
                found,
            } => facts![tensor: name, expected: expected, found: found],
        }
    }
}
