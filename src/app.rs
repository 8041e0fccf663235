//! Puts the parts together: stores, providers, frontends, listeners, background tasks, shutdown.

mod edge;
mod reload;
#[cfg(feature = "server")]
mod run;
mod serve;
#[cfg(feature = "server")]
mod watch;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;
use url::Url;

use edge::{Edge, Site};
use reload::Live;
pub use reload::{Exchanged, ReloadError, Reloaded};
#[cfg(feature = "server")]
pub(crate) use run::{rehearse, serve, upkeep};
#[cfg(feature = "demo")]
pub(crate) use run::{serve_on, until_told};
pub use serve::ServeError;

pub use crate::server::Listener;
#[cfg(unix)]
pub use crate::server::SocketError;

use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config, Rate};
use crate::denied::DeniedAddresses;
use crate::frontend::{self, Assets, AssetsError, Frontend, FrontendTable, Parts};
use crate::guard::head::HeadLimits;
use crate::guard::in_flight::InFlight;
use crate::guard::operator::AdminToken;
use crate::guard::rate::Allowance;
use crate::metric::{self, Exporter};
use crate::oidc::{ClientAuth, ClientOptions, Connections, Provider, ProviderHttp, RelyingParty};
use crate::proxy::{self, RouteTable, RouteTableError, Upgrades};
use crate::routes::{self, LoginLimits, Operators, Readiness};
use crate::session::{CookiePolicy, Sessions, Upkeep};
use crate::store::{self, Breaker, Keyring, LiveKeyring, MasterKey, Scope, SealedStore, SessionBackend, Watching};
use crate::tls;
use crate::tokens::{self, AccessTokens};

/// A whole Cloakroom: every frontend with its provider, sessions and routes. Clones are the same Cloakroom: keep one to
/// [`reload`](Self::reload) what another one serves.
#[derive(Clone, Debug)]
pub struct Cloakroom {
    edge: Arc<Edge>,
    admin: Router,
    upgrades: Upgrades,
    /// The end has begun: nothing new is accepted.
    stopping: CancellationToken,
    live: Arc<Live>,
}

/// Puts a [`Cloakroom`] together.
#[derive(Debug)]
pub struct CloakroomBuilder {
    config: Config,
    backend: Option<Arc<dyn SessionBackend>>,
    clock: Arc<dyn Clock>,
    handlers: HashMap<String, Router>,
    exporter: Option<Exporter>,
}

/// Why a Cloakroom could not be put together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The store cannot be opened.
    #[error("cannot open the store: {0}")]
    Store(#[from] store::Error),
    /// No master key, and a store that outlives the process.
    #[error("there is no master key; `cloakroom keygen` makes one")]
    NoKey,
    /// Handlers were given for a frontend that is not configured.
    #[error("there is no frontend {0:?} to add handlers to")]
    NoSuchFrontend(String),
    /// A root certificate cannot be used.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    /// A route's upstream cannot be used.
    #[error("frontend {frontend}: {reason}")]
    Routes {
        /// The frontend.
        frontend: String,
        /// Which route, and why.
        reason: String,
    },
    /// The SPA's files cannot be used.
    #[error("frontend {frontend}: {reason}")]
    Assets {
        /// The frontend.
        frontend: String,
        /// What is wrong with them.
        reason: String,
    },
}

impl BuildError {
    /// The configuration has to be mended; nothing else would help.
    pub fn is_misconfiguration(&self) -> bool {
        !matches!(self, Self::Store(_))
    }
}

impl Cloakroom {
    /// Starts from a checked configuration.
    pub fn builder(config: Config) -> CloakroomBuilder {
        CloakroomBuilder {
            config,
            backend: None,
            clock: Arc::new(SystemClock),
            handlers: HashMap::new(),
            exporter: None,
        }
    }

    /// Everything the public listener answers: `/bff/*`, proxied routes and the SPA of every frontend. A request must carry its
    /// peer's address as `axum::extract::ConnectInfo<SocketAddr>` (or come through our own listener).
    pub fn router(&self) -> Router {
        let edge = self.edge.clone();
        let answer = move |request: Request| async move { edge.answer(edge::peer_of(&request), request).await };
        Router::new().fallback(answer)
    }

    /// Everything the admin listener answers. `/sessions` is for who has `server.admin_token`, and is not there without one: that a
    /// request came over a Unix socket only our own [listener](Listener) can tell.
    pub fn admin_router(&self) -> Router {
        self.admin.clone()
    }

    /// Says that the end begins: event streams end, so that browsers go elsewhere, and `/readyz` answers 503. A server that waits for its
    /// connections would wait for these streams for ever.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// [Stops](Self::stop), closes open WebSockets, and waits for logins, logouts, token renewals and revocations under way.
    pub async fn drain(&self) {
        self.stop();
        self.upgrades.close().await;
        // At the same time: each may wait long for a store that is away.
        join_all(self.edge.frontends.iter().map(|site| site.frontend.drain())).await;
    }
}

