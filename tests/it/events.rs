//! `GET /bff/events`: what tabs are told, and when.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::demo::faults::Fault;
use cloakroom::store::{
    Cursor, FlakyBackend, MasterKey, MemoryBackend, Outage, Reason, SessionBackend as _, SessionKey, SqliteBackend,
};
use http::{Method, StatusCode};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::{EventSource, TestApp};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const IDLE: Duration = Duration::from_mins(30);

/// The only session in the store.
async fn only_session(app: &TestApp) -> SessionKey {
    let rows = app.backend.scan(Cursor::default()).await.unwrap().rows;
    assert_eq!(rows.len(), 1);
    rows[0].key
}

/// An app over a store whose signals and answers can fail.
async fn flaky() -> (TestApp, Arc<FlakyBackend>) {
    let backend = Arc::new(FlakyBackend::new(Arc::new(MemoryBackend::new())));
    (TestApp::with().backend(backend.clone()).start().await, backend)
}

#[tokio::test]
async fn the_first_event_is_the_session_as_user_shows_it() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let mut events = EventSource::open(&browser, &[]).await;
    assert_eq!(events.status, StatusCode::OK);
    for (name, value) in
        [("content-type", "text/event-stream"), ("cache-control", "no-store"), ("x-accel-buffering", "no")]
    {
        assert_eq!(events.headers[name], value);
    }
    let first = events.next().await;
    assert_eq!(first.name, "session");
    assert_eq!(first.data, browser.user().await["session"]);
    assert_eq!(first.id, first.data["tag"]);
}

#[tokio::test]
async fn a_stream_never_extends_the_session() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let mut events = EventSource::of(&browser).await;
    app.clock.advance(IDLE / 2);
    events.beats().await;
    let _second = EventSource::of(&browser).await;
    let user = browser.fetch(Method::GET, "/bff/user?slide=false").await.json();
    assert_eq!(user["session"]["expires_in"], (IDLE / 2).as_secs());
}

#[tokio::test]
async fn who_has_no_session_is_told_so_and_the_stream_ends() {
    let app = TestApp::start().await;
    let mut events = EventSource::open(&app.browser(), &[]).await;
    assert_eq!((events.status, events.ended().await.as_str()), (StatusCode::OK, "unknown"));
    let mut forged = EventSource::open(&app.browser(), &[("cookie", "cloakroom-1=AAAAAAAAAAAAAAAAAAAAAA")]).await;
    assert_eq!(forged.ended().await, "unknown");
}

#[tokio::test]
async fn a_request_from_elsewhere_is_refused() {
    let app = TestApp::start().await;
    let browser = app.logged_in("alice").await;
    for headers in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "")],
        &[("sec-fetch-site", ""), ("origin", "https://evil.example")],
    ] {
        let refused = EventSource::open(&browser, headers).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{headers:?}");
        assert!(refused.problem().await["type"].as_str().unwrap().ends_with("/cross-site-request"));
    }
    let origin = browser.home.origin().ascii_serialization();
    let older = EventSource::open(&browser, &[("sec-fetch-site", ""), ("origin", &origin)]).await;
    assert_eq!(older.status, StatusCode::OK, "a browser without Fetch Metadata");
}

#[tokio::test]
async fn only_get_and_head_are_answered() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let answer = browser.fetch(Method::POST, "/bff/events").await;
    assert_eq!((answer.status, answer.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, Some("GET, HEAD")));
    let head = browser.fetch(Method::HEAD, "/bff/events").await;
    assert_eq!((head.status, head.header("content-type")), (StatusCode::OK, Some("text/event-stream")));
}

#[tokio::test]
async fn every_tab_hears_of_a_logout() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let (mut one, mut two) = (EventSource::of(&browser).await, EventSource::of(&browser.tab()).await);
    let bob = app.logged_in("bob").await;
    let mut other = EventSource::of(&bob).await;
    browser.fetch(Method::POST, "/bff/logout").await;
    assert_eq!(one.ended().await, "logout");
    assert_eq!(two.ended().await, "logout");
    app.clock.advance(15 * SECOND);
    other.beats().await;
}

