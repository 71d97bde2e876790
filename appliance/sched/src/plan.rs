//! What the next step computes.
//!
//! Streams that make tokens come first, each with a row. Prompts fill what is left of the step's time: tenants in the
//! order of what they have had, inside a tenant the shortest first unless one has stood still too long, interactive
//! before batch. While a tenant that has had less makes tokens, prompts of one that has had more get a third of the time,
//! so that a single stream is not slowed to the pace of a crowd. A step that somebody waits for ends within [`BUSY_STEP_TARGET_US`] as far as the cost model can tell.
//!
//! Attention works in tiles of [`TILE_ROWS`] rows, and each row of a tile pays for the cells of all of them. So rows share
//! a tile only where what they attend to is nearly the same or short; else steps of tokens and steps of prompts take turns.
//! (Five streams of 1,500 cells beside 59 rows of a prompt: 354 ms in one step, 26 + 96 ms in two.)

use std::collections::BTreeMap;

use crate::shape::{
    AGING_US, AHEAD_ROWS, AHEAD_SHARE, ALONE_STEP_TARGET_US, BATCH_TURN_STEPS, BUSY_STEP_TARGET_US,
    CHUNK_TOKENS_MIN, LONE_STEP_TARGET_US, PARK_TOKENS_MIN, SAVE_BLOCKS_PER_STEP, SHARE_TOKENS_MIN,
    TIER_BLOCK_TOKENS, TIER_PATIENCE_US, TILE_ROWS, TILE_STEP_MAX_US,
};
use crate::step::load_of;
use crate::stream::{CacheUse, Class, Phase, Stream};
use crate::tree::{Match, common_length};
use crate::{
    DraftRoom, Drafts, KvOp, Lane, Load, Micros, Part, Scheduler, Started, Step, StreamKey, TenantId,
};

/// Blocks asked of the tiers between two steps, of all streams.
const RESTORE_BLOCKS_PER_STEP: usize = 8;

/// Whose rows a step has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Turn {
    Tokens,
    Prompts,
    #[default]
    Both,
}

/// Prompts that have rows in the step already, and what their tenants are charged for it.
#[derive(Debug, Default)]
struct Taken {
    streams: Vec<StreamKey>,
    charged: BTreeMap<TenantId, u64>,
}

impl Taken {
    fn add(&mut self, stream: StreamKey, tenant: TenantId, rows: u64) {
        self.streams.push(stream);
        *self.charged.entry(tenant).or_insert(0) += rows;
    }
}

impl Scheduler {
    /// The next step. Its operations are to be done, in order, even when it has no rows.
    pub fn plan(&mut self, now: Micros, drafts: &mut dyn Drafts) -> Step {
        self.step_count += 1;
        self.grow(now);
        self.admit(now);
        for key in self.running.clone() {
            self.look(key, now);
        }
        let mut step = self.rows(now, drafts);
        let restores = self.restores(now, &step);
        if step.lane == Lane::Main {
            let restored = restores.len() * TIER_BLOCK_TOKENS;
            self.make_room(step.load().rows + restored, now);
        } else {
            self.make_room(restores.len() * TIER_BLOCK_TOKENS, now);
        }
        self.ops.extend(restores);
        self.let_idle_go(now);
        self.save();
        step.ops = std::mem::take(&mut self.ops);
        step.started = self.begin(&step);
        step
    }

    /// Brings a stream that does not compute yet to where it can: shares what is there, waits for what another is
    /// computing, asks for what the tiers have.
    pub(crate) fn look(&mut self, key: StreamKey, now: Micros) {
        let Some(stream) = self.streams.get(&key) else {
            return;
        };
        match stream.phase {
            Phase::Looking => {}
            Phase::Parked { on, until } if !self.is_on_its_way(on, until) => {}
            _ => return,
        }
        self.share_what_is_there(key, now);
        let Some(stream) = self.streams.get(&key) else {
            return;
        };
        let phase = if stream.cache == CacheUse::Off {
            Phase::Prefill
        } else if let Some((on, until)) = self.leader_of(stream) {
            Phase::Parked { on, until }
        } else if blocks_to_restore(stream) > 0 {
            Phase::Restoring { since: now }
        } else {
            Phase::Prefill
        };
        let border = stream.computed / TIER_BLOCK_TOKENS * TIER_BLOCK_TOKENS;
        // Cells beyond the border that others hold too are held on, and needed a second time.
        let has_room = self.committed() + (stream.computed - border) <= self.shape.kv_cells;
        let phase = match phase {
            Phase::Restoring { .. } if !has_room => Phase::Prefill,
            other => other,
        };
        let cut = matches!(phase, Phase::Restoring { .. }) && border < stream.computed;
        let sequence = stream.sequence;
        if let Some(stream) = self.streams.get_mut(&key) {
            stream.phase = phase;
            if cut {
                stream.computed = border;
            }
        }
        if let (true, Some(sequence)) = (cut, sequence) {
            // Blocks begin at their borders.
            self.tree.truncate(sequence, border);
            self.ops.push(KvOp::Forget {
                sequence,
                from: border,
            });
        }
    }

