//! The store is down, slow or stolen: nobody is logged out, nobody is anonymous by mistake, and the file tells nothing.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom::demo::faults::{self, Endpoint, Fault};
use cloakroom::store::{
    Cursor, FlakyBackend, MasterKey, MemoryBackend, Outage, SessionBackend, SessionKey, SqliteBackend,
};
use futures_util::future::join_all;
use http::{Method, Request, StatusCode};
use tokio::time::Instant;
use tower::ServiceExt as _;

use crate::support::{Browser, Page, TestApp};

const ALMOST_OVER: Duration = Duration::from_secs(250);

/// An app whose store can fail, with a second route that takes anybody.
async fn flaky() -> (TestApp, Arc<FlakyBackend>) {
    let backend = Arc::new(FlakyBackend::new(Arc::new(MemoryBackend::new())));
    let setup = TestApp::with().backend(backend.clone()).variable("CLOAKROOM__STORE__TIMEOUT", "100ms");
    let setup = setup.variable("CLOAKROOM_ROUTES", "/api={api},/open={api}");
    let app = setup.variable("CLOAKROOM__FRONTENDS__DEFAULT__ROUTES__1__TOKEN", "optional").start().await;
    (app, backend)
}

async fn call(browser: &mut Browser) -> Page {
    browser.fetch(Method::GET, "/api/x").await
}

/// The one session in the store.
async fn only_session(app: &TestApp) -> SessionKey {
    let rows = app.backend.scan(Cursor::default()).await.unwrap().rows;
    assert_eq!(rows.len(), 1);
    rows[0].key
}

/// Waits until a call that needs the store is answered.
async fn until_it_is_noticed(browser: &mut Browser, path: &str) {
    let noticed = tokio::time::timeout(Duration::from_secs(5), async {
        while browser.fetch(Method::GET, path).await.status != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    noticed.await.expect("the store is back, and nobody notices");
}

fn assert_unavailable(page: &Page) {
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{} {}", page.url, page.text());
    assert_eq!(page.header("retry-after"), Some("2"));
    assert_eq!(page.header("set-cookie"), None);
}

// Outages.

#[tokio::test]
async fn while_the_store_is_away_everything_is_503_and_then_everybody_is_still_there() {
    for (outage, seen) in [(Outage::Unavailable, "simulated outage"), (Outage::Hangs, "no answer within 100ms")] {
        let (app, backend) = flaky().await;
        let mut browser = app.logged_in("alice").await;
        let mut arriving = app.browser();
        let callback = arriving.callback_url("/cart", "bob").await;
        let logout = browser.user().await["logout_url"].as_str().unwrap().to_owned();
        let (session, attempt) = (browser.session().cloned(), arriving.cookies.names("localhost"));
        backend.set(outage);

        for (method, path) in [
            (Method::GET, "/bff/user"),
            (Method::GET, "/bff/user?slide=false"),
            (Method::GET, "/api/x"),
            (Method::POST, "/api/x"),
            (Method::GET, "/open/x"),
            (Method::POST, "/bff/logout"),
        ] {
            let page = browser.fetch(method, path).await;
            assert_unavailable(&page);
            assert_eq!(page.problem(), "unavailable", "{path}");
        }
        for page in
            [browser.click(&logout).await, browser.post_form("/bff/logout", &[]).await, arriving.click(&callback).await]
        {
            assert_unavailable(&page);
            assert_eq!(page.page_slug(), "unavailable");
            let cause = page.cause();
            assert!(cause.starts_with("the store is unavailable: ") && cause.ends_with(seen), "{cause}");
        }
        assert!(app.api_saw().is_empty());
        assert_eq!(app.grants("authorization_code"), 1);
        assert!(app.calls("/revoke").is_empty());

        backend.set(Outage::None);
        until_it_is_noticed(&mut browser, "/bff/user?slide=false").await;
        assert_eq!(browser.session().cloned(), session);
        assert_eq!(arriving.cookies.names("localhost"), attempt);
        assert!(browser.is_logged_in().await);
        assert_eq!(call(&mut browser).await.status, StatusCode::OK);
        assert_eq!(arriving.click(&callback).await.url.path(), "/cart");
        assert_eq!(app.sessions().await, 2);
    }
}

#[tokio::test]
async fn who_has_no_session_is_served_without_the_store() {
    let (app, backend) = flaky().await;
    let mut browser = app.browser();
    let before = backend.calls();
    backend.set(Outage::Unavailable);
    assert!(!browser.is_logged_in().await);
    assert_eq!(call(&mut browser).await.problem(), "not-authenticated");
    assert_eq!(browser.fetch(Method::GET, "/open/x").await.status, StatusCode::OK);
    assert_eq!(browser.open("/").await.status, StatusCode::OK);
    assert_eq!(browser.step("/bff/login").await.status, StatusCode::SEE_OTHER);
    assert_eq!(backend.calls(), before);
}

#[tokio::test]
async fn a_page_and_its_files_do_not_need_the_store() {
    let (app, backend) = flaky().await;
    let mut browser = app.logged_in("alice").await;
    backend.set(Outage::Unavailable);
    assert_eq!(browser.open("/cart").await.status, StatusCode::OK);
    assert_eq!(browser.open("/app.js").await.status, StatusCode::OK);
    assert_eq!(browser.step("/bff/login").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_login_that_cannot_be_stored_opens_nothing_and_does_not_spend_its_code_twice() {
    let (app, backend) = flaky().await;
    app.misbehave(held());
    let mut browser = app.browser();
    let callback = browser.callback_url("/cart", "alice").await;
    let mut copy = browser.tab();
    let (page, ()) = tokio::join!(browser.click(&callback), async {
        app.eventually(|app| app.grants("authorization_code") == 1).await;
        backend.set(Outage::Unavailable);
        app.provider.faults().clear_all();
    });
    assert_unavailable(&page);
    assert_eq!(page.page_slug(), "unavailable");
    assert_eq!(browser.session(), None);
    backend.set(Outage::None);
    assert_eq!(app.sessions().await, 0);
    assert_eq!(copy.click(&callback).await.page_slug(), "login-expired");
    assert_eq!(app.grants("authorization_code"), 1);
    assert_eq!(browser.log_in("/cart", "alice").await.url.path(), "/cart");
}

#[tokio::test]
async fn a_renewed_token_that_cannot_be_stored_is_not_used() {
    let (app, backend) = flaky().await;
    let mut browser = app.logged_in("alice").await;
    app.clock.advance(ALMOST_OVER + Duration::from_mins(1));
    app.misbehave(held());
    let (page, ()) = tokio::join!(call(&mut browser), async {
        app.eventually(|app| app.grants("refresh_token") == 1).await;
        backend.set(Outage::Unavailable);
        app.provider.faults().clear_all();
    });
    assert_unavailable(&page);
    assert_eq!(page.problem(), "unavailable");
    assert!(app.api_saw().is_empty());
}

#[tokio::test]
async fn a_callback_whose_claim_was_lost_can_be_loaded_again() {
    let (app, backend) = flaky().await;
    let mut browser = app.browser();
    let callback = browser.callback_url("/cart", "alice").await;
    backend.set(Outage::LosesAnswers);
    assert_unavailable(&browser.click(&callback).await);
    assert_eq!(app.grants("authorization_code"), 0);
    backend.set(Outage::None);
    assert_eq!(browser.click(&callback).await.url.path(), "/cart");
    assert_eq!(app.grants("authorization_code"), 1);
}

/// A request of the app's page, for the router.
fn request_of(browser: &Browser, method: &Method, path: &str) -> Request<Body> {
    let cookie = browser.session().map(|cookie| format!("cloakroom-{}={}", browser.home.port().unwrap(), cookie.value));
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", browser.home.authority())
        .header("origin", browser.home.origin().ascii_serialization())
        .header("sec-fetch-site", "same-origin")
        .header("x-csrf", "1")
        .header("cookie", cookie.unwrap())
        .extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 50000))))
        .body(Body::empty())
        .unwrap()
}

