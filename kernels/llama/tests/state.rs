//! Sequences that are shared, saved and brought back go on bit for bit as if nothing had happened, and what would abort
//! the process or mix sequences is refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use jingui_llama::{Context, ContextShape, Decoded, LogitsError, SequenceError, StateError};

mod demo;
use demo::{compute, context, model, push, same_bits, shape, text};

fn roomy() -> ContextShape {
    ContextShape {
        sequence_count: 6,
        output_rows: 6,
        ..shape()
    }
}

#[test]
fn a_restored_sequence_goes_on_bit_for_bit() {
    let mut context = context();
    let tokens = text(context.model(), 1, 100);
    compute(&mut context, &tokens[..99], 0, 0, 64);
    let mut bytes = Vec::new();
    context.save(0, &mut bytes).unwrap();
    let expected = compute(&mut context, &tokens[99..], 99, 0, 64);

    context.clear();
    assert_eq!(context.last_position(0), Ok(None));
    context.restore(0, &bytes).unwrap();
    assert_eq!(context.first_position(0), Ok(Some(0)));
    assert_eq!(context.last_position(0), Ok(Some(98)));
    let restored = compute(&mut context, &tokens[99..], 99, 0, 64);
    assert!(same_bits(&restored, &expected));

    let mut other = Context::new(context.model().clone(), shape()).unwrap();
    other.restore(1, &bytes).unwrap();
    let elsewhere = compute(&mut other, &tokens[99..], 99, 1, 64);
    assert!(
        same_bits(&elsewhere, &expected),
        "in another context and sequence"
    );
    let mut again = Vec::new();
    context.forget(0, 99).unwrap();
    context.save(0, &mut again).unwrap();
    assert!(bytes == again, "saving what was restored gives the same bytes");
}

#[test]
fn a_prefix_restored_block_by_block_goes_on_bit_for_bit() {
    let mut context = Context::new(model(), roomy()).unwrap();
    let tokens = text(context.model(), 2, 97);
    compute(&mut context, &tokens[..96], 0, 0, 32);
    let mut blocks = Vec::new();
    for first in [0, 32, 64] {
        let mut bytes = Vec::new();
        context.save_range(0, first..first + 32, 5, &mut bytes).unwrap();
        assert_eq!(context.last_position(5), Ok(None), "scratch is empty again");
        blocks.push((first, bytes));
    }
    let expected = compute(&mut context, &tokens[96..], 96, 0, 32);
    context.clear();
    for (first, bytes) in &blocks {
        context.restore_range(5, 1, *first..first + 32, bytes).unwrap();
    }
    assert_eq!(context.last_position(1), Ok(Some(95)));
    let restored = compute(&mut context, &tokens[96..], 96, 1, 32);
    assert!(same_bits(&restored, &expected));
}

#[test]
fn blocks_continue_a_prefix_that_is_still_in_the_cache() {
    let mut context = Context::new(model(), roomy()).unwrap();
    let tokens = text(context.model(), 3, 65);
    compute(&mut context, &tokens[..64], 0, 0, 64);
    let mut second = Vec::new();
    context.save_range(0, 32..64, 5, &mut second).unwrap();
    let expected = compute(&mut context, &tokens[64..], 64, 0, 64);
    context.share_range(0, 1, 0..32).unwrap();
    context.restore_range(5, 1, 32..64, &second).unwrap();
    let logits = compute(&mut context, &tokens[64..], 64, 1, 64);
    let difference = logits
        .iter()
        .zip(&expected)
        .fold(0f32, |most, (a, b)| most.max((a - b).abs()));
    // The restored cells lie elsewhere in the pool, so sums run in another order, no more.
    assert!(difference < 1e-2, "{difference}");
}

