//! One-time codes of a person's device: TOTP (RFC 6238) with HMAC-SHA-1, 30 seconds, six digits.
//!
//! SHA-1 is what phone apps speak; as a MAC it is not broken. It is used here only.

use ring::hmac;

use crate::random::{self, RandomFailure};
use crate::secret::Secret;

/// Seconds of one step.
pub const STEP_SECONDS: u64 = 30;
/// Steps by which a person's clock may be off, either way.
pub const STEPS_OFF_MAX: u64 = 1;
/// Digits of a code.
pub const CODE_DIGITS: usize = 6;
/// Bytes of a secret made here (160 bits, RFC 4226 section 4).
pub const SECRET_BYTES: usize = 20;

const SECRET_BYTES_MIN: usize = 16;
const SECRET_BYTES_MAX: usize = 64;
const CODE_MODULUS: u32 = 1_000_000;
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Text that is no usable secret: RFC 4648 base32 of 16 to 64 bytes, without padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a one-time-code secret is base32 of {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes")]
pub struct BadSecret;

impl BadSecret {
    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "auth.totp.bad-secret"
    }
}

/// Why a code does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TotpRefusal {
    /// It belongs to no step of the window.
    #[error("the code is wrong")]
    Wrong,
    /// It is right, but its step or a later one was used already.
    #[error("the code was used already")]
    Replayed,
}

impl TotpRefusal {
    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Wrong => "auth.code.wrong",
            Self::Replayed => "auth.code.replayed",
        }
    }
}

/// The secret that a person's device and the box share.
#[derive(Clone)]
pub struct TotpSecret(Secret<Vec<u8>>);

impl TotpSecret {
    /// A new random secret.
    ///
    /// # Errors
    /// [`RandomFailure`].
    pub fn generate() -> Result<Self, RandomFailure> {
        Ok(Self(Secret::new(random::bytes::<SECRET_BYTES>()?.to_vec())))
    }

    /// Reads base32; lower case, spaces and padding are accepted as people copy them.
    ///
    /// # Errors
    /// [`BadSecret`].
    pub fn from_base32(text: &str) -> Result<Self, BadSecret> {
        let mut bytes = Vec::new();
        let (mut bits, mut bit_count) = (0_u32, 0_u32);
        for character in text.bytes().filter(|it| !matches!(it, b' ' | b'=' | b'-')) {
            let value = ALPHABET
                .iter()
                .position(|it| *it == character.to_ascii_uppercase())
                .ok_or(BadSecret)?;
            bits = (bits << 5 | u32::try_from(value).map_err(|_| BadSecret)?) & 0xfff;
            bit_count += 5;
            if bit_count >= 8 {
                bit_count -= 8;
                bytes.push((bits >> bit_count & 0xff) as u8);
            }
            if bytes.len() > SECRET_BYTES_MAX {
                return Err(BadSecret);
            }
        }
        if bytes.len() < SECRET_BYTES_MIN {
            return Err(BadSecret);
        }
        Ok(Self(Secret::new(bytes)))
    }

    /// Base32 in upper case without padding, as `otpauth:` addresses carry it.
    #[must_use]
    pub fn to_base32(&self) -> Secret<String> {
        let mut text = String::new();
        let (mut bits, mut bit_count) = (0_u32, 0_u32);
        for byte in self.0.expose() {
            bits = (bits << 8 | u32::from(*byte)) & 0xfff;
            bit_count += 8;
            while bit_count >= 5 {
                bit_count -= 5;
                push_digit(&mut text, bits >> bit_count);
            }
        }
        if bit_count > 0 {
            push_digit(&mut text, bits << (5 - bit_count));
        }
        Secret::new(text)
    }

    /// The code of one step, six digits.
    #[must_use]
    pub fn code_at(&self, step: u64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, self.0.expose());
        let tag = hmac::sign(&key, &step.to_be_bytes());
        // Dynamic truncation, RFC 4226 section 5.3.
        let offset = usize::from(tag.as_ref().last().copied().unwrap_or_default() & 0x0f);
        let word = tag
            .as_ref()
            .get(offset..)
            .and_then(|it| it.first_chunk::<4>())
            .copied()
            .unwrap_or_default();
        let number = (u32::from_be_bytes(word) & 0x7fff_ffff) % CODE_MODULUS;
        format!("{number:0CODE_DIGITS$}")
    }
}

