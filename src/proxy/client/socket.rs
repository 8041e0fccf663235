//! A connection as it is counted, and what was asked on it last.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};

use super::connect::Io;
use super::queue::Place;

/// See the module. Has its place for as long as it lives, whatever protocol it has become meanwhile.
pub(super) struct Socket {
    io: Io,
    /// None if nobody will ask.
    asked: Option<Asked>,
    _place: Place,
}

/// What was written since something was read.
#[derive(Default)]
struct Asked {
    bytes: Vec<u8>,
    answered: bool,
}

impl Socket {
    pub(super) fn new(io: Io, place: Place) -> Self {
        Self { io, asked: None, _place: place }
    }

    /// Keeps in mind what is asked from now on.
    pub(super) fn listening(self) -> Self {
        Self { asked: Some(Asked::default()), ..self }
    }

    pub(super) fn io(&self) -> &Io {
        &self.io
    }

    /// What was written last: the head of a request, if it was not too long and there was nothing else.
    pub(super) fn into_asked(self) -> Vec<u8> {
        self.asked.map(|asked| asked.bytes).unwrap_or_default()
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
    fn note(&mut self, bytes: &[u8]) {
        if self.answered {
            self.answered = false;
            self.bytes.clear();
        }
        let room = LONGEST - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

impl Read for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if let (Poll::Ready(_), Some(asked)) = (&read, &mut self.asked) {
            asked.answered = true;
        }
        read
    }
}

impl Write for Socket {
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
