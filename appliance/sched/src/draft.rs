//! Guesses at next tokens from what was written before: the prompt, the answer so far, the tenant's recent answers.
//!
//! Work that copies or edits repeats long runs of its prompt. A [`Drafter`] finds where the last tokens occurred before
//! and proposes what followed there; the model then judges all of them in one step, and what is right was cheaper than
//! one step per token. A guess changes no answer: the caller takes only tokens it would have chosen without.
//!
//! Pure, and bounded: [`STREAM_TOKENS_MAX`] tokens of a stream, [`TENANT_TOKENS_MAX`] of a tenant, [`TENANTS_MAX`]
//! tenants. No tenant's text serves another.

mod policy;
mod recent;
mod suffixes;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use crate::{CostModel, DraftRoom, Load, StreamKey, TenantId, Token, real};
use policy::{Evidence, Policy, Prices};
use recent::Recent;
use suffixes::{Found, MATCH_MAX, Suffixes};

pub use policy::{DRAFT_MAX, WIDTH_MAX};
pub use recent::{TENANT_TOKENS_MAX, TENANTS_MAX};

/// Tokens of a stream that are searched; of longer ones the older half is forgotten.
pub const STREAM_TOKENS_MAX: usize = 1 << 17;
/// Tokens that must have agreed before a single one that did not is taken for an exchanged word.
const RESUME_MATCH_MIN: usize = 4;

/// Guesses for all streams of an engine.
#[derive(Debug, Default)]
pub struct Drafter {
    streams: HashMap<StreamKey, Stream>,
    recent: Recent,
}

#[derive(Debug)]
struct Stream {
    tenant: TenantId,
    /// Whether others of the tenant may profit from what it makes.
    is_remembered: bool,
    suffixes: Suffixes,
    answer: Vec<Token>,
    policy: Policy,
    /// What the index would have said next, whether or not it was asked.
    foretold: Option<Foretold>,
    /// Where the text would go on if the last tokens are those of that place but for an exchanged one.
    resumed: Option<(Source, Evidence)>,
    /// Guesses of the step that is being computed.
    guess_count: usize,
    /// What they delay it by, in tokens.
    delay: f64,
}

#[derive(Debug, Clone, Copy)]
struct Foretold {
    token: Token,
    source: Source,
    evidence: Evidence,
}

/// Where a guess comes from.
#[derive(Debug, Clone, Copy)]
enum Source {
    Own(Found),
    Recent(Found),
}

impl Source {
    const fn matched(self) -> usize {
        match self {
            Self::Own(found) | Self::Recent(found) => found.matched,
        }
    }

    /// One token further on.
    fn advanced(self) -> Self {
        let on = |found: Found| Found {
            next: found.next + 1,
            ..found
        };
        match self {
            Self::Own(found) => Self::Own(on(found)),
            Self::Recent(found) => Self::Recent(on(found)),
        }
    }
}

impl Drafter {
    /// Nothing known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A stream begins with these tokens. `is_remembered`: what it makes may help later streams of the same tenant.
    ///
    /// Indexing costs some nanoseconds a token.
    pub fn begin(&mut self, stream: StreamKey, tenant: TenantId, tokens: &[Token], is_remembered: bool) {
        let (habits, credit) = self.recent.terms(&tenant);
        let mut suffixes = Suffixes::new(STREAM_TOKENS_MAX);
        suffixes.extend(tokens);
        let begun = Stream {
            tenant,
            is_remembered,
            suffixes,
            answer: Vec::new(),
            policy: Policy::new(habits, credit),
            foretold: None,
            resumed: None,
            guess_count: 0,
            delay: 0.0,
        };
        self.streams.insert(stream, begun);
        self.foretell(stream);
    }

    /// The likely next tokens of `stream`: none when they do not pay. If fewer are computed, [`Drafter::kept`] is to be
    /// told; what was chosen is to be told to [`Drafter::made`] before the next call.
    pub fn propose(&mut self, stream: StreamKey, room: &DraftRoom, cost: &CostModel) -> Vec<Token> {
        let plain = cost.foretell(room.load);
        let added = |guesses: usize| {
            let load = room.load.and(Load::rows(room.from, guesses, guesses));
            cost.foretell(load).saturating_sub(plain)
        };
        let prices = Prices {
            width: room.width,
            plain,
            added: &added,
        };
        self.propose_at(stream, room.most, &prices)
    }

