//! Calls to APIs: with the session's token, and with nothing else of the browser's.

use std::time::Duration;

use http::{Method, StatusCode};

use crate::support::TestApp;

#[tokio::test]
async fn a_call_carries_the_token_and_no_cookie() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let answer = browser.fetch_with(
        Method::POST,
        "/api/orders/7?x=1",
        &[("x-csrf", "1"), ("authorization", "Bearer mine")],
        b"{}".to_vec(),
    );
    let answer = answer.await;
    assert_eq!(answer.status, StatusCode::OK);
    let seen = app.api_saw().pop().unwrap();
    assert_eq!((seen.method, seen.uri.to_string()), (Method::POST, "/orders/7?x=1".to_owned()));
    let token = seen.headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
    assert_eq!(app.provider.subject_of(&token).as_deref(), Some("248289761001"));
    assert!(!seen.headers.contains_key("cookie") && !seen.headers.contains_key("x-csrf"));
    assert_eq!(seen.headers["x-forwarded-proto"], "http");
    assert!(!answer.text().contains(&token));
}

#[tokio::test]
async fn no_answer_to_a_script_holds_a_token() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let issued = app.provider.issued();
    for (method, path) in
        [(Method::GET, "/bff/user"), (Method::GET, "/api/x"), (Method::POST, "/bff/logout"), (Method::GET, "/bff/user")]
    {
        let page = browser.fetch(method, path).await;
        let head = format!("{:?}", page.headers);
        for secret in &issued {
            assert!(!page.text().contains(secret) && !head.contains(secret), "{path} holds a token");
        }
    }
}

#[tokio::test]
async fn a_call_without_session_is_401_and_no_redirect() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let answer = browser.fetch(Method::GET, "/api/x").await;
    assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::UNAUTHORIZED, "not-authenticated"));
    assert_eq!(answer.json()["login_url"], "/bff/login");
    assert_eq!(answer.json()["type"], format!("{}/bff/problems/not-authenticated", app.url));
    assert!(app.api_saw().is_empty());
    let explained = browser.open("/bff/problems/not-authenticated").await;
    assert_eq!(explained.status, StatusCode::OK);
}

#[tokio::test]
async fn a_dead_session_is_401_and_its_cookie_is_left_alone() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    app.clock.advance(Duration::from_mins(30));
    let answer = browser.fetch(Method::GET, "/api/x").await;
    assert_eq!(answer.problem(), "session-expired");
    assert!(answer.header("set-cookie").is_none());
    assert!(browser.session().is_some());
}

#[tokio::test]
async fn optional_routes_are_anonymous_without_and_never_with_a_dead_session() {
    let app = TestApp::with().route("path = '/open'\ntoken = 'optional'").start().await;
    let mut browser = app.browser();
    assert_eq!(browser.fetch(Method::GET, "/open/x").await.status, StatusCode::OK);
    assert!(!app.api_saw().pop().unwrap().headers.contains_key("authorization"));
    browser.log_in("/", "alice").await;
    let answer = browser.fetch(Method::GET, "/open/x").await;
    assert!(app.api_saw().pop().unwrap().headers.contains_key("authorization"));
    assert!(answer.header("cache-control").unwrap().contains("no-store"));
    app.clock.advance(Duration::from_mins(30));
    let before = app.api_saw().len();
    assert_eq!(browser.fetch(Method::GET, "/open/x").await.problem(), "session-expired");
    assert_eq!(app.api_saw().len(), before);
}

#[tokio::test]
async fn a_route_without_token_sends_none_and_may_still_need_a_session() {
    let app = TestApp::with()
        .route("path = '/public'\ntoken = 'none'")
        .route("path = '/members'\ntoken = 'none'\nsession = 'required'")
        .start()
        .await;
    let mut browser = app.browser();
    assert_eq!(browser.fetch(Method::GET, "/public").await.status, StatusCode::OK);
    assert_eq!(browser.fetch(Method::GET, "/members").await.problem(), "not-authenticated");
    browser.log_in("/", "alice").await;
    assert_eq!(browser.fetch(Method::GET, "/members").await.status, StatusCode::OK);
    assert!(app.api_saw().iter().all(|seen| !seen.headers.contains_key("authorization")));
}

#[tokio::test]
async fn the_longest_route_wins_and_other_paths_are_files() {
    let app = TestApp::with()
        .route("path = '/api'\ntoken = 'none'")
        .route("path = '/api/orders'\ntoken = 'none'\nmethods = ['GET']\nupstream = '{api}/v1'")
        .start()
        .await;
    let mut browser = app.browser();
    let where_to = async |browser: &mut crate::support::Browser, path: &str| {
        browser.fetch(Method::GET, path).await;
        app.api_saw().pop().unwrap().uri.to_string()
    };
    assert_eq!(where_to(&mut browser, "/api/orders/7?x=1").await, "/v1/7?x=1");
    assert_eq!(where_to(&mut browser, "/api/ordersx").await, "/ordersx");
    let refused = browser.fetch(Method::POST, "/api/orders").await;
    assert_eq!((refused.problem().as_str(), refused.header("allow")), ("method-not-allowed", Some("GET, HEAD")));
    let seen = app.api_saw().len();
    assert_eq!(browser.fetch(Method::POST, "/apix").await.problem(), "method-not-allowed");
    assert_eq!(app.api_saw().len(), seen);
}

