//! The closed list of events, and what each one says beyond the fields that every leaf has (`det`).
//!
//! Adding an event, or a field to one, is a change of the format: [`crate::leaf::SCHEMA_VERSION`] then goes up, and
//! readers of the older form stay. No event has room for a prompt, an answer, a password or a key.

use jingui_trust::Sha256;

use crate::json::{INTEGER_MAX, Json, Object, hex};
use crate::leaf::{FieldFault, LeafRefusal};

/// Something that can stand in a leaf. `None` on the way out leaves the field away.
pub(crate) trait Field: Sized {
    /// The value as JSON.
    fn write(&self) -> Option<Json>;
    /// The value from JSON; `None` when the field is not there.
    fn read(json: Option<Json>) -> Result<Self, FieldFault>;
}

impl Field for String {
    fn write(&self) -> Option<Json> {
        Some(Json::Text(self.clone()))
    }

    fn read(json: Option<Json>) -> Result<Self, FieldFault> {
        match json {
            Some(Json::Text(text)) => Ok(text),
            Some(_) => Err(FieldFault::WrongType),
            None => Err(FieldFault::Missing),
        }
    }
}

impl Field for u64 {
    fn write(&self) -> Option<Json> {
        Some(Json::Integer(*self))
    }

    fn read(json: Option<Json>) -> Result<Self, FieldFault> {
        match json {
            Some(Json::Integer(value)) if value <= INTEGER_MAX => Ok(value),
            Some(_) => Err(FieldFault::WrongType),
            None => Err(FieldFault::Missing),
        }
    }
}

impl Field for bool {
    fn write(&self) -> Option<Json> {
        Some(Json::Boolean(*self))
    }

    fn read(json: Option<Json>) -> Result<Self, FieldFault> {
        match json {
            Some(Json::Boolean(value)) => Ok(value),
            Some(_) => Err(FieldFault::WrongType),
            None => Err(FieldFault::Missing),
        }
    }
}

impl Field for Sha256 {
    fn write(&self) -> Option<Json> {
        Some(Json::Text(hex(self.as_bytes())))
    }

    fn read(json: Option<Json>) -> Result<Self, FieldFault> {
        String::read(json)?.parse().map_err(|_| FieldFault::UnknownValue)
    }
}

impl Field for Vec<String> {
    fn write(&self) -> Option<Json> {
        Some(Json::List(self.iter().cloned().map(Json::Text).collect()))
    }

    fn read(json: Option<Json>) -> Result<Self, FieldFault> {
        match json {
            Some(Json::List(values)) => values
                .into_iter()
                .map(|value| String::read(Some(value)))
                .collect(),
            Some(_) => Err(FieldFault::WrongType),
            None => Err(FieldFault::Missing),
        }
    }
}

impl<T: Field> Field for Option<T> {
    fn write(&self) -> Option<Json> {
        self.as_ref().and_then(T::write)
    }

    fn read(json: Option<Json>) -> Result<Self, FieldFault> {
        json.map(|json| T::read(Some(json))).transpose()
    }
}

/// Takes a member out of an object.
pub(crate) fn take<T: Field>(object: &mut Object, name: &'static str) -> Result<T, LeafRefusal> {
    let position = object.iter().position(|(found, _)| found == name);
    let value = position.map(|position| object.swap_remove(position).1);
    T::read(value).map_err(|fault| LeafRefusal::Field { name, fault })
}

/// Puts a member into an object.
pub(crate) fn put<T: Field>(object: &mut Object, name: &'static str, value: &T) {
    if let Some(json) = value.write() {
        object.push((name.into(), json));
    }
}

/// Refuses what is left of an object after all known members were taken.
pub(crate) fn refuse_rest(object: &Object) -> Result<(), LeafRefusal> {
    match object.first() {
        None => Ok(()),
        Some((name, _)) => Err(LeafRefusal::UnknownField {
            name: name.to_string(),
        }),
    }
}

