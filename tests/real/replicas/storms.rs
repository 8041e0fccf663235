//! Many who need the same refresh.

use std::collections::HashSet;

use futures_util::future::join_all;

use super::load::{Answer, assert_each};
use super::store::Kind;
use super::token_gate::At;
use super::world::{CALL, World};
use crate::provider::Settings;

pub(super) async fn a_thousand_parallel_calls_at_expiry_make_one_refresh(kind: Kind) {
    let world = World::start(kind, 3, one_refresh_is_due()).await;
    let alice = world.logged_in("alice").await.fetcher();
    world.tokens_run_out().await;

    let replicas = world.addresses();
    let calls = (0..1000).map(|nth| {
        let fetch = alice.clone().through(replicas[nth % replicas.len()]);
        async move { Answer::of(&fetch, CALL).await }
    });
    let answers = join_all(calls).await;

    assert_each(&answers, "answered well", Answer::is_good);
    world.assert_refreshes(1).await;
    world.assert_nothing_refused();
    world.assert_nobody_lost().await;
    let carried: HashSet<_> = world.upstream.bearers().into_iter().collect();
    assert_eq!(carried, HashSet::from([world.provider.issued("access_token")[1].clone()]));
}

pub(super) async fn a_refresh_outlives_the_clients_that_wanted_it(kind: Kind) {
    let world = World::start(kind, 3, one_refresh_is_due()).await;
    let alice = world.logged_in("alice").await.fetcher();
    world.tokens_run_out().await;
    let mut hold = world.token_gate.stop_next(At::Answer);

    let replicas = world.addresses();
    let calls = (0..30).map(|nth| {
        let fetch = alice.clone().through(replicas[nth % replicas.len()]);
        tokio::spawn(async move { Answer::of(&fetch, CALL).await })
    });
    let calls: Vec<_> = calls.collect();
    hold.reached().await;
    for call in calls {
        call.abort();
        assert!(call.await.is_err_and(|error| error.is_cancelled()), "nobody has an answer yet");
    }
    hold.release();

    for replica in 0..3 {
        let answer = world.call(&alice, replica).await;
        assert!(answer.is_good(), "{answer:#?}\n{}", world.logs());
    }
    world.assert_refreshes(1).await;
    world.assert_nothing_refused();
    world.assert_nobody_lost().await;
    assert_eq!(world.upstream.last_call().bearer(), world.provider.issued("access_token")[1]);
}

/// The token of a login runs out soon, the one after it does not.
pub(super) fn one_refresh_is_due() -> Settings {
    Settings { access_token_lifetime: 2, refreshed_lifetime: Some(300), ..Settings::default() }
}
