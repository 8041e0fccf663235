//! A frontend is given another provider, or another client there, while sessions of the one before lie in the store.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use cloakroom::demo::idp::{DevClient, DevProvider, DevProviderOptions};
use cloakroom::session::UserSession;
use cloakroom::store::MasterKey;
use http::{Method, StatusCode};
use tokio::net::TcpListener;
use url::Url;

use crate::support::TestApp;

/// A twentieth of the idle time is over, so whoever uses a session writes it.
const TOUCH_DUE: Duration = Duration::from_secs(130);

/// An app whose master key stays, with a handler that says who somebody is.
async fn start(key: &str) -> TestApp {
    async fn who(user: Option<UserSession>) -> String {
        user.map_or_else(|| "nobody".to_owned(), |user| user.subject().to_owned())
    }
    let handlers = Router::new().route("/who", get(who));
    TestApp::with().variable("CLOAKROOM_KEY", key).handlers(handlers).start().await
}

/// Has the frontend use another provider, where the same subjects are other people. Answers the one before.
async fn change_provider(app: &mut TestApp, keys: &str) -> DevProvider {
    let at = |path: &str| Url::parse(&format!("{}{path}", app.url)).unwrap();
    let client = DevClient::new("shop", "a secret of the shop", &at("/bff/callback"), &at("/bff/logged-out"));
    let clock = Arc::new(app.clock.clone());
    let options = DevProviderOptions { clients: vec![client], access_token_lifetime: Duration::from_mins(5), clock };
    let other = DevProvider::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), options);
    let issuer = other.issuer().to_owned();
    let before = std::mem::replace(&mut app.provider, other);
    app.restart_with(app.backend.clone(), &[("CLOAKROOM_ISSUER", &issuer), ("CLOAKROOM_KEY", keys)]).await;
    before
}

fn key() -> String {
    MasterKey::generate().to_base64url().expose().clone()
}

#[tokio::test]
async fn a_session_of_the_provider_before_is_none_and_no_token_goes_anywhere() {
    let key = key();
    let mut app = start(&key).await;
    let mut browser = app.logged_in("alice").await;
    let before = change_provider(&mut app, &key).await;
    let (calls, to_the_api) = (before.calls().len(), app.api_saw().len());
    app.clock.advance(Duration::from_mins(6));
    assert!(!browser.is_logged_in().await);
    assert_eq!(browser.fetch(Method::GET, "/who").await.text(), "nobody");
    for path in ["/api/x", "/bff/sessions"] {
        assert_eq!(browser.fetch(Method::GET, path).await.problem(), "session-expired", "{path}");
    }
    assert_eq!(browser.fetch(Method::POST, "/bff/logout").await.json()["redirect_to"], "/");
    app.drain().await;
    assert_eq!((before.calls().len(), app.api_saw().len()), (calls, to_the_api));
    assert!(
        app.provider.calls().iter().all(|call| call.form_value("refresh_token").or(call.form_value("token")).is_none())
    );
    assert_eq!(app.sessions().await, 0, "who logs out has no session, whosever it was");
}

#[tokio::test]
async fn a_session_of_a_client_before_is_none() {
    let key = key();
    let mut app = start(&key).await;
    let mut browser = app.logged_in("alice").await;
    app.restart_with(app.backend.clone(), &[("CLOAKROOM_CLIENT_ID", "other")]).await;
    assert!(!browser.is_logged_in().await);
    assert_eq!(browser.fetch(Method::GET, "/api/x").await.problem(), "session-expired");
    assert_eq!(app.sessions().await, 1);
}

#[tokio::test]
async fn who_has_the_same_subject_at_the_new_provider_finds_nothing_of_the_old_one() {
    let (old, new) = (key(), key());
    let mut app = start(&old).await;
    let mut browser = app.logged_in("alice").await;
    let first_issuer = app.provider.issuer().to_owned();
    // A row that is written now would be found by its subject at the new provider.
    let _before = change_provider(&mut app, &format!("{new},{old}")).await;
    app.clock.advance(TOUCH_DUE);
    assert!(!browser.tab().is_logged_in().await);
    let mut stranger = app.logged_in("alice").await;
    let listed = stranger.fetch(Method::GET, "/bff/sessions").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    let ended = stranger.fetch(Method::DELETE, "/bff/sessions?others=true").await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    app.restart_with(app.backend.clone(), &[("CLOAKROOM_ISSUER", &first_issuer)]).await;
    assert!(browser.is_logged_in().await, "the configuration of before finds it where it was");
    assert!(!stranger.is_logged_in().await);
}
