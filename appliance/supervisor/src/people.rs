//! The three admins of the box: their accounts, their proofs, and what each role may do.
//!
//! A proof is a password and a code of the second factor. Checking the password takes a tenth of a second and
//! 64 MiB, so it is done on a work thread between [`People::begin`] and [`People::finish`]; everything that decides
//! is done here, on the loop's thread, in order. Every change is on disk before it is answered.
//!
//! Rules (GB/T 22239 8.1.4.1 and 8.1.4.2): ids are never used again, one person never holds two roles, five wrong
//! tries lock an account for fifteen minutes, a code once used is refused afterwards.

mod authority;
mod enrolment;

use std::io;
use std::path::{Path, PathBuf};

use jingui_ipc::control::{Private, Proof, Role};
use jingui_trust::password;
use jingui_trust::totp::{self, TotpRefusal, TotpSecret};
use serde::{Deserialize, Serialize};

use crate::clock::UnixSeconds;
use crate::durable;

pub(crate) use authority::{Act, authorise};
pub(crate) use enrolment::{AccountRefusal, Enrolled, Enrolment, check_new_user};

/// Wrong tries in a row that lock an account.
pub(crate) const FAILURES_MAX: u32 = 5;
/// How long a locked account stays locked, in seconds.
pub(crate) const LOCK_S: u64 = 15 * 60;

const FILE_NAME: &str = "accounts.json";
const FILE_BYTES_MAX: u64 = 1024 * 1024;
const FORMAT: u32 = 1;

/// The accounts, as they are on disk.
#[derive(Debug)]
pub(crate) struct People {
    file: PathBuf,
    book: Book,
}

/// A person whose proof was right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    /// Account id, never used again.
    pub(crate) id: String,
    /// Name at that moment.
    pub(crate) username: String,
    /// Role at that moment.
    pub(crate) role: Role,
}

/// What a work thread has to compute before a proof can be judged.
#[derive(Debug)]
pub(crate) struct PasswordCheck {
    /// Name as typed; recorded when the proof is wrong.
    pub(crate) username: String,
    password: Private,
    code: Private,
    asked_at: UnixSeconds,
    hash: String,
}

/// A computed [`PasswordCheck`].
#[derive(Debug)]
pub(crate) struct CheckedPassword {
    username: String,
    code: Private,
    /// The code is judged as of then: computing a password must not make it late.
    asked_at: UnixSeconds,
    is_right: bool,
}

/// Why a proof is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProofRefusal {
    /// Name, password or code is wrong; which one is not told.
    #[error("name, password or code is wrong")]
    Wrong {
        /// Whether this try locked the account.
        locks: bool,
        /// Wrong tries in a row, this one included; `None` when there is no such account.
        failure_count: Option<u32>,
    },
    /// The code was used before.
    #[error("the code was used before")]
    Replayed,
    /// The account is locked after too many wrong tries.
    #[error("the account is locked for another {remaining_s} s")]
    Locked {
        /// Seconds until it opens.
        remaining_s: u64,
    },
    /// The accounts could not be written; the proof was not accepted.
    #[error("the accounts cannot be written")]
    Unwritable,
}

