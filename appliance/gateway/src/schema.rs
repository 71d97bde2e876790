//! Shapes of the bodies of this API, for the OpenAPI document and for what the console sends.
//!
//! Facts about the box live in `jingui_ipc::status` and travel unchanged; the types here that mirror them exist
//! because that crate knows nothing of OpenAPI. A test in `openapi.rs` compares each mirror with what is really
//! serialised, so that they cannot drift.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Role of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// System admin: runs, imports, updates.
    System,
    /// Security admin: accounts, keys, policy.
    Security,
    /// Auditor: reads and exports the log.
    Audit,
    /// Office worker or developer: uses the model.
    User,
}

/// What a person types to sign in.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SignIn {
    /// Account name.
    pub username: String,
    /// Password.
    pub password: String,
    /// Six digits of the second factor.
    pub code: String,
}

/// An open session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// Account name.
    pub username: String,
    /// Role at this moment.
    pub role: Role,
    /// When the session ends if nothing more is done, RFC 3339 UTC.
    pub expires_at: String,
}

/// Whether the first-boot ceremony was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetUpState {
    /// Whether it was done.
    pub is_set_up: bool,
}

/// The first-boot ceremony: three people, none of whom holds two roles.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SetUp {
    /// One-time code that the box showed on its own screen.
    pub setup_code: String,
    /// Exactly one account for each of system, security and audit.
    pub accounts: Vec<NewAccount>,
    /// First ordinary user, if one is wanted.
    pub first_user: Option<NewUser>,
    /// Make a first API key with that label.
    pub first_key_label: Option<String>,
}

/// An admin to be made by the ceremony.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct NewAccount {
    /// System, security or audit.
    pub role: Role,
    /// Name to sign in with.
    pub username: String,
    /// Password, at least 12 characters of three classes.
    pub password: String,
    /// Base32 secret of the one-time codes.
    pub totp_secret: String,
    /// A code of that secret: shows that the person's device holds it.
    pub totp_code: String,
}

/// An ordinary user to be made.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct NewUser {
    /// Name to sign in with.
    pub username: String,
    /// First password.
    pub password: String,
    /// Base32 secret of the one-time codes.
    pub totp_secret: String,
}

/// What the ceremony made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetUpDone {
    /// Index of the last leaf of the ceremony in the audit log.
    pub leaf_index: u64,
    /// `<id>.<secret>` of the first key, if one was asked for; shown only here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_key: Option<String>,
    /// Opens the encrypted state when the TPM would not; shown only here. Absent where nothing is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_key: Option<String>,
}

/// A refusal or failure as the console gets it (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Problem {
    /// `about:blank#` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// What happened, in the caller's language.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// Stable code, for example `api.model.loading`.
    pub code: String,
    /// Why it happened, in the caller's language.
    pub detail: String,
    /// What to do, in the caller's language.
    pub remedy: String,
    /// Same as the header `x-request-id`.
    pub request_id: String,
}

/// A whole picture of the box at one moment.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// Version of the product.
    pub version: String,
    /// Serial of this device.
    pub serial: String,
    /// The one word a person looks at first.
    pub health: Health,
    /// Why health is not `ok`: stable codes.
    pub reasons: Vec<String>,
    /// Facts for those of the reasons that have some.
    pub details: Vec<Detail>,
    /// Whether the first-boot ceremony was done.
    pub is_set_up: bool,
    /// Whether this is a developer's machine (no sealed image under the supervisor).
    pub is_developer_mode: bool,
    /// Process id of the supervisor.
    pub supervisor_pid: u32,
    /// The gateway and the engines.
    pub processes: Vec<Process>,
    /// The model that answers, if any.
    #[schema(required = true)]
    pub serving: Option<ModelFacts>,
    /// Each promise, and whether it holds on this machine now.
    pub guarantees: Vec<Guarantee>,
    /// What is measured of the machine, beside what the image's signer published; empty on a developer's machine.
    pub platform: Vec<PlatformFact>,
    /// State of the audit log.
    pub audit: AuditState,
    /// Milliseconds since the supervisor started.
    pub uptime_ms: u64,
}

/// Facts for the words of a reason.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Detail {
    /// Which of the reasons.
    pub code: String,
    /// Name and value, for example `needs` and `21.3 GiB`.
    pub facts: Vec<(String, String)>,
}

/// Health of the box.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Everything serves.
    Ok,
    /// Starting, or a part is being restarted.
    Starting,
    /// Something that should serve does not.
    Degraded,
    /// The audit log cannot be written: acts and inference are stopped.
    Stopped,
}

