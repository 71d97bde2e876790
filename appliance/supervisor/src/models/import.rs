//! Checking a package and copying it, on a thread of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jingui_audit::leaf::Timestamp;
use jingui_ipc::status::ModelFacts;
use jingui_pack::{Candidate, Chunks, FolderSink, Refusal, Sink, Sound, Verified, Version};
use jingui_trust::Sha256;
use nix::sys::statvfs::statvfs;

use super::{BadPackage, ImportRefusal, ImportResult, Known, Places, Staged, floor_of};
use crate::clock::Clock;
use crate::{durable, identity};

/// Room that an import leaves for the audit log and the accounts.
pub(crate) const RESERVE_BYTES: u64 = 256 * 1024 * 1024;
/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Checks the package in `folder` and copies it; nothing stays when it is refused.
pub(super) fn run(
    places: &Places,
    floors: &BTreeMap<String, u64>,
    known: Option<&BTreeSet<Sha256>>,
    folder: &OwnedFd,
    clock: Clock,
    progress: impl FnMut(u64, u64),
) -> ImportResult {
    let copy = make_copy_folder(&places.incoming).map_err(ImportRefusal::Store)?;
    let result = match known {
        Some(known) => pass_over(places, floors, known, folder),
        None => Ok(()),
    }
    .and_then(|()| stage(places, floors, folder, clock, &copy, progress));
    if result.is_err() {
        // What stays behind goes at the next start.
        let _ = fs::remove_dir_all(&copy);
    }
    result
}

