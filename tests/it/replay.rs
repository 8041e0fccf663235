//! Calls whose token the API refuses: the token is renewed, and the API asked once more, before the page hears of it.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request};
use axum::response::{IntoResponse as _, Response};
use cloakroom::demo::faults::{Endpoint, Fault, Outage};
use cloakroom::store::{self, FlakyBackend, MasterKey, MemoryBackend};
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::support::app::Setup;
use crate::support::{Browser, TestApp, WebSocket, web_socket};

const KIB: usize = 1024;
const PATIENCE: Duration = Duration::from_secs(20);
const HELD: Fault = Fault::Endpoint(Endpoint::Token, Outage::Held);

/// An API that knows of revocations.
struct Api {
    url: String,
    revoked: Mutex<HashSet<HeaderValue>>,
    seen: Mutex<Vec<Seen>>,
    /// How it says no.
    refusal: Mutex<Refusal>,
    /// What it demands of tokens that it takes.
    demand: Mutex<Option<&'static str>>,
    /// Calls to `/held` wait here before they are looked at.
    held: Semaphore,
}

/// A request, read to its end unless it was refused early.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    method: Method,
    headers: HeaderMap,
    body: Bytes,
    from: SocketAddr,
}

#[derive(Clone, Copy)]
enum Refusal {
    /// With a few words.
    Short,
    /// Before the body is read.
    Early,
    /// In an answer without end.
    Endless,
    /// In an answer that stops in the middle.
    Stalled,
}

impl Api {
    async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = Arc::new(Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            revoked: Mutex::default(),
            seen: Mutex::default(),
            refusal: Mutex::new(Refusal::Short),
            demand: Mutex::default(),
            held: Semaphore::new(0),
        });
        let serving = api.clone();
        let router =
            Router::new().fallback(async move |ConnectInfo(from), request| serving.answer(from, request).await);
        let router = router.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, router).await });
        api
    }

    async fn answer(&self, from: SocketAddr, mut request: Request) -> Response {
        let refusal = *self.refusal.lock().unwrap();
        let is_early = matches!(refusal, Refusal::Early);
        let body = if is_early { Body::empty() } else { std::mem::take(request.body_mut()) };
        let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
        let (method, headers) = (request.method().clone(), request.headers().clone());
        let token = headers.get(header::AUTHORIZATION).cloned();
        self.seen.lock().unwrap().push(Seen { method, headers, body, from });
        if request.uri().path() == "/held" {
            self.held.acquire().await.unwrap().forget();
        }
        if token.is_none_or(|token| self.revoked.lock().unwrap().contains(&token)) {
            return challenged("Bearer error=\"invalid_token\"", refusal.body());
        }
        if let Some(demand) = *self.demand.lock().unwrap() {
            return challenged(demand, Body::empty());
        }
        match request.uri().path() {
            "/ws" => web_socket::echo(request).await,
            "/never" => std::future::pending().await,
            _ => "done".into_response(),
        }
    }

    /// Refuses every token that it has seen; forgets what it saw.
    fn revoke(&self) {
        let tokens = std::mem::take(&mut *self.seen.lock().unwrap());
        let tokens = tokens.into_iter().filter_map(|mut seen| seen.headers.remove(header::AUTHORIZATION));
        self.revoked.lock().unwrap().extend(tokens);
    }

    fn say_no(&self, how: Refusal) {
        *self.refusal.lock().unwrap() = how;
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Refusal {
    fn body(self) -> Body {
        let piece = Bytes::from_static(&[b'.'; 16 * KIB]);
        match self {
            Self::Short | Self::Early => Body::from("that token is of no use"),
            Self::Endless => Body::from_stream(stream::repeat_with(move || Ok::<_, std::io::Error>(piece.clone()))),
            Self::Stalled => Body::from_stream(stream::iter([Ok::<_, std::io::Error>(piece)]).chain(stream::pending())),
        }
    }
}

fn challenged(challenge: &'static str, body: Body) -> Response {
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)], body).into_response()
}

