use std::os::unix::net::UnixStream as Socket;

use jingui_ipc::Channel;
use jingui_ipc::engine::{Finish, Token};

use super::*;

fn engines() -> (Arc<Engines>, Arc<EngineLink>, Option<Channel>) {
    let engines = Arc::new(Engines::default());
    let (ours, theirs) = Socket::pair().unwrap();
    let engine = Engine {
        model: crate::testing::model_facts("canary"),
        chat_template: "{{ messages }}".to_owned(),
        stream_context_tokens: 2048,
        stream_count: 4,
    };
    let digest = engine.model.package_digest.clone();
    engines.introduce(engine, theirs.into()).unwrap();
    assert!(engines.promote(&digest));
    let Found::Serving(link) = engines.find("canary") else {
        panic!()
    };
    (engines, link, Some(Channel::new(ours)))
}

/// Introduces an engine of a package and gives its end of the socket.
fn introduce(engines: &Arc<Engines>, digest: &str) -> Channel {
    let (ours, theirs) = Socket::pair().unwrap();
    let mut model = crate::testing::model_facts("canary");
    model.package_digest = digest.to_owned();
    let engine = Engine {
        model,
        chat_template: "{{ messages }}".to_owned(),
        stream_context_tokens: 2048,
        stream_count: 4,
    };
    engines.introduce(engine, theirs.into()).unwrap();
    Channel::new(ours)
}

fn generate() -> Generate {
    Generate::new(0, Vec::new())
}

fn token(stream: u64) -> FromEngine {
    FromEngine::Token(Box::new(Token {
        stream,
        id: 1,
        bytes: b"x".to_vec(),
        logprobs: None,
    }))
}

/// The next message to the engine. Reading blocks, so it is done on another thread.
async fn hear(channel: &mut Option<Channel>) -> ToEngine {
    let mut reading = channel.take().unwrap();
    let read = tokio::task::spawn_blocking(move || (reading.receive().unwrap(), reading));
    let (message, reading) = tokio::time::timeout(PATIENCE, read)
        .await
        .expect("it did not come")
        .unwrap();
    *channel = Some(reading);
    message
}

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

#[tokio::test]
async fn streams_are_taken_up_to_their_number_and_a_place_given_back_is_taken_again() {
    let (_engines, link, _channel) = engines();
    let mut open: Vec<Stream> = (0..STREAM_COUNT_MAX)
        .map(|_| link.start(&generate()).unwrap())
        .collect();
    assert_eq!(link.start(&generate()).unwrap_err(), StartFailure::Overloaded);
    drop(open.pop());
    // The place is free at once; the queue for the socket is not full although nothing was written yet.
    assert!(link.start(&generate()).is_ok());
}

#[tokio::test]
async fn a_client_may_fall_behind_by_so_many_events_and_by_no_more() {
    let (_engines, link, mut channel) = engines();
    let mut stream = link.start(&generate()).unwrap();
    assert!(matches!(hear(&mut channel).await, ToEngine::Generate(_)));
    for _ in 0..EVENT_COUNT_MAX {
        link.deliver(token(stream.number));
    }
    assert!(link.streams.lock().unwrap().contains_key(&stream.number));
    link.deliver(token(stream.number));
    assert_eq!(
        hear(&mut channel).await,
        ToEngine::Cancel {
            stream: stream.number
        }
    );
    for _ in 0..EVENT_COUNT_MAX {
        assert!(stream.next().await.is_ok(), "what had come is not lost");
    }
    assert_eq!(stream.next().await, Err(Lost));
    assert!(!link.is_gone(), "the engine is not to blame");
}

