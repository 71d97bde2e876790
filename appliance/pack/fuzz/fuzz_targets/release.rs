//! `release.json` on any bytes: never a panic, and what is accepted reads back as itself.
#![no_main]

use jingui_pack::Release;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(release) = Release::parse(bytes) {
        assert_eq!(Release::parse(&release.to_bytes()).unwrap(), release);
    }
});
