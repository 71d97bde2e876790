//! A whole box for a test: `scripts/run` on a fresh state folder, and the programs that judge it from outside.
//!
//! Uses none of the product's crates: what a test knows of the box, it knows as a user would, from `demo.json`, the
//! HTTP API, the command line and the files of the audit log.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for a box to serve. Its programs were built before.
const START_DEADLINE: Duration = Duration::from_secs(180);
/// Longest wait for a box to end.
const STOP_DEADLINE: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_millis(20);

/// Top of the source tree.
#[must_use]
pub fn tree() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest
        .parent()
        .and_then(Path::parent)
        .unwrap_or(manifest)
        .to_owned()
}

/// The Python with the foreign judges, made by `scripts/test`.
///
/// # Errors
/// When the tests were started in another way.
pub fn python() -> anyhow::Result<Command> {
    let interpreter =
        std::env::var_os("JINGUI_PYTHON").context("start these tests with: scripts/test e2e")?;
    Ok(Command::new(interpreter))
}

/// Node.js, as chosen by `scripts/test`.
///
/// # Errors
/// When the tests were started in another way.
pub fn node() -> anyhow::Result<Command> {
    Ok(Command::new(
        std::env::var_os("JINGUI_NODE").context("start these tests with: scripts/test e2e")?,
    ))
}

/// A running box. Ended, and its folder removed, when the value goes.
#[derive(Debug)]
pub struct Machine {
    runner: Child,
    folder: TempDir,
    demo: Value,
}

impl Machine {
    /// Starts a box on a fresh state folder and waits until it serves.
    ///
    /// # Errors
    /// When it does not serve in time.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(&[])
    }

    /// The same with further options of `scripts/run`.
    ///
    /// # Errors
    /// When it does not serve in time.
    pub fn start_with(options: &[&str]) -> anyhow::Result<Self> {
        Self::start_in(fresh_folder()?, Command::new("scripts/run"), options)
    }

    /// The same inside of another program, for example `ip netns exec NAME`.
    ///
    /// # Errors
    /// When it does not serve in time.
    pub fn start_inside(mut wrapper: Command, options: &[&str]) -> anyhow::Result<Self> {
        wrapper.arg("scripts/run");
        Self::start_in(fresh_folder()?, wrapper, options)
    }

    fn start_in(folder: TempDir, mut command: Command, options: &[&str]) -> anyhow::Result<Self> {
        let ready = folder.path().join("ready.json");
        let _ = std::fs::remove_file(&ready);
        let mut runner = command
            .current_dir(tree())
            .arg("--state")
            .arg(folder.path().join("state"))
            .args(["--port", "0", "--ready-file"])
            .arg(&ready)
            .args(options)
            .stdin(Stdio::null())
            .spawn()?;
        let deadline = Instant::now() + START_DEADLINE;
        while !ready.exists() {
            if let Some(status) = runner.try_wait()? {
                bail!("scripts/run ended with {status} before it served");
            }
            if Instant::now() > deadline {
                let _ = runner.kill();
                bail!("scripts/run did not serve within {START_DEADLINE:?}");
            }
            std::thread::sleep(POLL);
        }
        let demo = serde_json::from_slice(&std::fs::read(&ready)?)?;
        Ok(Self { runner, folder, demo })
    }

    /// Ends the box in order and starts it again on the same state.
    ///
    /// # Errors
    /// When it does not end or serve in time.
    pub fn restart(mut self) -> anyhow::Result<Self> {
        self.stop()?;
        let kept = std::mem::replace(&mut self.folder, tempfile::tempdir()?);
        Self::start_in(kept, Command::new("scripts/run"), &[])
    }

    /// What `scripts/run` does on Ctrl-C. Gives its exit code.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn stop(&mut self) -> anyhow::Result<Option<i32>> {
        if let Some(status) = self.runner.try_wait()? {
            return Ok(status.code());
        }
        self.signal(self.runner.id(), Signal::SIGINT)?;
        let deadline = Instant::now() + STOP_DEADLINE;
        while Instant::now() < deadline {
            if let Some(status) = self.runner.try_wait()? {
                return Ok(status.code());
            }
            std::thread::sleep(POLL);
        }
        bail!("scripts/run did not end within {STOP_DEADLINE:?}")
    }

    /// Sends a signal to one of the box's processes.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn signal(&self, pid: u32, signal: Signal) -> anyhow::Result<()> {
        ensure!(pid > 1, "no process of the box has the id {pid}");
        kill(Pid::from_raw(i32::try_from(pid)?), signal)?;
        Ok(())
    }

    /// Process id of `scripts/run`.
    #[must_use]
    pub fn runner_pid(&self) -> u32 {
        self.runner.id()
    }

    /// Contents of `demo.json` when the box first served.
    #[must_use]
    pub fn demo(&self) -> &Value {
        &self.demo
    }

    /// Contents of `demo.json` now: process ids change when a process was restarted.
    ///
    /// # Errors
    /// When it is missing or is no JSON.
    pub fn demo_now(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&std::fs::read(self.demo_file())?)?)
    }

    /// Path of `demo.json`.
    #[must_use]
    pub fn demo_file(&self) -> PathBuf {
        self.state().join("demo.json")
    }

    /// The state folder.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// A folder for the test's own files, removed with the box.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// A text of `demo.json` by JSON pointer.
    ///
    /// # Errors
    /// When it is no text.
    pub fn text(&self, pointer: &str) -> anyhow::Result<String> {
        let value = self.demo.pointer(pointer).and_then(Value::as_str);
        Ok(value
            .with_context(|| format!("demo.json has no text at {pointer}"))?
            .to_owned())
    }

    /// A number of the current `demo.json` by JSON pointer.
    ///
    /// # Errors
    /// When it is no number.
    pub fn number_now(&self, pointer: &str) -> anyhow::Result<u32> {
        let demo = self.demo_now()?;
        let value = demo.pointer(pointer).and_then(Value::as_u64);
        Ok(u32::try_from(value.with_context(|| {
            format!("demo.json has no number at {pointer}")
        })?)?)
    }

    /// The `jingui` command on this box's state.
    #[must_use]
    pub fn jingui(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(tree().join("target/release/jingui"));
        command.arg("--state").arg(self.state()).args(arguments);
        command
    }

    /// `curl` with the box's certificate authority, for a path of the box.
    ///
    /// # Errors
    /// When `demo.json` is incomplete.
    pub fn curl(&self, path: &str, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--show-error", "--max-time", "60", "--cacert"])
            .arg(self.text("/ca_cert")?)
            .args(arguments)
            .arg(format!("{}{path}", self.text("/base_url")?));
        Ok(command)
    }

    /// Status code and body of one request with the demo's API key.
    ///
    /// # Errors
    /// When no answer comes.
    pub fn request(&self, path: &str, arguments: &[&str]) -> anyhow::Result<(u16, String)> {
        let key = format!("Authorization: Bearer {}", self.text("/api_key")?);
        let output = self
            .curl(path, arguments)?
            .args(["-H", &key, "-w", "\n%{http_code}"])
            .output()?;
        ensure!(
            output.status.success(),
            "curl: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout)?;
        let (body, code) = text.rsplit_once('\n').context("curl printed no status code")?;
        Ok((code.parse()?, body.to_owned()))
    }

    /// The leaves of the audit log on disk, oldest first, read straight from the entry bundles.
    ///
    /// # Errors
    /// When a bundle is cut off or a leaf is no JSON.
    pub fn leaves(&self) -> anyhow::Result<Vec<Value>> {
        read_leaves(&self.state().join("audit"))
    }

    /// Waits until `condition` holds.
    ///
    /// # Errors
    /// When it does not hold in time.
    pub fn wait_until(
        &self,
        what: &str,
        deadline: Duration,
        mut condition: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let end = Instant::now() + deadline;
        while !condition().unwrap_or(false) {
            ensure!(Instant::now() < end, "{what} did not happen within {deadline:?}");
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if matches!(self.runner.try_wait(), Ok(None)) && self.stop().is_err() {
            // The children die with it: their life hangs on its end of their standard input.
            let _ = self.runner.kill();
            let _ = self.runner.wait();
        }
    }
}

fn fresh_folder() -> anyhow::Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("jingui-e2e-").tempdir()?)
}

