//! What an answer must look like, as the set of tokens that may come next.
//!
//! [`Constraints`] holds the vocabulary as a tree, once per model; [`Constraints::compile`] makes a [`Matcher`] of one
//! request's constraint by llguidance, whose authors wrote it for untrusted grammars. The matcher is told each chosen
//! token and says which ones may follow, so an answer that ends by itself is inside the language.
//!
//! Grammars come from clients and are hostile until they are compiled: bytes, nesting, size, states and the work of
//! each step are bounded, panics inside llguidance are caught by it, and compiling has a stack of its own. Everything
//! here works on bytes: the name of a user-defined token (`<think>`) is the same to a grammar whether the model writes
//! it as that token or spells it, as it is the same to who parses the answer. Control tokens are in no language.

mod vocabulary;

use std::sync::Arc;

use jingui_ipc::engine::{Constraint, Grammar};
use jingui_llama::Model;
use llguidance::ParserFactory;
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use serde_json::{Value, json};
use toktrie::{InferenceCapabilities, TokEnv};

use crate::codes;

use vocabulary::Vocabulary;

/// Longest schema, expression or grammar, in bytes.
pub const GRAMMAR_BYTES_MAX: usize = 256 * 1024;
/// Deepest nesting of brackets in a grammar or schema.
pub const NESTING_MAX: usize = 128;
/// Most entries of one object in a schema: the time that optional properties take grows with their square.
pub const SCHEMA_ENTRY_COUNT_MAX: usize = 1_000;
/// Most values in a schema, its strings and numbers counted.
pub const SCHEMA_VALUE_COUNT_MAX: usize = 20_000;
/// Longest name that ends or begins free text, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Most white space between two parts of a JSON text, in bytes. Without a bound a model can indent for ever.
pub const JSON_SPACE_BYTES_MAX: usize = 64;
/// Stack of the thread that compiles: llguidance follows rules and brackets by recursion.
const COMPILE_STACK_BYTES: usize = 64 * 1024 * 1024;

/// Work that one constraint may cost; llguidance counts it and gives up beyond. The speeds are its authors'.
const LIMITS: ParserLimits = ParserLimits {
    max_items_in_row: 2_000,
    // Some milliseconds for what people write. A unit costs most where expressions are negated and joined: this many
    // take up to seconds there, ten times as many take minutes.
    initial_lexer_fuel: 100_000,
    // About 15 ms for one mask.
    step_lexer_fuel: 200_000,
    step_max_items: 50_000,
    // One to two kilobytes each.
    max_lexer_states: 30_000,
    max_grammar_size: 100_000,
    precompute_large_lexemes: false,
    verbose_errors: false,
};

/// Why a constraint is not taken, or an answer cannot go on inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    /// It is no grammar, asks for what cannot be enforced, or nothing fits it.
    #[error("the constraint is malformed, unsupported or fits nothing")]
    Invalid,
    /// It is larger, deeper or costlier than the bounds of this module.
    #[error("the constraint is too complex")]
    TooComplex,
    /// A step of the answer cost more than the bounds of this module, or no token of the vocabulary fits.
    #[error("the answer cannot go on inside the constraint")]
    Stuck,
    /// Tokens of an earlier engine do not fit it.
    #[error("the tokens do not fit the constraint")]
    Unfit,
}

impl ConstraintError {
    /// Stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Invalid => codes::CONSTRAINT_INVALID,
            Self::TooComplex => codes::CONSTRAINT_TOO_COMPLEX,
            Self::Stuck => codes::CONSTRAINT_STUCK,
            Self::Unfit => codes::CONSTRAINT_UNFIT,
        }
    }
}

/// The tokens with which a model ends its turn.
#[derive(Debug, Clone)]
pub struct EndTokens(Arc<[u32]>);

impl EndTokens {
    /// Those of a model.
    #[must_use]
    pub fn of(model: &Model) -> Self {
        let ids = 0..model.vocab_size();
        Self::new(ids.filter(|id| model.token(*id).is_some_and(|token| model.is_end(token))))
    }

    /// Those with these ids.
    #[must_use]
    pub fn new(ids: impl IntoIterator<Item = u32>) -> Self {
        let mut ids: Vec<u32> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        Self(ids.into())
    }

    /// Whether `id` is one.
    #[must_use]
    pub fn contains(&self, id: u32) -> bool {
        self.0.binary_search(&id).is_ok()
    }

    fn ids(&self) -> &[u32] {
        &self.0
    }
}

/// Compiles constraints for one model.
pub struct Constraints {
    factory: ParserFactory,
    vocabulary: Arc<Vocabulary>,
}

impl std::fmt::Debug for Constraints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Constraints").finish_non_exhaustive()
    }
}

