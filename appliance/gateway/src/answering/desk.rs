//! The client's side of an answer: one body or a stream of events, the comments of a stream that waits, and the client
//! who goes away or does not read.

use std::future::Future;

use bytes::Bytes;
use jingui_chat::openai::{Answer, Stamp, StreamWriter};
use jingui_chat::{Event as ChatEvent, Usage};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Interval};

use super::{AnswerLimits, End};
use crate::gateway::Gateway;
use crate::refusals::Refusal;

/// Where the answer goes.
#[derive(Debug)]
pub struct Outlet {
    pub(super) way: Way,
}

#[derive(Debug)]
pub(super) enum Way {
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

/// What was gathered for the client and what he has got of it.
pub(super) struct Desk {
    pub(super) outlet: Outlet,
    pub(super) writer: StreamWriter,
    /// Whole events that were not handed to the client yet.
    pub(super) pending: String,
    pub(super) answer: Answer,
    pub(super) usage: Usage,
    limits: AnswerLimits,
    began_at: Instant,
    keep_alive: Interval,
}

impl Desk {
    pub(super) fn new(outlet: Outlet, stamp: &Stamp, limits: AnswerLimits) -> Self {
        let began_at = Instant::now();
        let period = limits.keep_alive_period;
        let mut desk = Self {
            outlet,
            writer: StreamWriter::new(stamp.clone(), false),
            pending: String::new(),
            answer: Answer::new(),
            usage: Usage::default(),
            limits,
            began_at,
            keep_alive: tokio::time::interval_at(began_at + period, period),
        };
        desk.set_stamp(stamp);
        desk
    }

    /// Further events carry this.
    pub(super) fn set_stamp(&mut self, stamp: &Stamp) {
        let include_usage = matches!(
            self.outlet.way,
            Way::Chunks {
                include_usage: true,
                ..
            }
        );
        self.writer = StreamWriter::new(stamp.clone(), include_usage);
    }

    /// Waits for `what`; meanwhile the client is told that the stream lives, and may go away.
    ///
    /// # Errors
    /// When the client is gone or reads nothing, or the gateway cuts what runs; nothing more of `what` happens then.
    pub(super) async fn meanwhile<T>(
        &mut self,
        gateway: &Gateway,
        what: impl Future<Output = T>,
    ) -> Result<T, End> {
        tokio::pin!(what);
        loop {
            let is_headless = matches!(self.outlet.way, Way::Chunks { head: Some(_), .. });
            let has_begun = matches!(self.outlet.way, Way::Chunks { head: None, .. });
            tokio::select! {
                biased;
                () = self.outlet.closed() => return Err(End::ClientGone),
                () = gateway.cut.wait() => return Err(End::Refused(Refusal::Stopping)),
                came = &mut what => {
                    self.keep_alive.reset();
                    return Ok(came);
                }
                () = tokio::time::sleep_until(self.began_at + self.limits.head_time), if is_headless => {
                    self.begin();
                }
                _ = self.keep_alive.tick(), if has_begun => {
                    self.pending.push_str(StreamWriter::keep_alive());
                }
            }
            self.hand_over().await?;
        }
    }

    /// Decides for status 200 and says the role, once.
    pub(super) fn begin(&mut self) {
        if let Way::Chunks { head, .. } = &mut self.outlet.way
            && let Some(head) = head.take()
        {
            // A client that is gone shows in `closed`.
            let _ = head.send(Ok(()));
            self.pending.push_str(&self.writer.start());
        }
    }

    /// Tells a waiting stream its place. All SDKs ignore comments; people and our console read them.
    pub(super) fn queued(&mut self, ahead_count: u32, estimate_ms: u64) {
        self.begin();
        if matches!(self.outlet.way, Way::Chunks { .. }) {
            let comment = format!(": queued ahead={ahead_count} estimate_ms={estimate_ms}\n\n");
            self.pending.push_str(&comment);
        }
    }

    pub(super) fn add(&mut self, event: ChatEvent) {
        if matches!(self.outlet.way, Way::Chunks { .. }) {
            self.pending.push_str(&self.writer.piece(&event));
        }
        self.answer.add(event);
    }

    pub(super) fn count(&mut self, prompt_tokens: u32, completion_tokens: u32) {
        self.usage.prompt_tokens = u64::from(prompt_tokens);
        self.usage.completion_tokens = u64::from(completion_tokens);
        self.usage.reasoning_tokens = self.usage.reasoning_tokens.min(self.usage.completion_tokens);
        self.usage.cached_tokens = self.usage.cached_tokens.min(self.usage.prompt_tokens);
    }

    /// Hands what is pending to the client, if it is a stream.
    pub(super) async fn hand_over(&mut self) -> Result<(), End> {
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
        match tokio::time::timeout(self.limits.client_stall_time, chunks.send(chunk)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::ClientGone),
            Err(_) => Err(End::Refused(Refusal::ClientTooSlow)),
        }
    }
}
