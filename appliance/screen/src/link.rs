//! The conversation with the supervisor, on threads of its own. It comes and goes with the supervisor; the page says which.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use jingui_ipc::Channel;
use jingui_ipc::screen::{FromSupervisor, MESSAGE_BYTES_MAX, ToSupervisor};

/// Pause between two tries to connect.
const RETRY: Duration = Duration::from_millis(500);
/// Questions that may wait to be sent.
const QUESTIONS_MAX: usize = 16;

/// What the conversation brings.
#[derive(Debug)]
pub enum Heard {
    /// The supervisor is there; questions go this way from now on.
    Connected(SyncSender<ToSupervisor>),
    /// It said something.
    Told(Box<FromSupervisor>),
    /// It is gone, or said what is no message.
    Gone,
}

/// Starts the thread that connects and listens; what it hears goes to `heard`.
///
/// # Errors
/// When no thread can be made.
pub fn start<T: Send + 'static>(
    socket: PathBuf,
    heard: SyncSender<T>,
    wrap: fn(Heard) -> T,
) -> std::io::Result<()> {
    thread::Builder::new()
        .name("supervisor".to_owned())
        .spawn(move || {
            while talk(&socket, &heard, wrap).is_some() {
                thread::sleep(RETRY);
            }
        })?;
    Ok(())
}

/// One conversation, from connecting to its end. `None` when nobody listens to us any more.
fn talk<T: Send + 'static>(socket: &Path, heard: &SyncSender<T>, wrap: fn(Heard) -> T) -> Option<()> {
    let Ok(socket) = UnixStream::connect(socket) else {
        return Some(());
    };
    let mut channel = Channel::bounded(socket, MESSAGE_BYTES_MAX);
    let (questions, asked) = sync_channel(QUESTIONS_MAX);
    let writer = channel.try_clone().ok()?;
    thread::Builder::new()
        .name("to-supervisor".to_owned())
        .spawn(move || write(writer, &asked))
        .ok()?;
    heard.send(wrap(Heard::Connected(questions))).ok()?;
    while let Ok(told) = channel.receive::<FromSupervisor>() {
        drop(channel.take_descriptors());
        heard.send(wrap(Heard::Told(Box::new(told)))).ok()?;
    }
    let _ = channel.socket().shutdown(std::net::Shutdown::Both);
    heard.send(wrap(Heard::Gone)).ok()
}

fn write(mut channel: Channel, asked: &Receiver<ToSupervisor>) {
    while let Ok(question) = asked.recv() {
        if channel.send(&question).is_err() {
            // The reader sees the end as well.
            let _ = channel.socket().shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}
