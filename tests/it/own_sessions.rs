//! `/bff/sessions`: one's own sessions, listed and ended from any of them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use cloakroom::session::UserSession;
use cloakroom::store::{FlakyBackend, MasterKey, MemoryBackend, Outage};
use http::{Method, StatusCode, header};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::support::app::Setup;
use crate::support::{Browser, EventSource, Page, TestApp};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const PATIENCE: Duration = Duration::from_secs(5);
const REMEMBERED: Duration = Duration::from_hours(30 * 24);
const LINUX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const PHONE: &str = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Mobile \
                     Safari/537.36";

/// A browser that says what it is, with somebody logged in.
async fn logged_in_with(app: &TestApp, username: &str, user_agent: &'static str) -> Browser {
    let mut browser = app.browser();
    browser.user_agent = Some(user_agent);
    browser.log_in("/", username).await;
    browser
}

async fn list(browser: &mut Browser) -> Vec<Value> {
    let page = browser.fetch(Method::GET, "/bff/sessions").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    page.json().as_array().unwrap().clone()
}

/// Their tags, oldest first.
async fn tags(browser: &mut Browser) -> Vec<String> {
    list(browser).await.iter().map(|entry| entry["tag"].as_str().unwrap().to_owned()).collect()
}

async fn tag_of(browser: &mut Browser) -> String {
    browser.user().await["session"]["tag"].as_str().unwrap().to_owned()
}

async fn end(browser: &mut Browser, tag: &str) -> Page {
    browser.fetch(Method::DELETE, &format!("/bff/sessions/{tag}")).await
}

async fn end_others(browser: &mut Browser) -> Page {
    browser.fetch(Method::DELETE, "/bff/sessions?others=true").await
}

/// Answered 204, without a body and without a cookie.
fn assert_done(page: &Page) {
    assert_eq!((page.status, page.text().as_str()), (StatusCode::NO_CONTENT, ""));
    assert_eq!((page.header("set-cookie"), page.header("cache-control")), (None, Some("no-store")));
}

fn assert_no_such_session(page: &Page) {
    assert_eq!((page.status, page.problem().as_str()), (StatusCode::NOT_FOUND, "route-not-found"));
}

async fn is_alive(browser: &mut Browser) -> bool {
    browser.fetch(Method::GET, "/bff/user?slide=false").await.json()["authenticated"] == true
}

// The list.

#[tokio::test]
async fn a_person_sees_all_their_sessions_and_which_one_is_this() {
    let app = TestApp::start().await;
    let mut desk = logged_in_with(&app, "alice", LINUX).await;
    app.clock.advance(SECOND);
    let mut phone = logged_in_with(&app, "alice", PHONE).await;
    logged_in_with(&app, "bob", LINUX).await;
    let listed = list(&mut phone).await;
    let device = |at: usize| listed[at]["device"].as_str().unwrap();
    assert_eq!((listed.len(), device(0), device(1)), (2, "Firefox on Linux", "Chrome on Android"));
    assert_eq!((&listed[0]["current"], &listed[1]["current"]), (&Value::Bool(false), &Value::Bool(true)));
    for (entry, browser) in listed.iter().zip([&mut desk, &mut phone]) {
        let session = browser.user().await["session"].clone();
        assert_eq!((&entry["tag"], &entry["created_at"]), (&session["tag"], &session["created_at"]));
        assert!(entry["last_seen_at"].as_str().unwrap().ends_with('Z'));
        let names: Vec<_> = entry.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["created_at", "current", "device", "last_seen_at", "tag"]);
    }
}

#[tokio::test]
async fn the_list_holds_no_token_no_id_and_no_user_agent() {
    let app = TestApp::start().await;
    let (mut desk, phone) = (logged_in_with(&app, "alice", LINUX).await, logged_in_with(&app, "alice", PHONE).await);
    let text = desk.fetch(Method::GET, "/bff/sessions").await.text();
    let ids = [&desk, &phone].map(|browser| browser.session().unwrap().value.clone());
    let agents = ["Mozilla", "140", "138"].map(str::to_owned);
    for secret in app.provider.issued().into_iter().chain(ids).chain(agents) {
        assert!(!text.contains(&secret), "{secret}");
    }
}

