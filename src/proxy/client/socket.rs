//! A connection as it is counted, and what is being asked on it.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connect::Stream;
use super::queue::Place;

/// See the module. Has its place for as long as it lives, whatever protocol it has become meanwhile.
pub(super) struct Socket {
    io: Stream,
    /// None if nobody will ask.
    asked: Option<Asked>,
    _place: Place,
}

/// What was written of the request under way, as long as nothing was read.
struct Asked {
    begins: Begins,
    bytes: Vec<u8>,
    answered: bool,
}

/// Says that the next request begins: what was asked before it, which may have been another person's, is of no use from then on.
#[derive(Clone, Debug, Default)]
pub(super) struct Begins(Arc<AtomicBool>);

impl Begins {
    pub(super) fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Socket {
    pub(super) fn new(io: Stream, place: Place) -> Self {
        Self { io, asked: None, _place: place }
    }

    /// Keeps in mind what is asked from now on.
    pub(super) fn listening(self, begins: Begins) -> Self {
        Self { asked: Some(Asked::new(begins)), ..self }
    }

    pub(super) fn io(&self) -> &Stream {
        &self.io
    }

    /// The head of the request that was written last, if not a byte was read since it began, and if it was not too long.
    pub(super) fn into_asked(self) -> Option<Vec<u8>> {
        self.asked?.unanswered()
    }

    fn note(&mut self, written: &Poll<io::Result<usize>>, offered: &[IoSlice<'_>]) {
        let Some(asked) = &mut self.asked else { return };
        let mut left = match written {
            Poll::Ready(Ok(length)) => *length,
            // None of it has left; it is what was to be asked.
            Poll::Ready(Err(_)) => usize::MAX,
            Poll::Pending => return,
        };
        for bytes in offered {
            let taken = &bytes[..bytes.len().min(left)];
            left -= taken.len();
            asked.note(taken);
        }
    }
}

impl Asked {
    fn new(begins: Begins) -> Self {
        Self { begins, bytes: Vec::new(), answered: false }
    }

    fn unanswered(self) -> Option<Vec<u8>> {
        // Of a request that began and was not written, nothing is here: what is here is the one before.
        let is_another = self.begins.0.load(Ordering::Relaxed);
        (!self.answered && !is_another).then_some(self.bytes)
    }

    fn note(&mut self, bytes: &[u8]) {
        if self.begins.0.swap(false, Ordering::Relaxed) {
            self.answered = false;
            self.bytes.clear();
        }
        let room = LONGEST - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if let Some(asked) = &mut self.asked {
            asked.answered |= buf.filled().len() > before;
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.note(&written, &[IoSlice::new(buf)]);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.note(&written, bufs);
        written
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Socket")
    }
}

/// A head that is longer is not sent again.
const LONGEST: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_request_asked_is_never_handed_out() {
        let begins = Begins::default();
        let mut asked = Asked::new(begins.clone());
        begins.now();
        asked.note(b"GET /a HTTP/1.1\r\nauthorization: Bearer a\r\n\r\n");
        asked.answered = true;
        // The next one begins, its write has to wait, and the connection closes.
        begins.now();
        assert_eq!(asked.unanswered(), None);
    }

    #[test]
    fn the_rest_of_an_upload_is_not_taken_for_the_next_request() {
        let begins = Begins::default();
        let mut asked = Asked::new(begins.clone());
        begins.now();
        asked.note(b"POST /a HTTP/1.1\r\n\r\n");
        asked.answered = true;
        asked.note(b"GET /forged HTTP/1.1\r\nx: y\r\n\r\n");
        begins.now();
        assert_eq!(asked.unanswered(), None);
    }

    #[test]
    fn a_request_that_nothing_answered_is_handed_out_whole() {
        let begins = Begins::default();
        let mut asked = Asked::new(begins.clone());
        for head in [&b"GET /a HTTP/1.1\r\n\r\n"[..], b"GET /b HTTP/1.1\r\n\r\n"] {
            begins.now();
            asked.note(&head[..5]);
            asked.note(&head[5..]);
            assert_eq!(asked.bytes, head);
        }
        assert_eq!(asked.unanswered().as_deref(), Some(&b"GET /b HTTP/1.1\r\n\r\n"[..]));
    }
}
