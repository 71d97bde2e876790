//! Encryption of what leaves memory for a file: nobody without the key reads it, and nobody changes it unseen.
//!
//! A [`FileCipher`] encrypts messages one by one under a file's key. Each message carries a trailer that says how it
//! was made; it may be read in any order, by another process, after the writer died.
//!
//! **Nonces.** Two messages under one key and one nonce would give both away, so a nonce must not depend on what a
//! crashed writer remembered. Each cipher therefore draws a random salt of 128 bits, derives its own key from the
//! file's key and that salt (HKDF, RFC 5869), and counts messages under it from zero. Two ciphers meet only if they
//! draw the same salt; one cipher never counts twice, and after [`MESSAGES_PER_SALT_MAX`] it draws anew.
//!
//! **Algorithm.** AES-256-GCM (NIST SP 800-38D). `cargo run --release -p jingui-trust --example aead_speed` compares it
//! with ChaCha20-Poly1305 (RFC 8439), the other one that `ring` offers; docs/decisions/0015 has the figures and why.
//!
//! Not protected: how many messages there are, how long they are, and an older message put back in the place of a newer
//! one under the same associated data. Callers put into the associated data what must not be exchanged.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, Tag, UnboundKey};

use crate::mac::hkdf_sha256;
use crate::random::{self, RandomFailure};
use crate::secret::Secret;

/// Bytes of a file's key.
pub const KEY_BYTES: usize = 32;
/// Bytes that encryption adds: tag, salt, count.
pub const TRAILER_BYTES: usize = TAG_BYTES + SALT_BYTES + COUNT_BYTES;
/// Messages under one derived key. The limit of SP 800-38D for nonces that are drawn; ours are counted, so it leaves
/// room.
pub const MESSAGES_PER_SALT_MAX: u64 = 1 << 32;
/// Derived keys of other writers that are kept, so that reading does not derive one per message.
const FOREIGN_KEYS_MAX: usize = 16;

const TAG_BYTES: usize = 16;
const SALT_BYTES: usize = 16;
const COUNT_BYTES: usize = 8;
const PURPOSE: &[u8] = b"jingui/file-cipher/aes-256-gcm/v1";

/// Bytes that no cipher of this key made in this form, or that were changed since, or that belong to other associated
/// data. Which of these it is cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not encrypted under this key for this place, or altered")]
pub struct NotAuthentic;

/// Encrypts and decrypts the messages of one file.
#[derive(Debug)]
pub struct FileCipher {
    key: Secret<[u8; KEY_BYTES]>,
    salt: [u8; SALT_BYTES],
    own: Secret<[u8; KEY_BYTES]>,
    message_count: u64,
    foreign: Vec<([u8; SALT_BYTES], Secret<[u8; KEY_BYTES]>)>,
}

impl FileCipher {
    /// A cipher with a salt of its own under the file's `key`.
    ///
    /// # Errors
    /// [`RandomFailure`].
    pub fn new(key: Secret<[u8; KEY_BYTES]>) -> Result<Self, RandomFailure> {
        let salt = random::bytes()?;
        Ok(Self {
            own: derived(&key, &salt),
            key,
            salt,
            message_count: 0,
            foreign: Vec::new(),
        })
    }

    /// Encrypts `message` in place, bound to `associated`, and appends [`TRAILER_BYTES`].
    ///
    /// # Errors
    /// [`RandomFailure`] once in [`MESSAGES_PER_SALT_MAX`] messages; `message` is then as it was.
    pub fn encrypt(&mut self, associated: &[u8], message: &mut Vec<u8>) -> Result<(), RandomFailure> {
        if self.message_count >= MESSAGES_PER_SALT_MAX {
            self.salt = random::bytes()?;
            self.own = derived(&self.key, &self.salt);
            self.message_count = 0;
        }
        let count = self.message_count.to_le_bytes();
        self.message_count += 1;
        let tag = ring_key(&self.own)
            .seal_in_place_separate_tag(nonce(count), Aad::from(associated), message)
            .unwrap_or_else(|_| unreachable!("a message of 64 GiB does not fit an appliance's block"));
        message.extend_from_slice(tag.as_ref());
        message.extend_from_slice(&self.salt);
        message.extend_from_slice(&count);
        Ok(())
    }

    /// Decrypts in place what [`FileCipher::encrypt`] made under the same key with the same `associated`.
    ///
    /// # Errors
    /// [`NotAuthentic`]; `message` then holds nothing usable.
    pub fn decrypt(&mut self, associated: &[u8], message: &mut Vec<u8>) -> Result<(), NotAuthentic> {
        let length = message.len().checked_sub(TRAILER_BYTES).ok_or(NotAuthentic)?;
        let (body, trailer) = message.split_at_mut(length);
        let (tag, rest) = trailer.split_first_chunk::<TAG_BYTES>().ok_or(NotAuthentic)?;
        let (salt, rest) = rest.split_first_chunk::<SALT_BYTES>().ok_or(NotAuthentic)?;
        let count = rest.first_chunk::<COUNT_BYTES>().ok_or(NotAuthentic)?;
        ring_key(self.key_of(*salt))
            .open_in_place_separate_tag(nonce(*count), Aad::from(associated), Tag::from(*tag), body, 0..)
            .map_err(|_| NotAuthentic)?;
        message.truncate(length);
        Ok(())
    }

    fn key_of(&mut self, salt: [u8; SALT_BYTES]) -> &Secret<[u8; KEY_BYTES]> {
        if salt == self.salt {
            return &self.own;
        }
        let key = match self.foreign.iter().position(|(known, _)| *known == salt) {
            Some(place) => self.foreign.remove(place),
            None => (salt, derived(&self.key, &salt)),
        };
        self.foreign.truncate(FOREIGN_KEYS_MAX - 1);
        self.foreign.insert(0, key);
        self.foreign.first().map_or(&self.own, |(_, key)| key)
    }
}

