//! `scripts/test`: named suites, each installing what it needs, run in the order in which they are most likely to
//! tell something early.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, bail};

use crate::tools::{self, aloud};
use crate::{build, fuzz, image, say, tree};

/// Options of `scripts/test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Run one suite only.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Name the suites and what each is for.
    #[arg(long)]
    list: bool,
}

struct Suite {
    name: &'static str,
    about: &'static str,
    /// Long ones run only when they are named.
    by_default: bool,
    run: fn(&Path) -> anyhow::Result<()>,
}

const SUITES: &[Suite] = &[
    Suite {
        name: "console",
        about: "console: both languages complete, types in step with the API, build, unit tests",
        by_default: true,
        run: console,
    },
    Suite {
        name: "format",
        about: "every Rust file is formatted",
        by_default: true,
        run: format,
    },
    Suite {
        name: "unit",
        about: "each crate: unit, property, fault and process tests; foreign judges of our formats",
        by_default: true,
        run: unit,
    },
    Suite {
        name: "lint",
        about: "clippy with warnings as errors",
        by_default: true,
        run: lint,
    },
    Suite {
        name: "e2e",
        about: "the whole machine: scripts/run, SDK, curl, Chromium, kill -9, no packet leaves",
        by_default: true,
        run: e2e,
    },
    Suite {
        name: "image-boot",
        about: "the sealed image: build, what is in it, one boot in QEMU from Secure Boot to an answer, the cable heard",
        by_default: false,
        run: image_boot,
    },
    Suite {
        name: "deny",
        about: "licences, sources, bans and advisories of all dependencies",
        by_default: true,
        run: deny,
    },
    Suite {
        name: "image",
        about: "the sealed image: everything changed once, built twice, installed, updated, power cut (an hour or more)",
        by_default: false,
        run: whole_image,
    },
    Suite {
        name: "fuzz",
        about: "every fuzz target for a minute",
        by_default: false,
        run: fuzz::run,
    },
];

const REQUIREMENTS: &str = "appliance/e2e/requirements.txt";
const CARGO_DENY_VERSION: &str = "0.20.2";

