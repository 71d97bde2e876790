//! What runs when: stages, repeats, scenarios, sides.

use std::collections::{BTreeMap, BTreeSet};

use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::figures::short;
use crate::processes::{is_there, until_idle};
use crate::report::Figures;
use crate::round::{Round, Sizes, tokens_per_word};
use crate::scenario::{SCENARIOS, Scenario, Stage, TIGHT_KV_TOKENS};
use crate::server::{Model, Programs, Server, Shape, Side, peer_arguments};
use crate::start::Start;
use crate::text::{Dice, Words};

/// Options of the peer (b): small batches, so that running streams wait less for prompts.
const TUNED: &[&str] = &["-b", "256", "-ub", "128"];
/// Options of the peer (b) where speculation is compared.
const SPECULATING: &[&str] = &["-b", "256", "-ub", "128", "--spec-type", "ngram-simple"];

/// Promises that are to be measured; all when empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Promises(BTreeSet<String>);

impl FromStr for Promises {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut names = BTreeSet::new();
        for name in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
            let name = name.to_uppercase();
            let number = name.strip_prefix('P').and_then(|it| it.parse().ok());
            if !number.is_some_and(|it: u8| (1..=18).contains(&it)) {
                return Err(format!("{name} is no promise: P1 to P18"));
            }
            names.insert(name);
        }
        Ok(Self(names))
    }
}

impl Promises {
    fn has(&self, promise: &str) -> bool {
        self.0.is_empty() || self.0.contains(promise)
    }

    fn has_any(&self, promises: &[&str]) -> bool {
        promises.iter().any(|it| self.has(it))
    }
}

/// A whole run.
pub(crate) struct Plan {
    /// Where the programs are.
    pub(crate) programs: Programs,
    /// Folder of the models.
    pub(crate) models: PathBuf,
    /// Measures the choice of tokens alone.
    pub(crate) sampling_bench: Option<PathBuf>,
    /// What is measured.
    pub(crate) only: Promises,
    /// How often.
    pub(crate) repeats: u64,
    /// How large.
    pub(crate) sizes: Sizes,
}

/// What came of it.
pub(crate) struct Results {
    /// For people.
    pub(crate) table: String,
    /// For machines.
    pub(crate) json: Value,
    /// What could not be measured and why.
    pub(crate) faults: Vec<String>,
}

/// Collected while it runs.
#[derive(Default)]
struct Book {
    figures: Figures,
    faults: Vec<String>,
    models: serde_json::Map<String, Value>,
}

impl Stage {
    const ALL: [Self; 6] = [
        Self::Usual,
        Self::Vocabulary,
        Self::Tight,
        Self::Fresh,
        Self::Chain,
        Self::Canary,
    ];

    const fn model_name(self) -> &'static str {
        match self {
            Self::Usual | Self::Tight | Self::Fresh => "usual",
            Self::Vocabulary => "vocabulary",
            Self::Chain => "chain",
            Self::Canary => "canary",
        }
    }

    const fn shape(self) -> Shape {
        match self {
            Self::Tight => Shape {
                kv_tokens: TIGHT_KV_TOKENS,
                ..Shape::USUAL
            },
            // What its weights were trained for.
            Self::Canary => Shape {
                kv_tokens: 2048,
                ..Shape::USUAL
            },
            _ => Shape::USUAL,
        }
    }

    const fn peer_options(self, side: Side) -> &'static [&'static str] {
        match (self, side) {
            (_, Side::Ours | Side::Default) => &[],
            (Self::Chain, Side::Tuned) => SPECULATING,
            (_, Side::Tuned) => TUNED,
        }
    }
}

