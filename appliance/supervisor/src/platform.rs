//! The machine under the supervisor, as measured: firmware, image, TPM, state. Facts, not intentions: each is read from
//! the kernel below a root folder (`/` in the image, another one in tests), and what cannot be read is not there.
//!
//! Measured once, when the supervisor starts, since none of it changes while it runs; but for the floor ([`floor`]),
//! which is raised when a newer image has been found good. A developer's machine has no platform.

mod firmware;
mod floor;
mod image;
mod tpm;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use jingui_audit::event::{Event as LeafEvent, SecureBoot};
use jingui_ipc::status::{Guarantee, PlatformFact};
use jingui_ipc::storage::{OpenedBy, REPORT_BYTES_MAX, REPORT_PATH, Report};
use jingui_trust::Sha256;

use firmware::Firmware;
use floor::Floor;
use image::{Image, Volume};
use tpm::TpmFacts;

/// Guarantees that only the sealed image on checked hardware gives.
const GUARANTEES: [&str; 6] = [
    "sealed-image",
    "secure-boot",
    "tpm-sealed-keys",
    "rollback-counter",
    "fs-verity",
    "encrypted-state",
];

/// What is measured of the machine; all of it is missing on a developer's machine.
#[derive(Debug, Default)]
pub(crate) struct Platform {
    measured: Option<Measured>,
    /// Whether the supervisor did not stop in order before this start.
    was_unclean: bool,
}

#[derive(Debug)]
struct Measured {
    firmware: Firmware,
    image: Image,
    /// How the state is mounted.
    state: Option<Volume>,
    storage: Option<Report>,
    tpm: Option<TpmFacts>,
    floor: Result<Floor, &'static str>,
}

impl Platform {
    /// Measures the machine below `root`; `trust` holds where the floor begins, `state` is where the state is mounted.
    pub(crate) fn measure(root: Option<&Path>, state: &Path, trust: &Path, was_unclean: bool) -> Self {
        let measured = root.map(|root| {
            let image = Image::measure(root);
            let running = image
                .published
                .as_ref()
                .map_or(0, |release| release.security_version);
            let (facts, floor) = match tpm::open(root) {
                Some(mut tpm) => {
                    let facts = TpmFacts::measure(&mut tpm, root);
                    (Some(facts), Floor::open(tpm, trust, running))
                }
                None => (None, Err("guarantee.why.no-tpm")),
            };
            Measured {
                firmware: Firmware::measure(root),
                image,
                state: Volume::mounted_at(root, state),
                storage: read_report(root),
                tpm: facts,
                floor,
            }
        });
        Self {
            measured,
            was_unclean,
        }
    }

    /// Whether the state lies on an encrypted, mounted device; the image serves on nothing else.
    pub(crate) fn is_state_encrypted(&self) -> bool {
        let state = self
            .measured
            .as_ref()
            .and_then(|measured| measured.state.as_ref());
        state.is_some_and(Volume::is_encrypted)
    }

    /// Whether the system runs from a sealed image.
    pub(crate) fn is_sealed(&self) -> bool {
        self.measured
            .as_ref()
            .is_some_and(|measured| measured.image.is_sealed())
    }

    /// Root hash of the image that runs.
    pub(crate) fn root_hash(&self) -> Option<Sha256> {
        self.measured.as_ref()?.image.root_hash
    }

