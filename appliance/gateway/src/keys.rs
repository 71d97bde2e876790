//! API keys: `<id>.<secret>`.
//!
//! The secret is not stored. It is derived from the key root, the id and a version, so that a stolen file of tables
//! opens nothing. A salted digest of it is kept beside the id; both must fit, so that neither a changed row nor
//! another key root makes a key valid. The last four characters of the secret are a check code: a typing error is told
//! from a wrong key without any table.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use jingui_ipc::control::Private;
use jingui_trust::random::{self, RandomFailure};
use jingui_trust::{Secret, Sha256, mac};
use rusqlite::params;

use crate::clock::Clock;
use crate::store::{Store, StoreFailure, column, number};

/// Keys that may exist, revoked ones counted.
pub const KEY_COUNT_MAX: usize = 10_000;
/// Longest label in characters.
pub const LABEL_CHARACTERS_MAX: usize = 64;
/// Characters of an id.
pub const ID_CHARACTERS: usize = 16;
/// Characters of a secret without its check code: 32 bytes in base62.
pub const SECRET_CHARACTERS: usize = 43;
/// Characters of a check code.
pub const CHECK_CHARACTERS: usize = 4;

const SECRET_BYTES: usize = 32;
const SALT_BYTES: usize = 16;
const VERSION: u32 = 1;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The 32 bytes that supervisor and gateway share.
pub type KeyRoot = Secret<[u8; 32]>;

/// Why a key does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// It does not have the form of a key, or its check code does not fit: a typing error.
    #[error("the key is mistyped")]
    Mistyped,
    /// Nobody was given this key.
    #[error("the key is unknown")]
    Unknown,
    /// It was revoked.
    #[error("the key was revoked")]
    Revoked,
}

/// Why a key was not made.
#[derive(Debug, thiserror::Error)]
pub enum KeyNotMade {
    /// The label is empty, longer than [`LABEL_CHARACTERS_MAX`], or has control characters.
    #[error("the label is empty, too long, or has control characters")]
    Label,
    /// [`KEY_COUNT_MAX`] keys exist.
    #[error("{KEY_COUNT_MAX} keys exist")]
    TooMany,
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomFailure),
    /// The tables failed.
    #[error(transparent)]
    Store(#[from] StoreFailure),
}

impl KeyNotMade {
    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Label => "api.key.label-malformed",
            Self::TooMany => "api.key.too-many",
            Self::Random(_) => "system.randomness.missing",
            Self::Store(_) => "api.store.failed",
        }
    }
}

/// A key that was made.
#[derive(Debug)]
pub struct MadeKey {
    /// Public part.
    pub id: String,
    /// `<id>.<secret>`, shown once.
    pub key: Private,
}

/// Who calls with a key. Holding one proves that the caller showed a valid key at that moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHolder {
    /// Public part of the key.
    pub key_id: String,
    /// Account id of its owner.
    pub owner: String,
}

#[derive(Debug, Clone)]
struct Row {
    owner: String,
    version: u32,
    salt: Vec<u8>,
    digest: Vec<u8>,
    revoked_at: Option<u64>,
}

/// All keys. The table is held in memory too, since every request asks; the gateway is its only writer.
#[derive(Debug)]
pub struct Keys {
    root: KeyRoot,
    store: Store,
    clock: Clock,
    rows: RwLock<HashMap<String, Arc<Row>>>,
}

