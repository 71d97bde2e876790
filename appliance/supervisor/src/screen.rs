//! The local screen's door: a socket for the program on the monitor and the serial line, and the acts of whoever stands
//! there.
//!
//! The program behind it holds no right and is believed nothing. Who may connect is told by the kernel (the screen's
//! user, or our own); what may be done is decided here: looking and what a hand at the power button could do needs
//! presence alone, everything else the proofs of people. Each act is a leaf by `present`, or by the person who proved
//! himself, from `screen`.

mod acts;
mod power;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::SyncSender;
use std::thread;

use jingui_audit::event::NetworkOrigin;
use jingui_ipc::Channel;
use jingui_ipc::control::Proof;
use jingui_ipc::screen::{
    FromSupervisor, MESSAGE_BYTES_MAX, PROOFS_MAX, Picture, REQUESTS_MAX, Reply, Request, SCREEN_USER,
    TEXT_BYTES_MAX, ToSupervisor,
};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde_json::Value;

use crate::acts::{Asker, refused, unavailable};
use crate::event::{ConnectionId, Event};
use crate::leaves::Actor;
use crate::network::interfaces;
use crate::outbox::Outbox;
use crate::places::Places;
use crate::supervisor::{Letter, Supervisor};
use crate::{door, durable};

pub(crate) use power::Ending;

/// Screens that may be connected at once: the monitor, serial lines, one that is being replaced.
pub(crate) const SCREENS_MAX: usize = 8;
/// What leaves name as the source of acts at the screen.
pub(crate) const SOURCE: &str = "screen";
/// Mode of the socket: root and the screen's group.
const SOCKET_MODE: u32 = 0o660;
/// Longest file of counters that is read, and most counters in it.
const COUNTERS_BYTES_MAX: u64 = 16 * 1024;
const COUNTERS_MAX: usize = 32;

/// Open conversations with screens.
#[derive(Debug, Default)]
pub(crate) struct Screens {
    /// Somebody looks for the stick of an update.
    is_looking: bool,
    open: BTreeMap<ConnectionId, Screen>,
}

#[derive(Debug)]
struct Screen {
    outbox: Outbox,
    /// Requests that were not answered to the end.
    unanswered_count: usize,
}

impl Screens {
    /// All of them, to be closed.
    pub(crate) fn take(&mut self) -> Vec<Outbox> {
        let open = std::mem::take(&mut self.open);
        open.into_values().map(|screen| screen.outbox).collect()
    }
}

/// Makes the socket and accepts on a thread of its own.
pub(crate) fn listen(places: &Places, events: SyncSender<Event>) -> io::Result<()> {
    let listener = bind(&places.screen_socket())?;
    thread::Builder::new()
        .name("screens".to_owned())
        .spawn(move || accept(&listener, events))?;
    Ok(())
}

/// The socket appears at its place only when nobody else may open it.
fn bind(place: &Path) -> io::Result<UnixListener> {
    let folder = place.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let unfinished = place.with_extension("new");
    durable::remove(&unfinished)?;
    let listener = UnixListener::bind(&unfinished)?;
    fs::set_permissions(&unfinished, Permissions::from_mode(durable::PRIVATE_FILE))?;
    if nix::unistd::geteuid().is_root() {
        chown(&unfinished, None, Some(SCREEN_USER))?;
        fs::set_permissions(&unfinished, Permissions::from_mode(SOCKET_MODE))?;
    }
    fs::rename(&unfinished, place)?;
    Ok(listener)
}

fn accept(listener: &UnixListener, events: SyncSender<Event>) {
    // Closed without a word: a stranger learns nothing, and a screen tries again.
    let admit = |socket, is_full: bool| (!is_full && is_allowed(&socket)).then_some(socket);
    let serve = move |socket, connection| serve(socket, connection, &events);
    door::accept(listener, "from-screen", SCREENS_MAX, admit, serve);
}

/// Whether the kernel says that the peer is the screen's user or our own.
fn is_allowed(socket: &UnixStream) -> bool {
    let ours = nix::unistd::geteuid().as_raw();
    getsockopt(socket, PeerCredentials).is_ok_and(|peer| peer.uid() == SCREEN_USER || peer.uid() == ours)
}

