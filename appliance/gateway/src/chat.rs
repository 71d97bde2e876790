//! `POST /v1/chat/completions` and `POST /api/chat`: from the body to a running stream.
//!
//! Up to [`EngineLink::start`](crate::engines::EngineLink::start) a refusal leaves nothing behind. From there on one task
//! owns the request ([`crate::answering`]) and leaves exactly one `infer.request` leaf, however it ends.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{self, HeaderValue};
use axum::http::{Response, StatusCode};
use jingui_chat::openai::{self, Stamp};
use jingui_chat::{Conversation, Prompt, glm};
use jingui_ipc::control::Role;
use jingui_ipc::engine::{Generate, Sampling, Segment};
use tokio::sync::{mpsc, oneshot};

use crate::answering::{Answering, CHUNK_COUNT_MAX, Outlet};
use crate::answers::text;
use crate::call::{Call, Caller};
use crate::commitments::Salt;
use crate::engines::{EngineLink, Found, StartFailure};
use crate::gateway::Gateway;
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
        conversation,
        prompt,
        link,
    } = asked;
    let answering = Answering {
        asker: Asker::of(&call),
        stamp: stamp(&gateway, &conversation, &link)?,
        salt: Salt::draw().map_err(|_| Refusal::Internal {
            code: "system.randomness.missing",
        })?,
        parser: glm::Parser::new(&conversation, prompt.opening()),
        with_logprobs: conversation.logprobs.is_some(),
        stream: start(&link, &conversation, prompt)?,
        request_id: call.request_id,
        prompt_content: call.body,
        language: call.language,
        link,
        gateway,
    };
    match conversation.stream {
        None => {
            let (sender, answer) = oneshot::channel();
            tokio::spawn(answering.run(Outlet::whole(sender), turn, call.share));
            let body = answer.await.map_err(|_| Refusal::Internal {
                code: "api.engine.failed",
            })??;
            Ok(text(StatusCode::OK, "application/json", body))
        }
        Some(options) => {
            let (head, begun) = oneshot::channel();
            let (chunks, mut coming) = mpsc::channel(CHUNK_COUNT_MAX);
            let outlet = Outlet::chunks(head, chunks, options.include_usage);
            tokio::spawn(answering.run(outlet, turn, call.share));
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
    conversation: Conversation,
    prompt: Prompt,
    link: Arc<EngineLink>,
}

/// Parses and renders on the blocking pool: both take time in proportion to the body.
async fn read(gateway: Arc<Gateway>, call: Call) -> Result<(Call, Asked), Refusal> {
    let reading = tokio::task::spawn_blocking(move || {
        let conversation = openai::parse(&call.body)?;
        let link = match gateway.engines.find(&conversation.model) {
            Found::Serving(link) => link,
            Found::Restarting => return Err(Refusal::EngineRestarting),
            Found::NothingYet => return Err(Refusal::ModelLoading),
            Found::Unknown => {
                return Err(Refusal::ModelUnknown {
                    name: conversation.model,
                });
            }
        };
        let template = link.template().map_err(Refusal::from)?;
        let prompt = template
            .render(&conversation)
            .map_err(|error| Refusal::from(&error))?;
        Ok((
            call,
            Asked {
                conversation,
                prompt,
                link,
            },
        ))
    });
    reading.await.map_err(|_| Refusal::Internal {
        code: "chat.template.failed",
    })?
}

fn stamp(gateway: &Gateway, conversation: &Conversation, link: &EngineLink) -> Result<Stamp, Refusal> {
    let id = jingui_trust::random::bytes::<16>().map_err(|_| Refusal::Internal {
        code: "system.randomness.missing",
    })?;
    let package: String = link.model().package_digest.chars().take(12).collect();
    Ok(Stamp {
        id: format!("chatcmpl-{}", hex(&id)),
        created: gateway.clock.unix_seconds(),
        model: conversation.model.clone(),
        system_fingerprint: format!("jingui-{}-{package}", env!("CARGO_PKG_VERSION")),
    })
}

fn start(
    link: &Arc<EngineLink>,
    conversation: &Conversation,
    prompt: Prompt,
) -> Result<crate::engines::Stream, Refusal> {
    let sampling = &conversation.sampling;
    let generate = Generate {
        // Chosen by the link.
        stream: 0,
        prompt: prompt
            .into_segments()
            .into_iter()
            .map(|segment| match segment {
                jingui_chat::Segment::Scaffold(text) => Segment::Scaffold(text),
                jingui_chat::Segment::Text(text) => Segment::Text(text),
            })
            .collect(),
        completion_tokens_max: conversation.completion_tokens_max,
        sampling: Sampling {
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            top_k: sampling.top_k,
            min_p: sampling.min_p,
            presence_penalty: sampling.presence_penalty,
            frequency_penalty: sampling.frequency_penalty,
            seed: sampling.seed,
            logit_bias: sampling.logit_bias.clone(),
        },
        logprobs: conversation.logprobs,
        ..Generate::new(0, Vec::new())
    };
    link.start(generate).map_err(|failure| match failure {
        StartFailure::Gone => Refusal::EngineRestarting,
        StartFailure::Overloaded => Refusal::Overloaded,
        StartFailure::TooLong => Refusal::BodyTooLarge {
            bytes_max: crate::routes::CHAT_BODY_BYTES_MAX,
        },
    })
}
