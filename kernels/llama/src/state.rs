//! What a sequence holds as bytes: to keep it outside the KV cache, and to bring it back bit for bit.
//!
//! The bytes are parsed by C++ on the way back. So [`Context::restore`] and [`Context::restore_range`] take only what a
//! worker of the same build sealed itself and authenticated before use (the cache tiers do both); the checks here find
//! bytes of another model, shape or length, not malice.

use std::ops::Range;

use llama_cpp_sys_2 as sys;

use crate::context::Context;
use crate::sequence::SequenceError;

/// Why a sequence was not saved or restored.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StateError {
    /// The sequence, or the range of it, cannot be used.
    #[error("the sequence cannot be used")]
    Sequence(#[from] SequenceError),
    /// The scratch sequence is not empty.
    #[error("scratch sequence {0} is in use")]
    ScratchInUse(u32),
    /// The bytes are not of this model, of this memory's kind, or not of this range.
    #[error("the bytes are of another model, shape or range")]
    Foreign,
    /// llama.cpp did not take or give the bytes, as a rule because too few cells are free. The sequence is empty.
    #[error("llama.cpp refused the state")]
    Refused,
}

/// First bytes of a saved sequence.
const MAGIC: [u8; 4] = *b"JGKV";
/// Goes up with each change of the form, and with each pin of llama.cpp that changes its own.
const VERSION: u32 = 1;
/// First bytes of llama.cpp's form of a sequence (`io_magic`).
const INNER_MAGIC: u32 = 0xaf14_3cd8;
/// Magic, sequence, streams and cells: what every form of llama.cpp begins with.
const INNER_HEADER_BYTES: usize = 16;

/// What stands before llama.cpp's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    fingerprint: u64,
    first: u32,
    count: u32,
    body_bytes: u64,
}

/// Bytes of [`Header`] with magic and version.
const HEADER_BYTES: usize = 32;

impl Header {
    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let parts: [&[u8]; 6] = [
            &MAGIC,
            &VERSION.to_le_bytes(),
            &self.fingerprint.to_le_bytes(),
            &self.first.to_le_bytes(),
            &self.count.to_le_bytes(),
            &self.body_bytes.to_le_bytes(),
        ];
        for (place, byte) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *place = *byte;
        }
        bytes
    }

    /// The header of `bytes` and what follows it, if magic, version and length are right.
    fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (magic, rest) = bytes.split_first_chunk()?;
        let (version, rest) = rest.split_first_chunk()?;
        let (fingerprint, rest) = rest.split_first_chunk()?;
        let (first, rest) = rest.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let (body_bytes, body) = rest.split_first_chunk()?;
        let header = Self {
            fingerprint: u64::from_le_bytes(*fingerprint),
            first: u32::from_le_bytes(*first),
            count: u32::from_le_bytes(*count),
            body_bytes: u64::from_le_bytes(*body_bytes),
        };
        let is_ours = *magic == MAGIC && u32::from_le_bytes(*version) == VERSION;
        let is_whole = u64::try_from(body.len()) == Ok(header.body_bytes) && header.count > 0;
        (is_ours && is_whole).then_some((header, body))
    }
}

impl Context {
    /// Writes all that `sequence` holds to `bytes`, whose old content goes. Blocks for a copy of its keys and values.
    ///
    /// # Errors
    /// [`StateError::Sequence`], also for an empty sequence, and [`StateError::Refused`].
    pub fn save(&mut self, sequence: u32, bytes: &mut Vec<u8>) -> Result<(), StateError> {
        let id = self.sequence(sequence)?;
        let (Some(first), Some(last)) = (self.first_position(sequence)?, self.last_position(sequence)?)
        else {
            return Err(SequenceError::NotHeld(sequence).into());
        };
        // SAFETY: the context is alive and the sequence exists; the call walks its cells and copies nothing.
        let size = unsafe { sys::llama_state_seq_get_size(self.raw.as_ptr(), id) };
        if size == 0 {
            return Err(StateError::Refused);
        }
        let header = Header {
            fingerprint: self.model.state_fingerprint(),
            first,
            count: last.saturating_sub(first).saturating_add(1),
            body_bytes: u64::try_from(size).map_err(|_| StateError::Refused)?,
        };
        bytes.clear();
        bytes.reserve(HEADER_BYTES.saturating_add(size));
        bytes.extend_from_slice(&header.to_bytes());
        let room = bytes.spare_capacity_mut();
        if room.len() < size {
            return Err(StateError::Refused);
        }
        // SAFETY: `room` has at least `size` bytes, of which the call writes no more; it fails with 0 otherwise.
        let written =
            unsafe { sys::llama_state_seq_get_data(self.raw.as_ptr(), room.as_mut_ptr().cast(), size, id) };
        if written != size {
            bytes.clear();
            return Err(StateError::Refused);
        }
        // SAFETY: the header and `size` bytes after it are written, and the capacity covers both.
        unsafe { bytes.set_len(HEADER_BYTES + size) };
        Ok(())
    }

