//! Every refusal at the door: its status, its code, its form, and that nothing else happened.

use crate::support::*;
use hyper::Method;
use jingui_gateway::routes::{ROUTES, Who};
use jingui_gateway::schema::{ErrorBody, ModelList, Problem};
use serde_json::json;

fn error_code(reply: &Reply) -> String {
    let error: ErrorBody = serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("{reply:?}"));
    assert!(!error.error.message.is_empty());
    error.error.code
}

fn problem_code(reply: &Reply) -> String {
    assert_eq!(reply.header("content-type"), "application/problem+json");
    let problem: Problem = serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("{reply:?}"));
    assert_eq!(problem.status, reply.status.as_u16());
    assert_eq!(problem.request_id, reply.header("x-request-id"));
    problem.code
}

#[tokio::test]
async fn chat_requests_that_cannot_be_served_are_told_why() {
    let bench = bench().await;
    let mut engine = bench.engine().await;
    let key = bench.key().await;
    let cases = [
        ("not JSON", "{".to_owned(), 400, "invalid_value"),
        ("not UTF-8", "\u{fffd}".to_owned(), 400, "invalid_value"),
        ("an array", "[]".to_owned(), 400, "invalid_value"),
        (
            "deep",
            format!("{}{}", "[".repeat(5000), "]".repeat(5000)),
            400,
            "invalid_value",
        ),
        (
            "no model",
            json!({"messages": [{"role": "user", "content": "x"}]}).to_string(),
            400,
            "invalid_value",
        ),
        (
            "no messages",
            json!({"model": MODEL, "messages": []}).to_string(),
            400,
            "invalid_value",
        ),
        (
            "another model",
            {
                let mut body = question("x");
                body["model"] = json!("unknown");
                body.to_string()
            },
            404,
            "model_not_found",
        ),
        (
            "hot",
            {
                let mut body = question("x");
                body["temperature"] = json!(3);
                body.to_string()
            },
            400,
            "invalid_value",
        ),
        (
            "two answers",
            {
                let mut body = question("x");
                body["n"] = json!(2);
                body.to_string()
            },
            400,
            "unsupported_value",
        ),
        (
            "an address",
            json!({"model": MODEL, "messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}]}]})
            .to_string(),
            400,
            "invalid_value",
        ),
    ];
    for (name, body, status, code) in cases {
        let reply = bench
            .client
            .post("/v1/chat/completions", &[bearer(&key)], body)
            .await;
        assert_eq!(reply.status, status, "{name}: {reply:?}");
        assert_eq!(error_code(&reply), code, "{name}");
        assert_eq!(reply.header("content-type"), "application/json", "{name}");
        assert_eq!(reply.header("x-should-retry"), "false", "{name}");
        assert!(reply.header("x-request-id").starts_with("req_"), "{name}");
    }
    assert!(engine.has_heard_nothing());
    bench.supervisor.no_more_records().await;
}

#[tokio::test]
async fn a_model_that_is_not_there_is_never_replaced_and_one_that_loads_is_waited_for() {
    let bench = bench().await;
    let key = bench.key().await;
    let reply = bench.client.chat(&key, question("x")).await;
    assert_eq!(
        (reply.status.as_u16(), error_code(&reply).as_str()),
        (503, "model_loading")
    );
    assert_eq!(reply.header("x-should-retry"), "true");
    assert_eq!(bench.client.get("/readyz", &[]).await.status, 503);
    let empty: ModelList =
        serde_json::from_slice(&bench.client.get("/v1/models", &[bearer(&key)]).await.body).unwrap();
    assert_eq!((empty.data.len(), empty.first_id), (0, None));

    let _engine = bench.engine().await;
    assert_eq!(bench.client.get("/readyz", &[]).await.status, 200);
    let list: ModelList =
        serde_json::from_slice(&bench.client.get("/v1/models", &[bearer(&key)]).await.body).unwrap();
    assert_eq!(
        (list.object.as_str(), list.has_more, list.first_id.as_deref()),
        ("list", false, Some(MODEL))
    );
    assert_eq!(
        (list.data[0].created, list.data[0].max_input_tokens),
        (1_795_550_400, 2048)
    );
    let one = bench
        .client
        .get("/v1/models/canary", &[bearer(&key)])
        .await
        .json();
    assert_eq!(
        (&one["id"], &one["object"], &one["type"]),
        (&json!(MODEL), &json!("model"), &json!("model"))
    );
    let reply = bench.client.get("/v1/models/canary2", &[bearer(&key)]).await;
    assert_eq!(
        (reply.status.as_u16(), error_code(&reply).as_str()),
        (404, "model_not_found")
    );
    let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("canary2"), "{message}");
}

#[tokio::test]
async fn keys_are_missing_mistyped_unknown_or_right() {
    let bench = bench().await;
    let _engine = bench.engine().await;
    let key = bench.key().await;
    let missing = bench.client.get("/v1/models", &[]).await;
    assert_eq!(
        (missing.status.as_u16(), error_code(&missing).as_str()),
        (401, "missing_api_key")
    );
    assert_eq!(missing.header("www-authenticate"), "Bearer");
    let mistyped = format!("{}x", &key[..key.len() - 1]);
    for (name, headers) in [
        ("mistyped", vec![bearer(&mistyped)]),
        ("not a key", vec![bearer("sk-123")]),
        ("empty", vec![header("authorization", "Bearer ")]),
        ("basic", vec![header("authorization", "Basic dTpw")]),
    ] {
        let reply = bench.client.get("/v1/models", &headers).await;
        assert_eq!(reply.status, 401, "{name}");
        assert!(
            ["invalid_api_key", "missing_api_key"].contains(&error_code(&reply).as_str()),
            "{name}"
        );
    }
    for headers in [
        bearer(&key),
        header("authorization", &format!("bearer {key}")),
        header("x-api-key", &key),
    ] {
        assert_eq!(bench.client.get("/v1/models", &[headers]).await.status, 200);
    }
    let in_address = format!("/v1/models?api_key={key}");
    assert_eq!(
        bench.client.get(&in_address, &[]).await.status,
        401,
        "never a key in an address"
    );
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_have_the_form_of_their_family() {
    let bench = bench().await;
    for path in [
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v1/models/a/b",
        "/v1/chat/completions/x",
    ] {
        let reply = bench.client.get(path, &[]).await;
        assert_eq!(
            (reply.status.as_u16(), error_code(&reply).as_str()),
            (404, "unknown_url"),
            "{path}"
        );
    }
    for path in ["/api", "/api/", "/api/nothing"] {
        let reply = bench.client.get(path, &[header("accept", "text/html")]).await;
        assert_eq!(
            (reply.status.as_u16(), problem_code(&reply).as_str()),
            (404, "api.path.unknown"),
            "{path}"
        );
    }
    for (method, path, allow) in [
        (Method::GET, "/v1/chat/completions", "POST"),
        (Method::DELETE, "/v1/models", "GET, HEAD"),
        (Method::OPTIONS, "/v1/models", "GET, HEAD"),
        (Method::PUT, "/healthz", "GET, HEAD"),
    ] {
        let reply = bench.client.send(request(method.clone(), path, &[], "")).await;
        assert_eq!(
            (reply.status.as_u16(), error_code(&reply).as_str()),
            (405, "method_not_allowed"),
            "{method} {path}"
        );
        assert_eq!(reply.header("allow"), allow);
    }
    let reply = bench
        .client
        .send(request(Method::PUT, "/api/session", &[], ""))
        .await;
    assert_eq!(
        (reply.status.as_u16(), problem_code(&reply).as_str()),
        (405, "api.method.wrong")
    );
    assert_eq!(reply.header("allow"), "GET, HEAD, POST, DELETE");
    let reply = bench.client.send(request(Method::POST, "/", &[], "")).await;
    assert_eq!(reply.status, 405);
    let reply = bench
        .client
        .send(request(Method::HEAD, "/healthz", &[], ""))
        .await;
    assert_eq!((reply.status.as_u16(), reply.body.len()), (200, 0));
}

/// Walks the table, so that a new route is checked without a new test.
#[tokio::test]
async fn credentials_of_one_kind_never_open_routes_of_another() {
    let bench = bench().await;
    let key = bench.key().await;
    bench.user("wang").await;
    let cookie = cookie_of(&bench.sign_in("wang", PASSWORD, &bench.code()).await);
    for route in ROUTES {
        let method = Method::from_bytes(format!("{:?}", route.method).to_uppercase().as_bytes()).unwrap();
        let path = route.path.replace("{id}", "canary");
        let (foreign, status) = match route.who {
            Who::Key => (vec![cookie.clone(), console()], 401),
            Who::Session => (vec![bearer(&key), header("x-api-key", &key), console()], 401),
            Who::Console => (vec![bearer(&key), cookie.clone()], 403),
            Who::Public => continue,
        };
        let reply = bench.client.send(request(method, &path, &foreign, "{}")).await;
        assert_eq!(reply.status, status, "{:?} {path}: {reply:?}", route.method);
    }
}

#[tokio::test]
async fn every_answer_has_its_id_and_the_headers_that_protect_a_page() {
    let bench = bench().await;
    let mut ids = std::collections::BTreeSet::new();
    for (path, status) in [
        ("/", 200),
        ("/chat", 200),
        ("/v1/models", 401),
        ("/api/session", 401),
        ("/healthz", 200),
        ("/ca.pem", 200),
        ("/openapi.json", 200),
        ("/v1/nothing", 404),
        ("/nothing", 404),
    ] {
        let reply = bench.client.get(path, &[]).await;
        assert_eq!(reply.status, status, "{path}");
        assert!(ids.insert(reply.header("x-request-id").to_owned()), "{path}");
        let policy = reply.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'"),
            "{policy}"
        );
        assert!(
            policy.contains("trusted-types app") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        assert_eq!(reply.header("referrer-policy"), "no-referrer");
        assert_eq!(reply.header("x-frame-options"), "DENY");
        assert_eq!(reply.header("cache-control"), "no-store", "{path}");
        assert_eq!(reply.header("access-control-allow-origin"), "", "no other origin");
    }
    assert!(
        bench
            .client
            .get("/ca.pem", &[])
            .await
            .text()
            .starts_with("-----BEGIN CERTIFICATE-----")
    );
    assert_eq!(
        bench.client.get("/openapi.json", &[]).await.text(),
        jingui_gateway::openapi::document()
    );
}

#[tokio::test]
async fn errors_speak_the_callers_language() {
    let bench = bench().await;
    let chinese = |text: &str| text.chars().any(|sign| ('\u{4e00}'..='\u{9fff}').contains(&sign));
    let api = bench.client.get("/v1/models", &[]).await;
    assert!(!chinese(api.text()), "programs that say nothing get English");
    let api = bench
        .client
        .get("/v1/models", &[header("accept-language", "zh-CN")])
        .await;
    assert!(chinese(api.text()));
    let page = bench.client.get("/api/status", &[]).await;
    assert!(chinese(page.text()), "people get Chinese first");
    let page = bench
        .client
        .get("/api/status", &[header("accept-language", "en-US,en;q=0.9")])
        .await;
    assert!(!chinese(page.text()));
    assert_eq!(problem_code(&page), "api.session.missing");
}

#[test]
fn every_code_has_words() {
    for code in jingui_gateway::CODES {
        assert!(jingui_messages::is_known(code), "{code}");
    }
    let mut sorted = jingui_gateway::CODES.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted, jingui_gateway::CODES);
}
