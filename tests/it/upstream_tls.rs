//! How upstreams are reached, as routes say it: own roots, client certificates, names, versions; and where nobody is called.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cloakroom::app::{Exchanged, ReloadError};
use http::{Method, StatusCode};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{TestApp, WebSocket, logs};

/// An upstream for `orders.internal` below a root of its own, which answers with the certificate that it was shown.
struct Upstream {
    url: String,
    files: TempDir,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Upstream {
    async fn start() -> Self {
        let (files, key) = (tempfile::tempdir().unwrap(), rcgen::KeyPair::generate().unwrap());
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        std::fs::write(files.path().join("root.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let upstream = Self { url, files, issuer: rcgen::Issuer::new(params, key) };
        upstream.sign("orders.internal");
        let acceptor = TlsAcceptor::from(Arc::new(upstream.server_config()));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let shown = stream.get_ref().1.peer_certificates().map(|chain| format!("{:?}", chain[0]));
                let answer = service_fn(move |_| {
                    let shown = shown.clone().unwrap_or_default();
                    async { Ok::<_, std::convert::Infallible>(http::Response::new(shown)) }
                });
                let builder = hyper::server::conn::http1::Builder::new();
                tokio::spawn(builder.serve_connection(TokioIo::new(stream), answer));
            }
        });
        upstream
    }

    fn server_config(&self) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate("root")).unwrap();
        let asks = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        let key = PrivateKeyDer::from_pem_file(self.file("orders.internal.key")).unwrap();
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(asks.allow_unauthenticated().build().unwrap())
            .with_single_cert(vec![self.certificate("orders.internal")], key)
            .unwrap()
    }

    /// A certificate and its key, in files.
    fn sign(&self, name: &str) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        std::fs::write(self.file(&format!("{name}.crt")), params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        std::fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn certificate(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.file(&format!("{name}.crt"))).unwrap()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// A route there, for everybody.
    fn route(&self, path: &str, tls: &str) -> String {
        let here = Path::display(self.files.path());
        let tls = tls.replace("{here}", &here.to_string());
        format!("path = '{path}'\ntoken = 'none'\nupstream = '{}'\nupstream_tls = {{ {tls} }}", self.url)
    }
}

const TRUSTED: &str = "ca_file = '{here}/root.crt', server_name = 'orders.internal'";
const CERTIFIED: &str = "cert = '{here}/client.crt', key = '{here}/client.key'";

#[tokio::test]
async fn each_route_reaches_its_upstream_in_its_own_way() {
    let upstream = Upstream::start().await;
    upstream.sign("client");
    let app = TestApp::with()
        .route(&upstream.route("/certified", &format!("{TRUSTED}, {CERTIFIED}")))
        .route(&upstream.route("/anonymous", TRUSTED))
        .route(&upstream.route("/system", "server_name = 'orders.internal'"))
        .route(&upstream.route("/misnamed", "ca_file = '{here}/root.crt'"))
        .start()
        .await;
    let mut browser = app.browser();
    for _ in 0..2 {
        let certified = browser.fetch(Method::GET, "/certified").await;
        assert_eq!(certified.text(), format!("{:?}", upstream.certificate("client")));
        let anonymous = browser.fetch(Method::GET, "/anonymous").await;
        assert_eq!((anonymous.status, anonymous.text().as_ref()), (StatusCode::OK, ""));
        for path in ["/system", "/misnamed"] {
            let refused = browser.fetch(Method::GET, path).await;
            assert_eq!((refused.status, refused.problem().as_str()), (StatusCode::BAD_GATEWAY, "upstream-unavailable"));
            assert!(refused.cause().contains("no TLS connection: invalid peer certificate: "), "{}", refused.cause());
        }
    }
}

