//! One running request, from the engine's first event to the leaf and the last byte.
//!
//! A task of its own, so that a client who goes away does not take the record with him. It waits for the engine, the
//! client and the supervisor, each wait with a bound:
//!
//! | What happens | The engine | The leaf says | The client gets |
//! |---|---|---|---|
//! | the answer ends | is done | `stop`, `length`, `tool_calls` | its last chunk or body, after the leaf is on disk |
//! | the client goes away | is told to cancel at once | `cancelled` | nothing |
//! | the engine dies | is gone; the next one goes on ([`replay`]) | what it comes to | the rest, as if nothing had been |
//! | the engine says nothing | is told to cancel | `error` | an error, in the stream or as status |
//! | the client does not read | is told to cancel | `error` | an error, if it reads again |
//! | the leaf cannot be written | is done | nothing | an error instead of success |

mod desk;
mod replay;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jingui_chat::glm::{self, Channel};
use jingui_chat::openai::{Stamp, StreamWriter};
use jingui_chat::{Event as ChatEvent, FinishReason, TokenLogprob};
use jingui_ipc::engine::{Finish, FromEngine, Generate, Token};
use jingui_ipc::gateway::{self as wire, Inference, Outcome, Record};
use jingui_messages::Language;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::answers::error_body;
use crate::chat::Asker;
use crate::commitments::{Salt, content_of, note_leaf};
use crate::engines::{EngineLink, Lost, Stream};
use crate::gateway::Gateway;
use crate::quarantine::Suspect;
use crate::refusals::Refusal;

use desk::{Desk, Way};
use replay::{Attempt, Phase};

pub use desk::Outlet;
pub use replay::{ENGINE_AWAIT_MAX, REPLAY_COUNT_MAX};

/// Chunks of a stream that may wait for its client.
pub const CHUNK_COUNT_MAX: usize = 64;
/// How often a stream that waits says that it lives; all SDKs ignore the comment.
pub const KEEP_ALIVE_PERIOD: Duration = Duration::from_secs(10);
/// How long the status of a stream waits for the engine's verdict on the prompt.
pub const HEAD_TIME_MAX: Duration = Duration::from_secs(5);
/// Longest time in which the engine says nothing: clients give up after it (600 s in the SDKs).
pub const ENGINE_SILENCE_MAX: Duration = Duration::from_secs(600);
/// Longest time for the engine's last word on a cancelled stream.
pub const CANCEL_TIME_MAX: Duration = Duration::from_secs(5);
/// Longest time in which a client takes no chunk.
pub const CLIENT_STALL_TIME_MAX: Duration = Duration::from_secs(30);
/// Longest time for the leaf.
pub const RECORD_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes that are gathered into one chunk while events come faster than the client reads.
const CHUNK_BYTES_MAX: usize = 16 * 1024;
/// The engine's code for streams that it ends because it was told to go.
const ENGINE_DRAINING: &str = "engine.draining";

/// Time bounds of an answer. [`Default`] gives the constants of this module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerLimits {
    /// [`KEEP_ALIVE_PERIOD`].
    pub keep_alive_period: Duration,
    /// [`HEAD_TIME_MAX`].
    pub head_time: Duration,
    /// [`ENGINE_SILENCE_MAX`].
    pub engine_silence: Duration,
    /// [`ENGINE_AWAIT_MAX`].
    pub engine_await: Duration,
    /// [`CLIENT_STALL_TIME_MAX`].
    pub client_stall_time: Duration,
    /// [`RECORD_TIME_MAX`].
    pub record_time: Duration,
}

impl Default for AnswerLimits {
    fn default() -> Self {
        Self {
            keep_alive_period: KEEP_ALIVE_PERIOD,
            head_time: HEAD_TIME_MAX,
            engine_silence: ENGINE_SILENCE_MAX,
            engine_await: ENGINE_AWAIT_MAX,
            client_stall_time: CLIENT_STALL_TIME_MAX,
            record_time: RECORD_TIME_MAX,
        }
    }
}

/// A request to be answered.
pub struct Question {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// Engine that answers.
    pub link: Arc<EngineLink>,
    /// The running stream; `None` when the engine was gone, and the next one is waited for.
    pub stream: Option<Stream>,
    /// What the engine was told.
    pub generate: Generate,
    /// Parser of the model's dialect.
    pub parser: glm::Parser,
    /// Which parameter is at fault when the engine refuses the form of the answer.
    pub form_param: &'static str,
    /// What every chunk carries.
    pub stamp: Stamp,
    /// Salt of the commitments.
    pub salt: Salt,
    /// Who asks.
    pub asker: Asker,
    /// Id given to the client.
    pub request_id: String,
    /// The body of the request.
    pub prompt_content: Bytes,
    /// Language of the client.
    pub language: Language,
}

