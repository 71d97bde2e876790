use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::machine::fake::FakeMachine;

const RECOVERY: &str = "cbdefghi-jklnrtuv-cbdefghi-jklnrtuv-cbdefghi-jklnrtuv-cbdefghi-jklnrtuv";

fn machine() -> FakeMachine {
    FakeMachine::with_disk("vda", &["jingui_1", "jingui_1_verity", "jingui-state"])
}

fn answering(output: &'static str) -> FakeMachine {
    machine().played_by(move |_, _| Ended {
        code: Some(0),
        output: output.as_bytes().to_vec(),
    })
}

fn with_tpm(machine: &FakeMachine) {
    machine.write(TPM_VERSION, "2\n");
    machine.write(TPM_DEVICE, "");
}

#[test]
fn a_recovery_key_is_one_however_it_is_typed() {
    let spaced = RECOVERY.to_uppercase().replace('-', " ");
    for typed in [RECOVERY, &RECOVERY.replace('-', ""), &spaced] {
        let (by, key) = typed_key(&Secret::new(typed.to_owned()));
        assert_eq!(by, OpenedBy::RecoveryKey, "{typed}");
        assert_eq!(key.expose(), RECOVERY.as_bytes());
    }
}

#[test]
fn anything_else_is_a_passphrase_as_it_stands() {
    let long = format!("{RECOVERY}c");
    let other = RECOVERY.replace('v', "w");
    for typed in ["Correct Horse", "口令", RECOVERY.get(1..).unwrap(), &long, &other] {
        let (by, key) = typed_key(&Secret::new(typed.to_owned()));
        assert_eq!(by, OpenedBy::Passphrase, "{typed}");
        assert_eq!(key.expose(), typed.as_bytes());
    }
}

#[test]
fn the_header_tells_whether_a_tpm_holds_a_key() {
    let device = Path::new("/dev/x");
    let with = r#"{"keyslots":{},"tokens":{"0":{"type":"systemd-tpm2","keyslots":["0"]},"1":{"type":"systemd-recovery"}}}"#;
    assert!(read_header(&mut answering(with), device).unwrap().has_tpm_key);
    let without = r#"{"keyslots":{},"tokens":{"1":{"type":"systemd-recovery"}}}"#;
    assert!(!read_header(&mut answering(without), device).unwrap().has_tpm_key);
    let none = r#"{"keyslots":{},"tokens":{}}"#;
    assert!(!read_header(&mut answering(none), device).unwrap().has_tpm_key);
}

#[test]
fn a_header_that_cannot_be_read_is_damaged() {
    let device = Path::new("/dev/x");
    for output in ["", "[]", "{}", "{\"tokens\":7}", "no json"] {
        let failure = read_header(&mut answering(output), device).unwrap_err();
        assert_eq!(failure.code(), "storage.state.header-damaged", "{output}");
    }
    let mut refusing = machine().played_by(|_, _| Ended {
        code: Some(1),
        output: Vec::new(),
    });
    assert_eq!(
        read_header(&mut refusing, device).unwrap_err().code(),
        "storage.state.header-damaged"
    );
}

#[test]
fn a_key_is_given_through_the_pipe_and_never_on_a_command_line() {
    let mut machine = machine().played_by(|_, tool| Ended {
        code: Some(i32::from(tool.input.as_ref().unwrap().expose() != b"geheim")),
        output: Vec::new(),
    });
    let device = machine.path("dev/vda3");
    assert!(open_by_key(&mut machine, &device, &Secret::new(b"geheim".to_vec())).unwrap());
    assert!(!open_by_key(&mut machine, &device, &Secret::new(b"falsch".to_vec())).unwrap());
    let line = "/usr/sbin/cryptsetup open --type=luks2 --key-file=- /dev/vda3 jingui-state";
    assert_eq!(machine.ran, [line, line]);
}

#[test]
fn the_recovery_key_is_kept_for_root_alone_until_the_ceremony() {
    let mut machine = answering(RECOVERY);
    let device = machine.path("dev/vda3");
    let opened = Opened {
        by: OpenedBy::Tpm,
        key: None,
        is_tpm_passed_over: false,
    };
    make_recovery_key(&mut machine, &device, &opened).unwrap();
    assert_eq!(machine.read(RECOVERY_KEY_PATH).unwrap(), RECOVERY);
    let mode = fs::metadata(machine.path(RECOVERY_KEY_PATH))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        machine.ran,
        [
            "/usr/bin/systemd-cryptenroll --recovery-key --wipe-slot=recovery --unlock-tpm2-device=auto /dev/vda3"
        ]
    );
}

