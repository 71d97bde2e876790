//! Supervisor and gateway.
//!
//! The supervisor starts the gateway with [`CONTROL_FD`] and [`LISTENER_FD`], sends [`ToGateway::Configure`]
//! first, and [`ToGateway::Engine`] whenever an engine serves. The gateway may ask a closed list of acts; each is
//! authorised again on the supervisor's side and logged there.

use serde::{Deserialize, Serialize};

use crate::control::{Fault, NewUser, Private, Proof, Role, SetUp, SetUpDone};
use crate::status::{ModelFacts, Status};

/// Descriptor of the socket to the supervisor in the gateway.
pub const CONTROL_FD: i32 = 3;
/// Descriptor of the bound and listening TCP socket in the gateway.
pub const LISTENER_FD: i32 = 4;
/// Descriptor of the gateway's own state folder in the gateway; after confinement the folder is its `/state`.
pub const STATE_FD: i32 = 5;

/// From the supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ToGateway {
    /// First message; once.
    Configure(Box<Configuration>),
    /// A model is loaded; the attached descriptor is the gateway's end of the socket to its engine. Nobody is answered
    /// by it before [`ToGateway::Promote`].
    Engine(Box<Engine>),
    /// The engine of that package, which was introduced before, answers from now on, and no other: new requests go to
    /// it, streams that run elsewhere end there.
    Promote {
        /// [`ModelFacts::package_digest`].
        package_digest: String,
    },
    /// The engine of that model is gone: running requests end with an error, new ones wait or are told.
    EngineGone {
        /// [`ModelFacts::package_digest`].
        package_digest: String,
        /// Stable code, for example `engine.crashed`, `engine.hung`.
        why: String,
    },
    /// Answer to an [`Ask`] of that number.
    Answer {
        /// Number that the gateway chose.
        number: u64,
        /// What came of it.
        answer: Answer,
    },
    /// Do something that only the gateway's tables can do, then send [`ToSupervisor::Outcome`].
    Do {
        /// Number that the supervisor chose.
        number: u64,
        /// What to do. It was authorised by the supervisor.
        task: Task,
    },
    /// Finish what runs within that time, then exit.
    Drain {
        /// Milliseconds from now.
        deadline_ms: u64,
    },
}

/// What the gateway needs to serve.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Configuration {
    /// PEM chain of the listener's certificate, leaf first.
    pub certificate_chain_pem: String,
    /// PEM (PKCS #8) of its key.
    pub certificate_key_pem: Private,
    /// PEM of the device CA, offered for download.
    pub ca_pem: String,
    /// 32 bytes from which API keys and session secrets are derived; known to supervisor and gateway only.
    pub key_root: [u8; 32],
    /// Port under which people reach the box, for messages.
    pub port: u16,
    /// Serial of the device, first part of each `ProduceID`.
    pub serial: String,
}

/// A serving model.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Engine {
    /// Facts of its verified package.
    pub model: ModelFacts,
    /// Chat template text from the verified GGUF.
    pub chat_template: String,
    /// Context of one stream in tokens: prompt and answer together.
    pub stream_context_tokens: u32,
    /// Streams that run at once; more are queued by the engine.
    pub stream_count: u32,
}

/// From the gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "moved once, straight into or out of a frame"
)]
pub enum ToSupervisor {
    /// The gateway is behind its walls and accepts connections.
    Ready {
        /// Landlock ABI that is in force, 0 for none; the other walls are measured from outside.
        landlock_abi: u32,
    },
    /// Alive; at least once a second.
    Beat,
    /// A request for an act; answered by [`ToGateway::Answer`] with the same number.
    Ask {
        /// Chosen by the gateway, unique while unanswered.
        number: u64,
        /// What is asked.
        ask: Ask,
    },
    /// Outcome of a [`ToGateway::Do`].
    Outcome {
        /// The supervisor's number.
        number: u64,
        /// What came of it.
        outcome: Result<Produced, Fault>,
    },
}

