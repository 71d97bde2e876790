//! How a token is chosen from the logits of one row.
//!
//! Order: bias and penalties change logits; temperature scales them; top-k, nucleus and min-p cut; one is drawn. Equal
//! settings, seed and logits give equal tokens on every machine: the generator is ours and its sums run in a fixed order.
//! Nothing here allocates per token once a [`Workspace`] has grown to the vocabulary.

use std::collections::HashMap;

use jingui_ipc::engine::Sampling;

/// Most tokens reported beside the chosen one.
pub const LOGPROBS_TOP_MAX: usize = 20;
/// Temperatures above make noise only.
const TEMPERATURE_MAX: f32 = 2.0;
/// Below it the likeliest token is certain to within what `f32` holds.
const TEMPERATURE_MIN: f32 = 1e-3;
const PENALTY_MAX: f32 = 2.0;
const BIAS_MAX: f32 = 100.0;
/// Candidates tried first when a nucleus is cut; grows eightfold until the nucleus is inside.
const NUCLEUS_CANDIDATES_FIRST: usize = 128;

/// Space for one row, kept by the step thread.
#[derive(Debug, Default)]
pub struct Workspace {
    adjusted: Vec<f32>,
    candidates: Vec<Candidate>,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    id: u32,
    /// Scaled logit first, weight (not normalised probability) later.
    value: f32,
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
    bias: Vec<(usize, f32)>,
    random: Random,
    /// How often each token was made. Empty while no penalty is set.
    made: HashMap<usize, u16>,
}

impl Sampler {
    /// A sampler for one stream; `drawn_seed` is used when the request names none. Values out of range are brought
    /// to the nearest allowed one, and what is not a number means "off".
    #[must_use]
    pub fn new(settings: &Sampling, drawn_seed: u64) -> Self {
        let bias = settings.logit_bias.iter().filter(|(_, bias)| bias.is_finite());
        Self {
            temperature: clamped(settings.temperature, 0.0, TEMPERATURE_MAX, 1.0),
            top_p: clamped(settings.top_p, 0.0, 1.0, 1.0),
            top_k: usize::try_from(settings.top_k).unwrap_or(0),
            min_p: clamped(settings.min_p, 0.0, 1.0, 0.0),
            presence_penalty: clamped(settings.presence_penalty, -PENALTY_MAX, PENALTY_MAX, 0.0),
            frequency_penalty: clamped(settings.frequency_penalty, -PENALTY_MAX, PENALTY_MAX, 0.0),
            bias: bias
                .filter_map(|(id, bias)| Some((usize::try_from(*id).ok()?, bias.clamp(-BIAS_MAX, BIAS_MAX))))
                .collect(),
            random: Random::new(settings.seed.unwrap_or(drawn_seed)),
            made: HashMap::new(),
        }
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
        let Workspace { adjusted, candidates } = workspace;
        let logits = if self.bias.is_empty() && self.made.is_empty() && allowed.is_none() {
            logits
        } else {
            adjusted.clear();
            adjusted.extend_from_slice(logits);
            self.adjust(adjusted);
            if let Some(words) = allowed {
                for (id, logit) in adjusted.iter_mut().enumerate() {
                    if words.get(id / 32).is_none_or(|word| word >> (id % 32) & 1 == 0) {
                        *logit = f32::NEG_INFINITY;
                    }
                }
            }
            adjusted.as_slice()
        };
        let (likeliest, greatest) = first_maximum(logits)?;
        // One number for each token, used or not: so the generator's place follows from how many were made.
        let unit = self.random.unit();
        let chosen = if self.temperature < TEMPERATURE_MIN || self.top_k == 1 || greatest == f32::INFINITY {
            likeliest
        } else {
            self.cut(logits, greatest, candidates);
            draw(candidates, unit)?
        };
        self.count(chosen);
        Some(chosen)
    }

    fn count(&mut self, id: u32) {
        if self.presence_penalty != 0.0 || self.frequency_penalty != 0.0 {
            let count = usize::try_from(id).map(|id| self.made.entry(id).or_insert(0));
            if let Ok(count) = count {
                *count = count.saturating_add(1);
            }
        }
    }

    /// Goes on as if it had chosen `id`.
    pub fn resume(&mut self, id: u32) {
        self.random.next_u64();
        self.count(id);
    }

    fn adjust(&self, logits: &mut [f32]) {
        for (id, bias) in &self.bias {
            if let Some(logit) = logits.get_mut(*id) {
                *logit += bias;
            }
        }
        for (id, count) in &self.made {
            if let Some(logit) = logits.get_mut(*id) {
                *logit -= self.presence_penalty + self.frequency_penalty * f32::from(*count);
            }
        }
    }

