//! From a path to the API behind it: the allow-list of calls.

use std::num::NonZeroU32;
use std::time::Duration;

use http::uri::Authority;
use http::{HeaderValue, Method};
use url::Url;

use super::client::{Client, HttpVersion, UpstreamTls};
use super::path;
use super::upstream::{Upstream, UpstreamError};
use crate::oidc::Demand;
use crate::prefixes::Prefixes;
use crate::tokens::TokenPolicy;

/// One entry of the allow-list: calls below `path` go to `upstream`. Valid by construction of `config`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RouteOptions {
    /// Absolute path prefix, matched by whole segments; no trailing slash except for `/` itself.
    pub path: String,
    /// Where calls go: origin and base path, no query, no fragment.
    pub upstream: Url,
    /// Whom we trust there and who we are, if it is an `https` URL.
    pub upstream_tls: UpstreamTls,
    /// Which versions of HTTP are spoken there. A WebSocket needs HTTP/1.1.
    pub http_version: HttpVersion,
    /// Hosts with ports: where connections go in place of the host of `upstream`, in turn. Empty: to that host.
    pub addresses: Vec<Authority>,
    /// How many connections may be open to the upstream at the same time. Routes share them if upstream, addresses and this are the
    /// same.
    pub max_connections: NonZeroU32,
    /// Allowed methods; empty means all.
    pub methods: Vec<Method>,
    /// Which token goes along.
    pub token: TokenPolicy,
    /// With `TokenPolicy::None`: a live session is needed all the same.
    pub session_required: bool,
    /// The session's login must be of this `acr` or a stronger one of the provider's `acr_order`. Needs a session.
    pub min_acr: Option<String>,
    /// The person must have authenticated no longer ago than this. Needs a session.
    pub max_auth_age: Option<Duration>,
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

impl RouteOptions {
    /// A route with the defaults of `docs/configuration.md`.
    pub fn new(path: impl Into<String>, upstream: Url) -> Self {
        Self {
            path: path.into(),
            upstream,
            upstream_tls: UpstreamTls::default(),
            http_version: HttpVersion::Auto,
            addresses: Vec::new(),
            max_connections: MAX_CONNECTIONS,
            methods: Vec::new(),
            token: TokenPolicy::Required,
            session_required: false,
            min_acr: None,
            max_auth_age: None,
            csrf: CsrfPolicy::Header,
            shared_cache: false,
            forward_cookies: Vec::new(),
            response_cookies: Vec::new(),
            timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_mins(5),
            max_body: 10 * 1024 * 1024,
        }
    }
}

/// How calls on a route prove that they come from our page.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CsrfPolicy {
    /// The custom header is needed (class *data*).
    Header,
    /// Fetch Metadata or `Origin` alone; written down with a reason.
    Origin {
        /// Why; shown by `check` and in the log.
        reason: String,
        /// HTML answers may run as documents of our origin.
        documents: bool,
    },
}

/// A route that is ready to be called.
#[derive(Debug)]
pub(crate) struct Route {
    pub(super) options: RouteOptions,
    pub(super) upstream: Upstream,
    pub(super) worker_scripts: WorkerScripts,
    demand: Demand,
    allow: HeaderValue,
}

/// What becomes of a request for a script that would run as a worker of our origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkerScripts {
    /// It is refused: an API has no business there.
    Refuse,
    /// It passes: the upstream is where the page itself comes from.
    Relay,
}

impl Route {
    fn new(options: RouteOptions, client: &Client) -> Result<Self, UpstreamError> {
        let upstream = Upstream::new(&options, client)?;
        let allow = allow_header(&options.methods);
        let demand = Demand { acr_values: options.min_acr.iter().cloned().collect(), max_age: options.max_auth_age };
        Ok(Self { options, upstream, worker_scripts: WorkerScripts::Refuse, demand, allow })
    }

    /// The route to a development server that serves the page itself: no token, no session, documents and worker scripts run.
    pub(crate) fn development_server(url: Url, client: &Client) -> Result<Self, UpstreamError> {
        let options = RouteOptions {
            methods: vec![Method::GET],
            token: TokenPolicy::None,
            csrf: CsrfPolicy::Origin { reason: "the page itself".to_owned(), documents: true },
            // Its WebSocket is silent until a file changes, and a page whose WebSocket closes reloads itself.
            idle_timeout: Duration::from_hours(24),
            ..RouteOptions::new("/", url)
        };
        Ok(Self { worker_scripts: WorkerScripts::Relay, ..Self::new(options, client)? })
    }

    /// As configured.
    pub(crate) fn options(&self) -> &RouteOptions {
        &self.options
    }

    /// What a session's login has to have been.
    pub(crate) fn demand(&self) -> &Demand {
        &self.demand
    }

