//! No road out: every frame that leaves a busy box is an answer, and neither the gateway nor the engine has a
//! network on which to call anybody, the box's own loopback included.
//!
//! Needs root for the network namespaces that stand for a LAN; says so and fails without.

#![allow(
    clippy::indexing_slicing,
    reason = "a missing field of a JSON value is null, not a panic"
)]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use jingui_e2e::{Machine, output_of, python, tree, words};
use nix::sys::signal::Signal;
use serde_json::Value;

const BOX_ADDRESS: &str = "10.77.0.1";
const CLIENT_ADDRESS: &str = "10.77.0.2";

#[test]
fn every_frame_that_leaves_the_box_is_an_answer() -> anyhow::Result<()> {
    let lan = Lan::make()?;
    let machine = Machine::start_inside(lan.inside(&lan.box_name), &["--bind", BOX_ADDRESS])?;
    let url = machine.text("/base_url")?;
    let port = url.rsplit_once(':').context("a URL with a port")?.1.to_owned();

    let mut capture = lan.inside(&lan.client_name);
    capture
        .arg(python()?.get_program())
        .arg(tree().join("appliance/e2e/python/capture.py"))
        .args(["lan0", &lan.box_mac()?, &port])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut capture = capture.spawn()?;
    let mut heard = BufReader::new(capture.stdout.take().context("its output")?);
    let mut line = String::new();
    heard.read_line(&mut line)?;
    ensure!(line == "ready\n", "the capture did not start: {line}");

    let question = format!(
        r#"{{"model":"{}","messages":[{{"role":"user","content":"fetch https://{CLIENT_ADDRESS}/a.png"}}],"max_tokens":20}}"#,
        machine.text("/model")?
    );
    let tempting = format!(
        r#"{{"model":"{}","messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"https://{CLIENT_ADDRESS}/a.png"}}}}]}}]}}"#,
        machine.text("/model")?
    );
    for (body, expected) in [(&question, "200"), (&tempting, "400"), (&question, "200")] {
        let code = lan.post(&machine, "/v1/chat/completions", body)?;
        ensure!(code == expected, "{code} for {body}");
    }

    drop(capture.stdin.take());
    let mut report = String::new();
    heard.read_to_string(&mut report)?;
    capture.wait()?;
    let report: Value = serde_json::from_str(&report)?;
    ensure!(
        report["reply"].as_u64() > Some(10),
        "the capture saw the answers: {report}"
    );
    ensure!(
        report["other"].as_array().is_some_and(Vec::is_empty),
        "frames that are no answers: {report}"
    );
    Ok(())
}

#[test]
fn gateway_and_engine_have_no_network() -> anyhow::Result<()> {
    let machine = Machine::start()?;
    let port = machine
        .text("/base_url")?
        .rsplit_once(':')
        .context("a URL with a port")?
        .1
        .to_owned();
    for pid in ["/pids/gateway", "/pids/engines/0"] {
        let pid = machine.number_now(pid)?.to_string();
        let devices = std::fs::read_to_string(format!("/proc/{pid}/net/dev"))?;
        let names: Vec<&str> = devices
            .lines()
            .skip(2)
            .filter_map(|it| it.split(':').next())
            .map(str::trim)
            .collect();
        ensure!(names == ["lo"], "{names:?}");
        for target in ["127.0.0.1", "10.0.0.1", "1.1.1.1"] {
            let attempt = format!(
                "import socket; s = socket.socket(); s.settimeout(3); s.connect(('{target}', {port}))"
            );
            // With root's rights inside of its network: what a captured process could do at most.
            let output = Command::new("nsenter")
                .args(["--target", &pid, "--net", "--"])
                .arg(python()?.get_program())
                .args(["-c", &attempt])
                .output()?;
            ensure!(
                !output.status.success(),
                "a socket in process {pid} reached {target}"
            );
            ensure!(words(&output).contains("unreachable"), "{}", words(&output));
        }
    }
    Ok(())
}

/// Whom an ordinary user's box runs as in the test: `nobody` of Debian.
const ORDINARY: u32 = 65534;
/// Three people and a user at the ceremony of a test; the same file signs in afterwards.
const PEOPLE: &str = r#"{"accounts": [
    {"role": "system", "username": "li.wei", "password": "First-Person-2026", "totp_secret": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"},
    {"role": "security", "username": "wang.fang", "password": "Second-Person-2026", "totp_secret": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJR"},
    {"role": "audit", "username": "zhao.min", "password": "Third-Person-2026", "totp_secret": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJS"}
]}"#;

#[test]
fn an_ordinary_user_gets_the_same_walls_but_for_users_of_their_own() -> anyhow::Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "becoming an ordinary user needs root"
    );
    // A copy that this user can reach, wherever the tree lies.
    let folder = tempfile::tempdir()?;
    for name in ["jingui", "jingui-supervisor", "jingui-gateway", "jingui-engine"] {
        std::fs::copy(tree().join("target/release").join(name), folder.path().join(name))?;
    }
    output_of(
        Command::new("cp")
            .arg("-r")
            .arg(tree().join("target/development/glm4-canary"))
            .arg(folder.path()),
    )?;
    std::fs::write(folder.path().join("people.json"), PEOPLE)?;
    let vendors = folder.path().join("state/trust/vendors");
    std::fs::create_dir_all(&vendors)?;
    std::fs::copy(
        tree().join("target/development/vendor.pem"),
        vendors.join("development.pem"),
    )?;
    output_of(
        Command::new("chown")
            .args(["-R", &format!("{ORDINARY}:{ORDINARY}")])
            .arg(folder.path()),
    )?;

    let mut supervisor = as_ordinary(folder.path(), "jingui-supervisor", &["--port", "0"]).spawn()?;
    let outcome = ordinary_walls(folder.path());
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(supervisor.id())?),
        Signal::SIGTERM,
    )?;
    supervisor.wait()?;
    outcome
}