/// Somebody whose token, not young any more, was revoked after a first call.
async fn revoked(setup: Setup) -> (TestApp, Arc<Api>, Browser) {
    let api = Api::start().await;
    let route = format!("path = '/api'\nupstream = '{}'\ntimeout = '2s'", api.url);
    let app = setup.route(&route).start().await;
    let mut browser = app.logged_in("alice").await;
    assert_eq!(browser.fetch(Method::GET, "/api/x").await.status, StatusCode::OK);
    api.revoke();
    app.clock.advance(Duration::from_secs(11));
    (app, api, browser)
}

async fn post(browser: &mut Browser, body: Vec<u8>) -> StatusCode {
    let headers = [("x-csrf", "1"), ("content-type", "application/octet-stream")];
    browser.fetch_with(Method::POST, "/api/x", &headers, body).await.status
}

/// Many different bytes.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| u8::try_from(n * n % 251).unwrap()).collect()
}

/// Begins a POST to `path` whose body is written by hand.
async fn begin_post(browser: &Browser, path: &str, framing: &str) -> TcpStream {
    let (host, cookies) = (browser.home.authority(), browser.cookies.header(&browser.home, true).unwrap());
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nCookie: {cookies}\r\nX-CSRF: 1\r\n\
         Connection: close\r\n{framing}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn send_in_pieces(browser: &Browser, body: &[u8], piece: usize) -> String {
    let mut stream = begin_post(browser, "/api/x", "Transfer-Encoding: chunked").await;
    for piece in body.chunks(piece) {
        stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await.unwrap();
        stream.write_all(piece).await.unwrap();
        stream.write_all(b"\r\n").await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    rest(stream).await
}

async fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it ends").unwrap();
    String::from_utf8(answer).unwrap()
}

fn in_a_tab(browser: &Browser, path: &'static str) -> JoinHandle<StatusCode> {
    let mut tab = browser.tab();
    tokio::spawn(async move { tab.fetch(Method::GET, path).await.status })
}

#[tokio::test]
async fn a_page_does_not_notice_that_its_token_was_revoked() {
    let (app, api, mut browser) = revoked(TestApp::with()).await;
    let headers = [("x-csrf", "1"), ("if-none-match", "\"7\""), ("x-odd", "\u{e9};:,"), ("te", "trailers")];
    let answer = browser.fetch_with(Method::GET, "/api/x?y=1", &headers, Vec::new()).await;
    assert_eq!((answer.status, answer.text().as_str()), (StatusCode::OK, "done"));
    assert_eq!(answer.header("www-authenticate"), None);
    assert_eq!(app.grants("refresh_token"), 1);
    let [mut first, mut second] = <[Seen; 2]>::try_from(api.seen()).unwrap();
    let token = |seen: &mut Seen| seen.headers.remove(header::AUTHORIZATION).unwrap();
    assert_ne!(token(&mut first), token(&mut second));
    assert!(first.headers.contains_key("x-odd") && first.headers.contains_key("forwarded"));
    assert_eq!(first, second, "nothing else differs, and it came by the same connection");
}

#[tokio::test]
async fn a_body_up_to_64_kib_arrives_a_second_time_as_it_was() {
    for length in [1, KIB, 64 * KIB - 1, 64 * KIB] {
        let (app, api, mut browser) = revoked(TestApp::with()).await;
        assert_eq!(post(&mut browser, bytes(length)).await, StatusCode::OK, "{length}");
        let seen = api.seen();
        assert_eq!(seen.len(), 2, "{length}");
        assert!(seen.iter().all(|seen| seen.body == bytes(length) && seen.method == Method::POST), "{length}");
        assert_eq!(seen[0].headers[header::CONTENT_LENGTH], seen[1].headers[header::CONTENT_LENGTH]);
        assert_eq!(app.grants("refresh_token"), 1);
    }
}

#[tokio::test]
async fn a_longer_body_is_refused_once_and_the_next_try_has_the_newer_token() {
    let (app, api, mut browser) = revoked(TestApp::with()).await;
    let body = bytes(64 * KIB + 1);
    assert_eq!(post(&mut browser, body.clone()).await, StatusCode::UNAUTHORIZED);
    assert_eq!((api.seen().len(), app.grants("refresh_token")), (1, 1));
    assert_eq!(post(&mut browser, body).await, StatusCode::OK);
    assert_eq!((api.seen().len(), app.grants("refresh_token")), (2, 1));
}

#[tokio::test]
async fn a_body_in_a_thousand_pieces_arrives_a_second_time_as_it_was() {
    let (_app, api, browser) = revoked(TestApp::with()).await;
    let answer = send_in_pieces(&browser, &bytes(3000), 3).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let bodies: Vec<_> = api.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies, [bytes(3000), bytes(3000)]);
}

