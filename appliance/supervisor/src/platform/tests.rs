//! Machines as the kernel shows them, and what the supervisor says of each.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::*;

const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const PATIENCE: Duration = Duration::from_secs(20);
const STATE: &str = "/var/lib/jingui";

/// A root folder that shows a machine.
struct Shown {
    folder: tempfile::TempDir,
    tpm: Option<Child>,
}

impl Shown {
    /// The box as it should be, without a TPM.
    fn sealed() -> Self {
        let shown = Self {
            folder: tempfile::tempdir().unwrap(),
            tpm: None,
        };
        shown.write(
            "proc/self/mountinfo",
            "26 1 253:0 / / ro - erofs /dev/mapper/root ro\n\
             30 26 253:1 / /var/lib/jingui rw - ext4 /dev/mapper/jingui-state rw\n",
        );
        shown.write("sys/dev/block/253:0/dm/uuid", "CRYPT-VERITY-00-root\n");
        shown.write("sys/dev/block/253:1/dm/uuid", "CRYPT-LUKS2-00-jingui-state\n");
        shown.write("proc/cmdline", format!("quiet roothash={HASH} panic=10\n"));
        shown.write(
            "dev/mapper/control",
            format!("1 254:2 254:3 4096 4096 31000 1 sha256 {HASH} 00ff"),
        );
        shown.write(
            "usr/share/jingui/release.json",
            r#"{"product":"jingui","image_version":"3","security_version":2,"profile":"delivery","source":""}"#,
        );
        shown.write(
            "usr/lib/os-release",
            "ID=debian\nIMAGE_ID=jingui\nIMAGE_VERSION=\"3\"\n",
        );
        shown.secure_boot(Some(1), Some(0));
        shown.write("sys/class/dmi/id/bios_vendor", "EDK II\n");
        shown.write("sys/class/dmi/id/bios_version", "2022.11\n");
        shown.opened_by(OpenedBy::Passphrase);
        shown
    }

    fn write(&self, below: &str, bytes: impl AsRef<[u8]>) {
        let path = self.folder.path().join(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn secure_boot(&self, secure_boot: Option<u8>, setup_mode: Option<u8>) {
        for (name, value) in [("SecureBoot", secure_boot), ("SetupMode", setup_mode)] {
            let path = format!("sys/firmware/efi/efivars/{name}-8be4df61-93ca-11d2-aa0d-00e098032b8c");
            match value {
                Some(value) => self.write(&path, [6, 0, 0, 0, value]),
                None => drop(fs::remove_file(self.folder.path().join(path))),
            }
        }
    }

    fn opened_by(&self, opened_by: OpenedBy) {
        let report = Report {
            disk: "vda".to_owned(),
            made: Vec::new(),
            opened_by,
            is_bound_anew: false,
            models_fault: None,
        };
        self.write(REPORT_PATH, serde_json::to_vec(&report).unwrap());
    }

    /// Puts a TPM in software into the machine.
    fn with_tpm(mut self) -> Self {
        let folder = self.folder.path().join("tpm");
        fs::create_dir(&folder).unwrap();
        let socket = folder.join("socket");
        let tpm = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={}", folder.display())])
            .args(["--server", &format!("type=unixio,path={}", socket.display())])
            .stdout(Stdio::null())
            .spawn()
            .expect("swtpm is installed by `scripts/test`");
        self.tpm = Some(tpm);
        fs::create_dir_all(self.folder.path().join("dev")).unwrap();
        symlink(&socket, self.folder.path().join("dev/tpmrm0")).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < deadline, "swtpm does not answer");
            thread::sleep(Duration::from_millis(10));
        }
        self.write("sys/kernel/security/tpm0/binary_bios_measurements", "events");
        self.opened_by(OpenedBy::Tpm);
        self
    }

    fn trust(&self) -> std::path::PathBuf {
        let trust = self.folder.path().join("trust");
        fs::create_dir_all(&trust).unwrap();
        trust
    }

    fn measure(&self) -> Platform {
        Platform::measure(Some(self.folder.path()), Path::new(STATE), &self.trust(), false)
    }

