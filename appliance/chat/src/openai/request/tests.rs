use proptest::prelude::*;

use super::*;
use crate::error::Condition;

const HELLO: &str = r#""model":"m","messages":[{"role":"user","content":"Hello"}]"#;

fn with(more: &str) -> Result<Conversation, Refusal> {
    parse(format!("{{{HELLO},{more}}}").as_bytes())
}

fn of_messages(messages: &str) -> Result<Conversation, Refusal> {
    parse(format!(r#"{{"model":"m","messages":{messages}}}"#).as_bytes())
}

/// Code, parameter and OpenAI code of a refusal.
fn refusal(result: Result<Conversation, Refusal>) -> (&'static str, String, &'static str) {
    let refusal = result.unwrap_err();
    assert!(crate::CODES.contains(&refusal.code()), "{}", refusal.code());
    assert_eq!(refusal.condition().status(), 400);
    (
        refusal.code(),
        refusal.param().unwrap_or_default().to_owned(),
        refusal.condition().code(),
    )
}

#[test]
fn a_short_request_gets_the_defaults_of_the_interface() {
    let conversation = parse(format!("{{{HELLO}}}").as_bytes()).unwrap();
    let message = Message {
        role: Role::User,
        content: Some("Hello".to_owned()),
        reasoning: None,
        tool_calls: Vec::new(),
        tool_call_id: None,
    };
    let expected = Conversation {
        model: "m".to_owned(),
        messages: vec![message],
        tools: Vec::new(),
        tool_choice: ToolChoice::Auto,
        parallel_tool_calls: true,
        response_format: ResponseFormat::Text,
        thinking: Thinking::TemplateDefault,
        clear_thinking: None,
        sampling: Sampling::default(),
        completion_tokens_max: None,
        stop: Vec::new(),
        logprobs: None,
        stream: None,
        cache: CacheUse::Use,
        class: Class::Interactive,
        is_strict: false,
    };
    assert_eq!(conversation, expected);
}

#[test]
fn null_means_not_given_for_every_optional_field() {
    let names = [
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "n",
        "stop",
        "seed",
        "logprobs",
        "top_logprobs",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "response_format",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "user",
        "metadata",
        "store",
        "service_tier",
        "reasoning_effort",
        "thinking",
        "chat_template_kwargs",
        "modalities",
        "audio",
        "prediction",
    ];
    let nulls: Vec<String> = names.iter().map(|name| format!("\"{name}\":null")).collect();
    assert_eq!(
        with(&nulls.join(",")).unwrap(),
        parse(format!("{{{HELLO}}}").as_bytes()).unwrap()
    );
    let nulls = r#"[{"role":"assistant","content":null,"name":null,"tool_calls":null,"reasoning_content":null,"refusal":null}]"#;
    assert_eq!(of_messages(nulls).unwrap().messages[0].content, None);
}

#[test]
fn unknown_fields_are_ignored() {
    assert!(
        with(r#""request_id":"r","do_sample":true,"prompt_cache_key":7,"metadata":{"a":[]},"x":{"y":null}"#)
            .is_ok()
    );
    assert!(
        of_messages(r#"[{"role":"user","content":"a","name":"n","weight":1,"audio":{"id":"x"}}]"#).is_ok()
    );
}

#[test]
fn every_field_is_read() {
    let conversation = with(
        r#""stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false},"max_tokens":7,"max_completion_tokens":9,
        "temperature":0,"top_p":0.5,"top_k":40,"min_p":0.05,"n":1,"stop":["a","b"],"seed":-1,"logprobs":true,"top_logprobs":20,
        "presence_penalty":-2,"frequency_penalty":2.0,"logit_bias":{"7":-100,"5":1.5},"response_format":{"type":"text"},
        "parallel_tool_calls":false,"modalities":["text"],"tool_choice":"none""#,
    )
    .unwrap();
    assert_eq!(conversation.stream, Some(StreamOptions { include_usage: true }));
    assert_eq!(conversation.completion_tokens_max, Some(7));
    assert_eq!(conversation.stop, ["a", "b"]);
    assert_eq!(conversation.logprobs, Some(20));
    assert!(!conversation.parallel_tool_calls);
    assert_eq!(conversation.tool_choice, ToolChoice::None);
    let sampling = Sampling {
        temperature: 0.0,
        top_p: 0.5,
        top_k: 40,
        min_p: 0.05,
        presence_penalty: -2.0,
        frequency_penalty: 2.0,
        seed: Some(u64::MAX),
        logit_bias: vec![(5, 1.5), (7, -100.0)],
    };
    assert_eq!(conversation.sampling, sampling);
    assert_eq!(
        with(r#""top_k":-1,"stop":"x","logprobs":true"#).unwrap().logprobs,
        Some(0)
    );
}

#[test]
fn thinking_is_chosen_in_three_ways_and_the_most_exact_wins() {
    use Thinking::{Off, On, TemplateDefault};
    let cases = [
        (r#""chat_template_kwargs":{"enable_thinking":true}"#, On),
        (
            r#""chat_template_kwargs":{"enable_thinking":false,"other":1}"#,
            Off,
        ),
        (r#""chat_template_kwargs":{}"#, TemplateDefault),
        (r#""thinking":{"type":"enabled"}"#, On),
        (r#""thinking":{"type":"disabled"}"#, Off),
        (r#""reasoning_effort":"none""#, Off),
        (r#""reasoning_effort":"low""#, On),
        (r#""reasoning_effort":"none","thinking":{"type":"enabled"}"#, On),
        (
            r#""thinking":{"type":"enabled"},"chat_template_kwargs":{"enable_thinking":false}"#,
            Off,
        ),
        (r#""thinking":{"type":null},"reasoning_effort":"none""#, Off),
    ];
    for (more, thinking) in cases {
        assert_eq!(with(more).unwrap().thinking, thinking, "{more}");
    }
    assert_eq!(
        with(r#""thinking":{"type":"enabled","clear_thinking":false}"#)
            .unwrap()
            .clear_thinking,
        Some(false)
    );
}

#[test]
fn wrong_values_are_refused_with_code_and_place() {
    let (wrong, range, word, length) = (
        "chat.parameter.wrong-type",
        "chat.parameter.out-of-range",
        "chat.parameter.unknown-word",
        "chat.parameter.wrong-length",
    );
    let cases = [
        (r#""temperature":2.01"#, range, "temperature"),
        (r#""temperature":-0.01"#, range, "temperature"),
        (r#""temperature":"1""#, wrong, "temperature"),
        (r#""temperature":1e999"#, "chat.request.not-json", ""),
        (r#""top_p":1.5"#, range, "top_p"),
        (r#""top_k":-2"#, range, "top_k"),
        (r#""top_k":1.5"#, wrong, "top_k"),
        (r#""top_k":4294967296"#, range, "top_k"),
        (r#""min_p":2"#, range, "min_p"),
        (r#""presence_penalty":2.5"#, range, "presence_penalty"),
        (r#""frequency_penalty":-2.5"#, range, "frequency_penalty"),
        (r#""max_tokens":0"#, range, "max_tokens"),
        (r#""max_tokens":-1"#, range, "max_tokens"),
        (
            r#""max_completion_tokens":4294967296"#,
            range,
            "max_completion_tokens",
        ),
        (r#""max_tokens":true"#, wrong, "max_tokens"),
        (r#""seed":18446744073709551616"#, wrong, "seed"),
        (r#""seed":1.5"#, wrong, "seed"),
        (r#""stream":"true""#, wrong, "stream"),
        (r#""stream_options":true"#, wrong, "stream_options"),
        (
            r#""stream_options":{"include_usage":1}"#,
            wrong,
            "stream_options.include_usage",
        ),
        (r#""stop":["a","b","c","d","e"]"#, length, "stop"),
        (r#""stop":"""#, length, "stop"),
        (r#""stop":[1]"#, wrong, "stop"),
        (r#""stop":{}"#, wrong, "stop"),
        (r#""logit_bias":[]"#, wrong, "logit_bias"),
        (r#""logit_bias":{"x":1}"#, wrong, "logit_bias"),
        (r#""logit_bias":{"1":101}"#, range, "logit_bias.1"),
        (r#""logit_bias":{"1":null}"#, wrong, "logit_bias.1"),
        (r#""logprobs":1"#, wrong, "logprobs"),
        (r#""logprobs":true,"top_logprobs":21"#, range, "top_logprobs"),
        (r#""top_logprobs":1"#, "chat.parameter.needs", "top_logprobs"),
        (r#""thinking":"enabled""#, wrong, "thinking"),
        (r#""thinking":{"type":"on"}"#, word, "thinking.type"),
        (r#""chat_template_kwargs":[]"#, wrong, "chat_template_kwargs"),
        (
            r#""chat_template_kwargs":{"enable_thinking":"no"}"#,
            wrong,
            "chat_template_kwargs.enable_thinking",
        ),
        (r#""reasoning_effort":"huge""#, word, "reasoning_effort"),
        (r#""tool_choice":"any""#, word, "tool_choice"),
        (r#""tool_choice":1"#, wrong, "tool_choice"),
        (r#""tools":{}"#, wrong, "tools"),
        (r#""tools":[1]"#, wrong, "tools[0]"),
        (
            r#""tools":[{"type":"function"}]"#,
            "chat.parameter.missing",
            "tools[0].function",
        ),
        (
            r#""tools":[{"type":"function","function":{}}]"#,
            "chat.parameter.missing",
            "tools[0].function.name",
        ),
        (
            r#""tools":[{"type":"function","function":{"name":""}}]"#,
            length,
            "tools[0].function.name",
        ),
        (
            r#""tools":[{"type":"function","function":{"name":"a b"}}]"#,
            "chat.parameter.bad-name",
            "tools[0].function.name",
        ),
        (
            r#""tools":[{"type":"function","function":{"name":"a","parameters":[]}}]"#,
            wrong,
            "tools[0].function.parameters",
        ),
    ];
    for (more, code, param) in cases {
        assert_eq!(
            refusal(with(more)),
            (code, param.to_owned(), "invalid_value"),
            "{more}"
        );
    }
}

#[test]
fn what_cannot_be_guaranteed_is_refused_and_not_pretended() {
    let cases = [
        (r#""n":2"#, "chat.unsupported.several-answers", "n"),
        (r#""n":0"#, "chat.unsupported.several-answers", "n"),
        (
            r#""response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"not":{}}}}"#,
            "chat.schema.keyword",
            "response_format.json_schema.schema",
        ),
        (
            r#""tools":[{"type":"web_search"}]"#,
            "chat.unsupported.hosted-tool",
            "tools[0].type",
        ),
        (
            r#""modalities":["text","audio"]"#,
            "chat.unsupported.modality",
            "modalities",
        ),
    ];
    for (more, code, param) in cases {
        assert_eq!(
            refusal(with(more)),
            (code, param.to_owned(), "unsupported_value"),
            "{more}"
        );
    }
}

#[test]
fn messages_are_read_in_all_their_forms() {
    let messages = of_messages(
        r#"[{"role":"developer","content":"a"},
            {"role":"user","content":[{"type":"text","text":"b"},{"type":"text","text":"c"}]},
            {"role":"assistant","content":null,"reasoning_content":"r","tool_calls":[
                {"id":"1","type":"function","function":{"name":"f","arguments":"{\"b\": 1, \"a\": \"x\"}"}},
                {"id":"2","type":"function","function":{"name":"g","arguments":""}},
                {"function":{"name":"h","arguments":{"k":2}}}]},
            {"role":"tool","tool_call_id":"1","content":[{"type":"text","text":"d"}]},
            {"role":"assistant","content":[{"type":"refusal","refusal":"no"}]},
            {"role":"user","content":[]}]"#,
    )
    .unwrap()
    .messages;
    let contents: Vec<_> = messages
        .iter()
        .map(|message| message.content.as_deref())
        .collect();
    assert_eq!(
        contents,
        [Some("a"), Some("bc"), None, Some("d"), Some("no"), Some("")]
    );
    assert_eq!(messages[0].role, Role::System);
    assert_eq!(messages[2].reasoning.as_deref(), Some("r"));
    let arguments: Vec<String> = messages[2]
        .tool_calls
        .iter()
        .map(|call| serde_json::to_string(&call.arguments).unwrap())
        .collect();
    assert_eq!(arguments, [r#"{"b":1,"a":"x"}"#, "{}", r#"{"k":2}"#]);
}

#[test]
fn wrong_messages_are_refused_with_their_place() {
    let call = |function: &str| {
        format!(r#"[{{"role":"assistant","tool_calls":[{{"id":"1","function":{function}}}]}}]"#)
    };
    let missing = "chat.parameter.missing";
    let cases = [
        ("null".to_owned(), missing, "messages"),
        ("[]".to_owned(), "chat.parameter.wrong-length", "messages"),
        ("{}".to_owned(), "chat.parameter.wrong-type", "messages"),
        ("[1]".to_owned(), "chat.parameter.wrong-type", "messages[0]"),
        (r#"[{"content":"a"}]"#.to_owned(), missing, "messages[0].role"),
        (
            r#"[{"role":"robot","content":"a"}]"#.to_owned(),
            "chat.parameter.unknown-word",
            "messages[0].role",
        ),
        (r#"[{"role":"user"}]"#.to_owned(), missing, "messages[0].content"),
        (
            r#"[{"role":"tool","content":null}]"#.to_owned(),
            missing,
            "messages[0].content",
        ),
        (
            r#"[{"role":"user","content":1}]"#.to_owned(),
            "chat.parameter.wrong-type",
            "messages[0].content",
        ),
        (
            r#"[{"role":"user","content":["a"]}]"#.to_owned(),
            "chat.parameter.wrong-type",
            "messages[0].content[0]",
        ),
        (
            r#"[{"role":"user","content":[{"type":"text"}]}]"#.to_owned(),
            missing,
            "messages[0].content[0].text",
        ),
        (
            r#"[{"role":"user","content":[{"type":"poem"}]}]"#.to_owned(),
            "chat.parameter.unknown-word",
            "messages[0].content[0].type",
        ),
        (
            call(r#"{"name":"f","arguments":"[1]"}"#),
            "chat.arguments.not-an-object",
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            call(r#"{"name":"f","arguments":"{"}"#),
            "chat.arguments.not-an-object",
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            call(r#"{"name":"f","arguments":7}"#),
            "chat.arguments.not-an-object",
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            call(r#"{"arguments":"{}"}"#),
            missing,
            "messages[0].tool_calls[0].function.name",
        ),
    ];
    for (messages, code, param) in cases {
        assert_eq!(
            refusal(of_messages(&messages)),
            (code, param.to_owned(), "invalid_value"),
            "{messages}"
        );
    }
}

#[test]
fn media_is_refused_and_what_points_away_is_told_apart() {
    let base64 = "QUJD".repeat(40);
    let remote = ("chat.content.remote", "invalid_value");
    let not_text = ("chat.content.not-text", "unsupported_value");
    let cases = [
        (
            r#"{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}"#.to_owned(),
            remote,
        ),
        (
            r#"{"type":"image_url","image_url":{"url":"HTTP://10.0.0.1/"}}"#.to_owned(),
            remote,
        ),
        (
            r#"{"type":"image_url","image_url":{"url":"file:///etc/passwd"}}"#.to_owned(),
            remote,
        ),
        (
            r#"{"type":"image_url","image_url":{"url":"/etc/passwd"}}"#.to_owned(),
            remote,
        ),
        (
            r#"{"type":"image_url","image_url":"..\\a.png"}"#.to_owned(),
            remote,
        ),
        (
            r#"{"type":"video_url","video_url":{"url":"ftp://a"}}"#.to_owned(),
            remote,
        ),
        (
            r#"{"type":"file","file":{"file_id":"file-1"}}"#.to_owned(),
            remote,
        ),
        (
            r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,QUJD"}}"#.to_owned(),
            not_text,
        ),
        (
            format!(r#"{{"type":"image_url","image_url":{{"url":"{base64}"}}}}"#),
            not_text,
        ),
        (
            format!(r#"{{"type":"input_audio","input_audio":{{"data":"{base64}","format":"wav"}}}}"#),
            not_text,
        ),
        (
            format!(r#"{{"type":"file","file":{{"file_data":"{base64}","filename":"a.pdf"}}}}"#),
            not_text,
        ),
    ];
    for (part, (code, openai_code)) in cases {
        let messages = format!(r#"[{{"role":"user","content":[{part}]}}]"#);
        let (found, param, found_openai) = refusal(of_messages(&messages));
        assert_eq!((found, found_openai), (code, openai_code), "{part}");
        assert!(param.starts_with("messages[0].content[0]."), "{param}");
    }
}

#[test]
fn bodies_that_are_no_request_are_refused() {
    let cases: [(&[u8], &str); 7] = [
        (b"", "chat.request.not-json"),
        (b"{", "chat.request.not-json"),
        (b"\xff\xfe{}", "chat.request.not-json"),
        (b"[]", "chat.request.not-an-object"),
        (b"\"x\"", "chat.request.not-an-object"),
        (b"{}", "chat.parameter.missing"),
        (br#"{"model":"m"}"#, "chat.parameter.missing"),
    ];
    for (body, code) in cases {
        assert_eq!(parse(body).unwrap_err().code(), code);
    }
    assert_eq!(parse(b"{").unwrap_err().condition(), Condition::InvalidValue);
}

#[test]
fn lists_are_taken_at_their_limit_and_refused_one_past_it() {
    let messages = |count| format!("[{}]", vec![r#"{"role":"user","content":""}"#; count].join(","));
    assert!(of_messages(&messages(MESSAGE_COUNT_MAX)).is_ok());
    assert!(of_messages(&messages(MESSAGE_COUNT_MAX + 1)).is_err());
    let tools = |count| {
        format!(
            r#""tools":[{}]"#,
            vec![r#"{"type":"function","function":{"name":"f"}}"#; count].join(",")
        )
    };
    assert!(with(&tools(TOOL_COUNT_MAX)).is_ok());
    assert!(with(&tools(TOOL_COUNT_MAX + 1)).is_err());
    let name = |length| {
        format!(
            r#""tools":[{{"type":"function","function":{{"name":"{}"}}}}]"#,
            "f".repeat(length)
        )
    };
    assert!(with(&name(NAME_BYTES_MAX)).is_ok());
    assert!(with(&name(NAME_BYTES_MAX + 1)).is_err());
    let stop = |length| format!(r#""stop":"{}""#, "f".repeat(length));
    assert!(with(&stop(STOP_BYTES_MAX)).is_ok());
    assert!(with(&stop(STOP_BYTES_MAX + 1)).is_err());
    let biases = |count| {
        let entries: Vec<String> = (0..count).map(|token| format!("\"{token}\":1")).collect();
        format!(r#""logit_bias":{{{}}}"#, entries.join(","))
    };
    assert!(with(&biases(BIAS_COUNT_MAX)).is_ok());
    assert!(with(&biases(BIAS_COUNT_MAX + 1)).is_err());
}

/// Requests that are nearly right: a value of any kind in a field that exists.
fn nearly_a_request() -> impl Strategy<Value = String> {
    let value = prop::sample::select(vec![
        "null",
        "true",
        "-1",
        "0",
        "1",
        "1.5",
        "1e300",
        "18446744073709551616",
        "\"\"",
        "\"none\"",
        "\"function\"",
        "[]",
        "[null]",
        "[\"text\"]",
        "{}",
        "{\"type\":\"text\"}",
        "[{\"role\":\"user\",\"content\":\"x\"}]",
        "[{\"type\":\"function\",\"function\":{}}]",
        "{\"1\":1}",
        "{\"enable_thinking\":true}",
    ]);
    let name = prop::sample::select(vec![
        "model",
        "messages",
        "tools",
        "tool_choice",
        "stop",
        "n",
        "seed",
        "logit_bias",
        "thinking",
        "chat_template_kwargs",
        "stream",
        "stream_options",
        "response_format",
        "top_k",
        "max_tokens",
        "logprobs",
        "top_logprobs",
        "modalities",
        "content",
        "role",
    ]);
    prop::collection::vec((name, value), 0..8).prop_map(|fields| {
        let fields: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .collect();
        format!("{{{}}}", fields.join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn no_request_makes_the_parser_panic_and_refusals_have_listed_codes(body in nearly_a_request()) {
        if let Err(refusal) = parse(body.as_bytes()) {
            prop_assert!(crate::CODES.contains(&refusal.code()));
            prop_assert!(!refusal.to_string().is_empty());
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(body in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = parse(&body);
    }

    #[test]
    fn any_text_of_a_message_arrives_unchanged(text in ".*") {
        let text_json = serde_json::to_string(&text).unwrap();
        let conversation = of_messages(&format!(r#"[{{"role":"user","content":{text_json}}}]"#)).unwrap();
        prop_assert_eq!(conversation.messages[0].content.as_ref(), Some(&text));
    }
}
