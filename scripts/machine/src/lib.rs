//! A box in QEMU, for those who try the sealed image: `scripts/image --boot`, `scripts/test image`, `scripts/bench image`.
//!
//! A [`Site`] is what stays when the power goes: the firmware's variables, the TPM's state, the disks. A [`Machine`] is one
//! run of it, from power on to power off. Knows nothing of the product but what a monitor, a serial line and a cable see.

mod capture;
mod esp;
mod machine;
mod screen;
mod serial;
mod site;
mod tpm;

pub use capture::{Frame, Heard, read_capture};
pub use esp::{get_file, put_file, remove_file};
pub use machine::{Boot, Disk, Machine, Port, accelerator};
pub use serial::Serial;
pub use site::{SecureBoot, Site};
