//! The same Cloakroom over TLS, where ALPN chooses HTTP/1.1 or HTTP/2.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::TestApp;

/// A replica of an app that was given a master key, on the same store; session ids open the same there.
pub(crate) struct Secure {
    pub(crate) address: SocketAddr,
    root: CertificateDer<'static>,
    shutdown: CancellationToken,
    served: JoinHandle<()>,
    _files: TempDir,
}

impl Secure {
    /// With a certificate for `localhost` of its own.
    pub(crate) async fn start(app: &TestApp) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = tempfile::tempdir().unwrap();
        let pem = files.path().join("pem");
        std::fs::write(&pem, made.cert.pem() + &made.signing_key.serialize_pem()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (url, pem) = (format!("https://localhost:{}", address.port()), pem.to_str().unwrap());
        let (replica, _) = app
            .replica(&[
                ("CLOAKROOM_URL", url.as_str()),
                ("CLOAKROOM__SERVER__TLS__CERT", pem),
                ("CLOAKROOM__SERVER__TLS__KEY", pem),
            ])
            .await;
        let shutdown = CancellationToken::new();
        let serving = replica.serve(listener, None, shutdown.clone().cancelled_owned());
        let served = tokio::spawn(async move { serving.await.unwrap() });
        Self { address, root: made.cert.der().clone(), shutdown, served, _files: files }
    }

    /// The authority of its URL.
    pub(crate) fn host(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    /// A connection on which ALPN has chosen this protocol.
    pub(crate) async fn connect(&self, alpn: &[u8]) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let stream = TcpStream::connect(self.address).await.unwrap();
        let stream =
            TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn));
        stream
    }

    /// Tells it to end.
    pub(crate) fn end(&self) {
        self.shutdown.cancel();
    }

    /// Waits for the end.
    pub(crate) async fn ended(mut self) {
        (&mut self.served).await.unwrap();
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
