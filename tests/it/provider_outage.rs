//! The provider is down, slow or broken: nobody is logged out for it, nothing is lost, and nothing is asked in a loop.

use std::collections::HashSet;
use std::time::Duration;

use cloakroom::demo::faults::{Endpoint, Fault, Outage};
use cloakroom::store::{Reason, Signal};
use futures_util::future::join_all;
use futures_util::{FutureExt as _, StreamExt as _};
use http::{Method, StatusCode};

use crate::support::{Browser, Page, TestApp};

const DISCOVERY: &str = "/.well-known/openid-configuration";
const ALMOST_OVER: Duration = Duration::from_secs(250);
const A_MINUTE: Duration = Duration::from_mins(1);
/// Longer than the first pauses after a failure.
const BRAKE: Duration = Duration::from_secs(3);

fn failing(endpoint: Endpoint, outage: Outage) -> Fault {
    Fault::Endpoint(endpoint, outage)
}

/// An app that does not wait long for its provider.
async fn impatient() -> TestApp {
    TestApp::with().variable("CLOAKROOM__PROVIDERS__DEFAULT__TIMEOUT", "200ms").start().await
}

async fn call(browser: &mut Browser) -> Page {
    browser.fetch(Method::GET, "/api/x").await
}

/// A person whose access token has a minute left, and one who has just been there.
async fn due(app: &TestApp) -> Browser {
    let browser = app.logged_in("alice").await;
    app.clock.advance(ALMOST_OVER);
    browser
}

fn assert_provider_unavailable(page: &Page) {
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    let retry_after = page.header("retry-after").and_then(|seconds| seconds.parse::<u32>().ok());
    assert!(retry_after.is_some_and(|seconds| (1..=5).contains(&seconds)), "{retry_after:?}");
    assert_eq!(page.header("set-cookie"), None);
}

// Logins.

#[tokio::test]
async fn the_program_starts_while_the_provider_is_down_and_needs_no_restart() {
    let app = TestApp::start().await;
    app.provider.stop().await;
    let mut browser = app.browser();
    assert!(!browser.is_logged_in().await);

    let page = browser.step("/bff/login").await;
    assert_provider_unavailable(&page);
    assert_eq!(page.page_slug(), "provider-unavailable");
    assert_eq!(page.cause(), "the provider is unavailable: no connection");
    let program = [("sec-fetch-mode", ""), ("sec-fetch-site", ""), ("sec-fetch-dest", "")];
    let problem = browser.fetch_with(Method::GET, "/bff/login", &program, Vec::new()).await;
    assert_provider_unavailable(&problem);
    assert_eq!(problem.problem(), "provider-unavailable");

    app.provider.start_again().await.unwrap();
    app.clock.advance(Duration::from_secs(1));
    assert_eq!(browser.log_in("/cart", "alice").await.url.path(), "/cart");
}

#[tokio::test]
async fn a_broken_provider_is_asked_once_and_then_less_and_less_often() {
    let app = TestApp::start().await;
    app.misbehave(failing(Endpoint::Discovery, Outage::ServerError));
    let mut browser = app.browser();
    for _ in 0..100 {
        assert_eq!(browser.step("/bff/login").await.page_slug(), "provider-unavailable");
    }
    assert_eq!(app.calls(DISCOVERY).len(), 1);
    for _ in 0..100 {
        app.clock.advance(Duration::from_secs(1));
        browser.step("/bff/login").await;
    }
    // 1, 2, 4, 8, 16, 30, 30, …
    assert_eq!(app.calls(DISCOVERY).len(), 6 + (100 - 31) / 30);
}

