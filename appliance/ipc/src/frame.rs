//! Frames: a little-endian `u32` length, then that many bytes of postcard.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest frame body in bytes. A chat request of the largest accepted size (32 MiB) fits with its envelope.
pub const FRAME_BYTES_MAX: usize = 40 * 1024 * 1024;

const LENGTH_BYTES: usize = 4;

/// Why bytes from a peer are not a message of ours. The conversation ends with it.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The announced length is above [`FRAME_BYTES_MAX`], or above the smaller bound of this conversation.
    #[error("a frame of {announced} bytes is longer than this conversation has")]
    TooLong {
        /// Length that the peer announced, in bytes.
        announced: usize,
    },
    /// The body is not a message of the expected list.
    #[error("a frame is not a message of this conversation")]
    Malformed(#[source] postcard::Error),
    /// Bytes remain in the frame after the message.
    #[error("a frame has {0} bytes after its message")]
    Trailing(usize),
}

/// One message as a frame, ready to be written.
///
/// # Errors
/// [`FrameError::TooLong`] when the message does not fit; nothing may be sent then.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; LENGTH_BYTES];
    frame = postcard::to_extend(message, frame).map_err(FrameError::Malformed)?;
    let body = frame.len() - LENGTH_BYTES;
    let length = u32::try_from(body)
        .ok()
        .filter(|_| body <= FRAME_BYTES_MAX)
        .ok_or(FrameError::TooLong { announced: body })?;
    for (slot, byte) in frame.iter_mut().zip(length.to_le_bytes()) {
        *slot = byte;
    }
    Ok(frame)
}

/// Cuts a stream of bytes into messages. Holds at most one unfinished frame and what was pushed behind it.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    read: usize,
    bytes_max: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::bounded(FRAME_BYTES_MAX)
    }
}

impl Decoder {
    /// A decoder with nothing buffered.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`Decoder::new`], for a conversation whose messages have at most that many bytes.
    #[must_use]
    pub fn bounded(bytes_max: usize) -> Self {
        Self {
            buffer: Vec::new(),
            read: 0,
            bytes_max: bytes_max.min(FRAME_BYTES_MAX),
        }
    }

    /// Adds bytes as they came from the peer.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.read > 0 {
            self.buffer.drain(..self.read);
            self.read = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, or `None` until more bytes come.
    ///
    /// # Errors
    /// Any [`FrameError`]; the conversation must end, since the place of the next frame is unknown.
    #[expect(
        clippy::should_implement_trait,
        reason = "the caller names the type of each message"
    )]
    pub fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let rest = self.buffer.get(self.read..).unwrap_or_default();
        let Some((head, rest)) = rest.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let announced = u32::from_le_bytes(*head) as usize;
        if announced > self.bytes_max {
            return Err(FrameError::TooLong { announced });
        }
        let Some(body) = rest.get(..announced) else {
            return Ok(None);
        };
        let (message, trailing) = postcard::take_from_bytes(body).map_err(FrameError::Malformed)?;
        if !trailing.is_empty() {
            return Err(FrameError::Trailing(trailing.len()));
        }
        self.read += LENGTH_BYTES + announced;
        Ok(Some(message))
    }

    /// Whether the stream ended between two frames, as it should.
    #[must_use]
    pub fn is_at_border(&self) -> bool {
        self.read == self.buffer.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_survive_any_split(messages: Vec<(u64, String, Option<Vec<u8>>)>, cut in 1usize..40) {
            let bytes: Vec<u8> = messages.iter().flat_map(|m| encode(m).unwrap()).collect();
            let mut decoder = Decoder::new();
            let mut seen = Vec::new();
            for piece in bytes.chunks(cut) {
                decoder.push(piece);
                while let Some(message) = decoder.next::<(u64, String, Option<Vec<u8>>)>().unwrap() {
                    seen.push(message);
                }
            }
            prop_assert_eq!(seen, messages);
            prop_assert!(decoder.is_at_border());
        }

        #[test]
        fn hostile_bytes_never_panic(bytes: Vec<u8>) {
            let mut decoder = Decoder::new();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next::<crate::engine::ToEngine>() {}
        }
    }

    #[test]
    fn the_longest_frame_passes_and_one_byte_more_is_refused() {
        let mut decoder = Decoder::new();
        decoder.push(&u32::try_from(FRAME_BYTES_MAX).unwrap().to_le_bytes());
        assert!(matches!(decoder.next::<u8>(), Ok(None)));
        let mut decoder = Decoder::new();
        decoder.push(&u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_le_bytes());
        assert!(matches!(decoder.next::<u8>(), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn a_bounded_conversation_has_its_own_longest_frame() {
        for (length, is_taken) in [(16, true), (17, false)] {
            let mut decoder = Decoder::bounded(16);
            decoder.push(&u32::to_le_bytes(length));
            assert_eq!(decoder.next::<u8>().is_ok(), is_taken, "{length}");
        }
    }

    #[test]
    fn bytes_after_the_message_are_refused() {
        let mut frame = encode(&7u8).unwrap();
        frame.push(0);
        frame[0] = 2;
        let mut decoder = Decoder::new();
        decoder.push(&frame);
        assert!(matches!(decoder.next::<u8>(), Err(FrameError::Trailing(1))));
    }
}
