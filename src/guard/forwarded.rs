//! Who called, as far as it can be believed: the direct peer, or what trusted proxies said of the one before them.
//!
//! `X-Forwarded-For`, `-Proto`, `-Host` and `Forwarded` (RFC 7239) are read only if the peer is a trusted proxy, and from right to
//! left: every entry was written by the hop to its right, so the first address that is no trusted proxy is the client, and what
//! stands left of it was written by the client itself. If a request has `X-Forwarded-For`, `Forwarded` is not looked at: a proxy
//! that writes the one usually lets the other through from the browser. A proxy that writes `Forwarded` must remove `X-Forwarded-*`.

use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Version};
use ipnet::IpNet;

use crate::proxy::{ClientHops, Peer, Scheme, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};

/// The browser's side of a request, whose target's authority (HTTP/2, absolute form) goes before `Host`.
pub(crate) fn resolve<B>(peer: Peer, request: &Request<B>, trusted: &[IpNet]) -> ClientHops {
    let headers = request.headers();
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let direct = ClientHops {
        client: peer.address.ip().to_canonical(),
        proxies: Vec::new(),
        scheme: peer.scheme,
        host: asked_host(request),
    };
    if !is_trusted(direct.client) {
        return direct;
    }
    let entries = if headers.contains_key(X_FORWARDED_FOR) || !headers.contains_key(FORWARDED) {
        x_forwarded(headers)
    } else {
        forwarded(headers)
    };
    walk(direct, &entries, is_trusted)
}

/// What one hop said of the one before it.
#[derive(Debug, Default)]
struct Entry {
    node: Option<IpAddr>,
    scheme: Option<Scheme>,
    host: Option<HeaderValue>,
}

/// Goes back over trusted hops. `entries` start with the peer's own.
fn walk(mut hops: ClientHops, entries: &[Entry], is_trusted: impl Fn(IpAddr) -> bool) -> ClientHops {
    for entry in entries {
        // The outermost trusted hop knows best what the browser spoke.
        hops.scheme = entry.scheme.unwrap_or(hops.scheme);
        if entry.host.is_some() {
            hops.host.clone_from(&entry.host);
        }
        // `unknown` and obfuscated nodes (RFC 7239 §6.2, §6.3) end the walk: the hop that wrote it stands for the client.
        let Some(node) = entry.node else { break };
        hops.proxies.insert(0, hops.client);
        hops.client = node;
        if !is_trusted(node) {
            break;
        }
    }
    hops
}

/// The entries of `X-Forwarded-*`, from the right. Proxies that overwrite `Proto` and `Host` leave fewer of them than of `For`;
/// all there are then were written by the hops nearest to us.
fn x_forwarded(headers: &HeaderMap) -> Vec<Entry> {
    let nodes = from_the_right(headers, &X_FORWARDED_FOR);
    let schemes = from_the_right(headers, &X_FORWARDED_PROTO);
    let hosts = from_the_right(headers, &X_FORWARDED_HOST);
    // Without `For` the peer may still say what the browser spoke.
    (0..nodes.len().max(1))
        .map(|at| Entry {
            node: nodes.get(at).and_then(|text| node(text)),
            scheme: schemes.get(at).and_then(|text| scheme(text)),
            host: hosts.get(at).and_then(|text| host(text)),
        })
        .collect()
}

/// The elements of `Forwarded`, from the right (RFC 7239 §4).
fn forwarded(headers: &HeaderMap) -> Vec<Entry> {
    from_the_right(headers, &FORWARDED).into_iter().map(element).collect()
}

fn element(element: &str) -> Entry {
    let mut entry = Entry::default();
    for pair in split_from_the_right(element.as_bytes(), b';') {
        let Some((name, value)) = text(pair).split_once('=') else { continue };
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        match name.trim_ascii().to_ascii_lowercase().as_str() {
            "for" => entry.node = node(value),
            "proto" => entry.scheme = scheme(value),
            "host" => entry.host = host(value),
            _ => {}
        }
    }
    entry
}

/// All values of a list header, last first. One that is no text is unreadable, and those beside it are read all the same: or a client
/// could hide what the proxy appends behind one byte of its own.
fn from_the_right<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let mut lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    lines.reverse();
    lines.into_iter().flat_map(|line| split_from_the_right(line, b',')).map(text).collect()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap_or_default()
}

/// Splits outside quotes, last piece first. Read from the right, a quote that a client left open cannot swallow what a proxy
/// appended.
fn split_from_the_right(list: &[u8], separator: u8) -> Vec<&[u8]> {
    let (mut pieces, mut quoted, mut end) = (Vec::new(), false, list.len());
    for (at, byte) in list.iter().enumerate().rev() {
        if *byte == b'"' {
            quoted = !quoted;
        } else if *byte == separator && !quoted {
            pieces.push(list[at + 1..end].trim_ascii());
            end = at;
        }
    }
    pieces.push(list[..end].trim_ascii());
    pieces
}

