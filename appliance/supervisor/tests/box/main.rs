//! The supervisor through its doors: ceremony, proofs, imports, deaths, a log that cannot be written, an orderly end.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

mod machine;
mod platform;
mod screen;
mod switch;
mod update;

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;
use std::time::Duration;

use jingui_ipc::control::{FaultKind, Private, Reply, Request, Role};
use jingui_ipc::gateway::Ask;
use jingui_ipc::status::Health;
use jingui_trust::vendor_key::VendorKey;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use machine::{Machine, PASSWORD, events, is_well, now_step, phase, proof};

/// Where a GGUF file says how many tensors it has: after magic and version.
const TENSOR_COUNT_OFFSET: usize = 8;
const ADMINS: [Role; 2] = [Role::System, Role::Security];

#[test]
fn the_ceremony_makes_three_admins_a_user_and_a_key_and_each_is_a_leaf() {
    let mut machine = Machine::new();
    machine.start();
    assert!(!machine.status().unwrap().is_set_up);
    let mut wrong = machine.ceremony();
    wrong.setup_code = Private("AAAA-BBBB-CCCC-DDDD".to_owned());
    assert_eq!(
        machine.refused(&Request::SetUp(wrong)).code,
        "auth.setup.code-wrong"
    );
    let mut two = machine.ceremony();
    two.accounts.pop();
    assert_eq!(machine.refused(&Request::SetUp(two)).code, "auth.setup.roles");

    let again = machine.ceremony();
    machine.hold_ceremony();
    assert!(machine.status().unwrap().is_set_up);
    assert!(!machine.state().join("setup-code").exists());
    assert_eq!(machine.refused(&Request::SetUp(again)).code, "auth.setup.done");

    let names: Vec<String> = events(&machine.leaves())
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names[..3], ["genesis", "boot", "auth.fail"]);
    assert_eq!(names[3], "setup");
    assert_eq!(names.iter().filter(|name| *name == "account.create").count(), 4);
    assert_eq!(names.iter().filter(|name| *name == "key.create").count(), 1);
    machine.verify_log();
}

#[test]
fn what_the_gateway_asks_is_checked_here_recorded_and_answered() {
    let mut machine = Machine::new();
    machine.start();
    let source = "192.168.7.9".to_owned();
    let mut set_up = machine.ceremony();
    set_up.setup_code = Private("AAAA-BBBB-CCCC-DDDD".to_owned());
    let wrong = machine.ask_through_gateway(&Ask::SetUp {
        set_up,
        source: source.clone(),
    });
    assert!(wrong.contains("auth.setup.code-wrong"), "{wrong}");
    let done = machine.ask_through_gateway(&Ask::SetUp {
        set_up: machine.ceremony(),
        source: source.clone(),
    });
    assert!(
        done.contains("SetUpDone") && !done.contains("k-1.secret"),
        "{done}"
    );

    let log_in = |proof| {
        machine.ask_through_gateway(&Ask::Authenticate {
            proof,
            source: source.clone(),
        })
    };
    let step = now_step();
    let person = log_in(proof(Role::Audit, step));
    assert!(
        person.contains("Person") && person.contains("role: Audit"),
        "{person}"
    );
    let replayed = log_in(proof(Role::Audit, step));
    assert!(replayed.contains("auth.code.replayed"), "{replayed}");
    let mut stranger = proof(Role::Audit, step);
    stranger.username = "Correct-Horse-8".to_owned();
    assert!(log_in(stranger).contains("auth.proof.wrong"));
    let long = Ask::Authenticate {
        proof: proof(Role::Audit, step),
        source: "x".repeat(257),
    };
    assert!(
        machine
            .ask_through_gateway(&long)
            .contains("system.record.malformed")
    );
    assert!(machine.ask_through_gateway(&Ask::Status).contains("Status"));
    assert!(machine.ask_through_gateway(&Ask::Models).contains("Models([])"));

    let leaves = machine.leaves();
    let login = leaves
        .iter()
        .find(|leaf| leaf.draft.event.name() == "auth.login")
        .unwrap();
    assert_eq!(
        (login.draft.actor.as_str(), login.draft.source.as_str()),
        ("a-0003", "192.168.7.9")
    );
    assert!(
        person.contains(&login.draft.session),
        "the session of the leaf is the session of the answer"
    );
    let all: String = leaves
        .iter()
        .map(|leaf| String::from_utf8(leaf.to_bytes()).unwrap())
        .collect();
    assert!(
        !all.contains("Correct-Horse"),
        "what was typed as a name may be a password, and is in no leaf"
    );
    machine.verify_log();
}

