//! The lane of streams that must give the same bytes whatever else runs.
//!
//! They are computed one at a time in a context of their own that begins empty: the prompt in chunks with fixed
//! borders, then one row at a time, without prefixes and without guesses. Steps of both lanes alternate.

use std::collections::BTreeMap;

use crate::shape::STRICT_CHUNK_TOKENS;
use crate::stream::{Phase, Stream};
use crate::{Lane, Micros, Part, StreamKey};

/// Who is in the lane, and whose turn it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct StrictLane {
    pub(crate) running: Option<StreamKey>,
    /// The lane of the last step.
    pub(crate) last: Lane,
}

impl StrictLane {
    pub(crate) fn enter(&mut self, stream: &mut Stream, now: Micros) {
        stream.phase = Phase::Prefill;
        stream.computed = 0;
        stream.moved_at = now;
        self.running = Some(stream.key);
    }

    pub(crate) fn leave(&mut self, key: StreamKey) {
        if self.running == Some(key) {
            self.running = None;
        }
    }

    /// After a step that was cut or failed: all of it again, so that the borders are the same.
    pub(crate) fn begin_anew(&mut self, streams: &mut BTreeMap<StreamKey, Stream>) {
        if let Some(stream) = self.running.and_then(|key| streams.get_mut(&key)) {
            stream.computed = 0;
        }
    }

    /// The next rows of the stream in the lane: up to the next border in the prompt, one behind it. What was made before,
    /// here or by an engine that is gone, is computed one by one as it was made.
    pub(crate) fn part(&self, streams: &BTreeMap<StreamKey, Stream>) -> Option<Part> {
        let stream = streams.get(&self.running?)?;
        let from = stream.computed;
        let until = if from < stream.prompt_count {
            ((from / STRICT_CHUNK_TOKENS + 1) * STRICT_CHUNK_TOKENS).min(stream.prompt_count)
        } else {
            from + 1
        };
        let tokens = stream.tokens.get(from..until)?.to_vec();
        Some(Part {
            stream: stream.key,
            sequence: 0,
            from,
            output_count: usize::from(until == stream.tokens.len()),
            draft_count: 0,
            tokens,
        })
    }
}
