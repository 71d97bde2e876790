//! The device: llama contexts that do what a step says.

use std::time::Instant;

use jingui_ipc::engine::Finish;
use jingui_llama::{AbortFlag, Batch, Context, ContextShape, DecodeError, Decoded, SequenceError};
use jingui_sched::{
    CostModel, KvOp, Lane, Micros, Outcome, PartOutcome, Restored, STRICT_CHUNK_TOKENS, Step, StreamKey,
};

use super::blocks::{self, Blocks};
use super::{FAILED_STEP_COUNT_MAX, StepFailure, StepLoop};
use crate::codes;
use crate::load::Loaded;
use crate::stream::count_of;

/// How a step went.
#[derive(Debug)]
pub(super) enum Ran {
    /// Logits are ready. For each part, the rows that gave them.
    Computed { rows: Vec<Vec<usize>>, took: Micros },
    /// It was cut short.
    Cut,
    /// It failed.
    Failed(DecodeError),
    /// The context for strict streams cannot be made.
    NoStrictContext,
}

/// What the step thread computes on.
#[derive(Debug)]
pub(super) struct Device {
    context: Context,
    batch: Batch,
    thread_count: u32,
    stream_context_tokens: u32,
    strict: Option<(Context, Batch)>,
    pub(super) blocks: Blocks,
}

impl Device {
    pub(super) fn new(loaded: Loaded) -> Self {
        Self {
            batch: loaded.context.batch(),
            context: loaded.context,
            thread_count: loaded.thread_count,
            stream_context_tokens: loaded.stream_context_tokens,
            strict: None,
            blocks: Blocks::new(loaded.tiers, loaded.state_shape, loaded.pool_sequences),
        }
    }

    /// Whether parts of sequences can be shared and removed.
    pub(super) fn is_divisible(&self) -> bool {
        self.context.is_divisible()
    }

    pub(super) fn model(&self) -> &std::sync::Arc<jingui_llama::Model> {
        self.context.model()
    }

    /// Computes with so many threads from the next step on. Strict streams go on as they began: what they compute
    /// depends on the number.
    pub(super) fn set_threads(&mut self, count: u32) {
        // When they cannot be started, those that run compute on.
        if self.context.set_threads(count).is_ok() {
            self.thread_count = count;
        }
    }

    /// The context whose logits are ready after a step of `lane`.
    pub(super) fn context(&self, lane: Lane) -> &Context {
        match (&self.strict, lane) {
            (Some((context, _)), Lane::Strict) => context,
            _ => &self.context,
        }
    }

    /// Changes the KV pool, and says for a block that was to be restored what came of it. `missing` holds streams of
    /// which an earlier block did not come in this step: no later one may go in its place.
    fn apply(
        &mut self,
        op: &KvOp,
        cost: &CostModel,
        missing: &[StreamKey],
    ) -> Result<Option<(StreamKey, Restored)>, SequenceError> {
        match op {
            KvOp::Share { from, to, until } => {
                self.context.share_range(*from, *to, 0..count_of(*until))?;
            }
            KvOp::Forget { sequence, from } => self.context.forget(*sequence, count_of(*from))?,
            KvOp::Restore {
                stream,
                sequence,
                block,
            } => {
                let restored = if missing.contains(stream) {
                    Restored::Pending
                } else {
                    self.blocks.restore(&mut self.context, *stream, *sequence, *block)
                };
                return Ok(Some((*stream, restored)));
            }
            KvOp::Save {
                tenant,
                tokens,
                sequence,
                block,
                is_pinned,
            } => {
                let worth = blocks::worth(cost, *block, *is_pinned);
                self.blocks
                    .save(&mut self.context, *tenant, tokens, *sequence, *block, worth);
            }
        }
        Ok(None)
    }

    /// Makes the context for strict streams, when it is first needed.
    fn prepare(&mut self, step: &Step) -> Option<Option<AbortFlag>> {
        if step.lane == Lane::Main {
            return Some(None);
        }
        let mut made = None;
        if self.strict.is_none() {
            let shape = ContextShape {
                context_tokens: self.stream_context_tokens,
                sequence_count: 1,
                batch_tokens: count_of(STRICT_CHUNK_TOKENS),
                output_rows: 1,
                thread_count: self.thread_count,
            };
            let context = self.context.beside(shape).ok()?;
            made = Some(context.abort_flag());
            let batch = context.batch();
            self.strict = Some((context, batch));
        }
        if let Some((context, _)) = &mut self.strict
            && step.parts.iter().any(|part| part.from == 0)
        {
            context.clear();
        }
        Some(made)
    }

