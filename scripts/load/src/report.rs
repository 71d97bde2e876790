//! From measured values to the table: each promise, what was measured on each side, and whether it is held.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::figures::{Target, median, p95, short};
use crate::server::Side;

/// How two sides, or one side and a bound, are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Compare {
    /// Ours divided by the peer's.
    Ratio,
    /// How much more than the peer's ours is, as a part of the peer's.
    Excess,
    /// How much ours is above the peer's.
    Difference,
    /// Ours alone.
    Own,
}

/// Which of many values counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Statistic {
    /// Middle of all repeats; ratios are made inside each repeat first.
    Median,
    /// 95th percentile over all repeats.
    P95,
    /// The largest of all repeats: one failure is one too many.
    Largest,
    /// The smallest of all repeats.
    Smallest,
}

/// One row of the table.
struct Row {
    promise: &'static str,
    title: &'static str,
    figure: &'static str,
    statistic: Statistic,
    against_default: (Compare, Target),
    against_tuned: (Compare, Target),
}

const fn row(
    promise: &'static str,
    title: &'static str,
    figure: &'static str,
    against_default: (Compare, Target),
    against_tuned: (Compare, Target),
) -> Row {
    Row {
        promise,
        title,
        figure,
        statistic: Statistic::Median,
        against_default,
        against_tuned,
    }
}

const fn ratio(target: Target) -> (Compare, Target) {
    (Compare::Ratio, target)
}

const fn excess(bound: f64) -> (Compare, Target) {
    (Compare::Excess, AtMost(bound))
}

const fn own(target: Target) -> (Compare, Target) {
    (Compare::Own, target)
}

const TOLD: (Compare, Target) = (Compare::Ratio, Target::Told);
const OWN_TOLD: (Compare, Target) = (Compare::Own, Target::Told);

use Target::{AtLeast, AtMost};

