//! A provider as discovered: its metadata and keys, asked for on first use and kept.

use std::sync::Arc;

use futures_util::FutureExt as _;
use http::StatusCode;
use openidconnect::core::CoreJsonWebKeySet;
use serde::de::DeserializeOwned;
use url::Url;

use super::cached::Cached;
use super::error::{DiscoveryReason, Error, IdTokenReason, KeysReason, Outage, Sent};
use super::http::ProviderHttp;
use super::jws::Jws;
use super::metadata::ProviderMetadata;
use super::options::ProviderOptions;
use crate::clock::Clock;

/// See the module. Frontends with the same provider share one.
#[derive(Debug)]
pub(crate) struct Provider {
    pub(super) options: Arc<ProviderOptions>,
    pub(super) http: ProviderHttp,
    pub(super) clock: Arc<dyn Clock>,
    metadata: Arc<Cached<ProviderMetadata>>,
    keys: Cached<CoreJsonWebKeySet>,
}

impl Provider {
    /// Nothing is asked before it is needed, so a provider may be down when we start.
    pub(crate) fn new(options: Arc<ProviderOptions>, http: ProviderHttp, clock: Arc<dyn Clock>) -> Self {
        let metadata = {
            let (options, http) = (options.clone(), http.clone());
            let what = format!("discovery document of {}", options.name);
            Cached::new(what, clock.clone(), Arc::new(move || discover(options.clone(), http.clone()).boxed()))
        };
        let metadata = Arc::new(metadata);
        let keys = {
            let (metadata, http) = (metadata.clone(), http.clone());
            let what = format!("keys of {}", options.name);
            Cached::new(what, clock.clone(), Arc::new(move || fetch_keys(metadata.clone(), http.clone()).boxed()))
        };
        Self { options, http, clock, metadata, keys }
    }

    /// Its name in the configuration.
    pub(crate) fn name(&self) -> &str {
        &self.options.name
    }

    /// The discovered metadata, fetched if it is not at hand.
    ///
    /// # Errors
    /// `Unavailable`, `Discovery`.
    pub(crate) async fn metadata(&self) -> Result<Arc<ProviderMetadata>, Error> {
        self.metadata.get().await
    }

    /// The metadata if it is at hand; makes no call.
    pub(crate) fn metadata_at_hand(&self) -> Option<Arc<ProviderMetadata>> {
        self.metadata.peek()
    }

    /// Has keys at hand when this returns, so that no later outage can keep a signature from being verified.
    ///
    /// # Errors
    /// `Unavailable`, `Discovery`, `Keys`.
    pub(super) async fn await_keys(&self) -> Result<(), Error> {
        self.keys.get().await.map(drop)
    }

    /// Verifies a signature with the pinned algorithm and reads the payload. If no key fits, the keys are fetched anew once
    /// (braked: an invented `kid` costs the provider nothing).
    ///
    /// # Errors
    /// `Unavailable`, `Discovery`, `Keys`; otherwise what `reason` makes of [`Jws::verify`]'s.
    pub(super) async fn verify<T: DeserializeOwned>(
        &self,
        jws: &Jws<'_>,
        reason: fn(IdTokenReason) -> Error,
    ) -> Result<T, Error> {
        let algorithm = self.options.id_token_alg;
        let keys = self.keys.get().await?;
        match jws.verify(algorithm, &keys) {
            Err(found) if may_be_rotated(found, jws) => {
                let newer = self.keys.demand_newer().await.unwrap_or(keys);
                jws.verify(algorithm, &newer).map_err(reason)
            }
            verified => verified.map_err(reason),
        }
    }

    /// Why newer keys than those at hand cannot be had now.
    pub(super) fn keys_outage(&self) -> Option<Error> {
        self.keys.outage()
    }

    /// Verifies with the keys at hand and makes no call. `None` if no key fits.
    pub(super) fn verify_at_hand<T: DeserializeOwned>(&self, jws: &Jws<'_>) -> Option<Result<T, IdTokenReason>> {
        match jws.verify(self.options.id_token_alg, &*self.keys.peek()?) {
            Err(found) if may_be_rotated(found, jws) => None,
            verified => Some(verified),
        }
    }
}

/// Whether newer keys could verify what these could not. Without a kid a rotation looks like a wrong signature.
pub(super) fn may_be_rotated(found: IdTokenReason, jws: &Jws<'_>) -> bool {
    found == IdTokenReason::UnknownKey || (found == IdTokenReason::Signature && jws.names_no_key())
}

async fn discover(options: Arc<ProviderOptions>, http: ProviderHttp) -> Result<ProviderMetadata, Error> {
    // OIDC Discovery §4.1: the path is appended to the issuer, whose own trailing slash does not count.
    let url = format!("{}/.well-known/openid-configuration", options.issuer.trim_end_matches('/'));
    let url = Url::parse(&url).map_err(|_| Error::Discovery(DiscoveryReason::IssuerNotAUrl))?;
    let refused = |status| Error::Discovery(DiscoveryReason::Status(status));
    let document = fetch(&http, &url, refused, Error::Discovery(DiscoveryReason::TooLarge)).await?;
    ProviderMetadata::read(&document, &options.issuer).map_err(Error::Discovery)
}

async fn fetch_keys(metadata: Arc<Cached<ProviderMetadata>>, http: ProviderHttp) -> Result<CoreJsonWebKeySet, Error> {
    let metadata = metadata.get().await?;
    let refused = |status| Error::Keys(KeysReason::Status(status));
    let document = fetch(&http, &metadata.jwks_uri, refused, Error::Keys(KeysReason::TooLarge)).await?;
    // Keys of a type or curve we do not know are left out by the reader; the rest is used.
    serde_json::from_slice(&document).map_err(|_| Error::Keys(KeysReason::Unreadable))
}

/// A document; a status other than 200 is what `refused` makes of it.
async fn fetch(http: &ProviderHttp, url: &Url, refused: fn(u16) -> Error, too_large: Error) -> Result<Vec<u8>, Error> {
    let request = http::Request::get(url.as_str())
        .header(http::header::ACCEPT, "application/json")
        .body(Vec::new())
        .map_err(|_| Error::unsent(Outage::Connect))?;
    // Reading a document has no effect there, however it ends.
    let response = http.send(request).await.map_err(|error| error.or(too_large).having_sent(Sent::Nothing))?;
    match response.status() {
        StatusCode::OK => Ok(response.into_body()),
        status => Err(refused(status.as_u16())),
    }
}
