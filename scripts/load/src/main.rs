//! The load generator of `scripts/bench --peer`: asks our whole product and `llama-server` the same over HTTP on loopback,
//! one after the other within each repeat, and compares.
//!
//! The servers of a stage are all loaded and only one of them computes at a time. The order of the sides turns round
//! with each repeat, so that a machine that becomes slower favours nobody. Started by `jingui-xtask bench`, which makes
//! the models, packages and programs.

mod ask;
mod client;
mod figures;
mod plan;
mod processes;
mod report;
mod round;
mod scenario;
mod server;
mod start;
mod text;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::plan::{Plan, Promises};
use crate::round::Sizes;
use crate::server::Programs;

/// Asks our whole product and llama-server the same over HTTP, and compares.
#[derive(Debug, Parser)]
#[command(name = "jingui-load")]
struct Arguments {
    /// The llama-server to compare with.
    #[arg(long, value_name = "FILE")]
    peer: PathBuf,
    /// Top of the source tree.
    #[arg(long, value_name = "DIR")]
    tree: PathBuf,
    /// Folder with our programs.
    #[arg(long, value_name = "DIR")]
    programs: PathBuf,
    /// Folder with the models, their descriptions and packages.
    #[arg(long, value_name = "DIR")]
    models: PathBuf,
    /// The program that measures the choice of tokens alone.
    #[arg(long, value_name = "FILE")]
    sampling_bench: Option<PathBuf>,
    /// Promises to measure, for example P4,P5; all without it.
    #[arg(long, value_name = "LIST", default_value = "")]
    only: Promises,
    /// How often.
    #[arg(long, value_name = "N", default_value_t = 5)]
    repeats: u64,
    /// Smaller sizes: to see whether everything runs.
    #[arg(long)]
    quick: bool,
    /// Where the figures go.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jingui-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    anyhow::ensure!(arguments.repeats > 0, "--repeats must be at least 1");
    // One thread: the other processors belong to the servers.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let plan = Plan {
        programs: Programs {
            tree: arguments.tree,
            ours: arguments.programs,
            peer: arguments.peer,
        },
        models: arguments.models,
        sampling_bench: arguments.sampling_bench,
        only: arguments.only,
        repeats: arguments.repeats,
        sizes: if arguments.quick {
            Sizes::QUICK
        } else {
            Sizes::FULL
        },
    };
    let result = runtime.block_on(async {
        tokio::select! {
            result = plan.carry_out() => result,
            // Dropped in the middle of its work, the plan ends the servers that it started.
            why = stop_wish() => bail!("stopped: {why}"),
        }
    })?;
    std::fs::write(&arguments.out, serde_json::to_string_pretty(&result.json)? + "\n")
        .with_context(|| format!("{} cannot be written", arguments.out.display()))?;
    print!("{}", result.table);
    for fault in &result.faults {
        println!("not measured: {fault}");
    }
    eprintln!("jingui: figures are in {}", arguments.out.display());
    Ok(())
}

/// Waits for a signal to end, or for the end of standard input: whoever started us is gone.
async fn stop_wish() -> &'static str {
    let (gone, is_gone) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        // Nobody listens any more when the work was done first.
        let _ = gone.send(());
    });
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return "signals cannot be watched";
    };
    tokio::select! {
        _ = interrupt.recv() => "interrupted",
        _ = terminate.recv() => "terminated",
        _ = is_gone => "its parent is gone",
    }
}
