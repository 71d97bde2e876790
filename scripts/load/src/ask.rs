//! One request of a chat, in the words that both servers understand.

use serde_json::{Map, Value, json};

/// A likelihood that keeps a token out of any answer.
const NEVER: i32 = -100;

/// What is asked. Both servers get the same body but for the model's name and the switches that only we have.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    /// `(role, text)` in order.
    messages: Vec<(&'static str, String)>,
    /// Most tokens of the answer.
    tokens_max: u32,
    /// 0 is greedy.
    temperature: f64,
    seed: u64,
    /// Whether cached prefixes may be used.
    is_cached: bool,
    schema: Option<Value>,
    /// Our strict lane: alone, in fixed chunks, without speculation.
    is_strict: bool,
    /// Tokens that the answer may not hold.
    banned: Vec<u32>,
}

impl Ask {
    /// A greedy question of one message, cold.
    pub(crate) fn new(text: impl Into<String>, tokens_max: u32) -> Self {
        Self {
            messages: vec![("user", text.into())],
            tokens_max,
            temperature: 0.0,
            seed: 1,
            is_cached: false,
            schema: None,
            is_strict: false,
            banned: Vec::new(),
        }
    }

    /// The same after what was said before: `(role, text)`, oldest first.
    pub(crate) fn after(mut self, before: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let mut messages: Vec<_> = before.into_iter().collect();
        messages.append(&mut self.messages);
        self.messages = messages;
        self
    }

    /// With that system prompt.
    pub(crate) fn under(self, system: impl Into<String>) -> Self {
        self.after([("system", system.into())])
    }

    /// Chosen at temperature 0.8 from the likeliest 40 tokens, nucleus 0.95.
    pub(crate) fn sampled(mut self, seed: u64) -> Self {
        self.temperature = 0.8;
        self.seed = seed;
        self
    }

    /// Cached prefixes may be used and left.
    pub(crate) fn cached(mut self) -> Self {
        self.is_cached = true;
        self
    }

    /// The answer is JSON that fits this schema.
    pub(crate) fn shaped(mut self, schema: &Value) -> Self {
        self.schema = Some(schema.clone());
        self
    }

    /// In our strict lane; the peer has none.
    pub(crate) fn strictly(mut self) -> Self {
        self.is_strict = true;
        self
    }

    /// The answer holds none of these tokens: a random model would end or hide it with one at any moment.
    pub(crate) fn without(mut self, tokens: &[u32]) -> Self {
        self.banned = tokens.to_vec();
        self
    }

    /// The body of the request.
    pub(crate) fn body(&self, model: &str) -> Value {
        let messages: Vec<Value> = self
            .messages
            .iter()
            .map(|(role, text)| json!({"role": role, "content": text}))
            .collect();
        let mut body = json!({
            "model": model,
            "messages": messages,
            "max_tokens": self.tokens_max,
            "temperature": self.temperature,
            "seed": self.seed,
            "top_k": if self.temperature > 0.0 { 40 } else { 0 },
            "top_p": if self.temperature > 0.0 { 0.95 } else { 1.0 },
            "min_p": 0.0,
            "cache_prompt": self.is_cached,
            "chat_template_kwargs": {"enable_thinking": false},
            "stream": true,
            "stream_options": {"include_usage": true},
        });
        if !self.banned.is_empty() {
            let bias: Map<String, Value> = self
                .banned
                .iter()
                .map(|token| (token.to_string(), NEVER.into()))
                .collect();
            set(&mut body, "logit_bias", Value::Object(bias));
        }
        if let Some(schema) = &self.schema {
            let format = json!({"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": schema}});
            set(&mut body, "response_format", format);
        }
        if self.is_strict {
            set(&mut body, "strict_reproducible", Value::Bool(true));
        }
        body
    }
}

fn set(body: &mut Value, name: &str, value: Value) {
    if let Some(fields) = body.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_cold_and_greedy_unless_said_otherwise() {
        let body = Ask::new("hello", 8).under("be brief").body("m");
        assert_eq!(body["cache_prompt"], false);
        assert_eq!(body["temperature"], 0.0);
        assert_eq!(body["messages"][0]["role"], "system");
        assert_eq!(body["messages"][1]["content"], "hello");
        for absent in ["logit_bias", "response_format", "strict_reproducible"] {
            assert!(body.get(absent).is_none(), "{absent}");
        }
    }

    #[test]
    fn each_wish_is_in_the_body() {
        let schema = json!({"type": "object"});
        let body = Ask::new("x", 1)
            .sampled(9)
            .cached()
            .shaped(&schema)
            .strictly()
            .without(&[7, 8])
            .body("m");
        assert_eq!((&body["top_k"], &body["seed"]), (&json!(40), &json!(9)));
        assert_eq!(body["cache_prompt"], true);
        assert_eq!(body["response_format"]["json_schema"]["schema"], schema);
        assert_eq!(body["strict_reproducible"], true);
        assert_eq!(body["logit_bias"], json!({"7": -100, "8": -100}));
    }
}
