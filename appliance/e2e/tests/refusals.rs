//! Packages that must not come in: each is refused by its name, at the command line and by the box, and recorded.

#![allow(
    clippy::indexing_slicing,
    reason = "a missing field of a JSON value is null, not a panic"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use jingui_e2e::{Machine, output_of, tree, words};
use serde_json::Value;

/// Exit code of refused input.
const REFUSED: i32 = 2;

#[test]
fn a_bad_package_is_refused_by_its_name() -> anyhow::Result<()> {
    let machine = Machine::start()?;
    let vendor = machine.text("/vendor_key")?;
    let vendor_private = tree().join("target/development/vendor.key");
    let bench = Bench {
        machine: &machine,
        key: vendor_private,
    };

    let good = bench.package("good")?;
    output_of(
        machine
            .jingui(&["model", "verify"])
            .arg(&good)
            .args(["--key", &vendor]),
    )?;

    for (code, spoil) in SPOILED {
        let package = bench.package(code)?;
        spoil(&package)?;
        let output = machine
            .jingui(&["model", "verify"])
            .arg(&package)
            .args(["--key", &vendor, "--json"])
            .output()?;
        ensure!(output.status.code().is_some_and(|it| it != 0), "{code} passed");
        ensure!(
            words(&output).contains(code),
            "expected {code}: {}",
            words(&output)
        );
    }

    let before = machine.leaves()?.len();
    let altered = bench.package("box-altered")?;
    flip_last_byte(&altered)?;
    bench.import_is_refused(&altered, "model.file.altered")?;

    let older = bench.package("box-older")?;
    edit_release(&older, |it| it["security_version"] = 0.into())?;
    bench.sign(&older)?;
    bench.import_is_refused(&older, "model.version.rolled-back")?;

    let hostile = bench.package("box-hostile")?;
    make_hostile(&hostile)?;
    bench.sign_unchecked(&hostile)?;
    bench.import_is_refused(&hostile, "model.gguf.")?;

    let leaves = machine.leaves()?;
    let refused: Vec<&Value> = leaves
        .iter()
        .skip(before)
        .filter(|it| it["evt"] == "model.verify" && it["out"] == "deny")
        .collect();
    ensure!(
        refused.len() == 3,
        "each refusal by the box has exactly one leaf: {refused:?}"
    );
    ensure!(
        refused
            .iter()
            .all(|it| it["why"].as_str().is_some_and(|why| why.starts_with("model."))),
        "{refused:?}"
    );
    let incoming = std::fs::read_dir(machine.state().join("models/incoming"))?.count();
    ensure!(incoming == 0, "nothing half-imported is left");
    Ok(())
}

type Spoil = fn(&Path) -> anyhow::Result<()>;

/// What is done to a good package, and the refusal it must meet.
const SPOILED: &[(&str, Spoil)] = &[
    ("model.file.altered", flip_last_byte),
    ("model.file.extra", |it| {
        Ok(std::fs::write(it.join("EXTRA.md"), "more")?)
    }),
    ("model.file.missing", |it| {
        Ok(std::fs::remove_file(it.join("LICENSE"))?)
    }),
    ("model.signature.missing", |it| {
        Ok(std::fs::remove_file(it.join("model.sig"))?)
    }),
    ("model.entry.symlink", |it| {
        std::fs::remove_file(it.join("LICENSE"))?;
        Ok(std::os::unix::fs::symlink("/etc/hostname", it.join("LICENSE"))?)
    }),
    ("model.name.case-twins", |it| {
        Ok(std::fs::write(it.join("license"), "twin")?)
    }),
    ("model.signature.unknown-key", |it| {
        let folder = it.with_extension("other-key");
        std::fs::create_dir_all(&folder)?;
        let jingui = tree().join("target/release/jingui");
        output_of(
            Command::new(&jingui)
                .args(["model", "keygen", "--out"])
                .arg(&folder),
        )?;
        std::fs::remove_file(it.join("model.sig"))?;
        output_of(
            Command::new(&jingui)
                .args(["model", "sign"])
                .arg(it)
                .arg("--key")
                .arg(folder.join("vendor.key")),
        )?;
        Ok(())
    }),
];

