//! The model's chat template: a [`Conversation`] to a [`Prompt`].
//!
//! Templates come inside signed model files and are still not trusted: they run without a way to the host, and with
//! bounds on size, work and nesting. What they render must be what `transformers` renders, byte for byte, since the
//! model was trained on that.
//!
//! A prompt keeps apart what may be special tokens and what may not. It is cut round everything in the template's own
//! text that looks like the name of a special token. Which names are special is known to the tokenizer alone: it takes
//! them from scaffolding only, and joins all else into one text again, so that a prompt without forged names becomes
//! exactly the tokens of the whole.

use minijinja::{Environment, Error, ErrorKind, Value};

use crate::conversation::{Conversation, Message, Role, Thinking, ToolChoice};
use crate::error::{Condition, ErrorBody};
use crate::json::Json;
use crate::provenance::{Extent, StandIns};
use crate::python::{self, FUEL_BASE, FUEL_PER_BYTE_SHIFT, FUEL_PER_ITEM, Raised};

/// Longest template text.
pub const TEMPLATE_BYTES_MAX: usize = 256 * 1024;
/// Most text of a conversation. Far more than any context holds.
pub const CONVERSATION_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest prompt.
pub const PROMPT_BYTES_MAX: usize = 6 * 1024 * 1024;
/// Longest name that is taken for that of a special token.
const NAME_BYTES_MAX: usize = 64;

/// A compiled chat template.
#[derive(Debug)]
pub struct Template {
    environment: Environment<'static>,
    source: String,
}

/// A rendered prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    segments: Vec<Segment>,
    opening: Opening,
}

/// A piece of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Written by the template: names of special tokens in it are those tokens.
    Scaffold(String),
    /// Holds text of people, tools or documents, and the template's plain text round it: names of special tokens in
    /// it are plain text.
    Text(String),
}

/// How a prompt leaves the model's thinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// The answer may begin with `<think>`.
    Undecided,
    /// The prompt ends in `<think>`: the answer begins inside the reasoning.
    Thinking,
    /// The prompt ends in `</think>`: there is no reasoning.
    Closed,
}

/// Why a template is not taken or a prompt not made. The first two are faults of the model package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is no template.
    #[error("the chat template is malformed in line {line}: {reason}")]
    Malformed {
        /// Line, from 1; 0 when unknown.
        line: usize,
        /// What the engine says.
        reason: String,
    },
    /// The template is longer than [`TEMPLATE_BYTES_MAX`], the conversation than [`CONVERSATION_BYTES_MAX`], or the
    /// prompt than [`PROMPT_BYTES_MAX`].
    #[error("{what} has more than {maximum} bytes")]
    TooLarge {
        /// `the chat template`, `the conversation` or `the prompt`.
        what: &'static str,
        /// Limit.
        maximum: usize,
    },
    /// The bound on work or nesting was reached.
    #[error("the chat template needs too much work for this conversation")]
    Exhausted,
    /// The template itself refuses the conversation.
    #[error("the model's chat template refuses the conversation: {message}")]
    Refused {
        /// What the template says.
        message: String,
    },
    /// The template failed.
    #[error("the chat template failed in line {line}: {reason}")]
    Failed {
        /// Line, from 1; 0 when unknown.
        line: usize,
        /// What the engine says.
        reason: String,
    },
    /// Text holds markup on which the template acts, so that it cannot be told what is text and what is template.
    #[error(
        "a message holds markup of the model's own format in a place where the template acts on it; take the markup out"
    )]
    Entangled,
    /// Text holds so many private-use characters that none is left to mark it.
    #[error("the conversation uses nearly all private-use characters of Unicode; take them out")]
    Crowded,
}

impl TemplateError {
    /// Never changes once released.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "chat.template.malformed",
            Self::TooLarge { .. } => "chat.template.too-large",
            Self::Exhausted => "chat.template.exhausted",
            Self::Refused { .. } => "chat.template.refused",
            Self::Failed { .. } => "chat.template.failed",
            Self::Entangled => "chat.template.entangled",
            Self::Crowded => "chat.template.crowded",
        }
    }

    /// What kind of error this is for a client whose conversation was to be rendered.
    pub const fn condition(&self) -> Condition {
        match self {
            Self::Malformed { .. } | Self::Failed { .. } => Condition::ServerError,
            Self::TooLarge { .. } | Self::Exhausted => Condition::ContextLengthExceeded,
            Self::Refused { .. } | Self::Entangled | Self::Crowded => Condition::InvalidValue,
        }
    }

    /// Values for the placeholders of the messages in `messages/catalogue/chat.json`.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Malformed { line, reason } | Self::Failed { line, reason } => {
                vec![("line", line.to_string()), ("reason", reason.clone())]
            }
            Self::TooLarge { maximum, .. } => vec![("maximum", maximum.to_string())],
            Self::Refused { message } => vec![("reason", message.clone())],
            Self::Exhausted | Self::Entangled | Self::Crowded => Vec::new(),
        }
    }

    /// The error object for the client.
    pub fn to_body(&self) -> ErrorBody {
        let param = (self.condition() != Condition::ServerError).then(|| "messages".to_owned());
        ErrorBody {
            condition: self.condition(),
            message: format!("{self}."),
            param,
        }
    }
}

