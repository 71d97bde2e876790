//! P14: what it costs to keep an answer to a JSON Schema, and whether it is kept.

use anyhow::ensure;

use super::Values;
use super::schema::{fault, invoice};
use crate::client::Client;
use crate::round::Round;

/// Answers with the schema and as many without.
const ANSWERS: u64 = 4;

/// P14: time per token with and without a schema, in turns, and the share of answers that are valid or say themselves
/// that they were cut at the wished length.
pub(super) async fn json_schema(client: &Client, round: &Round<'_>) -> anyhow::Result<Values> {
    let mut dice = round.dice("schema");
    let schema = invoice();
    let (mut shaped_seconds, mut shaped_tokens) = (0.0, 0.0);
    let (mut free_seconds, mut free_tokens) = (0.0, 0.0);
    let (mut kept, mut cut) = (0_u32, 0_u32);
    for at in 0..ANSWERS {
        let ask = round
            .ask(64, 2 * round.sizes.answer, &mut dice)
            .without(&round.words.special_and_blank())
            .sampled(round.repeat * ANSWERS + at);
        let shaped = client.ask(&ask.clone().shaped(&schema)).await?;
        let free = client.ask(&ask).await?;
        let (seconds, tokens) = spent(shaped.decode_rate()?, shaped.completion_tokens);
        shaped_seconds += seconds;
        shaped_tokens += tokens;
        let (seconds, tokens) = spent(free.decode_rate()?, free.completion_tokens);
        free_seconds += seconds;
        free_tokens += tokens;
        if shaped.finish.as_deref() == Some("length") {
            cut += 1;
        } else {
            let wrong = match serde_json::from_str(&shaped.text) {
                Ok(value) => fault(&value, &schema),
                Err(error) => Some(error.to_string()),
            };
            kept += u32::from(wrong.is_none());
        }
    }
    ensure!(
        shaped_tokens > 0.0 && free_tokens > 0.0,
        "no answer had two tokens"
    );
    let (shaped, free) = (shaped_seconds / shaped_tokens, free_seconds / free_tokens);
    let answers = f64::from(u32::try_from(ANSWERS)?);
    Ok(vec![
        ("schema_overhead", shaped / free - 1.0),
        ("schema_ms_per_token", 1000.0 * shaped),
        ("free_ms_per_token", 1000.0 * free),
        ("schema_valid_or_cut_share", f64::from(kept + cut) / answers),
        ("schema_cut_share", f64::from(cut) / answers),
    ])
}

/// Seconds and tokens between the first and the last token.
fn spent(rate: f64, completion_tokens: u64) -> (f64, f64) {
    let tokens = f64::from(u32::try_from(completion_tokens.saturating_sub(1)).unwrap_or(u32::MAX));
    (tokens / rate, tokens)
}
