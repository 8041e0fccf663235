//! A page of the provider says in the browser that somebody has logged out: `GET /bff/frontchannel-logout`.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::demo::faults::{Endpoint, Fault, Outage};
use cloakroom::demo::{Demo, DemoOptions};
use cloakroom::store::{self, FlakyBackend, MemoryBackend};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use url::{Url, form_urlencoded};

use crate::support::app::Setup;
use crate::support::{Browser, EventSource, Page, TestApp, client};

const ALICE: &str = "248289761001";

/// Registered for front-channel logout alone.
fn setup() -> Setup {
    TestApp::with().variable("CLOAKROOM__FRONTENDS__DEFAULT__FRONTCHANNEL_LOGOUT", "true").client(|client| {
        let callback = Url::parse(&client.redirect_uris[0]).unwrap();
        client.frontchannel_logout_uri = Some(callback.join("frontchannel-logout").unwrap().into());
        client.backchannel_logout_uri = None;
    })
}

async fn start() -> TestApp {
    setup().start().await
}

/// The one session at the provider that alice has.
fn only_sid(app: &TestApp) -> String {
    let mut sids = app.provider.sids_of(ALICE);
    assert_eq!(sids.len(), 1);
    sids.remove(0)
}

fn path(query: &[(&str, &str)]) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    format!("/bff/frontchannel-logout?{query}")
}

/// What a browser asks for a frame in a page of another site: no Strict cookie is in it.
async fn framed(app: &TestApp, url: &str, headers: &[(&str, &str)]) -> Page {
    let url = if url.starts_with('/') { format!("{}{url}", app.url) } else { url.to_owned() };
    let mut sent = HeaderMap::new();
    let of_browsers = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
    for (name, value) in of_browsers.iter().chain(headers) {
        sent.insert(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
    }
    let answer = client().get(&url).header("accept", "text/html").headers(sent).send().await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    Page { url: Url::parse(&url).unwrap(), status, headers, body: answer.bytes().await.unwrap().to_vec() }
}

/// The same for a session, as it should be.
async fn tell(app: &TestApp, sid: &str) -> Page {
    framed(app, &path(&[("iss", app.provider.issuer()), ("sid", sid)]), &[]).await
}

/// The addresses that a page frames.
fn frames(page: &Page) -> Vec<String> {
    let text = page.text();
    let sources =
        text.split("<iframe").skip(1).map(|frame| frame.split("src=\"").nth(1).unwrap().split('"').next().unwrap());
    sources.map(|source| source.replace("&#38;", "&").replace("&#61;", "=")).collect()
}

#[tokio::test]
async fn a_page_that_says_it_is_not_the_providers_ends_nothing_and_counts_for_nobody() {
    let app = start().await;
    let mut browser = app.logged_in("alice").await;
    let told = path(&[("iss", app.provider.issuer()), ("sid", &only_sid(&app))]);
    for _ in 0..150 {
        let page = framed(&app, &told, &[("referer", "https://evil.example/")]).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST);
    }
    let nearly = format!("{}.evil.example/", app.provider.issuer());
    for referer in [app.url.as_str(), &nearly, "nonsense", "", "null"] {
        assert_eq!(framed(&app, &told, &[("referer", referer)]).await.status, StatusCode::BAD_REQUEST, "{referer}");
    }
    assert!(browser.is_logged_in().await);
    let page = format!("{}/end_session?x=1", app.provider.issuer());
    assert_eq!(framed(&app, &told, &[("referer", &page)]).await.status, StatusCode::OK);
    assert!(!browser.is_logged_in().await);
}

#[tokio::test]
async fn a_logout_at_the_provider_ends_the_session_that_its_frame_names() {
    let app = start().await;
    let (mut browser, mut elsewhere) = (app.logged_in("alice").await, app.logged_in("alice").await);
    let mut events = EventSource::open(&browser, &[]).await;
    assert_eq!(events.next().await.name, "session");
    let page = browser.open(&format!("{}/end_session", app.provider.issuer())).await;
    let page = browser.submit(&page, &[]).await;
    assert!(browser.is_logged_in().await, "nothing has told us yet");
    let frames = frames(&page);
    let [frame] = frames.as_slice() else { panic!("{frames:?}") };
    assert!(page.header("content-security-policy").unwrap().ends_with(&format!("; frame-src {}", app.url)));

    let answer = framed(&app, frame, &[]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let policy = format!("default-src 'none'; frame-ancestors {}", app.provider.issuer());
    assert_eq!(answer.header("content-security-policy"), Some(policy.as_str()));
    assert!(answer.header("x-frame-options").is_none() && answer.header("set-cookie").is_none());

    let ended = events.next().await;
    assert_eq!((ended.name.as_str(), &ended.data), ("ended", &serde_json::json!({"reason": "provider-logout"})));
    assert!(!browser.is_logged_in().await && elsewhere.is_logged_in().await);
    assert_eq!(browser.fetch(Method::GET, "/api/x").await.problem(), "session-expired");
    assert!(app.calls("/revoke").is_empty(), "nobody has proved that the session was theirs");
}

#[tokio::test]
async fn a_logout_that_began_here_passes_the_frames_and_comes_back() {
    let app = start().await;
    let (mut browser, mut elsewhere) = (app.logged_in("alice").await, app.logged_in("bob").await);
    let redirect_to = browser.fetch(Method::POST, "/bff/logout").await.json()["redirect_to"].clone();
    let page = browser.click(redirect_to.as_str().unwrap()).await;
    assert_eq!(page.url.as_str(), format!("{}/", app.url));
    assert!(!browser.is_logged_in().await && elsewhere.is_logged_in().await);
}

#[tokio::test]
async fn it_is_not_there_unless_it_was_asked_for() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let answer = tell(&app, &only_sid(&app)).await;
    assert_eq!((answer.status, answer.page_slug().as_str()), (StatusCode::NOT_FOUND, "route-not-found"));
    assert!(browser.is_logged_in().await);
}

