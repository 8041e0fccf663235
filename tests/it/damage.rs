//! Rows that do not open: each is told once, ended, and looks like any other session that is over.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::store::{
    Cursor, Exported, FlakyBackend, LeaseAfter, MasterKey, MemoryBackend, Outage, Reason, SessionKey, Swapped,
};
use futures_util::future::join_all;
use http::{Method, StatusCode};

use crate::support::{Browser, Page, TestApp, logs};

const ALMOST_OVER: Duration = Duration::from_secs(250);

async fn call(browser: &mut Browser) -> Page {
    browser.fetch(Method::GET, "/api/x").await
}

/// The one session in the store.
async fn only_session(app: &TestApp) -> SessionKey {
    let rows = app.backend.scan(Cursor::default()).await.unwrap().rows;
    assert_eq!(rows.len(), 1);
    rows[0].key
}

fn assert_unavailable(page: &Page) {
    assert_eq!((page.status, page.header("set-cookie")), (StatusCode::SERVICE_UNAVAILABLE, None), "{}", page.text());
}

/// A part of a row.
type Part = fn(&mut Exported) -> &mut Vec<u8>;

const HALVES: [(&str, Part); 2] = [("session", |row| &mut row.session), ("tokens", |row| &mut row.tokens)];

/// Changes a row where it rests.
async fn alter(app: &TestApp, key: SessionKey, change: impl Fn(&mut Exported)) {
    let mut row = app.backend.export(key).await.unwrap().unwrap();
    app.backend.remove(key, Reason::Admin).await.unwrap();
    change(&mut row);
    assert!(app.backend.import(&row).await.unwrap());
}

fn assert_told_once(key: SessionKey) {
    assert_eq!(logs::count(&["ERROR", "a session does not open and is ended", &key.tag()]), 1);
}

#[tokio::test]
async fn whoever_comes_upon_a_damaged_half_first_is_told_that_the_session_is_over() {
    let app = TestApp::with().route("path = '/api'").route("path = '/open'\ntoken = 'optional'").start().await;
    for (half, part) in HALVES {
        for damage in DAMAGES {
            for first in ["/bff/user", "/api/x", "/open/x", "/bff/logout", "login"] {
                let mut browser = app.logged_in("alice").await;
                let key = only_session(&app).await;
                alter(&app, key, |row| *part(row) = damage(part(row).clone())).await;
                first_contact(&mut browser, first).await;
                assert_told_once(key);
                assert!(app.backend.load(key).await.unwrap().is_none(), "{half} {first}: the row has ended");
                let over = first != "login";
                assert_eq!(browser.is_logged_in().await, !over, "{half} {first}");
                browser.fetch(Method::POST, "/bff/logout").await;
                assert_eq!(app.sessions().await, 0);
            }
        }
    }
    assert!(app.api_saw().is_empty());
}

async fn first_contact(browser: &mut Browser, first: &str) {
    match first {
        "login" => assert_eq!(browser.log_in("/cart", "alice").await.url.path(), "/cart"),
        "/bff/user" => {
            let page = browser.fetch(Method::GET, first).await;
            assert_eq!((page.json()["authenticated"].as_bool(), page.header("set-cookie")), (Some(false), None));
            assert_eq!(call(browser).await.problem(), "session-expired");
        }
        "/bff/logout" => assert_eq!(browser.fetch(Method::POST, first).await.status, StatusCode::OK),
        route => {
            let page = browser.fetch(Method::GET, route).await;
            assert_eq!((page.problem().as_str(), page.header("set-cookie")), ("session-expired", None));
        }
    }
}

#[tokio::test]
async fn of_many_who_come_upon_it_together_one_tells_the_log() {
    let app = TestApp::start().await;
    let browser = app.logged_in("alice").await;
    let key = only_session(&app).await;
    alter(&app, key, |row| row.session.truncate(3)).await;
    let answers = join_all((0..20).map(|_| {
        let mut tab = browser.tab();
        async move { call(&mut tab).await.problem() }
    }));
    assert!(answers.await.iter().all(|problem| problem == "session-expired"));
    assert_told_once(key);
}

