//! From the rows of a step to tokens of streams.

use jingui_ipc::engine::{Finish, FromEngine, Logprobs, Token as TokenEvent};
use jingui_llama::Model;
use jingui_sched::{PartOutcome, Step};

use super::StepLoop;
use crate::choose::{Choice, Chosen, Job, Next, choose_all};
use crate::codes;

impl StepLoop {
    /// Chooses from the rows of each part and sends the tokens. Returns what became of the parts, and which streams end.
    pub(super) fn choose(
        &mut self,
        step: &Step,
        rows: &[Vec<usize>],
    ) -> (Vec<PartOutcome>, Vec<(u64, Finish)>) {
        let outputs = self.device.context(step.lane).outputs();
        let mut indexes = Vec::new();
        let mut jobs = Vec::new();
        for (id, stream) in &mut self.streams {
            let place = step
                .parts
                .iter()
                .position(|part| part.stream == *id && part.output_count > 0);
            let Some((index, part)) = place.and_then(|index| Some((index, step.parts.get(index)?))) else {
                continue;
            };
            // A row that is missing ends the chain before it.
            let logits = rows.get(index).into_iter().flatten();
            let logits = logits.map_while(|row| outputs.row(*row).ok()).collect();
            indexes.push(index);
            jobs.push(Job {
                chooser: &mut stream.chooser,
                rows: logits,
                draft: part.draft(),
            });
        }
        let chosen = choose_all(jobs, &self.pool);
        let mut outcomes = vec![
            PartOutcome::Computed {
                chosen: Vec::new(),
                is_over: false,
            };
            step.parts.len()
        ];
        let mut over = Vec::new();
        for (index, chosen) in indexes.into_iter().zip(chosen) {
            let (Some(part), Some(outcome)) = (step.parts.get(index), outcomes.get_mut(index)) else {
                continue;
            };
            let (tokens, finish) = self.hand_out(part.stream, chosen);
            let is_forced = self
                .streams
                .get(&part.stream)
                .is_some_and(|stream| stream.is_forced);
            let accepted = tokens.len().saturating_sub(1).min(part.draft_count);
            self.drafter
                .made(part.stream, &tokens, if is_forced { 0 } else { accepted });
            // What failed is not kept; the loop ends it.
            let is_over = matches!(finish, Some(Finish::Stop | Finish::Length));
            *outcome = PartOutcome::Computed {
                chosen: tokens,
                is_over,
            };
            over.extend(finish.map(|finish| (part.stream, finish)));
        }
        (outcomes, over)
    }

    /// Counts and sends chosen tokens up to where the stream ends.
    fn hand_out(&mut self, id: u64, chosen: Chosen) -> (Vec<u32>, Option<Finish>) {
        let model = self.device.model().clone();
        let last = chosen.choices.len().saturating_sub(1);
        let is_empty = chosen.choices.is_empty();
        let mut tokens = Vec::with_capacity(chosen.choices.len());
        for (index, choice) in chosen.choices.into_iter().enumerate() {
            let Some(stream) = self.streams.get_mut(&id) else {
                break;
            };
            let is_end = index == last && chosen.next == Next::End;
            let finish = stream.take(is_end);
            tokens.push(choice.id);
            if !is_end {
                self.emit(FromEngine::Token(Box::new(event_of(&model, id, choice))));
            }
            if finish.is_some() {
                return (tokens, finish);
            }
        }
        let finish = match chosen.next {
            Next::Complete => Some(Finish::Stop),
            Next::Failed(code) => Some(Finish::Failed {
                code: code.to_owned(),
            }),
            Next::More | Next::End if is_empty => Some(Finish::Failed {
                code: codes::COMPUTE_NOT_FINITE.to_owned(),
            }),
            Next::More | Next::End => None,
        };
        (tokens, finish)
    }
}

fn event_of(model: &Model, stream: u64, choice: Choice) -> TokenEvent {
    let piece = |id: u32| {
        model
            .token(id)
            .map(|token| model.piece(token))
            .unwrap_or_default()
    };
    TokenEvent {
        stream,
        id: choice.id,
        bytes: piece(choice.id),
        logprobs: choice.logprobs.map(|(chosen, top)| Logprobs {
            chosen,
            top: top
                .into_iter()
                .map(|(id, logprob)| (piece(id), logprob))
                .collect(),
        }),
    }
}
