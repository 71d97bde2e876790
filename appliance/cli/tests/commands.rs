//! Commands through the program's door: exit codes, codes of errors, JSON; the supervisor is a small one of the test.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::fs;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use jingui_audit::event::Event;
use jingui_audit::leaf::{BootId, Commitments, Draft, Outcome, Role as LeafRole, TimeSource, Timestamp};
use jingui_audit::{GuardStore, ReadStorage, Signer, Storage, Writer};
use jingui_ipc::Channel;
use jingui_ipc::control::{Fault, FaultKind, Private, Reply, Request, SetUpDone};
use jingui_ipc::status::{AuditState, Guarantee, Health, Process, Status};
use jingui_trust::log_key::LogKey;
use serde_json::{Value, json};

const ORIGIN: &str = "jingui.example/jg0/audit/1";

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jingui"));
    command
        .args(arguments)
        .env_clear()
        .env("LANG", "en_US.UTF-8")
        .stdin(std::process::Stdio::null());
    command.output().unwrap()
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn ended(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}", words(output));
    words(output)
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", words(output)))
}

fn demo_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../image/models/glm4-canary")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A supervisor that gives one prepared reply after another, on one connection or several.
fn supervisor(state: &Path, replies: Vec<Reply>) -> Receiver<Request> {
    let listener = UnixListener::bind(state.join("control.sock")).unwrap();
    let (sender, requests) = channel();
    thread::spawn(move || {
        let mut replies = replies.into_iter().peekable();
        while replies.peek().is_some() {
            let mut channel = Channel::new(listener.accept().unwrap().0);
            while let Ok(request) = channel.receive::<Request>() {
                let is_import = matches!(request, Request::Import { .. });
                assert_eq!(channel.take_descriptors().len(), usize::from(is_import));
                // A test that does not look at the requests has dropped its end.
                let _ = sender.send(request);
                for reply in replies.by_ref() {
                    channel.send(&reply).unwrap();
                    if !matches!(reply, Reply::Progress { .. }) {
                        break;
                    }
                }
            }
        }
    });
    requests
}

fn login_file(folder: &Path) -> PathBuf {
    let account = |role: &str, secret: &str| json!({ "role": role, "username": role, "password": "Correct-Horse-7", "totp_secret": secret.repeat(32) });
    let accounts = [
        account("system", "A"),
        account("security", "B"),
        account("audit", "C"),
        account("user", "D"),
    ];
    let path = folder.join("demo.json");
    fs::write(
        &path,
        json!({ "base_url": "https://127.0.0.1:8443", "accounts": accounts }).to_string(),
    )
    .unwrap();
    path
}

fn refused(kind: FaultKind, code: &str) -> Reply {
    Reply::Refused(Fault {
        kind,
        code: code.to_owned(),
        facts: Vec::new(),
    })
}

fn status(health: Health, vkey: &str) -> Status {
    Status {
        version: "0.1.0".to_owned(),
        serial: "jg0".to_owned(),
        health,
        reasons: if health == Health::Stopped {
            vec!["audit.unwritable".to_owned()]
        } else {
            Vec::new()
        },
        details: Vec::new(),
        is_set_up: true,
        is_developer_mode: true,
        supervisor_pid: 1,
        processes: vec![Process {
            role: "gateway".to_owned(),
            pid: Some(7),
            phase: "serving".to_owned(),
            restart_count: 0,
            step_count: None,
            model: None,
            progress: None,
        }],
        serving: None,
        platform: Vec::new(),
        guarantees: vec![
            Guarantee {
                name: "gateway.seccomp".to_owned(),
                group: "process".to_owned(),
                in_force: true,
                why: None,
            },
            Guarantee {
                name: "platform.secure-boot".to_owned(),
                group: "platform".to_owned(),
                in_force: false,
                why: Some("guarantee.why.developer-machine".to_owned()),
            },
        ],
        audit: AuditState {
            origin: ORIGIN.to_owned(),
            vkey: vkey.to_owned(),
            size: 3,
            root: String::new(),
            is_writable: health != Health::Stopped,
        },
        uptime_ms: 1,
    }
}

/// A log in a folder, grown by the real writer.
struct Folder(PathBuf);

impl ReadStorage for Folder {
    fn read(&self, path: &str, _bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.0.join(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }
}

impl Storage for Folder {
    fn write_durably(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        fs::create_dir_all(self.0.join(path).parent().unwrap())?;
        fs::write(self.0.join(path), bytes)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let Ok(entries) = fs::read_dir(self.0.join(folder)) else {
            return Ok(Vec::new());
        };
        Ok(entries
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_type().unwrap().is_file())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect())
    }

    fn remove_folder(&mut self, folder: &str) -> io::Result<()> {
        fs::remove_dir_all(self.0.join(folder)).or(Ok(()))
    }
}

