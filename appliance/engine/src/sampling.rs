//! How a token is chosen from the logits of one row.
//!
//! Order: a mask bans; bias and penalties change logits; temperature scales them; min-p, top-k and the nucleus cut; one
//! is drawn. Equal settings, seed and logits give equal tokens on every machine: generator and exponential are ours, in
//! plain operations, and sums run in a fixed order.
//!
//! A row has 151,552 logits, so nothing here sorts or copies one. [`row`] keeps the maximum of each block of
//! [`row::BLOCK`] logits; the likeliest tokens lie in the blocks with the greatest maxima, and the rest are not looked
//! at again. Where a setting asks for all probability (a nucleus without top-k), it is summed in wide loops. Bounds of exactness: what is less than e^[`WEIGHT_FLOOR`] times as likely as the likeliest is never drawn;
//! weights are `f32`, good to one part in a million, and so are the borders of a nucleus.

mod exponential;
mod nucleus;
mod report;
mod row;

use jingui_ipc::engine::Sampling;

pub use report::{LOGPROBS_TOP_MAX, logprobs};

use exponential::exponential;
use nucleus::{Cut, keep_nucleus};
use row::{Block, Row};

/// Temperatures above make noise only.
const TEMPERATURE_MAX: f32 = 2.0;
/// Below it the likeliest token is certain to within what `f32` holds.
const TEMPERATURE_MIN: f32 = 1e-3;
const PENALTY_MAX: f32 = 2.0;
const BIAS_MAX: f32 = 100.0;
/// e^−40 of the likeliest is beyond the resolution of a draw from the generator's 53 bits.
const WEIGHT_FLOOR: f32 = -40.0;

/// Space for one row. Nothing is allocated per token once it has grown to the vocabulary.
#[derive(Debug, Default)]
pub struct Workspace {
    row: row::Space,
    candidates: Vec<Candidate>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    id: u32,
    logit: f32,
    /// Probability as a multiple of the likeliest one's.
    weight: f32,
}

/// Chooses the tokens of one stream.
#[derive(Debug, Clone)]
pub struct Sampler {
    temperature: f32,
    top_p: f32,
    top_k: usize,
    min_p: f32,
    presence_penalty: f32,
    frequency_penalty: f32,
    random: Random,
    /// Tokens with a bias, and while a penalty is set those that were made. Ids rise.
    changed: Vec<Change>,
}

/// What is done to the logit of one token.
#[derive(Debug, Clone, Copy)]
struct Change {
    id: u32,
    bias: f32,
    made_count: u16,
}

impl Sampler {
    /// A sampler for one stream; `drawn_seed` is used when the request names none. Values out of range are brought
    /// to the nearest allowed one, and what is not a number means "off".
    #[must_use]
    pub fn new(settings: &Sampling, drawn_seed: u64) -> Self {
        let mut sampler = Self {
            temperature: clamped(settings.temperature, 0.0, TEMPERATURE_MAX, 1.0),
            top_p: clamped(settings.top_p, 0.0, 1.0, 1.0),
            top_k: usize::try_from(settings.top_k).unwrap_or(0),
            min_p: clamped(settings.min_p, 0.0, 1.0, 0.0),
            presence_penalty: clamped(settings.presence_penalty, -PENALTY_MAX, PENALTY_MAX, 0.0),
            frequency_penalty: clamped(settings.frequency_penalty, -PENALTY_MAX, PENALTY_MAX, 0.0),
            random: Random::new(settings.seed.unwrap_or(drawn_seed)),
            changed: Vec::new(),
        };
        for (id, bias) in settings.logit_bias.iter().filter(|(_, bias)| bias.is_finite()) {
            sampler.change(*id).bias += bias.clamp(-BIAS_MAX, BIAS_MAX);
        }
        sampler
    }

    /// The next token's id, or `None` when no logit is a number (the model or the kernels are broken).
    pub fn choose(&mut self, logits: &[f32], workspace: &mut Workspace) -> Option<u32> {
        self.choose_among(logits, None, workspace)
    }

