//! What a step costs: a linear model that learns from every measured step.
//!
//! Recursive least squares with forgetting over four quantities: the step itself, rows, rows that give logits (the
//! last layer is wide), and what the rows attend to. It starts from a prior that is right for nobody and harmful to
//! nobody, and an outlier (a machine that slept) counts no more than a limited surprise.

use crate::{Micros, micros, real, real_us};

const QUANTITIES: usize = 4;
/// Older steps weigh less by this for each new one: some hundred steps are remembered.
const FORGETTING: f64 = 0.99;
/// A step may count as so many times dearer, or cheaper, than foretold; not while the model is young.
const SURPRISE_MAX: f64 = 3.0;
const YOUNG_STEPS: u64 = 12;
/// Step, row, row with logits in microseconds; a thousand attended cells.
const PRIOR: [f64; QUANTITIES] = [2_000.0, 2_000.0, 2_000.0, 100.0];
/// How wrong the prior may be, as a part of itself.
const PRIOR_DOUBT: f64 = 4.0;
/// What the measured time scatters by, in microseconds; sets how fast the prior is left.
const NOISE_US: f64 = 1_000.0;

/// What a step computes, as far as its cost depends on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Rows.
    pub rows: usize,
    /// Of these, rows that give logits.
    pub outputs: usize,
    /// Sum over the rows of the cells that each attends to.
    pub attended: usize,
}

impl Load {
    /// This and another in one step.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            outputs: self.outputs + other.outputs,
            attended: self.attended + other.attended,
        }
    }

    /// `rows` rows from position `from` on, of which the last `outputs` give logits.
    #[must_use]
    pub const fn rows(from: usize, rows: usize, outputs: usize) -> Self {
        Self {
            rows,
            outputs,
            attended: rows * from + rows * (rows + 1) / 2,
        }
    }

    fn quantities(self) -> [f64; QUANTITIES] {
        [
            1.0,
            real(self.rows),
            real(self.outputs),
            real(self.attended) / 1_000.0,
        ]
    }
}

/// Foretells how long a step takes.
#[derive(Debug, Clone)]
pub struct CostModel {
    weights: [f64; QUANTITIES],
    covariance: [[f64; QUANTITIES]; QUANTITIES],
    step_count: u64,
}

impl Default for CostModel {
    fn default() -> Self {
        let mut covariance = [[0.0; QUANTITIES]; QUANTITIES];
        for (index, (row, prior)) in covariance.iter_mut().zip(PRIOR).enumerate() {
            if let Some(cell) = row.get_mut(index) {
                *cell = (prior * PRIOR_DOUBT / NOISE_US).powi(2);
            }
        }
        Self {
            weights: PRIOR,
            covariance,
            step_count: 0,
        }
    }
}

impl CostModel {
    /// How long a step with that load takes.
    #[must_use]
    pub fn foretell(&self, load: Load) -> Micros {
        micros(self.sum(load))
    }

    /// Learns that a step with that load took so long.
    pub fn learn(&mut self, load: Load, measured: Micros) {
        if load.rows == 0 {
            return;
        }
        let x = load.quantities();
        let mut gain: [f64; QUANTITIES] = self.covariance.map(|row| dot(&row, &x));
        let spread = FORGETTING + dot(&gain, &x);
        if !spread.is_finite() || spread <= 0.0 {
            *self = Self::default();
            return;
        }
        let foretold = self.sum(load).max(1.0);
        let measured = if self.step_count < YOUNG_STEPS {
            real_us(measured)
        } else {
            real_us(measured).clamp(foretold / SURPRISE_MAX, foretold * SURPRISE_MAX)
        };
        let error = measured - dot(&self.weights, &x);
        let before = gain;
        for value in &mut gain {
            *value /= spread;
        }
        for ((weight, row), gain) in self.weights.iter_mut().zip(&mut self.covariance).zip(gain) {
            // Nothing is cheaper for being more: a weight that would fall below zero is noise.
            *weight = (*weight + gain * error).max(0.0);
            for (cell, before) in row.iter_mut().zip(before) {
                *cell = (*cell - gain * before) / FORGETTING;
            }
        }
        self.bound_doubt();
        self.step_count += 1;
    }

    /// Most rows of a prompt from position `from` on that fit beside `load` into a step of `target`.
    #[must_use]
    pub fn rows_within(&self, target: Micros, load: Load, from: usize, most: usize) -> usize {
        let fits = |rows: usize| self.foretell(load.and(Load::rows(from, rows, 0))) <= target;
        let (mut least, mut above) = (0, most + 1);
        while above - least > 1 {
            let middle = least + (above - least) / 2;
            if fits(middle) {
                least = middle;
            } else {
                above = middle;
            }
        }
        least
    }

