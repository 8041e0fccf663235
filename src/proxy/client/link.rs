//! One HTTP/1.1 connection, driven by the call that has it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, Connection};
use hyper_util::rt::TokioIo;

use super::outline::headers_of;
use super::socket::{Begins, Socket};
use crate::proxy::body::RequestBody;

/// See the module. Nobody reads from it or writes to it but who polls it; dropped, it closes.
#[derive(Debug)]
pub(super) struct Link {
    sender: http1::SendRequest<RequestBody>,
    line: Line,
    begins: Begins,
}

/// The connection itself, apart from what requests are put in by.
#[derive(Debug)]
struct Line {
    /// None once it is closed.
    connection: Option<Connection<TokioIo<Socket>, RequestBody>>,
    /// What was asked last, if it closed before a byte of the answer came.
    unanswered: Option<Vec<u8>>,
}

/// Hands a request that was not sent back.
pub(super) type SendError = TrySendError<Request<RequestBody>>;

impl Link {
    pub(super) async fn new(socket: Socket) -> hyper::Result<Self> {
        let begins = Begins::default();
        let io = TokioIo::new(socket.listening(begins.clone()));
        let (sender, connection) = http1::handshake(io).await?;
        Ok(Self { sender, line: Line { connection: Some(connection), unanswered: None }, begins })
    }

    /// Whether it can take a call; notices that the other side has closed it.
    pub(super) fn is_idle(&mut self) -> bool {
        // Whoever uses it next polls it again.
        let still_open = self.poll(&mut Context::from_waker(Waker::noop())).is_pending();
        still_open && self.sender.is_ready()
    }

    /// Sends a request in origin form, and waits for the answer's head.
    pub(super) async fn send(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, SendError> {
        self.begins.now();
        let mut answer = pin!(self.sender.try_send_request(request));
        let line = &mut self.line;
        poll_fn(|cx| {
            // What comes in is handed over during this poll, so nobody has to be woken for it.
            let _ = line.poll(cx);
            answer.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        })
        .await
    }

    /// Reads and writes. Ready once the connection is closed; what it had to say by then has been said to the body.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.line.poll(cx)
    }

    /// The headers of the request that broke off, if not a byte of its answer came.
    pub(super) fn unanswered(mut self) -> Option<HeaderMap> {
        self.line.close();
        headers_of(&self.line.unanswered?)
    }

    /// Has a task of its own drive it, which outlasts the answer: for what becomes another protocol.
    pub(super) fn detach(self) -> http1::SendRequest<RequestBody> {
        if let Some(connection) = self.line.connection {
            tokio::spawn(async move {
                if let Err(error) = connection.with_upgrades().await {
                    tracing::debug!(%error, "an upstream's connection broke off");
                }
            });
        }
        self.sender
    }
}

impl Line {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(()) };
        let closed = ready!(Pin::new(connection).poll(cx));
        if let Err(error) = closed {
            tracing::debug!(%error, "an upstream's connection broke off");
        }
        self.close();
        Poll::Ready(())
    }

    /// A closed connection goes at once, so that whoever waits for it hears why.
    fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            let rest = connection.into_parts();
            self.unanswered = rest.read_buf.is_empty().then(|| rest.io.into_inner().into_asked()).flatten();
        }
    }
}
