//! APIs with several addresses, and APIs that fail: what the browser sees, and what operators do.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::Request;
use http::{Method, StatusCode};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{TestApp, logs};

/// An API that says who it is and how it was called.
async fn serve(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = move |request: Request| async move {
        format!("{name} {}", request.headers().get("host").unwrap().to_str().unwrap())
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    address
}

/// Where nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn route(addresses: &[SocketAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(|address| format!("'{address}'")).collect();
    format!("path = '/api'\nupstream = 'http://orders.internal/v1'\naddresses = [{}]", addresses.join(", "))
}

/// Reads the head of a request.
async fn head(connection: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// The value of one series.
async fn counted(app: &TestApp, series: &str) -> Option<u64> {
    let (_, text) = app.ask_admin("/metrics").await;
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test]
async fn calls_go_to_the_addresses_in_turn_under_the_name_of_the_upstream() {
    let addresses = [serve("first").await, serve("second").await];
    let app = TestApp::with().route(&route(&addresses)).start().await;
    let mut browser = app.logged_in("alice").await;
    for name in ["first", "second", "first", "second"] {
        assert_eq!(browser.fetch(Method::GET, "/api/x").await.text(), format!("{name} orders.internal"));
    }
}

#[tokio::test]
async fn an_address_that_is_down_is_told_once_and_no_call_notices() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let handle = recorder.handle();
    let dead = nobody().await;
    let route = route(&[dead, serve("alive").await]);
    let app = TestApp::with().route(&route).metrics(move || handle.render()).start().await;
    let mut browser = app.logged_in("alice").await;
    for method in [Method::POST, Method::GET, Method::PATCH, Method::GET, Method::DELETE] {
        assert_eq!(browser.fetch(method, "/api/x").await.text(), "alive orders.internal");
    }
    assert_eq!(logs::count(&["an address of an upstream is avoided", &dead.to_string()]), 1);
    let labels = "{upstream=\"http://orders.internal\"}";
    assert_eq!(counted(&app, &format!("cloakroom_upstream_addresses_avoided{labels}")).await, Some(1));
    assert_eq!(counted(&app, &format!("cloakroom_upstream_connections{labels}")).await, Some(1));
}

#[tokio::test]
async fn an_api_that_does_not_answer_is_left_alone_and_sessions_go_on() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let handle = recorder.handle();
    let dead = [nobody().await, nobody().await];
    let app = TestApp::with().route(&route(&dead)).metrics(move || handle.render()).start().await;
    let mut browser = app.logged_in("alice").await;
    for _ in 0..8 {
        let answer = browser.fetch(Method::GET, "/api/x").await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::BAD_GATEWAY, "upstream-unavailable"));
    }
    let series = |reason| {
        format!("cloakroom_upstream_failures_total{{upstream=\"http://orders.internal\",reason=\"{reason}\"}}")
    };
    assert_eq!(counted(&app, &series("connect")).await, Some(10), "five calls, at two addresses each");
    assert_eq!(counted(&app, &series("down")).await, Some(3));
    let labels = "{upstream=\"http://orders.internal\"}";
    assert_eq!(counted(&app, &format!("cloakroom_upstream_breaker_open{labels}")).await, Some(1));
    assert!(browser.is_logged_in().await);
}

#[tokio::test]
async fn a_call_that_finds_no_connection_free_is_told_to_come_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let route = route(&[listener.local_addr().unwrap()]);
    let app = TestApp::with().route(&format!("{route}\nmax_connections = 1\ntimeout = '300ms'")).start().await;
    let mut browser = app.logged_in("alice").await;
    let mut tab = browser.tab();
    // The first stream is silent after its head.
    let stream = tokio::spawn(async move { tab.fetch(Method::GET, "/api/stream").await });
    let (mut connection, _) = listener.accept().await.unwrap();
    head(&mut connection).await;
    connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no").await.unwrap();
    let busy = browser.fetch(Method::GET, "/api/x").await;
    assert_eq!((busy.status, busy.problem().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "upstream-busy"));
    assert_eq!(busy.header("retry-after"), Some("5"));
    connection.write_all(b"k").await.unwrap();
    assert_eq!(stream.await.unwrap().text(), "ok");
    let freed = tokio::spawn(async move { browser.fetch(Method::GET, "/api/x").await });
    head(&mut connection).await;
    connection.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    assert_eq!(freed.await.unwrap().status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn an_api_that_closes_under_a_call_is_asked_again_for_a_get_and_never_for_a_post() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = TestApp::with().route(&route(&[listener.local_addr().unwrap()])).start().await;
    let mut browser = app.logged_in("alice").await;
    for (method, answered) in [(Method::GET, true), (Method::POST, false)] {
        let mut tab = browser.tab();
        let method = method.clone();
        let calls = tokio::spawn(async move {
            assert_eq!(tab.fetch(Method::GET, "/api/first").await.text(), "ok");
            tab.fetch(method, "/api/second").await
        });
        let (mut connection, _) = listener.accept().await.unwrap();
        head(&mut connection).await;
        connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        let sent = head(&mut connection).await;
        drop(connection);
        if answered {
            let (mut connection, _) = listener.accept().await.unwrap();
            assert_eq!(head(&mut connection).await, sent, "it is the same request, token and all");
            assert!(sent.contains("authorization: Bearer "), "{sent}");
            connection.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await.unwrap();
            assert_eq!(calls.await.unwrap().status, StatusCode::NO_CONTENT);
        } else {
            assert_eq!(calls.await.unwrap().problem(), "upstream-unavailable");
            let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (_, next) = listener.accept().await.unwrap();
            assert_eq!(next, ours.local_addr().unwrap(), "nobody else came");
        }
    }
    assert!(browser.is_logged_in().await);
}
