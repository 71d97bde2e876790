//! Bytes of `POST /v1/chat/completions` to a [`Conversation`] or a [`Refusal`].

use crate::conversation::{
    CacheUse, Class, Conversation, Message, ResponseFormat, Role, Sampling, StreamOptions, Thinking,
    ToolCall, ToolChoice,
};
use crate::error::Refusal;
use crate::json::Json;

use super::fields::{Fields, as_number, in_range, wrong_type};
use super::form::{response_format, tool_choice, tools};

/// Most messages of a request.
pub const MESSAGE_COUNT_MAX: usize = 4_096;
/// Most tools of a request.
pub const TOOL_COUNT_MAX: usize = 128;
/// Longest name of a function, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Most stop texts.
pub const STOP_COUNT_MAX: usize = 4;
/// Longest stop text, in bytes: a stream holds back as much before it may show it.
pub const STOP_BYTES_MAX: usize = 512;
/// Most tokens in `top_logprobs`.
pub const TOP_LOGPROBS_MAX: u8 = 20;
/// Most entries of `logit_bias`.
pub const BIAS_COUNT_MAX: usize = 1_024;

/// Reads a request.
///
/// Whether the model exists, whether the prompt fits and who asks is not looked at here.
pub fn parse(body: &[u8]) -> Result<Conversation, Refusal> {
    let body = Json::parse(body).map_err(Refusal::NotJson)?;
    let fields = Fields::of_body(&body)?;
    refuse_what_cannot_be_kept(fields)?;
    let tools = tools(fields)?;
    let conversation = Conversation {
        model: fields.needed_text("model")?.to_owned(),
        messages: messages(fields)?,
        tool_choice: tool_choice(fields, &tools)?,
        tools,
        parallel_tool_calls: fields.boolean("parallel_tool_calls")?.unwrap_or(true),
        response_format: response_format(fields)?,
        thinking: thinking(fields)?,
        clear_thinking: clear_thinking(fields)?,
        sampling: sampling(fields)?,
        completion_tokens_max: completion_tokens_max(fields)?,
        stop: stop(fields)?,
        logprobs: logprobs(fields)?,
        stream: stream(fields)?,
        cache: cache(fields)?,
        class: class(fields)?,
        is_strict: fields.boolean("strict_reproducible")?.unwrap_or(false),
    };
    refuse_forms_that_clash(&conversation)?;
    Ok(conversation)
}

/// One answer cannot be both of a grammar of the client's own and a call in the model's.
fn refuse_forms_that_clash(conversation: &Conversation) -> Result<(), Refusal> {
    let may_call = conversation.tool_choice != ToolChoice::None && !conversation.tools.is_empty();
    let is_own = matches!(
        conversation.response_format,
        ResponseFormat::Regex(_) | ResponseFormat::Lark(_)
    );
    if may_call && is_own {
        Err(Refusal::ResponseFormat {
            param: "response_format.type".to_owned(),
        })
    } else {
        Ok(())
    }
}

/// Promises that would be broken silently if the field were ignored.
fn refuse_what_cannot_be_kept(fields: Fields<'_, '_>) -> Result<(), Refusal> {
    if fields
        .integer("n", i128::MIN, i128::MAX)?
        .is_some_and(|count| count != 1)
    {
        return Err(Refusal::SeveralAnswers);
    }
    let modalities = fields.list("modalities")?.unwrap_or_default();
    if modalities
        .iter()
        .any(|modality| modality.as_text() != Some("text"))
    {
        return Err(Refusal::Modality {
            param: fields.path("modalities"),
        });
    }
    Ok(())
}

fn messages(fields: Fields<'_, '_>) -> Result<Vec<Message>, Refusal> {
    fields.needed("messages")?;
    let list = fields.list("messages")?.unwrap_or_default();
    bounded(list.len(), 1, MESSAGE_COUNT_MAX, "entries", || {
        fields.path("messages")
    })?;
    list.iter()
        .enumerate()
        .map(|(index, entry)| message(entry, &format!("messages[{index}]")))
        .collect()
}

fn message(entry: &Json, path: &str) -> Result<Message, Refusal> {
    let fields = Fields::of(entry, path)?;
    let role = match fields.needed_text("role")? {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        _ => {
            let allowed = "system, developer, user, assistant, tool";
            return Err(Refusal::UnknownWord {
                param: fields.path("role"),
                allowed,
            });
        }
    };
    let is_answer = role == Role::Assistant;
    let content = content(fields)?;
    let tool_calls = if is_answer {
        tool_calls(fields)?
    } else {
        Vec::new()
    };
    if content.is_none() && !is_answer {
        return Err(Refusal::Missing {
            param: fields.path("content"),
        });
    }
    Ok(Message {
        role,
        content,
        reasoning: fields
            .text("reasoning_content")?
            .filter(|_| is_answer)
            .map(str::to_owned),
        tool_calls,
        tool_call_id: fields.text("tool_call_id")?.map(str::to_owned),
    })
}

