//! The one door to providers: deadline, size limit, no redirects, no cookies.
//!
//! Every call that the `oauth2` crate makes goes through [`ProviderHttp`] too, so client authentication beyond a secret has one
//! place to be added.

use std::error::Error as _;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::StatusCode;
use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::error::{Error, Outage, Sent};
use crate::denied::{Denied, DeniedAddresses};

/// A client for the endpoints of one provider. Clones share their connections, and what they trust.
#[derive(Clone, Debug)]
pub(crate) struct ProviderHttp {
    connections: Arc<ArcSwap<Connections>>,
    timeout: Duration,
}

/// What reaches providers. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    client: reqwest::Client,
    denied: DeniedAddresses,
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
    pub(crate) fn new(connections: Connections, timeout: Duration) -> Self {
        Self { connections: Arc::new(ArcSwap::from_pointee(connections)), timeout }
    }

    /// Connections that trust what `tls` trusts, and are to no denied address: no redirects, no cookies. Opens none.
    ///
    /// # Errors
    /// `reqwest` cannot set itself up with this TLS configuration.
    pub(crate) fn connections(
        tls: &Arc<rustls::ClientConfig>,
        denied: DeniedAddresses,
    ) -> Result<Connections, reqwest::Error> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(rustls::ClientConfig::clone(tls))
            .dns_resolver(Arc::new(Resolver(denied.clone())))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .user_agent(concat!("cloakroom/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Connections { client, denied })
    }

    /// Makes calls from now on through other connections. Calls under way go on.
    pub(crate) fn exchange_connections(&self, connections: Connections) {
        self.connections.store(Arc::new(connections));
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
        let connections = self.connections.load_full();
        // Only names are looked up.
        connections.denied.check_literal(request.url()).map_err(|denied| refused(&denied))?;
        let mut response = connections.client.execute(request).await.map_err(|error| outage(&error))?;
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

/// Looks names up, and leaves out what is denied.
struct Resolver(DeniedAddresses);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let denied = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(Box::new(denied.sift(found)?.into_iter()) as Addrs)
        })
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
    let mut sources = std::iter::successors(error.source(), |&error| error.source());
    if let Some(denied) = sources.find_map(|error| error.downcast_ref()) {
        refused(denied)
    } else if error.is_connect() {
        HttpError::Outage(Outage::Connect, Sent::Nothing)
    } else if error.is_timeout() {
        HttpError::Outage(Outage::Timeout, Sent::Perhaps)
    } else {
        HttpError::Outage(Outage::Broken, Sent::Perhaps)
    }
}

fn refused(denied: &Denied) -> HttpError {
    HttpError::Outage(Outage::Denied(denied.address), Sent::Nothing)
}

/// No answer of a provider has a reason to be larger.
const BODY_LIMIT: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::tls;

    #[tokio::test]
    async fn a_provider_is_not_called_at_a_denied_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let loopback = ["127.0.0.0/8", "::1/128"].map(|network| network.parse().unwrap());
        let tls = tls::client_config(None).unwrap();
        let connections = ProviderHttp::connections(&tls, DeniedAddresses::new(&loopback)).unwrap();
        let http = ProviderHttp::new(connections, Duration::from_secs(10));
        for host in ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "0x7f000001"] {
            let request = http::Request::get(format!("http://{host}:{port}/")).body(Vec::new()).unwrap();
            let refused = http.send(request).await.unwrap_err();
            assert!(matches!(refused, HttpError::Outage(Outage::Denied(_), Sent::Nothing)), "{host}: {refused}");
        }
    }

    #[tokio::test]
    async fn names_are_looked_up_and_keep_their_port() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let elsewhere = ["169.254.0.0/16", "::1/128"].map(|network| network.parse().unwrap());
        let tls = tls::client_config(None).unwrap();
        let connections = ProviderHttp::connections(&tls, DeniedAddresses::new(&elsewhere)).unwrap();
        let http = ProviderHttp::new(connections, Duration::from_secs(10));
        let request = http::Request::get(format!("http://localhost:{port}/")).body(Vec::new()).unwrap();
        let (broken, ()) = tokio::join!(http.send(request), async { drop(listener.accept().await.unwrap()) });
        assert!(matches!(broken, Err(HttpError::Outage(_, Sent::Perhaps))), "it was called: {broken:?}");
    }
}
