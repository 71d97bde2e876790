//! People's acts: what `jingui` asks of the supervisor over `control.sock`, and the proofs a person gives.
//!
//! The gateway forwards the same proofs for people at the console ([`crate::gateway::Ask::Authenticate`]); the
//! supervisor checks them itself each time, so that a captured gateway cannot speak for an admin.

use serde::{Deserialize, Serialize};

use crate::status::{ModelFacts, Status};
use crate::update::{UpdateOffer, UpdateState};

/// Name of the socket in the state folder.
pub const SOCKET_NAME: &str = "control.sock";

/// One request. The reply comes on the same connection; several may be sent one after another.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Request {
    /// The box's status. Needs no proof.
    Status,
    /// Installed models. Needs no proof.
    Models,
    /// First-boot ceremony; only while the box is not set up.
    SetUp(SetUp),
    /// Import the package in the folder whose descriptor is attached. Needs a system and a security admin.
    Import {
        /// Name of the folder as the person typed it; used in messages only.
        folder_name: String,
        /// Proofs of the people who approve.
        proofs: Vec<Proof>,
        /// Serve this model from now on. Without it an imported model is served only if none is.
        activate: bool,
    },
    /// Make an API key. Needs a security admin.
    CreateKey {
        /// The security admin.
        proof: Proof,
        /// What the key is for, as shown in lists.
        label: String,
    },
    /// Make an ordinary user of the console. Needs a security admin.
    CreateUser {
        /// The security admin.
        proof: Proof,
        /// The user.
        user: NewUser,
    },
    /// Record that the log is being exported. Needs an auditor. The tool copies the files itself.
    ExportAudit {
        /// The auditor.
        proof: Proof,
    },
    /// Stop the box in order. Needs no proof here, since only the supervisor's own user can open the socket.
    ShutDown,
    /// Check the update bundle in the folder whose descriptor is attached. Needs no proof: nothing is written.
    CheckUpdate,
    /// Write the update bundle in the folder whose descriptor is attached into the other slot. Needs a system admin.
    ApplyUpdate {
        /// Proofs of the people who approve.
        proofs: Vec<Proof>,
    },
    /// Where the box stands between two images. Needs no proof.
    UpdateState,
}

/// Answer to a [`Request`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Models`].
    Models(Vec<ModelFacts>),
    /// The act is done and its leaf is inside a signed checkpoint on disk.
    Done {
        /// Index of the leaf.
        leaf_index: u64,
    },
    /// A model was imported.
    Imported {
        /// What was stored.
        model: Box<ModelFacts>,
        /// Index of the `model.verify` leaf.
        leaf_index: u64,
    },
    /// A key was made; this is the only time its secret is shown.
    Key {
        /// `<id>.<secret>`.
        key: Private,
        /// Index of the leaf.
        leaf_index: u64,
    },
    /// To [`Request::SetUp`].
    SetUpDone(SetUpDone),
    /// How far a long act is. More replies follow.
    Progress {
        /// Bytes done.
        done_bytes: u64,
        /// Bytes in all.
        total_bytes: u64,
    },
    /// The act was not done.
    Refused(Fault),
    /// To [`Request::CheckUpdate`]: the bundle is good, for this box, and newer than what runs.
    UpdateOffer(Box<UpdateOffer>),
    /// To [`Request::ApplyUpdate`]: it is in the other slot, read back, and starts with the next restart.
    UpdateWritten {
        /// What was written.
        offer: Box<UpdateOffer>,
        /// Index of the `update.apply` leaf.
        leaf_index: u64,
    },
    /// To [`Request::UpdateState`].
    UpdateState(Box<UpdateState>),
}

/// Why an act was not done, in the form people and scripts get it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Which exit code and HTTP status fit.
    pub kind: FaultKind,
    /// Stable code, for example `model.file.altered`; `messages` has the words for it.
    pub code: String,
    /// Facts for the words: name and value, for example `file` and `model.gguf`. Never content or secrets.
    pub facts: Vec<(String, String)>,
}

/// Kind of a [`Fault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultKind {
    /// The input is bad (exit 2, HTTP 400).
    Refused,
    /// The person may not do this, or the proof is wrong (exit 3, HTTP 401 or 403).
    NotAllowed,
    /// Not possible now; later it may be (exit 4, HTTP 503).
    Unavailable,
}

/// The three admins of the box, and people who only use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// System admin (系统管理员): runs, imports, updates.
    System,
    /// Security admin (安全管理员): accounts, keys, policy.
    Security,
    /// Auditor (安全审计员): reads and exports the log.
    Audit,
    /// Office worker or developer: uses the model.
    User,
}

/// What a person shows to be let in, or to act.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Proof {
    /// Account name.
    pub username: String,
    /// Typed password.
    pub password: Private,
    /// Six digits of the second factor.
    pub code: Private,
}

/// Text that is never printed and wipes itself.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Private(pub String);

impl std::fmt::Debug for Private {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(private)")
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // Best effort without unsafe code: same length, other bytes, through the same allocation.
        let length = self.0.len();
        self.0.clear();
        self.0.extend(std::iter::repeat_n('\0', length));
        std::hint::black_box(&self.0);
    }
}

/// The first-boot ceremony: three people, none of whom holds two roles.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SetUp {
    /// One-time code that the box showed on its own screen.
    pub setup_code: Private,
    /// Exactly one account for each of system, security and audit.
    pub accounts: Vec<NewAccount>,
    /// First ordinary user, made in the presence of the security admin.
    pub first_user: Option<NewUser>,
    /// Make a first API key with that label, in the presence of the security admin.
    pub first_key_label: Option<String>,
}

/// What the ceremony made. Each leaf is inside a signed checkpoint on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SetUpDone {
    /// Index of the last leaf of the ceremony.
    pub leaf_index: u64,
    /// `<id>.<secret>` of the first key, if one was asked for; shown only here.
    pub first_key: Option<Private>,
    /// Opens the encrypted state when the TPM would not; shown only here. `None` where nothing is encrypted.
    pub recovery_key: Option<Private>,
}

/// An ordinary user to be made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewUser {
    /// Name to sign in with.
    pub username: String,
    /// First password.
    pub password: Private,
    /// Base32 secret of the one-time codes.
    pub totp_secret: Private,
}

/// An admin to be made by the ceremony.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewAccount {
    /// System, security or audit.
    pub role: Role,
    /// Name to sign in with.
    pub username: String,
    /// Password, at least 12 characters of three classes.
    pub password: Private,
    /// Base32 secret of the one-time codes, made by the page or tool that shows it to the person.
    pub totp_secret: Private,
    /// A code of that secret: shows that the person's device holds it.
    pub totp_code: Private,
}
