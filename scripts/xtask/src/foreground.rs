//! `scripts/run`: build, sign the demo model, start the supervisor, hold the demo ceremony, stay in the foreground.
//!
//! Stands where systemd stands in the sealed image: starts the supervisor, starts it again when it was killed, ends
//! it on Ctrl-C or SIGTERM and waits until it is gone. It holds no key and no descriptor of the box.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use jingui_ipc::status::{Health, Status};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::demo::{Control, Demo, Pids, write_private};
use crate::vendor::Vendor;
use crate::{build, say, tree};

/// Options of `scripts/run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Folder for everything that the box keeps.
    #[arg(long, value_name = "DIR", default_value = "target/state")]
    state: PathBuf,
    /// TCP port to serve on; 0 takes a free one.
    #[arg(long, value_name = "N", default_value_t = 8443)]
    port: u16,
    /// Address to serve on; 0.0.0.0 for the whole LAN.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1")]
    bind: IpAddr,
    /// Leave the first-boot ceremony to a person at the console or at `jingui setup`.
    #[arg(long)]
    setup: bool,
    /// Another signed package to import and serve instead of the demo model.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Write the contents of demo.json there too, once everything serves.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    #[command(flatten)]
    measuring: Measuring,
}

/// What only those who measure set.
#[derive(Debug, Clone, clap::Args)]
struct Measuring {
    /// Start the programs of that folder instead of building.
    #[arg(long, value_name = "DIR", hide = true)]
    programs: Option<PathBuf>,
    /// Threads of an engine.
    #[arg(long, value_name = "N", hide = true)]
    engine_threads: Option<u32>,
    /// Streams at once.
    #[arg(long, value_name = "N", hide = true)]
    engine_streams: Option<u32>,
    /// Context of one stream in tokens.
    #[arg(long, value_name = "N", hide = true)]
    engine_context_tokens: Option<u32>,
    /// KV cells of all streams and cached prefixes.
    #[arg(long, value_name = "N", hide = true)]
    engine_kv_tokens: Option<u32>,
}

impl Measuring {
    /// The same in the words of the supervisor.
    fn of_supervisor(&self) -> Vec<String> {
        [
            ("--engine-threads", self.engine_threads),
            ("--engine-streams", self.engine_streams),
            ("--engine-context-tokens", self.engine_context_tokens),
            ("--engine-kv-tokens", self.engine_kv_tokens),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some([name.to_owned(), value?.to_string()]))
        .flatten()
        .collect()
    }
}

/// Longest wait until the supervisor answers and the gateway serves.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// Longest wait until a model serves after it was imported. Large ones take minutes to hash and map.
const SERVE_DEADLINE: Duration = Duration::from_secs(900);
/// Longest wait for an orderly end before the supervisor is killed; its children die with it.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);
const REFRESH: Duration = Duration::from_millis(500);
/// Pause before a supervisor that ended by itself is started again, doubled up to the maximum.
const RESTART_PAUSE_MIN: Duration = Duration::from_millis(200);
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(10);
/// A supervisor that lived so long starts with the shortest pause again.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// Serves until Ctrl-C.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let tree = tree()?;
    let programs = match &options.measuring.programs {
        Some(folder) => folder.clone(),
        None => build::product(&tree)?,
    };
    let stop = stop_on_signals()?;
    let state = prepare_state(options)?;
    let vendor = Vendor::ensure(&tree, &programs)?;
    let package = match &options.model {
        Some(folder) => folder.clone(),
        None => vendor.sign_demo_package(&tree, &programs)?,
    };
    // Before anything is started: a wrong folder should not cost a ceremony.
    let model = package_name(&package)?;
    vendor.trust_in(&state)?;
    let mut session = Session {
        program: programs.join("jingui-supervisor"),
        demo_file: state.join("demo.json"),
        bind: options.bind,
        port: options.port,
        vendor_key: vendor.public,
        package,
        model,
        state,
        stop,
        setup_by_person: options.setup,
        supervisor_options: options.measuring.of_supervisor(),
        ready_file: options.ready_file.clone(),
    };
    session.serve()
}

/// One run of `scripts/run`.
struct Session {
    program: PathBuf,
    state: PathBuf,
    demo_file: PathBuf,
    ready_file: Option<PathBuf>,
    bind: IpAddr,
    /// 0 until the first supervisor has bound one.
    port: u16,
    package: PathBuf,
    /// Name of the model in `package`.
    model: String,
    vendor_key: PathBuf,
    setup_by_person: bool,
    /// Further options of the supervisor.
    supervisor_options: Vec<String>,
    stop: Arc<AtomicBool>,
}

