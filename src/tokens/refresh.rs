//! Renewing an access token: one grant per rotation, whatever happens.
//!
//! `docs/decisions/0010` explains the protocol on one page; its steps are numbered here alike. Once per process and session, in a
//! task that no client can cancel (1); under the row's lease, which keeps other replicas from sending the same refresh token (2, 3);
//! stored before it is used, where the version alone decides (4); a session ends only if the provider says that its refresh token is
//! dead (5, 6); failures brake (7).

mod endpoint;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub(super) use self::endpoint::TokenEndpoint;
use self::endpoint::Verdict;
use super::brakes::{Braked, Brakes};
use super::flights::{Flights, Interim};
use super::{Error, Options};
use crate::metric::{self, Refresh};
use crate::oidc::{self, RelyingParty, TokenSet};
use crate::secret::Secret;
use crate::session::{Loaded, Sessions};
use crate::store::{self, Lease, LeaseAfter, Reason, SessionId, SessionKey, Swapped, Taken, Updated};

/// Renews tokens of one frontend's sessions.
#[derive(Clone, Debug)]
pub(super) struct Refresher<E = RelyingParty> {
    pub(super) sessions: Sessions,
    pub(super) endpoint: E,
    pub(super) options: Options,
    pub(super) flights: Arc<Flights<SessionKey, Outcome>>,
    pub(super) brakes: Arc<Brakes>,
}

/// What a renewal came to, for everybody who waited for it.
pub(super) type Outcome = Result<TokenSet, Failure>;

/// Why there is no renewed token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The session is over.
    Ended,
    /// The provider cannot be asked now, and not before this time has passed.
    Provider(Duration),
    /// The store cannot be asked now.
    Store,
}

/// Why a token is renewed.
#[derive(Clone, Debug)]
pub(super) enum Cause {
    /// It runs out.
    Due,
    /// An API does not accept this one any more.
    Refused(Secret<String>),
}

/// The right to send the refresh token, and since when we know that we have it.
struct Held {
    lease: Lease,
    /// Our own clock before the store was asked: the lease runs at least this much longer than the store says.
    confirmed: Instant,
}

/// What a step came to, if it did not come to tokens.
enum Stop {
    /// Somebody else changed the row: read it again.
    Moved,
    Failed(Failure),
}

impl Failure {
    /// It passes, and says nothing about the session.
    pub(super) fn is_outage(self) -> bool {
        self != Self::Ended
    }
}

impl<E: TokenEndpoint> Refresher<E> {
    /// Renewed tokens of a session, by whoever renews them first. Who waits longer than `patience` gets an outage; the work goes on.
    /// For a refused token one is started at most once per [`FORCED_EVERY`]; none in its place is an outage, too.
    pub(super) async fn renew(&self, loaded: &Loaded, cause: Cause, patience: Duration) -> Outcome {
        if let Some(wait) = self.brakes.wait(loaded.key(), self.sessions.now()) {
            return Err(Failure::Provider(wait)); // step 7
        }
        let (this, id, key) = (self.clone(), loaded.id, loaded.key());
        let flight = self.flights.join(key, move |interim| {
            let may_start = this.may_start(key, &cause);
            may_start.then_some(async move { this.run(id, &cause, &interim).await })
        });
        // A flight that panicked is an outage of ours; nobody is logged out for it.
        let lost = Err(Failure::Store);
        tokio::time::timeout(patience, flight).await.unwrap_or(Some(Err(Failure::Provider(SOON)))).unwrap_or(lost)
    }

    fn may_start(&self, session: SessionKey, cause: &Cause) -> bool {
        match cause {
            Cause::Due => true,
            Cause::Refused(_) => self.brakes.take(Braked::Forced(session), self.sessions.now(), FORCED_EVERY),
        }
    }

    /// Waits until no renewal is under way.
    pub(super) async fn drain(&self) {
        self.flights.drain().await;
    }

