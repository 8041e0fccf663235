//! What operators see and end by the admin listener, and who is none.

#[cfg(unix)]
mod command;
#[cfg(unix)]
mod socket;

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use cloakroom::app::Exchanged;
use cloakroom::store::{FlakyBackend, MemoryBackend, Outage};
use http::{HeaderMap, Method, Request, StatusCode, header};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use url::form_urlencoded;

use crate::support::app::Setup;
use crate::support::{Browser, EventSource, TestApp, logs};

const ALICE: &str = "248289761001";
const TOKEN: &str = "a-token-of-operators-0123456789abcdef";
const BEARER: &str = "Bearer a-token-of-operators-0123456789abcdef";

/// Operators are known by a token.
fn with_token() -> Setup {
    TestApp::with().variable("CLOAKROOM_ADMIN_TOKEN", TOKEN)
}

/// An answer of the admin listener.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    /// What was ended.
    fn ended(&self) -> u64 {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        self.body["ended"].as_u64().unwrap()
    }

    /// The status and the last part of the problem's type.
    fn problem(&self) -> (u16, &str) {
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json", "{}", self.body);
        (self.status.as_u16(), self.body["type"].as_str().unwrap().rsplit('/').next().unwrap())
    }
}

/// A request over TCP with these headers.
async fn ask_with(app: &TestApp, method: Method, query: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(format!("/sessions?{query}"));
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "localhost:9090");
    }
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let Ok(answer) = app.admin_router().oneshot(request.body(Body::empty()).unwrap()).await;
    let (parts, body) = answer.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Answer { status: parts.status, headers: parts.headers, body }
}

/// The same by an operator.
async fn ask(app: &TestApp, method: Method, query: &str) -> Answer {
    ask_with(app, method, query, &[("authorization", BEARER)]).await
}

async fn log_in_at_admin(app: &TestApp, username: &str) -> Browser {
    let mut browser = app.browser();
    let page = browser.click("/admin/bff/login").await;
    browser.sign_in(&page, username).await;
    browser
}

async fn is_logged_in_at_admin(browser: &mut Browser) -> bool {
    browser.fetch(Method::GET, "/admin/bff/user").await.json()["authenticated"] == true
}

// Finding and ending.

#[tokio::test]
async fn an_operator_sees_a_subjects_sessions_at_every_frontend() {
    let app = with_token().second_frontend().start().await;
    let mut alice = app.logged_in("alice").await;
    let sid = app.provider.sids_of(ALICE).remove(0);
    app.clock.advance(std::time::Duration::from_secs(1));
    let mut remembered = app.browser();
    let page = remembered.click("/bff/login?remember=true").await;
    remembered.sign_in(&page, "alice").await;
    log_in_at_admin(&app, "alice").await;
    app.logged_in("bob").await;

    let all = ask(&app, Method::GET, &format!("sub={ALICE}")).await;
    assert_eq!((all.status, &all.headers[header::CACHE_CONTROL]), (StatusCode::OK, &"no-store".parse().unwrap()));
    let listed = all.body.as_array().unwrap();
    let frontends: Vec<_> = listed.iter().map(|one| one["frontend"].as_str().unwrap()).collect();
    assert_eq!(frontends, ["admin", "default", "default"]);
    let session = alice.user().await["session"].clone();
    let keys: Vec<_> = listed[1].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["created_at", "device", "frontend", "last_seen_at", "remembered", "tag"]);
    assert_eq!((&listed[1]["tag"], &listed[1]["created_at"]), (&session["tag"], &session["created_at"]));
    assert_eq!((&listed[1]["remembered"], &listed[2]["remembered"]), (&json!(false), &json!(true)));

    let narrowed = ask(&app, Method::GET, &format!("sub={ALICE}&frontend=admin")).await.body;
    assert_eq!(narrowed, json!([listed[0]]));
    assert_eq!(ask(&app, Method::GET, "sub=nobody").await.body, json!([]));
    assert_eq!(ask(&app, Method::GET, &format!("sid={sid}")).await.body, json!([listed[1]]));
}

#[tokio::test]
async fn an_operator_ends_sessions_and_their_tabs_hear_of_it() {
    let app = with_token().start().await;
    let mut alice = app.logged_in("alice").await;
    let mut bob = app.logged_in("bob").await;
    let mut events = EventSource::of(&alice).await;
    assert_eq!(ask(&app, Method::DELETE, &format!("sub={ALICE}")).await.ended(), 1);
    assert_eq!(events.ended().await, "admin");
    assert_eq!(alice.fetch(Method::GET, "/api/x").await.problem(), "session-expired");
    assert!(bob.is_logged_in().await);
    assert_eq!(ask(&app, Method::DELETE, &format!("sub={ALICE}")).await.ended(), 0);
    let mut again = app.logged_in("alice").await;
    assert!(again.is_logged_in().await, "a login afterwards is a new session");
}