/// One process of the box.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// `gateway` or `engine`.
    pub role: String,
    /// Process id, `null` while it is down.
    #[schema(required = true)]
    pub pid: Option<u32>,
    /// `starting`, `serving`, `restarting`, `stopped`.
    pub phase: String,
    /// How often it was restarted since the supervisor started.
    pub restart_count: u32,
    /// Steps that the engine's loop made; `null` for the gateway.
    #[schema(required = true)]
    pub step_count: Option<u64>,
    /// Name and version of the model that an engine runs or is to run; `null` for the gateway.
    #[schema(required = true)]
    pub model: Option<String>,
    /// How far a starting engine is; `null` when it is not starting.
    #[schema(required = true)]
    pub progress: Option<Progress>,
}

/// How far the start of an engine is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// `verifying`, `loading` or `asking`.
    pub stage: String,
    /// Thousandths of the stage.
    pub permille: u16,
}

/// One promise of the box.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Guarantee {
    /// Stable name, for example `engine.network-namespace`.
    pub name: String,
    /// `process` or `platform`.
    pub group: String,
    /// Whether it is in force on this machine now, as measured.
    pub in_force: bool,
    /// When not: a stable code that says why.
    #[schema(required = true)]
    pub why: Option<String>,
}

/// One fact about the machine under the supervisor.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlatformFact {
    /// Stable name, for example `image-root` or `pcr-7`.
    pub name: String,
    /// As measured; `null` when it cannot be.
    #[schema(required = true)]
    pub measured: Option<String>,
    /// As the image's signer published it; `null` when it says nothing about it.
    #[schema(required = true)]
    pub published: Option<String>,
}

/// State of the audit log.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditState {
    /// First line of each checkpoint.
    pub origin: String,
    /// Verifier key in signed-note form.
    pub vkey: String,
    /// Leaves in the last signed checkpoint.
    pub size: u64,
    /// Root of the last signed checkpoint, base64.
    pub root: String,
    /// Whether leaves can be written now.
    pub is_writable: bool,
}

/// Facts of an installed model, from its verified package.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelFacts {
    /// Name under which clients ask for it.
    pub name: String,
    /// Version of the release.
    pub version: String,
    /// Anti-rollback number.
    pub security_version: u64,
    /// Root digest of the signed statement: SHA-256, lower-case hex.
    pub package_digest: String,
    /// SHA-256 of the GGUF file, lower-case hex.
    pub weights_digest: String,
    /// Bytes of the GGUF file.
    pub weights_bytes: u64,
    /// Hint of the vendor key that signed it.
    pub signed_by: String,
    /// `general.architecture` of the GGUF.
    pub architecture: String,
    /// Parameters, counted from the tensor shapes.
    pub parameter_count: u64,
    /// Layers.
    pub layer_count: u32,
    /// Attention heads.
    pub head_count: u32,
    /// Key/value heads.
    pub kv_head_count: u32,
    /// Trained context in tokens.
    pub context_tokens: u32,
    /// KV cache bytes per token at f16.
    pub kv_bytes_per_token: u64,
    /// Tensor types with their number of tensors, most frequent first.
    pub tensor_types: Vec<(String, u32)>,
    /// Tokenizer, for example `gpt2/glm4`.
    pub tokenizer: String,
    /// SHA-256 of the chat template, lower-case hex.
    pub chat_template_digest: String,
    /// Licence.
    pub license: String,
    /// Filing number (备案号), empty when the release has none.
    pub filing_number: String,
    /// When it was imported, RFC 3339 UTC.
    pub imported_at: String,
    /// `stored`, `loading`, `serving`, `failed`.
    pub state: String,
}

/// Installed models, as the console shows them.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InstalledModels {
    /// The models.
    pub data: Vec<ModelFacts>,
}

/// Models that can be asked, in a form that fits OpenAI and Anthropic clients.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelList {
    /// `list`.
    pub object: String,
    /// The models.
    pub data: Vec<Model>,
    /// Always false: there are no further pages.
    pub has_more: bool,
    /// Id of the first model, `null` when there is none.
    #[schema(required = true)]
    pub first_id: Option<String>,
    /// Id of the last model, `null` when there is none.
    #[schema(required = true)]
    pub last_id: Option<String>,
}

