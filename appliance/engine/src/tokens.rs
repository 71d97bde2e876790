//! Prompts to tokens, so that nobody's text can become a control token.
//!
//! Only scaffold, which comes from the template, may hold names of special tokens that count. It is cut at them here;
//! what stands between two of them, scaffold and text alike, is tokenised as one run without specials. So a prompt
//! whose texts hold no names of specials gives exactly the tokens of plain tokenisation of the whole, which is what
//! the model was trained on, and a text that does hold some gives ordinary tokens that spell them.
//!
//! llama.cpp's own switch is not enough: with it off, user-defined specials (`<think>`, `<tool_call>`) are still taken
//! from any text. Their names are therefore broken inside a run, after the first character, before llama.cpp sees it.

use std::collections::HashSet;
use std::sync::Arc;

use jingui_ipc::engine::Segment;
use jingui_llama::{Model, Special, Token, TokenizeError};

/// Why a prompt has no tokens.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PromptError {
    /// The tokenizer failed.
    #[error("the tokenizer failed")]
    Tokenizer(#[from] TokenizeError),
    /// A text became a special token in spite of everything; a defect, and refused rather than passed on.
    #[error("a text became a special token")]
    Forged,
    /// So many bytes that they cannot fit, whatever they say.
    #[error("the prompt has {at_least} tokens or more")]
    TooLong {
        /// Tokens if each were the longest of the vocabulary.
        at_least: u32,
    },
}

/// Tokenises prompts for one model. Shared between threads by cloning.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    model: Arc<Model>,
    facts: Arc<Facts>,
}

#[derive(Debug)]
struct Facts {
    /// Names that llama.cpp takes from plain text, longest first.
    forgeable: Vec<Special>,
    /// All tokens that text must not become.
    special_ids: HashSet<u32>,
    /// First bytes of special names, to look at few places only.
    first_bytes: HashSet<u8>,
    longest_piece_bytes: usize,
}

impl Tokenizer {
    /// Reads the vocabulary once; takes some milliseconds for a large one.
    #[must_use]
    pub fn new(model: Arc<Model>) -> Self {
        let specials = model.specials();
        // A name of one character cannot be broken; such tokens are white space in other families' vocabularies.
        let named = || {
            specials
                .iter()
                .filter(|special| special.name.chars().nth(1).is_some())
        };
        let facts = Facts {
            forgeable: named().filter(|special| !special.is_control).cloned().collect(),
            special_ids: named().map(|special| special.token.id()).collect(),
            first_bytes: specials
                .iter()
                .filter_map(|special| special.name.bytes().next())
                .collect(),
            longest_piece_bytes: longest_piece_bytes(&model),
        };
        Self {
            model,
            facts: Arc::new(facts),
        }
    }

    /// The model it speaks for.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Tokens of a prompt, of which at most `tokens_max` are of use to the caller: a prompt that is longer by its mere
    /// bytes is not tokenised at all.
    ///
    /// # Errors
    /// Every [`PromptError`].
    pub fn prompt(&self, prompt: &[Segment], tokens_max: u32) -> Result<Vec<Token>, PromptError> {
        self.refuse_by_bytes(prompt, tokens_max)?;
        let mut tokens: Vec<Token> = self.model.begin().into_iter().collect();
        let mut run = String::new();
        for segment in prompt {
            match segment {
                Segment::Text(text) => run.push_str(text),
                Segment::Scaffold(text) => self.scaffold(text, &mut run, &mut tokens)?,
            }
        }
        self.end_run(&mut run, &mut tokens)?;
        Ok(tokens)
    }

    fn refuse_by_bytes(&self, prompt: &[Segment], tokens_max: u32) -> Result<(), PromptError> {
        let bytes = prompt.iter().fold(0usize, |sum, segment| {
            let (Segment::Scaffold(text) | Segment::Text(text)) = segment;
            sum.saturating_add(text.len())
        });
        let at_least = u32::try_from(bytes.div_ceil(self.facts.longest_piece_bytes)).unwrap_or(u32::MAX);
        if at_least > tokens_max {
            Err(PromptError::TooLong { at_least })
        } else {
            Ok(())
        }
    }

    /// Cuts scaffold at special names; each of them ends the run before it.
    fn scaffold(&self, text: &str, run: &mut String, tokens: &mut Vec<Token>) -> Result<(), PromptError> {
        let mut rest = text;
        while let Some((place, special)) = self.first_special(rest) {
            let (before, from) = rest.split_at(place);
            run.push_str(before);
            self.end_run(run, tokens)?;
            tokens.push(special.token);
            rest = from.strip_prefix(special.name.as_str()).unwrap_or_default();
        }
        run.push_str(rest);
        Ok(())
    }

    /// The leftmost special name in `text`, the longest one if several begin there.
    fn first_special<'a>(&'a self, text: &str) -> Option<(usize, &'a Special)> {
        self.first_of(self.model.specials(), text)
    }

    fn first_of<'a>(&self, specials: &'a [Special], text: &str) -> Option<(usize, &'a Special)> {
        let places = text.char_indices().filter(|(place, _)| {
            text.as_bytes()
                .get(*place)
                .is_some_and(|byte| self.facts.first_bytes.contains(byte))
        });
        for (place, _) in places {
            let from = text.get(place..).unwrap_or_default();
            if let Some(special) = specials
                .iter()
                .find(|special| from.starts_with(special.name.as_str()))
            {
                return Some((place, special));
            }
        }
        None
    }

    fn end_run(&self, run: &mut String, tokens: &mut Vec<Token>) -> Result<(), PromptError> {
        let mut rest = run.as_str();
        while let Some((place, special)) = self.first_of(&self.facts.forgeable, rest) {
            let first = special.name.chars().next().map_or(1, char::len_utf8);
            let (before, from) = rest.split_at(place + first);
            self.plain(before, tokens)?;
            rest = from;
        }
        self.plain(rest, tokens)?;
        run.clear();
        Ok(())
    }

    fn plain(&self, text: &str, tokens: &mut Vec<Token>) -> Result<(), PromptError> {
        let made = self.model.tokenize(text, false)?;
        if made
            .iter()
            .any(|token| self.facts.special_ids.contains(&token.id()))
        {
            return Err(PromptError::Forged);
        }
        tokens.extend(made);
        Ok(())
    }
}

fn longest_piece_bytes(model: &Model) -> usize {
    let ids = 0..model.vocab_size();
    ids.filter_map(|id| model.token(id))
        .map(|token| model.piece(token).len())
        .max()
        .unwrap_or(1)
        .max(1)
}