#[tokio::test]
async fn a_new_client_certificate_is_shown_after_a_reload() {
    let upstream = Upstream::start().await;
    for name in ["client", "renewed"] {
        upstream.sign(name);
    }
    let route = upstream.route("/api", &format!("{TRUSTED}, {CERTIFIED}"));
    let mut app = TestApp::with().route(&route).start().await;
    let mut browser = app.browser();
    let shown = format!("{:?}", upstream.certificate("client"));
    assert_eq!(browser.fetch(Method::GET, "/api").await.text(), shown);

    let same = ("CLOAKROOM_CLIENT_SECRET", "a secret of the shop");
    std::fs::copy(upstream.file("renewed.crt"), upstream.file("client.crt")).unwrap();
    let refused = app.reload(same.0, same.1).unwrap_err();
    assert!(matches!(refused, ReloadError::UpstreamTls(_)), "{refused}");
    assert_eq!(browser.fetch(Method::GET, "/api").await.text(), shown, "the key does not fit yet");
    std::fs::copy(upstream.file("renewed.key"), upstream.file("client.key")).unwrap();
    let reloaded = app.reload(same.0, same.1).unwrap();
    assert_eq!(reloaded.exchanged, [Exchanged::UpstreamTls(upstream.file("client.crt"))]);
    assert!(reloaded.needs_restart.is_empty(), "{:?}", reloaded.needs_restart);
    let shown = browser.fetch(Method::GET, "/api").await.text();
    assert_eq!(shown, format!("{:?}", upstream.certificate("renewed")));
    assert!(app.reload(same.0, same.1).unwrap().exchanged.is_empty());

    // Roots that nobody has a certificate below.
    std::fs::copy(upstream.file("renewed.crt"), upstream.file("root.crt")).unwrap();
    let reloaded = app.reload(same.0, same.1).unwrap();
    assert_eq!(reloaded.exchanged, [Exchanged::UpstreamTls(upstream.file("root.crt"))]);
    assert_eq!(browser.fetch(Method::GET, "/api").await.problem(), "upstream-unavailable");
}

#[tokio::test]
async fn neither_upstreams_nor_providers_are_called_at_denied_addresses() {
    let app = TestApp::with()
        .variable("CLOAKROOM__SERVER__DENIED_ADDRESSES", "127.0.0.0/8,::1/128")
        .route("path = '/api'\ntoken = 'none'")
        .start()
        .await;
    let mut browser = app.browser();
    let refused = browser.fetch(Method::GET, "/api/x").await;
    assert_eq!((refused.status, refused.problem().as_str()), (StatusCode::BAD_GATEWAY, "upstream-unavailable"));
    let cause = "127.0.0.1 may not be called: 127.0.0.1 is in server.denied_addresses";
    assert!(refused.cause().contains(cause), "{}", refused.cause());
    assert!(app.api_saw().is_empty());
    let page = browser.click("/bff/login").await;
    assert_eq!(page.page_slug(), "provider-unavailable");
    assert!(page.cause().contains("is in server.denied_addresses"), "{}", page.cause());
    assert!(app.calls_behind().is_empty());
}

#[tokio::test]
async fn http2_is_spoken_without_tls_where_a_route_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                let version = format!("{:?} {}", request.version(), request.uri().path());
                Ok::<_, std::convert::Infallible>(http::Response::new(version))
            });
            let served = async move {
                let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
            };
            tokio::spawn(served);
        }
    });
    let route = |path: &str, version: &str| {
        format!("path = '{path}'\ntoken = 'none'\nupstream = '{url}'\nhttp_version = '{version}'")
    };
    let app = TestApp::with().route(&route("/two", "2")).route(&route("/auto", "auto")).start().await;
    let mut browser = app.browser();
    assert_eq!(browser.fetch(Method::GET, "/two/x").await.text(), "HTTP/2.0 /x");
    assert_eq!(browser.fetch(Method::GET, "/auto/x").await.text(), "HTTP/1.1 /x");
    let home = app.url.trim_start_matches("http://");
    WebSocket::ask_at(home, home, "", "/two/x").await.reads(b"HTTP/1.1 502 ").await;
    assert!(logs::count(&["a WebSocket needs HTTP/1.1, and http_version is"]) > 0);
}
