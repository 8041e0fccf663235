//! An embedder's own handlers, behind the same guards as everything else.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use cloakroom::session::UserSession;
use cloakroom::store::{FlakyBackend, MemoryBackend, Outage};
use http::{Method, StatusCode};

use crate::support::TestApp;

fn handlers() -> Router {
    async fn hello(user: UserSession) -> String {
        format!("hello {}", user.subject())
    }
    async fn perhaps(user: Option<UserSession>) -> String {
        user.map_or_else(|| "hello stranger".to_owned(), |user| format!("hello {}", user.subject()))
    }
    Router::new().route("/hello", get(hello)).route("/perhaps", get(perhaps))
}

#[tokio::test]
async fn a_handler_knows_who_is_logged_in() {
    let app = TestApp::with().handlers(handlers()).start().await;
    let mut browser = app.browser();
    assert_eq!(browser.fetch(Method::GET, "/hello").await.problem(), "not-authenticated");
    assert_eq!(browser.fetch(Method::GET, "/perhaps").await.text(), "hello stranger");
    browser.log_in("/", "alice").await;
    assert_eq!(browser.fetch(Method::GET, "/hello").await.text(), "hello 248289761001");
    assert_eq!(browser.fetch(Method::GET, "/perhaps").await.text(), "hello 248289761001");
    let mut other_tab = browser.tab();
    browser.fetch(Method::POST, "/bff/logout").await;
    assert_eq!(other_tab.fetch(Method::GET, "/hello").await.problem(), "session-expired");
}

#[tokio::test]
async fn a_handler_is_not_reached_from_elsewhere() {
    let app = TestApp::with().handlers(handlers()).start().await;
    let mut browser = app.logged_in("alice").await;
    let bare = browser.fetch_with(Method::GET, "/hello", &[], Vec::new()).await;
    assert_eq!(bare.problem(), "csrf-header-missing");
    let foreign = [("x-csrf", "1"), ("sec-fetch-site", "cross-site")];
    assert_eq!(browser.fetch_with(Method::GET, "/hello", &foreign, Vec::new()).await.problem(), "cross-site-request");
}

#[tokio::test]
async fn a_handler_is_not_called_while_nobody_can_say_who_asks() {
    let flaky = Arc::new(FlakyBackend::new(Arc::new(MemoryBackend::new())));
    let app = TestApp::with().handlers(handlers()).backend(flaky.clone()).start().await;
    let mut browser = app.logged_in("alice").await;
    flaky.set(Outage::Unavailable);
    for path in ["/hello", "/perhaps"] {
        let answer = browser.fetch(Method::GET, path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));
    }
    flaky.set(Outage::None);
    assert_eq!(browser.fetch(Method::GET, "/hello").await.status, StatusCode::OK);
}
