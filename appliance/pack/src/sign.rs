//! Signing a source folder: what a packager does, with the same checks that a box will do.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

use jingui_trust::Sha256;
use jingui_trust::vendor_key::VendorKey;

use crate::bundle::{Bundle, pre_authentication};
use crate::folder::{remove_rest, replace};
use crate::gguf::inspect;
use crate::package::{Candidate, Progress, digest, name};
use crate::path::PackPath;
use crate::refusal::Refusal;
use crate::release::{RELEASE_BYTES_MAX, RELEASE_NAME, Release, ReleaseFile};
use crate::statement::Statement;
use crate::{SIDECAR_NAME, SIGNATURE_NAME};

/// Ending of a weights file.
const WEIGHTS_ENDING: &str = ".gguf";

/// What was signed.
#[derive(Debug, Clone, PartialEq)]
pub struct Signed {
    /// Root digest of the statement.
    pub digest: Sha256,
    /// Hint of the key.
    pub signed_by: Sha256,
    /// The release, with its files.
    pub release: Release,
}

/// Checks the folder as a box would, completes `release.json` if it names no files yet, and writes `model.sig`.
///
/// An older `model.sig` is replaced. Nothing is written when anything is refused.
///
/// # Errors
/// Names and kinds of entries, `release.json`, the pre-check of the weights, a release that says other things than
/// its weights, an SM2 sidecar (it would belong to an older signature); [`Refusal::Unwritable`],
/// [`Refusal::NotSigned`].
pub fn sign(folder: BorrowedFd<'_>, key: &VendorKey, progress: Progress<'_>) -> Result<Signed, Refusal> {
    // Else what an earlier try left would be signed as a part of the package.
    for path in [name(RELEASE_NAME)?, name(SIGNATURE_NAME)?] {
        remove_rest(folder, &path)?;
    }
    let candidate = Candidate::open(folder)?;
    if candidate.has_sidecar() {
        return Err(Refusal::Extra {
            file: name(SIDECAR_NAME)?,
        });
    }
    let mut release = read_release(&candidate)?;
    let weights = find_weights(&candidate)?;
    let mut digests = digest_all(&candidate, progress)?;
    let is_completed = complete(&mut release, &candidate, &weights, &digests)?;
    let release_path = name(RELEASE_NAME)?;
    let completed = release.to_bytes();
    if is_completed {
        digests.insert(release_path.clone(), Sha256::of(&completed));
    }

    let subject = format!("{}-{}", release.name, release.version);
    let statement = Statement::new(subject, digests);
    let payload = statement.to_bytes();
    let public = key.public_key().map_err(|_| Refusal::NotSigned)?;
    let encoded = pre_authentication(&payload);
    let signature = key.sign(&encoded).map_err(|_| Refusal::NotSigned)?;
    // A signature that we would not accept ourselves must not leave this function.
    if !public.verify(&encoded, &signature) {
        return Err(Refusal::NotSigned);
    }
    let bundle = Bundle {
        hint: public.hint(),
        payload,
        signature,
    };
    if is_completed {
        replace(folder, &release_path, &completed)?;
    }
    replace(folder, &name(SIGNATURE_NAME)?, &bundle.to_bytes())?;
    Ok(Signed {
        digest: statement.root(),
        signed_by: bundle.hint,
        release,
    })
}

fn read_release(candidate: &Candidate) -> Result<Release, Refusal> {
    let path = name(RELEASE_NAME)?;
    let file = candidate.files().get(&path).ok_or(Refusal::ReleaseMissing)?;
    if file.byte_count > RELEASE_BYTES_MAX {
        return Err(Refusal::ReleaseTooBig {
            found: file.byte_count,
            max: RELEASE_BYTES_MAX,
        });
    }
    Release::parse(&crate::package::read_whole(&path, file)?)
}

/// The one file of the folder that ends in `.gguf`.
fn find_weights(candidate: &Candidate) -> Result<PackPath, Refusal> {
    let mut found = candidate
        .paths()
        .filter(|path| path.as_str().ends_with(WEIGHTS_ENDING));
    match (found.next(), found.next()) {
        (Some(weights), None) => Ok(weights.clone()),
        (Some(_), Some(second)) => Err(Refusal::Extra { file: second.clone() }),
        (None, _) => Err(Refusal::ReleaseValue { field: "files" }),
    }
}

fn digest_all(candidate: &Candidate, progress: Progress<'_>) -> Result<BTreeMap<PackPath, Sha256>, Refusal> {
    let total = candidate
        .files()
        .values()
        .fold(0_u64, |sum, file| sum.saturating_add(file.byte_count));
    let mut done = 0;
    let mut digests = BTreeMap::new();
    for (path, file) in candidate.files() {
        let mut advance = |bytes: u64| {
            done += bytes;
            progress(done.min(total), total);
        };
        digests.insert(path.clone(), digest(path, file, None, None, &mut advance)?);
    }
    Ok(digests)
}

/// Fills in or checks what the release says about its weights. Says whether it filled in.
fn complete(
    release: &mut Release,
    candidate: &Candidate,
    weights: &PackPath,
    digests: &BTreeMap<PackPath, Sha256>,
) -> Result<bool, Refusal> {
    let (Some(file), Some(sha256)) = (candidate.files().get(weights), digests.get(weights).copied()) else {
        return Err(Refusal::Missing {
            file: weights.clone(),
        });
    };
    let facts = inspect(&file.file).map_err(|source| Refusal::Gguf {
        file: weights.clone(),
        source,
    })?;
    let true_one = ReleaseFile::describe(&facts, sha256);
    if release.files.is_empty() {
        release.files.insert(weights.clone(), true_one);
        return Ok(true);
    }
    let (declared_path, declared) = release.weights()?;
    if declared_path != weights {
        return Err(Refusal::Missing {
            file: declared_path.clone(),
        });
    }
    declared.check(weights, &true_one)?;
    Ok(false)
}