#[derive(Default)]
struct Guard(Option<Vec<u8>>);

impl GuardStore for Guard {
    fn load(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.clone())
    }

    fn store(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0 = Some(bytes.to_vec());
        Ok(())
    }
}

struct Log {
    writer: Writer<Folder, Guard>,
    folder: PathBuf,
    vkey: String,
}

impl Log {
    fn new(state: &Path) -> Self {
        let folder = state.join("audit");
        let signer = Signer::new(ORIGIN, LogKey::from_seed(&[1; 32]).unwrap()).unwrap();
        let vkey = signer.vkey().to_string();
        let (writer, _) = Writer::open(Folder(folder.clone()), Guard::default(), signer).unwrap();
        fs::create_dir_all(state.join("trust")).unwrap();
        fs::write(state.join("trust/audit.vkey"), format!("{vkey}\n")).unwrap();
        Self { writer, folder, vkey }
    }

    fn grow(&mut self, count: usize) {
        let draft = Draft {
            time: Timestamp::from_unix_ms(0),
            time_source: TimeSource::Rtc,
            boot: BootId([1; 16]),
            mono_ms: 0,
            actor: "supervisor".to_owned(),
            role: LeafRole::Device,
            session: String::new(),
            source: String::new(),
            event: Event::ConsoleError {},
            object: String::new(),
            outcome: Outcome::Ok,
            why: String::new(),
            commitments: Commitments::default(),
        };
        for _ in 0..count {
            self.writer.append(vec![draft.clone()]).unwrap();
        }
    }
}

#[test]
fn a_package_is_made_signed_and_checked_and_each_damage_has_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let (keys, other, package) = (
        folder.path().join("k"),
        folder.path().join("o"),
        folder.path().join("p"),
    );
    ended(&run(&["model", "keygen", "--out", text(&keys)]), 0);
    ended(&run(&["model", "keygen", "--out", text(&other)]), 0);
    assert!(ended(&run(&["model", "keygen", "--out", text(&keys)]), 2).contains("system.file.exists"));
    fs::create_dir(&package).unwrap();
    for entry in fs::read_dir(demo_model()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), package.join(entry.file_name())).unwrap();
    }
    let (private, public) = (keys.join("vendor.key"), keys.join("vendor.pem"));
    let signed = run(&["model", "sign", text(&package), "--key", text(&private), "--json"]);
    ended(&signed, 0);
    let verify = |key: &Path| run(&["model", "verify", text(&package), "--key", text(key), "--json"]);
    let verified = verify(&public);
    ended(&verified, 0);
    assert_eq!(
        json_of(&verified)["package_digest"],
        json_of(&signed)["package_digest"]
    );
    assert!(ended(&verify(&other.join("vendor.pem")), 1).contains("model.signature.unknown-key"));
    assert!(ended(&verify(&private), 2).contains("model.key."));
    assert!(ended(&verify(&folder.path().join("none")), 2).contains("system.file.unreadable"));
    fs::write(package.join("LICENSE"), "other").unwrap();
    let altered = verify(&public);
    ended(&altered, 1);
    let error = &json_of(&altered)["error"];
    assert_eq!(error["code"], "model.file.altered");
    assert_eq!(error["facts"]["file"], "LICENSE");
    for part in ["what", "why", "do"] {
        assert!(error[part].as_str().unwrap().len() > 10, "{error}");
    }
}

#[test]
fn inspect_shows_facts_of_a_sound_file_and_names_the_rule_of_a_bad_one() {
    let folder = tempfile::tempdir().unwrap();
    let sound = demo_model().join("glm4-canary-f16.gguf");
    let facts = run(&["model", "inspect", text(&sound), "--json"]);
    ended(&facts, 0);
    let facts = json_of(&facts);
    assert_eq!(
        (&facts["architecture"], &facts["layer_count"]),
        (&json!("glm4"), &json!(4))
    );
    let bad = folder.path().join("bad.gguf");
    fs::write(&bad, b"GGUF\x02\0\0\0").unwrap();
    assert!(ended(&run(&["model", "inspect", text(&bad)]), 2).contains("model.gguf."));
    assert!(ended(&run(&["model", "inspect", text(&folder.path().join("none"))]), 2).contains("unreadable"));
}

#[test]
fn errors_are_told_in_both_languages_with_the_same_code() {
    let folder = tempfile::tempdir().unwrap();
    let state = text(folder.path());
    let english = ended(&run(&["status", "--state", state, "--lang", "en"]), 4);
    let chinese = ended(&run(&["status", "--state", state, "--lang", "zh-CN"]), 4);
    assert!(
        english.contains("The supervisor cannot be reached.") && english.contains("Code: system.control.")
    );
    assert!(chinese.contains("无法连接到设备的主管进程。") && chinese.contains("代码：system.control."));
}

