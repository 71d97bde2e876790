//! The scenarios: what is asked of each server, and which figures come of it.

mod arrivals;
mod equality;
mod failures;
mod fairness;
mod memory;
mod schema;
mod shape;
mod sharing;
mod speculation;
mod speed;

use crate::round::Round;
use crate::server::{Programs, Server};

/// Named values of one run of a scenario. One name may come several times.
pub(crate) type Values = Vec<(&'static str, f64)>;

/// On which servers a scenario runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// The model of the run, the usual shape; the servers stay for all repeats.
    Usual,
    /// The vocabulary of GLM-4 in full.
    Vocabulary,
    /// A KV pool of a few prompts.
    Tight,
    /// Fresh servers in each repeat.
    Fresh,
    /// The model that recites a known text; the peer (b) speculates.
    Chain,
    /// The trained canary.
    Canary,
}

/// One scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scenario {
    /// The promises that it measures.
    pub(crate) promises: &'static [&'static str],
    /// Where it runs.
    pub(crate) stage: Stage,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Decode,
    Prefill,
    EightStreams,
    LongBesideStream,
    ShortBesideLong,
    SamePrefix,
    Chats,
    WorkerKilled,
    Disconnect,
    KvTwiceOver,
    PeakMemory,
    Schema,
    Copying,
    FreeText,
    Tenants,
    Texts,
    CanaryTexts,
}

/// KV cells of [`Stage::Tight`].
pub(crate) const TIGHT_KV_TOKENS: u32 = 4096;

/// In the order in which they run.
pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario(&["P1"], Stage::Usual, Kind::Decode),
    scenario(&["P2"], Stage::Usual, Kind::Prefill),
    scenario(&["P4", "P6"], Stage::Usual, Kind::LongBesideStream),
    scenario(&["P5", "P6"], Stage::Usual, Kind::ShortBesideLong),
    scenario(&["P7"], Stage::Usual, Kind::SamePrefix),
    scenario(&["P8"], Stage::Usual, Kind::Chats),
    scenario(&["P10"], Stage::Usual, Kind::Disconnect),
    scenario(&["P14"], Stage::Usual, Kind::Schema),
    scenario(&["P16"], Stage::Usual, Kind::Tenants),
    scenario(&["P18"], Stage::Usual, Kind::Texts),
    scenario(&["P9"], Stage::Usual, Kind::WorkerKilled),
    scenario(&["P3"], Stage::Vocabulary, Kind::EightStreams),
    scenario(&["P11"], Stage::Tight, Kind::KvTwiceOver),
    scenario(&["P12"], Stage::Fresh, Kind::PeakMemory),
    // The strict lane has a pool of its own; cells that others left in the other one would count as speculation's cost.
    scenario(&["P15"], Stage::Fresh, Kind::FreeText),
    scenario(&["P15"], Stage::Chain, Kind::Copying),
    scenario(&["P18"], Stage::Canary, Kind::CanaryTexts),
];

const fn scenario(promises: &'static [&'static str], stage: Stage, kind: Kind) -> Scenario {
    Scenario {
        promises,
        stage,
        kind,
    }
}

/// What a scenario found: figures, and texts that are compared between the sides.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Figures.
    pub(crate) values: Values,
    /// Greedy answers, in the order of the questions.
    pub(crate) texts: Vec<String>,
}

impl From<Values> for Outcome {
    fn from(values: Values) -> Self {
        Self {
            values,
            texts: Vec::new(),
        }
    }
}

impl Scenario {
    /// Runs it once on one server.
    pub(crate) async fn run(
        self,
        server: &Server,
        round: &Round<'_>,
        programs: &Programs,
    ) -> anyhow::Result<Outcome> {
        let client = &server.client;
        let values = match self.kind {
            Kind::Decode => speed::decode(client, round).await?,
            Kind::Prefill => speed::prefill(client, round).await?,
            Kind::EightStreams => speed::eight_streams(client, round).await?,
            Kind::LongBesideStream => arrivals::long_beside_stream(client, round).await?,
            Kind::ShortBesideLong => arrivals::short_beside_long(client, round).await?,
            Kind::SamePrefix => sharing::same_prefix(client, round).await?,
            Kind::Chats => sharing::chats(client, round).await?,
            Kind::WorkerKilled => failures::worker_killed(server, round).await?,
            Kind::Disconnect => failures::disconnect(server, round).await?,
            Kind::KvTwiceOver => failures::kv_twice_over(client, round, TIGHT_KV_TOKENS).await?,
            Kind::PeakMemory => memory::peak(server, round).await?,
            Kind::Schema => shape::json_schema(client, round).await?,
            Kind::Copying => speculation::copying(server, round).await?,
            Kind::FreeText => speculation::free_text(server, round).await?,
            Kind::Tenants => fairness::two_tenants(server, round, programs).await?,
            Kind::Texts => return equality::texts(client, round).await,
            Kind::CanaryTexts => return equality::canary(client, &programs.tree).await,
        };
        Ok(values.into())
    }
}