/// Declares an enum of words: how each is written in a leaf.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $( $(#[$variant_doc:meta])* $variant:ident = $word:literal ),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $( $(#[$variant_doc])* $variant ),* }

        impl $name {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// How it is written in a leaf.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// The value that is written so.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }

        impl Field for $name {
            fn write(&self) -> Option<Json> {
                Some(Json::Text(self.as_str().to_owned()))
            }

            fn read(json: Option<Json>) -> Result<Self, FieldFault> {
                Self::from_word(&String::read(json)?).ok_or(FieldFault::UnknownValue)
            }
        }
    };
}
pub(crate) use words;

words! {
    /// How a person proved who he is.
    Factors {
        /// Password and a one-time code (RFC 6238).
        PasswordTotp = "password+totp",
    }
}

words! {
    /// Kind of an account at its making.
    AccountKind {
        /// System admin.
        System = "system",
        /// Security admin.
        Security = "security",
        /// Auditor.
        Audit = "audit",
        /// Ordinary user.
        User = "user",
    }
}

words! {
    /// State of Secure Boot as the firmware reports it.
    SecureBoot {
        /// In force.
        On = "on",
        /// Not in force.
        Off = "off",
        /// The firmware does not say.
        Unknown = "unknown",
    }
}

words! {
    /// Dialect in which a request came.
    Family {
        /// OpenAI's.
        OpenAi = "openai",
        /// Zhipu's.
        Zhipu = "zhipu",
        /// Anthropic's.
        Anthropic = "anthropic",
        /// The chat page of the console.
        Console = "console",
    }
}

words! {
    /// How an answer ended.
    Finish {
        /// The model ended it.
        Stop = "stop",
        /// The limit of tokens was reached.
        Length = "length",
        /// The model called tools.
        ToolCalls = "tool_calls",
        /// The client went away or stopped it.
        Cancelled = "cancelled",
        /// It failed.
        Error = "error",
    }
}

words! {
    /// One of our processes.
    Worker {
        /// Faces the LAN.
        Gateway = "gateway",
        /// Runs a model.
        Engine = "engine",
    }
}

words! {
    /// Why the box stops in order.
    ShutdownReason {
        /// A person asked for it.
        Asked = "asked",
        /// The system sent a signal.
        Signal = "signal",
        /// It goes back to the state of the factory.
        Reset = "reset",
    }
}

words! {
    /// Who said how the box stands in its network.
    NetworkOrigin {
        /// A person at the local screen.
        Screen = "screen",
        /// The first-boot ceremony.
        Ceremony = "ceremony",
        /// The file that the installation left behind.
        Medium = "medium",
    }
}

words! {
    /// What a person at the box does to its power.
    PowerAct {
        /// Starts it again.
        Restart = "restart",
        /// Switches it off.
        ShutDown = "shutdown",
    }
}

