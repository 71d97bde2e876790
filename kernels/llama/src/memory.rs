//! What a context takes of the memory, as llama.cpp reports it while it reserves.

use crate::backend::note_sizes;
use crate::context::Context;

/// Bytes by what they are for.
///
/// Reserved is not resident: pages that nobody wrote yet (KV cells never used, rows of logits never asked for) take no
/// memory, and mapped weights are page cache that other processes share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// All tensors of the model; shared by its contexts.
    pub weights: u64,
    /// Keys and values, and other memory of sequences.
    pub kv: u64,
    /// Intermediate results and logits.
    pub compute: u64,
}

impl Context {
    /// What this context and its model reserve, to ten kilobytes.
    #[must_use]
    pub fn memory(&self) -> Memory {
        self.reserved
    }
}

/// Runs `make`, which makes a context, and adds up what llama.cpp says it reserves.
///
/// Its own function for that is C++ with a `std::map`; the lines of the log are the same figures, and a test on a real
/// model notices when their form changes.
pub(crate) fn measure<T>(make: impl FnOnce() -> T) -> (T, Memory) {
    let (made, lines) = note_sizes(make);
    let mut memory = Memory::default();
    for (kind, bytes) in lines.iter().filter_map(|line| reserved(line)) {
        let sum = match kind {
            Kind::Kv => &mut memory.kv,
            Kind::Compute => &mut memory.compute,
        };
        *sum = sum.saturating_add(bytes);
    }
    (made, memory)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kv,
    Compute,
}

/// Most mebibytes believed of one line.
const MEBIBYTES_MAX: f64 = 1e9;

/// Reads `llama_kv_cache:        CPU KV buffer size =     2.00 MiB`.
fn reserved(line: &str) -> Option<(Kind, u64)> {
    let (what, size) = line.trim_end().split_once(" buffer size = ")?;
    let kind = match what.rsplit(' ').next()? {
        "KV" | "RS" => Kind::Kv,
        "compute" | "output" => Kind::Compute,
        _ => return None,
    };
    let mebibytes: f64 = size.strip_suffix(" MiB")?.trim().parse().ok()?;
    if !(0.0..=MEBIBYTES_MAX).contains(&mebibytes) {
        return None;
    }
    // Holds: the product is below 2^63, by the bound above.
    let bytes = (mebibytes * 1_048_576.0).round() as u64;
    Some((kind, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_from_their_lines_and_from_no_other() {
        for (line, expected) in [
            (
                "llama_kv_cache:        CPU KV buffer size =     2.00 MiB\n",
                Some((Kind::Kv, 2 << 20)),
            ),
            (
                "sched_reserve:        CPU compute buffer size =     0.50 MiB",
                Some((Kind::Compute, 1 << 19)),
            ),
            (
                "llama_context:        CPU  output buffer size =     1.25 MiB",
                Some((Kind::Compute, 1_310_720)),
            ),
            (
                "load_tensors:   CPU_Mapped model buffer size =     7.00 MiB",
                None,
            ),
            ("x: CPU KV buffer size = -1.00 MiB", None),
            ("x: CPU KV buffer size = NaN MiB", None),
            ("x: CPU KV buffer size = 1e300 MiB", None),
            ("x: CPU KV buffer size = 1.00", None),
            ("", None),
        ] {
            assert_eq!(reserved(line), expected, "{line}");
        }
    }
}
