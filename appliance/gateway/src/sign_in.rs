//! Sessions of the console over HTTP, and the first-boot ceremony.
//!
//! A name that is an ordinary user's is proved here; any other goes to the supervisor, which holds the admins. The
//! answer is the same for a name that nobody has, and five wrong tries lock it like one that somebody has.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{self, HeaderValue};
use axum::http::{Response, StatusCode};
use jingui_ipc::control::{Fault, FaultKind, Private, Proof, Role, SetUp};
use jingui_ipc::gateway::{Answer, Ask, Event, Outcome, Record};

use crate::answers::json;
use crate::call::{Call, Caller};
use crate::clock::rfc3339;
use crate::gateway::{ACT_TIME_MAX, Gateway};
use crate::people::{LOCK_S, ProofRefusal, USERNAME_BYTES_MAX};
use crate::refusals::Refusal;
use crate::schema;
use crate::sessions::{Opener, Session, SessionNotOpened, cookie, new_session_id, no_cookie};
use crate::store::StoreFailure;

/// Codes of the supervisor that are about the proof itself.
const WRONG: &str = "auth.proof.wrong";
const REPLAYED: &str = "auth.code.replayed";
const LOCKED: &str = "auth.account.locked";

/// `POST /api/session`.
///
/// # Errors
/// `BodyMalformed`, `TooManyTries`, `Locked`, `ProofWrong`, `CodeReplayed`, `AuditUnavailable`, and what the
/// supervisor refuses with.
pub async fn sign_in(gateway: Arc<Gateway>, call: Call) -> Result<Response<Body>, Refusal> {
    let typed: schema::SignIn = serde_json::from_slice(&call.body).map_err(|_| Refusal::BodyMalformed)?;
    if let Some(wait_s) = gateway.tries.wait_s(call.source) {
        return Err(Refusal::TooManyTries { wait_s });
    }
    let proof = Proof {
        username: typed.username,
        password: Private(typed.password),
        code: Private(typed.code),
    };
    if proof.username.len() > USERNAME_BYTES_MAX {
        gateway.tries.count(call.source);
        return Err(Refusal::ProofWrong);
    }
    if let Some(remaining_s) = gateway.people.locked_for(&proof.username).await.map_err(failed)? {
        gateway.tries.count(call.source);
        let account = gateway.people.account_of(&proof.username).await.map_err(failed)?;
        let role = account.is_some().then_some(Role::User);
        let actor = account.unwrap_or_else(|| proof.username.clone());
        let record = login(&call, actor, role, String::new(), Outcome::Deny, LOCKED);
        gateway.record(record).await?;
        return Err(Refusal::Locked { remaining_s });
    }
    let opener = match gateway.people.check(&proof).await {
        Ok(Some(person)) => {
            let session = new_session_id().map_err(|_| Refusal::Internal {
                code: "system.randomness.missing",
            })?;
            let (actor, role) = (person.account_id.clone(), Some(Role::User));
            gateway
                .record(login(&call, actor, role, session.clone(), Outcome::Ok, ""))
                .await?;
            Opener {
                account_id: person.account_id,
                username: person.username,
                role: Role::User,
                session,
            }
        }
        Ok(None) => ask_supervisor(&gateway, &call, &proof).await?,
        Err(refusal) => return Err(refuse_user(&gateway, &call, &proof, refusal).await?),
    };
    gateway
        .people
        .clear_failures(&proof.username)
        .await
        .map_err(failed)?;
    if let Some(token) = &call.token {
        // Signing in again ends the session that the browser had.
        gateway.sessions.end(token).await.map_err(failed)?;
    }
    let (session, token) = gateway
        .sessions
        .begin(opener)
        .await
        .map_err(|failure| match failure {
            SessionNotOpened::Random(_) => Refusal::Internal {
                code: "system.randomness.missing",
            },
            SessionNotOpened::Store(failure) => failed(failure),
        })?;
    let mut answer = json(&body_of(&session))?;
    set_cookie(&mut answer, &cookie(&token));
    Ok(answer)
}

/// Counts and records a proof of an ordinary user that was not accepted; gives the answer to it.
async fn refuse_user(
    gateway: &Gateway,
    call: &Call,
    proof: &Proof,
    refusal: ProofRefusal,
) -> Result<Refusal, Refusal> {
    let (account_id, why, answer) = match refusal {
        ProofRefusal::Wrong { account_id } => {
            gateway.tries.count(call.source);
            gateway
                .people
                .count_failure(&proof.username)
                .await
                .map_err(failed)?;
            (account_id, WRONG, Refusal::ProofWrong)
        }
        ProofRefusal::Replayed { account_id } => (account_id, REPLAYED, Refusal::CodeReplayed),
        ProofRefusal::Busy => return Ok(Refusal::Overloaded),
        ProofRefusal::Store(failure) => return Err(failed(failure)),
    };
    gateway
        .record(login(
            call,
            account_id,
            Some(Role::User),
            String::new(),
            Outcome::Deny,
            why,
        ))
        .await?;
    Ok(answer)
}

