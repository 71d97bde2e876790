//! Checkpoints on any bytes: never a panic, and what is accepted has one form.
#![no_main]

use jingui_audit::Checkpoint;
use libfuzzer_sys::fuzz_target;

const VKEY: &str = "appliance.example/audit/0001+844a7c73+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c";

fuzz_target!(|bytes: &[u8]| {
    let _ = Checkpoint::open(bytes, &VKEY.parse().unwrap());
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(checkpoint) = Checkpoint::parse(text)
    {
        assert_eq!(checkpoint.to_string(), text);
    }
});
