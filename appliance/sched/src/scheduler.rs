//! The state, and what happens to a stream from its submission to its end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::plan::Turn;
use crate::shape::{DECODE_WEIGHT, IDLE_US, TIER_BLOCK_TOKENS};
use crate::stream::{CacheUse, Phase, Refusal, Stream, Submission};
use crate::strict::StrictLane;
use crate::tenant::{BEHIND_ROWS_MAX, MEMORY_US, REMEMBERED_MAX, Tenant};
use crate::tree::{NodeId, Tail, Tree};
use crate::{
    CostModel, KvOp, Lane, Micros, Outcome, Part, PartOutcome, Restored, SequenceId, Shape, Step, StreamKey,
    TenantId, Token, real, real_us,
};

/// Blocks that wait to be handed to the tiers; the oldest give way.
const SAVE_JOBS_MAX: usize = 64;
/// Least number of cells that are freed at a time.
const EVICT_CELLS_MIN: usize = 64;
/// Answers of so many tokens are expected until some have ended.
const COMPLETION_PRIOR: f64 = 128.0;
/// What the newest answer's length counts in the mean.
const COMPLETION_SHARE: f64 = 0.05;

/// Counters since the start, and what is there now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Streams that run.
    pub running_count: usize,
    /// Streams that wait for admission.
    pub waiting_count: usize,
    /// KV cells in use, those of cached prefixes counted.
    pub kv_used: usize,
    /// Tokens of all prompts that were begun.
    pub prompt_tokens: u64,
    /// Of these, tokens that were not computed.
    pub cached_tokens: u64,
    /// Tokens made.
    pub completion_tokens: u64,
    /// Guesses.
    pub drafted_tokens: u64,
    /// Guesses that were right.
    pub accepted_tokens: u64,
    /// Streams that had to give their place back and came again.
    pub swapped_out_count: u64,
}

/// Blocks of a sequence that are to be handed to the tiers.
#[derive(Debug, Clone)]
pub(crate) struct SaveJob {
    pub(crate) tenant: TenantId,
    pub(crate) sequence: SequenceId,
    pub(crate) next: usize,
    pub(crate) end: usize,
    pub(crate) is_pinned: bool,
}

/// Decides what is computed next.
#[derive(Debug, Clone)]
pub struct Scheduler {
    pub(crate) shape: Shape,
    pub(crate) cost: CostModel,
    pub(crate) tree: Tree,
    pub(crate) streams: BTreeMap<StreamKey, Stream>,
    /// Streams of the main lane that run, in the order of admission.
    pub(crate) running: Vec<StreamKey>,
    pub(crate) tenants: BTreeMap<TenantId, Tenant>,
    pub(crate) free_sequences: BTreeSet<SequenceId>,
    /// To be done before the next step.
    pub(crate) ops: Vec<KvOp>,
    /// Streams that are tried again alone after a step that failed.
    pub(crate) suspects: VecDeque<StreamKey>,
    pub(crate) saves: VecDeque<SaveJob>,
    pub(crate) strict: StrictLane,
    pub(crate) step_count: u64,
    pub(crate) figures: Figures,
    pub(crate) completion_mean: f64,
    /// Time that prompts of tenants which have had more may take.
    pub(crate) ahead_credit_us: Micros,
    /// Whose rows the last step of the main lane had.
    pub(crate) turn: Turn,
    /// The latest time that was given.
    pub(crate) clock: Micros,
    next_number: u64,
}