#[tokio::test]
async fn a_tag_names_one_session_and_a_sid_those_of_one_session_at_the_provider() {
    let app = with_token().start().await;
    let mut one = app.logged_in("alice").await;
    let mut other = app.logged_in("alice").await;
    let tag = one.user().await["session"]["tag"].as_str().unwrap().to_owned();
    assert_eq!(ask(&app, Method::DELETE, &format!("tag={tag}")).await.ended(), 1);
    assert!(!one.is_logged_in().await && other.is_logged_in().await);
    assert_eq!(ask(&app, Method::DELETE, &format!("tag={tag}")).await.ended(), 0);
    for sid in app.provider.sids_of(ALICE) {
        ask(&app, Method::DELETE, &format!("sid={sid}")).await.ended();
    }
    assert!(!other.is_logged_in().await);
}

#[tokio::test]
async fn ending_at_one_frontend_leaves_the_other_alone() {
    let app = with_token().second_frontend().start().await;
    let mut alice = app.logged_in("alice").await;
    let tag = alice.user().await["session"]["tag"].as_str().unwrap().to_owned();
    let mut alice_at_admin = log_in_at_admin(&app, "alice").await;
    let mut bob_at_admin = log_in_at_admin(&app, "bob").await;
    assert_eq!(ask(&app, Method::DELETE, &format!("tag={tag}&frontend=admin")).await.ended(), 0);
    assert_eq!(ask(&app, Method::DELETE, &format!("sub={ALICE}&frontend=admin")).await.ended(), 1);
    assert!(!is_logged_in_at_admin(&mut alice_at_admin).await && alice.is_logged_in().await);
    assert_eq!(ask(&app, Method::DELETE, "all=true&frontend=admin").await.ended(), 1);
    assert!(!is_logged_in_at_admin(&mut bob_at_admin).await && alice.is_logged_in().await);
    let issuer: String = form_urlencoded::byte_serialize(app.provider.issuer().as_bytes()).collect();
    assert_eq!(ask(&app, Method::DELETE, &format!("sub={ALICE}&issuer={issuer}")).await.ended(), 1);
    assert!(!alice.is_logged_in().await);
}

