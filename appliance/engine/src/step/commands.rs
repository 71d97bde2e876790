//! What comes in: from the readers of the gateway's socket and from the supervisor.

use std::sync::mpsc::{RecvTimeoutError, TryRecvError};
use std::time::Instant;

use jingui_ipc::engine::{Finish, FromEngine};
use jingui_sched::Refusal;

use super::{Command, ConnectionId, REST, StepLoop};
use crate::codes;
use crate::stream::{Request, Stream};

impl StepLoop {
    /// Takes what waits. Without streams it waits for a command; when there is nothing to compute yet, a moment. `false`
    /// when nobody can send any more.
    pub(super) fn take_commands(&mut self, rests: bool) -> bool {
        if self.scheduler.is_idle() && self.drain_until.is_none() {
            self.pulse.publish(self.figures());
            let Ok(command) = self.commands.recv() else {
                return false;
            };
            self.obey(command);
        } else if rests {
            match self.commands.recv_timeout(REST) {
                Ok(command) => self.obey(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.obey(command),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Whether the loop may end; ends what is left once the deadline has passed.
    pub(super) fn is_drained(&mut self) -> bool {
        let Some(until) = self.drain_until else {
            return false;
        };
        if Instant::now() >= until {
            self.end_all(&Finish::Failed {
                code: codes::DRAINING.to_owned(),
            });
        }
        self.streams.is_empty()
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Attach(gateway) => {
                self.drop_gateway();
                self.gateway = Some(gateway);
            }
            Command::Submit(connection, request) => self.submit(connection, *request),
            Command::Cancel(connection, stream) if self.is_connected(connection) => {
                // It may have ended by itself a moment ago, and said so.
                if self.scheduler.cancel(stream) {
                    self.finish(stream, Finish::Cancelled);
                }
            }
            Command::Gone(connection) if self.is_connected(connection) => self.drop_gateway(),
            Command::Cancel(..) | Command::Gone(_) => {}
            Command::Drain(until) => self.drain_until = Some(until),
            Command::Threads(count) => self.device.set_threads(count),
        }
    }

    fn submit(&mut self, connection: ConnectionId, request: Request) {
        if !self.is_connected(connection) {
            // Its connection ended before it was taken; there is nobody to tell.
            return self.pulse.end_work();
        }
        let id = request.stream;
        let (stream, mut submission) = Stream::new(request, self.stream_context_tokens);
        let prompt_tokens = stream.prompt_count;
        if self.drain_until.is_some() {
            let code = codes::DRAINING.to_owned();
            return self.answer(id, &stream, Finish::Failed { code });
        }
        if self.scheduler.has(id) {
            let code = codes::STREAM_DUPLICATE.to_owned();
            return self.answer(id, &stream, Finish::Refused { code });
        }
        if stream.wants_nothing() {
            self.emit(FromEngine::Accepted {
                stream: id,
                prompt_tokens,
            });
            return self.answer(id, &stream, Finish::Length);
        }
        if !self.device.is_divisible() {
            submission.cache = jingui_sched::CacheUse::Off;
        }
        let is_remembered = submission.cache != jingui_sched::CacheUse::Off && !submission.is_strict;
        if is_remembered {
            let hot = self.scheduler.hot_tokens(submission.tenant, &submission.tokens);
            submission.tier_tokens =
                self.device
                    .blocks
                    .look_up(id, submission.tenant, &submission.tokens, hot);
        }
        let (tenant, tokens) = (submission.tenant, submission.tokens.clone());
        let is_strict = submission.is_strict;
        match self.scheduler.submit(submission, self.now()) {
            Ok(()) => {
                self.emit(FromEngine::Accepted {
                    stream: id,
                    prompt_tokens,
                });
                if !is_strict {
                    self.drafter.begin(id, tenant, &tokens, is_remembered);
                }
                self.streams.insert(id, stream);
                return;
            }
            Err(Refusal::Overloaded { retry_after_us }) => {
                let retry_after_ms = retry_after_us.div_ceil(1_000);
                self.answer(id, &stream, Finish::Overloaded { retry_after_ms });
            }
            Err(Refusal::Duplicate(_)) => {
                let code = codes::STREAM_DUPLICATE.to_owned();
                self.answer(id, &stream, Finish::Refused { code });
            }
            Err(Refusal::Impossible) => {
                let finish = Finish::TooLong {
                    prompt_tokens,
                    context_tokens: self.stream_context_tokens,
                };
                self.answer(id, &stream, finish);
            }
        }
        self.device.blocks.give_up(id);
    }

    fn drop_gateway(&mut self) {
        self.gateway = None;
        self.end_all(&Finish::Cancelled);
    }

    fn end_all(&mut self, finish: &Finish) {
        let ids: Vec<u64> = self.streams.keys().copied().collect();
        for id in ids {
            self.scheduler.cancel(id);
            self.finish(id, finish.clone());
        }
    }

    fn is_connected(&self, connection: ConnectionId) -> bool {
        self.gateway
            .as_ref()
            .is_some_and(|gateway| gateway.connection == connection)
    }
}
