//! One SPA with its provider, cookies and routes, as one value: the state of every handler.

mod assets;
mod select;

use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderName;
use tokio_util::task::TaskTracker;
use url::Url;

pub(crate) use assets::{ALLOW as ASSETS_ALLOW, Assets, Error as AssetsError, InMemory, Refusal as AssetsRefusal};
pub(crate) use select::{FrontendTable, Selected};

use crate::clock::Timestamp;
use crate::guard::csrf::Proof;
use crate::metric;
use crate::oidc::{ClientOptions, ProviderOptions, RelyingParty, TokenSet};
use crate::proxy::{RouteOptions, RouteTable};
use crate::respond::Voice;
use crate::session::{CookiePolicy, Place, ReturnTo, Sessions};
use crate::tokens::AccessTokens;

/// One frontend, as configured.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Its name in the configuration; part of what sealed values are bound to.
    pub id: String,
    /// Where browsers reach it; path ends in `/`, no query, no fragment. `https`, or `http` on a loopback host.
    pub url: Url,
    /// Where our endpoints are, below the path of `url`: starts with `/`, no trailing slash. Default `/bff`.
    pub base_path: String,
    /// The header that proves a call comes from our page. Default `x-csrf`.
    pub csrf_header: HeaderName,
    /// Who logs people in. Frontends with the same provider share the value.
    pub provider: Arc<ProviderOptions>,
    /// Our registration there.
    pub client: ClientOptions,
    /// What `/bff/login` may be given by anybody's link.
    pub allowed_login_parameters: Vec<LoginParameter>,
    /// Whether the provider may end sessions through the browser (OIDC Front-Channel Logout 1.0). Whoever knows a `sid` then can, too.
    pub frontchannel_logout: bool,
    /// The SPA.
    pub assets: Option<AssetsOptions>,
    /// Where the browser goes after logout: a path (with query, fragment) on this frontend.
    pub after_logout: String,
    /// The allow-list of API calls.
    pub routes: Vec<RouteOptions>,
}

/// Where the SPA's files come from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AssetsOptions {
    /// A directory.
    Dir(PathBuf),
    /// A development server.
    Proxy(Url),
    /// Files inside the program.
    Embedded(&'static [EmbeddedFile]),
}

/// A file of an SPA that is part of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddedFile {
    /// Below the frontend's path, `/`-separated, without a leading slash; its extension tells the media type.
    pub path: &'static str,
    /// Its bytes.
    pub content: &'static [u8],
}

/// A parameter of the authorization request that a login link may set, if allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginParameter {
    /// `prompt`.
    Prompt,
    /// `login_hint`.
    LoginHint,
    /// `acr_values`.
    AcrValues,
    /// `max_age`.
    MaxAge,
    /// `ui_locales`.
    UiLocales,
}

impl LoginParameter {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Prompt, Self::LoginHint, Self::AcrValues, Self::MaxAge, Self::UiLocales];

    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::LoginHint => "login_hint",
            Self::AcrValues => "acr_values",
            Self::MaxAge => "max_age",
            Self::UiLocales => "ui_locales",
        }
    }
}

/// See the module. Clones are cheap.
#[derive(Clone, Debug)]
pub(crate) struct Frontend(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: Options,
    origin: String,
    parts: Parts,
    after_logout: ReturnTo,
    voice: Voice,
    requests: metric::Requests,
    tasks: TaskTracker,
}

/// What a frontend is put together from.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) relying_party: RelyingParty,
    pub(crate) sessions: Sessions,
    pub(crate) tokens: AccessTokens,
    pub(crate) cookies: CookiePolicy,
    pub(crate) routes: RouteTable,
    pub(crate) assets: Option<Assets>,
    /// Paths of other frontends of this origin below ours; each ends in `/`.
    pub(crate) neighbours: Vec<String>,
}

