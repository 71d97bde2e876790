//! Any body: no panic, and what is taken can be rendered or is refused.

#![no_main]

use std::sync::LazyLock;

use jingui_chat::{Template, openai};
use libfuzzer_sys::fuzz_target;

static TEMPLATE: LazyLock<Option<Template>> =
    LazyLock::new(|| Template::compile(include_str!("../../tests/data/canary.jinja")).ok());

fuzz_target!(|body: &[u8]| {
    if let (Ok(conversation), Some(template)) = (openai::parse(body), &*TEMPLATE) {
        let _ = template.render(&conversation);
    }
});
