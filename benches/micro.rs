//! Steps of a call, each by itself: `cargo bench --bench micro`, or `scripts/bench micro` with a core of its own.
//!
//! They tell one step's change from another's; what a call costs is `scripts/bench proxy`'s to say.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use cloakroom::clock::Timestamp;
use cloakroom::micro::{Frontends, Limit, Routes, Session};
use divan::{Bencher, black_box};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::runtime::{Builder, Runtime};
use url::Url;

fn main() {
    divan::main();
}

const MANY: [usize; 3] = [1, 100, 10_000];

/// Each at a host of its own, which the browser names without a port.
#[divan::bench(args = MANY)]
fn frontend_by_host(bencher: Bencher<'_, '_>, many: usize) {
    let frontends = Frontends::new((0..many).map(|nth| url(&format!("https://shop{nth}.example/"))));
    select(bencher, &frontends, &format!("shop{}.example", many / 2), "/api/orders/7");
}

/// The same at a port that is not the default one.
#[divan::bench(args = MANY)]
fn frontend_by_host_and_port(bencher: Bencher<'_, '_>, many: usize) {
    let frontends = Frontends::new((0..many).map(|nth| url(&format!("https://shop{nth}.example:8443/"))));
    select(bencher, &frontends, &format!("shop{}.example:8443", many / 2), "/api/orders/7");
}

/// All at one host.
#[divan::bench(args = MANY)]
fn frontend_by_path(bencher: Bencher<'_, '_>, many: usize) {
    let frontends = Frontends::new((0..many).map(|nth| url(&format!("https://shop.example/{nth}/"))));
    select(bencher, &frontends, "shop.example", &format!("/{}/api/orders/7", many / 2));
}

fn select(bencher: Bencher<'_, '_>, frontends: &Frontends, host: &str, path: &str) {
    assert!(frontends.select(host, path).is_some(), "nobody is at {host}{path}");
    bencher.bench(|| frontends.select(black_box(host), black_box(path)));
}

#[divan::bench(args = MANY)]
fn route(bencher: Bencher<'_, '_>, many: usize) {
    let routes = Routes::new(many);
    let path = format!("/api/{}/orders/7", many / 2);
    assert!(routes.has(&path), "there is no route for {path}");
    bencher.bench(|| routes.has(black_box(&path)));
}

#[divan::bench]
fn target(bencher: Bencher<'_, '_>) {
    let routes = Routes::new(1);
    let call = routes.call();
    assert_eq!(
        call.target("/api/0/orders/7", Some("page=2")).expect("it is below the route"),
        "http://127.0.0.1:9/v1/orders/7?page=2"
    );
    bencher.bench(|| call.target(black_box("/api/0/orders/7"), black_box(Some("page=2"))));
}

#[divan::bench]
fn headers_outgoing(bencher: Bencher<'_, '_>) {
    let (routes, chrome) = (Routes::new(1), headers(&CHROME));
    let call = routes.call();
    bencher.with_inputs(|| chrome.clone()).bench_refs(|headers| call.outgoing(headers));
}

#[divan::bench]
fn headers_returning(bencher: Bencher<'_, '_>) {
    let (routes, answer) = (Routes::new(1), headers(&ANSWER));
    let call = routes.call();
    bencher.with_inputs(|| answer.clone()).bench_refs(|headers| call.returning(headers));
}

/// Its row's bytes are those of the last read.
#[divan::bench]
fn session_opened_before(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    let session = runtime.block_on(Session::new());
    let _entered = runtime.enter();
    bencher.bench(|| opens(&session));
}

#[divan::bench(sample_size = 1, sample_count = 1000)]
fn session_unopened(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    let session = runtime.block_on(Session::new());
    let _entered = runtime.enter();
    bencher.with_inputs(|| session.unopened()).bench_refs(|session| opens(session));
}

/// 65 536 clients take turns.
#[divan::bench]
fn rate_limit(bencher: Bencher<'_, '_>) {
    let (limit, mut turn) = (Limit::default(), 0);
    bencher
        .with_inputs(|| {
            turn += 1;
            let client = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | (turn & 0xffff)));
            (client, Timestamp::UNIX_EPOCH + Duration::from_millis(turn.into()))
        })
        .bench_local_values(|(client, now)| assert!(limit.allows(client, now), "the limit was reached"));
}

/// The memory store never waits, so no task is needed, whose cost would be added.
fn opens(session: &Session) {
    assert_eq!(session.opens().now_or_never(), Some(true), "the session is gone");
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime needs no more than memory here")
}

fn url(text: &str) -> Url {
    text.parse().expect("it is a URL")
}

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

/// What Chrome sends with a `fetch`.
const CHROME: [(&str, &str); 16] = [
    ("host", "shop.example"),
    ("connection", "keep-alive"),
    ("sec-ch-ua-platform", "\"Linux\""),
    ("x-csrf", "1"),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    ),
    ("accept", "application/json"),
    ("sec-ch-ua", "\"Chromium\";v=\"142\", \"Google Chrome\";v=\"142\", \"Not_A Brand\";v=\"99\""),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-mode", "cors"),
    ("sec-fetch-dest", "empty"),
    ("referer", "https://shop.example/orders"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7"),
    ("cookie", "__Host-Http-cloakroom=3q2-7wAAAAAAAAAAAAAAAA; theme=dark"),
    ("priority", "u=1, i"),
];

const ANSWER: [(&str, &str); 8] = [
    ("server", "nginx"),
    ("date", "Fri, 20 Nov 2026 12:00:00 GMT"),
    ("content-type", "application/json"),
    ("content-length", "1024"),
    ("connection", "keep-alive"),
    ("etag", "\"33a64df5\""),
    ("vary", "Accept-Encoding"),
    ("cache-control", "private, max-age=60"),
];
