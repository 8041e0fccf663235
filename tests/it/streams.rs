//! Answers that last, and WebSockets: they end with the session that opened them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::any;
use cloakroom::store::{FlakyBackend, MemoryBackend, Outage};
use http::{Method, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::support::{Browser, TestApp, WebSocket, web_socket};

const SECOND: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_mins(30);
const TICKS: &str = "/api/sse?count=100000&ms=100";

/// An answer as it streams in.
struct Stream(reqwest::Response);

impl Stream {
    async fn open(browser: &Browser, path: &str) -> Self {
        let mut request = browser.http.get(browser.at(path)).header("x-csrf", "1");
        if let Some(cookies) = browser.cookies.header(&browser.home, true) {
            request = request.header(header::COOKIE, cookies);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        Self(answer)
    }

    /// Reads for so many pieces, if it goes on.
    async fn goes_on_for(&mut self, pieces: usize) {
        for _ in 0..pieces {
            let piece = timeout(PATIENCE, self.0.chunk()).await.expect("something comes");
            assert!(piece.expect("it does not break off").is_some(), "it does not end");
        }
    }

    /// Old enough to be followed.
    async fn lasts(&mut self) {
        self.goes_on_for(13).await;
    }

    /// Waits until it breaks off; a clean end would look as if it were complete.
    async fn breaks_off(mut self) {
        let breaking = async {
            loop {
                match self.0.chunk().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("it looks complete"),
                    Err(_) => return,
                }
            }
        };
        timeout(PATIENCE, breaking).await.expect("it breaks off");
    }
}

/// Both ends of a WebSocket through the app.
struct Ends {
    browser: WebSocket,
    upstream: TokioIo<Upgraded>,
}

/// A WebSocket that an upstream was asked for.
struct Asked {
    agree: oneshot::Sender<()>,
    upgrade: OnUpgrade,
}

/// An app with an upstream that agrees to WebSockets when the test does, and leaves them to it.
async fn with_websockets() -> (TestApp, mpsc::UnboundedReceiver<Asked>) {
    let (asked, asking) = mpsc::unbounded_channel();
    let handler = move |mut request: Request| {
        let (agree, agreed) = oneshot::channel();
        let sent = asked.send(Asked { agree, upgrade: hyper::upgrade::on(&mut request) });
        async move {
            sent.unwrap();
            agreed.await.unwrap();
            web_socket::agreed()
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(any(handler))).await });
    (TestApp::with().route(&format!("path = '/api'\nupstream = '{upstream}'")).start().await, asking)
}

impl Asked {
    async fn agree(self) -> TokioIo<Upgraded> {
        self.agree.send(()).unwrap();
        TokioIo::new(self.upgrade.await.unwrap())
    }
}

impl Ends {
    async fn open(browser: &Browser, asking: &mut mpsc::UnboundedReceiver<Asked>) -> Self {
        let mut browser = WebSocket::ask_for(browser, "/api/ws").await;
        let upstream = asking.recv().await.unwrap().agree().await;
        browser.opens().await;
        let mut opened = Self { browser, upstream };
        opened.carries(b"\x81\x02hi").await;
        opened
    }

    /// Passes bytes on from the upstream.
    async fn carries(&mut self, bytes: &[u8]) {
        self.upstream.write_all(bytes).await.unwrap();
        self.browser.reads(bytes).await;
    }

    async fn close_with(mut self, code: u16) {
        self.browser.closes_with(code).await;
        self.upstream_is_closed().await;
    }

    async fn upstream_is_closed(&mut self) {
        assert_eq!(timeout(PATIENCE, self.upstream.read(&mut [0; 1])).await.expect("it ends").unwrap_or(0), 0);
    }
}