#[tokio::test]
async fn every_reason_reaches_the_tab() {
    let app = TestApp::start().await;
    for reason in
        [Reason::ProviderLogout, Reason::RefreshLost, Reason::ByUser, Reason::Limit, Reason::Admin, Reason::Unreadable]
    {
        let browser = app.logged_in("alice").await;
        let mut events = EventSource::of(&browser).await;
        app.backend.remove(only_session(&app).await, reason).await.unwrap();
        assert_eq!(events.ended().await, reason.as_str());
    }
}

#[tokio::test]
async fn a_session_too_many_ends_the_oldest_ones_tabs() {
    let app = TestApp::with().variable("CLOAKROOM__SESSION__MAX_PER_SUBJECT", "1").start().await;
    let mut events = EventSource::of(&app.logged_in("alice").await).await;
    app.logged_in("alice").await;
    assert_eq!(events.ended().await, "limit");
}

#[tokio::test]
async fn a_refused_refresh_ends_the_tabs_too() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let mut events = EventSource::of(&browser).await;
    app.misbehave(Fault::TokenInvalidGrant);
    app.clock.advance(6 * MINUTE);
    assert_eq!(browser.fetch(Method::GET, "/api/x").await.problem(), "session-expired");
    assert_eq!(events.ended().await, "refresh-refused");
}

#[tokio::test]
async fn a_new_login_of_the_same_person_is_a_replacement() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let mut events = EventSource::of(&browser).await;
    app.clock.advance(SECOND);
    browser.log_in("/", "alice").await;
    let event = events.last().await;
    assert_eq!((event.name.as_str(), event.data), ("replaced", json!({})));
    EventSource::of(&browser).await;
}

#[tokio::test]
async fn a_login_of_somebody_else_ends_the_first_ones_tabs() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let mut events = EventSource::of(&browser).await;
    app.provider.end_sso_sessions();
    app.clock.advance(SECOND);
    browser.log_in("/", "bob").await;
    assert_eq!(events.ended().await, "replaced-by-other-user");
}

#[tokio::test]
async fn renewed_tokens_are_told() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let mut events = EventSource::of(&browser).await;
    app.clock.advance(250 * SECOND);
    events.beats().await;
    browser.fetch(Method::GET, "/api/x").await;
    let event = events.next().await;
    assert_eq!((event.name.as_str(), event.data), ("refreshed", json!({})));
}

#[tokio::test]
async fn a_token_that_cannot_be_renewed_is_told_once() {
    let app = TestApp::with().variable("CLOAKROOM_SCOPES", "openid").start().await;
    let browser = app.logged_in("alice").await;
    let mut events = EventSource::of(&browser).await;
    app.clock.advance(5 * MINUTE);
    let event = events.next().await;
    assert_eq!((event.name.as_str(), event.data), ("token-expired", json!({})));
    let mut late = EventSource::of(&browser).await;
    assert_eq!(late.next().await.name, "token-expired", "who comes later is told, too");
    app.clock.advance(MINUTE);
    events.beats().await;
}

#[tokio::test]
async fn the_end_is_announced_twice_and_told_in_time() {
    let app = TestApp::start().await;
    let mut events = EventSource::of(&app.logged_in("alice").await).await;
    for (advance, left) in [(28 * MINUTE, 120), (90 * SECOND, 30)] {
        app.clock.advance(advance);
        let event = events.next_event().await;
        assert_eq!((event.name.as_str(), event.data), ("expiring", json!({ "expires_in": left })));
    }
    app.clock.advance(30 * SECOND);
    assert_eq!(events.ended().await, "expired");
    assert_eq!(app.sessions().await, 0);
}

#[tokio::test]
async fn a_session_that_another_tab_uses_is_not_announced_and_does_not_end() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let mut events = EventSource::of(&browser).await;
    app.clock.advance(20 * MINUTE);
    assert!(browser.is_logged_in().await);
    app.clock.advance(9 * MINUTE);
    for _ in 0..2 {
        events.beats().await;
        app.clock.advance(15 * SECOND);
    }
    app.clock.advance(20 * MINUTE);
    let event = events.next_event().await;
    assert_eq!(event.name, "expiring", "and the new end is");
}

