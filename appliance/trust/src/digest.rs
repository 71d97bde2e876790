//! SHA-256 (FIPS 180-4), whole and in pieces.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes of a SHA-256 digest.
pub const SHA256_BYTES: usize = 32;

/// A SHA-256 digest. Prints as 64 lower-case hexadecimal digits, the only form it is read from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; SHA256_BYTES]);

impl Sha256 {
    /// Digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut stream = Sha256Stream::new();
        stream.update(bytes);
        stream.finish()
    }

    /// A digest that was computed or stored elsewhere.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; SHA256_BYTES]) -> Self {
        Self(bytes)
    }

    /// The digest as bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; SHA256_BYTES] {
        &self.0
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 digest is 64 lower-case hexadecimal digits")]
pub struct NotADigest;

impl FromStr for Sha256 {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != SHA256_BYTES || !rest.is_empty() {
            return Err(NotADigest);
        }
        let mut digest = [0; SHA256_BYTES];
        for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        Ok(Self(digest))
    }
}

fn nibble(digit: u8) -> Result<u8, NotADigest> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(NotADigest),
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A SHA-256 computation that is fed in pieces.
#[derive(Clone)]
pub struct Sha256Stream(ring::digest::Context);

impl Sha256Stream {
    /// Nothing fed yet.
    #[must_use]
    pub fn new() -> Self {
        Self(ring::digest::Context::new(&ring::digest::SHA256))
    }

    /// Feeds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Digest of all that was fed.
    #[must_use]
    pub fn finish(self) -> Sha256 {
        let mut digest = [0; SHA256_BYTES];
        // Both sides are 32 bytes by the algorithm, so `zip` loses nothing.
        for (to, from) in digest.iter_mut().zip(self.0.finish().as_ref()) {
            *to = *from;
        }
        Sha256(digest)
    }
}

impl Default for Sha256Stream {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Sha256Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha256Stream")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_published_vectors_hold() {
        for (text, digest) in [
            (
                "",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            (
                "abc",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
        ] {
            assert_eq!(Sha256::of(text.as_bytes()).to_string(), digest);
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        let good = Sha256::of(b"").to_string();
        for bad in [
            good.to_uppercase(),
            good[1..].to_owned(),
            format!("{good}0"),
            good.replace('e', "g"),
            String::new(),
        ] {
            assert_eq!(bad.parse::<Sha256>(), Err(NotADigest), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_and_bytes_round_trip(bytes: [u8; 32]) {
            let digest = Sha256::from_bytes(bytes);
            prop_assert_eq!(digest.to_string().parse::<Sha256>(), Ok(digest));
        }

        #[test]
        fn pieces_give_the_same_digest_as_the_whole(bytes: Vec<u8>, cut: usize) {
            let (left, right) = bytes.split_at(cut % (bytes.len() + 1));
            let mut stream = Sha256Stream::new();
            stream.update(left);
            stream.update(right);
            prop_assert_eq!(stream.finish(), Sha256::of(&bytes));
        }
    }
}
