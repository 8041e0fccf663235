//! Where session rows rest. This layer knows bytes and keys, not what is in them.
//!
//! One row per session with two halves: the *session half* (who) and the *tokens half* (what they may do), written apart, so that no
//! late write of one can undo the other. Backends implement [`SessionBackend`] and see sealed bytes only; `SealedStore` seals
//! and opens them. `docs/architecture.md` has the table of what is sealed with what.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::secret::Secret;

mod alive;
mod breaker;
mod endings;
#[cfg(any(test, feature = "test-util"))]
mod flaky;
mod keyring;
mod memory;
#[cfg(feature = "server")]
mod migrate;
mod names;
mod outcomes;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
mod rows;
mod sealed;
mod session_id;
mod session_store;
mod signals;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(test, feature = "test-util"))]
pub mod suite;
mod sweep;
mod watching;

pub(crate) use alive::show_until;
pub(crate) use breaker::Breaker;
pub use endings::{Ending, EndingTarget, Reason, Signal, TOMBSTONE_LIFE, Tombstone};
#[cfg(any(test, feature = "test-util"))]
pub use flaky::{FlakyBackend, Outage};
pub(crate) use keyring::LiveKeyring;
#[cfg(feature = "server")]
pub(crate) use keyring::key_id_of;
pub use keyring::{Keyring, MasterKey};
pub use memory::MemoryBackend;
#[cfg(feature = "server")]
pub(crate) use migrate::{Migrated, Place, migrate};
pub use names::{Digest, IndexKey, SessionKey};
pub use outcomes::{Claimed, Inserted, Lease, LeaseAfter, Replaced, Swapped, Taken, Updated};
#[cfg(feature = "postgres")]
pub use postgres::PostgresBackend;
#[cfg(feature = "postgres")]
pub(crate) use postgres::parse_url as parse_postgres_url;
#[cfg(feature = "redis")]
pub use redis::RedisBackend;
pub use rows::{Cursor, Exported, Limit, Listed, NewRow, Page, Reseal, Row};
pub(crate) use sealed::{NewSession, Opened, Scope, Seal, SealedStore, Term};
pub(crate) use sealed::{TermEnding, TermTarget};
pub(crate) use session_id::SessionId;
pub(crate) use session_store::USER;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteBackend;
pub(crate) use sweep::sweep_until;
pub(crate) use watching::{News, Watcher, Watching};

/// The result of a store call.
pub type Result<T> = std::result::Result<T, Error>;

