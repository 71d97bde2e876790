//! Named placeholders in texts: `{file}`.

use std::collections::BTreeSet;

/// Names of the placeholders of a text.
pub fn placeholders(text: &str) -> BTreeSet<&str> {
    parts(text).filter_map(|part| part.err()).collect()
}

/// The text with each placeholder replaced by its fact. One without a fact stays as it is, in its braces: a person
/// sees that something is missing, and nothing is made up.
///
/// Facts are put in once and not looked into again, so a fact that looks like a placeholder stays text.
pub fn fill<N: AsRef<str>, V: AsRef<str>>(text: &str, facts: &[(N, V)]) -> String {
    let mut filled = String::with_capacity(text.len());
    for part in parts(text) {
        match part {
            Ok(plain) => filled.push_str(plain),
            Err(name) => match facts.iter().find(|(fact, _)| fact.as_ref() == name) {
                Some((_, value)) => filled.push_str(value.as_ref()),
                None => {
                    filled.push('{');
                    filled.push_str(name);
                    filled.push('}');
                }
            },
        }
    }
    filled
}

/// Plain text (`Ok`) and names of placeholders (`Err`), in order.
fn parts(text: &str) -> impl Iterator<Item = Result<&str, &str>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if let Some((name, after)) = rest.strip_prefix('{').and_then(|inside| inside.split_once('}'))
            && is_name(name)
        {
            rest = after;
            return Some(Err(name));
        }
        // A brace that begins no placeholder is text; look for the next one behind it.
        let start = usize::from(rest.starts_with('{'));
        let end = rest
            .get(start..)
            .and_then(|after| after.find('{'))
            .map_or(rest.len(), |place| start + place);
        let (plain, after) = rest.split_at(end);
        rest = after;
        Some(Ok(plain))
    })
}

fn is_name(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn placeholders_are_filled_once_and_missing_facts_show() {
        let facts = [("file", "{size}"), ("size", "3")];
        let cases = [
            ("{file} has {size}.", "{size} has 3."),
            ("{other}", "{other}"),
            ("{{file}}", "{{size}}"),
            ("a { b } {size", "a { b } {size"),
            ("", ""),
            ("{\"a\": {size}}", "{\"a\": 3}"),
            ("文件{file}", "文件{size}"),
        ];
        for (text, filled) in cases {
            assert_eq!(fill(text, &facts), filled);
        }
    }

    proptest! {
        #[test]
        fn a_text_without_facts_is_not_changed(text in "[a-z{} 文]{0,40}") {
            prop_assert_eq!(fill::<&str, &str>(&text, &[]), text);
        }

        #[test]
        fn a_filled_text_holds_no_placeholder_that_has_a_fact(text in "[a{} 文]{0,40}") {
            let filled = fill(&text, &[("a", "")]);
            prop_assert!(placeholders(&text).contains("a") || filled == text);
        }
    }
}
