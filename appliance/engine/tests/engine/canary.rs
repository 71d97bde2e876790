//! The reference's answers, alone and together.

use crate::harness::{Engine, cases, request};
use jingui_ipc::engine::Finish;

#[test]
fn every_public_case_is_answered_as_by_the_reference() {
    let mut engine = Engine::serving(1, 2048);
    let mut gateway = engine.connect();
    let cases = cases();
    assert_eq!(cases.len(), 84);
    for (stream, case) in (0..).zip(cases) {
        let answer = gateway.answer(request(stream, case.prompt));
        assert_eq!(answer.text(), case.reference_output, "{}", case.id);
        assert_eq!(answer.accepted, Some(case.prompt_tokens), "{}", case.id);
        let made = u32::try_from(answer.tokens.len()).unwrap();
        // The end token is counted and not sent.
        assert_eq!(
            answer.done,
            Some((Finish::Stop, case.prompt_tokens, made + 1)),
            "{}",
            case.id
        );
    }
}

#[test]
fn streams_that_run_together_answer_as_alone() {
    for stream_count in [3, 8] {
        let mut engine = Engine::serving(stream_count, 2048);
        let mut gateway = engine.connect();
        let cases = cases();
        // All but one at a time wait or run at once; the queue holds what does not run.
        for batch in cases.chunks(60) {
            for (stream, case) in (0..).zip(batch) {
                gateway.generate(request(stream, case.prompt.clone()));
            }
            let answers = gateway.answers(0..batch.len() as u64);
            for (stream, case) in (0..).zip(batch) {
                assert_eq!(
                    answers[&stream].text(),
                    case.reference_output,
                    "{} of {stream_count}",
                    case.id
                );
            }
        }
    }
}
