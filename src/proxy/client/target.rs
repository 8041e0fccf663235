//! What connections are opened to, and how.

use std::path::PathBuf;

use http::Uri;

/// Calls to equal targets share their connections; everything that makes one connection differ from another is in here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::proxy) struct Target {
    /// Scheme and authority, with the path `/`.
    pub(in crate::proxy) origin: Uri,
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
        Self { origin, tls: UpstreamTls::default(), http_version: HttpVersion::Auto }
    }
}
