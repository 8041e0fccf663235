//! A neighbour is slow, silent or gone, and comes back.

use std::time::{Duration, Instant};

use http::StatusCode;

use super::load::{Answer, Balancer, Load, assert_each};
use super::store::Kind;
use super::world::World;
use crate::provider::Settings;

pub(super) async fn calls_outlive_the_provider_as_long_as_their_token(kind: Kind) {
    let lifetime = 6;
    let settings = Settings { access_token_lifetime: lifetime, refreshed_lifetime: Some(300), ..Settings::default() };
    let mut world = World::start(kind, 3, settings).await;
    let alice = world.logged_in("alice").await.fetcher();
    let lasts_until = Instant::now() + Duration::from_secs(lifetime.into());

    world.provider_gate.shut().await;
    let load = Load::start(&[alice.clone()], &Balancer::over(&world.addresses()));
    world.call_until(&alice, 0, Duration::from_secs(30), Answer::is_outage).await;
    world.provider_gate.open();
    for replica in 0..3 {
        world.call_until(&alice, replica, RECOVERED, Answer::is_good).await;
    }

    let answers = load.stop().await;
    // A second for who reads which clock when.
    let before: Vec<_> = answers
        .into_iter()
        .filter(|answer| answer.began + answer.took < lasts_until - Duration::from_secs(1))
        .collect();
    assert_each(&before, "answered well", Answer::is_good);
    assert!(!before.is_empty());
    assert_eq!(world.provider.refreshes(), 1, "{}", world.logs());
    world.assert_nothing_refused();
}

/// What a load may come to while a neighbour is out: a good answer or an honest outage, and never another word.
#[expect(dead_code, reason = "for stores that are servers")]
fn is_good_or_outage(answer: &Answer) -> bool {
    answer.is_good() || answer.is_outage() && answer.status() == Some(StatusCode::SERVICE_UNAVAILABLE)
}

/// How soon everything is well again after an outage, without a restart.
const RECOVERED: Duration = Duration::from_secs(15);
