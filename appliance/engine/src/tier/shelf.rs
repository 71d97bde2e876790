//! Which blocks are where: the directory of both tiers. Pure; the step thread owns it.
//!
//! Two rules keep every block reachable from its first ancestor, so that a walk along a prefix never misses one that
//! is there, and a worker that comes later finds on disk what hangs together:
//!
//! 1. a block is there only while the block before it is (children give way first);
//! 2. a block is on disk only while the block before it is on disk.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::ledger::{Ledger, Rank, Worth};
use super::prefix::{BLOCK_TOKENS, BlockKey, Prefix, TenantBytes};
use super::record::{Header, Place};

/// A saved state in the host's memory.
pub(super) type HostBytes = Arc<Vec<u8>>;

#[derive(Debug)]
struct Entry {
    tenant: TenantBytes,
    parent: BlockKey,
    block_index: u32,
    tokens: Box<[u32; BLOCK_TOKENS]>,
    worth: Worth,
    hit_count: u32,
    children: HashSet<BlockKey>,
    on_disk_child_count: u32,
    host: Option<HostBytes>,
    host_rank: Option<Rank>,
    disk: Option<Place>,
    disk_rank: Option<Rank>,
}

/// Where a block is.
#[derive(Debug, Clone)]
pub(super) enum Location {
    Host(HostBytes),
    Disk(Header, Place),
}

/// What became of a block that was put on the shelf.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shelved {
    pub(super) in_host: bool,
    /// Where it is to be written.
    pub(super) on_disk: Option<(Header, Place)>,
}

/// Why a block cannot be put on the shelf.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotShelved {
    /// It is there.
    Known,
    /// The block before it is not.
    Orphan,
    /// Another block has its name.
    Collision,
}

#[derive(Debug)]
pub(super) struct Shelf {
    entries: HashMap<BlockKey, Entry>,
    host: Ledger,
    disk: Ledger,
    free_slots: Vec<u32>,
    next_generation: u64,
}

impl Shelf {
    pub(super) fn new(host_bytes_max: u64) -> Self {
        Self {
            entries: HashMap::new(),
            host: Ledger::new(host_bytes_max),
            disk: Ledger::new(0),
            free_slots: Vec::new(),
            next_generation: 1,
        }
    }

    pub(super) const fn host_bytes(&self) -> u64 {
        self.host.used()
    }

    pub(super) const fn host_limit(&self) -> u64 {
        self.host.limit()
    }

    pub(super) const fn disk_slots_used(&self) -> u64 {
        self.disk.used()
    }

    pub(super) fn block_count(&self) -> usize {
        self.entries.len()
    }

    /// Leading blocks of `prefix` that are there.
    pub(super) fn longest(&self, prefix: &Prefix) -> usize {
        (0..prefix.block_count())
            .take_while(|index| self.entry(prefix, *index).is_some())
            .count()
    }

    /// The entry of that block. Tokens and tenant are compared, not only the name.
    fn entry(&self, prefix: &Prefix, index: usize) -> Option<&Entry> {
        let entry = self.entries.get(&prefix.key(index)?)?;
        let is_same = entry.tenant == *prefix.tenant()
            && entry.parent == prefix.parent(index)?
            && entry.tokens.as_ref() == prefix.block(index)?;
        is_same.then_some(entry)
    }

    pub(super) fn locate(&self, prefix: &Prefix, index: usize) -> Option<Location> {
        let key = prefix.key(index)?;
        let entry = self.entry(prefix, index)?;
        if let Some(bytes) = &entry.host {
            return Some(Location::Host(Arc::clone(bytes)));
        }
        let place = entry.disk?;
        Some(Location::Disk(entry.header(key), place))
    }

    /// Counts that block as asked for once more.
    pub(super) fn touch(&mut self, prefix: &Prefix, index: usize) {
        if self.entry(prefix, index).is_none() {
            return;
        }
        let Some((key, entry)) = prefix
            .key(index)
            .and_then(|key| Some((key, self.entries.get_mut(&key)?)))
        else {
            return;
        };
        entry.hit_count = entry.hit_count.saturating_add(1);
        if let (Some(rank), Some(bytes)) = (&mut entry.host_rank, &entry.host) {
            self.host.withdraw(&entry.tenant, rank);
            *rank = self
                .host
                .rank(key, entry.worth, entry.hit_count, amount_of(bytes));
        }
        if let Some(rank) = &mut entry.disk_rank {
            self.disk.withdraw(&entry.tenant, rank);
            *rank = self.disk.rank(key, entry.worth, entry.hit_count, 1);
        }
        self.refresh(key);
    }

