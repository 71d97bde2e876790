//! The work behind `scripts/run`, `scripts/test`, `scripts/image` and `scripts/bench`.
//!
//! The scripts are three lines of shell each; whatever has a branch worth testing is here. This program is built
//! first, without C++, so that it can install what the rest of the build needs and show progress.

mod bench;
mod build;
mod demo;
mod foreground;
mod fuzz;
mod image;
mod suites;
mod tools;
mod vendor;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

/// Builds, runs and tests Jingui from its source tree.
#[derive(Parser)]
#[command(name = "scripts", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build everything and serve in the foreground until Ctrl-C.
    #[command(override_usage = "scripts/run [OPTIONS]")]
    Run(foreground::Options),
    /// Install what tests need and run them.
    #[command(override_usage = "scripts/test [NAME] [--list]")]
    Test(suites::Options),
    /// Build the sealed image and the USB installer.
    #[command(override_usage = "scripts/image [OPTIONS]")]
    Image(image::Options),
    /// Run the benchmarks.
    #[command(override_usage = "scripts/bench [OPTIONS]")]
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Run(options) => foreground::run(&options),
        Task::Test(options) => suites::run(&options),
        Task::Image(options) => image::run(&options),
        Task::Bench(options) => bench::run(&options),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("jingui: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Top of the source tree. The scripts change to it before they start this program.
fn tree() -> anyhow::Result<PathBuf> {
    let folder = std::env::current_dir().context("the current folder cannot be read")?;
    anyhow::ensure!(
        is_tree(&folder),
        "start scripts/run, scripts/test, scripts/image or scripts/bench, not this program itself"
    );
    Ok(folder)
}

fn is_tree(folder: &Path) -> bool {
    folder.join("Cargo.lock").is_file() && folder.join("appliance").is_dir()
}

/// Says what is being done now, on standard error: standard output belongs to the caller.
fn say(message: &str) {
    eprintln!("jingui: {message}");
}
