//! Speed and memory of appending and verifying.
//!
//! `cargo run --release -p jingui-audit --example verify_bench -- [LEAVES] [FOLDER]`; prints one JSON object. Writes
//! are not flushed to the medium: the figures are those of our own code and of the file system's cache.

use std::path::Path;
use std::time::Instant;

use jingui_audit::event::{Event, Family, Finish};
use jingui_audit::leaf::{BootId, Commitments, Draft, Outcome, Role, TimeSource, Timestamp, commitment};
use jingui_audit::{Signer, Writer, verify};
use jingui_trust::Sha256;
use jingui_trust::log_key::LogKey;

mod folder;

use folder::{Folder, GuardFile};

const LEAVES_DEFAULT: u64 = 1_000_000;
const BATCH: u64 = 256;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let count = arguments
        .next()
        .map_or(Ok(LEAVES_DEFAULT), |count| count.parse())?;
    let temporary = tempfile::tempdir()?;
    let parent = arguments
        .next()
        .map_or_else(|| temporary.path().to_owned(), Into::into);
    let log = parent.join("audit");
    let signer = Signer::new("appliance.example/JG-0001/audit/1", LogKey::from_seed(&[7; 32])?)?;
    let vkey = signer.vkey().clone();
    std::fs::create_dir_all(&log)?;

    let start = Instant::now();
    let (mut writer, _) = Writer::open(Folder::new(&log, false), GuardFile(parent.join("guard")), signer)?;
    let mut slowest = 0.0f64;
    while writer.size() < count {
        let end = count.min(writer.size() + BATCH);
        let drafts = (writer.size()..end).map(record).collect();
        let batch = Instant::now();
        writer.append(drafts)?;
        slowest = slowest.max(batch.elapsed().as_secs_f64());
    }
    let append_s = start.elapsed().as_secs_f64();
    let append_memory = resident_bytes_max();

    let start = Instant::now();
    let report = verify(&Folder::new(Path::new(&log), false), &vkey, None)?;
    let verify_s = start.elapsed().as_secs_f64();
    println!(
        "{{\"leaves\":{},\"leaf_bytes\":{},\"append_s\":{append_s:.3},\"slowest_batch_s\":{slowest:.4},\
         \"verify_s\":{verify_s:.3},\"append_leaves_per_s\":{:.0},\"verify_leaves_per_s\":{:.0},\
         \"resident_bytes_max_after_append\":{append_memory},\"resident_bytes_max\":{}}}",
        report.checkpoint.size,
        report.leaf_bytes,
        count as f64 / append_s,
        count as f64 / verify_s,
        resident_bytes_max(),
    );
    Ok(())
}

/// Most memory that this process ever held, by `/proc`; 0 where there is none.
fn resident_bytes_max() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

/// A record as a busy box writes it: an answered request.
fn record(number: u64) -> Draft {
    Draft {
        time: Timestamp::from_unix_ms(1_764_000_000_000 + number),
        time_source: TimeSource::LanNtp,
        boot: BootId([3; 16]),
        mono_ms: number,
        actor: format!("key-{}", number % 1000),
        role: Role::Key,
        session: String::new(),
        source: "10.20.30.40".to_owned(),
        event: Event::InferRequest {
            request: format!("req-{number:032x}"),
            family: Family::OpenAi,
            package: Sha256::of(b"package"),
            prompt_tokens: number % 8000,
            completion_tokens: number % 900,
            finish: Finish::Stop,
        },
        object: String::new(),
        outcome: Outcome::Ok,
        why: String::new(),
        commitments: Commitments {
            prompt: Some(commitment(&[9; 32], &number.to_le_bytes())),
            answer: Some(commitment(&[8; 32], &number.to_le_bytes())),
        },
    }
}
