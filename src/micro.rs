//! Steps of a call, one by one and within reach of `benches/micro.rs`. Nothing here is for anybody else.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::frontend::{FrontendTable, Selected};
use crate::guard::rate::{Allowance, RateLimiter};
use crate::oidc::{AccessToken, Authenticated, Claims, Identity, ProviderOptions, TokenSet};
pub use crate::proxy::micro::{Call, Routes};
use crate::session::{Limits, Options, Sessions};
use crate::store::{Breaker, Keyring, MasterKey, MemoryBackend, Scope, SealedStore, SessionId, Watching};

/// A table of frontends.
#[derive(Debug)]
pub struct Frontends(FrontendTable<usize>);

impl Frontends {
    /// At these URLs.
    pub fn new(urls: impl IntoIterator<Item = Url>) -> Self {
        Self(FrontendTable::new(urls.into_iter().enumerate().map(|(nth, url)| (url, nth))))
    }

    /// Which of them a request is for.
    pub fn select(&self, host: &str, path: &str) -> Option<usize> {
        match self.0.select(Some(host), path) {
            Selected::Frontend(nth) => Some(*nth),
            Selected::NoPath | Selected::NoHost => None,
        }
    }
}

/// A limit that is never reached: 1000 at once, one more each millisecond.
#[derive(Debug)]
pub struct Limit(RateLimiter);

impl Default for Limit {
    fn default() -> Self {
        Self(RateLimiter::new(Allowance { at_once: 1000, then_every: Duration::from_millis(1) }))
    }
}

impl Limit {
    /// Whether `client` may go on at `now`.
    pub fn allows(&self, client: IpAddr, now: Timestamp) -> bool {
        self.0.check(client, now).is_ok()
    }
}

/// A session in the memory store, with tokens as providers give them.
#[derive(Debug)]
pub struct Session {
    store: SealedStore,
    sessions: Sessions,
    id: SessionId,
}

impl Session {
    /// A new one. Needs a Tokio runtime, as [`opens`](Self::opens) does.
    pub async fn new() -> Self {
        let keyring = Arc::new(Keyring::new(vec![MasterKey::from_bytes([1; 32])]).expect("it has a key"));
        let scope = Scope { frontend: "shop".to_owned(), issuer: ISSUER.to_owned(), client_id: CLIENT_ID.to_owned() };
        let breaker = Arc::new(Breaker::new(Duration::from_secs(2)));
        let store = SealedStore::new(Arc::new(MemoryBackend::new()), keyring, scope, breaker);
        let sessions = sessions(&store);
        let anew = Limits::Anew { remember: false };
        let id = sessions.establish(authenticated(), anew, None, None).await.expect("the store is up").id;
        Self { store, sessions, id }
    }

    /// The same in a process that has not opened it yet.
    #[must_use]
    pub fn unopened(&self) -> Self {
        Self { store: self.store.clone(), sessions: sessions(&self.store), id: self.id }
    }

    /// Reads it, and whether it lives. Opens its halves unless the last read has done so.
    pub async fn opens(&self) -> bool {
        self.sessions.load(self.id).await.is_ok_and(|loaded| loaded.is_some())
    }
}

fn sessions(store: &SealedStore) -> Sessions {
    let provider = Arc::new(ProviderOptions::new("corp", ISSUER));
    Sessions::new(store.clone(), Arc::new(Options::default()), provider, Arc::new(SystemClock), Watching::default())
}

fn authenticated() -> Authenticated {
    let now = SystemClock.now();
    let access = AccessToken { value: "a".repeat(1000).into(), received_at: now, expires_at: None };
    let (refresh, id_token) = (Some("r".repeat(300).into()), Some("i".repeat(1000).into()));
    Authenticated {
        identity: Identity {
            issuer: ISSUER.to_owned(),
            client_id: CLIENT_ID.to_owned(),
            subject: "alice".to_owned(),
            sid: Some("1".to_owned()),
        },
        claims: Claims::default(),
        acr: None,
        auth_time: None,
        issued_at: now,
        tokens: TokenSet { access, refresh, id_token, suspect: false, asked_at: 0 },
    }
}

const ISSUER: &str = "https://id.example";
const CLIENT_ID: &str = "shop";
