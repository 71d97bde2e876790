//! `scripts/test fuzz`: every fuzz target of every parser for a minute, with the toolchain that builds the product.
//!
//! libFuzzer needs coverage counters, which the stable compiler writes when LLVM's own pass is asked for by name; so
//! neither a nightly toolchain nor `cargo-fuzz` is needed. Each fuzz folder is its own workspace and stays usable with
//! `cargo fuzz`. What a run learned stays below `target/fuzz` for the next one.

use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::say;
use crate::tools::aloud;

const CRATES: &[&str] = &["appliance/audit", "appliance/chat", "appliance/pack"];
const SECONDS: u32 = 60;
/// No parser may need more for one input; in MiB.
const MEMORY_MIB_MAX: u32 = 512;
const FLAGS: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cdebug-assertions=on",
    "-Coverflow-checks=on",
];

/// Builds and runs all targets.
pub(crate) fn run(tree: &Path) -> anyhow::Result<()> {
    let machine = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let made = tree.join("target/fuzz");
    for name in CRATES {
        let folder = tree.join(name).join("fuzz");
        say(&format!("building the fuzz targets of {name}"));
        // With `--target`, flags reach the targets and not the build scripts, which could not link.
        aloud(
            Command::new("cargo")
                .args(["build", "--release", "--quiet", "--target", &machine])
                .current_dir(&folder)
                .env("CARGO_TARGET_DIR", &made)
                .env("RUSTFLAGS", FLAGS.join(" ")),
        )?;
        for target in targets(&folder)? {
            let corpus = made.join("corpus").join(name).join(&target);
            std::fs::create_dir_all(&corpus)?;
            say(&format!("fuzzing {name} {target} for {SECONDS} s"));
            aloud(
                Command::new(made.join(&machine).join("release").join(&target))
                    .arg(&corpus)
                    .arg(format!("-max_total_time={SECONDS}"))
                    .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
                    .args(["-print_final_stats=1", "-verbosity=0"])
                    .current_dir(&made),
            )
            .with_context(|| {
                format!(
                    "{target} of {name} found something; the input lies in {}",
                    made.display()
                )
            })?;
        }
    }
    Ok(())
}

/// Names of the files in `fuzz_targets`.
fn targets(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder.join("fuzz_targets"))? {
        let path = entry?.path();
        if let (Some(stem), Some("rs")) = (path.file_stem(), path.extension().and_then(|it| it.to_str())) {
            names.push(stem.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