/// A place where session rows rest. Values are opaque and already sealed; keys are digests; lifetimes are durations from now, by
/// the store's own clock. A row whose time is over is not there, swept or not.
///
/// Every verb is atomic by itself, also when its caller leaves in the middle: it then has happened as a whole or not at all. No verb
/// creates a row but `insert` and `replace`: a late write never brings an ended session back. A *retired* row (see
/// [`replace`](Self::replace)) still answers `load` until its time is over, and `remove` and `end_matching` take it; for all other
/// verbs it is gone.
#[async_trait]
pub trait SessionBackend: fmt::Debug + Send + Sync + 'static {
    /// Writes a new row and its terms. Never overwrites.
    ///
    /// If one of the row's terms has a tombstone with `issued_not_after >= row.issued_at`, no row stays and the answer is
    /// [`Inserted::Ended`]. With a `limit`, the oldest live rows beyond it are removed (reason [`Reason::Limit`]) and named.
    ///
    /// Logins race with [`end_matching`](Self::end_matching), and one of the two must notice the other. A store that runs one writing
    /// transaction after the other has that for nothing. In any other store each side first commits what it writes and then looks,
    /// in a new statement, for what the other side wrote: `insert` commits the row, looks for tombstones and undoes itself.
    async fn insert(&self, key: SessionKey, row: &NewRow, limit: Option<&Limit>) -> Result<Inserted>;

    /// Writes a new row in place of `old`, in one step or so that a failure in between leaves `old` as it was. `old` retires for
    /// `retire`: it answers `load` with `retired` set, and nothing else, until then; with a zero `retire` it is removed (reason
    /// [`Reason::ReplacedByOtherUser`]). A missing or already retired `old` is no error. Tombstones and `limit` are as in
    /// [`insert`](Self::insert); if a tombstone matches, the new row does not stay, and `old` is retired or gone all the same.
    async fn replace(
        &self,
        old: SessionKey,
        retire: Duration,
        key: SessionKey,
        row: &NewRow,
        limit: Option<&Limit>,
    ) -> Result<Replaced>;

    /// Reads a row: both halves, card, version, in one read.
    async fn load(&self, key: SessionKey) -> Result<Option<Row>>;

    /// Writes the session half anew and extends the row's life to `live_for` from now. Never creates. With `reseal`, also writes
    /// the card, replaces the index terms (new ones are added before old ones go), and writes the tokens half if its version is
    /// still the one given.
    async fn touch(
        &self,
        key: SessionKey,
        live_for: Duration,
        session: &[u8],
        reseal: Option<&Reseal>,
    ) -> Result<Updated>;

    /// Removes a row (also a retired one) and returns it as it was last, so that its newest refresh token can be revoked.
    async fn remove(&self, key: SessionKey, reason: Reason) -> Result<Option<Row>>;

    /// Removes a row if its tokens half is still at version `expected`.
    async fn remove_if(&self, key: SessionKey, expected: u64, reason: Reason) -> Result<Updated>;

    /// Ends every row that an [`Ending`] names, retired ones too, and keeps its tombstones for [`TOMBSTONE_LIFE`], so that a login
    /// in flight does not come to life after it; see [`insert`](Self::insert) for the order. Of two tombstones on one term the later
    /// `issued_not_after` stays. Answers how many rows were removed.
    async fn end_matching(&self, ending: &Ending) -> Result<u64>;

    /// Live rows that carry any of these terms, oldest first.
    async fn list_matching(&self, any_of: &[IndexKey]) -> Result<Vec<Listed>>;

    /// All live rows, a page at a time, in no particular order. A row that lives from the first page to the last is seen, perhaps twice.
    /// A page may be empty and not the last.
    async fn scan(&self, cursor: Cursor) -> Result<Page>;

    /// Reads a live row as a whole, for another store to [`import`](Self::import).
    async fn export(&self, key: SessionKey) -> Result<Option<Exported>>;

    /// Writes a row that another store exported, with its version and times. Never overwrites: `false` if a row with this key is there.
    /// Looks for no tombstone and sends no signal; both stores are out of use meanwhile.
    async fn import(&self, row: &Exported) -> Result<bool>;

    /// Writes the tokens half if its version is `expected`; the version then is `expected + 1`. The version alone decides, not who
    /// holds the lease. A lease that is kept goes on at the new version.
    async fn swap_tokens(&self, key: SessionKey, expected: u64, sealed: &[u8], lease: LeaseAfter) -> Result<Swapped>;

    /// Takes the right to use this row's refresh token for `ttl`, if the tokens half is at version `expected` and nobody holds it.
    async fn take_lease(&self, key: SessionKey, expected: u64, ttl: Duration) -> Result<Taken>;

    /// Extends a lease to `ttl` from now, if its owner holds it, its time has not run out, and the tokens half is at its version.
    /// Otherwise it is lost: `Moved`, or `Gone` with its row.
    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<Updated>;

    /// Gives a lease back, if its owner holds it. A lease that is not held any more is no error and tells nobody.
    async fn release_lease(&self, lease: &Lease) -> Result<()>;

    /// Marks `digest` as used for `ttl`. The first caller wins.
    async fn claim(&self, digest: Digest, ttl: Duration) -> Result<Claimed>;

    /// Takes a claim back, so that the same digest can be claimed again.
    async fn unclaim(&self, digest: Digest) -> Result<()>;

    /// Keeps a small value for one reader, in place of one that is there already.
    async fn put_once(&self, digest: Digest, sealed: &[u8], ttl: Duration) -> Result<()>;

    /// Takes a value kept by [`put_once`](Self::put_once): the first caller gets it, later ones nothing.
    async fn take_once(&self, digest: Digest) -> Result<Option<Vec<u8>>>;

    /// Removes what has expired: rows, claims, values, tombstones. Works in small steps that do not block other callers for long.
    /// Sends no signal: whoever watches a row knows when its time is over. Answers how many rows were removed; none in a store whose rows
    /// go by themselves.
    async fn remove_expired(&self) -> Result<u64>;

    /// Whether the store answers.
    async fn ping(&self) -> Result<()>;

    /// What happens to rows, as it happens, from every replica that shares this store. A slow reader may miss signals; it then sees
    /// [`Signal::Lost`].
    fn watch(&self) -> BoxStream<'static, Signal>;
}