#[tokio::test]
async fn server_sent_events_of_an_api_end_with_the_session() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let mut stream = Stream::open(&browser, TICKS).await;
    let mut other = Stream::open(&app.logged_in("bob").await, TICKS).await;
    stream.lasts().await;
    let ended = Instant::now();
    browser.fetch(Method::POST, "/bff/logout").await;
    stream.breaks_off().await;
    assert!(ended.elapsed() < SECOND);
    other.lasts().await;
}

#[tokio::test]
async fn a_stream_that_is_young_when_its_session_ends_ends_when_it_has_lasted() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let stream = Stream::open(&browser, TICKS).await;
    browser.fetch(Method::POST, "/bff/logout").await;
    stream.breaks_off().await;
}

#[tokio::test]
async fn a_silent_stream_ends_too() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let mut stream = Stream::open(&browser, "/api/sse?count=2&ms=3600000").await;
    stream.goes_on_for(1).await;
    browser.fetch(Method::POST, "/bff/logout").await;
    stream.breaks_off().await;
}

#[tokio::test]
async fn a_download_of_an_ended_session_breaks_off() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let stream = Stream::open(&browser, "/api/big?bytes=1000000000000").await;
    browser.fetch(Method::POST, "/bff/logout").await;
    stream.breaks_off().await;
}

#[tokio::test]
async fn a_stream_ends_at_the_idle_limit_unless_the_session_is_used() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let mut stream = Stream::open(&browser, TICKS).await;
    stream.lasts().await;
    app.clock.advance(IDLE / 2);
    assert!(browser.is_logged_in().await);
    app.clock.advance(IDLE / 2);
    stream.goes_on_for(3).await;
    app.clock.advance(IDLE / 2);
    stream.breaks_off().await;
}

#[tokio::test]
async fn a_stream_ends_at_the_absolute_limit_also_while_the_store_is_down() {
    let backend = Arc::new(FlakyBackend::new(Arc::new(MemoryBackend::new())));
    let app = TestApp::with().backend(backend.clone()).start().await;
    let mut stream = Stream::open(&app.logged_in("alice").await, TICKS).await;
    stream.lasts().await;
    backend.set(Outage::Unavailable);
    app.clock.advance(IDLE);
    stream.goes_on_for(3).await;
    app.clock.advance(Duration::from_hours(12));
    stream.breaks_off().await;
}

#[tokio::test]
async fn a_replaced_sessions_stream_has_ten_seconds() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let mut stream = Stream::open(&browser, TICKS).await;
    stream.lasts().await;
    app.clock.advance(SECOND);
    browser.log_in("/", "alice").await;
    stream.goes_on_for(3).await;
    app.clock.advance(9 * SECOND);
    stream.goes_on_for(3).await;
    app.clock.advance(SECOND);
    stream.breaks_off().await;
}

#[tokio::test]
async fn a_stream_that_used_no_session_is_left_alone() {
    let app = TestApp::with().route("path = '/api'").route("path = '/free'\ntoken = 'none'").start().await;
    let mut browser = app.logged_in("alice").await;
    let mut stream = Stream::open(&browser, "/free/sse?count=100000&ms=100").await;
    browser.fetch(Method::POST, "/bff/logout").await;
    stream.lasts().await;
}

#[tokio::test]
async fn short_answers_look_at_the_store_once() {
    let backend = Arc::new(FlakyBackend::new(Arc::new(MemoryBackend::new())));
    let app = TestApp::with().backend(backend.clone()).start().await;
    let mut browser = app.logged_in("alice").await;
    let before = backend.calls();
    browser.fetch(Method::GET, "/api/sse?count=3&ms=10").await;
    assert_eq!(backend.calls() - before, 1);
}

#[tokio::test]
async fn a_websocket_of_an_ended_session_closes_with_4401() {
    let (app, mut asking) = with_websockets().await;
    let mut browser = app.logged_in("alice").await;
    let socket = Ends::open(&browser, &mut asking).await;
    let mut other = Ends::open(&app.logged_in("bob").await, &mut asking).await;
    let ended = Instant::now();
    browser.fetch(Method::POST, "/bff/logout").await;
    socket.close_with(4401).await;
    assert!(ended.elapsed() < SECOND);
    other.carries(b"\x82\x01x").await;
}