fn content(fields: Fields<'_, '_>) -> Result<Option<String>, Refusal> {
    let path = fields.path("content");
    match fields.given("content") {
        None => Ok(None),
        Some(Json::Text(text)) => Ok(Some(text.clone())),
        Some(Json::List(parts)) => {
            let mut whole = String::new();
            for (index, part) in parts.iter().enumerate() {
                whole.push_str(text_of_part(part, &format!("{path}[{index}]"))?);
            }
            Ok(Some(whole))
        }
        Some(_) => Err(wrong_type(path, "a string or a list of parts")),
    }
}

fn text_of_part<'a>(part: &'a Json, path: &str) -> Result<&'a str, Refusal> {
    let fields = Fields::of(part, path)?;
    let kind = fields.needed_text("type")?;
    match kind {
        "text" | "refusal" => fields.needed_text(kind),
        "image_url" | "image" | "input_audio" | "audio" | "video_url" | "video" | "file" => {
            let param = fields.path(kind);
            let points_away = fields.given(kind).is_some_and(points_away);
            Err(if points_away {
                Refusal::RemoteContent { param }
            } else {
                Refusal::NotText { param }
            })
        }
        _ => Err(Refusal::UnknownWord {
            param: fields.path("type"),
            allowed: "text",
        }),
    }
}

/// Whether any string in a media part is an address or a path, or names a file elsewhere, rather than inline data.
fn points_away(value: &Json) -> bool {
    match value {
        Json::Text(text) => {
            !(text
                .get(..5)
                .is_some_and(|head| head.eq_ignore_ascii_case("data:"))
                || is_base64(text))
        }
        Json::Object(fields) => {
            let named = |name: &str| value.field(name).is_some_and(points_away);
            named("url")
                || fields
                    .iter()
                    .any(|(key, value)| key == "file_id" && *value != Json::Null)
                || named("path")
        }
        _ => false,
    }
}

/// Bare base64 data. Short words are paths: no picture or sound has fewer bytes.
fn is_base64(text: &str) -> bool {
    const SHORTEST: usize = 64;
    let body = text.trim_end_matches('=');
    text.len() >= SHORTEST
        && text.len().is_multiple_of(4)
        && text.len() - body.len() <= 2
        && body
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
}

fn tool_calls(fields: Fields<'_, '_>) -> Result<Vec<ToolCall>, Refusal> {
    let list = fields.list("tool_calls")?.unwrap_or_default();
    bounded(list.len(), 0, TOOL_COUNT_MAX, "entries", || {
        fields.path("tool_calls")
    })?;
    let path = fields.path("tool_calls");
    list.iter()
        .enumerate()
        .map(|(index, entry)| tool_call(entry, &format!("{path}[{index}]")))
        .collect()
}

fn tool_call(entry: &Json, path: &str) -> Result<ToolCall, Refusal> {
    let fields = Fields::of(entry, path)?;
    if fields.text("type")?.is_some_and(|kind| kind != "function") {
        return Err(Refusal::HostedTool {
            param: fields.path("type"),
        });
    }
    let path = fields.path("function");
    let function = Fields::of(fields.needed("function")?, &path)?;
    Ok(ToolCall {
        id: fields.text("id")?.unwrap_or_default().to_owned(),
        name: function_name(function)?.to_owned(),
        arguments: arguments(function)?,
    })
}

/// Clients send the arguments as JSON text, and some as the object itself; no arguments at all is an empty text.
fn arguments(function: Fields<'_, '_>) -> Result<Json, Refusal> {
    let bad = || Refusal::BadArguments {
        param: function.path("arguments"),
    };
    match function.given("arguments") {
        None => Ok(Json::Object(Vec::new())),
        Some(Json::Text(text)) if text.trim().is_empty() => Ok(Json::Object(Vec::new())),
        Some(Json::Text(text)) => match Json::parse(text.as_bytes()) {
            Ok(object @ Json::Object(_)) => Ok(object),
            _ => Err(bad()),
        },
        Some(object @ Json::Object(_)) => Ok(object.clone()),
        Some(_) => Err(bad()),
    }
}

