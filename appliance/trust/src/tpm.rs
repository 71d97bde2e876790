//! A TPM 2.0, spoken to in its own commands (TCG TPM 2.0 Library, parts 2 and 3): measurements, clock, randomness, and a
//! counter that only ever grows.
//!
//! Over any stream that carries one command and one answer at a time: the kernel's resource manager (`/dev/tpmrm0`) in
//! the box, a socket in tests. An answer is not trusted to be well formed: lengths are bounded, every field is checked,
//! and what is left over is an error. What a TPM says about itself is not proof to somebody else; that would need a
//! quote, which nothing here asks for.
//!
//! Only the empty owner password is tried, the state in which machines come; where somebody set another, counters
//! cannot be made or raised, and the error says so.

mod wire;

use std::io::{self, Read, Write};

use crate::digest::{SHA256_BYTES, Sha256};
use wire::{Answer, Command, Session, WireFault};

/// Longest answer that is read: more than any command here can bring (TPM2 limits a buffer to 4096 bytes).
pub const ANSWER_BYTES_MAX: usize = 4096;
/// PCRs of a TPM that a PC has (TCG PC Client).
pub const PCR_COUNT: usize = 24;
/// Most bytes of randomness of one call.
pub const RANDOM_BYTES_MAX: usize = 32;

const ALGORITHM_SHA256: u16 = 0x000b;
const OWNER: u32 = 0x4000_0001;
/// First and last handle of NV indices (part 2, `TPM_HT_NV_INDEX`).
const NV_FIRST: u32 = 0x0100_0000;
const NV_LAST: u32 = 0x01ff_ffff;

const NV_DEFINE_SPACE: u32 = 0x0000_012a;
const NV_INCREMENT: u32 = 0x0000_0134;
const NV_READ: u32 = 0x0000_014e;
const NV_READ_PUBLIC: u32 = 0x0000_0169;
const GET_RANDOM: u32 = 0x0000_017b;
const PCR_READ: u32 = 0x0000_017e;
const READ_CLOCK: u32 = 0x0000_0181;

/// Attributes of our counters: written by the owner alone, read by everybody, no lock-out, a counter (`TPM_NT`).
const COUNTER_ATTRIBUTES: u32 = ATTRIBUTE_OWNER_WRITE
    | ATTRIBUTE_COUNTER
    | ATTRIBUTE_OWNER_READ
    | ATTRIBUTE_AUTH_READ
    | ATTRIBUTE_NO_LOCK_OUT;
const ATTRIBUTE_OWNER_WRITE: u32 = 1 << 1;
const ATTRIBUTE_COUNTER: u32 = 1 << 4;
const ATTRIBUTE_OWNER_READ: u32 = 1 << 17;
const ATTRIBUTE_AUTH_READ: u32 = 1 << 18;
const ATTRIBUTE_NO_LOCK_OUT: u32 = 1 << 25;
/// Set by the TPM with the first write.
const ATTRIBUTE_WRITTEN: u32 = 1 << 29;
const COUNTER_BYTES: u16 = 8;

/// `TPM_RC_HANDLE` for the first handle: there is no such index.
const CODE_NO_SUCH_HANDLE: u32 = 0x18b;

/// Every code of this module's errors. A code never changes once released.
pub const CODES: &[&str] = &[
    "platform.tpm.answer-malformed",
    "platform.tpm.refused",
    "platform.tpm.unreachable",
    "platform.tpm.wrong-index",
];

/// A conversation with a TPM.
#[derive(Debug)]
pub struct Tpm<S> {
    stream: S,
}

/// Why a TPM did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum TpmFailure {
    /// The device could not be spoken to.
    #[error("the TPM cannot be spoken to")]
    Unreachable(#[source] io::Error),
    /// The answer is none of the standard's.
    #[error("the TPM's answer is malformed")]
    Malformed(#[from] WireFault),
    /// It refused.
    #[error("the TPM refused with response code {code:#x}")]
    Refused {
        /// `TPM_RC`.
        code: u32,
    },
    /// The index is there but is not one of our counters.
    #[error("the index is no counter of ours")]
    WrongIndex,
}

/// What the TPM's clock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TpmClock {
    /// Milliseconds for which the TPM had power since its making or the last clear. Never goes back.
    pub clock_ms: u64,
    /// How often it was reset: starts of the machine.
    pub reset_count: u32,
    /// How often it was restarted without a reset: wake-ups.
    pub restart_count: u32,
    /// Whether the clock surely did not repeat itself after a loss of power.
    pub is_safe: bool,
}

impl TpmFailure {
    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "platform.tpm.unreachable",
            Self::Malformed(_) => "platform.tpm.answer-malformed",
            Self::Refused { .. } => "platform.tpm.refused",
            Self::WrongIndex => "platform.tpm.wrong-index",
        }
    }
}

