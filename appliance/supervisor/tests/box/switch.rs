//! From one model version to the next, and back when the next is wrong; the memory plan; the disk tier. With the real
//! supervisor, and small programs in place of gateway and engine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use jingui_ipc::control::{Reply, Request};
use jingui_ipc::status::{Health, Process, Status};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::machine::{Machine, PATIENCE, events, is_well};

fn engines(status: &Status) -> Vec<&Process> {
    status.processes.iter().filter(|it| it.role == "engine").collect()
}

fn active(machine: &Machine) -> String {
    let text = fs::read_to_string(machine.state().join("models/active")).unwrap();
    text.trim().to_owned()
}

fn serves(digest: &str) -> impl Fn(&Status) -> bool {
    move |status| {
        status
            .serving
            .as_ref()
            .is_some_and(|it| it.package_digest == digest)
    }
}

fn state_of(machine: &Machine, digest: &str) -> String {
    let Reply::Models(models) = machine.ask(&Request::Models) else {
        panic!("models")
    };
    models
        .into_iter()
        .find(|it| it.package_digest == digest)
        .unwrap()
        .state
}

fn wait(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A box that serves the first version.
fn serving() -> (Machine, String) {
    let mut machine = Machine::set_up();
    let first = machine.import_version(1).package_digest;
    machine.wait_until("the first version serves", is_well);
    (machine, first)
}

#[test]
fn a_new_version_is_tried_beside_the_old_one_which_drains_after_it_answers() {
    let mut machine = Machine::set_up();
    machine.behave_engine("lingers");
    let first = machine.import_version(1).package_digest;
    let before = machine.wait_until("the first version serves", is_well);
    let second = machine.import_version(2).package_digest;
    let status = machine.wait_until("the second version serves", serves(&second));
    assert_eq!(engines(&status).len(), 2, "the old one finishes what it has");
    assert!(
        engines(&status)
            .iter()
            .any(|it| it.pid == engines(&before)[0].pid)
    );
    assert_eq!(active(&machine), second);
    machine.wait_until_heard(&format!("promote {second}"), 1);
    let heard = machine.heard();
    let place = |line: &str| {
        heard
            .find(line)
            .unwrap_or_else(|| panic!("{line} was not heard: {heard}"))
    };
    let asked = heard.rfind("golden 10").unwrap();
    assert!(place(&format!("engine {second}")) < asked && asked < place(&format!("promote {second}")));
    assert!(
        !heard.contains("gone"),
        "nobody was told that a model is gone: {heard}"
    );

    fs::write(machine.folder.path().join("bin/may-end"), "").unwrap();
    let status = machine.wait_until("the old one has ended", |status| engines(status).len() == 1);
    assert_eq!(status.health, Health::Ok);
    machine.wait_until_heard(&format!("gone engine.ended {first}"), 1);
    let orders = machine.engines_heard();
    assert!(orders.contains(&"drain 600000".to_owned()), "{orders:?}");
    let names: Vec<String> = events(&machine.leaves())
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let loads = names.iter().filter(|name| *name == "model.load").count();
    let unloads = names.iter().filter(|name| *name == "model.unload").count();
    assert_eq!((loads, unloads), (2, 1));
    let cache: Vec<_> = fs::read_dir(machine.state().join("cache")).unwrap().collect();
    assert_eq!(cache.len(), 1, "the tier of the old one is removed");
    machine.kill();
    machine.start();
    machine.wait_until("the second version is the choice", serves(&second));
    machine.verify_log();
}

#[test]
fn a_version_that_answers_a_golden_prompt_wrongly_is_dropped_and_the_old_one_goes_on() {
    let (mut machine, first) = serving();
    let before = machine.status().unwrap();
    machine.answer_golden("wrong");
    let second = machine.import_version(2).package_digest;
    let status = machine.wait_until("it is found wrong", |status| status.health == Health::Degraded);
    assert_eq!(status.reasons, ["engine.golden.wrong"]);
    let facts = [
        ("index".to_owned(), "3".to_owned()),
        ("count".to_owned(), "10".to_owned()),
    ];
    assert_eq!(status.details[0].facts, facts);
    let status = machine.wait_until("it is gone", |status| engines(status).len() == 1);
    assert!(serves(&first)(&status));
    assert_eq!(
        engines(&status)[0].pid,
        engines(&before)[0].pid,
        "the old engine never stopped"
    );
    assert_eq!(active(&machine), first);
    assert_eq!(
        (state_of(&machine, &first), state_of(&machine, &second)),
        ("serving".into(), "failed".into())
    );
    assert!(!machine.heard().contains(&format!("promote {second}")));
    assert!(
        events(&machine.leaves()).contains(&("model.load".to_owned(), "engine.golden.wrong".to_owned())),
        "the failed load has its leaf"
    );
    machine.kill();
    machine.answer_golden("right");
    machine.start();
    machine.wait_until("the old one is served after a restart", serves(&first));
    machine.import_version(2);
    let status = machine.wait_until("the new one is tried again", serves(&second));
    assert!(status.reasons.is_empty(), "{:?}", status.reasons);
    machine.verify_log();
}

#[test]
fn the_only_model_does_not_serve_when_it_answers_wrongly_and_the_status_says_so() {
    let (mut machine, first) = serving();
    machine.kill();
    machine.answer_golden("wrong");
    machine.start();
    let status = machine.wait_until("it is found wrong", |status| status.health == Health::Degraded);
    assert_eq!(status.reasons, ["engine.golden.wrong"]);
    assert!(status.serving.is_none());
    let golden = status
        .guarantees
        .iter()
        .find(|it| it.name == "engine.golden-prompts")
        .unwrap();
    assert!(!golden.in_force);
    machine.wait_until("its engine ends", |status| engines(status)[0].pid.is_none());
    assert_eq!(state_of(&machine, &first), "failed");
    // Importing it again, on a machine that computes rightly now, repairs it.
    machine.answer_golden("right");
    machine.import_version(1);
    let status = machine.wait_until("it serves again", is_well);
    let golden = status
        .guarantees
        .iter()
        .find(|it| it.name == "engine.golden-prompts")
        .unwrap();
    assert!(golden.in_force);
}

#[test]
fn a_candidate_that_cannot_load_or_dies_leaves_the_old_one_serving() {
    for (manner, code) in [("fails", "engine.load.refused"), ("dies", "engine.crashed")] {
        let (mut machine, first) = serving();
        let pid = engines(&machine.status().unwrap())[0].pid;
        machine.behave_engine(manner);
        let second = machine.import_version(2).package_digest;
        let status = machine.wait_until(code, |status| {
            status.reasons == [code] && engines(status).len() == 1
        });
        assert!(serves(&first)(&status));
        assert_eq!(engines(&status)[0].pid, pid);
        assert_eq!(
            (active(&machine), state_of(&machine, &second)),
            (first, "failed".to_owned())
        );
        let seen = events(&machine.leaves());
        assert!(
            seen.contains(&("model.load".to_owned(), code.to_owned())),
            "{seen:?}"
        );
    }
}

#[test]
fn golden_prompts_that_a_gateway_did_not_finish_are_asked_again_of_the_next() {
    let mut machine = Machine::set_up();
    machine.answer_golden("never");
    machine.import_version(1);
    machine.wait_until_heard("golden 10", 1);
    let status = machine.status().unwrap();
    assert!(status.serving.is_none() && !machine.heard().contains("promote"));
    assert_eq!(engines(&status)[0].progress.as_ref().unwrap().stage, "asking");
    machine.answer_golden("right");
    let gateway = status.processes[0].pid.unwrap();
    kill(Pid::from_raw(i32::try_from(gateway).unwrap()), Signal::SIGKILL).unwrap();
    machine.wait_until("it serves", is_well);
    machine.wait_until_heard("golden 10", 2);
}

#[test]
fn a_gateway_that_cannot_ask_is_a_failure_that_is_tried_again() {
    let mut machine = Machine::set_up();
    machine.answer_golden("refused");
    machine.import_version(1);
    machine.wait_until("it is named", |status| {
        status
            .reasons
            .iter()
            .any(|reason| reason == "engine.golden.unanswered")
    });
    machine.answer_golden("right");
    machine.wait_until("it serves at last", is_well);
}

/// KV cells of which one pool takes that part of the memory that could be had, in thousandths; a cell of the demo model
/// takes 1 KiB and 1 KiB of mask, and the strict lane of its short context next to nothing.
fn cells(permille: u64) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .unwrap();
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kilobytes * permille / 1000 / 2
}

