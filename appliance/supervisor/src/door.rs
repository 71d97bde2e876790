//! How conversations begin at a socket of ours: accepted on one thread, served each on a thread of its own, so many at
//! once and no more.

use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::event::ConnectionId;

/// Accepts for as long as the process lives.
///
/// `admit` is told whether `open_max` conversations are open, and gives the socket back if it is to be served. Numbers of
/// conversations are never used twice. Where no thread can be had the socket closes.
pub(crate) fn accept(
    listener: &UnixListener,
    name: &str,
    open_max: usize,
    admit: impl Fn(UnixStream, bool) -> Option<UnixStream>,
    serve: impl Fn(UnixStream, ConnectionId) + Clone + Send + 'static,
) {
    let open = Arc::new(AtomicUsize::new(0));
    let mut next = 0;
    for socket in listener.incoming() {
        let Ok(socket) = socket else { continue };
        let is_full = open.load(Ordering::Relaxed) >= open_max;
        let Some(socket) = admit(socket, is_full) else {
            continue;
        };
        let connection = ConnectionId(next);
        next += 1;
        let place = Place::take(&open);
        let serve = serve.clone();
        let conversation = move || {
            let _until_it_ends = place;
            serve(socket, connection);
        };
        let _ = thread::Builder::new().name(name.to_owned()).spawn(conversation);
    }
}

/// One of the conversations that may be open; given back however it ends, also when its thread cannot be made.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::mpsc::{channel, sync_channel};

    use super::*;

    #[test]
    fn one_more_than_may_be_open_is_turned_away_and_a_place_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("door");
        let listener = UnixListener::bind(&path).unwrap();
        let (told, heard) = channel();
        let (left, leaves) = sync_channel(8);
        thread::spawn(move || {
            let admit = move |socket, is_full: bool| {
                told.send(is_full).unwrap();
                (!is_full).then_some(socket)
            };
            let serve = move |mut socket: UnixStream, connection: ConnectionId| {
                let _ = socket.read(&mut [0]);
                left.send(connection).unwrap();
            };
            accept(&listener, "visitor", 2, admit, serve);
        });
        let one = UnixStream::connect(&path).unwrap();
        let _two = UnixStream::connect(&path).unwrap();
        let mut three = UnixStream::connect(&path).unwrap();
        assert_eq!([(); 3].map(|()| heard.recv().unwrap()), [false, false, true]);
        assert_eq!(three.read(&mut [0]).unwrap(), 0, "closed");

        drop(one);
        assert_eq!(leaves.recv().unwrap(), ConnectionId(0));
        // The place is free a moment after the conversation said its last word.
        let again = || {
            let _visitor = UnixStream::connect(&path).unwrap();
            heard.recv().unwrap()
        };
        assert!((0..10_000).any(|_| !again()), "the place never came back");
    }
}
