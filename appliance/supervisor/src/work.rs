//! Long work on threads beside the loop. Each job ends in exactly one event.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::clock::UnixSeconds;
use crate::event::{ActId, Event};
use crate::people::{Enrolled, Enrolment, PasswordCheck};

/// Password jobs that may wait; one takes a tenth of a second and 64 MiB, so they are done one after another.
pub(crate) const JOBS_MAX: usize = 16;

/// The thread that computes password hashes.
#[derive(Debug)]
pub(crate) struct PasswordDesk {
    queue: SyncSender<Job>,
}

/// A password job.
#[derive(Debug)]
pub(crate) enum Job {
    /// Compute the hashes of these proofs.
    Prove(ActId, Vec<PasswordCheck>),
    /// Hash the passwords of the ceremony.
    Enrol(ActId, Enrolment, UnixSeconds),
}

/// The desk has [`JOBS_MAX`] jobs waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords wait to be checked")]
pub(crate) struct DeskFull;

impl PasswordDesk {
    /// Starts the thread.
    pub(crate) fn start(events: SyncSender<Event>) -> io::Result<Self> {
        let (queue, jobs) = sync_channel(JOBS_MAX);
        thread::Builder::new()
            .name("passwords".to_owned())
            .spawn(move || work(&jobs, &events))?;
        Ok(Self { queue })
    }

    /// Queues a job; never blocks.
    pub(crate) fn post(&self, job: Job) -> Result<(), DeskFull> {
        self.queue.try_send(job).map_err(|_| DeskFull)
    }
}

/// Runs one long job on a thread of its own and sends the event it ends in. Should it panic, which only our own bug
/// can make it, `after_panic` says how it ended: nobody waits for it for ever.
pub(crate) fn spawn(
    name: &str,
    events: &SyncSender<Event>,
    job: impl FnOnce(&SyncSender<Event>) -> Event + Send + 'static,
    after_panic: impl FnOnce() -> Event + Send + 'static,
) -> io::Result<()> {
    let events = events.clone();
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let ended = panic::catch_unwind(AssertUnwindSafe(|| job(&events))).unwrap_or_else(|_| after_panic());
        // The loop has gone when nobody takes the event; then there is nobody to tell.
        let _ = events.send(ended);
    })?;
    Ok(())
}

fn work(jobs: &Receiver<Job>, events: &SyncSender<Event>) {
    while let Ok(job) = jobs.recv() {
        let event = match job {
            Job::Prove(act, checks) => {
                Event::Proved(act, checks.into_iter().map(PasswordCheck::run).collect())
            }
            Job::Enrol(act, enrolment, now) => Event::Enrolled(act, Enrolled::hash(enrolment, now)),
        };
        if events.send(event).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_panics_still_ends_in_its_event() {
        let (events, inbox) = sync_channel(1);
        let done = Event::ImportProgress(ActId(1), 1, 1);
        spawn("test", &events, |_| panic!("a bug"), || done).unwrap();
        assert!(matches!(
            inbox.recv().unwrap(),
            Event::ImportProgress(ActId(1), 1, 1)
        ));
    }
}
