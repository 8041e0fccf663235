//! What a sound configuration means.

use std::time::Duration;

use http::Method;

use super::{file, load, shop, short};
use crate::oidc::ClientAuth;
use crate::proxy::{CsrfPolicy, HttpVersion, UpstreamTls};
use crate::tokens::TokenPolicy;

#[test]
fn what_is_not_said_has_a_safe_default() {
    let config = load(&shop("routes = [{ path = \"/api\", upstream = \"https://api.example.com\" }]"));
    let [frontend] = config.frontends.as_slice() else { panic!("one frontend") };
    let route = &frontend.routes[0];
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.server.admin_listen.as_ref().unwrap().to_string(), "127.0.0.1:9090");
    assert_eq!(frontend.csrf_header, "x-csrf");
    assert!(frontend.client.userinfo && frontend.allowed_login_parameters.is_empty());
    assert!(!frontend.frontchannel_logout);
    assert_eq!((route.token, &route.csrf), (TokenPolicy::Required, &CsrfPolicy::Header));
    assert!(route.methods.is_empty() && !route.shared_cache && route.forward_cookies.is_empty());
    assert_eq!((route.timeout, route.idle_timeout), (Duration::from_secs(30), Duration::from_mins(5)));
    assert_eq!(route.max_body, 10 * 1024 * 1024);
    assert_eq!((&route.upstream_tls, route.http_version), (&UpstreamTls::default(), HttpVersion::Auto));
    assert!(config.server.denied_addresses.is_empty());
    assert_eq!((route.addresses.as_slice(), route.max_connections.get()), (&[][..], 10_000));
    assert!(config.weakened.is_empty());
}

#[test]
fn endpoints_are_below_the_path_of_the_frontend() {
    let text = super::SOUND.replace("https://shop.example.com/", "https://example.com/shop");
    let frontend = load(&file(&text)).frontends.remove(0);
    assert_eq!(frontend.url.as_str(), "https://example.com/shop/");
    assert_eq!(frontend.base_path, "/shop/bff");
    assert_eq!(frontend.after_logout, "/shop/");
    assert_eq!(frontend.client.redirect_uri.as_str(), "https://example.com/shop/bff/callback");
    assert_eq!(frontend.client.post_logout_redirect_uri.as_str(), "https://example.com/shop/bff/logged-out");
}

#[test]
fn an_issuer_stays_as_it_was_written() {
    for issuer in ["https://id.example.com", "https://id.example.com/", "https://id.example.com/realms/Shop"] {
        let config = load(&short().variable("CLOAKROOM_ISSUER", issuer));
        assert_eq!(config.frontends[0].provider.issuer, issuer);
    }
}

#[test]
fn frontends_share_the_provider_they_name() {
    let config = load(&shop(
        "[frontends.other]\nurl = \"https://other.example.com\"\nprovider = \"corp\"\nclient_id = \"other\"\n\
         client_auth = { method = \"client_secret_post\", secret = \"hunter2\" }",
    ));
    let [other, shop] = config.frontends.as_slice() else { panic!("two frontends") };
    assert!(std::sync::Arc::ptr_eq(&other.provider, &shop.provider));
    assert!(matches!(other.client.auth, ClientAuth::SecretPost(_)));
    assert!(config.weakened.is_empty());
}

#[test]
fn remembered_sessions_last_at_least_as_long_as_others() {
    let config = load(&short().variable("CLOAKROOM_SESSION_ABSOLUTE", "60d"));
    assert_eq!(config.session.remember_absolute, config.session.absolute);
}

#[test]
fn methods_are_those_that_were_named() {
    let config =
        load(&shop("routes = [{ path = \"/a\", upstream = \"https://a.example\", methods = [\"GET\", \"POST\"] }]"));
    assert_eq!(config.frontends[0].routes[0].methods, [Method::GET, Method::POST]);
}

#[test]
fn logouts_that_count_as_one_clients_are_told() {
    let told = |tables: &str| {
        let file = shop(&format!("frontchannel_logout = true\n{tables}"));
        let config = load(&file);
        config.summary().to_string().contains("count as one client's")
    };
    assert!(told(""));
    assert!(!told("[server]\ntrusted_proxies = [\"10.0.0.0/8\"]"));
}