#[tokio::test]
async fn a_browser_that_does_not_say_what_it_is_has_no_name() {
    let app = TestApp::start().await;
    assert_eq!(list(&mut app.logged_in("alice").await).await[0]["device"], Value::Null);
    assert_eq!(list(&mut logged_in_with(&app, "bob", "curl/8.14.1").await).await[0]["device"], Value::Null);
}

#[tokio::test]
async fn a_new_login_brings_its_own_name() {
    let app = TestApp::start().await;
    let mut browser = logged_in_with(&app, "alice", LINUX).await;
    app.clock.advance(SECOND);
    browser.user_agent = Some(PHONE);
    browser.log_in("/", "alice").await;
    let listed = list(&mut browser).await;
    assert_eq!((listed.len(), &listed[0]["device"]), (1, &Value::from("Chrome on Android")), "the first has retired");
}

#[tokio::test]
async fn a_name_survives_an_exchange_of_keys() {
    let [old, new] = [1, 2].map(|byte| MasterKey::from_bytes([byte; 32]).to_base64url().expose().clone());
    let mut app = TestApp::with().variable("CLOAKROOM_KEY", &old).start().await;
    let mut browser = logged_in_with(&app, "alice", LINUX).await;
    let backend = app.backend.clone();
    app.restart(backend.clone(), &format!("{new},{old}")).await;
    assert_eq!(list(&mut browser).await.len(), 1, "found under the older key");
    app.clock.advance(2 * MINUTE);
    assert!(browser.is_logged_in().await);
    app.restart(backend, &new).await;
    let listed = list(&mut browser).await;
    assert_eq!((listed.len(), &listed[0]["device"]), (1, &Value::from("Firefox on Linux")));
}

#[tokio::test]
async fn what_is_past_its_limits_is_not_shown() {
    let app = TestApp::start().await;
    let mut remembering = app.browser();
    let page = remembering.click("/bff/login?remember=true").await;
    remembering.sign_in(&page, "alice").await;
    app.logged_in("alice").await;
    assert_eq!(list(&mut remembering).await.len(), 2);
    app.clock.advance(REMEMBERED / 2);
    assert_eq!(tags(&mut remembering).await, [tag_of(&mut remembering).await], "the other is past its idle limit");
    app.clock.advance(REMEMBERED / 4);
    assert_eq!(list(&mut app.logged_in("alice").await).await.len(), 2);
    app.clock.advance(REMEMBERED / 4);
    let mut last = app.logged_in("alice").await;
    assert_eq!(tags(&mut last).await, [tag_of(&mut last).await], "the first is past its absolute limit");
}

#[tokio::test]
async fn looking_does_not_extend_the_session() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    app.clock.advance(20 * MINUTE);
    list(&mut browser).await;
    assert_done(&end_others(&mut browser).await);
    app.clock.advance(10 * MINUTE);
    assert_eq!(browser.fetch(Method::GET, "/bff/sessions").await.problem(), "session-expired");
}

#[tokio::test]
async fn a_session_too_many_tells_the_oldest_ones_tabs_and_leaves_the_list() {
    let app = TestApp::with().variable("CLOAKROOM__SESSION__MAX_PER_SUBJECT", "2").start().await;
    let mut first = app.logged_in("alice").await;
    let mut events = EventSource::of(&first).await;
    let (mut second, mut third) = (app.logged_in("alice").await, app.logged_in("alice").await);
    assert_eq!(events.ended().await, "limit");
    assert_eq!(tags(&mut third).await, [tag_of(&mut second).await, tag_of(&mut third).await]);
    assert_eq!(first.fetch(Method::GET, "/bff/sessions").await.problem(), "session-expired");
}

// Endings.