    /// Computes the rows of a step.
    fn run(&mut self, step: &Step) -> Ran {
        let (context, batch) = match (&mut self.strict, step.lane) {
            (Some((context, batch)), Lane::Strict) => (context, batch),
            (None, Lane::Strict) => return Ran::NoStrictContext,
            (_, Lane::Main) => (&mut self.context, &mut self.batch),
        };
        batch.clear();
        let mut rows = Vec::with_capacity(step.parts.len());
        for part in &step.parts {
            let first_output = part.tokens.len() - part.output_count;
            let mut outputs = Vec::with_capacity(part.output_count);
            for (offset, id) in part.tokens.iter().enumerate() {
                let is_output = offset >= first_output;
                let row = context.model().token(*id).and_then(|token| {
                    batch
                        .push(token, count_of(part.from + offset), part.sequence, is_output)
                        .ok()
                });
                // Rows, sequences and positions are bounded by the plan, and tokens come from the model.
                let Some(row) = row else {
                    return Ran::Failed(DecodeError::Refused);
                };
                if is_output {
                    outputs.push(row);
                }
            }
            rows.push(outputs);
        }
        let before = Instant::now();
        match context.decode(batch) {
            Ok(Decoded::Computed) => Ran::Computed {
                rows,
                took: Micros::try_from(before.elapsed().as_micros()).unwrap_or(Micros::MAX),
            },
            Ok(Decoded::Aborted) => Ran::Cut,
            // Room was promised, so "no room" is a defect like any other failure.
            Ok(Decoded::NoRoom) => Ran::Failed(DecodeError::Failed(1)),
            Err(error) => Ran::Failed(error),
        }
    }
}

impl StepLoop {
    /// Does what a step says and chooses tokens. Returns what became of it, and the streams that end with it.
    pub(super) fn compute(&mut self, step: &Step) -> Result<(Outcome, Vec<(u64, Finish)>), StepFailure> {
        let mut outcome = Outcome::default();
        let mut missing = Vec::new();
        for op in &step.ops {
            let restored = self.device.apply(op, self.scheduler.cost(), &missing)?;
            if let Some((stream, restored)) = restored {
                outcome.restored.push((stream, restored));
                if restored != Restored::Done {
                    missing.push(stream);
                }
            }
        }
        if step.parts.is_empty() {
            return Ok((outcome, Vec::new()));
        }
        let ran = match self.device.prepare(step) {
            None => Ran::NoStrictContext,
            Some(made) => {
                if let Some(flag) = made {
                    self.pulse.also(flag.clone());
                    self.interrupt.also(flag);
                }
                self.run_parts(step)
            }
        };
        match ran {
            Ran::Computed { rows, took } => {
                self.failed_step_count = 0;
                outcome.measured = Some(took);
                let (parts, over) = self.choose(step, &rows);
                outcome.parts = parts;
                Ok((outcome, over))
            }
            Ran::Cut => {
                outcome.parts = vec![PartOutcome::Cut; step.parts.len()];
                Ok((outcome, Vec::new()))
            }
            Ran::NoStrictContext => {
                outcome.parts = vec![PartOutcome::Failed; step.parts.len()];
                Ok((outcome, failed(step, codes::LOAD_MEMORY)))
            }
            Ran::Failed(error) => {
                self.failed_step_count += 1;
                if self.failed_step_count >= FAILED_STEP_COUNT_MAX {
                    return Err(StepFailure::Compute(error));
                }
                outcome.parts = vec![PartOutcome::Failed; step.parts.len()];
                // Several streams are tried again one by one: the others must not end for the sake of one.
                let over = if step.parts.len() == 1 {
                    failed(step, codes::COMPUTE_FAILED)
                } else {
                    Vec::new()
                };
                Ok((outcome, over))
            }
        }
    }

    fn run_parts(&mut self, step: &Step) -> Ran {
        self.interrupt.set_dominant(step.dominant());
        let Self {
            device,
            streams,
            pool,
            ..
        } = self;
        let held = streams
            .iter_mut()
            .filter(|(id, _)| {
                step.parts
                    .iter()
                    .any(|part| part.stream == **id && part.output_count > 0)
            })
            .map(|(_, stream)| &mut stream.chooser);
        let ran = pool.beside(held, || device.run(step));
        self.interrupt.set_dominant(None);
        ran
    }
}

fn failed(step: &Step, code: &str) -> Vec<(u64, Finish)> {
    let finish = Finish::Failed {
        code: code.to_owned(),
    };
    step.parts
        .iter()
        .map(|part| (part.stream, finish.clone()))
        .collect()
}
