//! P4, P5, P6: what a long prompt does to those who are served already, and what their peace costs it.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::task::JoinSet;

use super::Values;
use super::speed::full_length;
use crate::client::Client;
use crate::round::Round;

/// Tokens after which a stream counts as running.
const WARM_TOKENS: u32 = 16;
/// More than a stream makes while a long prompt is read.
const ENDLESS: u32 = 4000;
/// Answer to a long prompt.
const LONG_ANSWER: u32 = 8;
/// Prompt and answer of a short request.
const SHORT_PROMPT: usize = 20;
const SHORT_ANSWER: u32 = 8;
/// Short requests while two long prompts are read: with those two as many as there are places, so nobody waits for one.
const SHORT_COUNT: u32 = 6;

/// P4 and P6: the worst gap of a running stream while a long prompt arrives, and how long the long one takes.
pub(super) async fn long_beside_stream(client: &Client, round: &Round<'_>) -> anyhow::Result<Values> {
    let mut dice = round.dice("long beside stream");
    let stream = round.ask(32, ENDLESS, &mut dice);
    let long = round.ask(round.sizes.long, LONG_ANSWER, &mut dice);
    let long_link = client.open().await?;
    let mut running = client.begin(&stream).await?;
    for _ in 0..WARM_TOKENS {
        running.next().await.context("the stream ended early")?;
    }
    let answer = long_link.ask(&long, None).await?;
    full_length(&answer, LONG_ANSWER)?;
    let mut seen = vec![answer.sent];
    // Up to the first token after the end of the long one, so that a gap that is still open counts.
    while seen.last().is_some_and(|last| *last <= answer.ended) {
        seen.push(running.next().await.context("the stream ended early")?);
    }
    // Closes its connection: the rest of the stream is of no use.
    drop(running);
    Ok(vec![
        ("worst_gap_ms", 1000.0 * worst_gap(&seen)),
        ("long_beside_stream_seconds", answer.seconds()),
        (
            "long_prompt_tokens",
            f64::from(u32::try_from(answer.prompt_tokens)?),
        ),
    ])
}

/// Longest time between two moments in a row.
fn worst_gap(moments: &[Instant]) -> f64 {
    moments
        .windows(2)
        .filter_map(|pair| Some(pair.last()?.saturating_duration_since(*pair.first()?)))
        .max()
        .unwrap_or_default()
        .as_secs_f64()
}

/// P5 and P6: time to the first token of short requests while two long prompts are read, and how long these take.
pub(super) async fn short_beside_long(client: &Client, round: &Round<'_>) -> anyhow::Result<Values> {
    let mut dice = round.dice("short beside long");
    let mut long = JoinSet::new();
    for _ in 0..2 {
        let ask = round.ask(round.sizes.long, LONG_ANSWER, &mut dice);
        let link = client.open().await?;
        long.spawn(async move { link.ask(&ask, None).await });
    }
    let begin = Instant::now();
    // All come while the long prompts are read: these take two times `long_seconds` together.
    let pace = Duration::from_secs_f64(round.long_seconds * 1.6 / f64::from(SHORT_COUNT));
    let mut short = JoinSet::new();
    for at in 0..SHORT_COUNT {
        let ask = round.ask(SHORT_PROMPT, SHORT_ANSWER, &mut dice);
        let client = client.clone();
        short.spawn(async move {
            tokio::time::sleep_until((begin + pace * at + pace / 2).into()).await;
            client.ask(&ask).await
        });
    }
    let mut values = Vec::new();
    let mut ends = Vec::new();
    while let Some(answer) = long.join_next().await {
        let answer = answer??;
        full_length(&answer, LONG_ANSWER)?;
        ends.push((answer.ended - begin).as_secs_f64());
    }
    let makespan = ends.iter().copied().fold(0.0, f64::max);
    while let Some(answer) = short.join_next().await {
        let answer = answer??;
        full_length(&answer, SHORT_ANSWER)?;
        // One that came after the long ones had ended says nothing.
        if (answer.sent - begin).as_secs_f64() < makespan {
            values.push(("short_ttft_ms", 1000.0 * answer.first_token_seconds()?));
        }
    }
    ensure!(!values.is_empty(), "no short request came in time");
    values.push(("two_long_beside_short_seconds", makespan));
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_gap_is_the_longest() {
        let begin = Instant::now();
        let moments = [0, 10, 15, 95, 100].map(|it| begin + Duration::from_millis(it));
        assert!((worst_gap(&moments) - 0.08).abs() < 1e-9);
        assert!(worst_gap(&[begin]) < 1e-9);
    }
}