/// Declares the events: name as written in `evt`, and the fields of `det`.
macro_rules! events {
    ($( $(#[$doc:meta])* $variant:ident = $name:literal { $( $(#[$field_doc:meta])* $field:ident: $type:ty ),* $(,)? } )*) => {
        /// What happened. The names of fields are the names in `det`.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Event {
            $( $(#[$doc])* $variant { $( $(#[$field_doc])* $field: $type ),* } ),*
        }

        impl Event {
            /// Every name that `evt` can have.
            pub const NAMES: &[&str] = &[$($name),*];

            /// The name as written in `evt`.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $( Self::$variant { .. } => $name ),* }
            }

            /// `det`.
            pub(crate) fn details(&self) -> Object {
                // Events without fields leave it as it is.
                #[allow(unused_mut)]
                let mut object = Object::new();
                match self {
                    $( Self::$variant { $($field),* } => { $( put(&mut object, stringify!($field), $field); )* } ),*
                }
                object
            }

            /// The event of that name with that `det`.
            pub(crate) fn parse(name: &str, details: Object) -> Result<Self, LeafRefusal> {
                let mut details = details;
                let event = match name {
                    $( $name => Self::$variant { $( $field: take(&mut details, stringify!($field))? ),* }, )*
                    other => return Err(LeafRefusal::UnknownEvent { name: other.to_owned() }),
                };
                refuse_rest(&details)?;
                Ok(event)
            }
        }
    };
}

events! {
    /// First leaf of a log.
    Genesis = "genesis" {
        /// Serial of the device.
        serial: String,
        /// Verifier key of the log.
        log_vkey: String,
        /// Verifier keys of the witnesses known from the start.
        witness_vkeys: Vec<String>,
        /// Measured digest of the OS image; absent on a developer's machine.
        image: Option<Sha256>,
        /// Digest of the TPM's endorsement certificate; absent without a TPM.
        tpm_ek: Option<Sha256>,
        /// Digest of the SM2 certificate; absent without one.
        sm2_certificate: Option<Sha256>,
    }
    /// The supervisor started and opened the log.
    Boot = "boot" {
        /// Version of the product.
        version: String,
        /// Security version of the running image.
        security_version: u64,
        /// Measured digest of the OS image; absent on a developer's machine.
        image: Option<Sha256>,
        /// Secure Boot.
        secure_boot: SecureBoot,
        /// Whether no sealed image is under the supervisor.
        developer_mode: bool,
        /// Version of the image, as its signer published it; absent on a developer's machine, as are all that follow.
        image_version: Option<String>,
        /// Vendor and version of the firmware.
        firmware: Option<String>,
        /// Whether anybody may replace the keys of Secure Boot.
        setup_mode: Option<bool>,
        /// PCRs of the TPM's SHA-256 bank, each `<index>:<hex>`.
        pcrs: Option<Vec<String>>,
        /// Digest of the firmware's event log, from which the PCRs can be computed.
        event_log: Option<Sha256>,
        /// Milliseconds of the TPM's clock.
        tpm_clock_ms: Option<u64>,
        /// Starts of the machine that the TPM counted.
        tpm_reset_count: Option<u64>,
        /// Wake-ups of the machine that the TPM counted.
        tpm_restart_count: Option<u64>,
        /// Least security version of an image, by the TPM's counter.
        floor: Option<u64>,
        /// What opened the state: `tpm`, `recovery-key`, `passphrase`, `key-stick`.
        state_opened_by: Option<String>,
        /// Whether the supervisor did not stop in order before this start; absent in logs of before.
        unclean: Option<bool>,
    }
    /// The first-boot ceremony made the three admins.
    SetUp = "setup" {
        /// Account id of the system admin.
        system: String,
        /// Account id of the security admin.
        security: String,
        /// Account id of the auditor.
        audit: String,
    }
    /// Leaves that a crash had left outside of a checkpoint were taken in again.
    AuditRecovered = "audit.recovered" {
        /// Leaves in the checkpoint that was found.
        checkpoint_size: u64,
        /// Leaves beyond it.
        recovered_count: u64,
    }
    /// The log is being copied out.
    ExportAudit = "export.audit" {
        /// Leaves in the newest checkpoint at that moment.
        size: u64,
        /// Its root.
        root: Sha256,
    }
    /// A model package was checked: on import, and again before it is loaded.
    ModelVerify = "model.verify" {
        /// Digest of the package, once known.
        package: Option<Sha256>,
        /// Digest of the weights, once known.
        weights: Option<Sha256>,
        /// Name of the model, once known.
        name: Option<String>,
        /// Version of the release, once known.
        version: Option<String>,
        /// Anti-rollback number, once known.
        security_version: Option<u64>,
        /// Hint of the vendor key, once known.
        signed_by: Option<Sha256>,
        /// The file because of which the package was refused.
        file: Option<String>,
        /// Account ids of the people who approved the import; none when it is not an import.
        approvers: Vec<String>,
    }
    /// A model was loaded into an engine, or could not be.
    ModelLoad = "model.load" {
        /// Digest of the package.
        package: Sha256,
        /// Digest of the weights as hashed on the descriptor that is mapped.
        weights: Sha256,
        /// Name of the model.
        name: String,
        /// Streams that run at once; absent when it could not be loaded.
        stream_count: Option<u64>,
        /// Context of one stream in tokens; absent when it could not be loaded.
        stream_context_tokens: Option<u64>,
    }
    /// A model was taken out of service.
    ModelUnload = "model.unload" {
        /// Digest of the package.
        package: Sha256,
        /// Name of the model.
        name: String,
    }
    /// One of our processes died, hung or was stopped, and is started again.
    WorkerRestart = "worker.restart" {
        /// Which.
        worker: Worker,
        /// How often since the supervisor started, this one included.
        restart_count: u64,
        /// Wait before the start in milliseconds.
        back_off_ms: u64,
    }
    /// The box stops in order.
    Shutdown = "shutdown" {
        /// Why.
        reason: ShutdownReason,
        /// Milliseconds since the supervisor started.
        uptime_ms: u64,
    }
    /// A person at the box restarts it or switches it off. The `shutdown` leaf follows.
    PowerAsk = "power.ask" {
        /// Which of the two.
        act: PowerAct,
    }
    /// The network was set.
    NetworkSet = "network.set" {
        /// Who said so.
        origin: NetworkOrigin,
        /// One line for each interface, for example `ens3 static 10.0.2.15/24 via 10.0.2.2`.
        interfaces: Vec<String>,
    }
    /// A bundle with a new image was checked.
    UpdateCheck = "update.check" {
        /// Version of the image that runs.
        running: String,
        /// Version of the bundle, once known.
        version: Option<String>,
        /// Its number against rollback, once known.
        security_version: Option<u64>,
        /// Root hash of its image, once known.
        roothash: Option<Sha256>,
        /// Hint of the key that signed it, once known.
        signed_by: Option<Sha256>,
    }
    /// A bundle was checked and copied, and goes into the other slot; or it did not get there.
    UpdateApply = "update.apply" {
        /// Version of the image that runs.
        running: String,
        /// Version of the bundle, once known.
        version: Option<String>,
        /// Its number against rollback, once known.
        security_version: Option<u64>,
        /// Root hash of its image, once known.
        roothash: Option<Sha256>,
        /// Hint of the key that signed it, once known.
        signed_by: Option<Sha256>,
    }
    /// An image that was applied runs, and was found good: it stays.
    UpdateBless = "update.bless" {
        /// Its version.
        version: String,
        /// Its number against rollback: nothing older is accepted from now on.
        security_version: u64,
        /// Its root hash.
        roothash: Sha256,
    }
    /// An image that was applied did not start or was not healthy: the older one runs again.
    UpdateFallBack = "update.fall-back" {
        /// Version that was tried.
        version: String,
        /// Version that runs.
        running: String,
    }
    /// All keys of the state are going to be destroyed, and this log with them.
    FactoryReset = "factory.reset" {}
    /// A person was let in.
    AuthLogin = "auth.login" {
        /// What he showed.
        factors: Factors,
    }
    /// A person was not let in, or a proof for an act was wrong.
    AuthFail = "auth.fail" {
        /// Wrong tries in a row; absent when there is no such account.
        failure_count: Option<u64>,
    }
    /// A session ended.
    AuthLogout = "auth.logout" {}
    /// An account was locked.
    AuthLock = "auth.lock" {
        /// For how long, in seconds.
        seconds: u64,
    }
    /// An account was made.
    AccountCreate = "account.create" {
        /// Its id.
        account: String,
        /// Its kind.
        kind: AccountKind,
    }
    /// An API key was made.
    KeyCreate = "key.create" {
        /// Public part of the key.
        key: String,
        /// Account id of the owner, when it is not the actor.
        owner: Option<String>,
    }
    /// A request to a model ended. Its `ProduceID` is `<serial>-<leaf index>`.
    InferRequest = "infer.request" {
        /// Request id as given to the client.
        request: String,
        /// Dialect of the request.
        family: Family,
        /// Digest of the package that answered.
        package: Sha256,
        /// Prompt tokens.
        prompt_tokens: u64,
        /// Tokens made.
        completion_tokens: u64,
        /// How it ended.
        finish: Finish,
    }
    /// The console reported a failure of its own.
    ConsoleError = "console.error" {}
}
