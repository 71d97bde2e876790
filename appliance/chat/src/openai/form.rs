//! What a request asks of the answer's form: `response_format`, `tools` and `tool_choice`.

use crate::conversation::{ResponseFormat, Tool, ToolChoice};
use crate::error::Refusal;
use crate::glm::constraint;
use crate::json::Json;
use crate::schema;

use super::fields::{Fields, wrong_type};
use super::request::{NAME_BYTES_MAX, TOOL_COUNT_MAX, bounded, function_name};

/// Longest regular expression or grammar in `response_format`, in bytes.
pub const GRAMMAR_BYTES_MAX: usize = 64 * 1024;

pub(super) fn tools(fields: Fields<'_, '_>) -> Result<Vec<Tool>, Refusal> {
    let list = fields.list("tools")?.unwrap_or_default();
    bounded(list.len(), 0, TOOL_COUNT_MAX, "entries", || fields.path("tools"))?;
    list.iter()
        .enumerate()
        .map(|(index, entry)| tool(entry, &format!("tools[{index}]")))
        .collect()
}

fn tool(entry: &Json, path: &str) -> Result<Tool, Refusal> {
    let fields = Fields::of(entry, path)?;
    if fields.needed_text("type")? != "function" {
        return Err(Refusal::HostedTool {
            param: fields.path("type"),
        });
    }
    let path = fields.path("function");
    let function = Fields::of(fields.needed("function")?, &path)?;
    function.text("description")?;
    function.object("parameters")?;
    let name = function_name(function)?.to_owned();
    let parameters = function.given("parameters").cloned();
    let is_strict = function.boolean("strict")?.unwrap_or(false);
    if let Some(parameters) = parameters.as_ref().filter(|_| is_strict) {
        constraint::arguments_fault(parameters, &function.path("parameters"))?;
    }
    Ok(Tool {
        name,
        parameters,
        is_strict,
        entry: entry.clone(),
    })
}

pub(super) fn tool_choice(fields: Fields<'_, '_>, tools: &[Tool]) -> Result<ToolChoice, Refusal> {
    let param = || fields.path("tool_choice");
    match fields.given("tool_choice") {
        None => Ok(ToolChoice::Auto),
        Some(Json::Text(word)) => match word.as_str() {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" if tools.is_empty() => Err(Refusal::Needs {
                param: param(),
                needs: "at least one entry in 'tools'",
            }),
            "required" => Ok(ToolChoice::Required),
            _ => Err(Refusal::UnknownWord {
                param: param(),
                allowed: "auto, none, required",
            }),
        },
        Some(object @ Json::Object(_)) => named(Fields::of(object, "tool_choice")?, tools),
        Some(_) => Err(wrong_type(
            param(),
            "\"auto\", \"none\", \"required\" or an object that names a function",
        )),
    }
}

fn named(choice: Fields<'_, '_>, tools: &[Tool]) -> Result<ToolChoice, Refusal> {
    if choice.needed_text("type")? != "function" {
        return Err(Refusal::UnknownWord {
            param: choice.path("type"),
            allowed: "function",
        });
    }
    let path = choice.path("function");
    let function = Fields::of(choice.needed("function")?, &path)?;
    let name = function_name(function)?;
    if tools.iter().any(|tool| tool.name == name) {
        Ok(ToolChoice::Function(name.to_owned()))
    } else {
        Err(Refusal::Needs {
            param: function.path("name"),
            needs: "an entry of that name in 'tools'",
        })
    }
}

pub(super) fn response_format(fields: Fields<'_, '_>) -> Result<ResponseFormat, Refusal> {
    let Some(format) = fields.given("response_format") else {
        return Ok(ResponseFormat::Text);
    };
    let format = Fields::of(format, "response_format")?;
    match format.needed_text("type")? {
        "text" => Ok(ResponseFormat::Text),
        "json_object" => Ok(ResponseFormat::JsonObject),
        "json_schema" => json_schema(format),
        "regex" => Ok(ResponseFormat::Regex(grammar_text(format, "pattern")?)),
        "grammar" => {
            if format.text("syntax")?.unwrap_or("lark") != "lark" {
                return Err(Refusal::UnknownWord {
                    param: format.path("syntax"),
                    allowed: "lark",
                });
            }
            Ok(ResponseFormat::Lark(grammar_text(format, "definition")?))
        }
        _ => Err(Refusal::UnknownWord {
            param: format.path("type"),
            allowed: "text, json_object, json_schema, regex, grammar",
        }),
    }
}

fn json_schema(format: Fields<'_, '_>) -> Result<ResponseFormat, Refusal> {
    let path = format.path("json_schema");
    let outer = Fields::of(format.needed("json_schema")?, &path)?;
    let name = outer.needed_text("name")?;
    bounded(name.len(), 1, NAME_BYTES_MAX, "bytes", || outer.path("name"))?;
    if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    {
        return Err(Refusal::BadName {
            param: outer.path("name"),
        });
    }
    outer.text("description")?;
    outer.object("schema")?;
    // The interface lets it be left out; then any object fits.
    let schema = match outer.given("schema") {
        Some(schema) => schema.clone(),
        None => Json::Object(vec![("type".to_owned(), Json::Text("object".to_owned()))]),
    };
    schema::check(&schema, &outer.path("schema"))?;
    Ok(ResponseFormat::JsonSchema {
        name: name.to_owned(),
        schema,
        is_strict: outer.boolean("strict")?.unwrap_or(false),
    })
}

fn grammar_text(format: Fields<'_, '_>, name: &str) -> Result<String, Refusal> {
    let text = format.needed_text(name)?;
    bounded(text.len(), 1, GRAMMAR_BYTES_MAX, "bytes", || format.path(name))?;
    Ok(text.to_owned())
}
