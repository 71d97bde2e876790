//! Answers of the demo model, cut in every way, and markup of every kind.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests"
)]

use jingui_chat::glm::{CALL_COUNT_MAX, CALL_HEAD_BYTES_MAX, Channel, KEY_BYTES_MAX, Parser};
use jingui_chat::openai::{Answer, parse};
use jingui_chat::{Conversation, Event, FinishReason, Json, Opening};
use proptest::prelude::*;

const CASES: &str = include_str!("data/cases.jsonl");

/// A conversation with these tools and stop texts.
fn conversation(tools: &str, stop: &str) -> Conversation {
    let body = format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],"tools":{tools},"stop":{stop}}}"#
    );
    parse(body.as_bytes()).unwrap()
}

/// A tool with a string, a number, a string that may be null, and an argument of unknown type.
const TOOLS: &str = r#"[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{
    "s":{"type":"string"},"i":{"type":"integer"},"o":{"type":["string","null"]},"a":{}}}}}]"#;

fn answer_of<'a>(
    conversation: &Conversation,
    opening: Opening,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Answer {
    let mut parser = Parser::new(conversation, opening);
    let mut answer = Answer::new();
    let mut has_content = false;
    for piece in pieces {
        for event in parser.push(piece).events {
            has_content |= matches!(event, Event::Content(_));
            assert!(
                !(has_content && matches!(event, Event::Reasoning(_))),
                "reasoning after content"
            );
            answer.add(event);
        }
    }
    parser.finish().into_iter().for_each(|event| answer.add(event));
    answer
}

fn whole(conversation: &Conversation, opening: Opening, text: &[u8]) -> Answer {
    answer_of(conversation, opening, std::iter::once(text))
}

