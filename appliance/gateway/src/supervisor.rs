//! The link to the supervisor: questions with numbered answers, and its orders.
//!
//! One task reads the control socket, one writes it. When the socket closes the gateway has nobody to serve for:
//! [`Supervisor::closed`] resolves and the process exits. Every question has a deadline.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jingui_ipc::channel::DESCRIPTORS_MAX;
use jingui_ipc::gateway::{Answer, Ask, ToGateway, ToSupervisor};
use jingui_ipc::{Decoder, FrameError, encode};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use crate::closing::Closing;

/// Questions that may be open at once; more are refused as if the supervisor were gone.
pub const QUESTION_COUNT_MAX: usize = 1024;
/// Messages that may wait for the socket.
const OUTBOX_COUNT_MAX: usize = 2 * QUESTION_COUNT_MAX;
/// Orders that may wait for the gateway's loop.
const INBOX_COUNT_MAX: usize = 64;
/// How often [`ToSupervisor::Beat`] is sent; the supervisor wants it at least once a second.
const BEAT_PERIOD: Duration = Duration::from_millis(500);
const READ_BYTES: usize = 64 * 1024;

/// An order, with the descriptor that came with it.
#[derive(Debug)]
pub struct FromSupervisor {
    /// The message; never an answer.
    pub message: ToGateway,
    /// Descriptor that belongs to it.
    pub descriptor: Option<OwnedFd>,
}

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskFailure {
    /// The control socket is closed.
    #[error("the supervisor is gone")]
    Gone,
    /// No answer came in time.
    #[error("the supervisor did not answer in time")]
    Slow,
    /// Too many questions are open.
    #[error("too many questions to the supervisor are open")]
    Overloaded,
}

/// Handle for asking; cheap to clone.
#[derive(Debug, Clone)]
pub struct Supervisor {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    outbox: mpsc::Sender<Vec<u8>>,
    open: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    next_number: AtomicU64,
    closing: Closing,
}

impl Supervisor {
    /// Starts the tasks of the link on the current runtime; the heartbeat starts with them.
    ///
    /// # Errors
    /// When the socket cannot be made asynchronous.
    pub fn start(
        socket: std::os::unix::net::UnixStream,
    ) -> io::Result<(Self, mpsc::Receiver<FromSupervisor>)> {
        socket.set_nonblocking(true)?;
        let socket = Arc::new(UnixStream::from_std(socket)?);
        let (outbox, waiting) = mpsc::channel(OUTBOX_COUNT_MAX);
        let (orders, inbox) = mpsc::channel(INBOX_COUNT_MAX);
        let inner = Arc::new(Inner {
            outbox,
            open: Mutex::new(HashMap::new()),
            next_number: AtomicU64::new(1),
            closing: Closing::default(),
        });
        tokio::spawn(read_all(Arc::clone(&socket), Arc::clone(&inner), orders));
        tokio::spawn(write_all(socket, Arc::clone(&inner), waiting));
        let supervisor = Self { inner };
        tokio::spawn(beat(supervisor.clone()));
        Ok((supervisor, inbox))
    }

    /// Asks and waits for the answer, at most `wait`.
    ///
    /// # Errors
    /// Any [`AskFailure`]; what was asked may have been done all the same.
    pub async fn ask(&self, ask: Ask, wait: Duration) -> Result<Answer, AskFailure> {
        let number = self.inner.next_number.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        {
            let mut open = self.inner.open.lock().unwrap_or_else(PoisonError::into_inner);
            if open.len() >= QUESTION_COUNT_MAX {
                return Err(AskFailure::Overloaded);
            }
            open.insert(number, answer);
        }
        let _forget = Forget {
            inner: &self.inner,
            number,
        };
        if self.inner.closing.is_closed() {
            return Err(AskFailure::Gone);
        }
        self.send(&ToSupervisor::Ask { number, ask })?;
        match tokio::time::timeout(wait, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(AskFailure::Gone),
            Err(_) => Err(AskFailure::Slow),
        }
    }

    /// Sends a message without waiting for the socket.
    ///
    /// # Errors
    /// [`AskFailure::Gone`] or [`AskFailure::Overloaded`].
    pub fn send(&self, message: &ToSupervisor) -> Result<(), AskFailure> {
        let frame = encode(message).map_err(|_| AskFailure::Overloaded)?;
        self.inner.outbox.try_send(frame).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AskFailure::Overloaded,
            mpsc::error::TrySendError::Closed(_) => AskFailure::Gone,
        })
    }

    /// Resolves when the control socket is closed.
    pub async fn closed(&self) {
        self.inner.closing.wait().await;
    }
}

/// Takes a question off the list however waiting for it ends.
struct Forget<'a> {
    inner: &'a Inner,
    number: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.inner
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.number);
    }
}

