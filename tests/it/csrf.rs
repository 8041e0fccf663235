//! What other sites may have a browser do: nothing.

use http::{Method, StatusCode};

use crate::support::TestApp;

/// What a browser says of a request that another page makes. `same-site` is a sibling subdomain, which gets the Strict cookie.
const STRANGERS: [(&str, &str); 4] = [
    ("cross-site", "https://evil.example"),
    ("same-site", "http://sibling.localhost:1"),
    ("same-site", "http://localhost:1"),
    ("cross-site", "null"),
];

#[tokio::test]
async fn no_method_from_another_site_reaches_an_api_or_our_data() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    for path in ["/api/x", "/bff/user", "/bff/logout"] {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            for (site, origin) in STRANGERS {
                for csrf in ["", "1"] {
                    let headers = [("sec-fetch-site", site), ("origin", origin), ("x-csrf", csrf)];
                    let answer = browser.fetch_with(method.clone(), path, &headers, Vec::new()).await;
                    assert!(!answer.status.is_success(), "{method} {path} from {site} {origin}: {}", answer.status);
                }
            }
        }
    }
    assert!(app.api_saw().is_empty());
    assert!(browser.is_logged_in().await);
}

#[tokio::test]
async fn a_call_without_the_header_is_told_which_one() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    for path in ["/api/x", "/bff/user"] {
        let answer = browser.fetch_with(Method::GET, path, &[], Vec::new()).await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::FORBIDDEN, "csrf-header-missing"));
        assert!(answer.text().contains("x-csrf"));
    }
    assert!(app.api_saw().is_empty());
}

#[tokio::test]
async fn a_preflight_gets_no_permission_and_reaches_no_upstream() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    for path in ["/api/x", "/bff/user", "/bff/logout", "/bff/login", "/", "/app.js"] {
        let headers = [
            ("origin", "https://evil.example"),
            ("sec-fetch-site", "cross-site"),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "x-csrf"),
        ];
        let answer = browser.fetch_with(Method::OPTIONS, path, &headers, Vec::new()).await;
        assert!(!answer.status.is_success(), "{path}: {}", answer.status);
        assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control")), "{path}");
    }
    assert!(app.api_saw().is_empty());
}

#[tokio::test]
async fn prefetch_prerender_fetch_and_frames_log_nobody_in_or_out() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let logout = browser.user().await["logout_url"].as_str().unwrap().to_owned();
    let callback = app.browser().callback_url("/", "alice").await;
    let cases = [
        [("sec-fetch-mode", "navigate"), ("sec-purpose", "prefetch")],
        [("sec-fetch-mode", "navigate"), ("sec-purpose", "prefetch;prerender")],
        [("sec-fetch-mode", "navigate"), ("purpose", "prefetch")],
        [("sec-fetch-mode", "cors"), ("accept", "*/*")],
        [("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")],
    ];
    for headers in cases {
        for path in ["/bff/login", &logout, &callback, &format!("{callback}&hop=1")] {
            let answer = browser.fetch_with(Method::GET, path, &headers, Vec::new()).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{headers:?}");
            assert!(answer.text().contains("login-needs-navigation") && answer.header("set-cookie").is_none());
        }
    }
    let framed = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
    assert_eq!(
        browser.fetch_with(Method::GET, "/bff/login", &framed, Vec::new()).await.status,
        StatusCode::BAD_REQUEST
    );
    assert!(browser.is_logged_in().await);
}

#[tokio::test]
async fn a_route_by_origin_takes_images_and_forms_of_ours_alone() {
    let app =
        TestApp::with().route("path = '/files'\ncsrf = 'origin'\ncsrf_reason = 'downloads are links'").start().await;
    let mut browser = app.logged_in("alice").await;
    let image = [("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")];
    let answer = browser.fetch_with(Method::GET, "/files/1", &image, Vec::new()).await;
    assert_eq!((answer.status, answer.header("content-security-policy")), (StatusCode::OK, Some("sandbox")));
    assert_eq!(browser.post_form("/files/1", &[("a", "b")]).await.status, StatusCode::OK);
    let seen = app.api_saw().len();
    for (site, origin) in STRANGERS {
        for method in [Method::GET, Method::POST] {
            let headers = [("sec-fetch-site", site), ("origin", origin)];
            assert_eq!(
                browser.fetch_with(method, "/files/1", &headers, Vec::new()).await.problem(),
                "cross-site-request"
            );
        }
    }
    assert_eq!(app.api_saw().len(), seen);
}

#[tokio::test]
async fn another_host_is_misdirected() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    for host in ["evil.example", "127.0.0.1:1", "localhost", "localhost:1"] {
        for path in ["/", "/bff/user", "/api/x", "/bff/login"] {
            let answer = browser.fetch_with(Method::GET, path, &[("host", host), ("x-csrf", "1")], Vec::new()).await;
            assert_eq!(
                (answer.status, answer.problem().as_str()),
                (StatusCode::MISDIRECTED_REQUEST, "misdirected-request"),
                "{host}{path}"
            );
            assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{host}{path}");
        }
    }
    assert!(app.api_saw().is_empty());
}

#[tokio::test]
async fn every_answer_of_ours_is_private_to_this_moment() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    for path in [
        "/bff/user",
        "/bff/login",
        "/bff/callback",
        "/bff/logout",
        "/bff/backchannel-logout",
        "/bff/logged-out",
        "/bff/problems/internal",
        "/bff/nothing",
    ] {
        let answer = browser.fetch(Method::GET, path).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
    }
}

#[tokio::test]
async fn other_methods_are_405_and_say_which_are_allowed() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    for (path, allow) in [
        ("/bff/user", "GET, HEAD"),
        ("/bff/login", "GET, POST"),
        ("/bff/logout", "GET, POST"),
        ("/bff/backchannel-logout", "POST"),
        ("/bff/logged-out", "GET, HEAD"),
    ] {
        let answer = browser.fetch(Method::DELETE, path).await;
        assert_eq!((answer.problem().as_str(), answer.header("allow")), ("method-not-allowed", Some(allow)), "{path}");
    }
}