/// One running request.
struct Answering {
    gateway: Arc<Gateway>,
    link: Arc<EngineLink>,
    /// The try that runs.
    attempt: Option<Attempt>,
    /// What the engine is told. [`Generate::resume`] grows with the answer.
    generate: Generate,
    parser: glm::Parser,
    form_param: &'static str,
    stamp: Stamp,
    salt: Salt,
    asker: Asker,
    request_id: String,
    prompt_content: Bytes,
    language: Language,
    /// Engines that went on after the first.
    replay_count: u32,
    /// There while an engine's death may be this request's doing.
    suspect: Option<Suspect>,
    /// When a request whose engine died is given up if no other went on.
    go_on_until: Instant,
}

/// How generating ended.
#[derive(Debug)]
enum End {
    Finished(FinishReason),
    ClientGone,
    Refused(Refusal),
}

/// What follows from an event.
#[derive(Debug)]
enum Turn {
    /// Nothing more comes.
    End(End),
    /// The engine is gone, or ends the stream because it goes.
    Died {
        /// Whether it was working on this request and fell.
        was_worked_on: bool,
    },
    /// The engine has no place for a request that another engine had admitted.
    Full {
        /// Pause that it asks for.
        retry_after: Duration,
    },
}

impl Question {
    /// Answers it to its end. `turn` and `share` are held until then.
    pub async fn answer(
        self,
        outlet: Outlet,
        turn: OwnedSemaphorePermit,
        share: Option<OwnedSemaphorePermit>,
    ) {
        let mut desk = Desk::new(outlet, &self.stamp, self.gateway.limits.answer.clone());
        let mut answering = Answering {
            gateway: self.gateway,
            link: self.link,
            attempt: self.stream.map(Attempt::new),
            generate: self.generate,
            parser: self.parser,
            form_param: self.form_param,
            stamp: self.stamp,
            salt: self.salt,
            asker: self.asker,
            request_id: self.request_id,
            prompt_content: self.prompt_content,
            language: self.language,
            replay_count: 0,
            suspect: None,
            go_on_until: Instant::now(),
        };
        let end = answering.generate(&mut desk).await;
        if !matches!(end, End::Finished(_)) || answering.parser.is_stopped() {
            answering.cancel(&mut desk).await;
        }
        // Nobody waits for the trial of a request that has ended.
        answering.suspect = None;
        let recorded = answering.record(&desk, &end).await;
        answering.say_last(desk, end, recorded).await;
        drop((turn, share));
    }
}

impl Answering {
    /// Takes events of one engine after the other until the answer ends, the client goes, or a bound is passed.
    async fn generate(&mut self, desk: &mut Desk) -> End {
        loop {
            let turn = match &mut self.attempt {
                None => Turn::Died { was_worked_on: false },
                Some(_) => self.follow(desk).await,
            };
            let went_on = match turn {
                Turn::End(end) => return end,
                Turn::Died { was_worked_on } => self.replay(desk, was_worked_on).await,
                Turn::Full { retry_after } => self.ask_again(desk, retry_after).await,
            };
            if let Err(end) = went_on {
                return end;
            }
        }
    }

    /// Takes events of the present engine.
    async fn follow(&mut self, desk: &mut Desk) -> Turn {
        let silence = self.gateway.limits.answer.engine_silence;
        loop {
            let Some(attempt) = &mut self.attempt else {
                return Turn::Died { was_worked_on: false };
            };
            let next = tokio::time::timeout(silence, attempt.stream.next());
            let event = match desk.meanwhile(&self.gateway, next).await {
                Err(end) => return Turn::End(end),
                Ok(Err(_)) => return Turn::End(End::Refused(Refusal::EngineSilent)),
                Ok(Ok(event)) => event,
            };
            let mut next = Some(event);
            // Whatever has come meanwhile goes out together.
            while let Some(event) = next.take() {
                if let Some(turn) = self.take(desk, event) {
                    return match desk.hand_over().await {
                        Err(gone) if !matches!(turn, Turn::End(End::Refused(_))) => Turn::End(gone),
                        _ => turn,
                    };
                }
                if desk.pending.len() < CHUNK_BYTES_MAX {
                    next = self.attempt.as_mut().and_then(|it| it.stream.next_ready());
                }
            }
            if let Err(end) = desk.hand_over().await {
                return Turn::End(end);
            }
        }
    }

