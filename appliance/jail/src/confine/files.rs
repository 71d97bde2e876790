//! Landlock (landlock(7)): a second wall behind the empty root, and the only one on machines that give none.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope, make_bitflags,
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
        let folder =
            PathFd::new(state).map_err(|error| ConfineError::Folder(std::io::Error::other(error)))?;
        rules = rules
            .add_rule(PathBeneath::new(folder, STATE_RIGHTS))
            .map_err(refused)?;
    }
    let status = rules.restrict_self().map_err(refused)?;
    Ok(match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => 0,
        (_, LandlockStatus::Available { effective_abi, .. }) => effective_abi.min(KNOWN) as u32,
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::net::{TcpListener, TcpStream};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

    /// Landlock binds the calling thread and its children, so each claim is tried in a thread of its own.
    fn behind_landlock(state: Option<&Path>, attempt: impl FnOnce(u32) + Send) {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| attempt(restrict(state).unwrap()));
            thread.join().unwrap();
        });
    }

    fn is_refused<T>(result: std::io::Result<T>) -> bool {
        result.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    }

    #[test]
    fn landlock_alone_leaves_an_engine_no_file() {
        behind_landlock(None, |abi| {
            assert!(
                abi > 0,
                "SKIPPED, NOTHING WAS TESTED: this kernel has no landlock"
            );
            assert!(is_refused(File::open("/etc/passwd")));
            assert!(is_refused(fs::read_dir("/")));
            assert!(is_refused(File::open("/proc/self/maps")));
        });
    }

    #[test]
    fn landlock_alone_leaves_a_gateway_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let beside = tempfile::tempdir().unwrap();
        behind_landlock(Some(folder.path()), |_| {
            let own = folder.path().join("own");
            fs::write(&own, "own").unwrap();
            assert_eq!(fs::read(&own).unwrap(), b"own");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
            assert!(is_refused(File::create(beside.path().join("file"))));
            assert!(fs::rename(&own, beside.path().join("file")).is_err());
            assert!(is_refused(std::os::unix::fs::symlink(
                "/etc",
                folder.path().join("link")
            )));
            assert!(is_refused(File::open(folder.path().join("../../etc/passwd"))));
            fs::remove_file(&own).unwrap();
        });
    }

    #[test]
    fn landlock_alone_lets_nobody_dial_listen_or_reach_an_abstract_socket() {
        let host = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = host.local_addr().unwrap();
        let name = format!("jingui-landlock-test-{}", std::process::id());
        let name = SocketAddr::from_abstract_name(name).unwrap();
        let _abstract_socket = UnixListener::bind_addr(&name).unwrap();
        behind_landlock(None, |abi| {
            assert_eq!(is_refused(TcpStream::connect(address)), abi >= 4);
            assert_eq!(is_refused(TcpListener::bind("127.0.0.1:0")), abi >= 4);
            assert_eq!(is_refused(UnixStream::connect_addr(&name)), abi >= 6);
        });
    }
}
