//! What the kernel says about a process, read from outside through `/proc`. Nothing here asks the process.
//!
//! Works for an ordinary user too: who made a user namespace may look into its processes (user_namespaces(7)), even
//! into those that are not dumpable.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use crate::namespace::Namespace;
use crate::sys;

/// Most threads that are looked at; a process with more has walls that were not all measured, so none counts.
const THREADS_MAX: usize = 4096;

/// Names that may lie in the root of a jailed process: the gateway's own folder.
const ROOT_ENTRIES: [&str; 1] = ["state"];

/// Mount options of a jailed process's root.
const ROOT_OPTIONS: [&str; 4] = ["ro", "nosuid", "nodev", "noexec"];

/// The walls round one process, each as measured. What could not be read counts as missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walls {
    /// It is in another user namespace than the caller.
    pub user_namespace: bool,
    /// It is in another network namespace, whose only interface is `lo`.
    pub network_namespace: bool,
    /// It is in another mount namespace.
    pub mount_namespace: bool,
    /// It is in another pid namespace, as process 1.
    pub pid_namespace: bool,
    /// It is in another ipc namespace.
    pub ipc_namespace: bool,
    /// Its root is an empty, read-only file system, or holds nothing but its own folder.
    pub empty_root: bool,
    /// It is a user of the host that is neither root nor the caller.
    pub own_user: bool,
    /// None of its threads has any capability, or could get one.
    pub no_capabilities: bool,
    /// All its threads are barred from new privileges.
    pub no_new_privileges: bool,
    /// All its threads are under a seccomp filter.
    pub seccomp: bool,
    /// Its limit for core dumps is 0 and cannot be raised.
    pub no_core_dumps: bool,
    /// Its user id on the host.
    pub host_uid: Option<u32>,
}

