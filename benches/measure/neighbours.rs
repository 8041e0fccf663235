//! What stands around a Cloakroom: the development provider, with one client, and an API that answers 1 KiB.

use std::time::Duration;

use axum::Router;
use cloakroom::demo::idp::{DevClient, DevProvider, DevProviderOptions, SigningAlgorithm};
use tokio::net::TcpListener;
use url::Url;

use crate::Done;

pub(crate) const CLIENT_ID: &str = "bench";
pub(crate) const CLIENT_SECRET: &str = "a secret of the benchmark";

/// A provider for the Cloakroom at `url`.
pub(crate) fn provider(
    listener: TcpListener,
    url: &str,
    algorithm: SigningAlgorithm,
    access_token_lifetime: Duration,
) -> Done<DevProvider> {
    let at = |path: &str| Url::parse(&format!("{url}{path}"));
    let mut client = DevClient::new(CLIENT_ID, CLIENT_SECRET, &at("/bff/callback")?, &at("/bff/logged-out")?);
    client.id_token_alg = algorithm;
    let options = DevProviderOptions { clients: vec![client], access_token_lifetime, ..Default::default() };
    Ok(DevProvider::start(listener, options))
}

/// Serves the API until this process ends.
pub(crate) fn serve_api(listener: TcpListener) {
    let api = Router::new().fallback(async || "x".repeat(1024));
    tokio::spawn(async move { axum::serve(listener, api).await });
}
