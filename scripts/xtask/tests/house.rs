//! House rules that a machine can check: who may use whom, what a process may not link, what scripts look like.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test program: a wrong assumption should stop it"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What each package may use of ours. Arrows point down: process, pure, border.
const MAY_USE: &[(&str, &[&str])] = &[
    ("supervisor", &["audit", "pack", "trust", "ipc", "jail"]),
    ("gateway", &["chat", "trust", "ipc", "jail", "messages"]),
    ("engine", &["sched", "llama", "trust", "ipc", "jail"]),
    ("storage", &["ipc", "messages", "trust"]),
    ("cli", &["audit", "pack", "trust", "ipc", "messages"]),
    // Shows and asks; the supervisor believes nothing it says.
    ("screen", &["ipc", "jail", "messages"]),
    // Of `ipc` the types of the network alone: what it writes for the first start is read with the same ones.
    ("installer", &["ipc", "messages", "pack", "trust"]),
    ("audit", &["trust"]),
    ("pack", &["trust"]),
    ("ipc", &["jail"]),
    ("chat", &[]),
    ("sched", &[]),
    ("trust", &[]),
    ("jail", &[]),
    ("messages", &[]),
    ("llama", &[]),
    // Not part of the product: drives it from outside.
    ("load", &[]),
    ("machine", &[]),
    ("xtask", &["ipc", "machine", "pack", "trust"]),
    ("e2e", &["audit", "ipc", "machine", "trust"]),
];

/// What a process may not hold at all, however indirectly: `(process, crate, why)`.
const MAY_NOT_LINK: &[(&str, &str, &str)] = &[
    ("supervisor", "tokio", "no async runtime"),
    ("supervisor", "hyper", "no HTTP"),
    ("supervisor", "axum", "no HTTP"),
    ("supervisor", "rusqlite", "no SQL"),
    ("supervisor", "llama-cpp-sys-2", "no C++"),
    ("supervisor", "minijinja", "parses no template"),
    ("storage", "tokio", "runs once and ends"),
    ("engine", "tokio", "one thread owns the context"),
    ("engine", "hyper", "no route out"),
    ("engine", "rusqlite", "no file"),
    ("gateway", "llama-cpp-sys-2", "no llama.cpp"),
];

const UNSAFE_HOMES: &[&str] = &["appliance/jail", "kernels/llama"];

#[test]
fn packages_use_only_what_the_table_allows() {
    let graph = Graph::read();
    for (package, allowed) in MAY_USE {
        let used: BTreeSet<&str> = graph
            .direct(package)
            .filter_map(|it| it.strip_prefix("jingui-"))
            .collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        assert!(
            used.is_subset(&allowed),
            "{package} uses {used:?}, the table allows {allowed:?}"
        );
    }
    let known: BTreeSet<String> = MAY_USE
        .iter()
        .map(|(package, _)| format!("jingui-{package}"))
        .collect();
    assert_eq!(
        graph.ours, known,
        "the table and the workspace name the same packages"
    );
}

#[test]
fn processes_do_not_link_what_they_must_not() {
    let graph = Graph::read();
    for (process, forbidden, why) in MAY_NOT_LINK {
        let linked = graph.linked(&format!("jingui-{process}"));
        assert!(!linked.contains(*forbidden), "{process} links {forbidden}: {why}");
    }
}