impl Walls {
    /// Each guarantee's name, as it follows `gateway.` or `engine.`, and whether it is in force.
    ///
    /// `landlock_abi` is what the process itself reported (0 for none): the kernel does not show it from outside.
    #[must_use]
    pub const fn guarantees(&self, landlock_abi: u32) -> [(&'static str, bool); 12] {
        [
            ("user-namespace", self.user_namespace),
            ("network-namespace", self.network_namespace),
            ("mount-namespace", self.mount_namespace),
            ("pid-namespace", self.pid_namespace),
            ("ipc-namespace", self.ipc_namespace),
            ("empty-root", self.empty_root),
            ("own-user", self.own_user),
            ("no-capabilities", self.no_capabilities),
            ("no-new-privileges", self.no_new_privileges),
            ("seccomp", self.seccomp),
            ("landlock", landlock_abi > 0),
            ("no-core-dumps", self.no_core_dumps),
        ]
    }
}

/// Measures the walls round a process that the caller started. Does not block.
///
/// The caller must hold the process (see [`crate::Child`]), so that its number cannot come to mean another one. A
/// process that has ended has no walls.
#[must_use]
pub fn measure(pid: u32) -> Walls {
    let process = Process {
        folder: PathBuf::from(format!("/proc/{pid}")),
    };
    let threads = process.thread_statuses().unwrap_or_default();
    let all = |holds: fn(&str) -> bool| !threads.is_empty() && threads.iter().all(|status| holds(status));
    let host_uid = threads.first().and_then(|status| only_uid(status));
    Walls {
        user_namespace: process.has_own(Namespace::User),
        network_namespace: process.has_own(Namespace::Network) && process.only_has_loopback(),
        mount_namespace: process.has_own(Namespace::Mount),
        pid_namespace: process.has_own(Namespace::Pid) && threads.first().is_some_and(|s| is_first(s)),
        ipc_namespace: process.has_own(Namespace::Ipc),
        empty_root: process.has_own(Namespace::Mount) && process.has_empty_root(),
        own_user: host_uid.is_some_and(|uid| uid != 0 && uid != sys::effective_uid()),
        no_capabilities: all(has_no_capabilities),
        no_new_privileges: all(|status| field(status, "NoNewPrivs:") == Some("1")),
        seccomp: all(|status| field(status, "Seccomp:") == Some("2")),
        no_core_dumps: process.cannot_dump(),
        host_uid,
    }
}

struct Process {
    folder: PathBuf,
}

impl Process {
    /// `status` of each thread, the first thread's first.
    fn thread_statuses(&self) -> io::Result<Vec<String>> {
        let mut statuses = vec![fs::read_to_string(self.folder.join("status"))?];
        for entry in fs::read_dir(self.folder.join("task"))? {
            match fs::read_to_string(entry?.path().join("status")) {
                Ok(status) => statuses.push(status),
                // A thread that ended since the list was read.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => {}
                Err(error) => return Err(error),
            }
            if statuses.len() > THREADS_MAX {
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
        }
        Ok(statuses)
    }

    fn has_own(&self, namespace: Namespace) -> bool {
        let ours = fs::read_link(format!("/proc/self/ns/{}", namespace.file_name()));
        let theirs = fs::read_link(self.folder.join("ns").join(namespace.file_name()));
        matches!((ours, theirs), (Ok(ours), Ok(theirs)) if ours != theirs)
    }

    fn only_has_loopback(&self) -> bool {
        fs::read_to_string(self.folder.join("net/dev")).is_ok_and(|table| interfaces(&table) == ["lo"])
    }

    /// By the list of mounts, and by a look into the root itself.
    fn has_empty_root(&self) -> bool {
        let mounts = fs::read_to_string(self.folder.join("mountinfo"));
        let entries = fs::read_dir(self.folder.join("root"));
        mounts.is_ok_and(|mounts| are_jail_mounts(&mounts))
            && entries.is_ok_and(|mut entries| {
                entries
                    .all(|entry| entry.is_ok_and(|e| ROOT_ENTRIES.iter().any(|name| e.file_name() == *name)))
            })
    }

    fn cannot_dump(&self) -> bool {
        fs::read_to_string(self.folder.join("limits")).is_ok_and(|limits| {
            field(&limits, "Max core file size")
                .is_some_and(|rest| rest.split_whitespace().take(2).collect::<Vec<_>>() == ["0", "0"])
        })
    }
}

/// Rest of the line that starts with `name`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

/// The user id, when real, effective, saved and file system ids are one.
fn only_uid(status: &str) -> Option<u32> {
    let uids: BTreeSet<&str> = field(status, "Uid:")?.split_whitespace().collect();
    match uids.len() {
        1 => uids.first()?.parse().ok(),
        _ => None,
    }
}

/// Whether it is process 1 of the innermost of at least two pid namespaces.
fn is_first(status: &str) -> bool {
    field(status, "NSpid:").is_some_and(|pids| pids.split_whitespace().skip(1).last() == Some("1"))
}

fn has_no_capabilities(status: &str) -> bool {
    ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"]
        .iter()
        .all(|set| field(status, set).is_some_and(|mask| u64::from_str_radix(mask, 16) == Ok(0)))
}

/// Names in a table such as `/proc/net/dev`: two lines of heading, then `name: numbers`.
fn interfaces(table: &str) -> Vec<&str> {
    table
        .lines()
        .skip(2)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim())
        .collect()
}

/// Exactly a sealed temporary file system at `/`, and at most the gateway's folder below it.
fn are_jail_mounts(mountinfo: &str) -> bool {
    let mounts: Option<Vec<Mount<'_>>> = mountinfo.lines().map(Mount::parse).collect();
    let Some(mounts) = mounts else { return false };
    let (roots, others): (Vec<_>, Vec<_>) = mounts.iter().partition(|mount| mount.place == "/");
    let [root] = roots.as_slice() else { return false };
    let has = |mount: &Mount<'_>, options: &[&str]| {
        options
            .iter()
            .all(|option| mount.options.split(',').any(|o| o == *option))
    };
    root.kind == "tmpfs"
        && has(root, &ROOT_OPTIONS)
        && others.len() <= ROOT_ENTRIES.len()
        && others
            .iter()
            .all(|mount| mount.place == "/state" && has(mount, &["nosuid", "nodev", "noexec"]))
}

