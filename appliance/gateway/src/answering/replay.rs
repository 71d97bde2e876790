//! Going on after an engine died: the request is put to the next engine of the same package, with the tokens that were
//! made before, and the client's stream goes on after the last one that it got.
//!
//! Tokens, parser, counts and commitments stay as they are, so nothing of it shows in the answer or in its leaf. The draws
//! of the new engine are those the old one would have made, since the seed is fixed; a greedy answer is the same text.
//! A request that has got nothing yet may begin again with another package; one that has may not.

use std::sync::Arc;
use std::time::Duration;

use jingui_chat::openai;
use jingui_ipc::engine::Finish;
use tokio::time::Instant;

use super::desk::Desk;
use super::{Answering, End};
use crate::chat::fingerprint;
use crate::engines::{EngineLink, StartFailure, Stream};
use crate::orders::order;
use crate::quarantine::CLEARING_TOKEN_COUNT;
use crate::refusals::Refusal;

/// Longest time for the next engine, counted from the death of the one before.
pub const ENGINE_AWAIT_MAX: Duration = Duration::from_secs(60);
/// How often one request is put to a new engine. One that kills engines is given up long before.
pub const REPLAY_COUNT_MAX: u32 = 8;
/// Shortest pause before an engine that had no place is asked again.
const FULL_PAUSE_MIN: Duration = Duration::from_millis(200);
/// Longest such pause, whatever the engine said.
const FULL_PAUSE_MAX: Duration = Duration::from_secs(2);

/// One try with one engine.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) stream: Stream,
    pub(super) phase: Phase,
    /// Tokens that this engine made.
    pub(super) token_count: u32,
}

/// What the engine does with the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It has said nothing; it may be reading the prompt.
    Sent,
    /// It waits for admission; nothing of it is worked on.
    Waiting,
    /// It computes.
    Running,
}

impl Attempt {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            phase: Phase::Sent,
            token_count: 0,
        }
    }

    /// Whether the engine was working on it, so that its death may be this request's doing.
    pub(super) fn was_worked_on(&self) -> bool {
        self.phase != Phase::Waiting
    }
}

impl Answering {
    /// After enough tokens from a new engine nobody suspects the request any more.
    pub(super) fn clear_after_progress(&mut self) {
        if let Some(attempt) = &self.attempt
            && attempt.token_count >= CLEARING_TOKEN_COUNT
        {
            self.suspect = None;
        }
    }

    /// Goes on with the next engine, or says how the request ends. `was_worked_on` is whether the engine died while it
    /// had this request in hand.
    pub(super) async fn replay(&mut self, desk: &mut Desk, was_worked_on: bool) -> Result<(), End> {
        self.attempt = None;
        if let Some(finish) = self.finish_unsaid() {
            desk.usage.completion_tokens = u64::try_from(self.generate.resume.len()).unwrap_or(u64::MAX);
            return Err(self.judge(desk, finish));
        }
        if was_worked_on {
            self.blame()?;
        }
        self.replay_count += 1;
        if self.replay_count > REPLAY_COUNT_MAX {
            return Err(End::Refused(Refusal::EngineRestarting));
        }
        self.go_on_until = Instant::now() + self.gateway.limits.answer.engine_await;
        loop {
            self.take_up_next(desk).await?;
            if self.start_again(desk).await? {
                return Ok(());
            }
        }
    }

    /// Puts the request to its engine, which was taken up; `false` when that one is gone as well.
    async fn start_again(&mut self, desk: &mut Desk) -> Result<bool, End> {
        loop {
            self.wait_for_turn(desk).await?;
            match self.link.start(&self.generate) {
                Ok(stream) => {
                    self.attempt = Some(Attempt::new(stream));
                    return Ok(true);
                }
                Err(StartFailure::Gone) => return Ok(false),
                // Full of others who go on as well.
                Err(StartFailure::Overloaded) => self.pause(desk, Duration::ZERO).await?,
                Err(failure) => return Err(End::Refused(failure.into())),
            }
        }
    }

