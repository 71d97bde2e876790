//! The digest by which the kernel's fs-verity names a file (kernel documentation, filesystems/fsverity), computed while the
//! file is written: SHA-256, blocks of 4096 bytes, no salt.
//!
//! Blocks of data are digested; digests are packed into blocks, which are digested again, up to one. What the kernel
//! measures is the digest of a descriptor that holds that last digest and the file's length, so two files have the same
//! measurement exactly when they are the same.

use crate::digest::{SHA256_BYTES, Sha256};

/// Bytes of a block, of data as of digests.
pub const BLOCK_BYTES: usize = 4096;
/// Base-2 logarithm of [`BLOCK_BYTES`], as the descriptor has it.
const BLOCK_BYTES_LOG: u8 = 12;
const VERSION: u8 = 1;
/// `FS_VERITY_HASH_ALG_SHA256`.
const ALGORITHM_SHA256: u8 = 1;
const DESCRIPTOR_BYTES: usize = 256;
const ROOT_PLACE: std::ops::Range<usize> = 16..16 + SHA256_BYTES;
const SIZE_PLACE: std::ops::Range<usize> = 8..16;

const _: () = assert!(1 << BLOCK_BYTES_LOG == BLOCK_BYTES);

/// A digest that is fed in pieces. Takes a few kilobytes, whatever the file's length.
#[derive(Debug, Clone, Default)]
pub struct FsVerityStream {
    byte_count: u64,
    data: Vec<u8>,
    /// From the digests of data blocks upwards.
    levels: Vec<Level>,
}

/// Digests of the blocks below, as far as they do not fill a block yet.
#[derive(Debug, Clone, Default)]
struct Level {
    block: Vec<u8>,
    digest_count: u64,
}

impl FsVerityStream {
    /// Nothing fed yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Feeds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.byte_count = self
            .byte_count
            .saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let mut left = bytes;
        while !left.is_empty() {
            if self.data.is_empty() && left.len() >= BLOCK_BYTES {
                let (block, rest) = left.split_at(BLOCK_BYTES);
                self.push(0, Sha256::of(block));
                left = rest;
                continue;
            }
            let room = BLOCK_BYTES.saturating_sub(self.data.len()).min(left.len());
            let (piece, rest) = left.split_at(room);
            self.data.extend_from_slice(piece);
            left = rest;
            if self.data.len() == BLOCK_BYTES {
                let digest = digest_block(&mut self.data);
                self.push(0, digest);
            }
        }
    }

    /// What the kernel measures of a file with these bytes.
    #[must_use]
    pub fn finish(mut self) -> Sha256 {
        if !self.data.is_empty() {
            let digest = digest_block(&mut self.data);
            self.push(0, digest);
        }
        let root = self.root();
        let mut descriptor = [0; DESCRIPTOR_BYTES];
        let head = [VERSION, ALGORITHM_SHA256, BLOCK_BYTES_LOG];
        for (to, from) in descriptor.iter_mut().zip(head) {
            *to = from;
        }
        put(&mut descriptor, SIZE_PLACE, &self.byte_count.to_le_bytes());
        put(&mut descriptor, ROOT_PLACE, root.as_bytes());
        Sha256::of(&descriptor)
    }

    /// Closes level after level until one digest is left. An empty file has none, and zeros stand for it.
    fn root(&mut self) -> Sha256 {
        let mut index = 0;
        loop {
            let is_last = index + 1 >= self.levels.len();
            let Some(level) = self.levels.get_mut(index) else {
                return Sha256::from_bytes([0; SHA256_BYTES]);
            };
            if is_last && level.digest_count == 1 {
                let digest: Result<[u8; SHA256_BYTES], _> = level.block.as_slice().try_into();
                assert!(digest.is_ok(), "a level of one digest holds that digest");
                return Sha256::from_bytes(digest.unwrap_or_default());
            }
            if !level.block.is_empty() {
                let digest = digest_block(&mut level.block);
                self.push(index + 1, digest);
            }
            index += 1;
        }
    }

    fn push(&mut self, index: usize, digest: Sha256) {
        let (mut index, mut digest) = (index, digest);
        // At most one level per seven bits of the file's length.
        loop {
            if self.levels.len() <= index {
                self.levels.push(Level::default());
            }
            let Some(level) = self.levels.get_mut(index) else {
                return;
            };
            level.block.extend_from_slice(digest.as_bytes());
            level.digest_count += 1;
            if level.block.len() < BLOCK_BYTES {
                return;
            }
            digest = digest_block(&mut level.block);
            index += 1;
        }
    }
}

