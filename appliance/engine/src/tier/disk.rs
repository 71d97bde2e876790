//! The thread that owns the file of the disk tier: it encrypts, writes, reads and opens. The step thread decides what
//! goes where and never waits for it.
//!
//! Jobs are done in order, so a block that was sent to a slot is read from it as written, and a slot that goes to
//! another block was read before. Both queues are bounded in jobs and bytes; beyond, writing is dropped and reading waits.
//! After any failure of the disk (full, broken) nothing more is written or read: the tier is off, and says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use super::record::{Geometry, Header, Place, ReadError, TierFile};
use super::shelf::HostBytes;

/// Jobs that wait for the thread.
const JOBS_MAX: usize = 64;
/// Bytes that wait to be written; one block always may. They come on top of the host tier's budget once it has let go of
/// them.
const WRITING_BYTES_MAX: u64 = 64 << 20;
/// Bytes that are being read ahead or were and are not yet taken; one block always may, and of each fetch the one that
/// is waited for.
const READING_BYTES_MAX: u64 = 64 << 20;

enum Job {
    Format(Geometry),
    Write {
        header: Header,
        place: Place,
        bytes: HostBytes,
        _lease: Lease,
    },
    Read {
        header: Header,
        place: Place,
        index: usize,
        reply: SyncSender<Arrival>,
        lease: Lease,
    },
}

/// What came of a read.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) index: usize,
    pub(super) header: Header,
    pub(super) place: Place,
    /// `None`: the slot holds no such block, or the tier is off.
    pub(super) bytes: Option<HostBytes>,
    pub(super) lease: Lease,
}

/// A share of a bounded amount of bytes, given back when it goes.
#[derive(Debug)]
pub(super) struct Lease {
    of: Arc<AtomicU64>,
    byte_count: u64,
}

impl Lease {
    /// Only one thread takes leases of an amount, so looking and taking need not be one act.
    fn take(of: &Arc<AtomicU64>, byte_count: u64, limit: u64) -> Option<Self> {
        let held = of.load(Ordering::Relaxed);
        if held > 0 && held.saturating_add(byte_count) > limit {
            return None;
        }
        of.fetch_add(byte_count, Ordering::Relaxed);
        Some(Self {
            of: Arc::clone(of),
            byte_count,
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.of.fetch_sub(self.byte_count, Ordering::Relaxed);
    }
}

/// Seen by both threads.
#[derive(Debug, Default)]
struct Shared {
    has_failed: AtomicBool,
    written_count: AtomicU64,
    read_count: AtomicU64,
}

/// The step thread's end.
#[derive(Debug)]
pub(super) struct Disk {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
    writing: Arc<AtomicU64>,
    reading: Arc<AtomicU64>,
}

impl Disk {
    /// Gives the file to a thread of its own. `None` if the system has no thread to give.
    pub(super) fn start(file: TierFile) -> Option<Self> {
        let (jobs, queue) = sync_channel(JOBS_MAX);
        let shared = Arc::new(Shared::default());
        let thread = std::thread::Builder::new()
            .name("disk-tier".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || work(file, &queue, &shared)
            })
            .ok()?;
        Some(Self {
            jobs: Some(jobs),
            thread: Some(thread),
            shared,
            writing: Arc::default(),
            reading: Arc::default(),
        })
    }

    pub(super) fn has_failed(&self) -> bool {
        self.shared.has_failed.load(Ordering::Acquire)
    }

    pub(super) fn written_count(&self) -> u64 {
        self.shared.written_count.load(Ordering::Relaxed)
    }

    pub(super) fn read_count(&self) -> u64 {
        self.shared.read_count.load(Ordering::Relaxed)
    }

    /// Whether a block of that size would be taken now.
    pub(super) fn has_room_to_write(&self, byte_count: u64) -> bool {
        let held = self.writing.load(Ordering::Relaxed);
        held == 0 || held.saturating_add(byte_count) <= WRITING_BYTES_MAX
    }

    /// Whether everything that was sent to be written is written.
    pub(super) fn is_idle(&self) -> bool {
        self.writing.load(Ordering::Acquire) == 0
    }

    /// Divides the file anew before anything that is sent later. Returns whether it was taken.
    pub(super) fn format(&self, geometry: Geometry) -> bool {
        self.send(Job::Format(geometry))
    }

    /// Returns whether it was taken.
    pub(super) fn write(&self, header: Header, place: Place, bytes: HostBytes) -> bool {
        let Some(lease) = Lease::take(&self.writing, place.byte_count, WRITING_BYTES_MAX) else {
            return false;
        };
        self.send(Job::Write {
            header,
            place,
            bytes,
            _lease: lease,
        })
    }

    /// Returns whether it was taken; then something arrives at `reply`, which must have room for it.
    pub(super) fn read(
        &self,
        header: Header,
        place: Place,
        index: usize,
        reply: &SyncSender<Arrival>,
        is_urgent: bool,
    ) -> bool {
        let limit = if is_urgent { u64::MAX } else { READING_BYTES_MAX };
        let Some(lease) = Lease::take(&self.reading, place.byte_count, limit) else {
            return false;
        };
        self.send(Job::Read {
            header,
            place,
            index,
            reply: reply.clone(),
            lease,
        })
    }

    fn send(&self, job: Job) -> bool {
        self.jobs.as_ref().is_some_and(|jobs| jobs.try_send(job).is_ok())
    }
}

impl Drop for Disk {
    /// Waits until what was taken is written: a successor finds it. Bounded by the queue.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Its end is all that matters here; a panic was its own bug and is in the log.
            let _ended = thread.join();
        }
    }
}

