//! Each generation of GLM computes what `transformers` computes, token by token and logit by logit, on tiny models of
//! seeded noise (`assets/make_models.py` makes them and the figures beside them).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use jingui_llama::{
    Context, ContextError, ContextShape, Decoded, DraftError, DraftRequest, LoadError, LoadOptions, Model,
    MtpDrafter, PooledContext, PooledError, PooledShape, Pooling, Purpose, Token,
};

mod demo;
use demo::{compute, likeliest};

fn asset(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/assets")
        .join(name)
}

fn load(name: &str) -> Arc<Model> {
    let file = File::open(asset(&format!("{name}.gguf"))).unwrap();
    Arc::new(Model::load(file.into(), |_| true).unwrap())
}

struct Reference {
    text: String,
    prompt: Vec<u32>,
    greedy: Vec<u32>,
    first_logits: Vec<f32>,
}

fn reference(name: &str) -> Reference {
    let bytes = std::fs::read(asset(&format!("{name}.json"))).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let ids = |key: &str| serde_json::from_value(json[key].clone()).unwrap();
    Reference {
        text: json["text"].as_str().unwrap().to_owned(),
        prompt: ids("prompt"),
        greedy: ids("greedy"),
        first_logits: serde_json::from_value(json["first_logits"].clone()).unwrap(),
    }
}

/// Largest difference of a logit. The KV cache holds f16 where the reference holds f32; the logits span about ±6.
const LOGIT_TOLERANCE: f32 = 0.05;

