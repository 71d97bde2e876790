//! The conversation with the supervisor.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use jingui_ipc::control::{Reply, Request, SOCKET_NAME};
use jingui_ipc::{Channel, ChannelError};

use crate::failure::{Exit, Failure};

/// An open connection to the control socket.
pub(crate) struct Control(Channel);

impl Control {
    /// Connects to the supervisor that runs on that state folder.
    pub(crate) fn connect(state: &Path) -> Result<Self, Failure> {
        // Through the folder's descriptor: an address holds 107 bytes, and state folders lie deeper than that.
        let connected = File::open(state).and_then(|folder| {
            UnixStream::connect(format!("/proc/self/fd/{}/{SOCKET_NAME}", folder.as_raw_fd()))
        });
        connected
            .map(|socket| Self(Channel::new(socket)))
            .map_err(|error| {
                let code = match error.kind() {
                    std::io::ErrorKind::PermissionDenied => return not_permitted(state),
                    _ => "system.control.unreachable",
                };
                Failure::new(Exit::Unavailable, code).with("state", state.display())
            })
    }

    /// One request and its last reply; progress goes to `progress`.
    pub(crate) fn ask(
        &mut self,
        request: &Request,
        folder: Option<&File>,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Reply, Failure> {
        let descriptors: Vec<BorrowedFd<'_>> = folder.iter().map(|folder| folder.as_fd()).collect();
        let sent = if descriptors.is_empty() {
            self.0.send(request)
        } else {
            self.0.send_with(request, &descriptors)
        };
        sent.map_err(|error| broken(&error))?;
        loop {
            match self.0.receive::<Reply>().map_err(|error| broken(&error))? {
                Reply::Progress {
                    done_bytes,
                    total_bytes,
                } => progress(done_bytes, total_bytes),
                Reply::Refused(fault) => return Err(fault.into()),
                reply => return Ok(reply),
            }
        }
    }

    /// A request without descriptors or progress.
    pub(crate) fn ask_simply(&mut self, request: &Request) -> Result<Reply, Failure> {
        self.ask(request, None, |_, _| ())
    }
}

/// The supervisor answered something else than was asked: another version.
pub(crate) fn unexpected() -> Failure {
    Failure::new(Exit::Unavailable, "system.control.unexpected")
}

fn broken(error: &ChannelError) -> Failure {
    match error {
        ChannelError::Frame(_) => unexpected(),
        ChannelError::Closed | ChannelError::CutOff | ChannelError::Socket(_) => {
            Failure::new(Exit::Unavailable, "system.control.broken")
        }
    }
}

fn not_permitted(state: &Path) -> Failure {
    Failure::new(Exit::NotAllowed, "system.control.not-permitted").with("state", state.display())
}
