//! Clients are told that a session is over.

use super::world::World;
use super::*;

/// Alice logs in at the provider for the client `shop`, which listens for logouts here.
async fn signed_in(uri: Option<&str>) -> World {
    let world = World::new().await;
    let url = |text| Url::parse(text).unwrap();
    let mut client = DevClient::new("shop", SECRET, &url(REDIRECT), &url(AFTER_LOGOUT));
    client.backchannel_logout_uri = uri.map(str::to_owned);
    world.provider.register(client);
    world.code().await;
    world
}

#[tokio::test]
async fn a_client_that_does_not_listen_is_passed_over() {
    let world = signed_in(Some("http://127.0.0.1:1/bff/backchannel-logout")).await;
    let told = world.provider.log_out(USERS[0].subject).await;
    assert_eq!(told, [LogoutDelivery { client_id: "shop".to_owned(), status: None }]);
    assert_eq!(world.provider.sids_of(USERS[0].subject), [] as [&str; 0]);
    assert_eq!(world.provider.log_out(USERS[0].subject).await, [], "nobody is told twice");
}

#[tokio::test]
async fn a_client_that_does_not_want_to_know_is_not_told() {
    let world = signed_in(None).await;
    assert_eq!(world.provider.log_out(USERS[0].subject).await, []);
}

#[tokio::test]
async fn a_session_is_ended_by_its_sid_alone() {
    let world = signed_in(None).await;
    let sid = world.provider.sids_of(USERS[0].subject).remove(0);
    world.provider.log_out_session("another").await;
    assert_eq!(world.provider.sids_of(USERS[0].subject), [sid.as_str()]);
    world.provider.log_out_session(&sid).await;
    assert_eq!(world.provider.sids_of(USERS[0].subject), [] as [&str; 0]);
}