/// Runs the suites that were asked for.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    if options.list {
        for suite in SUITES {
            let mark = if suite.by_default { "" } else { " [by name only]" };
            println!("{:10} {}{mark}", suite.name, suite.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let tree = tree()?;
    let chosen: Vec<&Suite> = match &options.name {
        Some(name) => {
            let suite = SUITES.iter().find(|it| it.name == *name);
            vec![
                suite
                    .with_context(|| format!("no suite is called {name}; scripts/test --list names them"))?,
            ]
        }
        None => SUITES.iter().filter(|it| it.by_default).collect(),
    };
    let mut failed = Vec::new();
    for suite in &chosen {
        say(&format!("suite {}", suite.name));
        let started = Instant::now();
        match (suite.run)(&tree) {
            Ok(()) => say(&format!(
                "suite {} passed in {} s",
                suite.name,
                started.elapsed().as_secs()
            )),
            Err(error) => {
                say(&format!(
                    "suite {} FAILED after {} s: {error:#}",
                    suite.name,
                    started.elapsed().as_secs()
                ));
                failed.push(suite.name);
            }
        }
    }
    println!("{} passed, {} failed", chosen.len() - failed.len(), failed.len());
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(ExitCode::SUCCESS)
}

fn console(tree: &Path) -> anyhow::Result<()> {
    build::console(tree)?;
    let folder = tree.join("appliance/console");
    tools::install_npm(&folder)?;
    aloud(tools::npm(&folder)?.args(["run", "--silent", "check:api"]))?;
    aloud(tools::npm(&folder)?.args(["run", "--silent", "test"]))
}

fn format(tree: &Path) -> anyhow::Result<()> {
    aloud(cargo(tree).args(["fmt", "--all", "--check"]))
}

fn lint(tree: &Path) -> anyhow::Result<()> {
    tools::ensure_for_build()?;
    build::console(tree)?;
    // Targets that no suite runs by default are left out by `--all-targets`.
    aloud(
        cargo(tree)
            .args([
                "clippy",
                "--release",
                "--locked",
                "--quiet",
                "--package",
                "jingui-e2e",
                "--test",
                "image",
            ])
            .args(["--", "-D", "warnings"]),
    )?;
    // The same profile as all else, so that llama.cpp is not built a second time.
    aloud(
        cargo(tree)
            .args([
                "clippy",
                "--release",
                "--locked",
                "--quiet",
                "--workspace",
                "--all-targets",
            ])
            .args(["--", "-D", "warnings"]),
    )
}

fn unit(tree: &Path) -> anyhow::Result<()> {
    tools::ensure_for_tests()?;
    build::product(tree)?;
    let python = tools::ensure_python(tree, &tree.join(REQUIREMENTS))?;
    aloud(
        cargo(tree)
            .args([
                "test",
                "--release",
                "--locked",
                "--quiet",
                "--workspace",
                "--exclude",
                "jingui-e2e",
                "--no-fail-fast",
            ])
            .env("JINGUI_PYTHON", python),
    )
}

fn e2e(tree: &Path) -> anyhow::Result<()> {
    tools::ensure_for_tests()?;
    build::product(tree)?;
    let python = tools::ensure_python(tree, &tree.join(REQUIREMENTS))?;
    tools::install_npm(&tree.join("appliance/e2e/browser"))?;
    tools::install_npm(&tree.join("appliance/e2e/browser/floor"))?;
    tools::install_npm(&tree.join("appliance/e2e/node"))?;
    let mut command = cargo(tree);
    command
        .args(["test", "--release", "--locked", "--package", "jingui-e2e"])
        // One box at a time: each wants both cores.
        .args(["--", "--test-threads=1", "--nocapture"])
        .env("JINGUI_PYTHON", python)
        .env("JINGUI_NODE", tools::node(tree)?.get_program());
    aloud(&mut command)
}

fn image_boot(tree: &Path) -> anyhow::Result<()> {
    image_tests(tree, &["boot::", "contents::"])
}

fn whole_image(tree: &Path) -> anyhow::Result<()> {
    image_tests(tree, &[])
}

fn image_tests(tree: &Path, names: &[&str]) -> anyhow::Result<()> {
    tools::ensure_for_tests()?;
    build::product(tree)?;
    aloud(
        Command::new(std::env::current_exe()?)
            .arg("image")
            .current_dir(tree),
    )?;
    let mut command = cargo(tree);
    command
        .args([
            "test",
            "--release",
            "--locked",
            "--package",
            "jingui-e2e",
            "--test",
            "image",
            "--",
        ])
        // One machine at a time: each wants both cores.
        .args(["--test-threads=1", "--nocapture"])
        .args(names)
        .env("JINGUI_VIRT_FW_VARS", image::virt_fw_vars(tree)?);
    aloud(&mut command)
}

fn deny(tree: &Path) -> anyhow::Result<()> {
    let program = tools::ensure_cargo_program(tree, "cargo-deny", CARGO_DENY_VERSION)?;
    let deny = || {
        let mut command = Command::new(&program);
        command.current_dir(tree).args(["--log-level", "warn", "check"]);
        command
    };
    aloud(deny().args(["bans", "licenses", "sources"]))?;
    // Advisories need the public database, which a machine behind a wall cannot fetch. Say so; do not pass silently.
    let advisories = deny().arg("advisories").output()?;
    let words = String::from_utf8_lossy(&advisories.stderr).into_owned();
    if advisories.status.success() {
        return Ok(());
    }
    if words.contains("failed to fetch advisory database")
        || words.contains("unable to load advisory database")
    {
        say("NOT CHECKED: advisories, because the advisory database cannot be fetched from this machine");
        return Ok(());
    }
    bail!("advisories:\n{words}")
}

fn cargo(tree: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(tree);
    command
}
