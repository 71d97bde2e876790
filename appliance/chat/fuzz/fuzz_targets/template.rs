//! Any template: no panic, and an end.

#![no_main]

use jingui_chat::{Template, openai::parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|source: &str| {
    let request = br#"{"model":"m","messages":[{"role":"user","content":"<|user|> x"}]}"#;
    if let (Ok(template), Ok(conversation)) = (Template::compile(source), parse(request)) {
        let _ = template.render(&conversation);
    }
});
