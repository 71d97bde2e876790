//! The model store: packages checked and copied in, and the one that is served.
//!
//! ```text
//! models/<package digest>/        a package, exactly as signed
//! models/<package digest>.json    its facts, for lists; what is served is read from the package itself
//! models/incoming/<random>/       while an import runs; emptied at each start
//! models/active                   digest of the package that is served
//! trust/floors.json               least security version per model name that may be served; only ever grows
//! trust/chunks/<digest>.json      chunk digests of a package's weights, for verifying them on all cores
//! ```
//!
//! An import is checked and copied on a work thread into `incoming`; its leaf goes into a checkpoint; then floor,
//! facts and package, and the choice if nothing is served yet, are put in place, each durable before the next. A crash at any point leaves the store
//! as it was, or with the package whole; what is in `incoming` was never acknowledged.

mod chunks;
mod import;
mod load;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;

use jingui_audit::event::Event as LeafEvent;
use jingui_audit::leaf::Draft;
use jingui_ipc::control::{Fault, FaultKind};
use jingui_ipc::status::ModelFacts;
use jingui_pack::{Chunks, ModelName, Refusal, SecurityVersion};
use jingui_trust::Sha256;

use crate::clock::Clock;
use crate::event::{ActId, Event, Generation};
use crate::leaves::{Actor, Scribe};
use crate::state::StateFolder;
use crate::{durable, identity, work};

use chunks::ChunkShelf;
use load::LoadRefusal;
pub(crate) use load::{LoadResult, LoadedModel, Seal, Told};

/// How an import ended.
pub(crate) type ImportResult = Result<Staged, ImportRefusal>;

/// Longest facts file and floors file that is read.
const FACTS_BYTES_MAX: u64 = 1024 * 1024;

/// The store.
#[derive(Debug)]
pub(crate) struct ModelStore {
    places: Places,
    models: BTreeMap<Sha256, ModelFacts>,
    active: Option<Sha256>,
    floors: BTreeMap<String, u64>,
}

/// Where the store lies.
#[derive(Debug, Clone)]
struct Places {
    models: PathBuf,
    incoming: PathBuf,
    vendors: Vec<PathBuf>,
    floors: PathBuf,
    chunks: ChunkShelf,
}

/// A package to be imported.
#[derive(Debug)]
pub(crate) struct ImportJob {
    /// The act it belongs to.
    pub(crate) act: ActId,
    /// The folder, as opened by the person's tool.
    pub(crate) folder: OwnedFd,
    /// Whether a package that is in the store, or older than one there, is passed over without a word.
    pub(crate) is_new_only: bool,
}

/// A package that was checked, and whose copy lies in `incoming`, durable.
#[derive(Debug)]
pub(crate) struct Staged {
    copy: PathBuf,
    package: Sha256,
    weights: Sha256,
    signed_by: Sha256,
    facts: ModelFacts,
    chunks: Option<Chunks>,
}

/// A package that is in the store.
#[derive(Debug)]
pub(crate) struct Stored {
    /// What it is.
    pub(crate) facts: ModelFacts,
    /// Its digest.
    pub(crate) package: Sha256,
    /// What to do with it.
    pub(crate) choice: Choice,
}

/// What is wanted with a package that was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// It lies there.
    Keep,
    /// It is to be served; the one that is served now stays the choice until this one has shown that it can be.
    Switch,
    /// It is the choice on disk already, and its engine is to be started: the first one, or a repaired one.
    Serve,
}

