//! The machine as this program acts on it: files below a root folder, programs that are run, mounts. Tests give it
//! another root folder and programs of their own.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jingui_trust::Secret;
use nix::mount::{MsFlags, mount};

/// Most bytes of a program's output that are looked at.
pub(crate) const OUTPUT_BYTES_MAX: usize = 1024 * 1024;

/// A program to be run.
#[derive(Debug, Default)]
pub(crate) struct Tool {
    /// Its path.
    pub(crate) program: &'static str,
    /// Its arguments.
    pub(crate) arguments: Vec<OsString>,
    /// Variables beside an otherwise empty environment.
    pub(crate) variables: Vec<(&'static str, &'static str)>,
    /// What it reads from its standard input.
    pub(crate) input: Option<Secret<Vec<u8>>>,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Its exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it wrote to its standard output.
    pub(crate) output: Vec<u8>,
}

/// How a folder is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Files are data: no programs, devices or set-user-id.
    Write,
    /// The same, and nothing is written.
    Read,
}

/// What this program does to a machine.
pub(crate) trait Machine {
    /// The folder below which `sys`, `proc`, `dev`, `run` and `var` are looked for.
    fn root(&self) -> &Path;

    /// Runs a program to its end.
    fn run(&mut self, tool: Tool) -> io::Result<Ended>;

    /// Mounts a device.
    fn mount(&mut self, device: &Path, folder: &Path, kind: &str, access: Access) -> io::Result<()>;

    /// Takes a mount away.
    fn unmount(&mut self, folder: &Path) -> io::Result<()>;

    /// A path below the root folder.
    fn path(&self, below: &str) -> PathBuf {
        self.root().join(below)
    }
}

impl Tool {
    /// A program with arguments.
    pub(crate) fn new<A: Into<OsString>>(
        program: &'static str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            program,
            arguments: arguments.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// The same with something to read.
    pub(crate) fn reading(self, input: Secret<Vec<u8>>) -> Self {
        Self {
            input: Some(input),
            ..self
        }
    }

    /// The same with a variable.
    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.push((name, value));
        self
    }
}

impl Ended {
    /// Whether it said that all is well.
    pub(crate) const fn is_success(&self) -> bool {
        matches!(self.code, Some(0))
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program)
    }
}

/// The machine that this program runs on.
#[derive(Debug)]
pub(crate) struct RealMachine;

impl Machine for RealMachine {
    fn root(&self) -> &Path {
        Path::new("/")
    }

    fn run(&mut self, tool: Tool) -> io::Result<Ended> {
        let input = if tool.input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        let mut child = Command::new(tool.program)
            .args(&tool.arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin")
            .envs(tool.variables.iter().copied())
            .stdin(input)
            .stdout(Stdio::piped())
            .spawn()?;
        if let (Some(input), Some(mut pipe)) = (&tool.input, child.stdin.take()) {
            // A program that ends without reading says why by its exit code.
            let _ = pipe.write_all(input.expose());
        }
        let finished = child.wait_with_output()?;
        let mut output = finished.stdout;
        output.truncate(OUTPUT_BYTES_MAX);
        Ok(Ended {
            code: finished.status.code(),
            output,
        })
    }

    fn mount(&mut self, device: &Path, folder: &Path, kind: &str, access: Access) -> io::Result<()> {
        let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        if access == Access::Read {
            flags |= MsFlags::MS_RDONLY;
        }
        mount(Some(device), folder, Some(kind), flags, None::<&str>).map_err(io::Error::from)
    }

    fn unmount(&mut self, folder: &Path) -> io::Result<()> {
        nix::mount::umount(folder).map_err(io::Error::from)
    }
}

#[cfg(test)]
pub(crate) mod fake;
