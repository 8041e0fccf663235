//! One HTTP/2 connection, which calls share.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use h2::Reason;
use http::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::answer::Answer;
use super::origin::{Again, Origin, Outcome};
use super::outline::Outline;
use super::queue::Wish;
use super::stage::{At, Stage};
use crate::proxy::body::RequestBody;

/// A way to put requests in; every clone is a call, or may become one.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    requests: http2::SendRequest<RequestBody>,
    calls: Arc<Call>,
}

/// A call under way, until its answer has ended.
#[derive(Debug)]
pub(super) struct Call;

impl Sender {
    pub(super) fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    /// Whether both go to one connection.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.calls, &other.calls)
    }

    /// Whether calls go on another connection. The upstream may take more on this one, or fewer; then they wait for each other.
    pub(super) fn is_full(&self) -> bool {
        Arc::strong_count(&self.calls) > MOST
    }
}

/// See the module; driven by a task, as long as there are senders.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) sender: Sender,
    pub(super) origin: Arc<Origin>,
    /// The index of the address at the other end.
    pub(super) address: usize,
    /// Whether it was opened for another call.
    pub(super) reused: bool,
}

/// Speaks HTTP/2 on a connection.
pub(super) async fn begin(socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> hyper::Result<Sender> {
    let handshake = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        // Until the upstream says how many it takes: what is too much it would refuse (RFC 9113 §5.1.2).
        .initial_max_send_streams(1)
        .adaptive_window(true)
        .handshake(TokioIo::new(socket));
    let (requests, connection) = handshake.await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an upstream's connection broke off");
        }
    });
    Ok(Sender { requests, calls: Arc::new(Call) })
}

impl Shared {
    /// Sends a request, and waits for the answer's head.
    pub(super) async fn send(mut self, request: Box<Request<RequestBody>>, stage: &Stage) -> Outcome {
        stage.reached(At::Sent);
        if self.sender.requests.ready().await.is_err() {
            self.origin.pools().forget_shared(self.address, &self.sender);
            return Outcome::Unsent(request);
        }
        let outline = Outline::of(&request);
        let headers = outline.has_no_body().then(|| request.headers().clone());
        let mut error = match self.sender.requests.try_send_request(*request).await {
            Ok(answer) => {
                self.origin.answered(self.address);
                return Outcome::Answered(answer.map(|incoming| Answer::shared(incoming, self.sender.calls)));
            }
            Err(error) => error,
        };
        if let Some(request) = error.take_message() {
            self.origin.pools().forget_shared(self.address, &self.sender);
            return Outcome::Unsent(Box::new(request));
        }
        let error = error.into_error();
        let end = End::of(&error);
        if end != End::OfStream {
            self.origin.pools().forget_shared(self.address, &self.sender);
        }
        if end == End::OfConnection && !self.reused {
            self.origin.broke(&outline, &error);
        }
        let request = match end {
            End::Unprocessed => headers.and_then(|headers| outline.again(headers)),
            End::OfConnection if self.reused => outline.twice(headers),
            End::OfConnection | End::OfStream => None,
        };
        Outcome::Broken { error, again: request.map(|request| Again { request, wish: Wish::Any }) }
    }
}

/// What a request was lost with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The upstream says that it has done nothing about it (RFC 9113 §8.7).
    Unprocessed,
    OfConnection,
    OfStream,
}

impl End {
    fn of(error: &hyper::Error) -> Self {
        let Some(error) = error.source().and_then(|error| error.downcast_ref::<h2::Error>()) else {
            return Self::OfConnection;
        };
        // Of streams, GOAWAY ends those alone that came after the last one it names.
        let is_refused = error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM);
        if error.is_remote() && is_refused {
            Self::Unprocessed
        } else if error.is_reset() {
            Self::OfStream
        } else {
            Self::OfConnection
        }
    }
}

/// As many as RFC 9113 §6.5.2 would have every server take.
const MOST: usize = 100;
/// Finds dead connections before a call waits on one.
const PING: Duration = Duration::from_secs(30);