#[tokio::test]
async fn one_session_is_ended_from_another_with_all_it_has_open() {
    let app = TestApp::start().await;
    let (mut desk, mut phone) = (app.logged_in("alice").await, app.logged_in("alice").await);
    let mut events = EventSource::of(&phone).await;
    let mut stays = EventSource::of(&desk).await;
    let stream = open_stream(&phone).await;
    let began = Instant::now();
    assert_done(&end(&mut desk, &tag_of(&mut phone).await).await);
    assert_eq!(events.ended().await, "by-user");
    assert!(began.elapsed() < SECOND);
    breaks_off(stream).await;
    assert_eq!(phone.fetch(Method::GET, "/api/x").await.problem(), "session-expired");
    assert!(phone.session().is_some(), "the cookie is left alone");
    assert_eq!(tags(&mut desk).await, [tag_of(&mut desk).await]);
    assert!(app.calls("/revoke").is_empty(), "nobody here can open its refresh token");
    assert!(!app.provider.sids_of("248289761001").is_empty(), "the provider's session lives on");
    app.clock.advance(15 * SECOND);
    stays.beats().await;
}

#[tokio::test]
async fn all_others_are_ended_and_this_one_stays() {
    let app = TestApp::start().await;
    let mut desk = app.logged_in("alice").await;
    let (mut phone, mut tablet) = (app.logged_in("alice").await, app.logged_in("alice").await);
    let mut bob = app.logged_in("bob").await;
    let mut events = [EventSource::of(&phone).await, EventSource::of(&tablet).await];
    assert_done(&end_others(&mut desk).await);
    for events in &mut events {
        assert_eq!(events.ended().await, "by-user");
    }
    assert!(!is_alive(&mut phone).await && !is_alive(&mut tablet).await);
    assert!(is_alive(&mut desk).await && is_alive(&mut bob).await);
    assert_done(&end_others(&mut desk).await);
}

#[tokio::test]
async fn without_a_word_of_others_nothing_ends() {
    let app = TestApp::start().await;
    let (mut desk, mut phone) = (app.logged_in("alice").await, app.logged_in("alice").await);
    for path in ["/bff/sessions", "/bff/sessions?others", "/bff/sessions?others=false", "/bff/sessions?other=true"] {
        let page = desk.fetch(Method::DELETE, path).await;
        assert_eq!((page.status, page.problem().as_str()), (StatusCode::BAD_REQUEST, "selection-invalid"), "{path}");
        assert!(page.text().contains("others=true is missing"), "{}", page.text());
    }
    let page = desk.fetch(Method::PUT, "/bff/sessions?others=true").await;
    assert_eq!((page.status, page.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, Some("GET, HEAD, DELETE")));
    let page = desk.fetch(Method::DELETE, "/bff/sessions/").await;
    assert_eq!(page.problem(), "route-not-found", "a tag that got lost");
    assert!(is_alive(&mut desk).await && is_alive(&mut phone).await);
}

#[tokio::test]
async fn the_session_that_asks_can_end_itself_and_keeps_its_cookie() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let mut events = EventSource::of(&browser).await;
    let tag = tag_of(&mut browser).await;
    assert_done(&end(&mut browser, &tag).await);
    assert_eq!(events.ended().await, "by-user");
    assert!(browser.session().is_some());
    assert_eq!(end(&mut browser, &tag).await.problem(), "session-expired");
}

#[tokio::test]
async fn what_an_ended_session_took_the_place_of_ends_with_it() {
    let app = TestApp::start().await;
    let (mut desk, mut phone) = (app.logged_in("alice").await, app.logged_in("alice").await);
    let mut older_tab = phone.tab();
    app.clock.advance(SECOND);
    phone.log_in("/", "alice").await;
    assert!(is_alive(&mut older_tab).await, "for ten seconds more");
    let stream = open_stream(&older_tab).await;
    assert_done(&end(&mut desk, &tag_of(&mut phone).await).await);
    assert!(!is_alive(&mut older_tab).await && !is_alive(&mut phone).await);
    breaks_off(stream).await;
}

