//! What the box says about itself.

use jingui_ipc::status::{AuditState, Detail, Health, ModelFacts, Process as ProcessStatus, Status};

use crate::engine::Reason;
use crate::guarantees::{self, Measured};
use crate::supervisor::Supervisor;

impl Supervisor {
    /// A whole picture at this moment; the walls are measured now.
    pub(crate) fn status(&self) -> Status {
        let (health, reasons) = self.health();
        let details = reasons.iter().filter(|reason| !reason.facts.is_empty());
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            serial: self.identity.serial.clone(),
            health,
            details: details.cloned().map(detail).collect(),
            reasons: reasons.into_iter().map(|reason| reason.code).collect(),
            is_set_up: self.people.is_set_up(),
            is_developer_mode: !self.platform.is_sealed(),
            supervisor_pid: std::process::id(),
            processes: self.process_statuses(),
            serving: self.serving_engine().map(|engine| engine.model),
            guarantees: guarantees::list(
                &self.measured(),
                self.engines.serving.is_golden(),
                self.platform.guarantees(self.engines.serving.is_sealed()),
            ),
            platform: self.platform.facts(),
            audit: self.audit_state(),
            uptime_ms: self.clock.now().0,
        }
    }

    /// Facts of the installed models.
    pub(crate) fn model_facts(&self) -> Vec<ModelFacts> {
        self.models.facts()
    }

    /// The one word and its reasons, the worst first.
    fn health(&self) -> (Health, Vec<Reason>) {
        if let Some(code) = self.log.why_stopped() {
            return (Health::Stopped, vec![Reason::new(code)]);
        }
        let mut parts = vec![Part {
            is_serving: self.gateway.life.is_serving(),
            is_struck: self.gateway.life.is_struck(),
            why: self.gateway.last_why.clone(),
            starting: "gateway.starting",
        }];
        let engine = &self.engines.serving;
        if engine.package.is_some() && engine.refusal.is_none() {
            parts.push(Part {
                is_serving: engine.is_answering(),
                is_struck: engine.life.is_struck(),
                why: engine.last_why.clone(),
                starting: "engine.starting",
            });
        }
        let no_model = engine.package.is_none().then(|| Reason::new("system.model.none"));
        let network = self.network.fault.map(Reason::new);
        let lasting = [
            engine.refusal.clone(),
            self.engines.failed.clone(),
            no_model,
            network,
            self.updates.reason(),
        ];
        let platform = [self.platform.refusal(), self.platform.storage_fault()];
        let platform = platform.into_iter().flatten().map(Reason::new);
        let mut lasting: Vec<Reason> = platform.chain(lasting.into_iter().flatten()).collect();
        lasting.extend_from_slice(self.factory.reasons());
        lasting.dedup();
        judge(&parts, lasting)
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
        let engines = self.engines.iter().map(|engine| {
            let title = engine.package.and_then(|package| self.models.title(package));
            engine.status(title)
        });
        std::iter::once(gateway).chain(engines).collect()
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
                walls: self.engines.serving.walls(),
                landlock_abi: self.engines.serving.landlock_abi,
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
fn judge(parts: &[Part], lasting: Vec<Reason>) -> (Health, Vec<Reason>) {
    let mut reasons: Vec<Reason> = Vec::new();
    let mut health = Health::Ok;
    for part in parts.iter().filter(|part| !part.is_serving) {
        reasons.push(Reason::new(part.why.as_deref().unwrap_or(part.starting)));
        if part.is_struck {
            health = Health::Degraded;
        } else if health == Health::Ok {
            health = Health::Starting;
        }
    }
    if !lasting.is_empty() {
        reasons.extend(lasting);
        health = Health::Degraded;
    }
    (health, reasons)
}

fn detail(reason: Reason) -> Detail {
    Detail {
        code: reason.code,
        facts: reason.facts,
    }
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
            let (found, codes) = judge(parts, lasting.map(Reason::new).into_iter().collect());
            let codes: Vec<&str> = codes.iter().map(|reason| reason.code.as_str()).collect();
            assert_eq!((found, codes.as_slice()), (health, reasons));
        }
    }
}
