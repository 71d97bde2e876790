//! The file of the disk tier, byte by byte.
//!
//! ```text
//! 0            superblock: magic, then one message: slot bytes, slot count
//! 4096         directory: a header of 1024 bytes per slot
//! ...          slots, each a multiple of 4096 bytes: the saved state as one message
//! ```
//! Every message is encrypted and authenticated under the file's key ([`jingui_trust::aead`]). A header is bound to its
//! slot; a saved state is bound to the whole identity of its header: shape, tenant, parent, tokens, generation. So a
//! state that opens is the one that was written with that header, whatever the disk did in between.
//!
//! Writing a slot: wipe its header, write the state, write the header. A crash in between leaves an empty slot, or one
//! that does not open. Nothing is flushed: what a crashed worker wrote is in the page cache of the machine, and a power
//! cut takes the key with it, which makes the file noise.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use jingui_trust::Secret;
use jingui_trust::aead::{FileCipher, KEY_BYTES, TRAILER_BYTES};
use jingui_trust::random::RandomFailure;

use super::ledger::Worth;
use super::prefix::{BLOCK_TOKENS, BlockKey, Shape, TenantBytes};

/// Most slots of a file; the directory then has 64 MiB.
pub(super) const SLOTS_MAX: u32 = 65_536;
/// Most bytes of one saved block: 8 MiB a token.
pub(super) const BLOCK_BYTES_MAX: u64 = 1 << 30;

const PAGE_BYTES: u64 = 4_096;
const HEADER_BYTES: usize = 1_024;
const HEADER_PLAIN_BYTES: usize = HEADER_BYTES - TRAILER_BYTES;
const HEADERS_PER_READ: u64 = 256;
const WIPE_BYTES: usize = 65_536;
const MAGIC: &[u8; 8] = b"JGTIER01";
const SUPER_PLAIN_BYTES: usize = 12;
const SUPER_BYTES: usize = MAGIC.len() + SUPER_PLAIN_BYTES + TRAILER_BYTES;
const HEADER_PURPOSE: &[u8] = b"jingui/tier/header/v1";
const STATE_PURPOSE: &[u8] = b"jingui/tier/state/v1";

/// What a block is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) key: BlockKey,
    pub(super) parent: BlockKey,
    pub(super) tenant: TenantBytes,
    pub(super) block_index: u32,
    pub(super) worth: Worth,
    pub(super) tokens: Box<[u32; BLOCK_TOKENS]>,
}

/// Where on disk a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) slot: u32,
    /// Counts what was ever written; tells two writings of one block apart.
    pub(super) generation: u64,
    /// Bytes of the saved state.
    pub(super) byte_count: u64,
}

/// How a file is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    slot_bytes: u64,
    slot_count: u32,
}

impl Geometry {
    /// For blocks of about `byte_count` in a file of at most `bytes_max`. `None` if not one fits.
    pub(super) fn for_blocks(byte_count: u64, bytes_max: u64) -> Option<Self> {
        if byte_count > BLOCK_BYTES_MAX {
            return None;
        }
        // A saved state may be a little longer than the first one was.
        let with_slack = byte_count + byte_count / 64 + TRAILER_BYTES as u64;
        let slot_bytes = with_slack.next_multiple_of(PAGE_BYTES);
        Self::new(slot_bytes, SLOTS_MAX).and_then(|_| {
            // One page lost to rounding the directory up.
            let room = bytes_max.checked_sub(2 * PAGE_BYTES)?;
            let slots = room / (slot_bytes + HEADER_BYTES as u64);
            Self::new(
                slot_bytes,
                u32::try_from(slots).unwrap_or(SLOTS_MAX).min(SLOTS_MAX),
            )
        })
    }

    fn new(slot_bytes: u64, slot_count: u32) -> Option<Self> {
        let is_sound = slot_bytes.is_multiple_of(PAGE_BYTES)
            && (PAGE_BYTES..=2 * BLOCK_BYTES_MAX).contains(&slot_bytes)
            && (1..=SLOTS_MAX).contains(&slot_count);
        is_sound.then_some(Self {
            slot_bytes,
            slot_count,
        })
    }

