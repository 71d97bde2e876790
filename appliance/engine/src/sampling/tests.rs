use proptest::prelude::*;

use super::*;

fn plain() -> Sampling {
    Sampling {
        temperature: 1.0,
        top_p: 1.0,
        top_k: 0,
        min_p: 0.0,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        seed: Some(7),
        logit_bias: Vec::new(),
    }
}

fn chosen(settings: &Sampling, logits: &[f32], count: usize) -> Vec<u32> {
    let mut sampler = Sampler::new(settings, 0);
    let mut workspace = Workspace::default();
    (0..count)
        .map(|_| sampler.choose(logits, &mut workspace).unwrap())
        .collect()
}

/// How often each id came in `count` draws.
fn frequencies(settings: &Sampling, logits: &[f32], count: usize) -> Vec<f64> {
    let mut seen = vec![0.0; logits.len()];
    for id in chosen(settings, logits, count) {
        seen[id as usize] += 1.0 / count as f64;
    }
    seen
}

#[test]
fn splitmix_gives_its_published_first_numbers() {
    // The reference C program with seed 1234567.
    let mut random = Random::new(1_234_567);
    let numbers: Vec<u64> = (0..5).map(|_| random.next_u64()).collect();
    assert_eq!(
        numbers,
        [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821
        ]
    );
}

#[test]
fn temperature_zero_takes_the_first_of_equal_maxima() {
    let settings = Sampling {
        temperature: 0.0,
        ..plain()
    };
    assert_eq!(chosen(&settings, &[0.0, 3.0, 3.0, 1.0], 4), [1, 1, 1, 1]);
}

#[test]
fn the_same_seed_gives_the_same_tokens_and_another_seed_others() {
    let logits: Vec<f32> = (0..1000).map(|n| (n as f32 * 0.37).sin()).collect();
    let with = |seed| {
        chosen(
            &Sampling {
                seed: Some(seed),
                ..plain()
            },
            &logits,
            50,
        )
    };
    assert_eq!(with(1), with(1));
    assert_ne!(with(1), with(2));
}

#[test]
fn a_request_without_seed_uses_the_drawn_one() {
    let logits: Vec<f32> = (0..1000).map(|n| (n as f32 * 0.37).sin()).collect();
    let draw = |drawn| {
        let mut sampler = Sampler::new(
            &Sampling {
                seed: None,
                ..plain()
            },
            drawn,
        );
        let mut workspace = Workspace::default();
        (0..20)
            .map(|_| sampler.choose(&logits, &mut workspace).unwrap())
            .collect::<Vec<_>>()
    };
    assert_ne!(draw(1), draw(2));
    assert_eq!(
        draw(5),
        chosen(
            &Sampling {
                seed: Some(5),
                ..plain()
            },
            &logits,
            20
        )
    );
}

#[test]
fn draws_follow_the_softmax() {
    let logits = [0.0f32, 1.0, 2.0];
    let sum: f32 = logits.iter().map(|l| l.exp()).sum();
    for (seen, logit) in frequencies(&plain(), &logits, 20_000).iter().zip(logits) {
        assert!(
            (seen - f64::from(logit.exp() / sum)).abs() < 0.015,
            "{seen} for {logit}"
        );
    }
}

#[test]
fn a_lower_temperature_sharpens() {
    let logits = [0.0f32, 1.0];
    let cold = frequencies(
        &Sampling {
            temperature: 0.5,
            ..plain()
        },
        &logits,
        20_000,
    );
    let expected = f64::from(2.0f32.exp() / (1.0 + 2.0f32.exp()));
    assert!((cold[1] - expected).abs() < 0.015, "{cold:?}");
}

#[test]
fn top_k_keeps_the_k_likeliest() {
    let logits = [0.0, 3.0, 2.0, 2.9, -1.0];
    let seen = frequencies(&Sampling { top_k: 2, ..plain() }, &logits, 2000);
    assert!(seen[1] > 0.0 && seen[3] > 0.0);
    assert_eq!(seen[0] + seen[2] + seen[4], 0.0);
    assert_eq!(chosen(&Sampling { top_k: 1, ..plain() }, &logits, 3), [1, 1, 1]);
}

