//! What the box says about itself: models, status, probes, the CA, this API's description.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use jingui_ipc::gateway::{Answer, Ask, Engine};

use crate::answers::{json, text};
use crate::call::Call;
use crate::clock::unix_seconds_of;
use crate::engines::Found;
use crate::gateway::{ASK_TIME_MAX, Gateway};
use crate::openapi;
use crate::refusals::Refusal;
use crate::schema::{Capabilities, Model, ModelList};

/// `GET /v1/models`: models that answer now.
///
/// # Errors
/// None of its own.
pub async fn models(gateway: Arc<Gateway>, _call: Call) -> Result<Response<Body>, Refusal> {
    let data: Vec<Model> = gateway.engines.serving().iter().map(model_of).collect();
    json(&ModelList {
        object: "list".to_owned(),
        has_more: false,
        first_id: data.first().map(|model| model.id.clone()),
        last_id: data.last().map(|model| model.id.clone()),
        data,
    })
}

/// `GET /v1/models/{id}`.
///
/// # Errors
/// `ModelUnknown`, `ModelLoading` or `EngineRestarting`.
pub async fn model(gateway: Arc<Gateway>, call: Call) -> Result<Response<Body>, Refusal> {
    let name = call.parameter.unwrap_or_default();
    match gateway.engines.find(&name) {
        Found::Serving(link) => json(&model_of(link.engine())),
        Found::Restarting(_) => Err(Refusal::EngineRestarting),
        Found::NothingYet => Err(Refusal::ModelLoading),
        Found::Unknown => Err(Refusal::ModelUnknown { name }),
    }
}

fn model_of(engine: &Engine) -> Model {
    let facts = &engine.model;
    Model {
        id: facts.name.clone(),
        object: "model".to_owned(),
        created: unix_seconds_of(&facts.imported_at)
            .and_then(|at| i64::try_from(at).ok())
            .unwrap_or(0),
        owned_by: "vendor".to_owned(),
        kind: "model".to_owned(),
        display_name: format!("{} {}", facts.name, facts.version),
        created_at: facts.imported_at.clone(),
        lifecycle: "active".to_owned(),
        max_input_tokens: engine.stream_context_tokens,
        max_tokens: engine.stream_context_tokens,
        capabilities: Capabilities {
            chat: true,
            streaming: true,
        },
    }
}

/// `GET /api/models`: installed models and their facts.
///
/// # Errors
/// `SupervisorUnavailable`.
pub async fn installed(gateway: Arc<Gateway>, _call: Call) -> Result<Response<Body>, Refusal> {
    match gateway.supervisor.ask(Ask::Models, ASK_TIME_MAX).await {
        Ok(Answer::Models(data)) => json(&serde_json::json!({ "data": data })),
        Ok(Answer::Refused(fault)) => Err(Refusal::Fault(fault)),
        _ => Err(Refusal::SupervisorUnavailable),
    }
}

/// `GET /api/status`.
///
/// # Errors
/// `SupervisorUnavailable`.
pub async fn status(gateway: Arc<Gateway>, _call: Call) -> Result<Response<Body>, Refusal> {
    json(&*gateway.recent_status().await?)
}

/// `GET /healthz`: this process lives.
///
/// # Errors
/// None.
pub async fn is_alive(_gateway: Arc<Gateway>, _call: Call) -> Result<Response<Body>, Refusal> {
    Ok(text(StatusCode::OK, "text/plain", "ok\n"))
}

/// `GET /readyz`: a model serves and its answers can be recorded.
///
/// # Errors
/// `ModelLoading` or `AuditUnavailable`.
pub async fn is_ready(gateway: Arc<Gateway>, _call: Call) -> Result<Response<Body>, Refusal> {
    if gateway.stop.is_closed() {
        return Err(Refusal::Stopping);
    }
    if gateway.engines.serving().is_none() {
        return Err(Refusal::ModelLoading);
    }
    gateway.require_audit().await?;
    Ok(text(StatusCode::OK, "text/plain", "ok\n"))
}

/// `GET /ca.pem`.
///
/// # Errors
/// None.
pub async fn ca(gateway: Arc<Gateway>, _call: Call) -> Result<Response<Body>, Refusal> {
    Ok(text(
        StatusCode::OK,
        "application/x-pem-file",
        gateway.ca_pem.clone(),
    ))
}

/// `GET /openapi.json`.
///
/// # Errors
/// None.
pub async fn description(_gateway: Arc<Gateway>, _call: Call) -> Result<Response<Body>, Refusal> {
    Ok(text(StatusCode::OK, "application/json", openapi::document()))
}
