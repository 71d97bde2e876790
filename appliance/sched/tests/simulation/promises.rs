//! What holds in every scenario.

use jingui_sched::{CacheUse, Class, Refusal, Shape};

use crate::device::Machine;
use crate::random::{Random, for_seeds};
use crate::world::{Ask, World, text};

/// A machine, a pool and an hour of people, all from a seed.
fn life_of_a_box(seed: u64) -> World {
    let mut random = Random::new(seed);
    let running_max = random.between(1, 9);
    let context_tokens = [96, 400, 1500][random.between(0, 2)];
    let shape = Shape {
        running_max,
        sequence_count: (running_max + random.between(0, 6)) as u32,
        kv_cells: context_tokens * random.between(1, running_max * 2) + random.between(0, 50),
        batch_rows: [16, 64, 512][random.between(0, 2)].max(running_max),
        output_rows: running_max + random.between(0, 8),
        context_tokens,
        waiting_max: random.between(4, 40),
        waiting_per_tenant_max: random.between(2, 20),
        has_tiers: random.one_in(2),
        idle_leaves: random.one_in(2),
    };
    let machine = Machine {
        step: random.between(10, 20_000) as u64,
        row: random.between(1, 9_000) as u64,
        output: random.between(1, 4_000) as u64,
        attended_thousand: random.between(0, 500) as u64,
        noise: random.between(0, 30),
        is_tiled: random.one_in(2),
    };
    let mut world = World::new(shape, machine, seed);
    world.guesses = random.between(0, 4);
    world.device.tiers_lose = random.one_in(2);
    if random.one_in(3) {
        world.device.fails_one_in = Some(random.between(10, 60));
    }
    let asks = random.between(5, 60);
    let mut taken = Vec::new();
    for _ in 0..asks {
        let ask = some_ask(&mut random, context_tokens);
        match world.ask(ask) {
            Ok(stream) => taken.push(stream),
            Err(Refusal::Overloaded { retry_after_us }) => assert!(retry_after_us >= 1_000_000),
            Err(other) => panic!("{other}"),
        }
        for _ in 0..random.between(0, 6) {
            if !world.scheduler.is_idle() {
                world.step();
            }
        }
        if random.one_in(5) && !taken.is_empty() {
            let stream = taken[random.between(0, taken.len() - 1)];
            world.cancel(stream);
        }
        if random.one_in(20) {
            world.now += random.between(0, 40_000_000) as u64;
        }
    }
    world.run(200_000);
    world
}

fn some_ask(random: &mut Random, context_tokens: usize) -> Ask {
    let shared = random.between(0, context_tokens - 2);
    let own = random.between(1, context_tokens - 1 - shared);
    let mut prompt = text(random.between(0, 3) as u32, shared);
    prompt.extend(text(random.between(10, 13) as u32, own));
    let mut ask = Ask::new(
        random.between(0, 3) as u8,
        prompt,
        random.between(1, context_tokens),
    );
    ask.ends_after = random.between(1, context_tokens);
    ask.class = if random.one_in(3) {
        Class::Batch
    } else {
        Class::Interactive
    };
    ask.cache = match random.between(0, 5) {
        0 => CacheUse::Off,
        1 => CacheUse::Pin,
        _ => CacheUse::Use,
    };
    ask.is_strict = random.one_in(12);
    ask
}

#[test]
fn whoever_was_taken_ends_as_it_should_whatever_happens() {
    for_seeds("whoever_was_taken", 1_000, |seed| {
        let world = life_of_a_box(seed);
        for (stream, life) in &world.lives {
            assert!(life.ended_at.is_some());
            let told = &world.device.streams[stream];
            let made = told.tokens.len() - told.prompt_count;
            assert_eq!(made, life.token_times.len(), "each token is told once");
            if !life.was_cancelled && !life.has_failed {
                let wanted = told.ends_after.min(told.tokens_max - told.prompt_count);
                assert_eq!(made, wanted, "stream {stream} made all of its tokens");
            }
            assert!(
                !life.has_failed || world.device.fails_one_in.is_some(),
                "nobody fails for want of room"
            );
        }
        let figures = world.scheduler.figures();
        assert_eq!((figures.running_count, figures.waiting_count), (0, 0));
        world.device.check(&world.scheduler, true);
    });
}

