//! The real engine on the canary model, through its two sockets as supervisor and gateway use them.
//!
//! The canary is a trained GLM-4 whose right answers are known, so a wrong text here is a wrong engine. Most
//! tests run `serve` in a thread; `walls` runs the program as the supervisor starts it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod canary;
mod conversation;
mod crowd;
mod harness;
mod life;
mod prefixes;
mod prompts;
mod replay;
mod streams;
mod strict;
mod walls;
