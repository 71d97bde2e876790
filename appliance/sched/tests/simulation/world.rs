//! Arrivals, cancels and the clock.

use std::collections::{BTreeMap, BTreeSet};

use jingui_sched::{
    CacheUse, Class, Lane, Micros, Notice, Refusal, Scheduler, Shape, StreamKey, Submission, TenantId, Token,
};

use crate::device::{Device, Guesses, Machine, Told};
use crate::random::Random;

/// A stream to come.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) tenant: u8,
    pub(crate) class: Class,
    pub(crate) cache: CacheUse,
    pub(crate) is_strict: bool,
    pub(crate) prompt: Vec<Token>,
    pub(crate) completion_max: usize,
    pub(crate) ends_after: usize,
}

impl Ask {
    pub(crate) fn new(tenant: u8, prompt: Vec<Token>, completion: usize) -> Self {
        Self {
            tenant,
            class: Class::Interactive,
            cache: CacheUse::Use,
            is_strict: false,
            prompt,
            completion_max: completion,
            ends_after: completion,
        }
    }
}

pub(crate) fn tenant(number: u8) -> TenantId {
    [number; 16]
}

/// Tokens that begin with `of` and are like no others.
pub(crate) fn text(of: u32, count: usize) -> Vec<Token> {
    (0..count as u32)
        .map(|place| of.wrapping_mul(7919).wrapping_add(place.wrapping_mul(13)) % 900_000)
        .collect()
}

/// What is known of a stream in the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Life {
    pub(crate) asked_at: Micros,
    pub(crate) started_at: Option<Micros>,
    pub(crate) cached: usize,
    pub(crate) token_times: Vec<Micros>,
    pub(crate) ended_at: Option<Micros>,
    pub(crate) was_cancelled: bool,
    pub(crate) has_failed: bool,
    pub(crate) notices: Vec<(Micros, Notice)>,
}

impl Life {
    pub(crate) fn first_token_after(&self) -> Micros {
        self.token_times[0] - self.asked_at
    }

    pub(crate) fn longest_gap(&self) -> Micros {
        self.token_times
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .max()
            .unwrap_or(0)
    }
}

pub(crate) struct World {
    pub(crate) scheduler: Scheduler,
    pub(crate) device: Device,
    pub(crate) now: Micros,
    pub(crate) lives: BTreeMap<StreamKey, Life>,
    pub(crate) guesses: usize,
    random: Random,
    next: StreamKey,
    /// A digest of all that was decided.
    pub(crate) trace: u64,
    pub(crate) step_times: Vec<Micros>,
}

impl World {
    pub(crate) fn new(shape: Shape, machine: Machine, seed: u64) -> Self {
        Self {
            scheduler: Scheduler::new(shape),
            device: Device::new(machine, shape.kv_cells, seed),
            now: 1_000,
            lives: BTreeMap::new(),
            guesses: 0,
            random: Random::new(seed ^ 0x5eed),
            next: 0,
            trace: 0,
            step_times: Vec::new(),
        }
    }

    pub(crate) fn ask(&mut self, ask: Ask) -> Result<StreamKey, Refusal> {
        let stream = self.next;
        self.next += 1;
        let tier_tokens = self.device.tier_tokens(tenant(ask.tenant), &ask.prompt);
        self.scheduler.submit(
            Submission {
                stream,
                tenant: tenant(ask.tenant),
                class: ask.class,
                cache: ask.cache,
                is_strict: ask.is_strict,
                prompt_count: ask.prompt.len(),
                tokens: ask.prompt.clone(),
                completion_max: ask.completion_max,
                tier_tokens,
            },
            self.now,
        )?;
        let context = self.scheduler.shape().context_tokens;
        self.device.streams.insert(
            stream,
            Told {
                tenant: tenant(ask.tenant),
                prompt_count: ask.prompt.len(),
                tokens_max: (ask.prompt.len() + ask.completion_max).min(context),
                tokens: ask.prompt,
                ends_after: ask.ends_after,
                is_private: ask.cache == CacheUse::Off,
            },
        );
        self.lives.insert(
            stream,
            Life {
                asked_at: self.now,
                ..Life::default()
            },
        );
        Ok(stream)
    }

