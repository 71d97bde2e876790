//! Every message between our processes, framed and bounded.
//!
//! Five conversations, each with a closed list of messages:
//!
//! | Who | Messages | Carrier |
//! |---|---|---|
//! | person's tool (`jingui`) → supervisor | [`control::Request`] → [`control::Reply`] | `control.sock` in the state folder |
//! | gateway → supervisor and back | [`gateway::ToSupervisor`], [`gateway::ToGateway`] | a socket pair made by the supervisor |
//! | supervisor → engine and back | [`engine::Order`], [`engine::Report`] | a socket pair made by the supervisor |
//! | local screen → supervisor | [`screen::ToSupervisor`] → [`screen::FromSupervisor`] | `screen.sock` below `/run/jingui` |
//! | gateway → engine and back | [`engine::ToEngine`], [`engine::FromEngine`] | a socket pair, one end handed to each |
//!
//! A frame is a little-endian `u32` length and that many bytes of postcard. A message that is too long, cut off
//! or not of the list ends the conversation: the peer is broken or hostile, and nothing after it can be trusted.

pub mod channel;
pub mod control;
pub mod engine;
pub mod frame;
pub mod gateway;
pub mod network;
pub mod screen;
pub mod status;
pub mod storage;
pub mod update;

pub use channel::{Channel, ChannelError};
pub use frame::{Decoder, FRAME_BYTES_MAX, FrameError, encode};
