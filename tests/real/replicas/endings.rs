//! Sessions that end at one replica, or by a limit, while their pages are open at the other: each is told within a second.

use std::time::Duration;

use cloakroom::clock::{Clock as _, SystemClock, Timestamp};
use http::StatusCode;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::store::{Kind, Store};
use super::world::{Variables, World};
use crate::browser::{Browser, client};
use crate::provider::{Settings, Software, Tells};
use crate::support::{EventSource, WebSocket};

/// Replicas, and a person who is logged in by the first and has a page open at the second.
struct Scene {
    world: World,
    browser: Browser,
    events: EventSource,
    socket: WebSocket,
    tag: String,
    /// When the session ends if nobody ends it: by the end of this second since 1970.
    ends_in: i64,
}

impl Scene {
    async fn set(world: World) -> Self {
        let browser = world.logged_in("alice").await;
        let mut events = events(&world, &browser).await;
        let session = events.next().await;
        assert_eq!(session.name, "session");
        let ends_at = session.data["expires_at"].as_str().expect("it says when it ends");
        let ends_in = OffsetDateTime::parse(ends_at, &Rfc3339).expect("a time").unix_timestamp();
        let mut socket = WebSocket::ask_at(there(&world), host(&world), &browser.cookies(), "/api/ws").await;
        socket.opens().await;
        socket.goes_on().await;
        assert!(world.call(&browser.fetcher(), 1).await.is_good());
        Self { world, browser, events, socket, tag: session.id, ends_in }
    }

    /// The session has just ended, for this reason: its page knows from a signal, since it asks by itself only once in a minute and
    /// then would not know why.
    async fn told(mut self, reason: &str) -> World {
        let over = async {
            assert_eq!(self.events.ended().await, reason);
            self.socket.closes_with(4401).await;
            let answer = self.world.call(&self.browser.fetcher(), 1).await;
            assert!(answer.is_expired(), "{answer:#?}");
        };
        tokio::select! {
            biased;
            () = over => {}
            () = a_second() => panic!("not told within a second: {reason}\n{}", self.world.logs()),
        }
        // Who comes back is told why.
        assert_eq!(events(&self.world, &self.browser).await.ended().await, reason);
        self.world
    }

    async fn log_out(self) -> World {
        let here = self.browser.fetcher().through(self.world.addresses()[0]);
        let answer = here.send("POST", "/bff/logout?local=true").await.expect("a logout is answered");
        assert_eq!(answer.status, StatusCode::OK);
        self.told("logout").await
    }

    async fn end_from_another_browser(self) -> World {
        let elsewhere = self.world.logged_in("alice").await;
        let answer = elsewhere.fetch("DELETE", &format!("/bff/sessions/{}", self.tag)).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        self.told("by-user").await
    }

    async fn log_out_at_the_provider(mut self) -> World {
        self.browser.log_out_at(&self.world.provider.end_session_url()).await;
        self.told("provider-logout").await
    }

    async fn end_by_an_operator(self) -> World {
        let ended = self.world.replicas[0].end_sessions_of(self.world.provider.subject("alice"), ADMIN_TOKEN).await;
        // Of this browser, and of the one that ended the session before.
        assert_eq!(ended, 2);
        self.told("admin").await
    }

    async fn end_by_a_command(self) -> World {
        let mut command = self.world.program();
        command.args(["sessions", "end", "--sub", self.world.provider.subject("alice")]);
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it does not panic");
        let output = output.expect("the program runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.told("admin").await
    }

    async fn wait_for_the_limit(self) -> World {
        let end = Timestamp::from_unix_seconds(self.ends_in + 1);
        tokio::time::sleep(end.since(SystemClock.now())).await;
        self.told("expired").await
    }
}

pub(super) async fn every_end_is_told_at_the_other_replica(kind: Kind) {
    every_end_is_told(kind, Software::OidcProvider).await;
}

pub(super) async fn every_end_is_told_at_the_other_replica_with_the_development_provider(kind: Kind) {
    every_end_is_told(kind, Software::Development).await;
}

async fn every_end_is_told(kind: Kind, software: Software) {
    let world = world(kind, software, &[("CLOAKROOM_ADMIN_TOKEN", ADMIN_TOKEN)]).await;
    let world = Scene::set(world).await.log_out().await;
    let world = Scene::set(world).await.end_from_another_browser().await;
    let world = Scene::set(world).await.end_by_an_operator().await;
    let world = Scene::set(world).await.end_by_a_command().await;
    Scene::set(world).await.log_out_at_the_provider().await;
}

pub(super) async fn the_absolute_limit_is_told_when_it_is_reached(kind: Kind) {
    the_absolute_limit_is_told(kind, Software::OidcProvider).await;
}

pub(super) async fn the_absolute_limit_is_told_when_it_is_reached_with_the_development_provider(kind: Kind) {
    the_absolute_limit_is_told(kind, Software::Development).await;
}

async fn the_absolute_limit_is_told(kind: Kind, software: Software) {
    // The session is used once it is there, so that it is not the idle limit that is reached.
    let limits = &[("CLOAKROOM__SESSION__IDLE", LIMIT), ("CLOAKROOM__SESSION__ABSOLUTE", LIMIT)];
    let world = world(kind, software, limits).await;
    Scene::set(world).await.wait_for_the_limit().await;
}

async fn world(kind: Kind, software: Software, variables: Variables) -> World {
    let settings = Settings { software, tells_of_logouts: Some(Tells::Sid), ..Settings::default() };
    World::configured(Store::shared(kind).await, 2, settings, variables).await
}

/// A stream of events of the second replica.
async fn events(world: &World, browser: &Browser) -> EventSource {
    let url = format!("http://{}/bff/events", there(world));
    EventSource::connect(&client(), &url, host(world), Some(&browser.cookies()), &[]).await
}

fn there(world: &World) -> std::net::SocketAddr {
    world.addresses()[1]
}

fn host(world: &World) -> &str {
    world.url().trim_start_matches("http://")
}

/// At least a second: a hundred turns of ten milliseconds. On a machine that is too busy to give us our turns, as much longer.
async fn a_second() {
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

const ADMIN_TOKEN: &str = "an-admin-token-of-many-characters";
/// Longer than it takes to log in and open a page.
const LIMIT: &str = "6s";
