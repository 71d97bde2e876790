//! The tensor table: each entry checked on its own, against the one before, and against the architecture.
//!
//! Upstream demands that tensor data lie in table order without holes; so do we, and each way to break that has
//! its own name.

use std::collections::{BTreeMap, HashSet};

use super::architecture::Architecture;
use super::architecture::Sizes;
use super::metadata::is_name;
use super::read::HeaderReader;
use super::refusal::GgufRefusal;
use super::shapes::{Layers, Need, Rule, WHOLE_MODEL};
use super::types::{F32, TensorType};

/// Most tensors. GLM-4.5 has 1,759.
pub const TENSOR_COUNT_MAX: u64 = 1 << 14;

/// Longest tensor name: upstream keeps 64 bytes with the final NUL.
pub const TENSOR_NAME_BYTES_MAX: u64 = 63;

/// Most dimensions.
pub(super) const DIMENSION_COUNT_MAX: u32 = 4;

/// Sums over the table.
#[derive(Debug, Default)]
pub(super) struct TensorSums {
    pub(super) parameter_count: u64,
    /// By name of the type: number of tensors, number of elements.
    pub(super) types: BTreeMap<&'static str, (u32, u64)>,
}

/// One entry, checked on its own.
struct Tensor {
    name: String,
    tensor_type: TensorType,
    /// Without trailing ones, as upstream compares shapes.
    shape: Vec<u64>,
    element_count: u64,
    byte_count: u64,
    offset: u64,
}

/// Reads and checks the table and the extent of the data after it.
pub(super) fn check_tensors(
    reader: &mut HeaderReader<'_>,
    tensor_count: u64,
    alignment: u64,
    sizes: &Sizes,
) -> Result<TensorSums, GgufRefusal> {
    let mut sums = TensorSums::default();
    let mut names = HashSet::new();
    let mut text = String::new();
    let mut layout = Layout {
        free: 0,
        end: 0,
        last: String::new(),
        alignment,
    };
    for _ in 0..tensor_count {
        let tensor = read_tensor(reader, &mut text)?;
        if !names.insert(tensor.name.clone()) {
            return Err(GgufRefusal::TensorRepeated { name: tensor.name });
        }
        layout.place(&tensor, reader.remaining())?;
        check_shape(&tensor, sizes)?;
        sums.add(&tensor);
    }
    check_nothing_is_missing(&names, sizes)?;
    layout.check_extent(reader)?;
    Ok(sums)
}

impl TensorSums {
    fn add(&mut self, tensor: &Tensor) {
        self.parameter_count = self.parameter_count.saturating_add(tensor.element_count);
        let (count, elements) = self.types.entry(tensor.tensor_type.name).or_default();
        *count = count.saturating_add(1);
        *elements = elements.saturating_add(tensor.element_count);
    }
}

/// Where data lies, tensor by tensor.
struct Layout {
    /// First byte where the next tensor may start.
    free: u64,
    /// End of the last tensor without padding.
    end: u64,
    last: String,
    alignment: u64,
}

impl Layout {
    /// `left` bytes of the file follow this entry, so no data can end after them. That alone stops the lie about a
    /// size before anything is compared with it.
    fn place(&mut self, tensor: &Tensor, left: u64) -> Result<(), GgufRefusal> {
        let (name, offset, free, alignment) = (tensor.name.clone(), tensor.offset, self.free, self.alignment);
        if offset % alignment != 0 {
            return Err(GgufRefusal::OffsetAlignment {
                name,
                offset,
                alignment,
            });
        }
        let Some(end) = offset.checked_add(tensor.byte_count) else {
            return Err(GgufRefusal::TensorSize { name });
        };
        let Some(padded) = end.checked_next_multiple_of(alignment) else {
            return Err(GgufRefusal::TensorSize { name });
        };
        if end > left {
            return Err(GgufRefusal::TensorExtent {
                name,
                end,
                available: left,
            });
        }
        if offset < free {
            return Err(GgufRefusal::TensorOverlap { name, offset, free });
        }
        if offset > free {
            return Err(GgufRefusal::TensorGap { name, offset, free });
        }
        (self.end, self.free, self.last) = (end, padded, name);
        Ok(())
    }

    /// The data part holds all tensors, and after them nothing but the padding of the last one.
    fn check_extent(self, reader: &HeaderReader<'_>) -> Result<(), GgufRefusal> {
        let start = reader
            .position()
            .checked_next_multiple_of(self.alignment)
            .unwrap_or(u64::MAX);
        let available = reader.byte_count().saturating_sub(start);
        if self.end > available {
            return Err(GgufRefusal::TensorExtent {
                name: self.last,
                end: self.end,
                available,
            });
        }
        match available.checked_sub(self.free) {
            None | Some(0) => Ok(()),
            Some(count) => Err(GgufRefusal::TrailingBytes { count }),
        }
    }
}

