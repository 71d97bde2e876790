//! How fast the engine is with a given GGUF file, measured through its sockets as the gateway sees it.
//!
//! `engine_bench FILE.gguf [--threads N] [--prompt-tokens N] [--new-tokens N] [--repeats N] [--streams N,N]` prints
//! one JSON object whose figures end in `_per_second`. Prefill is one prompt alone in an engine for so many streams, to
//! its first token. Decode is the tokens of so many streams together, from the moment when each has its first one.
//! Medians over the repeats. Weights need not be trained: nothing depends on what
//! is said.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use jingui_ipc::Channel;
use jingui_ipc::engine::{CacheUse, Finish, FromEngine, Generate, Load, Order, Report, Segment, ToEngine};
use serde_json::json;

/// By then a prompt is in work.
const CANCEL_DELAY: Duration = Duration::from_millis(20);

fn main() -> anyhow::Result<()> {
    let options = Options::read(std::env::args().skip(1))?;
    let mut report = serde_json::Map::new();
    report.insert(
        "weights_bytes".to_owned(),
        json!(std::fs::metadata(&options.model)?.len()),
    );
    report.insert("threads".to_owned(), json!(options.threads));
    report.insert("prompt_tokens".to_owned(), json!(options.prompt_tokens));
    report.insert("new_tokens".to_owned(), json!(options.new_tokens));
    report.insert("repeats".to_owned(), json!(options.repeats));
    report.insert("cpu".to_owned(), json!(jingui_llama::system_facts()));
    for stream_count in &options.stream_counts {
        let mut engine = Engine::start(&options, *stream_count)?;
        let mut prefill = Vec::new();
        let mut decode = Vec::new();
        // The first round warms the caches and is not counted.
        for round in 0..=options.repeats {
            let prefilled = engine.prefill(&options)?;
            let decoded = engine.decode(&options, *stream_count)?;
            if round > 0 {
                prefill.push(prefilled);
                decode.push(decoded);
            }
        }
        report.insert(
            format!("prefill_of_{stream_count}_tokens_per_second"),
            json!(median(&mut prefill)),
        );
        report.insert(
            format!("decode_of_{stream_count}_tokens_per_second"),
            json!(median(&mut decode)),
        );
    }
    let mut cancels = Vec::new();
    let mut engine = Engine::start(&options, 1)?;
    for _ in 0..options.repeats {
        cancels.push(engine.cancel(&options)?);
    }
    report.insert(
        "cancel_in_prompt_milliseconds".to_owned(),
        json!(median(&mut cancels)),
    );
    println!("{:#}", serde_json::Value::Object(report));
    Ok(())
}

struct Options {
    model: String,
    threads: u32,
    prompt_tokens: u32,
    new_tokens: u32,
    repeats: u32,
    stream_counts: Vec<u32>,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self {
            model: String::new(),
            threads: threads_as_in_the_product(),
            prompt_tokens: 512,
            new_tokens: 64,
            repeats: 3,
            stream_counts: vec![1, 8],
        };
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .with_context(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                "--threads" => options.threads = value()?.parse()?,
                "--prompt-tokens" => options.prompt_tokens = value()?.parse()?,
                "--new-tokens" => options.new_tokens = value()?.parse()?,
                "--repeats" => options.repeats = value()?.parse()?,
                "--streams" => {
                    options.stream_counts = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?;
                }
                _ if argument.starts_with("--") => bail!("{argument} is not an option"),
                _ => options.model = argument,
            }
        }
        if options.model.is_empty() || options.repeats == 0 {
            bail!(
                "usage: engine_bench FILE.gguf [--threads N] [--prompt-tokens N] [--new-tokens N] [--repeats N]"
            );
        }
        Ok(options)
    }

    fn context_tokens(&self) -> u32 {
        // Some characters more than asked for may become tokens of their own.
        (self.prompt_tokens + self.new_tokens) * 2 + 64
    }
}

/// A processor is left to all else, as the supervisor does.
fn threads_as_in_the_product() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(processors.saturating_sub(1).max(1)).unwrap_or(u32::MAX)
}

