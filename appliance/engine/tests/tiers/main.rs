//! The cache's tiers and the guesses inside the real engine, on the canary, whose right answers are known: a wrong
//! answer after a block came back from disk, or behind a guess, is a wrong engine; somebody else's code is a leak.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "helpers of tests fail by panicking, as tests do; these serve other tests, too"
)]

#[path = "../engine/harness.rs"]
mod harness;

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;

use harness::{Case, Engine, Gateway, PATIENCE, cases, chat, model_path, order, request};
use jingui_ipc::Channel;
use jingui_ipc::engine::{CacheUse, DiskTier, Figures, FromEngine, Generate, Order, Report, Tenant, TierKey};

const BLOCK_TOKENS: u32 = 128;
const DISK_BYTES_MAX: u64 = 64 << 20;

/// An engine whose pool holds one stream and hardly more, with these tiers behind it.
fn serving(host_tier_bytes: u64, disk: Option<&File>) -> Engine {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    let weights = File::open(model_path()).unwrap();
    let handed = disk.map(|file| file.try_clone().unwrap().into());
    let thread = std::thread::spawn(move || {
        jingui_engine::serve::serve_with(Channel::new(theirs), weights.into(), handed, 7)
    });
    let mut engine = Engine {
        supervisor: Channel::new(ours),
        thread,
    };
    assert_eq!(engine.report(), Report::Confined { landlock_abi: 7 });
    let mut load = order(1, 2048);
    load.kv_tokens = 2048;
    load.host_tier_bytes = host_tier_bytes;
    load.disk_tier = disk.map(|_| DiskTier {
        bytes_max: DISK_BYTES_MAX,
        weights_sha256: [4; 32],
        key: TierKey([9; 32]),
    });
    engine.supervisor.send(&Order::Load(load)).unwrap();
    let report = engine.report_but_loading();
    assert!(matches!(report, Report::Serving { .. }), "{report:?}");
    engine
}

fn drained(mut engine: Engine) {
    engine
        .supervisor
        .send(&Order::Drain { deadline_ms: 60_000 })
        .unwrap();
    engine.end().unwrap();
}

/// Text and cached tokens of an answer.
fn answer(gateway: &mut Gateway, generate: Generate) -> (String, u32) {
    let wanted = generate.stream;
    gateway.generate(generate);
    let mut bytes = Vec::new();
    loop {
        match gateway.event() {
            FromEngine::Token(token) if token.stream == wanted => bytes.extend(token.bytes),
            FromEngine::Done {
                stream,
                cached_tokens,
                ..
            } if stream == wanted => return (String::from_utf8(bytes).unwrap(), cached_tokens),
            _ => {}
        }
    }
}

/// The cases whose prompts have whole blocks.
fn long_cases() -> Vec<Case> {
    cases()
        .into_iter()
        .filter(|case| case.prompt_tokens > 2 * BLOCK_TOKENS)
        .collect()
}

fn case_of(stream: u64, case: &Case, tenant: u8) -> Generate {
    Generate {
        tenant: Tenant([tenant; 16]),
        ..request(stream, case.prompt.clone())
    }
}

/// Asks all, each of which pushes what went before out of the pool. Returns cached tokens by case.
fn ask_all(engine: &mut Engine, cases: &[Case], tenant: u8, cache: CacheUse) -> HashMap<String, u32> {
    let mut gateway = engine.connect();
    let mut cached = HashMap::new();
    for (stream, case) in (0..).zip(cases) {
        let generate = Generate {
            cache,
            ..case_of(stream, case, tenant)
        };
        let (text, cached_tokens) = answer(&mut gateway, generate);
        assert_eq!(text, case.reference_output, "{}", case.id);
        cached.insert(case.id.clone(), cached_tokens);
    }
    cached
}

fn whole_blocks(case: &Case) -> u32 {
    (case.prompt_tokens - 1) / BLOCK_TOKENS * BLOCK_TOKENS
}

