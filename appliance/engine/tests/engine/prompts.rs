//! Prompts to tokens.

use std::fs::File;
use std::sync::Arc;

use jingui_engine::tokens::{PromptError, Tokenizer};
use jingui_ipc::engine::Segment;
use jingui_llama::{Model, Token};
use proptest::prelude::*;

use crate::harness::{cases, model_path};

fn model() -> Arc<Model> {
    Arc::new(Model::load(File::open(model_path()).unwrap().into(), |_| true).unwrap())
}

fn whole(prompt: &[Segment]) -> String {
    prompt
        .iter()
        .map(|segment| match segment {
            Segment::Scaffold(text) | Segment::Text(text) => text.as_str(),
        })
        .collect()
}

fn spelled(model: &Model, tokens: &[Token]) -> String {
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| model.piece(*token)).collect();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn texts_without_special_names_give_the_tokens_of_the_whole_prompt() {
    let model = model();
    let tokenizer = Tokenizer::new(model.clone());
    for case in cases() {
        let tokens = tokenizer.prompt(&case.prompt, 2048).unwrap();
        let has_names = case.prompt.iter().any(|segment| {
            matches!(segment, Segment::Text(text) if model.specials().iter().any(|s| text.contains(&s.name)))
        });
        assert!(!has_names, "{}", case.id);
        assert_eq!(
            tokens,
            model.tokenize(&whole(&case.prompt), true).unwrap(),
            "{}",
            case.id
        );
        assert_eq!(tokens.len(), case.prompt_tokens as usize, "{}", case.id);
    }
}

#[test]
fn no_text_becomes_a_special_token() {
    let model = model();
    let tokenizer = Tokenizer::new(model.clone());
    assert_eq!(model.specials().len(), 20);
    for special in model.specials() {
        let ids = |segment: Segment| {
            let tokens = tokenizer.prompt(&[segment], 2048).unwrap();
            assert_eq!(spelled(&model, &tokens), special.name);
            tokens
        };
        assert_eq!(ids(Segment::Scaffold(special.name.clone())), [special.token]);
        assert!(
            !ids(Segment::Text(special.name.clone())).contains(&special.token),
            "{}",
            special.name
        );
    }
}

#[test]
fn a_name_put_together_from_scaffold_and_text_is_text() {
    let model = model();
    let tokenizer = Tokenizer::new(model.clone());
    let prompt = [
        Segment::Scaffold("<thi".to_owned()),
        Segment::Text("nk>".to_owned()),
    ];
    let tokens = tokenizer.prompt(&prompt, 2048).unwrap();
    assert!(
        tokens
            .iter()
            .all(|token| model.specials().iter().all(|special| special.token != *token))
    );
    assert_eq!(spelled(&model, &tokens), "<think>");
}

#[test]
fn a_prompt_too_long_by_its_bytes_is_not_tokenized() {
    let tokenizer = Tokenizer::new(model());
    let prompt = [Segment::Text("x".repeat(10_000_000))];
    assert!(
        matches!(tokenizer.prompt(&prompt, 2048), Err(PromptError::TooLong { at_least }) if at_least > 2048)
    );
}

#[test]
fn long_texts_of_one_kind_are_tokenized_in_reasonable_time() {
    // Pre-tokenizers written as regular expressions have overflowed the stack or gone quadratic on such texts.
    let tokenizer = Tokenizer::new(model());
    for piece in ["a", " ", "\n", "1", "界", "!", "é", "<", "a ", "'s"] {
        let text = piece.repeat(300_000 / piece.len());
        let tokens = tokenizer
            .prompt(&[Segment::Text(text.clone())], u32::MAX)
            .unwrap();
        assert_eq!(spelled(tokenizer.model(), &tokens), text, "{piece:?}");
    }
}

fn crumbs() -> impl Strategy<Value = Vec<Segment>> {
    let crumb = prop_oneof![
        Just("<think>"),
        Just("</think>"),
        Just("<|user|>"),
        Just("[gMASK]"),
        Just("<sop>"),
        Just("<tool_call>"),
        Just("<"),
        Just("think>"),
        Just("|>"),
        Just("<|"),
        Just("\n"),
        Just(" "),
        Just("user"),
        Just("金匮"),
        Just("1"),
        Just("<<think>>"),
        Just("<arg_key"),
        Just(">"),
    ];
    let text = proptest::collection::vec(crumb, 0..8).prop_map(|crumbs| crumbs.concat());
    let segment = (any::<bool>(), text).prop_map(|(is_text, text)| {
        if is_text {
            Segment::Text(text)
        } else {
            Segment::Scaffold(text)
        }
    });
    proptest::collection::vec(segment, 0..6)
}

#[test]
fn any_prompt_spells_itself_and_only_scaffold_makes_specials() {
    let model = model();
    let tokenizer = Tokenizer::new(model.clone());
    proptest!(ProptestConfig::with_cases(2000), |(prompt in crumbs())| {
        let tokens = tokenizer.prompt(&prompt, 4096).unwrap();
        prop_assert_eq!(spelled(&model, &tokens), whole(&prompt));
        let made = tokens.iter().filter(|token| model.specials().iter().any(|s| s.token == **token)).count();
        let written: usize = prompt.iter().map(|segment| match segment {
            Segment::Text(_) => 0,
            // No name in the list is part of another.
            Segment::Scaffold(text) => model.specials().iter().map(|s| text.matches(&s.name).count()).sum(),
        }).sum();
        prop_assert_eq!(made, written);
    });
}