    /// The longest beginning of a stream's tokens that its tenant's tree has, if it is worth taking.
    pub(crate) fn find(&self, stream: &Stream) -> Option<Match> {
        if stream.cache == CacheUse::Off {
            return None;
        }
        let root = self.tenants.get(&stream.tenant)?.root;
        let found = self.tree.longest(root, stream.shareable());
        (found.length >= stream.computed + SHARE_TOKENS_MIN).then_some(found)
    }

    fn share_what_is_there(&mut self, key: StreamKey, now: Micros) {
        let Some(stream) = self.streams.get(&key) else {
            return;
        };
        let (Some(found), Some(sequence)) = (self.find(stream), stream.sequence) else {
            return;
        };
        if stream.computed > 0 {
            // What it computed itself and another computed too is given up for the other's; where a third shares
            // it, both stay.
            let taken = self.tree.cached_cells_of(found) + stream.computed;
            let given = found.length + self.tree.running_cells_of(sequence);
            if self.committed() + taken > self.shape.kv_cells + given {
                return;
            }
            self.ops.push(KvOp::Forget { sequence, from: 0 });
        }
        let from = self.tree.share(sequence, found, now);
        self.ops.push(KvOp::Share {
            from,
            to: sequence,
            until: found.length,
        });
        if let Some(stream) = self.streams.get_mut(&key) {
            stream.computed = found.length;
            stream.moved_at = now;
        }
    }

    fn is_on_its_way(&self, key: StreamKey, until: usize) -> bool {
        self.streams
            .get(&key)
            .is_some_and(|leader| leader.is_running() && leader.computed < until)
    }

    /// The stream that will have computed most of this one's prompt, if it is ahead and not less urgent. Of two that
    /// are level the one that was admitted first leads, so nobody waits in a circle.
    fn leader_of(&self, stream: &Stream) -> Option<(StreamKey, usize)> {
        let place = |key: StreamKey| self.running.iter().position(|running| *running == key);
        let own_place = place(stream.key)?;
        self.running
            .iter()
            .enumerate()
            .filter_map(|(other_place, key)| Some((other_place, self.streams.get(key)?)))
            .filter(|(other_place, other)| {
                other.key != stream.key
                    && other.tenant == stream.tenant
                    && other.cache != CacheUse::Off
                    && other.class <= stream.class
                    && (other.computed > stream.computed
                        || (other.computed == stream.computed && *other_place < own_place))
            })
            .map(|(other_place, other)| {
                let until = common_length(&other.tokens, stream.shareable());
                (until, other_place, other)
            })
            .filter(|(until, _, other)| {
                *until >= stream.computed + PARK_TOKENS_MIN && other.computed < *until
            })
            .max_by_key(|(until, other_place, _)| (*until, usize::MAX - *other_place))
            .map(|(until, _, other)| (other.key, until))
    }

    fn rows(&mut self, now: Micros, drafts: &mut dyn Drafts) -> Step {
        if let Some(suspect) = self.suspect_part() {
            return Step {
                parts: vec![suspect],
                ..Step::default()
            };
        }
        let strict = self.strict.part(&self.streams);
        let has_main_work = self
            .running_in(|stream| matches!(stream.phase, Phase::Prefill | Phase::Decode))
            .next()
            .is_some();
        if let Some(part) = strict
            && (self.strict.last == Lane::Main || !has_main_work)
        {
            self.strict.last = Lane::Strict;
            if let Some(stream) = self.streams.get(&part.stream) {
                self.charge(stream.tenant, part.tokens.len(), part.output_count);
            }
            return Step {
                lane: Lane::Strict,
                parts: vec![part],
                ..Step::default()
            };
        }
        self.strict.last = Lane::Main;
        let makers = self.decode_parts(drafts);
        let mut step = Step::default();
        match self.take_turn(&makers, now) {
            Turn::Both => {
                step.parts.clone_from(&makers);
                self.add_prompts(&mut step, &makers, now);
            }
            Turn::Tokens => step.parts = makers,
            Turn::Prompts => self.add_prompts(&mut step, &makers, now),
        }
        for part in &step.parts {
            if let Some(stream) = self.streams.get(&part.stream) {
                self.charge(
                    stream.tenant,
                    part.tokens.len() - part.draft_count,
                    part.output_count - part.draft_count,
                );
            }
        }
        step
    }