pub(super) fn function_name<'a>(function: Fields<'a, '_>) -> Result<&'a str, Refusal> {
    let name = function.needed_text("name")?;
    bounded(name.len(), 1, NAME_BYTES_MAX, "bytes", || function.path("name"))?;
    if name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
    {
        Ok(name)
    } else {
        Err(Refusal::BadName {
            param: function.path("name"),
        })
    }
}

/// `chat_template_kwargs.enable_thinking` is the most exact, then `thinking.type`, then `reasoning_effort`.
fn thinking(fields: Fields<'_, '_>) -> Result<Thinking, Refusal> {
    let choose = |is_on: bool| if is_on { Thinking::On } else { Thinking::Off };
    let template = template_arguments(fields)?
        .map(|object| object.boolean("enable_thinking"))
        .transpose()?
        .flatten();
    let object = thinking_object(fields)?;
    let word = object.map(|object| object.text("type")).transpose()?.flatten();
    let of_word = match word {
        None => None,
        Some("enabled") => Some(Thinking::On),
        Some("disabled") => Some(Thinking::Off),
        Some(_) => {
            return Err(Refusal::UnknownWord {
                param: "thinking.type".to_owned(),
                allowed: "enabled, disabled",
            });
        }
    };
    let of_effort = match fields.text("reasoning_effort")? {
        None => None,
        Some("none") => Some(Thinking::Off),
        Some("minimal" | "low" | "medium" | "high" | "xhigh" | "max") => Some(Thinking::On),
        Some(_) => {
            let allowed = "none, minimal, low, medium, high, xhigh, max";
            return Err(Refusal::UnknownWord {
                param: fields.path("reasoning_effort"),
                allowed,
            });
        }
    };
    Ok(template
        .map(choose)
        .or(of_word)
        .or(of_effort)
        .unwrap_or(Thinking::TemplateDefault))
}

fn clear_thinking(fields: Fields<'_, '_>) -> Result<Option<bool>, Refusal> {
    let template = template_arguments(fields)?
        .map(|object| object.boolean("clear_thinking"))
        .transpose()?
        .flatten();
    let thinking = thinking_object(fields)?
        .map(|object| object.boolean("clear_thinking"))
        .transpose()?
        .flatten();
    Ok(template.or(thinking))
}

fn template_arguments<'a>(fields: Fields<'a, '_>) -> Result<Option<Fields<'a, 'static>>, Refusal> {
    fields
        .given("chat_template_kwargs")
        .map(|value| Fields::of(value, "chat_template_kwargs"))
        .transpose()
}

fn thinking_object<'a>(fields: Fields<'a, '_>) -> Result<Option<Fields<'a, 'static>>, Refusal> {
    fields
        .given("thinking")
        .map(|value| Fields::of(value, "thinking"))
        .transpose()
}

fn sampling(fields: Fields<'_, '_>) -> Result<Sampling, Refusal> {
    let default = Sampling::default();
    let number = |name: &str, minimum, maximum, default: f32| {
        fields
            .number(name, minimum, maximum)
            .map(|number| number.map_or(default, |number| number as f32))
    };
    // −1 is how some clients say "off".
    let top_k = fields.integer("top_k", -1, u32::MAX.into())?.unwrap_or(0);
    Ok(Sampling {
        temperature: number("temperature", 0.0, 2.0, default.temperature)?,
        top_p: number("top_p", 0.0, 1.0, default.top_p)?,
        top_k: u32::try_from(top_k).unwrap_or(0),
        min_p: number("min_p", 0.0, 1.0, default.min_p)?,
        presence_penalty: number("presence_penalty", -2.0, 2.0, default.presence_penalty)?,
        frequency_penalty: number("frequency_penalty", -2.0, 2.0, default.frequency_penalty)?,
        seed: fields
            .integer("seed", i64::MIN.into(), u64::MAX.into())?
            .map(seed_of),
        logit_bias: logit_bias(fields)?,
    })
}

/// Negative seeds are seeds too: they take the upper half of the unsigned numbers.
fn seed_of(seed: i128) -> u64 {
    u64::try_from(seed).unwrap_or_else(|_| i64::try_from(seed).unwrap_or_default().cast_unsigned())
}

fn logit_bias(fields: Fields<'_, '_>) -> Result<Vec<(u32, f32)>, Refusal> {
    let path = fields.path("logit_bias");
    let entries = fields.object("logit_bias")?.unwrap_or_default();
    bounded(entries.len(), 0, BIAS_COUNT_MAX, "entries", || path.clone())?;
    let mut biases = std::collections::BTreeMap::new();
    for (key, value) in entries {
        let token = key
            .parse::<u32>()
            .map_err(|_| wrong_type(path.clone(), "an object whose keys are token ids"))?;
        let param = || format!("{path}.{key}");
        let bias = as_number(value).ok_or_else(|| wrong_type(param(), "a number"))?;
        biases.insert(token, in_range(bias, -100.0, 100.0, param)? as f32);
    }
    Ok(biases.into_iter().collect())
}

