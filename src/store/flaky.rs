//! [`FlakyBackend`]: a store that can be made to fail, for tests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio_util::sync::CancellationToken;

use super::{
    Claimed, Cursor, Digest, Ending, Error, Exported, IndexKey, Inserted, Lease, LeaseAfter, Limit, Listed, NewRow,
    Page, Reason, Replaced, Reseal, Result, Row, SessionBackend, SessionKey, Signal, Swapped, Taken, Updated, alive,
};

/// How a [`FlakyBackend`] behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outage {
    /// It works.
    #[default]
    None,
    /// Every call is answered `Unavailable` and does nothing.
    Unavailable,
    /// No call is ever answered, and none does anything.
    Hangs,
    /// Every call is done, but its answer is lost: `Unavailable`.
    LosesAnswers,
    /// Every call is done, after a while.
    Slow,
    /// Reading works; every call that would write is answered `Unavailable` and does nothing.
    ReadOnly,
}

/// Another store, and a switch for its outages. Signals pass all the same, until their channel is broken.
#[derive(Debug)]
pub struct FlakyBackend {
    inner: Arc<dyn SessionBackend>,
    outage: Mutex<Outage>,
    calls: AtomicU64,
    channel: Mutex<CancellationToken>,
}

impl FlakyBackend {
    /// A store that works, until it is [`set`](Self::set) to fail.
    pub fn new(inner: Arc<dyn SessionBackend>) -> Self {
        Self { inner, outage: Mutex::default(), calls: AtomicU64::new(0), channel: Mutex::default() }
    }

    /// How many calls there were, answered or not. The sign that a process serves from the store, which comes by itself, does not
    /// count.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Changes how calls from now on are answered.
    pub fn set(&self, outage: Outage) {
        *self.outage.lock().unwrap_or_else(PoisonError::into_inner) = outage;
    }

    /// Ends the signals of everybody who watches now; who watches again hears what happens then.
    pub fn break_channel(&self) {
        std::mem::take(&mut *self.channel.lock().unwrap_or_else(PoisonError::into_inner)).cancel();
    }

    async fn pass<T>(&self, verb: &str, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.answer(verb, call).await
    }

    async fn answer<T>(&self, verb: &str, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let outage = *self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        match outage {
            Outage::None => call.await,
            Outage::ReadOnly if READING.contains(&verb) => call.await,
            Outage::Unavailable | Outage::ReadOnly => Err(Error::Unavailable("simulated outage".to_owned())),
            Outage::Hangs => std::future::pending().await,
            Outage::LosesAnswers => {
                call.await?;
                Err(Error::Unavailable("simulated loss of the answer".to_owned()))
            }
            Outage::Slow => {
                tokio::time::sleep(SLOW).await;
                call.await
            }
        }
    }
}

macro_rules! pass_through {
    ($($verb:ident($($name:ident: $kind:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl SessionBackend for FlakyBackend {
            $(async fn $verb(&self, $($name: $kind),*) -> Result<$answer> {
                self.pass(stringify!($verb), self.inner.$verb($($name),*)).await
            })*

            async fn put_once(&self, digest: Digest, sealed: &[u8], ttl: Duration) -> Result<()> {
                let call = self.inner.put_once(digest, sealed, ttl);
                if digest == alive::sign() { self.answer("", call).await } else { self.pass("put_once", call).await }
            }

            fn watch(&self) -> BoxStream<'static, Signal> {
                let broken = self.channel.lock().unwrap_or_else(PoisonError::into_inner).clone();
                self.inner.watch().take_until(broken.cancelled_owned()).boxed()
            }
        }
    };
}

pass_through! {
    insert(key: SessionKey, row: &NewRow, limit: Option<&Limit>) -> Inserted;
    replace(old: SessionKey, retire: Duration, key: SessionKey, row: &NewRow, limit: Option<&Limit>) -> Replaced;
    load(key: SessionKey) -> Option<Row>;
    touch(key: SessionKey, live_for: Duration, session: &[u8], reseal: Option<&Reseal>) -> Updated;
    remove(key: SessionKey, reason: Reason) -> Option<Row>;
    remove_if(key: SessionKey, expected: u64, reason: Reason) -> Updated;
    end_matching(ending: &Ending) -> u64;
    list_matching(any_of: &[IndexKey]) -> Vec<Listed>;
    scan(cursor: Cursor) -> Page;
    export(key: SessionKey) -> Option<Exported>;
    import(row: &Exported) -> bool;
    swap_tokens(key: SessionKey, expected: u64, sealed: &[u8], lease: LeaseAfter) -> Swapped;
    take_lease(key: SessionKey, expected: u64, ttl: Duration) -> Taken;
    renew_lease(lease: &Lease, ttl: Duration) -> Updated;
    release_lease(lease: &Lease) -> ();
    claim(digest: Digest, ttl: Duration) -> Claimed;
    unclaim(digest: Digest) -> ();
    take_once(digest: Digest) -> Option<Vec<u8>>;
    remove_expired() -> u64;
    ping() -> ();
}

const READING: [&str; 5] = ["load", "list_matching", "scan", "export", "ping"];
const SLOW: Duration = Duration::from_millis(50);
