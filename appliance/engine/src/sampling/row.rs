//! One row of logits, seen in blocks.
//!
//! The maximum of each block is taken in one wide pass; after it only few blocks are read again. Mask, bias and
//! penalties are part of the view: a block with a changed logit is kept as a changed copy, others are read in place.

/// Logits of one block: as many as a word of a mask has bits.
pub(super) const BLOCK: usize = 32;
/// Blocks whose weights are summed together.
pub(super) const GROUP: usize = 8;
const LANES: usize = 16;

/// Vectors that a row needs, kept from token to token.
#[derive(Debug, Default)]
pub(super) struct Space {
    maxima: Vec<f32>,
    sums: Vec<f32>,
    order: Vec<i32>,
    changed: Vec<Block>,
}

/// The logits of one block as they count: −∞ for what is banned or not a number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    index: usize,
    pub(super) logits: [f32; BLOCK],
}

impl Block {
    /// Id and logit of each token.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u32, f32)> + use<> {
        let first = u32::try_from(self.index * BLOCK).unwrap_or(u32::MAX);
        (first..).zip(self.logits)
    }

    fn entry(&mut self, id: u32) -> Option<&mut f32> {
        self.logits.get_mut(usize::try_from(id).ok()? % BLOCK)
    }
}

/// A row under a mask and changes.
pub(super) struct Row<'a> {
    logits: &'a [f32],
    allowed: Option<&'a [u32]>,
    space: &'a mut Space,
}

impl<'a> Row<'a> {
    /// Looks at the whole row once. Ids of `changes` rise; those outside the row do nothing.
    pub(super) fn new(
        logits: &'a [f32],
        allowed: Option<&'a [u32]>,
        changes: impl Iterator<Item = (u32, f32)>,
        space: &'a mut Space,
    ) -> Self {
        space.changed.clear();
        space.maxima.clear();
        let mut row = Self {
            logits,
            allowed,
            space,
        };
        row.take_maxima();
        row.change(changes);
        row
    }

    fn take_maxima(&mut self) {
        let (blocks, rest) = self.logits.as_chunks::<BLOCK>();
        let maxima = &mut self.space.maxima;
        match self.allowed {
            None => maxima.extend(blocks.iter().map(maximum)),
            Some(words) => {
                let words = words.iter().copied().chain(std::iter::repeat(0));
                maxima.extend(blocks.iter().zip(words).map(|(block, word)| match word {
                    0 => f32::NEG_INFINITY,
                    u32::MAX => maximum(block),
                    _ => maximum(&masked(block, word)),
                }));
            }
        }
        if !rest.is_empty() {
            let last = maximum(&self.block(blocks.len()).logits);
            self.space.maxima.push(last);
        }
    }

    fn change(&mut self, changes: impl Iterator<Item = (u32, f32)>) {
        for (id, delta) in changes {
            let Some(index) = usize::try_from(id)
                .ok()
                .filter(|id| *id < self.logits.len())
                .map(|id| id / BLOCK)
            else {
                continue;
            };
            if self.space.changed.last().is_none_or(|block| block.index != index) {
                let block = self.block_in_place(index);
                self.space.changed.push(block);
            }
            if let Some(logit) = self.space.changed.last_mut().and_then(|block| block.entry(id)) {
                *logit = number(*logit + delta);
            }
        }
        for block in &self.space.changed {
            if let Some(place) = self.space.maxima.get_mut(block.index) {
                *place = maximum(&block.logits);
            }
        }
    }

    /// The block of that index; all −∞ beyond the row.
    pub(super) fn block(&self, index: usize) -> Block {
        match self
            .space
            .changed
            .binary_search_by_key(&index, |block| block.index)
        {
            Ok(place) => self.space.changed.get(place).copied(),
            Err(_) => None,
        }
        .unwrap_or_else(|| self.block_in_place(index))
    }

    fn block_in_place(&self, index: usize) -> Block {
        let mut logits = [f32::NEG_INFINITY; BLOCK];
        let there = self.logits.get(index.saturating_mul(BLOCK)..).unwrap_or_default();
        for (logit, there) in logits.iter_mut().zip(there) {
            *logit = number(*there);
        }
        if let Some(words) = self.allowed {
            logits = masked(&logits, words.get(index).copied().unwrap_or(0));
        }
        Block { index, logits }
    }

    /// The likeliest token, the first of equals, and its logit; `None` when there is none above −∞.
    pub(super) fn likeliest(&self) -> Option<(u32, f32)> {
        let greatest = self.space.maxima.iter().copied().fold(f32::NEG_INFINITY, greater);
        if greatest == f32::NEG_INFINITY {
            return None;
        }
        let index = self
            .space
            .maxima
            .iter()
            .position(|maximum| *maximum == greatest)?;
        self.block(index).entries().find(|(_, logit)| *logit == greatest)
    }

    /// A logit that at least `count` tokens reach, if there are as many; −∞ when `count` is 0 or beyond the number of
    /// blocks. The `count` likeliest tokens are all among those that reach it.
    pub(super) fn kth_maximum(&mut self, count: usize) -> f32 {
        let Space { maxima, order, .. } = &mut *self.space;
        if count == 0 || count > maxima.len() {
            return f32::NEG_INFINITY;
        }
        order.clear();
        order.extend(maxima.iter().map(|maximum| rank(*maximum)));
        let place = order.len() - count;
        let (_, kth, _) = order.select_nth_unstable(place);
        of_rank(*kth)
    }