/// The promises, in their order. The table of `docs/performance.md` is made of these.
const ROWS: &[Row] = &[
    row(
        "P1",
        "decode of one stream, tokens/s",
        "decode_tokens_per_second",
        ratio(AtLeast(1.0)),
        ratio(AtLeast(1.0)),
    ),
    row(
        "P2",
        "prefill of 2k, tokens/s",
        "prefill_tokens_per_second",
        ratio(AtLeast(0.98)),
        ratio(AtLeast(0.98)),
    ),
    row(
        "P3",
        "decode of 8 sampled streams, vocabulary 151,552, tokens/s",
        "decode_of_8_tokens_per_second",
        ratio(AtLeast(1.15)),
        ratio(AtLeast(1.15)),
    ),
    row(
        "P4",
        "worst gap of a stream while a 4k prompt arrives, ms",
        "worst_gap_ms",
        ratio(AtMost(0.03)),
        ratio(AtMost(0.10)),
    ),
    Row {
        statistic: Statistic::P95,
        ..row(
            "P5",
            "TTFT of short requests during two 4k prefills, p95, ms",
            "short_ttft_ms",
            ratio(AtMost(0.03)),
            ratio(AtMost(0.03)),
        )
    },
    row(
        "P6",
        "completion of the 4k prompt of P4, s: more than the peer's",
        "long_beside_stream_seconds",
        excess(0.08),
        excess(0.03),
    ),
    row(
        "P6",
        "completion of the 4k prompts of P5, s: more than the peer's",
        "two_long_beside_short_seconds",
        excess(0.08),
        excess(0.03),
    ),
    row(
        "P7",
        "8 at once, same cold 2k prefix, makespan, s",
        "same_prefix_seconds",
        ratio(AtMost(0.15)),
        ratio(AtMost(0.15)),
    ),
    row(
        "P8",
        "24 chats over 3 system prompts: prompt tokens computed",
        "chats_computed_tokens",
        ratio(AtMost(0.50)),
        ratio(AtMost(0.50)),
    ),
    row(
        "P8",
        "24 chats over 3 system prompts: makespan, s",
        "chats_seconds",
        ratio(AtMost(0.65)),
        ratio(AtMost(0.65)),
    ),
    row(
        "P9",
        "TTFT of a known 2k prefix after kill -9, part of a cold one",
        "known_after_kill_of_cold",
        own(AtMost(0.15)),
        own(AtMost(0.15)),
    ),
    row(
        "P9",
        "the same from the kill to the first token, new worker and all, ms",
        "known_from_kill_ms",
        OWN_TOLD,
        OWN_TOLD,
    ),
    row(
        "P10",
        "disconnect in a 4k prefill to idle processor, ms",
        "disconnect_to_idle_ms",
        own(AtMost(100.0)),
        TOLD,
    ),
    Row {
        statistic: Statistic::Largest,
        ..row(
            "P11",
            "KV asked twice over: requests that failed, of 8",
            "failed_requests",
            own(AtMost(0.0)),
            own(AtMost(0.0)),
        )
    },
    row(
        "P12",
        "peak memory after 8 streams, MiB",
        "peak_mib",
        ratio(AtMost(0.95)),
        ratio(AtMost(1.0)),
    ),
    row(
        "P13",
        "sampling of a token, vocabulary 151,552, top-k 40, ms",
        "sampling_ms",
        own(AtMost(0.3)),
        OWN_TOLD,
    ),
    row(
        "P14",
        "JSON Schema: time per token, part more than free text",
        "schema_overhead",
        own(AtMost(0.05)),
        (Compare::Difference, AtMost(0.0)),
    ),
    Row {
        statistic: Statistic::Smallest,
        ..row(
            "P14",
            "JSON Schema: answers valid or cut at the wished length, part",
            "schema_valid_or_cut_share",
            own(AtLeast(1.0)),
            own(AtLeast(1.0)),
        )
    },
    row(
        "P15",
        "copying, times own speed without speculation",
        "copy_speed_up",
        own(AtLeast(1.5)),
        OWN_TOLD,
    ),
    row(
        "P15",
        "editing, times own speed without speculation",
        "edit_speed_up",
        own(AtLeast(1.5)),
        OWN_TOLD,
    ),
    row(
        "P15",
        "free text, part of own speed without speculation",
        "free_text_of_own",
        own(AtLeast(0.98)),
        OWN_TOLD,
    ),
    row(
        "P15",
        "copying, tokens/s; (b) speculates too",
        "copy_tokens_per_second",
        TOLD,
        ratio(AtLeast(1.0)),
    ),
    row(
        "P15",
        "editing, tokens/s; (b) speculates too",
        "edit_tokens_per_second",
        TOLD,
        ratio(AtLeast(1.0)),
    ),
    row(
        "P16",
        "one stream against fifteen of another tenant, Jain's index",
        "jain_of_tenants",
        own(AtLeast(0.9)),
        OWN_TOLD,
    ),
    row(
        "P17",
        "start to first answer, verified, against the peer's unverified, s",
        "start_seconds",
        ratio(AtMost(1.15)),
        TOLD,
    ),
    Row {
        statistic: Statistic::Largest,
        ..row(
            "P18",
            "greedy answers that differ from the peer's: random model",
            "texts_that_differ",
            own(AtMost(0.0)),
            OWN_TOLD,
        )
    },
    Row {
        statistic: Statistic::Largest,
        ..row(
            "P18",
            "greedy answers that differ from the peer's: canary",
            "canary_texts_that_differ",
            own(AtMost(0.0)),
            OWN_TOLD,
        )
    },
];

/// All values of a run: figure, side, repeat.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    values: BTreeMap<&'static str, BTreeMap<Side, BTreeMap<u64, Vec<f64>>>>,
}

