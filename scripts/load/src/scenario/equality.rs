//! P18: greedy answers, cold and alone. Whether they are equal is judged when all sides have answered.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use super::Outcome;
use crate::ask::Ask;
use crate::client::Client;
use crate::round::Round;

/// Questions to the random model in one repeat.
const QUESTIONS: usize = 4;
/// Where the canary's public cases are.
const CASES: &str = "appliance/e2e/cases.jsonl";

/// Answers of the model of the run: random weights, where two tokens may be nearly equally likely.
pub(super) async fn texts(client: &Client, round: &Round<'_>) -> anyhow::Result<Outcome> {
    let mut dice = round.dice("texts");
    let mut outcome = Outcome::default();
    for at in 0..QUESTIONS {
        let ask = round.ask(40 * (at + 1), round.sizes.answer / 2, &mut dice);
        outcome.texts.push(client.ask(&ask).await?.text);
    }
    Ok(outcome)
}

/// Answers of the trained canary to its public cases without tools and thinking.
pub(super) async fn canary(client: &Client, tree: &Path) -> anyhow::Result<Outcome> {
    let path = tree.join(CASES);
    let cases = std::fs::read_to_string(&path).with_context(|| format!("{} is missing", path.display()))?;
    let mut outcome = Outcome::default();
    for line in cases.lines() {
        let case: Value = serde_json::from_str(line)?;
        if let Some(ask) = plain_case(&case) {
            outcome.texts.push(client.ask(&ask).await?.text);
        }
    }
    Ok(outcome)
}

/// A case that needs neither tools nor thinking: those are shown differently by the two sides.
fn plain_case(case: &Value) -> Option<Ask> {
    if case.get("tools").is_some() || case.get("enable_thinking")?.as_bool()? {
        return None;
    }
    let mut messages = Vec::new();
    for message in case.get("messages")?.as_array()? {
        let role = match message.get("role")?.as_str()? {
            "system" => "system",
            "user" => "user",
            "assistant" => "assistant",
            _ => return None,
        };
        messages.push((role, message.get("content")?.as_str()?.to_owned()));
    }
    let (_, last) = messages.pop()?;
    Some(Ask::new(last, 96).after(messages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_public_cases_are_plain() {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let text = std::fs::read_to_string(tree.join(CASES)).unwrap();
        let plain = text
            .lines()
            .filter(|it| plain_case(&serde_json::from_str(it).unwrap()).is_some())
            .count();
        assert!(plain >= 20, "{plain}");
    }
}
