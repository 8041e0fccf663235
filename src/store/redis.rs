//! [`RedisBackend`]: rows in Redis or Valkey (6.2 or later), for several replicas: one server, one with Sentinel, or a cluster.
//!
//! | Key | Is | Lives |
//! |---|---|---|
//! | `<prefix>:s:{<key>}` | a hash: one row | as long as the row, by the server's clock |
//! | `<prefix>:t:{<term>}` | a sorted set: keys of the rows that carry a term, by when they run out | as long as its longest member |
//! | `<prefix>:d:{<term>}` | a number: a tombstone | [`TOMBSTONE_LIFE`](super::TOMBSTONE_LIFE) |
//! | `<prefix>:c:{<digest>}`, `<prefix>:o:{<digest>}` | a claim, a value kept for one reader | as they were told |
//! | `<prefix>:signals` | a channel | |
//!
//! A row is in one slot, so each conditional verb is one script on one key, and the store works in a cluster. What takes several steps
//! (`rows.rs` says in which order, and why) runs as a task of its own, so that a caller who leaves cannot stop it half-way. Everything
//! runs out by itself; there is nothing to sweep.
//!
//! Redis answers before its disk and its replicas have a write. `appendfsync always` and `replicas_written` narrow the window in which
//! a failure takes back what was answered: a logout, or a rotated refresh token.
//!
//! # What the user needs
//!
//! ```text
//! ACL SETUSER cloakroom on >password resetkeys ~cloakroom:* resetchannels &cloakroom:signals -@all
//!     +ping +select +info +wait +eval +evalsha +time +publish +subscribe
//!     +exists +hset +hget +hmget +hdel +pttl +pexpire +pexpireat +del +get +getdel +set
//!     +zadd +zrange +zrem +zremrangebyscore +scan
//! ```
//!
//! With Sentinel also `+role`, and at the sentinels `+ping +sentinel|get-master-addr-by-name`; in a cluster also `+cluster|slots +asking`.
//! `+config|get` or `+info` lets us see that nothing is evicted; without either there is a warning.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use redis::Value;
use tokio_util::task::AbortOnDropHandle;

use super::signals::Signals;
use super::{
    Claimed, Cursor, Digest, Ending, Exported, IndexKey, Inserted, Lease, LeaseAfter, Limit, Listed, NewRow, Page,
    Reason, Replaced, Reseal, Result, Row, SessionBackend, SessionKey, Signal, Swapped, Taken, Updated,
};

mod cluster;
mod dial;
mod failure;
mod keys;
mod lines;
mod link;
mod opening;
mod place;
mod request;
mod rows;
mod searching;
mod servers;
mod signals;
mod small;
mod stored;
mod target;
mod tokens;

use failure::{Done, Failure};
use keys::Keys;
use request::Request;
use servers::Servers;
use target::Target;

/// Rows in Redis. Replicas that share a server and a prefix share the rows, and hear each other's signals.
pub struct RedisBackend {
    store: Arc<Store>,
    signals: Signals,
    _listening: AbortOnDropHandle<()>,
}

/// What the tasks of the verbs share.
struct Store {
    servers: Servers,
    keys: Keys,
}

impl RedisBackend {
    /// Connects to what `url` names, and looks whether it is fit to keep sessions. Writes wait until `replicas_written` replicas have
    /// confirmed them, for one second at most.
    ///
    /// | URL | names |
    /// |---|---|
    /// | `redis://[[user]:password@]host[:6379][/database]` | a server |
    /// | `redis-sentinel://[[user]:password@]host[:26379],…/service[/database]` | the primary that these sentinels know |
    /// | `redis-cluster://[[user]:password@]host[:6379],…` | a cluster, by some of its nodes |
    ///
    /// `rediss` in place of `redis` is TLS. Options follow a `?`: `prefix` (of all keys, `cloakroom` if not given), `ca` (a PEM file
    /// with roots beside the system's), `cert` and `key` (PEM files, our own certificate), `sentinel_user`, `sentinel_password`.
    ///
    /// # Errors
    /// `Unavailable` if the form is wrong, a file cannot be read, no server answers or lets us in, or one may evict rows; the text says
    /// which, and holds nothing of the URL.
    pub async fn open(url: &str, replicas_written: u32) -> Result<Self> {
        Ok(Self::try_open(url, replicas_written).await?)
    }

    /// Whether `url` has a form that [`open`](Self::open) takes. Connects to nothing and reads no file.
    ///
    /// # Errors
    /// What is wrong, in words that quote nothing of it.
    pub fn check_url(url: &str) -> std::result::Result<(), String> {
        Target::parse(url).map(drop)
    }

    async fn try_open(url: &str, replicas_written: u32) -> Done<Self> {
        let target = Target::parse(url).map_err(Failure::Unsuitable)?;
        let keys = Keys(target.prefix.clone());
        let store = Arc::new(Store { servers: Servers::new(target, replicas_written)?, keys });
        store.examine().await?;
        let signals = Signals::new();
        let listener = signals::subscribe(&store, 0).await?;
        let listening = tokio::spawn(signals::pass_on(Arc::clone(&store), listener, signals.clone()));
        Ok(Self { store, signals, _listening: AbortOnDropHandle::new(listening) })
    }

