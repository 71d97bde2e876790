use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;

use jingui_ipc::update::UpdatePhase::{
    Blessed, FellBack, None as Never, OnTrial, Writing, Written as Waiting,
};
use jingui_trust::image_key::ImageKey;

use super::*;

fn version(text: &str) -> ImageVersion {
    ImageVersion::parse(text).unwrap()
}

fn record(phase: UpdatePhase) -> Record {
    Record {
        version: version("2"),
        security_version: SecurityVersion::new(3).unwrap(),
        roothash: Sha256::of(b"root"),
        from: version("1"),
        boot: "this start".to_owned(),
        phase,
    }
}

#[test]
fn what_became_of_an_update_is_judged_by_what_runs_and_since_when() {
    for (phase, running, boot, judged) in [
        (Waiting, "1", "this start", Waiting),
        (Waiting, "1", "the next", FellBack),
        (Waiting, "2", "the next", OnTrial),
        (OnTrial, "2", "the next", OnTrial),
        (OnTrial, "1", "the next", FellBack),
        (Blessed, "2", "the next", Blessed),
        (Blessed, "1", "the next", FellBack),
        (FellBack, "1", "the next", FellBack),
        // A crash between the boot entry and the note of it.
        (Writing, "2", "the next", OnTrial),
        // A crash before the boot entry: the old image never left.
        (Writing, "1", "this start", Never),
        (Writing, "1", "the next", Never),
        // Somebody installed another one from a stick.
        (Waiting, "9", "the next", Never),
        (Blessed, "9", "the next", Never),
        (Never, "1", "the next", Never),
    ] {
        let found = record(phase).judge(&version(running), boot);
        assert_eq!(found, judged, "{phase:?}, {running} runs in {boot}");
    }
}

#[test]
fn a_record_outlives_the_supervisor_and_a_torn_one_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("update.json");
    assert_eq!(Record::read(&path).unwrap(), None);
    record(Waiting).write(&path).unwrap();
    assert_eq!(Record::read(&path).unwrap(), Some(record(Waiting)));
    fs::write(&path, "{\"version\":\"2\"").unwrap();
    assert_eq!(Record::read(&path).unwrap(), None);
}

#[test]
fn the_floor_is_the_higher_of_what_runs_and_what_the_machine_remembers() {
    let root = tempfile::tempdir().unwrap();
    let state = tempfile::tempdir().unwrap();
    let places = Places::below(root.path());
    let open = || Updates::open(Some(&places), state.path(), &state.path().join("update")).unwrap();
    assert!(open().machine().is_none(), "no image, no update");
    fs::create_dir_all(places.system()).unwrap();
    let release = r#"{"product":"jingui","image_version":"1.2","security_version":4,"profile":"development","source":""}"#;
    fs::write(places.system().join("release.json"), release).unwrap();
    let mut updates = open();
    assert_eq!(updates.floor().get(), 4);
    updates.floor = 9;
    assert_eq!(updates.machine().unwrap().floor.get(), 9);
    updates.floor = 2;
    assert_eq!(updates.machine().unwrap().floor.get(), 4);
    assert_eq!(updates.machine().unwrap().running, Some(version("1.2")));
    // On a developer's machine whatever lies there is somebody else's.
    let developer = Updates::open(None, state.path(), &state.path().join("update")).unwrap();
    assert!(developer.machine().is_none());
}

#[test]
fn what_an_interrupted_update_left_behind_goes_at_the_next_start() {
    let state = tempfile::tempdir().unwrap();
    let updates = state.path().join("update");
    fs::create_dir_all(updates.join("incoming/0123")).unwrap();
    fs::write(updates.join("incoming/0123/root.raw"), b"half").unwrap();
    Updates::open(None, state.path(), &updates).unwrap();
    assert_eq!(fs::read_dir(updates.join("incoming")).unwrap().count(), 0);
}

/// A program that says these lines and ends so.
fn program(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("jingui-installer");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn code(script: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    match child::entries(&program(folder.path(), script)) {
        Ok(entries) => format!(
            "{} {}",
            entries.is_good(&version("1")),
            entries.is_good(&version("2"))
        ),
        Err(failure) => failure.code(),
    }
}

#[test]
fn what_the_child_says_is_believed_only_in_its_own_words() {
    let good = r#"echo '{"entries":[{"version":"1","tries_left":null},{"version":"2","tries_left":2}]}'"#;
    assert_eq!(code(good), "true false");
    assert_eq!(code("echo hello"), "update.writer.ended");
    assert_eq!(code("exit 0"), "update.writer.ended");
    assert_eq!(code(&format!("{good}; exit 3")), "update.writer.ended");
    let refused = r#"echo '{"refused":{"code":"install.esp.unusable","facts":[["cause","x"]]}}'; exit 4"#;
    assert_eq!(code(refused), "install.esp.unusable");
    assert_eq!(
        code(r#"echo '{"entries":[{"version":"../1","tries_left":null}]}'"#),
        "update.writer.ended"
    );
    let absent = child::entries(Path::new("/nowhere/jingui-installer")).unwrap_err();
    assert_eq!(absent.code(), "update.writer.not-started");
}

#[test]
fn a_child_that_does_not_end_is_killed_at_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(program(folder.path(), "exec sleep 600"));
    command.stdin(std::process::Stdio::null());
    let began = std::time::Instant::now();
    let late = child::run(command, std::time::Duration::from_millis(50), |_| Ok(())).unwrap_err();
    assert_eq!(late.code(), "update.writer.late");
    assert!(began.elapsed() < std::time::Duration::from_secs(60));
}

#[test]
fn a_bundle_of_a_stranger_is_refused_before_anything_is_copied() {
    let (stick, keys, incoming) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    let (key, _) = ImageKey::generate().unwrap();
    fs::write(keys.path().join("image.pem"), key.public_key().unwrap().to_pem()).unwrap();
    fs::write(stick.path().join("manifest.json"), b"{}").unwrap();
    fs::write(stick.path().join("manifest.sig"), [0; 64]).unwrap();
    let staging = |keys: &Path| Staging {
        folder: fs::File::open(stick.path()).unwrap().into(),
        machine: Machine {
            architecture: Architecture::X8664,
            running: None,
            floor: SecurityVersion::default(),
        },
        keys: keys.to_owned(),
        incoming: incoming.path().to_owned(),
    };
    let (events, _inbox) = sync_channel(8);
    let refused = staging(keys.path()).copy(ActId(1), &events).unwrap_err();
    assert_eq!(refused.code(), "update.signature.wrong");
    assert_eq!(fs::read_dir(incoming.path()).unwrap().count(), 0);
    let no_keys = staging(&stick.path().join("none"))
        .copy(ActId(1), &events)
        .unwrap_err();
    assert_eq!(no_keys.code(), "update.keys.unreadable");
    fs::write(keys.path().join("bad.pem"), "no key").unwrap();
    let bad_keys = staging(keys.path()).copy(ActId(1), &events).unwrap_err();
    assert_eq!(bad_keys.code(), "update.keys.unreadable");
}
