//! Every code of this crate has words, and the words need no fact that the error does not give.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::{BTreeMap, BTreeSet};

use jingui_chat::json::JsonError;
use jingui_chat::{CODES, Json, Refusal, TemplateError};

/// The words live in another crate, which this one may not use.
const WORDS: &str = include_str!("../../messages/catalogue/chat.json");

fn words() -> BTreeMap<String, Json> {
    match Json::parse(WORDS.as_bytes()).unwrap() {
        Json::Object(entries) => entries.into_iter().collect(),
        other => panic!("{other:?}"),
    }
}

fn placeholders(text: &str) -> BTreeSet<String> {
    text.split('{')
        .skip(1)
        .filter_map(|after| after.split_once('}'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

fn errors() -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let param = || "x".to_owned();
    let refusals = [
        Refusal::NotJson(JsonError::TooDeep),
        Refusal::NotAnObject,
        Refusal::Missing { param: param() },
        Refusal::WrongType {
            param: param(),
            expected: "a string",
        },
        Refusal::OutOfRange {
            param: param(),
            minimum: 0.0,
            maximum: 1.0,
        },
        Refusal::UnknownWord {
            param: param(),
            allowed: "a, b",
        },
        Refusal::WrongLength {
            param: param(),
            minimum: 0,
            maximum: 1,
            unit: "bytes",
        },
        Refusal::BadName { param: param() },
        Refusal::Needs {
            param: param(),
            needs: "y",
        },
        Refusal::BadArguments { param: param() },
        Refusal::RemoteContent { param: param() },
        Refusal::NotText { param: param() },
        Refusal::SeveralAnswers,
        Refusal::SchemaKeyword {
            param: param(),
            keyword: "not".to_owned(),
        },
        Refusal::SchemaMalformed {
            param: param(),
            reason: "must be a string",
        },
        Refusal::HostedTool { param: param() },
        Refusal::ResponseFormat { param: param() },
        Refusal::Modality { param: param() },
    ];
    let failures = [
        TemplateError::Malformed {
            line: 1,
            reason: param(),
        },
        TemplateError::TooLarge {
            what: "the prompt",
            maximum: 1,
        },
        TemplateError::Exhausted,
        TemplateError::Refused { message: param() },
        TemplateError::Failed {
            line: 1,
            reason: param(),
        },
        TemplateError::Entangled,
        TemplateError::Crowded,
    ];
    let refusals = refusals.iter().map(|refusal| (refusal.code(), refusal.facts()));
    refusals
        .chain(failures.iter().map(|failure| (failure.code(), failure.facts())))
        .collect()
}

#[test]
fn every_code_is_listed_and_has_words() {
    let listed: BTreeSet<&str> = CODES.iter().copied().collect();
    let words = words();
    assert_eq!(
        errors().iter().map(|(code, _)| *code).collect::<BTreeSet<_>>(),
        listed
    );
    assert_eq!(words.keys().map(String::as_str).collect::<BTreeSet<_>>(), listed);
}

#[test]
fn words_need_no_fact_that_is_not_given() {
    let words = words();
    for (code, facts) in errors() {
        let given: BTreeSet<String> = facts.iter().map(|(name, _)| (*name).to_owned()).collect();
        for language in ["zh-CN", "en"] {
            for part in ["what", "why", "do"] {
                let text = words
                    .get(code)
                    .and_then(|entry| entry.field(language))
                    .and_then(|entry| entry.field(part));
                let needed = placeholders(text.and_then(Json::as_text).unwrap());
                assert!(
                    needed.is_subset(&given),
                    "{code}, {language}, {part}: {needed:?} of {given:?}"
                );
            }
        }
    }
}