    /// A stream of a step that failed, alone.
    fn suspect_part(&self) -> Option<Part> {
        let stream = self.suspects.front().and_then(|key| self.streams.get(key))?;
        part_of(stream, stream.pending().min(self.shape.batch_rows))
    }

    fn decode_parts(&self, drafts: &mut dyn Drafts) -> Vec<Part> {
        let mut parts: Vec<Part> = self
            .running_in(Stream::is_decoding)
            .filter_map(|stream| part_of(stream, 1))
            .collect();
        if self
            .running_in(|stream| stream.phase == Phase::Prefill)
            .next()
            .is_some()
        {
            // The step has rows enough to be wide.
            return parts;
        }
        let mut load = load_of(&parts);
        let width = parts.len();
        for part in &mut parts {
            let Some(stream) = self.streams.get(&part.stream) else {
                continue;
            };
            // The last token that it may make is chosen and not computed, and guesses take reserved cells only.
            let most = (stream.tokens_max.saturating_sub(stream.tokens.len() + 1))
                .min(stream.reserved.saturating_sub(stream.tokens.len()))
                .min(self.shape.output_rows.saturating_sub(load.outputs))
                .min(self.shape.batch_rows.saturating_sub(load.rows))
                .min((TILE_ROWS - 1).saturating_sub(load.rows));
            let room = DraftRoom {
                most,
                load,
                from: part.from + 1,
                width,
            };
            if most == 0 {
                continue;
            }
            let mut draft = drafts.propose(part.stream, &room, &self.cost);
            draft.truncate(most);
            load = load.and(Load::rows(room.from, draft.len(), draft.len()));
            part.draft_count = draft.len();
            part.output_count += draft.len();
            part.tokens.extend(draft);
        }
        parts
    }

    /// Who computes now, of those who make tokens and the prompts.
    fn take_turn(&mut self, makers: &[Part], now: Micros) -> Turn {
        let credit = self.cost.foretell(load_of(makers)) / AHEAD_SHARE;
        let nobody = Taken::default();
        let next = self.next_prompt(makers, &nobody, now);
        let is_apart = next.is_some_and(|prompt| self.is_dearer_together(makers, prompt));
        let turn = match (self.turn, is_apart) {
            // Whoever makes tokens was left out: not for two steps.
            (Turn::Prompts, _) if !makers.is_empty() => Turn::Tokens,
            (Turn::Tokens, true) => Turn::Prompts,
            (_, true) => Turn::Tokens,
            (_, false) => Turn::Both,
        };
        self.turn = turn;
        if turn != Turn::Prompts {
            self.ahead_credit_us = (self.ahead_credit_us + credit).min(BUSY_STEP_TARGET_US);
        }
        turn
    }

    /// Whether rows of a prompt in one tile with rows that make tokens cost more than a step of their own would.
    fn is_dearer_together(&self, makers: &[Part], prompt: &Stream) -> bool {
        let apart = load_of(makers);
        if makers.is_empty() || apart.rows + prompt.pending() < TILE_ROWS {
            return false;
        }
        let sequences = makers.iter().map(|part| part.sequence).chain(prompt.sequence);
        let foreign = self.tree.cells_of_all(sequences).saturating_sub(prompt.computed);
        self.cost.attention(TILE_ROWS * foreign) > self.cost.foretell(apart)
    }

    /// Whether rows of a prompt would share a tile with rows of other prompts in the step, at more than a step costs by
    /// itself.
    fn spoils_a_tile(&self, step: &Step, load: Load, prompt: &Stream) -> bool {
        let before = load.rows % TILE_ROWS;
        if before == 0 || load.rows + prompt.pending() < TILE_ROWS {
            return false;
        }
        let sequences = step.parts.iter().map(|part| part.sequence).chain(prompt.sequence);
        let all = self.tree.cells_of_all(sequences);
        let own = before * all.saturating_sub(prompt.computed) + (TILE_ROWS - before) * prompt.computed;
        self.cost.attention((TILE_ROWS * all).saturating_sub(own)) > self.cost.foretell(Load::default())
    }

