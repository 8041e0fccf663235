//! A listener: accepts connections, speaks HTTP on them, and lets them finish when it is told to end.
//!
//! HTTP/2 is spoken where ALPN chose it, HTTP/1.1 everywhere else. The version is never guessed from the first bytes, as
//! `hyper_util::server::conn::auto` does: the guess has no time limit, so a silent client would hold its connection for ever.

mod listener;
#[cfg(unix)]
mod socket;
mod stall;

use std::convert::Infallible;
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures_util::FutureExt as _;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use self::listener::Accepted;
pub use self::listener::Listener;
#[cfg(unix)]
pub use self::socket::SocketError;
use self::stall::WriteLimit;
#[cfg(unix)]
use crate::guard::operator::OverSocket;
use crate::proxy::{Peer, Scheme};

/// What a client may make a listener wait for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Largest request head, in bytes; at least 8 KiB. More is answered 431.
    pub(crate) max_headers: u64,
    /// From one answer (or the connection's start) to the end of the next request's head; also for TLS handshakes.
    pub(crate) head_timeout: Duration,
    /// How long a client may read nothing of what we have for it.
    pub(crate) write_timeout: Duration,
    /// How long requests under way may take once the listener ends.
    pub(crate) drain: Duration,
}

impl Limits {
    /// The two that are configured, and defaults for the others.
    pub(crate) fn new(max_headers: u64, drain: Duration) -> Self {
        Self { max_headers, head_timeout: Duration::from_secs(30), write_timeout: Duration::from_mins(1), drain }
    }
}

/// Who sent a request, as the listener saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sender {
    /// A network.
    Peer(Peer),
    /// A process on this machine.
    #[cfg(unix)]
    OverSocket,
}

/// Who answers what comes in on a listener.
pub(crate) trait Answer: Clone + Send + Sync + 'static {
    /// Answers a request.
    fn answer(self, sender: Sender, request: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send;
}

/// Every request carries its [`Peer`] as an extension, or `OverSocket`.
impl Answer for Router {
    fn answer(self, sender: Sender, mut request: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send {
        match sender {
            Sender::Peer(peer) => drop(request.extensions_mut().insert(peer)),
            #[cfg(unix)]
            Sender::OverSocket => drop(request.extensions_mut().insert(OverSocket)),
        }
        self.oneshot(request).map(|answer| answer.unwrap_or_else(|never| match never {}))
    }
}

/// Has `app` answer on `listener` until `shutdown`; then accepts nothing more, lets requests under way finish for at most
/// `limits.drain`, and ends what is left.
///
/// WebSockets are not waited for: they belong to `proxy::Upgrades`. A failure to accept is logged and tried again.
pub(crate) async fn serve(
    listener: impl Into<Listener>,
    tls: Option<TlsAcceptor>,
    app: impl Answer,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let listener = listener.into();
    let (http1, http2) = (speaks_http1(&limits), speaks_http2(&limits));
    let finish = CancellationToken::new();
    let server = Arc::new(Server { tls, app, http1, http2, limits, finish: finish.clone() });
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(Accepted::Tcp(stream, address)) => {
                    connections.spawn(Arc::clone(&server).connection(stream, address));
                }
                #[cfg(unix)]
                Ok(Accepted::Unix(stream)) => {
                    connections.spawn(Arc::clone(&server).local_connection(stream));
                }
                Err(error) => rest(&error, &shutdown).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    // In this order: whoever finds its connection closed finds another replica, not one that takes it and goes.
    drop(listener);
    finish.cancel();
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.drain, drained).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests under way took too long and were cut off");
    }
    connections.shutdown().await;
}

struct Server<A> {
    tls: Option<TlsAcceptor>,
    app: A,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    limits: Limits,
    /// Tells connections to end after the request under way.
    finish: CancellationToken,
}

impl<A: Answer> Server<A> {
    async fn connection(self: Arc<Self>, stream: TcpStream, address: SocketAddr) {
        // Without it small answers wait for the client's acknowledgement; a refusal only costs that time.
        let _ = stream.set_nodelay(true);
        let stream = WriteLimit::new(stream, self.limits.write_timeout);
        let Some(tls) = &self.tls else {
            let service = self.service(Sender::Peer(Peer { address, scheme: Scheme::Http }));
            let connection = self.http1.serve_connection(TokioIo::new(stream), service).with_upgrades();
            return self.carry(connection, http1::UpgradeableConnection::graceful_shutdown, address).await;
        };
        let handshake = tokio::time::timeout(self.limits.head_timeout, tls.accept(stream));
        let Some(Ok(Ok(stream))) = self.finish.run_until_cancelled(handshake).await else {
            tracing::debug!(%address, "no TLS handshake");
            return;
        };
        let service = self.service(Sender::Peer(Peer { address, scheme: Scheme::Https }));
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            let connection = self.http2.serve_connection(TokioIo::new(stream), service);
            self.carry(connection, http2::Connection::graceful_shutdown, address).await;
        } else {
            let connection = self.http1.serve_connection(TokioIo::new(stream), service).with_upgrades();
            self.carry(connection, http1::UpgradeableConnection::graceful_shutdown, address).await;
        }
    }

    /// On this machine, so without TLS.
    #[cfg(unix)]
    async fn local_connection(self: Arc<Self>, stream: tokio::net::UnixStream) {
        let stream = WriteLimit::new(stream, self.limits.write_timeout);
        let connection = self.http1.serve_connection(TokioIo::new(stream), self.service(Sender::OverSocket));
        self.carry(connection, http1::Connection::graceful_shutdown, "unix socket").await;
    }

    /// Drives a connection to its end, which `shut_down` brings near once the listener ends.
    async fn carry<C>(&self, connection: C, shut_down: fn(Pin<&mut C>), address: impl Display)
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = self.finish.cancelled() => {
                shut_down(connection.as_mut());
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%address, %error, "connection broke off");
        }
    }

    fn service(
        &self,
        sender: Sender,
    ) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send> + use<A> {
        let app = self.app.clone();
        // Boxed: it would be moved about several times otherwise, and lie in every connection, also in those that wait.
        service_fn(move |request| Box::pin(app.clone().answer(sender, request)).map(Ok))
    }
}

/// Waits after a failed accept: out of file descriptors (EMFILE) would otherwise be a busy loop. What went wrong with one connection
/// is no reason to wait.
async fn rest(error: &io::Error, shutdown: &CancellationToken) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        return;
    }
    tracing::error!(%error, "cannot accept connections; trying again in a second");
    shutdown.run_until_cancelled(tokio::time::sleep(Duration::from_secs(1))).await;
}

fn speaks_http1(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    let max_headers = usize::try_from(limits.max_headers).unwrap_or(usize::MAX).max(SMALLEST_HTTP1_BUFFER);
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        // The buffer alone lets a larger head pass that comes in one piece.
        .max_header_size(max_headers)
        .max_buf_size(max_headers);
    builder
}

fn speaks_http2(limits: &Limits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.max_headers).unwrap_or(u32::MAX))
        .max_concurrent_streams(HTTP2_STREAMS)
        .keep_alive_interval(limits.head_timeout)
        .keep_alive_timeout(limits.head_timeout);
    builder
}

/// hyper takes no less.
const SMALLEST_HTTP1_BUFFER: usize = 8 * 1024;
/// Per connection; browsers open about a hundred at most.
const HTTP2_STREAMS: u32 = 128;

#[cfg(test)]
mod tests;