    fn propose_at(&mut self, stream: StreamKey, most: usize, prices: &Prices<'_>) -> Vec<Token> {
        let Some(state) = self.streams.get_mut(&stream) else {
            return Vec::new();
        };
        state.delay = 0.0;
        let Some(foretold) = state.foretold else {
            return Vec::new();
        };
        let length = state.policy.length(foretold.evidence, most, prices);
        if length == 0 {
            return Vec::new();
        }
        let guesses = continuation(state, &self.recent, foretold.source, length);
        state.guess_count = guesses.len();
        state.delay = prices.in_tokens(guesses.len());
        guesses
    }

    /// Only the first `count` of the tokens just proposed are computed.
    pub fn kept(&mut self, stream: StreamKey, count: usize) {
        if let Some(state) = self.streams.get_mut(&stream)
            && count < state.guess_count
        {
            state.delay *= real(count) / real(state.guess_count);
            state.guess_count = count;
        }
    }

    /// `stream` made these tokens, of which the first `accepted` had been proposed; also without a proposal.
    pub fn made(&mut self, stream: StreamKey, tokens: &[Token], accepted: usize) {
        let Some(state) = self.streams.get_mut(&stream) else {
            return;
        };
        state.policy.settle(state.delay, accepted);
        state.policy.earn(tokens.len());
        state.delay = 0.0;
        for token in tokens {
            if let Some(state) = self.streams.get_mut(&stream) {
                state.compare(*token);
                state.suffixes.push(*token);
                if state.is_remembered {
                    state.answer.push(*token);
                }
            }
            self.foretell(stream);
        }
    }

    /// The stream is over.
    pub fn end(&mut self, stream: StreamKey) {
        if let Some(state) = self.streams.remove(&stream)
            && state.is_remembered
        {
            self.recent.remember(
                state.tenant,
                &state.answer,
                state.policy.habits,
                state.policy.credit,
            );
        }
    }

    fn foretell(&mut self, stream: StreamKey) {
        let Some(state) = self.streams.get_mut(&stream) else {
            return;
        };
        let agreeing = source(state, &self.recent).map(|source| (source, Evidence::Agrees(source.matched())));
        let likeliest = match (agreeing, state.resumed) {
            (Some((source, _)), Some((resumed, _))) if source.matched() >= resumed.matched() => agreeing,
            (agreeing, resumed) => resumed.or(agreeing),
        };
        state.foretold = likeliest.and_then(|(source, evidence)| {
            let token = continuation(state, &self.recent, source, 1).first().copied()?;
            Some(Foretold {
                token,
                source,
                evidence,
            })
        });
    }
}

impl Stream {
    /// Learns from what was made instead of what was foretold.
    fn compare(&mut self, made: Token) {
        let resumed = self.resumed.take();
        let Some(foretold) = self.foretold else {
            return;
        };
        let is_right = foretold.token == made;
        self.policy.habits.count(foretold.evidence, is_right);
        let onwards = foretold.source.advanced();
        let matched = foretold.source.matched();
        self.resumed = match foretold.evidence {
            // While the exchanged token is among the last ones, searching does not find the place.
            _ if is_right => resumed.map(|_| (onwards, Evidence::Agrees(matched))),
            Evidence::Agrees(_) if matched >= RESUME_MATCH_MIN => Some((onwards, Evidence::Resumes(matched))),
            Evidence::Agrees(_) | Evidence::Resumes(_) => None,
        };
    }
}

/// The place that agrees longest: in the stream itself, or in what its tenant was answered lately.
fn source(state: &Stream, recent: &Recent) -> Option<Source> {
    let own = state.suffixes.repeat();
    let own_matched = own.map_or(0, |found| found.matched);
    if state.is_remembered && own_matched < MATCH_MAX {
        let other = recent
            .texts(&state.tenant)
            .and_then(|texts| texts.find(state.suffixes.text()));
        if let Some(found) = other.filter(|found| found.matched > own_matched) {
            return Some(Source::Recent(found));
        }
    }
    own.map(Source::Own)
}

fn continuation(state: &Stream, recent: &Recent, source: Source, most: usize) -> Vec<Token> {
    match source {
        Source::Own(found) => state.suffixes.repetition(found, most),
        Source::Recent(found) => recent
            .texts(&state.tenant)
            .map(|texts| texts.continuation(found, most))
            .unwrap_or_default(),
    }
}
