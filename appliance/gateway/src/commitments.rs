//! Commitments to what was asked and answered, which go into the audit log in place of the text.
//!
//! `SHA256("auditcommit/v1\n" || salt || content)` with a fresh salt of 32 bytes for each request: without it a short
//! prompt could be guessed from its hash. The salt stays in the gateway's table with the index of the leaf; the content
//! is not stored. Who holds the content can show with the salt that it is what the leaf speaks of.
//!
//! The content of the prompt is the body of the request, byte for byte. The content of the answer is what the client
//! got, in parts joined by the byte 0x1E: `reasoning_content`, a newline and the reasoning; `content`, a newline and the
//! text; for each call `tool_call`, a newline, the name, a newline and the arguments. Parts with nothing are left out.

use jingui_chat::openai::Answer;
use jingui_trust::Sha256Stream;
use jingui_trust::random::{self, RandomFailure};
use rusqlite::params;

use crate::clock::Clock;
use crate::store::{Store, StoreFailure, column};

const PREFIX: &[u8] = b"auditcommit/v1\n";
const SALT_BYTES: usize = 32;
const SEPARATOR: &str = "\u{1e}";

/// The salt of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salt([u8; SALT_BYTES]);

impl Salt {
    /// A fresh one.
    ///
    /// # Errors
    /// [`RandomFailure`].
    pub fn draw() -> Result<Self, RandomFailure> {
        Ok(Self(random::bytes()?))
    }

    /// Commitment to that content.
    #[must_use]
    pub fn commit(&self, content: &[u8]) -> [u8; 32] {
        let mut stream = Sha256Stream::new();
        stream.update(PREFIX);
        stream.update(&self.0);
        stream.update(content);
        *stream.finish().as_bytes()
    }

    /// Keeps the salt; it is on disk when this returns, before any leaf speaks of it.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn keep(&self, store: &Store, request_id: &str, clock: &Clock) -> Result<(), StoreFailure> {
        let (salt, id, now) = (self.0, request_id.to_owned(), column(clock.unix_seconds()));
        store
            .run(move |t| {
                t.execute(
                    "INSERT INTO commitments (request_id, salt, made_at) VALUES (?1, ?2, ?3)",
                    params![id, salt, now],
                )
                .map(drop)
            })
            .await
    }
}

/// Notes which leaf speaks of a request. The leaf holds the request id too, so losing this loses nothing.
///
/// # Errors
/// When the table cannot be written.
pub async fn note_leaf(store: &Store, request_id: &str, leaf_index: u64) -> Result<(), StoreFailure> {
    let id = request_id.to_owned();
    store
        .run(move |t| {
            t.execute(
                "UPDATE commitments SET leaf_index = ?2 WHERE request_id = ?1",
                params![id, column(leaf_index)],
            )
            .map(drop)
        })
        .await
}

/// The committed content of an answer.
#[must_use]
pub fn content_of(answer: &Answer) -> String {
    let mut parts = Vec::new();
    for (name, text) in [
        ("reasoning_content", answer.reasoning()),
        ("content", answer.content()),
    ] {
        if !text.is_empty() {
            parts.push(format!("{name}\n{text}"));
        }
    }
    parts.extend(
        answer
            .tool_calls()
            .map(|(name, arguments)| format!("tool_call\n{name}\n{arguments}")),
    );
    parts.join(SEPARATOR)
}

#[cfg(test)]
mod tests {
    use jingui_chat::Event;
    use jingui_trust::Sha256;

    use super::*;

    #[test]
    fn a_commitment_is_the_hash_that_the_log_format_defines() {
        let bytes = [b"auditcommit/v1\n".as_slice(), &[7; 32], b"hello"].concat();
        assert_eq!(Salt([7; 32]).commit(b"hello"), *Sha256::of(&bytes).as_bytes());
    }

    #[test]
    fn the_content_tells_reasoning_text_and_calls_apart() {
        let mut answer = Answer::new();
        assert_eq!(content_of(&answer), "");
        answer.add(Event::Content("4".to_owned()));
        assert_eq!(content_of(&answer), "content\n4");
        answer.add(Event::Reasoning("2+2".to_owned()));
        answer.add(Event::ToolCallStart {
            index: 0,
            name: "add".to_owned(),
        });
        answer.add(Event::ToolCallArguments {
            index: 0,
            fragment: "{}".to_owned(),
        });
        assert_eq!(
            content_of(&answer),
            "reasoning_content\n2+2\u{1e}content\n4\u{1e}tool_call\nadd\n{}"
        );
    }

    #[tokio::test]
    async fn a_kept_salt_is_found_with_its_leaf() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let salt = Salt::draw().unwrap();
        salt.keep(&store, "req-1", &Clock::standing_at(5)).await.unwrap();
        note_leaf(&store, "req-1", 9).await.unwrap();
        let kept: ([u8; 32], i64, i64) = store
            .run_here(|t| {
                t.query_row("SELECT salt, leaf_index, made_at FROM commitments", [], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })
            })
            .unwrap();
        assert_eq!(kept, (salt.0, 9, 5));
    }
}
