//! Model package: who signed it, what it says about itself, whether its weights are well formed.
//!
//! A package is a folder: `release.json`, one GGUF file, texts, and `model.sig`, an OpenSSF Model Signing v1 bundle
//! that the public `model_signing` tool checks as well. This crate decides whether a package may be used; it does
//! not decide which keys are trusted (`trust`), where packages are kept and what is logged about them (the
//! supervisor), or whether a model answers well (the engine's golden prompts).
//!
//! Pure: it reads no clock and opens no file by path. [`folder`] opens names strictly below a directory descriptor
//! that it was handed; its own text says why it may.
//!
//! The way of a package is [`Candidate`] → [`Authentic`] → [`Verified`] → [`Sound`]; each step consumes the value before and gives
//! the next or a [`Refusal`] with a stable code.

pub mod bundle;
pub mod chunks;
mod codes;
pub mod folder;
pub mod gguf;
pub mod package;
pub mod path;
pub mod refusal;
pub mod release;
pub mod sign;
pub mod statement;
pub mod update;

pub use chunks::Chunks;
pub use codes::CODES;
pub use folder::{FolderSink, Sink};
pub use gguf::GgufFacts;
pub use package::{Authentic, Candidate, Floor, Progress, Sound, Verified};
pub use path::PackPath;
pub use refusal::Refusal;
pub use release::{ModelName, Release, SecurityVersion, Version};
pub use sign::{Signed, sign};

/// Name of the signature file.
pub const SIGNATURE_NAME: &str = "model.sig";

/// Name of the optional SM2 signature over the same bytes.
pub const SIDECAR_NAME: &str = "model.sig.sm2";
