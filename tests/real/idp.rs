//! The built program against npm `oidc-provider`: code that knows nothing of ours decides whether what we send is right.

use std::time::Instant;

use http::StatusCode;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::cloakroom::{self, Cloakroom};
use crate::provider::{Provider, Settings};
use crate::upstream::Upstream;
use crate::{LIMIT, POLL};

/// A provider, an API and the program between them, with nobody logged in yet.
struct World {
    provider: Provider,
    upstream: Upstream,
    cloakroom: Cloakroom,
    browser: Browser,
}

impl World {
    async fn start(settings: Settings) -> Self {
        let mut world = Self::without_provider(settings).await;
        world.provider.come_up().await;
        world
    }

    /// The same before the provider is up. Every world starts so: the program never needs the provider to start.
    async fn without_provider(settings: Settings) -> Self {
        let upstream = Upstream::start().await;
        let url = cloakroom::free_url();
        let provider = Provider::down(settings, &url);
        let cloakroom = Cloakroom::start(&url, &provider, &upstream).await;
        Self { browser: Browser::new(&url), provider, upstream, cloakroom }
    }

    /// Logs in as soon as the program has noticed that the provider is back, or has new keys: it asks a provider that
    /// failed it only now and then.
    async fn log_in_when_possible(&mut self, user: &str) {
        let start = Instant::now();
        while self.browser.user().await["sub"] != user {
            assert!(start.elapsed() < LIMIT, "no login in time");
            self.browser.log_in(user, "/").await;
            tokio::time::sleep(POLL).await;
        }
    }
}

#[tokio::test]
async fn a_person_logs_in_and_comes_back_to_the_page_they_wanted() {
    let mut world = World::start(Settings::default()).await;

    let page = world.browser.log_in("alice", "/orders?page=2#last").await;

    assert_eq!(page.url.as_str(), format!("{}/orders?page=2#last", world.cloakroom.url));
    let user = world.browser.user().await;
    assert_eq!(user["authenticated"], true);
    assert_eq!(user["sub"], "alice");
}

#[tokio::test]
async fn the_claims_of_userinfo_reach_the_page() {
    let mut world = World::start(Settings::default()).await;

    world.browser.log_in("alice", "/").await;

    let claims = &world.browser.user().await["claims"];
    assert_eq!((&claims["name"], &claims["email"]), (&json!("User alice"), &json!("alice@example.test")));
    for internal in ["sid", "nonce", "at_hash"] {
        assert!(claims.get(internal).is_none(), "{internal} is not for the page: {claims}");
    }
}

#[tokio::test]
async fn signed_userinfo_is_read_too() {
    let mut world = World::start(Settings { signed_userinfo: true, ..Settings::default() }).await;

    world.browser.log_in("alice", "/").await;

    assert_eq!(world.browser.user().await["claims"]["email"], "alice@example.test");
}

#[tokio::test]
async fn an_api_call_carries_the_access_token_and_nothing_of_the_browser() {
    let mut world = World::start(Settings::default()).await;
    world.browser.log_in("alice", "/").await;

    let answer = world.browser.fetch("GET", "/api/orders?x=1").await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let call = world.upstream.last_call();
    assert_eq!(call.target, "/v1/orders?x=1");
    assert_eq!(world.provider.issued("access_token"), [call.bearer()]);
    for header in ["cookie", "x-csrf"] {
        assert!(!call.headers.contains_key(header), "{header} must not reach the API");
    }
}

#[tokio::test]
async fn a_rotated_refresh_token_serves_the_next_refresh() {
    let mut world = World::start(Settings { access_token_lifetime: 2, ..Settings::default() }).await;
    world.browser.log_in("alice", "/").await;

    let mut tokens = vec![world.browser.token_at(&world.upstream).await];
    while tokens.len() < 4 {
        tokio::time::sleep(POLL).await;
        let token = world.browser.token_at(&world.upstream).await;
        if tokens.last() != Some(&token) {
            tokens.push(token);
        }
    }

    // The provider ends the whole grant if a refresh token comes a second time.
    world.provider.wait_for("grant", tokens.len()).await;
    assert_eq!(world.provider.issued("access_token"), tokens);
    assert_eq!(world.provider.events("grant-refused"), [] as [Value; 0]);
}