#[tokio::test]
async fn a_card_that_does_not_open_ends_the_session_when_the_row_is_sealed_anew() {
    let (old, new) = (fresh_key(), fresh_key());
    for damage in DAMAGES {
        let backend = Arc::new(MemoryBackend::new());
        let mut app = TestApp::with().backend(backend.clone()).variable("CLOAKROOM_KEY", &old).start().await;
        let mut browser = app.logged_in("alice").await;
        let key = only_session(&app).await;
        alter(&app, key, |row| row.card = damage(row.card.clone())).await;
        assert!(browser.is_logged_in().await, "nobody reads it yet");
        app.restart(backend, &format!("{new},{old}")).await;
        app.clock.advance(Duration::from_mins(2));
        assert_eq!(call(&mut browser).await.status, StatusCode::OK, "it was let in before");
        assert_told_once(key);
        assert_eq!(call(&mut browser).await.problem(), "session-expired");
        assert_eq!(app.sessions().await, 0);
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_ended_now_is_an_outage_and_is_told_when_it_ends() {
    let backend = Arc::new(FlakyBackend::new(Arc::new(MemoryBackend::new())));
    let app = TestApp::with().backend(backend.clone()).start().await;
    let mut browser = app.logged_in("alice").await;
    let key = only_session(&app).await;
    alter(&app, key, |row| row.tokens.truncate(3)).await;
    backend.set(Outage::ReadOnly);
    for _ in 0..2 {
        assert_unavailable(&browser.fetch(Method::GET, "/bff/user").await);
    }
    assert_eq!(logs::count(&["a session does not open", &key.tag()]), 0);
    backend.set(Outage::None);
    assert!(!browser.is_logged_in().await);
    assert_told_once(key);
}

#[tokio::test]
async fn a_key_that_is_not_known_here_is_no_damage() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let callback = browser.callback_url_of("/bff/login?prompt=login", "alice").await;
    let key = only_session(&app).await;
    // The key's id is behind the format.
    for (half, part) in HALVES {
        alter(&app, key, |row| part(row)[1] ^= 1).await;
        for path in ["/bff/user", "/api/x"] {
            assert_unavailable(&browser.fetch(Method::GET, path).await);
        }
        assert_unavailable(&browser.fetch(Method::POST, "/bff/logout").await);
        assert_unavailable(&browser.click(&callback).await);
        assert_eq!(app.sessions().await, 1, "{half}");
        alter(&app, key, |row| part(row)[1] ^= 1).await;
    }
    assert!(browser.is_logged_in().await);
    assert_eq!(app.grants("authorization_code"), 1);
}

#[tokio::test]
async fn tokens_that_are_put_back_do_not_open() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let key = only_session(&app).await;
    let old = app.backend.load(key).await.unwrap().unwrap().tokens;
    app.clock.advance(ALMOST_OVER);
    assert_eq!(call(&mut browser).await.status, StatusCode::OK);
    assert_eq!(app.backend.swap_tokens(key, 2, &old, LeaseAfter::Keep).await.unwrap(), Swapped::Swapped);
    assert_eq!(call(&mut browser).await.problem(), "session-expired");
}

#[tokio::test]
async fn what_a_newer_program_wrote_is_not_damage() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let key = only_session(&app).await;
    let mut session = app.backend.load(key).await.unwrap().unwrap().session.to_vec();
    session[0] += 1;
    app.backend.touch(key, Duration::from_hours(1), &session, None).await.unwrap();
    assert_unavailable(&browser.fetch(Method::GET, "/bff/user").await);
    assert_unavailable(&call(&mut browser).await);
    assert_eq!(app.sessions().await, 1);
}

#[tokio::test]
async fn halves_of_one_session_do_not_open_in_another() {
    let app = TestApp::start().await;
    let mut alice = app.logged_in("alice").await;
    let hers = only_session(&app).await;
    let row = app.backend.load(hers).await.unwrap().unwrap();
    let mut bob = app.logged_in("bob").await;
    let rows = app.backend.scan(Cursor::default()).await.unwrap().rows;
    let his = rows.into_iter().map(|row| row.key).find(|key| *key != hers).unwrap();
    app.backend.touch(his, Duration::from_hours(1), &row.session, None).await.unwrap();
    assert!(!bob.is_logged_in().await);
    assert!(alice.is_logged_in().await);
}

/// What can happen to a sealed value.
const DAMAGES: [fn(Vec<u8>) -> Vec<u8>; 7] = [
    |_| Vec::new(),
    |value| value[..3].to_vec(),
    |value| value[..value.len() - 1].to_vec(),
    |value| [&[0], &value[1..]].concat(),
    // As under another key with the same id.
    |value| [&value[..5], &[7].repeat(value.len() - 5)].concat(),
    |value| flipped(value, |length| length / 2),
    |value| flipped(value, |length| length - 1),
];

fn flipped(mut value: Vec<u8>, at: fn(usize) -> usize) -> Vec<u8> {
    let at = at(value.len());
    value[at] ^= 1;
    value
}

fn fresh_key() -> String {
    MasterKey::generate().to_base64url().expose().clone()
}
