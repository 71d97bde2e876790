//! The engine worker: one loaded model on one llama.cpp context.
//!
//! Threads, and what each owns; between them bounded channels and atomics, no locks:
//!
//! | Thread | Owns | Must survive |
//! |---|---|---|
//! | main ([`supervisor`]) | the socket to the supervisor; heartbeat | a step that never returns: it goes on beating, with a count that stands still |
//! | step ([`step`]) | the llama context, all streams | any request; a gateway that dies or does not read |
//! | reader ([`gateway`]) | the receiving side of the gateway's socket, tokenizing | malformed frames: they end the conversation, not the worker |
//! | writer ([`gateway`]) | the sending side of the gateway's socket | a gateway that does not read |
//!
//! The worker dies alone: when the supervisor's socket closes, when the step thread ends, or when llama.cpp aborts.
//! Nothing here touches a file, a clock of the wall or the network; weights and sockets arrive as descriptors.

pub mod choose;
pub mod codes;
pub mod constraint;
pub mod gateway;
pub mod load;
pub mod pulse;
pub mod sampling;
pub mod serve;
pub mod step;
pub mod stream;
pub mod supervisor;
pub mod tier;
pub mod tokens;

pub use codes::CODES;
pub use serve::{EngineError, serve, serve_with};
