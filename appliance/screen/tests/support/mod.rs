//! A box as the supervisor would describe it.

#![allow(dead_code, reason = "each test program uses its part")]

use jingui_ipc::control::Private;
use jingui_ipc::network::{InterfaceSettings, Method, Placement, Port};
use jingui_ipc::network::{InterfaceView, NetworkSettings, NetworkView};
use jingui_ipc::screen::Picture;
use jingui_ipc::status::{AuditState, Detail, Guarantee, Health, ModelFacts, PlatformFact, Status};

/// A box that was never set up and has a model.
pub(crate) fn fresh() -> Picture {
    Picture {
        status: status(),
        addresses: vec!["10.0.2.15".parse().unwrap(), "fd00::2".parse().unwrap()],
        port: 8443,
        ca_fingerprint: std::array::from_fn(|index| u8::try_from(index * 7 + 16).unwrap()),
        setup_code: Some(Private("7KQM-2XHB-R9CF-WT4P".to_owned())),
        firewall: Some(vec![
            ("service_in".to_owned(), 12),
            ("refused_in".to_owned(), 3),
            ("replies_out".to_owned(), 240),
            ("memberships_out".to_owned(), 0),
            ("refused_out".to_owned(), 0),
        ]),
    }
}

/// The same box after the ceremony, with trouble.
pub(crate) fn troubled() -> Picture {
    let mut picture = fresh();
    picture.setup_code = None;
    picture.addresses.clear();
    picture.firewall = None;
    let status = &mut picture.status;
    status.is_set_up = true;
    status.health = Health::Degraded;
    status.serving = None;
    status.is_developer_mode = true;
    status.reasons = vec![
        "engine.plan.memory".to_owned(),
        "network.state.unreadable".to_owned(),
    ];
    status.details = vec![Detail {
        code: "engine.plan.memory".to_owned(),
        facts: [
            ("needs", "21.3 GiB"),
            ("free", "7.9 GiB"),
            ("streams", "1"),
            ("tokens", "4096"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
    }];
    status.guarantees = ["secure-boot", "tpm-sealed-keys"]
        .map(|name| guarantee(&format!("platform.{name}"), false))
        .into();
    picture
}

/// Two interfaces, one of them with an address, and a way back.
pub(crate) fn network() -> NetworkView {
    let interface = |name: &str, mac: &str, address: Option<&str>| InterfaceView {
        name: name.to_owned(),
        mac: mac.parse().ok(),
        has_carrier: address.is_some(),
        addresses: address.map(|text| text.parse().unwrap()).into_iter().collect(),
    };
    NetworkView {
        interfaces: vec![
            interface("enp1s0", "52:54:00:12:34:56", Some("10.0.2.15/24")),
            interface("enp2s0", "52:54:00:12:34:57", None),
        ],
        current: Some(settings("10.0.2.15/24", Some("10.0.2.2"))),
        previous: Some(settings("192.168.1.20/24", None)),
    }
}

/// Settings of one interface.
pub(crate) fn settings(address: &str, gateway: Option<&str>) -> NetworkSettings {
    NetworkSettings {
        interfaces: vec![InterfaceSettings {
            port: Port::Name("enp1s0".to_owned()),
            method: Method::Static(vec![Placement {
                address: address.parse().unwrap(),
                gateway: gateway.map(|text| text.parse().unwrap()),
            }]),
        }],
    }
}

fn guarantee(name: &str, in_force: bool) -> Guarantee {
    Guarantee {
        name: name.to_owned(),
        group: "platform".to_owned(),
        in_force,
        why: (!in_force).then(|| "guarantee.why.developer-machine".to_owned()),
    }
}

fn status() -> Status {
    Status {
        version: "0.1.0".to_owned(),
        serial: "jg0123456789ab".to_owned(),
        health: Health::Ok,
        reasons: Vec::new(),
        details: Vec::new(),
        is_set_up: false,
        is_developer_mode: false,
        supervisor_pid: 1,
        processes: Vec::new(),
        serving: Some(model()),
        guarantees: vec![
            guarantee("platform.secure-boot", true),
            guarantee("platform.tpm-sealed-keys", true),
        ],
        audit: AuditState {
            origin: "jingui.example/jg0123456789ab/audit/1".to_owned(),
            vkey: "vkey".to_owned(),
            size: 1,
            root: "root".to_owned(),
            is_writable: true,
        },
        uptime_ms: 1,
        platform: vec![PlatformFact {
            name: "image-version".to_owned(),
            measured: Some("1.0.0".to_owned()),
            published: Some("1.0.0".to_owned()),
        }],
    }
}

fn model() -> ModelFacts {
    ModelFacts {
        name: "glm4-canary".to_owned(),
        version: "1.0".to_owned(),
        security_version: 1,
        package_digest: String::new(),
        weights_digest: String::new(),
        weights_bytes: 1,
        signed_by: String::new(),
        architecture: "glm4".to_owned(),
        parameter_count: 1,
        layer_count: 1,
        head_count: 1,
        kv_head_count: 1,
        context_tokens: 1,
        kv_bytes_per_token: 1,
        tensor_types: Vec::new(),
        tokenizer: String::new(),
        chat_template_digest: String::new(),
        license: String::new(),
        filing_number: String::new(),
        imported_at: String::new(),
        state: "serving".to_owned(),
    }
}