/// Digest of a block, filled up with zeros; the block is empty afterwards.
fn digest_block(block: &mut Vec<u8>) -> Sha256 {
    block.resize(BLOCK_BYTES, 0);
    let digest = Sha256::of(block);
    block.clear();
    digest
}

fn put(descriptor: &mut [u8], place: std::ops::Range<usize>, bytes: &[u8]) {
    if let Some(place) = descriptor.get_mut(place) {
        place.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn measure(bytes: &[u8]) -> String {
        let mut stream = FsVerityStream::new();
        stream.update(bytes);
        stream.finish().to_string()
    }

    /// The tree as the kernel's text describes it, level by level over the whole.
    fn naive(bytes: &[u8]) -> Sha256 {
        let level_of = |bytes: &[u8]| -> Vec<u8> {
            bytes
                .chunks(BLOCK_BYTES)
                .flat_map(|block| {
                    let mut block = block.to_vec();
                    block.resize(BLOCK_BYTES, 0);
                    *Sha256::of(&block).as_bytes()
                })
                .collect()
        };
        let mut level = level_of(bytes);
        while level.len() > SHA256_BYTES {
            level = level_of(&level);
        }
        level.resize(64, 0);
        let mut descriptor = vec![1, 1, 12, 0, 0, 0, 0, 0];
        descriptor.extend_from_slice(&u64::try_from(bytes.len()).unwrap().to_le_bytes());
        descriptor.extend_from_slice(&level);
        descriptor.resize(DESCRIPTOR_BYTES, 0);
        Sha256::of(&descriptor)
    }

    fn bytes(count: usize) -> Vec<u8> {
        (0..count)
            .map(|index| u8::try_from(index % 251).unwrap())
            .collect()
    }

    #[test]
    fn the_edges_of_blocks_and_levels_are_right() {
        const PER_BLOCK: usize = BLOCK_BYTES / SHA256_BYTES;
        for blocks in [0, 1, 2, PER_BLOCK - 1, PER_BLOCK, PER_BLOCK + 1, 2 * PER_BLOCK] {
            for more in [0, 1, BLOCK_BYTES - 1] {
                let bytes = bytes(blocks * BLOCK_BYTES + more);
                assert_eq!(
                    measure(&bytes),
                    naive(&bytes).to_string(),
                    "{blocks} blocks and {more} bytes"
                );
            }
        }
    }

    #[test]
    fn a_third_level_is_right() {
        let bytes = bytes(128 * 128 * BLOCK_BYTES + 1);
        assert_eq!(measure(&bytes), naive(&bytes).to_string());
    }

    proptest! {
        #[test]
        fn pieces_give_the_same_measurement_as_the_whole(length in 0_usize..40_000, cuts in prop::collection::vec(1_usize..9_000, 1..40)) {
            let bytes = bytes(length);
            let mut stream = FsVerityStream::new();
            let mut left = bytes.as_slice();
            let mut cuts = cuts.iter().cycle();
            while !left.is_empty() {
                let (piece, rest) = left.split_at((*cuts.next().unwrap()).min(left.len()));
                stream.update(piece);
                left = rest;
            }
            prop_assert_eq!(stream.finish(), naive(&bytes));
        }
    }
}