/// One model that can be asked.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Name to put into `model`.
    pub id: String,
    /// `model` (OpenAI).
    pub object: String,
    /// When it was imported, Unix seconds (OpenAI).
    pub created: i64,
    /// Who made the package (OpenAI).
    pub owned_by: String,
    /// `model` (Anthropic).
    #[serde(rename = "type")]
    pub kind: String,
    /// Name for people (Anthropic).
    pub display_name: String,
    /// When it was imported, RFC 3339 (Anthropic).
    pub created_at: String,
    /// `active` (Anthropic).
    pub lifecycle: String,
    /// Context of one stream in tokens.
    pub max_input_tokens: u32,
    /// Most tokens of one answer.
    pub max_tokens: u32,
    /// What the model can do.
    pub capabilities: Capabilities,
}

/// What a model can do through this API.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// Chat completions.
    pub chat: bool,
    /// Streaming.
    pub streaming: bool,
}

/// Body of `POST /v1/chat/completions` and `POST /api/chat`. Fields that are not listed are ignored; `null` means
/// that the field is not given.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ChatRequest {
    /// Name of a serving model.
    pub model: String,
    /// The conversation so far, oldest first.
    pub messages: Vec<ChatMessage>,
    /// Send the answer as server-sent events.
    pub stream: Option<bool>,
    /// Options of the stream.
    pub stream_options: Option<StreamOptions>,
    /// Most tokens to make.
    pub max_tokens: Option<u32>,
    /// Same as `max_tokens`.
    pub max_completion_tokens: Option<u32>,
    /// 0 is greedy.
    pub temperature: Option<f32>,
    /// Nucleus.
    pub top_p: Option<f32>,
    /// Likeliest tokens kept, 0 is off.
    pub top_k: Option<u32>,
    /// Least probability relative to the likeliest.
    pub min_p: Option<f32>,
    /// −2 to 2.
    pub presence_penalty: Option<f32>,
    /// −2 to 2.
    pub frequency_penalty: Option<f32>,
    /// Seed.
    pub seed: Option<i64>,
    /// One text or up to four at which the answer ends.
    pub stop: Option<Stop>,
    /// Report log probabilities.
    pub logprobs: Option<bool>,
    /// Likeliest tokens reported at each place, 0 to 20.
    pub top_logprobs: Option<u8>,
    /// Functions that the model may call.
    pub tools: Option<Vec<serde_json::Value>>,
    /// Whether the model may make several calls in one answer.
    pub parallel_tool_calls: Option<bool>,
    /// Whether the model may or must call a function; a call that must be made is of a form that always parses.
    pub tool_choice: Option<ToolChoice>,
    /// What the text of the answer must look like. It does, or the answer ends with `length`.
    pub response_format: Option<ResponseFormat>,
    /// `false` keeps this request out of the prefix cache: it takes nothing from it and leaves nothing in it.
    pub cache_prompt: Option<bool>,
    /// `24h` keeps the prompt's prefix in the cache when others give way; `in_memory` is the default.
    pub prompt_cache_retention: Option<String>,
    /// Computed alone and in a fixed order: the same request gives the same bytes on the same box.
    pub strict_reproducible: Option<bool>,
    /// `flex` waits for requests that somebody waits for.
    pub service_tier: Option<String>,
    /// Whether the model thinks before it answers.
    pub thinking: Option<Thinking>,
    /// `none` switches thinking off.
    pub reasoning_effort: Option<String>,
    /// Variables for the chat template, for example `enable_thinking`.
    pub chat_template_kwargs: Option<serde_json::Value>,
}

/// Whether the model may or must call a function.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum ToolChoice {
    /// `auto`, `none` or `required`.
    Word(String),
    /// This one must be called.
    Function(NamedTool),
}

/// Names a function that must be called.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct NamedTool {
    /// `function`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    pub function: ToolName,
}

/// Name of a function.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ToolName {
    /// One of those in `tools`.
    pub name: String,
}

/// What the text of an answer must look like.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ResponseFormat {
    /// Anything.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that fits a schema.
    JsonSchema {
        /// The schema and its name.
        json_schema: NamedSchema,
    },
    /// Text that matches a regular expression as a whole.
    Regex {
        /// The expression.
        pattern: String,
    },
    /// Text of a context-free grammar's language.
    Grammar {
        /// `lark`.
        syntax: Option<String>,
        /// The grammar.
        definition: String,
    },
}

/// A JSON Schema with its name.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct NamedSchema {
    /// Letters, digits, `_` and `-`.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// The schema; any object when it is left out.
    pub schema: Option<serde_json::Value>,
    /// Whether the schema keeps to the narrower rules of strict ones. The answer fits either way.
    pub strict: Option<bool>,
}

