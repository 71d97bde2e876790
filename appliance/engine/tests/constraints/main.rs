//! Answers inside constraints, through the crate's door, with the demo model's vocabulary and logits drawn at random.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests and their helpers fail by panicking"
)]

mod chains;
mod hostile;
mod judge;
mod languages;
mod schemas;
mod table;
mod tools;
