//! Notes and verifier keys on any bytes: never a panic, and what is accepted has one form.
#![no_main]

use jingui_audit::{Note, VerifierKey};
use libfuzzer_sys::fuzz_target;

const VKEY: &str = "appliance.example/audit/0001+844a7c73+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c";

fuzz_target!(|bytes: &[u8]| {
    if let Ok(note) = Note::parse(bytes) {
        assert_eq!(note.to_string().as_bytes(), bytes);
        let _ = note.verify(&[VKEY.parse().unwrap()]);
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(key) = text.parse::<VerifierKey>()
    {
        assert_eq!(key.to_string(), text);
    }
});
