//! Linux walls: spawn, namespaces, landlock, seccomp, descriptors.
//!
//! The supervisor starts gateway and engine, each behind its own walls. This crate is the only place where they are
//! built and measured, and one of the two homes of unsafe code.

mod descriptors;

pub use descriptors::{Received, receive_descriptors, send_descriptors};
