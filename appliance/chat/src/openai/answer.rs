//! Events to one body or to server-sent events.
//!
//! A stream is: a chunk with the role; chunks with reasoning, text and calls; an empty chunk with the reason for
//! the end; a chunk with token counts when asked for; `[DONE]`. Every chunk carries the same id, time and model.
//! Events have no name and no id: both make clients of this family stumble.

use serde::Serialize;

use crate::error::ErrorBody;
use crate::event::{Event, FinishReason, TokenLogprob, Usage};

/// What every body and chunk of one answer carries. The caller chooses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// `chatcmpl-…`, unique. Ids of tool calls are derived from it.
    pub id: String,
    /// Unix seconds.
    pub created: u64,
    /// Name of the model that answers.
    pub model: String,
    /// Changes when the software or the weights change.
    pub system_fingerprint: String,
}

impl Stamp {
    fn call_id(&self, index: u32) -> String {
        let id = self.id.strip_prefix("chatcmpl-").unwrap_or(&self.id);
        format!("call_{id}_{index}")
    }
}

/// Writes server-sent events. Each method returns whole events, ready to be sent and flushed.
#[derive(Debug, Clone)]
pub struct StreamWriter {
    stamp: Stamp,
    include_usage: bool,
}

impl StreamWriter {
    /// A writer for one stream.
    pub fn new(stamp: Stamp, include_usage: bool) -> Self {
        Self { stamp, include_usage }
    }

    /// The first event: the role.
    pub fn start(&self) -> String {
        self.chunk(
            Delta {
                role: Some("assistant"),
                ..Delta::default()
            },
            None,
            None,
            None,
        )
    }

    /// One event per piece of the answer.
    pub fn piece(&self, event: &Event) -> String {
        let mut logprobs = None;
        let delta = match event {
            Event::Content(text) => Delta {
                content: Some(text),
                ..Delta::default()
            },
            Event::Reasoning(text) => Delta {
                reasoning_content: Some(text),
                ..Delta::default()
            },
            Event::ToolCallStart { index, name } => {
                let function = FunctionDelta {
                    name: Some(name),
                    arguments: "",
                };
                let (id, kind) = (Some(self.stamp.call_id(*index)), Some("function"));
                Delta {
                    tool_calls: Some([CallDelta {
                        index: *index,
                        id,
                        kind,
                        function,
                    }]),
                    ..Delta::default()
                }
            }
            Event::ToolCallArguments { index, fragment } => {
                let function = FunctionDelta {
                    name: None,
                    arguments: fragment,
                };
                let call = CallDelta {
                    index: *index,
                    id: None,
                    kind: None,
                    function,
                };
                Delta {
                    tool_calls: Some([call]),
                    ..Delta::default()
                }
            }
            Event::Logprob(token) => {
                logprobs = Some(Logprobs {
                    content: vec![TokenEntry::of(token)],
                    refusal: (),
                });
                Delta {
                    content: Some(""),
                    ..Delta::default()
                }
            }
        };
        self.chunk(delta, logprobs, None, None)
    }

    /// The event that ends the choice; `produce_id` leads to the answer's leaf in the audit log.
    pub fn finish(&self, reason: FinishReason, produce_id: Option<&str>) -> String {
        self.chunk(Delta::default(), None, Some(reason), produce_id)
    }

    /// Token counts, an event of their own; empty when the client did not ask.
    pub fn usage(&self, usage: Usage) -> String {
        if !self.include_usage {
            return String::new();
        }
        self.event(&Chunk {
            choices: &[],
            usage: Some(Some(UsageObject::of(usage))),
            ..self.empty_chunk()
        })
    }

    /// The last event.
    pub const fn done(&self) -> &'static str {
        "data: [DONE]\n\n"
    }

    /// A comment that keeps the connection alive while nothing else comes.
    pub const fn keep_alive() -> &'static str {
        ": keep-alive\n\n"
    }

    /// An error after the first event. The stream is closed after it.
    pub fn error(body: &ErrorBody) -> String {
        format!("data: {}\n\n", body.to_json())
    }

    fn chunk(
        &self,
        delta: Delta<'_>,
        logprobs: Option<Logprobs>,
        finish: Option<FinishReason>,
        produce_id: Option<&str>,
    ) -> String {
        let choice = ChunkChoice {
            index: 0,
            delta,
            logprobs,
            finish_reason: finish.map(FinishReason::as_str),
        };
        self.event(&Chunk {
            choices: &[choice],
            produce_id,
            ..self.empty_chunk()
        })
    }

    fn empty_chunk(&self) -> Chunk<'_> {
        Chunk {
            id: &self.stamp.id,
            object: "chat.completion.chunk",
            created: self.stamp.created,
            model: &self.stamp.model,
            system_fingerprint: &self.stamp.system_fingerprint,
            choices: &[],
            usage: self.include_usage.then_some(None),
            produce_id: None,
        }
    }

    fn event(&self, chunk: &Chunk<'_>) -> String {
        format!("data: {}\n\n", to_json(chunk))
    }
}

/// A whole answer, gathered from its events.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    content: String,
    reasoning: String,
    calls: Vec<(String, String)>,
    logprobs: Vec<TokenLogprob>,
}

