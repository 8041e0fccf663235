//! The provider says that it has logged somebody out: `POST /bff/backchannel-logout`.

mod outages;
mod refused;
mod under_way;

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use cloakroom::Cloakroom;
use cloakroom::demo::faults::Fault;
use cloakroom::demo::idp::{DevClient, LogoutDelivery, LogoutSignature, LogoutToken};
use cloakroom::demo::{Demo, DemoOptions};
use cloakroom::store::suite::{key, row_with, term};
use cloakroom::store::{MasterKey, MemoryBackend, SessionBackend};
use http::{Method, Request, StatusCode};
use serde_json::json;
use tower::ServiceExt as _;
use url::form_urlencoded;

use crate::support::{Browser, Page, TestApp, post};

const ALICE: &str = "248289761001";
const BOB: &str = "813347290552";
const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";
const FORM: &str = "application/x-www-form-urlencoded";

fn form(token: &str) -> String {
    form_urlencoded::Serializer::new(String::new()).append_pair("logout_token", token).finish()
}

fn endpoint(app: &TestApp) -> String {
    format!("{}/bff/backchannel-logout", app.url)
}

/// Posts a logout token as the provider does.
async fn tell(app: &TestApp, token: &LogoutToken<'_>) -> Page {
    post(&endpoint(app), Some(FORM), form(&token.to_jwt())).await
}

/// The same, and it is believed.
async fn end(app: &TestApp, token: &LogoutToken<'_>) {
    let answer = tell(app, token).await;
    assert_eq!((answer.status, answer.text().as_str()), (StatusCode::OK, ""));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

fn token(app: &TestApp) -> LogoutToken<'_> {
    app.provider.logout_token("shop")
}

/// The session at the provider that alice has had alone.
fn only_sid(app: &TestApp) -> String {
    let mut sids = app.provider.sids_of(ALICE);
    assert_eq!(sids.len(), 1);
    sids.remove(0)
}

fn fresh_key() -> String {
    MasterKey::generate().to_base64url().expose().clone()
}

// What it is told.