/// One line of `mountinfo` (proc_pid_mountinfo(5)).
struct Mount<'a> {
    place: &'a str,
    options: &'a str,
    kind: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, source) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(4);
        Some(Self {
            place: fields.next()?,
            options: fields.next()?,
            kind: source.split(' ').next()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_other_text_is_an_empty_root(text in "[ -~\n]{0,200}") {
            prop_assert!(!are_jail_mounts(&text));
            prop_assert!(!has_no_capabilities(&text));
            prop_assert_eq!(only_uid(&text), None);
            prop_assert!(interfaces(&text) != ["lo"]);
        }
    }

    #[test]
    fn a_process_without_walls_is_measured_as_such() {
        let walls = measure(std::process::id());
        let namespaces = [
            walls.user_namespace,
            walls.network_namespace,
            walls.mount_namespace,
            walls.pid_namespace,
            walls.ipc_namespace,
        ];
        assert_eq!(namespaces, [false; 5]);
        assert!(!walls.empty_root && !walls.own_user && !walls.seccomp);
        assert_eq!(walls.host_uid, Some(sys::effective_uid()));
    }

    #[test]
    fn a_process_that_is_not_there_has_no_walls() {
        let walls = measure(u32::MAX);
        assert_eq!(walls, Walls::default());
        assert!(walls.guarantees(0).iter().all(|(_, in_force)| !in_force));
    }

    const ROOT: &str = "200 199 0:50 / / ro,nosuid,nodev,noexec,relatime - tmpfs jail rw,size=64k";
    const STATE: &str =
        "201 200 8:1 /var/s /state rw,nosuid,nodev,noexec,relatime master:1 - ext4 /dev/vda rw";

    fn check_mounts(lines: &[&str], expected: bool) {
        assert_eq!(are_jail_mounts(&lines.join("\n")), expected, "{lines:?}");
    }

    #[test]
    fn only_a_sealed_root_with_at_most_the_own_folder_is_empty() {
        check_mounts(&[ROOT], true);
        check_mounts(&[ROOT, STATE], true);
        check_mounts(&[], false);
        check_mounts(&[STATE], false);
        check_mounts(&[ROOT, ROOT], false);
        check_mounts(&[ROOT, STATE, STATE], false);
        check_mounts(
            &[ROOT, "202 200 0:5 / /proc rw,nosuid,nodev,noexec - proc proc rw"],
            false,
        );
        check_mounts(&[&ROOT.replace("ro,", "rw,")], false);
        check_mounts(&[&ROOT.replace("noexec,", "")], false);
        check_mounts(&[&ROOT.replace("tmpfs", "ext4")], false);
        check_mounts(&[ROOT, &STATE.replace("nosuid,", "")], false);
        check_mounts(&["not a line"], false);
    }

    #[test]
    fn interfaces_are_read_from_the_table() {
        let head = "Inter-| Receive\n face |bytes\n";
        assert_eq!(
            interfaces(&format!("{head}    lo: 0 0\n  eth0: 1 2\n")),
            ["lo", "eth0"]
        );
        assert_eq!(interfaces(head), [""; 0]);
    }

    #[test]
    fn mixed_user_ids_are_no_user() {
        assert_eq!(only_uid("Uid:\t61001\t61001\t61001\t61001\n"), Some(61001));
        assert_eq!(only_uid("Uid:\t61001\t0\t61001\t61001\n"), None);
        assert_eq!(only_uid(""), None);
    }

    #[test]
    fn one_bit_of_one_set_is_a_capability() {
        let none = "CapInh:\t0\nCapPrm:\t0000\nCapEff:\t0\nCapBnd:\t0\nCapAmb:\t0\n";
        assert!(has_no_capabilities(none));
        for set in ["Inh", "Prm", "Eff", "Bnd", "Amb"] {
            let line = format!("Cap{set}:\t0");
            assert!(
                !has_no_capabilities(&none.replace(&line, &format!("Cap{set}:\t8"))),
                "{set}"
            );
        }
        assert!(!has_no_capabilities("CapInh:\t0\n"));
    }
}