    fn why_not(&self, name: &str) -> Option<String> {
        let guarantees = self.measure().guarantees(Some(true));
        let guarantee = guarantees
            .into_iter()
            .find(|it| it.name == format!("platform.{name}"))
            .unwrap();
        assert_eq!(guarantee.in_force, guarantee.why.is_none());
        guarantee.why
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(mut tpm) = self.tpm.take() {
            let _ = tpm.kill();
            let _ = tpm.wait();
        }
    }
}

#[test]
fn a_developers_machine_has_no_platform() {
    let folder = tempfile::tempdir().unwrap();
    let platform = Platform::measure(None, Path::new(STATE), folder.path(), true);
    assert!(!platform.is_sealed() && !platform.is_state_encrypted());
    assert!(platform.facts().is_empty());
    let why: Vec<_> = platform.guarantees(None).into_iter().map(|it| it.why).collect();
    assert_eq!(
        why,
        vec![Some("guarantee.why.developer-machine".to_owned()); GUARANTEES.len()]
    );
    let LeafEvent::Boot {
        developer_mode,
        unclean,
        pcrs,
        ..
    } = platform.boot_event()
    else {
        panic!("a boot leaf");
    };
    assert_eq!((developer_mode, unclean, pcrs), (true, Some(true), None));
}

#[test]
fn a_sealed_box_with_a_tpm_has_every_guarantee_and_says_it_in_its_leaf() {
    let shown = Shown::sealed().with_tpm();
    let platform = shown.measure();
    let lacking: Vec<_> = platform
        .guarantees(Some(true))
        .into_iter()
        .filter(|it| !it.in_force)
        .collect();
    assert!(lacking.is_empty(), "{lacking:?}");
    let LeafEvent::Boot {
        security_version,
        image,
        secure_boot,
        developer_mode,
        image_version,
        firmware,
        setup_mode,
        pcrs,
        event_log,
        tpm_clock_ms,
        tpm_reset_count,
        floor,
        state_opened_by,
        ..
    } = platform.boot_event()
    else {
        panic!("a boot leaf");
    };
    assert_eq!(
        (security_version, image, secure_boot),
        (2, HASH.parse().ok(), SecureBoot::On)
    );
    assert!(!developer_mode);
    assert_eq!(image_version.as_deref(), Some("3"));
    assert_eq!(firmware.as_deref(), Some("EDK II 2022.11"));
    assert_eq!((setup_mode, floor), (Some(false), Some(2)));
    assert_eq!(event_log, Some(Sha256::of(b"events")));
    assert!(tpm_clock_ms.is_some() && tpm_reset_count.is_some());
    assert_eq!(state_opened_by.as_deref(), Some("tpm"));
    let pcrs = pcrs.unwrap();
    assert_eq!(pcrs.len(), 11);
    assert_eq!(pcrs[6], format!("7:{}", "0".repeat(64)));
}

#[test]
fn an_image_is_sealed_only_on_the_verity_root_that_its_signed_command_line_names() {
    assert_eq!(Shown::sealed().why_not("sealed-image"), None);
    let not_sealed = Some("guarantee.why.not-sealed".to_owned());
    let other = HASH.replace("01", "10");
    let damages: [fn(&Shown, &str); 5] = [
        |shown, other| shown.write("proc/cmdline", format!("roothash={other}\n")),
        |shown, other| shown.write("proc/cmdline", format!("roothash={HASH} roothash={other}\n")),
        |shown, _| shown.write("proc/cmdline", "quiet\n"),
        |shown, _| shown.write("sys/dev/block/253:0/dm/uuid", "CRYPT-LUKS2-00-root\n"),
        |shown, _| fs::remove_file(shown.folder.path().join("dev/mapper/control")).unwrap(),
    ];
    for damage in damages {
        let shown = Shown::sealed();
        damage(&shown, &other);
        assert_eq!(shown.why_not("sealed-image"), not_sealed);
        assert!(!shown.measure().is_sealed());
    }
}

