use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::*;

#[test]
fn the_committed_document_is_what_the_code_serves() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, document()).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&golden).unwrap(),
        document(),
        "openapi.json is not what the code serves; UPDATE_GOLDEN=1 rewrites it"
    );
}

#[test]
fn operation_ids_and_routes_are_unique() {
    let ids: BTreeSet<&str> = ROUTES.iter().map(|route| route.describe.id).collect();
    assert_eq!(ids.len(), ROUTES.len());
    let places: BTreeSet<String> = ROUTES
        .iter()
        .map(|route| format!("{:?} {}", route.method, route.path))
        .collect();
    assert_eq!(places.len(), ROUTES.len());
}

#[test]
fn every_reference_leads_to_a_schema() {
    fn walk(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(reference)) = map.get("$ref") {
                    found.insert(reference.clone());
                }
                map.values().for_each(|value| walk(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let document: Value = serde_json::from_str(document()).unwrap();
    let mut found = BTreeSet::new();
    walk(&document, &mut found);
    assert!(found.len() > 10, "{found:?}");
    for reference in found {
        let name = reference.strip_prefix("#/components/schemas/").unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{reference}");
    }
    assert_eq!(document["openapi"], json!("3.1.0"));
}

fn model_facts() -> jingui_ipc::status::ModelFacts {
    crate::testing::model_facts("canary")
}

/// Serialises what really travels and reads it as the mirror, which refuses unknown and missing fields.
#[test]
fn the_mirrors_of_ipc_types_are_what_is_really_serialised() {
    let status = crate::testing::status();
    let value = serde_json::to_value(&status).unwrap();
    let mirror: schema::Status = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(serde_json::to_value(&mirror).unwrap(), value);

    let value = serde_json::to_value(model_facts()).unwrap();
    let mirror: schema::ModelFacts = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(serde_json::to_value(&mirror).unwrap(), value);
}

#[test]
fn the_mirror_of_the_ceremony_is_what_ipc_reads() {
    let body = json!({
        "setup_code": "1234", "accounts": [{"role": "system", "username": "a", "password": "b",
        "totp_secret": "c", "totp_code": "d"}], "first_user": {"username": "u", "password": "p",
        "totp_secret": "s"}, "first_key_label": "first"
    });
    let mirror: schema::SetUp = serde_json::from_value(body.clone()).unwrap();
    assert_eq!(serde_json::to_value(&mirror).unwrap(), body);
    let real: jingui_ipc::control::SetUp = serde_json::from_value(body.clone()).unwrap();
    assert_eq!(serde_json::to_value(&real).unwrap(), body);
}
