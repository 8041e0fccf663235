//! One's own sessions: those of one person at one frontend, seen and ended from any of them.
//!
//! Only the caller's cookie is here. The others are found by their subject and known by their cards; their tokens do not open, so
//! they are discarded with the row and not revoked.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::user::Card;
use super::{Device, Loaded, Sessions};
use crate::clock::Timestamp;
use crate::store::{self, Reason, SessionKey, Term};

/// A session of the caller's own, as its card and its row tell of it.
#[derive(Debug)]
pub(crate) struct OwnSession {
    pub(crate) created_at: Timestamp,
    /// When it was last used, to a twentieth of the idle time, by the store's clock.
    pub(crate) last_seen_at: Timestamp,
    pub(crate) device: Option<Device>,
    /// It is the caller's, or took its place.
    pub(crate) is_current: bool,
    key: SessionKey,
    predecessor: Option<SessionKey>,
    remember: bool,
    ends_at: Option<Timestamp>,
}

impl Sessions {
    /// The caller's live sessions at this frontend, oldest first.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(crate) async fn own(&self, caller: &Loaded) -> store::Result<Vec<OwnSession>> {
        let now = self.now();
        let is_over = |own: &OwnSession| {
            let idle_ends = (!own.remember).then(|| own.last_seen_at + self.options.idle);
            [own.ends_at, idle_ends].into_iter().flatten().any(|end| end <= now)
        };
        let mut own = self.find_own(caller).await?;
        // The row outlives its limits a little.
        own.retain(|own| own.is_current || !is_over(own));
        Ok(own)
    }

    /// Ends the caller's session with this tag, which may be the caller's current one. Whether there was one: a session of somebody
    /// else, or at another frontend, is looked for no more than one that never was.
    ///
    /// # Errors
    /// `Unavailable`: it has not ended, or nobody knows.
    pub(crate) async fn end_own(&self, caller: &Loaded, tag: &str) -> store::Result<bool> {
        let own = self.find_own(caller).await?;
        match own.iter().find(|own| own.tag() == tag) {
            Some(own) => self.end_one(own, caller).await,
            None => Ok(false),
        }
    }

    /// Ends all of the caller's sessions at this frontend but the current one; answers how many. A login that is under way meanwhile
    /// becomes a session.
    ///
    /// # Errors
    /// `Unavailable`; some may have ended.
    pub(crate) async fn end_others(&self, caller: &Loaded) -> store::Result<u64> {
        let others = self.find_own(caller).await?.into_iter().filter(|own| !own.is_current);
        let ends = stream::iter(others).map(async |own| self.end_one(&own, caller).await);
        let count = async |ended, was_there| Ok(ended + u64::from(was_there));
        ends.buffer_unordered(IN_FLIGHT).try_fold(0, count).await
    }

    /// Also those that are past a limit: whether they are is judged by two clocks here, and ending one does no harm.
    async fn find_own(&self, caller: &Loaded) -> store::Result<Vec<OwnSession>> {
        let mut own = Vec::new();
        for row in self.store.list_matching(Term::Subject(caller.user.subject())).await? {
            match self.store.open_card(&row) {
                Ok(card) => own.extend(Card::read(card.expose()).map(|card| OwnSession {
                    created_at: card.created_at,
                    last_seen_at: row.touched_at,
                    is_current: row.key == caller.key() || card.predecessor() == Some(caller.key()),
                    key: row.key,
                    predecessor: card.predecessor(),
                    remember: card.remember,
                    ends_at: card.ends_at,
                    device: card.device,
                })),
                // Frontends that share a registration share its terms; a card opens at its own frontend only.
                Err(store::Error::Corrupt(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(own)
    }

    async fn end_one(&self, own: &OwnSession, by: &Loaded) -> store::Result<bool> {
        // First, so that who is told of an outage here still has the session to end.
        if let Some(predecessor) = own.predecessor {
            self.store.remove_key(predecessor, Reason::ByUser).await?;
        }
        let was_there = self.store.remove_key(own.key, Reason::ByUser).await?;
        if was_there {
            tracing::info!(session = %own.tag(), by = %by.key().tag(), "session ended by its owner");
        }
        Ok(was_there)
    }
}

impl OwnSession {
    pub(crate) fn tag(&self) -> String {
        self.key.tag()
    }
}

/// Sessions that end at the same time. Stores with one writer have them queue, within one call's timeout.
const IN_FLIGHT: usize = 16;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock as _, SystemClock};
    use crate::oidc::{AccessToken, Authenticated, Claims, Identity, ProviderOptions, TokenSet};
    use crate::session::{Limits, Options};
    use crate::store::{Breaker, Keyring, MasterKey, MemoryBackend, Scope, SealedStore, Watching};

    /// The same frontend's sessions, with this provider.
    fn with_provider(backend: &Arc<MemoryBackend>, issuer: &str) -> Sessions {
        let keyring = Arc::new(Keyring::new(vec![MasterKey::from_bytes([1; 32])]).unwrap());
        let scope = Scope { frontend: "shop".to_owned(), issuer: issuer.to_owned(), client_id: "c".to_owned() };
        let breaker = Arc::new(Breaker::new(Duration::from_secs(2)));
        let store = SealedStore::new(backend.clone(), keyring, scope, breaker);
        let provider = Arc::new(ProviderOptions::new("corp", issuer));
        Sessions::new(store, Arc::new(Options::default()), provider, Arc::new(SystemClock), Watching::default())
    }

    async fn log_in(sessions: &Sessions, issuer: &str) -> Loaded {
        let now = SystemClock.now();
        let (client_id, subject) = ("c".to_owned(), "1".to_owned());
        let access = AccessToken { value: "a".into(), received_at: now, expires_at: None };
        let authenticated = Authenticated {
            identity: Identity { issuer: issuer.to_owned(), client_id, subject, sid: None },
            claims: Claims::default(),
            acr: None,
            auth_time: None,
            issued_at: now,
            tokens: TokenSet { access, refresh: None, id_token: None, suspect: false, asked_at: 0 },
        };
        let id = sessions.establish(authenticated, Limits::Anew { remember: false }, None, None).await.unwrap().id;
        sessions.load(id).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn after_a_change_of_provider_a_session_of_the_old_one_is_none_here_and_lives_on_where_it_was() {
        let backend = Arc::new(MemoryBackend::new());
        let (before, after) =
            (with_provider(&backend, "https://old.example"), with_provider(&backend, "https://new.example"));
        let old = log_in(&before, "https://old.example").await;
        let new = log_in(&after, "https://new.example").await;
        assert!(after.load(old.id).await.unwrap().is_none() && !after.is_live(&old.user));
        assert!(before.load(new.id).await.unwrap().is_none());
        assert!(before.load(old.id).await.unwrap().is_some(), "a replica with the earlier configuration serves it");
        let own = after.own(&new).await.unwrap();
        assert_eq!(own.iter().map(OwnSession::tag).collect::<Vec<_>>(), [new.key().tag()]);
    }
}