#[tokio::test]
async fn the_limit_holds_for_bodies_that_do_not_say_how_long_they_are() {
    for (length, status, times) in [(64 * KIB, "200", 2), (64 * KIB + 1, "401", 1)] {
        let (_app, api, browser) = revoked(TestApp::with()).await;
        let answer = send_in_pieces(&browser, &bytes(length), 10_000).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{length}: {answer}");
        let seen = api.seen();
        assert_eq!(seen.len(), times, "{length}");
        assert!(seen.iter().all(|seen| seen.body == bytes(length)), "{length}");
    }
}

#[tokio::test]
async fn a_call_that_is_refused_during_its_upload_is_not_sent_again() {
    let (app, api, browser) = revoked(TestApp::with()).await;
    api.say_no(Refusal::Early);
    let mut stream = begin_post(&browser, "/api/x", "Content-Length: 1000").await;
    stream.write_all(b"hello").await.unwrap();
    let answer = rest(stream).await;
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("invalid_token"), "{answer}");
    assert_eq!((api.seen().len(), app.grants("refresh_token")), (1, 1));
}

#[tokio::test]
async fn calls_that_are_refused_together_share_one_renewal() {
    for calls in [2, 100] {
        let (app, api, browser) = revoked(TestApp::with()).await;
        app.provider.faults().set_times(HELD, 1);
        let pages: Vec<_> = (0..calls).map(|_| in_a_tab(&browser, "/api/x")).collect();
        app.eventually(|_| api.seen().len() == calls).await;
        app.provider.faults().clear(HELD);
        for status in join_all(pages).await {
            assert_eq!(status.unwrap(), StatusCode::OK);
        }
        assert_eq!((api.seen().len(), app.grants("refresh_token")), (2 * calls, 1));
    }
}

#[tokio::test]
async fn calls_that_come_one_after_the_other_share_one_renewal_too() {
    let (app, api, browser) = revoked(TestApp::with()).await;
    for status in join_all((0..100).map(|_| in_a_tab(&browser, "/api/x"))).await {
        assert_eq!(status.unwrap(), StatusCode::OK);
    }
    assert_eq!(app.grants("refresh_token"), 1);
    assert!(api.seen().len() <= 200);
}

#[tokio::test]
async fn a_token_that_another_call_has_renewed_meanwhile_serves_without_a_grant() {
    let (app, api, mut browser) = revoked(TestApp::with()).await;
    let late = in_a_tab(&browser, "/api/held");
    app.eventually(|_| api.seen().len() == 1).await;
    assert_eq!(browser.fetch(Method::GET, "/api/x").await.status, StatusCode::OK);
    assert_eq!(app.grants("refresh_token"), 1);
    api.held.add_permits(2);
    assert_eq!(late.await.unwrap(), StatusCode::OK);
    assert_eq!(app.grants("refresh_token"), 1);
}

/// The same call by way of another replica.
fn at_the_other(router: Router, browser: &Browser, path: &'static str) -> JoinHandle<StatusCode> {
    let request = Request::get(path)
        .header("host", browser.home.authority())
        .header("cookie", browser.cookies.header(&browser.home, true).unwrap())
        .header("x-csrf", "1")
        .extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))))
        .body(Body::empty());
    tokio::spawn(async move { router.oneshot(request.unwrap()).await.unwrap().status() })
}

