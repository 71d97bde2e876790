//! Log probabilities for the client.

use super::exponential::exponential;
use super::row::{Row, Space};
use super::{Candidate, likelier};

/// Most tokens reported beside the chosen one.
pub const LOGPROBS_TOP_MAX: usize = 20;
/// What is e^−80 times as likely as the likeliest adds nothing to a sum of `f32`.
const FLOOR: f32 = -80.0;

/// Log probabilities of one row before any setting of the request: of `chosen`, and of the `count` likeliest tokens.
#[must_use]
pub fn logprobs(logits: &[f32], chosen: u32, count: usize) -> (f32, Vec<(u32, f32)>) {
    let mut space = Space::default();
    let mut row = Row::new(logits, None, std::iter::empty(), &mut space);
    let greatest = row.likeliest().map_or(0.0, |(_, greatest)| greatest);
    let sum = row.sum_groups(|logit| exponential(logit - greatest, FLOOR));
    let of = |logit: f32| narrowed(f64::from(logit - greatest) - sum.ln());
    let chosen = usize::try_from(chosen)
        .ok()
        .and_then(|id| logits.get(id))
        .map_or(f32::NEG_INFINITY, |logit| of(*logit));
    let count = count.min(LOGPROBS_TOP_MAX);
    let top = likeliest(&mut row, count);
    (
        chosen,
        top.iter()
            .map(|candidate| (candidate.id, of(candidate.logit)))
            .collect(),
    )
}

/// The `count` likeliest tokens of a row, likeliest first.
fn likeliest(row: &mut Row<'_>, count: usize) -> Vec<Candidate> {
    if count == 0 {
        return Vec::new();
    }
    let threshold = row.kth_maximum(count);
    let mut top: Vec<Candidate> = Vec::new();
    for index in row.blocks_from(threshold) {
        let block = row.block(index);
        top.extend(
            block
                .entries()
                .filter(|(_, logit)| *logit >= threshold && *logit > f32::NEG_INFINITY)
                .map(|(id, logit)| Candidate {
                    id,
                    logit,
                    weight: 0.0,
                }),
        );
    }
    top.sort_unstable_by(likelier);
    top.truncate(count);
    top
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a log probability loses digits only"
)]
fn narrowed(value: f64) -> f32 {
    value as f32
}