    /// The disk tier begins with that many slots, all free.
    pub(super) fn open_disk(&mut self, slot_count: u32) {
        self.close_disk();
        self.disk = Ledger::new(u64::from(slot_count));
        self.free_slots = (0..slot_count).rev().collect();
    }

    /// Nothing is on disk any more.
    pub(super) fn close_disk(&mut self) {
        let on_disk: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.disk.is_some())
            .map(|(key, _)| *key)
            .collect();
        for key in on_disk {
            self.clear_disk(key);
        }
        self.disk = Ledger::new(0);
        self.free_slots.clear();
    }

    /// Takes over what an earlier worker left on disk. What does not hang together is left out, and its slot is free.
    pub(super) fn adopt(&mut self, mut found: Vec<(Header, Place)>) {
        // Parents first, and of one block the copy that was written last.
        found.sort_by_key(|(header, place)| (header.block_index, Reverse(place.generation)));
        let mut taken = HashSet::new();
        for (header, place) in found {
            self.next_generation = self.next_generation.max(place.generation.saturating_add(1));
            let is_rooted = if header.parent == BlockKey::ROOT {
                header.block_index == 0
            } else {
                self.entries
                    .get(&header.parent)
                    .is_some_and(|parent| parent.disk.is_some() && parent.tenant == header.tenant)
            };
            if is_rooted && !self.entries.contains_key(&header.key) && self.disk.has_room(1) {
                taken.insert(place.slot);
                self.link(&header);
                self.set_disk(header.key, place);
            }
        }
        self.free_slots.retain(|slot| !taken.contains(slot));
    }

    /// Puts a block on the shelf: in memory if there is room or something worth less gives way, and on disk likewise if
    /// `is_for_disk`.
    pub(super) fn put(
        &mut self,
        prefix: &Prefix,
        index: usize,
        bytes: &HostBytes,
        worth: Worth,
        is_for_disk: bool,
    ) -> Result<Shelved, NotShelved> {
        let (Some(key), Some(parent), Some(tokens)) =
            (prefix.key(index), prefix.parent(index), prefix.block(index))
        else {
            return Err(NotShelved::Orphan);
        };
        if self.entry(prefix, index).is_some() {
            return Err(NotShelved::Known);
        }
        if self.entries.contains_key(&key) {
            return Err(NotShelved::Collision);
        }
        if index > 0 && self.entry(prefix, index - 1).is_none() {
            return Err(NotShelved::Orphan);
        }
        let header = Header {
            key,
            parent,
            tenant: *prefix.tenant(),
            block_index: u32::try_from(index).map_err(|_| NotShelved::Orphan)?,
            worth,
            tokens: Box::new(*tokens),
        };
        self.link(&header);
        let in_host = self.put_in_host(key, bytes);
        let on_disk = is_for_disk
            .then(|| self.put_on_disk(key, bytes.len() as u64))
            .flatten();
        if !in_host && on_disk.is_none() {
            self.remove(key);
        }
        Ok(Shelved {
            in_host,
            on_disk: on_disk.map(|place| (header, place)),
        })
    }

    /// A copy in memory of a block that came from disk, if there is room. Returns whether there was.
    pub(super) fn keep_in_host(&mut self, key: BlockKey, generation: u64, bytes: &HostBytes) -> bool {
        let is_it = self.entries.get(&key).is_some_and(|entry| {
            entry.host.is_none() && entry.disk.is_some_and(|place| place.generation == generation)
        });
        is_it && self.put_in_host(key, bytes)
    }

    /// A place on disk for a block that is in memory only, with the bytes to write there.
    pub(super) fn write_back(&mut self, prefix: &Prefix, index: usize) -> Option<(Header, Place, HostBytes)> {
        let key = prefix.key(index)?;
        let entry = self.entry(prefix, index)?;
        if entry.disk.is_some() {
            return None;
        }
        let bytes = Arc::clone(entry.host.as_ref()?);
        let header = entry.header(key);
        let place = self.put_on_disk(key, bytes.len() as u64)?;
        Some((header, place, bytes))
    }

    /// The copy of this generation on disk is gone or not to be trusted.
    pub(super) fn drop_disk(&mut self, key: BlockKey, generation: u64) {
        let place = self.entries.get(&key).and_then(|entry| entry.disk);
        if place.is_none_or(|place| place.generation != generation) {
            return;
        }
        // What hangs below on disk would not be found by a later worker.
        for below in self.on_disk_below(key) {
            self.clear_disk(below);
        }
    }

    fn put_in_host(&mut self, key: BlockKey, bytes: &HostBytes) -> bool {
        let Some((tenant, is_pinned)) = self
            .entries
            .get(&key)
            .map(|entry| (entry.tenant, entry.worth.is_pinned))
        else {
            return false;
        };
        let amount = amount_of(bytes);
        if amount > self.host.limit() {
            return false;
        }
        while !self.host.has_room(amount) {
            let Some(victim) = self.host.victim(&tenant, amount, is_pinned) else {
                return false;
            };
            self.host.rise_to(&victim);
            self.clear_host(victim.key());
        }
        self.host.take(tenant, amount);
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.host = Some(Arc::clone(bytes));
            entry.host_rank = Some(self.host.rank(key, entry.worth, entry.hit_count, amount));
        }
        self.refresh(key);
        true
    }

    fn put_on_disk(&mut self, key: BlockKey, byte_count: u64) -> Option<Place> {
        let entry = self.entries.get(&key)?;
        let (tenant, parent, is_pinned) = (entry.tenant, entry.parent, entry.worth.is_pinned);
        let is_rooted = parent == BlockKey::ROOT
            || self
                .entries
                .get(&parent)
                .is_some_and(|parent| parent.disk.is_some());
        if !is_rooted || self.disk.limit() == 0 {
            return None;
        }
        // Counted as a child meanwhile, so that making room takes no ancestor away.
        self.count_on_disk_child(parent, 1);
        let slot = loop {
            if let Some(slot) = self.free_slots.pop() {
                break Some(slot);
            }
            let Some(victim) = self.disk.victim(&tenant, 1, is_pinned) else {
                break None;
            };
            self.disk.rise_to(&victim);
            self.clear_disk(victim.key());
        };
        self.count_on_disk_child(parent, -1);
        let place = Place {
            slot: slot?,
            generation: self.next_generation,
            byte_count,
        };
        self.next_generation += 1;
        self.set_disk(key, place);
        Some(place)
    }

    fn link(&mut self, header: &Header) {
        if let Some(parent) = self.entries.get_mut(&header.parent) {
            parent.children.insert(header.key);
        }
        self.entries.insert(header.key, Entry::new(header));
        self.refresh(header.parent);
    }

    fn set_disk(&mut self, key: BlockKey, place: Place) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        entry.disk = Some(place);
        entry.disk_rank = Some(self.disk.rank(key, entry.worth, entry.hit_count, 1));
        let (tenant, parent) = (entry.tenant, entry.parent);
        self.disk.take(tenant, 1);
        self.count_on_disk_child(parent, 1);
        self.refresh(key);
    }

    fn clear_host(&mut self, key: BlockKey) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        if let Some(rank) = entry.host_rank.take() {
            self.host.withdraw(&entry.tenant, &rank);
        }
        if let Some(bytes) = entry.host.take() {
            self.host.give(&entry.tenant, amount_of(&bytes));
        }
        self.settle(key);
    }

    fn clear_disk(&mut self, key: BlockKey) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        let parent = entry.parent;
        if let Some(rank) = entry.disk_rank.take() {
            self.disk.withdraw(&entry.tenant, &rank);
        }
        if let Some(place) = entry.disk.take() {
            self.disk.give(&entry.tenant, 1);
            self.free_slots.push(place.slot);
            self.count_on_disk_child(parent, -1);
        }
        self.settle(key);
    }

    /// What is nowhere any more leaves the shelf, and with it what hangs below.
    fn settle(&mut self, key: BlockKey) {
        let is_nowhere = self
            .entries
            .get(&key)
            .is_some_and(|entry| entry.host.is_none() && entry.disk.is_none());
        if is_nowhere {
            self.remove(key);
        } else {
            self.refresh(key);
        }
    }

    fn remove(&mut self, key: BlockKey) {
        if let Some(parent) = self.entries.get(&key).map(|entry| entry.parent) {
            if let Some(entry) = self.entries.get_mut(&parent) {
                entry.children.remove(&key);
            }
            self.refresh(parent);
        }
        let mut doomed = vec![key];
        while let Some(key) = doomed.pop() {
            let Some(entry) = self.entries.remove(&key) else {
                continue;
            };
            doomed.extend(&entry.children);
            self.withdraw(&entry);
            if let Some(bytes) = &entry.host {
                self.host.give(&entry.tenant, amount_of(bytes));
            }
            if let Some(place) = entry.disk {
                self.disk.give(&entry.tenant, 1);
                self.free_slots.push(place.slot);
                self.count_on_disk_child(entry.parent, -1);
            }
        }
    }

    fn count_on_disk_child(&mut self, parent: BlockKey, change: i32) {
        if let Some(entry) = self.entries.get_mut(&parent) {
            entry.on_disk_child_count = entry.on_disk_child_count.saturating_add_signed(change);
            self.refresh(parent);
        }
    }

    /// `key` and what is on disk below it, children before parents.
    fn on_disk_below(&self, key: BlockKey) -> Vec<BlockKey> {
        let mut below = vec![key];
        let mut next = 0;
        while let Some(key) = below.get(next) {
            let children = self.entries.get(key).map(|entry| &entry.children);
            let on_disk = children
                .into_iter()
                .flatten()
                .filter(|child| self.entries.get(child).is_some_and(|entry| entry.disk.is_some()));
            let on_disk: Vec<_> = on_disk.copied().collect();
            below.extend(on_disk);
            next += 1;
        }
        below.reverse();
        below
    }

    fn withdraw(&mut self, entry: &Entry) {
        if let Some(rank) = &entry.host_rank {
            self.host.withdraw(&entry.tenant, rank);
        }
        if let Some(rank) = &entry.disk_rank {
            self.disk.withdraw(&entry.tenant, rank);
        }
    }

    /// Offers the block in each tier where it may give way, and nowhere else.
    fn refresh(&mut self, key: BlockKey) {
        let Some(entry) = self.entries.get(&key) else {
            return;
        };
        if let Some(rank) = entry.host_rank {
            if entry.disk.is_some() || entry.children.is_empty() {
                self.host.offer(entry.tenant, rank);
            } else {
                self.host.withdraw(&entry.tenant, &rank);
            }
        }
        if let Some(rank) = entry.disk_rank {
            if entry.on_disk_child_count == 0 {
                self.disk.offer(entry.tenant, rank);
            } else {
                self.disk.withdraw(&entry.tenant, &rank);
            }
        }
    }
}

