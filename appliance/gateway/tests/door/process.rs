//! The process: its beginning, the supervisor's orders, its end.

use std::os::unix::net::UnixStream;

use crate::support::*;
use jingui_gateway::clock::Clock;
use jingui_gateway::gateway::{Limits, ServeFailure, Start, serve};
use jingui_ipc::Channel;
use jingui_ipc::control::{NewUser, Private};
use jingui_ipc::engine::Finish;
use jingui_ipc::gateway::{Produced, Task, ToGateway, ToSupervisor};

#[tokio::test]
async fn the_gateway_beats_at_least_once_a_second() {
    let bench = bench().await;
    for _ in 0..3 {
        let beat = bench
            .supervisor
            .heard(|message| matches!(message, ToSupervisor::Beat));
        tokio::time::timeout(std::time::Duration::from_secs(1), beat)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn the_gateway_ends_with_its_supervisor() {
    let bench = bench().await;
    let mut engine = bench.engine().await;
    let key = bench.key().await;
    let (mut events, _) = tokio::join!(bench.client.stream(&key, question("x")), async {
        let generate = engine.generate().await;
        engine.accept(generate.stream, 4);
    });
    events.chunk().await;
    bench.supervisor.die();
    patiently(bench.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_first_message_that_is_no_configuration_ends_it() {
    let (ours, control) = UnixStream::pair().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    Channel::new(ours.try_clone().unwrap())
        .send(&ToGateway::Drain { deadline_ms: 1 })
        .unwrap();
    let start = Start {
        control,
        listener,
        state_folder: folder.path().to_owned(),
        landlock_abi: 0,
        clock: Clock::Machine,
        limits: Limits::default(),
    };
    assert!(matches!(
        patiently(serve(start)).await,
        Err(ServeFailure::NotConfigured)
    ));
    drop(ours);
}

#[tokio::test]
async fn bytes_that_are_no_message_end_it() {
    use std::io::Write;
    let (mut ours, control) = UnixStream::pair().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    ours.write_all(&[0xff; 64]).unwrap();
    let start = Start {
        control,
        listener,
        state_folder: folder.path().to_owned(),
        landlock_abi: 0,
        clock: Clock::Machine,
        limits: Limits::default(),
    };
    assert!(matches!(
        patiently(serve(start)).await,
        Err(ServeFailure::NotConfigured)
    ));
}

#[tokio::test]
async fn a_drain_lets_streams_finish_and_takes_nothing_new() {
    let bench = bench().await;
    let mut engine = bench.engine().await;
    let key = bench.key().await;
    let (mut events, generate) = tokio::join!(bench.client.stream(&key, question("x")), async {
        let generate = engine.generate().await;
        engine.accept(generate.stream, 4);
        generate
    });
    events.chunk().await;
    bench.supervisor.tell(&ToGateway::Drain { deadline_ms: 15_000 });
    // The listener closes; that is the sign that the drain was taken up.
    patiently(async {
        while bench.client.tls(&[b"http/1.1"]).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    engine.token(generate.stream, "1");
    engine.done(generate.stream, Finish::Stop, 4, 2);
    assert_eq!(events.content().await, "1");
    let rest = events.rest().await;
    assert_eq!(rest.last().unwrap(), "data: [DONE]");
    patiently(bench.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_drain_that_is_over_ends_streams_with_an_error_and_their_leaf() {
    let bench = bench().await;
    let mut engine = bench.engine().await;
    let key = bench.key().await;
    let (mut events, generate) = tokio::join!(bench.client.stream(&key, question("x")), async {
        let generate = engine.generate().await;
        engine.accept(generate.stream, 4);
        generate
    });
    events.chunk().await;
    bench.supervisor.tell(&ToGateway::Drain { deadline_ms: 100 });
    assert_eq!(engine.cancelled().await, generate.stream);
    engine.done(generate.stream, Finish::Cancelled, 4, 0);
    assert_eq!(events.chunk().await["error"]["code"], "overloaded");
    assert_eq!(events.next().await, None);
    let (record, inference) = bench.inference().await;
    assert_eq!(
        (record.why.as_str(), inference.finish.as_str()),
        ("api.stopping", "error")
    );
    patiently(bench.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn tasks_of_the_supervisor_are_done_or_refused_with_a_code() {
    let bench = bench().await;
    let key = |label: &str| Task::CreateKey {
        label: label.to_owned(),
        owner: "a-0002".to_owned(),
    };
    let Ok(Produced::Key { key_id, key: made }) = bench.supervisor.perform(key("build")).await else {
        panic!()
    };
    assert!(made.0.starts_with(&format!("{key_id}.")));
    let refusal = bench.supervisor.perform(key("")).await.unwrap_err();
    assert_eq!(refusal.code, "api.key.label-malformed");
    let user = |password: &str| {
        Task::CreateUser(NewUser {
            username: "wang".to_owned(),
            password: Private(password.to_owned()),
            totp_secret: Private(SECRET.to_owned()),
        })
    };
    let refusal = bench.supervisor.perform(user("weak")).await.unwrap_err();
    assert_eq!(refusal.code, "auth.password.too-short");
    assert_eq!(refusal.facts, [("username".to_owned(), "wang".to_owned())]);
    assert!(matches!(
        bench.supervisor.perform(user(PASSWORD)).await,
        Ok(Produced::User { .. })
    ));
    assert_eq!(
        bench.supervisor.perform(user(PASSWORD)).await.unwrap_err().code,
        "api.user.exists"
    );
}

#[tokio::test]
async fn a_second_engine_takes_over_from_the_first() {
    let bench = bench().await;
    let first = bench.engine().await;
    let key = bench.key().await;
    bench.supervisor.tell(&ToGateway::EngineGone {
        package_digest: DIGEST.to_owned(),
        why: "engine.replaced".to_owned(),
    });
    let mut second = bench.engine_of("other", &"12".repeat(32)).await;
    let mut body = question("x");
    body["model"] = "other".into();
    let (reply, _) = tokio::join!(bench.client.chat(&key, body), second.answer(&["yes"]));
    assert_eq!(reply.status, 200);
    let gone = bench.client.chat(&key, question("x")).await;
    assert_eq!(gone.status, 404, "the first is not coming back: {gone:?}");
    drop(first);
}
