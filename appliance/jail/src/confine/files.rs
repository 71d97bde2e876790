//! Landlock (landlock(7)): a second wall behind the empty root, and the only one on machines that give none.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope, make_bitflags,
};

use crate::confine::ConfineError;

/// Newest ABI whose rights were looked at; on an older kernel what it knows is in force.
const KNOWN: ABI = ABI::V7;

/// What SQLite needs below the gateway's folder. Nothing there can be executed, linked, or be a device or socket.
const STATE_RIGHTS: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir
});

/// Forbids the calling process all files but those below `state`, all new TCP connections and listeners, and
/// signals and abstract sockets of others. Returns the ABI that is in force, 0 when the kernel has none.
pub(super) fn restrict(state: Option<&Path>) -> Result<u32, ConfineError> {
    let refused = ConfineError::Landlock;
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(KNOWN)))
        .and_then(|rules| rules.scope(Scope::from_all(KNOWN)))
        .and_then(Ruleset::create)
        .map_err(refused)?;
    if let Some(state) = state {
        let folder = PathFd::new(state).map_err(|error| match error {
            landlock::PathFdError::OpenCall { source, .. } => ConfineError::Root {
                step: "opening the folder",
                source,
            },
            _ => ConfineError::Root {
                step: "opening the folder",
                source: std::io::ErrorKind::Other.into(),
            },
        })?;
        rules = rules
            .add_rule(PathBeneath::new(folder, STATE_RIGHTS))
            .map_err(refused)?;
    }
    let status = rules.restrict_self().map_err(refused)?;
    match (status.ruleset, status.landlock) {
        (landlock::RulesetStatus::NotEnforced, _) => Ok(0),
        (
            _,
            LandlockStatus::Available {
                effective_abi,
                kernel_abi,
            },
        ) => Ok(kernel_abi
            .and_then(|abi| u32::try_from(abi).ok())
            .unwrap_or(effective_abi as u32)
            .min(KNOWN as u32)),
        _ => Ok(0),
    }
}
