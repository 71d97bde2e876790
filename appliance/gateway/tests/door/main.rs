//! The gateway through its door: a real port and real TLS, between a scripted supervisor and a scripted engine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests, which clippy does not know to be tests; a panic is how they fail"
)]

mod chat;
mod console;
mod golden;
mod limits;
mod process;
mod refusals;
mod replay;
mod support;
