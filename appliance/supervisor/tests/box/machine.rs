//! A box for tests: the real supervisor with a real state folder, and small programs in place of gateway and engine.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use jingui_audit::storage::ReadStorage;
use jingui_audit::tile::{BUNDLE_BYTES_MAX, Kind, names, split_entries};
use jingui_audit::{Checkpoint, Leaf, VerifierKey};
use jingui_ipc::Channel;
use jingui_ipc::control::{
    Fault, NewAccount, NewUser, Private, Proof, Reply, Request, Role, SOCKET_NAME, SetUp,
};
use jingui_ipc::gateway::Ask;
use jingui_ipc::status::{Health, Status};
use jingui_pack::PackPath;
use jingui_pack::bundle::{Bundle, pre_authentication};
use jingui_pack::statement::Statement;
use jingui_trust::Sha256;
use jingui_trust::totp::{TotpSecret, step_at};
use jingui_trust::vendor_key::VendorKey;

/// How long anything may take on a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);
pub(crate) const PASSWORD: &str = "Correct-Horse-7";

/// A box in a folder of its own. Its processes end with it.
pub(crate) struct Machine {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) vendor: VendorKey,
    /// More words for the supervisor's command line.
    pub(crate) arguments: Vec<String>,
    supervisor: Option<Child>,
}