    fn store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }
}

impl Store {
    async fn ask(&self, request: Request) -> Done<Value> {
        self.servers.ask(&request).await
    }
}

impl fmt::Debug for RedisBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBackend").finish_non_exhaustive()
    }
}

/// Runs to its end whether or not its caller waits for it. So every command gets the time it takes to tell a dead connection.
async fn detached<T: Send + 'static>(work: impl Future<Output = Done<T>> + Send + 'static) -> Result<T> {
    match tokio::spawn(work).await {
        Ok(outcome) => Ok(outcome?),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Failure::Closing.into()),
    }
}

#[async_trait]
impl SessionBackend for RedisBackend {
    async fn insert(&self, key: SessionKey, row: &NewRow, limit: Option<&Limit>) -> Result<Inserted> {
        let (store, row, limit) = (self.store(), row.clone(), limit.cloned());
        detached(async move { store.insert(key, &row, limit.as_ref()).await }).await
    }

    async fn replace(
        &self,
        old: SessionKey,
        retire: Duration,
        key: SessionKey,
        row: &NewRow,
        limit: Option<&Limit>,
    ) -> Result<Replaced> {
        let (store, row, limit) = (self.store(), row.clone(), limit.cloned());
        detached(async move { store.replace(old, retire, key, &row, limit.as_ref()).await }).await
    }

    async fn load(&self, key: SessionKey) -> Result<Option<Row>> {
        let store = self.store();
        detached(async move { store.load(key).await }).await
    }

    async fn touch(
        &self,
        key: SessionKey,
        live_for: Duration,
        session: &[u8],
        reseal: Option<&Reseal>,
    ) -> Result<Updated> {
        let (store, session, reseal) = (self.store(), session.to_vec(), reseal.cloned());
        detached(async move { store.touch(key, live_for, &session, reseal.as_ref()).await }).await
    }

    async fn remove(&self, key: SessionKey, reason: Reason) -> Result<Option<Row>> {
        let store = self.store();
        detached(async move { store.remove(key, reason).await }).await
    }

    async fn remove_if(&self, key: SessionKey, expected: u64, reason: Reason) -> Result<Updated> {
        let store = self.store();
        detached(async move { store.remove_if(key, expected, reason).await }).await
    }

    async fn end_matching(&self, ending: &Ending) -> Result<u64> {
        let (store, ending) = (self.store(), ending.clone());
        detached(async move { store.end_matching(&ending).await }).await
    }

    async fn list_matching(&self, any_of: &[IndexKey]) -> Result<Vec<Listed>> {
        let (store, any_of) = (self.store(), any_of.to_vec());
        detached(async move { store.list(&any_of).await }).await
    }

    async fn scan(&self, cursor: Cursor) -> Result<Page> {
        let store = self.store();
        detached(async move { store.scan(&cursor).await }).await
    }

    async fn export(&self, key: SessionKey) -> Result<Option<Exported>> {
        let store = self.store();
        detached(async move { store.export(key).await }).await
    }

    async fn import(&self, row: &Exported) -> Result<bool> {
        let (store, row) = (self.store(), row.clone());
        detached(async move { store.import(&row).await }).await
    }

    async fn swap_tokens(&self, key: SessionKey, expected: u64, sealed: &[u8], lease: LeaseAfter) -> Result<Swapped> {
        let (store, sealed) = (self.store(), sealed.to_vec());
        detached(async move { store.swap(key, expected, &sealed, lease).await }).await
    }

    async fn take_lease(&self, key: SessionKey, expected: u64, ttl: Duration) -> Result<Taken> {
        let store = self.store();
        detached(async move { store.take_lease(key, expected, ttl).await }).await
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<Updated> {
        let (store, lease) = (self.store(), lease.clone());
        detached(async move { store.renew_lease(&lease, ttl).await }).await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        let (store, lease) = (self.store(), lease.clone());
        detached(async move { store.release_lease(&lease).await }).await
    }

    async fn claim(&self, digest: Digest, ttl: Duration) -> Result<Claimed> {
        let store = self.store();
        detached(async move { store.claim(digest, ttl).await }).await
    }

    async fn unclaim(&self, digest: Digest) -> Result<()> {
        let store = self.store();
        detached(async move { store.unclaim(digest).await }).await
    }

    async fn put_once(&self, digest: Digest, sealed: &[u8], ttl: Duration) -> Result<()> {
        let (store, sealed) = (self.store(), sealed.to_vec());
        detached(async move { store.put_once(digest, &sealed, ttl).await }).await
    }

    async fn take_once(&self, digest: Digest) -> Result<Option<Vec<u8>>> {
        let store = self.store();
        detached(async move { store.take_once(digest).await }).await
    }

    /// Nothing to do: what has expired is gone.
    async fn remove_expired(&self) -> Result<u64> {
        Ok(0)
    }

    async fn ping(&self) -> Result<()> {
        let store = self.store();
        detached(async move { store.ping().await }).await
    }

    fn watch(&self) -> BoxStream<'static, Signal> {
        self.signals.watch()
    }
}
