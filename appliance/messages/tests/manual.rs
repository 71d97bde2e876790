//! The manual's list of codes is made from the catalogue, so that it cannot lag behind.
//!
//! `UPDATE_GOLDEN=1 cargo test -p jingui-messages --test manual` writes it; a person reads the difference.

use std::path::Path;

use jingui_messages::{Language, codes, explain};

const LISTS: [(&str, Language, &str); 2] = [
    (
        "../../docs/manual/codes.md",
        Language::English,
        "# Codes\n\nEach refusal and failure has a code that never changes. Made from the catalogue of messages; not edited by hand.\n",
    ),
    (
        "../../docs/manual/codes.zh-CN.md",
        Language::Chinese,
        "# 代码\n\n每种拒绝和故障都有固定不变的代码。本页由消息目录生成，请勿手工修改。\n",
    ),
];

#[test]
fn the_manual_explains_every_code() {
    for (name, language, head) in LISTS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let wanted = page(language, head);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == wanted,
            "{name} is not what the catalogue says; UPDATE_GOLDEN=1 writes it anew"
        );
    }
}

fn page(language: Language, head: &str) -> String {
    let mut all: Vec<&str> = codes().collect();
    all.sort_unstable();
    let mut text = head.to_owned();
    for code in all {
        let words = explain::<&str, &str>(code, language, &[]);
        text.push_str(&format!(
            "\n## `{code}`\n\n{}\n\n{}\n\n→ {}\n",
            words.what, words.why, words.remedy
        ));
    }
    text
}
