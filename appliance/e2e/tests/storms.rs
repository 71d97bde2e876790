//! `kill -9` at random moments under load: nothing acknowledged is lost, service returns by itself, clients get
//! proper errors.

#![allow(
    clippy::indexing_slicing,
    reason = "a missing field of a JSON value is null, not a panic"
)]

use std::collections::BTreeMap;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, ensure};
use jingui_e2e::{Machine, output_of, python, tree};
use nix::sys::signal::Signal;
use serde_json::Value;

const SERVES_AGAIN: Duration = Duration::from_secs(60);
const LOAD_SECONDS: u32 = 10;
const KILLS: u64 = 3;
const SUPERVISOR: &str = "/pids/supervisor";
/// One thread for computing: the people use the same cores.
const BESIDE_PEOPLE: [&str; 2] = ["--engine-threads", "1"];

#[test]
fn a_killed_engine_costs_nobody_an_answer() -> anyhow::Result<()> {
    let outcomes = storm("/pids/engines/0")?;
    ensure!(
        count(&outcomes, "cut") + count(&outcomes, "error") == 0,
        "every stream went on with the next engine: {outcomes:?}"
    );
    Ok(())
}

#[test]
fn a_killed_gateway_returns_and_loses_nothing() -> anyhow::Result<()> {
    storm("/pids/gateway").map(drop)
}

#[test]
fn a_killed_supervisor_returns_and_loses_nothing() -> anyhow::Result<()> {
    storm(SUPERVISOR).map(drop)
}

/// Load with kills of one process; then the checks that hold whatever was killed.
fn storm(victim: &str) -> anyhow::Result<Vec<(String, String)>> {
    let machine = Machine::start_with(&BESIDE_PEOPLE)?;
    let report = machine.scratch().join("load.json");
    let mut load = start_load(&machine, &report)?;
    // Irregular but repeatable pauses; the seed is the victim's name.
    let mut seed = victim.bytes().fold(7_u64, |seed, byte| {
        seed.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    for _ in 0..KILLS {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis(300 + (seed >> 33) % 1500));
        let pid = machine.number_now(victim)?;
        machine.signal(pid, Signal::SIGKILL)?;
        machine.wait_until("a new process in its place", SERVES_AGAIN, || {
            Ok(machine.number_now(victim)? != pid && machine.request("/readyz", &[])?.0 == 200)
        })?;
    }
    ensure!(load.wait()?.success(), "the load ran to its end");
    let outcomes: Vec<(String, String)> = serde_json::from_slice(&std::fs::read(&report)?)?;
    ensure!(
        count(&outcomes, "wrong") == 0,
        "no client was left with half an answer: {outcomes:?}"
    );
    ensure!(
        count(&outcomes, "done") > 0,
        "answers came between the kills: {outcomes:?}"
    );
    check_nothing_was_lost(&machine, victim, &outcomes)?;
    Ok(outcomes)
}

fn start_load(machine: &Machine, report: &std::path::Path) -> anyhow::Result<Child> {
    let mut load: Command = python()?;
    load.arg(tree().join("appliance/e2e/python/load.py"))
        .arg(machine.demo_file())
        .args([
            "--seconds",
            &LOAD_SECONDS.to_string(),
            "--streams",
            "4",
            "--report",
        ])
        .arg(report);
    Ok(load.spawn()?)
}

/// Each ProduceID that a client holds leads to its leaf, and the log as a whole is intact.
fn check_nothing_was_lost(
    machine: &Machine,
    victim: &str,
    outcomes: &[(String, String)],
) -> anyhow::Result<()> {
    let leaves: BTreeMap<u64, Value> = machine
        .leaves()?
        .into_iter()
        .filter_map(|it| Some((it["seq"].as_u64()?, it)))
        .collect();
    for (_, produce_id) in outcomes.iter().filter(|(kind, _)| kind == "done") {
        let index = produce_id
            .rsplit_once('-')
            .context("a ProduceID is a serial and an index")?
            .1
            .parse()?;
        let leaf = leaves
            .get(&index)
            .with_context(|| format!("the acknowledged leaf {index} is lost"))?;
        ensure!(leaf["evt"] == "infer.request", "{leaf}");
    }
    let vkey = machine.text("/audit_vkey")?;
    let log = machine.state().join("audit");
    output_of(
        machine
            .jingui(&["audit", "verify"])
            .arg(log)
            .args(["--vkey", &vkey]),
    )?;
    // A killed supervisor shows as a new boot, since it was the one who writes; all others as restarts that it saw.
    let event = if victim == SUPERVISOR {
        "boot"
    } else {
        "worker.restart"
    };
    let count = leaves.values().filter(|it| it["evt"] == event).count();
    ensure!(
        u64::try_from(count)? >= KILLS,
        "{KILLS} kills, but {count} leaves of {event}"
    );
    Ok(())
}

fn count(outcomes: &[(String, String)], kind: &str) -> usize {
    outcomes.iter().filter(|it| it.0 == kind).count()
}
