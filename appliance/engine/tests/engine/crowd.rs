//! More people than places, and less room than they ask for.

use jingui_ipc::engine::{Class, Finish, Generate, Load, Order, Tenant};

use crate::harness::{Engine, cases, chat, endless, order, request};

#[test]
fn a_pool_that_is_asked_for_twice_over_fails_nobody() {
    // Twelve streams that each want all of their context, six places, room for two and a half.
    let mut engine = Engine::serving_with(
        Load {
            kv_tokens: 2560,
            ..order(6, 1024)
        },
        None,
    );
    let mut gateway = engine.connect();
    for stream in 0..12u64 {
        gateway.generate(Generate {
            tenant: Tenant([u8::try_from(stream % 3).unwrap(); 16]),
            ..endless(stream)
        });
    }
    let answers = gateway.answers(0..12);
    for answer in answers.values() {
        let (finish, prompt, completion) = answer.done.clone().unwrap();
        assert_eq!(finish, Finish::Length);
        assert_eq!(prompt + completion, 1024);
        assert_eq!(answer.tokens.len(), completion as usize);
    }
    // All of them said the same, those that were swapped out included.
    let texts: Vec<Vec<u32>> = answers
        .values()
        .map(|answer| answer.ids()[..20].to_vec())
        .collect();
    assert!(texts.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_tenant_with_one_request_is_served_beside_another_with_fifteen() {
    let mut engine = Engine::serving(4, 2048);
    let mut gateway = engine.connect();
    for stream in 0..15 {
        gateway.generate(endless(stream));
    }
    gateway.first_token(3);
    gateway.generate(Generate {
        tenant: Tenant([9; 16]),
        ..chat(99, "repeat: x y z")
    });
    let answer = gateway.answers([99]).remove(&99).unwrap();
    assert_eq!(answer.text(), "\nx y z");
    // It did not wait for one of the fifteen to end, and nobody ended for it.
    (0..15).for_each(|stream| gateway.cancel(stream));
    let answers = gateway.answers(0..15);
    assert!(
        answers
            .values()
            .all(|answer| *answer.finish() == Finish::Cancelled)
    );
}

#[test]
fn batch_work_waits_for_people_and_ends_all_the_same() {
    let mut engine = Engine::serving(2, 2048);
    let mut gateway = engine.connect();
    for stream in 0..4 {
        let mut generate = endless(stream);
        generate.class = Class::Batch;
        generate.completion_tokens_max = Some(300);
        gateway.generate(generate);
    }
    gateway.first_token(1);
    for stream in 10..16 {
        gateway.generate(chat(stream, "repeat: x"));
    }
    let answers = gateway.answers((0..4).chain(10..16));
    assert!((10..16).all(|stream| answers[&stream].text() == "\nx"));
    for stream in 0..4 {
        assert_eq!(answers[&stream].done.as_ref().unwrap().2, 300);
    }
}

#[test]
fn who_waits_is_told_of_the_place_in_the_queue() {
    let mut engine = Engine::serving(1, 2048);
    let mut gateway = engine.connect();
    gateway.generate(endless(0));
    gateway.first_token(0);
    (1..4).for_each(|stream| gateway.generate(chat(stream, "repeat: x")));
    // All three have been told once the last one was.
    let mut first_told = Vec::new();
    while first_told.len() < 3 {
        if let jingui_ipc::engine::FromEngine::Queued {
            stream,
            ahead_count,
            estimate_ms,
        } = gateway.event()
        {
            assert!(estimate_ms > 0);
            first_told.push((stream, ahead_count));
        }
    }
    first_told.sort_unstable();
    assert_eq!(first_told, [(1, 0), (2, 1), (3, 2)]);
    gateway.cancel(0);
    let answers = gateway.answers(0..4);
    assert!((1..4).all(|stream| answers[&stream].text() == "\nx"));
}

#[test]
fn the_number_of_threads_changes_while_streams_run() {
    let mut engine = Engine::serving(2, 2048);
    let mut gateway = engine.connect();
    let cases = cases();
    for (stream, case) in (0u64..).zip(cases.iter().take(8)) {
        let count = u32::try_from(stream % 3 + 1).unwrap();
        gateway.generate(request(stream, case.prompt.clone()));
        engine.supervisor.send(&Order::Threads { count }).unwrap();
        assert_eq!(gateway.answers([stream])[&stream].text(), case.reference_output);
        engine.skip_beats();
    }
    // Nonsense changes nothing.
    engine.supervisor.send(&Order::Threads { count: 0 }).unwrap();
    assert_eq!(gateway.answer(chat(99, "repeat: x")).text(), "\nx");
}
