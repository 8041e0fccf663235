//! What `/metrics` tells operators, and that it tells nobody's name.

use std::sync::Arc;

use cloakroom::store::{FlakyBackend, MemoryBackend, Outage};
use http::{Method, StatusCode};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use crate::support::TestApp;

/// The recorder of one test, for all tasks of its thread.
fn recorder() -> PrometheusRecorder {
    PrometheusBuilder::new().build_recorder()
}

/// The value of one series.
fn value(text: &str, series: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test]
async fn logins_and_ended_sessions_are_counted() {
    let recorder = recorder();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let handle = recorder.handle();
    let app = TestApp::with().metrics(move || handle.render()).start().await;
    let mut browser = app.logged_in("alice").await;
    let (tag, cookie) = (browser.user().await["session"]["tag"].clone(), browser.session().unwrap().value.clone());
    assert_eq!(browser.fetch(Method::GET, "/api/x").await.status, StatusCode::OK);
    let stale = browser.callback_url("/cart", "alice").await;
    app.browser().click(&stale).await;
    assert_eq!(browser.fetch(Method::POST, "/bff/logout").await.status, StatusCode::OK);

    let (status, text) = app.ask_admin("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    for (series, count) in [
        ("cloakroom_logins_total{frontend=\"default\",outcome=\"success\"}", 1),
        ("cloakroom_logins_total{frontend=\"default\",outcome=\"login-expired\"}", 1),
        ("cloakroom_logouts_total{frontend=\"default\"}", 1),
        ("cloakroom_sessions_ended_total{reason=\"logout\"}", 1),
        ("cloakroom_refreshes_total{outcome=\"renewed\"}", 0),
        ("cloakroom_requests_total{frontend=\"default\",status=\"4xx\"}", 1),
        ("cloakroom_requests_total{frontend=\"default\",status=\"5xx\"}", 0),
        ("cloakroom_store_breaker_open", 0),
    ] {
        assert_eq!(value(&text, series), Some(count), "{series}\n{text}");
    }
    let (tag, secrets) = (tag.as_str().unwrap().to_owned(), app.provider.issued());
    let people = ["248289761001", "alice", "Alice Adler"].map(str::to_owned);
    for secret in secrets.into_iter().chain(people).chain([tag, cookie]) {
        assert!(!text.contains(&secret), "the metrics hold {secret}");
    }
}

#[tokio::test]
async fn an_outage_of_the_store_is_counted() {
    let recorder = recorder();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let (handle, backend) = (recorder.handle(), Arc::new(FlakyBackend::new(Arc::new(MemoryBackend::new()))));
    let app = TestApp::with().backend(backend.clone()).metrics(move || handle.render()).start().await;
    let mut browser = app.logged_in("alice").await;
    backend.set(Outage::Unavailable);
    for _ in 0..7 {
        browser.fetch(Method::GET, "/api/x").await;
    }
    let (_, text) = app.ask_admin("/metrics").await;
    assert_eq!(value(&text, "cloakroom_store_unavailable_total"), Some(7));
    assert_eq!(value(&text, "cloakroom_store_breaker_open"), Some(1));
    assert_eq!(value(&text, "cloakroom_store_breaker_openings_total"), Some(1));
    backend.set(Outage::None);
    let back = tokio::time::timeout(std::time::Duration::from_secs(5), async {
        while value(&app.ask_admin("/metrics").await.1, "cloakroom_store_breaker_open") != Some(0) {
            browser.fetch(Method::GET, "/api/x").await;
        }
    });
    back.await.expect("it stays open");
}

#[tokio::test]
async fn without_an_exporter_there_are_no_metrics() {
    let app = TestApp::start().await;
    let (status, text) = app.ask_admin("/metrics").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(text.contains("/bff/problems/route-not-found"), "{text}");
}