    /// The prompt that gets rows next.
    fn next_prompt<'a>(&'a self, makers: &'a [Part], taken: &'a Taken, now: Micros) -> Option<&'a Stream> {
        let is_first = taken.streams.is_empty();
        self.running_in(|stream| stream.phase == Phase::Prefill && !taken.streams.contains(&stream.key))
            .filter(|stream| {
                let first = stream.pending().min(CHUNK_TOKENS_MIN);
                !self.is_ahead(stream, makers)
                    || self.cost.prefill(stream.computed, first) <= self.ahead_credit_us
            })
            .min_by_key(move |stream| {
                let served = self.tenants.get(&stream.tenant).map_or(0, |tenant| tenant.served);
                let served = served + taken.charged.get(&stream.tenant).copied().unwrap_or(0);
                let is_aged = now.saturating_sub(stream.moved_at) > AGING_US;
                let is_turn = is_first && self.is_batch_turn() && stream.class == Class::Batch;
                let class = if is_aged { Class::Interactive } else { stream.class };
                (!is_turn, class, served, !is_aged, stream.pending(), stream.number)
            })
    }

    fn is_batch_turn(&self) -> bool {
        self.step_count.is_multiple_of(BATCH_TURN_STEPS)
    }

    /// Adds rows of prompts to a step that has rows of all makers or of none: these wait for its end either way.
    fn add_prompts(&mut self, step: &mut Step, makers: &[Part], now: Micros) {
        let mut load = step.load();
        let waiting = if step.parts.is_empty() {
            load_of(makers)
        } else {
            Load::default()
        };
        let beside = self.cost.foretell(waiting);
        let mut is_awaited = makers.iter().any(|part| self.is_interactive(part.stream));
        let mut taken = Taken::default();
        loop {
            let is_first = taken.streams.is_empty();
            let Some(stream) = self.next_prompt(makers, &taken, now) else {
                return;
            };
            if !is_first && self.spoils_a_tile(step, load, stream) {
                return;
            }
            let is_ahead = self.is_ahead(stream, makers);
            let target = if is_ahead {
                self.cost.foretell(load) + self.ahead_credit_us
            } else if is_awaited {
                BUSY_STEP_TARGET_US.saturating_sub(beside)
            } else if self.streams.len() == 1 {
                LONE_STEP_TARGET_US
            } else {
                ALONE_STEP_TARGET_US
            };
            let gives_turn = is_first
                && self.is_batch_turn()
                && stream.class == Class::Batch
                && self
                    .running_in(|other| other.phase == Phase::Prefill && other.class == Class::Interactive)
                    .next()
                    .is_some();
            let most = stream
                .pending()
                .min(self.shape.batch_rows.saturating_sub(load.rows));
            let within = self.cost.rows_within(target, load, stream.computed, most);
            let within = if is_awaited && !is_ahead {
                within.max(self.rest_of_tile(load, stream.computed))
            } else {
                within
            };
            let mut rows = chunk(load.rows, most, within);
            if (rows == 0 && is_first) || gives_turn {
                rows = most.min(CHUNK_TOKENS_MIN);
            }
            if rows == stream.pending() && load.outputs >= self.shape.output_rows {
                rows -= 1;
            }
            let Some(part) = (rows > 0).then(|| part_of(stream, rows)).flatten() else {
                return;
            };
            is_awaited |= part.output_count > 0 && stream.class == Class::Interactive;
            let (tenant, cost) = (stream.tenant, self.cost.prefill(stream.computed, rows));
            if is_ahead {
                self.ahead_credit_us = self.ahead_credit_us.saturating_sub(cost);
            }
            taken.add(part.stream, tenant, crate::scheduler::count(rows));
            load = load.and(part.load());
            step.parts.push(part);
        }
    }

    /// Rows that fill the first tile of a step, where a tile does not take too long here.
    fn rest_of_tile(&self, load: Load, from: usize) -> usize {
        let rest = TILE_ROWS.saturating_sub(load.rows);
        let filled = self.cost.foretell(load.and(Load::rows(from, rest, 0)));
        if filled <= TILE_STEP_MAX_US { rest } else { 0 }
    }

    /// Asks the tiers for the next blocks of streams that wait for them; those that waited too long compute.
    fn restores(&mut self, now: Micros, step: &Step) -> Vec<KvOp> {
        let mut ops = Vec::new();
        for key in self.running.clone() {
            let Some(stream) = self.streams.get_mut(&key) else {
                continue;
            };
            let (Phase::Restoring { since }, Some(sequence)) = (stream.phase, stream.sequence) else {
                continue;
            };
            if step.parts.iter().any(|part| part.stream == key) {
                continue;
            }
            let block_count = blocks_to_restore(stream);
            if block_count == 0 || now.saturating_sub(since) > TIER_PATIENCE_US {
                // Another may have begun to compute the same meanwhile.
                stream.tier_tokens = 0;
                stream.phase = Phase::Looking;
                continue;
            }
            let first = stream.computed / TIER_BLOCK_TOKENS;
            let room = RESTORE_BLOCKS_PER_STEP.saturating_sub(ops.len());
            ops.extend((first..first + block_count.min(room)).map(|block| KvOp::Restore {
                stream: key,
                sequence,
                block,
            }));
        }
        ops
    }

    fn save(&mut self) {
        for _ in 0..SAVE_BLOCKS_PER_STEP {
            let Some(job) = self.saves.front_mut() else { return };
            let block = job.next;
            job.next += 1;
            let (tenant, sequence, is_pinned) = (job.tenant, job.sequence, job.is_pinned);
            let is_last = job.next >= job.end;
            if is_last {
                self.saves.pop_front();
            }
            let mut tokens = self.tree.tokens(sequence);
            let end = (block + 1) * TIER_BLOCK_TOKENS;
            if tokens.len() < end {
                continue;
            }
            tokens.truncate(end);
            self.ops.push(KvOp::Save {
                tenant,
                tokens,
                sequence,
                block,
                is_pinned,
            });
        }
    }

    /// Streams whose first rows are in the step.
    fn begin(&mut self, step: &Step) -> Vec<Started> {
        let mut started = Vec::new();
        for part in &step.parts {
            if let Some(stream) = self.streams.get_mut(&part.stream)
                && stream.cached.is_none()
            {
                let cached_tokens = stream.computed.min(stream.prompt_count);
                stream.cached = Some(cached_tokens);
                self.figures.cached_tokens += crate::scheduler::count(cached_tokens);
                started.push(Started {
                    stream: part.stream,
                    cached_tokens,
                });
            }
        }
        started
    }

    /// Whether the tenant of a prompt has had more than another one that makes tokens.
    fn is_ahead(&self, stream: &Stream, makers: &[Part]) -> bool {
        let served_of = |tenant| self.tenants.get(tenant).map_or(0, |tenant| tenant.served);
        let served = served_of(&stream.tenant);
        makers
            .iter()
            .filter_map(|part| self.streams.get(&part.stream))
            .any(|maker| served_of(&maker.tenant) + AHEAD_ROWS < served)
    }

    fn is_interactive(&self, key: StreamKey) -> bool {
        self.streams
            .get(&key)
            .is_some_and(|stream| stream.class == Class::Interactive)
    }

    fn running_in<'a>(
        &'a self,
        is_wanted: impl Fn(&Stream) -> bool + 'a,
    ) -> impl Iterator<Item = &'a Stream> + 'a {
        self.running
            .iter()
            .filter_map(|key| self.streams.get(key))
            .filter(move |stream| is_wanted(stream))
    }
}

/// Whole blocks behind what a stream has that the tiers have.
fn blocks_to_restore(stream: &Stream) -> usize {
    let most = stream.tier_tokens.min(stream.shareable().len()) / TIER_BLOCK_TOKENS;
    most.saturating_sub(stream.computed / TIER_BLOCK_TOKENS)
}

/// Rows of a chunk of at most `within` of a prompt beside `before` rows of other streams: whole tiles in all where it can.
fn chunk(before: usize, most: usize, within: usize) -> usize {
    if within >= most {
        return most;
    }
    let whole = (before + within) / TILE_ROWS * TILE_ROWS;
    if whole > before { whole - before } else { within }
}

fn part_of(stream: &Stream, rows: usize) -> Option<Part> {
    let sequence = stream.sequence?;
    let tokens = stream
        .tokens
        .get(stream.computed..stream.computed + rows)?
        .to_vec();
    Some(Part {
        stream: stream.key,
        sequence,
        from: stream.computed,
        output_count: usize::from(rows == stream.pending()),
        draft_count: 0,
        tokens,
    })
}
