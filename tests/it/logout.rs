//! Somebody logs out: here, at the provider, and with the tokens.

use std::time::Duration;

use cloakroom::demo::faults::{Endpoint, Fault, Outage};
use cloakroom::store::MasterKey;
use http::{Method, StatusCode};
use url::Url;

use crate::support::{Browser, Page, TestApp};

const ALICE: &str = "248289761001";

/// The page after logout.
fn home(app: &TestApp) -> String {
    format!("{}/", app.url)
}

/// Where a logout by `fetch` leads.
fn redirect_to(answer: &Page) -> String {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()["redirect_to"].as_str().unwrap().to_owned()
}

/// Logs out by `fetch` and goes where that leads.
async fn log_out(browser: &mut Browser) -> Page {
    let answer = browser.fetch(Method::POST, "/bff/logout").await;
    browser.click(&redirect_to(&answer)).await
}

#[tokio::test]
async fn logging_out_ends_our_session_the_token_and_the_providers_session() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let mut other_tab = browser.tab();
    let answer = browser.fetch(Method::POST, "/bff/logout").await;
    assert_eq!(answer.status, StatusCode::OK);
    let redirect_to = answer.json()["redirect_to"].as_str().unwrap().to_owned();
    assert!(redirect_to.starts_with("/bff/logged-out?go="), "{redirect_to}");
    assert!(browser.session().is_none(), "the cookie is removed");
    assert_eq!(app.sessions().await, 0);
    assert_eq!(other_tab.fetch(Method::GET, "/api/x").await.problem(), "session-expired");
    app.eventually(|app| app.calls("/revoke").len() == 1).await;

    let page = browser.click(&redirect_to).await;
    assert_eq!(page.url.as_str(), format!("{}/", app.url));
    let ended = browser.history.iter().find(|asked| asked.url.path() == "/end_session").unwrap();
    let parameter =
        |name: &str| ended.url.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value.into_owned());
    assert!(parameter("id_token_hint").is_some() && parameter("state").is_some());
    assert_eq!(parameter("post_logout_redirect_uri"), Some(format!("{}/bff/logged-out", app.url)));
    let login = browser.click("/bff/login").await;
    assert!(login.text().contains("name=\"password\""), "the provider asks again");
}

#[tokio::test]
async fn the_newest_refresh_token_is_the_one_revoked() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    app.clock.advance(Duration::from_secs(250));
    browser.fetch(Method::GET, "/api/x").await;
    assert_eq!(app.grants("refresh_token"), 1);
    let used = app.calls("/token").last().unwrap().form_value("refresh_token").unwrap().to_owned();
    browser.fetch(Method::POST, "/bff/logout").await;
    app.eventually(|app| app.calls("/revoke").len() == 1).await;
    assert_ne!(app.calls("/revoke")[0].form_value("token"), Some(used.as_str()));
}

#[tokio::test]
async fn a_handle_works_once_and_for_a_minute() {
    let app = TestApp::start().await;
    let handle = async |app: &TestApp| {
        let mut browser = app.logged_in("alice").await;
        let page = browser.fetch(Method::POST, "/bff/logout").await;
        (browser, page.json()["redirect_to"].as_str().unwrap().to_owned())
    };
    let (mut browser, redirect_to) = handle(&app).await;
    assert!(browser.step(&redirect_to).await.header("location").unwrap().starts_with(app.provider.issuer()));
    assert_eq!(browser.step(&redirect_to).await.header("location"), Some(format!("{}/", app.url).as_str()));
    let (mut browser, redirect_to) = handle(&app).await;
    app.clock.advance(Duration::from_mins(1));
    assert_eq!(browser.step(&redirect_to).await.header("location"), Some(format!("{}/", app.url).as_str()));
}

#[tokio::test]
async fn a_form_goes_to_the_provider_at_once() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let answer = browser.post_form("/bff/logout", &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert!(answer.header("location").unwrap().starts_with(&format!("{}/end_session?", app.provider.issuer())));
    assert!(answer.body.is_empty() && browser.session().is_none());
}

#[tokio::test]
async fn a_local_logout_leaves_the_providers_session_alone() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let answer = browser.fetch(Method::POST, "/bff/logout?local=true").await;
    assert_eq!(answer.json(), serde_json::json!({"redirect_to": "/"}));
    app.eventually(|app| app.calls("/revoke").len() == 1).await;
    let page = browser.click("/bff/login?return_to=/cart").await;
    assert_eq!(page.url.path(), "/cart", "single sign-on goes on");
}

#[tokio::test]
async fn logging_out_twice_or_without_a_session_is_no_error() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let mut other_tab = browser.tab();
    browser.fetch(Method::POST, "/bff/logout").await;
    for browser in [&mut other_tab, &mut app.browser()] {
        assert_eq!(redirect_to(&browser.fetch(Method::POST, "/bff/logout").await), "/");
    }
}

