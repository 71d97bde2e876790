//! Randomness of the operating system.

use ring::rand::{SecureRandom, SystemRandom};

/// The kernel gave no randomness. Nothing that needs a key may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no randomness")]
pub struct RandomFailure;

impl RandomFailure {
    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "system.randomness.missing"
    }
}

/// Fills `target`.
///
/// # Errors
/// [`RandomFailure`]; `target` then holds nothing usable.
pub fn fill(target: &mut [u8]) -> Result<(), RandomFailure> {
    SystemRandom::new().fill(target).map_err(|_| RandomFailure)
}

/// `N` random bytes.
///
/// # Errors
/// [`RandomFailure`].
pub fn bytes<const N: usize>() -> Result<[u8; N], RandomFailure> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}
