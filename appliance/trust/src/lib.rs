//! Keys by role, algorithms by provider, passwords and one-time codes.
//!
//! The one place where our code meets cryptography. Callers name a *purpose* (log key, vendor key, password), and
//! this crate decides the algorithm; nobody else calls `ring` or `argon2`. It opens no file and reads no clock:
//! bytes and times are arguments, so that each function can be tested with published vectors.
//!
//! Not here: which keys are trusted (the supervisor's state), and what is signed (`audit`, `pack`).

pub mod aead;
pub mod chunk;
pub mod digest;
pub mod fs_verity;
pub mod image_key;
pub mod log_key;
pub mod mac;
pub mod password;
pub mod random;
pub mod secret;
pub mod store;
pub mod totp;
pub mod tpm;
pub mod vendor_key;

pub use chunk::{ChunkDigest, ChunkStream};
pub use digest::{Sha256, Sha256Stream};
pub use secret::Secret;
