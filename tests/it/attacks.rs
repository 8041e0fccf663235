//! What somebody tries who means harm: odd bytes, requests that are left halfway, other sites that open windows.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloakroom::demo::faults::{Endpoint, Fault, Outage};
use cloakroom::store::{FlakyBackend, MemoryBackend, Outage as StoreOutage};
use futures_util::future::join_all;
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::TestApp;
use crate::support::browser::Jar;

const EVIL: &str = "https://evil.example/";

/// Sends bytes and reads until the server closes.
async fn raw(app: &TestApp, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(app.url.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(10), read).await.expect("the server neither answers nor closes").ok();
    String::from_utf8_lossy(&answer).into_owned()
}

fn host(app: &TestApp) -> &str {
    app.url.strip_prefix("http://").unwrap()
}

#[tokio::test]
async fn a_cookie_of_somebody_else_with_odd_bytes_logs_nobody_out() {
    let app = TestApp::start().await;
    let browser = app.logged_in("alice").await;
    let (port, id) = (browser.home.port().unwrap(), &browser.session().unwrap().value);
    let head = format!("GET /bff/user HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nX-CSRF: 1\r\n", host(&app));
    let request = format!("{head}Cookie: theme=d\u{e4}mmerung; cloakroom-{port}={id}\r\n\r\n");
    assert!(raw(&app, request.as_bytes()).await.contains("\"authenticated\":true"));
    let mut latin1 = request.replace('\u{e4}', "?").into_bytes();
    let at = latin1.iter().position(|byte| *byte == b'?').unwrap();
    latin1[at] = 0xe4;
    assert!(raw(&app, &latin1).await.contains("\"authenticated\":true"));
}

#[tokio::test]
async fn a_cookie_whose_name_only_looks_like_ours_is_not_ours() {
    let app = TestApp::start().await;
    let browser = app.logged_in("alice").await;
    let (port, id) = (browser.home.port().unwrap(), &browser.session().unwrap().value);
    for blank in ["\u{a0}", "\u{2003}", "\u{85}"] {
        let head = format!("GET /bff/user HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nX-CSRF: 1\r\n", host(&app));
        let request = format!("{head}Cookie: {blank}cloakroom-{port}={id}\r\n\r\n");
        assert!(raw(&app, request.as_bytes()).await.contains("\"authenticated\":false"), "{blank:?}");
    }
}

#[tokio::test]
async fn a_code_is_sent_once_even_if_what_comes_after_it_fails() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let callback = browser.callback_url("/cart", "alice").await;
    app.misbehave(Fault::Endpoint(Endpoint::Jwks, Outage::NotFound));
    browser.click(&callback).await;
    app.provider.faults().clear_all();
    app.clock.advance(Duration::from_mins(1));
    browser.click(&callback).await;
    assert_eq!(app.grants("authorization_code"), 1);
}

#[tokio::test]
async fn other_sites_cannot_fill_a_browser_with_logins_until_its_requests_are_too_large() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    for n in 0..150 {
        browser.step_from(EVIL, &format!("/bff/login?return_to=/{}", "x".repeat(n * 13))).await;
    }
    let names = browser.cookies.names("localhost");
    let bytes: usize = names.iter().map(|name| browser.cookies.of("localhost", name).unwrap().value.len()).sum();
    assert!(bytes <= 24 * 1024, "{} cookies, {bytes} bytes", names.len());
}

#[tokio::test]
async fn a_token_is_in_no_header_that_a_script_asked_for() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let answer = browser.fetch_with(Method::POST, "/bff/logout", &[], Vec::new()).await;
    assert!(!format!("{:?}", answer.headers).contains("id_token_hint"), "{:?}", answer.headers);
    let mut browser = app.logged_in("alice").await;
    let handle = browser.fetch(Method::POST, "/bff/logout").await.json()["redirect_to"].as_str().unwrap().to_owned();
    let answer = browser.fetch(Method::GET, &handle).await;
    assert!(!format!("{:?}", answer.headers).contains("id_token_hint"), "{:?}", answer.headers);
    // It was not used up by that either.
    assert!(browser.step(&handle).await.header("location").unwrap().contains("id_token_hint"));
}

#[tokio::test]
async fn a_provider_without_kids_may_rotate_its_keys_between_two_refreshes() {
    let app = TestApp::start().await;
    app.misbehave(Fault::IdTokenWithoutKid);
    let mut browser = app.logged_in("alice").await;
    app.provider.rotate_keys();
    app.clock.advance(Duration::from_secs(290));
    assert_eq!(browser.fetch(Method::GET, "/api/x").await.status, StatusCode::OK);
    assert_eq!(app.grants("refresh_token"), 1);
    assert!(browser.is_logged_in().await);
}

#[tokio::test]
async fn an_answer_that_removes_a_cookie_is_kept_by_no_cache() {
    let app = TestApp::start().await;
    let (port, junk) = (app.url.rsplit(':').next().unwrap(), "x".repeat(3000));
    let cookies: Vec<_> = (0..3).map(|slot| format!("cloakroom-{port}-login.{slot}={junk}")).collect();
    for path in ["/", "/app.js", "/bff/cloakroom.js", "/bff/problems/internal"] {
        let headers = [("cookie", cookies.join("; "))];
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = app.browser().fetch_with(Method::GET, path, &headers, Vec::new()).await;
        assert!(answer.header("set-cookie").is_some());
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    }
}

