//! `POST /v1/chat/completions` and `POST /api/chat`: from the body to a running stream.
//!
//! Until the request is with an engine, or waits for the next one, a refusal leaves nothing behind. From there on one
//! task owns it ([`crate::answering`]) and leaves exactly one `infer.request` leaf, however it ends.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{self, HeaderValue};
use axum::http::{Response, StatusCode};
use jingui_chat::conversation::StreamOptions;
use jingui_chat::openai::{self, Stamp};
use jingui_ipc::control::Role;
use tokio::sync::{mpsc, oneshot};

use crate::answering::{CHUNK_COUNT_MAX, Outlet, Question};
use crate::answers::text;
use crate::call::{Call, Caller};
use crate::commitments::Salt;
use crate::engines::{EngineLink, Found, StartFailure};
use crate::gateway::Gateway;
use crate::orders::{Order, order};
use crate::refusals::Refusal;
use crate::sessions::hex;

/// Answers a chat request.
///
/// # Errors
/// Every refusal that can be known before the first byte of the answer.
pub async fn complete(gateway: Arc<Gateway>, call: Call) -> Result<Response<Body>, Refusal> {
    let turn = gateway.take_turn()?;
    gateway.require_audit().await?;
    let (call, asked) = read(Arc::clone(&gateway), call).await?;
    let Asked {
        stream: options,
        model,
        order,
        link,
    } = asked;
    gateway.quarantine.settled().await;
    let stream = match link.start(&order.generate) {
        Ok(stream) => Some(stream),
        // The next engine is waited for, like that of a request whose engine dies later.
        Err(StartFailure::Gone) => None,
        Err(failure) => return Err(failure.into()),
    };
    let question = Question {
        asker: Asker::of(&call),
        stamp: stamp(&gateway, model, &link)?,
        salt: Salt::draw().map_err(|_| Refusal::Internal {
            code: "system.randomness.missing",
        })?,
        generate: order.generate,
        parser: order.parser,
        form_param: order.form_param,
        stream,
        request_id: call.request_id,
        prompt_content: call.body,
        language: call.language,
        link,
        gateway,
    };
    match options {
        None => {
            let (sender, answer) = oneshot::channel();
            tokio::spawn(question.answer(Outlet::whole(sender), turn, call.share));
            let body = answer.await.map_err(|_| Refusal::Internal {
                code: "api.engine.failed",
            })??;
            Ok(text(StatusCode::OK, "application/json", body))
        }
        Some(options) => {
            let (head, begun) = oneshot::channel();
            let (chunks, mut coming) = mpsc::channel(CHUNK_COUNT_MAX);
            let outlet = Outlet::chunks(head, chunks, options.include_usage);
            tokio::spawn(question.answer(outlet, turn, call.share));
            // While this waits, `coming` shows the task whether the client is still there.
            begun.await.map_err(|_| Refusal::Internal {
                code: "api.engine.failed",
            })??;
            let chunks = futures_util::stream::poll_fn(move |cx| {
                coming.poll_recv(cx).map(|chunk| chunk.map(Ok::<_, Infallible>))
            });
            let mut answer = text(
                StatusCode::OK,
                "text/event-stream; charset=utf-8",
                Body::from_stream(chunks),
            );
            let headers = answer.headers_mut();
            headers.insert(
                header::CACHE_CONTROL,
                HeaderValue::from_static("no-cache, no-transform"),
            );
            headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
            Ok(answer)
        }
    }
}

/// Who asks, as the leaf names it.
#[derive(Debug, Clone)]
pub struct Asker {
    /// Account id or key id.
    pub actor: String,
    /// Role; `None` for API keys.
    pub role: Option<Role>,
    /// Session id, empty for API keys.
    pub session: String,
    /// Address of the client.
    pub source: String,
    /// `openai` or `console`.
    pub family: &'static str,
}

impl Asker {
    fn of(call: &Call) -> Self {
        let source = call.source.to_string();
        match &call.caller {
            Caller::Person(session) => Self {
                actor: session.account_id.clone(),
                role: Some(session.role),
                session: session.session.clone(),
                source,
                family: "console",
            },
            Caller::Key(holder) => Self {
                actor: holder.key_id.clone(),
                role: None,
                session: String::new(),
                source,
                family: "openai",
            },
            // The table of routes lets nobody else get here.
            Caller::Anybody => Self {
                actor: String::new(),
                role: None,
                session: String::new(),
                source,
                family: "openai",
            },
        }
    }
}

struct Asked {
    stream: Option<StreamOptions>,
    model: String,
    order: Order,
    link: Arc<EngineLink>,
}

/// Parses and renders on the blocking pool: both take time in proportion to the body.
async fn read(gateway: Arc<Gateway>, call: Call) -> Result<(Call, Asked), Refusal> {
    let reading = tokio::task::spawn_blocking(move || {
        let conversation = openai::parse(&call.body)?;
        let link = match gateway.engines.find(&conversation.model) {
            // Of an engine that is gone the template is still known.
            Found::Serving(link) | Found::Restarting(link) => link,
            Found::NothingYet => return Err(Refusal::ModelLoading),
            Found::Unknown => {
                return Err(Refusal::ModelUnknown {
                    name: conversation.model,
                });
            }
        };
        let order = order(&link, &conversation, gateway.tenants.of(&call.caller))?;
        let asked = Asked {
            stream: conversation.stream,
            model: conversation.model,
            order,
            link,
        };
        Ok((call, asked))
    });
    reading.await.map_err(|_| Refusal::Internal {
        code: "chat.template.failed",
    })?
}

fn stamp(gateway: &Gateway, model: String, link: &EngineLink) -> Result<Stamp, Refusal> {
    let id = jingui_trust::random::bytes::<16>().map_err(|_| Refusal::Internal {
        code: "system.randomness.missing",
    })?;
    Ok(Stamp {
        id: format!("chatcmpl-{}", hex(&id)),
        created: gateway.clock.unix_seconds(),
        model,
        system_fingerprint: fingerprint(link),
    })
}

/// Names the software and the package that answers.
pub(crate) fn fingerprint(link: &EngineLink) -> String {
    let package: String = link.model().package_digest.chars().take(12).collect();
    format!("jingui-{}-{package}", env!("CARGO_PKG_VERSION"))
}
