//! What we send to a peer: queued, written by its own thread, so that a peer that does not read cannot stop the
//! loop. A peer whose queue is full is broken and is cut off.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::Serialize;

/// Messages that may wait for one peer.
pub(crate) const PARCELS_MAX: usize = 256;
/// How long a peer may take for its last message when the box stops.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(1);

/// The queue of one peer. Dropping it lets the thread write what waits and end.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: SyncSender<Parcel>,
    socket: UnixStream,
    writer: JoinHandle<()>,
}

/// The peer does not read, or is gone: it has to be cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer does not take what it is sent")]
pub(crate) struct Stuck;

#[derive(Debug)]
struct Parcel {
    frame: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Outbox {
    /// Starts the writing thread of a peer.
    pub(crate) fn start(socket: &UnixStream, name: &str) -> io::Result<Self> {
        let (queue, parcels) = sync_channel(PARCELS_MAX);
        let writer = socket.try_clone()?;
        let socket = socket.try_clone()?;
        let writer = thread::Builder::new()
            .name(format!("to-{name}"))
            .spawn(move || write_all(writer, &parcels))?;
        Ok(Self {
            queue,
            socket,
            writer,
        })
    }

    /// Queues a message; never blocks.
    pub(crate) fn post<T: Serialize>(&self, message: &T, descriptors: Vec<OwnedFd>) -> Result<(), Stuck> {
        // A message of ours that is too long for a frame is a bug of ours; the peer cannot go on without it either.
        let frame = jingui_ipc::encode(message).map_err(|_| Stuck)?;
        self.queue
            .try_send(Parcel { frame, descriptors })
            .map_err(|error| match error {
                TrySendError::Full(_) | TrySendError::Disconnected(_) => Stuck,
            })
    }

    /// Writes what waits and ends the conversation; waits for a peer that does not read for at most
    /// [`LAST_WORDS`].
    pub(crate) fn finish(self) {
        let Self {
            queue,
            socket,
            writer,
        } = self;
        // Without the limit a stuck peer could keep the box from stopping; then it is cut off instead.
        if socket.set_write_timeout(Some(LAST_WORDS)).is_err() {
            let _ = socket.shutdown(Shutdown::Both);
        }
        drop(queue);
        // The writer's panic is no reason to stop ending the others.
        let _ = writer.join();
    }

    /// Ends the conversation at once, both ways; also frees a writer that hangs in a write.
    pub(crate) fn cut(&self) {
        // Fails only when the peer has ended it before.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

fn write_all(mut socket: UnixStream, parcels: &Receiver<Parcel>) {
    while let Ok(parcel) = parcels.recv() {
        if write(&mut socket, &parcel).is_err() {
            // The reader of this peer sees the end as well and tells the loop.
            let _ = socket.shutdown(Shutdown::Both);
            return;
        }
    }
}

fn write(socket: &mut UnixStream, parcel: &Parcel) -> io::Result<()> {
    let descriptors: Vec<BorrowedFd<'_>> = parcel.descriptors.iter().map(AsFd::as_fd).collect();
    let sent = jingui_jail::send_descriptors(socket.as_fd(), &parcel.frame, &descriptors)?;
    socket.write_all(parcel.frame.get(sent..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jingui_ipc::Channel;

    #[test]
    fn messages_arrive_in_order_with_their_descriptors() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let outbox = Outbox::start(&ours, "test").unwrap();
        let file: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        outbox.post(&1_u32, vec![file]).unwrap();
        outbox.post(&2_u32, Vec::new()).unwrap();
        let mut channel = Channel::new(theirs);
        assert_eq!(channel.receive::<u32>().unwrap(), 1);
        assert_eq!(channel.take_descriptors().len(), 1);
        assert_eq!(channel.receive::<u32>().unwrap(), 2);
    }

    #[test]
    fn a_peer_that_does_not_read_never_blocks_the_sender_and_is_found_out() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let outbox = Outbox::start(&ours, "test").unwrap();
        let message = "x".repeat(1024 * 1024);
        let taken = (0..)
            .take_while(|_| outbox.post(&message, Vec::new()).is_ok())
            .count();
        // One more may be in the writer's hands.
        assert!((PARCELS_MAX..=PARCELS_MAX + 1).contains(&taken), "{taken}");
        outbox.cut();
    }
}
