//! Verifies the log in a folder and prints the verdict.
//!
//! `cargo run -p jingui-audit --example check_log -- FOLDER VKEY [CHECKPOINT]`

use std::path::Path;
use std::process::ExitCode;

use jingui_audit::verify;

mod folder;

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, vkey, since) = match arguments.as_slice() {
        [folder, vkey] => (folder, vkey, None),
        [folder, vkey, since] => (folder, vkey, Some(std::fs::read(since)?)),
        _ => return Err("FOLDER VKEY [CHECKPOINT]".into()),
    };
    Ok(
        match verify(
            &folder::Folder::new(Path::new(folder), false),
            &vkey.parse()?,
            since.as_deref(),
        ) {
            Ok(report) => {
                println!("intact: {} leaves", report.checkpoint.size);
                ExitCode::SUCCESS
            }
            Err(failure) => {
                println!("{failure}");
                ExitCode::FAILURE
            }
        },
    )
}