#[tokio::test]
async fn the_logout_link_ends_only_the_session_it_names() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let mut other = app.logged_in("bob").await;
    let link = browser.user().await["logout_url"].as_str().unwrap().to_owned();
    for foreign in [link.as_str(), "/bff/logout", "/bff/logout?sid=", "/bff/logout?sid=0123456789abcdef"] {
        assert_eq!(other.step(foreign).await.page_slug(), "logout-link-not-yours", "{foreign}");
    }
    assert!(other.is_logged_in().await);
    // On another site's page the Strict cookie stays behind, so the link does nothing.
    let page = browser.step_from("https://evil.example/", &link).await;
    assert_eq!(page.page_slug(), "logout-link-not-yours");
    assert!(browser.is_logged_in().await);
    assert!(browser.step(&link).await.header("location").unwrap().contains("/end_session?"));
    assert!(!browser.is_logged_in().await);
}

#[tokio::test]
async fn the_way_back_copes_with_any_state() {
    let app = TestApp::start().await;
    let huge = "x".repeat(16 << 10);
    for query in [
        "",
        "?",
        "?state=",
        "?state=other&state=twice",
        "?go=",
        "?go=unknown",
        "?go=one&go=two",
        "?go=%00%ff&state=%0d%0a",
        "?redirect_to=https://evil.example/&post_logout_redirect_uri=https://evil.example/",
        &format!("?state={huge}"),
        &format!("?go={huge}"),
    ] {
        let answer = app.browser().step(&format!("/bff/logged-out{query}")).await;
        let told = (answer.status, answer.header("location"));
        assert_eq!(told, (StatusCode::SEE_OTHER, Some(home(&app).as_str())), "{query:.80}");
    }
}

#[tokio::test]
async fn nothing_that_is_asked_leads_to_a_place_of_a_strangers_choice() {
    let app = TestApp::start().await;
    let evil =
        "post_logout_redirect_uri=https://evil.example/&return_to=//evil.example&redirect_to=https://evil.example/";
    let path = format!("/bff/logout?{evil}");
    let mut browser = app.logged_in("alice").await;
    let answer = browser.post_form(&path, &[("post_logout_redirect_uri", "https://evil.example/")]).await;
    let location = answer.header("location").unwrap().to_owned();
    assert!(!location.contains("evil") && location.starts_with(app.provider.issuer()), "{location}");
    let answer = app.browser().post_form(&path, &[]).await;
    assert_eq!(answer.header("location"), Some(home(&app).as_str()));
}

#[tokio::test]
async fn a_handle_is_not_used_up_by_what_is_no_navigation() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let handle = redirect_to(&browser.fetch(Method::POST, "/bff/logout").await);
    let navigation = [("sec-fetch-mode", "navigate"), ("accept", "text/html")];
    for prefetch in [("sec-purpose", "prefetch"), ("purpose", "prefetch")] {
        let answer =
            browser.fetch_with(Method::GET, &handle, &[navigation[0], navigation[1], prefetch], Vec::new()).await;
        assert_eq!(answer.page_slug(), "login-needs-navigation");
    }
    let answer = browser.fetch_with(Method::HEAD, &handle, &navigation, Vec::new()).await;
    assert_eq!(answer.header("location"), Some(home(&app).as_str()));
    assert!(browser.step(&handle).await.header("location").unwrap().contains("id_token_hint"));
}

#[tokio::test]
async fn an_id_token_that_ran_out_long_ago_is_still_a_hint() {
    let app = TestApp::with().variable("CLOAKROOM_SESSION_IDLE", "12h").start().await;
    let mut browser = app.logged_in("alice").await;
    app.clock.advance(Duration::from_hours(11));
    log_out(&mut browser).await;
    assert!(app.provider.sids_of(ALICE).is_empty(), "the provider does not ask");
}

#[tokio::test]
async fn without_metadata_at_hand_nobody_waits_for_the_provider() {
    let key = MasterKey::generate().to_base64url().expose().clone();
    let mut app = TestApp::with().variable("CLOAKROOM_KEY", &key).start().await;
    let mut browser = app.logged_in("alice").await;
    app.provider.faults().set(Fault::Endpoint(Endpoint::Discovery, Outage::Hang));
    app.restart(app.backend.clone(), &key).await;
    let answer = browser.fetch(Method::POST, "/bff/logout").await;
    assert_eq!(redirect_to(&answer), "/");
    assert!(!browser.is_logged_in().await && app.sessions().await == 0);
}

#[tokio::test]
async fn logging_out_of_a_session_that_is_over_is_no_error() {
    let app = TestApp::start().await;
    let (mut expired, mut told) = (app.logged_in("bob").await, app.logged_in("alice").await);
    let mut told_too = told.tab();
    app.provider.log_out(ALICE).await;
    app.clock.advance(Duration::from_mins(31));
    for browser in [&mut expired, &mut told] {
        assert_eq!(redirect_to(&browser.fetch(Method::POST, "/bff/logout").await), "/");
        assert!(browser.session().is_none());
    }
    assert_eq!(told_too.post_form("/bff/logout", &[]).await.header("location"), Some(home(&app).as_str()));
    assert!(told_too.session().is_none());
}

