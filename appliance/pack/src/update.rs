//! Update bundle: a new image as a folder of files with one signed manifest, for a box without a network.
//!
//! ```text
//! jingui-update/
//!   manifest.json    what it is, the root hash, each file with role, size and SHA-256 (`Manifest`)
//!   manifest.sig     64 bytes: Ed25519 over "jingui update manifest v1\n" and the bytes of manifest.json
//!   …                exactly the files of the manifest
//! ```
//!
//! The same folder is what the installer's stick carries. The way of a bundle is [`Offered`] → [`Authentic`] →
//! [`Fitting`] → [`Verified`]: signature before anything is parsed, then whether it is for this machine, then the bytes;
//! each step consumes the value before and gives the next or an [`UpdateRefusal`] with a stable code.
//!
//! As in [`crate::folder`], names are opened strictly below a descriptor that was handed in, and bytes count only as
//! far as they were digested: a stick may answer differently the second time, so what is to be used later is copied
//! while it is digested ([`Fitting::copy`]), or compared with the digest of what was written.

mod build;
mod bundle;
mod manifest;
mod refusal;
mod tree;
mod version;

pub use build::{Facts, attach, build, describe};
pub use bundle::{Authentic, Fitting, Machine, Offered, Source, Verified};
pub use manifest::{Architecture, File, FileRole, MANIFEST_BYTES_MAX, Manifest, PRODUCT, SITE_KEY_COUNT_MAX};
pub use refusal::UpdateRefusal;
pub use version::{IMAGE_VERSION_BYTES_MAX, ImageVersion, NotAnImageVersion};

/// Name of a bundle's folder at the top of a stick.
pub const FOLDER_NAME: &str = "jingui-update";
/// Name of the manifest.
pub const MANIFEST_NAME: &str = "manifest.json";
/// Name of its signature.
pub const SIGNATURE_NAME: &str = "manifest.sig";