#[test]
fn wrong_proofs_are_refused_recorded_and_lock_the_account() {
    let machine = Machine::set_up();
    let step = now_step();
    let create = |proof| Request::CreateKey {
        proof,
        label: "reports".to_owned(),
    };
    match machine.ask(&create(proof(Role::Security, step))) {
        Reply::Key { key, .. } => assert_eq!(key.0, "k-1.secret"),
        other => panic!("{other:?}"),
    }
    let replayed = machine.refused(&create(proof(Role::Security, step)));
    assert_eq!(
        (replayed.kind, replayed.code.as_str()),
        (FaultKind::NotAllowed, "auth.code.replayed")
    );
    let other_role = machine.refused(&create(proof(Role::System, step)));
    assert_eq!(
        (other_role.kind, other_role.code.as_str()),
        (FaultKind::NotAllowed, "auth.role.missing")
    );

    let wrong = || {
        let mut wrong = proof(Role::Audit, now_step());
        wrong.password = Private(format!("{PASSWORD}x"));
        machine.refused(&Request::ExportAudit { proof: wrong }).code
    };
    for _ in 0..5 {
        assert_eq!(wrong(), "auth.proof.wrong");
    }
    assert_eq!(wrong(), "auth.account.locked");
    let right = machine.refused(&Request::ExportAudit {
        proof: proof(Role::Audit, now_step()),
    });
    assert_eq!(right.code, "auth.account.locked");

    let seen = events(&machine.leaves());
    let count = |event: &str, why: &str| seen.iter().filter(|(e, w)| e == event && w == why).count();
    assert_eq!(count("auth.fail", "auth.proof.wrong"), 5);
    assert_eq!(count("auth.fail", "auth.code.replayed"), 1);
    assert_eq!(count("auth.fail", "auth.account.locked"), 2);
    assert_eq!(count("auth.lock", ""), 1);
    assert_eq!(
        count("key.create", "auth.role.missing"),
        1,
        "a denied act is a leaf of that act"
    );
    machine.verify_log();
}

