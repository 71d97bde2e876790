//! All that the new process needs, made ready in the caller, so that nothing is allocated between clone and exec.

use std::ffi::{CString, c_char};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::ptr;

use crate::launch::{
    DESCRIPTOR_NUMBER_MAX, Identity, LAUNCHED_VARIABLE, Launch, LaunchError, Limits, Strictness,
};
use crate::namespace::Namespace;
use crate::sys;

/// First number that is not standard input, output or error.
const FIRST_DESCRIPTOR: RawFd = 3;

/// The new process's side.
pub(super) struct Plan {
    pub(super) program: OwnedFd,
    pub(super) arguments: TextList,
    pub(super) environment: TextList,
    pub(super) places: Vec<Place>,
    /// Ranges of numbers to close first: all but 0, 1, 2 and the duplicates in this plan.
    pub(super) closed: Vec<(u32, u32)>,
    pub(super) go: OwnedFd,
    pub(super) report: OwnedFd,
    pub(super) identity: Identity,
    pub(super) limits: Limits,
    pub(super) has_user_namespace: bool,
    pub(super) has_uts_namespace: bool,
}

/// The caller's ends of the two pipes.
pub(super) struct Ours {
    pub(super) go: File,
    pub(super) report: File,
}

/// A descriptor and the number that it gets.
pub(super) struct Place {
    pub(super) source: OwnedFd,
    pub(super) target: RawFd,
    /// For a folder that the new process must make a mount of.
    pub(super) folder: Option<Folder>,
}

/// Where a folder is, and how to know that it is still the same.
pub(super) struct Folder {
    pub(super) path: CString,
    pub(super) device: libc::dev_t,
    pub(super) inode: libc::ino_t,
}