/// An address, with or without port and brackets.
fn node(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

fn scheme(text: &str) -> Option<Scheme> {
    match text {
        _ if text.eq_ignore_ascii_case("https") || text.eq_ignore_ascii_case("wss") => Some(Scheme::Https),
        _ if text.eq_ignore_ascii_case("http") || text.eq_ignore_ascii_case("ws") => Some(Scheme::Http),
        _ => None,
    }
}

/// An authority without user information, in characters that mean nothing in a header or URL.
fn host(text: &str) -> Option<HeaderValue> {
    is_host(text.as_bytes()).then(|| HeaderValue::from_str(text).ok()).flatten()
}

fn is_host(text: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(byte);
    !text.is_empty() && text.len() <= LONGEST_HOST && text.iter().all(is_plain)
}

/// The authority of the request target, or the one `Host`. Beside a target, HTTP/1.1 ignores `Host` (RFC 9112 §3.2.2), and HTTP/2
/// has it say the same (RFC 9113 §8.3.1).
fn asked_host<B>(request: &Request<B>) -> Option<HeaderValue> {
    let mut hosts = request.headers().get_all(HOST).iter();
    if let Some(authority) = request.uri().authority() {
        let differs = |host: &HeaderValue| !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes());
        let contradicted = request.version() == Version::HTTP_2 && hosts.any(differs);
        return if contradicted { None } else { host(authority.as_str()) };
    }
    let (Some(only), None) = (hosts.next(), hosts.next()) else { return None };
    is_host(only.as_bytes()).then(|| only.clone())
}

