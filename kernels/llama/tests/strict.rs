//! What a context beside another one computes is the same bit for bit, whatever else ran: the ground of reproducible
//! answers. The conditions are those in the comment of `Context::beside`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use jingui_llama::{Context, ContextError, ContextShape, Token};

mod demo;
use demo::{compute, model, same_bits, text};

/// Fixed chunk of a prompt.
const CHUNK: usize = 128;
/// Longer than 512 cells, from where attention to a single row is split over threads.
const PROMPT_TOKENS: u32 = 580;
const ANSWER_TOKENS: u32 = 3;

fn crowded() -> ContextShape {
    ContextShape {
        context_tokens: 2048,
        sequence_count: 4,
        batch_tokens: 128,
        output_rows: 4,
        thread_count: 2,
    }
}

fn strict() -> ContextShape {
    ContextShape {
        context_tokens: 1024,
        sequence_count: 1,
        batch_tokens: 128,
        output_rows: 1,
        thread_count: 2,
    }
}

/// Logits of the end of the prompt and of each token of the answer.
fn answer(context: &mut Context, tokens: &[Token]) -> Vec<f32> {
    let (prompt, rest) = tokens.split_at(PROMPT_TOKENS as usize);
    let mut all = compute(context, prompt, 0, 0, CHUNK);
    all.extend(continued(context, rest));
    all
}

fn continued(context: &mut Context, rest: &[Token]) -> Vec<f32> {
    let mut all = Vec::new();
    for (position, token) in (PROMPT_TOKENS..).zip(rest) {
        all.extend(compute(context, &[*token], position, 0, 1));
    }
    all
}

#[test]
fn the_same_prompt_gives_the_same_bits_whatever_ran_before_or_runs_meanwhile() {
    let model = model();
    let tokens = text(&model, 1, PROMPT_TOKENS + ANSWER_TOKENS);
    let fresh = answer(&mut Context::new(model.clone(), strict()).unwrap(), &tokens);

    let mut crowd = Context::new(model.clone(), crowded()).unwrap();
    let mut beside = crowd.beside(strict()).unwrap();
    for round in 0..2 {
        // Something else before: another prompt in this context, and others in the crowded one.
        beside.clear();
        compute(&mut beside, &text(&model, 70 + round, 133), 0, 0, 50);
        for sequence in 0..4 {
            crowd.forget(sequence, 0).unwrap();
            let length = 100 + 50 * sequence + round;
            compute(&mut crowd, &text(&model, sequence, length), 0, sequence, 128);
        }
        beside.clear();
        assert!(same_bits(&answer(&mut beside, &tokens), &fresh), "round {round}");
    }
    // And meanwhile, from another thread, with the same workers.
    let meanwhile = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            for round in 0..3 {
                crowd.clear();
                compute(&mut crowd, &text(&model, round, 300), 0, 1, 128);
            }
        });
        beside.forget(0, 0).unwrap();
        let answer = answer(&mut beside, &tokens);
        other.join().unwrap();
        answer
    });
    assert!(same_bits(&meanwhile, &fresh));
}

#[test]
fn a_prefix_that_was_computed_in_the_same_chunks_may_be_restored() {
    let model = model();
    let tokens = text(&model, 2, PROMPT_TOKENS + ANSWER_TOKENS);
    let shape = ContextShape {
        sequence_count: 2,
        output_rows: 2,
        ..strict()
    };
    let mut context = Context::new(model.clone(), shape).unwrap();
    let fresh = answer(&mut context, &tokens);
    let mut blocks = Vec::new();
    for first in (0..512).step_by(128) {
        let mut bytes = Vec::new();
        context.save_range(0, first..first + 128, 1, &mut bytes).unwrap();
        blocks.push((first, bytes));
    }
    let mut later = Context::new(model, shape).unwrap();
    for (first, bytes) in &blocks {
        later.restore_range(1, 0, *first..first + 128, bytes).unwrap();
    }
    let (prompt, rest) = tokens.split_at(PROMPT_TOKENS as usize);
    let mut restored = compute(&mut later, &prompt[512..], 512, 0, CHUNK);
    restored.extend(continued(&mut later, rest));
    assert!(same_bits(&restored, &fresh));
}

#[test]
fn thread_counts_change_later_and_back() {
    let model = model();
    let tokens = text(&model, 3, PROMPT_TOKENS + ANSWER_TOKENS);
    let mut context = Context::new(model.clone(), strict()).unwrap();
    let beside = context.beside(strict()).unwrap();
    let two = answer(&mut context, &tokens);
    for count in [1, 3] {
        context.set_threads(count).unwrap();
        context.clear();
        let fresh = ContextShape {
            thread_count: count,
            ..strict()
        };
        let expected = answer(&mut Context::new(model.clone(), fresh).unwrap(), &tokens);
        assert!(
            same_bits(&answer(&mut context, &tokens), &expected),
            "{count} threads"
        );
    }
    for count in [0, 513] {
        assert_eq!(context.set_threads(count), Err(ContextError::Threads));
    }
    context.set_threads(2).unwrap();
    context.clear();
    assert!(same_bits(&answer(&mut context, &tokens), &two));
    drop(context);
    let mut beside = beside;
    assert!(
        same_bits(&answer(&mut beside, &tokens), &two),
        "the pool outlives the first context"
    );
}

#[test]
fn a_context_beside_another_has_no_more_threads_than_that() {
    let context = Context::new(model(), strict()).unwrap();
    let shape = ContextShape {
        thread_count: 3,
        ..strict()
    };
    assert_eq!(context.beside(shape).unwrap_err(), ContextError::Shape(shape));
}
