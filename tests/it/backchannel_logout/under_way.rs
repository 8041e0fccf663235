//! Logins, calls and renewals that are under way when the logout comes.

use std::time::Duration;

use cloakroom::demo::faults::{Endpoint, Fault, Outage};
use cloakroom::demo::idp::LogoutToken;
use http::{Method, StatusCode};
use tokio::task::JoinHandle;

use super::{ALICE, end, only_sid, token};
use crate::support::{Browser, Page, TestApp};

const HELD: Fault = Fault::Endpoint(Endpoint::Token, Outage::Held);

#[tokio::test]
async fn who_logs_in_again_after_the_logout_stays() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let tokens = [token(&app).subject(ALICE), token(&app).subject(ALICE).sid(&only_sid(&app))];
    for token in &tokens {
        end(&app, token).await;
    }
    assert!(!browser.is_logged_in().await);
    app.provider.log_out(ALICE).await;

    app.clock.advance(Duration::from_secs(5));
    assert_eq!(app.browser().log_in("/", "alice").await.page_slug(), "login-ended", "two clocks may differ by so much");
    app.clock.advance(Duration::from_secs(1));
    let mut again = app.logged_in("alice").await;
    for token in &tokens {
        end(&app, token).await;
        assert!(again.is_logged_in().await, "a token that comes again ends nothing younger");
    }
}

/// A login whose code is redeemed and whose tokens do not arrive yet.
async fn login_under_way(app: &TestApp) -> JoinHandle<(Browser, Page)> {
    app.provider.faults().set_times(HELD, 1);
    let mut browser = app.browser();
    let callback = browser.callback_url("/cart", "alice").await;
    let login = tokio::spawn(async move {
        let page = browser.click(&callback).await;
        (browser, page)
    });
    app.eventually(|app| app.grants("authorization_code") == 1).await;
    login
}

async fn assert_ended_under_way(app: &TestApp, login: JoinHandle<(Browser, Page)>) {
    app.provider.faults().clear(HELD);
    let (mut browser, page) = login.await.unwrap();
    assert_eq!((page.status, page.page_slug().as_str()), (StatusCode::BAD_REQUEST, "login-ended"));
    assert!(browser.session().is_none() && !browser.is_logged_in().await);
    assert_eq!(app.sessions().await, 0);
}

#[tokio::test]
async fn a_logout_that_comes_before_its_login_is_done_ends_it_too() {
    let names: [fn(LogoutToken<'_>, String) -> LogoutToken<'_>; 3] =
        [|token, sid| token.sid(&sid), |token, sid| token.sid(&sid).subject(ALICE), |token, _| token.subject(ALICE)];
    for name in names {
        let app = TestApp::start().await;
        let login = login_under_way(&app).await;
        end(&app, &name(token(&app), only_sid(&app))).await;
        assert_ended_under_way(&app, login).await;
    }
}

#[tokio::test]
async fn a_login_under_way_that_knows_no_sid_ends_with_its_subject() {
    let app = TestApp::start().await;
    app.misbehave(Fault::IdTokenWithoutSid);
    let login = login_under_way(&app).await;
    end(&app, &token(&app).sid(&only_sid(&app)).subject(ALICE)).await;
    assert_ended_under_way(&app, login).await;
}

#[tokio::test]
async fn a_login_under_way_in_another_session_of_the_subject_goes_on() {
    let app = TestApp::start().await;
    let login = login_under_way(&app).await;
    end(&app, &token(&app).sid("another").subject(ALICE)).await;
    app.provider.faults().clear(HELD);
    let (mut browser, page) = login.await.unwrap();
    assert_eq!(page.url.path(), "/cart");
    assert!(browser.is_logged_in().await);
}

#[tokio::test]
async fn a_logout_that_comes_as_soon_as_its_login_is_done_ends_the_session() {
    let app = TestApp::start().await;
    let login = login_under_way(&app).await;
    app.provider.faults().clear(HELD);
    let (mut browser, page) = login.await.unwrap();
    assert_eq!(page.url.path(), "/cart");
    end(&app, &token(&app).sid(&only_sid(&app))).await;
    assert!(!browser.is_logged_in().await);
}

#[tokio::test]
async fn a_call_under_way_is_finished_and_the_next_one_is_refused() {
    let app = TestApp::start().await;
    let browser = app.logged_in("alice").await;
    let (mut calling, mut next) = (browser.tab(), browser.tab());
    let call = tokio::spawn(async move { calling.fetch(Method::GET, "/api/slow?ms=2000").await.status });
    app.eventually(|app| app.api_saw().len() == 1).await;
    app.provider.log_out(ALICE).await;
    assert_eq!(next.fetch(Method::GET, "/api/x").await.problem(), "session-expired");
    assert!(!call.is_finished());
    assert_eq!(call.await.unwrap(), StatusCode::OK);
}

#[tokio::test]
async fn a_renewal_under_way_leaves_no_live_token() {
    let app = TestApp::start().await;
    let browser = app.logged_in("alice").await;
    app.clock.advance(Duration::from_secs(250));
    app.provider.faults().set_times(HELD, 1);
    let mut tab = browser.tab();
    let call = tokio::spawn(async move { tab.fetch(Method::GET, "/api/x").await.status });
    app.eventually(|app| app.grants("refresh_token") == 1).await;
    app.provider.log_out(ALICE).await;
    app.provider.faults().clear(HELD);
    assert_eq!(call.await.unwrap(), StatusCode::UNAUTHORIZED);
    app.eventually(|app| app.calls("/revoke").len() == 1).await;
}
