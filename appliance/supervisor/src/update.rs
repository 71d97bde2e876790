//! Updates of the image: a bundle from a stick into the slot that is not in use, and what became of it.
//!
//! ```text
//! update/incoming/     the private copy of a bundle while it is applied; emptied at each start
//! trust/update.json    the last update: versions, when, and what became of it (`Record`)
//! ```
//!
//! A bundle is checked and copied on a work thread, since a stick may answer differently the second time; its leaf goes
//! into a checkpoint; then `jingui-installer write-slot` writes root, tree and boot entry from the private copy, as a
//! child with a deadline, so that nothing here knows of partition tables. The box goes on serving all the while; the new
//! image starts with the next restart.
//!
//! What became of it is found out at the next start, from the version that runs ([`Record::judge`]): the new one is on
//! trial until the boot loader's entry has no counter any more, which systemd-bless-boot sees to once the box was found
//! healthy; then it is blessed, recorded, and the floor is raised. The old one means that the new one fell back.

mod child;
mod record;
mod stage;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use jingui_audit::event::Event as LeafEvent;
use jingui_ipc::control::{Fault, FaultKind};
use jingui_ipc::screen::{Progress, Stage};
use jingui_ipc::update::{UpdateOffer, UpdatePhase, UpdateState};
use jingui_pack::SecurityVersion;
use jingui_pack::update::{Architecture, ImageVersion, Machine, UpdateRefusal, Verified};
use jingui_trust::Sha256;

use crate::acts::{Asker, Told, refused, unavailable};
use crate::clock::Millis;
use crate::engine::Reason;
use crate::event::{ActId, Event};
use crate::leaves::Actor;
use crate::people::Person;
use crate::places::Places;
use crate::supervisor::{Afterwards, Supervisor};
use crate::work;

use child::{ChildFailure, Entries, Written};
use record::Record;
pub(crate) use stage::Staged;
use stage::{StageRefusal, Staging};

/// How a check ended.
pub(crate) type Checked = Result<Verified, StageRefusal>;
/// How a check and copy ended.
pub(crate) type StageResult = Result<Staged, StageRefusal>;
/// How a writing ended.
pub(crate) type WriteResult = Result<Written, ChildFailure>;
/// How a look at the boot entries ended.
pub(crate) type EntriesResult = Result<Entries, ChildFailure>;

/// Longest `release.json` of an image.
const RELEASE_BYTES_MAX: u64 = 64 * 1024;
/// How often the boot entry of an image on trial is looked at.
const TRIAL_LOOK_MS: u64 = 5_000;

/// What is known of the image under us and of its last update.
#[derive(Debug)]
pub(crate) struct Updates {
    system: PathBuf,
    record_path: PathBuf,
    incoming: PathBuf,
    /// The image that runs; `None` on a developer's machine.
    image: Option<Running>,
    record: Option<Record>,
    /// Whether a thread checks, copies or writes.
    is_busy: bool,
    /// Whether that thread writes.
    is_writing: bool,
    /// Whether it was told that the box is healthy, or there is nobody to tell.
    is_health_told: bool,
    next_look: Option<Millis>,
    /// Least security version by the machine's TPM.
    floor: u64,
}

/// The image that runs, as its `release.json` says.
#[derive(Debug, Clone, serde::Deserialize)]
pub(crate) struct Running {
    #[serde(rename = "image_version")]
    version: ImageVersion,
    security_version: SecurityVersion,
}

impl Updates {
    /// Reads what is known, and removes what an interrupted update left behind.
    pub(crate) fn open(places: Option<&Places>, trust: &Path, updates: &Path) -> io::Result<Self> {
        let incoming = updates.join("incoming");
        stage::empty(&incoming)?;
        let system = places.map(Places::system).unwrap_or_default();
        let release = crate::durable::read(&system.join("release.json"), RELEASE_BYTES_MAX);
        let image = match (places, release) {
            (Some(_), Ok(Some(bytes))) => serde_json::from_slice(&bytes).ok(),
            _ => None,
        };
        let record_path = trust.join("update.json");
        Ok(Self {
            system,
            record: Record::read(&record_path)?,
            record_path,
            incoming,
            image,
            is_busy: false,
            is_writing: false,
            is_health_told: places.is_none(),
            next_look: None,
            floor: 0,
        })
    }

