//! Any output of a model, cut in two at any place, gives the same answer as in one piece.

#![no_main]

use jingui_chat::glm::Parser;
use jingui_chat::openai::{Answer, parse};
use jingui_chat::{Conversation, Opening};
use libfuzzer_sys::fuzz_target;

const REQUEST: &[u8] = br#"{"model":"m","messages":[{"role":"user","content":"x"}],"stop":["END","\n\n"],
    "tools":[{"type":"function","function":{"name":"f","parameters":{"properties":{"s":{"type":"string"}}}}}]}"#;

fn answer(conversation: &Conversation, pieces: &[&[u8]]) -> Answer {
    let mut parser = Parser::new(conversation, Opening::Undecided);
    let mut answer = Answer::new();
    for piece in pieces {
        parser.push(piece).events.into_iter().for_each(|event| answer.add(event));
    }
    parser.finish().into_iter().for_each(|event| answer.add(event));
    answer
}

fuzz_target!(|input: &[u8]| {
    let (Some((place, output)), Ok(conversation)) = (input.split_first(), parse(REQUEST)) else { return };
    let (head, tail) = output.split_at(usize::from(*place).min(output.len()));
    assert_eq!(answer(&conversation, &[head, tail]), answer(&conversation, &[output]));
});
