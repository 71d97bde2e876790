//! Golden prompts: questions whose answers the vendor signed, asked of an engine before it answers anybody.
//!
//! The whole way of a request is walked: the body is parsed, the model's template renders it, the engine computes, the
//! dialect is parsed. Nothing is left in the prefix cache, nobody's inference is recorded: that golden prompts were asked,
//! and what came of it, is the supervisor's leaf.

use std::time::Duration;

use jingui_chat::openai::{self, Answer};
use jingui_ipc::engine::{CacheUse, Finish, FromEngine, Sampling};
use jingui_ipc::gateway::{GoldenPrompt, Produced};
use serde_json::Value;

use crate::engines::EngineLink;
use crate::gateway::Gateway;
use crate::orders::{Order, order};
use crate::refusals::Refusal;

/// Longest time for the answer to one golden prompt.
pub const GOLDEN_TIME_MAX: Duration = Duration::from_secs(120);

/// Asks an introduced engine the golden prompts, one after the other, and compares; stops at the first wrong answer.
///
/// A prompt that cannot be read, or that the engine refuses, counts as answered wrongly: its package is not what its
/// vendor tried.
///
/// # Errors
/// `EngineRestarting` when there is no such engine or it goes; `EngineSilent` when an answer takes longer than
/// [`GOLDEN_TIME_MAX`].
pub async fn ask(
    gateway: &Gateway,
    package_digest: &str,
    prompts: &[GoldenPrompt],
) -> Result<Produced, Refusal> {
    let link = gateway
        .engines
        .introduced(package_digest)
        .ok_or(Refusal::EngineRestarting)?;
    let mut asked_count = 0;
    for prompt in prompts {
        let answered = tokio::time::timeout(GOLDEN_TIME_MAX, answer_of(gateway, &link, prompt));
        let answer = answered.await.map_err(|_| Refusal::EngineSilent)??;
        let is_right = answer.is_some_and(|answer| is_expected(&answer, &prompt.expected));
        if !is_right {
            return Ok(Produced::Golden {
                asked_count: asked_count + 1,
                first_wrong_index: Some(asked_count),
            });
        }
        asked_count += 1;
    }
    Ok(Produced::Golden {
        asked_count,
        first_wrong_index: None,
    })
}

/// What the engine answers; `None` when it is no answer at all.
async fn answer_of(
    gateway: &Gateway,
    link: &std::sync::Arc<EngineLink>,
    prompt: &GoldenPrompt,
) -> Result<Option<Answer>, Refusal> {
    let Some(body) = body_of(&prompt.request, &link.model().name) else {
        return Ok(None);
    };
    let Ok(conversation) = openai::parse(body.as_bytes()) else {
        return Ok(None);
    };
    let Ok(Order {
        mut generate,
        mut parser,
        ..
    }) = order(link, &conversation, gateway.tenants.golden())
    else {
        return Ok(None);
    };
    generate.sampling = Sampling::GREEDY;
    generate.cache = CacheUse::Off;
    let mut stream = link.start(&generate).map_err(Refusal::from)?;
    let mut answer = Answer::new();
    while !parser.is_stopped() {
        match stream.next().await.map_err(|_| Refusal::EngineRestarting)? {
            FromEngine::Token(token) => {
                let piece = parser.push(&token.bytes);
                piece.events.into_iter().for_each(|event| answer.add(event));
            }
            FromEngine::Done { finish, .. } => match finish {
                Finish::Stop | Finish::Length => {
                    parser.finish().into_iter().for_each(|event| answer.add(event));
                    break;
                }
                Finish::Cancelled => return Err(Refusal::EngineRestarting),
                _ => return Ok(None),
            },
            FromEngine::Accepted { .. } | FromEngine::Queued { .. } | FromEngine::Started { .. } => {}
        }
    }
    Ok(Some(answer))
}

/// The body of a request as a client would send it.
fn body_of(request: &str, model: &str) -> Option<String> {
    let mut body: Value = serde_json::from_str(request).ok()?;
    let fields = body.as_object_mut()?;
    fields.insert("model".to_owned(), model.into());
    serde_json::to_string(&body).ok()
}

/// Whether an answer is the expected message: text, reasoning, and calls by name and by the value of their arguments.
fn is_expected(answer: &Answer, expected: &str) -> bool {
    let Ok(expected) = serde_json::from_str::<Value>(expected) else {
        return false;
    };
    let text = |name: &str| expected.get(name).and_then(Value::as_str).unwrap_or_default();
    let calls = expected.get("tool_calls").and_then(Value::as_array);
    let wanted: Option<Vec<(&str, Value)>> = calls.into_iter().flatten().map(call_of).collect();
    let made: Option<Vec<(&str, Value)>> = answer
        .tool_calls()
        .map(|(name, arguments)| Some((name, serde_json::from_str(arguments).ok()?)))
        .collect();
    text("content") == answer.content()
        && text("reasoning_content") == answer.reasoning()
        && wanted.is_some()
        && wanted == made
}

/// Name and arguments of an expected call. Arguments are an object, or its JSON text as in the API.
fn call_of(call: &Value) -> Option<(&str, Value)> {
    let function = call.get("function").unwrap_or(call);
    let arguments = match function.get("arguments")? {
        Value::String(text) => serde_json::from_str(text).ok()?,
        value => value.clone(),
    };
    Some((function.get("name")?.as_str()?, arguments))
}

#[cfg(test)]
mod tests {
    use jingui_chat::Event;

    use super::*;

    fn answer(content: &str, reasoning: &str, arguments: Option<&str>) -> Answer {
        let mut answer = Answer::new();
        answer.add(Event::Content(content.to_owned()));
        answer.add(Event::Reasoning(reasoning.to_owned()));
        if let Some(arguments) = arguments {
            answer.add(Event::ToolCallStart {
                index: 0,
                name: "add".to_owned(),
            });
            answer.add(Event::ToolCallArguments {
                index: 0,
                fragment: arguments.to_owned(),
            });
        }
        answer
    }

    #[test]
    fn an_answer_is_expected_only_if_text_reasoning_and_calls_are() {
        let call = r#"{"content":null,"tool_calls":[{"type":"function","function":{"name":"add","arguments":"{\"a\":1,\"b\":2}"}}]}"#;
        let plain = r#"{"content":"","tool_calls":[{"name":"add","arguments":{"b":2,"a":1}}]}"#;
        for (made, expected, is_it) in [
            (answer("4", "", None), r#"{"content":"4"}"#, true),
            (answer("4", "", None), r#"{"content":"5"}"#, false),
            (
                answer("4", "2+2", None),
                r#"{"content":"4","reasoning_content":"2+2"}"#,
                true,
            ),
            (answer("4", "2+2", None), r#"{"content":"4"}"#, false),
            (answer("", "", Some(r#"{"a": 1, "b": 2}"#)), call, true),
            (answer("", "", Some(r#"{"a": 1, "b": 2}"#)), plain, true),
            (answer("", "", Some(r#"{"a": 1, "b": 3}"#)), call, false),
            (answer("", "", Some(r#"{"a": 1"#)), call, false),
            (answer("", "", None), call, false),
            (answer("", "", Some("{}")), r#"{"content":""}"#, false),
            (answer("4", "", None), "no JSON", false),
            (
                answer("4", "", None),
                r#"{"content":"4","tool_calls":[{"function":{}}]}"#,
                false,
            ),
        ] {
            assert_eq!(is_expected(&made, expected), is_it, "{expected}");
        }
    }
}
