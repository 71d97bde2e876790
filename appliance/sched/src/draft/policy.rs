//! How many guesses pay: from what became of earlier ones, and from what rows cost.
//!
//! **How often a guess is right** is counted by how many tokens before it agreed with the place it was taken from. It is
//! counted for every token that is made, also when nothing was guessed, since the index could have been asked; so the
//! policy needs no trials to find out that guessing pays again.
//!
//! **What pays** is the number of guesses with which the step makes most tokens per time, all streams of the step
//! counted. In a wide step each row costs nearly its full price and the answer is none.
//!
//! **What it may cost** is bounded whatever the counts say: each stream has a credit in tokens. Guessing takes from it
//! what the guesses delayed and adds what was right; each token made adds a hundredth. Below zero nothing is guessed.
//! So a stream that never repeats itself loses [`CREDIT_AT_START`] and [`OVERDRAFT_MAX`] tokens' worth of time once, and
//! one in a hundred from then on.

use super::suffixes::MATCH_MAX;
use crate::{Micros, real, real_us};

/// Most guesses of one stream in one step.
pub const DRAFT_MAX: usize = 32;
/// Streams in one step from which on nothing is guessed.
pub const WIDTH_MAX: usize = 8;
/// Tokens' worth of time that a new stream may lose by guessing.
pub(super) const CREDIT_AT_START: f64 = 3.0;
/// By so much one step may overdraw the credit.
pub(super) const OVERDRAFT_MAX: f64 = 3.0;
/// What each token adds to the credit.
const CREDIT_PER_TOKEN: f64 = 0.01;
/// More credit than that does not help: text that stops repeating is noticed soon.
const CREDIT_MAX: f64 = 16.0;
/// Least gain in tokens per time for which guesses are made; the costs are estimates.
const GAIN_MIN: f64 = 1.03;
/// What a count weighs after each further one of its kind.
const FORGETTING: f64 = 0.96;

/// Upper ends of the kinds of agreement, and how often a guess is right before anything was counted.
const KINDS: [(usize, f64); 7] = [
    (2, 0.25),
    (3, 0.4),
    (4, 0.55),
    (6, 0.7),
    (9, 0.8),
    (MATCH_MAX - 1, 0.9),
    (usize::MAX, 0.95),
];
/// What the assumption before counting weighs.
const PRIOR_WEIGHT: f64 = 3.0;

/// How often the guess behind a single wrong one is right before anything was counted.
const RESUMED_PRIOR: f64 = 0.6;

/// How often guesses were right, by kind of agreement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Habits {
    kinds: [Habit; KINDS.len()],
    resumed: Habit,
}

/// What speaks for a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evidence {
    /// So many tokens before it agree.
    Agrees(usize),
    /// So many tokens agreed, then one did not, and the guess goes on behind it: a word was exchanged.
    Resumes(usize),
}

impl Evidence {
    const fn matched(self) -> usize {
        match self {
            Self::Agrees(matched) | Self::Resumes(matched) => matched,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Habit {
    right: f64,
    wrong: f64,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            kinds: KINDS.map(|(_, right)| Habit::assumed(right)),
            resumed: Habit::assumed(RESUMED_PRIOR),
        }
    }
}

impl Habit {
    fn assumed(right: f64) -> Self {
        Self {
            right: right * PRIOR_WEIGHT,
            wrong: (1.0 - right) * PRIOR_WEIGHT,
        }
    }

    fn right_share(self) -> f64 {
        self.right / (self.right + self.wrong)
    }

    fn count(&mut self, was_right: bool) {
        self.right = self.right * FORGETTING + f64::from(u8::from(was_right));
        self.wrong = self.wrong * FORGETTING + f64::from(u8::from(!was_right));
    }

    fn fade(&mut self, right: f64) {
        let assumed = Self::assumed(right);
        self.right = self.right.midpoint(assumed.right);
        self.wrong = self.wrong.midpoint(assumed.wrong);
    }
}

impl Habits {
    fn kind(matched: usize) -> usize {
        KINDS
            .iter()
            .position(|(most, _)| matched <= *most)
            .unwrap_or(KINDS.len() - 1)
    }

    fn right_share(&self, evidence: Evidence) -> f64 {
        match evidence {
            Evidence::Resumes(_) => self.resumed.right_share(),
            Evidence::Agrees(matched) => {
                let habit = self.kinds.get(Self::kind(matched));
                habit.map_or(0.0, |habit| habit.right_share())
            }
        }
    }

    /// One guess with this evidence was right or wrong.
    pub(super) fn count(&mut self, evidence: Evidence, was_right: bool) {
        match evidence {
            Evidence::Resumes(_) => self.resumed.count(was_right),
            Evidence::Agrees(matched) => {
                if let Some(habit) = self.kinds.get_mut(Self::kind(matched)) {
                    habit.count(was_right);
                }
            }
        }
    }

    /// These, with half their weight: where a new stream of the same tenant begins.
    pub(super) fn faded(mut self) -> Self {
        for (habit, (_, prior)) in self.kinds.iter_mut().zip(KINDS) {
            habit.fade(prior);
        }
        self.resumed.fade(RESUMED_PRIOR);
        self
    }
}

/// What a step costs without and with guesses.
pub(super) struct Prices<'a> {
    /// Streams that make a token in it.
    pub(super) width: usize,
    /// Without guesses.
    pub(super) plain: Micros,
    /// What so many guesses add.
    pub(super) added: &'a dyn Fn(usize) -> Micros,
}

