//! Limits with names: each is answered as what it is, and counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::routing::get;
use futures_util::future::{join_all, select};
use futures_util::{StreamExt as _, stream};
use http::{Method, Request, StatusCode};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tower::ServiceExt as _;
use url::Url;

use crate::support::{Browser, Page, TestApp, WebSocket, web_socket};

/// Runs a test with a recorder for all tasks of its thread.
macro_rules! counted {
    ($handle:ident) => {
        let recorder = PrometheusBuilder::new().build_recorder();
        let _installed = metrics::set_default_local_recorder(&recorder);
        let $handle = recorder.handle();
    };
}

fn limited(handle: &PrometheusHandle, limit: &str) -> u64 {
    let series = format!("cloakroom_limited_total{{limit=\"{limit}\"}} ");
    handle.render().lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).unwrap()
}

async fn in_flight(app: &TestApp) -> u64 {
    let (_, text) = app.ask_admin("/metrics").await;
    text.lines().find_map(|line| line.strip_prefix("cloakroom_requests_in_flight ")?.parse().ok()).unwrap()
}

async fn until_in_flight(app: &TestApp, number: u64) {
    let waited = tokio::time::timeout(Duration::from_secs(10), async {
        while in_flight(app).await != number {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.expect("it never was so many");
}

fn authority(app: &TestApp) -> String {
    Url::parse(&app.url).unwrap().authority().to_owned()
}

/// Sends the head of a request, with whatever else is said.
async fn begin(app: &TestApp, request_line: &str, rest: &str) -> TcpStream {
    let host = authority(app);
    let mut stream = TcpStream::connect(("127.0.0.1", Url::parse(&app.url).unwrap().port().unwrap())).await.unwrap();
    let head = format!("{request_line} HTTP/1.1\r\nhost: {host}\r\nx-csrf: 1\r\n{rest}");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// All that comes until the connection is closed.
async fn rest_of(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// A handler that answers the first piece of a stream when it is told to, and never ends it.
fn endless() -> (Router, Arc<Notify>) {
    let go = Arc::new(Notify::new());
    let told = go.clone();
    let handler = move || async move {
        told.notified().await;
        Body::from_stream(stream::once(async { Ok::<_, std::io::Error>("piece") }).chain(stream::pending()))
    };
    (Router::new().route("/endless", get(handler)), go)
}

fn is_problem(page: &Page, status: StatusCode, slug: &str) {
    assert_eq!((page.status, page.problem().as_str()), (status, slug));
    assert_eq!(page.header("content-type"), Some("application/problem+json"));
    assert_eq!(page.json()["request_id"].as_str(), page.header("x-request-id"));
}

#[tokio::test]
async fn a_head_that_is_too_large_is_told_so_and_the_connection_goes_on() {
    counted!(handle);
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let (large, small) = ("x".repeat(65 * 1024), "x".repeat(60 * 1024));
    let ask = async |browser: &mut Browser, headers: &[(&str, &str)]| {
        browser.fetch_with(Method::GET, "/api/x", headers, Vec::new()).await
    };
    let answer = ask(&mut browser, &[("x-csrf", "1"), ("x-large", &large)]).await;
    is_problem(&answer, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large");
    assert_eq!(ask(&mut browser, &[("x-csrf", "1"), ("x-large", &small)]).await.problem(), "not-authenticated");
    assert_eq!(limited(&handle, "max_headers"), 1);

    let names: Vec<_> = (0..81).map(|n| format!("x-{n}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "y")).chain([("x-csrf", "1")]).collect();
    let answer = ask(&mut browser, &many).await;
    is_problem(&answer, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large");
    assert_eq!(ask(&mut browser, &many[20..]).await.problem(), "not-authenticated");
    assert_eq!((limited(&handle, "max_headers"), limited(&handle, "max_header_count")), (1, 1));
}

/// Whoever embeds us has no listener of ours; the limits are the same.
#[tokio::test]
async fn a_router_without_our_listener_has_the_same_limits() {
    let app = TestApp::with().variable("CLOAKROOM__SERVER__MAX_HEADERS", "8KiB").start().await;
    let answer = app.router().oneshot(request(&app, "/bff/user", &[("x-large", &"x".repeat(9000))])).await.unwrap();
    assert_eq!(answer.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}

fn request(app: &TestApp, path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let request = Request::get(path).header("host", authority(app)).header("x-csrf", "1");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 50000)))).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn one_request_too_many_is_told_to_come_back_until_an_answer_has_ended() {
    counted!(handle);
    let (handlers, go) = endless();
    let exporter = handle.clone();
    let setup = TestApp::with().handlers(handlers).metrics(move || exporter.render());
    let app = setup.variable("CLOAKROOM__SERVER__MAX_IN_FLIGHT", "2").start().await;
    let mut held = [begin(&app, "GET /endless", "\r\n").await, begin(&app, "GET /endless", "\r\n").await];
    until_in_flight(&app, 2).await;
    let mut browser = app.browser();
    let answer = browser.fetch(Method::GET, "/bff/user").await;
    is_problem(&answer, StatusCode::SERVICE_UNAVAILABLE, "too-busy");
    assert_eq!(answer.header("retry-after"), Some("1"));
    let page = browser.open("/").await;
    assert_eq!((page.status, page.page_slug().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "too-busy"));
    assert_eq!(limited(&handle, "max_in_flight"), 2);

    // A stream counts to its end, not to its head.
    go.notify_one();
    let mut first = [0; 1024];
    let answered = select(Box::pin(held[0].readable()), Box::pin(held[1].readable()));
    let streaming = usize::from(matches!(answered.await, futures_util::future::Either::Right(_)));
    assert!(held[streaming].read(&mut first).await.unwrap() > 0);
    assert_eq!(browser.fetch(Method::GET, "/bff/user").await.problem(), "too-busy");
    drop(held);
    until_in_flight(&app, 0).await;
    assert_eq!(browser.fetch(Method::GET, "/api/x").await.problem(), "not-authenticated");
}

#[tokio::test]
async fn a_websocket_counts_while_it_is_open() {
    counted!(handle);
    let upstream = web_socket::serve_echo().await;
    let app = TestApp::with()
        .metrics(move || handle.render())
        .variable("CLOAKROOM__SERVER__MAX_IN_FLIGHT", "1")
        .route(&format!("path = '/api'\nupstream = '{upstream}'"))
        .start()
        .await;
    let mut browser = app.logged_in("alice").await;
    let mut socket = WebSocket::open(&browser, "/api/ws").await;
    socket.goes_on().await;
    assert_eq!(browser.fetch(Method::GET, "/bff/user").await.problem(), "too-busy");
    drop(socket);
    until_in_flight(&app, 0).await;
    assert!(browser.is_logged_in().await);
}

async fn panics() -> StatusCode {
    panic!("of a handler")
}

#[tokio::test]
async fn ten_thousand_calls_at_once_leave_nothing_behind_whoever_leaves_or_panics() {
    counted!(handle);
    let handler = async || {
        tokio::task::yield_now().await;
        Body::from_stream(stream::iter(["a", "b"].map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece)))))
    };
    let handlers = Router::new()
        .route("/piece", get(handler))
        .route("/panic", get(panics))
        .route("/never", get(std::future::pending::<()>));
    let exporter = handle.clone();
    let app = TestApp::with().handlers(handlers).metrics(move || exporter.render()).start().await;
    let router = app.router();
    let call = async |n: usize| {
        let path = ["/piece", "/panic", "/never", "/api/x", "/bff/user"][n % 5];
        let asking = router.clone().oneshot(request(&app, path, &[]));
        if path == "/never" {
            let left = tokio::time::timeout(Duration::ZERO, asking).await;
            return assert!(left.is_err());
        }
        let answer = asking.await.unwrap();
        if n.is_multiple_of(2) {
            let _ = axum::body::to_bytes(answer.into_body(), 64 * 1024).await.unwrap();
        }
    };
    join_all((0..10_000).map(call)).await;
    assert_eq!(in_flight(&app).await, 0);
    assert_eq!(limited(&handle, "max_in_flight"), 0);
}

#[tokio::test]
async fn calls_that_are_given_up_give_their_places_back() {
    counted!(handle);
    let app = TestApp::with().metrics(move || handle.render()).route("path = '/api'\ntoken = 'none'").start().await;
    let mut calls = Vec::new();
    for path in ["/api/slow?ms=60000", "/api/sse?count=100000&ms=10"].repeat(50) {
        calls.push(begin(&app, &format!("GET {path}"), "\r\n").await);
    }
    until_in_flight(&app, 100).await;
    drop(calls);
    until_in_flight(&app, 0).await;
}

#[tokio::test]
async fn a_stranger_whose_body_drips_is_answered_without_waiting_for_it() {
    let app = TestApp::start().await;
    let stream = begin(&app, "POST /api/x", "content-length: 1000000\r\n\r\na").await;
    let answer = rest_of(stream).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[tokio::test]
async fn bodies_and_upstreams_that_meet_a_limit_are_counted() {
    counted!(handle);
    let app = TestApp::with()
        .route("path = '/api'\ntimeout = '50ms'\nidle_timeout = '50ms'\nmax_body = '1KiB'")
        .start()
        .await;
    let mut browser = app.logged_in("alice").await;
    let answer = browser.fetch_with(Method::POST, "/api/x", &[("x-csrf", "1")], vec![0; 2000]).await;
    is_problem(&answer, StatusCode::PAYLOAD_TOO_LARGE, "body-too-large");
    let answer = browser.fetch(Method::GET, "/api/slow?ms=60000").await;
    is_problem(&answer, StatusCode::GATEWAY_TIMEOUT, "upstream-timeout");

    let cookies = browser.cookies.header(&browser.home, true).unwrap();
    let stream = begin(&app, "POST /api/x", &format!("cookie: {cookies}\r\ncontent-length: 9\r\n\r\na")).await;
    let answer = rest_of(stream).await;
    assert!(answer.contains("request-interrupted"), "{answer}");
    for limit in ["max_body", "timeout", "idle_timeout"] {
        assert_eq!(limited(&handle, limit), 1, "{limit}");
    }
    // Once the head of an answer is out, it can only break off.
    let events = begin(&app, "GET /api/sse?count=2&ms=60000", &format!("cookie: {cookies}\r\n\r\n")).await;
    assert!(rest_of(events).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(limited(&handle, "idle_timeout"), 2);
}

fn behind_a_proxy(rate: &str) -> crate::support::app::Setup {
    TestApp::with()
        .variable("CLOAKROOM__SERVER__TRUSTED_PROXIES", "127.0.0.1")
        .variable("CLOAKROOM__SERVER__LOGIN_RATE", rate)
}

/// Somebody at this address opens a link.
async fn opens(app: &TestApp, path: &str, address: &str) -> Page {
    let headers = [
        ("x-forwarded-for", address),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
        ("accept", "text/html"),
    ];
    app.browser().fetch_with(Method::GET, path, &headers, Vec::new()).await
}

#[tokio::test]
async fn logins_of_one_address_are_limited_and_those_of_others_are_not() {
    counted!(handle);
    let app = behind_a_proxy("3/1m").start().await;
    for _ in 0..3 {
        assert_eq!(opens(&app, "/bff/login", "203.0.113.7").await.status, StatusCode::SEE_OTHER);
    }
    // What no navigation asked for costs nothing: pages of others must not use up what a network may do.
    for _ in 0..3 {
        let from = [("x-forwarded-for", "203.0.113.8")];
        let fetched = app.browser().fetch_with(Method::GET, "/bff/login", &from, Vec::new()).await;
        assert_eq!(fetched.problem(), "login-needs-navigation");
    }
    let refused = opens(&app, "/bff/login", "203.0.113.7").await;
    assert_eq!((refused.status, refused.page_slug().as_str()), (StatusCode::TOO_MANY_REQUESTS, "too-many-requests"));
    assert_eq!(refused.header("retry-after"), Some("20"));
    assert!(refused.header("set-cookie").is_none());
    assert_eq!(limited(&handle, "login_rate"), 1);
    for other in ["203.0.113.8", "2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:1::3"] {
        assert_eq!(opens(&app, "/bff/login", other).await.status, StatusCode::SEE_OTHER, "{other}");
    }
    assert_eq!(opens(&app, "/bff/login", "2001:db8:0:1::4").await.status, StatusCode::TOO_MANY_REQUESTS, "one network");
    app.clock.advance(Duration::from_secs(20));
    assert_eq!(opens(&app, "/bff/login", "203.0.113.7").await.status, StatusCode::SEE_OTHER);
    assert_eq!(opens(&app, "/bff/login", "203.0.113.7").await.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn callbacks_of_one_address_are_limited_but_not_one_that_ends_a_login() {
    counted!(handle);
    let app = behind_a_proxy("2/1m").start().await;
    let mut browser = app.browser();
    let callback = browser.callback_url("/cart", "alice").await;
    let last_hop = callback.clone() + "&hop=1";
    let invented = "/bff/callback?code=c&state=s&hop=1";
    assert_eq!(opens(&app, "/bff/callback?code=c&state=s", "127.0.0.2").await.status, StatusCode::OK);
    assert_eq!(opens(&app, invented, "127.0.0.2").await.status, StatusCode::BAD_REQUEST);
    for path in [invented, "/bff/callback?code=c&state=s", "/bff/callback?nothing&hop=1"] {
        let refused = opens(&app, path, "127.0.0.2").await;
        assert_eq!(
            (refused.status, refused.page_slug().as_str()),
            (StatusCode::TOO_MANY_REQUESTS, "too-many-requests")
        );
    }
    assert_eq!(limited(&handle, "login_rate"), 3);

    // The flood comes from the person's own network.
    for _ in 0..3 {
        opens(&app, invented, "127.0.0.1").await;
    }
    let page = browser.click(&last_hop).await;
    assert_eq!(page.url.path(), "/cart");
    assert!(browser.is_logged_in().await);
}

/// A foreign page with many frames would put off the logins of everybody in its visitor's network.
#[tokio::test]
async fn a_callback_in_a_frame_is_refused_and_not_counted() {
    counted!(handle);
    let app = behind_a_proxy("2/1m").start().await;
    let mut browser = app.browser();
    let framed = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
    for _ in 0..3 {
        for (method, path) in [
            (Method::GET, "/bff/callback?code=c&state=s"),
            (Method::GET, "/bff/callback?code=c&state=s&hop=1"),
            (Method::POST, "/bff/callback"),
        ] {
            let answer = browser.fetch_with(method, path, &framed, Vec::new()).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST);
            assert!(answer.text().contains("login-needs-navigation"));
        }
    }
    assert_eq!(limited(&handle, "login_rate"), 0);
    assert_eq!(opens(&app, "/bff/callback?code=c&state=s", "127.0.0.1").await.status, StatusCode::OK);
}

#[tokio::test]
async fn without_a_rate_logins_have_no_limit() {
    let app = behind_a_proxy("off").start().await;
    for _ in 0..700 {
        assert_eq!(opens(&app, "/bff/login", "203.0.113.7").await.status, StatusCode::SEE_OTHER);
    }
}

#[tokio::test]
async fn limits_are_read_at_the_start() {
    let mut app = TestApp::start().await;
    for key in ["max_header_count", "max_in_flight", "max_connections"] {
        let reloaded = app.reload(&format!("CLOAKROOM__SERVER__{}", key.to_uppercase()), "50").unwrap();
        assert!(reloaded.needs_restart.contains(&format!("server.{key}")), "{reloaded:?}");
    }
    let reloaded = app.reload("CLOAKROOM__SERVER__LOGIN_RATE", "off").unwrap();
    assert!(reloaded.needs_restart.contains(&"server.login_rate".to_owned()), "{reloaded:?}");
}