#[test]
fn answers_are_right_after_blocks_came_back_from_memory() {
    let cases = long_cases();
    assert!(cases.len() >= 10);
    let mut engine = serving(256 << 20, None);
    ask_all(&mut engine, &cases, 1, CacheUse::Use);
    let cached = ask_all(&mut engine, &cases, 1, CacheUse::Use);
    for case in &cases {
        assert!(cached[&case.id] >= whole_blocks(case), "{}: {cached:?}", case.id);
    }
    drained(engine);
}

#[test]
fn a_new_worker_answers_from_what_the_old_one_left_on_disk() {
    let cases = long_cases();
    let disk = tempfile::tempfile().unwrap();
    let mut old = serving(0, Some(&disk));
    ask_all(&mut old, &cases, 1, CacheUse::Use);
    drained(old);
    let mut new = serving(0, Some(&disk));
    let cached = ask_all(&mut new, &cases, 1, CacheUse::Use);
    for case in &cases {
        assert!(cached[&case.id] >= whole_blocks(case), "{}: {cached:?}", case.id);
    }
    drained(new);
}

#[test]
fn another_tenant_and_who_wants_no_cache_get_nothing_from_the_tiers() {
    let cases = long_cases();
    let disk = tempfile::tempfile().unwrap();
    let mut old = serving(0, Some(&disk));
    ask_all(&mut old, &cases[..3], 1, CacheUse::Use);
    ask_all(&mut old, &cases[3..6], 1, CacheUse::Off);
    drained(old);
    let mut new = serving(0, Some(&disk));
    let others = ask_all(&mut new, &cases[..3], 2, CacheUse::Use);
    let without = ask_all(&mut new, &cases[..3], 1, CacheUse::Off);
    let not_left = ask_all(&mut new, &cases[3..6], 1, CacheUse::Use);
    // Templates of the same tenant may share less than a block's worth with another case.
    assert!(others.values().all(|cached| *cached < BLOCK_TOKENS), "{others:?}");
    assert!(without.values().all(|cached| *cached == 0), "{without:?}");
    assert!(
        not_left.values().all(|cached| *cached < BLOCK_TOKENS),
        "{not_left:?}"
    );
    drained(new);
}

#[test]
fn answers_are_right_when_the_disk_alters_what_it_holds() {
    let cases = long_cases();
    let disk = tempfile::tempfile().unwrap();
    let mut old = serving(0, Some(&disk));
    ask_all(&mut old, &cases, 1, CacheUse::Use);
    drained(old);
    let length = disk.metadata().unwrap().len();
    for at in (0..length).step_by(300_007) {
        disk.write_all_at(&[0xa5; 64], at).unwrap();
    }
    let mut new = serving(0, Some(&disk));
    ask_all(&mut new, &cases, 1, CacheUse::Use);
    drained(new);
}

#[test]
fn a_disk_that_cannot_be_written_costs_no_answer() {
    let cases = long_cases();
    let full = File::options().read(true).write(true).open("/dev/full").unwrap();
    let mut engine = serving(0, Some(&full));
    ask_all(&mut engine, &cases[..4], 1, CacheUse::Use);
    drained(engine);
}

/// The figures once so many tokens were made.
fn figures(engine: &mut Engine, completion_tokens: u64) -> Figures {
    loop {
        if let Report::Beat { figures, .. } = engine.report()
            && figures.completion_tokens >= completion_tokens
        {
            return figures;
        }
    }
}

#[test]
fn copies_are_guessed_and_stay_right() {
    let words = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu";
    let mut engine = serving(0, None);
    let mut gateway = engine.connect();
    let ask = |gateway: &mut Gateway, stream| answer(gateway, chat(stream, &format!("repeat: {words}"))).0;
    let first = ask(&mut gateway, 1);
    for stream in 2..8 {
        assert_eq!(ask(&mut gateway, stream), first);
    }
    // A word is a token at least.
    let figures = figures(&mut engine, 7 * words.split(' ').count() as u64);
    assert!(figures.accepted_tokens > 0, "{figures:?}");
    assert!(figures.accepted_tokens <= figures.drafted_tokens);
    drained(engine);
}
