//! Store, keys or provider are away.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::demo::faults::{Endpoint, Fault, Outage};
use cloakroom::store::{self, FlakyBackend, MemoryBackend};
use http::StatusCode;

use super::{ALICE, end, tell, token};
use crate::support::{Page, TestApp};

#[tokio::test]
async fn while_the_store_is_away_nothing_is_half_ended() {
    for outage in [store::Outage::Unavailable, store::Outage::Hangs] {
        let flaky = Arc::new(FlakyBackend::new(Arc::new(MemoryBackend::new())));
        let setup = TestApp::with().backend(flaky.clone()).variable("CLOAKROOM__STORE__TIMEOUT", "100ms");
        let app = setup.start().await;
        let mut browsers = [app.logged_in("alice").await, app.logged_in("alice").await, app.logged_in("alice").await];
        flaky.set(outage);
        let logout = token(&app).subject(ALICE);
        let answer = tell(&app, &logout).await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));
        assert_eq!((answer.header("retry-after"), answer.header("cache-control")), (Some("2"), Some("no-store")));
        flaky.set(store::Outage::None);
        for browser in &mut browsers {
            assert!(browser.is_logged_in().await, "{outage:?}");
        }
        end(&app, &logout).await;
        for browser in &mut browsers {
            assert!(!browser.is_logged_in().await);
        }
    }
}

#[tokio::test]
async fn a_store_whose_answer_is_lost_is_told_again() {
    let flaky = Arc::new(FlakyBackend::new(Arc::new(MemoryBackend::new())));
    let app = TestApp::with().backend(flaky.clone()).start().await;
    let mut browser = app.logged_in("alice").await;
    flaky.set(store::Outage::LosesAnswers);
    let logout = token(&app).subject(ALICE);
    assert_eq!(tell(&app, &logout).await.status, StatusCode::SERVICE_UNAVAILABLE);
    flaky.set(store::Outage::None);
    end(&app, &logout).await;
    assert!(!browser.is_logged_in().await);
}

/// The provider is to try again: what it said was not judged.
fn assert_provider_unavailable(answer: &Page) {
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.problem(), "provider-unavailable");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn without_keys_and_without_a_provider_to_ask_no_token_is_judged() {
    let app = TestApp::start().await;
    app.provider.stop().await;
    let logout = token(&app).subject(ALICE);
    assert_provider_unavailable(&tell(&app, &logout).await);
    app.provider.start_again().await.unwrap();
    app.clock.advance(Duration::from_secs(1));
    end(&app, &logout).await;
}

#[tokio::test]
async fn with_keys_at_hand_the_provider_is_not_asked() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    app.provider.stop().await;
    end(&app, &token(&app).subject(ALICE)).await;
    assert!(!browser.is_logged_in().await);
}

#[tokio::test]
async fn a_key_that_may_be_new_is_not_refused_while_nobody_can_be_asked() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    app.provider.rotate_keys();
    app.misbehave(Fault::Endpoint(Endpoint::Jwks, Outage::ServerError));
    let logout = token(&app).subject(ALICE);
    for _ in 0..2 {
        assert_provider_unavailable(&tell(&app, &logout).await);
    }
    assert!(browser.is_logged_in().await);
    app.provider.faults().clear_all();
    app.clock.advance(Duration::from_secs(5)); // as long as the 503 says
    end(&app, &logout).await;
    assert!(!browser.is_logged_in().await);
}