fn work(mut file: TierFile, queue: &Receiver<Job>, shared: &Shared) {
    for job in queue {
        match job {
            Job::Format(geometry) => act(shared, || file.format(geometry)),
            Job::Write {
                header,
                place,
                bytes,
                _lease,
            } => act(shared, || {
                file.write(&header, place, &bytes)?;
                shared.written_count.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }),
            Job::Read {
                header,
                place,
                index,
                reply,
                lease,
            } => {
                let bytes = read(&mut file, shared, &header, place);
                let arrival = Arrival {
                    index,
                    header,
                    place,
                    bytes,
                    lease,
                };
                match reply.try_send(arrival) {
                    // Nobody waits for it any more.
                    Ok(()) | Err(TrySendError::Disconnected(_)) => {}
                    Err(TrySendError::Full(_)) => unreachable!("who reads has room for what it asks for"),
                }
            }
        }
    }
}

/// Nothing after the first failure: what the file then holds is not known.
fn act(shared: &Shared, task: impl FnOnce() -> std::io::Result<()>) {
    if !shared.has_failed.load(Ordering::Acquire) && task().is_err() {
        shared.has_failed.store(true, Ordering::Release);
    }
}

fn read(file: &mut TierFile, shared: &Shared, header: &Header, place: Place) -> Option<HostBytes> {
    if shared.has_failed.load(Ordering::Acquire) {
        return None;
    }
    match file.read(header, place) {
        Ok(bytes) => {
            shared.read_count.fetch_add(1, Ordering::Relaxed);
            Some(Arc::new(bytes))
        }
        Err(ReadError::NotThere) => None,
        Err(ReadError::Io(_)) => {
            shared.has_failed.store(true, Ordering::Release);
            None
        }
    }
}

#[cfg(test)]
impl Disk {
    /// As if a full queue waited to be written, for as long as the lease is held.
    pub(super) fn fall_behind(&self) -> Option<Lease> {
        Lease::take(&self.writing, WRITING_BYTES_MAX, u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_leased_up_to_the_limit_and_one_block_always() {
        let of = Arc::new(AtomicU64::new(0));
        let large = Lease::take(&of, 1_000, 100);
        assert!(large.is_some(), "nothing else is held");
        assert!(Lease::take(&of, 1, 100).is_none());
        drop(large);
        let first = Lease::take(&of, 60, 100);
        let second = Lease::take(&of, 40, 100);
        assert!(first.is_some() && second.is_some());
        assert!(Lease::take(&of, 1, 100).is_none());
        assert!(Lease::take(&of, 1, u64::MAX).is_some(), "who is waited for");
        drop((first, second));
        assert_eq!(of.load(Ordering::Relaxed), 0);
    }
}
