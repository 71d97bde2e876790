//! Guesses at next tokens: those that a constraint leaves no choice about, else what the stream or its tenant wrote
//! before, as far as the constraint takes it.

use std::collections::BTreeMap;

use jingui_sched::{CostModel, DraftRoom, Drafter, Drafts, StreamKey, Token};

use crate::stream::Stream;

/// Asks the streams for guesses.
pub(super) struct StreamDrafts<'a> {
    pub(super) streams: &'a mut BTreeMap<u64, Stream>,
    pub(super) drafter: &'a mut Drafter,
    /// Whether the model's memory lets wrong guesses be taken back.
    pub(super) is_possible: bool,
}

impl Drafts for StreamDrafts<'_> {
    fn propose(&mut self, id: StreamKey, room: &DraftRoom, cost: &CostModel) -> Vec<Token> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Vec::new();
        };
        if !self.is_possible || stream.is_seeded {
            return Vec::new();
        }
        let forced = stream.chooser.forced(room.most);
        stream.is_forced = !forced.is_empty();
        if stream.is_forced {
            return forced;
        }
        let mut draft = self.drafter.propose(id, room, cost);
        stream.chooser.allows(&mut draft);
        self.drafter.kept(id, draft.len());
        draft
    }
}
