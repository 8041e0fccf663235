#[cfg(feature = "server")]
mod hostile;

use std::sync::Arc;

use axum::Extension;
use axum::routing::get;
use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioExecutor;
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::denied::DeniedAddresses;
use crate::tls::Certificate;
use crate::tokens::Grant;
use crate::{proxy, tls};

struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

async fn start(router: Router, tls: Option<TlsAcceptor>, limits: Limits) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
    let task = tokio::spawn(serve(listener, tls, router, limits, shutdown.clone()));
    Running { address, shutdown, task }
}

fn limits() -> Limits {
    let server = config::Server { max_headers: 16 * 1024, drain: Duration::from_secs(20), ..config::Server::default() };
    Limits::new(&server)
}

fn peer_echo() -> Router {
    Router::new().route("/", get(|Extension(peer): Extension<Peer>| async move { format!("{peer:?}") }))
}

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> String {
    // A server that refuses early may close before all of it is written.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

const GET: &str = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// A route that says when it is reached, and answers when it is told to.
fn slow() -> (Router, Arc<Notify>, Arc<Notify>) {
    let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (reached_here, go_here) = (Arc::clone(&reached), Arc::clone(&go));
    let handler = move || async move {
        reached_here.notify_one();
        go_here.notified().await;
        "done"
    };
    (Router::new().route("/", get(handler)), reached, go)
}

#[tokio::test]
async fn a_request_carries_its_peer() {
    let server = start(peer_echo(), None, limits()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let own = stream.local_addr().unwrap();
    let answer = ask(&mut stream, GET).await;
    assert!(answer.ends_with(&format!("{:?}", Peer { address: own, scheme: Scheme::Http })), "{answer}");
}

#[tokio::test]
async fn a_request_under_way_finishes_while_draining() {
    let (router, reached, go) = slow();
    let server = start(router, None, limits()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let asking = tokio::spawn(async move { ask(&mut stream, "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await });
    reached.notified().await;
    server.shutdown.cancel();
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    go.notify_one();
    // Keep-alive ends with the answer, or `read_to_end` would wait.
    assert!(asking.await.unwrap().ends_with("done"));
    server.task.await.unwrap();
}

#[tokio::test]
async fn a_request_that_outlasts_the_drain_is_cut_off() {
    let (router, reached, _go) = slow();
    let server = start(router, None, Limits { drain: Duration::from_millis(20), ..limits() }).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let asking = tokio::spawn(async move { ask(&mut stream, GET).await });
    reached.notified().await;
    server.shutdown.cancel();
    server.task.await.unwrap();
    assert_eq!(asking.await.unwrap(), "");
}

#[tokio::test]
async fn idle_connections_do_not_delay_the_end() {
    let server = start(peer_echo(), None, limits()).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    ask(&mut TcpStream::connect(server.address).await.unwrap(), GET).await;
    server.shutdown.cancel();
    server.task.await.unwrap();
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0);
}

/// A load balancer that tried again here would lose what it sent, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_listens_any_more_when_an_idle_connection_ends() {
    let server = start(peer_echo(), None, limits()).await;
    let mut idle = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        let address = server.address;
        idle.push(tokio::spawn(async move {
            while stream.read(&mut [0; 1024]).await.is_ok_and(|length| length > 0) {}
            TcpStream::connect(address).await.is_err()
        }));
    }
    server.shutdown.cancel();
    for refused in idle {
        assert!(refused.await.unwrap());
    }
    server.task.await.unwrap();
}

#[tokio::test]
async fn a_head_far_beyond_the_limit_is_refused_and_the_connection_closed() {
    let server = start(peer_echo(), None, limits()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let flood = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "x".repeat(24 * 1024));
    let answer = ask(&mut stream, &flood).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_never_ends_its_head_is_closed() {
    for start_of_request in ["", "P", "PRI * HT", "GET / HTTP/1.1\r\nx:"] {
        let server = start(peer_echo(), None, Limits { head_timeout: Duration::from_millis(20), ..limits() }).await;
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let answer = ask(&mut stream, start_of_request).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
}

/// A fresh certificate for `localhost` with its key, and its PEM.
fn certified() -> (CertifiedKey, String) {
    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = tls::tests::localhost();
    let (cert_path, key_path) = (directory.path().join("cert"), directory.path().join("key"));
    std::fs::write(&cert_path, &cert).unwrap();
    std::fs::write(&key_path, key).unwrap();
    (tls::certified_key(&cert_path, &key_path).unwrap(), cert)
}

async fn start_tls(router: Router, limits: Limits) -> (Running, String) {
    let (certified, root) = certified();
    let acceptor = TlsAcceptor::from(tls::server_config(Arc::new(Certificate::new(certified))));
    (start(router, Some(acceptor), limits).await, root)
}

async fn connect_tls(server: &Running, root: &str, alpn: &[u8]) -> TlsStream<TcpStream> {
    let mut config = rustls::ClientConfig::clone(&tls::client_config(Some(root.as_bytes())).unwrap());
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = "localhost".try_into().unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

#[tokio::test]
async fn tls_is_spoken_in_both_versions() {
    let (server, root) = start_tls(peer_echo(), limits()).await;
    let mut stream = connect_tls(&server, &root, b"http/1.1").await;
    assert!(ask(&mut stream, GET).await.contains("scheme: Https"));

    let stream = connect_tls(&server, &root, b"h2").await;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://localhost/").body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_new_certificate_is_for_new_handshakes_and_open_connections_go_on() {
    let ((old, old_root), (new, new_root)) = (certified(), certified());
    let certificate = Arc::new(Certificate::new(old));
    let acceptor = TlsAcceptor::from(tls::server_config(certificate.clone()));
    let server = start(peer_echo(), Some(acceptor), limits()).await;
    let mut open = connect_tls(&server, &old_root, b"http/1.1").await;
    certificate.exchange(new);
    let mut fresh = connect_tls(&server, &new_root, b"http/1.1").await;
    assert!(ask(&mut fresh, GET).await.contains("scheme: Https"));
    assert!(ask(&mut open, GET).await.contains("scheme: Https"));
}

#[tokio::test]
async fn a_handshake_that_never_comes_keeps_nobody_waiting() {
    let (server, root) = start_tls(peer_echo(), Limits { head_timeout: Duration::from_secs(1), ..limits() }).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut stream = connect_tls(&server, &root, b"http/1.1").await;
    assert!(ask(&mut stream, GET).await.contains("scheme: Https"));
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn an_upstream_is_called_over_http2_where_it_offers_it() {
    let router = Router::new().fallback(|request: Request<Body>| async move {
        format!("{:?} {} {:?}", request.version(), request.uri(), request.headers().get("host"))
    });
    let (upstream, root) = start_tls(router, limits()).await;

    let url = format!("https://localhost:{}/v1", upstream.address.port()).parse().unwrap();
    let seen = call_upstream(proxy::RouteOptions::new("/api", url), &root).await.unwrap();
    let expected = format!("HTTP/2.0 https://localhost:{0}/v1/x Some(\"localhost:{0}\")", upstream.address.port());
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn an_upstream_at_another_address_is_called_by_its_own_name() {
    let router = Router::new().fallback(|request: Request<Body>| async move { request.uri().to_string() });
    let (upstream, root) = start_tls(router, limits()).await;
    let at_its_address = |url: &str| proxy::RouteOptions {
        addresses: vec![upstream.address.to_string().parse().unwrap()],
        ..proxy::RouteOptions::new("/api", url.parse().unwrap())
    };
    assert_eq!(call_upstream(at_its_address("https://localhost/v1"), &root).await.unwrap(), "https://localhost/v1/x");
    let error = call_upstream(at_its_address("https://127.0.0.1/v1"), &root).await.unwrap_err();
    let proxy::Error::UpstreamUnavailable { cause } = error else { panic!("{error}") };
    assert!(cause.contains("certificate"), "{cause}");
}

/// What an upstream answers to a call of `/api/x`.
async fn call_upstream(options: proxy::RouteOptions, root: &str) -> Result<String, proxy::Error> {
    let client = proxy::Client::new(tls::client_config(Some(root.as_bytes())).unwrap(), DeniedAddresses::default());
    let table = proxy::RouteTable::new(vec![options], &client).unwrap();
    let nobody = std::net::Ipv4Addr::LOCALHOST.into();
    let hops = proxy::ClientHops { client: nobody, proxies: Vec::new(), scheme: Scheme::Https, host: None };
    let context = proxy::ForwardContext {
        hops: &hops,
        csrf_header: &http::HeaderName::from_static("x-csrf"),
        own_cookies: &[],
        upgrades: &proxy::Upgrades::default(),
        session: None,
    };
    let request = Request::get("/api/x").body(Body::empty()).unwrap();
    let route = table.find("/api/x", request.method()).unwrap();
    let answer = proxy::forward(route, request, &Grant::None, &context).await?.into_answer();
    let seen = axum::body::to_bytes(Body::new(answer.into_body()), 1024).await.unwrap();
    Ok(String::from_utf8_lossy(&seen).into_owned())
}

#[tokio::test]
async fn a_piece_of_a_stream_is_sent_at_once_in_both_versions() {
    let pieces = || async {
        let first = stream::once(async { Ok::<_, Infallible>("one") });
        Body::from_stream(first.chain(stream::pending()))
    };
    let (server, root) = start_tls(Router::new().route("/", get(pieces)), limits()).await;
    let stream = connect_tls(&server, &root, b"h2").await;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://localhost/").body(Body::empty()).unwrap();
    let mut body = sender.send_request(request).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");

    let mut stream = connect_tls(&server, &root, b"http/1.1").await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    let mut come = Vec::new();
    while !come.ends_with(b"3\r\none\r\n") {
        come.push(stream.read_u8().await.unwrap());
    }
}