struct Engine {
    /// The supervisor's side.
    end: UnixStream,
    gateway: Channel,
    stream_count: u64,
}

impl Drop for Engine {
    fn drop(&mut self) {
        // The engine ends with its supervisor; otherwise it would compute beside the next one.
        let _already_closed = self.end.shutdown(std::net::Shutdown::Both);
    }
}

impl Engine {
    fn start(options: &Options, stream_count: u32) -> anyhow::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let weights = File::open(&options.model)?;
        let order = Load::new(
            weights.metadata()?.len(),
            options.threads,
            stream_count,
            options.context_tokens(),
        );
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
        let end = supervisor.socket().try_clone()?;
        // An engine whose heartbeats pile up takes its supervisor for dead.
        std::thread::spawn(move || while supervisor.receive::<Report>().is_ok() {});
        Ok(Self {
            end,
            gateway: Channel::new(gateway),
            stream_count: 0,
        })
    }

    fn submit(&mut self, prompt_tokens: u32, new_tokens: u32) -> anyhow::Result<()> {
        self.stream_count += 1;
        // A digit and a space are two tokens in GLM vocabularies, or one; the engine tells how many it took.
        let text: String = (0..prompt_tokens / 2).map(|n| format!("{} ", n % 10)).collect();
        let generate = Generate {
            completion_tokens_max: Some(new_tokens),
            // Each round asks the same: it is to be computed each time.
            cache: CacheUse::Off,
            ..Generate::new(self.stream_count, vec![Segment::Text(text)])
        };
        Ok(self.gateway.send(&ToEngine::Generate(Box::new(generate)))?)
    }

    /// Prompt tokens per second of one prompt, to its first token.
    fn prefill(&mut self, options: &Options) -> anyhow::Result<f64> {
        let begin = Instant::now();
        self.submit(options.prompt_tokens, 1)?;
        loop {
            if let FromEngine::Done {
                finish,
                prompt_tokens,
                ..
            } = self.gateway.receive()?
            {
                expect_end(&finish)?;
                return Ok(rate(prompt_tokens, begin.elapsed()));
            }
        }
    }

    /// Milliseconds from the cancel of a prompt in work to its end.
    fn cancel(&mut self, options: &Options) -> anyhow::Result<f64> {
        self.submit(options.prompt_tokens, options.new_tokens)?;
        let mut begin = Instant::now();
        loop {
            match self.gateway.receive()? {
                FromEngine::Accepted { stream, .. } => {
                    std::thread::sleep(CANCEL_DELAY);
                    begin = Instant::now();
                    self.gateway.send(&ToEngine::Cancel { stream })?;
                }
                FromEngine::Done { .. } => {
                    return Ok((begin.elapsed().as_secs_f64() * 1e4).round() / 10.0);
                }
                _ => {}
            }
        }
    }

    /// Tokens per second of all streams together, once each has begun.
    fn decode(&mut self, options: &Options, stream_count: u32) -> anyhow::Result<f64> {
        for _ in 0..stream_count {
            self.submit(16, options.new_tokens)?;
        }
        let mut begun = std::collections::HashSet::new();
        let mut begin = Instant::now();
        let mut token_count = 0;
        let mut last = begin;
        let mut done_count = 0;
        while done_count < stream_count {
            match self.gateway.receive()? {
                FromEngine::Token(token) => {
                    if begun.len() < usize::try_from(stream_count)? {
                        begun.insert(token.stream);
                        begin = Instant::now();
                    } else {
                        token_count += 1;
                    }
                    last = Instant::now();
                }
                FromEngine::Done { finish, .. } => {
                    expect_end(&finish)?;
                    done_count += 1;
                }
                _ => {}
            }
        }
        Ok(rate(token_count, last - begin))
    }
}

fn expect_end(finish: &Finish) -> anyhow::Result<()> {
    match finish {
        Finish::Stop | Finish::Length => Ok(()),
        other => bail!("a stream ended by {other:?}"),
    }
}

fn rate(tokens: u32, time: Duration) -> f64 {
    let rate = f64::from(tokens) / time.as_secs_f64().max(1e-9);
    (rate * 10.0).round() / 10.0
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
