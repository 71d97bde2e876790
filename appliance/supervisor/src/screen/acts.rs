//! Acts at the screen that people must approve: evidence, update, reset.

use std::os::fd::OwnedFd;

use jingui_audit::event::Event as LeafEvent;
use jingui_ipc::control::Proof;
use jingui_ipc::screen::Done;

use super::{Ending, SOURCE};
use crate::acts::{Asker, Told, Wish, refused, unavailable};
use crate::event::{ActId, Event};
use crate::evidence::{EvidenceFailure, EvidenceJob, Exported};
use crate::leaves::Actor;
use crate::people::Person;
use crate::supervisor::{Afterwards, Supervisor};
use crate::usb::{Purpose, Stick, StickRefusal};

/// Names the place where the stick of an update is mounted.
const UPDATE_ACT: &str = "update";
/// Folder of the bundle on the stick.
const UPDATE_FOLDER: &str = "jingui-update";

impl Supervisor {
    /// Looks for a stick with an update, on a thread of its own: a bad stick takes its time. With proofs it is applied.
    pub(super) fn find_update(&mut self, asker: Asker, proofs: Option<Vec<Proof>>) {
        let Some(places) = self.places.clone() else {
            return self.tell(asker, Told::Refused(unavailable("update.image.none")));
        };
        if std::mem::replace(&mut self.screens.is_looking, true) {
            return self.tell(asker, Told::Refused(unavailable("usb.stick.busy")));
        }
        let look = move |_: &_| {
            let folder =
                Stick::mount(&places, UPDATE_ACT, Purpose::Read).and_then(|stick| stick.hold(UPDATE_FOLDER));
            Event::UpdateStick(asker, proofs, folder)
        };
        let after_panic = move || Event::UpdateStick(asker, None, Err(StickRefusal::None));
        if crate::work::spawn("stick", &self.events, look, after_panic).is_err() {
            self.screens.is_looking = false;
            self.tell(asker, Told::Refused(unavailable("system.busy")));
        }
    }

    /// The stick of an update was found, or was not.
    pub(crate) fn on_update_stick(
        &mut self,
        asker: Asker,
        proofs: Option<Vec<Proof>>,
        folder: Result<OwnedFd, StickRefusal>,
    ) {
        self.screens.is_looking = false;
        match (folder, proofs) {
            (Err(refusal), _) => {
                crate::say_failure(refusal.code(), &refusal);
                self.tell(asker, Told::Refused(refused(refusal.code(), refusal.facts())));
            }
            (Ok(folder), None) => self.check_update(asker, SOURCE, folder),
            (Ok(folder), Some(proofs)) => {
                self.begin_act(asker, SOURCE, Wish::ApplyUpdate { folder }, proofs);
            }
        }
    }

    /// The log onto a stick, approved by an auditor.
    pub(super) fn begin_evidence(&mut self, asker: Asker, proofs: Vec<Proof>) {
        self.begin_act(asker, SOURCE, Wish::CarryEvidence, proofs);
    }

    /// Back to the factory's state, approved by a system admin; before the ceremony there is nobody to ask and nothing
    /// to lose.
    pub(super) fn begin_reset(&mut self, asker: Asker, serial: &str, proofs: Vec<Proof>) {
        if serial.trim() != self.identity.serial {
            return self.tell(asker, Told::Refused(refused("reset.serial.wrong", Vec::new())));
        }
        if self.people.is_set_up() {
            return self.begin_act(asker, SOURCE, Wish::Reset, proofs);
        }
        self.record_reset(asker, Actor::present());
    }

    /// Everybody who must approve did: the reset is recorded before anything is destroyed.
    pub(crate) fn record_reset(&mut self, asker: Asker, actor: Actor) {
        let draft = self.scribe.done(actor, LeafEvent::FactoryReset {}, "");
        match self.record(draft) {
            Ok(leaf_index) => self.after_commit(Afterwards::Power {
                asker,
                ending: Ending::Reset { asker, leaf_index },
                leaf_index,
            }),
            Err(fault) => self.tell(asker, Told::Refused(fault)),
        }
    }

    /// The export's leaf is in a checkpoint: copy the log.
    pub(crate) fn carry_evidence(&mut self, asker: Asker, person: Person, leaf_index: u64) {
        let Some(places) = self.places.clone() else {
            let fault = refused("usb.stick.none", Vec::new());
            return self.tell(asker, Told::Refused(fault));
        };
        let act = self.acts.begin_carrying(asker, SOURCE, person, leaf_index);
        let job = EvidenceJob {
            act,
            places,
            log: self.state.audit(),
            vkey: self.log.vkey(),
            serial: self.identity.serial.clone(),
        };
        if job.start(&self.events).is_err() {
            self.on_evidence(act, Err(EvidenceFailure::Bug));
        }
    }

    /// The evidence lies on the stick, or does not; what failed is a leaf too, since the export's leaf says otherwise.
    pub(crate) fn on_evidence(&mut self, act: ActId, result: Result<Exported, EvidenceFailure>) {
        let Some((asker, person, leaf_index)) = self.acts.end_carrying(act) else {
            return;
        };
        match result {
            Ok(exported) => {
                let facts = vec![
                    ("folder".to_owned(), exported.folder),
                    ("size".to_owned(), exported.size.to_string()),
                    ("vkey".to_owned(), self.log.vkey()),
                ];
                self.tell(asker, Told::Carried(Done { leaf_index, facts }));
            }
            Err(failure) => {
                crate::say_failure(failure.code(), &failure);
                let actor = Actor::person(&person, SOURCE);
                let event = self.export_event();
                let draft = self.scribe.failed(actor, event, "usb", failure.code());
                let fault = match self.record(draft) {
                    Ok(_) => refused(failure.code(), failure.facts()),
                    Err(unrecorded) => unrecorded,
                };
                self.tell(asker, Told::Refused(fault));
            }
        }
    }
}
