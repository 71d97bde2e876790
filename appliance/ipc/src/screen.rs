//! The local screen and the supervisor: what the person at the monitor or the serial line sees and may ask for.
//!
//! The screen runs without rights and holds this socket only. The supervisor believes nothing it says: it authorises each
//! act again, checks the proofs of people itself, and records who was present. Each request has a number of the
//! screen's choice, so that looking goes on while an act runs; all replies to it carry that number.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::control::{Fault, Private, Proof};
use crate::network::{NetworkSettings, NetworkView};
use crate::status::Status;
use crate::update::UpdateOffer;

/// Where the socket lies in the image.
pub const SOCKET_PATH: &str = "/run/jingui/screen.sock";
/// User and group of the screen in the image; nothing else there has them.
pub const SCREEN_USER: u32 = 64_733;
/// Longest message in bytes, both ways: far above a status with all its guarantees.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Requests of one screen that may be unanswered.
pub const REQUESTS_MAX: usize = 4;
/// Longest text that a person typed, in bytes.
pub const TEXT_BYTES_MAX: usize = 256;
/// People who can approve one act.
pub const PROOFS_MAX: usize = 2;

/// From the screen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ToSupervisor {
    /// Chosen by the screen, unique while unanswered.
    pub number: u64,
    /// What is asked.
    pub request: Request,
}

/// To the screen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FromSupervisor {
    /// Number of the request.
    pub number: u64,
    /// What came of it.
    pub reply: Reply,
}

/// Closed list of what the screen may ask.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Request {
    /// What the first page shows. Needs no proof.
    Look,
    /// Interfaces and settings. Needs no proof.
    LookAtNetwork,
    /// Set the network. Whoever stands at the box could as well move its cable, so presence is enough.
    SetNetwork(NetworkSettings),
    /// Restart in order. Presence is enough: the power button does the same.
    Restart,
    /// Stop in order and switch off. As [`Request::Restart`].
    ShutDown,
    /// What the update on the stick is. Needs no proof: nothing is written.
    LookAtUpdate,
    /// Write the update on the stick into the other slot. Needs a system admin.
    ApplyUpdate {
        /// Who approves.
        proofs: Vec<Proof>,
    },
    /// Copy the audit log to the stick. Needs an auditor.
    ExportEvidence {
        /// Who approves.
        proofs: Vec<Proof>,
    },
    /// Destroy the keys of the state and restart. Needs a system admin once the box is set up.
    Reset {
        /// The serial of the box, as the person typed it.
        serial: String,
        /// Who approves; nobody before the ceremony.
        proofs: Vec<Proof>,
    },
}

/// Answer to a [`Request`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Look`].
    Picture(Box<Picture>),
    /// To [`Request::LookAtNetwork`].
    Network(NetworkView),
    /// To [`Request::LookAtUpdate`]: the bundle is signed by a key of this box and may be written.
    Update(Box<UpdateOffer>),
    /// How far an act is. More replies follow.
    Progress(Progress),
    /// The act is done, or begins now where it ends this conversation; its leaf is inside a signed checkpoint on disk.
    Done(Done),
    /// The act was not done.
    Refused(Fault),
}

/// What the first page shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// As `jingui status` has it.
    pub status: Status,
    /// Addresses under which people reach the box, link-local and loopback ones left out.
    pub addresses: Vec<IpAddr>,
    /// Port at those addresses.
    pub port: u16,
    /// SHA-256 of the device CA's certificate (DER), which people compare before they trust it.
    pub ca_fingerprint: [u8; 32],
    /// One-time code of the ceremony; only while the box is not set up.
    pub setup_code: Option<Private>,
    /// Packets that the firewall counted, by the counter's name; `None` where nothing counts.
    pub firewall: Option<Vec<(String, u64)>>,
}

/// How far an act is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Bytes done of this stage.
    pub done_bytes: u64,
    /// Bytes of this stage in all; 0 when nobody knows.
    pub total_bytes: u64,
}

/// What a long act is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Copying, and hashing what is copied.
    Copying,
    /// Reading back what was written.
    Verifying,
    /// Writing the other slot.
    Writing,
}

/// An act that is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Index of its leaf.
    pub leaf_index: u64,
    /// Facts for the words of the result, for example `folder`. Never content or secrets.
    pub facts: Vec<(String, String)>,
}
