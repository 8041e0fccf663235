//! Against a server that tells what it saw of each handshake.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{Acceptor, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::proxy::body::RequestBody;
use crate::proxy::client::{Client, ClientCertificate, Stage, UpstreamTls};
use crate::tls;

/// A root and what it has signed, in files.
struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
    root: PathBuf,
}

impl Authority {
    fn new() -> Self {
        let (directory, key) = (tempfile::tempdir().unwrap(), KeyPair::generate().unwrap());
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = directory.path().join("root.pem");
        std::fs::write(&root, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { directory, issuer: Issuer::new(params, key), root }
    }

    fn sign(&self, name: &str) -> ClientCertificate {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let file = |extension: &str| self.directory.path().join(format!("{name}.{extension}"));
        let files = ClientCertificate { cert: file("crt"), key: file("key") };
        std::fs::write(&files.cert, cert.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    fn trusted(&self) -> UpstreamTls {
        UpstreamTls { ca_file: Some(self.root.clone()), ..UpstreamTls::default() }
    }
}

fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path).unwrap().map(Result::unwrap).collect()
}

/// What the server saw of a handshake.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    sni: Option<String>,
    /// The client's certificate.
    client: Option<CertificateDer<'static>>,
    offered_http2: bool,
}

/// Answers calls with their version, over TLS with a certificate for `name`, or without TLS.
struct Upstream {
    port: u16,
    seen: mpsc::UnboundedReceiver<Seen>,
    connections: Arc<AtomicUsize>,
    most_at_once: Arc<AtomicUsize>,
}

/// How an upstream asks for client certificates.
#[derive(Clone, Copy, PartialEq)]
enum Asks {
    Nobody,
    Who,
    OnlyThose,
}

impl Upstream {
    async fn start(authority: &Authority, name: &str, asks: Asks, alpn: &[&[u8]]) -> Self {
        let files = authority.sign(name);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let mut roots = RootCertStore::empty();
        roots.add(certificates(&authority.root).remove(0)).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        let builder = match asks {
            Asks::Nobody => builder.unwrap().with_no_client_auth(),
            Asks::Who => builder.unwrap().with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap()),
            Asks::OnlyThose => builder.unwrap().with_client_cert_verifier(verifier.build().unwrap()),
        };
        let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
        let mut config = builder.with_single_cert(certificates(&files.cert), key).unwrap();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Self::serve(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn serve(acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, (tell, seen)) = (listener.local_addr().unwrap().port(), mpsc::unbounded_channel());
        let upstream = Self { port, seen, connections: Arc::default(), most_at_once: Arc::default() };
        let (connections, most) = (upstream.connections.clone(), upstream.most_at_once.clone());
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let (acceptor, tell, most) = (acceptor.clone(), tell.clone(), most.clone());
                tokio::spawn(async move {
                    let Some(acceptor) = acceptor else { return answer(tcp, most).await };
                    let handshake = tokio_rustls::LazyConfigAcceptor::new(Acceptor::default(), tcp).await.unwrap();
                    let hello = handshake.client_hello();
                    let offered_http2 = hello.alpn().is_some_and(|mut offered| offered.any(|name| name == HTTP2));
                    let sni = hello.server_name().map(str::to_owned);
                    let Ok(tls) = handshake.into_stream(acceptor.config().clone()).await else { return };
                    let client = tls.get_ref().1.peer_certificates().map(|chain| chain[0].clone().into_owned());
                    tell.send(Seen { sni, client, offered_http2 }).unwrap();
                    answer(tls, most).await;
                });
            }
        });
        upstream
    }

    fn connected(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn url(&self, scheme: &str, host: &str) -> Uri {
        format!("{scheme}://{host}:{}/", self.port).parse().unwrap()
    }
}

async fn answer(
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    most: Arc<AtomicUsize>,
) {
    let now = Arc::new(AtomicUsize::new(0));
    let service = service_fn(move |request: Request<Incoming>| {
        let (now, most) = (now.clone(), most.clone());
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // The others come in before this one is answered.
            tokio::task::yield_now().await;
            now.fetch_sub(1, Ordering::SeqCst);
            let version = format!("{:?}", request.version());
            Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from(version)))
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(STREAMS);
    let _ = builder.serve_connection(TokioIo::new(io), service).await;
}

/// Trusts no root by itself.
fn client() -> Client {
    Client::for_tests()
}

fn trusting(root: &Path) -> Client {
    let tls = tls::client_config(Some(&std::fs::read(root).unwrap())).unwrap();
    Client::new(tls, DeniedAddresses::default())
}