impl Prompt {
    /// The pieces in order. None is empty.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The pieces in order.
    pub fn into_segments(self) -> Vec<Segment> {
        self.segments
    }

    /// How the model's thinking is left.
    pub fn opening(&self) -> Opening {
        self.opening
    }

    /// The whole prompt: what the template renders.
    pub fn text(&self) -> String {
        self.segments.iter().map(Segment::text).collect()
    }
}

impl Segment {
    /// Its text.
    pub fn text(&self) -> &str {
        match self {
            Self::Scaffold(text) | Self::Text(text) => text,
        }
    }
}

impl Template {
    /// Compiles a template and lets it render one word, so that one that never ends is found out here.
    pub fn compile(source: &str) -> Result<Self, TemplateError> {
        on_deep_stack(|| Self::compile_here(source))
    }

    /// Renders the prompt that asks for the next answer. Blocks for as long as that takes: mostly below a
    /// millisecond, and bounded by the template's work.
    pub fn render(&self, conversation: &Conversation) -> Result<Prompt, TemplateError> {
        on_deep_stack(|| self.render_here(conversation))
    }

    fn compile_here(source: &str) -> Result<Self, TemplateError> {
        bounded("the chat template", source.len(), TEMPLATE_BYTES_MAX)?;
        let malformed = |error: Error| TemplateError::Malformed {
            line: error.line().unwrap_or(0),
            reason: reason_of(&error),
        };
        let mut environment = python::environment().map_err(malformed)?;
        environment.set_fuel(Some(FUEL_BASE));
        environment
            .add_template_owned(TEMPLATE_NAME, source.to_owned())
            .map_err(malformed)?;
        let template = Self {
            environment,
            source: source.to_owned(),
        };
        match render_value(&template.environment, probe()) {
            Err(TemplateError::Exhausted) => Err(TemplateError::Exhausted),
            // Templates may refuse or fail for a conversation of one word.
            _ => Ok(template),
        }
    }

    fn render_here(&self, conversation: &Conversation) -> Result<Prompt, TemplateError> {
        let texts = texts_of(conversation);
        let bytes = texts.iter().map(|text| text.len()).sum::<usize>();
        bounded("the conversation", bytes, CONVERSATION_BYTES_MAX)?;
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel_for(conversation, bytes)));
        let render = |variables| render_value(&environment, variables);
        let plain = render(variables(conversation, &str::to_owned))?;
        let stand_ins = StandIns::assign(texts.into_iter().chain([self.source.as_str()]));
        let stand_ins = stand_ins.ok_or(TemplateError::Crowded)?;
        let apart = think_apart(conversation);
        let attempts = [
            (conversation, Extent::Visible),
            (&apart, Extent::Visible),
            (&apart, Extent::Marks),
        ];
        for (conversation, extent) in attempts {
            let replace = |text: &str| stand_ins.replace(text, extent);
            // With stand-ins a template may fail where it did not before, for example by asking for a word.
            let Ok(marked) = render(variables(conversation, &replace)) else {
                continue;
            };
            if stand_ins.restore(&marked) == plain {
                return Ok(segment(&marked, &stand_ins, extent));
            }
        }
        Err(TemplateError::Entangled)
    }
}

fn render_value(environment: &Environment<'_>, variables: Value) -> Result<String, TemplateError> {
    let template = environment.get_template(TEMPLATE_NAME).map_err(error_of)?;
    let prompt = template.render(variables).map_err(error_of)?;
    bounded("the prompt", prompt.len(), PROMPT_BYTES_MAX)?;
    Ok(prompt)
}

fn bounded(what: &'static str, bytes: usize, maximum: usize) -> Result<(), TemplateError> {
    if bytes <= maximum {
        Ok(())
    } else {
        Err(TemplateError::TooLarge { what, maximum })
    }
}

const TEMPLATE_NAME: &str = "chat";

/// Stack for the engine. A template can nest lists as deep as its work allows, and each level takes some hundred
/// bytes when such a list is dropped. Only what is used takes memory.
const STACK_BYTES: usize = 256 * 1024 * 1024;