#[test]
fn where_memory_holds_one_model_the_old_one_ends_first_and_comes_back_when_the_new_one_is_wrong() {
    let mut machine = Machine::set_up();
    machine.kill();
    machine.arguments = vec!["--engine-kv-tokens".to_owned(), cells(600).to_string()];
    machine.start();
    let first = machine.import_version(1).package_digest;
    machine.wait_until("the first version serves", is_well);
    machine.answer_golden("wrong-once");
    let second = machine.import_version(2).package_digest;
    machine.wait_until("the new one is wrong and the old one is back", |status| {
        status.reasons == ["engine.golden.wrong"] && serves(&first)(status)
    });
    assert_eq!(active(&machine), first);
    machine.import_version(2);
    let status = machine.wait_until("the new one serves", |status| {
        is_well(status) && serves(&second)(status)
    });
    assert_eq!(engines(&status).len(), 1);
    assert_eq!(active(&machine), second);
    machine.verify_log();
}

#[test]
fn what_does_not_fit_is_refused_in_numbers_and_the_box_says_what_would_fit() {
    let mut machine = Machine::set_up();
    machine.kill();
    machine.arguments = vec!["--engine-kv-tokens".to_owned(), cells(3000).to_string()];
    machine.start();
    machine.import_version(1);
    let status = machine.wait_until("it is refused", |status| status.health == Health::Degraded);
    assert_eq!(status.reasons, ["engine.plan.memory"]);
    let names: Vec<&str> = status.details[0]
        .facts
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["needs", "free", "context"]);
    for language in [
        jingui_messages::Language::English,
        jingui_messages::Language::Chinese,
    ] {
        let words = jingui_messages::explain("engine.plan.memory", language, &status.details[0].facts);
        assert!(
            words.why.contains("GiB") && !words.why.contains('{'),
            "{}",
            words.why
        );
    }
    let leaf = ("model.load".to_owned(), "engine.plan.memory".to_owned());
    wait("a refused plan has its leaf", || {
        events(&machine.leaves()).contains(&leaf)
    });
    assert!(machine.engines_heard().is_empty(), "nothing was loaded");
}