#[tokio::test]
async fn a_request_that_does_not_name_both_once_ends_nothing() {
    let app = start().await;
    let mut browser = app.logged_in("alice").await;
    let (iss, sid, long) = (app.provider.issuer().to_owned(), only_sid(&app), "s".repeat(1025));
    let (iss, sid) = (iss.as_str(), sid.as_str());
    let slash = format!("{iss}/");
    for query in [
        &[][..],
        &[("sid", sid)],
        &[("iss", iss)],
        &[("iss", iss), ("sid", "")],
        &[("iss", iss), ("sid", &long)],
        &[("iss", iss), ("sid", sid), ("sid", sid)],
        &[("iss", iss), ("sid", "x"), ("sid", sid)],
        &[("iss", iss), ("iss", iss), ("sid", sid)],
        &[("iss", &slash), ("sid", sid)],
        &[("iss", ""), ("sid", sid)],
        &[("iss", "https://evil.example"), ("sid", sid)],
        &[("Iss", iss), ("sid", sid)],
    ] {
        let answer = framed(&app, &path(query), &[]).await;
        let told = (answer.status, answer.page_slug());
        assert_eq!(told, (StatusCode::BAD_REQUEST, "logout-request-invalid".to_owned()), "{query:?}");
        assert!(browser.is_logged_in().await, "{query:?}");
    }
    let registered_with = path(&[("tenant", "7"), ("iss", iss), ("sid", sid)]);
    assert_eq!(framed(&app, &registered_with, &[]).await.status, StatusCode::OK);
    assert!(!browser.is_logged_in().await);
}

