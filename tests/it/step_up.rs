//! A session whose login is not enough for what is asked: it goes on, stronger, after one more login.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::demo::faults::Fault;
use cloakroom::demo::idp::{PASSWORD, SECOND_FACTOR};
use http::{Method, StatusCode};
use url::{Url, form_urlencoded};

use crate::support::app::Setup;
use crate::support::{Browser, EventSource, Page, TestApp};

mod links;
mod tabs;
mod upstream;

const MINUTE: Duration = Duration::from_mins(1);
const VAULT: &str = "/api/vault";

/// An app that knows which of the provider's logins is stronger.
fn ordered() -> Setup {
    TestApp::with()
        .variable("CLOAKROOM__PROVIDERS__DEFAULT__ACR_ORDER", &format!("{PASSWORD} {SECOND_FACTOR}"))
        .access_tokens_live(Duration::from_hours(24))
}

/// The login link that a call is refused with.
async fn demanded(browser: &mut Browser, path: &str) -> String {
    let refused = browser.fetch(Method::GET, path).await;
    assert_eq!((refused.status, refused.problem().as_str()), (StatusCode::UNAUTHORIZED, "step-up-required"));
    let login_url = refused.json()["login_url"].as_str().unwrap().to_owned();
    assert!(login_url.starts_with("/bff/login?step_up="), "{login_url}");
    login_url
}

/// Where a login link sends the browser: the parameters of the authorization request.
async fn asked(browser: &mut Browser, login_url: &str) -> Vec<(String, String)> {
    let answer = browser.step(login_url).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
    let location = Url::parse(answer.header("location").unwrap()).unwrap();
    location.query_pairs().into_owned().filter(|(name, _)| name == "acr_values" || name == "max_age").collect()
}

/// Follows a login link as the page does, and shows the provider whatever it wants to see.
async fn step_up(browser: &mut Browser, login_url: &str, return_to: &str) -> Page {
    let return_to = form_urlencoded::Serializer::new(String::new()).append_pair("return_to", return_to).finish();
    let page = browser.click(&format!("{login_url}&{return_to}")).await;
    let page = browser.sign_in(&page, "alice").await;
    confirm(browser, page).await
}