impl Constraints {
    /// Reads the vocabulary; takes about a second for a large one.
    ///
    /// # Errors
    /// [`ConstraintError::Invalid`] for a vocabulary without an end token, with which no answer could end.
    pub fn new(model: Arc<Model>) -> Result<Self, ConstraintError> {
        Self::of(Vocabulary::of_model(model)?)
    }

    fn of(vocabulary: Vocabulary) -> Result<Self, ConstraintError> {
        let vocabulary = Arc::new(vocabulary);
        let environment: TokEnv = vocabulary.clone();
        let mut factory = ParserFactory::new(
            &environment,
            InferenceCapabilities::default(),
            &SlicedBiasComputer::general_slices(),
        )
        .map_err(|_| ConstraintError::Invalid)?;
        factory.quiet();
        *factory.limits_mut() = LIMITS;
        Ok(Self { factory, vocabulary })
    }

    /// The tokens with which the model ends its turn.
    #[must_use]
    pub fn ends(&self) -> &EndTokens {
        self.vocabulary.ends()
    }

    /// A matcher at the beginning of an answer. Bounded in time and memory whatever the constraint says.
    ///
    /// # Errors
    /// [`ConstraintError::Invalid`], [`ConstraintError::TooComplex`].
    pub fn compile(&self, constraint: &Constraint) -> Result<Matcher, ConstraintError> {
        let grammar = grammar(&constraint.grammar)?;
        let names = [&constraint.opened_by, &constraint.after];
        if names
            .into_iter()
            .flatten()
            .any(|name| name.is_empty() || name.len() > NAME_BYTES_MAX)
            || (constraint.opened_by.is_some() && constraint.after.is_none())
        {
            return Err(ConstraintError::Invalid);
        }
        let mut parser = self.on_a_deep_stack(move |factory| {
            let mut parser = llguidance::Matcher::new(factory.create_parser(grammar));
            match parser.get_error() {
                Some(error) => Err(of_message(&error)),
                None => {
                    // The first mask costs most, and shows whether anything fits at all.
                    parser
                        .compute_mask_or_eos()
                        .map_err(|error| of_message(&error.to_string()))?;
                    Ok(parser)
                }
            }
        })?;
        parser.invalidate_bias_cache();
        Ok(Matcher::new(parser, Arc::clone(&self.vocabulary), constraint))
    }

    fn on_a_deep_stack<T: Send>(
        &self,
        work: impl FnOnce(&ParserFactory) -> Result<T, ConstraintError> + Send,
    ) -> Result<T, ConstraintError> {
        std::thread::scope(|scope| {
            std::thread::Builder::new()
                .name("constraint".to_owned())
                .stack_size(COMPILE_STACK_BYTES)
                .spawn_scoped(scope, || work(&self.factory))
                .map_err(|_| ConstraintError::TooComplex)?
                .join()
                .unwrap_or(Err(ConstraintError::TooComplex))
        })
    }
}

fn grammar(grammar: &Grammar) -> Result<TopLevelGrammar, ConstraintError> {
    let text = match grammar {
        Grammar::JsonObject => return Ok(json_grammar(json!({"type": "object"}))),
        Grammar::JsonSchema(text) | Grammar::Regex(text) | Grammar::Lark(text) => text,
    };
    if text.len() > GRAMMAR_BYTES_MAX || nesting(text) > NESTING_MAX {
        return Err(ConstraintError::TooComplex);
    }
    match grammar {
        Grammar::JsonObject | Grammar::JsonSchema(_) => {
            let schema: Value = serde_json::from_str(text).map_err(|_| ConstraintError::Invalid)?;
            if value_count(&schema).is_none_or(|count| count > SCHEMA_VALUE_COUNT_MAX) {
                return Err(ConstraintError::TooComplex);
            }
            match schema {
                Value::Object(_) => Ok(json_grammar(schema)),
                _ => Err(ConstraintError::Invalid),
            }
        }
        Grammar::Regex(_) => Ok(TopLevelGrammar::from_regex(text)),
        // Negation takes exponential time to compile, before any limit is looked at. The sign itself can be written as
        // an escape (`\x7e`), so no grammar needs it.
        Grammar::Lark(_) if text.contains('~') => Err(ConstraintError::Invalid),
        Grammar::Lark(_) => Ok(TopLevelGrammar::from_lark(text.clone())),
    }
}

/// How many values there are; `None` when an object has too many entries. Nesting was bounded before.
fn value_count(value: &Value) -> Option<usize> {
    match value {
        Value::Object(fields) if fields.len() > SCHEMA_ENTRY_COUNT_MAX => None,
        Value::Object(fields) => fields
            .values()
            .try_fold(1, |sum, value| Some(sum + value_count(value)?)),
        Value::Array(values) => values
            .iter()
            .try_fold(1, |sum, value| Some(sum + value_count(value)?)),
        _ => Some(1),
    }
}