/// A null-terminated list of texts as exec wants it. The texts live as long as the list.
pub(super) struct TextList {
    _texts: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl TextList {
    fn new(texts: Vec<CString>) -> Self {
        let pointers = texts
            .iter()
            .map(|text| text.as_ptr())
            .chain([ptr::null()])
            .collect();
        Self {
            _texts: texts,
            pointers,
        }
    }

    pub(super) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

impl Plan {
    pub(super) fn prepare(launch: Launch, namespaces: &[Namespace]) -> Result<(Self, Ours), LaunchError> {
        if matches!(
            launch.identity,
            Identity::Mapped { uid: 0, .. } | Identity::Mapped { gid: 0, .. }
        ) {
            return Err(LaunchError::PrivilegedIdentity);
        }
        check_numbers(&launch.descriptors)?;
        Self::make(launch, namespaces).map_err(LaunchError::Prepare)
    }

    fn make(launch: Launch, namespaces: &[Namespace]) -> io::Result<(Self, Ours)> {
        let (go, our_go) = sys::pipe()?;
        let (our_report, report) = sys::pipe()?;
        let has = |namespace| namespaces.contains(&namespace);
        let mut plan = Self {
            program: out_of_the_way(launch.program.as_fd())?,
            arguments: TextList::new([launch.name].into_iter().chain(launch.arguments).collect()),
            environment: environment(launch.environment, launch.strictness, namespaces)?,
            places: places(
                launch.descriptors,
                launch.stdout,
                launch.stderr,
                has(Namespace::Mount),
            )?,
            closed: Vec::new(),
            go: out_of_the_way(go.as_fd())?,
            report: out_of_the_way(report.as_fd())?,
            identity: launch.identity,
            limits: launch.limits,
            has_user_namespace: has(Namespace::User),
            has_uts_namespace: has(Namespace::Uts),
        };
        plan.closed = plan.numbers_to_close();
        Ok((
            plan,
            Ours {
                go: File::from(our_go),
                report: File::from(our_report),
            },
        ))
    }

    fn numbers_to_close(&self) -> Vec<(u32, u32)> {
        let own = [&self.program, &self.go, &self.report];
        let mut kept: Vec<RawFd> = own
            .into_iter()
            .chain(self.places.iter().map(|place| &place.source))
            .map(AsRawFd::as_raw_fd)
            .collect();
        kept.sort_unstable();
        gaps(
            FIRST_DESCRIPTOR.unsigned_abs(),
            kept.into_iter().map(RawFd::unsigned_abs),
        )
    }
}

/// Ranges from `first` on that hold none of the ascending `kept`.
fn gaps(first: u32, kept: impl Iterator<Item = u32>) -> Vec<(u32, u32)> {
    let mut gaps = Vec::new();
    let mut next = first;
    for number in kept {
        if number > next {
            gaps.push((next, number - 1));
        }
        next = number + 1;
    }
    gaps.push((next, u32::MAX));
    gaps
}

fn check_numbers(descriptors: &[(OwnedFd, RawFd)]) -> Result<(), LaunchError> {
    let mut numbers: Vec<RawFd> = descriptors.iter().map(|(_, number)| *number).collect();
    numbers.sort_unstable();
    let twice = numbers.windows(2).find_map(|pair| match pair {
        [a, b] if a == b => Some(*a),
        _ => None,
    });
    let outside = numbers
        .iter()
        .copied()
        .find(|n| !(FIRST_DESCRIPTOR..DESCRIPTOR_NUMBER_MAX).contains(n));
    twice
        .or(outside)
        .map_or(Ok(()), |number| Err(LaunchError::DescriptorNumber(number)))
}

/// A duplicate above every number that a place may have, so that placing one never overwrites another.
fn out_of_the_way(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    sys::duplicate_from(fd, DESCRIPTOR_NUMBER_MAX)
}

fn places(
    descriptors: Vec<(OwnedFd, RawFd)>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    has_mount_namespace: bool,
) -> io::Result<Vec<Place>> {
    let null = OwnedFd::from(File::open("/dev/null")?);
    let standard = [(Some(null), 0), (stdout, 1), (stderr, 2)];
    let standard = standard
        .into_iter()
        .filter_map(|(fd, number)| fd.map(|fd| (fd, number)));
    let mut places = Vec::new();
    for (fd, target) in standard.chain(descriptors) {
        let folder = if has_mount_namespace {
            folder_of(fd.as_fd())?
        } else {
            None
        };
        places.push(match folder {
            None => Place {
                source: out_of_the_way(fd.as_fd())?,
                target,
                folder: None,
            },
            Some(folder) => match sys::detached_copy(fd.as_fd()) {
                Ok(tree) => Place {
                    source: out_of_the_way(tree.as_fd())?,
                    target,
                    folder: None,
                },
                // An ordinary user may do it in a mount namespace of its own only.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Place {
                    source: out_of_the_way(fd.as_fd())?,
                    target,
                    folder: Some(folder),
                },
                Err(error) => return Err(error),
            },
        });
    }
    Ok(places)
}

/// The folder's path when the descriptor is a folder. A folder of the host must not be passed as it is: from it,
/// `..` leads to the host's root, even after pivot_root(2).
fn folder_of(fd: BorrowedFd<'_>) -> io::Result<Option<Folder>> {
    let (mode, device, inode) = sys::file_identity(fd)?;
    if mode & libc::S_IFMT != libc::S_IFDIR {
        return Ok(None);
    }
    let path = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    let path = CString::new(path.into_os_string().into_vec())?;
    Ok(Some(Folder { path, device, inode }))
}

fn environment(
    mut variables: Vec<CString>,
    strictness: Strictness,
    namespaces: &[Namespace],
) -> io::Result<TextList> {
    let mut told = format!("{LAUNCHED_VARIABLE}={}", strictness.word());
    for namespace in namespaces {
        told.push(' ');
        told.push_str(&namespace.to_string());
    }
    variables.push(CString::new(told)?);
    Ok(TextList::new(variables))
}

impl Strictness {
    /// First word of [`LAUNCHED_VARIABLE`].
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Require => "require",
            Self::AllowMissing => "allow-missing",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_gaps(kept: &[u32], expected: &[(u32, u32)]) {
        assert_eq!(gaps(3, kept.iter().copied()), expected, "{kept:?}");
    }

    #[test]
    fn all_numbers_but_the_kept_ones_are_closed() {
        check_gaps(&[], &[(3, u32::MAX)]);
        check_gaps(&[3], &[(4, u32::MAX)]);
        check_gaps(&[255, 256, 300], &[(3, 254), (257, 299), (301, u32::MAX)]);
    }

    fn refused_number(numbers: &[RawFd]) -> Option<RawFd> {
        let descriptors: Vec<_> = numbers
            .iter()
            .map(|n| (OwnedFd::from(File::open("/dev/null").unwrap()), *n))
            .collect();
        match check_numbers(&descriptors) {
            Ok(()) => None,
            Err(LaunchError::DescriptorNumber(number)) => Some(number),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn numbers_outside_the_range_or_given_twice_are_refused() {
        assert_eq!(refused_number(&[3, 4, 254]), None);
        assert_eq!(refused_number(&[2]), Some(2));
        assert_eq!(refused_number(&[255]), Some(255));
        assert_eq!(refused_number(&[-1]), Some(-1));
        assert_eq!(refused_number(&[5, 3, 5]), Some(5));
    }

    #[test]
    fn user_and_group_zero_of_the_host_are_refused() {
        for (uid, gid) in [(0, 1), (1, 0), (0, 0)] {
            let program = OwnedFd::from(File::open("/dev/null").unwrap());
            let launch = Launch::new(program, c"x".into(), Identity::Mapped { uid, gid });
            assert!(matches!(
                Plan::prepare(launch, &[]),
                Err(LaunchError::PrivilegedIdentity)
            ));
        }
    }
}
