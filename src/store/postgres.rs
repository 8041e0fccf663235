//! [`PostgresBackend`]: rows in PostgreSQL, for several replicas.
//!
//! Most verbs are one statement: it locks the row, decides by the server's clock, writes, and tells the other replicas with
//! `pg_notify`, which takes effect if and when the statement is committed. Everything runs at READ COMMITTED. Logins and endings find
//! each other by committing first and looking then, in a new statement (`rows.rs`, `endings.rs`). Statements that lock several rows
//! lock them in the order of their keys, so there are no deadlocks and nothing to try again.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::stream::BoxStream;
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use tokio_util::task::AbortOnDropHandle;

use super::signals::Signals;
use super::{
    Claimed, Cursor, Digest, Ending, Error, Exported, IndexKey, Inserted, Lease, LeaseAfter, Limit, Listed, NewRow,
    Page, Reason, Replaced, Reseal, Result, Row, SessionBackend, SessionKey, Signal, Swapped, Taken, Updated,
};
use connections::Connections;

mod connections;
mod endings;
mod listening;
mod moving;
mod payload;
mod rows;
mod schema;
mod small;
mod tokens;
mod url;

pub(crate) use url::parse as parse_url;

/// Rows in a PostgreSQL database, in tables whose names start with `cloakroom_`, in the first schema of the connection's
/// `search_path`. Any number of processes share them.
#[derive(Debug)]
pub struct PostgresBackend {
    connections: Connections,
    signals: Signals,
    _listening: AbortOnDropHandle<()>,
}