    /// The value of `Allow` for this route.
    pub(crate) fn allow(&self) -> &HeaderValue {
        &self.allow
    }

    /// Whether the method may be called. CONNECT and TRACE never may, however they are written for a lenient upstream: one makes a
    /// tunnel, the other echoes the token.
    pub(crate) fn allows(&self, method: &Method) -> bool {
        if ["CONNECT", "TRACE"].iter().any(|refused| method.as_str().eq_ignore_ascii_case(refused)) {
            return false;
        }
        let methods = &self.options.methods;
        methods.is_empty() || methods.contains(method) || (*method == Method::HEAD && methods.contains(&Method::GET))
    }

    /// Whether a session or token decides what is answered, so that no shared cache may mix the answers up. An anonymous answer
    /// on a `token = "optional"` route counts: it was decided by there being no session.
    pub(super) fn answers_depend_on_the_session(&self) -> bool {
        self.options.token != TokenPolicy::None || self.options.session_required
    }

    /// Whether the upstream's HTML may run as documents of our origin.
    pub(super) fn serves_documents(&self) -> bool {
        matches!(self.options.csrf, CsrfPolicy::Origin { documents: true, .. })
    }
}

fn allow_header(methods: &[Method]) -> HeaderValue {
    let mut names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    if methods.contains(&Method::GET) && !methods.contains(&Method::HEAD) {
        names.push("HEAD");
    }
    // Method names are tokens (RFC 9110 §9.1), so the fallback is only ever used for an empty list.
    match HeaderValue::try_from(names.join(", ")) {
        Ok(allow) if !names.is_empty() => allow,
        _ => HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
    }
}

/// All routes of one frontend, found by the longest prefix of whole segments.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    routes: Vec<Route>,
    /// Place in `routes`, by path.
    by_path: Prefixes<usize>,
    /// The same by the path under [`path::folded`].
    by_folded_path: Prefixes<usize>,
}

impl RouteTable {
    /// Makes all routes ready; no connection is opened.
    ///
    /// # Errors
    /// Two routes with one path, or an upstream that is no plain `http` or `https` URL, or whose TLS files cannot be used. Both name
    /// the route.
    pub(crate) fn new(routes: Vec<RouteOptions>, client: &Client) -> Result<Self, RouteTableError> {
        let mut table = Self::default();
        for options in routes {
            let (place, path) = (table.routes.len(), options.path.clone());
            let folded = path::folded(&path).unwrap_or_else(|| path.clone());
            let route = Route::new(options, client)
                .map_err(|reason| RouteTableError::Upstream { path: path.clone(), reason })?;
            table.routes.push(route);
            // Paths that differ only for some readers would make every call on them ambiguous.
            if table.by_path.insert(&path, place).is_some() || table.by_folded_path.insert(&folded, place).is_some() {
                return Err(RouteTableError::Duplicate { path });
            }
        }
        Ok(table)
    }

    /// The route for a call.
    ///
    /// # Errors
    /// `NotFound`: no route has a prefix of this path. `MethodNotAllowed`: the route has a list without this method.
    /// `PathRejected`: an upstream that decodes, cuts `;parameters` or ignores case would see another route's path, so the other
    /// route's rules could be walked around.
    pub(crate) fn find(&self, path: &str, method: &Method) -> Result<&Route, FindError> {
        let place = *self.by_path.get(path).ok_or(FindError::NotFound)?;
        if self.routes.len() > 1
            && let Some(folded) = path::folded(path)
            && self.by_folded_path.get(&folded) != Some(&place)
        {
            return Err(FindError::PathRejected);
        }
        let route = &self.routes[place];
        if route.allows(method) { Ok(route) } else { Err(FindError::MethodNotAllowed { allow: route.allow.clone() }) }
    }

    /// Whether calls on this path, by any method, belong to a route. Read leniently: a path that some reader would see on a route
    /// is owned by it.
    pub(crate) fn owns(&self, path: &str) -> bool {
        let on_a_route = |path: &str| self.by_folded_path.get(path).is_some();
        self.by_path.get(path).is_some()
            || path::folded(path).map_or_else(|| on_a_route(path), |folded| on_a_route(&folded))
    }

    /// All routes, as configured.
    #[cfg(any(test, feature = "test-util"))]
    pub(super) fn routes(&self) -> &[Route] {
        &self.routes
    }
}

/// Why there is no route for a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FindError {
    /// No route has a prefix of this path.
    #[error("no route has a prefix of this path")]
    NotFound,
    /// There is one, without this method.
    #[error("the route does not allow this method")]
    MethodNotAllowed {
        /// The value of `Allow`.
        allow: HeaderValue,
    },
    /// Different readers would see different routes.
    #[error("the path belongs to different routes for different readers")]
    PathRejected,
}

