//! The GLM output dialect: bytes of the model's tokens to events, the same whichever way the stream is cut.
//!
//! ```text
//! <think>reasoning</think>
//! answer<tool_call>name
//! <arg_key>key</arg_key>
//! <arg_value>value</arg_value>
//! </tool_call>
//! ```
//!
//! GLM-4.5 and 4.6 write the newlines inside a call, GLM-4.7 does not. The prompt may already have opened or closed
//! the thinking ([`Opening`]). String arguments are bare text and others JSON; the tool's schema says which.
//!
//! Faults it must survive, losing no text: bytes that are no UTF-8, tags cut off or out of order. Markup that makes
//! no call comes out as the answer's text. White space round the reasoning and the answer belongs to the dialect and
//! is dropped, except spaces before the first word, which may be an indent.

mod arguments;
mod bare;
pub mod constraint;
mod text;

use crate::conversation::{Conversation, ResponseFormat, ToolChoice};
use crate::event::{Event, FinishReason};
use crate::json::Json;
use crate::openai::NAME_BYTES_MAX;
use crate::template::Opening;

use arguments::{ValueKind, escape_into, kind_of, string_into};
use text::{Lead, Stops, Tail, Utf8, split_at_tag};

/// Longest name of an argument, in bytes; markup with a longer one is no call.
pub const KEY_BYTES_MAX: usize = 1_024;
/// Longest text between `<tool_call>` and what follows the name: the name and white space round it.
pub const CALL_HEAD_BYTES_MAX: usize = NAME_BYTES_MAX + 64;
/// Most calls in one answer; markup of further ones comes out as text.
pub const CALL_COUNT_MAX: u32 = 128;
/// Longest white space before an answer that is waited through for a `<think>`.
const INDENT_BYTES_MAX: usize = 256;

pub(crate) const THINK: &str = "<think>";
pub(crate) const END_THINK: &str = "</think>";
const CALL: &str = "<tool_call>";
const END_CALL: &str = "</tool_call>";
const KEY: &str = "<arg_key>";
const END_KEY: &str = "</arg_key>";
const VALUE: &str = "<arg_value>";
const END_VALUE: &str = "</arg_value>";

/// What part of the answer a token belongs to, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Reasoning and its tags.
    Reasoning,
    /// The answer's text.
    Content,
    /// A call.
    ToolCall,
}

/// What one token led to.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// Often empty: what may turn out to be a tag, a stop text or trailing white space is held back.
    pub events: Vec<Event>,
    /// Part of the answer that the token belongs to.
    pub channel: Channel,
}

/// Parser of one answer.
#[derive(Debug)]
pub struct Parser {
    /// Name and schema of each tool; empty when calls are not looked for.
    tools: Vec<(String, Option<Json>)>,
    parallel_tool_calls: bool,
    /// Whether the engine holds the answer to its form, so that JSON in it is well formed.
    is_held: bool,
    /// Whether calls may only stand where text of the answer has not begun.
    calls_come_first: bool,
    /// Whether an answer without `<think>` begins as reasoning.
    begins_thinking: bool,
    utf8: Utf8,
    /// Text not yet taken; short, since states take all but the beginning of a possible tag.
    buffer: String,
    state: State,
    reasoning: (Lead, Tail),
    content: (Lead, Stops, Tail),
    call_count: u32,
    /// Place in `tools` of the function that the present call names.
    called: Option<usize>,
    argument_count: u32,
    is_stopped: bool,
    met_stop_text: bool,
}

#[derive(Debug)]
enum State {
    /// Before anything but white space.
    Start,
    Reasoning,
    Content,
    /// After `<tool_call>`; the call is announced when its name is complete.
    Head {
        name: String,
    },
    /// In an announced call, between arguments.
    Body {
        gap: Gap,
    },
    /// After `<arg_key>`.
    Key {
        key: String,
    },
    /// After `</arg_key>`.
    AfterKey {
        key: String,
        gap: String,
    },
    /// After `<arg_value>` of a string.
    Text,
    /// After `<arg_value>` of another type.
    Other {
        kind: ValueKind,
        text: String,
    },
}

/// Text between arguments, where only white space belongs.
#[derive(Debug)]
enum Gap {
    Space(String),
    Stray,
}