#[test]
fn who_measures_gets_what_he_asked_for() {
    let mut machine = Machine::set_up();
    machine.kill();
    let words = "--engine-threads 3 --engine-streams 5 --engine-context-tokens 256 --engine-kv-tokens 1280";
    machine.arguments = words.split(' ').map(ToOwned::to_owned).collect();
    machine.start();
    machine.import_version(1);
    machine.wait_until("it serves", is_well);
    let heard = machine.engines_heard();
    assert!(heard[0].starts_with("load 3 5 256 1280 "), "{heard:?}");
}

fn tier(machine: &Machine) -> (u64, u32) {
    let folder = machine.state().join("cache");
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    let files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|it| it.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let facts = fs::metadata(&files[0]).unwrap();
    (facts.len(), facts.permissions().mode() & 0o777)
}

/// What each engine found in its tier when it was told to load, and the key.
fn tiers(machine: &Machine) -> Vec<(String, String)> {
    let heard = machine.engines_heard();
    let loads = heard.iter().filter_map(|line| line.split_once(" tier "));
    loads
        .map(|(_, tier)| {
            let (length, rest) = tier.split_once(" [").unwrap();
            (length.to_owned(), rest.split_once(']').unwrap().0.to_owned())
        })
        .collect()
}

#[test]
fn a_worker_that_takes_over_from_a_crashed_one_gets_its_disk_tier_and_nobody_else_does() {
    let (mut machine, _) = serving();
    assert_eq!(tier(&machine), (6, 0o600));
    let pid = engines(&machine.status().unwrap())[0].pid.unwrap();
    let killed = Instant::now();
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    machine.wait_until("another engine serves", |status| {
        is_well(status) && engines(status)[0].pid != Some(pid)
    });
    println!("from kill to another engine that serves: {:?}", killed.elapsed());
    assert_eq!(
        tier(&machine),
        (12, 0o600),
        "the next worker went on in the same file"
    );
    machine.kill();
    assert_eq!(tier(&machine).0, 12, "a killed supervisor leaves it");
    machine.start();
    machine.wait_until("it serves again", is_well);
    let seen = tiers(&machine);
    let lengths: Vec<&str> = seen.iter().map(|(length, _)| length.as_str()).collect();
    assert_eq!(lengths, ["0", "6", "0"]);
    assert_eq!(seen[0].1, seen[1].1);
    assert_ne!(
        seen[1].1, seen[2].1,
        "the key ended with the supervisor that drew it"
    );
    assert!(matches!(machine.ask(&Request::ShutDown), Reply::Done { .. }));
    assert_eq!(machine.wait_for_end(), Some(0));
    assert_eq!(fs::read_dir(machine.state().join("cache")).unwrap().count(), 0);
}