#[tokio::test]
async fn what_the_specification_leaves_open_is_accepted() {
    let app = TestApp::start().await;
    let odd: [fn(LogoutToken<'_>) -> LogoutToken<'_>; 8] = [
        |token| token.typ(None),
        |token| token.typ(Some("JWT")),
        |token| token.typ(Some("application/logout+jwt")),
        |token| token.without("jti"),
        |token| token.claim("aud", json!(["shop"])),
        |token| token.claim("events", json!({ LOGOUT: {"why": "tired"}, "https://example.com/event": 1 })),
        |token| token.claim("trace_id", json!("7")),
        |token| token.signed(LogoutSignature::WithoutKid),
    ];
    for odd in odd {
        let mut browser = app.logged_in("alice").await;
        end(&app, &odd(token(&app).subject(ALICE))).await;
        assert!(!browser.is_logged_in().await);
        // A login from now on is after it.
        app.clock.advance(Duration::from_secs(6));
    }
    let mut browser = app.logged_in("alice").await;
    let body = format!("a=1&{}&b=2", form(&token(&app).subject(ALICE).to_jwt()));
    let answer = post(&endpoint(&app), Some("Application/X-WWW-Form-Urlencoded; charset=utf-8"), body).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(!browser.is_logged_in().await);
}

#[tokio::test]
async fn whom_nobody_knows_and_what_came_before_are_no_errors() {
    let app = TestApp::start().await;
    end(&app, &token(&app).subject("nobody")).await;
    end(&app, &token(&app).sid("unknown")).await;
    let mut browser = app.logged_in("alice").await;
    let token = token(&app).subject(ALICE).sid(&only_sid(&app));
    for _ in 0..3 {
        end(&app, &token).await;
        assert!(!browser.is_logged_in().await);
    }
}

// Whom it ends.

#[tokio::test]
async fn a_logout_at_the_provider_ends_the_session_here() {
    let app = TestApp::start().await;
    let (mut browser, mut elsewhere) = (app.logged_in("alice").await, app.logged_in("alice").await);
    let mut bob = app.logged_in("bob").await;
    let end_session = format!("{}/end_session", app.provider.issuer());
    let page = browser.open(&end_session).await;
    browser.submit(&page, &[]).await;
    assert!(!browser.is_logged_in().await);
    assert_eq!(browser.fetch(Method::GET, "/api/x").await.problem(), "session-expired");
    assert!(elsewhere.is_logged_in().await && bob.is_logged_in().await, "one session was meant");

    let told = app.provider.log_out(ALICE).await;
    assert_eq!(told, [LogoutDelivery { client_id: "shop".to_owned(), status: Some(200) }]);
    assert!(!elsewhere.is_logged_in().await && bob.is_logged_in().await);
    assert!(app.calls("/revoke").is_empty(), "tokens are sealed with the browsers' ids");
}

#[tokio::test]
async fn the_demo_shows_it() {
    let options = DemoOptions { port: 0, provider_port: 0, api_port: 0, ..DemoOptions::default() };
    let demo = Demo::start(options).await.unwrap();
    let (url, provider) = (demo.banner().url.clone(), demo.banner().provider.clone());
    let people = async {
        let (mut browser, mut elsewhere) = (Browser::new(&url), Browser::new(&url));
        for browser in [&mut browser, &mut elsewhere] {
            browser.log_in("/", "alice").await;
            assert!(browser.is_logged_in().await);
        }
        let page = browser.open(&format!("{provider}/end_session")).await;
        browser.submit(&page, &[]).await;
        assert!(!browser.is_logged_in().await && elsewhere.is_logged_in().await);
    };
    let serving = demo.serve(async |config, listener| {
        Cloakroom::builder(config).build().await.unwrap().serve(listener, None, pending()).await
    });
    tokio::select! {
        ended = serving => panic!("{ended:?}"),
        () = people => {}
    }
}

#[tokio::test]
async fn a_sid_ends_its_session_however_long_ago_the_logout_was_signed() {
    let app = TestApp::start().await;
    let early = token(&app).claim("exp", json!(i64::MAX));
    app.clock.advance(Duration::from_hours(1));
    let (mut browser, mut elsewhere) = (app.logged_in("alice").await, app.logged_in("alice").await);
    let sid = app.provider.sids_of(ALICE).remove(0);
    end(&app, &early.clone().sid(&sid).subject(BOB)).await;
    assert_eq!(app.sessions().await, 2, "the subject has to agree");
    end(&app, &early.sid(&sid)).await;
    assert!(browser.is_logged_in().await != elsewhere.is_logged_in().await);
}

#[tokio::test]
async fn a_sid_and_a_subject_end_sessions_of_that_subject_that_know_no_sid() {
    let app = TestApp::start().await;
    let mut with_sid = app.logged_in("alice").await;
    app.misbehave(Fault::IdTokenWithoutSid);
    let (mut alice, mut bob) = (app.logged_in("alice").await, app.logged_in("bob").await);
    end(&app, &token(&app).sid("another").subject(ALICE)).await;
    assert!(!alice.is_logged_in().await);
    assert!(with_sid.is_logged_in().await && bob.is_logged_in().await);
    app.clock.advance(Duration::from_secs(6));
    let (mut later, mut bob_again) = (app.logged_in("alice").await, app.logged_in("bob").await);
    end(&app, &token(&app).sid("another")).await;
    assert!(later.is_logged_in().await && bob_again.is_logged_in().await, "a sid alone does not say whose it is");
}

#[tokio::test]
async fn a_subject_alone_ends_all_its_sessions() {
    let app = TestApp::with().client(|client| client.backchannel_logout_session_required = false).start().await;
    let mut browsers = [app.logged_in("alice").await, app.logged_in("alice").await];
    app.misbehave(Fault::IdTokenWithoutSid);
    let (mut without_sid, mut bob) = (app.logged_in("alice").await, app.logged_in("bob").await);
    assert!(app.provider.log_out(ALICE).await.iter().all(|told| told.status == Some(200)));
    for browser in browsers.iter_mut().chain([&mut without_sid]) {
        assert!(!browser.is_logged_in().await);
    }
    assert!(bob.is_logged_in().await);
}

#[tokio::test]
async fn a_retired_session_ends_with_the_one_that_took_its_place() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let mut old_tab = browser.tab();
    app.clock.advance(Duration::from_secs(5));
    browser.log_in("/", "alice").await;
    assert!(old_tab.is_logged_in().await);
    app.provider.log_out(ALICE).await;
    assert!(!old_tab.is_logged_in().await && !browser.is_logged_in().await);
}