impl Parser {
    /// A parser for the answer to a conversation whose prompt ended as `opening` says.
    ///
    /// Calls are looked for only if tools were offered and may be called: otherwise the markup is text, for example
    /// in an answer that explains it.
    pub fn new(conversation: &Conversation, opening: Opening) -> Self {
        let tools = match conversation.tool_choice {
            ToolChoice::None => Vec::new(),
            _ => conversation
                .tools
                .iter()
                .map(|tool| (tool.name.clone(), tool.parameters.clone()))
                .collect(),
        };
        Self {
            tools,
            parallel_tool_calls: conversation.parallel_tool_calls,
            is_held: constraint::is_held(conversation),
            calls_come_first: conversation.response_format != ResponseFormat::Text,
            begins_thinking: opening == Opening::Thinking,
            utf8: Utf8::default(),
            buffer: String::new(),
            state: State::Start,
            reasoning: (Lead::default(), Tail::default()),
            content: (Lead::default(), Stops::new(&conversation.stop), Tail::default()),
            call_count: 0,
            called: None,
            argument_count: 0,
            is_stopped: false,
            met_stop_text: false,
        }
    }

    /// Takes the bytes of one token, or of any piece of the stream.
    pub fn push(&mut self, bytes: &[u8]) -> Piece {
        let before = self.channel();
        let mut events = Vec::new();
        if !self.is_stopped {
            self.utf8.push(bytes, &mut self.buffer);
            self.advance(false, &mut events);
        }
        let after = self.channel();
        let channel = if before == Channel::Content { after } else { before };
        Piece { events, channel }
    }

    /// The stream ended: gives what was held back, and completes the JSON of a call that was cut off.
    pub fn finish(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        if !self.is_stopped {
            self.utf8.finish(&mut self.buffer);
            self.advance(true, &mut events);
            self.is_stopped = true;
        }
        events
    }

    /// Whether the answer is complete although the model goes on: a stop text came, or the one allowed call. The
    /// stream can be cancelled; further bytes are dropped.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Why the answer ended. `was_cut` is whether the engine stopped for want of tokens.
    pub fn finish_reason(&self, was_cut: bool) -> FinishReason {
        match (self.met_stop_text, self.call_count) {
            (true, _) => FinishReason::Stop,
            _ if was_cut => FinishReason::Length,
            (false, 0) => FinishReason::Stop,
            (false, _) => FinishReason::ToolCalls,
        }
    }

    /// Number of calls so far.
    pub fn tool_call_count(&self) -> u32 {
        self.call_count
    }

    fn channel(&self) -> Channel {
        match self.state {
            State::Start if self.begins_thinking => Channel::Reasoning,
            State::Start | State::Content => Channel::Content,
            State::Reasoning => Channel::Reasoning,
            _ => Channel::ToolCall,
        }
    }

    /// Takes steps until the buffer holds nothing that can be decided, or at the end nothing at all.
    fn advance(&mut self, is_last: bool, events: &mut Vec<Event>) {
        while !self.is_stopped && self.step(is_last, events) {}
        if is_last {
            self.flush(events);
        }
    }

    /// One step. Whether another one may follow: something was decided.
    fn step(&mut self, is_last: bool, events: &mut Vec<Event>) -> bool {
        match std::mem::replace(&mut self.state, State::Content) {
            State::Start => self.step_start(is_last),
            State::Reasoning => self.step_reasoning(is_last, events),
            State::Content => self.step_content(is_last, events),
            State::Head { name } => self.step_head(name, is_last, events),
            State::Body { gap } => self.step_body(gap, is_last, events),
            State::Key { key } => self.step_key(key, is_last, events),
            State::AfterKey { key, gap } => self.step_after_key(key, gap, is_last, events),
            State::Text => self.step_text(is_last, events),
            State::Other { kind, text } => self.step_other(kind, text, is_last, events),
        }
    }

    fn step_start(&mut self, is_last: bool) -> bool {
        let text = self.buffer.trim_start();
        let space = self.buffer.strip_suffix(text).unwrap_or_default();
        let lines_len = space.rfind('\n').map_or(0, |newline| newline + 1);
        if space.len() - lines_len > INDENT_BYTES_MAX {
            self.state = if self.begins_thinking {
                State::Reasoning
            } else {
                State::Content
            };
            return true;
        }
        if let Some(rest) = text.strip_prefix(THINK) {
            self.buffer = rest.to_owned();
            self.state = State::Reasoning;
            return true;
        }
        if THINK.starts_with(text) && !is_last {
            // A newline ends what could be an indent: nothing before it will be needed.
            self.buffer.drain(..lines_len);
            self.state = State::Start;
            return false;
        }
        self.state = if self.begins_thinking {
            State::Reasoning
        } else {
            State::Content
        };
        true
    }

    fn step_reasoning(&mut self, is_last: bool, events: &mut Vec<Event>) -> bool {
        let (text, tag) = split_at_tag(&mut self.buffer, &[END_THINK], is_last);
        let text = self.reasoning.1.push(&self.reasoning.0.push(&text));
        push_reasoning(events, text);
        self.state = if tag.is_some() {
            State::Content
        } else {
            State::Reasoning
        };
        tag.is_some()
    }

