//! The gateway through its door: a real port and real TLS, between a scripted supervisor and a scripted engine.

mod chat;
mod console;
mod limits;
mod process;
mod refusals;
mod support;
