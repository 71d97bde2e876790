//! Help texts as golden files: names and options that scripts and the manual rely on. `UPDATE_GOLDEN=1` rewrites
//! them, a person reads the difference.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;
use std::process::Command;

const COMMANDS: &[&[&str]] = &[
    &[],
    &["model"],
    &["model", "inspect"],
    &["model", "sign"],
    &["model", "verify"],
    &["model", "import"],
    &["model", "list"],
    &["model", "keygen"],
    &["audit"],
    &["audit", "verify"],
    &["audit", "export"],
    &["audit", "proof"],
    &["setup"],
    &["key"],
    &["key", "create"],
    &["user"],
    &["user", "create"],
    &["status"],
    &["stop"],
    &["update"],
    &["update", "check"],
    &["update", "apply"],
    &["update", "status"],
    &["update", "healthy"],
    &["update", "build"],
    &["update", "verify"],
    &["update", "keygen"],
];

#[test]
fn every_command_says_what_the_manual_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help");
    for words in COMMANDS {
        let output = Command::new(env!("CARGO_BIN_EXE_jingui"))
            .args(*words)
            .arg("--help")
            .output()
            .unwrap();
        assert!(output.status.success(), "{words:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let name = if words.is_empty() {
            "jingui".to_owned()
        } else {
            words.join("-")
        };
        let path = folder.join(format!("{name}.txt"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            text,
            golden,
            "{} differs; UPDATE_GOLDEN=1 rewrites it",
            path.display()
        );
    }
}

#[test]
fn a_command_line_that_is_not_understood_ends_with_64() {
    for words in [
        &["bogus"][..],
        &["model"],
        &["audit", "verify"],
        &["audit", "proof", "x", "--to", "f"],
        &[],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_jingui"))
            .args(words)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(64), "{words:?}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_jingui"))
        .args(["bogus", "--json"])
        .output()
        .unwrap();
    let error: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(error.pointer("/error/code").unwrap(), "system.command.usage");
}
