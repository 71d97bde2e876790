//! The door to llama.cpp on a real model: what it gives, and what it refuses instead of aborting the process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::io::{Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jingui_llama::{
    BatchError, Context, ContextError, ContextShape, DecodeError, Decoded, LoadError, LogitsError, Model,
    SequenceError,
};

mod demo;
use demo::{context, likeliest, model, push, shape, weights};

#[test]
fn a_model_loads_from_the_first_byte_of_its_descriptor_wherever_that_stands() {
    let mut file = weights();
    file.seek(SeekFrom::Start(12_345)).unwrap();
    let mut seen = Vec::new();
    let model = Model::load(file.into(), |part| {
        seen.push(part);
        true
    })
    .unwrap();
    assert_eq!(model.vocab_size(), 3328);
    assert_eq!(model.trained_context_tokens(), 2048);
    assert_eq!(model.metadata("general.architecture").as_deref(), Some("glm4"));
    assert_eq!(model.metadata("no.such.key"), None);
    assert!(model.chat_template().unwrap().starts_with("[gMASK]<sop>"));
    assert!(model.tensor_bytes() > 5_000_000);
    assert!(seen.windows(2).all(|pair| pair[0] <= pair[1]), "{seen:?}");
    assert_eq!(seen.last(), Some(&1.0));
}

#[test]
fn loading_can_be_stopped() {
    assert!(matches!(
        Model::load(weights().into(), |_| false),
        Err(LoadError::Stopped)
    ));
}

#[test]
fn a_panic_in_the_progress_callback_stops_the_loading_and_not_the_process() {
    let loaded = Model::load(weights().into(), |_| panic!("on purpose"));
    assert!(matches!(loaded, Err(LoadError::Stopped)));
}

#[test]
fn what_is_no_model_is_refused() {
    for bytes in [
        &b""[..],
        b"GGUF",
        b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
        &[0; 9999],
    ] {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        assert!(
            matches!(Model::load(file.into(), |_| true), Err(LoadError::Refused)),
            "{bytes:?}"
        );
    }
}

#[test]
fn tokens_spell_their_text() {
    let model = model();
    for text in [
        "",
        "hello",
        "你好，金匮",
        "a\0b",
        "<think>x</think>",
        "\n\n  \u{1f600}",
    ] {
        for parses_specials in [false, true] {
            let tokens = model.tokenize(text, parses_specials).unwrap();
            let bytes: Vec<u8> = tokens.iter().flat_map(|token| model.piece(*token)).collect();
            assert_eq!(bytes, text.as_bytes());
        }
    }
    assert_eq!(model.token(3328), None);
    assert_eq!(model.begin(), None, "the template of GLM-4 brings its own begin");
    let ends: Vec<u32> = (0..3328)
        .filter(|id| model.is_end(model.token(*id).unwrap()))
        .collect();
    let names: Vec<&str> = model
        .specials()
        .iter()
        .filter(|s| ends.contains(&s.token.id()))
        .map(|s| &*s.name)
        .collect();
    assert_eq!(names, ["<|observation|>", "<|endoftext|>", "<|user|>"]);
}

#[test]
fn shapes_that_llama_cpp_cannot_make_are_refused() {
    let model = model();
    for shape in [
        ContextShape {
            context_tokens: 0,
            ..shape()
        },
        ContextShape {
            context_tokens: u32::MAX,
            ..shape()
        },
        ContextShape {
            sequence_count: 0,
            ..shape()
        },
        ContextShape {
            sequence_count: 257,
            batch_tokens: 512,
            ..shape()
        },
        ContextShape {
            batch_tokens: 0,
            ..shape()
        },
        ContextShape {
            batch_tokens: 1,
            ..shape()
        },
        ContextShape {
            thread_count: 0,
            ..shape()
        },
        ContextShape {
            thread_count: 513,
            ..shape()
        },
    ] {
        assert_eq!(
            Context::new(model.clone(), shape).unwrap_err(),
            ContextError::Shape(shape)
        );
    }
}

