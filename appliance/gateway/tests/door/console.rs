//! People at the console: signing in and out, forgery, locks, the ceremony, the pages' data.

use crate::support::*;
use hyper::Method;
use jingui_gateway::people::{FAILURE_COUNT_MAX, LOCK_S};
use jingui_gateway::schema::{ChatCompletion, InstalledModels, Problem, Session, SetUpDone, Status};
use jingui_gateway::sessions::{ADMIN_IDLE_S, USER_IDLE_S};
use jingui_ipc::control::{FaultKind, Private, Role, SetUpDone as WireSetUpDone};
use jingui_ipc::gateway::{Answer, Event, Outcome};
use serde_json::json;

fn code_of(reply: &Reply) -> String {
    serde_json::from_slice::<Problem>(&reply.body)
        .unwrap_or_else(|_| panic!("{reply:?}"))
        .code
}

#[tokio::test]
async fn a_user_signs_in_chats_and_signs_out_and_each_act_has_its_leaf() {
    let bench = bench().await;
    let mut engine = bench.engine().await;
    bench.user("wang").await;
    let reply = bench.sign_in("wang", PASSWORD, &bench.code()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let session: Session = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(session.username, "wang");
    assert_eq!(session.expires_at, "2026-11-24T20:15:00Z");
    let set_cookie = reply.header("set-cookie");
    assert!(set_cookie.starts_with("__Host-jingui="), "{set_cookie}");
    assert!(
        set_cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Strict"),
        "{set_cookie}"
    );
    let login = bench.supervisor.record().await;
    assert!(matches!(login.event, Event::UserLogin));
    assert_eq!(
        (login.outcome, login.role, login.source.as_str()),
        (Outcome::Ok, Some(Role::User), "127.0.0.1")
    );

    let cookie = cookie_of(&reply);
    let again = bench
        .client
        .get("/api/session", std::slice::from_ref(&cookie))
        .await;
    assert_eq!(serde_json::from_slice::<Session>(&again.body).unwrap(), session);

    let headers = [cookie.clone(), console(), header("sec-fetch-site", "same-origin")];
    let (answer, _) = tokio::join!(
        bench
            .client
            .post("/api/chat", &headers, question("hi").to_string()),
        engine.answer(&["hello"])
    );
    let answer: ChatCompletion = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(answer.choices[0].message.content.as_deref(), Some("hello"));
    let (record, inference) = bench.inference().await;
    assert_eq!(inference.family, "console");
    assert_eq!(
        (record.role, &record.session, &record.actor),
        (Some(Role::User), &login.session, &login.actor)
    );

    let status: Status = serde_json::from_slice(
        &bench
            .client
            .get("/api/status", std::slice::from_ref(&cookie))
            .await
            .body,
    )
    .unwrap();
    assert_eq!(status.serial, SERIAL);
    let models: InstalledModels = serde_json::from_slice(
        &bench
            .client
            .get("/api/models", std::slice::from_ref(&cookie))
            .await
            .body,
    )
    .unwrap();
    assert_eq!(models.data[0].name, MODEL);

    let out = bench
        .client
        .send(request(Method::DELETE, "/api/session", &headers, ""))
        .await;
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    assert!(matches!(bench.supervisor.record().await.event, Event::Logout));
    assert_eq!(bench.client.get("/api/session", &[cookie]).await.status, 401);
    bench.supervisor.no_more_records().await;
}

#[tokio::test]
async fn an_admin_is_proved_by_the_supervisor_alone() {
    let bench = bench().await;
    bench.supervisor.script(|script| {
        script.proofs.push_back(Answer::Person {
            account_id: "a-0001".to_owned(),
            username: "li".to_owned(),
            role: Role::Security,
            session: "s-from-supervisor".to_owned(),
        });
    });
    let reply = bench.sign_in("li", "any password", "123456").await;
    assert_eq!(reply.json()["role"], "security");
    assert_eq!(reply.json()["expires_at"], "2026-11-24T20:10:00Z");
    let proof = bench.supervisor.proofs.lock().await.recv().await.unwrap();
    assert_eq!(
        (proof.username.as_str(), proof.password.0.as_str()),
        ("li", "any password")
    );
    bench.supervisor.no_more_records().await;
}

#[tokio::test]
async fn a_call_from_another_site_changes_nothing() {
    let bench = bench().await;
    bench.user("wang").await;
    let cookie = cookie_of(&bench.sign_in("wang", PASSWORD, &bench.code()).await);
    let no_header = [cookie.clone()];
    let wrong_header = [cookie.clone(), header("x-jingui-console", "0")];
    let cross_site = [cookie.clone(), console(), header("sec-fetch-site", "cross-site")];
    let same_site = [cookie.clone(), console(), header("sec-fetch-site", "same-site")];
    for headers in [&no_header[..], &wrong_header, &cross_site, &same_site] {
        for (method, path) in [
            (Method::DELETE, "/api/session"),
            (Method::POST, "/api/chat"),
            (Method::POST, "/api/session"),
        ] {
            let reply = bench
                .client
                .send(request(method, path, headers, question("x").to_string()))
                .await;
            assert_eq!(
                (reply.status.as_u16(), code_of(&reply).as_str()),
                (403, "api.request.forged"),
                "{path}"
            );
        }
    }
    assert_eq!(
        bench.client.get("/api/session", &[cookie]).await.status,
        200,
        "reading needs no header"
    );
}

#[tokio::test]
async fn sessions_end_by_idleness_and_polls_do_not_keep_them() {
    for (role, idle) in [(Role::User, USER_IDLE_S), (Role::System, ADMIN_IDLE_S)] {
        let bench = bench().await;
        bench.user("wang").await;
        let reply = if role == Role::User {
            bench.sign_in("wang", PASSWORD, &bench.code()).await
        } else {
            bench.supervisor.script(|script| {
                script.proofs.push_back(Answer::Person {
                    account_id: "a-0001".to_owned(),
                    username: "li".to_owned(),
                    role,
                    session: "s-1".to_owned(),
                });
            });
            bench.sign_in("li", "x", "x").await
        };
        let cookie = [cookie_of(&reply)];
        bench.clock.advance(idle - 1);
        assert_eq!(bench.client.get("/api/models", &cookie).await.status, 200);
        bench.clock.advance(idle - 1);
        assert_eq!(bench.client.get("/api/status", &cookie).await.status, 200);
        bench.clock.advance(1);
        let ended = bench.client.get("/api/models", &cookie).await;
        assert_eq!(
            (ended.status.as_u16(), code_of(&ended).as_str()),
            (401, "api.session.missing")
        );
    }
}

/// A name that nobody has is told exactly what a user's name is told, up to the lock and after it.
#[tokio::test]
async fn five_wrong_proofs_lock_a_name_whether_it_exists_or_not() {
    let bench = bench().await;
    bench.user("wang").await;
    for name in ["wang", "nobody"] {
        for number in 1..=FAILURE_COUNT_MAX {
            let reply = bench.sign_in(name, "Wrong-Horse-77", "000000").await;
            let told = (reply.status.as_u16(), code_of(&reply));
            assert_eq!(told, (401, "auth.proof.wrong".to_owned()), "{name} {number}");
        }
        let reply = bench.sign_in(name, PASSWORD, &bench.code()).await;
        assert_eq!(
            (reply.status.as_u16(), code_of(&reply).as_str()),
            (403, "auth.account.locked"),
            "{name}"
        );
    }
    for _ in 0..FAILURE_COUNT_MAX {
        let record = bench.supervisor.record().await;
        assert_eq!(
            (record.outcome, record.why.as_str()),
            (Outcome::Deny, "auth.proof.wrong")
        );
        assert!(record.actor.starts_with("u-"), "{record:?}");
    }
    for is_user in [true, false] {
        let record = bench.supervisor.record().await;
        assert_eq!(record.why, "auth.account.locked");
        assert_eq!(
            (record.actor.starts_with("u-"), record.role.is_some()),
            (is_user, is_user),
            "{record:?}"
        );
    }
    bench.clock.advance(LOCK_S);
    assert_eq!(bench.sign_in("wang", PASSWORD, &bench.code()).await.status, 200);
}

#[tokio::test]
async fn a_code_opens_once() {
    let bench = bench().await;
    bench.user("wang").await;
    let code = bench.code();
    assert_eq!(bench.sign_in("wang", PASSWORD, &code).await.status, 200);
    let reply = bench.sign_in("wang", PASSWORD, &code).await;
    assert_eq!(
        (reply.status.as_u16(), code_of(&reply).as_str()),
        (401, "auth.code.replayed")
    );
    bench.supervisor.record().await;
    let record = bench.supervisor.record().await;
    assert_eq!(
        (record.outcome, record.why.as_str()),
        (Outcome::Deny, "auth.code.replayed")
    );
}

#[tokio::test]
async fn nobody_is_let_in_without_a_leaf() {
    let bench = bench().await;
    bench.user("wang").await;
    bench.supervisor.script(|script| script.records = false);
    let reply = bench.sign_in("wang", PASSWORD, &bench.code()).await;
    assert_eq!(
        (reply.status.as_u16(), code_of(&reply).as_str()),
        (503, "api.audit.unavailable")
    );
    assert_eq!(reply.header("set-cookie"), "");
}

#[tokio::test]
async fn bodies_that_are_no_sign_in_are_refused() {
    let bench = bench().await;
    for body in ["", "[]", "{}", r#"{"username":1,"password":"x","code":"y"}"#] {
        let reply = bench.client.post("/api/session", &[console()], body).await;
        assert_eq!(
            (reply.status.as_u16(), code_of(&reply).as_str()),
            (400, "api.body.malformed"),
            "{body}"
        );
    }
    let long = "n".repeat(65);
    let reply = bench.sign_in(&long, "x", "y").await;
    assert_eq!(code_of(&reply), "auth.proof.wrong");
}

#[tokio::test]
async fn sessions_survive_a_restart_of_the_gateway() {
    let first = bench().await;
    first.user("wang").await;
    let key = first.key().await;
    let cookie = [cookie_of(&first.sign_in("wang", PASSWORD, &first.code()).await)];
    let Bench {
        supervisor,
        serving,
        folder,
        clock,
        ..
    } = first;
    supervisor.die();
    patiently(serving).await.unwrap().unwrap();
    let second = start_in(folder, clock, jingui_gateway::gateway::Limits::default()).await;
    assert_eq!(second.client.get("/api/session", &cookie).await.status, 200);
    assert_eq!(second.client.get("/v1/models", &[bearer(&key)]).await.status, 200);
}

#[tokio::test]
async fn the_ceremony_goes_to_the_supervisor_and_its_refusals_come_back() {
    let bench = bench().await;
    bench.supervisor.script(|script| script.status.is_set_up = false);
    assert_eq!(
        bench.client.get("/api/setup", &[]).await.json(),
        json!({ "is_set_up": false })
    );
    let account = |role: &str| json!({"role": role, "username": role, "password": "p", "totp_secret": "s", "totp_code": "c"});
    let body = json!({
        "setup_code": "1234",
        "accounts": [account("system"), account("security"), account("audit")],
        "first_key_label": "first",
    });
    let reply = bench
        .client
        .post("/api/setup", &[console()], body.to_string())
        .await;
    assert_eq!(
        (reply.status.as_u16(), code_of(&reply).as_str()),
        (403, "auth.setup.code-wrong")
    );
    bench.supervisor.script(|script| {
        script.set_up = Some(refused(FaultKind::Refused, "auth.setup.roles"));
    });
    let reply = bench
        .client
        .post("/api/setup", &[console()], body.to_string())
        .await;
    assert_eq!(
        (reply.status.as_u16(), code_of(&reply).as_str()),
        (400, "auth.setup.roles")
    );
    bench.supervisor.script(|script| {
        script.set_up = Some(Answer::SetUpDone(WireSetUpDone {
            leaf_index: 7,
            first_key: Some(Private("id.secret".to_owned())),
            recovery_key: Some(Private("cbdefghi-jklnrtuv".to_owned())),
        }));
        script.status.is_set_up = true;
    });
    let reply = bench
        .client
        .post("/api/setup", &[console()], body.to_string())
        .await;
    let done: SetUpDone = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(
        (
            done.leaf_index,
            done.first_key.as_deref(),
            done.recovery_key.as_deref()
        ),
        (7, Some("id.secret"), Some("cbdefghi-jklnrtuv"))
    );
    assert_eq!(
        bench.client.get("/api/setup", &[]).await.json(),
        json!({ "is_set_up": true })
    );
    let reply = bench.client.post("/api/setup", &[], body.to_string()).await;
    assert_eq!(code_of(&reply), "api.request.forged");
}

#[tokio::test]
async fn the_consoles_files_are_served_and_unknown_addresses_are_not_pages() {
    let bench = bench().await;
    let page = bench.client.get("/signin", &[]).await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.text().to_lowercase().starts_with("<!doctype html>"));
    let script = page
        .text()
        .split('"')
        .find(|part| part.starts_with("/assets/") && part.ends_with(".js"))
        .unwrap();
    let asset = bench.client.get(script, &[]).await;
    assert_eq!(asset.status, 200);
    assert!(asset.header("content-type").starts_with("text/javascript"));
    assert_eq!(
        asset.header("cache-control"),
        "public, max-age=31536000, immutable"
    );
    assert_eq!(bench.client.get("/assets/nothing.js", &[]).await.status, 404);
    let lost = bench
        .client
        .get("/nowhere", &[header("accept", "text/html")])
        .await;
    assert_eq!(
        (lost.status.as_u16(), lost.header("content-type")),
        (404, "text/html; charset=utf-8")
    );
}
