use super::*;
use proptest::prelude::*;

const GIB: u64 = 1 << 30;

/// GLM-4-9B in four bits.
const NINE: Needs = Needs {
    weights_bytes: 11 * GIB / 2,
    cell_bytes: 40 * 1024,
    context_tokens: 131_072,
    vocabulary: 151_552,
    embedding: 4_096,
    feed_forward: 13_696,
};

fn room(available: u64) -> Room {
    Room {
        memory_bytes: available,
        available_bytes: available,
        beside_bytes: 0,
        disk_bytes: 100 * GIB,
    }
}

fn wish(context: u32) -> Wishes {
    Wishes {
        stream_context_tokens: NonZeroU32::new(context),
        ..Wishes::default()
    }
}

/// What engines reported when they served (`Report::Serving`), in MiB: weights, pool, compute. The plan must not be below,
/// and may be above by 15 % and the fixed part, of which no report speaks.
#[test]
fn the_plan_is_near_what_real_engines_took_and_never_below() {
    const MIB: u64 = 1 << 20;
    let canary = Needs {
        weights_bytes: 7_985_440,
        cell_bytes: 1024,
        context_tokens: 2_048,
        vocabulary: 3_328,
        embedding: 256,
        feed_forward: 512,
    };
    let half_a_billion = Needs {
        weights_bytes: 301_254_784,
        cell_bytes: 32 * 1024,
        context_tokens: 32_768,
        vocabulary: 32_768,
        embedding: 1_024,
        feed_forward: 4_096,
    };
    for (needs, cells, reported) in [
        (canary, 16_384, [7, 16, 25]),
        (half_a_billion, 65_536, [286, 2_048, 112]),
    ] {
        let parts = needs.parts(8, cells);
        let planned = parts.weights + parts.kv + parts.compute;
        let taken = reported.iter().sum::<u64>() * MIB;
        assert!(planned >= taken, "{parts:?}");
        assert!(planned <= taken + taken / 100 * 15 + FIXED_BYTES, "{parts:?}");
    }
}

#[test]
fn a_large_machine_gives_a_stream_all_that_the_model_was_trained_for() {
    let plan = plan(&NINE, &room(64 * GIB), &Wishes::default()).unwrap();
    assert_eq!(
        (plan.stream_count, plan.context_tokens, plan.kv_tokens),
        (8, 131_072, 131_072)
    );
    assert!(plan.parts.host_tier > GIB);
    assert_eq!(plan.disk_tier_bytes, DISK_TIER_BYTES_MAX);
}

#[test]
fn a_small_machine_gives_less_context_and_the_same_streams() {
    let plan = plan(&NINE, &room(12 * GIB), &Wishes::default()).unwrap();
    assert_eq!(plan.stream_count, 8);
    assert_eq!(plan.context_tokens, plan.kv_tokens);
    assert!((8_192..131_072).contains(&plan.context_tokens), "{plan:?}");
}

#[test]
fn a_short_model_gets_cells_for_all_its_streams() {
    let short = Needs {
        context_tokens: 2_048,
        ..NINE
    };
    let plan = plan(&short, &room(64 * GIB), &Wishes::default()).unwrap();
    assert_eq!((plan.context_tokens, plan.kv_tokens), (2_048, 16_384));
}

#[test]
fn what_does_not_fit_is_refused_in_numbers_with_the_context_that_fits() {
    let refusal = plan(&NINE, &room(12 * GIB), &wish(131_072)).unwrap_err();
    assert_eq!(refusal.code(), "engine.plan.memory");
    let facts = refusal.facts();
    let names: Vec<&str> = facts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["needs", "free", "context"]);
    assert!(
        facts.iter().take(2).all(|(_, value)| value.ends_with(" GiB")),
        "{facts:?}"
    );
    let fits = refusal.context_tokens.unwrap();
    assert_eq!(
        plan(&NINE, &room(12 * GIB), &wish(fits)).unwrap().context_tokens,
        fits
    );
    let refusal = plan(&NINE, &room(4 * GIB), &Wishes::default()).unwrap_err();
    assert_eq!(refusal.code(), "engine.plan.weights");
    assert_eq!(refusal.context_tokens, None);
}

#[test]
fn needed_is_rounded_up_and_free_down() {
    let refusal = PlanRefusal {
        needs_bytes: 21 * GIB + GIB / 4,
        free_bytes: 17 * GIB + GIB / 4 * 3 + GIB / 10,
        context_tokens: Some(16_384),
    };
    let facts: Vec<String> = refusal.facts().into_iter().map(|(_, value)| value).collect();
    assert_eq!(facts, ["21.3 GiB", "17.8 GiB", "16384"]);
}

