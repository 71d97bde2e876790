//! The host and disk tiers of the prefix cache: computed blocks outlive the KV pool in memory, and the worker on disk.
//!
//! A block is the saved state of [`BLOCK_TOKENS`] tokens of one sequence. [`Prefix`] names blocks by all tokens up to
//! their end, whose they are, and the [`Shape`] of model and cache; who finds a block compares the tokens. Tenants
//! never meet: the tenant is in the name, is compared, and has its own share of each tier.
//!
//! ```text
//! let mut tiers = Tiers::open(shape, host_bytes_max, disk);          // while loading: reads the file's directory
//! let prefix = Prefix::new(shape, tenant, &prompt);
//! let blocks = tiers.longest(&prefix);                               // whole blocks that are there
//! let mut fetch = tiers.fetch(&prefix, 0..blocks);                   // begins to read while the request waits
//! match tiers.next(&mut fetch) { Next::Ready(block) => ..., Next::Wait => ..., Next::End => ... }
//! if tiers.wants(&prefix, index) { tiers.store(&prefix, index, bytes, worth); }
//! ```
//!
//! | Thread | Owns | Must survive |
//! |---|---|---|
//! | step | [`Tiers`]: the directory of both tiers, the host's arena | anything the disk does: it never waits for it |
//! | disk-tier | the file, its key | a full or broken disk: the tier switches itself off; torn, altered, foreign slots: they are not there |
//!
//! Bytes that come back go to a parser in C++, so they are handed out only if they are the ones that were stored: those
//! in memory never left it, those on disk are authenticated together with tokens, tenant and shape.

mod disk;
mod fetch;
mod ledger;
mod prefix;
mod record;
mod shelf;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use jingui_ipc::engine::DiskTier;
use jingui_trust::Secret;

pub use fetch::{Block, Fetch, Next};
pub use ledger::Worth;
pub use prefix::{BLOCK_TOKENS, BlockKey, Prefix, Shape, TenantBytes};

use disk::Disk;
use fetch::AHEAD_MAX;
use record::{Geometry, Header, Place, TierFile};
use shelf::{HostBytes, Location, NotShelved, Shelf};

/// Buffers that are kept for saving the next blocks.
const SPARES_MAX: usize = 2;

/// What became of a block that was to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It is in memory, on its way to disk, or both.
    Kept {
        /// In the host's memory.
        in_host: bool,
        /// On its way to disk.
        on_disk: bool,
    },
    /// It was there.
    Known,
    /// The block before it is not there, so nobody would find it.
    Orphan,
    /// There is no room for it, or the disk is behind.
    Dropped,
}

/// Counters since the start, and what the tiers hold now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TierFigures {
    /// Blocks in either tier.
    pub block_count: u64,
    /// Bytes in the host's memory.
    pub host_bytes: u64,
    /// Blocks on disk.
    pub disk_block_count: u64,
    /// Blocks that were stored.
    pub stored_count: u64,
    /// Blocks that were not stored for lack of room or because the disk was behind.
    pub dropped_count: u64,
    /// Blocks that were handed out from memory.
    pub host_hit_count: u64,
    /// Blocks that were handed out from disk.
    pub disk_hit_count: u64,
    /// Blocks written to disk.
    pub disk_written_count: u64,
    /// Blocks read from disk and opened.
    pub disk_read_count: u64,
    /// Slots that were torn, altered or overwritten, found while starting or when they were read.
    pub disk_refused_count: u64,
    /// The disk tier was there and failed; it is off until the next worker.
    pub is_disk_off: bool,
}

/// Both tiers. Belongs to the step thread; no call waits for the disk, but [`Tiers::open`] and dropping it.
#[derive(Debug)]
pub struct Tiers {
    shape: Shape,
    shelf: Shelf,
    disk: Option<Disk>,
    disk_bytes_max: u64,
    geometry: Option<Geometry>,
    spares: Vec<Vec<u8>>,
    figures: TierFigures,
}

impl Tiers {
    /// Tiers within these limits, 0 or `None` for none. Reads what an earlier worker left on disk, which takes well
    /// below a second, so it belongs into loading. A disk that cannot be read is a disk tier that is off.
    #[must_use]
    pub fn open(shape: Shape, host_bytes_max: u64, disk: Option<(File, &DiskTier)>) -> Self {
        let mut tiers = Self {
            shape,
            shelf: Shelf::new(host_bytes_max),
            disk: None,
            disk_bytes_max: 0,
            geometry: None,
            spares: Vec::new(),
            figures: TierFigures::default(),
        };
        if let Some((file, terms)) = disk {
            tiers.disk_bytes_max = terms.bytes_max;
            tiers.disk = tiers.open_disk(file, terms);
            tiers.figures.is_disk_off = tiers.disk.is_none();
        }
        tiers
    }