#[tokio::test]
async fn two_tabs_that_log_out_at_once_both_come_to_an_end() {
    let app = TestApp::start().await;
    let mut one = app.logged_in("alice").await;
    let mut two = one.tab();
    let pages = tokio::join!(log_out(&mut one), log_out(&mut two));
    for page in [pages.0, pages.1] {
        assert_eq!(page.url.as_str(), home(&app));
    }
    assert!(app.sessions().await == 0 && app.provider.sids_of(ALICE).is_empty());
}

#[tokio::test]
async fn a_logout_sent_with_the_cookie_of_a_session_replaced_meanwhile_ends_the_new_one_too() {
    let app = TestApp::start().await;
    let (mut browser, mut elsewhere) = (app.logged_in("alice").await, app.logged_in("alice").await);
    let mut old_tab = browser.tab();
    app.clock.advance(Duration::from_secs(5));
    browser.log_in("/", "alice").await;
    let answer = old_tab.fetch(Method::POST, "/bff/logout").await;
    assert!(redirect_to(&answer).contains("?go="));
    assert!(!browser.is_logged_in().await && elsewhere.is_logged_in().await);
    assert_eq!(app.sessions().await, 1);
}

#[tokio::test]
async fn the_logout_link_can_leave_the_providers_session_alone() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let link = browser.user().await["logout_url"].as_str().unwrap().to_owned();
    assert_eq!(browser.step(&format!("{link}&local=true")).await.header("location"), Some(home(&app).as_str()));
    assert!(!browser.is_logged_in().await);
    assert_eq!(app.provider.sids_of(ALICE).len(), 1);
}

#[tokio::test]
async fn a_logout_and_nothing_else_clears_what_was_fetched_ahead() {
    let app = TestApp::start().await;
    let cleared = |answer: &Page| answer.header("clear-site-data").map(str::to_owned);
    let ahead = Some("\"prefetchCache\", \"prerenderCache\"".to_owned());
    let mut browser = app.logged_in("alice").await;
    let link = browser.user().await["logout_url"].as_str().unwrap().to_owned();
    let foreign = browser.step("/bff/logout?sid=0123456789abcdef").await;
    assert_eq!(cleared(&foreign), None, "a link of somebody else's clears nothing");
    assert_eq!(cleared(&browser.step(&link).await), ahead);
    assert_eq!(cleared(&app.logged_in("alice").await.post_form("/bff/logout", &[]).await), ahead);
    let answer = app.logged_in("alice").await.fetch(Method::POST, "/bff/logout").await;
    assert_eq!(cleared(&answer), ahead);
    // Anybody can have a browser ask for these.
    for path in [&redirect_to(&answer), "/bff/logged-out", "/bff/login", "/"] {
        assert_eq!(cleared(&app.browser().step(path).await), None, "{path}");
    }
    assert_eq!(cleared(&browser.fetch(Method::GET, "/api/x").await), None);
}

#[tokio::test]
async fn a_provider_without_end_session_or_revocation_is_no_obstacle() {
    let app = TestApp::start().await;
    app.misbehave(Fault::DiscoveryWithoutEndSession).misbehave(Fault::DiscoveryWithoutRevocation);
    let mut browser = app.logged_in("alice").await;
    assert_eq!(browser.fetch(Method::POST, "/bff/logout").await.json(), serde_json::json!({"redirect_to": "/"}));
    assert!(!browser.is_logged_in().await && app.calls("/revoke").is_empty());
}

#[tokio::test]
async fn a_revocation_that_fails_does_not_keep_anybody_logged_in() {
    let app = TestApp::start().await;
    app.misbehave(Fault::Endpoint(Endpoint::Revocation, Outage::ServerError));
    let mut browser = app.logged_in("alice").await;
    assert_eq!(browser.fetch(Method::POST, "/bff/logout").await.status, StatusCode::OK);
    assert!(!browser.is_logged_in().await);
}

#[tokio::test]
async fn logging_out_ends_a_retired_predecessor_too() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let mut old_tab = browser.tab();
    app.clock.advance(Duration::from_secs(5));
    browser.log_in("/", "alice").await;
    assert!(old_tab.is_logged_in().await);
    browser.fetch(Method::POST, "/bff/logout").await;
    assert!(!old_tab.is_logged_in().await);
}

#[tokio::test]
async fn the_session_id_is_in_no_address() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let id = browser.session().unwrap().value.clone();
    let redirect_to =
        browser.fetch(Method::POST, "/bff/logout").await.json()["redirect_to"].as_str().unwrap().to_owned();
    browser.click(&redirect_to).await;
    assert!(browser.history.iter().all(|asked| !Url::as_str(&asked.url).contains(&id)));
}