#[test]
fn weights_are_verified_by_their_kept_chunks_and_still_found_altered() {
    let (mut machine, digest) = serving();
    let kept = machine
        .state()
        .join("trust/chunks")
        .join(format!("{digest}.json"));
    assert!(kept.exists(), "the import kept the list");
    // A list that somebody changed is none: the weights are digested whole, and the list is made again.
    machine.kill();
    let text = fs::read_to_string(&kept).unwrap();
    fs::write(&kept, text.replacen("\"mac\":\"", "\"mac\":\"0", 1)).unwrap();
    machine.start();
    machine.wait_until("it serves all the same", is_well);
    assert_eq!(fs::read_to_string(&kept).unwrap(), text);
    machine.kill();
    let weights = machine
        .state()
        .join("models")
        .join(&digest)
        .join("glm4-canary-f16.gguf");
    flip_a_byte_in_the_middle(&weights);
    machine.start();
    let status = machine.wait_until("it is refused", |status| status.health == Health::Degraded);
    assert_eq!(status.reasons, ["model.file.altered"]);
    machine.wait_until("the engine that was started beside the hashing ends", |status| {
        engines(status)[0].pid.is_none()
    });
    let loads = machine
        .engines_heard()
        .iter()
        .filter(|line| line.starts_with("load"))
        .count();
    assert_eq!(loads, 2, "no engine was told to load altered weights");
}

fn flip_a_byte_in_the_middle(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_stop_in_the_middle_of_a_switch_leaves_no_process() {
    let (mut machine, first) = serving();
    machine.answer_golden("never");
    machine.import_version(2);
    let status = machine.wait_until("both are there", |status| {
        engines(status).iter().filter(|it| it.pid.is_some()).count() == 2
    });
    let pids: Vec<u32> = engines(&status).iter().filter_map(|it| it.pid).collect();
    assert!(matches!(machine.ask(&Request::ShutDown), Reply::Done { .. }));
    assert_eq!(machine.wait_for_end(), Some(0));
    for pid in pids {
        wait("its process is gone", || {
            !Path::new(&format!("/proc/{pid}")).exists()
        });
    }
    assert_eq!(active(&machine), first, "what has not passed is not the choice");
}