impl Keys {
    /// Reads the table.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn open(store: Store, root: KeyRoot, clock: Clock) -> Result<Self, StoreFailure> {
        let rows = store.run_here(|t| {
            let mut rows = t.prepare("SELECT id, owner, version, salt, digest, revoked_at FROM keys")?;
            let rows = rows.query_map([], |row| {
                let revoked_at: Option<i64> = row.get(5)?;
                Ok((
                    row.get::<_, String>(0)?,
                    Arc::new(Row {
                        owner: row.get(1)?,
                        version: row.get(2)?,
                        salt: row.get(3)?,
                        digest: row.get(4)?,
                        revoked_at: revoked_at.map(number),
                    }),
                ))
            })?;
            rows.collect()
        })?;
        Ok(Self {
            root,
            store,
            clock,
            rows: RwLock::new(rows),
        })
    }

    /// Makes a key; it is on disk when this returns.
    ///
    /// # Errors
    /// Any [`KeyNotMade`].
    pub async fn create(&self, label: &str, owner: &str) -> Result<MadeKey, KeyNotMade> {
        let character_count = label.chars().count();
        if label.trim().is_empty()
            || character_count > LABEL_CHARACTERS_MAX
            || label.chars().any(char::is_control)
        {
            return Err(KeyNotMade::Label);
        }
        if self.rows.read().unwrap_or_else(PoisonError::into_inner).len() >= KEY_COUNT_MAX {
            return Err(KeyNotMade::TooMany);
        }
        let id: String = random::bytes::<ID_CHARACTERS>()?
            .iter()
            .map(|byte| base62_digit(u32::from(*byte)))
            .collect();
        let salt = random::bytes::<SALT_BYTES>()?.to_vec();
        let secret = derive(&self.root, &id, VERSION);
        let digest = digest(&salt, secret.expose()).as_bytes().to_vec();
        let row = Row {
            owner: owner.to_owned(),
            version: VERSION,
            salt,
            digest,
            revoked_at: None,
        };
        let (kept, label, key_id, now) = (
            row.clone(),
            label.to_owned(),
            id.clone(),
            column(self.clock.unix_seconds()),
        );
        self.store
            .run(move |t| {
                t.execute(
                    "INSERT INTO keys (id, label, owner, version, salt, digest, created_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    params![
                        key_id,
                        label,
                        kept.owner,
                        kept.version,
                        kept.salt,
                        kept.digest,
                        now
                    ],
                )
            })
            .await?;
        self.rows
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.clone(), Arc::new(row));
        let key = Private(format!("{id}.{}", secret.expose()));
        Ok(MadeKey { id, key })
    }

    /// Revokes a key; it opens nothing any more when this returns. `false` when there is no such key.
    ///
    /// # Errors
    /// When the table cannot be written; the key then still opens.
    pub async fn revoke(&self, id: &str) -> Result<bool, StoreFailure> {
        let now = self.clock.unix_seconds();
        let key_id = id.to_owned();
        let changed = self
            .store
            .run(move |t| {
                t.execute(
                    "UPDATE keys SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL",
                    params![key_id, column(now)],
                )
            })
            .await?;
        if let Some(row) = self
            .rows
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .get_mut(id)
            && changed > 0
        {
            *row = Arc::new(Row {
                revoked_at: Some(now),
                ..(**row).clone()
            });
        }
        Ok(changed > 0)
    }

    /// Checks a key as a client sent it.
    ///
    /// # Errors
    /// Any [`KeyRefusal`]. `Revoked` is told only to who knows the secret.
    pub fn check(&self, key: &str) -> Result<KeyHolder, KeyRefusal> {
        let (id, secret) = key.split_once('.').ok_or(KeyRefusal::Mistyped)?;
        if !has_form(id, ID_CHARACTERS) || !has_form(secret, SECRET_CHARACTERS + CHECK_CHARACTERS) {
            return Err(KeyRefusal::Mistyped);
        }
        let (body, check) = secret
            .split_at_checked(SECRET_CHARACTERS)
            .ok_or(KeyRefusal::Mistyped)?;
        if check_code(id, body) != check {
            return Err(KeyRefusal::Mistyped);
        }
        let row = self
            .rows
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned();
        // An unknown id costs the same work as a known one.
        let version = row.as_ref().map_or(VERSION, |row| row.version);
        let is_derived = mac::equal(
            derive(&self.root, id, version).expose().as_bytes(),
            secret.as_bytes(),
        );
        let row = row.ok_or(KeyRefusal::Unknown)?;
        let is_kept = mac::equal(digest(&row.salt, secret).as_bytes(), &row.digest);
        if !(is_derived && is_kept) {
            return Err(KeyRefusal::Unknown);
        }
        if row.revoked_at.is_some() {
            return Err(KeyRefusal::Revoked);
        }
        Ok(KeyHolder {
            key_id: id.to_owned(),
            owner: row.owner.clone(),
        })
    }
}

/// Secret of a key with its check code.
fn derive(root: &KeyRoot, id: &str, version: u32) -> Secret<String> {
    let info = format!("jingui/api-key/v1\n{id}\n{version}");
    let bytes = Secret::new(mac::hkdf_sha256::<SECRET_BYTES>(
        root.expose(),
        b"",
        info.as_bytes(),
    ));
    let mut text = base62(bytes.expose());
    let check = check_code(id, &text);
    text.push_str(&check);
    Secret::new(text)
}

fn digest(salt: &[u8], secret: &str) -> Sha256 {
    let mut bytes = b"jingui/api-key-digest/v1\n".to_vec();
    bytes.extend_from_slice(salt);
    bytes.extend_from_slice(secret.as_bytes());
    Sha256::of(&bytes)
}

fn check_code(id: &str, body: &str) -> String {
    let digest = Sha256::of(format!("jingui/api-key-check/v1\n{id}\n{body}").as_bytes());
    let mut code = base62(digest.as_bytes());
    code.truncate(CHECK_CHARACTERS);
    code
}

fn has_form(text: &str, characters: usize) -> bool {
    text.len() == characters && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// 32 bytes as [`SECRET_CHARACTERS`] digits, least significant first.
fn base62(bytes: &[u8; 32]) -> String {
    let mut number = *bytes;
    let mut text = String::with_capacity(SECRET_CHARACTERS + CHECK_CHARACTERS);
    for _ in 0..SECRET_CHARACTERS {
        let mut rest = 0_u32;
        for byte in &mut number {
            let value = rest << 8 | u32::from(*byte);
            // The quotient is below 256 because the rest is below 62.
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            rest = value % 62;
        }
        text.push(base62_digit(rest));
    }
    text
}

fn base62_digit(value: u32) -> char {
    let place = usize::try_from(value % 62).unwrap_or_default();
    char::from(BASE62.get(place).copied().unwrap_or(b'0'))
}

#[cfg(test)]
mod tests;
