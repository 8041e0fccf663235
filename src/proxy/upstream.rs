//! Where a route's calls go: a fixed origin and base path that no request can leave.

use std::fmt;
use std::sync::Arc;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};

use super::client::{Client, Origin, Target, TlsError};
use super::path::{PathRejected, SafePath};
use super::route::RouteOptions;

/// An API's address and the connections that reach it.
pub(super) struct Upstream {
    pub(super) connections: Arc<Origin>,
    /// Ready for `Host`.
    pub(super) host: HeaderValue,
    /// For comparing with where a `Location` points.
    pub(super) origin: url::Origin,
    scheme: Scheme,
    authority: Authority,
    /// The base path as configured; at least `/`.
    bare: String,
}

/// Why a URL is no upstream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// Another scheme than `http` or `https`, or no host.
    #[error("it is not an http or https URL")]
    NotHttp,
    /// User or password: they would be a second set of credentials next to the token.
    #[error("it has a user name or password")]
    Credentials,
    /// A query or fragment: it would be lost.
    #[error("it has a query or fragment")]
    QueryOrFragment,
    /// A base path that requests could not be joined to.
    #[error("its path is ambiguous")]
    Path,
    /// What its TLS needs.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An address without a port, or with more than host and port.
    #[error("one of its addresses is not host and port")]
    Address,
}

impl Upstream {
    /// Takes an origin and base path, as in `https://orders.internal/v1`, and how it is to be reached.
    pub(super) fn new(options: &RouteOptions, client: &Client) -> Result<Self, UpstreamError> {
        let url = &options.upstream;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UpstreamError::Credentials);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(UpstreamError::QueryOrFragment);
        }
        let scheme = match url.scheme() {
            "https" => Scheme::HTTPS,
            "http" => Scheme::HTTP,
            _ => return Err(UpstreamError::NotHttp),
        };
        let authority = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => return Err(UpstreamError::NotHttp),
        };
        SafePath::parse(url.path()).map_err(|PathRejected| UpstreamError::Path)?;
        let host = HeaderValue::try_from(&authority).map_err(|_| UpstreamError::NotHttp)?;
        let authority = Authority::try_from(authority).map_err(|_| UpstreamError::NotHttp)?;
        let origin = Uri::builder().scheme(scheme.clone()).authority(authority.clone()).path_and_query("/");
        let origin = origin.build().map_err(|_| UpstreamError::NotHttp)?;
        if !options.addresses.iter().all(is_host_and_port) {
            return Err(UpstreamError::Address);
        }
        let target = Target {
            origin,
            addresses: options.addresses.clone(),
            max_connections: options.max_connections,
            tls: options.upstream_tls.clone(),
            http_version: options.http_version,
        };
        Ok(Self {
            connections: client.origin(target)?,
            host,
            origin: url.origin(),
            scheme,
            authority,
            bare: url.path().to_owned(),
        })
    }

    /// The base path without its trailing slash; empty for the whole origin.
    pub(super) fn base(&self) -> &str {
        self.bare.trim_end_matches('/')
    }

    /// The address of a call: the route's path is replaced by the base path, the rest goes along byte for byte.
    ///
    /// # Errors
    /// The path could be read in two ways ([`SafePath::parse`]), or is not below `route_path`.
    pub(super) fn join(&self, route_path: &str, path: &str, query: Option<&str>) -> Result<Uri, PathRejected> {
        let path = SafePath::parse(path)?.as_str();
        let rest = path.strip_prefix(route_path.trim_end_matches('/')).ok_or(PathRejected)?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return Err(PathRejected);
        }
        let base = if rest.is_empty() { self.bare.as_str() } else { self.base() };
        let query_length = query.map_or(0, |query| query.len() + 1);
        let mut target = String::with_capacity(base.len() + rest.len() + query_length);
        target.push_str(base);
        target.push_str(rest);
        if let Some(query) = query {
            target.push('?');
            target.push_str(query);
        }
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(PathAndQuery::try_from(target).map_err(|_| PathRejected)?);
        Uri::from_parts(parts).map_err(|_| PathRejected)
    }
}

/// Whether this says where TCP goes, and nothing else.
pub(crate) fn is_host_and_port(address: &Authority) -> bool {
    !address.host().is_empty() && address.port_u16().is_some_and(|port| port > 0) && !address.as_str().contains('@')
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upstream({}://{}{})", self.scheme, self.authority, self.bare)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::properties;
    use super::*;

    fn upstream(url: &str) -> Upstream {
        Upstream::new(&RouteOptions::new("/", url.parse().unwrap()), &Client::for_tests()).unwrap()
    }

    #[test]
    fn the_routes_path_is_replaced_by_the_base_path() {
        for (base, route, path, query, joined) in [
            ("https://o.internal/v1", "/api/orders", "/api/orders/7", Some("x=1"), "https://o.internal/v1/7?x=1"),
            ("https://o.internal/v1", "/api/orders", "/api/orders", None, "https://o.internal/v1"),
            ("https://o.internal/v1/", "/api/orders", "/api/orders", None, "https://o.internal/v1/"),
            ("https://o.internal/v1/", "/api/orders", "/api/orders/7", None, "https://o.internal/v1/7"),
            ("https://o.internal/v1", "/api", "/api/", None, "https://o.internal/v1/"),
            ("http://o.internal:81", "/api", "/api", Some(""), "http://o.internal:81/?"),
            ("http://o.internal", "/", "/a/%20b;c", Some("q=//../%00"), "http://o.internal/a/%20b;c?q=//../%00"),
            ("http://[::1]:81/x", "/", "/", None, "http://[::1]:81/x/"),
        ] {
            let uri = upstream(base).join(route, path, query).unwrap();
            assert_eq!(uri.to_string(), joined);
        }
    }

    #[test]
    fn a_path_beside_the_route_is_refused() {
        for path in ["/apix", "/other", "/ap", "/api/../x"] {
            assert_eq!(upstream("https://o.internal/v1").join("/api", path, None), Err(PathRejected), "{path}");
        }
    }

    #[test]
    fn a_url_with_more_than_origin_and_path_is_no_upstream() {
        for (url, reason) in [
            ("ftp://o.internal/", UpstreamError::NotHttp),
            ("unix:/run/x", UpstreamError::NotHttp),
            ("https://u@o.internal/", UpstreamError::Credentials),
            ("https://:p@o.internal/", UpstreamError::Credentials),
            ("https://o.internal/?q", UpstreamError::QueryOrFragment),
            ("https://o.internal/#f", UpstreamError::QueryOrFragment),
            ("https://o.internal/a//b", UpstreamError::Path),
        ] {
            let options = RouteOptions::new("/", url.parse().unwrap());
            let error = Upstream::new(&options, &Client::for_tests()).unwrap_err();
            assert_eq!(error.to_string(), reason.to_string(), "{url}");
        }
    }

    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            ".", "..", "/", "//", "\\", "%", "%2e", "%2E", "%2f", "%5c", "%25", "25", "2e", "2f", "%00", "%3b", ";",
            "a", "api", "%61", " ", "%20", "é", "%c0%ae", "?", "#", "@", ":",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_accepted_path_leaves_the_base_path(rest in pieces()) {
            properties::path(format!("/api/{rest}").as_bytes());
        }
    }
}
