//! The gateway's own tables: one SQLite file in its state folder.
//!
//! One connection behind a lock, in exclusive mode: the gateway is the only program that opens the file, and no shared
//! memory is needed behind the walls. A commit is on disk when it returns (`synchronous = FULL`), since what follows it
//! is an acknowledgement. Writers run on the blocking pool ([`Store::run`]).

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// Name of the file in the state folder.
pub const FILE_NAME: &str = "gateway.sqlite";

/// How long opening waits for a gateway that is on its way out to let the file go.
const BUSY_TIME_MAX: Duration = Duration::from_secs(5);

/// Form of the tables; a file of a later form is refused.
const FORM: i64 = 1;

const TABLES: &str = "
CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    label TEXT NOT NULL,
    owner TEXT NOT NULL,
    version INTEGER NOT NULL,
    salt BLOB NOT NULL,
    digest BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE people (
    account_id TEXT PRIMARY KEY,
    username TEXT NOT NULL UNIQUE,
    password TEXT NOT NULL,
    totp_secret TEXT NOT NULL,
    last_used_step INTEGER,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE failures (
    name_digest BLOB PRIMARY KEY,
    failure_count INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    locked_until INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX failures_by_age ON failures (last_at);
CREATE TABLE sessions (
    token_digest BLOB PRIMARY KEY,
    account_id TEXT NOT NULL,
    username TEXT NOT NULL,
    role TEXT NOT NULL,
    session TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE commitments (
    request_id TEXT PRIMARY KEY,
    salt BLOB NOT NULL,
    leaf_index INTEGER,
    made_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// The tables could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreFailure {
    /// SQLite says why.
    #[error("the gateway's tables cannot be used")]
    Sqlite(#[from] rusqlite::Error),
    /// The file was written by a later version.
    #[error("the gateway's tables have form {found}, this version knows {FORM}")]
    LaterForm {
        /// Form of the file.
        found: i64,
    },
    /// The task that did it was stopped.
    #[error("the work on the tables was stopped")]
    Stopped,
}

/// The open file; cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    connection: Arc<Mutex<Connection>>,
}

impl Store {
    /// Opens the file in that folder and makes it if there is none.
    ///
    /// # Errors
    /// Any [`StoreFailure`].
    pub fn open(folder: &Path) -> Result<Self, StoreFailure> {
        let mut connection = Connection::open(folder.join(FILE_NAME))?;
        connection.busy_timeout(BUSY_TIME_MAX)?;
        connection.execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE;
             PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA temp_store = MEMORY;
             PRAGMA trusted_schema = OFF;
             PRAGMA secure_delete = ON;",
        )?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        match found {
            0 => {
                transaction.execute_batch(TABLES)?;
                transaction.pragma_update(None, "user_version", FORM)?;
                transaction.commit()?;
            }
            FORM => drop(transaction),
            found => return Err(StoreFailure::LaterForm { found }),
        }
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
        })
    }

    /// Does `work` in one transaction on the blocking pool; it is on disk when this returns.
    ///
    /// # Errors
    /// What `work` or the commit gives; nothing is changed then.
    pub async fn run<T, F>(&self, work: F) -> Result<T, StoreFailure>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, rusqlite::Error> + Send + 'static,
    {
        let store = self.clone();
        tokio::task::spawn_blocking(move || store.run_here(work))
            .await
            .map_err(|_| StoreFailure::Stopped)?
    }

    /// [`Store::run`] on this thread.
    ///
    /// # Errors
    /// As [`Store::run`].
    pub fn run_here<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreFailure> {
        // A panic inside a transaction rolled it back, so the connection is sound.
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }
}

/// A number for a column; times and counts of ours never reach the sign bit.
pub(crate) fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number from a column.
pub(crate) fn number(column: i64) -> u64 {
    u64::try_from(column).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_committed_is_there_after_opening_again() {
        let folder = tempfile::tempdir().unwrap();
        let insert = "INSERT INTO commitments (request_id, salt, made_at) VALUES ('r', x'00', 1)";
        Store::open(folder.path())
            .unwrap()
            .run_here(|t| t.execute(insert, []))
            .unwrap();
        let count: i64 = Store::open(folder.path())
            .unwrap()
            .run_here(|t| t.query_row("SELECT count(*) FROM commitments", [], |row| row.get(0)))
            .unwrap();
        assert_eq!(count, 1);
    }

    #[test]
    fn a_failed_transaction_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let failed = store.run_here(|t| {
            t.execute(
                "INSERT INTO commitments (request_id, salt, made_at) VALUES ('r', x'00', 1)",
                [],
            )?;
            t.execute("INSERT INTO nowhere VALUES (1)", [])
        });
        assert!(matches!(failed, Err(StoreFailure::Sqlite(_))));
        let count: i64 = store
            .run_here(|t| t.query_row("SELECT count(*) FROM commitments", [], |row| row.get(0)))
            .unwrap();
        assert_eq!(count, 0);
    }

    #[test]
    fn tables_of_a_later_form_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        Store::open(folder.path())
            .unwrap()
            .run_here(|t| t.pragma_update(None, "user_version", FORM + 1))
            .unwrap();
        assert!(matches!(
            Store::open(folder.path()),
            Err(StoreFailure::LaterForm { found: 2 })
        ));
    }
}