#[tokio::test]
async fn many_who_log_in_while_the_provider_hangs_wait_for_one_answer() {
    let app = impatient().await;
    app.misbehave(failing(Endpoint::Discovery, Outage::Hang));
    let mut browsers: Vec<Browser> = (0..20).map(|_| app.browser()).collect();
    let pages = join_all(browsers.iter_mut().map(|browser| browser.step("/bff/login"))).await;
    for page in pages {
        assert_provider_unavailable(&page);
        assert_eq!(page.cause(), "the provider is unavailable: no answer in time");
    }
    assert_eq!(app.calls(DISCOVERY).len(), 1);
}

#[tokio::test]
async fn a_token_endpoint_that_fails_opens_nothing_and_is_not_sent_the_code_again() {
    for (outage, cause) in [
        (Outage::ServerError, "it answered 500"),
        (Outage::Hang, "no answer in time"),
        (Outage::Closed, "the connection broke"),
        (Outage::AnswerLost, "the connection broke"),
    ] {
        let app = impatient().await;
        app.misbehave(failing(Endpoint::Token, outage));
        let mut browser = app.browser();
        let callback = browser.callback_url("/cart", "alice").await;
        let mut copy = browser.tab();
        let page = browser.click(&callback).await;
        assert_eq!(page.page_slug(), "provider-unavailable", "{outage:?}");
        assert_eq!(page.header("retry-after"), Some("5"));
        assert_eq!(page.cause(), format!("the provider is unavailable: {cause}"));
        assert_eq!((app.sessions().await, browser.session()), (0, None));
        app.provider.faults().clear_all();
        assert_eq!(copy.click(&callback).await.page_slug(), "login-expired");
        assert_eq!(app.grants("authorization_code"), 1);
        assert_eq!(browser.log_in("/cart", "alice").await.url.path(), "/cart");
    }
}

#[tokio::test]
async fn a_callback_whose_code_could_not_be_sent_can_be_loaded_again() {
    let app = TestApp::start().await;
    app.logged_in("bob").await;
    let mut browser = app.browser();
    let callback = browser.callback_url("/cart#here", "alice").await;
    app.provider.stop().await;
    for _ in 0..3 {
        let page = browser.click(&callback).await;
        assert_provider_unavailable(&page);
        assert_eq!(page.cause(), "the provider is unavailable: no connection");
    }
    app.provider.start_again().await.unwrap();
    assert_eq!(browser.click(&callback).await.url.as_str(), format!("{}/cart#here", app.url));
    assert!(browser.is_logged_in().await);
}

#[tokio::test]
async fn the_code_is_kept_while_the_keys_cannot_be_had() {
    for outage in [Outage::ServerError, Outage::Hang, Outage::Closed, Outage::Garbage] {
        let app = impatient().await;
        app.misbehave(failing(Endpoint::Jwks, outage));
        let mut browser = app.browser();
        let callback = browser.callback_url("/cart", "alice").await;
        assert_provider_unavailable(&browser.click(&callback).await);
        assert_eq!(app.grants("authorization_code"), 0, "{outage:?}");
        app.provider.faults().clear_all();
        app.clock.advance(Duration::from_secs(1));
        let again = browser.click(&callback).await;
        assert_eq!(again.url.path(), "/cart", "{outage:?} {}", again.text());
    }
}

#[tokio::test]
async fn a_code_that_was_spent_stays_spent_if_userinfo_cannot_be_had() {
    let app = TestApp::start().await;
    app.misbehave(failing(Endpoint::Token, Outage::Held));
    let mut browser = app.browser();
    let callback = browser.callback_url("/cart", "alice").await;
    let mut copy = browser.tab();
    // The token response gets through, and then nobody listens any more.
    app.misbehave(failing(Endpoint::Userinfo, Outage::Closed));
    let (page, ()) = tokio::join!(browser.click(&callback), async {
        app.eventually(|app| app.grants("authorization_code") == 1).await;
        app.provider.faults().clear(failing(Endpoint::Token, Outage::Held));
    });
    assert_eq!(page.page_slug(), "provider-unavailable");
    app.provider.faults().clear_all();
    assert_eq!(copy.click(&callback).await.page_slug(), "login-expired");
    assert_eq!(app.grants("authorization_code"), 1);
    assert_eq!(app.sessions().await, 0);
}