#[tokio::test]
async fn a_path_cannot_leave_its_route() {
    let app = TestApp::with().route("path = '/api'\nupstream = '{api}/v1'").start().await;
    let mut browser = app.logged_in("alice").await;
    for path in ["/api/..%2fx", "/api/a%5cb", "/api//x", "/api/%252e%252e/x", "/api/%00"] {
        let answer = browser.fetch(Method::GET, path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::BAD_REQUEST, "path-not-allowed"), "{path}");
    }
    assert!(app.api_saw().is_empty());
}

#[tokio::test]
async fn worker_scripts_do_not_come_from_an_api() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    for (name, value) in [
        ("service-worker", "script"),
        ("sec-fetch-dest", "serviceworker"),
        ("sec-fetch-dest", "sharedworker"),
        ("sec-fetch-dest", "worker"),
    ] {
        let answer = browser.fetch_with(Method::GET, "/api/sw.js", &[("x-csrf", "1"), (name, value)], Vec::new()).await;
        assert_eq!(answer.problem(), "worker-script-refused", "{name}");
    }
    assert!(app.api_saw().is_empty());
}

#[tokio::test]
async fn an_upstream_cannot_speak_for_us() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let query = "set-cookie=a%3Db&access-control-allow-origin=*&clear-site-data=%22cookies%22&refresh=0&strict-transport-security=x&cache-control=public,max-age=60&x-fine=1";
    let answer = browser.fetch(Method::GET, &format!("/api/status/200?{query}")).await;
    assert_eq!(answer.header("x-fine"), Some("1"));
    for name in ["set-cookie", "access-control-allow-origin", "clear-site-data", "refresh", "strict-transport-security"]
    {
        assert!(answer.header(name).is_none(), "{name}");
    }
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    let caching = answer.header("cache-control").unwrap();
    assert!(caching.contains("private") && !caching.contains("public"), "{caching}");
    assert!(answer.header("vary").unwrap().to_lowercase().contains("cookie"));
}

#[tokio::test]
async fn a_redirect_of_an_upstream_is_relayed_and_never_followed() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let answer = browser.fetch(Method::GET, "/api/redirect?to=https%3A%2F%2Fevil.example%2F").await;
    assert!(answer.status.is_redirection());
    assert_eq!(answer.header("location"), Some("https://evil.example/"));
    assert_eq!(app.api_saw().len(), 1);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let app = TestApp::with().route("path = '/api'\nmax_body = '1KiB'").start().await;
    let mut browser = app.logged_in("alice").await;
    let answer = browser.fetch_with(Method::POST, "/api/x", &[("x-csrf", "1")], vec![b'x'; 1025]).await;
    assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large"));
    assert_eq!(
        browser.fetch_with(Method::POST, "/api/x", &[("x-csrf", "1")], vec![b'x'; 1024]).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn an_upstream_that_is_down_or_slow_says_so() {
    let app = TestApp::with().route("path = '/api'\ntimeout = '50ms'").start().await;
    let mut browser = app.logged_in("alice").await;
    let slow = browser.fetch(Method::GET, "/api/slow?ms=2000").await;
    assert_eq!((slow.status, slow.problem().as_str()), (StatusCode::GATEWAY_TIMEOUT, "upstream-timeout"));
    app.api.stop().await;
    let down = browser.fetch(Method::GET, "/api/x").await;
    assert_eq!((down.status, down.problem().as_str()), (StatusCode::BAD_GATEWAY, "upstream-unavailable"));
    assert!(browser.is_logged_in().await);
}

#[tokio::test]
async fn a_due_token_is_renewed_once_for_many_calls_and_rotated() {
    let app = TestApp::start().await;
    let browser = app.logged_in("alice").await;
    for round in 1..=3 {
        app.clock.advance(Duration::from_secs(241));
        let mut tabs: Vec<_> = (0..40).map(|_| browser.tab()).collect();
        let answers =
            futures_util::future::join_all(tabs.iter_mut().map(|tab| tab.fetch(Method::GET, "/api/me"))).await;
        assert!(answers.iter().all(|answer| answer.status == StatusCode::OK));
        assert_eq!(app.grants("refresh_token"), round);
    }
}

#[tokio::test]
async fn the_spa_is_served_with_its_index_and_right_caching() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    for path in ["/", "/orders/7", "/index.html"] {
        let page = browser.open(path).await;
        assert_eq!((page.status, page.header("cache-control")), (StatusCode::OK, Some("no-cache")), "{path}");
        assert!(page.text().contains("<title>shop</title>"));
    }
    let missing = browser.open("/missing.js").await;
    assert_eq!((missing.status, missing.page_slug().as_str()), (StatusCode::NOT_FOUND, "route-not-found"));
    let script = browser.open("/app.js").await;
    let etag = script.header("etag").unwrap().to_owned();
    let again = browser.fetch_with(Method::GET, "/app.js", &[("if-none-match", &etag)], Vec::new()).await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
    assert_eq!(browser.fetch(Method::GET, "/bff/nothing").await.problem(), "route-not-found");
}
