//! One HTTP/1.1 connection, driven by the call that has it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1;

use super::connect::Io;
use crate::proxy::body::RequestBody;

/// See the module. Nobody reads from it or writes to it but who polls it; dropped, it closes.
#[derive(Debug)]
pub(super) struct Link {
    sender: http1::SendRequest<RequestBody>,
    /// None once it is closed.
    connection: Option<http1::Connection<Io, RequestBody>>,
}

/// Hands a request that was not sent back.
pub(super) type SendError = TrySendError<Request<RequestBody>>;

impl Link {
    pub(super) async fn new(io: Io) -> hyper::Result<Self> {
        let (sender, connection) = http1::handshake(io).await?;
        Ok(Self { sender, connection: Some(connection) })
    }

    /// Whether it can take a call; notices that the other side has closed it.
    pub(super) fn is_idle(&mut self) -> bool {
        // Whoever uses it next polls it again.
        let still_open = self.poll(&mut Context::from_waker(Waker::noop())).is_pending();
        still_open && self.sender.is_ready()
    }

    /// Sends a request in origin form, and waits for the answer's head.
    pub(super) async fn send(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, SendError> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let connection = &mut self.connection;
        poll_fn(|cx| {
            // What comes in is handed over during this poll, so nobody has to be woken for it.
            let _ = poll(connection, cx);
            answer.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        })
        .await
    }

    /// Reads and writes. Ready once the connection is closed; what it had to say by then has been said to the body.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        poll(&mut self.connection, cx)
    }

    /// Has a task of its own drive it, which outlasts the answer: for what becomes another protocol.
    pub(super) fn detach(self) -> http1::SendRequest<RequestBody> {
        if let Some(connection) = self.connection {
            tokio::spawn(async move {
                if let Err(error) = connection.with_upgrades().await {
                    tracing::debug!(%error, "an upstream's connection broke off");
                }
            });
        }
        self.sender
    }
}

/// A closed connection goes at once, so that whoever waits for it hears why.
fn poll(connection: &mut Option<http1::Connection<Io, RequestBody>>, cx: &mut Context<'_>) -> Poll<()> {
    let Some(open) = connection else { return Poll::Ready(()) };
    let closed = ready!(Pin::new(open).poll(cx));
    if let Err(error) = closed {
        tracing::debug!(%error, "an upstream's connection broke off");
    }
    *connection = None;
    Poll::Ready(())
}
