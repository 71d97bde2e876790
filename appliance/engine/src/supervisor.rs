//! The conversation with the supervisor once the engine serves: orders in, heartbeats out.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use jingui_ipc::engine::{Order, Report};
use jingui_ipc::{Channel, ChannelError};

use crate::pulse::Pulse;

/// Twice as often as the protocol asks for, so that a busy machine does not miss it.
pub const BEAT_INTERVAL: Duration = Duration::from_millis(500);
/// A supervisor that takes no report for so long is gone.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);

/// What the supervisor's orders are carried out by.
pub trait Orders {
    /// Why an order could not be carried out; the engine ends with it.
    type Error;

    /// A new socket to a gateway.
    ///
    /// # Errors
    /// When it cannot be taken.
    fn gateway(&mut self, socket: OwnedFd) -> Result<(), Self::Error>;

    /// Finish running streams within that time.
    ///
    /// # Errors
    /// When it cannot be passed on.
    fn drain(&mut self, within: Duration) -> Result<(), Self::Error>;

    /// Compute with so many threads from the next step on.
    ///
    /// # Errors
    /// When it cannot be passed on.
    fn threads(&mut self, count: u32) -> Result<(), Self::Error>;

    /// Whether the step thread has ended, so that there is nothing more to supervise.
    fn is_over(&self) -> bool;
}

/// Why the conversation ended.
#[derive(Debug, thiserror::Error)]
pub enum SupervisionError<E> {
    /// The supervisor closed its end, as it does when it dies.
    #[error("the supervisor is gone")]
    Gone,
    /// What came is no order of this conversation at this place.
    #[error("the supervisor broke the protocol")]
    Protocol(#[source] Option<ChannelError>),
    /// The socket cannot be set up.
    #[error("the supervisor's socket cannot be set up")]
    Socket(#[source] io::Error),
    /// An order could not be carried out.
    #[error("an order could not be carried out")]
    Order(#[source] E),
}

/// Obeys and reports until the step thread has ended.
///
/// The beat comes from this thread, its count from the step thread: when that hangs, beats go on with a count that
/// stands still.
///
/// # Errors
/// Every [`SupervisionError`].
pub fn supervise<O: Orders>(
    channel: &mut Channel,
    pulse: &Pulse,
    orders: &mut O,
) -> Result<(), SupervisionError<O::Error>> {
    channel
        .socket()
        .set_read_timeout(Some(BEAT_INTERVAL))
        .map_err(SupervisionError::Socket)?;
    channel
        .socket()
        .set_write_timeout(Some(WRITE_PATIENCE))
        .map_err(SupervisionError::Socket)?;
    let mut next_beat = Instant::now();
    while !orders.is_over() {
        if Instant::now() >= next_beat {
            let beat = Report::Beat {
                step_count: pulse.progress(),
                work_count: pulse.work_count(),
                figures: pulse.figures(),
            };
            channel.send(&beat).map_err(|_| SupervisionError::Gone)?;
            next_beat = Instant::now() + BEAT_INTERVAL;
        }
        match channel.receive::<Order>() {
            Ok(order) => obey(order, channel, orders)?,
            Err(ChannelError::Socket(error)) if is_time_out(&error) => {}
            Err(ChannelError::Closed | ChannelError::CutOff | ChannelError::Socket(_)) => {
                return Err(SupervisionError::Gone);
            }
            Err(error @ ChannelError::Frame(_)) => return Err(SupervisionError::Protocol(Some(error))),
        }
    }
    Ok(())
}

fn obey<O: Orders>(
    order: Order,
    channel: &mut Channel,
    orders: &mut O,
) -> Result<(), SupervisionError<O::Error>> {
    match order {
        Order::Gateway => {
            let mut descriptors = channel.take_descriptors();
            let (Some(socket), true) = (descriptors.pop(), descriptors.is_empty()) else {
                return Err(SupervisionError::Protocol(None));
            };
            orders.gateway(socket).map_err(SupervisionError::Order)
        }
        Order::Drain { deadline_ms } => orders
            .drain(Duration::from_millis(deadline_ms))
            .map_err(SupervisionError::Order),
        Order::Threads { count } => orders.threads(count).map_err(SupervisionError::Order),
        Order::Load(_) => Err(SupervisionError::Protocol(None)),
    }
}

fn is_time_out(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