    pub(super) const fn slot_count(self) -> u32 {
        self.slot_count
    }

    /// Whether such a block fits a slot and does not waste half of it.
    pub(super) const fn suits(self, byte_count: u64) -> bool {
        let needed = byte_count + TRAILER_BYTES as u64;
        needed <= self.slot_bytes && (needed > self.slot_bytes / 2 || self.slot_bytes == PAGE_BYTES)
    }

    const fn header_at(slot: u32) -> u64 {
        PAGE_BYTES + slot as u64 * HEADER_BYTES as u64
    }

    const fn slot_at(self, slot: u32) -> u64 {
        Self::header_at(self.slot_count).next_multiple_of(PAGE_BYTES) + slot as u64 * self.slot_bytes
    }

    /// Bytes of the whole file.
    pub(super) const fn file_bytes(self) -> u64 {
        self.slot_at(self.slot_count)
    }

    fn encode(self) -> Vec<u8> {
        let mut bytes = self.slot_bytes.to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.slot_count.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (slot_bytes, rest) = bytes.split_first_chunk::<8>()?;
        let (slot_count, _) = rest.split_first_chunk::<4>()?;
        Self::new(u64::from_le_bytes(*slot_bytes), u32::from_le_bytes(*slot_count))
    }
}

/// What cannot be read from a slot.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The disk is at fault.
    #[error("the disk tier's file cannot be read")]
    Io(#[source] io::Error),
    /// Torn, overwritten, altered.
    #[error("the slot holds no such block")]
    NotThere,
}

/// What a file held when it was opened.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) blocks: Vec<(Header, Place)>,
    /// Headers that do not open, or say what cannot be: torn, altered, of another key.
    pub(super) refused_count: u64,
}

/// The file, its key and its division.
#[derive(Debug)]
pub(super) struct TierFile {
    file: File,
    cipher: FileCipher,
    shape: Shape,
    bytes_max: u64,
    geometry: Option<Geometry>,
    scratch: Vec<u8>,
}

impl TierFile {
    pub(super) fn new(
        file: File,
        key: Secret<[u8; KEY_BYTES]>,
        shape: Shape,
        bytes_max: u64,
    ) -> Result<Self, RandomFailure> {
        Ok(Self {
            file,
            cipher: FileCipher::new(key)?,
            shape,
            bytes_max,
            geometry: None,
            scratch: Vec::new(),
        })
    }

    pub(super) const fn geometry(&self) -> Option<Geometry> {
        self.geometry
    }

    /// Reads division and directory. A file that is empty, or of another key or shape, has neither.
    pub(super) fn scan(&mut self) -> io::Result<Found> {
        let mut found = Found::default();
        let Some(geometry) = self.read_superblock()? else {
            return Ok(found);
        };
        let headers_per_read = HEADERS_PER_READ * HEADER_BYTES as u64;
        let directory_end = Geometry::header_at(geometry.slot_count);
        let mut slot = 0;
        let mut at = Geometry::header_at(0);
        while at < directory_end {
            let wanted = headers_per_read.min(directory_end - at);
            let mut part = vec![0; usize::try_from(wanted).map_err(io::Error::other)?];
            let got = read_up_to(&self.file, &mut part, at)?;
            let (headers, _) = part.get(..got).unwrap_or_default().as_chunks::<HEADER_BYTES>();
            for header in headers {
                self.take_header(slot, header, &mut found);
                slot += 1;
            }
            if got < part.len() {
                break;
            }
            at += wanted;
        }
        if !found.blocks.is_empty() {
            self.geometry = Some(geometry);
        }
        Ok(found)
    }