impl Session {
    fn serve(&mut self) -> anyhow::Result<ExitCode> {
        let mut pause = RESTART_PAUSE_MIN;
        loop {
            let started = Instant::now();
            let mut supervisor = self.start()?;
            let served = self.accompany(&mut supervisor);
            if served.is_err() || self.is_stopping() {
                end(&mut supervisor)?;
                return served.map(|()| ExitCode::SUCCESS);
            }
            let status = supervisor.wait()?;
            // An exit code is a decision (a bad state folder, a port in use); only a violent end is worth a retry.
            if let Some(code) = status.code() {
                say(
                    "the supervisor will not run so: docs/manual/codes.md explains the code above and what to do",
                );
                return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
            }
            say(&format!(
                "the supervisor was ended by signal {}; starting it again",
                status.signal().unwrap_or(0)
            ));
            pause = if started.elapsed() > HEALTHY_AFTER {
                RESTART_PAUSE_MIN
            } else {
                pause
            };
            self.wait(pause);
            pause = (pause * 2).min(RESTART_PAUSE_MAX);
        }
    }

    fn start(&self) -> anyhow::Result<Child> {
        Command::new(&self.program)
            .arg("--state")
            .arg(&self.state)
            .args(["--port", &self.port.to_string(), "--bind", &self.bind.to_string()])
            .args(&self.supervisor_options)
            // Its end tells the supervisor that this program is gone, however it went.
            .arg("--stop-when-stdin-closes")
            .stdin(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be started", self.program.display()))
    }

    /// From a started supervisor to its end or a wish to stop.
    fn accompany(&mut self, supervisor: &mut Child) -> anyhow::Result<()> {
        let Some((mut control, status)) = self.reach(supervisor)? else {
            return Ok(());
        };
        let Some(mut demo) = self.make_demo(&mut control, &status, supervisor)? else {
            while self.is_alive(supervisor)? {
                self.wait(REFRESH);
            }
            return Ok(());
        };
        let mut announced = false;
        while self.is_alive(supervisor)? {
            // A supervisor that dies between the look and the question is the next round's business.
            let Ok(status) = control.status() else { continue };
            let pids = Pids::of(&status);
            if status.health == Health::Ok && (!announced || demo.pids != pids) {
                demo.pids = pids;
                self.publish(&demo, !announced)?;
                announced = true;
            }
            self.wait(if announced { REFRESH } else { POLL });
        }
        Ok(())
    }

    /// Waits until the supervisor answers and its gateway accepts connections.
    fn reach(&mut self, supervisor: &mut Child) -> anyhow::Result<Option<(Control, Status)>> {
        let deadline = Instant::now() + START_DEADLINE;
        while self.is_alive(supervisor)? {
            if let Ok(mut control) = Control::connect(&self.state) {
                let status = control.status()?;
                let has_gateway = status
                    .processes
                    .iter()
                    .any(|it| it.role == "gateway" && it.phase == "serving");
                if status.supervisor_pid == supervisor.id() && has_gateway {
                    self.port = bound_port(&self.state)?;
                    return Ok(Some((control, status)));
                }
            }
            ensure!(
                Instant::now() < deadline,
                "the supervisor did not begin to serve within {START_DEADLINE:?}"
            );
            self.wait(POLL);
        }
        Ok(None)
    }

    /// The ceremony and the import, or what an earlier start made. `None` when a person does it.
    fn make_demo(
        &self,
        control: &mut Control,
        status: &Status,
        supervisor: &mut Child,
    ) -> anyhow::Result<Option<Demo>> {
        let earlier = std::fs::read(&self.demo_file)
            .ok()
            .and_then(|it| serde_json::from_slice::<Demo>(&it).ok());
        let (accounts, api_key) = match earlier {
            Some(demo) if status.is_set_up => (demo.accounts, demo.api_key),
            _ if status.is_set_up || self.setup_by_person => {
                self.leave_to_person(status)?;
                return Ok(None);
            }
            _ => {
                say("holding the demo ceremony");
                control.hold_ceremony(&std::fs::read_to_string(self.state.join("setup-code"))?)?
            }
        };
        let wanted = self.model.clone();
        let serves_wanted = |it: &Status| it.serving.as_ref().is_some_and(|model| model.name == wanted);
        if !control.is_installed(&wanted)? {
            say(&format!("importing {wanted}"));
            control.import(&self.package, &accounts)?;
        }
        let deadline = Instant::now() + SERVE_DEADLINE;
        while self.is_alive(supervisor)? {
            let status = control.status()?;
            if status.health == Health::Ok && serves_wanted(&status) {
                return Ok(Some(Demo {
                    base_url: self.base_url(),
                    ca_cert: self.state.join("ca.pem"),
                    api_key,
                    accounts,
                    audit_vkey: status.audit.vkey.clone(),
                    vendor_key: self.vendor_key.clone(),
                    model: wanted,
                    pids: Pids::of(&status),
                }));
            }
            ensure!(
                Instant::now() < deadline,
                "no model serves within {SERVE_DEADLINE:?}: {:?}",
                status.reasons
            );
            self.wait(POLL);
        }
        Ok(None)
    }

    fn leave_to_person(&self, status: &Status) -> anyhow::Result<()> {
        let url = self.base_url();
        if status.is_set_up {
            println!("Jingui serves at {url}");
        } else {
            let code = std::fs::read_to_string(self.state.join("setup-code"))?;
            println!(
                "Jingui waits for its first-boot ceremony at {url}/setup\nSetup code: {}",
                code.trim()
            );
        }
        println!("Certificate authority: {}", self.state.join("ca.pem").display());
        Ok(())
    }

    fn publish(&self, demo: &Demo, is_first: bool) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(demo)? + "\n";
        write_private(&self.demo_file, &text)?;
        if let Some(file) = &self.ready_file {
            write_private(file, &text)?;
        }
        if is_first {
            println!(
                "Jingui serves {} at {}\n  accounts and API key: {}\n  certificate authority: {}\n  Ctrl-C stops it.",
                demo.model,
                demo.base_url,
                self.demo_file.display(),
                demo.ca_cert.display(),
            );
        }
        Ok(())
    }