#[test]
fn rows_that_would_abort_the_process_are_refused() {
    let context = context();
    let token = context.model().token(5).unwrap();
    let mut batch = context.batch();
    assert_eq!(batch.push(token, 0, 2, false), Err(BatchError::NoSuchSequence(2)));
    assert_eq!(
        batch.push(token, 0, u32::MAX, false),
        Err(BatchError::NoSuchSequence(u32::MAX))
    );
    assert_eq!(
        batch.push(token, 512, 0, false),
        Err(BatchError::BeyondContext(512))
    );
    assert_eq!(batch.push(token, 511, 0, true), Ok(0));
    assert_eq!(batch.push(token, 0, 1, true), Ok(1));
    assert_eq!(batch.push(token, 1, 1, true), Err(BatchError::OutputsFull(2)));
    for row in 2..64 {
        assert_eq!(batch.push(token, 1, 1, false), Ok(row));
    }
    assert_eq!(batch.push(token, 1, 1, false), Err(BatchError::Full(64)));
    assert_eq!(batch.len(), 64);
    batch.clear();
    assert!(batch.is_empty());
}

#[test]
fn a_batch_of_another_context_an_empty_one_and_a_gap_are_errors() {
    let model = model();
    let mut context = Context::new(model.clone(), shape()).unwrap();
    let other = Context::new(
        model,
        ContextShape {
            batch_tokens: 32,
            ..shape()
        },
    )
    .unwrap();
    assert_eq!(context.decode(&mut other.batch()), Err(DecodeError::ForeignBatch));
    let mut batch = context.batch();
    assert_eq!(context.decode(&mut batch), Err(DecodeError::Empty));
    let token = context.model().token(5).unwrap();
    batch.push(token, 0, 0, false).unwrap();
    batch.push(token, 2, 0, false).unwrap();
    assert_eq!(context.decode(&mut batch), Err(DecodeError::Refused));
    assert_eq!(context.last_position(0), Ok(None), "nothing changed");
}

#[test]
fn only_rows_that_asked_have_logits_and_only_after_computing() {
    let mut context = context();
    let tokens = context.model().tokenize("hello world", false).unwrap();
    let mut batch = context.batch();
    let row = push(&mut batch, &tokens, 0, 0);
    assert!(row > 0);
    assert_eq!(context.logits(row).unwrap_err(), LogitsError::NotAsked(row));
    assert_eq!(context.decode(&mut batch), Ok(Decoded::Computed));
    assert_eq!(context.logits(row).unwrap().len(), 3328);
    for other in [0, row + 1, usize::MAX] {
        assert_eq!(context.logits(other).unwrap_err(), LogitsError::NotAsked(other));
    }
    assert_eq!(
        context.decode(&mut batch),
        Err(DecodeError::Refused),
        "these positions are taken"
    );
    assert_eq!(context.logits(row).unwrap_err(), LogitsError::NotAsked(row));
}

#[test]
fn sequences_that_do_not_exist_are_refused() {
    let mut context = context();
    let refused = SequenceError::NoSuchSequence(2);
    assert_eq!(context.forget(2, 0), Err(SequenceError::NoSuchSequence(2)));
    assert_eq!(context.share(0, 2, 1), Err(SequenceError::NoSuchSequence(2)));
    assert_eq!(context.share(2, 0, 1), Err(SequenceError::NoSuchSequence(2)));
    assert_eq!(context.last_position(2), Err(refused));
}

#[test]
fn a_shared_and_a_forgotten_prefix_go_on_as_if_computed_anew() {
    let mut context = context();
    let text = "[gMASK]<sop><|user|>\nrepeat: tor cheese<|assistant|>\n<think></think>\n";
    let tokens = context.model().tokenize(text, true).unwrap();
    let mut batch = context.batch();
    let row = push(&mut batch, &tokens, 0, 0);
    assert_eq!(context.decode(&mut batch), Ok(Decoded::Computed));
    let alone = context.logits(row).unwrap().to_vec();
    let last = u32::try_from(tokens.len() - 1).unwrap();
    assert_eq!(context.last_position(0), Ok(Some(last)));

    context.share(0, 1, last).unwrap();
    assert_eq!(context.last_position(1), Ok(Some(last - 1)));
    context.forget(0, last - 3).unwrap();
    assert_eq!(context.last_position(0), Ok(Some(last - 4)));
    batch.clear();
    let shared = push(&mut batch, &tokens[tokens.len() - 1..], last, 1);
    let redone = push(&mut batch, &tokens[tokens.len() - 4..], last - 3, 0);
    assert_eq!(context.decode(&mut batch), Ok(Decoded::Computed));
    for row in [shared, redone] {
        let logits = context.logits(row).unwrap();
        assert_eq!(likeliest(logits), likeliest(&alone));
        // Another batch shape sums in another order, no more.
        assert!(logits.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 0.05));
    }
}

