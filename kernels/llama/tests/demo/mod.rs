//! The demo model, and the few things that tests do with every context.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "helpers of tests fail by panicking, as tests do; each test file uses some of them"
)]

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use jingui_llama::{Batch, Context, ContextShape, Decoded, Model, Token};

/// The weights of the demo model.
pub(crate) fn weights() -> File {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../image/models/glm4-canary");
    let entries = std::fs::read_dir(&folder).expect("the demo model is part of the tree");
    let mut files = entries.map(|entry| entry.unwrap().path());
    let path = files
        .find(|path| path.extension().is_some_and(|ext| ext == "gguf"))
        .unwrap();
    File::open(path).unwrap()
}

/// The demo model.
pub(crate) fn model() -> Arc<Model> {
    Arc::new(Model::load(weights().into(), |_| true).unwrap())
}

/// A shape that is enough for most tests.
pub(crate) fn shape() -> ContextShape {
    ContextShape {
        context_tokens: 512,
        sequence_count: 2,
        batch_tokens: 64,
        output_rows: 2,
        thread_count: 1,
    }
}

/// A context of [`shape`] over the demo model.
pub(crate) fn context() -> Context {
    Context::new(model(), shape()).unwrap()
}

/// Pushes `tokens` from `first` on to `sequence`; the last one asks for logits. Returns its row.
pub(crate) fn push(batch: &mut Batch, tokens: &[Token], first: u32, sequence: u32) -> usize {
    let mut row = 0;
    for (position, token) in (first..).zip(tokens) {
        let is_last = position as usize - first as usize + 1 == tokens.len();
        row = batch.push(*token, position, sequence, is_last).unwrap();
    }
    row
}

/// Computes `tokens` from `first` on in `sequence`, in chunks of `chunk`; the logits after the last.
pub(crate) fn compute(
    context: &mut Context,
    tokens: &[Token],
    first: u32,
    sequence: u32,
    chunk: usize,
) -> Vec<f32> {
    let mut batch = context.batch();
    let mut logits = Vec::new();
    let mut position = first;
    for part in tokens.chunks(chunk) {
        batch.clear();
        let row = push(&mut batch, part, position, sequence);
        assert_eq!(context.decode(&mut batch), Ok(Decoded::Computed));
        logits = context.logits(row).unwrap().to_vec();
        position += u32::try_from(part.len()).unwrap();
    }
    logits
}

/// The index of the largest.
pub(crate) fn likeliest(logits: &[f32]) -> usize {
    (0..logits.len())
        .max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
        .unwrap()
}

/// Equal bit for bit.
pub(crate) fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// `count` tokens that look like a text, the same for the same `seed`.
pub(crate) fn text(model: &Model, seed: u32, count: u32) -> Vec<Token> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            model.token((state >> 8) % model.vocab_size()).unwrap()
        })
        .collect()
}
