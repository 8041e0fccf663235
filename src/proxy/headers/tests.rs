use std::net::IpAddr;

use http::Method;
use proptest::prelude::*;

use super::super::client::Client;
use super::super::hops::{ClientHops, Scheme};
use super::super::properties;
use super::super::route::{CsrfPolicy, RouteOptions, RouteTable};
use super::super::upgrade::Upgrades;
use super::*;
use crate::tokens::TokenPolicy;

const OWN: &str = "__Host-Http-cloakroom";

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
    }
    headers
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    lines
}

fn options() -> RouteOptions {
    RouteOptions::new("/api/orders", "https://orders.internal/v1".parse().unwrap())
}

fn on_route<T>(options: RouteOptions, act: impl FnOnce(&Route) -> T) -> T {
    let table = RouteTable::new(vec![options], &Client::for_tests()).unwrap();
    act(&table.routes()[0])
}

fn sent_on(options: RouteOptions, pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = headers(pairs);
    let hops = ClientHops {
        client: IpAddr::from([203, 0, 113, 7]),
        proxies: Vec::new(),
        scheme: Scheme::Https,
        host: Some(HeaderValue::from_static("shop.example")),
    };
    let context = ForwardContext {
        hops: &hops,
        csrf_header: &HeaderName::from_static("x-csrf"),
        own_cookies: &[OWN.to_owned()],
        upgrades: &Upgrades::default(),
        session: None,
    };
    on_route(options, |route| outgoing(&mut headers, route, &context));
    headers
}

/// What is left of the browser's headers beside those that are always written.
fn left(pairs: &[(&str, &str)]) -> Vec<String> {
    let mut headers = sent_on(options(), pairs);
    assert_eq!(headers.remove("host").unwrap(), "orders.internal");
    assert_eq!(headers.remove("forwarded").unwrap(), "for=203.0.113.7;proto=https;host=\"shop.example\"");
    assert_eq!(headers.remove("x-forwarded-for").unwrap(), "203.0.113.7");
    assert_eq!(headers.remove("x-forwarded-proto").unwrap(), "https");
    assert_eq!(headers.remove("x-forwarded-host").unwrap(), "shop.example");
    lines(&headers)
}

