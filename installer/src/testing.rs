//! A disk for tests that fails, forgets and loses power at a chosen step.

pub(crate) mod bundle;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;

use crate::disk::{Disk, SECTOR_BYTES, check_inside};

/// What of the unsynced writes a power cut left on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PowerCut {
    Nothing,
    Everything,
    EverySecond,
    AllButTheFirst,
}

impl PowerCut {
    pub(crate) const ALL: [Self; 4] = [
        Self::Nothing,
        Self::Everything,
        Self::EverySecond,
        Self::AllButTheFirst,
    ];
}

/// What happens at the chosen step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The step fails, and nothing of it is done.
    Fails,
    /// The step fails half done, and all after it fail too: the power is gone, or the disk.
    PowerCut,
    /// The step is done; all after it fail: the program was killed there.
    CrashAfter,
}

/// Sectors that were never written are zeros.
#[derive(Debug, Clone, Default)]
struct Sectors(BTreeMap<u64, [u8; SECTOR_BYTES]>);

impl Sectors {
    fn write(&mut self, bytes: &[u8], offset: u64) {
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (number, within) = (at / SECTOR_BYTES as u64, (at % SECTOR_BYTES as u64) as usize);
            let count = rest.len().min(SECTOR_BYTES - within);
            let sector = self.0.entry(number).or_insert([0; SECTOR_BYTES]);
            sector[within..within + count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            at += count as u64;
        }
    }

    fn read(&self, bytes: &mut [u8], offset: u64) {
        for (index, byte) in bytes.iter_mut().enumerate() {
            let at = offset + index as u64;
            let sector = self.0.get(&(at / SECTOR_BYTES as u64));
            *byte = sector.map_or(0, |sector| sector[(at % SECTOR_BYTES as u64) as usize]);
        }
    }
}

#[derive(Debug)]
struct Inner {
    seen: Sectors,
    durable: Sectors,
    pending: Vec<(u64, Vec<u8>)>,
    steps: usize,
    writes: usize,
    fault: Option<(usize, Fault)>,
    is_gone: bool,
    /// Where writes are acknowledged and lost.
    hole: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct FaultyDisk {
    bytes: u64,
    inner: RefCell<Inner>,
}

impl FaultyDisk {
    pub(crate) fn new(bytes: u64) -> Self {
        Self::with(bytes, Sectors::default())
    }

    fn with(bytes: u64, sectors: Sectors) -> Self {
        let inner = Inner {
            seen: sectors.clone(),
            durable: sectors,
            pending: Vec::new(),
            steps: 0,
            writes: 0,
            fault: None,
            is_gone: false,
            hole: None,
        };
        Self {
            bytes,
            inner: RefCell::new(inner),
        }
    }

    /// A disk with the same bytes, all durable, and no fault.
    pub(crate) fn copy(&self) -> Self {
        Self::with(self.bytes, self.inner.borrow().seen.clone())
    }

    /// Writes and syncs so far.
    pub(crate) fn step_count(&self) -> usize {
        self.inner.borrow().steps
    }

    pub(crate) fn write_count(&self) -> usize {
        self.inner.borrow().writes
    }

    /// Something happens at the step with that number, counted from now.
    pub(crate) fn break_at_step(&self, step: usize, fault: Fault) {
        let mut inner = self.inner.borrow_mut();
        inner.fault = Some((inner.steps + step, fault));
    }

    pub(crate) fn cut_power_at_write(&self, write: usize) {
        // Syncs are steps too: found by running until that write.
        let mut inner = self.inner.borrow_mut();
        inner.fault = Some((usize::MAX - write, Fault::PowerCut));
        inner.writes = 0;
    }

    /// Writes that cover this place are acknowledged and lost.
    pub(crate) fn forget_writes_at(&self, offset: u64) {
        self.inner.borrow_mut().hole = Some(offset);
    }

    /// What is there after the power came back.
    pub(crate) fn after_power_cut(&self, kept: PowerCut) -> Self {
        let inner = self.inner.borrow();
        let mut sectors = inner.durable.clone();
        for (index, (offset, bytes)) in inner.pending.iter().enumerate() {
            let is_kept = match kept {
                PowerCut::Nothing => false,
                PowerCut::Everything => true,
                PowerCut::EverySecond => index % 2 == 0,
                PowerCut::AllButTheFirst => index > 0,
            };
            if is_kept {
                sectors.write(bytes, *offset);
            }
        }
        Self::with(self.bytes, sectors)
    }

    fn step(&self) -> io::Result<Option<Fault>> {
        let mut inner = self.inner.borrow_mut();
        if inner.is_gone {
            return Err(io::Error::other("the disk is gone"));
        }
        let step = inner.steps;
        inner.steps += 1;
        let writes = inner.writes;
        Ok(inner
            .fault
            .filter(|(at, _)| *at == step || *at == usize::MAX - writes)
            .map(|(_, fault)| fault))
    }
}

impl Disk for FaultyDisk {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        check_inside(self.bytes, bytes.len(), offset)?;
        let inner = self.inner.borrow();
        if inner.is_gone {
            return Err(io::Error::other("the disk is gone"));
        }
        inner.seen.read(bytes, offset);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        check_inside(self.bytes, bytes.len(), offset)?;
        let fault = self.step()?;
        let mut inner = self.inner.borrow_mut();
        inner.writes += 1;
        let end = offset + bytes.len() as u64;
        if inner.hole.is_some_and(|hole| offset <= hole && hole < end) {
            return Ok(());
        }
        let done = match fault {
            Some(Fault::Fails) => return Err(io::Error::other("a bad sector")),
            Some(Fault::PowerCut) => {
                // Sectors are written whole or not at all.
                let half = bytes.len() / SECTOR_BYTES / 2 * SECTOR_BYTES;
                &bytes[..half]
            }
            Some(Fault::CrashAfter) | None => bytes,
        };
        inner.seen.write(done, offset);
        inner.pending.push((offset, done.to_vec()));
        match fault {
            None => Ok(()),
            Some(fault) => {
                inner.is_gone = true;
                if fault == Fault::CrashAfter {
                    Ok(())
                } else {
                    Err(io::Error::other("the power is gone"))
                }
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        let fault = self.step()?;
        let mut inner = self.inner.borrow_mut();
        match fault {
            Some(Fault::Fails) => return Err(io::Error::other("a failed sync")),
            Some(Fault::PowerCut) => {
                inner.is_gone = true;
                return Err(io::Error::other("the power is gone"));
            }
            Some(Fault::CrashAfter) | None => {}
        }
        inner.durable = inner.seen.clone();
        inner.pending.clear();
        inner.is_gone = fault.is_some();
        Ok(())
    }

    fn forget(&self) -> io::Result<()> {
        Ok(())
    }
}