    /// As [`Sampler::choose`], among the tokens whose bit is set: bit `id % 32` of word `id / 32`.
    pub fn choose_among(
        &mut self,
        logits: &[f32],
        allowed: Option<&[u32]>,
        workspace: &mut Workspace,
    ) -> Option<u32> {
        let changes = self.changed.iter().map(|change| (change.id, self.delta(change)));
        let row = Row::new(logits, allowed, changes, &mut workspace.row);
        let (likeliest, greatest) = row.likeliest()?;
        // One number for each token, used or not: so the generator's place follows from how many were made.
        let unit = self.random.unit();
        let is_certain = self.temperature < TEMPERATURE_MIN
            || self.top_k == 1
            || self.top_p <= 0.0
            || greatest == f32::INFINITY;
        let chosen = if is_certain {
            likeliest
        } else {
            Draw {
                row,
                greatest,
                scale: 1.0 / self.temperature,
                unit,
            }
            .choose(self, &mut workspace.candidates)
        };
        self.count(chosen);
        Some(chosen)
    }

    /// Goes on as if it had chosen `id`.
    pub fn resume(&mut self, id: u32) {
        self.random.next_u64();
        self.count(id);
    }

    fn count(&mut self, id: u32) {
        if self.presence_penalty != 0.0 || self.frequency_penalty != 0.0 {
            let change = self.change(id);
            change.made_count = change.made_count.saturating_add(1);
        }
    }

    fn change(&mut self, id: u32) -> &mut Change {
        let place = self.changed.partition_point(|change| change.id < id);
        if self.changed.get(place).is_none_or(|change| change.id != id) {
            self.changed.insert(
                place,
                Change {
                    id,
                    bias: 0.0,
                    made_count: 0,
                },
            );
        }
        self.changed
            .get_mut(place)
            .unwrap_or_else(|| unreachable!("just found or put there"))
    }

    fn delta(&self, change: &Change) -> f32 {
        if change.made_count == 0 {
            change.bias
        } else {
            change.bias - (self.presence_penalty + self.frequency_penalty * f32::from(change.made_count))
        }
    }
}

/// One draw from one row.
struct Draw<'a> {
    row: Row<'a>,
    greatest: f32,
    scale: f32,
    /// Uniform from 0 to 1.
    unit: f64,
}