/// Closed list of what the gateway may ask.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Ask {
    /// The box's status.
    Status,
    /// Installed models.
    Models,
    /// Check an admin's proof and open a session. Recorded as `auth.login` or `auth.fail`.
    Authenticate {
        /// The person's proof.
        proof: Proof,
        /// Address of the person's machine.
        source: String,
    },
    /// First-boot ceremony.
    SetUp {
        /// The three admins.
        set_up: SetUp,
        /// Address of the person's machine.
        source: String,
    },
    /// Write one leaf. Answered after it is inside a signed checkpoint on disk.
    Record(Record),
}

/// Events of the gateway that become leaves. Content never travels here, only commitments.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Account id or key id.
    pub actor: String,
    /// Role at that moment; `None` for API keys.
    pub role: Option<Role>,
    /// Session id, empty for API keys.
    pub session: String,
    /// Address of the client.
    pub source: String,
    /// What happened.
    pub event: Event,
    /// How it ended.
    pub outcome: Outcome,
    /// Rule id or error code when it did not end well, else empty.
    pub why: String,
}

/// What happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Event {
    /// `auth.login` or `auth.fail` of an ordinary user, by outcome.
    UserLogin,
    /// `auth.logout`.
    Logout,
    /// `key.create`; the id of the new key, never its secret.
    KeyCreated {
        /// Public part of the key.
        key_id: String,
    },
    /// `account.create` of an ordinary user.
    UserCreated {
        /// Account id.
        account_id: String,
    },
    /// `infer.request`.
    Inference(Inference),
    /// `console.error`: the console's own failure report.
    ConsoleError,
}

/// One answered, cancelled or failed request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Inference {
    /// Request id as given to the client.
    pub request_id: String,
    /// `openai` or `console`.
    pub family: String,
    /// Digest of the model package that answered.
    pub package_digest: String,
    /// Prompt tokens.
    pub prompt_tokens: u64,
    /// Tokens made.
    pub completion_tokens: u64,
    /// `stop`, `length`, `tool_calls`, `cancelled`, `error`.
    pub finish: String,
    /// `SHA256("auditcommit/v1\n" || salt || prompt)`.
    pub prompt_commitment: [u8; 32],
    /// `SHA256("auditcommit/v1\n" || salt || answer)`.
    pub answer_commitment: [u8; 32],
}

/// How an event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Done.
    Ok,
    /// Not allowed.
    Deny,
    /// Failed.
    Error,
}

/// Answer to an [`Ask`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Ask::Status`].
    Status(Box<Status>),
    /// To [`Ask::Models`].
    Models(Vec<ModelFacts>),
    /// To [`Ask::Authenticate`]: who it is. The leaf is on disk.
    Person {
        /// Account id.
        account_id: String,
        /// Account name.
        username: String,
        /// Role.
        role: Role,
        /// Session id, used in leaves.
        session: String,
    },
    /// To [`Ask::Record`]: the leaf is inside a signed checkpoint on disk.
    Recorded {
        /// Index of the leaf.
        leaf_index: u64,
    },
    /// To [`Ask::SetUp`].
    SetUpDone(SetUpDone),
    /// Not done.
    Refused(Fault),
}

/// What only the gateway's tables can do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Task {
    /// Make an API key.
    CreateKey {
        /// What the key is for.
        label: String,
        /// Account id of its owner.
        owner: String,
    },
    /// Make an ordinary user.
    CreateUser(NewUser),
    /// Ask an engine that was introduced the golden prompts of its release, greedily, and compare.
    AskGolden {
        /// [`ModelFacts::package_digest`].
        package_digest: String,
        /// The prompts, as the signed release has them.
        prompts: Vec<GoldenPrompt>,
    },
}

/// A question whose answer the vendor signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoldenPrompt {
    /// Body of an OpenAI chat request without `model`: messages, tools and switches, as JSON.
    pub request: String,
    /// The message that must come back, as JSON: `content`, `tool_calls` and `reasoning_content` where present.
    pub expected: String,
}

/// Outcome of a [`Task`]. The supervisor writes the leaf before it tells the person.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Produced {
    /// A key.
    Key {
        /// Public part.
        key_id: String,
        /// `<id>.<secret>`, shown once.
        key: Private,
    },
    /// A user.
    User {
        /// Account id.
        account_id: String,
    },
    /// The golden prompts were asked.
    Golden {
        /// How many were asked.
        asked_count: u32,
        /// Index of the first whose answer was another, if any.
        first_wrong_index: Option<u32>,
    },
}
