//! Where the last tokens occurred before: an index over a growing text, as compressors have one (LZ77's hash chains).

use crate::Token;

/// Least tokens that must agree before a continuation is worth a look.
pub(super) const MATCH_MIN: usize = 2;
/// Tokens beyond which agreement counts no more.
pub(super) const MATCH_MAX: usize = 16;
/// Between texts; no token of a vocabulary, and equal to nothing.
const BORDER: Token = Token::MAX;
/// Earlier places that are compared for one search, newest first.
const CHAIN_MAX: usize = 32;
const NOWHERE: u32 = 0;
const HEADS_MIN: usize = 256;

/// A place in the text whose last tokens agree with those that were searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Index of the token that followed.
    pub(super) next: usize,
    /// Tokens before it that agree, up to [`MATCH_MAX`].
    pub(super) matched: usize,
}

/// A text and its index. Adding a token costs a constant, amortised; 12 to 16 bytes a token.
#[derive(Debug, Clone)]
pub(super) struct Suffixes {
    text: Vec<Token>,
    /// For each hash of two tokens the end of their newest occurrence.
    heads: Vec<u32>,
    /// For each end the end of the occurrence before, of anything with the same hash.
    earlier: Vec<u32>,
    text_max: usize,
}

impl Suffixes {
    /// Remembers at least half of the last `text_max` tokens, and at most all of them.
    pub(super) fn new(text_max: usize) -> Self {
        Self {
            text: Vec::new(),
            heads: vec![NOWHERE; HEADS_MIN],
            earlier: vec![NOWHERE],
            text_max: text_max.clamp(2 * MATCH_MAX, 1 << 24),
        }
    }

    pub(super) fn text(&self) -> &[Token] {
        &self.text
    }

    pub(super) fn extend(&mut self, tokens: &[Token]) {
        for token in tokens {
            self.push(*token);
        }
    }

    /// What follows belongs to another text.
    pub(super) fn end_text(&mut self) {
        self.push(BORDER);
    }

    pub(super) fn push(&mut self, token: Token) {
        if self.text.len() >= self.text_max {
            self.text.drain(..self.text_max / 2);
            self.index_anew(self.heads.len());
        }
        self.text.push(token);
        if self.text.len() > self.heads.len() {
            self.index_anew(self.heads.len() * 2);
        } else {
            self.index_end(self.text.len());
        }
    }

    fn index_anew(&mut self, head_count: usize) {
        self.heads.clear();
        self.heads.resize(head_count, NOWHERE);
        self.earlier.clear();
        self.earlier.push(NOWHERE);
        for end in 1..=self.text.len() {
            self.index_end(end);
        }
    }

    fn index_end(&mut self, end: usize) {
        let head = self.text.get(..end).and_then(|text| self.head(text));
        let earlier = match head.and_then(|head| self.heads.get_mut(head)) {
            Some(head) => std::mem::replace(head, u32::try_from(end).unwrap_or(NOWHERE)),
            None => NOWHERE,
        };
        self.earlier.push(earlier);
    }

    /// Chain of the last two tokens of `tail`.
    fn head(&self, tail: &[Token]) -> Option<usize> {
        let [_, .., a, b] = tail else {
            let [a, b] = tail else { return None };
            return Some(self.chain(*a, *b));
        };
        Some(self.chain(*a, *b))
    }

