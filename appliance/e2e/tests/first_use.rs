//! What a new user meets: one command, a file with all that a program needs, an orderly end.

#![allow(
    clippy::indexing_slicing,
    reason = "a missing field of a JSON value is null, not a panic"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use jingui_e2e::{Machine, node, output_of, words};
use nix::sys::signal::Signal;
use serde_json::Value;

const FIELDS: [&str; 8] = [
    "base_url",
    "ca_cert",
    "api_key",
    "accounts",
    "audit_vkey",
    "vendor_key",
    "model",
    "pids",
];

/// Exit code of what cannot be done now but may be later.
const NOT_AVAILABLE_NOW: i32 = 4;

#[test]
fn one_command_serves_and_ends_without_a_trace() -> anyhow::Result<()> {
    let mounts_before = std::fs::read_to_string("/proc/self/mounts")?;
    let mut machine = Machine::start()?;
    check_demo_file(&machine)?;
    check_curl(&machine)?;
    check_status(&machine)?;
    check_models(&machine)?;
    check_second_start_on_the_same_state(&machine)?;

    let processes = processes_below(machine.runner_pid())?;
    ensure!(
        processes.len() >= 3,
        "supervisor, gateway and engine run: {processes:?}"
    );
    ensure!(machine.stop()? == Some(0), "Ctrl-C is an orderly end");
    for pid in processes {
        ensure!(
            !Path::new(&format!("/proc/{pid}")).exists(),
            "process {pid} outlived Ctrl-C"
        );
    }
    ensure!(
        !machine.state().join("control.sock").exists(),
        "the control socket is gone"
    );
    ensure!(
        std::fs::read_to_string("/proc/self/mounts")? == mounts_before,
        "no mount is left"
    );

    let key = machine.text("/api_key")?;
    let again = machine.restart()?;
    ensure!(
        again.text("/api_key")? == key,
        "the second start keeps the demo's key"
    );
    check_curl(&again)
}

#[test]
fn the_supervisor_ends_when_its_runner_is_killed() -> anyhow::Result<()> {
    let machine = Machine::start()?;
    let processes = processes_below(machine.runner_pid())?;
    machine.signal(machine.runner_pid(), Signal::SIGKILL)?;
    machine.wait_until("the end of all processes", Duration::from_secs(30), || {
        Ok(processes.iter().all(|pid| is_gone(*pid)))
    })
}

#[test]
fn a_person_can_hold_the_ceremony_in_a_browser() -> anyhow::Result<()> {
    // `--setup` writes no ready file before a person acted, so this one is watched by its state folder.
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");
    let mut runner = Command::new("scripts/run")
        .current_dir(jingui_e2e::tree())
        .args(["--port", "0", "--setup", "--state"])
        .arg(&state)
        .stdin(std::process::Stdio::null())
        .spawn()?;
    let outcome = (|| {
        for file in ["setup-code", "port"] {
            wait_for(&state.join(file), &mut runner)?;
        }
        hold_ceremony_in_browser(folder.path(), &state)?;
        ensure!(!state.join("setup-code").exists(), "the setup code is used up");
        ensure!(!state.join("demo.json").exists(), "nobody held a demo ceremony");
        Ok(())
    })();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(runner.id())?),
        Signal::SIGTERM,
    )?;
    runner.wait()?;
    outcome
}

fn check_demo_file(machine: &Machine) -> anyhow::Result<()> {
    for field in FIELDS {
        ensure!(machine.demo().get(field).is_some(), "demo.json has {field}");
    }
    let mode = std::fs::metadata(machine.demo_file())?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "demo.json is private: {mode:o}");
    let url = machine.text("/base_url")?;
    ensure!(
        url.starts_with("https://127.0.0.1:") && !url.ends_with('/'),
        "{url}"
    );
    let roles: Vec<&str> = machine.demo()["accounts"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|it| it["role"].as_str())
        .collect();
    ensure!(roles == ["system", "security", "audit", "user"], "{roles:?}");
    for pid in ["/pids/supervisor", "/pids/gateway", "/pids/engines/0"] {
        let pid = machine.number_now(pid)?;
        ensure!(!is_gone(pid), "process {pid} of demo.json runs");
    }
    Ok(())
}

fn check_curl(machine: &Machine) -> anyhow::Result<()> {
    for path in ["/healthz", "/readyz"] {
        let (code, body) = machine.request(path, &[])?;
        ensure!(code == 200, "{path}: {code} {body}");
    }
    let question = format!(
        r#"{{"model":"{}","temperature":0,"reasoning_effort":"none","messages":[{{"role":"user","content":"Who can read the audit log?"}}]}}"#,
        machine.text("/model")?
    );
    let (code, body) = machine.request(
        "/v1/chat/completions",
        &["-H", "Content-Type: application/json", "-d", &question],
    )?;
    let answer: Value = serde_json::from_str(&body).with_context(|| body.clone())?;
    ensure!(code == 200, "{code} {body}");
    let content = answer
        .pointer("/choices/0/message/content")
        .and_then(Value::as_str);
    ensure!(
        content == Some("Only the auditor may read the audit log."),
        "{body}"
    );
    Ok(())
}