/// One message of a conversation.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ChatMessage {
    /// `system`, `developer`, `user`, `assistant` or `tool`.
    pub role: String,
    /// Text, or parts of type `text`.
    #[serde(default)]
    pub content: Option<Content>,
    /// Thinking of an earlier answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Calls of an earlier answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// Which call a `tool` message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

/// Content of a message.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Content {
    /// Plain text.
    Text(String),
    /// Parts.
    Parts(Vec<ContentPart>),
}

/// One part of a content.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ContentPart {
    /// `text`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text.
    pub text: Option<String>,
}

/// Stop texts.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Stop {
    /// One.
    One(String),
    /// Up to four.
    Many(Vec<String>),
}

/// Options of a stream.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct StreamOptions {
    /// Send a last chunk with usage.
    pub include_usage: Option<bool>,
}

/// Switch for thinking.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Thinking {
    /// `enabled` or `disabled`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A whole answer.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatCompletion {
    /// Id of the answer.
    pub id: String,
    /// `chat.completion`.
    pub object: String,
    /// Unix seconds.
    pub created: i64,
    /// Model that answered.
    pub model: String,
    /// Exactly one.
    pub choices: Vec<Choice>,
    /// Token counts.
    pub usage: Usage,
    /// Names the model package.
    pub system_fingerprint: Option<String>,
    /// Leads to the leaf of this answer in the audit log: `<serial>-<leaf index>`.
    pub produce_id: String,
}

/// The answer of a [`ChatCompletion`].
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// Always 0.
    pub index: u32,
    /// `stop`, `length` or `tool_calls`.
    pub finish_reason: String,
    /// The message.
    pub message: AnswerMessage,
    /// Log probabilities when asked for.
    #[schema(required = true)]
    pub logprobs: Option<serde_json::Value>,
}

/// Message of an answer.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerMessage {
    /// `assistant`.
    pub role: String,
    /// The text, `null` when only tools are called.
    #[schema(required = true)]
    pub content: Option<String>,
    /// Always `null`.
    #[schema(required = true)]
    pub refusal: Option<String>,
    /// What the model thought before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Calls of tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
}

/// A call of a tool.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ToolCall {
    /// Place in the list (streams only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// Id of the call; in a stream only in the first part of a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `function`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Name and arguments.
    pub function: FunctionCall,
}

/// Name and arguments of a call.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct FunctionCall {
    /// Name; in a stream only in the first part of a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// JSON text; in a stream a piece of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
}

/// Token counts.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens made.
    pub completion_tokens: u64,
    /// Both together.
    pub total_tokens: u64,
    /// Of the prompt.
    pub prompt_tokens_details: Option<PromptTokensDetails>,
    /// Of the answer.
    pub completion_tokens_details: Option<CompletionTokensDetails>,
}

/// Parts of the prompt.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PromptTokensDetails {
    /// Tokens that were already computed.
    pub cached_tokens: u64,
}

/// Parts of the answer.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct CompletionTokensDetails {
    /// Tokens of thinking.
    pub reasoning_tokens: u64,
}

/// One event of a stream: the text after `data: `. The last one is `[DONE]`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatChunk {
    /// Same in all chunks of a stream.
    pub id: String,
    /// `chat.completion.chunk`.
    pub object: String,
    /// Unix seconds.
    pub created: i64,
    /// Model that answers.
    pub model: String,
    /// One, or none in the chunk with usage.
    pub choices: Vec<ChunkChoice>,
    /// Token counts, only when asked for: `null` in all chunks but the last.
    pub usage: Option<Usage>,
    /// Names the model package.
    pub system_fingerprint: Option<String>,
    /// In the last chunk with choices: leads to the leaf of this answer, `<serial>-<leaf index>`.
    pub produce_id: Option<String>,
}

/// What a chunk adds.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChunkChoice {
    /// Always 0.
    pub index: u32,
    /// What is added.
    pub delta: Delta,
    /// Set in the last chunk with choices.
    #[schema(required = true)]
    pub finish_reason: Option<String>,
    /// Log probabilities when asked for.
    pub logprobs: Option<serde_json::Value>,
}

/// Added pieces of an answer.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Delta {
    /// `assistant`, in the first chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Thinking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Pieces of calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
}

/// A refusal or failure as API clients get it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorBody {
    /// What happened.
    pub error: ErrorObject,
}

/// What happened, in the form OpenAI clients know.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorObject {
    /// What happened, why, and what to do.
    pub message: String,
    /// Class, for example `invalid_request_error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Field of the request that is wrong, if one is.
    #[schema(required = true)]
    pub param: Option<String>,
    /// Code, for example `model_not_found`.
    pub code: String,
}
