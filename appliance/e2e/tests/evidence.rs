//! The record of a run, judged by programs that share no code with ours.

#![allow(
    clippy::indexing_slicing,
    reason = "a missing field of a JSON value is null, not a panic"
)]

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jingui_e2e::{Machine, output_of, python, read_leaves, tree, words};
use serde_json::Value;
use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{Hash, HashReader, stored_hashes, tree_hash};

/// Planted where content and secrets go in; must be found nowhere in the log.
const PLANTED_PROMPT: &str = "planted-prompt-7f3a";
const PLANTED_PASSWORD: &str = "Planted-Password-9c41";

#[test]
fn the_record_of_a_run_convinces_foreign_programs() -> anyhow::Result<()> {
    let machine = Machine::start()?;
    let produce_id = ask(&machine)?;
    fail_to_sign_in(&machine)?;
    let status = python()?
        .arg(tree().join("appliance/e2e/python/console.py"))
        .arg(machine.demo_file())
        .status()?;
    ensure!(
        status.success(),
        "the console's session rules do not hold; the list is above"
    );

    check_events(&machine, &produce_id)?;
    let export = machine.scratch().join("export");
    output_of(
        machine
            .jingui(&["audit", "export", "--to"])
            .arg(&export)
            .arg("--login")
            .arg(machine.demo_file()),
    )?;
    let vkey = machine.text("/audit_vkey")?;
    output_of(
        machine
            .jingui(&["audit", "verify"])
            .arg(&export)
            .args(["--vkey", &vkey]),
    )?;
    check_with_cloudflare(&export, &vkey)?;
    check_with_python(&export, &vkey, true)?;
    check_no_secret(&export, &machine)?;

    let older = machine.scratch().join("older-checkpoint");
    std::fs::copy(export.join("checkpoint"), &older)?;
    ask(&machine)?;
    let log = machine.state().join("audit");
    output_of(
        machine
            .jingui(&["audit", "verify"])
            .arg(&log)
            .args(["--vkey", &vkey, "--since"])
            .arg(&older),
    )?;
    check_proof(&machine, &produce_id)?;
    check_verdicts(&machine, &export, &vkey)
}

/// One answered question with a planted prompt. Gives its ProduceID.
fn ask(machine: &Machine) -> anyhow::Result<String> {
    let question = format!(
        r#"{{"model":"{}","temperature":0,"max_tokens":8,"messages":[{{"role":"user","content":"{PLANTED_PROMPT}"}}]}}"#,
        machine.text("/model")?
    );
    let (code, body) = machine.request(
        "/v1/chat/completions",
        &["-H", "Content-Type: application/json", "-d", &question],
    )?;
    ensure!(code == 200, "{code} {body}");
    let answer: Value = serde_json::from_str(&body)?;
    Ok(answer["produce_id"]
        .as_str()
        .context("the answer carries a ProduceID")?
        .to_owned())
}

fn fail_to_sign_in(machine: &Machine) -> anyhow::Result<()> {
    let body = format!(r#"{{"username":"auditor","password":"{PLANTED_PASSWORD}","code":"000000"}}"#);
    let (code, _) = machine.request(
        "/api/session",
        &[
            "-H",
            "Content-Type: application/json",
            "-H",
            "x-jingui-console: 1",
            "-d",
            &body,
        ],
    )?;
    ensure!(code == 401, "a wrong password answers 401, not {code}");
    Ok(())
}

fn check_events(machine: &Machine, produce_id: &str) -> anyhow::Result<()> {
    let leaves = machine.leaves()?;
    let seen: BTreeSet<&str> = leaves.iter().filter_map(|it| it["evt"].as_str()).collect();
    for event in [
        "genesis",
        "boot",
        "model.verify",
        "model.load",
        "auth.login",
        "auth.fail",
        "key.create",
        "infer.request",
    ] {
        ensure!(seen.contains(event), "no leaf tells of {event}: {seen:?}");
    }
    for (index, leaf) in leaves.iter().enumerate() {
        ensure!(
            leaf["seq"].as_u64() == Some(u64::try_from(index)?),
            "leaf {index} counts itself wrong: {leaf}"
        );
    }
    let (serial, index) = produce_id
        .rsplit_once('-')
        .context("a ProduceID is a serial and an index")?;
    let leaf = leaves
        .get(index.parse::<usize>()?)
        .context("the ProduceID leads to a leaf")?;
    ensure!(leaf["evt"] == "infer.request" && leaf["out"] == "ok", "{leaf}");
    let checkpoint = std::fs::read_to_string(machine.state().join("audit/checkpoint"))?;
    ensure!(
        checkpoint.starts_with(&format!("jingui.example/{serial}/audit/1\n")),
        "{checkpoint}"
    );
    Ok(())
}

/// The stored hashes that the foreign tree code asks for.
struct Stored(Vec<Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        let find = |index: &u64| {
            usize::try_from(*index)
                .ok()
                .and_then(|it| self.0.get(it))
                .copied()
        };
        indexes
            .iter()
            .map(find)
            .collect::<Option<_>>()
            .ok_or(tlog_tiles::Error::IndexesNotInTree)
    }
}

