use std::net::IpAddr;
use std::sync::LazyLock;

use http::Uri;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::super::forward::ForwardContext;
use super::super::headers::{outgoing, returning};
use super::super::hops::{ClientHops, Scheme};
use super::super::route::Route;
use super::super::upgrade::Upgrades;
use super::{OWN, ROUTES, head, lower, members};

/// The head of a request, line by line. What is the browser's proof to us, what could pass for our word, what belongs to the
/// connection and what `Connection` names stays here; what passes is the browser's, whole and in order; what is ours is what we say to
/// everybody; and a second pass changes nothing.
///
/// # Panics
/// If that does not hold.
pub fn request_headers(lines: &[u8]) {
    let given = head(lines);
    let named = members(&given, &header::CONNECTION);
    for route in ROUTES.each() {
        let (ours, passed) = (sent(route, HeaderMap::new()), sent(route, given.clone()));
        for name in passed.keys() {
            let values: Vec<_> = passed.get_all(name).iter().collect();
            match name.as_str() {
                _ if ours.contains_key(name) => assert_eq!(values, [&ours[name]], "{name}"),
                "te" => assert_eq!(values, ["trailers"], "no more than trailers may be asked for"),
                "cookie" => assert_eq!(values.len(), 1, "{passed:?}"),
                _ => {
                    stays_out(name, NEVER_SENT, NEVER_SENT_PREFIXES);
                    assert!(!name.as_str().contains('_'), "CGI reads {name} as another header");
                    assert!(!named.contains(&lower(name.as_ref())), "{name} is named by Connection");
                    assert_eq!(values, given.get_all(name).iter().collect::<Vec<_>>(), "{name}");
                }
            }
        }
        assert!(ours.keys().all(|name| passed.contains_key(name)), "{passed:?}");
        is_without_our_cookies(&passed, &header::COOKIE);
        ordinary_pass(&given, &passed, &named, &["accept", "content-type", "if-none-match", "range", "x-a"]);
        assert_eq!(sent(route, passed.clone()), passed, "a second pass changes it");
    }
}

/// The head of an answer, line by line. What acts on our whole origin, lets others in, belongs to the connection or is named by
/// `Connection` stays at the upstream; no cookie of ours is set; a rewritten address is on the route; one length is left; an answer
/// that a session decided is kept from shared caches; and a second pass changes nothing.
///
/// # Panics
/// If that does not hold.
pub fn response_headers(lines: &[u8]) {
    let given = head(lines);
    let named = members(&given, &header::CONNECTION);
    for route in ROUTES.each() {
        let passed = returned(route, given.clone());
        for name in passed.keys() {
            stays_out(name, NEVER_RETURNED, NEVER_RETURNED_PREFIXES);
            let is_ours = OURS.contains(&name.as_str());
            assert!(is_ours || !named.contains(&lower(name.as_ref())), "{name} is named by Connection");
        }
        for name in members(&passed, &header::TRAILER).iter().filter_map(|name| HeaderName::from_bytes(name).ok()) {
            stays_out(&name, NEVER_RETURNED, NEVER_RETURNED_PREFIXES);
            assert!(name != header::SET_COOKIE && name != header::CONTENT_LENGTH, "{name} may follow");
        }
        is_without_our_cookies(&passed, &header::SET_COOKIE);
        assert!(passed.get_all(header::CONTENT_LENGTH).iter().count() <= 1, "{passed:?}");
        assert!(passed.get_all(header::X_CONTENT_TYPE_OPTIONS).iter().eq(["nosniff"]), "{passed:?}");
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            points_to_the_route(route, given.get(&name), passed.get(&name));
        }
        if !route.serves_documents() {
            let policies: Vec<_> = passed.get_all(header::CONTENT_SECURITY_POLICY).iter().collect();
            assert!(policies.contains(&&HeaderValue::from_static("sandbox")), "{passed:?}");
        }
        if route.answers_depend_on_the_session() {
            is_private(&passed, route.options.shared_cache);
        }
        ordinary_pass(&given, &passed, &named, &["content-type", "date", "etag", "retry-after", "x-a"]);
        assert_eq!(comparable(returned(route, passed.clone())), comparable(passed), "a second pass changes it");
    }
}

fn sent(route: &Route, mut headers: HeaderMap) -> HeaderMap {
    static HOPS: LazyLock<ClientHops> = LazyLock::new(|| ClientHops {
        client: IpAddr::from([203, 0, 113, 7]),
        proxies: vec![IpAddr::from([10, 0, 0, 2])],
        scheme: Scheme::Https,
        host: Some(HeaderValue::from_static("shop.example")),
    });
    let context = ForwardContext {
        hops: &HOPS,
        csrf_header: &HeaderName::from_static("x-csrf"),
        own_cookies: &[OWN.to_owned()],
        upgrades: &Upgrades::default(),
        session: None,
    };
    outgoing(&mut headers, route, &context);
    headers
}