#[tokio::test]
async fn a_code_that_was_spent_stays_spent_if_nothing_could_be_sent_after_it() {
    let app = TestApp::start().await;
    app.misbehave(Fault::DiscoveryDeadUserinfo);
    let mut browser = app.browser();
    let callback = browser.callback_url("/cart", "alice").await;
    let mut copy = browser.tab();
    assert_eq!(browser.click(&callback).await.page_slug(), "provider-unavailable");
    assert_eq!(copy.click(&callback).await.page_slug(), "login-expired");
    assert_eq!(app.grants("authorization_code"), 1);
}

// Refresh.

#[tokio::test]
async fn an_old_token_serves_while_it_lives_and_then_it_is_503_until_the_provider_is_back() {
    let app = TestApp::start().await;
    let mut browser = due(&app).await;
    app.provider.stop().await;
    assert_eq!(call(&mut browser).await.status, StatusCode::OK);
    app.clock.advance(A_MINUTE);
    let seen = app.api_saw().len();
    for _ in 0..3 {
        let page = call(&mut browser).await;
        assert_provider_unavailable(&page);
        assert_eq!(page.problem(), "provider-unavailable");
    }
    assert_eq!(app.api_saw().len(), seen);
    assert!(browser.is_logged_in().await);
    app.provider.start_again().await.unwrap();
    app.clock.advance(BRAKE);
    assert_eq!(call(&mut browser).await.status, StatusCode::OK);
    assert_eq!(app.grants("refresh_token"), 1);
}

#[tokio::test]
async fn nothing_but_a_word_of_the_provider_ends_a_session() {
    for fault in [
        failing(Endpoint::Token, Outage::ServerError),
        failing(Endpoint::Token, Outage::NotFound),
        failing(Endpoint::Token, Outage::Garbage),
        failing(Endpoint::Token, Outage::TooLarge),
        failing(Endpoint::Token, Outage::Redirect),
        failing(Endpoint::Token, Outage::Hang),
        failing(Endpoint::Token, Outage::Closed),
        Fault::TokenInvalidClient,
    ] {
        let app = impatient().await;
        let mut browser = due(&app).await;
        app.misbehave(fault);
        assert_eq!(call(&mut browser).await.status, StatusCode::OK, "{fault:?}");
        app.clock.advance(A_MINUTE);
        let page = call(&mut browser).await;
        assert_provider_unavailable(&page);
        assert_eq!(app.sessions().await, 1, "{fault:?}");
        app.provider.faults().clear_all();
        app.clock.advance(BRAKE);
        assert_eq!(call(&mut browser).await.status, StatusCode::OK, "{fault:?}");
    }
}

#[tokio::test]
async fn a_provider_that_does_not_answer_is_asked_less_and_less_often() {
    let app = TestApp::start().await;
    let mut browsers = vec![app.logged_in("alice").await, app.logged_in("bob").await];
    app.misbehave(failing(Endpoint::Token, Outage::ServerError));
    app.clock.advance(ALMOST_OVER + A_MINUTE);
    for (pause, sent) in [(BRAKE, 2), (BRAKE, 3), (A_MINUTE, 4)] {
        for _ in 0..50 {
            for browser in &mut browsers {
                assert_provider_unavailable(&call(browser).await);
            }
        }
        assert_eq!(app.grants("refresh_token"), sent, "once, and the first time once more");
        app.clock.advance(pause);
    }
    assert_eq!(app.sessions().await, 2);
}

