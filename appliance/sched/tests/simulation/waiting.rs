//! What people who wait are told.

use crate::device::Machine;
use crate::random::for_seeds;
use crate::world::{Ask, World, roomy, text};

#[test]
fn estimates_are_right_within_a_factor() {
    for_seeds("estimates_are_right", 20, |seed| {
        let mut world = World::new(roomy(4), Machine::SMALL, seed);
        // What answers are like here is known.
        (0..40).for_each(|number| {
            world.ask(Ask::new(1, text(number, 100), 100)).unwrap();
            world.run_until(world.now + 100_000);
        });
        world.run(50_000);
        let streams: Vec<_> = (0..24)
            .map(|number| world.ask(Ask::new(1, text(200 + number, 100), 100)).unwrap())
            .collect();
        world.run(50_000);
        for (place, stream) in streams.iter().enumerate().skip(4) {
            let life = &world.lives[stream];
            let (told_at, notice) = life.notices[0];
            assert_eq!(notice.ahead_count, place - 4, "its place in the queue");
            let wait = life.token_times[0] - told_at;
            let ratio = notice.estimate_us as f64 / wait as f64;
            assert!(
                (0.4..2.5).contains(&ratio),
                "{} told, {wait} waited",
                notice.estimate_us
            );
        }
    });
}

#[test]
fn places_in_the_queue_only_get_better() {
    let mut world = World::new(roomy(2), Machine::SMALL, 1);
    let streams: Vec<_> = (0..12)
        .map(|number| world.ask(Ask::new(1, text(number, 50), 60)).unwrap())
        .collect();
    world.run(50_000);
    for stream in &streams {
        let places: Vec<usize> = world.lives[stream]
            .notices
            .iter()
            .map(|(_, notice)| notice.ahead_count)
            .collect();
        assert!(places.is_sorted_by(|a, b| a >= b), "{places:?}");
    }
    assert!(world.lives[&streams[0]].notices.is_empty(), "it did not wait");
    assert!(!world.lives[&streams[11]].notices.is_empty());
}