fn returned(route: &Route, mut headers: HeaderMap) -> HeaderMap {
    returning(&mut headers, route, &[OWN.to_owned()], &asked(route));
    headers
}

/// The address of a call below the route.
fn asked(route: &Route) -> Uri {
    let path = format!("{}/a/b", route.options.path.trim_end_matches('/'));
    route.upstream.join(&route.options.path, &path, None).expect("it is below the route")
}

fn stays_out(name: &HeaderName, names: &[&str], prefixes: &[&str]) {
    let is_out = !names.contains(&name.as_str()) && !prefixes.iter().any(|prefix| name.as_str().starts_with(prefix));
    assert!(is_out, "{name} passes");
}

fn is_without_our_cookies(headers: &HeaderMap, name: &HeaderName) {
    for line in headers.get_all(name) {
        // Behind the first pair a `Set-Cookie` has attributes, which may be called anything.
        let cookies = if name == header::COOKIE { usize::MAX } else { 1 };
        for pair in line.as_bytes().split(|byte| *byte == b';').take(cookies) {
            assert!(!lower(pair.trim_ascii()).starts_with(&lower(OWN.as_bytes())), "{headers:?}");
        }
    }
}

/// What no rule speaks of passes whole.
fn ordinary_pass(given: &HeaderMap, passed: &HeaderMap, named: &[Vec<u8>], ordinary: &[&str]) {
    for name in ordinary.iter().filter(|name| !named.contains(&lower(name.as_bytes()))) {
        assert!(passed.get_all(*name).iter().eq(given.get_all(*name)), "{name} is lost: {passed:?}");
    }
}

/// As it was, or a place below the route for a browser that is there.
fn points_to_the_route(route: &Route, given: Option<&HeaderValue>, passed: Option<&HeaderValue>) {
    if passed == given {
        return;
    }
    let Some(passed) = passed else { return };
    let public = passed.to_str().expect("an address is ASCII");
    let page = Url::parse("https://shop.example/elsewhere/x").expect("a URL");
    let seen = page.join(public).expect("it can be followed");
    assert_eq!(seen.origin(), page.origin(), "{public}");
    let path = route.options.path.trim_end_matches('/');
    let rest = seen.path().strip_prefix(path);
    assert!(rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')), "{public} is beside {path}");
}

/// No shared cache keeps it, unless the route believes the upstream that says it may.
fn is_private(headers: &HeaderMap, is_believed: bool) {
    let rules = members(headers, &header::CACHE_CONTROL);
    let has = |names: &[&str]| {
        rules
            .iter()
            .any(|rule| names.iter().any(|name| rule.split(|byte| *byte == b'=').next() == Some(name.as_bytes())))
    };
    let is_kept = has(&["private", "no-store"]) || (is_believed && has(&["public", "s-maxage"]));
    // `Expires` alone says nothing of who may keep it, so it must have got a rule beside it.
    assert!(is_kept, "{headers:?}");
    assert!(is_believed || has(&["no-store"]) || !has(&["public", "s-maxage"]), "{headers:?}");
    let varies = members(headers, &header::VARY);
    assert!(varies.iter().any(|name| name == b"cookie" || name == b"*"), "{headers:?}");
}

/// Without what a second pass has to do again: policies add up, and an address on the route may be one on the upstream, too.
fn comparable(mut headers: HeaderMap) -> HeaderMap {
    for name in [header::CONTENT_SECURITY_POLICY, header::LOCATION, header::CONTENT_LOCATION] {
        headers.remove(name);
    }
    headers
}

const NEVER_SENT: &[&str] = &[
    "authorization",
    "dpop",
    "x-csrf",
    "expect",
    "content-length",
    "connection",
    "keep-alive",
    "trailer",
    "upgrade",
    "transfer-encoding",
    "http2-settings",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "x-rewrite-url",
];
const NEVER_SENT_PREFIXES: &[&str] = &["proxy-", "x-forwarded-", "x-original-"];
const NEVER_RETURNED: &[&str] = &[
    "connection",
    "keep-alive",
    "te",
    "upgrade",
    "transfer-encoding",
    "http2-settings",
    "clear-site-data",
    "service-worker-allowed",
    "strict-transport-security",
    "public-key-pins",
    "alt-svc",
    "nel",
    "report-to",
    "accept-ch",
    "critical-ch",
    "set-login",
    "origin-agent-cluster",
    "refresh",
    "reporting-endpoints",
    "timing-allow-origin",
    "x-sendfile",
    "x-lighttpd-send-file",
    "x-reproxy-url",
];
const NEVER_RETURNED_PREFIXES: &[&str] = &["proxy-", "access-control-", "x-accel-", "sec-session-", "secure-session-"];
/// Written into every answer, whatever `Connection` named.
const OURS: &[&str] = &["x-content-type-options", "content-security-policy", "cache-control", "vary"];