impl Plan {
    /// Runs it all.
    pub(crate) async fn carry_out(&self) -> anyhow::Result<Results> {
        let begin = Instant::now();
        let load_before = load_average();
        let mut book = Book::default();
        for stage in Stage::ALL {
            let scenarios: Vec<Scenario> = SCENARIOS
                .iter()
                .filter(|it| it.stage == stage && self.only.has_any(it.promises))
                .copied()
                .collect();
            if scenarios.is_empty() {
                continue;
            }
            let done = match stage {
                Stage::Fresh => self.fresh_stage(stage, &scenarios, &mut book).await,
                _ => self.stage(stage, &scenarios, &mut book).await,
            };
            if let Err(error) = done {
                book.fault(&format!("{stage:?}: {error:#}"));
            }
        }
        if self.only.has("P17")
            && let Err(error) = self.starts(&mut book).await
        {
            book.fault(&format!("P17: {error:#}"));
        }
        if self.only.has("P13")
            && let Err(error) = self.sampling(&mut book)
        {
            book.fault(&format!("P13: {error:#}"));
        }
        let mut json = book.figures.json();
        if let Some(fields) = json.as_object_mut() {
            fields.insert("facts".to_owned(), self.facts(&book, begin, &load_before));
            fields.insert("not_measured".to_owned(), json!(book.faults));
        }
        Ok(Results {
            table: book.figures.table(),
            json,
            faults: book.faults,
        })
    }

    /// All three servers loaded, all repeats on them.
    async fn stage(&self, stage: Stage, scenarios: &[Scenario], book: &mut Book) -> anyhow::Result<()> {
        let model = self.model(stage.model_name());
        let words = Words::of(&model.file)?;
        let mut servers = BTreeMap::new();
        for side in Side::ALL {
            let server = self.start(stage, side, &model).await?;
            servers.insert(side, server);
        }
        let measures = self.measures(stage, &servers, &words).await?;
        book.model(stage, &model, &words, &measures);
        for repeat in 0..self.repeats {
            let round = measures.round(self.sizes, repeat, &words);
            for scenario in scenarios {
                self.run_on_all(*scenario, &servers, &round, book).await;
            }
        }
        Ok(())
    }

    /// A fresh server for each repeat and side.
    async fn fresh_stage(&self, stage: Stage, scenarios: &[Scenario], book: &mut Book) -> anyhow::Result<()> {
        let model = self.model(stage.model_name());
        let words = Words::of(&model.file)?;
        let mut measures = None;
        for repeat in 0..self.repeats {
            for side in order(repeat) {
                // Measured once, on a peer of its own that is gone before anything counts.
                let measures = match &measures {
                    Some(known) => known,
                    None => {
                        let peer = self.start(stage, Side::Default, &model).await?;
                        let tokens_per_word = tokens_per_word(&peer.client, &words).await?;
                        measures.insert(Measures {
                            tokens_per_word,
                            long_seconds: 0.0,
                        })
                    }
                };
                let round = measures.round(self.sizes, repeat, &words);
                let server = self.start(stage, side, &model).await?;
                for scenario in scenarios {
                    let outcome = scenario.run(&server, &round, &self.programs).await;
                    book.keep(*scenario, side, repeat, outcome);
                }
            }
        }
        Ok(())
    }

    async fn start(&self, stage: Stage, side: Side, model: &Model) -> anyhow::Result<Server> {
        let options = stage.peer_options(side);
        let server = Server::start(side, &self.programs, model, stage.shape(), options).await;
        server.with_context(|| format!("{} cannot be started", side.name()))
    }

    /// The pace of the machine and the length of words, and a first answer of each server that does not count.
    async fn measures(
        &self,
        stage: Stage,
        servers: &BTreeMap<Side, Server>,
        words: &Words,
    ) -> anyhow::Result<Measures> {
        let peer = servers.get(&Side::Default).context("no peer runs")?;
        let mut measures = Measures {
            tokens_per_word: tokens_per_word(&peer.client, words).await?,
            long_seconds: 0.0,
        };
        let mut fastest = f64::INFINITY;
        for server in servers.values() {
            let warm = measures.round(self.sizes, u64::MAX, words);
            let mut dice = Dice::new(0, "warm up");
            // The first answer pulls in pages and does not count.
            server.client.ask(&warm.ask(64, 2, &mut dice)).await?;
            let tokens = if stage == Stage::Usual {
                self.sizes.document
            } else {
                64
            };
            let answer = server.client.ask(&warm.ask(tokens, 2, &mut dice)).await?;
            say(&format!(
                "{stage:?}, {}: {} prompt tokens in {} s",
                server.side.name(),
                answer.prompt_tokens,
                short(answer.first_token_seconds()?)
            ));
            fastest = fastest.min(answer.first_token_seconds()?);
        }
        #[allow(clippy::cast_precision_loss, reason = "two lengths of prompts")]
        let times = self.sizes.long as f64 / self.sizes.document as f64;
        measures.long_seconds = fastest * times;
        Ok(measures)
    }