    /// Takes one event; `Some` when no other comes from this engine.
    fn take(&mut self, desk: &mut Desk, event: Result<FromEngine, Lost>) -> Option<Turn> {
        let Ok(event) = event else {
            return Some(self.lost());
        };
        match event {
            FromEngine::Accepted { prompt_tokens, .. } => {
                desk.usage.prompt_tokens = u64::from(prompt_tokens);
                self.enter(Phase::Waiting);
                None
            }
            FromEngine::Queued {
                ahead_count,
                estimate_ms,
                ..
            } => {
                self.enter(Phase::Waiting);
                desk.queued(ahead_count, estimate_ms);
                None
            }
            FromEngine::Started { cached_tokens, .. } => {
                self.enter(Phase::Running);
                self.count_cached(desk, cached_tokens);
                desk.begin();
                None
            }
            FromEngine::Token(token) => {
                self.enter(Phase::Running);
                self.take_token(desk, *token);
                self.parser
                    .is_stopped()
                    .then(|| Turn::End(End::Finished(self.parser.finish_reason(false))))
            }
            FromEngine::Done {
                finish,
                prompt_tokens,
                completion_tokens,
                cached_tokens,
                ..
            } => Some(self.take_done(desk, finish, [prompt_tokens, completion_tokens, cached_tokens])),
        }
    }

    fn lost(&self) -> Turn {
        if !self.link.is_gone() {
            return Turn::End(End::Refused(Refusal::ClientTooSlow));
        }
        Turn::Died {
            was_worked_on: self.attempt.as_ref().is_some_and(Attempt::was_worked_on),
        }
    }

    fn take_done(
        &mut self,
        desk: &mut Desk,
        finish: Finish,
        [prompt_tokens, completion_tokens, cached_tokens]: [u32; 3],
    ) -> Turn {
        match finish {
            // Only we cancel, and then nobody asks what came; anything else is the engine going down.
            Finish::Cancelled => Turn::Died { was_worked_on: false },
            Finish::Failed { code } if code == ENGINE_DRAINING => Turn::Died { was_worked_on: false },
            Finish::Overloaded { retry_after_ms } if self.replay_count > 0 => Turn::Full {
                retry_after: Duration::from_millis(retry_after_ms),
            },
            finish => {
                self.count_cached(desk, cached_tokens);
                desk.count(prompt_tokens, completion_tokens);
                Turn::End(self.judge(desk, finish))
            }
        }
    }

    fn enter(&mut self, phase: Phase) {
        if let Some(attempt) = &mut self.attempt {
            attempt.phase = phase;
        }
    }

    /// What the first engine had of the prompt counts; that a later one finds more is no merit of the client's.
    fn count_cached(&self, desk: &mut Desk, cached_tokens: u32) {
        if self.replay_count == 0 {
            desk.usage.cached_tokens = u64::from(cached_tokens);
        }
    }

    fn take_token(&mut self, desk: &mut Desk, token: Token) {
        let piece = self.parser.push(&token.bytes);
        self.generate.resume.push(token.id);
        if let Some(attempt) = &mut self.attempt {
            attempt.token_count = attempt.token_count.saturating_add(1);
        }
        self.clear_after_progress();
        desk.usage.completion_tokens += 1;
        if piece.channel == Channel::Reasoning {
            desk.usage.reasoning_tokens += 1;
        }
        desk.begin();
        piece.events.into_iter().for_each(|event| desk.add(event));
        if self.generate.logprobs.is_some()
            && piece.channel == Channel::Content
            && !token.bytes.is_empty()
            && let Some(logprobs) = token.logprobs
        {
            let (logprob, top) = (logprobs.chosen, logprobs.top);
            desk.add(ChatEvent::Logprob(TokenLogprob {
                bytes: token.bytes,
                logprob,
                top,
            }));
        }
    }

    /// What the engine's last word means.
    fn judge(&mut self, desk: &mut Desk, finish: Finish) -> End {
        let was_cut = finish == Finish::Length;
        match finish {
            Finish::Stop | Finish::Length => {
                desk.begin();
                self.parser.finish().into_iter().for_each(|event| desk.add(event));
                End::Finished(self.parser.finish_reason(was_cut))
            }
            Finish::Cancelled => End::Refused(Refusal::EngineRestarting),
            Finish::TooLong {
                prompt_tokens,
                context_tokens,
            } => End::Refused(Refusal::ContextTooLong {
                prompt_tokens,
                context_tokens,
            }),
            Finish::Overloaded { retry_after_ms } => End::Refused(Refusal::QueueFull {
                retry_after: Duration::from_millis(retry_after_ms),
            }),
            Finish::Refused { code } => End::Refused(Refusal::of_engine(code, self.form_param)),
            Finish::Failed { code } => End::Refused(Refusal::EngineFailed { code }),
        }
    }

