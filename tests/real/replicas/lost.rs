//! A refresh or its answer is lost on the wire.

use super::load::Answer;
use super::store::Kind;
use super::storms::one_refresh_is_due;
use super::token_gate::At;
use super::world::World;
use crate::provider::Settings;

pub(super) async fn a_refresh_that_never_arrived_is_sent_again(kind: Kind) {
    let (world, answer) = lose(kind, one_refresh_is_due(), At::Request).await;

    assert!(answer.is_good(), "{answer:#?}\n{}", world.logs());
    world.assert_refreshes(1).await;
    world.assert_nothing_refused();
}

pub(super) async fn an_answer_lost_by_a_strict_provider_ends_that_session(kind: Kind) {
    let (world, answer) = lose(kind, one_refresh_is_due(), At::Answer).await;

    assert!(answer.is_expired(), "{answer:#?}\n{}", world.logs());
    world.assert_one_refresh_lost().await;
}

pub(super) async fn an_answer_lost_by_a_provider_with_grace_costs_nothing(kind: Kind) {
    let settings = Settings { reuse_grace: 60, ..one_refresh_is_due() };
    let (world, answer) = lose(kind, settings, At::Answer).await;

    assert!(answer.is_good(), "{answer:#?}\n{}", world.logs());
    world.assert_refreshes(2).await;
    assert_eq!(world.provider.events("reuse-allowed").len(), 1);
}

/// A call whose refresh is lost, and what it came to.
async fn lose(kind: Kind, settings: Settings, at: At) -> (World, Answer) {
    let world = World::start(kind, 2, settings).await;
    let alice = world.logged_in("alice").await.fetcher();
    world.tokens_run_out().await;
    let mut hold = world.token_gate.stop_next(at);
    let lost = async {
        hold.reached().await;
        hold.lose();
    };
    let (answer, ()) = tokio::join!(world.call(&alice, 0), lost);
    (world, answer)
}