    fn open_disk(&mut self, file: File, terms: &DiskTier) -> Option<Disk> {
        let key = Secret::new(terms.key.0);
        let mut file = TierFile::new(file, key, self.shape, terms.bytes_max).ok()?;
        let found = file.scan().ok()?;
        self.figures.disk_refused_count = found.refused_count;
        self.geometry = file.geometry();
        if let Some(geometry) = self.geometry {
            self.shelf.open_disk(geometry.slot_count());
            self.shelf.adopt(found.blocks);
        }
        Disk::start(file)
    }

    /// Whether there is any tier.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        self.shelf.host_limit() > 0 || self.disk.is_some()
    }

    /// Most bytes of blocks, in memory and on disk.
    #[must_use]
    pub const fn bytes_max(&self) -> u64 {
        let disk = if self.disk.is_some() {
            self.disk_bytes_max
        } else {
            0
        };
        self.shelf.host_limit().saturating_add(disk)
    }

    /// Leading whole blocks of `prefix` that are there. Times [`BLOCK_TOKENS`] it is the tokens that need not be
    /// computed; the last token of a prompt always must, so ask with the prompt less one token.
    #[must_use]
    pub fn longest(&self, prefix: &Prefix) -> usize {
        self.shelf.longest(prefix)
    }

    /// Counts the first `blocks` blocks as asked for once more. For what was served from the pool, so that what is popular
    /// there stays here; [`Tiers::next`] counts by itself.
    pub fn touch(&mut self, prefix: &Prefix, blocks: usize) {
        for index in 0..blocks {
            self.shelf.touch(prefix, index);
        }
    }

    /// Whether that block is in no tier and would go to one. One that is in memory only, since the disk was behind, gets another chance.
    #[must_use]
    pub fn wants(&mut self, prefix: &Prefix, index: usize) -> bool {
        self.notice_failure();
        match self.shelf.locate(prefix, index) {
            None => self.is_any(),
            Some(Location::Disk(..)) => false,
            Some(Location::Host(bytes)) => {
                if self.prepare_disk(bytes.len() as u64)
                    && let Some((header, place, bytes)) = self.shelf.write_back(prefix, index)
                {
                    self.write(header, place, &bytes);
                }
                false
            }
        }
    }

    /// Begins to bring these blocks. Each should be within [`Tiers::longest`].
    pub fn fetch(&mut self, prefix: &Prefix, blocks: Range<usize>) -> Fetch {
        self.notice_failure();
        let mut fetch = Fetch::new(prefix, blocks);
        self.read_ahead(&mut fetch, false);
        fetch
    }

    /// The next block of a fetch, if it is here.
    pub fn next(&mut self, fetch: &mut Fetch) -> Next {
        self.notice_failure();
        fetch.collect();
        if fetch.next >= fetch.end {
            return Next::End;
        }
        let index = fetch.next;
        let next = match fetch.coming.remove(&index) {
            Some(None) => {
                fetch.coming.insert(index, None);
                Next::Wait
            }
            Some(Some(arrival)) => self.arrived(arrival),
            None => match self.shelf.locate(&fetch.prefix, index) {
                Some(Location::Host(bytes)) => {
                    self.figures.host_hit_count += 1;
                    Next::Ready(Block {
                        index,
                        bytes,
                        _lease: None,
                    })
                }
                Some(Location::Disk(..)) => Next::Wait,
                None => Next::End,
            },
        };
        match next {
            Next::Ready(_) => {
                self.shelf.touch(&fetch.prefix, index);
                fetch.next += 1;
            }
            Next::Wait => {}
            Next::End => fetch.end = index,
        }
        self.read_ahead(fetch, true);
        next
    }

    fn arrived(&mut self, arrival: disk::Arrival) -> Next {
        let Some(bytes) = arrival.bytes else {
            self.figures.disk_refused_count += 1;
            self.shelf.drop_disk(arrival.header.key, arrival.place.generation);
            return Next::End;
        };
        self.figures.disk_hit_count += 1;
        let is_kept = self
            .shelf
            .keep_in_host(arrival.header.key, arrival.place.generation, &bytes);
        Next::Ready(Block {
            index: arrival.index,
            bytes,
            _lease: (!is_kept).then_some(arrival.lease),
        })
    }

    /// Asks for the next blocks that are on disk only, a few at a time.
    fn read_ahead(&mut self, fetch: &mut Fetch, is_awaited: bool) {
        let Some(disk) = &self.disk else { return };
        let window = fetch.next..fetch.end.min(fetch.next.saturating_add(AHEAD_MAX));
        for index in window {
            if fetch.coming.len() >= AHEAD_MAX {
                break;
            }
            if fetch.coming.contains_key(&index) {
                continue;
            }
            match self.shelf.locate(&fetch.prefix, index) {
                Some(Location::Host(_)) => {}
                Some(Location::Disk(header, place)) => {
                    // Who waits for a block now is not kept from it by blocks that others ordered ahead.
                    let is_urgent = is_awaited && index == fetch.next;
                    if !disk.read(header, place, index, &fetch.reply, is_urgent) {
                        break;
                    }
                    fetch.coming.insert(index, None);
                }
                None => break,
            }
        }
    }

    /// An empty buffer for the next block, one that was used before if there is one.
    #[must_use]
    pub fn buffer(&mut self) -> Vec<u8> {
        self.spares.pop().unwrap_or_default()
    }

    /// Stores the state of whole block `index` of `prefix`. Whatever does not fit or cannot be taken at once is
    /// dropped.
    pub fn store(&mut self, prefix: &Prefix, index: usize, bytes: Vec<u8>, worth: Worth) -> Stored {
        self.notice_failure();
        let byte_count = bytes.len() as u64;
        let is_for_disk = self.prepare_disk(byte_count);
        let bytes = Arc::new(bytes);
        match self.shelf.put(prefix, index, &bytes, worth, is_for_disk) {
            Ok(shelved) => {
                let on_disk = shelved
                    .on_disk
                    .is_some_and(|(header, place)| self.write(header, place, &bytes));
                self.keep_spare(bytes);
                let in_host = shelved.in_host;
                if in_host || on_disk {
                    self.figures.stored_count += 1;
                    Stored::Kept { in_host, on_disk }
                } else {
                    self.figures.dropped_count += 1;
                    Stored::Dropped
                }
            }
            Err(NotShelved::Known) => {
                self.keep_spare(bytes);
                Stored::Known
            }
            Err(NotShelved::Orphan | NotShelved::Collision) => {
                self.figures.dropped_count += 1;
                self.keep_spare(bytes);
                Stored::Orphan
            }
        }
    }

    fn write(&mut self, header: Header, place: Place, bytes: &HostBytes) -> bool {
        let key = header.key;
        let is_sent = self
            .disk
            .as_ref()
            .is_some_and(|disk| disk.write(header, place, Arc::clone(bytes)));
        if !is_sent {
            self.shelf.drop_disk(key, place.generation);
        }
        is_sent
    }

    /// Divides the file by the first block. Returns whether the disk takes a block of that size now.
    fn prepare_disk(&mut self, byte_count: u64) -> bool {
        let Some(disk) = &self.disk else { return false };
        if !disk.has_room_to_write(byte_count) {
            return false;
        }
        if self.geometry.is_none() {
            let Some(geometry) = Geometry::for_blocks(byte_count, self.disk_bytes_max) else {
                return false;
            };
            if !disk.format(geometry) {
                return false;
            }
            self.shelf.open_disk(geometry.slot_count());
            self.geometry = Some(geometry);
        }
        self.geometry.is_some_and(|geometry| geometry.suits(byte_count))
    }

    fn keep_spare(&mut self, bytes: HostBytes) {
        if self.spares.len() < SPARES_MAX
            && let Ok(mut bytes) = Arc::try_unwrap(bytes)
        {
            bytes.clear();
            self.spares.push(bytes);
        }
    }

    /// After a failure of the disk: what is on it is not there.
    fn notice_failure(&mut self) {
        if self.disk.as_ref().is_some_and(Disk::has_failed) {
            self.figures = self.figures();
            self.figures.is_disk_off = true;
            self.shelf.close_disk();
            self.disk = None;
        }
    }

    /// Whether everything that was stored is on disk as far as it goes there.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.disk.as_ref().is_none_or(Disk::is_idle)
    }

    /// What the tiers did and hold.
    #[must_use]
    pub fn figures(&self) -> TierFigures {
        let disk = self.disk.as_ref();
        TierFigures {
            block_count: self.shelf.block_count() as u64,
            host_bytes: self.shelf.host_bytes(),
            disk_block_count: self.shelf.disk_slots_used(),
            disk_written_count: disk.map_or(self.figures.disk_written_count, Disk::written_count),
            disk_read_count: disk.map_or(self.figures.disk_read_count, Disk::read_count),
            ..self.figures
        }
    }
}
