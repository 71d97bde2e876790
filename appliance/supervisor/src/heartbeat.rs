//! What the service manager hears from us (sd_notify(3)): that the box is up, and that the loop still turns.
//!
//! The loop sends a beat itself, between two turns. A thread that beats by a clock would say that all is well while the
//! loop hangs. Without a service manager (`scripts/run`) nothing is sent.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use crate::clock::Millis;

/// Beats within the time that the service manager allows: one that comes late costs no restart.
const BEATS_PER_DEADLINE: u64 = 4;

/// The line to the service manager.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    line: Option<(UnixDatagram, PathBuf)>,
    /// Milliseconds between two beats; `None` when nobody watches.
    pause_ms: Option<u64>,
    next_at: Millis,
}

impl Heartbeat {
    /// As the environment says: `NOTIFY_SOCKET`, `WATCHDOG_USEC`.
    pub(crate) fn from_environment() -> Self {
        Self::to(
            std::env::var_os("NOTIFY_SOCKET").map(PathBuf::from),
            std::env::var("WATCHDOG_USEC").ok().and_then(|it| it.parse().ok()),
        )
    }

    fn to(socket: Option<PathBuf>, watchdog_us: Option<u64>) -> Self {
        // Names in the abstract namespace are not used by the image's service manager.
        let path = socket.filter(|it| it.is_absolute());
        let line = path.and_then(|path| Some((UnixDatagram::unbound().ok()?, path)));
        if let Some((socket, _)) = &line {
            // A beat that finds the manager's queue full is left out; the next one comes soon.
            let _ = socket.set_nonblocking(true);
        }
        Self {
            pause_ms: watchdog_us
                .filter(|_| line.is_some())
                .map(|it| it / 1000 / BEATS_PER_DEADLINE),
            line,
            next_at: Millis(0),
        }
    }

    /// The box is up.
    pub(crate) fn ready(&self) {
        self.say("READY=1");
    }

    /// The loop has turned.
    pub(crate) fn beat(&mut self, now: Millis) {
        if let Some(pause) = self.pause_ms
            && now >= self.next_at
        {
            self.next_at = now.after(pause);
            self.say("WATCHDOG=1");
        }
    }

    /// When the next beat is due.
    pub(crate) fn next_at(&self) -> Option<Millis> {
        self.pause_ms.map(|_| self.next_at)
    }

    fn say(&self, words: &str) {
        if let Some((socket, path)) = &self.line {
            // Nobody to tell: the manager restarts us, and that is its right.
            let _ = socket.send_to(words.as_bytes(), path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> Option<String> {
        let mut bytes = [0; 64];
        let count = socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..count]).into_owned())
    }

    #[test]
    fn the_service_manager_hears_as_many_beats_as_it_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let mut heartbeat = Heartbeat::to(Some(path), Some(4_000_000));
        heartbeat.ready();
        assert_eq!(heard(&manager).as_deref(), Some("READY=1"));
        for (now, is_due) in [(0, true), (999, false), (1000, true), (1001, false), (5000, true)] {
            heartbeat.beat(Millis(now));
            assert_eq!(heard(&manager).is_some(), is_due, "{now}");
        }
        assert_eq!(heartbeat.next_at(), Some(Millis(6000)));
    }

    #[test]
    fn without_a_service_manager_nothing_is_due() {
        for socket in [None, Some(PathBuf::from("@abstract"))] {
            let mut heartbeat = Heartbeat::to(socket, Some(1));
            heartbeat.ready();
            heartbeat.beat(Millis(0));
            assert_eq!(heartbeat.next_at(), None);
        }
    }
}
