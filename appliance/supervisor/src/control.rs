//! The control socket: how people's tools on the box reach the supervisor.
//!
//! Only the supervisor's own user may open it (mode 0600); who of the people speaks is proven in each request. A
//! thread accepts, one thread per connection reads, an [`Outbox`] writes.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::SyncSender;
use std::thread;

use jingui_audit::event::ShutdownReason;
use jingui_ipc::control::{Reply, Request};
use jingui_ipc::{Channel, control};

use crate::acts::{Asker, Wish, refused, unavailable};
use crate::event::{ConnectionId, Event};
use crate::outbox::Outbox;
use crate::state::StateFolder;
use crate::supervisor::{Course, Letter, Supervisor};
use crate::{door, durable};

/// Tools that may be connected at once.
pub(crate) const CONNECTIONS_MAX: usize = 32;
/// What leaves name as the source of acts over this socket.
pub(crate) const LOCAL: &str = "local";

/// Open connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: BTreeMap<ConnectionId, Outbox>,
}

impl Connections {
    /// None.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn add(&mut self, connection: ConnectionId, outbox: Outbox) {
        self.open.insert(connection, outbox);
    }

    pub(crate) fn remove(&mut self, connection: ConnectionId) {
        self.open.remove(&connection);
    }

    /// All of them, to be closed.
    pub(crate) fn take(&mut self) -> Vec<Outbox> {
        std::mem::take(&mut self.open).into_values().collect()
    }
}

/// Makes the socket in the state folder and accepts on a thread of its own.
pub(crate) fn listen(state: &StateFolder, events: SyncSender<Event>) -> io::Result<()> {
    let listener = bind(&state.trust(), &state.control_socket())?;
    thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || accept(&listener, events))?;
    Ok(())
}

/// Makes the socket in a private folder and moves it to its place when only our user may open it.
///
/// Bound through the folder's descriptor: an address holds 107 bytes, and state folders lie deeper than that.
fn bind(private: &Path, place: &Path) -> io::Result<UnixListener> {
    let unfinished = private.join(control::SOCKET_NAME);
    durable::remove(&unfinished)?;
    let folder = File::open(private)?;
    let short = format!("/proc/self/fd/{}/{}", folder.as_raw_fd(), control::SOCKET_NAME);
    let listener = UnixListener::bind(short)?;
    fs::set_permissions(&unfinished, Permissions::from_mode(durable::PRIVATE_FILE))?;
    fs::rename(&unfinished, place)?;
    Ok(listener)
}

fn accept(listener: &UnixListener, events: SyncSender<Event>) {
    let admit = |socket, is_full: bool| {
        if is_full {
            let _ = Channel::new(socket).send(&Reply::Refused(unavailable("system.busy")));
            return None;
        }
        Some(socket)
    };
    let serve = move |socket, connection| serve(socket, connection, &events);
    door::accept(listener, "from-tool", CONNECTIONS_MAX, admit, serve);
}

fn serve(socket: UnixStream, connection: ConnectionId, events: &SyncSender<Event>) {
    let Ok(outbox) = Outbox::start(&socket, "tool") else {
        return;
    };
    if events.send(Event::Connected(connection, outbox)).is_err() {
        return;
    }
    let mut channel = Channel::new(socket);
    while let Ok(request) = channel.receive::<Request>() {
        let descriptors = channel.take_descriptors();
        if events
            .send(Event::Asked(connection, Box::new(request), descriptors))
            .is_err()
        {
            return;
        }
    }
    let _ = events.send(Event::Disconnected(connection));
}

impl Supervisor {
    /// A tool asked something.
    pub(crate) fn on_request(
        &mut self,
        connection: ConnectionId,
        request: Request,
        descriptors: Vec<OwnedFd>,
    ) {
        let asker = Asker::Control(connection);
        let (wish, proofs) = match request {
            Request::Status => {
                let reply = Box::new(Reply::Status(Box::new(self.status())));
                return self.deliver(Letter::Reply { connection, reply });
            }
            Request::Models => {
                let reply = Box::new(Reply::Models(self.model_facts()));
                return self.deliver(Letter::Reply { connection, reply });
            }
            Request::SetUp(set_up) => return self.begin_set_up(asker, LOCAL, set_up),
            Request::ShutDown => return self.on_shut_down(connection),
            Request::UpdateState => {
                let reply = Box::new(Reply::UpdateState(Box::new(self.updates.state())));
                return self.deliver(Letter::Reply { connection, reply });
            }
            Request::CheckUpdate => {
                return match <[OwnedFd; 1]>::try_from(descriptors) {
                    Ok([folder]) => self.check_update(asker, LOCAL, folder),
                    Err(_) => self.refuse_request(connection),
                };
            }
            Request::ApplyUpdate { proofs } => match <[OwnedFd; 1]>::try_from(descriptors) {
                Ok([folder]) => (Wish::ApplyUpdate { folder }, proofs),
                Err(_) => return self.refuse_request(connection),
            },
            Request::Import {
                proofs,
                activate,
                folder_name: _,
            } => {
                let [folder] = match <[OwnedFd; 1]>::try_from(descriptors) {
                    Ok(folder) => folder,
                    Err(_) => return self.refuse_request(connection),
                };
                (Wish::Import { folder, activate }, proofs)
            }
            Request::CreateKey { proof, label } => (Wish::CreateKey { label }, vec![proof]),
            Request::CreateUser { proof, user } => (Wish::CreateUser { user }, vec![proof]),
            Request::ExportAudit { proof } => (Wish::ExportAudit, vec![proof]),
        };
        self.begin_act(asker, LOCAL, wish, proofs);
    }

    fn refuse_request(&mut self, connection: ConnectionId) {
        let reply = Reply::Refused(refused("system.request.malformed", Vec::new()));
        self.post_control(connection, &reply);
    }

    fn on_shut_down(&mut self, connection: ConnectionId) {
        if !self.is_stopping() {
            self.stop(ShutdownReason::Asked);
        }
        if let Course::Stopping { askers, .. } = &mut self.course {
            askers.push(connection);
        }
    }

    /// Queues a reply; a tool that does not read is cut off.
    pub(crate) fn post_control(&mut self, connection: ConnectionId, reply: &Reply) {
        let Some(outbox) = self.connections.open.get(&connection) else {
            return;
        };
        if outbox.post(reply, Vec::new()).is_err() {
            outbox.cut();
            self.connections.remove(connection);
        }
    }
}
