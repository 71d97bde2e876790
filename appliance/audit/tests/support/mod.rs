//! A log in memory, whose every step can fail.

#![allow(
    dead_code,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
// Each test program uses a part of it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use jingui_audit::event::{Event, Factors, Family, Finish};
use jingui_audit::leaf::{BootId, Commitments, Draft, Outcome, Role, TimeSource, Timestamp, commitment};
use jingui_audit::writer::{OpenFailure, Opened};
use jingui_audit::{GuardStore, ReadStorage, Signer, Storage, VerifierKey, Writer};
use jingui_trust::Sha256;
use jingui_trust::log_key::LogKey;

pub(crate) const ORIGIN: &str = "appliance.example/JG-0001/audit/1";

/// How a step goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It does not happen, and says so.
    Failed,
    /// It happens, and says that it did not.
    FailedButHappened,
    /// It happens, and the process is gone: nothing works any more until the disk is opened again.
    CrashedAfter,
    /// It does not happen, and the process is gone.
    CrashedBefore,
}

pub(crate) const FAULTS: [Fault; 4] = [
    Fault::Failed,
    Fault::FailedButHappened,
    Fault::CrashedAfter,
    Fault::CrashedBefore,
];

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    guard: Option<Vec<u8>>,
    step_count: usize,
    fault: Option<(usize, Fault)>,
    is_crashed: bool,
    is_read_only: bool,
    trace: Vec<String>,
}

/// A disk that outlives the processes that use it.
#[derive(Clone, Default)]
pub(crate) struct Disk(Rc<RefCell<State>>);

impl Disk {
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.0.borrow().files.clone()
    }

    pub(crate) fn file(&self, path: &str) -> Vec<u8> {
        self.0
            .borrow()
            .files
            .get(path)
            .unwrap_or_else(|| panic!("{path} is missing"))
            .clone()
    }

    pub(crate) fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.0.borrow_mut().files.insert(path.to_owned(), bytes.into());
    }

    pub(crate) fn delete(&self, path: &str) -> Vec<u8> {
        self.0
            .borrow_mut()
            .files
            .remove(path)
            .unwrap_or_else(|| panic!("{path} is missing"))
    }

    pub(crate) fn guard(&self) -> Option<Vec<u8>> {
        self.0.borrow().guard.clone()
    }

    pub(crate) fn set_guard(&self, guard: Option<Vec<u8>>) {
        self.0.borrow_mut().guard = guard;
    }

    pub(crate) fn set_read_only(&self, is_read_only: bool) {
        self.0.borrow_mut().is_read_only = is_read_only;
    }

    /// An independent copy, as from an old backup.
    pub(crate) fn snapshot(&self) -> Self {
        let copy = Self::default();
        copy.0.borrow_mut().files = self.files();
        copy.0.borrow_mut().guard = self.guard();
        copy
    }

    /// Steps so far.
    pub(crate) fn step_count(&self) -> usize {
        self.0.borrow().step_count
    }

    /// What was written, in order.
    pub(crate) fn take_trace(&self) -> Vec<String> {
        std::mem::take(&mut self.0.borrow_mut().trace)
    }

    /// The step of that number from now on goes wrong.
    pub(crate) fn arm(&self, step: usize, fault: Fault) {
        let mut state = self.0.borrow_mut();
        state.fault = Some((state.step_count + step, fault));
    }

    /// The machine starts again.
    pub(crate) fn restart(&self) {
        let mut state = self.0.borrow_mut();
        state.fault = None;
        state.is_crashed = false;
    }

    pub(crate) fn open(&self) -> Result<(MemoryWriter, Opened), OpenFailure> {
        Writer::open(MemoryStorage(self.clone()), MemoryGuard(self.clone()), signer())
    }

    fn check(&self) -> io::Result<()> {
        if self.0.borrow().is_crashed {
            Err(io::Error::other("the process is gone"))
        } else {
            Ok(())
        }
    }

    fn step(&self, what: &str, act: impl FnOnce(&mut State)) -> io::Result<()> {
        self.check()?;
        let mut state = self.0.borrow_mut();
        if state.is_read_only {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let fault = state
            .fault
            .filter(|(step, _)| *step == state.step_count)
            .map(|(_, fault)| fault);
        state.step_count += 1;
        if !matches!(fault, Some(Fault::Failed | Fault::CrashedBefore)) {
            state.trace.push(what.to_owned());
            act(&mut state);
        }
        if matches!(fault, Some(Fault::CrashedAfter | Fault::CrashedBefore)) {
            state.is_crashed = true;
        }
        match fault {
            None => Ok(()),
            Some(_) => Err(io::Error::other("injected")),
        }
    }
}

