//! What is computed once and used often.

use jingui_sched::{CacheUse, IDLE_US, Shape};

use crate::device::Machine;
use crate::random::for_seeds;
use crate::world::{Ask, World, roomy, text};

fn with_prefix(of: u32, length: usize, own: u32, count: usize) -> Vec<u32> {
    let mut prompt = text(of, length);
    prompt.extend(text(1_000 + own, count));
    prompt
}

#[test]
fn eight_requests_at_once_with_the_same_prefix_compute_it_once() {
    for_seeds("eight_requests_at_once", 20, |seed| {
        let mut world = World::new(roomy(8), Machine::SMALL, seed);
        for number in 0..8 {
            world
                .ask(Ask::new(1, with_prefix(5, 2000, number, 20), 10))
                .unwrap();
        }
        world.run(5_000);
        let rows = world.device.prompt_rows;
        assert!(rows <= 2000 + 8 * 20 + 8 * 8, "{rows} rows");
        let cached: usize = world.lives.values().map(|life| life.cached).sum();
        assert!(cached >= 7 * 1990, "{cached} tokens");
    });
}

#[test]
fn who_waits_for_a_prefix_takes_over_when_its_maker_is_cancelled() {
    for_seeds("who_waits_for_a_prefix", 50, |seed| {
        let mut world = World::new(roomy(8), Machine::SMALL, seed);
        let streams: Vec<_> = (0..6)
            .map(|number| {
                world
                    .ask(Ask::new(1, with_prefix(5, 2000, number, 20), 10))
                    .unwrap()
            })
            .collect();
        for stream in &streams[..3] {
            for _ in 0..seed % 3 + 1 {
                world.step();
            }
            world.cancel(*stream);
        }
        world.run(5_000);
        let rows = world.device.prompt_rows;
        assert!(
            rows <= 2000 + 6 * 20 + 6 * 8,
            "nothing is computed twice: {rows} rows"
        );
        assert!(
            streams[3..]
                .iter()
                .all(|stream| !world.lives[stream].was_cancelled)
        );
    });
}

#[test]
fn no_tenant_profits_from_another() {
    let mut world = World::new(roomy(4), Machine::SMALL, 1);
    world.ask(Ask::new(1, with_prefix(5, 1000, 1, 20), 10)).unwrap();
    world.run(1_000);
    let other = world.ask(Ask::new(2, with_prefix(5, 1000, 1, 20), 10)).unwrap();
    world.run(1_000);
    assert_eq!(world.lives[&other].cached, 0);
    let same = world.ask(Ask::new(1, with_prefix(5, 1000, 2, 20), 10)).unwrap();
    let mut off = Ask::new(1, with_prefix(5, 1000, 2, 20), 10);
    off.cache = CacheUse::Off;
    let off = world.ask(off).unwrap();
    world.run(1_000);
    assert!(world.lives[&same].cached >= 1000);
    assert_eq!(world.lives[&off].cached, 0);
}

#[test]
fn the_turns_of_a_chat_compute_only_what_is_new() {
    let mut world = World::new(roomy(2), Machine::SMALL, 1);
    let mut prompt = text(1, 500);
    for turn in 0..6 {
        let before = world.device.prompt_rows;
        let stream = world.ask(Ask::new(1, prompt.clone(), 50)).unwrap();
        world.run(1_000);
        let rows = world.device.prompt_rows - before;
        assert!(turn == 0 || rows <= 45, "{rows} rows in turn {turn}");
        prompt = world.device.streams[&stream].tokens.clone();
        prompt.extend(text(500 + turn, 40));
    }
    // The leaves of earlier turns are part of later ones.
    assert_eq!(world.scheduler.figures().kv_used, world.device.used());
}