/// Leaves of a log in the C2SP layout: `u16` big-endian length and that many bytes, 256 to a bundle.
///
/// # Errors
/// When a bundle is cut off or a leaf is no JSON.
pub fn read_leaves(log: &Path) -> anyhow::Result<Vec<Value>> {
    let mut bundles: Vec<(u64, u64, PathBuf)> = Vec::new();
    collect_bundles(&log.join("tile/entries"), 0, &mut bundles)?;
    // Of several widths of one bundle the widest counts.
    bundles.sort();
    let mut leaves = Vec::new();
    let mut peekable = bundles.iter().peekable();
    while let Some((index, _, path)) = peekable.next() {
        if peekable.peek().is_some_and(|next| next.0 == *index) {
            continue;
        }
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.read_to_end(&mut bytes)?;
        let mut rest = bytes.as_slice();
        while let Some((head, tail)) = rest.split_first_chunk::<2>() {
            let (leaf, tail) = tail
                .split_at_checked(usize::from(u16::from_be_bytes(*head)))
                .context("a leaf is cut off")?;
            leaves.push(serde_json::from_slice(leaf)?);
            rest = tail;
        }
        ensure!(rest.is_empty(), "a length is cut off in {}", path.display());
    }
    Ok(leaves)
}

/// Adds `(index, width, path)` of each bundle below `folder`.
fn collect_bundles(folder: &Path, base: u64, bundles: &mut Vec<(u64, u64, PathBuf)>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .map(|it| it.to_string_lossy().into_owned())
            .unwrap_or_default();
        if let Some(group) = name.strip_prefix('x') {
            collect_bundles(&path, (base + group.parse::<u64>()?) * 1000, bundles)?;
        } else if let Some(group) = name.strip_suffix(".p") {
            for partial in std::fs::read_dir(&path)? {
                let partial = partial?;
                if let Ok(width) = partial.file_name().to_string_lossy().parse() {
                    bundles.push((base + group.parse::<u64>()?, width, partial.path()));
                }
            }
        } else if let Ok(group) = name.parse::<u64>() {
            bundles.push((base + group, 256, path));
        }
    }
    Ok(())
}

/// Standard output of a command that must succeed.
///
/// # Errors
/// When it fails; with its words.
pub fn output_of(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?} failed: {}", words(&output));
    Ok(String::from_utf8(output.stdout)?)
}

/// All that a command said.
#[must_use]
pub fn words(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
