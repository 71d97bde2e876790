//! The smallest set of likeliest tokens whose probabilities reach a share of all.

use super::{Candidate, Draw, WEIGHT_FLOOR, likelier};

/// Blocks whose maxima set the first threshold; grows eightfold once.
const FIRST_BLOCK_COUNT: usize = 128;
const SECOND_BLOCK_COUNT: usize = 1024;
/// How often the range in which a wide nucleus ends is halved before what is left of it is sorted.
const HALVING_COUNT: usize = 12;

/// Where a nucleus ends.
pub(super) enum Cut {
    /// It is what is left in the candidates.
    Candidates,
    /// It is all that is not less likely than `last`.
    Last {
        /// The least likely of it.
        last: Candidate,
        /// Sum of its weights.
        mass: f64,
    },
}

/// Keeps, of the candidates, the nucleus: in order of likelihood until their weights reach `wanted`; at least one.
/// Whether they reach it; if not, nothing was cut.
pub(super) fn keep_nucleus(candidates: &mut Vec<Candidate>, wanted: f64) -> bool {
    candidates.sort_unstable_by(likelier);
    let mut sum = 0.0;
    let last = candidates.iter().position(|candidate| {
        sum += f64::from(candidate.weight);
        sum >= wanted
    });
    if let Some(last) = last {
        candidates.truncate(last + 1);
    }
    candidates.sort_unstable_by_key(|candidate| candidate.id);
    last.is_some()
}

/// The nucleus of a row whose weights sum to `total`.
pub(super) fn cut(draw: &mut Draw<'_>, total: f64, share: f32, candidates: &mut Vec<Candidate>) -> Cut {
    let wanted = total * f64::from(share);
    // The nucleus ends below it: tokens that reach it do not suffice.
    let mut above = f32::INFINITY;
    for block_count in [FIRST_BLOCK_COUNT, SECOND_BLOCK_COUNT] {
        if block_count > draw.row.block_count() {
            break;
        }
        let threshold = draw.row.kth_maximum(block_count);
        reach(draw, threshold, candidates);
        let sum: f64 = candidates
            .iter()
            .map(|candidate| f64::from(candidate.weight))
            .sum();
        if sum >= wanted && keep_nucleus(candidates, wanted) {
            return Cut::Candidates;
        }
        above = threshold;
    }
    wide(draw, wanted, above, candidates)
}

/// All tokens that reach `threshold`.
fn reach(draw: &Draw<'_>, threshold: f32, candidates: &mut Vec<Candidate>) {
    between(draw, threshold, f32::INFINITY, candidates);
}

/// All tokens that reach `from` and not `to`; an infinite `to` is reached by none.
fn between(draw: &Draw<'_>, from: f32, to: f32, candidates: &mut Vec<Candidate>) {
    candidates.clear();
    for index in draw.row.blocks_from(from) {
        candidates.extend(
            draw.row
                .block(index)
                .entries()
                .filter(|(_, logit)| *logit >= from && *logit < to)
                .map(|(id, logit)| Candidate {
                    id,
                    logit,
                    weight: draw.weight(logit),
                }),
        );
    }
}

/// A nucleus of very many tokens: the range of logits in which it ends is halved, and only what is left of it is sorted.
fn wide(draw: &Draw<'_>, wanted: f64, above: f32, candidates: &mut Vec<Candidate>) -> Cut {
    let mut above = above.min(draw.greatest + f32::EPSILON.max(draw.greatest.abs() * f32::EPSILON));
    let mut below = draw.greatest + WEIGHT_FLOOR / draw.scale;
    let sum_from = |threshold| draw.row.sum_from(threshold, |logit| draw.weight(logit));
    for _ in 0..HALVING_COUNT {
        let middle = below + (above - below) * 0.5;
        if sum_from(middle) >= wanted {
            below = middle;
        } else {
            above = middle;
        }
    }
    let mut mass = sum_from(above);
    between(draw, below, above, candidates);
    candidates.sort_unstable_by(likelier);
    let mut last = None;
    for candidate in candidates.iter() {
        if mass >= wanted {
            break;
        }
        mass += f64::from(candidate.weight);
        last = Some(*candidate);
    }
    match last {
        Some(last) => Cut::Last { last, mass },
        // Rounding put the border on the other side of it: the nucleus is what lies above.
        None => {
            reach(draw, above, candidates);
            Cut::Candidates
        }
    }
}
