//! Each kind of language, and free text before it.

use jingui_engine::choose::Chooser;
use jingui_ipc::engine::{Constraint, Grammar, Sampling};

use crate::table::{CONSTRAINTS, ENDS, MODEL, answer, at_once, compile, run, warm};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("a held answer is UTF-8")
}

#[test]
fn any_json_object_is_one() {
    for seed in 0..20 {
        let made = answer(compile(Grammar::JsonObject), seed, 600);
        if made.has_ended {
            let value: serde_json::Value = serde_json::from_slice(&made.bytes).unwrap();
            assert!(value.is_object(), "{value}");
        }
    }
}

#[test]
fn a_regular_expression_matches_the_whole() {
    for seed in 0..20 {
        let made = answer(compile(Grammar::Regex("(ja|nein)[0-9]{3}".to_owned())), seed, 50);
        assert!(made.has_ended);
        let digits = text(&made.bytes)
            .trim_start_matches("ja")
            .trim_start_matches("nein")
            .to_owned();
        assert!(
            digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit()),
            "{:?}",
            text(&made.bytes)
        );
    }
}

#[test]
fn a_grammar_is_kept() {
    let grammar = "start: \"(\" (item (\",\" item)*)? \")\"\nitem: /[a-z]{1,5}/ | start\n";
    for seed in 0..20 {
        let made = answer(compile(Grammar::Lark(grammar.to_owned())), seed, 200);
        let mut depth = 0i32;
        for character in text(&made.bytes).chars() {
            match character {
                '(' => depth += 1,
                ')' => depth -= 1,
                ',' | 'a'..='z' => {}
                other => panic!("{other:?}"),
            }
            assert!(depth >= 0);
        }
        assert!(!made.has_ended || depth == 0);
    }
}

/// Greedy logits that ask for these pieces of text, one after another, whatever is allowed.
fn asked(pieces: &[&str]) -> Vec<Vec<f32>> {
    pieces
        .iter()
        .map(|piece| {
            let mut row = vec![0.0; MODEL.vocab_size() as usize];
            let token = MODEL.tokenize(piece, true).unwrap();
            row[token[0].id() as usize] = 10.0;
            row
        })
        .collect()
}

fn said(constraint: &Constraint, pieces: &[&str]) -> String {
    let matcher = CONSTRAINTS.compile(constraint).unwrap();
    let mut chooser = Chooser::new(&Sampling::GREEDY, 0, None, Some(matcher), ENDS.clone());
    let mut bytes = Vec::new();
    for row in asked(pieces) {
        for choice in chooser.choose_chain(&[&row], &[]).choices {
            bytes.extend(MODEL.piece(MODEL.token(choice.id).unwrap()));
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn free_text_is_free_until_its_name_and_cannot_end_the_answer() {
    let constraint = Constraint {
        opened_by: None,
        after: Some("</think>".to_owned()),
        grammar: Grammar::Regex("[0-9]+".to_owned()),
    };
    // What is asked for comes, but for the end token, which would leave the answer out.
    let made = said(&constraint, &["x", "{", "</think>", "7"]);
    assert_eq!(made, "x{</think>7");
    let ended = said(&constraint, &["<|user|>"]);
    assert!(!ended.contains("<|user|>"), "{ended}");
    // Spelled out, the name is the same.
    let made = said(&constraint, &["x", "<", "/", "th", "ink", ">", "7"]);
    assert!(
        !made.contains("</think>") || made.ends_with("</think>7"),
        "{made}"
    );
}

#[test]
fn an_answer_may_open_its_free_text_or_do_without() {
    let constraint = Constraint {
        opened_by: Some("<think>".to_owned()),
        after: Some("</think>".to_owned()),
        grammar: Grammar::Regex("[0-9]{2}".to_owned()),
    };
    assert_eq!(
        said(&constraint, &["<think>", "x", "</think>", "4", "2"]),
        "<think>x</think>42"
    );
    assert_eq!(
        said(&constraint, &["\n", "<think>", "x", "</think>", "4"]),
        "\n<think>x</think>4"
    );
    assert_eq!(said(&constraint, &["4", "2"]), "42");
    // A grammar that begins as the opening does: both stay possible.
    let alike = Constraint {
        grammar: Grammar::Regex("<[a-z]{3}>".to_owned()),
        ..constraint
    };
    assert!(said(&alike, &["<", "b", "i", "g", ">"]).starts_with('<'));
}

#[test]
fn free_text_and_json_together_give_both() {
    let constraint = Constraint {
        opened_by: None,
        after: Some("</think>".to_owned()),
        grammar: Grammar::JsonSchema(r#"{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}"#.to_owned()),
    };
    let mut ended_count = 0;
    for seed in 0..30 {
        let matcher = CONSTRAINTS.compile(&constraint).unwrap();
        let mut chooser = Chooser::new(&warm(), 0, None, Some(matcher), ENDS.clone());
        let made = run(&mut chooser, seed, 400);
        if made.has_ended {
            ended_count += 1;
            let text = String::from_utf8_lossy(&made.bytes).into_owned();
            let (_, json) = text
                .split_once("</think>")
                .expect("the name comes before the end");
            let value: serde_json::Value = serde_json::from_str(json).unwrap();
            assert!(
                value["a"].is_i64() || value["a"].is_u64() || value["a"].is_f64(),
                "{json}"
            );
        }
    }
    assert!(ended_count > 5, "{ended_count}");
}

#[test]
fn tokens_without_a_choice_are_known_ahead() {
    let schema = r#"{"type":"object","properties":{"temperature":{"type":"boolean"}},"required":["temperature"],"additionalProperties":false}"#;
    let mut matcher = CONSTRAINTS
        .compile(&at_once(Grammar::JsonSchema(schema.to_owned())))
        .unwrap();
    // White space may stand before the key, so only the brace is forced.
    let brace = matcher.forced(10);
    assert!(brace.len() <= 1, "{brace:?}");
    let mut fixed = CONSTRAINTS
        .compile(&at_once(Grammar::Lark(
            "start: \"the answer is \" /[0-9]/".to_owned(),
        )))
        .unwrap();
    let forced = fixed.forced(10);
    assert!(!forced.is_empty(), "a fixed text is forced");
    assert_eq!(fixed.fitting_count(&forced), forced.len());
    let mut chooser = Chooser::new(&warm(), 0, None, Some(fixed), ENDS.clone());
    let row = crate::table::logits(1, 0);
    let rows: Vec<&[f32]> = vec![&row; forced.len() + 1];
    let chosen = chooser.choose_chain(&rows, &forced);
    let ids: Vec<u32> = chosen.choices.iter().map(|choice| choice.id).collect();
    assert_eq!(ids[..forced.len()], forced[..]);
}