#[test]
fn the_nucleus_is_the_smallest_set_that_reaches_its_share() {
    // Probabilities 0.5, 0.3, 0.15, 0.05.
    let logits: Vec<f32> = [0.15f32, 0.5, 0.05, 0.3].iter().map(|p| p.ln()).collect();
    let kept = |top_p| {
        let seen = frequencies(&Sampling { top_p, ..plain() }, &logits, 4000);
        (0..4u32)
            .filter(|id| seen[*id as usize] > 0.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(kept(0.0), [1]);
    assert_eq!(kept(0.49), [1]);
    assert_eq!(kept(0.79), [1, 3]);
    assert_eq!(kept(0.94), [0, 1, 3]);
    assert_eq!(kept(1.0), [0, 1, 2, 3]);
}

#[test]
fn a_nucleus_wider_than_the_first_look_is_found() {
    let logits = vec![1.0f32; 5000];
    let mut sampler = Sampler::new(
        &Sampling {
            top_p: 0.5,
            ..plain()
        },
        0,
    );
    let mut workspace = Workspace::default();
    let mut greatest = 0;
    for _ in 0..20_000 {
        greatest = greatest.max(sampler.choose(&logits, &mut workspace).unwrap());
    }
    assert_eq!(greatest, 2499);
}

#[test]
fn a_mask_bans_whatever_else_is_asked() {
    let logits: Vec<f32> = (0..200).map(|n| n as f32 * 0.1).collect();
    // Of 200 tokens 3, 64 and 65.
    let mask = [1 << 3, 0, 0b11, 0, 0, 0, 0];
    for settings in [
        plain(),
        Sampling::GREEDY,
        Sampling { top_k: 5, ..plain() },
        Sampling {
            top_p: 0.99,
            ..plain()
        },
        Sampling {
            min_p: 0.001,
            ..plain()
        },
        Sampling {
            logit_bias: vec![(199, 100.0), (4, 100.0)],
            presence_penalty: 2.0,
            ..plain()
        },
    ] {
        let mut sampler = Sampler::new(&settings, 0);
        let mut workspace = Workspace::default();
        for _ in 0..300 {
            let id = sampler
                .choose_among(&logits, Some(&mask), &mut workspace)
                .unwrap();
            assert!([3, 64, 65].contains(&id), "{id} with {settings:?}");
        }
        assert_eq!(sampler.choose_among(&logits, Some(&[0; 7]), &mut workspace), None);
        // Words that a mask lacks ban.
        assert_eq!(
            sampler.choose_among(&logits, Some(&[1 << 3]), &mut workspace),
            Some(3)
        );
    }
}

#[test]
fn a_resumed_sampler_goes_on_as_the_one_that_chose() {
    let logits: Vec<f32> = (0..500).map(|n| (n as f32 * 0.37).sin() * 3.0).collect();
    let settings = Sampling {
        frequency_penalty: 0.7,
        top_k: 20,
        ..plain()
    };
    let whole = chosen(&settings, &logits, 40);
    let mut resumed = Sampler::new(&settings, 0);
    whole[..25].iter().for_each(|id| resumed.resume(*id));
    let mut workspace = Workspace::default();
    let rest: Vec<u32> = (0..15)
        .map(|_| resumed.choose(&logits, &mut workspace).unwrap())
        .collect();
    assert_eq!(rest, whole[25..]);
}

#[test]
fn min_p_keeps_what_is_near_the_likeliest() {
    let logits: Vec<f32> = [0.6f32, 0.3, 0.06, 0.04].iter().map(|p| p.ln()).collect();
    let seen = frequencies(
        &Sampling {
            min_p: 0.2,
            ..plain()
        },
        &logits,
        4000,
    );
    assert!(seen[0] > 0.0 && seen[1] > 0.0);
    assert_eq!(seen[2] + seen[3], 0.0);
}

#[test]
fn a_bias_moves_the_choice_and_unknown_ids_do_nothing() {
    let settings = Sampling {
        temperature: 0.0,
        logit_bias: vec![(2, 100.0), (u32::MAX, 5.0)],
        ..plain()
    };
    assert_eq!(chosen(&settings, &[5.0, 0.0, -50.0], 1), [2]);
    let banned = Sampling {
        temperature: 0.0,
        logit_bias: vec![(0, -1e9)],
        ..plain()
    };
    assert_eq!(chosen(&banned, &[5.0, 0.0, -50.0], 1), [1]);
}

#[test]
fn penalties_count_what_was_made() {
    let presence = Sampling {
        temperature: 0.0,
        presence_penalty: 1.0,
        ..plain()
    };
    // The second choice avoids token 0 once it was made; with both made, the order is the old one.
    assert_eq!(chosen(&presence, &[1.0, 0.5], 4), [0, 1, 0, 0]);
    let frequency = Sampling {
        temperature: 0.0,
        frequency_penalty: 0.3,
        ..plain()
    };
    assert_eq!(chosen(&frequency, &[1.0, 0.5], 5), [0, 0, 1, 0, 1]);
}

#[test]
fn a_row_without_numbers_gives_nothing() {
    for temperature in [0.0, 1.0] {
        let mut sampler = Sampler::new(
            &Sampling {
                temperature,
                ..plain()
            },
            0,
        );
        let mut workspace = Workspace::default();
        assert_eq!(sampler.choose(&[f32::NAN, f32::NAN], &mut workspace), None);
        assert_eq!(sampler.choose(&[], &mut workspace), None);
        assert_eq!(sampler.choose(&[f32::NEG_INFINITY], &mut workspace), None);
        assert_eq!(sampler.choose(&[f32::NAN, 1.0], &mut workspace), Some(1));
    }
}

#[test]
fn logprobs_are_of_the_raw_distribution_and_sum_to_one() {
    let logits = [0.0f32, 1.0, 2.0, -3.0];
    let (chosen, top) = logprobs(&logits, 1, 20);
    assert_eq!(top.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2, 1, 0, 3]);
    assert!((top.iter().map(|(_, l)| l.exp()).sum::<f32>() - 1.0).abs() < 1e-5);
    assert_eq!(chosen, top[1].1);
    assert_eq!(logprobs(&logits, 1, 2).1, top[..2]);
    assert!(logprobs(&logits, 1, 0).1.is_empty());
}

#[test]
fn no_more_than_twenty_logprobs_are_given() {
    let logits = vec![0.5f32; 100];
    let top = logprobs(&logits, 0, usize::MAX).1;
    assert_eq!(
        top.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        (0..20).collect::<Vec<_>>()
    );
}

proptest! {
    #[test]
    fn any_settings_and_logits_choose_inside_the_vocabulary_or_nothing(
        logits in proptest::collection::vec(prop_oneof![any::<f32>(), -20f32..20.0], 0..300),
        (temperature, top_p, min_p) in (any::<f32>(), any::<f32>(), any::<f32>()),
        (presence_penalty, frequency_penalty) in (any::<f32>(), any::<f32>()),
        top_k: u32, seed: Option<u64>,
        logit_bias in proptest::collection::vec((0u32..400, any::<f32>()), 0..5),
    ) {
        let settings =
            Sampling { temperature, top_p, top_k, min_p, presence_penalty, frequency_penalty, seed, logit_bias };
        let mut sampler = Sampler::new(&settings, 3);
        let mut workspace = Workspace::default();
        for _ in 0..3 {
            if let Some(id) = sampler.choose(&logits, &mut workspace) {
                prop_assert!((id as usize) < logits.len());
                prop_assert!(!logits[id as usize].is_nan());
                let (_, top) = logprobs(&logits, id, 5);
                prop_assert!(top.windows(2).all(|pair| pair[0].1 >= pair[1].1 || pair[1].1.is_nan()));
            }
        }
    }

    /// However it is computed, the draw is the one of the plain definition: the number drawn lies in the share of the
    /// chosen token among the kept ones, to within the documented bound.
    #[test]
    fn every_draw_is_that_of_the_naive_model(
        logits in logits(), allowed in proptest::option::of(proptest::collection::vec(any::<u32>(), 0..150)),
        temperature in prop_oneof![Just(0.0f32), Just(1.0), 0.01f32..2.0],
        top_p in prop_oneof![Just(1.0f32), Just(0.0), 0.0f32..1.0],
        top_k in prop_oneof![Just(0u32), 1u32..60, 1u32..6000],
        min_p in prop_oneof![Just(0.0f32), 0.0f32..1.0],
        (presence_penalty, frequency_penalty) in (-2f32..2.0, prop_oneof![Just(0.0f32), -2f32..2.0]),
        logit_bias in proptest::collection::vec((0u32..5000, -100f32..100.0), 0..5),
        seed: u64,
    ) {
        let settings = Sampling {
            temperature, top_p, top_k, min_p, presence_penalty, frequency_penalty, seed: Some(seed), logit_bias,
        };
        let mut sampler = Sampler::new(&settings, 0);
        let mut workspace = Workspace::default();
        let mut random = Random::new(seed);
        let mut made = Vec::new();
        for _ in 0..4 {
            let unit = random.unit();
            let kept = naive::kept(&settings, &logits, allowed.as_deref(), &made);
            let id = sampler.choose_among(&logits, allowed.as_deref(), &mut workspace);
            prop_assert_eq!(id.is_none(), kept.is_empty());
            let Some(id) = id else { break };
            let (from, to) = naive::share(&kept, id);
            prop_assert!(from - 2e-6 <= unit && unit <= to + 2e-6, "{unit} for {id} is not in {from}..{to}");
            made.push(id);
        }
    }

    #[test]
    fn log_probabilities_are_those_of_the_naive_model(logits in logits(), count in 0usize..25) {
        let numbers: Vec<(u32, f32)> = (0u32..)
            .zip(logits.iter().copied())
            .filter(|(_, logit)| *logit > f32::NEG_INFINITY)
            .collect();
        prop_assume!(!numbers.is_empty());
        let greatest = numbers.iter().map(|(_, logit)| *logit).fold(f32::MIN, f32::max);
        let sum: f64 = numbers.iter().map(|(_, logit)| f64::from(logit - greatest).exp()).sum();
        let mut sorted = numbers;
        sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        sorted.truncate(count.min(LOGPROBS_TOP_MAX));
        let (_, top) = logprobs(&logits, 0, count);
        prop_assert_eq!(top.len(), sorted.len());
        for ((id, logprob), (expected, logit)) in top.into_iter().zip(sorted) {
            prop_assert_eq!(id, expected);
            let exact = f64::from(logit - greatest) - sum.ln();
            prop_assert!((f64::from(logprob) - exact).abs() < 1e-4, "{logprob} for {exact}");
        }
    }
}

/// Rows of all lengths and shapes: steep, flat, with ties, holes and what is not a number.
fn logits() -> impl Strategy<Value = Vec<f32>> {
    let one = prop_oneof![
        20 => -20f32..20.0,
        2 => Just(1.5f32),
        1 => Just(f32::NAN),
        1 => Just(f32::NEG_INFINITY),
    ];
    let short = proptest::collection::vec(one, 1..200);
    let long = (1usize..5000, 0.0f32..12.0, any::<u64>()).prop_map(|(length, spread, seed)| {
        let mut random = Random::new(seed);
        (0..length)
            .map(|_| (random.unit() + random.unit() + random.unit() - 1.5) as f32 * spread)
            .collect()
    });
    prop_oneof![short, long]
}

/// The definition, without a thought for time.
mod naive {
    use super::*;

    /// Kept tokens by id, with their weights.
    pub(super) fn kept(
        settings: &Sampling,
        logits: &[f32],
        allowed: Option<&[u32]>,
        made: &[u32],
    ) -> Vec<(u32, f64)> {
        let is_allowed = |id: u32| {
            allowed.is_none_or(|words| {
                words
                    .get(id as usize / 32)
                    .is_some_and(|word| word >> (id % 32) & 1 == 1)
            })
        };
        let mut kept: Vec<(u32, f32)> = (0u32..)
            .zip(logits.iter().copied())
            .filter(|(id, logit)| !logit.is_nan() && *logit > f32::NEG_INFINITY && is_allowed(*id))
            .collect();
        for (id, logit) in &mut kept {
            let mut delta: f32 = settings
                .logit_bias
                .iter()
                .filter(|(biased, _)| biased == id)
                .map(|(_, bias)| bias)
                .sum();
            let count = made.iter().filter(|made| *made == id).count();
            if count > 0 {
                delta -= settings.presence_penalty + settings.frequency_penalty * count as f32;
            }
            *logit += delta;
        }
        kept.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let Some((_, greatest)) = kept.first().copied() else {
            return Vec::new();
        };
        if settings.temperature < TEMPERATURE_MIN {
            kept.truncate(1);
        }
        let scale = 1.0 / settings.temperature.max(TEMPERATURE_MIN);
        let floor = if settings.min_p > 0.0 {
            settings.min_p.ln().max(WEIGHT_FLOOR)
        } else {
            WEIGHT_FLOOR
        };
        kept.retain(|(_, logit)| (logit - greatest) * scale >= floor);
        if settings.top_k > 0 {
            kept.truncate(settings.top_k as usize);
        }
        let mut kept: Vec<(u32, f64)> = kept
            .into_iter()
            .map(|(id, logit)| (id, f64::from((logit - greatest) * scale).exp()))
            .collect();
        let wanted = kept.iter().map(|(_, weight)| weight).sum::<f64>() * f64::from(settings.top_p);
        if settings.top_p < 1.0 {
            let mut sum = 0.0;
            let last = kept.iter().position(|(_, weight)| {
                sum += weight;
                sum >= wanted - 1e-9
            });
            kept.truncate(last.map_or(usize::MAX, |last| last + 1));
        }
        kept.sort_by_key(|(id, _)| *id);
        kept
    }

    /// The interval of the unit that is the token's; empty at no place when it is not kept.
    pub(super) fn share(kept: &[(u32, f64)], id: u32) -> (f64, f64) {
        let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
        let before: f64 = kept
            .iter()
            .filter(|(other, _)| *other < id)
            .map(|(_, weight)| weight)
            .sum();
        let own: f64 = kept
            .iter()
            .filter(|(other, _)| *other == id)
            .map(|(_, weight)| weight)
            .sum();
        if own == 0.0 {
            return (f64::INFINITY, f64::NEG_INFINITY);
        }
        (before / total, (before + own) / total)
    }
}
