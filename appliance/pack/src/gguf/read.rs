//! Reading the header of a GGUF file forward, in small pieces, with every length checked before it is used.
//!
//! Not a general reader: it never seeks back, never allocates by a number from the file, and stops at
//! [`HEADER_BYTES_MAX`]. What it was asked to digest is digested as it stands in the file.

use std::io;
use std::os::unix::fs::FileExt;

use jingui_trust::Sha256;
use jingui_trust::Sha256Stream;

use super::refusal::GgufRefusal;

/// Most bytes before the tensor data. The largest GLM vocabulary with its merges takes about 12 MiB.
pub const HEADER_BYTES_MAX: u64 = 64 << 20;

/// Longest string of any kind.
pub const STRING_BYTES_MAX: u64 = 1 << 20;

/// Bytes asked from the file at once.
pub const READ_BYTES: usize = 64 * 1024;

/// Bytes at an offset. The pre-check sees a file through this alone, so that a test can count what it reads.
pub trait ReadAt {
    /// Reads up to `buffer.len()` bytes at `offset`; 0 only at the end.
    ///
    /// # Errors
    /// When the device fails.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Size of the file.
    fn byte_count(&self) -> u64;
}

impl ReadAt for std::fs::File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn byte_count(&self) -> u64 {
        // A file whose size cannot be told is empty to us, and an empty file is refused.
        self.metadata().map_or(0, |metadata| metadata.len())
    }
}

impl ReadAt for &[u8] {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..))
            .unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    fn byte_count(&self) -> u64 {
        u64::try_from(self.len()).unwrap_or(u64::MAX)
    }
}

/// A position in the header.
pub(super) struct HeaderReader<'a> {
    source: &'a dyn ReadAt,
    byte_count: u64,
    position: u64,
    buffer: Vec<u8>,
    consumed: usize,
    digest: Option<Sha256Stream>,
}

impl<'a> HeaderReader<'a> {
    pub(super) fn new(source: &'a dyn ReadAt) -> Self {
        let byte_count = source.byte_count();
        Self {
            source,
            byte_count,
            position: 0,
            buffer: Vec::new(),
            consumed: 0,
            digest: None,
        }
    }

    /// Size of the whole file, asked once.
    pub(super) fn byte_count(&self) -> u64 {
        self.byte_count
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes of the file after the position.
    pub(super) fn remaining(&self) -> u64 {
        self.byte_count.saturating_sub(self.position)
    }

    /// From now on, what is read is digested too.
    pub(super) fn start_digest(&mut self) {
        self.digest = Some(Sha256Stream::new());
    }

    /// Digest of what was read since [`HeaderReader::start_digest`].
    pub(super) fn finish_digest(&mut self) -> Sha256 {
        self.digest
            .take()
            .map_or_else(|| Sha256::of(&[]), Sha256Stream::finish)
    }

    /// Hands the next `count` bytes to `take` in pieces.
    pub(super) fn stream(&mut self, count: u64, mut take: impl FnMut(&[u8])) -> Result<(), GgufRefusal> {
        if count > self.remaining() {
            return Err(GgufRefusal::Truncated {
                offset: self.position,
                needed: count,
                left: self.remaining(),
            });
        }
        if self.position.saturating_add(count) > HEADER_BYTES_MAX {
            return Err(GgufRefusal::HeaderSize {
                max: HEADER_BYTES_MAX,
            });
        }
        let mut left = count;
        while left > 0 {
            if self.consumed >= self.buffer.len() {
                self.refill()?;
            }
            let available = self.buffer.get(self.consumed..).unwrap_or_default();
            let wanted = usize::try_from(left).unwrap_or(usize::MAX);
            let piece = available.get(..wanted.min(available.len())).unwrap_or_default();
            take(piece);
            if let Some(digest) = &mut self.digest {
                digest.update(piece);
            }
            let piece_bytes = piece.len();
            self.consumed += piece_bytes;
            let piece_bytes = u64::try_from(piece_bytes).unwrap_or(u64::MAX);
            self.position += piece_bytes;
            left -= piece_bytes;
        }
        Ok(())
    }

    /// Fills the buffer from the position, which must be before the end of the file.
    fn refill(&mut self) -> Result<(), GgufRefusal> {
        self.buffer.resize(READ_BYTES, 0);
        let offset = self.position;
        let count = loop {
            match self.source.read_at(offset, &mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result.map_err(|source| GgufRefusal::Unreadable { offset, source })?,
            }
        };
        self.buffer.truncate(count);
        self.consumed = 0;
        // A file that shrank under us ends here, whatever size it had.
        if count == 0 {
            return Err(GgufRefusal::Truncated {
                offset,
                needed: 1,
                left: 0,
            });
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], GgufRefusal> {
        let mut bytes = [0; N];
        let mut filled = 0;
        self.stream(u64::try_from(N).unwrap_or(u64::MAX), |piece| {
            for (to, from) in bytes.iter_mut().skip(filled).zip(piece) {
                *to = *from;
            }
            filled += piece.len();
        })?;
        Ok(bytes)
    }

    pub(super) fn magic(&mut self) -> Result<[u8; 4], GgufRefusal> {
        self.array()
    }

    pub(super) fn u8(&mut self) -> Result<u8, GgufRefusal> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, GgufRefusal> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, GgufRefusal> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, GgufRefusal> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn skip(&mut self, count: u64) -> Result<(), GgufRefusal> {
        self.stream(count, |_| ())
    }

    /// Reads a string into `text`, whose capacity stays within [`STRING_BYTES_MAX`]. Refuses bytes that are no
    /// UTF-8, and NUL, at which C++ would see a shorter string than we do.
    pub(super) fn string(&mut self, text: &mut String, bytes_max: u64) -> Result<(), GgufRefusal> {
        let offset = self.position;
        let length = self.u64()?;
        let max = bytes_max.min(STRING_BYTES_MAX);
        if length > max {
            return Err(GgufRefusal::StringLength { offset, length, max });
        }
        let mut bytes = std::mem::take(text).into_bytes();
        bytes.clear();
        self.stream(length, |piece| bytes.extend_from_slice(piece))?;
        *text = String::from_utf8(bytes).map_err(|_| GgufRefusal::StringText { offset })?;
        if text.contains('\0') {
            return Err(GgufRefusal::StringText { offset });
        }
        Ok(())
    }
}
