//! USB stick to a proven box: survey, plan, write, prove; and the other slot of a box that is updated.
//!
//! The installer writes a disk itself, sector by sector: partition table ([`gpt`]), EFI system partition ([`fat`]), root
//! and hash tree ([`slot`]). What an interrupted installation leaves behind is decided by the order of writes, so the
//! order has to be ours, and each write is tried with a fault ([`disk::Disk`] is a trait for that). Nothing is parsed
//! that a key of the image did not sign, except the partition table and the volume of a disk that has an older system.
//!
//! It knows nothing of the state: the first start of the box makes it.

pub mod answers;
pub mod attend;
pub mod disk;
pub mod entries;
pub mod esp;
pub mod fat;
pub mod gpt;
pub mod install;
pub mod layout;
pub mod person;
pub mod slot;
pub mod survey;
#[cfg(test)]
mod testing;
