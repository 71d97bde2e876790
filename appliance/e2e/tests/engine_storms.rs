//! What an engine must stand with many people at it, and what they may notice: nothing but time.
//!
//! The people are in `python/storms.py`, `python/forms.py`, `python/switch.py` and `node/sdk.mjs`; here are the boxes they
//! use and what the audit log must say afterwards.

#![allow(
    clippy::indexing_slicing,
    reason = "a missing field of a JSON value is null, not a panic"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, ensure};
use jingui_e2e::{Machine, node, output_of, python, tree, words};
use serde_json::Value;

/// One thread for computing: the people use the same cores, and threads that wait for each other at every step are slow
/// when others have their cores.
const BESIDE_PEOPLE: [&str; 2] = ["--engine-threads", "1"];
/// Longest time for a new version of the model to answer.
const SWITCH_DEADLINE: Duration = Duration::from_secs(90);
/// Exit code of refused input.
const REFUSED: i32 = 2;

#[test]
fn an_engine_killed_under_running_streams_fails_nobody() -> anyhow::Result<()> {
    let machine = Machine::start_with(&BESIDE_PEOPLE)?;
    storm(&machine, "kills")?;
    let leaves = machine.leaves()?;
    let failed: Vec<&Value> = inferences(&leaves).filter(|leaf| leaf["out"] != "ok").collect();
    ensure!(failed.is_empty(), "nobody was failed: {failed:?}");
    let restarts = leaves.iter().filter(|leaf| leaf["evt"] == "worker.restart");
    ensure!(restarts.count() >= 3, "each kill has its leaf");
    Ok(())
}

#[test]
fn known_answers_stay_right_under_load_from_the_cache_and_after_a_restore() -> anyhow::Result<()> {
    let machine = Machine::start_with(&BESIDE_PEOPLE)?;
    storm(&machine, "known")
}

#[test]
fn people_who_leave_free_the_machine_and_leave_one_leaf_each() -> anyhow::Result<()> {
    let machine = Machine::start_with(&BESIDE_PEOPLE)?;
    storm(&machine, "leavers")?;
    let leaves = machine.leaves()?;
    let mut ids: Vec<&str> = inferences(&leaves)
        .filter_map(|leaf| leaf["det"]["request"].as_str())
        .collect();
    let leaf_count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    ensure!(ids.len() == leaf_count, "one leaf for each request");
    let has_cancelled = inferences(&leaves).any(|leaf| leaf["det"]["finish"] == "cancelled");
    ensure!(has_cancelled, "who left in the middle is recorded as that");
    Ok(())
}

#[test]
fn a_full_pool_and_a_full_queue_fail_nobody_for_anothers_sake() -> anyhow::Result<()> {
    let narrow = ["--engine-streams", "2", "--engine-kv-tokens", "2048"];
    let machine = Machine::start_with(&[narrow.as_slice(), &BESIDE_PEOPLE].concat())?;
    storm(&machine, "full")?;
    let status = node()?
        .arg(tree().join("appliance/e2e/node/sdk.mjs"))
        .arg(machine.demo_file())
        .env("NODE_EXTRA_CA_CERTS", machine.text("/ca_cert")?)
        .status()?;
    ensure!(
        status.success(),
        "the Node.js SDK saw a wrong answer; its list is above"
    );
    Ok(())
}

#[test]
fn answers_have_the_form_that_was_asked_for() -> anyhow::Result<()> {
    let machine = Machine::start_with(&BESIDE_PEOPLE)?;
    judge(script("forms.py")?.arg(machine.demo_file()))
}

