//! Files in the EFI system partition of a disk that has no power: the first partition, at its usual place.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// Where the first partition begins.
const OFFSET: &str = "@@1M";

fn tool(program: &str, disk: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("-i").arg(format!("{}{OFFSET}", disk.display()));
    command
}

/// Writes a file, and the one folder it is in if need be.
pub fn put_file(disk: &Path, path: &str, bytes: &[u8]) -> anyhow::Result<()> {
    if let Some((folder, _)) = path.rsplit_once('/') {
        // It may be there already; if it cannot be made, writing the file fails.
        let _ = tool("mmd", disk)
            .arg(format!("::/{folder}"))
            .stdin(Stdio::null())
            .output();
    }
    let mut child = tool("mcopy", disk)
        .args(["-o", "-", &format!("::/{path}")])
        .stdin(Stdio::piped())
        .spawn()
        .context("mcopy cannot be started: package mtools")?;
    child.stdin.take().context("no pipe")?.write_all(bytes)?;
    ensure!(child.wait()?.success(), "{path} cannot be written into the ESP");
    Ok(())
}

/// Reads a file.
pub fn get_file(disk: &Path, path: &str) -> anyhow::Result<Vec<u8>> {
    let output = tool("mcopy", disk)
        .args([&format!("::/{path}"), "-"])
        .stdin(Stdio::null())
        .output()?;
    ensure!(
        output.status.success(),
        "{path} cannot be read from the ESP: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

/// Removes a file.
pub fn remove_file(disk: &Path, path: &str) -> anyhow::Result<()> {
    let status = tool("mdel", disk)
        .arg(format!("::/{path}"))
        .stdin(Stdio::null())
        .status()?;
    ensure!(status.success(), "{path} cannot be removed from the ESP");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_the_esp_is_written_read_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("disk");
        std::fs::File::create(&disk).unwrap().set_len(40 << 20).unwrap();
        let made = Command::new("mformat")
            .args(["-i", &format!("{}{OFFSET}", disk.display()), "-T", "65536", "::"])
            .status();
        assert!(made.unwrap().success());
        put_file(&disk, "jingui/network.toml", b"text").unwrap();
        put_file(&disk, "jingui/network.toml", b"other").unwrap();
        assert_eq!(get_file(&disk, "jingui/network.toml").unwrap(), b"other");
        remove_file(&disk, "jingui/network.toml").unwrap();
        get_file(&disk, "jingui/network.toml").unwrap_err();
    }
}