#[test]
fn the_same_seed_gives_the_same_steps() {
    for_seeds("the_same_seed", 50, |seed| {
        let (first, second) = (life_of_a_box(seed), life_of_a_box(seed));
        assert_eq!((first.trace, first.now), (second.trace, second.now));
    });
}

#[test]
fn cancelling_gives_back_all_that_was_held() {
    for_seeds("cancelling_gives_back", 300, |seed| {
        let mut random = Random::new(seed);
        let mut world = World::new(crate::world::roomy(4), Machine::SMALL, seed);
        let streams: Vec<_> = (0..12)
            .map(|number| {
                let mut ask = Ask::new(number % 3, text(u32::from(number), 900), 500);
                ask.cache = CacheUse::Off;
                world.ask(ask).unwrap()
            })
            .collect();
        for _ in 0..random.between(0, 40) {
            world.step();
        }
        for stream in streams {
            world.cancel(stream);
        }
        assert!(world.scheduler.is_idle());
        assert_eq!(world.scheduler.figures().kv_used, 0);
        // What is to be given back is given back with the next step.
        world.ask(Ask::new(0, text(99, 2), 1)).unwrap();
        world.run(10);
        assert!(world.device.used() <= 2);
    });
}

#[test]
fn a_pool_asked_for_twice_over_fails_nobody() {
    for_seeds("a_pool_asked_for_twice", 20, |seed| {
        let mut shape = crate::world::roomy(8);
        shape.context_tokens = 1024;
        shape.kv_cells = 8 * 512;
        let mut world = World::new(shape, Machine::SMALL, seed);
        let streams: Vec<_> = (0..16)
            .map(|number| {
                // All of the context: twice of what half of them could have at once.
                let ask = Ask::new(number % 4, text(u32::from(number), 200), 1024);
                world.ask(ask).unwrap()
            })
            .collect();
        world.run(100_000);
        for stream in streams {
            let told = &world.device.streams[&stream];
            assert_eq!(told.tokens.len(), 1024);
        }
        assert!(world.scheduler.figures().swapped_out_count > 0, "it was tight");
    });
}

#[test]
fn a_stream_that_cannot_be_computed_takes_nobody_along() {
    for_seeds("a_stream_that_cannot_be_computed", 100, |seed| {
        let mut world = World::new(crate::world::roomy(6), Machine::SMALL, seed);
        let streams: Vec<_> = (0..6)
            .map(|number| world.ask(Ask::new(0, text(number, 200), 30)).unwrap())
            .collect();
        for _ in 0..seed % 7 {
            world.step();
        }
        world.device.poisoned = Some(streams[2]);
        world.run(5_000);
        for stream in streams {
            let life = &world.lives[&stream];
            assert_eq!(life.has_failed, Some(stream) == world.device.poisoned, "{stream}");
        }
    });
}

#[test]
fn queues_are_bounded_for_a_tenant_and_for_all() {
    let mut shape = crate::world::roomy(2);
    shape.waiting_max = 10;
    shape.waiting_per_tenant_max = 4;
    let mut world = World::new(shape, Machine::SMALL, 1);
    let ask = |tenant| Ask::new(tenant, text(u32::from(tenant), 20), 5);
    // Two places are free.
    (0..6).for_each(|_| assert!(world.ask(ask(1)).is_ok()));
    assert!(matches!(world.ask(ask(1)), Err(Refusal::Overloaded { .. })));
    (0..6).for_each(|_| assert!(world.ask(ask(2)).is_ok()));
    assert!(matches!(world.ask(ask(3)), Err(Refusal::Overloaded { .. })));
    world.step();
    assert!(matches!(world.ask(ask(1)), Err(Refusal::Overloaded { .. })));
    world.run(1_000);
    assert!(world.ask(ask(1)).is_ok());
}

#[test]
fn what_is_impossible_is_refused_at_once() {
    let mut world = World::new(crate::world::roomy(2), Machine::SMALL, 1);
    let refused = |world: &mut World, prompt: usize, completion: usize| {
        matches!(
            world.ask(Ask::new(0, text(1, prompt), completion)),
            Err(Refusal::Impossible)
        )
    };
    assert!(refused(&mut world, 8192, 1));
    assert!(!refused(&mut world, 8191, 1));
    assert!(refused(&mut world, 10, 0));
}