fn on_deep_stack<T: Send>(
    work: impl FnOnce() -> Result<T, TemplateError> + Send,
) -> Result<T, TemplateError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work);
        match thread {
            Ok(thread) => thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => Err(TemplateError::Failed {
                line: 0,
                reason: "no thread to work on".to_owned(),
            }),
        }
    })
}

fn fuel_for(conversation: &Conversation, bytes: usize) -> u64 {
    let calls = conversation
        .messages
        .iter()
        .map(|message| message.tool_calls.len())
        .sum::<usize>();
    let items = conversation.messages.len() + conversation.tools.len() + calls;
    FUEL_BASE + FUEL_PER_ITEM * items as u64 + (bytes as u64 >> FUEL_PER_BYTE_SHIFT)
}

fn error_of(error: Error) -> TemplateError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(this) = cause {
        if let Some(Raised(message)) = this.downcast_ref::<Raised>() {
            return TemplateError::Refused {
                message: message.clone(),
            };
        }
        if this
            .downcast_ref::<Error>()
            .is_some_and(|error| error.kind() == ErrorKind::OutOfFuel)
        {
            return TemplateError::Exhausted;
        }
        cause = this.source();
    }
    if error
        .detail()
        .is_some_and(|detail| detail.contains("recursion limit"))
    {
        return TemplateError::Exhausted;
    }
    TemplateError::Failed {
        line: error.line().unwrap_or(0),
        reason: reason_of(&error),
    }
}

/// What the engine says without a value of the conversation: its details quote names of the template only.
fn reason_of(error: &Error) -> String {
    error.kind().to_string()
}

/// Variables of a conversation of one word.
fn probe() -> Value {
    let message = Value::from_pairs([("role", "user"), ("content", "x")]);
    Value::from_pairs([
        ("messages", Value::from(vec![message])),
        ("tools", Value::from(())),
        ("documents", Value::from(())),
        ("add_generation_prompt", Value::from(true)),
    ])
}

/// The variables that `transformers` gives to a template.
fn variables(conversation: &Conversation, text: &dyn Fn(&str) -> String) -> Value {
    let messages: Vec<Value> = conversation
        .messages
        .iter()
        .map(|one| message(one, text))
        .collect();
    let offers_tools = conversation.tool_choice != ToolChoice::None && !conversation.tools.is_empty();
    let tools = match offers_tools {
        true => conversation
            .tools
            .iter()
            .map(|tool| schema(&tool.entry, text))
            .collect(),
        false => Value::from(()),
    };
    let mut variables = vec![
        ("messages", Value::from(messages)),
        ("tools", tools),
        ("documents", Value::from(())),
        ("add_generation_prompt", Value::from(true)),
    ];
    match conversation.thinking {
        Thinking::TemplateDefault => {}
        Thinking::On => variables.push(("enable_thinking", Value::from(true))),
        Thinking::Off => variables.push(("enable_thinking", Value::from(false))),
    }
    if let Some(clear) = conversation.clear_thinking {
        variables.push(("clear_thinking", Value::from(clear)));
    }
    Value::from_pairs(variables)
}

fn message(message: &Message, text: &dyn Fn(&str) -> String) -> Value {
    let content = message
        .content
        .as_ref()
        .map_or(Value::from(()), |content| Value::from(text(content)));
    let mut fields = vec![("role", Value::from(message.role.as_str())), ("content", content)];
    if let Some(reasoning) = &message.reasoning {
        fields.push(("reasoning_content", Value::from(text(reasoning))));
    }
    if !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter().map(|call| {
            let function = Value::from_pairs([
                ("name", Value::from(text(&call.name))),
                ("arguments", value_of(&call.arguments, &|content| text(content))),
            ]);
            Value::from_pairs([
                ("id", Value::from(text(&call.id))),
                ("type", Value::from("function")),
                ("function", function),
            ])
        });
        fields.push(("tool_calls", calls.collect()));
    }
    if let Some(id) = &message.tool_call_id {
        fields.push(("tool_call_id", Value::from(text(id))));
    }
    Value::from_pairs(fields)
}

/// A tool's entry. Templates look words such as `function` and `parameters` up in it, so plain words stay: they hold
/// none of the marks that names of special tokens begin and end with.
fn schema(entry: &Json, text: &dyn Fn(&str) -> String) -> Value {
    value_of(entry, &|content| {
        if is_plain_word(content) {
            content.to_owned()
        } else {
            text(content)
        }
    })
}

fn is_plain_word(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

fn value_of(json: &Json, text: &dyn Fn(&str) -> String) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::Integer(value) => i64::try_from(*value).map_or_else(|_| Value::from(*value), Value::from),
        Json::Float(value) => Value::from(*value),
        Json::Text(value) => Value::from(text(value)),
        Json::List(items) => items.iter().map(|item| value_of(item, text)).collect(),
        Json::Object(fields) => Value::from_pairs(
            fields
                .iter()
                .map(|(key, value)| (text(key), value_of(value, text))),
        ),
    }
}

