//! The pooled HTTP client all upstreams share.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::TryFutureExt as _;
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;

use super::body::RequestBody;

/// Connections to upstreams, pooled by origin. A clone shares the pools, and what they trust.
#[derive(Clone, Debug)]
pub(crate) struct Client(Arc<ArcSwap<Pools>>);

#[derive(Debug)]
struct Pools {
    /// HTTP/2 where ALPN offers it.
    any: Pooled,
    /// HTTP/1.1 only: an `Upgrade` does not exist in HTTP/2 (RFC 9113 §8.6).
    http1: Pooled,
}

type Pooled = legacy::Client<Connector, RequestBody>;

/// Which connections a call may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Versions {
    /// Whatever the upstream speaks.
    Any,
    /// HTTP/1.1, for an upgrade.
    Http1,
}

impl Client {
    /// A client that trusts what `tls` trusts. Its ALPN list is ignored. Opens nothing.
    pub(crate) fn new(tls: &Arc<ClientConfig>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Pools::new(tls))))
    }

    /// Opens connections from now on to what `tls` trusts, and leaves the idle ones behind. Calls under way go on.
    pub(crate) fn exchange_roots(&self, tls: &Arc<ClientConfig>) {
        self.0.store(Arc::new(Pools::new(tls)));
    }

    pub(super) fn request(&self, request: http::Request<RequestBody>, versions: Versions) -> legacy::ResponseFuture {
        let pools = self.0.load();
        match versions {
            Versions::Any => pools.any.request(request),
            Versions::Http1 => pools.http1.request(request),
        }
    }
}

impl Pools {
    fn new(tls: &Arc<ClientConfig>) -> Self {
        let mut tls = ClientConfig::clone(tls);
        tls.alpn_protocols.clear();
        let http1 = HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_or_http().enable_http1();
        let any = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().enable_http2();
        Self { any: pooled(any.wrap_connector(tcp())), http1: pooled(http1.wrap_connector(tcp())) }
    }
}

fn pooled(https: HttpsConnector<HttpConnector>) -> Pooled {
    legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .http2_keep_alive_interval(HTTP2_PING)
        .http2_adaptive_window(true)
        .build(Connector(https))
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(TCP_KEEPALIVE));
    tcp
}

/// Connects within [`CONNECT_TIMEOUT`], name lookup and TLS handshake included.
#[derive(Clone, Debug)]
struct Connector(HttpsConnector<HttpConnector>);

type Connection = <HttpsConnector<HttpConnector> as tower::Service<Uri>>::Response;
type ConnectError = Box<dyn std::error::Error + Send + Sync>;

impl tower::Service<Uri> for Connector {
    type Response = Connection;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Connection, ConnectError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        tower::Service::poll_ready(&mut self.0, context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = tower::Service::call(&mut self.0, uri);
        Box::pin(tokio::time::timeout(CONNECT_TIMEOUT, connecting).unwrap_or_else(|elapsed| Err(elapsed.into())))
    }
}

/// A connection that takes longer is as good as none; the route's timeout may be shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Shorter than the keep-alive of common servers (Node closes after 5 s): a request that meets the close on its way is lost, and
/// may not be sent twice.
const POOL_IDLE: Duration = Duration::from_secs(4);
/// Finds dead HTTP/2 connections before a call waits on one.
const HTTP2_PING: Duration = Duration::from_secs(30);
const TCP_KEEPALIVE: Duration = Duration::from_mins(1);

#[cfg(test)]
impl Client {
    /// Trusts nobody; for plain HTTP.
    pub(crate) fn for_tests() -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        Self::new(&Arc::new(tls))
    }
}
