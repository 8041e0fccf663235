//! A Cloakroom with everything around it, on free ports.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use cloakroom::Cloakroom;
use cloakroom::app::{Listener, ReloadError, Reloaded, ServeError};
use cloakroom::clock::{Clock as _, ManualClock, SystemClock};
use cloakroom::config::{Config, LoadOptions};
use cloakroom::demo::api::{EchoApi, EchoApiOptions, ReceivedRequest};
use cloakroom::demo::faults::Fault;
use cloakroom::demo::idp::{Call, DevClient, DevProvider, DevProviderOptions};
use cloakroom::store::{Cursor, MemoryBackend, SessionBackend};
use http::{Request, StatusCode};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use url::Url;

use super::browser::Browser;
use super::logs;

/// See the module. Dropping it searches everything that was logged for every secret it issued.
pub(crate) struct TestApp {
    /// Where browsers reach it: `http://localhost:PORT`.
    pub(crate) url: String,
    pub(crate) provider: DevProvider,
    pub(crate) api: EchoApi,
    pub(crate) clock: ManualClock,
    pub(crate) backend: Arc<dyn SessionBackend>,
    sources: LoadOptions,
    environment: Vec<(String, String)>,
    handlers: Router,
    running: Option<Running>,
    _spa: TempDir,
}

/// The program while it serves.
struct Running {
    cloakroom: Cloakroom,
    shutdown: CancellationToken,
    served: JoinHandle<Result<(), ServeError>>,
}

/// How a test wants its app.
pub(crate) struct Setup {
    variables: Vec<(String, String)>,
    routes: String,
    client: Box<dyn Fn(&mut DevClient)>,
    backend: Arc<dyn SessionBackend>,
    access_token_lifetime: Duration,
    secret: String,
    handlers: Router,
    exporter: Option<Exporter>,
}

/// Writes out what was counted.
type Exporter = Box<dyn Fn() -> String + Send + Sync>;

impl Setup {
    /// Sets a variable of the short or long form.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A route, in the words of `cloakroom.toml`; the echo API is its upstream unless it says another. Replaces the default one.
    pub(crate) fn route(mut self, toml: &str) -> Self {
        let upstream = if toml.contains("upstream") { "" } else { "upstream = '{api}'\n" };
        self.routes += "[[frontends.default.routes]]\n";
        self.routes += upstream;
        self.routes += toml;
        self.routes += "\n";
        self
    }

    /// Changes the registration at the provider.
    pub(crate) fn client(mut self, change: impl Fn(&mut DevClient) + 'static) -> Self {
        self.client = Box::new(change);
        self
    }

    /// Keeps sessions here.
    pub(crate) fn backend(mut self, backend: Arc<dyn SessionBackend>) -> Self {
        self.backend = backend;
        self
    }

    pub(crate) fn access_tokens_live(mut self, lifetime: Duration) -> Self {
        self.access_token_lifetime = lifetime;
        self
    }

    /// A second frontend below the first, `admin`, which shares the registration at the provider.
    pub(crate) fn second_frontend(self) -> Self {
        let setup = self.client(|client| {
            let redirect = client.redirect_uris[0].replace("/bff/", "/admin/bff/");
            client.redirect_uris.push(redirect);
        });
        setup
            .variable("CLOAKROOM__FRONTENDS__ADMIN__URL", "{url}/admin/")
            .variable("CLOAKROOM__FRONTENDS__ADMIN__CLIENT_ID", "shop")
            .variable("CLOAKROOM__FRONTENDS__ADMIN__CLIENT_AUTH__SECRET", "a secret of the shop")
    }

    /// Adds an embedder's handlers.
    pub(crate) fn handlers(mut self, handlers: Router) -> Self {
        self.handlers = handlers;
        self
    }

    /// Has `/metrics` answer.
    pub(crate) fn metrics(mut self, exporter: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.exporter = Some(Box::new(exporter));
        self
    }

    pub(crate) fn client_secret(mut self, secret: &str) -> Self {
        secret.clone_into(&mut self.secret);
        self
    }