fn derived(key: &Secret<[u8; KEY_BYTES]>, salt: &[u8; SALT_BYTES]) -> Secret<[u8; KEY_BYTES]> {
    Secret::new(hkdf_sha256(key.expose(), salt, PURPOSE))
}

/// Made for each message: `ring` does not wipe its schedule of round keys, so none is kept beyond a call.
fn ring_key(key: &Secret<[u8; KEY_BYTES]>) -> LessSafeKey {
    let unbound = UnboundKey::new(&AES_256_GCM, key.expose())
        .unwrap_or_else(|_| unreachable!("the key has the algorithm's 32 bytes by its type"));
    LessSafeKey::new(unbound)
}

fn nonce(count: [u8; COUNT_BYTES]) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    // The first four bytes stay zero: a derived key has one writer.
    for (to, from) in bytes.iter_mut().skip(NONCE_LEN - COUNT_BYTES).zip(count) {
        *to = from;
    }
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cipher(key: u8) -> FileCipher {
        FileCipher::new(Secret::new([key; KEY_BYTES])).expect("the test machine has randomness")
    }

    fn encrypted(cipher: &mut FileCipher, associated: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut message = plain.to_vec();
        cipher
            .encrypt(associated, &mut message)
            .expect("the test machine has randomness");
        message
    }

    proptest! {
        #[test]
        fn what_was_encrypted_comes_back(plain: Vec<u8>, associated: Vec<u8>) {
            let mut writer = cipher(1);
            let mut message = encrypted(&mut writer, &associated, &plain);
            prop_assert_eq!(message.len(), plain.len() + TRAILER_BYTES);
            let mut reader = cipher(1);
            prop_assert_eq!(reader.decrypt(&associated, &mut message), Ok(()));
            prop_assert_eq!(message, plain);
        }

        #[test]
        fn any_flipped_bit_is_refused(plain: Vec<u8>, place: prop::sample::Index, bit in 0_u8..8) {
            let mut writer = cipher(1);
            let mut message = encrypted(&mut writer, b"here", &plain);
            let place = place.index(message.len());
            message[place] ^= 1 << bit;
            prop_assert_eq!(writer.decrypt(b"here", &mut message), Err(NotAuthentic));
        }

        #[test]
        fn a_cut_message_is_refused(plain: Vec<u8>, kept: prop::sample::Index) {
            let mut writer = cipher(1);
            let mut message = encrypted(&mut writer, b"here", &plain);
            message.truncate(kept.index(message.len()));
            prop_assert_eq!(writer.decrypt(b"here", &mut message), Err(NotAuthentic));
        }

        #[test]
        fn other_associated_data_or_another_key_is_refused(plain: Vec<u8>, there: Vec<u8>, here: Vec<u8>) {
            prop_assume!(there != here);
            let mut writer = cipher(1);
            let message = encrypted(&mut writer, &here, &plain);
            prop_assert_eq!(writer.decrypt(&there, &mut message.clone()), Err(NotAuthentic));
            prop_assert_eq!(cipher(2).decrypt(&here, &mut message.clone()), Err(NotAuthentic));
        }

        #[test]
        fn bytes_from_nowhere_are_refused(mut bytes: Vec<u8>) {
            prop_assert_eq!(cipher(1).decrypt(b"", &mut bytes), Err(NotAuthentic));
        }
    }

    #[test]
    fn every_bit_of_a_short_message_counts() {
        let mut writer = cipher(1);
        let message = encrypted(&mut writer, b"here", b"keys and values");
        for place in 0..message.len() * 8 {
            let mut altered = message.clone();
            altered[place / 8] ^= 1 << (place % 8);
            assert_eq!(
                writer.decrypt(b"here", &mut altered),
                Err(NotAuthentic),
                "bit {place}"
            );
        }
    }

    #[test]
    fn no_two_messages_share_salt_and_count() {
        let mut trailers = std::collections::HashSet::new();
        for _ in 0..50 {
            let mut writer = cipher(1);
            for _ in 0..50 {
                let message = encrypted(&mut writer, b"", b"the same");
                assert!(trailers.insert(message[8 + TAG_BYTES..].to_vec()));
            }
        }
    }

    #[test]
    fn the_last_message_of_a_salt_is_followed_by_a_new_salt() {
        let mut writer = cipher(1);
        let salt = writer.salt;
        writer.message_count = MESSAGES_PER_SALT_MAX - 1;
        let mut last = encrypted(&mut writer, b"", b"last");
        assert_eq!(writer.salt, salt);
        let mut first = encrypted(&mut writer, b"", b"first");
        assert_ne!(writer.salt, salt);
        assert_eq!(writer.message_count, 1);
        assert_eq!(writer.decrypt(b"", &mut last), Ok(()));
        assert_eq!(writer.decrypt(b"", &mut first), Ok(()));
    }

    #[test]
    fn more_writers_than_keys_are_kept_can_be_read() {
        let mut reader = cipher(1);
        let messages: Vec<_> = (0..=FOREIGN_KEYS_MAX)
            .map(|_| encrypted(&mut cipher(1), b"", b"text"))
            .collect();
        for message in messages.iter().chain(&messages) {
            assert_eq!(reader.decrypt(b"", &mut message.clone()), Ok(()));
            assert!(reader.foreign.len() <= FOREIGN_KEYS_MAX);
        }
    }
}