#[test]
fn a_running_sequence_is_shared_while_it_goes_on() {
    let mut context = Context::new(model(), roomy()).unwrap();
    let common = text(context.model(), 4, 48);
    let ends: Vec<_> = (0..3).map(|seed| text(context.model(), 50 + seed, 16)).collect();
    compute(&mut context, &common, 0, 0, 48);
    // The first goes on; two others take what it has computed so far, from under its feet.
    compute(&mut context, &ends[0][..8], 48, 0, 8);
    context.share_range(0, 1, 0..48).unwrap();
    context.share_range(0, 2, 0..40).unwrap();
    let mut batch = context.batch();
    push(&mut batch, &ends[0][8..], 56, 0);
    let second = push(&mut batch, &ends[1], 48, 1);
    let third = push(&mut batch, &common[40..], 40, 2);
    assert_eq!(context.decode(&mut batch), Ok(Decoded::Computed));
    let shared = context.logits(second).unwrap().to_vec();
    assert!(context.logits(third).is_ok());
    context.forget(0, 0).unwrap();
    let more = compute(&mut context, &ends[2], 48, 2, 16);

    let mut alone = Context::new(context.model().clone(), roomy()).unwrap();
    for (logits, end) in [(shared, &ends[1]), (more, &ends[2])] {
        alone.clear();
        compute(&mut alone, &common, 0, 0, 48);
        let expected = compute(&mut alone, end, 48, 0, 16);
        let difference = logits
            .iter()
            .zip(&expected)
            .fold(0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(difference < 1e-2, "{difference}");
    }
}

#[test]
fn sharing_costs_no_cells() {
    let mut context = Context::new(
        model(),
        ContextShape {
            context_tokens: 256,
            ..roomy()
        },
    )
    .unwrap();
    let tokens = text(context.model(), 5, 250);
    compute(&mut context, &tokens, 0, 0, 64);
    for sequence in 1..6 {
        context.share_range(0, sequence, 0..250).unwrap();
    }
    let mut batch = context.batch();
    for sequence in 0..6 {
        batch.push(tokens[0], 250, sequence, true).unwrap();
    }
    assert_eq!(context.decode(&mut batch), Ok(Decoded::Computed));
    batch.clear();
    batch.push(tokens[0], 251, 0, true).unwrap();
    assert_eq!(context.decode(&mut batch), Ok(Decoded::NoRoom));
}

#[test]
fn what_would_mix_or_tear_sequences_is_refused() {
    let mut context = Context::new(model(), roomy()).unwrap();
    let tokens = text(context.model(), 6, 40);
    compute(&mut context, &tokens, 0, 0, 40);
    assert_eq!(
        context.share_range(0, 6, 0..1),
        Err(SequenceError::NoSuchSequence(6))
    );
    assert_eq!(
        context.share_range(6, 0, 0..1),
        Err(SequenceError::NoSuchSequence(6))
    );
    assert_eq!(context.share_range(0, 1, 0..41), Err(SequenceError::NotHeld(0)));
    assert_eq!(context.share_range(2, 1, 0..1), Err(SequenceError::NotHeld(2)));
    context.share_range(0, 1, 0..20).unwrap();
    assert_eq!(context.share_range(0, 1, 19..30), Err(SequenceError::Overlap(1)));
    assert_eq!(context.share(0, 1, 40), Err(SequenceError::Overlap(1)));
    context.share_range(0, 1, 20..40).unwrap();
    assert_eq!(context.last_position(1), Ok(Some(39)));
    context.share_range(0, 0, 0..40).unwrap();
    context.share_range(0, 1, 7..7).unwrap();
    context.share(2, 3, 10).unwrap();
    assert_eq!(context.last_position(3), Ok(None), "nothing to share");

    assert_eq!(
        context.forget_range(6, 0..1),
        Err(SequenceError::NoSuchSequence(6))
    );
    context.forget_range(1, 30..40).unwrap();
    assert_eq!(context.last_position(1), Ok(Some(29)));
    context.forget_range(1, 0..10).unwrap();
    assert_eq!(context.first_position(1), Ok(Some(10)));
    context.forget_range(1, 5..5).unwrap();
    assert_eq!(context.last_position(0), Ok(Some(39)), "the shared one keeps all");
}

#[test]
fn bytes_of_something_else_are_refused_and_change_nothing() {
    let mut context = Context::new(model(), roomy()).unwrap();
    let tokens = text(context.model(), 7, 40);
    compute(&mut context, &tokens, 0, 0, 40);
    let mut bytes = Vec::new();
    assert_eq!(
        context.save(6, &mut bytes),
        Err(SequenceError::NoSuchSequence(6).into())
    );
    assert_eq!(context.save(1, &mut bytes), Err(SequenceError::NotHeld(1).into()));
    context.save(0, &mut bytes).unwrap();
    assert_eq!(
        context.restore(6, &bytes),
        Err(SequenceError::NoSuchSequence(6).into())
    );
    // Header: magic, version, fingerprint, first, count, length; then llama.cpp's magic, sequence, streams, cells.
    for byte in [0, 4, 8, 15, 16, 20, 24, 32, 40, 44] {
        let mut altered = bytes.clone();
        altered[byte] ^= 1;
        // An altered first position makes a range that the cells do not have: found after reading.
        let expected = if byte == 16 {
            StateError::Refused
        } else {
            StateError::Foreign
        };
        assert_eq!(context.restore(1, &altered), Err(expected), "{byte}");
        assert_eq!(context.last_position(1), Ok(None));
    }
    for length in [0, 31, 32, 47, bytes.len() - 1] {
        assert_eq!(
            context.restore(1, &bytes[..length]),
            Err(StateError::Foreign),
            "{length}"
        );
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(context.restore(1, &longer), Err(StateError::Foreign));
    // Cut short, with a header that says so: llama.cpp notices.
    let mut short = bytes[..bytes.len() - 64].to_vec();
    let body = u64::try_from(short.len() - 32).unwrap().to_le_bytes();
    short[24..32].copy_from_slice(&body);
    assert_eq!(context.restore(1, &short), Err(StateError::Refused));
    assert_eq!(context.last_position(1), Ok(None));

    let expected = compute(&mut context, &tokens[..1], 40, 0, 1);
    context.forget(0, 40).unwrap();
    context.restore(1, &bytes).unwrap();
    context.forget(0, 0).unwrap();
    assert_eq!(
        compute(&mut context, &tokens[..1], 40, 1, 1).len(),
        expected.len()
    );
}

#[test]
fn ranges_are_saved_and_restored_only_where_they_fit() {
    let mut context = Context::new(model(), roomy()).unwrap();
    let tokens = text(context.model(), 8, 64);
    compute(&mut context, &tokens, 0, 0, 64);
    let mut bytes = Vec::new();
    let not_held: StateError = SequenceError::NotHeld(0).into();
    assert_eq!(context.save_range(0, 32..65, 5, &mut bytes), Err(not_held));
    assert_eq!(
        context.save_range(0, 3..3, 5, &mut bytes),
        Err(SequenceError::NotHeld(0).into())
    );
    assert_eq!(
        context.save_range(0, 0..32, 0, &mut bytes),
        Err(StateError::ScratchInUse(0))
    );
    context.share_range(0, 4, 0..8).unwrap();
    assert_eq!(
        context.save_range(0, 0..32, 4, &mut bytes),
        Err(StateError::ScratchInUse(4))
    );
    context.save_range(0, 32..64, 5, &mut bytes).unwrap();
    assert_eq!(
        context.restore_range(5, 1, 0..32, &bytes),
        Err(StateError::Foreign),
        "another range"
    );
    assert_eq!(
        context.restore_range(5, 0, 32..64, &bytes),
        Err(SequenceError::Overlap(0).into())
    );
    assert_eq!(
        context.restore_range(4, 1, 32..64, &bytes),
        Err(StateError::ScratchInUse(4))
    );
    context.restore_range(5, 1, 32..64, &bytes).unwrap();
    assert_eq!(context.first_position(1), Ok(Some(32)));
    assert_eq!(context.last_position(5), Ok(None));
}

#[test]
fn a_full_cache_refuses_a_restore_and_leaves_the_sequence_empty() {
    let mut context = Context::new(
        model(),
        ContextShape {
            context_tokens: 256,
            ..roomy()
        },
    )
    .unwrap();
    let tokens = text(context.model(), 9, 200);
    compute(&mut context, &tokens, 0, 0, 64);
    let mut bytes = Vec::new();
    context.save(0, &mut bytes).unwrap();
    assert_eq!(context.restore(1, &bytes), Err(StateError::Refused));
    assert_eq!(context.last_position(1), Ok(None));
    assert_eq!(context.last_position(0), Ok(Some(199)), "the other is untouched");
    context.forget(0, 0).unwrap();
    assert_eq!(context.restore(1, &bytes), Ok(()));
}

#[test]
fn logits_of_many_rows_are_read_from_many_threads_at_once() {
    let mut context = Context::new(
        model(),
        ContextShape {
            output_rows: 12,
            ..roomy()
        },
    )
    .unwrap();
    let mut batch = context.batch();
    let mut rows = Vec::new();
    // Sequences are mixed on purpose: llama.cpp may compute them in another order than they were asked for.
    for position in 0..4 {
        for sequence in 0..6 {
            let tokens = text(context.model(), 60 + sequence, 4);
            let is_asked = position >= 2;
            let row = batch
                .push(tokens[position as usize], position, sequence, is_asked)
                .unwrap();
            if is_asked {
                rows.push((row, sequence, position));
            }
        }
    }
    assert_eq!(context.decode(&mut batch), Ok(Decoded::Computed));
    let outputs = context.outputs();
    let read: Vec<Vec<f32>> = std::thread::scope(|scope| {
        let threads: Vec<_> = rows
            .iter()
            .map(|(row, _, _)| scope.spawn(move || outputs.row(*row).unwrap().to_vec()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(outputs.row(0).unwrap_err(), LogitsError::NotAsked(0));
    assert_eq!(outputs.row(24).unwrap_err(), LogitsError::NotAsked(24));
    let mut alone = Context::new(context.model().clone(), shape()).unwrap();
    for ((_, sequence, position), logits) in rows.iter().zip(&read) {
        alone.clear();
        let tokens = text(context.model(), 60 + sequence, 4);
        let expected = compute(&mut alone, &tokens[..=*position as usize], 0, 0, 64);
        let difference = logits
            .iter()
            .zip(&expected)
            .fold(0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(
            difference < 1e-2,
            "sequence {sequence} at {position}: {difference}"
        );
    }
}

#[test]
fn a_shape_with_rows_for_drafts_takes_them_and_no_more() {
    let shape = ContextShape {
        output_rows: 5,
        sequence_count: 1,
        ..shape()
    };
    let mut context = Context::new(model(), shape).unwrap();
    let tokens = text(context.model(), 10, 6);
    let mut batch = context.batch();
    for (position, token) in (0..5).zip(&tokens) {
        batch.push(*token, position, 0, true).unwrap();
    }
    assert!(batch.push(tokens[5], 5, 0, true).is_err());
    batch.push(tokens[5], 5, 0, false).unwrap();
    assert_eq!(context.decode(&mut batch), Ok(Decoded::Computed));
    assert!((0..5).all(|row| context.logits(row).is_ok()));
}

#[test]
fn a_context_tells_what_it_reserves() {
    let context = Context::new(
        model(),
        ContextShape {
            context_tokens: 1024,
            ..shape()
        },
    )
    .unwrap();
    let memory = context.memory();
    assert_eq!(memory.weights, context.model().tensor_bytes());
    // Keys and values in f16: 2 × 2 bytes × layers × heads × size of a head, for each cell.
    let number = |key: &str| -> u64 { context.model().metadata(key).unwrap().parse().unwrap() };
    let per_cell = 4
        * number("glm4.block_count")
        * number("glm4.attention.head_count_kv")
        * number("glm4.attention.key_length");
    let expected = per_cell * 1024;
    assert!(
        memory.kv.abs_diff(expected) <= 10_486,
        "{memory:?}, expected {expected}"
    );
    let logits = 2 * 4 * u64::from(context.model().vocab_size());
    assert!(memory.compute > logits, "{memory:?}");
    assert!(context.can_shift());
    assert!(context.is_divisible());
}

#[test]
fn an_abort_ends_the_context_it_is_for_and_no_other() {
    let mut context = context();
    let mut beside = context.beside(shape()).unwrap();
    let tokens = text(context.model(), 11, 20);
    context.abort_flag().raise();
    let mut batch = context.batch();
    push(&mut batch, &tokens, 0, 0);
    assert_eq!(context.decode(&mut batch), Ok(Decoded::Aborted));
    let logits = compute(&mut beside, &tokens, 0, 0, 20);
    context.abort_flag().lower();
    assert!(same_bits(&compute(&mut context, &tokens, 0, 0, 20), &logits));
}
