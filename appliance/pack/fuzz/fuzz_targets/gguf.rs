//! The pre-check on any bytes: never a panic, and never more read than the header and one buffer.
#![no_main]

use std::cell::Cell;
use std::io;

use jingui_pack::gguf::read::READ_BYTES;
use jingui_pack::gguf::{ReadAt, inspect};
use libfuzzer_sys::fuzz_target;

struct Counting<'a>(&'a [u8], Cell<u64>);

impl ReadAt for Counting<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read_at(offset, buffer)?;
        self.1.set(self.1.get() + count as u64);
        Ok(count)
    }

    fn byte_count(&self) -> u64 {
        self.0.byte_count()
    }
}

fuzz_target!(|bytes: &[u8]| {
    let source = Counting(bytes, Cell::new(0));
    if let Ok(facts) = inspect(&source) {
        assert!(facts.header_bytes <= bytes.len() as u64);
        assert!(source.1.get() <= facts.header_bytes + READ_BYTES as u64);
    }
});
