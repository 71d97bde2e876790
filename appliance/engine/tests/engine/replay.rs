//! A stream goes on where an engine that is gone left it.

use jingui_ipc::engine::{Finish, Generate};

use crate::harness::{Engine, cases, chat, endless, request};

#[test]
fn a_replayed_stream_gives_the_rest_of_the_same_text() {
    let mut engine = Engine::serving(2, 2048);
    let mut gateway = engine.connect();
    let mut stream = 0;
    for case in cases().iter().step_by(7) {
        stream += 1;
        let whole = gateway.answer(request(stream, case.prompt.clone()));
        for part in [1, whole.tokens.len() / 2, whole.tokens.len()] {
            stream += 1;
            let rest = gateway.answer(Generate {
                resume: whole.ids()[..part].to_vec(),
                ..request(stream, case.prompt.clone())
            });
            assert_eq!(rest.ids(), whole.ids()[part..], "{} from {part}", case.id);
            assert_eq!(rest.done, whole.done, "counts are those of the whole");
        }
    }
}

#[test]
fn random_choices_go_on_as_if_nothing_had_happened() {
    let mut engine = Engine::serving(1, 2048);
    let mut gateway = engine.connect();
    let ask = |stream: u64, resume: Vec<u32>| {
        let mut generate = chat(stream, "Why is the sea salty?");
        generate.sampling.temperature = 1.0;
        generate.sampling.seed = Some(4);
        generate.sampling.presence_penalty = 0.5;
        generate.completion_tokens_max = Some(40);
        generate.resume = resume;
        generate
    };
    let whole = gateway.answer(ask(1, Vec::new()));
    let part = whole.tokens.len() / 2;
    let rest = gateway.answer(ask(2, whole.ids()[..part].to_vec()));
    assert_eq!(rest.ids(), whole.ids()[part..]);
}

#[test]
fn what_was_made_before_counts_against_the_limits() {
    let mut engine = Engine::serving(1, 256);
    let mut gateway = engine.connect();
    let whole = gateway.answer(endless(1));
    let (_, prompt, completion) = whole.done.clone().unwrap();
    assert_eq!(prompt + completion, 256);
    for (stream, limit, resumed) in [(2, Some(10), 4), (3, Some(10), 10), (4, Some(10), 12)] {
        let mut generate = endless(stream);
        generate.completion_tokens_max = limit;
        generate.resume = whole.ids()[..resumed].to_vec();
        let rest = gateway.answer(generate);
        assert_eq!(*rest.finish(), Finish::Length);
        assert_eq!(rest.tokens.len(), 10usize.saturating_sub(resumed));
    }
    let mut full = endless(5);
    full.resume = whole.ids();
    let nothing = gateway.answer(full);
    assert_eq!((nothing.tokens.len(), nothing.finish()), (0, &Finish::Length));
    let mut foreign = endless(6);
    foreign.resume = vec![u32::MAX];
    assert!(matches!(
        gateway.answer(foreign).finish(),
        Finish::Refused { code } if code == jingui_engine::codes::RESUME_UNFIT
    ));
}
