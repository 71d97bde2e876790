//! Linux walls: spawn, namespaces, landlock, seccomp, descriptors.
//!
//! The supervisor starts gateway and engine, each behind its own walls. Three steps, by three parties, so that no
//! one has to be believed:
//!
//! 1. [`launch`], by the supervisor: a new process in new namespaces, with exactly the descriptors it was given.
//! 2. [`confine`], by that process, first thing in `main`: it gives up files, capabilities and system calls.
//! 3. [`measure`], by the supervisor: what the kernel says about the process, whatever the process claims.
//!
//! This crate is the only place where walls are built, and one of the two homes of unsafe code. It knows nothing of
//! what the processes do. Linux only, `x86_64` and `aarch64`; the kernel must have close_range (5.9) and, for all walls,
//! mount_setattr (5.12) and landlock (5.13).

mod child;
mod confine;
mod descriptors;
mod inherited;
mod launch;
mod mapper;
mod namespace;
mod sys;
mod terminal;
mod verity;
mod walls;

pub use child::{Child, ExitReason};
pub use confine::{ConfineError, Confinement, Profile, confine, shut_in};
pub use descriptors::{Received, receive_descriptors, send_descriptors};
pub use inherited::inherited;
pub use launch::{Identity, Launch, LaunchError, Limits, Step, Strictness, launch};
pub use mapper::mapper_table;
pub use namespace::{Namespace, available_namespaces};
pub use terminal::terminal_size;
pub use verity::{MEASUREMENT_BYTES, measure_file, seal_file};
pub use walls::{Walls, measure};

/// Every code of this crate's errors. A code never changes once released.
pub const CODES: &[&str] = &[
    "system.jail.launch-invalid",
    "system.jail.launch-failed",
    "system.jail.namespaces-refused",
    "system.jail.confine-failed",
    "system.jail.landlock-missing",
];
