//! One replica's way to the store: every verb of a renewal waits until the search lets it happen, then is one step.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use super::call::{Executed, Kind};
use super::world::{Outside, World};
use crate::oidc::TokenSet;
use crate::store::{
    Claimed, Cursor, Digest, Ending, Error, Exported, IndexKey, Inserted, Lease, LeaseAfter, Limit, Listed, NewRow,
    Page, Reason, Replaced, Reseal, Result, Row, SealedStore, SessionBackend, SessionId, SessionKey, Signal, Swapped,
    Taken, Updated,
};

/// See the module.
#[derive(Debug)]
pub(super) struct GatedBackend {
    pub(super) world: Arc<World>,
    pub(super) replica: usize,
    pub(super) backend: Arc<dyn SessionBackend>,
    pub(super) bug: Option<Bug>,
    /// Opens what passes, for bugs that read it.
    pub(super) opener: (SealedStore, SessionId),
}

/// What a wrong store does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// Gives the lease to everybody.
    IgnoresLeases,
    /// Does not say that an earlier holder's time ran out.
    ForgetsTheDead,
    /// Writes tokens at whatever version.
    IgnoresVersions,
    /// Says that tokens were written and does not.
    DropsWrites,
    /// Forgets at which version tokens were asked for.
    ForgetsTheOrder,
}

type Work<T> = Box<dyn FnOnce(Arc<dyn SessionBackend>) -> BoxFuture<'static, Result<T>> + Send>;

impl GatedBackend {
    /// `label` and what `read` makes of the answer are all that the search knows of a verb.
    async fn pass<T: Send + 'static>(
        &self,
        label: String,
        work: Work<T>,
        read: impl FnOnce(&mut Outside, &T) -> (String, bool) + Send + 'static,
    ) -> Result<T> {
        let execute = move |outside: &mut Outside| {
            let answer = work(outside.backend.clone()).now_or_never().expect("the store in memory does not wait");
            let (label, changed) = match &answer {
                Ok(answer) => read(outside, answer),
                Err(error) => (error.to_string(), false),
            };
            Executed { label, changed, answer }
        };
        let lost = |_| Error::Unavailable("simulated".to_owned());
        self.world.call(self.replica, Kind::Store, label, execute, lost).await
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }
}

#[async_trait]
impl SessionBackend for GatedBackend {
    async fn load(&self, key: SessionKey) -> Result<Option<Row>> {
        let work: Work<_> = Box::new(move |backend| Box::pin(async move { backend.load(key).await }));
        let read = |_: &mut Outside, row: &Option<Row>| {
            (row.as_ref().map_or("gone".to_owned(), |row| format!("version {}", row.tokens_version)), false)
        };
        self.pass("load".to_owned(), work, read).await
    }

    async fn touch(
        &self,
        key: SessionKey,
        live_for: Duration,
        session: &[u8],
        reseal: Option<&Reseal>,
    ) -> Result<Updated> {
        let (session, reseal) = (session.to_vec(), reseal.cloned());
        let work: Work<_> = Box::new(move |backend| {
            Box::pin(async move { backend.touch(key, live_for, &session, reseal.as_ref()).await })
        });
        self.pass("touch".to_owned(), work, |_, updated| (format!("{updated:?}"), *updated == Updated::Updated)).await
    }

    async fn remove(&self, key: SessionKey, reason: Reason) -> Result<Option<Row>> {
        let work: Work<_> = Box::new(move |backend| Box::pin(async move { backend.remove(key, reason).await }));
        let read = move |outside: &mut Outside, row: &Option<Row>| match row {
            Some(row) => {
                outside.monitor.ended(reason);
                (format!("version {}", row.tokens_version), true)
            }
            None => ("gone".to_owned(), false),
        };
        self.pass(format!("remove({reason:?})"), work, read).await
    }

    async fn remove_if(&self, key: SessionKey, expected: u64, reason: Reason) -> Result<Updated> {
        let work: Work<_> =
            Box::new(move |backend| Box::pin(async move { backend.remove_if(key, expected, reason).await }));
        let read = move |outside: &mut Outside, updated: &Updated| {
            if *updated == Updated::Updated {
                outside.monitor.ended(reason);
            }
            (format!("{updated:?}"), *updated == Updated::Updated)
        };
        self.pass(format!("remove_if(version {expected}, {reason:?})"), work, read).await
    }

    async fn swap_tokens(&self, key: SessionKey, expected: u64, sealed: &[u8], lease: LeaseAfter) -> Result<Swapped> {
        let (sealed, replica) = (sealed.to_vec(), self.replica);
        let (blind, lazy) = (self.has(Bug::IgnoresVersions), self.has(Bug::DropsWrites));
        let opener = self.has(Bug::ForgetsTheOrder).then(|| self.opener.clone());
        let work: Work<_> = Box::new(move |backend| {
            Box::pin(async move {
                if lazy {
                    return Ok(Swapped::Swapped);
                }
                if let Some((store, id)) = opener {
                    return swap_without_order(&backend, (&store, id), expected, sealed, lease).await;
                }
                let expected = if blind { version(&backend, key).await } else { expected };
                backend.swap_tokens(key, expected, &sealed, lease).await
            })
        });
        let read = move |outside: &mut Outside, swapped: &Swapped| {
            if *swapped == Swapped::Swapped {
                outside.monitor.swapped(replica, lease == LeaseAfter::Release);
            }
            (format!("{swapped:?}"), *swapped == Swapped::Swapped)
        };
        self.pass(format!("swap_tokens(version {expected}, {lease:?})"), work, read).await
    }

