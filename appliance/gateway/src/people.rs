//! Ordinary users of the console: their accounts and proofs. The three admins live in the supervisor.
//!
//! A proof is a password and a code of the second factor, checked together: which of them is wrong is not told. Five
//! wrong tries in a row lock a name for fifteen minutes, whether it exists or not, and a code once used is refused
//! afterwards (GB/T 22239 8.1.4.1). A password hash takes 64 MiB, so few are computed at once and few wait.

use std::sync::Arc;

use jingui_ipc::control::{NewUser, Proof};
use jingui_trust::password::{self, PasswordWeakness};
use jingui_trust::totp::{self, BadSecret, TotpRefusal, TotpSecret};
use jingui_trust::{Sha256, random};
use rusqlite::{OptionalExtension, Transaction, params};
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::store::{Store, StoreFailure, column, number};

/// Wrong tries in a row that lock a name.
pub const FAILURE_COUNT_MAX: u32 = 5;
/// How long a locked name stays locked, in seconds.
pub const LOCK_S: u64 = 15 * 60;
/// Names whose failures are kept; the ones that failed longest ago are forgotten first. To push a locked name out,
/// so many proofs would have to be checked that the lock ends before.
pub const FAILED_NAME_COUNT_MAX: u64 = 10_000;
/// Password hashes computed at once, 64 MiB each.
pub const HASH_COUNT_MAX: usize = 2;
/// Proofs that may wait for a hash; more are told to come back.
pub const HASH_QUEUE_COUNT_MAX: usize = 16;
/// Longest account name in bytes, as in the supervisor.
pub const USERNAME_BYTES_MAX: usize = 64;
/// Ordinary users that may exist.
pub const PERSON_COUNT_MAX: u64 = 10_000;

/// A person whose proof was right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Account id, never used again.
    pub account_id: String,
    /// Name at that moment.
    pub username: String,
}

/// Why a proof is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ProofRefusal {
    /// Password or code is wrong.
    #[error("name, password or code is wrong")]
    Wrong {
        /// Account that the name stands for.
        account_id: String,
    },
    /// The code was used before.
    #[error("the code was used before")]
    Replayed {
        /// Account that the name stands for.
        account_id: String,
    },
    /// Too many proofs wait.
    #[error("too many proofs wait")]
    Busy,
    /// The tables failed; nobody is let in.
    #[error(transparent)]
    Store(#[from] StoreFailure),
}

/// Why a user was not made.
#[derive(Debug, thiserror::Error)]
pub enum UserNotMade {
    /// The name is empty, too long, or has other signs than letters, digits, `.`, `-` and `_`.
    #[error("the name is not allowed")]
    Name,
    /// The password breaks a rule.
    #[error(transparent)]
    WeakPassword(#[from] PasswordWeakness),
    /// The password contains the name.
    #[error("the password contains the name")]
    PasswordHoldsName,
    /// The secret is no Base32 secret of at least 128 bits.
    #[error(transparent)]
    Secret(#[from] BadSecret),
    /// There is a user of that name.
    #[error("there is a user of that name")]
    Exists,
    /// [`PERSON_COUNT_MAX`] users exist.
    #[error("{PERSON_COUNT_MAX} users exist")]
    TooMany,
    /// The password could not be hashed.
    #[error("the password could not be hashed")]
    NotHashed,
    /// The tables failed.
    #[error(transparent)]
    Store(#[from] StoreFailure),
}

impl UserNotMade {
    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Name => "auth.name.malformed",
            Self::WeakPassword(weakness) => weakness.code(),
            Self::PasswordHoldsName => "auth.password.holds-name",
            Self::Secret(secret) => secret.code(),
            Self::Exists => "api.user.exists",
            Self::TooMany => "api.user.too-many",
            Self::NotHashed => "system.randomness.missing",
            Self::Store(_) => "api.store.failed",
        }
    }
}

/// The table of users.
#[derive(Debug)]
pub struct People {
    store: Store,
    clock: Clock,
    hashing: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

struct Row {
    account_id: String,
    password: String,
    totp_secret: String,
    last_used_step: Option<u64>,
}

impl People {
    /// The users of that store.
    #[must_use]
    pub fn new(store: Store, clock: Clock) -> Self {
        Self {
            store,
            clock,
            hashing: Arc::new(Semaphore::new(HASH_COUNT_MAX)),
            waiting: Arc::new(Semaphore::new(HASH_COUNT_MAX + HASH_QUEUE_COUNT_MAX)),
        }
    }

