//! Verifying the active package for a start of the engine, on a thread of its own.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use jingui_audit::event::Event as LeafEvent;
use jingui_audit::leaf::Draft;
use jingui_ipc::gateway::GoldenPrompt;
use jingui_ipc::status::ModelFacts;
use jingui_pack::{Candidate, Chunks, Refusal, Verified};
use jingui_trust::Sha256;
use nix::fcntl::OFlag;
use serde_json::{Map, Value, json};

use super::chunks::ChunkShelf;
use super::{Known, Places, event_of, floor_of, refused_event};
use crate::identity;
use crate::leaves::{Actor, Scribe};
use crate::plan::Needs;

/// How a verification for a start ended.
pub(crate) type LoadResult = Result<LoadedModel, LoadRefusal>;

/// A package that was found sound just now.
#[derive(Debug)]
pub(crate) struct LoadedModel {
    /// Digest of the package.
    pub(crate) package: Sha256,
    /// Digest of the weights, as hashed through the descriptor that was told as opened.
    pub(crate) weights_digest: Sha256,
    /// What it is.
    pub(crate) facts: ModelFacts,
    /// Sizes for the memory plan.
    pub(crate) needs: Needs,
    /// Text of its chat template.
    pub(crate) chat_template: String,
    /// Questions whose answers the vendor signed.
    pub(crate) golden: Vec<GoldenPrompt>,
    /// Whether the kernel checks each block of the weights whenever it is used.
    pub(crate) is_sealed: bool,
    signed_by: Sha256,
}

/// Why the active package is not loaded.
#[derive(Debug, thiserror::Error)]
#[error("the active package is refused")]
pub(crate) struct LoadRefusal {
    /// Digest under which it is stored.
    pub(crate) package: Sha256,
    #[source]
    why: LoadFault,
}

/// What fs-verity's measurement is worth in a verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seal {
    /// As much as reading: the kernel checks every block later, when it is used.
    Trusted,
    /// Nothing: an engine died on these weights, perhaps of a block that the kernel refused, so every block is read now.
    Doubted,
}

