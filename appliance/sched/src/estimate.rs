//! How long it will take, for people who wait.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::shape::NOTICE_INTERVAL_US;
use crate::stream::Stream;
use crate::{Load, Micros, Scheduler, StreamKey, micros, real, real_us};

/// Honest answers are not "at once".
const RETRY_AFTER_MIN_US: Micros = 1_000_000;

/// What a waiting stream is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    /// Which.
    pub stream: StreamKey,
    /// Streams that are admitted before it, as things stand.
    pub ahead_count: usize,
    /// Until its first token.
    pub estimate_us: Micros,
}

impl Scheduler {
    /// What waiting streams are to be told now: when they begin to wait, and then at most once a second when it has
    /// changed. To be asked after a step was planned.
    pub fn notices(&mut self, now: Micros) -> Vec<Notice> {
        let is_due = |stream: &Stream| {
            !stream.is_running()
                && stream
                    .told_at
                    .is_none_or(|at| now.saturating_sub(at) >= NOTICE_INTERVAL_US)
        };
        if !self.streams.values().any(is_due) {
            return Vec::new();
        }
        let mut notices = self.forecast(now);
        notices.retain(|notice| self.streams.get(&notice.stream).is_some_and(is_due));
        for notice in &notices {
            if let Some(stream) = self.streams.get_mut(&notice.stream) {
                stream.told_at = Some(now);
            }
        }
        notices.retain(|notice| {
            let news = Some((notice.ahead_count, notice.estimate_us / NOTICE_INTERVAL_US));
            self.streams
                .get_mut(&notice.stream)
                .is_some_and(|stream| std::mem::replace(&mut stream.told, news) != news)
        });
        notices
    }

    /// For each waiting stream, in the order of admission.
    fn forecast(&self, now: Micros) -> Vec<Notice> {
        let mut order = self.admission_order(now);
        let strict = self
            .streams
            .values()
            .filter(|stream| stream.is_strict && !stream.is_running());
        order.extend(strict.map(|stream| stream.key));
        let slowdown = self.slowdown();
        // When each place will be free, soonest first: the queue enters one after another.
        let mut places: BinaryHeap<Reverse<Micros>> = (self.running.len()..self.shape.running_max)
            .map(|_| Reverse(0))
            .collect();
        let running = self.running.iter().filter_map(|key| self.streams.get(key));
        places.extend(running.map(|stream| Reverse(self.time_of(stream, slowdown))));
        order
            .into_iter()
            .enumerate()
            .filter_map(|(ahead_count, key)| {
                let stream = self.streams.get(&key)?;
                let Reverse(enters_at) = places.pop()?;
                places.push(Reverse(enters_at + self.time_of(stream, slowdown)));
                Some(Notice {
                    stream: key,
                    ahead_count,
                    estimate_us: enters_at + self.cost.prefill(0, stream.tokens.len()) + self.step_time(),
                })
            })
            .collect()
    }

    /// When a place will be free, so that the queue moves.
    pub(crate) fn until_a_place_is_free(&self) -> Micros {
        let slowdown = self.slowdown();
        self.running
            .iter()
            .filter_map(|key| self.streams.get(key))
            .map(|stream| self.time_of(stream, slowdown))
            .min()
            .unwrap_or(0)
            .max(RETRY_AFTER_MIN_US)
    }

    /// How long a stream takes from now, or from its admission, to its end.
    fn time_of(&self, stream: &Stream, slowdown: f64) -> Micros {
        let prefill = self.cost.prefill(stream.computed, stream.pending());
        prefill + micros(self.tokens_to_come(stream) * real_us(self.step_time()) * slowdown)
    }

    /// By how much making tokens is slower for the prompts that are computed between.
    fn slowdown(&self) -> f64 {
        let width = real(self.width());
        let (mut prompts, mut tokens) = (0.0, 0.0);
        for stream in self.streams.values() {
            prompts += real_us(self.cost.prefill(stream.computed, stream.pending()));
            tokens += self.tokens_to_come(stream) * real_us(self.step_time()) / width;
        }
        if tokens > 0.0 { 1.0 + prompts / tokens } else { 1.0 }
    }

    fn width(&self) -> usize {
        self.shape.running_max.min(self.streams.len()).max(1)
    }

    /// A step in which all places make tokens, as many as there are streams for.
    fn step_time(&self) -> Micros {
        let width = self.shape.running_max.min(self.streams.len()).max(1);
        self.cost
            .foretell(Load::rows(self.shape.context_tokens / 4, width, width))
    }

    /// Tokens that it is expected to make yet.
    fn tokens_to_come(&self, stream: &Stream) -> f64 {
        let made = real(stream.tokens.len() - stream.prompt_count);
        let most = real(stream.tokens_max - stream.tokens.len());
        // Who has made more than the mean goes on for about as long again.
        let expected = if made < self.completion_mean {
            self.completion_mean - made
        } else {
            made
        };
        expected.min(most)
    }
}