impl<S: Read + Write> Tpm<S> {
    /// Speaks over that stream, which nobody else uses meanwhile.
    pub const fn over(stream: S) -> Self {
        Self { stream }
    }

    /// Values of the SHA-256 bank of those PCRs, in their order. One that the bank does not have is left out.
    ///
    /// # Errors
    /// [`TpmFailure`].
    pub fn pcrs(&mut self, indices: &[u8]) -> Result<Vec<(u8, Sha256)>, TpmFailure> {
        let mut values = Vec::new();
        for index in indices {
            if let Some(value) = self.pcr(*index)? {
                values.push((*index, value));
            }
        }
        Ok(values)
    }

    /// One PCR of the SHA-256 bank; `None` when the bank is not there.
    fn pcr(&mut self, index: u8) -> Result<Option<Sha256>, TpmFailure> {
        let selection = select(index).ok_or(TpmFailure::WrongIndex)?;
        let mut command = Command::new(PCR_READ);
        command.u32(1).u16(ALGORITHM_SHA256).u8(3).bytes(&selection);
        let answer = self.ask(command)?;
        let mut fields = answer.fields();
        let _update_count = fields.u32()?;
        let banks = fields.u32()?;
        let mut is_there = false;
        for _ in 0..fields.bounded(banks, 1)? {
            let algorithm = fields.u16()?;
            let size = usize::from(fields.u8()?);
            let selected = fields.bytes(size)?;
            if algorithm != ALGORITHM_SHA256 || size != selection.len() {
                return Err(WireFault::Value.into());
            }
            is_there = selected == selection.as_slice();
            if !is_there && selected.iter().any(|byte| *byte != 0) {
                return Err(WireFault::Value.into());
            }
        }
        let count = fields.u32()?;
        let count = fields.bounded(count, 1)?;
        if (count == 1) != is_there {
            return Err(WireFault::Value.into());
        }
        let value = if is_there {
            Some(digest(fields.sized()?)?)
        } else {
            None
        };
        fields.end()?;
        Ok(value)
    }

    /// The TPM's clock and its counts of resets and restarts.
    ///
    /// # Errors
    /// [`TpmFailure`].
    pub fn clock(&mut self) -> Result<TpmClock, TpmFailure> {
        let answer = self.ask(Command::new(READ_CLOCK))?;
        let mut fields = answer.fields();
        let _time_ms = fields.u64()?;
        let clock = TpmClock {
            clock_ms: fields.u64()?,
            reset_count: fields.u32()?,
            restart_count: fields.u32()?,
            is_safe: fields.boolean()?,
        };
        fields.end()?;
        Ok(clock)
    }

    /// Randomness of the TPM, to be mixed with other sources and not relied on alone. At most [`RANDOM_BYTES_MAX`]; a TPM
    /// may give fewer bytes than were asked for.
    ///
    /// # Errors
    /// [`TpmFailure`].
    pub fn random(&mut self, count: usize) -> Result<Vec<u8>, TpmFailure> {
        let count = count.min(RANDOM_BYTES_MAX);
        let mut command = Command::new(GET_RANDOM);
        command.u16(u16::try_from(count).unwrap_or_default());
        let answer = self.ask(command)?;
        let mut fields = answer.fields();
        let bytes = fields.sized()?;
        if bytes.len() > count {
            return Err(WireFault::Value.into());
        }
        let bytes = bytes.to_vec();
        fields.end()?;
        Ok(bytes)
    }

    /// Value of one of our counters; `None` when it was never made.
    ///
    /// # Errors
    /// [`TpmFailure::WrongIndex`] when something else lies under that index, else [`TpmFailure`].
    pub fn counter(&mut self, index: u32) -> Result<Option<u64>, TpmFailure> {
        match self.counter_state(index)? {
            CounterState::Absent | CounterState::Unwritten => Ok(None),
            CounterState::Written => self.read_counter(index).map(Some),
        }
    }

    /// Raises one of our counters by one, and makes it where there is none; gives the new value. A new counter starts
    /// above every counter of this TPM that was taken away (part 3, `TPM2_NV_Increment`), so one that is made again never
    /// shows an old value.
    ///
    /// # Errors
    /// As [`Tpm::counter`]. On an error it is not known whether the counter was raised: read it.
    pub fn raise(&mut self, index: u32) -> Result<u64, TpmFailure> {
        let before = match self.counter_state(index)? {
            CounterState::Absent => {
                self.define_counter(index)?;
                None
            }
            CounterState::Unwritten => None,
            CounterState::Written => Some(self.read_counter(index)?),
        };
        let mut command = Command::new(NV_INCREMENT);
        command.handle(OWNER).handle(index).session(Session::Empty);
        self.ask(command)?.fields().end()?;
        let after = self.read_counter(index)?;
        match before {
            Some(before) if before.checked_add(1) != Some(after) => Err(WireFault::Value.into()),
            _ => Ok(after),
        }
    }

