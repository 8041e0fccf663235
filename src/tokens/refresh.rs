//! Renewing an access token: once per process and session, by a task that no client can cancel, stored before it is used.
//!
//! The row's lease keeps other replicas from sending the same refresh token; the version decides what is stored.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::flights::{Flights, Interim};
use super::{Error, Options};
use crate::oidc::{self, Identity, RelyingParty, TokenSet};
use crate::secret::Secret;
use crate::session::{Loaded, Sessions};
use crate::store::{self, Lease, LeaseAfter, Reason, SessionId, SessionKey, Swapped, Taken, Updated};

/// The calls to the provider that a renewal makes. [`RelyingParty`]'s, and those of the model that the protocol is checked with.
pub(super) trait TokenEndpoint: Clone + fmt::Debug + Send + Sync + 'static {
    /// Fetches what has to be known before a refresh token can be sent. Sends none.
    fn prepare(&self) -> impl Future<Output = Result<(), oidc::Error>> + Send;

    /// See [`RelyingParty::refresh`]. One request, over within the provider's timeout.
    fn refresh(
        &self,
        tokens: &TokenSet,
        refresh_token: &Secret<String>,
        identity: &Identity,
    ) -> impl Future<Output = Result<TokenSet, oidc::Error>> + Send;

    /// See [`RelyingParty::revoke`].
    fn revoke(&self, refresh_token: &Secret<String>) -> impl Future<Output = Result<(), oidc::Error>> + Send;
}

/// Renews tokens of one frontend's sessions.
#[derive(Clone, Debug)]
pub(super) struct Refresher<E = RelyingParty> {
    pub(super) sessions: Sessions,
    pub(super) endpoint: E,
    pub(super) options: Options,
    pub(super) flights: Arc<Flights<SessionKey, Outcome>>,
}

/// What a renewal came to, for everybody who waited for it.
pub(super) type Outcome = Result<TokenSet, Failure>;

/// Why there is no renewed token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The session is over.
    Ended,
    /// The provider cannot be asked now.
    Provider,
    /// The store cannot be asked now.
    Store,
}

impl Failure {
    /// It passes, and says nothing about the session.
    pub(super) fn is_outage(self) -> bool {
        self != Self::Ended
    }
}

impl<E: TokenEndpoint> Refresher<E> {
    /// Renewed tokens of a session, by whoever renews them first. Who waits longer than `patience` gets an outage; the work goes on.
    pub(super) async fn renew(&self, loaded: &Loaded, patience: Duration) -> Outcome {
        let (this, id) = (self.clone(), loaded.id);
        let flight = self.flights.join(loaded.key(), move |interim| async move { this.run(id, &interim).await });
        // A flight that panicked is an outage of ours; nobody is logged out for it.
        let lost = Err(Failure::Store);
        tokio::time::timeout(patience, flight).await.unwrap_or(Some(Err(Failure::Provider))).unwrap_or(lost)
    }

    /// Waits until no renewal is under way.
    pub(super) async fn drain(&self) {
        self.flights.drain().await;
    }

    async fn run(&self, id: SessionId, interim: &Interim<Outcome>) -> Outcome {
        let store = self.sessions.store();
        for _ in 0..self.polls() {
            // What was read before the flight may be old: another replica may have renewed the tokens since.
            let loaded = self.read(id).await?;
            let tokens = loaded.tokens();
            let Some(refresh_token) = tokens.refresh.as_ref().filter(|_| tokens.access.is_due(self.sessions.now()))
            else {
                return Ok(tokens.clone());
            };
            if let Err(error) = self.endpoint.prepare().await {
                tracing::warn!(session = %loaded.key().tag(), %error, "could not refresh");
                return Err(Failure::Provider);
            }
            let taken = store.take_lease(loaded.key(), loaded.tokens_version(), self.options.lease).await;
            match taken.map_err(|error| outage(&error))? {
                Taken::Taken(lease) => return self.refresh(&loaded, refresh_token, &lease, interim).await,
                Taken::Held(_) => tokio::time::sleep(POLL).await,
                Taken::Moved => {}
                Taken::Gone => return Err(Failure::Ended),
            }
        }
        Err(Failure::Provider)
    }

    async fn refresh(
        &self,
        loaded: &Loaded,
        refresh_token: &Secret<String>,
        lease: &Lease,
        interim: &Interim<Outcome>,
    ) -> Outcome {
        let work = self.endpoint.refresh(loaded.tokens(), refresh_token, loaded.user.identity());
        match self.under(lease, work).await {
            Ok(renewed) => self.store(loaded, renewed, lease, interim).await,
            Err(error) if is_final(&error) => self.refused(loaded, lease, &error).await,
            Err(error) => {
                tracing::warn!(session = %loaded.key().tag(), %error, "could not refresh");
                let _ = self.sessions.store().release_lease(lease).await;
                Err(Failure::Provider)
            }
        }
    }