#[test]
fn secure_boot_is_in_force_only_when_the_firmware_says_so_and_its_keys_are_not_open() {
    for (secure_boot, setup_mode, why) in [
        (Some(1), Some(0), None),
        (Some(1), None, None),
        (Some(0), Some(0), Some("guarantee.why.secure-boot-off")),
        (Some(1), Some(1), Some("guarantee.why.setup-mode")),
        (Some(7), Some(0), Some("guarantee.why.firmware-silent")),
        (None, None, Some("guarantee.why.firmware-silent")),
    ] {
        let shown = Shown::sealed();
        shown.secure_boot(secure_boot, setup_mode);
        assert_eq!(
            shown.why_not("secure-boot").as_deref(),
            why,
            "{secure_boot:?} {setup_mode:?}"
        );
    }
}

#[test]
fn a_box_without_a_tpm_or_opened_by_a_person_says_that_it_is_weaker() {
    let shown = Shown::sealed();
    for name in ["tpm-sealed-keys", "rollback-counter"] {
        assert_eq!(shown.why_not(name).as_deref(), Some("guarantee.why.no-tpm"));
    }
    assert_eq!(
        shown.why_not("encrypted-state"),
        None,
        "a passphrase encrypts too"
    );
    shown.opened_by(OpenedBy::RecoveryKey);
    assert_eq!(
        shown.why_not("tpm-sealed-keys").as_deref(),
        Some("guarantee.why.recovery-key")
    );
}

#[test]
fn a_state_that_is_not_mounted_from_an_encrypted_device_is_none() {
    let shown = Shown::sealed();
    assert!(shown.measure().is_state_encrypted());
    shown.write("sys/dev/block/253:1/dm/uuid", "LVM-00\n");
    assert!(!shown.measure().is_state_encrypted());
    let shown = Shown::sealed();
    shown.write(
        "proc/self/mountinfo",
        "26 1 253:0 / / ro - erofs /dev/mapper/root ro\n",
    );
    assert!(!shown.measure().is_state_encrypted(), "a folder of the root");
    assert_eq!(
        shown.why_not("encrypted-state").as_deref(),
        Some("guarantee.why.state-plain")
    );
}

#[test]
fn an_image_below_the_floor_must_not_serve_and_the_floor_outlives_restarts() {
    let shown = Shown::sealed().with_tpm();
    let mut platform = shown.measure();
    assert_eq!((platform.floor(), platform.refusal()), (Some(2), None));
    platform.raise_floor(5);
    assert_eq!(platform.floor(), Some(5));
    platform.raise_floor(3);
    assert_eq!(platform.floor(), Some(5), "it never sinks");
    platform.raise_floor(5 + floor::STEPS_MAX + 1);
    assert_eq!(platform.floor(), Some(5), "too far at once");
    drop(platform);
    let platform = shown.measure();
    assert_eq!(platform.floor(), Some(5));
    assert_eq!(platform.refusal(), Some("platform.image.too-old"));
}

#[test]
fn what_the_signer_published_stands_beside_what_is_measured() {
    let shown = Shown::sealed();
    shown.write("usr/lib/os-release", "IMAGE_VERSION=4\n");
    let facts = shown.measure().facts();
    let fact = |name: &str| {
        let fact = facts.iter().find(|it| it.name == name).unwrap();
        (fact.measured.as_deref(), fact.published.as_deref())
    };
    assert_eq!(fact("image-version"), (Some("4"), Some("3")));
    assert_eq!(fact("image-root"), (Some(HASH), Some(HASH)));
    assert_eq!(fact("firmware"), (Some("EDK II 2022.11"), None));
    assert_eq!(fact("secure-boot"), (Some("on"), None));
}

#[test]
fn files_that_are_none_of_ours_are_missing_facts_and_nothing_else() {
    let shown = Shown::sealed();
    for path in [
        "usr/share/jingui/release.json",
        REPORT_PATH,
        "proc/self/mountinfo",
        "proc/cmdline",
        "dev/mapper/control",
        "usr/lib/os-release",
        "sys/class/dmi/id/bios_vendor",
    ] {
        shown.write(path, [0xff, 0xfe, 0, b'\n']);
    }
    let platform = shown.measure();
    assert!(!platform.is_sealed() && !platform.is_state_encrypted());
    assert_eq!(platform.refusal(), None);
    drop(platform.boot_event());
}
