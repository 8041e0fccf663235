//! How a connection to an upstream comes to be: name lookup, TCP, TLS.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, Scheme};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::origin::{CallError, Versions};
use super::target::{HttpVersion, Target};
use super::tcp;
use crate::denied::{Denied, DeniedAddresses};

/// An open connection: TCP, or TLS on it.
pub(super) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Opens connections to targets with the same [`UpstreamTls`](super::target::UpstreamTls); a clone is the same.
#[derive(Clone)]
pub(super) struct Connector {
    /// HTTP/2 where the upstream chooses it.
    auto: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    /// Instead of the host of the target.
    server_name: Option<ServerName<'static>>,
    denied: DeniedAddresses,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// It takes too long.
    #[error("there is none after {} seconds", .0.as_secs())]
    Timeout(Duration),
    /// The host has no address.
    #[error("{host} cannot be looked up")]
    Lookup {
        /// The host.
        host: String,
        /// What the resolver says.
        source: io::Error,
    },
    /// The host has addresses, and none may be called.
    #[error("{host} may not be called")]
    Denied {
        /// The host.
        host: String,
        /// Which address, and what says so.
        source: Denied,
    },
    /// No address of the host takes a connection.
    #[error("no TCP connection to {host}")]
    Tcp {
        /// The host.
        host: String,
        /// What the last address said.
        source: io::Error,
    },
    /// The host is nothing that a certificate could name.
    #[error("{host} is no name that a certificate can have")]
    ServerName {
        /// The host.
        host: String,
    },
    /// The handshake failed: a wrong root or name, or nobody there who speaks TLS.
    #[error("no TLS connection")]
    Tls(#[source] io::Error),
    /// HTTP/2 was all that was offered, and not what was chosen.
    #[error("the upstream does not choose HTTP/2, and http_version is \"2\"")]
    NoHttp2,
    /// An upgrade, which HTTP/2 does not have (RFC 9113 §8.6).
    #[error("a WebSocket needs HTTP/1.1, and http_version is \"2\"")]
    NoUpgrade,
}

impl Connector {
    /// A connector that trusts, and shows, what `tls` does. Its ALPN list is ignored.
    pub(super) fn new(tls: &ClientConfig, server_name: Option<ServerName<'static>>, denied: DeniedAddresses) -> Self {
        let offering = |protocols: &[&[u8]]| {
            let mut tls = tls.clone();
            tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            Arc::new(tls)
        };
        Self {
            auto: offering(&[HTTP2, HTTP1]),
            http1: offering(&[HTTP1]),
            http2: offering(&[HTTP2]),
            server_name,
            denied,
        }
    }

    /// Connects within [`CONNECT_TIMEOUT`], or [`ONE_OF_SEVERAL`] if there is another address to go to; name lookup and TLS handshake included. TCP goes to `address` if there is one, else to the
    /// target's own host; TLS is with the target either way.
    ///
    /// # Errors
    /// `Connect`; `Refused` if that says nothing about who was to be called.
    pub(super) async fn connect(
        &self,
        target: &Target,
        address: Option<&Authority>,
        versions: Versions,
    ) -> Result<Stream, CallError> {
        let limit = if target.addresses.len() > 1 { ONE_OF_SEVERAL } else { CONNECT_TIMEOUT };
        let opened = tokio::time::timeout(limit, self.open(target, address, versions)).await;
        opened.unwrap_or(Err(ConnectError::Timeout(limit))).map_err(|error| {
            if error.is_ours() { CallError::Refused(error.into()) } else { CallError::Connect(error.into()) }
        })
    }

    async fn open(
        &self,
        target: &Target,
        address: Option<&Authority>,
        versions: Versions,
    ) -> Result<Stream, ConnectError> {
        let config = match (target.http_version, versions) {
            (HttpVersion::Http2, Versions::Http1) => return Err(ConnectError::NoUpgrade),
            (HttpVersion::Http2, Versions::Any) => &self.http2,
            (HttpVersion::Http1, _) | (_, Versions::Http1) => &self.http1,
            (HttpVersion::Auto, Versions::Any) => &self.auto,
        };
        let is_tls = target.origin.scheme() == Some(&Scheme::HTTPS);
        let host = bare(target.origin.host().unwrap_or_default());
        let (called, port) = match address {
            Some(address) => (bare(address.host()), address.port_u16()),
            None => (host, target.origin.port_u16()),
        };
        let tcp = tcp::connect(called, port.unwrap_or(if is_tls { 443 } else { 80 }), &self.denied).await?;
        if !is_tls {
            return Ok(Either::Left(tcp));
        }
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => {
                ServerName::try_from(host.to_owned()).map_err(|_| ConnectError::ServerName { host: host.to_owned() })?
            }
        };
        let tls = TlsConnector::from(config.clone()).connect(name, tcp).await.map_err(ConnectError::Tls)?;
        let io = Either::Right(Box::new(tls));
        if target.http_version == HttpVersion::Http2 && !has_chosen_http2(&io) {
            return Err(ConnectError::NoHttp2);
        }
        Ok(io)
    }
}

impl ConnectError {
    /// Whether it comes from this side: a rule of ours, or a system that has nothing left.
    fn is_ours(&self) -> bool {
        use io::ErrorKind::{AddrNotAvailable, OutOfMemory, PermissionDenied};
        match self {
            Self::Denied { .. } | Self::ServerName { .. } | Self::NoUpgrade => true,
            Self::Tcp { source, .. } | Self::Lookup { source, .. } => {
                // No more files, in this process or at all; Rust has no kind for them.
                matches!(source.kind(), AddrNotAvailable | OutOfMemory | PermissionDenied)
                    || matches!(source.raw_os_error(), Some(23 | 24))
            }
            Self::Timeout(_) | Self::Tls(_) | Self::NoHttp2 => false,
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The rest holds a key.
        f.debug_struct("Connector").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// Whether HTTP/2 is spoken on a connection to this target.
pub(super) fn speaks_http2(target: &Target, io: &Stream) -> bool {
    target.http_version == HttpVersion::Http2 || has_chosen_http2(io)
}

fn has_chosen_http2(io: &Stream) -> bool {
    match io {
        Either::Left(_) => false,
        Either::Right(tls) => tls.get_ref().1.alpn_protocol() == Some(HTTP2),
    }
}

/// A host as resolvers and certificates have it: an IPv6 address without its brackets.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Names of ALPN (RFC 7301 §6, RFC 9113 §3.2).
const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";
/// A connection that takes longer is as good as none; the route's timeout may be shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A host that is gone swallows what is sent to it, and the call has to come to the next one before its own time is over.
const ONE_OF_SEVERAL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