fn read_tensor(reader: &mut HeaderReader<'_>, text: &mut String) -> Result<Tensor, GgufRefusal> {
    let start = reader.position();
    reader.string(text, TENSOR_NAME_BYTES_MAX)?;
    if !is_name(text, TENSOR_NAME_BYTES_MAX) {
        return Err(GgufRefusal::TensorName { offset: start });
    }
    let name = text.clone();
    let dimension_count = reader.u32()?;
    if !(1..=DIMENSION_COUNT_MAX).contains(&dimension_count) {
        return Err(GgufRefusal::DimensionCount {
            name,
            found: dimension_count,
        });
    }
    let mut shape = Vec::new();
    for _ in 0..dimension_count {
        let found = reader.u64()?;
        if found == 0 || i64::try_from(found).is_err() {
            return Err(GgufRefusal::Dimension {
                name,
                index: shape.len(),
                found,
            });
        }
        shape.push(found);
    }
    let found = reader.u32()?;
    let Some(tensor_type) = TensorType::by_id(found) else {
        return Err(GgufRefusal::TensorType { name, found });
    };
    let offset = reader.u64()?;

    let product = shape
        .iter()
        .try_fold(1_u64, |product, dimension| product.checked_mul(*dimension));
    let Some(element_count) = product.filter(|product| i64::try_from(*product).is_ok()) else {
        return Err(GgufRefusal::TensorSize { name });
    };
    let row = shape.first().copied().unwrap_or_default();
    if row % tensor_type.block_elements != 0 {
        return Err(GgufRefusal::RowSize {
            name,
            row,
            block: tensor_type.block_elements,
        });
    }
    let Some(byte_count) = tensor_type.byte_count(element_count) else {
        return Err(GgufRefusal::TensorSize { name });
    };
    while shape.len() > 1 && shape.last() == Some(&1) {
        shape.pop();
    }
    Ok(Tensor {
        name,
        tensor_type,
        shape,
        element_count,
        byte_count,
        offset,
    })
}

fn check_shape(tensor: &Tensor, sizes: &Sizes) -> Result<(), GgufRefusal> {
    let Some(rule) = find_rule(&tensor.name, sizes) else {
        return Err(GgufRefusal::TensorUnknown {
            name: tensor.name.clone(),
        });
    };
    let mut expected: Vec<u64> = rule.shape.iter().map(|size| sizes.get(*size)).collect();
    while expected.len() > 1 && expected.last() == Some(&1) {
        expected.pop();
    }
    if expected != tensor.shape {
        return Err(GgufRefusal::TensorShape {
            name: tensor.name.clone(),
            expected: spell(&expected),
            found: spell(&tensor.shape),
        });
    }
    if rule.shape.len() == 1 && tensor.tensor_type != F32 {
        return Err(GgufRefusal::VectorType {
            name: tensor.name.clone(),
            found: tensor.tensor_type.name,
        });
    }
    Ok(())
}

fn find_rule(name: &str, sizes: &Sizes) -> Option<&'static Rule> {
    let Some((layer, rest)) = split_layer(name) else {
        return WHOLE_MODEL.iter().find(|rule| rule.name == name);
    };
    if layer >= sizes.layer_count {
        return None;
    }
    sizes
        .architecture
        .layer_rules()
        .find(|rule| rule.name == rest && sizes.has(rule.layers, layer))
}

/// Takes `blk.<layer>.<rest>` apart. The layer must be spelled in the one way in which upstream prints it.
fn split_layer(name: &str) -> Option<(u64, &str)> {
    let (digits, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let layer: u64 = digits.parse().ok()?;
    (layer.to_string() == digits).then_some((layer, rest))
}

fn check_nothing_is_missing(names: &HashSet<String>, sizes: &Sizes) -> Result<(), GgufRefusal> {
    let output_is_needed = sizes.architecture == Architecture::Glm5Next;
    for rule in WHOLE_MODEL {
        let is_needed = rule.need == Need::Must || output_is_needed;
        if is_needed && !names.contains(rule.name) {
            return Err(GgufRefusal::TensorMissing {
                name: rule.name.to_owned(),
            });
        }
    }
    for layer in 0..sizes.layer_count {
        // A release may leave the prediction layers out while still counting them.
        let is_left_out = sizes.has(Layers::Prediction, layer)
            && !names.contains(&format!("blk.{layer}.nextn.eh_proj.weight"));
        if is_left_out {
            continue;
        }
        for rule in sizes
            .architecture
            .layer_rules()
            .filter(|rule| sizes.has(rule.layers, layer))
        {
            let is_needed = match rule.need {
                Need::Must => true,
                Need::May => false,
                Need::Unless(other) => !names.contains(&format!("blk.{layer}.{other}")),
            };
            let name = format!("blk.{layer}.{}", rule.name);
            if is_needed && !names.contains(&name) {
                return Err(GgufRefusal::TensorMissing { name });
            }
        }
    }
    Ok(())
}

fn spell(shape: &[u64]) -> String {
    shape.iter().map(u64::to_string).collect::<Vec<_>>().join(" x ")
}