    /// The machine's own floor, from its TPM.
    pub(crate) const fn set_floor(&mut self, floor: u64) {
        self.floor = floor;
    }

    /// The least security version that an update must have: what runs is never gone behind, nor what the TPM holds.
    fn floor(&self) -> SecurityVersion {
        let running = self
            .image
            .as_ref()
            .map_or(0, |image| image.security_version.get());
        SecurityVersion::new(running.max(self.floor)).unwrap_or(SecurityVersion::LARGEST)
    }

    fn machine(&self) -> Option<Machine> {
        Some(Machine {
            architecture: Architecture::ours()?,
            running: Some(self.image.as_ref()?.version.clone()),
            floor: self.floor(),
        })
    }

    fn running(&self) -> String {
        let image = self.image.as_ref();
        image.map(|image| image.version.to_string()).unwrap_or_default()
    }

    /// Where the box stands between two images.
    pub(crate) fn state(&self) -> UpdateState {
        UpdateState {
            running: self.running(),
            security_version: self
                .image
                .as_ref()
                .map_or(0, |image| image.security_version.get()),
            floor: self.floor().get(),
            phase: self
                .record
                .as_ref()
                .map_or(UpdatePhase::None, |record| record.phase),
            version: self.record.as_ref().map(|record| record.version.to_string()),
            from: self.record.as_ref().map(|record| record.from.to_string()),
        }
    }

    /// For the status: an update that fell back is said until the next one.
    pub(crate) fn reason(&self) -> Option<Reason> {
        let record = self.record.as_ref()?;
        (record.phase == UpdatePhase::FellBack).then(|| Reason {
            code: "update.fell-back".to_owned(),
            facts: vec![
                ("version".to_owned(), record.version.to_string()),
                ("running".to_owned(), self.running()),
            ],
        })
    }

    /// When the boot entry is to be looked at again.
    pub(crate) const fn next_look(&self) -> Option<Millis> {
        self.next_look
    }

    fn keep(&mut self, record: Record) -> io::Result<()> {
        record.write(&self.record_path)?;
        self.record = Some(record);
        Ok(())
    }
}

impl Supervisor {
    /// Checks a bundle without keeping anything of it; ends in [`Event::UpdateChecked`].
    pub(crate) fn check_update(&mut self, asker: Asker, source: &str, folder: OwnedFd) {
        match self.staging(folder) {
            Ok(staging) => {
                let act = self.acts.begin_staging(asker, source, None);
                let run = move |events: &_| Event::UpdateChecked(act, Box::new(staging.check(act, events)));
                let after_panic = move || Event::UpdateChecked(act, Box::new(Err(StageRefusal::Bug)));
                self.begin_update_work(act, run, after_panic);
            }
            Err(fault) => self.tell(asker, Told::Refused(fault)),
        }
    }

    /// Who must approve did: the bundle is checked and copied; ends in [`Event::UpdateStaged`].
    pub(crate) fn start_update(&mut self, asker: Asker, source: &str, approver: Person, folder: OwnedFd) {
        match self.staging(folder) {
            Ok(staging) => {
                let act = self.acts.begin_staging(asker, source, Some(approver));
                let run = move |events: &_| Event::UpdateStaged(act, Box::new(staging.copy(act, events)));
                let after_panic = move || Event::UpdateStaged(act, Box::new(Err(StageRefusal::Bug)));
                self.begin_update_work(act, run, after_panic);
            }
            Err(fault) => self.tell(asker, Told::Refused(fault)),
        }
    }

    fn begin_update_work(
        &mut self,
        act: ActId,
        run: impl FnOnce(&std::sync::mpsc::SyncSender<Event>) -> Event + Send + 'static,
        after_panic: impl FnOnce() -> Event + Send + 'static,
    ) {
        self.updates.is_busy = true;
        if work::spawn("update", &self.events, run, after_panic).is_err() {
            self.updates.is_busy = false;
            self.end_act(act, Told::Refused(unavailable("system.busy")));
        }
    }