    pub(crate) async fn start(self) -> TestApp {
        logs::capture();
        let clock = ManualClock::at(SystemClock.now());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("http://localhost:{port}");
        let at = |path: &str| Url::parse(&format!("{url}{path}")).unwrap();
        let mut client = DevClient::new("shop", self.secret.as_str(), &at("/bff/callback"), &at("/bff/logged-out"))
            .told_of_logouts_at(&at("/bff/backchannel-logout"));
        (self.client)(&mut client);
        let options = DevProviderOptions {
            clients: vec![client],
            access_token_lifetime: self.access_token_lifetime,
            clock: Arc::new(clock.clone()),
        };
        let provider = DevProvider::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), options);
        let options = EchoApiOptions { introspect: Some(Arc::new(provider.introspection())) };
        let api = EchoApi::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), options);
        let spa = spa();
        let mut sources = LoadOptions::default();
        let defaults = [
            ("CLOAKROOM_URL", url.clone()),
            ("CLOAKROOM_ISSUER", provider.issuer().to_owned()),
            ("CLOAKROOM_CLIENT_ID", "shop".to_owned()),
            ("CLOAKROOM_CLIENT_SECRET", self.secret.clone()),
            ("CLOAKROOM_SCOPES", "openid profile email offline_access".to_owned()),
            ("CLOAKROOM_ROUTES", format!("/api={}", api.url())),
            ("CLOAKROOM_ASSETS", spa.path().display().to_string()),
            ("CLOAKROOM_STORE", "memory:".to_owned()),
            ("CLOAKROOM_ALLOWED_LOGIN_PARAMETERS", "prompt,acr_values,max_age".to_owned()),
        ];
        if !self.routes.is_empty() {
            sources = sources.toml("cloakroom.toml", self.routes.replace("{api}", &api.url()));
        }
        let mut environment = Vec::new();
        for (name, value) in defaults {
            if name == "CLOAKROOM_ROUTES" && !self.routes.is_empty() {
                continue;
            }
            if !self.variables.iter().any(|(set, _)| set == name) {
                environment.push((name.to_owned(), value));
            }
        }
        for (name, value) in &self.variables {
            let value =
                value.replace("{api}", &api.url()).replace("{issuer}", provider.issuer()).replace("{url}", &url);
            environment.push((name.clone(), value));
        }
        for (name, value) in &environment {
            sources = sources.variable(name, value);
        }
        let (backend, handlers) = (self.backend, self.handlers);
        let extras = (handlers.clone(), self.exporter);
        let running = Some(serve(&sources, backend.clone(), &clock, listener, extras).await);
        TestApp { url, provider, api, clock, backend, sources, environment, handlers, running, _spa: spa }
    }
}

impl TestApp {
    /// An app with a memory store and a confidential client.
    pub(crate) async fn start() -> Self {
        Self::with().start().await
    }

    pub(crate) fn with() -> Setup {
        Setup {
            variables: Vec::new(),
            routes: String::new(),
            client: Box::new(|_| {}),
            backend: Arc::new(MemoryBackend::new()),
            access_token_lifetime: Duration::from_mins(5),
            secret: "a secret of the shop".to_owned(),
            handlers: Router::new(),
            exporter: None,
        }
    }

    /// Ends the program.
    pub(crate) async fn stop(&mut self) {
        let Running { cloakroom, shutdown, served } = self.running.take().unwrap();
        drop(cloakroom);
        shutdown.cancel();
        served.await.unwrap().unwrap();
    }

    /// What an embedder calls at its end.
    pub(crate) async fn drain(&self) {
        self.running.as_ref().unwrap().cloakroom.drain().await;
    }

    /// Ends the program if it runs, and starts it anew at the same place, with this store and this master key.
    pub(crate) async fn restart(&mut self, backend: Arc<dyn SessionBackend>, key: &str) {
        self.restart_with(backend, &[("CLOAKROOM_KEY", key)]).await;
    }

    /// The same, with these variables set.
    pub(crate) async fn restart_with(&mut self, backend: Arc<dyn SessionBackend>, variables: &[(&str, &str)]) {
        if self.running.is_some() {
            self.stop().await;
        }
        let port = Url::parse(&self.url).unwrap().port().unwrap();
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        for &(name, value) in variables {
            self.sources = self.sources.clone().variable(name, value);
        }
        let extras = (self.handlers.clone(), None);
        self.running = Some(serve(&self.sources, backend.clone(), &self.clock, listener, extras).await);
        self.backend = backend;
    }

