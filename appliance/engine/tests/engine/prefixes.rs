//! What is computed once and used again, and that nobody can tell but by the time.

use jingui_ipc::engine::{CacheUse, DiskTier, Finish, Generate, Load, Segment, Tenant, TierKey};

use crate::harness::{Answer, Engine, cases, endless, order, request};

fn of_tenant(tenant: u8, generate: Generate) -> Generate {
    Generate {
        tenant: Tenant([tenant; 16]),
        ..generate
    }
}

/// A long prompt of plain words that begins like others with the same `theme`.
fn long_prompt(theme: &str, words: usize, end: &str) -> Vec<Segment> {
    let body: String = (0..words)
        .map(|word| format!("{theme} {} ", word * 37 % 1000))
        .collect();
    vec![
        Segment::Scaffold("[gMASK]<sop><|user|>\n".to_owned()),
        Segment::Text(format!("{body}{end}")),
        Segment::Scaffold("<|assistant|>\n<think></think>".to_owned()),
    ]
}

#[test]
fn the_public_cases_are_answered_the_same_from_the_cache_with_eight_at_a_time() {
    let mut engine = Engine::serving(8, 2048);
    let mut gateway = engine.connect();
    let cases = cases();
    // Fewer in a group than there are sequences to keep their prefixes.
    for (group, batch) in cases.chunks(42).enumerate() {
        for pass in 0..2 {
            let first = u64::try_from(pass * 1000 + group * 100).unwrap();
            for (stream, case) in (first..).zip(batch) {
                gateway.generate(request(stream, case.prompt.clone()));
            }
            let answers = gateway.answers(first..first + batch.len() as u64);
            engine.skip_beats();
            for (stream, case) in (first..).zip(batch) {
                let answer = &answers[&stream];
                assert_eq!(answer.text(), case.reference_output, "{} in pass {pass}", case.id);
                let cached = answer.cached.unwrap();
                assert!(cached < case.prompt_tokens, "the last token is computed");
            }
        }
    }
    let figures = engine.figures_when_idle();
    assert!(figures.cached_tokens * 3 > figures.prompt_tokens, "{figures:?}");
}

/// Equal tokens; or, where they part, two tokens that the model finds equally likely to within what rounding does.
fn assert_same(cold: &Answer, warm: &Answer, what: &str) {
    for (place, (a, b)) in cold.tokens.iter().zip(&warm.tokens).enumerate() {
        let (a_report, b_report) = (a.logprobs.as_ref().unwrap(), b.logprobs.as_ref().unwrap());
        if a.id == b.id {
            let apart = (a_report.chosen - b_report.chosen).abs();
            assert!(apart < 0.05, "{what}: {apart} apart at {place}");
            continue;
        }
        let other = a_report.top.iter().find(|(bytes, _)| *bytes == b.bytes);
        let is_tie = other.is_some_and(|(_, logprob)| (a_report.chosen - logprob).abs() < 0.05);
        assert!(is_tie, "{what}: {} and {} at {place}", cold.text(), warm.text());
        return;
    }
    assert_eq!(cold.done, warm.done, "{what}");
}

#[test]
fn no_prefix_of_anybody_changes_an_answer() {
    let mut engine = Engine::serving(4, 2048);
    let mut gateway = engine.connect();
    let cases = cases();
    let mut number = 0x2545_f491_4f6c_dd1d_u64;
    let mut dice = move |of: usize| {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        usize::try_from(number % of as u64).unwrap()
    };
    let mut stream = 0;
    for round in 0..20 {
        // Prompts that begin alike and go on otherwise, of three tenants, at the same time.
        let opening = cases[dice(cases.len())].prompt.clone();
        let asks: Vec<(u8, Vec<Segment>)> = (0..4)
            .map(|_| {
                let mut prompt = opening.clone();
                prompt.truncate(dice(opening.len()) + 1);
                prompt.extend(cases[dice(cases.len())].prompt.clone());
                if dice(3) == 0 {
                    prompt.extend(long_prompt("red", dice(60), "repeat: x"));
                }
                (u8::try_from(dice(3)).unwrap(), prompt)
            })
            .collect();
        let ask = |stream: u64, tenant: u8, prompt: &[Segment], cache: CacheUse| Generate {
            cache,
            completion_tokens_max: Some(16),
            logprobs: Some(10),
            ..of_tenant(tenant, request(stream, prompt.to_vec()))
        };
        let cold: Vec<Answer> = asks
            .iter()
            .map(|(tenant, prompt)| {
                stream += 1;
                let answer = gateway.answer(ask(stream, *tenant, prompt, CacheUse::Off));
                assert_eq!(answer.cached.unwrap_or(0), 0);
                answer
            })
            .collect();
        let first = stream + 1;
        for (tenant, prompt) in &asks {
            stream += 1;
            gateway.generate(ask(stream, *tenant, prompt, CacheUse::Use));
        }
        let mut warm = gateway.answers(first..=stream);
        engine.skip_beats();
        for (stream, (cold, (tenant, _))) in (first..).zip(cold.iter().zip(&asks)) {
            let answer = warm.remove(&stream).unwrap();
            assert_same(cold, &answer, &format!("round {round}, tenant {tenant}"));
        }
    }
    let figures = engine.figures_when_idle();
    assert!(figures.cached_tokens > 0, "something was shared");
}

