//! Whole starts, on a machine whose programs are played.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::Duration;

use jingui_ipc::storage::{OpenedBy, RECOVERY_KEY_PATH};
use jingui_trust::Secret;

use super::*;
use crate::machine::fake::{FakeMachine, add_partition};
use crate::machine::{Ended, Tool};
use crate::state::TRIAL_PATIENCE;

const NEW: [&str; 3] = ["jingui-esp", "jingui_1", "jingui_1_verity"];
const WHOLE: [&str; 7] = [
    "jingui-esp",
    "jingui_1",
    "jingui_1_verity",
    "_empty",
    "_empty",
    "jingui-state",
    "jingui-models",
];
const RECOVERY: &str = "cbdefghi-jklnrtuv-cbdefghi-jklnrtuv-cbdefghi-jklnrtuv-cbdefghi-jklnrtuv";
const PASSPHRASE: &str = "Correct-Horse-7";
const BOUND: &str = r#"{"tokens":{"0":{"type":"systemd-tpm2"}}}"#;
const UNBOUND: &str = r#"{"tokens":{}}"#;

/// A person who types what was prepared, and then goes away.
#[derive(Default)]
struct Typist {
    words: VecDeque<&'static str>,
    told: Vec<String>,
    patience: Option<Duration>,
}

impl Typist {
    fn typing(words: &[&'static str]) -> Self {
        Self {
            words: words.iter().copied().collect(),
            ..Self::default()
        }
    }
}

impl Person for Typist {
    fn tell(&mut self, code: &str, _: &[(&str, &str)]) {
        self.told.push(code.to_owned());
    }