    fn staging(&self, folder: OwnedFd) -> Result<Staging, Fault> {
        if self.is_stopping() {
            return Err(unavailable("system.stopping"));
        }
        if self.updates.is_busy {
            return Err(unavailable("update.busy"));
        }
        let machine = self
            .updates
            .machine()
            .ok_or_else(|| unavailable("update.image.none"))?;
        Ok(Staging {
            folder,
            machine,
            keys: self.updates.system.join("image-keys"),
            incoming: self.updates.incoming.clone(),
        })
    }

    /// A bundle was checked, or refused; either way there is a leaf.
    pub(crate) fn on_update_checked(&mut self, act: ActId, result: Checked) {
        self.updates.is_busy = false;
        let Some((asker, source, _)) = self.acts.end_staging(act) else {
            return;
        };
        let verified = result.as_ref().ok().cloned();
        let facts = self.bundle_facts(verified.as_ref());
        let event = LeafEvent::UpdateCheck {
            running: self.updates.running(),
            version: facts.0,
            security_version: facts.1,
            roothash: facts.2,
            signed_by: facts.3,
        };
        let actor = Actor::nobody(&source);
        let told = match result {
            Ok(verified) => {
                let draft = self.scribe.done(actor, event, "");
                self.record(draft)
                    .map(|_| Told::UpdateOffer(Box::new(self.offer(&verified))))
            }
            Err(refusal) => {
                let draft = refusal.draft(&self.scribe, actor, event);
                self.record(draft).map(|_| Told::Refused(refusal.fault()))
            }
        };
        self.tell(asker, told.unwrap_or_else(Told::Refused));
    }

    /// A bundle was checked and its private copy is durable, or it was refused.
    pub(crate) fn on_update_staged(&mut self, act: ActId, result: StageResult) {
        let Some((asker, source, Some(approver))) = self.acts.end_staging(act) else {
            self.updates.is_busy = false;
            return;
        };
        let actor = Actor::person(&approver, &source);
        match result {
            Ok(staged) => {
                let draft = self
                    .scribe
                    .done(actor, self.apply_event(Some(staged.verified())), "");
                match self.record(draft) {
                    Ok(leaf_index) => self.after_commit(Afterwards::WriteUpdate {
                        asker,
                        source,
                        approver,
                        staged: Box::new(staged),
                        leaf_index,
                    }),
                    Err(fault) => self.give_update_up(asker, fault),
                }
            }
            Err(refusal) => {
                let draft = refusal.draft(&self.scribe, actor, self.apply_event(None));
                let fault = self.record(draft).err().unwrap_or_else(|| refusal.fault());
                self.give_update_up(asker, fault);
            }
        }
    }

    /// The leaf of an update is in a checkpoint: write the other slot; ends in [`Event::UpdateWritten`].
    pub(crate) fn write_update(
        &mut self,
        asker: Asker,
        source: &str,
        approver: Person,
        staged: Staged,
        leaf_index: u64,
    ) {
        let manifest = staged.verified().manifest.clone();
        let (Some(from), Ok(boot)) = (self.updates.image.clone(), record::boot_now()) else {
            return self.give_update_up(asker, unavailable("update.image.none"));
        };
        let record = Record {
            version: manifest.image_version,
            security_version: manifest.security_version,
            roothash: manifest.roothash,
            from: from.version,
            boot,
            phase: UpdatePhase::Writing,
        };
        if let Err(error) = self.updates.keep(record) {
            crate::say(format_args!("the update could not be noted: {error}"));
            return self.give_update_up(asker, unavailable("system.state.unwritable"));
        }
        self.updates.is_writing = true;
        let act = self.acts.begin_writing(asker, source, approver, leaf_index);
        let installer = self.programs.installer();
        let run = move |events: &_| {
            let written = child::write_slot(&installer, staged, act, events);
            Event::UpdateWritten(act, Box::new(written))
        };
        let after_panic = move || Event::UpdateWritten(act, Box::new(Err(ChildFailure::Bug)));
        if work::spawn("update", &self.events, run, after_panic).is_err() {
            let failed = Event::UpdateWritten(act, Box::new(Err(ChildFailure::Bug)));
            // The loop's own queue may be full; the act then ends with the box, and the next start tells.
            let _ = self.events.try_send(failed);
        }
    }

