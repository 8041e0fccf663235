//! Who takes part: replicas, callers, a logout, a touch; and running it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::call::Kind;
use super::clock::SimulatedClock;
use super::explorer::{Explorer, Seen, Stats};
use super::faults::Faults;
use super::provider::{Endpoint, Provider, Rotation, tokens};
use super::store::{Bug, GatedBackend};
use super::world::World;
use super::{D, LEASE, PATIENCE, STORE_TIMEOUT};
use crate::clock::Timestamp;
use crate::oidc::{Authenticated, Claims, Identity, ProviderOptions};
use crate::session::{Limits, Loaded, Options as SessionOptions, Sessions};
use crate::store::{
    Breaker, Keyring, MasterKey, MemoryBackend, Reason, Scope, SealedStore, SessionBackend, SessionId, Watching,
};
use crate::tokens::Options;
use crate::tokens::flights::Flights;
use crate::tokens::refresh::{Cause, Refresher, TokenEndpoint as _};

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) rotation: Rotation,
    pub(super) replicas: usize,
    /// The replica of each caller.
    pub(super) callers: Vec<usize>,
    /// The last caller comes at any time, not at once.
    pub(super) late: bool,
    /// The replica at which somebody logs out.
    pub(super) logout: Option<usize>,
    /// The replica at which the session is used and sealed anew.
    pub(super) touch: Option<usize>,
    /// The provider has ended the grant.
    pub(super) grant_is_over: bool,
    pub(super) faults: Faults,
    pub(super) bug: Option<Bug>,
}

/// What a caller came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// An access token.
    Token(String),
    Ended,
    Outage,
}

/// How a run stops before its end.
#[derive(Debug)]
pub(super) enum Stop {
    Seen,
    Violation(String),
}

impl From<Seen> for Stop {
    fn from(_: Seen) -> Self {
        Self::Seen
    }
}

/// Somebody who does something.
pub(super) struct Actor {
    pub(super) replica: usize,
    pub(super) is_client: bool,
    pub(super) left: bool,
    pub(super) task: JoinHandle<Option<Verdict>>,
}

/// The processes of one run, and the session they share.
pub(super) struct Cast {
    pub(super) world: Arc<World>,
    pub(super) id: SessionId,
    pub(super) refreshers: Vec<Refresher<Endpoint>>,
    /// Reads the store without anybody noticing.
    pub(super) unseen: Sessions,
    pub(super) loaded: Arc<Loaded>,
}

impl Scenario {
    /// Two replicas with a caller each, and no faults.
    pub(super) fn new(rotation: Rotation) -> Self {
        Self {
            rotation,
            replicas: 2,
            callers: vec![0, 1],
            late: false,
            logout: None,
            touch: None,
            grant_is_over: false,
            faults: Faults::none(),
            bug: None,
        }
    }

    /// Runs every list of choices.
    ///
    /// # Errors
    /// What went wrong in the first run in which anything did, with its trace and choices.
    pub(super) fn explore(&self) -> Result<Stats, String> {
        let mut explorer = Explorer::default();
        loop {
            let end = self.run(&mut explorer);
            match end {
                Ok(()) | Err(Stop::Seen) => {}
                Err(Stop::Violation(what)) => return Err(format!("{what}\n{self:?}\n{}", explorer.stats())),
            }
            if !explorer.advance(end.is_ok()) {
                return Ok(explorer.stats());
            }
        }
    }

    fn run(&self, explorer: &mut Explorer) -> Result<(), Stop> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let cast = self.cast().await;
            let stop = self.play(&cast, explorer).await;
            stop.map_err(|stop| match stop {
                Stop::Violation(what) => {
                    let trace = cast.world.inner().trace.join("\n");
                    Stop::Violation(format!("{what}\n{trace}\nchoices: {:?}", explorer.choices()))
                }
                Stop::Seen => Stop::Seen,
            })
        })
    }

    /// Processes, and a session whose token is due.
    async fn cast(&self) -> Cast {
        let login = Timestamp::from_unix_seconds(1_700_000_000);
        let backend: Arc<dyn SessionBackend> = Arc::new(MemoryBackend::new());
        let before = sessions(backend.clone(), &[1], SimulatedClock::showing(login));
        let anew = Limits::Anew { remember: false };
        let id = before.establish(authenticated(login), anew, None, None).await.expect("a session").id;
        let clock = SimulatedClock::showing(login + UNUSED);
        let mut provider = Provider::new(self.rotation);
        if self.grant_is_over {
            provider.end();
        }
        let world = World::new(backend.clone(), provider, self.replicas + 1, self.faults.clone(), clock);
        let unseen = sessions(backend.clone(), &[2, 1], clock);
        let loaded = unseen.load(id).await.expect("the store answers").expect("the session is there");
        let refreshers = (0..=self.replicas).map(|replica| self.refresher(&world, &backend, replica, id)).collect();
        Cast { world, id, refreshers, unseen, loaded: Arc::new(loaded) }
    }

    fn refresher(
        &self,
        world: &Arc<World>,
        backend: &Arc<dyn SessionBackend>,
        replica: usize,
        id: SessionId,
    ) -> Refresher<Endpoint> {
        let opener = (sessions(backend.clone(), &[2, 1], world.clock()).store().clone(), id);
        let gated = GatedBackend { world: world.clone(), replica, backend: backend.clone(), bug: self.bug, opener };
        Refresher {
            sessions: sessions(Arc::new(gated), &[2, 1], world.clock()),
            endpoint: Endpoint { world: world.clone(), replica },
            options: Options { lease: LEASE, provider_timeout: D, patience: PATIENCE },
            flights: Arc::new(Flights::new()),
            brakes: Arc::default(),
        }
    }

    /// Everybody who does something at first.
    pub(super) fn actors(&self, cast: &Cast) -> Vec<Actor> {
        let callers = self.callers.iter().enumerate();
        let mut actors: Vec<Actor> = callers.map(|(n, &replica)| cast.caller(replica, self.start_of(n), n)).collect();
        actors.extend(self.logout.map(|replica| cast.logout(replica)));
        actors.extend(self.touch.map(|replica| cast.touch(replica)));
        actors
    }
}

