//! A KV pool and a machine that do exactly what they are told, and check it.

use std::collections::{BTreeMap, BTreeSet};

use jingui_sched::{
    CostModel, DraftRoom, Drafts, KvOp, Lane, Load, Micros, Outcome, Part, PartOutcome, Restored, Scheduler,
    SequenceId, Step, StreamKey, TIER_BLOCK_TOKENS, TILE_ROWS, TenantId, Token,
};

use crate::random::Random;

/// What a step takes on a machine, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    pub(crate) step: u64,
    pub(crate) row: u64,
    pub(crate) output: u64,
    pub(crate) attended_thousand: u64,
    /// Percent by which times scatter.
    pub(crate) noise: usize,
    /// Each row of a tile of attention pays for the cells of all rows in it.
    pub(crate) is_tiled: bool,
}

impl Machine {
    /// Two cores and half a billion parameters.
    pub(crate) const SMALL: Self = Self {
        step: 3_000,
        row: 4_000,
        output: 2_200,
        attended_thousand: 300,
        noise: 5,
        is_tiled: false,
    };
    /// Two cores, nine layers of 1,024, attention as ggml computes it on a CPU.
    pub(crate) const TILED: Self = Self {
        step: 3_000,
        row: 1_200,
        output: 600,
        attended_thousand: 400,
        noise: 5,
        is_tiled: true,
    };

    pub(crate) fn takes(&self, load: Load) -> Micros {
        self.step
            + self.row * load.rows as u64
            + self.output * load.outputs as u64
            + self.attended_thousand * load.attended as u64 / 1000
    }
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    token: Token,
    tenant: TenantId,
    holders: usize,
}

/// What the device is to know of a stream to check what it is told.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) tenant: TenantId,
    pub(crate) tokens: Vec<Token>,
    pub(crate) prompt_count: usize,
    /// Ends by itself after so many tokens.
    pub(crate) ends_after: usize,
    pub(crate) tokens_max: usize,
    /// Nothing of it may be shared.
    pub(crate) is_private: bool,
}

/// The device.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) machine: Machine,
    pub(crate) random: Random,
    cells: Vec<Cell>,
    free: Vec<usize>,
    cell_max: usize,
    sequences: BTreeMap<SequenceId, Vec<usize>>,
    strict: Vec<Token>,
    strict_chunks: Vec<(usize, usize)>,
    pub(crate) streams: BTreeMap<StreamKey, Told>,
    /// Blocks of the tiers: whose, and all tokens up to their end.
    tiers: BTreeSet<(TenantId, Vec<Token>)>,
    pub(crate) fails_one_in: Option<usize>,
    pub(crate) tiers_lose: bool,
    /// A stream that never computes.
    pub(crate) poisoned: Option<StreamKey>,
    /// Rows of prompts that were computed.
    pub(crate) prompt_rows: usize,
    /// All streams that ended by themselves in the last step.
    pub(crate) over: Vec<StreamKey>,
    /// Streams that failed alone.
    pub(crate) failed: Vec<StreamKey>,
    /// Streams that made a token in the last step, and how many.
    pub(crate) made: Vec<(StreamKey, usize)>,
}

impl Device {
    pub(crate) fn new(machine: Machine, cell_max: usize, seed: u64) -> Self {
        Self {
            machine,
            random: Random::new(seed),
            cells: Vec::new(),
            free: Vec::new(),
            cell_max,
            sequences: BTreeMap::new(),
            strict: Vec::new(),
            strict_chunks: Vec::new(),
            streams: BTreeMap::new(),
            tiers: BTreeSet::new(),
            fails_one_in: None,
            tiers_lose: false,
            poisoned: None,
            prompt_rows: 0,
            over: Vec::new(),
            failed: Vec::new(),
            made: Vec::new(),
        }
    }

    pub(crate) fn used(&self) -> usize {
        self.cells.len() - self.free.len()
    }

    /// The token that follows `tokens`: there is one, so a stream makes the same however it is computed.
    pub(crate) fn next_token(tokens: &[Token]) -> Token {
        let last = tokens.last().copied().unwrap_or(0);
        let before = tokens.len().checked_sub(3).map_or(7, |place| tokens[place]);
        (last.wrapping_mul(31).wrapping_add(before)) % 50 + 1000
    }

    /// Leading whole blocks of `tokens` that the tiers have, in tokens.
    pub(crate) fn tier_tokens(&self, tenant: TenantId, tokens: &[Token]) -> usize {
        let known = &tokens[..tokens.len() - 1];
        let mut end = TIER_BLOCK_TOKENS;
        while end <= known.len() && self.tiers.contains(&(tenant, known[..end].to_vec())) {
            end += TIER_BLOCK_TOKENS;
        }
        end - TIER_BLOCK_TOKENS
    }