fn denying(networks: &[&str]) -> Client {
    let networks: Vec<_> = networks.iter().map(|network| network.parse().unwrap()).collect();
    Client::new(tls::client_config(None).unwrap(), DeniedAddresses::new(&networks))
}

/// Makes a call to its end; answers which version it was made in.
async fn call(client: &Client, target: Target, versions: Versions) -> Result<String, String> {
    let request = Request::get(target.origin.clone()).body(RequestBody::Empty).unwrap();
    let answer =
        client.origin(target).unwrap().call(request, versions, &Stage::new()).await.map_err(|error| told(&error))?;
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

/// What the log says.
fn told(error: &CallError) -> String {
    crate::proxy::Error::unavailable(error).to_string()
}

fn https(upstream: &Upstream, tls: UpstreamTls) -> Target {
    Target { tls, ..Target::new(upstream.url("https", "localhost")) }
}

#[tokio::test]
async fn own_roots_take_the_place_of_all_others() {
    let (ours, other) = (Authority::new(), Authority::new());
    let mut upstream = Upstream::start(&ours, "localhost", Asks::Nobody, &[HTTP1]).await;
    for (client, tls, accepted) in [
        (client(), UpstreamTls::default(), false),
        (client(), other.trusted(), false),
        (client(), ours.trusted(), true),
        (trusting(&ours.root), UpstreamTls::default(), true),
        (trusting(&ours.root), other.trusted(), false),
        (trusting(&other.root), ours.trusted(), true),
    ] {
        let outcome = call(&client, https(&upstream, tls.clone()), Versions::Any).await;
        assert_eq!(outcome.is_ok(), accepted, "{tls:?} {outcome:?}");
        if let Err(cause) = outcome {
            assert!(cause.contains("no TLS connection: invalid peer certificate: "), "{cause}");
        }
    }
    assert_eq!(upstream.seen.recv().await.unwrap().client, None);
}

#[tokio::test]
async fn a_client_certificate_is_shown_by_its_route_and_no_other() {
    let authority = Authority::new();
    let mut upstream = Upstream::start(&authority, "localhost", Asks::Who, &[HTTP1]).await;
    let [shop, admin] = ["shop", "admin"].map(|name| authority.sign(name));
    let client = client();
    // In turns: neither an idle connection nor a TLS session of one is used by another.
    for _ in 0..3 {
        for certificate in [Some(&shop), None, Some(&admin)] {
            let tls = UpstreamTls { certificate: certificate.cloned(), ..authority.trusted() };
            assert_eq!(call(&client, https(&upstream, tls), Versions::Http1).await.unwrap(), "HTTP/1.1");
            let shown = certificate.map(|files| certificates(&files.cert).remove(0));
            assert_eq!(upstream.seen.recv().await.unwrap().client, shown);
        }
    }
}

#[tokio::test]
async fn calls_with_different_identities_do_not_share_connections() {
    let authority = Authority::new();
    let upstream = Upstream::start(&authority, "localhost", Asks::Who, &[HTTP2, HTTP1]).await;
    let client = client();
    let certificate = Some(authority.sign("shop"));
    let with = UpstreamTls { certificate, ..authority.trusted() };
    for (tls, connections) in [(&with, 1), (&with, 1), (&authority.trusted(), 2), (&authority.trusted(), 2), (&with, 2)]
    {
        assert_eq!(call(&client, https(&upstream, tls.clone()), Versions::Any).await.unwrap(), "HTTP/2.0");
        assert_eq!(upstream.connected(), connections);
    }
}

#[tokio::test]
async fn an_upstream_that_demands_a_certificate_takes_no_call_without() {
    let (authority, other) = (Authority::new(), Authority::new());
    let upstream = Upstream::start(&authority, "localhost", Asks::OnlyThose, &[HTTP2, HTTP1]).await;
    for (certificate, accepted) in
        [(Some(authority.sign("shop")), true), (None, false), (Some(other.sign("shop")), false)]
    {
        let tls = UpstreamTls { certificate, ..authority.trusted() };
        assert_eq!(call(&client(), https(&upstream, tls), Versions::Any).await.is_ok(), accepted);
    }
}

#[tokio::test]
async fn a_server_name_is_asked_for_and_demanded() {
    let authority = Authority::new();
    let mut upstream = Upstream::start(&authority, "orders.internal", Asks::Nobody, &[HTTP1]).await;
    let named = |name: &str| UpstreamTls { server_name: Some(name.to_owned()), ..authority.trusted() };
    call(&client(), https(&upstream, named("orders.internal")), Versions::Any).await.unwrap();
    assert_eq!(upstream.seen.recv().await.unwrap().sni.as_deref(), Some("orders.internal"));
    for tls in [authority.trusted(), named("other.internal"), named("127.0.0.1")] {
        let cause = call(&client(), https(&upstream, tls), Versions::Any).await.unwrap_err();
        assert!(cause.contains("certificate not valid for name"), "{cause}");
    }
}

#[tokio::test]
async fn an_address_is_where_tcp_goes_and_the_target_is_who_answers() {
    let authority = Authority::new();
    let mut upstream = Upstream::start(&authority, "api.internal", Asks::Nobody, &[HTTP1]).await;
    let target = Target { tls: authority.trusted(), ..Target::new("https://api.internal/".parse().unwrap()) };
    let roots = std::fs::read(&authority.root).unwrap();
    let connector = Connector::new(&tls::client_config(Some(&roots)).unwrap(), None, DeniedAddresses::default());
    let address = format!("127.0.0.1:{}", upstream.port).parse().unwrap();
    connector.connect(&target, Some(&address), Versions::Any).await.unwrap();
    assert_eq!(upstream.seen.recv().await.unwrap().sni.as_deref(), Some("api.internal"));
}

#[tokio::test]
async fn nobody_is_called_at_a_denied_address_however_it_is_written() {
    let upstream = Upstream::serve(None).await;
    for (denied, host) in [
        ("127.0.0.0/8", "127.0.0.1"),
        ("127.0.0.0/8", "[::ffff:127.0.0.1]"),
        ("127.0.0.0/8", "[::ffff:7f00:1]"),
        ("127.0.0.0/8", "0.0.0.0"),
        ("::1/128", "[::1]"),
        ("::1/128", "[::]"),
    ] {
        let target = Target::new(upstream.url("http", host));
        let cause = call(&denying(&[denied]), target, Versions::Any).await.unwrap_err();
        assert!(cause.contains("may not be called") && cause.contains("is in server.denied_addresses"), "{cause}");
    }
    let loopback = denying(&["127.0.0.0/8", "::1/128"]);
    let cause = call(&loopback, Target::new(upstream.url("http", "localhost")), Versions::Any).await.unwrap_err();
    assert!(
        cause.contains("localhost may not be called: ") && cause.contains("is in server.denied_addresses"),
        "{cause}"
    );
    assert_eq!(upstream.connected(), 0);
    let elsewhere = denying(&["169.254.0.0/16", "::1/128"]);
    assert!(call(&elsewhere, Target::new(upstream.url("http", "localhost")), Versions::Any).await.is_ok());
}

#[tokio::test]
async fn the_version_is_what_the_route_says() {
    let authority = Authority::new();
    let plain = Upstream::serve(None).await;
    let mut both = Upstream::start(&authority, "localhost", Asks::Nobody, &[HTTP2, HTTP1]).await;
    let tls = || Target { tls: authority.trusted(), ..Target::new(both.url("https", "localhost")) };
    let cleartext = || Target::new(plain.url("http", "localhost"));
    for (target, http_version, spoken, offered) in [
        (tls(), HttpVersion::Auto, "HTTP/2.0", Some(true)),
        (tls(), HttpVersion::Http1, "HTTP/1.1", Some(false)),
        (tls(), HttpVersion::Http2, "HTTP/2.0", Some(true)),
        (cleartext(), HttpVersion::Auto, "HTTP/1.1", None),
        (cleartext(), HttpVersion::Http1, "HTTP/1.1", None),
        (cleartext(), HttpVersion::Http2, "HTTP/2.0", None),
    ] {
        let target = Target { http_version, ..target };
        assert_eq!(call(&client(), target.clone(), Versions::Any).await.unwrap(), spoken, "{target:?}");
        if let Some(offered) = offered {
            assert_eq!(both.seen.recv().await.unwrap().offered_http2, offered, "{target:?}");
        }
    }
}

#[tokio::test]
async fn http2_that_is_not_chosen_is_told() {
    let authority = Authority::new();
    for alpn in [&[][..], &[HTTP1]] {
        let upstream = Upstream::start(&authority, "localhost", Asks::Nobody, alpn).await;
        let target = Target { http_version: HttpVersion::Http2, ..https(&upstream, authority.trusted()) };
        let cause = call(&client(), target, Versions::Any).await.unwrap_err();
        assert!(cause.contains("does not choose HTTP/2") || cause.contains("NoApplicationProtocol"), "{cause}");
    }
}

#[tokio::test]
async fn an_upgrade_is_refused_where_only_http2_is_spoken() {
    let upstream = Upstream::serve(None).await;
    let target = Target { http_version: HttpVersion::Http2, ..Target::new(upstream.url("http", "localhost")) };
    let cause = call(&client(), target, Versions::Http1).await.unwrap_err();
    assert!(cause.contains("a WebSocket needs HTTP/1.1, and http_version is \"2\""), "{cause}");
    assert_eq!(upstream.connected(), 0);
}

#[tokio::test]
async fn calls_that_come_at_once_open_one_http2_connection_and_keep_to_its_streams() {
    let authority = Authority::new();
    let tls = Upstream::start(&authority, "localhost", Asks::Nobody, &[HTTP2]).await;
    let plain = Upstream::serve(None).await;
    for (upstream, target) in
        [(&tls, https(&tls, authority.trusted())), (&plain, Target::new(plain.url("http", "localhost")))]
    {
        let target = Target { http_version: HttpVersion::Http2, ..target };
        let client = client();
        let calls = (0..100).map(|_| call(&client, target.clone(), Versions::Any));
        for outcome in futures_util::future::join_all(calls).await {
            assert_eq!(outcome.unwrap(), "HTTP/2.0");
        }
        assert_eq!(upstream.connected(), 1);
        let most = upstream.most_at_once.load(Ordering::SeqCst);
        assert!(most > 1 && most <= STREAMS as usize, "{most}");
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_does_not_take_the_connection_of_the_others_along() {
    let upstream = Upstream::serve(None).await;
    let client = client();
    let target = Target { http_version: HttpVersion::Http2, ..Target::new(upstream.url("http", "127.0.0.1")) };
    let first = tokio::spawn({
        let (client, target) = (client.clone(), target.clone());
        async move { call(&client, target, Versions::Any).await }
    });
    tokio::task::yield_now().await;
    first.abort();
    assert_eq!(call(&client, target, Versions::Any).await.unwrap(), "HTTP/2.0");
    assert_eq!(upstream.connected(), 1);
}

#[tokio::test]
async fn all_who_wait_hear_why_there_is_no_connection_and_the_next_call_tries_again() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let origin = format!("http://{closed}/").parse().unwrap();
    let target = Target { http_version: HttpVersion::Http2, ..Target::new(origin) };
    let client = client();
    let calls = (0..10).map(|_| call(&client, target.clone(), Versions::Any));
    for outcome in futures_util::future::join_all(calls).await {
        let cause = outcome.unwrap_err();
        assert!(cause.contains("cannot connect: no TCP connection to 127.0.0.1: "), "{cause}");
    }
    let listener = TcpListener::bind(closed).await.unwrap();
    tokio::spawn(async move { answer(listener.accept().await.unwrap().0, Arc::default()).await });
    assert_eq!(call(&client, target, Versions::Any).await.unwrap(), "HTTP/2.0");
}

#[tokio::test]
async fn what_is_exchanged_is_shown_from_the_next_connection_on() {
    let authority = Authority::new();
    let mut upstream = Upstream::start(&authority, "localhost", Asks::Who, &[HTTP1]).await;
    let [old, new] = ["old", "new"].map(|name| authority.sign(name));
    let tls = UpstreamTls { certificate: Some(old.clone()), ..authority.trusted() };
    let client = client();
    call(&client, https(&upstream, tls.clone()), Versions::Any).await.unwrap();
    assert!(upstream.seen.recv().await.unwrap().client.is_some());
    assert_eq!(client.exchange(client.prepare(None, |_| true).unwrap()), [] as [PathBuf; 0]);

    let was = certificates(&old.cert);
    std::fs::copy(&new.cert, &old.cert).unwrap();
    assert!(client.prepare(None, |_| true).is_err(), "the key does not fit yet");
    assert!(client.prepare(None, |_| false).is_ok(), "no route names it any more");
    std::fs::copy(&new.key, &old.key).unwrap();
    let files = client.exchange(client.prepare(None, |_| true).unwrap());
    assert_eq!(files, std::slice::from_ref(&old.cert));
    call(&client, https(&upstream, tls), Versions::Any).await.unwrap();
    let shown = upstream.seen.recv().await.unwrap().client;
    assert_eq!(shown, certificates(&new.cert).pop());
    assert_ne!(shown.as_ref(), was.first());
}

#[test]
fn no_key_is_in_what_debug_says() {
    let authority = Authority::new();
    let files = authority.sign("shop");
    let client = client();
    let tls = UpstreamTls { certificate: Some(files.clone()), ..authority.trusted() };
    client.origin(Target { tls, ..Target::new("https://localhost/".parse().unwrap()) }).unwrap();
    let shown = format!("{client:?}");
    let der = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let bytes = format!("{:?}", der.secret_der());
    assert!(shown.contains("shop.key"), "{shown}");
    assert!(!shown.contains(bytes.trim_matches(['[', ']'])) && !shown.contains("SigningKey"), "{shown}");
}

/// How many calls a connection takes at once.
const STREAMS: u32 = 8;
