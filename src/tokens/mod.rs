//! What the browser may do: from a session to the token that one call needs.

mod brakes;
mod flights;
mod refresh;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

use self::flights::Flights;
use self::refresh::{Cause, Failure, Refresher};
use crate::oidc::{Demand, RelyingParty};
use crate::secret::Secret;
use crate::session::{Loaded, Sessions};
use crate::store::{self, SessionId};

/// Limits of token renewal.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Options {
    /// How long the right to use a refresh token lasts, unless it is renewed.
    pub lease: Duration,
    /// Deadline of one call to the provider.
    pub provider_timeout: Duration,
    /// How long a call waits for a renewal if it has no token to go on with.
    pub patience: Duration,
}

impl Options {
    /// Renewal under leases of this length. Calls wait as long as one call to the provider may take, and a look at the store before
    /// and after it.
    pub fn new(lease: Duration, provider_timeout: Duration, store_timeout: Duration) -> Self {
        Self { lease, provider_timeout, patience: provider_timeout + 2 * store_timeout }
    }
}

/// Which token a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenPolicy {
    /// A live session and its access token, or 401.
    Required,
    /// The access token if there is a session; anonymous without one. A dead session is 401 all the same.
    Optional,
    /// No token is sent.
    None,
}

/// What goes on the outgoing request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Grant {
    /// No token.
    None,
    /// `Authorization: Bearer …`, ready to send and marked sensitive.
    Bearer(HeaderValue),
}

/// Why a call gets no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no session, and the call needs one.
    #[error("there is no session")]
    NotAuthenticated,
    /// The session is over, or its token has run out and cannot be renewed.
    #[error("the session or its token has run out")]
    SessionExpired,
    /// The session's login does not meet the demand.
    #[error("the login was too weak or is too old")]
    StepUpRequired {
        /// `step_up` of the login link that leads to where it does.
        step_up: Secret<String>,
    },
    /// The token has run out and the provider cannot be asked now.
    #[error("the provider is unavailable")]
    ProviderUnavailable {
        /// It is not asked again before this has passed.
        retry_after: Duration,
    },
    /// The store cannot be asked now.
    #[error("the store is unavailable")]
    StoreUnavailable(#[source] Option<store::Error>),
}

/// Gives out the access tokens of one frontend's sessions, renewed when they are due.
#[derive(Clone, Debug)]
pub(crate) struct AccessTokens {
    sessions: Sessions,
    options: Options,
    refresher: Refresher,
}

impl AccessTokens {
    pub(crate) fn new(sessions: Sessions, relying_party: RelyingParty, options: Options) -> Self {
        let refresher = Refresher {
            sessions: sessions.clone(),
            endpoint: relying_party,
            options,
            flights: Arc::new(Flights::new()),
            brakes: Arc::default(),
        };
        Self { sessions, options, refresher }
    }

    /// What a call under `policy` may carry, if the session's login meets `demand`. Notes that the session was used.
    ///
    /// # Errors
    /// See [`Error`]. A cookie whose session is dead is `SessionExpired` also where no session is needed, never silently anonymous,
    /// except under [`TokenPolicy::None`] without `session_required`, which does not look at sessions at all. A demand is made of
    /// sessions only.
    pub(crate) async fn grant(
        &self,
        session: Option<SessionId>,
        policy: TokenPolicy,
        session_required: bool,
        demand: &Demand,
    ) -> Result<Grant, Error> {
        let needed = policy == TokenPolicy::Required || session_required;
        if policy == TokenPolicy::None && !session_required {
            return Ok(Grant::None);
        }
        let Some(id) = session else {
            return if needed { Err(Error::NotAuthenticated) } else { Ok(Grant::None) };
        };
        let loaded = pin!(self.sessions.load(id)).await.map_err(|error| Error::StoreUnavailable(Some(error)))?;
        let mut loaded = loaded.ok_or(Error::SessionExpired)?;
        if !self.sessions.meets(&loaded.user, demand) {
            return Err(Error::StepUpRequired { step_up: self.sessions.step_up(&loaded.user, demand.clone()) });
        }
        let grant = match policy {
            TokenPolicy::None => Grant::None,
            TokenPolicy::Required | TokenPolicy::Optional => Grant::Bearer(pin!(self.fresh(&loaded)).await?),
        };
        pin!(self.sessions.touch(&mut loaded)).await.map_err(|error| Error::StoreUnavailable(Some(error)))?;
        Ok(grant)
    }

