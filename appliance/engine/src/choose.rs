//! From rows of logits to the tokens of a stream.
//!
//! A [`Chooser`] belongs to one stream and holds all that choosing needs: the sampler with its penalties and its
//! generator, the matcher of a constraint, and whether log probabilities are reported. With a draft, one step gives
//! several tokens: row `n + 1` was computed behind the first `n` tokens of the draft, so it counts when these are the
//! tokens that were chosen. Each token is sampled from its own row exactly as it would be without a draft, and takes
//! its own number from the generator, so a draft changes when tokens come and never which.
//!
//! [`choose_all`] does it for many streams on a [`Pool`]; masks of constraints can be computed while the model computes
//! ([`Pool::beside`]).

use jingui_ipc::engine::Sampling;

use crate::codes;
use crate::constraint::{ConstraintError, EndTokens, Matcher};
use crate::sampling::{Sampler, Workspace, logprobs};

mod pool;

pub use pool::{Job, Pool, choose_all};

/// Chooses the tokens of one stream.
#[derive(Debug)]
pub struct Chooser {
    sampler: Sampler,
    workspace: Workspace,
    logprobs: Option<u8>,
    matcher: Option<Matcher>,
    ends: EndTokens,
}

/// One chosen token.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Its id.
    pub id: u32,
    /// When asked for: its log probability, and the likeliest tokens with theirs, likeliest first.
    pub logprobs: Option<(f32, Vec<(u32, f32)>)>,
}

/// What comes after the choices of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The stream goes on behind the last choice.
    More,
    /// The last choice is an end token, which is no part of the answer.
    End,
    /// The constraint lets nothing follow the last choice, which is part of the answer: the stream ends without an end
    /// token.
    Complete,
    /// No further token could be chosen; the code says why. The choices are good.
    Failed(&'static str),
}

/// The choices of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// The tokens, in order.
    pub choices: Vec<Choice>,
    /// What comes after them.
    pub next: Next,
}

impl Chooser {
    /// A chooser for one stream. `drawn_seed` is used when the request names none.
    #[must_use]
    pub fn new(
        settings: &Sampling,
        drawn_seed: u64,
        logprobs: Option<u8>,
        matcher: Option<Matcher>,
        ends: EndTokens,
    ) -> Self {
        Self {
            sampler: Sampler::new(settings, drawn_seed),
            workspace: Workspace::default(),
            logprobs,
            matcher,
            ends,
        }
    }

    /// Goes on behind tokens that an earlier engine chose, as if it had chosen them itself.
    ///
    /// # Errors
    /// [`ConstraintError`] when they do not fit the constraint; the chooser is of no use after it.
    pub fn resume(&mut self, tokens: &[u32]) -> Result<(), ConstraintError> {
        for id in tokens {
            self.sampler.resume(*id);
            if let Some(matcher) = self.matcher.as_mut().filter(|_| !self.ends.contains(*id)) {
                matcher.take(*id)?;
            }
        }
        Ok(())
    }

    /// At most `max` tokens that follow from the constraint without a choice: a draft that will be right.
    pub fn forced(&mut self, max: usize) -> Vec<u32> {
        self.matcher
            .as_mut()
            .map(|matcher| matcher.forced(max))
            .unwrap_or_default()
    }

    /// Cuts a draft at the first token that the constraint does not take.
    pub fn allows(&mut self, draft: &mut Vec<u32>) {
        if let Some(matcher) = &mut self.matcher {
            draft.truncate(matcher.fitting_count(draft));
        }
    }

    /// Whether a constraint holds the stream, so that there is a mask to compute.
    #[must_use]
    pub fn is_constrained(&self) -> bool {
        self.matcher.is_some()
    }

    /// Computes what may come next, if that is not known yet. A failure shows when the token is chosen.
    pub fn prepare(&mut self) {
        if let Some(matcher) = &mut self.matcher {
            let _shows_later = matcher.allowed();
        }
    }

    /// Chooses from `rows`, of which each but the first was computed behind a token of `draft`: from the first, and
    /// from the next as long as the chosen token is the draft's. So 1 to `rows.len()` tokens come out, fewer only when
    /// choosing fails.
    pub fn choose_chain(&mut self, rows: &[&[f32]], draft: &[u32]) -> Chosen {
        let mut chosen = Chosen {
            choices: Vec::with_capacity(rows.len()),
            next: Next::More,
        };
        for (index, row) in rows.iter().enumerate() {
            let choice = match self.choose(row) {
                Ok(choice) => choice,
                Err(code) => {
                    chosen.next = Next::Failed(code);
                    break;
                }
            };
            let id = choice.id;
            chosen.choices.push(choice);
            match self.go_on(id) {
                Next::More if draft.get(index) == Some(&id) => {}
                next => {
                    chosen.next = next;
                    break;
                }
            }
        }
        chosen
    }

    fn choose(&mut self, row: &[f32]) -> Result<Choice, &'static str> {
        let allowed = match &mut self.matcher {
            Some(matcher) => Some(matcher.allowed().map_err(ConstraintError::code)?),
            None => None,
        };
        let is_held = allowed.is_some();
        let id = self
            .sampler
            .choose_among(row, allowed, &mut self.workspace)
            .ok_or(if is_held && row.iter().any(|logit| !logit.is_nan()) {
                codes::CONSTRAINT_STUCK
            } else {
                codes::COMPUTE_NOT_FINITE
            })?;
        let logprobs = self.logprobs.map(|count| logprobs(row, id, usize::from(count)));
        Ok(Choice { id, logprobs })
    }

    /// What follows `id`, which was just chosen.
    fn go_on(&mut self, id: u32) -> Next {
        if self.ends.contains(id) {
            return Next::End;
        }
        match &mut self.matcher {
            None => Next::More,
            Some(matcher) => match matcher.take(id) {
                Err(error) => Next::Failed(error.code()),
                Ok(()) if matcher.is_complete() => Next::Complete,
                Ok(()) => Next::More,
            },
        }
    }
}