    /// The built program, configured by the variables this app was started with and no others.
    pub(crate) fn program(&self) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_cloakroom"));
        program.env_clear().envs(self.environment.iter().cloned());
        program
    }

    /// What the public listener answers, without a listener.
    pub(crate) fn router(&self) -> Router {
        self.running.as_ref().unwrap().cloakroom.router()
    }

    /// What the admin listener answers, without a listener.
    pub(crate) fn admin_router(&self) -> Router {
        self.running.as_ref().unwrap().cloakroom.admin_router()
    }

    /// Has operators served as well, on `admin`, for as long as the app is.
    pub(crate) async fn serve_operators(&self, admin: impl Into<Listener>) {
        let Running { cloakroom, shutdown, .. } = self.running.as_ref().unwrap();
        let nobodys = TcpListener::bind("127.0.0.1:0").await.unwrap();
        tokio::spawn(cloakroom.clone().serve(nobodys, Some(admin.into()), shutdown.clone().cancelled_owned()));
    }

    /// What the admin listener says to a GET.
    pub(crate) async fn ask_admin(&self, path: &str) -> (StatusCode, String) {
        let admin = self.admin_router();
        let request = Request::get(path).header("host", "localhost").body(Body::empty()).unwrap();
        let Ok(answer) = admin.oneshot(request).await;
        let (status, body) = (answer.status(), to_bytes(answer.into_body(), usize::MAX).await.unwrap());
        (status, String::from_utf8(body.into()).unwrap())
    }

    /// Has the program read its configuration again, with this variable set.
    pub(crate) fn reload(&mut self, name: &str, value: &str) -> Result<Reloaded, ReloadError> {
        self.sources = self.sources.clone().variable(name, value);
        let config = Config::load(&self.sources).unwrap_or_else(|findings| panic!("{findings}"));
        self.running.as_ref().unwrap().cloakroom.reload(config)
    }

    /// Another Cloakroom over the same store, that nobody listens to, with these variables set.
    pub(crate) async fn replica(&self, variables: &[(&str, &str)]) -> (Cloakroom, LoadOptions) {
        let set = |sources: LoadOptions, &(name, value): &(&str, &str)| sources.variable(name, value);
        let sources = variables.iter().fold(self.sources.clone(), set);
        (build(&sources, self.backend.clone(), &self.clock, (Router::new(), None)).await, sources)
    }

    /// A browser without cookies.
    pub(crate) fn browser(&self) -> Browser {
        Browser::new(&self.url)
    }

    /// A browser in which somebody is logged in.
    pub(crate) async fn logged_in(&self, username: &str) -> Browser {
        let mut browser = self.browser();
        browser.log_in("/", username).await;
        browser
    }

    pub(crate) fn misbehave(&self, fault: Fault) -> &Self {
        self.provider.faults().set(fault);
        self
    }

    /// Calls to one endpoint of the provider.
    pub(crate) fn calls(&self, path: &str) -> Vec<Call> {
        self.provider.calls().into_iter().filter(|call| call.path == path).collect()
    }

    /// Paths of all calls to the provider that were not a browser's, oldest first.
    pub(crate) fn calls_behind(&self) -> Vec<String> {
        let of_browsers = ["/authorize", "/login", "/second-factor", "/end_session"];
        let paths = self.provider.calls().into_iter().map(|call| call.path);
        paths.filter(|path| !of_browsers.contains(&path.as_str())).collect()
    }

    /// Token calls with this grant type.
    pub(crate) fn grants(&self, grant_type: &str) -> usize {
        self.calls("/token").iter().filter(|call| call.form_value("grant_type") == Some(grant_type)).count()
    }

    /// Waits for something that happens behind an answer.
    pub(crate) async fn eventually(&self, holds: impl Fn(&Self) -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(5), async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.expect("it never happened");
    }

    /// What the API received.
    pub(crate) fn api_saw(&self) -> Vec<ReceivedRequest> {
        self.api.requests()
    }

    /// How many sessions rest in the store, retired ones not counted.
    pub(crate) async fn sessions(&self) -> usize {
        self.backend.scan(Cursor::default()).await.unwrap().rows.len()
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.shutdown.cancel();
        }
        if !std::thread::panicking() {
            let issued = self.provider.issued().into_iter().map(|secret| ("a token or code".to_owned(), secret));
            logs::assert_holds_none_of(issued);
        }
    }
}

async fn serve(
    sources: &LoadOptions,
    backend: Arc<dyn SessionBackend>,
    clock: &ManualClock,
    listener: TcpListener,
    extras: (Router, Option<Exporter>),
) -> Running {
    let cloakroom = build(sources, backend, clock, extras).await;
    let shutdown = CancellationToken::new();
    let served = tokio::spawn(cloakroom.clone().serve(listener, None, shutdown.clone().cancelled_owned()));
    Running { cloakroom, shutdown, served }
}

async fn build(
    sources: &LoadOptions,
    backend: Arc<dyn SessionBackend>,
    clock: &ManualClock,
    (handlers, exporter): (Router, Option<Exporter>),
) -> Cloakroom {
    let config = Config::load(sources).unwrap_or_else(|findings| panic!("{findings}"));
    let mut builder =
        Cloakroom::builder(config).backend(backend).clock(Arc::new(clock.clone())).handlers("default", handlers);
    if let Some(exporter) = exporter {
        builder = builder.metrics(exporter);
    }
    builder.build().await.unwrap()
}

/// A small SPA in a directory of its own.
fn spa() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(PathBuf::from(dir.path()).join(name), text).unwrap();
    write("index.html", "<!doctype html><title>shop</title>");
    write("app.js", "console.log('shop')");
    dir
}