#[tokio::test]
async fn a_logout_is_carried_out_even_if_the_window_closes_at_once() {
    let backend = Arc::new(FlakyBackend::new(Arc::new(MemoryBackend::new())));
    let app = TestApp::with().backend(backend.clone()).start().await;
    let browser = app.logged_in("alice").await;
    let (port, id) = (browser.home.port().unwrap(), &browser.session().unwrap().value);
    backend.set(StoreOutage::Slow);
    let seen = backend.calls();
    let mut stream = TcpStream::connect(host(&app)).await.unwrap();
    let head = format!("POST /bff/logout HTTP/1.1\r\nHost: {}\r\nX-CSRF: 1\r\nContent-Length: 0\r\n", host(&app));
    stream.write_all(format!("{head}Cookie: cloakroom-{port}={id}\r\n\r\n").as_bytes()).await.unwrap();
    while backend.calls() == seen {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(stream);
    app.eventually(|app| app.calls("/revoke").len() == 1).await;
    backend.set(StoreOutage::None);
    assert_eq!(app.sessions().await, 0);
}

#[tokio::test]
async fn a_login_is_carried_out_even_if_the_window_closes_at_once() {
    let backend = Arc::new(FlakyBackend::new(Arc::new(MemoryBackend::new())));
    let app = TestApp::with().backend(backend.clone()).start().await;
    let mut browser = app.logged_in("alice").await;
    app.provider.end_sso_sessions();
    app.clock.advance(Duration::from_secs(5));
    let callback = browser.callback_url("/", "bob").await;
    backend.set(StoreOutage::Slow);
    let cookies = browser.cookies.0.iter().filter(|((of, _), _)| of == "localhost");
    let cookies: Vec<_> = cookies.map(|((_, name), cookie)| format!("{name}={}", cookie.value)).collect();
    let path = callback.strip_prefix(&app.url).unwrap();
    let head = format!("GET {path}&hop=1 HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\n\r\n", host(&app), cookies.join("; "));
    let mut stream = TcpStream::connect(host(&app)).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    app.eventually(|app| app.calls("/token").len() == 2).await;
    drop(stream);
    // The session of another person ended, so its token must not live on.
    app.eventually(|app| app.calls("/revoke").len() == 1).await;
}

/// Where the answer to a login request will be parked.
fn parked_slot(location: &str) -> u8 {
    let url = url::Url::parse(location).unwrap();
    let (_, state) = url.query_pairs().find(|(name, _)| name == "state").unwrap();
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, state.as_bytes()).as_ref()[0] % 20
}

#[tokio::test]
async fn a_posted_answer_is_still_there_after_waiting_for_another_tab_that_fails() {
    let backend = Arc::new(FlakyBackend::new(Arc::new(MemoryBackend::new())));
    let app = TestApp::with().backend(backend.clone()).variable("CLOAKROOM_RESPONSE_MODE", "form_post").start().await;
    let shared = Arc::new(Mutex::new(Jar::default()));
    let mut tabs: Vec<_> = (0..2).map(|_| app.browser()).collect();
    for tab in &mut tabs {
        tab.share(shared.clone());
    }
    // Two answers in one slot would be another story.
    let mut starts: Vec<(u8, String)> = Vec::new();
    for tab in &mut tabs {
        let start = loop {
            let login = tab.step("/bff/login?return_to=/cart").await;
            let location = login.header("location").unwrap().to_owned();
            let slot = parked_slot(&location);
            if starts.iter().all(|(taken, _)| *taken != slot) {
                break (slot, location);
            }
        };
        starts.push(start);
    }
    backend.set(StoreOutage::Slow);
    app.provider.faults().set_times(Fault::TokenInvalidGrant, 1);
    let pages = join_all(tabs.iter_mut().zip(&starts).map(async |(tab, (_, location))| {
        let page = tab.click(location).await;
        tab.sign_in(&page, "alice").await
    }))
    .await;
    let mut ends: Vec<_> = pages.iter().map(|page| (page.url.path().to_owned(), page.status)).collect();
    ends.sort();
    assert_eq!(ends, [("/bff/callback".to_owned(), StatusCode::BAD_GATEWAY), ("/cart".to_owned(), StatusCode::OK)]);
}

#[tokio::test]
async fn a_login_link_does_not_lead_into_another_frontend() {
    let app = TestApp::with()
        .variable("CLOAKROOM__FRONTENDS__ADMIN__URL", "{url}/admin/")
        .variable("CLOAKROOM__FRONTENDS__ADMIN__CLIENT_ID", "shop")
        .variable("CLOAKROOM__FRONTENDS__ADMIN__ALLOW_PUBLIC_CLIENT", "true")
        .start()
        .await;
    for path in ["/admin/bff/login", "/admin/api/delete", "/admin", "/admin/", "/x/../admin/x", "/%61dmin/x"] {
        let page = app.browser().step(&format!("/bff/login?return_to={}", path.replace('%', "%25"))).await;
        assert_eq!(page.page_slug(), "return-to-not-allowed", "{path}");
    }
    assert_eq!(app.browser().step("/bff/login?return_to=/administration").await.status, StatusCode::SEE_OTHER);
}
