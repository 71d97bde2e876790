//! Signals that ask the box to stop: blocked in all threads, taken by one, told to the loop.

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