#[tokio::test]
async fn invalid_grant_ends_the_session() {
    let app = TestApp::start().await;
    let mut browser = due(&app).await;
    app.misbehave(Fault::TokenInvalidGrant);
    let page = call(&mut browser).await;
    assert_eq!((page.status, page.problem().as_str()), (StatusCode::UNAUTHORIZED, "session-expired"));
    assert_eq!(page.header("set-cookie"), None);
    assert_eq!(page.json()["login_url"], "/bff/login");
    assert_eq!(app.sessions().await, 0);
    assert!(!browser.is_logged_in().await);
    assert_eq!(call(&mut browser).await.problem(), "session-expired");
    assert_eq!(app.grants("refresh_token"), 1);
    assert!(app.api_saw().is_empty());
}

#[tokio::test]
async fn an_answer_that_was_lost_costs_the_session_only_when_the_provider_says_so() {
    let app = TestApp::start().await;
    let mut browser = due(&app).await;
    // Nothing is heard of either try: the old token lives, and so does the session.
    app.provider.faults().set_times(failing(Endpoint::Token, Outage::Closed), 2);
    assert_eq!(call(&mut browser).await.status, StatusCode::OK);
    assert_eq!(app.sessions().await, 1);
    app.clock.advance(BRAKE);
    app.provider.faults().set_times(failing(Endpoint::Token, Outage::AnswerLost), 1);
    assert_eq!(call(&mut browser).await.status, StatusCode::OK);
    app.clock.advance(BRAKE);
    // This provider has no grace: the refresh token is spent.
    let mut signals = app.backend.watch();
    assert_eq!(call(&mut browser).await.problem(), "session-expired");
    assert_eq!(app.sessions().await, 0);
    let mut reasons = std::iter::from_fn(|| signals.next().now_or_never().flatten());
    assert!(reasons.any(|signal| matches!(signal, Signal::Ended { reason: Reason::RefreshLost, .. })));
}

/// The first two are `oidcc-client-test-refresh-token-invalid-sub` and `-invalid-issuer`.
#[tokio::test]
async fn a_refreshed_id_token_that_is_not_right_ends_the_session() {
    for fault in [
        Fault::RefreshOtherSubject,
        Fault::IdTokenWrongIssuer,
        Fault::IdTokenWrongAudience,
        Fault::IdTokenExtraAudienceAzpOurs,
        Fault::IdTokenWithoutSubject,
        Fault::IdTokenWrongNonce,
        Fault::IdTokenWrongAtHash,
        Fault::IdTokenBadSignature,
        Fault::IdTokenUnsigned,
        Fault::IdTokenSymmetric,
        Fault::IdTokenOtherAlgorithm,
    ] {
        let app = TestApp::start().await;
        let mut browser = due(&app).await;
        app.misbehave(fault);
        assert_eq!(call(&mut browser).await.problem(), "session-expired", "{fault:?}");
        assert_eq!(app.sessions().await, 0, "{fault:?}");
        assert!(app.api_saw().is_empty(), "{fault:?}");
        app.eventually(|app| app.calls("/revoke").len() == 1).await;
    }
}

#[tokio::test]
async fn a_refreshed_id_token_of_another_time_is_left_aside() {
    let app = TestApp::start().await;
    let mut browser = due(&app).await;
    app.misbehave(Fault::IdTokenExpired);
    assert_eq!(call(&mut browser).await.status, StatusCode::OK);
    assert_eq!((app.grants("refresh_token"), app.sessions().await), (1, 1));
}

#[tokio::test]
async fn each_refresh_uses_the_newest_token() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    for _ in 0..10 {
        app.clock.advance(ALMOST_OVER);
        assert_eq!(call(&mut browser).await.status, StatusCode::OK);
    }
    let calls = app.calls("/token");
    let sent: HashSet<_> = calls.iter().filter_map(|call| call.form_value("refresh_token")).collect();
    assert_eq!((app.grants("refresh_token"), sent.len()), (10, 10));
    let carried: HashSet<_> =
        app.api_saw().into_iter().map(|request| request.headers["authorization"].clone()).collect();
    assert_eq!(carried.len(), 10);
    assert!(browser.is_logged_in().await);
}

