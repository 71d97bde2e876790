//! The OpenAI chat interface: requests in, bodies and server-sent events out.
//!
//! Follows the public interface of `POST /v1/chat/completions` with the additions that GLM clients use
//! (`reasoning_content`, `thinking`, `chat_template_kwargs`, `top_k`, `min_p`). Types are strict, an explicit
//! `null` means "not given", and unknown fields are ignored, since newer clients send fields older servers never
//! heard of.

mod answer;
mod fields;
mod request;

pub use answer::{Answer, Stamp, StreamWriter};
pub use request::{
    BIAS_COUNT_MAX, MESSAGE_COUNT_MAX, NAME_BYTES_MAX, STOP_BYTES_MAX, STOP_COUNT_MAX, TOOL_COUNT_MAX,
    TOP_LOGPROBS_MAX, parse,
};