    /// One scenario on each side, in the order of this repeat.
    async fn run_on_all(
        &self,
        scenario: Scenario,
        servers: &BTreeMap<Side, Server>,
        round: &Round<'_>,
        book: &mut Book,
    ) {
        let mut texts = BTreeMap::new();
        for side in order(round.repeat) {
            let Some(server) = servers.get(&side) else {
                continue;
            };
            if let Err(error) = settle(servers).await {
                book.fault(&format!("{:?}, {}: {error:#}", scenario.promises, side.name()));
                continue;
            }
            let outcome = scenario.run(server, round, &self.programs).await;
            if let Some(said) = book.keep(scenario, side, round.repeat, outcome) {
                texts.insert(side, said);
            }
        }
        let figure = match scenario.stage {
            Stage::Canary => "canary_texts_that_differ",
            _ => "texts_that_differ",
        };
        if let (Some(ours), Some(peer)) = (texts.get(&Side::Ours), texts.get(&Side::Default))
            && !ours.is_empty()
        {
            book.figures
                .add(figure, Side::Ours, round.repeat, differing(ours, peer));
            if let Some(tuned) = texts.get(&Side::Tuned) {
                // How well the peer agrees with itself when only its batches are smaller.
                book.figures
                    .add(figure, Side::Tuned, round.repeat, differing(tuned, peer));
            }
        }
    }

    /// P17.
    async fn starts(&self, book: &mut Book) -> anyhow::Result<()> {
        let model = self.model("load");
        let shape = Shape::USUAL;
        let mut starts = BTreeMap::new();
        for side in Side::ALL {
            let start = Start::prepare(side, &self.programs, &model, shape).await?;
            starts.insert(side, start);
        }
        // The first round warms the page cache and is not counted.
        for round in 0..=self.repeats {
            for side in order(round) {
                let Some(start) = starts.get_mut(&side) else {
                    continue;
                };
                let options = Stage::Usual.peer_options(side);
                let seconds = start.measure(&self.programs, &model, shape, options).await?;
                if let Some(repeat) = round.checked_sub(1) {
                    book.note("start_seconds", side, repeat, seconds);
                }
            }
        }
        Ok(())
    }

    /// P13.
    fn sampling(&self, book: &mut Book) -> anyhow::Result<()> {
        let program = self.sampling_bench.as_ref().context("no program was given")?;
        for repeat in 0..self.repeats {
            let output = Command::new(program).output()?;
            ensure!(
                output.status.success(),
                "{}: {}",
                program.display(),
                String::from_utf8_lossy(&output.stderr)
            );
            let report: Value = serde_json::from_slice(&output.stdout)?;
            let ns = report.pointer("/ns_per_token/top_k_40").and_then(Value::as_f64);
            book.note(
                "sampling_ms",
                Side::Ours,
                repeat,
                ns.context("it names no top_k_40")? / 1e6,
            );
        }
        Ok(())
    }

    fn model(&self, name: &str) -> Model {
        Model {
            file: self.models.join(format!("{name}.gguf")),
            package: self.models.join(name),
        }
    }

    fn facts(&self, book: &Book, begin: Instant, load_before: &str) -> Value {
        let version = Command::new(&self.programs.peer).arg("--version").output();
        let version = version.map_or_else(
            |_| String::new(),
            |it| {
                String::from_utf8_lossy(&[it.stdout, it.stderr].concat())
                    .trim()
                    .to_owned()
            },
        );
        json!({
            "processor": processor(),
            "processors": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            "load_average_before": load_before,
            "load_average_after": load_average(),
            "seconds": begin.elapsed().as_secs(),
            "repeats": self.repeats,
            "sizes": self.sizes,
            "peer_version": version,
            "peer_a": peer_arguments(Shape::USUAL).join(" "),
            "peer_b": format!("{} {}", peer_arguments(Shape::USUAL).join(" "), TUNED.join(" ")),
            "peer_b_on_chain": SPECULATING.join(" "),
            "models": book.models,
        })
    }
}

/// What is measured before a stage.
struct Measures {
    tokens_per_word: f64,
    long_seconds: f64,
}

impl Measures {
    fn round<'a>(&self, sizes: Sizes, repeat: u64, words: &'a Words) -> Round<'a> {
        Round {
            sizes,
            repeat,
            words,
            tokens_per_word: self.tokens_per_word,
            long_seconds: self.long_seconds,
        }
    }
}

