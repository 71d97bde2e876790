//! Making a bundle of files that lie in a folder already.

use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;

use jingui_trust::image_key::{ImageKey, ImagePublicKey, Purpose};
use jingui_trust::log_key::SIGNATURE_BYTES;
use jingui_trust::{Sha256, Sha256Stream};

use super::bundle::open_file;
use super::manifest::{Architecture, File, FileRole, Manifest, PRODUCT};
use super::refusal::UpdateRefusal;
use super::version::ImageVersion;
use super::{MANIFEST_NAME, SIGNATURE_NAME, tree};
use crate::path::PackPath;
use crate::release::SecurityVersion;

const PIECE_BYTES: usize = 1 << 20;

/// What the maker of an image says about it; the rest of the manifest is measured.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Version of the image.
    pub image_version: ImageVersion,
    /// Number against rollback.
    pub security_version: SecurityVersion,
    /// For which machines.
    pub architecture: Architecture,
    /// Root hash of the verity tree.
    pub roothash: Sha256,
    /// The files in the folder: root, verity, uki, and for a stick also the loader.
    pub files: Vec<(FileRole, PackPath)>,
    /// Keys whose answers files an installer takes beside those of the image's keys.
    pub site_keys: Vec<ImagePublicKey>,
}

/// Measures the files in `folder`, signs, and writes manifest and signature beside them.
///
/// The same files, facts and key always give the same bytes.
///
/// # Errors
/// As [`describe`] and [`attach`].
pub fn build(folder: BorrowedFd<'_>, facts: &Facts, key: &ImageKey) -> Result<Manifest, UpdateRefusal> {
    let manifest = describe(folder, facts)?;
    let signature = key.sign(Purpose::UpdateManifest, &manifest.to_bytes());
    let public = key
        .public_key()
        .map_err(|_| UpdateRefusal::SignatureMalformed { found: 0 })?;
    attach(folder, &manifest, &signature, &public)?;
    Ok(manifest)
}

/// Measures the files in `folder` and writes `manifest.json`, to be signed elsewhere (a token that gives no key away).
///
/// # Errors
/// [`UpdateRefusal::Tree`] and [`UpdateRefusal::Entry`] when root hash, tree and boot entry do not belong together;
/// [`UpdateRefusal::ManifestMalformed`] for facts that make no manifest; [`UpdateRefusal::Missing`],
/// [`UpdateRefusal::Special`] and the failures of reading and writing.
pub fn describe(folder: BorrowedFd<'_>, facts: &Facts) -> Result<Manifest, UpdateRefusal> {
    let mut files = Vec::new();
    let carried = format!("roothash={}", facts.roothash);
    let mut by_role = facts.files.clone();
    by_role.sort_by_key(|(role, _)| *role);
    for (role, name) in &by_role {
        let wanted = (*role == FileRole::Uki).then_some(carried.as_bytes());
        let (measured, carries) = measure(folder, name, wanted)?;
        if *role == FileRole::Uki && !carries {
            return Err(UpdateRefusal::Entry {
                file: name.to_string(),
            });
        }
        files.push(File {
            role: *role,
            ..measured
        });
    }
    let manifest = Manifest {
        format: 1,
        product: PRODUCT.to_owned(),
        image_version: facts.image_version.clone(),
        security_version: facts.security_version,
        architecture: facts.architecture,
        roothash: facts.roothash,
        files,
        site_keys: facts
            .site_keys
            .iter()
            .map(|key| Sha256::from_bytes(*key.as_bytes()))
            .collect(),
    };
    let manifest = Manifest::parse(&manifest.to_bytes())?;
    check_tree(folder, &manifest)?;
    write(folder, MANIFEST_NAME, &manifest.to_bytes())?;
    Ok(manifest)
}

/// Writes the signature beside the manifest, when it is one of `key` over it.
///
/// # Errors
/// [`UpdateRefusal::SignatureWrong`], [`UpdateRefusal::Unwritable`].
pub fn attach(
    folder: BorrowedFd<'_>,
    manifest: &Manifest,
    signature: &[u8; SIGNATURE_BYTES],
    key: &ImagePublicKey,
) -> Result<(), UpdateRefusal> {
    if !key.verify(Purpose::UpdateManifest, &manifest.to_bytes(), signature) {
        return Err(UpdateRefusal::SignatureWrong);
    }
    write(folder, SIGNATURE_NAME, signature)
}

/// Size and digest of a file, and whether `wanted` stands somewhere in it.
fn measure(
    folder: BorrowedFd<'_>,
    name: &PackPath,
    wanted: Option<&[u8]>,
) -> Result<(File, bool), UpdateRefusal> {
    let (file, _) = open_file(folder, name.as_str())?;
    let mut digest = Sha256Stream::new();
    let (mut buffer, mut done, mut is_there) = (vec![0; PIECE_BYTES], 0, false);
    // The end of the piece before, in case the text lies across the border.
    let mut window: Vec<u8> = Vec::new();
    loop {
        let count = file
            .read_at(&mut buffer, done)
            .map_err(|source| UpdateRefusal::Unreadable {
                file: name.to_string(),
                source,
            })?;
        if count == 0 {
            break;
        }
        let piece = buffer.get(..count).unwrap_or_default();
        digest.update(piece);
        done += u64::try_from(count).unwrap_or(u64::MAX);
        if let Some(wanted) = wanted {
            window.extend_from_slice(piece);
            is_there = is_there || window.windows(wanted.len()).any(|place| place == wanted);
            window.drain(..window.len().saturating_sub(wanted.len()));
        }
    }
    let file = File {
        name: name.clone(),
        role: FileRole::Root,
        bytes: done,
        sha256: digest.finish(),
    };
    Ok((file, is_there))
}

fn check_tree(folder: BorrowedFd<'_>, manifest: &Manifest) -> Result<(), UpdateRefusal> {
    let (Some(root), Some(verity)) = (manifest.file(FileRole::Root), manifest.file(FileRole::Verity)) else {
        return Ok(());
    };
    let (file, _) = open_file(folder, verity.name.as_str())?;
    tree::check(&file, root.bytes, &manifest.roothash).map_err(|fault| UpdateRefusal::Tree {
        file: verity.name.to_string(),
        fault,
    })
}

fn write(folder: BorrowedFd<'_>, name: &str, bytes: &[u8]) -> Result<(), UpdateRefusal> {
    let refused = |_| UpdateRefusal::ManifestMalformed {
        fault: "a name of a file is not allowed",
    };
    let path = PackPath::parse(name).map_err(refused)?;
    crate::folder::replace(folder, &path, bytes).map_err(|refusal| match refusal {
        crate::Refusal::Unwritable { file, source } => UpdateRefusal::Unwritable {
            file: file.to_string(),
            source,
        },
        _ => UpdateRefusal::Missing {
            file: name.to_owned(),
        },
    })
}
