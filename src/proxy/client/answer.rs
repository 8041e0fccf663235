//! An upstream's answer as it streams in.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::lent::Lent;
use super::shared::Call;

/// The body of an answer. Who reads it drives the connection that it comes by; dropped before the end, it closes that connection.
#[derive(Debug)]
pub(crate) struct Answer {
    incoming: Incoming,
    /// None if a task drives the connection, or if nothing more comes by it.
    link: Option<Lent>,
    /// Counts as long as the answer is there, if others share the connection.
    _call: Option<Arc<Call>>,
}

impl Answer {
    /// Comes by a connection that a task drives.
    pub(super) fn alone(incoming: Incoming) -> Self {
        Self { incoming, link: None, _call: None }
    }

    /// Comes by a connection that a task drives for several.
    pub(super) fn shared(incoming: Incoming, call: Arc<Call>) -> Self {
        Self { incoming, link: None, _call: Some(call) }
    }

    /// Comes by this connection.
    pub(super) fn by(link: Lent, incoming: Incoming) -> Self {
        let mut answer = Self { incoming, link: Some(link), _call: None };
        answer.settle();
        answer
    }

    /// Gives the connection back if all has come.
    fn settle(&mut self) {
        if self.incoming.is_end_stream() {
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        if let Some(lent) = self.link.take() {
            lent.give_back();
        }
    }

    fn poll_link(&mut self, cx: &mut Context<'_>) {
        if let Some(lent) = &mut self.link
            && lent.link.poll(cx).is_ready()
        {
            self.link = None;
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        self.poll_link(cx);
        if self.link.is_none() {
            return Pin::new(&mut self.incoming).poll_frame(cx);
        }
        let mut aside = Context::from_waker(Waker::noop());
        let mut frame = Pin::new(&mut self.incoming).poll_frame(&mut aside);
        if frame.is_pending() {
            // Only now the connection knows that somebody wants to read.
            self.poll_link(cx);
            let reader = if self.link.is_none() { cx } else { &mut aside };
            frame = Pin::new(&mut self.incoming).poll_frame(reader);
        }
        match &frame {
            // A chunked body knows its end only when it is there.
            Poll::Ready(None) => self.give_back(),
            // Nothing comes behind them, and nobody may ask.
            Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => self.give_back(),
            Poll::Ready(Some(Ok(_))) => self.settle(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
