//! `jingui-engine`: serves one model on the sockets that the supervisor hands it. Not for people to start.

use std::process::ExitCode;

use anyhow::Context as _;
use jingui_engine::serve_with;
use jingui_ipc::Channel;
use jingui_ipc::engine::{DISK_TIER_FD, Report, SUPERVISOR_FD, WEIGHTS_FD};
use jingui_jail::Profile;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("engine: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    // Nothing is read from anybody before the walls stand, and without them nothing is read at all.
    let confinement = jingui_jail::confine(Profile::Engine);
    let socket = jingui_jail::inherited(SUPERVISOR_FD).context("no socket to a supervisor")?;
    let mut channel = Channel::new(socket.into());
    let confinement = match confinement {
        Ok(confinement) => confinement,
        Err(error) => {
            channel.send(&Report::Failed {
                code: error.code().to_owned(),
            })?;
            return Err(error).context("the walls could not be built");
        }
    };
    let weights = jingui_jail::inherited(WEIGHTS_FD).context("no weights")?;
    jingui_llama::route_logs(|level, line| {
        if level == jingui_llama::LogLevel::Error {
            eprintln!("engine: llama.cpp: {line}");
        }
    });
    // Only there when there is a disk tier.
    let disk = jingui_jail::inherited(DISK_TIER_FD).ok();
    serve_with(channel, weights, disk, confinement.landlock_abi)?;
    Ok(())
}
