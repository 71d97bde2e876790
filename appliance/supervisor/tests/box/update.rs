//! Updates of the image at the supervisor's door: who may, what is recorded, what becomes of them. The program that writes
//! the slot is played by a script; the real one has its own tests.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use jingui_audit::leaf::Outcome;
use jingui_audit::{Leaf, event::Event};
use jingui_ipc::control::{Fault, Reply, Request, Role};
use jingui_ipc::update::{UpdateOffer, UpdatePhase, UpdateState};
use jingui_pack::update::{Architecture, Facts, FileRole, ImageVersion, build};
use jingui_pack::{PackPath, SecurityVersion};
use jingui_trust::Sha256;
use jingui_trust::image_key::ImageKey;

use super::machine::{Machine, PATIENCE, now_step, proof};

const DONE: &str = "{\"progress\":[1,2]}\n{\"done\":true}\n";

/// A box on an image of version 1, security version 4.
struct Appliance {
    machine: Machine,
    root: PathBuf,
    key: ImageKey,
}

impl Appliance {
    fn set_up() -> Self {
        let mut machine = Machine::new();
        let root = machine.folder.path().join("root");
        for folder in [
            "run/jingui",
            "usr/share/jingui/image-keys",
            "sys/class/net",
            "sys/class/block",
            "dev",
        ] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        machine.arguments = vec!["--root".to_owned(), root.display().to_string()];
        let (key, _) = ImageKey::generate().unwrap();
        let public = key.public_key().unwrap().to_pem();
        fs::write(root.join("usr/share/jingui/image-keys/image.pem"), public).unwrap();
        let installer = machine.folder.path().join("bin/jingui-installer");
        let script = "#!/bin/sh\nls /proc/self/fd/0/ > \"$0.saw\" 2>/dev/null\ncat \"$0.$1\"\n\
            while [ -e \"$0.waits\" ]; do sleep 0.05; done\n";
        fs::write(&installer, script).unwrap();
        fs::set_permissions(&installer, fs::Permissions::from_mode(0o755)).unwrap();
        let mut appliance = Self { machine, root, key };
        appliance.runs("1", 4);
        appliance.installer("write-slot", DONE);
        appliance.installer(
            "entries",
            "{\"entries\":[{\"version\":\"1\",\"tries_left\":null}]}\n",
        );
        appliance.machine.start();
        appliance.machine.hold_ceremony();
        appliance
    }

    /// The image that the next start of the box runs on.
    fn runs(&self, version: &str, security_version: u64) {
        let release = serde_json::json!({
            "product": "jingui", "image_version": version, "security_version": security_version,
            "profile": "development", "source": "",
        });
        fs::write(
            self.root.join("usr/share/jingui/release.json"),
            release.to_string(),
        )
        .unwrap();
    }

    fn installer_file(&self, ending: &str) -> PathBuf {
        self.machine
            .folder
            .path()
            .join(format!("bin/jingui-installer.{ending}"))
    }

    /// What the installer says to a command.
    fn installer(&self, command: &str, says: &str) {
        fs::write(self.installer_file(command), says).unwrap();
    }