    /// Makes a user; it is on disk when this returns. Returns the account id.
    ///
    /// # Errors
    /// Any [`UserNotMade`].
    pub async fn create(&self, user: NewUser) -> Result<String, UserNotMade> {
        if !is_username(&user.username) {
            return Err(UserNotMade::Name);
        }
        password::is_strong_enough(&user.password.0)?;
        if user
            .password
            .0
            .to_lowercase()
            .contains(&user.username.to_lowercase())
        {
            return Err(UserNotMade::PasswordHoldsName);
        }
        let totp_secret = TotpSecret::from_base32(&user.totp_secret.0)?.to_base32();
        let (password, username) = (user.password.clone(), user.username.clone());
        let hash = self.on_hash_thread(move || password::hash(&password.0)).await;
        let hash = hash.and_then(Result::ok).ok_or(UserNotMade::NotHashed)?;
        let number = random::bytes::<8>().map_err(|_| UserNotMade::NotHashed)?;
        let account_id = format!("u-{:016x}", u64::from_be_bytes(number));
        let (id, now) = (account_id.clone(), column(self.clock.unix_seconds()));
        self.store
            .run(move |t| {
                let count: i64 = t.query_row("SELECT count(*) FROM people", [], |row| row.get(0))?;
                if find(t, &username)?.is_some() {
                    return Ok(Err(UserNotMade::Exists));
                }
                if self::number(count) >= PERSON_COUNT_MAX {
                    return Ok(Err(UserNotMade::TooMany));
                }
                t.execute(
                    "INSERT INTO people (account_id, username, password, totp_secret, created_at)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![id, username, hash, totp_secret.expose(), now],
                )?;
                Ok(Ok(()))
            })
            .await??;
        Ok(account_id)
    }

    /// Checks the proof of an ordinary user. `None` when the name is not one: then the supervisor has to be asked.
    ///
    /// A used code is on disk as used before this returns.
    ///
    /// # Errors
    /// Any [`ProofRefusal`].
    pub async fn check(&self, proof: &Proof) -> Result<Option<Person>, ProofRefusal> {
        let username = proof.username.clone();
        let Some(row) = self.store.run(move |t| find(t, &username)).await? else {
            return Ok(None);
        };
        let typed = proof.password.clone();
        let hash = row.password.clone();
        let is_password = self
            .on_hash_thread(move || password::verify(&typed.0, &hash))
            .await
            .ok_or(ProofRefusal::Busy)?;
        // The step is judged and marked as used in one transaction, so that one code opens once.
        let (code, now, username) = (
            proof.code.clone(),
            self.clock.unix_seconds(),
            proof.username.clone(),
        );
        let verdict = self
            .store
            .run(move |t| {
                let Some(row) = find(t, &username)? else {
                    return Ok(Err(TotpRefusal::Wrong));
                };
                let verdict = TotpSecret::from_base32(&row.totp_secret)
                    .map_err(|_| TotpRefusal::Wrong)
                    .and_then(|secret| totp::check(&secret, &code.0, now, row.last_used_step));
                if let Ok(step) = verdict
                    && is_password
                {
                    t.execute(
                        "UPDATE people SET last_used_step = ?2 WHERE account_id = ?1",
                        params![row.account_id, column(step)],
                    )?;
                }
                Ok(verdict)
            })
            .await?;
        let account_id = row.account_id;
        match verdict {
            Ok(_) if is_password => Ok(Some(Person {
                account_id,
                username: proof.username.clone(),
            })),
            Err(TotpRefusal::Replayed) if is_password => Err(ProofRefusal::Replayed { account_id }),
            _ => Err(ProofRefusal::Wrong { account_id }),
        }
    }

