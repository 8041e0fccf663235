//! Somebody logs out: here, at the provider, and with the tokens.

use std::time::Duration;

use cloakroom::demo::faults::{Endpoint, Fault, Outage};
use http::{Method, StatusCode};
use url::Url;

use crate::support::TestApp;

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
        let answer = browser.fetch(Method::POST, "/bff/logout").await;
        assert_eq!((answer.status, answer.json()), (StatusCode::OK, serde_json::json!({"redirect_to": "/"})));
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
    for path in [
        "/bff/logged-out",
        "/bff/logged-out?state=",
        "/bff/logged-out?state=other&state=twice",
        "/bff/logged-out?go=unknown",
    ] {
        let answer = app.browser().step(path).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (StatusCode::SEE_OTHER, Some(format!("{}/", app.url).as_str()))
        );
    }
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
