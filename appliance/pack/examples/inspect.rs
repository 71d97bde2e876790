//! Runs the pre-check on a file and prints verdict, facts and cost: `cargo run --release --example inspect FILE`.

use std::cell::Cell;
use std::io;
use std::time::Instant;

use jingui_pack::gguf::{ReadAt, inspect};

struct Counting(std::fs::File, Cell<u64>);

impl ReadAt for Counting {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let count = ReadAt::read_at(&self.0, offset, buffer)?;
        self.1
            .set(self.1.get() + u64::try_from(count).unwrap_or(u64::MAX));
        Ok(count)
    }

    fn byte_count(&self) -> u64 {
        ReadAt::byte_count(&self.0)
    }
}

fn main() -> io::Result<()> {
    for path in std::env::args_os().skip(1) {
        let file = Counting(std::fs::File::open(&path)?, Cell::new(0));
        let started = Instant::now();
        let verdict = inspect(&file);
        let elapsed = started.elapsed();
        match verdict {
            Ok(mut facts) => {
                facts.chat_template = facts.chat_template.map(|text| format!("({} bytes)", text.len()));
                println!("{facts:#?}");
            }
            Err(refusal) => println!("{}: {refusal}", refusal.code()),
        }
        println!(
            "{}: {} of {} bytes read in {elapsed:?}",
            path.display(),
            file.1.get(),
            file.byte_count()
        );
    }
    Ok(())
}
