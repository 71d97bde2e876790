//! The vocabulary as bytes, in a tree.

use std::sync::Arc;

use jingui_llama::Model;
use toktrie::{TokRxInfo, TokTrie, TokenId, TokenizerEnv};

use super::{ConstraintError, EndTokens, clear, set};

/// Texts that must come back from the tokenizer as they are for its tokens to be forced.
const PROBES: &[&str] = &["{\"a\": 1}", " b", "x", "\n\n"];

/// What llguidance asks of a tokenizer, and sets of tokens.
pub(super) struct Vocabulary {
    trie: TokTrie,
    ends: EndTokens,
    /// Tokens that are text: all but control tokens.
    ordinary: Vec<u32>,
    model: Option<Arc<Model>>,
    /// Whether the model's tokenizer gives back the bytes it was given.
    is_canonical: bool,
}

impl Vocabulary {
    pub(super) fn of_model(model: Arc<Model>) -> Result<Self, ConstraintError> {
        let controls: Vec<u32> = model
            .specials()
            .iter()
            .filter(|special| special.is_control)
            .map(|special| special.token.id())
            .collect();
        let words: Vec<Vec<u8>> = (0..model.vocab_size())
            .map(|id| match model.token(id) {
                Some(token) if !controls.contains(&id) && !model.is_end(token) => model.piece(token),
                _ => Vec::new(),
            })
            .collect();
        let ends = EndTokens::of(&model);
        let mut vocabulary = Self::new(words, ends)?;
        vocabulary.is_canonical = PROBES.iter().all(|text| {
            model.tokenize(text, false).is_ok_and(|tokens| {
                let bytes: Vec<u8> = tokens.iter().flat_map(|token| model.piece(*token)).collect();
                bytes == text.as_bytes()
            })
        });
        vocabulary.model = Some(model);
        Ok(vocabulary)
    }

    /// A vocabulary of these words, without a tokenizer of its own; empty words are no text.
    pub(super) fn new(mut words: Vec<Vec<u8>>, ends: EndTokens) -> Result<Self, ConstraintError> {
        let first_end = *ends.ids().first().ok_or(ConstraintError::Invalid)?;
        let count = u32::try_from(words.len()).map_err(|_| ConstraintError::TooComplex)?;
        let mut ordinary = vec![0; words.len().div_ceil(32)];
        for (id, word) in (0..count).zip(&mut words) {
            // The marker of specials in llguidance's trees; no UTF-8 text has this byte.
            if word.contains(&TokTrie::SPECIAL_TOKEN_MARKER) || ends.contains(id) {
                word.clear();
            }
            if !word.is_empty() {
                set(&mut ordinary, id);
            }
        }
        // llguidance looks for specials in an error message of its own, and panics without one. This one is banned by
        // `ordinary` like every end token.
        if let Some(word) = usize::try_from(first_end).ok().and_then(|id| words.get_mut(id)) {
            *word = b"\xff<end>".to_vec();
        }
        Ok(Self {
            trie: TokTrie::from(&TokRxInfo::new(count, first_end), &words),
            ends,
            ordinary,
            model: None,
            is_canonical: false,
        })
    }

    pub(super) fn ends(&self) -> &EndTokens {
        &self.ends
    }

    pub(super) fn no_token(&self) -> Vec<u32> {
        vec![0; self.ordinary.len()]
    }

    /// The text tokens of a set.
    pub(super) fn ordinary_of(&self, words: &[u32]) -> Vec<u32> {
        self.ordinary
            .iter()
            .zip(words)
            .map(|(ordinary, word)| ordinary & word)
            .collect()
    }

    pub(super) fn bytes_of(&self, id: u32) -> &[u8] {
        if usize::try_from(id).is_ok_and(|id| id < self.trie.vocab_size()) {
            self.trie.token(id)
        } else {
            &[]
        }
    }

    pub(super) fn token_of(&self, bytes: &[u8]) -> Option<u32> {
        self.trie.token_id_at_bytes(bytes)
    }

    /// Text tokens but those that hold `name` before their end.
    pub(super) fn without_name_inside(&self, name: &[u8]) -> Vec<u32> {
        let mut words = self.ordinary.clone();
        let count = u32::try_from(self.trie.vocab_size()).unwrap_or(0);
        for id in 0..count {
            let bytes = self.bytes_of(id);
            let before_the_end = bytes.split_last().map_or(&[] as &[u8], |(_, before)| before);
            if before_the_end.len() >= name.len()
                && before_the_end.windows(name.len()).any(|window| window == name)
            {
                clear(&mut words, id);
            }
        }
        words
    }

    /// Each token that begins with `bytes` and goes on.
    pub(super) fn each_longer_than(&self, bytes: &[u8], mut act: impl FnMut(u32)) {
        let mut open: Vec<_> = match self.trie.child_at_bytes(self.trie.root(), bytes) {
            Some(node) => self.trie.node_children(node).collect(),
            None => return,
        };
        while let Some(node) = open.pop() {
            if let Some(id) = node.token_id() {
                act(id);
            }
            open.extend(self.trie.node_children(node));
        }
    }
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        let of_model = |text: &str| {
            let model = self.model.as_ref()?;
            let tokens = model.tokenize(text, false).ok()?;
            Some(tokens.iter().map(|token| token.id()).collect())
        };
        self.trie.tokenize_with_greedy_fallback(bytes, |text| {
            of_model(text).unwrap_or_else(|| self.trie.greedy_tokenize(text.as_bytes()))
        })
    }

    fn tokenize_is_canonical(&self) -> bool {
        self.is_canonical
    }
}
