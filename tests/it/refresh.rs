//! Renewing tokens while other things happen to the session.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::demo::faults::{Endpoint, Fault, Outage};
use cloakroom::store::{self, Cursor, FlakyBackend, MemoryBackend, Reason, Signal, Taken};
use futures_util::{FutureExt as _, StreamExt as _};
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

/// A call that the API refuses with a challenge, as an API does that knows of a revocation before the token runs out.
async fn refused_call(browser: &mut Browser) -> StatusCode {
    let challenge = "/api/status/401?www-authenticate=Bearer%20error%3D%22invalid_token%22";
    browser.fetch(Method::GET, challenge).await.status
}

#[tokio::test]
async fn a_token_that_an_api_refuses_is_renewed_before_anybody_tries_again() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    app.clock.advance(Duration::from_secs(11));
    assert_eq!(refused_call(&mut browser).await, StatusCode::UNAUTHORIZED);
    assert_eq!(app.grants("refresh_token"), 1);
    browser.fetch(Method::GET, "/api/x").await;
    let carried: Vec<_> = app.api_saw().iter().map(|call| call.headers["authorization"].clone()).collect();
    assert_ne!(carried[0], carried[1], "the newer token is there");
    assert_eq!((carried.len(), &carried[1]), (3, &carried[2]));
}

#[tokio::test]
async fn an_api_that_refuses_every_token_does_not_wear_out_the_provider() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    for _ in 0..10 {
        assert_eq!(refused_call(&mut browser).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(app.grants("refresh_token"), 0, "a young token is not to blame");
    for _ in 0..12 {
        app.clock.advance(Duration::from_secs(11));
        assert_eq!(refused_call(&mut browser).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(app.grants("refresh_token"), 2, "once a minute");
    assert!(browser.is_logged_in().await);
}

#[tokio::test]
async fn a_refusal_that_does_not_speak_of_the_token_renews_nothing() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    app.clock.advance(Duration::from_secs(11));
    browser.fetch(Method::GET, "/api/status/401").await;
    browser.fetch(Method::GET, "/api/status/403?www-authenticate=Bearer%20error%3D%22invalid_token%22").await;
    assert_eq!(app.grants("refresh_token"), 0);
}

/// An app over a store in which another replica has taken the right to renew alice's tokens, and then died.
async fn after_a_holder_that_died() -> (TestApp, Browser) {
    let app = TestApp::with().variable("CLOAKROOM__PROVIDERS__DEFAULT__TIMEOUT", "200ms").start().await;
    let browser = app.logged_in("alice").await;
    app.clock.advance(Duration::from_secs(241));
    let key = app.backend.scan(Cursor::default()).await.unwrap().rows[0].key;
    let taken = app.backend.take_lease(key, 1, Duration::from_millis(1)).await.unwrap();
    assert!(matches!(taken, Taken::Taken(_)));
    (app, browser)
}

#[tokio::test]
async fn a_renewal_that_a_dead_replica_left_is_taken_over_after_its_request_must_be_over() {
    let (app, mut browser) = after_a_holder_that_died().await;
    let before = std::time::Instant::now();
    assert_eq!(browser.fetch(Method::GET, "/api/x").await.status, StatusCode::OK);
    assert!(before.elapsed() >= Duration::from_millis(200), "one timeout of the provider");
    assert_eq!(app.grants("refresh_token"), 1);
}

#[tokio::test]
async fn a_token_that_a_dead_replica_has_spent_ends_the_session_as_lost() {
    let (app, mut browser) = after_a_holder_that_died().await;
    app.misbehave(Fault::TokenInvalidGrant);
    let mut signals = app.backend.watch();
    assert_eq!(browser.fetch(Method::GET, "/api/x").await.problem(), "session-expired");
    let mut seen = std::iter::from_fn(|| signals.next().now_or_never().flatten());
    assert!(seen.any(|signal| matches!(signal, Signal::Ended { reason: Reason::RefreshLost, .. })));
}
