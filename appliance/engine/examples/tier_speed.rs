//! Speed of the cache's tiers: blocks stored, written and encrypted; read, opened and handed out; and what the step
//! thread spends on them. The figures are in docs/decisions/0015.
//!
//! `cargo run --release -p jingui-engine --example tier_speed [folder]`

use std::time::{Duration, Instant};

use anyhow::Context;
use jingui_engine::tier::{BLOCK_TOKENS, Next, Prefix, Shape, Tiers, Worth};
use jingui_ipc::engine::{DiskTier, TierKey};

const BLOCK_COUNT: u32 = 64;
/// 32 KiB a token, as a model of half a billion parameters has.
const BLOCK_BYTES: usize = 4 << 20;
const TENANT: [u8; 16] = [1; 16];

fn main() -> anyhow::Result<()> {
    let folder = std::env::args_os()
        .nth(1)
        .unwrap_or_else(|| std::env::temp_dir().into());
    let file = tempfile::tempfile_in(folder).context("the file of the disk tier")?;
    let shape = Shape::of(&[b"example"]);
    let terms = || DiskTier {
        bytes_max: 1 << 30,
        weights_sha256: [0; 32],
        key: TierKey([7; 32]),
    };
    let tokens: Vec<u32> = (0..BLOCK_COUNT).flat_map(|block| [block; BLOCK_TOKENS]).collect();
    let prefix = Prefix::new(shape, TENANT, &tokens);
    let worth = Worth {
        cost_us: 500_000,
        is_pinned: false,
    };

    let mut tiers = Tiers::open(shape, 0, Some((file.try_clone()?, &terms())));
    let began = Instant::now();
    let mut on_step_thread = Duration::ZERO;
    for index in 0..prefix.block_count() {
        let bytes = vec![u8::try_from(index).unwrap_or_default(); BLOCK_BYTES];
        let before = Instant::now();
        let stored = tiers.store(&prefix, index, bytes, worth);
        on_step_thread += before.elapsed();
        anyhow::ensure!(
            matches!(stored, jingui_engine::tier::Stored::Kept { on_disk: true, .. }),
            "{stored:?}"
        );
        while !tiers.is_settled() {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    report("encrypted and written", began.elapsed(), on_step_thread);
    drop(tiers);

    let began = Instant::now();
    let mut tiers = Tiers::open(shape, 0, Some((file, &terms())));
    println!(
        "directory of {BLOCK_COUNT} blocks read in {:.2} ms",
        ms(began.elapsed())
    );

    let began = Instant::now();
    let mut on_step_thread = Duration::ZERO;
    let before = Instant::now();
    let blocks = tiers.longest(&prefix);
    let mut fetch = tiers.fetch(&prefix, 0..blocks);
    on_step_thread += before.elapsed();
    let mut count = 0;
    loop {
        let before = Instant::now();
        let next = tiers.next(&mut fetch);
        on_step_thread += before.elapsed();
        match next {
            Next::Ready(block) => {
                anyhow::ensure!(block.len() == BLOCK_BYTES, "a block of another length");
                count += 1;
            }
            Next::Wait => std::thread::sleep(Duration::from_micros(100)),
            Next::End => break,
        }
    }
    anyhow::ensure!(count == BLOCK_COUNT, "{count} of {BLOCK_COUNT} blocks came back");
    report("read and opened", began.elapsed(), on_step_thread);
    Ok(())
}

fn report(what: &str, took: Duration, on_step_thread: Duration) {
    let megabytes = f64::from(BLOCK_COUNT) * 4.194_304;
    println!(
        "{what}: {:.0} MB/s; step thread {:.3} ms a block of 4 MiB",
        megabytes / took.as_secs_f64(),
        ms(on_step_thread) / f64::from(BLOCK_COUNT),
    );
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