    /// Step 2: takes the lease, or waits for what its holder stores.
    async fn run(&self, id: SessionId, cause: &Cause, interim: &Interim<Outcome>) -> Outcome {
        let deadline = Instant::now() + 2 * (self.options.lease + self.options.provider_timeout);
        let mut pause = FIRST_POLL;
        while Instant::now() < deadline {
            // What was read before the flight may be old: another replica may have renewed the tokens since.
            let loaded = self.read(id).await?;
            let Some(refresh_token) = self.to_send(&loaded, cause) else { return Ok(loaded.tokens().clone()) };
            self.endpoint.prepare().await.map_err(|error| self.failed(&loaded, &error))?;
            let confirmed = Instant::now();
            let taken =
                self.sessions.store().take_lease(loaded.key(), loaded.tokens_version(), self.options.lease).await;
            match taken.map_err(|error| outage(&error))? {
                Taken::Taken(lease) => {
                    match self.lead(&loaded, refresh_token, Held { lease, confirmed }, interim).await {
                        Ok(tokens) => return Ok(tokens),
                        Err(Stop::Failed(failure)) => return Err(failure),
                        Err(Stop::Moved) => {}
                    }
                }
                Taken::Held(_) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LAST_POLL);
                }
                Taken::Moved => {}
                Taken::Gone => return Err(Failure::Ended),
            }
        }
        Err(Failure::Provider(SOON))
    }

    /// Steps 3 to 6, under the lease. An error other than a failure of the provider leaves the lease to run out: whoever takes it then
    /// knows that the token may have been sent.
    async fn lead(
        &self,
        loaded: &Loaded,
        refresh_token: &Secret<String>,
        mut held: Held,
        interim: &Interim<Outcome>,
    ) -> Result<TokenSet, Stop> {
        let mut suspect = loaded.tokens().suspect;
        if held.lease.after_expiry {
            self.outlast(loaded, &mut held).await?;
            suspect = true;
        }
        loop {
            if !self.holds(&mut held).await? {
                return Err(Stop::Moved);
            }
            let sent = self.endpoint.refresh(loaded.tokens(), refresh_token, loaded.user.identity());
            let error = match self.under(&held.lease, sent).await {
                Ok(renewed) => {
                    self.brakes.passed(loaded.key());
                    let renewed = TokenSet { asked_at: held.lease.version, ..renewed };
                    return self.under(&held.lease, self.store(loaded, renewed, &held.lease, interim)).await;
                }
                Err(error) => error,
            };
            match Verdict::of(&error) {
                Verdict::Dead => return self.refused(loaded, &held.lease, suspect, &error).await,
                Verdict::Unknown if !suspect => {
                    self.mark(loaded, &mut held).await?;
                    suspect = true; // and once more, at once: a provider with grace answers
                }
                Verdict::Unknown | Verdict::Untouched => {
                    let _ = self.sessions.store().release_lease(&held.lease).await;
                    return Err(Stop::Failed(self.failed(loaded, &error)));
                }
            }
        }
    }

    /// Step 2, after a holder that did not give its lease back: whatever it sent is over one provider timeout later. Then what it
    /// stored is there, or its token is suspect.
    async fn outlast(&self, loaded: &Loaded, held: &mut Held) -> Result<(), Stop> {
        tracing::info!(session = %loaded.key().tag(), "took over a renewal that was not finished");
        self.under(&held.lease, tokio::time::sleep(self.options.provider_timeout)).await;
        self.mark(loaded, held).await
    }

    /// Step 6: notes in the row that the refresh token may have been exchanged, and keeps the lease.
    async fn mark(&self, loaded: &Loaded, held: &mut Held) -> Result<(), Stop> {
        let marked = plain(&TokenSet { suspect: true, ..loaded.tokens().clone() });
        let store = self.sessions.store();
        match store.swap_tokens(&loaded.id, held.lease.version, marked.expose(), LeaseAfter::Keep).await {
            Ok(Swapped::Swapped) => {
                held.lease.version += 1;
                Ok(())
            }
            Ok(Swapped::Moved) => Err(Stop::Moved),
            Ok(Swapped::Gone) => Err(Stop::Failed(Failure::Ended)),
            Err(error) => Err(Stop::Failed(outage(&error))),
        }
    }

    /// Step 3: whether the lease runs by our own clock, so that what is sent now is the only one on its way.
    async fn holds(&self, held: &mut Held) -> Result<bool, Stop> {
        let ttl = self.options.lease;
        if held.confirmed.elapsed() < ttl / 2 {
            return Ok(true);
        }
        let asked = Instant::now();
        let renewed = self.sessions.store().renew_lease(&held.lease, ttl).await;
        let renewed = renewed.map_err(|error| Stop::Failed(outage(&error)))?;
        held.confirmed = asked;
        Ok(renewed == Updated::Updated && asked.elapsed() < ttl)
    }

    /// Keeps the lease alive while `work` goes on: a provider call may take longer than a lease lasts.
    async fn under<T>(&self, lease: &Lease, work: impl Future<Output = T>) -> T {
        let ttl = self.options.lease;
        let keep = async {
            loop {
                tokio::time::sleep(ttl / 3).await;
                // Whatever comes of it, the request is on its way and its answer must be stored; the version decides then.
                let _ = self.sessions.store().renew_lease(lease, ttl).await;
            }
        };
        tokio::select! {
            done = work => done,
            never = keep => never,
        }
    }

    /// Step 4: stores renewed tokens before anybody uses them. A rotated refresh token has no copy anywhere else, so a store that is
    /// down is tried again for [`STORING`]. Nobody waits for that: they hear of the outage at once.
    async fn store(
        &self,
        loaded: &Loaded,
        renewed: TokenSet,
        lease: &Lease,
        interim: &Interim<Outcome>,
    ) -> Result<TokenSet, Stop> {
        let (sealed, started) = (plain(&renewed), Instant::now());
        let (mut version, mut after) = (lease.version, LeaseAfter::Release);
        loop {
            match self.try_to_store(loaded, &renewed, &sealed, (version, after)).await {
                Ok(Stored::Done(tokens)) => {
                    metric::refreshed(Refresh::Renewed);
                    if after == LeaseAfter::Keep {
                        let _ = self.sessions.store().release_lease(lease).await; // if it is ours after all
                    }
                    return Ok(tokens);
                }
                // The lease that is there now may be another holder's.
                Ok(Stored::At(newer)) => (version, after) = (newer, LeaseAfter::Keep),
                Ok(Stored::Gone) => return self.without_row(renewed).await,
                Ok(Stored::Retired) => return Ok(renewed),
                Err(error) if started.elapsed() > STORING => {
                    tracing::error!(session = %loaded.key().tag(), "a renewed refresh token could not be stored and is lost");
                    return Err(Stop::Failed(outage(&error)));
                }
                Err(error) => {
                    if interim.publish(Err(Failure::Store)) {
                        tracing::warn!(session = %loaded.key().tag(), %error, "renewed tokens wait for the store");
                    }
                    tokio::time::sleep(STORE_PAUSE).await;
                }
            }
        }
    }

    async fn try_to_store(
        &self,
        loaded: &Loaded,
        renewed: &TokenSet,
        sealed: &Secret<Vec<u8>>,
        (version, after): (u64, LeaseAfter),
    ) -> store::Result<Stored> {
        let store = self.sessions.store();
        match store.swap_tokens(&loaded.id, version, sealed.expose(), after).await? {
            Swapped::Swapped => return Ok(Stored::Done(renewed.clone())),
            Swapped::Moved | Swapped::Gone => {}
        }
        let Some(now) = self.sessions.load(loaded.id).await? else { return Ok(Stored::Gone) };
        if now.is_retired() {
            return Ok(Stored::Retired);
        }
        // Another holder marked the token, or stored what it was answered: of two answers, that to the later request holds the token
        // that lives. If the row holds ours, an earlier try was written although it was not answered.
        if now.tokens().asked_at < renewed.asked_at {
            return Ok(Stored::At(now.tokens_version()));
        }
        Ok(Stored::Done(now.tokens().clone()))
    }

    /// The session ended while its token was renewed: the new token must not outlive it.
    async fn without_row(&self, renewed: TokenSet) -> Result<TokenSet, Stop> {
        if let Some(refresh_token) = &renewed.refresh
            && let Err(error) = self.endpoint.revoke(refresh_token).await
        {
            tracing::warn!(%error, "a renewed refresh token could not be revoked and lives until it runs out");
        }
        Err(Stop::Failed(Failure::Ended))
    }

    /// Step 5: the refresh token is dead, and so is the session, unless somebody stored newer tokens meanwhile.
    async fn refused(
        &self,
        loaded: &Loaded,
        lease: &Lease,
        suspect: bool,
        error: &oidc::Error,
    ) -> Result<TokenSet, Stop> {
        let reason = if suspect { Reason::RefreshLost } else { Reason::RefreshRefused };
        let ended = self.sessions.store().remove_if(&loaded.id, lease.version, reason).await;
        match ended.map_err(|error| Stop::Failed(outage(&error)))? {
            Updated::Moved => Err(Stop::Moved),
            Updated::Updated | Updated::Gone => {
                metric::refreshed(if suspect { Refresh::Lost } else { Refresh::Refused });
                tracing::info!(session = %loaded.key().tag(), %error, ?reason, "the provider ended the session's tokens");
                Err(Stop::Failed(Failure::Ended))
            }
        }
    }

    /// Step 7: notes that the provider gave no tokens.
    fn failed(&self, loaded: &Loaded, error: &oidc::Error) -> Failure {
        metric::refreshed(Refresh::Outage);
        let now = self.sessions.now();
        let of_session = self.brakes.failed(Braked::Session(loaded.key()), now);
        // An answer, however odd, is about this session. Only one that does not come, or would come to nobody, is about all.
        let is_down =
            matches!(error, oidc::Error::Unavailable { .. } | oidc::Error::Discovery(_) | oidc::Error::Keys(_));
        let pause = if is_down { self.brakes.failed(Braked::Provider, now).max(of_session) } else { of_session };
        tracing::warn!(session = %loaded.key().tag(), %error, again_in = ?pause, "could not refresh");
        Failure::Provider(pause)
    }

    /// The refresh token, if one is to be sent.
    fn to_send<'l>(&self, loaded: &'l Loaded, cause: &Cause) -> Option<&'l Secret<String>> {
        let (tokens, now) = (loaded.tokens(), self.sessions.now());
        let is_refused = matches!(cause, Cause::Refused(value) if *value == tokens.access.value);
        tokens.refresh.as_ref().filter(|_| !loaded.is_retired() && (is_refused || tokens.access.is_due(now)))
    }

    async fn read(&self, id: SessionId) -> Result<Loaded, Failure> {
        self.sessions.load(id).await.map_err(|error| outage(&error))?.ok_or(Failure::Ended)
    }
}

