//! How long a session lives, and what using it does.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::store::{FlakyBackend, MemoryBackend};
use http::Method;

use crate::support::TestApp;

const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_session_that_is_not_used_ends() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    app.clock.advance((30 * MINUTE).checked_sub(Duration::from_secs(1)).unwrap());
    assert!(browser.is_logged_in().await);
    app.clock.advance(30 * MINUTE);
    assert!(!browser.is_logged_in().await);
    assert_eq!(app.sessions().await, 0);
}

#[tokio::test]
async fn a_session_in_use_ends_at_its_absolute_limit() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    for _ in 0..47 {
        app.clock.advance(15 * MINUTE);
        assert!(browser.is_logged_in().await);
    }
    app.clock.advance(15 * MINUTE);
    assert!(!browser.is_logged_in().await);
}

#[tokio::test]
async fn asking_without_sliding_does_not_extend() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    app.clock.advance(20 * MINUTE);
    let user = browser.fetch(Method::GET, "/bff/user?slide=false").await.json();
    assert_eq!(user["session"]["expires_in"], 600);
    app.clock.advance(9 * MINUTE);
    assert_eq!(browser.user().await["session"]["expires_in"], 1800);
}

#[tokio::test]
async fn api_calls_extend_the_session() {
    let app = TestApp::with().access_tokens_live(Duration::from_hours(2)).start().await;
    let mut browser = app.logged_in("alice").await;
    for _ in 0..5 {
        app.clock.advance(20 * MINUTE);
        assert_eq!(browser.fetch(Method::GET, "/api/x").await.status, 200);
    }
}

#[tokio::test]
async fn an_api_call_costs_one_look_at_the_store_and_a_write_at_most_twenty_times_per_idle_limit() {
    let backend = Arc::new(FlakyBackend::new(Arc::new(MemoryBackend::new())));
    let app = TestApp::with().backend(backend.clone()).access_tokens_live(Duration::from_hours(2)).start().await;
    let mut browser = app.logged_in("alice").await;
    let mut cost = async |path| {
        let before = backend.calls();
        browser.fetch(Method::GET, path).await;
        backend.calls() - before
    };
    for path in ["/api/x", "/api/x", "/bff/user", "/bff/user?slide=false"] {
        assert_eq!(cost(path).await, 1, "{path}");
    }
    app.clock.advance(30 * MINUTE / 20);
    assert_eq!(cost("/bff/user?slide=false").await, 1, "it does not slide");
    assert_eq!(cost("/api/x").await, 2, "and once more to note that the session was used");
    assert_eq!(cost("/api/x").await, 1);
}

#[tokio::test]
async fn the_answer_tells_both_limits() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    app.clock.advance((12 * 60 * MINUTE).checked_sub(10 * MINUTE).unwrap());
    // Keep it alive over the long night.
    let mut browser_again = app.logged_in("alice").await;
    assert!(!browser.is_logged_in().await);
    let session = browser_again.user().await["session"].clone();
    let at = |name: &str| {
        time::OffsetDateTime::parse(session[name].as_str().unwrap(), &time::format_description::well_known::Rfc3339)
            .unwrap()
    };
    assert_eq!(at("expires_at") - at("created_at"), time::Duration::hours(12));
    assert_eq!(at("idle_expires_at") - at("created_at"), time::Duration::minutes(30));
    assert_eq!(session["tag"].as_str().unwrap().len(), 16);
}

#[tokio::test]
async fn the_tag_is_the_digest_of_the_id() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let id = browser.session().unwrap().value.clone();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, id.as_bytes());
    let first = u64::from_be_bytes(digest.as_ref()[..8].try_into().unwrap());
    assert_eq!(browser.user().await["session"]["tag"], format!("{first:016x}"));
}

#[tokio::test]
async fn a_made_up_cookie_is_nobody() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let key = browser.cookies.0.keys().find(|(host, _)| host == "localhost").unwrap().clone();
    for value in ["", "AAAAAAAAAAAAAAAAAAAAAA", "x", "../../etc/passwd", "AAAAAAAAAAAAAAAAAAAAAB"] {
        value.clone_into(&mut browser.cookies.0.get_mut(&key).unwrap().value);
        assert!(!browser.is_logged_in().await, "{value}");
    }
}

#[tokio::test]
async fn the_oldest_session_goes_when_a_subject_has_too_many() {
    let app = TestApp::with().variable("CLOAKROOM__SESSION__MAX_PER_SUBJECT", "2").start().await;
    let mut browsers = Vec::new();
    for _ in 0..3 {
        browsers.push(app.logged_in("alice").await);
    }
    let bob = app.logged_in("bob").await.is_logged_in().await;
    assert!(
        bob && !browsers[0].is_logged_in().await
            && browsers[1].is_logged_in().await
            && browsers[2].is_logged_in().await
    );
}

#[tokio::test]
async fn a_remembered_session_is_there_tomorrow_and_over_in_a_month() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let callback = browser.callback_url_of("/bff/login?remember=true", "alice").await;
    browser.click(&callback).await;
    let day = 24 * 60 * MINUTE;
    for _ in 0..29 {
        app.clock.advance(day);
        assert!(browser.is_logged_in().await);
    }
    app.clock.advance(day);
    assert!(!browser.is_logged_in().await);
}
