//! The gateway process: the walls first, then the service. Started by the supervisor and by nobody else.

use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use jingui_gateway::clock::Clock;
use jingui_gateway::gateway::{self, Limits, Start};
use jingui_ipc::gateway::{CONTROL_FD, LISTENER_FD, STATE_FD};
use jingui_jail::{Profile, confine, inherited};

/// Prints the OpenAPI document and exits; it needs no walls, since it serves nobody.
const PRINT_OPENAPI: &str = "--print-openapi";
/// Exit code for wrong usage (DESIGN: `64 usage`).
const USAGE: u8 = 64;
/// Threads that serve requests; hashing and the tables have their own.
const WORKER_COUNT: usize = 2;
/// Threads of the blocking pool: tables, templates, password hashes.
const BLOCKING_COUNT_MAX: usize = 16;
/// The state folder as the process sees it behind its walls, unless they say otherwise.
const STATE_FOLDER: &str = "/state";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [] => {}
        [PRINT_OPENAPI] => {
            print!("{}", jingui_gateway::openapi::document());
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!(
                "usage: jingui-gateway [{PRINT_OPENAPI}]; without it, it is started by jingui-supervisor"
            );
            return ExitCode::from(USAGE);
        }
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gateway: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let control =
        inherited(CONTROL_FD).context("the control socket is missing: jingui-supervisor starts this")?;
    let listener = inherited(LISTENER_FD).context("the listening socket is missing")?;
    let confined = confine(Profile::Gateway { state_fd: STATE_FD }).context("the walls do not stand")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_COUNT)
        .max_blocking_threads(BLOCKING_COUNT_MAX)
        .enable_all()
        .build()
        .context("no runtime")?;
    let start = Start {
        control: UnixStream::from(control),
        listener: TcpListener::from(listener),
        state_folder: confined.state.unwrap_or_else(|| PathBuf::from(STATE_FOLDER)),
        landlock_abi: confined.landlock_abi,
        clock: Clock::Machine,
        limits: Limits::default(),
    };
    runtime.block_on(gateway::serve(start)).context("not serving")?;
    // Work that is still on the blocking pool has nobody left to report to.
    runtime.shutdown_background();
    Ok(())
}