    fn counter_state(&mut self, index: u32) -> Result<CounterState, TpmFailure> {
        if !(NV_FIRST..=NV_LAST).contains(&index) {
            return Err(TpmFailure::WrongIndex);
        }
        let mut command = Command::new(NV_READ_PUBLIC);
        command.handle(index);
        let answer = match self.ask(command) {
            Err(TpmFailure::Refused {
                code: CODE_NO_SUCH_HANDLE,
            }) => return Ok(CounterState::Absent),
            answer => answer?,
        };
        let mut fields = answer.fields();
        let mut public = fields.inner()?;
        let _name = fields.sized()?;
        fields.end()?;
        let found = public.u32()?;
        let name_algorithm = public.u16()?;
        let attributes = public.u32()?;
        let policy = public.sized()?;
        let size = public.u16()?;
        let is_ours = found == index
            && name_algorithm == ALGORITHM_SHA256
            && attributes & !ATTRIBUTE_WRITTEN == COUNTER_ATTRIBUTES
            && policy.is_empty()
            && size == COUNTER_BYTES;
        public.end()?;
        match (is_ours, attributes & ATTRIBUTE_WRITTEN) {
            (false, _) => Err(TpmFailure::WrongIndex),
            (true, 0) => Ok(CounterState::Unwritten),
            (true, _) => Ok(CounterState::Written),
        }
    }

    fn define_counter(&mut self, index: u32) -> Result<(), TpmFailure> {
        let mut public = Vec::new();
        public.extend_from_slice(&index.to_be_bytes());
        public.extend_from_slice(&ALGORITHM_SHA256.to_be_bytes());
        public.extend_from_slice(&COUNTER_ATTRIBUTES.to_be_bytes());
        public.extend_from_slice(&0_u16.to_be_bytes());
        public.extend_from_slice(&COUNTER_BYTES.to_be_bytes());
        let mut command = Command::new(NV_DEFINE_SPACE);
        command.handle(OWNER).session(Session::Empty);
        // No password of its own, then the public area.
        command.sized(&[]).sized(&public);
        Ok(self.ask(command)?.fields().end()?)
    }

    fn read_counter(&mut self, index: u32) -> Result<u64, TpmFailure> {
        let mut command = Command::new(NV_READ);
        command.handle(index).handle(index).session(Session::Empty);
        command.u16(COUNTER_BYTES).u16(0);
        let answer = self.ask(command)?;
        let mut fields = answer.fields();
        let mut value = fields.inner()?;
        fields.end()?;
        let count = value.u64()?;
        value.end()?;
        Ok(count)
    }

    /// One command and its answer.
    fn ask(&mut self, command: Command) -> Result<Answer, TpmFailure> {
        let has_session = command.has_session();
        let bytes = command.finish();
        self.stream.write_all(&bytes).map_err(TpmFailure::Unreachable)?;
        let answer = self.read_answer()?;
        let answer = Answer::parse(&answer, has_session)?;
        match answer.code() {
            0 => Ok(answer),
            code => Err(TpmFailure::Refused { code }),
        }
    }

    /// A device gives the whole answer at once, a socket in pieces.
    fn read_answer(&mut self) -> Result<Vec<u8>, TpmFailure> {
        let mut buffer = vec![0; ANSWER_BYTES_MAX];
        let mut filled = 0;
        loop {
            let have = buffer.get(..filled).unwrap_or_default();
            if let Some(size) = wire::announced_size(have)? {
                if filled > size {
                    return Err(WireFault::Length.into());
                }
                if filled == size {
                    buffer.truncate(size);
                    return Ok(buffer);
                }
            }
            let room = buffer.get_mut(filled..).unwrap_or_default();
            match self.stream.read(room) {
                Ok(0) => return Err(WireFault::Length.into()),
                Ok(count) => filled = filled.saturating_add(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TpmFailure::Unreachable(error)),
            }
        }
    }
}

/// What lies under an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CounterState {
    Absent,
    /// Made and never raised.
    Unwritten,
    Written,
}

/// The bit of a PCR in the three bytes of a selection.
fn select(index: u8) -> Option<[u8; 3]> {
    let mut selection = [0; 3];
    let byte = selection.get_mut(usize::from(index / 8))?;
    *byte = 1 << (index % 8);
    Some(selection)
}

fn digest(bytes: &[u8]) -> Result<Sha256, WireFault> {
    let bytes: [u8; SHA256_BYTES] = bytes.try_into().map_err(|_| WireFault::Length)?;
    Ok(Sha256::from_bytes(bytes))
}

const _: () = assert!(PCR_COUNT == 3 * 8);

#[cfg(test)]
mod tests;
