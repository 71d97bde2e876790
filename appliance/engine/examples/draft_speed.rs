//! What guesses gain: decoding with and without them, in turns, on a model and a text that it recites.
//!
//! `draft_speed MODEL.gguf TEXT_FILE [ROUNDS] [THREADS]`: the prompt is the text, exact (copy) or with one of 24 characters wrong
//! (edit); the answer is as long as the text. Free text is sampled at temperature 1. Prints tokens per second with and without
//! guesses, medians. `scripts/bench` measures the same over HTTP; this is for work on the policy.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use anyhow::{Context as _, bail};
use jingui_ipc::Channel;
use jingui_ipc::engine::{CacheUse, FromEngine, Generate, Load, Order, Report, Sampling, Segment, ToEngine};

const CONTEXT_TOKENS: u32 = 2_048;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().context("a model is needed")?;
    let text_path = arguments.next().context("a text is needed")?;
    let rounds: u32 = arguments.next().map_or(Ok(5), |rounds| rounds.parse())?;
    let threads: u32 = arguments.next().map_or(Ok(1), |threads| threads.parse())?;
    let text = std::fs::read_to_string(text_path)?;
    let length = u32::try_from(text.chars().count())?.saturating_sub(16);
    let edited: String = text
        .chars()
        .enumerate()
        .map(|(at, right)| if at % 24 == 23 { '字' } else { right })
        .collect();
    let mut engine = Engine::start(&model, threads)?;
    for (what, prompt, temperature) in [
        ("copy", &text, 1e-6),
        ("edit", &edited, 1e-6),
        ("free", &text, 1.0),
    ] {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            for (seed, rates) in [(None, &mut with), (Some(7), &mut without)] {
                let rate = engine.rate(prompt, temperature, seed, length)?;
                // The first round warms up.
                if round > 0 {
                    rates.push(rate);
                }
            }
        }
        let (with, without) = (median(&mut with), median(&mut without));
        println!(
            "{what}: {with:.1} with guesses, {without:.1} without: {:.2}",
            with / without
        );
    }
    Ok(())
}

struct Engine {
    gateway: Channel,
    stream_count: u64,
}

impl Engine {
    fn start(model: &str, threads: u32) -> anyhow::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let weights = File::open(model)?;
        let order = Load::new(weights.metadata()?.len(), threads, 1, CONTEXT_TOKENS);
        std::thread::spawn(move || jingui_engine::serve(Channel::new(theirs), weights.into(), 0));
        let mut supervisor = Channel::new(ours);
        supervisor.send(&Order::Load(order))?;
        loop {
            match supervisor.receive()? {
                Report::Serving { .. } => break,
                Report::Failed { code } => bail!("the engine did not load the model: {code}"),
                Report::Confined { .. } | Report::Loading { .. } | Report::Beat { .. } => {}
            }
        }
        let (gateway, theirs) = UnixStream::pair()?;
        supervisor.send_with(&Order::Gateway, &[theirs.as_fd()])?;
        std::thread::spawn(move || {
            let mut drafted = 0;
            while let Ok(report) = supervisor.receive::<Report>() {
                if let Report::Beat { figures, .. } = report
                    && figures.drafted_tokens > drafted
                {
                    drafted = figures.drafted_tokens;
                    eprintln!("{drafted} guessed, {} right", figures.accepted_tokens);
                }
            }
        });
        Ok(Self {
            gateway: Channel::new(gateway),
            stream_count: 0,
        })
    }

    /// Tokens per second after the first one. A seed switches guessing off; so near to greedy it changes nothing else.
    fn rate(
        &mut self,
        prompt: &str,
        temperature: f32,
        seed: Option<u64>,
        tokens: u32,
    ) -> anyhow::Result<f64> {
        self.stream_count += 1;
        let generate = Generate {
            completion_tokens_max: Some(tokens),
            // Otherwise a later round would find this one's answer among the recent ones.
            cache: CacheUse::Off,
            sampling: Sampling {
                temperature,
                seed,
                ..Sampling::GREEDY
            },
            ..Generate::new(self.stream_count, vec![Segment::Text(prompt.to_owned())])
        };
        self.gateway.send(&ToEngine::Generate(Box::new(generate)))?;
        let mut first = None;
        let mut count = 0_u32;
        loop {
            match self.gateway.receive()? {
                FromEngine::Token(_) if first.is_none() => first = Some(Instant::now()),
                FromEngine::Token(_) => count += 1,
                FromEngine::Done { .. } => {
                    let first = first.context("no token came")?;
                    return Ok(f64::from(count) / first.elapsed().as_secs_f64());
                }
                _ => {}
            }
        }
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
