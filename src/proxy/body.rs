//! Bodies that stream through: bounded in size towards the upstream, and in silence both ways.
//!
//! An answer's trailers pass, as far as they say nothing that belongs into a head. A request's do not: no page can send any, and a
//! server that merges them into the head would take `Authorization` or `Forwarded` from them unchecked.

mod upload;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::time::{Instant, Sleep};

pub(super) use self::upload::{Keep, Phase, Upload};
use super::bond::Bond;
use super::client::Answer;
use super::headers;
use crate::metric::{self, Limit};
use crate::session::UsedSession;

/// Why a stream broke off after it had begun.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StreamError {
    /// Nothing came for the route's `idle_timeout`.
    #[error("the stream stalled")]
    Stalled,
    /// More came than the route allows.
    #[error("the request body is too large")]
    TooLarge,
    /// The browser's side broke off.
    #[error("the request broke off")]
    Interrupted,
    /// The upstream's side broke off.
    #[error("the upstream's answer broke off")]
    Upstream(#[source] hyper::Error),
    /// The session that opened the stream is over.
    #[error("the session ended")]
    SessionEnded,
}

/// An upstream's answer on its way to the browser.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    answer: Answer,
    silence: Silence,
    bond: Bond,
    /// Why it broke off, to be told at the next poll.
    broken: Option<hyper::Error>,
}

impl ResponseBody {
    /// Breaks off when `session` ends.
    pub(super) fn new(answer: Answer, idle_timeout: Duration, session: Option<&UsedSession>) -> Self {
        Self { answer, silence: Silence::new(idle_timeout), bond: Bond::new(session), broken: None }
    }