    /// Does what a step says; returns how long it took.
    pub(crate) fn carry_out(&mut self, step: &Step) -> (Outcome, Micros) {
        let mut outcome = Outcome::default();
        let mut missing = BTreeSet::new();
        for op in &step.ops {
            self.apply(op, &mut outcome, &mut missing);
        }
        self.over.clear();
        self.failed.clear();
        self.made.clear();
        if step.parts.is_empty() {
            return (outcome, 500);
        }
        let is_poisoned = step.parts.iter().any(|part| Some(part.stream) == self.poisoned);
        let fails = is_poisoned || self.fails_one_in.is_some_and(|of| self.random.one_in(of));
        let is_cut = !fails && self.fails_one_in.is_some_and(|of| self.random.one_in(of));
        let exact = self.machine.takes(self.load(step));
        let noise = self.random.between(0, 2 * self.machine.noise) as u64 + 100 - self.machine.noise as u64;
        let took = exact * noise / 100;
        if fails || is_cut {
            let what = if fails {
                PartOutcome::Failed
            } else {
                PartOutcome::Cut
            };
            outcome.parts = vec![what; step.parts.len()];
            if fails && step.parts.len() == 1 {
                self.failed.push(step.parts[0].stream);
            }
            return (outcome, took);
        }
        outcome.measured = Some(took);
        outcome.parts = step
            .parts
            .iter()
            .map(|part| self.compute(step.lane, part))
            .collect();
        (outcome, took)
    }

    /// What a step costs here.
    fn load(&self, step: &Step) -> Load {
        let load = step.load();
        if !self.machine.is_tiled || step.lane == Lane::Strict || load.rows < TILE_ROWS {
            return load;
        }
        let rows: Vec<&Part> = step
            .parts
            .iter()
            .flat_map(|part| std::iter::repeat_n(part, part.tokens.len()))
            .collect();
        let attended = rows.chunks(TILE_ROWS).map(|tile| {
            let mut cells = BTreeSet::<usize>::new();
            for part in tile {
                cells.extend(self.sequences.get(&part.sequence).into_iter().flatten());
            }
            TILE_ROWS * (cells.len() + tile.len())
        });
        Load {
            attended: attended.sum(),
            ..load
        }
    }

    fn apply(&mut self, op: &KvOp, outcome: &mut Outcome, missing: &mut BTreeSet<StreamKey>) {
        match op {
            KvOp::Share { from, to, until } => {
                assert_ne!(from, to);
                assert!(
                    self.sequences.get(to).is_none_or(Vec::is_empty),
                    "sequence {to} holds something"
                );
                let shared: Vec<usize> = self.sequences[from][..*until].to_vec();
                for cell in &shared {
                    self.cells[*cell].holders += 1;
                }
                self.sequences.insert(*to, shared);
            }
            KvOp::Forget { sequence, from } => {
                let cells = self.sequences.entry(*sequence).or_default();
                let gone = if *from < cells.len() {
                    cells.split_off(*from)
                } else {
                    Vec::new()
                };
                for cell in gone {
                    self.cells[cell].holders -= 1;
                    if self.cells[cell].holders == 0 {
                        self.free.push(cell);
                    }
                }
            }
            KvOp::Restore {
                stream,
                sequence,
                block,
            } => {
                let restored = if missing.contains(stream) {
                    Restored::Pending
                } else {
                    self.restore(*stream, *sequence, *block)
                };
                if restored != Restored::Done {
                    missing.insert(*stream);
                }
                outcome.restored.push((*stream, restored));
            }
            KvOp::Save {
                tenant,
                tokens,
                sequence,
                block,
                ..
            } => {
                let end = (block + 1) * TIER_BLOCK_TOKENS;
                assert_eq!(tokens.len(), end);
                let held = &self.sequences[sequence][..end];
                for (cell, token) in held.iter().zip(tokens) {
                    assert_eq!(
                        (self.cells[*cell].token, self.cells[*cell].tenant),
                        (*token, *tenant)
                    );
                }
                self.tiers.insert((*tenant, tokens.clone()));
            }
        }
    }

    fn restore(&mut self, stream: StreamKey, sequence: SequenceId, block: usize) -> Restored {
        if self.tiers_lose {
            match self.random.between(0, 7) {
                0 => return Restored::Lost,
                1..=3 => return Restored::Pending,
                _ => {}
            }
        }
        let told = self.streams[&stream].clone();
        let (from, end) = (block * TIER_BLOCK_TOKENS, (block + 1) * TIER_BLOCK_TOKENS);
        assert!(self.tiers.contains(&(told.tenant, told.tokens[..end].to_vec())));
        assert_eq!(self.sequences.entry(sequence).or_default().len(), from);
        for token in &told.tokens[from..end] {
            self.add(sequence, *token, told.tenant);
        }
        Restored::Done
    }

