//! Guesses at next tokens: those that a constraint leaves no choice about.

use std::collections::BTreeMap;

use jingui_sched::{CostModel, DraftRoom, Drafts, StreamKey, Token};

use crate::stream::Stream;

/// Asks the streams for guesses.
pub(super) struct StreamDrafts<'a> {
    streams: &'a mut BTreeMap<u64, Stream>,
}

pub(super) fn of(streams: &mut BTreeMap<u64, Stream>) -> StreamDrafts<'_> {
    StreamDrafts { streams }
}

impl Drafts for StreamDrafts<'_> {
    fn propose(&mut self, stream: StreamKey, room: &DraftRoom, _cost: &CostModel) -> Vec<Token> {
        self.streams
            .get_mut(&stream)
            .map(|stream| stream.chooser.forced(room.most))
            .unwrap_or_default()
    }
}
