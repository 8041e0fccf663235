//! Signals between processes: what happens at one replica is told at the other within a second, whatever the store.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::{StatusCode, header};
use tokio::time::timeout;

use crate::browser::{self, Browser};
use crate::provider::Settings;
use crate::replicas::store::Kind;
use crate::replicas::world::World;

#[tokio::test]
async fn an_end_at_one_replica_is_told_at_the_other_over_redis() {
    an_end_at_one_replica_is_told_at_the_other(Kind::Redis).await;
}

#[tokio::test]
async fn an_end_at_one_replica_is_told_at_the_other_over_postgres() {
    an_end_at_one_replica_is_told_at_the_other(Kind::Postgres).await;
}

async fn an_end_at_one_replica_is_told_at_the_other(kind: Kind) {
    let world = World::start(kind, 2, Settings::default()).await;
    let [here, there] = world.addresses()[..] else { panic!("two replicas") };
    let browser = world.logged_in("alice").await;
    let mut events = Events::open(world.url(), &browser, there).await;
    events.until("event: session").await;
    let (fetch, started) = (browser.fetcher().through(here), Instant::now());
    let logout = fetch.send("POST", "/bff/logout?local=true").await.expect("a logout is answered");
    assert_eq!(logout.status, StatusCode::OK);
    events.until("{\"reason\":\"logout\"}").await;
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}\n{}", started.elapsed(), world.logs());
    // The other replica remembers why.
    Events::open(world.url(), &browser, there).await.until("{\"reason\":\"logout\"}").await;
}

/// An open stream of one replica.
struct Events {
    answer: reqwest::Response,
    text: String,
}

impl Events {
    async fn open(url: &str, browser: &Browser, replica: SocketAddr) -> Self {
        let cookie = browser.session_cookie();
        let request = browser::client().get(format!("http://{replica}/bff/events"));
        let request = request
            .header(header::HOST, url.trim_start_matches("http://"))
            .header(header::COOKIE, format!("{}={}", cookie.name, cookie.value))
            .header("sec-fetch-site", "same-origin");
        let answer = request.send().await.expect("it is answered");
        assert_eq!(answer.status(), StatusCode::OK);
        Self { answer, text: String::new() }
    }

    /// Reads until this has come.
    async fn until(&mut self, wanted: &str) {
        while !self.text.contains(wanted) {
            let piece = timeout(crate::LIMIT, self.answer.chunk()).await.expect("something comes");
            let piece = piece.expect("it does not break off").unwrap_or_else(|| panic!("it ends after {}", self.text));
            self.text += &String::from_utf8_lossy(&piece);
        }
    }
}
