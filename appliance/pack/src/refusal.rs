//! Why a package is refused, and what kept us from looking.

use std::io;

use jingui_trust::Sha256;

use crate::gguf::GgufRefusal;
use crate::path::{NameFault, PackPath};
use crate::release::{ModelName, SecurityVersion};

/// A package that may not be used, or a device that failed while we looked ([`Refusal::is_failure`]).
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The folder cannot be listed.
    #[error("the folder cannot be read")]
    FolderUnreadable {
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// More entries than a package may have.
    #[error("the folder has more than {max} entries")]
    TooManyFiles {
        /// The bound.
        max: usize,
    },
    /// Folders in folders in folders.
    #[error("{folder} lies deeper than {max} folders")]
    TooDeep {
        /// Where it became too much.
        folder: String,
        /// The bound.
        max: usize,
    },
    /// A name that no package may have, in the folder or in the statement.
    #[error("{name} is no name for a file of a package: {fault}")]
    Name {
        /// The name, escaped.
        name: String,
        /// What is wrong with it.
        fault: NameFault,
    },
    /// Two names that some file system holds for one.
    #[error("{first} and {second} differ in case alone")]
    CaseTwins {
        /// One.
        first: PackPath,
        /// The other.
        second: PackPath,
    },
    /// A symbolic link.
    #[error("{file} is a symbolic link")]
    Symlink {
        /// The entry.
        file: PackPath,
    },
    /// A device, pipe or socket, or an entry that changed while it was opened.
    #[error("{file} is no regular file")]
    Special {
        /// The entry.
        file: PackPath,
    },
    /// A file cannot be read.
    #[error("{file} cannot be read")]
    Unreadable {
        /// The file.
        file: PackPath,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A copy or a signature cannot be written.
    #[error("{file} cannot be written")]
    Unwritable {
        /// The file.
        file: PackPath,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file that the signature covers has other bytes.
    #[error("{file} is {found}, the signature covers {signed}")]
    Altered {
        /// The file.
        file: PackPath,
        /// Digest in the statement.
        signed: Sha256,
        /// Digest of the bytes.
        found: Sha256,
    },
    /// A file that the signature does not cover.
    #[error("{file} is not covered by the signature")]
    Extra {
        /// The file.
        file: PackPath,
    },
    /// A file that the signature covers is not there.
    #[error("{file} is covered by the signature and not there")]
    Missing {
        /// The file.
        file: PackPath,
    },
    /// No `model.sig`.
    #[error("the package is not signed")]
    Unsigned,
    /// `model.sig` is longer than any we would make.
    #[error("the signature file has {found} bytes, at most {max} are accepted")]
    SignatureTooBig {
        /// Its bytes.
        found: u64,
        /// The bound.
        max: u64,
    },
    /// `model.sig` is no bundle of this format.
    #[error("the signature file is no bundle: {fault}")]
    SignatureMalformed {
        /// What is wrong.
        fault: &'static str,
    },
    /// More than one signature, of which verifiers would look at different ones.
    #[error("the bundle holds {found} signatures, exactly one is accepted")]
    SeveralSignatures {
        /// How many.
        found: usize,
    },
    /// Signed by a key that this box does not trust.
    #[error("the package is signed by the unknown key {hint}")]
    UnknownKey {
        /// SHA-256 of the key's PEM text, as the bundle says.
        hint: Sha256,
    },
    /// The signature is not one of the named key over this statement.
    #[error("the signature does not fit the statement and key {hint}")]
    SignatureWrong {
        /// The key.
        hint: Sha256,
    },
    /// The signed payload is of another type.
    #[error("the signed payload is no in-toto statement")]
    PayloadType,
    /// The statement cannot be read.
    #[error("the statement is malformed: {fault}")]
    StatementMalformed {
        /// What is wrong.
        fault: &'static str,
    },
    /// The statement is about something else than a model.
    #[error("the statement is no model signature")]
    Predicate,
    /// The files were digested in another way than ours.
    #[error("the statement covers files by another method: {fault}")]
    Serialization {
        /// Which part differs.
        fault: &'static str,
    },
    /// The statement leaves out more than the fixed list.
    #[error("the statement ignores {path}")]
    IgnorePath {
        /// The path, escaped.
        path: String,
    },
    /// The statement's root digest is not that of its files.
    #[error("the root digest does not fit the listed files")]
    Root,
    /// No `release.json`, or none that the signature covers.
    #[error("release.json is missing")]
    ReleaseMissing,
    /// `release.json` is longer than any we would make.
    #[error("release.json has {found} bytes, at most {max} are accepted")]
    ReleaseTooBig {
        /// Its bytes.
        found: u64,
        /// The bound.
        max: u64,
    },
    /// `release.json` is not of its schema.
    #[error("release.json is malformed at line {line}, column {column}")]
    ReleaseMalformed {
        /// Where.
        line: usize,
        /// Where.
        column: usize,
        /// What the parser said; may quote the file, so it is for logs of packagers only.
        #[source]
        source: serde_json::Error,
    },
    /// `release.json` is of its schema, and a value is outside its bounds.
    #[error("release.json: {field} is not acceptable")]
    ReleaseValue {
        /// The field.
        field: &'static str,
    },
    /// `release.json` says something else than the weights.
    #[error("release.json says {declared} for {field} of {file}, the file has {found}")]
    ReleaseDisagrees {
        /// The weights.
        file: PackPath,
        /// The field.
        field: &'static str,
        /// What `release.json` says.
        declared: String,
        /// What is so.
        found: String,
    },
    /// The release needs a newer appliance.
    #[error("the release needs appliance {needed}, this is {current}")]
    ApplianceTooOld {
        /// `min_appliance`.
        needed: String,
        /// Ours.
        current: String,
    },
    /// An older release than one that was accepted before.
    #[error("security version {offered} of {model} is older than {floor}")]
    RolledBack {
        /// The model.
        model: ModelName,
        /// What the package has.
        offered: SecurityVersion,
        /// The least that is accepted.
        floor: SecurityVersion,
    },
    /// The weights break a rule of the pre-check.
    #[error("{file} is refused by the pre-check")]
    Gguf {
        /// The weights.
        file: PackPath,
        /// The rule.
        #[source]
        source: GgufRefusal,
    },
    /// Signing failed for want of randomness or a usable key.
    #[error("the signature could not be made")]
    NotSigned,
}

impl Refusal {
    /// Stable code. Never changes once released: manual, console and scripts rely on it.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::FolderUnreadable { .. } => "model.folder.unreadable",
            Self::TooManyFiles { .. } => "model.folder.too-many",
            Self::TooDeep { .. } => "model.folder.too-deep",
            Self::Name { .. } => "model.name.not-allowed",
            Self::CaseTwins { .. } => "model.name.case-twins",
            Self::Symlink { .. } => "model.entry.symlink",
            Self::Special { .. } => "model.entry.special",
            Self::Unreadable { .. } => "model.file.unreadable",
            Self::Unwritable { .. } => "model.file.unwritable",
            Self::Altered { .. } => "model.file.altered",
            Self::Extra { .. } => "model.file.extra",
            Self::Missing { .. } => "model.file.missing",
            Self::Unsigned => "model.signature.missing",
            Self::SignatureTooBig { .. } => "model.signature.too-big",
            Self::SignatureMalformed { .. } => "model.signature.malformed",
            Self::SeveralSignatures { .. } => "model.signature.several",
            Self::UnknownKey { .. } => "model.signature.unknown-key",
            Self::SignatureWrong { .. } => "model.signature.wrong",
            Self::NotSigned => "model.signature.not-made",
            Self::PayloadType => "model.statement.payload-type",
            Self::StatementMalformed { .. } => "model.statement.malformed",
            Self::Predicate => "model.statement.predicate",
            Self::Serialization { .. } => "model.statement.serialization",
            Self::IgnorePath { .. } => "model.statement.ignore-path",
            Self::Root => "model.statement.root",
            Self::ReleaseMissing => "model.release.missing",
            Self::ReleaseTooBig { .. } => "model.release.too-big",
            Self::ReleaseMalformed { .. } => "model.release.malformed",
            Self::ReleaseValue { .. } => "model.release.value",
            Self::ReleaseDisagrees { .. } => "model.release.disagrees",
            Self::ApplianceTooOld { .. } => "model.release.appliance-too-old",
            Self::RolledBack { .. } => "model.version.rolled-back",
            Self::Gguf { source, .. } => source.code(),
        }
    }

    /// Whether the device failed, so that the package may be good and another try may help.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        matches!(
            self,
            Self::FolderUnreadable { .. }
                | Self::Unreadable { .. }
                | Self::Unwritable { .. }
                | Self::NotSigned
                | Self::Gguf {
                    source: GgufRefusal::Unreadable { .. },
                    ..
                }
        )
    }

    /// Facts for the words of the code: name and value. None of them is content or secret.
    #[must_use]
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::FolderUnreadable { source } => vec![("cause", source.kind().to_string())],
            Self::TooManyFiles { max } => vec![("max", max.to_string())],
            Self::TooDeep { folder, max } => vec![("folder", folder.clone()), ("max", max.to_string())],
            Self::Name { name, fault } => vec![("file", name.clone()), ("fault", fault.word().to_owned())],
            Self::CaseTwins { first, second } => {
                vec![("file", first.to_string()), ("twin", second.to_string())]
            }
            Self::Symlink { file }
            | Self::Special { file }
            | Self::Extra { file }
            | Self::Missing { file } => {
                vec![("file", file.to_string())]
            }
            Self::Unreadable { file, source } | Self::Unwritable { file, source } => {
                vec![("file", file.to_string()), ("cause", source.kind().to_string())]
            }
            Self::Altered { file, signed, found } => {
                vec![
                    ("file", file.to_string()),
                    ("signed", signed.to_string()),
                    ("found", found.to_string()),
                ]
            }
            Self::SignatureTooBig { found, max } | Self::ReleaseTooBig { found, max } => {
                vec![("found", found.to_string()), ("max", max.to_string())]
            }
            Self::SignatureMalformed { fault }
            | Self::StatementMalformed { fault }
            | Self::Serialization { fault } => vec![("fault", (*fault).to_owned())],
            Self::SeveralSignatures { found } => vec![("found", found.to_string())],
            Self::UnknownKey { hint } | Self::SignatureWrong { hint } => vec![("key", hint.to_string())],
            Self::IgnorePath { path } => vec![("path", path.clone())],
            Self::ReleaseMalformed { line, column, .. } => {
                vec![("line", line.to_string()), ("column", column.to_string())]
            }
            Self::ReleaseValue { field } => vec![("field", (*field).to_owned())],
            Self::ReleaseDisagrees {
                file,
                field,
                declared,
                found,
            } => vec![
                ("file", file.to_string()),
                ("field", (*field).to_owned()),
                ("declared", declared.clone()),
                ("found", found.clone()),
            ],
            Self::ApplianceTooOld { needed, current } => {
                vec![("needed", needed.clone()), ("current", current.clone())]
            }
            Self::RolledBack {
                model,
                offered,
                floor,
            } => vec![
                ("model", model.to_string()),
                ("offered", offered.to_string()),
                ("floor", floor.to_string()),
            ],
            Self::Gguf { file, source } => {
                let mut facts = vec![("file", file.to_string())];
                facts.extend(source.facts());
                facts
            }
            Self::Unsigned
            | Self::NotSigned
            | Self::PayloadType
            | Self::Predicate
            | Self::Root
            | Self::ReleaseMissing => Vec::new(),
        }
    }
}