impl Draw<'_> {
    fn choose(&mut self, settings: &Sampler, candidates: &mut Vec<Candidate>) -> u32 {
        // e^floor is the least weight that min-p keeps; without min-p, what cannot be drawn anyway.
        let floor = if settings.min_p > 0.0 {
            settings.min_p.ln().max(WEIGHT_FLOOR)
        } else {
            WEIGHT_FLOOR
        };
        if settings.top_k > 0 || settings.min_p > 0.0 {
            self.gather(settings.top_k, floor, candidates);
            if settings.top_p < 1.0 {
                let total = candidates
                    .iter()
                    .map(|candidate| f64::from(candidate.weight))
                    .sum::<f64>();
                keep_nucleus(candidates, total * f64::from(settings.top_p));
            }
            return draw(candidates, self.unit);
        }
        let total = self.sum_groups();
        if settings.top_p >= 1.0 {
            return self.walk_groups(total);
        }
        match nucleus::cut(self, total, settings.top_p, candidates) {
            Cut::Candidates => draw(candidates, self.unit),
            Cut::Last { last, mass } => self.walk_down_to(last, mass),
        }
    }

    /// Leaves in `candidates`, by rising id, the `count` likeliest (0 for all) of at least `floor`.
    fn gather(&mut self, count: usize, floor: f32, candidates: &mut Vec<Candidate>) {
        // A little less than what the floor says, for rounding; who is kept is decided on the exponent.
        let least = self.greatest + floor * 1.001 / self.scale - self.greatest.abs() * 1e-6;
        let threshold = self.row.kth_maximum(count).max(least);
        candidates.clear();
        let is_kept = |logit: f32| logit >= threshold && self.exponent(logit) >= floor;
        for index in self.row.blocks_from(threshold) {
            candidates.extend(
                self.row
                    .block(index)
                    .entries()
                    .filter(|(_, logit)| is_kept(*logit))
                    .map(|(id, logit)| Candidate {
                        id,
                        logit,
                        weight: 0.0,
                    }),
            );
        }
        if count > 0 && candidates.len() > count {
            candidates.select_nth_unstable_by(count, likelier);
            candidates.truncate(count);
            candidates.sort_unstable_by_key(|candidate| candidate.id);
        }
        for candidate in candidates {
            candidate.weight = self.weight(candidate.logit);
        }
    }

    fn exponent(&self, logit: f32) -> f32 {
        (logit - self.greatest) * self.scale
    }

    /// Probability as a multiple of the likeliest one's; 0 for what is below the floor.
    fn weight(&self, logit: f32) -> f32 {
        exponential(self.exponent(logit), WEIGHT_FLOOR)
    }

    fn weights(&self, block: &Block) -> [f32; row::BLOCK] {
        block.logits.map(|logit| self.weight(logit))
    }

    /// Sums the weights of each group of blocks and of the row.
    fn sum_groups(&mut self) -> f64 {
        let (greatest, scale) = (self.greatest, self.scale);
        self.row
            .sum_groups(|logit| exponential((logit - greatest) * scale, WEIGHT_FLOOR))
    }

    /// Draws from all tokens: the group first, then the token in it.
    fn walk_groups(&self, total: f64) -> u32 {
        let mut left = self.unit * total;
        let mut last = 0;
        for (index, sum) in self.row.group_sums() {
            if sum <= 0.0 {
                continue;
            }
            last = index;
            if left < sum {
                break;
            }
            left -= sum;
        }
        let entries = self.row.group(last).flat_map(|block| {
            let weights = self.weights(&block);
            block.entries().zip(weights).map(|((id, _), weight)| (id, weight))
        });
        take_from(entries, left)
    }

    /// Draws from all tokens that are not less likely than `last`; their weights sum to `mass`.
    fn walk_down_to(&self, last: Candidate, mass: f64) -> u32 {
        let mut left = self.unit * mass;
        let mut chosen = last.id;
        for index in self.row.blocks_from(last.logit) {
            let block = self.row.block(index);
            let weights = self.weights(&block);
            for ((id, logit), weight) in block.entries().zip(weights) {
                let is_inside = likelier(&Candidate { id, logit, weight }, &last).is_le();
                if is_inside {
                    chosen = id;
                    left -= f64::from(weight);
                    if left < 0.0 {
                        return id;
                    }
                }
            }
        }
        chosen
    }
}

/// Likelier first; of equals the smaller id, so that the order is total and the same everywhere.
fn likelier(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

/// One candidate, with probability proportional to its weight. `unit` is uniform from 0 to 1.
fn draw(candidates: &[Candidate], unit: f64) -> u32 {
    let total: f64 = candidates
        .iter()
        .map(|candidate| f64::from(candidate.weight))
        .sum();
    let entries = candidates
        .iter()
        .map(|candidate| (candidate.id, candidate.weight));
    take_from(entries, unit * total)
}

/// The entry in which the running sum of weights passes `left`; rounding may leave a last crumb, which is the last one's.
fn take_from(entries: impl Iterator<Item = (u32, f32)>, mut left: f64) -> u32 {
    let mut chosen = 0;
    for (id, weight) in entries {
        if weight > 0.0 {
            chosen = id;
            left -= f64::from(weight);
            if left < 0.0 {
                break;
            }
        }
    }
    chosen
}

fn clamped(value: f32, least: f32, most: f32, off: f32) -> f32 {
    if value.is_nan() {
        off
    } else {
        value.clamp(least, most)
    }
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014). Not for secrets.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator that gives the same numbers for the same seed, for ever.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform from 0 up to, not including, 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what an f64 holds")]
    fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests;
