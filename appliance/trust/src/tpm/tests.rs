//! Hostile and broken answers, without a TPM; a real one is asked in `tests/tpm.rs`.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// A TPM that gives prepared answers, in pieces of a size.
struct Played {
    answers: VecDeque<u8>,
    piece: usize,
    asked: Vec<u8>,
}

impl Played {
    fn with(answers: &[Vec<u8>], piece: usize) -> Self {
        Self {
            answers: answers.concat().into(),
            piece,
            asked: Vec::new(),
        }
    }
}

impl Read for Played {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(self.piece).min(self.answers.len());
        for (to, from) in buffer.iter_mut().zip(self.answers.drain(..count)) {
            *to = from;
        }
        Ok(count)
    }
}

impl Write for Played {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.asked.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn framed(tag: u16, code: u32, rest: &[u8]) -> Vec<u8> {
    let mut bytes = tag.to_be_bytes().to_vec();
    bytes.extend_from_slice(&u32::try_from(10 + rest.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(&code.to_be_bytes());
    bytes.extend_from_slice(rest);
    bytes
}

fn clock_answer() -> Vec<u8> {
    let mut rest = 5_u64.to_be_bytes().to_vec();
    rest.extend_from_slice(&7_000_u64.to_be_bytes());
    rest.extend_from_slice(&3_u32.to_be_bytes());
    rest.extend_from_slice(&1_u32.to_be_bytes());
    rest.push(1);
    framed(0x8001, 0, &rest)
}

fn pcr_answer(selection: [u8; 3], digests: &[&[u8]]) -> Vec<u8> {
    let mut rest = 9_u32.to_be_bytes().to_vec();
    rest.extend_from_slice(&1_u32.to_be_bytes());
    rest.extend_from_slice(&[0, 0x0b, 3]);
    rest.extend_from_slice(&selection);
    rest.extend_from_slice(&u32::try_from(digests.len()).unwrap().to_be_bytes());
    for digest in digests {
        rest.extend_from_slice(&u16::try_from(digest.len()).unwrap().to_be_bytes());
        rest.extend_from_slice(digest);
    }
    framed(0x8001, 0, &rest)
}

#[test]
fn an_answer_is_understood_in_pieces_of_any_size() {
    for piece in [1, 2, 7, 4096] {
        let clock = Tpm::over(Played::with(&[clock_answer()], piece)).clock().unwrap();
        assert_eq!(
            clock,
            TpmClock {
                clock_ms: 7_000,
                reset_count: 3,
                restart_count: 1,
                is_safe: true
            }
        );
    }
}

#[test]
fn the_bytes_of_a_command_are_those_of_the_standard() {
    let mut tpm = Tpm::over(Played::with(&[clock_answer()], 4096));
    tpm.clock().unwrap();
    assert_eq!(tpm.stream.asked, [0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x01, 0x81]);
    let mut tpm = Tpm::over(Played::with(&[pcr_answer([0x80, 0, 0], &[&[7; 32]])], 4096));
    assert_eq!(tpm.pcrs(&[7]).unwrap(), [(7, Sha256::from_bytes([7; 32]))]);
    assert_eq!(
        tpm.stream.asked,
        [
            0x80, 0x01, 0, 0, 0, 20, 0, 0, 0x01, 0x7e, 0, 0, 0, 1, 0, 0x0b, 3, 0x80, 0, 0
        ]
    );
}

#[test]
fn a_bank_that_is_not_there_gives_no_value_and_a_pcr_beyond_the_last_is_refused() {
    let mut tpm = Tpm::over(Played::with(&[pcr_answer([0; 3], &[])], 4096));
    assert_eq!(tpm.pcrs(&[7]).unwrap(), []);
    let mut tpm = Tpm::over(Played::with(&[], 4096));
    assert_eq!(tpm.pcrs(&[24]).unwrap_err().code(), "platform.tpm.wrong-index");
    assert!(tpm.stream.asked.is_empty());
}

#[test]
fn answers_that_are_none_are_malformed() {
    let good = clock_answer();
    let cut = |count: usize| good[..count].to_vec();
    let with_size = |size: u32| {
        let mut bytes = good.clone();
        bytes[2..6].copy_from_slice(&size.to_be_bytes());
        bytes
    };
    let mut odd_boolean = good.clone();
    *odd_boolean.last_mut().unwrap() = 2;
    let cases = [
        ("nothing", Vec::new()),
        ("half a header", cut(5)),
        ("cut off", cut(good.len() - 1)),
        ("a size below the header", with_size(9)),
        ("a size above the bound", with_size(4097)),
        ("a huge size", with_size(u32::MAX)),
        (
            "one byte more",
            framed(0x8001, 0, &[good[10..].to_vec(), vec![0]].concat()),
        ),
        ("one byte less", framed(0x8001, 0, &good[10..good.len() - 1])),
        ("another tag", framed(0x8002, 0, &good[10..])),
        ("an odd tag", framed(0x0000, 0, &good[10..])),
        ("a refusal with a tail", framed(0x8001, 0x101, &[0])),
        ("an odd boolean", odd_boolean),
        ("more than announced", with_size(20)),
    ];
    for (what, bytes) in cases {
        let failure = Tpm::over(Played::with(&[bytes], 4096)).clock().unwrap_err();
        assert_eq!(failure.code(), "platform.tpm.answer-malformed", "{what}");
    }
    for (what, answer) in [
        ("another PCR", pcr_answer([0x40, 0, 0], &[&[7; 32]])),
        ("two digests", pcr_answer([0x80, 0, 0], &[&[7; 32], &[7; 32]])),
        ("a short digest", pcr_answer([0x80, 0, 0], &[&[7; 31]])),
        (
            "a digest of a bank that is not there",
            pcr_answer([0; 3], &[&[7; 32]]),
        ),
    ] {
        let failure = Tpm::over(Played::with(&[answer], 4096)).pcrs(&[7]).unwrap_err();
        assert_eq!(failure.code(), "platform.tpm.answer-malformed", "{what}");
    }
}

#[test]
fn a_refusal_carries_its_code() {
    let mut tpm = Tpm::over(Played::with(&[framed(0x8001, 0x921, &[])], 4096));
    assert!(matches!(tpm.clock(), Err(TpmFailure::Refused { code: 0x921 })));
}

#[test]
fn more_randomness_than_asked_for_is_malformed() {
    let answer = |count: u16| {
        let mut rest = count.to_be_bytes().to_vec();
        rest.extend(std::iter::repeat_n(9, usize::from(count)));
        framed(0x8001, 0, &rest)
    };
    assert_eq!(
        Tpm::over(Played::with(&[answer(8)], 4096)).random(8).unwrap(),
        [9; 8]
    );
    assert_eq!(
        Tpm::over(Played::with(&[answer(4)], 4096)).random(8).unwrap(),
        [9; 4]
    );
    assert!(Tpm::over(Played::with(&[answer(9)], 4096)).random(8).is_err());
}

proptest! {
    #[test]
    fn no_answer_makes_us_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), piece in 1_usize..64) {
        let ask = || Tpm::over(Played::with(std::slice::from_ref(&bytes), piece));
        let _ = ask().clock();
        let _ = ask().pcrs(&[0, 7, 11]);
        let _ = ask().random(32);
        let _ = ask().counter(0x01d1_0001);
        let _ = ask().raise(0x01d1_0001);
    }

    #[test]
    fn no_framed_answer_makes_us_panic(
        rest in prop::collection::vec(any::<u8>(), 0..200),
        has_session: bool,
        code in prop_oneof![Just(0_u32), any::<u32>()],
    ) {
        let tag = if has_session { 0x8002 } else { 0x8001 };
        let ask = || Tpm::over(Played::with(&[framed(tag, code, &rest), framed(tag, code, &rest)], 4096));
        let _ = ask().clock();
        let _ = ask().pcrs(&[7]);
        let _ = ask().counter(0x01d1_0001);
        let _ = ask().raise(0x01d1_0001);
    }

    #[test]
    fn a_frame_round_trips(rest in prop::collection::vec(any::<u8>(), 0..200)) {
        let answer = Answer::parse(&framed(0x8001, 0, &rest), false).unwrap();
        let mut fields = answer.fields();
        prop_assert_eq!(fields.bytes(rest.len()).unwrap(), rest.as_slice());
        prop_assert_eq!(fields.end(), Ok(()));
    }
}
