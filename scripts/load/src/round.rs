//! What the scenarios of one repeat share: sizes, words, seeds.

use serde::Serialize;
use serde_json::{Value, json};

use crate::ask::Ask;
use crate::client::Client;
use crate::text::{Dice, Words};

/// How large the work is.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Sizes {
    /// Tokens of a long prompt.
    pub(crate) long: usize,
    /// Tokens of a document that several ask about.
    pub(crate) document: usize,
    /// Tokens of a shared system prompt.
    pub(crate) system: usize,
    /// Chats in the test of many chats.
    pub(crate) chats: usize,
    /// Tokens of an answer where the speed of decoding counts.
    pub(crate) answer: u32,
    /// Seconds of the fairness test.
    pub(crate) window_seconds: u64,
}

impl Sizes {
    /// As promised.
    pub(crate) const FULL: Self = Self {
        long: 4096,
        document: 2048,
        system: 1024,
        chats: 24,
        answer: 128,
        window_seconds: 10,
    };
    /// To see whether everything runs.
    pub(crate) const QUICK: Self = Self {
        long: 1024,
        document: 512,
        system: 256,
        chats: 9,
        answer: 48,
        window_seconds: 3,
    };
}

/// One repeat on one model.
pub(crate) struct Round<'a> {
    /// Sizes.
    pub(crate) sizes: Sizes,
    /// Which repeat.
    pub(crate) repeat: u64,
    /// Words of the model.
    pub(crate) words: &'a Words,
    /// Tokens that a word takes in a long text.
    pub(crate) tokens_per_word: f64,
    /// Seconds that a long prompt takes alone, roughly: the pace of arrivals, the same for all sides.
    pub(crate) long_seconds: f64,
}

impl Round<'_> {
    /// Random numbers for a purpose: equal on all sides, different in each repeat.
    pub(crate) fn dice(&self, purpose: &str) -> Dice {
        Dice::new(self.repeat, purpose)
    }

    /// Text of about so many tokens.
    pub(crate) fn text(&self, tokens: usize, dice: &mut Dice) -> String {
        self.words.draw(words_for(tokens, self.tokens_per_word), dice)
    }

    /// A greedy, cold question of about so many tokens whose answer has exactly as many tokens as asked for.
    pub(crate) fn ask(&self, tokens: usize, answer: u32, dice: &mut Dice) -> Ask {
        Ask::new(self.text(tokens, dice), answer).without(&self.words.special)
    }
}

/// Tokens that one word takes, by the peer's tokenizer, which is the model's own.
pub(crate) async fn tokens_per_word(peer: &Client, words: &Words) -> anyhow::Result<f64> {
    const SAMPLE: usize = 500;
    let text = words.draw(SAMPLE, &mut Dice::new(0, "calibration"));
    let reply = peer.post("/tokenize", &json!({"content": text})).await?;
    let count = reply.get("tokens").and_then(Value::as_array).map_or(0, Vec::len);
    anyhow::ensure!(count > 0, "the peer tokenises nothing");
    Ok(f64::from(u32::try_from(count)?) / f64::from(u32::try_from(SAMPLE)?))
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a count of words near a count of tokens"
)]
fn words_for(tokens: usize, tokens_per_word: f64) -> usize {
    ((tokens as f64 / tokens_per_word).round() as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_by_their_tokens() {
        assert_eq!(words_for(2048, 2.0), 1024);
        assert_eq!(words_for(20, 1.9), 11);
        assert_eq!(words_for(1, 4.0), 1);
    }
}