#[derive(Debug, thiserror::Error)]
enum LoadFault {
    #[error(transparent)]
    Package(Box<Refusal>),
    /// A block of the sealed weights is not as it was: the disk, or somebody, changed it. Another try does not help.
    #[error("sealed weights cannot be read")]
    Damaged(#[source] Box<Refusal>),
    #[error("the vendor keys cannot be read")]
    Vendors(#[source] io::Error),
    #[error("the package under this digest is {found}")]
    Misplaced { found: Sha256 },
    #[error("the check of the package panicked")]
    Bug,
}

/// Told while a package is verified.
#[derive(Debug)]
pub(crate) enum Told {
    /// The weights are open: the process that will map them may be started. Nothing is known of their bytes.
    Opened(File),
    /// How far the verification is: bytes done, bytes in all.
    Progress(u64, u64),
}

/// Verifies the stored package: signature, floor, every byte, pre-check; hashes the weights on the descriptor that
/// comes out, the same that was told as opened.
pub(super) fn run(
    places: &Places,
    floors: &BTreeMap<String, u64>,
    package: Sha256,
    seal: Seal,
    imported_at: String,
    tell: &mut dyn FnMut(Told),
) -> LoadResult {
    verify(places, floors, package, seal, imported_at, tell).map_err(|why| LoadRefusal { package, why })
}

fn verify(
    places: &Places,
    floors: &BTreeMap<String, u64>,
    package: Sha256,
    seal: Seal,
    imported_at: String,
    tell: &mut dyn FnMut(Told),
) -> Result<LoadedModel, LoadFault> {
    let trust = identity::vendors(&places.vendors).map_err(LoadFault::Vendors)?;
    let flags = (OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits();
    let folder = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(places.models.join(package.to_string()))
        .map_err(|source| Refusal::FolderUnreadable { source })?;
    let floor = |name: &_| floor_of(floors, name);
    let authentic = Candidate::open(folder.as_fd())?.authenticate(&trust, &floor)?;
    if authentic.digest() != package {
        return Err(LoadFault::Misplaced {
            found: authentic.digest(),
        });
    }
    let weights = &authentic.weights()?.file;
    let measured = measure(weights);
    if let Ok(weights) = weights.try_clone() {
        tell(Told::Opened(weights));
    }
    let known = places.chunks.find(package);
    let mut progress = |done, total| tell(Told::Progress(done, total));
    let sound = match (seal, measured) {
        (Seal::Trusted, Some(measured)) => authentic.verify_sealed(known.as_ref(), measured, &mut progress),
        _ => authentic.verify(known.as_ref(), &mut progress),
    }
    .inspect(|verified| keep_chunks(&places.chunks, verified))
    .and_then(Verified::check_gguf)
    .map_err(|refusal| LoadFault::of(refusal, measured.is_some()))?;
    let mut facts = super::import::facts(&sound, imported_at);
    "loading".clone_into(&mut facts.state);
    let (weights_digest, signed_by) = (sound.weights_digest(), sound.signed_by());
    let is_sealed = sound.is_weights_sealed() || measured_is_known(measured, known.as_ref());
    let chat_template = sound.facts().chat_template.clone().unwrap_or_default();
    let needs = Needs::of(sound.facts());
    let golden = sound.release().golden_prompts.iter().map(golden_prompt).collect();
    Ok(LoadedModel {
        package,
        weights_digest,
        facts,
        needs,
        chat_template,
        golden,
        is_sealed,
        signed_by,
    })
}

/// What the kernel measured of the weights, where it holds them.
fn measure(weights: &File) -> Option<Sha256> {
    jingui_jail::measure_file(weights.as_fd())
        .inspect_err(|error| crate::say(format_args!("the weights cannot be measured: {error}")))
        .ok()
        .flatten()
        .map(Sha256::from_bytes)
}

fn measured_is_known(measured: Option<Sha256>, known: Option<&Chunks>) -> bool {
    let expected = known.and_then(|chunks| chunks.fs_verity);
    measured.is_some() && measured == expected
}

/// Weights that were digested whole need not be again: the list is kept for the next start.
pub(super) fn keep_chunks(shelf: &ChunkShelf, verified: &Verified) {
    if let Some(chunks) = verified.chunks() {
        shelf.keep(verified.digest(), chunks);
    }
}

/// A golden prompt of a release as the gateway asks it: a chat request, and the message that must come back.
fn golden_prompt(prompt: &jingui_pack::release::GoldenPrompt) -> GoldenPrompt {
    let mut request = Map::new();
    request.insert("messages".to_owned(), json!(prompt.messages));
    let thinking = if prompt.enable_thinking {
        "enabled"
    } else {
        "disabled"
    };
    request.insert("thinking".to_owned(), json!({ "type": thinking }));
    if !prompt.tools.is_empty() {
        request.insert("tools".to_owned(), json!(prompt.tools));
    }
    let mut expected = Map::new();
    expected.insert("content".to_owned(), json!(prompt.expected.content));
    if let Some(reasoning) = &prompt.expected.reasoning {
        expected.insert("reasoning_content".to_owned(), json!(reasoning));
    }
    if !prompt.expected.tool_calls.is_empty() {
        expected.insert("tool_calls".to_owned(), json!(prompt.expected.tool_calls));
    }
    GoldenPrompt {
        request: Value::Object(request).to_string(),
        expected: Value::Object(expected).to_string(),
    }
}

impl LoadFault {
    /// Where the kernel holds the weights, a block that it refuses is damage and no passing failure.
    fn of(refusal: Refusal, is_held: bool) -> Self {
        if is_held && refusal.is_failure() {
            Self::Damaged(Box::new(refusal))
        } else {
            refusal.into()
        }
    }
}

impl From<Refusal> for LoadFault {
    fn from(refusal: Refusal) -> Self {
        Self::Package(Box::new(refusal))
    }
}

impl LoadedModel {
    /// The leaf of its verification.
    pub(crate) fn verify_event(&self) -> LeafEvent {
        LeafEvent::ModelVerify {
            package: Some(self.package),
            weights: Some(self.weights_digest),
            name: Some(self.facts.name.clone()),
            version: Some(self.facts.version.clone()),
            security_version: Some(self.facts.security_version),
            signed_by: Some(self.signed_by),
            file: None,
            approvers: Vec::new(),
        }
    }
}

impl LoadRefusal {
    /// The verification panicked: our own fault, and not tried again and again.
    pub(super) const fn bug(package: Sha256) -> Self {
        Self {
            package,
            why: LoadFault::Bug,
        }
    }

    /// Stable code.
    pub(crate) fn code(&self) -> &'static str {
        match &self.why {
            LoadFault::Package(refusal) => refusal.code(),
            LoadFault::Damaged(_) => "system.store.damaged",
            LoadFault::Vendors(_) => "system.vendors.unreadable",
            LoadFault::Misplaced { .. } => "system.store.misplaced",
            LoadFault::Bug => "system.bug",
        }
    }

    /// Whether the device failed, so that another try may help.
    pub(crate) fn is_failure(&self) -> bool {
        match &self.why {
            LoadFault::Package(refusal) => refusal.is_failure(),
            LoadFault::Vendors(_) => true,
            LoadFault::Damaged(_) | LoadFault::Misplaced { .. } | LoadFault::Bug => false,
        }
    }

    /// The leaf of the refusal.
    pub(crate) fn draft(&self, scribe: &Scribe) -> Draft {
        let known = Known {
            package: Some(self.package),
            ..Known::default()
        };
        let event = match &self.why {
            LoadFault::Package(refusal) | LoadFault::Damaged(refusal) => {
                refused_event(&known, refusal, Vec::new())
            }
            LoadFault::Vendors(_) | LoadFault::Misplaced { .. } | LoadFault::Bug => {
                event_of(&known, None, Vec::new())
            }
        };
        let object = self.package.to_string();
        if self.is_failure() {
            scribe.failed(Actor::device(), event, &object, self.code())
        } else {
            scribe.denied(Actor::device(), event, &object, self.code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jingui_pack::PackPath;

    fn unreadable() -> Refusal {
        Refusal::Unreadable {
            file: PackPath::parse("model.gguf").unwrap(),
            source: io::Error::from_raw_os_error(nix::errno::Errno::EIO as i32),
        }
    }

    #[test]
    fn a_block_that_the_kernel_refuses_is_damage_and_not_tried_again() {
        let package = Sha256::of(b"package");
        for (is_held, code, is_failure) in [
            (true, "system.store.damaged", false),
            (false, "model.file.unreadable", true),
        ] {
            let why = LoadFault::of(unreadable(), is_held);
            let refusal = LoadRefusal { package, why };
            assert_eq!((refusal.code(), refusal.is_failure()), (code, is_failure));
        }
        let unsigned = LoadRefusal {
            package,
            why: LoadFault::of(Refusal::Unsigned, true),
        };
        assert_eq!(
            unsigned.code(),
            "model.signature.missing",
            "what is wrong stays what it is"
        );
    }
}
