//! One running request, from the engine's first event to the leaf and the last byte.
//!
//! A task of its own, so that a client who goes away does not take the record with him. It waits for the engine, the
//! client and the supervisor, each wait with a bound:
//!
//! | What happens | The engine | The leaf says | The client gets |
//! |---|---|---|---|
//! | the answer ends | is done | `stop`, `length`, `tool_calls` | its last chunk or body, after the leaf is on disk |
//! | the client goes away | is told to cancel at once | `cancelled` | nothing |
//! | the engine dies or says nothing | is gone or cancelled | `error` | an error, in the stream or as status |
//! | the client does not read | is told to cancel | `error` | an error, if it reads again |
//! | the leaf cannot be written | is done | nothing | an error instead of success |

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jingui_chat::glm::{self, Channel};
use jingui_chat::openai::{Answer, Stamp, StreamWriter};
use jingui_chat::{Event as ChatEvent, FinishReason, TokenLogprob, Usage};
use jingui_ipc::engine::{Finish, FromEngine, Token};
use jingui_ipc::gateway::{self as wire, Inference, Outcome, Record};
use jingui_messages::Language;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;

use crate::answers::error_body;
use crate::chat::Asker;
use crate::commitments::{Salt, content_of, note_leaf};
use crate::engines::{EngineLink, Lost, Stream};
use crate::gateway::Gateway;
use crate::refusals::Refusal;

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

/// Time bounds of an answer. [`Default`] gives the constants of this module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerLimits {
    /// [`KEEP_ALIVE_PERIOD`].
    pub keep_alive_period: Duration,
    /// [`HEAD_TIME_MAX`].
    pub head_time: Duration,
    /// [`ENGINE_SILENCE_MAX`].
    pub engine_silence: Duration,
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
            client_stall_time: CLIENT_STALL_TIME_MAX,
            record_time: RECORD_TIME_MAX,
        }
    }
}

/// Where the answer goes.
#[derive(Debug)]
pub struct Outlet {
    way: Way,
}

#[derive(Debug)]
enum Way {
    Whole(oneshot::Sender<Result<String, Refusal>>),
    Chunks {
        /// Taken when the status is decided.
        head: Option<oneshot::Sender<Result<(), Refusal>>>,
        chunks: mpsc::Sender<Bytes>,
        include_usage: bool,
    },
}

impl Outlet {
    /// One body.
    #[must_use]
    pub fn whole(sender: oneshot::Sender<Result<String, Refusal>>) -> Self {
        Self {
            way: Way::Whole(sender),
        }
    }

    /// A stream: `head` decides the status, `chunks` are the body.
    #[must_use]
    pub fn chunks(
        head: oneshot::Sender<Result<(), Refusal>>,
        chunks: mpsc::Sender<Bytes>,
        include_usage: bool,
    ) -> Self {
        Self {
            way: Way::Chunks {
                head: Some(head),
                chunks,
                include_usage,
            },
        }
    }

    /// Resolves when the client is gone.
    async fn closed(&mut self) {
        match &mut self.way {
            Way::Whole(sender) => sender.closed().await,
            Way::Chunks { chunks, .. } => chunks.closed().await,
        }
    }
}

/// One running request.
pub struct Answering {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// Engine that answers.
    pub link: Arc<EngineLink>,
    /// The running stream.
    pub stream: Stream,
    /// Parser of the model's dialect.
    pub parser: glm::Parser,
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
    /// Whether log probabilities were asked for.
    pub with_logprobs: bool,
    /// Language of the client.
    pub language: Language,
}

/// How generating ended.
#[derive(Debug)]
enum End {
    Finished(FinishReason),
    ClientGone,
    Refused(Refusal),
}

/// What the task works with beside what it was given.
struct Desk {
    outlet: Outlet,
    writer: StreamWriter,
    /// Whole events that were not handed to the client yet.
    pending: String,
    answer: Answer,
    usage: Usage,
    last_event_at: Instant,
}

impl Answering {
    /// Runs the request to its end. `turn` and `share` are held until then.
    pub async fn run(
        mut self,
        outlet: Outlet,
        turn: OwnedSemaphorePermit,
        share: Option<OwnedSemaphorePermit>,
    ) {
        let include_usage = matches!(
            outlet.way,
            Way::Chunks {
                include_usage: true,
                ..
            }
        );
        let mut desk = Desk {
            outlet,
            writer: StreamWriter::new(self.stamp.clone(), include_usage),
            pending: String::new(),
            answer: Answer::new(),
            usage: Usage::default(),
            last_event_at: Instant::now(),
        };
        let end = self.generate(&mut desk).await;
        if !matches!(end, End::Finished(_)) || self.parser.is_stopped() {
            self.cancel(&mut desk).await;
        }
        let recorded = self.record(&desk, &end).await;
        self.say_last(desk, end, recorded).await;
        drop((turn, share));
    }