impl CloakroomBuilder {
    /// Keeps sessions here instead of where the configuration says.
    #[must_use]
    pub fn backend(mut self, backend: Arc<dyn SessionBackend>) -> Self {
        self.backend = Some(backend);
        self
    }

    /// Judges limits by this clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Adds an embedder's own handlers to a frontend, beside its endpoints and before its routes and files. They stand behind every
    /// guard: calls must prove that they come from the frontend's page (the custom header, see `docs/security.md`), and
    /// [`UserSession`](crate::session::UserSession) can be extracted: as it is (401 without a session) or as an `Option`.
    #[must_use]
    pub fn handlers(mut self, frontend: impl Into<String>, handlers: Router) -> Self {
        self.handlers.insert(frontend.into(), handlers);
        self
    }

    /// Has the admin listener answer `GET /metrics` with what `exporter` writes, in the Prometheus text format; without one it is a
    /// 404. The metrics (`docs/operating.md`) go through the `metrics` facade: install your recorder before [`build`](Self::build).
    ///
    /// ```no_run
    /// # use cloakroom::{Cloakroom, config::Config};
    /// # fn embed(config: Config, recorder: std::sync::Arc<std::sync::Mutex<String>>) {
    /// let builder = Cloakroom::builder(config).metrics(move || recorder.lock().unwrap().clone());
    /// # }
    /// ```
    #[must_use]
    pub fn metrics(mut self, exporter: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.exporter = Some(Exporter(Arc::new(exporter)));
        self
    }

    /// Opens the store and makes every frontend ready. Providers are discovered on first use, so they may be down.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub async fn build(self) -> Result<Cloakroom, BuildError> {
        let Self { config, backend, clock, mut handlers, exporter } = self;
        metric::describe();
        let known = |id: &String| config.frontends.iter().any(|frontend| frontend.id == *id);
        if let Some(unknown) = handlers.keys().find(|id| !known(id)) {
            return Err(BuildError::NoSuchFrontend(unknown.clone()));
        }
        let backend = match backend {
            Some(backend) => backend,
            None => store::open(&config.store.options()).await?,
        };
        let mut foundry = Foundry::new(&config, &backend, &clock)?;
        let frontends =
            config.frontends.iter().map(|options| foundry.frontend(options)).collect::<Result<Vec<_>, _>>()?;
        let operators = foundry.operators();
        let (store, providers) = (foundry.sealed(&config.frontends[0]), foundry.providers.into_values().collect());
        let (keyring, client, watching) = (foundry.keyring, foundry.client, foundry.watching);
        let voice = frontends[0].voice().clone();
        let (upgrades, stopping) = (Upgrades::default(), CancellationToken::new());
        let max_in_flight = usize::try_from(config.server.max_in_flight).unwrap_or(usize::MAX);
        let in_flight = Arc::new(InFlight::new(max_in_flight, upgrades.clone()));
        let readiness =
            Readiness { store, providers, stopping: stopping.clone(), exporter, in_flight: in_flight.clone() };
        let admin_token = operators.token.clone();
        let admin = routes::admin(readiness, operators, config.server.hosts.clone().into(), voice.clone());
        let trusted = config.server.trusted_proxies.clone().into();
        let head_limits = head_limits(&config.server);
        let logins = LoginLimits::new(config.server.login_rate.map(allowance));
        let live = Arc::new(Live::new(keyring, &frontends, client, admin_token, config));
        let serving = CancellationToken::new();
        for frontend in &frontends {
            tokio::spawn(frontend.sessions().clone().forget_unused_until(serving.clone()));
        }
        let frontends = frontends.into_iter().map(|frontend| {
            let handlers = handlers.remove(frontend.id());
            let has_handlers = handlers.is_some();
            let router = routes::frontend(&frontend, &upgrades, &stopping, &logins, handlers.unwrap_or_default());
            (frontend.url().clone(), Site { frontend, router, has_handlers })
        });
        tokio::spawn(store::sweep_until(backend.clone(), serving.clone()));
        tokio::spawn(store::show_until(backend.clone(), serving.clone()));
        tokio::spawn(serving.clone().run_until_cancelled_owned(watching.listen(backend)));
        let frontends = FrontendTable::new(frontends);
        let edge = Edge {
            frontends,
            trusted,
            voice,
            upgrades: upgrades.clone(),
            head_limits,
            in_flight,
            _serving: serving.drop_guard(),
        };
        Ok(Cloakroom { edge: Arc::new(edge), admin, upgrades, stopping, live })
    }
}

fn head_limits(server: &config::Server) -> HeadLimits {
    HeadLimits {
        max_size: server.max_headers,
        max_count: usize::try_from(server.max_header_count).unwrap_or(usize::MAX),
    }
}

/// As often as `rate` says at once, and then spread over its time.
fn allowance(rate: Rate) -> Allowance {
    Allowance { at_once: rate.times, then_every: rate.per / rate.times.max(1) }
}

/// The master keys; `memory:` may do without and gets a fresh one.
fn keys(config: &Config) -> Result<Vec<MasterKey>, BuildError> {
    match (config.keys.is_empty(), config.store.is_memory()) {
        (false, _) => Ok(config.keys.clone()),
        (true, true) => Ok(vec![MasterKey::generate()]),
        (true, false) => Err(BuildError::NoKey),
    }
}

