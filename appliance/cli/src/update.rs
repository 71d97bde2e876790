//! `jingui update`: bundles with a new image, for the box that takes them and for who makes them.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use jingui_ipc::control::{Reply, Request, Role};
use jingui_ipc::update::{UpdateOffer, UpdatePhase, UpdateState};
use jingui_pack::update::{
    self, Architecture, Facts, FileRole, ImageVersion, Machine, Manifest, Offered, UpdateRefusal,
};
use jingui_pack::{PackPath, SecurityVersion};
use jingui_trust::Sha256;
use jingui_trust::image_key::{ImageKey, ImagePublicKey};
use serde_json::{Value, json};

use crate::arguments::BuildArguments;
use crate::control::{Control, unexpected};
use crate::failure::{Exit, Failure};
use crate::screen::{NO_FACTS, Screen};
use crate::{files, login};

const KEY_BYTES_MAX: u64 = 64 * 1024;
/// How often it is looked whether the box is healthy.
const HEALTH_PAUSE: Duration = Duration::from_millis(500);
/// The supervisor makes it once in each start of the machine.
const HEALTHY_MARK: &str = "/run/jingui/healthy";
/// The boot loader sets it when it counted the entry that it started: an image on trial.
const TRIAL_MARK: &str = "/sys/firmware/efi/efivars/LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// `update check DIR`.
pub(crate) fn check(screen: &Screen, state: &Path, folder: &Path) -> Result<Exit, Failure> {
    let opened = files::open_folder(folder)?;
    let reply = Control::connect(state)?.ask(&Request::CheckUpdate, Some(&opened), |done, total| {
        screen.progress("cli.update.checking", done, total);
    })?;
    let Reply::UpdateOffer(offer) = reply else {
        return Err(unexpected());
    };
    screen.answer(
        &json!({ "update": &*offer }),
        &[offer_line(screen, "cli.update.offered", &offer)],
    );
    Ok(Exit::Done)
}

/// `update apply DIR`.
pub(crate) fn apply(
    screen: &Screen,
    state: &Path,
    folder: &Path,
    login: Option<&Path>,
) -> Result<Exit, Failure> {
    let opened = files::open_folder(folder)?;
    let mut control = Control::connect(state)?;
    let reply = login::prove(screen, login, &[Role::System], |proofs| {
        control.ask(&Request::ApplyUpdate { proofs }, Some(&opened), |done, total| {
            screen.progress("cli.update.applying", done, total);
        })
    })?;
    let Reply::UpdateWritten { offer, leaf_index } = reply else {
        return Err(unexpected());
    };
    let json = json!({ "update": &*offer, "leaf_index": leaf_index });
    screen.answer(&json, &[offer_line(screen, "cli.update.written", &offer)]);
    Ok(Exit::Done)
}

/// `update status`.
pub(crate) fn status(screen: &Screen, state: &Path) -> Result<Exit, Failure> {
    let update = ask_state(state)?;
    let value = serde_json::to_value(&update).map_err(|_| unexpected())?;
    let facts = [
        ("running", update.running.clone()),
        ("security_version", update.security_version.to_string()),
        ("floor", update.floor.to_string()),
    ];
    let key = if update.running.is_empty() {
        "cli.update.no-image"
    } else {
        "cli.update.running"
    };
    let phase = format!("cli.update.phase.{}", update.phase.word());
    let versions = [
        ("version", update.version.clone().unwrap_or_default()),
        ("from", update.from.clone().unwrap_or_default()),
    ];
    screen.answer(
        &value,
        &[screen.words(key, &facts), screen.words(&phase, &versions)],
    );
    Ok(Exit::Done)
}

fn ask_state(state: &Path) -> Result<UpdateState, Failure> {
    match Control::connect(state)?.ask_simply(&Request::UpdateState)? {
        Reply::UpdateState(update) => Ok(*update),
        _ => Err(unexpected()),
    }
}

