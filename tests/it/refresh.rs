//! Renewing tokens while other things happen to the session.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::demo::faults::{Endpoint, Fault, Outage};
use cloakroom::store::{self, FlakyBackend, MemoryBackend};
use http::{Method, StatusCode};

use crate::support::{Browser, TestApp};

const HELD: Fault = Fault::Endpoint(Endpoint::Token, Outage::Held);

/// A logged-in browser, and a call of it whose token renewal is on its way at the provider and does not come back yet.
async fn renewal_under_way(app: &TestApp) -> (Browser, tokio::task::JoinHandle<StatusCode>) {
    let browser = app.logged_in("alice").await;
    app.clock.advance(Duration::from_secs(241));
    app.provider.faults().set_times(HELD, 1);
    let mut tab = browser.tab();
    let call = tokio::spawn(async move { tab.fetch(Method::GET, "/api/x").await.status });
    app.eventually(|app| app.grants("refresh_token") == 1).await;
    (browser, call)
}

#[tokio::test]
async fn a_logout_during_a_renewal_leaves_no_live_token() {
    let app = TestApp::start().await;
    let (mut browser, call) = renewal_under_way(&app).await;
    browser.fetch(Method::POST, "/bff/logout").await;
    app.provider.faults().clear(HELD);
    assert_eq!(call.await.unwrap(), StatusCode::UNAUTHORIZED);
    app.eventually(|app| app.calls("/revoke").len() == 2).await;
    assert!(!browser.is_logged_in().await);
}

#[tokio::test]
async fn a_new_login_during_a_renewal_is_not_revoked_by_it() {
    let app = TestApp::start().await;
    let (mut browser, call) = renewal_under_way(&app).await;
    browser.log_in("/", "alice").await;
    app.provider.faults().clear(HELD);
    assert_eq!(call.await.unwrap(), StatusCode::OK);
    assert!(app.calls("/revoke").is_empty());
    assert_eq!(browser.fetch(Method::GET, "/api/x").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_lose_the_rotated_token() {
    let app = TestApp::start().await;
    let (mut browser, call) = renewal_under_way(&app).await;
    call.abort();
    app.provider.faults().clear(HELD);
    for round in 1..=3 {
        assert_eq!(browser.fetch(Method::GET, "/api/x").await.status, StatusCode::OK);
        assert_eq!(app.grants("refresh_token"), round);
        app.clock.advance(Duration::from_secs(241));
    }
}

#[tokio::test]
async fn a_store_that_fails_while_the_answer_comes_keeps_the_rotated_token() {
    let flaky = Arc::new(FlakyBackend::new(Arc::new(MemoryBackend::new())));
    let app = TestApp::with().backend(flaky.clone()).start().await;
    let (mut browser, call) = renewal_under_way(&app).await;
    flaky.set(store::Outage::Unavailable);
    let before = flaky.calls();
    app.provider.faults().clear(HELD);
    app.eventually(|_| flaky.calls() > before).await;
    flaky.set(store::Outage::None);
    call.await.unwrap();
    app.clock.advance(Duration::from_secs(241));
    let mut answer = browser.fetch(Method::GET, "/api/x").await;
    while answer.status == StatusCode::SERVICE_UNAVAILABLE {
        // The renewed token is still on its way into the store.
        tokio::task::yield_now().await;
        answer = browser.fetch(Method::GET, "/api/x").await;
    }
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(app.grants("refresh_token"), 2);
}