#[test]
fn a_pinned_prefix_stays_when_others_go() {
    let shape = Shape {
        kv_cells: 4096,
        context_tokens: 2048,
        ..roomy(2)
    };
    let cached_of = |cache: CacheUse| {
        let mut world = World::new(shape, Machine::SMALL, 1);
        let mut first = Ask::new(1, text(5, 1000), 10);
        first.cache = cache;
        world.ask(first).unwrap();
        world.run(1_000);
        for number in 0..20 {
            world.ask(Ask::new(2, text(100 + number, 900), 10)).unwrap();
            world.run(1_000);
        }
        let again = world.ask(Ask::new(1, with_prefix(5, 1000, 3, 20), 10)).unwrap();
        world.run(1_000);
        world.lives[&again].cached
    };
    assert!(cached_of(CacheUse::Pin) >= 1000);
    assert!(cached_of(CacheUse::Use) < 500, "others were newer");
}

#[test]
fn what_is_often_used_outlives_what_is_not() {
    let shape = Shape {
        kv_cells: 6000,
        context_tokens: 2048,
        ..roomy(2)
    };
    let mut world = World::new(shape, Machine::SMALL, 1);
    for number in 0..40 {
        world
            .ask(Ask::new(1, with_prefix(5, 1000, number, 30), 10))
            .unwrap();
        world.run(1_000);
        world.ask(Ask::new(1, text(300 + number, 1000), 10)).unwrap();
        world.run(1_000);
    }
    let popular: Vec<usize> = world
        .lives
        .values()
        .step_by(2)
        .skip(1)
        .map(|life| life.cached)
        .collect();
    assert!(popular.iter().all(|cached| *cached >= 1000), "{popular:?}");
}

#[test]
fn a_new_worker_restores_what_the_tiers_have() {
    let shape = Shape {
        has_tiers: true,
        idle_leaves: false,
        ..roomy(4)
    };
    let mut first = World::new(shape, Machine::SMALL, 1);
    first.ask(Ask::new(1, with_prefix(5, 2000, 1, 20), 60)).unwrap();
    first.run(5_000);
    // The worker is gone; its tiers are not.
    let mut second = World::new(shape, Machine::SMALL, 2);
    std::mem::swap(second.device.tiers_mut(), first.device.tiers_mut());
    let stream = second.ask(Ask::new(1, with_prefix(5, 2000, 2, 20), 10)).unwrap();
    second.run(5_000);
    assert!(second.lives[&stream].cached >= 2000 / 128 * 128 - 128);
    assert!(second.device.prompt_rows < 260);
}

#[test]
fn what_nobody_asks_for_leaves_the_pool_and_comes_back_from_the_tiers() {
    let shape = Shape {
        has_tiers: true,
        idle_leaves: true,
        ..roomy(4)
    };
    let mut world = World::new(shape, Machine::SMALL, 1);
    world.ask(Ask::new(1, with_prefix(5, 2000, 1, 20), 60)).unwrap();
    world.run(5_000);
    assert!(world.device.used() >= 2000, "a while it stays");
    world.run_until(world.now + IDLE_US + 1);
    world.ask(Ask::new(2, text(9, 50), 10)).unwrap();
    world.run(1_000);
    assert!(world.device.used() <= 60, "{} cells", world.device.used());

    let before = world.device.prompt_rows;
    let again = world.ask(Ask::new(1, with_prefix(5, 2000, 2, 20), 10)).unwrap();
    world.run(5_000);
    assert!(world.lives[&again].cached >= 2000 / 128 * 128 - 128);
    assert!(world.device.prompt_rows - before < 260);
}

#[test]
fn an_idle_prefix_stays_where_the_tiers_are_small() {
    let shape = Shape {
        has_tiers: true,
        ..roomy(4)
    };
    let mut world = World::new(shape, Machine::SMALL, 1);
    world.ask(Ask::new(1, text(5, 2000), 60)).unwrap();
    world.run(5_000);
    world.run_until(world.now + IDLE_US + 1);
    world.ask(Ask::new(2, text(9, 50), 10)).unwrap();
    world.run(1_000);
    assert!(world.device.used() >= 2000);
}
