//! Gateways that come, go, break and do not read.

use std::io::Write;

use jingui_ipc::engine::{Finish, FromEngine, ToEngine};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::harness::{Engine, chat, endless};

#[test]
fn a_gateway_that_goes_takes_its_streams_along() {
    let mut engine = Engine::serving(2, 2048);
    let mut gateway = engine.connect();
    (0..6).for_each(|stream| gateway.generate(endless(stream)));
    gateway.first_token(0);
    engine.beat_until(|_, work| work == 6);
    drop(gateway);
    engine.beat_until(|_, work| work == 0);
    assert_eq!(engine.connect().answer(chat(0, "repeat: x")).text(), "\nx");
}

#[test]
fn a_new_gateway_replaces_the_one_before() {
    let mut engine = Engine::serving(2, 2048);
    let mut before = engine.connect();
    (0..4).for_each(|stream| before.generate(endless(stream)));
    before.first_token(0);
    let mut after = engine.connect();
    // The same number names another stream now.
    assert_eq!(after.answer(chat(0, "repeat: x")).text(), "\nx");
    assert!(before.is_closed());
    engine.beat_until(|_, work| work == 0);
}

#[test]
fn malformed_frames_end_the_conversation_and_nothing_else() {
    let mut engine = Engine::serving(2, 512);
    let mut runner = TestRunner::deterministic();
    let bytes = proptest::collection::vec(any::<u8>(), 0..200);
    for _ in 0..64 {
        let gateway = engine.connect();
        let bytes = bytes.new_tree(&mut runner).unwrap().current();
        // The engine may close before all is written.
        let _cut_off = gateway.channel.socket().write_all(&bytes);
    }
    let too_long = [0xff; 8];
    let trailing = {
        let mut frame = jingui_ipc::encode(&ToEngine::Cancel { stream: 1 }).unwrap();
        frame.push(9);
        frame[0] += 1;
        frame
    };
    for bytes in [too_long.as_slice(), trailing.as_slice()] {
        let mut gateway = engine.connect();
        gateway.channel.socket().write_all(bytes).unwrap();
        assert!(gateway.is_closed());
    }
    assert_eq!(engine.connect().answer(chat(1, "repeat: x")).text(), "\nx");
}

#[test]
fn a_frame_cut_off_in_the_middle_ends_quietly() {
    let mut engine = Engine::serving(1, 512);
    let frame = jingui_ipc::encode(&ToEngine::Generate(Box::new(endless(1)))).unwrap();
    for length in [1, 3, 4, 5, frame.len() - 1] {
        let gateway = engine.connect();
        gateway.channel.socket().write_all(&frame[..length]).unwrap();
        drop(gateway);
    }
    assert_eq!(engine.connect().answer(chat(1, "repeat: x")).text(), "\nx");
}

#[test]
fn a_gateway_that_does_not_read_is_cut_off() {
    let mut engine = Engine::serving(8, 2048);
    let mut gateway = engine.connect();
    for stream in 0..24 {
        let mut generate = endless(stream);
        generate.logprobs = Some(20);
        gateway.generate(generate);
    }
    engine.beat_until(|_, work| work > 0);
    engine.beat_until(|_, work| work == 0);
    let mut done_count = 0;
    while let Ok(event) = gateway.channel.receive::<FromEngine>() {
        done_count += usize::from(matches!(event, FromEngine::Done { .. }));
    }
    assert!(
        done_count < 24,
        "events were dropped, and the conversation with them"
    );
    assert_eq!(engine.connect().answer(chat(0, "repeat: x")).text(), "\nx");
}

#[test]
fn a_gateway_reads_the_end_of_each_stream_once() {
    let mut engine = Engine::serving(2, 512);
    let mut gateway = engine.connect();
    for round in 0..20 {
        gateway.generate(endless(round));
        gateway.cancel(round);
        gateway.cancel(round);
    }
    let answers = gateway.answers(0..20);
    assert!(
        answers
            .values()
            .all(|answer| *answer.finish() == Finish::Cancelled)
    );
    // `answers` asserts that no second end comes; this one comes after all of them.
    assert_eq!(gateway.answer(chat(100, "repeat: x")).text(), "\nx");
}