#[tokio::test]
async fn ten_thousand_calls_of_a_store_that_hangs_are_503_at_once_and_few_reach_it() {
    let (app, backend) = flaky().await;
    let browser = app.logged_in("alice").await;
    backend.set(Outage::Hangs);
    let (router, before) = (app.router(), backend.calls());
    let kinds = [
        (Method::GET, "/bff/user"),
        (Method::GET, "/api/x"),
        (Method::GET, "/open/x"),
        (Method::POST, "/bff/logout"),
        (Method::GET, "/bff/user?slide=false"),
    ];
    // From here on time passes only while everybody waits.
    tokio::time::pause();
    let began = Instant::now();
    let calls = kinds.iter().cycle().take(10_000).map(|(method, path)| {
        let (router, request) = (router.clone(), request_of(&browser, method, path));
        tokio::spawn(async move { router.oneshot(request).await.unwrap() })
    });
    for answer in join_all(calls).await {
        let answer = answer.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()["retry-after"], "2");
        assert_eq!(answer.headers().get("set-cookie"), None);
    }
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    let reached = backend.calls() - before;
    assert!((5..=1024 + 8).contains(&reached), "{reached} calls reached the store");
    assert!(app.api_saw().is_empty());

    backend.set(Outage::None);
    let back = Instant::now();
    loop {
        let answer = router.clone().oneshot(request_of(&browser, &Method::GET, "/bff/user")).await.unwrap();
        if answer.status() == StatusCode::OK {
            break;
        }
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    assert!(back.elapsed() <= Duration::from_millis(1100), "{:?}", back.elapsed());
    assert_eq!(app.sessions().await, 1);
}

