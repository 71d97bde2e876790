//! Keyed digests and derived keys: HMAC (RFC 2104) and HKDF (RFC 5869), both with SHA-256.

use ring::{hkdf, hmac};

/// HMAC-SHA-256 of `data` under `key`.
#[must_use]
pub fn hmac_sha256(key: &[u8], data: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data);
    let mut bytes = [0; 32];
    // Both sides are 32 bytes by the algorithm.
    for (to, from) in bytes.iter_mut().zip(tag.as_ref()) {
        *to = *from;
    }
    bytes
}

/// Whether `tag` is the HMAC-SHA-256 of `data` under `key`, in a time that does not depend on where they differ.
#[must_use]
pub fn verify_hmac_sha256(key: &[u8], data: &[u8], tag: &[u8]) -> bool {
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), data, tag).is_ok()
}

/// `N` bytes derived from `key` for the purpose named by `info`.
///
/// `N` is at most 8,160 bytes (255 blocks, RFC 5869 section 2.3); more is a bug and does not compile into a call
/// that succeeds.
#[must_use]
pub fn hkdf_sha256<const N: usize>(key: &[u8], salt: &[u8], info: &[u8]) -> [u8; N] {
    const { assert!(N <= 255 * 32, "HKDF-SHA-256 gives at most 255 blocks") };
    let mut okm = [0; N];
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(key);
    let filled = prk
        .expand(&[info], Length(N))
        .and_then(|material| material.fill(&mut okm));
    assert!(filled.is_ok(), "the length was checked at compile time");
    okm
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// Whether `left` and `right` are equal, in a time that depends on their lengths only.
#[must_use]
pub fn equal(left: &[u8], right: &[u8]) -> bool {
    // HMAC of both under one key: `ring` offers no plain constant-time comparison that is not deprecated.
    const KEY: &[u8] = b"jingui/equal/v1";
    verify_hmac_sha256(KEY, left, &hmac_sha256(KEY, right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_matches_rfc_4231_case_2() {
        let tag = hmac_sha256(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(tag[..4], [0x5b, 0xdc, 0xc1, 0x46]);
        assert!(verify_hmac_sha256(b"Jefe", b"what do ya want for nothing?", &tag));
        assert!(!verify_hmac_sha256(
            b"jefe",
            b"what do ya want for nothing?",
            &tag
        ));
    }

    #[test]
    fn hkdf_matches_rfc_5869_case_1() {
        let salt: Vec<u8> = (0..=0x0c).collect();
        let info: Vec<u8> = (0xf0..=0xf9).collect();
        let okm: [u8; 42] = hkdf_sha256(&[0x0b; 22], &salt, &info);
        assert_eq!(okm[..6], [0x3c, 0xb2, 0x5f, 0x25, 0xfa, 0xac]);
        assert_eq!(okm[38..], [0x87, 0x18, 0x58, 0x65]);
    }

    #[test]
    fn equal_compares_bytes_and_lengths() {
        assert!(equal(b"", b""));
        assert!(equal(b"same", b"same"));
        assert!(!equal(b"same", b"sama"));
        assert!(!equal(b"same", b"same "));
    }
}
