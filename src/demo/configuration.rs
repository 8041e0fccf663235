//! The configuration of a demo: one frontend on `http://localhost:PORT`, the development provider, one API route, sessions in memory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::api::EchoApi;
use super::assets;
use super::idp::{DevClient, DevProvider, PASSWORD, SECOND_FACTOR};
use crate::config::{Config, Given, Server, Store};
use crate::frontend::{self, AssetsOptions};
use crate::oidc::{ClientAuth, ClientOptions, ProviderOptions};
use crate::proxy::RouteOptions;
use crate::secret::{self, Secret};
use crate::session;

/// The public side of a demo.
pub(super) struct Site {
    listen: SocketAddr,
    url: Url,
    client_secret: Secret<String>,
    frontchannel_logout: bool,
}

impl Site {
    /// The site that is served at this address. With `frontchannel_logout` it is told of logouts in the browser, and in no other way.
    pub(super) fn on(listen: SocketAddr, frontchannel_logout: bool) -> Self {
        let url = Url::parse(&format!("http://localhost:{}/", listen.port())).expect("localhost and a port are a URL");
        Self { listen, url, client_secret: secret::random_token(), frontchannel_logout }
    }

    /// Where browsers reach it.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Its registration, from the provider's side.
    pub(super) fn client(&self) -> DevClient {
        let secret = self.client_secret.expose().as_str();
        let client = DevClient::new(CLIENT_ID, secret, &self.below("bff/callback"), &self.below("bff/logged-out"));
        if self.frontchannel_logout {
            client.framed_at_logout(&self.below("bff/frontchannel-logout"))
        } else {
            client.told_of_logouts_at(&self.below("bff/backchannel-logout"))
        }
    }

    /// What `cloakroom serve` would be given in a file.
    pub(super) fn configuration(&self, provider: &DevProvider, api: &EchoApi) -> Config {
        Config {
            server: self.server(),
            keys: Vec::new(),
            store: Store { url: "memory:".into(), replicas_written: 0, timeout: secs(2), lease: secs(5) },
            session: session::Options::default(),
            frontends: vec![self.frontend(provider, api)],
            weakened: Vec::new(),
            given: Given::default(),
        }
    }

    fn server(&self) -> Server {
        Server { listen: self.listen, admin_listen: None, drain: secs(1), ..Server::default() }
    }

    fn frontend(&self, provider: &DevProvider, api: &EchoApi) -> frontend::Options {
        let auth = ClientAuth::SecretBasic(self.client_secret.clone());
        let mut client = ClientOptions::new(CLIENT_ID, auth, self.below("bff/callback"), self.below("bff/logged-out"));
        let mut known = ProviderOptions::new("demo", provider.issuer());
        known.acr_order = [PASSWORD, SECOND_FACTOR].map(str::to_owned).to_vec();
        client.scopes = ["openid", "profile", "email", "offline_access"].map(str::to_owned).to_vec();
        frontend::Options {
            id: "demo".to_owned(),
            url: self.url.clone(),
            base_path: "/bff".to_owned(),
            csrf_header: http::HeaderName::from_static("x-csrf"),
            provider: Arc::new(known),
            client,
            allowed_login_parameters: Vec::new(),
            frontchannel_logout: self.frontchannel_logout,
            assets: Some(AssetsOptions::Embedded(assets::FILES)),
            after_logout: "/".to_owned(),
            routes: vec![api_route(&api.url())],
        }
    }

    fn below(&self, path: &str) -> Url {
        self.url.join(path).expect("a constant path can be joined")
    }
}

fn api_route(upstream: &str) -> RouteOptions {
    let upstream = Url::parse(upstream).expect("the API's own URL is one");
    RouteOptions { session_required: true, ..RouteOptions::new("/api", upstream) }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const CLIENT_ID: &str = "cloakroom-demo";
