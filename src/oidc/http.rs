//! The one door to providers: deadline, size limit, no redirects, no cookies.
//!
//! Every call that the `oauth2` crate makes goes through [`ProviderHttp`] too, so client authentication beyond a secret has one
//! place to be added.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::StatusCode;
use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};

use super::error::{Error, Outage, Sent};

/// A client for the endpoints of one provider. Clones share their connections, and what they trust.
#[derive(Clone, Debug)]
pub(crate) struct ProviderHttp {
    client: Arc<ArcSwap<reqwest::Client>>,
    timeout: Duration,
}

/// Why there is no usable HTTP answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HttpError {
    /// See [`Error::Unavailable`].
    #[error("{0}")]
    Outage(Outage, Sent),
    /// More than [`BODY_LIMIT`].
    #[error("the answer is too large")]
    TooLarge,
}

impl ProviderHttp {
    /// Calls through `connections` that take `timeout` at most, from the first packet to the last byte.
    pub(crate) fn new(connections: reqwest::Client, timeout: Duration) -> Self {
        Self { client: Arc::new(ArcSwap::from_pointee(connections)), timeout }
    }

    /// Connections that trust what `tls` trusts: no redirects, no cookies. Opens none.
    ///
    /// # Errors
    /// `reqwest` cannot set itself up with this TLS configuration.
    pub(crate) fn connections(tls: &Arc<rustls::ClientConfig>) -> Result<reqwest::Client, reqwest::Error> {
        reqwest::Client::builder()
            .tls_backend_preconfigured(rustls::ClientConfig::clone(tls))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .user_agent(concat!("cloakroom/", env!("CARGO_PKG_VERSION")))
            .build()
    }

    /// Makes calls from now on through other connections. Calls under way go on.
    pub(crate) fn exchange_connections(&self, connections: reqwest::Client) {
        self.client.store(Arc::new(connections));
    }

    /// Sends a request and reads the whole answer. A 5xx or 429 is an outage.
    pub(super) async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        tokio::time::timeout(self.timeout, self.exchange(request))
            .await
            .unwrap_or(Err(HttpError::Outage(Outage::Timeout, Sent::Perhaps)))
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let request =
            reqwest::Request::try_from(request).map_err(|_| HttpError::Outage(Outage::Connect, Sent::Nothing))?;
        let client = self.client.load_full();
        let mut response = client.execute(request).await.map_err(|error| outage(&error))?;
        let status = response.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(HttpError::Outage(Outage::Status(status.as_u16()), Sent::Perhaps));
        }
        let headers = std::mem::take(response.headers_mut());
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|_| HttpError::Outage(Outage::Broken, Sent::Perhaps))? {
            if body.len() + piece.len() > BODY_LIMIT {
                return Err(HttpError::TooLarge);
            }
            body.extend_from_slice(&piece);
        }
        let mut answer = HttpResponse::new(body);
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        Ok(answer)
    }
}

impl<'c> AsyncHttpClient<'c> for ProviderHttp {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

impl HttpError {
    /// As the module's error; an answer that is too large is what `too_large` says.
    pub(super) fn or(self, too_large: Error) -> Error {
        match self {
            Self::Outage(cause, sent) => Error::Unavailable { cause, sent },
            Self::TooLarge => too_large,
        }
    }
}

fn outage(error: &reqwest::Error) -> HttpError {
    if error.is_connect() {
        HttpError::Outage(Outage::Connect, Sent::Nothing)
    } else if error.is_timeout() {
        HttpError::Outage(Outage::Timeout, Sent::Perhaps)
    } else {
        HttpError::Outage(Outage::Broken, Sent::Perhaps)
    }
}

/// No answer of a provider has a reason to be larger.
const BODY_LIMIT: usize = 1 << 20;
