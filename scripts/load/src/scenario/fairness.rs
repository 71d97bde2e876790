//! P16: one stream of one tenant beside fifteen of another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::task::JoinSet;

use super::Values;
use crate::ask::Ask;
use crate::client::Client;
use crate::figures::jain;
use crate::round::Round;
use crate::server::{Programs, Server};

/// Requests that the greedy tenant keeps waiting or running at any time.
const MANY: u64 = 15;
/// Prompt and answer of each request, none of them like another: a box's usual mixture of reading and writing.
const PROMPT: usize = 256;
const ANSWER: u32 = 32;
/// Pause after a refusal: the queue of a tenant is bounded.
const PAUSE: Duration = Duration::from_millis(100);

/// P16: Jain's index over what the two tenants got of the machine in a window: tokens read and written per second.
///
/// Both always have something waiting. Each request asks for the same; whoever is served gets the next one ready at once.
pub(super) async fn two_tenants(
    server: &Server,
    round: &Round<'_>,
    programs: &Programs,
) -> anyhow::Result<Values> {
    let second = server.second_tenant(programs)?;
    let mut dice = round.dice("two tenants");
    let window = Duration::from_secs(round.sizes.window_seconds);
    let begin = Instant::now();
    let (many, one) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    for at in 0..=MANY {
        let (client, got) = if at < MANY {
            (server.client.clone(), Arc::clone(&many))
        } else {
            (second.clone(), Arc::clone(&one))
        };
        // More than anybody gets done in the window.
        let asks: Vec<Ask> = (0..64).map(|_| round.ask(PROMPT, ANSWER, &mut dice)).collect();
        tasks.spawn(keep_asking(client, asks, begin + window, got));
    }
    tokio::time::sleep_until((begin + window).into()).await;
    let got = [&one, &many].map(|it| it.load(Ordering::SeqCst));
    tasks.shutdown().await;
    let mut rates = Vec::new();
    for tokens in got {
        rates.push(f64::from(u32::try_from(tokens)?) / window.as_secs_f64());
    }
    let index = jain(&rates).context("nobody got anything")?;
    let [one, many] = *rates.as_slice() else {
        return Ok(Values::new());
    };
    Ok(vec![
        ("jain_of_tenants", index),
        ("tokens_per_second_of_one", one),
        ("tokens_per_second_of_fifteen", many),
    ])
}

/// Asks one after another and counts what comes back before the end.
async fn keep_asking(client: Client, asks: Vec<Ask>, end: Instant, got: Arc<AtomicU64>) {
    for ask in asks {
        let Ok(mut answer) = client.begin(&ask).await else {
            return;
        };
        let mut is_first = true;
        while let Some(mark) = answer.next().await {
            if mark > end {
                return;
            }
            // The prompt was read when the first token is there.
            let read = if is_first {
                u64::try_from(PROMPT).unwrap_or(0)
            } else {
                0
            };
            is_first = false;
            got.fetch_add(1 + read, Ordering::SeqCst);
        }
        if answer.finish().await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}
