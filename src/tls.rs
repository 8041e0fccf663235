//! TLS for both sides, on one cryptographic provider that is named here and never installed for the process.
//!
//! One [`client_config`] serves the upstreams and the provider's HTTP client (reqwest takes it as its preconfigured backend), so
//! the same roots are trusted everywhere.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Why there is no TLS configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// The extra roots are no PEM certificates, or none is among them.
    #[error("the extra roots hold no readable certificate")]
    Roots(#[source] Option<pem::Error>),
    /// An extra root is no certificate authority that can be used.
    #[error("an extra root cannot be used: {0}")]
    Root(#[source] rustls::Error),
    /// A PEM file cannot be read, or holds nothing of the kind.
    #[error("{path} cannot be read: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The certificate does not fit the key, or the provider supports neither.
    #[error("certificate and key cannot be used together: {0}")]
    Certificate(#[source] rustls::Error),
}

/// What our own calls trust: the system's roots and those in `ca_pem`. Without ALPN: each client sets its own.
///
/// A system without roots is no error: everything may be on loopback, or below `ca_pem`.
///
/// # Errors
/// `Roots`, `Root`: `ca_pem` is not what it should be.
pub(crate) fn client_config(ca_pem: Option<&[u8]>) -> Result<Arc<ClientConfig>, Error> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    if roots.is_empty() && ca_pem.is_none() {
        tracing::warn!(errors = native.errors.len(), "the system has no root certificates: https calls will fail");
    }
    for certificate in ca_pem.map(certificates).transpose()?.unwrap_or_default() {
        roots.add(certificate).map_err(Error::Root)?;
    }
    Ok(Arc::new(trusting(roots)))
}

/// Roots and client certificate for some calls. No `Debug`: it holds a key.
#[derive(Clone)]
pub(crate) struct Credentials {
    roots: Option<Vec<CertificateDer<'static>>>,
    certified: Option<Arc<CertifiedKey>>,
}

impl Credentials {
    /// Reads what is given: PEM certificates that become the only roots, and the files of a client certificate and its key.
    ///
    /// # Errors
    /// `File`, `Root`: `ca_file` is not what it should be. As [`certified_key`] for the certificate.
    pub(crate) fn read(ca_file: Option<&Path>, certificate: Option<(&Path, &Path)>) -> Result<Self, Error> {
        let roots = ca_file.map(certificates_in).transpose()?;
        let certified = certificate.map(|(cert, key)| certified_key(cert, key)).transpose()?;
        Ok(Self { roots, certified: certified.map(Arc::new) })
    }

    /// `base` with these in place of its own. Sessions are resumed among calls with these credentials only: a resumed one is not
    /// asked for its certificate again.
    ///
    /// # Errors
    /// `Root`.
    pub(crate) fn client_config(&self, base: &ClientConfig) -> Result<ClientConfig, Error> {
        let mut config = match &self.roots {
            None => base.clone(),
            Some(certificates) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates {
                    roots.add(certificate.clone()).map_err(Error::Root)?;
                }
                trusting(roots)
            }
        };
        if let Some(certified) = &self.certified {
            config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(certified.clone()));
        }
        config.resumption = Resumption::default();
        Ok(config)
    }

    /// Whether these trust other roots than `other`.
    pub(crate) fn differ_in_roots(&self, other: &Self) -> bool {
        self.roots != other.roots
    }

    /// Whether these show another certificate than `other`. The key says nothing more: the chain names it.
    pub(crate) fn differ_in_certificate(&self, other: &Self) -> bool {
        let chain = |credentials: &Self| credentials.certified.as_ref().map(|certified| certified.cert.clone());
        chain(self) != chain(other)
    }
}

fn trusting(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// The listener's certificate chain and key. They can be exchanged: each handshake uses what is there when it begins.
#[derive(Debug)]
pub(crate) struct Certificate(ArcSwap<CertifiedKey>);

impl Certificate {
    pub(crate) fn new(certified: CertifiedKey) -> Self {
        Self(ArcSwap::from_pointee(certified))
    }

    /// Whether this chain is the one in use. The key says nothing more: the chain names it.
    pub(crate) fn is(&self, certified: &CertifiedKey) -> bool {
        self.0.load().cert == certified.cert
    }

    /// Puts another chain and key in place. Connections that are open go on.
    pub(crate) fn exchange(&self, certified: CertifiedKey) {
        self.0.store(Arc::new(certified));
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// Reads a certificate chain and its key from PEM files.
///
/// # Errors
/// `File`: one of them cannot be read. `Certificate`: they do not belong together.
pub(crate) fn certified_key(cert: &Path, key: &Path) -> Result<CertifiedKey, Error> {
    let chain = certificates_in(cert)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|source| Error::File { path: key.to_owned(), source })?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(Error::Certificate)
}

fn certificates_in(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .and_then(|found| if found.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(found) })
        .map_err(|source| Error::File { path: path.to_owned(), source })
}

/// The listener's side: this certificate, HTTP/2 and HTTP/1.1 by ALPN.
pub(crate) fn server_config(certificate: Arc<Certificate>) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| Error::Roots(Some(error)))?;
    if certificates.is_empty() { Err(Error::Roots(None)) } else { Ok(certificates) }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A certificate for `localhost` that is its own root: PEM of certificate and key, made anew each time.
    pub(crate) fn localhost() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn extra_roots_must_hold_a_certificate() {
        assert!(client_config(None).is_ok());
        assert!(client_config(Some(localhost().0.as_bytes())).is_ok());
        for pem in ["", "hello", &localhost().1] {
            assert!(matches!(client_config(Some(pem.as_bytes())), Err(Error::Roots(_))), "{pem}");
        }
        let broken = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        assert!(matches!(client_config(Some(broken.as_bytes())), Err(Error::Root(_))));
    }

    #[test]
    fn a_listener_needs_a_certificate_and_its_own_key() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let ((cert, key), (_, other)) = (localhost(), localhost());
        let (cert, key, other) = (file("cert", &cert), file("key", &key), file("other", &other));
        let missing = directory.path().join("missing");
        assert!(certified_key(&cert, &key).is_ok());
        assert!(matches!(certified_key(&cert, &other), Err(Error::Certificate(_))));
        assert!(matches!(certified_key(&missing, &key), Err(Error::File { path, .. }) if path == missing));
        assert!(matches!(certified_key(&key, &key), Err(Error::File { path, .. }) if path == key));
        assert!(matches!(certified_key(&cert, &cert), Err(Error::File { path, .. }) if path == cert));
    }

    #[test]
    fn the_providers_http_client_takes_the_same_configuration() {
        let tls = client_config(None).unwrap();
        reqwest::Client::builder().tls_backend_preconfigured(ClientConfig::clone(&tls)).build().unwrap();
    }
}
