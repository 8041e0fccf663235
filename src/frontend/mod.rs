//! One SPA with its provider, cookies and routes.
use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderName;
use url::Url;

use crate::oidc::{ClientOptions, ProviderOptions};
use crate::proxy::RouteOptions;

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
    /// Answer front-channel logout.
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
}

/// A parameter of the authorization request that a login link may set, if allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the registered names say it")]
pub enum LoginParameter {
    Prompt,
    LoginHint,
    AcrValues,
    MaxAge,
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
