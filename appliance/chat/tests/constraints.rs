//! What the engine is asked to hold an answer to. The grammars are golden: `UPDATE_GOLDEN=1` rewrites them, a person
//! reads the difference, and the engine's tests make answers inside them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests"
)]

use jingui_chat::glm::constraint::{Grammar, constraint};
use jingui_chat::glm::{Channel, Parser};
use jingui_chat::openai::{Answer, parse};
use jingui_chat::{Conversation, FinishReason, Opening, Refusal};
use proptest::prelude::*;

fn asked(more: &str) -> Result<Conversation, Refusal> {
    parse(format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],{more}}}"#).as_bytes())
}

fn grammar(more: &str) -> Option<Grammar> {
    constraint(&asked(more).unwrap(), Opening::Closed).map(|constraint| constraint.grammar)
}

const WEATHER: &str = r##"{"type":"function","function":{"name":"weather","strict":true,"parameters":{"type":"object",
    "properties":{"city":{"type":"string"},"days":{"type":"integer","minimum":1,"maximum":7},
        "unit":{"type":"string","enum":["C","F"]},"note":{"type":["string","null"]},
        "code":{"type":"string","pattern":"^[A-Z]{2}~\\d+$"},"when":{"type":"string","format":"date"},
        "place":{"$ref":"#/$defs/place"},"tags":{"type":"array","items":{"type":"string"},"maxItems":3}},
    "required":["city","days","unit","note","code","when","place","tags"],"additionalProperties":false,
    "$defs":{"place":{"type":"object","properties":{"lat":{"type":"number"}},"required":["lat"],"additionalProperties":false}}}}}"##;
const LOOSE: &str = r#"{"type":"function","function":{"name":"run.it","parameters":{"type":"object"}}}"#;
const NOTHING: &str = r#"{"type":"function","function":{"name":"now"}}"#;