impl Answer {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a piece.
    pub fn add(&mut self, event: Event) {
        match event {
            Event::Content(text) => self.content.push_str(&text),
            Event::Reasoning(text) => self.reasoning.push_str(&text),
            Event::ToolCallStart { name, .. } => self.calls.push((name, String::new())),
            Event::ToolCallArguments { fragment, .. } => {
                if let Some((_, arguments)) = self.calls.last_mut() {
                    arguments.push_str(&fragment);
                }
            }
            Event::Logprob(token) => self.logprobs.push(token),
        }
    }

    /// The answer's text.
    pub fn content(&self) -> &str {
        &self.content
    }

    /// The reasoning.
    pub fn reasoning(&self) -> &str {
        &self.reasoning
    }

    /// Calls: name of the function and JSON text of its arguments.
    pub fn tool_calls(&self) -> impl Iterator<Item = (&str, &str)> {
        self.calls
            .iter()
            .map(|(name, arguments)| (name.as_str(), arguments.as_str()))
    }

    /// The body of the interface. `with_logprobs` is whether the client asked for them.
    pub fn to_body(
        &self,
        stamp: &Stamp,
        reason: FinishReason,
        usage: Usage,
        with_logprobs: bool,
        produce_id: Option<&str>,
    ) -> String {
        let calls: Vec<Call<'_>> = self
            .calls
            .iter()
            .zip(0..)
            .map(|(call, index)| Call::of(stamp, index, call))
            .collect();
        let message = Message {
            role: "assistant",
            content: (!self.content.is_empty() || calls.is_empty()).then_some(&self.content),
            refusal: (),
            reasoning_content: (!self.reasoning.is_empty()).then_some(&self.reasoning),
            tool_calls: (!calls.is_empty()).then_some(calls),
        };
        let content = self.logprobs.iter().map(TokenEntry::of).collect();
        let logprobs = with_logprobs.then_some(Logprobs { content, refusal: () });
        to_json(&Body {
            id: &stamp.id,
            object: "chat.completion",
            created: stamp.created,
            model: &stamp.model,
            system_fingerprint: &stamp.system_fingerprint,
            choices: [Choice {
                index: 0,
                message,
                logprobs,
                finish_reason: reason.as_str(),
            }],
            usage: UsageObject::of(usage),
            produce_id,
        })
    }
}

/// These types hold strings, numbers and lists: writing them cannot fail.
fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'a str,
    choices: &'a [ChunkChoice<'a>],
    /// Absent unless asked for; then null in every chunk but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<UsageObject>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    produce_id: Option<&'a str>,
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: u32,
    delta: Delta<'a>,
    logprobs: Option<Logprobs>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize, Default)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[CallDelta<'a>; 1]>,
}

#[derive(Serialize)]
struct CallDelta<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    function: FunctionDelta<'a>,
}

#[derive(Serialize)]
struct FunctionDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'a str,
    choices: [Choice<'a>; 1],
    usage: UsageObject,
    #[serde(skip_serializing_if = "Option::is_none")]
    produce_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    message: Message<'a>,
    logprobs: Option<Logprobs>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Option<&'a String>,
    refusal: (),
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<Vec<Call<'a>>>,
}

#[derive(Serialize)]
struct Call<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

impl<'a> Call<'a> {
    fn of(stamp: &Stamp, index: u32, (name, arguments): &'a (String, String)) -> Self {
        Self {
            id: stamp.call_id(index),
            kind: "function",
            function: Function { name, arguments },
        }
    }
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: &'a str,
}

#[derive(Serialize)]
struct Logprobs {
    content: Vec<TokenEntry>,
    refusal: (),
}

#[derive(Serialize)]
struct TokenEntry {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
    top_logprobs: Vec<LikelyToken>,
}

impl TokenEntry {
    fn of(token: &TokenLogprob) -> Self {
        Self {
            token: String::from_utf8_lossy(&token.bytes).into_owned(),
            logprob: finite(token.logprob),
            bytes: token.bytes.clone(),
            top_logprobs: token.top.iter().map(LikelyToken::of).collect(),
        }
    }
}

#[derive(Serialize)]
struct LikelyToken {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

impl LikelyToken {
    fn of((bytes, logprob): &(Vec<u8>, f32)) -> Self {
        Self {
            token: String::from_utf8_lossy(bytes).into_owned(),
            logprob: finite(*logprob),
            bytes: bytes.clone(),
        }
    }
}

/// JSON knows no infinity; the interface uses this number for "as good as impossible".
fn finite(logprob: f32) -> f32 {
    const IMPOSSIBLE: f32 = -9999.0;
    if logprob.is_finite() { logprob } else { IMPOSSIBLE }
}

#[derive(Serialize)]
struct UsageObject {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Serialize)]
struct PromptDetails {
    cached_tokens: u64,
}

#[derive(Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
}

impl UsageObject {
    fn of(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.prompt_tokens.saturating_add(usage.completion_tokens),
            prompt_tokens_details: PromptDetails {
                cached_tokens: usage.cached_tokens,
            },
            completion_tokens_details: CompletionDetails {
                reasoning_tokens: usage.reasoning_tokens,
            },
        }
    }
}

#[cfg(test)]
mod tests;