/// Every text of a conversation that people wrote.
fn texts_of(conversation: &Conversation) -> Vec<&str> {
    let mut texts = Vec::new();
    for message in &conversation.messages {
        texts.extend(message.content.as_deref());
        texts.extend(message.reasoning.as_deref());
        texts.extend(message.tool_call_id.as_deref());
        for call in &message.tool_calls {
            texts.extend([call.id.as_str(), call.name.as_str()]);
            texts_into(&mut texts, &call.arguments);
        }
    }
    for tool in &conversation.tools {
        texts_into(&mut texts, &tool.entry);
    }
    texts
}

fn texts_into<'a>(texts: &mut Vec<&'a str>, json: &'a Json) {
    match json {
        Json::Text(text) => texts.push(text),
        Json::List(items) => items.iter().for_each(|item| texts_into(texts, item)),
        Json::Object(fields) => {
            for (key, value) in fields {
                texts.push(key);
                texts_into(texts, value);
            }
        }
        _ => {}
    }
}

/// The conversation with reasoning that clients left in the text of earlier answers taken out of it, as all GLM
/// templates do: what comes before `</think>` and after `<think>` is reasoning.
fn think_apart(conversation: &Conversation) -> Conversation {
    let mut conversation = conversation.clone();
    for message in &mut conversation.messages {
        if message.role != Role::Assistant || message.reasoning.is_some() {
            continue;
        }
        let Some(content) = message.content.take() else {
            continue;
        };
        message.content = match content.split_once("</think>") {
            None => Some(content),
            Some((before, after)) => {
                let before = before.trim_end_matches('\n');
                let reasoning = before
                    .rsplit_once("<think>")
                    .map_or(before, |(_, reasoning)| reasoning);
                message.reasoning = Some(reasoning.trim_start_matches('\n').to_owned());
                let rest = after.rsplit_once("</think>").map_or(after, |(_, rest)| rest);
                Some(rest.trim_start_matches('\n').to_owned())
            }
        };
    }
    conversation
}

/// Cuts a rendering with stand-ins into segments.
fn segment(marked: &str, stand_ins: &StandIns, extent: Extent) -> Prompt {
    let mut segments = Vec::new();
    let mut opening = Opening::Undecided;
    for piece in pieces(marked) {
        match piece {
            Piece::Name(name) => {
                opening = match name {
                    "<think>" => Opening::Thinking,
                    "</think>" => Opening::Closed,
                    _ => Opening::Undecided,
                };
                push_scaffold(&mut segments, name);
            }
            Piece::Plain(plain) => {
                if !plain.trim().is_empty() {
                    opening = Opening::Undecided;
                }
                // With marks alone replaced it is not known who wrote the words.
                if stand_ins.occur_in(plain) || extent == Extent::Marks {
                    segments.push(Segment::Text(stand_ins.restore(plain)));
                } else {
                    push_scaffold(&mut segments, plain);
                }
            }
        }
    }
    Prompt { segments, opening }
}

enum Piece<'a> {
    /// What looks like the name of a special token.
    Name(&'a str),
    /// What stands between them; not empty.
    Plain(&'a str),
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((place, name_len)) = first_name(rest) {
        let (plain, from_name) = rest.split_at(place);
        let (name, after) = from_name.split_at(name_len);
        if !plain.is_empty() {
            pieces.push(Piece::Plain(plain));
        }
        pieces.push(Piece::Name(name));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Plain(rest));
    }
    pieces
}

/// Place and length of the first thing that looks like a name of a special token, as GLM vocabularies have them:
/// `<|user|>`, `</think>`, `[gMASK]`, and the one without brackets.
fn first_name(text: &str) -> Option<(usize, usize)> {
    text.match_indices(['<', '[', '/']).find_map(|(place, first)| {
        let inside = text.get(place + first.len()..)?;
        let (last, marks) = match first {
            "<" => (">", "_-|/"),
            "[" => ("]", "_-"),
            _ => return inside.starts_with("nothink").then_some((place, "/nothink".len())),
        };
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || marks.as_bytes().contains(byte);
        let len = inside.bytes().take_while(is_part).count();
        let is_name = (1..=NAME_BYTES_MAX).contains(&len) && inside.get(len..)?.starts_with(last);
        is_name.then_some((place, first.len() + len + last.len()))
    })
}

fn push_scaffold(segments: &mut Vec<Segment>, more: &str) {
    match segments.last_mut() {
        Some(Segment::Scaffold(text)) => text.push_str(more),
        _ => segments.push(Segment::Scaffold(more.to_owned())),
    }
}

#[cfg(test)]
mod tests;
