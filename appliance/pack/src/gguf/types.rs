//! Tensor types that may stand in a package: block length in elements and block size in bytes.
//!
//! Numbers from `ggml.h` and `ggml-common.h` of the vendored revision. Absent on purpose: types that exist only
//! while computing (Q8_1, Q8_K), integers and F64 (no GLM weight is one), types that upstream removed, and types
//! that need companion tensors (NVFP4) or are experiments (TQ, Q1_0, Q2_0).

/// Element type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Number in the file.
    pub id: u32,
    /// Name as people know it.
    pub name: &'static str,
    /// Elements in a block; a row is a whole number of blocks.
    pub block_elements: u64,
    /// Bytes of a block.
    pub block_bytes: u64,
}

const fn tensor_type(id: u32, name: &'static str, block_elements: u64, block_bytes: u64) -> TensorType {
    TensorType {
        id,
        name,
        block_elements,
        block_bytes,
    }
}

/// 32-bit floats: the only type for vectors.
pub const F32: TensorType = tensor_type(0, "F32", 1, 4);

/// All types that are accepted.
pub const TENSOR_TYPES: &[TensorType] = &[
    F32,
    tensor_type(1, "F16", 1, 2),
    tensor_type(2, "Q4_0", 32, 18),
    tensor_type(3, "Q4_1", 32, 20),
    tensor_type(6, "Q5_0", 32, 22),
    tensor_type(7, "Q5_1", 32, 24),
    tensor_type(8, "Q8_0", 32, 34),
    tensor_type(10, "Q2_K", 256, 84),
    tensor_type(11, "Q3_K", 256, 110),
    tensor_type(12, "Q4_K", 256, 144),
    tensor_type(13, "Q5_K", 256, 176),
    tensor_type(14, "Q6_K", 256, 210),
    tensor_type(16, "IQ2_XXS", 256, 66),
    tensor_type(17, "IQ2_XS", 256, 74),
    tensor_type(18, "IQ3_XXS", 256, 98),
    tensor_type(19, "IQ1_S", 256, 50),
    tensor_type(20, "IQ4_NL", 32, 18),
    tensor_type(21, "IQ3_S", 256, 110),
    tensor_type(22, "IQ2_S", 256, 82),
    tensor_type(23, "IQ4_XS", 256, 136),
    tensor_type(29, "IQ1_M", 256, 56),
    tensor_type(30, "BF16", 1, 2),
    tensor_type(39, "MXFP4", 32, 17),
];

impl TensorType {
    /// The type with that number, if it is accepted.
    #[must_use]
    pub fn by_id(id: u32) -> Option<Self> {
        TENSOR_TYPES
            .iter()
            .copied()
            .find(|tensor_type| tensor_type.id == id)
    }

    /// Bytes of `element_count` elements in whole blocks; `None` when that does not fit 64 bits.
    #[must_use]
    pub fn byte_count(self, element_count: u64) -> Option<u64> {
        (element_count / self.block_elements).checked_mul(self.block_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_sizes_are_those_of_ggml_common_h() {
        // sizeof of each block as its static_assert in ggml-common.h writes it.
        let half = 2;
        let cases = [
            ("Q4_0", half + 32 / 2),
            ("Q4_1", 2 * half + 32 / 2),
            ("Q5_0", half + 4 + 32 / 2),
            ("Q5_1", 2 * half + 4 + 32 / 2),
            ("Q8_0", half + 32),
            ("Q2_K", 2 * half + 256 / 16 + 256 / 4),
            ("Q3_K", half + 256 / 4 + 256 / 8 + 12),
            ("Q4_K", 2 * half + 12 + 256 / 2),
            ("Q5_K", 2 * half + 12 + 256 / 2 + 256 / 8),
            ("Q6_K", half + 256 / 16 + 3 * 256 / 4),
            ("IQ2_XXS", half + 256 / 8 * 2),
            ("IQ2_XS", half + 256 / 8 * 2 + 256 / 32),
            ("IQ2_S", half + 256 / 4 + 256 / 16),
            ("IQ3_XXS", half + 3 * (256 / 8)),
            ("IQ3_S", half + 13 * (256 / 32) + 256 / 64),
            ("IQ1_S", half + 256 / 8 + 256 / 16),
            ("IQ1_M", 256 / 8 + 256 / 16 + 256 / 32),
            ("IQ4_NL", half + 32 / 2),
            ("IQ4_XS", half + 2 + 256 / 64 + 256 / 2),
            ("MXFP4", 1 + 32 / 2),
        ];
        for (name, block_bytes) in cases {
            let found = TENSOR_TYPES
                .iter()
                .find(|tensor_type| tensor_type.name == name)
                .unwrap();
            assert_eq!(found.block_bytes, block_bytes, "{name}");
        }
        assert_eq!(TENSOR_TYPES.len(), cases.len() + 3, "F32, F16 and BF16 are plain");
    }

    #[test]
    fn a_size_that_overflows_is_none() {
        assert_eq!(F32.byte_count(u64::MAX), None);
        assert_eq!(TensorType::by_id(12).unwrap().byte_count(512), Some(288));
    }
}