#[tokio::test]
async fn the_absolute_limit_ends_a_session_in_use() {
    let app = TestApp::with()
        .variable("CLOAKROOM__SESSION__ABSOLUTE", "20m")
        .variable("CLOAKROOM__SESSION__IDLE", "15m")
        .start()
        .await;
    let mut browser = app.logged_in("alice").await;
    app.clock.advance(10 * MINUTE);
    assert!(browser.is_logged_in().await);
    let mut events = EventSource::of(&browser).await;
    app.clock.advance(10 * MINUTE);
    assert_eq!(events.ended().await, "expired");
}

#[tokio::test]
async fn a_silent_stream_has_a_heartbeat() {
    let app = TestApp::start().await;
    let mut events = EventSource::of(&app.logged_in("alice").await).await;
    for _ in 0..3 {
        app.clock.advance(15 * SECOND);
        events.beats().await;
    }
}

#[tokio::test]
async fn who_comes_back_after_the_end_is_told_why() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let tag = browser.user().await["session"]["tag"].as_str().unwrap().to_owned();
    let other_tab = browser.tab();
    browser.fetch(Method::POST, "/bff/logout").await;
    // With the old cookie, and without one.
    assert_eq!(EventSource::open(&other_tab, &[]).await.ended().await, "logout");
    assert_eq!(EventSource::open(&browser, &[("last-event-id", &tag)]).await.ended().await, "logout");
    assert_eq!(EventSource::open(&browser, &[("last-event-id", "0123456789abcdef")]).await.ended().await, "unknown");
    // A page that opens a new stream cannot set the header.
    let by_query = browser.at(&format!("/bff/events?last_event_id={tag}"));
    assert_eq!(EventSource::open_at(&browser, by_query.as_str(), &[]).await.ended().await, "logout");
    let header_wins = [("last-event-id", "0123456789abcdef")];
    assert_eq!(EventSource::open_at(&browser, by_query.as_str(), &header_wins).await.ended().await, "unknown");
}

#[tokio::test]
async fn who_comes_back_to_another_session_is_told_of_the_end_of_the_first() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let tag = browser.user().await["session"]["tag"].as_str().unwrap().to_owned();
    let last = [("last-event-id", tag.as_str())];
    app.clock.advance(SECOND);
    browser.log_in("/", "alice").await;
    let mut events = EventSource::open(&browser, &last).await;
    assert_eq!(events.last().await.name, "replaced");
    browser.fetch(Method::POST, "/bff/logout").await;
    browser.log_in("/", "alice").await;
    let told = EventSource::open(&browser, &last).await.last().await;
    assert_eq!((told.name.as_str(), &told.data["reason"]), ("ended", &json!("logout")), "as the session after it");
    EventSource::of(&browser).await;
}

#[tokio::test]
async fn who_asks_by_the_same_query_again_comes_to_the_session_that_lives() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let tag = browser.user().await["session"]["tag"].as_str().unwrap().to_owned();
    let by_query = browser.at(&format!("/bff/events?last_event_id={tag}"));
    app.clock.advance(SECOND);
    browser.log_in("/", "alice").await;
    let told = EventSource::open_at(&browser, by_query.as_str(), &[]).await.last().await;
    assert_eq!(told.name, "replaced");
    // As browsers do by themselves.
    let mut again = EventSource::open_at(&browser, by_query.as_str(), &[("last-event-id", &told.id)]).await;
    let session = again.next().await;
    assert_eq!((session.name.as_str(), &session.data["tag"]), ("session", &json!(told.id)));
}

#[tokio::test]
async fn who_waits_for_the_next_sessions_cookie_is_told_that_and_nothing_else() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let (tag, late) = (browser.user().await["session"]["tag"].as_str().unwrap().to_owned(), browser.tab());
    app.clock.advance(SECOND);
    browser.log_in("/", "alice").await;
    let by_query = browser.at(&format!("/bff/events?last_event_id={tag}"));
    for _ in 0..2 {
        let told = EventSource::open_at(&late, by_query.as_str(), &[]).await.last().await;
        assert_eq!((told.name.as_str(), told.id.as_str()), ("replaced", tag.as_str()));
    }
    EventSource::of(&late).await;
}

#[tokio::test]
async fn who_comes_back_to_the_same_session_is_told_how_things_stand() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let tag = browser.user().await["session"]["tag"].as_str().unwrap().to_owned();
    let mut events = EventSource::open(&browser, &[("last-event-id", &tag)]).await;
    assert_eq!(events.next().await.name, "session");
}