#[tokio::test]
async fn a_websocket_whose_session_ends_while_it_opens_is_told_so() {
    let (app, mut asking) = with_websockets().await;
    let mut browser = app.logged_in("alice").await;
    let mut opening = WebSocket::ask_for(&browser, "/api/ws").await;
    let asked = asking.recv().await.unwrap();
    browser.fetch(Method::POST, "/bff/logout").await;
    let upstream = asked.agree().await;
    opening.opens().await;
    Ends { browser: opening, upstream }.close_with(4401).await;
}

#[tokio::test]
async fn a_websocket_is_closed_between_two_frames() {
    let (app, mut asking) = with_websockets().await;
    let mut browser = app.logged_in("alice").await;
    let mut socket = Ends::open(&browser, &mut asking).await;
    let frame = [b"\x82\x7f\0\0\0\0\0\0\x30\0".as_slice(), &[7; 0x3000]].concat();
    socket.carries(&frame[..0x1000]).await;
    browser.fetch(Method::POST, "/bff/logout").await;
    let Ends { browser: mut page, mut upstream } = socket;
    // The frame, and the next one behind it.
    let rest = [&frame[0x1000..], b"\x81\x02no"].concat();
    let sending = tokio::spawn(async move {
        let _ = upstream.write_all(&rest).await;
        upstream
    });
    assert_eq!(page.rest().await, [&frame[0x1000..], b"\x88\x02\x11\x31"].concat());
    drop(sending);
}

#[tokio::test]
async fn a_frame_that_does_not_end_does_not_keep_a_websocket_open() {
    let (app, mut asking) = with_websockets().await;
    let mut browser = app.logged_in("alice").await;
    let mut socket = Ends::open(&browser, &mut asking).await;
    socket.carries(b"\x82\x7e\xff\xffbegun").await;
    let ended = Instant::now();
    browser.fetch(Method::POST, "/bff/logout").await;
    assert_eq!(socket.browser.rest().await, [0_u8; 0]);
    assert!(ended.elapsed() < SECOND);
    socket.upstream_is_closed().await;
}

#[tokio::test]
async fn after_the_upstreams_close_frame_there_is_no_other() {
    let (app, mut asking) = with_websockets().await;
    let mut browser = app.logged_in("alice").await;
    let mut socket = Ends::open(&browser, &mut asking).await;
    socket.carries(b"\x88\x02\x03\xe8").await;
    browser.fetch(Method::POST, "/bff/logout").await;
    assert_eq!(socket.browser.rest().await, [0_u8; 0]);
}

#[tokio::test]
async fn a_websocket_ends_at_the_limit() {
    let (app, mut asking) = with_websockets().await;
    let browser = app.logged_in("alice").await;
    let socket = Ends::open(&browser, &mut asking).await;
    app.clock.advance(IDLE);
    socket.close_with(4401).await;
}

#[tokio::test]
async fn a_replaced_sessions_websocket_has_ten_seconds() {
    let (app, mut asking) = with_websockets().await;
    let mut browser = app.logged_in("alice").await;
    let mut socket = Ends::open(&browser, &mut asking).await;
    app.clock.advance(SECOND);
    browser.log_in("/", "alice").await;
    app.clock.advance(9 * SECOND);
    socket.carries(b"\x81\x01x").await;
    app.clock.advance(SECOND);
    socket.close_with(4401).await;
}

#[tokio::test]
async fn at_shutdown_websockets_are_told_to_come_back() {
    let (mut app, mut asking) = with_websockets().await;
    let socket = Ends::open(&app.logged_in("alice").await, &mut asking).await;
    app.stop().await;
    socket.close_with(1001).await;
}

const PATIENCE: Duration = Duration::from_secs(5);
