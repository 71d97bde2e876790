//! Sessions of people at the console.
//!
//! A session is a random token in a cookie that only this origin gets back; the table holds its digest, so that a
//! stolen table opens nothing. It ends by signing out, after a time without a person's act (shorter for admins), after
//! a working day, and, for an admin, when he signs in elsewhere.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jingui_ipc::control::Role;
use jingui_trust::Sha256;
use jingui_trust::random::{self, RandomFailure};
use rusqlite::params;

use crate::clock::Clock;
use crate::store::{Store, StoreFailure, column, number};

/// Name of the cookie that holds a session. The prefix makes browsers insist on `Secure`, path `/` and no domain.
pub const COOKIE_NAME: &str = "__Host-jingui";
/// Seconds without a person's act that end an ordinary user's session.
pub const USER_IDLE_S: u64 = 15 * 60;
/// Seconds without a person's act that end an admin's session.
pub const ADMIN_IDLE_S: u64 = 10 * 60;
/// Seconds after which any session ends.
pub const SESSION_S: u64 = 12 * 60 * 60;
/// Sessions that may be open; the one that was idle longest ends for a new one.
pub const SESSION_COUNT_MAX: usize = 10_000;
/// Seconds that a session's last act on disk may lag behind; after a restart a session may end that much earlier.
const SEEN_LAG_S: u64 = 60;
const TOKEN_BYTES: usize = 32;

/// An open session. Holding one proves that its token was shown and that it had not ended then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Account id.
    pub account_id: String,
    /// Account name.
    pub username: String,
    /// Role.
    pub role: Role,
    /// Session id, used in leaves; it opens nothing.
    pub session: String,
    /// When it ends if nothing more is done, in seconds since 1970.
    pub expires_at: u64,
}

/// Who opens a session.
#[derive(Debug, Clone)]
pub struct Opener {
    /// Account id.
    pub account_id: String,
    /// Account name.
    pub username: String,
    /// Role.
    pub role: Role,
    /// Session id, used in leaves.
    pub session: String,
}

/// Why a session was not opened.
#[derive(Debug, thiserror::Error)]
pub enum SessionNotOpened {
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomFailure),
    /// The tables failed.
    #[error(transparent)]
    Store(#[from] StoreFailure),
}

#[derive(Debug, Clone)]
struct Row {
    opener: Opener,
    opened_at: u64,
    seen_at: u64,
    stored_seen_at: u64,
}

/// All open sessions. They are held in memory too, since every request asks; the gateway is the table's only writer.
#[derive(Debug)]
pub struct Sessions {
    store: Store,
    clock: Clock,
    rows: Mutex<HashMap<Sha256, Row>>,
}