#[tokio::test]
async fn fifty_calls_at_once_make_one_refresh() {
    let app = TestApp::start().await;
    let browser = due(&app).await;
    let mut tabs: Vec<Browser> = (0..50).map(|_| browser.tab()).collect();
    app.misbehave(failing(Endpoint::Token, Outage::Held));
    let (pages, ()) = tokio::join!(join_all(tabs.iter_mut().map(call)), async {
        app.eventually(|app| app.grants("refresh_token") == 1).await;
        // Everybody has asked by the time somebody who asks last is answered.
        assert!(browser.tab().is_logged_in().await);
        app.provider.faults().clear_all();
    });
    assert!(pages.iter().all(|page| page.status == StatusCode::OK));
    assert_eq!(app.grants("refresh_token"), 1);
    let carried: HashSet<_> =
        app.api_saw().into_iter().map(|request| request.headers["authorization"].clone()).collect();
    assert_eq!(carried.len(), 1);
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_lose_the_rotated_token() {
    let app = TestApp::start().await;
    let mut browser = due(&app).await;
    let mut impatient = browser.tab();
    app.misbehave(failing(Endpoint::Token, Outage::Held));
    let waiting = tokio::spawn(async move { call(&mut impatient).await });
    app.eventually(|app| app.grants("refresh_token") == 1).await;
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    // The server has noticed once it has answered a later request.
    assert!(browser.is_logged_in().await);
    assert!(app.api_saw().is_empty());
    app.provider.faults().clear_all();
    assert_eq!(call(&mut browser).await.status, StatusCode::OK);
    assert_eq!(app.grants("refresh_token"), 1);
    app.clock.advance(ALMOST_OVER);
    assert_eq!(call(&mut browser).await.status, StatusCode::OK);
    assert_eq!(app.grants("refresh_token"), 2);
}

#[tokio::test]
async fn a_logout_during_a_refresh_wins_and_the_rotated_token_is_revoked() {
    let app = TestApp::start().await;
    let browser = due(&app).await;
    let (mut calling, mut leaving) = (browser.tab(), browser.tab());
    app.misbehave(failing(Endpoint::Token, Outage::Held));
    let (page, ()) = tokio::join!(call(&mut calling), async {
        app.eventually(|app| app.grants("refresh_token") == 1).await;
        assert_eq!(leaving.fetch(Method::POST, "/bff/logout?local=true").await.status, StatusCode::OK);
        app.provider.faults().clear_all();
    });
    assert_eq!(page.problem(), "session-expired");
    assert_eq!(app.sessions().await, 0);
    assert!(app.api_saw().is_empty());
    app.eventually(|app| app.calls("/revoke").len() == 2).await;
}

#[tokio::test]
async fn a_provider_may_keep_its_refresh_token() {
    for fault in [Fault::RefreshWithoutRotation, Fault::RefreshWithoutNewToken] {
        let app = TestApp::start().await;
        app.misbehave(fault);
        let mut browser = app.logged_in("alice").await;
        for n in 1..=3 {
            app.clock.advance(ALMOST_OVER);
            assert_eq!(call(&mut browser).await.status, StatusCode::OK, "{fault:?}");
            assert_eq!(app.grants("refresh_token"), n);
        }
    }
}

#[tokio::test]
async fn without_a_refresh_token_calls_end_with_the_access_token_and_the_session_goes_on() {
    let app = TestApp::with().variable("CLOAKROOM_SCOPES", "openid profile email").start().await;
    let mut browser = due(&app).await;
    assert_eq!(call(&mut browser).await.status, StatusCode::OK);
    app.clock.advance(A_MINUTE);
    let page = call(&mut browser).await;
    assert_eq!((page.status, page.problem().as_str()), (StatusCode::UNAUTHORIZED, "session-expired"));
    assert_eq!(page.header("set-cookie"), None);
    assert!(browser.is_logged_in().await);
    assert_eq!((app.sessions().await, app.grants("refresh_token")), (1, 0));
}
