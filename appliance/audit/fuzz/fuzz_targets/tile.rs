//! Names of tiles, tiles and bundles on any bytes: never a panic, and what is accepted has one form.
#![no_main]

use jingui_audit::tile::{TileName, join_hashes, push_entry, split_entries, split_hashes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(name) = TileName::parse(text)
    {
        assert_eq!(name.to_string(), text);
    }
    if let Some(entries) = split_entries(bytes) {
        let mut bundle = Vec::new();
        entries
            .iter()
            .for_each(|entry| assert!(push_entry(&mut bundle, entry)));
        assert_eq!(bundle, bytes);
    }
    let width = u16::try_from(bytes.len() / 32).unwrap_or(u16::MAX);
    if let Some(hashes) = split_hashes(bytes, width) {
        assert_eq!(join_hashes(&hashes), bytes);
    }
});