struct Bench<'a> {
    machine: &'a Machine,
    key: PathBuf,
}

impl Bench<'_> {
    /// A fresh copy of the signed demo package.
    fn package(&self, name: &str) -> anyhow::Result<PathBuf> {
        let copy = self
            .machine
            .scratch()
            .join("packages")
            .join(name)
            .join("glm4-canary");
        std::fs::create_dir_all(copy.parent().context("a parent")?)?;
        output_of(
            Command::new("cp")
                .arg("-r")
                .arg(tree().join("target/development/glm4-canary"))
                .arg(&copy),
        )?;
        Ok(copy)
    }

    fn sign(&self, package: &Path) -> anyhow::Result<()> {
        let _ = std::fs::remove_file(package.join("model.sig"));
        output_of(
            self.machine
                .jingui(&["model", "sign"])
                .arg(package)
                .arg("--key")
                .arg(&self.key),
        )?;
        Ok(())
    }

    /// A vendor whose tool looks at nothing: the public tool signs whatever lies there.
    fn sign_unchecked(&self, package: &Path) -> anyhow::Result<()> {
        let _ = std::fs::remove_file(package.join("model.sig"));
        let mut sign = jingui_e2e::python()?;
        sign.args(["-m", "model_signing", "sign", "key", "--private_key"])
            .arg(&self.key)
            .arg("--signature")
            .arg(package.join("model.sig"))
            .args(["--ignore-paths"])
            .arg(package.join("model.sig.sm2"))
            .arg(package);
        output_of(&mut sign)?;
        Ok(())
    }

    fn import_is_refused(&self, package: &Path, code: &str) -> anyhow::Result<()> {
        let output = self
            .machine
            .jingui(&["model", "import"])
            .arg(package)
            .arg("--login")
            .arg(self.machine.demo_file())
            .arg("--json")
            .output()?;
        ensure!(
            output.status.code() == Some(REFUSED),
            "{:?}: {}",
            output.status,
            words(&output)
        );
        ensure!(
            words(&output).contains(code),
            "expected {code}: {}",
            words(&output)
        );
        Ok(())
    }
}

fn weights(package: &Path) -> PathBuf {
    package.join("glm4-canary-f16.gguf")
}

fn flip_last_byte(package: &Path) -> anyhow::Result<()> {
    let mut bytes = std::fs::read(weights(package))?;
    *bytes.last_mut().context("weights have bytes")? ^= 1;
    Ok(std::fs::write(weights(package), bytes)?)
}

/// Claims one tensor more than the file holds, with digests in release.json to match: only the pre-check can see it.
fn make_hostile(package: &Path) -> anyhow::Result<()> {
    let mut bytes = std::fs::read(weights(package))?;
    // magic[4] version[4] tensor_count[8], little-endian
    let count = bytes.get_mut(8).context("a GGUF has a header")?;
    *count = count.wrapping_add(1);
    std::fs::write(weights(package), &bytes)?;
    let digest = output_of(Command::new("sha256sum").arg(weights(package)))?;
    let digest = digest
        .split_whitespace()
        .next()
        .context("sha256sum prints a digest")?
        .to_owned();
    edit_release(package, |release| {
        for file in release["files"]
            .as_object_mut()
            .into_iter()
            .flat_map(|it| it.values_mut())
        {
            if file.get("arch").is_some() {
                file["sha256"] = digest.clone().into();
            }
        }
    })
}

fn edit_release(package: &Path, edit: impl FnOnce(&mut Value)) -> anyhow::Result<()> {
    let path = package.join("release.json");
    let mut release: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    edit(&mut release);
    Ok(std::fs::write(path, serde_json::to_string_pretty(&release)?)?)
}