#[tokio::test]
async fn a_dropped_stream_is_cancelled_once_and_an_ended_one_is_not() {
    let (_engines, link, mut channel) = engines();
    let mut ended = link.start(&generate()).unwrap();
    let dropped = link.start(&generate()).unwrap();
    for _ in 0..2 {
        assert!(matches!(hear(&mut channel).await, ToEngine::Generate(_)));
    }
    let done = |stream| FromEngine::Done {
        stream,
        finish: Finish::Stop,
        prompt_tokens: 1,
        completion_tokens: 1,
        cached_tokens: 0,
    };
    channel.as_mut().unwrap().send(&done(ended.number)).unwrap();
    assert_eq!(ended.next().await, Ok(done(ended.number)));
    drop(ended);
    let number = dropped.number;
    drop(dropped);
    assert_eq!(
        hear(&mut channel).await,
        ToEngine::Cancel { stream: number },
        "nothing for the ended one before it"
    );
}

#[tokio::test]
async fn a_closed_socket_ends_every_stream_and_the_model_is_awaited() {
    let (engines, link, channel) = engines();
    let mut streams: Vec<Stream> = (0..3).map(|_| link.start(&generate()).unwrap()).collect();
    drop(channel);
    for stream in &mut streams {
        assert_eq!(stream.next().await, Err(Lost));
    }
    assert!(link.is_gone());
    assert_eq!(link.start(&generate()).unwrap_err(), StartFailure::Gone);
    assert!(matches!(engines.find("canary"), Found::Restarting(_)));
    assert!(matches!(engines.find("other"), Found::Unknown));
    assert!(engines.serving().is_none());
}

#[tokio::test]
async fn nobody_is_answered_by_an_engine_that_was_not_promoted() {
    let engines = Arc::new(Engines::default());
    let _channel = introduce(&engines, "d1");
    assert!(matches!(engines.find("canary"), Found::NothingYet));
    assert!(engines.serving().is_none());
    assert!(engines.introduced("d1").is_some(), "golden prompts can be asked");
    assert!(!engines.promote("d2"), "it was never introduced");
    assert!(matches!(engines.find("canary"), Found::NothingYet));
    assert!(engines.promote("d1"));
    assert!(matches!(engines.find("canary"), Found::Serving(_)));
}

#[tokio::test]
async fn a_promoted_engine_takes_new_streams_and_the_one_before_ends_its_own() {
    let engines = Arc::new(Engines::default());
    let _old_channel = introduce(&engines, "d1");
    engines.promote("d1");
    let Found::Serving(old) = engines.find("canary") else {
        panic!()
    };
    let mut running = old.start(&generate()).unwrap();
    let _new_channel = introduce(&engines, "d2");
    let Found::Serving(still) = engines.find("canary") else {
        panic!()
    };
    assert!(Arc::ptr_eq(&still, &old), "a candidate changes nothing");
    engines.promote("d2");
    let Found::Serving(new) = engines.find("canary") else {
        panic!()
    };
    assert_eq!(new.model().package_digest, "d2");
    old.deliver(token(running.number));
    assert_eq!(running.next().await, Ok(token(running.number)));
    engines.lose("d1");
    assert_eq!(running.next().await, Err(Lost));
    assert!(matches!(engines.find("canary"), Found::Serving(_)));
}

#[tokio::test]
async fn who_lost_an_engine_waits_for_the_next_one_that_is_promoted() {
    let (engines, lost, channel) = engines();
    drop(channel);
    let waiting = {
        let (engines, lost) = (Arc::clone(&engines), Arc::clone(&lost));
        tokio::spawn(async move { engines.follow(&lost).await })
    };
    while !lost.is_gone() {
        tokio::task::yield_now().await;
    }
    let digest = lost.model().package_digest.clone();
    let _channel = introduce(&engines, &digest);
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished(), "introduced is not promoted");
    engines.promote(&digest);
    let next = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert!(!Arc::ptr_eq(&next, &lost) && next.model().package_digest == digest);
}

#[tokio::test]
async fn bytes_that_are_no_message_end_the_conversation() {
    use std::io::Write;
    let (_engines, link, channel) = engines();
    let mut stream = link.start(&generate()).unwrap();
    channel.unwrap().socket().write_all(&[0xff; 16]).unwrap();
    assert_eq!(stream.next().await, Err(Lost));
    assert!(link.is_gone());
}
