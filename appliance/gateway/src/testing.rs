//! Things that several tests of this crate need.

use jingui_ipc::status::{AuditState, Detail, Guarantee, Health, ModelFacts, Process, Progress, Status};

/// Facts of a model with that name.
pub(crate) fn model_facts(name: &str) -> ModelFacts {
    ModelFacts {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        security_version: 1,
        package_digest: "ab".repeat(32),
        weights_digest: "cd".repeat(32),
        weights_bytes: 6_000_000,
        signed_by: "ef".repeat(32),
        architecture: "glm4".to_owned(),
        parameter_count: 3_000_000,
        layer_count: 4,
        head_count: 4,
        kv_head_count: 2,
        context_tokens: 2048,
        kv_bytes_per_token: 1024,
        tensor_types: vec![("F16".to_owned(), 30), ("F32".to_owned(), 9)],
        tokenizer: "gpt2/glm4".to_owned(),
        chat_template_digest: "01".repeat(32),
        license: "Apache-2.0".to_owned(),
        filing_number: String::new(),
        imported_at: "2026-11-24T20:00:00Z".to_owned(),
        state: "serving".to_owned(),
    }
}

/// A healthy box that serves one model.
pub(crate) fn status() -> Status {
    Status {
        version: "0.1.0".to_owned(),
        serial: "JG-0001".to_owned(),
        health: Health::Ok,
        reasons: vec!["system.x".to_owned()],
        details: vec![Detail {
            code: "system.x".to_owned(),
            facts: vec![("needs".to_owned(), "21.3 GiB".to_owned())],
        }],
        is_set_up: true,
        is_developer_mode: true,
        supervisor_pid: 7,
        processes: vec![Process {
            role: "engine".to_owned(),
            pid: Some(9),
            phase: "serving".to_owned(),
            restart_count: 0,
            step_count: Some(3),
            model: Some("canary 1.0.0".to_owned()),
            progress: Some(Progress {
                stage: "loading".to_owned(),
                permille: 430,
            }),
        }],
        serving: Some(model_facts("canary")),
        platform: Vec::new(),
        guarantees: vec![Guarantee {
            name: "engine.seccomp".to_owned(),
            group: "process".to_owned(),
            in_force: false,
            why: Some("guarantee.kernel-too-old".to_owned()),
        }],
        audit: AuditState {
            origin: "jingui/x".to_owned(),
            vkey: "x+1+y".to_owned(),
            size: 4,
            root: "AAAA".to_owned(),
            is_writable: true,
        },
        uptime_ms: 100,
    }
}
