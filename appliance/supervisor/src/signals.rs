//! What asks the box to stop from outside: signals, blocked in all threads and taken by one, and the end of standard
//! input, by which whoever started the supervisor tells that it is gone, however it went.

use std::sync::mpsc::SyncSender;
use std::{io, thread};

use nix::sys::signal::{SigSet, Signal};

use crate::event::Event;

/// Blocks the stop signals. Called first, since threads inherit it.
pub(crate) fn block() -> nix::Result<SigSet> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block()?;
    Ok(signals)
}

/// Turns each stop signal into an event.
pub(crate) fn watch(signals: SigSet, events: SyncSender<Event>) -> io::Result<()> {
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        while signals.wait().is_ok() {
            if events.send(Event::StopSignal).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

/// Turns the end of standard input into an event; what is written there is thrown away.
pub(crate) fn watch_stdin(events: SyncSender<Event>) -> io::Result<()> {
    thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        // A read that fails tells as much as an end: nobody is there.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = events.send(Event::StopSignal);
    })?;
    Ok(())
}