fn check_with_cloudflare(log: &Path, vkey: &str) -> anyhow::Result<()> {
    let text = std::fs::read(log.join("checkpoint"))?;
    let note = Note::from_bytes(&text).map_err(|it| anyhow::anyhow!("{it:?}"))?;
    let verifier = StandardVerifier::new(vkey).map_err(|it| anyhow::anyhow!("{it:?}"))?;
    let (known, _) = note
        .verify(&VerifierList::new(vec![Box::new(verifier)]))
        .map_err(|it| anyhow::anyhow!("{it:?}"))?;
    ensure!(known.len() == 1, "the log key signed the checkpoint");

    let body = String::from_utf8(note.text().to_vec())?;
    let mut lines = body.lines();
    let (_, size, root) = (lines.next(), lines.next(), lines.next());
    let mut stored = Stored(Vec::new());
    let leaves = raw_leaves(log)?;
    for (index, leaf) in leaves.iter().enumerate() {
        let new =
            stored_hashes(u64::try_from(index)?, leaf, &stored).map_err(|it| anyhow::anyhow!("{it:?}"))?;
        stored.0.extend(new);
    }
    let size: u64 = size.context("a size line")?.parse()?;
    ensure!(
        size == u64::try_from(leaves.len())?,
        "the checkpoint covers all {} leaves: {size}",
        leaves.len()
    );
    let computed = tree_hash(size, &stored).map_err(|it| anyhow::anyhow!("{it:?}"))?;
    ensure!(
        STANDARD.encode(computed.0) == root.context("a root line")?,
        "the roots are equal"
    );
    Ok(())
}

/// Leaves as bytes, by way of their one right form.
fn raw_leaves(log: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    // The log's leaves are canonical JSON with sorted keys, which is how serde_json writes a map; if that were not
    // so the root below would differ.
    Ok(read_leaves(log)?
        .iter()
        .map(|leaf| leaf.to_string().into_bytes())
        .collect())
}

fn check_with_python(log: &Path, vkey: &str, expected: bool) -> anyhow::Result<()> {
    let output = python()?
        .arg(tree().join("appliance/audit/foreign/check_log.py"))
        .arg(log)
        .args(["--vkey", vkey])
        .output()?;
    ensure!(
        output.status.success() == expected,
        "the foreign checker said: {}",
        words(&output)
    );
    Ok(())
}

fn check_no_secret(log: &Path, machine: &Machine) -> anyhow::Result<()> {
    let mut secrets = vec![PLANTED_PROMPT.to_owned(), PLANTED_PASSWORD.to_owned()];
    let key = machine.text("/api_key")?;
    secrets.push(
        key.split_once('.')
            .map(|(_, secret)| secret.to_owned())
            .context("a key is id.secret")?,
    );
    for account in machine.demo()["accounts"].as_array().into_iter().flatten() {
        for field in ["password", "totp_secret"] {
            secrets.push(account[field].as_str().context("accounts are texts")?.to_owned());
        }
    }
    let text = read_leaves(log)?.iter().map(Value::to_string).collect::<String>();
    for secret in &secrets {
        ensure!(!text.contains(secret.as_str()), "the log holds a planted secret");
    }
    Ok(())
}

fn check_proof(machine: &Machine, produce_id: &str) -> anyhow::Result<()> {
    let index = produce_id
        .rsplit_once('-')
        .map(|(_, index)| index.to_owned())
        .context("an index")?;
    let file = machine.scratch().join("one.tlog-proof");
    output_of(machine.jingui(&["audit", "proof", &index, "--to"]).arg(&file))?;
    let proof = std::fs::read_to_string(&file)?;
    ensure!(
        proof.starts_with(&format!("c2sp.org/tlog-proof@v1\nindex {index}\n")),
        "{proof}"
    );
    Ok(())
}

/// Damages copies of the export; our verdict names the class, and the foreign checker agrees that it is bad.
fn check_verdicts(machine: &Machine, export: &Path, vkey: &str) -> anyhow::Result<()> {
    let other_vkey = "appliance.example/audit/0001+844a7c73+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c";
    verdict(machine, export, other_vkey, "bad-signature")?;

    let altered = damaged_copy(machine, export, "altered")?;
    let bundle = widest_bundle(&altered)?;
    let mut bytes = std::fs::read(&bundle)?;
    let middle = bytes.len() / 2;
    *bytes.get_mut(middle).context("a bundle has bytes")? ^= 1;
    std::fs::write(&bundle, bytes)?;
    let output = machine
        .jingui(&["audit", "verify"])
        .arg(&altered)
        .args(["--vkey", vkey])
        .output()?;
    ensure!(output.status.code() == Some(1), "{}", words(&output));
    ensure!(
        ["altered", "malformed"]
            .iter()
            .any(|it| words(&output).contains(it)),
        "{}",
        words(&output)
    );
    check_with_python(&altered, vkey, false)?;

    let missing = damaged_copy(machine, export, "missing")?;
    std::fs::remove_file(widest_bundle(&missing)?)?;
    verdict(machine, &missing, vkey, "missing")?;
    check_with_python(&missing, vkey, false)
}

fn verdict(machine: &Machine, log: &Path, vkey: &str, class: &str) -> anyhow::Result<()> {
    let output = machine
        .jingui(&["audit", "verify"])
        .arg(log)
        .args(["--vkey", vkey])
        .output()?;
    ensure!(output.status.code() == Some(1), "{}", words(&output));
    ensure!(
        words(&output).contains(class),
        "the verdict is {class}: {}",
        words(&output)
    );
    Ok(())
}

fn damaged_copy(machine: &Machine, export: &Path, name: &str) -> anyhow::Result<std::path::PathBuf> {
    let copy = machine.scratch().join(name);
    output_of(std::process::Command::new("cp").arg("-r").arg(export).arg(&copy))?;
    Ok(copy)
}

/// The newest bundle of a log below 256 leaves: the widest partial one.
fn widest_bundle(log: &Path) -> anyhow::Result<std::path::PathBuf> {
    let folder = log.join("tile/entries/000.p");
    let mut widths: Vec<u32> = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        widths.extend(entry?.file_name().to_string_lossy().parse::<u32>());
    }
    Ok(folder.join(widths.iter().max().context("a partial bundle")?.to_string()))
}
