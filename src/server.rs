//! A listener: accepts connections, speaks HTTP on them, and lets them finish when it is told to end.
//!
//! HTTP/2 is spoken where ALPN chose it, HTTP/1.1 everywhere else. The version is never guessed from the first bytes, as
//! `hyper_util::server::conn::auto` does: the guess has no time limit, so a silent client would hold its connection for ever.

mod ended;
mod listener;
mod room;
#[cfg(unix)]
mod socket;
mod stall;
mod streams;

use std::convert::Infallible;
use std::fmt::Display;
use std::future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures_util::{FutureExt as _, TryFutureExt as _};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use self::ended::Signs;
use self::listener::Accepted;
pub use self::listener::Listener;
use self::room::{Place, Room};
#[cfg(unix)]
pub use self::socket::SocketError;
use self::stall::WriteLimit;
use self::streams::{Pieces, Streams};
use crate::config;
#[cfg(unix)]
use crate::guard::operator::OverSocket;
use crate::metric::{self, Unfit};
use crate::proxy::{Peer, Scheme};

/// What a client may make a listener wait for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Largest request head, in bytes; at least 8 KiB. What is a little larger gets through, to be answered by `guard::head`; the
    /// rest is refused here.
    pub(crate) max_headers: u64,
    /// Most header fields, likewise.
    pub(crate) max_header_count: u32,
    /// Most connections at once.
    pub(crate) max_connections: u32,
    /// From one answer (or the connection's start) to the end of the next request's head; also for TLS handshakes.
    pub(crate) head_timeout: Duration,
    /// How long a client may read nothing of what we have for it: of its connection, or of one HTTP/2 stream.
    pub(crate) write_timeout: Duration,
    /// How long an HTTP/2 connection stays open without a new request: for this long at least, and for twice as long at most.
    pub(crate) http2_idle: Duration,
    /// How long requests under way may take once the listener ends.
    pub(crate) drain: Duration,
}

impl Limits {
    /// What is configured, and defaults for the rest.
    pub(crate) fn new(server: &config::Server) -> Self {
        Self {
            max_headers: server.max_headers,
            max_header_count: server.max_header_count,
            max_connections: server.max_connections,
            head_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_mins(1),
            http2_idle: Duration::from_mins(3),
            drain: server.drain,
        }
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

    /// Ends what has no end of its own, once nobody new is let in. Over HTTP/2 a WebSocket would keep its connection from ending.
    fn end(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
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
/// A failure to accept is logged and tried again.
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
    let room = Room::new(limits.max_connections);
    loop {
        let accepted = async {
            room.free().await;
            listener.accept().await
        };
        tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accepted => match accepted {
                Ok(Accepted::Tcp(stream, address)) => {
                    connections.spawn(Arc::clone(&server).connection(stream, address, room.take()));
                }
                #[cfg(unix)]
                Ok(Accepted::Unix(stream)) => {
                    connections.spawn(Arc::clone(&server).local_connection(stream, room.take()));
                }
                Err(error) => rest(&error, &shutdown).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    // In this order: whoever finds its connection closed finds another replica, not one that takes it and goes.
    drop(listener);
    finish.cancel();
    let connections_end = async { while connections.join_next().await.is_some() {} };
    let drained = async { tokio::join!(server.app.end(), connections_end) };
    if tokio::time::timeout(limits.drain, drained).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests under way took too long and were cut off");
    }
    connections.shutdown().await;
}

struct Server<A> {
    tls: Option<TlsAcceptor>,
    app: A,
    http1: http1::Builder,
    http2: http2::Builder<Streams>,
    limits: Limits,
    /// Tells connections to end after the request under way.
    finish: CancellationToken,
}

impl<A: Answer> Server<A> {
    async fn connection(self: Arc<Self>, stream: TcpStream, address: SocketAddr, place: Place) {
        // Without it small answers wait for the client's acknowledgement; a refusal only costs that time.
        let _ = stream.set_nodelay(true);
        let signs = Arc::<Signs>::default();
        let stream = WriteLimit::new(stream, self.limits.write_timeout, Arc::clone(&signs), place);
        let Some(tls) = &self.tls else {
            return self.http1(stream, Sender::Peer(Peer { address, scheme: Scheme::Http }), signs, address).await;
        };
        let handshake = tokio::time::timeout(self.limits.head_timeout, tls.accept(stream));
        let Some(Ok(Ok(stream))) = self.finish.run_until_cancelled(handshake).await else {
            tracing::debug!(%address, "no TLS handshake");
            return metric::connection_refused(Unfit::Handshake);
        };
        let sender = Sender::Peer(Peer { address, scheme: Scheme::Https });
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            self.http2(stream, sender, signs, address).await;
        } else {
            self.http1(stream, sender, signs, address).await;
        }
    }

    /// On this machine, so without TLS.
    #[cfg(unix)]
    async fn local_connection(self: Arc<Self>, stream: tokio::net::UnixStream, place: Place) {
        let signs = Arc::<Signs>::default();
        let stream = WriteLimit::new(stream, self.limits.write_timeout, Arc::clone(&signs), place);
        self.http1(stream, Sender::OverSocket, signs, "unix socket").await;
    }

    async fn http1<T>(&self, stream: T, sender: Sender, signs: Arc<Signs>, address: impl Display)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = self.service(sender, Arc::clone(&signs));
        let connection = self.http1.serve_connection(TokioIo::new(stream), service).with_upgrades();
        let shut_down = http1::UpgradeableConnection::graceful_shutdown;
        if let Err(error) = self.carry(connection, shut_down, future::pending()).await {
            tracing::debug!(%address, %error, "connection broke off");
            ended::count_http1(&error, &signs);
        }
    }

    async fn http2<T>(&self, stream: T, sender: Sender, signs: Arc<Signs>, address: impl Display)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = self.service(sender, Arc::clone(&signs));
        let service = service_fn(move |request| service.call(request).map_ok(|answer| answer.map(Pieces::of)));
        let connection = self.http2.serve_connection(TokioIo::new(stream), service);
        let idle = signs.idle(self.limits.http2_idle);
        if let Err(error) = self.carry(connection, http2::Connection::graceful_shutdown, idle).await {
            tracing::debug!(%address, %error, "connection broke off");
            ended::count_http2(&error);
        }
    }

