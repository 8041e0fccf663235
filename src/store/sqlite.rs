//! [`SqliteBackend`]: rows in one SQLite file, the embedded default.
//!
//! SQLite runs one writing transaction after the other, also across processes. So each verb is one short `BEGIN IMMEDIATE`
//! transaction, and logins and endings see each other without further care: whichever comes second sees what the first committed.
//! Reads go through connections of their own and wait for nobody (write-ahead log).

use std::io;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Sqlite, Transaction};

use super::signals::Signals;
use super::{
    Claimed, Cursor, Digest, Ending, Error, Exported, IndexKey, Inserted, Lease, LeaseAfter, Limit, Listed, NewRow,
    Page, Reason, Replaced, Reseal, Result, Row, SessionBackend, SessionKey, Signal, Swapped, Taken, Updated,
};
use crate::clock::{Clock as _, SystemClock, Timestamp};

mod endings;
mod moving;
mod rows;
mod schema;
mod small;
mod tokens;

/// Rows in a SQLite file. One process serves from a file; others may look after it, but their signals do not reach it.
#[derive(Debug)]
pub struct SqliteBackend {
    writer: SqlitePool,
    readers: SqlitePool,
    signals: Signals,
}

impl SqliteBackend {
    /// Opens the file, or creates it, readable by its owner only. Its directory must exist; the write-ahead log lies beside it.
    ///
    /// # Errors
    /// `Unavailable` if the file cannot be opened, is no store of ours, or was written by another version; the text says which.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let opened = Self::try_open(path).await;
        opened.map_err(|Failure(text)| Error::Unavailable(format!("{}: {text}", path.display())))
    }

    async fn try_open(path: &Path) -> Done<Self> {
        if path == Path::new(":memory:") {
            return Err(Failure("SQLite keeps rows in a file; write `memory:` for a store in memory".to_owned()));
        }
        // Absolute, so that SQLite does not take a name like `file:x?mode=memory` for an URI.
        let path = std::path::absolute(path)?;
        create_private(&path).await?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        // FULL: each commit is on the disk before it is answered. With NORMAL a power failure may take the last commits back, and
        // with them a rotated refresh token (the provider would take the old one for theft and end the grant) or a logout.
        let write = options.clone().journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
        let writer = pool(1).connect_with(write).await?;
        schema::prepare(&writer).await?;
        let readers = pool(READERS).connect_with(options.pragma("query_only", "ON")).await?;
        Ok(Self { writer, readers, signals: Signals::new() })
    }

    /// Starts a writing transaction and answers the time in it. It must be read now: the wait for the writer may have been long.
    async fn write(&self) -> Done<(Transaction<'static, Sqlite>, Timestamp)> {
        let transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        Ok((transaction, SystemClock.now()))
    }

    fn ended(&self, keys: &[SessionKey], reason: Reason) {
        for &key in keys {
            self.signals.send(Signal::Ended { key, reason });
        }
    }
}

#[async_trait]
impl SessionBackend for SqliteBackend {
    async fn insert(&self, key: SessionKey, row: &NewRow, limit: Option<&Limit>) -> Result<Inserted> {
        Ok(self.insert_row(key, row, limit).await?)
    }

    async fn replace(
        &self,
        old: SessionKey,
        retire: Duration,
        key: SessionKey,
        row: &NewRow,
        limit: Option<&Limit>,
    ) -> Result<Replaced> {
        Ok(self.replace_row(old, retire, key, row, limit).await?)
    }

    async fn load(&self, key: SessionKey) -> Result<Option<Row>> {
        Ok(self.load_row(key).await?)
    }

    async fn touch(
        &self,
        key: SessionKey,
        live_for: Duration,
        session: &[u8],
        reseal: Option<&Reseal>,
    ) -> Result<Updated> {
        Ok(self.touch_row(key, live_for, session, reseal).await?)
    }

    async fn remove(&self, key: SessionKey, reason: Reason) -> Result<Option<Row>> {
        Ok(self.remove_row(key, reason).await?)
    }

    async fn remove_if(&self, key: SessionKey, expected: u64, reason: Reason) -> Result<Updated> {
        Ok(self.remove_row_if(key, expected, reason).await?)
    }

    async fn end_matching(&self, ending: &Ending) -> Result<u64> {
        Ok(self.end_rows(ending).await?)
    }

    async fn list_matching(&self, any_of: &[IndexKey]) -> Result<Vec<Listed>> {
        Ok(self.list_rows(any_of).await?)
    }

    async fn scan(&self, cursor: Cursor) -> Result<Page> {
        Ok(self.page(&cursor).await?)
    }

    async fn export(&self, key: SessionKey) -> Result<Option<Exported>> {
        Ok(self.export_row(key).await?)
    }

    async fn import(&self, row: &Exported) -> Result<bool> {
        Ok(self.import_row(row).await?)
    }

    async fn swap_tokens(&self, key: SessionKey, expected: u64, sealed: &[u8], lease: LeaseAfter) -> Result<Swapped> {
        Ok(self.swap(key, expected, sealed, lease).await?)
    }

    async fn take_lease(&self, key: SessionKey, expected: u64, ttl: Duration) -> Result<Taken> {
        Ok(self.take(key, expected, ttl).await?)
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<Updated> {
        Ok(self.renew(lease, ttl).await?)
    }

    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        Ok(self.release(lease).await?)
    }

    async fn claim(&self, digest: Digest, ttl: Duration) -> Result<Claimed> {
        Ok(self.claim_digest(digest, ttl).await?)
    }

    async fn unclaim(&self, digest: Digest) -> Result<()> {
        Ok(self.unclaim_digest(digest).await?)
    }

    async fn put_once(&self, digest: Digest, sealed: &[u8], ttl: Duration) -> Result<()> {
        Ok(self.put_value(digest, sealed, ttl).await?)
    }

    async fn take_once(&self, digest: Digest) -> Result<Option<Vec<u8>>> {
        Ok(self.take_value(digest).await?)
    }

    async fn remove_expired(&self) -> Result<u64> {
        Ok(self.sweep().await?)
    }

    async fn ping(&self) -> Result<()> {
        Ok(self.touch_file().await?)
    }

    fn watch(&self) -> BoxStream<'static, Signal> {
        self.signals.watch()
    }
}

/// Creates the file if it is missing. SQLite gives the log and its index the same mode.
async fn create_private(path: &Path) -> io::Result<()> {
    let mut options = tokio::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    options.mode(0o600);
    match options.open(path).await {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome.map(drop),
    }
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false) // a connection is a thread of this process; asking it costs as much as a read
        .idle_timeout(None)
        .max_lifetime(None)
}

/// What SQLite or the file system said, in words. Statements carry no values, so the words carry none.
#[derive(Debug)]
struct Failure(String);

type Done<T> = std::result::Result<T, Failure>;

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<Failure> for Error {
    fn from(Failure(text): Failure) -> Self {
        Self::Unavailable(text)
    }
}

/// Reads that run at the same time.
const READERS: u32 = 4;
/// How long a statement waits for another process that writes. SQLite is not fair to those who wait, and each commit waits for the
/// disk. Callers have a limit of their own.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call waits for a connection. Callers have a limit of their own; this one is for those that do not.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