/// What became of renewed tokens.
enum Stored {
    /// These are in the row.
    Done(TokenSet),
    /// Something else was written meanwhile; the row is at this version now.
    At(u64),
    /// The row is not there.
    Gone,
    /// A newer login of the same person took its place. Its tokens are discarded, not revoked: that would end the whole grant at many
    /// providers, the new login's tokens included.
    Retired,
}

fn plain(tokens: &TokenSet) -> Secret<Vec<u8>> {
    Secret::new(serde_json::to_vec(tokens).expect("tokens are plain data"))
}

fn outage(error: &store::Error) -> Failure {
    metric::refreshed(Refresh::Outage);
    tracing::warn!(%error, "the store failed during a refresh");
    Failure::Store
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Ended => Self::SessionExpired,
            Failure::Provider(retry_after) => Self::ProviderUnavailable { retry_after },
            Failure::Store => Self::StoreUnavailable(None),
        }
    }
}

/// How often a holder's progress is looked for: soon at first.
const FIRST_POLL: Duration = Duration::from_millis(25);
const LAST_POLL: Duration = Duration::from_millis(200);
/// How long a token that is only in memory is kept for a store that is down.
const STORING: Duration = Duration::from_mins(10);
const STORE_PAUSE: Duration = Duration::from_millis(250);
/// Between two renewals of a session that are made because an API refuses its token.
const FORCED_EVERY: Duration = Duration::from_mins(1);
/// When to ask again, if nothing better is known.
const SOON: Duration = Duration::from_secs(1);

#[cfg(test)]
mod model;