/// A domain name and a port.
const LONGEST_HOST: usize = 253 + 6;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::properties;
    use super::*;

    fn request(uri: &str, pairs: &[(&'static str, &str)]) -> Request<()> {
        let builder = Request::get(uri);
        pairs.iter().fold(builder, |request, (name, value)| request.header(*name, *value)).body(()).unwrap()
    }

    fn resolved(peer: &str, pairs: &[(&'static str, &str)]) -> ClientHops {
        let peer = Peer { address: peer.parse().unwrap(), scheme: Scheme::Http };
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        resolve(peer, &request("/", pairs), &trusted)
    }

    fn client(peer: &str, pairs: &[(&'static str, &str)]) -> String {
        resolved(peer, pairs).client.to_string()
    }

    #[test]
    fn a_stranger_is_not_believed() {
        let hops = resolved(
            "203.0.113.7:1",
            &[
                ("host", "shop.example"),
                ("x-forwarded-for", "10.0.0.1"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "evil.example"),
                ("forwarded", "for=10.0.0.1;proto=https;host=evil.example"),
            ],
        );
        assert_eq!(hops.client, IpAddr::from([203, 0, 113, 7]));
        assert_eq!((hops.scheme, hops.host()), (Scheme::Http, Some("shop.example")));
        assert!(hops.proxies.is_empty());
    }

    #[test]
    fn the_client_is_the_first_untrusted_address_from_the_right() {
        for (value, expected) in [
            ("203.0.113.7", "203.0.113.7"),
            ("1.1.1.1, 203.0.113.7", "203.0.113.7"),
            ("1.1.1.1, 203.0.113.7, 10.0.0.3", "203.0.113.7"),
            ("10.0.0.9, 203.0.113.7", "203.0.113.7"),
            ("10.0.0.9, 10.0.0.3", "10.0.0.9"),
            ("203.0.113.7:4711", "203.0.113.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:4711", "2001:db8::7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("203.0.113.7, unknown", "10.0.0.2"),
            ("203.0.113.7, \"", "10.0.0.2"),
            ("", "10.0.0.2"),
        ] {
            assert_eq!(client("10.0.0.2:1", &[("x-forwarded-for", value)]), expected, "{value}");
        }
        assert_eq!(
            client("10.0.0.2:1", &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "203.0.113.7")]),
            "203.0.113.7"
        );
        assert_eq!(client("[::ffff:10.0.0.2]:1", &[("x-forwarded-for", "203.0.113.7")]), "203.0.113.7");
    }

    #[test]
    fn no_byte_of_a_clients_hides_what_the_proxy_appends() {
        for (name, value) in
            [("x-forwarded-for", &b"\xff, 203.0.113.7"[..]), ("forwarded", b"for=\xc3, for=203.0.113.7")]
        {
            let mut request = request("/", &[]);
            request.headers_mut().insert(name, HeaderValue::from_bytes(value).unwrap());
            let peer = Peer { address: "10.0.0.2:1".parse().unwrap(), scheme: Scheme::Http };
            let hops = resolve(peer, &request, &["10.0.0.0/8".parse().unwrap()]);
            assert_eq!(hops.client, IpAddr::from([203, 0, 113, 7]), "{name}");
        }
    }

    #[test]
    fn forwarded_is_read_the_same_way() {
        for (value, expected) in [
            ("for=203.0.113.7", "203.0.113.7"),
            ("For=\"[2001:db8::7]:4711\";proto=https", "2001:db8::7"),
            ("for=1.1.1.1, for=203.0.113.7;by=10.0.0.2, for=10.0.0.3", "203.0.113.7"),
            ("for=_hidden, for=10.0.0.3", "10.0.0.3"),
            ("for=\"1.1.1.1, for=203.0.113.7", "203.0.113.7"),
            ("proto=https", "10.0.0.2"),
        ] {
            assert_eq!(client("10.0.0.2:1", &[("forwarded", value)]), expected, "{value}");
        }
    }

    #[test]
    fn the_other_family_cannot_contradict_x_forwarded_for() {
        let hops = resolved(
            "10.0.0.2:1",
            &[
                ("x-forwarded-for", "203.0.113.7"),
                ("forwarded", "for=1.1.1.1;proto=https;host=evil.example"),
                ("host", "shop.example"),
            ],
        );
        assert_eq!(hops.client, IpAddr::from([203, 0, 113, 7]));
        assert_eq!((hops.scheme, hops.host()), (Scheme::Http, Some("shop.example")));
    }

    #[test]
    fn scheme_and_host_come_from_the_outermost_trusted_hop() {
        for (pairs, scheme, host) in [
            (&[("x-forwarded-proto", "https")][..], Scheme::Https, None),
            (&[("x-forwarded-for", "203.0.113.7"), ("x-forwarded-proto", "http, https")], Scheme::Https, None),
            (
                &[("x-forwarded-for", "203.0.113.7, 10.0.0.3"), ("x-forwarded-proto", "https, http")],
                Scheme::Https,
                None,
            ),
            (&[("x-forwarded-for", "203.0.113.7, 10.0.0.3"), ("x-forwarded-proto", "https")], Scheme::Https, None),
            (
                &[("x-forwarded-for", "1.1.1.1, 203.0.113.7"), ("x-forwarded-host", "evil.example, shop.example")],
                Scheme::Http,
                Some("shop.example"),
            ),
            (&[("x-forwarded-for", "203.0.113.7"), ("x-forwarded-host", "a@evil.example")], Scheme::Http, None),
            (
                &[(
                    "forwarded",
                    "for=1.1.1.1;host=evil.example, for=203.0.113.7;proto=HTTPS;host=\"shop.example:8443\"",
                )],
                Scheme::Https,
                Some("shop.example:8443"),
            ),
            (&[("x-forwarded-proto", "javascript")], Scheme::Http, None),
        ] {
            let hops = resolved("10.0.0.2:1", pairs);
            assert_eq!((hops.scheme, hops.host()), (scheme, host), "{pairs:?}");
        }
    }

    #[test]
    fn proxies_are_named_outermost_first() {
        let hops = resolved("10.0.0.2:1", &[("x-forwarded-for", "203.0.113.7, 10.0.0.4, 10.0.0.3")]);
        assert_eq!(
            hops.proxies,
            ["10.0.0.4", "10.0.0.3", "10.0.0.2"].map(|address| address.parse::<IpAddr>().unwrap())
        );
    }

    proptest! {
        #[test]
        fn only_a_trusted_proxy_is_believed(
            lines in prop::collection::vec(
                (prop::sample::select(vec!["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "forwarded", "host"]),
                 "([ -~]{0,40}|(for|host|proto)=\"?[0-9.,a-z\";: ]{0,30})"),
                0..6,
            ),
        ) {
            let lines: Vec<_> = lines.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            properties::forwarded(lines.join("\n").as_bytes());
        }
    }

    #[test]
    fn the_target_goes_before_host_and_two_hosts_are_none() {
        let peer = Peer { address: "203.0.113.7:1".parse().unwrap(), scheme: Scheme::Https };
        let asked = |uri: &'static str, pairs: &[(&'static str, &str)]| resolve(peer, &request(uri, pairs), &[]).host;
        let host = |text: &'static str| Some(HeaderValue::from_static(text));
        assert_eq!(asked("https://shop.example/x", &[("host", "other.example")]), host("shop.example"));
        assert_eq!(asked("/x", &[("host", "[::1]:8080")]), host("[::1]:8080"));
        assert_eq!(asked("/x", &[("host", "a.example"), ("host", "b.example")]), None);
        assert_eq!(asked("/x", &[("host", "")]), None);
        assert_eq!(asked("/x", &[("host", "a\"b")]), None);
        assert_eq!(asked("https://u@shop.example/", &[]), None);
    }
}
