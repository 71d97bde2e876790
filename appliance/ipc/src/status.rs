//! What the box says about itself: health, processes, guarantees. Shown by `jingui status` and the console.

use serde::{Deserialize, Serialize};

/// A whole picture of the box at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the product.
    pub version: String,
    /// Serial of this device; the middle part of the audit log's origin.
    pub serial: String,
    /// The one word a person looks at first.
    pub health: Health,
    /// Why health is not [`Health::Ok`]: stable codes, explained in the manual.
    pub reasons: Vec<String>,
    /// Facts for those of the reasons that have some, for example how much memory a model needs.
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
    pub serving: Option<ModelFacts>,
    /// Each promise, and whether it holds on this machine now.
    pub guarantees: Vec<Guarantee>,
    /// What is measured of the machine, beside what the image's signer published; none on a developer's machine.
    pub platform: Vec<PlatformFact>,
    /// State of the audit log.
    pub audit: AuditState,
    /// Milliseconds since the supervisor started.
    pub uptime_ms: u64,
}

/// Facts for the words of a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// Which of [`Status::reasons`].
    pub code: String,
    /// Name and value, for example `needs` and `21.3 GiB`.
    pub facts: Vec<(String, String)>,
}

/// Health of the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Everything serves.
    Ok,
    /// Starting, or a part is being restarted.
    Starting,
    /// Something that should serve does not.
    Degraded,
    /// The audit log cannot be written: acts and inference are stopped, export still works.
    Stopped,
}

/// One process of the box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// `gateway` or `engine`.
    pub role: String,
    /// Process id in the supervisor's namespace; `None` while it is down.
    pub pid: Option<u32>,
    /// `starting`, `serving`, `restarting`, `stopped`.
    pub phase: String,
    /// How often it was restarted since the supervisor started.
    pub restart_count: u32,
    /// Steps that the engine's loop made: the heartbeat. `None` for the gateway.
    pub step_count: Option<u64>,
    /// Name and version of the model that an engine runs or is to run. `None` for the gateway.
    pub model: Option<String>,
    /// How far a starting engine is; `None` when it is not starting.
    pub progress: Option<Progress>,
}

/// How far the start of an engine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// `verifying`: its weights are hashed; `loading`: the engine loads them; `asking`: it is asked the golden prompts.
    pub stage: String,
    /// Thousandths of the stage.
    pub permille: u16,
}

/// One promise of the box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guarantee {
    /// Stable name, for example `engine.network-namespace` or `platform.secure-boot`.
    pub name: String,
    /// `process` for the walls round our processes, `platform` for what only the sealed image can give.
    pub group: String,
    /// Whether it is in force on this machine now, as measured and not as intended.
    pub in_force: bool,
    /// When not: a stable code that says why.
    pub why: Option<String>,
}

/// One fact about the machine under the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformFact {
    /// Stable name, for example `image-root` or `pcr-7`.
    pub name: String,
    /// As measured; `None` when it cannot be.
    pub measured: Option<String>,
    /// As the image's signer published it; `None` when it says nothing about it.
    pub published: Option<String>,
}

/// State of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// Name under which clients ask for it.
    pub name: String,
    /// Version of the release.
    pub version: String,
    /// Anti-rollback number.
    pub security_version: u64,
    /// Root digest of the signed statement: SHA-256, lower-case hex. Names the package.
    pub package_digest: String,
    /// SHA-256 of the GGUF file, lower-case hex.
    pub weights_digest: String,
    /// Bytes of the GGUF file.
    pub weights_bytes: u64,
    /// Hint of the vendor key that signed it: hex SHA-256 of its PEM text.
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
    /// Tensor types with their number of tensors, most frequent first, for example `F16 30`.
    pub tensor_types: Vec<(String, u32)>,
    /// `tokenizer.ggml.model` and `.pre`, for example `gpt2/glm4`.
    pub tokenizer: String,
    /// SHA-256 of the chat template, lower-case hex.
    pub chat_template_digest: String,
    /// Licence from `release.json`.
    pub license: String,
    /// Filing number (备案号) from `release.json`, empty when the release has none.
    pub filing_number: String,
    /// When it was imported, RFC 3339 UTC.
    pub imported_at: String,
    /// `stored`, `loading`, `serving`, `failed`.
    pub state: String,
}