/// Why a store call did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store cannot be reached, does not answer in time, or holds something newer than this program reads.
    #[error("{0}")]
    Unavailable(String),
    /// A blob does not open under its own key: flipped, moved, or written by somebody else.
    #[error("a stored value does not open: {0}")]
    Corrupt(&'static str),
}

/// Which store, and how to use it.
#[derive(Clone, Debug)]
pub struct Options {
    /// `memory:`, `sqlite:PATH` (a file, created if it is missing), `postgres://…`, `redis://…` and its relatives (see
    /// `RedisBackend::open`). It may hold a password.
    pub url: Secret<String>,
    /// Redis only: how many replicas must confirm a write before it counts.
    pub replicas_written: u32,
    /// How long a server may take for one call. Files take the time they need.
    pub timeout: Duration,
}

impl Options {
    /// This store, used as it is by default.
    pub fn new(url: impl Into<Secret<String>>) -> Self {
        Self { url: url.into(), replicas_written: 0, timeout: Duration::from_secs(2) }
    }
}

/// Opens a store.
///
/// # Errors
/// `Unavailable` if it cannot be opened, or if this build has no such store; the text says which.
#[cfg_attr(
    not(any(feature = "sqlite", feature = "postgres", feature = "redis")),
    expect(clippy::unused_async, reason = "stores that are files or servers wait")
)]
pub async fn open(options: &Options) -> Result<Arc<dyn SessionBackend>> {
    let url = options.url.expose();
    match url.split_once(':') {
        Some(("memory", "")) => Ok(Arc::new(MemoryBackend::new())),
        #[cfg(feature = "sqlite")]
        Some(("sqlite", path)) => Ok(Arc::new(SqliteBackend::open(path).await?)),
        #[cfg(feature = "postgres")]
        Some(("postgres" | "postgresql", _)) => Ok(Arc::new(PostgresBackend::open(url, options.timeout).await?)),
        #[cfg(feature = "redis")]
        Some((scheme, _)) if scheme.starts_with("redis") => {
            Ok(Arc::new(RedisBackend::open(url, options.replicas_written).await?))
        }
        _ => Err(Error::Unavailable(format!("this build knows {}", known_urls()))),
    }
}

/// Opens a store that is there: unlike [`open`], makes no file where none is.
///
/// # Errors
/// As [`open`].
#[cfg(feature = "server")]
pub(crate) async fn open_existing(options: &Options) -> Result<Arc<dyn SessionBackend>> {
    match options.url.expose().split_once(':') {
        Some(("sqlite", path)) if !tokio::fs::try_exists(path).await.unwrap_or(true) => {
            Err(Error::Unavailable(format!("{path}: there is no such file")))
        }
        _ => open(options).await,
    }
}

/// What this build can open, in words.
fn known_urls() -> String {
    let known = [
        ("`memory:`", true),
        ("`sqlite:PATH`", cfg!(feature = "sqlite")),
        ("`postgres://…`", cfg!(feature = "postgres")),
        ("`redis://…`", cfg!(feature = "redis")),
    ];
    known.into_iter().filter(|(_, is_there)| *is_there).map(|(url, _)| url).collect::<Vec<_>>().join(", ")
}
