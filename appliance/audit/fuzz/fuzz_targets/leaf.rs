//! Leaves on any bytes: never a panic, and what is accepted has one form.
#![no_main]

use jingui_audit::Leaf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(leaf) = Leaf::parse(bytes) {
        assert_eq!(leaf.to_bytes(), bytes);
        assert_eq!(leaf.draft.clone().numbered(leaf.index), Ok(leaf));
    }
});