/// The supervisor checks the proof and writes the leaf itself.
async fn ask_supervisor(gateway: &Gateway, call: &Call, proof: &Proof) -> Result<Opener, Refusal> {
    let ask = Ask::Authenticate {
        proof: proof.clone(),
        source: call.source.to_string(),
    };
    let fault = match gateway.supervisor.ask(ask, ACT_TIME_MAX).await {
        Ok(Answer::Person {
            account_id,
            username,
            role,
            session,
        }) => {
            return Ok(Opener {
                account_id,
                username,
                role,
                session,
            });
        }
        Ok(Answer::Refused(fault)) => fault,
        _ => return Err(Refusal::SupervisorUnavailable),
    };
    Err(match fault.code.as_str() {
        WRONG => {
            gateway.tries.count(call.source);
            gateway
                .people
                .count_failure(&proof.username)
                .await
                .map_err(failed)?;
            Refusal::ProofWrong
        }
        REPLAYED => Refusal::CodeReplayed,
        LOCKED => Refusal::Locked {
            remaining_s: remaining_s(&fault),
        },
        _ => Refusal::Fault(fault),
    })
}

fn remaining_s(fault: &Fault) -> u64 {
    let told = fault.facts.iter().find(|(name, _)| name == "remaining_s");
    told.and_then(|(_, value)| value.parse().ok()).unwrap_or(LOCK_S)
}

/// `GET /api/session`.
///
/// # Errors
/// `SessionMissing`.
pub async fn session(_gateway: Arc<Gateway>, call: Call) -> Result<Response<Body>, Refusal> {
    match &call.caller {
        Caller::Person(session) => json(&body_of(session)),
        _ => Err(Refusal::SessionMissing),
    }
}

/// `DELETE /api/session`. The session is ended even if that cannot be recorded.
///
/// # Errors
/// `AuditUnavailable`.
pub async fn sign_out(gateway: Arc<Gateway>, call: Call) -> Result<Response<Body>, Refusal> {
    let (Caller::Person(session), Some(token)) = (&call.caller, &call.token) else {
        return Err(Refusal::SessionMissing);
    };
    gateway.sessions.end(token).await.map_err(failed)?;
    let record = Record {
        actor: session.account_id.clone(),
        role: Some(session.role),
        session: session.session.clone(),
        source: call.source.to_string(),
        event: Event::Logout,
        outcome: Outcome::Ok,
        why: String::new(),
    };
    gateway.record(record).await?;
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    set_cookie(&mut answer, &no_cookie());
    Ok(answer)
}

/// `GET /api/setup`.
///
/// # Errors
/// `SupervisorUnavailable`.
pub async fn set_up_state(gateway: Arc<Gateway>, _call: Call) -> Result<Response<Body>, Refusal> {
    json(&schema::SetUpState {
        is_set_up: gateway.recent_status().await?.is_set_up,
    })
}

/// `POST /api/setup`.
///
/// # Errors
/// `BodyMalformed` and what the supervisor refuses with.
pub async fn set_up(gateway: Arc<Gateway>, call: Call) -> Result<Response<Body>, Refusal> {
    if let Some(wait_s) = gateway.tries.wait_s(call.source) {
        return Err(Refusal::TooManyTries { wait_s });
    }
    let set_up: SetUp = serde_json::from_slice(&call.body).map_err(|_| Refusal::BodyMalformed)?;
    let answer = gateway
        .supervisor
        .ask(
            Ask::SetUp {
                set_up,
                source: call.source.to_string(),
            },
            ACT_TIME_MAX,
        )
        .await;
    gateway.forget_status().await;
    match answer {
        Ok(Answer::SetUpDone(done)) => json(&schema::SetUpDone {
            leaf_index: done.leaf_index,
            first_key: done.first_key.as_ref().map(|key| key.0.clone()),
            recovery_key: done.recovery_key.as_ref().map(|key| key.0.clone()),
        }),
        Ok(Answer::Refused(fault)) => {
            if fault.kind == FaultKind::NotAllowed {
                gateway.tries.count(call.source);
            }
            Err(Refusal::Fault(fault))
        }
        _ => Err(Refusal::SupervisorUnavailable),
    }
}

fn login(
    call: &Call,
    actor: String,
    role: Option<Role>,
    session: String,
    outcome: Outcome,
    why: &str,
) -> Record {
    Record {
        actor,
        role,
        session,
        source: call.source.to_string(),
        event: Event::UserLogin,
        outcome,
        why: why.to_owned(),
    }
}

fn body_of(session: &Session) -> schema::Session {
    schema::Session {
        username: session.username.clone(),
        role: match session.role {
            Role::System => schema::Role::System,
            Role::Security => schema::Role::Security,
            Role::Audit => schema::Role::Audit,
            Role::User => schema::Role::User,
        },
        expires_at: rfc3339(session.expires_at),
    }
}

fn set_cookie(answer: &mut Response<Body>, cookie: &str) {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        answer.headers_mut().insert(header::SET_COOKIE, value);
    }
}

fn failed(_failure: StoreFailure) -> Refusal {
    Refusal::Internal {
        code: "api.store.failed",
    }
}