impl std::fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TotpSecret(secret)")
    }
}

fn push_digit(text: &mut String, bits: u32) {
    let digit = ALPHABET.get((bits & 0x1f) as usize).copied().unwrap_or_default();
    text.push(char::from(digit));
}

/// The step that holds a moment, given in seconds since 1970-01-01T00:00:00Z.
#[must_use]
pub const fn step_at(unix_seconds: u64) -> u64 {
    unix_seconds / STEP_SECONDS
}

/// Checks a typed code and gives the step it belongs to, which the caller keeps as the account's last used step.
///
/// A step counts once: with `last_used_step`, codes of that step and of all before it are refused.
///
/// # Errors
/// Any [`TotpRefusal`].
pub fn check(
    secret: &TotpSecret,
    code: &str,
    now_unix_seconds: u64,
    last_used_step: Option<u64>,
) -> Result<u64, TotpRefusal> {
    let now = step_at(now_unix_seconds);
    let window = now.saturating_sub(STEPS_OFF_MAX)..=now.saturating_add(STEPS_OFF_MAX);
    let mut matched = None;
    for step in window {
        if crate::mac::equal(secret.code_at(step).as_bytes(), code.as_bytes()) {
            matched = Some(step);
        }
    }
    let step = matched.ok_or(TotpRefusal::Wrong)?;
    if last_used_step.is_some_and(|last| step <= last) {
        return Err(TotpRefusal::Replayed);
    }
    Ok(step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rfc_secret() -> TotpSecret {
        TotpSecret(Secret::new(b"12345678901234567890".to_vec()))
    }

    #[test]
    fn rfc_6238_codes_hold() {
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (2_000_000_000, "279037"),
        ] {
            assert_eq!(rfc_secret().code_at(step_at(seconds)), code);
        }
    }

    #[test]
    fn base32_is_read_as_people_copy_it() {
        assert_eq!(
            rfc_secret().to_base32().expose(),
            "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
        );
        let read = TotpSecret::from_base32("gezd gnbv gy3t qojq GEZD-GNBV-GY3T-QOJQ===").unwrap();
        assert_eq!(read.0.expose(), rfc_secret().0.expose());
        for bad in [
            "",
            "GEZDGNBV",
            "GEZDGNBVGY3TQOJ1GEZDGNBVGY3TQOJQ",
            &"A".repeat(105),
        ] {
            assert_eq!(TotpSecret::from_base32(bad).map(drop), Err(BadSecret), "{bad}");
        }
    }

    #[test]
    fn one_step_either_side_opens_and_two_do_not() {
        let now = 100 * STEP_SECONDS;
        for (step, outcome) in [
            (98, Err(TotpRefusal::Wrong)),
            (99, Ok(99)),
            (100, Ok(100)),
            (101, Ok(101)),
            (102, Err(TotpRefusal::Wrong)),
        ] {
            assert_eq!(
                check(&rfc_secret(), &rfc_secret().code_at(step), now, None),
                outcome,
                "{step}"
            );
        }
    }

    #[test]
    fn a_used_code_does_not_open_again() {
        let now = 100 * STEP_SECONDS;
        let code = rfc_secret().code_at(100);
        assert_eq!(check(&rfc_secret(), &code, now, Some(99)), Ok(100));
        assert_eq!(
            check(&rfc_secret(), &code, now, Some(100)),
            Err(TotpRefusal::Replayed)
        );
        assert_eq!(
            check(&rfc_secret(), &code, now, Some(101)),
            Err(TotpRefusal::Replayed)
        );
    }

    proptest! {
        #[test]
        fn base32_round_trips(bytes in proptest::collection::vec(any::<u8>(), SECRET_BYTES_MIN..=SECRET_BYTES_MAX)) {
            let secret = TotpSecret(Secret::new(bytes.clone()));
            let read = TotpSecret::from_base32(secret.to_base32().expose()).unwrap();
            prop_assert_eq!(read.0.expose(), &bytes);
        }

        #[test]
        fn no_text_makes_it_panic(text: String, now: u64) {
            let _ = TotpSecret::from_base32(&text);
            let _ = check(&rfc_secret(), &text, now, None);
        }
    }
}