fn json_grammar(mut schema: Value) -> TopLevelGrammar {
    if let Some(fields) = schema.as_object_mut() {
        let space = format!("[\\x20\\x0A\\x0D\\x09]{{1,{JSON_SPACE_BYTES_MAX}}}");
        fields.insert("x-guidance".to_owned(), json!({"whitespace_pattern": space}));
    }
    TopLevelGrammar::from_json_schema(schema)
}

/// Upper bound of how deep brackets nest: those in texts and comments count too.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// llguidance has words only; those of its limits are told apart, all else is the grammar's own fault.
fn of_message(message: &str) -> ConstraintError {
    const LIMIT_WORDS: &[&str] = &[
        "too large",
        "too complex",
        "too many",
        "too big",
        "fuel",
        "limit",
        "exceeded",
        "TooComplex",
    ];
    if LIMIT_WORDS.iter().any(|word| message.contains(word)) {
        ConstraintError::TooComplex
    } else {
        ConstraintError::Invalid
    }
}

/// Where one answer stands in its language. Belongs to one stream.
pub struct Matcher {
    parser: llguidance::Matcher,
    vocabulary: Arc<Vocabulary>,
    phase: Phase,
    /// Which tokens may come next, when known: a bit for each.
    allowed: Option<Vec<u32>>,
}

impl std::fmt::Debug for Matcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Matcher")
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum Phase {
    /// At the beginning, where the answer may open its free text.
    Opening {
        /// The names by which it does.
        openings: Vec<Vec<u8>>,
        /// What was written of one of them.
        seen: Vec<u8>,
        /// How many tokens the grammar has taken meanwhile; `None` when it cannot follow.
        taken: Option<usize>,
        free: Free,
    },
    Free(Free),
    Held,
}

/// Free text up to a name.
#[derive(Debug)]
struct Free {
    name: Vec<u8>,
    /// The end of the text, as long as it may be the beginning of the name.
    tail: Vec<u8>,
    /// All tokens but those that have the name inside and more after it, and control tokens.
    allowed: Vec<u32>,
}

impl Matcher {
    fn new(parser: llguidance::Matcher, vocabulary: Arc<Vocabulary>, constraint: &Constraint) -> Self {
        let phase = match (&constraint.opened_by, &constraint.after) {
            (_, None) => Phase::Held,
            (opened_by, Some(name)) => {
                let free = Free {
                    name: name.clone().into_bytes(),
                    tail: Vec::new(),
                    allowed: vocabulary.without_name_inside(name.as_bytes()),
                };
                match opened_by {
                    None => Phase::Free(free),
                    Some(name) => Phase::Opening {
                        // Models write a newline before it when the prompt ends in a role's name.
                        openings: vec![name.clone().into_bytes(), format!("\n{name}").into_bytes()],
                        seen: Vec::new(),
                        taken: Some(0),
                        free,
                    },
                }
            }
        };
        Self {
            parser,
            vocabulary,
            phase,
            allowed: None,
        }
    }

    /// Which tokens may come next: bit `id % 32` of word `id / 32`. Computed at the first call after a token.
    ///
    /// # Errors
    /// [`ConstraintError::Stuck`].
    pub fn allowed(&mut self) -> Result<&[u32], ConstraintError> {
        if self.allowed.is_none() {
            let words = self.compute_allowed()?;
            if words.iter().all(|word| *word == 0) {
                return Err(ConstraintError::Stuck);
            }
            self.allowed = Some(words);
        }
        Ok(self.allowed.as_deref().unwrap_or_default())
    }

    fn compute_allowed(&mut self) -> Result<Vec<u32>, ConstraintError> {
        match &self.phase {
            Phase::Held => self.allowed_by_grammar(),
            Phase::Free(free) => Ok(free.allowed_now(&self.vocabulary)),
            Phase::Opening {
                openings,
                seen,
                taken,
                ..
            } => {
                let mut more = Vec::new();
                for rest in openings
                    .iter()
                    .filter_map(|opening| opening.strip_prefix(seen.as_slice()))
                {
                    more.extend(
                        (1..=rest.len()).filter_map(|length| self.vocabulary.token_of(rest.get(..length)?)),
                    );
                }
                let mut words = match taken {
                    Some(_) => self.allowed_by_grammar()?,
                    None => self.vocabulary.no_token(),
                };
                more.into_iter().for_each(|id| set(&mut words, id));
                Ok(words)
            }
        }
    }

    fn allowed_by_grammar(&mut self) -> Result<Vec<u32>, ConstraintError> {
        let mut words = if self.is_stopped()? {
            self.vocabulary.no_token()
        } else {
            let mask = self.parser.compute_mask().map_err(|_| ConstraintError::Stuck)?;
            self.vocabulary.ordinary_of(mask.as_slice())
        };
        if self.is_accepting()? {
            self.vocabulary
                .ends()
                .ids()
                .iter()
                .for_each(|id| set(&mut words, *id));
        }
        Ok(words)
    }

