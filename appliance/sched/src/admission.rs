//! Who may enter: a place, a sequence, and room in the pool that is theirs until the end.
//!
//! Among waiting streams interactive ones go first, then tenants with fewer running streams, then those that have had
//! less. A tenant that holds at least two places more than one that waits gives one back, and batch streams give way to
//! interactive ones: their streams are swapped out, which costs them their place and nothing else. What they computed stays
//! cached, and they come back before others of their tenant.

use std::collections::BTreeMap;

use crate::shape::{AGING_US, PASSED_OVER_US, RESERVE_GROWTH_TOKENS};
use crate::stream::{Class, Phase, Stream};
use crate::{Micros, Scheduler, StreamKey, TenantId};

/// After waiting so long a batch stream counts as an interactive one.
const BATCH_PATIENCE_US: Micros = 6 * AGING_US;

impl Scheduler {
    /// Whether one more stream of `tenant` may wait. Those that will be admitted at the next step wait for nothing.
    pub(crate) fn has_room_to_wait(&self, tenant: &TenantId) -> bool {
        let free_places = self.shape.running_max.saturating_sub(self.running.len());
        let waiting = self
            .streams
            .values()
            .filter(|stream| !stream.is_running())
            .count();
        let of_tenant = self.tenants.get(tenant).map_or(0, |tenant| tenant.waiting_count);
        waiting < self.shape.waiting_max + free_places
            && of_tenant < self.shape.waiting_per_tenant_max + free_places
    }

    /// Admits who may enter.
    pub(crate) fn admit(&mut self, now: Micros) {
        self.admit_strict(now);
        for key in self.admission_order(now) {
            if self.try_to_admit(key, now) {
                continue;
            }
            let has_waited = self
                .streams
                .get(&key)
                .is_some_and(|stream| now.saturating_sub(stream.arrived_at) > PASSED_OVER_US);
            if has_waited {
                // Nobody passes it any more, so what ends makes room for it.
                return;
            }
        }
    }