impl Figures {
    /// Keeps a value.
    pub(crate) fn add(&mut self, figure: &'static str, side: Side, repeat: u64, value: f64) {
        let of_side = self.values.entry(figure).or_default().entry(side).or_default();
        of_side.entry(repeat).or_default().push(value);
    }

    fn all(&self, figure: &str, side: Side) -> Vec<f64> {
        let of_side = self.values.get(figure).and_then(|it| it.get(&side));
        of_side
            .into_iter()
            .flat_map(BTreeMap::values)
            .flatten()
            .copied()
            .collect()
    }

    fn statistic(&self, row: &Row, side: Side) -> Option<f64> {
        let all = self.all(row.figure, side);
        match row.statistic {
            Statistic::Median => median(&all),
            Statistic::P95 => p95(&all),
            Statistic::Largest => all.into_iter().reduce(f64::max),
            Statistic::Smallest => all.into_iter().reduce(f64::min),
        }
    }

    /// Middle of what `compare` gives in each repeat that both sides went through.
    fn of_repeats(&self, figure: &str, peer: Side, compare: fn(f64, f64) -> f64) -> Option<f64> {
        let sides = self.values.get(figure)?;
        let (ours, theirs) = (sides.get(&Side::Ours)?, sides.get(&peer)?);
        let pairs: Vec<f64> = ours
            .iter()
            .filter_map(|(repeat, ours)| Some(compare(median(ours)?, median(theirs.get(repeat)?)?)))
            .collect();
        median(&pairs)
    }

    fn compared(&self, row: &Row, peer: Side, compare: Compare) -> Option<f64> {
        let by: fn(f64, f64) -> f64 = match compare {
            Compare::Own => return self.statistic(row, Side::Ours),
            Compare::Ratio => |ours, theirs| ours / theirs,
            Compare::Excess => |ours, theirs| ours / theirs - 1.0,
            Compare::Difference => |ours, theirs| ours - theirs,
        };
        match row.statistic {
            Statistic::Median => self.of_repeats(row.figure, peer, by),
            Statistic::P95 | Statistic::Largest | Statistic::Smallest => {
                Some(by(self.statistic(row, Side::Ours)?, self.statistic(row, peer)?))
            }
        }
    }

    /// The table in Markdown: rows of promises of which something was measured.
    pub(crate) fn table(&self) -> String {
        let mut text = String::from(
            "| | metric | ours | peer (a) | peer (b) | against (a) | target | held | against (b) | target | held |\n\
             |---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for row in ROWS.iter().filter(|it| self.values.contains_key(it.figure)) {
            let mut cells = vec![row.promise.to_owned(), row.title.to_owned()];
            for side in Side::ALL {
                cells.push(self.statistic(row, side).map_or("—".to_owned(), short));
            }
            for (side, (compare, target)) in [
                (Side::Default, row.against_default),
                (Side::Tuned, row.against_tuned),
            ] {
                cells.extend(self.verdict(row, side, compare, target));
            }
            text += &format!("| {} |\n", cells.join(" | "));
        }
        text
    }

    fn verdict(&self, row: &Row, side: Side, compare: Compare, target: Target) -> [String; 3] {
        let value = self.compared(row, side, compare);
        let shown = match (value, compare) {
            (None, _) => "—".to_owned(),
            (Some(value), Compare::Ratio) => format!("{}x", short(value)),
            (Some(value), Compare::Excess) => format!("{:+.1} %", 100.0 * value),
            (Some(value), Compare::Difference) => format!("{value:+.3}"),
            (Some(value), Compare::Own) => short(value),
        };
        let promised = match (compare, target) {
            (Compare::Excess, AtMost(bound)) => format!("<= {} %", short(100.0 * bound)),
            _ => target.to_string(),
        };
        let held = match target.is_held_by(value.unwrap_or(f64::NAN)) {
            None => "—",
            Some(true) => "yes",
            Some(false) => "no",
        };
        [shown, promised, held.to_owned()]
    }