#[tokio::test]
async fn a_token_for_another_client_of_the_same_provider_ends_nothing_of_this_one() {
    let key = fresh_key();
    let app = TestApp::with().variable("CLOAKROOM_KEY", &key).start().await;
    let mut browser = app.logged_in("alice").await;
    let at = |path: &str| format!("{}{path}", app.url).parse().unwrap();
    let stall = DevClient::new("stall", "x", &at("/bff/callback"), &at("/bff/logged-out"));
    app.provider.register(stall);
    let (stall, _) = app.replica(&[("CLOAKROOM_CLIENT_ID", "stall")]).await;
    let sid = only_sid(&app);
    for token in [
        app.provider.logout_token("stall").subject(ALICE),
        app.provider.logout_token("stall").sid(&sid),
        app.provider.logout_token("stall").sid(&sid).subject(ALICE),
    ] {
        assert_eq!(tell_replica(&app, &stall, &token).await, StatusCode::OK);
    }
    assert!(browser.is_logged_in().await);
    let (shop, _) = app.replica(&[("CLOAKROOM_CLIENT_ID", "shop")]).await;
    assert_eq!(tell_replica(&app, &shop, &token(&app).subject(ALICE)).await, StatusCode::OK);
    assert!(!browser.is_logged_in().await, "a replica that shares store and key ends it");
}

#[tokio::test]
async fn a_subject_of_another_provider_in_the_same_store_stays() {
    let (backend, key): (Arc<dyn SessionBackend>, _) = (Arc::new(MemoryBackend::new()), fresh_key());
    let app = async || TestApp::with().backend(backend.clone()).variable("CLOAKROOM_KEY", &key).start().await;
    let (here, there) = (app().await, app().await);
    let (mut browser, mut elsewhere) = (here.logged_in("alice").await, there.logged_in("alice").await);
    there.provider.log_out(ALICE).await;
    assert!(browser.is_logged_in().await && !elsewhere.is_logged_in().await);
}

#[tokio::test]
async fn rows_sealed_under_an_older_key_are_found() {
    let (first, second) = (fresh_key(), fresh_key());
    let mut app = TestApp::with().variable("CLOAKROOM_KEY", &first).start().await;
    let mut before = app.logged_in("alice").await;
    app.reload("CLOAKROOM_KEY", &format!("{second},{first}")).unwrap();
    let mut after = app.logged_in("alice").await;
    assert!(before.is_logged_in().await && after.is_logged_in().await);
    app.provider.log_out(ALICE).await;
    assert!(!before.is_logged_in().await && !after.is_logged_in().await);
    assert_eq!(app.sessions().await, 0);
}

#[tokio::test]
async fn ten_thousand_others_stay() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    for n in 0..10_000 {
        app.backend.insert(key(n), &row_with(&[term(2 * n), term(2 * n + 1)]), None).await.unwrap();
    }
    app.provider.log_out(ALICE).await;
    assert!(!browser.is_logged_in().await);
    for n in 0..10_000 {
        assert!(app.backend.load(key(n)).await.unwrap().is_some());
    }
}

/// What another Cloakroom over the same store answers to a logout token.
async fn tell_replica(app: &TestApp, replica: &Cloakroom, token: &LogoutToken<'_>) -> StatusCode {
    let request = Request::post("/bff/backchannel-logout")
        .header("host", app.browser().home.authority())
        .header("content-type", FORM)
        .extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 50000))))
        .body(Body::from(form(&token.to_jwt())))
        .unwrap();
    replica.router().oneshot(request).await.unwrap().status()
}
