//! Digests of the chunks of a large file, for this machine's own use.
//!
//! BLAKE3 (its specification of 2020), since what is signed for others is SHA-256 of the whole file, which one core
//! computes from front to back, and what this machine wants is every core on its own part of the file, as fast as can
//! be. Nobody else reads these digests; a list of them is worth what authenticates it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Sha256;

/// Digest of one chunk. Prints as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkDigest([u8; 32]);

impl ChunkDigest {
    /// Digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut stream = ChunkStream::new();
        stream.update(bytes);
        stream.finish()
    }

    /// The digest as bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ChunkDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChunkDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ChunkDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChunkDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The same 64 digits, whichever algorithm gave them.
        Sha256::deserialize(deserializer).map(|digits| Self(*digits.as_bytes()))
    }
}

/// A computation of a [`ChunkDigest`] that is fed in pieces, best of 16 KiB and more.
#[derive(Clone)]
pub struct ChunkStream(blake3::Hasher);

impl ChunkStream {
    /// Nothing fed yet.
    #[must_use]
    pub fn new() -> Self {
        Self(blake3::Hasher::new())
    }

    /// Feeds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Digest of all that was fed.
    #[must_use]
    pub fn finish(&self) -> ChunkDigest {
        ChunkDigest(*self.0.finalize().as_bytes())
    }
}

impl Default for ChunkStream {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ChunkStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChunkStream")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The input of the published vectors: bytes 0 to 250, again and again.
    fn input(length: usize) -> Vec<u8> {
        (0..251).cycle().take(length).collect()
    }

    #[test]
    fn the_published_vectors_hold() {
        for (length, digest) in [
            (
                0,
                "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
            ),
            (
                1,
                "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
            ),
            (
                1024,
                "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
            ),
        ] {
            assert_eq!(ChunkDigest::of(&input(length)).to_string(), digest, "{length}");
        }
    }

    #[test]
    fn pieces_give_the_same_digest_as_the_whole() {
        let whole = input(100_000);
        let mut stream = ChunkStream::new();
        whole.chunks(777).for_each(|piece| stream.update(piece));
        assert_eq!(stream.finish(), ChunkDigest::of(&whole));
    }
}