impl Prices<'_> {
    /// The delay by so many guesses, in tokens that would have been made meanwhile.
    pub(super) fn in_tokens(&self, guesses: usize) -> f64 {
        let added = real_us((self.added)(guesses));
        added * real(self.width.max(1)) / real_us(self.plain.max(1))
    }
}

/// The policy of one stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    pub(super) habits: Habits,
    pub(super) credit: f64,
}

impl Policy {
    pub(super) const fn new(habits: Habits, credit: f64) -> Self {
        Self { habits, credit }
    }

    /// How many of at most `most` guesses pay, of which the first has this evidence.
    pub(super) fn length(&self, evidence: Evidence, most: usize, prices: &Prices<'_>) -> usize {
        if prices.width > WIDTH_MAX || self.credit <= 0.0 {
            return 0;
        }
        let mut best = (0, GAIN_MIN);
        let mut all_right = 1.0;
        let mut gained = 0.0;
        let width = real(prices.width.max(1));
        for count in 1..=most.min(DRAFT_MAX) {
            let evidence = match count {
                1 => evidence,
                _ => Evidence::Agrees(evidence.matched() + count - 1),
            };
            all_right *= self.habits.right_share(evidence);
            gained += all_right;
            let delay = prices.in_tokens(count);
            if delay > self.credit + OVERDRAFT_MAX {
                break;
            }
            // Tokens per time with them, over tokens per time without.
            let gain = (width + gained) / (width + delay);
            if gain > best.1 {
                best = (count, gain);
            }
        }
        best.0
    }

    /// What became of guesses that delayed the step by so many tokens' worth.
    pub(super) fn settle(&mut self, delay: f64, accepted: usize) {
        self.credit = (self.credit + real(accepted) - delay).min(CREDIT_MAX);
    }

    /// So many tokens were made.
    pub(super) fn earn(&mut self, tokens: usize) {
        self.credit = (self.credit + CREDIT_PER_TOKEN * real(tokens)).min(CREDIT_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices(width: usize, plain: Micros, row: &dyn Fn(usize) -> Micros) -> Prices<'_> {
        Prices {
            width,
            plain,
            added: row,
        }
    }

    fn sure() -> Policy {
        let mut policy = Policy::new(Habits::default(), CREDIT_MAX);
        for _ in 0..200 {
            for (most, _) in KINDS {
                policy.habits.count(Evidence::Agrees(most), true);
            }
        }
        policy
    }

    #[test]
    fn sure_guesses_at_low_prices_are_made_at_full_length() {
        let added = |guesses: usize| 100 * guesses as Micros;
        assert_eq!(
            sure().length(Evidence::Agrees(16), 64, &prices(1, 10_000, &added)),
            DRAFT_MAX
        );
        assert_eq!(
            sure().length(Evidence::Agrees(16), 5, &prices(1, 10_000, &added)),
            5
        );
    }

    #[test]
    fn guesses_that_cost_what_tokens_cost_are_not_made() {
        let added = |guesses: usize| 10_000 * guesses as Micros;
        assert_eq!(
            sure().length(Evidence::Agrees(16), 32, &prices(1, 10_000, &added)),
            0
        );
    }

    #[test]
    fn in_a_wide_step_nothing_is_guessed() {
        let added = |guesses: usize| 100 * guesses as Micros;
        assert!(sure().length(Evidence::Agrees(16), 32, &prices(WIDTH_MAX, 10_000, &added)) > 0);
        assert_eq!(
            sure().length(Evidence::Agrees(16), 32, &prices(WIDTH_MAX + 1, 10_000, &added)),
            0
        );
    }

    #[test]
    fn guesses_that_were_wrong_are_not_made_again() {
        let added = |guesses: usize| 3_000 * guesses as Micros;
        let mut policy = Policy::new(Habits::default(), CREDIT_MAX);
        assert!(policy.length(Evidence::Agrees(12), 32, &prices(1, 10_000, &added)) > 0);
        for _ in 0..20 {
            policy.habits.count(Evidence::Agrees(12), false);
        }
        assert_eq!(
            policy.length(Evidence::Agrees(12), 32, &prices(1, 10_000, &added)),
            0
        );
    }

    #[test]
    fn a_step_overdraws_the_credit_by_no_more_than_its_limit() {
        let added = |guesses: usize| 6_000 * guesses as Micros;
        let mut policy = sure();
        for credit in [0.1, 1.0, CREDIT_AT_START, CREDIT_MAX] {
            policy.credit = credit;
            let prices = prices(1, 10_000, &added);
            let guesses = policy.length(Evidence::Agrees(16), 32, &prices);
            assert!(guesses > 0);
            assert!(prices.in_tokens(guesses) <= credit + OVERDRAFT_MAX);
        }
        policy.credit = 0.0;
        assert_eq!(
            policy.length(Evidence::Agrees(16), 32, &prices(1, 10_000, &added)),
            0
        );
    }

    #[test]
    fn habits_fade_towards_what_is_assumed() {
        let mut habits = sure().habits;
        for _ in 0..60 {
            habits = habits.faded();
        }
        for (most, prior) in KINDS {
            assert!((habits.right_share(Evidence::Agrees(most)) - prior).abs() < 1e-6);
        }
    }
}
