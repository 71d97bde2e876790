//! The life of a worker behind its walls: report, load, serve, end.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jingui_ipc::engine::{Load, Memory, Order, Report};
use jingui_ipc::{Channel, ChannelError};

use crate::codes;
use crate::gateway::{ConnectError, Connector};
use crate::load::{LoadFailure, Loaded, load};
use crate::pulse::Pulse;
use crate::step::{COMMAND_COUNT_MAX, Command, Interrupt, StepFailure, StepLoop};
use crate::supervisor::{Orders, SupervisionError, supervise};
use crate::tokens::Tokenizer;

/// Longest time to drain. More is no order but a mistake, and far from what a clock can add.
const DRAIN_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a worker ended other than by an order.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The supervisor could not be told or understood.
    #[error("the conversation with the supervisor failed")]
    Supervisor(#[from] ChannelError),
    /// The first order was none to load.
    #[error("the first order is not to load")]
    Order,
    /// The model was not loaded; the supervisor was told.
    #[error("the model was not loaded")]
    Load(#[from] LoadFailure),
    /// The supervisor's orders ended.
    #[error("supervision ended")]
    Supervision(#[from] SupervisionError<ConnectError>),
    /// A thread could not be started.
    #[error("the step thread could not be started")]
    Thread(#[source] std::io::Error),
    /// The step thread failed.
    #[error("the step thread failed")]
    Step(#[from] StepFailure),
    /// The step thread panicked.
    #[error("the step thread panicked")]
    StepPanic,
}

/// Runs the worker: `Confined`, one `Load`, `Loading`, `Serving`, then beats until the end.
///
/// To be called behind the walls, with the Landlock ABI that is in force. Returns when the engine has drained.
///
/// # Errors
/// Every [`EngineError`]; the process must end then.
pub fn serve(channel: Channel, weights: OwnedFd, landlock_abi: u32) -> Result<(), EngineError> {
    serve_with(channel, weights, None, landlock_abi)
}

/// As [`serve`], with the file of the disk tier when the supervisor handed one over.
///
/// # Errors
/// Every [`EngineError`]; the process must end then.
pub fn serve_with(
    mut channel: Channel,
    weights: OwnedFd,
    disk: Option<OwnedFd>,
    landlock_abi: u32,
) -> Result<(), EngineError> {
    channel.send(&Report::Confined { landlock_abi })?;
    let order = first_order(&mut channel)?;
    let loaded = load_and_report(&mut channel, &order, weights, disk)?;
    let abort = loaded.context.abort_flag();
    let pulse = Pulse::new(abort.clone());
    let interrupt = Interrupt::new(abort);
    let (commands, queue) = sync_channel(COMMAND_COUNT_MAX);
    let connector = Connector::new(
        Tokenizer::new(loaded.context.model().clone()),
        commands.clone(),
        interrupt.clone(),
        pulse.clone(),
        loaded.stream_context_tokens,
    );
    connector.warm_up().map_err(EngineError::Thread)?;
    let serving = Report::Serving {
        stream_context_tokens: loaded.stream_context_tokens,
        stream_count: loaded.stream_count,
        memory: memory_of(&loaded.context),
    };
    let steps = StepLoop::new(loaded, queue, interrupt, pulse.clone());
    let thread = thread::Builder::new()
        .name("step".to_owned())
        .spawn(move || steps.run())
        .map_err(EngineError::Thread)?;
    let mut orders = Serving {
        connector,
        commands,
        thread,
    };
    channel.send(&serving)?;
    match supervise(&mut channel, &pulse, &mut orders) {
        Ok(()) => orders.end(),
        Err(error) => {
            orders.stop();
            Err(error.into())
        }
    }
}

fn memory_of(context: &jingui_llama::Context) -> Memory {
    let memory = context.memory();
    Memory {
        weights_bytes: memory.weights,
        kv_bytes: memory.kv,
        compute_bytes: memory.compute,
    }
}

fn first_order(channel: &mut Channel) -> Result<Load, EngineError> {
    match channel.receive() {
        Ok(Order::Load(load)) => Ok(load),
        Ok(_) | Err(ChannelError::Frame(_)) => {
            channel.send(&Report::Failed {
                code: codes::ORDER.to_owned(),
            })?;
            Err(EngineError::Order)
        }
        Err(error) => Err(error.into()),
    }
}

fn load_and_report(
    channel: &mut Channel,
    order: &Load,
    weights: OwnedFd,
    disk: Option<OwnedFd>,
) -> Result<Loaded, EngineError> {
    let mut told = None;
    let loaded = load(order, weights, disk, |part| {
        let permille = permille(part);
        if told == Some(permille) {
            return true;
        }
        told = Some(permille);
        // A supervisor that is gone cannot be told; the worker must not go on without it.
        channel.send(&Report::Loading { permille }).is_ok()
    });
    if let Err(failure) = &loaded {
        channel.send(&Report::Failed {
            code: failure.code().to_owned(),
        })?;
    }
    Ok(loaded?)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and 1000 after the clamp"
)]
fn permille(part: f32) -> u16 {
    (part.clamp(0.0, 1.0) * 1000.0) as u16
}

/// How long a worker that must end waits for its step thread: C++ must not compute while the process takes itself down.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
const STOP_LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A worker that serves.
struct Serving {
    connector: Connector,
    commands: SyncSender<Command>,
    thread: JoinHandle<Result<(), StepFailure>>,
}

impl Serving {
    /// Not a blocking send: a step thread that hangs must not silence the heartbeat.
    fn pass_on(&self, command: Command) -> Result<(), ConnectError> {
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => ConnectError::StepThread,
        })
    }

    fn end(self) -> Result<(), EngineError> {
        let outcome = self.thread.join().map_err(|_| EngineError::StepPanic)?;
        drop(self.commands);
        self.connector.flush();
        Ok(outcome?)
    }

    /// Ends the streams, which their gateway is told, and waits a moment for the step thread. One that hangs is left to
    /// the end of the process.
    fn stop(self) {
        let _hangs_or_has_ended = self.commands.try_send(Command::Drain(Instant::now()));
        self.connector.interrupt.cut_short_all();
        let until = Instant::now() + STOP_PATIENCE;
        while !self.thread.is_finished() && Instant::now() < until {
            thread::sleep(STOP_LOOK_INTERVAL);
        }
        if self.thread.is_finished() {
            self.connector.flush();
        }
    }
}

impl Orders for Serving {
    type Error = ConnectError;

    fn gateway(&mut self, socket: OwnedFd) -> Result<(), ConnectError> {
        self.connector.connect(socket)
    }

    fn drain(&mut self, within: Duration) -> Result<(), ConnectError> {
        self.pass_on(Command::Drain(Instant::now() + within.min(DRAIN_MAX)))
    }

    fn threads(&mut self, count: u32) -> Result<(), ConnectError> {
        self.pass_on(Command::Threads(count))
    }

    fn is_over(&self) -> bool {
        self.thread.is_finished()
    }
}