    /// The refresh token is dead, and so is the session, unless somebody stored newer tokens meanwhile.
    async fn refused(&self, loaded: &Loaded, lease: &Lease, error: &oidc::Error) -> Outcome {
        let ended = self.sessions.store().remove_if(&loaded.id, lease.version, Reason::RefreshRefused).await;
        match ended.map_err(|error| outage(&error))? {
            Updated::Moved => Ok(self.read(loaded.id).await?.tokens().clone()),
            Updated::Updated | Updated::Gone => {
                tracing::info!(session = %loaded.key().tag(), %error, "the provider ended the session's tokens");
                Err(Failure::Ended)
            }
        }
    }

    async fn read(&self, id: SessionId) -> Result<Loaded, Failure> {
        self.sessions.load(id).await.map_err(|error| outage(&error))?.ok_or(Failure::Ended)
    }

    /// Keeps the lease alive while `work` goes on: a provider call may take longer than a lease lasts.
    async fn under<T>(&self, lease: &Lease, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let ttl = self.options.lease;
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(ttl / 3) => {
                    // Whatever comes of it, the request is on its way and its answer must be stored; the version decides then.
                    let _ = self.sessions.store().renew_lease(lease, ttl).await;
                }
            }
        }
    }

    /// Stores renewed tokens before anybody uses them. A rotated refresh token has no copy anywhere else, so a store that is down is
    /// tried again for [`STORING`]. Nobody waits for that: they hear of the outage at once.
    async fn store(&self, loaded: &Loaded, renewed: TokenSet, lease: &Lease, interim: &Interim<Outcome>) -> Outcome {
        let plain = Secret::new(serde_json::to_vec(&renewed).expect("tokens are plain data"));
        let (store, started) = (self.sessions.store(), Instant::now());
        loop {
            match store.swap_tokens(&loaded.id, lease.version, plain.expose(), LeaseAfter::Release).await {
                Ok(Swapped::Swapped) => return Ok(renewed),
                Ok(Swapped::Gone) => return self.without_row(loaded, renewed).await,
                // An earlier try of ours may have been written although it was not answered.
                Ok(Swapped::Moved) => return self.moved(loaded, renewed).await,
                Err(error) if started.elapsed() > STORING => return Err(outage(&error)),
                Err(error) => {
                    interim.publish(Err(outage(&error)));
                    tokio::time::sleep(STORE_PAUSE).await;
                }
            }
        }
    }

    /// The session ended while its token was renewed: the new token must not outlive it. If a newer login of the same person took
    /// its place, the token is discarded instead: revoking it would end the whole grant at many providers, the new tokens included.
    async fn without_row(&self, loaded: &Loaded, renewed: TokenSet) -> Outcome {
        if self.sessions.load(loaded.id).await.map_err(|error| outage(&error))?.is_some() {
            return Ok(renewed);
        }
        if let Some(refresh_token) = &renewed.refresh
            && let Err(error) = self.endpoint.revoke(refresh_token).await
        {
            tracing::warn!(%error, "a renewed refresh token could not be revoked and lives until it runs out");
        }
        Err(Failure::Ended)
    }

    async fn moved(&self, loaded: &Loaded, renewed: TokenSet) -> Outcome {
        let tokens = self.read(loaded.id).await?.tokens().clone();
        if tokens.access.value != renewed.access.value {
            tracing::error!(session = %loaded.key().tag(), "tokens were written under our lease");
        }
        Ok(tokens)
    }

    fn polls(&self) -> u128 {
        (self.options.lease.as_millis() * 2 / POLL.as_millis()).max(1)
    }
}

impl TokenEndpoint for RelyingParty {
    async fn prepare(&self) -> Result<(), oidc::Error> {
        RelyingParty::prepare(self).await
    }

    async fn refresh(
        &self,
        tokens: &TokenSet,
        refresh_token: &Secret<String>,
        identity: &Identity,
    ) -> Result<TokenSet, oidc::Error> {
        RelyingParty::refresh(self, tokens, refresh_token, identity).await
    }

    async fn revoke(&self, refresh_token: &Secret<String>) -> Result<(), oidc::Error> {
        RelyingParty::revoke(self, refresh_token).await
    }
}

/// Whether an answer says that the refresh token is dead, or speaks of somebody else. Nothing else ends a session.
fn is_final(error: &oidc::Error) -> bool {
    match error {
        oidc::Error::TokenEndpoint(code) => code.as_str() == "invalid_grant",
        oidc::Error::IdToken(_) => true,
        _ => false,
    }
}

fn outage(error: &store::Error) -> Failure {
    tracing::warn!(%error, "the store failed during a refresh");
    Failure::Store
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Ended => Self::SessionExpired,
            Failure::Provider => Self::ProviderUnavailable,
            Failure::Store => Self::StoreUnavailable,
        }
    }
}

const POLL: Duration = Duration::from_millis(50);
const STORING: Duration = Duration::from_secs(30);
const STORE_PAUSE: Duration = Duration::from_millis(250);
