//! What choosing one token costs, as JSON: nanoseconds per token for each way, at the vocabulary of the GLM models.
//!
//! Logits are drawn anew before each round, out of the cache and with a few likely tokens, as a model's are.

use std::error::Error;
use std::time::Instant;

use jingui_engine::sampling::{Random, Sampler, Workspace, logprobs};
use jingui_ipc::engine::Sampling;

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
    println!(
        "{}",
        serde_json::json!({"vocabulary": VOCABULARY, "ns_per_token": figures})
    );
    Ok(())
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