#[test]
fn a_recovery_key_that_is_none_is_a_failure_and_not_shown_to_anybody() {
    let opened = Opened {
        by: OpenedBy::Passphrase,
        key: Some(Secret::new(b"geheim".to_vec())),
        is_tpm_passed_over: false,
    };
    for output in ["", "something else", RECOVERY.get(1..).unwrap()] {
        let mut machine = answering(output);
        let device = machine.path("dev/vda3");
        let failure = make_recovery_key(&mut machine, &device, &opened).unwrap_err();
        assert_eq!(failure.code(), "storage.recovery-key.failed");
        assert_eq!(machine.read(RECOVERY_KEY_PATH), None);
        assert_eq!(machine.read(KEY_FILE), None, "the key does not stay behind");
    }
}

#[test]
fn a_key_file_lives_as_long_as_the_program_that_reads_it() {
    let opened = Opened {
        by: OpenedBy::Passphrase,
        key: Some(Secret::new(b"geheim".to_vec())),
        is_tpm_passed_over: false,
    };
    let mut machine = machine().played_by(|root, tool| {
        assert_eq!(fs::read(root.join(KEY_FILE)).unwrap(), b"geheim");
        assert!(
            tool.arguments
                .iter()
                .any(|it| it.to_string_lossy().starts_with("--unlock-key-file="))
        );
        Ended {
            code: Some(0),
            output: RECOVERY.as_bytes().to_vec(),
        }
    });
    let device = machine.path("dev/vda3");
    make_recovery_key(&mut machine, &device, &opened).unwrap();
    assert_eq!(machine.read(KEY_FILE), None);
}

#[test]
fn a_state_is_bound_anew_only_under_secure_boot_with_a_tpm_and_a_measurement_key() {
    let key = Secret::new(b"geheim".to_vec());
    let try_it = |prepare: fn(&FakeMachine)| {
        let mut machine = answering("");
        prepare(&machine);
        let device = machine.path("dev/vda3");
        let is_bound = bind_anew(&mut machine, &device, &key).unwrap();
        (is_bound, machine.ran)
    };
    let whole = |machine: &FakeMachine| {
        with_tpm(machine);
        machine.write(SECURE_BOOT, [6, 0, 0, 0, 1]);
        machine.write(PCR_KEY, "key");
    };
    let (is_bound, ran) = try_it(whole);
    assert!(is_bound);
    assert_eq!(
        ran,
        [
            "/usr/bin/systemd-cryptenroll --unlock-key-file=/run/jingui/key --wipe-slot=tpm2 --tpm2-device=auto \
          --tpm2-pcrs=7 --tpm2-public-key=/run/systemd/tpm2-pcr-public-key.pem --tpm2-public-key-pcrs=11 /dev/vda3"
        ]
    );
    let lacking: [fn(&FakeMachine); 4] = [
        |_| {},
        |machine| {
            with_tpm(machine);
            machine.write(PCR_KEY, "key");
            machine.write(SECURE_BOOT, [6, 0, 0, 0, 0]);
        },
        |machine| {
            with_tpm(machine);
            machine.write(SECURE_BOOT, [6, 0, 0, 0, 1]);
        },
        |machine| {
            machine.write(SECURE_BOOT, [6, 0, 0, 0, 1]);
            machine.write(PCR_KEY, "key");
        },
    ];
    for prepare in lacking {
        assert_eq!(try_it(prepare), (false, Vec::new()));
    }
}

#[test]
fn a_key_stick_is_read_and_let_go_and_given_a_key_where_it_has_none() {
    let mut machine = machine();
    assert!(key_of_stick(&mut machine).is_none(), "no stick");
    machine.write(STICK_DEVICE, "");
    assert!(key_of_stick(&mut machine).is_none(), "a stick without a key");
    let made = new_key_of_stick(&mut machine).unwrap();
    assert_eq!(made.expose().len(), STICK_KEY_BYTES);
    assert_eq!(key_of_stick(&mut machine).unwrap().expose(), made.expose());
    assert_eq!(
        new_key_of_stick(&mut machine).unwrap().expose(),
        made.expose(),
        "a key that is there stays"
    );
    assert!(machine.mounted.is_empty(), "nothing stays mounted");
    let longest = usize::try_from(STICK_KEY_BYTES_MAX).unwrap();
    for (length, is_key) in [(0, false), (1, true), (longest, true), (longest + 1, false)] {
        machine.write(&format!("{STICK_FOLDER}/{STICK_FILE}"), vec![7; length]);
        assert_eq!(key_of_stick(&mut machine).is_some(), is_key, "{length}");
    }
}