#[test]
fn a_log_is_verified_and_each_class_of_verdict_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::new(folder.path());
    log.grow(3);
    let older = folder.path().join("older");
    fs::copy(log.folder.join("checkpoint"), &older).unwrap();
    log.grow(300);
    let verify = |more: &[&str]| {
        let mut arguments = vec!["audit", "verify", text(&log.folder)];
        arguments.extend(more);
        run(&arguments)
    };
    let vkey = log.vkey.as_str();
    let intact = verify(&["--vkey", vkey, "--since", text(&older), "--json"]);
    ended(&intact, 0);
    assert_eq!(json_of(&intact)["size"], 303);
    let as_file = folder.path().join("trust/audit.vkey");
    ended(&verify(&["--vkey", text(&as_file)]), 0);
    assert!(ended(&verify(&["--vkey", "nonsense+1+2"]), 2).contains("audit.vkey.malformed"));
    let other = Signer::new(ORIGIN, LogKey::from_seed(&[2; 32]).unwrap())
        .unwrap()
        .vkey()
        .to_string();
    let first_line = |output: Output| ended(&output, 1).lines().next().unwrap().to_owned();
    assert_eq!(first_line(verify(&["--vkey", &other])), "bad-signature");

    let newer = folder.path().join("newer");
    fs::rename(log.folder.join("checkpoint"), &newer).unwrap();
    assert_eq!(first_line(verify(&["--vkey", vkey])), "missing");
    fs::copy(&older, log.folder.join("checkpoint")).unwrap();
    assert_eq!(
        first_line(verify(&["--vkey", vkey, "--since", text(&newer)])),
        "truncated"
    );
    fs::copy(&newer, log.folder.join("checkpoint")).unwrap();
    let bundle = log.folder.join("tile/entries/000");
    let mut bytes = fs::read(&bundle).unwrap();
    // The year of the first leaf's time.
    let year = bytes.windows(5).position(|window| window == b"1970-").unwrap();
    bytes[year + 3] = b'1';
    fs::write(&bundle, bytes).unwrap();
    assert_eq!(first_line(verify(&["--vkey", vkey])), "altered");
}

#[test]
fn an_export_is_recorded_copied_and_checked_and_never_mixes_with_other_files() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    let mut log = Log::new(&state);
    log.grow(300);
    let login = login_file(folder.path());
    let replies = vec![
        Reply::Done { leaf_index: 299 },
        Reply::Status(Box::new(status(Health::Ok, &log.vkey))),
    ];
    let requests = supervisor(&state, replies);
    let to = folder.path().join("export");
    let export = || {
        run(&[
            "audit",
            "export",
            "--to",
            text(&to),
            "--login",
            text(&login),
            "--state",
            text(&state),
            "--json",
        ])
    };
    let output = export();
    ended(&output, 0);
    assert_eq!(
        (&json_of(&output)["size"], &json_of(&output)["leaf_index"]),
        (&json!(300), &json!(299))
    );
    match requests.recv().unwrap() {
        Request::ExportAudit { proof } => assert_eq!(proof.username, "audit"),
        other => panic!("{other:?}"),
    }
    ended(&run(&["audit", "verify", text(&to), "--vkey", &log.vkey]), 0);
    assert!(ended(&export(), 2).contains("system.export.not-empty"));
}

#[test]
fn an_export_works_while_the_log_is_stopped_and_says_that_it_is_not_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::new(folder.path());
    log.grow(3);
    let login = login_file(folder.path());
    let status = Reply::Status(Box::new(status(Health::Stopped, &log.vkey)));
    supervisor(
        folder.path(),
        vec![refused(FaultKind::Unavailable, "audit.unwritable"), status],
    );
    let to = folder.path().join("export");
    let state = text(folder.path());
    let output = run(&[
        "audit",
        "export",
        "--to",
        text(&to),
        "--login",
        text(&login),
        "--state",
        state,
    ]);
    assert!(ended(&output, 0).contains("could not be recorded"));
    ended(&run(&["audit", "verify", text(&to), "--vkey", &log.vkey]), 0);
}

#[test]
fn a_proof_is_written_once_and_a_leaf_that_is_not_there_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::new(folder.path());
    log.grow(3);
    let to = folder.path().join("one.tlog-proof");
    let state = text(folder.path());
    let prove = |index: &str| run(&["audit", "proof", index, "--to", text(&to), "--state", state]);
    assert!(ended(&prove("3"), 2).contains("audit.proof.no-such-leaf"));
    ended(&prove("1"), 0);
    assert!(
        fs::read_to_string(&to)
            .unwrap()
            .starts_with("c2sp.org/tlog-proof@v1\nindex 1\n")
    );
    assert!(ended(&prove("1"), 2).contains("system.file.exists"));
}