#[tokio::test]
async fn logout_ends_our_session_and_the_providers() {
    let mut world = World::start(Settings::default()).await;
    world.browser.log_in("alice", "/").await;
    let ours = world.browser.session_cookie();

    let page = world.browser.log_out().await;

    assert_eq!(page.url.as_str(), format!("{}/", world.cloakroom.url));
    assert_eq!(world.browser.user().await["authenticated"], false);
    world.provider.wait_for("session-ended", 1).await;
    world.provider.wait_for("grant-revoked", 1).await;
    world.browser.put_back(ours);
    assert_eq!(world.browser.user().await["authenticated"], false, "the old id opens nothing");
    let page = world.browser.open("/bff/login").await;
    assert!(page.body.contains("name=\"password\""), "the provider asks for the password again: {}", page.url);
}

#[tokio::test]
async fn a_secret_the_provider_does_not_accept_logs_nobody_in() {
    let settings = Settings { secret_at_the_provider: "another one".to_owned(), ..Settings::default() };
    let mut world = World::start(settings).await;

    let page = world.browser.log_in("alice", "/").await;

    assert_eq!(page.status, StatusCode::BAD_GATEWAY, "{}", page.body);
    assert_eq!(world.browser.user().await["authenticated"], false);
    let refused = world.provider.wait_for("grant-refused", 1).await;
    assert_eq!((refused.len(), &refused[0]["error"]), (1, &json!("invalid_client")));
}

#[tokio::test]
async fn a_provider_that_comes_late_is_found_without_a_restart() {
    let mut world = World::without_provider(Settings::default()).await;

    let page = world.browser.open("/bff/login").await;

    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{}", page.body);
    assert!(page.headers.contains_key("retry-after"));
    world.provider.come_up().await;
    world.log_in_when_possible("alice").await;
}

#[tokio::test]
async fn an_outage_of_the_provider_costs_nobody_the_session() {
    let mut world = World::start(Settings::default()).await;
    world.browser.log_in("alice", "/").await;

    world.provider.go_down();

    assert_eq!(world.browser.user().await["sub"], "alice");
    assert_eq!(world.browser.fetch("GET", "/api/orders").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_provider_with_new_keys_after_a_restart_logs_people_in() {
    let mut world = World::start(Settings::default()).await;
    world.browser.log_in("alice", "/").await;

    world.provider.go_down();
    world.provider.come_up().await;

    world.browser = Browser::new(&world.cloakroom.url);
    world.log_in_when_possible("bob").await;
}

#[tokio::test]
async fn nothing_secret_is_in_the_log() {
    let mut world = World::start(Settings { access_token_lifetime: 1, ..Settings::default() }).await;
    world.browser.log_in("alice", "/").await;
    while world.provider.refreshes() == 0 {
        world.browser.token_at(&world.upstream).await;
        tokio::time::sleep(POLL).await;
    }
    world.browser.log_out().await;
    let mut secrets = [world.browser.secrets_seen(), world.cloakroom.secrets()].concat();
    for kind in ["access_token", "refresh_token", "id_token"] {
        secrets.extend(world.provider.issued(kind));
    }

    world.cloakroom.terminate();
    let log = world.cloakroom.ended().await.log;

    assert!(log.contains("/bff/callback"), "the log was captured:\n{log}");
    assert!(secrets.len() >= 12, "login, refresh and logout have secrets: {}", secrets.len());
    for secret in secrets {
        assert!(!log.contains(&secret), "the log holds a secret of {} characters", secret.len());
    }
}

#[tokio::test]
async fn sigterm_lets_a_call_under_way_finish() {
    let mut world = World::start(Settings::default()).await;
    world.browser.log_in("alice", "/").await;
    let call = world.browser.spawn_fetch("GET", "/api/held");
    world.upstream.arrived("/v1/held").await;

    world.cloakroom.terminate();
    world.cloakroom.closed_its_door().await;
    world.upstream.release();

    assert_eq!(call.await.expect("the call ends").status, StatusCode::OK);
    assert_eq!(world.cloakroom.ended().await.exit_code, Some(0));
}
