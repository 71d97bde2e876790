//! Passwords that people type: Argon2id (RFC 9106) and the rules for choosing one.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{CustomizedPasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};

use crate::random;

/// Fewest characters of a password.
pub const CHARACTERS_MIN: usize = 12;
/// Most bytes of a password; longer ones only serve to burn the box's time.
pub const BYTES_MAX: usize = 256;
/// Character classes (lower case, upper case, digit, other) that a password must have.
pub const CLASSES_MIN: usize = 3;

const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;

/// Hashing failed: no memory or no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the password could not be hashed")]
pub struct HashFailure;

/// Why a password may not be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordWeakness {
    /// Fewer than [`CHARACTERS_MIN`] characters.
    #[error("a password has at least {CHARACTERS_MIN} characters")]
    TooShort,
    /// More than [`BYTES_MAX`] bytes.
    #[error("a password has at most {BYTES_MAX} bytes")]
    TooLong,
    /// Fewer than [`CLASSES_MIN`] character classes.
    #[error("a password mixes at least {CLASSES_MIN} of lower case, upper case, digits and other characters")]
    TooPlain,
}

impl PasswordWeakness {
    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooShort => "auth.password.too-short",
            Self::TooLong => "auth.password.too-long",
            Self::TooPlain => "auth.password.too-plain",
        }
    }
}

/// Checks the rules for a new password (GB/T 22239-2019, 8.1.4.1 a).
///
/// # Errors
/// The first broken rule.
pub fn is_strong_enough(password: &str) -> Result<(), PasswordWeakness> {
    if password.len() > BYTES_MAX {
        return Err(PasswordWeakness::TooLong);
    }
    if password.chars().count() < CHARACTERS_MIN {
        return Err(PasswordWeakness::TooShort);
    }
    let classes: [fn(char) -> bool; 4] = [
        |it| it.is_lowercase(),
        |it| it.is_uppercase(),
        |it| it.is_ascii_digit(),
        |it| !it.is_lowercase() && !it.is_uppercase() && !it.is_ascii_digit(),
    ];
    if classes
        .iter()
        .filter(|is_of_class| password.chars().any(is_of_class))
        .count()
        < CLASSES_MIN
    {
        return Err(PasswordWeakness::TooPlain);
    }
    Ok(())
}

/// Hashes with a fresh salt: Argon2id, 64 MiB, 3 passes, 1 lane. Takes some tenths of a second; the result is a
/// PHC string that carries its parameters.
///
/// # Errors
/// [`HashFailure`].
pub fn hash(password: &str) -> Result<String, HashFailure> {
    let salt = random::bytes::<SALT_BYTES>().map_err(|_| HashFailure)?;
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|_| HashFailure)?;
    Argon2::default()
        .hash_password_customized(
            password.as_bytes(),
            &salt,
            Some(Algorithm::Argon2id.as_str()),
            Some(Version::V0x13.into()),
            params,
        )
        .map(|it| it.to_string())
        .map_err(|_| HashFailure)
}

/// Whether `password` is the one that `phc` was made of. A text that is no PHC string matches no password.
#[must_use]
pub fn verify(password: &str, phc: &str) -> bool {
    if password.len() > BYTES_MAX {
        return false;
    }
    PasswordHash::new(phc).is_ok_and(|hash| {
        Argon2::default()
            .verify_password(password.as_bytes(), &hash)
            .is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_verifies_its_password_and_no_other() {
        let phc = hash("Correct-Horse-7").unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=65536,t=3,p=1$"), "{phc}");
        assert!(verify("Correct-Horse-7", &phc));
        assert!(!verify("Correct-Horse-8", &phc));
        assert!(!verify("", &phc));
        assert_ne!(
            phc,
            hash("Correct-Horse-7").unwrap(),
            "each hash has its own salt"
        );
    }

    #[test]
    fn what_is_no_hash_matches_nothing() {
        for phc in ["", "$argon2id$", "$1$abc$def", "plain"] {
            assert!(!verify("", phc) && !verify("plain", phc));
        }
    }

    #[test]
    fn the_rules_hold_at_their_limits() {
        for (password, outcome) in [
            ("Abcdefghij1", Err(PasswordWeakness::TooShort)),
            ("Abcdefghijk1", Ok(())),
            ("abcdefghijk1", Err(PasswordWeakness::TooPlain)),
            ("abcdefghij1-", Ok(())),
            ("金匮金匮金匮金匮金匮1a", Ok(())),
        ] {
            assert_eq!(is_strong_enough(password), outcome, "{password}");
        }
        let longest = format!("Aa1{}", "x".repeat(BYTES_MAX - 3));
        assert_eq!(is_strong_enough(&longest), Ok(()));
        assert_eq!(
            is_strong_enough(&format!("{longest}x")),
            Err(PasswordWeakness::TooLong)
        );
    }
}
