//! How a connection to an upstream comes to be: name lookup, TCP, TLS.

use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connection as _, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower::Service as _;

use super::origin::{CallError, Versions};
use super::target::Target;

/// An open connection.
pub(super) type Io = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Opens connections; a clone trusts the same.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    /// HTTP/2 where ALPN offers it.
    any: HttpsConnector<HttpConnector>,
    /// HTTP/1.1 only: an `Upgrade` does not exist in HTTP/2 (RFC 9113 §8.6).
    http1: HttpsConnector<HttpConnector>,
}

impl Connector {
    pub(super) fn new(tls: &ClientConfig) -> Self {
        let mut tls = tls.clone();
        tls.alpn_protocols.clear();
        let http1 = HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_or_http().enable_http1();
        let any = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().enable_http2();
        Self { any: any.wrap_connector(tcp()), http1: http1.wrap_connector(tcp()) }
    }

    /// Connects within [`CONNECT_TIMEOUT`], name lookup and TLS handshake included.
    ///
    /// # Errors
    /// `Connect`.
    pub(super) async fn connect(&self, target: &Target, versions: Versions) -> Result<Io, CallError> {
        let mut connector = match versions {
            Versions::Any => self.any.clone(),
            Versions::Http1 => self.http1.clone(),
        };
        let connecting = connector.call(target.origin.clone());
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(connected) => connected.map_err(CallError::Connect),
            Err(elapsed) => Err(CallError::Connect(elapsed.into())),
        }
    }
}

/// Whether the other side chose HTTP/2.
pub(super) fn speaks_http2(io: &Io) -> bool {
    io.connected().is_negotiated_h2()
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(TCP_KEEPALIVE));
    tcp
}

/// A connection that takes longer is as good as none; the route's timeout may be shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TCP_KEEPALIVE: Duration = Duration::from_mins(1);
