//! Pieces of text whose end is not known yet: characters, tags, stop texts, white space.

/// Bytes to text. An incomplete character waits; invalid bytes become U+FFFD as in the whole text.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    pending: Vec<u8>,
}

impl Utf8 {
    pub(super) fn push(&mut self, bytes: &[u8], text: &mut String) {
        self.pending.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.pending);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    return;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at_checked(error.valid_up_to()).unwrap_or_default();
                    text.push_str(std::str::from_utf8(valid).unwrap_or_default());
                    let Some(invalid_count) = error.error_len() else {
                        self.pending = after.to_vec();
                        return;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = after.get(invalid_count..).unwrap_or_default();
                }
            }
        }
    }

    pub(super) fn finish(&mut self, text: &mut String) {
        if !self.pending.is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
            self.pending.clear();
        }
    }
}

/// Takes from the buffer all text before the first of the tags, and the tag. Without a tag it takes all text but an
/// end that may be the beginning of one; at the last call that end is taken too.
pub(super) fn split_at_tag(
    buffer: &mut String,
    tags: &[&'static str],
    is_last: bool,
) -> (String, Option<&'static str>) {
    let first = tags
        .iter()
        .filter_map(|tag| buffer.find(tag).map(|place| (place, *tag)))
        .min();
    if let Some((place, tag)) = first {
        let rest = buffer.split_off(place);
        let text = std::mem::replace(buffer, rest.get(tag.len()..).unwrap_or_default().to_owned());
        return (text, Some(tag));
    }
    let held = if is_last {
        0
    } else {
        tags.iter().map(|tag| overlap(buffer, tag)).max().unwrap_or(0)
    };
    let rest = buffer.split_off(buffer.len() - held);
    (std::mem::replace(buffer, rest), None)
}

/// Length of the longest end of `text` that begins `word` without being all of it.
fn overlap(text: &str, word: &str) -> usize {
    let starts = word
        .char_indices()
        .map(|(place, _)| place)
        .filter(|place| *place > 0);
    starts
        .filter(|place| word.get(..*place).is_some_and(|head| text.ends_with(head)))
        .max()
        .unwrap_or(0)
}

/// Drops the white space before a text up to its last newline; spaces after that are an indent and stay.
#[derive(Debug, Default)]
pub(super) struct Lead {
    indent: String,
    has_begun: bool,
}

impl Lead {
    /// Whether anything but white space came.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    pub(super) fn push(&mut self, text: &str) -> String {
        if self.has_begun {
            return text.to_owned();
        }
        let word = text.trim_start();
        let space = text.strip_suffix(word).unwrap_or(text);
        match space.rsplit_once('\n') {
            Some((_, indent)) => self.indent = indent.to_owned(),
            None => self.indent.push_str(space),
        }
        if word.is_empty() {
            return String::new();
        }
        self.has_begun = true;
        std::mem::take(&mut self.indent) + word
    }
}

/// Holds white space back until a word follows it.
#[derive(Debug, Default)]
pub(super) struct Tail {
    space: String,
}

impl Tail {
    pub(super) fn push(&mut self, text: &str) -> String {
        let kept = text.trim_end();
        let space = text.get(kept.len()..).unwrap_or_default();
        if kept.is_empty() {
            self.space.push_str(space);
            return String::new();
        }
        std::mem::replace(&mut self.space, space.to_owned()) + kept
    }
}

/// Looks for stop texts. The first one to be complete ends the text, the longest of several that end there.
#[derive(Debug)]
pub(super) struct Stops {
    stops: Vec<String>,
    pending: String,
}

impl Stops {
    pub(super) fn new(stops: &[String]) -> Self {
        Self {
            stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(),
            pending: String::new(),
        }
    }

    /// Text before a stop text, and whether one came.
    pub(super) fn push(&mut self, text: &str) -> (String, bool) {
        self.pending.push_str(text);
        let ends = self.stops.iter().filter_map(|stop| {
            let start = self.pending.find(stop.as_str())?;
            Some((start + stop.len(), start))
        });
        if let Some((_, start)) = ends.min() {
            self.pending.truncate(start);
            return (std::mem::take(&mut self.pending), true);
        }
        let held = self
            .stops
            .iter()
            .map(|stop| overlap(&self.pending, stop))
            .max()
            .unwrap_or(0);
        let rest = self.pending.split_off(self.pending.len() - held);
        (std::mem::replace(&mut self.pending, rest), false)
    }

    /// What was held back: no stop text came of it.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.pending)
    }
}