#[tokio::test]
async fn a_renewed_token_is_stored_soon_after_the_store_is_back() {
    let (app, backend) = flaky().await;
    let mut browser = app.logged_in("alice").await;
    app.clock.advance(ALMOST_OVER + Duration::from_mins(1));
    app.misbehave(held());
    let (page, ()) = tokio::join!(call(&mut browser), async {
        app.eventually(|app| app.grants("refresh_token") == 1).await;
        backend.set(Outage::Unavailable);
        app.provider.faults().clear_all();
    });
    assert_unavailable(&page);
    // By then calls are kept off the store.
    let asked = backend.calls();
    app.eventually(|_| backend.calls() > asked + 6).await;
    backend.set(Outage::None);
    let back = Instant::now();
    until_it_is_noticed(&mut browser, "/api/x").await;
    assert!(back.elapsed() < Duration::from_secs(2), "{:?}", back.elapsed());
    assert_eq!(app.grants("refresh_token"), 1, "the token that waited was stored");
}

// The file.

#[tokio::test]
async fn the_file_tells_neither_who_nor_what() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cloakroom.db");
    let app = TestApp::with().backend(sqlite(&path).await).start().await;
    let mut browser = app.logged_in("alice").await;
    let mut leaver = app.logged_in("bob").await;
    app.clock.advance(ALMOST_OVER);
    for browser in [&mut browser, &mut leaver] {
        assert_eq!(call(browser).await.status, StatusCode::OK);
    }
    assert_eq!(app.grants("refresh_token"), 2);
    let cookies = [browser.session().unwrap().value.clone(), leaver.session().unwrap().value.clone()];
    let left = leaver.fetch(Method::POST, "/bff/logout").await;
    assert_eq!(left.status, StatusCode::OK);
    assert_eq!(app.sessions().await, 1);

    let file = bytes_below(dir.path());
    let key = only_session(&app).await;
    assert!(holds(&file, key.as_bytes()), "what is there is found");
    let handle = left.json()["redirect_to"].as_str().unwrap().rsplit('=').next().unwrap().to_owned();
    let people =
        ["248289761001", "alice@example.com", "Alice Adler", "813347290552", "bob@example.com", "a secret of the shop"];
    for cookie in &cookies {
        assert!(!holds(&file, &URL_SAFE_NO_PAD.decode(cookie).unwrap()), "the file holds a session id");
    }
    let secrets = people.map(str::to_owned).into_iter().chain(cookies).chain(app.provider.issued()).chain([handle]);
    for secret in secrets {
        assert!(!holds(&file, secret.as_bytes()), "the file holds a secret of {} characters", secret.len());
    }
}

#[tokio::test]
async fn a_restart_with_the_same_file_and_key_logs_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cloakroom.db");
    let (key, other) = (fresh_key(), fresh_key());
    let mut app = TestApp::with().backend(sqlite(&path).await).variable("CLOAKROOM_KEY", &key).start().await;
    let mut browser = app.logged_in("alice").await;
    let mut arriving = app.browser();
    let callback = arriving.callback_url("/cart", "bob").await;

    app.restart(sqlite(&path).await, &key).await;
    assert_eq!(arriving.click(&callback).await.url.path(), "/cart", "a login goes on where it was");
    assert!(browser.is_logged_in().await);
    app.clock.advance(ALMOST_OVER);
    assert_eq!(call(&mut browser).await.status, StatusCode::OK);
    assert_eq!(app.grants("refresh_token"), 1);

    app.restart(sqlite(&path).await, &other).await;
    for (method, path) in [(Method::GET, "/bff/user"), (Method::GET, "/api/x"), (Method::POST, "/bff/logout")] {
        let page = browser.fetch(method, path).await;
        assert_unavailable(&page);
        assert_eq!(page.problem(), "unavailable");
    }
    assert_eq!(app.sessions().await, 2);

    // The new key has come first, and the old one still opens.
    app.restart(sqlite(&path).await, &format!("{other},{key}")).await;
    assert!(browser.is_logged_in().await);
    app.clock.advance(ALMOST_OVER);
    assert_eq!(call(&mut browser).await.status, StatusCode::OK);
    app.restart(sqlite(&path).await, &other).await;
    assert!(browser.is_logged_in().await, "what was used since is sealed anew");
    assert_eq!(browser.fetch(Method::POST, "/bff/logout").await.status, StatusCode::OK);
    assert!(!browser.is_logged_in().await);
}

/// The token endpoint does its work and keeps its answer back.
fn held() -> Fault {
    Fault::Endpoint(Endpoint::Token, faults::Outage::Held)
}

async fn sqlite(path: &Path) -> Arc<dyn SessionBackend> {
    Arc::new(SqliteBackend::open(path).await.unwrap())
}

fn fresh_key() -> String {
    MasterKey::generate().to_base64url().expose().clone()
}

/// The file, its log and whatever else lies beside it.
fn bytes_below(dir: &Path) -> Vec<u8> {
    let files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() > 1, "the log is not written: {files:?}");
    files.iter().flat_map(|file| std::fs::read(file).unwrap()).collect()
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