/// Compares the model `name`, of `architecture`, with its reference; prompt in chunks of `chunk`.
fn check(name: &str, architecture: &str, chunk: usize) {
    let model = load(name);
    let expected = reference(name);
    assert_eq!(
        model.metadata("general.architecture").as_deref(),
        Some(architecture)
    );
    let tokens = |ids: &[u32]| -> Vec<Token> { ids.iter().map(|id| model.token(*id).unwrap()).collect() };
    let text: Vec<u32> = model
        .tokenize(&format!("[gMASK]<sop>{}", expected.text), true)
        .unwrap()
        .iter()
        .map(|token| token.id())
        .collect();
    assert_eq!(text, expected.prompt, "{name}: the same tokens");
    let mut context = Context::new(
        model.clone(),
        ContextShape {
            context_tokens: 256,
            sequence_count: 3,
            batch_tokens: 64,
            output_rows: 3,
            thread_count: 1,
        },
    )
    .unwrap();
    let mut logits = compute(&mut context, &tokens(&expected.prompt), 0, 0, chunk);
    let difference = logits
        .iter()
        .zip(&expected.first_logits)
        .fold(0f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(difference < LOGIT_TOLERANCE, "{name}: {difference}");
    assert_eq!(logits.len(), expected.first_logits.len());
    // Half-way the sequence is saved, forgotten, restored into another and goes on: all memories must take that.
    let mut made = Vec::new();
    let prompt = u32::try_from(expected.prompt.len()).unwrap();
    let mut sequence = 0;
    for (position, step) in (prompt..).zip(0..expected.greedy.len()) {
        let token = u32::try_from(likeliest(&logits)).unwrap();
        made.push(token);
        if step == expected.greedy.len() / 2 {
            let mut bytes = Vec::new();
            context.save(0, &mut bytes).unwrap();
            context.clear();
            context.restore(2, &bytes).unwrap();
            sequence = 2;
        }
        logits = compute(&mut context, &tokens(&[token]), position, sequence, 1);
    }
    assert_eq!(made, expected.greedy, "{name}");
    // And a shared prefix computes as if it were its own.
    context.share_range(2, 1, 0..20).unwrap();
    let redone = compute(&mut context, &tokens(&expected.prompt[20..]), 20, 1, chunk);
    assert_eq!(
        u32::try_from(likeliest(&redone)).unwrap(),
        expected.greedy[0],
        "{name}, shared prefix"
    );
}

#[test]
fn glm_4_9b_of_the_first_generation_computes_as_its_reference() {
    check("chatglm", "chatglm", 64);
    check("chatglm", "chatglm", 7);
}

#[test]
fn glm_4_0414_computes_as_its_reference() {
    check("glm4", "glm4", 64);
    check("glm4", "glm4", 7);
}

#[test]
fn glm_4_5_without_a_next_token_layer_computes_as_its_reference() {
    check("glm4moe", "glm4moe", 64);
    check("glm4moe", "glm4moe", 7);
}

#[test]
fn glm_4_7_flash_computes_as_its_reference() {
    check("deepseek2", "deepseek2", 64);
    check("deepseek2", "deepseek2", 7);
}

#[test]
fn glm_5_computes_as_its_reference() {
    check("glm-dsa", "glm-dsa", 64);
    check("glm-dsa", "glm-dsa", 7);
}

#[derive(Debug)]
struct Texts {
    texts: Vec<Vec<u32>>,
    vectors: Vec<Vec<f32>>,
}

fn texts(name: &str) -> Texts {
    let bytes = std::fs::read(asset(&format!("{name}.json"))).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    Texts {
        texts: serde_json::from_value(json["texts"].clone()).unwrap(),
        vectors: serde_json::from_value(json["vectors"].clone()).unwrap(),
    }
}

/// All texts in one call and each alone give what the reference gives.
fn check_pooled(name: &str, purpose: Purpose, pooling: Pooling, width: usize) {
    let model = load(name);
    assert_eq!(model.purpose(), purpose);
    let expected = texts(name);
    let shape = PooledShape {
        batch_tokens: 128,
        text_count: 4,
        thread_count: 1,
    };
    let mut context = PooledContext::new(model.clone(), shape).unwrap();
    assert_eq!((context.pooling(), context.width()), (pooling, width));
    let tokens: Vec<Vec<Token>> = expected
        .texts
        .iter()
        .map(|ids| ids.iter().map(|id| model.token(*id).unwrap()).collect())
        .collect();
    let all: Vec<&[Token]> = tokens.iter().map(Vec::as_slice).collect();
    let mut computed = context.compute(&all).unwrap();
    for text in &all {
        computed.extend(context.compute(&[text]).unwrap());
    }
    assert_eq!(computed.len(), 2 * all.len());
    for (numbers, reference) in computed.iter().zip(expected.vectors.iter().cycle()) {
        assert_eq!(numbers.len(), width);
        let difference = numbers
            .iter()
            .zip(reference)
            .fold(0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(difference < 0.01, "{name}: {difference}");
    }
}

#[test]
fn an_embedding_model_computes_as_its_reference() {
    check_pooled("embedding", Purpose::Embedding, Pooling::First, 64);
}

#[test]
fn a_reranker_computes_as_its_reference() {
    check_pooled("rerank", Purpose::Rerank, Pooling::Rank, 1);
}

#[test]
fn models_are_used_for_what_they_are_for() {
    let pooled = PooledShape {
        batch_tokens: 32,
        text_count: 2,
        thread_count: 1,
    };
    let text = load("glm4");
    assert_eq!(text.purpose(), Purpose::Text);
    assert_eq!(
        PooledContext::new(text, pooled).unwrap_err(),
        ContextError::Refused
    );
    let embedding = load("embedding");
    assert_eq!(
        Context::new(embedding.clone(), demo::shape()).unwrap_err(),
        ContextError::Refused
    );
    for shape in [
        PooledShape {
            text_count: 0,
            ..pooled
        },
        PooledShape {
            text_count: 257,
            batch_tokens: 512,
            ..pooled
        },
        PooledShape {
            batch_tokens: 1,
            ..pooled
        },
    ] {
        assert!(PooledContext::new(embedding.clone(), shape).is_err(), "{shape:?}");
    }
    let mut context = PooledContext::new(embedding.clone(), pooled).unwrap();
    let token = embedding.token(7).unwrap();
    let one: &[Token] = &[token];
    assert_eq!(context.compute(&[]), Err(PooledError::Empty));
    assert_eq!(context.compute(&[one, &[]]), Err(PooledError::Empty));
    assert_eq!(context.compute(&[one; 3]), Err(PooledError::TooManyTexts(3)));
    assert_eq!(context.compute(&[&[token; 33]]), Err(PooledError::TooLong(33)));
    let larger = demo::model().token(3000).unwrap();
    assert_eq!(context.compute(&[&[larger]]), Err(PooledError::NoSuchToken(3000)));
    assert_eq!(context.compute(&[one]).unwrap().len(), 1);
    let mut longer = PooledContext::new(
        embedding,
        PooledShape {
            batch_tokens: 128,
            ..pooled
        },
    )
    .unwrap();
    assert_eq!(
        longer.compute(&[&[token; 65]]),
        Err(PooledError::TooLong(65)),
        "trained for 64"
    );
}

fn load_with_layer(name: &str) -> Arc<Model> {
    let file = File::open(asset(&format!("{name}.gguf"))).unwrap();
    let options = LoadOptions {
        has_next_token_layer: true,
        ..LoadOptions::default()
    };
    Arc::new(Model::load_with(file.into(), options, |_| true).unwrap())
}

#[test]
fn glm_4_5_with_a_next_token_layer_computes_as_its_reference() {
    check("glm4moe-mtp", "glm4moe", 64);
    let without = load("glm4moe-mtp");
    let with = load_with_layer("glm4moe-mtp");
    assert!(!without.has_next_token_layer());
    assert!(with.has_next_token_layer());
    let mut context = Context::new(without, demo::shape()).unwrap();
    assert_eq!(
        context.mtp_drafter(demo::shape()).unwrap_err(),
        DraftError::NoLayer
    );
    let plain = load_with_layer("glm4moe");
    let mut context = Context::new(plain, demo::shape()).unwrap();
    assert_eq!(
        context.mtp_drafter(demo::shape()).unwrap_err(),
        DraftError::NoLayer
    );
}

/// A file whose metadata speak of a next-token layer that it does not hold: its name is overwritten, as if cut off.
#[test]
fn a_next_token_layer_that_was_cut_off_is_noticed() {
    let mut bytes = std::fs::read(asset("glm4moe-mtp.gguf")).unwrap();
    let name = b"blk.2.nextn.eh_proj.weight";
    let at = bytes.windows(name.len()).position(|part| part == name).unwrap();
    bytes[at..at + 5].copy_from_slice(b"blk.9");
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    let options = LoadOptions {
        has_next_token_layer: true,
        ..LoadOptions::default()
    };
    // llama.cpp refuses the file for its surplus tensor, or takes it without the layer; it never drafts.
    match Model::load_with(file.into(), options, |_| true) {
        Ok(model) => assert!(!model.has_next_token_layer()),
        Err(error) => assert!(matches!(error, LoadError::Refused), "{error}"),
    }
}

/// Two sequences at different places draft at once; each draft is what the reference drafts there.
#[test]
fn the_next_token_layer_drafts_as_its_reference_for_several_sequences_at_once() {
    let model = load_with_layer("glm4moe-mtp");
    let expected = reference("glm4moe-mtp");
    let bytes = std::fs::read(asset("glm4moe-mtp.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let drafts: Vec<Vec<u32>> = serde_json::from_value(json["drafts"].clone()).unwrap();
    let token = |id: u32| model.token(id).unwrap();
    let all: Vec<u32> = expected.prompt.iter().chain(&expected.greedy).copied().collect();
    let mut context = Context::new(model.clone(), demo::shape()).unwrap();
    let mut drafter = context.mtp_drafter(demo::shape()).unwrap();
    let mut batch = context.batch();
    let prompt = expected.prompt.len();
    // The first sequence holds the prompt; the second four tokens more, in two batches.
    let mut follow = |context: &mut Context, drafter: &mut MtpDrafter, rows: &[(usize, u32)]| {
        batch.clear();
        for (place, sequence) in rows {
            let position = u32::try_from(*place).unwrap();
            batch
                .push(token(all[*place]), position, *sequence, false)
                .unwrap();
        }
        assert_eq!(context.decode(&mut batch), Ok(Decoded::Computed));
        drafter.follow(context, &batch)
    };
    let places = |range: std::ops::Range<usize>, sequence| -> Vec<(usize, u32)> {
        range.map(|place| (place, sequence)).collect()
    };
    follow(&mut context, &mut drafter, &places(0..prompt, 0)).unwrap();
    follow(&mut context, &mut drafter, &places(0..20, 1)).unwrap();
    follow(&mut context, &mut drafter, &places(20..prompt + 4, 1)).unwrap();
    for step in 0..8 {
        let requests: Vec<DraftRequest> = [(0, prompt + step), (1, prompt + 4 + step)]
            .into_iter()
            .map(|(sequence, place)| DraftRequest {
                sequence,
                last: token(all[place]),
                position: u32::try_from(place).unwrap(),
            })
            .collect();
        let made = drafter.draft(&requests, 3).unwrap();
        assert_eq!(
            made,
            [drafts[step].clone(), drafts[step + 4].clone()],
            "step {step}"
        );
        assert_eq!(
            drafter.draft(&requests, 3).unwrap(),
            made,
            "and forgets its drafts"
        );
        // The main model checks a draft of two; here both are refused in the first sequence, as if it had said else.
        let rows = [(prompt + step, 0), (prompt + step + 1, 0), (prompt + 4 + step, 1)];
        follow(&mut context, &mut drafter, &rows).unwrap();
        let refused = u32::try_from(prompt + step + 1).unwrap();
        context.forget(0, refused).unwrap();
        drafter.forget(0, refused).unwrap();
    }
    let elsewhere = DraftRequest {
        sequence: 0,
        last: token(1),
        position: 3,
    };
    assert_eq!(drafter.draft(&[elsewhere], 1), Err(DraftError::OutOfStep));
    let no_such = DraftRequest {
        sequence: 9,
        ..elsewhere
    };
    assert_eq!(drafter.draft(&[no_such], 1), Err(DraftError::OutOfStep));
    assert_eq!(drafter.draft(&[elsewhere; 3], 1), Err(DraftError::OutOfStep));
    assert_eq!(drafter.draft(&[], 1), Ok(Vec::new()));
}
