//! From a conversation to what the engine is told: the prompt in the model's own words, how to choose tokens, on whose
//! account.

use jingui_chat::glm;
use jingui_chat::{CacheUse, Class, Constraint, Conversation, Grammar, ResponseFormat};
use jingui_ipc::engine::{self as wire, Generate, Sampling, Segment, Tenant};
use jingui_trust::random;

use crate::engines::EngineLink;
use crate::refusals::Refusal;

/// What the engine is told, and who reads what it says.
#[derive(Debug)]
pub struct Order {
    /// The stream to be made; its number is chosen when it is started.
    pub generate: Generate,
    /// Parser of the answer.
    pub parser: glm::Parser,
    /// Which parameter of the request asks for a form of the answer, should the engine refuse it.
    pub form_param: &'static str,
}

/// Renders a conversation for the model of that engine. Takes time in proportion to its length.
///
/// A seed is drawn here when the client gave none, so that a stream that is asked for again makes the same draws.
///
/// # Errors
/// When the template cannot write the conversation, or there is no randomness.
pub fn order(link: &EngineLink, conversation: &Conversation, tenant: Tenant) -> Result<Order, Refusal> {
    let template = link.template().map_err(Refusal::from)?;
    let prompt = template
        .render(conversation)
        .map_err(|error| Refusal::from(&error))?;
    let parser = glm::Parser::new(conversation, prompt.opening());
    let constraint = glm::constraint::constraint(conversation, prompt.opening()).map(constraint_of);
    let sampling = &conversation.sampling;
    let seed = match sampling.seed {
        Some(seed) => seed,
        None => u64::from_le_bytes(random::bytes().map_err(|_| Refusal::Internal {
            code: "system.randomness.missing",
        })?),
    };
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
            seed: Some(seed),
            logit_bias: sampling.logit_bias.clone(),
        },
        logprobs: conversation.logprobs,
        tenant,
        class: match conversation.class {
            Class::Interactive => wire::Class::Interactive,
            Class::Batch => wire::Class::Batch,
        },
        resume: Vec::new(),
        cache: match conversation.cache {
            CacheUse::Off => wire::CacheUse::Off,
            CacheUse::Use => wire::CacheUse::Use,
            CacheUse::Pin => wire::CacheUse::Pin,
        },
        is_strict: conversation.is_strict,
        constraint,
    };
    Ok(Order {
        generate,
        parser,
        form_param: match conversation.response_format {
            ResponseFormat::Text => "tools",
            _ => "response_format",
        },
    })
}

fn constraint_of(constraint: Constraint) -> wire::Constraint {
    wire::Constraint {
        opened_by: constraint.opened_by,
        after: constraint.after,
        grammar: match constraint.grammar {
            Grammar::JsonObject => wire::Grammar::JsonObject,
            Grammar::JsonSchema(schema) => wire::Grammar::JsonSchema(schema),
            Grammar::Regex(pattern) => wire::Grammar::Regex(pattern),
            Grammar::Lark(definition) => wire::Grammar::Lark(definition),
        },
    }
}