fn check_status(machine: &Machine) -> anyhow::Result<()> {
    let status: Value = serde_json::from_str(&output_of(&mut machine.jingui(&["status", "--json"]))?)?;
    ensure!(status["health"] == "ok", "{status}");
    let guarantees = status["guarantees"]
        .as_array()
        .context("status lists guarantees")?;
    let missing: Vec<&Value> = guarantees
        .iter()
        .filter(|it| it["group"] == "process" && it["in_force"] != true)
        .map(|it| &it["name"])
        .collect();
    if nix::unistd::geteuid().is_root() {
        ensure!(
            missing.is_empty(),
            "as root no wall round a process is missing: {missing:?}"
        );
    }
    let platform: Vec<&Value> = guarantees.iter().filter(|it| it["group"] == "platform").collect();
    ensure!(
        !platform.is_empty() && platform.iter().all(|it| it["in_force"] == false),
        "{platform:?}"
    );
    Ok(())
}

fn check_models(machine: &Machine) -> anyhow::Result<()> {
    let models = output_of(&mut machine.jingui(&["model", "list", "--json"]))?;
    ensure!(models.contains(&machine.text("/model")?), "{models}");
    let weights = jingui_e2e::tree().join("image/models/glm4-canary/glm4-canary-f16.gguf");
    let inspected = machine
        .jingui(&["model", "inspect"])
        .arg(&weights)
        .arg("--json")
        .output()?;
    ensure!(inspected.status.code() == Some(0), "{}", words(&inspected));
    let damaged = machine.scratch().join("damaged.gguf");
    let mut bytes = std::fs::read(&weights)?;
    bytes.truncate(bytes.len() - 1);
    std::fs::write(&damaged, bytes)?;
    let refused = machine.jingui(&["model", "inspect"]).arg(&damaged).output()?;
    ensure!(refused.status.code() == Some(2), "{}", words(&refused));
    ensure!(words(&refused).contains("model.gguf."), "{}", words(&refused));
    Ok(())
}

/// It is told so by a code that the manual explains, and the first box goes on.
fn check_second_start_on_the_same_state(machine: &Machine) -> anyhow::Result<()> {
    let second = Command::new("scripts/run")
        .current_dir(jingui_e2e::tree())
        .arg("--state")
        .arg(machine.state())
        .args(["--port", "0"])
        .stdin(std::process::Stdio::null())
        .output()?;
    ensure!(
        second.status.code() == Some(NOT_AVAILABLE_NOW),
        "{:?}: {}",
        second.status,
        words(&second)
    );
    ensure!(
        words(&second).contains("system.state.in-use"),
        "{}",
        words(&second)
    );
    check_curl(machine)
}

/// All processes whose ancestor is `pid`, and itself.
fn processes_below(pid: u32) -> anyhow::Result<Vec<u32>> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        next += 1;
        for entry in std::fs::read_dir("/proc")? {
            let Ok(child) = entry?.file_name().to_string_lossy().parse::<u32>() else {
                continue;
            };
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            let of_parent = stat
                .rsplit(')')
                .next()
                .and_then(|it| it.split_whitespace().nth(1));
            if of_parent == Some(parent.to_string().as_str()) {
                family.push(child);
            }
        }
    }
    Ok(family)
}

/// Whether no process has that id, or only the remains of one.
fn is_gone(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .and_then(|it| it.split_whitespace().next())
        .is_none_or(|state| state == "Z")
}

fn wait_for(path: &Path, runner: &mut std::process::Child) -> anyhow::Result<()> {
    let end = std::time::Instant::now() + Duration::from_secs(180);
    while !path.exists() {
        ensure!(
            runner.try_wait()?.is_none(),
            "scripts/run ended before {} appeared",
            path.display()
        );
        ensure!(
            std::time::Instant::now() < end,
            "{} did not appear",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn hold_ceremony_in_browser(folder: &Path, state: &Path) -> anyhow::Result<()> {
    let port = std::fs::read_to_string(state.join("port"))?;
    let ceremony = serde_json::json!({
        "base_url": format!("https://127.0.0.1:{}", port.trim()),
        "ca_cert": state.join("ca.pem"),
        "setup_code": std::fs::read_to_string(state.join("setup-code"))?.trim(),
    });
    let file = folder.join("ceremony.json");
    std::fs::write(&file, ceremony.to_string())?;
    let status = node()?
        .current_dir(jingui_e2e::tree().join("appliance/e2e/browser"))
        .arg("run.mjs")
        .env("JINGUI_CEREMONY", &file)
        .status()?;
    ensure!(
        status.success(),
        "the browser saw something wrong; its list is above"
    );
    Ok(())
}