impl Parts {
    /// Whether a path below the frontend's is not for its assets. A login link must not lead into another frontend of the same origin
    /// either: its endpoints and APIs would take the request for one of their own page.
    fn takes(&self, path: &str) -> bool {
        let is_below = |base: &String| path.starts_with(base.as_str()) || path == base.trim_end_matches('/');
        self.routes.owns(path) || self.neighbours.iter().any(is_below)
    }
}

impl Frontend {
    pub(crate) fn new(options: Options, parts: Parts) -> Self {
        let origin = crate::session::origin(&options.url);
        let voice = Voice {
            base_url: format!("{origin}{}", options.base_path).into(),
            login_url: format!("{}/login", options.base_path).into(),
        };
        let is_taken = |path: &str| parts.takes(path);
        let place = Place { frontend: &options.url, base_path: &options.base_path, is_taken: &is_taken };
        let after_logout =
            ReturnTo::parse(&options.after_logout, place).unwrap_or_else(|| ReturnTo::start(&options.url));
        let requests = metric::Requests::of(&options.id);
        Self(Arc::new(Inner { origin, after_logout, voice, requests, tasks: TaskTracker::new(), options, parts }))
    }

    pub(crate) fn id(&self) -> &str {
        &self.0.options.id
    }

    pub(crate) fn options(&self) -> &Options {
        &self.0.options
    }

    pub(crate) fn url(&self) -> &Url {
        &self.0.options.url
    }

    /// Path of our own endpoints, without a slash at the end.
    pub(crate) fn base_path(&self) -> &str {
        &self.0.options.base_path
    }

    pub(crate) fn relying_party(&self) -> &RelyingParty {
        &self.0.parts.relying_party
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.0.parts.sessions
    }

    pub(crate) fn tokens(&self) -> &AccessTokens {
        &self.0.parts.tokens
    }

    pub(crate) fn cookies(&self) -> &CookiePolicy {
        &self.0.parts.cookies
    }

    pub(crate) fn routes(&self) -> &RouteTable {
        &self.0.parts.routes
    }

    pub(crate) fn assets(&self) -> Option<&Assets> {
        self.0.parts.assets.as_ref()
    }

    pub(crate) fn voice(&self) -> &Voice {
        &self.0.voice
    }

    /// Counts its requests.
    pub(crate) fn requests(&self) -> &metric::Requests {
        &self.0.requests
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.sessions().now()
    }

    /// What requests of this frontend's pages are recognised by.
    pub(crate) fn proof(&self) -> Proof<'_> {
        Proof { origin: &self.0.origin, header: &self.0.options.csrf_header }
    }

    /// A destination on this frontend, if it is one.
    pub(crate) fn return_to(&self, input: &str) -> Option<ReturnTo> {
        let is_taken = |path: &str| self.0.parts.takes(path);
        ReturnTo::parse(input, Place { frontend: self.url(), base_path: self.base_path(), is_taken: &is_taken })
    }

    /// The page after logout.
    pub(crate) fn after_logout(&self) -> &ReturnTo {
        &self.0.after_logout
    }

    /// Has the provider forget a refresh token, whatever becomes of the request that asked for it.
    pub(crate) fn revoke_detached(&self, tokens: TokenSet) {
        let Some(refresh_token) = tokens.refresh else { return };
        let this = self.clone();
        self.0.tasks.spawn(async move {
            if let Err(error) = this.relying_party().revoke(&refresh_token).await {
                tracing::warn!(frontend = this.id(), %error, "a refresh token could not be revoked and lives until it runs out");
            }
        });
    }

    /// Sees `work` through, whatever becomes of the request that asked for it: a browser that leaves drops its handler at any
    /// `.await`. `None` if it panicked.
    pub(crate) async fn see_through<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        self.0.tasks.spawn(work).await.ok()
    }

    /// Waits for logins, logouts, revocations and renewals under way.
    pub(crate) async fn drain(&self) {
        self.tokens().drain().await;
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.tasks.reopen();
    }
}
