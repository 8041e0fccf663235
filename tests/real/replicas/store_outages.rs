//! The store is slow or silent, and comes back.

use std::time::{Duration, Instant};

use super::load::{Answer, Load, assert_each};
use super::store::{Kind, Store};
use super::storms::one_refresh_is_due;
use super::token_gate::At;
use super::world::{CALL, PROVIDER_TIMEOUT, RECOVERED, World};
use crate::browser::Balancer;
use crate::provider::Settings;

pub(super) async fn a_slow_store_costs_time_and_nobody_the_session(kind: Kind) {
    let world = World::start(kind, 3, Settings { access_token_lifetime: 3, ..Settings::default() }).await;
    let people = [world.logged_in("alice").await.fetcher(), world.logged_in("bob").await.fetcher()];
    let load = Load::start(&people, &Balancer::over(&world.addresses()));
    world.provider.wait_for("grant", 4).await;

    world.store.slow(STORE_TIMEOUT);
    tokio::time::sleep(SLOW).await;
    world.store.slow(Duration::ZERO);
    for fetch in &people {
        for replica in 0..3 {
            world.call_until(fetch, replica, RECOVERED, Answer::is_good).await;
        }
    }

    let answers = load.stop().await;
    assert_each(&answers, "a good answer or an outage", |answer| answer.is_good() || answer.is_outage());
    assert_each(&answers, "in time", |answer| answer.took < BOUND);
    assert!(answers.iter().any(Answer::is_outage), "it was slow enough to be felt");
    world.assert_nothing_refused();
    world.assert_nobody_lost().await;
}

pub(super) async fn a_store_that_answers_late_is_waited_for(kind: Kind) {
    let world = World::start(kind, 3, Settings { access_token_lifetime: 3, ..Settings::default() }).await;
    let people = [world.logged_in("alice").await.fetcher(), world.logged_in("bob").await.fetcher()];
    world.store.slow(LATE);
    let load = Load::start(&people, &Balancer::over(&world.addresses()));
    world.provider.wait_for("grant", 8).await;
    world.store.slow(Duration::ZERO);

    let answers = load.stop().await;
    assert_each(&answers, "answered well", Answer::is_good);
    world.assert_nothing_refused();
    world.assert_nobody_lost().await;
}

pub(super) async fn a_store_that_is_cut_off_costs_nobody_the_session(kind: Kind) {
    let mut world = World::start(kind, 3, Settings { access_token_lifetime: 3, ..Settings::default() }).await;
    let people = [world.logged_in("alice").await.fetcher(), world.logged_in("bob").await.fetcher()];
    let load = Load::start(&people, &Balancer::over(&world.addresses()));
    world.provider.wait_for("grant", 4).await;

    world.store.cut_off().await;
    for replica in 0..3 {
        world.call_until(&people[0], replica, BOUND, Answer::is_outage).await;
    }
    tokio::time::sleep(CUT_OFF).await;
    world.store.reconnect();
    for fetch in &people {
        for replica in 0..3 {
            world.call_until(fetch, replica, RECOVERED, Answer::is_good).await;
        }
    }

    let answers = load.stop().await;
    assert_each(&answers, "a good answer or an outage", |answer| answer.is_good() || answer.is_outage());
    assert_each(&answers, "in time", |answer| answer.took < BOUND);
    world.assert_nothing_refused();
    world.assert_nobody_lost().await;
}

pub(super) async fn a_silent_store_under_load_loses_nobody_and_no_token(kind: Kind) {
    let world = World::over(Store::of_its_own(kind).await, 3, one_refresh_is_due()).await;
    let alice = world.logged_in("alice").await.fetcher();
    let bob = world.logged_in("bob").await.fetcher();
    world.tokens_run_out().await;
    assert!(world.call(&bob, 1).await.is_good());
    let mut hold = world.token_gate.stop_next(At::Answer);
    let renewing = alice.clone().through(world.replicas[0].address);
    tokio::spawn(async move { Answer::of(&renewing, CALL).await });
    hold.reached().await;

    world.store.pause();
    let silent_since = Instant::now();
    hold.release();
    let crowd: Vec<_> = [&alice, &bob].into_iter().cycle().take(CROWD).cloned().collect();
    let load = Load::start(&crowd, &Balancer::over(&world.addresses()));
    tokio::time::sleep(SILENT).await;
    let during = load.stop().await;
    let load = Load::start(&crowd, &Balancer::over(&world.addresses()));
    world.store.resume();
    for fetch in [&alice, &bob] {
        for replica in 0..3 {
            world.call_until(fetch, replica, RECOVERED, Answer::is_good).await;
        }
    }

    assert_each(&during, "in time", |answer| answer.took < BOUND);
    // What a replica read a moment ago may serve for a moment.
    assert_each(&during, "an outage", |answer| {
        answer.is_outage() || answer.is_good() && answer.began < silent_since + Duration::from_secs(1)
    });
    let after = load.stop().await;
    assert_each(&after, "a good answer or an outage", |answer| answer.is_good() || answer.is_outage());
    // The token that came while nobody could store it is the one that is used.
    world.assert_refreshes(2).await;
    world.assert_nothing_refused();
    world.assert_nobody_lost().await;
}

/// To the lease here as two seconds are to the default one.
const LATE: Duration = Duration::from_millis(400);
const SLOW: Duration = Duration::from_secs(10);
const CUT_OFF: Duration = Duration::from_secs(6);
/// How many call at the same time.
const CROWD: usize = 10;
const SILENT: Duration = Duration::from_secs(30);
/// The default of `store.timeout`, and the latency a store has when it is slow.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);
/// What a call may take: a read, the wait for a renewal, a write, and the API.
const BOUND: Duration = PROVIDER_TIMEOUT.saturating_add(STORE_TIMEOUT.saturating_mul(4)).saturating_add(STORE_TIMEOUT);