/// Whose sessions a frontend's are.
fn scope(options: &frontend::Options) -> Scope {
    Scope {
        frontend: options.id.clone(),
        issuer: options.provider.issuer.clone(),
        client_id: options.client.client_id.clone(),
    }
}

/// What frontends are made with.
struct Foundry<'a> {
    config: &'a Config,
    backend: &'a Arc<dyn SessionBackend>,
    breaker: Arc<Breaker>,
    watching: Watching,
    clock: &'a Arc<dyn Clock>,
    keyring: LiveKeyring,
    client: proxy::Client,
    connections: Connections,
    /// By name: frontends with the same provider share what was discovered.
    providers: BTreeMap<String, Arc<Provider>>,
}

impl<'a> Foundry<'a> {
    fn new(
        config: &'a Config,
        backend: &'a Arc<dyn SessionBackend>,
        clock: &'a Arc<dyn Clock>,
    ) -> Result<Self, BuildError> {
        let keyring = Keyring::new(keys(config)?).ok_or(BuildError::NoKey)?;
        let tls =
            tls::client_config(config.server.ca_pem.as_deref()).map_err(|error| BuildError::Tls(error.to_string()))?;
        let denied = DeniedAddresses::new(&config.server.denied_addresses);
        Ok(Self {
            config,
            backend,
            clock,
            breaker: Arc::new(Breaker::new(config.store.timeout)),
            watching: Watching::default(),
            keyring: keyring.into(),
            connections: ProviderHttp::connections(&tls, denied.clone())
                .map_err(|error| BuildError::Tls(error.to_string()))?,
            client: proxy::Client::new(tls, denied),
            providers: BTreeMap::new(),
        })
    }

    fn frontend(&mut self, options: &frontend::Options) -> Result<Frontend, BuildError> {
        let relying_party = RelyingParty::new(self.provider(options), options.client.clone());
        let session_options = Arc::new(self.config.session.clone());
        let (store, clock, watching) = (self.sealed(options), self.clock.clone(), self.watching.clone());
        let sessions = Sessions::new(store, session_options, options.provider.clone(), clock, watching);
        let store = &self.config.store;
        let token_options = tokens::Options::new(store.lease, options.provider.timeout, store.timeout);
        let frontend = options.id.clone();
        let refused =
            |error: &RouteTableError| BuildError::Routes { frontend: frontend.clone(), reason: error.to_string() };
        let unusable =
            |error: &AssetsError| BuildError::Assets { frontend: frontend.clone(), reason: error.to_string() };
        let parts = Parts {
            tokens: AccessTokens::new(sessions.clone(), relying_party.clone(), token_options),
            relying_party,
            sessions,
            cookies: CookiePolicy::new(&self.config.session.cookie_name, &options.url, self.shared_name(options)),
            routes: RouteTable::new(options.routes.clone(), &self.client).map_err(|error| refused(&error))?,
            assets: match &options.assets {
                Some(assets) => {
                    Some(Assets::new(assets, options.url.path(), &self.client).map_err(|error| unusable(&error))?)
                }
                None => None,
            },
            neighbours: self.neighbours(options),
        };
        // The secret may be exchanged, so it has one place: the relying party.
        let client = ClientOptions { auth: ClientAuth::None, ..options.client.clone() };
        Ok(Frontend::new(frontend::Options { client, ..options.clone() }, parts))
    }

    fn provider(&mut self, options: &frontend::Options) -> Arc<Provider> {
        let provider = &options.provider;
        let made = || {
            let http = ProviderHttp::new(self.connections.clone(), provider.timeout);
            Arc::new(Provider::new(provider.clone(), http, self.clock.clone()))
        };
        self.providers.entry(provider.name.clone()).or_insert_with(made).clone()
    }

    fn sealed(&self, options: &frontend::Options) -> SealedStore {
        SealedStore::new(self.backend.clone(), self.keyring.clone(), scope(options), self.breaker.clone())
    }

    fn operators(&self) -> Operators {
        let upkeep = Upkeep::new(self.config.frontends.iter().map(|options| self.sealed(options)).collect());
        Operators { upkeep: Arc::new(upkeep), token: AdminToken::new(self.config.server.admin_token.clone()) }
    }

    /// The paths of frontends below this one.
    fn neighbours(&self, options: &frontend::Options) -> Vec<String> {
        let (ours, path) = (options.url.origin(), options.url.path());
        let is_below = |url: &&Url| url.origin() == ours && url.path() != path && url.path().starts_with(path);
        self.config.frontends.iter().map(|other| &other.url).filter(is_below).map(|url| url.path().to_owned()).collect()
    }

    /// The frontend's name, if its host is shared: cookies there need names of their own.
    fn shared_name<'o>(&self, options: &'o frontend::Options) -> Option<&'o str> {
        let same_host = |other: &&frontend::Options| other.url.origin() == options.url.origin();
        (self.config.frontends.iter().filter(same_host).count() > 1).then_some(options.id.as_str())
    }
}
