//! Everything that can reach the loop. The list is closed: what is not here cannot happen to the supervisor.

use std::fs::File;
use std::os::fd::OwnedFd;

use jingui_ipc::control::{Proof, Request};
use jingui_ipc::engine::Report;
use jingui_ipc::gateway::ToSupervisor;
use jingui_ipc::screen;

use crate::acts::Asker;
use crate::evidence::{EvidenceFailure, Exported};
use crate::lifecycle::Why;
use crate::models::{ImportResult, LoadResult};
use crate::outbox::Outbox;
use crate::people::{AccountRefusal, CheckedPassword, Enrolled};
use crate::update::{self, Checked};
use crate::usb::StickRefusal;

/// Events that may wait for the loop. Threads that bring more wait themselves, and their peers behind them.
pub(crate) const EVENTS_MAX: usize = 1024;

/// One start of one of our processes; events of an earlier start are thrown away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Generation(pub(crate) u64);

/// One connection to the control socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// One act that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ActId(pub(crate) u64);

/// Which of our processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkerRole {
    /// Faces the LAN.
    Gateway,
    /// Runs the model.
    Engine,
}

/// Something that happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// The gateway said something.
    GatewaySaid(Generation, Box<ToSupervisor>),
    /// The engine said something.
    EngineSaid(Generation, Report),
    /// The conversation with a process ended, or broke.
    Silent(WorkerRole, Generation, Why),
    /// A process is gone and can be reaped.
    Exited(WorkerRole, Generation),
    /// A person's tool connected.
    Connected(ConnectionId, Outbox),
    /// A person's tool asked something, perhaps with descriptors.
    Asked(ConnectionId, Box<Request>, Vec<OwnedFd>),
    /// A person's tool went away, or said what is no request.
    Disconnected(ConnectionId),
    /// The passwords of an act were computed.
    Proved(ActId, Vec<CheckedPassword>),
    /// The passwords of the ceremony were hashed.
    Enrolled(ActId, Result<Enrolled, AccountRefusal>),
    /// How far an import is.
    ImportProgress(ActId, u64, u64),
    /// An import was checked and copied, or refused.
    Imported(ActId, Box<ImportResult>),
    /// The weights of a package that is being verified are open: the engine that will map them may be started.
    Opened(Generation, File),
    /// How far a verification for a start of the engine is: bytes done, bytes in all.
    Verifying(Generation, u64, u64),
    /// A package was verified for a start of the engine, or refused.
    Verified(Generation, Box<LoadResult>),
    /// A local screen connected.
    ScreenConnected(ConnectionId, Outbox),
    /// A local screen asked something.
    ScreenAsked(ConnectionId, Box<screen::ToSupervisor>),
    /// A local screen went away, or said what is no request.
    ScreenGone(ConnectionId),
    /// How far an act is that a screen waits for.
    ScreenProgress(ActId, screen::Progress),
    /// The stick of an update was looked for, on behalf of that asker and, where it is to be applied, of those people.
    UpdateStick(Asker, Option<Vec<Proof>>, Result<OwnedFd, StickRefusal>),
    /// The log was copied to a stick, or was not.
    Evidence(ActId, Box<Result<Exported, EvidenceFailure>>),
    /// A bundle with a new image was checked, or refused.
    UpdateChecked(ActId, Box<Checked>),
    /// A bundle with a new image was checked and copied, or refused.
    UpdateStaged(ActId, Box<update::StageResult>),
    /// How far the writing of a new image is: bytes done, bytes in all.
    UpdateProgress(ActId, u64, u64),
    /// A new image is in the other slot, or is not.
    UpdateWritten(ActId, Box<update::WriteResult>),
    /// The boot entries were read, or could not be.
    BootEntries(Box<update::EntriesResult>),
    /// The system asks the box to stop.
    StopSignal,
}
