//! npm `oidc-provider` tells the program of logouts: its logout tokens are made by code that knows nothing of ours.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::Value;

use crate::browser::Browser;
use crate::provider::{Settings, Tells};
use crate::replicas::store::Kind;
use crate::replicas::world::World;

async fn start(tells: Tells) -> World {
    let settings = Settings { tells_of_logouts: Some(tells), ..Settings::default() };
    World::start(Kind::Redis, 1, settings).await
}

async fn log_out_at_the_provider(world: &World, browser: &mut Browser) {
    browser.log_out_at(&world.provider.end_session_url()).await;
    world.provider.wait_for("session-ended", 1).await;
    assert_eq!(world.provider.events("client-not-told"), [] as [Value; 0]);
}

async fn assert_out(browser: &Browser) {
    assert_eq!(browser.user().await["authenticated"], false);
    assert_eq!(browser.fetch("GET", "/api/orders").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_logout_at_the_provider_ends_the_session_it_names() {
    let world = start(Tells::Sid).await;
    let (mut alice, elsewhere) = (world.logged_in("alice").await, world.logged_in("alice").await);

    log_out_at_the_provider(&world, &mut alice).await;

    assert_out(&alice).await;
    assert_eq!(elsewhere.user().await["sub"], "alice", "another session of hers goes on");
}

#[tokio::test]
async fn a_logout_that_names_a_person_ends_all_sessions_of_theirs() {
    let world = start(Tells::Subject).await;
    let (mut alice, elsewhere) = (world.logged_in("alice").await, world.logged_in("alice").await);
    let bob = world.logged_in("bob").await;

    log_out_at_the_provider(&world, &mut alice).await;

    for browser in [&alice, &elsewhere] {
        assert_out(browser).await;
    }
    assert_eq!(bob.user().await["sub"], "bob");
}

#[tokio::test]
async fn who_logs_in_again_after_it_stays() {
    let world = start(Tells::Subject).await;
    let mut alice = world.logged_in("alice").await;
    log_out_at_the_provider(&world, &mut alice).await;
    let start = Instant::now();

    let mut page = alice.log_in("alice", "/").await;
    while page.status != StatusCode::OK {
        assert!(page.body.contains("login-ended") && start.elapsed() < crate::LIMIT, "{}", page.body);
        page = alice.log_in("alice", "/").await;
    }

    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(alice.user().await["sub"], "alice");
}
