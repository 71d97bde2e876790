//! The same bytes for the same request, whatever else runs.

use jingui_ipc::engine::Generate;

use crate::harness::{Answer, Engine, cases, chat, endless, request};

fn strict(generate: Generate) -> Generate {
    Generate {
        is_strict: true,
        logprobs: Some(5),
        ..generate
    }
}

/// All that the model said, to the last bit.
fn bits(answer: &Answer) -> Vec<(u32, u32, Vec<u32>)> {
    answer
        .tokens
        .iter()
        .map(|token| {
            let logprobs = token.logprobs.as_ref().unwrap();
            let top = logprobs.top.iter().map(|(_, logprob)| logprob.to_bits());
            (token.id, logprobs.chosen.to_bits(), top.collect())
        })
        .collect()
}

#[test]
fn a_strict_answer_is_the_same_to_the_bit_alone_and_in_a_crowd() {
    let mut engine = Engine::serving(4, 2048);
    let mut gateway = engine.connect();
    let asks: Vec<Generate> = cases()
        .into_iter()
        .step_by(17)
        .map(|case| strict(request(0, case.prompt)))
        .chain([{
            let mut babble = strict(endless(0));
            babble.sampling.temperature = 1.5;
            babble.sampling.seed = Some(7);
            babble.completion_tokens_max = Some(120);
            babble
        }])
        .collect();
    let ask = |stream: u64, generate: &Generate| Generate {
        stream,
        ..generate.clone()
    };
    let alone: Vec<_> = (1..)
        .zip(&asks)
        .map(|(stream, generate)| bits(&gateway.answer(ask(stream, generate))))
        .collect();
    // A crowd that shares the machine, the prompts and the cache, and comes and goes.
    (100..104).for_each(|stream| gateway.generate(endless(stream)));
    gateway.first_token(101);
    for (stream, generate) in (200..).zip(&asks) {
        let mut beside = ask(stream, generate);
        beside.is_strict = false;
        gateway.generate(beside);
    }
    (300..)
        .zip(&asks)
        .for_each(|(stream, generate)| gateway.generate(ask(stream, generate)));
    let count = asks.len() as u64;
    gateway.cancel(102);
    let answers = gateway.answers((300..300 + count).chain([102]));
    for (stream, alone) in (300..).zip(&alone) {
        assert_eq!(bits(&answers[&stream]), *alone, "stream {stream}");
        assert_eq!(answers[&stream].cached, Some(0));
    }
}

#[test]
fn a_strict_answer_goes_on_to_the_bit_after_a_replay() {
    let mut engine = Engine::serving(2, 2048);
    let mut gateway = engine.connect();
    let ask = |stream: u64, resume: Vec<u32>| {
        let mut generate = strict(chat(stream, "Why is the sea salty?"));
        generate.resume = resume;
        generate
    };
    let whole = gateway.answer(ask(1, Vec::new()));
    let part = whole.tokens.len() / 2;
    gateway.generate(endless(2));
    gateway.first_token(2);
    let rest = gateway.answer(ask(3, whole.ids()[..part].to_vec()));
    assert_eq!(bits(&rest), bits(&whole)[part..]);
}

#[test]
fn a_strict_stream_can_be_cancelled_and_the_next_one_runs() {
    let mut engine = Engine::serving(1, 2048);
    let mut gateway = engine.connect();
    gateway.generate(strict(endless(1)));
    gateway.generate(strict(chat(2, "repeat: x y")));
    gateway.first_token(1);
    gateway.cancel(1);
    let answers = gateway.answers([1, 2]);
    assert_eq!(answers[&2].text(), "\nx y");
    assert_eq!(gateway.answer(chat(3, "repeat: z")).text(), "\nz");
}
