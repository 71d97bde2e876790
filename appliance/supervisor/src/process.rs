//! One of our processes: started behind its walls, heard and watched by threads that turn what they see into events.
//!
//! Started on the loop's thread only, since the kernel ends the process when the thread that started it ends.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};

use jingui_ipc::{Channel, ChannelError};
use jingui_jail::{Child, Identity, Launch, LaunchError, Strictness};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::{Event, Generation, WorkerRole};
use crate::lifecycle::Why;
use crate::options::Ground;
use crate::outbox::{Outbox, Stuck};

/// Host user and group of the gateway; nothing else on the host uses it.
pub(crate) const GATEWAY_USER: u32 = 64_731;
/// Host user and group of the engine; nothing else on the host uses it.
pub(crate) const ENGINE_USER: u32 = 64_732;

/// Number of the socket to us in each of our processes.
const SUPERVISOR_FD: RawFd = 3;
const _: () = assert!(SUPERVISOR_FD == jingui_ipc::gateway::CONTROL_FD);
const _: () = assert!(SUPERVISOR_FD == jingui_ipc::engine::SUPERVISOR_FD);

/// Where the programs lie, beside our own, and which walls they are started behind.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    folder: PathBuf,
    strictness: Strictness,
}

/// What a process is started with.
#[derive(Debug)]
pub(crate) struct Start {
    /// Which of our processes.
    pub(crate) role: WorkerRole,
    /// Which start of it.
    pub(crate) generation: Generation,
    /// Descriptors besides the socket to us.
    pub(crate) descriptors: Vec<(OwnedFd, RawFd)>,
}

/// A running process and our end of its conversation.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    outbox: Outbox,
}

/// Why a process was not started. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartFailure {
    /// Its program is not beside ours, or cannot be opened.
    #[error("{0} cannot be opened")]
    Program(PathBuf, #[source] io::Error),
    /// The machine refused it.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// Sockets or threads could not be made.
    #[error("sockets or threads could not be made")]
    Wiring(#[from] io::Error),
}

impl WorkerRole {
    /// Name in status, codes and leaves.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Engine => "engine",
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Gateway => "jingui-gateway",
            Self::Engine => "jingui-engine",
        }
    }

    const fn user(self) -> u32 {
        match self {
            Self::Gateway => GATEWAY_USER,
            Self::Engine => ENGINE_USER,
        }
    }
}

impl Programs {
    /// The folder of our own executable. In the image every wall is required; a developer's machine may refuse
    /// namespaces, and status then lists what is missing.
    pub(crate) fn beside_ours(ground: Ground) -> io::Result<Self> {
        let ours = std::env::current_exe()?;
        let folder = ours
            .parent()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(Self {
            folder: folder.to_owned(),
            strictness: match ground {
                Ground::DeveloperMachine => Strictness::AllowMissing,
                Ground::Image => Strictness::Require,
            },
        })
    }

    /// The program that writes the other slot.
    pub(crate) fn installer(&self) -> PathBuf {
        self.folder.join("jingui-installer")
    }

    /// The program that makes, opens and destroys the state.
    pub(crate) fn storage(&self) -> PathBuf {
        self.folder.join("jingui-storage")
    }

    fn open(&self, role: WorkerRole) -> Result<OwnedFd, StartFailure> {
        let path = self.folder.join(role.program());
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(OFlag::O_PATH.bits())
            .open(&path);
        file.map(OwnedFd::from)
            .map_err(|error| StartFailure::Program(path, error))
    }
}