/// The text cut at the given places.
fn cut<'a>(text: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = places.iter().map(|place| place % (text.len() + 1)).collect();
    places.extend([0, text.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

struct Case {
    id: String,
    conversation: Conversation,
    output: String,
    expected: Json,
}

fn cases() -> Vec<Case> {
    let case = |line: &str| {
        let case = Json::parse(line.as_bytes()).unwrap();
        let tools = case
            .field("tools")
            .map_or("[]".to_owned(), |tools| serde_json::to_string(tools).unwrap());
        let text = |name| case.field(name).and_then(Json::as_text).unwrap().to_owned();
        Case {
            id: text("id"),
            conversation: conversation(&tools, "[]"),
            output: text("reference_output"),
            expected: case.field("expected").unwrap().clone(),
        }
    };
    CASES.lines().map(case).collect()
}

fn check(case: &Case, answer: &Answer) {
    let text = |name| {
        case.expected
            .field(name)
            .and_then(Json::as_text)
            .unwrap_or_default()
    };
    assert_eq!(answer.content(), text("content"), "{}", case.id);
    assert_eq!(answer.reasoning(), text("reasoning"), "{}", case.id);
    let calls: Vec<(String, Json)> = answer
        .tool_calls()
        .map(|(name, arguments)| (name.to_owned(), Json::parse(arguments.as_bytes()).unwrap()))
        .collect();
    let expected = case
        .expected
        .field("tool_calls")
        .and_then(Json::as_list)
        .unwrap_or_default();
    let expected: Vec<(String, Json)> = expected
        .iter()
        .map(|call| {
            let name = call.field("name").and_then(Json::as_text).unwrap();
            (name.to_owned(), call.field("arguments").unwrap().clone())
        })
        .collect();
    assert_eq!(calls, expected, "{}", case.id);
}

#[test]
fn every_public_case_is_parsed_to_what_is_expected_whichever_way_it_is_cut() {
    let cases = cases();
    assert_eq!(cases.len(), 84);
    for case in &cases {
        let bytes = case.output.as_bytes();
        let opening = Opening::Undecided;
        check(case, &whole(&case.conversation, opening, bytes));
        check(case, &answer_of(&case.conversation, opening, bytes.chunks(1)));
        for place in 0..=bytes.len() {
            check(
                case,
                &answer_of(&case.conversation, opening, cut(bytes, &[place]).into_iter()),
            );
        }
    }
}

#[test]
fn the_same_call_is_found_with_newlines_and_without() {
    let tools = conversation(TOOLS, "[]");
    let forms = [
        "\nI look.\n<tool_call>f\n<arg_key>s</arg_key>\n<arg_value> a\"b\n</arg_value>\n<arg_key>i</arg_key>\n<arg_value>5</arg_value>\n</tool_call>",
        "I look.<tool_call>f<arg_key>s</arg_key><arg_value> a\"b\n</arg_value><arg_key>i</arg_key><arg_value>5</arg_value></tool_call>",
    ];
    for form in forms {
        let answer = whole(&tools, Opening::Closed, form.as_bytes());
        assert_eq!(answer.content(), "I look.");
        assert_eq!(
            answer.tool_calls().collect::<Vec<_>>(),
            [("f", r#"{"s":" a\"b\n","i":5}"#)]
        );
    }
}

/// What one call with these arguments comes to.
fn arguments(markup: &str) -> String {
    let text = format!("<tool_call>f\n{markup}\n</tool_call>");
    let answer = whole(&conversation(TOOLS, "[]"), Opening::Undecided, text.as_bytes());
    let calls: Vec<_> = answer.tool_calls().collect();
    assert_eq!((calls.len(), answer.content()), (1, ""), "{markup}");
    calls[0].1.to_owned()
}

#[test]
fn the_schema_says_what_a_bare_value_is() {
    let cases = [
        ("s", "0104", r#"{"s":"0104"}"#),
        ("s", "104", r#"{"s":"104"}"#),
        ("s", "{\"a\": 1}", r#"{"s":"{\"a\": 1}"}"#),
        ("s", "", r#"{"s":""}"#),
        ("i", "104", r#"{"i":104}"#),
        ("i", " 18446744073709551616 ", r#"{"i":18446744073709551616}"#),
        ("i", "many", r#"{"i":"many"}"#),
        ("o", "null", r#"{"o":null}"#),
        ("o", "12", r#"{"o":"12"}"#),
        ("a", "[1, {\"b\": null}]", r#"{"a":[1, {"b": null}]}"#),
        ("a", "0104", r#"{"a":"0104"}"#),
        ("a", "{broken", r#"{"a":"{broken"}"#),
        ("unknown", "true", r#"{"unknown":true}"#),
        ("a", "\u{1}\\", r#"{"a":"\u0001\\"}"#),
    ];
    for (key, value, json) in cases {
        assert_eq!(
            arguments(&format!(
                "<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>"
            )),
            json
        );
    }
    assert_eq!(arguments(""), "{}");
}

#[test]
fn thinking_is_found_whoever_opened_it() {
    let plain = conversation("[]", "[]");
    let cases = [
        (Opening::Undecided, "\n<think>a</think>\nb", "a", "b"),
        (Opening::Undecided, "<think>\na\n</think>\n\n  b", "a", "  b"),
        (Opening::Undecided, "\n<think></think>\nb", "", "b"),
        (Opening::Undecided, "b <think>c</think>", "", "b <think>c</think>"),
        (Opening::Undecided, "a</think>b", "", "a</think>b"),
        (Opening::Undecided, "<think>a", "a", ""),
        (Opening::Undecided, "<thin", "", "<thin"),
        (Opening::Thinking, "a</think>b", "a", "b"),
        (Opening::Thinking, "\n<think>a</think>b", "a", "b"),
        (Opening::Thinking, "</think>b", "", "b"),
        (Opening::Thinking, "a </thin", "a </thin", ""),
        (Opening::Closed, "\nb", "", "b"),
        (Opening::Closed, "", "", ""),
    ];
    for (opening, text, reasoning, content) in cases {
        for answer in [
            whole(&plain, opening, text.as_bytes()),
            answer_of(&plain, opening, text.as_bytes().chunks(1)),
        ] {
            assert_eq!(
                (answer.reasoning(), answer.content()),
                (reasoning, content),
                "{opening:?} {text:?}"
            );
        }
    }
}

#[test]
fn markup_that_makes_no_call_comes_out_as_text() {
    let tools = conversation(TOOLS, "[]");
    let cases = [
        "<tool_call>",
        "<tool_call>f",
        "<tool_call>two words\n</tool_call>",
        "<tool_call></tool_call>",
        "<tool_call>\n<arg_key>s</arg_key>\n<arg_value>1</arg_value></tool_call>",
        "a </tool_call> b",
        "<arg_key>s</arg_key>",
        "<tool_call>{\"name\": \"f\"}</tool_call>",
    ];
    for text in cases {
        let answer = whole(&tools, Opening::Undecided, text.as_bytes());
        assert_eq!((answer.content(), answer.tool_calls().count()), (text, 0));
    }
    let long_name = format!("<tool_call>{}</tool_call>", "f".repeat(65));
    assert_eq!(
        whole(&tools, Opening::Undecided, long_name.as_bytes()).content(),
        long_name
    );
}

#[test]
fn a_broken_call_keeps_its_sound_arguments_and_the_rest_becomes_text() {
    let tools = conversation(TOOLS, "[]");
    let cases = [
        (
            "<tool_call>f<arg_key>s</arg_key></tool_call>",
            "<arg_key>s</arg_key>",
            vec!["{}"],
        ),
        ("<tool_call>f<arg_key>s", "<arg_key>s", vec!["{}"]),
        (
            "<tool_call>f<arg_key>s</arg_key><arg_value>abc",
            "",
            vec![r#"{"s":"abc"}"#],
        ),
        (
            "<tool_call>f<arg_key>i</arg_key><arg_value>12",
            "",
            vec![r#"{"i":12}"#],
        ),
        (
            "<tool_call>f<arg_key>s</arg_key>junk<arg_value>abc</arg_value></tool_call>",
            "<arg_key>s</arg_key>junk<arg_value>abc</arg_value>",
            vec!["{}"],
        ),
        (
            "<tool_call>f<arg_key>i</arg_key><arg_value>1</arg_value> junk <arg_key>s</arg_key><arg_value>x</arg_value></tool_call>z",
            " junk z",
            vec![r#"{"i":1,"s":"x"}"#],
        ),
        (
            "<tool_call>f<arg_key>i</arg_key><arg_value>1</arg_value><tool_call>f</tool_call>",
            "",
            vec![r#"{"i":1}"#, "{}"],
        ),
    ];
    for (text, content, calls) in cases {
        let answer = whole(&tools, Opening::Undecided, text.as_bytes());
        let found: Vec<&str> = answer.tool_calls().map(|(_, arguments)| arguments).collect();
        assert_eq!((answer.content(), found), (content, calls), "{text}");
    }
}

#[test]
fn bounds_of_calls_hold_at_the_limit_and_one_past_it() {
    let tools = conversation(TOOLS, "[]");
    let found = |text: &str| {
        let cut = answer_of(&tools, Opening::Undecided, text.as_bytes().chunks(7));
        assert_eq!(cut, whole(&tools, Opening::Undecided, text.as_bytes()));
        let arguments = cut
            .tool_calls()
            .map(|(_, arguments)| arguments.len())
            .sum::<usize>();
        (cut.tool_calls().count(), arguments, cut.content().len())
    };
    let key = |length| {
        format!(
            "<tool_call>f<arg_key>{}</arg_key><arg_value>1</arg_value></tool_call>",
            "k".repeat(length)
        )
    };
    assert_eq!(found(&key(KEY_BYTES_MAX)), (1, KEY_BYTES_MAX + 6, 0));
    let lost = "<arg_key></arg_key><arg_value>1</arg_value>".len();
    assert_eq!(found(&key(KEY_BYTES_MAX + 1)), (1, 2, KEY_BYTES_MAX + 1 + lost));
    let head = |length| format!("<tool_call>{}f</tool_call>", " ".repeat(length - 1));
    assert_eq!(found(&head(CALL_HEAD_BYTES_MAX)), (1, 2, 0));
    assert_eq!(found(&head(CALL_HEAD_BYTES_MAX + 1)).0, 0);
    let call = "<tool_call>f</tool_call>";
    let calls = |count: u32| call.repeat(count as usize);
    assert_eq!(
        found(&calls(CALL_COUNT_MAX)),
        (CALL_COUNT_MAX as usize, 2 * CALL_COUNT_MAX as usize, 0)
    );
    assert_eq!(found(&calls(CALL_COUNT_MAX + 1)).0, CALL_COUNT_MAX as usize);
    assert_eq!(found(&calls(CALL_COUNT_MAX + 1)).2, call.len());
}

#[test]
fn an_indent_is_kept_and_thinking_is_found_behind_it() {
    let plain = conversation("[]", "[]");
    for (count, reasoning) in [(256, "a"), (257, "")] {
        let text = format!("\n{}<think>a</think>b", " ".repeat(count));
        for size in [1, 300, text.len()] {
            let answer = answer_of(&plain, Opening::Undecided, text.as_bytes().chunks(size));
            assert_eq!(answer.reasoning(), reasoning, "{count} {size}");
        }
    }
    assert_eq!(
        whole(&plain, Opening::Undecided, b"\n\n    indented").content(),
        "    indented"
    );
}

#[test]
fn without_tools_the_markup_of_calls_is_text() {
    let text = "<tool_call>f\n</tool_call>";
    assert_eq!(
        whole(&conversation("[]", "[]"), Opening::Undecided, text.as_bytes()).content(),
        text
    );
    let body = format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],"tools":{TOOLS},"tool_choice":"none"}}"#
    );
    assert_eq!(
        whole(
            &parse(body.as_bytes()).unwrap(),
            Opening::Undecided,
            text.as_bytes()
        )
        .content(),
        text
    );
}

#[test]
fn one_call_ends_the_answer_when_calls_may_not_be_parallel() {
    let body = format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],"tools":{TOOLS},"parallel_tool_calls":false}}"#
    );
    let mut parser = Parser::new(&parse(body.as_bytes()).unwrap(), Opening::Undecided);
    let piece = parser.push(b"<tool_call>f</tool_call><tool_call>f</tool_call>more");
    assert_eq!(piece.events.len(), 2);
    assert!(parser.is_stopped() && parser.finish().is_empty());
    assert_eq!(parser.finish_reason(false), FinishReason::ToolCalls);
}

#[test]
fn a_stop_text_ends_the_answer_and_is_not_shown() {
    let cases = [
        (r#""END""#, "\na b END c", "a b"),
        (r#"["\n"]"#, "\n\nfirst\nsecond", "first"),
        (r#"["abcd", "c"]"#, "xabcd", "xab"),
        (r#"["aab"]"#, "aaab", "a"),
        (r#"["。"]"#, "你好。再见", "你好"),
        (r#"["ENDE"]"#, "a END", "a END"),
    ];
    for (stop, text, content) in cases {
        let stops = conversation("[]", stop);
        for answer in [
            whole(&stops, Opening::Undecided, text.as_bytes()),
            answer_of(&stops, Opening::Undecided, text.as_bytes().chunks(1)),
        ] {
            assert_eq!(answer.content(), content, "{stop} {text}");
        }
    }
    let mut parser = Parser::new(&conversation(TOOLS, r#""END""#), Opening::Undecided);
    parser.push(b"<think>END</think>a E");
    assert!(!parser.is_stopped(), "stop texts do not end the reasoning");
    parser.push(b"ND b");
    assert!(parser.is_stopped());
    assert_eq!(parser.finish_reason(true), FinishReason::Stop);
    assert_eq!(parser.push(b"c").events, []);
}

#[test]
fn bytes_that_are_no_utf8_become_the_replacement_character() {
    let plain = conversation("[]", "[]");
    let bytes = b"a\xff\xe4\xbd\xe5\xa5\xbd\xf0\x9f";
    let expected = String::from_utf8_lossy(bytes);
    assert_eq!(whole(&plain, Opening::Undecided, bytes).content(), expected);
    assert_eq!(
        answer_of(&plain, Opening::Undecided, bytes.chunks(1)).content(),
        expected
    );
}

#[test]
fn each_token_is_counted_where_it_belongs() {
    let mut parser = Parser::new(&conversation(TOOLS, "[]"), Opening::Undecided);
    let tokens = [
        "\n",
        "<think>",
        "a",
        "</think>",
        "\n",
        "b",
        "<tool_call>",
        "f",
        "</tool_call>",
        "\n",
    ];
    let channels: Vec<Channel> = tokens
        .iter()
        .map(|token| parser.push(token.as_bytes()).channel)
        .collect();
    use Channel::{Content, Reasoning, ToolCall};
    let expected = [
        Content, Reasoning, Reasoning, Reasoning, Content, Content, ToolCall, ToolCall, ToolCall, Content,
    ];
    assert_eq!(channels, expected);
    assert_eq!(parser.finish_reason(true), FinishReason::Length);
    assert_eq!(parser.finish_reason(false), FinishReason::ToolCalls);
}

#[test]
fn an_endless_value_takes_time_in_proportion_to_its_length() {
    let mut parser = Parser::new(&conversation(TOOLS, r#"["never"]"#), Opening::Undecided);
    parser.push(b"<tool_call>f<arg_key>a</arg_key><arg_value>[");
    for _ in 0..200_000 {
        parser.push(b"1, <arg_value ");
    }
    assert_eq!(parser.tool_call_count(), 1);
    assert!(!parser.finish().is_empty());
}

/// Pieces of answers: tags, text with words that can be counted, white space, parts of tags.
fn any_markup() -> impl Strategy<Value = String> {
    let atom = prop_oneof![
        4 => prop::sample::select(vec![
            "<think>", "</think>", "<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>",
        ]).prop_map(str::to_owned),
        2 => prop::sample::select(vec!["\n", " ", "f", "s", "i", "5", "\"", "\\", "<", "<arg", "</", "é", "文", "END", "\u{1}"])
            .prop_map(str::to_owned),
        2 => (0..1000u32).prop_map(|number| format!("w{number}w")),
        2 => prop::sample::select(vec![
            "<tool_call>f\n", "<arg_key>s</arg_key>\n<arg_value>", "<arg_key>i</arg_key><arg_value>7</arg_value>", "\n</tool_call>",
        ]).prop_map(str::to_owned),
    ];
    prop::collection::vec(atom, 0..24).prop_map(|atoms| atoms.concat())
}

fn any_opening() -> impl Strategy<Value = Opening> {
    prop::sample::select(vec![Opening::Undecided, Opening::Thinking, Opening::Closed])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_of_any_markup_gives_the_same_answer(
        text in any_markup(),
        opening in any_opening(),
        has_tools in any::<bool>(),
        stop in prop::sample::select(vec!["[]", r#"["END"]"#, r#"["w1", "\n\n", "<a"]"#]),
        places in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let conversation = conversation(if has_tools { TOOLS } else { "[]" }, stop);
        let bytes = text.as_bytes();
        let expected = whole(&conversation, opening, bytes);
        prop_assert_eq!(&answer_of(&conversation, opening, cut(bytes, &places).into_iter()), &expected);
        prop_assert_eq!(&answer_of(&conversation, opening, bytes.chunks(1)), &expected);
        for (_, arguments) in expected.tool_calls() {
            prop_assert!(matches!(Json::parse(arguments.as_bytes()), Ok(Json::Object(_))), "{}", arguments);
        }
    }

    #[test]
    fn no_word_is_lost(text in any_markup(), opening in any_opening(), has_tools in any::<bool>()) {
        let conversation = conversation(if has_tools { TOOLS } else { "[]" }, "[]");
        let answer = whole(&conversation, opening, text.as_bytes());
        let calls: String = answer.tool_calls().map(|(name, arguments)| format!("{name} {arguments} ")).collect();
        let all = [answer.reasoning(), answer.content(), &calls].join(" ");
        let count = |text: &str| text.matches('w').count();
        prop_assert_eq!(count(&all), count(&text), "{:?}", answer);
    }

    #[test]
    fn no_bytes_make_the_parser_panic_and_cuts_do_not_matter(
        bytes in prop::collection::vec(any::<u8>(), 0..120),
        places in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let conversation = conversation(TOOLS, "[]");
        let expected = whole(&conversation, Opening::Undecided, &bytes);
        let cut = answer_of(&conversation, Opening::Undecided, cut(&bytes, &places).into_iter());
        prop_assert_eq!(cut, expected);
    }
}