/// `update healthy --wait SECONDS`, which stands between the start of a box and the blessing of its image.
pub(crate) fn healthy(screen: &Screen, state: &Path, wait_s: u64) -> Result<Exit, Failure> {
    let marks = Marks {
        healthy: PathBuf::from(HEALTHY_MARK),
        trial: PathBuf::from(TRIAL_MARK),
    };
    let verdict = wait_for_health(&marks, Duration::from_secs(wait_s), &|| {
        ask_state(state).is_ok_and(|update| update.phase == UpdatePhase::OnTrial)
    });
    let (word, exit) = match verdict {
        Health::Healthy => ("healthy", Exit::Done),
        Health::Hopeless => ("unhealthy", Exit::Done),
        Health::Failed => ("unhealthy-trial", Exit::Bad),
    };
    let line = screen.words(&format!("cli.update.{word}"), NO_FACTS);
    screen.answer(&json!({ "health": word }), &[line]);
    Ok(exit)
}

/// What tells health and trial.
struct Marks {
    healthy: PathBuf,
    trial: PathBuf,
}

/// How the wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    /// The box is healthy.
    Healthy,
    /// It is not, and there is no older image that a restart would bring back: whoever comes finds it as it is.
    Hopeless,
    /// It is not, and the image is on trial: a restart brings the older one back.
    Failed,
}

