//! The key that signs the audit log's checkpoints: Ed25519 (RFC 8032).

use ring::signature::{self, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::Secret;
use crate::random::{self, RandomFailure};

/// Bytes of an Ed25519 public key.
pub const PUBLIC_KEY_BYTES: usize = 32;
/// Bytes of an Ed25519 signature.
pub const SIGNATURE_BYTES: usize = 64;

/// A seed from which `ring` makes no key. Cannot happen with 32 bytes; named so that it need not be ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log key's seed is not usable")]
pub struct BadSeed;

/// The private key of one audit log.
pub struct LogKey {
    pair: Ed25519KeyPair,
    public: [u8; PUBLIC_KEY_BYTES],
}

impl LogKey {
    /// The key that belongs to `seed` (the private key of RFC 8032 section 5.1.5).
    ///
    /// # Errors
    /// [`BadSeed`].
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, BadSeed> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| BadSeed)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| BadSeed)?;
        Ok(Self { pair, public })
    }

    /// A new random seed, to be kept by the caller.
    ///
    /// # Errors
    /// [`RandomFailure`].
    pub fn generate_seed() -> Result<Secret<[u8; 32]>, RandomFailure> {
        Ok(Secret::new(random::bytes()?))
    }

    /// The public key.
    #[must_use]
    pub const fn public_key(&self) -> [u8; PUBLIC_KEY_BYTES] {
        self.public
    }

    /// Signature over `message`; the same message always gives the same bytes.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let mut bytes = [0; SIGNATURE_BYTES];
        for (to, from) in bytes.iter_mut().zip(self.pair.sign(message).as_ref()) {
            *to = *from;
        }
        bytes
    }
}

impl std::fmt::Debug for LogKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogKey(secret)")
    }
}

/// Whether `signature` is one of `public` over `message`.
#[must_use]
pub fn verify_ed25519(public: &[u8; PUBLIC_KEY_BYTES], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&signature::ED25519, public)
        .verify(message, signature)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_8032_test_1_holds() {
        let seed = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
            0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
        ];
        let key = LogKey::from_seed(&seed).unwrap();
        assert_eq!(key.public_key()[..4], [0xd7, 0x5a, 0x98, 0x01]);
        assert_eq!(key.sign(b"")[..4], [0xe5, 0x56, 0x43, 0x00]);
        assert!(verify_ed25519(&key.public_key(), b"", &key.sign(b"")));
    }

    #[test]
    fn another_key_message_or_signature_does_not_verify() {
        let (key, other) = (
            LogKey::from_seed(&[1; 32]).unwrap(),
            LogKey::from_seed(&[2; 32]).unwrap(),
        );
        let mut signature = key.sign(b"message");
        assert!(verify_ed25519(&key.public_key(), b"message", &signature));
        assert!(!verify_ed25519(&other.public_key(), b"message", &signature));
        assert!(!verify_ed25519(&key.public_key(), b"massage", &signature));
        signature[63] ^= 1;
        assert!(!verify_ed25519(&key.public_key(), b"message", &signature));
        assert!(!verify_ed25519(&key.public_key(), b"message", &signature[..63]));
    }
}