/// Passes over what is in the store, or older than what is there. Whatever else is wrong shows when it is imported.
fn pass_over(
    places: &Places,
    floors: &BTreeMap<String, u64>,
    known: &BTreeSet<Sha256>,
    folder: &OwnedFd,
) -> Result<(), ImportRefusal> {
    let trust = identity::vendors(&places.vendors).map_err(ImportRefusal::Vendors)?;
    let floor = |name: &_| floor_of(floors, name);
    let opened = |floor: jingui_pack::Floor<'_>| Candidate::open(folder.as_fd())?.authenticate(&trust, floor);
    match opened(&floor) {
        Err(Refusal::RolledBack { .. }) => Err(ImportRefusal::Known),
        Ok(authentic) if known.contains(&authentic.digest()) => Err(ImportRefusal::Known),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn stage(
    places: &Places,
    floors: &BTreeMap<String, u64>,
    folder: &OwnedFd,
    clock: Clock,
    copy: &Path,
    progress: impl FnMut(u64, u64),
) -> ImportResult {
    let trust = identity::vendors(&places.vendors).map_err(ImportRefusal::Vendors)?;
    let unknown = |refusal| bad(refusal, Known::default());
    let candidate = Candidate::open(folder.as_fd()).map_err(unknown)?;
    check_room(&places.incoming, candidate.byte_count())?;
    let target = File::open(copy).map_err(ImportRefusal::Store)?;
    let mut sink = FolderSink::new(target.as_fd()).map_err(ImportRefusal::Store)?;
    let floor = |name: &_| floor_of(floors, name);
    let mut progress = throttled(progress);
    let verified = candidate
        .import(&trust, &floor, &mut sink, &mut progress)
        .map_err(unknown)?;
    let known = known(&verified);
    check_appliance(&verified).map_err(|refusal| bad(refusal, known.clone()))?;
    let sound = verified.check_gguf().map_err(|refusal| bad(refusal, known))?;
    sink.finish().map_err(ImportRefusal::Store)?;
    durable::sync_folder(&places.incoming).map_err(ImportRefusal::Store)?;
    let imported_at = Timestamp::from_unix_ms(clock.unix_ms()).to_string();
    let weights = copy.join(sound.weights_path().as_str());
    let staged = Staged {
        copy: copy.to_owned(),
        package: sound.digest(),
        weights: sound.weights_digest(),
        signed_by: sound.signed_by(),
        facts: facts(&sound, imported_at),
        chunks: sound.chunks().cloned(),
    };
    // Nobody may have the file open for writing when it is sealed, and these are the descriptors that wrote it.
    drop(sound);
    seal(&weights, staged.chunks.as_ref()).map_err(ImportRefusal::Store)?;
    Ok(staged)
}

/// Seals the copy of the weights where the file system can: from then on the kernel checks each of its blocks whenever it
/// is used. What it measured must be what was computed of the bytes that were digested.
fn seal(weights: &Path, chunks: Option<&Chunks>) -> io::Result<()> {
    let file = File::open(weights)?;
    if !jingui_jail::seal_file(file.as_fd())? {
        return Ok(());
    }
    let measured = jingui_jail::measure_file(file.as_fd())?.map(Sha256::from_bytes);
    match (measured, chunks) {
        (Some(measured), Some(chunks)) if chunks.match_measured(&file, &measured) => Ok(()),
        _ => Err(io::Error::other(
            "the copy of the weights is not what was digested",
        )),
    }
}

fn make_copy_folder(incoming: &Path) -> io::Result<PathBuf> {
    let copy = incoming.join(identity::random_hex::<8>()?);
    DirBuilder::new().mode(durable::PUBLIC_FOLDER).create(&copy)?;
    Ok(copy)
}

fn check_room(incoming: &Path, needed: u64) -> Result<(), ImportRefusal> {
    let volume = statvfs(incoming).map_err(|errno| ImportRefusal::Store(errno.into()))?;
    let free = volume
        .blocks_available()
        .saturating_mul(volume.fragment_size())
        .saturating_sub(RESERVE_BYTES);
    if needed > free {
        Err(ImportRefusal::NoRoom { needed, free })
    } else {
        Ok(())
    }
}

fn check_appliance(verified: &Verified) -> Result<(), Refusal> {
    match Version::parse(env!("CARGO_PKG_VERSION")) {
        Ok(ours) => verified.release().check_appliance(&ours),
        Err(_) => Err(Refusal::ReleaseValue {
            field: "min_appliance",
        }),
    }
}

fn bad(refusal: Refusal, known: Known) -> ImportRefusal {
    ImportRefusal::Package(Box::new(BadPackage { refusal, known }))
}

fn known(verified: &Verified) -> Known {
    let release = verified.release();
    Known {
        package: Some(verified.digest()),
        name: Some(release.name.to_string()),
        version: Some(release.version.to_string()),
        security_version: Some(release.security_version.get()),
        signed_by: Some(verified.signed_by()),
    }
}

/// Facts of a sound package, as lists and clients see them.
pub(super) fn facts(sound: &Sound, imported_at: String) -> ModelFacts {
    let (release, gguf) = (sound.release(), sound.facts());
    ModelFacts {
        name: release.name.to_string(),
        version: release.version.to_string(),
        security_version: release.security_version.get(),
        package_digest: sound.digest().to_string(),
        weights_digest: sound.weights_digest().to_string(),
        weights_bytes: gguf.byte_count,
        signed_by: sound.signed_by().to_string(),
        architecture: gguf.architecture.name().to_owned(),
        parameter_count: gguf.parameter_count,
        layer_count: gguf.layer_count,
        head_count: gguf.head_count,
        kv_head_count: gguf.kv_head_count,
        context_tokens: gguf.context_tokens,
        kv_bytes_per_token: gguf.kv_bytes_per_token,
        tensor_types: gguf
            .tensor_types
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect(),
        tokenizer: gguf.tokenizer(),
        chat_template_digest: gguf.chat_template_digest.to_string(),
        license: release.licence.clone(),
        filing_number: release.filing_number.clone(),
        imported_at,
        state: "stored".to_owned(),
    }
}

/// Passes on at most one report in [`PROGRESS_EVERY`], and the last one.
pub(super) fn throttled(mut progress: impl FnMut(u64, u64)) -> impl FnMut(u64, u64) {
    let mut last: Option<Instant> = None;
    move |done, total| {
        let is_due = last.is_none_or(|last| last.elapsed() >= PROGRESS_EVERY) || done == total;
        if is_due {
            last = Some(Instant::now());
            progress(done, total);
        }
    }
}