impl PostgresBackend {
    /// Connects, makes the tables or brings them up to date, and listens. `url` is
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full&sslrootcert=PATH&options=-c search_path=SCHEMA`; what it
    /// leaves out is taken from the variables that every client of PostgreSQL knows (`PGPASSWORD`, …) and from `.pgpass`. No call
    /// takes longer than `limit` at the server.
    ///
    /// # Errors
    /// `Unavailable` if the server cannot be reached or refuses, or if the tables were made by a newer version; the text says which.
    pub async fn open(url: &str, limit: Duration) -> Result<Self> {
        let options = parse_url(url).map_err(|error| Error::Unavailable(error.to_string()))?;
        let place = place(&options);
        let opened = Self::try_open(with_settings(options, limit), limit).await;
        opened.map_err(|Failure(text)| Error::Unavailable(format!("{place}: {text}")))
    }

    async fn try_open(options: PgConnectOptions, limit: Duration) -> Done<Self> {
        schema::prepare(&options, limit).await?;
        let signals = Signals::new();
        let listening = listening::listen(options.clone(), signals.clone()).await?;
        Ok(Self { connections: Connections::new(options, limit), signals, _listening: listening })
    }
}

/// Calls below run detached from their callers, so they own what they work with.
#[async_trait]
impl SessionBackend for PostgresBackend {
    async fn insert(&self, key: SessionKey, row: &NewRow, limit: Option<&Limit>) -> Result<Inserted> {
        let (row, limit) = (row.clone(), limit.cloned());
        let work =
            self.connections.run(move |at| async move { rows::insert(at, key, &row, limit.as_ref()).await }.boxed());
        Ok(work.await?)
    }

    async fn replace(
        &self,
        old: SessionKey,
        retire: Duration,
        key: SessionKey,
        row: &NewRow,
        limit: Option<&Limit>,
    ) -> Result<Replaced> {
        let (row, limit) = (row.clone(), limit.cloned());
        let work = self
            .connections
            .run(move |at| async move { rows::replace(at, old, retire, key, &row, limit.as_ref()).await }.boxed());
        Ok(work.await?)
    }

    async fn load(&self, key: SessionKey) -> Result<Option<Row>> {
        Ok(self.connections.run(move |at| rows::load(at, key).boxed()).await?)
    }

    async fn touch(
        &self,
        key: SessionKey,
        live_for: Duration,
        session: &[u8],
        reseal: Option<&Reseal>,
    ) -> Result<Updated> {
        let (session, reseal) = (session.to_vec(), reseal.cloned());
        let work = self
            .connections
            .run(move |at| async move { rows::touch(at, key, live_for, &session, reseal.as_ref()).await }.boxed());
        Ok(work.await?)
    }

    async fn remove(&self, key: SessionKey, reason: Reason) -> Result<Option<Row>> {
        Ok(self.connections.run(move |at| rows::remove(at, key, reason).boxed()).await?)
    }

    async fn remove_if(&self, key: SessionKey, expected: u64, reason: Reason) -> Result<Updated> {
        Ok(self.connections.run(move |at| rows::remove_if(at, key, expected, reason).boxed()).await?)
    }

    async fn end_matching(&self, ending: &Ending) -> Result<u64> {
        let ending = ending.clone();
        Ok(self.connections.run(move |at| async move { endings::end(at, &ending).await }.boxed()).await?)
    }

    async fn list_matching(&self, any_of: &[IndexKey]) -> Result<Vec<Listed>> {
        let any_of = any_of.to_vec();
        Ok(self.connections.run(move |at| async move { endings::list(at, &any_of).await }.boxed()).await?)
    }

    async fn scan(&self, cursor: Cursor) -> Result<Page> {
        Ok(self.connections.run(move |at| async move { endings::page(at, &cursor).await }.boxed()).await?)
    }

    async fn export(&self, key: SessionKey) -> Result<Option<Exported>> {
        Ok(self.connections.run(move |at| moving::export(at, key).boxed()).await?)
    }

    async fn import(&self, row: &Exported) -> Result<bool> {
        let row = row.clone();
        Ok(self.connections.run(move |at| async move { moving::import(at, &row).await }.boxed()).await?)
    }

    async fn swap_tokens(&self, key: SessionKey, expected: u64, sealed: &[u8], lease: LeaseAfter) -> Result<Swapped> {
        let sealed = sealed.to_vec();
        let work = self
            .connections
            .run(move |at| async move { tokens::swap(at, key, expected, &sealed, lease).await }.boxed());
        Ok(work.await?)
    }

    async fn take_lease(&self, key: SessionKey, expected: u64, ttl: Duration) -> Result<Taken> {
        Ok(self.connections.run(move |at| tokens::take(at, key, expected, ttl).boxed()).await?)
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<Updated> {
        let lease = lease.clone();
        Ok(self.connections.run(move |at| async move { tokens::renew(at, &lease, ttl).await }.boxed()).await?)
    }

    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        let lease = lease.clone();
        Ok(self.connections.run(move |at| async move { tokens::release(at, &lease).await }.boxed()).await?)
    }

    async fn claim(&self, digest: Digest, ttl: Duration) -> Result<Claimed> {
        Ok(self.connections.run(move |at| small::claim(at, digest, ttl).boxed()).await?)
    }

    async fn unclaim(&self, digest: Digest) -> Result<()> {
        Ok(self.connections.run(move |at| small::unclaim(at, digest).boxed()).await?)
    }

    async fn put_once(&self, digest: Digest, sealed: &[u8], ttl: Duration) -> Result<()> {
        let sealed = sealed.to_vec();
        Ok(self.connections.run(move |at| async move { small::put(at, digest, &sealed, ttl).await }.boxed()).await?)
    }

    async fn take_once(&self, digest: Digest) -> Result<Option<Vec<u8>>> {
        Ok(self.connections.run(move |at| small::take(at, digest).boxed()).await?)
    }

    async fn remove_expired(&self) -> Result<u64> {
        let removed = self.sweep(small::SWEEP_SESSIONS).await?;
        for statement in small::SWEEP_SMALL {
            self.sweep(statement).await?;
        }
        Ok(removed)
    }

    async fn ping(&self) -> Result<()> {
        Ok(self.connections.run(|at| small::ping(at).boxed()).await?)
    }

    fn watch(&self) -> BoxStream<'static, Signal> {
        self.signals.watch()
    }
}

impl PostgresBackend {
    /// Step by step, in line with all other calls.
    async fn sweep(&self, statement: &'static str) -> Done<u64> {
        let mut removed = 0;
        loop {
            let step = self.connections.run(move |at| small::sweep(at, statement).boxed()).await?;
            removed += step;
            if step < small::STEP {
                return Ok(removed);
            }
        }
    }
}

/// Where the server is, for messages.
fn place(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    }
}

/// What the statements here rely on, whatever the server or the role has as its default. The server gives up what we have given up
/// too, and the locks of a replica that lost its power.
fn with_settings(options: PgConnectOptions, limit: Duration) -> PgConnectOptions {
    let options = match options.get_application_name() {
        Some(_) => options,
        None => options.application_name("cloakroom"),
    };
    let limit = millis(limit).to_string();
    options
        .options([
            ("default_transaction_isolation", "read committed"),
            ("statement_timeout", limit.as_str()),
            ("idle_in_transaction_session_timeout", limit.as_str()),
        ])
        .disable_statement_logging()
}

/// What the server or `sqlx` said, in words. Statements carry no values, so the words carry none.
#[derive(Debug)]
struct Failure(String);

type Done<T> = std::result::Result<T, Failure>;

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<Failure> for Error {
    fn from(Failure(text): Failure) -> Self {
        Self::Unavailable(text)
    }
}

fn updated(done: Option<bool>) -> Updated {
    match done {
        None => Updated::Gone,
        Some(false) => Updated::Moved,
        Some(true) => Updated::Updated,
    }
}

fn terms(terms: &[IndexKey]) -> Vec<[u8; 32]> {
    terms.iter().map(|term| *term.as_bytes()).collect()
}

/// A version as the column has it. One that no row can have becomes one that no row has.
fn version(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(-1)
}

/// As the columns have it; so long a time can still be added to any other.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).min(i64::MAX / 4)
}

fn duration(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
