//! Strict pre-check of a GGUF file: what passes here is all that ever reaches the C++ parser.
//!
//! Reads the header only, forward, through a 64 KiB buffer, so a file of any size is judged in the same time and
//! memory; allocates nothing by a number from the file; accepts only what GLM releases contain. The rules come
//! from the public bugs of GGUF loaders and from what the vendored loader asserts or assumes (each rule says which).
//! Format: GGUF version 3 as described by ggml's `docs/gguf.md`.
//!
//! Not here: whether the weights are good, and whether the chat template is: it is only measured and digested.

pub mod architecture;
pub mod facts;
mod metadata;
pub mod read;
pub mod refusal;
mod shapes;
mod tensors;
pub mod types;
mod vocabulary;

#[cfg(test)]
mod build;
#[cfg(test)]
mod tests;

pub use architecture::Architecture;
pub use facts::GgufFacts;
pub use metadata::{ARRAY_COUNT_MAX, CHAT_TEMPLATE_BYTES_MAX, KEY_BYTES_MAX, KEY_COUNT_MAX};
pub use read::{HEADER_BYTES_MAX, ReadAt, STRING_BYTES_MAX};
pub use refusal::GgufRefusal;
pub use tensors::{TENSOR_COUNT_MAX, TENSOR_NAME_BYTES_MAX};
pub use vocabulary::{TOKEN_BYTES_MAX, TOKEN_COUNT_MAX};

use architecture::Sizes;
use metadata::{Metadata, Number, Value, ValueKind};
use read::HeaderReader;
use vocabulary::Vocabulary;

/// Smallest accepted alignment of tensor data.
pub const ALIGNMENT_MIN: u64 = 8;
/// Largest accepted alignment of tensor data.
pub const ALIGNMENT_MAX: u64 = 4096;
/// Alignment where the file names none.
const ALIGNMENT_DEFAULT: u64 = 32;

/// Least bytes of a key with its value: length, one character, type, one byte.
const KEY_BYTES_MIN: u64 = 8 + 1 + 4 + 1;
/// Least bytes of a tensor entry: length, one character, dimension count, one dimension, type, offset.
const TENSOR_BYTES_MIN: u64 = 8 + 1 + 4 + 8 + 4 + 8;

/// Checks the file and says what it is.
///
/// # Errors
/// The first rule, in file order, that the file breaks; relations between values come after the part they are in.
pub fn inspect(source: &dyn ReadAt) -> Result<GgufFacts, GgufRefusal> {
    let mut reader = HeaderReader::new(source);
    let (tensor_count, key_count) = read_counts(&mut reader)?;
    let metadata = Metadata::read(&mut reader, key_count)?;
    let alignment = read_alignment(&metadata)?;
    check_is_whole(&metadata)?;
    let vocabulary = Vocabulary::check(&metadata)?;
    let sizes = Sizes::read(&metadata, vocabulary.token_count)?;
    let sums = tensors::check_tensors(&mut reader, tensor_count, alignment, &sizes)?;
    GgufFacts::gather(
        reader.byte_count(),
        reader.position(),
        &metadata,
        &sizes,
        vocabulary,
        &sums,
    )
}

fn read_counts(reader: &mut HeaderReader<'_>) -> Result<(u64, u64), GgufRefusal> {
    if &reader.magic()? != b"GGUF" {
        return Err(GgufRefusal::Magic);
    }
    let version = reader.u32()?;
    if version != 3 {
        return Err(GgufRefusal::Version { found: version });
    }
    let tensor_count = reader.u64()?;
    let key_count = reader.u64()?;
    if tensor_count == 0 || tensor_count > TENSOR_COUNT_MAX {
        return Err(GgufRefusal::TensorCount {
            found: tensor_count,
            max: TENSOR_COUNT_MAX,
        });
    }
    if key_count > KEY_COUNT_MAX {
        return Err(GgufRefusal::KeyCount {
            found: key_count,
            max: KEY_COUNT_MAX,
        });
    }
    let needed = tensor_count * TENSOR_BYTES_MIN + key_count * KEY_BYTES_MIN;
    if needed > reader.remaining() {
        let (offset, left) = (reader.position(), reader.remaining());
        return Err(GgufRefusal::Truncated { offset, needed, left });
    }
    Ok((tensor_count, key_count))
}

fn read_alignment(metadata: &Metadata) -> Result<u64, GgufRefusal> {
    let found = metadata
        .u32("general.alignment", 0, u64::MAX)?
        .unwrap_or(ALIGNMENT_DEFAULT);
    if found.is_power_of_two() && (ALIGNMENT_MIN..=ALIGNMENT_MAX).contains(&found) {
        Ok(found)
    } else {
        Err(GgufRefusal::Alignment {
            found,
            min: ALIGNMENT_MIN,
            max: ALIGNMENT_MAX,
        })
    }
}

/// Refuses parts of a split model: the loader would look for the other parts by file name.
fn check_is_whole(metadata: &Metadata) -> Result<(), GgufRefusal> {
    match metadata.value("split.count") {
        None => Ok(()),
        Some(Value::Scalar {
            kind: ValueKind::U16,
            number: Number::Whole(0 | 1),
        }) => Ok(()),
        Some(Value::Scalar {
            number: Number::Whole(count),
            ..
        }) => Err(GgufRefusal::Split {
            count: u64::try_from(*count).unwrap_or(u64::MAX),
        }),
        Some(_) => Err(GgufRefusal::Split { count: 0 }),
    }
}
