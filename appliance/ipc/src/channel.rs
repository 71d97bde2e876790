//! A blocking channel of messages over a Unix stream socket, with descriptors attached to a message.
//!
//! Owned by one thread per direction ([`Channel::try_clone`]). The gateway's tokio side uses [`crate::Decoder`]
//! and [`crate::encode`] on its own sockets instead.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::frame::{Decoder, FrameError, encode};

/// Most descriptors attached to one message.
pub const DESCRIPTORS_MAX: usize = 16;

const READ_BYTES: usize = 64 * 1024;

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The peer closed its end between two messages.
    #[error("the peer closed the conversation")]
    Closed,
    /// The peer closed its end inside a message.
    #[error("the peer closed the conversation inside a message")]
    CutOff,
    /// The socket failed.
    #[error("the socket failed")]
    Socket(#[from] io::Error),
    /// The peer sent what is no message of this conversation.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// One end of a conversation.
#[derive(Debug)]
pub struct Channel {
    socket: UnixStream,
    decoder: Decoder,
    descriptors: Vec<OwnedFd>,
}

impl Channel {
    /// Wraps a connected stream socket.
    #[must_use]
    pub fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            decoder: Decoder::new(),
            descriptors: Vec::new(),
        }
    }

    /// As [`Channel::new`], for a peer from which no message above `bytes_max` is taken.
    #[must_use]
    pub fn bounded(socket: UnixStream, bytes_max: usize) -> Self {
        Self {
            decoder: Decoder::bounded(bytes_max),
            ..Self::new(socket)
        }
    }

    /// A second handle on the same socket, for a thread that only sends.
    ///
    /// # Errors
    /// When the descriptor cannot be duplicated.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self::new(self.socket.try_clone()?))
    }

    /// The socket, for time-outs and shutdown.
    #[must_use]
    pub fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// Sends one message; blocks while the peer's buffer is full.
    ///
    /// # Errors
    /// [`ChannelError::Frame`] when it is too long (nothing was sent), else [`ChannelError::Socket`].
    pub fn send<T: Serialize>(&mut self, message: &T) -> Result<(), ChannelError> {
        self.socket.write_all(&encode(message)?)?;
        Ok(())
    }

    /// Sends one message with descriptors, of which the peer gets duplicates.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub fn send_with<T: Serialize>(
        &mut self,
        message: &T,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        let frame = encode(message)?;
        let sent = jingui_jail::send_descriptors(self.socket.as_fd(), &frame, descriptors)?;
        self.socket.write_all(frame.get(sent..).unwrap_or_default())?;
        Ok(())
    }

    /// Waits for the next message. Descriptors that came with it, or with a message before it that nobody took
    /// them from, are in [`Channel::take_descriptors`].
    ///
    /// # Errors
    /// [`ChannelError::Closed`] at the end; a time-out set on the socket shows as [`ChannelError::Socket`].
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<T, ChannelError> {
        loop {
            if let Some(message) = self.decoder.next()? {
                return Ok(message);
            }
            let mut buffer = vec![0; READ_BYTES];
            let received =
                jingui_jail::receive_descriptors(self.socket.as_fd(), &mut buffer, DESCRIPTORS_MAX)?;
            self.descriptors.extend(received.descriptors);
            self.descriptors.truncate(DESCRIPTORS_MAX);
            if received.byte_count == 0 {
                return Err(if self.decoder.is_at_border() {
                    ChannelError::Closed
                } else {
                    ChannelError::CutOff
                });
            }
            self.decoder
                .push(buffer.get(..received.byte_count).unwrap_or_default());
        }
    }

    /// Descriptors received so far and not yet taken, in the order in which the peer attached them.
    pub fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.descriptors)
    }
}
