//! What the box says about itself.

use jingui_ipc::status::{AuditState, Health, ModelFacts, Process as ProcessStatus, Status};

use crate::guarantees::{self, Measured};
use crate::supervisor::Supervisor;

impl Supervisor {
    /// A whole picture at this moment; the walls are measured now.
    pub(crate) fn status(&self) -> Status {
        let (health, reasons) = self.health();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            serial: self.identity.serial.clone(),
            health,
            reasons,
            details: Vec::new(),
            is_set_up: self.people.is_set_up(),
            is_developer_mode: true,
            supervisor_pid: std::process::id(),
            processes: self.process_statuses(),
            serving: self.serving_engine().map(|engine| engine.model),
            guarantees: guarantees::list(&self.measured()),
            audit: self.audit_state(),
            uptime_ms: self.clock.now().0,
        }
    }

    /// Facts of the installed models.
    pub(crate) fn model_facts(&self) -> Vec<ModelFacts> {
        self.models.facts()
    }

    /// The one word and its reasons, the worst first.
    fn health(&self) -> (Health, Vec<String>) {
        if let Some(code) = self.log.why_stopped() {
            return (Health::Stopped, vec![code.to_owned()]);
        }
        let mut parts = vec![Part {
            is_serving: self.gateway.life.is_serving(),
            is_struck: self.gateway.life.is_struck(),
            why: self.gateway.last_why.clone(),
            starting: "gateway.starting",
        }];
        if self.models.active().is_some() && self.engine.refusal.is_none() {
            parts.push(Part {
                is_serving: self.engine.life.is_serving() && self.engine.is_introduced,
                is_struck: self.engine.life.is_struck(),
                why: self.engine.last_why.clone(),
                starting: "engine.starting",
            });
        }
        let no_model = self
            .models
            .active()
            .is_none()
            .then(|| "system.model.none".to_owned());
        judge(&parts, self.engine.refusal.clone().or(no_model))
    }

    fn process_statuses(&self) -> Vec<ProcessStatus> {
        let gateway = ProcessStatus {
            role: "gateway".to_owned(),
            pid: self.gateway.process.as_ref().map(crate::process::Process::pid),
            phase: self.gateway.life.word().to_owned(),
            restart_count: self.gateway.life.restart_count(),
            step_count: None,
            model: None,
            progress: None,
        };
        let engine = ProcessStatus {
            role: "engine".to_owned(),
            pid: self.engine.process.as_ref().map(crate::process::Process::pid),
            phase: self.engine.life.word().to_owned(),
            restart_count: self.engine.life.restart_count(),
            step_count: Some(self.engine.step_count()),
            model: None,
            progress: None,
        };
        vec![gateway, engine]
    }

    fn measured(&self) -> [Measured; 2] {
        [
            Measured {
                role: "gateway",
                walls: self.gateway.walls(),
                landlock_abi: self.gateway.landlock_abi,
            },
            Measured {
                role: "engine",
                walls: self.engine.walls(),
                landlock_abi: self.engine.landlock_abi,
            },
        ]
    }

    fn audit_state(&self) -> AuditState {
        let checkpoint = self.log.checkpoint();
        AuditState {
            origin: checkpoint.origin.clone(),
            vkey: self.log.vkey(),
            size: checkpoint.size,
            root: root_base64(checkpoint),
            is_writable: self.log.is_writable(),
        }
    }
}

/// A part of the box that should serve.
#[derive(Debug)]
struct Part {
    is_serving: bool,
    is_struck: bool,
    why: Option<String>,
    starting: &'static str,
}

/// Degraded when something that should serve keeps failing or was refused, starting when it is on its way.
fn judge(parts: &[Part], lasting: Option<String>) -> (Health, Vec<String>) {
    let mut reasons: Vec<String> = Vec::new();
    let mut health = Health::Ok;
    for part in parts.iter().filter(|part| !part.is_serving) {
        reasons.push(part.why.clone().unwrap_or_else(|| part.starting.to_owned()));
        if part.is_struck {
            health = Health::Degraded;
        } else if health == Health::Ok {
            health = Health::Starting;
        }
    }
    if let Some(code) = lasting {
        reasons.push(code);
        health = Health::Degraded;
    }
    (health, reasons)
}

/// Second line of the checkpoint, as it is written there.
fn root_base64(checkpoint: &jingui_audit::Checkpoint) -> String {
    checkpoint
        .to_string()
        .lines()
        .nth(2)
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(is_serving: bool, is_struck: bool, why: Option<&str>) -> Part {
        Part {
            is_serving,
            is_struck,
            why: why.map(ToOwned::to_owned),
            starting: "x.starting",
        }
    }

    #[test]
    fn health_is_the_worst_of_its_parts_and_names_each_reason() {
        type Case<'a> = (&'a [Part], Option<&'a str>, Health, &'a [&'a str]);
        let cases: [Case<'_>; 5] = [
            (
                &[part(true, false, None), part(true, true, None)],
                None,
                Health::Ok,
                &[],
            ),
            (
                &[part(true, false, None), part(false, false, None)],
                None,
                Health::Starting,
                &["x.starting"],
            ),
            (
                &[part(false, false, Some("x.hung"))],
                None,
                Health::Starting,
                &["x.hung"],
            ),
            (
                &[part(false, true, Some("x.hung"))],
                None,
                Health::Degraded,
                &["x.hung"],
            ),
            (
                &[part(true, false, None)],
                Some("system.model.none"),
                Health::Degraded,
                &["system.model.none"],
            ),
        ];
        for (parts, lasting, health, reasons) in cases {
            let (found, codes) = judge(parts, lasting.map(ToOwned::to_owned));
            let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
            assert_eq!((found, codes.as_slice()), (health, reasons));
        }
    }
}
