//! The gateway: TLS, HTTP, accounts, keys and the console on the LAN.
//!
//! A process behind walls: no network of its own, only the listening socket it was handed, its own folder, and two
//! kinds of sockets to the supervisor and the engines. One request goes [`listen`] (accept, TLS, caps, time-outs) →
//! [`routes`] (one table: path, who may, limits, audit rule, handler) → [`chat`] (body to a running stream) →
//! [`orders`] (what the engine is told) → [`answering`] (engine's events to the client, the next engine when one dies, and
//! the leaf) and back.
//!
//! Who owns what: [`gateway`] the process and its loop, [`supervisor`] and [`engines`] the sockets, [`store`] the tables,
//! in which [`keys`], [`people`], [`sessions`] and [`commitments`] have theirs.

pub mod answering;
pub mod answers;
pub mod call;
pub mod chat;
pub mod clock;
pub mod closing;
pub mod commitments;
pub mod console;
pub mod engines;
pub mod facts;
pub mod gateway;
pub mod golden;
pub mod keys;
pub mod listen;
pub mod openapi;
pub mod orders;
pub mod people;
pub mod quarantine;
pub mod refusals;
pub mod routes;
pub mod schema;
pub mod sessions;
pub mod sign_in;
pub mod store;
pub mod supervisor;
pub mod tenants;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod tries;

pub use refusals::CODES;
