//! Who holds how much of one tier, and what gives way first. Pure.
//!
//! What a block is worth follows GreedyDual-Size-Frequency (Cherkasova, 1998): what computing it again would cost,
//! times how often it was asked for, per byte, on top of a level that rises with each eviction, so that what is not
//! asked for any more sinks. Pinned blocks give way after all others.
//!
//! Tenants are protected from each other: only who holds more than an equal share of the tier loses blocks, pinned or
//! not. So one tenant can neither flush nor pin away the others' prefixes.

use std::collections::{BTreeMap, BTreeSet};

use super::prefix::{BlockKey, TenantBytes};

/// Times asked for that count; more would keep a block long after its time.
const HITS_MAX: u32 = 64;

/// What a block is worth to whoever stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worth {
    /// Microseconds that computing the block again would take, as the step model estimates it.
    pub cost_us: u32,
    /// Gives way after all blocks that are not.
    pub is_pinned: bool,
}

/// Place in the order of giving way; the least goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    is_pinned: bool,
    /// Bits of a number that is finite and not negative, which sort as it does.
    priority_bits: u64,
    key: BlockKey,
}

impl Rank {
    pub(super) const fn key(&self) -> BlockKey {
        self.key
    }
}

/// The account of one tier.
#[derive(Debug)]
pub(super) struct Ledger {
    limit: u64,
    used: u64,
    level: f64,
    tenants: BTreeMap<TenantBytes, Share>,
}

#[derive(Debug, Default)]
struct Share {
    used: u64,
    evictable: BTreeSet<Rank>,
}

impl Ledger {
    pub(super) const fn new(limit: u64) -> Self {
        Self {
            limit,
            used: 0,
            level: 0.0,
            tenants: BTreeMap::new(),
        }
    }

    pub(super) const fn used(&self) -> u64 {
        self.used
    }

    pub(super) const fn limit(&self) -> u64 {
        self.limit
    }

    pub(super) const fn has_room(&self, amount: u64) -> bool {
        self.used.saturating_add(amount) <= self.limit
    }

    /// Where a block stands that is worth that much, was asked for so often, and takes `amount`.
    pub(super) fn rank(&self, key: BlockKey, worth: Worth, hit_count: u32, amount: u64) -> Rank {
        let hits = f64::from(hit_count.min(HITS_MAX)) + 1.0;
        let kibibytes = (amount.max(1) as f64) / 1024.0;
        let priority = self.level + hits * f64::from(worth.cost_us.max(1)) / kibibytes;
        Rank {
            is_pinned: worth.is_pinned,
            priority_bits: priority.to_bits(),
            key,
        }
    }

    pub(super) fn take(&mut self, tenant: TenantBytes, amount: u64) {
        assert!(self.has_room(amount), "room is made before it is taken");
        self.used += amount;
        self.tenants.entry(tenant).or_default().used += amount;
    }

    pub(super) fn give(&mut self, tenant: &TenantBytes, amount: u64) {
        self.used -= amount;
        if let Some(share) = self.tenants.get_mut(tenant) {
            share.used -= amount;
            if share.used == 0 && share.evictable.is_empty() {
                self.tenants.remove(tenant);
            }
        }
    }

    pub(super) fn offer(&mut self, tenant: TenantBytes, rank: Rank) {
        self.tenants.entry(tenant).or_default().evictable.insert(rank);
    }

    pub(super) fn withdraw(&mut self, tenant: &TenantBytes, rank: &Rank) {
        if let Some(share) = self.tenants.get_mut(tenant) {
            share.evictable.remove(rank);
        }
    }

    /// What gives way so that `tenant` can hold `amount` more, and nothing if that is to be refused.
    pub(super) fn victim(&self, tenant: &TenantBytes, amount: u64, is_pinned: bool) -> Option<Rank> {
        let is_new = !self.tenants.contains_key(tenant);
        let tenant_count = (self.tenants.len() as u64) + u64::from(is_new);
        let share_max = self.limit / tenant_count.max(1);
        self.least(tenant, is_pinned, |holder, share| {
            let coming = if holder == tenant { amount } else { 0 };
            share.used.saturating_add(coming) > share_max
        })
        .or_else(|| self.least(tenant, is_pinned, |_, _| true))
    }

