//! What must be impossible is tried from inside the jail, and what must be possible is done there.
//!
//! This program plays three parts: the test runner; the jailed process (`probe.rs`), since only a program that is
//! started by [`jingui_jail::launch`] can be confined; and a supervisor that dies (`parent.rs`). Run by root, every
//! claim is checked as root and again as an ordinary user.

// The allowance for tests in clippy.toml does not see a test with its own `main`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod claims;
mod parent;
mod probe;

use std::os::unix::process::CommandExt;
use std::panic::catch_unwind;
use std::process::{Command, ExitCode};

/// Argument 0 of the jailed process.
const PROBE: &str = "jail-probe";
/// Argument 0 of a supervisor that is tried in another setting.
const PARENT: &str = "jail-parent";
/// `nobody` of every Linux.
const ORDINARY_USER: u32 = 65534;

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    match arguments.next().as_deref() {
        Some(PROBE) => return probe::run(&mut arguments),
        Some(PARENT) => return parent::run(&mut arguments),
        _ => {}
    }
    let arguments: Vec<String> = arguments.collect();
    if arguments.iter().any(|argument| argument == "--list") {
        claims::CLAIMS
            .iter()
            .for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    if !jingui_jail::available_namespaces().contains(&jingui_jail::Namespace::User) {
        eprintln!("SKIPPED, NOTHING WAS TESTED: this kernel forbids user namespaces to this user");
        return ExitCode::SUCCESS;
    }
    let as_caller = run_claims(filter.map(String::as_str));
    let as_ordinary = !claims::is_root() || run_as_ordinary_user(filter);
    if as_caller && as_ordinary {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn run_claims(filter: Option<&str>) -> bool {
    let user = if claims::is_root() {
        "root"
    } else {
        "ordinary user"
    };
    let mut failed = Vec::new();
    for (name, claim) in claims::CLAIMS
        .iter()
        .filter(|(name, _)| filter.is_none_or(|f| name.contains(f)))
    {
        let holds = catch_unwind(claim).is_ok();
        println!("test {user}: {name} ... {}", if holds { "ok" } else { "FAILED" });
        if !holds {
            failed.push(name);
        }
    }
    println!("test result as {user}: {} failed {failed:?}\n", failed.len());
    failed.is_empty()
}

/// The same program again, by its open file: the folder that it lies in may be closed to that user.
fn run_as_ordinary_user(filter: Option<&String>) -> bool {
    let status = Command::new("/proc/self/exe")
        .args(filter)
        .uid(ORDINARY_USER)
        .gid(ORDINARY_USER)
        .current_dir("/")
        .status();
    status
        .expect("the test starts again as an ordinary user")
        .success()
}
