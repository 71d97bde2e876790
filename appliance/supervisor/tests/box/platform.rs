//! The box on its platform, through its doors: what came with it, the recovery key, stops that were none, an image
//! without its state, weights that are damaged under a running engine.

use std::fs;
use std::process::{Command, Stdio};

use jingui_audit::event::Event;
use jingui_ipc::control::{Reply, Request};
use jingui_ipc::status::Health;

use super::machine::{Machine, events};

#[test]
fn packages_of_the_box_are_taken_in_after_the_ceremony_and_never_twice() {
    let mut machine = Machine::new();
    let good = machine.package("good", |_| ());
    let factory = good.parent().unwrap().to_owned();
    // Outside of the store, so it stays; and one that nobody signed.
    let bad = factory.join("unsigned");
    fs::create_dir(&bad).unwrap();
    fs::copy(good.join("release.json"), bad.join("release.json")).unwrap();
    machine.arguments = vec!["--factory".to_owned(), factory.display().to_string()];
    machine.start();
    assert!(
        machine.status().unwrap().serving.is_none(),
        "nobody has set it up yet"
    );
    machine.hold_ceremony();
    machine.answer_golden("right");
    let status = machine.wait_until("the model of the box serves, the bad one is named", |status| {
        status.serving.is_some() && status.reasons.contains(&"model.signature.missing".to_owned())
    });
    assert_eq!(status.health, Health::Degraded);
    let detail = status
        .details
        .iter()
        .find(|it| it.code == "model.signature.missing")
        .unwrap();
    assert!(
        detail
            .facts
            .contains(&("package".to_owned(), "unsigned".to_owned())),
        "{detail:?}"
    );
    let imports = |machine: &Machine| {
        let leaves = machine.leaves();
        let verified = leaves.iter().filter(
            |leaf| matches!(&leaf.draft.event, Event::ModelVerify { approvers, .. } if approvers.is_empty()),
        );
        verified
            .map(|leaf| (leaf.draft.actor.clone(), leaf.draft.why.clone()))
            .collect::<Vec<_>>()
    };
    let first = imports(&machine);
    assert!(
        first.contains(&("supervisor".to_owned(), String::new())),
        "{first:?}"
    );
    assert!(
        first.contains(&("supervisor".to_owned(), "model.signature.missing".to_owned())),
        "{first:?}"
    );
    assert!(good.exists(), "it does not lie in the store");
    machine.kill();
    machine.start();
    machine.wait_until("it serves again", |status| {
        status.serving.is_some() && status.reasons.contains(&"model.signature.missing".to_owned())
    });
    let imported = |list: &[(String, String)]| list.iter().filter(|(_, why)| why.is_empty()).count();
    // One more verification for the start of the engine, and no other import.
    assert_eq!(imported(&imports(&machine)), imported(&first) + 1);
}

#[test]
fn the_recovery_key_is_shown_by_the_ceremony_once_and_kept_nowhere() {
    let mut machine = Machine::new();
    let root = machine.folder.path().join("root");
    let key = root.join("run/jingui/recovery-key");
    fs::create_dir_all(key.parent().unwrap()).unwrap();
    fs::write(&key, "cbdefghi-jklnrtuv").unwrap();
    machine.arguments = vec!["--root".to_owned(), root.display().to_string()];
    machine.start();
    let Reply::SetUpDone(done) = machine.ask(&Request::SetUp(machine.ceremony())) else {
        panic!("a ceremony");
    };
    assert_eq!(done.recovery_key.unwrap().0, "cbdefghi-jklnrtuv");
    assert!(!key.exists(), "nobody keeps it");
    let log = format!("{:?}", machine.leaves());
    assert!(!log.contains("cbdefghi"), "and the log never had it");
}

#[test]
fn a_start_after_a_pulled_plug_says_so() {
    let mut machine = Machine::new();
    machine.start();
    machine.kill();
    machine.start();
    let Reply::Done { .. } = machine.ask(&Request::ShutDown) else {
        panic!("stops in order");
    };
    machine.wait_for_end();
    machine.start();
    let unclean: Vec<_> = machine
        .leaves()
        .iter()
        .filter_map(|leaf| match &leaf.draft.event {
            Event::Boot { unclean, .. } => Some(*unclean),
            _ => None,
        })
        .collect();
    assert_eq!(unclean, [Some(false), Some(true), Some(false)]);
    assert_eq!(events(&machine.leaves())[0].0, "genesis");
}

#[test]
fn the_image_does_not_serve_from_a_state_that_is_not_the_encrypted_one() {
    let machine = Machine::new();
    let root = machine.folder.path().join("root");
    fs::create_dir_all(root.join("proc/self")).unwrap();
    fs::write(
        root.join("proc/self/mountinfo"),
        "26 1 253:0 / / ro - erofs /dev/mapper/root ro\n",
    )
    .unwrap();
    let output = Command::new(machine.folder.path().join("bin/jingui-supervisor"))
        .args(["--image", "--port", "0", "--root"])
        .arg(&root)
        .arg("--state")
        .arg(machine.state())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("platform.state.not-mounted"), "{words}");
    assert!(!machine.state().join("port").exists(), "it never listened");
}

#[test]
fn a_developers_machine_promises_nothing_of_the_platform() {
    let machine = Machine::set_up();
    let status = machine.status().unwrap();
    assert!(status.is_developer_mode && status.platform.is_empty());
    let platform = status.guarantees.iter().filter(|it| it.group == "platform");
    assert!(platform.clone().count() > 0 && platform.clone().all(|it| !it.in_force && it.why.is_some()));
}
