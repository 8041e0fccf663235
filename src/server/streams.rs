//! HTTP/2 answers whose clients have to read.
//!
//! A client can open no window for a stream (RFC 9113 §6.9) and read all else of the connection. hyper then keeps what it last took of the
//! body and does not poll it again, so neither a limit on the body nor `WriteLimit` notices. Only such a stream is reset: the others of
//! its connection may belong to a page that merely has a video paused.

use std::cell::Cell;
use std::future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use tokio::time::{Instant, Sleep};

use crate::metric::{self, Limit};

/// Runs the streams of HTTP/2 connections. A stream whose client takes no [`Pieces`] of its answer for `limit` is reset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streams {
    pub(super) limit: Duration,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        tokio::spawn(while_read(stream, self.limit));
    }
}

/// Whom a stream waits for.
#[derive(Clone, Copy)]
enum Turn {
    Client,
    Us,
}

thread_local! {
    /// What the body said that was polled last, within one poll of its stream: hyper owns both and has no place for it.
    static TURN: Cell<Option<Turn>> = const { Cell::new(None) };
}

async fn while_read(stream: impl Future<Output = ()>, limit: Duration) {
    let mut stream = pin!(stream);
    // Made when a piece waits for the client; most answers never have one.
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    let read = future::poll_fn(|cx| {
        TURN.set(None);
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        match (TURN.take(), &mut timer) {
            (Some(Turn::Client), Some(timer)) => timer.as_mut().reset(Instant::now() + limit),
            (Some(Turn::Client), timer) => *timer = Some(Box::pin(tokio::time::sleep(limit))),
            (Some(Turn::Us), timer) => *timer = None,
            (None, _) => {}
        }
        timer.as_mut().map_or(Poll::Pending, |timer| timer.as_mut().poll(cx).map(|()| false))
    });
    if !read.await {
        // Dropped with its handle, h2 resets the stream and lets go of what it holds for it.
        metric::limited(Limit::WriteTimeout);
    }
}

/// A body that tells its stream whose turn it is, piece by piece: hyper asks for the next when the client has taken the one before.
#[derive(Debug)]
pub(super) struct Pieces<B> {
    body: B,
    rest: Bytes,
}

impl<B> Pieces<B> {
    pub(super) fn of(body: B) -> Self {
        Self { body, rest: Bytes::new() }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Pieces<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.rest.is_empty() {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                TURN.set(Some(Turn::Us));
                return Poll::Pending;
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        TURN.set(Some(Turn::Client));
        let length = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

/// The largest frame a client takes unless it says otherwise (RFC 9113 §6.5.2), in bytes: little enough for a slow client to take in time.
const PIECE: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use futures_util::{StreamExt as _, stream};
    use http::{Request, Response};
    use hyper::server::conn::http2;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;

    use super::*;

    const LIMIT: Duration = Duration::from_mins(1);

    /// A client with so large a window for each stream, of a server that answers `body`.
    async fn client(
        window: u32,
        body: impl Fn() -> axum::body::Body + Send + 'static,
    ) -> h2::client::SendRequest<Bytes> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let service = service_fn(move |_| future::ready(Ok::<_, Infallible>(Response::new(Pieces::of(body())))));
        tokio::spawn(http2::Builder::new(Streams { limit: LIMIT }).serve_connection(TokioIo::new(ours), service));
        let (sender, connection) =
            h2::client::Builder::new().initial_window_size(window).handshake(theirs).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    async fn get(sender: &h2::client::SendRequest<Bytes>) -> h2::RecvStream {
        let mut sender = sender.clone().ready().await.unwrap();
        let request = Request::get("https://localhost/").body(()).unwrap();
        sender.send_request(request, true).unwrap().0.await.unwrap().into_body()
    }

    #[tokio::test(start_paused = true)]
    async fn answers_without_a_window_are_let_go_of_and_the_connection_goes_on() {
        let held = Arc::new(());
        let here = Arc::clone(&held);
        // One that is at its end with the piece that waits, as small answers are, and one that is not.
        let small = Cell::new(false);
        let sender = client(0, move || {
            let place = Arc::clone(&here);
            small.set(!small.get());
            let pieces = stream::repeat(()).take(if small.get() { 1 } else { 100 });
            axum::body::Body::from_stream(pieces.map(move |()| Ok::<_, Infallible>((Arc::strong_count(&place), "x").1)))
        })
        .await;
        for _ in 0..3 {
            let mut answers = Vec::new();
            for _ in 0..50 {
                answers.push(get(&sender).await);
            }
            let started = Instant::now();
            assert_eq!(Arc::strong_count(&held), 52);
            for answer in &mut answers {
                let error = answer.data().await.unwrap().unwrap_err();
                assert_eq!((error.reason(), error.is_remote()), (Some(h2::Reason::CANCEL), true));
            }
            assert_eq!((started.elapsed().as_secs(), Arc::strong_count(&held)), (LIMIT.as_secs(), 2));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_read_slowly_goes_on() {
        let sender = client(1024, || axum::body::Body::from(vec![0; 100 * 1024])).await;
        let (mut answer, mut length) = (get(&sender).await, 0);
        let started = Instant::now();
        while let Some(data) = answer.data().await {
            length += data.as_ref().unwrap().len();
            tokio::time::sleep(Duration::from_secs(3)).await;
            answer.flow_control().release_capacity(data.unwrap().len()).unwrap();
        }
        assert_eq!(length, 100 * 1024);
        assert!(started.elapsed() > 4 * LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_has_nothing_to_say_goes_on() {
        let sender = client(3, || {
            let later = stream::once(async {
                tokio::time::sleep(100 * LIMIT).await;
                Ok("two")
            });
            axum::body::Body::from_stream(stream::iter([Ok::<_, Infallible>("one")]).chain(later))
        })
        .await;
        let mut answer = get(&sender).await;
        for piece in ["one", "two"] {
            assert_eq!(answer.data().await.unwrap().unwrap(), piece);
            answer.flow_control().release_capacity(3).unwrap();
        }
    }
}
