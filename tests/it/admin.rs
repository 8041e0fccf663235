//! What operators and probes are told.

use axum::body::{Body, to_bytes};
use cloakroom::Cloakroom;
use cloakroom::config::{Config, LoadOptions};
use http::{Request, StatusCode, header};
use tower::ServiceExt as _;

async fn ask(path: &str, host: &str) -> (StatusCode, String) {
    let sources = [
        ("CLOAKROOM_URL", "http://localhost:8080"),
        ("CLOAKROOM_ISSUER", "https://id.example"),
        ("CLOAKROOM_CLIENT_ID", "shop"),
        ("CLOAKROOM_CLIENT_SECRET", "secret"),
        ("CLOAKROOM_STORE", "memory:"),
    ];
    let sources = sources.into_iter().fold(LoadOptions::default(), |all, (name, value)| all.variable(name, value));
    let cloakroom = Cloakroom::builder(Config::load(&sources).unwrap()).build().await.unwrap();
    let request = Request::get(path).header(header::HOST, host).body(Body::empty()).unwrap();
    let Ok(response) = cloakroom.admin_router().oneshot(request).await;
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.into()).unwrap())
}

#[tokio::test]
async fn probes_are_answered_and_may_ask_for_the_providers() {
    assert_eq!(ask("/healthz", "127.0.0.1:9090").await, (StatusCode::OK, "ok\n".to_owned()));
    assert_eq!(ask("/readyz", "localhost:9090").await, (StatusCode::OK, "ready\n".to_owned()));
    let verbose = ask("/readyz?verbose", "[::1]:9090").await;
    assert_eq!(verbose, (StatusCode::OK, "ready\nprovider default: not discovered yet\n".to_owned()));
}

#[tokio::test]
async fn another_host_is_misdirected_on_the_admin_listener_too() {
    let (status, body) = ask("/readyz", "evil.example").await;
    assert_eq!(status, StatusCode::MISDIRECTED_REQUEST);
    assert!(body.contains("/bff/problems/misdirected-request"), "{body}");
}
