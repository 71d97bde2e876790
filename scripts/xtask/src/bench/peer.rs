//! `scripts/bench --peer`: makes models, packages and programs, then starts the load generator (`scripts/load`).
//!
//! The models have random weights in the shapes and block formats of real ones; `scripts/models/bench_model.py` writes
//! them below `target/bench/models` within seconds.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, ensure};
use serde_json::json;

use crate::tools::{self, aloud, quietly};
use crate::vendor::{Vendor, is_newer_than};
use crate::{build, say};

/// Options of `scripts/bench --peer`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// With --peer: promises to measure, for example P4,P5; all without it.
    #[arg(long, value_name = "LIST", requires = "peer")]
    only: Option<String>,
    /// With --peer: how often.
    #[arg(long, value_name = "N", default_value_t = 5)]
    repeats: u32,
    /// With --peer: smaller sizes and one repeat, to see whether everything runs.
    #[arg(long, requires = "peer")]
    quick: bool,
    /// With --peer: size of the random model.
    #[arg(long, value_enum, default_value_t = Size::Small)]
    size: Size,
    /// Measure the programs of that folder instead of building.
    #[arg(long, value_name = "DIR", hide = true)]
    programs: Option<PathBuf>,
}

/// Sizes of the random model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Size {
    /// 6 million parameters beside the vocabulary: to see whether everything runs, on a busy machine too.
    Tiny,
    /// 161 million parameters: a run of five repeats takes about half an hour on two cores.
    Small,
    /// 495 million parameters: some hours.
    Half,
}

impl Size {
    const fn options(self) -> &'static [&'static str] {
        match self {
            Self::Tiny => TINY,
            Self::Small => SMALL,
            Self::Half => &[],
        }
    }
}

const GENERATOR: &str = "scripts/models/bench_model.py";
const REQUIREMENTS: &str = "scripts/models/requirements.txt";
const TINY: &[&str] = &["--hidden", "256", "--layers", "8", "--ffn", "768", "--heads", "2"];
/// Eight heads of 128 as a whole divisor of the 32 to 96 that GLM-4 and GLM-4.5 have: with six, ggml would cut its tiles
/// of attention in two whatever the batch (`rows x heads / (4 x threads)` rows per piece).
const SMALL: &[&str] = &[
    "--hidden", "1024", "--layers", "9", "--ffn", "2560", "--heads", "8",
];
/// The vocabulary of GLM-4.
const GLM_VOCABULARY: &[&str] = &["--vocab", "151552"];
/// Tokens of the text that the chain model recites.
const CHAIN: &[&str] = &["--chain", "400"];
/// The trained canary; its context is 2,048.
const CANARY: &str = "image/models/glm4-canary/glm4-canary-f16.gguf";

/// Makes everything and measures.
pub(super) fn run(
    tree: &Path,
    peer: &Path,
    model: Option<&Path>,
    options: &Options,
) -> anyhow::Result<ExitCode> {
    ensure!(
        peer.is_file(),
        "{} is no file; docs/performance.md says how to build llama-server",
        peer.display()
    );
    let programs = match &options.programs {
        Some(folder) => folder.clone(),
        None => {
            tools::ensure_for_bench()?;
            build_all(tree)?
        }
    };
    let models = Models::make(tree, &programs, options.size, model)?;
    let mut load = Command::new(programs.join("jingui-load"));
    load.arg("--peer")
        .arg(peer)
        .arg("--tree")
        .arg(tree)
        .arg("--programs")
        .arg(&programs)
        .arg("--models")
        .arg(&models.folder)
        .arg("--sampling-bench")
        .arg(programs.join("examples/sampling_bench"))
        .arg("--out")
        .arg(tree.join("target/bench/peer.json"));
    let repeats = if options.quick { 1 } else { options.repeats };
    load.args(["--repeats", &repeats.to_string()]);
    if options.quick {
        load.arg("--quick");
    }
    if let Some(list) = &options.only {
        load.args(["--only", list]);
    }
    // Its end tells the load generator, and through it the servers, that this program is gone, however it went.
    let mut child = load.stdin(Stdio::piped()).spawn()?;
    let _open_until_it_ends = child.stdin.take();
    let status = child.wait()?;
    ensure!(status.success(), "the load generator failed ({status})");
    Ok(ExitCode::SUCCESS)
}

/// The product, the load generator and the bench of sampling.
fn build_all(tree: &Path) -> anyhow::Result<PathBuf> {
    let programs = build::product(tree)?;
    say("building the load generator");
    let cargo = |arguments: &[&str]| {
        aloud(
            Command::new("cargo")
                .args(["build", "--release", "--locked", "--quiet", "--package"])
                .args(arguments)
                .current_dir(tree),
        )
    };
    cargo(&["jingui-load"])?;
    cargo(&["jingui-engine", "--example", "sampling_bench"])?;
    Ok(programs)
}