async fn confirm(browser: &mut Browser, page: Page) -> Page {
    if page.text().contains("/second-factor") { browser.submit(&page, &[]).await } else { page }
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn passes(browser: &mut Browser, path: &str) -> bool {
    browser.fetch(Method::GET, path).await.status == StatusCode::OK
}

#[tokio::test]
async fn a_session_goes_on_stronger_after_the_provider_has_seen_a_second_factor() {
    let app = ordered().start().await;
    let mut browser = app.logged_in("alice").await;
    let (before, mut old_tab) = (browser.user().await, browser.tab());
    let mut events = EventSource::of(&browser).await;
    app.clock.advance(20 * MINUTE);
    assert!(browser.is_logged_in().await);
    let login_url = demanded(&mut browser, VAULT).await;
    let page = browser.click(&format!("{login_url}&return_to=/vault%3Fx%3D1%23door")).await;
    assert!(page.text().contains("/second-factor"), "the password was shown before: {}", page.text());
    let page = browser.submit(&page, &[]).await;
    assert_eq!(page.url.as_str(), format!("{}/vault?x=1#door", app.url));
    let after = browser.user().await;
    assert_eq!(after["claims"]["acr"], SECOND_FACTOR);
    assert_ne!(after["session"]["tag"], before["session"]["tag"]);
    for kept in ["created_at", "expires_at"] {
        assert_eq!(after["session"][kept], before["session"][kept], "{kept}");
    }
    assert_eq!(browser.session().unwrap().max_age, None, "it still ends with the browser");
    assert!(passes(&mut browser, VAULT).await);
    assert_eq!(events.next_event().await.name, "replaced");
    assert!(old_tab.is_logged_in().await, "calls under way may still use the old one");
    app.clock.advance(Duration::from_secs(10));
    assert_eq!(app.sessions().await, 1);
    assert!(app.calls("/revoke").is_empty(), "that would end the new tokens, too, at many providers");
}

#[tokio::test]
async fn a_step_up_does_not_prolong_a_session() {
    let app = ordered().start().await;
    let mut browser = app.logged_in("alice").await;
    for _ in 0..44 {
        app.clock.advance(15 * MINUTE);
        assert!(browser.is_logged_in().await);
    }
    let login_url = demanded(&mut browser, VAULT).await;
    step_up(&mut browser, &login_url, "/").await;
    assert!(passes(&mut browser, VAULT).await);
    for _ in 0..3 {
        app.clock.advance(15 * MINUTE);
        assert!(browser.is_logged_in().await);
    }
    app.clock.advance(15 * MINUTE);
    assert!(!browser.is_logged_in().await, "twelve hours after the first login");
}

#[tokio::test]
async fn a_remembered_session_stays_remembered_for_as_long_as_it_had() {
    let app = ordered().access_tokens_live(Duration::from_hours(24 * 40)).start().await;
    let mut browser = app.browser();
    let callback = browser.callback_url_of("/bff/login?remember=true", "alice").await;
    browser.click(&callback).await;
    app.clock.advance(Duration::from_hours(24));
    let login_url = demanded(&mut browser, VAULT).await;
    step_up(&mut browser, &login_url, "/").await;
    assert_eq!(browser.session().unwrap().max_age, Some(29 * 24 * 60 * 60));
    app.clock.advance(Duration::from_hours(28 * 24));
    assert!(passes(&mut browser, VAULT).await);
    app.clock.advance(Duration::from_hours(24));
    assert!(!browser.is_logged_in().await);
}

#[tokio::test]
async fn a_route_is_judged_before_anything_goes_upstream() {
    let routes = format!("path = '/api'\nmin_acr = '{SECOND_FACTOR}'");
    let bare = format!("path = '/bare'\ntoken = 'none'\nsession = 'required'\nmin_acr = '{SECOND_FACTOR}'");
    let app = ordered().route(&routes).route(&bare).start().await;
    assert_eq!(app.browser().fetch(Method::GET, "/api/x").await.problem(), "not-authenticated");
    let mut browser = app.logged_in("alice").await;
    let login_url = demanded(&mut browser, "/bare/x").await;
    demanded(&mut browser, "/api/x").await;
    let refused = browser.fetch_with(Method::POST, "/api/x", &[("x-csrf", "1")], b"order".to_vec()).await;
    assert_eq!(refused.problem(), "step-up-required");
    assert_eq!(browser.fetch_with(Method::GET, "/api/x", &[], Vec::new()).await.problem(), "csrf-header-missing");
    assert_eq!(web_socket(&mut browser, "/api/x").await.problem(), "step-up-required");
    assert_eq!(app.api_saw().len(), 0);
    assert_eq!(asked(&mut browser, &login_url).await, pairs(&[("acr_values", SECOND_FACTOR)]));
    step_up(&mut browser, &login_url, "/").await;
    assert!(passes(&mut browser, "/api/x").await && passes(&mut browser, "/bare/x").await);
}

async fn web_socket(browser: &mut Browser, path: &str) -> Page {
    let origin = browser.home.origin().ascii_serialization();
    let headers = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "a2V5IG9mIHRoaXMgcGFnZQ=="),
        ("sec-fetch-mode", "websocket"),
        ("origin", &origin),
    ];
    browser.fetch_with(Method::GET, path, &headers, Vec::new()).await
}

#[tokio::test]
async fn a_route_may_want_a_recent_login() {
    let app = ordered().route("path = '/api'\nmax_auth_age = '5m'").start().await;
    let mut browser = app.logged_in("alice").await;
    let created_at = browser.user().await["session"]["created_at"].clone();
    app.clock.advance(Duration::from_secs(359));
    assert!(passes(&mut browser, "/api/x").await, "a minute of leeway for the provider's clock");
    app.clock.advance(Duration::from_secs(2));
    let login_url = demanded(&mut browser, "/api/x").await;
    assert_eq!(asked(&mut browser, &login_url).await, pairs(&[("max_age", "300"), ("acr_values", PASSWORD)]));
    let page = browser.click(&login_url).await;
    assert!(page.text().contains("name=\"password\""), "{}", page.text());
    browser.sign_in(&page, "alice").await;
    assert!(passes(&mut browser, "/api/x").await);
    assert_eq!(browser.user().await["session"]["created_at"], created_at);
}

#[tokio::test]
async fn who_does_not_say_when_somebody_logged_in_said_too_long_ago() {
    let app = ordered().route("path = '/api'\nmax_auth_age = '5m'").start().await;
    app.misbehave(Fault::IdTokenWithoutAuthTime);
    let mut browser = app.logged_in("alice").await;
    let login_url = demanded(&mut browser, "/api/x").await;
    let before = browser.session().cloned();
    assert_eq!(step_up(&mut browser, &login_url, "/").await.page_slug(), "provider-misbehaved");
    assert_eq!(browser.session().cloned(), before);
    app.provider.faults().clear_all();
    step_up(&mut browser, &login_url, "/").await;
    assert!(passes(&mut browser, "/api/x").await);
}