#[test]
fn unsafe_code_lives_only_in_its_homes() {
    for file in rust_files(&tree()) {
        let is_home = UNSAFE_HOMES
            .iter()
            .any(|home| file.starts_with(tree().join(home)));
        if is_home || file.ends_with("xtask/tests/house.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let offender = text
            .lines()
            .find(|line| line.contains("unsafe {") || line.contains("allow(unsafe_code)"));
        assert_eq!(offender, None, "{}", file.display());
    }
}

#[test]
fn every_package_takes_the_workspace_lints_or_states_its_own() {
    for (package, _) in MAY_USE {
        let manifest = std::fs::read_to_string(Graph::read().folder(package).join("Cargo.toml")).unwrap();
        let is_home = UNSAFE_HOMES.iter().any(|home| home.ends_with(package));
        assert!(
            is_home || manifest.contains("[lints]\nworkspace = true"),
            "{package}"
        );
    }
}

#[test]
fn llama_cpp_is_pinned_exactly() {
    let manifest = std::fs::read_to_string(tree().join("Cargo.toml")).unwrap();
    for name in ["llama-cpp-2", "llama-cpp-sys-2"] {
        assert!(manifest.contains(&format!("{name} = {{ version = \"=")), "{name}");
    }
}

#[test]
fn each_dependency_says_why_it_is_there() {
    let manifest = std::fs::read_to_string(tree().join("Cargo.toml")).unwrap();
    let table = manifest
        .split("[workspace.dependencies]")
        .nth(1)
        .unwrap()
        .split("\n[")
        .next()
        .unwrap();
    let mut paragraph_has_reason = false;
    for line in table.lines() {
        match line {
            _ if line.starts_with('#') => paragraph_has_reason = true,
            "" => paragraph_has_reason = false,
            _ => assert!(paragraph_has_reason || line.contains(" # "), "no reason: {line}"),
        }
    }
}

#[test]
fn shell_scripts_are_short_and_strict() {
    for name in ["run", "test", "bench"] {
        let text = std::fs::read_to_string(tree().join("scripts").join(name)).unwrap();
        assert!(text.contains("set -euo pipefail"), "{name}");
        assert!(text.lines().count() < 20, "{name}");
    }
}

struct Graph {
    ours: BTreeSet<String>,
    folders: BTreeMap<String, PathBuf>,
    /// Package id to name.
    names: BTreeMap<String, String>,
    /// Package id to the ids it links (no build scripts, no dev-dependencies).
    links: BTreeMap<String, Vec<String>>,
}

impl Graph {
    fn read() -> Self {
        // Of this platform only: packages of others need not have been fetched.
        let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let output = Command::new(env!("CARGO"))
            .args([
                "metadata",
                "--format-version",
                "1",
                "--locked",
                "--offline",
                "--filter-platform",
                &platform,
            ])
            .current_dir(tree())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
        let mut graph = Self {
            ours: BTreeSet::new(),
            folders: BTreeMap::new(),
            names: BTreeMap::new(),
            links: BTreeMap::new(),
        };
        let members: BTreeSet<&str> = metadata["workspace_members"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it.as_str().unwrap())
            .collect();
        for package in metadata["packages"].as_array().unwrap() {
            let (id, name) = (package["id"].as_str().unwrap(), package["name"].as_str().unwrap());
            graph.names.insert(id.to_owned(), name.to_owned());
            if members.contains(id) {
                graph.ours.insert(name.to_owned());
                let manifest = Path::new(package["manifest_path"].as_str().unwrap());
                graph
                    .folders
                    .insert(name.to_owned(), manifest.parent().unwrap().to_owned());
            }
        }
        for node in metadata["resolve"]["nodes"].as_array().unwrap() {
            let normal = node["deps"].as_array().unwrap().iter().filter(|dependency| {
                dependency["dep_kinds"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|it| it["kind"].is_null())
            });
            let ids = normal.map(|it| it["pkg"].as_str().unwrap().to_owned()).collect();
            graph.links.insert(node["id"].as_str().unwrap().to_owned(), ids);
        }
        graph
    }

    fn id(&self, name: &str) -> &str {
        self.names
            .iter()
            .find(|(_, it)| *it == name)
            .map(|(id, _)| id.as_str())
            .unwrap()
    }

    fn direct(&self, package: &str) -> impl Iterator<Item = &str> {
        self.links[self.id(&format!("jingui-{package}"))]
            .iter()
            .map(|id| self.names[id].as_str())
    }

    fn linked(&self, name: &str) -> BTreeSet<&str> {
        let mut seen = BTreeSet::new();
        let mut open = vec![self.id(name)];
        while let Some(id) = open.pop() {
            for next in &self.links[id] {
                if seen.insert(self.names[next].as_str()) {
                    open.push(next);
                }
            }
        }
        seen
    }

    fn folder(&self, package: &str) -> PathBuf {
        self.folders[&format!("jingui-{package}")].clone()
    }
}

fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir()
            && !name.starts_with('.')
            && !["target", "node_modules", "dist", "fuzz"].contains(&name.as_str())
        {
            files.extend(rust_files(&path));
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
    files
}