    fn is_stopped(&self) -> Result<bool, ConstraintError> {
        if self.parser.is_error() {
            Err(ConstraintError::Stuck)
        } else {
            Ok(self.parser.is_stopped())
        }
    }

    fn is_accepting(&mut self) -> Result<bool, ConstraintError> {
        Ok(self.is_stopped()? || self.parser.is_accepting().map_err(|_| ConstraintError::Stuck)?)
    }

    /// Whether the answer is complete and nothing may be added.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self.phase, Phase::Held) && !self.parser.is_error() && self.parser.is_stopped()
    }

    /// Goes on behind `id`, which is no end token.
    ///
    /// # Errors
    /// [`ConstraintError::Unfit`] when it is not allowed here; the matcher is of no use after it.
    pub fn take(&mut self, id: u32) -> Result<(), ConstraintError> {
        self.allowed = None;
        let bytes = self.vocabulary.bytes_of(id);
        match &mut self.phase {
            Phase::Held => self.parser.consume_token(id).map_err(|_| ConstraintError::Unfit),
            Phase::Free(free) => {
                if free.ends_with(bytes) {
                    self.phase = Phase::Held;
                }
                Ok(())
            }
            Phase::Opening { .. } => self.take_opening(id),
        }
    }

    fn take_opening(&mut self, id: u32) -> Result<(), ConstraintError> {
        let Phase::Opening {
            openings,
            mut seen,
            taken,
            free,
        } = std::mem::replace(&mut self.phase, Phase::Held)
        else {
            return Ok(());
        };
        seen.extend_from_slice(self.vocabulary.bytes_of(id));
        if openings.contains(&seen) {
            if let Some(count) = taken {
                self.parser.rollback(count).map_err(|_| ConstraintError::Stuck)?;
            }
            self.phase = Phase::Free(free);
            return Ok(());
        }
        let may_open = openings.iter().any(|opening| opening.starts_with(&seen));
        let fits = taken.is_some()
            && !self.parser.is_stopped()
            && self
                .parser
                .try_consume_tokens(&[id])
                .map_err(|_| ConstraintError::Stuck)?
                == 1;
        match (may_open, fits) {
            (false, false) => Err(ConstraintError::Unfit),
            (false, true) => Ok(()),
            (true, _) => {
                if let (Some(count), false) = (taken, fits) {
                    self.parser.rollback(count).map_err(|_| ConstraintError::Stuck)?;
                }
                self.phase = Phase::Opening {
                    openings,
                    seen,
                    taken: taken.filter(|_| fits).map(|count| count + 1),
                    free,
                };
                Ok(())
            }
        }
    }

    /// At most `max` tokens that follow without a choice.
    pub fn forced(&mut self, max: usize) -> Vec<u32> {
        if !matches!(self.phase, Phase::Held) || self.parser.is_stopped() {
            return Vec::new();
        }
        let mut tokens = self.parser.compute_ff_tokens();
        tokens.truncate(max);
        tokens
    }

    /// How many of `draft` the grammar takes from here on. Free text is not looked at: there the answer is "all".
    pub fn fitting_count(&mut self, draft: &[u32]) -> usize {
        match self.phase {
            Phase::Held => self.parser.validate_tokens(draft).unwrap_or(0),
            _ => draft.len(),
        }
    }
}

impl Free {
    /// Takes bytes; whether the name is complete now.
    fn ends_with(&mut self, bytes: &[u8]) -> bool {
        self.tail.extend_from_slice(bytes);
        let surplus = self.tail.len().saturating_sub(self.name.len());
        self.tail.drain(..surplus);
        self.tail == self.name
    }

    /// Tokens that do not reach beyond the name.
    fn allowed_now(&self, vocabulary: &Vocabulary) -> Vec<u32> {
        let mut words = self.allowed.clone();
        for length in 1..self.name.len() {
            let (begun, rest) = self.name.split_at(length);
            if self.tail.ends_with(begun) {
                vocabulary.each_longer_than(rest, |id| clear(&mut words, id));
            }
        }
        words
    }
}

pub(crate) fn set(words: &mut [u32], id: u32) {
    if let Some(word) = word_of(words, id) {
        *word |= 1 << (id % 32);
    }
}

fn clear(words: &mut [u32], id: u32) {
    if let Some(word) = word_of(words, id) {
        *word &= !(1 << (id % 32));
    }
}

fn word_of(words: &mut [u32], id: u32) -> Option<&mut u32> {
    words.get_mut(usize::try_from(id / 32).ok()?)
}
