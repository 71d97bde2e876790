//! Grammars that mean harm: refused or bounded, in time, without a panic.

use std::time::{Duration, Instant};

use jingui_ipc::engine::{Constraint, Grammar};
use proptest::prelude::*;

use crate::table::{CONSTRAINTS, answer, at_once};

/// Far more than any of these may take on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

fn check(name: &str, grammar: Grammar) -> Option<&'static str> {
    let began = Instant::now();
    let outcome = CONSTRAINTS.compile(&at_once(grammar));
    let compiled = began.elapsed();
    assert!(compiled < PATIENCE, "{name}: {compiled:?}");
    match outcome {
        Err(error) => Some(error.code()),
        Ok(matcher) => {
            // What compiles may still cost too much later; then the stream ends with a code, which is a panic here.
            let began = Instant::now();
            let _outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| answer(matcher, 1, 30)));
            assert!(began.elapsed() < PATIENCE, "{name}: {:?}", began.elapsed());
            None
        }
    }
}

fn nested(depth: usize, open: &str, close: &str, core: &str) -> String {
    format!("{}{core}{}", open.repeat(depth), close.repeat(depth))
}

#[test]
fn hostile_schemas_are_refused_or_bounded_in_time() {
    let invalid = Some("engine.constraint.invalid");
    let complex = Some("engine.constraint.too-complex");
    let schema = |text: String| Grammar::JsonSchema(text);
    assert_eq!(check("not JSON", schema("{".to_owned())), invalid);
    assert_eq!(check("a list", schema("[]".to_owned())), invalid);
    assert_eq!(
        check(
            "nothing fits",
            schema(r#"{"type":"string","enum":[1]}"#.to_owned())
        ),
        invalid
    );
    assert_eq!(check("not", schema(r#"{"not":{}}"#.to_owned())), invalid);
    assert_eq!(
        check("remote", schema(r#"{"$ref":"http://example.com/s"}"#.to_owned())),
        invalid
    );
    assert_eq!(
        check("nowhere", schema(r##"{"$ref":"#/$defs/x"}"##.to_owned())),
        invalid
    );
    assert_eq!(
        check("deep", schema(nested(200, r#"{"items":"#, "}", "{}"))),
        complex
    );
    assert_eq!(
        check(
            "large",
            schema(format!(r#"{{"title":"{}"}}"#, "x".repeat(300_000)))
        ),
        complex
    );
    check("rounds", schema(r##"{"$ref":"#"}"##.to_owned()));
    check(
        "rounds of two",
        schema(
            r##"{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"}"##
                .to_owned(),
        ),
    );
    check("tree", schema(r##"{"$defs":{"n":{"type":"object","properties":{"l":{"$ref":"#/$defs/n"},"r":{"$ref":"#/$defs/n"}}}},"$ref":"#/$defs/n"}"##.to_owned()));
    let product = format!(
        r#"{{"allOf":[{}]}}"#,
        [r#"{"anyOf":[{"minLength":1},{"minLength":2},{"maxLength":9},{"maxLength":8}]}"#; 12].join(",")
    );
    check("a product of branches", schema(product));
    check(
        "a long string",
        schema(r#"{"type":"string","minLength":100000,"maxLength":1000000}"#.to_owned()),
    );
    check(
        "a long pattern",
        schema(r#"{"type":"string","pattern":"^(([a-z]{1,100}){1,100}){1,100}$"}"#.to_owned()),
    );
    check(
        "many items",
        schema(r#"{"type":"array","minItems":100000,"items":{"type":"array","minItems":100000}}"#.to_owned()),
    );
    let properties: Vec<String> = (0..5_000)
        .map(|n| format!(r#""p{n}":{{"type":"integer"}}"#))
        .collect();
    check(
        "many properties",
        schema(format!(
            r#"{{"type":"object","properties":{{{}}}}}"#,
            properties.join(",")
        )),
    );
    let patterns: Vec<String> = (0..200).map(|n| format!(r#"".*a{{{n}}}.*":{{}}"#)).collect();
    check(
        "many patterns",
        schema(format!(
            r#"{{"type":"object","patternProperties":{{{}}}}}"#,
            patterns.join(",")
        )),
    );
    check(
        "a small multiple",
        schema(r#"{"type":"number","multipleOf":1e-300,"minimum":1e300}"#.to_owned()),
    );
    check(
        "a prime multiple",
        schema(r#"{"type":"integer","multipleOf":982451653}"#.to_owned()),
    );
    check(
        "orders to the compiler",
        schema(r#"{"x-guidance":{"whitespace_pattern":"(","lenient":true}}"#.to_owned()),
    );
}

#[test]
fn hostile_expressions_and_grammars_are_refused_or_bounded_in_time() {
    let complex = Some("engine.constraint.too-complex");
    let (regex, lark) = (
        |text: &str| Grammar::Regex(text.to_owned()),
        |text: String| Grammar::Lark(text),
    );
    assert_eq!(check("brackets", regex(&nested(5_000, "(", ")", "a"))), complex);
    for (name, pattern) in [
        ("unclosed", "("),
        ("nested repetition", "((a{1,1000}){1,1000}){1,1000}"),
        ("nested stars", "(((((((a*)*)*)*)*)*)*)*b"),
        ("far behind", ".*a.{200}"),
        ("far behind, twice", "(.*a.{60}|.*b.{70}|.*c.{80})x"),
        ("unicode", r"[\p{L}]{0,500}[\p{N}]{0,500}"),
        ("nothing", "[^\\s\\S]"),
        ("empty", ""),
        ("back reference", r"(a)\1"),
        ("slash", "/\nstart: \"x\""),
    ] {
        check(name, regex(pattern));
    }
    assert_eq!(
        check(
            "grouping",
            lark(format!("start: {}", nested(3_000, "(", ")", "\"a\"")))
        ),
        complex
    );
    let chain: String = (0..6_000).map(|n| format!("r{n}: r{}\n", n + 1)).collect();
    check(
        "a chain of rules",
        lark(format!("start: r0\n{chain}r6000: \"x\"")),
    );
    let doubling: String = (0..60).map(|n| format!("r{n}: r{0} r{0}\n", n + 1)).collect();
    check("doubling", lark(format!("start: r0\n{doubling}r60: \"x\"")));
    let terminals: String = (0..40).map(|n| format!("T{n}: T{0} T{0}\n", n + 1)).collect();
    check(
        "doubling terminals",
        lark(format!("start: T0\n{terminals}T40: \"x\"")),
    );
    for (name, grammar) in [
        ("left recursion", "start: start \"a\" | \"a\""),
        ("only itself", "start: start"),
        ("ambiguity", "start: start start | \"a\" | \"\""),
        ("no start", "x: \"a\""),
        ("a control token", "start: <|system|> /.*/"),
        ("a token by number", "start: <[1]> <[2]> \"x\""),
        ("ignore everything", "start: \"a\"\n%ignore /.*/"),
        ("negation", "start: T\nT: ~/(.*a.{30}.*)/ & /(.*b.{40}.*)/"),
        ("import", "start: x\n%import common.x"),
        ("another grammar", "start: @other"),
        (
            "options",
            "%llguidance {\"no_forcing\": true, \"allow_invalid_utf8\": true}\nstart: /(?s:.*)/",
        ),
        ("repetition", "start: (\"a\" | \"b\"){1000000}"),
        (
            "a list of grammars",
            "{\"grammars\":[{\"lark_grammar\":\"start: \\\"a\\\"\"}]}",
        ),
        ("bytes", "start: \"\\xff\\x00\""),
    ] {
        check(name, lark(grammar.to_owned()));
    }
}

#[test]
fn names_that_make_no_sense_are_refused() {
    for (opened_by, after) in [
        (None, Some(String::new())),
        (None, Some("x".repeat(65))),
        (Some("<think>".to_owned()), None),
    ] {
        let constraint = Constraint {
            opened_by,
            after,
            grammar: Grammar::JsonObject,
        };
        assert_eq!(
            CONSTRAINTS.compile(&constraint).unwrap_err().code(),
            "engine.constraint.invalid"
        );
    }
}

#[test]
fn a_control_token_is_in_no_answer_whatever_the_grammar_says() {
    for grammar in [
        "start: /(?s:.*)/",
        "start: /(?s:.)+/ <[3]>",
        "start: <[3000-3400]>*",
    ] {
        let Ok(matcher) = CONSTRAINTS.compile(&at_once(Grammar::Lark(grammar.to_owned()))) else {
            continue;
        };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| answer(matcher, 4, 200)));
        let Ok(made) = outcome else { continue };
        for special in crate::table::MODEL
            .specials()
            .iter()
            .filter(|special| special.is_control)
        {
            let id = special.token.id();
            assert!(
                !made.ids.contains(&id) || crate::table::ENDS.contains(id),
                "{}",
                special.name
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_text_as_a_grammar_panics_or_hangs(text in ".{0,80}", kind in 0u8..3) {
        let grammar = match kind {
            0 => Grammar::JsonSchema(text),
            1 => Grammar::Regex(text),
            _ => Grammar::Lark(text),
        };
        check("any text", grammar);
    }

    #[test]
    fn nearly_a_grammar_neither_panics_nor_hangs(parts in proptest::collection::vec(prop::sample::select(vec![
        "start", ": ", "\"a\"", "/[a-z]+/", " | ", "(", ")", "*", "+", "?", "{2,5}", "\n", "x", "T", "~", " & ", "%json {}",
        "%ignore / /", "[lazy]", "[suffix=\"b\"]", "<think>", "<[5]>", "@x", "\"\"", "%lark {", "}",
    ]), 1..25)) {
        check("parts", Grammar::Lark(format!("start: x\nx: \"b\"\n{}", parts.concat())));
    }
}