    /// Leaves in `candidates` those that may be drawn, with their weights relative to the likeliest.
    fn cut(&self, logits: &[f32], greatest: f32, candidates: &mut Vec<Candidate>) {
        let scale = 1.0 / self.temperature;
        // e^floor is the least weight that min-p keeps; without min-p, what cannot be drawn anyway.
        let floor = if self.min_p > 0.0 {
            self.min_p.ln()
        } else {
            WEIGHT_FLOOR
        };
        candidates.clear();
        candidates.extend((0u32..).zip(logits).filter_map(|(id, logit)| {
            let value = (logit - greatest) * scale;
            (value >= floor).then_some(Candidate { id, value })
        }));
        if self.top_k > 0 && candidates.len() > self.top_k {
            keep_likeliest(candidates, self.top_k);
        }
        for candidate in candidates.iter_mut() {
            candidate.value = candidate.value.exp();
        }
        if self.top_p < 1.0 {
            keep_nucleus(candidates, self.top_p);
        }
    }
}

/// e^−40 of the likeliest is beyond the resolution of a draw from the generator's 53 bits.
const WEIGHT_FLOOR: f32 = -40.0;

/// Likelier first; of equals the smaller id, so that the order is total and the same everywhere.
fn likelier(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.value.total_cmp(&a.value).then(a.id.cmp(&b.id))
}

/// Keeps the `count` likeliest, in order of their ids.
fn keep_likeliest(candidates: &mut Vec<Candidate>, count: usize) {
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count, likelier);
        candidates.truncate(count);
        candidates.sort_unstable_by_key(|candidate| candidate.id);
    }
}

/// Keeps the smallest set of likeliest candidates whose weights reach `share` of all; at least one.
fn keep_nucleus(candidates: &mut Vec<Candidate>, share: f32) {
    let total: f64 = candidates
        .iter()
        .map(|candidate| f64::from(candidate.value))
        .sum();
    let wanted = total * f64::from(share);
    let mut looked_at = NUCLEUS_CANDIDATES_FIRST;
    loop {
        let is_all = looked_at >= candidates.len();
        if !is_all {
            candidates.select_nth_unstable_by(looked_at, likelier);
        }
        let head = if is_all { candidates.len() } else { looked_at };
        let likeliest = candidates.get_mut(..head).unwrap_or_default();
        likeliest.sort_unstable_by(likelier);
        let mut sum = 0.0;
        let inside = likeliest.iter().position(|candidate| {
            sum += f64::from(candidate.value);
            sum >= wanted
        });
        if let Some(last) = inside {
            candidates.truncate(last + 1);
            return;
        }
        if is_all {
            return;
        }
        looked_at = looked_at.saturating_mul(8);
    }
}

fn first_maximum(logits: &[f32]) -> Option<(u32, f32)> {
    let mut best = None;
    let mut greatest = f32::NEG_INFINITY;
    for (id, logit) in (0u32..).zip(logits) {
        // Not-a-number compares false and never wins.
        if *logit > greatest {
            greatest = *logit;
            best = Some((id, *logit));
        }
    }
    best
}

fn clamped(value: f32, least: f32, most: f32, off: f32) -> f32 {
    if value.is_nan() {
        off
    } else {
        value.clamp(least, most)
    }
}

/// Log probabilities of one row before any setting of the request: of `chosen`, and of the `count` likeliest tokens.
#[must_use]
pub fn logprobs(logits: &[f32], chosen: u32, count: usize) -> (f32, Vec<(u32, f32)>) {
    let greatest = first_maximum(logits).map_or(0.0, |(_, greatest)| greatest);
    let sum: f64 = logits
        .iter()
        .filter(|logit| !logit.is_nan())
        .map(|logit| f64::from(logit - greatest).exp())
        .sum();
    let of = |logit: f32| narrowed(f64::from(logit - greatest) - sum.ln());
    let chosen = usize::try_from(chosen)
        .ok()
        .and_then(|id| logits.get(id))
        .map_or(f32::NEG_INFINITY, |l| of(*l));
    let count = count.min(LOGPROBS_TOP_MAX);
    if count == 0 {
        return (chosen, Vec::new());
    }
    let mut top: Vec<Candidate> = Vec::with_capacity(count + 1);
    for (id, logit) in (0u32..).zip(logits) {
        let candidate = Candidate { id, value: *logit };
        if logit.is_nan()
            || (top.len() == count && top.last().is_some_and(|last| likelier(last, &candidate).is_lt()))
        {
            continue;
        }
        let place = top.partition_point(|other| likelier(other, &candidate).is_lt());
        top.insert(place, candidate);
        top.truncate(count);
    }
    (
        chosen,
        top.iter()
            .map(|candidate| (candidate.id, of(candidate.value)))
            .collect(),
    )
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a log probability loses digits only"
)]
fn narrowed(value: f64) -> f32 {
    value as f32
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

/// One candidate, with probability proportional to its weight; `None` of none. `unit` is uniform from 0 to 1.
fn draw(candidates: &[Candidate], unit: f64) -> Option<u32> {
    let total: f64 = candidates
        .iter()
        .map(|candidate| f64::from(candidate.value))
        .sum();
    let mut left = unit * total;
    for candidate in candidates {
        left -= f64::from(candidate.value);
        if left < 0.0 {
            return Some(candidate.id);
        }
    }
    // Rounding may leave a last crumb.
    candidates.last().map(|candidate| candidate.id)
}

#[cfg(test)]
mod tests;