    /// All values, for machines.
    pub(crate) fn json(&self) -> Value {
        let figures: serde_json::Map<String, Value> = self
            .values
            .iter()
            .map(|(figure, sides)| {
                let sides: serde_json::Map<String, Value> = sides
                    .keys()
                    .map(|side| {
                        let all = self.all(figure, *side);
                        let facts = json!({"median": median(&all), "p95": p95(&all), "values": all});
                        (side.name().to_owned(), facts)
                    })
                    .collect();
                ((*figure).to_owned(), Value::Object(sides))
            })
            .collect();
        let rows: Vec<Value> = ROWS
            .iter()
            .filter(|it| self.values.contains_key(it.figure))
            .map(|row| self.row_json(row))
            .collect();
        json!({"figures": figures, "promises": rows})
    }

    fn row_json(&self, row: &Row) -> Value {
        let against = |side, (compare, target): (Compare, Target)| {
            let value = self.compared(row, side, compare);
            json!({
                "compare": compare, "value": value, "target": target,
                "held": target.is_held_by(value.unwrap_or(f64::NAN)),
            })
        };
        json!({
            "promise": row.promise, "metric": row.title, "figure": row.figure, "statistic": row.statistic,
            "against_a": against(Side::Default, row.against_default),
            "against_b": against(Side::Tuned, row.against_tuned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures_of(figure: &'static str, values: &[(Side, u64, f64)]) -> Figures {
        let mut figures = Figures::default();
        for (side, repeat, value) in values {
            figures.add(figure, *side, *repeat, *value);
        }
        figures
    }

    fn row_of(figures: &Figures, promise: &str) -> String {
        let table = figures.table();
        let line = table.lines().find(|it| it.starts_with(&format!("| {promise} ")));
        line.unwrap().to_owned()
    }

    #[test]
    fn ratios_are_made_inside_a_repeat() {
        // The machine was three times as fast in the second repeat; the ratio is the same.
        let figures = figures_of(
            "decode_tokens_per_second",
            &[
                (Side::Ours, 0, 110.0),
                (Side::Default, 0, 100.0),
                (Side::Ours, 1, 330.0),
                (Side::Default, 1, 300.0),
            ],
        );
        let row = row_of(&figures, "P1");
        assert!(row.contains("| 1.1x | >= 1 | yes | — | >= 1 | no |"), "{row}");
    }

    #[test]
    fn the_95th_percentile_is_over_all_repeats() {
        let figures = figures_of(
            "short_ttft_ms",
            &[
                (Side::Ours, 0, 10.0),
                (Side::Ours, 1, 30.0),
                (Side::Default, 0, 1000.0),
                (Side::Default, 1, 500.0),
            ],
        );
        assert!(row_of(&figures, "P5").contains("| 0.03x | <= 0.03 | yes |"));
    }

    #[test]
    fn more_time_than_the_peer_is_told_in_parts_of_hundred() {
        let figures = figures_of(
            "long_beside_stream_seconds",
            &[
                (Side::Ours, 0, 10.5),
                (Side::Default, 0, 10.0),
                (Side::Tuned, 0, 10.0),
            ],
        );
        let row = row_of(&figures, "P6");
        assert!(
            row.contains("| +5.0 % | <= 8 % | yes | +5.0 % | <= 3 % | no |"),
            "{row}"
        );
    }

    #[test]
    fn one_failure_of_many_repeats_is_shown() {
        let figures = figures_of(
            "failed_requests",
            &[(Side::Ours, 0, 0.0), (Side::Ours, 1, 1.0), (Side::Ours, 2, 0.0)],
        );
        let row = row_of(&figures, "P11");
        assert!(row.contains("| 1 | <= 0 | no | 1 | <= 0 | no |"), "{row}");
    }

    #[test]
    fn what_was_not_measured_is_not_in_the_table() {
        assert_eq!(Figures::default().table().lines().count(), 2);
    }
}
