//! What a step costs: a linear model that learns from every measured step.
//!
//! Least squares over four quantities: the step itself, rows, rows that give logits (the last layer is wide), and what
//! the rows attend to. Errors count relative to what the prior says of their step, so short steps are fitted as
//! well as long ones.
//! Older steps fade; steps with and without rows of prompts fade apart, so that an hour of chatting does not forget
//! what a prompt costs. What was never observed is assumed to be as much faster or slower than the prior as what was.
//! An outlier (a machine that slept) counts no more than a limited surprise.

use crate::{Micros, micros, real, real_us};

const QUANTITIES: usize = 4;
/// Older steps weigh less by this for each new one: some fifty steps are remembered.
const FADING: f64 = 0.98;
/// A step may count as so many times dearer, or cheaper, than foretold; not while the model is young.
const SURPRISE_MAX: f64 = 3.0;
const YOUNG_STEPS: u64 = 12;
/// Step, row, row with logits in microseconds; a thousand attended cells.
const PRIOR: [f64; QUANTITIES] = [2_000.0, 2_000.0, 2_000.0, 100.0];
/// How many steps the assumption about what was not observed weighs: it may be wrong by itself, times of steps scatter
/// by a twentieth.
const PRIOR_STEPS: f64 = 0.0025;
/// Least microseconds of a step for the relative error.
const STEP_MIN_US: f64 = 10.0;

type Vector = [f64; QUANTITIES];
type Matrix = [Vector; QUANTITIES];

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

    /// What the prior says that each quantity costs.
    fn by_prior(self) -> Vector {
        let [step, row, output, attended] = PRIOR;
        [
            step,
            row * real(self.rows),
            output * real(self.outputs),
            attended * real(self.attended) / 1_000.0,
        ]
    }
}

/// Measured steps of one kind, faded.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    squares: Matrix,
    products: Vector,
    /// For the one number by which the machine differs from the prior.
    scale_squares: f64,
    scale_products: f64,
}

impl Seen {
    fn add(&mut self, x: &Vector, y: f64) {
        for ((row, product), a) in self.squares.iter_mut().zip(&mut self.products).zip(x) {
            for (cell, b) in row.iter_mut().zip(x) {
                *cell = *cell * FADING + a * b;
            }
            *product = *product * FADING + a * y;
        }
        let sum: f64 = x.iter().sum();
        self.scale_squares = self.scale_squares * FADING + sum * sum;
        self.scale_products = self.scale_products * FADING + sum * y;
    }
}

/// Foretells how long a step takes.
#[derive(Debug, Clone)]
pub struct CostModel {
    /// By how much each quantity is dearer than the prior says.
    factors: Vector,
    with_prompts: Seen,
    without: Seen,
    step_count: u64,
}