impl Scenario {
    /// When a caller begins is a choice if somebody else may be there first. A process's only caller begins at once: it makes no
    /// difference before its first call to the store.
    fn start_of(&self, n: usize) -> Option<Kind> {
        if self.late && n + 1 == self.callers.len() {
            return Some(Kind::LateStart);
        }
        let beside = self.callers.iter().filter(|replica| **replica == self.callers[n]).count();
        (beside > 1).then_some(Kind::Start)
    }
}

impl Cast {
    fn actor(
        &self,
        replica: usize,
        is_client: bool,
        work: impl Future<Output = Option<Verdict>> + Send + 'static,
    ) -> Actor {
        let world = self.world.clone();
        let task = tokio::spawn(async move {
            let verdict = work.await;
            world.report(replica, &format!("came to {verdict:?}"));
            verdict
        });
        Actor { replica, is_client, left: false, task }
    }

    fn caller(&self, replica: usize, start: Option<Kind>, n: usize) -> Actor {
        let (world, loaded, refresher) = (self.world.clone(), self.loaded.clone(), self.refreshers[replica].clone());
        self.actor(replica, true, async move {
            if let Some(kind) = start {
                world.start(replica, kind, &format!("caller {n}")).await;
            }
            Some(renew(&refresher, &loaded).await)
        })
    }

    fn logout(&self, replica: usize) -> Actor {
        let (world, loaded, refresher) = (self.world.clone(), self.loaded.clone(), self.refreshers[replica].clone());
        self.actor(replica, false, async move {
            world.start(replica, Kind::LateStart, "logout").await;
            let removed = refresher.sessions.end(&loaded, Reason::Logout).await;
            let Ok(removed) = removed else {
                world.inner().outside.monitor.logout_failed = true;
                return Some(Verdict::Outage);
            };
            if let Some(token) = removed.and_then(|tokens| tokens.refresh) {
                let _ = refresher.endpoint.revoke(&token).await;
            }
            None
        })
    }

    fn touch(&self, replica: usize) -> Actor {
        let (world, id, refresher) = (self.world.clone(), self.id, self.refreshers[replica].clone());
        self.actor(replica, false, async move {
            world.start(replica, Kind::Start, "touch").await;
            let loaded = refresher.sessions.load(id).await.ok()?;
            let _ = refresher.sessions.touch(&mut loaded?).await;
            None
        })
    }

    pub(super) fn drain(&self, replica: usize) -> Actor {
        let refresher = self.refreshers[replica].clone();
        self.actor(replica, false, async move {
            refresher.drain().await;
            None
        })
    }

    /// A call much later, repeated while there is an outage.
    pub(super) fn probe(&self, replica: usize) -> Actor {
        let (unseen, id, refresher) = (self.unseen.clone(), self.id, self.refreshers[replica].clone());
        self.actor(replica, false, async move {
            for _ in 0..PROBES {
                tokio::time::sleep(PAUSE).await;
                let Some(loaded) = unseen.load(id).await.expect("the store answers") else {
                    return Some(Verdict::Ended);
                };
                if !loaded.tokens().access.is_due(unseen.now()) {
                    return Some(Verdict::Token(loaded.tokens().access.value.expose().clone()));
                }
                match renew(&refresher, &loaded).await {
                    Verdict::Outage => {}
                    verdict => return Some(verdict),
                }
            }
            Some(Verdict::Outage)
        })
    }
}

async fn renew(refresher: &Refresher<Endpoint>, loaded: &Loaded) -> Verdict {
    match refresher.renew(loaded, Cause::Due, PATIENCE).await {
        Ok(tokens) => Verdict::Token(tokens.access.value.expose().clone()),
        Err(failure) if failure.is_outage() => Verdict::Outage,
        Err(_) => Verdict::Ended,
    }
}

fn authenticated(at: Timestamp) -> Authenticated {
    let identity = Identity { issuer: ISSUER.into(), client_id: "shop".into(), subject: "alice".into(), sid: None };
    let tokens = tokens(0, at);
    Authenticated { identity, claims: Claims::default(), acr: None, auth_time: None, issued_at: at, tokens }
}

/// One replica's view; rows sealed with another key than the first are sealed anew when they are touched.
fn sessions(backend: Arc<dyn SessionBackend>, masters: &[u8], clock: SimulatedClock) -> Sessions {
    let masters = masters.iter().map(|&byte| MasterKey::from_bytes([byte; 32])).collect();
    let keyring = Arc::new(Keyring::new(masters).expect("there is a key"));
    let scope = Scope { frontend: "shop".into(), issuer: ISSUER.into(), client_id: "shop".into() };
    let store = SealedStore::new(backend, keyring, scope, Arc::new(Breaker::new(STORE_TIMEOUT)));
    let provider = Arc::new(ProviderOptions::new("corp", ISSUER));
    Sessions::new(store, Arc::new(SessionOptions::default()), provider, Arc::new(clock), Watching::default())
}

/// How long the session was not used, so that a use is noted.
const UNUSED: Duration = Duration::from_mins(5);
const ISSUER: &str = "https://id.example";
/// How often a call is repeated until an outage must be over…
const PROBES: usize = 10;
/// …and how long after each other: longer than any back-off.
const PAUSE: Duration = Duration::from_mins(1);