#[tokio::test]
async fn what_is_no_page_that_somebody_sees_ends_nothing() {
    let app = start().await;
    let mut browser = app.logged_in("alice").await;
    let path = path(&[("iss", app.provider.issuer()), ("sid", &only_sid(&app))]);
    for header in [("sec-purpose", "prefetch;prerender"), ("purpose", "prefetch"), ("sec-fetch-mode", "no-cors")] {
        let answer = framed(&app, &path, &[header, ("accept", "text/html")]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{header:?}");
    }
    assert_eq!(client().head(format!("{}{path}", app.url)).send().await.unwrap().status(), StatusCode::BAD_REQUEST);
    let answer = browser.fetch_with(Method::POST, &path, &[("x-csrf", "1")], Vec::new()).await;
    assert_eq!((answer.problem().as_str(), answer.header("allow")), ("method-not-allowed", Some("GET")));
    assert!(browser.is_logged_in().await);
}

#[tokio::test]
async fn known_and_unknown_sessions_are_answered_alike_and_so_is_a_repeat() {
    let app = start().await;
    let mut browser = app.logged_in("alice").await;
    let sid = only_sid(&app);
    let unknown = tell(&app, "unknown").await;
    assert!(browser.is_logged_in().await);
    for _ in 0..2 {
        let known = tell(&app, &sid).await;
        assert_eq!((known.status, known.text()), (unknown.status, unknown.text()));
        assert!(!browser.is_logged_in().await);
    }
}

#[tokio::test]
async fn a_cookie_changes_nothing() {
    let app = start().await;
    let (mut alice, mut bob) = (app.logged_in("alice").await, app.logged_in("bob").await);
    let path = path(&[("iss", app.provider.issuer()), ("sid", &only_sid(&app))]);
    assert_eq!(bob.step(&path).await.status, StatusCode::OK);
    assert!(bob.session().is_some() && bob.is_logged_in().await && !alice.is_logged_in().await);
}

#[tokio::test]
async fn a_session_ends_however_old_it_is_and_a_login_under_way_is_not_met() {
    let app = setup().variable("CLOAKROOM_SESSION_IDLE", "10h").start().await;
    let mut browser = app.logged_in("alice").await;
    let sid = only_sid(&app);
    app.clock.advance(Duration::from_hours(9));
    let held = Fault::Endpoint(Endpoint::Token, Outage::Held);
    app.provider.faults().set_times(held, 1);
    let mut later = app.browser();
    let callback = later.callback_url("/cart", "alice").await;
    let login = tokio::spawn(async move {
        later.click(&callback).await;
        later
    });
    app.eventually(|app| app.grants("authorization_code") == 2).await;
    let sids = app.provider.sids_of(ALICE);
    for sid in &sids {
        assert_eq!(tell(&app, sid).await.status, StatusCode::OK);
    }
    assert!(sids.contains(&sid) && !browser.is_logged_in().await);
    app.provider.faults().clear(held);
    assert!(login.await.unwrap().is_logged_in().await, "whoever knows a sid could keep somebody out");
}

#[tokio::test]
async fn while_the_store_is_away_it_says_so_and_then_it_works() {
    let backend = Arc::new(FlakyBackend::new(Arc::new(MemoryBackend::new())));
    let app = setup().backend(backend.clone()).start().await;
    let mut browser = app.logged_in("alice").await;
    let sid = only_sid(&app);
    backend.set(store::Outage::Unavailable);
    let answer = tell(&app, &sid).await;
    assert_eq!((answer.status, answer.page_slug().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));
    assert!(answer.header("retry-after").is_some());
    backend.set(store::Outage::None);
    assert!(browser.is_logged_in().await);
    assert_eq!(tell(&app, &sid).await.status, StatusCode::OK);
    assert!(!browser.is_logged_in().await);
}

#[tokio::test]
async fn a_frame_that_is_gone_at_once_has_told_all_the_same() {
    let backend = Arc::new(FlakyBackend::new(Arc::new(MemoryBackend::new())));
    let app = setup().backend(backend.clone()).start().await;
    app.logged_in("alice").await;
    let path = path(&[("iss", app.provider.issuer()), ("sid", &only_sid(&app))]);
    let host = app.url.strip_prefix("http://").unwrap();
    backend.set(store::Outage::Slow);
    let seen = backend.calls();
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await.unwrap();
    app.eventually(|_| backend.calls() > seen).await;
    drop(stream);
    app.drain().await;
    backend.set(store::Outage::None);
    assert_eq!(app.sessions().await, 0);
}

#[tokio::test]
async fn who_asks_too_often_is_put_off_and_nobody_else_is() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let app = setup().variable("CLOAKROOM__SERVER__TRUSTED_PROXIES", "127.0.0.1").start().await;
    let mut browser = app.logged_in("alice").await;
    let (iss, sid) = (app.provider.issuer(), only_sid(&app));
    let guess = path(&[("iss", iss), ("sid", "a guess")]);
    let guesser = ("x-forwarded-for", "203.0.113.7");
    for _ in 0..100 {
        // What says nothing costs nothing, and is not counted.
        assert_eq!(framed(&app, &path(&[("iss", iss)]), &[guesser]).await.status, StatusCode::BAD_REQUEST);
        assert_eq!(framed(&app, &guess, &[guesser]).await.status, StatusCode::OK);
    }
    let right = path(&[("iss", iss), ("sid", &sid)]);
    let forged = [("x-forwarded-for", "198.51.100.1, 203.0.113.7"), ("forwarded", "for=198.51.100.1")];
    let answer = framed(&app, &right, &forged).await;
    assert_eq!((answer.status, answer.page_slug().as_str()), (StatusCode::TOO_MANY_REQUESTS, "too-many-requests"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(browser.is_logged_in().await);
    let counted = "cloakroom_limited_total{limit=\"frontchannel_logout_rate\"} 1";
    assert!(recorder.handle().render().contains(counted), "{}", recorder.handle().render());

    app.clock.advance(Duration::from_millis(500));
    assert_eq!(framed(&app, &guess, &[guesser]).await.status, StatusCode::OK);
    assert_eq!(framed(&app, &guess, &[guesser]).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(framed(&app, &right, &[("x-forwarded-for", "203.0.113.8")]).await.status, StatusCode::OK);
    assert!(!browser.is_logged_in().await);
}

#[tokio::test]
async fn the_demo_shows_it_if_it_is_told_to() {
    let ports = DemoOptions { port: 0, provider_port: 0, api_port: 0, ..DemoOptions::default() };
    let demo = Demo::start(DemoOptions { frontchannel_logout: true, ..ports }).await.unwrap();
    let (url, provider) = (demo.banner().url.clone(), demo.banner().provider.clone());
    let people = async {
        let mut browser = Browser::new(&url);
        browser.log_in("/", "alice").await;
        let page = browser.open(&format!("{provider}/end_session")).await;
        let page = browser.submit(&page, &[]).await;
        assert!(browser.is_logged_in().await);
        assert_eq!(client().get(&frames(&page)[0]).send().await.unwrap().status(), StatusCode::OK);
        assert!(!browser.is_logged_in().await);
    };
    let serving = demo.serve(async |config, listener| {
        let cloakroom = cloakroom::Cloakroom::builder(config).build().await.unwrap();
        cloakroom.serve(listener, None, std::future::pending()).await
    });
    tokio::select! {
        ended = serving => panic!("{ended:?}"),
        () = people => {}
    }
}