impl Sessions {
    /// Reads the table.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn open(store: Store, clock: Clock) -> Result<Self, StoreFailure> {
        let rows = store.run_here(|t| {
            let mut rows = t.prepare(
                "SELECT token_digest, account_id, username, role, session, opened_at, seen_at FROM sessions",
            )?;
            let rows = rows.query_map([], |row| {
                let role: String = row.get(3)?;
                let seen_at = number(row.get(6)?);
                Ok(role_of(&role).map(|role| {
                    let opener = Opener {
                        account_id: row.get(1)?,
                        username: row.get(2)?,
                        role,
                        session: row.get(4)?,
                    };
                    let digest = Sha256::from_bytes(row.get(0)?);
                    Ok((
                        digest,
                        Row {
                            opener,
                            opened_at: number(row.get(5)?),
                            seen_at,
                            stored_seen_at: seen_at,
                        },
                    ))
                }))
            })?;
            rows.filter_map(Result::transpose).map(|row| row?).collect()
        })?;
        Ok(Self {
            store,
            clock,
            rows: Mutex::new(rows),
        })
    }

    /// Opens a session; returns it and the token for the cookie.
    ///
    /// # Errors
    /// Any [`SessionNotOpened`].
    pub async fn begin(&self, opener: Opener) -> Result<(Session, String), SessionNotOpened> {
        let token = hex(&random::bytes::<TOKEN_BYTES>()?);
        let digest = token_digest(&token);
        let now = self.clock.unix_seconds();
        let row = Row {
            opener,
            opened_at: now,
            seen_at: now,
            stored_seen_at: now,
        };
        let ended = self.ended_for(&row.opener, now);
        let kept = row.clone();
        self.store
            .run(move |t| {
                for digest in &ended {
                    t.execute("DELETE FROM sessions WHERE token_digest = ?1", params![digest.as_bytes()])?;
                }
                t.execute(
                    "INSERT INTO sessions (token_digest, account_id, username, role, session, opened_at, seen_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
                    params![
                        digest.as_bytes(),
                        kept.opener.account_id,
                        kept.opener.username,
                        role_word(kept.opener.role),
                        kept.opener.session,
                        column(now)
                    ],
                )
            })
            .await?;
        let session = row.session();
        self.rows
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(digest, row);
        Ok((session, token))
    }

    /// The session of a token. `is_act` says whether the call shows that a person is there, which keeps it open.
    #[must_use]
    pub fn find(&self, token: &str, is_act: bool) -> Option<Session> {
        let digest = token_digest(token);
        let now = self.clock.unix_seconds();
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let row = rows.get_mut(&digest)?;
        if row.expires_at() <= now {
            rows.remove(&digest);
            drop(rows);
            self.store_later(
                "DELETE FROM sessions WHERE token_digest = ?1 AND ?2 IS NOT NULL",
                digest,
                now,
            );
            return None;
        }
        if is_act {
            row.seen_at = now;
        }
        let session = row.session();
        if row.seen_at.saturating_sub(row.stored_seen_at) >= SEEN_LAG_S {
            row.stored_seen_at = row.seen_at;
            drop(rows);
            self.store_later(
                "UPDATE sessions SET seen_at = ?2 WHERE token_digest = ?1",
                digest,
                now,
            );
        }
        Some(session)
    }

    /// Ends the session of a token; it opens nothing any more when this returns.
    ///
    /// # Errors
    /// When the table cannot be written: the session is ended until the next restart only.
    pub async fn end(&self, token: &str) -> Result<(), StoreFailure> {
        let digest = token_digest(token);
        self.rows
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&digest);
        self.store
            .run(move |t| {
                t.execute(
                    "DELETE FROM sessions WHERE token_digest = ?1",
                    params![digest.as_bytes()],
                )
                .map(drop)
            })
            .await
    }

    /// Takes out of memory what ends because `opener` signs in: what is over, an admin's other session, and the
    /// idlest one when there are too many.
    fn ended_for(&self, opener: &Opener, now: u64) -> Vec<Sha256> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ended: Vec<Sha256> = rows
            .iter()
            .filter(|(_, row)| {
                let is_replaced = opener.role != Role::User && row.opener.account_id == opener.account_id;
                is_replaced || row.expires_at() <= now
            })
            .map(|(digest, _)| *digest)
            .collect();
        for digest in &ended {
            rows.remove(digest);
        }
        while rows.len() >= SESSION_COUNT_MAX {
            let Some(idlest) = rows
                .iter()
                .min_by_key(|(_, row)| row.seen_at)
                .map(|(digest, _)| *digest)
            else {
                break;
            };
            rows.remove(&idlest);
            ended.push(idlest);
        }
        ended
    }

    /// Writes behind the answer: losing it only lets a session end at its idle time after a restart.
    fn store_later(&self, statement: &'static str, digest: Sha256, now: u64) {
        let store = self.store.clone();
        tokio::spawn(async move {
            let _ = store
                .run(move |t| {
                    t.execute(statement, params![digest.as_bytes(), column(now)])
                        .map(drop)
                })
                .await;
        });
    }
}

impl Row {
    fn expires_at(&self) -> u64 {
        let idle = if self.opener.role == Role::User {
            USER_IDLE_S
        } else {
            ADMIN_IDLE_S
        };
        self.seen_at
            .saturating_add(idle)
            .min(self.opened_at.saturating_add(SESSION_S))
    }

    fn session(&self) -> Session {
        Session {
            account_id: self.opener.account_id.clone(),
            username: self.opener.username.clone(),
            role: self.opener.role,
            session: self.opener.session.clone(),
            expires_at: self.expires_at(),
        }
    }
}

/// `Set-Cookie` that gives the token to the browser. It lives as long as the browser; the server decides the end.
#[must_use]
pub fn cookie(token: &str) -> String {
    format!("{COOKIE_NAME}={token}; Path=/; Secure; HttpOnly; SameSite=Strict")
}

/// `Set-Cookie` that takes it away.
#[must_use]
pub fn no_cookie() -> String {
    format!("{COOKIE_NAME}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0")
}

/// Token in a `Cookie` header.
#[must_use]
pub fn token_in(cookies: &str) -> Option<&str> {
    cookies
        .split(';')
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE_NAME)
        .map(|(_, token)| token)
}

/// A new session id for leaves.
///
/// # Errors
/// [`RandomFailure`].
pub fn new_session_id() -> Result<String, RandomFailure> {
    Ok(format!("s-{}", hex(&random::bytes::<8>()?)))
}

fn token_digest(token: &str) -> Sha256 {
    Sha256::of(format!("jingui/session/v1\n{token}").as_bytes())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            // Writing to a String does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

const fn role_word(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::Security => "security",
        Role::Audit => "audit",
        Role::User => "user",
    }
}

fn role_of(word: &str) -> Option<Role> {
    [Role::System, Role::Security, Role::Audit, Role::User]
        .into_iter()
        .find(|role| role_word(*role) == word)
}

#[cfg(test)]
mod tests;
