//! What is made of many measured values: middle, 95th percentile, fairness, and a verdict against a target.

use serde::Serialize;

/// Middle value; the mean of the two in the middle of an even number. `None` without values.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(sorted.len() / 2 - 1)?;
    Some(f64::midpoint(lower, upper))
}

/// Value that 95 of 100 do not exceed (nearest rank). `None` without values.
pub(crate) fn p95(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    // Nearest rank: the smallest value with at least 95 % of all at or below it.
    let rank = (sorted.len() * 95).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

/// Jain's fairness index of what each got: 1 when all got the same, 1/n when one got everything.
pub(crate) fn jain(shares: &[f64]) -> Option<f64> {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|it| it * it).sum();
    let count = f64::from(u32::try_from(shares.len()).ok()?);
    (squares > 0.0).then(|| sum * sum / (count * squares))
}

/// Which way is better, and how far a figure has to go.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "rule", content = "bound")]
pub(crate) enum Target {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
    /// Told for information; nothing was promised.
    Told,
}

impl Target {
    /// Whether the value keeps the promise; `None` where none was made.
    pub(crate) fn is_held_by(self, value: f64) -> Option<bool> {
        match self {
            Self::AtLeast(bound) => Some(value >= bound),
            Self::AtMost(bound) => Some(value <= bound),
            Self::Told => None,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, ">= {}", short(*bound)),
            Self::AtMost(bound) => write!(f, "<= {}", short(*bound)),
            Self::Told => write!(f, "—"),
        }
    }
}

/// Three significant digits, without an exponent.
pub(crate) fn short(value: f64) -> String {
    let size = value.abs();
    let digits = match () {
        () if size == 0.0 || size >= 100.0 => 0,
        () if size >= 10.0 => 1,
        () if size >= 1.0 => 2,
        () => 3,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 100.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
    }

    #[test]
    fn the_95th_percentile_is_a_value_that_was_measured() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).rev().collect();
        assert_eq!(p95(&hundred), Some(95.0));
        assert_eq!(p95(&[7.0]), Some(7.0));
        assert_eq!(p95(&[1.0, 2.0, 3.0, 4.0, 5.0]), Some(5.0));
        assert_eq!(p95(&[]), None);
    }

    #[test]
    fn jain_tells_equal_from_greedy() {
        assert_eq!(jain(&[5.0, 5.0]), Some(1.0));
        assert_eq!(jain(&[1.0, 0.0, 0.0, 0.0]), Some(0.25));
        assert_eq!(jain(&[0.0, 0.0]), None);
        assert_eq!(jain(&[]), None);
    }

    #[test]
    fn a_target_is_held_at_its_bound() {
        assert_eq!(Target::AtLeast(1.0).is_held_by(1.0), Some(true));
        assert_eq!(Target::AtLeast(1.0).is_held_by(0.99), Some(false));
        assert_eq!(Target::AtMost(0.03).is_held_by(0.03), Some(true));
        assert_eq!(Target::AtMost(0.03).is_held_by(0.031), Some(false));
        assert_eq!(Target::Told.is_held_by(0.0), None);
        // Nothing measured holds nothing.
        assert_eq!(Target::AtMost(0.03).is_held_by(f64::NAN), Some(false));
    }

    #[test]
    fn figures_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.03, "0.03"),
            (0.0312, "0.031"),
            (1.0, "1"),
            (1.156, "1.16"),
            (15.94, "15.9"),
            (234.4, "234"),
            (1200.0, "1200"),
        ] {
            assert_eq!(short(value), text);
        }
    }
}
