//! P7, P8: the same prefix asked by many, at once and in many chats.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::Context;
use tokio::task::JoinSet;

use super::Values;
use super::speed::full_length;
use crate::ask::Ask;
use crate::client::{Answer, Client};
use crate::round::Round;

/// People who open the same document at once.
const READERS: u32 = 8;
const READER_ANSWER: u32 = 8;
/// System prompts that the chats share.
const SYSTEMS: usize = 3;
/// Turns of a chat.
const TURNS: usize = 3;
/// Chats that wait for an answer at the same time.
const AT_A_TIME: usize = 6;
/// Tokens of what a person says in one turn, and of the answer.
const TURN_PROMPT: usize = 100;
const TURN_ANSWER: u32 = 16;

/// P7: eight questions at once about the same document, which nobody asked about before.
pub(super) async fn same_prefix(client: &Client, round: &Round<'_>) -> anyhow::Result<Values> {
    let mut dice = round.dice("same prefix");
    let document = round.text(round.sizes.document, &mut dice);
    let mut links = Vec::new();
    for _ in 0..READERS {
        let question = round.ask(16, READER_ANSWER, &mut dice).cached();
        links.push((client.open().await?, question.under(document.clone())));
    }
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for (link, ask) in links {
        tasks.spawn(async move { link.ask(&ask, None).await });
    }
    let mut computed = 0;
    let mut end = begin;
    while let Some(answer) = tasks.join_next().await {
        let answer = answer??;
        full_length(&answer, READER_ANSWER)?;
        computed += answer.computed_tokens;
        end = end.max(answer.ended);
    }
    Ok(vec![
        ("same_prefix_seconds", (end - begin).as_secs_f64()),
        ("same_prefix_computed_tokens", f64::from(u32::try_from(computed)?)),
    ])
}

/// P8: many chats over few system prompts, in random order, more of them than places.
pub(super) async fn chats(client: &Client, round: &Round<'_>) -> anyhow::Result<Values> {
    let mut dice = round.dice("chats");
    let systems: Vec<String> = (0..SYSTEMS)
        .map(|_| round.text(round.sizes.system, &mut dice))
        .collect();
    let mut chats: Vec<Chat> = (0..round.sizes.chats)
        .map(|at| Chat {
            said: vec![("system", systems.get(at % SYSTEMS).cloned().unwrap_or_default())],
            next: (0..TURNS).map(|_| round.text(TURN_PROMPT, &mut dice)).collect(),
        })
        .collect();
    let mut order: Vec<usize> = (0..chats.len() * TURNS).map(|at| at % chats.len()).collect();
    dice.shuffle(&mut order);

    let begin = Instant::now();
    let (mut prompt, mut computed) = (0, 0);
    let mut busy = BTreeSet::new();
    let mut tasks = JoinSet::new();
    while !order.is_empty() || !tasks.is_empty() {
        // The first in order whose chat has its answer.
        let ready = order.iter().position(|it| !busy.contains(it));
        match ready {
            Some(at) if tasks.len() < AT_A_TIME => {
                let chat = order.remove(at);
                let ask = chats
                    .get_mut(chat)
                    .and_then(|it| it.say(&round.words.special))
                    .context("a chat has no turn left")?;
                busy.insert(chat);
                let client = client.clone();
                tasks.spawn(async move { anyhow::Ok((chat, client.ask(&ask).await?)) });
            }
            _ => {
                let (chat, answer) = tasks.join_next().await.context("a chat waits for nobody")???;
                full_length(&answer, TURN_ANSWER)?;
                prompt += answer.prompt_tokens;
                computed += answer.computed_tokens;
                busy.remove(&chat);
                if let Some(chat) = chats.get_mut(chat) {
                    chat.hear(answer);
                }
            }
        }
    }
    Ok(vec![
        ("chats_seconds", begin.elapsed().as_secs_f64()),
        ("chats_prompt_tokens", f64::from(u32::try_from(prompt)?)),
        ("chats_computed_tokens", f64::from(u32::try_from(computed)?)),
    ])
}

/// One conversation.
struct Chat {
    /// What was said, with the system prompt first.
    said: Vec<(&'static str, String)>,
    /// What the person says in the turns to come, last turn first.
    next: Vec<String>,
}

impl Chat {
    fn say(&mut self, banned: &[u32]) -> Option<Ask> {
        let words = self.next.pop()?;
        let ask = Ask::new(words.clone(), TURN_ANSWER)
            .after(self.said.clone())
            .without(banned)
            .cached();
        self.said.push(("user", words));
        Some(ask)
    }

    fn hear(&mut self, answer: Answer) {
        self.said.push(("assistant", answer.text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chat_repeats_what_was_said() {
        let mut chat = Chat {
            said: vec![("system", "s".to_owned())],
            next: vec!["two".to_owned(), "one".to_owned()],
        };
        assert_eq!(
            chat.say(&[]).unwrap().body("m")["messages"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
        chat.said.push(("assistant", "a".to_owned()));
        let body = chat.say(&[]).unwrap().body("m");
        let texts: Vec<&str> = body["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["content"].as_str().unwrap())
            .collect();
        assert_eq!(texts, ["s", "one", "a", "two"]);
        assert_eq!(body["cache_prompt"], true);
        assert!(chat.say(&[]).is_none());
    }
}