fn completion_tokens_max(fields: Fields<'_, '_>) -> Result<Option<u32>, Refusal> {
    let older = fields.integer("max_tokens", 1, u32::MAX.into())?;
    let newer = fields.integer("max_completion_tokens", 1, u32::MAX.into())?;
    let least = [older, newer].into_iter().flatten().min();
    Ok(least.and_then(|count| u32::try_from(count).ok()))
}

fn stop(fields: Fields<'_, '_>) -> Result<Vec<String>, Refusal> {
    let path = fields.path("stop");
    let texts: Vec<&Json> = match fields.given("stop") {
        None => Vec::new(),
        Some(text @ Json::Text(_)) => vec![text],
        Some(Json::List(list)) => list.iter().collect(),
        Some(_) => return Err(wrong_type(path, "a string or a list of strings")),
    };
    bounded(texts.len(), 0, STOP_COUNT_MAX, "entries", || path.clone())?;
    let mut stop = Vec::new();
    for text in texts {
        let text = text
            .as_text()
            .ok_or_else(|| wrong_type(path.clone(), "a string or a list of strings"))?;
        bounded(text.len(), 1, STOP_BYTES_MAX, "bytes in each entry", || {
            path.clone()
        })?;
        stop.push(text.to_owned());
    }
    Ok(stop)
}

fn logprobs(fields: Fields<'_, '_>) -> Result<Option<u8>, Refusal> {
    let is_wanted = fields.boolean("logprobs")?.unwrap_or(false);
    let count = fields.integer("top_logprobs", 0, TOP_LOGPROBS_MAX.into())?;
    match (is_wanted, count) {
        (false, Some(1..)) => Err(Refusal::Needs {
            param: fields.path("top_logprobs"),
            needs: "'logprobs' to be true",
        }),
        (false, _) => Ok(None),
        (true, count) => Ok(Some(
            count.and_then(|count| u8::try_from(count).ok()).unwrap_or(0),
        )),
    }
}

fn stream(fields: Fields<'_, '_>) -> Result<Option<StreamOptions>, Refusal> {
    let options = fields
        .given("stream_options")
        .map(|value| Fields::of(value, "stream_options"))
        .transpose()?;
    let include_usage = options
        .map(|options| options.boolean("include_usage"))
        .transpose()?
        .flatten();
    let is_wanted = fields.boolean("stream")?.unwrap_or(false);
    Ok(is_wanted.then(|| StreamOptions {
        include_usage: include_usage.unwrap_or(false),
    }))
}

/// `prompt_cache_key` is not looked at: prefixes are found by their tokens, inside one tenant, whatever the key.
fn cache(fields: Fields<'_, '_>) -> Result<CacheUse, Refusal> {
    let is_wanted = fields.boolean("cache_prompt")?.unwrap_or(true);
    let is_kept = match fields.text("prompt_cache_retention")? {
        None | Some("in_memory" | "in-memory") => false,
        Some("24h") => true,
        Some(_) => {
            return Err(Refusal::UnknownWord {
                param: fields.path("prompt_cache_retention"),
                allowed: "in_memory, 24h",
            });
        }
    };
    Ok(match (is_wanted, is_kept) {
        (false, _) => CacheUse::Off,
        (true, false) => CacheUse::Use,
        (true, true) => CacheUse::Pin,
    })
}

/// Every tier of the interface but `flex` is somebody who waits.
fn class(fields: Fields<'_, '_>) -> Result<Class, Refusal> {
    match fields.text("service_tier")? {
        None | Some("auto" | "default" | "priority" | "scale") => Ok(Class::Interactive),
        Some("flex") => Ok(Class::Batch),
        Some(_) => Err(Refusal::UnknownWord {
            param: fields.path("service_tier"),
            allowed: "auto, default, flex, scale, priority",
        }),
    }
}

pub(super) fn bounded(
    count: usize,
    minimum: usize,
    maximum: usize,
    unit: &'static str,
    param: impl Fn() -> String,
) -> Result<(), Refusal> {
    if (minimum..=maximum).contains(&count) {
        Ok(())
    } else {
        Err(Refusal::WrongLength {
            param: param(),
            minimum,
            maximum,
            unit,
        })
    }
}

#[cfg(test)]
mod tests;
