//! Debian's own `fsverity` judges our measurements.

#![allow(
    clippy::unwrap_used,
    reason = "a test program: a wrong assumption should stop it"
)]

use std::process::Command;

use jingui_trust::fs_verity::FsVerityStream;
use proptest::prelude::*;

fn foreign(bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let output = Command::new("fsverity")
        .args(["digest", "--compact", "--hash-alg=sha256", "--block-size=4096"])
        .arg(file.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn ours(bytes: &[u8]) -> String {
    let mut stream = FsVerityStream::new();
    stream.update(bytes);
    stream.finish().to_string()
}

#[test]
fn the_edges_are_as_the_kernels_own_tool_has_them() {
    for length in [
        0,
        1,
        4095,
        4096,
        4097,
        128 * 4096,
        128 * 4096 + 1,
        129 * 4096,
        3_000_000,
    ] {
        let bytes: Vec<u8> = (0..length)
            .map(|index: usize| u8::try_from(index % 241).unwrap())
            .collect();
        assert_eq!(ours(&bytes), foreign(&bytes), "{length} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_file_is_measured_as_the_kernels_own_tool_measures_it(seed: u64, length in 0_usize..1_500_000) {
        let mut state = seed | 1;
        let bytes: Vec<u8> = (0..length)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[0]
            })
            .collect();
        prop_assert_eq!(ours(&bytes), foreign(&bytes));
    }
}