#[test]
fn another_version_takes_over_under_load_and_a_wrong_one_does_not() -> anyhow::Result<()> {
    let machine = Machine::start_with(&BESIDE_PEOPLE)?;
    let people = People::start(&machine)?;
    let serving = || -> anyhow::Result<String> {
        let status: Value = serde_json::from_str(&output_of(&mut machine.jingui(&["status", "--json"]))?)?;
        Ok(status["serving"]["version"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    };
    ensure!(serving()? == "1.0.0", "the demo model serves");

    let better = package(&machine, "1.1.0", |release| {
        release["version"] = "1.1.0".into();
    })?;
    output_of(&mut import(&machine, &better))?;
    machine.wait_until("the new version answers", SWITCH_DEADLINE, || {
        Ok(serving()? == "1.1.0")
    })?;

    let wrong = package(&machine, "1.2.0", |release| {
        release["version"] = "1.2.0".into();
        release["golden_prompts"][0]["expected"]["content"] = "0000".into();
    })?;
    let before = machine.leaves()?.len();
    let output = import(&machine, &wrong).output()?;
    // Whether the command waits for the verdict or not: the box says it, and the version before goes on.
    ensure!(
        output.status.success() || output.status.code() == Some(REFUSED),
        "{}",
        words(&output)
    );
    machine.wait_until("the verdict is recorded", SWITCH_DEADLINE, || {
        let leaves = machine.leaves()?;
        Ok(leaves
            .iter()
            .skip(before)
            .any(|leaf| leaf.to_string().contains("golden")))
    })?;
    ensure!(serving()? == "1.1.0", "the version before goes on");

    let fingerprints = people.end()?;
    ensure!(fingerprints.len() > 20, "people asked all the time");
    let mut versions = fingerprints.clone();
    versions.dedup();
    ensure!(
        versions.len() == 2,
        "one version answered after the other, and the wrong one nobody: {versions:?}"
    );
    let failed: Vec<Value> = inferences(&machine.leaves()?)
        .filter(|leaf| leaf["out"] != "ok")
        .cloned()
        .collect();
    ensure!(failed.is_empty(), "no request was dropped: {failed:?}");
    Ok(())
}

/// One storm of `storms.py`.
fn storm(machine: &Machine, name: &str) -> anyhow::Result<()> {
    judge(
        script("storms.py")?
            .arg(name)
            .arg(machine.demo_file())
            .arg(tree().join("appliance/e2e/cases.jsonl")),
    )
}

fn script(name: &str) -> anyhow::Result<Command> {
    let mut command = python()?;
    command.arg(tree().join("appliance/e2e/python").join(name));
    Ok(command)
}

fn judge(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status()?;
    ensure!(
        status.success(),
        "something that was claimed does not hold; the list is above"
    );
    Ok(())
}

fn inferences(leaves: &[Value]) -> impl Iterator<Item = &Value> {
    leaves.iter().filter(|leaf| leaf["evt"] == "infer.request")
}

/// The demo package with another release, signed anew by its vendor.
fn package(machine: &Machine, name: &str, edit: impl FnOnce(&mut Value)) -> anyhow::Result<PathBuf> {
    let package = machine.scratch().join("packages").join(name).join("glm4-canary");
    std::fs::create_dir_all(package.parent().context("a parent")?)?;
    output_of(
        Command::new("cp")
            .arg("-r")
            .arg(tree().join("target/development/glm4-canary"))
            .arg(&package),
    )?;
    let path = package.join("release.json");
    let mut release: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    edit(&mut release);
    std::fs::write(&path, serde_json::to_string_pretty(&release)?)?;
    std::fs::remove_file(package.join("model.sig"))?;
    output_of(
        machine
            .jingui(&["model", "sign"])
            .arg(&package)
            .arg("--key")
            .arg(tree().join("target/development/vendor.key")),
    )?;
    Ok(package)
}

fn import(machine: &Machine, package: &Path) -> Command {
    let mut command = machine.jingui(&["model", "import"]);
    command
        .arg(package)
        .args(["--activate", "--login"])
        .arg(machine.demo_file());
    command
}

/// People who ask without a pause until they are told that it is over.
struct People {
    script: Child,
    over: PathBuf,
    report: PathBuf,
}

impl People {
    fn start(machine: &Machine) -> anyhow::Result<Self> {
        let over = machine.scratch().join("over");
        let report = machine.scratch().join("report.json");
        let script = script("switch.py")?
            .arg(machine.demo_file())
            .arg(tree().join("appliance/e2e/cases.jsonl"))
            .args([&over, &report])
            .spawn()?;
        Ok(Self { script, over, report })
    }

    /// Which package each answer came from, in the order in which they began.
    fn end(mut self) -> anyhow::Result<Vec<String>> {
        std::fs::write(&self.over, "")?;
        ensure!(
            self.script.wait()?.success(),
            "somebody got a wrong answer or none; the list is above"
        );
        Ok(serde_json::from_slice(&std::fs::read(&self.report)?)?)
    }
}