#[tokio::test]
async fn a_replaced_session_that_still_answers_shows_the_one_after_it_and_ends_nothing() {
    let app = TestApp::start().await;
    let (mut desk, mut phone) = (app.logged_in("alice").await, app.logged_in("alice").await);
    let mut older_tab = desk.tab();
    app.clock.advance(SECOND);
    desk.log_in("/", "alice").await;
    let listed = list(&mut older_tab).await;
    let current: Vec<_> = listed.iter().filter(|entry| entry["current"] == true).collect();
    assert_eq!((listed.len(), current.len()), (2, 1));
    assert_eq!(current[0]["tag"], tag_of(&mut desk).await);
    // The session after the next is a stranger to it.
    app.clock.advance(SECOND);
    desk.log_in("/", "alice").await;
    let (desks, phones) = (tag_of(&mut desk).await, tag_of(&mut phone).await);
    for refused in
        [end_others(&mut older_tab).await, end(&mut older_tab, &desks).await, end(&mut older_tab, &phones).await]
    {
        assert_eq!((refused.status, refused.problem().as_str()), (StatusCode::UNAUTHORIZED, "session-expired"));
    }
    assert!(is_alive(&mut desk).await && is_alive(&mut phone).await);
}

#[tokio::test]
async fn two_tabs_that_end_the_same_session_at_once_are_both_answered() {
    let app = TestApp::start().await;
    let (mut desk, mut phone) = (app.logged_in("alice").await, app.logged_in("alice").await);
    let (tag, mut other_tab) = (tag_of(&mut phone).await, desk.tab());
    let (one, two) = tokio::join!(end(&mut desk, &tag), end(&mut other_tab, &tag));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 404]);
    assert!(!is_alive(&mut phone).await);
}