    /// Replaces what `sequence` holds by what was saved, bit for bit.
    ///
    /// # Errors
    /// Every [`StateError`]. After [`StateError::Refused`] the sequence is empty; after others it is as before.
    pub fn restore(&mut self, sequence: u32, bytes: &[u8]) -> Result<(), StateError> {
        self.restore_checked(sequence, None, bytes)
    }

    /// Writes the positions of `range` that `sequence` holds to `bytes`, whose old content goes. `scratch` must be
    /// empty and is so afterwards.
    ///
    /// # Errors
    /// Every [`StateError`] but `Foreign`.
    pub fn save_range(
        &mut self,
        sequence: u32,
        range: Range<u32>,
        scratch: u32,
        bytes: &mut Vec<u8>,
    ) -> Result<(), StateError> {
        self.check_scratch(sequence, scratch)?;
        if range.is_empty() {
            return Err(SequenceError::NotHeld(sequence).into());
        }
        self.share_range(sequence, scratch, range)?;
        let saved = self.save(scratch, bytes);
        self.forget(scratch, 0)?;
        saved
    }

    /// Gives `sequence` the positions of `range` that were saved. `scratch` must be empty and is so afterwards; the
    /// sequence must not hold any of the range. Takes as many free cells as the range has positions.
    ///
    /// # Errors
    /// Every [`StateError`]; `sequence` is as before.
    pub fn restore_range(
        &mut self,
        scratch: u32,
        sequence: u32,
        range: Range<u32>,
        bytes: &[u8],
    ) -> Result<(), StateError> {
        self.check_scratch(sequence, scratch)?;
        if !self.is_divisible() {
            return Err(SequenceError::NotDivisible(sequence).into());
        }
        if self.meets(sequence, &range)? {
            return Err(SequenceError::Overlap(sequence).into());
        }
        self.restore_checked(scratch, Some(&range), bytes)?;
        let shared = self.share_range(scratch, sequence, range);
        self.forget(scratch, 0)?;
        Ok(shared?)
    }

    fn check_scratch(&self, sequence: u32, scratch: u32) -> Result<(), StateError> {
        self.sequence(sequence)?;
        if sequence == scratch || self.last_position(scratch)?.is_some() {
            return Err(StateError::ScratchInUse(scratch));
        }
        Ok(())
    }

    fn restore_checked(
        &mut self,
        sequence: u32,
        range: Option<&Range<u32>>,
        bytes: &[u8],
    ) -> Result<(), StateError> {
        let id = self.sequence(sequence)?;
        let (header, body) = Header::parse(bytes).ok_or(StateError::Foreign)?;
        let end = header
            .first
            .checked_add(header.count)
            .ok_or(StateError::Foreign)?;
        let is_asked = range.is_none_or(|range| *range == (header.first..end));
        if header.fingerprint != self.model.state_fingerprint()
            || header.count > self.limits.context_tokens
            || !is_asked
            || !self.is_body_of(header, body)
        {
            return Err(StateError::Foreign);
        }
        // SAFETY: the context is alive, the sequence exists, and the call reads no more than `body`, whose first
        // fields were checked; what does not fit after them is an error there, which leaves the sequence empty.
        let read = unsafe { sys::llama_state_seq_set_data(self.raw.as_ptr(), body.as_ptr(), body.len(), id) };
        let is_whole = read == body.len()
            && self.first_position(sequence)? == Some(header.first)
            && self.last_position(sequence)? == end.checked_sub(1);
        if is_whole {
            return Ok(());
        }
        self.forget(sequence, 0)?;
        Err(StateError::Refused)
    }

    /// Whether llama.cpp's first fields agree with ours.
    fn is_body_of(&self, header: Header, body: &[u8]) -> bool {
        let word = |index: usize| {
            let at = index.checked_mul(4)?;
            let bytes = body.get(at..)?.first_chunk()?;
            Some(u32::from_le_bytes(*bytes))
        };
        // A plain memory goes on with one stream and its cells; others begin with a part of theirs.
        let is_plain = !self.is_divisible() || (word(2) == Some(1) && word(3) == Some(header.count));
        body.len() >= INNER_HEADER_BYTES && word(0) == Some(INNER_MAGIC) && is_plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_and_no_other_bytes_do() {
        let header = Header {
            fingerprint: 7,
            first: 128,
            count: 3,
            body_bytes: 2,
        };
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend([1, 2]);
        assert_eq!(Header::parse(&bytes), Some((header, &[1, 2][..])));
        for length in 0..bytes.len() {
            assert_eq!(
                Header::parse(bytes.get(..length).unwrap_or(&[])),
                None,
                "{length}"
            );
        }
        for index in (0..8).chain(24..32) {
            let mut altered = bytes.clone();
            if let Some(byte) = altered.get_mut(index) {
                *byte ^= 1;
            }
            assert_eq!(Header::parse(&altered), None, "{index}");
        }
        let empty = Header { count: 0, ..header };
        let mut bytes = empty.to_bytes().to_vec();
        bytes.extend([1, 2]);
        assert_eq!(Header::parse(&bytes), None);
    }
}
