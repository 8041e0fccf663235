//! A logout by one replica while another renews the session's tokens.

use http::StatusCode;

use super::load::Answer;
use super::store::Kind;
use super::storms::one_refresh_is_due;
use super::token_gate::At;
use super::world::{CALL, World};
use crate::eventually;

pub(super) async fn a_logout_while_a_refresh_is_on_its_way_leaves_no_live_token(kind: Kind) {
    // The old token's end takes the grant with it, and the refresh is refused.
    leaves_no_live_token(kind, At::Request, 1).await;
}

pub(super) async fn a_logout_while_the_answer_is_on_its_way_leaves_no_live_token(kind: Kind) {
    // Other providers end one token at a time: the new one is revoked for itself.
    leaves_no_live_token(kind, At::Answer, 2).await;
}

async fn leaves_no_live_token(kind: Kind, at: At, revocations: usize) {
    let world = World::start(kind, 2, one_refresh_is_due()).await;
    let alice = world.logged_in("alice").await.fetcher();
    world.tokens_run_out().await;
    let mut hold = world.token_gate.stop_next(at);
    let call = alice.clone().through(world.replicas[0].address);
    let call = tokio::spawn(async move { Answer::of(&call, CALL).await });
    hold.reached().await;

    let logout = alice.clone().through(world.replicas[1].address).send("POST", "/bff/logout?local=true").await;
    assert_eq!(logout.expect("a logout is answered").status, StatusCode::OK);
    hold.release();

    let answer = call.await.expect("the call ends");
    assert!(answer.is_expired(), "{answer:#?}\n{}", world.logs());
    eventually("the tokens are revoked", || (world.provider.revocations() >= revocations).then_some(())).await;
    // Newest first: an old one that comes again would end what the others could still do.
    for token in world.provider.issued("refresh_token").iter().rev() {
        assert_eq!(world.provider.redeem(token).await, "invalid_grant", "{}", world.logs());
    }
}
