//! The step loop: the one thread that owns the llama contexts.
//!
//! Each step takes all waiting commands, asks [`jingui_sched`] what to do, does it, chooses tokens and hands them out:
//! `commands` is what comes in, `compute` what is computed, `choosing` what becomes of the rows, `events` what goes out.
//!
//! It never waits for a gateway: one that does not read its events is dropped, and its streams with it.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use jingui_ipc::engine::{Figures, FromEngine};
use jingui_llama::{DecodeError, SequenceError};
use jingui_sched::{Drafter, Micros, Scheduler, Shape};

use crate::choose::Pool;
use crate::load::Loaded;
use crate::pulse::Pulse;
use crate::stream::{Request, Stream};

mod blocks;
mod choosing;
mod commands;
mod compute;
mod drafts;
mod events;
mod interrupt;

use compute::Device;
use drafts::StreamDrafts;
pub use interrupt::Interrupt;

/// Most streams that wait for a place. One more is told that the engine is overloaded.
pub const WAITING_COUNT_MAX: usize = 256;
/// Most streams of one tenant that wait.
pub const WAITING_PER_TENANT_MAX: usize = 64;
/// Commands not yet taken; a reader with more waits.
pub const COMMAND_COUNT_MAX: usize = 256;
/// Steps that may fail one after another before the worker gives up and is made anew.
const FAILED_STEP_COUNT_MAX: u32 = 3;
/// How long the loop rests when all streams wait for blocks from the tiers.
const REST: Duration = Duration::from_micros(500);

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
    /// Compute with so many threads.
    Threads(u32),
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
    /// A sequence cannot be freed or shared.
    #[error("a sequence could not be changed")]
    Sequence(#[from] SequenceError),
}

/// The state of the step thread.
#[derive(Debug)]
pub struct StepLoop {
    device: Device,
    scheduler: Scheduler,
    streams: BTreeMap<u64, Stream>,
    drafter: Drafter,
    stream_context_tokens: u32,
    pool: Pool,
    gateway: Option<Gateway>,
    commands: Receiver<Command>,
    interrupt: Interrupt,
    pulse: Pulse,
    began: Instant,
    drain_until: Option<Instant>,
    failed_step_count: u32,
}

impl StepLoop {
    /// A loop over a loaded model.
    #[must_use]
    pub fn new(loaded: Loaded, commands: Receiver<Command>, interrupt: Interrupt, pulse: Pulse) -> Self {
        let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let has_tiers = loaded.tiers.is_any() && loaded.context.is_divisible();
        let shape = Shape {
            running_max: size(loaded.stream_count),
            sequence_count: loaded.pool_sequences,
            kv_cells: size(loaded.context.context_tokens()),
            batch_rows: loaded.context.batch().row_count_max(),
            output_rows: size(loaded.output_rows),
            context_tokens: size(loaded.stream_context_tokens),
            waiting_max: WAITING_COUNT_MAX,
            waiting_per_tenant_max: WAITING_PER_TENANT_MAX,
            has_tiers,
            idle_leaves: has_tiers && loaded.tiers.bytes_max() >= loaded.context.memory().kv,
        };
        Self {
            scheduler: Scheduler::new(shape),
            streams: BTreeMap::new(),
            drafter: Drafter::new(),
            stream_context_tokens: loaded.stream_context_tokens,
            pool: Pool::new(size(loaded.thread_count)),
            device: Device::new(loaded),
            gateway: None,
            commands,
            interrupt,
            pulse,
            began: Instant::now(),
            drain_until: None,
            failed_step_count: 0,
        }
    }

    /// Runs until it is drained or nobody is left to command it.
    ///
    /// # Errors
    /// Every [`StepFailure`]; the worker must end then.
    pub fn run(mut self) -> Result<(), StepFailure> {
        let mut rests = false;
        loop {
            // Lowered before commands are taken: what is raised for a command taken below costs one repeated step,
            // what is raised for a later one ends the step.
            self.interrupt.lower();
            if !self.take_commands(rests) || self.is_drained() {
                return Ok(());
            }
            rests = !self.step()?;
            self.pulse.step();
        }
    }

    /// Makes a step; `false` when there was nothing to compute.
    fn step(&mut self) -> Result<bool, StepFailure> {
        let now = self.now();
        let mut drafts = StreamDrafts {
            streams: &mut self.streams,
            drafter: &mut self.drafter,
            is_possible: self.device.is_divisible(),
        };
        let step = self.scheduler.plan(now, &mut drafts);
        self.tell_of(&step);
        let (outcome, over) = self.compute(&step)?;
        self.scheduler.advance(&step, &outcome, self.now());
        self.end_streams(over);
        self.pulse.publish(self.figures());
        Ok(!step.parts.is_empty())
    }

    /// Microseconds since the loop was made.
    fn now(&self) -> Micros {
        Micros::try_from(self.began.elapsed().as_micros()).unwrap_or(Micros::MAX)
    }

    fn figures(&self) -> Figures {
        let figures = self.scheduler.figures();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Figures {
            running_count: count(figures.running_count),
            waiting_count: count(figures.waiting_count),
            kv_used_tokens: count(figures.kv_used),
            prompt_tokens: figures.prompt_tokens,
            cached_tokens: figures.cached_tokens,
            completion_tokens: figures.completion_tokens,
            drafted_tokens: figures.drafted_tokens,
            accepted_tokens: figures.accepted_tokens,
        }
    }
}
