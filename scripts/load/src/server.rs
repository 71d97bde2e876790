//! The servers that are compared: a whole box as `scripts/run` starts it, and `llama-server`.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::Client;
use crate::processes;

/// Longest wait for a server to be ready.
const START_TIME_MAX: Duration = Duration::from_secs(180);
/// Longest wait for a server to end in order.
const STOP_TIME_MAX: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_millis(5);

/// Which of the compared ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Side {
    /// The box.
    Ours,
    /// The peer with its defaults.
    Default,
    /// The peer as tuned for streams that run beside prompts.
    Tuned,
}

impl Side {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Ours, Self::Default, Self::Tuned];

    /// For tables and folders.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Default => "peer (a)",
            Self::Tuned => "peer (b)",
        }
    }
}

/// The same for all sides.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Shape {
    /// Threads for computing.
    pub(crate) threads: u32,
    /// Streams at once.
    pub(crate) streams: u32,
    /// KV cells in all; one stream may use them all.
    pub(crate) kv_tokens: u32,
}

impl Shape {
    /// What the tables are made with.
    pub(crate) const USUAL: Self = Self {
        threads: 2,
        streams: 8,
        kv_tokens: 32_768,
    };
}

/// A model as both sides take it.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    /// The GGUF file, for the peer.
    pub(crate) file: PathBuf,
    /// A signed package of the same file, for us.
    pub(crate) package: PathBuf,
}

/// Where the programs are.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// Top of the source tree.
    pub(crate) tree: PathBuf,
    /// Folder with our programs.
    pub(crate) ours: PathBuf,
    /// `llama-server`.
    pub(crate) peer: PathBuf,
}

/// What `demo.json` says that is needed here.
#[derive(Debug, Deserialize)]
struct Demo {
    base_url: String,
    ca_cert: PathBuf,
    api_key: String,
    model: String,
    pids: Pids,
}

#[derive(Debug, Deserialize)]
struct Pids {
    supervisor: u32,
    gateway: u32,
    engines: Vec<u32>,
}

/// A running server. Ended when the value goes.
pub(crate) struct Server {
    /// Which one it is.
    pub(crate) side: Side,
    /// How to reach it.
    pub(crate) client: Client,
    child: Child,
    /// State and logs.
    folder: TempDir,
}

impl Server {
    /// Starts one side and waits until it serves.
    pub(crate) async fn start(
        side: Side,
        programs: &Programs,
        model: &Model,
        shape: Shape,
        peer_options: &[&str],
    ) -> anyhow::Result<Self> {
        match side {
            Side::Ours => Self::start_ours(programs, model, shape).await,
            Side::Default | Side::Tuned => Self::start_peer(side, programs, model, shape, peer_options).await,
        }
    }