    fn read_superblock(&mut self) -> io::Result<Option<Geometry>> {
        let mut start = [0; SUPER_BYTES];
        read_up_to(&self.file, &mut start, 0)?;
        let Some(message) = start.strip_prefix(MAGIC) else {
            return Ok(None);
        };
        let mut message = message.to_vec();
        if self.cipher.decrypt(MAGIC, &mut message).is_err() {
            return Ok(None);
        }
        Ok(Geometry::decode(&message).filter(|geometry| geometry.file_bytes() <= self.bytes_max))
    }

    fn take_header(&mut self, slot: u32, bytes: &[u8; HEADER_BYTES], found: &mut Found) {
        if bytes.iter().all(|byte| *byte == 0) {
            return;
        }
        let mut message = bytes.to_vec();
        let opened = self.cipher.decrypt(&header_binding(slot), &mut message);
        match opened.ok().and_then(|()| decode_header(slot, &message)) {
            // Of another model: not wrong, and of no use here.
            Some((shape, _, _)) if shape != *self.shape.as_bytes() => {}
            Some((_, header, place)) if header.key == header.computed_key(&self.shape) => {
                found.blocks.push((header, place));
            }
            _ => found.refused_count += 1,
        }
    }

    /// Divides the file anew; what it held is not there any more. The file keeps its length, since its space may have been
    /// reserved for it.
    pub(super) fn format(&mut self, geometry: Geometry) -> io::Result<()> {
        assert!(
            geometry.file_bytes() <= self.bytes_max,
            "the division was made for this file"
        );
        let empty = [0; WIPE_BYTES];
        let directory_end = geometry.slot_at(0);
        let mut at = 0;
        while at < directory_end {
            let part = usize::try_from(directory_end - at).unwrap_or(WIPE_BYTES);
            let part = empty.get(..part).unwrap_or(&empty);
            self.file.write_all_at(part, at)?;
            at += part.len() as u64;
        }
        let mut message = geometry.encode();
        self.cipher
            .encrypt(MAGIC, &mut message)
            .map_err(io::Error::other)?;
        let mut start = MAGIC.to_vec();
        start.append(&mut message);
        self.file.write_all_at(&start, 0)?;
        self.geometry = Some(geometry);
        Ok(())
    }

    /// Writes a block into its slot. Allocates only until its buffer has the size of a slot.
    pub(super) fn write(&mut self, header: &Header, place: Place, state: &[u8]) -> io::Result<()> {
        let geometry = self.geometry_for(place)?;
        let header_at = Geometry::header_at(place.slot);
        self.file.write_all_at(&[0; HEADER_BYTES], header_at)?;

        let mut message = std::mem::take(&mut self.scratch);
        message.clear();
        message.reserve(state.len() + TRAILER_BYTES);
        message.extend_from_slice(state);
        let binding = state_binding(&self.shape, header, place);
        let written = self
            .cipher
            .encrypt(&binding, &mut message)
            .map_err(io::Error::other)
            .and_then(|()| self.file.write_all_at(&message, geometry.slot_at(place.slot)));
        self.scratch = message;
        written?;

        let mut message = encode_header(&self.shape, header, place);
        self.cipher
            .encrypt(&header_binding(place.slot), &mut message)
            .map_err(io::Error::other)?;
        assert!(
            message.len() == HEADER_BYTES,
            "a header has its size by construction"
        );
        self.file.write_all_at(&message, header_at)
    }

    /// The state of exactly this block, as it was written there.
    pub(super) fn read(&mut self, header: &Header, place: Place) -> Result<Vec<u8>, ReadError> {
        let geometry = self.geometry_for(place).map_err(ReadError::Io)?;
        let length = usize::try_from(place.byte_count)
            .map_err(|_| ReadError::NotThere)?
            .saturating_add(TRAILER_BYTES);
        let mut message = vec![0; length];
        let got =
            read_up_to(&self.file, &mut message, geometry.slot_at(place.slot)).map_err(ReadError::Io)?;
        if got < length {
            return Err(ReadError::NotThere);
        }
        self.cipher
            .decrypt(&state_binding(&self.shape, header, place), &mut message)
            .map_err(|_| ReadError::NotThere)?;
        Ok(message)
    }

