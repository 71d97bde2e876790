//! What goes out to the gateway.

use jingui_ipc::engine::{Finish, FromEngine};
use jingui_sched::Step;

use super::StepLoop;
use crate::stream::{Stream, count_of};

impl StepLoop {
    /// Tells streams that begin, and those that wait.
    pub(super) fn tell_of(&mut self, step: &Step) {
        for started in &step.started {
            let cached_tokens = count_of(started.cached_tokens);
            if let Some(stream) = self.streams.get_mut(&started.stream) {
                stream.cached_count = cached_tokens;
            }
            self.device.blocks.give_up(started.stream);
            self.emit(FromEngine::Started {
                stream: started.stream,
                cached_tokens,
            });
        }
        for notice in self.scheduler.notices(self.now()) {
            self.emit(FromEngine::Queued {
                stream: notice.stream,
                ahead_count: count_of(notice.ahead_count),
                estimate_ms: notice.estimate_us.div_ceil(1_000),
            });
        }
    }

    /// Forgets a stream that the scheduler has forgotten, and says how it ended.
    pub(super) fn finish(&mut self, id: u64, finish: Finish) {
        self.drafter.end(id);
        self.device.blocks.give_up(id);
        if let Some(stream) = self.streams.remove(&id) {
            self.answer(id, &stream, finish);
        }
    }

    /// Ends the streams of a step that ended in it.
    pub(super) fn end_streams(&mut self, over: Vec<(u64, Finish)>) {
        for (id, finish) in over {
            // Those that ended as they should are gone already.
            self.scheduler.fail(id);
            self.finish(id, finish);
        }
    }

    /// Says how a stream ended.
    pub(super) fn answer(&mut self, id: u64, stream: &Stream, finish: Finish) {
        self.pulse.end_work();
        self.emit(FromEngine::Done {
            stream: id,
            finish,
            prompt_tokens: stream.prompt_count,
            completion_tokens: stream.completion_count,
            cached_tokens: stream.cached_count,
        });
    }

    /// Hands an event to the writer. A gateway that lets its events pile up is cut off; its reader then says `Gone`,
    /// which cancels its streams.
    pub(super) fn emit(&mut self, event: FromEngine) {
        if let Some(gateway) = &self.gateway
            && gateway.events.try_send(event).is_err()
        {
            let _already_closed = gateway.socket.shutdown(std::net::Shutdown::Both);
        }
    }
}
