//! Blocks on their way to the step thread.

use std::collections::BTreeMap;
use std::ops::{Deref, Range};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::disk::{Arrival, Lease};
use super::prefix::Prefix;
use super::shelf::HostBytes;

/// Blocks of one fetch that are read ahead from disk.
pub(super) const AHEAD_MAX: usize = 4;

/// A saved block, as it was stored.
#[derive(Debug)]
pub struct Block {
    pub(super) index: usize,
    pub(super) bytes: HostBytes,
    /// While it was read from disk and is nobody else's yet.
    pub(super) _lease: Option<Lease>,
}

impl Block {
    /// Which block of its prefix.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What a fetch has for now.
#[derive(Debug)]
pub enum Next {
    /// The next block in order.
    Ready(Block),
    /// The next block is being read; ask again after the next step.
    Wait,
    /// There is nothing more: all were handed out, or the next one is not there any more and has to be computed.
    End,
}

/// Blocks of one prefix that are being brought, in order. Dropping it gives up on the rest.
#[derive(Debug)]
pub struct Fetch {
    pub(super) prefix: Prefix,
    pub(super) next: usize,
    pub(super) end: usize,
    /// Reads that were sent, by block, and what came of those that arrived.
    pub(super) coming: BTreeMap<usize, Option<Arrival>>,
    pub(super) reply: SyncSender<Arrival>,
    arrivals: Receiver<Arrival>,
}

impl Fetch {
    pub(super) fn new(prefix: &Prefix, blocks: Range<usize>) -> Self {
        let (reply, arrivals) = sync_channel(AHEAD_MAX);
        Self {
            next: blocks.start,
            end: blocks.end.min(prefix.block_count()),
            prefix: prefix.clone(),
            coming: BTreeMap::new(),
            reply,
            arrivals,
        }
    }

    /// The block that is handed out next.
    #[must_use]
    pub const fn next_index(&self) -> usize {
        self.next
    }

    /// Everything that arrived since.
    pub(super) fn collect(&mut self) {
        while let Ok(arrival) = self.arrivals.try_recv() {
            self.coming.insert(arrival.index, Some(arrival));
        }
    }
}
