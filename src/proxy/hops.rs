//! Who called, as a value: the direct peer, and what trusted proxies in front of us said about the browser.
//!
//! The edge resolves it once per request (`guard/forwarded.rs`); here it becomes the `Forwarded` and `X-Forwarded-*` headers of the
//! outgoing call (RFC 7239).

use std::fmt::Write as _;
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
        let mut text = String::with_capacity(256);
        push_address(&mut text, self.client);
        for proxy in &self.proxies {
            text.push_str(", ");
            push_address(&mut text, *proxy);
        }
        let forwarded_at = text.len();
        push_node(&mut text, self.client);
        for part in [";proto=", self.scheme.as_str()] {
            text.push_str(part);
        }
        if let Some(host) = self.host() {
            for part in [";host=\"", host, "\""] {
                text.push_str(part);
            }
        }
        for proxy in &self.proxies {
            text.push_str(", ");
            push_node(&mut text, *proxy);
        }
        let (forwarded_for, forwarded) = text.split_at(forwarded_at);
        // Addresses, schemes and checked authorities are visible ASCII, so neither conversion can fail.
        if let (Ok(forwarded), Ok(forwarded_for)) =
            (HeaderValue::from_str(forwarded), HeaderValue::from_str(forwarded_for))
        {
            headers.insert(FORWARDED, forwarded);
            headers.insert(X_FORWARDED_FOR, forwarded_for);
        }
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(self.scheme.as_str()));
        if let Some(host) = &self.host {
            headers.insert(X_FORWARDED_HOST, host.clone());
        }
    }
}

/// A node with its identifier; IPv6 goes in brackets and so in quotes (RFC 7239 §6).
fn push_node(text: &mut String, address: IpAddr) {
    let (before, after) = if address.is_ipv6() { ("for=\"[", "]\"") } else { ("for=", "") };
    text.push_str(before);
    push_address(text, address);
    text.push_str(after);
}

/// `Display` does the same; for IPv4, which is on every call twice, it takes ten times as long.
fn push_address(text: &mut String, address: IpAddr) {
    let IpAddr::V4(address) = address else {
        let _ = write!(text, "{address}");
        return;
    };
    let mut separator = "";
    for octet in address.octets() {
        text.push_str(separator);
        separator = ".";
        let digits = [octet / 100, octet / 10 % 10, octet % 10];
        let leading = if octet < 10 { 2 } else { usize::from(octet < 100) };
        text.extend(digits[leading..].iter().map(|digit| char::from(b'0' + digit)));
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
    fn addresses_are_written_as_they_are_displayed() {
        for address in ["0.0.0.0", "9.10.99.100", "1.199.200.255", "::1", "2001:db8::", "::ffff:1.2.3.4"] {
            let mut text = String::new();
            push_address(&mut text, address.parse().unwrap());
            assert_eq!(text, address);
        }
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