#[test]
fn ordinary_headers_reach_the_upstream() {
    let ordinary = [
        ("accept", "application/json"),
        ("accept-encoding", "gzip, br"),
        ("content-type", "application/json"),
        ("if-none-match", "\"1\""),
        ("origin", "https://shop.example"),
        ("range", "bytes=0-1"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("x-http-method-override", "PATCH"),
        ("x-request-id", "7"),
    ];
    assert_eq!(left(&ordinary), lines(&headers(&ordinary)));
}

#[test]
fn what_is_meant_for_us_or_could_pass_for_our_word_stays_here() {
    for (name, value) in [
        ("authorization", "Bearer stolen"),
        ("dpop", "proof"),
        ("cookie", "__Host-Http-cloakroom=id; other=1"),
        ("x-csrf", "1"),
        ("host", "evil.example"),
        ("expect", "100-continue"),
        ("content-length", "7"),
        ("connection", "keep-alive"),
        ("keep-alive", "timeout=5"),
        ("te", "gzip"),
        ("trailer", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("http2-settings", "x"),
        ("proxy-authorization", "Basic x"),
        ("proxy-connection", "keep-alive"),
        ("proxy-anything", "x"),
        ("forwarded", "for=10.0.0.1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-user", "admin"),
        ("x-forwarded-access-token", "x"),
        ("x-real-ip", "10.0.0.1"),
        ("true-client-ip", "10.0.0.1"),
        ("x-original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
        ("x_forwarded_for", "10.0.0.1"),
        ("x_csrf", "1"),
    ] {
        assert_eq!(left(&[(name, value)]), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn headers_named_by_connection_go_with_it() {
    for connection in ["x-hop", "close, X-Hop", "keep-alive,x-hop ,y"] {
        assert_eq!(left(&[("connection", connection), ("x-hop", "1"), ("x-end", "2")]), ["x-end: 2"]);
    }
    assert_eq!(left(&[("connection", "close"), ("connection", "x-hop"), ("x-hop", "1")]), Vec::<String>::new());
}

#[test]
fn connection_cannot_take_away_what_we_say() {
    let left = left(&[("connection", "host, forwarded, x-forwarded-for, x-forwarded-proto, x-forwarded-host")]);
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn only_the_trailers_of_te_pass() {
    assert_eq!(left(&[("te", "gzip, Trailers;q=1")]), ["te: trailers"]);
}

#[test]
fn a_method_list_cannot_be_walked_around_by_header() {
    let mut options = options();
    options.methods = vec![Method::GET, Method::POST];
    assert!(!sent_on(options, &[("x-http-method-override", "DELETE")]).contains_key("x-http-method-override"));
}

#[test]
fn a_route_may_let_other_cookies_pass() {
    let mut options = options();
    options.forward_cookies = vec!["other".to_owned(), OWN.to_owned()];
    let headers = sent_on(options, &[("cookie", "__Host-Http-cloakroom=id; other=1")]);
    assert_eq!(headers["cookie"], "other=1");
}

proptest! {
    #[test]
    fn no_secret_of_ours_leaves_in_any_header(
        names in prop::collection::vec(prop::sample::select(vec![
            "cookie", "Cookie", "authorization", "x-csrf", "x_csrf", "connection", "te", "dpop", "proxy-authorization",
            "x-forwarded-cookie", "upgrade", "trailer",
        ]), 0..6),
    ) {
        let lines: Vec<_> = names.iter().map(|name| format!("{name}: __Host-Http-cloakroom=SECRET")).collect();
        properties::request_headers(lines.join("\n").as_bytes());
    }

    #[test]
    fn headers_of_any_bytes_pass_or_stay_and_break_nothing(
        given in prop::collection::vec((prop::sample::select(vec![
            "connection", "content-length", "transfer-encoding", "cache-control", "vary", "location", "set-cookie", "cookie", "te",
            "www-authenticate", "x-a",
        ]), prop::collection::vec(any::<u8>(), 0..40)), 0..8),
    ) {
        let lines: Vec<_> = given.iter().flat_map(|(name, value)| [name.as_bytes(), b":", value, b"\n"].concat()).collect();
        properties::request_headers(&lines);
        properties::response_headers(&lines);
    }
}

fn returned_on(options: RouteOptions, pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = headers(pairs);
    let asked = Uri::from_static("https://orders.internal/v1/7");
    on_route(options, |route| returning(&mut headers, route, &[OWN.to_owned()], &asked));
    headers
}

/// What is left of the upstream's headers beside those that are always written.
fn returned(pairs: &[(&str, &str)]) -> Vec<String> {
    let mut headers = returned_on(options(), pairs);
    assert_eq!(headers.remove("x-content-type-options").unwrap(), "nosniff");
    assert_eq!(headers.remove("vary").unwrap(), "Cookie");
    assert!(headers.remove("cache-control").is_some());
    assert!(headers.get_all("content-security-policy").iter().any(|policy| policy == "sandbox"));
    headers.remove("content-security-policy");
    lines(&headers)
}

#[test]
fn ordinary_headers_come_back() {
    let ordinary = [
        ("content-encoding", "br"),
        ("content-length", "7"),
        ("content-type", "application/json"),
        ("date", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("etag", "\"1\""),
        ("link", "</api/orders?page=2>; rel=next"),
        ("location", "https://elsewhere.example/"),
        ("retry-after", "5"),
        ("www-authenticate", "Bearer error=\"insufficient_user_authentication\", acr_values=\"urn:loa:2\""),
        ("x-request-id", "7"),
    ];
    assert_eq!(returned(&ordinary), lines(&headers(&ordinary)));
}

#[test]
fn what_acts_on_our_origin_stays_at_the_upstream() {
    for (name, value) in [
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("trailer", "set-cookie"),
        ("proxy-authenticate", "Basic"),
        ("set-cookie", "a=1"),
        ("access-control-allow-origin", "*"),
        ("access-control-allow-credentials", "true"),
        ("clear-site-data", "\"*\""),
        ("service-worker-allowed", "/"),
        ("strict-transport-security", "max-age=0"),
        ("alt-svc", "h3=\":443\""),
        ("refresh", "0; url=javascript:alert(1)"),
        ("nel", "{}"),
        ("report-to", "{}"),
        ("reporting-endpoints", "x=\"https://evil.example\""),
        ("accept-ch", "sec-ch-ua-model"),
        ("set-login", "logged-out"),
        ("secure-session-registration", "(ES256)"),
        ("timing-allow-origin", "*"),
        ("x-accel-redirect", "/etc/passwd"),
        ("x-accel-expires", "3600"),
        ("x-sendfile", "/etc/passwd"),
        ("cdn-cache-control", "max-age=3600"),
        ("surrogate-control", "max-age=3600"),
        ("www-authenticate", "Basic realm=\"x\""),
        ("www-authenticate", "Negotiate"),
        ("www-authenticate", "Bearer realm=\"x\", Basic realm=\"x\""),
    ] {
        assert_eq!(returned(&[(name, value)]), Vec::<String>::new(), "{name}: {value}");
    }
}

#[test]
fn trailers_do_not_speak_for_the_head() {
    let passing = [
        ("grpc-status", "0"),
        ("grpc-message", "fine"),
        ("x-checksum", "1"),
        ("server-timing", "db;dur=5"),
        ("content-digest", "sha-256=:x:"),
        ("repr-digest", "sha-256=:x:"),
        ("etag", "\"1\""),
    ];
    assert_eq!(lines(&trailing(headers(&passing)).unwrap()), lines(&headers(&passing)));
    for name in [
        "content-length",
        "transfer-encoding",
        "trailer",
        "te",
        "connection",
        "upgrade",
        "host",
        "content-type",
        "content-encoding",
        "content-range",
        "content-location",
        "content-security-policy",
        "authorization",
        "www-authenticate",
        "proxy-authenticate",
        "authentication-info",
        "set-cookie",
        "cache-control",
        "cdn-cache-control",
        "surrogate-control",
        "expires",
        "age",
        "date",
        "vary",
        "location",
        "refresh",
        "retry-after",
        "clear-site-data",
        "service-worker-allowed",
        "strict-transport-security",
        "access-control-allow-origin",
        "x-accel-redirect",
        "x-sendfile",
        "x-content-type-options",
        "x-frame-options",
        "cross-origin-resource-policy",
        "alt-svc",
    ] {
        assert_eq!(trailing(headers(&[(name, "x")])), None, "{name}");
    }
}

#[test]
fn trailers_are_announced_that_may_follow() {
    for (said, announced) in [
        (
            &[("trailer", "grpc-status, Set-Cookie,X-A ,, no name, content-length")][..],
            &["trailer: grpc-status, x-a"][..],
        ),
        (&[("trailer", "x-a"), ("trailer", "x-b")], &["trailer: x-a, x-b"]),
        (&[("trailer", "x-a"), ("transfer-encoding", "chunked")], &["trailer: x-a"]),
        (&[("trailer", "x-a"), ("content-length", "3")], &["content-length: 3"]),
        (&[("trailer", "x-a"), ("connection", "trailer")], &[]),
        (&[("trailer", "set-cookie")], &[]),
        (&[("trailer", "")], &[]),
    ] {
        assert_eq!(returned(said), announced, "{said:?}");
    }
}

#[test]
fn a_location_on_the_upstream_becomes_the_routes() {
    let headers = returned_on(
        options(),
        &[("location", "https://orders.internal/v1/8?x#y"), ("content-location", "/v1/9"), ("connection", "location2")],
    );
    assert_eq!(headers["location"], "/api/orders/8?x#y");
    assert_eq!(headers["content-location"], "/api/orders/9");
}

#[test]
fn a_route_may_let_named_cookies_back() {
    let mut options = options();
    options.response_cookies = vec!["theme".to_owned(), OWN.to_owned()];
    let headers = returned_on(
        options,
        &[
            ("set-cookie", "theme=dark; Path=/"),
            ("set-cookie", "__Host-Http-cloakroom=fixed; Path=/; Secure"),
            ("set-cookie", "other=1"),
        ],
    );
    let cookies: Vec<_> = headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["theme=dark; Path=/"]);
}

#[test]
fn upstream_pages_are_sandboxed_unless_the_route_serves_documents() {
    let origin = |documents| CsrfPolicy::Origin { reason: "images".to_owned(), documents };
    for (csrf, policies) in [
        (CsrfPolicy::Header, &["sandbox allow-scripts", "sandbox"][..]),
        (origin(false), &["sandbox allow-scripts", "sandbox"]),
        (origin(true), &["sandbox allow-scripts"]),
    ] {
        let mut options = options();
        options.csrf = csrf;
        let headers = returned_on(options, &[("content-security-policy", "sandbox allow-scripts")]);
        assert_eq!(headers.get_all("content-security-policy").iter().collect::<Vec<_>>(), policies);
    }
}

#[test]
fn answers_that_no_session_decided_keep_their_cache_rules() {
    let mut options = options();
    options.token = TokenPolicy::None;
    let said = [("cache-control", "public, max-age=60"), ("cdn-cache-control", "max-age=600")];
    let headers = returned_on(options.clone(), &said);
    assert_eq!(headers["cache-control"], "public, max-age=60");
    assert_eq!(headers["cdn-cache-control"], "max-age=600");
    assert!(!headers.contains_key("vary"));

    options.session_required = true;
    assert_eq!(returned_on(options.clone(), &said)["cache-control"], "private, max-age=60");

    options.session_required = false;
    options.token = TokenPolicy::Optional;
    assert_eq!(returned_on(options, &said)["cache-control"], "private, max-age=60");
}