    /// The other slot holds the new image, or what it held before is gone and nothing new starts.
    pub(crate) fn on_update_written(&mut self, act: ActId, result: WriteResult) {
        (self.updates.is_busy, self.updates.is_writing) = (false, false);
        let Some((asker, source, approver, leaf_index)) = self.acts.end_writing(act) else {
            return;
        };
        let phase = if result.is_ok() {
            UpdatePhase::Written
        } else {
            UpdatePhase::None
        };
        let noted = self
            .updates
            .record
            .clone()
            .map(|record| Record { phase, ..record });
        let kept = noted.map_or(Ok(()), |record| self.updates.keep(record));
        match (result, kept) {
            (Ok(written), Ok(())) => {
                let offer = Box::new(self.offer(&written.0));
                self.tell(asker, Told::UpdateWritten { offer, leaf_index });
            }
            (Ok(_), Err(error)) => {
                // The next start finds the new image running, or the old one in another boot: both are told.
                crate::say(format_args!(
                    "the update is written but could not be noted: {error}"
                ));
                self.tell(asker, Told::Refused(unavailable("system.state.unwritable")));
            }
            (Err(failure), _) => {
                crate::say(format_args!("the update was not written: {failure}"));
                let event = self.apply_event(None);
                let actor = Actor::person(&approver, &source);
                let draft = self.scribe.failed(actor, event, "", &failure.code());
                let fault = self.record(draft).err().unwrap_or_else(|| failure.fault());
                self.tell(asker, Told::Refused(fault));
            }
        }
    }

    /// At the start, once the log is open: what became of the last update.
    pub(crate) fn judge_update(&mut self) {
        let Some(record) = self.updates.record.clone() else {
            return;
        };
        let Some(image) = self.updates.image.clone() else {
            return;
        };
        let Ok(boot) = record::boot_now() else {
            return;
        };
        let phase = record.judge(&image.version, &boot);
        if phase == record.phase && phase != UpdatePhase::OnTrial {
            return;
        }
        if phase == UpdatePhase::FellBack {
            let event = LeafEvent::UpdateFallBack {
                version: record.version.to_string(),
                running: image.version.to_string(),
            };
            let draft = self.scribe.failed(Actor::device(), event, "", "update.fell-back");
            if self.record(draft).is_err() {
                // Judged again at the next start.
                return;
            }
        }
        if phase == UpdatePhase::OnTrial {
            self.look_again_at_trial();
        }
        if let Err(error) = self.updates.keep(Record { phase, ..record }) {
            crate::say(format_args!(
                "what became of the update could not be noted: {error}"
            ));
        }
    }

    /// Looks whether the image on trial was found good, when it is time to.
    pub(crate) fn look_at_trial(&mut self, now: Millis) {
        if self.updates.next_look.is_none_or(|at| at > now) {
            return;
        }
        self.updates.next_look = None;
        let installer = self.programs.installer();
        let run = move |_: &_| Event::BootEntries(Box::new(child::entries(&installer)));
        let after_panic = || Event::BootEntries(Box::new(Err(ChildFailure::Bug)));
        if work::spawn("entries", &self.events, run, after_panic).is_err() {
            self.updates.next_look = Some(now.after(TRIAL_LOOK_MS));
        }
    }

    /// The boot entries were read: blessed when the running one has no counter any more.
    pub(crate) fn on_boot_entries(&mut self, result: EntriesResult) {
        let Some(record) = self.updates.record.clone() else {
            return;
        };
        if record.phase != UpdatePhase::OnTrial {
            return;
        }
        let is_good = match result {
            Ok(entries) => entries.is_good(&record.version),
            Err(failure) => {
                crate::say(format_args!("the boot entries could not be read: {failure}"));
                false
            }
        };
        if !is_good {
            self.look_again_at_trial();
            return;
        }
        let event = LeafEvent::UpdateBless {
            version: record.version.to_string(),
            security_version: record.security_version.get(),
            roothash: record.roothash,
        };
        let draft = self.scribe.done(Actor::device(), event, "");
        match self.record(draft) {
            Ok(_) => self.after_commit(Afterwards::Bless),
            Err(_) => self.look_again_at_trial(),
        }
    }

