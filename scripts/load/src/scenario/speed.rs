//! P1, P2, P3: how fast one stream decodes, one prompt is read, and eight streams decode together.

use std::time::Instant;

use anyhow::{Context, ensure};
use tokio::task::JoinSet;

use super::Values;
use crate::client::{Answer, Client};
use crate::round::Round;

/// Streams that decode together.
const STREAMS: u64 = 8;

/// P1: tokens per second of one stream.
pub(super) async fn decode(client: &Client, round: &Round<'_>) -> anyhow::Result<Values> {
    let ask = round.ask(32, 2 * round.sizes.answer, &mut round.dice("decode"));
    let answer = client.ask(&ask).await?;
    full_length(&answer, 2 * round.sizes.answer)?;
    Ok(vec![("decode_tokens_per_second", answer.decode_rate()?)])
}

/// P2: prompt tokens per second of one prompt, to its first token.
pub(super) async fn prefill(client: &Client, round: &Round<'_>) -> anyhow::Result<Values> {
    let ask = round.ask(round.sizes.document, 1, &mut round.dice("prefill"));
    let answer = client.ask(&ask).await?;
    ensure!(
        answer.computed_tokens == answer.prompt_tokens,
        "a cold prompt was not computed in full"
    );
    let tokens = f64::from(u32::try_from(answer.prompt_tokens)?);
    Ok(vec![
        ("prefill_tokens", tokens),
        (
            "prefill_tokens_per_second",
            tokens / answer.first_token_seconds()?,
        ),
    ])
}

/// P3: tokens per second of eight sampled streams together, while all of them run.
pub(super) async fn eight_streams(client: &Client, round: &Round<'_>) -> anyhow::Result<Values> {
    let answers = together(client, round, STREAMS, 16, round.sizes.answer).await?;
    let (begin, end) = common_time(&answers)?;
    let count = answers
        .iter()
        .flat_map(|answer| &answer.marks)
        .filter(|mark| **mark > begin && **mark <= end)
        .count();
    let tokens = f64::from(u32::try_from(count)?);
    Ok(vec![(
        "decode_of_8_tokens_per_second",
        tokens / (end - begin).as_secs_f64(),
    )])
}

/// Sampled streams with prompts of their own, started together.
pub(super) async fn together(
    client: &Client,
    round: &Round<'_>,
    streams: u64,
    prompt_tokens: usize,
    answer_tokens: u32,
) -> anyhow::Result<Vec<Answer>> {
    let mut dice = round.dice("together");
    let mut tasks = JoinSet::new();
    for stream in 0..streams {
        let ask = round
            .ask(prompt_tokens, answer_tokens, &mut dice)
            .sampled(round.repeat * streams + stream);
        let link = client.open().await?;
        tasks.spawn(async move { link.ask(&ask, None).await });
    }
    let mut answers = Vec::new();
    while let Some(answer) = tasks.join_next().await {
        let answer = answer??;
        full_length(&answer, answer_tokens)?;
        answers.push(answer);
    }
    Ok(answers)
}

/// From the moment when the last one had its first token to the moment when the first one had its last.
fn common_time(answers: &[Answer]) -> anyhow::Result<(Instant, Instant)> {
    let begin = answers.iter().filter_map(|it| it.marks.first()).max();
    let end = answers.iter().filter_map(|it| it.marks.last()).min();
    let (begin, end) = begin.zip(end).context("no stream ran")?;
    ensure!(end > begin, "the streams never ran all at once");
    Ok((*begin, *end))
}

/// An answer that ended early would not compare.
pub(super) fn full_length(answer: &Answer, tokens: u32) -> anyhow::Result<()> {
    ensure!(
        answer.completion_tokens == u64::from(tokens),
        "{} of {tokens} tokens came",
        answer.completion_tokens
    );
    Ok(())
}