    /// Account id of the ordinary user of that name, if there is one.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn account_of(&self, username: &str) -> Result<Option<String>, StoreFailure> {
        let username = username.to_owned();
        Ok(self
            .store
            .run(move |t| find(t, &username))
            .await?
            .map(|row| row.account_id))
    }

    /// Seconds for which a name is still locked, `None` when it is not.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn locked_for(&self, username: &str) -> Result<Option<u64>, StoreFailure> {
        let (name, now) = (name_digest(username), self.clock.unix_seconds());
        let until: Option<Option<i64>> = self
            .store
            .run(move |t| {
                t.query_row(
                    "SELECT locked_until FROM failures WHERE name_digest = ?1",
                    params![name],
                    |row| row.get(0),
                )
                .optional()
            })
            .await?;
        Ok(until
            .flatten()
            .map(number)
            .and_then(|until| until.checked_sub(now))
            .filter(|rest| *rest > 0))
    }

    /// Counts a wrong try of that name, and whether it locks the name.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn count_failure(&self, username: &str) -> Result<bool, StoreFailure> {
        let (name, now) = (name_digest(username), self.clock.unix_seconds());
        self.store.run(move |t| count_failure(t, &name, now)).await
    }

    /// Forgets the wrong tries of that name: its person is in.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn clear_failures(&self, username: &str) -> Result<(), StoreFailure> {
        let name = name_digest(username);
        self.store
            .run(move |t| {
                t.execute("DELETE FROM failures WHERE name_digest = ?1", params![name])
                    .map(drop)
            })
            .await
    }

    /// Computes a hash; `None` when too many wait.
    async fn on_hash_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let _place = self.waiting.try_acquire().ok()?;
        // Moved into the thread: a caller who goes away must not let one more hash begin.
        let turn = Arc::clone(&self.hashing).acquire_owned().await.ok()?;
        tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        })
        .await
        .ok()
    }
}

/// Letters, digits, `.`, `-` and `_`, not empty; the supervisor has the same rule.
fn is_username(name: &str) -> bool {
    (1..=USERNAME_BYTES_MAX).contains(&name.len())
        && name
            .chars()
            .all(|sign| sign.is_alphanumeric() || matches!(sign, '.' | '-' | '_'))
}

fn name_digest(username: &str) -> Vec<u8> {
    Sha256::of(format!("jingui/name/v1\n{username}").as_bytes())
        .as_bytes()
        .to_vec()
}

fn find(t: &Transaction<'_>, username: &str) -> Result<Option<Row>, rusqlite::Error> {
    t.query_row(
        "SELECT account_id, password, totp_secret, last_used_step FROM people WHERE username = ?1",
        params![username],
        |row| {
            let last_used_step: Option<i64> = row.get(3)?;
            Ok(Row {
                account_id: row.get(0)?,
                password: row.get(1)?,
                totp_secret: row.get(2)?,
                last_used_step: last_used_step.map(number),
            })
        },
    )
    .optional()
}

fn count_failure(t: &Transaction<'_>, name: &[u8], now: u64) -> Result<bool, rusqlite::Error> {
    let before: Option<(i64, Option<i64>)> = t
        .query_row(
            "SELECT failure_count, locked_until FROM failures WHERE name_digest = ?1",
            params![name],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    // A lock that is over starts the count again.
    let count = match before {
        Some((_, Some(until))) if number(until) <= now => 1,
        Some((count, _)) => number(count) + 1,
        None => 1,
    };
    let locks = count >= u64::from(FAILURE_COUNT_MAX);
    let locked_until = locks.then(|| column(now + LOCK_S));
    t.execute(
        "INSERT INTO failures (name_digest, failure_count, last_at, locked_until) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (name_digest) DO UPDATE SET failure_count = ?2, last_at = ?3, locked_until = ?4",
        params![name, column(count), column(now), locked_until],
    )?;
    t.execute(
        "DELETE FROM failures WHERE name_digest IN
         (SELECT name_digest FROM failures ORDER BY last_at DESC LIMIT -1 OFFSET ?1)",
        params![column(FAILED_NAME_COUNT_MAX)],
    )?;
    Ok(locks)
}

#[cfg(test)]
mod tests;