impl Machine {
    /// A box that was never started.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let supervisor = PathBuf::from(env!("CARGO_BIN_EXE_jingui-supervisor"));
        let examples = supervisor.with_file_name("examples");
        fs::copy(&supervisor, bin.join("jingui-supervisor")).unwrap();
        for (fake, name) in [
            ("fake_gateway", "jingui-gateway"),
            ("fake_engine", "jingui-engine"),
        ] {
            let built = examples.join(fake);
            assert!(
                built.exists(),
                "{fake} is built by `cargo test -p jingui-supervisor` without a choice of targets"
            );
            fs::copy(built, bin.join(name)).unwrap();
        }
        // The engine is another user of the host; it notes here what it was ordered.
        let notes = bin.join("engine-heard");
        fs::write(&notes, "").unwrap();
        fs::set_permissions(&notes, fs::Permissions::from_mode(0o666)).unwrap();
        let (vendor, _) = VendorKey::generate().unwrap();
        let machine = Self {
            folder,
            vendor,
            arguments: Vec::new(),
            supervisor: None,
        };
        fs::create_dir_all(machine.state().join("trust/vendors")).unwrap();
        let public = machine.vendor.public_key().unwrap().to_pem();
        fs::write(machine.state().join("trust/vendors/test.pem"), public).unwrap();
        machine
    }

    /// A box that was started, set up, and serves no model yet.
    pub(crate) fn set_up() -> Self {
        let mut machine = Self::new();
        machine.start();
        machine.hold_ceremony();
        machine
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Starts the supervisor and waits for its gateway.
    pub(crate) fn start(&mut self) {
        self.start_only();
        self.wait_until("the gateway serves", |status| {
            phase(status, "gateway") == "serving"
        });
    }

    /// Starts the supervisor and waits until it answers.
    pub(crate) fn start_only(&mut self) {
        let mut supervisor = Command::new(self.folder.path().join("bin/jingui-supervisor"))
            .arg("--state")
            .arg(self.state())
            .args(["--port", "0"])
            .args(&self.arguments)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Shown by the harness for tests that fail.
        let lines = BufReader::new(supervisor.stderr.take().unwrap()).lines();
        thread::spawn(move || lines.map_while(Result::ok).for_each(|line| println!("{line}")));
        self.supervisor = Some(supervisor);
        self.wait_until("the supervisor answers", |_| true);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.supervisor.as_ref().unwrap().id()
    }

    /// kill -9 of the supervisor.
    pub(crate) fn kill(&mut self) {
        let mut supervisor = self.supervisor.take().unwrap();
        supervisor.kill().unwrap();
        supervisor.wait().unwrap();
    }

    /// Waits for the supervisor's own end; gives its exit code.
    pub(crate) fn wait_for_end(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.supervisor.as_mut().unwrap().try_wait().unwrap() {
                self.supervisor = None;
                return status.code();
            }
            thread::sleep(PAUSE);
        }
        panic!("the supervisor did not end");
    }

    pub(crate) fn connect(&self) -> std::io::Result<Channel> {
        let socket = UnixStream::connect(self.state().join(SOCKET_NAME))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Channel::new(socket))
    }

    /// One request; progress is skipped.
    pub(crate) fn ask(&self, request: &Request) -> Reply {
        self.ask_with(request, &[])
    }

    pub(crate) fn ask_with(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Reply {
        let mut channel = self.connect().unwrap();
        channel.send_with(request, descriptors).unwrap();
        loop {
            match channel.receive::<Reply>().unwrap() {
                Reply::Progress { .. } => {}
                reply => return reply,
            }
        }
    }

    pub(crate) fn refused(&self, request: &Request) -> Fault {
        match self.ask(request) {
            Reply::Refused(fault) => fault,
            other => panic!("{other:?} instead of a refusal"),
        }
    }

    pub(crate) fn status(&self) -> Option<Status> {
        let mut channel = self.connect().ok()?;
        channel.send(&Request::Status).ok()?;
        match channel.receive::<Reply>().ok()? {
            Reply::Status(status) => Some(*status),
            other => panic!("{other:?} instead of a status"),
        }
    }

    pub(crate) fn wait_until(&self, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
        let deadline = Instant::now() + PATIENCE;
        let mut last = None;
        while Instant::now() < deadline {
            if let Some(status) = self.status() {
                if holds(&status) {
                    return status;
                }
                last = Some(status);
            }
            thread::sleep(PAUSE);
        }
        panic!("never: {what}; last status: {last:?}");
    }

    pub(crate) fn setup_code(&self) -> String {
        fs::read_to_string(self.state().join("setup-code")).unwrap()
    }

    pub(crate) fn ceremony(&self) -> SetUp {
        SetUp {
            setup_code: Private(self.setup_code()),
            accounts: [Role::System, Role::Security, Role::Audit]
                .map(new_account)
                .into(),
            first_user: Some(NewUser {
                username: "user".to_owned(),
                password: Private(PASSWORD.to_owned()),
                totp_secret: Private(secret(Role::User).to_base32().expose().clone()),
            }),
            first_key_label: Some("first".to_owned()),
        }
    }

    pub(crate) fn hold_ceremony(&self) {
        match self.ask(&Request::SetUp(self.ceremony())) {
            Reply::SetUpDone(done) => assert_eq!(done.first_key.unwrap().0, "k-1.secret"),
            other => panic!("{other:?} instead of a ceremony"),
        }
    }

    /// Imports a package with the proofs of these roles; uses codes of the step after those used before.
    pub(crate) fn import(&self, package: &Path, step: u64, roles: &[Role]) -> Reply {
        let folder = fs::File::open(package).unwrap();
        let request = Request::Import {
            folder_name: package.display().to_string(),
            proofs: roles.iter().map(|role| proof(*role, step)).collect(),
            activate: true,
        };
        self.ask_with(&request, &[folder.as_fd()])
    }

    /// Imports a package as system and security admin, whatever codes were used before: when all codes of this
    /// moment are used, the box is killed and made to forget them, since half a minute is long for a test.
    pub(crate) fn import_patiently(&mut self, package: &Path) -> Reply {
        loop {
            for step in now_step()..=now_step() + 1 {
                match self.import(package, step, &[Role::System, Role::Security]) {
                    Reply::Refused(fault) if fault.code == "auth.code.replayed" => {}
                    reply => return reply,
                }
            }
            self.kill();
            self.forget_used_codes();
            self.start();
        }
    }

    /// Makes a box that does not run forget which one-time codes were used.
    pub(crate) fn forget_used_codes(&self) {
        let path = self.state().join("people/accounts.json");
        let mut book: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for account in book["accounts"].as_array_mut().unwrap() {
            account["last_used_step"] = serde_json::Value::Null;
        }
        fs::write(path, book.to_string()).unwrap();
    }

    /// A signed copy of the demo model, with room for a change before it is signed.
    pub(crate) fn package(&self, name: &str, change: impl Fn(&Path)) -> PathBuf {
        let package = self.folder.path().join("packages").join(name);
        fs::create_dir_all(&package).unwrap();
        for entry in fs::read_dir(demo_model()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), package.join(entry.file_name())).unwrap();
        }
        change(&package);
        self.sign(&package, &self.vendor);
        package
    }

    pub(crate) fn sign(&self, package: &Path, vendor: &VendorKey) {
        let folder = fs::File::open(package).unwrap();
        jingui_pack::sign(folder.as_fd(), vendor, &mut |_, _| ()).unwrap();
    }

    /// A vendor whose tool looks at nothing: signs whatever lies there.
    pub(crate) fn sign_unchecked(&self, package: &Path) {
        let mut digests = BTreeMap::new();
        for entry in fs::read_dir(package).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if name != jingui_pack::SIGNATURE_NAME {
                digests.insert(
                    PackPath::parse(&name).unwrap(),
                    Sha256::of(&fs::read(entry.path()).unwrap()),
                );
            }
        }
        let payload = Statement::new("hostile".to_owned(), digests).to_bytes();
        let signature = self.vendor.sign(&pre_authentication(&payload)).unwrap();
        let bundle = Bundle {
            hint: self.vendor.public_key().unwrap().hint(),
            payload,
            signature,
        };
        fs::write(package.join(jingui_pack::SIGNATURE_NAME), bundle.to_bytes()).unwrap();
    }

    /// All leaves, after the log was verified.
    pub(crate) fn leaves(&self) -> Vec<Leaf> {
        let folder = Folder(self.state().join("audit"));
        let vkey = fs::read_to_string(self.state().join("trust/audit.vkey")).unwrap();
        let vkey: VerifierKey = vkey.trim().parse().unwrap();
        let note = folder.read("checkpoint", 1 << 16).unwrap().unwrap();
        let size = Checkpoint::open(&note, &vkey).unwrap().size;
        let mut leaves = Vec::new();
        for name in names(size).filter(|name| name.kind == Kind::Entries) {
            let read = |path: String| folder.read(&path, BUNDLE_BYTES_MAX).unwrap();
            let bundle = read(name.to_string())
                .or_else(|| read(name.full().to_string()))
                .unwrap();
            for entry in split_entries(&bundle)
                .unwrap()
                .into_iter()
                .take(usize::from(name.width))
            {
                leaves.push(Leaf::parse(entry).unwrap());
            }
        }
        leaves
    }

    /// The whole log verifies.
    pub(crate) fn verify_log(&self) {
        let folder = Folder(self.state().join("audit"));
        let vkey = fs::read_to_string(self.state().join("trust/audit.vkey")).unwrap();
        jingui_audit::verify(&folder, &vkey.trim().parse().unwrap(), None).unwrap();
    }

    /// What the gateway was told.
    pub(crate) fn heard(&self) -> String {
        fs::read_to_string(self.state().join("gateway/heard")).unwrap_or_default()
    }

    /// How many lines the gateway heard that begin so.
    pub(crate) fn heard_count(&self, beginning: &str) -> usize {
        self.heard()
            .lines()
            .filter(|line| line.starts_with(beginning))
            .count()
    }

    /// The gateway notes what it hears a moment after the supervisor said it.
    pub(crate) fn wait_until_heard(&self, beginning: &str, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.heard_count(beginning) < count {
            assert!(
                Instant::now() < deadline,
                "never heard {beginning} {count} times: {}",
                self.heard()
            );
            thread::sleep(PAUSE);
        }
    }

    /// Lets the gateway ask, and gives the line it heard as the answer.
    pub(crate) fn ask_through_gateway(&self, ask: &Ask) -> String {
        let before = self.heard_count("answer ");
        fs::write(self.state().join("gateway/ask"), serde_json::to_vec(ask).unwrap()).unwrap();
        self.wait_until_heard("answer ", before + 1);
        self.heard()
            .lines()
            .rfind(|line| line.starts_with("answer "))
            .unwrap()
            .to_owned()
    }

    /// How the gateway answers golden prompts from now on.
    pub(crate) fn answer_golden(&self, manner: &str) {
        fs::write(self.state().join("gateway/golden"), manner).unwrap();
    }

    /// How engines that are started from now on behave.
    pub(crate) fn behave_engine(&self, manner: &str) {
        fs::write(self.folder.path().join("bin/engine-behaves"), manner).unwrap();
    }

    /// What engines were ordered.
    pub(crate) fn engines_heard(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("bin/engine-heard")).unwrap_or_default();
        text.lines().map(ToOwned::to_owned).collect()
    }

    /// Imports the next version of the demo model.
    pub(crate) fn import_version(&mut self, number: u64) -> jingui_ipc::status::ModelFacts {
        let package = self.package(&format!("version-{number}"), |it| {
            let path = it.join("release.json");
            let text = fs::read_to_string(&path).unwrap();
            let new = format!("\"security_version\": {number}");
            fs::write(path, text.replace("\"security_version\": 1", &new)).unwrap();
        });
        match self.import_patiently(&package) {
            Reply::Imported { model, .. } => *model,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn behave(&self, gateway: &str) {
        fs::write(self.state().join("gateway/behave"), gateway).unwrap();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut supervisor) = self.supervisor.take() {
            let _ = supervisor.kill();
            let _ = supervisor.wait();
        }
    }
}