    fn least(
        &self,
        tenant: &TenantBytes,
        is_pinned: bool,
        is_over: impl Fn(&TenantBytes, &Share) -> bool,
    ) -> Option<Rank> {
        self.tenants
            .iter()
            .filter(|(holder, share)| is_over(holder, share))
            .filter_map(|(holder, share)| {
                let rank = share.evictable.first()?;
                // One's own pinned blocks stay until something pinned comes.
                let is_kept = holder == tenant && rank.is_pinned && !is_pinned;
                (!is_kept).then_some(*rank)
            })
            .min()
    }

    /// The level rises to what gave way.
    pub(super) fn rise_to(&mut self, rank: &Rank) {
        self.level = self.level.max(f64::from_bits(rank.priority_bits));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TenantBytes = [1; 16];
    const B: TenantBytes = [2; 16];

    fn key(number: u8) -> BlockKey {
        BlockKey::from_bytes([number; 32])
    }

    fn worth(cost_us: u32) -> Worth {
        Worth {
            cost_us,
            is_pinned: false,
        }
    }

    fn hold(ledger: &mut Ledger, tenant: TenantBytes, number: u8, worth: Worth) -> Rank {
        let rank = ledger.rank(key(number), worth, 0, 10);
        ledger.take(tenant, 10);
        ledger.offer(tenant, rank);
        rank
    }

    #[test]
    fn the_cheapest_to_compute_again_gives_way_first() {
        let mut ledger = Ledger::new(30);
        for (number, cost_us) in [(1, 300), (2, 100), (3, 200)] {
            hold(&mut ledger, A, number, worth(cost_us));
        }
        let victim = ledger.victim(&A, 10, false).map(|rank| rank.key());
        assert_eq!(victim, Some(key(2)));
    }

    #[test]
    fn what_was_asked_for_often_stays_longer() {
        let ledger = Ledger::new(30);
        let often = ledger.rank(key(1), worth(100), 5, 10);
        let never = ledger.rank(key(2), worth(200), 0, 10);
        assert!(never < often);
    }

    #[test]
    fn what_is_not_asked_for_any_more_sinks() {
        let mut ledger = Ledger::new(30);
        let once_popular = ledger.rank(key(1), worth(100), HITS_MAX, 10);
        for _ in 0..100 {
            let rank = ledger.rank(key(2), worth(100), 0, 10);
            ledger.rise_to(&rank);
        }
        assert!(once_popular < ledger.rank(key(3), worth(100), 0, 10));
    }

    #[test]
    fn a_tenant_within_its_share_loses_nothing_to_one_beyond() {
        let mut ledger = Ledger::new(40);
        hold(&mut ledger, B, 1, worth(1));
        for number in 2..=4 {
            hold(&mut ledger, A, number, worth(1_000));
        }
        assert!(!ledger.has_room(10));
        let victim = ledger.victim(&A, 10, false).map(|rank| rank.key());
        assert_eq!(victim, Some(key(2)), "A pays for A, dear as its blocks are");
        let victim = ledger.victim(&B, 10, false).map(|rank| rank.key());
        assert_eq!(victim, Some(key(2)), "and for B's second block too");
    }

    #[test]
    fn own_pinned_blocks_stay_until_something_pinned_comes() {
        let pinned = Worth {
            cost_us: 1,
            is_pinned: true,
        };
        let mut ledger = Ledger::new(20);
        hold(&mut ledger, A, 1, pinned);
        let plain = hold(&mut ledger, A, 2, worth(1_000_000));
        let victim = ledger.victim(&A, 10, false).map(|rank| rank.key());
        assert_eq!(victim, Some(key(2)));
        ledger.withdraw(&A, &plain);
        assert_eq!(ledger.victim(&A, 10, false), None);
        assert!(ledger.victim(&A, 10, true).is_some());
        assert!(ledger.victim(&B, 10, false).is_some(), "nobody pins others out");
    }
}
