//! `GET /bff/cloakroom.js`: what a page loads. What it does there is tried in a browser (`tests/e2e/module.spec.mjs`).

use http::{Method, StatusCode};

use crate::support::TestApp;

#[tokio::test]
async fn the_module_is_a_script_for_everybody() {
    let app = TestApp::start().await;
    let answer = app.browser().fetch_with(Method::GET, "/bff/cloakroom.js", &[], Vec::new()).await;
    assert_eq!(answer.status, StatusCode::OK);
    for (name, value) in [
        ("content-type", "text/javascript; charset=utf-8"),
        ("cache-control", "no-cache"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(answer.header(name), Some(value));
    }
    assert!(answer.text().contains("const HEADER = \"x-csrf\";"));
    let types = app.browser().fetch_with(Method::GET, "/bff/cloakroom.d.ts", &[], Vec::new()).await;
    assert_eq!(types.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(types.text().contains("export function onSession"));
}

#[tokio::test]
async fn the_module_is_sent_once_and_only_read() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let first = browser.fetch(Method::GET, "/bff/cloakroom.js").await;
    let etag = first.header("etag").unwrap();
    let again = browser.fetch_with(Method::GET, "/bff/cloakroom.js", &[("if-none-match", etag)], Vec::new()).await;
    assert_eq!((again.status, again.text().as_str()), (StatusCode::NOT_MODIFIED, ""));
    let head = browser.fetch(Method::HEAD, "/bff/cloakroom.js").await;
    assert_eq!((head.status, head.text().as_str()), (StatusCode::OK, ""));
    let post = browser.fetch(Method::POST, "/bff/cloakroom.js").await;
    assert_eq!((post.status, post.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, Some("GET, HEAD")));
}

#[tokio::test]
async fn the_module_sends_the_header_that_is_configured() {
    let app = TestApp::with().variable("CLOAKROOM__FRONTENDS__DEFAULT__CSRF_HEADER", "X-It's-Ours").start().await;
    let module = app.browser().fetch(Method::GET, "/bff/cloakroom.js").await.text();
    assert!(module.contains("const HEADER = \"x-it's-ours\";"));
    assert!(!module.contains("x-csrf"));
}
