//! What a request asks of an answer, as a language in the model's own dialect.
//!
//! The engine chooses only tokens that keep the answer inside it, so a form is guaranteed and not hoped for. Reasoning
//! comes first and is free; it is set apart by its tags ([`Constraint::opened_by`], [`Constraint::after`]).
//!
//! | Asked for | Language |
//! |---|---|
//! | a `response_format` and no tools | that format |
//! | calls (`required`, or one function) | one call or several, of the tools' names and arguments |
//! | `auto` with a strict tool | text that may end in calls |
//! | `auto` with a JSON format | the format, or calls |
//!
//! Arguments of a tool whose schema can be enforced ([`arguments_fault`]) fit it; other tools' arguments are any, well
//! formed. Arguments come in the order of the schema.

use crate::conversation::{Conversation, ResponseFormat, Tool, ToolChoice};
use crate::error::Refusal;
use crate::json::Json;
use crate::openai::NAME_BYTES_MAX;
use crate::schema;
use crate::template::Opening;

use super::bare;
use super::{CALL, CALL_COUNT_MAX, END_CALL, END_KEY, END_THINK, END_VALUE, KEY, THINK, VALUE};

/// What an answer must look like. The engine's own form has the same fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    /// With `after`: the answer opens the free text itself, by this name and at its very beginning, or does without it.
    /// `None`: the prompt has opened it.
    pub opened_by: Option<String>,
    /// Name of the token after which the language begins; free text before it. `None`: it begins at once.
    pub after: Option<String>,
    /// The language.
    pub grammar: Grammar,
}

/// A language. The engine's own form has the same variants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grammar {
    /// Any JSON object.
    JsonObject,
    /// JSON that fits this JSON Schema.
    JsonSchema(String),
    /// Text that matches this regular expression as a whole.
    Regex(String),
    /// A context-free grammar in llguidance's variant of Lark's syntax.
    Lark(String),
}

/// What the engine holds the model to, when its prompt ended as `opening` says; `None` for free text.
pub fn constraint(conversation: &Conversation, opening: Opening) -> Option<Constraint> {
    let grammar = grammar(conversation)?;
    let (opened_by, after) = match opening {
        Opening::Closed => (None, None),
        Opening::Thinking => (None, Some(END_THINK.to_owned())),
        Opening::Undecided => (Some(THINK.to_owned()), Some(END_THINK.to_owned())),
    };
    Some(Constraint {
        opened_by,
        after,
        grammar,
    })
}

/// Whether the model is held to a language, so that what it writes is well formed.
pub(super) fn is_held(conversation: &Conversation) -> bool {
    conversation.response_format != ResponseFormat::Text || holds_calls(conversation)
}

/// Whether calls are held to their form: they must come, or a tool is strict.
fn holds_calls(conversation: &Conversation) -> bool {
    match conversation.tool_choice {
        ToolChoice::None => false,
        ToolChoice::Auto => conversation.tools.iter().any(|tool| tool.is_strict),
        ToolChoice::Required | ToolChoice::Function(_) => true,
    }
}

fn grammar(conversation: &Conversation) -> Option<Grammar> {
    let may_call = conversation.tool_choice != ToolChoice::None && !conversation.tools.is_empty();
    if !may_call {
        return Some(match &conversation.response_format {
            ResponseFormat::Text => return None,
            ResponseFormat::JsonObject => Grammar::JsonObject,
            ResponseFormat::JsonSchema { schema, .. } => Grammar::JsonSchema(json_text(schema)),
            ResponseFormat::Regex(pattern) => Grammar::Regex(pattern.clone()),
            ResponseFormat::Lark(definition) => Grammar::Lark(definition.clone()),
        });
    }
    if !is_held(conversation) {
        return None;
    }
    let text = match (&conversation.tool_choice, &conversation.response_format) {
        (ToolChoice::Auto, ResponseFormat::JsonSchema { schema, .. }) => Text::Json(schema.clone()),
        (ToolChoice::Auto, ResponseFormat::JsonObject) => Text::Json(any_object()),
        // The parser of requests lets no other format come here together with tools.
        (ToolChoice::Auto, _) => Text::Free,
        _ => Text::None,
    };
    Some(Grammar::Lark(Calls::of(conversation).to_lark(&text)))
}

/// Why the arguments of a strict tool cannot be held to its schema, which stands at `path`.
///
/// # Errors
/// The refusals of [`schema::check`], and [`Refusal::SchemaKeyword`] for what can be enforced in JSON and not in the bare
/// text in which this dialect writes strings.
pub fn arguments_fault(parameters: &Json, path: &str) -> Result<(), Refusal> {
    schema::check(parameters, path)?;
    arguments(parameters, path).map(|_| ())
}

/// What may stand instead of calls, or before them.
enum Text {
    None,
    Free,
    Json(Json),
}

/// The calls that may be made.
struct Calls<'a> {
    tools: Vec<&'a Tool>,
    count_max: u32,
}