    /// Drives a connection to its end, which `shut_down` brings near once it is `idle` or the listener ends: what is under way goes on.
    async fn carry<C>(
        &self,
        connection: C,
        shut_down: fn(Pin<&mut C>),
        idle: impl Future<Output = ()>,
    ) -> hyper::Result<()>
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let mut connection = pin!(connection);
        tokio::select! {
            ended = &mut connection => return ended,
            () = self.finish.cancelled() => {}
            () = idle => {}
        }
        shut_down(connection.as_mut());
        connection.await
    }

    fn service(
        &self,
        sender: Sender,
        signs: Arc<Signs>,
    ) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send> + use<A> {
        let app = self.app.clone();
        service_fn(move |request| {
            signs.asked.store(true, Ordering::Relaxed);
            // Boxed: it would be moved about several times otherwise, and lie in every connection, also in those that wait.
            Box::pin(app.clone().answer(sender, request)).map(Ok)
        })
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
    let max_headers = usize::try_from(roomy(limits.max_headers)).unwrap_or(usize::MAX);
    let max_count = usize::try_from(limits.max_header_count).unwrap_or(usize::MAX);
    if max_count > HTTP1_FIELDS - HTTP1_FIELDS / 5 {
        // Beyond its default hyper allocates room for the fields with each request.
        builder.max_headers(max_count + max_count / 4);
    }
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        // The buffer alone lets a larger head pass that comes in one piece.
        .max_header_size(max_headers)
        .max_buf_size(max_headers);
    builder
}

fn speaks_http2(limits: &Limits) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(Streams { limit: limits.write_timeout });
    // RFC 9113 §6.5.2 has 32 bytes more for each field.
    let max_headers = roomy(limits.max_headers) + 32 * u64::from(limits.max_header_count);
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(max_headers).unwrap_or(u32::MAX))
        .max_concurrent_streams(HTTP2_STREAMS)
        // WebSockets (RFC 8441): a browser with a connection of this kind opens none of the other for them.
        .enable_connect_protocol()
        // One upload that an API does not take must leave room for the others of the connection.
        .initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
        .keep_alive_interval(limits.head_timeout)
        .keep_alive_timeout(limits.head_timeout);
    builder
}

/// What the parsers take, so that `guard::head` can answer what is a little over the limit, with a name and an explanation.
fn roomy(max_headers: u64) -> u64 {
    max_headers + max_headers / 4
}

/// hyper's own limit, for which there is room on the stack.
const HTTP1_FIELDS: usize = 100;
/// Per connection; browsers open about a hundred at most.
const HTTP2_STREAMS: u32 = 128;
/// What one upload or WebSocket may send ahead of its reader, in bytes.
const HTTP2_STREAM_WINDOW: u32 = 512 * 1024;
/// The same for all of a connection.
const HTTP2_CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests;
