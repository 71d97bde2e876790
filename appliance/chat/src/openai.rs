//! The OpenAI chat interface: requests in, bodies and server-sent events out.
//!
//! Follows the public interface of `POST /v1/chat/completions` with the additions that GLM clients use
//! (`reasoning_content`, `thinking`, `chat_template_kwargs`, `top_k`, `min_p`) and ours (`response_format` of type
//! `regex` and `grammar`, `cache_prompt`, `strict_reproducible`). Types are strict, an explicit
//! `null` means "not given", and unknown fields are ignored, since newer clients send fields older servers never
//! heard of.

mod answer;
mod fields;
mod form;
mod request;

pub use answer::{Answer, Stamp, StreamWriter};
pub use form::GRAMMAR_BYTES_MAX;
pub use request::{
    BIAS_COUNT_MAX, MESSAGE_COUNT_MAX, NAME_BYTES_MAX, STOP_BYTES_MAX, STOP_COUNT_MAX, TOOL_COUNT_MAX,
    TOP_LOGPROBS_MAX, parse,
};
