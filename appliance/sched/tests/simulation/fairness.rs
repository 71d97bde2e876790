//! Who gets how much, and who waits for whom.

use jingui_sched::{Class, TILE_STEP_MAX_US};

use crate::device::Machine;
use crate::random::for_seeds;
use crate::world::{Ask, World, roomy, text};

fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    sum * sum / (shares.len() as f64 * squares)
}

#[test]
fn one_stream_of_a_tenant_runs_at_full_speed_beside_fifteen_of_another() {
    for_seeds("one_stream_of_a_tenant", 20, |seed| {
        let mut world = World::new(roomy(8), Machine::SMALL, seed);
        let many: Vec<_> = (0..15)
            .map(|number| world.ask(Ask::new(1, text(number, 60), 4000)).unwrap())
            .collect();
        for _ in 0..40 {
            world.step();
        }
        let one = world.ask(Ask::new(2, text(77, 60), 4000)).unwrap();
        let began = world.now;
        world.run_until(began + 60_000_000);
        let rate = |stream: u64| {
            let times = &world.lives[&stream].token_times;
            times.iter().filter(|time| **time > began).count() as f64 / 60.0
        };
        assert!(
            world.lives[&one].first_token_after() < 1_000_000,
            "it is admitted at once"
        );
        let served: Vec<f64> = many
            .iter()
            .map(|stream| rate(*stream))
            .filter(|rate| *rate > 0.0)
            .collect();
        let mean = served.iter().sum::<f64>() / served.len() as f64;
        assert!(jain(&[rate(one), mean]) >= 0.9, "{} against {mean}", rate(one));
        // A token in each step: nobody could have more.
        let steps = world.step_times.len() as f64;
        let made = world.lives[&one].token_times.len() as f64;
        assert!(made > (steps - 60.0) * 0.95, "{made} tokens in {steps} steps");
    });
}

#[test]
fn a_tenant_with_one_request_at_a_time_gets_its_share_beside_one_with_fifteen() {
    for_seeds("a_tenant_with_one_request", 10, |seed| {
        let mut world = World::new(roomy(8), Machine::SMALL, seed);
        let mut open: Vec<(u8, u64)> = Vec::new();
        let mut number = 0;
        let mut got = [0usize; 3];
        let until = world.now + 120_000_000;
        while world.now < until {
            for (tenant, wanted) in [(1u8, 15), (2, 1)] {
                while open.iter().filter(|(of, _)| *of == tenant).count() < wanted {
                    number += 1;
                    let stream = world.ask(Ask::new(tenant, text(number, 256), 32)).unwrap();
                    open.push((tenant, stream));
                }
            }
            world.step();
            open.retain(|(tenant, stream)| {
                let is_over = world.lives[stream].ended_at.is_some();
                if is_over {
                    got[usize::from(*tenant)] += 256 + 32;
                }
                !is_over
            });
        }
        let shares = [got[1] as f64, got[2] as f64];
        assert!(jain(&shares) >= 0.9, "{shares:?}");
    });
}

#[test]
fn tenants_with_long_queues_get_the_same_share() {
    for_seeds("tenants_with_long_queues", 10, |seed| {
        let mut shape = roomy(6);
        shape.waiting_per_tenant_max = 200;
        shape.waiting_max = 600;
        let mut world = World::new(shape, Machine::SMALL, seed);
        // The second asks for three times as many, the third for longer ones.
        let mut number = 0;
        for (tenant, count, prompt) in [(1, 60, 200), (2, 180, 200), (3, 60, 600)] {
            for _ in 0..count {
                number += 1;
                world.ask(Ask::new(tenant, text(number, prompt), 100)).unwrap();
            }
        }
        let until = world.now + 120_000_000;
        world.run_until(until);
        let share = |tenant: u8| {
            world
                .lives
                .iter()
                .filter(|(stream, _)| world.device.streams[stream].tenant == crate::world::tenant(tenant))
                .map(|(_, life)| life.token_times.len() as f64)
                .sum::<f64>()
        };
        let shares = [share(1), share(2), share(3)];
        assert!(jain(&shares) >= 0.9, "{shares:?}");
    });
}

#[test]
fn a_long_prompt_does_not_stop_those_who_make_tokens() {
    for_seeds("a_long_prompt_does_not_stop", 20, |seed| {
        let mut world = World::new(roomy(8), Machine::SMALL, seed);
        let talker = world.ask(Ask::new(1, text(1, 40), 400)).unwrap();
        for _ in 0..60 {
            world.step();
        }
        let long = world.ask(Ask::new(2, text(2, 4000), 10)).unwrap();
        world.run(20_000);
        let gap = world.lives[&talker].longest_gap();
        assert!(gap < TILE_STEP_MAX_US, "{gap} us between two tokens");
        // And the prompt is computed at the speed of the machine, but for the chunks' overhead.
        let alone = Machine::SMALL.takes(jingui_sched::Load::rows(0, 4000, 1));
        let took = world.lives[&long].first_token_after();
        assert!(took < alone * 5 / 4, "{took} us instead of {alone}");
    });
}