#[tokio::test]
async fn a_login_that_is_only_to_be_recent_is_as_strong_as_the_last() {
    let route = format!("path = '/api'\nmin_acr = '{PASSWORD}'\nmax_auth_age = '5m'");
    let app = ordered().route(&route).start().await;
    let mut browser = app.logged_in("alice").await;
    let login_url = demanded(&mut browser, VAULT).await;
    step_up(&mut browser, &login_url, "/").await;
    app.clock.advance(10 * MINUTE);
    let login_url = demanded(&mut browser, "/api/x").await;
    let wanted = pairs(&[("max_age", "300"), ("acr_values", SECOND_FACTOR)]);
    assert_eq!(asked(&mut browser, &login_url).await, wanted);
    step_up(&mut browser, &login_url, "/").await;
    assert!(passes(&mut browser, "/api/x").await);
    assert_eq!(browser.user().await["claims"]["acr"], SECOND_FACTOR);
}

#[tokio::test]
async fn a_login_weaker_than_was_asked_for_is_refused_and_the_session_stays() {
    let app = ordered().start().await;
    let mut browser = app.logged_in("alice").await;
    let login_url = demanded(&mut browser, &upstream::saying("acr_values=\"urn:none:such\"")).await;
    let before = browser.session().cloned();
    let page = step_up(&mut browser, &login_url, "/").await;
    assert_eq!((page.status, page.page_slug().as_str()), (StatusCode::FORBIDDEN, "login-refused"));
    assert!(page.text().contains("weaker than what was asked for"), "{}", page.text());
    assert_eq!(browser.session().cloned(), before);
    assert!(browser.is_logged_in().await);
    assert_eq!(app.sessions().await, 1);
}

#[tokio::test]
async fn a_step_up_never_makes_a_session_weaker() {
    let app = ordered().start().await;
    let mut browser = app.logged_in("alice").await;
    app.clock.advance(6 * MINUTE);
    let recent = demanded(&mut browser, &upstream::saying("max_age=\"300\"")).await;
    let stronger = demanded(&mut browser, VAULT).await;
    step_up(&mut browser, &stronger, "/").await;
    let before = browser.session().cloned();
    app.provider.end_sso_sessions();
    app.clock.advance(MINUTE);
    // Made before the session became stronger, so it asks for the password only.
    let page = step_up(&mut browser, &recent, "/").await;
    assert_eq!((page.status, page.page_slug().as_str()), (StatusCode::FORBIDDEN, "login-refused"));
    assert_eq!(browser.session().cloned(), before);
    assert!(passes(&mut browser, VAULT).await);
}

#[tokio::test]
async fn a_session_that_ended_meanwhile_does_not_go_on_in_a_step_up() {
    let app = ordered().start().await;
    let mut browser = app.browser();
    let callback = browser.callback_url_of("/bff/login?remember=true", "alice").await;
    browser.click(&callback).await;
    let created_at = browser.user().await["session"]["created_at"].clone();
    app.clock.advance(20 * MINUTE);
    let login_url = demanded(&mut browser, VAULT).await;
    let page = browser.click(&login_url).await;
    assert_eq!(browser.fetch(Method::POST, "/bff/logout?local=true").await.status, StatusCode::OK);
    confirm(&mut browser, page).await;
    let user = browser.user().await;
    assert_eq!(user["claims"]["acr"], SECOND_FACTOR);
    assert_ne!(user["session"]["created_at"], created_at);
    assert_eq!(browser.session().unwrap().max_age, None, "who logged out is not remembered");
}

#[tokio::test]
async fn a_step_up_of_one_person_is_an_ordinary_login_of_another() {
    let app = ordered().start().await;
    let mut browser = app.browser();
    let callback = browser.callback_url_of("/bff/login?remember=true", "alice").await;
    browser.click(&callback).await;
    let (created_at, mut old_tab) = (browser.user().await["session"]["created_at"].clone(), browser.tab());
    app.clock.advance(20 * MINUTE);
    let login_url = demanded(&mut browser, VAULT).await;
    app.provider.end_sso_sessions();
    let page = browser.click(&login_url).await;
    let page = browser.sign_in(&page, "bob").await;
    confirm(&mut browser, page).await;
    let user = browser.user().await;
    assert_eq!((&user["claims"]["name"], &user["claims"]["acr"]), (&"Bob Baker".into(), &SECOND_FACTOR.into()));
    assert_ne!(user["session"]["created_at"], created_at);
    assert_eq!(browser.session().unwrap().max_age, None);
    assert!(!old_tab.is_logged_in().await);
    app.eventually(|app| app.calls("/revoke").len() == 1).await;
}
