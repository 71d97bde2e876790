//! Engines that die, wait or are replaced under running requests: what clients notice, which is as little as can be.

use std::time::Duration;

use crate::support::*;
use jingui_gateway::gateway::Limits;
use jingui_ipc::engine::{Finish, FromEngine, Generate, Segment};
use jingui_ipc::gateway::{Outcome, ToGateway};
use serde_json::json;

const NEXT_DIGEST: &str = "1212121212121212121212121212121212121212121212121212121212121212";

/// A stream that runs and has got the tokens 11 and 12, `one` and ` two`.
async fn running(bench: &Bench, engine: &mut FakeEngine, key: &str) -> (Events, Generate) {
    let mut body = question("count");
    body["stream_options"] = json!({ "include_usage": true });
    let (mut events, generate) = tokio::join!(bench.client.stream(key, body), async {
        let generate = engine.generate().await;
        engine.say(&FromEngine::Accepted {
            stream: generate.stream,
            prompt_tokens: 9,
        });
        engine.started(generate.stream, 4);
        engine.token_with_id(generate.stream, 11, "one");
        engine.token_with_id(generate.stream, 12, " two");
        generate
    });
    events.chunk().await;
    let mut text = String::new();
    while text != "one two" {
        text.push_str(&events.content().await);
    }
    (events, generate)
}

fn prompt_of(generate: &Generate) -> String {
    generate
        .prompt
        .iter()
        .map(|segment| match segment {
            Segment::Scaffold(text) | Segment::Text(text) => text.as_str(),
        })
        .collect()
}

#[tokio::test]
async fn a_stream_goes_on_with_the_next_engine_after_the_last_token_that_was_sent() {
    let bench = bench().await;
    let mut engine = bench.engine().await;
    let key = bench.key().await;
    let (mut events, first) = running(&bench, &mut engine, &key).await;
    assert!(first.resume.is_empty());
    assert!(
        first.sampling.seed.is_some(),
        "the next engine makes the same draws"
    );
    engine.die();
    let mut engine = bench.engine().await;
    let second = engine.generate().await;
    assert_eq!(second.resume, [11, 12]);
    let fresh = Generate {
        stream: first.stream,
        resume: Vec::new(),
        ..second.clone()
    };
    assert_eq!(fresh, first, "else it is the same request");
    engine.accept(second.stream, 9);
    engine.started(second.stream, 9);
    engine.token_with_id(second.stream, 13, " three");
    assert_eq!(events.content().await, " three");
    engine.done(second.stream, Finish::Stop, 9, 4);
    let last = events.chunk().await;
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    let usage = &events.chunk().await["usage"];
    assert_eq!(
        (&usage["prompt_tokens"], &usage["completion_tokens"]),
        (&json!(9), &json!(4))
    );
    assert_eq!(
        usage["prompt_tokens_details"]["cached_tokens"], 4,
        "what the first engine had"
    );
    assert_eq!(events.rest().await, ["data: [DONE]"]);
    let (record, inference) = bench.inference().await;
    assert_eq!(
        (record.outcome, inference.finish.as_str(), record.why.as_str()),
        (Outcome::Ok, "stop", "")
    );
    assert_eq!((inference.prompt_tokens, inference.completion_tokens), (9, 4));
    bench.supervisor.no_more_records().await;
}

#[tokio::test]
async fn a_whole_answer_goes_on_with_the_next_engine_too() {
    let bench = bench().await;
    let mut engine = bench.engine().await;
    let key = bench.key().await;
    let (reply, ()) = tokio::join!(bench.client.chat(&key, question("x")), async {
        let generate = engine.generate().await;
        engine.accept(generate.stream, 4);
        engine.token_with_id(generate.stream, 7, "a");
        // Told by the supervisor; the socket is still open.
        bench.supervisor.tell(&ToGateway::EngineGone {
            package_digest: DIGEST.to_owned(),
            why: "engine.hung".to_owned(),
        });
        let mut engine = bench.engine().await;
        let generate = engine.generate().await;
        assert!(
            generate.resume.len() <= 1,
            "the token may have come after the order"
        );
        engine.accept(generate.stream, 4);
        let rest = if generate.resume.is_empty() { "ab" } else { "b" };
        engine.token_with_id(generate.stream, 8, rest);
        engine.done(generate.stream, Finish::Stop, 4, 3);
    });
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "ab");
    assert_eq!(bench.inference().await.1.finish, "stop");
    bench.supervisor.no_more_records().await;
}