#[test]
fn tenants_do_not_share_and_who_wants_none_takes_and_leaves_none() {
    let mut engine = Engine::serving(2, 2048);
    let mut gateway = engine.connect();
    let ask = |stream: u64, tenant: u8, cache: CacheUse| Generate {
        cache,
        completion_tokens_max: Some(2),
        ..of_tenant(tenant, request(stream, long_prompt("blue", 200, "repeat: x")))
    };
    let mut cached = |stream, tenant, cache| gateway.answer(ask(stream, tenant, cache)).cached.unwrap();
    assert_eq!(cached(1, 1, CacheUse::Off), 0);
    assert_eq!(cached(2, 1, CacheUse::Use), 0, "nothing was left");
    assert_eq!(cached(3, 2, CacheUse::Use), 0, "another tenant's");
    assert_eq!(cached(4, 1, CacheUse::Off), 0, "nothing is taken");
    assert!(cached(5, 1, CacheUse::Pin) > 400);
}

#[test]
fn requests_at_once_with_the_same_prefix_compute_it_once() {
    let mut engine = Engine::serving(8, 2048);
    let mut gateway = engine.connect();
    for stream in 0..8 {
        let mut generate = request(stream, long_prompt("green", 150, &format!("repeat: {stream}")));
        generate.completion_tokens_max = Some(4);
        gateway.generate(generate);
    }
    let answers = gateway.answers(0..8);
    let prompt = answers[&0].accepted.unwrap();
    assert!(prompt > 700);
    let computed: u32 = answers
        .values()
        .map(|answer| answer.accepted.unwrap() - answer.cached.unwrap())
        .sum();
    assert!(computed < prompt + 8 * 60, "{computed} of {}", 8 * prompt);
}

#[test]
fn a_new_worker_finds_on_disk_what_the_one_before_computed() {
    let disk = tempfile::tempfile().unwrap();
    let load = Load {
        host_tier_bytes: 1 << 20,
        disk_tier: Some(DiskTier {
            bytes_max: 64 << 20,
            weights_sha256: [3; 32],
            key: TierKey([5; 32]),
        }),
        ..order(2, 2048)
    };
    let ask = |stream: u64, end: &str| {
        let mut generate = request(stream, long_prompt("grey", 150, end));
        generate.completion_tokens_max = Some(24);
        generate
    };
    let mut first = Engine::serving_with(load.clone(), Some(disk.try_clone().unwrap()));
    let mut gateway = first.connect();
    let before = gateway.answer(ask(1, "repeat: a b c"));
    assert_eq!(before.cached, Some(0));
    // What was computed goes to the disk between steps and when nobody asks.
    let mut is_there = false;
    for attempt in 2..40 {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let mut second = Engine::serving_with(load.clone(), Some(disk.try_clone().unwrap()));
        let mut gateway = second.connect();
        let after = gateway.answer(ask(attempt, "repeat: a b c"));
        assert_eq!(after.text(), before.text());
        let prompt = after.accepted.unwrap();
        if after.cached.unwrap() + 256 >= prompt {
            is_there = true;
            break;
        }
    }
    assert!(is_there, "it was never found");
    // With other weights nothing of it counts.
    let mut other = load;
    if let Some(disk) = &mut other.disk_tier {
        disk.weights_sha256 = [4; 32];
    }
    let mut third = Engine::serving_with(other, Some(disk));
    assert_eq!(third.connect().answer(ask(1, "repeat: a b c")).cached, Some(0));
}

#[test]
fn a_cached_prefix_goes_when_its_room_is_needed() {
    let mut engine = Engine::serving_with(
        Load {
            kv_tokens: 2048,
            ..order(2, 1024)
        },
        None,
    );
    let mut gateway = engine.connect();
    for stream in 0..20 {
        let theme = format!("t{stream}");
        let mut generate = request(stream, long_prompt(&theme, 90, "repeat: x y"));
        generate.completion_tokens_max = Some(4);
        assert_eq!(*gateway.answer(generate).finish(), Finish::Length);
    }
    let endless = gateway.answer(endless(100));
    assert_eq!(*endless.finish(), Finish::Length);
    assert!(engine.figures_when_idle().kv_used_tokens <= 2048);
}