pub(crate) type MemoryWriter = Writer<MemoryStorage, MemoryGuard>;

pub(crate) struct MemoryStorage(pub(crate) Disk);

impl ReadStorage for MemoryStorage {
    fn read(&self, path: &str, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        self.0.check()?;
        let state = self.0.0.borrow();
        Ok(state
            .files
            .get(path)
            .map(|bytes| bytes[..bytes.len().min(bytes_max + 1)].to_vec()))
    }
}

impl ReadStorage for Disk {
    fn read(&self, path: &str, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        MemoryStorage(self.clone()).read(path, bytes_max)
    }
}

impl Storage for MemoryStorage {
    fn write_durably(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.0.step(path, |state| {
            state.files.insert(path.to_owned(), bytes.to_vec());
        })
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.0.check()?;
        let state = self.0.0.borrow();
        let names = state
            .files
            .keys()
            .filter_map(|path| path.strip_prefix(folder)?.strip_prefix('/'));
        Ok(names
            .filter(|name| !name.contains('/'))
            .map(str::to_owned)
            .collect())
    }

    fn remove_folder(&mut self, folder: &str) -> io::Result<()> {
        self.0.step(&format!("remove {folder}"), |state| {
            state
                .files
                .retain(|path, _| !path.starts_with(&format!("{folder}/")));
        })
    }
}

pub(crate) struct MemoryGuard(pub(crate) Disk);

impl GuardStore for MemoryGuard {
    fn load(&self) -> io::Result<Option<Vec<u8>>> {
        self.0.check()?;
        Ok(self.0.guard())
    }

    fn store(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.step("guard", |state| state.guard = Some(bytes.to_vec()))
    }
}

pub(crate) fn signer() -> Signer {
    Signer::new(ORIGIN, LogKey::from_seed(&[7; 32]).unwrap()).unwrap()
}

pub(crate) fn vkey() -> VerifierKey {
    signer().vkey().clone()
}

/// A record that differs from that of every other number.
pub(crate) fn draft(number: u64) -> Draft {
    let event = if number.is_multiple_of(2) {
        Event::AuthLogin {
            factors: Factors::PasswordTotp,
        }
    } else {
        Event::InferRequest {
            request: format!("req-{number}"),
            family: Family::OpenAi,
            package: Sha256::of(b"package"),
            prompt_tokens: number,
            completion_tokens: 7,
            finish: Finish::Stop,
        }
    };
    Draft {
        time: Timestamp::from_unix_ms(1_764_000_000_000 + number),
        time_source: TimeSource::Rtc,
        boot: BootId([3; 16]),
        mono_ms: number,
        actor: format!("user-{number}"),
        role: Role::User,
        session: "s1".to_owned(),
        source: "10.0.0.7".to_owned(),
        event,
        object: String::new(),
        outcome: Outcome::Ok,
        why: String::new(),
        commitments: Commitments {
            prompt: Some(commitment(&[9; 32], &number.to_le_bytes())),
            answer: None,
        },
    }
}

pub(crate) fn drafts(numbers: std::ops::Range<u64>) -> Vec<Draft> {
    numbers.map(draft).collect()
}

/// A disk with a log of that size, appended in batches of up to 256.
pub(crate) fn log_of(size: u64) -> Disk {
    let disk = Disk::default();
    let (mut writer, _) = disk.open().unwrap();
    grow(&mut writer, size);
    disk
}

/// Appends up to that size, in batches of up to 256.
pub(crate) fn grow(writer: &mut MemoryWriter, size: u64) {
    while writer.size() < size {
        let end = size.min(writer.size() + 256);
        writer.append(drafts(writer.size()..end)).unwrap();
    }
}