    /// Another grant than `used`, which an API does not accept (RFC 6750 §3.1, `invalid_token`). The newest, if `used` is not. Otherwise
    /// it is renewed if it is older than [`YOUNG`], and at most once a minute, so that an API that accepts no token does not wear out
    /// the provider; who comes while it is being renewed waits for that. Nothing if there is none to be had.
    ///
    /// # Errors
    /// `SessionExpired`, `StoreUnavailable`.
    pub(crate) async fn instead_of(&self, used: &Grant, id: SessionId) -> Result<Option<Grant>, Error> {
        let loaded = self.load(id).await?;
        if let Some(newer) = newer(&loaded, used) {
            return Ok(Some(newer));
        }
        let access = &loaded.tokens().access;
        if self.sessions.now().since(access.received_at) < YOUNG || !is_renewable(&loaded) {
            return Ok(None);
        }
        match self.refresher.renew(&loaded, Cause::Refused(access.value.clone()), self.options.patience).await {
            Ok(renewed) => Ok(Some(Grant::Bearer(renewed.access.bearer())).filter(|grant| grant != used)),
            Err(Failure::Ended) => Err(Error::SessionExpired),
            // Somebody may have renewed it since the row was read, and that is why it may not be done again.
            Err(Failure::Provider(_) | Failure::Store) => Ok(newer(&self.load(id).await?, used)),
        }
    }

    /// Waits until no renewal is under way, or [`LAST_WAIT`] longer than a call would: a store that is still down then gets no more
    /// tokens from this process.
    pub(crate) async fn drain(&self) {
        if tokio::time::timeout(self.options.patience + LAST_WAIT, self.refresher.drain()).await.is_err() {
            tracing::error!(
                "renewed tokens could not be stored before the end; their sessions are lost at a provider without grace"
            );
        }
    }

    async fn load(&self, id: SessionId) -> Result<Loaded, Error> {
        let loaded = self.sessions.load(id).await.map_err(|error| Error::StoreUnavailable(Some(error)))?;
        loaded.ok_or(Error::SessionExpired)
    }

    async fn fresh(&self, loaded: &Loaded) -> Result<HeaderValue, Error> {
        let now = self.sessions.now();
        let access = &loaded.tokens().access;
        let is_over = access.is_over(now);
        if !access.is_due(now) || !is_renewable(loaded) {
            return if is_over { Err(Error::SessionExpired) } else { Ok(loaded.bearer().clone()) };
        }
        let patience = if is_over { self.options.patience } else { BRIEF };
        match Box::pin(self.refresher.renew(loaded, Cause::Due, patience)).await {
            Ok(renewed) => Ok(renewed.access.bearer()),
            // An outage does not matter while the old token lives.
            Err(failure) if failure.is_outage() && !is_over => Ok(loaded.bearer().clone()),
            Err(failure) => Err(failure.into()),
        }
    }
}

impl Grant {
    /// Puts the token on a request. What stood there before is gone either way.
    pub(crate) fn attach(&self, headers: &mut HeaderMap) {
        headers.remove(header::AUTHORIZATION);
        if let Self::Bearer(value) = self {
            headers.insert(header::AUTHORIZATION, value.clone());
        }
    }
}

/// What the session's calls carry now, if it is something else.
fn newer(loaded: &Loaded, used: &Grant) -> Option<Grant> {
    Some(Grant::Bearer(loaded.bearer().clone())).filter(|newest| newest != used)
}

fn is_renewable(loaded: &Loaded) -> bool {
    loaded.tokens().refresh.is_some() && !loaded.is_retired()
}

/// How long a call whose token still lives waits for a newer one.
const BRIEF: Duration = Duration::from_secs(1);
/// A token that was received since is not renewed because an API refuses it: another reason is likelier.
const YOUNG: Duration = Duration::from_secs(10);
const LAST_WAIT: Duration = Duration::from_secs(30);