    /// Drops what is left. Its connection serves the next call if all has come already, as is usual for an answer that says no; it is
    /// closed if not. Waits for nothing.
    pub(super) fn discard(mut self) {
        for _ in 0..MOST_DISCARDED {
            let frame = self.answer.frame().now_or_never();
            if !matches!(frame, Some(Some(Ok(_)))) {
                return;
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(StreamError::Upstream(error))));
        }
        loop {
            if self.bond.poll_cut(cx).is_ready() {
                return Poll::Ready(Some(Err(StreamError::SessionEnded)));
            }
            let Poll::Ready(frame) = Pin::new(&mut self.answer).poll_frame(cx) else {
                let followed_from = self.bond.followed_from();
                match ready!(self.silence.poll_over_or_at(followed_from, cx)) {
                    Woken::Over => {
                        metric::limited(Limit::IdleTimeout);
                        return Poll::Ready(Some(Err(StreamError::Stalled)));
                    }
                    Woken::Early => continue,
                }
            };
            self.silence.end();
            match frame {
                Some(Ok(frame)) if frame.is_trailers() => {
                    if let Some(trailers) = frame.into_trailers().ok().and_then(headers::trailing) {
                        return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                    }
                }
                Some(Err(error)) => {
                    // Whoever polls sends what came before, now that there is nothing more, and asks again.
                    self.broken = Some(error);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                frame => return Poll::Ready(frame.map(|frame| frame.map_err(StreamError::Upstream))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Nothing is all there is to a HEAD, and axum would take its length for that of what a GET brings.
        if self.answer.is_end_stream() { SizeHint::default() } else { self.answer.size_hint() }
    }
}

/// Whether a body says that it has no length and may yet turn out to have one: HTTP/2 tells at the end (RFC 9113 §8.1.1).
pub(super) fn claims_to_be_empty(body: &impl Body) -> bool {
    !body.is_end_stream() && body.size_hint().exact() == Some(0)
}

/// Waits for the end of such a body: until then the request is not known to be one.
///
/// # Errors
/// `Interrupted`: it has something in it, or broke off. `Stalled`.
pub(super) async fn proved_empty<B: Body<Data = Bytes>>(body: B, idle_timeout: Duration) -> Result<(), StreamError> {
    let mut body = pin!(body);
    let end = async {
        while let Some(frame) = body.frame().await {
            let data = frame.map_err(|_| StreamError::Interrupted)?.into_data();
            if data.is_ok_and(|data| !data.is_empty()) {
                return Err(StreamError::Interrupted);
            }
        }
        Ok(())
    };
    tokio::time::timeout(idle_timeout, end).await.unwrap_or(Err(StreamError::Stalled))
}

/// A browser's request body on its way to the upstream. Pooled clients carry one type of body, so this is it.
pub(crate) enum RequestBody {
    /// There is none: nothing is allocated or timed.
    Empty,
    /// There is one.
    Streamed(Box<Streamed>),
}

/// A body with its limits.
pub(crate) struct Streamed {
    body: UnsyncBoxBody<Bytes, StreamError>,
    left: u64,
    silence: Silence,
    upload: Arc<Upload>,
}

impl RequestBody {
    /// Wraps a body, and gives the eye that follows it. `None` if a declared length is over `max_body` already.
    pub(super) fn new<B>(
        body: B,
        max_body: u64,
        idle_timeout: Duration,
        keep: Keep,
    ) -> Option<(Self, Option<Arc<Upload>>)>
    where
        B: Body<Data = Bytes> + Send + 'static,
    {
        let size = body.size_hint();
        // A stream that was reset has ended, too.
        if body.is_end_stream() && size.exact() == Some(0) {
            return Some((Self::Empty, None));
        }
        if size.lower() > max_body {
            return None;
        }
        let upload = Arc::new(Upload::new(keep, size.lower()));
        let streamed = Streamed {
            // Why the browser's side broke off changes nothing for anybody.
            body: body.map_err(|_| StreamError::Interrupted).boxed_unsync(),
            left: max_body,
            silence: Silence::new(idle_timeout),
            upload: Arc::clone(&upload),
        };
        Some((Self::Streamed(Box::new(streamed)), Some(upload)))
    }

    /// How far it has come; none if there is no body.
    pub(super) fn upload(&self) -> Option<Arc<Upload>> {
        match self {
            Self::Empty => None,
            Self::Streamed(streamed) => Some(streamed.upload.clone()),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Streamed(streamed) => streamed.poll_piece(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streamed(streamed) => streamed.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streamed(streamed) => streamed.body.size_hint(),
        }
    }
}

impl Streamed {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                self.upload.reached(Phase::AwaitingBrowser);
                ready!(self.silence.poll_over(cx));
                self.upload.reached(Phase::Interrupted);
                return Poll::Ready(Some(Err(StreamError::Stalled)));
            };
            self.silence.end();
            let frame = match frame.transpose() {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    self.upload.reached(Phase::Sent);
                    return Poll::Ready(None);
                }
                Err(error) => {
                    self.upload.reached(Phase::Interrupted);
                    return Poll::Ready(Some(Err(error)));
                }
            };
            if let Ok(data) = frame.into_data() {
                return Poll::Ready(Some(self.take(data)));
            }
        }
    }

    fn take(&mut self, data: Bytes) -> Result<Frame<Bytes>, StreamError> {
        let Some(left) = self.left.checked_sub(data.len() as u64) else {
            self.upload.reached(Phase::TooLarge);
            return Err(StreamError::TooLarge);
        };
        self.left = left;
        self.upload.passed(&data, if self.body.is_end_stream() { Phase::Sent } else { Phase::AwaitingUpstream });
        Ok(Frame::data(data))
    }
}

/// Limits how long a stream may give nothing. The timer is made at the first wait, so short answers never have one.
#[derive(Debug)]
struct Silence {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    since: Option<Instant>,
}

/// Why a [`Silence`] is ready.
enum Woken {
    /// The limit is over.
    Over,
    /// It was asked to be.
    Early,
}

impl Silence {
    fn new(limit: Duration) -> Self {
        Self { limit, timer: None, since: None }
    }

    fn end(&mut self) {
        self.since = None;
    }

    /// Ready when the limit is over. Counts from the first call since [`Silence::end`].
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_over_or_at(None, cx).map(|_| ())
    }

    /// Ready when the limit is over, or at `early` if that is sooner.
    fn poll_over_or_at(&mut self, early: Option<Instant>, cx: &mut Context<'_>) -> Poll<Woken> {
        let over = *self.since.get_or_insert_with(Instant::now) + self.limit;
        let due = early.map_or(over, |early| early.min(over));
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(cx).map(|()| if due == over { Woken::Over } else { Woken::Early })
    }
}

/// Pieces that are read of an answer that nobody wants.
const MOST_DISCARDED: usize = 16;
