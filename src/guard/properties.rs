//! What must hold for whatever a client says of itself: run by proptest, by the fuzzer and over its corpus (`fuzz/`).

use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Version};

use super::forwarded::resolve;
use crate::proxy::properties::head;
use crate::proxy::{ClientHops, Peer, Scheme, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};

/// The head of a request, line by line. Whatever a client wrote, a trusted proxy's word counts, and no other: not that of a client
/// who calls directly, nor what stands before the proxy's own entry. A host is an authority and no more.
///
/// # Panics
/// If that does not hold.
pub fn forwarded(lines: &[u8]) {
    let given = head(lines);
    let (client, proxy) = (IpAddr::from([203, 0, 113, 7]), IpAddr::from([10, 0, 0, 2]));
    let direct = resolved(client, given.clone());
    assert_eq!((direct.client, direct.scheme), (client, Scheme::Http));
    assert!(direct.proxies.is_empty());
    let told = resolved(proxy, given.clone());
    for host in [&direct, &told].into_iter().filter_map(ClientHops::host) {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        assert!(!host.is_empty() && host.bytes().all(is_plain), "{host}");
    }
    // As many as are named, and the proxy itself.
    let commas = given.values().flat_map(HeaderValue::as_bytes).filter(|byte| **byte == b',').count();
    assert!(told.proxies.len() <= given.len() + commas + 1, "{told:?}");

    for how in [Append::ToTheLastLine, Append::ALine] {
        let mut by_x = given.clone();
        append(&mut by_x, &X_FORWARDED_FOR, "203.0.113.7", how);
        by_x.insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"));
        by_x.insert(X_FORWARDED_HOST, HeaderValue::from_static("shop.example"));
        is_as_the_proxy_says(&resolved(proxy, by_x), client, proxy);

        let mut by_forwarded = given.clone();
        for name in [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST] {
            by_forwarded.remove(name);
        }
        append(&mut by_forwarded, &FORWARDED, "for=203.0.113.7;proto=https;host=\"shop.example\"", how);
        is_as_the_proxy_says(&resolved(proxy, by_forwarded), client, proxy);
    }
}

/// How a proxy adds its own entry to those it got (RFC 9110 §5.3 makes no difference).
#[derive(Clone, Copy)]
enum Append {
    ToTheLastLine,
    ALine,
}

fn append(headers: &mut HeaderMap, name: &HeaderName, entry: &str, how: Append) {
    let mut lines: Vec<HeaderValue> = headers.get_all(name).iter().cloned().collect();
    let last = lines.pop().filter(|_| matches!(how, Append::ToTheLastLine));
    let mut own = last.map_or_else(Vec::new, |last| [last.as_bytes(), b", "].concat());
    own.extend(entry.bytes());
    if matches!(how, Append::ALine) {
        lines = headers.get_all(name).iter().cloned().collect();
    }
    headers.remove(name);
    for line in
        lines.into_iter().chain([HeaderValue::from_bytes(&own).expect("values with a comma between are a value")])
    {
        headers.append(name, line);
    }
}

fn resolved(peer: IpAddr, headers: HeaderMap) -> ClientHops {
    let mut request = Request::new(());
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = headers;
    let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().expect("a network"));
    resolve(Peer { address: SocketAddr::new(peer, 4711), scheme: Scheme::Http }, &request, &trusted)
}

fn is_as_the_proxy_says(hops: &ClientHops, client: IpAddr, proxy: IpAddr) {
    assert_eq!((hops.client, &hops.proxies[..]), (client, &[proxy][..]));
    assert_eq!((hops.scheme, hops.host()), (Scheme::Https, Some("shop.example")));
}