#[test]
fn a_good_package_is_imported_by_two_people_served_and_survives_a_restart() {
    let mut machine = Machine::set_up();
    let package = machine.package("good", |_| ());
    let step = now_step();
    for roles in [&[Role::System][..], &[Role::Security]] {
        match machine.import(&package, step, roles) {
            Reply::Refused(fault) => assert_eq!(fault.code, "auth.role.missing"),
            other => panic!("one person must not import alone: {other:?}"),
        }
    }
    let model = match machine.import_patiently(&package) {
        Reply::Imported { model, .. } => model,
        other => panic!("{other:?}"),
    };
    let status = machine.wait_until("the model is served", is_well);
    assert_eq!(
        status.serving.as_ref().unwrap().package_digest,
        model.package_digest
    );
    assert!(
        machine
            .heard()
            .contains(&format!("engine {}", model.package_digest))
    );
    assert_eq!(files(&machine.state().join("models/incoming")), 0);

    machine.kill();
    machine.start();
    machine.wait_until("the model is served again", is_well);
    let leaves = machine.leaves();
    let loads = leaves
        .iter()
        .filter(|leaf| leaf.draft.event.name() == "model.load")
        .count();
    assert_eq!(loads, 2);
    let verified = leaves
        .iter()
        .find(|leaf| leaf.draft.event.name() == "model.verify" && leaf.draft.why.is_empty());
    let text = String::from_utf8(verified.unwrap().to_bytes()).unwrap();
    assert!(text.contains(r#""approvers":["a-0001","a-0002"]"#), "{text}");
    machine.verify_log();
}

type Spoil = fn(&Path);

/// What is done to a signed package, and the refusal it must meet.
const SPOILED: &[(&str, Spoil)] = &[
    ("model.file.altered", |it| {
        flip_last_byte(&it.join("glm4-canary-f16.gguf"))
    }),
    ("model.file.extra", |it| fs::write(it.join("EXTRA"), "x").unwrap()),
    ("model.file.missing", |it| {
        fs::remove_file(it.join("LICENSE")).unwrap()
    }),
    ("model.entry.symlink", |it| {
        fs::remove_file(it.join("LICENSE")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", it.join("LICENSE")).unwrap();
    }),
    ("model.name.case-twins", |it| {
        fs::write(it.join("license"), "x").unwrap()
    }),
    ("model.name.not-allowed", |it| {
        fs::write(it.join("a\\b"), "x").unwrap()
    }),
    ("model.signature.missing", |it| {
        fs::remove_file(it.join("model.sig")).unwrap()
    }),
    ("model.signature.malformed", |it| {
        fs::write(it.join("model.sig"), "{}").unwrap()
    }),
    ("model.signature.unknown-key", |it| {
        let (other, _) = VendorKey::generate().unwrap();
        let folder = fs::File::open(it).unwrap();
        jingui_pack::sign(folder.as_fd(), &other, &mut |_, _| ()).unwrap();
    }),
];

#[test]
fn every_bad_package_is_refused_by_its_name_with_a_leaf_and_nothing_stays() {
    let mut machine = Machine::set_up();
    let good = machine.package("good", |_| ());
    match machine.import_patiently(&good) {
        Reply::Imported { .. } => {}
        other => panic!("{other:?}"),
    }
    let is_newer = |it: &Path| edit_release(it, "\"security_version\": 1", "\"security_version\": 2");
    let newer = machine.package("newer", is_newer);
    match machine.import_patiently(&newer) {
        Reply::Imported { .. } => {}
        other => panic!("{other:?}"),
    }
    machine.wait_until("the newer one serves", is_well);
    let before = files(&machine.state().join("models"));
    let mut cases: Vec<(&str, std::path::PathBuf)> = vec![("model.version.rolled-back", good)];
    for (code, spoil) in SPOILED {
        let package = machine.package(code, is_newer);
        spoil(&package);
        cases.push((code, package));
    }
    let hostile = machine.package("hostile", is_newer);
    add_one_to_byte(&hostile.join("glm4-canary-f16.gguf"), TENSOR_COUNT_OFFSET);
    machine.sign_unchecked(&hostile);
    cases.push(("model.gguf.tensor-name", hostile));
    for (code, package) in cases {
        match machine.import_patiently(&package) {
            Reply::Refused(fault) => {
                assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::Refused, code))
            }
            other => panic!("{code}: {other:?}"),
        }
        let leaves = machine.leaves();
        let last = leaves
            .iter()
            .rfind(|leaf| leaf.draft.event.name() == "model.verify")
            .unwrap();
        assert_eq!(
            (last.draft.why.as_str(), last.draft.outcome.as_str()),
            (code, "deny")
        );
        assert_eq!(files(&machine.state().join("models/incoming")), 0, "{code}");
    }
    assert_eq!(files(&machine.state().join("models")), before);
    machine.verify_log();
}

#[test]
fn kill_9_during_an_import_leaves_nothing_half_imported() {
    let mut machine = Machine::set_up();
    // Long enough that every kill below can fall into the copy.
    let package = machine.package("large", |it| {
        fs::write(it.join("MODEL_CARD.md"), vec![b'x'; 96 << 20]).unwrap()
    });
    let mut acknowledged = false;
    for delay_ms in [0, 250, 400, 600, 900, 1_400, 2_200] {
        let mut channel = machine.connect().unwrap();
        let folder = fs::File::open(&package).unwrap();
        let step = now_step();
        let request = Request::Import {
            folder_name: "large".to_owned(),
            proofs: ADMINS.iter().map(|role| proof(*role, step)).collect(),
            activate: true,
        };
        channel.send_with(&request, &[folder.as_fd()]).unwrap();
        thread::sleep(Duration::from_millis(delay_ms));
        machine.kill();
        while let Ok(reply) = channel.receive::<Reply>() {
            acknowledged |= matches!(reply, Reply::Imported { .. });
        }
        machine.forget_used_codes();
        machine.start();
        machine.verify_log();
        assert_eq!(files(&machine.state().join("models/incoming")), 0);
        let Reply::Models(models) = machine.ask(&Request::Models) else {
            panic!("models")
        };
        let stored = folders_of_packages(&machine);
        assert_eq!(
            stored.len(),
            models.len(),
            "each package that lies in the store is listed, and no other"
        );
        assert!(
            !acknowledged || models.len() == 1,
            "what was acknowledged is there"
        );
        // A package that lies there is whole: the box itself verifies every byte before it serves.
        if !models.is_empty() {
            machine.wait_until("the package is whole", is_well);
        }
    }
}

#[test]
fn kill_9_under_a_flood_of_records_loses_no_acknowledged_leaf() {
    let mut machine = Machine::set_up();
    for _ in 0..4 {
        machine.behave("floods");
        machine.kill();
        fs::write(machine.state().join("gateway/heard"), "").unwrap();
        machine.start();
        thread::sleep(Duration::from_millis(700));
        machine.kill();
        let heard = machine.heard();
        let acknowledged: BTreeSet<u64> = heard.lines().filter_map(recorded_index).collect();
        assert!(
            acknowledged.len() > 10,
            "the flood was answered: {}",
            acknowledged.len()
        );
        machine.behave("good");
        machine.start();
        machine.verify_log();
        let leaves = machine.leaves();
        for index in acknowledged {
            let leaf = &leaves[usize::try_from(index).unwrap()];
            assert_eq!(
                leaf.draft.event.name(),
                "infer.request",
                "leaf {index} was acknowledged as such"
            );
        }
    }
}

#[test]
fn a_log_that_cannot_be_written_stops_acts_and_inference_and_comes_back_by_itself() {
    let mut machine = Machine::set_up();
    let package = machine.package("good", |_| ());
    assert!(matches!(
        machine.import_patiently(&package),
        Reply::Imported { .. }
    ));
    machine.wait_until("the model is served", is_well);
    let (audit, away) = (machine.state().join("audit"), machine.state().join("away"));
    fs::rename(&audit, &away).unwrap();
    fs::write(&audit, "").unwrap();
    let create = |step| Request::CreateKey {
        proof: proof(Role::Security, step),
        label: "reports".to_owned(),
    };
    let refused = machine.refused(&create(now_step()));
    assert_eq!(
        (refused.kind, refused.code.as_str()),
        (FaultKind::Unavailable, "audit.unwritable")
    );
    let status = machine.wait_until("health says so", |status| status.health == Health::Stopped);
    assert_eq!(status.reasons, ["audit.unwritable"]);
    assert!(!status.audit.is_writable);
    machine.wait_until_heard("gone audit.unwritable", 1);
    assert_eq!(machine.refused(&create(now_step() + 1)).code, "audit.unwritable");

    fs::remove_file(&audit).unwrap();
    fs::rename(&away, &audit).unwrap();
    let before = machine.heard_count("engine ");
    machine.wait_until("the log is back", is_well);
    machine.wait_until_heard("engine ", before + 1);
    machine.verify_log();
    assert!(
        events(&machine.leaves())
            .iter()
            .any(|(event, _)| event == "audit.recovered")
    );
}

#[test]
fn a_box_whose_log_cannot_be_written_at_the_start_comes_up_and_says_so() {
    let mut machine = Machine::set_up();
    machine.kill();
    let (audit, away) = (machine.state().join("audit"), machine.state().join("away"));
    // A folder without its checkpoint and tiles is no log; a file in the way of its folders cannot be written.
    fs::rename(&audit, &away).unwrap();
    fs::create_dir(&audit).unwrap();
    machine.start();
    let status = machine.wait_until("health says so", |status| status.health == Health::Stopped);
    assert_eq!(status.reasons, ["audit.missing"]);
    let create = Request::CreateKey {
        proof: proof(Role::Security, now_step()),
        label: "reports".to_owned(),
    };
    assert_eq!(machine.refused(&create).code, "audit.unwritable");
    fs::remove_dir(&audit).unwrap();
    fs::rename(&away, &audit).unwrap();
    machine.wait_until("the log is back", |status| status.audit.is_writable);
    machine.verify_log();
    let boots = events(&machine.leaves())
        .iter()
        .filter(|(event, _)| event == "boot")
        .count();
    assert_eq!(
        boots, 2,
        "the boot that could not be recorded then is recorded now"
    );
}

#[test]
fn an_older_log_that_is_put_back_is_not_continued() {
    let mut machine = Machine::set_up();
    machine.kill();
    let (audit, old) = (machine.state().join("audit"), machine.folder.path().join("old"));
    let copy = |from: &Path, to: &Path| {
        let status = std::process::Command::new("cp")
            .arg("-r")
            .arg(from)
            .arg(to)
            .status()
            .unwrap();
        assert!(status.success());
    };
    copy(&audit, &old);
    machine.start();
    machine.kill();
    fs::remove_dir_all(&audit).unwrap();
    copy(&old, &audit);
    machine.start();
    let status = machine.wait_until("health says so", |status| status.health == Health::Stopped);
    assert_eq!(status.reasons, ["audit.rolled-back"]);
    assert!(
        matches!(machine.ask(&Request::ShutDown), Reply::Refused(_)),
        "no leaf of the end can be written"
    );
    assert_eq!(machine.wait_for_end(), Some(0), "and it stops all the same");
    assert_eq!(
        fs::read(audit.join("checkpoint")).unwrap(),
        fs::read(old.join("checkpoint")).unwrap()
    );
}

#[test]
fn a_gateway_that_dies_hangs_or_babbles_is_started_again_and_recorded() {
    let mut machine = Machine::set_up();
    for (manner, why) in [
        ("dies", "gateway.crashed"),
        ("babbles", "gateway.broken-conversation"),
        ("silent", "gateway.hung"),
    ] {
        machine.behave(manner);
        kill_process(&machine, "gateway");
        machine.wait_until("it fails as told", |status| {
            status.reasons.iter().any(|reason| reason == why)
        });
        machine.behave("good");
        machine.wait_until("the gateway serves again", |status| {
            phase(status, "gateway") == "serving"
        });
        let seen = events(&machine.leaves());
        assert!(
            seen.contains(&("worker.restart".to_owned(), why.to_owned())),
            "{why}: {seen:?}"
        );
    }
    machine.kill();
    machine.start();
    machine.verify_log();
}

#[test]
fn an_engine_that_crashes_is_replaced_and_the_gateway_is_told() {
    let mut machine = Machine::set_up();
    let package = machine.package("good", |_| ());
    assert!(matches!(
        machine.import_patiently(&package),
        Reply::Imported { .. }
    ));
    let first = machine.wait_until("the model is served", is_well);
    kill_process(&machine, "engine");
    let pid = |status: &jingui_ipc::status::Status| status.processes[1].pid;
    machine.wait_until("another engine serves", |status| {
        is_well(status) && pid(status) != pid(&first)
    });
    machine.wait_until_heard("engine ", 2);
    machine.wait_until_heard("gone engine.crashed", 1);
    machine.wait_until_heard("promote ", 2);
    assert_eq!(
        machine.heard_count("golden "),
        1,
        "the same bytes are not asked again while people wait"
    );
    // A new gateway is introduced to the engine that runs.
    kill_process(&machine, "gateway");
    machine.wait_until_heard("engine ", 3);
    assert_eq!(
        pid(&machine.status().unwrap()),
        pid(&machine.wait_until("all is well", is_well))
    );
}

#[test]
fn an_engine_that_cannot_load_leaves_a_degraded_box_that_keeps_trying() {
    let mut machine = Machine::set_up();
    let behaviour = machine.folder.path().join("bin/engine-behaves");
    fs::write(&behaviour, "fails").unwrap();
    let package = machine.package("good", |_| ());
    assert!(matches!(
        machine.import_patiently(&package),
        Reply::Imported { .. }
    ));
    let status = machine.wait_until("three strikes", |status| status.health == Health::Degraded);
    assert_eq!(status.reasons, ["engine.load.refused"]);
    fs::remove_file(&behaviour).unwrap();
    machine.wait_until("it loads at last", is_well);
    let seen = events(&machine.leaves());
    assert!(
        seen.contains(&("model.load".to_owned(), "engine.load.refused".to_owned())),
        "{seen:?}"
    );
    assert!(
        seen.contains(&("model.load".to_owned(), String::new())),
        "{seen:?}"
    );
}

#[test]
fn a_package_that_was_changed_in_the_store_is_not_loaded() {
    let mut machine = Machine::set_up();
    let package = machine.package("good", |_| ());
    let Reply::Imported { model, .. } = machine.import_patiently(&package) else {
        panic!("not imported")
    };
    machine.wait_until("the model is served", is_well);
    machine.kill();
    let stored = machine.state().join("models").join(&model.package_digest);
    flip_last_byte(&stored.join("glm4-canary-f16.gguf"));
    machine.start();
    let status = machine.wait_until("it is refused", |status| status.health == Health::Degraded);
    assert_eq!(status.reasons, ["model.file.altered"]);
    assert!(status.serving.is_none());
    let Reply::Models(models) = machine.ask(&Request::Models) else {
        panic!("models")
    };
    assert_eq!(models[0].state, "failed");
    // Importing it again repairs it.
    assert!(matches!(
        machine.import_patiently(&package),
        Reply::Imported { .. }
    ));
    machine.wait_until("the model is served again", is_well);
}

#[test]
fn the_box_stops_in_order_and_leaves_no_process_and_no_socket() {
    for by_signal in [true, false] {
        let mut machine = Machine::set_up();
        let package = machine.package("good", |_| ());
        assert!(matches!(
            machine.import_patiently(&package),
            Reply::Imported { .. }
        ));
        let status = machine.wait_until("the model is served", is_well);
        let pids: Vec<u32> = status
            .processes
            .iter()
            .filter_map(|process| process.pid)
            .collect();
        assert_eq!(pids.len(), 2);
        if by_signal {
            kill(
                Pid::from_raw(i32::try_from(machine.pid()).unwrap()),
                Signal::SIGTERM,
            )
            .unwrap();
        } else {
            assert!(matches!(machine.ask(&Request::ShutDown), Reply::Done { .. }));
        }
        assert_eq!(machine.wait_for_end(), Some(0));
        assert!(!machine.state().join("control.sock").exists());
        for pid in pids {
            assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} is left");
        }
        assert!(machine.heard().contains("drain"));
        let leaves = machine.leaves();
        assert_eq!(leaves.last().unwrap().draft.event.name(), "shutdown");
        machine.verify_log();
    }
}

