//! The replica that renews a token is killed, at each point where that could hurt.

use std::time::Duration;

use super::load::{Answer, Load, assert_each};
use super::store::Kind;
use super::storms::one_refresh_is_due;
use super::token_gate::{At, Hold};
use super::world::{CALL, LEASE, PROVIDER_TIMEOUT, World};
use crate::browser::{Balancer, Fetch};
use crate::provider::Settings;

/// Alice's token has run out and the first replica is renewing it; Bob's is fresh. Both are of three replicas.
struct Scene {
    world: World,
    alice: Fetch,
    bob: Load,
    hold: Hold,
}

impl Scene {
    async fn set(kind: Kind, settings: Settings, at: At) -> Self {
        let world = World::start(kind, 3, settings).await;
        let alice = world.logged_in("alice").await.fetcher();
        let bob = world.logged_in("bob").await.fetcher();
        world.tokens_run_out().await;
        let answer = world.call(&bob, 1).await;
        assert!(answer.is_good(), "{answer:#?}");
        let bob = Load::start(&[bob], &Balancer::over(&world.addresses()[1..]));
        let mut hold = world.token_gate.stop_next(at);
        let call = alice.clone().through(world.replicas[0].address);
        tokio::spawn(async move { Answer::of(&call, CALL).await });
        hold.reached().await;
        Self { world, alice, bob, hold }
    }

    /// Kills the first replica while its refresh is stopped.
    async fn kill_the_first(&mut self) {
        self.world.replicas[0].kill().await;
        self.hold.abandoned().await;
    }

    /// What Alice's calls come to by the other replicas, once it is no longer an outage.
    async fn settled(&self) -> Answer {
        let mut answers = self.world.call_until(&self.alice, 1, SETTLED, |answer| !answer.is_outage()).await;
        answers.pop().expect("there is a last one")
    }
}

pub(super) async fn a_replica_killed_before_it_asked_costs_nobody_the_session(kind: Kind) {
    let mut scene = Scene::set(kind, one_refresh_is_due(), At::Request).await;

    scene.kill_the_first().await;

    let answer = scene.settled().await;
    assert!(answer.is_good(), "{answer:#?}\n{}", scene.world.logs());
    assert_untouched(scene.bob).await;
    let after = scene.world.call(&scene.alice, 2).await;
    assert!(after.is_good(), "{after:#?}");
    scene.world.assert_refreshes(2).await;
    scene.world.assert_nothing_refused();
}

pub(super) async fn a_replica_killed_with_the_answer_under_way_costs_that_session_alone(kind: Kind) {
    let mut scene = Scene::set(kind, one_refresh_is_due(), At::Answer).await;

    scene.kill_the_first().await;

    let answer = scene.settled().await;
    assert!(answer.is_expired(), "{answer:#?}\n{}", scene.world.logs());
    scene.world.assert_one_refresh_lost().await;
    let again = scene.world.call(&scene.alice, 2).await;
    assert!(again.is_expired(), "{again:#?}");
    assert_untouched(scene.bob).await;
    let carol = scene.world.logged_in_by(1, "carol").await.fetcher();
    let answer = scene.world.call(&carol, 2).await;
    assert!(answer.is_good(), "{answer:#?}");
}

pub(super) async fn a_provider_with_grace_keeps_the_session_of_a_killed_replica(kind: Kind) {
    let settings = Settings { reuse_grace: 60, ..one_refresh_is_due() };
    let mut scene = Scene::set(kind, settings, At::Answer).await;

    scene.kill_the_first().await;

    let answer = scene.settled().await;
    assert!(answer.is_good(), "{answer:#?}\n{}", scene.world.logs());
    let after = scene.world.call(&scene.alice, 2).await;
    assert!(after.is_good(), "{after:#?}");
    // Bob's, the one that was lost, and the one in its place.
    scene.world.assert_refreshes(3).await;
    assert_eq!(scene.world.provider.events("reuse-allowed").len(), 1, "the lost answer was asked for once more");
    assert_untouched(scene.bob).await;
}

pub(super) async fn a_replica_killed_after_the_swap_is_not_missed(kind: Kind) {
    let mut world = World::start(kind, 3, one_refresh_is_due()).await;
    let alice = world.logged_in("alice").await.fetcher();
    world.tokens_run_out().await;
    let call = alice.clone().through(world.replicas[0].address);
    tokio::spawn(async move { Answer::of(&call, "/api/held").await });
    world.upstream.arrived("/v1/held").await;

    world.replicas[0].kill().await;

    for replica in [1, 2] {
        let answer = world.call(&alice, replica).await;
        assert!(answer.is_good(), "{answer:#?}\n{}", world.logs());
    }
    world.assert_refreshes(1).await;
    world.assert_nothing_refused();
}

async fn assert_untouched(load: Load) {
    let answers = load.stop().await;
    assert!(!answers.is_empty());
    assert_each(&answers, "answered well", Answer::is_good);
}

/// L + D, and what the last try itself may take.
const SETTLED: Duration = LEASE.saturating_add(PROVIDER_TIMEOUT).saturating_add(PROVIDER_TIMEOUT);