    async fn start_ours(programs: &Programs, model: &Model, shape: Shape) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("jingui-load-").tempdir()?;
        let ready = folder.path().join("ready.json");
        let mut command = Command::new(programs.ours.join("jingui-xtask"));
        command
            .current_dir(&programs.tree)
            .arg("run")
            .arg("--programs")
            .arg(&programs.ours)
            .arg("--state")
            .arg(folder.path().join("state"))
            .args(["--port", "0", "--ready-file"])
            .arg(&ready)
            .arg("--model")
            .arg(&model.package)
            .args(engine_options(shape))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("log"))?);
        let mut child = command.spawn().context("scripts/run cannot be started")?;
        let begin = Instant::now();
        while !ready.exists() {
            watch(&mut child, begin, folder.path())?;
            tokio::time::sleep(POLL).await;
        }
        let demo = read_demo(&ready)?;
        let address = demo
            .base_url
            .strip_prefix("https://")
            .context("the box serves without TLS")?
            .parse()?;
        Ok(Self {
            side: Side::Ours,
            client: Client::secure(address, &demo.ca_cert, &demo.api_key, &demo.model)?,
            child,
            folder,
        })
    }

    async fn start_peer(
        side: Side,
        programs: &Programs,
        model: &Model,
        shape: Shape,
        options: &[&str],
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("jingui-load-").tempdir()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let mut command = Command::new(&programs.peer);
        command
            .arg("-m")
            .arg(&model.file)
            .args(peer_arguments(shape))
            .args(options)
            .args(["--host", "127.0.0.1", "--port", &address.port().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("log"))?);
        let mut child = command
            .spawn()
            .with_context(|| format!("{} cannot be started", programs.peer.display()))?;
        let client = Client::plain(address);
        let begin = Instant::now();
        while !client
            .get("/health")
            .await
            .is_ok_and(|(status, _)| status.is_success())
        {
            watch(&mut child, begin, folder.path())?;
            tokio::time::sleep(POLL).await;
        }
        Ok(Self {
            side,
            client,
            child,
            folder,
        })
    }

    /// The process that computes. Changes when it was killed.
    pub(crate) fn worker_pid(&self) -> anyhow::Result<u32> {
        match self.side {
            Side::Ours => {
                let pids = self.demo()?.pids;
                pids.engines.first().copied().context("no engine runs")
            }
            Side::Default | Side::Tuned => Ok(self.child.id()),
        }
    }

    /// Most memory that all processes of the server had resident since their peaks were forgotten, in bytes.
    pub(crate) fn peak_bytes(&self) -> anyhow::Result<u64> {
        let pids = self.pids()?;
        pids.into_iter().map(processes::peak_bytes).sum()
    }

    /// What was needed to start counts no more.
    pub(crate) fn forget_peaks(&self) -> anyhow::Result<()> {
        self.pids()?.into_iter().try_for_each(processes::forget_peak)
    }

    fn pids(&self) -> anyhow::Result<Vec<u32>> {
        match self.side {
            Side::Ours => {
                let pids = self.demo()?.pids;
                Ok([&[pids.supervisor, pids.gateway], pids.engines.as_slice()].concat())
            }
            Side::Default | Side::Tuned => Ok(vec![self.child.id()]),
        }
    }

    /// Kills the worker as the kernel does when memory is out.
    pub(crate) fn kill_worker(&self) -> anyhow::Result<u32> {
        let pid = self.worker_pid()?;
        ensure!(pid > 1, "no worker runs");
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL)?;
        Ok(pid)
    }

    /// A key of another tenant of the box; the peer has no tenants and is asked as before.
    pub(crate) fn second_tenant(&self, programs: &Programs) -> anyhow::Result<Client> {
        if self.side != Side::Ours {
            return Ok(self.client.clone());
        }
        let output = Command::new(programs.ours.join("jingui"))
            .arg("--json")
            .arg("--state")
            .arg(self.state())
            .args(["key", "create", "--label", "second"])
            .arg("--login")
            .arg(self.demo_file())
            .output()?;
        ensure!(
            output.status.success(),
            "a second key cannot be made: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let made: Value = serde_json::from_slice(&output.stdout)?;
        let key = made
            .get("key")
            .and_then(Value::as_str)
            .context("no key was made")?;
        Ok(self.client.with_key(key))
    }

    /// The state folder of the box.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Ends the server in order.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGINT)?;
        let begin = Instant::now();
        while begin.elapsed() < STOP_TIME_MAX {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        bail!("{} did not end within {STOP_TIME_MAX:?}", self.side.name())
    }

    fn demo_file(&self) -> PathBuf {
        self.state().join("demo.json")
    }

    fn demo(&self) -> anyhow::Result<Demo> {
        read_demo(&self.demo_file())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.stop().is_err() {
            // Our children hang on the life of their parent.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Options of `scripts/run` for this shape.
pub(crate) fn engine_options(shape: Shape) -> Vec<String> {
    [
        ("--engine-threads", shape.threads),
        ("--engine-streams", shape.streams),
        ("--engine-context-tokens", shape.kv_tokens),
        ("--engine-kv-tokens", shape.kv_tokens),
    ]
    .iter()
    .flat_map(|(name, value)| [(*name).to_owned(), value.to_string()])
    .collect()
}

/// The same shape in the peer's words.
pub(crate) fn peer_arguments(shape: Shape) -> Vec<String> {
    let (kv, streams, threads) = (
        shape.kv_tokens.to_string(),
        shape.streams.to_string(),
        shape.threads.to_string(),
    );
    ["-c", &kv, "-np", &streams, "-kvu", "-t", &threads]
        .map(str::to_owned)
        .to_vec()
}

/// Fails when the server ended or takes too long, with the last words of its log.
fn watch(child: &mut Child, begin: Instant, folder: &Path) -> anyhow::Result<()> {
    let ended = child.try_wait()?;
    if ended.is_none() && begin.elapsed() < START_TIME_MAX {
        return Ok(());
    }
    let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().rev().take(12).collect();
    let words: Vec<&str> = lines.into_iter().rev().collect();
    bail!(
        "a server is not ready after {:?} (ended: {ended:?}):\n{}",
        begin.elapsed(),
        words.join("\n")
    )
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn read_demo(path: &Path) -> anyhow::Result<Demo> {
    let text = std::fs::read(path).with_context(|| format!("{} is missing", path.display()))?;
    Ok(serde_json::from_slice(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_get_the_same_shape() {
        assert_eq!(peer_arguments(Shape::USUAL).join(" "), "-c 32768 -np 8 -kvu -t 2");
        assert_eq!(
            engine_options(Shape::USUAL).join(" "),
            "--engine-threads 2 --engine-streams 8 --engine-context-tokens 32768 --engine-kv-tokens 32768"
        );
    }
}