    async fn take_lease(&self, key: SessionKey, expected: u64, ttl: Duration) -> Result<Taken> {
        let (replica, bug) = (self.replica, self.bug);
        let work: Work<_> = Box::new(move |backend| {
            Box::pin(async move {
                Ok(match (backend.take_lease(key, expected, ttl).await?, bug) {
                    (Taken::Held(_), Some(Bug::IgnoresLeases)) => Taken::Taken(Lease::new(key, expected, false)),
                    (Taken::Taken(lease), Some(Bug::ForgetsTheDead)) => {
                        Taken::Taken(Lease { after_expiry: false, ..lease })
                    }
                    (taken, _) => taken,
                })
            })
        });
        let read = move |outside: &mut Outside, taken: &Taken| match taken {
            Taken::Taken(lease) => {
                outside.monitor.leased(replica, lease.owner, ttl);
                (if lease.after_expiry { "Taken after expiry" } else { "Taken" }.to_owned(), true)
            }
            other => (format!("{other:?}"), false),
        };
        self.pass(format!("take_lease(version {expected})"), work, read).await
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<Updated> {
        let (lease, owner) = (lease.clone(), lease.owner);
        let work: Work<_> = Box::new(move |backend| Box::pin(async move { backend.renew_lease(&lease, ttl).await }));
        let read = move |outside: &mut Outside, updated: &Updated| {
            if *updated == Updated::Updated {
                outside.monitor.lease_renewed(owner, ttl);
            }
            (format!("{updated:?}"), *updated == Updated::Updated)
        };
        self.pass("renew_lease".to_owned(), work, read).await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        let (lease, owner) = (lease.clone(), lease.owner);
        let work: Work<_> = Box::new(move |backend| Box::pin(async move { backend.release_lease(&lease).await }));
        let read = move |outside: &mut Outside, (): &()| {
            outside.monitor.lease_released(owner);
            ("done".to_owned(), true)
        };
        self.pass("release_lease".to_owned(), work, read).await
    }

    async fn insert(&self, key: SessionKey, row: &NewRow, limit: Option<&Limit>) -> Result<Inserted> {
        self.backend.insert(key, row, limit).await
    }

    async fn replace(
        &self,
        old: SessionKey,
        retire: Duration,
        key: SessionKey,
        row: &NewRow,
        limit: Option<&Limit>,
    ) -> Result<Replaced> {
        self.backend.replace(old, retire, key, row, limit).await
    }

    async fn end_matching(&self, ending: &Ending) -> Result<u64> {
        self.backend.end_matching(ending).await
    }

    async fn list_matching(&self, any_of: &[IndexKey]) -> Result<Vec<Listed>> {
        self.backend.list_matching(any_of).await
    }

    async fn scan(&self, cursor: Cursor) -> Result<Page> {
        self.backend.scan(cursor).await
    }

    async fn export(&self, key: SessionKey) -> Result<Option<Exported>> {
        self.backend.export(key).await
    }

    async fn import(&self, row: &Exported) -> Result<bool> {
        self.backend.import(row).await
    }

    async fn claim(&self, digest: Digest, ttl: Duration) -> Result<Claimed> {
        self.backend.claim(digest, ttl).await
    }

    async fn unclaim(&self, digest: Digest) -> Result<()> {
        self.backend.unclaim(digest).await
    }

    async fn put_once(&self, digest: Digest, sealed: &[u8], ttl: Duration) -> Result<()> {
        self.backend.put_once(digest, sealed, ttl).await
    }

    async fn take_once(&self, digest: Digest) -> Result<Option<Vec<u8>>> {
        self.backend.take_once(digest).await
    }

    async fn remove_expired(&self) -> Result<u64> {
        self.backend.remove_expired().await
    }

    async fn ping(&self) -> Result<()> {
        self.backend.ping().await
    }

    fn watch(&self) -> BoxStream<'static, Signal> {
        self.backend.watch()
    }
}

async fn swap_without_order(
    backend: &Arc<dyn SessionBackend>,
    (store, id): (&SealedStore, SessionId),
    expected: u64,
    sealed: Vec<u8>,
    lease: LeaseAfter,
) -> Result<Swapped> {
    let Some(row) = backend.load(id.key()).await? else { return Ok(Swapped::Gone) };
    let opened = store.open(&id, Row { tokens: sealed.into(), tokens_version: expected + 1, ..row });
    let tokens: TokenSet = serde_json::from_slice(opened.tokens()?.expose()).expect("tokens are ours");
    let tokens = serde_json::to_vec(&TokenSet { asked_at: 0, ..tokens }).expect("tokens are plain data");
    store.swap_tokens(&id, expected, &tokens, lease).await
}

async fn version(backend: &Arc<dyn SessionBackend>, key: SessionKey) -> u64 {
    backend.load(key).await.ok().flatten().map_or(0, |row| row.tokens_version)
}
