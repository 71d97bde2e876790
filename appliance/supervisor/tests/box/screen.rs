//! The local screen's door: who may come in, what presence allows, what people must approve, and how the box ends.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use jingui_audit::Leaf;
use jingui_ipc::Channel;
use jingui_ipc::control::{Proof, Role};
use jingui_ipc::network::{InterfaceSettings, Method, NetworkSettings, Placement, Port};
use jingui_ipc::screen::{
    Done, FromSupervisor, MESSAGE_BYTES_MAX, Picture, Reply, Request, SCREEN_USER, ToSupervisor,
};

use super::machine::{Machine, PATIENCE, events, now_step, proof};

/// A box with surroundings of its own below a folder.
struct Appliance {
    machine: Machine,
    root: PathBuf,
}

impl Appliance {
    fn new() -> Self {
        let mut machine = Machine::new();
        let root = machine.folder.path().join("root");
        for folder in ["run", "usr/bin", "sys/class/net", "sys/class/block", "dev"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        machine.arguments = vec!["--root".to_owned(), root.display().to_string()];
        let appliance = Self { machine, root };
        appliance.program(&appliance.root.join("usr/bin/systemctl"), "systemctl", 0);
        appliance.program(&appliance.storage(), "storage", 0);
        appliance
    }

    fn started() -> Self {
        let mut appliance = Self::new();
        appliance.machine.start();
        appliance
    }

    fn storage(&self) -> PathBuf {
        self.machine.folder.path().join("bin/jingui-storage")
    }

    /// A program that notes its words and ends with that code.
    fn program(&self, path: &Path, name: &str, code: u8) {
        let notes = self.root.join("notes");
        let text = format!(
            "#!/bin/sh\necho \"{name} $*\" >> {}\nexit {code}\n",
            notes.display()
        );
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn notes(&self) -> String {
        fs::read_to_string(self.root.join("notes")).unwrap_or_default()
    }

    fn socket(&self) -> PathBuf {
        self.root.join("run/jingui/screen.sock")
    }

    fn connect(&self) -> Channel {
        let socket = UnixStream::connect(self.socket()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Channel::bounded(socket, MESSAGE_BYTES_MAX)
    }

    /// One request; progress is skipped.
    fn ask(&self, request: Request) -> Reply {
        let mut channel = self.connect();
        channel.send(&ToSupervisor { number: 7, request }).unwrap();
        loop {
            let FromSupervisor { number, reply } = channel.receive().unwrap();
            assert_eq!(number, 7);
            if !matches!(reply, Reply::Progress(_)) {
                return reply;
            }
        }
    }

    fn refused(&self, request: Request) -> String {
        match self.ask(request) {
            Reply::Refused(fault) => fault.code,
            other => panic!("{other:?} instead of a refusal"),
        }
    }

    fn done(&self, request: Request) -> Done {
        match self.ask(request) {
            Reply::Done(done) => done,
            other => panic!("{other:?} instead of an end"),
        }
    }

    fn picture(&self) -> Picture {
        match self.ask(Request::Look) {
            Reply::Picture(picture) => *picture,
            other => panic!("{other:?} instead of a picture"),
        }
    }

    fn reset(&self, proofs: Vec<Proof>) -> Request {
        Request::Reset {
            serial: self.picture().status.serial,
            proofs,
        }
    }

    /// The disk that the box runs from, with that first network on its ESP.
    fn write_esp(&self, network: &str) -> LoopDisk {
        let esp = LoopDisk::plug(&self.root, "virtio1", "vda", "jingui-esp");
        esp.look("rw", |folder| {
            fs::create_dir(folder.join("jingui")).unwrap();
            fs::write(folder.join("jingui/network.toml"), network).unwrap();
        });
        let report =
            r#"{"disk":"vda","made":[],"opened_by":"tpm","is_bound_anew":false,"models_fault":null}"#;
        fs::create_dir_all(self.root.join("run/jingui")).unwrap();
        fs::write(self.root.join("run/jingui/storage.json"), report).unwrap();
        esp
    }

    fn leaf(&self, event: &str) -> Leaf {
        let leaves = self.machine.leaves();
        let found = leaves.into_iter().rfind(|leaf| leaf.draft.event.name() == event);
        found.unwrap_or_else(|| panic!("no {event}"))
    }
}

fn fixed(name: &str, address: &str, gateway: Option<&str>) -> NetworkSettings {
    let placement = Placement {
        address: address.parse().unwrap(),
        gateway: gateway.map(|text| text.parse().unwrap()),
    };
    NetworkSettings {
        interfaces: vec![InterfaceSettings {
            port: Port::Name(name.to_owned()),
            method: Method::Static(vec![placement]),
        }],
    }
}

#[test]
fn the_setup_code_is_shown_until_the_ceremony_and_never_after() {
    let appliance = Appliance::started();
    let before = appliance.picture();
    assert_eq!(
        before.setup_code.unwrap().0,
        appliance.machine.setup_code().trim()
    );
    assert!(!before.status.is_set_up);
    assert_ne!(before.ca_fingerprint, [0; 32]);
    appliance.machine.hold_ceremony();
    let after = appliance.picture();
    assert_eq!((after.setup_code, after.status.is_set_up), (None, true));
}

#[test]
fn the_socket_is_open_to_root_and_the_screen_and_to_nobody_else() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test changes users and needs root"
    );
    let appliance = Appliance::started();
    let facts = fs::metadata(appliance.socket()).unwrap();
    assert_eq!((facts.mode() & 0o777, facts.gid()), (0o660, SCREEN_USER));
    // The file is opened to all now: the kernel's word about the peer stands alone.
    fs::set_permissions(appliance.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    let mut folder = appliance.socket();
    while folder.pop() && folder.starts_with(appliance.machine.folder.path()) {
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let answer_as = |user: u32| {
        let script = r#"use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0); connect(S, sockaddr_un($ARGV[0])) or die "no way in";
            syswrite(S, "\x02\x00\x00\x00\x01\x00") or exit; sysread(S, $b, 4); print length $b;"#;
        let id = user.to_string();
        let output = Command::new("setpriv")
            .args([
                "--reuid",
                &id,
                "--regid",
                &id,
                "--clear-groups",
                "perl",
                "-e",
                script,
            ])
            .arg(appliance.socket())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("no way in"), "{said}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(answer_as(SCREEN_USER), "4");
    assert_ne!(
        answer_as(64_731),
        "4",
        "the gateway's user looks through the screen's door"
    );
}

#[test]
fn a_screen_that_says_what_is_no_request_or_too_much_is_left_and_the_box_goes_on() {
    let appliance = Appliance::started();
    for bytes in [&[0xff; 64][..], &(1_u32 << 20).to_le_bytes(), &[1, 0, 0, 0, 0xff]] {
        let mut channel = appliance.connect();
        std::io::Write::write_all(&mut channel.socket(), bytes).unwrap();
        channel.receive::<FromSupervisor>().unwrap_err();
    }
    let mut channel = appliance.connect();
    for number in 0..200 {
        let request = Request::Look;
        if channel.send(&ToSupervisor { number, request }).is_err() {
            break;
        }
    }
    assert!(!appliance.picture().status.is_set_up);
}

#[test]
fn the_network_is_judged_recorded_stored_and_written_for_networkd() {
    let mut appliance = Appliance::started();
    for (code, settings) in [
        ("network.interface.none", NetworkSettings::default()),
        (
            "network.interface.name",
            fixed("a b\nDHCP=yes", "10.0.2.15/24", None),
        ),
        ("network.address.unusable", fixed("ens3", "10.0.2.255/24", None)),
        (
            "network.gateway.outside",
            fixed("ens3", "10.0.2.15/24", Some("10.0.3.2")),
        ),
    ] {
        assert_eq!(appliance.refused(Request::SetNetwork(settings)), code);
    }
    let folder = appliance.root.join("run/jingui/network");
    assert!(!folder.join("50-jingui-0.network").exists());

    let first = fixed("ens3", "10.0.2.15/24", Some("10.0.2.2"));
    let done = appliance.done(Request::SetNetwork(first.clone()));
    let leaf = appliance.leaf("network.set");
    assert_eq!(done.leaf_index, leaf.index);
    assert_eq!(
        (leaf.draft.actor.as_str(), leaf.draft.source.as_str()),
        ("present", "screen")
    );
    let text = String::from_utf8(leaf.to_bytes()).unwrap();
    assert!(
        text.contains(r#""interfaces":["ens3 static 10.0.2.15/24 via 10.0.2.2"],"origin":"screen""#),
        "{text}"
    );
    let written = fs::read_to_string(folder.join("50-jingui-0.network")).unwrap();
    assert!(
        written.contains("Name=ens3") && written.contains("Address=10.0.2.15/24"),
        "{written}"
    );
    assert!(folder.join("applied").exists());

    appliance.done(Request::SetNetwork(fixed("ens3", "10.0.3.15/24", None)));
    appliance.machine.kill();
    fs::remove_dir_all(&folder).unwrap();
    appliance.machine.start();
    let written = fs::read_to_string(folder.join("50-jingui-0.network")).unwrap();
    assert!(
        written.contains("Address=10.0.3.15/24"),
        "volatile files come back: {written}"
    );
    match appliance.ask(Request::LookAtNetwork) {
        Reply::Network(view) => assert_eq!(view.previous, Some(first)),
        other => panic!("{other:?}"),
    }
    appliance.machine.verify_log();
}

#[test]
fn the_certificate_names_an_address_before_it_is_there() {
    let appliance = Appliance::started();
    appliance.done(Request::SetNetwork(fixed("ens3", "10.9.8.7/24", None)));
    let names = appliance.machine.state().join("trust/listener.json");
    let deadline = Instant::now() + PATIENCE;
    while !fs::read_to_string(&names).unwrap().contains("10.9.8.7") {
        assert!(
            Instant::now() < deadline,
            "the certificate never named the new address"
        );
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn the_first_network_is_taken_from_the_medium_once_and_only_before_the_ceremony() {
    let mut appliance = Appliance::new();
    let text = "[[interface]]\nname = \"ens3\"\nmethod = \"static\"\naddress = \"10.0.2.15/24\"\n";
    let _esp = appliance.write_esp(text);
    appliance.machine.start();
    let leaf = String::from_utf8(appliance.leaf("network.set").to_bytes()).unwrap();
    assert!(leaf.contains(r#""origin":"medium""#), "{leaf}");
    let folder = appliance.root.join("run/jingui/network");
    assert!(folder.join("50-jingui-0.network").exists());

    appliance.machine.hold_ceremony();
    appliance.machine.kill();
    fs::remove_file(appliance.machine.state().join("network-settings.json")).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    appliance.machine.start();
    assert!(
        !folder.join("50-jingui-0.network").exists(),
        "the ESP is under nobody's signature: a box that is set up does not listen to it"
    );
}

#[test]
fn a_first_network_that_makes_no_sense_is_a_reason_and_no_address() {
    let mut appliance = Appliance::new();
    let text = "[[interface]]\nname = \"ens3\"\nmethod = \"dhcp\"\ndns = \"10.0.2.3\"\n";
    let _esp = appliance.write_esp(text);
    appliance.machine.start();
    let reasons = appliance.picture().status.reasons;
    assert!(
        reasons.contains(&"network.file.malformed".to_owned()),
        "{reasons:?}"
    );
}

#[test]
fn restart_and_shut_down_are_recorded_stopped_in_order_and_handed_to_systemd() {
    for (request, act, verb) in [
        (Request::Restart, "restart", "reboot"),
        (Request::ShutDown, "shutdown", "poweroff"),
    ] {
        let mut appliance = Appliance::started();
        let done = appliance.done(request);
        assert_eq!(appliance.machine.wait_for_end(), Some(0));
        assert_eq!(appliance.notes(), format!("systemctl --no-block {verb}\n"));
        let asked = appliance.leaf("power.ask");
        assert_eq!(
            (asked.index, asked.draft.actor.as_str()),
            (done.leaf_index, "present")
        );
        let text = String::from_utf8(asked.to_bytes()).unwrap();
        assert!(text.contains(&format!(r#""act":"{act}""#)), "{text}");
        let names: Vec<String> = events(&appliance.machine.leaves())
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names.last().unwrap(), "shutdown");
        appliance.machine.verify_log();
    }
}

#[test]
fn a_box_without_people_is_reset_by_whoever_is_there_and_knows_its_serial() {
    let mut appliance = Appliance::started();
    let wrong = Request::Reset {
        serial: "jg000000000000".to_owned(),
        proofs: Vec::new(),
    };
    assert_eq!(appliance.refused(wrong), "reset.serial.wrong");
    appliance.done(appliance.reset(Vec::new()));
    assert_eq!(appliance.machine.wait_for_end(), Some(0));
    assert_eq!(appliance.notes(), "storage erase\nsystemctl --no-block reboot\n");
    let names: Vec<String> = events(&appliance.machine.leaves())
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let place = |name: &str| names.iter().rposition(|one| one == name).unwrap();
    assert!(
        place("factory.reset") < place("shutdown"),
        "recorded before anything is destroyed: {names:?}"
    );
}

#[test]
fn a_box_with_people_is_reset_by_its_system_admin_only() {
    let mut appliance = Appliance::started();
    appliance.machine.hold_ceremony();
    let step = now_step();
    assert_eq!(
        appliance.refused(appliance.reset(Vec::new())),
        "system.request.malformed"
    );
    let other = appliance.reset(vec![proof(Role::Audit, step)]);
    assert_eq!(appliance.refused(other), "auth.role.missing");
    let denied = appliance.leaf("factory.reset");
    assert_eq!(denied.draft.why, "auth.role.missing");
    assert_eq!(appliance.notes(), "");
    appliance.done(appliance.reset(vec![proof(Role::System, step + 1)]));
    assert_eq!(appliance.machine.wait_for_end(), Some(0));
    assert_eq!(appliance.notes(), "storage erase\nsystemctl --no-block reboot\n");
    let leaf = appliance.leaf("factory.reset");
    assert_eq!(
        (leaf.draft.actor.as_str(), leaf.draft.source.as_str()),
        ("a-0001", "screen")
    );
}

#[test]
fn a_reset_that_failed_says_so_and_does_not_restart_the_machine() {
    let mut appliance = Appliance::started();
    appliance.program(&appliance.storage(), "storage", 4);
    assert_eq!(appliance.refused(appliance.reset(Vec::new())), "reset.failed");
    assert_eq!(appliance.machine.wait_for_end(), Some(0));
    assert_eq!(appliance.notes(), "storage erase\n");
}

#[test]
fn evidence_needs_the_auditor_and_a_stick() {
    let appliance = Appliance::started();
    let export = |role, step| Request::ExportEvidence {
        proofs: vec![proof(role, step)],
    };
    let step = now_step();
    assert_eq!(appliance.refused(export(Role::Audit, step)), "auth.setup.missing");
    appliance.machine.hold_ceremony();
    assert_eq!(appliance.refused(export(Role::System, step)), "auth.role.missing");
    assert_eq!(appliance.refused(export(Role::Audit, step + 1)), "usb.stick.none");
    let failed = appliance.leaf("export.audit");
    assert_eq!(
        (failed.draft.why.as_str(), failed.draft.actor.as_str()),
        ("usb.stick.none", "a-0003")
    );
    appliance.machine.verify_log();
}

#[test]
fn evidence_on_a_stick_verifies_and_an_update_that_is_not_there_is_named() {
    let appliance = Appliance::started();
    appliance.machine.hold_ceremony();
    let stick = LoopDisk::plug(&appliance.root, "usb1", "sdb", "STICK");
    let step = now_step();
    let done = appliance.done(Request::ExportEvidence {
        proofs: vec![proof(Role::Audit, step)],
    });
    let fact = |name: &str| {
        let found = done.facts.iter().find(|(found, _)| found == name);
        found.unwrap_or_else(|| panic!("no {name}")).1.clone()
    };
    let size: u64 = fact("size").parse().unwrap();
    assert!(
        size > done.leaf_index,
        "the export's own leaf is in what was exported"
    );
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    assert!(
        !mounts.contains(appliance.root.to_str().unwrap()),
        "the stick may be pulled out"
    );
    stick.look("ro", |folder| {
        let log = folder.join(fact("folder"));
        let vkey = fs::read_to_string(log.with_extension("vkey")).unwrap();
        assert_eq!(vkey.trim(), fact("vkey"));
        super::machine::verify(&log, vkey.trim());
    });
    assert_eq!(appliance.refused(Request::LookAtUpdate), "usb.stick.content");
    fs::remove_dir_all(appliance.root.join("sys/class/block")).unwrap();
    assert_eq!(appliance.refused(Request::LookAtUpdate), "usb.stick.none");
}

/// An ext4 file system on a loop device that the box's surroundings show as the first partition of a disk.
struct LoopDisk {
    device: String,
    _file: tempfile::NamedTempFile,
}

impl LoopDisk {
    fn plug(root: &Path, bus: &str, disk: &str, label: &str) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test mounts a disk and needs root"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(32 * 1024 * 1024).unwrap();
        run("mkfs.ext4", &["-q", "-F", file.path().to_str().unwrap()]);
        let device = run("losetup", &["--find", "--show", file.path().to_str().unwrap()]);
        let device = device.trim().to_owned();
        let folder = root.join("sys/devices").join(bus).join("block").join(disk);
        let name = format!("{disk}1");
        let partition = folder.join(&name);
        fs::create_dir_all(folder.join("device")).unwrap();
        fs::create_dir_all(&partition).unwrap();
        for (path, text) in [
            (folder.join("removable"), "0"),
            (folder.join("size"), "65536"),
            (partition.join("partition"), "1"),
            (partition.join("size"), "65536"),
            (partition.join("uevent"), &format!("PARTNAME={label}")),
        ] {
            fs::write(path, text).unwrap();
        }
        let blocks = root.join("sys/class/block");
        symlink(&folder, blocks.join(disk)).unwrap();
        symlink(&partition, blocks.join(&name)).unwrap();
        symlink(&device, root.join("dev").join(&name)).unwrap();
        Self { device, _file: file }
    }

    /// As it looks on another machine.
    fn look(&self, options: &str, check: impl FnOnce(&Path)) {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().to_str().unwrap();
        run("mount", &["-o", options, &self.device, place]);
        check(folder.path());
        run("umount", &[place]);
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", &self.device]).status();
    }
}

fn run(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