/// Another Cloakroom over the same store, at an address of its own.
async fn replica(app: &TestApp, key: &str) -> (String, DropGuard) {
    let (other, _) = app.replica(&[("CLOAKROOM_KEY", key)]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/bff/events", listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    tokio::spawn(other.serve(listener, None, shutdown.clone().cancelled_owned()));
    (url, shutdown.drop_guard())
}

#[tokio::test]
async fn an_end_at_one_replica_is_told_at_the_other() {
    let key = MasterKey::generate().to_base64url().expose().clone();
    let app = TestApp::with().variable("CLOAKROOM_KEY", &key).start().await;
    let (url, _running) = replica(&app, &key).await;
    let mut browser = app.logged_in("alice").await;
    let mut events = EventSource::open_at(&browser, &url, &[]).await;
    assert_eq!(events.next().await.name, "session");
    app.clock.advance(250 * SECOND);
    events.beats().await;
    browser.fetch(Method::GET, "/api/x").await;
    assert_eq!(events.next().await.name, "refreshed");
    let tab = browser.tab();
    browser.fetch(Method::POST, "/bff/logout").await;
    assert_eq!(events.ended().await, "logout");
    assert_eq!(EventSource::open_at(&tab, &url, &[]).await.ended().await, "logout", "it remembers");
}

#[tokio::test]
async fn while_the_store_is_down_browsers_are_told_to_try_again() {
    let (app, backend) = flaky().await;
    let browser = app.logged_in("alice").await;
    backend.set(Outage::Unavailable);
    let refused = EventSource::open(&browser, &[]).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(EventSource::open(&app.browser(), &[]).await.status, StatusCode::OK, "nobody is asked about nobody");
    backend.set(Outage::None);
}

#[tokio::test]
async fn an_outage_of_the_store_ends_no_stream_before_the_absolute_limit() {
    let (app, backend) = flaky().await;
    let mut events = EventSource::of(&app.logged_in("alice").await).await;
    backend.set(Outage::Unavailable);
    app.clock.advance(IDLE);
    for _ in 0..3 {
        events.beats().await;
        app.clock.advance(15 * SECOND);
    }
    app.clock.advance(12 * 60 * MINUTE);
    assert_eq!(events.ended().await, "expired");
}

#[tokio::test]
async fn an_end_while_signals_are_lost_is_noticed_when_they_are_back() {
    let (app, backend) = flaky().await;
    let browser = app.logged_in("alice").await;
    let mut events = EventSource::of(&browser).await;
    backend.break_channel();
    app.backend.remove(only_session(&app).await, Reason::Admin).await.unwrap();
    let ended = tokio::spawn(async move { events.ended().await });
    app.eventually(|app| {
        app.clock.advance(Duration::from_millis(50));
        ended.is_finished()
    })
    .await;
    assert_eq!(ended.await.unwrap(), "unknown", "nobody heard the reason");
}

#[tokio::test]
async fn an_end_that_no_signal_tells_is_noticed_within_a_minute() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sessions.db").display().to_string();
    let app = TestApp::with().backend(Arc::new(SqliteBackend::open(&file).await.unwrap())).start().await;
    let mut events = EventSource::of(&app.logged_in("alice").await).await;
    // As a program does that looks after the file.
    let other = SqliteBackend::open(&file).await.unwrap();
    other.remove(only_session(&app).await, Reason::Admin).await.unwrap();
    app.clock.advance(MINUTE);
    assert_eq!(events.ended().await, "unknown");
}

#[tokio::test]
async fn at_shutdown_streams_end_without_a_word_and_hold_nobody_up() {
    let mut app = TestApp::start().await;
    let browser = app.logged_in("alice").await;
    let mut events = EventSource::of(&browser).await;
    let started = tokio::time::Instant::now();
    app.stop().await;
    assert!(started.elapsed() < 5 * SECOND);
    assert_eq!(events.block().await, None);
    assert!(browser.session().is_some());
}

#[tokio::test]
async fn an_embedders_drain_ends_streams() {
    let app = TestApp::start().await;
    let mut events = EventSource::of(&app.logged_in("alice").await).await;
    app.drain().await;
    assert_eq!(events.block().await, None);
}