impl ProofRefusal {
    /// Stable code.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Wrong { .. } => "auth.proof.wrong",
            Self::Replayed => "auth.code.replayed",
            Self::Locked { .. } => "auth.account.locked",
            Self::Unwritable => "system.state.unwritable",
        }
    }

    /// Facts for the words.
    pub(crate) fn facts(&self) -> Vec<(String, String)> {
        match self {
            Self::Locked { remaining_s } => {
                vec![("minutes".to_owned(), remaining_s.div_ceil(60).to_string())]
            }
            Self::Wrong { .. } | Self::Replayed | Self::Unwritable => Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Book {
    format: u32,
    /// Number of the next account id; only ever grows.
    next_number: u64,
    accounts: Vec<Account>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    id: String,
    role: Role,
    username: String,
    password_hash: String,
    totp_secret: Private,
    last_used_step: Option<u64>,
    failure_count: u32,
    locked_until_unix_s: Option<u64>,
    created_unix_s: u64,
}

impl Account {
    fn person(&self) -> Person {
        Person {
            id: self.id.clone(),
            username: self.username.clone(),
            role: self.role,
        }
    }
}

impl People {
    /// Reads the accounts of a state folder's `people/`; none before the ceremony.
    ///
    /// # Errors
    /// When the file is there and is not what we wrote: then nobody is let in, since nobody can say who may.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let file = folder.join(FILE_NAME);
        let empty = Book {
            format: FORMAT,
            next_number: 1,
            accounts: Vec::new(),
        };
        let book: Book = match durable::read(&file, FILE_BYTES_MAX)? {
            None => empty,
            Some(bytes) => serde_json::from_slice(&bytes)?,
        };
        if book.format != FORMAT {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "accounts of another format",
            ));
        }
        Ok(Self { file, book })
    }

    /// Whether the ceremony was done.
    pub(crate) fn is_set_up(&self) -> bool {
        !self.book.accounts.is_empty()
    }

    /// First step of a proof: refuses at once while the account is locked.
    ///
    /// An unknown name gets a hash that no password has, so that it takes as long as a wrong password.
    pub(crate) fn begin(&self, proof: Proof, now: UnixSeconds) -> Result<PasswordCheck, ProofRefusal> {
        let account = self.find(&proof.username);
        if let Some(account) = account {
            refuse_locked(account, now)?;
        }
        let hash = account.map_or_else(
            || UNKNOWN_PERSON_HASH.to_owned(),
            |account| account.password_hash.clone(),
        );
        Ok(PasswordCheck {
            username: proof.username,
            password: proof.password,
            code: proof.code,
            asked_at: now,
            hash,
        })
    }

    /// Last step of a proof. Whatever it changes is on disk when it returns.
    pub(crate) fn finish(
        &mut self,
        checked: &CheckedPassword,
        now: UnixSeconds,
    ) -> Result<Person, ProofRefusal> {
        let Some(account) = self
            .book
            .accounts
            .iter_mut()
            .find(|account| account.username == checked.username)
        else {
            return Err(ProofRefusal::Wrong {
                locks: false,
                failure_count: None,
            });
        };
        // Tries that were begun before the lock and end after it are refused like all others.
        refuse_locked(account, now)?;
        let verdict = judge(account, checked, now);
        if matches!(verdict, Err(ProofRefusal::Replayed)) {
            return verdict;
        }
        match self.store() {
            Ok(()) => verdict,
            Err(_) => Err(ProofRefusal::Unwritable),
        }
    }

    /// Writes the ceremony's people. Only while there are none.
    pub(crate) fn install(&mut self, enrolled: Enrolled) -> io::Result<()> {
        assert!(!self.is_set_up(), "the ceremony is done once");
        self.book.accounts = enrolled.accounts;
        self.book.next_number = enrolled.next_number;
        let stored = self.store();
        if stored.is_err() {
            self.book.accounts.clear();
        }
        stored
    }

    /// The account of that name, for the record of a proof that was refused.
    pub(crate) fn named(&self, username: &str) -> Option<Person> {
        self.find(username).map(Account::person)
    }

    fn find(&self, username: &str) -> Option<&Account> {
        self.book
            .accounts
            .iter()
            .find(|account| account.username == username)
    }

    fn store(&self) -> io::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(&self.book)?;
        bytes.push(b'\n');
        durable::write(&self.file, &bytes, durable::PRIVATE_FILE)
    }
}

impl PasswordCheck {
    /// Computes the hash; about a tenth of a second and 64 MiB.
    pub(crate) fn run(self) -> CheckedPassword {
        let is_right = password::verify(&self.password.0, &self.hash);
        CheckedPassword {
            username: self.username,
            code: self.code,
            asked_at: self.asked_at,
            is_right,
        }
    }
}

impl CheckedPassword {
    /// Name as typed.
    pub(crate) fn username(&self) -> &str {
        &self.username
    }
}

fn refuse_locked(account: &Account, now: UnixSeconds) -> Result<(), ProofRefusal> {
    match account.locked_until_unix_s {
        Some(until) if now.0 < until => Err(ProofRefusal::Locked {
            remaining_s: until - now.0,
        }),
        _ => Ok(()),
    }
}

fn judge(account: &mut Account, checked: &CheckedPassword, now: UnixSeconds) -> Result<Person, ProofRefusal> {
    let secret = TotpSecret::from_base32(&account.totp_secret.0).ok();
    let code = secret.map_or(Err(TotpRefusal::Wrong), |secret| {
        totp::check(
            &secret,
            &checked.code.0,
            checked.asked_at.0,
            account.last_used_step,
        )
    });
    match code {
        Ok(step) if checked.is_right => {
            account.last_used_step = Some(step);
            account.failure_count = 0;
            account.locked_until_unix_s = None;
            Ok(account.person())
        }
        Err(TotpRefusal::Replayed) if checked.is_right => Err(ProofRefusal::Replayed),
        _ => {
            account.failure_count = account.failure_count.saturating_add(1);
            let failure_count = Some(account.failure_count);
            let locks = account.failure_count >= FAILURES_MAX;
            if locks {
                account.failure_count = 0;
                account.locked_until_unix_s = Some(now.0.saturating_add(LOCK_S));
            }
            Err(ProofRefusal::Wrong { locks, failure_count })
        }
    }
}

/// Argon2id hash with our parameters of random bytes that nobody kept.
const UNKNOWN_PERSON_HASH: &str = "$argon2id$v=19$m=65536,t=3,p=1$amluZ3VpLW5vYm9keS0wMQ$\
                                   dGhpcyBpcyBub3QgYSBoYXNoIG9mIGFueSBwYXNzd28";

#[cfg(test)]
mod tests;