impl Book {
    fn keep(
        &mut self,
        scenario: Scenario,
        side: Side,
        repeat: u64,
        outcome: anyhow::Result<crate::scenario::Outcome>,
    ) -> Option<Vec<String>> {
        match outcome {
            Ok(outcome) => {
                for (figure, value) in outcome.values {
                    self.note(figure, side, repeat, value);
                }
                Some(outcome.texts)
            }
            Err(error) => {
                self.fault(&format!(
                    "{}, {}, repeat {repeat}: {error:#}",
                    scenario.promises.join(" "),
                    side.name()
                ));
                None
            }
        }
    }

    fn note(&mut self, figure: &'static str, side: Side, repeat: u64, value: f64) {
        say(&format!("{repeat} {:8} {figure} {}", side.name(), short(value)));
        self.figures.add(figure, side, repeat, value);
    }

    fn fault(&mut self, words: &str) {
        say(&format!("not measured: {words}"));
        self.faults.push(words.to_owned());
    }

    fn model(&mut self, stage: Stage, model: &Model, words: &Words, measures: &Measures) {
        let facts = json!({
            "file": model.file,
            "bytes": std::fs::metadata(&model.file).map_or(0, |it| it.len()),
            "vocabulary": words.vocabulary,
            "tokens_per_word": measures.tokens_per_word,
        });
        self.models.insert(format!("{stage:?}").to_lowercase(), facts);
    }
}

/// A, B, B, A: the order turns round with each repeat.
fn order(repeat: u64) -> [Side; 3] {
    let mut sides = Side::ALL;
    if repeat % 2 == 1 {
        sides.reverse();
    }
    sides
}

/// Until no server computes: a reader who left in the scenario before may have left work behind. A worker that is gone
/// was killed by the scenario before, and the next one answered before that ended.
async fn settle(servers: &BTreeMap<Side, Server>) -> anyhow::Result<()> {
    for server in servers.values() {
        let worker = server.worker_pid()?;
        if is_there(worker) {
            until_idle(worker, Instant::now()).await?;
        }
    }
    Ok(())
}

fn differing(ours: &[String], theirs: &[String]) -> f64 {
    let equal = ours
        .iter()
        .zip(theirs)
        .filter(|(one, other)| one == other)
        .count();
    let count = ours.len().max(theirs.len()) - equal;
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

fn processor() -> String {
    let text = std::fs::read_to_string(Path::new("/proc/cpuinfo")).unwrap_or_default();
    let line = text.lines().find(|it| it.starts_with("model name"));
    let name = line
        .and_then(|it| it.split_once(':'))
        .map(|(_, name)| name.trim());
    name.unwrap_or("unknown").to_owned()
}

/// Progress, on standard error.
fn say(words: &str) {
    eprintln!("jingui-load: {words}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_are_named_by_number() {
        let some: Promises = "p4, P5".parse().unwrap();
        assert!(some.has("P4") && some.has("P5") && !some.has("P1"));
        assert!(some.has_any(&["P6", "P5"]) && !some.has_any(&["P6"]));
        assert!("".parse::<Promises>().unwrap().has("P18"));
        for bad in ["P0", "P19", "4", "P4;P5", "all"] {
            assert!(bad.parse::<Promises>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_promise_has_something_that_measures_it() {
        let mut measured: BTreeSet<&str> = SCENARIOS
            .iter()
            .flat_map(|it| it.promises.iter().copied())
            .collect();
        // These need no server that runs beside the others.
        measured.extend(["P13", "P17"]);
        let all: BTreeSet<String> = (1..=18).map(|it| format!("P{it}")).collect();
        assert_eq!(
            measured.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(),
            all
        );
    }

    #[test]
    fn the_order_turns_round() {
        assert_eq!(order(0), [Side::Ours, Side::Default, Side::Tuned]);
        assert_eq!(order(1), [Side::Tuned, Side::Default, Side::Ours]);
    }

    #[test]
    fn missing_texts_differ() {
        let texts = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        assert!(differing(&texts(&["a", "b"]), &texts(&["a", "b"])) < 0.5);
        assert!(differing(&texts(&["a", "b"]), &texts(&["a", "x"])) > 0.5);
        assert!(differing(&texts(&["a"]), &texts(&["a", "b"])) > 0.5);
    }
}