#[tokio::test]
async fn calls_that_two_replicas_carry_share_one_renewal() {
    let key = MasterKey::generate().to_base64url().expose().clone();
    let (app, api, browser) = revoked(TestApp::with().variable("CLOAKROOM_KEY", &key)).await;
    let (other, _) = app.replica(&[("CLOAKROOM_KEY", &key)]).await;
    let late = at_the_other(other.router(), &browser, "/api/held");
    app.eventually(|_| api.seen().len() == 1).await;
    app.provider.faults().set_times(HELD, 1);
    let here = in_a_tab(&browser, "/api/x");
    app.eventually(|app| app.grants("refresh_token") == 1).await;
    let there = at_the_other(other.router(), &browser, "/api/x");
    app.eventually(|_| api.seen().len() == 3).await;
    app.provider.faults().clear(HELD);
    assert_eq!(here.await.unwrap(), StatusCode::OK);
    assert_eq!(there.await.unwrap(), StatusCode::OK);
    api.held.add_permits(2);
    assert_eq!(late.await.unwrap(), StatusCode::OK);
    assert_eq!((api.seen().len(), app.grants("refresh_token")), (6, 1));
}

#[tokio::test]
async fn an_api_that_takes_no_token_is_asked_once_more_and_no_oftener() {
    let (app, api, mut browser) = revoked(TestApp::with()).await;
    app.provider.faults().set_times(HELD, 1);
    let page = in_a_tab(&browser, "/api/held");
    app.eventually(|_| api.seen().len() == 1).await;
    api.held.add_permits(1);
    app.eventually(|app| app.grants("refresh_token") == 1).await;
    app.provider.faults().clear(HELD);
    app.eventually(|_| api.seen().len() == 2).await;
    api.revoke();
    api.held.add_permits(1);
    assert_eq!(page.await.unwrap(), StatusCode::UNAUTHORIZED);
    assert_eq!((api.seen().len(), app.grants("refresh_token")), (0, 1));
    for asked in 1..=5 {
        let answer = browser.fetch(Method::GET, "/api/x").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(answer.header("www-authenticate").unwrap().contains("invalid_token"));
        assert_eq!((api.seen().len(), app.grants("refresh_token")), (asked, 1), "the newer token is young");
        app.clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn a_refusal_that_does_not_end_holds_nothing_up() {
    for refusal in [Refusal::Endless, Refusal::Stalled] {
        let (_app, api, mut browser) = revoked(TestApp::with()).await;
        api.say_no(refusal);
        assert_eq!(post(&mut browser, bytes(KIB)).await, StatusCode::OK);
        let seen = api.seen();
        assert_eq!(seen.len(), 2);
        assert_ne!(seen[0].from, seen[1].from, "the connection of the first is not waited for");
    }
}

#[tokio::test]
async fn a_second_answer_that_does_not_come_in_time_is_an_error_of_the_upstream() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let (_app, api, mut browser) = revoked(TestApp::with()).await;
    assert_eq!(browser.fetch(Method::GET, "/api/never").await.problem(), "upstream-timeout");
    assert_eq!(api.seen().len(), 2);
    let counted = "cloakroom_replayed_calls_total{frontend=\"default\",outcome=\"failed\"} 1\n";
    assert!(recorder.handle().render().contains(counted));
}

#[tokio::test]
async fn calls_that_are_sent_again_are_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let (_app, _api, mut browser) = revoked(TestApp::with()).await;
    assert!(!recorder.handle().render().contains("replayed_calls_total{"));
    browser.fetch(Method::GET, "/api/x").await;
    browser.fetch(Method::GET, "/api/x").await;
    let counted = "cloakroom_replayed_calls_total{frontend=\"default\",outcome=\"accepted\"} 1\n";
    assert!(recorder.handle().render().contains(counted));
}

#[tokio::test]
async fn an_api_may_demand_a_stronger_login_of_the_newer_token() {
    let (app, api, mut browser) = revoked(TestApp::with()).await;
    *api.demand.lock().unwrap() = Some("Bearer error=\"insufficient_user_authentication\", acr_values=\"gold\"");
    assert_eq!(browser.fetch(Method::GET, "/api/x").await.problem(), "step-up-required");
    assert_eq!((api.seen().len(), app.grants("refresh_token")), (2, 1));
}

