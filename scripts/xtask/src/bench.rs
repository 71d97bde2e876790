//! `scripts/bench`: measurements as ratios within one run, since machines are shared and noisy.

mod peer;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::tools::aloud;
use crate::{build, say, tree};

/// Options of `scripts/bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Measure with that GGUF instead of the demo model, or with --peer instead of a random one.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Pairs of runs; the middle ratio counts.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pairs: u32,
    /// Compare the whole product with this llama-server instead, over HTTP: the promises P1 to P18 of
    /// docs/performance.md, which also says how to build one.
    #[arg(long, value_name = "FILE")]
    peer: Option<PathBuf>,
    #[command(flatten)]
    against: peer::Options,
}

const DEMO_WEIGHTS: &str = "image/models/glm4-canary/glm4-canary-f16.gguf";
/// What a build without `target-cpu=native` may assume of an x86-64 machine.
const BASELINE_FLAGS: &str = "-C target-cpu=x86-64";
/// What ggml switches on by itself when it is not built for the machine, although not every x86-64 machine has it.
/// llama-cpp-sys-2 hands these variables to ggml's build.
const BASELINE_OFF: &[&str] = &[
    "GGML_SSE42",
    "GGML_AVX",
    "GGML_AVX2",
    "GGML_BMI2",
    "GGML_FMA",
    "GGML_F16C",
];

/// Runs the benchmarks and keeps their figures.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let tree = tree()?;
    if let Some(peer) = &options.peer {
        return peer::run(&tree, peer, options.model.as_deref(), &options.against);
    }
    build::product(&tree)?;
    let weights = options.model.clone().unwrap_or_else(|| tree.join(DEMO_WEIGHTS));
    let folder = tree.join("target/bench");
    std::fs::create_dir_all(&folder)?;

    let native = engine_bench(&tree, &tree.join("target"), None)?;
    say("building the baseline for comparison (compiles llama.cpp once more)");
    let baseline = engine_bench(&tree, &tree.join("target/bench/baseline"), Some(BASELINE_FLAGS))?;
    let mut pairs = Vec::new();
    for _ in 0..options.pairs {
        pairs.push((measure(&native, &weights)?, measure(&baseline, &weights)?));
    }
    let table = ratios(&pairs)?;
    for (name, ratio) in &table {
        println!("{name:32} native / baseline {ratio:6.2}");
    }
    let report = json!({
        "weights": weights,
        "pairs": pairs.iter().map(|(native, baseline)| json!({"native": native, "baseline": baseline})).collect::<Vec<_>>(),
        "ratios": table.iter().map(|(name, ratio)| (name.clone(), json!(ratio))).collect::<serde_json::Map<_, _>>(),
    });
    let file = folder.join("native.json");
    std::fs::write(&file, serde_json::to_string_pretty(&report)? + "\n")?;
    say(&format!("figures are in {}", file.display()));
    Ok(ExitCode::SUCCESS)
}

fn engine_bench(tree: &Path, target: &Path, flags: Option<&str>) -> anyhow::Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            "jingui-engine",
            "--example",
            "engine_bench",
        ])
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", target);
    if let Some(flags) = flags {
        cargo.env("RUSTFLAGS", flags);
        cargo.envs(BASELINE_OFF.iter().map(|instructions| (instructions, "OFF")));
    }
    aloud(&mut cargo)?;
    Ok(target.join("release/examples/engine_bench"))
}

fn measure(program: &Path, weights: &Path) -> anyhow::Result<Value> {
    let output = Command::new(program).arg(weights).output()?;
    ensure!(
        output.status.success(),
        "{} failed: {}",
        program.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("the benchmark printed no JSON")
}

/// Middle ratio of each figure over all pairs.
fn ratios(pairs: &[(Value, Value)]) -> anyhow::Result<Vec<(String, f64)>> {
    let (first, _) = pairs.first().context("at least one pair is needed")?;
    let names: Vec<String> = first
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect();
    let mut table = Vec::new();
    for name in names.into_iter().filter(|it| it.ends_with("_per_second")) {
        let mut all: Vec<f64> = pairs
            .iter()
            .filter_map(|(native, baseline)| {
                Some(native.get(&name)?.as_f64()? / baseline.get(&name)?.as_f64()?)
            })
            .collect();
        all.sort_by(f64::total_cmp);
        let middle = all
            .get(all.len() / 2)
            .copied()
            .with_context(|| format!("{name} was not measured"))?;
        table.push((name, middle));
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_ratio_counts() {
        let pair = |native: f64, baseline: f64| {
            (
                json!({"decode_tokens_per_second": native, "model": "x"}),
                json!({"decode_tokens_per_second": baseline}),
            )
        };
        let table = ratios(&[pair(4.0, 1.0), pair(30.0, 1.0), pair(6.0, 2.0)]).unwrap();
        assert_eq!(table, [("decode_tokens_per_second".to_owned(), 4.0)]);
        assert!(ratios(&[]).is_err());
    }
}
