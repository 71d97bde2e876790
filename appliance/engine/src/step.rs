//! The step loop: the one thread that owns the llama context.
//!
//! Each step takes all waiting commands, admits waiting streams to free places, computes one batch (a row for each
//! running stream first, then prompts within a budget), and hands out the chosen tokens. A place is a sequence with its
//! own reserved share of the KV cache, so a stream that was admitted cannot fail for want of room.
//!
//! It never waits for a gateway: one that does not read its events is dropped, and its streams with it.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::Instant;

use jingui_ipc::engine::{Finish, FromEngine, Logprobs, Token as TokenEvent};
use jingui_llama::{AbortFlag, Batch, Context, DecodeError, Decoded, SequenceError};

use crate::codes;
use crate::load::Loaded;
use crate::pulse::Pulse;
use crate::sampling::{Random, Workspace, logprobs};
use crate::stream::{Request, Stream};

/// Most streams that wait for a place. One more is told that the engine is overloaded.
pub const WAITING_COUNT_MAX: usize = 64;
/// Rows for prompts in a step that also carries running streams on: bounds how long those wait for their next token.
pub const PREFILL_TOKENS_BESIDE_DECODE: usize = 256;
/// Commands not yet taken; a reader with more waits.
pub const COMMAND_COUNT_MAX: usize = 256;
/// Steps that may fail one after another before the worker gives up and is made anew.
const FAILED_STEP_COUNT_MAX: u32 = 3;

/// Numbers the gateway's connections over the life of the engine.
pub type ConnectionId = u64;

/// What the step thread is told.
#[derive(Debug)]
pub enum Command {
    /// A gateway connected; the one before is gone.
    Attach(Gateway),
    /// A stream of that connection.
    Submit(ConnectionId, Box<Request>),
    /// End a stream of that connection.
    Cancel(ConnectionId, u64),
    /// That connection ended.
    Gone(ConnectionId),
    /// Finish running streams until then, take no more, and return.
    Drain(Instant),
}

/// The step thread's side of a connection to a gateway.
#[derive(Debug)]
pub struct Gateway {
    /// Its number.
    pub connection: ConnectionId,
    /// To the writer.
    pub events: SyncSender<FromEngine>,
    /// Ends reader and writer when shut down.
    pub socket: std::os::unix::net::UnixStream,
}

impl Drop for Gateway {
    /// The reader sees the end at once; the writer first sends what is queued, then ends with its channel.
    fn drop(&mut self) {
        let _already_closed = self.socket.shutdown(std::net::Shutdown::Read);
    }
}

