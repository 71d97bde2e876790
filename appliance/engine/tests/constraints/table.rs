//! The demo model's vocabulary, and a stand-in for its logits.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use jingui_engine::choose::{Chooser, Next};
use jingui_engine::constraint::{Constraints, EndTokens, Matcher};
use jingui_engine::sampling::Random;
use jingui_ipc::engine::{Constraint, Grammar, Sampling};
use jingui_llama::Model;

pub(crate) static MODEL: LazyLock<Arc<Model>> = LazyLock::new(|| {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../image/models/glm4-canary");
    let mut files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let path = files
        .find(|path| path.extension().is_some_and(|ext| ext == "gguf"))
        .unwrap();
    Arc::new(Model::load(File::open(path).unwrap().into(), |_| true).unwrap())
});
pub(crate) static CONSTRAINTS: LazyLock<Constraints> =
    LazyLock::new(|| Constraints::new(Arc::clone(&MODEL)).unwrap());
pub(crate) static ENDS: LazyLock<EndTokens> = LazyLock::new(|| EndTokens::of(&MODEL));
static PIECES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    (0..MODEL.vocab_size())
        .map(|id| MODEL.piece(MODEL.token(id).unwrap()))
        .collect()
});

pub(crate) fn at_once(grammar: Grammar) -> Constraint {
    Constraint {
        opened_by: None,
        after: None,
        grammar,
    }
}

pub(crate) fn compile(grammar: Grammar) -> Matcher {
    CONSTRAINTS
        .compile(&at_once(grammar.clone()))
        .unwrap_or_else(|error| panic!("{error} {grammar:?}"))
}

pub(crate) fn warm() -> Sampling {
    Sampling {
        temperature: 1.0,
        seed: Some(3),
        ..Sampling::GREEDY
    }
}

/// Bytes of tokens that bring texts to an end.
const CLOSING: &[u8] = b"}]\"</>,:_0123456789";

/// Logits for the place `index` of an answer: noise, and a liking for what brings texts to an end, which grows.
pub(crate) fn logits(seed: u64, index: usize) -> Vec<f32> {
    let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(index as u64));
    let mut noise = || (random.next_u64() >> 40) as f32 / (1u64 << 24) as f32 * 12.0;
    let liking = (index as f32 * 0.2).min(12.0);
    (0u32..)
        .zip(PIECES.iter())
        .map(|(id, piece)| {
            let is_tag = piece.starts_with(b"</") || piece.starts_with(b"<arg");
            let closes = !piece.is_empty() && (is_tag || piece.iter().all(|byte| CLOSING.contains(byte)));
            let is_end = ENDS.contains(id);
            noise() + if closes || is_end { liking } else { 0.0 }
        })
        .collect()
}

/// What a chooser makes of those logits: bytes, tokens, and whether the answer ended by itself within `tokens_max`.
pub(crate) struct Made {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ids: Vec<u32>,
    pub(crate) has_ended: bool,
}

pub(crate) fn run(chooser: &mut Chooser, seed: u64, tokens_max: usize) -> Made {
    let mut made = Made {
        bytes: Vec::new(),
        ids: Vec::new(),
        has_ended: false,
    };
    while made.ids.len() < tokens_max && !made.has_ended {
        let row = logits(seed, made.ids.len());
        let chosen = chooser.choose_chain(&[&row], &[]);
        for choice in &chosen.choices {
            made.ids.push(choice.id);
            if !ENDS.contains(choice.id) {
                made.bytes.extend_from_slice(&PIECES[choice.id as usize]);
            }
        }
        match chosen.next {
            Next::More => {}
            Next::End | Next::Complete => made.has_ended = true,
            Next::Failed(code) => panic!("{code} after {:?}", String::from_utf8_lossy(&made.bytes)),
        }
    }
    made
}

pub(crate) fn answer(matcher: Matcher, seed: u64, tokens_max: usize) -> Made {
    run(
        &mut Chooser::new(&warm(), 0, None, Some(matcher), ENDS.clone()),
        seed,
        tokens_max,
    )
}
