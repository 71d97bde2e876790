//! Rendered prompts are byte for byte those of Python's Jinja (see `data/make_prompts.py`), and keep people's text
//! apart from the template's markup.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests"
)]

use jingui_chat::{Json, Prompt, Template, TemplateError, openai};

const PROMPTS: &str = include_str!("data/prompts.jsonl");
const TEMPLATES: [(&str, &str); 3] = [
    ("canary", include_str!("data/canary.jinja")),
    ("glm46", include_str!("data/glm46.jinja")),
    ("glm47", include_str!("data/glm47.jinja")),
];

fn template(name: &str) -> Template {
    let (_, source) = TEMPLATES.into_iter().find(|(known, _)| *known == name).unwrap();
    Template::compile(source).unwrap()
}

fn render(template: &Template, request: &Json) -> Result<Prompt, TemplateError> {
    let body = serde_json::to_vec(request).unwrap();
    template.render(&openai::parse(&body).unwrap())
}

#[test]
fn prompts_are_those_that_python_renders() {
    let templates = TEMPLATES.map(|(name, _)| (name, template(name)));
    let mut count = 0;
    for line in PROMPTS.lines() {
        let case = Json::parse(line.as_bytes()).unwrap();
        let id = case.field("id").and_then(Json::as_text).unwrap();
        for (name, template) in &templates {
            let Some(expected) = case.field("prompts").unwrap().field(name).and_then(Json::as_text) else {
                continue;
            };
            match render(template, case.field("request").unwrap()) {
                Ok(prompt) => assert_eq!(prompt.text(), expected, "{id} with {name}"),
                Err(error) => panic!("{id} with {name}: {error}"),
            }
            count += 1;
        }
    }
    assert!(count > 300, "{count}");
}