fn serve(socket: UnixStream, connection: ConnectionId, events: &SyncSender<Event>) {
    let Ok(outbox) = Outbox::start(&socket, "screen") else {
        return;
    };
    if events.send(Event::ScreenConnected(connection, outbox)).is_err() {
        return;
    }
    let mut channel = Channel::bounded(socket, MESSAGE_BYTES_MAX);
    while let Ok(asked) = channel.receive::<ToSupervisor>() {
        // A screen has no descriptors to give; what comes along is closed at once.
        drop(channel.take_descriptors());
        if events
            .send(Event::ScreenAsked(connection, Box::new(asked)))
            .is_err()
        {
            return;
        }
    }
    let _ = events.send(Event::ScreenGone(connection));
}

impl Supervisor {
    /// A screen connected.
    pub(crate) fn on_screen_connected(&mut self, connection: ConnectionId, outbox: Outbox) {
        let screen = Screen {
            outbox,
            unanswered_count: 0,
        };
        self.screens.open.insert(connection, screen);
    }

    /// A screen went away; what it asked for goes on.
    pub(crate) fn on_screen_gone(&mut self, connection: ConnectionId) {
        self.screens.open.remove(&connection);
    }

    /// A screen asked something.
    pub(crate) fn on_screen_asked(&mut self, connection: ConnectionId, asked: ToSupervisor) {
        let ToSupervisor { number, request } = asked;
        let Some(screen) = self.screens.open.get_mut(&connection) else {
            return;
        };
        screen.unanswered_count += 1;
        let is_flood = screen.unanswered_count > REQUESTS_MAX;
        let asker = Asker::Screen(connection, number);
        if is_flood {
            return self.say_to_screen(connection, number, Reply::Refused(unavailable("system.busy")));
        }
        if !is_bounded(&request) {
            let fault = refused("system.request.malformed", Vec::new());
            return self.say_to_screen(connection, number, Reply::Refused(fault));
        }
        match request {
            Request::Look => {
                let picture = Box::new(self.picture());
                self.say_to_screen(connection, number, Reply::Picture(picture));
            }
            Request::LookAtNetwork => {
                let view = self.network.view();
                self.say_to_screen(connection, number, Reply::Network(view));
            }
            request => self.on_act_at_screen(asker, request),
        }
    }

    fn on_act_at_screen(&mut self, asker: Asker, request: Request) {
        if let Err(fault) = self.check_can_act() {
            return self.tell(asker, crate::acts::Told::Refused(fault));
        }
        match request {
            Request::SetNetwork(settings) => {
                self.set_network(asker, Actor::present(), NetworkOrigin::Screen, settings);
            }
            Request::Restart => self.ask_power(asker, Ending::Restart),
            Request::ShutDown => self.ask_power(asker, Ending::PowerOff),
            Request::ExportEvidence { proofs } => self.begin_evidence(asker, proofs),
            Request::Reset { serial, proofs } => self.begin_reset(asker, &serial, proofs),
            Request::LookAtUpdate => self.find_update(asker, None),
            Request::ApplyUpdate { proofs } => self.find_update(asker, Some(proofs)),
            Request::Look | Request::LookAtNetwork => {}
        }
    }

    /// Sends a reply now. A screen that is gone gets nothing; one that does not read is cut off.
    pub(crate) fn say_to_screen(&mut self, connection: ConnectionId, number: u64, reply: Reply) {
        let Some(screen) = self.screens.open.get_mut(&connection) else {
            return;
        };
        if !matches!(reply, Reply::Progress(_)) {
            screen.unanswered_count = screen.unanswered_count.saturating_sub(1);
        }
        if screen
            .outbox
            .post(&FromSupervisor { number, reply }, Vec::new())
            .is_err()
        {
            screen.outbox.cut();
            self.screens.open.remove(&connection);
        }
    }

    /// What the first page shows.
    fn picture(&self) -> Picture {
        Picture {
            status: self.status(),
            addresses: interfaces::reachable(),
            port: self.address.port(),
            ca_fingerprint: self.certificates.ca_fingerprint(),
            setup_code: self.setup_code.clone(),
            firewall: self.places.as_ref().and_then(counters),
        }
    }
}

