//! `jingui model`: packages.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use jingui_ipc::control::{Reply, Request, Role};
use jingui_ipc::status::ModelFacts;
use jingui_pack::gguf::{self, GgufFacts, GgufRefusal};
use jingui_pack::{Candidate, Refusal, Sound};
use jingui_trust::store::TrustStore;
use jingui_trust::vendor_key::{VendorKey, VendorPublicKey};
use serde_json::{Value, json};

use crate::control::{Control, unexpected};
use crate::failure::{Exit, Failure};
use crate::screen::{NO_FACTS, Screen};
use crate::{files, login};

const KEY_BYTES_MAX: u64 = 64 * 1024;

/// `model inspect FILE`.
pub(crate) fn inspect(screen: &Screen, path: &Path) -> Result<Exit, Failure> {
    let file = File::open(path).map_err(|error| files::unreadable(path, &error))?;
    let facts = gguf::inspect(&file).map_err(|refusal| gguf_refused(&refusal))?;
    screen.answer(&gguf_json(&facts), &gguf_lines(screen, &facts));
    Ok(Exit::Done)
}

/// `model sign DIR --key KEY`.
pub(crate) fn sign(screen: &Screen, folder: &Path, key: &Path) -> Result<Exit, Failure> {
    let pem = files::read_text(key, KEY_BYTES_MAX)?;
    let bad_key = |code: &str| Failure::new(Exit::Refused, code).with("file", key.display());
    let vendor = VendorKey::from_pem(&pem).map_err(|refusal| bad_key(refusal.code()))?;
    let opened = files::open_folder(folder)?;
    let mut progress = |done, total| screen.progress("cli.model.hashing", done, total);
    let signed = jingui_pack::sign(opened.as_fd(), &vendor, &mut progress)
        .map_err(|refusal| refused(&refusal, Exit::Refused))?;
    let (digest, hint) = (signed.digest.to_string(), signed.signed_by.to_string());
    let json = json!({
        "package_digest": digest, "signed_by": hint,
        "name": signed.release.name.to_string(), "version": signed.release.version.to_string(),
    });
    screen.answer(
        &json,
        &[screen.words("cli.model.signed", &[("digest", &digest), ("key", &hint)])],
    );
    Ok(Exit::Done)
}

/// `model verify DIR --key PUB`.
pub(crate) fn verify(screen: &Screen, folder: &Path, key: &Path) -> Result<Exit, Failure> {
    let pem = files::read_text(key, KEY_BYTES_MAX)?;
    let bad_key = |code: &str| Failure::new(Exit::Refused, code).with("file", key.display());
    let vendor = VendorPublicKey::from_pem(&pem).map_err(|refusal| bad_key(refusal.code()))?;
    let opened = files::open_folder(folder)?;
    let sound = check(screen, &opened, &TrustStore::new(vec![vendor]))
        .map_err(|refusal| refused(&refusal, Exit::Bad))?;
    let (digest, hint) = (sound.digest().to_string(), sound.signed_by().to_string());
    let release = sound.release();
    let json = json!({
        "package_digest": digest, "signed_by": hint, "name": release.name.to_string(),
        "version": release.version.to_string(), "security_version": release.security_version.get(),
        "weights_digest": sound.weights_digest().to_string(), "gguf": gguf_json(sound.facts()),
    });
    screen.answer(
        &json,
        &[screen.words("cli.model.verified", &[("digest", &digest), ("key", &hint)])],
    );
    Ok(Exit::Done)
}

fn check(screen: &Screen, folder: &File, trust: &TrustStore) -> Result<Sound, Refusal> {
    let mut progress = |done, total| screen.progress("cli.model.hashing", done, total);
    // What is the oldest acceptable version is for a box to say.
    Candidate::open(folder.as_fd())?
        .verify(trust, &|_| None, &mut progress)?
        .check_gguf()
}

/// `model import DIR`.
pub(crate) fn import(
    screen: &Screen,
    state: &Path,
    folder: &Path,
    activate: bool,
    login: Option<&Path>,
) -> Result<Exit, Failure> {
    let opened = files::open_folder(folder)?;
    let mut control = Control::connect(state)?;
    let reply = login::prove(screen, login, &[Role::System, Role::Security], |proofs| {
        let folder_name = folder.display().to_string();
        let request = Request::Import {
            folder_name,
            proofs,
            activate,
        };
        control.ask(&request, Some(&opened), |done, total| {
            screen.progress("cli.model.importing", done, total)
        })
    })?;
    let Reply::Imported { model, leaf_index } = reply else {
        return Err(unexpected());
    };
    let json = json!({ "model": &*model, "leaf_index": leaf_index });
    let index = leaf_index.to_string();
    let facts = [
        ("name", model.name.as_str()),
        ("digest", &model.package_digest),
        ("index", &index),
    ];
    screen.answer(&json, &[screen.words("cli.model.imported", &facts)]);
    Ok(Exit::Done)
}

