//! Writes a log of N leaves into a folder and prints its verifier key: something for other programs to check.
//!
//! `cargo run -p jingui-audit --example write_log -- FOLDER N [BATCH]`

use std::path::{Path, PathBuf};

use jingui_audit::event::{Event, Family, Finish};
use jingui_audit::leaf::{BootId, Commitments, Draft, Outcome, Role, TimeSource, Timestamp, commitment};
use jingui_audit::{Signer, Writer};
use jingui_trust::Sha256;
use jingui_trust::log_key::LogKey;

mod folder;

use folder::{Folder, GuardFile};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, count, batch) = match arguments.as_slice() {
        [folder, count] => (folder, count.parse()?, 256),
        [folder, count, batch] => (folder, count.parse()?, batch.parse()?),
        _ => return Err("FOLDER N [BATCH]".into()),
    };
    let folder = Path::new(folder);
    std::fs::create_dir_all(folder)?;
    let signer = Signer::new("appliance.example/JG-0001/audit/1", LogKey::from_seed(&[7; 32])?)?;
    let mut guard = PathBuf::from(folder).into_os_string();
    guard.push(".guard");
    let (mut writer, _) = Writer::open(Folder::new(folder, true), GuardFile(guard.into()), signer)?;
    while writer.size() < count {
        let end = count.min(writer.size() + batch);
        writer.append((writer.size()..end).map(record).collect())?;
    }
    println!("{}", writer.vkey());
    Ok(())
}

/// A record that differs from that of every other number.
fn record(number: u64) -> Draft {
    Draft {
        time: Timestamp::from_unix_ms(1_764_000_000_000 + number),
        time_source: TimeSource::Rtc,
        boot: BootId([3; 16]),
        mono_ms: number,
        actor: format!("用户-{number}"),
        role: Role::User,
        session: "s1".to_owned(),
        source: "10.0.0.7".to_owned(),
        event: Event::InferRequest {
            request: format!("req-{number}"),
            family: Family::OpenAi,
            package: Sha256::of(b"package"),
            prompt_tokens: number,
            completion_tokens: 7,
            finish: Finish::Stop,
        },
        object: String::new(),
        outcome: Outcome::Ok,
        why: String::new(),
        commitments: Commitments {
            prompt: Some(commitment(&[9; 32], &number.to_le_bytes())),
            answer: None,
        },
    }
}