    fn step_content(&mut self, is_last: bool, events: &mut Vec<Event>) -> bool {
        let is_looking = !self.tools.is_empty() && self.call_count < CALL_COUNT_MAX && self.may_call_here();
        let tags: &[&str] = if is_looking { &[CALL] } else { &[] };
        let (text, tag) = split_at_tag(&mut self.buffer, tags, is_last);
        self.say(&text, events);
        if tag.is_none() || self.is_stopped {
            return false;
        }
        // A stop text does not reach across a call.
        let held = self.content.1.finish();
        push_content(events, self.content.2.push(&held));
        self.state = State::Head { name: String::new() };
        true
    }

    /// Whether a call may stand at the beginning of the buffer: beside text of a given form, only before any of it.
    fn may_call_here(&self) -> bool {
        let word = self.buffer.trim_start();
        let may_be_a_call = CALL.starts_with(word) || word.starts_with(CALL);
        !self.calls_come_first || (!self.content.0.has_begun() && may_be_a_call)
    }

    fn step_head(&mut self, mut name: String, is_last: bool, events: &mut Vec<Event>) -> bool {
        let (text, tag) = split_at_tag(&mut self.buffer, &[KEY, END_CALL, CALL], is_last);
        name.push_str(&text);
        let word = name.trim();
        let is_word = word
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
        let is_sound = is_word && word.len() <= NAME_BYTES_MAX && name.len() <= CALL_HEAD_BYTES_MAX;
        match tag {
            None if is_sound && !is_last => {
                self.state = State::Head { name };
                false
            }
            Some(tag) if is_sound && !word.is_empty() && tag != CALL => {
                self.called = self.tools.iter().position(|(name, _)| name == word);
                events.push(Event::ToolCallStart {
                    index: self.call_count,
                    name: word.to_owned(),
                });
                self.call_count += 1;
                self.argument_count = 0;
                self.push_arguments(events, "{".to_owned());
                self.enter(tag, events);
                true
            }
            tag => {
                // No call after all: its first tag is text, and the rest is read again as text.
                self.buffer.insert_str(0, &(name + tag.unwrap_or_default()));
                self.say(CALL, events);
                true
            }
        }
    }

    /// Goes on behind a tag that may stand between arguments.
    fn enter(&mut self, tag: &'static str, events: &mut Vec<Event>) {
        match tag {
            KEY => self.state = State::Key { key: String::new() },
            _ => {
                self.push_arguments(events, "}".to_owned());
                self.state = State::Content;
                if !self.parallel_tool_calls {
                    self.is_stopped = true;
                } else if tag == CALL {
                    self.buffer.insert_str(0, CALL);
                }
            }
        }
    }

    fn step_body(&mut self, gap: Gap, is_last: bool, events: &mut Vec<Event>) -> bool {
        let (text, tag) = split_at_tag(&mut self.buffer, &[KEY, END_CALL, CALL], is_last);
        let gap = match gap {
            Gap::Stray => {
                self.say_inside_call(&text, events);
                Gap::Stray
            }
            Gap::Space(space) if text.trim_start().is_empty() => Gap::Space(space + &text),
            Gap::Space(space) => {
                self.say_inside_call(&(space + &text), events);
                Gap::Stray
            }
        };
        match tag {
            Some(tag) => self.enter(tag, events),
            None => self.state = State::Body { gap },
        }
        tag.is_some()
    }

    fn step_key(&mut self, mut key: String, is_last: bool, events: &mut Vec<Event>) -> bool {
        let (text, tag) = split_at_tag(&mut self.buffer, &[END_KEY, END_CALL], is_last);
        key.push_str(&text);
        let is_sound = key.len() <= KEY_BYTES_MAX;
        match tag {
            None if is_sound && !is_last => {
                self.state = State::Key { key };
                false
            }
            Some(END_KEY) if is_sound => {
                self.state = State::AfterKey {
                    key,
                    gap: String::new(),
                };
                true
            }
            tag => self.reject_key(KEY, key + tag.unwrap_or_default(), events),
        }
    }

    fn step_after_key(
        &mut self,
        key: String,
        mut gap: String,
        is_last: bool,
        events: &mut Vec<Event>,
    ) -> bool {
        let (text, tag) = split_at_tag(&mut self.buffer, &[VALUE, KEY, END_CALL, CALL], is_last);
        gap.push_str(&text);
        let is_sound = gap.trim_start().is_empty() && gap.len() <= KEY_BYTES_MAX;
        match tag {
            None if is_sound && !is_last => {
                self.state = State::AfterKey { key, gap };
                false
            }
            Some(VALUE) if is_sound => {
                self.begin_value(&key, events);
                true
            }
            tag => {
                let lost = format!("{KEY}{key}{END_KEY}");
                self.reject_key(&lost, gap + tag.unwrap_or_default(), events)
            }
        }
    }