/// Why the step thread ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum StepFailure {
    /// Step after step failed.
    #[error("{FAILED_STEP_COUNT_MAX} steps failed one after another")]
    Compute(#[source] DecodeError),
    /// A sequence cannot be freed.
    #[error("a sequence could not be freed")]
    Sequence(#[from] SequenceError),
}

/// Which stream alone is being prefilled, for a reader that wants to cut its step short.
#[derive(Debug, Clone)]
pub struct Interrupt {
    abort: AbortFlag,
    /// The stream's number plus one; 0 for none.
    alone: Arc<AtomicU64>,
}

impl Interrupt {
    /// An interrupt for the context behind `abort`.
    #[must_use]
    pub fn new(abort: AbortFlag) -> Self {
        Self {
            abort,
            alone: Arc::new(AtomicU64::new(0)),
        }
    }

    /// Ends the running step if it computes nothing but the prompt of `stream`. To be called after the command to
    /// cancel was sent. A step that is cut short by mistake is only repeated.
    pub fn cut_short(&self, stream: u64) {
        if self.alone.load(Ordering::Acquire) == stream.wrapping_add(1) {
            self.abort.raise();
        }
    }

    /// Ends the running step, whatever it computes.
    pub fn cut_short_all(&self) {
        self.abort.raise();
    }

    fn set_alone(&self, stream: Option<u64>) {
        self.alone.store(
            stream.map_or(0, |stream| stream.wrapping_add(1)),
            Ordering::Release,
        );
    }
}

/// The state of the step thread.
#[derive(Debug)]
pub struct StepLoop {
    context: Context,
    batch: Batch,
    stream_context_tokens: u32,
    /// A place per sequence.
    places: Vec<Option<Stream>>,
    /// Places whose prompts are not computed, in the order of admission.
    prefilling: VecDeque<usize>,
    waiting: VecDeque<Stream>,
    gateway: Option<Gateway>,
    commands: Receiver<Command>,
    interrupt: Interrupt,
    pulse: Pulse,
    workspace: Workspace,
    seeds: Random,
    drain_until: Option<Instant>,
    failed_step_count: u32,
}

/// What a step is going to compute.
#[derive(Debug, Default)]
struct Plan {
    /// Place and number of rows.
    parts: Vec<(usize, usize)>,
    /// Place and row whose logits choose its next token.
    outputs: Vec<(usize, usize)>,
}

impl StepLoop {
    /// A loop over a loaded model.
    #[must_use]
    pub fn new(loaded: Loaded, commands: Receiver<Command>, interrupt: Interrupt, pulse: Pulse) -> Self {
        let Loaded {
            context,
            stream_count,
            stream_context_tokens,
        } = loaded;
        // Drawn once from the system, through the seed of std's hash maps; enough for what is no secret.
        let seed = RandomState::new().build_hasher().finish();
        Self {
            batch: context.batch(),
            context,
            stream_context_tokens,
            places: (0..stream_count).map(|_| None).collect(),
            prefilling: VecDeque::new(),
            waiting: VecDeque::new(),
            gateway: None,
            commands,
            interrupt,
            pulse,
            workspace: Workspace::default(),
            seeds: Random::new(seed),
            drain_until: None,
            failed_step_count: 0,
        }
    }

    /// Runs until it is drained or nobody is left to command it.
    ///
    /// # Errors
    /// Every [`StepFailure`]; the worker must end then.
    pub fn run(mut self) -> Result<(), StepFailure> {
        loop {
            // Lowered before commands are taken: what is raised for a command taken below costs one repeated step,
            // what is raised for a later one ends the step.
            self.interrupt.abort.lower();
            if !self.take_commands()? {
                return Ok(());
            }
            self.admit();
            if self.is_drained()? {
                return Ok(());
            }
            self.step()?;
            self.pulse.step();
        }
    }

    /// Takes what waits; without streams, waits for a command. `false` when nobody can send any more.
    fn take_commands(&mut self) -> Result<bool, StepFailure> {
        if self.is_idle() {
            let command = match self.drain_until {
                // Idle and draining: `is_drained` ends the loop.
                Some(_) => return Ok(true),
                None => self.commands.recv(),
            };
            let Ok(command) = command else { return Ok(false) };
            self.obey(command)?;
        }
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.obey(command)?,
                Err(TryRecvError::Empty) => return Ok(true),
                Err(TryRecvError::Disconnected) => return Ok(false),
            }
        }
    }

    fn obey(&mut self, command: Command) -> Result<(), StepFailure> {
        match command {
            Command::Attach(gateway) => {
                self.drop_gateway()?;
                self.gateway = Some(gateway);
            }
            Command::Submit(connection, request) => self.submit(connection, *request),
            Command::Cancel(connection, stream) if self.is_connected(connection) => self.cancel(stream)?,
            Command::Gone(connection) if self.is_connected(connection) => self.drop_gateway()?,
            Command::Cancel(..) | Command::Gone(_) => {}
            Command::Drain(until) => self.drain_until = Some(until),
        }
        Ok(())
    }

    fn submit(&mut self, connection: ConnectionId, request: Request) {
        let stream = Stream::new(request, self.stream_context_tokens, self.seeds.next_u64());
        if !self.is_connected(connection) {
            // Its connection ended before it was taken; there is nobody to tell.
            return self.pulse.end_work();
        }
        if self.drain_until.is_some() {
            return self.finish(
                &stream,
                Finish::Failed {
                    code: codes::DRAINING.to_owned(),
                },
            );
        }
        if self.streams().any(|other| other.id == stream.id) {
            return self.finish(
                &stream,
                Finish::Refused {
                    code: codes::STREAM_DUPLICATE.to_owned(),
                },
            );
        }
        if self.waiting.len() >= WAITING_COUNT_MAX + self.free_place_count() {
            return self.finish(
                &stream,
                Finish::Overloaded {
                    retry_after_ms: 1_000,
                },
            );
        }
        self.emit(FromEngine::Accepted {
            stream: stream.id,
            prompt_tokens: stream.prompt_tokens(),
        });
        if stream.wants_nothing() {
            return self.finish(&stream, Finish::Length);
        }
        self.waiting.push_back(stream);
    }

    fn cancel(&mut self, id: u64) -> Result<(), StepFailure> {
        if let Some(index) = self.waiting.iter().position(|stream| stream.id == id)
            && let Some(stream) = self.waiting.remove(index)
        {
            self.finish(&stream, Finish::Cancelled);
            return Ok(());
        }
        match self.place_of(id) {
            Some(place) => self.end(place, Finish::Cancelled),
            // It ended by itself a moment ago, and said so.
            None => Ok(()),
        }
    }

    fn drop_gateway(&mut self) -> Result<(), StepFailure> {
        self.gateway = None;
        for stream in std::mem::take(&mut self.waiting) {
            self.finish(&stream, Finish::Cancelled);
        }
        self.end_all(&Finish::Cancelled)
    }

    fn admit(&mut self) {
        for (index, place) in self.places.iter_mut().enumerate() {
            if place.is_none()
                && let Some(stream) = self.waiting.pop_front()
            {
                *place = Some(stream);
                self.prefilling.push_back(index);
            }
        }
    }

    /// Whether the loop may end; ends what is left once the deadline has passed.
    fn is_drained(&mut self) -> Result<bool, StepFailure> {
        let Some(until) = self.drain_until else {
            return Ok(false);
        };
        if Instant::now() >= until {
            let finish = Finish::Failed {
                code: codes::DRAINING.to_owned(),
            };
            for stream in std::mem::take(&mut self.waiting) {
                self.finish(&stream, finish.clone());
            }
            self.end_all(&finish)?;
        }
        Ok(self.is_idle())
    }

    fn step(&mut self) -> Result<(), StepFailure> {
        let plan = self.plan();
        if plan.parts.is_empty() {
            return Ok(());
        }
        self.interrupt.set_alone(self.alone_in(&plan));
        let outcome = self.context.decode(&mut self.batch);
        self.interrupt.set_alone(None);
        match outcome {
            Ok(Decoded::Computed) => {
                self.failed_step_count = 0;
                self.hand_out(&plan)
            }
            Ok(Decoded::Aborted) => self.look_at_what_is_computed(&plan),
            // Each place has its share of the cache, so "no room" is a defect like any other failure.
            Ok(Decoded::NoRoom) => self.fail(&plan, DecodeError::Failed(1)),
            Err(error) => self.fail(&plan, error),
        }
    }

    /// Fills the batch: running streams first, then prompts in the order of admission within the budget.
    fn plan(&mut self) -> Plan {
        let mut plan = Plan::default();
        self.batch.clear();
        for place in 0..self.places.len() {
            if self.stream_at(place).is_some_and(Stream::is_decoding) {
                self.plan_place(place, 1, &mut plan);
            }
        }
        let room = self.batch.row_count_max().saturating_sub(self.batch.len());
        let mut budget = if plan.parts.is_empty() {
            room
        } else {
            room.min(PREFILL_TOKENS_BESIDE_DECODE)
        };
        for place in self.prefilling.clone() {
            budget = budget.saturating_sub(self.plan_place(place, budget, &mut plan));
        }
        plan
    }

    /// Adds at most `budget` rows of the stream at `place`; the last pending one asks for logits.
    fn plan_place(&mut self, place: usize, budget: usize, plan: &mut Plan) -> usize {
        let Some(stream) = self.places.get(place).and_then(Option::as_ref) else {
            return 0;
        };
        let Ok(sequence) = u32::try_from(place) else {
            return 0;
        };
        let pending = stream.pending();
        let pending_count = pending.len();
        let mut added = 0;
        for (position, token) in pending.take(budget) {
            let is_last = added + 1 == pending_count;
            // Rows, sequences and positions are bounded by construction; a refused row waits for the next step.
            let Ok(row) = self.batch.push(token, position, sequence, is_last) else {
                break;
            };
            added += 1;
            if is_last {
                plan.outputs.push((place, row));
            }
        }
        if added > 0 {
            plan.parts.push((place, added));
        }
        added
    }

    /// The only stream of a plan, while its prompt is computed.
    fn alone_in(&self, plan: &Plan) -> Option<u64> {
        let [(place, _)] = plan.parts.as_slice() else {
            return None;
        };
        self.stream_at(*place)
            .filter(|stream| !stream.is_decoding())
            .map(|stream| stream.id)
    }

    fn hand_out(&mut self, plan: &Plan) -> Result<(), StepFailure> {
        for (place, row_count) in &plan.parts {
            if let Some(stream) = self.places.get_mut(*place).and_then(Option::as_mut) {
                stream.set_computed(stream.computed_count() + row_count);
            }
        }
        for (place, row) in &plan.outputs {
            self.prefilling.retain(|prefilling| prefilling != place);
            self.choose(*place, *row)?;
        }
        Ok(())
    }

    /// Chooses the next token of the stream at `place` from `row`, sends it, and ends the stream if it ends there.
    fn choose(&mut self, place: usize, row: usize) -> Result<(), StepFailure> {
        // The gateway may have been dropped while an earlier row of this step was handed out.
        let Some(stream) = self.places.get_mut(place).and_then(Option::as_mut) else {
            return Ok(());
        };
        let model = Arc::clone(self.context.model());
        let chosen = self.context.logits(row).ok().and_then(|logits| {
            let id = stream.sampler.choose(logits, &mut self.workspace)?;
            let report = stream
                .logprobs
                .map(|count| logprobs(logits, id, usize::from(count)));
            Some((model.token(id)?, report))
        });
        let Some((token, report)) = chosen else {
            return self.end(
                place,
                Finish::Failed {
                    code: codes::COMPUTE_NOT_FINITE.to_owned(),
                },
            );
        };
        let is_end = model.is_end(token);
        let finish = stream.take(token, is_end);
        let id = stream.id;
        if !is_end {
            let piece = |id: u32| {
                model
                    .token(id)
                    .map(|token| model.piece(token))
                    .unwrap_or_default()
            };
            let logprobs = report.map(|(chosen, top)| Logprobs {
                chosen,
                top: top
                    .into_iter()
                    .map(|(id, logprob)| (piece(id), logprob))
                    .collect(),
            });
            let event = TokenEvent {
                stream: id,
                id: token.id(),
                bytes: model.piece(token),
                logprobs,
            };
            self.emit(FromEngine::Token(Box::new(event)));
        }
        match finish {
            Some(finish) => self.end(place, finish),
            None => Ok(()),
        }
    }

    /// After an abort: what llama.cpp kept of the plan is computed, the rest comes again.
    fn look_at_what_is_computed(&mut self, plan: &Plan) -> Result<(), StepFailure> {
        for (place, _) in &plan.parts {
            let Ok(sequence) = u32::try_from(*place) else {
                continue;
            };
            let last = self.context.last_position(sequence)?;
            let count = last
                .and_then(|last| usize::try_from(last).ok())
                .map_or(0, |last| last + 1);
            if let Some(stream) = self.places.get_mut(*place).and_then(Option::as_mut) {
                stream.set_computed(count);
            }
        }
        Ok(())
    }

    /// Ends the streams of a plan that could not be computed; the others go on.
    fn fail(&mut self, plan: &Plan, error: DecodeError) -> Result<(), StepFailure> {
        for (place, _) in &plan.parts {
            self.end(
                *place,
                Finish::Failed {
                    code: codes::COMPUTE_FAILED.to_owned(),
                },
            )?;
        }
        self.failed_step_count += 1;
        if self.failed_step_count >= FAILED_STEP_COUNT_MAX {
            Err(StepFailure::Compute(error))
        } else {
            Ok(())
        }
    }

    fn end_all(&mut self, finish: &Finish) -> Result<(), StepFailure> {
        (0..self.places.len()).try_for_each(|place| self.end(place, finish.clone()))
    }

    /// Ends the stream at `place`, if there is one, and frees the place.
    fn end(&mut self, place: usize, finish: Finish) -> Result<(), StepFailure> {
        let Some(stream) = self.places.get_mut(place).and_then(Option::take) else {
            return Ok(());
        };
        self.prefilling.retain(|prefilling| *prefilling != place);
        if let Ok(sequence) = u32::try_from(place) {
            self.context.forget(sequence, 0)?;
        }
        self.finish(&stream, finish);
        Ok(())
    }

    fn finish(&mut self, stream: &Stream, finish: Finish) {
        self.pulse.end_work();
        self.emit(FromEngine::Done {
            stream: stream.id,
            finish,
            prompt_tokens: stream.prompt_tokens(),
            completion_tokens: stream.completion_tokens(),
            cached_tokens: 0,
        });
    }

    /// Hands an event to the writer. A gateway that lets its events pile up is cut off; its reader then says `Gone`,
    /// which cancels its streams.
    fn emit(&mut self, event: FromEngine) {
        if let Some(gateway) = &self.gateway
            && gateway.events.try_send(event).is_err()
        {
            let _already_closed = gateway.socket.shutdown(std::net::Shutdown::Both);
        }
    }

    fn is_connected(&self, connection: ConnectionId) -> bool {
        self.gateway
            .as_ref()
            .is_some_and(|gateway| gateway.connection == connection)
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.places.iter().all(Option::is_none)
    }

    fn free_place_count(&self) -> usize {
        self.places.iter().filter(|place| place.is_none()).count()
    }

    fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.places.iter().flatten().chain(&self.waiting)
    }

    fn stream_at(&self, place: usize) -> Option<&Stream> {
        self.places.get(place).and_then(Option::as_ref)
    }

    fn place_of(&self, id: u64) -> Option<usize> {
        self.places
            .iter()
            .position(|place| place.as_ref().is_some_and(|stream| stream.id == id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stream_that_is_prefilled_alone_can_cut_its_step_short() {
        let abort = AbortFlag::default();
        let interrupt = Interrupt::new(abort.clone());
        let is_cut = |alone: Option<u64>, stream: u64| {
            abort.lower();
            interrupt.set_alone(alone);
            interrupt.cut_short(stream);
            abort.is_raised()
        };
        assert!(is_cut(Some(5), 5));
        assert!(is_cut(Some(0), 0));
        assert!(!is_cut(Some(5), 6));
        assert!(!is_cut(None, 0));
        assert!(!is_cut(None, 5));
        abort.lower();
        interrupt.cut_short_all();
        assert!(abort.is_raised());
    }
}
