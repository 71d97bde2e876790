//! A real TPM 2.0 in software (swtpm) is asked what the box asks its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test program: a wrong assumption should stop it"
)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use jingui_trust::Sha256;
use jingui_trust::tpm::{Tpm, TpmFailure};

const INDEX: u32 = 0x01d1_0001;
const PATIENCE: Duration = Duration::from_secs(20);

/// A running swtpm; its state is in a folder, so that it can be switched off and on.
struct SoftTpm {
    folder: tempfile::TempDir,
    program: Option<Child>,
}

impl SoftTpm {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut tpm = Self {
            folder,
            program: None,
        };
        tpm.switch_on();
        tpm
    }

    fn switch_on(&mut self) {
        let folder = self.folder.path().display();
        let program = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={folder}")])
            .args(["--server", &format!("type=unixio,path={folder}/tpm")])
            .stdout(Stdio::null())
            .spawn()
            .expect("swtpm is installed by `scripts/test`");
        self.program = Some(program);
    }

    /// The power goes, without a word to the TPM.
    fn switch_off(&mut self) {
        let mut program = self.program.take().unwrap();
        program.kill().unwrap();
        program.wait().unwrap();
        std::fs::remove_file(self.folder.path().join("tpm")).unwrap();
    }

    fn connect(&self) -> Tpm<UnixStream> {
        Tpm::over(self.open())
    }

    fn open(&self) -> UnixStream {
        let place = self.folder.path().join("tpm");
        let deadline = Instant::now() + PATIENCE;
        loop {
            match UnixStream::connect(&place) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    return stream;
                }
                Err(error) => assert!(Instant::now() < deadline, "swtpm does not answer: {error}"),
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for SoftTpm {
    fn drop(&mut self) {
        if let Some(mut program) = self.program.take() {
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}

#[test]
fn pcrs_clock_and_randomness_are_read() {
    let soft = SoftTpm::new();
    let mut tpm = soft.connect();
    let zero = Sha256::from_bytes([0; 32]);
    assert_eq!(
        tpm.pcrs(&[0, 7, 11, 15]).unwrap(),
        [(0, zero), (7, zero), (11, zero), (15, zero)]
    );
    assert_eq!(
        tpm.pcrs(&[17]).unwrap(),
        [(17, Sha256::from_bytes([0xff; 32]))],
        "a PCR that only a dynamic root of trust resets"
    );
    let first = tpm.clock().unwrap();
    let second = tpm.clock().unwrap();
    assert!(second.clock_ms >= first.clock_ms);
    assert_eq!(
        (first.reset_count, first.restart_count),
        (second.reset_count, second.restart_count)
    );
    let (one, other) = (tpm.random(32).unwrap(), tpm.random(32).unwrap());
    assert_eq!(one.len(), 32);
    assert_ne!(one, other);
}

#[test]
fn a_counter_is_made_raised_by_one_and_keeps_its_value_over_a_loss_of_power() {
    let mut soft = SoftTpm::new();
    let mut tpm = soft.connect();
    assert_eq!(tpm.counter(INDEX).unwrap(), None);
    let first = tpm.raise(INDEX).unwrap();
    assert_eq!(tpm.counter(INDEX).unwrap(), Some(first));
    assert_eq!(tpm.raise(INDEX).unwrap(), first + 1);
    let resets = tpm.clock().unwrap().reset_count;
    drop(tpm);
    soft.switch_off();
    soft.switch_on();
    let mut tpm = soft.connect();
    assert_eq!(tpm.counter(INDEX).unwrap(), Some(first + 1));
    assert_eq!(tpm.raise(INDEX).unwrap(), first + 2);
    assert!(tpm.clock().unwrap().reset_count > resets, "the reset is counted");
}

#[test]
fn a_counter_that_was_taken_away_and_made_again_never_shows_an_old_value() {
    let soft = SoftTpm::new();
    let mut tpm = soft.connect();
    let values: Vec<u64> = (0..5).map(|_| tpm.raise(INDEX).unwrap()).collect();
    tpm.clock().unwrap();
    drop(tpm);
    undefine(&soft);
    let mut tpm = soft.connect();
    assert_eq!(tpm.counter(INDEX).unwrap(), None);
    assert!(tpm.raise(INDEX).unwrap() > *values.last().unwrap());
}

/// What somebody does who has the machine and another system on it: TPM2_NV_UndefineSpace with the owner's empty password.
fn undefine(soft: &SoftTpm) {
    let mut command = vec![0x80, 0x02, 0, 0, 0, 31, 0, 0, 0x01, 0x22, 0x40, 0, 0, 0x01];
    command.extend_from_slice(&INDEX.to_be_bytes());
    command.extend_from_slice(&[0, 0, 0, 9, 0x40, 0, 0, 0x09, 0, 0, 0, 0, 0]);
    let mut stream = soft.open();
    stream.write_all(&command).unwrap();
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[6..10], [0; 4], "done");
}

#[test]
fn an_index_outside_of_the_range_is_not_asked_for() {
    let soft = SoftTpm::new();
    let mut tpm = soft.connect();
    for index in [0, 0x4000_0001, 0x00ff_ffff, 0x0200_0000] {
        assert!(
            matches!(tpm.counter(index), Err(TpmFailure::WrongIndex)),
            "{index:#x}"
        );
        assert!(
            matches!(tpm.raise(index), Err(TpmFailure::WrongIndex)),
            "{index:#x}"
        );
    }
}