    /// Takes events until the answer ends, the client goes, or a bound is passed.
    async fn generate(&mut self, desk: &mut Desk) -> End {
        let limits = self.gateway.limits.answer.clone();
        let began_at = Instant::now();
        let mut keep_alive =
            tokio::time::interval_at(began_at + limits.keep_alive_period, limits.keep_alive_period);
        loop {
            let is_headless = matches!(desk.outlet.way, Way::Chunks { head: Some(_), .. });
            let has_begun = matches!(desk.outlet.way, Way::Chunks { head: None, .. });
            let event = tokio::select! {
                biased;
                () = desk.outlet.closed() => return End::ClientGone,
                () = self.gateway.cut.wait() => return End::Refused(Refusal::Stopping),
                event = self.stream.next() => event,
                () = tokio::time::sleep_until(began_at + limits.head_time), if is_headless => {
                    desk.begin();
                    continue;
                }
                _ = keep_alive.tick(), if has_begun => {
                    desk.pending.push_str(StreamWriter::keep_alive());
                    if let Err(end) = desk.hand_over(&limits).await {
                        return end;
                    }
                    continue;
                }
                () = tokio::time::sleep_until(desk.last_event_at + limits.engine_silence) => {
                    return End::Refused(Refusal::EngineSilent);
                }
            };
            desk.last_event_at = Instant::now();
            keep_alive.reset();
            let mut next = Some(event);
            // Whatever has come meanwhile goes out together.
            while let Some(event) = next.take() {
                if let Some(end) = self.take(desk, event) {
                    return match desk.hand_over(&limits).await {
                        Err(gone) if !matches!(end, End::Refused(_)) => gone,
                        _ => end,
                    };
                }
                if desk.pending.len() < CHUNK_BYTES_MAX {
                    next = self.stream.next_ready();
                }
            }
            if let Err(end) = desk.hand_over(&limits).await {
                return end;
            }
        }
    }

    /// Takes one event; `Some` when it was the last.
    fn take(&mut self, desk: &mut Desk, event: Result<FromEngine, Lost>) -> Option<End> {
        match event {
            Err(Lost) if self.link.is_gone() => Some(End::Refused(Refusal::EngineRestarting)),
            Err(Lost) => Some(End::Refused(Refusal::ClientTooSlow)),
            Ok(FromEngine::Accepted { prompt_tokens, .. }) => {
                desk.usage.prompt_tokens = u64::from(prompt_tokens);
                desk.begin();
                None
            }
            Ok(FromEngine::Queued { .. } | FromEngine::Started { .. }) => None,
            Ok(FromEngine::Token(token)) => {
                self.take_token(desk, *token);
                if self.parser.is_stopped() {
                    return Some(End::Finished(self.parser.finish_reason(false)));
                }
                None
            }
            Ok(FromEngine::Done {
                finish,
                prompt_tokens,
                completion_tokens,
                ..
            }) => {
                desk.count(prompt_tokens, completion_tokens);
                Some(self.judge(desk, finish))
            }
        }
    }

    fn take_token(&mut self, desk: &mut Desk, token: Token) {
        let piece = self.parser.push(&token.bytes);
        desk.usage.completion_tokens += 1;
        if piece.channel == Channel::Reasoning {
            desk.usage.reasoning_tokens += 1;
        }
        desk.begin();
        piece.events.into_iter().for_each(|event| desk.add(event));
        if self.with_logprobs
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
            // Only we cancel, and then nobody asks what came; anything else is the engine going down.
            Finish::Cancelled => End::Refused(Refusal::EngineRestarting),
            Finish::TooLong {
                prompt_tokens,
                context_tokens,
            } => End::Refused(Refusal::ContextTooLong {
                prompt_tokens,
                context_tokens,
            }),
            Finish::Overloaded { .. } => End::Refused(Refusal::Overloaded),
            Finish::Refused { code } => End::Refused(Refusal::EngineRefused { code }),
            Finish::Failed { code } => End::Refused(Refusal::EngineFailed { code }),
        }
    }

    /// Tells the engine to stop and waits for its last word, which has the counts.
    async fn cancel(&mut self, desk: &mut Desk) {
        self.stream.cancel();
        let last_word = async {
            loop {
                match self.stream.next().await {
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
                    answer.to_body(&self.stamp, reason, usage, self.with_logprobs, Some(&produce_id))
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

impl Desk {
    /// Decides for status 200 and says the role, once.
    fn begin(&mut self) {
        if let Way::Chunks { head, .. } = &mut self.outlet.way
            && let Some(head) = head.take()
        {
            // A client that is gone shows in `closed`.
            let _ = head.send(Ok(()));
            self.pending.push_str(&self.writer.start());
        }
    }

    fn add(&mut self, event: ChatEvent) {
        if matches!(self.outlet.way, Way::Chunks { .. }) {
            self.pending.push_str(&self.writer.piece(&event));
        }
        self.answer.add(event);
    }

    fn count(&mut self, prompt_tokens: u32, completion_tokens: u32) {
        self.usage.prompt_tokens = u64::from(prompt_tokens);
        self.usage.completion_tokens = u64::from(completion_tokens);
        self.usage.reasoning_tokens = self.usage.reasoning_tokens.min(self.usage.completion_tokens);
    }

    /// Hands what is pending to the client, if it is a stream.
    async fn hand_over(&mut self, limits: &AnswerLimits) -> Result<(), End> {
        let Way::Chunks {
            chunks, head: None, ..
        } = &self.outlet.way
        else {
            return Ok(());
        };
        if self.pending.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.pending));
        match tokio::time::timeout(limits.client_stall_time, chunks.send(chunk)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::ClientGone),
            Err(_) => Err(End::Refused(Refusal::ClientTooSlow)),
        }
    }
}
