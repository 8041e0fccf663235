//! Sessions as they were opened last.
//!
//! Every call reads its row; what is kept here is only what the row's bytes opened to: two key derivations, two decryptions and two
//! documents. Any write of a half, and any exchange of keys, makes other bytes or another keyring, and then the row is opened anew. So
//! nothing here can be out of date, and whoever has no session id finds nothing.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderValue;
use quick_cache::sync::Cache;

use super::{Loaded, UserSession};
use crate::clock::Timestamp;
use crate::oidc::TokenSet;
use crate::store::{self, Opened, Seal, SessionId, SessionKey};

/// See the module.
pub(super) struct Recent(Cache<SessionKey, Arc<Session>>);

struct Session {
    seal: Seal,
    user: Arc<UserSession>,
    tokens: Arc<Tokens>,
    /// When it was wanted last, in milliseconds since the epoch.
    used_at: AtomicI64,
}

/// The tokens of a session.
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) set: TokenSet,
    /// The access token as a call carries it, once a call has wanted it.
    pub(super) bearer: OnceLock<HeaderValue>,
}

impl Recent {
    /// How long what nobody wants is kept, or twice that.
    pub(super) const UNUSED: Duration = Duration::from_mins(1);

    /// Reads both halves: a session whose tokens cannot be read is of no use, and is better over than half alive.
    ///
    /// # Errors
    /// `Corrupt`, or `Unavailable` if the keyring lacks its key.
    pub(super) fn read(&self, id: SessionId, opened: Opened, now: Timestamp) -> store::Result<Loaded> {
        if let Some(known) = self.0.get(&opened.key)
            && opened.is_same(&known.seal)
        {
            known.used_at.store(now.unix_millis(), Ordering::Relaxed);
            return Ok(Loaded { id, user: known.user.clone(), tokens: known.tokens.clone(), opened });
        }
        let user = UserSession::read(opened.session()?.expose());
        let user = Arc::new(user.ok_or(store::Error::Corrupt("the session half is not ours"))?);
        let set = serde_json::from_slice(opened.tokens()?.expose());
        let set = set.map_err(|_| store::Error::Corrupt("the tokens half is not ours"))?;
        let tokens = Arc::new(Tokens { set, bearer: OnceLock::new() });
        let (seal, used_at) = (opened.seal(), AtomicI64::new(now.unix_millis()));
        let session = Session { seal, user: user.clone(), tokens: tokens.clone(), used_at };
        self.0.insert(opened.key, Arc::new(session));
        Ok(Loaded { id, user, tokens, opened })
    }

    /// Forgets a session that has ended.
    pub(super) fn forget(&self, key: &SessionKey) {
        self.0.remove(key);
    }

    /// Forgets what nobody has wanted for a minute: tokens do not lie about in memory for sessions that are not used.
    pub(super) fn forget_unused(&self, now: Timestamp) {
        let is_wanted = |used_at: &AtomicI64| {
            now.since(Timestamp::from_unix_millis(used_at.load(Ordering::Relaxed))) < Self::UNUSED
        };
        self.0.retain(|_, session| is_wanted(&session.used_at));
    }
}

impl Default for Recent {
    fn default() -> Self {
        Self(Cache::new(MOST))
    }
}

impl fmt::Debug for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recent({})", self.0.len())
    }
}

/// Some 8 KB each.
const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, ManualClock, SystemClock};
    use crate::oidc::{AccessToken, Authenticated, Claims, Identity, ProviderOptions};
    use crate::session::{Limits, Options, Sessions};
    use crate::store::{
        Breaker, Error, Keyring, LiveKeyring, MasterKey, MemoryBackend, Reason, Scope, SealedStore, Watching,
    };

    struct World {
        sessions: Sessions,
        keyring: LiveKeyring,
        clock: Arc<ManualClock>,
        id: SessionId,
    }

    impl World {
        async fn with_a_session() -> Self {
            let (keyring, clock) = (LiveKeyring::from(ring(1)), Arc::new(ManualClock::at(SystemClock.now())));
            let scope =
                Scope { frontend: "shop".to_owned(), issuer: "https://id".to_owned(), client_id: "c".to_owned() };
            let breaker = Arc::new(Breaker::new(Duration::from_secs(2)));
            let store = SealedStore::new(Arc::new(MemoryBackend::new()), keyring.clone(), scope, breaker);
            let provider = Arc::new(ProviderOptions::new("corp", "https://id"));
            let sessions =
                Sessions::new(store, Arc::new(Options::default()), provider, clock.clone(), Watching::default());
            let authenticated = authenticated(clock.now());
            let anew = Limits::Anew { remember: false };
            let id = sessions.establish(authenticated, anew, None, None).await.unwrap().id;
            Self { sessions, keyring, clock, id }
        }

        async fn load(&self) -> store::Result<Option<Loaded>> {
            self.sessions.load(self.id).await
        }
    }

    fn ring(byte: u8) -> Keyring {
        Keyring::new(vec![MasterKey::from_bytes([byte; 32])]).unwrap()
    }

    fn authenticated(now: Timestamp) -> Authenticated {
        let access = AccessToken { value: "at".into(), received_at: now, expires_at: None };
        Authenticated {
            identity: Identity {
                issuer: "https://id".to_owned(),
                client_id: "c".to_owned(),
                subject: "alice".to_owned(),
                sid: None,
            },
            claims: Claims::default(),
            acr: None,
            auth_time: None,
            issued_at: now,
            tokens: TokenSet { access, refresh: None, id_token: None, suspect: false, asked_at: 0 },
        }
    }

    #[tokio::test]
    async fn a_row_is_opened_once_for_each_time_it_is_written() {
        let world = World::with_a_session().await;
        let first = world.load().await.unwrap().unwrap();
        let mut second = world.load().await.unwrap().unwrap();
        assert!(Arc::ptr_eq(&first.user, &second.user) && Arc::ptr_eq(&first.tokens, &second.tokens));
        assert_eq!(second.bearer(), "Bearer at");
        world.clock.advance(Duration::from_mins(10));
        world.sessions.touch(&mut second).await.unwrap();
        let third = world.load().await.unwrap().unwrap();
        assert_eq!(third.user.last_seen_at(), world.clock.now());
        assert!(!Arc::ptr_eq(&first.user, &third.user));
    }

    #[tokio::test]
    async fn nothing_is_served_from_memory_that_the_store_or_the_keys_would_not_open() {
        let world = World::with_a_session().await;
        assert!(world.load().await.unwrap().is_some());
        world.keyring.exchange(ring(2));
        assert!(matches!(world.load().await, Err(Error::Unavailable(_))));
        world.keyring.exchange(ring(1));
        assert!(world.load().await.unwrap().is_some());
        world.sessions.store().remove_key(world.id.key(), Reason::Admin).await.unwrap();
        assert!(world.load().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_nobody_wants_is_forgotten() {
        let world = World::with_a_session().await;
        world.load().await.unwrap();
        world.clock.advance(Recent::UNUSED / 2);
        world.sessions.recent.forget_unused(world.clock.now());
        assert_eq!(format!("{:?}", world.sessions.recent), "Recent(1)");
        world.clock.advance(Recent::UNUSED / 2);
        world.sessions.recent.forget_unused(world.clock.now());
        assert_eq!(format!("{:?}", world.sessions.recent), "Recent(0)");
    }
}
