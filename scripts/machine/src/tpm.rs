//! The emulated TPM: swtpm, whose state lies in a folder of the site.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

const START_DEADLINE: Duration = Duration::from_secs(20);

/// Starts a TPM for one run. It ends when QEMU hangs up.
pub(crate) fn start(state: &Path, socket: &Path, log: &Path) -> anyhow::Result<Child> {
    std::fs::create_dir_all(state)?;
    // One that was killed leaves these behind.
    let _ = std::fs::remove_file(socket);
    let _ = std::fs::remove_file(state.join(".lock"));
    let child = Command::new("swtpm")
        .args(["socket", "--tpm2", "--terminate"])
        .arg("--tpmstate")
        .arg(format!("dir={},mode=0600", state.display()))
        .arg("--ctrl")
        .arg(format!("type=unixio,path={}", socket.display()))
        .arg("--log")
        .arg(format!("file={}", log.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("swtpm cannot be started")?;
    let deadline = Instant::now() + START_DEADLINE;
    while !socket.exists() {
        ensure!(Instant::now() < deadline, "swtpm did not begin to listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(child)
}