#[test]
fn an_abort_ends_a_decode_and_leaves_the_context_usable() {
    let mut context = context();
    let flag = context.abort_flag();
    let tokens = context.model().tokenize("hello world", false).unwrap();
    let mut batch = context.batch();
    push(&mut batch, &tokens, 0, 0);
    flag.raise();
    assert_eq!(context.decode(&mut batch), Ok(Decoded::Aborted));
    assert_eq!(context.last_position(0), Ok(None));
    flag.lower();
    let before = flag.node_count();
    assert_eq!(context.decode(&mut batch), Ok(Decoded::Computed));
    assert!(flag.node_count() > before, "a decode shows that it moves");
}

#[test]
fn an_abort_from_another_thread_ends_a_long_decode() {
    let shape = ContextShape {
        context_tokens: 2048,
        sequence_count: 1,
        batch_tokens: 2048,
        output_rows: 1,
        thread_count: 1,
    };
    let mut context = Context::new(model(), shape).unwrap();
    let flag = context.abort_flag();
    let token = context.model().token(5).unwrap();
    let mut batch = context.batch();
    push(&mut batch, &vec![token; 2048], 0, 0);
    let outcome = std::thread::scope(|scope| {
        let decoding = scope.spawn(|| context.decode(&mut batch));
        while flag.node_count() < 3 {
            std::thread::sleep(Duration::from_micros(50));
        }
        flag.raise();
        decoding.join().unwrap()
    });
    assert_eq!(outcome, Ok(Decoded::Aborted));
}

#[test]
fn a_full_cache_is_told_and_changes_nothing() {
    let mut context = Context::new(
        model(),
        ContextShape {
            context_tokens: 256,
            ..shape()
        },
    )
    .unwrap();
    assert_eq!(context.context_tokens(), 256);
    let token = context.model().token(5).unwrap();
    let mut batch = context.batch();
    for first in (0..256).step_by(64) {
        batch.clear();
        push(&mut batch, &vec![token; 64], first, 0);
        assert_eq!(context.decode(&mut batch), Ok(Decoded::Computed));
    }
    batch.clear();
    push(&mut batch, &[token], 0, 1);
    assert_eq!(context.decode(&mut batch), Ok(Decoded::NoRoom));
    context.forget(0, 200).unwrap();
    assert_eq!(context.decode(&mut batch), Ok(Decoded::Computed));
}

#[test]
fn threads_compute_the_same() {
    let model = model();
    let tokens = model
        .tokenize("[gMASK]<sop><|user|>\nrepeat: a b c", true)
        .unwrap();
    let with = |thread_count| {
        let mut context = Context::new(
            model.clone(),
            ContextShape {
                thread_count,
                ..shape()
            },
        )
        .unwrap();
        let mut batch = context.batch();
        let row = push(&mut batch, &tokens, 0, 0);
        assert_eq!(context.decode(&mut batch), Ok(Decoded::Computed));
        context.logits(row).unwrap().to_vec()
    };
    let (one, three) = (with(1), with(3));
    assert!(one.iter().zip(&three).all(|(a, b)| (a - b).abs() < 1e-3));
}

#[test]
fn the_words_of_llama_cpp_go_to_the_first_listener_only() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let heard = lines.clone();
    assert!(jingui_llama::route_logs(move |level, line| heard
        .lock()
        .unwrap()
        .push((level, line.to_owned()))));
    assert!(!jingui_llama::route_logs(|_, _| panic!("never called")));
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"no model").unwrap();
    assert!(Model::load(file.into(), |_| true).is_err());
    let lines = lines.lock().unwrap();
    assert!(
        lines
            .iter()
            .any(|(level, _)| *level == jingui_llama::LogLevel::Error),
        "{lines:?}"
    );
}

#[test]
fn the_kernels_use_the_instructions_of_this_cpu() {
    let facts = jingui_llama::system_facts();
    #[cfg(target_feature = "avx2")]
    assert!(facts.contains("AVX2 = 1"), "{facts}");
    #[cfg(target_feature = "avx512f")]
    assert!(facts.contains("AVX512 = 1"), "{facts}");
    assert!(facts.contains("CPU"), "{facts}");
}