#[tokio::test]
async fn a_web_socket_opens_with_the_newer_token() {
    let (app, api, browser) = revoked(TestApp::with()).await;
    WebSocket::open(&browser, "/api/ws").await.goes_on().await;
    assert_eq!((api.seen().len(), app.grants("refresh_token")), (2, 1));
}

#[tokio::test]
async fn a_provider_that_ends_the_tokens_leaves_the_apis_word_and_ends_the_session() {
    let (app, api, mut browser) = revoked(TestApp::with()).await;
    app.misbehave(Fault::TokenInvalidGrant);
    let answer = browser.fetch(Method::GET, "/api/x").await;
    assert_eq!((answer.status, answer.text().as_str()), (StatusCode::UNAUTHORIZED, "that token is of no use"));
    assert_eq!(api.seen().len(), 1);
    assert_eq!(browser.fetch(Method::GET, "/api/x").await.problem(), "session-expired");
}

#[tokio::test]
async fn a_provider_that_is_down_leaves_the_apis_word_and_the_session() {
    let (app, api, mut browser) = revoked(TestApp::with()).await;
    app.misbehave(Fault::Endpoint(Endpoint::Token, Outage::ServerError));
    let answer = browser.fetch(Method::GET, "/api/x").await;
    assert_eq!((answer.status, answer.text().as_str()), (StatusCode::UNAUTHORIZED, "that token is of no use"));
    assert_eq!(api.seen().len(), 1);
    assert!(browser.is_logged_in().await);
}

#[tokio::test]
async fn a_store_that_is_down_leaves_the_apis_word() {
    let flaky = Arc::new(FlakyBackend::new(Arc::new(MemoryBackend::new())));
    let (app, api, mut browser) = revoked(TestApp::with().backend(flaky.clone())).await;
    let page = in_a_tab(&browser, "/api/held");
    app.eventually(|_| api.seen().len() == 1).await;
    flaky.set(store::Outage::Unavailable);
    api.held.add_permits(1);
    assert_eq!(page.await.unwrap(), StatusCode::UNAUTHORIZED);
    assert_eq!((api.seen().len(), app.grants("refresh_token")), (1, 0));
    flaky.set(store::Outage::None);
    let mut answer = browser.fetch(Method::GET, "/api/x").await;
    while answer.status == StatusCode::SERVICE_UNAVAILABLE {
        // The breaker has not noticed yet.
        tokio::task::yield_now().await;
        answer = browser.fetch(Method::GET, "/api/x").await;
    }
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_session_that_ends_or_is_replaced_during_the_call_leaves_the_apis_word() {
    for is_logout in [true, false] {
        let (app, api, mut browser) = revoked(TestApp::with()).await;
        let page = in_a_tab(&browser, "/api/held");
        app.eventually(|_| api.seen().len() == 1).await;
        if is_logout {
            assert_eq!(browser.fetch(Method::POST, "/bff/logout").await.status, StatusCode::OK);
        } else {
            browser.log_in("/", "alice").await;
        }
        api.held.add_permits(1);
        assert_eq!(page.await.unwrap(), StatusCode::UNAUTHORIZED);
        assert_eq!((api.seen().len(), app.grants("refresh_token")), (1, 0));
    }
}

#[tokio::test]
async fn a_call_without_a_token_is_not_sent_again() {
    let api = Api::start().await;
    let route = |path, token| format!("path = '{path}'\nupstream = '{}'\ntoken = '{token}'", api.url);
    let app = TestApp::with().route(&route("/none", "none")).route(&route("/optional", "optional")).start().await;
    let mut browser = app.logged_in("alice").await;
    app.clock.advance(Duration::from_secs(11));
    assert_eq!(browser.fetch(Method::GET, "/none/x").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(app.browser().fetch(Method::GET, "/optional/x").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!((api.seen().len(), app.grants("refresh_token")), (2, 0));
}