#[test]
fn who_measures_gets_exactly_what_he_asked_for_or_a_refusal() {
    let wishes = Wishes {
        thread_count: None,
        stream_count: NonZeroU32::new(4),
        stream_context_tokens: NonZeroU32::new(4_096),
        kv_tokens: NonZeroU32::new(32_768),
    };
    let plan_of = |available| plan(&NINE, &room(available), &wishes);
    let plan = plan_of(64 * GIB).unwrap();
    assert_eq!(
        (plan.stream_count, plan.context_tokens, plan.kv_tokens),
        (4, 4_096, 32_768)
    );
    assert!(plan_of(7 * GIB).is_err());
}

#[test]
fn an_engine_beside_keeps_what_it_was_promised() {
    let mut both = room(24 * GIB);
    let alone = plan(&NINE, &both, &Wishes::default()).unwrap();
    both.beside_bytes = claim(alone.parts.total(), 4 * GIB);
    match plan(&NINE, &both, &Wishes::default()) {
        Ok(beside) => {
            assert!(beside.parts.total() + both.beside_bytes <= 24 * GIB);
            assert!(!beside.is_worth_beside(&alone));
        }
        Err(refusal) => assert!(refusal.needs_bytes > refusal.free_bytes),
    }
    assert!(alone.is_worth_beside(&alone));
}

#[test]
fn nobody_computes_with_more_threads_than_there_are_and_nobody_with_none() {
    for all in 0..=256 {
        let there = all.max(1);
        let of = |share| threads(all, share);
        assert_eq!(of(Share::Alone), there);
        for (one, other) in [
            (Share::BesideCandidate, Share::Candidate),
            (Share::BesideRetiring, Share::Retiring),
        ] {
            assert!(of(one) >= 1 && of(other) >= 1);
            assert!(of(one) + of(other) <= there.max(2), "{all}");
            assert!(of(one) >= of(other) || there == 1);
        }
    }
}

fn needs() -> impl Strategy<Value = Needs> {
    (
        0..200 * GIB,
        256..600_000_u64,
        1..2_000_000_u32,
        100..200_000_u32,
        32..20_000_u32,
        32..60_000_u32,
    )
        .prop_map(
            |(weights_bytes, cell_bytes, context_tokens, vocabulary, embedding, feed_forward)| Needs {
                weights_bytes,
                cell_bytes,
                context_tokens,
                vocabulary,
                embedding,
                feed_forward,
            },
        )
}

fn rooms() -> impl Strategy<Value = Room> {
    (0..1024 * GIB, 0..200 * GIB, 0..1024 * GIB).prop_map(|(available_bytes, beside_bytes, disk_bytes)| {
        Room {
            memory_bytes: available_bytes,
            available_bytes,
            beside_bytes,
            disk_bytes,
        }
    })
}

fn wishes() -> impl Strategy<Value = Wishes> {
    let some = |max: u32| prop::option::of((1..max).prop_map(|it| NonZeroU32::new(it).unwrap()));
    (some(64), some(2_000_000), some(4_000_000)).prop_map(
        |(stream_count, stream_context_tokens, kv_tokens)| Wishes {
            thread_count: None,
            stream_count,
            stream_context_tokens,
            kv_tokens,
        },
    )
}

proptest! {
    #[test]
    fn a_plan_never_takes_more_than_is_free(needs in needs(), room in rooms(), wishes in wishes()) {
        match plan(&needs, &room, &wishes) {
            Ok(plan) => {
                prop_assert!(plan.parts.total() <= room.free_bytes());
                prop_assert!(plan.kv_tokens >= plan.context_tokens && plan.context_tokens >= 1);
                prop_assert!(plan.context_tokens <= needs.context_tokens);
                prop_assert!(plan.disk_tier_bytes <= room.disk_bytes);
            }
            Err(refusal) => prop_assert!(refusal.needs_bytes > refusal.free_bytes),
        }
    }

    #[test]
    fn a_refusal_names_a_context_that_then_fits(needs in needs(), room in rooms(), wishes in wishes()) {
        if let Err(PlanRefusal { context_tokens: Some(context), .. }) = plan(&needs, &room, &wishes) {
            let smaller = Wishes { kv_tokens: None, stream_context_tokens: NonZeroU32::new(context), ..wishes };
            let plan = plan(&needs, &room, &smaller);
            prop_assert_eq!(plan.map(|plan| plan.context_tokens), Ok(context));
        }
    }

    #[test]
    fn more_memory_never_gives_less(needs in needs(), room in rooms(), more in 0..100 * GIB, wishes in wishes()) {
        let larger = Room { available_bytes: room.available_bytes + more, ..room };
        if let Ok(before) = plan(&needs, &room, &wishes) {
            let after = plan(&needs, &larger, &wishes).unwrap();
            prop_assert!(after.kv_tokens >= before.kv_tokens);
            prop_assert!(after.context_tokens >= before.context_tokens);
        }
    }
}