struct Folder(PathBuf);

impl ReadStorage for Folder {
    fn read(&self, path: &str, _bytes_max: usize) -> std::io::Result<Option<Vec<u8>>> {
        match fs::read(self.0.join(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A log in a folder verifies with that key.
pub(crate) fn verify(log: &Path, vkey: &str) {
    jingui_audit::verify(&Folder(log.to_owned()), &vkey.parse().unwrap(), None).unwrap();
}

pub(crate) fn demo_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../image/models/glm4-canary")
}

pub(crate) fn phase(status: &Status, role: &str) -> String {
    status
        .processes
        .iter()
        .find(|process| process.role == role)
        .unwrap()
        .phase
        .clone()
}

pub(crate) fn is_well(status: &Status) -> bool {
    status.health == Health::Ok
}

pub(crate) fn username(role: Role) -> &'static str {
    match role {
        Role::System => "wei",
        Role::Security => "lan",
        Role::Audit => "mei",
        Role::User => "user",
    }
}

pub(crate) fn secret(role: Role) -> TotpSecret {
    let sign = username(role).to_uppercase().chars().next().unwrap();
    TotpSecret::from_base32(&sign.to_string().repeat(32)).unwrap()
}

pub(crate) fn now_step() -> u64 {
    step_at(
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs(),
    )
}

pub(crate) fn proof(role: Role, step: u64) -> Proof {
    Proof {
        username: username(role).to_owned(),
        password: Private(PASSWORD.to_owned()),
        code: Private(secret(role).code_at(step)),
    }
}

pub(crate) fn new_account(role: Role) -> NewAccount {
    NewAccount {
        role,
        username: username(role).to_owned(),
        password: Private(PASSWORD.to_owned()),
        totp_secret: Private(secret(role).to_base32().expose().clone()),
        totp_code: Private(secret(role).code_at(now_step())),
    }
}

/// Names of events with their codes, in order.
pub(crate) fn events(leaves: &[Leaf]) -> Vec<(String, String)> {
    leaves
        .iter()
        .map(|leaf| (leaf.draft.event.name().to_owned(), leaf.draft.why.clone()))
        .collect()
}