#[tokio::test]
async fn two_sessions_that_end_each_other_are_both_over() {
    let app = TestApp::start().await;
    let (mut desk, mut phone) = (app.logged_in("alice").await, app.logged_in("alice").await);
    let (desks, phones) = (tag_of(&mut desk).await, tag_of(&mut phone).await);
    let (one, two) = tokio::join!(end(&mut desk, &phones), end(&mut phone, &desks));
    for page in [&one, &two] {
        assert!([204, 401].contains(&page.status.as_u16()), "{}", page.text());
    }
    assert!(one.status == StatusCode::NO_CONTENT || two.status == StatusCode::NO_CONTENT);
    assert_eq!(is_alive(&mut phone).await, one.status != StatusCode::NO_CONTENT);
    assert_eq!(is_alive(&mut desk).await, two.status != StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn who_logs_in_again_afterwards_stays() {
    let app = TestApp::start().await;
    let (mut desk, mut phone) = (app.logged_in("alice").await, app.logged_in("alice").await);
    assert_done(&end_others(&mut desk).await);
    phone.log_in("/", "alice").await;
    assert!(is_alive(&mut phone).await);
    assert_eq!(list(&mut desk).await.len(), 2);
}

// Who may not.

#[tokio::test]
async fn nobody_sees_or_ends_somebody_elses_sessions() {
    let app = TestApp::start().await;
    let (mut alice, mut bob) = (app.logged_in("alice").await, app.logged_in("bob").await);
    let tag = tag_of(&mut alice).await;
    assert_eq!(tags(&mut bob).await, [tag_of(&mut bob).await]);
    let theirs = end(&mut bob, &tag).await;
    assert_no_such_session(&theirs);
    let nobodys = end(&mut bob, "0123456789abcdef").await;
    let told = |page: &Page| {
        let mut told = page.json();
        told.as_object_mut().unwrap().remove("request_id").unwrap();
        told
    };
    assert_eq!((nobodys.status, told(&nobodys)), (theirs.status, told(&theirs)), "the same answer");
    assert_done(&end_others(&mut bob).await);
    assert!(is_alive(&mut alice).await);
}

#[tokio::test]
async fn whose_a_tag_is_makes_no_difference_to_the_store() {
    let (app, backend) = flaky(|setup| setup).await;
    let (mut alice, mut bob) = (app.logged_in("alice").await, app.logged_in("bob").await);
    let theirs = tag_of(&mut alice).await;
    let mut calls = Vec::new();
    for tag in [theirs.as_str(), "0123456789abcdef", "..", "%ff", "%00", "0123456789ABCDEF0123456789ABCDEF"] {
        let before = backend.calls();
        assert_eq!(end(&mut bob, tag).await.status, StatusCode::NOT_FOUND, "{tag}");
        calls.push(backend.calls() - before);
    }
    assert_eq!(calls[..2], [2, 2], "the caller's row, and the caller's sessions");
    assert!(is_alive(&mut alice).await);
}

#[tokio::test]
async fn who_is_not_logged_in_is_told_so() {
    let app = TestApp::start().await;
    let mut phone = app.logged_in("alice").await;
    let (tag, mut ended) = (tag_of(&mut phone).await, app.logged_in("alice").await);
    let mut stale = ended.tab();
    ended.fetch(Method::POST, "/bff/logout").await;
    let path = format!("/bff/sessions/{tag}");
    for (method, path) in [
        (Method::GET, "/bff/sessions"),
        (Method::DELETE, "/bff/sessions?others=true"),
        (Method::DELETE, "/bff/sessions"),
        (Method::DELETE, path.as_str()),
    ] {
        for (browser, expected) in [(&mut app.browser(), "not-authenticated"), (&mut stale, "session-expired")] {
            let page = browser.fetch(method.clone(), path).await;
            assert_eq!((page.status, page.problem().as_str()), (StatusCode::UNAUTHORIZED, expected), "{method} {path}");
        }
    }
    assert!(is_alive(&mut phone).await);
}

#[tokio::test]
async fn a_page_of_another_site_learns_and_ends_nothing() {
    let app = TestApp::start().await;
    let (mut desk, mut phone) = (app.logged_in("alice").await, app.logged_in("alice").await);
    let one = format!("/bff/sessions/{}", tag_of(&mut phone).await);
    for (method, path) in
        [(Method::GET, "/bff/sessions"), (Method::DELETE, "/bff/sessions?others=true"), (Method::DELETE, one.as_str())]
    {
        for (headers, expected) in [
            (&[][..], "csrf-header-missing"),
            (&[("x-csrf", "1"), ("sec-fetch-site", "cross-site")], "cross-site-request"),
            (&[("x-csrf", "1"), ("sec-fetch-site", "same-site")], "cross-site-request"),
            (&[("x-csrf", "1"), ("sec-fetch-site", "none")], "cross-site-request"),
            (&[("x-csrf", "1"), ("origin", "https://evil.example")], "cross-site-request"),
            (&[("x-csrf", "1"), ("origin", "null")], "cross-site-request"),
        ] {
            let page = desk.fetch_with(method.clone(), path, headers, Vec::new()).await;
            assert_eq!((page.status, page.problem().as_str()), (StatusCode::FORBIDDEN, expected), "{method} {path}");
        }
    }
    let asked = [("sec-fetch-site", "cross-site"), ("access-control-request-method", "DELETE")];
    let preflight = desk.fetch_with(Method::OPTIONS, &one, &asked, Vec::new()).await;
    assert_eq!((preflight.status, preflight.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, Some("DELETE")));
    assert!(preflight.headers.keys().all(|name| !name.as_str().starts_with("access-control-")));
    assert!(is_alive(&mut desk).await && is_alive(&mut phone).await);
}

#[tokio::test]
async fn other_methods_are_told_which_ones_there_are() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    for (path, allow) in [("/bff/sessions", "GET, HEAD, DELETE"), ("/bff/sessions/0123456789abcdef", "DELETE")] {
        let page = browser.fetch(Method::POST, path).await;
        assert_eq!((page.status, page.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, Some(allow)), "{path}");
    }
    let head = browser.fetch(Method::HEAD, "/bff/sessions").await;
    assert_eq!((head.status, head.text().as_str()), (StatusCode::OK, ""));
}

#[tokio::test]
async fn two_frontends_with_one_registration_do_not_mix() {
    let setup = TestApp::with().client(|client| {
        let redirect = client.redirect_uris[0].replace("/bff/", "/admin/bff/");
        client.redirect_uris.push(redirect);
    });
    let app = setup
        .variable("CLOAKROOM__FRONTENDS__ADMIN__URL", "{url}/admin/")
        .variable("CLOAKROOM__FRONTENDS__ADMIN__CLIENT_ID", "shop")
        .variable("CLOAKROOM__FRONTENDS__ADMIN__CLIENT_AUTH__SECRET", "a secret of the shop")
        .start()
        .await;
    let (mut shop, mut admin) = (app.logged_in("alice").await, app.browser());
    let page = admin.click("/admin/bff/login").await;
    admin.sign_in(&page, "alice").await;
    let listed = admin.fetch(Method::GET, "/admin/bff/sessions").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    let admins = listed[0]["tag"].as_str().unwrap();
    assert_eq!(tags(&mut shop).await, [tag_of(&mut shop).await]);
    assert_no_such_session(&end(&mut shop, admins).await);
    assert_done(&end_others(&mut shop).await);
    assert_done(&admin.fetch(Method::DELETE, "/admin/bff/sessions?others=true").await);
    assert!(is_alive(&mut shop).await);
    assert_eq!(admin.fetch(Method::GET, "/admin/bff/user").await.json()["authenticated"], true);
}

// Outages, and an embedder.

#[tokio::test]
async fn while_the_store_is_down_nobody_knows_and_nothing_ends() {
    let (app, backend) = flaky(|setup| setup.variable("CLOAKROOM__STORE__TIMEOUT", "100ms")).await;
    let (mut desk, mut phone) = (app.logged_in("alice").await, app.logged_in("alice").await);
    let tag = tag_of(&mut phone).await;
    backend.set(Outage::Unavailable);
    for page in [
        desk.fetch(Method::GET, "/bff/sessions").await,
        end(&mut desk, &tag).await,
        end(&mut desk, "0123456789abcdef").await,
        end_others(&mut desk).await,
    ] {
        assert_eq!((page.status, page.problem().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));
        assert_eq!((page.header("retry-after"), page.header("set-cookie")), (Some("2"), None));
    }
    backend.set(Outage::None);
    let back = timeout(PATIENCE, async {
        while desk.fetch(Method::GET, "/bff/sessions").await.status != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    });
    back.await.expect("the store is back");
    assert_eq!(list(&mut desk).await.len(), 2);
}

#[tokio::test]
async fn an_embedders_handler_does_not_know_an_ended_session() {
    async fn hello(user: UserSession) -> String {
        format!("hello {}", user.subject())
    }
    let app = TestApp::with().handlers(Router::new().route("/hello", get(hello))).start().await;
    let (mut desk, mut phone) = (app.logged_in("alice").await, app.logged_in("alice").await);
    assert_eq!(phone.fetch(Method::GET, "/hello").await.status, StatusCode::OK);
    assert_done(&end_others(&mut desk).await);
    assert_eq!(phone.fetch(Method::GET, "/hello").await.problem(), "session-expired");
}

/// An app over a store that can fail and counts its calls.
async fn flaky(setup: impl FnOnce(Setup) -> Setup) -> (TestApp, Arc<FlakyBackend>) {
    let backend = Arc::new(FlakyBackend::new(Arc::new(MemoryBackend::new())));
    (setup(TestApp::with().backend(backend.clone())).start().await, backend)
}

/// An answer of the API that does not end by itself, and is old enough to be followed.
async fn open_stream(browser: &Browser) -> reqwest::Response {
    let request = browser.http.get(browser.at("/api/sse?count=100000&ms=100")).header("x-csrf", "1");
    let cookies = browser.cookies.header(&browser.home, true).unwrap();
    let mut answer = request.header(header::COOKIE, cookies).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    for _ in 0..13 {
        assert!(timeout(PATIENCE, answer.chunk()).await.expect("it goes on").unwrap().is_some());
    }
    answer
}

async fn breaks_off(mut stream: reqwest::Response) {
    let breaking = async {
        while let Ok(piece) = stream.chunk().await {
            assert!(piece.is_some(), "it looks complete");
        }
    };
    timeout(PATIENCE, breaking).await.expect("it breaks off");
}