/// Waits for the mark. An image that nobody counts is not given up for being unhealthy: restarting it for ever would
/// help nobody.
fn wait_for_health(marks: &Marks, patience: Duration, is_on_trial: &dyn Fn() -> bool) -> Health {
    let deadline = Instant::now() + patience;
    loop {
        if marks.healthy.exists() {
            return Health::Healthy;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        thread::sleep(HEALTH_PAUSE.min(left));
    }
    if marks.trial.exists() || is_on_trial() {
        Health::Failed
    } else {
        Health::Hopeless
    }
}

/// `update build DIR …`.
pub(crate) fn build(screen: &Screen, arguments: &BuildArguments) -> Result<Exit, Failure> {
    let facts = facts(arguments)?;
    let folder = files::open_folder(&arguments.folder)?;
    let (manifest, key) = match &arguments.key {
        Some(path) => {
            let pem = files::read_text(path, KEY_BYTES_MAX)?;
            let key = ImageKey::from_pem(&pem).map_err(|refusal| bad_key(path, refusal.code()))?;
            let built = update::build(folder.as_fd(), &facts, &key);
            (built, "cli.update.built")
        }
        None => (update::describe(folder.as_fd(), &facts), "cli.update.described"),
    };
    let manifest = manifest.map_err(|refusal| refused(&refusal, Exit::Refused))?;
    screen.answer(
        &manifest_json(&manifest),
        &[manifest_line(screen, key, &manifest)],
    );
    Ok(Exit::Done)
}

/// `update verify DIR --key PUB`.
pub(crate) fn verify(screen: &Screen, folder: &Path, key: &Path) -> Result<Exit, Failure> {
    let pem = files::read_text(key, KEY_BYTES_MAX)?;
    let public = ImagePublicKey::from_pem(&pem).map_err(|refusal| bad_key(key, refusal.code()))?;
    let opened = files::open_folder(folder)?;
    let mut progress = |done, total| screen.progress("cli.update.checking", done, total);
    let mut verify = || -> Result<_, UpdateRefusal> {
        let authentic = Offered::open(opened.as_fd())?.authenticate(&[public])?;
        // What it has to fit is for a box to say.
        let machine = Machine {
            architecture: authentic.manifest().architecture,
            running: None,
            floor: SecurityVersion::default(),
        };
        authentic.fit(&machine)?.verify(&mut progress)
    };
    let verified = verify().map_err(|refusal| refused(&refusal, Exit::Bad))?;
    let line = manifest_line(screen, "cli.update.verified", &verified.manifest);
    screen.answer(&manifest_json(&verified.manifest), &[line]);
    Ok(Exit::Done)
}

/// `update keygen --out DIR`.
pub(crate) fn keygen(screen: &Screen, out: &Path) -> Result<Exit, Failure> {
    let no_randomness = || Failure::new(Exit::Unavailable, "system.randomness.missing");
    let (key, pem) = ImageKey::generate().map_err(|_| no_randomness())?;
    let public = key.public_key().map_err(|_| no_randomness())?;
    let (key, public_file) = files::write_key_pair(out, "image", pem.expose(), &public.to_pem())?;
    let json = json!({ "key": key, "public": public_file, "hint": public.hint().to_string() });
    screen.answer(
        &json,
        &[screen.words("cli.update.keygen", &[("key", &key), ("public", &public_file)])],
    );
    Ok(Exit::Done)
}

fn facts(arguments: &BuildArguments) -> Result<Facts, Failure> {
    let malformed = |value: &str| Failure::new(Exit::Refused, "update.build.malformed").with("value", value);
    let version = &arguments.image_version;
    let name = |text: &String| PackPath::parse(text).map_err(|_| malformed(text));
    let mut files = vec![
        (FileRole::Root, name(&arguments.root)?),
        (FileRole::Verity, name(&arguments.verity)?),
        (FileRole::Uki, name(&arguments.uki)?),
    ];
    if let Some(loader) = &arguments.loader {
        files.push((FileRole::Loader, name(loader)?));
    }
    let mut site_keys = Vec::new();
    for path in &arguments.site_keys {
        let pem = files::read_text(path, KEY_BYTES_MAX)?;
        site_keys.push(ImagePublicKey::from_pem(&pem).map_err(|refusal| bad_key(path, refusal.code()))?);
    }
    let architecture = match arguments.architecture.as_str() {
        "arm64" => Architecture::Arm64,
        _ => Architecture::X8664,
    };
    let roothash: Sha256 = arguments
        .roothash
        .parse()
        .map_err(|_| malformed(&arguments.roothash))?;
    let number = arguments.security_version;
    Ok(Facts {
        image_version: ImageVersion::parse(version).map_err(|_| malformed(version))?,
        security_version: SecurityVersion::new(number).ok_or_else(|| malformed(&number.to_string()))?,
        architecture,
        roothash,
        files,
        site_keys,
    })
}

fn bad_key(path: &Path, code: &str) -> Failure {
    Failure::new(Exit::Refused, code).with("file", path.display())
}

fn refused(refusal: &UpdateRefusal, bad: Exit) -> Failure {
    let exit = if refusal.is_failure() {
        Exit::Unavailable
    } else {
        bad
    };
    Failure::new(exit, refusal.code()).with_all(refusal.facts())
}

fn manifest_json(manifest: &Manifest) -> Value {
    json!({ "manifest": manifest, "bytes": manifest.byte_count() })
}

fn manifest_line(screen: &Screen, key: &str, manifest: &Manifest) -> String {
    let facts = [
        ("version", manifest.image_version.to_string()),
        ("security_version", manifest.security_version.to_string()),
        ("roothash", manifest.roothash.to_string()),
    ];
    screen.words(key, &facts)
}

fn offer_line(screen: &Screen, key: &str, offer: &UpdateOffer) -> String {
    let facts = [
        ("version", offer.version.clone()),
        ("security_version", offer.security_version.to_string()),
        ("running", offer.running.clone()),
        ("key", offer.signed_by.clone()),
    ];
    screen.words(key, &facts)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn health_is_waited_for_and_only_a_trial_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let marks = Marks {
            healthy: folder.path().join("healthy"),
            trial: folder.path().join("trial"),
        };
        let wait = |is_on_trial: bool| wait_for_health(&marks, Duration::ZERO, &|| is_on_trial);
        assert_eq!(wait(false), Health::Hopeless);
        assert_eq!(wait(true), Health::Failed);
        File::create(&marks.trial).unwrap();
        assert_eq!(wait(false), Health::Failed);
        File::create(&marks.healthy).unwrap();
        assert_eq!(wait(true), Health::Healthy);
        std::fs::remove_file(&marks.healthy).unwrap();
        thread::scope(|scope| {
            let late = scope.spawn(|| wait_for_health(&marks, Duration::from_secs(60), &|| true));
            File::create(&marks.healthy).unwrap();
            assert_eq!(late.join().unwrap(), Health::Healthy);
        });
    }

    #[test]
    fn every_phase_has_its_words() {
        for phase in UpdatePhase::ALL {
            let key = format!("cli.update.phase.{}", phase.word());
            for language in jingui_messages::Language::ALL {
                let found = jingui_messages::phrase(&key, language, &[("version", "2"), ("from", "1")]);
                assert!(found.is_some(), "{key}");
            }
        }
    }
}