    fn stick(&self, version: &str, security_version: u64) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let (tree, roothash) = tree();
        fs::write(folder.path().join("root.raw"), vec![7; 8192]).unwrap();
        fs::write(folder.path().join("verity.raw"), tree).unwrap();
        fs::write(folder.path().join("entry.efi"), format!("roothash={roothash}")).unwrap();
        let path = |name: &str| PackPath::parse(name).unwrap();
        let facts = Facts {
            image_version: ImageVersion::parse(version).unwrap(),
            security_version: SecurityVersion::new(security_version).unwrap(),
            architecture: Architecture::ours().unwrap(),
            roothash,
            files: vec![
                (FileRole::Root, path("root.raw")),
                (FileRole::Verity, path("verity.raw")),
                (FileRole::Uki, path("entry.efi")),
            ],
            site_keys: Vec::new(),
        };
        build(fs::File::open(folder.path()).unwrap().as_fd(), &facts, &self.key).unwrap();
        folder
    }

    fn check(&self, stick: &Path) -> Result<UpdateOffer, Fault> {
        let folder = fs::File::open(stick).unwrap();
        match self.machine.ask_with(&Request::CheckUpdate, &[folder.as_fd()]) {
            Reply::UpdateOffer(offer) => Ok(*offer),
            Reply::Refused(fault) => Err(fault),
            other => panic!("{other:?}"),
        }
    }

    /// With codes of this moment, or after the box was made to forget the used ones.
    fn apply(&mut self, stick: &Path, role: Role) -> Result<UpdateOffer, Fault> {
        let folder = fs::File::open(stick).unwrap();
        loop {
            for step in now_step()..=now_step() + 1 {
                let request = Request::ApplyUpdate {
                    proofs: vec![proof(role, step)],
                };
                match self.machine.ask_with(&request, &[folder.as_fd()]) {
                    Reply::UpdateWritten { offer, .. } => return Ok(*offer),
                    Reply::Refused(fault) if fault.code == "auth.code.replayed" => {}
                    Reply::Refused(fault) => return Err(fault),
                    other => panic!("{other:?}"),
                }
            }
            self.machine.kill();
            self.machine.forget_used_codes();
            self.machine.start();
        }
    }

    fn state(&self) -> UpdateState {
        match self.machine.ask(&Request::UpdateState) {
            Reply::UpdateState(state) => *state,
            other => panic!("{other:?}"),
        }
    }

    fn leaves(&self, name: &str) -> Vec<Leaf> {
        let leaves = self.machine.leaves().into_iter();
        leaves.filter(|leaf| leaf.draft.event.name() == name).collect()
    }

    fn last(&self, name: &str) -> (Outcome, String, String) {
        let leaf = self.leaves(name).pop().unwrap();
        (leaf.draft.outcome, leaf.draft.why, leaf.draft.actor)
    }

    /// The whole machine starts again, not the supervisor alone.
    fn restart_machine(&mut self) {
        self.machine.kill();
        let path = self.machine.state().join("trust/update.json");
        if let Ok(text) = fs::read_to_string(&path) {
            let mut record: serde_json::Value = serde_json::from_str(&text).unwrap();
            record["boot"] = "an earlier start".into();
            fs::write(&path, record.to_string()).unwrap();
        }
        let _ = fs::remove_file(self.root.join("run/jingui/healthy"));
        self.machine.start();
    }

    fn wait_for(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < deadline, "never: {what}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A hash tree whose superblock and topmost block are consistent, and its root hash.
fn tree() -> (Vec<u8>, Sha256) {
    let mut tree = vec![0; 8192];
    tree[..8].copy_from_slice(b"verity\0\0");
    tree[8] = 1;
    tree[12] = 1;
    tree[32..38].copy_from_slice(b"sha256");
    tree[64..68].copy_from_slice(&4096_u32.to_le_bytes());
    tree[68..72].copy_from_slice(&4096_u32.to_le_bytes());
    tree[72] = 2;
    let roothash = Sha256::of(&tree[4096..]);
    (tree, roothash)
}

#[test]
fn a_bundle_is_checked_without_a_proof_and_without_a_trace_but_its_leaf() {
    let appliance = Appliance::set_up();
    let stick = appliance.stick("2", 5);
    let offer = appliance.check(stick.path()).unwrap();
    assert_eq!(
        (
            offer.running.as_str(),
            offer.version.as_str(),
            offer.security_version
        ),
        ("1", "2", 5)
    );
    let (outcome, _, actor) = appliance.last("update.check");
    assert_eq!((outcome, actor.as_str()), (Outcome::Ok, ""));
    assert_eq!(appliance.state().phase, UpdatePhase::None);
    assert!(!appliance.installer_file("saw").exists());
    fs::write(stick.path().join("root.raw"), vec![8; 8192]).unwrap();
    assert_eq!(
        appliance.check(stick.path()).unwrap_err().code,
        "update.file.altered"
    );
    let (outcome, why, _) = appliance.last("update.check");
    assert_eq!((outcome, why.as_str()), (Outcome::Deny, "update.file.altered"));
    appliance.machine.verify_log();
}

#[test]
fn a_system_admin_applies_what_fits_and_nobody_anything_else() {
    let mut appliance = Appliance::set_up();
    let stick = appliance.stick("2", 5);
    let wrong = appliance.apply(stick.path(), Role::Audit).unwrap_err();
    assert_eq!(wrong.code, "auth.role.missing");
    assert_eq!(appliance.last("update.apply").0, Outcome::Deny);
    for (version, security_version, code) in [
        ("2", 3, "update.version.rolled-back"),
        ("1", 4, "update.version.not-newer"),
        ("0.9", 9, "update.version.not-newer"),
    ] {
        let bad = appliance.stick(version, security_version);
        assert_eq!(appliance.apply(bad.path(), Role::System).unwrap_err().code, code);
        let (outcome, why, _) = appliance.last("update.apply");
        assert_eq!((outcome, why.as_str()), (Outcome::Deny, code));
    }
    assert!(!appliance.installer_file("saw").exists(), "nothing was written");
    let offer = appliance.apply(stick.path(), Role::System).unwrap();
    assert_eq!(offer.version, "2");
    let (outcome, _, actor) = appliance.last("update.apply");
    assert!(outcome == Outcome::Ok && !actor.is_empty());
    let saw = fs::read_to_string(appliance.installer_file("saw")).unwrap();
    let saw: Vec<&str> = saw.lines().collect();
    assert_eq!(
        saw,
        [
            "entry.efi",
            "manifest.json",
            "manifest.sig",
            "root.raw",
            "verity.raw"
        ]
    );
    let incoming = appliance.machine.state().join("update/incoming");
    assert_eq!(
        fs::read_dir(incoming).unwrap().count(),
        0,
        "the private copy is gone"
    );
    let state = appliance.state();
    assert_eq!(
        (state.phase, state.version.as_deref()),
        (UpdatePhase::Written, Some("2"))
    );
    // The supervisor alone starts again: nothing was tried yet.
    appliance.machine.kill();
    appliance.machine.start();
    assert_eq!(appliance.state().phase, UpdatePhase::Written);
    assert!(appliance.leaves("update.fall-back").is_empty());
    appliance.machine.verify_log();
}

#[test]
fn a_slot_that_could_not_be_written_is_said_and_recorded() {
    let mut appliance = Appliance::set_up();
    let stick = appliance.stick("2", 5);
    let refused = "{\"refused\":{\"code\":\"install.esp.full\",\"facts\":[]}}\n";
    for (says, code) in [(refused, "install.esp.full"), ("", "update.writer.ended")] {
        appliance.installer("write-slot", says);
        assert_eq!(
            appliance.apply(stick.path(), Role::System).unwrap_err().code,
            code
        );
        let (outcome, why, _) = appliance.last("update.apply");
        assert_eq!((outcome, why.as_str()), (Outcome::Error, code));
        assert_eq!(appliance.state().phase, UpdatePhase::None);
    }
    appliance.restart_machine();
    assert!(
        appliance.leaves("update.fall-back").is_empty(),
        "it never left the old image"
    );
}

#[test]
fn an_image_on_trial_is_blessed_when_its_entry_is_not_counted_any_more() {
    let mut appliance = Appliance::set_up();
    let stick = appliance.stick("2", 5);
    appliance.apply(stick.path(), Role::System).unwrap();
    appliance.installer(
        "entries",
        "{\"entries\":[{\"version\":\"2\",\"tries_left\":2}]}\n",
    );
    appliance.runs("2", 5);
    appliance.restart_machine();
    assert_eq!(appliance.state().phase, UpdatePhase::OnTrial);
    appliance.wait_for("the box says that it is healthy", |it| {
        it.root.join("run/jingui/healthy").exists()
    });
    assert!(
        appliance.leaves("update.bless").is_empty(),
        "healthy is not blessed yet"
    );
    appliance.installer(
        "entries",
        "{\"entries\":[{\"version\":\"2\",\"tries_left\":null}]}\n",
    );
    appliance.wait_for("it is blessed", |it| it.state().phase == UpdatePhase::Blessed);
    let state = appliance.state();
    assert_eq!((state.running.as_str(), state.floor), ("2", 5));
    let blessed = appliance.leaves("update.bless");
    assert!(matches!(
        &blessed[0].draft.event,
        Event::UpdateBless {
            security_version: 5,
            ..
        }
    ));
    appliance.restart_machine();
    assert_eq!(appliance.leaves("update.bless").len(), 1, "once");
    let old = appliance.stick("3", 4);
    assert_eq!(
        appliance.check(old.path()).unwrap_err().code,
        "update.version.rolled-back"
    );
}

#[test]
fn an_image_that_fell_back_is_a_leaf_and_a_reason_until_the_next_one() {
    let mut appliance = Appliance::set_up();
    let stick = appliance.stick("2", 5);
    appliance.apply(stick.path(), Role::System).unwrap();
    // Whatever was tried, version 1 runs.
    appliance.restart_machine();
    let state = appliance.state();
    assert_eq!((state.phase, state.floor), (UpdatePhase::FellBack, 4));
    let status = appliance.machine.status().unwrap();
    assert!(
        status.reasons.contains(&"update.fell-back".to_owned()),
        "{:?}",
        status.reasons
    );
    let (outcome, why, _) = appliance.last("update.fall-back");
    assert_eq!((outcome, why.as_str()), (Outcome::Error, "update.fell-back"));
    appliance.restart_machine();
    assert_eq!(appliance.leaves("update.fall-back").len(), 1, "told once");
    let next = appliance.stick("3", 5);
    appliance.apply(next.path(), Role::System).unwrap();
    let status = appliance.machine.status().unwrap();
    assert!(!status.reasons.contains(&"update.fell-back".to_owned()));
}

#[test]
fn one_update_at_a_time_and_the_box_serves_meanwhile() {
    let mut appliance = Appliance::set_up();
    let stick = appliance.stick("2", 5);
    fs::write(appliance.installer_file("waits"), "").unwrap();
    let mut channel = appliance.machine.connect().unwrap();
    let folder = fs::File::open(stick.path()).unwrap();
    let request = Request::ApplyUpdate {
        proofs: vec![proof(Role::System, now_step() + 1)],
    };
    channel.send_with(&request, &[folder.as_fd()]).unwrap();
    appliance.wait_for("it is being written", |it| {
        it.state().phase == UpdatePhase::Writing
    });
    assert_eq!(appliance.check(stick.path()).unwrap_err().code, "update.busy");
    assert!(appliance.machine.status().is_some());
    fs::remove_file(appliance.installer_file("waits")).unwrap();
    appliance.wait_for("it is written", |it| it.state().phase == UpdatePhase::Written);
    // A crash while it is written: what was copied goes, and nothing fell back.
    fs::write(appliance.installer_file("waits"), "").unwrap();
    let next = appliance.stick("3", 5);
    let folder = fs::File::open(next.path()).unwrap();
    appliance.machine.kill();
    appliance.machine.forget_used_codes();
    appliance.machine.start();
    let mut channel = appliance.machine.connect().unwrap();
    let request = Request::ApplyUpdate {
        proofs: vec![proof(Role::System, now_step())],
    };
    channel.send_with(&request, &[folder.as_fd()]).unwrap();
    appliance.wait_for("it is being written", |it| {
        it.state().phase == UpdatePhase::Writing
    });
    appliance.machine.kill();
    fs::remove_file(appliance.installer_file("waits")).unwrap();
    appliance.machine.start();
    assert_eq!(appliance.state().phase, UpdatePhase::None);
    let incoming = appliance.machine.state().join("update/incoming");
    assert_eq!(fs::read_dir(incoming).unwrap().count(), 0);
}

#[test]
fn a_developer_machine_takes_no_update() {
    let machine = Machine::set_up();
    let folder = tempfile::tempdir().unwrap();
    let folder = fs::File::open(folder.path()).unwrap();
    match machine.ask_with(&Request::CheckUpdate, &[folder.as_fd()]) {
        Reply::Refused(fault) => assert_eq!(fault.code, "update.image.none"),
        other => panic!("{other:?}"),
    }
}