#[test]
fn the_grammars_of_tools_are_those_that_were_read() {
    let cases = [
        (
            "required",
            format!(r#""tools":[{WEATHER},{LOOSE},{NOTHING}],"tool_choice":"required""#),
        ),
        (
            "named",
            format!(
                r#""tools":[{WEATHER},{NOTHING}],"tool_choice":{{"type":"function","function":{{"name":"weather"}}}}"#
            ),
        ),
        ("auto_strict", format!(r#""tools":[{WEATHER}]"#)),
        (
            "auto_json",
            format!(
                r#""tools":[{NOTHING}],"response_format":{{"type":"json_object"}},"parallel_tool_calls":false"#
            ),
        ),
    ];
    for (name, more) in cases {
        let Some(Grammar::Lark(text)) = grammar(&more) else {
            panic!("{name}")
        };
        let path = format!("{}/tests/data/grammars/{name}.lark", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(std::path::Path::new(&path).parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "{name}");
        // The engine takes no grammar with it.
        assert!(!text.contains('~'), "{name}");
    }
}

#[test]
fn a_format_is_handed_on_and_free_text_is_free() {
    assert_eq!(grammar(r#""seed":1"#), None);
    assert_eq!(grammar(r#""response_format":{"type":"text"}"#), None);
    assert_eq!(
        grammar(&format!(r#""tools":[{LOOSE}]"#)),
        None,
        "auto without a strict tool"
    );
    assert_eq!(
        grammar(&format!(r#""tools":[{WEATHER}],"tool_choice":"none""#)),
        None
    );
    assert_eq!(
        grammar(r#""response_format":{"type":"json_object"}"#),
        Some(Grammar::JsonObject)
    );
    assert_eq!(
        grammar(r#""response_format":{"type":"regex","pattern":"[0-9]+"}"#),
        Some(Grammar::Regex("[0-9]+".to_owned()))
    );
    assert_eq!(
        grammar(r#""response_format":{"type":"grammar","definition":"start: \"a\""}"#),
        Some(Grammar::Lark("start: \"a\"".to_owned()))
    );
    // What `client.chat.completions.parse(response_format=Model)` sends.
    let sent = r#""response_format":{"type":"json_schema","json_schema":{"schema":{"properties":{"name":{"title":"Name","type":"string"},
        "age":{"anyOf":[{"type":"integer"},{"type":"null"}],"title":"Age"}},"required":["name","age"],"title":"Person",
        "type":"object","additionalProperties":false},"name":"Person","strict":true}}"#;
    let Some(Grammar::JsonSchema(schema)) = grammar(sent) else {
        panic!()
    };
    assert!(
        schema.starts_with(r#"{"properties":{"name":{"title":"Name""#),
        "{schema}"
    );
}

#[test]
fn reasoning_comes_before_the_form() {
    let conversation = asked(r#""response_format":{"type":"json_object"}"#).unwrap();
    let names = |opening| {
        let constraint = constraint(&conversation, opening).unwrap();
        (constraint.opened_by, constraint.after)
    };
    let (open, close) = (Some("<think>".to_owned()), Some("</think>".to_owned()));
    assert_eq!(names(Opening::Closed), (None, None));
    assert_eq!(names(Opening::Thinking), (None, close.clone()));
    assert_eq!(names(Opening::Undecided), (open, close));
}

#[test]
fn what_cannot_be_held_is_refused_by_its_name() {
    let tool = |property: &str| {
        format!(
            r#""tools":[{{"type":"function","function":{{"name":"f","strict":true,"parameters":{{"type":"object","properties":{{"p":{property}}}}}}}}}]"#
        )
    };
    let schema = |schema: &str| {
        format!(
            r#""response_format":{{"type":"json_schema","json_schema":{{"name":"n","schema":{schema}}}}}"#
        )
    };
    let keyword = "chat.schema.keyword";
    let malformed = "chat.schema.malformed";
    let cases = [
        (
            schema(r#"{"type":"array","uniqueItems":true}"#),
            keyword,
            "uniqueItems",
        ),
        (schema(r#"{"if":{},"then":{}}"#), keyword, "if"),
        (schema(r#"{"properties":{"a":{"not":{}}}}"#), keyword, "not"),
        (
            schema(r#"{"type":"string","format":"iri"}"#),
            keyword,
            "format: iri",
        ),
        (
            schema(r#"{"x-guidance":{"lenient":true}}"#),
            keyword,
            "x-guidance",
        ),
        (schema(r#"{"minLenght":1}"#), keyword, "minLenght"),
        (schema(r#"{"type":"text"}"#), malformed, ""),
        (schema(r#"{"maxItems":10001}"#), malformed, ""),
        (schema(r#"{"$ref":"other.json"}"#), malformed, ""),
        (schema(r#"{"properties":[]}"#), malformed, ""),
        (
            tool(r#"{"type":"string","format":"ipv6"}"#),
            keyword,
            "format: ipv6",
        ),
        (tool(r#"{"type":"string","pattern":"a|^b"}"#), keyword, "pattern"),
        (
            tool(r##"{"type":"object","properties":{"q":{"$ref":"#"}}}"##),
            keyword,
            "$ref: #",
        ),
        (
            tool(r#"{"type":"object","propertyNames":{}}"#),
            keyword,
            "propertyNames",
        ),
    ];
    for (more, code, named) in cases {
        let refusal = asked(&more).unwrap_err();
        assert_eq!(refusal.code(), code, "{more}");
        assert!(refusal.to_string().contains(named), "{refusal}");
        assert_eq!(refusal.condition().status(), 400);
    }
    for (more, code) in [
        (r#""tool_choice":"required""#.to_owned(), "chat.parameter.needs"),
        (
            format!(
                r#""tools":[{NOTHING}],"tool_choice":{{"type":"function","function":{{"name":"other"}}}}"#
            ),
            "chat.parameter.needs",
        ),
        (
            format!(r#""tools":[{NOTHING}],"response_format":{{"type":"regex","pattern":"a"}}"#),
            "chat.unsupported.response-format",
        ),
        (
            r#""response_format":{"type":"xml"}"#.to_owned(),
            "chat.parameter.unknown-word",
        ),
        (
            r#""response_format":{"type":"regex"}"#.to_owned(),
            "chat.parameter.missing",
        ),
        (
            r#""response_format":{"type":"json_schema","json_schema":{"name":"a b"}}"#.to_owned(),
            "chat.parameter.bad-name",
        ),
        (
            r#""service_tier":"gold""#.to_owned(),
            "chat.parameter.unknown-word",
        ),
        (
            r#""prompt_cache_retention":"7d""#.to_owned(),
            "chat.parameter.unknown-word",
        ),
    ] {
        assert_eq!(asked(&more).unwrap_err().code(), code, "{more}");
    }
}

#[test]
fn cache_and_urgency_are_read() {
    use jingui_chat::{CacheUse, Class};
    let of = |more: &str| asked(more).unwrap();
    assert_eq!(
        of(r#""cache_prompt":false,"prompt_cache_retention":"24h""#).cache,
        CacheUse::Off
    );
    assert_eq!(
        of(r#""cache_prompt":true,"prompt_cache_key":"k""#).cache,
        CacheUse::Use
    );
    assert_eq!(of(r#""prompt_cache_retention":"24h""#).cache, CacheUse::Pin);
    assert_eq!(of(r#""service_tier":"flex""#).class, Class::Batch);
    assert_eq!(of(r#""service_tier":"auto""#).class, Class::Interactive);
    assert!(of(r#""strict_reproducible":true"#).is_strict);
}

/// The answer to `text`, handed over in pieces of that many bytes.
fn reply(conversation: &Conversation, text: &str, piece: usize) -> (Answer, FinishReason) {
    let mut parser = Parser::new(conversation, Opening::Closed);
    let mut answer = Answer::new();
    for piece in text.as_bytes().chunks(piece.max(1)) {
        let piece = parser.push(piece);
        assert_ne!(piece.channel, Channel::Reasoning);
        piece.events.into_iter().for_each(|event| answer.add(event));
    }
    parser.finish().into_iter().for_each(|event| answer.add(event));
    (answer, parser.finish_reason(false))
}

proptest! {
    /// JSON of a given form may hold the names of tags, and whichever way it is cut, it stays one.
    #[test]
    fn tags_inside_json_of_a_given_form_are_text(piece in 1usize..40) {
        let conversation = asked(&format!(r#""tools":[{NOTHING}],"response_format":{{"type":"json_object"}}"#)).unwrap();
        let json = r#"{"a":"<tool_call>now</tool_call>"}"#;
        let (answer, reason) = reply(&conversation, json, piece);
        prop_assert_eq!(answer.content(), json);
        prop_assert_eq!(reason, FinishReason::Stop);
        let (answer, reason) = reply(&conversation, "<tool_call>now</tool_call>", piece);
        prop_assert_eq!(answer.tool_calls().collect::<Vec<_>>(), [("now", "{}")]);
        prop_assert_eq!(reason, FinishReason::ToolCalls);
    }

    #[test]
    fn a_closing_tag_inside_a_held_json_value_is_part_of_it(piece in 1usize..60) {
        let tool = r#"{"type":"function","function":{"name":"f","strict":true,"parameters":{"type":"object","properties":{"o":{"type":"object"}}}}}"#;
        let conversation = asked(&format!(r#""tools":[{tool}]"#)).unwrap();
        let text = r#"<tool_call>f<arg_key>o</arg_key><arg_value>{"k":"\"</arg_value>"}</arg_value></tool_call>"#;
        let (answer, _) = reply(&conversation, text, piece);
        prop_assert_eq!(answer.tool_calls().collect::<Vec<_>>(), [("f", r#"{"o":{"k":"\"</arg_value>"}}"#)]);
    }
}