/// Why a package was not imported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportRefusal {
    /// The package is bad, or could not be read.
    #[error(transparent)]
    Package(Box<BadPackage>),
    /// The vendor keys of the box cannot be read.
    #[error("the vendor keys cannot be read")]
    Vendors(#[source] io::Error),
    /// The store has no room for it.
    #[error("{needed} bytes are needed and {free} are free")]
    NoRoom {
        /// Bytes of the package.
        needed: u64,
        /// Bytes that may be used.
        free: u64,
    },
    /// The store cannot be written.
    #[error("the store cannot be written")]
    Store(#[source] io::Error),
    /// Nothing new: passed over.
    #[error("the package is in the store already, or older than one there")]
    Known,
    /// Our own fault; the package may be good or bad.
    #[error("the check of the package panicked")]
    Bug,
}

/// A refused package and what was known of it by then.
#[derive(Debug, thiserror::Error)]
#[error("the package is refused")]
pub(crate) struct BadPackage {
    #[source]
    refusal: Refusal,
    known: Known,
}

/// What is known of a package before it is found sound.
#[derive(Debug, Clone, Default)]
struct Known {
    package: Option<Sha256>,
    name: Option<String>,
    version: Option<String>,
    security_version: Option<u64>,
    signed_by: Option<Sha256>,
}

impl ModelStore {
    /// Opens the store and removes what an interrupted import left behind. Keys in `vendors` are trusted besides those
    /// of the state.
    pub(crate) fn open(state: &StateFolder, key: [u8; 32], vendors: &[PathBuf]) -> io::Result<Self> {
        let places = Places {
            models: state.models(),
            incoming: state.incoming(),
            vendors: std::iter::once(state.vendors())
                .chain(vendors.iter().cloned())
                .collect(),
            floors: state.trust().join("floors.json"),
            chunks: ChunkShelf::new(&state.chunks(), key),
        };
        empty_folder(&places.incoming)?;
        let floors = match durable::read(&places.floors, FACTS_BYTES_MAX)? {
            Some(bytes) => serde_json::from_slice(&bytes)?,
            None => BTreeMap::new(),
        };
        let models = read_models(&places.models)?;
        let active = read_active(&places.models)?;
        Ok(Self {
            places,
            models,
            active,
            floors,
        })
    }

    /// Facts of all packages, by name.
    pub(crate) fn facts(&self) -> Vec<ModelFacts> {
        let mut facts: Vec<ModelFacts> = self.models.values().cloned().collect();
        facts.sort_by(|one, other| {
            (&one.name, one.security_version).cmp(&(&other.name, other.security_version))
        });
        facts
    }

    /// The package that is to be served.
    pub(crate) const fn active(&self) -> Option<Sha256> {
        self.active
    }

    /// Sets the word that lists show for a package.
    pub(crate) fn set_state(&mut self, package: Sha256, state: &str) {
        if let Some(facts) = self.models.get_mut(&package) {
            state.clone_into(&mut facts.state);
        }
    }

    /// Starts to check and copy a package on a thread of its own; ends in [`Event::Imported`].
    pub(crate) fn start_import(
        &self,
        job: ImportJob,
        clock: Clock,
        events: &SyncSender<Event>,
    ) -> io::Result<()> {
        let (places, floors) = (self.places.clone(), self.import_floors());
        let act = job.act;
        let known: Option<BTreeSet<Sha256>> = job.is_new_only.then(|| self.models.keys().copied().collect());
        let run = move |events: &SyncSender<Event>| {
            let progress = |done, total| {
                // Nobody takes it when the box is stopping; the import then ends with it.
                let _ = events.send(Event::ImportProgress(act, done, total));
            };
            let result = import::run(&places, &floors, known.as_ref(), &job.folder, clock, progress);
            Event::Imported(act, Box::new(result))
        };
        let after_panic = move || Event::Imported(act, Box::new(Err(ImportRefusal::Bug)));
        work::spawn("import", events, run, after_panic)
    }

    /// Starts to verify a package on a thread of its own: [`Event::Opened`], [`Event::Verifying`], and in the end
    /// [`Event::Verified`].
    pub(crate) fn start_load(
        &self,
        package: Sha256,
        generation: Generation,
        seal: Seal,
        events: &SyncSender<Event>,
    ) -> io::Result<()> {
        let (places, floors) = (self.places.clone(), self.floors.clone());
        let imported_at = self
            .models
            .get(&package)
            .map(|facts| facts.imported_at.clone())
            .unwrap_or_default();
        let run = move |events: &SyncSender<Event>| {
            let mut progress = import::throttled(|done, total| {
                // Nobody takes it when the box is stopping; the verification then ends with it.
                let _ = events.send(Event::Verifying(generation, done, total));
            });
            let mut tell = |told| match told {
                Told::Opened(weights) => drop(events.send(Event::Opened(generation, weights))),
                Told::Progress(done, total) => progress(done, total),
            };
            let result = load::run(&places, &floors, package, seal, imported_at, &mut tell);
            Event::Verified(generation, Box::new(result))
        };
        let after_panic = move || Event::Verified(generation, Box::new(Err(LoadRefusal::bug(package))));
        work::spawn("load", events, run, after_panic)
    }

    /// Puts a staged package in place. Its leaf is in a checkpoint already.
    pub(crate) fn store(&mut self, staged: Staged, activate: bool) -> io::Result<Stored> {
        let name = staged.package.to_string();
        let facts_path = self.places.models.join(format!("{name}.json"));
        durable::write(
            &facts_path,
            &serde_json::to_vec_pretty(&staged.facts)?,
            durable::PUBLIC_FILE,
        )?;
        self.put_in_place(&staged.copy, &self.places.models.join(&name))?;
        if let Some(chunks) = &staged.chunks {
            self.places.chunks.keep(staged.package, chunks);
        }
        let was_failed = self
            .models
            .get(&staged.package)
            .is_some_and(|facts| facts.state == "failed");
        self.models.insert(staged.package, staged.facts.clone());
        let choice = match self.active {
            None => {
                self.activate(staged.package)?;
                Choice::Serve
            }
            Some(active) if active == staged.package && was_failed => Choice::Serve,
            Some(active) if active != staged.package && activate => Choice::Switch,
            Some(_) => Choice::Keep,
        };
        Ok(Stored {
            facts: staged.facts,
            package: staged.package,
            choice,
        })
    }

    /// Least security version per name that may be loaded: grows when a package becomes the choice.
    fn raise_floor(&mut self, package: Sha256) -> io::Result<()> {
        let Some(facts) = self.models.get(&package) else {
            return Ok(());
        };
        let floor = self.floors.get(&facts.name).copied().unwrap_or_default();
        if facts.security_version <= floor {
            return Ok(());
        }
        let mut floors = self.floors.clone();
        floors.insert(facts.name.clone(), facts.security_version);
        durable::write(
            &self.places.floors,
            &serde_json::to_vec_pretty(&floors)?,
            durable::PRIVATE_FILE,
        )?;
        self.floors = floors;
        Ok(())
    }

    /// Least security version per name that may be imported: also what lies in the store, chosen or not, is not gone
    /// behind. The package that serves may be older than one that failed to take its place.
    fn import_floors(&self) -> BTreeMap<String, u64> {
        let mut floors = self.floors.clone();
        for facts in self.models.values() {
            let floor = floors.entry(facts.name.clone()).or_default();
            *floor = facts.security_version.max(*floor);
        }
        floors
    }

    /// Moves the copy to its name. A package that is there already is moved away first: the fresh copy was just
    /// verified, the old one may be damaged.
    fn put_in_place(&self, copy: &Path, place: &Path) -> io::Result<()> {
        if place.exists() {
            let old = self
                .places
                .incoming
                .join(format!("old-{}", identity::random_hex::<8>()?));
            fs::rename(place, &old)?;
            fs::rename(copy, place)?;
            // An engine may still map the old files; they vanish when it ends. Deleting much takes long.
            std::thread::spawn(move || fs::remove_dir_all(old));
        } else {
            fs::rename(copy, place)?;
        }
        durable::sync_folder(&self.places.models)?;
        durable::sync_folder(&self.places.incoming)
    }

    /// Name and version of a stored package, for people.
    pub(crate) fn title(&self, package: Sha256) -> Option<String> {
        let facts = self.models.get(&package)?;
        Some(format!("{} {}", facts.name, facts.version))
    }

    /// Makes a package the one that is served from the next start on, durably.
    pub(crate) fn activate(&mut self, package: Sha256) -> io::Result<()> {
        self.raise_floor(package)?;
        let text = format!("{package}\n");
        durable::write(
            &self.places.models.join("active"),
            text.as_bytes(),
            durable::PUBLIC_FILE,
        )?;
        self.active = Some(package);
        Ok(())
    }
}

impl Staged {
    /// Facts of the package.
    pub(crate) const fn facts(&self) -> &ModelFacts {
        &self.facts
    }

    /// The leaf of its import.
    pub(crate) fn event(&self, approvers: Vec<String>) -> LeafEvent {
        LeafEvent::ModelVerify {
            package: Some(self.package),
            weights: Some(self.weights),
            name: Some(self.facts.name.clone()),
            version: Some(self.facts.version.clone()),
            security_version: Some(self.facts.security_version),
            signed_by: Some(self.signed_by),
            file: None,
            approvers,
        }
    }
}

impl ImportRefusal {
    /// Stable code.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Package(bad) => bad.refusal.code(),
            Self::Vendors(_) => "system.vendors.unreadable",
            Self::NoRoom { .. } => "system.store.no-room",
            Self::Store(_) => "system.state.unwritable",
            Self::Known => "model.package.known",
            Self::Bug => "system.bug",
        }
    }

    /// What the person is told.
    pub(crate) fn fault(&self) -> Fault {
        let (kind, facts) = match self {
            Self::Package(bad) => (kind_of(&bad.refusal), facts_of(&bad.refusal)),
            Self::NoRoom { needed, free } => (
                FaultKind::Unavailable,
                vec![
                    ("needed".to_owned(), needed.to_string()),
                    ("free".to_owned(), free.to_string()),
                ],
            ),
            Self::Vendors(_) | Self::Store(_) | Self::Known | Self::Bug => {
                (FaultKind::Unavailable, Vec::new())
            }
        };
        Fault {
            kind,
            code: self.code().to_owned(),
            facts,
        }
    }

    /// The leaf of the refused import.
    pub(crate) fn draft(&self, scribe: &Scribe, actor: Actor, approvers: Vec<String>) -> Draft {
        match self {
            Self::Package(bad) => {
                let event = refused_event(&bad.known, &bad.refusal, approvers);
                let object = bad
                    .known
                    .package
                    .map(|package| package.to_string())
                    .unwrap_or_default();
                if bad.refusal.is_failure() {
                    scribe.failed(actor, event, &object, self.code())
                } else {
                    scribe.denied(actor, event, &object, self.code())
                }
            }
            _ => scribe.failed(
                actor,
                event_of(&Known::default(), None, approvers),
                "",
                self.code(),
            ),
        }
    }
}

