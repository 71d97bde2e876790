//! The one door to llama.cpp and ggml.
//!
//! A model is read from an open descriptor ([`Model::load`]), a [`Context`] computes [`Batch`]es of tokens on it,
//! and logits come back as slices. No pointer leaves this crate; each call into C++ that may abort the process for
//! bad arguments is guarded here first, so that a mistake of a caller is an error value and never the end of the
//! worker. What is left to the process is memory exhaustion and a defect inside llama.cpp itself, which is why the
//! engine runs this crate in a worker that may die alone.
//!
//! Built on `llama-cpp-sys-2`, which is llama.cpp in source with its C API (`llama.h` of that version is the
//! reference for everything here). Threads: a [`Model`] is shared freely; a [`Context`] belongs to one thread at a time.

mod backend;
mod batch;
mod context;
mod memory;
mod model;
mod mtp;
mod outputs;
mod pooling;
mod rows;
mod sequence;
mod state;
mod threads;
mod vocab;

pub use backend::{LogLevel, route_logs, system_facts};
pub use batch::{Batch, BatchError};
pub use context::{AbortFlag, Context, ContextError, ContextShape, DecodeError, Decoded};
pub use memory::Memory;
pub use model::{LoadError, LoadOptions, Model};
pub use mtp::{DraftError, DraftRequest, MtpDrafter};
pub use outputs::{LogitsError, Outputs};
pub use pooling::{PooledContext, PooledError, PooledShape, Pooling, Purpose};
pub use sequence::SequenceError;
pub use state::StateError;
pub use vocab::{Special, Token, TokenizeError};
