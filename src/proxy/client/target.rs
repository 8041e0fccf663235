//! What connections are opened to, and how.

use std::num::NonZeroU32;
use std::path::PathBuf;

use http::Uri;
use http::uri::Authority;

/// Calls to equal targets share their connections; everything that makes one connection differ from another is in here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::proxy) struct Target {
    /// Scheme and authority, with the path `/`. Says whose certificate is expected.
    pub(in crate::proxy) origin: Uri,
    /// Hosts with ports: where connections go in place of the host of `origin`. May be empty.
    pub(in crate::proxy) addresses: Vec<Authority>,
    /// How many connections may be open at the same time, to all addresses together.
    pub(in crate::proxy) max_connections: NonZeroU32,
    /// Whom we trust there and who we are. Files by their names: their content may be exchanged.
    pub(in crate::proxy) tls: UpstreamTls,
    /// What is spoken.
    pub(in crate::proxy) http_version: HttpVersion,
}

/// How TLS to one upstream differs from what `server` says for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct UpstreamTls {
    /// PEM certificates: the only roots for this upstream, instead of the system's and those of `server.ca_file`.
    pub ca_file: Option<PathBuf>,
    /// Who we are, for an upstream that asks.
    pub certificate: Option<ClientCertificate>,
    /// SNI, and the name or IP address that the upstream's certificate must have. None: the host of its URL.
    pub server_name: Option<String>,
}

/// PEM files of a client certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientCertificate {
    /// Certificate chain.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// Which versions of HTTP are spoken to an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HttpVersion {
    /// Over TLS HTTP/2 if the upstream chooses it by ALPN, else HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only: chosen by ALPN over TLS, by prior knowledge without (RFC 9113 §3.3).
    Http2,
}

impl Target {
    /// As upstreams are if nothing is said about them.
    #[cfg(test)]
    pub(in crate::proxy) fn new(origin: Uri) -> Self {
        let (addresses, max_connections) = (Vec::new(), crate::proxy::MAX_CONNECTIONS);
        Self { origin, addresses, max_connections, tls: UpstreamTls::default(), http_version: HttpVersion::Auto }
    }

    /// Its name in log and metrics.
    pub(super) fn name(&self) -> String {
        self.origin.to_string().trim_end_matches('/').to_owned()
    }

    /// How many addresses there are to choose from.
    pub(super) fn width(&self) -> usize {
        self.addresses.len().max(1)
    }

    /// Where TCP goes, if not to the host of `origin`.
    pub(super) fn address(&self, index: usize) -> Option<&Authority> {
        self.addresses.get(index)
    }
}