/// The models of a run, each as `NAME.gguf`, `NAME.gguf.json` and a signed package `NAME/`.
struct Models<'a> {
    tree: &'a Path,
    programs: &'a Path,
    vendor: Vendor,
    python: PathBuf,
    folder: PathBuf,
}

impl<'a> Models<'a> {
    fn make(tree: &'a Path, programs: &'a Path, size: Size, given: Option<&Path>) -> anyhow::Result<Self> {
        let name = match (given, size) {
            (Some(_), _) => "given",
            (None, Size::Tiny) => "tiny",
            (None, Size::Small) => "small",
            (None, Size::Half) => "half",
        };
        let models = Self {
            tree,
            programs,
            vendor: Vendor::ensure(tree, programs)?,
            python: tools::ensure_python_of(tree, "bench-python", &tree.join(REQUIREMENTS))?,
            folder: tree.join("target/bench/models").join(name),
        };
        std::fs::create_dir_all(&models.folder)?;
        match given {
            Some(file) => models.take("usual", file)?,
            None => models.generate("usual", size.options(), &[])?,
        }
        models.generate("vocabulary", size.options(), GLM_VOCABULARY)?;
        models.generate("chain", size.options(), CHAIN)?;
        // Half a billion parameters always: loading less takes no time that could be measured.
        models.generate("load", &[], &[])?;
        models.take("canary", &tree.join(CANARY))?;
        Ok(models)
    }

    /// A random model, unless it is there and newer than its generator.
    fn generate(&self, name: &str, size: &[&str], more: &[&str]) -> anyhow::Result<()> {
        let file = self.file(name);
        let generator = self.tree.join(GENERATOR);
        if !is_newer_than(&description(&file), &generator)? {
            quietly(
                Command::new(&self.python)
                    .arg(&generator)
                    .args(size)
                    .args(more)
                    .arg("--out")
                    .arg(&file),
            )?;
        }
        self.pack(name, &file)
    }

    /// A model that is there already.
    fn take(&self, name: &str, given: &Path) -> anyhow::Result<()> {
        let file = self.file(name);
        let given = given
            .canonicalize()
            .with_context(|| format!("{} is missing", given.display()))?;
        let _ = std::fs::remove_file(&file);
        std::os::unix::fs::symlink(&given, &file)?;
        quietly(
            Command::new(&self.python)
                .arg(self.tree.join(GENERATOR))
                .arg("--describe")
                .arg(&file),
        )?;
        self.pack(name, &given)
    }

    /// A signed package of the same bytes.
    fn pack(&self, name: &str, file: &Path) -> anyhow::Result<()> {
        let package = self.folder.join(name);
        let signature = package.join("model.sig");
        if is_newer_than(&signature, file)? && is_newer_than(&signature, &self.vendor.public)? {
            return Ok(());
        }
        if package.exists() {
            std::fs::remove_dir_all(&package)?;
        }
        std::fs::create_dir_all(&package)?;
        std::fs::copy(file, package.join("model.gguf"))?;
        let release = json!({
            "name": format!("bench-{name}"),
            "version": "1.0.0",
            "security_version": 1,
            "min_appliance": "0.1.0",
            "licence": "MIT",
            "filing_number": "",
            "label_code": "BNCH",
            "golden_prompts": [],
        });
        std::fs::write(
            package.join("release.json"),
            serde_json::to_string_pretty(&release)?,
        )?;
        self.vendor.sign(self.programs, &package)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.gguf"))
    }
}

/// What the generator says about a model.
fn description(file: &Path) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(".json");
    path.into()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Bench {
        #[command(flatten)]
        options: super::super::Options,
    }

    fn parse(words: &str) -> Result<super::super::Options, clap::Error> {
        Bench::try_parse_from(words.split(' ')).map(|it| it.options)
    }

    #[test]
    fn a_comparison_has_its_own_options() {
        let options =
            parse("bench --peer llama-server --only P4,P5 --repeats 7 --model m.gguf --size half").unwrap();
        assert_eq!(options.peer.as_deref(), Some(Path::new("llama-server")));
        assert_eq!(options.model.as_deref(), Some(Path::new("m.gguf")));
        let against = options.against;
        assert_eq!((against.only.as_deref(), against.repeats), (Some("P4,P5"), 7));
        assert_eq!((against.quick, against.size), (false, Size::Half));
    }

    #[test]
    fn without_a_peer_nothing_is_compared() {
        let options = parse("bench --pairs 3").unwrap();
        assert!(options.peer.is_none());
        assert_eq!((options.pairs, options.against.repeats), (3, 5));
        for lonely in ["bench --only P4", "bench --quick"] {
            assert!(parse(lonely).is_err(), "{lonely}");
        }
    }

    #[test]
    fn a_model_is_described_beside_it() {
        assert_eq!(
            description(Path::new("/m/usual.gguf")),
            Path::new("/m/usual.gguf.json")
        );
    }
}