impl Inner {
    fn close(&self) {
        self.closing.close();
        // Dropping the senders wakes everybody who waits.
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

async fn read_all(socket: Arc<UnixStream>, inner: Arc<Inner>, orders: mpsc::Sender<FromSupervisor>) {
    // Whatever ends the conversation, the gateway must go: nothing after a broken frame can be trusted.
    let _ended = read_until_closed(&socket, &inner, &orders).await;
    inner.close();
}

async fn read_until_closed(
    socket: &UnixStream,
    inner: &Inner,
    orders: &mpsc::Sender<FromSupervisor>,
) -> Result<(), FrameError> {
    let mut decoder = Decoder::new();
    let mut descriptors: VecDeque<OwnedFd> = VecDeque::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let received = socket
            .async_io(Interest::READABLE, || {
                jingui_jail::receive_descriptors(socket.as_fd(), &mut buffer, DESCRIPTORS_MAX)
            })
            .await;
        let Ok(received) = received else { return Ok(()) };
        if received.byte_count == 0 {
            return Ok(());
        }
        descriptors.extend(received.descriptors);
        descriptors.truncate(DESCRIPTORS_MAX);
        decoder.push(buffer.get(..received.byte_count).unwrap_or_default());
        while let Some(message) = decoder.next::<ToGateway>()? {
            match message {
                ToGateway::Answer { number, answer } => {
                    let waiting = inner
                        .open
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .remove(&number);
                    if let Some(waiting) = waiting {
                        // The asker may have given up; then nobody needs the answer.
                        let _ = waiting.send(answer);
                    }
                }
                message => {
                    let descriptor = match message {
                        ToGateway::Engine(_) => descriptors.pop_front(),
                        _ => None,
                    };
                    if orders.send(FromSupervisor { message, descriptor }).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }
}

async fn write_all(socket: Arc<UnixStream>, inner: Arc<Inner>, mut waiting: mpsc::Receiver<Vec<u8>>) {
    write_until_closed(&socket, &inner.closing, &mut waiting).await;
    inner.close();
}

/// Writes frames until the socket fails or the conversation is closed.
pub(crate) async fn write_until_closed(
    socket: &UnixStream,
    closing: &Closing,
    waiting: &mut mpsc::Receiver<Vec<u8>>,
) {
    loop {
        let frame = tokio::select! {
            () = closing.wait() => return,
            frame = waiting.recv() => frame,
        };
        let Some(frame) = frame else { return };
        let written = tokio::select! {
            () = closing.wait() => return,
            written = write_frame(socket, &frame) => written,
        };
        if written.is_err() {
            return;
        }
    }
}

async fn write_frame(socket: &UnixStream, frame: &[u8]) -> io::Result<()> {
    let mut rest = frame;
    while !rest.is_empty() {
        socket.writable().await?;
        match socket.try_write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn beat(supervisor: Supervisor) {
    let mut ticks = tokio::time::interval(BEAT_PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = supervisor.closed() => return,
            _ = ticks.tick() => {
                if supervisor.send(&ToSupervisor::Beat) == Err(AskFailure::Gone) {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jingui_ipc::Channel;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn link() -> (Supervisor, mpsc::Receiver<FromSupervisor>, Channel) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let (supervisor, orders) = Supervisor::start(theirs).unwrap();
        (supervisor, orders, Channel::new(ours))
    }

    #[tokio::test]
    async fn questions_are_taken_up_to_their_number_and_given_up_ones_make_room() {
        let (supervisor, _orders, _channel) = link();
        let asking: Vec<_> = (0..QUESTION_COUNT_MAX)
            .map(|_| {
                let supervisor = supervisor.clone();
                tokio::spawn(async move { supervisor.ask(Ask::Status, PATIENCE).await })
            })
            .collect();
        let open = || supervisor.inner.open.lock().unwrap().len();
        while open() < QUESTION_COUNT_MAX {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            supervisor.ask(Ask::Status, PATIENCE).await.unwrap_err(),
            AskFailure::Overloaded
        );
        asking.iter().for_each(tokio::task::JoinHandle::abort);
        while open() > 0 {
            tokio::task::yield_now().await;
        }
        let unanswered = supervisor.ask(Ask::Status, Duration::from_millis(50)).await;
        assert_eq!(unanswered.unwrap_err(), AskFailure::Slow);
    }

    #[tokio::test]
    async fn a_closed_socket_answers_everybody_who_waits() {
        let (supervisor, _orders, channel) = link();
        let waiting = {
            let supervisor = supervisor.clone();
            tokio::spawn(async move { supervisor.ask(Ask::Models, PATIENCE).await })
        };
        while supervisor.inner.open.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        drop(channel);
        assert_eq!(waiting.await.unwrap().unwrap_err(), AskFailure::Gone);
        supervisor.closed().await;
        assert_eq!(
            supervisor.ask(Ask::Models, PATIENCE).await.unwrap_err(),
            AskFailure::Gone
        );
    }

    #[tokio::test]
    async fn an_answer_nobody_asked_for_and_bytes_of_nobody_are_survived_or_end_it() {
        use std::io::Write;
        let (supervisor, mut orders, mut channel) = link();
        let answer = Answer::Recorded { leaf_index: 1 };
        channel.send(&ToGateway::Answer { number: 99, answer }).unwrap();
        channel.send(&ToGateway::Drain { deadline_ms: 5 }).unwrap();
        let order = orders.recv().await.unwrap();
        assert!(matches!(order.message, ToGateway::Drain { deadline_ms: 5 }));
        channel.socket().write_all(&[0xff; 16]).unwrap();
        supervisor.closed().await;
    }
}