/// The leaf of a package that was refused.
fn refused_event(known: &Known, refusal: &Refusal, approvers: Vec<String>) -> LeafEvent {
    let file = refusal
        .facts()
        .into_iter()
        .find(|(name, _)| *name == "file")
        .map(|(_, file)| file);
    let mut known = known.clone();
    if let Refusal::UnknownKey { hint } | Refusal::SignatureWrong { hint } = refusal {
        known.signed_by = Some(*hint);
    }
    event_of(&known, file, approvers)
}

fn event_of(known: &Known, file: Option<String>, approvers: Vec<String>) -> LeafEvent {
    LeafEvent::ModelVerify {
        package: known.package,
        weights: None,
        name: known.name.clone(),
        version: known.version.clone(),
        security_version: known.security_version,
        signed_by: known.signed_by,
        file,
        approvers,
    }
}

fn kind_of(refusal: &Refusal) -> FaultKind {
    if refusal.is_failure() {
        FaultKind::Unavailable
    } else {
        FaultKind::Refused
    }
}

fn facts_of(refusal: &Refusal) -> Vec<(String, String)> {
    refusal
        .facts()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The floor of a model name, for `pack`.
fn floor_of(floors: &BTreeMap<String, u64>, name: &ModelName) -> Option<SecurityVersion> {
    floors.get(name.as_str()).copied().and_then(SecurityVersion::new)
}

fn read_models(folder: &Path) -> io::Result<BTreeMap<Sha256, ModelFacts>> {
    let mut models = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Ok(package) = name.parse::<Sha256>() else {
            continue;
        };
        let facts = durable::read(&folder.join(format!("{name}.json")), FACTS_BYTES_MAX)?;
        // Facts are written before the package gets its name, so they are always there.
        let Some(facts) = facts else { continue };
        let mut facts: ModelFacts = serde_json::from_slice(&facts)?;
        "stored".clone_into(&mut facts.state);
        models.insert(package, facts);
    }
    Ok(models)
}

fn read_active(folder: &Path) -> io::Result<Option<Sha256>> {
    let Some(bytes) = durable::read(&folder.join("active"), FACTS_BYTES_MAX)? else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&bytes);
    text.trim().parse().map(Some).map_err(io::Error::other)
}

fn empty_folder(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.symlink_metadata()?.is_dir() {
            fs::remove_dir_all(path)?
        } else {
            fs::remove_file(path)?
        }
    }
    durable::sync_folder(folder)
}

#[cfg(test)]
pub(crate) mod tests;
