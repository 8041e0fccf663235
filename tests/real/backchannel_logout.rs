//! npm `oidc-provider` tells the program of logouts: its logout tokens are made by code that knows nothing of ours.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::Value;
use tempfile::TempDir;

use crate::browser::Browser;
use crate::process::Process;
use crate::provider::{Provider, Settings, Tells};
use crate::upstream::Upstream;
use crate::{cloakroom, eventually, free_port, redis};

/// A provider that tells the first of several replicas over one store.
struct World {
    provider: Provider,
    url: String,
    replicas: Vec<(SocketAddr, Process)>,
    upstream: Upstream,
    folder: TempDir,
}

impl World {
    async fn start(replicas: usize, store: &str, tells: Tells) -> Self {
        let settings = Settings { tells_of_logouts: Some(tells), ..Settings::default() };
        let (url, upstream, folder) = (cloakroom::free_url(), Upstream::start().await, cloakroom::assets());
        let mut provider = Provider::down(settings, &url);
        provider.come_up().await;
        let key = cloakroom::keygen();
        let public = url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("the URL ends with a port");
        let ports = [public].into_iter().chain(std::iter::repeat_with(free_port)).take(replicas);
        let mut world = Self { provider, url, replicas: Vec::new(), upstream, folder };
        for port in ports {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let process = Process::start(
                cloakroom::serve(&world.url, &world.provider, &world.upstream, world.folder.path())
                    .env("CLOAKROOM_LISTEN", address.to_string())
                    .env("CLOAKROOM_ADMIN_LISTEN", "off")
                    .env("CLOAKROOM_STORE", store)
                    .env("CLOAKROOM_KEY", &key),
            );
            world.replicas.push((address, process));
            eventually("the program listens", || TcpStream::connect(address).ok()).await;
        }
        world
    }

    /// Somebody who is logged in by the last replica.
    async fn logged_in(&self, user: &str) -> Browser {
        let mut browser = Browser::new(&self.url);
        browser.go_through(self.replicas.last().expect("there is one").0);
        browser.log_in(user, "/").await;
        assert_eq!(browser.user().await["sub"], user);
        browser
    }

    async fn log_out_at_the_provider(&self, browser: &mut Browser) {
        browser.log_out_at(&format!("{}/session/end", self.provider.issuer)).await;
        self.provider.wait_for("session-ended", 1).await;
        assert_eq!(self.provider.events("client-not-told"), [] as [Value; 0]);
    }

    /// The provider was answered already; the replica it did not ask has a second.
    async fn assert_out_within_a_second(&self, browser: &Browser) {
        let start = Instant::now();
        while browser.user().await["authenticated"] != false {
            assert!(start.elapsed() < Duration::from_secs(1), "still logged in");
            tokio::time::sleep(crate::POLL).await;
        }
        assert_eq!(browser.fetch("GET", "/api/orders").await.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_logout_at_the_provider_ends_the_session_it_names() {
    let world = World::start(1, "sqlite:sessions.db", Tells::Sid).await;
    let (mut alice, elsewhere) = (world.logged_in("alice").await, world.logged_in("alice").await);

    world.log_out_at_the_provider(&mut alice).await;

    world.assert_out_within_a_second(&alice).await;
    assert_eq!(elsewhere.user().await["sub"], "alice", "another session of hers goes on");
}

#[tokio::test]
async fn a_logout_that_names_a_person_ends_all_sessions_of_theirs() {
    let world = World::start(1, "sqlite:sessions.db", Tells::Subject).await;
    let (mut alice, elsewhere) = (world.logged_in("alice").await, world.logged_in("alice").await);
    let bob = world.logged_in("bob").await;

    world.log_out_at_the_provider(&mut alice).await;

    for browser in [&alice, &elsewhere] {
        world.assert_out_within_a_second(browser).await;
    }
    assert_eq!(bob.user().await["sub"], "bob");
}

#[tokio::test]
async fn a_logout_told_to_one_replica_is_known_to_the_other() {
    let world = World::start(2, &redis::shared().url(), Tells::Sid).await;
    let (mut alice, bob) = (world.logged_in("alice").await, world.logged_in("bob").await);

    world.log_out_at_the_provider(&mut alice).await;

    world.assert_out_within_a_second(&alice).await;
    assert_eq!(bob.user().await["sub"], "bob");
}

#[tokio::test]
async fn who_logs_in_again_after_it_stays() {
    let world = World::start(1, "sqlite:sessions.db", Tells::Subject).await;
    let mut alice = world.logged_in("alice").await;
    world.log_out_at_the_provider(&mut alice).await;
    let start = Instant::now();

    let mut page = alice.log_in("alice", "/").await;
    while page.status != StatusCode::OK {
        assert!(page.body.contains("login-ended") && start.elapsed() < crate::LIMIT, "{}", page.body);
        page = alice.log_in("alice", "/").await;
    }

    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(alice.user().await["sub"], "alice");
}