    /// Why this image must not serve, if it must not: it is older than what this machine has accepted before.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        let measured = self.measured.as_ref()?;
        let running = measured.image.published.as_ref()?.security_version;
        let floor = measured.floor.as_ref().ok()?.value();
        (running < floor).then_some("platform.image.too-old")
    }

    /// Least security version that an image must have; `None` without a counter that holds one.
    pub(crate) fn floor(&self) -> Option<u64> {
        let measured = self.measured.as_ref()?;
        measured.floor.as_ref().ok().map(Floor::value)
    }

    /// Raises the floor, for good. Without a counter nothing happens, and the guarantee says so.
    pub(crate) fn raise_floor(&mut self, to: u64) {
        let Some(measured) = &mut self.measured else {
            return;
        };
        let Ok(floor) = &mut measured.floor else {
            return;
        };
        if let Err(failure) = floor.raise(to) {
            crate::say_failure(failure.code(), &failure);
        }
    }

    /// What else is wrong and has to be told: the model store could not be mounted.
    pub(crate) fn storage_fault(&self) -> Option<&str> {
        self.measured.as_ref()?.storage.as_ref()?.models_fault.as_deref()
    }

    /// The leaf of this start.
    pub(crate) fn boot_event(&self) -> LeafEvent {
        let measured = self.measured.as_ref();
        let image = measured.map(|measured| &measured.image);
        let release = image.and_then(|image| image.published.as_ref());
        let tpm = measured.and_then(|measured| measured.tpm.as_ref());
        let clock = tpm.and_then(|tpm| tpm.clock);
        LeafEvent::Boot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            security_version: release.map_or(0, |release| release.security_version),
            image: image.and_then(|image| image.root_hash),
            secure_boot: measured.map_or(SecureBoot::Unknown, |measured| measured.firmware.secure_boot()),
            developer_mode: !self.is_sealed(),
            image_version: release.map(|release| release.image_version.clone()),
            firmware: measured.and_then(|measured| measured.firmware.title()),
            setup_mode: measured.and_then(|measured| measured.firmware.setup_mode),
            pcrs: tpm.map(|tpm| {
                tpm.pcrs
                    .iter()
                    .map(|(index, value)| format!("{index}:{value}"))
                    .collect()
            }),
            event_log: tpm.and_then(|tpm| tpm.event_log),
            tpm_clock_ms: clock.map(|clock| clock.clock_ms),
            tpm_reset_count: clock.map(|clock| u64::from(clock.reset_count)),
            tpm_restart_count: clock.map(|clock| u64::from(clock.restart_count)),
            floor: self.floor(),
            state_opened_by: measured
                .and_then(|measured| measured.storage.as_ref())
                .map(|report| opened_by(report.opened_by).to_owned()),
            unclean: Some(self.was_unclean),
        }
    }

    /// Facts for people: what is measured, and beside it what the image's signer published.
    pub(crate) fn facts(&self) -> Vec<PlatformFact> {
        let Some(measured) = &self.measured else {
            return Vec::new();
        };
        let release = measured.image.published.as_ref();
        let running = &measured.image.running_version;
        let mut facts = vec![
            fact(
                "image-version",
                running.clone(),
                release.map(|it| it.image_version.clone()),
            ),
            fact(
                "image-root",
                measured.image.root_hash.map(|hash| hash.to_string()),
                measured.image.signed_root_hash.map(|hash| hash.to_string()),
            ),
            fact("image-profile", None, release.map(|it| it.profile.clone())),
            fact(
                "security-version",
                self.floor().map(|floor| floor.to_string()),
                release.map(|it| it.security_version.to_string()),
            ),
            fact("firmware", measured.firmware.title(), None),
            fact(
                "secure-boot",
                Some(measured.firmware.secure_boot().as_str().to_owned()),
                None,
            ),
            fact(
                "state-opened-by",
                measured
                    .storage
                    .as_ref()
                    .map(|report| opened_by(report.opened_by).to_owned()),
                None,
            ),
        ];
        if let Some(tpm) = &measured.tpm {
            facts.push(fact(
                "tpm-event-log",
                tpm.event_log.map(|digest| digest.to_string()),
                None,
            ));
            facts.push(fact(
                "tpm-resets",
                tpm.clock.map(|clock| clock.reset_count.to_string()),
                None,
            ));
            let pcrs = tpm.pcrs.iter();
            facts.extend(
                pcrs.map(|(index, value)| fact(&format!("pcr-{index}"), Some(value.to_string()), None)),
            );
        }
        facts.retain(|fact| fact.measured.is_some() || fact.published.is_some());
        facts
    }

    /// What the platform promises and whether it holds; `is_weights_sealed` where a model is loaded.
    pub(crate) fn guarantees(&self, is_weights_sealed: Option<bool>) -> Vec<Guarantee> {
        GUARANTEES
            .into_iter()
            .map(|name| {
                let why = match &self.measured {
                    None => Some("guarantee.why.developer-machine"),
                    Some(measured) => measured.why_not(name, is_weights_sealed),
                };
                Guarantee {
                    name: format!("platform.{name}"),
                    group: "platform".to_owned(),
                    in_force: why.is_none(),
                    why: why.map(ToOwned::to_owned),
                }
            })
            .collect()
    }
}