    /// Indexes of the blocks with a token that reaches `threshold`.
    pub(super) fn blocks_from(&self, threshold: f32) -> impl Iterator<Item = usize> + '_ {
        self.space
            .maxima
            .iter()
            .enumerate()
            .filter(move |(_, maximum)| **maximum >= threshold && **maximum > f32::NEG_INFINITY)
            .map(|(index, _)| index)
    }

    pub(super) fn block_count(&self) -> usize {
        self.space.maxima.len()
    }

    /// The weights of all tokens that reach `threshold`, summed.
    pub(super) fn sum_from(&self, threshold: f32, weight: impl Fn(f32) -> f32) -> f64 {
        // A product and no branch, so that the loop is wide.
        let weight = |logit: f32| weight(logit) * f32::from(u8::from(logit >= threshold));
        self.groups(threshold, weight).map(f64::from).sum()
    }

    /// Sums `weight` over each group of blocks, and over the row.
    pub(super) fn sum_groups(&mut self, weight: impl Fn(f32) -> f32) -> f64 {
        let mut sums = std::mem::take(&mut self.space.sums);
        sums.clear();
        sums.extend(self.groups(f32::NEG_INFINITY, weight));
        let total = sums.iter().copied().map(f64::from).sum();
        self.space.sums = sums;
        total
    }

    /// The sum of each group, after [`Row::sum_groups`].
    pub(super) fn group_sums(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        self.space.sums.iter().copied().map(f64::from).enumerate()
    }

    /// The blocks of a group.
    pub(super) fn group(&self, index: usize) -> impl Iterator<Item = Block> + '_ {
        let blocks = index.saturating_mul(GROUP)
            ..index
                .saturating_add(1)
                .saturating_mul(GROUP)
                .min(self.block_count());
        blocks.map(|index| self.block(index))
    }

    /// The summed weights of each group; blocks without a token that reaches `threshold` are left out.
    fn groups(&self, threshold: f32, weight: impl Fn(f32) -> f32) -> impl Iterator<Item = f32> {
        let (blocks, _) = self.logits.as_chunks::<BLOCK>();
        let mut changed = self.space.changed.iter().peekable();
        let mut index = 0;
        self.space.maxima.chunks(GROUP).map(move |maxima| {
            let mut lanes = [0.0; LANES];
            for maximum in maxima {
                let is_changed = changed.next_if(|block| block.index == index).is_some();
                if *maximum >= threshold && *maximum > f32::NEG_INFINITY {
                    let word = self
                        .allowed
                        .map_or(u32::MAX, |words| words.get(index).copied().unwrap_or(0));
                    match blocks.get(index) {
                        Some(block) if word == u32::MAX && !is_changed => add(&mut lanes, block, &weight),
                        _ => add(&mut lanes, &self.block(index).logits, &weight),
                    }
                }
                index += 1;
            }
            folded(lanes, |a, b| a + b)
        })
    }
}

/// What is not a number counts as never.
fn number(logit: f32) -> f32 {
    if logit.is_nan() { f32::NEG_INFINITY } else { logit }
}

/// The greater one; `a` when `b` is not a number.
fn greater(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

fn masked(block: &[f32; BLOCK], word: u32) -> [f32; BLOCK] {
    let mut logits = *block;
    for (bit, logit) in (0u32..).zip(&mut logits) {
        if word >> bit & 1 == 0 {
            *logit = f32::NEG_INFINITY;
        }
    }
    logits
}

/// The greatest number of a block, −∞ if there is none. What is not a number compares false and never wins.
fn maximum(block: &[f32; BLOCK]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for part in block.as_chunks::<LANES>().0 {
        for (lane, logit) in lanes.iter_mut().zip(part) {
            *lane = greater(*lane, *logit);
        }
    }
    folded(lanes, greater)
}

/// Adds a block's weights to running sums.
fn add(lanes: &mut [f32; LANES], block: &[f32; BLOCK], weight: impl Fn(f32) -> f32) {
    for part in block.as_chunks::<LANES>().0 {
        for (lane, logit) in lanes.iter_mut().zip(part) {
            *lane += weight(*logit);
        }
    }
}

/// Halves again and again: what a wide register does, and the same order where there is none.
fn folded(lanes: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = lanes;
    let mut width = LANES / 2;
    while width > 0 {
        let (low, high) = lanes.split_at_mut(width);
        for (low, high) in low.iter_mut().zip(&*high) {
            *low = join(*low, *high);
        }
        width /= 2;
    }
    lanes.first().copied().unwrap_or_default()
}

/// Whole numbers in the order of [`f32::total_cmp`].
fn rank(value: f32) -> i32 {
    let bits = value.to_bits().cast_signed();
    bits ^ ((bits >> 31).cast_unsigned() >> 1).cast_signed()
}

fn of_rank(rank: i32) -> f32 {
    f32::from_bits((rank ^ ((rank >> 31).cast_unsigned() >> 1).cast_signed()).cast_unsigned())
}
