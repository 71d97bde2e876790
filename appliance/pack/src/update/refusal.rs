//! Why an update bundle is refused, and what kept us from looking.

use std::io;

use jingui_trust::Sha256;

use super::version::ImageVersion;
use crate::release::SecurityVersion;

/// A bundle that may not be used, or a device that failed while we looked ([`UpdateRefusal::is_failure`]).
#[derive(Debug, thiserror::Error)]
pub enum UpdateRefusal {
    /// There is no bundle in the folder.
    #[error("the folder holds no update bundle")]
    Absent,
    /// The folder cannot be listed.
    #[error("the folder cannot be read")]
    FolderUnreadable {
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file of the bundle is not there.
    #[error("{file} is missing")]
    Missing {
        /// Its name.
        file: String,
    },
    /// A file that the manifest does not name.
    #[error("{file} does not belong to the bundle")]
    Extra {
        /// Its name, escaped.
        file: String,
    },
    /// A link, folder, device, pipe or socket.
    #[error("{file} is no regular file")]
    Special {
        /// Its name.
        file: String,
    },
    /// A file cannot be read.
    #[error("{file} cannot be read")]
    Unreadable {
        /// Its name.
        file: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A copy cannot be written.
    #[error("{file} cannot be written")]
    Unwritable {
        /// Its name.
        file: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The manifest is longer than any we would make.
    #[error("the manifest has {found} bytes, at most {max} are accepted")]
    ManifestTooBig {
        /// Its bytes.
        found: u64,
        /// The bound.
        max: u64,
    },
    /// The signature file does not hold one Ed25519 signature.
    #[error("the signature file has {found} bytes")]
    SignatureMalformed {
        /// Its bytes.
        found: u64,
    },
    /// No key that is trusted made the signature over these bytes.
    #[error("the manifest is not signed by a trusted key")]
    SignatureWrong,
    /// Signed, and not of the schema or not in its one form.
    #[error("the manifest is malformed: {fault}")]
    ManifestMalformed {
        /// What is wrong.
        fault: &'static str,
    },
    /// For another product.
    #[error("the bundle is for the product {found}")]
    Product {
        /// What it says.
        found: String,
    },
    /// For another architecture.
    #[error("the bundle is for {found}, this machine is {needed}")]
    Architecture {
        /// What it says.
        found: &'static str,
        /// What is needed.
        needed: &'static str,
    },
    /// Older than the machine accepts.
    #[error("security version {offered} is older than {floor}")]
    RolledBack {
        /// What the bundle has.
        offered: SecurityVersion,
        /// The least that is accepted.
        floor: SecurityVersion,
    },
    /// Not newer than what runs: the boot loader would go on starting that one.
    #[error("version {offered} is not newer than {running}")]
    NotNewer {
        /// What the bundle has.
        offered: ImageVersion,
        /// What runs.
        running: ImageVersion,
    },
    /// Another number of bytes than the manifest says.
    #[error("{file} has {found} bytes, the manifest says {signed}")]
    Size {
        /// Its name.
        file: String,
        /// Bytes in the manifest.
        signed: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// Other bytes than the manifest says.
    #[error("{file} is {found}, the manifest says {signed}")]
    Altered {
        /// Its name.
        file: String,
        /// Digest in the manifest.
        signed: Sha256,
        /// Digest of the bytes.
        found: Sha256,
    },
    /// The hash tree does not belong to the root hash.
    #[error("{file} is not the hash tree of the root hash: {fault}")]
    Tree {
        /// Name of the tree's file.
        file: String,
        /// What is wrong.
        fault: &'static str,
    },
    /// The boot entry does not carry the root hash.
    #[error("{file} does not start the root of this bundle")]
    Entry {
        /// Name of the boot entry's file.
        file: String,
    },
}

impl UpdateRefusal {
    /// Every code that [`Self::code`] can give.
    pub const CODES: &'static [&'static str] = &[
        "update.bundle.absent",
        "update.folder.unreadable",
        "update.file.missing",
        "update.file.extra",
        "update.file.special",
        "update.file.unreadable",
        "update.file.unwritable",
        "update.manifest.too-big",
        "update.signature.malformed",
        "update.signature.wrong",
        "update.manifest.malformed",
        "update.product.other",
        "update.architecture.other",
        "update.version.rolled-back",
        "update.version.not-newer",
        "update.file.size",
        "update.file.altered",
        "update.tree.wrong",
        "update.entry.wrong",
    ];

    /// Stable code. Never changes once released: manual, console and scripts rely on it.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Absent => "update.bundle.absent",
            Self::FolderUnreadable { .. } => "update.folder.unreadable",
            Self::Missing { .. } => "update.file.missing",
            Self::Extra { .. } => "update.file.extra",
            Self::Special { .. } => "update.file.special",
            Self::Unreadable { .. } => "update.file.unreadable",
            Self::Unwritable { .. } => "update.file.unwritable",
            Self::ManifestTooBig { .. } => "update.manifest.too-big",
            Self::SignatureMalformed { .. } => "update.signature.malformed",
            Self::SignatureWrong => "update.signature.wrong",
            Self::ManifestMalformed { .. } => "update.manifest.malformed",
            Self::Product { .. } => "update.product.other",
            Self::Architecture { .. } => "update.architecture.other",
            Self::RolledBack { .. } => "update.version.rolled-back",
            Self::NotNewer { .. } => "update.version.not-newer",
            Self::Size { .. } => "update.file.size",
            Self::Altered { .. } => "update.file.altered",
            Self::Tree { .. } => "update.tree.wrong",
            Self::Entry { .. } => "update.entry.wrong",
        }
    }

    /// Whether the device failed, so that the bundle may be good and another try may help.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        matches!(
            self,
            Self::FolderUnreadable { .. } | Self::Unreadable { .. } | Self::Unwritable { .. }
        )
    }

    /// Facts for the words of the code: name and value. None of them is content or secret.
    #[must_use]
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Absent | Self::SignatureWrong => Vec::new(),
            Self::FolderUnreadable { source } => vec![("cause", source.kind().to_string())],
            Self::Missing { file } | Self::Extra { file } | Self::Special { file } | Self::Entry { file } => {
                vec![("file", file.clone())]
            }
            Self::Unreadable { file, source } | Self::Unwritable { file, source } => {
                vec![("file", file.clone()), ("cause", source.kind().to_string())]
            }
            Self::ManifestTooBig { found, max } => {
                vec![("found", found.to_string()), ("max", max.to_string())]
            }
            Self::SignatureMalformed { found } => vec![("found", found.to_string())],
            Self::ManifestMalformed { fault } => vec![("fault", (*fault).to_owned())],
            Self::Product { found } => vec![("found", found.clone())],
            Self::Architecture { found, needed } => {
                vec![("found", (*found).to_owned()), ("needed", (*needed).to_owned())]
            }
            Self::RolledBack { offered, floor } => {
                vec![("offered", offered.to_string()), ("floor", floor.to_string())]
            }
            Self::NotNewer { offered, running } => {
                vec![("offered", offered.to_string()), ("running", running.to_string())]
            }
            Self::Size { file, signed, found } => vec![
                ("file", file.clone()),
                ("signed", signed.to_string()),
                ("found", found.to_string()),
            ],
            Self::Altered { file, signed, found } => vec![
                ("file", file.clone()),
                ("signed", signed.to_string()),
                ("found", found.to_string()),
            ],
            Self::Tree { file, fault } => vec![("file", file.clone()), ("fault", (*fault).to_owned())],
        }
    }
}
