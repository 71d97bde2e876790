use super::*;
use crate::error::Condition;
use crate::json::Json;

fn stamp() -> Stamp {
    Stamp {
        id: "chatcmpl-7".to_owned(),
        created: 1_790_000_000,
        model: "glm".to_owned(),
        system_fingerprint: "fp_1".to_owned(),
    }
}

fn usage() -> Usage {
    Usage {
        prompt_tokens: 10,
        cached_tokens: 4,
        completion_tokens: 6,
        reasoning_tokens: 2,
    }
}

fn events() -> Vec<Event> {
    let arguments = |fragment: &str| Event::ToolCallArguments {
        index: 0,
        fragment: fragment.to_owned(),
    };
    vec![
        Event::Reasoning("Hm.\n".to_owned()),
        Event::Content("You".to_owned()),
        Event::Content(" \"ask\"".to_owned()),
        Event::ToolCallStart {
            index: 0,
            name: "f".to_owned(),
        },
        arguments("{\"a\":"),
        arguments("1}"),
    ]
}

/// The JSON of an event.
fn data(event: &str) -> &str {
    event
        .strip_prefix("data: ")
        .and_then(|data| data.strip_suffix("\n\n"))
        .unwrap()
}

/// An event without what all events share.
fn choices(event: &str) -> String {
    let chunk = Json::parse(data(event).as_bytes()).unwrap();
    assert_eq!(chunk.field("id").and_then(Json::as_text), Some("chatcmpl-7"));
    assert_eq!(
        chunk.field("object").and_then(Json::as_text),
        Some("chat.completion.chunk")
    );
    assert_eq!(chunk.field("created"), Some(&Json::Integer(1_790_000_000)));
    assert_eq!(chunk.field("model").and_then(Json::as_text), Some("glm"));
    serde_json::to_string(chunk.field("choices").unwrap()).unwrap()
}

#[test]
fn a_stream_is_the_role_the_pieces_an_empty_delta_and_done() {
    let writer = StreamWriter::new(stamp(), false);
    let mut stream = vec![writer.start()];
    stream.extend(events().iter().map(|event| writer.piece(event)));
    stream.push(writer.finish(FinishReason::ToolCalls, Some("JG01-5")));
    assert_eq!(writer.usage(usage()), "");
    let expected = [
        r#"{"role":"assistant"}"#,
        r#"{"reasoning_content":"Hm.\n"}"#,
        r#"{"content":"You"}"#,
        r#"{"content":" \"ask\""}"#,
        r#"{"tool_calls":[{"index":0,"id":"call_7_0","type":"function","function":{"name":"f","arguments":""}}]}"#,
        r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":"}}]}"#,
        r#"{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}"#,
    ];
    let (last, pieces) = stream.split_last().unwrap();
    for (event, delta) in pieces.iter().zip(expected) {
        assert_eq!(
            choices(event),
            format!(r#"[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":null}}]"#)
        );
        assert!(!event.contains("\"usage\"") && !event.contains("produce_id"));
    }
    assert_eq!(pieces.len(), expected.len());
    assert_eq!(
        choices(last),
        r#"[{"index":0,"delta":{},"logprobs":null,"finish_reason":"tool_calls"}]"#
    );
    assert!(last.contains(r#""produce_id":"JG01-5""#));
    assert_eq!(writer.done(), "data: [DONE]\n\n");
}

#[test]
fn usage_comes_in_a_chunk_of_its_own_after_nulls() {
    let writer = StreamWriter::new(stamp(), true);
    assert!(writer.start().contains(r#""usage":null"#));
    assert!(
        writer
            .finish(FinishReason::Stop, None)
            .contains(r#""usage":null"#)
    );
    let last = writer.usage(usage());
    assert_eq!(choices(&last), "[]");
    let expected = r#""usage":{"prompt_tokens":10,"completion_tokens":6,"total_tokens":16,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":2}}"#;
    assert!(last.contains(expected), "{last}");
}

#[test]
fn no_event_has_a_name_an_id_or_a_line_break_inside() {
    let writer = StreamWriter::new(stamp(), true);
    for text in ["\n\nevent: x\nid: 1\n", "\r\n\r", "\u{2028}\u{0}"] {
        let event = writer.piece(&Event::Content(text.to_owned()));
        assert!(!data(&event).contains(['\n', '\r']));
    }
    assert!(StreamWriter::keep_alive().starts_with(':') && StreamWriter::keep_alive().ends_with("\n\n"));
}

#[test]
fn an_error_in_a_stream_is_an_event_with_the_error_object() {
    let body = ErrorBody {
        condition: Condition::ServerError,
        message: "gone".to_owned(),
        param: None,
    };
    let event = StreamWriter::error(&body);
    assert_eq!(
        data(&event),
        r#"{"error":{"message":"gone","type":"server_error","param":null,"code":"server_error"}}"#
    );
}

#[test]
fn a_body_holds_what_the_events_told() {
    let mut answer = Answer::new();
    events().into_iter().for_each(|event| answer.add(event));
    let body = answer.to_body(&stamp(), FinishReason::ToolCalls, usage(), false, Some("JG01-5"));
    let expected = concat!(
        r#"{"id":"chatcmpl-7","object":"chat.completion","created":1790000000,"model":"glm","system_fingerprint":"fp_1","#,
        r#""choices":[{"index":0,"message":{"role":"assistant","content":"You \"ask\"","refusal":null,"#,
        r#""reasoning_content":"Hm.\n","tool_calls":[{"id":"call_7_0","type":"function","#,
        r#""function":{"name":"f","arguments":"{\"a\":1}"}}]},"logprobs":null,"finish_reason":"tool_calls"}],"#,
        r#""usage":{"prompt_tokens":10,"completion_tokens":6,"total_tokens":16,"prompt_tokens_details":{"cached_tokens":4},"#,
        r#""completion_tokens_details":{"reasoning_tokens":2}},"produce_id":"JG01-5"}"#
    );
    assert_eq!(body, expected);
}

#[test]
fn content_is_null_only_beside_calls() {
    let empty = Answer::new().to_body(&stamp(), FinishReason::Stop, usage(), false, None);
    assert!(empty.contains(r#""content":"","#) && !empty.contains("produce_id"));
    let mut calling = Answer::new();
    calling.add(Event::ToolCallStart {
        index: 0,
        name: "f".to_owned(),
    });
    assert!(
        calling
            .to_body(&stamp(), FinishReason::ToolCalls, usage(), false, None)
            .contains(r#""content":null"#)
    );
}

#[test]
fn log_probabilities_are_given_per_token_and_never_infinite() {
    let token = TokenLogprob {
        bytes: "é".as_bytes().to_vec(),
        logprob: -0.5,
        top: vec![(vec![0xe4, 0xbd], f32::NEG_INFINITY)],
    };
    let entry = r#"{"token":"é","logprob":-0.5,"bytes":[195,169],"top_logprobs":[{"token":"�","logprob":-9999.0,"bytes":[228,189]}]}"#;
    let event = StreamWriter::new(stamp(), false).piece(&Event::Logprob(token.clone()));
    assert!(
        event.contains(&format!(
            r#""delta":{{"content":""}},"logprobs":{{"content":[{entry}],"refusal":null}}"#
        )),
        "{event}"
    );
    let mut answer = Answer::new();
    answer.add(Event::Logprob(token));
    let body = answer.to_body(&stamp(), FinishReason::Stop, usage(), true, None);
    assert!(
        body.contains(&format!(r#""logprobs":{{"content":[{entry}],"refusal":null}}"#)),
        "{body}"
    );
}