/// `model list`.
pub(crate) fn list(screen: &Screen, state: &Path) -> Result<Exit, Failure> {
    let reply = Control::connect(state)?.ask_simply(&Request::Models)?;
    let Reply::Models(models) = reply else {
        return Err(unexpected());
    };
    let mut lines: Vec<String> = models.iter().map(|model| model_line(screen, model)).collect();
    if lines.is_empty() {
        lines.push(screen.words("cli.model.none", NO_FACTS));
    }
    screen.answer(&json!({ "models": models }), &lines);
    Ok(Exit::Done)
}

/// `model keygen --out DIR`.
pub(crate) fn keygen(screen: &Screen, out: &Path) -> Result<Exit, Failure> {
    let no_randomness = || Failure::new(Exit::Unavailable, "system.randomness.missing");
    let (vendor, pem) = VendorKey::generate().map_err(|_| no_randomness())?;
    let public = vendor.public_key().map_err(|_| no_randomness())?;
    let (key, public_file) = files::write_key_pair(out, "vendor", pem.expose(), &public.to_pem())?;
    let json = json!({ "key": key, "public": public_file, "hint": public.hint().to_string() });
    screen.answer(
        &json,
        &[screen.words("cli.model.keygen", &[("key", &key), ("public", &public_file)])],
    );
    Ok(Exit::Done)
}

fn refused(refusal: &Refusal, bad: Exit) -> Failure {
    let exit = if refusal.is_failure() {
        Exit::Unavailable
    } else {
        bad
    };
    Failure::new(exit, refusal.code()).with_all(refusal.facts())
}

fn gguf_refused(refusal: &GgufRefusal) -> Failure {
    let exit = match refusal {
        GgufRefusal::Unreadable { .. } => Exit::Unavailable,
        _ => Exit::Refused,
    };
    Failure::new(exit, refusal.code()).with_all(refusal.facts())
}

fn gguf_json(facts: &GgufFacts) -> Value {
    let tensor_types: Vec<Value> = facts
        .tensor_types
        .iter()
        .map(|(name, count)| json!({ "type": name, "count": count }))
        .collect();
    let special_tokens: serde_json::Map<String, Value> = facts
        .special_tokens
        .iter()
        .map(|(name, id)| (name.clone(), Value::from(*id)))
        .collect();
    json!({
        "architecture": facts.architecture.name(),
        "name": facts.name,
        "byte_count": facts.byte_count,
        "header_bytes": facts.header_bytes,
        "parameter_count": facts.parameter_count,
        "layer_count": facts.layer_count,
        "prediction_layer_count": facts.prediction_layer_count,
        "head_count": facts.head_count,
        "kv_head_count": facts.kv_head_count,
        "embedding_length": facts.embedding_length,
        "key_length": facts.key_length,
        "value_length": facts.value_length,
        "context_tokens": facts.context_tokens,
        "kv_bytes_per_token": facts.kv_bytes_per_token,
        "quantisation": facts.quantisation,
        "tensor_types": tensor_types,
        "tokenizer": facts.tokenizer(),
        "tokenizer_digest": facts.tokenizer_digest.to_string(),
        "token_count": facts.token_count,
        "special_tokens": special_tokens,
        "chat_template_digest": facts.chat_template_digest.to_string(),
        "has_chat_template": facts.chat_template.is_some(),
    })
}

fn gguf_lines(screen: &Screen, facts: &GgufFacts) -> Vec<String> {
    let types: Vec<String> = facts
        .tensor_types
        .iter()
        .map(|(name, count)| format!("{name} × {count}"))
        .collect();
    let lines = [
        ("cli.gguf.architecture", facts.architecture.name().to_owned()),
        ("cli.gguf.parameters", facts.parameter_count.to_string()),
        ("cli.gguf.layers", facts.layer_count.to_string()),
        (
            "cli.gguf.heads",
            format!("{} / {}", facts.head_count, facts.kv_head_count),
        ),
        ("cli.gguf.context", facts.context_tokens.to_string()),
        ("cli.gguf.kv-bytes", facts.kv_bytes_per_token.to_string()),
        ("cli.gguf.quantisation", facts.quantisation.clone()),
        ("cli.gguf.tensors", types.join(", ")),
        (
            "cli.gguf.tokenizer",
            format!("{} ({})", facts.tokenizer(), facts.token_count),
        ),
        ("cli.gguf.template", facts.chat_template_digest.to_string()),
    ];
    let sound = screen.words("cli.gguf.sound", NO_FACTS);
    let facts = lines
        .into_iter()
        .map(|(key, value)| screen.words(key, &[("value", value)]));
    std::iter::once(sound).chain(facts).collect()
}

fn model_line(screen: &Screen, model: &ModelFacts) -> String {
    let security_version = model.security_version.to_string();
    let state = screen.words(&format!("cli.model.state.{}", model.state), NO_FACTS);
    let facts = [
        ("name", model.name.as_str()),
        ("version", &model.version),
        ("security_version", &security_version),
        ("state", &state),
        ("digest", &model.package_digest),
    ];
    screen.words("cli.model.line", &facts)
}
