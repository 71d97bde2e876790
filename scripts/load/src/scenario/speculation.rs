//! P15: what speculation gains where an answer repeats its prompt, and what it costs where it does not.

use anyhow::{Context, ensure};

use super::Values;
use super::speed::full_length;
use crate::ask::Ask;
use crate::round::Round;
use crate::server::{Server, Side};

/// In a text to be edited one of so many characters is another one.
const EDIT_EVERY: usize = 24;
/// Characters at the end of the recited text that the answers do not reach: they stand in for the edited ones.
const SPARE: usize = 16;

/// P15 on copying and editing. The chain model recites one known text whatever it is asked; the prompt holds that text,
/// or a version of it with some characters wrong. Our own speed without speculation is that of the strict lane.
pub(super) async fn copying(server: &Server, round: &Round<'_>) -> anyhow::Result<Values> {
    let recited: Vec<char> = round.words.chain.chars().collect();
    let length = recited.len().checked_sub(SPARE).context("the chain is short")?;
    let (answer, spare) = recited.split_at_checked(length).context("the chain is short")?;
    let expected: String = answer.iter().collect();
    let tokens = u32::try_from(length)?;
    let mut values = Values::new();
    for (document, with, without) in [
        (
            expected.clone(),
            "copy_tokens_per_second",
            "copy_strict_tokens_per_second",
        ),
        (
            edited(answer, spare),
            "edit_tokens_per_second",
            "edit_strict_tokens_per_second",
        ),
    ] {
        let ask = Ask::new(document, tokens);
        let fast = server.client.ask(&ask).await?;
        full_length(&fast, tokens)?;
        ensure!(
            fast.text.trim_start() == expected,
            "the chain model did not recite its text"
        );
        values.push((with, fast.decode_rate()?));
        if server.side == Side::Ours {
            let plain = server.client.ask(&ask.strictly()).await?;
            ensure!(plain.text == fast.text, "speculation changed a greedy answer");
            values.push((without, plain.decode_rate()?));
        }
    }
    if let [(_, copy), (_, copy_plain), (_, edit), (_, edit_plain)] = *values.as_slice() {
        values.push(("copy_speed_up", copy / copy_plain));
        values.push(("edit_speed_up", edit / edit_plain));
    }
    Ok(values)
}

/// P15 on free text: sampled answers of a random model repeat nothing. Ours only, with and without speculation.
pub(super) async fn free_text(server: &Server, round: &Round<'_>) -> anyhow::Result<Values> {
    if server.side != Side::Ours {
        return Ok(Values::new());
    }
    let tokens = 2 * round.sizes.answer;
    let ask = round
        .ask(64, tokens, &mut round.dice("free text"))
        .sampled(round.repeat);
    let plain_before = server.client.ask(&ask.clone().strictly()).await?;
    let fast = server.client.ask(&ask).await?;
    let fast_again = server.client.ask(&ask).await?;
    let plain_after = server.client.ask(&ask.strictly()).await?;
    let plain = f64::midpoint(plain_before.decode_rate()?, plain_after.decode_rate()?);
    let fast = f64::midpoint(fast.decode_rate()?, fast_again.decode_rate()?);
    Ok(vec![("free_text_of_own", fast / plain)])
}

/// The text with some characters wrong.
fn edited(text: &[char], spare: &[char]) -> String {
    text.iter()
        .enumerate()
        .map(|(at, right)| {
            let wrong = spare.get(at / EDIT_EVERY % spare.len().max(1));
            let is_wrong = at % EDIT_EVERY == EDIT_EVERY - 1;
            if is_wrong { wrong.unwrap_or(right) } else { right }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edited_text_differs_in_one_of_24_characters() {
        let text: Vec<char> = ('a'..='z').cycle().take(96).collect();
        let wrong = edited(&text, &['X', 'Y']);
        let different: Vec<usize> = wrong
            .chars()
            .zip(&text)
            .enumerate()
            .filter(|(_, (wrong, right))| wrong != *right)
            .map(|(at, _)| at)
            .collect();
        assert_eq!(different, [23, 47, 71, 95]);
    }
}