    fn base_url(&self) -> String {
        let address = if self.bind.is_unspecified() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            self.bind
        };
        format!("https://{}", SocketAddr::new(address, self.port))
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn is_alive(&self, supervisor: &mut Child) -> anyhow::Result<bool> {
        Ok(!self.is_stopping() && supervisor.try_wait()?.is_none())
    }

    /// Waits, but not beyond a wish to stop.
    fn wait(&self, pause: Duration) {
        let deadline = Instant::now() + pause;
        while !self.is_stopping() && Instant::now() < deadline {
            std::thread::sleep(POLL.min(deadline.saturating_duration_since(Instant::now())));
        }
    }
}

/// Ends the supervisor in order, then by force.
fn end(supervisor: &mut Child) -> anyhow::Result<()> {
    if supervisor.try_wait()?.is_some() {
        return Ok(());
    }
    let pid = Pid::from_raw(i32::try_from(supervisor.id())?);
    // It may have ended by itself just now.
    let _ = signal::kill(pid, Signal::SIGTERM);
    let deadline = Instant::now() + STOP_DEADLINE;
    while Instant::now() < deadline {
        if supervisor.try_wait()?.is_some() {
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
    say("the supervisor did not end in order and is killed");
    supervisor.kill()?;
    supervisor.wait()?;
    Ok(())
}

/// A flag that SIGINT, SIGTERM and SIGHUP raise.
fn stop_on_signals() -> anyhow::Result<Arc<AtomicBool>> {
    // Blocked in all threads and taken by one that waits for them: no handler, so no unsafe code.
    let mut set = signal::SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        set.add(signal);
    }
    set.thread_block()?;
    let stop = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&stop);
    std::thread::spawn(move || {
        while set.wait().is_ok() {
            raised.store(true, Ordering::SeqCst);
        }
    });
    Ok(stop)
}

fn prepare_state(options: &Options) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(&options.state)
        .with_context(|| format!("{} cannot be made", options.state.display()))?;
    Ok(options.state.canonicalize()?)
}

fn bound_port(state: &Path) -> anyhow::Result<u16> {
    let path = state.join("port");
    let text = std::fs::read_to_string(&path).with_context(|| format!("{} is missing", path.display()))?;
    text.trim()
        .parse()
        .with_context(|| format!("{} holds no port", path.display()))
}

/// Name in the package's `release.json`.
fn package_name(package: &Path) -> anyhow::Result<String> {
    let path = package.join("release.json");
    let mut text = String::new();
    std::fs::File::open(&path)
        .with_context(|| format!("{} is missing: is this a model package?", path.display()))?
        .take(1 << 20)
        .read_to_string(&mut text)?;
    let release: serde_json::Value = serde_json::from_str(&text)?;
    release
        .get("name")
        .and_then(|it| it.as_str())
        .map(str::to_owned)
        .context("release.json names no model")
}