#[tokio::test]
async fn a_call_cut_in_its_middle_by_a_death_is_one_call() {
    let bench = bench().await;
    let mut engine = bench.engine().await;
    let key = bench.key().await;
    let mut body = question("sum");
    body["tools"] = json!([{ "type": "function", "function": { "name": "add",
        "parameters": { "type": "object", "properties": { "a": { "type": "integer" } } } } }]);
    let (reply, ()) = tokio::join!(bench.client.chat(&key, body), async {
        let generate = engine.generate().await;
        engine.accept(generate.stream, 4);
        for (id, text) in [
            (1, "<tool_call>ad"),
            (2, "d\n<arg_key>a</arg"),
            (3, "_key>\n<arg_value>1"),
        ] {
            engine.token_with_id(generate.stream, id, text);
        }
        engine.die();
        let mut engine = bench.engine().await;
        let generate = engine.generate().await;
        assert_eq!(generate.resume, [1, 2, 3]);
        engine.accept(generate.stream, 4);
        engine.token_with_id(generate.stream, 4, "2</arg_value>\n</tool_call>");
        engine.done(generate.stream, Finish::Stop, 4, 5);
    });
    let body = reply.json();
    let calls = body["choices"][0]["message"]["tool_calls"].as_array().unwrap();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0]["function"]["arguments"], r#"{"a":12}"#, "{body}");
    assert_eq!(body["choices"][0]["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn a_request_that_comes_while_the_engine_is_down_waits_for_the_next_one() {
    let bench = bench().await;
    let mut engine = bench.engine().await;
    let key = bench.key().await;
    engine.die();
    patiently(async {
        while bench.client.get("/readyz", &[]).await.status == 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let client = bench.client.clone();
    let waiting = {
        let key = key.clone();
        tokio::spawn(async move { client.chat(&key, question("x")).await })
    };
    let mut engine = bench.engine().await;
    let generate = engine.answer(&["here"]).await;
    assert!(generate.resume.is_empty());
    let reply = patiently(waiting).await.unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(bench.inference().await.1.finish, "stop");
}

#[tokio::test]
async fn a_waiting_stream_says_that_it_lives_until_the_next_engine_comes() {
    let mut limits = Limits::default();
    limits.answer.keep_alive_period = Duration::from_millis(50);
    let bench = bench_with(limits).await;
    let mut engine = bench.engine().await;
    let key = bench.key().await;
    let (mut events, _) = running(&bench, &mut engine, &key).await;
    engine.die();
    for _ in 0..3 {
        assert_eq!(events.next().await.unwrap(), ": keep-alive");
    }
    drop(events);
    let (record, inference) = bench.inference().await;
    assert_eq!(
        (record.outcome, inference.finish.as_str()),
        (Outcome::Ok, "cancelled"),
        "a client who goes while it waits leaves his leaf"
    );
    assert_eq!(inference.completion_tokens, 2);
}

#[tokio::test]
async fn an_answer_that_was_complete_but_for_its_end_needs_no_engine() {
    let bench = bench().await;
    let mut engine = bench.engine().await;
    let key = bench.key().await;
    let mut body = question("x");
    body["max_tokens"] = json!(2);
    let (reply, ()) = tokio::join!(bench.client.chat(&key, body), async {
        let generate = engine.generate().await;
        engine.accept(generate.stream, 4);
        engine.token(generate.stream, "a");
        engine.token(generate.stream, "b");
        engine.die();
    });
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json()["choices"][0]["finish_reason"], "length");
    assert_eq!(reply.json()["usage"]["completion_tokens"], 2);
}

#[tokio::test]
async fn another_package_does_not_finish_an_answer_that_has_begun() {
    let bench = bench().await;
    let mut engine = bench.engine().await;
    let key = bench.key().await;
    let (mut events, _) = running(&bench, &mut engine, &key).await;
    let mut next = bench.engine_of(MODEL, NEXT_DIGEST).await;
    engine.die();
    let error = events.chunk().await;
    assert_eq!(error["error"]["code"], "engine_restarting", "{error}");
    assert!(
        error["error"]["message"].as_str().unwrap().contains("replaced"),
        "{error}"
    );
    assert!(next.has_heard_nothing());
    let (record, inference) = bench.inference().await;
    assert_eq!(
        (record.why.as_str(), inference.package_digest.as_str()),
        ("api.model.replaced", DIGEST)
    );
}

#[tokio::test]
async fn a_request_without_a_token_yet_begins_again_with_the_package_that_was_promoted() {
    let bench = bench().await;
    let mut engine = bench.engine().await;
    let key = bench.key().await;
    let (reply, ()) = tokio::join!(bench.client.chat(&key, question("x")), async {
        let generate = engine.generate().await;
        let mut next = bench.engine_of(MODEL, NEXT_DIGEST).await;
        // It came too late for an engine that drains.
        engine.done(
            generate.stream,
            Finish::Failed {
                code: "engine.draining".to_owned(),
            },
            0,
            0,
        );
        next.answer(&["new"]).await;
    });
    assert_eq!(reply.status, 200, "{reply:?}");
    let body = reply.json();
    assert_eq!(body["choices"][0]["message"]["content"], "new");
    assert!(
        body["system_fingerprint"]
            .as_str()
            .unwrap()
            .ends_with("-121212121212"),
        "{body}"
    );
    let (_, inference) = bench.inference().await;
    assert_eq!(inference.package_digest, NEXT_DIGEST);
    bench.supervisor.no_more_records().await;
}

#[tokio::test]
async fn a_stream_on_the_engine_before_ends_there_while_the_next_one_answers() {
    let bench = bench().await;
    let mut engine = bench.engine().await;
    let key = bench.key().await;
    let (mut events, generate) = running(&bench, &mut engine, &key).await;
    let mut next = bench.engine_of(MODEL, NEXT_DIGEST).await;
    let (reply, _) = tokio::join!(bench.client.chat(&key, question("x")), next.answer(&["new"]));
    assert_eq!(reply.status, 200);
    assert_eq!(bench.inference().await.1.package_digest, NEXT_DIGEST);
    engine.token_with_id(generate.stream, 13, " three");
    engine.done(generate.stream, Finish::Stop, 9, 4);
    assert_eq!(events.content().await, " three");
    assert_eq!(events.rest().await.last().unwrap(), "data: [DONE]");
    assert_eq!(bench.inference().await.1.package_digest, DIGEST);
}

#[tokio::test]
async fn a_request_that_kills_two_engines_is_given_up() {
    let bench = bench().await;
    let mut engine = bench.engine().await;
    let key = bench.key().await;
    let (reply, ()) = tokio::join!(bench.client.chat(&key, question("poison")), async {
        let generate = engine.generate().await;
        engine.accept(generate.stream, 4);
        engine.die();
        let mut engine = bench.engine().await;
        let generate = engine.generate().await;
        engine.accept(generate.stream, 4);
        engine.die();
    });
    assert_eq!(reply.status, 500, "{reply:?}");
    assert_eq!(reply.header("x-should-retry"), "false");
    let (record, _) = bench.inference().await;
    assert_eq!(
        (record.outcome, record.why.as_str()),
        (Outcome::Error, "api.engine.killed")
    );
    // The next engine has nothing of it.
    let mut engine = bench.engine().await;
    let (reply, generate) = tokio::join!(bench.client.chat(&key, question("x")), engine.answer(&["fine"]));
    assert_eq!(reply.status, 200);
    assert!(!prompt_of(&generate).contains("poison"));
}

#[tokio::test]
async fn a_poisonous_request_costs_nobody_else_his_answer() {
    let bench = bench().await;
    let mut engine = bench.engine().await;
    let key = bench.key().await;
    let ask = |text: &str| {
        let (client, key, body) = (bench.client.clone(), key.clone(), question(text));
        tokio::spawn(async move { client.chat(&key, body).await })
    };
    let poison = ask("poison");
    let others: Vec<_> = ["a", "b", "c"].into_iter().map(ask).collect();
    for _ in 0..4 {
        let generate = engine.generate().await;
        engine.accept(generate.stream, 4);
        engine.token_with_id(generate.stream, 1, "x");
    }
    engine.die();
    let mut engine = bench.engine().await;
    let mut answered_count = 0;
    let mut is_poison_gone = false;
    while answered_count < 3 {
        // One suspect at a time: the next one comes only after this one has made tokens.
        let generate = engine.generate().await;
        assert!(engine.has_heard_nothing(), "it is alone");
        engine.accept(generate.stream, 4);
        if prompt_of(&generate).contains("poison") {
            assert!(!is_poison_gone);
            is_poison_gone = true;
            engine.die();
            engine = bench.engine().await;
            continue;
        }
        let missing = 4 - u32::try_from(generate.resume.len()).unwrap();
        for id in 0..missing {
            engine.token_with_id(generate.stream, 2 + id, "y");
        }
        engine.done(generate.stream, Finish::Stop, 4, 5);
        answered_count += 1;
    }
    for other in others {
        let reply = patiently(other).await.unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.json()["choices"][0]["message"]["content"], "xyyy");
    }
    if !is_poison_gone {
        let generate = engine.generate().await;
        engine.accept(generate.stream, 4);
        engine.die();
    }
    assert_eq!(patiently(poison).await.unwrap().status, 500);
}

#[tokio::test]
async fn a_request_that_only_waited_when_the_engine_died_is_no_suspect() {
    let bench = bench().await;
    let mut engine = bench.engine().await;
    let key = bench.key().await;
    let (reply, ()) = tokio::join!(bench.client.chat(&key, question("x")), async {
        // More deaths than a suspect would survive.
        for _ in 0..3 {
            let generate = engine.generate().await;
            engine.say(&FromEngine::Accepted {
                stream: generate.stream,
                prompt_tokens: 4,
            });
            engine.say(&FromEngine::Queued {
                stream: generate.stream,
                ahead_count: 3,
                estimate_ms: 100,
            });
            engine.die();
            engine = bench.engine().await;
        }
        engine.answer(&["at last"]).await;
    });
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[tokio::test]
async fn a_request_that_goes_on_is_not_failed_for_want_of_a_place() {
    let bench = bench().await;
    let mut engine = bench.engine().await;
    let key = bench.key().await;
    let (mut events, _) = running(&bench, &mut engine, &key).await;
    engine.die();
    let mut engine = bench.engine().await;
    for _ in 0..2 {
        let generate = engine.generate().await;
        engine.done(generate.stream, Finish::Overloaded { retry_after_ms: 1 }, 0, 0);
    }
    let generate = engine.generate().await;
    assert_eq!(generate.resume, [11, 12]);
    engine.accept(generate.stream, 9);
    engine.token_with_id(generate.stream, 13, " three");
    engine.done(generate.stream, Finish::Stop, 9, 4);
    assert_eq!(events.content().await, " three");
    assert_eq!(events.rest().await.last().unwrap(), "data: [DONE]");
}

#[tokio::test]
async fn a_stream_that_waits_is_told_its_place_at_once() {
    let bench = bench().await;
    let mut engine = bench.engine().await;
    let key = bench.key().await;
    let (mut events, generate) = tokio::join!(bench.client.stream(&key, question("x")), async {
        let generate = engine.generate().await;
        engine.say(&FromEngine::Queued {
            stream: generate.stream,
            ahead_count: 3,
            estimate_ms: 4_500,
        });
        generate
    });
    assert_eq!(events.chunk().await["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(events.next().await.unwrap(), ": queued ahead=3 estimate_ms=4500");
    engine.say(&FromEngine::Queued {
        stream: generate.stream,
        ahead_count: 1,
        estimate_ms: 900,
    });
    assert_eq!(events.next().await.unwrap(), ": queued ahead=1 estimate_ms=900");
    engine.accept(generate.stream, 4);
    engine.token(generate.stream, "1");
    assert_eq!(events.content().await, "1");
    engine.done(generate.stream, Finish::Stop, 4, 2);
    assert_eq!(events.rest().await.last().unwrap(), "data: [DONE]");
}

#[tokio::test]
async fn a_full_queue_is_429_with_an_honest_pause() {
    let bench = bench().await;
    let mut engine = bench.engine().await;
    let key = bench.key().await;
    for (retry_after_ms, seconds, milliseconds) in [
        (2_100, "3", "2100"),
        (5_000, "5", "5000"),
        (0, "1", "1000"),
        (600_000, "60", "60000"),
    ] {
        for is_stream in [false, true] {
            let mut body = question("x");
            body["stream"] = json!(is_stream);
            let (reply, ()) = tokio::join!(bench.client.chat(&key, body), async {
                let generate = engine.generate().await;
                engine.done(generate.stream, Finish::Overloaded { retry_after_ms }, 4, 0);
            });
            assert_eq!(reply.status, 429, "{reply:?}");
            assert_eq!(reply.header("retry-after"), seconds);
            assert_eq!(reply.header("retry-after-ms"), milliseconds);
            assert_eq!(reply.header("x-should-retry"), "true");
            let error = &reply.json()["error"];
            assert_eq!(
                (&error["code"], &error["type"]),
                (&json!("rate_limit_exceeded"), &json!("rate_limit_error"))
            );
            assert!(
                error["message"].as_str().unwrap().contains(seconds),
                "the words say the pause too: {error}"
            );
            assert_eq!(bench.inference().await.0.why, "api.queue.full");
        }
    }
}