#[test]
fn the_summary_says_what_was_configured_and_what_was_weakened() {
    let directory = tempfile::tempdir().unwrap();
    let config = load(
        &file(
            r#"
[server]
trusted_proxies = ["0.0.0.0/0"]
[store]
url = "memory:"
[session]
idle = "90s"
[providers.corp]
issuer = "http://id.internal"
acr_order = ["urn:loa:1", "urn:loa:2"]
[frontends.admin]
url = "https://example.com/admin/"
client_id = "admin"
allow_public_client = true
allowed_login_parameters = ["prompt"]
response_mode = "form_post"
frontchannel_logout = true
[frontends.shop]
url = "https://example.com/"
client_id = "shop"
client_auth = { secret = "hunter2" }
assets = { proxy = "http://localhost:5173" }
[[frontends.shop.routes]]
path = "/api"
upstream = "http://api.internal/v1"
addresses = ["127.0.0.1:8443", "api-2.internal:80"]
methods = ["GET", "POST"]
min_acr = "urn:loa:2"
max_auth_age = "5m"
[[frontends.shop.routes]]
path = "/pictures"
upstream = "http://localhost:9001"
token = "none"
session = "required"
csrf = "origin"
csrf_reason = "img elements send no header"
documents = true
shared_cache = true
"#,
        )
        .directory(directory.path()),
    );
    insta::assert_snapshot!(config.summary(), @r#"
    listen              127.0.0.1:8080 (http; TLS, if any, ends in front of it)
    admin               127.0.0.1:9090
    store               memory:, a fresh master key; sessions end with the process
    session             ends 90s after its last use, 12h after login; if remembered, 30d after login

    frontend admin      https://example.com/admin/
      provider          http://id.internal (ID tokens RS256)
      client            admin (public client, form_post)
      scopes            openid profile offline_access
      register          https://example.com/admin/bff/callback as redirect URI
                        https://example.com/admin/bff/logged-out as post-logout redirect URI
                        https://example.com/admin/bff/backchannel-logout as back-channel logout URI, session required
                        https://example.com/admin/bff/frontchannel-logout as front-channel logout URI, session required
      login takes       prompt
      assets            none

    frontend shop       https://example.com/
      provider          http://id.internal (ID tokens RS256)
      client            shop (client_secret_basic)
      scopes            openid profile offline_access
      register          https://example.com/bff/callback as redirect URI
                        https://example.com/bff/logged-out as post-logout redirect URI
                        https://example.com/bff/backchannel-logout as back-channel logout URI, session required
      assets            http://localhost:5173/
      route             GET,POST /api → http://api.internal/v1 at 127.0.0.1:8443, api-2.internal:80 (token required, acr urn:loa:2 or stronger, authenticated within 5m)
      route             /pictures → http://localhost:9001/ (no token, session required, no header needed)

    weakened on purpose:
      server.trusted_proxies: anybody may claim any client address; name the networks of your proxies
      providers.corp.issuer: http://id.internal is cleartext: codes, secrets and keys can be read and changed on the way; use https
      frontends.admin.allow_public_client: a public client: whoever has a code and its verifier gets the tokens; use a secret
      frontends.admin.frontchannel_logout: whoever knows the sid of a session at the provider can end it here; use back-channel logout if the provider has it
      frontends.shop.routes[0].upstream: access tokens go to http://api.internal in cleartext; use https
      frontends.shop.routes[1].shared_cache: what this API calls public may be kept by caches between people; leave it out unless it is
      frontends.shop.routes[1].csrf: "origin": calls are taken without our header, because: img elements send no header
      frontends.shop.routes[1].documents: pages of this API run as our origin and may call everything the app may; leave it out
      frontends: "admin", "shop" share https://example.com, one origin: that is no security border, each app can do what the others may; give each a host
    "#);
}

#[test]
fn how_an_upstream_is_reached_is_said_by_its_route() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["ca.pem", "api.crt", "api.key"] {
        std::fs::write(directory.path().join(name), "-----BEGIN CERTIFICATE-----\n").unwrap();
    }
    let tls = r#"{ ca_file = "ca.pem", cert = "api.crt", key = "api.key", server_name = "orders.internal" }"#;
    let route =
        format!("{{ path = \"/a\", upstream = \"https://a.example\", upstream_tls = {tls}, http_version = \"2\" }}");
    let sources = shop(&format!("routes = [{route}]\n[server]\ndenied_addresses = [\"169.254.0.0/16\", \"::1\"]"));
    let config = load(&sources.directory(directory.path()));
    let route = &config.frontends[0].routes[0];
    let files = route.upstream_tls.certificate.as_ref().unwrap();
    assert_eq!(route.upstream_tls.ca_file.as_deref(), Some(directory.path().join("ca.pem").as_path()));
    assert_eq!((&files.cert, &files.key), (&directory.path().join("api.crt"), &directory.path().join("api.key")));
    assert_eq!(route.upstream_tls.server_name.as_deref(), Some("orders.internal"));
    assert_eq!(route.http_version, HttpVersion::Http2);
    assert_eq!(config.server.denied_addresses.len(), 2);
    assert!(config.weakened.is_empty());
}

#[test]
fn tokens_in_cleartext_are_told_by_where_they_go() {
    for (upstream, addresses, told) in [
        ("http://localhost:9000", "[\"10.0.0.5:80\"]", true),
        ("http://orders.internal", "[\"127.0.0.1:80\", \"[::1]:80\"]", false),
        ("http://orders.internal", "[\"127.0.0.1:80\", \"orders-2:80\"]", true),
        ("https://orders.internal", "[\"10.0.0.5:80\"]", false),
    ] {
        let route = format!("routes = [{{ path = \"/a\", upstream = \"{upstream}\", addresses = {addresses} }}]");
        let summary = load(&shop(&route)).summary().to_string();
        assert_eq!(summary.contains("cleartext"), told, "{upstream} {addresses}: {summary}");
    }
}
