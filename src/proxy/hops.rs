//! Who called, as a value: the direct peer, and what trusted proxies in front of us said about the browser.
//!
//! The edge resolves it once per request (`guard/forwarded.rs`); here it becomes the `Forwarded` and `X-Forwarded-*` headers of the
//! outgoing call (RFC 7239).

use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue};

/// The other end of a connection, as the listener saw it. Put into the extensions of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its address; of a proxy, if one is in front.
    pub(crate) address: SocketAddr,
    /// Whether the connection itself is encrypted.
    pub(crate) scheme: Scheme,
}

/// How the browser speaks to the outermost of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// As in a URL.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The browser's side of a request, as far as it can be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientHops {
    /// The first address that is no trusted proxy, seen from us.
    pub(crate) client: IpAddr,
    /// The trusted proxies between the client and us, outermost first; usually none.
    pub(crate) proxies: Vec<IpAddr>,
    /// What the client spoke.
    pub(crate) scheme: Scheme,
    /// The authority the client asked for: letters, digits and `.-_:[]` only. None if there was none, or more than one.
    pub(crate) host: Option<HeaderValue>,
}

impl ClientHops {
    /// The authority the client asked for, as text.
    pub(crate) fn host(&self) -> Option<&str> {
        self.host.as_ref().and_then(|host| host.to_str().ok())
    }

    /// Writes the headers that tell an upstream who called. Nothing of the kind may be left in `headers`.
    pub(super) fn announce(&self, headers: &mut HeaderMap) {
        let mut forwarded = String::with_capacity(96);
        let mut forwarded_for = self.client.to_string();
        let (before, after) = if self.client.is_ipv6() { ("for=\"[", "]\";proto=") } else { ("for=", ";proto=") };
        for part in [before, &forwarded_for, after, self.scheme.as_str()] {
            forwarded.push_str(part);
        }
        if let Some(host) = self.host() {
            for part in [";host=\"", host, "\""] {
                forwarded.push_str(part);
            }
        }
        for proxy in &self.proxies {
            let _ = write!(forwarded, ", for={}", Node(*proxy));
            let _ = write!(forwarded_for, ", {proxy}");
        }
        // Addresses, schemes and checked authorities are visible ASCII, so neither conversion can fail.
        if let (Ok(forwarded), Ok(forwarded_for)) = (forwarded.try_into(), forwarded_for.try_into()) {
            headers.insert(FORWARDED, forwarded);
            headers.insert(X_FORWARDED_FOR, forwarded_for);
        }
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(self.scheme.as_str()));
        if let Some(host) = &self.host {
            headers.insert(X_FORWARDED_HOST, host.clone());
        }
    }
}

/// A node identifier; IPv6 goes in brackets and so in quotes (RFC 7239 §6).
struct Node(IpAddr);

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(address) => write!(f, "\"[{address}]\""),
        }
    }
}

/// `X-Forwarded-For`.
pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `X-Forwarded-Proto`.
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `X-Forwarded-Host`.
pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direct_client_is_announced_alone() {
        let mut headers = HeaderMap::new();
        ClientHops {
            client: IpAddr::from([203, 0, 113, 7]),
            proxies: Vec::new(),
            scheme: Scheme::Https,
            host: Some(HeaderValue::from_static("shop.example")),
        }
        .announce(&mut headers);
        assert_eq!(headers["forwarded"], "for=203.0.113.7;proto=https;host=\"shop.example\"");
        assert_eq!(headers["x-forwarded-for"], "203.0.113.7");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-forwarded-host"], "shop.example");
    }

    #[test]
    fn ipv6_is_bracketed_and_quoted_in_forwarded_only() {
        let mut headers = HeaderMap::new();
        ClientHops {
            client: "2001:db8::1".parse().unwrap(),
            proxies: vec![IpAddr::from([10, 0, 0, 2])],
            scheme: Scheme::Http,
            host: None,
        }
        .announce(&mut headers);
        assert_eq!(headers["forwarded"], "for=\"[2001:db8::1]\";proto=http, for=10.0.0.2");
        assert_eq!(headers["x-forwarded-for"], "2001:db8::1, 10.0.0.2");
        assert!(!headers.contains_key("x-forwarded-host"));
    }
}