impl Process {
    /// Starts a process; what it says becomes events through `said`.
    pub(crate) fn start<M: DeserializeOwned + Send + 'static>(
        programs: &Programs,
        start: Start,
        events: &SyncSender<Event>,
        said: fn(Generation, M) -> Event,
    ) -> Result<Self, StartFailure> {
        let Start {
            role,
            generation,
            mut descriptors,
        } = start;
        let (ours, theirs) = UnixStream::pair()?;
        descriptors.push((theirs.into(), SUPERVISOR_FD));
        let name = CString::new(role.program()).map_err(io::Error::from)?;
        let identity = Identity::best(role.user(), role.user());
        let mut launch = Launch::new(programs.open(role)?, name, identity);
        launch.descriptors = descriptors;
        launch.strictness = programs.strictness;
        let child = jingui_jail::launch(launch)?;
        let outbox = Outbox::start(&ours, role.name())?;
        let socket = ours.try_clone()?;
        let listener = listen(ours, role, generation, events.clone(), said)?;
        let watch = Watch {
            role,
            generation,
            socket,
            listener,
        };
        watch_exit(&child, watch, events.clone())?;
        Ok(Self { child, outbox })
    }

    /// Process id in our namespace.
    pub(crate) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Queues a message; never blocks.
    pub(crate) fn post<T: Serialize>(&self, message: &T, descriptors: Vec<OwnedFd>) -> Result<(), Stuck> {
        self.outbox.post(message, descriptors)
    }

    /// Ends it now; its exit comes as an event.
    pub(crate) fn kill(&self) {
        self.child.kill();
        self.outbox.cut();
    }
}

/// The gateway's folder belongs to the gateway's user, where we may give it away.
pub(crate) fn give_gateway_folder(path: &Path) -> io::Result<File> {
    if let Identity::Mapped { uid, gid } = Identity::best(GATEWAY_USER, GATEWAY_USER) {
        give_away(path, uid, gid)?;
    }
    File::open(path)
}

fn give_away(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
    if path.symlink_metadata()?.is_dir() {
        for entry in std::fs::read_dir(path)? {
            give_away(&entry?.path(), uid, gid)?;
        }
    }
    Ok(())
}

/// What the thread that waits for an exit holds.
struct Watch {
    role: WorkerRole,
    generation: Generation,
    socket: UnixStream,
    listener: JoinHandle<()>,
}

/// Tells of the exit after all that the process said: its last words may be why.
fn watch_exit(child: &Child, watch: Watch, events: SyncSender<Event>) -> io::Result<()> {
    let pidfd = child.pidfd().try_clone_to_owned()?;
    thread::Builder::new()
        .name(format!("exit-of-{}", watch.role.name()))
        .spawn(move || {
            loop {
                let mut watched = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
                match poll(&mut watched, PollTimeout::NONE) {
                    Err(nix::errno::Errno::EINTR) => {}
                    // An error of poll leaves us blind for this process: the heartbeat still finds its death.
                    _ => break,
                }
            }
            // What was sent before is still read after this; a socket that somebody else holds open cannot delay us.
            let _ = watch.socket.shutdown(Shutdown::Both);
            let _ = watch.listener.join();
            let _ = events.send(Event::Exited(watch.role, watch.generation));
        })?;
    Ok(())
}

fn listen<M: DeserializeOwned + Send + 'static>(
    socket: UnixStream,
    role: WorkerRole,
    generation: Generation,
    events: SyncSender<Event>,
    said: fn(Generation, M) -> Event,
) -> io::Result<JoinHandle<()>> {
    let mut channel = Channel::new(socket);
    thread::Builder::new()
        .name(format!("from-{}", role.name()))
        .spawn(move || {
            loop {
                let event = match channel.receive::<M>() {
                    Ok(message) => said(generation, message),
                    Err(error) => {
                        let why = silence(&error);
                        let _ = events.send(Event::Silent(role, generation, why));
                        return;
                    }
                };
                // Our processes have no descriptors to give; what comes along is closed at once.
                drop(channel.take_descriptors());
                if events.send(event).is_err() {
                    return;
                }
            }
        })
}

/// A process that closed its socket has most likely died; its exit says more.
fn silence(error: &ChannelError) -> Why {
    match error {
        ChannelError::Closed | ChannelError::Socket(_) => Why::Crashed,
        ChannelError::CutOff | ChannelError::Frame(_) => Why::BrokenConversation,
    }
}
