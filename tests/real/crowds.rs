//! Crowds: ten thousand who say nothing, a thousand who say it byte by byte, hundreds who listen to nothing or wait for an API that
//! never answers. Beside each somebody else is served, nobody of the crowd is put out, and nothing is left when it has gone.
//!
//! What is asserted are conditions. How long calls take, and how much memory the process has, is printed (`--nocapture`).

mod api;
mod client;
mod world;

use self::client::Client;
use self::world::{Crowd, World};
use crate::eventually;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_hold_nobody_up() {
    let world = World::start().await;
    let mut crowd = Crowd::before(&world, "idle connections").await;
    let hello = world.strangers_request("GET", "/bff/user", "");
    let mut idle = Vec::with_capacity(IDLE);
    while idle.len() < IDLE {
        let came = idle.len();
        for _ in 0..AT_ONCE {
            idle.push(world.connect_with(&hello).await);
        }
        for client in &mut idle[came..] {
            assert_eq!(client.answer().await.status, 200);
        }
    }
    crowd.stands(&world, IDLE);
    crowd.calls_beside(&world, CALLS).await;
    assert!(
        idle.iter().all(Client::is_open),
        "{} were put out",
        idle.iter().filter(|client| !client.is_open()).count()
    );
    crowd.stands(&world, IDLE);
    for client in idle.iter_mut().step_by(IDLE / 100) {
        client.send(world.request("GET", "/api/orders", "").as_bytes()).await;
        assert_eq!(client.answer().await.status, 200, "it is of use as before");
    }
    drop(idle);
    crowd.goes(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_drip_or_do_not_read_hold_nobody_up() {
    let world = World::start().await;
    let mut crowd = Crowd::before(&world, "slow clients").await;
    let head = world.request("GET", "/api/orders", "");
    let body = world.request("POST", "/crowd/body", &format!("Content-Length: {}\r\n", BODY.len()));
    let large = world.request("GET", "/crowd/large", "");
    let (mut heads, mut bodies, mut deaf) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..200 {
        bodies.push(world.connect_with(&body).await);
        deaf.push(world.connect_with(&large).await);
    }
    eventually("the bodies begin", || (world.api.reading() == 200).then_some(())).await;
    eventually("the answers begin", || (world.api.telling() == 200).then_some(())).await;

    for _ in 0..1000 {
        heads.push(world.connect().await);
    }

    // Neither is over before the last byte.
    assert!(BODY.len() > ROUNDS && head.len() > ROUNDS);
    for round in 0..ROUNDS {
        for client in &mut heads {
            client.send(&head.as_bytes()[round..=round]).await;
        }
        for client in &mut bodies {
            client.send(&BODY[round..=round]).await;
        }
        crowd.calls_beside(&world, CALLS / ROUNDS).await;
    }
    crowd.stands(&world, 1400);
    assert_eq!((world.api.reading(), world.api.telling()), (200, 200), "nobody was put out");

    for client in &mut heads {
        client.send(&head.as_bytes()[ROUNDS..]).await;
    }
    for client in &mut bodies {
        client.send(&BODY[ROUNDS..]).await;
    }
    for client in heads.iter_mut().chain(&mut bodies) {
        assert_eq!(client.answer().await.status, 200, "patience is rewarded");
    }
    for client in deaf.iter_mut().step_by(50) {
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.body.len()), (200, api::LARGE), "it is all there for who listens in the end");
    }
    drop((heads, bodies, deaf));
    crowd.goes(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_hang_on_a_silent_api_hold_up_no_others() {
    let world = World::start().await;
    let mut crowd = Crowd::before(&world, "hanging calls").await;
    let call = world.request("GET", "/silent/x", "");
    let mut hanging = Vec::new();
    for _ in 0..500 {
        hanging.push(world.connect_with(&call).await);
    }
    eventually("all calls hang", || (world.silent.held() == 500).then_some(())).await;
    crowd.calls_beside(&world, CALLS).await;
    // Each has a connection to the API, too.
    crowd.stands(&world, 1000);
    assert!(hanging.iter().all(Client::is_open), "a call was given up");
    assert_eq!(world.silent.held(), 500);
    drop(hanging);
    eventually("the API is left alone", || (world.silent.held() == 0).then_some(())).await;
    crowd.goes(world).await;
}

const IDLE: usize = 10_000;
/// Fewer than a listener may have waiting.
const AT_ONCE: usize = 500;
/// Beside each crowd.
const CALLS: usize = 1000;
const ROUNDS: usize = 100;
const BODY: &[u8] = &[b'x'; 200];
