//! The floor: the least security version that an image of this machine must have, held by a counter of the TPM that only
//! grows. An older image, however well signed, then refuses to serve.
//!
//! A new counter of a TPM begins above every other that it ever had, at no fixed number. So the floor is counted from
//! where the counter stood when this state was made, which is kept in the encrypted state. What that is worth: an old
//! copy of the state does not lower the floor, nor does anybody who makes the counter again; a factory reset begins a
//! new count at the image that runs then, on a box that holds nothing any more.

use std::io;
use std::path::Path;

use jingui_trust::tpm::TpmFailure;
use serde::{Deserialize, Serialize};

use super::tpm::MachineTpm;
use crate::durable;

/// NV index of the counter, in the range for owners.
const INDEX: u32 = 0x01d1_0001;
/// Most steps that the counter is raised by at once: more is somebody's typing error, and TPMs wear.
pub(super) const STEPS_MAX: u64 = 1_000;
const FILE_NAME: &str = "floor.json";
const FILE_BYTES_MAX: u64 = 4096;

/// The floor of this machine.
#[derive(Debug)]
pub(super) struct Floor {
    tpm: MachineTpm,
    start: Start,
    counter: u64,
}

/// Where the count began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    /// The counter then.
    counter: u64,
    /// The floor then.
    floor: u64,
}

/// Why the floor was not raised.
#[derive(Debug, thiserror::Error)]
pub(super) enum FloorFailure {
    /// The TPM did not do it.
    #[error(transparent)]
    Tpm(#[from] TpmFailure),
    /// It is more than [`STEPS_MAX`] away.
    #[error("the floor would rise by more than {STEPS_MAX}")]
    TooFar,
}

impl FloorFailure {
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::Tpm(failure) => failure.code(),
            Self::TooFar => "platform.floor.too-far",
        }
    }
}

impl Floor {
    /// Reads the floor, or begins the count at the image that runs. The error is why there is none.
    pub(super) fn open(mut tpm: MachineTpm, trust: &Path, running: u64) -> Result<Self, &'static str> {
        let unusable = |failure: TpmFailure| {
            crate::say_failure(failure.code(), &failure);
            "guarantee.why.counter-unusable"
        };
        let found = tpm.counter(INDEX).map_err(unusable)?;
        let counter = match found {
            Some(counter) => counter,
            None => tpm.raise(INDEX).map_err(unusable)?,
        };
        let start = open_start(&trust.join(FILE_NAME), counter, running).map_err(|error| {
            crate::say(format_args!("the floor's start cannot be kept: {error}"));
            "guarantee.why.counter-unusable"
        })?;
        Ok(Self { tpm, start, counter })
    }

    /// The floor now. A counter below its start was taken away and is another one: then nothing is lower than the start.
    pub(super) const fn value(&self) -> u64 {
        self.start
            .floor
            .saturating_add(self.counter.saturating_sub(self.start.counter))
    }

    /// Raises the floor to that value; nothing happens when it is there already.
    pub(super) fn raise(&mut self, to: u64) -> Result<(), FloorFailure> {
        if to.saturating_sub(self.value()) > STEPS_MAX {
            return Err(FloorFailure::TooFar);
        }
        while self.value() < to {
            self.counter = self.tpm.raise(INDEX)?;
        }
        Ok(())
    }
}

fn open_start(path: &Path, counter: u64, running: u64) -> io::Result<Start> {
    if let Some(bytes) = durable::read(path, FILE_BYTES_MAX)? {
        return Ok(serde_json::from_slice(&bytes)?);
    }
    let start = Start {
        counter,
        floor: running,
    };
    durable::write(path, &serde_json::to_vec(&start)?, durable::PRIVATE_FILE)?;
    Ok(start)
}
