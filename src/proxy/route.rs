use crate::tokens::TokenPolicy;
use http::Method;
use std::time::Duration;
use url::Url;

/// One entry of the allow-list: calls below `path` go to `upstream`. Valid by construction of `config`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RouteOptions {
    /// Absolute path prefix, matched by whole segments; no trailing slash except for `/` itself.
    pub path: String,
    /// Where calls go: origin and base path, no query, no fragment.
    pub upstream: Url,
    /// Allowed methods; empty means all.
    pub methods: Vec<Method>,
    /// Which token goes along.
    pub token: TokenPolicy,
    /// With `TokenPolicy::None`: a live session is needed all the same.
    pub session_required: bool,
    /// How a call proves that it comes from our page.
    pub csrf: CsrfPolicy,
    /// `public` and `s-maxage` of the upstream are believed.
    pub shared_cache: bool,
    /// Names of the browser's cookies that pass.
    pub forward_cookies: Vec<String>,
    /// Names of `Set-Cookie` that may pass back.
    pub response_cookies: Vec<String>,
    /// To the response head.
    pub timeout: Duration,
    /// Between two pieces of a stream.
    pub idle_timeout: Duration,
    /// Largest request body, in bytes.
    pub max_body: u64,
}

/// How calls on a route prove that they come from our page.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CsrfPolicy {
    /// The custom header is needed (class *data*).
    Header,
    /// Fetch Metadata or `Origin` alone; written down with a reason.
    Origin {
        /// Why; shown by `check`, the log and the metrics.
        reason: String,
        /// HTML answers may run as documents of our origin.
        documents: bool,
    },
}
