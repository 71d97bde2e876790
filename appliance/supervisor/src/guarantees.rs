//! What the box promises, and whether it holds on this machine now: measured, not intended.

use jingui_ipc::status::Guarantee;
use jingui_jail::Walls;

/// A process whose walls are measured.
#[derive(Debug)]
pub(crate) struct Measured {
    /// `gateway` or `engine`.
    pub(crate) role: &'static str,
    /// Walls as measured; `None` while the process is not there.
    pub(crate) walls: Option<Walls>,
    /// What the process reported: the kernel does not show it from outside.
    pub(crate) landlock_abi: u32,
}

/// All guarantees (`is_golden`: the serving engine gave the vendor's signed answers first; `None` when its release has
/// none, or there is none): those of each process, then those of the platform ([`crate::platform`]).
pub(crate) fn list(
    processes: &[Measured],
    is_golden: Option<bool>,
    platform: Vec<Guarantee>,
) -> Vec<Guarantee> {
    let mut guarantees: Vec<Guarantee> = processes.iter().flat_map(of_process).collect();
    guarantees.push(of_answers(is_golden));
    guarantees.extend(platform);
    guarantees
}

/// Whether the engine that serves gave the signed answers to its golden prompts before it did.
fn of_answers(is_golden: Option<bool>) -> Guarantee {
    let why = match is_golden {
        Some(true) => None,
        Some(false) => Some("guarantee.why.process-absent"),
        None => Some("guarantee.why.no-golden-prompts"),
    };
    Guarantee {
        name: "engine.golden-prompts".to_owned(),
        group: "process".to_owned(),
        in_force: why.is_none(),
        why: why.map(ToOwned::to_owned),
    }
}

fn of_process(process: &Measured) -> Vec<Guarantee> {
    let is_absent = process.walls.is_none();
    let walls = process.walls.clone().unwrap_or_default();
    let named = walls.guarantees(process.landlock_abi);
    let missing = if is_absent {
        "guarantee.why.process-absent"
    } else {
        "guarantee.why.machine-refuses"
    };
    named
        .into_iter()
        .map(|(name, is_in_force)| {
            let in_force = is_in_force && !is_absent;
            Guarantee {
                name: format!("{}.{name}", process.role),
                group: "process".to_owned(),
                in_force,
                why: (!in_force).then(|| missing.to_owned()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::Platform;

    #[test]
    fn an_absent_process_guarantees_nothing_and_says_why() {
        let absent = Measured {
            role: "engine",
            walls: None,
            landlock_abi: 7,
        };
        let platform = Platform::default().guarantees(None);
        let count = platform.len();
        let guarantees = list(&[absent], Some(false), platform);
        assert_eq!(guarantees.len(), 12 + 1 + count);
        assert!(guarantees.iter().all(|it| !it.in_force && it.why.is_some()));
        assert!(guarantees.iter().any(|it| it.name == "engine.landlock"));
        assert!(guarantees.iter().any(|it| it.name == "platform.secure-boot"));
    }

    #[test]
    fn only_a_measured_wall_is_in_force() {
        let walls = Walls {
            seccomp: true,
            ..Walls::default()
        };
        let guarantees = list(
            &[Measured {
                role: "gateway",
                walls: Some(walls),
                landlock_abi: 0,
            }],
            None,
            Vec::new(),
        );
        let in_force: Vec<&str> = guarantees
            .iter()
            .filter(|it| it.in_force)
            .map(|it| it.name.as_str())
            .collect();
        assert_eq!(in_force, ["gateway.seccomp"]);
    }
}