    fn geometry_for(&self, place: Place) -> io::Result<Geometry> {
        self.geometry
            .filter(|geometry| {
                place.slot < geometry.slot_count
                    && place.byte_count + TRAILER_BYTES as u64 <= geometry.slot_bytes
            })
            .ok_or_else(|| io::Error::other("the block has no place in this file"))
    }
}

impl Header {
    fn computed_key(&self, shape: &Shape) -> BlockKey {
        BlockKey::of(shape, &self.tenant, &self.parent, self.tokens.as_ref())
    }
}

/// Bytes read until `target` is full or the file ends.
fn read_up_to(file: &File, target: &mut [u8], at: u64) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = target.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + got as u64) {
            Ok(0) => break,
            Ok(count) => got += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

fn header_binding(slot: u32) -> Vec<u8> {
    let mut binding = HEADER_PURPOSE.to_vec();
    binding.extend_from_slice(&slot.to_le_bytes());
    binding
}

fn state_binding(shape: &Shape, header: &Header, place: Place) -> Vec<u8> {
    let mut binding = STATE_PURPOSE.to_vec();
    binding.append(&mut encode_header(shape, header, place));
    binding
}

fn encode_header(shape: &Shape, header: &Header, place: Place) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    bytes.extend_from_slice(shape.as_bytes());
    bytes.extend_from_slice(header.key.as_bytes());
    bytes.extend_from_slice(header.parent.as_bytes());
    bytes.extend_from_slice(&header.tenant);
    bytes.extend_from_slice(&header.block_index.to_le_bytes());
    bytes.extend_from_slice(&place.generation.to_le_bytes());
    bytes.extend_from_slice(&place.byte_count.to_le_bytes());
    bytes.extend_from_slice(&header.worth.cost_us.to_le_bytes());
    bytes.push(u8::from(header.worth.is_pinned));
    for token in header.tokens.iter() {
        bytes.extend_from_slice(&token.to_le_bytes());
    }
    assert!(bytes.len() <= HEADER_PLAIN_BYTES, "fields of a header fit it");
    bytes.resize(HEADER_PLAIN_BYTES, 0);
    bytes
}

/// Shape, header and place; `None` for what no writer of this version wrote.
fn decode_header(slot: u32, bytes: &[u8]) -> Option<([u8; 32], Header, Place)> {
    let (shape, rest) = bytes.split_first_chunk::<32>()?;
    let (key, rest) = rest.split_first_chunk::<32>()?;
    let (parent, rest) = rest.split_first_chunk::<32>()?;
    let (tenant, rest) = rest.split_first_chunk::<16>()?;
    let (block_index, rest) = rest.split_first_chunk::<4>()?;
    let (generation, rest) = rest.split_first_chunk::<8>()?;
    let (byte_count, rest) = rest.split_first_chunk::<8>()?;
    let (cost_us, rest) = rest.split_first_chunk::<4>()?;
    let ([is_pinned], rest) = rest.split_first_chunk::<1>()?;
    let (tokens, _) = rest.as_chunks::<4>();
    let mut block = Box::new([0; BLOCK_TOKENS]);
    if tokens.len() < BLOCK_TOKENS {
        return None;
    }
    for (to, from) in block.iter_mut().zip(tokens) {
        *to = u32::from_le_bytes(*from);
    }
    let header = Header {
        key: BlockKey::from_bytes(*key),
        parent: BlockKey::from_bytes(*parent),
        tenant: *tenant,
        block_index: u32::from_le_bytes(*block_index),
        worth: Worth {
            cost_us: u32::from_le_bytes(*cost_us),
            is_pinned: *is_pinned == 1,
        },
        tokens: block,
    };
    let place = Place {
        slot,
        generation: u64::from_le_bytes(*generation),
        byte_count: u64::from_le_bytes(*byte_count),
    };
    (place.byte_count <= BLOCK_BYTES_MAX).then_some((*shape, header, place))
}
