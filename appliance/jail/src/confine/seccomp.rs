//! System calls: which end the process, which are allowed, and that all others do not exist (seccomp(2)).
//!
//! The lists are `seccomp/*.json`, each entry with its reason. Two filters stand on each other, and the kernel takes
//! the stricter answer: `hostile.json` kills, the others allow, and what is in no list gets `ENOSYS`, so that the C
//! library falls back to an older call (clone3 to clone) or says that it cannot.

use std::collections::HashMap;

use seccompiler::{BpfProgram, TargetArch};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::confine::Profile;

const HOSTILE: &str = include_str!("../../seccomp/hostile.json");
const COMMON: &str = include_str!("../../seccomp/common.json");
const ENGINE: &str = include_str!("../../seccomp/engine.json");
const GATEWAY: &str = include_str!("../../seccomp/gateway.json");

/// Installs both filters in the calling thread and all that it will start.
pub(super) fn install(profile: Profile) -> Result<(), seccompiler::Error> {
    let [hostile, allowed] = programs(profile, HERE)?;
    seccompiler::apply_filter(&hostile)?;
    seccompiler::apply_filter(&allowed)
}

#[cfg(target_arch = "x86_64")]
const HERE: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const HERE: TargetArch = TargetArch::aarch64;

/// The filter that kills and the filter that allows, in the order of installation.
fn programs(profile: Profile, arch: TargetArch) -> Result<[BpfProgram; 2], seccompiler::Error> {
    let own = match profile {
        Profile::Gateway { .. } => GATEWAY,
        Profile::Engine => ENGINE,
    };
    let not_there = json!({ "errno": libc::ENOSYS });
    Ok([
        compile(&[HOSTILE], json!("allow"), json!("kill_process"), arch)?,
        compile(&[COMMON, own], not_there, json!("allow"), arch)?,
    ])
}

/// One entry of a list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    call: String,
    /// Why it is in this list. Read by people, and by the test that each entry has one.
    #[allow(dead_code)]
    reason: String,
    /// Architectures that have this call; without it, all.
    arch: Option<String>,
    /// All must hold.
    #[serde(default)]
    when: Vec<Condition>,
}

/// A condition on one argument: after masking it is one of `any`.
#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct Condition {
    argument: u8,
    /// Numbers, or texts such as `"0x20"`.
    any: Vec<Value>,
    mask: Option<Value>,
    /// Compare 64 bits instead of 32: for pointers.
    #[serde(default)]
    wide: bool,
}

fn compile(
    lists: &[&str],
    otherwise: Value,
    on_match: Value,
    arch: TargetArch,
) -> Result<BpfProgram, seccompiler::Error> {
    let mut rules = Vec::new();
    for list in lists {
        let entries: Vec<Entry> = parse(list);
        for entry in entries.iter().filter(|entry| entry.is_for(arch)) {
            rules.extend(entry.rules());
        }
    }
    let filter =
        json!({ "filter": { "mismatch_action": otherwise, "match_action": on_match, "filter": rules } });
    let mut compiled: HashMap<String, BpfProgram> =
        seccompiler::compile_from_json(filter.to_string().as_bytes(), arch)?;
    compiled.remove("filter").ok_or(seccompiler::Error::EmptyFilter)
}

/// The lists are part of the program; tests read every one of them.
fn parse(list: &str) -> Vec<Entry> {
    let parsed = serde_json::from_str(list);
    assert!(
        parsed.is_ok(),
        "a list of system calls is malformed: {:?}",
        parsed.err()
    );
    parsed.unwrap_or_default()
}

impl Entry {
    fn is_for(&self, arch: TargetArch) -> bool {
        let name = match arch {
            TargetArch::x86_64 => "x86_64",
            TargetArch::aarch64 => "aarch64",
            TargetArch::riscv64 => "riscv64",
        };
        self.arch.as_deref().is_none_or(|arch| arch == name)
    }

    /// One rule of seccompiler per combination of values: a rule's conditions must all hold.
    fn rules(&self) -> Vec<Value> {
        if self.when.is_empty() {
            return vec![json!({ "syscall": self.call })];
        }
        let mut combinations = vec![Vec::new()];
        for condition in &self.when {
            combinations = combinations
                .iter()
                .flat_map(|before: &Vec<Value>| {
                    condition.any.iter().map(move |value| {
                        before
                            .iter()
                            .cloned()
                            .chain([condition.with(value)])
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
        }
        combinations
            .into_iter()
            .map(|args| json!({ "syscall": self.call, "args": args }))
            .collect()
    }
}

impl Condition {
    fn with(&self, value: &Value) -> Value {
        let operation = match &self.mask {
            Some(mask) => json!({ "masked_eq": number(mask) }),
            None => json!("eq"),
        };
        let length = if self.wide { "qword" } else { "dword" };
        json!({ "index": self.argument, "type": length, "op": operation, "val": number(value) })
    }
}

/// Numbers may be written as hexadecimal text, as the kernel's headers do.
fn number(value: &Value) -> u64 {
    let number = match value {
        Value::String(text) => text
            .strip_prefix("0x")
            .and_then(|hex| u64::from_str_radix(hex, 16).ok()),
        other => other.as_u64(),
    };
    assert!(number.is_some(), "{value} is no number of a list of system calls");
    number.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTS: [(&str, &str); 4] = [
        ("hostile", HOSTILE),
        ("common", COMMON),
        ("engine", ENGINE),
        ("gateway", GATEWAY),
    ];

    #[test]
    fn both_profiles_compile_for_both_architectures() {
        for arch in [TargetArch::x86_64, TargetArch::aarch64] {
            for profile in [Profile::Engine, Profile::Gateway { state_fd: 5 }] {
                let programs = programs(profile, arch).unwrap();
                assert!(
                    programs.iter().all(|program| program.len() > 10),
                    "{arch:?} {profile:?}"
                );
            }
        }
    }

    #[test]
    fn each_entry_has_its_reason() {
        for (name, list) in LISTS {
            for entry in parse(list) {
                assert!(
                    entry.reason.split_whitespace().count() >= 2,
                    "{name}: {}",
                    entry.call
                );
                assert!(
                    entry
                        .arch
                        .is_none_or(|arch| arch == "x86_64" || arch == "aarch64"),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn what_kills_is_allowed_nowhere_unless_both_look_at_arguments() {
        let hostile = parse(HOSTILE);
        for (name, list) in LISTS.into_iter().skip(1) {
            for entry in parse(list) {
                for bad in hostile.iter().filter(|bad| bad.call == entry.call) {
                    assert!(!bad.when.is_empty(), "{name} allows {}", entry.call);
                }
            }
        }
    }

    #[test]
    fn no_list_names_a_call_twice_without_conditions() {
        for (name, list) in LISTS {
            let entries = parse(list);
            for entry in entries.iter().filter(|entry| entry.when.is_empty()) {
                let count = entries.iter().filter(|other| other.call == entry.call).count();
                assert_eq!(count, 1, "{name}: {}", entry.call);
            }
        }
    }
}