impl<'a> Calls<'a> {
    fn of(conversation: &'a Conversation) -> Self {
        let named = match &conversation.tool_choice {
            ToolChoice::Function(name) => Some(name),
            _ => None,
        };
        Self {
            tools: conversation
                .tools
                .iter()
                .filter(|tool| named.is_none_or(|name| *name == tool.name))
                .collect(),
            count_max: if named.is_some() || !conversation.parallel_tool_calls {
                1
            } else {
                CALL_COUNT_MAX
            },
        }
    }

    /// The grammar. A call's first tag is part of `start`, because free text ends in it.
    fn to_lark(&self, text: &Text) -> String {
        let mut rules = Rules::default();
        let more = match self.count_max {
            1 => String::new(),
            most => format!(" more{{0,{}}}", most - 1),
        };
        match text {
            Text::None => rules.add("start", &format!("{} call{more}", literal(CALL))),
            Text::Free => {
                rules.add("start", &format!("free | head call{more}"));
                rules.add("free", "TEXT");
                rules.add("head[lazy]", &format!("TEXT {}", literal(CALL)));
                rules.add("TEXT", "/(?s:.*)/");
            }
            Text::Json(schema) => {
                rules.add("start", &format!("json | {} call{more}", literal(CALL)));
                rules.add("json", &format!("%json {}", spaced(schema)));
            }
        }
        if self.count_max > 1 {
            rules.add("more", &format!("\"\\n\"? {} call", literal(CALL)));
        }
        let names: Vec<String> = (0..self.tools.len())
            .map(|index| format!("call_{index}"))
            .collect();
        rules.add("call", &names.join(" | "));
        for (index, tool) in self.tools.iter().enumerate() {
            let body = match arguments_of(tool) {
                Some(arguments) => rules.sequence(index, &arguments),
                None => rules.any_arguments(),
            };
            rules.add(
                &format!("call_{index}"),
                &format!("{} \"\\n\"? {body}{}", literal(&tool.name), literal(END_CALL)),
            );
        }
        rules.text
    }
}

/// The arguments that a tool's schema lists; `None` for any.
fn arguments_of(tool: &Tool) -> Option<Vec<Argument>> {
    match &tool.parameters {
        None => Some(Vec::new()),
        Some(parameters) => {
            schema::check(parameters, "").ok()?;
            arguments(parameters, "").ok()
        }
    }
}

/// One argument of a call.
struct Argument {
    key: String,
    is_required: bool,
    values: Vec<Value>,
}

/// One way to write a value.
enum Value {
    /// Bare text that fits a terminal of the grammar.
    Bare(String),
    /// JSON that fits a schema.
    Json(Json),
}

fn arguments(parameters: &Json, path: &str) -> Result<Vec<Argument>, Refusal> {
    let Json::Object(fields) = parameters else {
        return Err(malformed(path, "must be an object"));
    };
    let ours = [
        "type",
        "properties",
        "required",
        "additionalProperties",
        "$defs",
        "definitions",
    ];
    if let Some((keyword, _)) = fields
        .iter()
        .find(|(keyword, _)| !ours.contains(&keyword.as_str()) && !schema::describes(keyword))
    {
        return Err(keyword_refusal(path, keyword));
    }
    if parameters
        .field("type")
        .is_some_and(|kind| kind.as_text() != Some("object"))
    {
        return Err(malformed(&format!("{path}.type"), "must be \"object\""));
    }
    let properties = match parameters.field("properties") {
        Some(Json::Object(properties)) => properties.as_slice(),
        _ if parameters.field("additionalProperties") == Some(&Json::Bool(false)) => &[],
        _ => {
            return Err(malformed(
                path,
                "must list the function's arguments in \"properties\"",
            ));
        }
    };
    let required: Vec<&str> = parameters
        .field("required")
        .and_then(Json::as_list)
        .unwrap_or_default()
        .iter()
        .filter_map(Json::as_text)
        .collect();
    if required
        .iter()
        .any(|name| properties.iter().all(|(key, _)| key != name))
    {
        return Err(malformed(
            &format!("{path}.required"),
            "must name entries of \"properties\"",
        ));
    }
    properties
        .iter()
        .map(|(key, property)| {
            let path = format!("{path}.properties.{key}");
            if key.is_empty() || key.len() > NAME_BYTES_MAX || key.contains(['<', '\n']) || key.trim() != key
            {
                return Err(malformed(
                    &path,
                    "must have a name of 1 to 64 bytes without '<' and outer white space",
                ));
            }
            Ok(Argument {
                key: key.clone(),
                is_required: required.contains(&key.as_str()),
                values: values(property, parameters, &path)?,
            })
        })
        .collect()
}

/// How the values of one property are written: strings bare, all else as JSON.
fn values(property: &Json, root: &Json, path: &str) -> Result<Vec<Value>, Refusal> {
    if refers_to_the_whole(property) {
        return Err(keyword_refusal(path, "$ref: #"));
    }
    let bare = bare::terminals(property, path)?;
    let json = bare.rest.map(|rest| Value::Json(with_definitions(rest, root)));
    Ok(bare.terminals.into_iter().map(Value::Bare).chain(json).collect())
}