    /// What computing `rows` rows of a prompt from position `from` on costs, in a step that is made anyway.
    #[must_use]
    pub fn prefill(&self, from: usize, rows: usize) -> Micros {
        let [step, row, _, attended] = self.weights;
        let load = Load::rows(from, rows, 0);
        // The share of its step: as if steps of prompts had a few hundred rows.
        micros((row + step / 256.0) * real(rows) + attended * real(load.attended) / 1_000.0)
    }

    fn sum(&self, load: Load) -> f64 {
        dot(&self.weights, &load.quantities())
    }

    /// Forgetting without new evidence would let doubt grow without bound, and the next step throw the model about.
    fn bound_doubt(&mut self) {
        for (index, prior) in PRIOR.iter().enumerate() {
            let most = (prior * PRIOR_DOUBT / NOISE_US).powi(2);
            let Some(doubt) = self.covariance.get(index).and_then(|row| row.get(index)).copied() else {
                continue;
            };
            if doubt > most {
                let scale = (most / doubt).sqrt();
                for (other, row) in self.covariance.iter_mut().enumerate() {
                    for (column, cell) in row.iter_mut().enumerate() {
                        if other == index {
                            *cell *= scale;
                        }
                        if column == index {
                            *cell *= scale;
                        }
                    }
                }
            }
        }
    }
}

fn dot(a: &[f64; QUANTITIES], b: &[f64; QUANTITIES]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine of two cores with half a billion parameters.
    fn measured(load: Load) -> Micros {
        let rows = u64::try_from(load.rows).unwrap();
        let outputs = u64::try_from(load.outputs).unwrap();
        let attended = u64::try_from(load.attended).unwrap();
        3_000 + 4_000 * rows + 2_200 * outputs + attended * 300 / 1_000
    }

    fn taught(steps: usize) -> CostModel {
        let mut model = CostModel::default();
        for step in 0..steps {
            let decoding = Load::rows(500 + step, 1 + step % 8, 1 + step % 8);
            let load = decoding.and(Load::rows(step * 37 % 3000, (step * 61) % 256, 0));
            model.learn(load, measured(load));
        }
        model
    }

    #[test]
    fn it_learns_a_linear_machine_to_a_tenth() {
        let model = taught(60);
        for (from, rows, outputs) in [(0, 1, 1), (100, 8, 8), (0, 64, 0), (3000, 128, 1), (0, 512, 0)] {
            let load = Load::rows(from, rows, outputs);
            let (is, says) = (real_us(measured(load)), real_us(model.foretell(load)));
            assert!((says / is - 1.0).abs() < 0.1, "{load:?}: {says} instead of {is}");
        }
    }

    #[test]
    fn one_step_in_which_the_machine_slept_changes_little() {
        let mut model = taught(100);
        let load = Load::rows(0, 64, 1);
        let before = real_us(model.foretell(load));
        model.learn(load, 60_000_000);
        let after = real_us(model.foretell(load));
        assert!(after < before * 2.5, "{before} became {after}");
        for _ in 0..30 {
            model.learn(load, measured(load));
        }
        let recovered = real_us(model.foretell(load));
        assert!(
            (recovered / before - 1.0).abs() < 0.2,
            "{before} became {recovered}"
        );
    }

    #[test]
    fn a_machine_that_became_slower_is_noticed() {
        let mut model = taught(100);
        let load = Load::rows(200, 64, 4);
        for _ in 0..100 {
            model.learn(load, measured(load) * 3);
        }
        let says = real_us(model.foretell(load));
        let is = real_us(measured(load) * 3);
        assert!((says / is - 1.0).abs() < 0.15, "{says} instead of {is}");
    }

    #[test]
    fn rows_within_a_target_are_the_most_that_fit() {
        let model = taught(100);
        let load = Load::rows(800, 4, 4);
        let rows = model.rows_within(150_000, load, 1000, 512);
        assert!(model.foretell(load.and(Load::rows(1000, rows, 0))) <= 150_000);
        assert!(model.foretell(load.and(Load::rows(1000, rows + 1, 0))) > 150_000);
        assert_eq!(model.rows_within(0, load, 1000, 512), 0);
        assert_eq!(model.rows_within(u64::MAX, load, 1000, 512), 512);
    }

    #[test]
    fn days_of_equal_steps_leave_a_sound_model() {
        let mut model = taught(50);
        let load = Load::rows(300, 1, 1);
        for _ in 0..200_000 {
            model.learn(load, measured(load));
        }
        let other = Load::rows(0, 256, 0);
        let says = real_us(model.foretell(other));
        let is = real_us(measured(other));
        assert!(says > is / 4.0 && says < is * 4.0, "{says} against {is}");
    }
}
