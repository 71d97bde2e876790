//! P9, P10, P11: a killed worker, a closed tab, and more asked than the KV pool holds.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::task::JoinSet;

use super::Values;
use super::speed::full_length;
use crate::client::Client;
use crate::processes::until_idle;
use crate::round::Round;
use crate::server::{Server, Side};

/// Time for what was computed to reach the disk before the kill: the prefix is known, not fresh.
const SETTLE: Duration = Duration::from_secs(3);
/// Longest wait for a new worker.
const RESTART_TIME_MAX: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(10);
/// Part of the time that a long prompt takes, after which its reader leaves.
const LEAVE_AFTER: f64 = 0.25;
/// Streams that ask for twice the KV pool together.
const GREEDY_STREAMS: u32 = 8;

/// P9: the first request after a kill -9 of the worker, on a prefix that was known before, against a cold one.
/// Ours only: the peer has nothing that outlives it.
pub(super) async fn worker_killed(server: &Server, round: &Round<'_>) -> anyhow::Result<Values> {
    if server.side != Side::Ours {
        return Ok(Values::new());
    }
    let client = &server.client;
    let mut dice = round.dice("worker killed");
    let document = round.text(round.sizes.document, &mut dice);
    let question = |dice: &mut _| round.ask(16, 4, dice).under(document.clone()).cached();
    let cold = client.ask(&question(&mut dice)).await?.first_token_seconds()?;
    tokio::time::sleep(SETTLE).await;

    let killed = server.kill_worker()?;
    wait_for_new_worker(server, round, killed).await?;
    let known = client.ask(&question(&mut dice)).await?;
    let mut values = vec![
        ("cold_ttft_ms", 1000.0 * cold),
        ("known_after_kill_ttft_ms", 1000.0 * known.first_token_seconds()?),
        ("known_after_kill_of_cold", known.first_token_seconds()? / cold),
        (
            "known_after_kill_computed_tokens",
            f64::from(u32::try_from(known.computed_tokens)?),
        ),
    ];

    // The same from the kill on: what a person sees who asks at that moment.
    tokio::time::sleep(SETTLE).await;
    let ask = question(&mut dice);
    let kill = Instant::now();
    server.kill_worker()?;
    let answer = loop {
        match client.ask(&ask).await {
            Ok(answer) => break answer,
            Err(error) => ensure!(
                kill.elapsed() < RESTART_TIME_MAX,
                "no answer after a kill: {error:#}"
            ),
        }
        tokio::time::sleep(RETRY).await;
    };
    let first = answer.marks.first().context("an answer held no text")?;
    values.push(("known_from_kill_ms", 1000.0 * (*first - kill).as_secs_f64()));
    Ok(values)
}

/// Until a new worker answers a request of a few tokens.
async fn wait_for_new_worker(server: &Server, round: &Round<'_>, killed: u32) -> anyhow::Result<()> {
    let begin = Instant::now();
    let ask = round.ask(4, 1, &mut round.dice("is it back"));
    while server.worker_pid().is_ok_and(|pid| pid == killed) || server.client.ask(&ask).await.is_err() {
        ensure!(begin.elapsed() < RESTART_TIME_MAX, "no new worker came");
        tokio::time::sleep(RETRY).await;
    }
    Ok(())
}

/// P10: from a closed connection in the middle of a long prompt to a processor that is idle.
pub(super) async fn disconnect(server: &Server, round: &Round<'_>) -> anyhow::Result<Values> {
    let ask = round.ask(round.sizes.long, 8, &mut round.dice("disconnect"));
    let pid = server.worker_pid()?;
    let reading = server.client.begin(&ask).await?;
    tokio::time::sleep(Duration::from_secs_f64(round.long_seconds * LEAVE_AFTER)).await;
    ensure!(!reading.has_more(), "the prompt was read before its reader left");
    drop(reading);
    // The connection closes when its task ends, within this turn of the runtime.
    tokio::task::yield_now().await;
    let left = Instant::now();
    let (seconds, used) = until_idle(pid, left).await?;
    Ok(vec![
        ("disconnect_to_idle_ms", 1000.0 * seconds),
        ("disconnect_cpu_seconds", used),
    ])
}

/// P11: eight streams that ask for twice the KV pool together; each alone would fit. How many do not get what they asked
/// for.
pub(super) async fn kv_twice_over(
    client: &Client,
    round: &Round<'_>,
    kv_tokens: u32,
) -> anyhow::Result<Values> {
    // Each asks for a quarter of the pool: half of it prompt, half of it answer.
    let part = kv_tokens / GREEDY_STREAMS;
    let mut dice = round.dice("kv twice over");
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..GREEDY_STREAMS {
        let ask = round.ask(usize::try_from(part)?, part, &mut dice);
        let link = client.open().await?;
        tasks.spawn(async move { full_length(&link.ask(&ask, None).await?, part) });
    }
    let mut failed = 0_u32;
    while let Some(answer) = tasks.join_next().await {
        failed += u32::from(answer?.is_err());
    }
    Ok(vec![
        ("failed_requests", f64::from(failed)),
        ("kv_twice_over_seconds", begin.elapsed().as_secs_f64()),
    ])
}