#[tokio::test]
async fn a_query_that_is_not_clear_ends_nobodys_session() {
    let app = with_token().start().await;
    let mut alice = app.logged_in("alice").await;
    for query in [
        "",
        "sub=",
        "sub",
        "sub=&all=true",
        "all=false",
        "all",
        "all=true&all=true",
        "all=true&frontend=",
        "all=true&frontend=shop",
        "all=true&issuer=https%3A%2F%2Felsewhere.example",
        "sub=248289761001&sub=248289761001",
        "sub=248289761001&sid=x",
        "sub=248289761001&dry_run=true",
        "frontend=default",
    ] {
        let answer = ask(&app, Method::DELETE, query).await;
        assert_eq!(answer.problem(), (400, "selection-invalid"), "{query}");
    }
    assert!(alice.is_logged_in().await);
    let detail = ask(&app, Method::DELETE, "all=true&frontend=shop").await.body["detail"].take();
    assert!(detail.as_str().unwrap().contains("there is default (http"), "{detail}");
    for query in ["all=true", "tag=0123456789abcdef", ""] {
        assert_eq!(ask(&app, Method::GET, query).await.problem(), (400, "selection-invalid"), "GET {query}");
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_no_answer() {
    let store = Arc::new(FlakyBackend::new(Arc::new(MemoryBackend::new())));
    let app = with_token().backend(store.clone()).start().await;
    let mut alice = app.logged_in("alice").await;
    store.set(Outage::Unavailable);
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(ask(&app, method, &format!("sub={ALICE}")).await.problem(), (503, "unavailable"));
    }
    store.set(Outage::None);
    assert!(alice.is_logged_in().await);
}

// Who is no operator.

#[tokio::test]
async fn without_a_token_operators_have_no_verbs_over_tcp() {
    let app = TestApp::start().await;
    let mut alice = app.logged_in("alice").await;
    for headers in [&[][..], &[("authorization", BEARER)], &[("authorization", "Bearer ")]] {
        for method in [Method::GET, Method::DELETE, Method::OPTIONS] {
            let answer = ask_with(&app, method, "all=true", headers).await;
            assert_eq!(answer.problem(), (404, "route-not-found"));
        }
    }
    assert!(alice.is_logged_in().await);
    assert_eq!(app.ask_admin("/healthz").await.0, StatusCode::OK);
}

#[tokio::test]
async fn who_has_not_the_token_ends_nothing_and_is_counted() {
    const GUESS: &str = "a-guess-at-the-token-of-operators-42";
    let recorder = PrometheusBuilder::new().build_recorder();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let handle = recorder.handle();
    let app = with_token().metrics(move || handle.render()).start().await;
    let mut alice = app.logged_in("alice").await;
    let guess = format!("Bearer {GUESS}");
    let almost = &BEARER[..BEARER.len() - 1];
    for value in [guess.as_str(), almost, TOKEN, "Basic YTpi", "Bearer", ""] {
        for method in [Method::GET, Method::DELETE, Method::OPTIONS, Method::POST] {
            let headers: &[_] = if value.is_empty() { &[] } else { &[("authorization", value)] };
            let answer = ask_with(&app, method, "all=true", headers).await;
            assert_eq!(answer.problem(), (401, "admin-token-needed"), "{value}");
            assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Bearer");
            assert_eq!(answer.body["login_url"], Value::Null, "nobody becomes an operator by logging in");
        }
    }
    let twice = [("authorization", BEARER), ("authorization", guess.as_str())];
    assert_eq!(ask_with(&app, Method::DELETE, "all=true", &twice).await.status, 401);
    assert!(alice.is_logged_in().await);
    let (_, metrics) = app.ask_admin("/metrics").await;
    for series in ["{reason=\"wrong-token\"} 8", "{reason=\"no-token\"} 17"] {
        assert!(metrics.contains(&format!("cloakroom_admin_refused_total{series}\n")), "{metrics}");
    }
    assert!(logs::count(&["an admin request was refused", "why=\"wrong-token\""]) > 0);
    logs::assert_holds_none_of([TOKEN, GUESS].map(|token| ("a token of operators".to_owned(), token.to_owned())));
}

#[tokio::test]
async fn no_page_in_a_browser_is_an_operator() {
    let app = with_token().start().await;
    let mut alice = app.logged_in("alice").await;
    let page = [
        [("authorization", BEARER), ("origin", "https://evil.example")],
        [("authorization", BEARER), ("origin", "null")],
        [("authorization", BEARER), ("sec-fetch-site", "cross-site")],
        [("authorization", BEARER), ("sec-fetch-site", "same-origin")],
        [("authorization", BEARER), ("sec-fetch-site", "none")],
    ];
    for headers in page {
        for method in [Method::GET, Method::DELETE, Method::OPTIONS] {
            let answer = ask_with(&app, method, "all=true", &headers).await;
            assert_eq!(answer.problem(), (403, "cross-site-request"), "{headers:?}");
            assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control")), "{headers:?}");
        }
    }
    let rebound = [("authorization", BEARER), ("host", "evil.example:9090")];
    let answer = ask_with(&app, Method::DELETE, "all=true", &rebound).await;
    assert_eq!(answer.problem(), (421, "misdirected-request"));
    assert!(alice.is_logged_in().await);
}

#[tokio::test]
async fn other_methods_are_told_which_there_are() {
    let app = with_token().start().await;
    for method in [Method::POST, Method::PUT, Method::OPTIONS] {
        let answer = ask(&app, method, "all=true").await;
        assert_eq!(answer.problem(), (405, "method-not-allowed"));
        assert_eq!(answer.headers[header::ALLOW], "DELETE, GET, HEAD");
    }
}

#[tokio::test]
async fn a_token_is_exchanged_while_everything_runs() {
    let newer = TOKEN.replace("0123", "4567");
    let mut app = with_token().start().await;
    let reloaded = app.reload("CLOAKROOM_ADMIN_TOKEN", &newer).unwrap();
    assert_eq!((reloaded.exchanged, reloaded.needs_restart), (vec![Exchanged::AdminToken], vec![]));
    assert_eq!(ask(&app, Method::GET, "sub=x").await.status, 401);
    let newer = format!("Bearer {newer}");
    let answer = ask_with(&app, Method::GET, "sub=x", &[("authorization", &newer)]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(app.reload("CLOAKROOM_LOG_LEVEL", "info").unwrap().exchanged.is_empty());
}