/// A letter to a screen.
pub(crate) fn letter(connection: ConnectionId, number: u64, reply: Reply) -> Letter {
    Letter::Screen {
        connection,
        number,
        reply: Box::new(reply),
    }
}

/// Whether all that a person typed is as short as a screen lets people type.
fn is_bounded(request: &Request) -> bool {
    let is_short = |text: &str| text.len() <= TEXT_BYTES_MAX;
    let are_short = |proofs: &[Proof]| {
        proofs.len() <= PROOFS_MAX
            && proofs
                .iter()
                .all(|it| is_short(&it.username) && is_short(&it.password.0) && is_short(&it.code.0))
    };
    match request {
        Request::ApplyUpdate { proofs } | Request::ExportEvidence { proofs } => are_short(proofs),
        Request::Reset { serial, proofs } => is_short(serial) && are_short(proofs),
        // How many interfaces there may be, and how they are named, is judged with the settings.
        Request::SetNetwork(_)
        | Request::Look
        | Request::LookAtNetwork
        | Request::LookAtUpdate
        | Request::Restart
        | Request::ShutDown => true,
    }
}

/// Named counters as `nft -j list counters` wrote them; `None` when they are not there or half written.
fn counters(places: &Places) -> Option<Vec<(String, u64)>> {
    let bytes = durable::read(&places.firewall_counters(), COUNTERS_BYTES_MAX).ok()??;
    parse_counters(&bytes)
}

fn parse_counters(bytes: &[u8]) -> Option<Vec<(String, u64)>> {
    let listed: Value = serde_json::from_slice(bytes).ok()?;
    let counters = listed.get("nftables")?.as_array()?.iter().take(COUNTERS_MAX);
    let found = counters.filter_map(|one| {
        let counter = one.get("counter")?;
        let name = counter.get("name")?.as_str()?;
        Some((name.to_owned(), counter.get("packets")?.as_u64()?))
    });
    Some(found.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jingui_ipc::control::Private;
    use proptest::prelude::*;

    #[test]
    fn counters_are_read_as_nft_writes_them() {
        let text = r#"{"nftables": [{"metainfo": {"version": "1.1.3"}},
            {"counter": {"family": "inet", "name": "in_service", "table": "jingui", "handle": 2, "packets": 7, "bytes": 420}},
            {"counter": {"family": "inet", "name": "out_dropped", "table": "jingui", "handle": 3, "packets": 0, "bytes": 0}}]}"#;
        let expected = vec![("in_service".to_owned(), 7), ("out_dropped".to_owned(), 0)];
        assert_eq!(parse_counters(text.as_bytes()), Some(expected));
        assert_eq!(parse_counters(&text.as_bytes()[..100]), None);
        assert_eq!(parse_counters(b"[]"), None);
    }

    proptest! {
        #[test]
        fn no_file_of_counters_makes_the_reader_panic(bytes: Vec<u8>) {
            let _ = parse_counters(&bytes);
        }
    }

    #[test]
    fn what_a_person_typed_is_bounded_at_the_door() {
        let proof = |length: usize| Proof {
            username: "u".repeat(length),
            password: Private("p".to_owned()),
            code: Private("1".to_owned()),
        };
        let export = |proofs| is_bounded(&Request::ExportEvidence { proofs });
        assert!(export(vec![proof(TEXT_BYTES_MAX); PROOFS_MAX]));
        assert!(!export(vec![proof(TEXT_BYTES_MAX + 1)]));
        assert!(!export(vec![proof(1); PROOFS_MAX + 1]));
        let reset = |length: usize| {
            is_bounded(&Request::Reset {
                serial: "s".repeat(length),
                proofs: Vec::new(),
            })
        };
        assert!(reset(TEXT_BYTES_MAX) && !reset(TEXT_BYTES_MAX + 1));
    }

    #[test]
    fn the_socket_is_open_to_nobody_else_and_takes_the_place_of_an_old_one() {
        let root = tempfile::tempdir().unwrap();
        let place = Places::below(root.path()).screen_socket();
        for _ in 0..2 {
            let _listener = bind(&place).unwrap();
            let mode = fs::metadata(&place).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode & 0o007, 0, "{mode:o}");
            let (ours, _) = UnixStream::pair().unwrap();
            assert!(is_allowed(&ours));
        }
    }
}
