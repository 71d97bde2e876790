//! Prompts of a known length: words that the tokenizer keeps apart, drawn from a seed.

use std::path::Path;

use anyhow::{Context, ensure};
use serde::Deserialize;

/// What `scripts/models/bench_model.py --describe` says about a model.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Words {
    /// Tokens of the vocabulary.
    pub(crate) vocabulary: u32,
    /// Tokens with a meaning of their own; no answer of a benchmark should hold one, since it would end or hide it.
    pub(crate) special: Vec<u32>,
    /// Tokens of nothing but spaces and line breaks.
    blank: Vec<u32>,
    /// Words that are one token after a space, or nearly so.
    words: Vec<String>,
    /// The text that a chain model recites; empty for others.
    pub(crate) chain: String,
}

impl Words {
    /// Reads `MODEL.json` beside a model.
    pub(crate) fn of(model: &Path) -> anyhow::Result<Self> {
        let mut path = model.as_os_str().to_owned();
        path.push(".json");
        let path = Path::new(&path);
        let text = std::fs::read_to_string(path).with_context(|| format!("{} is missing", path.display()))?;
        let words: Self = serde_json::from_str(&text)?;
        ensure!(!words.words.is_empty(), "{} names no words", path.display());
        Ok(words)
    }

    /// Tokens that an answer in JSON should not hold: between its parts a random model would write spaces for ever.
    pub(crate) fn special_and_blank(&self) -> Vec<u32> {
        [self.special.as_slice(), &self.blank].concat()
    }

    /// So many words in a row, drawn by `dice`.
    pub(crate) fn draw(&self, count: usize, dice: &mut Dice) -> String {
        let mut text = String::new();
        for at in 0..count {
            if at > 0 {
                text.push(' ');
            }
            if let Some(word) = self.words.get(dice.below(self.words.len())) {
                text.push_str(word);
            }
        }
        text
    }
}

/// Reproducible random numbers (SplitMix64): both sides are asked the same.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// From a seed and what it is for, so that two uses of one seed differ.
    pub(crate) fn new(seed: u64, purpose: &str) -> Self {
        let mut dice = Self(seed);
        for byte in purpose.bytes() {
            dice.0 ^= u64::from(byte);
            dice.next();
        }
        dice
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to, not including, `bound`; 0 for a bound of 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }

    /// Puts values into a random order.
    pub(crate) fn shuffle<T>(&mut self, values: &mut [T]) {
        for end in (1..values.len()).rev() {
            values.swap(end, self.below(end + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_purpose_give_the_same_text() {
        let words = Words {
            vocabulary: 4,
            special: vec![9],
            blank: vec![7],
            words: ["amber", "anchor", "badge"].map(str::to_owned).to_vec(),
            chain: String::new(),
        };
        let draw = |seed, purpose| words.draw(50, &mut Dice::new(seed, purpose));
        assert_eq!(draw(1, "prefill"), draw(1, "prefill"));
        assert_ne!(draw(1, "prefill"), draw(2, "prefill"));
        assert_ne!(draw(1, "prefill"), draw(1, "decode"));
        assert_eq!(draw(1, "prefill").split(' ').count(), 50);
        assert_eq!(words.special_and_blank(), [9, 7]);
    }

    #[test]
    fn a_shuffle_keeps_all_values() {
        let mut values: Vec<u32> = (0..72).collect();
        Dice::new(3, "order").shuffle(&mut values);
        assert!(values.windows(2).any(|pair| pair[0] > pair[1]));
        values.sort_unstable();
        assert_eq!(values, (0..72).collect::<Vec<u32>>());
    }
}
