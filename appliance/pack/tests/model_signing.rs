//! The public `model_signing` tool as a judge: what we sign it accepts, what it signs we accept, and a changed byte
//! neither lets pass.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and so do its helpers"
)]

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use jingui_pack::{Candidate, Refusal, Sound, Verified, sign};
use jingui_trust::store::TrustStore;
use jingui_trust::vendor_key::VendorKey;
use tempfile::TempDir;

/// A copy of the demo model with a key pair beside it, as files for the tool and as values for us.
struct Bench {
    folder: TempDir,
    key: VendorKey,
}

impl Bench {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../image/models/glm4-canary");
        fs::create_dir(folder.path().join("glm4-canary")).unwrap();
        for entry in fs::read_dir(source).unwrap() {
            let entry = entry.unwrap();
            fs::copy(
                entry.path(),
                folder.path().join("glm4-canary").join(entry.file_name()),
            )
            .unwrap();
        }
        let (key, pem) = VendorKey::generate().unwrap();
        fs::write(folder.path().join("vendor.key"), pem.expose()).unwrap();
        fs::write(
            folder.path().join("vendor.pem"),
            key.public_key().unwrap().to_pem(),
        )
        .unwrap();
        Self { folder, key }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn package(&self) -> PathBuf {
        self.path("glm4-canary")
    }

    fn tool(&self, arguments: &[&str]) -> Output {
        let python = std::env::var_os("JINGUI_PYTHON")
            .expect("JINGUI_PYTHON names no Python with model_signing: run this through scripts/test unit");
        Command::new(python)
            .args(["-m", "model_signing"])
            .args(arguments)
            .arg("--signature")
            .arg(self.package().join("model.sig"))
            .arg(self.package())
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    fn is_accepted_by_the_tool(&self) -> bool {
        let output = self.tool(&["verify", "key", "--public_key", "vendor.pem"]);
        let words = [output.stdout, output.stderr].concat();
        let words = String::from_utf8_lossy(&words);
        // It must have come to a verdict: a tool that does not start refuses nothing.
        let verdict = if output.status.success() {
            "Verification succeeded"
        } else {
            "Verification failed"
        };
        assert!(words.contains(verdict), "{words}");
        output.status.success()
    }

    fn sign_with_the_tool(&self, more: &[&str]) {
        let arguments = [&["sign", "key", "--private_key", "vendor.key"], more].concat();
        let output = self.tool(&arguments);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn sign(&self) {
        let folder = File::open(self.package()).unwrap();
        sign(folder.as_fd(), &self.key, &mut |_, _| ()).unwrap();
    }

    fn verify(&self) -> Result<Sound, Refusal> {
        let folder = File::open(self.package()).unwrap();
        let trust = TrustStore::new(vec![self.key.public_key().unwrap()]);
        Candidate::open(folder.as_fd())?
            .verify(&trust, &|_| None, &mut |_, _| ())
            .and_then(Verified::check_gguf)
    }

    fn change_a_byte(&self) {
        let path = self.package().join("glm4-canary-f16.gguf");
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn what_we_sign_the_tool_accepts_until_a_byte_changes() {
    let bench = Bench::new();
    // Sorted differently by paths than by text, so that an order we rely on in silence would show.
    for folder in ["docs", "docs-zh"] {
        fs::create_dir(bench.package().join(folder)).unwrap();
        fs::write(bench.package().join(folder).join("safety.txt"), folder).unwrap();
    }
    bench.sign();
    bench.verify().unwrap();
    assert!(bench.is_accepted_by_the_tool());
    bench.change_a_byte();
    assert!(!bench.is_accepted_by_the_tool());
    assert_eq!(bench.verify().unwrap_err().code(), "model.file.altered");
}

#[test]
fn what_the_tool_signs_we_accept_until_a_byte_changes() {
    let bench = Bench::new();
    for folder in ["docs", "docs-zh"] {
        fs::create_dir(bench.package().join(folder)).unwrap();
        fs::write(bench.package().join(folder).join("safety.txt"), folder).unwrap();
    }
    bench.sign_with_the_tool(&["--ignore-paths", "glm4-canary/model.sig.sm2"]);
    assert!(bench.is_accepted_by_the_tool());
    let sound = bench.verify().unwrap();
    assert_eq!(sound.files().len(), 6);
    bench.change_a_byte();
    assert_eq!(bench.verify().unwrap_err().code(), "model.file.altered");
    assert!(!bench.is_accepted_by_the_tool());
}

#[test]
fn both_give_a_package_the_same_digest() {
    let bench = Bench::new();
    bench.sign();
    let ours = bench.verify().unwrap().digest();
    fs::remove_file(bench.package().join("model.sig")).unwrap();
    bench.sign_with_the_tool(&[]);
    assert_eq!(bench.verify().unwrap().digest(), ours);
}

#[test]
fn what_the_tool_leaves_out_beyond_the_fixed_list_we_refuse() {
    let bench = Bench::new();
    fs::write(bench.package().join("plugin.py"), b"import os").unwrap();
    bench.sign_with_the_tool(&["--ignore-paths", "glm4-canary/plugin.py"]);
    assert!(bench.is_accepted_by_the_tool());
    assert_eq!(bench.verify().unwrap_err().code(), "model.statement.ignore-path");
}

#[test]
fn an_extra_file_neither_accepts() {
    let bench = Bench::new();
    bench.sign();
    fs::write(bench.package().join("plugin.py"), b"import os").unwrap();
    assert!(!bench.is_accepted_by_the_tool());
    assert_eq!(bench.verify().unwrap_err().code(), "model.file.extra");
}

#[test]
fn a_sidecar_beside_our_signature_both_accept() {
    let bench = Bench::new();
    bench.sign();
    fs::write(bench.package().join("model.sig.sm2"), b"der").unwrap();
    assert!(bench.is_accepted_by_the_tool());
    bench.verify().unwrap();
}