    fn add(&mut self, sequence: SequenceId, token: Token, tenant: TenantId) {
        assert!(self.used() < self.cell_max, "the pool is full");
        let cell = Cell {
            token,
            tenant,
            holders: 1,
        };
        let place = self.free.pop().unwrap_or_else(|| {
            self.cells.push(cell);
            self.cells.len() - 1
        });
        self.cells[place] = cell;
        self.sequences.entry(sequence).or_default().push(place);
    }

    fn compute(&mut self, lane: Lane, part: &Part) -> PartOutcome {
        let told = self.streams[&part.stream].clone();
        let certain = part.tokens.len() - part.draft_count;
        assert!(certain > 0);
        assert_eq!(
            part.tokens[..certain],
            told.tokens[part.from..part.from + certain]
        );
        assert!(part.from + part.tokens.len() < told.tokens_max.max(told.tokens.len() + 1));
        match lane {
            Lane::Strict => self.compute_strict(part, &told),
            Lane::Main => {
                let held = self.sequences.entry(part.sequence).or_default().clone();
                assert_eq!(held.len(), part.from, "positions are contiguous");
                for (cell, token) in held.iter().zip(&told.tokens) {
                    let cell = self.cells[*cell];
                    assert_eq!(cell.token, *token, "a shared prefix holds the same tokens");
                    assert_eq!(cell.tenant, told.tenant, "of the same tenant");
                    assert!(!told.is_private || cell.holders == 1, "nothing private is shared");
                }
                for token in &part.tokens {
                    self.add(part.sequence, *token, told.tenant);
                }
            }
        }
        self.prompt_rows += part.tokens.len().min(told.prompt_count.saturating_sub(part.from));
        if part.output_count == 0 {
            assert!(part.from + certain < told.tokens.len());
            return PartOutcome::Computed {
                chosen: Vec::new(),
                is_over: false,
            };
        }
        assert_eq!(part.from + certain, told.tokens.len());
        assert_eq!(part.output_count, 1 + part.draft_count);
        self.choose(part)
    }

    fn choose(&mut self, part: &Part) -> PartOutcome {
        let told = self.streams.get_mut(&part.stream).unwrap();
        let mut chosen = Vec::new();
        let mut is_over = false;
        for index in 0..part.output_count {
            let next = Self::next_token(&told.tokens);
            told.tokens.push(next);
            chosen.push(next);
            let made = told.tokens.len() - told.prompt_count;
            is_over = made >= told.ends_after || told.tokens.len() >= told.tokens_max;
            if is_over || part.draft().get(index) != Some(&next) {
                break;
            }
        }
        self.made.push((part.stream, chosen.len()));
        if is_over {
            self.over.push(part.stream);
        }
        PartOutcome::Computed { chosen, is_over }
    }

    fn compute_strict(&mut self, part: &Part, told: &Told) {
        if part.from == 0 {
            self.strict.clear();
            self.strict_chunks.clear();
        }
        assert_eq!(part.draft_count, 0);
        assert_eq!(self.strict[..], told.tokens[..part.from]);
        self.strict.extend(&part.tokens);
        self.strict_chunks.push((part.from, part.tokens.len()));
        let is_fixed = |(from, count): &(usize, usize)| {
            if *from < told.prompt_count {
                *from % 64 == 0 && (*count == 64 || from + count == told.prompt_count)
            } else {
                *count == 1
            }
        };
        assert!(self.strict_chunks.iter().all(is_fixed), "borders are fixed");
    }

    /// All cells that are in use are held by a sequence, as often as they say.
    pub(crate) fn check(&self, scheduler: &Scheduler, has_open_ops: bool) {
        let mut holders = vec![0; self.cells.len()];
        for cell in self.sequences.values().flatten() {
            holders[*cell] += 1;
        }
        let mut used = 0;
        for (cell, count) in self.cells.iter().zip(&holders) {
            if *count > 0 {
                assert_eq!(cell.holders, *count);
                used += 1;
            }
        }
        assert_eq!(used, self.used());
        if !has_open_ops {
            assert_eq!(used, scheduler.figures().kv_used, "the books are right");
        }
    }
}

/// Guesses that are right now and then.
pub(crate) struct Guesses<'a> {
    pub(crate) device: &'a Device,
    pub(crate) random: &'a mut Random,
    pub(crate) most: usize,
}

impl Drafts for Guesses<'_> {
    fn propose(&mut self, stream: StreamKey, room: &DraftRoom, _cost: &CostModel) -> Vec<Token> {
        let mut tokens = self.device.streams[&stream].tokens.clone();
        let count = room.most.min(self.most);
        let mut guesses = Vec::new();
        for _ in 0..count {
            let next = if self.random.one_in(3) {
                5
            } else {
                Device::next_token(&tokens)
            };
            tokens.push(next);
            guesses.push(next);
        }
        guesses
    }
}

impl Device {
    pub(crate) fn tiers_mut(&mut self) -> &mut BTreeSet<(TenantId, Vec<Token>)> {
        &mut self.tiers
    }
}