    /// Waiting streams of the main lane in the order in which they are admitted.
    pub(crate) fn admission_order(&self, now: Micros) -> Vec<StreamKey> {
        let mut waiting: Vec<&Stream> = self
            .streams
            .values()
            .filter(|stream| !stream.is_running() && !stream.is_strict)
            .collect();
        waiting.sort_by_key(|stream| (!stream.was_swapped_out, stream.number));
        // The n-th waiting stream of a tenant competes as if n of its streams ran already.
        let mut ahead = BTreeMap::new();
        let mut order: Vec<_> = waiting
            .into_iter()
            .map(|stream| {
                let tenant = self.tenants.get(&stream.tenant);
                let class = urgency(stream, now);
                let before = ahead.entry((stream.tenant, class)).or_insert(0usize);
                let places = tenant.map_or(0, |tenant| tenant.running_count) + *before;
                *before += 1;
                let served = tenant.map_or(0, |tenant| tenant.served);
                (
                    (class, places, served, !stream.was_swapped_out, stream.number),
                    stream.key,
                )
            })
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(_, key)| key).collect()
    }

    fn try_to_admit(&mut self, key: StreamKey, now: Micros) -> bool {
        if self.running.len() < self.shape.running_max && self.enter_if_it_fits(key, now) {
            return true;
        }
        let Some(victims) = self.who_gives_way_to(key, now) else {
            return false;
        };
        for victim in victims {
            self.swap_out(victim, now);
        }
        self.running.len() < self.shape.running_max && self.enter_if_it_fits(key, now)
    }

    fn enter_if_it_fits(&mut self, key: StreamKey, now: Micros) -> bool {
        let Some(sequence) = self.take_sequence(now) else {
            return false;
        };
        let need = self.need_of(key);
        if self.committed() + need > self.shape.kv_cells {
            self.free_sequences.insert(sequence);
            return false;
        }
        let Some(root) = self.root_for(key) else {
            self.free_sequences.insert(sequence);
            return false;
        };
        self.tree.begin(sequence, root);
        self.running.push(key);
        if let Some(stream) = self.streams.get_mut(&key) {
            stream.sequence = Some(sequence);
            stream.computed = 0;
            stream.reserved = stream.cells_at_admission();
            stream.phase = Phase::Looking;
            stream.moved_at = now;
            let (tenant, is_new) = (stream.tenant, stream.cached.is_none());
            let prompt = stream.prompt_count;
            let tenant = self.tenant_mut(tenant);
            tenant.running_count += 1;
            tenant.waiting_count -= 1;
            if is_new {
                self.figures.prompt_tokens += crate::scheduler::count(prompt);
            }
        }
        // At once: what was found counts as there.
        self.look(key, now);
        true
    }

    /// Cells that admitting a stream commits: what it has to compute, and cached cells that it takes into use.
    fn need_of(&self, key: StreamKey) -> usize {
        let Some(stream) = self.streams.get(&key) else {
            return 0;
        };
        let cells = stream.cells_at_admission();
        let Some(found) = self.find(stream) else {
            return cells;
        };
        cells - found.length + self.tree.cached_cells_of(found)
    }

    /// Running streams that have to give place and room to a waiting one; `None` when that would not be enough, so that
    /// nobody is swapped out for nothing.
    fn who_gives_way_to(&self, key: StreamKey, now: Micros) -> Option<Vec<StreamKey>> {
        let waiting = self.streams.get(&key)?;
        let class = urgency(waiting, now);
        let own_count = self.tenants.get(&waiting.tenant)?.running_count;
        let mut counts: BTreeMap<TenantId, usize> = self
            .tenants
            .iter()
            .map(|(id, tenant)| (*id, tenant.running_count))
            .collect();
        let mut left: Vec<&Stream> = self.running_streams().collect();
        let mut batch_count = left.iter().filter(|stream| stream.class == Class::Batch).count();
        let mut room = self.shape.kv_cells.saturating_sub(self.committed());
        let need = self.need_of(key);
        let mut victims = Vec::new();
        while left.len() >= self.shape.running_max || room < need {
            let count_of = |stream: &Stream| counts.get(&stream.tenant).copied().unwrap_or(0);
            let gives_way = |stream: &Stream| {
                let is_of_rich = count_of(stream) >= own_count + 2 && stream.class >= class;
                // One batch stream stays: it moves slowly, but it moves.
                let is_batch = class < stream.class && batch_count > 1;
                is_of_rich || is_batch
            };
            let (index, victim) = left
                .iter()
                .enumerate()
                .filter(|(_, stream)| gives_way(stream))
                .max_by_key(|(_, stream)| {
                    let unmade = usize::MAX - stream.tokens.len();
                    (stream.class, count_of(stream), unmade, stream.number)
                })
                .map(|(index, stream)| (index, *stream))?;
            left.remove(index);
            batch_count -= usize::from(victim.class == Class::Batch);
            if let Some(count) = counts.get_mut(&victim.tenant) {
                *count -= 1;
            }
            let held_alone = victim
                .sequence
                .map_or(0, |sequence| self.tree.running_cells_of(sequence));
            room += victim.reserved - victim.computed + held_alone;
            victims.push(victim.key);
        }
        (!victims.is_empty()).then_some(victims)
    }

    /// Reserves more for streams whose answers grow beyond what was reserved; swaps out where there is no room.
    pub(crate) fn grow(&mut self, now: Micros) {
        for key in self.running.clone() {
            while let Some(growth) = self.growth_of(key) {
                if self.committed() + growth <= self.shape.kv_cells {
                    if let Some(stream) = self.streams.get_mut(&key) {
                        stream.reserved += growth;
                    }
                    break;
                }
                let Some(victim) = self.who_is_swapped_out() else {
                    unreachable!("a stream that grows was not swapped out");
                };
                self.swap_out(victim, now);
            }
        }
    }

    fn growth_of(&self, key: StreamKey) -> Option<usize> {
        let stream = self.streams.get(&key).filter(|stream| stream.is_running())?;
        let wanted = stream.tokens.len();
        (stream.reserved < wanted)
            .then(|| (wanted + RESERVE_GROWTH_TOKENS).min(stream.cells_max()) - stream.reserved)
    }

    /// The stream of the lowest class that has computed least. Those that were swapped out once have all they may need
    /// reserved, and stay.
    fn who_is_swapped_out(&self) -> Option<StreamKey> {
        self.running_streams()
            .filter(|stream| !stream.was_swapped_out)
            .max_by_key(|stream| (stream.class, usize::MAX - stream.computed, stream.number))
            .map(|stream| stream.key)
    }

    /// Takes a stream's place; it waits again, and what it computed is cached.
    fn swap_out(&mut self, key: StreamKey, now: Micros) {
        let Some(stream) = self.streams.get(&key).cloned() else {
            return;
        };
        self.running.retain(|running| *running != key);
        self.let_go(&stream, true);
        let tenant = self.tenant_mut(stream.tenant);
        tenant.running_count -= 1;
        tenant.waiting_count += 1;
        self.figures.swapped_out_count += 1;
        if let Some(stream) = self.streams.get_mut(&key) {
            stream.phase = Phase::Waiting;
            stream.sequence = None;
            stream.computed = 0;
            stream.reserved = 0;
            stream.was_swapped_out = true;
            stream.moved_at = now;
        }
    }

    fn admit_strict(&mut self, now: Micros) {
        if self.strict.running.is_some() {
            return;
        }
        let next = self
            .streams
            .values()
            .filter(|stream| stream.is_strict && !stream.is_running())
            .min_by_key(|stream| {
                let served = self.tenants.get(&stream.tenant).map_or(0, |tenant| tenant.served);
                (urgency(stream, now), served, stream.number)
            })
            .map(|stream| stream.key);
        if let Some(stream) = next.and_then(|key| self.streams.get_mut(&key)) {
            self.strict.enter(stream, now);
            let (tenant, prompt) = (stream.tenant, stream.prompt_count);
            let tenant = self.tenant_mut(tenant);
            tenant.running_count += 1;
            tenant.waiting_count -= 1;
            self.figures.prompt_tokens += crate::scheduler::count(prompt);
        }
    }

    fn running_streams(&self) -> impl Iterator<Item = &Stream> {
        self.running.iter().filter_map(|key| self.streams.get(key))
    }
}

/// The class of a waiting stream, which rises with the time.
fn urgency(stream: &Stream, now: Micros) -> Class {
    if now.saturating_sub(stream.moved_at) > BATCH_PATIENCE_US {
        Class::Interactive
    } else {
        stream.class
    }
}
