//! What choosing one token costs, as JSON: nanoseconds per token for each way, at the vocabulary of the GLM models.
//!
//! Logits are drawn, out of the cache and with a few likely tokens, as a model's are. With the path of a GGUF file it also
//! says what a JSON Schema costs with that vocabulary: reading it, compiling, and one token inside the schema.

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jingui_engine::choose::{Chooser, Next};
use jingui_engine::constraint::Constraints;
use jingui_engine::sampling::{Random, Sampler, Workspace, logprobs};
use jingui_ipc::engine::{Constraint, Grammar, Sampling};
use jingui_llama::Model;

/// GLM-4.5 and later.
const VOCABULARY: usize = 151_552;
/// Rows that are looked at in turn; together larger than the second cache.
const ROW_COUNT: usize = 16;
const TOKENS_PER_WAY: usize = 1_600;

fn main() -> Result<(), Box<dyn Error>> {
    let rows: Vec<Vec<f32>> = (0..ROW_COUNT as u64).map(row).collect();
    let flat: Vec<Vec<f32>> = rows
        .iter()
        .map(|row| row.iter().map(|logit| logit * 0.05).collect())
        .collect();
    let half: Vec<u32> = (0..VOCABULARY.div_ceil(32))
        .map(|word| if word % 2 == 0 { u32::MAX } else { 0x5a5a_5a5a })
        .collect();
    let few: Vec<u32> = (0..VOCABULARY.div_ceil(32))
        .map(|word| u32::from(word % 400 == 7))
        .collect();
    let plain = Sampling {
        temperature: 0.8,
        seed: Some(1),
        ..Sampling::GREEDY
    };
    let top_k = Sampling {
        top_k: 40,
        top_p: 0.95,
        ..plain.clone()
    };
    let top_p = Sampling {
        top_p: 0.9,
        ..plain.clone()
    };
    let penalties = Sampling {
        presence_penalty: 0.5,
        frequency_penalty: 0.5,
        ..top_k.clone()
    };
    let ways = [
        ("greedy", &Sampling::GREEDY, &rows, None),
        ("top_k_40", &top_k, &rows, None),
        ("top_p_0.9", &top_p, &rows, None),
        ("top_p_0.9_flat", &top_p, &flat, None),
        ("temperature", &plain, &rows, None),
        (
            "min_p_0.05",
            &Sampling {
                min_p: 0.05,
                ..plain.clone()
            },
            &rows,
            None,
        ),
        ("penalties", &penalties, &rows, None),
        ("mask_wide", &top_k, &rows, Some(&half)),
        ("mask_narrow", &top_k, &rows, Some(&few)),
    ];
    let mut figures = serde_json::Map::new();
    for (name, settings, rows, mask) in ways {
        figures.insert(
            name.to_owned(),
            nanoseconds(settings, rows, mask.map(Vec::as_slice))?.into(),
        );
    }
    figures.insert("logprobs_20".to_owned(), report(&rows).into());
    let mut report = serde_json::json!({"vocabulary": VOCABULARY, "ns_per_token": figures});
    if let (Some(path), Some(fields)) = (std::env::args_os().nth(1), report.as_object_mut()) {
        fields.insert("constraint".to_owned(), constraint(Path::new(&path))?);
    }
    println!("{report}");
    Ok(())
}

/// What answers inside a schema cost, all but the model.
fn constraint(path: &Path) -> Result<serde_json::Value, Box<dyn Error>> {
    const SCHEMA: &str = r#"{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"},
        "tags":{"type":"array","items":{"type":"string"}},"kind":{"enum":["red","green","blue"]}},
        "required":["name","age","tags","kind"],"additionalProperties":false}"#;
    const ANSWER_COUNT: u64 = 10;
    const TOKENS_MAX: usize = 100;
    let model = Arc::new(Model::load(File::open(path)?.into(), |_| true)?);
    let vocabulary = usize::try_from(model.vocab_size())?;
    let began = Instant::now();
    let constraints = Constraints::new(model)?;
    let read = began.elapsed();
    let asked = Constraint {
        opened_by: None,
        after: None,
        grammar: Grammar::JsonSchema(SCHEMA.to_owned()),
    };
    let settings = Sampling {
        temperature: 1.0,
        ..Sampling::GREEDY
    };
    let (mut compiling, mut choosing, mut plain) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut masks = Vec::new();
    for seed in 0..ANSWER_COUNT {
        let began = Instant::now();
        let matcher = constraints.compile(&asked)?;
        compiling += began.elapsed();
        let mut held = Chooser::new(&settings, seed, None, Some(matcher), constraints.ends().clone());
        let mut free = Chooser::new(&settings, seed, None, None, constraints.ends().clone());
        let row: Vec<f32> = row(seed).into_iter().cycle().take(vocabulary).collect();
        for _ in 0..TOKENS_MAX {
            let began = Instant::now();
            held.prepare();
            masks.push(began.elapsed());
            let next = held.choose_chain(&[&row], &[]).next;
            choosing += began.elapsed();
            let began = Instant::now();
            std::hint::black_box(free.choose_chain(&[&row], &[]));
            plain += began.elapsed();
            if next != Next::More {
                break;
            }
        }
    }
    masks.sort_unstable();
    let token_count = u128::try_from(masks.len())?.max(1);
    let place = |part: usize| masks.get(masks.len() * part / 100).map(Duration::as_nanos);
    Ok(serde_json::json!({
        "vocabulary": vocabulary,
        "read_vocabulary_ms": read.as_millis(),
        "compile_us": compiling.as_micros() / u128::from(ANSWER_COUNT),
        "held_ns_per_token": choosing.as_nanos() / token_count,
        "free_ns_per_token": plain.as_nanos() / token_count,
        "mask_ns_median": place(50),
        "mask_ns_p95": place(95),
    }))
}

/// The median over rounds, each of which looks at every row once.
fn nanoseconds(settings: &Sampling, rows: &[Vec<f32>], mask: Option<&[u32]>) -> Result<u64, Box<dyn Error>> {
    let mut sampler = Sampler::new(settings, 0);
    let mut workspace = Workspace::default();
    let mut rounds = Vec::new();
    for _ in 0..TOKENS_PER_WAY / ROW_COUNT {
        let began = Instant::now();
        for row in rows {
            sampler
                .choose_among(row, mask, &mut workspace)
                .ok_or("no token")?;
        }
        rounds.push(began.elapsed());
    }
    rounds.sort_unstable();
    let median = rounds.get(rounds.len() / 2).ok_or("no round")?;
    Ok(u64::try_from(median.as_nanos())? / u64::try_from(rows.len())?)
}

fn report(rows: &[Vec<f32>]) -> u64 {
    let began = Instant::now();
    let mut count = 0;
    for row in rows.iter().cycle().take(TOKENS_PER_WAY / 4) {
        std::hint::black_box(logprobs(row, 0, 20));
        count += 1;
    }
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX) / count
}

/// Nearly normal, with a few that stand out.
fn row(seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    let mut unit = || (random.next_u64() >> 40) as f32 / (1u64 << 24) as f32;
    let mut row: Vec<f32> = (0..VOCABULARY)
        .map(|_| ((0..4).map(|_| unit()).sum::<f32>() - 2.0) * 3.0 - 8.0)
        .collect();
    for _ in 0..60 {
        let place = (unit() * VOCABULARY as f32) as usize % VOCABULARY;
        let height = unit() * 12.0;
        if let Some(logit) = row.get_mut(place) {
            *logit += height;
        }
    }
    row
}