    /// Tells the engine to stop and waits for its last word, which has the counts.
    async fn cancel(&mut self, desk: &mut Desk) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        attempt.stream.cancel();
        let last_word = async {
            loop {
                match attempt.stream.next().await {
                    Ok(FromEngine::Done {
                        prompt_tokens,
                        completion_tokens,
                        ..
                    }) => {
                        return Some((prompt_tokens, completion_tokens));
                    }
                    Ok(_) => {}
                    Err(Lost) => return None,
                }
            }
        };
        if let Ok(Some((prompt, completion))) = tokio::time::timeout(CANCEL_TIME_MAX, last_word).await {
            desk.count(prompt, completion);
        }
    }

    /// Leaves the one leaf of this request. Returns its index.
    async fn record(&self, desk: &Desk, end: &End) -> Option<u64> {
        let (finish, outcome, why) = match end {
            End::Finished(reason) => (reason.as_str(), Outcome::Ok, ""),
            End::ClientGone => ("cancelled", Outcome::Ok, ""),
            End::Refused(refusal) => ("error", Outcome::Error, refusal.code()),
        };
        let answer = content_of(&desk.answer);
        let record = Record {
            actor: self.asker.actor.clone(),
            role: self.asker.role,
            session: self.asker.session.clone(),
            source: self.asker.source.clone(),
            event: wire::Event::Inference(Inference {
                request_id: self.request_id.clone(),
                family: self.asker.family.to_owned(),
                package_digest: self.link.model().package_digest.clone(),
                prompt_tokens: desk.usage.prompt_tokens,
                completion_tokens: desk.usage.completion_tokens,
                finish: finish.to_owned(),
                prompt_commitment: self.salt.commit(&self.prompt_content),
                answer_commitment: self.salt.commit(answer.as_bytes()),
            }),
            outcome,
            why: why.to_owned(),
        };
        let gateway = &self.gateway;
        self.salt
            .keep(&gateway.store, &self.request_id, &gateway.clock)
            .await
            .ok()?;
        let leaf_index = gateway.record(record).await.ok()?;
        let (store, request_id) = (gateway.store.clone(), self.request_id.clone());
        tokio::spawn(async move {
            // The leaf itself names the request, so a lost note loses nothing.
            let _ = note_leaf(&store, &request_id, leaf_index).await;
        });
        Some(leaf_index)
    }

    /// The last words to the client: success only with its leaf.
    async fn say_last(self, desk: Desk, end: End, leaf_index: Option<u64>) {
        let outcome = match (end, leaf_index) {
            (End::ClientGone, _) => return,
            (End::Refused(refusal), _) => Err(refusal),
            (End::Finished(_), None) => Err(Refusal::AuditUnavailable),
            (End::Finished(reason), Some(leaf_index)) => {
                Ok((reason, format!("{}-{leaf_index}", self.gateway.serial)))
            }
        };
        let Desk {
            outlet,
            writer,
            pending,
            answer,
            usage,
            ..
        } = desk;
        match outlet.way {
            Way::Whole(sender) => {
                let body = outcome.map(|(reason, produce_id)| {
                    answer.to_body(
                        &self.stamp,
                        reason,
                        usage,
                        self.generate.logprobs.is_some(),
                        Some(&produce_id),
                    )
                });
                // A client that went away meanwhile needs no answer.
                let _ = sender.send(body);
            }
            Way::Chunks { head: Some(head), .. } if outcome.is_err() => {
                let _ = head.send(outcome.map(drop));
            }
            Way::Chunks { head, chunks, .. } => {
                if let Some(head) = head {
                    let _ = head.send(Ok(()));
                }
                let last = match outcome {
                    Ok((reason, produce_id)) => {
                        let finish = writer.finish(reason, Some(&produce_id));
                        format!("{pending}{finish}{}{}", writer.usage(usage), writer.done())
                    }
                    Err(refusal) => {
                        format!(
                            "{pending}{}",
                            StreamWriter::error(&error_body(&refusal, self.language))
                        )
                    }
                };
                let time = self.gateway.limits.answer.client_stall_time;
                let _ = tokio::time::timeout(time, chunks.send(Bytes::from(last))).await;
            }
        }
    }
}
