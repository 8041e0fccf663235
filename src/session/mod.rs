//! Who the browser is: our own session, opened by a login and kept apart from the provider's.
//!
//! `Sessions` has the verbs. A session is one row with two halves; this module reads and writes the *session half* and hands the
//! *tokens half* on to `tokens`.

mod cookies;
mod device;
mod endings;
mod establish;
mod following;
mod login_attempts;
mod own;
#[cfg(any(test, feature = "test-util"))]
pub(crate) mod properties;
mod recent;
mod return_to;
mod since;
mod step_up;
#[cfg(test)]
mod tests;
mod upkeep;
mod user;

use std::num::NonZeroU32;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::HeaderValue;
use tokio_util::sync::CancellationToken;

#[cfg(any(test, feature = "test-util"))]
pub(crate) use cookies::Slotted;
pub(crate) use cookies::{CookiePolicy, Life};
pub(crate) use device::Device;
pub(crate) use establish::{EstablishError, Established, Limits};
pub(crate) use following::{Follower, Happening, UsedSession};
pub(crate) use login_attempts::{Attempt, LoginAttempts, ParkedResponse};
pub(crate) use own::OwnSession;
use recent::{Recent, Tokens};
pub(crate) use return_to::{Place, ReturnTo, origin};
pub(crate) use since::Since;
#[cfg(feature = "server")]
pub(crate) use upkeep::{KeyRole, Stats};
pub(crate) use upkeep::{Known, Meant, Upkeep, UpkeepError, Whose};
pub use user::UserSession;

use crate::clock::{Clock, Timestamp};
use crate::oidc::{ProviderOptions, TokenSet};
use crate::store::{self, Opened, Reason, SealedStore, SessionId, SessionKey, Term, Updated, Watching};

/// Limits and names of sessions.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// A session that is not used for this long ends.
    pub idle: Duration,
    /// A session ends this long after its login, used or not.
    pub absolute: Duration,
    /// The same for logins with `remember=true`.
    pub remember_absolute: Duration,
    /// The cookie's name without prefix.
    pub cookie_name: String,
    /// How many live sessions one subject may have; none means no limit.
    pub max_per_subject: Option<NonZeroU32>,
}

impl Default for Options {
    fn default() -> Self {
        const MINUTE: u64 = 60;
        Self {
            idle: Duration::from_secs(30 * MINUTE),
            absolute: Duration::from_secs(12 * 60 * MINUTE),
            remember_absolute: Duration::from_secs(30 * 24 * 60 * MINUTE),
            cookie_name: "cloakroom".to_owned(),
            max_per_subject: None,
        }
    }
}

/// The sessions of one frontend.
#[derive(Clone, Debug)]
pub(crate) struct Sessions(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    store: SealedStore,
    options: Arc<Options>,
    provider: Arc<ProviderOptions>,
    clock: Arc<dyn Clock>,
    watching: Watching,
    recent: Recent,
}

/// A live session as it was read.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) id: SessionId,
    pub(crate) user: Arc<UserSession>,
    tokens: Arc<Tokens>,
    opened: Opened,
}

/// What using a session does to its idle limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touch {
    /// It starts anew.
    Extend,
    /// It stays.
    Leave,
}

impl Deref for Sessions {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Sessions {
    pub(crate) fn new(
        store: SealedStore,
        options: Arc<Options>,
        provider: Arc<ProviderOptions>,
        clock: Arc<dyn Clock>,
        watching: Watching,
    ) -> Self {
        Self(Arc::new(Inner { store, options, provider, clock, watching, recent: Recent::default() }))
    }