#[test]
fn acts_carry_the_right_proofs_and_end_as_the_supervisor_says() {
    let folder = tempfile::tempdir().unwrap();
    let login = login_file(folder.path());
    let state = text(folder.path());
    let replies = vec![
        Reply::Progress {
            done_bytes: 1,
            total_bytes: 2,
        },
        refused(FaultKind::NotAllowed, "auth.code.replayed"),
        refused(FaultKind::Refused, "model.file.altered"),
        refused(FaultKind::NotAllowed, "auth.account.locked"),
        refused(FaultKind::Unavailable, "system.gateway.absent"),
        Reply::Key {
            key: Private("k-1.secret".to_owned()),
            leaf_index: 5,
        },
    ];
    let requests = supervisor(folder.path(), replies);
    let package = demo_model();
    let import = run(&[
        "model",
        "import",
        text(&package),
        "--login",
        text(&login),
        "--state",
        state,
    ]);
    assert!(ended(&import, 2).contains("model.file.altered"));
    let mut codes = Vec::new();
    for _ in 0..2 {
        let Request::Import { proofs, activate, .. } = requests.recv().unwrap() else {
            panic!("an import")
        };
        assert_eq!(
            proofs
                .iter()
                .map(|proof| proof.username.as_str())
                .collect::<Vec<_>>(),
            ["system", "security"]
        );
        assert!(!activate);
        codes.push(proofs[0].code.0.clone());
    }
    assert_ne!(codes[0], codes[1], "a used code is followed by the next one");

    let create = || {
        run(&[
            "key",
            "create",
            "--label",
            "reports",
            "--login",
            text(&login),
            "--state",
            state,
            "--json",
        ])
    };
    assert!(ended(&create(), 3).contains("auth.account.locked"));
    assert!(ended(&create(), 4).contains("system.gateway.absent"));
    let created = create();
    ended(&created, 0);
    assert_eq!(json_of(&created), json!({ "key": "k-1.secret", "leaf_index": 5 }));
    match requests.recv().unwrap() {
        Request::CreateKey { proof, label } => {
            assert_eq!((proof.username.as_str(), label.as_str()), ("security", "reports"))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_ceremony_takes_its_people_from_a_file_and_its_code_from_the_box() {
    let folder = tempfile::tempdir().unwrap();
    let login = login_file(folder.path());
    fs::write(folder.path().join("setup-code"), "7KQM-2XHB-R9CF-WT4P\n").unwrap();
    let done = SetUpDone {
        leaf_index: 9,
        first_key: Some(Private("k-1.secret".to_owned())),
        recovery_key: Some(Private("cbdefghi-jklnrtuv".to_owned())),
    };
    let requests = supervisor(folder.path(), vec![Reply::SetUpDone(done)]);
    let state = text(folder.path());
    let output = run(&[
        "setup",
        "--accounts",
        text(&login),
        "--first-key-label",
        "first",
        "--state",
        state,
        "--json",
    ]);
    ended(&output, 0);
    assert_eq!(json_of(&output)["first_key"], "k-1.secret");
    assert_eq!(json_of(&output)["recovery_key"], "cbdefghi-jklnrtuv");
    let Request::SetUp(set_up) = requests.recv().unwrap() else {
        panic!("a ceremony")
    };
    assert_eq!(set_up.setup_code.0, "7KQM-2XHB-R9CF-WT4P");
    assert_eq!(set_up.accounts.len(), 3);
    assert_eq!(set_up.first_user.unwrap().username, "user");
}

#[test]
fn status_shows_health_first_and_what_is_not_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let state = text(folder.path());
    let reply = || Reply::Status(Box::new(status(Health::Stopped, "v")));
    supervisor(folder.path(), vec![reply(), reply()]);
    let shown = ended(&run(&["status", "--state", state]), 0);
    let first = shown.lines().next().unwrap();
    assert_eq!(first, "Health: acts stopped");
    assert!(shown.contains("[audit.unwritable]"), "{shown}");
    let (in_force, rest) = shown.split_once("Guarantees not in force (1):").unwrap();
    assert!(
        in_force.contains("Guarantees in force (1):") && in_force.contains("gateway.seccomp"),
        "{shown}"
    );
    assert!(
        rest.contains("platform.secure-boot") && rest.contains("developer's machine"),
        "{shown}"
    );
    let json = json_of(&run(&["status", "--state", state, "--json"]));
    assert_eq!(
        (&json["health"], &json["is_set_up"]),
        (&json!("stopped"), &json!(true))
    );
}

#[test]
fn a_command_that_needs_a_person_says_so_without_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    supervisor(folder.path(), vec![Reply::Done { leaf_index: 1 }]);
    let output = run(&["key", "create", "--label", "x", "--state", text(folder.path())]);
    assert!(ended(&output, 64).contains("system.login.no-terminal"));
}