    fn ask(&mut self, patience: Option<Duration>) -> io::Result<Option<Secret<String>>> {
        self.patience = patience;
        Ok(self.words.pop_front().map(|word| Secret::new(word.to_owned())))
    }
}

/// How the state on the played machine is keyed.
#[derive(Clone, Copy)]
struct Play {
    header: &'static str,
    is_tpm_willing: bool,
    key: &'static str,
}

fn play(how: Play) -> impl FnMut(&Path, &Tool) -> Ended {
    move |root, tool| {
        let said = |code: i32, output: &str| Ended {
            code: Some(code),
            output: output.as_bytes().to_vec(),
        };
        let first = tool.arguments.first().map(|it| it.to_string_lossy().into_owned());
        match (tool.program, first.as_deref()) {
            ("/usr/bin/systemd-repart", _) => {
                let is_reset = tool.arguments.iter().any(|it| it == "--factory-reset=yes");
                let present = |name: &str| root.join("sys/devices/vda").join(name).exists();
                for (number, label) in [
                    (4, "_empty"),
                    (5, "_empty"),
                    (6, "jingui-state"),
                    (7, "jingui-models"),
                ] {
                    if !present(&format!("vda{number}")) {
                        add_partition(root, "vda", label);
                    }
                }
                if is_reset {
                    fs::write(root.join("dev/vda6"), b"new").unwrap();
                }
                said(0, "")
            }
            ("/usr/sbin/cryptsetup", Some("luksDump")) => said(0, how.header),
            ("/usr/bin/systemd-cryptsetup", _) => said(i32::from(!how.is_tpm_willing), ""),
            ("/usr/sbin/cryptsetup", Some("open")) => {
                let is_right = tool
                    .input
                    .as_ref()
                    .is_some_and(|it| it.expose() == how.key.as_bytes());
                said(if is_right { 0 } else { 2 }, "")
            }
            ("/usr/bin/systemd-cryptenroll", Some("--recovery-key")) => said(0, RECOVERY),
            _ => said(0, ""),
        }
    }
}

fn machine(labels: &[&str], has_tpm: bool, how: Play) -> FakeMachine {
    let machine = FakeMachine::with_disk("vda", labels).played_by(play(how));
    if has_tpm {
        machine.write("sys/class/tpm/tpm0/tpm_version_major", "2\n");
        machine.write("dev/tpmrm0", "");
    }
    machine.write("run/systemd/tpm2-pcr-public-key.pem", "key");
    machine
}

const WILLING: Play = Play {
    header: BOUND,
    is_tpm_willing: true,
    key: RECOVERY,
};
const REFUSING: Play = Play {
    is_tpm_willing: false,
    ..WILLING
};
const TYPED: Play = Play {
    header: UNBOUND,
    is_tpm_willing: false,
    key: PASSPHRASE,
};

#[test]
fn a_first_start_makes_everything_and_keeps_a_recovery_key_for_the_ceremony() {
    let mut machine = machine(&NEW, true, WILLING);
    let mut nobody = Typist::default();
    let report = make_ready(&mut machine, &mut nobody).unwrap().unwrap();
    assert_eq!(report.made, ["slot B", "jingui-state", "jingui-models"]);
    assert_eq!(report.opened_by, OpenedBy::Tpm);
    assert_eq!(report.models_fault, None);
    assert_eq!(
        machine.mounted,
        [
            "/dev/mapper/jingui-state on /var/lib/jingui as ext4, Write",
            "/dev/vda7 on /var/lib/jingui/models as ext4, Write"
        ]
    );
    assert_eq!(machine.read(RECOVERY_KEY_PATH).as_deref(), Some(RECOVERY));
    let written: Report = serde_json::from_str(&machine.read(REPORT_PATH).unwrap()).unwrap();
    assert_eq!(written, report);
    assert!(nobody.told.is_empty(), "nobody is asked anything");
}

#[test]
fn a_later_start_makes_nothing_and_no_recovery_key_once_the_ceremony_was_held() {
    let mut machine = machine(&WHOLE, true, WILLING);
    machine.write(ACCOUNTS, "{}");
    let report = make_ready(&mut machine, &mut Typist::default()).unwrap().unwrap();
    assert!(report.made.is_empty());
    assert_eq!(machine.read(RECOVERY_KEY_PATH), None);
    assert!(
        !machine
            .ran
            .iter()
            .any(|line| line.contains("repart") || line.contains("cryptenroll")),
        "{:?}",
        machine.ran
    );
}

#[test]
fn a_state_that_the_tpm_refuses_is_opened_by_the_recovery_key_and_never_made_anew() {
    let mut machine = machine(&WHOLE, true, REFUSING);
    machine.write(ACCOUNTS, "{}");
    let mut person = Typist::typing(&["", "wrong", RECOVERY]);
    let report = make_ready(&mut machine, &mut person).unwrap().unwrap();
    assert_eq!(report.opened_by, OpenedBy::RecoveryKey);
    assert!(!report.is_bound_anew, "Secure Boot is not in force here");
    assert_eq!(
        person.told,
        [
            "storage.state.locked",
            "storage.state.locked",
            "storage.state.passphrase-wrong"
        ]
    );
    assert_eq!(person.patience, None, "it waits as long as it takes");
    assert!(
        !machine.ran.iter().any(|line| line.contains("repart")),
        "{:?}",
        machine.ran
    );
}

#[test]
fn a_firmware_change_under_secure_boot_binds_the_state_anew() {
    let mut machine = machine(&WHOLE, true, REFUSING);
    machine.write(ACCOUNTS, "{}");
    machine.write(
        "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",
        [6, 0, 0, 0, 1],
    );
    let report = make_ready(&mut machine, &mut Typist::typing(&[RECOVERY]))
        .unwrap()
        .unwrap();
    assert!(report.is_bound_anew);
    assert!(machine.ran.iter().any(|line| line.contains("--wipe-slot=tpm2")));
}

#[test]
fn without_a_tpm_a_passphrase_is_chosen_by_typing_it_twice_and_typed_at_each_start() {
    let mut machine = machine(&NEW, false, TYPED);
    let mut person = Typist::typing(&[
        "short",
        "short",
        PASSPHRASE,
        "Correct-Horse-8",
        PASSPHRASE,
        PASSPHRASE,
        PASSPHRASE,
    ]);
    let report = make_ready(&mut machine, &mut person).unwrap().unwrap();
    assert_eq!(report.opened_by, OpenedBy::Passphrase);
    assert_eq!(
        person
            .told
            .iter()
            .filter(|code| code.ends_with("passphrase-new"))
            .count(),
        6
    );
    assert!(
        machine
            .ran
            .iter()
            .any(|line| line.contains("repart") && line.contains("--key-file=/run/jingui/key"))
    );
    let state = machine.read("run/jingui/repart.d/50-state.conf").unwrap();
    assert!(state.contains("Encrypt=key-file\n"), "{state}");
    assert_eq!(machine.read("run/jingui/key"), None);
}

#[test]
fn an_image_on_trial_whose_state_does_not_open_restarts_by_itself() {
    let mut machine = machine(&WHOLE, true, REFUSING);
    machine.write(
        "sys/firmware/efi/efivars/LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f",
        "",
    );
    let mut nobody = Typist::default();
    assert_eq!(make_ready(&mut machine, &mut nobody).unwrap(), None);
    assert_eq!(nobody.patience, Some(TRIAL_PATIENCE));
    assert_eq!(
        machine.ran.last().unwrap(),
        "/usr/bin/systemctl --no-block reboot"
    );
    assert!(machine.mounted.is_empty());
}

#[test]
fn whoever_stands_there_can_restart_or_switch_off_instead() {
    for (word, order) in [("restart", "reboot"), ("off", "poweroff")] {
        let mut machine = machine(&WHOLE, true, REFUSING);
        assert_eq!(
            make_ready(&mut machine, &mut Typist::typing(&[word])).unwrap(),
            None
        );
        assert_eq!(
            *machine.ran.last().unwrap(),
            format!("/usr/bin/systemctl --no-block {order}")
        );
    }
}

#[test]
fn a_damaged_header_or_an_image_without_measurement_key_stops_before_anything_is_made() {
    let damaged = Play {
        header: "",
        ..WILLING
    };
    let mut machine_ = machine(&WHOLE, true, damaged);
    let failure = make_ready(&mut machine_, &mut Typist::default()).unwrap_err();
    assert_eq!(failure.code(), "storage.state.header-damaged");
    assert!(!machine_.ran.iter().any(|line| line.contains("repart")));
    let mut machine_ = machine(&NEW, true, WILLING);
    fs::remove_file(machine_.path("run/systemd/tpm2-pcr-public-key.pem")).unwrap();
    let failure = make_ready(&mut machine_, &mut Typist::default()).unwrap_err();
    assert_eq!(failure.code(), "storage.pcr-key.missing");
    assert!(machine_.ran.is_empty());
}

#[test]
fn a_state_that_was_erased_on_order_is_made_anew_and_only_then() {
    let mut machine = machine(&WHOLE, true, WILLING);
    machine.write("dev/vda6", vec![7; 4096]);
    erase_state(&machine).unwrap();
    let report = make_ready(&mut machine, &mut Typist::default()).unwrap().unwrap();
    assert_eq!(report.made, ["jingui-state"]);
    assert!(
        machine
            .ran
            .iter()
            .any(|line| line.contains("--factory-reset=yes"))
    );
    assert_eq!(machine.read(RECOVERY_KEY_PATH).as_deref(), Some(RECOVERY));
}

#[test]
fn a_state_that_is_mounted_already_is_left_alone() {
    let mut machine = machine(&WHOLE, true, WILLING);
    let mounts = machine.read("proc/self/mountinfo").unwrap();
    machine.write(
        "proc/self/mountinfo",
        format!("{mounts}30 26 253:1 / /var/lib/jingui rw - ext4 /dev/mapper/jingui-state rw\n"),
    );
    assert_eq!(make_ready(&mut machine, &mut Typist::default()).unwrap(), None);
    assert!(machine.ran.is_empty());
}
