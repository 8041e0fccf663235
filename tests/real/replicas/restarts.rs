//! Replicas are replaced while people work.

use futures_util::future::join_all;

use super::load::{Answer, Load, assert_each};
use super::store::Kind;
use super::world::World;
use crate::browser::Balancer;
use crate::provider::Settings;

pub(super) async fn a_rolling_restart_under_load_costs_no_call(kind: Kind) {
    let settings = Settings { access_token_lifetime: 3, ..Settings::default() };
    let mut world = World::start(kind, 2, settings).await;
    let people = ["alice", "bob", "carol", "dave", "erin", "frank"];
    let browsers = join_all(people.map(|user| world.logged_in(user))).await;
    let balancer = Balancer::over(&world.addresses());
    let load = Load::start(&browsers.iter().map(crate::browser::Browser::fetcher).collect::<Vec<_>>(), &balancer);
    world.provider.wait_for("grant", 2 * people.len()).await;

    for _ in 0..2 {
        let mut old = world.replicas.remove(0);
        let status = old.stop().await;
        assert_eq!(status.code(), Some(0), "{}", old.log());
        balancer.remove(old.address);
        let new = world.another_replica().await;
        balancer.add(new.address);
        world.replicas.push(new);
        let grants = world.provider.events("grant").len();
        world.provider.wait_for("grant", grants + people.len()).await;
    }

    let answers = load.stop().await;
    assert_each(&answers, "answered well", Answer::is_good);
    world.assert_nothing_refused();
    world.assert_nobody_lost().await;
}