impl Entry {
    fn new(header: &Header) -> Self {
        Self {
            tenant: header.tenant,
            parent: header.parent,
            block_index: header.block_index,
            tokens: header.tokens.clone(),
            worth: header.worth,
            hit_count: 0,
            children: HashSet::new(),
            on_disk_child_count: 0,
            host: None,
            host_rank: None,
            disk: None,
            disk_rank: None,
        }
    }

    fn header(&self, key: BlockKey) -> Header {
        Header {
            key,
            parent: self.parent,
            tenant: self.tenant,
            block_index: self.block_index,
            worth: self.worth,
            tokens: self.tokens.clone(),
        }
    }
}

fn amount_of(bytes: &HostBytes) -> u64 {
    bytes.capacity() as u64
}

#[cfg(test)]
impl Shelf {
    /// Fails when the directory contradicts itself.
    pub(super) fn check(&self) {
        let (mut host, mut disk) = (0, 0);
        let mut slots: HashSet<u32> = self.free_slots.iter().copied().collect();
        assert_eq!(slots.len(), self.free_slots.len(), "a slot is free twice");
        for (key, entry) in &self.entries {
            assert!(
                entry.host.is_some() || entry.disk.is_some(),
                "a block that is nowhere"
            );
            host += entry.host.as_ref().map_or(0, amount_of);
            if let Some(place) = entry.disk {
                disk += 1;
                assert!(slots.insert(place.slot), "a slot that is used twice");
            }
            if entry.parent == BlockKey::ROOT {
                assert_eq!(entry.block_index, 0);
            } else {
                let parent = self
                    .entries
                    .get(&entry.parent)
                    .expect("a block without its parent");
                assert!(parent.children.contains(key));
                assert!(
                    entry.disk.is_none() || parent.disk.is_some(),
                    "its parent is not on disk"
                );
                assert_eq!(parent.tenant, entry.tenant);
            }
            let on_disk = entry.children.iter().filter(|child| {
                self.entries
                    .get(child)
                    .expect("a child that is not there")
                    .disk
                    .is_some()
            });
            assert_eq!(u32::try_from(on_disk.count()), Ok(entry.on_disk_child_count));
            assert_eq!(entry.host.is_some(), entry.host_rank.is_some());
            assert_eq!(entry.disk.is_some(), entry.disk_rank.is_some());
        }
        assert_eq!((host, disk), (self.host.used(), self.disk.used()));
        assert_eq!(slots.len() as u64, self.disk.limit(), "a slot is lost");
    }
}