/// A value stands alone, so that `#` would mean the value and not the arguments.
fn refers_to_the_whole(schema: &Json) -> bool {
    match schema {
        Json::Object(fields) => fields.iter().any(|(key, value)| {
            (key == "$ref" && value.as_text() == Some("#")) || refers_to_the_whole(value)
        }),
        Json::List(list) => list.iter().any(refers_to_the_whole),
        _ => false,
    }
}

fn with_definitions(schema: Json, root: &Json) -> Json {
    let Json::Object(mut fields) = schema else {
        return schema;
    };
    for group in ["$defs", "definitions"] {
        if let Some(definitions) = root
            .field(group)
            .filter(|_| fields.iter().all(|(key, _)| key != group))
        {
            fields.push((group.to_owned(), definitions.clone()));
        }
    }
    Json::Object(fields)
}

/// Rules of a Lark grammar.
#[derive(Default)]
struct Rules {
    text: String,
    has_any_arguments: bool,
    value_count: usize,
}

impl Rules {
    fn add(&mut self, name: &str, body: &str) {
        self.text.push_str(name);
        self.text.push_str(": ");
        self.text.push_str(body);
        self.text.push('\n');
    }

    /// The arguments of one tool in the order of its schema.
    fn sequence(&mut self, tool: usize, arguments: &[Argument]) -> String {
        let mut body = String::new();
        for (index, argument) in arguments.iter().enumerate() {
            let name = format!("argument_{tool}_{index}");
            let value = self.value(&argument.values);
            let key = literal(&format!("{KEY}{}{END_KEY}", argument.key));
            self.add(
                &name,
                &format!("{key} \"\\n\"? {} {value} \"\\n\"?", literal(VALUE)),
            );
            body.push_str(&name);
            body.push_str(if argument.is_required { " " } else { "? " });
        }
        body
    }

    /// The name of a rule for a value and the tag behind it.
    fn value(&mut self, values: &[Value]) -> String {
        let mut names = Vec::new();
        for value in values {
            let name = format!("value_{}", self.value_count);
            self.value_count += 1;
            match value {
                // Lazy: it ends at the first closing tag.
                Value::Bare(terminal) => self.add(
                    &format!("{name}[lazy]"),
                    &format!("({terminal}) {}", literal(END_VALUE)),
                ),
                Value::Json(schema) => {
                    self.add(&name, &format!("{name}_json {}", literal(END_VALUE)));
                    self.add(&format!("{name}_json"), &format!("%json {}", spaced(schema)));
                }
            }
            names.push(name);
        }
        match names.as_slice() {
            [one] => one.clone(),
            _ => format!("({})", names.join(" | ")),
        }
    }

    /// Any arguments at all.
    fn any_arguments(&mut self) -> String {
        if !self.has_any_arguments {
            self.has_any_arguments = true;
            self.add(
                "any_argument",
                &format!(
                    "{} any_key \"\\n\"? {} any_value \"\\n\"?",
                    literal(KEY),
                    literal(VALUE)
                ),
            );
            self.add(
                "any_key[lazy]",
                &format!("/[^<\\s](?:[^<\\n]{{0,62}}[^<\\s])?/ {}", literal(END_KEY)),
            );
            self.add("any_value[lazy]", &format!("/(?s:.*)/ {}", literal(END_VALUE)));
        }
        "any_argument* ".to_owned()
    }
}

/// A string of the grammar: Lark's are written as JSON's.
pub(super) fn literal(text: &str) -> String {
    let mut literal = String::new();
    super::arguments::string_into(&mut literal, text);
    without_negation(&literal)
}

/// JSON text in a grammar. The engine takes no grammar with the sign of negation in it, wherever it stands.
fn without_negation(json: &str) -> String {
    json.replace('~', "\\u007e")
}

/// The schema as part of a grammar, with a bound on white space. Without one a model can indent for ever.
fn spaced(schema: &Json) -> String {
    let options = Json::Object(vec![(
        "whitespace_pattern".to_owned(),
        Json::Text("[\\x20\\x0A\\x0D\\x09]{1,64}".to_owned()),
    )]);
    match schema {
        Json::Object(fields) => {
            let mut fields = fields.clone();
            fields.push(("x-guidance".to_owned(), options));
            without_negation(&json_text(&Json::Object(fields)))
        }
        // `true` and `false` have no white space of their own.
        other => json_text(&Json::Object(vec![
            ("allOf".to_owned(), Json::List(vec![other.clone()])),
            ("x-guidance".to_owned(), options),
        ])),
    }
}

fn any_object() -> Json {
    Json::Object(vec![("type".to_owned(), Json::Text("object".to_owned()))])
}

/// Values of this type are strings, numbers and lists of them: writing them cannot fail.
fn json_text(value: &Json) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn malformed(path: &str, reason: &'static str) -> Refusal {
    Refusal::SchemaMalformed {
        param: path.to_owned(),
        reason,
    }
}

fn keyword_refusal(path: &str, keyword: &str) -> Refusal {
    Refusal::SchemaKeyword {
        param: path.to_owned(),
        keyword: keyword.to_owned(),
    }
}