#[test]
fn kill_9_of_the_supervisor_takes_its_children_with_it() {
    let mut machine = Machine::set_up();
    let status = machine.status().unwrap();
    let gateway = status.processes[0].pid.unwrap();
    machine.kill();
    let gone = || !Path::new(&format!("/proc/{gateway}")).exists();
    let deadline = std::time::Instant::now() + machine::PATIENCE;
    while !gone() {
        assert!(
            std::time::Instant::now() < deadline,
            "the gateway outlives its supervisor"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn two_supervisors_do_not_share_a_folder_and_a_taken_port_is_said() {
    let machine = Machine::set_up();
    let program = machine.folder.path().join("bin/jingui-supervisor");
    let run = |state: &Path, port: &str| {
        let mut command = std::process::Command::new(&program);
        let output = command
            .arg("--state")
            .arg(state)
            .args(["--port", port])
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, words) = run(&machine.state(), "0");
    assert_eq!(code, Some(4));
    assert!(words.contains("system.state.in-use"), "{words}");
    let port = fs::read_to_string(machine.state().join("port")).unwrap();
    let (code, words) = run(&machine.folder.path().join("second"), port.trim());
    assert_eq!(code, Some(4));
    assert!(words.contains("system.address.taken"), "{words}");
}

fn kill_process(machine: &Machine, role: &str) {
    let status = machine.wait_until("it is there", |status| phase(status, role) == "serving");
    let pid = status
        .processes
        .iter()
        .find(|process| process.role == role)
        .unwrap()
        .pid
        .unwrap();
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

fn folders_of_packages(machine: &Machine) -> Vec<String> {
    let names = fs::read_dir(machine.state().join("models")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.len() == 64).collect()
}

fn add_one_to_byte(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] = bytes[offset].wrapping_add(1);
    fs::write(path, bytes).unwrap();
}

fn flip_last_byte(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
}

fn edit_release(package: &Path, from: &str, to: &str) {
    let path = package.join("release.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

/// Index of a line `answer Recorded { leaf_index: 7 }`; a line that the kill cut off has none.
fn recorded_index(line: &str) -> Option<u64> {
    line.strip_prefix("answer Recorded { leaf_index: ")?
        .strip_suffix(" }")?
        .parse()
        .ok()
}
