//! The provider is gone, and comes back.

use std::time::{Duration, Instant};

use super::load::{Answer, Load, assert_each};
use super::store::Kind;
use super::world::{RECOVERED, World};
use crate::browser::Balancer;
use crate::provider::Settings;

pub(super) async fn calls_outlive_the_provider_as_long_as_their_token(kind: Kind) {
    let lifetime = 6;
    let settings = Settings { access_token_lifetime: lifetime, refreshed_lifetime: Some(300), ..Settings::default() };
    let mut world = World::start(kind, 3, settings).await;
    let alice = world.logged_in("alice").await.fetcher();
    let lasts_until = Instant::now() + Duration::from_secs(lifetime.into());

    world.provider_gate.shut().await;
    let load = Load::start(std::slice::from_ref(&alice), &Balancer::over(&world.addresses()));
    world.call_until(&alice, 0, Duration::from_secs(30), Answer::is_outage).await;
    world.provider_gate.open();
    for replica in 0..3 {
        world.call_until(&alice, replica, RECOVERED, Answer::is_good).await;
    }

    let answers = load.stop().await;
    assert_each(&answers, "a good answer or an outage", |answer| answer.is_good() || answer.is_outage());
    // A second for who reads which clock when.
    let before: Vec<_> = answers
        .into_iter()
        .filter(|answer| answer.began + answer.took + Duration::from_secs(1) < lasts_until)
        .collect();
    assert_each(&before, "answered well", Answer::is_good);
    assert!(!before.is_empty());
    world.assert_refreshes(1).await;
    world.assert_nothing_refused();
    world.assert_nobody_lost().await;
}
