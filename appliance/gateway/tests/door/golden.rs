//! Golden prompts of a candidate engine: asked before it answers anybody, compared, and nobody's inference.

use crate::support::*;
use jingui_ipc::engine::{CacheUse, Finish, Sampling, Segment};
use jingui_ipc::gateway::{GoldenPrompt, Produced, Task};
use serde_json::json;

const CANDIDATE: &str = "3434343434343434343434343434343434343434343434343434343434343434";

fn prompt(text: &str, expected: &serde_json::Value) -> GoldenPrompt {
    GoldenPrompt {
        request: json!({ "messages": [{ "role": "user", "content": text }] }).to_string(),
        expected: expected.to_string(),
    }
}

fn ask(prompts: &[GoldenPrompt]) -> Task {
    Task::AskGolden {
        package_digest: CANDIDATE.to_owned(),
        prompts: prompts.to_vec(),
    }
}

#[tokio::test]
async fn a_candidate_is_asked_greedily_and_nothing_of_it_is_kept_or_recorded() {
    let bench = bench().await;
    let mut serving = bench.engine().await;
    let mut candidate = bench.candidate(MODEL, CANDIDATE);
    let prompts = [
        prompt("2+2", &json!({ "content": "4" })),
        prompt("6*7", &json!({ "content": "42" })),
    ];
    let (outcome, ()) = tokio::join!(bench.supervisor.perform(ask(&prompts)), async {
        for (question, answer) in [("2+2", "4"), ("6*7", "42")] {
            let generate = candidate.answer(&[answer]).await;
            assert!(generate.prompt.iter().any(|segment| matches!(segment,
                Segment::Text(text) | Segment::Scaffold(text) if text.contains(question))));
            assert_eq!(generate.sampling, Sampling::GREEDY);
            assert_eq!(generate.cache, CacheUse::Off);
        }
    });
    assert!(
        matches!(
            outcome,
            Ok(Produced::Golden {
                asked_count: 2,
                first_wrong_index: None
            })
        ),
        "{outcome:?}"
    );
    bench.supervisor.no_more_records().await;
    assert!(serving.has_heard_nothing());
    // It still answers nobody.
    let key = bench.key().await;
    let (reply, _) = tokio::join!(bench.client.chat(&key, question("x")), serving.answer(&["old"]));
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "old");
}

#[tokio::test]
async fn a_wrong_answer_is_named_by_its_index_and_ends_the_questions() {
    let bench = bench().await;
    let mut candidate = bench.candidate(MODEL, CANDIDATE);
    let right = json!({ "content": "4" });
    let prompts = [prompt("a", &right), prompt("b", &right), prompt("c", &right)];
    let (outcome, ()) = tokio::join!(bench.supervisor.perform(ask(&prompts)), async {
        candidate.answer(&["4"]).await;
        candidate.answer(&["5"]).await;
    });
    assert!(
        matches!(
            outcome,
            Ok(Produced::Golden {
                asked_count: 2,
                first_wrong_index: Some(1)
            })
        ),
        "{outcome:?}"
    );
    assert!(candidate.has_heard_nothing());
}

#[tokio::test]
async fn a_prompt_that_the_engine_refuses_or_that_nobody_can_read_is_a_wrong_answer() {
    let bench = bench().await;
    let mut candidate = bench.candidate(MODEL, CANDIDATE);
    let unreadable = GoldenPrompt {
        request: "{}".to_owned(),
        expected: "{}".to_owned(),
    };
    let wrong = |outcome| {
        assert!(
            matches!(
                outcome,
                Ok(Produced::Golden {
                    first_wrong_index: Some(0),
                    ..
                })
            ),
            "{outcome:?}"
        );
    };
    wrong(bench.supervisor.perform(ask(&[unreadable])).await);
    let prompts = [prompt("long", &json!({ "content": "4" }))];
    let (outcome, ()) = tokio::join!(bench.supervisor.perform(ask(&prompts)), async {
        let generate = candidate.generate().await;
        let finish = Finish::TooLong {
            prompt_tokens: 9,
            context_tokens: 4,
        };
        candidate.done(generate.stream, finish, 9, 0);
    });
    wrong(outcome);
}

#[tokio::test]
async fn a_candidate_that_is_not_there_or_dies_gives_no_verdict() {
    let bench = bench().await;
    let prompts = [prompt("a", &json!({ "content": "4" }))];
    let fault = bench.supervisor.perform(ask(&prompts)).await.unwrap_err();
    assert_eq!(fault.code, "api.engine.restarting");
    let mut candidate = bench.candidate(MODEL, CANDIDATE);
    let (outcome, ()) = tokio::join!(bench.supervisor.perform(ask(&prompts)), async {
        candidate.generate().await;
        candidate.die();
    });
    assert_eq!(outcome.unwrap_err().code, "api.engine.restarting");
}