impl Scheduler {
    /// A scheduler over an empty pool.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        let shape = shape.sound();
        Self {
            shape,
            cost: CostModel::default(),
            tree: Tree::default(),
            streams: BTreeMap::new(),
            running: Vec::new(),
            tenants: BTreeMap::new(),
            free_sequences: (0..shape.sequence_count).collect(),
            ops: Vec::new(),
            suspects: VecDeque::new(),
            saves: VecDeque::new(),
            strict: StrictLane::default(),
            step_count: 0,
            figures: Figures::default(),
            completion_mean: COMPLETION_PRIOR,
            ahead_credit_us: 0,
            turn: Turn::default(),
            clock: 0,
            next_number: 0,
        }
    }

    /// What there is to share out.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// What steps cost here.
    #[must_use]
    pub fn cost(&self) -> &CostModel {
        &self.cost
    }

    /// Takes a stream into the queue.
    ///
    /// # Errors
    /// Every [`Refusal`].
    pub fn submit(&mut self, submission: Submission, now: Micros) -> Result<(), Refusal> {
        if self.streams.contains_key(&submission.stream) {
            return Err(Refusal::Duplicate(submission.stream));
        }
        let number = self.next_number;
        let stream = Stream::new(submission, self.shape.context_tokens, now, number);
        let is_possible = !stream.tokens.is_empty()
            && stream.tokens.len() < stream.tokens_max
            && stream.cells_max() <= self.shape.kv_cells;
        if !is_possible {
            return Err(Refusal::Impossible);
        }
        if !self.has_room_to_wait(&stream.tenant) {
            let retry_after_us = self.until_a_place_is_free();
            return Err(Refusal::Overloaded { retry_after_us });
        }
        self.next_number += 1;
        self.clock = now;
        self.enter(stream.tenant, now);
        self.tenant_mut(stream.tenant).waiting_count += 1;
        self.streams.insert(stream.key, stream);
        Ok(())
    }

    /// Ends a stream. What it computed stays for others if it may. `false` when there is none.
    pub fn cancel(&mut self, stream: StreamKey) -> bool {
        self.end(stream, true)
    }

    /// Ends a stream whose computing failed; nothing of it is kept.
    pub fn fail(&mut self, stream: StreamKey) -> bool {
        self.end(stream, false)
    }

    /// Whether there is neither a stream nor anything to be saved.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.streams.is_empty() && self.saves.is_empty()
    }

    /// Whether a stream of that name is there.
    #[must_use]
    pub fn has(&self, stream: StreamKey) -> bool {
        self.streams.contains_key(&stream)
    }

    /// Tokens of a stream, prompt and answer; none when it is not there.
    #[must_use]
    pub fn tokens(&self, stream: StreamKey) -> &[Token] {
        self.streams
            .get(&stream)
            .map(|stream| stream.tokens.as_slice())
            .unwrap_or_default()
    }

    /// Tokens at the beginning of a prompt that the pool holds for this tenant now.
    #[must_use]
    pub fn hot_tokens(&self, tenant: TenantId, tokens: &[Token]) -> usize {
        self.tenants
            .get(&tenant)
            .map_or(0, |tenant| self.tree.longest(tenant.root, tokens).length)
    }

    /// Tokens of its prompt that a stream did not compute.
    #[must_use]
    pub fn cached_tokens(&self, stream: StreamKey) -> usize {
        self.streams
            .get(&stream)
            .and_then(|stream| stream.cached)
            .unwrap_or(0)
    }

    /// Counters, and what is there now.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let running_count = self.running.len() + usize::from(self.strict.running.is_some());
        Figures {
            running_count,
            waiting_count: self.streams.len() - running_count,
            kv_used: self.tree.cell_count(),
            ..self.figures
        }
    }

    /// Takes in what became of a step. To be called once for each step, before anything else is asked.
    pub fn advance(&mut self, step: &Step, outcome: &Outcome, now: Micros) {
        self.clock = now;
        if let Some(measured) = outcome.measured
            && step.lane == Lane::Main
        {
            self.cost.learn(step.load(), measured);
        }
        for (stream, restored) in &outcome.restored {
            self.take_restored(*stream, *restored, now);
        }
        for (part, result) in step.parts.iter().zip(&outcome.parts) {
            match result {
                PartOutcome::Computed { chosen, is_over } => {
                    self.take_computed(step.lane, part, chosen, *is_over, now);
                }
                PartOutcome::Cut => self.forget_rows(step.lane, part),
                PartOutcome::Failed => {
                    self.forget_rows(step.lane, part);
                    if step.parts.len() > 1 {
                        self.suspects.push_back(part.stream);
                    }
                }
            }
        }
    }

    /// Checks every promise about cells and sequences. For tests and simulations; panics when one is broken.
    pub fn check(&self) {
        self.tree.check();
        assert!(
            self.tree.cell_count() <= self.shape.kv_cells,
            "more cells than there are"
        );
        assert!(
            self.committed() <= self.shape.kv_cells,
            "more promised than there is"
        );
        assert!(self.running.len() <= self.shape.running_max);
        for key in &self.running {
            let Some(stream) = self.streams.get(key) else {
                unreachable!("what runs is there");
            };
            let Some(sequence) = stream.sequence else {
                unreachable!("what runs has a sequence");
            };
            assert_eq!(self.tree.length(sequence), stream.computed);
            assert_eq!(
                self.tree.tokens(sequence),
                stream.tokens.get(..stream.computed).unwrap_or_default()
            );
            assert!(stream.computed <= stream.reserved);
            assert!(!self.free_sequences.contains(&sequence));
        }
        let cached = self.tree.cached_sequences().count();
        let total = usize::try_from(self.shape.sequence_count).unwrap_or(usize::MAX);
        assert_eq!(
            self.running.len() + cached + self.free_sequences.len(),
            total,
            "no sequence is lost"
        );
        for (id, tenant) in &self.tenants {
            let of = |is_running: bool| {
                self.streams
                    .values()
                    .filter(|stream| stream.tenant == *id && stream.is_running() == is_running)
                    .count()
            };
            assert_eq!(tenant.running_count, of(true));
            assert_eq!(tenant.waiting_count, of(false));
        }
    }

    fn take_computed(&mut self, lane: Lane, part: &Part, chosen: &[Token], is_over: bool, now: Micros) {
        self.suspects.retain(|suspect| *suspect != part.stream);
        let Some(stream) = self.streams.get_mut(&part.stream) else {
            return;
        };
        let accepted = chosen.len().saturating_sub(1).min(part.draft_count);
        let valid = part.tokens.len() - part.draft_count + accepted;
        let is_first = !chosen.is_empty() && !stream.is_decoding();
        stream.computed += valid;
        stream.moved_at = now;
        stream.tokens.extend_from_slice(chosen);
        if !chosen.is_empty() {
            stream.phase = Phase::Decode;
        }
        self.figures.completion_tokens += count(chosen.len());
        self.figures.drafted_tokens += count(part.draft_count);
        self.figures.accepted_tokens += count(accepted);
        if lane == Lane::Main {
            let computed = part.tokens.get(..valid).unwrap_or_default();
            self.tree.extend(part.sequence, computed, now);
            if valid < part.tokens.len() {
                self.ops.push(KvOp::Forget {
                    sequence: part.sequence,
                    from: part.from + valid,
                });
            }
            if is_first {
                self.save_from(part.stream);
            }
        }
        if is_over {
            self.end(part.stream, true);
        }
    }

    fn take_restored(&mut self, key: StreamKey, restored: Restored, now: Micros) {
        let Some(stream) = self.streams.get_mut(&key) else {
            return;
        };
        let (Phase::Restoring { .. }, Some(sequence)) = (stream.phase, stream.sequence) else {
            return;
        };
        match restored {
            Restored::Done => {
                let until = (stream.computed / TIER_BLOCK_TOKENS + 1) * TIER_BLOCK_TOKENS;
                let block = stream
                    .tokens
                    .get(stream.computed..until)
                    .unwrap_or_default()
                    .to_vec();
                stream.computed += block.len();
                stream.phase = Phase::Restoring { since: now };
                self.tree.extend(sequence, &block, now);
            }
            Restored::Pending => {}
            Restored::Lost => stream.phase = Phase::Prefill,
        }
    }

    fn forget_rows(&mut self, lane: Lane, part: &Part) {
        if lane == Lane::Main {
            self.ops.push(KvOp::Forget {
                sequence: part.sequence,
                from: part.from,
            });
        } else {
            self.strict.begin_anew(&mut self.streams);
        }
    }

    fn end(&mut self, key: StreamKey, is_kept: bool) -> bool {
        let Some(stream) = self.streams.remove(&key) else {
            return false;
        };
        self.suspects.retain(|suspect| *suspect != key);
        let is_running = stream.is_running();
        let tenant = self.tenant_mut(stream.tenant);
        if is_running {
            tenant.running_count -= 1;
        } else {
            tenant.waiting_count -= 1;
        }
        let made = stream.tokens.len() - stream.prompt_count;
        if is_kept && made > 0 {
            self.completion_mean += (real(made) - self.completion_mean) * COMPLETION_SHARE;
        }
        if stream.is_strict {
            self.strict.leave(key);
        } else {
            self.running.retain(|running| *running != key);
            self.let_go(&stream, is_kept);
        }
        self.leave(stream.tenant);
        true
    }

    /// The sequence of a stream that runs no more becomes a cached prefix, or nothing.
    pub(crate) fn let_go(&mut self, stream: &Stream, is_kept: bool) {
        let Some(sequence) = stream.sequence else { return };
        if stream.cache == CacheUse::Off || !is_kept || stream.computed == 0 {
            let own_root = (stream.cache == CacheUse::Off).then(|| self.tree.root_of(sequence));
            self.drop_sequence(sequence);
            if let Some(Some(root)) = own_root {
                self.tree.close(root);
            }
            return;
        }
        self.tree.set_running(sequence, false);
        let root = self.tenant_mut(stream.tenant).root;
        let held = stream.tokens.get(..stream.computed).unwrap_or_default();
        if self.tree.is_covered(sequence, root, held) {
            self.drop_sequence(sequence);
            return;
        }
        if stream.cache == CacheUse::Pin {
            self.tree.pin(sequence, stream.prompt_count.min(stream.computed));
        }
        for passed in self.tree.passed_by(sequence) {
            self.drop_sequence(passed);
        }
        self.save_from_sequence(stream, sequence);
    }

    /// Gives a sequence back, and its cells where nobody else holds them.
    pub(crate) fn drop_sequence(&mut self, sequence: SequenceId) {
        self.tree.release(sequence);
        self.saves.retain(|job| job.sequence != sequence);
        self.ops.push(KvOp::Forget { sequence, from: 0 });
        self.free_sequences.insert(sequence);
    }

    /// A sequence for a stream: a free one, else one whose cells others hold too, else that of the cached prefix that is
    /// worth least. There is always one, since fewer streams run than there are sequences.
    pub(crate) fn take_sequence(&mut self, now: Micros) -> Option<SequenceId> {
        while self.free_sequences.is_empty() {
            let next = self
                .tree
                .redundant()
                .or_else(|| self.least_worth(now).map(|tail| tail.sequence))?;
            self.drop_sequence(next);
        }
        self.free_sequences.pop_first()
    }

    /// Frees cells of cached prefixes until so many are free.
    pub(crate) fn make_room(&mut self, cells: usize, now: Micros) {
        loop {
            let free = self.shape.kv_cells - self.tree.cell_count();
            if free >= cells {
                return;
            }
            if let Some(sequence) = self.tree.redundant() {
                self.drop_sequence(sequence);
                continue;
            }
            let Some(tail) = self.least_worth(now) else {
                unreachable!("what was promised to streams is there or cached");
            };
            self.cut_tail(tail, tail.length.min((cells - free).max(EVICT_CELLS_MIN)));
        }
    }

    /// Frees what nobody has asked for in a while and the tiers can give back.
    pub(crate) fn let_idle_go(&mut self, now: Micros) {
        if !self.shape.idle_leaves {
            return;
        }
        loop {
            let idle = self.tree.tails().find(|tail| {
                let is_idle = now.saturating_sub(tail.used_at) > IDLE_US && !tail.is_pinned;
                is_idle && !self.saves.iter().any(|job| job.sequence == tail.sequence)
            });
            let Some(tail) = idle else { return };
            self.cut_tail(tail, tail.length);
        }
    }

    /// Frees so many cells at the end of a cached sequence.
    fn cut_tail(&mut self, tail: Tail, cells: usize) {
        let keep = tail.start + tail.length - cells;
        if keep == 0 {
            self.drop_sequence(tail.sequence);
            return;
        }
        self.tree.truncate(tail.sequence, keep);
        self.saves
            .retain(|job| job.sequence != tail.sequence || job.end * TIER_BLOCK_TOKENS <= keep);
        self.ops.push(KvOp::Forget {
            sequence: tail.sequence,
            from: keep,
        });
    }

    /// The end of the cached prefix whose cells are worth least: what computing them again costs, times how often they
    /// were wanted, over the time since. Pinned ones come last.
    fn least_worth(&self, now: Micros) -> Option<Tail> {
        let worth = |tail: &Tail| {
            let again = real_us(self.cost.prefill(tail.start, tail.length)) / real(tail.length.max(1));
            let wanted = f64::from(tail.hit_count.saturating_add(1));
            let age = real_us(now.saturating_sub(tail.used_at)) / 1e6 + 1.0;
            again * wanted / age
        };
        self.tree.tails().min_by(|a, b| {
            a.is_pinned
                .cmp(&b.is_pinned)
                .then(worth(a).total_cmp(&worth(b)))
                .then(a.sequence.cmp(&b.sequence))
        })
    }

    /// Cells that running streams hold or may still take.
    pub(crate) fn committed(&self) -> usize {
        let to_come: usize = self
            .running
            .iter()
            .filter_map(|key| self.streams.get(key))
            .map(|stream| stream.reserved - stream.computed)
            .sum();
        self.tree.running_cell_count() + to_come
    }

    pub(crate) fn charge(&mut self, tenant: TenantId, rows: usize, outputs: usize) {
        let weight = count(rows) + count(outputs) * (DECODE_WEIGHT - 1);
        if let Some(tenant) = self.tenants.get_mut(&tenant) {
            tenant.served = tenant.served.saturating_add(weight);
        }
    }

    /// Where the prefixes of a stream are looked up.
    pub(crate) fn root_for(&mut self, stream: StreamKey) -> Option<NodeId> {
        let stream = self.streams.get(&stream)?;
        match stream.cache {
            CacheUse::Off => Some(self.tree.root()),
            CacheUse::Use | CacheUse::Pin => self.tenants.get(&stream.tenant).map(|tenant| tenant.root),
        }
    }

    pub(crate) fn tenant_mut(&mut self, id: TenantId) -> &mut Tenant {
        let tree = &mut self.tree;
        self.tenants.entry(id).or_insert_with(|| Tenant::new(tree.root()))
    }

    /// A tenant that was away for long starts level with those who are there; one that only paused keeps what it had less.
    fn enter(&mut self, id: TenantId, now: Micros) {
        let level = self
            .tenants
            .values()
            .filter(|tenant| tenant.is_active())
            .map(|tenant| tenant.served)
            .min()
            .unwrap_or(0);
        let is_known = self.tenants.contains_key(&id);
        let tenant = self.tenant_mut(id);
        if tenant.is_active() {
            return;
        }
        let has_only_paused = is_known && now.saturating_sub(tenant.left_at) < MEMORY_US;
        let least = if has_only_paused {
            level.saturating_sub(BEHIND_ROWS_MAX)
        } else {
            level
        };
        tenant.served = tenant.served.max(least);
    }

    /// Forgets tenants without streams and cached prefixes that left some time ago.
    fn leave(&mut self, id: TenantId) {
        let now = self.clock;
        let tenant = self.tenant_mut(id);
        if tenant.is_active() {
            return;
        }
        tenant.left_at = now;
        let idle = self.tenants.values().filter(|tenant| !tenant.is_active()).count();
        let tree = &mut self.tree;
        self.tenants.retain(|_, tenant| {
            let is_recent = now.saturating_sub(tenant.left_at) < MEMORY_US && idle <= REMEMBERED_MAX;
            tenant.is_active() || is_recent || !tree.close(tenant.root)
        });
    }

    fn save_from(&mut self, key: StreamKey) {
        if let Some(stream) = self.streams.get(&key).cloned()
            && let Some(sequence) = stream.sequence
        {
            self.save_from_sequence(&stream, sequence);
        }
    }

    /// Hands blocks that the tiers do not have to them, little by little.
    fn save_from_sequence(&mut self, stream: &Stream, sequence: SequenceId) {
        if !self.shape.has_tiers || stream.cache == CacheUse::Off {
            return;
        }
        let end = stream.computed / TIER_BLOCK_TOKENS;
        if let Some(job) = self.saves.iter_mut().find(|job| job.sequence == sequence) {
            job.end = job.end.max(end);
            return;
        }
        let next = stream.saved_blocks.max(stream.tier_tokens / TIER_BLOCK_TOKENS);
        if next >= end {
            return;
        }
        if self.saves.len() >= SAVE_JOBS_MAX {
            self.saves.pop_front();
        }
        if let Some(stream) = self.streams.get_mut(&stream.key) {
            stream.saved_blocks = end;
        }
        self.saves.push_back(SaveJob {
            tenant: stream.tenant,
            sequence,
            next,
            end,
            is_pinned: stream.cache == CacheUse::Pin,
        });
    }
}

pub(crate) fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