    /// A request that was admitted once is not failed for want of a place: it asks again after a pause.
    pub(super) async fn ask_again(&mut self, desk: &mut Desk, after: Duration) -> Result<(), End> {
        self.attempt = None;
        self.pause(desk, after).await?;
        // An engine that is gone by now shows in the next turn.
        self.start_again(desk).await.map(drop)
    }

    async fn pause(&mut self, desk: &mut Desk, time: Duration) -> Result<(), End> {
        if Instant::now() >= self.go_on_until {
            return Err(End::Refused(Refusal::EngineRestarting));
        }
        let pause = tokio::time::sleep(time.clamp(FULL_PAUSE_MIN, FULL_PAUSE_MAX));
        desk.meanwhile(&self.gateway, pause).await
    }

    /// The end that the engine died before saying: it had made as many tokens as were asked for.
    fn finish_unsaid(&self) -> Option<Finish> {
        let token_count = u32::try_from(self.generate.resume.len()).unwrap_or(u32::MAX);
        let most = self.generate.completion_tokens_max?;
        (token_count >= most).then_some(Finish::Length)
    }

    /// Suspects the request, or gives it up if it was alone with the engine that died.
    fn blame(&mut self) -> Result<(), End> {
        match &self.suspect {
            Some(suspect) if suspect.is_alone() => return Err(End::Refused(Refusal::EngineKilled)),
            Some(_) => {}
            None => self.suspect = Some(self.gateway.quarantine.suspect()),
        }
        Ok(())
    }

    /// Waits for the engine that is to go on.
    async fn take_up_next(&mut self, desk: &mut Desk) -> Result<(), End> {
        let follow = self.gateway.engines.follow(&self.link);
        let next = desk
            .meanwhile(&self.gateway, tokio::time::timeout_at(self.go_on_until, follow))
            .await?
            .map_err(|_| End::Refused(Refusal::EngineRestarting))?;
        if next.model().package_digest != self.link.model().package_digest {
            self.begin_again_with(&next, desk).await?;
        }
        self.link = next;
        Ok(())
    }

    /// A suspect waits for its trial, everybody else for those of the suspects.
    async fn wait_for_turn(&mut self, desk: &mut Desk) -> Result<(), End> {
        let gateway = Arc::clone(&self.gateway);
        match &mut self.suspect {
            None => desk.meanwhile(&gateway, gateway.quarantine.settled()).await,
            Some(suspect) => desk
                .meanwhile(
                    &gateway,
                    tokio::time::timeout_at(self.go_on_until, suspect.stand_trial()),
                )
                .await?
                .map_err(|_| End::Refused(Refusal::EngineRestarting)),
        }
    }

    /// Puts the question to a model of another package, if nothing of an answer exists.
    async fn begin_again_with(&mut self, next: &Arc<EngineLink>, desk: &mut Desk) -> Result<(), End> {
        if !self.generate.resume.is_empty() || next.model().name != self.link.model().name {
            return Err(End::Refused(Refusal::ModelReplaced));
        }
        let (link, body) = (Arc::clone(next), self.prompt_content.clone());
        let tenant = self.generate.tenant;
        let rendering = tokio::task::spawn_blocking(move || {
            let conversation = openai::parse(&body)?;
            order(&link, &conversation, tenant)
        });
        let rendered = desk.meanwhile(&self.gateway, rendering).await?;
        let order = rendered
            .map_err(|_| Refusal::Internal {
                code: "chat.template.failed",
            })
            .and_then(|rendered| rendered)
            .map_err(End::Refused)?;
        self.generate = order.generate;
        self.parser = order.parser;
        self.stamp.system_fingerprint = fingerprint(next);
        desk.set_stamp(&self.stamp);
        Ok(())
    }
}