impl Default for CostModel {
    fn default() -> Self {
        Self {
            factors: [1.0; QUANTITIES],
            with_prompts: Seen::default(),
            without: Seen::default(),
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
        let foretold = self.sum(load).max(STEP_MIN_US);
        let mut measured = real_us(measured).max(STEP_MIN_US);
        if self.step_count >= YOUNG_STEPS {
            measured = measured.clamp(foretold / SURPRISE_MAX, foretold * SURPRISE_MAX);
        }
        let prior = load.by_prior();
        let in_all: f64 = prior.iter().sum();
        let x = prior.map(|part| part / in_all);
        let seen = if load.rows > load.outputs {
            &mut self.with_prompts
        } else {
            &mut self.without
        };
        seen.add(&x, measured / in_all);
        self.step_count += 1;
        self.fit();
    }

    /// Solves for the factors; one that would be negative is noise and becomes nothing.
    fn fit(&mut self) {
        let (a, b) = (&self.with_prompts, &self.without);
        let scale = (a.scale_products + b.scale_products) / (a.scale_squares + b.scale_squares);
        if !scale.is_finite() || scale <= 0.0 {
            return;
        }
        let mut is_used = [true; QUANTITIES];
        for _ in 0..QUANTITIES {
            let mut squares = [[0.0; QUANTITIES]; QUANTITIES];
            let mut products = [0.0; QUANTITIES];
            for row in 0..QUANTITIES {
                for column in 0..QUANTITIES {
                    let both = is_used.get(row) == Some(&true) && is_used.get(column) == Some(&true);
                    let sum = at(&a.squares, row, column) + at(&b.squares, row, column);
                    let own = if row == column { PRIOR_STEPS } else { 0.0 };
                    set(&mut squares, row, column, if both { sum + own } else { own });
                }
                let sum = a.products.get(row).unwrap_or(&0.0) + b.products.get(row).unwrap_or(&0.0);
                if let (Some(product), Some(true)) = (products.get_mut(row), is_used.get(row)) {
                    *product = sum + PRIOR_STEPS * scale;
                }
            }
            let Some(factors) = solve(squares, products) else {
                return;
            };
            let is_sound = factors.iter().all(|factor| *factor >= 0.0);
            self.factors = factors.map(|factor| factor.max(0.0));
            if is_sound {
                return;
            }
            for (used, factor) in is_used.iter_mut().zip(factors) {
                *used &= factor >= 0.0;
            }
        }
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
        let [step, row, _, attended] = self.weighted(Load::rows(from, rows, 0));
        // The share of its step: as if steps of prompts had a few hundred rows.
        micros(row + attended + step * real(rows) / 256.0)
    }

    /// What attending to so many cells costs, counted once for each row.
    #[must_use]
    pub fn attention(&self, attended: usize) -> Micros {
        let load = Load {
            attended,
            ..Load::default()
        };
        let [_, _, _, attended] = self.weighted(load);
        micros(attended)
    }

    fn weighted(&self, load: Load) -> Vector {
        let mut parts = load.by_prior();
        for (part, factor) in parts.iter_mut().zip(self.factors) {
            *part *= factor;
        }
        parts
    }

    fn sum(&self, load: Load) -> f64 {
        self.weighted(load).iter().sum()
    }
}

fn at(matrix: &Matrix, row: usize, column: usize) -> f64 {
    matrix
        .get(row)
        .and_then(|cells| cells.get(column))
        .copied()
        .unwrap_or(0.0)
}

fn set(matrix: &mut Matrix, row: usize, column: usize, value: f64) {
    if let Some(cell) = matrix.get_mut(row).and_then(|cells| cells.get_mut(column)) {
        *cell = value;
    }
}

/// Solves a symmetric positive definite system by Cholesky's method; `None` when it is not.
fn solve(squares: Matrix, products: Vector) -> Option<Vector> {
    let mut lower = [[0.0; QUANTITIES]; QUANTITIES];
    for row in 0..QUANTITIES {
        for column in 0..=row {
            let sum: f64 = (0..column)
                .map(|k| at(&lower, row, k) * at(&lower, column, k))
                .sum();
            let rest = at(&squares, row, column) - sum;
            let value = if row == column {
                (rest > 0.0).then(|| rest.sqrt())?
            } else {
                rest / at(&lower, column, column)
            };
            set(&mut lower, row, column, value);
        }
    }
    let mut halfway = [0.0; QUANTITIES];
    for row in 0..QUANTITIES {
        let sum: f64 = (0..row)
            .map(|k| at(&lower, row, k) * halfway.get(k).unwrap_or(&0.0))
            .sum();
        *halfway.get_mut(row)? = (products.get(row)? - sum) / at(&lower, row, row);
    }
    let mut solution = [0.0; QUANTITIES];
    for row in (0..QUANTITIES).rev() {
        let sum: f64 = (row + 1..QUANTITIES)
            .map(|k| at(&lower, k, row) * solution.get(k).unwrap_or(&0.0))
            .sum();
        *solution.get_mut(row)? = (halfway.get(row)? - sum) / at(&lower, row, row);
    }
    solution
        .iter()
        .all(|value: &f64| value.is_finite())
        .then_some(solution)
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