    pub(crate) fn cancel(&mut self, stream: StreamKey) {
        assert_eq!(
            self.scheduler.cancel(stream),
            self.lives[&stream].ended_at.is_none(),
            "a stream is there until it ends"
        );
        let life = self.lives.get_mut(&stream).unwrap();
        if life.ended_at.is_none() {
            life.ended_at = Some(self.now);
            life.was_cancelled = true;
        }
        self.scheduler.check();
    }

    pub(crate) fn open(&self) -> BTreeSet<StreamKey> {
        self.lives
            .iter()
            .filter(|(_, life)| life.ended_at.is_none())
            .map(|(stream, _)| *stream)
            .collect()
    }

    /// One step, and the time it takes.
    pub(crate) fn step(&mut self) {
        let mut guesses = Guesses {
            device: &self.device,
            random: &mut self.random,
            most: self.guesses,
        };
        let step = self.scheduler.plan(self.now, &mut guesses);
        self.scheduler.check();
        let shape = *self.scheduler.shape();
        if step.lane == Lane::Main {
            assert!(step.load().rows <= shape.batch_rows);
            assert!(step.load().outputs <= shape.output_rows);
        }
        for started in &step.started {
            let life = self.lives.get_mut(&started.stream).unwrap();
            assert!(
                life.started_at.replace(self.now).is_none(),
                "a stream starts once"
            );
            life.cached = started.cached_tokens;
        }
        for notice in self.scheduler.notices(self.now) {
            let life = self.lives.get_mut(&notice.stream).unwrap();
            assert!(life.started_at.is_none() || self.scheduler.figures().swapped_out_count > 0);
            if let Some((before, _)) = life.notices.last() {
                assert!(self.now - before >= 1_000_000, "at most once a second");
            }
            life.notices.push((self.now, notice));
        }
        let (outcome, took) = self.device.carry_out(&step);
        self.now += took;
        self.step_times.push(took);
        self.scheduler.advance(&step, &outcome, self.now);
        for (stream, count) in self.device.made.clone() {
            let life = self.lives.get_mut(&stream).unwrap();
            life.token_times.extend(std::iter::repeat_n(self.now, count));
        }
        for stream in self.device.over.clone() {
            assert!(!self.scheduler.has(stream), "what is over is gone");
            self.lives.get_mut(&stream).unwrap().ended_at = Some(self.now);
        }
        for stream in self.device.failed.clone() {
            assert!(self.scheduler.fail(stream));
            let life = self.lives.get_mut(&stream).unwrap();
            life.ended_at = Some(self.now);
            life.has_failed = true;
        }
        self.scheduler.check();
        for part in &step.parts {
            self.note(part.stream ^ (part.tokens.len() as u64) << 32 ^ (part.from as u64) << 48);
        }
        self.note(step.ops.len() as u64 ^ took << 20);
    }

    fn note(&mut self, what: u64) {
        self.trace = (self.trace.rotate_left(9) ^ what).wrapping_mul(0x0100_0000_01b3);
    }

    /// Steps until nobody is left.
    pub(crate) fn run(&mut self, steps_max: usize) {
        for _ in 0..steps_max {
            if self.scheduler.is_idle() {
                return;
            }
            self.step();
        }
        panic!("{:?} are still there", self.open());
    }

    pub(crate) fn run_until(&mut self, until: Micros) {
        while self.now < until {
            if self.scheduler.is_idle() {
                self.now = until;
            } else {
                self.step();
            }
        }
    }
}

/// A shape with room for everything.
pub(crate) fn roomy(running_max: usize) -> Shape {
    Shape {
        running_max,
        sequence_count: running_max as u32 + 64,
        kv_cells: running_max * 8192,
        batch_rows: 512,
        output_rows: running_max + 32,
        context_tokens: 8192,
        waiting_max: 256,
        waiting_per_tenant_max: 64,
        has_tiers: false,
        idle_leaves: false,
    }
}