/// Why a list of routes makes no table.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RouteTableError {
    /// Two routes have this path, or paths that a case-blind or decoding upstream takes for one.
    #[error("there are two routes for {path}")]
    Duplicate {
        /// The second route's path.
        path: String,
    },
    /// The upstream of this route cannot be used.
    #[error("the upstream of {path} cannot be used: {reason}")]
    Upstream {
        /// The route's path.
        path: String,
        /// What is wrong with it.
        reason: UpstreamError,
    },
}

/// Connections to one upstream: as many as there may be requests in flight, so that streams do not use up what calls need.
pub(crate) const MAX_CONNECTIONS: NonZeroU32 = NonZeroU32::new(10_000).expect("a constant");

#[cfg(test)]
mod tests {
    use super::*;

    fn table(paths: &[(&str, &[Method])]) -> RouteTable {
        let routes = paths
            .iter()
            .map(|(path, methods)| RouteOptions {
                methods: methods.to_vec(),
                ..RouteOptions::new(*path, "http://127.0.0.1:9/".parse().unwrap())
            })
            .collect();
        RouteTable::new(routes, &Client::for_tests()).unwrap()
    }

    fn found<'a>(table: &'a RouteTable, path: &str) -> Option<&'a str> {
        table.find(path, &Method::GET).ok().map(|route| route.options.path.as_str())
    }

    #[test]
    fn the_longest_prefix_of_whole_segments_wins() {
        let table = table(&[("/api", &[]), ("/api/orders", &[])]);
        for (path, route) in [
            ("/api", Some("/api")),
            ("/api/", Some("/api")),
            ("/api/x", Some("/api")),
            ("/api/orders", Some("/api/orders")),
            ("/api/orders/", Some("/api/orders")),
            ("/api/orders/7/8", Some("/api/orders")),
            ("/api/ordersx", Some("/api")),
            ("/apix", None),
            ("/", None),
            ("", None),
            ("*", None),
        ] {
            assert_eq!(found(&table, path), route, "{path}");
        }
    }

    #[test]
    fn a_root_route_takes_what_is_left() {
        let table = table(&[("/", &[]), ("/api", &[])]);
        assert_eq!(found(&table, "/"), Some("/"));
        assert_eq!(found(&table, "/x/y"), Some("/"));
        assert_eq!(found(&table, "/api/x"), Some("/api"));
    }

    #[test]
    fn a_more_specific_route_cannot_be_walked_around() {
        let table = table(&[("/api", &[]), ("/api/admin", &[])]);
        for path in [
            "/api/%61dmin/x",
            "/api/%2561dmin/x",
            "/api/Admin",
            "/api/admin;v=1/x",
            "/api/ADMIN/x",
            "/api/admin%3b/x",
            "/api/admin%3Fx/y",
            "/api/admin%20/x",
            "/api/;x/admin",
        ] {
            assert_eq!(table.find(path, &Method::GET).unwrap_err(), FindError::PathRejected, "{path}");
        }
        assert_eq!(found(&table, "/api/Orders/%41;b"), Some("/api"));
    }

    #[test]
    fn a_method_outside_the_list_is_answered_with_allow() {
        let table = table(&[("/api", &[Method::GET, Method::POST]), ("/all", &[])]);
        assert_eq!(
            table.find("/api/x", &Method::DELETE).unwrap_err(),
            FindError::MethodNotAllowed { allow: HeaderValue::from_static("GET, POST, HEAD") }
        );
        assert!(table.find("/api/x", &Method::HEAD).is_ok());
        assert!(table.find("/all/x", &Method::DELETE).is_ok());
    }

    #[test]
    fn connect_and_trace_are_never_allowed() {
        let table = table(&[("/", &[]), ("/api", &[Method::TRACE, Method::CONNECT])]);
        for path in ["/", "/api"] {
            for method in [Method::TRACE, Method::CONNECT] {
                assert!(
                    matches!(table.find(path, &method), Err(FindError::MethodNotAllowed { .. })),
                    "{method} {path}"
                );
            }
        }
    }

    #[test]
    fn owning_ignores_the_method_and_reads_leniently() {
        let table = table(&[("/api", &[Method::POST])]);
        for path in ["/api", "/api/x", "/API/x", "/%61pi/x", "/api;x/y"] {
            assert!(table.owns(path), "{path}");
        }
        for path in ["/", "/apix", "/cart"] {
            assert!(!table.owns(path), "{path}");
        }
    }

    #[test]
    fn two_routes_for_one_path_are_no_table() {
        for (first, second) in [("/api", "/api"), ("/api", "/API")] {
            let routes = [first, second].map(|path| RouteOptions::new(path, "http://127.0.0.1:9/".parse().unwrap()));
            let error = RouteTable::new(routes.to_vec(), &Client::for_tests()).unwrap_err();
            assert!(matches!(error, RouteTableError::Duplicate { path } if path == second));
        }
    }
}