    /// The store behind, for small sealed things and claims.
    pub(crate) fn store(&self) -> &SealedStore {
        &self.store
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The session with this id, if it lives. One that is past a limit, or of which a half does not open, is ended here. One of another
    /// provider or client than this frontend has is left alone: a replica with the earlier configuration may still serve it.
    ///
    /// # Errors
    /// `Unavailable` only: an outage is not an absence.
    pub(crate) async fn load(&self, id: SessionId) -> Result<Option<Loaded>, store::Error> {
        let found = pin!(self.store.load(&id)).await;
        let now = self.now();
        let read = |found: Option<Opened>| found.map(|opened| self.recent.read(id, opened, now)).transpose();
        let loaded = match found.and_then(read) {
            Ok(None) => return Ok(None),
            Ok(Some(loaded)) => loaded,
            Err(store::Error::Corrupt(what)) => {
                self.end_unreadable(id.key(), what).await?;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if !self.is_ours(&loaded.user) {
            return Ok(None);
        }
        if loaded.user.is_over(now, self.options.idle) {
            self.store.remove_key(id.key(), Reason::Expired).await?;
            return Ok(None);
        }
        Ok(Some(loaded))
    }

    /// Notes that a session was used: at most once per twentieth of the idle time, and never for a retired one. One of which a part
    /// does not open when it is sealed anew is ended here; like one that ended meanwhile it was let in before.
    ///
    /// # Errors
    /// `Unavailable` only.
    pub(crate) async fn touch(&self, loaded: &mut Loaded) -> Result<(), store::Error> {
        let now = self.now();
        if loaded.opened.retired || now.since(loaded.user.last_seen_at()) < self.options.idle / 20 {
            return Ok(());
        }
        let seen = loaded.user.seen_at(now);
        let life = self.row_life(&seen);
        match self.store.touch(&loaded.opened, &seen.write(), life, &terms(&seen)).await {
            Ok(Updated::Updated) => loaded.user = Arc::new(seen),
            Ok(Updated::Moved | Updated::Gone) => {}
            Err(store::Error::Corrupt(what)) => self.end_unreadable(loaded.key(), what).await?,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Ends a session, the predecessor it may have, and what took its place meanwhile. Answers its newest tokens, so that they can be
    /// revoked.
    ///
    /// # Errors
    /// `Unavailable`: the session has not ended, or nobody knows.
    pub(crate) async fn end(&self, loaded: &Loaded, reason: Reason) -> Result<Option<TokenSet>, store::Error> {
        // First, so that who is told of an outage here still has the session to end.
        if let Some(predecessor) = loaded.user.predecessor() {
            self.store.remove_key(predecessor, reason).await?;
        }
        if loaded.is_retired() {
            self.end_successors(&loaded.user, reason).await?;
        }
        let removed = self.store.remove(&loaded.id, reason).await?;
        self.recent.forget(&loaded.key());
        tracing::info!(session = %loaded.opened.key.tag(), ?reason, "session ended");
        Ok(removed.as_ref().and_then(tokens_of))
    }

    /// Wipes from memory, about once a minute until `shutdown`, what sessions held that nobody uses.
    pub(crate) async fn forget_unused_until(self, shutdown: CancellationToken) {
        let minutes = async || self.wait_until(self.now() + Recent::UNUSED).await;
        while shutdown.run_until_cancelled(minutes()).await.is_some() {
            self.recent.forget_unused(self.now());
        }
    }

    /// Ends the row of a session that was not loaded: its browser forgets it, and nobody else could end it. Whether there was one.
    ///
    /// # Errors
    /// `Unavailable`: it has not ended, or nobody knows.
    pub(crate) async fn end_unloaded(&self, id: SessionId, reason: Reason) -> store::Result<bool> {
        self.store.remove_key(id.key(), reason).await
    }

    /// Whether a session that was read is within its limits, and of the provider and client that this frontend has now.
    pub(crate) fn is_live(&self, user: &UserSession) -> bool {
        self.is_ours(user) && !user.is_over(self.now(), self.options.idle)
    }

    /// Subjects, terms and tokens mean something at the issuer and client they came from, and nowhere else.
    fn is_ours(&self, user: &UserSession) -> bool {
        let (identity, scope) = (user.identity(), self.store.scope());
        identity.issuer == scope.issuer && identity.client_id == scope.client_id
    }

    /// How long a session has left: the smaller of what its limits leave.
    pub(crate) fn time_left(&self, user: &UserSession) -> Duration {
        self.over_at(user).since(self.now())
    }

    /// Follows a session to its end.
    pub(crate) fn follow(&self, id: SessionId) -> Follower {
        Follower::new(self.clone(), id)
    }

    /// Why the session with this tag ended, if it was lately and this process heard of it.
    pub(crate) fn why_ended(&self, tag: &str) -> Option<Reason> {
        self.watching.why_ended(tag)
    }

    /// Waits until it is `time`, by the clock that judges limits.
    pub(crate) fn wait_until(&self, time: Timestamp) -> BoxFuture<'static, ()> {
        self.clock.wait_until(time)
    }

    /// When a session ends if nobody uses it.
    pub(crate) fn idle_ends_at(&self, user: &UserSession) -> Timestamp {
        user.idle_ends_at(self.options.idle)
    }

    fn over_at(&self, user: &UserSession) -> Timestamp {
        self.idle_ends_at(user).min(user.ends_at())
    }

    /// Of callers that come upon the row at the same time the one that ends it tells the log.
    async fn end_unreadable(&self, key: SessionKey, what: &'static str) -> Result<(), store::Error> {
        if self.store.remove_key(key, Reason::Unreadable).await? {
            tracing::error!(session = %key.tag(), what, "a session does not open and is ended");
        }
        Ok(())
    }

    /// Rows outlive their limits a little, so that it is our clock that judges them.
    fn row_life(&self, user: &UserSession) -> Duration {
        self.time_left(user) + ROW_SLACK
    }
}

impl Loaded {
    /// The row's key.
    pub(crate) fn key(&self) -> SessionKey {
        self.opened.key
    }

    /// Counts the writes of the tokens half.
    pub(crate) fn tokens_version(&self) -> u64 {
        self.opened.version
    }

    /// A newer login took this session's place; it answers a little longer, and its tokens may not be refreshed.
    pub(crate) fn is_retired(&self) -> bool {
        self.opened.retired
    }

    /// Whether it took the place of the session with this tag.
    pub(crate) fn succeeds(&self, tag: &str) -> bool {
        self.user.predecessor().is_some_and(|predecessor| predecessor.tag() == tag)
    }

    /// The tokens.
    pub(crate) fn tokens(&self) -> &TokenSet {
        &self.tokens.set
    }

    /// The access token as a call carries it.
    pub(crate) fn bearer(&self) -> &HeaderValue {
        self.tokens.bearer.get_or_init(|| self.tokens.set.access.bearer())
    }
}

fn tokens_of(opened: &Opened) -> Option<TokenSet> {
    serde_json::from_slice(opened.tokens().ok()?.expose()).ok()
}

/// What a session can be found by without its cookie.
fn terms(user: &UserSession) -> Vec<Term<'_>> {
    let subject = user.subject();
    match user.sid() {
        Some(sid) => vec![Term::Subject(subject), Term::Sid(sid)],
        None => vec![Term::Subject(subject), Term::SubjectWithoutSid(subject)],
    }
}

const ROW_SLACK: Duration = Duration::from_mins(2);