impl Measured {
    /// Why a guarantee is not in force; `None` when it is.
    fn why_not(&self, guarantee: &str, is_weights_sealed: Option<bool>) -> Option<&'static str> {
        let (holds, why) = match guarantee {
            "sealed-image" => (self.image.is_sealed(), "guarantee.why.not-sealed"),
            "secure-boot" => match (self.firmware.secure_boot(), self.firmware.setup_mode) {
                (SecureBoot::On, Some(true)) => (false, "guarantee.why.setup-mode"),
                (SecureBoot::On, _) => (true, ""),
                (SecureBoot::Off, _) => (false, "guarantee.why.secure-boot-off"),
                (SecureBoot::Unknown, _) => (false, "guarantee.why.firmware-silent"),
            },
            "tpm-sealed-keys" => match self.storage.as_ref().map(|report| report.opened_by) {
                Some(OpenedBy::Tpm) => (self.tpm.is_some(), "guarantee.why.no-tpm"),
                Some(OpenedBy::RecoveryKey) => (false, "guarantee.why.recovery-key"),
                Some(OpenedBy::Passphrase | OpenedBy::KeyStick) | None => (false, "guarantee.why.no-tpm"),
            },
            "rollback-counter" => match &self.floor {
                Ok(_) => (true, ""),
                Err(why) => (false, *why),
            },
            "fs-verity" => match is_weights_sealed {
                Some(is_sealed) => (is_sealed, "guarantee.why.no-fs-verity"),
                None => (false, "guarantee.why.process-absent"),
            },
            _ => (
                self.state.as_ref().is_some_and(Volume::is_encrypted),
                "guarantee.why.state-plain",
            ),
        };
        (!holds).then_some(why)
    }
}

const fn opened_by(by: OpenedBy) -> &'static str {
    match by {
        OpenedBy::Tpm => "tpm",
        OpenedBy::RecoveryKey => "recovery-key",
        OpenedBy::Passphrase => "passphrase",
        OpenedBy::KeyStick => "key-stick",
    }
}

fn fact(name: &str, measured: Option<String>, published: Option<String>) -> PlatformFact {
    PlatformFact {
        name: name.to_owned(),
        measured,
        published,
    }
}

fn read_report(root: &Path) -> Option<Report> {
    serde_json::from_slice(&read(&root.join(REPORT_PATH), REPORT_BYTES_MAX).ok()?).ok()
}

/// A file of the kernel's, whose length is not known before it is read.
fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|count| count <= bytes_max) {
        Ok(bytes)
    } else {
        Err(io::ErrorKind::FileTooLarge.into())
    }
}

/// First line of a small file, when it is text without control signs.
fn line(path: &Path) -> Option<String> {
    const BYTES_MAX: u64 = 16 * 1024;
    let text = String::from_utf8(read(path, BYTES_MAX).ok()?).ok()?;
    let line = text.lines().next()?.trim().to_owned();
    (!line.is_empty() && !line.chars().any(char::is_control)).then_some(line)
}

#[cfg(test)]
mod tests;