/// The longest gap of five chats with so many tokens behind them while a prompt of 4k arrives, and how long that takes.
fn chats_beside_a_prompt(history: usize, seed: u64) -> (u64, u64) {
    let mut world = World::new(roomy(8), Machine::TILED, seed);
    let chats: Vec<_> = (0..5)
        .map(|number| world.ask(Ask::new(1, text(number, history), 2000)).unwrap())
        .collect();
    while chats.iter().any(|chat| world.lives[chat].token_times.len() < 20) {
        world.step();
    }
    let begin = world.now;
    let prompt = world.ask(Ask::new(1, text(77, 4096), 5)).unwrap();
    while world.lives[&prompt].ended_at.is_none() {
        world.step();
    }
    let gap_of = |chat: &u64| {
        let times = world.lives[chat]
            .token_times
            .iter()
            .filter(|time| **time >= begin);
        let times: Vec<u64> = times.copied().collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
    };
    let gap = chats.iter().map(gap_of).max().unwrap();
    (gap, world.now - begin)
}

#[test]
fn long_chats_do_not_share_a_tile_of_attention_with_a_prompt() {
    for_seeds("long_chats_do_not_share", 20, |seed| {
        let (gap, took) = chats_beside_a_prompt(1500, seed);
        // In one step of 64 rows all of them would take 380 ms at the prompt's end, and 20 s in all.
        assert!(gap < 250_000, "a gap of {gap} us");
        assert!(took < 14_000_000, "{took} us");
    });
}

#[test]
fn short_chats_share_it() {
    for_seeds("short_chats_share_it", 20, |seed| {
        let (gap, took) = chats_beside_a_prompt(20, seed);
        assert!(gap < 250_000, "a gap of {gap} us");
        assert!(took < 11_500_000, "{took} us");
    });
}

#[test]
fn a_short_request_does_not_wait_for_long_prompts() {
    for_seeds("a_short_request_does_not_wait", 20, |seed| {
        let mut world = World::new(roomy(8), Machine::SMALL, seed);
        // The machine is known.
        world.ask(Ask::new(1, text(1, 600), 30)).unwrap();
        world.run(1_000);
        (0..3).for_each(|number| {
            world.ask(Ask::new(1, text(50 + number, 4000), 20)).unwrap();
        });
        for _ in 0..seed % 5 + 1 {
            world.step();
        }
        let short = world.ask(Ask::new(1, text(9, 20), 10)).unwrap();
        world.run(20_000);
        let wait = world.lives[&short].first_token_after();
        assert!(wait < 1_000_000, "{wait} us");
    });
}

#[test]
fn an_endless_stream_of_short_requests_does_not_starve_a_long_one() {
    for_seeds("an_endless_stream_of_short", 10, |seed| {
        let mut world = World::new(roomy(4), Machine::SMALL, seed);
        let long = world.ask(Ask::new(1, text(2, 3000), 10)).unwrap();
        let mut number = 100;
        while world.lives[&long].ended_at.is_none() {
            while world.open().len() < 8 {
                number += 1;
                world.ask(Ask::new(1, text(number, 120), 4)).unwrap();
            }
            world.step();
            assert!(world.now < 400_000_000, "it starves");
        }
    });
}

#[test]
fn batch_work_gives_way_and_still_moves() {
    for_seeds("batch_work_gives_way", 10, |seed| {
        let mut world = World::new(roomy(4), Machine::SMALL, seed);
        let batch: Vec<_> = (0..4)
            .map(|number| {
                let mut ask = Ask::new(1, text(number, 1000), 200);
                ask.class = Class::Batch;
                world.ask(ask).unwrap()
            })
            .collect();
        for _ in 0..10 {
            world.step();
        }
        let mut number = 100;
        let mut waits = Vec::new();
        while batch.iter().any(|stream| world.lives[stream].ended_at.is_none()) {
            if world.now < 300_000_000 && world.open().len() < 7 {
                number += 1;
                waits.push(world.ask(Ask::new(2, text(number, 100), 30)).unwrap());
            }
            world.step();
            assert!(world.now < 900_000_000, "batch work starves");
        }
        world.run(100_000);
        let slow = waits
            .iter()
            .filter(|stream| world.lives[stream].first_token_after() > 8_000_000)
            .count();
        assert!(slow * 10 < waits.len(), "{slow} of {} waited", waits.len());
    });
}
