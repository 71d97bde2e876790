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
    engines.connect(engine, theirs.into()).unwrap();
    let Found::Serving(link) = engines.find("canary") else {
        panic!()
    };
    (engines, link, Some(Channel::new(ours)))
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
        .map(|_| link.start(generate()).unwrap())
        .collect();
    assert_eq!(link.start(generate()).unwrap_err(), StartFailure::Overloaded);
    drop(open.pop());
    // The place is free at once; the queue for the socket is not full although nothing was written yet.
    assert!(link.start(generate()).is_ok());
}

#[tokio::test]
async fn a_client_may_fall_behind_by_so_many_events_and_by_no_more() {
    let (_engines, link, mut channel) = engines();
    let mut stream = link.start(generate()).unwrap();
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
    let mut ended = link.start(generate()).unwrap();
    let dropped = link.start(generate()).unwrap();
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
    let mut streams: Vec<Stream> = (0..3).map(|_| link.start(generate()).unwrap()).collect();
    drop(channel);
    for stream in &mut streams {
        assert_eq!(stream.next().await, Err(Lost));
    }
    assert!(link.is_gone());
    assert_eq!(link.start(generate()).unwrap_err(), StartFailure::Gone);
    while !matches!(engines.find("canary"), Found::Restarting) {
        tokio::task::yield_now().await;
    }
    assert!(matches!(engines.find("other"), Found::Unknown));
    assert!(engines.serving().is_empty());
}

#[tokio::test]
async fn bytes_that_are_no_message_end_the_conversation() {
    use std::io::Write;
    let (_engines, link, channel) = engines();
    let mut stream = link.start(generate()).unwrap();
    channel.unwrap().socket().write_all(&[0xff; 16]).unwrap();
    assert_eq!(stream.next().await, Err(Lost));
    assert!(link.is_gone());
}
