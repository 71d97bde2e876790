//! The scheduler on a simulated device in virtual time.
//!
//! The code that serves runs here against a KV pool that checks every operation, on machines of any speed, with
//! arrivals, cancels and failures from a seed. A test that fails prints the seed and the command that replays it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "simulations fail by panicking, and their numbers are small"
)]

mod device;
mod fairness;
mod prefixes;
mod promises;
mod random;
mod waiting;
mod world;