    /// A key that leads to no value: it becomes text, and what follows it is read again between arguments.
    fn reject_key(&mut self, lost: &str, again: String, events: &mut Vec<Event>) -> bool {
        self.buffer.insert_str(0, &again);
        self.say_inside_call(lost, events);
        self.state = State::Body { gap: Gap::Stray };
        true
    }

    fn begin_value(&mut self, key: &str, events: &mut Vec<Event>) {
        let mut json = String::new();
        if self.argument_count > 0 {
            json.push(',');
        }
        self.argument_count = self.argument_count.saturating_add(1);
        string_into(&mut json, key);
        json.push(':');
        let tool = self.called.and_then(|place| self.tools.get(place));
        let kind = kind_of(tool.and_then(|(_, parameters)| parameters.as_ref()), key);
        self.state = if kind == ValueKind::Text {
            json.push('"');
            State::Text
        } else {
            State::Other {
                kind,
                text: String::new(),
            }
        };
        self.push_arguments(events, json);
    }

    fn step_text(&mut self, is_last: bool, events: &mut Vec<Event>) -> bool {
        let (text, tag) = split_at_tag(&mut self.buffer, &[END_VALUE], is_last);
        let mut json = String::new();
        escape_into(&mut json, &text);
        if tag.is_some() {
            json.push('"');
            self.state = State::Body {
                gap: Gap::Space(String::new()),
            };
        } else {
            self.state = State::Text;
        }
        self.push_arguments(events, json);
        tag.is_some()
    }

    fn step_other(
        &mut self,
        kind: ValueKind,
        mut text: String,
        is_last: bool,
        events: &mut Vec<Event>,
    ) -> bool {
        let (more, tag) = split_at_tag(&mut self.buffer, &[END_VALUE], is_last);
        text.push_str(&more);
        if tag.is_some() && self.is_held && ends_in_a_string(&text) {
            // The name of the tag as part of a JSON text that is known to be whole.
            text.push_str(END_VALUE);
            self.state = State::Other { kind, text };
        } else if tag.is_some() {
            self.push_arguments(events, kind.to_json(&text));
            self.state = State::Body {
                gap: Gap::Space(String::new()),
            };
        } else {
            self.state = State::Other { kind, text };
        }
        tag.is_some()
    }

    /// The end: what is held back in each state, and the closing of open JSON.
    fn flush(&mut self, events: &mut Vec<Event>) {
        match std::mem::replace(&mut self.state, State::Content) {
            State::Text => self.push_arguments(events, "\"}".to_owned()),
            State::Other { kind, text } => self.push_arguments(events, kind.to_json(&text) + "}"),
            State::Body { .. } => self.push_arguments(events, "}".to_owned()),
            // The other states of a call turn into text or into `Body` at the last step.
            _ => {}
        }
        let held = self.content.1.finish();
        push_content(events, self.content.2.push(&held));
    }

    /// Text of the answer: its leading newlines go, stop texts end it, trailing white space waits.
    fn say(&mut self, text: &str, events: &mut Vec<Event>) {
        let text = self.content.0.push(text);
        let (text, is_end) = self.content.1.push(&text);
        push_content(events, self.content.2.push(&text));
        if is_end {
            self.is_stopped = true;
            self.met_stop_text = true;
        }
    }

    /// Text that stands where it should not. Stop texts are not looked for: the call is finished first.
    fn say_inside_call(&mut self, text: &str, events: &mut Vec<Event>) {
        let text = self.content.0.push(text);
        push_content(events, self.content.2.push(&text));
    }

    fn push_arguments(&self, events: &mut Vec<Event>, more: String) {
        let this = self.call_count.saturating_sub(1);
        match events.last_mut() {
            _ if more.is_empty() => {}
            Some(Event::ToolCallArguments { index, fragment }) if *index == this => fragment.push_str(&more),
            _ => events.push(Event::ToolCallArguments {
                index: this,
                fragment: more,
            }),
        }
    }
}

/// Whether a JSON string is open at the end of a text, if it is JSON: text that begins otherwise holds no strings.
fn ends_in_a_string(text: &str) -> bool {
    if !text.trim_start().starts_with(['"', '[', '{']) {
        return false;
    }
    let (mut is_open, mut is_escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_open => is_escaped = true,
            b'"' => is_open = !is_open,
            _ => {}
        }
    }
    is_open
}

fn push_content(events: &mut Vec<Event>, more: String) {
    match events.last_mut() {
        _ if more.is_empty() => {}
        Some(Event::Content(text)) => text.push_str(&more),
        _ => events.push(Event::Content(more)),
    }
}

fn push_reasoning(events: &mut Vec<Event>, more: String) {
    match events.last_mut() {
        _ if more.is_empty() => {}
        Some(Event::Reasoning(text)) => text.push_str(&more),
        _ => events.push(Event::Reasoning(more)),
    }
}