    /// The leaf of the blessing is in a checkpoint: note it, and let nothing older in from now on.
    pub(crate) fn bless(&mut self) {
        let Some(record) = self.updates.record.clone() else {
            return;
        };
        self.platform.raise_floor(record.security_version.get());
        self.updates.floor = self.updates.floor.max(record.security_version.get());
        let phase = UpdatePhase::Blessed;
        if let Err(error) = self.updates.keep(Record { phase, ..record }) {
            crate::say(format_args!(
                "the blessing of the image could not be noted: {error}"
            ));
        }
    }

    /// As the boot entries are to be looked at again, some seconds from now.
    pub(crate) fn look_again_at_trial(&mut self) {
        self.updates.next_look = Some(self.clock.now().after(TRIAL_LOOK_MS));
    }

    /// How far the check, the copy or the writing is.
    pub(crate) fn on_update_progress(&mut self, act: ActId, done: u64, total: u64) {
        self.on_import_progress(act, done, total);
        let stage = if self.updates.is_writing {
            Stage::Writing
        } else {
            Stage::Copying
        };
        let progress = Progress {
            stage,
            done_bytes: done,
            total_bytes: total,
        };
        self.on_screen_progress(act, progress);
    }

    /// Tells once whoever waits for it (`jingui update healthy`) that the box is healthy: the log can be written, the
    /// gateway serves, and the model, if there is one, has given the signed answers to its golden prompts.
    pub(crate) fn announce_health(&mut self) {
        let engine = &self.engines.serving;
        let is_healthy = self.log.is_writable()
            && self.gateway.life.is_serving()
            && (engine.package.is_none() || engine.is_answering());
        if self.updates.is_health_told || !is_healthy || self.is_stopping() {
            return;
        }
        let told = self
            .places
            .as_ref()
            .map(|places| std::fs::write(places.healthy(), b""));
        match told {
            Some(Err(error)) => crate::say(format_args!("health could not be told: {error}")),
            Some(Ok(())) | None => self.updates.is_health_told = true,
        }
    }

    /// An update that cannot go on: the private copy goes with `staged`, wherever that is.
    pub(crate) fn give_update_up(&mut self, asker: Asker, fault: Fault) {
        self.updates.is_busy = false;
        self.tell(asker, Told::Refused(fault));
    }

    pub(crate) fn apply_event(&self, verified: Option<&Verified>) -> LeafEvent {
        let (version, security_version, roothash, signed_by) = self.bundle_facts(verified);
        LeafEvent::UpdateApply {
            running: self.updates.running(),
            version,
            security_version,
            roothash,
            signed_by,
        }
    }

    fn bundle_facts(
        &self,
        verified: Option<&Verified>,
    ) -> (Option<String>, Option<u64>, Option<Sha256>, Option<Sha256>) {
        let manifest = verified.map(|verified| &verified.manifest);
        (
            manifest.map(|it| it.image_version.to_string()),
            manifest.map(|it| it.security_version.get()),
            manifest.map(|it| it.roothash),
            verified.map(|it| it.signed_by),
        )
    }

    fn offer(&self, verified: &Verified) -> UpdateOffer {
        let manifest = &verified.manifest;
        UpdateOffer {
            running: self.updates.running(),
            version: manifest.image_version.to_string(),
            security_version: manifest.security_version.get(),
            roothash: manifest.roothash.to_string(),
            signed_by: verified.signed_by.to_string(),
            bytes: manifest.byte_count(),
        }
    }
}

/// What the person is told of a bad bundle.
fn bundle_fault(refusal: &UpdateRefusal) -> Fault {
    let facts = refusal.facts().into_iter();
    let facts = facts.map(|(name, value)| (name.to_owned(), value)).collect();
    if refusal.is_failure() {
        Fault {
            kind: FaultKind::Unavailable,
            code: refusal.code().to_owned(),
            facts,
        }
    } else {
        refused(refusal.code(), facts)
    }
}

#[cfg(test)]
mod tests;