    fn chain(&self, a: Token, b: Token) -> usize {
        let mixed = (u64::from(a) << 32 | u64::from(b)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // The number of heads is a power of two.
        usize::try_from(mixed >> 40).unwrap_or_default() & (self.heads.len() - 1)
    }

    /// The newest place before the end of the own text that agrees longest with it.
    pub(super) fn repeat(&self) -> Option<Found> {
        let newest = self.earlier.get(self.text.len())?;
        self.search(&self.text, *newest)
    }

    /// The newest place that agrees longest with the end of another text.
    pub(super) fn find(&self, tail: &[Token]) -> Option<Found> {
        let newest = self.heads.get(self.head(tail)?)?;
        self.search(tail, *newest)
    }

    fn search(&self, tail: &[Token], newest: u32) -> Option<Found> {
        let mut best: Option<Found> = None;
        let mut place = newest;
        for _ in 0..CHAIN_MAX {
            let end = usize::try_from(place).ok()?;
            if place == NOWHERE {
                break;
            }
            let matched = self.agreement(tail, end);
            if matched >= MATCH_MIN && best.is_none_or(|best| matched > best.matched) {
                best = Some(Found { next: end, matched });
            }
            if matched == MATCH_MAX {
                break;
            }
            place = self.earlier.get(end).copied().unwrap_or(NOWHERE);
        }
        best
    }

    fn agreement(&self, tail: &[Token], end: usize) -> usize {
        let before = self.text.get(..end).unwrap_or_default();
        before
            .iter()
            .rev()
            .zip(tail.iter().rev())
            .take(MATCH_MAX)
            .take_while(|(here, there)| here == there && **here != BORDER)
            .count()
    }

    /// What followed at that place, at most `most` tokens, up to the end of that text.
    pub(super) fn continuation(&self, found: Found, most: usize) -> Vec<Token> {
        let after = self.text.get(found.next..).unwrap_or_default();
        let after = after.iter().copied().take_while(|token| *token != BORDER);
        after.take(most).collect()
    }

    /// The same for a place in one's own text: where that ends, it goes on with what it has just foretold, as a repeated
    /// pattern would.
    pub(super) fn repetition(&self, found: Found, most: usize) -> Vec<Token> {
        let mut next = self.continuation(found, most);
        let distance = self.text.len().saturating_sub(found.next);
        while next.len() < most && next.len() >= distance {
            match next.get(next.len() - distance) {
                Some(token) if distance > 0 => next.push(*token),
                _ => break,
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(tokens: &[Token]) -> Suffixes {
        let mut suffixes = Suffixes::new(1 << 16);
        suffixes.extend(tokens);
        suffixes
    }

    #[test]
    fn the_longest_agreement_wins_over_a_newer_one() {
        let suffixes = of(&[1, 2, 3, 4, 50, 9, 3, 4, 60, 1, 2, 3, 4]);
        let found = suffixes.repeat().unwrap();
        assert_eq!(found, Found { next: 4, matched: 4 });
        assert_eq!(suffixes.repetition(found, 3), [50, 9, 3]);
    }

    #[test]
    fn of_equal_agreements_the_newest_wins() {
        let suffixes = of(&[7, 8, 1, 7, 8, 2, 7, 8]);
        let found = suffixes.repeat().unwrap();
        assert_eq!(suffixes.repetition(found, 1), [2]);
    }

    #[test]
    fn a_pattern_is_continued_beyond_the_end() {
        let suffixes = of(&[1, 2, 3, 1, 2, 3]);
        let found = suffixes.repeat().unwrap();
        assert_eq!(suffixes.repetition(found, 7), [1, 2, 3, 1, 2, 3, 1]);
    }

    #[test]
    fn nothing_agrees_across_the_border_of_two_texts() {
        let mut suffixes = of(&[1, 2]);
        suffixes.end_text();
        suffixes.extend(&[3, 4, 5]);
        assert_eq!(suffixes.find(&[2, 3]), None);
        assert_eq!(suffixes.find(&[BORDER, 3]), None);
        let found = suffixes.find(&[9, 1, 2]).unwrap();
        assert!(suffixes.continuation(found, 5).is_empty(), "the text ended there");
    }

    #[test]
    fn an_empty_or_single_text_finds_nothing() {
        assert_eq!(of(&[]).repeat(), None);
        assert_eq!(of(&[1]).repeat(), None);
        assert_eq!(of(&[1, 2, 3]).find(&[3]), None);
        assert_eq!(of(&[]).find(&[1, 2]), None);
    }

    #[test]
    fn old_tokens_give_way_when_the_text_is_full() {
        let mut suffixes = Suffixes::new(64);
        suffixes.extend(&(0..1_000).collect::<Vec<_>>());
        assert!(suffixes.text().len() <= 64 && suffixes.text().len() >= 32);
        assert_eq!(suffixes.find(&[1, 2]), None);
        let found = suffixes.find(&[990, 991]).unwrap();
        assert_eq!(suffixes.continuation(found, 2), [992, 993]);
    }

    proptest! {
        #[test]
        fn what_is_found_did_occur_and_did_go_on_so(
            text in prop::collection::vec(0_u32..4, 0..400),
            most in 0_usize..20,
        ) {
            let suffixes = of(&text);
            if let Some(found) = suffixes.repeat() {
                prop_assert!(found.next < text.len());
                prop_assert_eq!(
                    &text[found.next - found.matched..found.next],
                    &text[text.len() - found.matched..]
                );
                let distance = text.len() - found.next;
                let mut whole = text.clone();
                let next = suffixes.repetition(found, most);
                prop_assert_eq!(next.len(), most);
                for token in next {
                    prop_assert_eq!(token, whole[whole.len() - distance]);
                    whole.push(token);
                }
            } else {
                let pairs: Vec<_> = text.windows(2).collect();
                if let Some((last, before)) = pairs.split_last() {
                    prop_assert!(!before.contains(last), "a pair that occurred was not found");
                }
            }
        }

        #[test]
        fn a_short_text_is_searched_as_well_as_by_comparing_all(
            text in prop::collection::vec(0_u32..40, 2..60),
        ) {
            let naive = (MATCH_MIN..text.len())
                .map(|end| text[..end].iter().rev().zip(text.iter().rev()).take(MATCH_MAX).take_while(|(a, b)| a == b).count())
                .max()
                .filter(|matched| *matched >= MATCH_MIN);
            prop_assert_eq!(of(&text).repeat().map(|found| found.matched), naive);
        }
    }
}