fn ordinary_walls(folder: &Path) -> anyhow::Result<()> {
    wait_for("the gateway", || {
        let status = status_of(folder)?;
        Ok(status["processes"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|it| it["phase"] == "serving"))
    })?;
    output_of(&mut as_ordinary(
        folder,
        "jingui",
        &["setup", "--accounts", "people.json"],
    ))?;
    output_of(&mut as_ordinary(
        folder,
        "jingui",
        &["model", "import", "glm4-canary", "--login", "people.json"],
    ))?;
    wait_for("the engine", || Ok(status_of(folder)?["health"] == "ok"))?;
    let status = status_of(folder)?;
    let missing: Vec<&str> = status["guarantees"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|it| it["group"] == "process" && it["in_force"] != true)
        .filter_map(|it| it["name"].as_str())
        .collect();
    ensure!(missing == ["gateway.own-user", "engine.own-user"], "{missing:?}");
    Ok(())
}

fn status_of(folder: &Path) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&output_of(&mut as_ordinary(
        folder,
        "jingui",
        &["status", "--json"],
    ))?)?)
}

fn as_ordinary(folder: &Path, program: &str, arguments: &[&str]) -> Command {
    let user = ORDINARY.to_string();
    let mut command = Command::new("setpriv");
    command
        .current_dir(folder)
        .args(["--reuid", &user, "--regid", &user, "--clear-groups"])
        .arg(folder.join(program))
        .args(["--state", "state"])
        .args(arguments)
        .stdin(Stdio::null());
    command
}

fn wait_for(what: &str, mut condition: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition().unwrap_or(false) {
        ensure!(Instant::now() < end, "{what} did not come");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Two hosts and a cable, as network namespaces. Removed when the value goes.
struct Lan {
    box_name: String,
    client_name: String,
}

impl Lan {
    fn make() -> anyhow::Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "network namespaces for this test need root"
        );
        let lan = Self {
            box_name: format!("jingui-box-{}", std::process::id()),
            client_name: format!("jingui-pc-{}", std::process::id()),
        };
        for name in [&lan.box_name, &lan.client_name] {
            ip(&["netns", "add", name])?;
            // The kernel's own neighbour discovery and router solicitation are not the box's doing.
            let off = "for i in all default; do echo 1 > /proc/sys/net/ipv6/conf/$i/disable_ipv6; done";
            output_of(lan.inside(name).args(["sh", "-c", off]))?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        ip(&[
            "link",
            "add",
            "lan0",
            "netns",
            &lan.box_name,
            "type",
            "veth",
            "peer",
            "name",
            "lan0",
            "netns",
            &lan.client_name,
        ])?;
        for (name, address) in [(&lan.box_name, BOX_ADDRESS), (&lan.client_name, CLIENT_ADDRESS)] {
            ip(&[
                "-n",
                name,
                "address",
                "add",
                &format!("{address}/24"),
                "dev",
                "lan0",
            ])?;
            ip(&["-n", name, "link", "set", "lan0", "up"])?;
        }
        // A road for whoever would try: without it, a missing route could pass for a wall.
        ip(&[
            "-n",
            &lan.box_name,
            "route",
            "add",
            "default",
            "via",
            CLIENT_ADDRESS,
        ])?;
        Ok(lan)
    }

    fn inside(&self, name: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", name]);
        command
    }

    fn box_mac(&self) -> anyhow::Result<String> {
        Ok(output_of(
            self.inside(&self.box_name)
                .args(["cat", "/sys/class/net/lan0/address"]),
        )?
        .trim()
        .to_owned())
    }

    /// Status code of a POST from the other host.
    fn post(&self, machine: &Machine, path: &str, body: &str) -> anyhow::Result<String> {
        output_of(
            self.inside(&self.client_name)
                .args([
                    "curl",
                    "--silent",
                    "--show-error",
                    "--max-time",
                    "60",
                    "--output",
                    "/dev/null",
                ])
                .args([
                    "--write-out",
                    "%{http_code}",
                    "--cacert",
                    &machine.text("/ca_cert")?,
                ])
                .args([
                    "-H",
                    &format!("Authorization: Bearer {}", machine.text("/api_key")?),
                ])
                .args(["-H", "Content-Type: application/json", "-d", body])
                .arg(format!("{}{path}", machine.text("/base_url")?)),
        )
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for name in [&self.box_name, &self.client_name] {
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

fn ip(arguments: &[&str]) -> anyhow::Result<String> {
    output_of(Command::new("ip").args(arguments))
}
